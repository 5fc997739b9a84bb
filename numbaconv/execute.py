"""Runs problems. Every public call ends here: one dictionary of plans, one way to the kernels.

A call's key is all that its plan depends on: shapes, strides, dtypes and options. A key met before skips validation,
planning and the layout of memory, so that a small convolution costs little more than its kernel.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from . import shortcuts, store
from .arrays import (
    ALIGNED_BYTES,
    Array,
    as_array,
    check_out,
    check_real,
    fill,
    new_array,
    prepared,
    result_dtype,
)
from .executable import Executable, executable, laid_out
from .lowering import Lowering, lowering
from .planner import Plan, check_names, choose
from .problem import ConvProblem, conv_problem

#: Calls that are remembered; beyond that all are forgotten and planned again.
CALLS_KEPT: Final = 4096


class Options(NamedTuple):
    """The arguments of a convolution beside its arrays, as the caller gave them."""

    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: Any = 1
    algorithm: Any = "auto"
    precision: Any = "standard"
    data_format: Any = None
    padding_mode: Any = "zeros"
    activation: Any = None


#: Options of a tuple of all of them, in half of the time: a fifth of a microsecond.
make_options: Final[Callable[[tuple[Any, ...]], Options]] = functools.partial(tuple.__new__, Options)


class How(NamedTuple):
    """The options that do not change what is computed but how, and what is done to it in the end."""

    algorithm: str = "auto"
    precision: str = "standard"
    activation: str | None = None


@dataclasses.dataclass(frozen=True)
class Call:
    """What is remembered of a call: its problem and, where there is something to compute, how."""

    problem: ConvProblem
    shape: tuple[int, ...]  # of the output, batched
    dtype: np.dtype[Any]
    executable: Executable | None
    small: bool  # the output needs no particular alignment
    input_fits: bool  # the kernels can take the input as it is
    weight_fits: bool
    output_fits: bool


class LoweredCall(NamedTuple):
    """What is remembered of a call in a dtype that no kernel has: its problem, and how another one computes it."""

    problem: ConvProblem
    lower: Lowering


_calls: dict[Any, Any] = {}


def part_of_key(value: Any) -> Any:
    """An argument as part of a dictionary's key: equal keys mean equal calls.

    1, 1.0 and True are equal keys to Python, but only the first is a stride: all that is not exactly an int or a str
    carries its type.
    """
    if type(value) is int or type(value) is str or value is None:
        return value
    if isinstance(value, (tuple, list)):
        return tuple([part_of_key(item) for item in value])
    return type(value), repr(value)


def options_key(options: Options) -> Any:
    """The options as part of a key, without looking at each of them where the numbers are plain integers."""
    stride, padding, dilation, groups, algorithm, _, _, _, _ = options
    if int is type(stride) is type(padding) is type(dilation) is type(groups) and type(algorithm) is str:
        return options
    return part_of_key(options)


def describe(
    ndim: int, x: Array, weight: Array, bias: Array | None, options: Options, dtype: Any, packed: bool = False
) -> tuple[ConvProblem, Plan | None]:
    """Validate and plan a call; the plan is None where the output is empty or nothing but the bias."""
    computed = result_dtype({"input": x, "weight": weight, "bias": bias}, dtype)
    problem = problem_of(ndim, x, weight, bias, options, computed)
    check_names(options.algorithm, options.precision)
    if problem.depth == 0 or 0 in problem.output_shape:
        return problem, None
    lower = lowering(computed)
    planned = problem if lower is None else lower.problem(problem)
    measured = store.measured(planned, options.precision, packed) if options.algorithm == "auto" else None
    plan = choose(planned, options.algorithm, options.precision, packed, store.machine(), measured)
    return problem, plan


def forget_plans() -> None:
    """Plan every call again, as after a measurement."""
    _calls.clear()
    shortcuts.forget()


def problem_of(ndim: int, x: Any, weight: Any, bias: Any, options: Options, dtype: np.dtype[Any]) -> ConvProblem:
    """The convolution that a call asks for."""
    problem = conv_problem(
        ndim, x.shape, weight.shape, None if bias is None else bias.shape,
        stride=options.stride, padding=options.padding, dilation=options.dilation, groups=options.groups,
        data_format=options.data_format, padding_mode=options.padding_mode, activation=options.activation, dtype=dtype,
    )  # fmt: skip
    check_real(options.activation, dtype)
    return problem


def convolve(
    ndim: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: Options,
    dtype: Any,
    out: Array | None,
    packs: dict[Any, Any] | None = None,
    recorder: Any = None,
) -> Array:
    """The body of ``conv{ndim}d``; :func:`numbaconv.conv2d` documents it.

    ``packs`` is where a layer keeps its packed weights, by how they are laid out; a plain call packs them each time.
    ``recorder`` is told what was done (``recipes.Recorder``, ``shortcuts.Recorder``).
    """
    x = input if type(input) is np.ndarray else as_array("input", input)
    w = weight if type(weight) is np.ndarray else as_array("weight", weight)
    b = None if bias is None else as_array("bias", bias)
    unbatched = x.ndim == ndim + 1
    if unbatched:
        x = x[None]
    result: Any = out
    if unbatched and isinstance(out, np.ndarray):
        result = out[None]
    key = (
        ndim, x.shape, x.strides, x.dtype, x.flags.aligned, w.shape, w.strides, w.dtype, w.flags.aligned,
        None if b is None else (b.shape, b.dtype),
        (result.shape, result.strides, result.dtype, result.flags.aligned) if isinstance(result, np.ndarray) else None,
        None if dtype is None else part_of_key(dtype), options_key(options), packs is None,
    )  # fmt: skip
    try:
        call = _calls.get(key)
    except TypeError:  # a list where a name belongs, say; what it is will be said below
        key = (*key[:-2], part_of_key(options), packs is None)
        call = _calls.get(key)
    if call is None:
        lower = lowering(result_dtype({"input": x, "weight": w, "bias": b}, dtype), options.activation)
        if lower is not None:
            call = LoweredCall(problem_of(ndim, x, w, b, options, lower.dtype), lower)
            remember(key, call)
    if isinstance(call, LoweredCall):
        if recorder is not None:
            recorder.give_up()
        return _lowered(call, (x, w, b), options, out, result, unbatched, packs)
    if call is None:
        problem, plan = describe(ndim, x, w, b, options, dtype, packs is not None)
        shape, kind = problem.output_shape, problem.dtype
    else:
        problem, shape, kind = call.problem, call.shape, call.dtype
    if out is None:
        result = np.empty(shape, kind) if call is not None and call.small else new_array(shape, kind)
    else:
        check_out(result, shape, kind, {"input": x, "weight": w, "bias": b})
    if call is None or not call.input_fits:
        given, x = x, laid_out(x, problem)
    if call is None or not call.weight_fits:
        given_weight, w = w, prepared(w, kind)
    target = result if call is not None and call.output_fits else laid_out(result, problem)
    if call is None:
        runner = None if plan is None else executable(plan, x, w, target)
        small = result.nbytes < ALIGNED_BYTES
        call = Call(problem, shape, kind, runner, small, x is given, w is given_weight, target is result)
        remember(key, call)
    if call.executable is None:
        fill(target, problem.channels_last, b, problem.activation)
    elif packs is None:
        call.executable.call(x, w, b, target)
    else:
        call.executable.run(x, _packed(call.executable, w, b, packs), target)
    if recorder is not None:
        if call.executable is not None and call.input_fits and call.weight_fits and call.output_fits:
            recorder.convolution(call.executable, x, w, b, target, packs is not None)
        else:
            recorder.give_up()
    if target is not result:
        result[...] = target
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def recall(key: Any) -> Any:
    """What :func:`remember` was given under an equal key, or None."""
    try:
        return _calls.get(key)
    except TypeError:  # a list where a name belongs, say
        return None


def remember(key: Any, value: Any) -> None:
    """Keep something that follows from plans as long as they are kept."""
    if len(_calls) >= CALLS_KEPT:
        _calls.clear()
    _calls[key] = value


def _lowered(
    call: LoweredCall,
    arrays: tuple[Array, Array, Array | None],
    options: Options,
    out: Array | None,
    result: Array | None,
    unbatched: bool,
    packs: dict[Any, Any] | None,
) -> Array:
    """:func:`convolve` in a dtype that no kernel has; ``result`` is ``out`` with a batch."""
    x, w, b = arrays
    problem, lower = call
    if result is None:
        result = new_array(problem.output_shape, lower.dtype)
    else:
        check_out(result, problem.output_shape, lower.dtype, {"input": x, "weight": w, "bias": b})
    axis = -1 if problem.channels_last else 1
    computed = convolve(
        problem.ndim, lower.channels(x, problem.groups, axis), lower.weight(w, problem.groups),
        None if b is None else lower.channels(b, problem.groups, 0),
        options._replace(activation=lower.activation(options.activation)), None, None,
        None if packs is None else packs.setdefault(lower.dtype, {}),
    )  # fmt: skip
    lower.store(computed, result, problem.groups, axis, options.activation)
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def _packed(executable: Executable, weight: Array, bias: Array | None, packs: dict[Any, Array]) -> Array:
    """The packed weights: from ``packs``, or made now."""
    packed = packs.get(executable.layout)
    if packed is None:
        packed = packs[executable.layout] = executable.pack_weights(weight, bias)
    return packed
