"""im2col convolution: packed panels of pixels, one matrix product for each.

The textbook writes every receptive field into one column of a matrix of C * KD * KH * KW rows and multiplies it by the
weights (Chellapilla, Puri & Simard, 2006). That matrix is KD * KH * KW times the input, so here only a few columns of
it exist at a time: a tile's pixels wide, packed where the microkernel reads them, used for every filter, overwritten.
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .gemm import multiply_tile, run_tiles, tile_start
from .numbers import lanes_of, smaller
from .packing import copy_block, depth_start, zero_run
from .tasks import own_start, own_task, task_position


@kernel
def im2col_pack(x, geometry, scratch, block, start, channels, pixel, columns):
    """scratch[block + k * PITCH + j] = the input under tap k of pixel ``pixel`` + j, j < columns.

    k runs over (channels, KD, KH, KW) from the channel whose first cell is ``x[start]`` on; what lies in the padding is
    what the padding mode says. Pixels are flat in the output image. Columns from ``columns`` on are left as they are.
    """
    width = geometry[at.OUT_W]
    height = geometry[at.OUT_H]
    taps = geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    pitch = geometry[at.PITCH]
    done = 0
    while done < columns:
        line, w = divmod(pixel + done, width)
        d, h = divmod(line, height)
        count = smaller(columns - done, width - w)
        first_row = h * geometry[at.STRIDE_H] - geometry[at.PAD_H]
        rows = (first_row, geometry[at.DILATION_H], geometry[at.KERNEL_H])
        for kd in range(geometry[at.KERNEL_D]):
            plane = depth_start(geometry, start, d, kd)
            for kw in range(geometry[at.KERNEL_W]):
                first = w * geometry[at.STRIDE_W] - geometry[at.PAD_W] + kw * geometry[at.DILATION_W]
                tap = block + done + (kd * geometry[at.KERNEL_H] * geometry[at.KERNEL_W] + kw) * pitch
                copy_block(
                    x, plane, channels, geometry, rows, (first, count, geometry[at.STRIDE_W]), scratch,
                    (tap, geometry[at.KERNEL_W] * pitch, taps * pitch), pitch,
                )  # fmt: skip
        done += count


@kernel
def im2col_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``: each BLOCK tiles of pixels x some panels of filters.

    out[n, g * F + f, p] = bias[f] + sum over k of weight[g, f, k] * input under tap k of pixel p

    x and out are flat views addressed by the strides in ``geometry``; ``weight`` is packed by
    ``packing.pack_weights``; ``rows[k]`` is k * NR, the pitch of narrow tiles, too.
    """
    nr, lanes = geometry[at.NR], lanes_of(out)
    taps = geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    channels = geometry[at.CHANNELS]
    depth = geometry[at.CHANNEL_BLOCK] * taps
    together = geometry[at.TOGETHER]
    total = channels * taps
    width = geometry[at.OUT_W]
    pixels = geometry[at.OUT_D] * geometry[at.OUT_H] * width
    tiles, narrow = run_tiles(pixels, geometry[at.MR], nr, lanes)
    whole = tiles - narrow
    blocks = (tiles + geometry[at.BLOCK] - 1) // geometry[at.BLOCK]
    base = own_start(slot, geometry, scratch)
    spare = base + geometry[at.TILE_START]
    if tile_start(tiles, whole, nr, lanes) != pixels:
        zero_run(scratch, base, geometry[at.TILE_START])  # see multiply_tile
    while True:
        task = own_task(slot, slots, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        image, number, group, panel_first, panel_last = task_position(task, blocks, geometry)
        start = geometry[at.X_START] + image * geometry[at.X_BATCH] + group * channels * geometry[at.X_CHANNEL]
        target = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH]
        begin = number * geometry[at.BLOCK]
        behind = smaller(tiles, begin + geometry[at.BLOCK])
        for c in range(0, channels, geometry[at.CHANNEL_BLOCK]):
            count = smaller(geometry[at.CHANNEL_BLOCK], channels - c)
            first = start + c * geometry[at.X_CHANNEL]
            for tile in range(begin, behind):
                pixel, end = tile_start(tile, whole, nr, lanes), tile_start(tile + 1, whole, nr, lanes)
                block = base + (tile - begin) * nr * depth
                im2col_pack(x, geometry, scratch, block, first, count, pixel, smaller(end, pixels) - pixel)
            for panel in range(panel_first, panel_last, together):
                panel_behind = smaller(panel_last, panel + together)
                for tile in range(begin, behind):
                    block, pixel = base + (tile - begin) * nr * depth, tile_start(tile, whole, nr, lanes)
                    multiply_tile(
                        weight, out, rows, geometry, scratch, (block, spare, pixel, 1, whole - tile),
                        (0, 0, width, width, pixels), group, panel, panel_behind, target,
                        (c * taps, count * taps, total),
                    )  # fmt: skip
