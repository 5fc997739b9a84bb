"""The input side of :mod:`.winograd`: how tiles are numbered, and how what lies under them is gathered and transformed.

Tiles are numbered through the rows of a phase, the phases of a depth, the depths of an image, the images; NR of them
are a block. Neighbours in one row are a run. Where few tiles would be left behind the last whole block, the first
BESIDE of the blocks have one more, which lies beside the others when it has been transformed. (As one of the last tiles
it was done by a thread that another one's outputs lie next to, so cache lines went to and fro: 64 channels at 56x56
took 1.06 times as long; Zen 4, 2 threads.)
"""

from __future__ import annotations

from ..runtime import kernel, separate_kernel
from . import geometry as at
from .blocking import buffered
from .numbers import divided, integer_at, lanes_of, larger, put_integer, smaller
from .packing import NO_PLANE, copy_2, copy_3, copy_4, copy_block, depth_start, zero_run
from .simd import address_of, copy_between, zero_lanes
from .simd_apart import ask_for
from .tasks import PARTS, shared_start
from .winograd_simd import GROUP, call_function

#: ``blocking.buffered`` for kernels.
buffered_of = kernel(buffered)
#: Where the transform's address lies among those in the table of rows.
INPUT = 0


@kernel
def block_tiles(number, geometry):
    """Return the tiles of block ``number``, (first, behind the last, how many lie beside the others: 0 or 1)."""
    nr, more = geometry[at.NR], geometry[at.BESIDE]
    first = number * nr + smaller(number, more)
    beside = 1 if number < more else 0
    return first, smaller(geometry[at.TILES], first + nr + beside), beside


@kernel
def tile_run(tile, last, geometry):
    """Return the tiles from ``tile`` to ``last`` in one row: (image, output depth, output row, output column, count).

    The row and the column are those of the first tile's first output; the next output of a tile is one dilation on.
    Tiles are numbered through the rows of a phase, the phases of a depth, the depths of an image, the images.
    """
    rest, column = divided(tile, geometry[at.ACROSS])
    rest, row = divided(rest, geometry[at.DOWN])
    rest, right = divided(rest, geometry[at.DILATION_W])
    rest, below = divided(rest, geometry[at.DILATION_H])
    image, d = divided(rest, geometry[at.OUT_D])
    h = below + row * geometry[at.TILE_H] * geometry[at.DILATION_H]
    w = right + column * geometry[at.TILE_W] * geometry[at.DILATION_W]
    return image, d, h, w, smaller(last - tile, geometry[at.ACROSS] - column)


@kernel
def lines_under(geometry):
    """Rows of a phase of the input that lie under a row of tiles."""
    return geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1


@kernel
def lines_shared(before, h, geometry):
    """Rows under a run of tiles that the run before lies over, too: it must be all of the row above.

    ``before`` is how many tiles that has, ``h`` the run's first output row.
    """
    if before < geometry[at.ACROSS] or h < geometry[at.DILATION_H]:
        return 0
    return geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1


@kernel
def copy_padded(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As :func:`copy_phases` for the usual input: unit strides, padding of zeros. Whole vectors are written."""
    first_row, row_step, lines = rows
    w, count, _ = columns
    buffer, pitch, channel_step, _ = target
    lanes = lanes_of(y)
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
def copy_phases(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As ``packing.copy_block`` for each phase along the width: that of p begins p columns on, and p * target[3] on."""
    w, count, step = columns
    buffer, pitch, channel_step, phase_step = target
    for phase in range(geometry[at.PHASES_W]):
        copy_block(
            x, start, channels, geometry, rows, (w + phase, count, step), y,
            (buffer + phase * phase_step, pitch, channel_step), 0,
        )  # fmt: skip


@kernel
def copy_any(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As :func:`copy_phases`, where that is the usual input by :func:`copy_padded`."""
    if geometry[at.X_W] == 1 and columns[2] == 1 and geometry[at.PAD_MODE] == at.PAD_ZEROS:
        copy_padded(x, start, channels, geometry, rows, columns, y, target, ahead)
    else:
        copy_phases(x, start, channels, geometry, rows, columns, y, target, ahead)


@kernel
def copy_strided(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As :func:`copy_phases` for the usual input of 2 to 4 phases, as many as the stride. Rows are read once.

    Up to two vectors are written behind the columns of each phase.
    """
    first_row, row_step, lines = rows
    w, count, stride = columns
    buffer, pitch, channel_step, phase_step = target
    lanes = lanes_of(y)
    low = larger(0, -w)
    cells = smaller(count * stride, geometry[at.IN_W] - w) - low
    # All phases are written from here on.
    written = low // stride + (cells + stride * lanes - 1) // (stride * lanes) * lanes
    starts = (
        phase_place(low, stride, phase_step), phase_place(low + 1, stride, phase_step),
        phase_place(low + 2, stride, phase_step), phase_place(low + 3, stride, phase_step),
    )  # fmt: skip
    for i in range(lines):
        row = first_row + i * row_step
        inside = 0 <= row < geometry[at.IN_H] and start != NO_PLANE and cells > 0
        source = start + row * geometry[at.X_H] + w + low
        place = buffer + i * pitch
        for _ in range(channels):
            if not inside:
                for phase in range(stride):
                    zero_run(y, place + phase * phase_step, count)
            else:
                cell, phase = place, 0
                for _ in range(low):
                    y[cell + phase * phase_step] = 0
                    phase += 1
                    if phase == stride:
                        cell, phase = cell + 1, 0
                for phase in range(stride if written < count else 0):
                    zero_run(y, place + phase * phase_step + written, count - written)
            for j in range(0, cells if inside else 0, lanes):
                ask_for(x, source + ahead + j)
            if inside and stride == 2:
                copy_2(x, source, cells, y, place, starts)
            elif inside and stride == 3:
                copy_3(x, source, cells, y, place, starts)
            elif inside:
                copy_4(x, source, cells, y, place, starts)
            source += geometry[at.X_CHANNEL]
            place += channel_step


@kernel
def phase_place(column, stride, phase_step):
    """Where :func:`copy_strided` puts a column, counted from the first one of a row."""
    position, phase = divided(column, stride)
    return phase * phase_step + position


@kernel
def winograd_gather(copy, x, geometry, scratch, buffer, steps, group, number, first_channel, some, kd, ph, share):
    """Copy what is under the tiles of block ``number`` and tap ``kd`` of depth, in ``some`` channels of a group.

    scratch[buffer + c * channel_step + line * pitch + pw * phase_step + j] = row ``line`` and column j under the runs
    of tiles, both counted in dilations, or strides, from the first tile's first cell of phase ``ph``, pw; steps =
    (channel_step, pitch, phase_step). One run's rows lie behind the other's but, with ``share``, those under two runs
    are there once, see :func:`lines_shared`. ``copy`` is :func:`copy_phases` or one that serves fewer inputs.
    """
    channel_step, pitch, phase_step = steps
    stride_h, stride_w = geometry[at.STRIDE_H], geometry[at.STRIDE_W]
    step_h, step_w = geometry[at.DILATION_H] * stride_h, geometry[at.DILATION_W] * stride_w  # one of them is 1
    lines = lines_under(geometry)
    beyond = geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    ahead = some * geometry[at.X_CHANNEL]  # what is gathered next, after some transforms
    tile, last, _ = block_tiles(number, geometry)
    count = 0
    while tile < last:
        before = count
        image, d, h, w, count = tile_run(tile, last, geometry)
        shared = lines_shared(before, h, geometry) if share else 0
        start = geometry[at.X_START] + image * geometry[at.X_BATCH]
        start += (group * geometry[at.CHANNELS] + first_channel) * geometry[at.X_CHANNEL]
        start = depth_start(geometry, start, d, kd)
        h = h * stride_h - geometry[at.PAD_H] + ph + shared * step_h
        w = w * stride_w - geometry[at.PAD_W]
        columns = geometry[at.TILE_W] * count + beyond
        copy(
            x, start, some, geometry, (h, step_h, lines - shared), (w, columns, step_w), scratch,
            (buffer, pitch, channel_step, phase_step), ahead,
        )  # fmt: skip
        buffer += (lines - shared) * pitch
        tile += count


@kernel
def tabulate(geometry, table, lanes, number):
    """Cut the tiles of block ``number`` into groups of neighbours for the input transform; how many integers.

    The table holds (where a group's cells lie among those gathered, where its first tile goes, how many to store, how
    far apart channels go) for whole vectors of groups: the last group is repeated. The transform stores groups in this
    order: what one stores behind its tiles, as far as the block's go, the next ones overwrite. The tile beside the
    others is a group of its own.
    """
    nr = geometry[at.NR]
    width = lanes // geometry[at.RUN_GROUPS]
    first, last, beside = block_tiles(number, geometry)
    tile, behind, region, entry, count = first, last - beside, 0, 0, 0
    while tile < last:
        before = count
        _, _, h, _, count = tile_run(tile, last, geometry)
        region -= lines_shared(before, h, geometry) * geometry[at.PITCH]
        for t in range(0, smaller(count, behind - tile), width):
            put_integer(table, entry, region + t * geometry[at.TILE_W])
            put_integer(table, entry + 1, tile - first + t)
            put_integer(table, entry + 2, smaller(width, behind - tile - t))
            put_integer(table, entry + 3, nr)
            entry += GROUP
        tile += count
        if tile == last and beside > 0:
            put_integer(table, entry, region + (count - 1) * geometry[at.TILE_W])
            put_integer(table, entry + 1, nr * geometry[at.PRODUCTS])
            put_integer(table, entry + 2, 1)
            put_integer(table, entry + 3, 1)
            entry += GROUP
        region += lines_under(geometry) * geometry[at.PITCH]
    while entry % (GROUP * geometry[at.RUN_GROUPS]) != 0:
        for slot in range(GROUP):
            put_integer(table, entry + slot, integer_at(table, entry + slot - GROUP))
        entry += GROUP
    return entry


@kernel
def clear_beyond(geometry, scratch, block, tiles, begin, end):
    """Where ``tiles`` tiles fill the last vector of a transformed block only partly, zero it.

    Memory often holds integers, which are denormal numbers: what is multiplied beyond the tiles, and transformed with
    them, made layers up to 90 times slower (Intel Emerald Rapids).
    """
    nr = geometry[at.NR]
    lanes = lanes_of(scratch)
    if tiles % lanes == 0 or tiles == nr:
        return
    channels = geometry[at.CHANNELS]
    pieces = geometry[at.PRODUCTS] // channels
    first = block + tiles // lanes * lanes
    beyond = smaller(lanes, block + nr - first)  # NR may be three halves of a vector, or less than one
    for u in range(geometry[at.POINTS]):
        for piece in range(pieces):
            for c in range(piece * channels + begin, piece * channels + end):
                zero_lanes(scratch, first + u * geometry[at.INPUT_STEP] + c * nr, beyond)


@separate_kernel
def winograd_pack(copy, x, rows, geometry, scratch, block, own, group, number, begin, end):
    """scratch[block + u * INPUT_STEP + k * NR + t] = place u of B^T d B of tile t of block ``number``, k as in weights.

    For channels begin <= c < end of a group. That of the tile beside the others is scratch[... + depth * NR + k]: in
    the rows of the others, each would lie in a cache line of its own, and 128 and 512 channels at 28x28 took 1.15 to
    1.3 times as long (Emerald Rapids). ``own`` is where the thread's sums start, with room for all else behind.
    """
    lanes = lanes_of(scratch)
    pitch = geometry[at.PITCH]
    buffer = own + geometry[at.GATHERED_START]
    phase_step = geometry[at.PHASE_STEP]
    steps = (geometry[at.GATHERED_STEP], pitch, phase_step)
    pieces_h, pieces_w = geometry[at.PIECES_H], geometry[at.PIECES_W]
    pieces = geometry[at.PHASES_W] * pieces_h * pieces_w
    sizes = address_of(scratch, own + geometry[at.SIZES_START])
    table = address_of(scratch, own + geometry[at.TABLE_START])
    first, last, beside = block_tiles(number, geometry)
    put_integer(sizes, 0, tabulate(geometry, table, lanes, number))
    put_integer(sizes, 1, GROUP * geometry[at.RUN_GROUPS])
    put_integer(sizes, 2, geometry[at.GATHERED_STEP])
    put_integer(sizes, 3, pitch)
    put_integer(sizes, 4, geometry[at.INPUT_STEP])
    clear_beyond(geometry, scratch, block, last - beside - first, begin, end)
    most = buffered_of(geometry[at.CHANNELS_LAST])
    for c in range(begin, end, most):
        some = smaller(most, end - c)
        for plane in range(geometry[at.KERNEL_D] * geometry[at.PHASES_H]):
            kd, ph = divided(plane, geometry[at.PHASES_H])
            start = geometry[at.STARTS] + plane * pieces
            winograd_gather(copy, x, geometry, scratch, buffer, steps, group, number, c, some, kd, ph, True)
            for piece in range(pieces):
                k = rows[start + piece] + c
                if k < c:  # a phase that has no taps in this piece
                    continue
                rest, w = divided(piece, pieces_w)
                pw, h = divided(rest, pieces_h)
                source = buffer + pw * phase_step + h * geometry[at.TAPS_H] * pitch + w * geometry[at.TAPS_W]
                call_function(
                    rows[geometry[at.FUNCTIONS] + INPUT],
                    (address_of(scratch, source), address_of(scratch, block), table, sizes, k, some),
                )


@kernel
def winograd_shared(copy, part, x, rows, geometry, scratch, own):
    """Where all tasks share all blocks of tiles: transform part ``part`` of PARTS of the channels, of every block.

    Block b of group g is the matrices from ``scratch[shared_start + (g * blocks + b) * points * INPUT_STEP]`` on.
    """
    channels = geometry[at.CHANNELS]
    blocks = geometry[at.BLOCKS]
    begin, end = channels * part // PARTS, channels * (part + 1) // PARTS
    for number in range(geometry[at.GROUPS] * blocks):
        group, block = divided(number, blocks)
        start = shared_start(scratch) + number * geometry[at.POINTS] * geometry[at.INPUT_STEP]
        winograd_pack(copy, x, rows, geometry, scratch, start, own, group, block, begin, end)


@kernel
def tabulate_runs(geometry, table, number):
    """Note where the outputs of each run of block ``number``'s tiles lie; return how many runs there are.

    The table holds (the first output of channel 0, rows, columns, columns of whole tiles). Working them out takes
    divisions, more of them for one filter than storing its outputs takes time.
    """
    high, wide = geometry[at.TILE_H], geometry[at.TILE_W]
    tile, last, _ = block_tiles(number, geometry)
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
