"""Arrays of other libraries: seen as NumPy's without a copy where their layout allows, and made from NumPy's.

torch's tensors, and objects of the array API or with DLPack, as long as they lie in the CPU's memory. No library is
imported here that was not imported before: an object of it could not exist.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .arrays import Array, as_array
from .forks import load_module

#: DLPack's numbers of the CPU, and of the memory that CUDA's devices read.
CPU = 1
CUDA = (2, 13)


class Kind(NamedTuple):
    """A library of arrays: its name, and how a NumPy array becomes one of its own."""

    name: str
    wrap: Callable[[Array], Any]


def kind_of(name: str, value: Any) -> Kind | None:
    """The library that ``value`` is an array of; None for what NumPy takes, or nothing does."""
    if value is None or isinstance(value, (np.ndarray, np.generic, list, tuple, int, float, complex)):
        return None
    if is_tensor(value):
        return Kind("torch", _to_torch)
    if not hasattr(value, "__dlpack_device__"):
        return None
    namespace = _namespace(name, value)
    return Kind(namespace.__name__, lambda array: _to_namespace(namespace, array))


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a tensor of torch's."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))


def lies_on_gpu(value: Any) -> bool:
    """Whether ``value`` is an array in the memory of one of CUDA's devices."""
    if value is None or isinstance(value, (np.ndarray, np.generic, list, tuple, int, float, complex)):
        return False
    if is_tensor(value):
        return bool(value.is_cuda)
    if hasattr(value, "__cuda_ndarray__") or hasattr(value, "__cuda_array_interface__"):
        return True
    return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] in CUDA


def to_array(name: str, value: Any) -> Array:
    """``value`` as a NumPy array that shares its memory where it can; gradients are not followed.

    Raises
    ------
    TypeError
        Where it is no array, or not one in the CPU's memory, or of a dtype that NumPy lacks.
    """
    if is_tensor(value):
        return _from_torch(name, value)
    if kind_of(name, value) is None:
        return as_array(name, value)
    device = value.__dlpack_device__()
    if device[0] != CPU:
        raise TypeError(
            f"{name} lies on DLPack device {tuple(map(int, device))}, not in the CPU's memory; copy it there"
        )
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        # DLPack has no name for some dtypes, and NumPy none for some of DLPack's (bfloat16).
        if hasattr(value, "__array__"):
            return np.asarray(value)
        raise TypeError(f"{name} cannot be read as a NumPy array: {error}") from None


def _from_torch(name: str, tensor: Any) -> Array:
    if tensor.device.type != "cpu":
        raise TypeError(f"{name} lies on device {str(tensor.device)!r}, not in the CPU's memory; pass {name}.cpu()")
    if str(tensor.layout) != "torch.strided":
        raise TypeError(f"{name} has layout {tensor.layout}, not torch.strided; pass {name}.to_dense()")
    plain = tensor.detach().resolve_conj().resolve_neg()
    if str(plain.dtype) == "torch.bfloat16":
        array: Array = plain.view(sys.modules["torch"].int16).numpy().view(_bfloat16(name))
        return array
    try:
        array = plain.numpy()
    except (RuntimeError, TypeError) as error:
        raise TypeError(f"{name} of dtype {plain.dtype} cannot be read as a NumPy array: {error}") from None
    return array


def _bfloat16(name: str) -> np.dtype[Any]:
    """NumPy's dtype for bfloat16, which another package defines."""
    try:
        ml_dtypes = load_module("ml_dtypes")
    except ImportError:
        raise TypeError(f"{name}: NumPy knows bfloat16 with the package ml_dtypes only") from None
    result: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return result


def numpy_dtype(name: str, tensor: Any) -> np.dtype[Any]:
    """NumPy's dtype of a torch tensor's elements."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    try:
        return _bfloat16(name) if dtype == "bfloat16" else np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"{name} of dtype {tensor.dtype} has no NumPy dtype: {error}") from None


def to_tensor(value: Any) -> Any:
    """A torch tensor that shares memory with ``value`` where it can; torch must have been imported."""
    return value if is_tensor(value) else _to_torch(np.require(as_array("array", value), None, "W"))


def to_dtype(dtype: Any) -> Any:
    """``dtype`` as NumPy takes it, where it is one of torch's."""
    name = str(dtype)
    if not name.startswith("torch."):
        return dtype
    return _bfloat16("dtype") if name == "torch.bfloat16" else name.removeprefix("torch.")


def _to_torch(array: Array) -> Any:
    torch = sys.modules["torch"]
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _namespace(name: str, value: Any) -> Any:
    """The array API's functions for ``value``."""
    if hasattr(value, "__array_namespace__"):
        return value.__array_namespace__()
    try:
        compat = load_module("array_api_compat")
    except ImportError:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(
            f"{name} is a {kind}, which has DLPack but no __array_namespace__; results of its kind can be made only "
            "with the package array-api-compat"
        ) from None
    return compat.array_namespace(value)


def _to_namespace(namespace: Any, array: Array) -> Any:
    try:
        return namespace.from_dlpack(array)
    except Exception:  # whatever the library raises for a dtype or an alignment that it does not take without a copy
        return namespace.asarray(array)
