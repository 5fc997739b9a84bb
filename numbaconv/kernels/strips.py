"""Strips: the input under a block of output pixels, with its padding, as :mod:`.direct_channels` reads it.

Strips of planes (one channel behind the other) and of cells (the channels of a pixel side by side) serve filters that
read all channels of a group. Where filters of different groups share a vector, a strip holds in each lane of a cell
what that lane's filter reads: its channels are transposed as they are copied.
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .numbers import lanes_of, larger, smaller
from .packing import NO_PLANE, copy_planes, copy_run, depth_start, source_index, zero_run
from .simd_channels import copy_cells, gather_channels, spread_groups
from .tasks import PARTS, shared_start


@kernel
def block_position(number, geometry):
    """Return (image, group, depth, row, column, rows, columns) of block ``number`` of pixels.

    Blocks run through columns, rows, depths, images, groups of images. The rows of several depths are counted together.
    """
    width, height = geometry[at.BLOCK_COLUMNS], geometry[at.BLOCK_ROWS]
    across = (geometry[at.OUT_W] + width - 1) // width
    down = (geometry[at.OUT_H] + height - 1) // height
    number, column = divmod(number, across)
    number, row = divmod(number, down)
    depths = geometry[at.BLOCK_DEPTHS]
    number, d = divmod(number, (geometry[at.OUT_D] + depths - 1) // depths)
    image, group = divmod(number, geometry[at.GROUPS])
    d *= depths
    lines = smaller(height, geometry[at.OUT_H] - row * height) * smaller(depths, geometry[at.OUT_D] - d)
    columns = smaller(width, geometry[at.OUT_W] - column * width)
    return image, group, d, row * height, column * width, lines, columns


@kernel
def column_skip(geometry):
    """Columns of the input from one column of a strip to the next: those that no tap reads are left out."""
    return geometry[at.STRIDE_W] // geometry[at.COLUMN_STEP]


@kernel
def pack_planes(x, geometry, scratch, strip, start, h, column, lines, planes, step):
    """scratch[strip + c * step + r * PITCH + q] = padded input (plane c, row r, column q of the block).

    Rows and columns that no tap reads are not counted: see :func:`column_skip` and LINE_STEP. ``start`` is the first
    cell of plane 0 (or NO_PLANE); planes as in ``packing.copy_planes``; the block is ``lines`` output rows from ``h``
    on and columns from ``column`` on.
    """
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    reach = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    pitch = geometry[at.PITCH]
    cells = (first, pitch, column_skip(geometry))
    first_row = h * geometry[at.STRIDE_H] - geometry[at.PAD_H]
    # What the next block needs: it lies to the right, or below.
    ahead = lines * geometry[at.STRIDE_H] * geometry[at.X_H]
    if geometry[at.BLOCK_COLUMNS] < geometry[at.OUT_W]:
        ahead = geometry[at.BLOCK_COLUMNS] * geometry[at.STRIDE_W] * geometry[at.X_W]
    if geometry[at.LINE_STEP] == geometry[at.STRIDE_H] or reach == 0:
        rows = (first_row, geometry[at.STRIDE_H] if reach == 0 else 1, (lines - 1) * geometry[at.LINE_STEP] + reach + 1)
        copy_planes(x, start, planes, geometry, rows, cells, scratch, (strip, pitch, step), ahead)
        return
    for line in range(lines):  # rows that no tap reads lie between the outputs
        rows = (first_row + line * geometry[at.STRIDE_H], 1, reach + 1)
        target = (strip + line * (reach + 1) * pitch, pitch, step)
        copy_planes(x, start, planes, geometry, rows, cells, scratch, target, 0)


@kernel
def pack_cells(x, geometry, scratch, strip, start, h, column, lines, channels, lanes):
    """scratch[strip + (r * PITCH + q) * lanes + c] = padded input (channel c, row r, column q of the block).

    As :func:`pack_planes`, with the channels side by side: c < channels <= lanes.
    """
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    reach = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    pitch = geometry[at.PITCH]
    step = geometry[at.LINE_STEP]
    skip = column_skip(geometry)
    height, width = geometry[at.IN_H], geometry[at.IN_W]
    left = smaller(pitch, larger(0, (skip - 1 - first) // skip))
    right = smaller(pitch, larger(left, (width - first + skip - 1) // skip))
    for r in range((lines - 1) * step + reach + 1):
        line = smaller(r // step, lines - 1)
        row = (h + line) * geometry[at.STRIDE_H] - geometry[at.PAD_H] + r - line * step
        xh = source_index(row, height, geometry[at.PAD_MODE])
        y = strip + r * pitch * lanes
        if start == NO_PLANE or xh < 0:
            for q in range(pitch):
                zero_run(scratch, y + q * lanes, channels)
            continue
        source = start + xh * geometry[at.X_H]
        for outside in range(left + pitch - right):  # the cells before ``left``, and those from ``right`` on
            q = outside if outside < left else outside - left + right
            xw = source_index(first + q * skip, width, geometry[at.PAD_MODE])
            if xw < 0:
                zero_run(scratch, y + q * lanes, channels)
            else:
                copy_pixels(
                    x, source + xw * geometry[at.X_W], 0, geometry, scratch, y + q * lanes, lanes, channels, 1
                )  # fmt: skip
        source += (first + left * skip) * geometry[at.X_W]
        copy_pixels(
            x, source, skip * geometry[at.X_W], geometry, scratch, y + left * lanes, lanes, channels, right - left
        )  # fmt: skip


@kernel
def copy_pixels(x, source, x_step, geometry, scratch, y, y_step, channels, count):
    """scratch[y + j * y_step + c] = x[source + j * x_step + c * X_CHANNEL] for c < channels and j < count."""
    lanes = lanes_of(scratch)
    if geometry[at.X_CHANNEL] != 1:
        for j in range(count):
            for c in range(channels):
                scratch[y + j * y_step + c] = x[source + j * x_step + c * geometry[at.X_CHANNEL]]
    elif x_step == channels and y_step == channels:
        copy_run(x, source, scratch, y, count * channels)
    else:
        for c in range(0, channels, lanes):
            copy_cells(x, source + c, x_step, count, scratch, y + c, y_step, channels - c)


@kernel
def pack_image(x, geometry, scratch, strip, start, channels):
    """As :func:`pack_planes` where a block is a whole image: the padding is there already, only pixels are copied."""
    pitch = geometry[at.PITCH]
    width = smaller(geometry[at.IN_W], pitch - geometry[at.PAD_W])
    height = smaller(geometry[at.IN_H], geometry[at.STRIP_ROWS] - geometry[at.PAD_H])
    first = strip + geometry[at.PAD_H] * pitch + geometry[at.PAD_W]
    for c in range(channels):
        source, y = start + c * geometry[at.X_CHANNEL], first + c * geometry[at.STRIP_CHANNEL]
        for _ in range(height):
            if geometry[at.X_W] == 1:
                copy_run(x, source, scratch, y, width)
            else:
                for j in range(width):
                    scratch[y + j] = x[source + j * geometry[at.X_W]]
            source += geometry[at.X_H]
            y += pitch


@kernel
def pack_lanes(x, rows, geometry, scratch, strip, start, h, column, lines, filters, jump, phase, valid):
    """scratch[strip + (r * PITCH + q) * lanes + n] = padded input (row r, column q of the block) of lane n's channel.

    As :func:`pack_planes`; ``start`` is the plane of lane 0's channel; ``phase`` is that lane's filter within its
    group, and ``valid`` lanes have a filter. Every ``filters`` lanes the channel changes, by ``jump`` elements. Padding
    is zeros; where a block is a whole image, it is there already.
    """
    lanes = lanes_of(scratch)
    height, width = geometry[at.IN_H], geometry[at.IN_W]
    cells = geometry[at.CELLS_START]
    if geometry[at.WHOLE] != 0 and geometry[at.X_W] == 1 and geometry[at.X_H] == width:
        for p in range(0, height * width, lanes):
            count = smaller(lanes, height * width - p)
            gather_channels(x, start + p, jump, filters, phase, valid, count, scratch, strip, rows, cells + p)
        return
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    reach = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    pitch = geometry[at.PITCH]
    step = geometry[at.LINE_STEP]
    left = smaller(pitch, larger(0, -first))
    right = smaller(pitch, larger(left, width - first))
    line = 0
    for r in range((lines - 1) * step + reach + 1):
        if r - line * step >= step and line < lines - 1:
            line += 1
        row = (h + line) * geometry[at.STRIDE_H] - geometry[at.PAD_H] + r - line * step
        y = strip + r * pitch * lanes
        if start == NO_PLANE or row < 0 or row >= height:
            zero_run(scratch, y, pitch * lanes)
            continue
        zero_run(scratch, y, left * lanes)
        source = start + row * geometry[at.X_H] + (first + left) * geometry[at.X_W]
        if geometry[at.X_W] == 1:
            for q in range(left, right, lanes):
                count = smaller(lanes, right - q)
                if geometry[at.WHOLE] != 0:
                    target, cell = strip, cells + row * width + first + q
                else:
                    target, cell = y, cells + q
                gather_channels(
                    x, source + q - left, jump, filters, phase, valid, count, scratch, target, rows, cell
                )  # fmt: skip
        elif filters == 1 and jump == 1:
            copy_cells(x, source, geometry[at.X_W], right - left, scratch, y + left * lanes, lanes, valid)
        else:
            # A group's channel for all of its lanes; its cells in all pixels before the next one's.
            n, channel = 0, source
            while n < valid:
                end = smaller(valid, (phase + n) // filters * filters + filters - phase)
                for q in range(left, right):
                    value = x[channel + (q - left) * geometry[at.X_W]]
                    for lane in range(n, end):
                        scratch[y + q * lanes + lane] = value
                n, channel = end, channel + jump
        zero_run(scratch, y + right * lanes, (pitch - right) * lanes)


@kernel
def strip_planes(geometry):
    """Into how many parts the copying of a strip may be cut: its channels or, of several depths in a block, these."""
    return geometry[at.BLOCK_DEPTHS] if geometry[at.BLOCK_DEPTHS] > 1 else geometry[at.CHANNELS]


@kernel
def pack_strip(x, geometry, scratch, strip, number, first, count, whole):
    """:func:`copy_strip` of every layout."""
    copy_strip(pack_cells, x, geometry, scratch, strip, number, first, count, whole)


@kernel
def pack_plane_strip(x, geometry, scratch, strip, number, first, count, whole):
    """:func:`copy_strip` where channels are planes: STRIP_CHANNEL is not 1."""
    copy_strip(no_cells, x, geometry, scratch, strip, number, first, count, whole)


@kernel
def no_cells(x, geometry, scratch, strip, start, h, column, lines, channels, lanes):
    """:func:`pack_cells` where there are none."""


@kernel
def copy_strip(copy_cells, x, geometry, scratch, strip, number, first, count, whole):
    """Copy ``count`` of the :func:`strip_planes`, from ``first`` on, of the input under block ``number``.

    All filters share it. Where ``whole`` is not 0, the padding is in the strip already.
    """
    image, group, d, h, column, lines, _ = block_position(number, geometry)
    start = geometry[at.X_START] + image * geometry[at.X_BATCH]
    start += group * geometry[at.CHANNELS] * geometry[at.X_CHANNEL]
    if geometry[at.BLOCK_DEPTHS] > 1:
        depths = lines // geometry[at.OUT_H]
        count = smaller(count, depths - first)
        start += (d + first) * geometry[at.STRIDE_D] * geometry[at.X_D]
        planes = (count, geometry[at.STRIDE_D] * geometry[at.X_D])
        for c in range(geometry[at.CHANNELS]):
            y = strip + c * geometry[at.STRIP_CHANNEL] + first * geometry[at.STRIP_DEPTH]
            plane = start + c * geometry[at.X_CHANNEL]
            pack_planes(
                x, geometry, scratch, y, plane, h, column, lines // depths, planes, geometry[at.STRIP_DEPTH]
            )  # fmt: skip
        return
    start += first * geometry[at.X_CHANNEL]
    planes = (count, geometry[at.X_CHANNEL])
    for kd in range(geometry[at.KERNEL_D]):
        plane = depth_start(geometry, start, d, kd)
        y = strip + first * geometry[at.STRIP_CHANNEL] + kd * geometry[at.STRIP_DEPTH]
        if geometry[at.STRIP_CHANNEL] == 1:
            copy_cells(x, geometry, scratch, y, plane, h, column, lines, count, geometry[at.CHANNELS])
        elif whole != 0:
            pack_image(x, geometry, scratch, y, plane, count)
        else:
            pack_planes(x, geometry, scratch, y, plane, h, column, lines, planes, geometry[at.STRIP_CHANNEL])


@kernel
def pack_panel_strip(x, rows, geometry, scratch, strip, number, panel):
    """Copy the input under block ``number``, channel by channel of the groups to which the lanes of a panel belong."""
    image, _, d, h, column, lines, _ = block_position(number, geometry)
    lanes = lanes_of(scratch)
    group, phase = divmod(panel * lanes, geometry[at.LANE_FILTERS])
    valid = smaller(lanes, geometry[at.FILTERS] - panel * lanes)
    start = geometry[at.X_START] + image * geometry[at.X_BATCH]
    start += group * geometry[at.CHANNELS] * geometry[at.X_CHANNEL]
    channels, filters = geometry[at.CHANNELS], geometry[at.LANE_FILTERS]
    if geometry[at.SPREAD] != 0:
        channels, filters, jump = 1, 1, geometry[at.X_CHANNEL]
    else:
        jump = channels * geometry[at.X_CHANNEL]
    for c in range(channels):
        for kd in range(geometry[at.KERNEL_D]):
            plane = depth_start(geometry, start + c * geometry[at.X_CHANNEL], d, kd)
            y = strip + c * geometry[at.STRIP_CHANNEL] + kd * geometry[at.STRIP_DEPTH]
            pack_lanes(x, rows, geometry, scratch, y, plane, h, column, lines, filters, jump, phase, valid)
    if geometry[at.SPREAD] != 0:
        cells = geometry[at.KERNEL_D] * geometry[at.STRIP_DEPTH] // lanes
        spread_groups(scratch, strip, cells, geometry[at.LANE_FILTERS], geometry[at.STRIP_CHANNEL])


@kernel
def pack_shared(pack, part, x, geometry, scratch):
    """Where tasks of different filters share a strip: ``pack`` part ``part`` of PARTS of all, in the tasks' order.

    Block b's strip starts at ``scratch[shared_start + b * STRIP]``.
    """
    every = strip_planes(geometry)
    total = geometry[at.SHARED] // geometry[at.STRIP] * every
    first, last = total * part // PARTS, total * (part + 1) // PARTS
    while first < last:
        number, plane = divmod(first, every)
        count = smaller(every - plane, last - first)
        strip = shared_start(scratch) + number * geometry[at.STRIP]
        pack(x, geometry, scratch, strip, number, plane, count, 0)
        first += count
