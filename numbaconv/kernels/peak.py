"""What a core can compute at most: the microkernel with everything in the L1 cache."""

from __future__ import annotations

from ..runtime import kernel
from .blocking import TILE_ROWS
from .geometry import FINISH_NOTHING
from .simd import gemm_microkernel


@kernel
def peak_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """Thread ``slot``: geometry[0] times a tile of MR x NR sums of geometry[1] products; NR is geometry[2].

    weight holds geometry[1] x MR elements, x as many rows of NR as ``rows`` leads to; out has a tile for each thread.
    """
    columns = geometry[2]
    for _ in range(geometry[0]):
        gemm_microkernel(
            weight, 0, x, 0, rows, geometry[1], out, slot * TILE_ROWS * columns, columns, 0, 1, 0, FINISH_NOTHING
        )
