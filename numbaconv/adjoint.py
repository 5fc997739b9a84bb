"""The adjoints of a convolution, as ordinary convolutions: with respect to its input and with respect to its weight.

With a convolution y = conv(x, w), the adjoint in x (a transposed convolution) takes an array like y to one like x, and
the adjoint in w takes arrays like x and y to one like w, so that <conv(x, w), y> = <x, input_adjoint(w, y)> = <w,
weight_adjoint(x, y)>. They are what gradients are made of. (Of complex numbers: <a, b> = sum of a times conjugate b.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Array, as_array, check_real, result_array, result_dtype
from .execute import CALLS_KEPT, How, Options, options_key, part_of_key, recall, remember
from .input_adjoint import Packs, input_adjoint
from .planner import check_names
from .problem import ConvProblem, conv_problem, shape_argument
from .recipes import Recipe, Recorder
from .tensors import to_array
from .transposition import transposed_problem
from .weight_adjoint import weight_adjoint


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
    more = (options_key(options), part_of_key(output_padding), packs is None)
    key = _key(("transposed", ndim), (x, w, b), dtype, out, more)
    recipe = recall(key)
    if recipe is not None:
        return _follow(recipe, {"input": x, "weight": w, "bias": b}, out, packs)
    given, unbatched = x, x.ndim == ndim + 1
    if unbatched:
        x = x[None]
    computed = result_dtype({"input": x, "weight": w, "bias": b}, dtype)
    problem = transposed_of(ndim, x, w, b, options, output_padding, computed)
    result = result_array(out, problem.input_shape, computed, {"input": x, "weight": w, "bias": b}, unbatched)
    how = How(options.algorithm, options.precision, options.activation)
    recorder = Recorder((given, w, b), result)
    input_adjoint(problem, w.conj() if w.dtype.kind == "c" else w, x, b, how, result, packs, recorder)
    remember(key, recorder.recipe(result.shape[1:] if unbatched else result.shape, computed))
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def _key(
    what: tuple[str, int], arrays: tuple[Array | None, ...], dtype: Any, out: Array | None, more: tuple[Any, ...]
) -> Any:
    """All that a call's recipe depends on."""
    known = [
        (array.shape, array.strides, array.dtype, array.flags.aligned) if isinstance(array, np.ndarray) else None
        for array in (*arrays, out)
    ]
    return what, type(out), *known, None if dtype is None else part_of_key(dtype), more


def _follow(recipe: Recipe, arrays: dict[str, Array | None], out: Array | None, packs: Packs | None) -> Array:
    """Make a call as it was made before; ``arrays`` are the input, the weight and the bias."""
    result = result_array(out, recipe.shape, recipe.dtype, arrays)
    recipe.run(tuple(arrays.values()), result, packs)
    return result


def transposed_of(
    ndim: int, x: Any, w: Any, b: Any, options: Options, output_padding: Any, dtype: np.dtype[Any]
) -> ConvProblem:
    """The convolution whose adjoint is asked for."""
    bias_shape = None if b is None else b.shape
    key = (ndim, x.shape, w.shape, bias_shape, part_of_key(options), part_of_key(output_padding), dtype)
    problem = _problems.get(key)
    if problem is None:
        check_names(options.algorithm, options.precision)
        check_real(options.activation, dtype)
        problem = transposed_problem(
            ndim, x.shape, w.shape, bias_shape, stride=options.stride, padding=options.padding,
            output_padding=output_padding, groups=options.groups, dilation=options.dilation,
            data_format=options.data_format, padding_mode=options.padding_mode, activation=options.activation,
            dtype=dtype,
        )  # fmt: skip
        _remember(key, problem)
    return problem


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
    key = _key(("input", ndim), (y, w, None), dtype, out, (options_key(options), part_of_key(input_size)))
    recipe = recall(key)
    if recipe is not None:
        return _follow(recipe, {"grad_output": y, "weight": w, "bias": None}, out, None)
    problem, unbatched = forward_problem(ndim, input_size, w.shape, y, options, result_dtype(arrays, dtype))
    result = result_array(out, problem.input_shape, problem.dtype, arrays, unbatched)
    recorder = Recorder((y, w, None), result)
    how = How(options.algorithm, options.precision)
    input_adjoint(problem, w, y[None] if unbatched else y, None, how, result, None, recorder)
    remember(key, recorder.recipe(result.shape[1:] if unbatched else result.shape, problem.dtype))
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
    key = _key(("weight", ndim), (x, y, None), dtype, out, (options_key(options), part_of_key(weight_size)))
    recipe = recall(key)
    if recipe is not None:
        return _follow(recipe, {"input": x, "grad_output": y, "bias": None}, out, None)
    problem, unbatched = forward_problem(ndim, x.shape, weight_size, y, options, result_dtype(arrays, dtype))
    result = result_array(out, problem.weight_shape, problem.dtype, arrays)
    recorder = Recorder((x, y, None), result)
    x, y = (x[None], y[None]) if unbatched else (x, y)
    weight_adjoint(problem, x, y, How(options.algorithm, options.precision), result, recorder)
    remember(key, recorder.recipe(result.shape, problem.dtype))
    return result if out is None else out


def forward_problem(
    ndim: int, input_size: Any, weight_size: Any, grad_output: Any, options: Options, dtype: np.dtype[Any]
) -> tuple[ConvProblem, bool]:
    """The convolution whose gradient is asked for, and whether its input has no batch."""
    shape = tuple(grad_output.shape)
    key = (ndim, part_of_key(input_size), part_of_key(weight_size), shape, part_of_key(options), dtype)
    known = _problems.get(key)
    if known is not None:
        return known, len(shape) == ndim + 1
    check_names(options.algorithm, options.precision)
    input_shape, weight_shape = shape_argument("input_size", input_size), shape_argument("weight_size", weight_size)
    unbatched = len(input_shape) == ndim + 1
    problem = conv_problem(
        ndim, (1, *input_shape) if unbatched else input_shape, weight_shape, stride=options.stride,
        padding=options.padding, dilation=options.dilation, groups=options.groups, data_format=options.data_format,
        dtype=dtype,
    )  # fmt: skip
    expected = problem.output_shape[1:] if unbatched else problem.output_shape
    if shape != expected:
        raise ValueError(
            f"grad_output must have the convolution's output shape {expected}, which follows from input size "
            f"{input_shape}, weight size {weight_shape}, stride {problem.stride}, padding {problem.padding} and "
            f"dilation {problem.dilation}; got {shape}"
        )
    _remember(key, problem)
    return problem, unbatched


#: Problems by all that they follow from: describing one takes longer than a small convolution.
_problems: dict[Any, ConvProblem] = {}


def _remember(key: Any, problem: ConvProblem) -> None:
    if len(_problems) >= CALLS_KEPT:
        _problems.clear()
    _problems[key] = problem
