"""Direct convolution: the microkernel reads a padded strip of the input. See :mod:`numbaconv.kernels.direct_pixels`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import numpy as np

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import (
    BLOCK_BYTES,
    COLUMN_RUNS,
    DEPTHWISE_ROWS,
    LINE,
    NARROW_LINE,
    VECTOR_BYTES,
    depth_block,
    strip_lead,
    tile_for,
)
from ..problem import ConvProblem
from . import prices as price
from .prices import Prices
from .sharing import (
    FEWEST_TASKS,
    ceil_div,
    copying,
    cut_pixels,
    gemm_price,
    lay_out,
    packing,
    page,
    reading,
    reading_block,
    reading_weights,
    split_few,
    storing,
    taps,
    use_tile,
    within_reach,
)

#: Output columns of one task, in register tiles, or the bytes of its strip where few channels have more: the strips of
#: wider images would leave the cache. A task that has whole rows of some filters shares no line of theirs, and goes
#: through memory in one direction: 1x16000 with stride 5 to 512 filters took 1.2 times as long by 16 tiles (Emerald
#: Rapids, 2 threads).
COLUMN_TILES = 16
COLUMN_BYTES = BLOCK_BYTES // 2
#: Products of a pass that take as long as a whole tile's store spares. Of 15 layers, rows of 50 to 224 pixels and 27 to
#: 576 products, tiles that start anew took 1.01 to 1.12 times as long where they have too many columns by this, and
#: 0.91 to 1.01 of the time elsewhere; where 7/6 of the columns were allowed, 65 pixels and 800 products took 1.15 times
#: as long (Emerald Rapids, 1 and 2 threads).
SPARED_PRODUCTS = 8
#: Bytes of one channel's strip that a task works on, where a group is one channel and one filter: half of the L1 cache.
DEPTHWISE_STRIP = 2**14
#: Bytes that a run of tiles reads, up to which panels are multiplied by all of it in turn: half of the L1 cache. With a
#: quarter, 112 columns of 3 channels by 3x3 with stride 2 took 1.04 to 1.07 times as long, 512 of one by 5x5 1.15, with
#: all of it 1.0 (Zen 4, 2 threads).
RUN_BYTES = 2**14


def unsupported(problem: ConvProblem) -> str | None:
    """None: direct summation serves every problem."""
    return None


def _tile(geometry: MutableSequence[int], itemsize: int) -> tuple[int, int]:
    """MR and NR."""
    return tile_for(geometry[at.FILTERS], itemsize)


def _phases(geometry: MutableSequence[int], axis: int) -> int:
    """Phases of the stride that a tap can read; axis 1 is the height, 2 the width."""
    reach = (geometry[at.KERNEL_D + axis] - 1) * geometry[at.DILATION_D + axis]
    return min(geometry[at.STRIDE_D + axis], reach + 1)


def _halo(geometry: MutableSequence[int], axis: int) -> int:
    """Cells of a plane that the last output reads beyond the first tap."""
    return (geometry[at.KERNEL_D + axis] - 1) * geometry[at.DILATION_D + axis] // geometry[at.STRIDE_D + axis]


def _planes(geometry: MutableSequence[int], channels: int) -> int:
    """Planes of a strip."""
    return channels * geometry[at.KERNEL_D] * _phases(geometry, 1) * _phases(geometry, 2)


def _columns(geometry: MutableSequence[int], itemsize: int) -> int:
    """Output columns of one task: as many whole tiles in each."""
    _, nr = _tile(geometry, itemsize)
    column = _planes(geometry, _channels(geometry, itemsize)) * (3 * _halo(geometry, 1) + 1) * nr * itemsize
    most = max(COLUMN_TILES, COLUMN_BYTES // column)
    tiles = ceil_div(geometry[at.OUT_W], nr)
    return min(geometry[at.OUT_W], ceil_div(tiles, ceil_div(tiles, most)) * nr)


def _row_tiles(geometry: MutableSequence[int], itemsize: int, nr: int, lines: int) -> bool:
    """Whether tiles start anew in every row, which are more columns than those of tiles that run on through the rows.

    Each of the former that is not cut off is stored by the microkernel itself; hardly any of the latter is. In rows
    shorter than their first tile all are cut off.
    """
    columns = _columns(geometry, itemsize)
    pitch = columns + _halo(geometry, 2)
    tiles, narrow, anew = cut_pixels(geometry, itemsize, columns)
    first = nr if narrow < tiles else anew // tiles
    _, _, running = cut_pixels(geometry, itemsize, (lines - 1) * pitch + columns)
    depth = _channels(geometry, itemsize) * taps(geometry)
    return pitch > columns >= first and lines * anew * depth < running * (depth + SPARED_PRODUCTS)


def _plane(rows_of_strip: int, pitch: int, spare: int, itemsize: int) -> int:
    """Elements between two planes of a strip, with ``spare`` ones behind the rows: an odd number of cache lines.

    A tile reads a few lines of each plane. Planes 513 elements apart share a few sets of the L1 cache, and hardly any
    vector begins with a line: sequences of 64 channels took 1.1 to 1.25 times as long, 1x1 layers 1.0 to 1.1 (Emerald
    Rapids).
    """
    line = 4 * LINE // itemsize
    return (ceil_div(rows_of_strip * pitch + spare, line) | 1) * line


def _lines(geometry: MutableSequence[int], itemsize: int, nr: int, channels: int) -> int:
    """Output rows of one task: as many as fit the cache, but few enough for FEWEST_TASKS tasks or more."""
    pitch = _columns(geometry, itemsize) + _halo(geometry, 2)
    planes = _planes(geometry, channels)
    fitting = BLOCK_BYTES // (planes * pitch * itemsize) - _halo(geometry, 1)
    others = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D]
    others *= ceil_div(geometry[at.OUT_W], _columns(geometry, itemsize))
    wanted = ceil_div(geometry[at.OUT_H], ceil_div(4 * FEWEST_TASKS, others))
    # Below a few rows, a strip holds more of what its neighbours hold, too, than of its own.
    least = min(geometry[at.OUT_H], 2 * _halo(geometry, 1) + ceil_div(4 * nr, pitch))
    lines = max(1, min(fitting, max(wanted, least), geometry[at.OUT_H]))
    return ceil_div(geometry[at.OUT_H], ceil_div(geometry[at.OUT_H], lines))


def _channels(geometry: MutableSequence[int], itemsize: int) -> int:
    """Channels of one block."""
    return max(1, min(geometry[at.CHANNELS], depth_block(itemsize) // taps(geometry)))


def _copying(
    geometry: MutableSequence[int], itemsize: int, columns: int, prices: Prices, depthwise: bool
) -> tuple[float, float]:
    """Cost of a row of a strip's plane, and of a vector of it, where tasks have as many columns of outputs.

    As ``kernels.direct_pixels.taken_apart`` has it, all phases of a row are copied together.
    """
    stride, apart = geometry[at.STRIDE_W], _phases(geometry, 2) == geometry[at.STRIDE_W] <= 4
    apart = apart and geometry[at.CHANNELS_LAST] == 0 and geometry[at.PAD_MODE] == at.PAD_ZEROS
    if apart and columns == geometry[at.OUT_W] and (stride > 1 or depthwise):
        return prices[price.PLANE_ROW] / stride, prices[price.PLANE_VECTOR]
    vector = copying(geometry, itemsize, prices, prices[price.COPIED_VECTOR], prices[price.STRIDED_VECTOR])
    return prices[price.PIXELS_ROW], vector


def _depthwise(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether a group is one channel and one filter, which is summed by itself, where that is cheaper.

    It is the same whatever a calibration finds. Tiles of several rows are hardly filled by sequences.
    """
    if not geometry[at.CHANNELS] == geometry[at.FILTERS] == geometry[at.KERNEL_D] == 1:
        return False
    if geometry[at.CHANNELS_LAST] != 0:  # neither input nor output can be read or written in vectors
        return False
    return _depthwise_cost(geometry, itemsize, price.USUAL) < _tiles_cost(geometry, itemsize, price.USUAL)


def _depthwise_block(geometry: MutableSequence[int], itemsize: int) -> tuple[int, int, int, int]:
    """(rows, columns, groups) of one task, and the strip's pitch."""
    lanes = VECTOR_BYTES // itemsize
    planes = _phases(geometry, 1) * _phases(geometry, 2)
    room = DEPTHWISE_STRIP // (planes * itemsize)
    least = min(geometry[at.OUT_H], DEPTHWISE_ROWS) + _halo(geometry, 1)
    most = max(4 * lanes, (4 * room // least - _halo(geometry, 2)) // lanes * lanes)
    columns = geometry[at.OUT_W]
    if columns > most:
        columns = ceil_div(ceil_div(columns, ceil_div(columns, most)), lanes) * lanes
    pitch = ceil_div(columns + _halo(geometry, 2), lanes) * lanes
    others = geometry[at.BATCH] * geometry[at.OUT_D] * ceil_div(geometry[at.OUT_W], columns)
    fitting = max(DEPTHWISE_ROWS, room // pitch - _halo(geometry, 1))
    wanted = ceil_div(geometry[at.OUT_H], ceil_div(FEWEST_TASKS, others * geometry[at.GROUPS]))
    lines = min(geometry[at.OUT_H], fitting, wanted)
    lines = ceil_div(ceil_div(geometry[at.OUT_H], ceil_div(geometry[at.OUT_H], lines)), DEPTHWISE_ROWS) * DEPTHWISE_ROWS
    lines = min(lines, geometry[at.OUT_H])
    groups = 1
    if lines == geometry[at.OUT_H]:
        groups = max(1, room // ((lines + _halo(geometry, 1)) * pitch))
        groups = min(groups, ceil_div(geometry[at.GROUPS], ceil_div(2 * FEWEST_TASKS, others)))
        groups = ceil_div(geometry[at.GROUPS], ceil_div(geometry[at.GROUPS], groups))
    return lines, columns, groups, pitch


def _runs(geometry: MutableSequence[int], phase: int) -> int:
    """Taps of a kernel's column that lie in this vertical phase, one below the other, or 1 where they are apart."""
    if geometry[at.DILATION_H] > 1:
        return 1
    return (geometry[at.KERNEL_H] - phase + geometry[at.STRIDE_H] - 1) // geometry[at.STRIDE_H]


def _columns_of_taps(geometry: MutableSequence[int]) -> int:
    """Columns of :func:`_runs` of a kernel's column."""
    return geometry[at.KERNEL_H] if geometry[at.DILATION_H] > 1 else _phases(geometry, 1)


def _cut(count: int, kind: int) -> tuple[int, int]:
    """(taps before those, runs) of COLUMN_RUNS[kind], where ``count`` taps of a column are cut, the longest first."""
    done = 0
    for i in range(kind):
        done += (count - done) // COLUMN_RUNS[i] * COLUMN_RUNS[i]
    return done, (count - done) // COLUMN_RUNS[kind]


def depthwise_rows(geometry: MutableSequence[int], itemsize: int, table: Any) -> None:
    """Fill :func:`rows` where BLOCK_GROUPS is not 0: where each run lies in a strip and, behind, in the weights."""
    lanes = VECTOR_BYTES // itemsize
    number = 0
    for kind in range(len(COLUMN_RUNS)):
        for kw in range(geometry[at.KERNEL_W]):
            across, phase_w = divmod(kw * geometry[at.DILATION_W], geometry[at.STRIDE_W])
            across += strip_lead(geometry[at.PAD_W], geometry[at.STRIDE_W], phase_w, lanes)
            for first in range(_columns_of_taps(geometry)):
                down, phase_h = divmod(first * geometry[at.DILATION_H], geometry[at.STRIDE_H])
                place = (phase_h * _phases(geometry, 2) + phase_w) * geometry[at.STRIP_CHANNEL] + across
                done, runs = _cut(_runs(geometry, first), kind)
                for i in range(runs):
                    tap = done + i * COLUMN_RUNS[kind]
                    kh = first + tap * geometry[at.STRIDE_H]
                    table[number] = place + (down + tap) * geometry[at.PITCH]
                    table[geometry[at.KERNEL_H] * geometry[at.KERNEL_W] + number] = kh * geometry[at.KERNEL_W] + kw
                    number += 1


def _depthwise_cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """:func:`cost` where a group is one channel and one filter."""
    lanes = VECTOR_BYTES // itemsize
    lines, columns, _, _ = _depthwise_block(geometry, itemsize)
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D]
    blocks *= ceil_div(geometry[at.OUT_H], lines) * ceil_div(geometry[at.OUT_W], columns)
    tiles = ceil_div(lines, DEPTHWISE_ROWS) * ceil_div(columns, lanes)
    loads = 0
    for first in range(_columns_of_taps(geometry)):
        for kind in range(len(COLUMN_RUNS)):
            loads += _cut(_runs(geometry, first), kind)[1] * (DEPTHWISE_ROWS - 1 + COLUMN_RUNS[kind])
    each = DEPTHWISE_ROWS * taps(geometry) * prices[price.PLANE] + prices[price.PLANE_TILE]
    each += loads * geometry[at.KERNEL_W] * prices[price.PLANE_LOAD]
    row, vector = _copying(geometry, itemsize, columns, prices, True)
    wide = ceil_div(columns + _halo(geometry, 2), lanes)
    copies = _phases(geometry, 1) * _phases(geometry, 2) * (lines + _halo(geometry, 1)) * (row + vector * wide)
    return reading(geometry, itemsize, prices) + blocks * (tiles * each + copies)


def cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Multiply-adds of whole register tiles, the copies into strips and the stores of tiles that are cut off."""
    if _depthwise(geometry, itemsize):
        return _depthwise_cost(geometry, itemsize, prices)
    return _tiles_cost(geometry, itemsize, prices)


def _tiles_cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """:func:`cost` by register tiles of pixels and filters."""
    mr, nr = _tile(geometry, itemsize)
    lines = _lines(geometry, itemsize, nr, _channels(geometry, itemsize))
    columns = _columns(geometry, itemsize)
    down, across = ceil_div(geometry[at.OUT_H], lines), ceil_div(geometry[at.OUT_W], columns)
    images = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D]
    split = split_few(ceil_div(geometry[at.FILTERS], mr), images * down * across)
    total = 0.0
    for rows_of_blocks, height in ((down - 1, lines), (1, geometry[at.OUT_H] - (down - 1) * lines)):
        for number, width in ((across - 1, columns), (1, geometry[at.OUT_W] - (across - 1) * columns)):
            if rows_of_blocks > 0 and number > 0:
                total += rows_of_blocks * number * _block_cost(geometry, itemsize, height, width, split, prices)
    return reading(geometry, itemsize, prices) + images * total


def _block_cost(
    geometry: MutableSequence[int], itemsize: int, lines: int, columns: int, split: int, prices: Prices
) -> float:
    """:func:`cost` of a block of outputs, whose strip each of ``split`` tasks copies (a thread once)."""
    mr, nr = _tile(geometry, itemsize)
    channels = _channels(geometry, itemsize)
    whole = _lines(geometry, itemsize, nr, channels)
    pitch = _columns(geometry, itemsize) + _halo(geometry, 2)
    anew = _row_tiles(geometry, itemsize, nr, whole)
    repeated, run = (lines, columns) if anew else (1, (lines - 1) * pitch + columns)
    tiles, narrow, covered = cut_pixels(geometry, itemsize, run)
    panels = ceil_div(geometry[at.FILTERS], mr)
    depth = geometry[at.CHANNELS] * taps(geometry)
    products = gemm_price(mr, nr, itemsize, tiles, narrow, prices) * panels * depth
    copied = _planes(geometry, geometry[at.CHANNELS])
    row, vector = _copying(geometry, itemsize, _columns(geometry, itemsize), prices, False)
    passes = ceil_div(geometry[at.CHANNELS], channels)
    height = lines + _halo(geometry, 1)
    width = (columns + _halo(geometry, 2)) * itemsize
    row += page(geometry, itemsize, channels, prices)
    copies = copied * height * (row + vector * ceil_div(width, VECTOR_BYTES))
    copies += copied // geometry[at.CHANNELS] * height * prices[price.PIXELS_STRIP_ROW] * passes
    cut = int(covered != run) if anew or lines == 1 or pitch == columns else tiles
    stores = storing(geometry, itemsize, tiles, narrow, cut, prices)
    weights = reading_weights(float(panels * mr * depth * itemsize), prices)
    strip = copied // geometry[at.CHANNELS] * channels * height * width
    copies += reading_block(float(strip), passes * 2.0, prices)
    return repeated * (products + stores * passes) + split * (copies + prices[price.GEMM_TASK]) + weights


def pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def _tiles_first(geometry: MutableSequence[int], itemsize: int, planes: int) -> bool:
    """Whether a panel is multiplied by all tiles of a run before the next one is: see ``gemm.multiply_run``."""
    rows, run = geometry[at.STRIP_ROWS], geometry[at.BLOCK_ROWS] * geometry[at.PITCH]
    if geometry[at.ROW_TILES] != 0:
        rows, run = 1 + _halo(geometry, 1), geometry[at.BLOCK_COLUMNS]
    under = planes * rows * geometry[at.PITCH] * itemsize
    return taps(geometry) > 1 and run > 2 * geometry[at.NR] and under <= RUN_BYTES


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of a few output rows, as many channels at a time as depth_block allows."""
    geometry[at.BLOCK_GROUPS] = 0
    use_tile(geometry, *_tile(geometry, itemsize))
    if _depthwise(geometry, itemsize):
        _block_depthwise(geometry, itemsize)
        return
    nr = geometry[at.NR]
    channels = _channels(geometry, itemsize)
    lines = _lines(geometry, itemsize, nr, channels)
    columns = _columns(geometry, itemsize)
    geometry[at.CHANNEL_BLOCK] = channels
    geometry[at.TOGETHER] = within_reach(geometry, itemsize)
    geometry[at.BLOCK_ROWS] = lines
    geometry[at.BLOCK_COLUMNS] = columns
    geometry[at.STRIP_ROWS] = lines + _halo(geometry, 1)
    geometry[at.PITCH] = columns + _halo(geometry, 2)
    geometry[at.STRIP_CHANNEL] = _plane(
        geometry[at.STRIP_ROWS], geometry[at.PITCH], VECTOR_BYTES // itemsize if geometry[at.STRIDE_W] > 1 else 0,
        itemsize,
    )  # fmt: skip
    geometry[at.ROW_TILES] = int(_row_tiles(geometry, itemsize, nr, lines))
    planes = _planes(geometry, channels)
    geometry[at.TILES_FIRST] = int(_tiles_first(geometry, itemsize, planes))
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D]
    blocks *= ceil_div(geometry[at.OUT_H], lines) * ceil_div(geometry[at.OUT_W], columns)
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * geometry[at.MR] * geometry[at.CHANNELS] * taps(geometry)
    # The last tile of the last row reads up to NR - 1 elements beyond it.
    lay_out(geometry, blocks, planes * geometry[at.STRIP_CHANNEL] + nr, weights)


def _block_depthwise(geometry: MutableSequence[int], itemsize: int) -> None:
    """:func:`block` where a group is one channel and one filter: a task is a few rows of it, or several channels."""
    lanes = VECTOR_BYTES // itemsize
    lines, columns, groups, pitch = _depthwise_block(geometry, itemsize)
    planes = _phases(geometry, 1) * _phases(geometry, 2)
    geometry[at.CHANNEL_BLOCK] = 1
    geometry[at.BLOCK_ROWS] = lines
    geometry[at.BLOCK_COLUMNS] = columns
    geometry[at.BLOCK_GROUPS] = groups
    geometry[at.STRIP_ROWS] = lines + _halo(geometry, 1)
    geometry[at.PITCH] = pitch
    # A row more has room for what lies before the first one, see strip_lead, and behind the last.
    geometry[at.STRIP_CHANNEL] = _plane(geometry[at.STRIP_ROWS], pitch, pitch, itemsize)
    geometry[at.STRIP_STEP] = planes * geometry[at.STRIP_CHANNEL]
    for kind in range(len(COLUMN_RUNS)):
        runs = 0
        for first in range(_columns_of_taps(geometry)):
            runs += _cut(_runs(geometry, first), kind)[1]
        geometry[at.SEGMENTS + kind] = runs * geometry[at.KERNEL_W]
    parts = ceil_div(geometry[at.GROUPS], groups)
    blocks = geometry[at.BATCH] * parts * geometry[at.OUT_D]
    blocks *= ceil_div(geometry[at.OUT_H], lines) * ceil_div(geometry[at.OUT_W], columns)
    beyond = (DEPTHWISE_ROWS + 1) * pitch  # whole tiles are read
    lay_out(geometry, blocks, groups * geometry[at.STRIP_STEP] + beyond, geometry[at.GROUPS] * taps(geometry), 1)
    sums = lines * ceil_div(columns, lanes) * lanes
    geometry[at.SCRATCH] = ceil_div(geometry[at.TILE_START] + sums, NARROW_LINE) * NARROW_LINE


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where tap (c, kd, kh, kw) of the first output lies in a strip of CHANNEL_BLOCK channels."""
    if geometry[at.BLOCK_GROUPS] != 0:
        runs = np.zeros(2 * taps(geometry), np.int64)
        depthwise_rows(geometry, itemsize, runs)
        return runs
    plane = geometry[at.STRIP_CHANNEL]
    phases_h, phases_w = _phases(geometry, 1), _phases(geometry, 2)
    h = np.arange(geometry[at.KERNEL_H], dtype=np.int64) * geometry[at.DILATION_H]
    w = np.arange(geometry[at.KERNEL_W], dtype=np.int64) * geometry[at.DILATION_W]
    down, phase_h = np.divmod(h[:, None], geometry[at.STRIDE_H])
    across, phase_w = np.divmod(w, geometry[at.STRIDE_W])
    taps_of_plane = (phase_h * phases_w + phase_w) * plane + down * geometry[at.PITCH] + across
    channel = np.arange(geometry[at.CHANNEL_BLOCK] * geometry[at.KERNEL_D], dtype=np.int64)[:, None, None]
    table: np.ndarray[Any, np.dtype[np.int64]] = channel * (phases_h * phases_w * plane) + taps_of_plane
    return table.reshape(-1)


def kernels(geometry: Sequence[int]) -> tuple[Any, Any]:
    """The functions that lay out the weights and that do the tasks, to be compiled by ``runtime.begin``."""
    if geometry[at.BLOCK_GROUPS] != 0:
        depthwise = load_module(".kernels.depthwise")
        tasks = depthwise.direct_depthwise_beside_tasks, depthwise.direct_depthwise_tasks
    else:
        pixels = load_module(".kernels.direct_pixels")
        tasks = pixels.direct_pixels_beside_tasks, pixels.direct_pixels_tasks
        if geometry[at.TILES_FIRST] != 0:
            tasks = pixels.direct_pixels_beside_runs_tasks, pixels.direct_pixels_runs_tasks
    return packing(geometry), tasks[int(geometry[at.STRIDE_W] != 1)]
