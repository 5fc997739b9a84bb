"""The adjoint of a convolution in its input, as ordinary convolutions: what transposed convolutions are."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np

from . import runtime
from .arrays import Array, element_strides, fill, flat, flat_start, new_array, prepared
from .execute import How, Options, convolve, describe
from .forks import load_module
from .interleaving import side_by_side, woven
from .lowering import lowering
from .planner import PARALLEL_PACKING
from .problem import DATA_FORMATS, ConvProblem
from .recipes import Recorder
from .transposition import Phase, transposed_phases

#: Where a layer keeps its packed weights: a dictionary for each phase, by its taps.
Packs = dict[Any, Any]
#: Transposed convolutions: elements of the result from which the phases of a row are woven together at the end instead
#: of being written to every other cell; the bytes of the phases' results that are kept at a time, and those of one
#: image up to which they are kept at all.
LEAST_APART: Final = 4096
APART_BYTES: Final = 2**22
LARGEST_APART: Final = 2**25
#: Pixels for each channel of the input up to which windows are made and added up instead, where there are several
#: phases; the same where all images' windows fit APART_BYTES, and are made at once; or filters. One product reads the
#: input, and the weights as they lie, once for all phases. 4x4 kernels of stride 2 took 0.50 of the time with 2 pixels
#: (128x16x16 to 64), 5x5 ones 0.62, 3x3 ones 0.67 and 0.92 with 6; 1.2 times as long with 8, and 1.4 with 4 where 16
#: images took two turns (Emerald Rapids, 2 threads).
PIXELS_FOLDED: Final = 1
MOST_PIXELS_FOLDED: Final = 7
FILTERS_FOLDED: Final = 4
#: Windows from which the product takes the kernel whose panels of weights are rows of memory as they lie: the planner
#: counts the packing of others as if each filter's weights lay together. 256 -> 128, 8x8: 0.87 times the time (Zen 5).
LEAST_WINDOWS: Final = 128


def input_adjoint(
    problem: ConvProblem,
    weight: Array,
    y: Array,
    bias: Array | None,
    how: How,
    out: Array,
    packs: Packs | None = None,
    recorder: Recorder | None = None,
) -> None:
    """The adjoint of a convolution in its input, with a bias: a transposed convolution.

    out[n, c, i] = bias[c] + sum over f, o, k with o * stride + k * dilation - padding before = i of
        conjugate of weight[f, c, k] * y[n, f, o]

    Every phase of the stride is a convolution of its own (:mod:`numbaconv.transposition`), written where its cells lie.
    Where there are few pixels or filters, one matrix product makes all windows of the result instead, which are added
    up: it takes the weights as they lie.

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
    recorder : Recorder, optional
        It is told what was done.
    """
    recorder = recorder or Recorder((y, weight, bias), out)
    if out.size == 0:
        return
    lower = lowering(problem.dtype, how.activation)
    if lower is not None:
        recorder.give_up()
        groups, axis = problem.groups, -1 if problem.channels_last else 1
        inner = lower.problem(problem)
        computed = new_array(inner.input_shape, inner.dtype)
        input_adjoint(
            inner, lower.weight(weight, groups), lower.channels(y, groups, axis),
            None if bias is None else lower.channels(bias, groups, 0),
            how._replace(activation=lower.activation(how.activation)), computed,
            None if packs is None else packs.setdefault(lower.dtype, {}),
        )  # fmt: skip
        lower.store(computed, out, groups, axis, how.activation)
        return
    y = prepared(y, problem.dtype)
    if packs is None and how.algorithm == "auto" and _folding_pays(problem, y):
        _fold(problem, weight, y, bias, how, out, recorder)
        return
    given_size = y.shape[1:-1] if problem.channels_last else y.shape[2:]
    if side_by_side(problem, given_size):
        how = how._replace(algorithm="direct_channels" if how.algorithm == "auto" else how.algorithm)
        if woven(problem, weight, y, bias, how, out, packs, recorder):
            return
    apart = _kept_apart(problem, out)
    stacks, empty = _stacks(problem, given_size, apart)
    if empty or problem.filters == 0:
        recorder.give_up()
        fill(out, problem.channels_last, bias, how.activation)
    if problem.filters == 0:
        return
    calls = [_call(problem, stack, _part(problem, stack, weight), bias, how) for stack in stacks]
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
            results.append(convolve(problem.ndim, x, part, offsets, options, problem.dtype, target, kept, recorder))
            recorder.kept_under(tuple(phase.taps for phase in stack))
        if apart:
            _weave(problem, stacks, results, out[some], recorder)


def _folding_pays(problem: ConvProblem, y: Array) -> bool:
    """Whether making and adding up the windows takes less time than laying out the weights of the phases."""
    if problem.channels_last or problem.groups > 1 or y.size == 0:
        return False
    if problem.kernel_size == problem.stride:  # the windows do not overlap
        return False
    pixels = math.prod(y.shape[2:])
    windows = problem.channels * problem.taps * pixels * y.itemsize
    if windows > APART_BYTES:
        return False
    # With one tap, every other cell, or more, is the bias: all are written at once.
    if problem.channels <= FILTERS_FOLDED or problem.taps == 1:
        return True
    most = MOST_PIXELS_FOLDED if problem.batch * windows <= APART_BYTES else PIXELS_FOLDED
    return max(problem.stride) > 1 and problem.batch * pixels <= most * problem.filters


def _fold(
    problem: ConvProblem, weight: Array, y: Array, bias: Array | None, how: How, out: Array, recorder: Recorder
) -> None:
    """Make the windows by a matrix product, some images at a time, and add them up."""
    arrange = load_module(".kernels.arrange")
    size, missing = y.shape[2:], 3 - problem.ndim
    windows = problem.channels * problem.taps
    matrix = weight.reshape(problem.filters, windows).T.reshape(windows, problem.filters, *(1,) * problem.ndim)
    algorithm = "direct_channels" if windows >= LEAST_WINDOWS else "auto"
    options = Options(algorithm=algorithm, precision=how.precision, data_format=DATA_FORMATS[problem.ndim][0])
    table = np.ones((3, 7), np.int64)
    table[:, 4] = 0
    target = prepared(out, problem.dtype)
    strides = element_strides(target)
    # These make no difference, however large they are.
    steps = [1 if n == 1 else step for n, step in zip(size, problem.stride, strict=True)]
    spreads = [1 if k == 1 else spread for k, spread in zip(problem.kernel_size, problem.dilation, strict=True)]
    pads = [before for before, _ in problem.padding]
    columns_of_table = (problem.kernel_size, size, steps, spreads, pads, problem.input_size, strides[2:])
    for number, values in enumerate(columns_of_table):
        table[missing:, number] = values
    biases = np.empty(0, problem.dtype) if bias is None else np.require(bias, problem.dtype, ("C", "A"))
    whole, first_cell = flat(target, writeable=True), flat_start(target)
    images = max(1, APART_BYTES // (windows * math.prod(size) * y.itemsize))
    for first in range(0, problem.batch, images):
        some = y[first : first + images]
        columns = convolve(problem.ndim, some, matrix, None, options, problem.dtype, None, None, recorder)
        start = first_cell + first * strides[0]
        planes = (len(some), problem.channels, start, *strides[:2], int(how.activation == "relu"))
        several = columns.nbytes >= PARALLEL_PACKING
        threads = runtime.thread_count() if several else 1
        sums = int(arrange.fold_cells(table))
        arguments = (flat(columns), flat(biases), whole, planes, table, np.empty(threads * sums, problem.dtype))
        runtime.launch(arrange.fold_parallel, arrange.fold_serial, threads, arguments)
        recorder.arrangement(
            (arrange.fold_parallel, arrange.fold_serial), several, (columns, None if bias is None else biases), target,
            (planes, table), sums,
        )  # fmt: skip
    if target is not out:
        recorder.give_up()
        out[...] = target


def _kept_apart(problem: ConvProblem, out: Array) -> bool:
    """Whether the phases' results are arrays of their own, to be woven together afterwards.

    Writing only every other cell of a row is slow, and where every tap is a phase of its own, all can share one
    convolution. It takes memory, so large images do without.
    """
    if problem.channels_last or problem.stride[-1] == 1 or problem.input_size[-1] < 2:
        return False
    # A phase of one tap is a product, whose results must lie side by side.
    single = all(k < 2 * step for k, step in zip(problem.kernel_size, problem.stride, strict=True))
    if out.size < LEAST_APART and not single:
        return False
    return out.strides[-1] == out.itemsize and out[0].nbytes <= LARGEST_APART


@functools.lru_cache(1024)
def _stacks(
    problem: ConvProblem, given_size: tuple[int, ...], together: bool
) -> tuple[tuple[tuple[Phase, ...], ...], bool]:
    """The phases in groups that one convolution computes, and whether there are phases without any tap.

    ``together``: where every tap is a phase of its own and all read the same cells, they form one group.
    """
    phases = transposed_phases(problem, given_size)
    some = tuple(phase for phase in phases if not phase.empty)
    first_taps = [tuple(taps[0] for taps in phase.taps) for phase in some]
    reads = [(phase.inputs, phase.padding, phase.output_count(problem.input_size)) for phase in some]
    alike = all(other == reads[0] for other in reads)
    if together and alike and first_taps == list(np.ndindex(*problem.kernel_size)):
        return (some,), len(some) < len(phases)
    return tuple((phase,) for phase in some), len(some) < len(phases)


def _call(
    problem: ConvProblem, stack: tuple[Phase, ...], part: Array, bias: Array | None, how: How
) -> tuple[Array, Array | None, Options]:
    """Weight, bias and options of the convolution that computes a group of phases."""
    options = Options(
        1, stack[0].padding, stack[0].dilation, problem.groups, how.algorithm, how.precision,
        DATA_FORMATS[problem.ndim][problem.channels_last], "zeros", how.activation,
    )  # fmt: skip
    if bias is not None and len(stack) > 1:
        bias = np.repeat(bias, len(stack))
    return part, bias, options


def _weave(
    problem: ConvProblem, stacks: tuple[tuple[Phase, ...], ...], results: list[Array], out: Array,
    recorder: Recorder,
) -> None:  # fmt: skip
    """Write the phases' results to their cells of ``out``: where there are two in a row, both at once."""
    rows: dict[Any, dict[int, tuple[Phase, Array]]] = {}
    for stack, result in zip(stacks, results, strict=True):
        split = result.reshape(result.shape[0], problem.groups, problem.group_channels, len(stack), *result.shape[2:])
        for number, phase in enumerate(stack):
            *others, columns = phase.outputs
            where = tuple((cells.start, cells.step) for cells in others)
            rows.setdefault(where, {})[columns.start] = phase, split[:, :, :, number]
    target = out.reshape(out.shape[0], problem.groups, problem.group_channels, *out.shape[2:])
    for parts in rows.values():
        if problem.stride[-1] == 2 and len(parts) == 2:
            (phase, even), (_, odd) = parts[0], parts[1]
            lines = (slice(None), slice(None), slice(None), *phase.outputs[:-1])
            _weave_pair(even, odd, target[lines], recorder)
            continue
        recorder.give_up()
        for phase, part in parts.values():
            cells = (slice(None), slice(None), slice(None), *phase.outputs)
            target[cells] = part


def _weave_pair(even: Array, odd: Array, out: Array, recorder: Recorder) -> None:
    """out[..., 0::2], out[..., 1::2] = even, odd."""
    arrange = load_module(".kernels.arrange")
    missing = (1,) * (6 - out.ndim)
    sizes = (*out.shape[:3], *missing, *out.shape[3:])
    table = np.zeros((4, 6), np.int64)
    table[0] = sizes
    for row, array in zip(table[1:], (even, odd, out), strict=True):
        strides = element_strides(array)
        row[:5] = (*strides[:3], *(0 for _ in missing), *strides[3:-1])
        row[5] = flat_start(array)
    several = out.nbytes >= PARALLEL_PACKING
    threads = runtime.thread_count() if several else 1
    arguments = (flat(even), flat(odd), flat(out, writeable=True), table)
    runtime.launch(arrange.weave_parallel, arrange.weave_serial, threads, arguments)
    table = table.copy()
    for row, array in zip(table[1:], (even, odd, out), strict=True):
        row[5] = recorder.start(array)
    recorder.arrangement((arrange.weave_parallel, arrange.weave_serial), several, (even, odd), out, (table,))


def _cells(problem: ConvProblem, spatial: tuple[slice, ...]) -> tuple[Any, ...]:
    """The index of some cells of every channel and image."""
    return (slice(None), *spatial) if problem.channels_last else (slice(None), slice(None), *spatial)


def _part(problem: ConvProblem, stack: tuple[Phase, ...], weight: Array) -> Array:
    """The weight of a group of phases: (groups * filters of a group * phases, channels of a group, *taps).

    Without groups it is a view: nothing is moved but by the packing of the convolution.
    """
    split = weight.reshape(problem.groups, problem.group_filters, problem.group_channels, *problem.kernel_size)
    taps = [slice(taps.start, taps.stop if taps.stop >= 0 else None, taps.step) for taps in stack[0].taps]
    where = (..., *taps)
    part = split[where][:, :, :, None]
    if len(stack) > 1:  # every tap is a phase of its own
        part = split.reshape(*split.shape[:3], len(stack), *(1,) * problem.ndim)
    part = np.moveaxis(part, 1, 3)
    return part.reshape(-1, *part.shape[3:])
