"""What is to be computed: one frozen, validated description of a convolution of any rank.

Every error of geometry is raised here, before anything is planned or compiled. NumPy and the standard library only.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

#: Accepted spellings of ``padding_mode`` (torch's names, then NumPy's), and the canonical one.
PADDING_MODES: Final = {
    "zeros": "zeros",
    "constant": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "edge": "replicate",
    "circular": "circular",
    "wrap": "circular",
    "symmetric": "symmetric",
}
PADDING_STRINGS: Final = ("valid", "same", "same_upper", "same_lower")
ACTIVATIONS: Final = (None, "relu")
DATA_FORMATS: Final = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
AXES: Final = {1: ("width",), 2: ("height", "width"), 3: ("depth", "height", "width")}
#: The largest count of elements, and so of any index, that the kernels' 64-bit arithmetic has room for.
LARGEST: Final = 2**62


@dataclasses.dataclass(frozen=True)
class ConvProblem:
    """A convolution (cross-correlation, as deep learning has it) of ``len(input_size)`` spatial dimensions.

    out[n, g * F + f, o] = bias[g * F + f] + sum over c, k of
        weight[g * F + f, c, k] * input[n, g * C + c, o * stride + k * dilation - padding_before]

    with F filters and C input channels in each of ``groups`` groups, and spatial indices o and k of any rank.

    Examples
    --------
    >>> import numbaconv as nc
    >>> problem = nc.explain((1, 1, 32, 32), (8, 1, 3, 3), padding="same").problem
    >>> problem.output_shape, problem.flops
    ((1, 8, 32, 32), 147456)
    """

    batch: int
    channels: int
    filters: int
    groups: int
    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    padding_mode: str
    dtype: np.dtype[Any]
    channels_last: bool = False
    bias: bool = False
    activation: str | None = None

    @property
    def ndim(self) -> int:
        """How many spatial dimensions there are."""
        return len(self.input_size)

    @property
    def group_channels(self) -> int:
        """C, the input channels of one group."""
        return self.channels // self.groups

    @property
    def group_filters(self) -> int:
        """F, the output channels of one group."""
        return self.filters // self.groups

    @property
    def output_size(self) -> tuple[int, ...]:
        """The spatial size of the output."""
        return tuple(
            (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
            for size, (before, after), kernel, dilation, stride in zip(
                self.input_size, self.padding, self.kernel_size, self.dilation, self.stride, strict=True
            )
        )

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output array, in this problem's data format."""
        if self.channels_last:
            return (self.batch, *self.output_size, self.filters)
        return (self.batch, self.filters, *self.output_size)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input array, in this problem's data format."""
        if self.channels_last:
            return (self.batch, *self.input_size, self.channels)
        return (self.batch, self.channels, *self.input_size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weight array: torch's, whatever the data format."""
        return (self.filters, self.group_channels, *self.kernel_size)

    @property
    def taps(self) -> int:
        """How many cells the kernel has."""
        return math.prod(self.kernel_size)

    @property
    def pixels(self) -> int:
        """How many cells one channel of one output image has."""
        return math.prod(self.output_size)

    @property
    def pointwise(self) -> bool:
        """Whether every output depends on the one input pixel at its place: a 1x1 kernel, stride 1, no padding.

        Such a problem has no rows: the pixels of an image are one dimension.
        """
        return self.taps == 1 and set(self.stride) == {1} and not any(map(any, self.padding))

    @property
    def depth(self) -> int:
        """K, how many products are summed for one output."""
        return self.group_channels * self.taps

    @property
    def flops(self) -> int:
        """Multiplications and additions of direct summation."""
        return 2 * self.batch * self.filters * self.pixels * self.depth

    @property
    def bytes(self) -> int:
        """The memory that must be read or written at least once: input, weight and output."""
        elements = (
            self.batch * self.channels * math.prod(self.input_size)
            + self.filters * self.depth
            + self.batch * self.filters * self.pixels
        )
        return elements * self.dtype.itemsize


def conv_problem(
    ndim: int,
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    bias_shape: Sequence[int] | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    data_format: str | None = None,
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = np.float32,
) -> ConvProblem:
    """Validate the arguments of ``conv{ndim}d`` and describe the convolution.

    Parameters
    ----------
    ndim : {1, 2, 3}
        Spatial dimensions.
    input_shape, weight_shape, bias_shape : sequence of int
        Shapes: the input with its batch, the weight as (filters, channels // groups, and the kernel), the bias as
        (filters,).
    stride, padding, dilation, groups, data_format, padding_mode, activation
        As in :func:`numbaconv.conv2d`.
    dtype : dtype
        Of accumulation and result.

    Raises
    ------
    ValueError, TypeError
        For every argument that does not fit, with its value, the rule and the arithmetic.
    """
    channels_last = channels_come_last(ndim, data_format)
    input_shape, weight_shape = tuple(input_shape), tuple(weight_shape)
    if len(input_shape) != ndim + 2:
        raise ValueError(
            f"input must have {ndim + 2} dimensions, or {ndim + 1} without a batch, for conv{ndim}d; "
            f"got {len(input_shape)} (shape {input_shape})"
        )
    if len(weight_shape) != ndim + 2:
        axes = ", ".join(AXES[ndim])
        raise ValueError(
            f"weight must have {ndim + 2} dimensions (filters, channels // groups, {axes}) for conv{ndim}d; "
            f"got {len(weight_shape)} (shape {weight_shape})"
        )
    batch = input_shape[0]
    channels = input_shape[-1] if channels_last else input_shape[1]
    input_size = input_shape[1:-1] if channels_last else input_shape[2:]
    filters, group_channels, *kernel = weight_shape
    kernel_size = tuple(kernel)

    count = integer("groups", groups, 1)
    if channels % count:
        raise ValueError(f"groups {count} does not divide the input's {channels} channels (input shape {input_shape})")
    if filters % count:
        raise ValueError(f"groups {count} does not divide the weight's {filters} filters (weight shape {weight_shape})")
    if group_channels * count != channels:
        raise ValueError(
            f"weight has {group_channels} channels for each of {count} group(s), {group_channels * count} in all, "
            f"but input has {channels} (input shape {input_shape}, weight shape {weight_shape})"
        )
    if bias_shape is not None and tuple(bias_shape) != (filters,):
        raise ValueError(f"bias must have shape ({filters},), one value for each filter; got {tuple(bias_shape)}")
    check_sizes(ndim, "weight's kernel", kernel_size, "weight", weight_shape)
    check_sizes(ndim, "input's", input_size, "input", input_shape)

    mode = PADDING_MODES.get(padding_mode) if isinstance(padding_mode, str) else None
    if mode is None:
        raise ValueError(f"padding_mode must be one of {_listed(PADDING_MODES)}; got {padding_mode!r}")
    check_activation(activation)

    strides = per_dimension("stride", stride, ndim, 1)
    dilations = per_dimension("dilation", dilation, ndim, 1)
    pads = padding_pairs(padding, ndim, input_size, kernel_size, strides, dilations)
    _check_reach(ndim, input_size, kernel_size, pads, dilations, mode)
    problem = ConvProblem(
        batch, channels, filters, count, input_size, kernel_size, strides, pads, dilations, mode,
        np.dtype(dtype), channels_last, bias_shape is not None, activation,
    )  # fmt: skip
    check_countable(problem, problem.output_shape)
    return problem


def channels_come_last(ndim: int, data_format: str | None) -> bool:
    """Whether the channels come last."""
    first, last = DATA_FORMATS[ndim]
    if data_format is None or data_format == first:
        return False
    if data_format == last:
        return True
    raise ValueError(f"data_format must be {first!r} or {last!r} for conv{ndim}d; got {data_format!r}")


def check_sizes(ndim: int, whose: str, sizes: tuple[int, ...], name: str, shape: tuple[int, ...]) -> None:
    """Every size must be at least 1."""
    for axis, size in zip(AXES[ndim], sizes, strict=True):
        if size < 1:
            raise ValueError(f"{whose} {axis} must be at least 1; got {size} ({name} shape {shape})")


def check_activation(activation: Any) -> None:
    """Only known activations."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be None or 'relu'; got {activation!r}")


def check_countable(problem: ConvProblem, result_shape: tuple[int, ...]) -> None:
    """Indices and operations must fit the kernels' integers."""
    if max(problem.flops, math.prod(result_shape), *map(sum, problem.padding)) >= LARGEST:
        raise ValueError(
            f"output shape {result_shape} asks for {problem.flops} operations; at most {LARGEST} can be counted"
        )


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)


def integer(name: str, value: Any, least: int) -> int:
    """``value`` as an int that is at least ``least``; booleans and floats are refused as torch refuses them."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer; got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r} of type {type(value).__name__}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    return number


def shape_argument(name: str, value: Any) -> tuple[int, ...]:
    """A shape that is an argument, as a tuple of ints."""
    if not _is_sequence(value):
        raise TypeError(f"{name} must be a shape, a sequence of integers; got {value!r} of type {type(value).__name__}")
    return tuple(integer(name, size, 0) for size in value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def per_dimension(name: str, value: Any, ndim: int, least: int) -> tuple[int, ...]:
    """One int for each dimension, from an int or a sequence of one or of ``ndim``."""
    if not _is_sequence(value):
        return (integer(name, value, least),) * ndim
    values = tuple(integer(name, item, least) for item in value)
    if len(values) == 1:
        values *= ndim
    if len(values) != ndim:
        raise ValueError(
            f"{name} must be one integer or one for each of {ndim} dimensions; got {len(values)}: {value!r}"
        )
    return values


def padding_pairs(
    padding: Any,
    ndim: int,
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each dimension, from any accepted form."""
    if isinstance(padding, str):
        if padding not in PADDING_STRINGS:
            raise ValueError(
                "padding must be an integer, one for each dimension, (before, after) pairs "
                f"or one of {_listed(PADDING_STRINGS)}; got {padding!r}"
            )
        if padding == "valid":
            return ((0, 0),) * ndim
        sides = []
        for size, kernel, step, spread in zip(input_size, kernel_size, stride, dilation, strict=True):
            outputs = -(-size // step)
            total = max((outputs - 1) * step + (kernel - 1) * spread + 1 - size, 0)
            less, more = total // 2, total - total // 2
            sides.append((more, less) if padding == "same_lower" else (less, more))
        return tuple(sides)
    if _is_sequence(padding) and any(_is_sequence(item) for item in padding):
        if len(padding) != ndim:
            raise ValueError(
                f"padding must have one (before, after) pair for each of {ndim} dimensions; "
                f"got {len(padding)}: {padding!r}"
            )
        pairs = []
        for item in padding:
            if not _is_sequence(item) or len(item) != 2:
                raise ValueError(
                    f"padding must have a (before, after) pair for each dimension; got {item!r} in {padding!r}"
                )
            pairs.append((integer("padding", item[0], 0), integer("padding", item[1], 0)))
        return tuple(pairs)
    return tuple((amount, amount) for amount in per_dimension("padding", padding, ndim, 0))


def _check_reach(
    ndim: int,
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    mode: str,
) -> None:
    """The kernel must fit the padded input, and padding must not reach further than its mode can read."""
    limits = {"reflect": -1, "circular": 0, "symmetric": 0}
    for axis, size, kernel, (before, after), spread in zip(
        AXES[ndim], input_size, kernel_size, padding, dilation, strict=True
    ):
        if mode in limits and max(before, after) > size + limits[mode]:
            rule = f"{size} - 1" if mode == "reflect" else f"{size}"
            raise ValueError(
                f"padding {(before, after)} exceeds what padding_mode {mode!r} can read of input {axis} {size}: "
                f"at most {rule} on a side"
            )
        reach = spread * (kernel - 1) + 1
        padded = size + before + after
        if reach > padded:
            dilated = f" (= {spread} * ({kernel} - 1) + 1)" if spread > 1 else ""
            name = "dilated kernel" if spread > 1 else "kernel"
            raise ValueError(
                f"{name} {axis} {reach}{dilated} exceeds padded input {axis} {padded} (= {size} + {before} + {after})"
            )
