"""How Winograd cuts an output into tiles, and these into blocks; see :mod:`.winograd`."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Final

from ..kernels import geometry as at
from ..kernels.blocking import CPU, HALF_VECTORS, TILE_ROWS, VECTOR_BYTES, few_tiles
from .sharing import FEWEST_TASKS, ceil_div, split_evenly
from .winograd_pieces import order_pieces, taps_of_phase

#: (m, r, channels, channels): F(m, r), and from how many channels of a group it keeps "auto"'s promise of 4 times plain
#: float32's RMS error on normal data: along one axis, and along both. 0: never. The first tile keeps it always.
#: docs/accuracy.md has the measurements.
TILES: Final = (
    (2, 3, 1, 1),
    (4, 3, 1, 3),
    (2, 2, 1, 1),
    (3, 2, 1, 1),
    (4, 2, 1, 2),
    (5, 2, 2, 12),
    (3, 3, 1, 1),
    (3, 4, 1, 2),
    (4, 4, 4, 48),
    (2, 5, 1, 2),
    (3, 5, 2, 16),
    (5, 3, 4, 64),
    (4, 5, 8, 0),
    (5, 4, 8, 0),
    (2, 7, 8, 0),
)
#: Longer kernels would be cut into many pieces, whose transformed weights take 4 times their memory.
LONGEST: Final = 12
#: Products up to which tiles may be columns, and vectors of them in a block, at most 64 tiles. 3x3 over 8 channels of
#: 112x112 took 0.8 of the time that tiles along both axes do (24 products), over 16 channels 1.15 (48; Zen 4). With 16
#: registers two filters' sums stay in them, and each load serves two multiply-adds: never as fast as direct summation
#: (1.1 to 2.5 times as long; AVX2 on Zen 4).
COLUMNS_DEPTH: Final = 48 if VECTOR_BYTES == 64 else 0
COLUMN_VECTORS: Final = 4
#: Panels that are multiplied by a place's tiles at a time, and bytes of sums up to which several blocks of tiles are
#: multiplied by them, from LEAST_DEPTH products on. With 1 panel and 1 block, 256 channels at 56x56 and 28x28 took 1.05
#: to 1.1 times as long, 512 at 28x28 1.02; 64 at 56x56 takes 1.05 times as long with more, since the sums go to L2
#: (Zen 5). The tiles, up to 2 MB, are read from beyond the L2 cache for each group of panels: with 4 panels, 256
#: channels at 56x56 and 64 with 7x7 taps took 1.09 and 1.07 times as long, 32 images of 256x14x14 and 512x7x7 1.07 and
#: 1.09, with 32 as long; 128 channels at 112x112 take 1.04 times as long with any (Emerald Rapids, 2 threads). Tiles
#: that threads share lie in part in the other core's cache: whatever the depth, each thread reads them once for all its
#: panels. 32 to 256 channels at 28x28, 20x20 and 14x14 took 0.94 to 0.98 of the time, 512 at 7x7 0.99 (Zen 4, 2
#: threads).
TOGETHER = 16
LEAST_DEPTH = 192
SUMS_BYTES = 2**19
#: Bytes of transformed weights up to which a single block is multiplied by several panels, too: 256 channels at 14x14
#: and 7x7, and 512 at 7x7, took 0.97 to 0.98 of the time. The weights of 512 channels at 14x14 (38 MB) come from memory
#: as they lie: by one panel after the other; by several, it took 1.04 times as long, 20x20 1.01 (Zen 4).
ALONE_BYTES = 2**24
#: Tiles up to which those that are left behind blocks of three vectors, or three halves, are multiplied beside these.
#: Each takes a 24th of three vectors' products, a vector of them a third: with 16 of them, 128 channels at 112x112 took
#: 1.06 times as long (Emerald Rapids).
MOST_BESIDE: Final = 7
#: Blocks of three vectors that all tiles are cut into at least: with more threads than that, some find nothing to do.
FEWEST_THREE: Final = 4
#: What a tile of a block of three vectors takes of one of two: 64 channels at 224x224 0.96 (Zen 4). Of 72x72 and 76x76
#: they took 0.8 to 0.93 of the time on two threads, though the busiest one multiplies 1.1 times as many, 192 channels
#: of 64x64 1.1, where that is 1.13 times (Emerald Rapids).
THREE_SHARE: Final = 0.96 if CPU == "znver4" else 0.88
#: Bytes of the transformed tiles of three vectors up to which a block has so many, where there are several: an L2
#: cache. 256 channels at 56x56 (1.8 MB) took 0.87 of the time so, 512 were not measured (Emerald Rapids).
LARGEST_BLOCK: Final = 2**21
#: Elements of transformed tiles that all threads may share; and bytes of them from which they do only where there are
#: fewer than FEWEST_BLOCKS blocks, since each panel of filters reads them all, from the L3 cache. Of 3 to 7 blocks a
#: task each, 5x5 taps over 64x56x56, 48x35x35, 64x27x27 in 2 groups and 48x28x28 took 0.45 to 0.75 of the time, 3x3
#: over 64x56x56 (2 MB) 0.58, with dilation 2 0.67 (Emerald Rapids, 2 threads); two blocks as long as before.
SHARED_ELEMENTS = 2**22
SHARED_BYTES = 2**20
FEWEST_BLOCKS = 3
#: Blocks that are looked at to choose how tiles fill vectors: where one ends in a row, the next begins.
SAMPLED_BLOCKS: Final = 4
#: Bytes of transformed weights beyond what malloc keeps: where each call transforms them, they would be new memory. 32
#: images of 7x7, 512 channels of them to 512, take 0.53 of the time where threads share the tiles and transform the
#: weights that they need, 256 channels of 56x56 (9 MB) 0.98, and 64 of them 1.16 (plain calls; Zen 4, 2 threads).
FRESH_BYTES: Final = 2**25


def number_of_tiles() -> int:
    """How many tiles there are to choose from: those of TILES and, behind them, the same along the columns alone."""
    return 2 * len(TILES)


def fits_columns(geometry: MutableSequence[int], r: int) -> bool:
    """Whether tiles may be columns of a kernel that has several: see :mod:`numbaconv.kernels.winograd_columns`."""
    taps = taps_of_phase(geometry, 0, 0)
    if taps == 1 or geometry[at.KERNEL_W] == 1 or geometry[at.DILATION_W] > 1 or geometry[at.CHANNELS_LAST] != 0:
        return False
    phases = min(geometry[at.STRIDE_H], geometry[at.KERNEL_H])
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_W] * phases
    return depth * ceil_div(taps, r) <= COLUMNS_DEPTH


def fits(geometry: MutableSequence[int], number: int) -> bool:
    """Whether a tile may be used: it must be accurate enough, and not be for longer kernels."""
    _, r, one_axis, two_axes = TILES[number % len(TILES)]
    high, wide = taps_of_phase(geometry, 0, 0), taps_of_phase(geometry, 1, 0)
    columns = number >= len(TILES)
    if columns:
        if not fits_columns(geometry, r):
            return False
        wide = 1
    least = two_axes if high > 1 and wide > 1 else one_axis
    if r > max(high, wide, 3) or (r == 2 and max(high, wide) > 2):  # the latter would take twice the products
        return False
    if geometry[at.LENIENCY] == at.TILES_ALL:
        return True
    # The fewer taps a kernel has, the smaller the error of a plain loop: F(4x4, 3x3) reached 4.5 times it with 3
    # channels and kernels of 2x2.
    shortest = min(high if high > 1 else wide, wide if wide > 1 else high)
    channels = geometry[at.CHANNELS] * (geometry[at.KERNEL_W] if columns else 1)  # what is summed
    channels = channels if shortest >= r else channels // 4
    # So it is where most phases of a stride have one tap along an axis: F(4x4, 3x3) and F(5x5, 2x2) reached 4.6 and 4.4
    # times it with 12 channels, kernels of 4x4 and stride 3, and 2.4 with 48.
    single = False
    for axis in range(2):
        fewest = geometry[at.KERNEL_H + axis] // geometry[at.STRIDE_H + axis]
        single = single or (fewest == 1 and taps_of_phase(geometry, axis, 0) > 1)
    if single:
        channels //= 4
    return least > 0 and (geometry[at.LENIENCY] == at.TILES_STANDARD or channels >= least or number == 0)


def set_tile(geometry: MutableSequence[int], itemsize: int, number: int) -> None:
    """Fill the slots that follow from the tile, which serves every axis with more than one tap, or the height alone."""
    geometry[at.COLUMNS] = int(number >= len(TILES))
    tile = number % len(TILES)
    for axis in range(2):
        most = taps_of_phase(geometry, axis, 0)
        m, r = (TILES[tile][0], TILES[tile][1]) if most > 1 and geometry[at.COLUMNS] * axis == 0 else (1, 1)
        phase = ceil_div(geometry[at.OUT_H + axis], geometry[at.DILATION_H + axis])
        geometry[at.TILE_H + axis] = m
        geometry[at.TAPS_H + axis] = r
        geometry[at.PIECES_H + axis] = ceil_div(most, r)
        geometry[at.PHASES_H + axis] = min(geometry[at.STRIDE_H + axis], geometry[at.KERNEL_H + axis])
        geometry[at.DOWN + axis] = ceil_div(phase, m)
    order_pieces(geometry)
    lanes = VECTOR_BYTES // itemsize
    if geometry[at.COLUMNS] != 0:  # a vector of columns belongs to one row of tiles
        geometry[at.ACROSS] = ceil_div(geometry[at.ACROSS], lanes) * lanes
    geometry[at.RUN_GROUPS] = run_groups(geometry, itemsize)


def run_groups(geometry: MutableSequence[int], itemsize: int) -> int:
    """Groups of neighbouring tiles in a vector of those whose input is transformed: 1, 2 or 4, whatever is cheapest.

    56x56 has rows of 14 tiles, of which a block has three and a half and one beside: five vectors, or four of two
    groups. 64 channels took 0.96 of the time so, 128 and 256 0.98, 64 at 112x112 0.99; of four groups, which are stored
    in four parts, 1.03 (Zen 4, 2 threads).
    """
    lanes = VECTOR_BYTES // itemsize
    best, least = 1, 0
    for groups in (1, 2, 4):
        # Loads take cells of one group.
        parts = 4 + int(groups == 4) + int(lanes // groups * geometry[at.TILE_W] % lanes != 0)
        price = parts * transformed_vectors(geometry, itemsize, groups)
        if groups <= lanes and (groups == 1 or price < least):
            best, least = groups, price
    return best


def transformed_vectors(geometry: MutableSequence[int], itemsize: int, groups: int) -> int:
    """Vectors of ``groups`` groups of neighbouring tiles that the first blocks take."""
    width, across = max(1, VECTOR_BYTES // itemsize // groups), geometry[at.ACROSS]
    nr, more = block_columns(geometry, itemsize), tiles_beside(geometry, itemsize)
    total = 0
    for number in range(min(SAMPLED_BLOCKS, tile_blocks(geometry, itemsize))):
        first, beside = number * nr + min(number, more), int(number < more)
        count = min(nr, all_tiles(geometry) - first)
        begun = min(count, -first % across)  # of a row that another block begins
        whole, left = divmod(count - begun, across)
        parts = ceil_div(begun, width) + whole * ceil_div(across, width) + ceil_div(left, width) + beside
        total += ceil_div(parts, groups)
    return total


def tile_points(geometry: MutableSequence[int]) -> int:
    """Places of a transformed tile."""
    high = geometry[at.TILE_H] + geometry[at.TAPS_H] - 1
    return high * (geometry[at.TILE_W] + geometry[at.TAPS_W] - 1)


def all_tiles(geometry: MutableSequence[int]) -> int:
    """Tiles of all images, output depths and phases, numbered through."""
    phases = geometry[at.OUT_D] * geometry[at.DILATION_H] * geometry[at.DILATION_W]
    return geometry[at.BATCH] * phases * geometry[at.DOWN] * geometry[at.ACROSS]


def longest(geometry: MutableSequence[int], nr: int) -> int:
    """Tiles of the busiest thread where blocks have ``nr``, about: of two threads and, twice, of four, added.

    The smaller block that a group may leave is counted as its last task. 32 images of 14x14 have 512 tiles: of 11
    blocks of 48, one thread takes 272, of 16 of 32, 256: 256 channels took 0.93 of the time (Zen 4, 2 threads).
    """
    groups = geometry[at.GROUPS]
    whole, left = divmod(all_tiles(geometry), nr)
    total = 0
    for threads in (2, 4):
        rounds, over = divmod(whole * groups, threads)
        last = nr if over > 0 else left * ceil_div(groups, threads)
        total += threads // 2 * (rounds * nr + last)
    return total


def block_columns(geometry: MutableSequence[int], itemsize: int) -> int:
    """NR, the tiles of a block: two vectors, one where there are no more; three where few are left, or blocks many.

    Of so few tiles that filters are in the lanes it is less than a vector, see ``blocking.few_tiles``: not where the
    weights come from memory (512 channels at 7x7 took 1.5 times as long with 4 tiles of 4x4 as with 16 of 2x2; Zen 4).

    Of columns COLUMN_VECTORS, or as many as there are. For 25 tiles, which 20x20 have, three halves of a vector and one
    beside are enough, see ``blocking.HALF_VECTORS``: 64 to 512 channels took 0.85 to 0.89 of the time. For 100, of
    40x40, four blocks of 25 took as long as three of 32 and one of 4; for 169, of 52x52, such blocks took 1.1 times as
    long (Zen 4).

    An image of 28x28 has 49 tiles, one of 56x56 four times as many: three vectors and one BESIDE for each block. Larger
    blocks read the weights less often, and four of them leave no thread waiting, as six and a small one do: 64 to 256
    channels at 56x56 took 0.87 of the time on two threads and 0.93 on one, at 224x224 0.93 (Emerald Rapids). Where they
    leave one waiting longer, blocks are smaller: see :func:`longest`.
    """
    lanes = VECTOR_BYTES // itemsize
    tiles = all_tiles(geometry)
    if geometry[at.COLUMNS] != 0:
        return min(COLUMN_VECTORS * lanes, tiles)
    if tiles <= lanes:
        few = few_tiles(tiles, itemsize)
        return few if few > 0 and weight_places(geometry) * itemsize <= ALONE_BYTES else lanes
    halves = lanes + lanes // 2
    if HALF_VECTORS and tiles <= halves + 1:
        return halves
    if VECTOR_BYTES < 64:
        return 2 * lanes
    whole, left = divmod(tiles, 3 * lanes)
    if whole == 0:
        three = 2 * left > 5 * lanes
    elif whole == 1:
        three = left <= lanes // 2
    else:
        size = tile_points(geometry) * geometry[at.PRODUCTS] * 3 * lanes * itemsize
        three = whole >= FEWEST_THREE and size <= LARGEST_BLOCK
        three = three and THREE_SHARE * longest(geometry, 3 * lanes) < longest(geometry, 2 * lanes)
    return 3 * lanes if three else 2 * lanes


def tiles_beside(geometry: MutableSequence[int], itemsize: int) -> int:
    """Blocks of three vectors, or halves, that have one more tile: those that are left, where they are so few."""
    nr, lanes = block_columns(geometry, itemsize), VECTOR_BYTES // itemsize
    whole, left = divmod(all_tiles(geometry), nr)
    return left if (nr == 3 * lanes or 2 * nr == 3 * lanes) and left <= min(whole, MOST_BESIDE) else 0


def tile_blocks(geometry: MutableSequence[int], itemsize: int) -> int:
    """Blocks of tiles of a group."""
    nr = block_columns(geometry, itemsize)
    return all_tiles(geometry) // nr if tiles_beside(geometry, itemsize) else ceil_div(all_tiles(geometry), nr)


def weight_places(geometry: MutableSequence[int]) -> int:
    """Elements of the transformed weights."""
    return geometry[at.GROUPS] * geometry[at.FILTERS] * geometry[at.PRODUCTS] * tile_points(geometry)


def panel_shares(geometry: MutableSequence[int], itemsize: int) -> int:
    """Tasks that share the panels of a group."""
    panels = ceil_div(geometry[at.FILTERS], TILE_ROWS)
    return split_evenly(panels, geometry[at.GROUPS]) if share_tiles(geometry, itemsize) else 1


def sums_deeply(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether several panels are multiplied by a place's tiles at a time."""
    few = geometry[at.PRODUCTS] < LEAST_DEPTH and not share_tiles(geometry, itemsize)
    if geometry[at.COLUMNS] != 0 or few:
        return False
    return tile_blocks(geometry, itemsize) > 1 or weight_places(geometry) * itemsize <= ALONE_BYTES


def panels_at_a_time(geometry: MutableSequence[int], itemsize: int) -> int:
    """Panels that are multiplied by a place's tiles at a time.

    They may be of several tasks that a thread takes at once: of a single block as many as there are, of others as leave
    room for the sums of all blocks. Tasks that transform the weights have room for their own.
    """
    if geometry[at.COLUMNS] == 0 and not sums_deeply(geometry, itemsize):
        return 1
    panels = ceil_div(geometry[at.FILTERS], TILE_ROWS)
    most = ceil_div(panels, panel_shares(geometry, itemsize))
    if share_tiles(geometry, itemsize) and geometry[at.REPACKED] == 0:
        blocks = tile_blocks(geometry, itemsize)
        sums = blocks * tile_points(geometry) * TILE_ROWS * block_columns(geometry, itemsize) * itemsize
        most = panels if blocks == 1 else max(most, SUMS_BYTES // sums)
    return min(TOGETHER, panels, most)


def runs_of_block(geometry: MutableSequence[int], itemsize: int) -> int:
    """Runs of neighbouring tiles that a block may have."""
    most = block_columns(geometry, itemsize) + min(1, tiles_beside(geometry, itemsize))
    return min(most, ceil_div(most - 1, geometry[at.ACROSS]) + 1)


def share_tiles(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether all tasks share the transformed tiles: where there are few blocks for the threads."""
    blocks = geometry[at.GROUPS] * tile_blocks(geometry, itemsize)
    elements = blocks * tile_points(geometry) * geometry[at.PRODUCTS] * block_columns(geometry, itemsize)
    if blocks >= FEWEST_TASKS or elements > SHARED_ELEMENTS:
        return False
    fresh = geometry[at.REPACKED] != 0 and weight_places(geometry) * itemsize > FRESH_BYTES
    return blocks < FEWEST_BLOCKS or elements * itemsize <= SHARED_BYTES or fresh
