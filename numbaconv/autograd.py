"""Gradients of torch's tensors. Imported where a tensor that requires one comes in; torch is there then.

A convolution is one trilinear form, T(x, w, y) = sum over outputs of conv(x, w) * y. Leaving out y gives the
convolution, leaving out x the transposed one, leaving out w the gradient of the weight. So the derivatives of each of
the three are the other two, and those have derivatives of any order.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from . import execute
from .adjoint import forward_problem, transposed_of
from .arrays import Array, new_array, result_dtype
from .execute import How, Options
from .forks import load_module
from .input_adjoint import input_adjoint
from .problem import DATA_FORMATS, ConvProblem
from .tensors import numpy_dtype, to_array, to_tensor
from .weight_adjoint import weight_adjoint

#: The arguments of the trilinear form.
SLOTS = "xwy"


@dataclasses.dataclass(frozen=True)
class Form:
    """The trilinear form of a convolution with zeros around its input."""

    problem: ConvProblem
    how: How

    def without(self, slot: str, a: Array, b: Array) -> Array:
        """The form as a function of one argument, given the two others: an array of that argument's shape."""
        problem, how = self.problem, self.how
        if slot == "y":
            options = Options(
                problem.stride, problem.padding, problem.dilation, problem.groups, how.algorithm, how.precision,
                DATA_FORMATS[problem.ndim][problem.channels_last],
            )  # fmt: skip
            return execute.convolve(problem.ndim, a, b, None, options, problem.dtype, None)
        # The adjoints take conjugates, a form does not.
        a = a.conj() if a.dtype.kind == "c" else a
        if slot == "x":
            out = new_array(problem.input_shape, problem.dtype)
            input_adjoint(problem, a, b, None, how, out)
        else:
            out = new_array(problem.weight_shape, problem.dtype)
            weight_adjoint(problem, a, b, how, out)
        return out


class _Without(torch.autograd.Function):  # type: ignore[misc] # torch has no types here
    """:meth:`Form.without`, for torch."""

    @staticmethod
    def forward(context: Any, form: Form, slot: str, a: Any, b: Any) -> Any:
        """Compute, and keep what the derivatives need."""
        context.form, context.slot = form, slot
        context.save_for_backward(a, b)
        if a.is_cuda:
            return load_module(".cuda.engine").form(form.problem, form.how, slot, a, b)
        return to_tensor(form.without(slot, to_array(slot, a), to_array(slot, b)))

    @staticmethod
    def backward(context: Any, gradient: Any) -> tuple[Any, ...]:
        """Derivatives in both arguments, through this class again."""
        given = dict(zip(SLOTS.replace(context.slot, ""), context.saved_tensors, strict=True))
        gradients: list[Any] = []
        for wanted, needed in zip(given, context.needs_input_grad[2:], strict=True):
            if not needed:
                gradients.append(None)
                continue
            others = {name: tensor.conj() for name, tensor in given.items() if name != wanted}
            others[context.slot] = gradient
            first, second = (others[name] for name in SLOTS if name in others)
            result = _Without.apply(context.form, wanted, first, second)
            tensor = given[wanted]
            gradients.append((result.real if not tensor.is_complex() else result).to(tensor.dtype))
        return None, None, *gradients


def _finish(result: Any, bias: Any, activation: str | None, channels_last: bool, unbatched: bool) -> Any:
    """Add the bias, apply the activation, take the batch away."""
    if bias is not None:
        offsets = bias.to(result.dtype)
        result = result + (offsets if channels_last else offsets.reshape(-1, *[1] * (result.ndim - 2)))
    if activation == "relu":
        result = torch.relu(result)
    return result[0] if unbatched else result


def _padded(x: Any, problem: ConvProblem) -> Any:
    """The input with its padding, which does not hold zeros, around it."""
    modes: Any = {"replicate": "edge", "circular": "wrap"}
    mode = modes.get(problem.padding_mode, problem.padding_mode)
    for axis, (size, pair) in enumerate(zip(problem.input_size, problem.padding, strict=True)):
        indices = torch.from_numpy(np.pad(np.arange(size), pair, mode=mode)).to(x.device)
        x = x.index_select(axis + (1 if problem.channels_last else 2), indices)
    return x


def _how(options: Options) -> How:
    return How(options.algorithm, options.precision)


def _dtype(arrays: dict[str, Any], dtype: Any) -> np.dtype[Any]:
    dtypes = {name: numpy_dtype(name, tensor) for name, tensor in arrays.items() if tensor is not None}
    return result_dtype({name: np.empty(0, each) for name, each in dtypes.items()}, dtype)


def convolve(ndim: int, input: Any, weight: Any, bias: Any, options: Options, dtype: Any) -> Any:
    """``conv{ndim}d`` of tensors, recorded."""
    x, w = to_tensor(input), to_tensor(weight)
    b = None if bias is None else to_tensor(bias)
    unbatched = x.ndim == ndim + 1
    x = x[None] if unbatched else x
    computed = _dtype({"input": x, "weight": w, "bias": b}, dtype)
    problem = execute.problem_of(ndim, x, w, b, options, computed)
    if problem.padding_mode != "zeros":
        x = _padded(x, problem)
        size = x.shape[1:-1] if problem.channels_last else x.shape[2:]
        problem = dataclasses.replace(problem, input_size=tuple(size), padding=((0, 0),) * ndim, padding_mode="zeros")
    form = Form(dataclasses.replace(problem, bias=False, activation=None), _how(options))
    result = _Without.apply(form, "y", x, w)
    return _finish(result, b, options.activation, problem.channels_last, unbatched)


def conv_transpose(
    ndim: int, input: Any, weight: Any, bias: Any, options: Options, output_padding: Any, dtype: Any
) -> Any:
    """``conv_transpose{ndim}d`` of tensors, recorded."""
    y, w = to_tensor(input), to_tensor(weight)
    b = None if bias is None else to_tensor(bias)
    unbatched = y.ndim == ndim + 1
    y = y[None] if unbatched else y
    computed = _dtype({"input": y, "weight": w, "bias": b}, dtype)
    problem = transposed_of(ndim, y, w, b, options, output_padding, computed)
    # Where an output padding exceeds the stride, the convolution has outputs that the input lacks: zeros.
    size = y.shape[1:-1] if problem.channels_last else y.shape[2:]
    behind = [(0, full - given) for full, given in zip(problem.output_size, size, strict=True)]
    around = [(0, 0)] * problem.channels_last + behind[::-1]
    y = torch.nn.functional.pad(y, [cells for pair in around for cells in pair])
    result = _Without.apply(Form(problem, _how(options)), "x", w, y)
    return _finish(result, b, options.activation, problem.channels_last, unbatched)


def input_gradient(ndim: int, input_size: Any, weight: Any, grad_output: Any, options: Options, dtype: Any) -> Any:
    """``grad.conv{ndim}d_input`` of tensors, recorded."""
    w, y = to_tensor(weight), to_tensor(grad_output)
    computed = _dtype({"weight": w, "grad_output": y}, dtype)
    problem, unbatched = forward_problem(ndim, input_size, w.shape, y, options, computed)
    result = _Without.apply(Form(problem, _how(options)), "x", w.conj(), y[None] if unbatched else y)
    return result[0] if unbatched else result


def weight_gradient(ndim: int, input: Any, weight_size: Any, grad_output: Any, options: Options, dtype: Any) -> Any:
    """``grad.conv{ndim}d_weight`` of tensors, recorded."""
    x, y = to_tensor(input), to_tensor(grad_output)
    computed = _dtype({"input": x, "grad_output": y}, dtype)
    problem, unbatched = forward_problem(ndim, x.shape, weight_size, y, options, computed)
    x, y = (x[None], y[None]) if unbatched else (x, y)
    return _Without.apply(Form(problem, _how(options)), "w", x.conj(), y)
