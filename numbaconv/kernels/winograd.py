"""Winograd convolution F(4x4, 3x3): 36 multiplications for 16 outputs of a 3x3 kernel instead of 144.

Y = A^T [ sum over c of (G g G^T) * (B^T d B) ] A for each 4x4 tile of the output, with * elementwise (Lavin & Gray,
"Fast algorithms for convolutional neural networks", CVPR 2016). The elementwise products of many tiles are 36 matrix
products.

A block of NR tiles goes through all three steps in a thread's scratch: nothing the size of the image is ever stored.
"""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import BUFFERED, TILE_ROWS, VECTOR_BYTES
from .gemm import finished
from .packing import copy_block, pack_bias, pack_panel, source_index
from .simd import (
    copy_lanes,
    gemm_microkernel,
    reset_counters,
    winograd_input_f4x3,
    winograd_output_f4x3,
    winograd_weight_f4x3,
)
from .tasks import PARTS, next_part, next_task, own_start, part_done, shared_start


@kernel
def winograd_weights_serial(slot, slots, weight, bias, packed, rows, geometry):
    """Transform the 3x3 kernels g of thread ``slot`` to U = G g G^T, laid out as 36 matrices for the microkernel.

    packed[((g * PANELS + p) * 36 + u) * WEIGHT_STEP + c * MR + m] = U_u of filter p * MR + m and channel c of group g,
    zeros beyond the last filter; then the bias (see ``pack_bias``); then, from RAW_START on, the weights, packed as by
    ``pack_weights_serial``.
    """
    panels = geometry[at.PANELS]
    channels = geometry[at.CHANNELS]
    step = geometry[at.WEIGHT_STEP]
    every = geometry[at.GROUPS] * panels
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        group, panel = divmod(number, panels)
        raw = geometry[at.RAW_START] + number * channels * 9 * TILE_ROWS
        pack_panel(weight, rows, geometry, channels * 9, group, panel, packed, raw)
        for c in range(channels):
            target = number * 36 * step + c * TILE_ROWS
            winograd_weight_f4x3(packed, raw + c * 9 * TILE_ROWS, packed, target, step)
    if slot == 0:
        pack_bias(bias, packed, geometry)


@parallel_kernel
def winograd_weights_parallel(slots, weight, bias, packed, rows, geometry):
    """:func:`winograd_weights_serial` on ``slots`` threads."""
    for slot in prange(slots):
        winograd_weights_serial(slot, slots, weight, bias, packed, rows, geometry)


@kernel
def tile_run(tile, last, geometry):
    """Return the tiles from ``tile`` to ``last`` in one row of one image: (image, tile row, first column, how many).

    Tiles are numbered through the rows of an image and through the images of the batch.
    """
    across = (geometry[at.OUT_W] + 3) // 4
    down = (geometry[at.OUT_H] + 3) // 4
    rest, column = divmod(tile, across)
    image, row = divmod(rest, down)
    return image, row, column, min(last - tile, across - column)


@kernel
def winograd_pack(x, geometry, scratch, block, buffer, group, tile, last, begin, end):
    """scratch[block + u * INPUT_STEP + c * NR + t] = element u of B^T d B of tile ``tile`` + t, channel c of a group.

    For begin <= c < end. ``buffer`` is room in scratch for BUFFERED channels: of each 6 rows of the tiles' first four
    columns and 6 of their last two, PITCH elements a row.
    """
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // scratch.itemsize
    channels = geometry[at.CHANNELS]
    pitch = geometry[at.PITCH]
    for first_channel in range(begin, end, BUFFERED):
        some = min(BUFFERED, end - first_channel)
        done = tile
        while done < last:
            image, row, column, count = tile_run(done, last, geometry)
            start = geometry[at.X_START] + image * geometry[at.X_BATCH]
            start += (group * channels + first_channel) * geometry[at.X_CHANNEL]
            first = 4 * column - geometry[at.PAD_W]
            y = buffer + 4 * (done - tile)
            rows = (4 * row - geometry[at.PAD_H], 1, 6)
            for part in range(2):
                copy_block(
                    x, start, some, geometry, rows, (first + 4 * part, 4 * count, 1), scratch,
                    (y + 6 * part * pitch, pitch, 12 * pitch), 4 * geometry[at.X_H],
                )  # fmt: skip
            done += count
        for c in range(some):
            rows = buffer + c * 12 * pitch
            target = block + (first_channel + c) * nr
            for t in range(0, last - tile, lanes):
                winograd_input_f4x3(
                    scratch, rows + 4 * t, pitch, rows + 6 * pitch + 4 * t, scratch, target + t, geometry[at.INPUT_STEP]
                )


@kernel
def winograd_store(x, weight, out, geometry, scratch, buffer, group, row, tile, last, spoiled):
    """Copy the 4 rows of outputs of filter ``row`` of a group from ``buffer`` to ``out``, cut off at the image's edges.

    A tile whose bit is set in ``spoiled`` has sums that are NaN or infinite and is computed again by
    :func:`direct_pixel`: the transforms spread such values over a tile, and overflow before direct summation does.
    """
    pitch = geometry[at.PITCH]
    lanes = VECTOR_BYTES // out.itemsize
    step = geometry[at.OUT_STRIDE_W]
    channel = group * geometry[at.FILTERS] + row
    first = tile
    while tile < last:
        image, tile_row, column, count = tile_run(tile, last, geometry)
        columns = min(4 * count, geometry[at.OUT_W] - 4 * column)
        start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + channel * geometry[at.OUT_CHANNEL]
        for i in range(min(4, geometry[at.OUT_H] - 4 * tile_row)):
            h = 4 * tile_row + i
            y = start + h * geometry[at.OUT_STRIDE_H] + 4 * column * step
            source = buffer + i * pitch + 4 * (tile - first)
            if step == 1:
                for j in range(0, columns, lanes):
                    copy_lanes(scratch, source + j, out, y + j, columns - j)
            else:
                for j in range(columns):
                    out[y + j * step] = scratch[source + j]
            for j in range(columns if spoiled != 0 else 0):
                if (spoiled >> (tile - first + j // 4)) & 1:
                    direct_pixel(x, weight, out, y + j * step, geometry, image, group, row, h, 4 * column + j)
        tile += count


@kernel
def direct_pixel(x, weight, out, target, geometry, image, group, row, h, w):
    """out[target] = output (image, filter ``row`` of a group, h, w), summed one product after the other.

    ``weight`` is packed by :func:`winograd_weights_serial`; its untransformed part is read.
    """
    channels = geometry[at.CHANNELS]
    mode = geometry[at.PAD_MODE]
    panel, m = divmod(row, TILE_ROWS)
    tap = geometry[at.RAW_START] + (group * geometry[at.PANELS] + panel) * channels * 9 * TILE_ROWS + m
    bias = weight[geometry[at.BIAS_START] + group * geometry[at.PANELS] * TILE_ROWS + row]
    zero = out.dtype.type(0)
    total = zero
    for c in range(channels):
        start = geometry[at.X_START] + image * geometry[at.X_BATCH] + (group * channels + c) * geometry[at.X_CHANNEL]
        for kh in range(3):
            xh = source_index(h - geometry[at.PAD_H] + kh, geometry[at.IN_H], mode)
            for kw in range(3):
                xw = source_index(w - geometry[at.PAD_W] + kw, geometry[at.IN_W], mode)
                value = x[start + xh * geometry[at.X_H] + xw * geometry[at.X_W]] if xh >= 0 and xw >= 0 else zero
                total += value * weight[tap]
                tap += TILE_ROWS
    out[target] = finished(total, bias, geometry[at.FINISH])


@kernel
def winograd_shared(part, x, geometry, scratch, buffer):
    """Where several tasks share a block of tiles: transform part ``part`` of PARTS of the channels, of all blocks.

    Block b of group g is the matrices from ``scratch[shared_start + (g * blocks + b) * 36 * INPUT_STEP]`` on.
    """
    nr = geometry[at.NR]
    channels = geometry[at.CHANNELS]
    tiles = geometry[at.BATCH] * ((geometry[at.OUT_H] + 3) // 4) * ((geometry[at.OUT_W] + 3) // 4)
    blocks = (tiles + nr - 1) // nr
    begin, end = channels * part // PARTS, channels * (part + 1) // PARTS
    for number in range(geometry[at.GROUPS] * blocks):
        group, tile = divmod(number, blocks)
        block = shared_start(scratch) + number * 36 * geometry[at.INPUT_STEP]
        last = min(tiles, (tile + 1) * nr)
        winograd_pack(x, geometry, scratch, block, buffer, group, tile * nr, last, begin, end)


@kernel
def winograd_tasks(slot, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``: each NR tiles of 4x4 outputs x some filters.

    The arguments are those of every algorithm's kernel; ``weight`` is packed by :func:`winograd_weights_serial`,
    ``rows[k]`` is k * NR. A thread's scratch holds the transformed tiles, 36 x INPUT_STEP; then the sums of one panel,
    36 x MR x NR; then 12 rows of PITCH elements, where image rows are gathered before the first transform and collected
    after the last one.
    """
    nr = geometry[at.NR]
    lanes = VECTOR_BYTES // out.itemsize
    channels = geometry[at.CHANNELS]
    filters = geometry[at.FILTERS]
    panels = geometry[at.PANELS]
    split = geometry[at.PANEL_SPLIT]
    pitch = geometry[at.PITCH]
    relu = 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0
    tiles = geometry[at.BATCH] * ((geometry[at.OUT_H] + 3) // 4) * ((geometry[at.OUT_W] + 3) // 4)
    blocks = (tiles + nr - 1) // nr
    block = own_start(slot, geometry, scratch)
    input_step, weight_step = geometry[at.INPUT_STEP], geometry[at.WEIGHT_STEP]
    sums = block if geometry[at.SHARED] != 0 else block + 36 * input_step
    buffer = sums + 36 * TILE_ROWS * nr
    if geometry[at.SHARED] != 0:
        part = next_part(scratch)
        while part < PARTS:
            winograd_shared(part, x, geometry, scratch, buffer)
            part_done(scratch)
            part = next_part(scratch)
    task = next_task(scratch)
    while task < geometry[at.TASKS]:
        rest, part = divmod(task, split)
        group, number = divmod(rest, blocks)
        tile = number * nr
        last = min(tiles, tile + nr)
        if geometry[at.SHARED] != 0:
            block = shared_start(scratch) + rest * 36 * input_step
        else:
            winograd_pack(x, geometry, scratch, block, buffer, group, tile, last, 0, channels)
        for panel in range(panels * part // split, panels * (part + 1) // split):
            matrices = (group * panels + panel) * 36
            for u in range(36):
                gemm_microkernel(
                    weight, (matrices + u) * weight_step, scratch, block + u * input_step, rows,
                    channels, out, sums + u * TILE_ROWS * nr, nr, 1, 0, 0, at.FINISH_NOTHING,
                )  # fmt: skip
            for m in range(min(TILE_ROWS, filters - panel * TILE_ROWS)):
                bias = weight[geometry[at.BIAS_START] + (group * panels + panel) * TILE_ROWS + m]
                spoiled = 0
                for t in range(0, last - tile, lanes):
                    mask = winograd_output_f4x3(
                        scratch, sums + m * nr + t, TILE_ROWS * nr, scratch, buffer + 4 * t, pitch, bias, relu
                    )
                    spoiled |= mask << t
                winograd_store(
                    x, weight, out, geometry, scratch, buffer, group, panel * TILE_ROWS + m, tile, last, spoiled
                )
        task = next_task(scratch)


@kernel
def winograd_serial(slot, slots, x, weight, out, rows, geometry, scratch):
    """All tasks on one thread; see :func:`winograd_tasks`."""
    reset_counters(scratch)
    winograd_tasks(slot, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_once(weight, bias, packed, x, out, rows, geometry, scratch):
    """Lay out the weights and do all tasks, on one thread."""
    winograd_weights_serial(0, 1, weight, bias, packed, rows, geometry)
    winograd_serial(0, 1, x, packed, out, rows, geometry, scratch)


@parallel_kernel
def winograd_parallel(slots, x, weight, out, rows, geometry, scratch):
    """All tasks on ``slots`` threads; which thread computes a value does not change it."""
    reset_counters(scratch)
    for slot in prange(slots):
        winograd_tasks(slot, x, weight, out, rows, geometry, scratch)
