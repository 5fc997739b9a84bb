"""The public functions, and SciPy's, inside @njit: the same bits as outside."""

import ctypes

import hypothesis
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from hypothesis import strategies as st
from numba import njit

import numbaconv as nc
from numbaconv import numba_ext, store
from numbaconv.algorithms import direct_channels, direct_pixels, im2col, winograd
from numbaconv.inside import convolution, library, linking, slots, tables
from numbaconv.kernels import geometry as at
from numbaconv.kernels.blocking import VECTOR_BYTES
from numbaconv.planner import ALGORITHMS, CANDIDATES, PRECISIONS, choose, rows
from numbaconv.problem import conv_problem

numba_ext.register()  # scipy.signal and scipy.ndimage are imported by now

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
def transposed3d(x, w, b, stride, padding, more, groups, dilation):
    return nc.conv_transpose3d(x, w, b, stride, padding, more, groups, dilation, precision="exact")


@njit
def input_gradients(size, w, y, stride, padding, dilation, groups):
    """Of one and of three dimensions: the last one of three, and all."""
    line = nc.grad.conv1d_input((*size[:2], size[4]), w[:, :, 0, 0], y[:, :, 0, 0], stride, padding, dilation, groups)
    volume = nc.grad.conv3d_input(size, w, y, stride, padding, dilation, groups=groups, precision="exact")
    return line, volume


@njit
def weight_gradients(x, size, y, stride, padding, dilation, groups):
    line = nc.grad.conv1d_weight(
        x[:, :, 0, 0], (*size[:2], size[4]), y[:, :, 0, 0], stride, padding, dilation, groups, precision="exact"
    )
    volume = nc.grad.conv3d_weight(x, size, y, stride, padding, dilation, groups=groups, precision="exact")
    return line, volume


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
    w = numbers(random, (40, 8, 1, 1), "f4")
    for shape in ((20, 1, 1, 8), (20, 4, 4, 8)):  # pixels of several images
        check_same(conv2d_last, numbers(random, shape, "f4"), w, algorithm, "valid")


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
            x, w = numbers(random, (2, 16, size, size + 1), dtype), numbers(random, (33, 16, *kernel), dtype)
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
    for options in ({}, {"stride": 2}):
        assert nc.explain((1, 3, 40, 40), (64, 3, 3, 3), **options).geometry[at.COLUMNS] == (VECTOR_BYTES == 64)
    for function in (
        lambda x, w: nc.conv2d(x, w),
        lambda x, w: nc.conv2d(x[:, :3], w[:, :3]),
        lambda x, w: nc.conv2d(x[:, :3], w[:, :3], stride=2),
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


@pytest.mark.slow
@hypothesis.given(layers(3), st.integers(0, 2))
@hypothesis.settings(max_examples=30)
def test_adjoints_of_lines_and_volumes(arguments, more):
    x, w, _, stride, padding, dilation, groups, _ = arguments
    try:
        y = nc.conv3d(x, w, None, stride, padding, dilation, groups)
    except ValueError:
        y = x
    for function, first, second in ((input_gradients, x.shape, w), (weight_gradients, x, w.shape)):
        given = first, second, y, stride, padding, dilation, groups
        inside, outside = outcome(function, *given), outcome(function.py_func, *given)
        if isinstance(outside, tuple):
            for one, other in zip(inside, outside, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            assert inside is outside
    y = np.resize(x, (x.shape[0], w.shape[0], *x.shape[2:]))
    b = numbers(np.random.default_rng(0), w.shape[1] * groups, x.dtype)
    check_same(transposed3d, y, w, b, stride, padding, more, groups, dilation)


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
    for shape in ((800, 600), (40_000, 20)):
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
@hypothesis.example((np.zeros((1, 64, 9, 9)), np.zeros((64, 64, 1, 1)), None, 2, 1, 1, 1, "zeros"), "f4", False)
@hypothesis.example((np.zeros((1, 16, 20, 20)), np.zeros((64, 16, 3, 1)), None, 2, (1, 0), 1, 1, "zeros"), "f8", False)
@hypothesis.example((np.zeros((1, 3, 7, 7)), np.zeros((20, 3, 1, 1)), None, 3, 1, 1, 1, "zeros"), "f4", True)
@hypothesis.example((np.zeros((1, 3, 70, 70)), np.zeros((64, 3, 3, 5)), None, 1, 2, 1, 1, "zeros"), "f4", False)
def test_tables_of_rows(arguments, dtype, last):
    """What is written as loops for compiled code is what the drivers' expressions give."""
    library._share_drivers()
    name = np.dtype(dtype).name
    for need in (("kernels", name), ("winograd", name, "2", "all")):
        linking.need(*need)()
    kernels = ctypes.addressof(linking.table_of(library.kernels_symbol(name)))
    loops = {
        "im2col": lambda geometry, _: ROWS[0](geometry), "direct_pixels": lambda *both: ROWS[1](*both),
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
            expected = rows(plan, geometry)
            if name == "winograd":
                winograd.complete(expected, problem.dtype.itemsize)
            np.testing.assert_array_equal(table, expected)


ROWS = []


@njit
def plan_inside(p, geometry):
    convolution.fill_geometry(p, geometry)
    return convolution.choose(p, geometry)


def test_plans():
    """The same plans as outside, of layers large and small; of large ones some tasks pack their own weights."""
    library._share_drivers()
    for need in (("kernels", "float32"), ("winograd", "float32", "2", "all")):
        linking.need(*need)()
    kernels = ctypes.addressof(linking.table_of(library.kernels_symbol("float32")))
    unpacked = 0
    for x, w, options in (
        ((1, 3, 32, 32), (8, 3, 3, 3), {"padding": 1}), ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
        ((1, 3, 99, 99), (64, 3, 3, 3), {}),
        ((1, 512, 14, 14), (512, 512, 3, 3), {"padding": 1}), ((2, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),
        ((1, 512, 14, 14), (512, 512, 3, 3), {"stride": 2, "padding": 1}),
        ((1, 96, 56, 56), (96, 1, 7, 7), {"padding": 3, "groups": 96}),
        ((1, 1024, 14, 14), (2048, 1024, 1, 1), {"stride": 2}), ((1, 2048, 7, 7), (512, 2048, 1, 1), {}),
        ((1, 256, 28, 28), (256, 8, 3, 3), {"groups": 32}), ((1, 512, 28, 28), (512, 512, 3, 3), {"dilation": 4}),
        ((20, 64, 1, 1), (40, 64, 1, 1), {}), ((16, 64, 4, 4), (40, 64, 1, 1), {}),
    ):  # fmt: skip
        problem = conv_problem(2, x, w, **options)
        for algorithm in ("auto", "im2col", "direct", "direct_channels", "direct_pixels"):
            plan = choose(problem, algorithm, machine=store.machine())
            geometry = np.zeros(at.LENGTH, np.int64)
            number, cost = plan_inside(described(problem, algorithm, kernels), geometry)
            assert (CANDIDATES[number], cost) == (plan.candidate, plan.cost)
            unpacked += geometry[at.UNPACKED] > 0
            if algorithm == "auto":  # otherwise what other candidates write down stays there outside only
                geometry[at.TRANSFORM] *= plan.candidate == "winograd"
                np.testing.assert_array_equal(geometry, plan.geometry)
    assert unpacked > 0


def described(problem, algorithm, kernels):
    """A problem as compiled code has it."""
    p = np.zeros(slots.PROBLEM, np.int64)
    p[slots.BATCH], p[slots.CHANNELS], p[slots.FILTERS] = problem.batch, problem.channels, problem.filters
    p[slots.GROUPS], p[slots.ALGORITHM] = problem.groups, ALGORITHMS.index(algorithm)
    p[slots.PRECISION] = PRECISIONS.index("standard")
    p[slots.BYTES], p[slots.FLOATS], p[slots.KERNELS] = problem.dtype.itemsize, 1, kernels
    for slot in (slots.SIZE, slots.KERNEL, slots.STEP, slots.DILATION, slots.OUT):
        p[slot] = 1
    p[slots.SIZE + 1 : slots.SIZE + 3] = problem.input_size
    p[slots.KERNEL + 1 : slots.KERNEL + 3] = problem.kernel_size
    p[slots.STEP + 1 : slots.STEP + 3] = problem.stride
    p[slots.DILATION + 1 : slots.DILATION + 3] = problem.dilation
    p[slots.OUT + 1 : slots.OUT + 3] = problem.output_size
    p[slots.BEFORE + 1 : slots.BEFORE + 3], p[slots.AFTER + 1 : slots.AFTER + 3] = zip(*problem.padding, strict=True)
    return p


def test_results_begin_on_a_cache_line():
    x, w = np.ones((1, 1, 9, 9), np.float32), np.ones((1, 1, 3, 3), np.float32)
    call = njit(lambda x, w: (nc.conv2d(x, w), nc.signal.convolve2d(x[0, 0], w[0, 0])))
    kept = [result for _ in range(8) for result in call(x, w)]
    assert [result.ctypes.data % 64 for result in kept] == [0] * len(kept)


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


@njit
def activated(x, w, transposed_w):
    return nc.conv2d(x, w, activation="relu"), nc.conv_transpose2d(x, transposed_w, activation="relu")


OTHER_INTEGERS = ["int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@pytest.mark.parametrize("dtype", ["uint8", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_INTEGERS)])
def test_integers_are_cut_before_they_are_activated(dtype):
    """A sum that is negative in the kernel's dtype may be positive in the result's."""
    random, limits = np.random.default_rng(0), np.iinfo(dtype)
    x, w = (
        random.integers(limits.min, limits.max, shape, dtype, endpoint=True) for shape in ((1, 3, 8, 8), (4, 3, 3, 3))
    )
    transposed_w = w.swapaxes(0, 1).copy()
    expected = nc.conv2d(x, w), nc.conv_transpose2d(x, transposed_w)
    for inside, outside in zip(activated(x, w, transposed_w), expected, strict=True):
        np.testing.assert_array_equal(inside, np.maximum(outside, 0), strict=True)
