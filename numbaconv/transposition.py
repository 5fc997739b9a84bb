"""What a transposed convolution is: the adjoint of which convolution, and which ordinary ones it consists of.

Sizes and integers only; :mod:`numbaconv.adjoint` computes.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .problem import (
    AXES,
    PADDING_MODES,
    ConvProblem,
    channels_come_last,
    check_activation,
    check_countable,
    check_sizes,
    integer,
    padding_pairs,
    per_dimension,
)


def transposed_problem(
    ndim: int,
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    bias_shape: Sequence[int] | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
    data_format: str | None = None,
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = np.float32,
) -> ConvProblem:
    """Validate the arguments of ``conv_transpose{ndim}d`` and describe the convolution whose adjoint it is.

    Parameters
    ----------
    ndim : {1, 2, 3}
        Spatial dimensions.
    input_shape, weight_shape, bias_shape : sequence of int
        Shapes: the input with its batch, the weight as (channels, filters // groups, and the kernel), the bias as
        (filters,).
    stride, padding, output_padding, groups, dilation, data_format, padding_mode, activation
        As in :func:`numbaconv.conv_transpose2d`.
    dtype : dtype
        Of accumulation and result.

    Returns
    -------
    ConvProblem
        It maps arrays of the result's shape to arrays of the input's: its input size is the result's size. (Its output
        size may exceed the input's, where the dilation lets an output padding exceed the stride.)

    Raises
    ------
    ValueError, TypeError
        For every argument that does not fit, with its value, the rule and the arithmetic.
    """
    name = f"conv_transpose{ndim}d"
    channels_last = channels_come_last(ndim, data_format)
    input_shape, weight_shape = tuple(input_shape), tuple(weight_shape)
    if len(input_shape) != ndim + 2:
        raise ValueError(
            f"input must have {ndim + 2} dimensions, or {ndim + 1} without a batch, for {name}; "
            f"got {len(input_shape)} (shape {input_shape})"
        )
    if len(weight_shape) != ndim + 2:
        axes = ", ".join(AXES[ndim])
        raise ValueError(
            f"weight must have {ndim + 2} dimensions (channels, filters // groups, {axes}) for {name}; "
            f"got {len(weight_shape)} (shape {weight_shape})"
        )
    channels = input_shape[-1] if channels_last else input_shape[1]
    input_size = input_shape[1:-1] if channels_last else input_shape[2:]
    weight_channels, group_filters, *kernel = weight_shape
    kernel_size = tuple(kernel)
    count = integer("groups", groups, 1)
    if channels % count:
        raise ValueError(f"groups {count} does not divide the input's {channels} channels (input shape {input_shape})")
    if weight_channels != channels:
        raise ValueError(
            f"weight has {weight_channels} channels but input has {channels} "
            f"(input shape {input_shape}, weight shape {weight_shape})"
        )
    filters = group_filters * count
    if bias_shape is not None and tuple(bias_shape) != (filters,):
        raise ValueError(
            f"bias must have shape ({filters},), one value for each filter (= {group_filters} * {count} group(s)); "
            f"got {tuple(bias_shape)}"
        )
    check_sizes(ndim, "weight's kernel", kernel_size, "weight", weight_shape)
    check_sizes(ndim, "input's", input_size, "input", input_shape)
    if PADDING_MODES.get(padding_mode) != "zeros" if isinstance(padding_mode, str) else True:
        raise ValueError(f"padding_mode must be 'zeros' for {name}; got {padding_mode!r}")
    check_activation(activation)
    strides = per_dimension("stride", stride, ndim, 1)
    dilations = per_dimension("dilation", dilation, ndim, 1)
    if isinstance(padding, str):
        raise TypeError(
            f"padding must be an integer, one for each dimension or (before, after) pairs for {name}; got {padding!r}"
        )
    pads = padding_pairs(padding, ndim, input_size, kernel_size, strides, dilations)
    extra = per_dimension("output_padding", output_padding, ndim, 0)
    sizes = []
    for axis, size, k, step, spread, (before, after), more in zip(
        AXES[ndim], input_size, kernel_size, strides, dilations, pads, extra, strict=True
    ):
        if more >= max(step, spread):
            raise ValueError(
                f"output_padding {more} must be smaller than stride {step} or dilation {spread} of the {axis}"
            )
        size_out = (size - 1) * step + spread * (k - 1) + 1 + more - before - after
        if size_out < 1:
            raise ValueError(
                f"output {axis} must be at least 1; got {size_out} "
                f"(= ({size} - 1) * {step} + {spread} * ({k} - 1) + 1 + {more} - {before} - {after})"
            )
        sizes.append(size_out)
    problem = ConvProblem(
        input_shape[0], filters, channels, count, tuple(sizes), kernel_size, strides, pads, dilations, "zeros",
        np.dtype(dtype), channels_last,
    )  # fmt: skip
    check_countable(problem, problem.input_shape)
    return problem


class Phase(NamedTuple):
    """The part of a transposed convolution that is one ordinary convolution of stride 1.

    Attributes
    ----------
    outputs : tuple of slice
        The cells of the result that it computes, for each spatial dimension.
    taps : tuple of range
        The taps of the kernel that reach them, in the order in which the ordinary convolution takes them; empty ranges
        where none does.
    inputs : tuple of slice
        The cells of the input that it reads.
    padding : tuple of (int, int)
        Zeros around those.
    dilation : tuple of int
        Input cells between neighbouring taps.
    """

    outputs: tuple[slice, ...]
    taps: tuple[range, ...]
    inputs: tuple[slice, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """How many taps there are in each dimension."""
        return tuple(map(len, self.taps))

    def output_count(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """How many cells of a result of this size it computes in each dimension."""
        return tuple(len(range(n)[cells]) for n, cells in zip(size, self.outputs, strict=True))

    @property
    def empty(self) -> bool:
        """Whether nothing is summed."""
        return math.prod(self.kernel_size) == 0


_Axis = tuple[slice, range, slice, tuple[int, int], int]


def _axis_phases(size: int, given: int, kernel: int, stride: int, dilation: int, before: int) -> list[_Axis]:
    """The phases of one dimension: ``size`` cells of the result from ``given`` of the input.

    Input cell i and tap k add to cell o = i * stride + k * dilation - before. So to cell o only those taps do whose k *
    dilation equals o + before modulo the stride: every (stride // gcd)-th one, or none. From such a tap to the next, i
    goes back by dilation // gcd.
    """
    if given == 1:
        stride = 1  # it makes no difference, however large it is
    if kernel == 1:
        dilation = 1
    common = math.gcd(stride, dilation)
    step, spread = stride // common, dilation // common
    first_taps = {k * dilation % stride: k for k in reversed(range(min(step, kernel)))}
    phases = []
    for first in range(min(stride, size)):
        outputs = slice(first, size, stride)
        count = (size - first - 1) // stride + 1
        tap = first_taps.get((first + before) % stride)
        nothing = (outputs, range(0), slice(0), (0, 0), 1)
        if tap is None:
            phases.append(nothing)
            continue
        taps = range(tap, kernel, step)
        # Cell number q of the phase is the sum over m of tap taps[m] times input cell start + q - m * spread.
        start = (first + before - tap * dilation) // stride
        lowest, behind = start - (len(taps) - 1) * spread, start + count
        begin, end = max(lowest, 0), min(behind, given)
        if begin >= end:
            phases.append(nothing)
            continue
        phases.append((outputs, taps[::-1], slice(begin, end), (begin - lowest, behind - end), spread))
    return phases


@functools.lru_cache(1024)
def transposed_phases(problem: ConvProblem, given_size: tuple[int, ...]) -> tuple[Phase, ...]:
    """Take the adjoint of a convolution with zeros around its input apart into ordinary convolutions.

    Their outputs are disjoint and together all cells of the problem's input. ``given_size`` is the spatial size of what
    the adjoint is applied to: the problem's output size, or less where an output padding exceeds the stride.

    Examples
    --------
    >>> problem = transposed_problem(1, (1, 1, 5), (1, 1, 4), stride=2, padding=1)
    >>> [(phase.outputs[0], list(phase.taps[0]), phase.padding[0]) for phase in transposed_phases(problem, (5,))]
    [(slice(0, 10, 2), [3, 1], (1, 0)), (slice(1, 10, 2), [2, 0], (0, 1))]
    """
    axes = [
        _axis_phases(size, given, kernel, stride, dilation, before)
        for size, given, kernel, stride, dilation, (before, _) in zip(
            problem.input_size,
            given_size,
            problem.kernel_size,
            problem.stride,
            problem.dilation,
            problem.padding,
            strict=True,
        )
    ]
    return tuple(Phase(*map(tuple, zip(*parts, strict=True))) for parts in itertools.product(*axes))
