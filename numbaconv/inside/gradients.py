"""The bodies of conv_transpose and of the gradients inside ``@njit``, before and after the allocation of the result."""

from __future__ import annotations

from numba.extending import register_jitable

from ..kernels import geometry as at
from ..runtime import host
from . import slots
from .arguments import (
    DILATION,
    OUTPUT_PADDING,
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
from .memory import advise_result
from .slots import ADJOINT, CONJUGATE, GIVEN

input_adjoint = pointer("numbaconv_input_adjoint")
weight_adjoint = pointer("numbaconv_weight_adjoint")
adjoint_in_parts = pointer("numbaconv_adjoint_in_parts")
weight_in_parts = pointer("numbaconv_weight_in_parts")

#: The arguments of conv_transpose, by their records.
(
    INPUT, WEIGHT, BIAS, STEP, PADDING, MORE, GROUPS, SPREAD, ALGORITHM, PRECISION, FORMAT, MODE, ACTIVATION, OUT,
    SETTINGS, RESULT, SHAPE,
) = (slots.RECORD * number for number in range(17))  # fmt: skip
PROBLEM = SHAPE + slots.MOST_DIMENSIONS
TRANSPOSED_WORDS = PROBLEM + ADJOINT

#: Those of the gradients. The first is the input or its size, the second the weight or its size.
(
    G_INPUT, G_WEIGHT, G_OUTPUT, G_STEP, G_PADDING, G_SPREAD, G_GROUPS, G_ALGORITHM, G_PRECISION, G_FORMAT, G_OUT,
    G_SETTINGS, G_RESULT, G_SHAPE,
) = (slots.RECORD * number for number in range(14))  # fmt: skip
G_PROBLEM = G_SHAPE + slots.MOST_DIMENSIONS
GRADIENT_WORDS = G_PROBLEM + ADJOINT


@host
def transposed_shape(place):
    """As :func:`numbaconv.transposition.transposed_problem`, and the result's shape."""
    words = vector_at(place, TRANSPOSED_WORDS)
    p = words[PROBLEM:]
    settings_at(words, SETTINGS, p)
    ndim = p[slots.NDIM]
    check_names(words, ALGORITHM, PRECISION, p)
    last = channels_last(words, FORMAT, ndim)
    p[slots.LAST] = last
    batch, channels, size = array_at(words, INPUT, p, slots.Y, ndim, last != 0)
    shape = WEIGHT + slots.SHAPE
    groups = words[GROUPS + slots.VALUE]
    if groups < 1:
        raise ValueError("groups must be at least 1")
    if channels % groups != 0:
        raise ValueError("groups does not divide the input's channels")
    if words[shape] != channels:
        raise ValueError("weight has other channels than input has")
    filters = words[shape + 1] * groups
    if words[BIAS + slots.KIND] == slots.ARRAY and words[BIAS + slots.SHAPE] != filters:
        raise ValueError("bias must have one value for each filter")
    check_sizes(words, shape + 2, ndim, True)
    check_sizes(words, size, ndim, False)
    if padding_mode(words, MODE) != at.PAD_ZEROS:
        raise ValueError("padding_mode must be 'zeros' for transposed convolutions")
    p[slots.BATCH], p[slots.CHANNELS], p[slots.FILTERS], p[slots.GROUPS] = batch, filters, channels, groups
    p[slots.MODE] = at.PAD_ZEROS
    p[slots.RELU] = activation(words, ACTIVATION) * p[slots.FLOATS]  # of integers it is that of what they are cut to
    sizes_at(words, size, p, GIVEN, ndim)
    sizes_at(words, shape + 2, p, slots.KERNEL, ndim)
    weight_at(words, WEIGHT, p, ndim)
    bias_at(words, BIAS, p)
    steps(words, STEP, p, slots.STEP, ndim, 1, STRIDE)
    steps(words, SPREAD, p, slots.DILATION, ndim, 1, DILATION)
    pads(words, PADDING, p, ndim)
    steps(words, MORE, p, slots.SIZE, ndim, 0, OUTPUT_PADDING)
    for axis in range(3):
        more, step, spread = p[slots.SIZE + axis], p[slots.STEP + axis], p[slots.DILATION + axis]
        if more >= max(step, spread):
            raise ValueError("output_padding must be smaller than stride or dilation")
        reach = spread * (p[slots.KERNEL + axis] - 1) + 1
        whole = (p[GIVEN + axis] - 1) * step + reach + more
        p[slots.SIZE + axis] = whole - p[slots.BEFORE + axis] - p[slots.AFTER + axis]
        p[slots.OUT + axis] = p[GIVEN + axis]
        if p[slots.SIZE + axis] < 1:
            raise ValueError("output sizes must be at least 1 (= (input - 1) * stride + kernel - padding)")
    check_countable(p)
    batched = words[INPUT + slots.COUNT] == ndim + 2
    write_shape(p, slots.SIZE, ndim, last != 0, batched, filters, words, SHAPE)
    check_result(words, OUT, SHAPE, words[INPUT + slots.COUNT], (INPUT, WEIGHT, BIAS))


@host
def transposed_run(place):
    """Compute what :func:`transposed_shape` has validated."""
    words = vector_at(place, TRANSPOSED_WORDS)
    p = words[PROBLEM:]
    if words[OUT + slots.KIND] == slots.NONE:
        advise_result(words, RESULT)
    array_at(words, RESULT, p, slots.X, p[slots.NDIM], p[slots.LAST] != 0)
    p[CONJUGATE] = 1
    if p[slots.COMPLEX] != 0:
        call_kernel(adjoint_in_parts(), (p.ctypes.data,))
    else:
        call_kernel(input_adjoint(), (p.ctypes.data,))


@register_jitable
def sizes_place(words, record):
    """Where the shape of an array, or a shape, is."""
    return record + (slots.SHAPE if words[record + slots.KIND] == slots.ARRAY else slots.VALUE)


@host
def gradient_shape(place):
    """As :func:`numbaconv.adjoint.forward_problem`, and the result's shape: that of the argument that is a size."""
    words = vector_at(place, GRADIENT_WORDS)
    p = words[G_PROBLEM:]
    settings_at(words, G_SETTINGS, p)
    ndim = p[slots.NDIM]
    check_names(words, G_ALGORITHM, G_PRECISION, p)
    for record in (G_INPUT, G_WEIGHT):
        if words[record + slots.KIND] == slots.TUPLE:
            for i in range(words[record + slots.COUNT]):
                if words[record + slots.VALUE + i] < 0:
                    raise ValueError("sizes must be at least 0")
    last = channels_last(words, G_FORMAT, ndim)
    p[slots.LAST] = last
    batched = words[G_INPUT + slots.COUNT] == ndim + 2
    shape, weight = sizes_place(words, G_INPUT), sizes_place(words, G_WEIGHT)
    batch = words[shape] if batched else 1
    first = shape + (1 if batched else 0)
    channels, size = (words[first + ndim], first) if last != 0 else (words[first], first + 1)
    filters, group_channels = words[weight], words[weight + 1]
    groups = words[G_GROUPS + slots.VALUE]
    if groups < 1:
        raise ValueError("groups must be at least 1")
    if channels % groups != 0:
        raise ValueError("groups does not divide the input's channels")
    if filters % groups != 0:
        raise ValueError("groups does not divide the weight's filters")
    if group_channels * groups != channels:
        raise ValueError("weight has other channels for each group than input has")
    check_sizes(words, weight + 2, ndim, True)
    check_sizes(words, size, ndim, False)
    p[slots.BATCH], p[slots.CHANNELS], p[slots.FILTERS], p[slots.GROUPS] = batch, channels, filters, groups
    sizes_at(words, size, p, slots.SIZE, ndim)
    sizes_at(words, weight + 2, p, slots.KERNEL, ndim)
    p[slots.MODE] = at.PAD_ZEROS
    p[slots.RELU] = p[slots.B] = p[slots.B + 1] = 0
    steps(words, G_STEP, p, slots.STEP, ndim, 1, STRIDE)
    steps(words, G_SPREAD, p, slots.DILATION, ndim, 1, DILATION)
    pads(words, G_PADDING, p, ndim)
    check_reach(p)
    output_sizes(p)
    check_countable(p)
    given_batch, given_channels, given = array_at(words, G_OUTPUT, p, slots.Y, ndim, last != 0)
    fits = (
        given_batch == batch
        and given_channels == filters
        and words[G_OUTPUT + slots.COUNT] == (ndim + 2 if batched else ndim + 1)
    )
    for axis in range(3):
        p[GIVEN + axis] = p[slots.OUT + axis]
    for i in range(ndim):
        fits = fits and words[given + i] == p[slots.OUT + 3 - ndim + i]
    if not fits:
        raise ValueError(
            "grad_output must have the convolution's output shape, which follows from input size, weight size, stride, "
            "padding and dilation"
        )
    wanted, other = (G_WEIGHT, G_INPUT) if words[G_INPUT + slots.KIND] == slots.ARRAY else (G_INPUT, G_WEIGHT)
    count = words[wanted + slots.COUNT]
    for i in range(count):
        words[G_SHAPE + i] = words[wanted + slots.VALUE + i]
    check_result(words, G_OUT, G_SHAPE, count, (other, G_OUTPUT))


@host
def gradient_run(place):
    """Compute what :func:`gradient_shape` has validated."""
    words = vector_at(place, GRADIENT_WORDS)
    p = words[G_PROBLEM:]
    ndim, last = p[slots.NDIM], p[slots.LAST] != 0
    p[CONJUGATE] = 0
    of_weight = words[G_INPUT + slots.KIND] == slots.ARRAY
    if words[G_OUT + slots.KIND] == slots.NONE:
        advise_result(words, G_RESULT)
    array_at(words, G_INPUT if of_weight else G_RESULT, p, slots.X, ndim, last)
    weight_at(words, G_RESULT if of_weight else G_WEIGHT, p, ndim)
    if of_weight:
        if p[slots.COMPLEX] != 0:
            call_kernel(weight_in_parts(), (p.ctypes.data,))
        else:
            call_kernel(weight_adjoint(), (p.ctypes.data,))
    elif p[slots.COMPLEX] != 0:
        call_kernel(adjoint_in_parts(), (p.ctypes.data,))
    else:
        call_kernel(input_adjoint(), (p.ctypes.data,))
