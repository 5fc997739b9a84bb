"""What the cost models count, and what each of it costs in vector multiply-adds, until a calibration knows better.

A model is a sum of counts times prices, so that ``python -m numbaconv calibrate`` can fit the prices to a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: A price for each slot below.
Prices = Sequence[float]

#: The prices by name: geometric means of those fitted to Zen 4 (347 layers; new ones guessed) and to Intel's
#: Emerald Rapids (500 random layers, where they keep 90% within 10% of the best algorithm); one core, float32.
DEFAULTS: Final = {
    # Multiply-adds of a vector: of GEMM tiles of 8 filters, and of fewer; where pixels are broadcast, of panels of two
    # vectors, and of one; of lanes that belong to several groups; of Winograd's tiles.
    "gemm": 1.0,
    "few": 1.0,
    "channels": 0.99,
    "narrow": 1.3,
    "lanes": 0.81,
    "winograd": 1.1,
    # To copy a vector of the input, of every other element or farther apart; where a run of pixels of one channel is
    # copied, around its vectors, for each algorithm.
    "copied vector": 11.0,
    "strided vector": 15.0,
    "channels row": 15.0,
    "pixels row": 30.0,
    "im2col run": 15.0,
    # To read a run of pixels of one channel where those of a block lie in more pages than a core has addresses at hand,
    # and the pixels of a tile in place.
    "page": 34.0,
    "page in place": 2.5,
    # What all channels of a block share: for each row of a strip; for one column of taps, and for each row of it.
    "pixels strip row": 64.0,
    "im2col call": 270.0,
    "im2col row": 15.0,
    # Around the GEMM microkernel: to start a task, to start a tile of one panel, to store one of its vectors, or one of
    # a tile that is cut off; a run of one filter's pixels more where those of a task's filters lie in too many pages.
    "gemm task": 240.0,
    "gemm tile": 19.0,
    "stored vector": 4.7,
    "cut vector": 64.0,
    "stored page": 13.0,
    # Filters in the lanes: to start a task, and a tile; to transpose and store a square of lanes x lanes sums; the same
    # where the output's planes lie whole pages apart (3x224x224 to 64: 150 cycles, Zen 5).
    "channels task": 110.0,
    "channels tile": 17.0,
    "stored square": 240.0,
    "paged square": 460.0,
    # Lanes of several groups: to transpose a square of the input, and to store one of the sums; to start a tile, for
    # each length of its runs of taps; to spread a vector.
    "lanes square": 190.0,
    "stored lanes": 140.0,
    "lanes tile": 48.0,
    "spread vector": 3.1,
    # Winograd: to gather the input, and to transform it, in shares of what the driver counts; a transformed vector more
    # where the tiles of a run do not fill whole ones (56x56 took 1.4 times as long as 64x64, Intel Emerald Rapids); to
    # transform the output; to start a product, and a run.
    "gathered": 1.6,
    "transformed": 0.59,
    "straddled": 4.5,
    "transformed back": 1.5,
    "winograd product": 47.0,
    "winograd run": 260.0,
    # What lies beyond a core's own cache and, further, beyond the last: to read a vector of the input, and what that
    # costs more in place; to read a vector of weights, and of what a task has written; to store a run of one filter's
    # pixels.
    "near vector": 2.4,
    "far vector": 6.6,
    "near in place": 4.2,
    "far in place": 1.6,
    "near weights": 2.1,
    "far weights": 6.5,
    "near block": 3.7,
    "near run": 12.0,
    "far run": 26.0,
}
(
    GEMM, FEW, CHANNELS, NARROW, LANES, WINOGRAD, COPIED_VECTOR, STRIDED_VECTOR, CHANNELS_ROW, PIXELS_ROW, IM2COL_RUN,
    PAGE, PAGE_IN_PLACE, PIXELS_STRIP_ROW, IM2COL_CALL, IM2COL_ROW, GEMM_TASK, GEMM_TILE, STORED_VECTOR, CUT_VECTOR,
    STORED_PAGE,
    CHANNELS_TASK, CHANNELS_TILE, STORED_SQUARE, PAGED_SQUARE, LANES_SQUARE, STORED_LANES, LANES_TILE, SPREAD_VECTOR,
    GATHERED, TRANSFORMED, STRADDLED, TRANSFORMED_BACK, WINOGRAD_PRODUCT, WINOGRAD_RUN, NEAR_VECTOR,
    FAR_VECTOR, NEAR_IN_PLACE, FAR_IN_PLACE, NEAR_WEIGHTS, FAR_WEIGHTS, NEAR_BLOCK, NEAR_RUN, FAR_RUN,
) = range(len(DEFAULTS))  # fmt: skip
USUAL: Final[Prices] = tuple(DEFAULTS.values())
