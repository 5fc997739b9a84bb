# ruff: noqa: E501 (a table with whole messages)
"""unfold and fold: windows as the definition reads, each the other's adjoint, and torch's results where it is there."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import padding_pairs
from strategies import LAYOUTS, layouts

import numbaconv as nc

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def windows(draw):
    """The shape of an image, and the arguments."""
    kernel, dilation, stride = draw(pairs), draw(pairs), draw(pairs)
    padding = draw(
        st.one_of(
            st.integers(0, 3),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
            st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
        )
    )
    sides = padding_pairs(padding, kernel, kernel, stride, dilation)
    size = [
        max(1, (k - 1) * d + 1 - sum(side)) + draw(st.integers(0, 6))
        for k, d, side in zip(kernel, dilation, sides, strict=True)
    ]
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 3)), *size)
    return shape, {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}


def unfold_loops(x, kernel_size, dilation, padding, stride):
    sides = padding_pairs(padding, x.shape[2:], kernel_size, stride, dilation)
    x = np.pad(x, [(0, 0), (0, 0), *sides])
    count = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], kernel_size, dilation, stride, strict=True)
    ]
    columns = [
        x[:, :, i * stride[0] :: dilation[0], j * stride[1] :: dilation[1]][:, :, : kernel_size[0], : kernel_size[1]]
        for i in range(count[0])
        for j in range(count[1])
    ]
    return np.stack([column.reshape(x.shape[0], x.shape[1] * np.prod(kernel_size)) for column in columns], -1)


@given(windows(), layouts, st.sampled_from(("f4", "i8", "u1", "?", "c8", "f2")), st.integers(0, 2**32 - 1))
def test_adjoint(window, layout, dtype, seed):
    shape, arguments = window
    random = np.random.default_rng(seed)
    x = LAYOUTS[layout](random.integers(0, 9, shape).astype(dtype)) if min(shape) else np.zeros(shape, dtype)
    columns = nc.unfold(x, **arguments)
    np.testing.assert_array_equal(columns, unfold_loops(np.asarray(x), **arguments))
    assert columns.dtype == np.dtype(dtype)
    if shape[0]:
        np.testing.assert_array_equal(nc.unfold(x[0], **arguments), columns[0])
    y = random.integers(0, 9, columns.shape).astype("i8")
    image = nc.fold(y, shape[2:], **arguments)
    assert image.shape == shape
    assert np.vdot(np.asarray(columns, "c16"), y) == np.vdot(np.asarray(x, "c16"), image)
    if shape[0]:
        np.testing.assert_array_equal(nc.fold(y[0], shape[2:], **arguments), image[0])


@given(windows(), st.integers(0, 2**32 - 1))
def test_torch(window, seed):
    torch = pytest.importorskip("torch")
    shape, arguments = window
    if np.ndim(arguments["padding"]) == 2:
        arguments["padding"] = tuple(map(min, arguments["padding"]))
    x = np.random.default_rng(seed).integers(-8, 9, (*shape[:2], 20, 20)).astype(np.float64)
    columns = nc.unfold(x, **arguments)
    np.testing.assert_array_equal(columns, torch.nn.functional.unfold(torch.from_numpy(x), **arguments).numpy())
    image = nc.fold(columns, (20, 20), **arguments)
    np.testing.assert_array_equal(
        image, torch.nn.functional.fold(torch.from_numpy(columns), (20, 20), **arguments).numpy()
    )


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_narrow_floats_are_summed_in_float32(name):
    """2048 ones, and 256 of them in bfloat16, are where such a sum would stop growing."""
    dtype = np.float16 if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    ones = np.ones((4096, 1), dtype)
    assert nc.fold(ones.reshape(4096, 1), 1, 64, padding=((32, 31), (32, 31)))[0, 0, 0] == 1
    image = nc.fold(np.ones((4096, 64 * 64), dtype), 127, 64)
    assert image.dtype == dtype
    assert image.max() == 4096


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nc.unfold(np.ones((2, 2)), 2), ValueError, "input must have shape (N, C, H, W) or (C, H, W); got (2, 2)"),
        (lambda: nc.unfold(np.ones((1, 2, 2)), 3), ValueError, "kernel height 3 exceeds padded input height 2 (= 2 + 0 + 0)"),
        (lambda: nc.unfold(np.ones((1, 2, 2)), 0), ValueError, "kernel_size must be at least 1; got 0"),
        (lambda: nc.unfold(np.ones((1, 2, 2), "U1"), 1), TypeError, "input must hold numbers; its dtype is <U1"),
        (lambda: nc.unfold("image", 1), TypeError, "input must be a NumPy array; got builtins.str"),
        (lambda: nc.fold(np.ones(4), 2, 1), ValueError, "input must have shape (N, C * KH * KW, L) or (C * KH * KW, L); got (4,)"),
        (lambda: nc.fold(np.ones((8, 4)), 4, 3), ValueError, "input must have a multiple of 9 rows"),
        (lambda: nc.fold(np.ones((9, 5)), 4, 3), ValueError, "input must have a column for each of 4 windows (height 2, width 2) of output_size (4, 4); got 5"),
        (lambda: nc.fold(np.ones((9, 4)), 0, 3), ValueError, "output_size must be at least 1; got 0"),
    ],
)  # fmt: skip
def test_refused(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        call()
