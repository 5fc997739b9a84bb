"""Runs the public calls on arrays that lie on a GPU, as the execute and adjoint modules do on NumPy's.

Transposed convolutions and gradients are convolutions of views: no array is copied to make one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..adjoint import forward_problem, transposed_of
from ..arrays import result_dtype
from ..execute import How, Options, options_key, part_of_key, problem_of
from ..planner import check_names
from ..problem import ConvProblem
from ..transposition import transposed_phases
from ..weight_adjoint import cells_read, exchanged
from . import geometry as at
from .device_arrays import Arrays
from .job import Device, Job
from .planner import GpuPlan, choose, run
from .views import View, channel_groups, filter_groups


def _batched(view: View, ndim: int) -> tuple[View, bool]:
    """An input with a batch, and whether it had none."""
    unbatched = view.ndim == ndim + 1
    return (view.added(0) if unbatched else view), unbatched


def convolve(ndim: int, input: Any, weight: Any, bias: Any, options: Options, dtype: Any, out: Any) -> Any:
    """The body of ``conv{ndim}d``."""
    arrays = Arrays({"input": input, "weight": weight, "bias": bias}, out)

    def compute() -> Any:
        job, unbatched = _job(ndim, arrays, options, dtype)
        check_names(options.algorithm, options.precision)
        result, view = arrays.result(job.problem.output_shape, job.problem.dtype, unbatched)
        target = channel_groups(view, job.problem.groups, job.problem.channels_last)
        run(dataclasses.replace(job, out=target), arrays.device, options.algorithm, options.precision)
        return result

    return arrays.remembered(("convolve", ndim, options_key(options), part_of_key(dtype)), compute)


def _job(ndim: int, arrays: Arrays, options: Options, dtype: Any) -> tuple[Job, bool]:
    """The convolution that a call asks for, without its result's place; and whether the input has no batch."""
    given, w, b = arrays.needed("input"), arrays.needed("weight"), arrays["bias"]
    x, unbatched = _batched(given, ndim)
    computed = result_dtype({"input": x, "weight": w, "bias": b}, dtype)
    problem = problem_of(ndim, x, w, b, options, computed)
    groups, last = problem.groups, problem.channels_last
    weights = filter_groups(w, groups)
    job = Job(
        problem, channel_groups(x, groups, last), weights, b, weights, problem.activation == "relu",
        extension=at.EXTENSIONS[problem.padding_mode],
    )  # fmt: skip
    return job, unbatched


def explain(input: Any, weight: Any, bias: Any, options: Options, dtype: Any) -> GpuPlan:
    """How :func:`convolve` would compute a call; nothing is launched."""
    arrays = Arrays({"input": input, "weight": weight, "bias": bias}, None)
    ndim = arrays.needed("weight").ndim - 2
    if ndim not in (1, 2, 3):
        shape = arrays.needed("weight").shape
        raise ValueError(f"weight must have 3, 4 or 5 dimensions; got {len(shape)} (shape {shape})")
    job, unbatched = _job(ndim, arrays, options, dtype)
    _, view = arrays.result(job.problem.output_shape, job.problem.dtype, unbatched)
    job = dataclasses.replace(job, out=channel_groups(view, job.problem.groups, job.problem.channels_last))
    return choose(job, arrays.device, options.algorithm, options.precision)


def conv_transpose(
    ndim: int, input: Any, weight: Any, bias: Any, options: Options, output_padding: Any, dtype: Any, out: Any
) -> Any:
    """The body of ``conv_transpose{ndim}d``."""
    arrays = Arrays({"input": input, "weight": weight, "bias": bias}, out)

    def compute() -> Any:
        w, b = arrays.needed("weight"), arrays["bias"]
        x, unbatched = _batched(arrays.needed("input"), ndim)
        computed = result_dtype({"input": x, "weight": w, "bias": b}, dtype)
        problem = transposed_of(ndim, x, w, b, options, output_padding, computed)
        result, view = arrays.result(problem.input_shape, computed, unbatched)
        how = How(options.algorithm, options.precision, options.activation)
        input_adjoint(problem, w, x, b, how, view, arrays.device)
        return result

    asked = ("transposed", ndim, options_key(options), part_of_key(output_padding), part_of_key(dtype))
    return arrays.remembered(asked, compute)


def input_gradient(
    ndim: int, input_size: Any, weight: Any, grad_output: Any, options: Options, dtype: Any, out: Any
) -> Any:
    """The body of ``grad.conv{ndim}d_input``."""
    arrays = Arrays({"weight": weight, "grad_output": grad_output}, out)

    def compute() -> Any:
        w, y = arrays.needed("weight"), arrays.needed("grad_output")
        computed = result_dtype({"weight": w, "grad_output": y}, dtype)
        problem, unbatched = forward_problem(ndim, input_size, w.shape, y, options, computed)
        result, view = arrays.result(problem.input_shape, computed, unbatched)
        y = y.added(0) if unbatched else y
        how = How(options.algorithm, options.precision)
        input_adjoint(problem, w, y, None, how, view, arrays.device, conjugate="w")
        return result

    asked = ("input gradient", ndim, part_of_key(input_size), options_key(options), part_of_key(dtype))
    return arrays.remembered(asked, compute)


def weight_gradient(
    ndim: int, input: Any, weight_size: Any, grad_output: Any, options: Options, dtype: Any, out: Any
) -> Any:
    """The body of ``grad.conv{ndim}d_weight``."""
    arrays = Arrays({"input": input, "grad_output": grad_output}, out)

    def compute() -> Any:
        x, y = arrays.needed("input"), arrays.needed("grad_output")
        computed = result_dtype({"input": x, "grad_output": y}, dtype)
        problem, unbatched = forward_problem(ndim, x.shape, weight_size, y, options, computed)
        result, view = arrays.result(problem.weight_shape, computed)
        x, y = (x.added(0), y.added(0)) if unbatched else (x, y)
        weight_adjoint(problem, x, y, How(options.algorithm, options.precision), view, arrays.device)
        return result

    asked = ("weight gradient", ndim, part_of_key(weight_size), options_key(options), part_of_key(dtype))
    return arrays.remembered(asked, compute)


def _last(view: View, spatial: tuple[Any, ...]) -> View:
    """Some cells of the last dimensions, as many as are given."""
    for axis, cells in zip(range(view.ndim - len(spatial), view.ndim), spatial, strict=True):
        view = view.cut(axis, cells)
    return view


def input_adjoint(
    problem: ConvProblem, weight: View, y: View, bias: View | None, how: How, out: View, device: Device,
    conjugate: str = "",
) -> None:  # fmt: skip
    """The adjoint of a convolution in its input, with a bias; see :func:`numbaconv.input_adjoint.input_adjoint`.

    Each phase of the stride is a convolution that reads some cells of ``y``, some taps of the weight in reverse order,
    and writes to some cells of ``out``. One without taps sums nothing: a convolution of no channels.
    """
    if out.size == 0:
        return
    groups, last = problem.groups, problem.channels_last
    given = y.shape[1:-1] if last else y.shape[2:]
    x, target = channel_groups(y, groups, last), channel_groups(out, groups, last)
    taps = filter_groups(weight, groups).ordered((0, 2, 1, 3, 4, 5))
    jobs = []
    for phase in transposed_phases(problem, given):
        outputs = _last(target, phase.outputs)
        if not outputs.size:
            continue
        cells, kernel = _last(x, phase.inputs), _last(taps, phase.taps)
        if phase.empty:
            cells, kernel = (view.cut(2, slice(0)) for view in (x, taps))
        sizes = slice(6 - problem.ndim, 6)
        inner = ConvProblem(
            problem.batch, groups * cells.shape[2], problem.channels, groups, cells.shape[sizes],
            kernel.shape[sizes], (1,) * problem.ndim, phase.padding, phase.dilation, "zeros", problem.dtype, last,
            bias is not None, how.activation,
        )  # fmt: skip
        if phase.empty:  # whatever its sizes, it has the outputs of this phase
            inner = dataclasses.replace(
                inner, input_size=outputs.shape[sizes], kernel_size=(1,) * problem.ndim,
                padding=((0, 0),) * problem.ndim, dilation=(1,) * problem.ndim,
            )  # fmt: skip
        jobs.append(Job(inner, cells, kernel, bias, outputs, how.activation == "relu", conjugate))
    if how.algorithm != "auto":  # it must serve all phases, or none is computed
        for job in jobs:
            choose(job, device, how.algorithm, how.precision)
    for job in jobs:
        run(job, device, how.algorithm, how.precision)


def weight_adjoint(
    problem: ConvProblem, x: View, y: View, how: How, out: View, device: Device, conjugate: str = "x"
) -> None:
    """The adjoint of a convolution in its weight; see :func:`numbaconv.weight_adjoint.weight_adjoint`.

    It is a convolution of x with the weight y in which batch and channels, stride and dilation change places.
    """
    if out.size == 0:
        return
    groups, last = problem.groups, problem.channels_last
    target = filter_groups(out, groups).ordered((2, 0, 1, 3, 4, 5))
    read = cells_read(problem)
    given = channel_groups(x, groups, last).ordered((2, 1, 0, 3, 4, 5))
    taps = channel_groups(y, groups, last).ordered((1, 2, 0, 3, 4, 5))
    inner = exchanged(problem)
    if y.size == 0 or min(read) < 1:  # nothing is summed
        given, taps = given.cut(2, slice(0)), taps.cut(2, slice(0))
        inner = dataclasses.replace(
            inner, channels=0, input_size=problem.kernel_size, kernel_size=(1,) * problem.ndim,
            padding=((0, 0),) * problem.ndim, stride=(1,) * problem.ndim, dilation=(1,) * problem.ndim,
        )  # fmt: skip
    else:
        given = _last(given, tuple(map(slice, read)))
    job = Job(inner, given, taps, None, target, conjugate=conjugate)
    run(job, device, how.algorithm, how.precision)


def form(problem: ConvProblem, how: How, slot: str, first: Any, second: Any) -> Any:
    """The trilinear form of a convolution without one argument, for :mod:`numbaconv.autograd`."""
    arrays = Arrays({"first": first, "second": second}, None)

    def compute() -> Any:
        a, b = arrays.needed("first"), arrays.needed("second")
        if slot == "x":
            result, view = arrays.result(problem.input_shape, problem.dtype)
            input_adjoint(problem, a, b, None, how, view, arrays.device)
        elif slot == "w":
            result, view = arrays.result(problem.weight_shape, problem.dtype)
            weight_adjoint(problem, a, b, how, view, arrays.device, conjugate="")
        else:
            result, view = arrays.result(problem.output_shape, problem.dtype)
            groups, last = problem.groups, problem.channels_last
            x, out = channel_groups(a, groups, last), channel_groups(view, groups, last)
            run(Job(problem, x, filter_groups(b, groups), None, out), arrays.device, how.algorithm, how.precision)
        return result

    return arrays.remembered(("form", problem, how, slot), compute)
