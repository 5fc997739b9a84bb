"""What Winograd costs: products of whole vectors of tiles, and the transforms; see :mod:`.winograd`."""

from __future__ import annotations

from collections.abc import MutableSequence

from ..kernels import geometry as at
from ..kernels.blocking import CPU, HALF_VECTORS, LINE, TILE_ROWS, VECTOR_BYTES, column_filters
from . import prices as price
from .prices import Prices
from .sharing import ceil_div, reading, reading_apart, reading_block, reading_weights, storing_run
from .winograd_pieces import stride_phases, tile_products
from .winograd_tiling import (
    FRESH_BYTES,
    all_tiles,
    block_columns,
    panels_at_a_time,
    runs_of_block,
    share_tiles,
    tile_blocks,
    tile_points,
    tiles_beside,
    weight_places,
)

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
#: Of tiles that are columns: for each place of a vector of them and each filter, to transform and store the outputs;
#: and to start a block. Of 100 layers of 1 to 12 channels on one and two threads, what is chosen takes 1.05 times as
#: long as the best, by the mean; without such tiles 1.23 (Zen 4).
COLUMN_POINT = 2.0
COLUMN_BLOCK = 640.0
#: To load a vector of them for each few filters, in multiply-adds; and a factor that leaves four filters as dear as
#: they were without. With two filters, F(5, 4) takes 1.09 times as long as F(3, 4) with four on ResNet-50's first
#: layer. Of 289 layers of 1 to 8 channels with strides of 1 to 4, what is chosen takes 1.011 times as long as the best
#: on one thread and 1.026 on two; were loads free, 1.015 and 1.032 (Zen 4).
COLUMN_LOAD = 2.0
COLUMN_PRODUCT = 4 / (4 + COLUMN_LOAD)
#: To copy one element of a row that dilation takes apart, or puts together; and for each element, within a cache line,
#: that the next one lies away: 12 to 21 in all with dilation 16 and 512, 3 to 10 with 2 (sequences, Emerald Rapids).
COPY_ELEMENT = 2.0
COPY_APART = 0.7
#: To transform the weights of one filter and channel, for each place, 0.47 to 0.51. Larger arrays than malloc keeps are
#: new memory in every call, where tasks do not transform what they need: 512 x 512 kernels took 1.7, and two threads
#: gained less.
WEIGHT_POINT = 0.5
FRESH = 0.45
#: Places of a tile from which five columns take twice the shuffles: F(5x5, 3x3) has more vectors at work than there are
#: registers. Of 60 layers of 20x20 to 150x150 with 64 to 192 channels, 100% are within 10% of the best tile so, and
#: 0.6% is lost, without 95% and 1.8%, with three times 88% and 2.7% (Zen 4, 2 threads).
LARGE_TILE = 49
#: How much longer all of it takes than the parts do by themselves.
SLOWDOWN = 1.07
#: Of tiles so few that filters are in the lanes: what a multiply-add takes of one with tiles in them, and what it takes
#: beside WINOGRAD_PRODUCT to start and to transpose the products of a place and a panel. A core that multiplies 64
#: bytes at once waits for the loads, eleven for nine multiply-adds: by their number, not measured.
FEW_SHARE = 0.9 if CPU == "znver4" else 1.4
FEW_START = 2.5
#: What of reading the weights is not hidden by multiplying. Of 110 layers of up to 16x16 with up to 512 channels, all
#: but one are within 10% of the best tile with a quarter and 0.4% is lost, with half 97% and 0.8%, with all 92% and
#: 1.4%; of 120 others of up to 29x29, strides and 7x7 taps among them, 100% and 0.25% (Zen 4, 32 MiB of L3, one core).
WEIGHTS_SHARE = 0.25 if CPU == "znver4" else 1.0


def shuffles_of(m: int) -> int:
    """Shuffles of each vector that take m columns apart, or put them together."""
    shuffles = 0
    while m % 2 == 0:
        m //= 2
        shuffles += 1
    return shuffles + m - 1


def multiplied_vectors(tiles: int, nr: int, lanes: int) -> tuple[float, float, int]:
    """Vectors that microkernels multiply of ``tiles`` in blocks of ``nr``: several at a time, one, half of one."""
    whole = ceil_div(tiles, nr) - 1
    rest = tiles - whole * nr
    wide, narrow, half = whole * (nr / lanes), 0.0, 0
    if HALF_VECTORS and lanes < rest <= lanes + lanes // 2:
        wide += 1.5
    elif rest > (lanes + lanes // 2 if VECTOR_BYTES == 64 else lanes):
        wide += 3.0 if rest > 2 * lanes else 2.0
    elif rest > lanes // 2 or VECTOR_BYTES < 64:
        narrow += 1.0
        half = int(rest > lanes)
    else:
        half = 1
    return wide, narrow, half


def column_products(geometry: MutableSequence[int], itemsize: int) -> float:
    """Multiply-adds of vectors of columns: filters are summed a few at a time."""
    some = column_filters(tile_points(geometry))
    vectors = all_tiles(geometry) * itemsize // VECTOR_BYTES * tile_products(geometry)
    return ceil_div(geometry[at.FILTERS], some) * vectors * (some + COLUMN_LOAD) * COLUMN_PRODUCT


def tile_cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """:func:`cost` with the tile that has been set."""
    lanes = VECTOR_BYTES // itemsize
    nr = block_columns(geometry, itemsize)
    tiles, points, depth = all_tiles(geometry), tile_points(geometry), geometry[at.PRODUCTS]
    blocks, beside = tile_blocks(geometry, itemsize), tiles_beside(geometry, itemsize)
    panels = ceil_div(geometry[at.FILTERS], TILE_ROWS)
    of_tile = tile_products(geometry)
    runs = ceil_div(tiles, geometry[at.ACROSS])
    shuffles = shuffles_of(geometry[at.TILE_W])
    if geometry[at.TILE_W] == 5 and points >= LARGE_TILE:
        shuffles *= 2
    if geometry[at.COLUMNS] != 0:
        products = column_products(geometry, itemsize) * prices[price.WINOGRAD]
        products += blocks * COLUMN_BLOCK * prices[price.TRANSFORMED]
        outputs = ceil_div(tiles, lanes) * points * COLUMN_POINT
    else:
        wide, narrow, half = multiplied_vectors(tiles - beside, nr, lanes)
        if nr < lanes:
            products = of_tile * TILE_ROWS * FEW_SHARE * nr / lanes * prices[price.WINOGRAD]
            products += points * FEW_START * prices[price.WINOGRAD_PRODUCT]
        else:
            products = (wide + beside / TILE_ROWS) * prices[price.WINOGRAD] + narrow * prices[price.WINOGRAD_NARROW]
            products = of_tile * TILE_ROWS * (products + half * prices[price.WINOGRAD_HALF])
        products += points * blocks * prices[price.WINOGRAD_PRODUCT]
        products *= panels
        width = wide + narrow + (half + beside) / 2
        outputs = width * points * (OUTPUT_POINT + shuffles) + blocks * OUTPUT_CALL + runs * geometry[at.TILE_H] * 4
    group = lanes // geometry[at.RUN_GROUPS]
    vectors = runs * ceil_div(geometry[at.ACROSS], group) / geometry[at.RUN_GROUPS]
    lines = geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1
    row = geometry[at.TILE_W] * geometry[at.ACROSS] + geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    copies = lines * ceil_div(row, lanes) * COPY_VECTOR
    stride = geometry[at.STRIDE_W]
    apart = COPY_ELEMENT + COPY_APART * min(geometry[at.DILATION_W] * stride, LINE)
    # As winograd_tiles.copy_strided does it, or cell by cell.
    usual = geometry[at.PAD_MODE] == at.PAD_ZEROS
    beside = geometry[at.DILATION_W] == 1 and geometry[at.CHANNELS_LAST] == 0
    if not beside or stride > 4 or (stride > 1 and not (usual and geometry[at.PHASES_W] == stride)):
        copies = lines * row * apart
    elif stride > 1:
        copies += lines * ceil_div(row, lanes) * INPUT_SHUFFLE * shuffles_of(stride)
    copies *= stride_phases(geometry)
    transforms = depth * points * vectors * (INPUT_POINT + INPUT_SHUFFLE * shuffles)
    straddled = depth * points * vectors * int(geometry[at.ACROSS] % group != 0)
    each = copies * prices[price.GATHERED]
    if geometry[at.CHANNELS_LAST] != 0:
        each = stride_phases(geometry) * lines * row * reading_apart(geometry, itemsize, prices)
    gathered = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * runs * each
    if not beside:
        outputs += tiles * geometry[at.TILE_H] * geometry[at.TILE_W] * apart
    stored = blocks * runs_of_block(geometry, itemsize) * geometry[at.TILE_H] * storing_run(geometry, itemsize, prices)
    total = transforms * prices[price.TRANSFORMED] + straddled * prices[price.STRADDLED]
    total += gathered + geometry[at.FILTERS] * outputs * prices[price.TRANSFORMED_BACK]
    total += products + runs * prices[price.WINOGRAD_RUN]
    total = geometry[at.GROUPS] * (total * SLOWDOWN + geometry[at.FILTERS] * stored)
    weights = float(panels * TILE_ROWS * of_tile * itemsize)
    block = float(points * depth * nr * itemsize)
    times = ceil_div(panels, panels_at_a_time(geometry, itemsize))
    total += geometry[at.GROUPS] * blocks * reading_block(block, times + 1.0, prices)
    shared = share_tiles(geometry, itemsize)
    if shared:
        written = geometry[at.GROUPS] * blocks * block / VECTOR_BYTES
        total += prices[price.SHARED_START] + written * prices[price.SHARED_VECTOR]
    times = 1 if shared else blocks
    total += geometry[at.GROUPS] * times * WEIGHTS_SHARE * reading_weights(weights, prices)
    return total + reading(geometry, itemsize, prices)


def tile_pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """:func:`pack_cost` with the tile that has been set."""
    places = float(weight_places(geometry))
    fresh = places * itemsize > FRESH_BYTES and not share_tiles(geometry, itemsize)
    return places * (WEIGHT_POINT + (itemsize * FRESH if fresh else 0.0))
