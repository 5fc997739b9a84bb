"""SciPy's image filters beside SciPy's: the same bits, where sums are added in the same order."""

import hypothesis
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import strategies as st
from test_signal import assert_same, normal, outcome, pairs

from numbaconv import ndimage

MODES = ("reflect", "constant", "nearest", "mirror", "wrap", "grid-mirror", "grid-constant", "grid-wrap")
IMAGES = ("f4", "f8", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "c8", "c16", "?")
OUTPUTS = (None, None, "f4", "f8", "i8")


def fitting(taps, image, output):
    """Taps of so small a sum that all integers that arise fit; what does not is another value on every CPU."""
    if image.dtype.kind == "c" or taps.dtype.kind == "c" or (image.dtype.kind == "f" and output is None):
        return taps
    taps = taps / max(1.0, float(np.abs(taps.astype("f8")).sum())) * 0.99  # int8 has no 128
    return np.abs(taps) if image.dtype.kind in "ub" else taps


def both(name, *arguments, **keywords):
    return [outcome(getattr(module, name), *arguments, **keywords) for module in (ndimage, scipy.ndimage)]


@hypothesis.given(
    arrays=pairs(ndims=(1, 2, 2, 3), dtypes=IMAGES),
    taps_dtype=st.sampled_from(("f4", "f8", "i1", "c16")),
    name=st.sampled_from(("convolve", "correlate")),
    mode=st.sampled_from(MODES),
    output=st.sampled_from(OUTPUTS),
    data=st.data(),
)
def test_nd(arrays, taps_dtype, name, mode, output, data):
    image, shape = arrays[0], arrays[1].shape
    taps = normal(np.random.default_rng(image.size), shape, taps_dtype)
    taps = fitting(taps, image, output)
    if image.dtype.kind == "c" or taps.dtype.kind == "c":
        output = None
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8:
        image = image >> 12  # a double holds 53 bits
    origin = [data.draw(st.integers(-(n // 2), (n - 1) // 2)) for n in shape]
    # Four sizes before an axis SciPy's "reflect" reads memory that is not the image's.
    far = any(k > 4 * n for k, n in zip(shape, image.shape, strict=True))
    hypothesis.assume(not (far and mode in ("reflect", "grid-mirror")))
    ours, theirs = both(name, image, taps, output, mode, 1.5, origin)
    absolute = float(np.abs(taps.astype("c16")).sum())  # of int8 -128 it would be -128
    size = (float(np.abs(image.astype("c16")).max()) + 2) * absolute
    complex_ = np.iscomplexobj(theirs)
    assert_same(ours, theirs, 4 * np.finfo(theirs.dtype).eps * size if complex_ else 0)


@hypothesis.given(
    arrays=pairs(ndims=(1, 2, 3), dtypes=("f4", "f8", "c8", "c16")),
    name=st.sampled_from(("convolve1d", "correlate1d")),
    mode=st.sampled_from(MODES),
    data=st.data(),
)
def test_1d(arrays, name, mode, data):
    image, taps = arrays[0], arrays[1].reshape(-1)[:9]
    axis = data.draw(st.integers(-image.ndim, image.ndim - 1))
    n = len(taps) if name == "correlate1d" else -len(taps)
    origin = data.draw(st.integers(-(abs(n) // 2), (abs(n) - 1) // 2))
    ours, theirs = both(name, image, taps, axis, None, mode, 1.5, origin)
    size = float(np.abs(image).max() + 2) * float(np.abs(taps).sum())
    eps = np.finfo(getattr(theirs, "dtype", "f8")).eps
    assert_same(ours, theirs, 8 * eps * size)


@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_taps_of_zero_are_left_out(name):
    """NaN under them stays where it is."""
    image = np.random.default_rng(0).normal(size=(12, 15))
    image[4, 5], image[8, 3] = np.nan, np.inf
    taps = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0.0]])
    np.testing.assert_array_equal(*both(name, image, taps))


@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_output(name):
    image = np.arange(30.0).reshape(5, 6)
    taps = np.ones((3, 3))
    expected = getattr(scipy.ndimage, name)(image, taps)
    out = np.zeros((5, 12))[:, ::2]
    assert getattr(ndimage, name)(image, taps, out) is out
    np.testing.assert_array_equal(out, expected)
    getattr(ndimage, name)(image, taps, image)  # in place
    np.testing.assert_array_equal(image, expected)


def test_large_images_take_the_faster_ways():
    random = np.random.default_rng(1)
    row = np.exp(-(np.linspace(-3, 3, 31) ** 2))
    image = random.normal(size=(500, 600)).astype(np.float32)
    for taps in (np.outer(row, row), random.normal(size=(75, 75))):
        ours, theirs = both("correlate", image[:200, :200], taps)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(taps).sum())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("correlate", ([[1.0, 2]], [1.0])), ("correlate", ([1.0, 2], [1.0], None, "bogus")),
        ("correlate", ([1.0, 2], [1.0], None, ["reflect"])), ("correlate", ([1.0, 2], [1.0], None, "wrap", 0, 3)),
        ("correlate", ([1.0, 2], [])), ("correlate1d", ([1.0, 2], [])), ("correlate1d", ([1.0, 2], [[1.0]])),
        ("correlate1d", ([1.0, 2], [1.0], 3)), ("correlate1d", ([1.0, 2], [1.0], 0, None, "wrap", 0, 2)),
        ("convolve", (np.ones(3, np.float16), [1.0])), ("convolve", (np.ones(3, np.longdouble), [1.0])),
        ("convolve", ([1.0, 2], [1.0], np.zeros(3))), ("convolve", ([1.0, 2], [1j], np.zeros(2))),
        ("convolve", ([1.0, 2], [1j], None, "constant", 1j)), ("convolve", ([1.0, 2], [1j], "float64")),
    ],
)  # fmt: skip
def test_errors(name, arguments):
    ours, theirs = both(name, *arguments)
    assert isinstance(theirs, type)
    assert ours is theirs


@pytest.mark.parametrize("axes", [0, 1, (0, 2), (1, 2), (2, 0)])
def test_axes(axes):
    random = np.random.default_rng(2)
    image = random.normal(size=(6, 7, 8))
    taps = random.normal(size=(3, 2)[: np.size(axes)])
    ours, theirs = both("convolve", image, taps, axes=axes)
    np.testing.assert_array_equal(ours, theirs)
