"""Direct convolution: the microkernel reads a padded strip of the input. See :mod:`numbaconv.kernels.direct_pixels`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import numpy as np

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import BLOCK_BYTES, LINE, VECTOR_BYTES, depth_block, tile_for
from ..problem import ConvProblem
from . import prices as price
from .prices import Prices
from .sharing import (
    FEWEST_TASKS,
    ceil_div,
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


def _plane(rows_of_strip: int, pitch: int, itemsize: int) -> int:
    """Elements between two planes of a strip: an odd number of cache lines.

    A tile reads a few lines of each plane. Planes 513 elements apart share a few sets of the L1 cache, and hardly any
    vector begins with a line: sequences of 64 channels took 1.1 to 1.25 times as long, 1x1 layers 1.0 to 1.1 (Emerald
    Rapids).
    """
    line = 4 * LINE // itemsize
    return (ceil_div(rows_of_strip * pitch, line) | 1) * line


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


def cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Multiply-adds of whole register tiles, the copies into strips and the stores of tiles that are cut off."""
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
    vector = prices[price.COPIED_VECTOR] if geometry[at.STRIDE_W] == 1 else prices[price.STRIDED_VECTOR]
    passes = ceil_div(geometry[at.CHANNELS], channels)
    height = lines + _halo(geometry, 1)
    width = (columns + _halo(geometry, 2)) * itemsize
    row = prices[price.PIXELS_ROW] + page(geometry, itemsize, channels, prices)
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


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of a few output rows, as many channels at a time as depth_block allows."""
    use_tile(geometry, *_tile(geometry, itemsize))
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
    geometry[at.STRIP_CHANNEL] = _plane(geometry[at.STRIP_ROWS], geometry[at.PITCH], itemsize)
    geometry[at.ROW_TILES] = int(_row_tiles(geometry, itemsize, nr, lines))
    planes = _planes(geometry, channels)
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D]
    blocks *= ceil_div(geometry[at.OUT_H], lines) * ceil_div(geometry[at.OUT_W], columns)
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * geometry[at.MR] * geometry[at.CHANNELS] * taps(geometry)
    # The last tile of the last row reads up to NR - 1 elements beyond it.
    lay_out(geometry, blocks, planes * geometry[at.STRIP_CHANNEL] + nr, weights)


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where tap (c, kd, kh, kw) of the first output lies in a strip of CHANNEL_BLOCK channels."""
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
    return packing(geometry), load_module(".kernels.direct_pixels").direct_pixels_tasks
