"""The bodies of conv1d, conv2d and conv3d inside ``@njit``, before and after the allocation of the result."""

from __future__ import annotations

from numba.extending import register_jitable

from ..runtime import host
from . import slots
from .arguments import (
    DILATION,
    STRIDE,
    activation,
    array_at,
    bias_at,
    channels_last,
    check_countable,
    check_names,
    check_reach,
    check_result,
    check_sizes,
    output_sizes,
    padding_mode,
    pads,
    settings_at,
    sizes_at,
    steps,
    weight_at,
    write_shape,
)
from .linking import call_kernel, pointer, vector_at
from .memory import advise_result, copy_numbers, count_of, dense_strides, fresh
from .parts import doubled, join_channels, shape_of, split_channels, split_weight

#: The arguments of conv, by their records.
INPUT, WEIGHT, BIAS, STEP, PADDING, SPREAD, GROUPS, ALGORITHM, PRECISION, FORMAT, MODE, ACTIVATION, OUT, SETTINGS = (
    slots.RECORD * number for number in range(14)
)
RESULT = SETTINGS + slots.RECORD
SHAPE = RESULT + slots.RECORD
PROBLEM = SHAPE + slots.MOST_DIMENSIONS
CONV_WORDS = PROBLEM + slots.PROBLEM

convolve = pointer("numbaconv_convolve")


@host
def conv_shape(place):
    """Validate the arguments of conv and write the result's shape behind them."""
    words = vector_at(place, CONV_WORDS)
    p = words[PROBLEM:]
    settings_at(words, SETTINGS, p)
    ndim = p[slots.NDIM]
    last = channels_last(words, FORMAT, ndim)
    p[slots.LAST] = last
    batch, channels, size = array_at(words, INPUT, p, slots.X, ndim, last != 0)
    shape = WEIGHT + slots.SHAPE
    filters, group_channels = words[shape], words[shape + 1]
    groups = words[GROUPS + slots.VALUE]
    if groups < 1:
        raise ValueError("groups must be at least 1")
    if channels % groups != 0:
        raise ValueError("groups does not divide the input's channels")
    if filters % groups != 0:
        raise ValueError("groups does not divide the weight's filters")
    if group_channels * groups != channels:
        raise ValueError("weight has other channels for each group than input has")
    p[slots.BATCH], p[slots.CHANNELS], p[slots.FILTERS], p[slots.GROUPS] = batch, channels, filters, groups
    if words[BIAS + slots.KIND] == slots.ARRAY and words[BIAS + slots.SHAPE] != filters:
        raise ValueError("bias must have one value for each filter")
    check_sizes(words, shape + 2, ndim, True)
    check_sizes(words, size, ndim, False)
    sizes_at(words, size, p, slots.SIZE, ndim)
    sizes_at(words, shape + 2, p, slots.KERNEL, ndim)
    weight_at(words, WEIGHT, p, ndim)
    bias_at(words, BIAS, p)
    p[slots.MODE] = padding_mode(words, MODE)
    p[slots.RELU] = activation(words, ACTIVATION) * p[slots.FLOATS]  # of integers it is that of what they are cut to
    steps(words, STEP, p, slots.STEP, ndim, 1, STRIDE)
    steps(words, SPREAD, p, slots.DILATION, ndim, 1, DILATION)
    pads(words, PADDING, p, ndim)
    check_reach(p)
    output_sizes(p)
    check_countable(p)
    check_names(words, ALGORITHM, PRECISION, p)
    batched = words[INPUT + slots.COUNT] == ndim + 2
    write_shape(p, slots.OUT, ndim, last != 0, batched, filters, words, SHAPE)
    check_result(words, OUT, SHAPE, words[INPUT + slots.COUNT], (INPUT, WEIGHT, BIAS))


@host
def conv_run(place):
    """Compute a convolution that :func:`conv_shape` has validated into the array of record RESULT."""
    words = vector_at(place, CONV_WORDS)
    p = words[PROBLEM:]
    if words[OUT + slots.KIND] == slots.NONE:
        advise_result(words, RESULT)
    array_at(words, RESULT, p, slots.Y, p[slots.NDIM], p[slots.LAST] != 0)
    if p[slots.COMPLEX] != 0:
        in_parts(p)
    else:
        call_kernel(convolve(), (p.ctypes.data,))


@register_jitable
def in_parts(p):
    """A complex convolution: a real one with twice the channels and filters."""
    width, groups = p[slots.BYTES], p[slots.GROUPS]
    x_shape = shape_of(p[slots.BATCH], p[slots.CHANNELS], p[slots.SIZE], p[slots.SIZE + 1], p[slots.SIZE + 2])
    y_shape = shape_of(p[slots.BATCH], p[slots.FILTERS], p[slots.OUT], p[slots.OUT + 1], p[slots.OUT + 2])
    w_shape = shape_of(
        p[slots.FILTERS], p[slots.CHANNELS] // groups, p[slots.KERNEL], p[slots.KERNEL + 1], p[slots.KERNEL + 2]
    )
    x = split_channels(width, x_shape, groups, p[slots.X], p[slots.X + 1 : slots.X + 6])
    w = split_weight(width, w_shape, groups, p[slots.W], p[slots.W + 1 : slots.W + 6], False)
    b_shape, b_strides = shape_of(1, p[slots.FILTERS], 1, 1, 1), shape_of(0, p[slots.B + 1], 0, 0, 0)
    count = 0 if p[slots.B] == 0 else groups
    b = split_channels(width, b_shape if count else shape_of(1, 0, 1, 1, 1), max(count, 1), p[slots.B], b_strides)
    y = fresh(2 * count_of(y_shape) * width)
    q = p.copy()
    q[slots.CHANNELS] *= 2
    q[slots.FILTERS] *= 2
    q[slots.X], q[slots.W], q[slots.Y] = x.ctypes.data, w.ctypes.data, y.ctypes.data
    copy_numbers(dense_strides(doubled(x_shape), width), q, slots.X + 1)
    copy_numbers(dense_strides(doubled(y_shape), width), q, slots.Y + 1)
    w_shape[0] *= 2
    w_shape[1] *= 2
    copy_numbers(dense_strides(w_shape, width), q, slots.W + 1)
    if count:
        q[slots.B], q[slots.B + 1] = b.ctypes.data, width
    call_kernel(convolve(), (q.ctypes.data,))
    join_channels(width, y_shape, groups, y.ctypes.data, p[slots.Y], p[slots.Y + 1 : slots.Y + 6])
    return x.size + w.size + b.size + q.size  # they live until here
