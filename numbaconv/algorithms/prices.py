"""What the cost models count, and what each of it costs in vector multiply-adds, until a calibration knows better.

A model is a sum of counts times prices, so that ``python -m numbaconv calibrate`` can fit the prices to a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: A price for each slot below.
Prices = Sequence[float]

#: The prices by name: geometric means of those fitted to Zen 4 and to Intel's Emerald Rapids; then, on the latter, changed
#: as little as made the choices right for 800 random layers, measured twice, and for compare.py's on one and two
#: threads (of those 94.4% within 10% of the best algorithm, of these 99; of layers that were not fitted 94, where the
#: best by one measurement was within 10% by the other for 96.3); one core, float32.
DEFAULTS: Final = {
    # Multiply-adds of a vector: of GEMM tiles of 8 filters, and of fewer; where pixels are broadcast, of panels of two
    # vectors, and of one; of lanes that belong to several groups; of Winograd's tiles, by several vectors of them, by
    # one, and by half of one, which a core that multiplies 64 bytes at once does no faster.
    "gemm": 0.975,
    "few": 0.584,
    "channels": 0.85,
    "narrow": 1.28,
    "lanes": 0.644,
    "winograd": 0.694,
    "winograd narrow": 1.13,
    "winograd half": 1.62,
    # To copy a vector of the input, of every other element or farther apart; where a run of pixels of one channel is
    # copied, around its vectors, for each algorithm; to copy one of im2col's vectors.
    "copied vector": 9.03,
    "strided vector": 15.2,
    "channels row": 16.8,
    "pixels row": 7.8,
    "im2col run": 11.2,
    "im2col vector": 6.76,
    # To read a run of pixels of one channel where those of a block lie in more pages than a core has addresses at hand,
    # and the pixels of a tile in place.
    "page": 10.3,
    "page in place": 1.46,
    # What all channels of a block share: for each row of a strip; for one column of taps, and for each row of it.
    "pixels strip row": 120.0,
    "im2col call": 430.0,
    "im2col row": 10.0,
    # Around the GEMM microkernel: to start a task, to start a tile of one panel, to store one of its vectors, or one of
    # a tile that is cut off.
    "gemm task": 200.0,
    "gemm tile": 11.5,
    "stored vector": 1.94,
    "cut vector": 42.1,
    # Filters in the lanes: to start a task, and a tile; to transpose and store a square of lanes x lanes sums; the same
    # where the output's planes lie whole pages apart (3x224x224 to 64: 150 cycles, Zen 5).
    "channels task": 86.0,
    "channels tile": 12.0,
    "stored square": 230.0,
    "paged square": 420.0,
    # Lanes of several groups: to transpose a square of the input, and to store one of the sums; to start a tile, for
    # each length of its runs of taps; to spread a vector (5 groups of 8, 2 and 4 filters, Emerald Rapids).
    "lanes square": 200.0,
    "stored lanes": 96.0,
    "lanes tile": 33.0,
    "spread vector": 10.7,
    # Winograd: to gather the input, and to transform it, in shares of what the driver counts; a transformed vector more
    # where the tiles of a run do not fill whole ones (56x56 took 1.4 times as long as 64x64, Intel Emerald Rapids); to
    # transform the output; to start a product, and a run.
    "gathered": 1.56,
    "transformed": 1.62,
    "straddled": 1.68,
    "transformed back": 1.57,
    "winograd product": 66.1,
    "winograd run": 900.0,
    # What lies beyond a core's own cache and, further, beyond the last: to read a vector of the input, and what that
    # costs more in place; to read a vector of weights, and of what a task has written; to store a run of one filter's
    # pixels, and a longer one where filters are in the lanes.
    "near vector": 1.9,
    "far vector": 3.9,
    "near in place": 2.48,
    "far in place": 0.92,
    "near weights": 1.4,
    "far weights": 6.2,
    "near block": 5.63,
    "near run": 5.06,
    "far run": 31.8,
    "near burst": 9.72,
    "far burst": 160.0,
}
(
    GEMM, FEW, CHANNELS, NARROW, LANES, WINOGRAD, WINOGRAD_NARROW, WINOGRAD_HALF, COPIED_VECTOR, STRIDED_VECTOR,
    CHANNELS_ROW, PIXELS_ROW, IM2COL_RUN, IM2COL_VECTOR, PAGE, PAGE_IN_PLACE, PIXELS_STRIP_ROW, IM2COL_CALL, IM2COL_ROW,
    GEMM_TASK, GEMM_TILE, STORED_VECTOR, CUT_VECTOR, CHANNELS_TASK, CHANNELS_TILE, STORED_SQUARE,
    PAGED_SQUARE, LANES_SQUARE, STORED_LANES, LANES_TILE, SPREAD_VECTOR, GATHERED, TRANSFORMED, STRADDLED,
    TRANSFORMED_BACK, WINOGRAD_PRODUCT, WINOGRAD_RUN, NEAR_VECTOR, FAR_VECTOR, NEAR_IN_PLACE, FAR_IN_PLACE,
    NEAR_WEIGHTS, FAR_WEIGHTS, NEAR_BLOCK, NEAR_RUN, FAR_RUN, NEAR_BURST, FAR_BURST,
) = range(len(DEFAULTS))  # fmt: skip
USUAL: Final[Prices] = tuple(DEFAULTS.values())
