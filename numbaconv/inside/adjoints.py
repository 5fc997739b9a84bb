"""Transposed convolutions and gradients without Python, from ordinary convolutions.

The same steps as those of :mod:`numbaconv.input_adjoint` and :mod:`numbaconv.weight_adjoint`.
A problem here is the forward convolution. Its input's slots (X) hold the result, or the input of a weight's gradient;
its output's slots (Y) hold what the adjoint is applied to; W holds the weight, or its gradient.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ..input_adjoint import APART_BYTES, LARGEST_APART, LEAST_APART
from ..kernels import geometry as at
from ..runtime import host
from . import slots
from .convolution import AUTO, ONLY_CHANNELS, check_served, fill_with_bias
from .folding import fold, folding_pays, side_by_side, single_taps
from .linking import call_kernel, pointer, vector_at
from .memory import copy_cells, copy_numbers, count_of, dense_strides
from .parts import doubled, join_channels, join_weight, shape_of, split_channels, split_weight
from .slots import ADJOINT, CONJUGATE, GIVEN

convolve = pointer("numbaconv_convolve")
input_adjoint_once = pointer("numbaconv_input_adjoint")
weight_adjoint_once = pointer("numbaconv_weight_adjoint")

# A phase of one dimension.
FIRST, JUMP, COUNT, TAP, TAP_STEP, TAPS, BEGIN, END, BEFORE, AFTER, SPREAD = range(11)
PHASE = 11


@register_jitable
def axis_phases(size, given, kernel, stride, dilation, before):
    """As :func:`numbaconv.transposition._axis_phases`."""
    if given == 1:
        stride = 1
    if kernel == 1:
        dilation = 1
    common = math.gcd(stride, dilation)
    step, spread = stride // common, dilation // common
    phases = np.zeros((min(stride, size), PHASE), np.int64)
    for first in range(min(stride, size)):
        count = (size - first - 1) // stride + 1
        phases[first, FIRST], phases[first, JUMP], phases[first, COUNT] = first, stride, count
        phases[first, SPREAD] = 1
        tap = -1
        for k in range(min(step, kernel)):
            if tap < 0 and k * dilation % stride == (first + before) % stride:
                tap = k
        if tap < 0:
            continue
        taps = (kernel - tap - 1) // step + 1
        start = (first + before - tap * dilation) // stride
        lowest, behind = start - (taps - 1) * spread, start + count
        begin, end = max(lowest, 0), min(behind, given)
        if begin >= end:
            continue
        phases[first, TAP], phases[first, TAP_STEP], phases[first, TAPS] = tap, step, taps
        phases[first, BEGIN], phases[first, END] = begin, end
        phases[first, BEFORE], phases[first, AFTER], phases[first, SPREAD] = begin - lowest, behind - end, spread
    return phases


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
    d = axis_phases(p[slots.SIZE], p[GIVEN], p[slots.KERNEL], p[slots.STEP], p[slots.DILATION], p[slots.BEFORE])
    h = axis_phases(
        p[slots.SIZE + 1], p[GIVEN + 1], p[slots.KERNEL + 1], p[slots.STEP + 1], p[slots.DILATION + 1],
        p[slots.BEFORE + 1],
    )  # fmt: skip
    w = axis_phases(
        p[slots.SIZE + 2], p[GIVEN + 2], p[slots.KERNEL + 2], p[slots.STEP + 2], p[slots.DILATION + 2],
        p[slots.BEFORE + 2],
    )  # fmt: skip
    every = len(d) * len(h) * len(w)
    phases = np.empty((every, 3, PHASE), np.int64)
    stack, leader, members = np.full(every, -1), np.empty(every, np.int64), np.zeros(every, np.int64)
    stacks, nothing = 0, False
    taps = p[slots.KERNEL] * p[slots.KERNEL + 1] * p[slots.KERNEL + 2]
    together = apart  # where every tap is a phase of its own and all read the same cells, they share one convolution
    for number in range(every):
        rest, k = divmod(number, len(w))
        i, j = divmod(rest, len(h))
        for field in range(PHASE):
            phases[number, 0, field], phases[number, 1, field] = d[i, field], h[j, field]
            phases[number, 2, field] = w[k, field]
        if d[i, TAPS] == 0 or h[j, TAPS] == 0 or w[k, TAPS] == 0:
            nothing = True
            continue
        stack[number], leader[stacks], members[stacks] = stacks, number, 1
        tap = 0
        for axis in range(3):
            one = phases[number, axis]
            tap = tap * p[slots.KERNEL + axis] + one[TAP] + (one[TAPS] - 1) * one[TAP_STEP]
        together = together and tap == stacks and alike(phases, number, leader[0])
        stacks += 1
    if together and stacks == taps:
        for number in range(every):
            stack[number] = min(stack[number], 0)
        stacks, members[0] = 1, taps
    if nothing or p[slots.FILTERS] == 0:
        fill_result(p)
    if p[slots.FILTERS] == 0:
        return
    for number in range(stacks):  # the algorithm asked for must serve all phases, or none is computed
        q = p[: slots.PROBLEM].copy()
        for axis in range(3):
            q[slots.KERNEL + axis], q[slots.STEP + axis] = phases[leader[number], axis, TAPS], 1
        check_served(q)
    images = max(1, APART_BYTES // max(1, one_image)) if apart else p[slots.BATCH]
    for number in range(stacks):
        one = phases[leader[number]]
        size = one[0, TAPS] * one[1, TAPS] * one[2, TAPS]
        rows = members[number] * filters
        part = np.empty(groups * rows * channels * size * width, np.uint8)
        offsets = np.empty(groups * rows * width, np.uint8)
        member = 0
        for phase in range(every):
            if stack[phase] == number:
                arrange(p, phases[phase], part.ctypes.data, member, members[number])
                if p[slots.B] != 0:
                    for g in range(groups):
                        copy_cells(
                            width, np.full(1, filters), p[slots.B] + g * filters * p[slots.B + 1],
                            np.full(1, p[slots.B + 1]), offsets.ctypes.data + (g * rows + member) * width,
                            np.full(1, members[number] * width),
                        )  # fmt: skip
                member += 1
        for first in range(0, p[slots.BATCH], images):
            some = min(images, p[slots.BATCH] - first)
            q = p[: slots.PROBLEM].copy()
            q[slots.BATCH], q[slots.CHANNELS], q[slots.FILTERS] = some, p[slots.FILTERS], groups * rows
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
            q[slots.W] = part.ctypes.data
            kernel = shape_of(groups * rows, channels, one[0, TAPS], one[1, TAPS], one[2, TAPS])
            copy_numbers(dense_strides(kernel, width), q, slots.W + 1)
            if p[slots.B] != 0:
                q[slots.B], q[slots.B + 1] = offsets.ctypes.data, width
            result = np.empty(0, np.uint8)
            if apart:
                made = shape_of(some, groups * rows, one[0, COUNT], one[1, COUNT], one[2, COUNT])
                result = np.empty(count_of(made) * width, np.uint8)
                q[slots.Y] = result.ctypes.data
                copy_numbers(dense_strides(made, width), q, slots.Y + 1)
            call_kernel(convolve(), (q.ctypes.data,))
            if apart:
                spread(p, phases, stack, number, first, some, members[number], result.ctypes.data)
            if result.size + q.size + part.size + offsets.size < 0:  # they live until here
                return


@register_jitable
def alike(phases, one, other):
    """Whether two phases read the same cells in the same way."""
    for axis in range(3):
        for field in (BEGIN, END, BEFORE, AFTER, SPREAD, TAPS, COUNT):
            if phases[one, axis, field] != phases[other, axis, field]:
                return False
    return True


@register_jitable
def arrange(p, phase, part, member, members):
    """The weights of a phase, channels and filters exchanged, its taps the last one first.

    A filter's phases, of which there are ``members``, lie side by side.
    """
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    filters, channels = p[slots.CHANNELS] // groups, p[slots.FILTERS] // groups
    strides = p[slots.W + 1 : slots.W + 6]
    shape = shape_of(filters, channels, phase[0, TAPS], phase[1, TAPS], phase[2, TAPS])
    source = p[slots.W]
    steps = np.empty(5, np.int64)
    steps[0], steps[1] = strides[1], strides[0]
    for axis in range(3):
        last = phase[axis, TAP] + (phase[axis, TAPS] - 1) * phase[axis, TAP_STEP]
        source += last * strides[2 + axis]
        steps[2 + axis] = -phase[axis, TAP_STEP] * strides[2 + axis]
    dense = dense_strides(shape, width)
    one = dense[0]
    dense[0] *= members
    for g in range(groups):
        target = part + (g * filters * members + member) * one
        copy_cells(width, shape, source + g * channels * strides[0], steps, target, dense)


@register_jitable
def spread(p, phases, stack, number, first, images, members, result):
    """Write the phases of one convolution to their cells of the result."""
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    filters = p[slots.CHANNELS] // groups
    member = 0
    for phase in range(len(stack)):
        if stack[phase] != number:
            continue
        one = phases[phase]
        count = groups * filters * members
        made = dense_strides(shape_of(images, count, one[0, COUNT], one[1, COUNT], one[2, COUNT]), width)
        channel = made[1]
        made[1] *= members
        shape = shape_of(images, filters, one[0, COUNT], one[1, COUNT], one[2, COUNT])
        target = p[slots.X] + first * p[slots.X + 1]
        steps = p[slots.X + 1 : slots.X + 6].copy()
        for axis in range(3):
            target += one[axis, FIRST] * steps[2 + axis]
            steps[2 + axis] *= one[axis, JUMP]
        for g in range(groups):
            copy_cells(
                width, shape, result + (g * filters * members + member) * channel, made,
                target + g * filters * steps[1], steps,
            )  # fmt: skip
        member += 1


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
        x = slices(p, slots.X, count, p[slots.CHANNELS], slots.SIZE, (first * stride + offset), stride)
        y = slices(p, slots.Y, count, p[slots.FILTERS], slots.OUT, first, 1)
        x_shape = shape_of(q[slots.BATCH], q[slots.CHANNELS], 1, q[slots.SIZE + 1], q[slots.SIZE + 2])
        y_shape = shape_of(q[slots.BATCH], q[slots.FILTERS], 1, q[slots.OUT + 1], q[slots.OUT + 2])
        q[slots.X], q[slots.Y] = x.ctypes.data, y.ctypes.data
        copy_numbers(dense_strides(x_shape, width), q, slots.X + 1)
        copy_numbers(dense_strides(y_shape, width), q, slots.Y + 1)
        images(q)
        if x.size + y.size < 0:  # they live until here
            return


@register_jitable
def slices(p, array, count, channels, size, first, step):
    """``count`` slices of each volume of a batch, as images: a copy (batch * count, channels, height, width)."""
    width = p[slots.BYTES]
    shape = shape_of(p[slots.BATCH], count, channels, p[size + 1], p[size + 2])
    result = np.empty(count_of(shape) * width, np.uint8)
    n, c, depth, h, w = p[array + 1], p[array + 2], p[array + 3], p[array + 4], p[array + 5]
    strides = shape_of(n, step * depth, c, h, w)
    copy_cells(width, shape, p[array] + first * depth, strides, result.ctypes.data, dense_strides(shape, width))
    return result


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
        copy = np.empty(groups * count_of(some) * width, np.uint8)
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
    x = np.empty(2 * count_of(x_shape) * width, np.uint8)
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
    w = np.empty(4 * count_of(w_shape) * width, np.uint8)
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
