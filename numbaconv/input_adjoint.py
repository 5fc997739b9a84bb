"""The adjoint of a convolution in its input, as ordinary convolutions: what transposed convolutions are."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np

from . import runtime
from .arrays import Array, element_strides, flat, flat_start, prepared
from .execute import How, Options, convolve, describe
from .lowering import lowering
from .planner import PARALLEL_PACKING
from .problem import DATA_FORMATS, ConvProblem
from .transposition import Phase, transposed_phases

#: Where a layer keeps its packed weights: a dictionary for each phase, by its taps, and the arranged weights, by all.
Packs = dict[Any, Any]
#: Transposed convolutions: elements of the result from which the phases of a row are woven together at the end instead
#: of being written to every other cell; the bytes of the phases' results that are kept at a time, and those of one
#: image up to which they are kept at all.
LEAST_APART: Final = 4096
APART_BYTES: Final = 2**22
LARGEST_APART: Final = 2**25


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
    given_size = y.shape[1:-1] if problem.channels_last else y.shape[2:]
    apart = _kept_apart(problem, out)
    stacks, empty = _stacks(problem, given_size, apart)
    if empty or problem.filters == 0:
        _fill(out, problem, bias, how)
    if problem.filters == 0:
        return
    calls = [
        _call(problem, stack, part, bias, how)
        for stack, part in zip(stacks, _arranged(problem, stacks, weight, packs), strict=True)
    ]
    if how.algorithm != "auto":  # it must serve all phases, or none is computed
        for stack, (part, offsets, options) in zip(stacks, calls, strict=True):
            describe(problem.ndim, y[_cells(problem, stack[0].inputs)], part, offsets, options, problem.dtype)
    # Images at a time, so that what is kept apart stays small.
    images = max(1, APART_BYTES // max(1, out[0].nbytes)) if apart else problem.batch
    for first in range(0, problem.batch, images):
        some = slice(first, first + images)
        results = []
        for stack, (part, offsets, options) in zip(stacks, calls, strict=True):
            kept = None if packs is None else packs.setdefault(tuple(phase.taps for phase in stack), {})
            x = y[some][_cells(problem, stack[0].inputs)]
            target = None if apart else out[_cells(problem, stack[0].outputs)]
            results.append(convolve(problem.ndim, x, part, offsets, options, problem.dtype, target, kept))
        if apart:
            _weave(problem, stacks, results, out[some])


def _kept_apart(problem: ConvProblem, out: Array) -> bool:
    """Whether the phases' results are arrays of their own, to be woven together afterwards.

    Writing only every other cell of a row is slow, and phases that read the same cells can share one convolution. It
    takes memory, so large images do without.
    """
    if problem.channels_last or problem.stride[-1] == 1 or problem.input_size[-1] < 2 or out.size < LEAST_APART:
        return False
    return out.strides[-1] == out.itemsize and out[0].nbytes <= LARGEST_APART


@functools.lru_cache(1024)
def _stacks(
    problem: ConvProblem, given_size: tuple[int, ...], together: bool
) -> tuple[tuple[tuple[Phase, ...], ...], bool]:
    """The phases in groups that one convolution computes, and whether there are phases without any tap.

    ``together``: phases that read the same cells in the same way form a group, else each is one.
    """
    phases = transposed_phases(problem, given_size)
    groups: dict[Any, list[Phase]] = {}
    for number, phase in enumerate(phases):
        if not phase.empty:
            reads = tuple((cells.start, cells.stop) for cells in phase.inputs)
            key = (reads, phase.padding, phase.dilation, phase.kernel_size, phase.output_count(problem.input_size))
            groups.setdefault(key if together else number, []).append(phase)
    return tuple(map(tuple, groups.values())), any(phase.empty for phase in phases)


def _call(
    problem: ConvProblem, stack: tuple[Phase, ...], part: Array, bias: Array | None, how: How
) -> tuple[Array, Array | None, Options]:
    """Weight, bias and options of the convolution that computes a group of phases."""
    options = Options(
        1, stack[0].padding, stack[0].dilation, problem.groups, how.algorithm, how.precision,
        DATA_FORMATS[problem.ndim][problem.channels_last], "zeros", how.activation,
    )  # fmt: skip
    if bias is not None and len(stack) > 1:
        bias = np.repeat(bias.reshape(problem.groups, 1, -1), len(stack), 1).reshape(-1)
    return part, bias, options


def _weave(problem: ConvProblem, stacks: tuple[tuple[Phase, ...], ...], results: list[Array], out: Array) -> None:
    """Write the phases' results to their cells of ``out``: where there are two in a row, both at once."""
    rows: dict[Any, dict[int, tuple[Phase, Array]]] = {}
    for stack, result in zip(stacks, results, strict=True):
        split = result.reshape(result.shape[0], problem.groups, len(stack), problem.group_channels, *result.shape[2:])
        for number, phase in enumerate(stack):
            *others, columns = phase.outputs
            where = tuple((cells.start, cells.step) for cells in others)
            rows.setdefault(where, {})[columns.start] = phase, split[:, :, number]
    target = out.reshape(out.shape[0], problem.groups, problem.group_channels, *out.shape[2:])
    for parts in rows.values():
        if problem.stride[-1] == 2 and len(parts) == 2:
            (phase, even), (_, odd) = parts[0], parts[1]
            lines = (slice(None), slice(None), slice(None), *phase.outputs[:-1])
            _weave_pair(even, odd, target[lines])
            continue
        for phase, part in parts.values():
            cells = (slice(None), slice(None), slice(None), *phase.outputs)
            target[cells] = part


def _weave_pair(even: Array, odd: Array, out: Array) -> None:
    """out[..., 0::2], out[..., 1::2] = even, odd."""
    from .kernels import arrange

    missing = (1,) * (6 - out.ndim)
    sizes = (*out.shape[:3], *missing, *out.shape[3:])
    table = np.zeros((4, 6), np.int64)
    table[0] = sizes
    for row, array in zip(table[1:], (even, odd, out), strict=True):
        strides = element_strides(array)
        row[:5] = (*strides[:3], *(0 for _ in missing), *strides[3:-1])
        row[5] = flat_start(array)
    threads = runtime.thread_count() if out.size >= PARALLEL_PACKING else 1
    arguments = (flat(even), flat(odd), flat(out, writeable=True), table)
    runtime.launch(arrange.weave_parallel, arrange.weave_serial, threads, arguments)


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
    problem: ConvProblem, stacks: tuple[tuple[Phase, ...], ...], weight: Array, packs: Packs | None
) -> list[Array]:
    """The weight of each group of phases: (groups * phases * filters of a group, channels of a group, *taps)."""
    key = (problem.dtype, *(tuple(phase.taps for phase in stack) for stack in stacks))
    if packs is not None and key in packs:
        kept: list[Array] = packs[key]
        return kept
    groups, channels, filters = problem.groups, problem.group_filters, problem.group_channels
    starts, steps, rows = (np.zeros(problem.kernel_size, np.int64) for _ in range(3))
    shapes, total = [], 0
    for stack in stacks:
        size = math.prod(stack[0].kernel_size)
        for number, phase in enumerate(stack):
            where = np.ix_(*phase.taps)
            first = total + number * filters * channels * size
            starts[where] = first + np.arange(size).reshape(phase.kernel_size)
            steps[where], rows[where] = size, len(stack) * filters
        shape = (groups * len(stack) * filters, channels, *stack[0].kernel_size)
        shapes.append((total, shape))
        total += math.prod(shape)
    memory = np.empty(total, problem.dtype)
    if total:
        from .kernels import arrange

        source = np.require(prepared(weight, problem.dtype), problem.dtype, ("C", "A"))
        threads = runtime.thread_count() if total >= PARALLEL_PACKING else 1
        tables = (starts.reshape(-1), steps.reshape(-1), rows.reshape(-1))
        arguments = (flat(source), *tables, (groups, channels, filters), memory)
        runtime.launch(arrange.arrange_taps_parallel, arrange.arrange_taps_serial, threads, arguments)
    result = [memory[first : first + math.prod(shape)].reshape(shape) for first, shape in shapes]
    if packs is not None:
        packs[key] = result
    return result
