"""Winograd's F(m x m', r x r'), fused over blocks of tiles. See :mod:`numbaconv.kernels.winograd`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, Final

import numpy as np

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import BUFFERED, LINE, PACK_SCRATCH, TILE_ROWS, VECTOR_BYTES
from ..problem import ConvProblem
from . import prices as price
from .prices import Prices
from .sharing import (
    FEWEST_TASKS,
    ceil_div,
    lay_out,
    reading,
    reading_block,
    reading_weights,
    split_evenly,
    storing_run,
    taps,
    use_tile,
)

#: (m, r, channels, channels): F(m, r), and from how many channels of a group it keeps "auto"'s promise of 4 times plain
#: float32's RMS error on normal data: along one axis, and along both. 0: never. The first tile keeps it always.
#: docs/accuracy.md has the measurements.
TILES: Final = (
    (2, 3, 1, 1),
    (4, 3, 1, 3),
    (3, 2, 1, 1),
    (5, 2, 2, 12),
    (3, 4, 1, 2),
    (2, 5, 1, 2),
    (4, 5, 8, 0),
    (5, 4, 8, 0),
    (2, 7, 8, 0),
)
#: Longer kernels would be cut into many pieces, whose transformed weights take 4 times their memory.
LONGEST: Final = 12
#: In vector multiply-adds, for one place of a vector of tiles: to transform the input of one channel, and to transform
#: and store the output of one filter; and for each shuffle that takes a column of tiles apart, or puts it together. To
#: copy a vector of the input. Fitted, like what follows, to the layers that :mod:`.sharing` speaks of.
INPUT_POINT = 4.4
INPUT_SHUFFLE = 2.9
OUTPUT_POINT = 8.5
#: To begin with the outputs of one filter and block, which are few where the kernel has one row. Fitted to 45
#: sequences, of which 93.3 and 95.6% (measured twice) are within 10% of the best, without it 88.9 and 93.3% (Emerald
#: Rapids).
OUTPUT_CALL = 60.0
COPY_VECTOR = 7.7
#: To copy one element of a row that dilation takes apart, or puts together; and for each element, within a cache line,
#: that the next one lies away: 12 to 21 in all with dilation 16 and 512, 3 to 10 with 2 (sequences, Emerald Rapids).
COPY_ELEMENT = 2.0
COPY_APART = 0.7
#: To transform the weights of one filter and channel, for each place, 0.47 to 0.51. Larger arrays than malloc keeps are
#: new memory in every call, where tasks do not transform what they need: 512 x 512 kernels took 1.7, and two threads
#: gained less.
WEIGHT_POINT = 0.5
FRESH_BYTES = 2**25
FRESH = 0.45
#: How much longer all of it takes than the parts do by themselves.
SLOWDOWN = 1.07
#: Panels that are multiplied by a place's tiles at a time, and bytes of sums up to which several blocks of tiles are
#: multiplied by them, from LEAST_DEPTH products on and of more than one block. With 1 panel and 1 block, 256 channels
#: at 56x56 and 28x28 took 1.05 to 1.1 times as long, 512 at 28x28 1.02; 64 at 56x56 takes 1.05 times as long with
#: more, since the sums go to L2 (Zen 5). A single block is left to one panel: its weights are read as they lie. The
#: tiles, up to 2 MB, are read from beyond the L2 cache for each group of panels: with 4 panels, 256 channels at 56x56
#: and 64 with 7x7 taps took 1.09 and 1.07 times as long, 32 images of 256x14x14 and 512x7x7 1.07 and 1.09, with 32 as
#: long; 128 channels at 112x112 take 1.04 times as long with any (Emerald Rapids, 2 threads).
TOGETHER = 16
LEAST_DEPTH = 192
SUMS_BYTES = 2**19
#: Tiles up to which those that are left behind blocks of three vectors are multiplied beside these. Each takes a 24th
#: of a block's products, a vector of them a third: with 16 of them, 128 channels at 112x112 took 1.06 times as long
#: (Emerald Rapids).
MOST_BESIDE: Final = 7
#: Blocks of three vectors that an image is cut into at least, and those that have a tile beside them: with more threads
#: than that, some find nothing to do. 64 channels at 72x72 and 76x76 took 0.8 to 0.93 of what blocks of two vectors do
#: on two threads, with 5 blocks 192 channels at 64x64 1.1 times as long (Emerald Rapids).
FEWEST_THREE: Final = 6
FEWEST_WIDE: Final = 4
#: Bytes of the transformed tiles of three vectors up to which a block has so many, where there are several: an L2
#: cache. 256 channels at 56x56 (1.8 MB) took 0.87 of the time so, 512 were not measured (Emerald Rapids).
LARGEST_BLOCK: Final = 2**21
#: Bytes of untransformed weights that a task lays out at a time, at most, where it transforms them and they do not lie
#: filter by filter. Panel by panel, input gradients of 256 channels at 14x14 took 1.15 times as long, and of 512 at 7x7
#: 1.2; with half as many bytes, the latter 1.1 (Zen 5).
UNPACKED_BYTES = 2**20
#: Elements of transformed tiles that all threads may share; and bytes of them from which they do only where there are
#: fewer than FEWEST_BLOCKS blocks, since each panel of filters reads them all, from the L3 cache. Of 3 to 7 blocks a
#: task each, 5x5 taps over 64x56x56, 48x35x35, 64x27x27 in 2 groups and 48x28x28 took 0.45 to 0.75 of the time, 3x3
#: over 64x56x56 (2 MB) 0.58, with dilation 2 0.67 (Emerald Rapids, 2 threads); two blocks as long as before.
SHARED_ELEMENTS = 2**22
SHARED_BYTES = 2**20
FEWEST_BLOCKS = 3


def unsupported(problem: ConvProblem) -> str | None:
    """Why not: Winograd serves kernels of some taps for each phase of the input, in floating-point numbers."""
    if problem.dtype.kind != "f":
        return f"winograd's transforms have fractions, which {problem.dtype} does not"
    kernel, stride, dilation = problem.kernel_size[-2:], problem.stride[-2:], problem.dilation[-2:]
    where = " along height and width" if problem.ndim == 3 else ""
    if max(kernel) == 1:
        return f"winograd saves nothing where the kernel has one tap{where}"
    if max(kernel) > LONGEST:
        size = "x".join(map(str, problem.kernel_size))
        return f"winograd needs a kernel of at most {LONGEST} taps along each axis, this one is {size}"
    if any(s > 1 and d > 1 for s, d in zip(stride, dilation, strict=True)):
        return f"winograd needs stride or dilation 1{where}, these are {problem.stride} and {problem.dilation}"
    if all(k <= s for k, s in zip(kernel, stride, strict=True)):
        return f"winograd saves nothing where no input is read by two outputs{where}: the stride is {problem.stride}"
    return None


def _taps(geometry: MutableSequence[int], axis: int) -> int:
    """Taps along the height or the width that read the first phase of the input; no other one is read by more."""
    return ceil_div(geometry[at.KERNEL_H + axis], geometry[at.STRIDE_H + axis])


def _fewest_taps(geometry: MutableSequence[int], axis: int) -> int:
    """The same of the last phase that is read."""
    return max(1, geometry[at.KERNEL_H + axis] // geometry[at.STRIDE_H + axis])


def _fits(geometry: MutableSequence[int], number: int) -> bool:
    """Whether a tile may be used: it must be accurate enough, and not be for longer kernels."""
    _, r, one_axis, two_axes = TILES[number]
    high, wide = _taps(geometry, 0), _taps(geometry, 1)
    # The phases of a stride are cut into pieces alike.
    if any(ceil_div(_taps(geometry, axis), r) != ceil_div(_fewest_taps(geometry, axis), r) for axis in range(2)):
        return False
    least = two_axes if high > 1 and wide > 1 else one_axis
    if r > max(high, wide, 3) or (r == 2 and max(high, wide) > 2):  # the latter would take twice the products
        return False
    if geometry[at.LENIENCY] == at.TILES_ALL:
        return True
    # The fewer taps a kernel has, the smaller the error of a plain loop: F(4x4, 3x3) reached 4.5 times it with 3
    # channels and kernels of 2x2.
    shortest = min(high if high > 1 else wide, wide if wide > 1 else high)
    channels = geometry[at.CHANNELS] if shortest >= r else geometry[at.CHANNELS] // 4
    return least > 0 and (geometry[at.LENIENCY] == at.TILES_STANDARD or channels >= least or number == 0)


def _set_tile(geometry: MutableSequence[int], itemsize: int, number: int) -> None:
    """Fill the slots that follow from the tile, which serves every axis with more than one tap."""
    for axis in range(2):
        taps_of_phase = _taps(geometry, axis)
        m, r = (TILES[number][0], TILES[number][1]) if taps_of_phase > 1 else (1, 1)
        phase = ceil_div(geometry[at.OUT_H + axis], geometry[at.DILATION_H + axis])
        geometry[at.TILE_H + axis] = m
        geometry[at.TAPS_H + axis] = r
        geometry[at.PIECES_H + axis] = ceil_div(taps_of_phase, r)
        geometry[at.PHASES_H + axis] = min(geometry[at.STRIDE_H + axis], geometry[at.KERNEL_H + axis])
        geometry[at.DOWN + axis] = ceil_div(phase, m)
    lanes = VECTOR_BYTES // itemsize
    # Neighbouring tiles fill a vector, or half of one, or a quarter.
    across = geometry[at.ACROSS]
    groups = 1
    while groups < 4 and across <= lanes // (2 * groups) and 2 * groups <= lanes:
        groups *= 2
    geometry[at.RUN_GROUPS] = groups


def _points(geometry: MutableSequence[int]) -> int:
    """Places of a transformed tile."""
    high = geometry[at.TILE_H] + geometry[at.TAPS_H] - 1
    return high * (geometry[at.TILE_W] + geometry[at.TAPS_W] - 1)


def _tiles(geometry: MutableSequence[int]) -> int:
    """Tiles of all images, output depths and phases, numbered through."""
    phases = geometry[at.OUT_D] * geometry[at.DILATION_H] * geometry[at.DILATION_W]
    return geometry[at.BATCH] * phases * geometry[at.DOWN] * geometry[at.ACROSS]


def _columns(geometry: MutableSequence[int], itemsize: int) -> int:
    """NR, the tiles of a block: two vectors, one where there are no more; three where few are left, or blocks many.

    An image of 28x28 has 49 tiles, one of 56x56 four times as many: three vectors and one BESIDE for each block. Larger
    blocks read the weights less often, and four of them leave no thread waiting, as six and a small one do: 64 to 256
    channels at 56x56 took 0.87 of the time on two threads and 0.93 on one, at 224x224 0.93 (Emerald Rapids).
    """
    lanes = VECTOR_BYTES // itemsize
    tiles = _tiles(geometry)
    if tiles <= lanes:
        return lanes
    whole, left = divmod(tiles, 3 * lanes)
    if whole == 0:
        three = 2 * left > 5 * lanes
    elif whole == 1:
        three = left <= lanes // 2
    else:
        size = _points(geometry) * _depth(geometry) * 3 * lanes * itemsize
        three = whole >= FEWEST_THREE or (whole >= FEWEST_WIDE and left <= min(whole, MOST_BESIDE))
        three = three and size <= LARGEST_BLOCK
    return 3 * lanes if three and VECTOR_BYTES == 64 else 2 * lanes


def _beside(geometry: MutableSequence[int], itemsize: int) -> int:
    """Blocks of three vectors that have one more tile beside them: those that are left, where they are so few."""
    nr = _columns(geometry, itemsize)
    whole, left = divmod(_tiles(geometry), nr)
    return left if nr * itemsize == 3 * VECTOR_BYTES and left <= min(whole, MOST_BESIDE) else 0


def _blocks(geometry: MutableSequence[int], itemsize: int) -> int:
    """Blocks of tiles of a group."""
    nr = _columns(geometry, itemsize)
    return _tiles(geometry) // nr if _beside(geometry, itemsize) else ceil_div(_tiles(geometry), nr)


def _depth(geometry: MutableSequence[int]) -> int:
    """Products that are summed at each place: one for each channel, phase of the input and piece of the kernel."""
    return geometry[at.CHANNELS] * geometry[at.KERNEL_D] * _phases(geometry) * _pieces(geometry)


def _phases(geometry: MutableSequence[int]) -> int:
    """Phases of the input that a stride makes, of both axes."""
    return geometry[at.PHASES_H] * geometry[at.PHASES_W]


def _pieces(geometry: MutableSequence[int]) -> int:
    """Pieces that the kernel, or a phase's taps of it, is cut into."""
    return geometry[at.PIECES_H] * geometry[at.PIECES_W]


def _split(geometry: MutableSequence[int], itemsize: int) -> int:
    """Tasks that share the panels of a group."""
    panels = ceil_div(geometry[at.FILTERS], TILE_ROWS)
    return split_evenly(panels, geometry[at.GROUPS]) if _shared(geometry, itemsize) else 1


def _deep(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether several panels may be multiplied by a place's tiles at a time."""
    return _depth(geometry) >= LEAST_DEPTH and _tiles(geometry) > _columns(geometry, itemsize)


def _together(geometry: MutableSequence[int], itemsize: int) -> int:
    """Panels that are multiplied by a place's tiles at a time."""
    of_task = ceil_div(ceil_div(geometry[at.FILTERS], TILE_ROWS), _split(geometry, itemsize))
    return min(TOGETHER, of_task) if _deep(geometry, itemsize) else 1


def _runs(geometry: MutableSequence[int], itemsize: int) -> int:
    """Runs of neighbouring tiles that a block may have."""
    nr = _columns(geometry, itemsize)
    return min(nr, ceil_div(nr - 1, geometry[at.ACROSS]) + 1) + min(1, _beside(geometry, itemsize))


def _shared(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether all tasks share the transformed tiles: where there are few blocks for the threads."""
    blocks = geometry[at.GROUPS] * _blocks(geometry, itemsize)
    elements = blocks * _points(geometry) * _depth(geometry) * _columns(geometry, itemsize)
    if blocks >= FEWEST_TASKS or elements > SHARED_ELEMENTS:
        return False
    return blocks < FEWEST_BLOCKS or elements * itemsize <= SHARED_BYTES


def _shuffles(m: int) -> int:
    """Shuffles of each vector that take m columns apart, or put them together."""
    shuffles = 0
    while m % 2 == 0:
        m //= 2
        shuffles += 1
    return shuffles + m - 1


def _vectors(geometry: MutableSequence[int], itemsize: int) -> tuple[int, int, int]:
    """Vectors of tiles that microkernels multiply: several at a time, one, half of one; not the tiles beside them."""
    lanes = VECTOR_BYTES // itemsize
    nr = _columns(geometry, itemsize)
    if _beside(geometry, itemsize):
        return _tiles(geometry) // nr * 3, 0, 0
    whole = ceil_div(_tiles(geometry), nr) - 1
    rest = _tiles(geometry) - whole * nr
    wide, narrow, half = whole * nr // lanes, 0, 0
    if nr == lanes:
        wide, narrow = 0, wide
    if rest > (lanes + lanes // 2 if VECTOR_BYTES == 64 else lanes):
        wide += 3 if rest > 2 * lanes else 2
    elif rest > lanes // 2 or VECTOR_BYTES < 64:
        narrow += 1
        half = int(rest > lanes)
    else:
        half = 1
    return wide, narrow, half


def _tile_cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """:func:`cost` with the tile that has been set."""
    lanes = VECTOR_BYTES // itemsize
    nr = _columns(geometry, itemsize)
    tiles, points, depth = _tiles(geometry), _points(geometry), _depth(geometry)
    blocks, beside = ceil_div(tiles, nr), _beside(geometry, itemsize)
    panels = ceil_div(geometry[at.FILTERS], TILE_ROWS)
    wide, narrow, half = _vectors(geometry, itemsize)
    width = wide + narrow + (half + beside) / 2
    products = (wide + beside / TILE_ROWS) * prices[price.WINOGRAD] + narrow * prices[price.WINOGRAD_NARROW]
    products = depth * TILE_ROWS * (products + half * prices[price.WINOGRAD_HALF])
    products += blocks * prices[price.WINOGRAD_PRODUCT]
    products *= points * panels
    runs = ceil_div(tiles, geometry[at.ACROSS])
    group = lanes // geometry[at.RUN_GROUPS]
    vectors = runs * ceil_div(geometry[at.ACROSS], group) / geometry[at.RUN_GROUPS]
    lines = geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1
    row = geometry[at.TILE_W] * geometry[at.ACROSS] + geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    copies = lines * ceil_div(row, lanes) * COPY_VECTOR
    apart = COPY_ELEMENT + COPY_APART * min(geometry[at.DILATION_W], LINE)
    if geometry[at.DILATION_W] > 1:
        copies = lines * row * apart
    elif geometry[at.STRIDE_W] > 1:
        copies += lines * ceil_div(row, lanes) * INPUT_SHUFFLE * _shuffles(geometry[at.STRIDE_W])
    copies *= _phases(geometry)
    shuffles = _shuffles(geometry[at.TILE_W])
    transforms = depth * points * vectors * (INPUT_POINT + INPUT_SHUFFLE * shuffles)
    straddled = depth * points * vectors * int(geometry[at.ACROSS] % group != 0)
    gathered = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * runs * copies
    outputs = width * points * (OUTPUT_POINT + shuffles) + blocks * OUTPUT_CALL + runs * geometry[at.TILE_H] * 4
    if geometry[at.DILATION_W] > 1:
        outputs += tiles * geometry[at.TILE_H] * geometry[at.TILE_W] * apart
    stored = blocks * _runs(geometry, itemsize) * geometry[at.TILE_H] * storing_run(geometry, itemsize, prices)
    total = transforms * prices[price.TRANSFORMED] + straddled * prices[price.STRADDLED]
    total += gathered * prices[price.GATHERED] + geometry[at.FILTERS] * outputs * prices[price.TRANSFORMED_BACK]
    total += products + runs * prices[price.WINOGRAD_RUN]
    total = geometry[at.GROUPS] * (total * SLOWDOWN + geometry[at.FILTERS] * stored)
    weights = float(panels * TILE_ROWS * depth * points * itemsize)
    block = float(points * depth * nr * itemsize)
    times = ceil_div(panels, _together(geometry, itemsize))
    total += geometry[at.GROUPS] * blocks * reading_block(block, times + 1.0, prices)
    times = 1 if _shared(geometry, itemsize) else blocks
    total += geometry[at.GROUPS] * times * reading_weights(weights, prices)
    return total + reading(geometry, itemsize, prices)


def _pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """:func:`pack_cost` with the tile that has been set."""
    places = float(geometry[at.GROUPS] * geometry[at.FILTERS] * _depth(geometry) * _points(geometry))
    fresh = places * itemsize > FRESH_BYTES and not _shared(geometry, itemsize)
    return places * (WEIGHT_POINT + (itemsize * FRESH if fresh else 0.0))


def _choose(geometry: MutableSequence[int], itemsize: int) -> None:
    """Set the allowed tile of the least cost, the same whatever a calibration finds."""
    best, chosen = np.inf, -1
    for number in range(len(TILES)):
        if _fits(geometry, number):
            _set_tile(geometry, itemsize, number)
            total = _tile_cost(geometry, itemsize, price.USUAL)
            if geometry[at.REPACKED] != 0:
                total += _pack_cost(geometry, itemsize)
            if total < best:
                best, chosen = total, number
    _set_tile(geometry, itemsize, chosen)
    geometry[at.TRANSFORM] = 1 + chosen


def cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Products of whole vectors of tiles, and the transforms; of the cheapest tile."""
    _choose(geometry, itemsize)
    return _tile_cost(geometry, itemsize, prices)


def pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """The transforms of all kernels, by the cheapest tile."""
    _choose(geometry, itemsize)
    return _pack_cost(geometry, itemsize)


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of one block of NR tiles or, where all tasks share them, of some panels of filters."""
    _choose(geometry, itemsize)
    nr = _columns(geometry, itemsize)
    lanes = VECTOR_BYTES // itemsize
    use_tile(geometry, TILE_ROWS, nr)
    points, depth = _points(geometry), _depth(geometry)
    shared = _shared(geometry, itemsize)
    runs = _runs(geometry, itemsize)
    beside = _beside(geometry, itemsize)
    longest = min(nr, geometry[at.ACROSS])
    group = lanes // geometry[at.RUN_GROUPS]
    panels = geometry[at.GROUPS] * geometry[at.PANELS]
    m, reach = geometry[at.TILE_W], geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    lines = geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1
    # A transform reads all lanes of a group of tiles, and as many columns as whole multiples of m.
    width = m * ceil_div(longest, group) * group + ceil_div(geometry[at.TAPS_W] - 1, m) * m + reach
    pitch = nr + (lanes if beside else 0)
    geometry[at.CHANNEL_BLOCK] = geometry[at.CHANNELS]
    # Behind the columns of a phase, copies write up to two vectors.
    beyond = 2 * lanes if geometry[at.STRIDE_W] > 1 else 0
    geometry[at.PITCH] = ceil_div(width + beyond, LINE) * LINE
    geometry[at.RUN_STEP] = lines * geometry[at.PITCH]
    # Without the odd lines, what a transform writes, and what lies in neighbouring channels, is often 4 KiB apart and
    # shares one set of the L1 cache: transforming 512 x 512 kernels took 16 cycles for each weight then, and takes 10
    # now, most of them for new memory; 256 x 256 take 2.2 (Zen 4).
    geometry[at.PHASE_STEP] = runs * geometry[at.RUN_STEP]
    geometry[at.GATHERED_STEP] = geometry[at.PHASES_W] * geometry[at.PHASE_STEP] + LINE
    geometry[at.WEIGHT_STEP] = depth * TILE_ROWS + LINE
    geometry[at.INPUT_STEP] = depth * nr + (ceil_div(depth, LINE) * LINE if beside else 0) + LINE
    geometry[at.POINTS] = points
    geometry[at.PRODUCTS] = depth
    geometry[at.TILES] = _tiles(geometry)
    geometry[at.BLOCKS] = _blocks(geometry, itemsize)
    geometry[at.RAW_SIZE] = TILE_ROWS * geometry[at.CHANNELS] * taps(geometry)
    geometry[at.BUFFER_PITCH] = m * pitch + LINE
    geometry[at.BESIDE] = beside
    geometry[at.SUMS_PITCH] = pitch
    geometry[at.SUMS_STEP] = step = TILE_ROWS * pitch + LINE
    weights = panels * points * geometry[at.WEIGHT_STEP]
    transformed = points * geometry[at.INPUT_STEP]
    in_task = ceil_div(geometry[at.PANELS], _split(geometry, itemsize))
    geometry[at.TOGETHER] = _together(geometry, itemsize)
    abreast = SUMS_BYTES // (geometry[at.TOGETHER] * points * step * itemsize)
    blocks_of_task = geometry[at.BLOCKS] if shared else 1
    geometry[at.ABREAST] = max(1, min(blocks_of_task, abreast)) if _deep(geometry, itemsize) else 1
    sums = geometry[at.TOGETHER] * geometry[at.ABREAST] * points * step
    gathered = max(BUFFERED * geometry[at.GATHERED_STEP], geometry[at.TILE_H] * geometry[at.BUFFER_PITCH])
    integers = max(3 * (nr + 8), 4 * (nr + 1))
    masks = in_task * TILE_ROWS * blocks_of_task
    geometry[at.PLAIN_PITCH] = ceil_div(m * longest + reach, LINE) * LINE
    geometry[at.PLAIN_STEP] = _phases(geometry) * runs * lines * geometry[at.PLAIN_PITCH]
    geometry[at.GATHERED_START] = sums
    geometry[at.TABLE_START] = sums + gathered
    geometry[at.SIZES_START] = geometry[at.TABLE_START] + ceil_div(integers * 8 // itemsize, LINE) * LINE
    geometry[at.MASKS_START] = geometry[at.SIZES_START] + 2 * LINE
    geometry[at.PLAIN_START] = geometry[at.MASKS_START] + ceil_div(masks * 8 // itemsize, LINE) * LINE
    # Vectors that begin in the last row may end behind it.
    own = geometry[at.PLAIN_START] + geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.PLAIN_STEP] + m * nr
    blocks = geometry[at.GROUPS] * geometry[at.BLOCKS]
    if shared:
        lay_out(geometry, geometry[at.GROUPS], own, weights, _split(geometry, itemsize))
        geometry[at.SHARED] = blocks * transformed
        geometry[at.TILE_START] = own
    else:
        lay_out(geometry, blocks, own + transformed, weights, 1)
        geometry[at.SHARED] = 0
        geometry[at.TILE_START] = own
    # Behind the bias lie the weights as they were, for what is summed directly.
    geometry[at.RAW_START] = geometry[at.PACKED]
    geometry[at.PACKED] += panels * geometry[at.RAW_SIZE]
    geometry[at.FUNCTIONS] = depth + geometry[at.CHANNELS] * taps(geometry)


def pack_in_tasks(geometry: MutableSequence[int], itemsize: int) -> None:
    """Let the tasks transform the weights, where no two of them need the same."""
    if geometry[at.SHARED] == 0:
        return
    raw = geometry[at.RAW_SIZE]
    task = ceil_div(geometry[at.PANELS], geometry[at.PANEL_SPLIT])
    geometry[at.UNPACKED] = max(geometry[at.TOGETHER], min(task, UNPACKED_BYTES // (raw * itemsize)))
    geometry[at.MATRICES_START] = geometry[at.SCRATCH]
    panels = geometry[at.TOGETHER] * geometry[at.POINTS] * geometry[at.WEIGHT_STEP]
    geometry[at.PANEL_START] = geometry[at.SCRATCH] + panels
    end = geometry[at.PANEL_START] + geometry[at.UNPACKED] * raw + PACK_SCRATCH
    geometry[at.SCRATCH] = ceil_div(end, LINE) * LINE


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row k of a transformed block, k * NR; the places of untransformed cells by (c, kd, kh, kw); addresses."""
    nr = geometry[at.NR]
    sizes = (geometry[at.CHANNELS], *geometry[at.KERNEL_D : at.KERNEL_W + 1])
    c, d, h, w = np.ix_(*(np.arange(size, dtype=np.int64) for size in sizes))
    down, ph = np.divmod(h, geometry[at.STRIDE_H])
    across, pw = np.divmod(w, geometry[at.STRIDE_W])
    phase_step = geometry[at.PLAIN_STEP] // _phases(geometry)
    plain = (d * geometry[at.CHANNELS] + c) * geometry[at.PLAIN_STEP] + down * geometry[at.PLAIN_PITCH] + across
    plain = plain + (ph * geometry[at.PHASES_W] + pw) * phase_step
    functions = [function.address for function in prepare(geometry, itemsize)]
    places = np.arange(geometry[at.PRODUCTS], dtype=np.int64) * nr
    return np.concatenate([places, plain.reshape(-1), [*functions, _completed.get(itemsize, 0)]])


def prepare(geometry: MutableSequence[int], itemsize: int) -> tuple[Any, Any, Any]:
    """Begin to compile the transforms."""
    high, wide = ((geometry[at.TILE_H + axis], geometry[at.TAPS_H + axis]) for axis in range(2))
    return transforms(high, wide, geometry[at.RUN_GROUPS], f"float{8 * itemsize}")


#: Where what sums spoiled tiles lies, by the bytes of an element, as soon as a call has needed it.
_completed: Final[dict[int, int]] = {}


def complete(rows: np.ndarray[Any, np.dtype[np.int64]], itemsize: int) -> None:
    """Compile what sums spoiled tiles directly, and tell the tasks where it lies."""
    rows[-1] = _completed[itemsize] = mending(f"float{8 * itemsize}").address


def mending(dtype: str) -> Any:
    """Begin to compile what sums spoiled tiles directly."""
    return load_module(".kernels.winograd_direct").mending(dtype)


def transforms(high: tuple[int, int], wide: tuple[int, int], groups: int, dtype: str) -> tuple[Any, Any, Any]:
    """Begin to compile the functions that transform inputs, in ``groups`` runs of tiles, weights and outputs.

    F(m, r) along the height and along the width are pairs (m, r).
    """
    simd = load_module(".kernels.winograd_simd")
    tiles = simd.Tile(*high), simd.Tile(*wide)
    return (
        simd.input_transform(*tiles, groups, dtype),
        simd.weight_transform(*tiles, dtype),
        simd.output_transform(*tiles, dtype),
    )


def name(geometry: MutableSequence[int]) -> str:
    """The chosen tile as the literature writes it."""
    tile, kernel = ("{}x{}".format(*(geometry[slot + axis] for axis in range(2))) for slot in (at.TILE_H, at.TAPS_H))
    pieces, phases = _pieces(geometry), _phases(geometry)
    parts = f" on {pieces} pieces of the kernel" if pieces > 1 else ""
    return f"F({tile}, {kernel}){parts}" + (f" for each of {phases} phases of the input" if phases > 1 else "")


def kernels(geometry: Sequence[int]) -> tuple[Any, Any]:
    """The functions that lay out the weights and that do the tasks, to be compiled by ``runtime.begin``."""
    weights, winograd = load_module(".kernels.winograd_weights"), load_module(".kernels.winograd")
    usual = geometry[at.X_W] == 1 and geometry[at.DILATION_W] == 1 and geometry[at.PAD_MODE] == at.PAD_ZEROS
    if usual and 1 < geometry[at.STRIDE_W] <= 4 and geometry[at.PHASES_W] == geometry[at.STRIDE_W]:
        tasks = winograd.winograd_strided_tasks, winograd.winograd_strided_unpacked_tasks
    elif usual and geometry[at.STRIDE_W] == 1:
        tasks = winograd.winograd_padded_tasks, winograd.winograd_padded_unpacked_tasks
    else:
        tasks = winograd.winograd_tasks, winograd.winograd_unpacked_tasks
    if geometry[at.UNPACKED] != 0:
        return None, tasks[1]
    pack = weights.winograd_dense_weights if geometry[at.WEIGHT_DENSE] != 0 else weights.winograd_weights
    return pack, tasks[0]
