"""Transposed convolutions: their weights in the order of the ordinary convolutions they consist of, and results."""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from .blocking import VECTOR_BYTES
from .simd import store_pairs

#: Filters and channels that are moved together: what they read, 8 KiB of 4x4 taps, is read in whole cache lines and
#: stays in the L1 cache for all taps. One tap after the other, without a table lookup for each element, this took a
#: quarter of the time of all taps of one filter and channel at once (512x256 filters of 4x4, Zen 4).
FILTERS_AT_ONCE = 8
CHANNELS_AT_ONCE = 16


@kernel
def arrange_taps_serial(slot, slots, weight, starts, steps, rows, sizes, arranged):
    """Exchange channels and filters of thread ``slot`` of ``slots``, and move every tap to its phase.

    arranged[starts[k] + ((g * rows[k] + f) * C + c) * steps[k]] = weight[g, c, f, k]

    - weight: (G, C, F, K), C-contiguous and flat; sizes = (G, C, F).
    - starts, steps, rows: for each tap k where it lies in ``arranged``, how many taps its phase has, and how many
      filters of a group the convolution has that the phase is part of. A tap whose step is 0 belongs to no phase.
    """
    groups, channels, filters = sizes
    taps = starts.size
    blocks = (filters + FILTERS_AT_ONCE - 1) // FILTERS_AT_ONCE
    every = groups * blocks
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        group, block = divmod(number, blocks)
        first = block * FILTERS_AT_ONCE
        last = min(filters, first + FILTERS_AT_ONCE)
        for c in range(0, channels, CHANNELS_AT_ONCE):
            some = min(CHANNELS_AT_ONCE, channels - c)
            for k in range(taps):
                step = steps[k]
                if step == 0:
                    continue
                for f in range(first, last):
                    x = ((group * channels + c) * filters + f) * taps + k
                    y = starts[k] + ((group * rows[k] + f) * channels + c) * step
                    for j in range(some):
                        arranged[y + j * step] = weight[x + j * filters * taps]


@parallel_kernel
def arrange_taps_parallel(slots, weight, starts, steps, rows, sizes, arranged):
    """:func:`arrange_taps_serial` on ``slots`` threads."""
    for slot in prange(slots):
        arrange_taps_serial(slot, slots, weight, starts, steps, rows, sizes, arranged)


@kernel
def row_start(table, array, n, g, f, d, h):
    """Where a row of an array of :func:`weave_serial`'s starts in its flat view."""
    start = table[array, 5] + n * table[array, 0] + g * table[array, 1] + f * table[array, 2]
    return start + d * table[array, 3] + h * table[array, 4]


@kernel
def weave_serial(slot, slots, even, odd, out, table):
    """out[..., 0::2], out[..., 1::2] = even, odd, for the rows of thread ``slot`` of ``slots``.

    All three have dimensions (n, g, f, d, h, w) and lie in flat views; w has stride 1 in each. table[0] are the sizes
    of ``out``; table[1 .. 3] the strides of n to h, and the start, of ``even``, ``odd`` and ``out``.
    """
    batch, groups, filters, depth, height, width = table[0]
    lanes = VECTOR_BYTES // out.itemsize
    pairs = width // 2
    every = batch * groups * filters
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        rest, f = divmod(number, filters)
        n, g = divmod(rest, groups)
        for d in range(depth):
            for h in range(height):
                a = row_start(table, 1, n, g, f, d, h)
                b = row_start(table, 2, n, g, f, d, h)
                y = row_start(table, 3, n, g, f, d, h)
                for j in range(0, pairs, lanes):
                    store_pairs(even, a + j, odd, b + j, out, y + 2 * j, pairs - j)
                if width % 2:
                    out[y + width - 1] = even[a + pairs]


@parallel_kernel
def weave_parallel(slots, even, odd, out, table):
    """:func:`weave_serial` on ``slots`` threads."""
    for slot in prange(slots):
        weave_serial(slot, slots, even, odd, out, table)
