"""One table of tile and block sizes for every kernel.

The names are BLIS's: a microkernel keeps a tile of MR x NR sums in registers (Van Zee & van de Geijn,
"BLIS: a framework for rapidly instantiating BLAS functionality", ACM TOMS 41(3), 2015).

Measured on a 2-core AMD EPYC (Zen 4, AVX-512), Numba 0.68.1, one core, K = 256, everything in cache:
6x32 115, 8x32 117, 8x48 115, 12x32 116, 14x32 116 GFLOP/s, all of them the core's peak. 8 rows are taken because
the filters of nearly every network come in multiples of 8, where 14 rows would leave up to 9% of a panel empty.
"""

from __future__ import annotations

from typing import Final

from .. import runtime

VECTOR_BYTES: Final = runtime.vector_bytes()
#: Vectors in a row of the register tile.
TILE_VECTORS: Final = 2
#: MR, the filters of a register tile. 16 sums + 2 vectors + 1 broadcast fit 32 registers; the 16 registers of AVX2 and
#: SSE hold 6 x 2.
TILE_ROWS: Final = 8 if VECTOR_BYTES == 64 else 6
#: NR in bytes, the pixels of a register tile: 32 float32 or 16 float64 with AVX-512.
TILE_BYTES: Final = TILE_VECTORS * VECTOR_BYTES
#: KC, rows of a packed block that are summed before the result goes back to memory.
DEPTH_BLOCK: Final = 256
#: Bytes of packed input that one task works on: half of a 1 MiB L2, the rest is for the weights that stream past.
BLOCK_BYTES: Final = 512 * 1024
#: The positive interpolation points (A, B) of F(4x4, 3x3); the others are -A, -B, 0 and infinity. RMS error against
#: float64, relative to float32 direct summation, on normal data: 1.8-2.1 with these, 3.8 with the textbook's 1 and 2
#: (DESIGN.md, section 4).
WINOGRAD_F4X3_POINTS: Final = (0.625, 1.375)


def tile_columns(itemsize: int) -> int:
    """NR: elements of ``itemsize`` bytes in a row of the register tile."""
    return TILE_BYTES // itemsize


def panels(filters: int) -> int:
    """How many panels of MR filters hold ``filters`` of them; the last one is filled up with zeros."""
    return -(-filters // TILE_ROWS)
