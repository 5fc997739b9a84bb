"""Reading the records of a call's arguments, and the problem that they describe.

Errors are those of :mod:`numbaconv.problem` and in its order; their texts are constants, as Numba wants them, so they
name the argument and the rule, but not the value.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..kernels import geometry as at
from ..planner import ALGORITHMS, PRECISIONS
from ..problem import DATA_FORMATS, LARGEST, PADDING_MODES, PADDING_STRINGS
from . import slots
from .linking import load
from .memory import overlap

ALGORITHM_NAMES = slots.table(ALGORITHMS)
PRECISION_NAMES = slots.table(PRECISIONS)
MODE_NAMES = slots.table(tuple(PADDING_MODES))
MODE_CODES = np.array(
    [
        {
            "zeros": at.PAD_ZEROS,
            "reflect": at.PAD_REFLECT,
            "replicate": at.PAD_REPLICATE,
            "circular": at.PAD_CIRCULAR,
            "symmetric": at.PAD_SYMMETRIC,
        }[name]
        for name in PADDING_MODES.values()
    ]
)
PADDING_NAMES = slots.table(PADDING_STRINGS)
VALID, SAME, SAME_UPPER, SAME_LOWER = range(4)
RELU_NAMES = slots.table(("relu",))
FORMAT_NAMES = slots.table(tuple(name for pair in DATA_FORMATS.values() for name in pair))
#: What an argument is called, for errors.
STRIDE, DILATION, OUTPUT_PADDING = range(3)


@register_jitable
def is_name(words, record):
    """Whether an argument is a text."""
    kind = words[record + slots.KIND]
    return kind == slots.NAME or kind == slots.TEXT


@register_jitable
def name_index(words, record, names):
    """Which of some names a text argument is, or -1."""
    low, high = words[record + slots.VALUE], words[record + slots.VALUE + 1]
    if words[record + slots.KIND] == slots.TEXT:
        count, place, width = words[record + slots.COUNT], low, high
        if count > slots.NAME_BYTES or width != 1:
            return -1
        low = high = 0
        for i in range(count):
            letter = np.int64(load(place + i, np.uint8(0)))
            if i < 8:
                low |= letter << (8 * i)
            else:
                high |= letter << (8 * (i - 8))
    elif words[record + slots.KIND] != slots.NAME:
        return -1
    for i in range(len(names)):
        if names[i, 0] == low and names[i, 1] == high:
            return i
    return -1


@register_jitable
def channels_last(words, record, ndim):
    """Whether the data format has its channels last; None is the default."""
    if words[record + slots.KIND] == slots.NONE:
        return 0
    index = name_index(words, record, FORMAT_NAMES)
    if index < 0 or index // 2 != ndim - 1:
        raise ValueError("data_format must be 'NCW' or 'NWC', 'NCHW' or 'NHWC', 'NCDHW' or 'NDHWC'")
    return index % 2


@register_jitable
def steps(words, record, p, slot, ndim, least, which):
    """One integer for each dimension."""
    kind, count = words[record + slots.KIND], words[record + slots.COUNT]
    if kind == slots.TUPLE and count != 1 and count != ndim:
        if which == STRIDE:
            raise ValueError("stride must be one integer or one for each dimension")
        if which == DILATION:
            raise ValueError("dilation must be one integer or one for each dimension")
        raise ValueError("output_padding must be one integer or one for each dimension")
    for axis in range(3):
        p[slot + axis] = least
    for i in range(ndim):
        several = kind == slots.TUPLE and count == ndim
        value = words[record + slots.VALUE + i] if several else words[record + slots.VALUE]
        if value < least:
            if which == STRIDE:
                raise ValueError("stride must be at least 1")
            if which == DILATION:
                raise ValueError("dilation must be at least 1")
            raise ValueError("output_padding must be at least 0")
        p[slot + 3 - ndim + i] = value


@register_jitable
def pads(words, record, p, ndim):
    """Cells before and after each dimension."""
    for axis in range(3):
        p[slots.BEFORE + axis] = 0
        p[slots.AFTER + axis] = 0
    if is_name(words, record):
        index = name_index(words, record, PADDING_NAMES)
        if index < 0:
            raise ValueError(
                "padding must be an integer, one for each dimension, (before, after) pairs "
                "or one of 'valid', 'same', 'same_upper', 'same_lower'"
            )
        if index == VALID:
            return
        for axis in range(3 - ndim, 3):
            size, step = p[slots.SIZE + axis], p[slots.STEP + axis]
            outputs = -(-size // step)
            reach = (p[slots.KERNEL + axis] - 1) * p[slots.DILATION + axis] + 1
            total = max((outputs - 1) * step + reach - size, 0)
            less = total // 2
            p[slots.BEFORE + axis] = total - less if index == SAME_LOWER else less
            p[slots.AFTER + axis] = less if index == SAME_LOWER else total - less
        return
    kind, count = words[record + slots.KIND], words[record + slots.COUNT]
    if kind == slots.PAIRS and count != ndim:
        raise ValueError("padding must have one (before, after) pair for each dimension")
    if kind == slots.TUPLE and count != 1 and count != ndim:
        raise ValueError("padding must be one integer or one for each dimension")
    for i in range(ndim):
        axis = 3 - ndim + i
        value = record + slots.VALUE
        if kind == slots.PAIRS:
            before, after = words[value + 2 * i], words[value + 2 * i + 1]
        else:
            if kind == slots.TUPLE and count == ndim:
                value += i
            before = after = words[value]
        if before < 0 or after < 0:
            raise ValueError("padding must be at least 0")
        p[slots.BEFORE + axis] = before
        p[slots.AFTER + axis] = after


@register_jitable
def array_at(words, record, p, slot, ndim, last):
    """Address and strides of an array (batch, channels, *spatial); without a batch its stride is 0."""
    shape, strides = record + slots.SHAPE, record + slots.STRIDES
    batched = words[record + slots.COUNT] == ndim + 2
    first = 1 if batched else 0
    p[slot] = words[record + slots.VALUE]
    p[slot + 1] = words[strides] if batched else 0
    channel = first + ndim if last else first
    spatial = first if last else first + 1
    p[slot + 2] = words[strides + channel]
    for i in range(3):
        p[slot + 3 + i] = 0
    for i in range(ndim):
        p[slot + 6 - ndim + i] = words[strides + spatial + i]
    return words[shape] if batched else 1, words[shape + channel], shape + spatial


@register_jitable
def settings_at(words, record, p):
    """What is known when the caller is compiled."""
    values = record + slots.VALUE
    p[slots.NDIM] = words[values + slots.NUMBER_NDIM]
    p[slots.BYTES] = words[values + slots.NUMBER_BYTES]
    p[slots.FLOATS] = words[values + slots.NUMBER_FLOATS]
    p[slots.COMPLEX] = words[values + slots.NUMBER_COMPLEX]
    p[slots.KERNELS] = words[values + slots.NUMBER_KERNELS]


@register_jitable
def weight_at(words, record, p, ndim):
    """Address and strides of a weight (filters, channels of a group, *kernel)."""
    strides = record + slots.STRIDES
    p[slots.W] = words[record + slots.VALUE]
    p[slots.W + 1] = words[strides]
    p[slots.W + 2] = words[strides + 1]
    for i in range(3):
        p[slots.W + 3 + i] = 0
    for i in range(ndim):
        p[slots.W + 6 - ndim + i] = words[strides + 2 + i]


@register_jitable
def sizes_at(words, place, p, slot, ndim):
    """Spatial sizes; those of missing dimensions are 1."""
    for axis in range(3):
        p[slot + axis] = 1
    for i in range(ndim):
        p[slot + 3 - ndim + i] = words[place + i]


@register_jitable
def bias_at(words, record, p):
    """Address and stride of a bias of ``filters`` values."""
    p[slots.B] = 0
    p[slots.B + 1] = 0
    if words[record + slots.KIND] == slots.ARRAY:
        p[slots.B] = words[record + slots.VALUE]
        p[slots.B + 1] = words[record + slots.STRIDES]


@register_jitable
def check_names(words, algorithm, precision, p):
    """Which algorithm and precision are asked for."""
    p[slots.ALGORITHM] = name_index(words, algorithm, ALGORITHM_NAMES)
    p[slots.PRECISION] = name_index(words, precision, PRECISION_NAMES)
    if p[slots.ALGORITHM] < 0:
        raise ValueError(
            "algorithm must be one of 'auto', 'direct', 'im2col', 'winograd', 'direct_channels', 'direct_pixels'"
        )
    if p[slots.PRECISION] < 0:
        raise ValueError("precision must be one of 'exact', 'standard', 'fast'")


@register_jitable
def padding_mode(words, record):
    """One of the PAD_* codes."""
    index = name_index(words, record, MODE_NAMES)
    if index < 0:
        raise ValueError(
            "padding_mode must be one of 'zeros', 'constant', 'reflect', 'replicate', 'edge', 'circular', 'wrap', "
            "'symmetric'"
        )
    return MODE_CODES[index]


@register_jitable
def activation(words, record):
    """Whether it is 'relu'."""
    if words[record + slots.KIND] == slots.NONE:
        return 0
    if name_index(words, record, RELU_NAMES) < 0:
        raise ValueError("activation must be None or 'relu'")
    return 1


@register_jitable
def check_reach(p):
    """The kernel must fit the padded input, and padding must not reach further than its mode can read."""
    for axis in range(3):
        size, before, after = p[slots.SIZE + axis], p[slots.BEFORE + axis], p[slots.AFTER + axis]
        mode = p[slots.MODE]
        limited = mode == at.PAD_REFLECT or mode == at.PAD_CIRCULAR or mode == at.PAD_SYMMETRIC
        if limited and max(before, after) > size - (1 if mode == at.PAD_REFLECT else 0):
            raise ValueError("padding exceeds what padding_mode can read of the input")
        if p[slots.DILATION + axis] * (p[slots.KERNEL + axis] - 1) + 1 > size + before + after:
            raise ValueError("kernel exceeds padded input")


@register_jitable
def output_sizes(p):
    """The spatial size of the output."""
    for axis in range(3):
        padded = p[slots.SIZE + axis] + p[slots.BEFORE + axis] + p[slots.AFTER + axis]
        reach = p[slots.DILATION + axis] * (p[slots.KERNEL + axis] - 1) + 1
        p[slots.OUT + axis] = (padded - reach) // p[slots.STEP + axis] + 1


@register_jitable
def check_countable(p):
    """Indices and operations must fit the kernels' integers."""
    count = 2.0 * p[slots.BATCH] * p[slots.FILTERS] * (p[slots.CHANNELS] // p[slots.GROUPS])
    cells = 1.0 * p[slots.BATCH] * max(p[slots.FILTERS], p[slots.CHANNELS])
    for axis in range(3):
        count *= 1.0 * p[slots.OUT + axis] * p[slots.KERNEL + axis]
        cells *= max(p[slots.OUT + axis], p[slots.SIZE + axis])
        if p[slots.BEFORE + axis] + p[slots.AFTER + axis] >= LARGEST:
            count = float(LARGEST)
    if count >= LARGEST or cells >= LARGEST:
        raise ValueError("the output asks for more than 2**62 operations")


@register_jitable
def check_sizes(words, place, ndim, weight):
    """Every size must be at least 1."""
    for i in range(ndim):
        if words[place + i] < 1:
            if weight:
                raise ValueError("weight's kernel sizes must be at least 1")
            raise ValueError("input's spatial sizes must be at least 1")


@register_jitable
def write_shape(p, size, ndim, last, batched, channels, words, place):
    """The shape of an array (batch, channels, *spatial) of the problem, in its data format."""
    if batched:
        words[place] = p[slots.BATCH]
        place += 1
    if not last:
        words[place] = channels
        place += 1
    for i in range(ndim):
        words[place + i] = p[size + 3 - ndim + i]
    if last:
        words[place + ndim] = channels


@register_jitable
def check_result(words, out, shape, count, inputs):
    """An array for the result must have its shape and share no memory with itself or the inputs.

    ``inputs`` are records. As far as this sees, arrays share memory where their extents do.
    """
    if words[out + slots.KIND] != slots.ARRAY:
        return
    for i in range(count):
        if words[out + slots.SHAPE + i] != words[shape + i]:
            raise ValueError("out must have the result's shape")
    sizes = words[out + slots.SHAPE : out + slots.SHAPE + count]
    strides = words[out + slots.STRIDES : out + slots.STRIDES + count]
    if shares_itself(sizes, strides, words[out + slots.ITEMSIZE]):
        raise ValueError("out has elements that share memory")
    for record in inputs:
        if words[record + slots.KIND] == slots.ARRAY:
            n = words[record + slots.COUNT]
            if overlap(
                words[out + slots.VALUE], sizes, strides, words[out + slots.ITEMSIZE], words[record + slots.VALUE],
                words[record + slots.SHAPE : record + slots.SHAPE + n],
                words[record + slots.STRIDES : record + slots.STRIDES + n], words[record + slots.ITEMSIZE],
            ):  # fmt: skip
                raise ValueError("out overlaps an input in memory")


@register_jitable
def shares_itself(sizes, strides, width):
    """As :func:`numbaconv.arrays._shares_itself`."""
    reach = width
    used = np.zeros(len(sizes), np.bool_)
    for size in sizes:
        if size == 0:
            return False
    for _ in range(len(sizes)):
        best = -1
        for i in range(len(sizes)):
            if used[i]:
                continue
            if (
                best < 0
                or abs(strides[i]) < abs(strides[best])
                or (abs(strides[i]) == abs(strides[best]) and sizes[i] < sizes[best])
            ):
                best = i
        used[best] = True
        if sizes[best] > 1 and abs(strides[best]) < reach:
            return True
        reach += abs(strides[best]) * (sizes[best] - 1)
    return False
