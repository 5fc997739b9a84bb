"""Adds the parts of a sum, the bias and the activation."""

from __future__ import annotations

from .. import macros
from ..compiling import factory
from ..operations import ops
from ..shim import cuda
from . import copy

TILE, ROWS = copy.TILE, copy.ROWS
# Slots behind copy's: the bias's strides and start; how many parts, how far apart; whether there is a bias, relu.
BIAS_STRIDES = 26
BIAS_START = 32
PARTS = 33
STEP = 34
HAS_BIAS = 35
RELU = 36

u32 = ops.u32
COUNT = TILE // ROWS  # cells of a thread
add = ops.macro(macros.add_tile, COUNT, rows=ROWS)
finish = ops.macro(macros.finish_tile, rows=ROWS)


@factory
def added():
    """The kernel."""
    zeros = ops.macro(macros.zeros, COUNT, count=COUNT)

    def added(source, target, bias, g):
        """target[i] = activation(bias[i] + sum over parts p of source[p * step + i]); arrays and blocks as copy's.

        source : float32. target, bias : floats of 32 or 16 bits.
        """
        thread = u32(cuda.threadIdx.x)
        lane = u32(thread % u32(TILE))
        row = u32(thread // u32(TILE))
        tiles_a = u32(u32(g[copy.TARGET_SIZES + 4] + u32(TILE - 1)) // u32(TILE))
        tiles_b = u32(u32(g[copy.TARGET_SIZES + 5] + u32(TILE - 1)) // u32(TILE))
        rest = u32(cuda.blockIdx.x)
        b = u32(u32(rest % tiles_b) * u32(TILE))
        rest = u32(rest // tiles_b)
        a = u32(u32(rest % tiles_a) * u32(TILE))
        rest = u32(rest // tiles_a)
        i3 = u32(rest % g[copy.TARGET_SIZES + 3])
        rest = u32(rest // g[copy.TARGET_SIZES + 3])
        i2 = u32(rest % g[copy.TARGET_SIZES + 2])
        rest = u32(rest // g[copy.TARGET_SIZES + 2])
        i1 = u32(rest % g[copy.TARGET_SIZES + 1])
        i0 = u32(rest // g[copy.TARGET_SIZES + 1])
        place = u32(u32(g[copy.START] + u32(i0 * g[copy.STRIDES])) + u32(i1 * g[copy.STRIDES + 1]))
        place = u32(u32(place + u32(i2 * g[copy.STRIDES + 2])) + u32(i3 * g[copy.STRIDES + 3]))
        to = u32(u32(g[copy.TARGET_START] + u32(i0 * g[copy.TARGET_STRIDES])) + u32(i1 * g[copy.TARGET_STRIDES + 1]))
        to = u32(u32(to + u32(i2 * g[copy.TARGET_STRIDES + 2])) + u32(i3 * g[copy.TARGET_STRIDES + 3]))
        offset = u32(u32(g[BIAS_START] + u32(i0 * g[BIAS_STRIDES])) + u32(i1 * g[BIAS_STRIDES + 1]))
        offset = u32(u32(offset + u32(i2 * g[BIAS_STRIDES + 2])) + u32(i3 * g[BIAS_STRIDES + 3]))
        asked = (g[copy.TARGET_SIZES + 4], g[copy.TARGET_SIZES + 5])
        steps = (g[copy.STRIDES + 4], g[copy.STRIDES + 5])
        sums = zeros()
        part = u32(0)
        while part < g[PARTS]:
            sums = add(sums, source, place, (a, b), lane, row, asked, steps)
            place = u32(place + g[STEP])
            part = u32(part + u32(1))
        finish(
            sums, target, to, bias, offset, (a, b), lane, row, asked,
            (g[copy.TARGET_STRIDES + 4], g[copy.TARGET_STRIDES + 5]), (g[BIAS_STRIDES + 4], g[BIAS_STRIDES + 5]),
            (g[HAS_BIAS], g[RELU]),
        )  # fmt: skip

    return added
