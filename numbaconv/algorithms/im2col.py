"""im2col and matrix multiplication, a panel of pixels at a time. See :mod:`numbaconv.kernels.im2col`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import numpy as np

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import BLOCK_BYTES, VECTOR_BYTES, depth_block, tile_for
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
    reading_weights,
    split_few,
    storing,
    taps,
    use_tile,
    within_reach,
)

#: Tiles of pixels that a task packs, and that share one pass over the weights, at most.
PIXEL_TILES = 8


def unsupported(problem: ConvProblem) -> str | None:
    """None: every convolution is a matrix product."""
    return None


def cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Multiply-adds of whole register tiles, cut off at the end of an image, stores, and the packing of the panels."""
    mr, nr = tile_for(geometry[at.FILTERS], itemsize)
    pixels = geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W]
    images = geometry[at.BATCH] * geometry[at.GROUPS]
    tiles, narrow, covered = cut_pixels(geometry, itemsize, pixels)
    depth = geometry[at.CHANNELS] * taps(geometry)
    channels = _channels(geometry, itemsize)
    passes = ceil_div(geometry[at.CHANNELS], channels)
    runs = tiles + covered / geometry[at.OUT_W]
    panels = ceil_div(geometry[at.FILTERS], mr)
    products = gemm_price(mr, nr, itemsize, tiles, narrow, prices) * depth * panels
    each = copying(geometry, itemsize, prices, prices[price.IM2COL_VECTOR], prices[price.STRIDED_VECTOR])
    run = prices[price.IM2COL_RUN] + page(geometry, itemsize, channels, prices)
    copies = runs * run + covered * itemsize / VECTOR_BYTES * each
    calls = runs * geometry[at.KERNEL_D] * geometry[at.KERNEL_W] * passes
    calls *= prices[price.IM2COL_CALL] + geometry[at.KERNEL_H] * prices[price.IM2COL_ROW]
    packing = depth * copies + calls
    tasks = ceil_div(tiles, _size(images, tiles, channels * taps(geometry) * nr * itemsize))
    split = split_few(panels, images * tasks)
    stores = storing(geometry, itemsize, tiles, narrow, int(covered != pixels), prices)
    starts = tasks * prices[price.GEMM_TASK]
    weights = tasks * reading_weights(float(panels * mr * depth * itemsize), prices)
    each = products + split * (packing + starts) + stores * passes + weights
    return reading(geometry, itemsize, prices) + images * each


def _size(images: int, tiles: int, packed: int) -> int:
    """Tiles of one task, of ``packed`` bytes each: what the cache holds, but few enough for enough tasks."""
    return max(1, min(PIXEL_TILES, BLOCK_BYTES // packed, images * tiles // (4 * FEWEST_TASKS)))


def _channels(geometry: MutableSequence[int], itemsize: int) -> int:
    """Channels of one block."""
    return max(1, min(geometry[at.CHANNELS], depth_block(itemsize) // taps(geometry)))


def pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of up to PIXEL_TILES tiles of one image, fewer where that leaves too few tasks."""
    use_tile(geometry, *tile_for(geometry[at.FILTERS], itemsize))
    nr = geometry[at.NR]
    images = geometry[at.BATCH] * geometry[at.GROUPS]
    tiles = ceil_div(geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W], nr)
    depth = _channels(geometry, itemsize) * taps(geometry)
    size = _size(images, tiles, depth * nr * itemsize)
    geometry[at.BLOCK] = size
    geometry[at.TOGETHER] = within_reach(geometry, itemsize)
    geometry[at.PITCH] = nr
    geometry[at.CHANNEL_BLOCK] = depth // taps(geometry)
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * geometry[at.MR] * geometry[at.CHANNELS] * taps(geometry)
    lay_out(geometry, images * ceil_div(tiles, size), size * depth * nr, weights)


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row k of a panel starts at k * NR."""
    return np.arange(geometry[at.CHANNEL_BLOCK] * taps(geometry), dtype=np.int64) * geometry[at.PITCH]


def kernels(geometry: Sequence[int]) -> tuple[Any, Any]:
    """The functions that lay out the weights and that do the tasks, to be compiled by ``runtime.begin``."""
    return packing(geometry), load_module(".kernels.im2col").im2col_tasks
