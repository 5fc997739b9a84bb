"""Direct convolution with output channels in the vector lanes. See :mod:`numbaconv.kernels.direct_channels`."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from ..kernels import geometry as at
from ..kernels.blocking import BLOCK_BYTES, CHANNEL_TILE_PIXELS, DEPTH_BLOCK, VECTOR_BYTES
from ..problem import ConvProblem
from .sharing import FEWEST_TASKS, ceil_div, lay_out, taps, use_tile

#: Tiles that are summed before they are stored: 7 * 16 pixels fill whole vectors, and their sums half of the L1 cache.
CHUNK_TILES = 16
#: In vector multiply-adds: to start copying a row, to copy a vector of it, to transpose and store a square of
#: lanes x lanes elements. And how much longer a multiply-add takes that loads its own vector of the input.
COPY_ROW = 10
COPY_VECTOR = 3
TRANSPOSITION = 80
LANEWISE = 1.3


def unsupported(problem: ConvProblem) -> str | None:
    """None: direct summation serves every problem."""
    return None


def _lanewise(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether panels are made of filters of several groups."""
    few = geometry[at.FILTERS] < VECTOR_BYTES // itemsize
    return geometry[at.GROUPS] > 1 and few and geometry[at.PAD_MODE] == at.PAD_ZEROS


def _tile(geometry: MutableSequence[int], itemsize: int) -> int:
    """Filters of a panel."""
    lanes = VECTOR_BYTES // itemsize
    return lanes if geometry[at.FILTERS] <= lanes or _lanewise(geometry, itemsize) else 2 * lanes


def _reach(geometry: MutableSequence[int], axis: int) -> int:
    """Cells between the first and the last tap of an output; axis 1 is the height, 2 the width."""
    return (geometry[at.KERNEL_D + axis] - 1) * geometry[at.DILATION_D + axis]


def _line_step(geometry: MutableSequence[int]) -> int:
    """Rows of a strip between two output rows: rows that no tap reads are left out."""
    return min(geometry[at.STRIDE_H], _reach(geometry, 1) + 1)


def _strip_rows(geometry: MutableSequence[int], lines: int) -> int:
    return (lines - 1) * _line_step(geometry) + _reach(geometry, 1) + 1


def _pitch(geometry: MutableSequence[int], columns: int) -> int:
    return (columns - 1) * geometry[at.STRIDE_W] + _reach(geometry, 2) + 1


def _block(geometry: MutableSequence[int], itemsize: int) -> tuple[int, int]:
    """(rows, columns) of outputs of one task: what the cache holds the input of, but enough tasks where possible."""
    lanewise = _lanewise(geometry, itemsize)
    width = VECTOR_BYTES if lanewise else itemsize
    cell = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * width
    room = BLOCK_BYTES // cell
    least = _reach(geometry, 1) + 1
    columns = geometry[at.OUT_W]
    if least * _pitch(geometry, columns) > room:
        across = max(CHANNEL_TILE_PIXELS, (room // least - _reach(geometry, 2) - 1) // geometry[at.STRIDE_W] + 1)
        columns = ceil_div(columns, ceil_div(columns, min(columns, across)))
    blocks = geometry[at.BATCH] * geometry[at.OUT_D] * geometry[at.OUT_H]
    if lanewise:
        blocks *= ceil_div(geometry[at.GROUPS] * geometry[at.FILTERS], VECTOR_BYTES // itemsize)
    else:
        blocks *= geometry[at.GROUPS] * ceil_div(geometry[at.FILTERS], _tile(geometry, itemsize))
    # A pointwise image is one long row.
    columns = min(columns, max(4 * CHANNEL_TILE_PIXELS, ceil_div(geometry[at.OUT_W], ceil_div(FEWEST_TASKS, blocks))))
    rows = max(least, room // _pitch(geometry, columns))
    lines = min(geometry[at.OUT_H], (rows - least) // _line_step(geometry) + 1)
    others = blocks // geometry[at.OUT_H] * ceil_div(geometry[at.OUT_W], columns)
    wanted = ceil_div(geometry[at.OUT_H], ceil_div(FEWEST_TASKS, others))
    # Below a few rows, a strip holds more of what its neighbours hold, too, than of its own.
    small = min(geometry[at.OUT_H], max(_reach(geometry, 1) // _line_step(geometry), 1))
    lines = max(1, min(lines, max(wanted, small)))
    return ceil_div(geometry[at.OUT_H], ceil_div(geometry[at.OUT_H], lines)), columns


def cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """Multiply-adds of whole register tiles, the copies into strips, and the transpositions."""
    lanes = VECTOR_BYTES // itemsize
    lines, columns = _block(geometry, itemsize)
    blocks = geometry[at.BATCH] * geometry[at.OUT_D] * ceil_div(geometry[at.OUT_H], lines)
    blocks *= ceil_div(geometry[at.OUT_W], columns)
    pixels = ceil_div(lines * columns, CHANNEL_TILE_PIXELS) * CHANNEL_TILE_PIXELS
    depth = geometry[at.CHANNELS] * taps(geometry)
    copied = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * _strip_rows(geometry, lines)
    squares = ceil_div(lines * columns, lanes) * TRANSPOSITION
    if _lanewise(geometry, itemsize):
        panels = ceil_div(geometry[at.GROUPS] * geometry[at.FILTERS], lanes)
        copies = copied * (COPY_ROW + TRANSPOSITION * ceil_div(_pitch(geometry, columns), lanes))
        return blocks * panels * (pixels * depth * LANEWISE + copies + squares)
    mr = _tile(geometry, itemsize)
    vectors = ceil_div(geometry[at.FILTERS], mr) * mr // lanes
    copies = copied * (COPY_ROW + COPY_VECTOR * ceil_div(_pitch(geometry, columns), lanes))
    return float(blocks * geometry[at.GROUPS] * (vectors * (pixels * depth + squares) + copies))


def pack_cost(geometry: MutableSequence[int]) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of a few output rows and some panels of filters."""
    lanes = VECTOR_BYTES // itemsize
    lanewise = _lanewise(geometry, itemsize)
    lines, columns = _block(geometry, itemsize)
    mr = _tile(geometry, itemsize)
    geometry[at.LANE_FILTERS] = 0
    if lanewise:
        geometry[at.LANE_FILTERS] = geometry[at.FILTERS]
        geometry[at.FILTERS] *= geometry[at.GROUPS]
        geometry[at.GROUPS] = 1
    use_tile(geometry, mr, CHANNEL_TILE_PIXELS)
    depth = geometry[at.CHANNELS] * taps(geometry)
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D]
    blocks *= ceil_div(geometry[at.OUT_H], lines) * ceil_div(geometry[at.OUT_W], columns)
    geometry[at.CHANNEL_BLOCK] = DEPTH_BLOCK
    geometry[at.BLOCK_ROWS] = lines
    geometry[at.BLOCK_COLUMNS] = columns
    geometry[at.STRIP_ROWS] = _strip_rows(geometry, lines)
    geometry[at.LINE_STEP] = _line_step(geometry)
    geometry[at.PITCH] = _pitch(geometry, columns)
    plane = geometry[at.STRIP_ROWS] * geometry[at.PITCH]
    if lanewise:
        geometry[at.STRIP_DEPTH] = plane * lanes
        geometry[at.STRIP_CHANNEL] = geometry[at.KERNEL_D] * plane * lanes
        # The last transposition of a row writes up to a vector of cells more.
        strip = geometry[at.CHANNELS] * geometry[at.STRIP_CHANNEL] + lanes * lanes
    else:
        last = geometry[at.CHANNELS_LAST] != 0
        geometry[at.STRIP_DEPTH] = plane * geometry[at.CHANNELS] if last else plane
        geometry[at.STRIP_CHANNEL] = 1 if last else geometry[at.KERNEL_D] * plane
        strip = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * plane
    geometry[at.STRIP] = ceil_div(strip, lanes) * lanes
    geometry[at.CHUNK] = CHUNK_TILES * CHANNEL_TILE_PIXELS
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * mr * depth
    lay_out(geometry, blocks, 0, weights)
    geometry[at.TASKS] = blocks * geometry[at.PANEL_SPLIT]
    shared = geometry[at.PANEL_SPLIT] > 1 and not lanewise
    geometry[at.SHARED] = blocks * geometry[at.STRIP] if shared else 0
    geometry[at.TILE_START] = 0 if shared else geometry[at.STRIP]
    # Sums are stored whole vectors of pixels at a time.
    chunk = min(geometry[at.CHUNK], ceil_div(lines * columns, CHANNEL_TILE_PIXELS) * CHANNEL_TILE_PIXELS)
    geometry[at.SCRATCH] = geometry[at.TILE_START] + (chunk + lanes) * mr


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where tap (c, kd, kh, kw) of the first output lies in a strip; then how far each pixel lies from the first."""
    lanes = VECTOR_BYTES // itemsize
    lanewise = geometry[at.LANE_FILTERS] != 0
    if lanewise:
        cell = lanes
    elif geometry[at.STRIP_CHANNEL] == 1:
        cell = geometry[at.CHANNELS]
    else:
        cell = 1
    line = geometry[at.PITCH] * cell
    c = np.arange(geometry[at.CHANNELS], dtype=np.int64) * geometry[at.STRIP_CHANNEL]
    d = np.arange(geometry[at.KERNEL_D], dtype=np.int64) * geometry[at.STRIP_DEPTH]
    h = np.arange(geometry[at.KERNEL_H], dtype=np.int64) * (geometry[at.DILATION_H] * line)
    w = np.arange(geometry[at.KERNEL_W], dtype=np.int64) * (geometry[at.DILATION_W] * cell)
    table = c[:, None, None, None] + d[:, None, None] + h[:, None] + w
    down = np.arange(geometry[at.BLOCK_ROWS], dtype=np.int64) * (geometry[at.LINE_STEP] * line)
    across = np.arange(geometry[at.BLOCK_COLUMNS], dtype=np.int64) * (geometry[at.STRIDE_W] * cell)
    pixels = (down[:, None] + across).reshape(-1)
    tiles = ceil_div(pixels.size, CHANNEL_TILE_PIXELS) * CHANNEL_TILE_PIXELS
    return np.concatenate([table.reshape(-1), np.pad(pixels, (0, tiles - pixels.size), mode="edge")])


def kernels() -> tuple[Any, Any, Any, Any]:
    """The functions (pack serially, pack in parallel, run serially, run in parallel)."""
    from ..kernels import direct_channels, packing

    return (
        packing.pack_weights_serial,
        packing.pack_weights_parallel,
        direct_channels.direct_channels_serial,
        direct_channels.direct_channels_parallel,
    )
