"""Every dtype, in every function: integers and booleans in NumPy's arithmetic, narrow floats, complex numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import tap_reference, transposed_reference, weight_gradient_reference
from strategies import LAYOUTS, SUMMING, conv_problems, out_layouts, transposed_problems
from test_adjoint import INPUT_GRADIENTS, WEIGHT_GRADIENTS

import numbaconv as nc

INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
NARROW = ("float16", "bfloat16")
DTYPES = (*INTEGERS, "?", *NARROW, "c8", "c16")
every_dtype = pytest.mark.parametrize("name", DTYPES)
#: Sums of these products fit float16, whose integers end at 2048, and bfloat16, whose end at 256.
FEW = {"float16": 2, "bfloat16": 1}


def dtype_of(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def numbers(random, shape, dtype):
    """Integers of the whole range, a few trues, small integers, or complex numbers of small integers."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, shape, dtype, endpoint=True)
    if dtype.kind == "b":
        return random.random(shape) < 0.1
    if dtype.kind == "c":
        return (random.integers(-8, 9, shape) + 1j * random.integers(-8, 9, shape)).astype(dtype)
    most = FEW[dtype.name]
    return random.integers(-most, most + 1, shape).astype(dtype)


def reference_dtype(dtype):
    return np.dtype(np.float64) if dtype.name in NARROW else dtype


def draw_arrays(case, dtype, filters):
    """The arrays of a case in a dtype, and its arguments without what complex numbers lack."""
    random = np.random.default_rng(case.seed)
    shapes = (case.input_shape, case.weight_shape, (filters,))
    x, w, b = (numbers(random, shape, dtype) for shape in shapes)
    case = case.without("activation") if dtype.kind == "c" else case
    return x, w, b if case.bias else None, case


def assert_equal(out, expected, dtype):
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, expected.astype(dtype))


@every_dtype
@given(
    case=conv_problems(sizes=("small", "small", "deep", "broad")),
    algorithm=st.sampled_from(SUMMING),
    layout=out_layouts,
)
def test_convolution(name, case, algorithm, layout):
    dtype = dtype_of(name)
    x, w, b, case = draw_arrays(case, dtype, case.weight_shape[0])
    expected = tap_reference(x, w, b, **case.arguments, dtype=reference_dtype(dtype)).astype(dtype)
    assert_equal(case.convolve(x, w, b, algorithm=algorithm), expected, dtype)
    out = LAYOUTS[layout](np.ones_like(expected))
    assert case.convolve(x, w, b, algorithm=algorithm, out=out) is out
    assert_equal(np.array(out, dtype, order="C"), expected, dtype)


@every_dtype
@given(case=transposed_problems(), algorithm=st.sampled_from(SUMMING))
def test_transposed_convolution(name, case, algorithm):
    dtype = dtype_of(name)
    x, w, b, case = draw_arrays(case, dtype, case.weight_shape[1] * case.arguments["groups"])
    expected = transposed_reference(x, w, b, **case.arguments, dtype=reference_dtype(dtype))
    assert_equal(case.convolve(x, w, b, algorithm=algorithm), expected, dtype)


@every_dtype
@given(case=conv_problems(sizes=("small",)), algorithm=st.sampled_from(SUMMING))
def test_gradients(name, case, algorithm):
    """Of complex numbers the conjugates are taken: <conv(x, w), g> = <x, conv_input(w, g)> = <w, conv_weight(x, g)>."""
    dtype = dtype_of(name)
    case = case.without("bias", "activation", "padding_mode")
    x, w, _, case = draw_arrays(case, dtype, case.weight_shape[0])
    y = tap_reference(x, w, **case.arguments, dtype=reference_dtype(dtype))
    g = numbers(np.random.default_rng(case.seed + 1), y.shape, dtype)
    options = {**case.gradient_arguments, "algorithm": algorithm}
    by_input = INPUT_GRADIENTS[w.ndim - 2](x.shape, w, g, **options)
    by_weight = WEIGHT_GRADIENTS[w.ndim - 2](x, w.shape, g, **options)
    expected = weight_gradient_reference(x.conj(), w.shape, g, **case.gradient_arguments, dtype=reference_dtype(dtype))
    assert_equal(by_weight, expected, dtype)
    assert by_input.shape == x.shape
    kind = reference_dtype(dtype)
    if dtype.kind == "b":
        assert (y & g).any() == (x & by_input).any()
    else:  # sums of integers modulo their range
        total = (y.astype(kind) * g.astype(kind).conj()).sum(dtype=kind)
        assert total == (x.astype(kind) * by_input.astype(kind).conj()).sum(dtype=kind)


def test_images_of_bytes_do_not_wrap():
    x, w = np.full((1, 1, 4, 4), 255, np.uint8), np.ones((1, 1, 3, 3), np.uint8)
    assert nc.conv2d(x, w)[0, 0, 0, 0] == 255 * 9 % 256
    for dtype in (np.int32, np.uint64, np.float32):
        out = nc.conv2d(x, w, dtype=dtype)
        assert out.dtype == dtype
        assert (out == 255 * 9).all()


@pytest.mark.parametrize("name", NARROW)
def test_narrow_floats_accumulate_in_float32(name):
    """4096 ones, where a narrow sum would have stopped growing long before."""
    dtype = dtype_of(name)
    assert nc.conv1d(np.ones((1, 1, 4096), dtype), np.ones((1, 1, 4096), dtype)) == 4096


def test_float16_overflows_to_infinity():
    assert np.isposinf(nc.conv1d(np.full((1, 1, 4), 30000, "f2"), np.ones((1, 1, 4), "f2"))).all()


@pytest.mark.parametrize("name", ["c8", "c16"])
def test_complex_accuracy(name):
    random = np.random.default_rng(0)
    x, w = (random.normal(size=(2, *shape)) for shape in ((1, 8, 20, 40), (9, 8, 3, 3)))
    x, w = ((array[0] + 1j * array[1]).astype(name) for array in (x, w))
    exact = tap_reference(x, w, dtype=np.complex128)
    error = np.abs(nc.conv2d(x, w, precision="exact") - exact).max()
    assert error <= 2 * 8 * 9 * np.finfo(name).eps * np.abs(exact).max()


@every_dtype
def test_layers(name):
    """Their packed weights follow the dtype of what they are called with.

    A transposed layer sums in another order than a plain call, which does not lay out weights for a few pixels.
    """
    random = np.random.default_rng(0)
    dtype = dtype_of(name)
    w, wide = numbers(random, (4, 2, 3, 3), dtype), random.integers(-4, 5, (1, 2, 8, 9))
    x = numbers(random, (1, 2, 8, 9), dtype)
    for make, call in ((nc.nn.Conv2d, nc.conv2d), (nc.nn.ConvTranspose2d, nc.conv_transpose2d)):
        weight = w if call is nc.conv2d else w.swapaxes(0, 1)
        layer = make.from_weight(weight)
        for _ in range(2):
            for images in (x, wide.astype("c16"), wide.astype("f8"), x):
                out, expected = layer(images), call(images, weight)
                assert out.dtype == expected.dtype
                if call is nc.conv2d or expected.dtype.kind not in "fc":
                    np.testing.assert_array_equal(out, expected)
                    continue
                largest = np.abs(call(np.abs(images), np.abs(weight))).max()
                assert np.abs(out - expected).max() <= 20 * np.finfo(expected.dtype).eps * largest
