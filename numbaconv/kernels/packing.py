"""Copies into the order in which the microkernel reads: rows of the input, panels of the weights."""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import TILE_ROWS, VECTOR_BYTES
from .simd import copy_lanes, transpose_panel


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
def copy_row(x, start, step, size, mode, first, stride, y, y_start, count):
    """y[y_start + j] = row[first + j * stride] for j < count, with ``row`` the padded row of x.

    Cell i of the row is ``x[start + i * step]``, for 0 <= i < size; what lies outside is padding of kind
    ``mode``. ``start`` < 0 stands for a row that is padding itself: zeros.
    """
    if start < 0:
        for j in range(count):
            y[y_start + j] = 0
        return
    left = min(count, max(0, -(first // stride)))  # the first j whose position is not negative
    right = min(count, max(left, -((first - size) // stride)))  # the first one whose position is >= size
    for j in range(left):
        i = source_index(first + j * stride, size, mode)
        y[y_start + j] = x[start + i * step] if i >= 0 else 0
    inside = start + first * step
    jump = stride * step
    if jump == 1:
        lanes = VECTOR_BYTES // y.itemsize
        for j in range(left, right, lanes):
            copy_lanes(x, inside + j, y, y_start + j, right - j)
    else:
        for j in range(left, right):
            y[y_start + j] = x[inside + j * jump]
    for j in range(right, count):
        i = source_index(first + j * stride, size, mode)
        y[y_start + j] = x[start + i * step] if i >= 0 else 0


@kernel
def pack_panel(weight, filters, depth, group, panel, y, start):
    """Transpose a panel: y[start + k * MR + m] = weight[group, panel * MR + m, k] for k < depth.

    ``weight`` is (groups, filters, depth), C-contiguous and flat; filters that fill up the last panel are zeros.
    """
    row = panel * TILE_ROWS
    x = (group * filters + row) * depth
    count = min(TILE_ROWS, filters - row)
    lanes = VECTOR_BYTES // y.itemsize
    whole = depth - depth % lanes if count == TILE_ROWS else 0
    for k in range(0, whole, lanes):
        transpose_panel(weight, x + k, depth, y, start + k * TILE_ROWS)
    for k in range(whole, depth):
        for m in range(TILE_ROWS):
            y[start + k * TILE_ROWS + m] = weight[x + m * depth + k] if m < count else 0


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
        pack_panel(weight, geometry[at.FILTERS], depth, group, panel, packed, number * depth * TILE_ROWS)
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
    for group in range(geometry[at.GROUPS]):
        y = geometry[at.BIAS_START] + group * geometry[at.PANELS] * TILE_ROWS
        for row in range(geometry[at.PANELS] * TILE_ROWS):
            packed[y + row] = bias[group * filters + row] if row < filters and bias.size > 0 else 0
