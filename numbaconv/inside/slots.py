"""Where numbers lie: the arguments of a call, as compiled code passes them, and what a convolution is made of.

A call's arguments travel as records of RECORD words each, one behind the other, and behind them a few words that the
callee writes. A record begins with its kind; what follows depends on it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..algorithms.prices import USUAL
from ..algorithms.winograd_tiling import TILES
from ..kernels.blocking import FEW_TILES
from ..planner import CANDIDATES

# A record.
KIND: Final = 0
COUNT: Final = 1  # dimensions of an array, items of a tuple, characters of a text
VALUE: Final = 2  # the first value; an array's address; the address of a text
ITEMSIZE: Final = 3  # of an array's element; of a text's character
SHAPE: Final = 4
STRIDES: Final = 12  # in bytes
RECORD: Final = 20
MOST_DIMENSIONS: Final = 8

# Kinds of records.
NONE: Final = 0
INTEGER: Final = 1
TUPLE: Final = 2
PAIRS: Final = 3  # COUNT pairs
NAME: Final = 4  # a text that is known when the caller is compiled: NAME_BYTES bytes
TEXT: Final = 5
FLOATING: Final = 6  # the bits of a real and an imaginary part
ARRAY: Final = 7

#: Longer names than this are not known.
NAME_BYTES: Final = 16

# A convolution. Sizes are those of three spatial dimensions, of which those that it lacks come first.
NDIM: Final = 0
BATCH: Final = 1
CHANNELS: Final = 2
FILTERS: Final = 3
GROUPS: Final = 4
SIZE: Final = 5
KERNEL: Final = 8
STEP: Final = 11
BEFORE: Final = 14
AFTER: Final = 17
DILATION: Final = 20
OUT: Final = 23  # spatial size of the output
MODE: Final = 26  # one of the PAD_* codes of kernels.geometry
RELU: Final = 27
ALGORITHM: Final = 28  # an index of planner.ALGORITHMS
PRECISION: Final = 29  # an index of planner.PRECISIONS
LAST: Final = 30  # 1 where the channels come last
BYTES: Final = 31  # of an element
FLOATS: Final = 32  # 1 where elements are floating-point numbers
KERNELS: Final = 33  # the address of the table of kernels
X: Final = 34  # address, then strides in bytes of batch, channels and the spatial dimensions
W: Final = 40  # the same of filters, channels and the spatial dimensions
B: Final = 46  # address or 0, and stride
Y: Final = 48  # address and strides, as X
COMPLEX: Final = 54  # 1 where elements are complex; BYTES are those of a part
PROBLEM: Final = 55

# An adjoint: behind the problem, the spatial size of what it is applied to, and whether the weight is conjugated.
GIVEN: Final = PROBLEM
CONJUGATE: Final = PROBLEM + 3
ADJOINT: Final = PROBLEM + 4

# The values of a call's settings, which are known when the caller is compiled.
NUMBER_NDIM: Final = 0
NUMBER_BYTES: Final = 1
NUMBER_FLOATS: Final = 2
NUMBER_COMPLEX: Final = 3
NUMBER_KERNELS: Final = 4

# The table of a dtype's kernels: addresses, and the bits of floats.
RUN_SERIAL: Final = 0
RUN_PARALLEL: Final = 1
FOLD_SERIAL: Final = 2
FOLD_PARALLEL: Final = 3
WEAVE_SERIAL: Final = 4
WEAVE_PARALLEL: Final = 5
#: For each candidate of the planner the functions that lay out the weights and that do the tasks; both once more for
#: lanes that belong to several groups; and for tasks that lay out the weights themselves.
FUNCTIONS: Final = 6
FUNCTIONS_OF_CANDIDATE: Final = 6
#: The cost models' prices.
PRICES: Final = FUNCTIONS + FUNCTIONS_OF_CANDIDATE * len(CANDIDATES)
#: For each of Winograd's tiles, along the height, the width and both, and as columns, and for 1, 2 and 4 runs of tiles
#: in a vector, the functions that transform inputs, weights and outputs; of columns the last one sums, too.
TRANSFORMS: Final = PRICES + len(USUAL)
TRANSFORMS_OF_TILE: Final = 36
#: What sums Winograd's spoiled tiles.
MEND: Final = TRANSFORMS + TRANSFORMS_OF_TILE * len(TILES)
#: What sums the products of few tiles.
FEW: Final = MEND + 1
KERNELS_LENGTH: Final = FEW + len(FEW_TILES)


def packed(name: str) -> tuple[int, int]:
    """A name as two words."""
    raw = name.encode()
    if len(raw) > NAME_BYTES or not raw.isascii():
        return -1, -1
    raw = raw.ljust(NAME_BYTES, b"\0")
    return int.from_bytes(raw[:8], "little", signed=True), int.from_bytes(raw[8:], "little", signed=True)


def table(names: tuple[str, ...]) -> np.ndarray:
    """Some names, for :func:`numbaconv.inside.arguments.name_index`."""
    return np.array([packed(name) for name in names], np.int64)
