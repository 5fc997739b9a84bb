"""The public functions, and SciPy's, inside @njit: the same bits as outside."""

import ctypes
import pathlib

import hypothesis
import numba
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from hypothesis import strategies as st
from numba import njit

import numbaconv as nc
from numbaconv import numba_ext
from numbaconv.algorithms import direct_channels, direct_pixels, im2col, winograd
from numbaconv.kernels import geometry as at
from numbaconv.planner import choose, rows
from numbaconv.problem import conv_problem

numba_ext.register()  # scipy.signal and scipy.ndimage are imported by now

PROGRAMS = pathlib.Path(__file__).parent / "njit_programs.py"
DTYPES = ("f4", "f8", "i4", "u1", "c8")


def numbers(random, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return random.integers(0, 100, shape).astype(dtype)
    if dtype.kind == "c":
        return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(dtype)
    return random.standard_normal(shape).astype(dtype)


def strided(array):
    """The same numbers, backwards in memory along the last dimension, with gaps."""
    memory = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    view = memory[..., ::-2]
    view[...] = array
    return view


def outcome(function, *arguments):
    """A result, or the kind of an error."""
    try:
        return function(*arguments)
    except (ValueError, RuntimeError) as error:
        return type(error)


def check_same(compiled, *arguments):
    inside, outside = outcome(compiled, *arguments), outcome(compiled.py_func, *arguments)
    if isinstance(outside, np.ndarray) and isinstance(inside, np.ndarray):
        assert inside.dtype == outside.dtype
        np.testing.assert_array_equal(inside, outside)
    else:
        assert inside is outside


@njit
def conv1d(x, w, b, stride, padding, dilation, groups, mode):
    return nc.conv1d(x, w, b, stride, padding, dilation, groups, padding_mode=mode, precision="exact")


@njit
def conv2d(x, w, b, stride, padding, dilation, groups, mode):
    return nc.conv2d(x, w, b, stride, padding, dilation, groups, padding_mode=mode, precision="exact")


@njit
def conv2d_last(x, w, algorithm, padding):
    return nc.conv2d(
        x, w, padding=padding, algorithm=algorithm, data_format="NHWC", activation="relu", precision="exact"
    )


@njit
def conv3d(x, w, b, stride, padding, dilation, groups, mode):
    return nc.conv3d(x, w, b, stride, padding, dilation, groups, padding_mode=mode, precision="exact")


@njit
def transposed1d(x, w, b, stride, padding, more, groups, dilation):
    return nc.conv_transpose1d(x, w, b, stride, padding, more, groups, dilation, precision="exact")


@njit
def transposed2d(x, w, b, stride, padding, more, groups, dilation):
    return nc.conv_transpose2d(x, w, b, stride, padding, more, groups, dilation, precision="exact")


@njit
def input_gradient(size, w, y, stride, padding, dilation, groups):
    return nc.grad.conv2d_input(size, w, y, stride, padding, dilation, groups, precision="exact")


@njit
def weight_gradient(x, size, y, stride, padding, dilation, groups):
    return nc.grad.conv2d_weight(x, size, y, stride, padding, dilation, groups, precision="exact")


@njit
def convolve2d(a, b, mode, boundary, fill):
    return scipy.signal.convolve2d(a, b, mode, boundary, fillvalue=fill)


@njit
def correlate2d(a, b, mode, boundary, fill):
    return nc.signal.correlate2d(a, b, mode, boundary, fillvalue=fill)


@njit
def convolve(a, b, mode):
    return scipy.signal.convolve(a, b, mode, "direct")


@njit
def correlate(a, b, mode):
    return nc.signal.correlate(a, b, mode, method="direct")


@njit
def image_convolve(x, w, mode, cval, origin):
    return nc.ndimage.convolve(x, w, mode=mode, cval=cval, origin=origin)


@njit
def image_correlate(x, w, mode, cval, origin):
    return nc.ndimage.correlate(x, w, mode=mode, cval=cval, origin=origin)


@njit
def image_convolve1d(x, w, axis, mode):
    return nc.ndimage.convolve1d(x, w, axis, mode=mode)


@njit
def image_correlate1d(x, w, axis, mode):
    return scipy.ndimage.correlate1d(x, w, axis, mode=mode)


@st.composite
def layers(draw, ndim):
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(DTYPES))
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(0, 5)), draw(st.integers(1, 18))
    size = [draw(st.integers(1, 20)) for _ in range(ndim)]
    kernel = [draw(st.integers(1, 4)) for _ in range(ndim)]
    x = strided(numbers(random, (draw(st.integers(0, 3)), channels * groups, *size), dtype))
    w = strided(numbers(random, (filters * groups, channels, *kernel), dtype))
    b = numbers(random, filters * groups, dtype)
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, 3))
    mode = draw(st.sampled_from(("zeros", "reflect", "edge", "circular", "symmetric", "none")))
    return x, w, b, stride, padding, dilation, groups, mode


@pytest.mark.slow
@hypothesis.given(layers(2))
def test_conv2d(arguments):
    check_same(conv2d, *arguments)


@pytest.mark.slow
@hypothesis.given(layers(1))
@hypothesis.settings(max_examples=30)
def test_conv1d(arguments):
    check_same(conv1d, *arguments)


@pytest.mark.slow
@hypothesis.given(layers(3))
@hypothesis.settings(max_examples=30)
def test_conv3d(arguments):
    check_same(conv3d, *arguments)


@pytest.mark.parametrize(
    "algorithm", ["auto", "direct", "im2col", "winograd", "direct_channels", "direct_pixels", "fft"]
)
def test_algorithms(algorithm):
    random = np.random.default_rng(0)
    x, w = numbers(random, (2, 30, 31, 8), "f4"), numbers(random, (40, 8, 3, 3), "f4")
    check_same(conv2d_last, x, w, algorithm, "same_lower")
    check_same(conv2d_last, x, w, algorithm, "nonsense")


@njit
def of_precision(x, w, dilation, algorithm, precision):
    return nc.conv2d(x, w, None, 1, 2, dilation, algorithm=algorithm, precision=precision)


@pytest.mark.parametrize("dtype", ["f4", pytest.param("f8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["exact", "standard", "fast"])
def test_winograd(precision, dtype):
    """Every tile along one axis and along both, one, two and four runs of tiles in a vector."""
    random = np.random.default_rng(0)
    chosen = set()
    for size in (3, 6, 12, 33):
        for kernel in ((3, 3), (2, 2), (4, 4), (5, 5), (7, 7), (1, 4), (5, 1), (12, 3), (1, 2), (13, 1), (1, 1)):
            x, w = numbers(random, (2, 16, size, size + 1), dtype), numbers(random, (9, 16, *kernel), dtype)
            for algorithm, dilation in (("auto", 1), ("winograd", 1), ("winograd", 2)):
                check_same(of_precision, x, w, dilation, algorithm, precision)
            plan = nc.explain(x.shape, w.shape, padding=2, precision=precision, dtype=dtype) if size > 9 else None
            chosen.add(plan and plan.algorithm)
    assert ("winograd" in chosen) == (precision != "exact")


def test_winograd_by_default():
    """Calls without options ask for the transforms that they may take, of every function."""
    random = np.random.default_rng(0)
    x, w = numbers(random, (1, 64, 40, 40), "f4"), numbers(random, (64, 64, 3, 3), "f4")
    assert nc.explain(x.shape, w.shape).algorithm == "winograd"
    for function in (
        lambda x, w: nc.conv2d(x, w),
        lambda x, w: nc.conv1d(x[0], w[:, :, 0]),
        lambda x, w: nc.conv_transpose2d(x, w, stride=2, padding=1),
        lambda x, w: nc.grad.conv2d_input((1, 64, 42, 42), w, x),
        lambda x, w: nc.grad.conv2d_weight(x, w.shape, x[:, :, :38, :38]),
    ):
        check_same(njit(function), x, w)
    with pytest.raises(ValueError, match="'winograd' cannot serve this call"):
        njit(lambda x, w: nc.conv2d(x, w, algorithm="winograd"))(x.astype(np.int32), w.astype(np.int32))


@pytest.mark.slow
@hypothesis.given(layers(2), st.integers(0, 2))
def test_transposed(arguments, more):
    x, w, b, stride, padding, dilation, groups, _ = arguments
    b = np.resize(b, w.shape[1] * groups) if b.size else b
    check_same(transposed2d, x, w[: x.shape[1]], b, stride, padding, more, groups, dilation)
    y = np.resize(x, (x.shape[0], w.shape[0], *x.shape[2:]))
    b = np.resize(b, w.shape[1] * groups) if b.size else np.zeros(w.shape[1] * groups, x.dtype)
    check_same(transposed2d, y, w, b, stride, padding, more, groups, dilation)
    check_same(transposed1d, y[:, :, 0], w[:, :, 0], b, stride, padding, more, groups, dilation)


@pytest.mark.slow
def test_transposed_of_a_large_image():
    """Phases that are woven together."""
    random = np.random.default_rng(0)
    x, w = numbers(random, (3, 6, 40, 41), "f4"), numbers(random, (6, 5, 4, 3), "f4")
    for stride in (2, 3):
        check_same(transposed2d, x, w, numbers(random, 10, "f4"), stride, 1, 1, 2, 1)


@pytest.mark.slow
@hypothesis.given(layers(2))
def test_gradients(arguments):
    x, w, _, stride, padding, dilation, groups, _ = arguments
    try:
        y = nc.conv2d(x, w, None, stride, padding, dilation, groups)
    except ValueError:
        y = x
    check_same(input_gradient, x.shape, w, y, stride, padding, dilation, groups)
    check_same(weight_gradient, x, w.shape, y, stride, padding, dilation, groups)


@st.composite
def pairs(draw, ndim, dtypes=DTYPES):
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes = [[draw(st.integers(1, 40 if ndim < 3 else 8)) for _ in range(ndim)] for _ in range(2)]
    return [strided(numbers(random, shape, draw(st.sampled_from(dtypes)))) for shape in shapes]


@pytest.mark.slow
@hypothesis.given(
    pairs(2), st.sampled_from(("full", "same", "valid", "half")), st.sampled_from(("fill", "wrap", "symm", "nearest")),
    st.sampled_from((0, 1)),
)  # fmt: skip
def test_two_dimensional_signals(arrays, mode, boundary, fill):
    a, b = arrays
    if boundary != "fill" and max(np.subtract(b.shape, a.shape)) > 0:
        b = b[: a.shape[0], : a.shape[1]]
    check_scipy(convolve2d, nc.signal.convolve2d, a, b, mode, boundary, fill)
    check_same(correlate2d, a, b, mode, boundary, fill)


def check_scipy(compiled, function, *arguments):
    """SciPy's name inside has the result of ours outside."""
    inside, outside = outcome(compiled, *arguments), outcome(function, *arguments)
    if isinstance(outside, np.ndarray):
        np.testing.assert_array_equal(inside, outside)
    else:
        assert inside is outside


@pytest.mark.slow
@hypothesis.given(st.integers(1, 3).flatmap(pairs), st.sampled_from(("full", "same", "valid")))
def test_signals(arrays, mode):
    check_scipy(convolve, lambda a, b, mode: nc.signal.convolve(a, b, mode, "direct"), *arrays, mode)
    check_same(correlate, *arrays, mode)


@pytest.mark.slow
def test_separable_kernels():
    random = np.random.default_rng(0)
    for shape in ((400, 300), (40_000, 20)):
        for image, kernel in (("f4", "f4"), ("f8", "f8"), ("f4", "f8")):
            x = numbers(random, shape, image)
            taps = np.outer(numbers(random, 9, "f8"), numbers(random, 15, "f8")).astype(kernel)
            assert nc.signal.explain(x, taps, "same").method == "separable"
            check_same(correlate2d, x, taps, "same", "symm", 0)


@pytest.mark.slow
@hypothesis.given(
    pairs(2, ("f4", "f8", "u1", "c8")),
    st.sampled_from(("reflect", "constant", "nearest", "mirror", "grid-wrap", "no")),
    st.integers(-1, 1), st.booleans(),
)  # fmt: skip
def test_images(arrays, mode, origin, nan):
    image, taps = arrays
    taps = taps[:5, :5].real.astype(np.float64)
    if nan and image.dtype.kind == "f":
        image[image.shape[0] // 2, 0] = np.nan
        taps[0, 0] = 0
    for function in (image_convolve, image_correlate):
        check_same(function, image, taps, mode, 1.5, origin)
        check_same(function, image, taps, mode, 1.5, (origin, 0))
    check_same(image_convolve1d, image, taps[0], 0, mode)
    check_scipy(
        image_correlate1d,
        lambda x, w, axis, mode: nc.ndimage.correlate1d(x, w, axis, mode=mode),
        image,
        taps[0],
        -1,
        mode,
    )


@pytest.mark.parametrize("mode", ["reflect", "nearest", "mirror", "wrap"])
def test_taps_that_are_left_out(mode):
    """A tap of 0 beside a NaN: each of the others is summed by itself, some of them with negative padding."""
    random = np.random.default_rng(0)
    image, taps = random.standard_normal((7, 9)), random.standard_normal((3, 4))
    image[3, 0], taps[0, 0] = np.nan, 0
    check_same(image_convolve, image, taps, mode, 1.5, 0)


@hypothesis.given(layers(2), st.sampled_from(("f4", "f8")), st.booleans())
def test_tables_of_rows(arguments, dtype, last):
    """What is written as loops for compiled code is what the drivers' expressions give."""
    from numbaconv.inside import library, linking, tables

    library._share_drivers()
    name = np.dtype(dtype).name
    for need in (("kernels", name), ("winograd", name, "2", "all")):
        linking.need(*need)()
    kernels = ctypes.addressof(linking.table_of(library.kernels_symbol(name)))
    loops = {
        "im2col": lambda geometry, _: ROWS[0](geometry), "direct_pixels": lambda geometry, _: ROWS[1](geometry),
        "direct_channels": lambda *both: ROWS[2](*both),
        "winograd": lambda geometry, _: ROWS[3](geometry, kernels),
    }  # fmt: skip
    if not ROWS:
        drivers = (tables.im2col_rows, tables.pixels_rows, tables.channels_rows, tables.winograd_rows)
        ROWS.extend(njit(function) for function in drivers)
    x, w, _, stride, padding, dilation, groups, mode = arguments
    shape = np.moveaxis(x, 1, -1).shape if last else x.shape
    try:
        problem = conv_problem(
            2, shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=mode,
            data_format="NHWC" if last else None, dtype=dtype,
        )  # fmt: skip
    except ValueError:
        hypothesis.reject()
    hypothesis.assume(problem.depth > 0 and 0 not in problem.output_shape)
    for module in (im2col, direct_channels, direct_pixels, winograd):
        if module.unsupported(problem) is None:
            name = module.__name__.rsplit(".", 1)[1]
            plan = choose(problem, name)
            geometry = np.array(plan.geometry, np.int64)
            geometry[[at.X_CHANNEL, at.X_D, at.X_H, at.X_W]] = 1013, 509, 97, 3
            table = loops[name](geometry, problem.dtype.itemsize)
            np.testing.assert_array_equal(table, rows(plan, geometry))


ROWS = []


def test_out_and_dtype():
    @njit
    def inside(x, w, out):
        return nc.conv2d(x, w, padding="same", dtype=np.float64, out=out)

    random = np.random.default_rng(0)
    x, w = numbers(random, (2, 3, 8, 9), "f4"), numbers(random, (4, 3, 3, 3), "f4")
    out = np.empty((2, 4, 9, 8)).swapaxes(2, 3)
    result = inside(x, w, out)
    np.testing.assert_array_equal(out, nc.conv2d(x, w, padding="same", dtype=np.float64))
    assert np.shares_memory(result, out)
    with pytest.raises(ValueError, match="out must have the result's shape"):
        inside(x, w, np.empty((2, 4, 8, 8)).swapaxes(2, 3))

    @njit
    def over(x, w):
        return nc.conv2d(x, w, out=x)

    with pytest.raises(ValueError, match="out overlaps an input"):
        over(np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda x: nc.conv2d(x, x, stride=1.5),
            "conv2d inside @njit takes an integer or a tuple of integers as stride",
        ),
        (lambda x: nc.conv2d(x[0, 0], x), "conv2d inside @njit takes an array of 3 or 4 dimensions as input"),
        (lambda x: nc.conv2d(x, x, algorithm=1), "takes a string as algorithm"),
        (lambda x: nc.conv_transpose2d(x, x, padding="same"), "conv_transpose2d inside @njit takes an integer"),
        (lambda x: nc.ndimage.convolve(x, x, output="f4"), "as output"),
        (lambda x: nc.conv2d(x, x, out=x[0]), "None or a writeable array of 4 dimensions as out"),
        (
            lambda x: nc.grad.conv2d_input((1, 2), x, x),
            "grad.conv2d_input inside @njit takes a tuple of 3 or 4 integers",
        ),
    ],
)
def test_unsupported_types(call, text):
    with pytest.raises(numba.TypingError, match="numbaconv: ") as caught:
        njit(call)(np.ones((1, 1, 4, 4)))
    assert text in str(caught.value)


def test_errors():
    with pytest.raises(ValueError, match="no FFT can be called there"):
        njit(lambda x: nc.signal.convolve(x, x, method="fft"))(np.ones(4))
    x, w = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3))
    for arguments, text in (
        ((x, w, np.ones(2), 1, 0, 1, 1, "zeros"), "bias must have one value for each filter"),
        ((x, w, np.ones(3), 0, 0, 1, 1, "zeros"), "stride must be at least 1"),
        ((x, w, np.ones(3), 1, 0, 3, 1, "zeros"), "kernel exceeds padded input"),
        ((x, w, np.ones(3), 1, 5, 1, 1, "reflect"), "padding exceeds what padding_mode can read"),
        ((x, w, np.ones(3), 1, 0, 1, 2, "zeros"), "does not divide"),
    ):
        with pytest.raises(ValueError, match=text):
            conv2d(*arguments)


@pytest.mark.parametrize("layer", ["omp", pytest.param("workqueue", marks=pytest.mark.slow)])
def test_prange_forks_and_caches(layer, run_python, tmp_path):
    """The three usages, in processes of their own: the second one loads what the first one has compiled."""
    cache = tmp_path / "cache"
    kernels = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    program = f"import runpy; runpy.run_path({str(PROGRAMS)!r}, run_name='__main__')"
    for compiled in ("True", "False"):
        printed = run_python(program, NJIT_PROGRAMS_CACHE=str(cache), **kernels)
        assert printed.split() == ["serial", "prange", "fork", layer, "compiled", compiled]


def test_the_entry_point_imports_no_scipy(run_python):
    """Numba calls it in every process."""
    program = """
import sys, numba
before = set(sys.modules)
from numbaconv.numba_ext import register
register()
heavy = ("scipy", "numbaconv.kernels", "numbaconv.inside")
print(*sorted(name for name in set(sys.modules) - before if name.startswith(heavy)))
"""
    light = {"numbaconv.kernels", *(f"numbaconv.kernels.{name}" for name in ("blocking", "geometry", "image_geometry"))}
    assert set(run_python(program).split()) <= light
