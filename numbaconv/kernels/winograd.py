"""Winograd convolution F(m x m', r x r'): (m + r - 1)(m' + r' - 1) multiplications for m m' outputs, not m m' r r'.

Y = A^T [ sum over c of (G g G^T) * (B^T d B) ] A for each tile of m x m' outputs, with * elementwise (Lavin & Gray,
"Fast algorithms for convolutional neural networks", CVPR 2016). The elementwise products of many tiles are one matrix
product for each of the (m + r - 1)(m' + r' - 1) places in a transformed tile.

- A larger kernel is cut into pieces of r x r' taps, which are further channels: their tiles begin r, 2 r, ... cells on.
  So are the taps of a kernel's depth: they read other slices of the volume.
- Dilation d makes d separate images of every d-th row: phases. The same goes for columns.
- F(1, 1) along an axis leaves it alone: that is how kernels of one row or of one column are served.

A block of NR tiles goes through all three steps in a thread's scratch: nothing the size of the image is ever stored.
A transform spreads NaN and infinity over its tile, and overflows before direct summation does: where a sum of a
block is not finite, its tiles are summed directly, by the same microkernel.
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import BUFFERED, PACK_SCRATCH, TILE_ROWS, VECTOR_BYTES
from .packing import NO_PLANE, copy_block, depth_start, pack_bias, pack_panels, panels_together
from .simd import (
    copy_between,
    copy_lanes,
    gemm_microkernel,
    gemm_microkernel_half,
    gemm_microkernel_narrow,
)
from .tasks import PARTS, next_part, next_task, own_start, part_done, shared_start
from .winograd_simd import address_of, call_function, integer_at, put_integer

#: Where the functions' addresses follow one another in the table of rows.
INPUT, WEIGHT, OUTPUT = 0, 1, 2
#: Half a vector is worth a microkernel of its own where it takes half the time: on Zen 4 with AVX-512.
HALVES = VECTOR_BYTES == 64


@kernel
def points(geometry):
    """How many places a transformed tile has, and so how many products there are."""
    high = geometry[at.TILE_H] + geometry[at.TAPS_H] - 1
    return high * (geometry[at.TILE_W] + geometry[at.TAPS_W] - 1)


@kernel
def transform_panel(packed, rows, geometry, raw, target):
    """Transform the panel of weights at ``packed[raw]``: the matrices U start at ``packed[target]``."""
    channels = geometry[at.CHANNELS]
    kernel_h, kernel_w = geometry[at.KERNEL_H], geometry[at.KERNEL_W]
    taps = geometry[at.KERNEL_D] * kernel_h * kernel_w
    for plane in range(0, taps, kernel_h * kernel_w):
        for h in range(0, kernel_h, geometry[at.TAPS_H]):
            for w in range(0, kernel_w, geometry[at.TAPS_W]):
                source = raw + (plane + h * kernel_w + w) * TILE_ROWS
                call_function(
                    rows[geometry[at.FUNCTIONS] + WEIGHT],
                    (
                        address_of(packed, source), address_of(packed, target), channels, taps * TILE_ROWS, TILE_ROWS,
                        kernel_h - h, kernel_w - w, kernel_w, geometry[at.WEIGHT_STEP],
                    ),
                )  # fmt: skip
                target += channels * TILE_ROWS


@kernel
def winograd_weights(slot, slots, weight, bias, packed, rows, geometry, scratch):
    """Transform the kernels g of thread ``slot`` to U = G g G^T, laid out as matrices for the microkernel.

    packed[((g * PANELS + p) * points + u) * WEIGHT_STEP + k * MR + m] = U_u of filter p * MR + m of group g and k over
    (tap of depth, piece, channel), zeros beyond the last filter; then the bias (see ``pack_bias``); then, from
    RAW_START on, the weights, packed as by ``pack_weights``.
    """
    panels = geometry[at.PANELS]
    step = geometry[at.WEIGHT_STEP]
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    own = shared_start(scratch) + slot * PACK_SCRATCH
    every = geometry[at.GROUPS] * panels
    number, last = every * slot // slots, every * (slot + 1) // slots
    while number < last:
        group, panel = divmod(number, panels)
        some = panels_together(geometry, panel, last - number, packed.itemsize)
        raw = geometry[at.RAW_START] + number * depth * TILE_ROWS
        pack_panels(weight, rows, geometry, group, panel, some, packed, raw, scratch, own)
        target = number * points(geometry) * step
        for _ in range(some):
            transform_panel(packed, rows, geometry, raw, target)
            raw += depth * TILE_ROWS
            target += points(geometry) * step
        number += some
    if slot == 0:
        pack_bias(bias, packed, geometry)


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
    return image, d, h, w, min(last - tile, geometry[at.ACROSS] - column)


@kernel
def winograd_gather(x, geometry, scratch, buffer, steps, group, tile, last, first_channel, some, kd):
    """Copy what is under the tiles from ``tile`` to ``last`` and tap ``kd`` of depth, in ``some`` channels of a group.

    scratch[buffer + c * steps[0] + run * steps[1] + i * steps[2] + j] = row i and column j under the run of tiles,
    both counted in dilations from the first tile's first cell. Whole vectors of a row are written.
    """
    channel_step, run_step, pitch = steps
    lanes = VECTOR_BYTES // scratch.itemsize
    step_h, step_w = geometry[at.DILATION_H], geometry[at.DILATION_W]
    lines = geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1
    beyond = geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    size = geometry[at.IN_W]
    plain = geometry[at.X_W] == 1 and step_w == 1 and geometry[at.PAD_MODE] == at.PAD_ZEROS
    while tile < last:
        image, d, h, w, count = tile_run(tile, last, geometry)
        start = geometry[at.X_START] + image * geometry[at.X_BATCH]
        start += (group * geometry[at.CHANNELS] + first_channel) * geometry[at.X_CHANNEL]
        start = depth_start(geometry, start, d, kd)
        h -= geometry[at.PAD_H]
        w -= geometry[at.PAD_W]
        columns = geometry[at.TILE_W] * count + beyond
        if plain:
            for j in range(0, columns, lanes):
                low, high = -(w + j), size - (w + j)
                for i in range(lines):
                    row = h + i * step_h
                    inside = 0 <= row < geometry[at.IN_H] and start != NO_PLANE
                    source = start + row * geometry[at.X_H] + w + j if inside else 0
                    target = buffer + i * pitch + j
                    for _ in range(some):
                        copy_between(x, source, scratch, target, low, high if inside else 0)
                        source += geometry[at.X_CHANNEL]
                        target += channel_step
        else:
            copy_block(
                x, start, some, geometry, (h, step_h, lines), (w, columns, step_w), scratch,
                (buffer, pitch, channel_step), 0,
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
            put_integer(table, entry + 2, min(width, count - t))
            entry += 3
        region += geometry[at.RUN_STEP]
        tile += count
    while entry % (3 * geometry[at.RUN_GROUPS]) != 0:
        for slot in range(3):
            put_integer(table, entry + slot, integer_at(table, entry + slot - 3))
        entry += 3
    return entry


@kernel
def winograd_pack(x, rows, geometry, scratch, block, own, group, tile, last, begin, end):
    """scratch[block + u * INPUT_STEP + k * NR + t] = place u of B^T d B of tile ``tile`` + t, k as for the weights.

    For channels begin <= c < end of a group. ``own`` is where the thread's sums start, with room for all else behind.
    """
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // scratch.itemsize
    channels = geometry[at.CHANNELS]
    pitch = geometry[at.PITCH]
    buffer = own + geometry[at.GATHERED_START]
    steps = (geometry[at.GATHERED_STEP], geometry[at.RUN_STEP], pitch)
    table = address_of(scratch, own + geometry[at.TABLE_START])
    entries = tabulate(geometry, table, lanes, tile, last)
    for c in range(begin, end, BUFFERED):
        some = min(BUFFERED, end - c)
        target = block + c * nr
        for kd in range(geometry[at.KERNEL_D]):
            winograd_gather(x, geometry, scratch, buffer, steps, group, tile, last, c, some, kd)
            for h in range(geometry[at.PIECES_H]):
                for w in range(geometry[at.PIECES_W]):
                    source = buffer + h * geometry[at.TAPS_H] * pitch + w * geometry[at.TAPS_W]
                    call_function(
                        rows[geometry[at.FUNCTIONS] + INPUT],
                        (
                            address_of(scratch, 0), table, entries, 3 * geometry[at.RUN_GROUPS], source,
                            geometry[at.GATHERED_STEP], target, nr, some, pitch, geometry[at.INPUT_STEP],
                        ),
                    )  # fmt: skip
                    target += channels * nr


@kernel
def winograd_multiply(weight, scratch, block, sums, rows, geometry, matrices, tiles, out):
    """scratch[sums + (u * MR + m) * NR + t] = sum over k of U_u[m, k] * V_u[k, t], for each place u and t < ``tiles``.

    A block with few tiles in its last vector is multiplied by narrower microkernels: more sums than wanted are written.
    """
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // scratch.itemsize
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.PIECES_H] * geometry[at.PIECES_W]
    for u in range(points(geometry)):
        a = (matrices + u) * geometry[at.WEIGHT_STEP]
        b = block + u * geometry[at.INPUT_STEP]
        c = sums + u * TILE_ROWS * nr
        left = tiles
        if left > lanes and (not HALVES or left > lanes + lanes // 2):
            gemm_microkernel(weight, a, scratch, b, rows, depth, out, c, nr, 1, 0, 0, at.FINISH_NOTHING)
            left = 0
        elif left > lanes // 2 or not HALVES:
            gemm_microkernel_narrow(weight, a, scratch, b, rows, depth, out, c, nr, 1, 0, 0, at.FINISH_NOTHING)
            left -= lanes
            b += lanes
            c += lanes
        if left > 0:
            gemm_microkernel_half(weight, a, scratch, b, rows, depth, out, c, nr, 1, 0, 0, at.FINISH_NOTHING)


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
        put_integer(table, 4 * runs + 1, min(high, -((h - geometry[at.OUT_H]) // geometry[at.DILATION_H])))
        put_integer(table, 4 * runs + 2, min(wide * count, -((w - geometry[at.OUT_W]) // geometry[at.DILATION_W])))
        put_integer(table, 4 * runs + 3, wide * count)
        runs += 1
        tile += count
    return runs


@kernel
def winograd_store(out, geometry, scratch, buffer, channel, table, runs):
    """Copy the outputs of a filter from ``buffer`` to ``out[channel]``, cut off at the image's edges."""
    pitch = geometry[at.PITCH]
    lanes = VECTOR_BYTES // out.itemsize
    step_h = geometry[at.DILATION_H] * geometry[at.OUT_STRIDE_H]
    step = geometry[at.DILATION_W] * geometry[at.OUT_STRIDE_W]
    for run in range(runs):
        columns = integer_at(table, 4 * run + 2)
        for i in range(integer_at(table, 4 * run + 1)):
            y = channel + integer_at(table, 4 * run) + i * step_h
            source = buffer + i * pitch
            if step == 1:
                for j in range(0, columns, lanes):
                    copy_lanes(scratch, source + j, out, y + j, columns - j)
            else:
                for j in range(columns):
                    out[y + j * step] = scratch[source + j]
        buffer += integer_at(table, 4 * run + 3)


@kernel
def gather_plain(x, geometry, scratch, own, group, tile, last):
    """Copy what is under the tiles from ``tile`` to ``last``, in all channels and taps of depth, for direct summation.

    scratch[PLAIN_START + (kd * channels + c) * PLAIN_STEP + ...] as in :func:`winograd_gather`.
    """
    channels = geometry[at.CHANNELS]
    plain = own + geometry[at.PLAIN_START]
    step = geometry[at.PLAIN_STEP]
    steps = (step, plain_lines(geometry) * geometry[at.PLAIN_PITCH], geometry[at.PLAIN_PITCH])
    for kd in range(geometry[at.KERNEL_D]):
        winograd_gather(x, geometry, scratch, plain + kd * channels * step, steps, group, tile, last, 0, channels, kd)


@kernel
def plain_lines(geometry):
    """Rows that are gathered under a tile."""
    return geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1


@kernel
def sum_directly(weight, out, rows, geometry, scratch, own, table, group, panel, runs):
    """Compute the outputs of a panel's spoiled tiles by direct summation, from what :func:`gather_plain` wrote.

    Integer m of the table has bit t set where the block's tile t of the panel's filter m is spoiled; behind them lie
    the ``runs`` of :func:`tabulate_runs`. NR columns of a run are summed at a time.
    """
    nr = geometry[at.NR]
    planes = geometry[at.CHANNELS] * geometry[at.KERNEL_D]
    depth = planes * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    number = group * geometry[at.PANELS] + panel
    a = geometry[at.RAW_START] + number * depth * TILE_ROWS
    bias = geometry[at.BIAS_START] + number * TILE_ROWS
    taps = rows[planes * geometry[at.PIECES_H] * geometry[at.PIECES_W] :]
    spare = own + geometry[at.TILE_START]
    filters = min(TILE_ROWS, geometry[at.FILTERS] - panel * TILE_ROWS)
    channel = (group * geometry[at.FILTERS] + panel * TILE_ROWS) * geometry[at.OUT_CHANNEL]
    step_h = geometry[at.DILATION_H] * geometry[at.OUT_STRIDE_H]
    step = geometry[at.DILATION_W] * geometry[at.OUT_STRIDE_W]
    wide, lanes = geometry[at.TILE_W], VECTOR_BYTES // scratch.itemsize
    plain, tile = own + geometry[at.PLAIN_START], 0
    spoiled = 0
    for m in range(filters):
        spoiled |= integer_at(table, m)
    for run in range(runs):
        entry = table + 8 * (TILE_ROWS + 4 * run)
        columns = integer_at(entry, 2)
        for j in range(0, columns, nr):
            count = min(nr, columns - j)
            first, last = tile + j // wide, tile + (j + count - 1) // wide
            if (spoiled >> first) & ((2 << (last - first)) - 1) == 0:
                continue
            for i in range(integer_at(entry, 1)):
                b = plain + i * geometry[at.PLAIN_PITCH] + j
                if count > lanes:
                    gemm_microkernel(
                        weight, a, scratch, b, taps, depth, out, spare, nr, 1, 0, bias, geometry[at.FINISH]
                    )  # fmt: skip
                else:
                    gemm_microkernel_narrow(
                        weight, a, scratch, b, taps, depth, out, spare, nr, 1, 0, bias, geometry[at.FINISH]
                    )  # fmt: skip
                y = channel + integer_at(entry, 0) + i * step_h + j * step
                for m in range(filters):
                    mask = integer_at(table, m)
                    for q in range(count):
                        if (mask >> (tile + (j + q) // wide)) & 1:
                            out[y + q * step] = scratch[spare + m * nr + q]
                    y += geometry[at.OUT_CHANNEL]
        plain += plain_lines(geometry) * geometry[at.PLAIN_PITCH]
        tile += integer_at(entry, 3) // wide


@kernel
def winograd_panel(weight, out, rows, geometry, scratch, block, own, group, panel, tile, last):
    """Compute the outputs of one panel of filters for a block of tiles; return whether one of them is spoiled."""
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // out.itemsize
    buffer = own + geometry[at.GATHERED_START]
    table = address_of(scratch, own + geometry[at.TABLE_START])
    relu = 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0
    number = group * geometry[at.PANELS] + panel
    tiles = last - tile
    runs = table + 8 * TILE_ROWS
    count = tabulate_runs(geometry, runs, tile, last)
    winograd_multiply(weight, scratch, block, own, rows, geometry, number * points(geometry), tiles, out)
    spoiled = 0
    for m in range(min(TILE_ROWS, geometry[at.FILTERS] - panel * TILE_ROWS)):
        mask = table + 8 * m
        call_function(
            rows[geometry[at.FUNCTIONS] + OUTPUT],
            (
                address_of(scratch, own + m * nr), address_of(scratch, buffer),
                address_of(weight, geometry[at.BIAS_START] + number * TILE_ROWS + m), mask,
                (tiles + lanes - 1) // lanes, lanes, lanes * geometry[at.TILE_W],
                TILE_ROWS * nr, geometry[at.PITCH], relu,
            ),
        )  # fmt: skip
        channel = group * geometry[at.FILTERS] + panel * TILE_ROWS + m
        winograd_store(out, geometry, scratch, buffer, channel * geometry[at.OUT_CHANNEL], runs, count)
        put_integer(mask, 0, integer_at(mask, 0) & ((1 << tiles) - 1))
        spoiled |= integer_at(mask, 0)
    return spoiled != 0


@kernel
def mend_block(x, weight, out, rows, geometry, scratch, block, own, group, begin, end, number):
    """Sum the spoiled tiles of block ``number`` directly, in the panels begin <= p < end of a group.

    What tiles read is gathered once for all panels: their outputs are computed again to know which ones are spoiled.
    """
    nr = geometry[at.NR]
    tile, last = number * nr, min(tile_count(geometry), (number + 1) * nr)
    table = address_of(scratch, own + geometry[at.TABLE_START])
    gather_plain(x, geometry, scratch, own, group, tile, last)
    for panel in range(begin, end):
        if winograd_panel(weight, out, rows, geometry, scratch, block, own, group, panel, tile, last):
            runs = tabulate_runs(geometry, table + 8 * TILE_ROWS, tile, last)
            sum_directly(weight, out, rows, geometry, scratch, own, table, group, panel, runs)


@kernel
def winograd_shared(part, x, rows, geometry, scratch, own):
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
        last = min(tiles, (block + 1) * nr)
        winograd_pack(x, rows, geometry, scratch, start, own, group, block * nr, last, begin, end)


@kernel
def winograd_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``.

    A task is one block of tiles and all filters or, where the blocks are transformed for all tasks together, some
    panels of filters and all blocks of a group. The arguments are those of every algorithm's kernel; ``weight`` is
    packed by :func:`winograd_weights`. ``rows`` holds k * NR for every k; where the taps of direct summation lie
    among untransformed tiles; the addresses of the transforms. A thread's scratch holds the transformed block, unless
    that is shared, points x INPUT_STEP; then the sums of one panel, points x MR x NR, and what the starts in
    ``geometry`` name.
    """
    nr = geometry[at.NR]
    panels = geometry[at.PANELS]
    split = geometry[at.PANEL_SPLIT]
    shared = geometry[at.SHARED] != 0
    size = points(geometry) * geometry[at.INPUT_STEP]
    tiles = tile_count(geometry)
    blocks = (tiles + nr - 1) // nr
    own = own_start(slot, geometry, scratch)
    block = own
    if shared:
        part = next_part(scratch)
        while part < PARTS:
            winograd_shared(part, x, rows, geometry, scratch, own)
            part_done(scratch)
            part = next_part(scratch)
    else:
        own += size
    task = next_task(scratch)
    while task < geometry[at.TASKS]:
        first, end, group, part = 0, blocks, 0, 0
        if shared:
            group, part = divmod(task, split)
        else:
            group, first = divmod(task, blocks)
            end = first + 1
            winograd_pack(
                x, rows, geometry, scratch, block, own, group, first * nr, min(tiles, end * nr), 0,
                geometry[at.CHANNELS],
            )  # fmt: skip
        begin, behind = panels * part // split, panels * (part + 1) // split
        spoiled = 0
        for panel in range(begin, behind):
            for number in range(first, end):
                if shared:
                    block = shared_start(scratch) + (group * blocks + number) * size
                tile, last = number * nr, min(tiles, (number + 1) * nr)
                if winograd_panel(weight, out, rows, geometry, scratch, block, own, group, panel, tile, last):
                    spoiled |= 1 << (number - first)
        for number in range(first, end):
            if (spoiled >> (number - first)) & 1:
                if shared:
                    block = shared_start(scratch) + (group * blocks + number) * size
                mend_block(x, weight, out, rows, geometry, scratch, block, own, group, begin, behind, number)
        task = next_task(scratch)
