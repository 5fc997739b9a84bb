"""Names for the slots of the ``geometry`` vector that every convolution kernel takes.

A kernel that took each size, stride and padding by itself would have forty arguments, and Numba would
spend longer unboxing them than a small convolution takes. So they travel in one ``int64`` array, made
once per plan (``planner.geometry_list``, a driver's ``block``, ``executable.executable``), and a kernel
reads ``geometry[OUT_W]``. The names are module constants: Numba freezes them, so a read costs one load.

Every kernel sees three spatial dimensions, depth, height and width; those that a problem lacks have size 1.
Strides of arrays are counted in elements, and so are the starts of arrays within their flat views.
"""

from __future__ import annotations

from typing import Final

# The problem.
BATCH: Final = 0
GROUPS: Final = 1
CHANNELS: Final = 2  # input channels of one group
FILTERS: Final = 3  # output channels of one group
IN_D: Final = 4
IN_H: Final = 5
IN_W: Final = 6
KERNEL_D: Final = 7
KERNEL_H: Final = 8
KERNEL_W: Final = 9
OUT_D: Final = 10
OUT_H: Final = 11
OUT_W: Final = 12
STRIDE_D: Final = 13
STRIDE_H: Final = 14
STRIDE_W: Final = 15
DILATION_D: Final = 16
DILATION_H: Final = 17
DILATION_W: Final = 18
PAD_D: Final = 19  # cells before the first one; what lies behind the last follows from OUT_*
PAD_H: Final = 20
PAD_W: Final = 21
PAD_MODE: Final = 22  # one of the PAD_* codes below
FINISH: Final = 23  # one of the FINISH_* codes below
CHANNELS_LAST: Final = 24  # 1 where the problem's arrays have the channels as their last dimension

# The arrays.
X_START: Final = 25
X_BATCH: Final = 26
X_CHANNEL: Final = 27
X_D: Final = 28
X_H: Final = 29
X_W: Final = 30
OUT_START: Final = 31
OUT_BATCH: Final = 32
OUT_CHANNEL: Final = 33
OUT_STRIDE_D: Final = 34
OUT_STRIDE_H: Final = 35
OUT_STRIDE_W: Final = 36
OUT_DENSE: Final = 37  # 1 where the pixels of a channel lie one behind the other

# The blocking, the same for every algorithm.
MR: Final = 38  # filters of a register tile
NR: Final = 39  # columns of a register tile
PANELS: Final = 40  # panels of MR filters in a group
PANEL_SPLIT: Final = 41  # tasks that share the panels of one block of pixels
CHANNEL_BLOCK: Final = 42  # channels summed before the result goes back to memory
BIAS_START: Final = 43  # where the bias lies in the packed weights
PACKED: Final = 44  # elements of the packed weights
TILE_START: Final = 45  # where the spare output tile lies in a thread's scratch
SCRATCH: Final = 46  # elements of scratch of one thread
TASKS: Final = 47
PITCH: Final = 48  # elements between two rows of the packed block

SHARED: Final = 49  # elements of scratch that all threads fill together before the tasks start

# The blocking of single algorithms.
BLOCK: Final = 50  # im2col: tiles of pixels of one task
BLOCK_ROWS: Final = 50  # direct: output rows of one task
BLOCK_COLUMNS: Final = 51  # direct: output columns of one task
TILES_FIRST: Final = 68  # direct, pixels: 1 where a panel is multiplied by all tiles of a run before the next one is
STRIP_ROWS: Final = 52  # direct: rows of a strip (of one phase of it, where pixels are in the lanes)
ROW_TILES: Final = 53  # direct, pixels: 1 where tiles start anew in every row, 0 where they run on through the rows
LANE_FILTERS: Final = 54  # direct, channels: filters of a group where lanes belong to several groups, else 0
BLOCK_GROUPS: Final = 54  # direct, pixels: groups of one task where each has one channel and one filter, else 0
LINE_STEP: Final = 55  # direct, channels: rows of the strip between two output rows
STRIP: Final = 56  # direct, channels: elements of a strip
STRIP_CHANNEL: Final = 57  # direct: elements between two channels of a strip (pixels: two planes, one for each phase)
STRIP_DEPTH: Final = 58  # direct, channels: elements between two taps of depth of a strip
CHUNK: Final = 59  # direct, channels: pixels of a block that are summed before they are stored
WHOLE: Final = 60  # direct, channels: 1 where a block is a whole image, and its padding zeros that stay in the strip
STRIP_STEP: Final = 59  # direct, pixels: elements between the strips of two such groups
SEGMENTS: Final = 61  # direct, channels: runs of 7 taps in a kernel row; then those of 5, of 3 and single taps
#                     direct, pixels: as many runs of each of COLUMN_RUNS, where BLOCK_GROUPS is not 0
PIXELS_START: Final = 65  # direct, channels: where the block's pixels lie in the table of rows
ORDER_START: Final = 66  # direct, channels: where the order of the taps lies in the table of rows
TILES_START: Final = 67  # direct, channels: where the tiles' first pixels lie in the table of rows
CELLS_START: Final = 68  # direct, channels: where the strip's cells of an image's pixels, or of a row, lie there
FINITE_START: Final = 69  # direct, channels: where the packed weights say which panels are finite
SPREAD: Final = 70  # direct, channels: 1 where a panel's channels are copied once and spread over the lanes
BLOCK_DEPTHS: Final = 71  # direct, channels: output depths of one task, whole ones where there are several
RAW_START: Final = 50  # winograd: where the untransformed weights lie in the packed weights
WEIGHT_STEP: Final = 51  # winograd: elements between two matrices of weights
INPUT_STEP: Final = 52  # winograd: the same of transformed tiles
TILE_H: Final = 53  # winograd: outputs m of a tile; then those along the width
TILE_W: Final = 54
TAPS_H: Final = 55  # winograd: taps r that a transform takes; then those along the width
TAPS_W: Final = 56
PIECES_H: Final = 57  # winograd: pieces of r taps that the kernel is cut into; then those along the width
PIECES_W: Final = 58
DOWN: Final = 59  # winograd: tiles along the height of one phase; then along its width, of COLUMNS whole vectors
ACROSS: Final = 60
RUN_GROUPS: Final = 61  # winograd: runs of neighbouring tiles that a vector may hold
GATHERED_STEP: Final = 63  # winograd: elements between the rows gathered for two channels
GATHERED_START: Final = 64  # winograd: where these rows lie in a thread's scratch, behind the sums
TABLE_START: Final = 65  # winograd: where the table of runs lies there
PLAIN_START: Final = 67  # winograd: where untransformed tiles lie there
FUNCTIONS: Final = 68  # winograd: where the addresses of the transforms lie in the table of rows
PLAIN_PITCH: Final = 69  # winograd: elements between two rows of untransformed tiles
PLAIN_STEP: Final = 70  # winograd: the same of their channels
MATRICES_START: Final = 71  # winograd: where a thread's scratch holds the panels that its task has transformed

# The weight (G * F, C, KD, KH, KW), as it is packed from.
WEIGHT_START: Final = 72
WEIGHT_FILTER: Final = 73
WEIGHT_CHANNEL: Final = 74
WEIGHT_D: Final = 75
WEIGHT_H: Final = 76
WEIGHT_W: Final = 77
WEIGHT_DENSE: Final = 78  # 1 where the weights of a filter lie one behind the other

# What the planner tells the drivers.
LENIENCY: Final = 79  # one of the TILES_* codes below
REPACKED: Final = 80  # 1 where the weights are packed for every call
TRANSFORM: Final = 81  # winograd: 1 and the number of its tile in the table of them, otherwise 0
UNPACKED: Final = 82  # panels of weights that a task packs at a time, 0 where they are packed before
PANEL_START: Final = 83  # where a thread's scratch holds them
MASKS_START: Final = 84  # winograd: where a thread's scratch notes the spoiled tiles
TOGETHER: Final = 85  # panels that tiles of pixels, winograd: a matrix of tiles, are multiplied by at a time
ABREAST: Final = 86  # winograd: blocks of tiles that a matrix of weights is multiplied by at a time
SIZES_START: Final = 87  # winograd: where a thread's scratch holds what its calls of a transform have in common

# Where the filters of a pointwise convolution are a transposed one's taps, otherwise 0; see kernels.woven.
WEAVE_WIDTH: Final = 88  # pixels of a row of the input
WEAVE_ROWS: Final = 89  # rows of taps
WEAVE_STEP: Final = 90  # elements between two rows of the output

IN_PLACE: Final = 91  # direct, channels: 1 where the input is read where it is, and not from strips
BESIDE: Final = 92  # winograd: blocks that have one more tile beside their NR
COLUMN_STEP: Final = 93  # direct, channels: columns of the strip between two output columns
SUMS_PITCH: Final = 94  # winograd: elements between the sums of two filters
SUMS_STEP: Final = 95  # winograd: elements between the sums of two places
POINTS: Final = 96  # winograd: places of a transformed tile
PRODUCTS: Final = 97  # winograd: products that are summed at each of them, at most
TILES: Final = 98  # winograd: tiles of all images, output depths and phases
BLOCKS: Final = 99  # winograd: blocks of tiles of a group
RAW_SIZE: Final = 100  # winograd: elements of a panel of untransformed weights
BUFFER_PITCH: Final = 101  # winograd: elements between two rows of a filter's outputs in a thread's scratch
TAPS: Final = 102  # direct, channels: neighbouring taps that tiles of neighbours may sum together
VECTORS: Final = 103  # direct, channels: filters of a panel in vectors
IMAGES: Final = 104  # those that are rows of one, or its pixels: see algorithms.sharing.images_together
PHASES_H: Final = 105  # winograd: phases of the input, one for each column of a stride, that a tap reads; then of width
PHASES_W: Final = 106
PHASE_STEP: Final = 107  # winograd: elements between the rows gathered for two phases along the width
COLUMNS: Final = 108  # winograd: 1 where tiles are columns, whose sums stay in registers: see winograd_columns
WHOLE_START: Final = 109  # winograd: the first product of pieces that are nowhere short: see winograd_pieces
WHOLE_END: Final = 110  # winograd: the first one behind them, of pieces that are short along the height
WIDE_END: Final = 111  # winograd: the first one behind those that are not short along the width
STARTS: Final = 112  # winograd: where the table of rows says where the products of each piece start
LENGTH: Final = 113

# What is read outside the input.
PAD_ZEROS: Final = 0
PAD_REFLECT: Final = 1  # d c b | a b c d | c b a
PAD_REPLICATE: Final = 2  # a a a | a b c d | d d d
PAD_CIRCULAR: Final = 3  # b c d | a b c d | a b c
PAD_SYMMETRIC: Final = 4  # c b a | a b c d | d c b

# What happens to a sum before it is stored.
FINISH_NOTHING: Final = 0  # more channels are still to come
FINISH_BIAS: Final = 1
FINISH_BIAS_RELU: Final = 2

# Which of Winograd's tiles may be chosen.
TILES_ACCURATE: Final = 0  # those that keep "auto"'s promise for as many channels as there are
TILES_STANDARD: Final = 1  # those that keep it for many channels
TILES_ALL: Final = 2
