"""The bodies of the public functions for arrays of any library: what comes in as theirs goes out as theirs.

NumPy's arrays go straight through. Of others the memory is shared, NumPy's body computes, and the result is wrapped;
where a torch tensor requires a gradient, :mod:`numbaconv.autograd` records the call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import adjoint, execute, shortcuts
from .arrays import Array
from .execute import Options
from .forks import load_module
from .tensors import Kind, is_tensor, kind_of, lies_on_gpu, to_array, to_dtype


def common_kind(arrays: dict[str, Any]) -> Kind | None:
    """The library whose arrays some of ``arrays`` are; None where all are NumPy's.

    Raises
    ------
    TypeError
        Where they are of two libraries beside NumPy.
    """
    kinds = {name: kind for name, value in arrays.items() if (kind := kind_of(name, value)) is not None}
    if len({kind.name for kind in kinds.values()}) > 1:
        listed = ", ".join(f"{name} of {kind.name}" for name, kind in kinds.items())
        raise TypeError(f"arrays of different libraries do not mix: {listed}")
    return next(iter(kinds.values()), None)


def needs_gradient(arrays: dict[str, Any]) -> bool:
    """Whether torch would record what is done with these arrays."""
    tensors = [value for value in arrays.values() if is_tensor(value)]
    return any(tensor.requires_grad for tensor in tensors) and bool(sys.modules["torch"].is_grad_enabled())


def _any_on_gpu(arrays: dict[str, Any]) -> bool:
    """Whether the arrays lie on a GPU; TypeError where only some do."""
    there = {name: lies_on_gpu(value) for name, value in arrays.items() if value is not None}
    if any(there.values()) and not all(there.values()):
        listed = ", ".join(f"{name} {'on a GPU' if gpu else 'in the CPU memory'}" for name, gpu in there.items())
        raise TypeError(f"all arrays must lie in the same memory; got {listed}")
    return any(there.values())


def through(
    compute: Callable[..., Any],
    arrays: dict[str, Any],
    out: Any = None,
    record: Callable[[], Any] | None = None,
    on_gpu: Callable[..., Any] | None = None,
) -> Any:
    """``compute(*arrays, out)`` on NumPy arrays that share the memory of these.

    ``record()`` computes the same so that torch can differentiate it; without it such tensors are refused.
    ``on_gpu(*arrays, out)`` does so where the arrays lie on a GPU; without it they are refused.
    """
    gpu = _any_on_gpu({**arrays, "out": out})
    if gpu and on_gpu is None:
        raise TypeError(f"this function takes no arrays on a GPU; copy {', '.join(arrays)} to the CPU's memory")
    kind = None if gpu else common_kind({**arrays, "out": out})
    if kind is None and not gpu:
        return compute(*arrays.values(), out)
    if needs_gradient({**arrays, "out": out}):
        names = ", ".join(name for name, value in arrays.items() if is_tensor(value) and value.requires_grad) or "out"
        if out is not None:
            raise TypeError(f"out cannot take a result that has a gradient ({names} requires one); use torch.no_grad()")
        if record is None:
            raise TypeError(f"this function has no gradient, but {names} requires one; pass {names}.detach()")
        return record()
    if kind is None:
        assert on_gpu is not None  # noqa: S101 # for mypy
        return on_gpu(*arrays.values(), out)
    given = [None if value is None else to_array(name, value) for name, value in arrays.items()]
    result = compute(*given, None if out is None else to_array("out", out) if kind_of("out", out) else out)
    return kind.wrap(result) if out is None else out


def convolve(
    ndim: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: Options,
    dtype: Any,
    out: Any,
    packs: dict[Any, Any] | None = None,
) -> Any:
    """:func:`numbaconv.execute.convolve` for arrays of any library."""
    recorder = None
    if dtype is None is out:
        found = shortcuts.call(shortcuts.plain if packs is None else packs, ndim, input, weight, bias, options)
        if found is not None:
            return found
        recorder = shortcuts.Recorder(packs, ndim, (input, weight, bias), options)
    array = np.ndarray  # asked here, since four calls that ask take a twentieth of a small convolution's time
    if (
        type(input) is array is type(weight)
        and (bias is None or type(bias) is array)
        and (out is None or type(out) is array)
    ):
        return execute.convolve(ndim, input, weight, bias, options, dtype, out, packs, recorder)
    dtype = to_dtype(dtype)

    def compute(x: Any, w: Any, b: Any, target: Any) -> Array:
        return execute.convolve(ndim, x, w, b, options, dtype, target, packs)

    def on_gpu(x: Any, w: Any, b: Any, target: Any) -> Any:
        return load_module(".cuda.engine").convolve(ndim, x, w, b, options, dtype, target)

    def record() -> Any:
        return load_module(".autograd").convolve(ndim, input, weight, bias, options, dtype)

    return through(compute, {"input": input, "weight": weight, "bias": bias}, out, record, on_gpu)


def conv_transpose(
    ndim: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: Options,
    output_padding: Any,
    dtype: Any,
    out: Any,
    packs: dict[Any, Any] | None = None,
) -> Any:
    """:func:`numbaconv.adjoint.conv_transpose` for arrays of any library."""
    dtype = to_dtype(dtype)

    def compute(x: Any, w: Any, b: Any, target: Any) -> Array:
        return adjoint.conv_transpose(ndim, x, w, b, options, output_padding, dtype, target, packs)

    def on_gpu(x: Any, w: Any, b: Any, target: Any) -> Any:
        return load_module(".cuda.engine").conv_transpose(ndim, x, w, b, options, output_padding, dtype, target)

    def record() -> Any:
        return load_module(".autograd").conv_transpose(ndim, input, weight, bias, options, output_padding, dtype)

    return through(compute, {"input": input, "weight": weight, "bias": bias}, out, record, on_gpu)


def input_gradient(
    ndim: int, input_size: Any, weight: Any, grad_output: Any, options: Options, dtype: Any, out: Any
) -> Any:
    """:func:`numbaconv.adjoint.input_gradient` for arrays of any library."""
    dtype = to_dtype(dtype)

    def compute(w: Any, y: Any, target: Any) -> Array:
        return adjoint.input_gradient(ndim, input_size, w, y, options, dtype, target)

    def on_gpu(w: Any, y: Any, target: Any) -> Any:
        return load_module(".cuda.engine").input_gradient(ndim, input_size, w, y, options, dtype, target)

    def record() -> Any:
        return load_module(".autograd").input_gradient(ndim, input_size, weight, grad_output, options, dtype)

    return through(compute, {"weight": weight, "grad_output": grad_output}, out, record, on_gpu)


def weight_gradient(
    ndim: int, input: Any, weight_size: Any, grad_output: Any, options: Options, dtype: Any, out: Any
) -> Any:
    """:func:`numbaconv.adjoint.weight_gradient` for arrays of any library."""
    dtype = to_dtype(dtype)

    def compute(x: Any, y: Any, target: Any) -> Array:
        return adjoint.weight_gradient(ndim, x, weight_size, y, options, dtype, target)

    def on_gpu(x: Any, y: Any, target: Any) -> Any:
        return load_module(".cuda.engine").weight_gradient(ndim, x, weight_size, y, options, dtype, target)

    def record() -> Any:
        return load_module(".autograd").weight_gradient(ndim, input, weight_size, grad_output, options, dtype)

    return through(compute, {"input": input, "grad_output": grad_output}, out, record, on_gpu)
