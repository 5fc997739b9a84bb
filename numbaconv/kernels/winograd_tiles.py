"""The input side of :mod:`.winograd`: how tiles are numbered, and how what lies under them is gathered and transformed.

Tiles are numbered through the rows of a phase, the phases of a depth, the depths of an image, the images; NR of them
are a block. Neighbours in one row are a run.
"""

from __future__ import annotations

from ..runtime import kernel, separate_kernel
from . import geometry as at
from .blocking import BUFFERED, LINE, VECTOR_BYTES
from .numbers import smaller
from .packing import NO_PLANE, copy_block, depth_start
from .simd import address_of, copy_between, zero_lanes
from .tasks import PARTS, shared_start
from .winograd_simd import call_function, integer_at, put_integer

#: Where the transform's address lies among those in the table of rows.
INPUT = 0


@kernel
def points(geometry):
    """How many places a transformed tile has, and so how many products there are."""
    high = geometry[at.TILE_H] + geometry[at.TAPS_H] - 1
    return high * (geometry[at.TILE_W] + geometry[at.TAPS_W] - 1)


@kernel
def tile_count(geometry):
    """Tiles of all images, output depths and phases."""
    phases = geometry[at.OUT_D] * geometry[at.DILATION_H] * geometry[at.DILATION_W]
    return geometry[at.BATCH] * phases * geometry[at.DOWN] * geometry[at.ACROSS]


@kernel
def tile_run(tile, last, geometry):
    """Return the tiles from ``tile`` to ``last`` in one row: (image, output depth, output row, output column, count).

    The row and the column are those of the first tile's first output; the next output of a tile is one dilation on.
    Tiles are numbered through the rows of a phase, the phases of a depth, the depths of an image, the images.
    """
    rest, column = divmod(tile, geometry[at.ACROSS])
    rest, row = divmod(rest, geometry[at.DOWN])
    rest, right = divmod(rest, geometry[at.DILATION_W])
    rest, below = divmod(rest, geometry[at.DILATION_H])
    image, d = divmod(rest, geometry[at.OUT_D])
    h = below + row * geometry[at.TILE_H] * geometry[at.DILATION_H]
    w = right + column * geometry[at.TILE_W] * geometry[at.DILATION_W]
    return image, d, h, w, smaller(last - tile, geometry[at.ACROSS] - column)


@kernel
def copy_padded(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As ``packing.copy_block`` for the usual input: unit strides, padding of zeros. Whole vectors are written."""
    first_row, row_step, lines = rows
    w, count, _ = columns
    buffer, pitch, channel_step = target
    lanes = VECTOR_BYTES // y.itemsize
    for j in range(0, count, lanes):
        low, high = -(w + j), geometry[at.IN_W] - (w + j)
        for i in range(lines):
            row = first_row + i * row_step
            inside = 0 <= row < geometry[at.IN_H] and start != NO_PLANE
            source = start + row * geometry[at.X_H] + w + j if inside else 0
            place = buffer + i * pitch + j
            for _ in range(channels):
                copy_between(x, source, y, place, low, high if inside else 0, ahead)
                source += geometry[at.X_CHANNEL]
                place += channel_step


@kernel
def copy_any(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As :func:`copy_padded` for every input."""
    if geometry[at.X_W] == 1 and geometry[at.DILATION_W] == 1 and geometry[at.PAD_MODE] == at.PAD_ZEROS:
        copy_padded(x, start, channels, geometry, rows, columns, y, target, ahead)
    else:
        copy_block(x, start, channels, geometry, rows, columns, y, target, 0)


@kernel
def winograd_gather(copy, x, geometry, scratch, buffer, steps, group, tile, last, first_channel, some, kd):
    """Copy what is under the tiles from ``tile`` to ``last`` and tap ``kd`` of depth, in ``some`` channels of a group.

    scratch[buffer + c * steps[0] + run * steps[1] + i * steps[2] + j] = row i and column j under the run of tiles,
    both counted in dilations from the first tile's first cell. ``copy`` is :func:`copy_any` or :func:`copy_padded`.
    """
    channel_step, run_step, pitch = steps
    step_h, step_w = geometry[at.DILATION_H], geometry[at.DILATION_W]
    lines = geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1
    beyond = geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    ahead = some * geometry[at.X_CHANNEL]  # what is gathered next, after some transforms
    while tile < last:
        image, d, h, w, count = tile_run(tile, last, geometry)
        start = geometry[at.X_START] + image * geometry[at.X_BATCH]
        start += (group * geometry[at.CHANNELS] + first_channel) * geometry[at.X_CHANNEL]
        start = depth_start(geometry, start, d, kd)
        h -= geometry[at.PAD_H]
        w -= geometry[at.PAD_W]
        columns = geometry[at.TILE_W] * count + beyond
        copy(
            x, start, some, geometry, (h, step_h, lines), (w, columns, step_w), scratch, (buffer, pitch, channel_step),
            ahead,
        )  # fmt: skip
        buffer += run_step
        tile += count


@kernel
def tabulate(geometry, table, lanes, tile, last):
    """Cut the tiles from ``tile`` to ``last`` into groups of neighbours for the input transform; how many integers.

    The table holds (where a group's cells lie among those gathered, its first tile, how many) for whole vectors of
    groups: the last group is repeated.
    """
    width = lanes // geometry[at.RUN_GROUPS]
    first, region, entry = tile, 0, 0
    while tile < last:
        _, _, _, _, count = tile_run(tile, last, geometry)
        for t in range(0, count, width):
            put_integer(table, entry, region + t * geometry[at.TILE_W])
            put_integer(table, entry + 1, tile - first + t)
            put_integer(table, entry + 2, smaller(width, count - t))
            entry += 3
        region += geometry[at.RUN_STEP]
        tile += count
    while entry % (3 * geometry[at.RUN_GROUPS]) != 0:
        for slot in range(3):
            put_integer(table, entry + slot, integer_at(table, entry + slot - 3))
        entry += 3
    return entry


@kernel
def clear_beyond(geometry, scratch, block, tiles, begin, end):
    """Where ``tiles`` tiles fill the last vector of a transformed block only partly, zero it.

    Memory often holds integers, which are denormal numbers: what is multiplied beyond the tiles, and transformed with
    them, made layers up to 90 times slower (Intel Emerald Rapids).
    """
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // scratch.itemsize
    if tiles % lanes == 0:
        return
    channels = geometry[at.CHANNELS]
    pieces = geometry[at.KERNEL_D] * geometry[at.PIECES_H] * geometry[at.PIECES_W]
    first = block + tiles // lanes * lanes
    for u in range(points(geometry)):
        for piece in range(pieces):
            for c in range(piece * channels + begin, piece * channels + end):
                zero_lanes(scratch, first + u * geometry[at.INPUT_STEP] + c * nr, lanes)


@separate_kernel
def winograd_pack(copy, x, rows, geometry, scratch, block, own, group, tile, last, begin, end):
    """scratch[block + u * INPUT_STEP + k * NR + t] = place u of B^T d B of tile ``tile`` + t, k as for the weights.

    For channels begin <= c < end of a group. ``own`` is where the thread's sums start, with room for all else behind.
    """
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // scratch.itemsize
    channels = geometry[at.CHANNELS]
    pitch = geometry[at.PITCH]
    buffer = own + geometry[at.GATHERED_START]
    steps = (geometry[at.GATHERED_STEP], geometry[at.RUN_STEP], pitch)
    sizes = address_of(scratch, own + geometry[at.SIZES_START])
    table = address_of(scratch, own + geometry[at.TABLE_START])
    put_integer(sizes, 0, tabulate(geometry, table, lanes, tile, last))
    put_integer(sizes, 1, 3 * geometry[at.RUN_GROUPS])
    put_integer(sizes, 2, geometry[at.GATHERED_STEP])
    put_integer(sizes, 3, nr)
    put_integer(sizes, 4, pitch)
    put_integer(sizes, 5, geometry[at.INPUT_STEP])
    clear_beyond(geometry, scratch, block, last - tile, begin, end)
    for c in range(begin, end, BUFFERED):
        some = smaller(BUFFERED, end - c)
        target = block + c * nr
        for kd in range(geometry[at.KERNEL_D]):
            winograd_gather(copy, x, geometry, scratch, buffer, steps, group, tile, last, c, some, kd)
            for h in range(geometry[at.PIECES_H]):
                for w in range(geometry[at.PIECES_W]):
                    source = buffer + h * geometry[at.TAPS_H] * pitch + w * geometry[at.TAPS_W]
                    call_function(
                        rows[geometry[at.FUNCTIONS] + INPUT],
                        (address_of(scratch, 0), table, sizes, source, target, some),
                    )
                    target += channels * nr


@kernel
def beside_start(geometry, scratch, group, place):
    """Where the cells of the tile BESIDE lie one behind the other, in the order of k, at a place of a transformed tile.

    In the block's rows each would lie in a cache line of its own: 128 and 512 channels at 28x28 took 1.15 to 1.3 times
    as long (Emerald Rapids).
    """
    step = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.PIECES_H] * geometry[at.PIECES_W] + LINE
    return shared_start(scratch) + geometry[at.BESIDE] + (group * points(geometry) + place) * step


@kernel
def winograd_shared(copy, part, x, rows, geometry, scratch, own):
    """Where all tasks share all blocks of tiles: transform part ``part`` of PARTS of the channels, of every block.

    Block b of group g is the matrices from ``scratch[shared_start + (g * blocks + b) * points * INPUT_STEP]`` on.
    """
    nr = geometry[at.NR]
    channels = geometry[at.CHANNELS]
    tiles = tile_count(geometry)
    blocks = (tiles + nr - 1) // nr
    begin, end = channels * part // PARTS, channels * (part + 1) // PARTS
    for number in range(geometry[at.GROUPS] * blocks):
        group, block = divmod(number, blocks)
        start = shared_start(scratch) + number * points(geometry) * geometry[at.INPUT_STEP]
        last = smaller(tiles, (block + 1) * nr)
        winograd_pack(copy, x, rows, geometry, scratch, start, own, group, block * nr, last, begin, end)
        if geometry[at.BESIDE] != 0 and block == blocks - 1:
            for u in range(points(geometry)):
                cells = beside_start(geometry, scratch, group, u)
                for piece in range(geometry[at.KERNEL_D] * geometry[at.PIECES_H] * geometry[at.PIECES_W]):
                    for k in range(piece * channels + begin, piece * channels + end):
                        scratch[cells + k] = scratch[start + u * geometry[at.INPUT_STEP] + k * nr]


@kernel
def tabulate_runs(geometry, table, tile, last):
    """Note where the outputs of each run of tiles from ``tile`` to ``last`` lie; return how many runs there are.

    The table holds (the first output of channel 0, rows, columns, columns of whole tiles). Working them out takes
    divisions, more of them for one filter than storing its outputs takes time.
    """
    high, wide = geometry[at.TILE_H], geometry[at.TILE_W]
    runs = 0
    while tile < last:
        image, d, h, w, count = tile_run(tile, last, geometry)
        start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + d * geometry[at.OUT_STRIDE_D]
        start += h * geometry[at.OUT_STRIDE_H] + w * geometry[at.OUT_STRIDE_W]
        put_integer(table, 4 * runs, start)
        put_integer(table, 4 * runs + 1, smaller(high, -((h - geometry[at.OUT_H]) // geometry[at.DILATION_H])))
        put_integer(table, 4 * runs + 2, smaller(wide * count, -((w - geometry[at.OUT_W]) // geometry[at.DILATION_W])))
        put_integer(table, 4 * runs + 3, wide * count)
        runs += 1
        tile += count
    return runs
