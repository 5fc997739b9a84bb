"""SciPy's signal functions beside SciPy's."""

import concurrent.futures
import itertools
import tracemalloc
import warnings

import hypothesis
import numba
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from hypothesis import strategies as st
from strategies import LAYOUTS

import numbaconv as nc
from numbaconv import choosing, signal
from numbaconv.algorithms import fft

MODES = ("full", "same", "valid")
SCIPY_MODES = ("reflect", "constant", "nearest", "mirror", "wrap", "grid-mirror", "grid-constant", "grid-wrap")
BOUNDARIES = ("fill", "wrap", "symm", "pad", "circular", "symmetric")
DTYPES = ("f4", "f8", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "c8", "c16", "?", "f2")
METHODS = ("auto", "direct", "fft")


def normal(random, shape, dtype):
    """Numbers that fit the dtype, and fill it where it is an integer's."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return random.random(shape) > 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, shape, dtype, endpoint=True)
    values = random.normal(size=shape)
    return (values + 1j * random.normal(size=shape) if dtype.kind == "c" else values).astype(dtype)


@st.composite
def pairs(draw, ndims=(2,), dtypes=DTYPES, largest=14):
    """Two arrays of random shapes and dtypes, neither empty."""
    ndim = draw(st.sampled_from(ndims))
    most = largest if ndim < 3 else 5
    first, second = (
        tuple(draw(st.integers(1, most)) for _ in range(ndim)) for most in (draw(st.sampled_from((most, 5))), most)
    )
    if draw(st.booleans()):
        first = (*first[:-1], draw(st.integers(1, 150 if ndim < 3 else 40)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = [draw(st.sampled_from(dtypes)) for _ in range(2)]
    if draw(st.booleans()):
        kinds[1] = kinds[0]
    return normal(random, first, kinds[0]), normal(random, second, kinds[1])


def outcome(function, *arguments, **keywords):
    """What a call returns, or the type of what it raises."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **keywords)
    except Exception as error:
        return type(error)


def assert_same(ours, theirs, bound):
    """The same error, or the same shape, dtype and, but for rounding, values."""
    if isinstance(theirs, type):
        assert ours is theirs
        return
    assert not isinstance(ours, type), ours
    assert (np.shape(ours), np.asarray(ours).dtype) == (np.shape(theirs), np.asarray(theirs).dtype)
    if theirs.dtype.kind in "fc":
        assert (np.abs(ours - theirs) <= bound).all()
    else:
        np.testing.assert_array_equal(ours, theirs)


def rounding(first, second, dtype, convolved):
    """What rounding may do to two sums of these products in any order, complex ones of two products each."""
    if dtype.kind not in "fc":
        return 0
    products = min(first.size, second.size) * (1 + (dtype.kind == "c"))
    absolute = (np.abs(array.astype("c16")) for array in (first, second))
    return 2 * (products + 3) * np.finfo(dtype).eps * convolved(*absolute)


@hypothesis.given(
    arrays=pairs(),
    name=st.sampled_from(("convolve2d", "correlate2d")),
    mode=st.sampled_from(MODES),
    boundary=st.sampled_from(BOUNDARIES),
    fill=st.sampled_from((0, 0, 3, -2.5)),
)
def test_2d(arrays, name, mode, boundary, fill):
    theirs = outcome(getattr(scipy.signal, name), *arrays, mode, boundary, fill)
    ours = outcome(getattr(signal, name), *arrays, mode, boundary, fill)
    dtype = getattr(theirs, "dtype", np.dtype("i4"))
    reference = getattr(scipy.signal, name)
    assert_same(ours, theirs, rounding(*arrays, dtype, lambda x, k: reference(x, k, mode, boundary, abs(fill)).real))


@hypothesis.given(
    arrays=pairs(ndims=(1, 2, 3, 4), dtypes=DTYPES[:-1]),
    name=st.sampled_from(("convolve", "correlate")),
    mode=st.sampled_from(MODES),
    method=st.sampled_from(("auto", "direct")),
)
def test_nd(arrays, name, mode, method):
    theirs = outcome(getattr(scipy.signal, name), *arrays, mode, "direct")
    ours = outcome(getattr(signal, name), *arrays, mode, method)
    dtype = getattr(theirs, "dtype", np.dtype("i4"))
    reference = getattr(scipy.signal, name)
    assert_same(ours, theirs, rounding(*arrays, dtype, lambda x, k: reference(x, k, mode, "direct").real))


@hypothesis.given(
    arrays=pairs(ndims=(1, 2, 3), dtypes=("f4", "f8", "c8", "c16", "u1", "i4", "f2", "?"), largest=40),
    name=st.sampled_from(("fftconvolve", "oaconvolve")),
    mode=st.sampled_from(MODES),
    data=st.data(),
)
def test_transforms(arrays, name, mode, data):
    first, second = arrays
    axes = data.draw(st.none() | st.lists(st.integers(-first.ndim, first.ndim - 1), min_size=1, max_size=2))
    if axes is not None and data.draw(st.booleans()):
        others = [axis for axis in range(first.ndim) if axis not in [a % first.ndim for a in axes]]
        second = second[tuple(slice(0, 1) if axis in others else slice(None) for axis in range(second.ndim))]
    theirs = outcome(getattr(scipy.signal, name), first, second, mode, axes)
    ours = outcome(getattr(signal, name), first, second, mode, axes)
    if isinstance(theirs, type):
        assert ours is theirs
        return
    size = float(np.abs(first.astype("c16")).sum() * np.abs(second.astype("c16")).max())
    # SciPy transforms each array in its own precision.
    inexact = [np.finfo(array.dtype).eps for array in (theirs, first, second) if array.dtype.kind in "fc"]
    assert_same(ours, theirs, 30 * size * min(max(inexact, default=0), np.finfo("f4").eps))


@hypothesis.given(arrays=pairs(dtypes=("f4", "f8")), boundary=st.sampled_from(("reflect", "mirror", "nearest")))
def test_boundaries_beyond_scipy(arrays, boundary):
    image, taps = arrays
    pads = [(k // 2, k - 1 - k // 2) for k in taps.shape]
    hypothesis.assume(all(max(pad) < n for pad, n in zip(pads, image.shape, strict=True)))
    padded = np.pad(image, pads, "edge" if boundary == "nearest" else "reflect")
    ours = signal.convolve2d(image, taps, "same", boundary)
    theirs = scipy.signal.convolve2d(padded, taps, "valid")
    bound = rounding(padded, taps, theirs.dtype, lambda x, k: scipy.signal.convolve2d(x, k, "valid").real)
    assert (np.abs(ours - theirs) <= bound).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f4", "u1", "c16", "i4"])
def test_layouts(layout, dtype):
    random = np.random.default_rng(0)
    image, taps = normal(random, (20, 45), dtype), normal(random, (4, 5), dtype)
    if layout == "sliced" and np.dtype(dtype).kind != "f":
        pytest.skip("is surrounded by NaN")
    if "backwards" in layout and np.dtype(dtype).kind != "f":
        pytest.skip("is surrounded by NaN")
    arranged = [LAYOUTS[layout](array) for array in (image, taps)]
    expected = signal.convolve2d(*(array.astype(dtype).copy() for array in arranged))
    result = signal.convolve2d(*arranged)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


# ------------------------------------------------------------------------------------------ large problems


def large(kind, dtype="f4", shape=(300, 400), taps=(31, 31)):
    """An image and a kernel for which separable passes or transforms are chosen."""
    random = np.random.default_rng(1)
    image = normal(random, shape, dtype)
    kernel = np.outer(*(normal(random, n, dtype) for n in taps)) if kind == "separable" else normal(random, taps, dtype)
    return image, kernel


def direct(image, taps):
    """The result in float64, summed by SciPy tap by tap; integers wrap."""
    return scipy.ndimage.convolve(image.astype("f8"), taps.astype("f8"), mode="constant")


@pytest.mark.parametrize(
    ("kind", "dtype", "taps"), [("separable", "f4", 31), ("separable", "f8", 31), ("fft", "f4", 101), ("fft", "f8", 61)]
)
def test_faster_ways(kind, dtype, taps):
    """They are taken, and as accurate as direct summation."""
    image, kernel = large(kind, dtype, (600, 700), (taps, taps))
    assert signal.explain(image, kernel, "same").method == kind
    ours = signal.convolve2d(image, kernel, "same")
    part = (slice(250, 290), slice(300, 350))
    around = tuple(slice(s.start - taps, s.stop + taps) for s in part)
    wanted = direct(image[around], kernel)[taps:-taps, taps:-taps]
    size = direct(np.abs(image[around]), np.abs(kernel))[taps:-taps, taps:-taps]
    assert (np.abs(ours[part] - wanted) <= 30 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("kind", ["separable", "fft"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_spreads(kind, value):
    """NaN and infinity reach the outputs that they reach in direct summation, and no others."""
    image, kernel = large(kind, taps=(75, 75) if kind == "fft" else (31, 31))
    image[100, 200] = value
    ours = signal.convolve2d(image, kernel, "same")
    theirs = signal.convolve(image, kernel, "same", "direct")
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_array_equal(np.isinf(ours), np.isinf(theirs))


def test_overflow_between_the_passes():
    """A line that overflows, though no sum does, is summed directly."""
    image, kernel = large("separable")
    kernel[15, :] *= 1e-6
    kernel *= np.float32(1e-2)
    image[50] *= np.float32(1e38)
    ours = signal.convolve2d(image, kernel, "same")
    theirs = signal.convolve(image, kernel, "same", "direct")
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))


def test_wide_ranges_are_not_transformed():
    """In float64 a transform would drown small values beside large ones."""
    random = np.random.default_rng(1)
    image, kernel = random.standard_normal((3, 60_000)), random.standard_normal((1, 2_000))
    assert signal.explain(image, kernel, "valid").method == "fft"
    image[:, :30_000] *= 1e6
    plan = signal.explain(image, kernel, "valid")
    assert plan.method == "direct"
    assert "last digits" in dict(plan.rejected)["fft"]


@pytest.mark.parametrize("kind", ["halves", "spike", "stripes", "zeros", "nan"])
@pytest.mark.parametrize("shape", [(50_000,), (2, 40_000), (8, 60, 300)])
def test_float32_results_of_any_size(kind, shape):
    """Those that transforms would drown are summed directly; so are those of blocks that hold NaN."""
    random = np.random.default_rng(1)
    image = random.standard_normal(shape)
    taps = random.standard_normal((1,) * (len(shape) - 1) + (1_500,) if len(shape) < 3 else (8, 30, 40))
    if kind == "halves":
        image[..., : shape[-1] // 2] *= 1e12
    elif kind == "spike":
        image[..., 7] *= 1e12
    elif kind == "stripes":
        image[..., ::2] *= 1e-12
        taps[..., 1::2] = 0
    elif kind == "zeros":
        image[..., shape[-1] // 4 : shape[-1] // 2] = 0
    else:
        image[..., 99] = np.nan
    image, taps = image.astype("f4"), taps.astype("f4")
    assert signal.explain(image, taps).method == "fft"
    ours = signal.convolve(image, taps)
    double, sizes = (
        signal.convolve(convert(image).astype("f8"), convert(taps).astype("f8"), method="direct")
        for convert in (np.asarray, np.abs)
    )
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(double))
    finite = ~np.isnan(double)
    assert (np.abs(ours - double) <= (taps.size + 1) * 2.0**-24 * sizes)[finite].all()


def test_integers_by_transforms_are_exact():
    random = np.random.default_rng(2)
    image, kernel = random.integers(-999, 999, (300, 400)), random.integers(-99, 99, (61, 61))
    assert signal.explain(image, kernel).method == "fft"
    np.testing.assert_array_equal(signal.convolve2d(image, kernel), signal.convolve(image, kernel, method="direct"))
    plan = signal.explain(image * 2**40, kernel)
    assert "not provably exact" in dict(plan.rejected)["fft"]


@pytest.mark.parametrize("kind", ["direct", "separable", "fft"])
@pytest.mark.parametrize("dtype", ["f4", "c16", "u1"])
def test_threads_change_nothing(kind, dtype):
    image, kernel = large(kind, dtype, taps=(9, 9) if kind == "direct" else (45, 45))
    before = numba.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(signal.convolve2d(image, kernel))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8"])
def test_threads_change_nothing_in_a_sequence(dtype):
    """Threads take its blocks as they come; some of a silent one's results are summed again."""
    sequence = np.random.default_rng(3).normal(size=200_000).astype(dtype)
    sequence[90_000:150_000:7] = 0
    sequence[100_000:104_000] = 1e-12
    taps = np.random.default_rng(4).normal(size=1001).astype(dtype)
    results = []
    for threads in (1, 2):
        with nc.threads(threads):
            results.append(signal.convolve(sequence, taps))
    np.testing.assert_array_equal(*results)


def test_threads_of_a_sequence_are_as_their_caller():
    """What fails in one of them fails, and NumPy's errors are the caller's."""
    with np.errstate(over="raise"):
        assert fft._each(lambda _: np.geterr()["over"], range(20), 3) == ["raise"] * 20
    with pytest.raises(ZeroDivisionError):
        fft._each(lambda item: 1 // (item - 7), range(20), 3)


def beyond(image, taps):
    """What a call has allocated at its height beyond input and output, relative to these."""
    tracemalloc.start()
    with nc.threads(2):
        out = signal.convolve2d(image, taps, "same")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (peak - out.nbytes) / (image.nbytes + out.nbytes)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_memory(dtype):
    """Beside input and output, direct sums take less than a tenth of them on 2 threads; so do large separable ones."""
    small, large = np.ones((512, 512), dtype), np.ones((2160, 3840), dtype)
    kernels = [np.ones((3, 3), dtype), np.eye(9, dtype=dtype), np.ones((31, 31), dtype)]
    for image, taps in ((small, kernels[0]), (small, kernels[1]), *((large, each) for each in kernels)):
        signal.convolve2d(image, taps, "same")  # compiled now
        with concurrent.futures.ThreadPoolExecutor(1) as thread:  # a new one has no buffers of earlier calls
            assert thread.submit(beyond, image, taps).result() < 0.1, (image.shape, taps.shape)


def test_the_interpreter_is_free():
    from numbaconv.kernels import image

    assert image.image_serial.targetoptions["nogil"]
    assert image.image_parallel.targetoptions["nogil"]


# ---------------------------------------------------------------------------------------------- the edges


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # large integers by method "fft", NaN
def test_nothing_is_left_to_scipy(monkeypatch):
    """But for results of bool, half, longdouble and objects: SciPy's own functions raise here, and NumPy's."""

    def refuse(*_arguments, **_keywords):
        raise AssertionError("was handed on")

    names = [name for name in signal.__all__ if hasattr(scipy.signal, name)]
    filters = nc.ndimage.__all__
    for modules, called in (
        ((scipy.signal, scipy.signal._signaltools), names),
        ((scipy.ndimage, scipy.ndimage._filters), filters),
        ((scipy.signal._sigtools,), ("_convolve2d", "_correlateND")),
        ((scipy.ndimage._nd_image,), ("correlate", "correlate1d")),
        ((np, np._core.multiarray), ("correlate",)),
        ((np,), ("convolve",)),
    ):
        for module, name in itertools.product(modules, called):
            monkeypatch.setattr(module, name, refuse)
    random = np.random.default_rng(3)
    kinds = DTYPES[:-2]
    pairs_of_dtypes = [(kind, kind) for kind in kinds] + [
        ("u1", "f4"),
        ("f4", "f8"),
        ("?", "i2"),
        ("f8", "c8"),
        ("f2", "f4"),
    ]
    two, several = [name for name in names if name.endswith("2d")], [name for name in names if not name.endswith("2d")]
    for first, second in pairs_of_dtypes:
        image, taps = normal(random, (9, 12), first), normal(random, (3, 4), second)
        for mode in MODES:
            for name, boundary, fill in itertools.product(two, (*BOUNDARIES, "reflect", "mirror", "nearest"), (0, 3)):
                getattr(signal, name)(image, taps, mode, boundary, fill)
            for name, method in itertools.product(("convolve", "correlate"), METHODS):
                for a, b in ((image, taps), (taps, image), (image[0], taps[0]), (image[None], taps[None, :, :1])):
                    getattr(signal, name)(a, b, mode, method)
            for name in several:
                getattr(signal, name)(image, taps, mode)
                getattr(signal, name)(image[0], taps[0], mode)
        for name, mode in itertools.product(filters if first != "f2" else (), SCIPY_MODES):  # SciPy refuses half
            getattr(nc.ndimage, name)(image, taps[0] if name.endswith("1d") else taps, mode=mode)
    for name in ("fftconvolve", "oaconvolve"):
        getattr(signal, name)(np.ones((4, 5, 6)), np.ones((4, 2, 6)), axes=1)
    for shapes in (((0, 3), (2, 2)), ((3, 3), (0, 2))):
        for name in two:
            getattr(signal, name)(*map(np.ones, shapes))
    # The faster ways; in float64, and with a NaN, too, where some outputs are summed again.
    for kind, dtype in itertools.product(("separable", "fft"), ("f4", "f8", "i4")):
        image, taps = large(kind, "f4", taps=(45, 45))
        image, taps = (np.rint(array).astype(dtype) for array in (image, taps))
        signal.convolve2d(image, taps)
        signal.correlate(image, taps, "same")
        if dtype != "i4":
            image[5, 5] = np.nan
            signal.convolve2d(image, taps)
            nc.ndimage.convolve(image, taps)
    for dtype in ("g", "?", "O"):
        with pytest.raises(AssertionError, match="handed on"):
            signal.convolve2d(np.ones((3, 3)).astype(dtype), np.ones((2, 2)).astype(dtype))


@pytest.mark.parametrize("name", ["convolve2d", "correlate2d", "convolve", "correlate", "fftconvolve", "oaconvolve"])
@pytest.mark.parametrize("shapes", [((0, 3), (2, 2)), ((3, 3), (0, 2)), ((3, 0), (2, 0)), ((), ()), ((3,), (2, 2))])
@pytest.mark.parametrize("mode", MODES)
def test_odd_shapes(name, shapes, mode):
    arrays = [np.ones(shape) for shape in shapes]
    theirs, ours = (outcome(getattr(module, name), *arrays, mode) for module in (scipy.signal, signal))
    if isinstance(theirs, type):
        assert ours is theirs
    else:
        assert (np.shape(ours), np.asarray(ours).dtype) == (np.shape(theirs), np.asarray(theirs).dtype)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("convolve2d", {"mode": "chips"}), ("convolve2d", {"boundary": "bogus"}), ("convolve2d", {"fillvalue": [1, 2]}),
        ("convolve2d", {"fillvalue": 1j}), ("convolve2d", {"fillvalue": "a"}), ("correlate", {"mode": "chips"}),
        ("convolve", {"mode": "chips"}), ("convolve", {"method": "chips"}), ("correlate", {"method": "chips"}),
        ("fftconvolve", {"mode": "chips"}), ("fftconvolve", {"axes": 5}), ("fftconvolve", {"axes": []}),
        ("oaconvolve", {"axes": [0, 0]}), ("oaconvolve", {"axes": "a"}), ("choose_conv_method", {"mode": "chips"}),
    ],
)  # fmt: skip
def test_errors(name, arguments):
    arrays = np.ones((4, 5)), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"\w"):
        getattr(signal, name)(*arrays, **arguments)
    assert outcome(getattr(scipy.signal, name), *arrays, **arguments) is ValueError


def test_nan_in_a_transform_warns():
    image = np.ones(50)
    image[0] = np.nan
    with pytest.warns(RuntimeWarning, match="NAN"):
        assert np.isnan(signal.convolve(image, np.ones(3), method="fft")[0])
    assert np.isnan(signal.convolve(image, np.ones(3))).sum() == 3


def test_measured_choice():
    chosen, times = signal.choose_conv_method(np.ones(100), np.ones(3), measure=True)
    assert chosen == min(times, key=times.get)


def test_plans_print():
    image, kernel = large("separable")
    text = str(signal.explain(image, kernel, "same"))
    assert "separable: expected to be fastest" in text
    assert "rejected   direct: expected to take" in text
    with pytest.raises(TypeError, match="left to SciPy"):
        signal.explain(np.ones((2, 2), bool), np.ones((2, 2), bool))


def test_transforms_err_less_than_sums():
    """In float32, where the sizes of values differ, too: :mod:`test_tiles` looks at each output."""
    image, kernel = large("fft", taps=(75, 75))
    for factor in (1, 1000):
        image[:, :150] *= factor
        assert signal.explain(image, kernel, "same").method == "fft"
        exact = signal.convolve(image.astype("f8"), kernel.astype("f8"), "same", "direct")
        transformed, summed = signal.convolve2d(image, kernel, "same"), signal.convolve(image, kernel, "same", "direct")
        for part in (np.s_[:], np.s_[:4, :4], np.s_[:, 250:]):
            assert np.square(transformed - exact)[part].mean() < np.square(summed - exact)[part].mean()


def test_low_rank():
    """A sum of outer products that gives every tap to the last digits is summed by rows and columns."""
    random = np.random.default_rng(4)
    parts = [np.outer(*random.integers(-9, 10, (2, 45))) for _ in range(2)]
    kernel = sum(parts).astype(np.float32)
    image = normal(random, (700, 800), "f4")
    plan = signal.explain(image, kernel, "same")
    assert plan.method == "separable"
    assert plan.factors[0].shape == (45, 2)
    ours, theirs = signal.convolve2d(image, kernel, "same"), signal.convolve(image, kernel, "same", "direct")
    size = np.abs(kernel).sum() * np.abs(image).max()
    assert np.abs(ours - theirs).max() < 1e-6 * size


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_transforms_do_not_overflow(dtype):
    """Where the product of two spectra would, though no sum does, sums are taken, or transforms of a wider dtype."""
    image, kernel = large("fft", dtype, taps=(75, 75))
    big, small = (1e16, 1e16) if dtype == "f4" else (1e148, 1e148)
    ours = signal.convolve2d(image * np.array(big, dtype), kernel * np.array(small, dtype), "same")
    theirs = signal.convolve2d(image.astype("f8"), kernel.astype("f8"), "same") * big * small
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_integer_images_are_measured_in_full():
    """Squares of narrow integers would wrap, and an uneven image pass for an even one."""
    image, kernel = np.full((3, 60_000), 1, np.int64), np.random.default_rng(1).standard_normal((1, 2_000))
    assert signal.explain(image, kernel, "valid").method == "fft"
    image[:, :30_000] = 2**40
    assert "last digits" in dict(signal.explain(image, kernel, "valid").rejected)["fft"]


def test_separable_kernels_on_a_tall_image():
    """Its longest dimension is the first one, so the kernels take the dimensions the other way round."""
    random = np.random.default_rng(8)
    image, taps = random.standard_normal((40_000, 20)), np.outer(random.random(7), random.random(9))
    assert signal.explain(image, taps, "same").method == "separable"
    expected = scipy.signal.convolve2d(image, taps, "same")
    np.testing.assert_allclose(signal.convolve2d(image, taps, "same"), expected, rtol=1e-10, atol=1e-10)


@hypothesis.given(
    arrays=pairs(ndims=(1, 2), dtypes=("f4", "f8", "u1", "i4", "c8", "?")), name=st.sampled_from(signal.__all__[1:5]),
    mode=st.sampled_from(MODES),
)  # fmt: skip
def test_a_small_call_goes_the_way_of_the_one_before(arrays, name, mode):
    """With other values; on arrays turned round, out of line, or exchanged it does not."""
    if name.endswith("2d") and arrays[0].ndim != 2:
        return
    function, (first, second) = getattr(signal, name), arrays
    unaligned = np.zeros(first.nbytes + 1, np.uint8)[1:].view(first.dtype).reshape(first.shape)
    unaligned[...] = first
    calls = [(first, second), (first[::-1], second), (unaligned, second), (first, second[::-1]), (second, first)]
    expected = [outcome(function, a.copy(), b.copy(), mode) for a, b in calls]
    for (a, b), wanted in zip(calls, expected, strict=True):
        for _ in range(2):
            result = outcome(function, a, b, mode)
            if isinstance(wanted, type):
                assert result is wanted
            else:
                np.testing.assert_array_equal(result, wanted)
    assert choosing._calls  # some are known


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u4", "i8", "u8"])
def test_whole_outer_products(dtype):
    """Integer kernels are taken apart exactly; sums wrap around."""
    random = np.random.default_rng(5)
    image = normal(random, (400, 500), dtype)
    column, row = (random.integers(-6 * (dtype[0] == "i"), 7, 15) for _ in range(2))
    taps = np.outer(6 * column, row).astype(dtype)
    plan = signal.explain(image, taps, "same")
    assert plan.method == "separable"
    np.testing.assert_array_equal(signal.convolve2d(image, taps, "same"), scipy.signal.convolve2d(image, taps, "same"))
    taps[3, 4] += 1
    assert signal.explain(image, taps, "same").method != "separable"
    np.testing.assert_array_equal(signal.convolve2d(image, taps, "same"), scipy.signal.convolve2d(image, taps, "same"))
