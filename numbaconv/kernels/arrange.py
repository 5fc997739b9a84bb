"""The weights of a transposed convolution, in the order of the ordinary convolutions that it consists of."""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel

#: Filters whose rows are written together: their taps lie side by side in memory, so that whole cache lines are read.
FILTERS_AT_ONCE = 8


@kernel
def arrange_taps_serial(slot, slots, weight, starts, steps, sizes, arranged):
    """Exchange channels and filters of thread ``slot`` of ``slots``, and move every tap to its phase.

    arranged[starts[k] + ((g * F + f) * C + c) * steps[k]] = weight[g, c, f, k]

    - weight: (G, C, F, K), C-contiguous and flat; sizes = (G, C, F).
    - starts, steps: for each tap k where it lies in ``arranged`` and how many taps its phase has. A tap whose step is 0
      belongs to no phase.
    """
    groups, channels, filters = sizes
    taps = starts.size
    blocks = (filters + FILTERS_AT_ONCE - 1) // FILTERS_AT_ONCE
    every = groups * blocks
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        group, block = divmod(number, blocks)
        first = block * FILTERS_AT_ONCE
        last = min(filters, first + FILTERS_AT_ONCE)
        for c in range(channels):
            for f in range(first, last):
                x = ((group * channels + c) * filters + f) * taps
                row = (group * filters + f) * channels + c
                for k in range(taps):
                    if steps[k] != 0:
                        arranged[starts[k] + row * steps[k]] = weight[x + k]


@parallel_kernel
def arrange_taps_parallel(slots, weight, starts, steps, sizes, arranged):
    """:func:`arrange_taps_serial` on ``slots`` threads."""
    for slot in prange(slots):
        arrange_taps_serial(slot, slots, weight, starts, steps, sizes, arranged)
