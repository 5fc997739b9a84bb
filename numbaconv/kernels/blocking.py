"""One table of tile and block sizes for every kernel.

The names are BLIS's: a microkernel keeps a tile of MR x NR sums in registers (Van Zee & van de Geijn,
"BLIS: a framework for rapidly instantiating BLAS functionality", ACM TOMS 41(3), 2015).

Measured on a 2-core AMD EPYC (Zen 4, AVX-512), Numba 0.68.1, one core, K = 256, everything in cache:
6x32 115, 8x32 117, 8x48 115, 12x32 116, 14x32 116 GFLOP/s, all of them the core's peak. 8 rows are taken because
the filters of nearly every network come in multiples of 8, where 14 rows would leave up to 9% of a panel empty.
"""

from __future__ import annotations

from typing import Final

from llvmlite import binding as llvm
from numba import config

from .. import runtime

VECTOR_BYTES: Final = runtime.vector_bytes()
#: What LLVM calls this CPU.
CPU: Final = str(config.CPU_NAME or llvm.get_host_cpu_name())
#: (MR, vectors in NR) of the microkernels: the usual one, and those for groups of at most 4, 2 and 1 filters, of whose
#: tile the usual one would fill up most with zeros. AVX-512 has 32 registers: 16 sums, 2 vectors, a broadcast. The
#: others have 16. NEON has 32 registers, too, and is not tuned yet.
TILES: Final = ((8, 2), (4, 4), (2, 8), (1, 8)) if VECTOR_BYTES == 64 else ((6, 2), (4, 2), (2, 4), (1, 8))
#: Vectors of the usual rows' wide tile, of which runs of pixels are cut before usual ones, see ``cut_run``; as many as
#: the usual one's where registers are fewer. 8x3 needs 39 instructions for 24 multiply-adds, 8x2 31 for 16, which tells
#: where somebody else works on a core's other thread: 1x1 layers took 0.85 to 0.96 of the time (Emerald Rapids, 2
#: threads).
WIDE_VECTORS: Final = 3 if VECTOR_BYTES == 64 else TILES[0][1]
#: Whether three halves of a vector are multiplied in half the time that three vectors take: a Zen 4 core multiplies 64
#: bytes at once in two halves.
HALF_VECTORS: Final = CPU == "znver4" and VECTOR_BYTES == 64
#: Pixels of a tile with filters in its lanes, by 2 vectors or 1. Measured like the above, addresses from a table: 7x2,
#: 7x3 and 8x2 116, 12x2 81, 14x2 75 GFLOP/s (more addresses than registers). 7 divides the sizes of most networks'
#: maps.
CHANNEL_TILE_PIXELS: Final = 7 if VECTOR_BYTES == 64 else 6
#: The same where filters of several groups are in the lanes, by one vector: 7 sums, 7 weights, a cell and, without FMA,
#: a product are 16 registers, as many as AVX2 and SSE have. With 6, 480 channels of 14x14 took 1.06 times as long (AVX2
#: on Zen 4).
LANE_TILE_PIXELS: Final = 7
#: Tiles of CHANNEL_TILE_PIXELS that are summed together where the pixels of each are neighbours, and need one address:
#: 14x2. 28 sums, 2 vectors and a broadcast are as many as AVX-512 has registers. They need 18 loads for 28
#: multiply-adds, 7x2 11 for 14, and half the reads and writes of sums between passes: 1x1 layers took 0.94 to 0.97 of
#: the time, 3x3 ones with stride 2, and 7x7 maps, as long (Emerald Rapids).
TILES_TOGETHER: Final = 2 if VECTOR_BYTES == 64 else 1
#: Neighbouring taps that tiles of one vector of filters take at once, in kernels with rows of as many: a cell that
#: several of the pixels read is loaded and broadcast once. 14x1 needs 67 instructions for 42 multiply-adds, 7x1 with
#: one tap 48 for 21: 32 groups of 16 filters, 14x14 by 3x3, took 0.72 to 0.79 of the time. 7x2 with three taps took 1.0
#: to 1.09 times as long as 14x2 with one (Emerald Rapids). With 16 registers it was not measured.
TAPS_TOGETHER: Final = 3 if VECTOR_BYTES == 64 else 1
#: Neighbouring taps that a lanewise microkernel takes at once: a kernel row is cut into these, and into single taps.
RUNS: Final = (7, 5, 3)
#: Filters of a group whose channels, as many, are copied once for a whole panel and spread over its lanes.
SPREAD: Final = (2, 4, 8)
#: Depthwise, pixels in the lanes: output rows of a tile, one vector wide, and lengths of the runs that the taps of a
#: kernel's column are cut into. 7 sums, 5 weights and a vector of the input take 13 registers, of which AVX2 has 16; 7
#: divides the sizes of most networks' maps.
DEPTHWISE_ROWS: Final = 7
COLUMN_RUNS: Final = (5, 3, 2, 1)
#: MR of the usual tile.
TILE_ROWS: Final = TILES[0][0]
#: NR of the usual tile in bytes: 32 float32 or 16 float64 with AVX-512.
TILE_BYTES: Final = TILES[0][1] * VECTOR_BYTES
#: KC: rows of a packed block that are summed before the result goes back to memory; the same for elements of eight
#: bytes. Of these, a panel of weights takes twice the room in the L1 cache, and rows of 128 bytes last for half the
#: products: 1x1 layers of 256 to 1024 channels took 1.03 to 1.15 times as long with 256 and 512, with 96 and 192 0.95
#: to 1.1 (Emerald Rapids, 2 threads).
DEPTH_BLOCK: Final = 512
WIDE_DEPTH_BLOCK: Final = 128
#: The same where filters are in the lanes: of 128, a panel's 16 KiB of weights stay in L1 for all tiles of a chunk.
#: With 512 the 1x1 and strided 3x3 layers of ResNet-50 took 1.02 to 1.15 times as long, with 64 and 256 1.02 to 1.06
#: (Zen 5, one core). A Zen 4 core gets weights from L2 as fast as it multiplies them, and its sums go to memory less
#: often: ResNet-50's 1x1 layers of 14x14 and 7x7 took 0.96 to 0.98 of the time with 256, 0.95 to 0.97 with 512 and
#: 1024, and 256x56x56 to 64 by 1x1 with 256 0.92 (2 threads); float64's 0.93 to 0.97 with 512.
CHANNEL_DEPTH: Final = 512 if CPU == "znver4" else 128
#: The same of kernels of several taps, which read a line of the input several times before the next one. With 128, 3x3
#: layers with stride 2 took 1.04 to 1.05 times as long, a 5x5 one 1.04, 16x16 ones 1.02; with 256 1.01 to 1.02, with
#: 768 and 1152 0.98 to 1.0 (Zen 4, 2 threads; on others 384 is what was measured).
TAPS_DEPTH: Final = 768 if CPU == "znver4" else 384
#: Winograd: rows of a place's tiles that are multiplied by several panels before the next ones are. 24 KiB of them then
#: stay in the L1 cache: 512 channels at 28x28 took 1.1 times as long without, 32 images of 7x7 1.25 (Emerald Rapids).
WINOGRAD_DEPTH: Final = 128
#: Winograd: tiles of a block so small that filters are in the lanes, not tiles; of float64, half as many at most. Two
#: panels' sums, and those of the products before, stay in registers. 256 channels at 14x14, as 9 tiles of 5x5, took
#: 0.93 of the time of 16 of 4x4; at 7x7, as 4 of 4x4, 0.78 of 16 of 2x2, 128 channels 0.88 (Zen 4, 2 threads).
FEW_TILES: Final = (4, 6, 9, 12)
#: Elements in a cache line of float32, and of int16, the narrowest that kernels compute in.
#: Each thread's scratch starts on a line of its own.
LINE: Final = 16
NARROW_LINE: Final = 32
#: Which of the integers at the start of the scratch says that tasks have lacked a function; see ``tasks``. It lies
#: behind the counters' line, which is the second one of float32 and float64 only: other tasks lack none.
UNDONE: Final = 8
#: Elements from the first to the last tap of a filter and channel up to which they are packed by transposing all that
#: lies there, and scratch that it takes of each thread. Tap by tap, 2.4 million weights seen from the other side took
#: 4.3 cycles each, and 2.2 since (Zen 4).
SPAN: Final = 64
PACK_SCRATCH: Final = SPAN * NARROW_LINE
#: Bytes that packing reads of each channel at a time where the weights of a filter lie apart: a piece of a single panel
#: is as dear as a whole page.
PIECE_BYTES: Final = 2048
#: Bytes of packed input that one task works on: a quarter of a 1 MiB L2; the weights stream past it.
BLOCK_BYTES: Final = 256 * 1024
#: Arrays whose rows lie whole pages apart share a few sets of the L1 cache.
PAGE_BYTES: Final = 4096
#: Winograd's positive interpolation points for tiles of n inputs; the others are their negatives, infinity and, where n
#: is even, 0. Of some 60 pairs, 100 triples for 8 and 1300 for 7, those of the least RMS error: docs/accuracy.md says
#: how large it is.
WINOGRAD_POINTS: Final = {
    1: (), 3: (1.0,), 4: (1.0,), 5: (0.375, 1.25), 6: (0.625, 1.5), 7: (0.25, 0.875, 1.8125), 8: (0.5, 1.0, 2.0),
}  # fmt: skip
#: Channels side by side from which squares of pixels and channels are transposed as they are copied.
LEAST_BESIDE: Final = 4
#: Winograd: channels whose rows are gathered at a time. What does not depend on the channel is worked out once for all.
BUFFERED: Final = 4
#: The same where the channels of a pixel lie side by side: a vector of them is transposed. With 4, 64x56x56 took 1.08
#: times as long, other 3x3 layers 1.01 to 1.05 (Zen 4, 2 threads).
BUFFERED_BESIDE: Final = 16
#: Transforms of tiles: rows and columns of outputs that are summed again at a time where rounding may have spoilt one.
SUMMED: Final = (32, 64)


def depth_block(itemsize: int) -> int:
    """Rows of a packed block that are summed before the result goes back to memory."""
    return DEPTH_BLOCK if itemsize < 8 else WIDE_DEPTH_BLOCK


def tile_for(filters: int, itemsize: int) -> tuple[int, int]:
    """(MR, NR) of the smallest tile that holds ``filters`` filters of a group, or of the widest of the usual rows."""
    rows, vectors = TILES[0][0], WIDE_VECTORS
    for tile in TILES[1:]:
        if filters <= tile[0]:
            rows, vectors = tile
    return rows, vectors * (VECTOR_BYTES // itemsize)


def few_tiles(tiles: int, itemsize: int) -> int:
    """The smallest of FEW_TILES that holds ``tiles`` tiles, or 0 where there is none."""
    for size in FEW_TILES:
        if VECTOR_BYTES == 64 and tiles <= size <= 48 // itemsize:
            return size
    return 0


def buffered(channels_last: int) -> int:
    """BUFFERED or BUFFERED_BESIDE."""
    return BUFFERED_BESIDE if channels_last != 0 else BUFFERED


def column_filters(points: int) -> int:
    """Filters whose sums at ``points`` places of a vector of tiles are kept in AVX-512's registers: a power of two."""
    return 4 if 4 * points <= 28 else 2


def strip_lead(pad: int, stride: int, phase: int, lanes: int) -> int:
    """Elements before a plane of phase ``phase``, so that what is read of the input's first columns begins a vector."""
    padded = (pad - phase + stride - 1) // stride
    return -padded % lanes if padded > 0 else 0


def cut_run(run: int, mr: int, nr: int, lanes: int) -> tuple[int, int]:
    """(tiles, narrow ones) of ``run`` pixels side by side: NR-wide tiles and, behind them, usual ones.

    The fewest tiles that cover the run, of which as many are a vector narrower as leave less than one over: seven
    vectors are 3 + 2 + 2, fourteen 3 + 3 + 3 + 3 + 2. Only the usual rows' tiles come in two widths.
    """
    tiles = -(-run // nr)
    if mr != TILE_ROWS or TILES[0][1] == WIDE_VECTORS:
        return tiles, 0
    over = (tiles * nr - run) // lanes
    return tiles, over if over < tiles else tiles
