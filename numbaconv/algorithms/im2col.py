"""im2col and matrix multiplication, a panel of pixels at a time. See :mod:`numbaconv.kernels.im2col`."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from ..kernels import geometry as at
from ..kernels.blocking import DEPTH_BLOCK, TILE_ROWS, TILE_VECTORS, tile_columns
from ..problem import ConvProblem
from .sharing import FEWEST_TASKS, ceil_div, lay_out, taps

#: Tiles of pixels that share one pass over the weights at most.
PIXEL_TILES = 16
#: Cost of packing one run of pixels for one row of the panel, in vector multiply-adds.
COPY_RUN = 12


def unsupported(problem: ConvProblem) -> str | None:
    """None: every convolution is a matrix product."""
    return None


def _tiles(geometry: MutableSequence[int], itemsize: int) -> int:
    """Tiles of pixels in one output image."""
    return ceil_div(geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W], tile_columns(itemsize))


def cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """Multiply-adds of whole register tiles, cut off at the end of every image, and the packing of the panels."""
    tiles = geometry[at.BATCH] * geometry[at.GROUPS] * _tiles(geometry, itemsize)
    depth = geometry[at.CHANNELS] * taps(geometry)
    runs = 1 + ceil_div(tile_columns(itemsize), geometry[at.OUT_W])
    return float(tiles * depth * (geometry[at.PANELS] * TILE_ROWS * TILE_VECTORS + runs * COPY_RUN))


def pack_cost(geometry: MutableSequence[int]) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """A task is up to PIXEL_TILES tiles of one image, fewer where that leaves too few tasks."""
    columns = tile_columns(itemsize)
    images = geometry[at.BATCH] * geometry[at.GROUPS]
    tiles = _tiles(geometry, itemsize)
    size = max(1, min(PIXEL_TILES, images * tiles // FEWEST_TASKS))
    channels = max(1, min(geometry[at.CHANNELS], DEPTH_BLOCK // taps(geometry)))
    geometry[at.BLOCK] = size
    geometry[at.PITCH] = columns
    geometry[at.CHANNEL_BLOCK] = channels
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * TILE_ROWS * geometry[at.CHANNELS] * taps(geometry)
    lay_out(geometry, itemsize, images * ceil_div(tiles, size), channels * taps(geometry) * columns, weights)


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row k of a panel starts at k * NR."""
    return np.arange(geometry[at.CHANNEL_BLOCK] * taps(geometry), dtype=np.int64) * geometry[at.PITCH]


def kernels() -> tuple[Any, Any, Any, Any]:
    """The functions (pack serially, pack in parallel, run serially, run in parallel)."""
    from ..kernels import im2col, packing

    return packing.pack_weights_serial, packing.pack_weights_parallel, im2col.im2col_serial, im2col.im2col_parallel
