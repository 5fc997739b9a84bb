"""Copies one view of floats into another, larger one, by tiles of 32 x 32; the rest becomes 0.

Weights are packed with it, and inputs are brought into the order that tensor cores read.
"""

from __future__ import annotations

from .. import macros
from ..compiling import factory
from ..operations import ops
from ..shim import cuda

TILE = macros.TILE
THREADS = 256
ROWS = THREADS // TILE
#: Floats of a tile in shared memory, whose rows are one longer: neighbours along b are in other banks then.
CELLS = TILE * (TILE + 1)
# Slots of the tuple of integers: six numbers each, the last two being those of the tiles' sides, a and b; two starts.
SIZES = 0
TARGET_SIZES = 6
STRIDES = 12
TARGET_STRIDES = 18
START = 24
TARGET_START = 25

u32, shared_floats = ops.u32, ops.shared_floats
read = ops.macro(macros.read_tile, rows=ROWS)
write = ops.macro(macros.write_turned, rows=ROWS)
straight = ops.macro(macros.copy_tile, rows=ROWS)


@factory
def copy(turned: bool):
    """The kernel whose threads read neighbours along a and write neighbours along b, or with no ``turned`` both b."""

    def copy(source, target, g):
        """target[i] = source[i] where i lies within the source's sizes, else 0, for all i within the target's.

        source, target : floats of 32 or 16 bits. One block for each tile.
        """
        thread = u32(cuda.threadIdx.x)
        lane = u32(thread % u32(TILE))
        row = u32(thread // u32(TILE))
        tiles_a = u32(u32(g[TARGET_SIZES + 4] + u32(TILE - 1)) // u32(TILE))
        tiles_b = u32(u32(g[TARGET_SIZES + 5] + u32(TILE - 1)) // u32(TILE))
        rest = u32(cuda.blockIdx.x)
        b = u32(u32(rest % tiles_b) * u32(TILE))
        rest = u32(rest // tiles_b)
        a = u32(u32(rest % tiles_a) * u32(TILE))
        rest = u32(rest // tiles_a)
        i3 = u32(rest % g[TARGET_SIZES + 3])
        rest = u32(rest // g[TARGET_SIZES + 3])
        i2 = u32(rest % g[TARGET_SIZES + 2])
        rest = u32(rest // g[TARGET_SIZES + 2])
        i1 = u32(rest % g[TARGET_SIZES + 1])
        i0 = u32(rest // g[TARGET_SIZES + 1])
        inside = i0 < g[SIZES] and i1 < g[SIZES + 1] and i2 < g[SIZES + 2] and i3 < g[SIZES + 3]
        place = u32(u32(g[START] + u32(i0 * g[STRIDES])) + u32(i1 * g[STRIDES + 1]))
        place = u32(u32(place + u32(i2 * g[STRIDES + 2])) + u32(i3 * g[STRIDES + 3]))
        to = u32(u32(g[TARGET_START] + u32(i0 * g[TARGET_STRIDES])) + u32(i1 * g[TARGET_STRIDES + 1]))
        to = u32(u32(to + u32(i2 * g[TARGET_STRIDES + 2])) + u32(i3 * g[TARGET_STRIDES + 3]))
        known = (g[SIZES + 4], g[SIZES + 5])
        asked = (g[TARGET_SIZES + 4], g[TARGET_SIZES + 5])
        steps = (g[STRIDES + 4], g[STRIDES + 5])
        target_steps = (g[TARGET_STRIDES + 4], g[TARGET_STRIDES + 5])
        if turned:
            tile = shared_floats(CELLS)
            read(tile, source, place, inside, (a, b), lane, row, known, steps)
            cuda.syncthreads()
            write(tile, target, to, (a, b), lane, row, asked, target_steps)
        else:
            straight(source, target, place, to, inside, (a, b), lane, row, known, asked, steps, target_steps)

    return copy
