"""The adjoints of a convolution, as ordinary convolutions: with respect to its input and with respect to its weight.

With a convolution y = conv(x, w), the adjoint in x (a transposed convolution) takes an array like y to one like x, and
the adjoint in w takes arrays like x and y to one like w, so that <conv(x, w), y> = <x, input_adjoint(w, y)> = <w,
weight_adjoint(x, y)>. They are what gradients are made of. (Of complex numbers: <a, b> = sum of a times conjugate b.)
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from . import runtime
from .arrays import Array, as_array, check_real, flat, prepared, result_array, result_dtype
from .execute import Options, convolve, describe
from .lowering import lowering
from .planner import PARALLEL_PACKING, check_names, choose
from .problem import DATA_FORMATS, ConvProblem, conv_problem, shape_argument
from .tensors import to_array
from .transposition import Phase, transposed_phases, transposed_problem

#: Where a layer keeps its packed weights: a dictionary for each phase, by its taps, and the arranged weights, by all.
Packs = dict[Any, Any]


class How(NamedTuple):
    """The options that do not change what is computed but how, and what is done to it in the end."""

    algorithm: str = "auto"
    precision: str = "standard"
    activation: str | None = None


def input_adjoint(
    problem: ConvProblem, weight: Array, y: Array, bias: Array | None, how: How, out: Array, packs: Packs | None = None
) -> None:
    """The adjoint of a convolution in its input, with a bias: a transposed convolution.

    out[n, c, i] = bias[c] + sum over f, o, k with o * stride + k * dilation - padding before = i of
        conjugate of weight[f, c, k] * y[n, f, o]

    Every phase of the stride is a convolution of its own (:mod:`numbaconv.transposition`), written where its cells lie.

    Parameters
    ----------
    problem : ConvProblem
        The convolution; its padding holds zeros.
    weight : ndarray, of the problem's weight shape
    y : ndarray, of the problem's output shape (or smaller, see :func:`transposed_phases`)
    bias : ndarray, shape (channels,), or None
        Added to every cell of ``out``.
    how : How
    out : ndarray, of the problem's input shape and dtype
        Every cell is written; it may have any strides.
    packs : dict, optional
        Where a layer keeps its packed weights.
    """
    if out.size == 0:
        return
    lower = lowering(problem.dtype, how.activation)
    if lower is not None:
        groups, axis = problem.groups, -1 if problem.channels_last else 1
        inner = lower.problem(problem)
        computed = np.empty(inner.input_shape, inner.dtype)
        input_adjoint(
            inner, lower.weight(weight, groups), lower.channels(y, groups, axis),
            None if bias is None else lower.channels(bias, groups, 0),
            how._replace(activation=lower.activation(how.activation)), computed,
            None if packs is None else packs.setdefault(lower.dtype, {}),
        )  # fmt: skip
        lower.store(computed, out, groups, axis, how.activation)
        return
    y = prepared(y, problem.dtype)
    phases = transposed_phases(problem, y.shape[1:-1] if problem.channels_last else y.shape[2:])
    weights = _arranged(problem, phases, weight, packs)
    ndim = problem.ndim
    calls = []
    for phase, part in zip(phases, weights, strict=True):
        target = out[_cells(problem, phase.outputs)]
        if part is None or problem.filters == 0:
            _fill(target, problem, bias, how)
            continue
        options = Options(
            1, phase.padding, phase.dilation, problem.groups, how.algorithm, how.precision,
            DATA_FORMATS[ndim][problem.channels_last], "zeros", how.activation,
        )  # fmt: skip
        calls.append((phase.taps, y[_cells(problem, phase.inputs)], part, options, target))
    if how.algorithm != "auto":  # it must serve all phases, or none is computed
        for _, x, part, options, _ in calls:
            describe(ndim, x, part, bias, options, problem.dtype)
    for taps, x, part, options, target in calls:
        kept = None if packs is None else packs.setdefault(taps, {})
        convolve(ndim, x, part, bias, options, problem.dtype, target, kept)


def _cells(problem: ConvProblem, spatial: tuple[slice, ...]) -> tuple[Any, ...]:
    """The index of some cells of every channel and image."""
    return (slice(None), *spatial) if problem.channels_last else (slice(None), slice(None), *spatial)


def _fill(out: Array, problem: ConvProblem, bias: Array | None, how: How) -> None:
    """The result of summing nothing: the bias."""
    values = np.zeros(problem.channels, problem.dtype) if bias is None else bias.astype(problem.dtype)
    if how.activation == "relu":
        values = np.maximum(values, 0)
    out[...] = values if problem.channels_last else values.reshape(-1, *[1] * problem.ndim)


def _arranged(
    problem: ConvProblem, phases: tuple[Phase, ...], weight: Array, packs: Packs | None
) -> list[Array | None]:
    """The weight of each phase, of shape (channels, filters // groups, taps); None for a phase without any."""
    key = (problem.dtype, *(phase.taps for phase in phases))
    if packs is not None and key in packs:
        kept: list[Array | None] = packs[key]
        return kept
    groups, channels, filters = problem.groups, problem.group_channels, problem.group_filters
    starts, steps = np.zeros(problem.kernel_size, np.int64), np.zeros(problem.kernel_size, np.int64)
    parts: list[tuple[int, tuple[int, ...]] | None] = []
    total = 0
    for phase in phases:
        if phase.empty:
            parts.append(None)
            continue
        size = math.prod(phase.kernel_size)
        where = np.ix_(*phase.taps)
        starts[where] = total + np.arange(size).reshape(phase.kernel_size)
        steps[where] = size
        parts.append((total, (problem.channels, filters, *phase.kernel_size)))
        total += problem.channels * filters * size
    memory = np.empty(total, problem.dtype)
    if total:
        from .kernels import arrange

        source = np.require(prepared(weight, problem.dtype), problem.dtype, ("C", "A"))
        threads = runtime.thread_count() if total >= PARALLEL_PACKING else 1
        arguments = (flat(source), starts.reshape(-1), steps.reshape(-1), (groups, filters, channels), memory)
        runtime.launch(arrange.arrange_taps_parallel, arrange.arrange_taps_serial, threads, arguments)
    result = [
        None if part is None else memory[part[0] : part[0] + math.prod(part[1])].reshape(part[1]) for part in parts
    ]
    if packs is not None:
        packs[key] = result
    return result


def weight_adjoint(problem: ConvProblem, x: Array, y: Array, how: How, out: Array) -> None:
    """The adjoint of a convolution in its weight.

    out[f, c, k] = sum over n, o of conjugate of x[n, c, o * stride + k * dilation - padding before] * y[n, f, o]

    That is a convolution of x with the weight y in which batch and channels, stride and dilation change places. Its
    output, the size of a kernel, would leave most of a vector empty, so the channels of x become a further dimension
    behind the spatial ones, along which y has one tap.

    Parameters
    ----------
    problem : ConvProblem
        The convolution; its padding holds zeros.
    x : ndarray, of the problem's input shape
    y : ndarray, of the problem's output shape
    how : How
    out : ndarray, of the problem's weight shape and dtype
        Every element is written.
    """
    if out.size == 0:
        return
    if y.size == 0:
        out[...] = 0
        return
    lower = lowering(problem.dtype)
    if lower is not None:
        groups, axis = problem.groups, -1 if problem.channels_last else 1
        inner = lower.problem(problem)
        computed = np.empty(inner.weight_shape, inner.dtype)
        weight_adjoint(inner, lower.channels(x, groups, axis), lower.channels(y, groups, axis), how, computed)
        lower.store_weight(computed, out, groups)
        return
    x, y = prepared(x, problem.dtype), prepared(y, problem.dtype)
    if problem.channels_last:
        x, y = np.moveaxis(x, -1, 1), np.moveaxis(y, -1, 1)
    if problem.ndim == 3:
        _volumes(problem, x, y, how, out)
    else:
        _images(problem, x, y, how, out)


def _volumes(problem: ConvProblem, x: Array, y: Array, how: How, out: Array) -> None:
    """One tap in depth after the other: the slices of a volume that it multiplies are images of a batch."""
    (size, *_), (stride, *_), (dilation, *_), ((before, _), *_) = (
        problem.input_size, problem.stride, problem.dilation, problem.padding,
    )  # fmt: skip
    for tap in range(problem.kernel_size[0]):
        # Output slice o reads input slice o * stride + offset.
        offset = tap * dilation - before
        first = max(0, -(offset // stride))
        last = min(problem.output_size[0], (size - 1 - offset) // stride + 1)
        if first >= last:
            out[:, :, tap] = 0
            continue
        read = slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
        images = dataclasses.replace(
            problem,
            batch=problem.batch * (last - first),
            **{
                name: getattr(problem, name)[1:]
                for name in ("input_size", "kernel_size", "stride", "padding", "dilation")
            },
        )
        x_slices, y_slices = x[:, :, read].swapaxes(1, 2), y[:, :, first:last].swapaxes(1, 2)
        _images(
            images, x_slices.reshape(-1, *x_slices.shape[2:]), y_slices.reshape(-1, *y_slices.shape[2:]), how,
            out[:, :, tap],
        )  # fmt: skip


def _images(problem: ConvProblem, x: Array, y: Array, how: How, out: Array) -> None:
    """One or two spatial dimensions, channels first."""
    read = _cells_read(problem)
    if min(read) < 1:  # of an output in the padding before the input, no tap reaches it
        out[...] = 0
        return
    window: tuple[slice, ...] = (slice(None), slice(None), *map(slice, read))
    x = x[window]  # cells that no tap reads are left out
    inner, exchanged = _exchanges(problem)
    chosen = inner if _cheaper(inner, exchanged, how) else exchanged
    split = x.reshape(problem.batch, problem.groups, problem.group_channels, *x.shape[2:])
    weight = y.swapaxes(0, 1)
    if chosen is inner:
        split, weight = np.moveaxis(split, 2, -1)[None], weight[..., None]
        target = np.moveaxis(out, 1, -1)[None]
    else:
        split, target = np.moveaxis(split, 2, 0), out.swapaxes(0, 1)
    # (batch, images, groups, *size) to (batch, groups * images, *size)
    given = split.swapaxes(1, 2).reshape(chosen.input_shape)
    options = Options(
        chosen.stride, chosen.padding, chosen.dilation, chosen.groups, how.algorithm, how.precision,
        DATA_FORMATS[chosen.ndim][0], "zeros", None,
    )  # fmt: skip
    convolve(chosen.ndim, given, weight, None, options, problem.dtype, target)


def _cells_read(problem: ConvProblem) -> tuple[int, ...]:
    """How many cells of the input some tap reads, from the first one on."""
    return tuple(
        min(size, (given - 1) * stride + (kernel - 1) * dilation + 1 - before)
        for size, given, kernel, stride, dilation, (before, _) in zip(
            problem.input_size, problem.output_size, problem.kernel_size, problem.stride, problem.dilation,
            problem.padding, strict=True,
        )
    )  # fmt: skip


@functools.lru_cache(1024)
def _exchanges(problem: ConvProblem) -> tuple[ConvProblem, ConvProblem]:
    """The two convolutions that are a problem's adjoint in its weight.

    The first has its channels as a further spatial dimension, the second as a batch. Both sum over the batch.
    """
    read = _cells_read(problem)
    padding = tuple(
        (before, (given - 1) * stride + (kernel - 1) * dilation + 1 - before - cells)
        for cells, given, kernel, stride, dilation, (before, _) in zip(
            read, problem.output_size, problem.kernel_size, problem.stride, problem.dilation, problem.padding,
            strict=True,
        )
    )  # fmt: skip
    exchanged = dataclasses.replace(
        problem,
        batch=problem.group_channels,
        channels=problem.groups * problem.batch,
        input_size=read,
        kernel_size=problem.output_size,
        stride=problem.dilation,
        padding=padding,
        dilation=problem.stride,
        channels_last=False,
    )
    inner = dataclasses.replace(
        exchanged,
        batch=1,
        input_size=(*read, problem.group_channels),
        kernel_size=(*exchanged.kernel_size, 1),
        stride=(*exchanged.stride, 1),
        padding=(*padding, (0, 0)),
        dilation=(*exchanged.dilation, 1),
    )
    return inner, exchanged


@functools.lru_cache(1024)
def _cheaper(first: ConvProblem, second: ConvProblem, how: How) -> bool:
    """Whether the planner expects the first of two problems to take less time; a forced algorithm must serve it."""
    costs = []
    refusals = []
    for problem in (first, second):
        try:
            costs.append(choose(problem, how.algorithm, how.precision).cost)
        except ValueError as refusal:
            costs.append(math.inf)
            refusals.append(refusal)
    if len(refusals) == len(costs):
        raise refusals[0]
    return costs[0] <= costs[1]


def conv_transpose(
    ndim: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: Options,
    output_padding: Any,
    dtype: Any,
    out: Array | None,
    packs: Packs | None = None,
) -> Array:
    """The body of ``conv_transpose{ndim}d``; :func:`numbaconv.conv_transpose2d` documents it."""
    x, w = as_array("input", input), as_array("weight", weight)
    b = None if bias is None else as_array("bias", bias)
    unbatched = x.ndim == ndim + 1
    if unbatched:
        x = x[None]
    computed = result_dtype({"input": x, "weight": w, "bias": b}, dtype)
    problem = transposed_of(ndim, x, w, b, options, output_padding, computed)
    result = result_array(out, problem.input_shape, computed, {"input": x, "weight": w, "bias": b}, unbatched)
    how = How(options.algorithm, options.precision, options.activation)
    input_adjoint(problem, w.conj() if w.dtype.kind == "c" else w, x, b, how, result, packs)
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def transposed_of(
    ndim: int, x: Any, w: Any, b: Any, options: Options, output_padding: Any, dtype: np.dtype[Any]
) -> ConvProblem:
    """The convolution whose adjoint is asked for."""
    check_names(options.algorithm, options.precision)
    check_real(options.activation, dtype)
    return transposed_problem(
        ndim, x.shape, w.shape, None if b is None else b.shape, stride=options.stride, padding=options.padding,
        output_padding=output_padding, groups=options.groups, dilation=options.dilation,
        data_format=options.data_format, padding_mode=options.padding_mode, activation=options.activation, dtype=dtype,
    )  # fmt: skip


def transposed_size(ndim: int, input: Any, weight: Array, options: Options) -> tuple[int, ...]:
    """The spatial size of a transposed convolution's result without output padding."""
    x = to_array("input", input)
    problem = transposed_of(ndim, x[None] if x.ndim == ndim + 1 else x, weight, None, options, 0, np.dtype(np.float32))
    return problem.input_size


def input_gradient(
    ndim: int, input_size: Any, weight: Any, grad_output: Any, options: Options, dtype: Any, out: Array | None
) -> Array:
    """The body of ``grad.conv{ndim}d_input``; :func:`numbaconv.grad.conv2d_input` documents it."""
    w, y = as_array("weight", weight), as_array("grad_output", grad_output)
    arrays: dict[str, Array | None] = {"weight": w, "grad_output": y}
    problem, unbatched = forward_problem(ndim, input_size, w.shape, y, options, result_dtype(arrays, dtype))
    result = result_array(out, problem.input_shape, problem.dtype, arrays, unbatched)
    input_adjoint(problem, w, y[None] if unbatched else y, None, How(options.algorithm, options.precision), result)
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def weight_gradient(
    ndim: int, input: Any, weight_size: Any, grad_output: Any, options: Options, dtype: Any, out: Array | None
) -> Array:
    """The body of ``grad.conv{ndim}d_weight``; :func:`numbaconv.grad.conv2d_weight` documents it."""
    x, y = as_array("input", input), as_array("grad_output", grad_output)
    arrays: dict[str, Array | None] = {"input": x, "grad_output": y}
    problem, unbatched = forward_problem(ndim, x.shape, weight_size, y, options, result_dtype(arrays, dtype))
    result = result_array(out, problem.weight_shape, problem.dtype, arrays)
    x, y = (x[None], y[None]) if unbatched else (x, y)
    weight_adjoint(problem, x, y, How(options.algorithm, options.precision), result)
    return result if out is None else out


def forward_problem(
    ndim: int, input_size: Any, weight_size: Any, grad_output: Any, options: Options, dtype: np.dtype[Any]
) -> tuple[ConvProblem, bool]:
    """The convolution whose gradient is asked for, and whether its input has no batch."""
    check_names(options.algorithm, options.precision)
    input_shape, weight_shape = shape_argument("input_size", input_size), shape_argument("weight_size", weight_size)
    unbatched = len(input_shape) == ndim + 1
    problem = conv_problem(
        ndim, (1, *input_shape) if unbatched else input_shape, weight_shape, stride=options.stride,
        padding=options.padding, dilation=options.dilation, groups=options.groups, data_format=options.data_format,
        dtype=dtype,
    )  # fmt: skip
    shape = problem.output_shape[1:] if unbatched else problem.output_shape
    if tuple(grad_output.shape) != shape:
        raise ValueError(
            f"grad_output must have the convolution's output shape {shape}, which follows from input size "
            f"{input_shape}, weight size {weight_shape}, stride {problem.stride}, padding {problem.padding} and "
            f"dilation {problem.dilation}; got {tuple(grad_output.shape)}"
        )
    return problem, unbatched
