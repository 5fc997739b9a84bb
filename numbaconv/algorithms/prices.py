"""What the cost models count, and what each of it costs in vector multiply-adds, until a calibration knows better.

A model is a sum of counts times prices, so that ``python -m numbaconv calibrate`` can fit the prices to a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..kernels.blocking import CPU, VECTOR_BYTES

#: A price for each slot below.
Prices = Sequence[float]

#: The prices by name, fitted to 900 random layers, most of them measured twice, and to compare.py's on one and two
#: threads (Emerald Rapids): least squares of ratios within a layer, then one price after the other, as long as choices
#: became better. Of layers that were not fitted, a fifth at a time, 95.0% were within 10% of the best algorithm; of
#: those the best by one measurement was so by another for 96.3%. One core, float32.
EMERALD_RAPIDS: Final = {
    # Multiply-adds of a vector: of GEMM tiles of 8 filters, and of fewer; where pixels are broadcast, of panels of two
    # vectors, and of one; of lanes that belong to several groups; of Winograd's tiles, by several vectors of them, by
    # one, and by half of one, which a core that multiplies 64 bytes at once does no faster.
    "gemm": 0.802,
    "few": 0.67,
    "channels": 0.723,
    "narrow": 1.09,
    "lanes": 0.768,
    "winograd": 0.519,
    "winograd narrow": 0.916,
    "winograd half": 1.29,
    # To copy a vector of the input, of every other element or farther apart; where a run of pixels of one channel is
    # copied, around its vectors, for each algorithm; to copy one of im2col's vectors.
    "copied vector": 9.03,
    "strided vector": 17.6,
    "channels row": 17.5,
    "pixels row": 5.38,
    "im2col run": 7.62,
    "im2col vector": 8.07,
    # To read a run of pixels of one channel where those of a block lie in more pages than a core has addresses at hand,
    # and the pixels of a tile in place.
    "page": 6.57,
    "page in place": 0.812,
    # What all channels of a block share: for each row of a strip; for one column of taps, and for each row of it.
    "pixels strip row": 65.3,
    "im2col call": 520.0,
    "im2col row": 10.0,
    # Around the GEMM microkernel: to start a task, to start a tile of one panel, to store one of its vectors, or one of
    # a tile that is cut off.
    "gemm task": 200.0,
    "gemm tile": 12.5,
    "stored vector": 2.19,
    "cut vector": 55.9,
    # Filters in the lanes: to start a task, and a tile; to transpose and store a square of lanes x lanes sums; the same
    # where the output's planes lie whole pages apart (3x224x224 to 64: 150 cycles, Zen 5).
    "channels task": 76.6,
    "channels tile": 10.3,
    "stored square": 290.0,
    "paged square": 430.0,
    # Lanes of several groups: to transpose a square of the input, and to store one of the sums; to start a tile, for
    # each length of its runs of taps; to spread a vector (5 groups of 8, 2 and 4 filters, Emerald Rapids).
    "lanes square": 190.0,
    "stored lanes": 96.0,
    "lanes tile": 29.5,
    "spread vector": 14.0,
    # Pixels in the lanes of one channel and filter: to multiply and add a vector, to read one from the strip, to start
    # a tile (72 depthwise layers on one core, Zen 4, beside lanes of channels); to copy a row whose phases are taken
    # apart, and a vector of one.
    "plane": 0.32,
    "plane load": 1.62,
    "plane tile": 16.0,
    "plane row": 20.0,
    "plane vector": 4.2,
    # Where channels are the last dimension: to copy a pixel of one channel alone, or in a square of pixels and of
    # channels, and to store one of one filter.
    "copied apart": 2.7,
    "copied across": 0.8,
    "stored apart": 3.3,
    # Winograd: to gather the input, and to transform it, in shares of what the driver counts; a transformed vector more
    # where the tiles of a run do not fill whole ones (56x56 took 1.4 times as long as 64x64, Intel Emerald Rapids); to
    # transform the output; to start a product, and a run.
    "gathered": 1.01,
    "transformed": 1.52,
    "straddled": 2.52,
    "transformed back": 1.65,
    "winograd product": 53.3,
    "winograd run": 1300.0,
    # What lies beyond a core's own cache and, further, beyond the last: to read a vector of the input, and what that
    # costs more in place; to read a vector of weights, and of what a task has written; to store a run of one filter's
    # pixels, and a longer one where filters are in the lanes.
    "near vector": 1.6,
    "far vector": 3.01,
    "near in place": 1.73,
    "far in place": 0.92,
    "near weights": 1.26,
    "far weights": 6.84,
    "near block": 5.16,
    # Where threads share Winograd's transformed tiles: for each vector of them, which another core has read last, and
    # to wait for each other. Next to nothing here, where it is among what is paid for reading a block.
    "shared vector": 0.1,
    "shared start": 1000.0,
    "near run": 3.49,
    "far run": 46.4,
    "near burst": 11.6,
    "far burst": 89.2,
}
(
    GEMM, FEW, CHANNELS, NARROW, LANES, WINOGRAD, WINOGRAD_NARROW, WINOGRAD_HALF, COPIED_VECTOR, STRIDED_VECTOR,
    CHANNELS_ROW, PIXELS_ROW, IM2COL_RUN, IM2COL_VECTOR, PAGE, PAGE_IN_PLACE, PIXELS_STRIP_ROW, IM2COL_CALL, IM2COL_ROW,
    GEMM_TASK, GEMM_TILE, STORED_VECTOR, CUT_VECTOR, CHANNELS_TASK, CHANNELS_TILE, STORED_SQUARE, PAGED_SQUARE,
    LANES_SQUARE, STORED_LANES, LANES_TILE, SPREAD_VECTOR, PLANE, PLANE_LOAD, PLANE_TILE, PLANE_ROW, PLANE_VECTOR,
    COPIED_APART, COPIED_ACROSS, STORED_APART, GATHERED, TRANSFORMED, STRADDLED, TRANSFORMED_BACK, WINOGRAD_PRODUCT,
    WINOGRAD_RUN, NEAR_VECTOR, FAR_VECTOR, NEAR_IN_PLACE, FAR_IN_PLACE, NEAR_WEIGHTS, FAR_WEIGHTS, NEAR_BLOCK,
    SHARED_VECTOR, SHARED_START, NEAR_RUN, FAR_RUN, NEAR_BURST, FAR_BURST,
) = range(len(EMERALD_RAPIDS))  # fmt: skip
#: The same on a CPU that multiplies 64 bytes at once in two halves: beside these, all else costs 0.6 of the above.
#: Fitted by ``calibration.fit`` to 260 of its random layers, 130 others with strides, and compare.py's. Of 130 and 60
#: more, 96.9 and 95.0% are within 10% of the best, and on average 1.0 and 1.1% of the time is lost; by the prices above
#: 89.2 and 81.7%, and 2.7 and 4.5% (Zen 4, one core, float32). Of 69 random layers with their channels last, 98.6% are
#: within 10%, and 0.4% is lost. Of 315 of 2 to 7 taps along an axis, half of them with stride 2, 96.8% are within 10%
#: and 1.0% is lost; with 1.78 for what a task has written, as first fitted, 94.6% and 1.4%. On two threads, 93.7% and
#: 1.5%, 91.1% and 2.3% if sharing cost nothing: 326 layers took 8 and 6.8e4 more for it, of which these are half.
#: For WINOGRAD_NARROW and WINOGRAD_HALF 0.823 and 0.621 were fitted, before several panels were multiplied at a time:
#: of 130 layers of up to 26x26 with up to 512 channels, 99.2% are within 10% with these and 0.2% is lost, with those
#: 96.1 and 0.6%. For CHANNELS and PAGE_IN_PLACE 0.776 and 0.45, before CHANNEL_DEPTH was 512: of 200 layers of 1x1,
#: 99.5% are within 10% with these and 0.3% is lost, with those 98.1 and 0.65%; of 150 of 2x2 to 7x7, half of them with
#: stride 2, 99.4% and 0.1%.
ZEN4: Final = dict(zip(EMERALD_RAPIDS, (
    0.802, 0.845, 0.74, 0.804, 0.472, 0.756, 0.74, 0.58, 4.76, 11.1, 9.39, 2.99, 3.36, 3.97, 3.79, 0.2, 22.8, 120.0,
    5.45, 108.0, 7.63, 1.73, 21.8, 44.2, 5.8, 140.0, 229.0, 96.2, 51.2, 16.0, 6.17, 0.201, 1.33, 11.8, 7.82, 2.21, 1.6,
    0.5, 2.0, 0.686, 0.588, 1.36, 0.763, 29.6, 672.0, 1.12, 2.17, 0.951, 0.517, 0.784, 3.29, 0.2, 4.0, 3e4, 2.24,
    23.2, 6.08, 36.8,
), strict=True))  # fmt: skip
#: The same of AVX2, whose vectors are half as long: fitted to 400 layers of ``calibration.layer``. Of those that were
#: not fitted, a fourth at a time, 93.8% are within 10% of the best, and on average 1.9% of the time is lost; by the
#: prices of Emerald Rapids 83.5 and 6.0%. Of Winograd's tiles 0.964 was fitted, and 4.4 for weights beyond the last
#: cache, which few of these have: 512 channels of 7x7 took 1.7 times as long, and of the 400 as many are within 10%
#: with these (AVX2 on Zen 4, one core, float32).
AVX2: Final = dict(zip(EMERALD_RAPIDS, (
    0.802, 1.09, 0.813, 1.35, 0.595, 0.85, 1.3, 0.852, 6.35, 15.3, 12.9, 4.09, 5.56, 5.5, 5.05, 0.624, 31.2, 186.0,
    7.65, 150.0, 11.7, 3.41, 32.9, 60.4, 7.65, 93.0, 242.0, 80.6, 59.6, 20.5, 8.46, 0.286, 2.16, 18.0, 10.6, 3.15, 2.19,
    0.686, 2.74, 1.06, 1.22, 2.22, 1.29, 43.5, 920.0, 1.58, 3.07, 1.3, 0.706, 1.07, 1.5, 0.276, 5.49, 4.1e4, 3.42,
    29.9, 8.04, 49.2,
), strict=True))  # fmt: skip
#: What one thread does not pay.
OF_SEVERAL_THREADS: Final = (SHARED_VECTOR, SHARED_START)
#: The prices of this CPU, as far as it is known, and vector multiply-adds per second.
DEFAULTS, RATE = EMERALD_RAPIDS, 4.3e9
if VECTOR_BYTES == 32:
    DEFAULTS, RATE = AVX2, 5.36e9
elif (CPU, VECTOR_BYTES) == ("znver4", 64):
    DEFAULTS, RATE = ZEN4, 2.75e9
USUAL: Final[Prices] = tuple(DEFAULTS.values())
