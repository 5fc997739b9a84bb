"""Depthwise convolution with pixels in the lanes: its instructions alone, NaN around what is read, and whole layers."""

import contextlib
import itertools

import numpy as np
import pytest
from naive import tap_reference
from strategies import DTYPES
from test_simd import compiled

import numbaconv as nc
from numbaconv import execute
from numbaconv.algorithms import direct_pixels
from numbaconv.kernels import geometry as at
from numbaconv.kernels import simd_apart, simd_depthwise
from numbaconv.kernels.blocking import COLUMN_RUNS, DEPTHWISE_ROWS, VECTOR_BYTES

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
microkernel = compiled(simd_depthwise.depthwise_microkernel)
COPIES = {
    1: compiled(simd_apart.copy_row_1),
    2: compiled(simd_apart.copy_row_2),
    3: compiled(simd_apart.copy_row_3),
    4: compiled(simd_apart.copy_row_4),
}


def lanes_of(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def check(dtype):
    """All of this file's instructions, for a process whose vectors are narrower."""
    for phases in COPIES:
        test_copied_rows(phases, dtype)
    test_depthwise_microkernel(dtype)


@pytest.mark.parametrize("phases", COPIES)
@every_dtype
def test_copied_rows(phases, dtype):
    """Every number of elements up to three vectors of each phase; nothing else is read, or written but zeros behind."""
    lanes = lanes_of(dtype)
    for count in range(1, 3 * phases * lanes + 2):
        x = np.full(count + 2, np.nan, dtype)
        x[1:-1] = np.arange(1, count + 1)
        length = -(-count // (phases * lanes)) * lanes
        y = np.full(3 + phases * (length + 3), np.nan, dtype)
        starts = tuple(3 + p * (length + 3) for p in range(phases))
        COPIES[phases](x, 1, count, y, starts)
        expected = np.full_like(y, np.nan)
        for p, start in enumerate(starts):
            row = x[1:-1][p::phases]
            expected[start : start + length] = 0
            expected[start : start + row.size] = row
        np.testing.assert_array_equal(y, expected)


@every_dtype
def test_depthwise_microkernel(dtype):
    """Every number of rows and of columns up to two tiles and more, runs of all lengths, none of some, exactly."""
    random, lanes = np.random.default_rng(0), lanes_of(dtype)
    kinds_of = itertools.cycle([(1, 0, 0, 0), (0, 2, 0, 1), (0, 0, 3, 2), (2, 1, 1, 1), (0, 1, 0, 0)])
    for lines, columns in itertools.product(range(1, 2 * DEPTHWISE_ROWS + 2), (1, 2, lanes - 1, lanes, 2 * lanes + 1)):
        kinds, step, bias, relu = next(kinds_of), int(random.integers(1, 4)), 7, int(random.integers(2))
        lengths = [length for length, count in zip(COLUMN_RUNS, kinds, strict=True) for _ in range(count)]
        pitch, out_pitch = columns + 5, columns + 3
        whole = -(-lines // DEPTHWISE_ROWS) * DEPTHWISE_ROWS
        cells = (whole + max(COLUMN_RUNS) + 3) * pitch + 2 * lanes + 9
        x = random.integers(-8, 9, cells).astype(dtype)
        weight = random.integers(-8, 9, 60).astype(dtype)
        taps = len(lengths) + 2
        rows = np.zeros(2 * taps, np.int64)
        rows[: len(lengths)] = random.integers(0, 3 * pitch, len(lengths))
        rows[taps : taps + len(lengths)] = random.integers(0, 30, len(lengths))
        expected = np.full((lines, columns), weight[bias])
        for r, c in np.ndindex(lines, columns):
            for k, length in enumerate(lengths):
                for t in range(length):
                    w = weight[11 + rows[taps + k] + t * step]
                    expected[r, c] += w * x[4 + rows[k] + (r + t) * pitch + c]
        out = np.full((lines + 2, out_pitch), np.nan, dtype)
        ask = (x.ctypes.data, int(random.integers(3)))
        microkernel(
            x, 4, pitch, rows, taps, kinds, weight, 11, step, bias, relu, out[1:, 1:].ctypes.data,
            (lines, columns, out_pitch), ask,
        )  # fmt: skip
        np.testing.assert_array_equal(out[1:-1, 1 : columns + 1], np.maximum(expected, 0) if relu else expected)
        out[1:-1, 1 : columns + 1] = np.nan
        assert np.isnan(out).all()


#: (channels, *input size), kernel, stride, padding, dilation: tails of tiles, several tasks of rows, of columns and of
#: channels, strides with more phases than taps, padding wider than a vector, dilation, volumes of planes.
LAYERS = [
    ((32, 60, 61), (3, 3), 1, 1, 1), ((24, 57, 56), (5, 5), 2, 2, 1), ((40, 14, 14), (3, 3), 1, 1, 1),
    ((3, 130, 131), (7, 7), 1, 3, 1), ((5, 33, 31), (5, 3), (2, 1), (2, 0), 1), ((4, 40, 41), (3, 3), 1, 2, 2),
    ((7, 9, 9), (9, 9), 1, 4, 1), ((2, 64, 64), (31, 31), 1, 15, 1), ((2, 70, 70), (4, 45), 2, (2, 22), 1),
    ((3, 10, 3000), (3, 3), 2, 1, 1), ((6, 7, 7), (3, 3), 1, 1, 1), ((3, 20, 20), (4, 4), 3, 2, 1),
    ((3, 20, 20), (2, 2), 4, 0, 1), ((3, 50, 50), (3, 3), 2, 5, 3), ((3, 20, 22), (3, 1), (1, 2), (1, 0), 1),
    ((5, 6, 20, 21), (1, 3, 3), (2, 1, 2), (1, 1, 1), 1), ((1, 5, 5), (5, 5), 1, 0, 1), ((4, 3, 9), (3, 2), 2, 1, 1),
]  # fmt: skip


@contextlib.contextmanager
def one_by_one():
    """Sum every layer of one channel and filter a group so, also where tiles of pixels and filters would be cheaper."""
    cost = direct_pixels._tiles_cost
    direct_pixels._tiles_cost = lambda *_: np.inf
    execute.forget_plans()
    try:
        yield
    finally:
        direct_pixels._tiles_cost = cost
        execute.forget_plans()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular"])
@every_dtype
def test_layers(layer, padding_mode, dtype):
    """Exactly, of arrays that are dense and of others, with and without ReLU."""
    (channels, *size), kernel, stride, padding, dilation = layer
    random = np.random.default_rng(1)
    convolve = nc.conv3d if len(size) == 3 else nc.conv2d
    shapes = (2, channels, *size), (channels, 1, *kernel), (channels,)
    x, w, b = (random.integers(-8, 9, shape).astype(dtype) for shape in shapes)
    pads = np.broadcast_to(padding, len(size))
    if padding_mode != "zeros" and any(pad >= n for pad, n in zip(pads, size, strict=True)):
        padding_mode = "replicate"  # the others' must be narrower than the input
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": channels}
    options["padding_mode"] = padding_mode
    expected = tap_reference(x, w, b, **options, dtype=np.dtype(np.float64))
    options["algorithm"] = "direct_pixels"
    apart = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, dtype)[..., ::2]
    apart[...] = x
    beyond = np.full((*expected.shape[:-1], 3 * expected.shape[-1]), np.nan, dtype)
    with one_by_one():
        np.testing.assert_array_equal(convolve(x, w, b, **options), expected)
        np.testing.assert_array_equal(
            convolve(apart, w, b, **options, activation="relu", out=beyond[..., 1::3]), np.maximum(expected, 0)
        )
    beyond[..., 1::3] = np.nan
    assert np.isnan(beyond).all()


def test_padding_meets_infinity():
    """As in direct summation: zeros of the padding times an infinite weight are NaN, beside it nothing is."""
    x, w = np.ones((1, 2, 30, 30), np.float32), np.ones((2, 1, 3, 3), np.float32)
    w[1, 0, 0, 0] = np.inf
    x[0, 0, 20, 20] = np.nan
    with one_by_one():
        y = nc.conv2d(x, w, padding=1, groups=2, algorithm="direct_pixels")
    assert np.isnan(y[0, 0]).sum() == 9
    assert np.isnan(y[0, 0, 19:22, 19:22]).all()
    edge = np.zeros((30, 30), bool)
    edge[0] = edge[:, 0] = True
    np.testing.assert_array_equal(np.isnan(y[0, 1]), edge)
    np.testing.assert_array_equal(np.isinf(y[0, 1]), ~edge)


def test_sequences_are_left_to_tiles():
    """A tile of seven rows is hardly filled by one row; channels last cannot be read in vectors."""
    for shape, weight, options, expected in (
        ((1, 64, 56, 56), (64, 1, 3, 3), {"groups": 64}, True),
        ((1, 1, 4000), (1, 1, 9), {}, False),
        ((1, 56, 56, 64), (64, 1, 3, 3), {"groups": 64, "data_format": "NHWC"}, False),
    ):
        geometry = nc.explain(shape, weight, **options, algorithm="direct_pixels").geometry
        assert (geometry[at.BLOCK_GROUPS] > 0) == expected


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_tap_is_in_one_run(layer):
    """The table of runs has each tap of the kernel once."""
    (channels, *size), kernel, stride, padding, dilation = layer
    with one_by_one():
        plan = nc.explain(
            (2, channels, *size), (channels, 1, *kernel), stride=stride, padding=padding, dilation=dilation,
            groups=channels, algorithm="direct_pixels",
        )  # fmt: skip
    geometry = list(plan.geometry)
    assert geometry[at.BLOCK_GROUPS] > 0
    table = direct_pixels.rows(geometry, 4)
    taps = geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    seen, k = [], 0
    for kind, length in enumerate(COLUMN_RUNS):
        for _ in range(geometry[at.SEGMENTS + kind]):
            seen += [table[taps + k] + t * geometry[at.KERNEL_W] * geometry[at.STRIDE_H] for t in range(length)]
            k += 1
    assert sorted(seen) == list(range(taps))
