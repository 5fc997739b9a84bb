"""im2col and matrix multiplication, a panel of pixels at a time. See :mod:`numbaconv.kernels.im2col`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import numpy as np

from ..kernels import geometry as at
from ..kernels.blocking import DEPTH_BLOCK, VECTOR_BYTES, tile_for
from ..problem import ConvProblem
from .sharing import FEWEST_TASKS, ceil_div, lay_out, taps, use_tile

#: Tiles of pixels that share one pass over the weights at most.
PIXEL_TILES = 8
#: Cost of packing one run of pixels for one row of the panel, and of each vector of it, in vector multiply-adds.
COPY_RUN = 6
COPY_VECTOR = 3
#: Cost of working out where a run lies in the input, for one column of taps and all channels of a block.
COPY_CALL = 80


def unsupported(problem: ConvProblem) -> str | None:
    """None: every convolution is a matrix product."""
    return None


def cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """Multiply-adds of whole register tiles, cut off at the end of every image, and the packing of the panels."""
    mr, nr = tile_for(geometry[at.FILTERS], itemsize)
    pixels = geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W]
    tiles = geometry[at.BATCH] * geometry[at.GROUPS] * ceil_div(pixels, nr)
    depth = geometry[at.CHANNELS] * taps(geometry)
    runs = 1 + ceil_div(nr, geometry[at.OUT_W])
    vectors = nr * itemsize // VECTOR_BYTES
    products = ceil_div(geometry[at.FILTERS], mr) * mr * vectors
    calls = tiles * runs * geometry[at.KERNEL_D] * geometry[at.KERNEL_W]
    calls *= ceil_div(depth, max(DEPTH_BLOCK, taps(geometry)))
    return float(tiles * depth * (products + runs * COPY_RUN + vectors * COPY_VECTOR) + calls * COPY_CALL)


def pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of up to PIXEL_TILES tiles of one image, fewer where that leaves too few tasks."""
    use_tile(geometry, *tile_for(geometry[at.FILTERS], itemsize))
    nr = geometry[at.NR]
    images = geometry[at.BATCH] * geometry[at.GROUPS]
    tiles = ceil_div(geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W], nr)
    size = max(1, min(PIXEL_TILES, images * tiles // (4 * FEWEST_TASKS)))
    depth = max(1, min(geometry[at.CHANNELS], DEPTH_BLOCK // taps(geometry))) * taps(geometry)
    geometry[at.BLOCK] = size
    geometry[at.PITCH] = nr
    geometry[at.CHANNEL_BLOCK] = depth // taps(geometry)
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * geometry[at.MR] * geometry[at.CHANNELS] * taps(geometry)
    lay_out(geometry, images * ceil_div(tiles, size), depth * nr, weights)


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row k of a panel starts at k * NR."""
    return np.arange(geometry[at.CHANNEL_BLOCK] * taps(geometry), dtype=np.int64) * geometry[at.PITCH]


def kernels(geometry: Sequence[int]) -> tuple[Any, Any]:
    """The functions that lay out the weights and that do the tasks, to be compiled by ``runtime.native``."""
    from ..kernels import im2col, packing

    return packing.pack_weights, im2col.im2col_tasks
