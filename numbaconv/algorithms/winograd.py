"""Winograd's F(4x4, 3x3), fused over blocks of tiles. See :mod:`numbaconv.kernels.winograd`."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from ..kernels import geometry as at
from ..kernels.blocking import BUFFERED, LINE, TILE_BYTES, TILE_ROWS, VECTOR_BYTES, WINOGRAD_F4X3_POINTS
from ..problem import ConvProblem
from .sharing import FEWEST_SHARED, ceil_div, lay_out, use_tile

#: In vector multiply-adds: the input transform of NR tiles of one channel, the output transform of NR tiles of one
#: filter, the transform of one 3x3 kernel. And how much longer the 36 short products take than one long one. Fitted to
#: runs of ResNet's and VGG's layers (Zen 4).
INPUT_TRANSFORM = 700
OUTPUT_TRANSFORM = 500
WEIGHT_TRANSFORM = 60
SLOWDOWN = 1.1
#: To start one of the 36 products: it counts where there are few channels.
PRODUCT = 80
#: To start a block of tiles: it counts where groups have few channels and filters.
BLOCK = 12_000


def unsupported(problem: ConvProblem) -> str | None:
    """Why not: Winograd serves two-dimensional 3x3 kernels of stride and dilation 1, in floating-point numbers."""
    if problem.dtype.kind != "f":
        return f"winograd's transforms have fractions, which {problem.dtype} does not"
    if problem.ndim != 2:
        return f"winograd needs 2 spatial dimensions, this problem has {problem.ndim}"
    if problem.kernel_size != (3, 3):
        return "winograd needs a 3x3 kernel, this one is {}x{}".format(*problem.kernel_size)
    if problem.stride != (1, 1):
        return f"winograd needs stride 1, this one is {problem.stride}"
    if problem.dilation != (1, 1):
        return f"winograd needs dilation 1, this one is {problem.dilation}"
    return None


def points() -> tuple[float, ...]:
    """The finite interpolation points, in the order of the transforms' rows."""
    a, b = WINOGRAD_F4X3_POINTS
    return (0.0, a, -a, b, -b)


def _blocks(geometry: MutableSequence[int], itemsize: int) -> int:
    """Blocks of NR tiles; the tiles of all images are numbered through."""
    tiles = geometry[at.BATCH] * ceil_div(geometry[at.OUT_H], 4) * ceil_div(geometry[at.OUT_W], 4)
    return ceil_div(tiles, TILE_BYTES // itemsize)


def cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """36 products of whole register tiles for every block of NR tiles, and the transforms."""
    blocks = geometry[at.GROUPS] * _blocks(geometry, itemsize)
    panels = ceil_div(geometry[at.FILTERS], TILE_ROWS)
    products = 36 * panels * (geometry[at.CHANNELS] * TILE_ROWS * (TILE_BYTES // VECTOR_BYTES) + PRODUCT)
    transforms = geometry[at.CHANNELS] * INPUT_TRANSFORM + geometry[at.FILTERS] * OUTPUT_TRANSFORM
    return blocks * (products + transforms + BLOCK) * SLOWDOWN


def pack_cost(geometry: MutableSequence[int]) -> float:
    """The transforms of all kernels."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * WEIGHT_TRANSFORM)


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of one block of NR tiles."""
    use_tile(geometry, TILE_ROWS, TILE_BYTES // itemsize)
    nr = geometry[at.NR]
    channels = geometry[at.CHANNELS]
    panels = geometry[at.GROUPS] * geometry[at.PANELS]
    geometry[at.CHANNEL_BLOCK] = channels
    geometry[at.PITCH] = 4 * nr
    # Without the odd line, the 36 places that a transform writes to are often 4 KiB apart, and share one set of the L1
    # cache: transforming 512 x 512 kernels took 16 cycles for each weight then, and takes 10 now, most of them for new
    # memory; 256 x 256 take 2.2 (Zen 4).
    geometry[at.WEIGHT_STEP] = channels * TILE_ROWS + LINE
    geometry[at.INPUT_STEP] = channels * nr + LINE
    weights = panels * 36 * geometry[at.WEIGHT_STEP]
    blocks = geometry[at.GROUPS] * _blocks(geometry, itemsize)
    transformed = 36 * geometry[at.INPUT_STEP]
    buffers = 36 * TILE_ROWS * nr + 12 * BUFFERED * geometry[at.PITCH]
    lay_out(geometry, blocks, transformed + buffers, weights)
    if geometry[at.PANEL_SPLIT] > 1:
        lay_out(geometry, blocks, buffers, weights, FEWEST_SHARED)
        geometry[at.SHARED] = blocks * transformed
    # Behind the bias lie the weights as they were: tiles with NaN or infinite sums are summed directly.
    geometry[at.RAW_START] = geometry[at.PACKED]
    geometry[at.PACKED] += panels * TILE_ROWS * channels * 9


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row c of each of the 36 matrices starts at c * NR."""
    return np.arange(geometry[at.CHANNELS], dtype=np.int64) * geometry[at.NR]


def kernels() -> tuple[Any, ...]:
    """The functions (pack serially, pack in parallel, run serially, run in parallel, pack and run serially)."""
    from ..kernels import winograd

    return (
        winograd.winograd_weights_serial,
        winograd.winograd_weights_parallel,
        winograd.winograd_serial,
        winograd.winograd_parallel,
        winograd.winograd_once,
    )
