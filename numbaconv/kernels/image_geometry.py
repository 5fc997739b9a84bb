"""Names for the slots of the ``geometry`` vector that the image kernels take; all are ``int64``.

As in :mod:`numbaconv.kernels.geometry`, strides and starts are counted in elements. The last two dimensions of a
problem are its rows and columns. All others are *outer* ones; each has OUTER_LENGTH slots from OUTER on.
"""

from __future__ import annotations

from typing import Final

# The problem: out[h, w] = sum over i, j of weight[i, j] * x[h + i - PAD_H, w + j - PAD_W].
IN_H: Final = 0
IN_W: Final = 1
KERNEL_H: Final = 2
KERNEL_W: Final = 3
OUT_H: Final = 4
OUT_W: Final = 5
PAD_H: Final = 6
PAD_W: Final = 7
PLANES: Final = 8  # output planes: the product of the outer dimensions' sizes
OUTER_TAPS: Final = 9  # the product of the kernel's outer dimensions
OUTER_COUNT: Final = 10  # outer dimensions
FILTERS: Final = 11  # real planes of one output plane: 2 where it is complex
TERMS: Final = 12  # real products that are summed for each of them

# The arrays.
X_H: Final = 13
X_W: Final = 14
OUT_STRIDE_H: Final = 15
OUT_STRIDE_W: Final = 16
MARGIN_H: Final = 17  # where the tables of rows and of columns begin in ``margins``
MARGIN_W: Final = 18

# The blocking.
BAND: Final = 19  # output rows of a task
BLOCK: Final = 20  # output columns of a task
TASKS: Final = 21
READ_INPUT: Final = 22  # 1 where the microkernel can read the input itself: its dtype is that of the sums, X_W is 1
WRITE_OUT: Final = 23  # 1 where the microkernel can write the output itself
PITCH: Final = 24  # elements between two rows of a strip
SUMS_PITCH: Final = 25  # elements between two rows of the sums
SUMS_START: Final = 26  # where the sums begin in a thread's scratch, behind the strip
SCRATCH: Final = 27  # elements of scratch of a thread
RANK: Final = 28  # pairs of 1-D passes; 0: the kernel is summed as it is
LINES_START: Final = 29  # separable: where the rows that the horizontal pass has made begin in the scratch
LINES_PITCH: Final = 30
FACTORS: Final = 31  # separable: where the factors begin in the weights, KERNEL_H + KERNEL_W elements for each rank
X_BYTES: Final = 32  # of an element
OUT_BYTES: Final = 33

# Sums by transforms of tiles: out[tile] = the first rows and columns of a circular correlation of FFT_H x FFT_W cells.
FFT_H: Final = 34
FFT_W: Final = 35
RADICES_H: Final = 36  # of the butterflies, four bits each, the first one's lowest
RADICES_W: Final = 37
FACTORS_H: Final = 38  # addresses of the butterflies' factors
FACTORS_W: Final = 39
LINES: Final = 40  # the address of kernels.fft.fft_lines
SPECTRUM: Final = 41  # where the kernel's spectrum begins in the weights
ROUNDED: Final = 42  # 1 where sums are rounded to integers
TILE: Final = 43  # elements of a tile in a thread's scratch, which begins with two of them
STRIP_START: Final = 44  # behind them: a few rows, transposed
SUMMED_START: Final = 45  # behind these: scratch for outputs that are summed directly
OUTER: Final = 46

# The slots of an outer dimension, from OUTER + OUTER_LENGTH * dimension on.
SIZE: Final = 0  # of the output
TAPS: Final = 1
IN_SIZE: Final = 2
PAD: Final = 3
X_STRIDE: Final = 4
OUT_STRIDE: Final = 5
MARGIN: Final = 6
OUTER_LENGTH: Final = 7

# ``terms`` has, for each filter and term, TERM_LENGTH numbers.
TERM_X: Final = 0  # where its part of the input begins
TERM_WEIGHT: Final = 1  # where its weights begin
TERM_FILL: Final = 2  # which element of ``fill`` surrounds the input
TERM_LENGTH: Final = 3
