"""Transposed convolutions whose windows lie side by side, two cells wide: products that are stored interleaved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from .arrays import Array, common_stride, element_strides, flat_start
from .executable import Executable, executable, functions
from .execute import How, Options, problem_of, recall, remember
from .kernels import geometry as at
from .planner import choose
from .problem import DATA_FORMATS, ConvProblem
from .recipes import Recorder, repeated

#: Filters and taps of fewer lanes than this are left to other kernels.
LEAST_LANES: Final = 32


def side_by_side(problem: ConvProblem, given_size: Sequence[int]) -> bool:
    """Whether a convolution's adjoint is a product for each cell, with windows of 1 or 2 dimensions, 2 wide."""
    if problem.ndim > 2 or problem.groups > 1 or problem.channels_last or problem.stride[-1] != 2:
        return False
    if problem.kernel_size != problem.stride or set(problem.dilation) != {1}:
        return False
    if any(pair != (0, 0) for pair in problem.padding) or problem.channels * problem.taps < LEAST_LANES:
        return False
    return all(size == n * step for size, n, step in zip(problem.input_size, given_size, problem.stride, strict=True))


def woven(
    problem: ConvProblem,
    weight: Array,
    y: Array,
    bias: Array | None,
    how: How,
    out: Array,
    packs: dict[Any, Any] | None,
    recorder: Recorder,
) -> bool:
    """Compute the adjoint of a convolution that is :func:`side_by_side`, unless memory does not lie as it takes.

    The arguments are those of ``input_adjoint``; the result says whether it was done.
    """
    if how.algorithm not in ("direct", "direct_channels") or y.size == 0 or problem.filters == 0:
        return False
    step = common_stride(y.shape[2:], element_strides(y)[2:])
    if step is None or out.strides[-1] != out.itemsize or not weight[0].flags.c_contiguous:
        return False
    if weight.dtype != problem.dtype or not weight.flags.aligned or weight.strides[0] % weight.itemsize:
        return False
    if not out.flags.aligned or any(stride % out.itemsize for stride in out.strides):
        return False
    key = ("woven", problem, y.shape, y.strides, weight.strides, out.strides, how, packs is None)
    taps = problem.taps
    matrix = weight.reshape(problem.filters, -1).T.reshape(-1, problem.filters, *(1,) * problem.ndim)
    runner: Executable | None = recall(key)
    if runner is None:
        options = Options(
            algorithm="direct_channels", precision=how.precision, data_format=DATA_FORMATS[problem.ndim][0],
            activation=how.activation,
        )  # fmt: skip
        product = problem_of(problem.ndim, y, matrix, None, options, problem.dtype)
        # Images that are rows of one would no longer be those of the result.
        plan = choose(product, "direct_channels", how.precision, packs is not None, together=False)
        cells = (slice(None), slice(None), *(slice(None, None, step) for step in problem.stride))
        runner = executable(plan, y, matrix, out[cells])
        geometry = runner.geometry.copy()
        strides = element_strides(out)
        geometry[at.OUT_START] = flat_start(out)
        geometry[at.WEAVE_WIDTH] = y.shape[-1]
        geometry[at.WEAVE_ROWS] = taps // 2
        geometry[at.WEAVE_STEP] = strides[2] if problem.ndim == 2 else 0
        geometry[at.OUT_STRIDE_H] = strides[2] * problem.stride[0] if problem.ndim == 2 else 0
        geometry.flags.writeable = False
        _, tasks = functions(plan.candidate, geometry, problem.dtype.name)
        runner = dataclasses.replace(runner, geometry=geometry, tasks=tasks)
        remember(key, runner)
    offsets = None
    if bias is not None:
        bias = np.require(bias, problem.dtype, ("C", "A"))
        offsets = repeated(bias, taps)
    if packs is None:
        runner.call(y, matrix, offsets, out)
    else:
        kept = packs.setdefault("woven", {})
        if runner.layout not in kept:
            kept[runner.layout] = runner.pack_weights(matrix, offsets)
        runner.run(y, kept[runner.layout], out)
    recorder.convolution(runner, y, matrix, bias, out, packs is not None, taps)
    recorder.kept_under("woven")
    return True
