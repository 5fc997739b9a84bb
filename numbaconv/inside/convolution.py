"""Convolutions without Python: the plan, the layout of memory and the kernels.

The same steps as :mod:`numbaconv.planner` and :mod:`numbaconv.execute` take, with the same cost models and blocking
(the drivers' own functions, compiled), so that the same algorithm is chosen and the same bits come out.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ..algorithms import direct_channels, direct_pixels, im2col, winograd, winograd_tiling
from ..algorithms.prices import USUAL
from ..algorithms.sharing import images_together
from ..kernels import geometry as at
from ..kernels.blocking import NARROW_LINE, PACK_SCRATCH
from ..planner import ALGORITHMS, CANDIDATES, PARALLEL_PACKING, PRECISIONS, SERIAL_COST
from ..runtime import host
from . import slots
from .linking import (
    NESTED,
    SERIAL,
    STATE_LENGTH,
    THREADS,
    Memory,
    call_kernel,
    load,
    number_from,
    state,
    store,
    vector_at,
)
from .memory import copy_cells, copy_numbers, copy_run, count_of, dense_strides, extent, fits, fresh, is_dense
from .tables import channels_rows, im2col_rows, pixels_rows, winograd_rows

WINOGRAD, IM2COL, CHANNELS, PIXELS = (CANDIDATES.index(f"{name}") for name in (
    "winograd", "im2col", "direct_channels", "direct_pixels",
))  # fmt: skip
AUTO, ONLY_DIRECT, ONLY_IM2COL, ONLY_WINOGRAD, ONLY_CHANNELS, ONLY_PIXELS = range(6)
assert ALGORITHMS == ("auto", "direct", "im2col", "winograd", "direct_channels", "direct_pixels")  # noqa: S101
EXACT, FAST = PRECISIONS.index("exact"), PRECISIONS.index("fast")


@register_jitable
def thread_count():
    """How many threads the next kernel may use: 1 within a parallel region, too."""
    numbers = vector_at(state(), STATE_LENGTH)
    if numbers[SERIAL] != 0:
        return 1
    if numbers[NESTED] != 0 and number_from(numbers[NESTED], ()) != 0:
        return 1
    return number_from(numbers[THREADS], ())


@register_jitable
def pointwise(p):
    """As :attr:`numbaconv.problem.ConvProblem.pointwise`."""
    for axis in range(3):
        if p[slots.KERNEL + axis] != 1 or p[slots.STEP + axis] != 1:
            return False
        if p[slots.BEFORE + axis] != 0 or p[slots.AFTER + axis] != 0:
            return False
    return True


@register_jitable
def fill_geometry(p, geometry):
    """As :func:`numbaconv.planner.geometry_list`."""
    geometry[:] = 0
    geometry[at.BATCH] = p[slots.BATCH]
    geometry[at.IMAGES] = 1
    geometry[at.GROUPS] = p[slots.GROUPS]
    geometry[at.CHANNELS] = p[slots.CHANNELS] // p[slots.GROUPS]
    geometry[at.FILTERS] = p[slots.FILTERS] // p[slots.GROUPS]
    geometry[at.PAD_MODE] = p[slots.MODE]
    geometry[at.FINISH] = at.FINISH_BIAS_RELU if p[slots.RELU] != 0 else at.FINISH_BIAS
    geometry[at.CHANNELS_LAST] = p[slots.LAST]
    if pointwise(p):
        pixels = p[slots.OUT] * p[slots.OUT + 1] * p[slots.OUT + 2]
        images, rows, columns = images_together(p[slots.BATCH], pixels)
        geometry[at.BATCH] = p[slots.BATCH] // images
        geometry[at.IMAGES] = images
        for slot in (at.IN_D, at.KERNEL_D, at.OUT_D, at.STRIDE_D, at.DILATION_D):
            geometry[slot : slot + 3] = 1
        for slot in (at.IN_D, at.OUT_D):
            geometry[slot + 1], geometry[slot + 2] = rows, columns
        return
    for axis in range(3):
        geometry[at.IN_D + axis] = p[slots.SIZE + axis]
        geometry[at.KERNEL_D + axis] = p[slots.KERNEL + axis]
        geometry[at.OUT_D + axis] = p[slots.OUT + axis]
        geometry[at.STRIDE_D + axis] = p[slots.STEP + axis] if p[slots.OUT + axis] != 1 else 1
        geometry[at.DILATION_D + axis] = p[slots.DILATION + axis] if p[slots.KERNEL + axis] != 1 else 1
        geometry[at.PAD_D + axis] = p[slots.BEFORE + axis]


@register_jitable
def winograd_serves(p):
    """As :func:`numbaconv.algorithms.winograd.unsupported`; "exact" does not allow it."""
    if p[slots.FLOATS] == 0 or p[slots.PRECISION] == EXACT:
        return False
    several = False  # taps that read the same phase of the input
    for axis in (1, 2):
        stride, taps_of_axis = p[slots.STEP + axis], p[slots.KERNEL + axis]
        if taps_of_axis > winograd_tiling.LONGEST or (taps_of_axis > 1 and stride > 1 and p[slots.DILATION + axis] > 1):
            return False
        several = several or taps_of_axis > stride
    return several


@register_jitable
def check_served(p):
    """Raise an error where the algorithm that is asked for cannot serve a problem."""
    if p[slots.ALGORITHM] == ONLY_WINOGRAD and not winograd_serves(p):
        raise ValueError(
            "algorithm 'winograd' cannot serve this call: it needs floating-point numbers, a precision other than "
            "'exact', stride or dilation 1 along height and width, at most 12 taps along each, and along one of them "
            "more taps than the stride"
        )


@register_jitable
def asked_for(algorithm, candidate):
    """Whether a candidate may serve where this algorithm is asked for."""
    if algorithm == AUTO:
        return True
    if algorithm == ONLY_DIRECT:
        return candidate in (CHANNELS, PIXELS)
    if algorithm == ONLY_IM2COL:
        return candidate == IM2COL
    if algorithm == ONLY_WINOGRAD:
        return candidate == WINOGRAD
    return candidate == (CHANNELS if algorithm == ONLY_CHANNELS else PIXELS)


@register_jitable
def choose(p, geometry):
    """As :func:`numbaconv.planner.choose`: (the candidate, its cost without packing); fill the blocking.

    Without what was measured of single problems.
    """
    only = p[slots.ALGORITHM] == ONLY_WINOGRAD
    lenient = at.TILES_STANDARD if only else at.TILES_ACCURATE
    geometry[at.LENIENCY] = at.TILES_ALL if p[slots.PRECISION] == FAST else lenient
    geometry[at.REPACKED] = 1
    itemsize = p[slots.BYTES]
    prices = vector_at(p[slots.KERNELS] + 8 * slots.PRICES, len(USUAL)).view(np.float64)
    chosen, least, cost = -1, math.inf, 0.0
    for candidate in range(len(CANDIDATES)):
        if not asked_for(p[slots.ALGORITHM], candidate) or (candidate == WINOGRAD and not winograd_serves(p)):
            continue
        if candidate == WINOGRAD:
            packing = winograd.pack_cost(geometry, itemsize)
            running = winograd.cost(geometry, itemsize, prices)
        elif candidate == IM2COL:
            packing = im2col.pack_cost(geometry, itemsize)
            running = im2col.cost(geometry, itemsize, prices)
        elif candidate == CHANNELS:
            packing = direct_channels.pack_cost(geometry, itemsize)
            running = direct_channels.cost(geometry, itemsize, prices)
        else:
            packing = direct_pixels.pack_cost(geometry, itemsize)
            running = direct_pixels.cost(geometry, itemsize, prices)
        total = running + packing
        if total < least:
            chosen, least, cost = candidate, total, total - packing
    if chosen == WINOGRAD:
        winograd.block(geometry, itemsize)
        winograd.pack_in_tasks(geometry, itemsize)
    elif chosen == IM2COL:
        im2col.block(geometry, itemsize)
    elif chosen == CHANNELS:
        direct_channels.block(geometry, itemsize)
        direct_channels.pack_in_tasks(geometry, itemsize)
    elif chosen == PIXELS:
        direct_pixels.block(geometry, itemsize)
    return chosen, cost


@register_jitable
def rows_of(candidate, geometry, itemsize, kernels):
    """As :func:`numbaconv.planner.rows`; ``kernels`` is the address of the table of kernels."""
    if candidate == WINOGRAD:
        return winograd_rows(geometry, kernels)
    if candidate == IM2COL:
        return im2col_rows(geometry)
    if candidate == CHANNELS:
        return channels_rows(geometry, itemsize)
    return pixels_rows(geometry, itemsize)


@register_jitable
def one_stride(sizes, strides):
    """As :func:`numbaconv.arrays.common_stride`: (whether there is one, the stride)."""
    step, expected, known = 1, 0, False
    for axis in range(2, -1, -1):
        if sizes[axis] == 1:
            continue
        if not known:
            step = expected = strides[axis]
            known = True
        elif strides[axis] != expected:
            return False, 0
        expected *= sizes[axis]
    return True, step


@register_jitable
def taken(p, width, array, sizes):
    """Whether the kernels can take an array of (batch, channels, *spatial) at slots X or Y as it lies."""
    strides = p[array + 1 : array + 6]
    if not fits(p[array], strides, width):
        return False
    return not pointwise(p) or one_stride(sizes, strides[2:])[0]


@register_jitable
def lay_out(p, geometry, array, shape, start, batch):
    """Write an array's strides into the geometry; return its memory."""
    width = p[slots.BYTES]
    strides = p[array + 1 : array + 6]
    memory, first = extent(p[array], shape, strides, width)
    geometry[start] = first
    geometry[batch] = strides[0] // width
    geometry[batch + 1] = strides[1] // width
    if pointwise(p):
        geometry[batch + 4] = one_stride(shape[2:], strides[2:])[1] // width
        if geometry[at.IMAGES] > 1:
            geometry[batch + 3 if geometry[at.OUT_H] > 1 else batch + 4] = strides[0] // width
    else:
        for axis in range(3):
            geometry[batch + 2 + axis] = strides[2 + axis] // width
    return memory


@register_jitable
def pixels_dense(geometry):
    """As :func:`numbaconv.executable._dense`."""
    expected = 1
    for axis in range(2, -1, -1):
        if geometry[at.OUT_D + axis] > 1 and geometry[at.OUT_STRIDE_D + axis] != expected:
            return False
        expected *= geometry[at.OUT_D + axis]
    return True


@register_jitable
def fill_with_bias(p, shape):
    """The result of summing nothing."""
    width = p[slots.BYTES]
    zero = np.zeros(2, np.int64)
    steps = np.zeros(5, np.int64)
    source = zero.ctypes.data
    values = fresh(p[slots.FILTERS] * width)
    if p[slots.B] != 0:
        for i in range(p[slots.FILTERS]):
            place = p[slots.B] + i * p[slots.B + 1]
            to = values.ctypes.data + i * width
            if width == 4 and p[slots.FLOATS] != 0:
                small = load(place, np.float32(0))
                store(to, np.float32(0) if p[slots.RELU] != 0 and small < 0 else small)
            elif p[slots.FLOATS] != 0:
                large = load(place, np.float64(0))
                store(to, 0.0 if p[slots.RELU] != 0 and large < 0 else large)
            elif width == 4:
                store(to, load(place, np.int32(0)))
            elif width == 2:
                store(to, load(place, np.int16(0)))
            else:
                store(to, load(place, np.int64(0)))
        source = values.ctypes.data
        steps[1] = width
    copy_cells(width, shape, source, steps, p[slots.Y], p[slots.Y + 1 : slots.Y + 6])
    return values.size + zero.size  # both live until here


@register_jitable
def launch(kernels, threads, arguments):
    """Run a function, whose address comes first, on some threads."""
    function, a, b, c, rows, geometry, scratch = arguments
    if threads == 1:
        call_kernel(kernels[slots.RUN_SERIAL], (0, 1, function, a, b, c, rows, geometry, scratch))
    else:
        call_kernel(kernels[slots.RUN_PARALLEL], (threads, function, a, b, c, rows, geometry, scratch))


@register_jitable
def run(p):
    """Compute a convolution that is described in ``p``, which has arrays in a dtype of the kernels."""
    width = p[slots.BYTES]
    x_shape, y_shape, w_shape = np.empty(5, np.int64), np.empty(5, np.int64), np.empty(5, np.int64)
    x_shape[0] = y_shape[0] = p[slots.BATCH]
    x_shape[1] = p[slots.CHANNELS]
    w_shape[0] = y_shape[1] = p[slots.FILTERS]
    w_shape[1] = p[slots.CHANNELS] // p[slots.GROUPS]
    depth = w_shape[1]
    for axis in range(3):
        x_shape[2 + axis] = p[slots.SIZE + axis]
        y_shape[2 + axis] = p[slots.OUT + axis]
        w_shape[2 + axis] = p[slots.KERNEL + axis]
        depth *= p[slots.KERNEL + axis]
    for size in y_shape:
        if size == 0:
            return
    if depth == 0:
        fill_with_bias(p, y_shape)
        return
    geometry = np.empty(at.LENGTH, np.int64)
    fill_geometry(p, geometry)
    check_served(p)
    candidate, cost = choose(p, geometry)

    x_copy = y_copy = w_copy = b_copy = np.empty(0, np.uint8)
    if not taken(p, width, slots.X, x_shape[2:]):
        strides = dense_strides(x_shape, width)
        x_copy = fresh(count_of(x_shape) * width)
        copy_cells(width, x_shape, p[slots.X], p[slots.X + 1 : slots.X + 6], x_copy.ctypes.data, strides)
        p[slots.X] = x_copy.ctypes.data
        copy_numbers(strides, p, slots.X + 1)
    y, y_strides = p[slots.Y], p[slots.Y + 1 : slots.Y + 6].copy()
    apart = not taken(p, width, slots.Y, y_shape[2:])
    if apart:
        y_copy = fresh(count_of(y_shape) * width)
        p[slots.Y] = y_copy.ctypes.data
        copy_numbers(dense_strides(y_shape, width), p, slots.Y + 1)
    weight, weight_strides = p[slots.W], p[slots.W + 1 : slots.W + 6]
    if not fits(weight, weight_strides, width):
        w_copy = fresh(count_of(w_shape) * width)
        copy_cells(width, w_shape, weight, weight_strides, w_copy.ctypes.data, dense_strides(w_shape, width))
        weight, weight_strides = w_copy.ctypes.data, dense_strides(w_shape, width)
    weight_memory, first = extent(weight, w_shape, weight_strides, width)
    geometry[at.WEIGHT_START] = first
    for i in range(5):
        geometry[at.WEIGHT_FILTER + i] = weight_strides[i] // width
    geometry[at.WEIGHT_DENSE] = int(is_dense(w_shape[1:], weight_strides[1:], width))
    bias = p[slots.B]
    count = p[slots.FILTERS] if bias != 0 else 0
    if bias != 0 and (bias % width != 0 or p[slots.B + 1] != width):
        b_copy = fresh(count * width)
        copy_cells(
            width, p[slots.FILTERS : slots.FILTERS + 1], bias, p[slots.B + 1 : slots.B + 2], b_copy.ctypes.data,
            np.full(1, width),
        )  # fmt: skip
        bias = b_copy.ctypes.data

    x_memory = lay_out(p, geometry, slots.X, x_shape, at.X_START, at.X_BATCH)
    y_memory = lay_out(p, geometry, slots.Y, y_shape, at.OUT_START, at.OUT_BATCH)
    geometry[at.OUT_DENSE] = int(pixels_dense(geometry))
    rows = rows_of(candidate, geometry, width, p[slots.KERNELS])
    kernels = vector_at(p[slots.KERNELS], slots.KERNELS_LENGTH)
    functions = slots.FUNCTIONS + slots.FUNCTIONS_OF_CANDIDATE * candidate
    if geometry[at.UNPACKED] != 0:
        functions += 4
    elif geometry[at.LANE_FILTERS] != 0:
        functions += 2
    pack, tasks = kernels[functions], kernels[functions + 1]
    bias_memory = Memory(np.int64(bias), count, width)
    packed = pack_scratch = np.empty(0, np.uint8)
    packed_memory, rests = Memory(np.int64(weight_memory.address), weight_memory.elements, width), 0
    if geometry[at.UNPACKED] != 0:
        rests = geometry[at.GROUPS] * geometry[at.PANELS] * geometry[at.MR]
    else:
        packed = fresh(geometry[at.PACKED] * width)
        packed_memory = Memory(np.int64(packed.ctypes.data), geometry[at.PACKED], width)
        threads = thread_count() if geometry[at.PACKED] * width >= PARALLEL_PACKING else 1
        elements = 2 * NARROW_LINE + threads * PACK_SCRATCH
        pack_scratch = fresh(elements * width)
        scratch_memory = Memory(pack_scratch.ctypes.data, elements, width)
        launch(kernels, threads, (pack, weight_memory, bias_memory, packed_memory, rows, geometry, scratch_memory))
    threads = thread_count() if cost >= SERIAL_COST and geometry[at.TASKS] > 1 else 1
    elements = geometry[at.SHARED] + 2 * NARROW_LINE + threads * geometry[at.SCRATCH] + rests
    scratch = fresh(elements * width)
    scratch_memory = Memory(scratch.ctypes.data, elements, width)
    if rests != 0:
        spread_bias(geometry, bias_memory, np.int64(scratch.ctypes.data) + (elements - rests) * width)
    launch(kernels, threads, (tasks, x_memory, packed_memory, y_memory, rows, geometry, scratch_memory))
    if apart:
        copy_cells(width, y_shape, p[slots.Y], p[slots.Y + 1 : slots.Y + 6], y, y_strides)
    keep(x_copy, y_copy, w_copy, b_copy, packed, pack_scratch, scratch)


@register_jitable
def spread_bias(geometry, bias, target):
    """The bias as tasks that pack the weights themselves take it: with zeros for the filters that panels lack."""
    filters, width = geometry[at.FILTERS], bias.itemsize
    step = geometry[at.PANELS] * geometry[at.MR] * width
    for g in range(geometry[at.GROUPS]):
        for i in range(step):
            store(target + g * step + i, np.uint8(0))
        if bias.elements != 0:
            copy_run(width, filters, bias.address + g * filters * width, width, target + g * step, width)


@register_jitable
def keep(a, b, c, d, e, f, g):
    """Arrays whose addresses were passed on live at least until here."""
    return a.size + b.size + c.size + d.size + e.size + f.size + g.size


@host
def convolve(place):
    """:func:`run`, compiled once for all that are made of convolutions; ``place`` is the address of the problem."""
    run(vector_at(place, slots.PROBLEM))
