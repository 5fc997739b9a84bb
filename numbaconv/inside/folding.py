"""Transposed convolutions without Python by windows that are added up, as :mod:`numbaconv.input_adjoint` has it."""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..input_adjoint import APART_BYTES, FILTERS_FOLDED, LEAST_WINDOWS, MOST_PIXELS_FOLDED, PIXELS_FOLDED
from ..interleaving import LEAST_LANES
from ..kernels.arrange import fold_cells
from ..planner import ALGORITHMS, PARALLEL_PACKING
from . import slots
from .convolution import ONLY_CHANNELS, keep, thread_count
from .linking import Memory, call_kernel, pointer, vector_at
from .memory import copy_cells, copy_numbers, count_of, dense_strides, extent, fits, fresh, is_dense
from .parts import shape_of
from .slots import GIVEN

convolve = pointer("numbaconv_convolve")
AUTO = ALGORITHMS.index("auto")


@register_jitable
def folding_pays(p):
    """As :func:`numbaconv.input_adjoint._folding_pays`."""
    given = p[GIVEN] * p[GIVEN + 1] * p[GIVEN + 2]
    taps = p[slots.KERNEL] * p[slots.KERNEL + 1] * p[slots.KERNEL + 2]
    pixels, filters, channels = p[slots.BATCH] * given, p[slots.FILTERS], p[slots.CHANNELS]
    if p[slots.ALGORITHM] != AUTO or p[slots.LAST] != 0 or p[slots.GROUPS] > 1:
        return False
    if pixels == 0 or filters == 0:
        return False
    overlapping, phases = False, False
    for axis in range(3):
        overlapping = overlapping or p[slots.KERNEL + axis] != p[slots.STEP + axis]
        phases = phases or p[slots.STEP + axis] > 1
    windows = channels * taps * given * p[slots.BYTES]
    if not overlapping or windows > APART_BYTES:
        return False
    if channels <= FILTERS_FOLDED or taps == 1:
        return True
    most = MOST_PIXELS_FOLDED if p[slots.BATCH] * windows <= APART_BYTES else PIXELS_FOLDED
    return phases and pixels <= most * filters


@register_jitable
def single_taps(p):
    """Whether a phase of the stride has a single tap."""
    kernel, step = p[slots.KERNEL : slots.KERNEL + 3], p[slots.STEP : slots.STEP + 3]
    return kernel[0] < 2 * step[0] and kernel[1] < 2 * step[1] and kernel[2] < 2 * step[2]


@register_jitable
def side_by_side(p):
    """As :func:`numbaconv.interleaving.side_by_side`."""
    taps = p[slots.KERNEL] * p[slots.KERNEL + 1] * p[slots.KERNEL + 2]
    if p[slots.NDIM] > 2 or p[slots.GROUPS] > 1 or p[slots.LAST] != 0 or p[slots.STEP + 2] != 2:
        return False
    for axis in range(3):
        if p[slots.KERNEL + axis] != p[slots.STEP + axis] or p[slots.DILATION + axis] != 1:
            return False
        if p[slots.BEFORE + axis] != 0 or p[slots.AFTER + axis] != 0:
            return False
        if p[slots.SIZE + axis] != p[GIVEN + axis] * p[slots.STEP + axis]:
            return False
    return p[slots.CHANNELS] * taps >= LEAST_LANES


@register_jitable
def fold(p, shape, w_shape):
    """As :func:`numbaconv.input_adjoint._fold`; ``shape`` is the result's."""
    width, batch, channels = p[slots.BYTES], p[slots.BATCH], p[slots.CHANNELS]
    windows = count_of(w_shape[1:])
    given = p[GIVEN] * p[GIVEN + 1] * p[GIVEN + 2]
    w_copy = b_copy = result = np.empty(0, np.uint8)
    weight, filter_step = p[slots.W], p[slots.W + 1]
    if not is_dense(w_shape[1:], p[slots.W + 2 : slots.W + 6], width):
        w_copy = fresh(count_of(w_shape) * width)
        dense = dense_strides(w_shape, width)
        copy_cells(width, w_shape, weight, p[slots.W + 1 : slots.W + 6], w_copy.ctypes.data, dense)
        weight, filter_step = w_copy.ctypes.data, dense[0]
    bias, count = p[slots.B], channels if p[slots.B] != 0 else 0
    if bias != 0 and (bias % width != 0 or p[slots.B + 1] != width):
        b_copy = fresh(channels * width)
        copy_cells(width, np.full(1, channels), bias, np.full(1, p[slots.B + 1]), b_copy.ctypes.data, np.full(1, width))
        bias = b_copy.ctypes.data
    out, strides = p[slots.X], p[slots.X + 1 : slots.X + 6].copy()
    apart = not fits(out, strides, width)
    if apart:
        result = fresh(count_of(shape) * width)
        out, strides = result.ctypes.data, dense_strides(shape, width)
    whole, first_cell = extent(out, shape, strides, width)
    table = np.empty((3, 7), np.int64)
    q = p[: slots.PROBLEM].copy()
    q[slots.CHANNELS], q[slots.FILTERS] = p[slots.FILTERS], windows
    if windows >= LEAST_WINDOWS:
        q[slots.ALGORITHM] = ONLY_CHANNELS
    q[slots.RELU] = q[slots.B] = q[slots.B + 1] = 0
    for axis in range(3):
        table[axis, 0], table[axis, 1] = p[slots.KERNEL + axis], p[GIVEN + axis]
        table[axis, 2], table[axis, 3] = p[slots.STEP + axis], p[slots.DILATION + axis]
        table[axis, 4], table[axis, 5] = p[slots.BEFORE + axis], p[slots.SIZE + axis]
        table[axis, 6] = strides[2 + axis] // width
        q[slots.SIZE + axis] = q[slots.OUT + axis] = p[GIVEN + axis]
        q[slots.KERNEL + axis] = q[slots.STEP + axis] = q[slots.DILATION + axis] = 1
        q[slots.BEFORE + axis] = q[slots.AFTER + axis] = 0
    q[slots.W], q[slots.W + 1], q[slots.W + 2] = weight, width, filter_step
    q[slots.W + 3] = q[slots.W + 4] = q[slots.W + 5] = 0
    kernels = vector_at(p[slots.KERNELS], slots.KERNELS_LENGTH)
    images = min(batch, max(1, APART_BYTES // (windows * given * width)))
    columns = fresh(images * windows * given * width)
    bias_memory = Memory(bias, count, width)
    cells = thread_count() * fold_cells(table)
    sums = np.empty(cells * width, np.uint8)
    sums_memory = Memory(sums.ctypes.data, cells, width)
    for first in range(0, batch, images):
        some = min(images, batch - first)
        q[slots.BATCH] = some
        q[slots.X] = p[slots.Y] + first * p[slots.Y + 1]
        q[slots.Y] = columns.ctypes.data
        made = shape_of(some, windows, p[GIVEN], p[GIVEN + 1], p[GIVEN + 2])
        copy_numbers(p[slots.Y + 1 : slots.Y + 6], q, slots.X + 1)  # the call may have changed them
        copy_numbers(dense_strides(made, width), q, slots.Y + 1)
        call_kernel(convolve(), (q.ctypes.data,))
        start = first_cell + first * (strides[0] // width)
        planes = (some, channels, start, strides[0] // width, strides[1] // width, p[slots.RELU])
        columns_memory = Memory(columns.ctypes.data, count_of(made), width)
        threads = thread_count() if count_of(made) * width >= PARALLEL_PACKING else 1
        arguments = (columns_memory, bias_memory, whole, planes, table, sums_memory)
        if threads == 1:
            call_kernel(kernels[slots.FOLD_SERIAL], (0, 1, *arguments))
        else:
            call_kernel(kernels[slots.FOLD_PARALLEL], (threads, *arguments))
    if apart:
        copy_cells(width, shape, out, strides, p[slots.X], p[slots.X + 1 : slots.X + 6])
    keep(w_copy, b_copy, result, columns, sums, q, q)
