"""Copies into the order in which the microkernel reads: rows of the input, panels of the weights."""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import TILE_ROWS, VECTOR_BYTES
from .simd import copy_every_other, copy_lanes, copy_vector, transpose_panel

#: Stands for an input row that lies in the padding. Offsets of real rows may be negative, but no array reaches this
#: far.
NO_ROW = -(2**62)


@kernel
def source_index(position, size, mode):
    """Where padded position ``position`` of an axis of ``size`` cells is read: an index, or -1 for a zero.

    ``position`` counts from the first real cell, so padding before it is negative. Sizes are at least 1.
    """
    if 0 <= position < size:
        return position
    if mode == at.PAD_REPLICATE:
        return min(max(position, 0), size - 1)
    if mode == at.PAD_CIRCULAR:
        return position % size
    if mode == at.PAD_REFLECT:
        if size == 1:
            return 0
        position %= 2 * size - 2
        return position if position < size else 2 * size - 2 - position
    if mode == at.PAD_SYMMETRIC:
        position %= 2 * size
        return position if position < size else 2 * size - 1 - position
    return -1


@kernel
def input_row(geometry, d, h, kd, below):
    """Return where an input row starts, relative to its channel, or NO_ROW for a row of zeros.

    It is the row under tap kd of output row (d, h), ``below`` padded rows below that of tap kh = 0.
    """
    mode = geometry[at.PAD_MODE]
    xd = d * geometry[at.STRIDE_D] - geometry[at.PAD_D] + kd * geometry[at.DILATION_D]
    xh = h * geometry[at.STRIDE_H] - geometry[at.PAD_H] + below
    xd = source_index(xd, geometry[at.IN_D], mode)
    xh = source_index(xh, geometry[at.IN_H], mode)
    return NO_ROW if xd < 0 or xh < 0 else xd * geometry[at.X_D] + xh * geometry[at.X_H]


@kernel
def copy_rows(x, start, row, x_step, rows, geometry, first, ahead, y, y_start, y_step, count):
    """y[y_start + r * y_step + j] = padded row r at position ``first`` + j * STRIDE_W, for r < rows and j < count.

    Row r starts at ``x[start + row + r * x_step]``; its IN_W cells are X_W apart. Positions count from the first cell;
    what lies outside is what the padding mode says. A ``row`` of NO_ROW is padding itself: zeros. The caller will want
    what lies ``ahead`` elements behind a row next: contiguous rows fetch it into the cache. Without that, packing a
    tile of a 64 x 56 x 56 image took 54 cycles for a row of 32 (Zen 4), most of them waiting.
    """
    if row == NO_ROW:
        for r in range(rows):
            for j in range(count):
                y[y_start + r * y_step + j] = 0
        return
    size = geometry[at.IN_W]
    step = geometry[at.X_W]
    stride = geometry[at.STRIDE_W]
    lanes = VECTOR_BYTES // y.itemsize
    left = min(count, max(0, -(first // stride)))  # the first j whose position is not negative
    right = min(count, max(left, -((first - size) // stride)))  # the first one whose position is at least size
    if left > 0:
        copy_padding(x, start + row, x_step, rows, geometry, first, y, y_start, y_step, 0, left)
    if right < count:
        copy_padding(x, start + row, x_step, rows, geometry, first, y, y_start, y_step, right, count)
    jump = stride * step
    source = start + row + first * step + left * jump
    target = y_start + left
    inside = right - left
    if jump == 1:
        whole = inside - inside % lanes
        for _ in range(rows):
            for j in range(0, whole, lanes):
                copy_vector(x, source + j, y, target + j, ahead)
            if whole < inside:
                copy_lanes(x, source + whole, y, target + whole, inside - whole)
            source += x_step
            target += y_step
    elif jump == 2:
        for _ in range(rows):
            for j in range(0, inside, lanes):
                copy_every_other(x, source + 2 * j, y, target + j, inside - j)
            source += x_step
            target += y_step
    else:
        for _ in range(rows):
            for j in range(inside):
                y[target + j] = x[source + j * jump]
            source += x_step
            target += y_step


@kernel
def copy_padding(x, start, x_step, rows, geometry, first, y, y_start, y_step, begin, end):
    """Do what :func:`copy_rows` does, for begin <= j < end that may lie outside the rows."""
    for j in range(begin, end):
        i = source_index(first + j * geometry[at.STRIDE_W], geometry[at.IN_W], geometry[at.PAD_MODE])
        for r in range(rows):
            y[y_start + r * y_step + j] = x[start + r * x_step + i * geometry[at.X_W]] if i >= 0 else 0


@kernel
def pack_panel(weight, geometry, depth, group, panel, y, start):
    """Transpose a panel: y[start + k * MR + m] = weight[group, panel * MR + m, k] for k < depth.

    ``weight`` is (groups, filters, depth), C-contiguous and flat; filters that fill up the last panel are zeros.
    """
    mr = geometry[at.MR]
    filters = geometry[at.FILTERS]
    row = panel * mr
    x = (group * filters + row) * depth
    count = min(mr, filters - row)
    lanes = VECTOR_BYTES // y.itemsize
    whole = depth - depth % lanes if count == TILE_ROWS else 0
    for k in range(0, whole, lanes):
        transpose_panel(weight, x + k, depth, y, start + k * mr)
    for k in range(whole, depth):
        for m in range(mr):
            y[start + k * mr + m] = weight[x + m * depth + k] if m < count else 0


@kernel
def pack_weights_serial(slot, slots, weight, bias, packed, geometry):
    """Lay out the panels of thread ``slot`` of ``slots`` as the microkernel's A, and the bias behind them.

    weight (G * F, C, KD, KH, KW), C-contiguous and flat, becomes packed[((g * PANELS + p) * K + k) * MR + m] for filter
    p * MR + m of group g and k over (C, KD, KH, KW); filters that fill up the last panel are zeros. The bias (empty:
    zeros) becomes packed[BIAS_START + (g * PANELS + p) * MR + m].
    """
    panels = geometry[at.PANELS]
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    every = geometry[at.GROUPS] * panels
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        group, panel = divmod(number, panels)
        pack_panel(weight, geometry, depth, group, panel, packed, number * depth * geometry[at.MR])
    if slot == 0:
        pack_bias(bias, packed, geometry)


@parallel_kernel
def pack_weights_parallel(slots, weight, bias, packed, geometry):
    """:func:`pack_weights_serial` on ``slots`` threads."""
    for slot in prange(slots):
        pack_weights_serial(slot, slots, weight, bias, packed, geometry)


@kernel
def pack_bias(bias, packed, geometry):
    """packed[BIAS_START + (g * PANELS + p) * MR + m] = bias of filter p * MR + m of group g, or 0."""
    filters = geometry[at.FILTERS]
    padded = geometry[at.PANELS] * geometry[at.MR]
    for group in range(geometry[at.GROUPS]):
        y = geometry[at.BIAS_START] + group * padded
        for row in range(padded):
            packed[y + row] = bias[group * filters + row] if row < filters and bias.size > 0 else 0
