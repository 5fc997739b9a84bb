"""Winograd's F(m x m, 3x3) in float32, m = 2 or 4: the three transforms. The products between them are a GEMM's.

Tiles of m x m outputs are numbered through all images. n = m + 2; the n * n elements of a transformed tile lie ``step``
apart, each among those of the same number of all tiles: a matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...kernels.blocking import WINOGRAD_POINTS
from ...kernels.cook_toom import matrices
from .. import geometry as at
from .. import transforms
from ..compiling import factory
from ..operations import ops
from ..shim import cuda

THREADS = 128
u32 = ops.u32


class Kernels(NamedTuple):
    """The three transforms."""

    weight: Callable[..., None]
    input: Callable[..., None]
    output: Callable[..., None]


@factory
def transforms_of(m: int, fours: bool) -> Kernels:
    """The kernels for tiles of m x m outputs; ``fours`` says that a tile's rows are written at once."""
    points = (0.0, *(sign * point for point in WINOGRAD_POINTS[m + 2] for sign in (1, -1)))
    back, forth, data = (
        tuple(tuple(map(float, row)) for row in matrix) for matrix in matrices(m, 3, points)
    )  # fmt: skip
    weight_tile = ops.macro(transforms.weight_tile, matrix=forth)
    input_tile = ops.macro(transforms.input_tile, matrix=data)
    output_tile = ops.macro(transforms.output_tile, matrix=back, fours=fours)
    numbers = ops.macro(transforms.numbers, 3, integers=True)

    def weight(w, u, pitch, step, g):
        """u[i, g, c, f] = element i of the transform of w[g, f, c]; u has ``pitch`` filters in a row, with zeros."""
        index = u32(u32(u32(cuda.blockIdx.x) * u32(cuda.blockDim.x)) + u32(cuda.threadIdx.x))
        f = u32(index % pitch)
        c = u32(u32(index // pitch) % g[at.CHANNELS])
        group = u32(u32(index // pitch) // g[at.CHANNELS])
        if group >= g[at.GROUPS]:
            return
        place = u32(u32(g[at.W_START] + u32(group * g[at.W_GROUP])) + u32(f * g[at.W_FILTER]))
        place = u32(place + u32(c * g[at.W_CHANNEL]))
        to = u32(u32(u32(u32(group * g[at.CHANNELS]) + c) * pitch) + f)
        weight_tile(w, place, f < g[at.FILTERS], g[at.W_H], g[at.W_W], u, to, step)

    def data_tile(x, v, tiles_h, tiles_w, lanes, step, g):
        """v[i, g, c, t], or with ``lanes`` v[i, g, t, c], = element i of the transform of tile t of x[:, g, c]."""
        index = u32(u32(u32(cuda.blockIdx.x) * u32(cuda.blockDim.x)) + u32(cuda.threadIdx.x))
        channels = g[at.CHANNELS]
        tiles = u32(u32(g[at.BATCH] * tiles_h) * tiles_w)
        c, t, group = numbers(index, channels, tiles, lanes)
        if group >= g[at.GROUPS]:
            return
        row = u32(u32(u32(u32(t // tiles_w) % tiles_h) * u32(m)) - g[at.PAD_H])
        column = u32(u32(u32(t % tiles_w) * u32(m)) - g[at.PAD_W])
        image = u32(u32(t // tiles_w) // tiles_h)
        start = u32(u32(g[at.X_START] + u32(image * g[at.X_BATCH])) + u32(group * g[at.X_GROUP]))
        start = u32(start + u32(c * g[at.X_CHANNEL]))
        input_tile(x, start, row, column, g[at.IN_H], g[at.IN_W], g[at.X_H], g[at.X_W], v, index, step)

    def output(products, out, bias, tiles_h, tiles_w, step, g):
        """out[n, g, f, ...] = bias[g, f] + the tiles of products[i, g, f, t], transformed back.

        With the geometry's FILTER_LANES, of products[i, g, t, f].
        """
        index = u32(u32(u32(cuda.blockIdx.x) * u32(cuda.blockDim.x)) + u32(cuda.threadIdx.x))
        filters = g[at.FILTERS]
        tiles = u32(u32(g[at.BATCH] * tiles_h) * tiles_w)
        f, t, group = numbers(index, filters, tiles, g[at.FILTER_LANES])
        if group >= g[at.GROUPS]:
            return
        row = u32(u32(u32(t // tiles_w) % tiles_h) * u32(m))
        column = u32(u32(t % tiles_w) * u32(m))
        image = u32(u32(t // tiles_w) // tiles_h)
        to = u32(u32(g[at.OUT_START] + u32(image * g[at.OUT_BATCH])) + u32(group * g[at.OUT_GROUP]))
        to = u32(to + u32(f * g[at.OUT_FILTER]))
        offset = u32(g[at.BIAS_START] + u32(u32(u32(group * filters) + f) * g[at.BIAS_STRIDE]))
        output_tile(
            products, index, step, out, to, g[at.OUT_STRIDE_H], g[at.OUT_STRIDE_W], row, column, g[at.OUT_H],
            g[at.OUT_W], bias, offset, g[at.HAS_BIAS], g[at.RELU],
        )  # fmt: skip

    return Kernels(weight, data_tile, output)
