"""Direct convolution with output channels in the vector lanes. See :mod:`numbaconv.kernels.direct_channels`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import numpy as np

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import (
    BLOCK_BYTES,
    CHANNEL_DEPTH,
    CHANNEL_TILE_PIXELS,
    CPU,
    LANE_TILE_PIXELS,
    LINE,
    PACK_SCRATCH,
    PAGE_BYTES,
    RUNS,
    SPREAD,
    TAPS_DEPTH,
    TAPS_TOGETHER,
    VECTOR_BYTES,
)
from ..problem import ConvProblem
from . import prices as price
from .prices import Prices
from .sharing import (
    FEWEST_SHARED,
    FEWEST_TASKS,
    NEAR_BYTES,
    PAGES,
    ceil_div,
    lay_out,
    packing,
    page,
    reading,
    reading_apart,
    reading_weights,
    split_evenly,
    storing_burst,
    taps,
    use_tile,
)

#: Tiles that are summed before they are stored: 7 * 16 pixels fill whole vectors, and their sums half of the L1 cache.
CHUNK_TILES = 16
#: How many times BLOCK_BYTES of the input a task works on: each block of pixels reads all weights. With 1 and 4
#: ResNet-50's 1x1 layers took 1.00 to 1.04 and 1.0 to 1.2 times as long (Zen 5, 2 threads), its 3x3 ones with stride 2
#: 1.02 to 1.2 and 1.0 times (Emerald Rapids).
STRIP_BLOCKS = 2
#: Channels up to which the input is read in place although they lie whole pages apart: the ways of an L1 cache.
FEW_CHANNELS = 8
#: Ways of the L1 cache that cells of channels read in place may take (an L1 has 8 or 12), and the fewest products that
#: are summed before the sums go back to memory.
SHARED_WAYS = 4
LEAST_DEPTH = 32
#: Pages that channels read in turn lie in from which a core has too few addresses at hand, beside its weights'.
IN_REACH = 48
#: What a multiply-add costs of others in tiles of one vector where several taps are summed at once.
TAPS_SHARE = 0.75
#: How much dearer they are where passes are not shortened, by sequences and by ResNet-50's 1x1 layers (Emerald Rapids).
UNSHORTENED = 3
#: Bytes of weights from which, and of all strips up to which, tasks pack the weights that they need, and bytes of
#: panels that they pack at a time. With 8 and 33 MB calls took 0.75 to 0.85 times as long, with 4 MB, which the L3
#: cache holds, as long or longer (Zen 4, 1 MiB of L2 and 32 of L3); with 2 to 4 MB 0.81 to 0.92, with 1 MB 0.94 to 1.03
#: times as long (Emerald Rapids, 2 MiB of L2).
LEAST_UNPACKED = 2**21
MOST_STRIPS = 2**20
UNPACKED_BYTES = 2**19


def unsupported(problem: ConvProblem) -> str | None:
    """None: direct summation serves every problem."""
    return None


def _lanewise(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether panels are made of filters of several groups."""
    few = geometry[at.FILTERS] < VECTOR_BYTES // itemsize
    return geometry[at.GROUPS] > 1 and few and geometry[at.PAD_MODE] == at.PAD_ZEROS


def _spread(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether the groups of a panel, as many channels as filters, are copied once and spread over its lanes."""
    filters = geometry[at.FILTERS]
    return geometry[at.CHANNELS] == filters and filters in SPREAD and (VECTOR_BYTES // itemsize) % filters == 0


def _tile(geometry: MutableSequence[int], itemsize: int) -> int:
    """Filters of a panel."""
    lanes = VECTOR_BYTES // itemsize
    return lanes if geometry[at.FILTERS] <= lanes or _lanewise(geometry, itemsize) else 2 * lanes


def _reach(geometry: MutableSequence[int], axis: int) -> int:
    """Cells between the first and the last tap of an output; axis 1 is the height, 2 the width."""
    return (geometry[at.KERNEL_D + axis] - 1) * geometry[at.DILATION_D + axis]


def _plane(geometry: MutableSequence[int], itemsize: int) -> int:
    """Bytes from one channel of an image to the next."""
    return geometry[at.IN_D] * geometry[at.IN_H] * geometry[at.IN_W] // geometry[at.IMAGES] * itemsize


def _in_place(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether the input is read where it is: no tap of any output lies in the padding.

    Copies took 5 to 20% of the time of a 1x1 layer (Zen 5). Where channels lie whole pages apart, all of a pixel share
    a few lines of the caches, and copies pay; so they do where lines beyond a core's own cache hold a few pixels only:
    side by side, 256 channels of 112x112 take 0.7 to 0.96 of the time to 128 filters, of 56x56 0.8 to 512 and 0.92 to
    1.05 to 128; of 14x14, in the cache, 1.0 to 1.25 to 512 (stride 2, Emerald Rapids). Narrower vectors make more
    panels, each of which reads all pixels: 1024 channels of 14x14 take 0.84 of the time to 2048 (AVX2 on Zen 4).
    """
    if _lanewise(geometry, itemsize):
        return False
    for axis in range(3):
        last = (geometry[at.OUT_D + axis] - 1) * geometry[at.STRIDE_D + axis] + _reach(geometry, axis)
        if geometry[at.PAD_D + axis] != 0 or last >= geometry[at.IN_D + axis]:
            return False
    plane = _plane(geometry, itemsize)
    few = geometry[at.CHANNELS_LAST] == 0 and _column_step(geometry, lanewise=False) < geometry[at.STRIDE_W]
    if few and geometry[at.CHANNELS] * plane > NEAR_BYTES * VECTOR_BYTES // 64:
        return False
    apart = geometry[at.CHANNELS_LAST] != 0 or geometry[at.CHANNELS] <= FEW_CHANNELS or plane % PAGE_BYTES != 0
    return apart and geometry[at.OUT_D] == 1 and geometry[at.KERNEL_D] == 1


def _taps_together(geometry: MutableSequence[int], itemsize: int) -> int:
    """Taps of a row that tiles of neighbours may sum at once."""
    beside = geometry[at.KERNEL_W] == TAPS_TOGETHER and geometry[at.DILATION_W] == 1 and geometry[at.CHANNELS_LAST] == 0
    vector = _tile(geometry, itemsize) * itemsize == VECTOR_BYTES and not _lanewise(geometry, itemsize)
    return TAPS_TOGETHER if beside and vector else 1


def _line_step(geometry: MutableSequence[int]) -> int:
    """Rows of a strip between two output rows: rows that no tap reads are left out."""
    return min(geometry[at.STRIDE_H], _reach(geometry, 1) + 1)


def _column_step(geometry: MutableSequence[int], lanewise: bool) -> int:
    """Columns of a strip between two output columns: those that no tap of a kernel of one column reads are left out."""
    return 1 if geometry[at.KERNEL_W] == 1 and not lanewise else geometry[at.STRIDE_W]


def _strip_rows(geometry: MutableSequence[int], lines: int) -> int:
    return (lines - 1) * _line_step(geometry) + _reach(geometry, 1) + 1


def _pitch(geometry: MutableSequence[int], columns: int, lanewise: bool) -> int:
    return (columns - 1) * _column_step(geometry, lanewise) + _reach(geometry, 2) + 1


def _block(geometry: MutableSequence[int], itemsize: int) -> tuple[int, int]:
    """(rows, columns) of outputs of one task: what the cache holds the input of, but enough tasks where possible."""
    lanewise = _lanewise(geometry, itemsize)
    tile = LANE_TILE_PIXELS if lanewise else CHANNEL_TILE_PIXELS
    width = VECTOR_BYTES if lanewise else itemsize
    cell = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * width
    room = (1 if lanewise else STRIP_BLOCKS) * BLOCK_BYTES // cell
    least = _reach(geometry, 1) + 1
    columns = geometry[at.OUT_W]
    if least * _pitch(geometry, columns, lanewise) > room:
        across = (room // least - _reach(geometry, 2) - 1) // _column_step(geometry, lanewise) + 1
        across = max(tile, across)
        columns = ceil_div(columns, ceil_div(columns, min(columns, across)))
    blocks = geometry[at.BATCH] * geometry[at.OUT_D] * geometry[at.OUT_H]
    if lanewise:
        blocks *= ceil_div(geometry[at.GROUPS] * geometry[at.FILTERS], VECTOR_BYTES // itemsize)
    else:
        blocks *= geometry[at.GROUPS] * ceil_div(geometry[at.FILTERS], _tile(geometry, itemsize))
    # A pointwise image is one long row.
    columns = min(columns, max(4 * tile, ceil_div(geometry[at.OUT_W], ceil_div(FEWEST_TASKS, blocks))))
    if geometry[at.OUT_H] == 1:  # whole tiles, as rows of several lines make them together
        columns = min(geometry[at.OUT_W], ceil_div(columns, tile) * tile)
    rows = max(least, room // _pitch(geometry, columns, lanewise))
    lines = min(geometry[at.OUT_H], (rows - least) // _line_step(geometry) + 1)
    others = blocks // geometry[at.OUT_H] * ceil_div(geometry[at.OUT_W], columns)
    wanted = ceil_div(geometry[at.OUT_H], ceil_div(FEWEST_TASKS, others))
    # Below a few rows, a strip holds more of what its neighbours hold, too, than of its own.
    small = min(geometry[at.OUT_H], max(_reach(geometry, 1) // _line_step(geometry), 1))
    lines = max(1, min(lines, max(wanted, small)))
    if columns < geometry[at.OUT_W] and _in_place(geometry, itemsize):
        lines = 1  # several rows, cut off, would reach beyond the input
    return ceil_div(geometry[at.OUT_H], ceil_div(geometry[at.OUT_H], lines)), columns


def _depths(geometry: MutableSequence[int], itemsize: int, lines: int, columns: int) -> int:
    """Output depths of one task: several where one has few pixels, so that whole tiles can be made of them."""
    pixels = lines * columns
    whole = lines == geometry[at.OUT_H] and columns == geometry[at.OUT_W]
    if not whole or pixels >= CHUNK_TILES * CHANNEL_TILE_PIXELS or geometry[at.KERNEL_D] > 1:
        return 1
    inside = geometry[at.PAD_D] == 0 and (geometry[at.OUT_D] - 1) * geometry[at.STRIDE_D] < geometry[at.IN_D]
    if _lanewise(geometry, itemsize) or geometry[at.CHANNELS_LAST] != 0 or not inside:
        return 1
    plane = geometry[at.CHANNELS] * _strip_rows(geometry, lines) * _pitch(geometry, columns, lanewise=False) * itemsize
    most = max(1, min(geometry[at.OUT_D], BLOCK_BYTES // plane))
    depths = ceil_div(geometry[at.OUT_D], ceil_div(geometry[at.OUT_D], most))
    return min(most, ceil_div(depths, CHANNEL_TILE_PIXELS) * CHANNEL_TILE_PIXELS)


def _seen(geometry: MutableSequence[int]) -> float:
    """The part of all kernel rows that is summed: those that lie in padding of zeros for a whole tile are left out."""
    size, step, height = geometry[at.OUT_H], geometry[at.STRIDE_H], geometry[at.KERNEL_H]
    if geometry[at.PAD_MODE] != at.PAD_ZEROS or height == 1:
        return 1.0
    others = 0 if geometry[at.OUT_W] >= CHANNEL_TILE_PIXELS else (CHANNEL_TILE_PIXELS - 1) // geometry[at.OUT_W]
    left_out = 0
    line = min(size - 1, others)
    while line < size and line * step < geometry[at.PAD_H]:
        left_out += min(height - 1, ceil_div(geometry[at.PAD_H] - line * step, geometry[at.DILATION_H]))
        line += 1
    line = max(0, size - 1 - others)
    room = geometry[at.IN_H] - 1 + geometry[at.PAD_H] - _reach(geometry, 1)
    while line >= 0 and line * step > room:
        left_out += min(height - 1, ceil_div(line * step - room, geometry[at.DILATION_H]))
        line -= 1
    return 1 - min(left_out, size * (height - 1)) / (size * height)


def cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Multiply-adds of whole register tiles, the copies into strips, and the transpositions."""
    lanes = VECTOR_BYTES // itemsize
    lines, columns = _block(geometry, itemsize)
    depths = _depths(geometry, itemsize, lines, columns)
    blocks = geometry[at.BATCH] * ceil_div(geometry[at.OUT_D], depths) * ceil_div(geometry[at.OUT_H], lines)
    blocks *= ceil_div(geometry[at.OUT_W], columns)
    pixels = ceil_div(depths * lines * columns, CHANNEL_TILE_PIXELS) * CHANNEL_TILE_PIXELS
    depth = geometry[at.CHANNELS] * taps(geometry) * _seen(geometry)
    copied = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * depths * _strip_rows(geometry, lines)
    squares = ceil_div(depths * lines * columns, lanes)
    runs = ceil_div(depths * lines * columns, CHUNK_TILES * CHANNEL_TILE_PIXELS) * storing_burst(
        geometry, itemsize, prices
    )
    if _lanewise(geometry, itemsize):
        panels = ceil_div(geometry[at.GROUPS] * geometry[at.FILTERS], lanes)
        transposed = ceil_div(_pitch(geometry, columns, lanewise=True), lanes)
        copies = copied * (prices[price.CHANNELS_ROW] + prices[price.LANES_SQUARE] * transposed)
        beside = _spread(geometry, itemsize) or geometry[at.CHANNELS] == geometry[at.FILTERS] == 1
        if geometry[at.CHANNELS_LAST] != 0 and not beside:
            cells = copied * _pitch(geometry, columns, lanewise=True) * lanes
            copies = cells * reading_apart(geometry, itemsize, prices, alone=True)
        if _spread(geometry, itemsize):
            copies /= geometry[at.CHANNELS]
            copies += copied * transposed * lanes * prices[price.SPREAD_VECTOR]
        tiles = lines * ceil_div(columns, LANE_TILE_PIXELS)
        kinds = _kinds(geometry)
        each = tiles * (LANE_TILE_PIXELS * depth * prices[price.LANES] + kinds * prices[price.LANES_TILE])
        each += copies + squares * prices[price.STORED_LANES] + runs * lanes + prices[price.CHANNELS_TASK]
        return reading(geometry, itemsize, prices) + blocks * panels * each
    paged = geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W] * itemsize % PAGE_BYTES == 0
    paged = paged and geometry[at.CHANNELS_LAST] == 0
    mr = _tile(geometry, itemsize)
    panels = ceil_div(geometry[at.FILTERS], mr)
    vectors = panels * mr // lanes
    passes = ceil_div(geometry[at.CHANNELS] * taps(geometry), _most_summed(geometry, itemsize))
    starts = panels * passes * (pixels // CHANNEL_TILE_PIXELS) * prices[price.CHANNELS_TILE]
    row = prices[price.CHANNELS_ROW] + page(geometry, itemsize, geometry[at.CHANNELS], prices)
    in_place = _in_place(geometry, itemsize)
    if in_place:
        copied = 0
        plane = min(_plane(geometry, itemsize), PAGE_BYTES)
        together = min(geometry[at.CHANNELS], _most_summed(geometry, itemsize) // geometry[at.KERNEL_W])
        if together * plane >= IN_REACH * PAGE_BYTES:
            # Passes of several taps are not shortened to what the L1 cache keeps: see _most_summed.
            read = geometry[at.CHANNELS] * (1 if taps(geometry) == 1 else UNSHORTENED)
            starts += panels * (pixels // CHANNEL_TILE_PIXELS) * read * prices[price.PAGE_IN_PLACE]
    apart = geometry[at.KERNEL_W] == 1 and geometry[at.STRIDE_W] > 1
    vector = prices[price.STRIDED_VECTOR] if apart else prices[price.COPIED_VECTOR]
    copies = copied * (row + vector * ceil_div(_pitch(geometry, columns, lanewise=False), lanes))
    starts += runs * geometry[at.FILTERS] + panels * prices[price.CHANNELS_TASK]
    starts += reading_weights(float(panels * mr * geometry[at.CHANNELS] * taps(geometry) * itemsize), prices)
    each = pixels * depth * prices[price.NARROW if mr == lanes else price.CHANNELS]
    if _taps_together(geometry, itemsize) > 1 and geometry[at.STRIDE_W] <= 2:
        each *= TAPS_SHARE
    each += squares * prices[price.PAGED_SQUARE if paged else price.STORED_SQUARE]
    total = blocks * geometry[at.GROUPS] * (vectors * each + copies + starts)
    return reading(geometry, itemsize, prices, in_place) + total


def pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """One transposition."""
    return float(geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry))


def _most_summed(geometry: MutableSequence[int], itemsize: int) -> int:
    """Products that are summed before the sums go back to memory.

    Fewer where a cell of each of so many channels, read in place, would not stay in the L1 cache beside the weights:
    planes a multiple of several lines apart share a part of its sets. 256x56x56 to 64 and 128 by 1x1, whose channels
    share 16 of 64 sets, took 1.2 times as long with 128 (Emerald Rapids). Nor may they lie in more pages than a core
    has addresses at hand: 256x28x28 and 512x28x28 took 1.05 times as long with 128, in float64 1.1. On Zen 4 all
    these took 0.92 to 0.97 of the time with whole depths.
    """
    most = TAPS_DEPTH if taps(geometry) > 1 else CHANNEL_DEPTH
    in_place = _in_place(geometry, itemsize) and geometry[at.CHANNELS_LAST] == 0
    if taps(geometry) > 1 or CPU == "znver4" or not in_place:
        return most
    plane = _plane(geometry, itemsize)
    apart = max(plane & -plane, LINE * 4)  # in bytes: only powers of two count
    apart = max(apart * PAGES // SHARED_WAYS, min(plane, PAGE_BYTES))
    while most > LEAST_DEPTH and most * apart > PAGES * PAGE_BYTES:
        most //= 2
    return most


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of a few output rows and some panels of filters."""
    lanes = VECTOR_BYTES // itemsize
    lanewise = _lanewise(geometry, itemsize)
    in_place = _in_place(geometry, itemsize)
    lines, columns = _block(geometry, itemsize)
    depths = _depths(geometry, itemsize, lines, columns)
    geometry[at.IN_PLACE] = int(in_place)
    mr = _tile(geometry, itemsize)
    geometry[at.LANE_FILTERS] = 0
    geometry[at.SPREAD] = int(lanewise and _spread(geometry, itemsize))
    if lanewise:
        geometry[at.LANE_FILTERS] = geometry[at.FILTERS]
        geometry[at.FILTERS] *= geometry[at.GROUPS]
        geometry[at.GROUPS] = 1
    use_tile(geometry, mr, CHANNEL_TILE_PIXELS)
    depth = geometry[at.CHANNELS] * taps(geometry)
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * ceil_div(geometry[at.OUT_D], depths)
    blocks *= ceil_div(geometry[at.OUT_H], lines) * ceil_div(geometry[at.OUT_W], columns)
    geometry[at.CHANNEL_BLOCK] = ceil_div(depth, ceil_div(depth, _most_summed(geometry, itemsize)))
    geometry[at.BLOCK_DEPTHS] = depths
    geometry[at.BLOCK_ROWS] = lines
    geometry[at.BLOCK_COLUMNS] = columns
    geometry[at.STRIP_ROWS] = _strip_rows(geometry, lines)
    geometry[at.LINE_STEP] = _line_step(geometry)
    geometry[at.COLUMN_STEP] = _column_step(geometry, lanewise)
    geometry[at.PITCH] = _pitch(geometry, columns, lanewise)
    plane = geometry[at.STRIP_ROWS] * geometry[at.PITCH]
    one = geometry[at.IN_D] == geometry[at.KERNEL_D] == geometry[at.OUT_D] == 1 and geometry[at.PAD_D] == 0
    whole = one and geometry[at.PAD_MODE] == at.PAD_ZEROS and geometry[at.LINE_STEP] == geometry[at.STRIDE_H]
    whole = whole and geometry[at.COLUMN_STEP] == geometry[at.STRIDE_W]
    whole = whole and lines == geometry[at.OUT_H] and columns == geometry[at.OUT_W]
    geometry[at.WHOLE] = int(whole and not in_place)
    if lanewise:
        geometry[at.STRIP_DEPTH] = plane * lanes
        # Behind a channel there is a cell for pixels that no output reads.
        geometry[at.STRIP_CHANNEL] = geometry[at.KERNEL_D] * plane * lanes + lanes
        # A tile that is cut off reads what lies behind the last row.
        beyond = LANE_TILE_PIXELS * geometry[at.STRIDE_W] * lanes
        strip = geometry[at.CHANNELS] * geometry[at.STRIP_CHANNEL] + beyond
    else:
        last = geometry[at.CHANNELS_LAST] != 0
        geometry[at.STRIP_DEPTH] = plane * geometry[at.CHANNELS] if last else plane
        geometry[at.STRIP_CHANNEL] = 1 if last else geometry[at.KERNEL_D] * depths * plane
        strip = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * depths * plane
    geometry[at.STRIP] = ceil_div(strip, lanes) * lanes
    geometry[at.TAPS] = _taps_together(geometry, itemsize)
    geometry[at.CHANNEL_BLOCK] = ceil_div(geometry[at.CHANNEL_BLOCK], geometry[at.TAPS]) * geometry[at.TAPS]
    geometry[at.VECTORS] = mr // lanes
    chunk = CHUNK_TILES * CHANNEL_TILE_PIXELS
    geometry[at.CHUNK] = max(1, chunk // columns) * columns if lanewise else chunk
    _cut(geometry, lanewise)
    geometry[at.PIXELS_START] = depth
    pixels = depths * lines * columns
    geometry[at.ORDER_START] = depth + pixels + LANE_TILE_PIXELS
    geometry[at.TILES_START] = geometry[at.ORDER_START] + depth
    tiles = lines * ceil_div(columns, LANE_TILE_PIXELS) if lanewise else 0
    geometry[at.CELLS_START] = geometry[at.TILES_START] + tiles
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * mr * depth
    lay_out(geometry, blocks, 0, weights, split_evenly(geometry[at.PANELS], blocks))
    geometry[at.FINITE_START] = geometry[at.PACKED]
    geometry[at.PACKED] += geometry[at.GROUPS] * geometry[at.PANELS]
    shared = geometry[at.PANEL_SPLIT] > 1 and not lanewise
    geometry[at.SHARED] = blocks * geometry[at.STRIP] if shared and not in_place else 0
    geometry[at.TILE_START] = 0 if shared or in_place else geometry[at.STRIP]
    # Sums are computed in whole tiles and stored in whole vectors of pixels.
    sums = min(geometry[at.CHUNK], pixels) + max(LANE_TILE_PIXELS, lanes)
    geometry[at.SCRATCH] = geometry[at.TILE_START] + sums * mr


def pack_in_tasks(geometry: MutableSequence[int], itemsize: int) -> None:
    """Let the tasks pack the weights, where there are so many and so few pixels that it pays."""
    blocks = geometry[at.BATCH] * geometry[at.GROUPS] * ceil_div(geometry[at.OUT_D], geometry[at.BLOCK_DEPTHS])
    blocks *= ceil_div(geometry[at.OUT_H], geometry[at.BLOCK_ROWS])
    blocks *= ceil_div(geometry[at.OUT_W], geometry[at.BLOCK_COLUMNS])
    size = geometry[at.CHANNELS] * taps(geometry) * geometry[at.MR]
    weights = geometry[at.GROUPS] * geometry[at.PANELS] * size * itemsize
    strips = blocks * geometry[at.STRIP]
    tasks = geometry[at.GROUPS] * geometry[at.PANELS]
    if geometry[at.VECTORS] == 1 or weights < LEAST_UNPACKED or tasks < FEWEST_TASKS:
        return
    if strips * itemsize > MOST_STRIPS:
        return
    sums = geometry[at.SCRATCH] - geometry[at.TILE_START]
    geometry[at.PANEL_SPLIT] = min(geometry[at.PANELS], ceil_div(FEWEST_SHARED, geometry[at.GROUPS]))
    geometry[at.TASKS] = geometry[at.GROUPS] * geometry[at.PANEL_SPLIT]
    geometry[at.SHARED] = strips
    geometry[at.WHOLE] = geometry[at.IN_PLACE] = 0
    geometry[at.TILE_START] = 0
    geometry[at.PANEL_START] = sums
    geometry[at.UNPACKED] = max(1, UNPACKED_BYTES // (size * itemsize))
    geometry[at.SCRATCH] = sums + geometry[at.UNPACKED] * size + PACK_SCRATCH


def _kinds(geometry: MutableSequence[int]) -> int:
    """How many lengths the runs of taps have into which :func:`_cut` cuts a kernel row of filters of several groups."""
    if geometry[at.DILATION_W] > 1 or geometry[at.STRIDE_W] > 2:
        return 1
    left, kinds = geometry[at.KERNEL_W], 0
    for length in (*RUNS, 1):
        kinds += int(left >= length)
        left %= length
    return kinds


def _cut(geometry: MutableSequence[int], lanewise: bool) -> None:
    """Cut a kernel row into runs of taps, the longest first. Only lanewise microkernels take more than one."""
    left = geometry[at.KERNEL_W]
    runs = lanewise and geometry[at.DILATION_W] == 1 and geometry[at.STRIDE_W] <= 2
    for kind, taps_of_run in enumerate((*RUNS, 1)):
        geometry[at.SEGMENTS + kind] = left // taps_of_run if runs or taps_of_run == 1 else 0
        left -= geometry[at.SEGMENTS + kind] * taps_of_run


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Some tables, one behind the other.

    Where in a strip, or in the input, each run of taps of the first output lies (as many as the kernel has taps, or
    fewer): the longest runs first; then by kernel row, so that rows of padding can be left out; then by channel, depth
    and column. From PIXELS_START on, how far each pixel of a block lies from the first. From ORDER_START on, where each
    tap (c, kd, kh, kw) lies among the weights of a panel. For lanewise strips also: from TILES_START on, the first
    pixel of each tile; from CELLS_START on, where the pixels of a whole image, or the columns of a row, lie in a strip.
    """
    lanes = VECTOR_BYTES // itemsize
    if geometry[at.LANE_FILTERS] != 0:
        cell = lanes
    elif geometry[at.STRIP_CHANNEL] == 1:
        cell = geometry[at.CHANNELS]
    else:
        cell = 1
    line, channel, between = geometry[at.PITCH] * cell, geometry[at.STRIP_CHANNEL], geometry[at.LINE_STEP]
    beside = geometry[at.COLUMN_STEP]
    if geometry[at.IN_PLACE] != 0:
        cell, line, channel, between = (geometry[slot] for slot in (at.X_W, at.X_H, at.X_CHANNEL, at.STRIDE_H))
        beside = geometry[at.STRIDE_W]
    sizes = [geometry[slot] for slot in (at.KERNEL_H, at.CHANNELS, at.KERNEL_D)]
    steps = [geometry[at.DILATION_H] * line, channel, geometry[at.STRIP_DEPTH]]
    h, c, d = np.ix_(*(np.arange(size, dtype=np.int64) for size in sizes))
    planes = h * steps[0] + c * steps[1] + d * steps[2]
    taps_of_row = geometry[at.KERNEL_W]
    numbers = ((c * geometry[at.KERNEL_D] + d) * geometry[at.KERNEL_H] + h) * taps_of_row
    starts, order, column = [], [], 0
    for kind, length in enumerate((*RUNS, 1)):
        w = column + np.arange(geometry[at.SEGMENTS + kind], dtype=np.int64) * length
        column += w.size * length
        runs_of_kind = planes[..., None] + w * (geometry[at.DILATION_W] * cell)
        taps_of_kind = numbers[..., None, None] + w[:, None] + np.arange(length)
        if geometry[at.STRIP_CHANNEL] == 1:  # neighbours in the strip one after the other
            runs_of_kind, taps_of_kind = np.moveaxis(runs_of_kind, 1, 3), np.moveaxis(taps_of_kind, 1, 3)
        starts.append(runs_of_kind.reshape(-1))
        order.append(taps_of_kind.reshape(-1))
    place = np.argsort(np.concatenate(order)) * geometry[at.MR]
    table = np.zeros(place.size, np.int64)
    runs = np.concatenate(starts)
    table[: runs.size] = runs
    down = np.arange(geometry[at.BLOCK_ROWS], dtype=np.int64) * (between * line)
    across = np.arange(geometry[at.BLOCK_COLUMNS], dtype=np.int64) * (beside * cell)
    down = (np.arange(geometry[at.BLOCK_DEPTHS], dtype=np.int64)[:, None] * geometry[at.STRIP_DEPTH] + down).reshape(-1)
    pixels = np.pad((down[:, None] + across).reshape(-1), (0, LANE_TILE_PIXELS), mode="edge")
    if geometry[at.LANE_FILTERS] == 0:
        return np.concatenate([table, pixels, place])
    # The last tile of a row overlaps the one before; where a row is shorter than a tile, the next row overwrites it.
    width = geometry[at.BLOCK_COLUMNS]
    first = np.minimum(np.arange(0, width, LANE_TILE_PIXELS), max(0, width - LANE_TILE_PIXELS))
    tiles = (np.arange(geometry[at.BLOCK_ROWS], dtype=np.int64)[:, None] * width + first).reshape(-1)
    if geometry[at.WHOLE] != 0:
        i = np.arange(geometry[at.IN_H], dtype=np.int64)[:, None] + geometry[at.PAD_H]
        j = np.arange(geometry[at.IN_W], dtype=np.int64) + geometry[at.PAD_W]
        read = (i < geometry[at.STRIP_ROWS]) & (j < geometry[at.PITCH])
        nowhere = geometry[at.STRIP_ROWS] * geometry[at.PITCH]
        cells = np.where(read, i * geometry[at.PITCH] + j, nowhere).reshape(-1) * lanes
    else:
        cells = np.arange(geometry[at.PITCH], dtype=np.int64) * lanes
    return np.concatenate([table, pixels, place, tiles, cells])


def kernels(geometry: Sequence[int]) -> tuple[Any, Any]:
    """The functions that lay out the weights and that do the tasks, to be compiled by ``runtime.begin``."""
    direct_channels = load_module(".kernels.direct_channels")
    if geometry[at.LANE_FILTERS] != 0:
        return packing(geometry), direct_channels.direct_lanes_tasks
    if geometry[at.UNPACKED] != 0:
        return packing(geometry), direct_channels.direct_unpacked_tasks
    # Strips of cells, or of planes of one cell each.
    if geometry[at.OUT_STRIDE_W] != 1 or geometry[at.WEAVE_WIDTH] != 0 or geometry[at.STRIP_CHANNEL] == 1:
        return packing(geometry), direct_channels.direct_channels_tasks
    if geometry[at.IN_PLACE] != 0:
        tasks = direct_channels.direct_in_place_vector_tasks, direct_channels.direct_in_place_tasks
    else:
        tasks = direct_channels.direct_planes_vector_tasks, direct_channels.direct_planes_tasks
    return packing(geometry), tasks[geometry[at.VECTORS] - 1]
