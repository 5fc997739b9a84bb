"""The vector instructions of convolution with channels in the lanes, each alone: exact, NaN around what is read."""

import numba
import numpy as np
import pytest
from strategies import DTYPES
from test_simd import compiled, filled

from numbaconv.kernels import geometry as at
from numbaconv.kernels import simd, simd_channels, tasks
from numbaconv.kernels import simd_channel_tiles as simd_tiles
from numbaconv.kernels.blocking import (
    CHANNEL_TILE_PIXELS,
    LANE_TILE_PIXELS,
    RUNS,
    SPREAD,
    TAPS_TOGETHER,
    TILES_TOGETHER,
    VECTOR_BYTES,
)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
#: By vectors of filters.
BROADCAST = {1: compiled(simd_tiles.channels_microkernel_1), 2: compiled(simd_tiles.channels_microkernel_2)}
#: By vectors of filters, and the elements of the input between the pixels of a tile.
NEIGHBOURS = {
    (2, 1): compiled(simd_tiles.channels_microkernel_beside),
    (2, 2): compiled(simd_tiles.channels_microkernel_every_other),
    (1, 1): compiled(simd_tiles.taps_microkernel_beside),
    (1, 2): compiled(simd_tiles.taps_microkernel_every_other),
}
#: By (taps of a run, stride).
LANEWISE = {
    (1, 1): compiled(simd_tiles.run_microkernel_1),
    (3, 1): compiled(simd_tiles.run_microkernel_3),
    (5, 1): compiled(simd_tiles.run_microkernel_5),
    (7, 1): compiled(simd_tiles.run_microkernel_7),
    (3, 2): compiled(simd_tiles.run_microkernel_3_stride2),
    (5, 2): compiled(simd_tiles.run_microkernel_5_stride2),
    (7, 2): compiled(simd_tiles.run_microkernel_7_stride2),
}
MICROKERNELS = [*BROADCAST.values(), *NEIGHBOURS.values(), *LANEWISE.values()]
gather_channels = compiled(simd_channels.gather_channels)
spread_groups = compiled(simd_channels.spread_groups)
transpose_square, copy_squares = compiled(simd_channels.transpose_square), compiled(simd_channels.copy_squares)
store_planes, store_cells = compiled(simd_channels.store_planes), compiled(simd_channels.store_cells)
copy_cells, transpose_cells = compiled(simd_channels.copy_cells), compiled(simd_channels.transpose_cells)


@numba.njit
def sum_of_zeros(x, start, count):
    return simd_channels.sum_of_zeros(x, start, count)


def lanes_of(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def check(dtype):
    """All of this file's checks, for a process whose vectors are narrower."""
    for vectors in BROADCAST:
        test_channels_microkernel(vectors, dtype)
    for vectors, apart in NEIGHBOURS:
        test_channels_microkernel_of_neighbours(vectors, apart, dtype)
    for taps, stride in LANEWISE:
        test_run_microkernel(taps, stride, dtype)
    test_gather_channels(dtype)
    test_transpose_lanes(dtype)
    for filters in SPREAD:
        test_spread_groups(filters, dtype)
    for relu in (0, 1):
        test_stores(relu, dtype)
        test_squares(relu, dtype)
    test_transposed_cells(dtype)
    test_copied_cells(dtype)
    test_sum_of_zeros(dtype)


def test_every_run_is_tested():
    assert {taps for taps, _ in LANEWISE} == {1, *RUNS}


@every_dtype
@pytest.mark.parametrize("vectors", BROADCAST)
def test_channels_microkernel(vectors, dtype):
    """Pixels and depths lie anywhere, in any order."""
    random = np.random.default_rng(0)
    width = vectors * lanes_of(dtype)
    for depth, accumulate in np.ndindex(20, 2):
        depth, valid = depth + 1, 1 + depth % CHANNEL_TILE_PIXELS
        cells = np.add.outer(100 * random.permutation(CHANNEL_TILE_PIXELS), 3 * random.permutation(depth))
        x = np.full(cells.max() + 2, np.nan, dtype)
        x[1 + cells] = filled(random, cells.shape, dtype)
        w = filled(random, (depth, width), dtype)
        weight = np.concatenate([[np.nan], w.ravel(), [np.nan]]).astype(dtype)
        nowhere = np.full(CHANNEL_TILE_PIXELS - valid, 10**12)
        rows = np.concatenate([[-1], cells[0] - cells[0, 0], [-1], cells[:valid, 0], nowhere])
        cells[valid:] = cells[valid - 1]
        sums = np.full(2 + CHANNEL_TILE_PIXELS * width, np.nan, dtype)
        before = filled(random, (CHANNEL_TILE_PIXELS, width), dtype)
        if accumulate:
            sums[1:-1] = before.ravel()
        expected, both = x[1 + cells] @ w + accumulate * before, np.concatenate([sums, x])
        BROADCAST[vectors](x, 1, 1, rows, 1, depth + 2, valid, depth, weight, 1, sums, 1, accumulate, 10**12, 7)
        np.testing.assert_array_equal(sums[1:-1].reshape(before.shape), expected)
        assert np.isnan(sums[[0, -1]]).all()
        none, start = np.full(1, np.nan, dtype), 1 + sums.size
        BROADCAST[vectors](none, 0, start, rows, 1, depth + 2, valid, depth, weight, 1, both, 1, accumulate, -1, 0)
        np.testing.assert_array_equal(both, np.concatenate([sums, x]))


@every_dtype
@pytest.mark.parametrize(("vectors", "apart"), NEIGHBOURS)
def test_channels_microkernel_of_neighbours(vectors, apart, dtype):
    """Tiles and depths lie anywhere, the pixels of a tile side by side, and the taps of a run."""
    random = np.random.default_rng(0)
    width, pixels = vectors * lanes_of(dtype), TILES_TOGETHER * CHANNEL_TILE_PIXELS
    taps = TAPS_TOGETHER if vectors == 1 else 1
    for depth, accumulate in np.ndindex(20, 2):
        depth = (depth + 1) * taps
        tiles = 1000 * random.permutation(TILES_TOGETHER)
        starts = np.add.outer(tiles, apart * np.arange(CHANNEL_TILE_PIXELS)).ravel()
        steps = np.add.outer(3 * random.permutation(depth // taps), np.arange(taps)).ravel()
        cells = np.add.outer(starts, steps)
        x = np.full(cells.max() + 2, np.nan, dtype)
        x[1 + cells] = filled(random, cells.shape, dtype)
        w = filled(random, (depth, width), dtype)
        weight = np.concatenate([[np.nan], w.ravel(), [np.nan]]).astype(dtype)
        firsts = np.full(pixels, 10**12)
        firsts[::CHANNEL_TILE_PIXELS] = tiles
        asked = np.where(np.arange(depth) % taps == 0, steps, 10**12)
        rows = np.concatenate([[-1], asked, np.full(simd_tiles.LATER, -(10**12)), firsts])
        sums = np.full(2 + pixels * width, np.nan, dtype)
        before = filled(random, (pixels, width), dtype)
        if accumulate:
            sums[1:-1] = before.ravel()
        expected, both = x[1 + cells] @ w + accumulate * before, np.concatenate([sums, x])
        place = rows.size - pixels
        NEIGHBOURS[vectors, apart](x, 1, 1, rows, 1, place, 0, depth, weight, 1, sums, 1, accumulate, 10**12, 7)
        np.testing.assert_array_equal(sums[1:-1].reshape(before.shape), expected)
        assert np.isnan(sums[[0, -1]]).all()
        none, start = np.full(1, np.nan, dtype), 1 + sums.size
        NEIGHBOURS[vectors, apart](none, 0, start, rows, 1, place, 0, depth, weight, 1, both, 1, accumulate, -1, 0)
        np.testing.assert_array_equal(both, np.concatenate([sums, x]))


@every_dtype
@pytest.mark.parametrize(("taps", "stride"), LANEWISE)
def test_run_microkernel(taps, stride, dtype):
    """Three tiles, the last of which overlaps the second; each sums its own runs, lane by lane."""
    random = np.random.default_rng(0)
    lanes, pixels = lanes_of(dtype), 3 * LANE_TILE_PIXELS - 2
    tiles = np.array([0, LANE_TILE_PIXELS, 2 * LANE_TILE_PIXELS - 2])
    for depth, accumulate in np.ndindex(4, 2):
        depth += 1
        where = stride * np.arange(pixels) if taps > 1 else random.permutation(3 * pixels)[:pixels]
        runs = (where.max() + taps) * random.permutation(depth)
        x = filled(random, (runs.max() + where.max() + taps, lanes), dtype)
        w = filled(random, (depth, taps, lanes), dtype)
        rows = np.concatenate([runs * lanes, where * lanes, tiles])
        memory = np.concatenate([[np.nan], x.ravel(), [np.nan]]).astype(dtype)
        weight = np.concatenate([[np.nan], w.ravel(), [np.nan]]).astype(dtype)
        before = filled(random, (pixels, lanes), dtype)
        before[LANE_TILE_PIXELS:] *= 1 - accumulate  # what two tiles add to is not known
        sums = np.full(2 + pixels * lanes, np.nan, dtype)
        if accumulate:
            sums[1:-1] = before.ravel()
        count = 1 if accumulate else 3
        LANEWISE[taps, stride](memory, 1, rows, 0, depth, depth, depth + pixels, count, weight, 1, sums, 1, accumulate)
        cells = where[:, None, None] + runs[:, None] + np.arange(taps)
        expected = (x[cells] * w).sum((1, 2)) + accumulate * before
        done = LANE_TILE_PIXELS if accumulate else pixels
        np.testing.assert_array_equal(sums[1:-1].reshape(before.shape)[:done], expected[:done])
        assert np.isnan(sums[[0, -1]]).all()


@every_dtype
def test_gather_channels(dtype):
    """Every count of pixels and of lanes that have a filter; groups of 1, 2, 3 and many filters."""
    random = np.random.default_rng(0)
    lanes = lanes_of(dtype)
    for count, valid in np.ndindex(lanes, lanes):
        count, valid = count + 1, valid + 1
        filters = (1, 2, 3, lanes + 1)[int(random.integers(4))]
        phase = int(random.integers(filters))
        channel = (phase + np.minimum(np.arange(lanes), valid - 1)) // filters
        step = count + 2
        x = np.full((channel.max() + 1, step), np.nan, dtype)
        x[:, :count] = filled(random, (len(x), count), dtype)
        x = np.concatenate([[np.nan], x.ravel()[: x.size - 2]]).astype(dtype)  # nothing lies behind the last pixel
        cells = random.permutation(lanes) * (lanes + 1)
        y = np.full(2 + (lanes + 1) * lanes, np.nan, dtype)
        expected = y.copy()
        for j in range(count):
            expected[1 + cells[j] : 1 + cells[j] + lanes] = x[1 + channel * step + j]
        gather_channels(x, 1, step, filters, phase, valid, count, y, 1, np.append(-1, cells), 1)
        np.testing.assert_array_equal(y, expected)


@every_dtype
@pytest.mark.parametrize("filters", SPREAD)
def test_spread_groups(filters, dtype):
    random = np.random.default_rng(0)
    lanes = lanes_of(dtype)
    if lanes % filters:
        return  # the caller does not use it
    for cells in range(4):
        x = filled(random, (cells, lanes), dtype)
        plane = x.size + 3
        y = np.full(1 + filters * plane, np.nan, dtype)
        y[1 : 1 + x.size] = x.ravel()
        spread_groups(y, 1, cells, filters, plane)
        planes = y[1:].reshape(filters, plane)
        for c in range(filters):
            expected = np.repeat(x[:, c::filters], filters, 1)
            np.testing.assert_array_equal(planes[c, : x.size].reshape(x.shape), expected)
        assert np.isnan(y[0]) and np.isnan(planes[:, x.size :]).all()  # noqa: PT018 - both are what surrounds


@every_dtype
def test_transpose_lanes(dtype):
    """Groups of one filter: a transposition, as packed weights take it."""
    random = np.random.default_rng(0)
    lanes = lanes_of(dtype)
    for count, valid in np.ndindex(lanes, lanes):
        count, valid = count + 1, valid + 1
        x = np.full((valid, count + 3), np.nan, dtype)
        x[:, :count] = filled(random, (valid, count), dtype)
        memory = np.concatenate([[np.nan], x.ravel()[: x.size - 3]]).astype(dtype)
        order = random.permutation(count)
        y = np.full(1 + (lanes + 2) * lanes, np.nan, dtype)
        gather_channels(memory, 1, count + 3, 1, 0, valid, count, y, 1, np.append(-1, order * (lanes + 2)), 1)
        written = y[1:].reshape(lanes, lanes + 2)
        np.testing.assert_array_equal(written[order][:, :lanes].T[:valid], x[:, :count])
        assert np.isnan(y[0])
        assert np.isnan(written[:, lanes:]).all()
        assert np.isnan(written[count:]).all()


@every_dtype
@pytest.mark.parametrize("relu", [0, 1])
def test_stores(relu, dtype):
    """Every count of pixels and of filters, with bias; nothing else is written."""
    random = np.random.default_rng(0)
    lanes = lanes_of(dtype)
    for count, valid in np.ndindex(lanes, lanes + 2):
        count, channels = count + 1, min(valid, lanes)
        sums = filled(random, (lanes, lanes + 3), dtype)
        sums[count:] = np.nan
        bias = filled(random, 1 + lanes, dtype)
        expected = sums[:count, :channels].T + bias[1 : 1 + channels, None]
        expected = np.maximum(expected, 0) if relu else expected
        out = np.full(1 + lanes * (count + 2), np.nan, dtype)
        store_planes(sums.ravel(), 0, lanes + 3, count, bias, 1, relu, out, 1, count + 2, valid)
        planes = out[1:].reshape(lanes, count + 2)
        np.testing.assert_array_equal(planes[:channels, :count], expected)
        assert np.isnan(out[0])
        assert np.isnan(planes[:, count:]).all()
        assert np.isnan(planes[channels:]).all()

        out = np.full((count + 2, lanes + 2), np.nan, dtype)
        store_cells(sums.ravel(), 0, lanes + 3, count, bias, 1, relu, out.ravel(), lanes + 3, lanes + 2, valid)
        np.testing.assert_array_equal(out[1:-1, 1 : 1 + channels], expected.T)
        out[1:-1, 1 : 1 + channels] = np.nan
        assert np.isnan(out).all()


@every_dtype
def test_transposed_cells(dtype):
    """Every count of pixels and of channels, up to a vector and beyond; nothing else is read or written."""
    random, lanes = np.random.default_rng(0), lanes_of(dtype)
    for count, valid in np.ndindex(lanes + 1, lanes + 1):
        pixels, channels = min(count + 1, lanes), min(valid + 1, lanes)
        x = np.full((pixels + 2, lanes + 3), np.nan, dtype)
        x[1:-1, 1 : 1 + channels] = filled(random, (pixels, channels), dtype)
        y = np.full((channels + 2, lanes + 2), np.nan, dtype)
        transpose_cells(x.ravel(), lanes + 4, lanes + 3, count + 1, valid + 1, y.ravel(), lanes + 3, lanes + 2)
        np.testing.assert_array_equal(y[1:-1, 1 : 1 + pixels], x[1:-1, 1 : 1 + channels].T)
        y[1:-1, 1 : 1 + pixels] = np.nan
        assert np.isnan(y).all()


@every_dtype
def test_copied_cells(dtype):
    """Every count of pixels and of channels; nothing else is read or written."""
    random, lanes = np.random.default_rng(0), lanes_of(dtype)
    for count, valid in np.ndindex(4, lanes + 2):
        channels = min(valid, lanes)
        x = np.full((count + 2, lanes + 3), np.nan, dtype)
        x[1:-1, 1 : 1 + channels] = filled(random, (count, channels), dtype)
        y = np.full((count + 2, lanes + 1), np.nan, dtype)
        copy_cells(x.ravel(), lanes + 4, lanes + 3, count, y.ravel(), lanes + 2, lanes + 1, valid)
        np.testing.assert_array_equal(y[1:-1, 1 : 1 + channels], x[1:-1, 1 : 1 + channels])
        y[1:-1, 1 : 1 + channels] = np.nan
        assert np.isnan(y).all()


@every_dtype
@pytest.mark.parametrize("relu", [0, 1])
def test_squares(relu, dtype):
    """Squares side by side, transposed in place, and their planes: what lies around them stays as it is."""
    random = np.random.default_rng(0)
    lanes, squares = lanes_of(dtype), 3
    sums = filled(random, (squares * lanes, lanes + 2), dtype)
    sums[:, [0, -1]] = np.nan
    bias = filled(random, 1 + lanes, dtype)
    expected = sums[:, 1:-1].T + bias[1:, None]
    expected = np.maximum(expected, 0) if relu else expected
    memory = sums.ravel()
    for square in range(squares):
        transpose_square(memory, square * lanes * (lanes + 2) + 1, lanes + 2, bias, 1, relu)
    assert np.isnan(sums[:, [0, -1]]).all()
    for channel in range(lanes):
        out = np.full(2 + squares * lanes, np.nan, dtype)
        copy_squares(memory, channel * (lanes + 2) + 1, lanes * (lanes + 2), out, 1, squares * lanes)
        np.testing.assert_array_equal(out[1:-1], expected[channel])
        assert np.isnan(out[[0, -1]]).all()


@every_dtype
def test_sum_of_zeros(dtype):
    lanes = lanes_of(dtype)
    x = np.full(2 + 3 * lanes, np.nan, dtype)
    x[1:-1] = np.finfo(dtype).max
    assert sum_of_zeros(x, 1, 3 * lanes) == 0
    for position in range(1, 3 * lanes + 1):
        for value in (np.nan, np.inf, -np.inf):
            spoiled = x.copy()
            spoiled[position] = value
            assert np.isnan(sum_of_zeros(spoiled, 1, 3 * lanes))


@numba.njit(parallel=True)
def _share(scratch, geometry, taken, seen, runs, threads, several):
    simd.reset_counters(scratch)
    for slot in numba.prange(threads):
        part = tasks.own_part(slot, threads, scratch)
        while part < tasks.PARTS:
            taken[part] += 1
            tasks.part_done(scratch)
            part = tasks.own_part(slot, threads, scratch)
        seen[slot] = taken.sum()
        first, behind = tasks.own_tasks(slot, threads, several, geometry, scratch)
        while first < geometry[at.TASKS]:
            runs[slot] += 1
            for task in range(first, behind):
                taken[tasks.PARTS + task] += 1
            first, behind = tasks.own_tasks(slot, threads, several, geometry, scratch)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("several", [0, 1])
def test_tasks_are_taken_once(several, count, threads):
    """Each part and each task is done by one thread, and no thread goes on before all parts are done.

    Where a thread takes several tasks, it takes all of a range, or the fewer the fewer are left.
    """
    geometry = np.zeros(at.LENGTH, np.int64)
    geometry[at.TASKS] = count
    for _ in range(100):
        taken = np.zeros(tasks.PARTS + count, np.int64)
        seen, runs = np.zeros((2, threads), np.int64)
        _share(np.full(64, np.nan, np.float32), geometry, taken, seen, runs, threads, several)
        assert (taken == 1).all()
        assert (seen >= tasks.PARTS).all()
        if several == 0:
            assert runs.sum() == count
        elif threads <= 2:
            assert runs.sum() == min(count, threads)
        else:  # each leaves 5/8 or less
            assert runs.sum() <= min(count, 4 * 12)
