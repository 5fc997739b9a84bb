"""Direct convolution, one output row at a time. See :mod:`numbaconv.kernels.direct`."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from ..kernels import geometry as at
from ..kernels.blocking import BLOCK_BYTES, DEPTH_BLOCK, TILE_ROWS, TILE_VECTORS, tile_columns
from ..problem import ConvProblem
from .sharing import ceil_div, lay_out, taps


def unsupported(problem: ConvProblem) -> str | None:
    """None: direct summation serves every problem."""
    return None


def cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """Multiply-adds of whole register tiles, cut off at the end of every output row, and the copies into strips."""
    lines = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D] * geometry[at.OUT_H]
    tiles = lines * ceil_div(geometry[at.OUT_W], tile_columns(itemsize))
    products = tiles * geometry[at.PANELS] * TILE_ROWS * TILE_VECTORS * geometry[at.CHANNELS] * taps(geometry)
    copies = lines * geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H]
    return float(
        products
        + copies
        * (COPY_ROW + COPY_VECTOR * _phases(geometry) * ceil_div(_strip(geometry, itemsize), tile_columns(itemsize)))
    )


#: Cost of starting to copy a row, and of each NR elements of it, in vector multiply-adds.
COPY_ROW = 20
COPY_VECTOR = 6


def _phases(geometry: MutableSequence[int]) -> int:
    return min(geometry[at.STRIDE_W], (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W] + 1)


def _halo(geometry: MutableSequence[int]) -> int:
    return (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W] // geometry[at.STRIDE_W]


def _strip(geometry: MutableSequence[int], itemsize: int) -> int:
    """Columns of one phase of a strip: whole tiles, and what the taps of the last one reach beyond it."""
    columns = tile_columns(itemsize)
    return min(ceil_div(geometry[at.OUT_W], columns), COLUMN_TILES) * columns + _halo(geometry)


#: Tiles of output columns that one task computes at most: a strip of 64 channels of a 3x3 kernel stays within half of a
#: 1 MiB L2.
COLUMN_TILES = 8


def pack_cost(geometry: MutableSequence[int]) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """A task is COLUMN_TILES tiles of one output row; as many channels at a time as the depth and the cache allow."""
    columns = tile_columns(itemsize)
    pitch = _strip(geometry, itemsize)
    channel_elements = geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * _phases(geometry) * pitch
    fitting = min(DEPTH_BLOCK // taps(geometry), BLOCK_BYTES // (channel_elements * itemsize))
    channels = max(1, min(geometry[at.CHANNELS], fitting))
    geometry[at.BLOCK] = COLUMN_TILES * columns
    geometry[at.PITCH] = pitch
    geometry[at.CHANNEL_BLOCK] = channels
    parts = ceil_div(geometry[at.OUT_W], geometry[at.BLOCK])
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * geometry[at.OUT_D] * geometry[at.OUT_H] * parts
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * TILE_ROWS * geometry[at.CHANNELS] * taps(geometry)
    lay_out(geometry, itemsize, blocks, channels * channel_elements, weights)


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where tap (c, kd, kh, kw) of the first output column lies in a strip of CHANNEL_BLOCK channels."""
    lines = geometry[at.CHANNEL_BLOCK] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H]
    column = np.arange(geometry[at.KERNEL_W], dtype=np.int64) * geometry[at.DILATION_W]
    shift, phase = np.divmod(column, geometry[at.STRIDE_W])
    line = np.arange(lines, dtype=np.int64)[:, None] * _phases(geometry)
    return ((line + phase) * geometry[at.PITCH] + shift).reshape(-1)


def kernels() -> tuple[Any, Any, Any, Any]:
    """The functions (pack serially, pack in parallel, run serially, run in parallel)."""
    from ..kernels import direct, packing

    return packing.pack_weights_serial, packing.pack_weights_parallel, direct.direct_serial, direct.direct_parallel
