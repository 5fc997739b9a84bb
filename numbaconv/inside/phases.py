"""The phases of transposed convolutions without Python: what each reads, its weights, and their results put together.

As :mod:`numbaconv.transposition` and :mod:`numbaconv.input_adjoint` have it. A problem here is the forward convolution,
see :mod:`.adjoints`.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ..planner import PARALLEL_PACKING
from . import slots
from .convolution import thread_count
from .linking import Memory, call_kernel, vector_at
from .memory import copy_cells, dense_strides, extent, fits, is_dense
from .parts import shape_of

# A phase of one dimension.
FIRST, JUMP, COUNT, TAP, TAP_STEP, TAPS, BEGIN, END, BEFORE, AFTER, SPREAD = range(11)
PHASE = 11


@register_jitable
def axis_phases(p, axis, given):
    """As :func:`numbaconv.transposition._axis_phases`."""
    size, kernel, stride = p[slots.SIZE + axis], p[slots.KERNEL + axis], p[slots.STEP + axis]
    dilation, before = p[slots.DILATION + axis], p[slots.BEFORE + axis]
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
def alike(phases, one, other):
    """Whether two phases read the same cells in the same way."""
    for axis in range(3):
        for field in (BEGIN, END, BEFORE, AFTER, SPREAD, TAPS, COUNT):
            if phases[one, axis, field] != phases[other, axis, field]:
                return False
    return True


@register_jitable
def stacked(p, phases, together):
    """The phases in groups that one convolution computes, as :func:`numbaconv.input_adjoint._stacks`.

    For each phase its group or -1, and its place there; for each group its first phase; how many groups there are, and
    how many phases each of them has.
    """
    every = len(phases)
    stack, member, leader = np.full(every, -1), np.zeros(every, np.int64), np.zeros(every, np.int64)
    stacks, members = 0, 1
    for number in range(every):
        one = phases[number]
        if one[0, TAPS] == 0 or one[1, TAPS] == 0 or one[2, TAPS] == 0:
            continue
        stack[number], leader[stacks] = stacks, number
        tap = 0
        for axis in range(3):
            tap = tap * p[slots.KERNEL + axis] + one[axis, TAP] + (one[axis, TAPS] - 1) * one[axis, TAP_STEP]
        together = together and tap == stacks and alike(phases, number, leader[0])
        stacks += 1
    if together and stacks == p[slots.KERNEL] * p[slots.KERNEL + 1] * p[slots.KERNEL + 2]:
        stacks, members = 1, stacks
        for number in range(every):
            member[number] = max(stack[number], 0)
            stack[number] = min(stack[number], 0)
    return stack, member, leader, stacks, members


# ------------------------------------------------------------------------------------------------------------ weights


@register_jitable
def row_step(p, w_shape, members):
    """How far the weights of two neighbouring filters of a phase lie apart in bytes; 0 where they must be copied."""
    groups, strides = p[slots.GROUPS], p[slots.W + 1 : slots.W + 6]
    group = p[slots.FILTERS] // groups * strides[0]
    rows, step = p[slots.CHANNELS] // groups * members, strides[1]
    if members > 1:  # every tap is a phase of its own
        step = p[slots.BYTES] if is_dense(w_shape[1:], strides[1:], p[slots.BYTES]) else 0
    if groups == 1 or rows * step == group:
        return step
    return group if rows == 1 else 0


@register_jitable
def place_part(p, phase, step, q):
    """Describe the weights of a phase to ``q`` where they lie: channels and filters exchanged, the last tap first."""
    q[slots.W] = p[slots.W]
    q[slots.W + 1], q[slots.W + 2] = step, p[slots.W + 1]
    for axis in range(3):
        last = phase[axis, TAP] + (phase[axis, TAPS] - 1) * phase[axis, TAP_STEP]
        q[slots.W] += last * p[slots.W + 3 + axis]
        q[slots.W + 3 + axis] = -phase[axis, TAP_STEP] * p[slots.W + 3 + axis]


@register_jitable
def copy_part(p, phase, part, member, members):
    """Write the weights of a phase to ``part``; a filter's phases, of which there are ``members``, lie side by side."""
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    filters, channels = p[slots.CHANNELS] // groups, p[slots.FILTERS] // groups
    shape = shape_of(filters, channels, phase[0, TAPS], phase[1, TAPS], phase[2, TAPS])
    q = np.empty(slots.PROBLEM, np.int64)
    place_part(p, phase, p[slots.W + 2], q)
    dense = dense_strides(shape, width)
    one = dense[0]
    dense[0] *= members
    for g in range(groups):
        target = part + (g * filters * members + member) * one
        copy_cells(
            width, shape, q[slots.W] + g * channels * p[slots.W + 1], q[slots.W + 1 : slots.W + 6], target, dense
        )


# ------------------------------------------------------------------------------------------------------------ results


@register_jitable
def weave(p, phases, wide, stack, member, members, starts, first, images, results):
    """As :func:`numbaconv.input_adjoint._weave`: write the phases' results to their cells of the result.

    The results of a group of phases, of ``images`` images from ``first`` on, start at byte starts[group] of
    ``results``.
    """
    for row in range(0, len(phases), wide):
        pair = wide == 2 and phases[row, 2, JUMP] == 2 and stack[row] >= 0 and stack[row + 1] >= 0
        if pair and fits(p[slots.X], p[slots.X + 1 : slots.X + 6], p[slots.BYTES]):
            weave_pair(p, phases, row, stack, member, members, starts, first, images, results)
            continue
        for number in range(row, row + wide):
            if stack[number] >= 0:
                start = results.ctypes.data + starts[stack[number]]
                spread(p, phases[number], member[number], members, first, images, start)


@register_jitable
def result_strides(p, phase, members, images):
    """The strides in bytes of what a group of phases is computed into: (images, rows, *cells of a phase)."""
    shape = shape_of(images, p[slots.CHANNELS] * members, phase[0, COUNT], phase[1, COUNT], phase[2, COUNT])
    return dense_strides(shape, p[slots.BYTES])


@register_jitable
def weave_pair(p, phases, number, stack, member, members, starts, first, images, results):
    """As :func:`numbaconv.input_adjoint._weave_pair`, of phases ``number`` and the next one."""
    width, filters = p[slots.BYTES], p[slots.CHANNELS] // p[slots.GROUPS]
    one = phases[number]
    shape = shape_of(p[slots.BATCH], p[slots.CHANNELS], p[slots.SIZE], p[slots.SIZE + 1], p[slots.SIZE + 2])
    memory, cell = extent(p[slots.X], shape, p[slots.X + 1 : slots.X + 6], width)
    table = np.zeros((4, 6), np.int64)
    table[0, 0], table[0, 1], table[0, 2] = images, p[slots.GROUPS], filters
    table[0, 3], table[0, 4], table[0, 5] = one[0, COUNT], one[1, COUNT], p[slots.SIZE + 2]
    for i in range(2):
        made = result_strides(p, phases[number + i], members, images) // width
        table[1 + i, 0], table[1 + i, 1], table[1 + i, 2] = made[0], filters * members * made[1], members * made[1]
        table[1 + i, 3], table[1 + i, 4] = made[2], made[3]
        table[1 + i, 5] = starts[stack[number + i]] // width + member[number + i] * made[1]
    strides = p[slots.X + 1 : slots.X + 6] // width
    table[3, 0], table[3, 1], table[3, 2] = strides[0], filters * strides[1], strides[1]
    table[3, 5] = cell + first * strides[0]
    for axis in range(2):
        table[3, 3 + axis] = one[axis, JUMP] * strides[2 + axis]
        table[3, 5] += one[axis, FIRST] * strides[2 + axis]
    both = Memory(results.ctypes.data, results.size // width, width)
    kernels = vector_at(p[slots.KERNELS], slots.KERNELS_LENGTH)
    cells = table[0, 0] * table[0, 1] * table[0, 2] * table[0, 3] * table[0, 4] * table[0, 5]
    threads = thread_count() if cells * width >= PARALLEL_PACKING else 1
    if threads == 1:
        call_kernel(kernels[slots.WEAVE_SERIAL], (0, 1, both, both, memory, table))
    else:
        call_kernel(kernels[slots.WEAVE_PARALLEL], (threads, both, both, memory, table))


@register_jitable
def spread(p, phase, member, members, first, images, result):
    """Write the results of a phase to their cells."""
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    filters = p[slots.CHANNELS] // groups
    made = result_strides(p, phase, members, images)
    channel = made[1]
    made[1] *= members
    shape = shape_of(images, filters, phase[0, COUNT], phase[1, COUNT], phase[2, COUNT])
    target = p[slots.X] + first * p[slots.X + 1]
    steps = p[slots.X + 1 : slots.X + 6].copy()
    for axis in range(3):
        target += phase[axis, FIRST] * steps[2 + axis]
        steps[2 + axis] *= phase[axis, JUMP]
    for g in range(groups):
        copy_cells(
            width, shape, result + (g * filters * members + member) * channel, made,
            target + g * filters * steps[1], steps,
        )  # fmt: skip
