"""Every algorithm against the references, the algebra of convolution, and numbers that are not finite."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
from unittest import mock

import hypothesis
import numba
import numpy as np
import pytest
from accuracy import assert_accurate, assert_same_bits, bound
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from naive import conv2d_loops, padding_pairs, per_dimension, scipy_reference
from strategies import ALGORITHMS, CONVOLUTIONS, DATA_FORMATS, SUMMING, conv_problems, lying, problems_for

import numbaconv as nc
from numbaconv import execute, memory
from numbaconv.algorithms import direct_channels
from numbaconv.kernels import geometry as at
from numbaconv.kernels.blocking import TILE_ROWS, TILES, VECTOR_BYTES, WIDE_VECTORS, cut_run, tile_for

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
every_summing_algorithm = pytest.mark.parametrize("algorithm", SUMMING)


def channel_axis(case):
    return -1 if case.arguments["data_format"].endswith("C") else 1


def resolved(case):
    """(stride, padding, dilation) of a case, with an integer or a pair for each dimension."""
    ndim = len(case.weight_shape) - 2
    size = np.delete(case.input_shape, [0, channel_axis(case)]).tolist()
    stride, dilation = (per_dimension(case.arguments[name], ndim) for name in ("stride", "dilation"))
    return stride, padding_pairs(case.arguments["padding"], size, case.weight_shape[2:], stride, dilation), dilation


def tile_of(case, **changes):
    """Winograd's tile in the plan of a call; 0 for other algorithms. It may depend on batch and groups."""
    return case.plan(**changes).geometry[at.TRANSFORM]


# ------------------------------------------------------------------------------------------- references


@given(case=conv_problems(ndims=(2,), sizes=("small",)))
def test_references_agree(case):
    """They share the padding, but no loop: on integers they agree exactly."""
    assume(np.prod(case.input_shape) * np.prod(case.weight_shape) < 30_000)
    x, w, b = case.arrays(integers=True)
    x = np.moveaxis(x, channel_axis(case), 1)
    arguments = {name: case.arguments[name] for name in ("stride", "padding", "dilation", "groups", "padding_mode")}
    np.testing.assert_array_equal(scipy_reference(x, w, b, **arguments), conv2d_loops(x, w, b, **arguments))


@every_algorithm
@given(data=st.data())
def test_normal_numbers(algorithm, data):
    case = data.draw(problems_for(algorithm))
    x, w, b = case.arrays()
    out = case.convolve(x, w, b, algorithm=algorithm)
    assert out.dtype == case.dtype
    assert_accurate(algorithm, out, x, w, b, case.arguments)


@every_summing_algorithm
@given(case=conv_problems())
def test_integers_are_exact(algorithm, case):
    x, w, b = case.arrays(integers=True)
    np.testing.assert_array_equal(
        case.convolve(x, w, b, algorithm=algorithm), scipy_reference(x, w, b, **case.arguments)
    )


@given(case=conv_problems(winograd=True))
def test_exact_precision_sums(case):
    """Winograd's transforms have fractions that float32 does not hold: with it, integers would not come out exact."""
    x, w, b = case.arrays(integers=True)
    np.testing.assert_array_equal(case.convolve(x, w, b, precision="exact"), scipy_reference(x, w, b, **case.arguments))


@given(data=st.data())
def test_auto_is_one_of_the_algorithms(data):
    case = data.draw(conv_problems(winograd=data.draw(st.booleans())))
    assume(case.input_shape[0] > 0)
    arrays, candidate = case.arrays(), case.plan().candidate
    # Winograd asked for by name may take a tile that "auto" finds too inaccurate for so few channels.
    assume(tile_of(case) == tile_of(case, algorithm=candidate))
    assert_same_bits(case.convolve(*arrays), case.convolve(*arrays, algorithm=candidate))


@pytest.mark.parametrize("channels", [1, 4, 16, 64])
def test_root_mean_square_error(channels):
    """Beside a float32 loop's, on normal data: sums are no worse, and what "auto" takes is within four times of it."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1, channels, 66, 66)).astype(np.float32)
    w = random.normal(size=(64, channels, 3, 3)).astype(np.float32)
    exact = scipy_reference(x, w)
    loop = np.zeros(exact.shape, np.float32)
    for c, kh, kw in np.ndindex(channels, 3, 3):
        loop += w[:, c, kh, kw, None, None] * x[:, c, None, kh : kh + 64, kw : kw + 64]
    error = {
        algorithm: np.std(nc.conv2d(x, w, algorithm=algorithm) - exact) / np.std(loop - exact)
        for algorithm in ("direct", "im2col", "auto")
    }
    assert error["direct"] <= 1
    assert error["im2col"] <= 1
    assert error["auto"] <= 4


# --------------------------------------------------------------------------------------------- algebra


@every_summing_algorithm
@given(case=conv_problems(), factors=st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
def test_linear_in_input_and_weight(algorithm, case, factors):
    def convolve(x, w):
        return case.convolve(x, w, algorithm=algorithm, activation=None)

    x, w, _ = case.arrays(integers=True)
    p, q = factors
    x2, w2 = np.flip(x), np.flip(w)
    np.testing.assert_array_equal(convolve(p * x + q * x2, w), p * convolve(x, w) + q * convolve(x2, w))
    np.testing.assert_array_equal(convolve(x, p * w + q * w2), p * convolve(x, w) + q * convolve(x, w2))


@every_summing_algorithm
@given(case=conv_problems(), axis=st.integers(0, 2))
def test_shifted_input_gives_shifted_output(algorithm, case, axis):
    """Without padding, dropping as many cells as the stride drops one output."""
    x, w, b = case.arrays(integers=True)
    axis %= w.ndim - 2
    stride, padding, dilation = resolved(case)
    padding[axis] = (0, 0)
    spatial = axis + (1 if channel_axis(case) == -1 else 2)
    reach = (w.shape[2 + axis] - 1) * dilation[axis] + 1
    x = np.concatenate([x] * (1 + -(-(reach + stride[axis]) // x.shape[spatial])), spatial)
    whole = case.convolve(x, w, b, algorithm=algorithm, padding=padding)
    less = case.convolve(np.delete(x, slice(stride[axis]), spatial), w, b, algorithm=algorithm, padding=padding)
    np.testing.assert_array_equal(less, np.delete(whole, 0, spatial))


@every_algorithm
@given(data=st.data())
def test_groups_are_separate_convolutions(algorithm, data):
    case = data.draw(problems_for(algorithm))
    # Small integers, whose sums are exact: the order of the products may depend on the groups.
    x, w, b = (None if array is None else np.rint(2 * array) for array in case.arrays())
    axis, groups = channel_axis(case), case.arguments["groups"]
    first = dataclasses.replace(
        case, input_shape=np.split(x, groups, axis)[0].shape, weight_shape=np.split(w, groups)[0].shape,
        arguments={**case.arguments, "groups": 1},
    )  # fmt: skip
    assume(x.size == 0 or tile_of(case, algorithm=algorithm) == tile_of(first, algorithm=algorithm))
    parts = [
        case.convolve(*part, algorithm=algorithm, groups=1)
        for part in zip(
            np.split(x, groups, axis),
            np.split(w, groups),
            [None] * groups if b is None else np.split(b, groups),
            strict=True,
        )
    ]
    assert_same_bits(case.convolve(x, w, b, algorithm=algorithm), np.concatenate(parts, axis))


@every_algorithm
@given(data=st.data())
def test_batch_is_separate_convolutions(algorithm, data):
    case = data.draw(problems_for(algorithm))
    x, w, b = case.arrays()
    if x.size > 0:
        one = dataclasses.replace(case, input_shape=(1, *x.shape[1:]))
        several = dataclasses.replace(case, input_shape=(2 * len(x) + 1, *x.shape[1:]))
        assume(tile_of(one, algorithm=algorithm) == tile_of(several, algorithm=algorithm))
    x = np.concatenate([x, np.flip(x), x[:1]])
    whole = case.convolve(x, w, b, algorithm=algorithm)
    for n, image in enumerate(x):
        assert_same_bits(case.convolve(image, w, b, algorithm=algorithm), whole[n])


@every_summing_algorithm
@given(case=conv_problems(ndims=(1, 2)))
def test_missing_dimension_has_size_one(algorithm, case):
    x, w, b = case.arrays()
    ndim = w.ndim - 2
    stride, padding, dilation = resolved(case)
    place = 1 if channel_axis(case) == -1 else 2
    out = CONVOLUTIONS[ndim + 1](
        np.expand_dims(x, place), np.expand_dims(w, 2), b, [1, *stride], [(0, 0), *padding], [1, *dilation],
        case.arguments["groups"], algorithm=algorithm, padding_mode=case.arguments["padding_mode"],
        data_format=DATA_FORMATS[ndim + 1][place == 1], activation=case.arguments["activation"],
    )  # fmt: skip
    assert_same_bits(np.squeeze(out, place), case.convolve(x, w, b, algorithm=algorithm))


@pytest.fixture
def set_threads():
    """``numba.set_num_threads``, undone afterwards."""
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


@every_algorithm
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_threads_do_not_change_a_bit(algorithm, set_threads, data):
    case = data.draw(problems_for(algorithm, sizes=("deep", "broad")))
    assume(case.plan(algorithm=algorithm).parallel)
    arrays = case.arrays()
    results = []
    for threads in (1, 2):
        set_threads(threads)
        results.append(case.convolve(*arrays, algorithm=algorithm))
    assert_same_bits(*results)


@contextlib.contextmanager
def weights_packed_by_tasks():
    """Let tasks pack the weights that they need, however few there are."""
    with mock.patch.multiple(direct_channels, LEAST_UNPACKED=0, FEWEST_TASKS=1, UNPACKED_BYTES=4096):
        execute.forget_plans()
        yield
    execute.forget_plans()


@given(case=conv_problems(), order=st.permutations(range(5)), flip=st.integers(0, 4))
def test_tasks_may_pack_the_weights(case, order, flip):
    """They compute the same bits, however the weights lie."""
    x, w, b = case.arrays()
    moved = lying(w, order, flip)
    expected = case.convolve(x, w, b, algorithm="direct_channels")
    assert_same_bits(case.convolve(x, moved, b, algorithm="direct_channels"), expected)
    with weights_packed_by_tasks():
        if x.size > 0:
            hypothesis.event(f"by tasks: {case.plan(algorithm='direct_channels').geometry[at.UNPACKED] > 0}")
        assert_same_bits(case.convolve(x, moved, b, algorithm="direct_channels"), expected)


def test_weights_of_few_pixels_are_packed_by_tasks():
    """Where there are many weights and few pixels; a layer packs them once."""
    shapes = (1, 512, 7, 7), (512, 512, 3, 3)
    problem = nc.problem.conv_problem(2, *shapes, padding=1)
    unpacked = [nc.planner.choose(problem, "direct_channels", packed=packed).geometry[at.UNPACKED] for packed in (0, 1)]
    assert unpacked[0] > 0
    assert unpacked[1] == 0


@pytest.mark.parametrize("stride", [2, (1, 3), (3, 1)])
def test_strided_pixels_of_large_inputs_are_copied(stride):
    """Where they would be read from many lines; what is left out is never read."""
    random = np.random.default_rng(5)
    x, w = (random.integers(-4, 5, shape).astype(np.float32) for shape in ((1, 264, 33, 35), (256, 264, 1, 1)))
    problem = nc.problem.conv_problem(2, x.shape, w.shape, stride=stride)
    small = nc.problem.conv_problem(2, (1, 264, 15, 15), w.shape, stride=stride)
    in_place = [
        nc.planner.choose(each, "direct_channels", packed=True).geometry[at.IN_PLACE] for each in (problem, small)
    ]
    across = stride if isinstance(stride, int) else stride[1]
    assert in_place == [int(across == 1), 1]
    down = stride if isinstance(stride, int) else stride[0]
    read = x[..., ::down, ::across]
    left_out = np.full_like(x, np.nan)
    left_out[..., ::down, ::across] = read
    layer = nc.Conv2d.from_weight(w, stride=stride, algorithm="direct_channels")
    expected = np.tensordot(w[..., 0, 0].astype(np.float64), read[0], 1)
    np.testing.assert_array_equal(layer(left_out)[0], expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", [(33, 3, 5, 2), (8, 47, 5, 3)], ids=["two vectors", "a vector, three taps"])
def test_tiles_of_neighbouring_pixels(kernel, stride, dtype):
    """Rows of about one tile, two and more; of tiles that are summed together, only one may see padding.

    A vector's 705 products are more than a block of them, whose last taps must be those of a row, too.
    """
    random = np.random.default_rng(8)
    w = random.integers(-4, 5, kernel).astype(dtype)
    channels, taps = kernel[1], kernel[-1]
    for width, (height, padding) in itertools.product((*range(5, 23), 27, 28, 29, 35), ((9, 0), (9, 2), (3, 4))):
        size = (stride * (height - 1) + 1, stride * (width - 1) + taps)
        x = random.integers(-4, 5, (2, channels, *size)).astype(dtype)
        by_channels, expected = (
            nc.conv2d(x, w, stride=stride, padding=(padding, 0), algorithm=algorithm)
            for algorithm in ("direct_channels", "im2col")
        )
        np.testing.assert_array_equal(by_channels, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_tiles_of_two_widths(dtype, monkeypatch):
    """Runs of 1 to 11 vectors, a pixel less and more; rows that have tiles of their own, and runs through several."""
    monkeypatch.setattr(memory, "LEAST_KEPT", 0)
    monkeypatch.setattr(memory, "_kept", [np.full(2**20, 255, np.uint8) for _ in range(2)])
    random = np.random.default_rng(11)
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    _, nr = tile_for(TILE_ROWS, np.dtype(dtype).itemsize)
    for vectors, more, channels in itertools.product(range(1, 12), (-1, 0, 1), (2, 70)):
        run = vectors * lanes + more
        tiles, narrow = cut_run(run, TILE_ROWS, nr, lanes)
        covered = tiles * nr - narrow * lanes
        spare = (
            lanes if TILES[0][1] < WIDE_VECTORS else nr
        )  # where no tile is wider than the usual one, none is narrower
        assert covered - spare < run <= covered or (tiles == 1 and covered <= nr)
        w = random.integers(-4, 5, (TILE_ROWS + 3, channels, 3, 3)).astype(dtype)
        x = random.integers(-4, 5, (1, channels, 5, run + 2)).astype(dtype)
        expected = nc.conv2d(x, w, algorithm="direct_channels")
        for algorithm in ("direct_pixels", "im2col"):
            np.testing.assert_array_equal(nc.conv2d(x, w, algorithm=algorithm), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_that_begin_behind_the_last_column(dtype):
    """The sums of a block are stored in chunks of pixels; a last block may have fewer columns than where one begins.

    Planes of the result lie whole pages apart, as they are stored in another way then.
    """
    random = np.random.default_rng(12)
    behind = 0
    for width in range(150, 300):
        x = random.integers(-4, 5, (1, 8, 2, width)).astype(dtype)
        w = random.integers(-4, 5, (VECTOR_BYTES // x.itemsize, 8, 3, 3)).astype(dtype)
        problem = nc.problem.conv_problem(2, x.shape, w.shape, padding=1, dtype=dtype)
        geometry = nc.planner.choose(problem, "direct_channels").geometry
        columns, lines, chunk = (geometry[i] for i in (at.BLOCK_COLUMNS, at.BLOCK_ROWS, at.CHUNK))
        behind += any(first % columns > width % columns > 0 for first in range(0, columns * lines, chunk))
        out = np.full((1, len(w), 4, 512), np.nan, dtype)
        nc.conv2d(x, w, padding=1, algorithm="direct_channels", out=out[:, :, :2, :width])
        expected = nc.conv2d(x, w, padding=1, algorithm="im2col")
        np.testing.assert_array_equal(out[:, :, :2, :width], expected)
        out[:, :, :2, :width] = np.nan
        assert np.isnan(out).all()
    assert behind


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixels_of_several_images(dtype):
    """Where an image has few, tiles take some of the next one: in any memory layout, into any, as one by one."""
    random = np.random.default_rng(9)
    for number, (size, batch) in enumerate(itertools.product(((1, 1), (1, 2), (2, 2), (2, 4), (4, 4)), (2, 9, 40))):
        groups, channels, filters = 1 + number % 2, int(random.integers(1, 30)), int(random.integers(1, 40))
        x = random.integers(-4, 5, (batch, groups * channels, *size)).astype(dtype)
        w = random.integers(-4, 5, (groups * filters, channels, 1, 1)).astype(dtype)
        b = random.integers(-4, 5, groups * filters).astype(dtype)
        expected = np.concatenate([nc.conv2d(image[None], w, b, groups=groups, algorithm="im2col") for image in x])
        twice = np.full((2 * batch, *x.shape[1:]), np.nan, dtype)
        twice[::2] = x
        backwards = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
        across = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
        for view, algorithm in itertools.product((x, twice[::2], backwards, across), SUMMING):
            out = np.full((groups * filters, batch, *size), np.nan, dtype).swapaxes(0, 1)
            nc.conv2d(view, w, b, groups=groups, algorithm=algorithm, out=out)
            np.testing.assert_array_equal(out, expected)
            last = np.ascontiguousarray(np.moveaxis(view, 1, -1))
            result = nc.conv2d(last, w, b, groups=groups, algorithm=algorithm, data_format="NHWC")
            np.testing.assert_array_equal(np.moveaxis(result, -1, 1), expected)
    problem = nc.problem.conv_problem(2, (40, 8, 1, 1), (5, 8, 1, 1))
    assert nc.planner.choose(problem, "direct_channels").geometry[at.IMAGES] == 40


@pytest.mark.parametrize(
    ("shape", "weight_shape", "arguments"),
    [
        ((1, 64, 32, 32), (64, 64, 1, 1), {"stride": 32}),
        ((1, 64, 1024), (64, 64, 1), {"stride": 1024}),
        ((1, 64, 1, 1), (64, 64, 1, 1), {"stride": 3, "padding": 1}),
        ((1, 16, 8, 1), (32, 16, 1, 1), {"stride": (2, 1), "padding": (1, 0)}),
        ((1, 16, 1024, 1), (32, 16, 1, 1), {"stride": (256, 1)}),
        ((1, 64, 4, 1, 1), (64, 64, 1, 1, 1), {"padding": (1, 0, 0)}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strips_of_one_cell(shape, weight_shape, arguments, dtype, monkeypatch):
    """Blocks of one pixel under kernels of one tap, and NaN in the memory that calls keep."""
    random = np.random.default_rng(6)
    x, w = (random.integers(-4, 5, size).astype(dtype) for size in (shape, weight_shape))
    convolve = getattr(nc, f"conv{x.ndim - 2}d")
    expected = convolve(x, w, **arguments, algorithm="im2col")
    monkeypatch.setattr(memory, "LEAST_KEPT", 0)
    monkeypatch.setattr(memory, "_kept", [np.full(2**20, 255, np.uint8) for _ in range(2)])
    np.testing.assert_array_equal(convolve(x, w, **arguments, algorithm="direct_channels"), expected)


def test_threads_do_not_share_the_memory_that_calls_keep():
    """Plain calls, and calls of a layer, of several sizes at once: each the same every time."""
    random = np.random.default_rng(7)
    calls = []
    for channels, size in ((32, 56), (64, 28), (128, 14), (256, 7)):
        x, w = (random.standard_normal(s).astype(np.float32) for s in ((1, channels, size, size), (96, channels, 3, 3)))
        layer = nc.Conv2d.from_weight(w, padding=1)
        calls += [functools.partial(nc.conv2d, x, w, padding=1), functools.partial(layer, x)]
    expected = [call() for call in calls]

    def same(number):
        return np.array_equal(calls[number % len(calls)](), expected[number % len(calls)])

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert all(pool.map(same, range(40 * len(calls))))


# -------------------------------------------------------------------------- numbers that are not finite


def plants(values, arrays):
    """What is planted where: a value, into which array, at which element (modulo how many there are)."""
    return st.lists(st.tuples(st.sampled_from(values), st.integers(0, arrays - 1), st.integers(0, 10**6)), max_size=3)


def plant(planted, *arrays):
    for value, which, where in planted:
        array = arrays[which]
        if array is not None and array.size:
            array.flat[where % array.size] = value


@every_algorithm
@given(case=conv_problems(winograd=True), planted=plants((np.nan, np.inf, -np.inf), 3))
def test_nan_and_infinity_stay_where_they_belong(algorithm, case, planted):
    """A tile that Winograd's transforms spoil is computed again: its other outputs are as accurate as any."""
    x, w, b = case.arrays()
    plant(planted, x, w, b)
    assert_accurate(algorithm, case.convolve(x, w, b, algorithm=algorithm), x, w, b, case.arguments)


@every_algorithm
@given(
    case=conv_problems(winograd=True),
    scale=st.sampled_from((1, 1e30, 1e37, 1e38)),
    planted=plants((1e38, -1e38, 3e38, -3e38), 1),
)
def test_overflow(algorithm, case, scale, planted):
    """What cannot overflow in any order of summation does not, what must overflow does, whatever the transforms do."""
    x, w, b = (None if array is None else array.astype(np.float32) for array in case.arrays())
    x = np.clip(x, -3, 3) * np.float32(scale)
    plant(planted, x)
    arguments = {**case.arguments, "activation": None}
    out = case.convolve(x, w, b, algorithm=algorithm, activation=None)
    exact = scipy_reference(x, w, b, **arguments)
    largest = float(np.finfo(np.float32).max)
    safe = scipy_reference(np.abs(x), np.abs(w), None if b is None else np.abs(b), **arguments) < largest / 2
    allowed = bound(algorithm, x, w, b, np.float32, arguments)
    assert np.isfinite(out[safe]).all()
    assert (np.abs(out[safe] - exact[safe]) <= allowed[safe]).all()
    assert not np.isfinite(out[np.abs(exact) - allowed > largest]).any()


@every_algorithm
def test_relu_keeps_nan(algorithm):
    x = np.full((1, 1, 6, 70), -1, np.float32)
    x[0, 0, 2, 3] = np.nan
    out = nc.conv2d(x, np.ones((9, 1, 3, 3), np.float32), activation="relu", algorithm=algorithm)
    expected = np.zeros((4, 68))
    expected[0:3, 1:4] = np.nan
    np.testing.assert_array_equal(out, np.broadcast_to(expected, (1, 9, 4, 68)))


# --------------------------------------------------------------------------------- the course's function


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 40), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 10)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(("same", "valid", 2)),
    seed=st.integers(0, 2**32 - 1),
)
def test_conv2d_gemm(shape, kernel, stride, padding, seed):
    height, width, filters = kernel
    assume(padding != "valid" or (height <= shape[1] and width <= shape[2]))
    assume(padding != 2 or (height <= shape[1] + 4 and width <= shape[2] + 4))
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, shape, np.uint8)
    weights = random.integers(-8, 9, (height, width, shape[-1], filters)).astype(np.float32)
    out = nc.conv2D_gemm(images, weights, stride, padding)
    expected = conv2d_loops(images.transpose(0, 3, 1, 2), weights.transpose(3, 2, 0, 1), stride=stride, padding=padding)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, expected.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(nc.conv2D_gemm(images[0], weights, stride, padding), out[0])


def test_question_1():
    """A 32x32 image of one channel, 8 filters of 3x3, stride 1, padding "same"."""
    random = np.random.default_rng(1)
    image, kernel = random.normal(size=(32, 32, 1)), random.normal(size=(3, 3, 1, 8))
    out = nc.conv2D_gemm(image, kernel, stride=1, padding="same")
    assert out.shape == (32, 32, 8)
    expected = conv2d_loops(image[None].transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), padding=1)
    np.testing.assert_allclose(out, expected[0].transpose(1, 2, 0), rtol=0, atol=1e-14)


def test_memory_that_calls_keep_is_nobody_elses_meanwhile(monkeypatch):
    """What is borrowed twice does not overlap, begins on a cache line, and is used again, by smaller calls, too."""
    monkeypatch.setattr(memory, "_kept", [])
    float32 = np.dtype(np.float32)
    first, second = (memory.borrow(2**15, float32) for _ in range(2))
    assert not np.shares_memory(first, second)
    assert first.ctypes.data % 64 == second.ctypes.data % 64 == 0
    memory.give_back(first)
    third = memory.borrow(2**14, float32)
    assert np.shares_memory(first, third)
    assert memory.borrow(memory.MOST_KEPT, float32) is None
    for _ in range(2 * memory.PIECES_KEPT):
        memory.give_back(np.empty(2**18, np.uint8)[:].view(np.float32))
    assert len(memory._kept) == memory.PIECES_KEPT
