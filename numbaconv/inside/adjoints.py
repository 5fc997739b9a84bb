"""Transposed convolutions and gradients without Python, from ordinary convolutions.

The same steps as those of :mod:`numbaconv.input_adjoint` and :mod:`numbaconv.weight_adjoint`.
A problem here is the forward convolution. Its input's slots (X) hold the result, or the input of a weight's gradient;
its output's slots (Y) hold what the adjoint is applied to; W holds the weight, or its gradient.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..input_adjoint import APART_BYTES, LARGEST_APART, LEAST_APART
from ..kernels import geometry as at
from ..runtime import host
from . import slots
from .convolution import AUTO, ONLY_CHANNELS, check_served, fill_with_bias
from .folding import fold, folding_pays, side_by_side, single_taps
from .linking import call_kernel, pointer, vector_at
from .memory import copy_cells, copy_numbers, count_of, dense_strides, fresh
from .parts import doubled, join_channels, join_weight, shape_of, split_channels, split_weight
from .phases import (
    AFTER,
    BEFORE,
    BEGIN,
    COUNT,
    END,
    FIRST,
    JUMP,
    PHASE,
    SPREAD,
    TAPS,
    axis_phases,
    copy_part,
    place_part,
    result_strides,
    row_step,
    stacked,
    weave,
)
from .slots import ADJOINT, CONJUGATE, GIVEN

convolve = pointer("numbaconv_convolve")
input_adjoint_once = pointer("numbaconv_input_adjoint")
weight_adjoint_once = pointer("numbaconv_weight_adjoint")


@register_jitable
def shape_x(p):
    """The shape of the forward convolution's input."""
    return shape_of(p[slots.BATCH], p[slots.CHANNELS], p[slots.SIZE], p[slots.SIZE + 1], p[slots.SIZE + 2])


@register_jitable
def shape_w(p):
    """The shape of the weight."""
    channels = p[slots.CHANNELS] // p[slots.GROUPS]
    return shape_of(p[slots.FILTERS], channels, p[slots.KERNEL], p[slots.KERNEL + 1], p[slots.KERNEL + 2])


@register_jitable
def fill_result(p):
    """The result of summing nothing."""
    q = p[: slots.PROBLEM].copy()
    q[slots.FILTERS] = p[slots.CHANNELS]
    for i in range(6):
        q[slots.Y + i] = p[slots.X + i]
    return fill_with_bias(q, shape_x(p)) + q.size


@host
def input_adjoint(place):
    """As :func:`numbaconv.input_adjoint.input_adjoint`."""
    p = vector_at(place, ADJOINT)
    shape = shape_x(p)
    if count_of(shape) == 0:
        return
    if folding_pays(p):
        fold(p, shape, shape_w(p))
        return
    if side_by_side(p) and p[slots.ALGORITHM] == AUTO:
        p = p.copy()
        p[slots.ALGORITHM] = ONLY_CHANNELS
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    filters, channels = p[slots.CHANNELS] // groups, p[slots.FILTERS] // groups
    one_image = count_of(shape) // p[slots.BATCH] * width
    apart = (
        p[slots.LAST] == 0
        and p[slots.STEP + 2] != 1
        and p[slots.SIZE + 2] >= 2
        and (count_of(shape) >= LEAST_APART or single_taps(p))
        and p[slots.X + 5] == width
        and one_image <= LARGEST_APART
    )
    d, h, w = axis_phases(p, 0, p[GIVEN]), axis_phases(p, 1, p[GIVEN + 1]), axis_phases(p, 2, p[GIVEN + 2])
    wide = len(w)
    phases = np.empty((len(d) * len(h) * wide, 3, PHASE), np.int64)
    for number in range(len(phases)):
        rest, k = divmod(number, wide)
        i, j = divmod(rest, len(h))
        for field in range(PHASE):
            phases[number, 0, field], phases[number, 1, field] = d[i, field], h[j, field]
            phases[number, 2, field] = w[k, field]
    stack, member, leader, stacks, members = stacked(p, phases, apart)
    if stacks * members < len(phases) or p[slots.FILTERS] == 0:
        fill_result(p)
    if p[slots.FILTERS] == 0:
        return
    for number in range(stacks):  # the algorithm asked for must serve all phases, or none is computed
        q = p[: slots.PROBLEM].copy()
        for axis in range(3):
            q[slots.KERNEL + axis], q[slots.STEP + axis] = phases[leader[number], axis, TAPS], 1
        check_served(q)
    images = max(1, APART_BYTES // max(1, one_image)) if apart else p[slots.BATCH]
    images = min(images, p[slots.BATCH])

    # Where the weights and the results of each group of phases start: all are kept until the last one is there.
    step = row_step(p, shape_w(p), members)
    part_starts, starts = np.zeros(stacks + 1, np.int64), np.zeros(stacks + 1, np.int64)
    rows = groups * filters * members
    for number in range(stacks):
        one = phases[leader[number]]
        taps = one[0, TAPS] * one[1, TAPS] * one[2, TAPS]
        part_starts[number + 1] = part_starts[number] + rows * channels * taps * width
        starts[number + 1] = starts[number] + images * rows * one[0, COUNT] * one[1, COUNT] * one[2, COUNT] * width
    parts = fresh(part_starts[stacks] if step == 0 else 0)
    results = fresh(starts[stacks] if apart else 0)
    if step == 0:
        for number in range(len(phases)):
            if stack[number] >= 0:
                part = parts.ctypes.data + part_starts[stack[number]]
                copy_part(p, phases[number], part, member[number], members)
    bias, bias_step = p[slots.B], p[slots.B + 1]
    offsets = fresh(rows * width if bias != 0 and members > 1 else 0)
    if offsets.size != 0:
        repeated = np.zeros(2, np.int64)
        repeated[0] = bias_step
        shape = np.array((groups * filters, members))
        copy_cells(width, shape, bias, repeated, offsets.ctypes.data, dense_strides(shape, width))
        bias, bias_step = offsets.ctypes.data, width

    for first in range(0, p[slots.BATCH], images):
        some = min(images, p[slots.BATCH] - first)
        for number in range(stacks):
            one = phases[leader[number]]
            q = p[: slots.PROBLEM].copy()
            q[slots.BATCH], q[slots.CHANNELS], q[slots.FILTERS] = some, p[slots.FILTERS], rows
            q[slots.X] = p[slots.Y] + first * p[slots.Y + 1]
            for i in range(5):
                q[slots.X + 1 + i] = p[slots.Y + 1 + i]
                q[slots.Y + 1 + i] = p[slots.X + 1 + i]
            q[slots.Y] = p[slots.X] + first * p[slots.X + 1]
            for axis in range(3):
                q[slots.SIZE + axis] = one[axis, END] - one[axis, BEGIN]
                q[slots.KERNEL + axis] = one[axis, TAPS]
                q[slots.STEP + axis] = 1
                q[slots.BEFORE + axis], q[slots.AFTER + axis] = one[axis, BEFORE], one[axis, AFTER]
                q[slots.DILATION + axis] = one[axis, SPREAD]
                q[slots.OUT + axis] = one[axis, COUNT]
                q[slots.X] += one[axis, BEGIN] * p[slots.Y + 3 + axis]
                q[slots.Y] += one[axis, FIRST] * p[slots.X + 3 + axis]
                q[slots.Y + 3 + axis] *= one[axis, JUMP]
            if step == 0:
                q[slots.W] = parts.ctypes.data + part_starts[number]
                kernel = shape_of(rows, channels, one[0, TAPS], one[1, TAPS], one[2, TAPS])
                copy_numbers(dense_strides(kernel, width), q, slots.W + 1)
            else:
                place_part(p, one, step, q)
            q[slots.B], q[slots.B + 1] = bias, bias_step
            if apart:
                q[slots.Y] = results.ctypes.data + starts[number]
                copy_numbers(result_strides(p, one, members, some), q, slots.Y + 1)
            call_kernel(convolve(), (q.ctypes.data,))
            if q.size < 0:  # it lives until here
                return
        if apart:
            weave(p, phases, wide, stack, member, members, starts, first, some, results)
    if results.size + parts.size + offsets.size < 0:  # they live until here
        return


# ------------------------------------------------------------------------------------------------- weight's gradient


@register_jitable
def clear(width, shape, target, strides):
    """Zeros."""
    zero = np.zeros(2, np.int64)
    copy_cells(width, shape, zero.ctypes.data, np.zeros(len(shape), np.int64), target, strides)
    return zero.size


@host
def weight_adjoint(place):
    """As :func:`numbaconv.weight_adjoint.weight_adjoint`, of arrays with their channels anywhere."""
    p = vector_at(place, ADJOINT)
    width = p[slots.BYTES]
    shape = shape_w(p)
    if count_of(shape) == 0:
        return
    outputs = p[slots.BATCH] * p[slots.FILTERS] * p[slots.OUT] * p[slots.OUT + 1] * p[slots.OUT + 2]
    if outputs == 0:
        clear(width, shape, p[slots.W], p[slots.W + 1 : slots.W + 6])
        return
    if p[slots.NDIM] < 3:
        images(p)
        return
    size, stride, dilation, before = p[slots.SIZE], p[slots.STEP], p[slots.DILATION], p[slots.BEFORE]
    for tap in range(p[slots.KERNEL]):
        # Output slice o reads input slice o * stride + offset.
        offset = tap * dilation - before
        first = max(0, -(offset // stride))
        last = min(p[slots.OUT], (size - 1 - offset) // stride + 1)
        q = p.copy()
        q[slots.NDIM] = 2
        q[slots.W] += tap * p[slots.W + 3]
        for slot in (slots.SIZE, slots.KERNEL, slots.STEP, slots.DILATION, slots.OUT):
            q[slot] = 1
        q[slots.BEFORE] = q[slots.AFTER] = 0
        if first >= last:
            clear(width, shape_w(q), q[slots.W], q[slots.W + 1 : slots.W + 6])
            continue
        count = last - first
        q[slots.BATCH] *= count
        x = take_slices(p, q, slots.X, count, p[slots.CHANNELS], slots.SIZE, (first * stride + offset), stride)
        y = take_slices(p, q, slots.Y, count, p[slots.FILTERS], slots.OUT, first, 1)
        images(q)
        if x.size + y.size < 0:  # they live until here
            return


@register_jitable
def take_slices(p, q, array, count, channels, size, first, step):
    """Describe ``count`` slices of each volume of a batch to ``q`` as images: where they lie, or a copy, the value.

    As NumPy does it, what is one stride apart is not copied; it made one volume's gradients take 1.8 times as long.
    """
    width = p[slots.BYTES]
    n, c, depth, h, w = p[array + 1], p[array + 2], p[array + 3], p[array + 4], p[array + 5]
    start = p[array] + first * depth
    copy = np.empty(0, np.uint8)
    strides = shape_of(n if count == 1 else step * depth, c, 0, h, w)
    if p[slots.BATCH] > 1 and count > 1 and n != count * step * depth:
        shape = shape_of(p[slots.BATCH], count, channels, p[size + 1], p[size + 2])
        copy = fresh(count_of(shape) * width)
        dense = dense_strides(shape, width)
        copy_cells(width, shape, start, shape_of(n, step * depth, c, h, w), copy.ctypes.data, dense)
        start = np.int64(copy.ctypes.data)
        strides = shape_of(dense[1], dense[2], 0, dense[3], dense[4])
    q[array] = start
    copy_numbers(strides, q, array + 1)
    return copy


@register_jitable
def images(p):
    """As :func:`numbaconv.weight_adjoint._images`."""
    width, ndim = p[slots.BYTES], p[slots.NDIM]
    batch, groups, channels = p[slots.BATCH], p[slots.GROUPS], p[slots.CHANNELS] // p[slots.GROUPS]
    exchanged = p[: slots.PROBLEM].copy()
    exchanged[slots.BATCH], exchanged[slots.CHANNELS] = channels, groups * batch
    exchanged[slots.MODE] = at.PAD_ZEROS
    exchanged[slots.LAST] = exchanged[slots.RELU] = exchanged[slots.B] = exchanged[slots.B + 1] = 0
    for axis in range(3):
        stride, dilation, before = p[slots.STEP + axis], p[slots.DILATION + axis], p[slots.BEFORE + axis]
        given, kernel = p[slots.OUT + axis], p[slots.KERNEL + axis]
        reach = (given - 1) * stride + (kernel - 1) * dilation + 1 - before
        read = min(p[slots.SIZE + axis], reach)
        if read < 1:
            clear(width, shape_w(p), p[slots.W], p[slots.W + 1 : slots.W + 6])
            return
        exchanged[slots.SIZE + axis], exchanged[slots.KERNEL + axis] = read, given
        exchanged[slots.STEP + axis], exchanged[slots.DILATION + axis] = dilation, stride
        exchanged[slots.BEFORE + axis], exchanged[slots.AFTER + axis] = before, reach - read
        exchanged[slots.OUT + axis] = kernel
    q = exchanged.copy()
    deep = 2 - ndim  # the channels are a dimension before the spatial ones
    q[slots.NDIM], q[slots.BATCH] = ndim + 1, 1
    q[slots.SIZE + deep] = q[slots.OUT + deep] = channels

    # (groups * images) are the channels of the convolution: one stride where there is one group, or one image.
    x, x_strides = p[slots.X], p[slots.X + 1 : slots.X + 6].copy()
    copy = np.empty(0, np.uint8)
    channel = x_strides[0]
    if groups > 1 and batch == 1:
        channel = channels * x_strides[1]
    elif groups > 1:
        some = shape_of(batch, channels, exchanged[slots.SIZE], exchanged[slots.SIZE + 1], exchanged[slots.SIZE + 2])
        copy = fresh(groups * count_of(some) * width)
        dense = dense_strides(some, width)
        for g in range(groups):
            target = copy.ctypes.data + g * batch * dense[0]
            copy_cells(width, some, x + g * channels * x_strides[1], x_strides, target, dense)
        x, x_strides, channel = copy.ctypes.data, dense, dense[0]
    q[slots.X], q[slots.Y], q[slots.W] = x, p[slots.W], p[slots.Y]
    q[slots.X + 1] = q[slots.Y + 1] = 0
    q[slots.X + 2], q[slots.Y + 2], q[slots.W + 1], q[slots.W + 2] = (
        channel, p[slots.W + 1], p[slots.Y + 2], p[slots.Y + 1],
    )  # fmt: skip
    for axis in range(3, 6):
        q[slots.X + axis], q[slots.Y + axis] = x_strides[axis - 1], p[slots.W + axis]
        q[slots.W + axis] = p[slots.Y + axis]
    q[slots.X + 3 + deep], q[slots.Y + 3 + deep], q[slots.W + 3 + deep] = x_strides[1], p[slots.W + 2], 0
    call_kernel(convolve(), (q.ctypes.data,))
    if copy.size + q.size < 0:  # they live until here
        raise ValueError("never")


# ---------------------------------------------------------------------------------------------------------- in parts


@host
def adjoint_in_parts(place):
    """The input's adjoint of complex numbers, by real ones."""
    p = vector_at(place, ADJOINT)
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    x_shape, w_shape = shape_x(p), shape_w(p)
    y_shape = shape_of(p[slots.BATCH], p[slots.FILTERS], p[GIVEN], p[GIVEN + 1], p[GIVEN + 2])
    y = split_channels(width, y_shape, groups, p[slots.Y], p[slots.Y + 1 : slots.Y + 6])
    w = split_weight(width, w_shape, groups, p[slots.W], p[slots.W + 1 : slots.W + 6], p[CONJUGATE] != 0)
    x = fresh(2 * count_of(x_shape) * width)
    some = p[slots.B] != 0
    b = split_channels(
        width, shape_of(1, p[slots.CHANNELS] if some else 0, 1, 1, 1), groups, p[slots.B],
        shape_of(0, p[slots.B + 1], 0, 0, 0),
    )  # fmt: skip
    q = in_parts(p, x_shape, y_shape, w_shape)
    q[slots.X], q[slots.Y], q[slots.W] = x.ctypes.data, y.ctypes.data, w.ctypes.data
    if some:
        q[slots.B], q[slots.B + 1] = b.ctypes.data, width
    call_kernel(input_adjoint_once(), (q.ctypes.data,))
    join_channels(width, x_shape, groups, x.ctypes.data, p[slots.X], p[slots.X + 1 : slots.X + 6])
    if x.size + y.size + w.size + b.size + q.size < 0:  # they live until here
        return


@host
def weight_in_parts(place):
    """The weight's gradient of complex numbers, by real ones."""
    p = vector_at(place, ADJOINT)
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    x_shape, w_shape = shape_x(p), shape_w(p)
    y_shape = shape_of(p[slots.BATCH], p[slots.FILTERS], p[slots.OUT], p[slots.OUT + 1], p[slots.OUT + 2])
    x = split_channels(width, x_shape, groups, p[slots.X], p[slots.X + 1 : slots.X + 6])
    y = split_channels(width, y_shape, groups, p[slots.Y], p[slots.Y + 1 : slots.Y + 6])
    w = fresh(4 * count_of(w_shape) * width)
    q = in_parts(p, x_shape, y_shape, w_shape)
    q[slots.X], q[slots.Y], q[slots.W] = x.ctypes.data, y.ctypes.data, w.ctypes.data
    call_kernel(weight_adjoint_once(), (q.ctypes.data,))
    join_weight(width, w_shape, groups, w.ctypes.data, p[slots.W], p[slots.W + 1 : slots.W + 6])
    if x.size + y.size + w.size + q.size < 0:  # they live until here
        return


@register_jitable
def in_parts(p, x_shape, y_shape, w_shape):
    """The real problem, without addresses."""
    width = p[slots.BYTES]
    q = p.copy()
    q[slots.CHANNELS] *= 2
    q[slots.FILTERS] *= 2
    w_parts = w_shape.copy()
    w_parts[0] *= 2
    w_parts[1] *= 2
    copy_numbers(dense_strides(doubled(x_shape), width), q, slots.X + 1)
    copy_numbers(dense_strides(doubled(y_shape), width), q, slots.Y + 1)
    copy_numbers(dense_strides(w_parts, width), q, slots.W + 1)
    return q
