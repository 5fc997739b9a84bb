"""Direct convolution: the microkernel reads the input itself, through shifted rows.

The input rows under a few output rows are copied once, with their padding, into a strip. There tap (kd, kh, kw) of
channel c is what lies under the output, moved by a constant: the microkernel takes these moves from a table, so
nothing is copied a second time for the taps (Zhang, Franchetti & Low, "High performance zero-memory overhead direct
convolutions", ICML 2018).

With a stride the outputs' inputs do not lie side by side. So the strip holds the phases apart: the cells whose row is
``ph`` modulo the vertical stride and whose column is ``pw`` modulo the horizontal one form one plane each, and in a
plane the stride is 1.
"""

from __future__ import annotations

from ..runtime import kernel, separate_kernel
from . import geometry as at
from .blocking import strip_lead
from .gemm import multiply_run, multiply_tile, run_tiles, tile_start
from .numbers import divided, lanes_of, larger, smaller
from .packing import NO_PLANE, copy_1, copy_2, copy_3, copy_4, copy_block, depth_start, zero_run
from .tasks import own_start, own_task, task_position

#: ``blocking.strip_lead`` for kernels.
lead_of = kernel(strip_lead)


@kernel
def phase_start(geometry, column, lanes):
    """Where column ``column`` of the input lies in a row of a channel's strip, counted from where the row begins."""
    position, phase = divided(column + geometry[at.PAD_W], geometry[at.STRIDE_W])
    lead = lead_of(geometry[at.PAD_W], geometry[at.STRIDE_W], phase, lanes) if geometry[at.BLOCK_GROUPS] != 0 else 0
    return phase * geometry[at.STRIP_CHANNEL] + lead + position


@kernel
def taken_apart(geometry):
    """Whether :func:`copy_apart` serves. Without a stride it does where channels are summed one by one."""
    stride = geometry[at.STRIDE_W]
    if (
        geometry[at.PAD_MODE] != at.PAD_ZEROS
        or geometry[at.X_W] != 1
        or geometry[at.BLOCK_COLUMNS] < geometry[at.OUT_W]
    ):
        return False
    reach = (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W]
    return stride <= smaller(4, reach + 1) and (stride > 1 or geometry[at.BLOCK_GROUPS] != 0)


@kernel
def copy_apart(copy, x, start, channels, geometry, scratch, block, channel, h, lines):
    """As :func:`direct_pixels_pack` for one tap of depth, where :func:`taken_apart`. Channel 0 starts at ``x[start]``.

    Each row of the input is read once, and its phases, four at most, are taken apart in registers by ``copy``:
    :func:`copy_1` or another one. ``channel`` is the number of elements between two channels of the strip. Columns of
    padding are zeros since the thread has begun. Behind a row, up to whole vectors, zeros are written: more of these
    columns, and what the next row overwrites; behind a plane there is room for them. The outputs are ``lines`` whole
    rows from ``h`` on.
    """
    stride, down = geometry[at.STRIDE_W], geometry[at.STRIDE_H]
    reach_h = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    reach_w = (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W]
    lanes = lanes_of(scratch)
    # Of columns behind the last output's nothing is copied.
    count = smaller(geometry[at.IN_W], (geometry[at.OUT_W] - 1) * stride + reach_w + 1 - geometry[at.PAD_W])
    starts = (
        phase_start(geometry, 0, lanes), phase_start(geometry, 1, lanes),
        phase_start(geometry, 2, lanes), phase_start(geometry, 3, lanes),
    )  # fmt: skip
    down_step = stride * geometry[at.STRIP_CHANNEL]
    pitch, height, x_step = geometry[at.PITCH], geometry[at.IN_H], geometry[at.X_H]
    first = h * down - geometry[at.PAD_H]
    rows = (lines - 1) * down + reach_h + 1
    top, bottom = smaller(rows, larger(0, -first)), smaller(rows, larger(0, height - first))
    for number in range(channels if count > 0 else 0):
        y = block + number * channel
        for outside in range(top + rows - bottom):
            line, phase = divided(outside if outside < top else outside - top + bottom, down)
            for column in range(stride):
                cells = (count - column + stride - 1) // stride
                goal = y + phase * down_step + line * pitch + starts[column]
                zero_run(scratch, goal, cells if phase <= reach_h else 0)
        line, phase = divided(top, down)
        goal = y + phase * down_step + line * pitch
        source = start + (first + top) * x_step
        for _ in range(top, bottom):
            if phase <= reach_h:  # otherwise no tap reads it
                copy(x, source, count, scratch, goal, starts)
            source += x_step
            goal += down_step
            phase += 1
            if phase == down:
                phase = 0
                goal += pitch - down * down_step
        start += geometry[at.X_CHANNEL]


@kernel
def copy_every(x, start, channels, geometry, scratch, block, channel, h, lines):
    """:func:`copy_apart` of every stride."""
    if geometry[at.STRIDE_W] == 1:
        copy_apart(copy_1, x, start, channels, geometry, scratch, block, channel, h, lines)
    elif geometry[at.STRIDE_W] == 2:
        copy_apart(copy_2, x, start, channels, geometry, scratch, block, channel, h, lines)
    elif geometry[at.STRIDE_W] == 3:
        copy_apart(copy_3, x, start, channels, geometry, scratch, block, channel, h, lines)
    else:
        copy_apart(copy_4, x, start, channels, geometry, scratch, block, channel, h, lines)


@kernel
def copy_beside(x, start, channels, geometry, scratch, block, channel, h, lines):
    """:func:`copy_apart` where STRIDE_W is 1."""
    copy_apart(copy_1, x, start, channels, geometry, scratch, block, channel, h, lines)


@separate_kernel
def direct_pixels_pack(x, geometry, scratch, block, start, channels, line, lines, column, columns):
    """:func:`pack_block` of every stride."""
    pack_block(copy_every, x, geometry, scratch, block, start, channels, line, lines, column, columns)


@separate_kernel
def direct_pixels_beside_pack(x, geometry, scratch, block, start, channels, line, lines, column, columns):
    """:func:`pack_block` where STRIDE_W is 1; the other strides' copies are compiled for calls that need them."""
    pack_block(copy_beside, x, geometry, scratch, block, start, channels, line, lines, column, columns)


@kernel
def pack_block(copy, x, geometry, scratch, block, start, channels, line, lines, column, columns):
    """Copy the input under ``lines`` x ``columns`` outputs, those from row ``line`` (flat in d, h) and ``column`` on.

    scratch[block + (((c * KD + kd) * PH + ph) * PW + pw) * STRIP_CHANNEL + r * PITCH + q] = padded input of channel c,
    depth kd, row r * SH + ph and column q * SW + pw, counted from the first one under the outputs. PH and PW are the
    phases that a tap can read, at most the strides SH and SW. Channel 0 starts at ``x[start]``. Where BLOCK_GROUPS is
    not 0, the planes lie :func:`blocking.strip_lead` elements on. ``copy`` is :func:`copy_every` or what serves fewer
    strides.
    """
    d, h = divmod(line, geometry[at.OUT_H])
    stride_h = geometry[at.STRIDE_H]
    reach_h = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    reach_w = (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W]
    phases_h = smaller(stride_h, reach_h + 1)
    phases_w = smaller(geometry[at.STRIDE_W], reach_w + 1)
    count = columns + reach_w // geometry[at.STRIDE_W]
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    plane = geometry[at.STRIP_CHANNEL]
    channel = geometry[at.KERNEL_D] * phases_h * phases_w * plane
    ahead = lines * stride_h * geometry[at.X_H]  # the rows of the next strip
    apart = taken_apart(geometry)
    for kd in range(geometry[at.KERNEL_D]):
        source = depth_start(geometry, start, d, kd)
        if apart and source != NO_PLANE:
            first_plane = block + kd * phases_h * phases_w * plane
            copy(x, source, channels, geometry, scratch, first_plane, channel, h, lines)
            continue
        for ph in range(phases_h):
            first_row = h * stride_h - geometry[at.PAD_H] + ph
            rows = (first_row, stride_h, ((lines - 1) * stride_h + reach_h - ph) // stride_h + 1)
            for pw in range(phases_w):
                y = block + ((kd * phases_h + ph) * phases_w + pw) * plane
                if geometry[at.BLOCK_GROUPS] != 0:
                    y += lead_of(geometry[at.PAD_W], geometry[at.STRIDE_W], pw, lanes_of(scratch))
                copy_block(
                    x,
                    source,
                    channels,
                    geometry,
                    rows,
                    (first + pw, count, geometry[at.STRIDE_W]),
                    scratch,
                    (y, geometry[at.PITCH], channel),
                    ahead,
                )


@kernel
def direct_pixels_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` of every stride."""
    compute_tasks(direct_pixels_pack, multiply_tile, 0, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def direct_pixels_beside_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` where STRIDE_W is 1."""
    compute_tasks(direct_pixels_beside_pack, multiply_tile, 0, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def direct_pixels_runs_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_pixels_tasks` where TILES_FIRST is not 0."""
    compute_tasks(direct_pixels_pack, multiply_run, 1, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def direct_pixels_beside_runs_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_pixels_beside_tasks` where TILES_FIRST is not 0."""
    compute_tasks(direct_pixels_beside_pack, multiply_run, 1, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def compute_tasks(pack, multiply, runs, slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``: each BLOCK_ROWS x BLOCK_COLUMNS pixels x some panels.

    out[n, g * F + f, d, h, w] = bias[f] + sum over c, kd, kh, kw of weight[g, f, c, kd, kh, kw] * x[n, g * C + c, i, j,
    k] with i = d * sd + kd * dd - pd, j = h * sh + kh * dh - ph and k = w * sw + kw * dw - pw

    x and out are flat views addressed by the strides in ``geometry``; ``weight`` is packed by
    ``packing.pack_weights``; ``rows[k]`` is where tap k of the first output lies in the strip. ``pack`` copies strips,
    ``multiply`` is ``gemm.multiply_tile`` or, where ``runs`` is not 0, ``gemm.multiply_run``.
    """
    nr, lanes = geometry[at.NR], lanes_of(out)
    pitch = geometry[at.PITCH]
    together = geometry[at.TOGETHER]
    taps = geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    channels = geometry[at.CHANNELS]
    total = channels * taps
    across = (geometry[at.OUT_W] + geometry[at.BLOCK_COLUMNS] - 1) // geometry[at.BLOCK_COLUMNS]
    down = (geometry[at.OUT_H] + geometry[at.BLOCK_ROWS] - 1) // geometry[at.BLOCK_ROWS]
    blocks = geometry[at.OUT_D] * down * across
    base = own_start(slot, geometry, scratch)
    spare = base + geometry[at.TILE_START]
    zero_run(scratch, base, geometry[at.TILE_START])  # see multiply_tile
    packed = -1
    while True:
        task = own_task(slot, slots, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        strip = task // geometry[at.PANEL_SPLIT]
        image, number, group, panel_first, panel_last = task_position(task, blocks, geometry)
        number, column = divmod(number, across)
        d, h = divmod(number, down)
        column *= geometry[at.BLOCK_COLUMNS]
        h *= geometry[at.BLOCK_ROWS]
        line = d * geometry[at.OUT_H] + h
        lines = smaller(geometry[at.BLOCK_ROWS], geometry[at.OUT_H] - h)
        columns = smaller(geometry[at.BLOCK_COLUMNS], geometry[at.OUT_W] - column)
        start = geometry[at.X_START] + image * geometry[at.X_BATCH] + group * channels * geometry[at.X_CHANNEL]
        target = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH]
        end = (lines - 1) * pitch + columns
        # Tiles run through whole rows of the strip and what lies between them, or start anew in every row.
        run, reach = (pitch, columns) if geometry[at.ROW_TILES] != 0 else (end, end)
        tiles, narrow = run_tiles(reach, geometry[at.MR], nr, lanes)
        at_once = tiles if runs != 0 else 1
        for c in range(0, channels, geometry[at.CHANNEL_BLOCK]):
            count = smaller(geometry[at.CHANNEL_BLOCK], channels - c)
            if packed != strip or count < channels:
                pack(
                    x, geometry, scratch, base, start + c * geometry[at.X_CHANNEL], count, line, lines, column, columns
                )
            for panel in range(panel_first, panel_last, together):
                behind = smaller(panel_last, panel + together)
                for first in range(0, end, run):
                    for tile in range(0, tiles, at_once):
                        position = first + tile_start(tile, tiles - narrow, nr, lanes)
                        some = smaller(at_once, tiles - tile)
                        multiply(
                            weight, out, rows, geometry, scratch,
                            (base + position, spare, position, some, tiles - narrow - tile),
                            (line, column, pitch, columns, first + reach), group, panel, behind, target,
                            (c * taps, count * taps, total),
                        )  # fmt: skip
        packed = strip
