"""Arrays in and out: what is accepted, in which dtype it is computed, and how a kernel sees it."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
#: Candidate solutions that NumPy tries before an overlap counts as too costly to decide; an `int`, whatever its stubs
#: say.
EFFORT: Final[Any] = 100_000
SINGLE: Final[np.dtype[Any]] = np.dtype(np.float32)
#: The dtypes that kernels compute in.
KERNEL_DTYPES: Final = (SINGLE, *map(np.dtype, (np.float64, np.int16, np.int32, np.int64)))
#: The dtypes of results; bfloat16 is one of the package ml_dtypes'.
COMPUTED: Final = frozenset(
    ["bool", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
#: Bytes of a cache line.
LINE_BYTES: Final = 64
#: Bytes from which new arrays start on a cache line: smaller ones would gain less than it takes, 2 us.
ALIGNED_BYTES: Final = 2**16
LISTED: Final = "bool, integers, float16, bfloat16, float32, float64, complex64 and complex128"


def as_array(name: str, value: Any) -> Array:
    """``value`` as a plain NumPy array: arrays, their subclasses (as base arrays), nested sequences and scalars.

    Masked arrays, and the arrays of other libraries, are refused: what they carry beyond numbers would be lost in
    silence.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose mask a convolution would ignore; pass {name}.filled(...) or {name}.data"
        )
    if isinstance(value, (np.ndarray, np.generic, list, tuple, int, float, complex)):
        try:
            return np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} is not an array: {error}") from None
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"{name} must be a NumPy array; got {kind}; convert it with numpy.asarray({name})")


def address_of(array: Array) -> int:
    """Where an array's first element lies in memory."""
    address: int = array.__array_interface__["data"][0]
    return address


class _ArrayObject(ctypes.Structure):
    """The beginning of NumPy's PyArrayObject, which is part of its C interface."""

    _fields_ = (("head", ctypes.c_char * object.__basicsize__), ("data", ctypes.c_ssize_t))


def _address_in_object(array: Array) -> int:
    """As :func:`address_of`, in 0.1 instead of 0.85 us (AMD EPYC, Zen 5): of three of them, half a small call."""
    address: int = _array_object(id(array)).data
    return address


_array_object = _ArrayObject.from_address
#: Whether arrays can be read where they lie, by the layout of NumPy's C interface, and Python has its lock for that.
READABLE: Final = (
    sys.implementation.name == "cpython"
    and getattr(sys, "_is_gil_enabled", lambda: True)()
    and _address_in_object(sample := np.empty(1)) == address_of(sample)
)
if READABLE:
    address_of = _address_in_object


def new_array(shape: Sequence[int], dtype: np.dtype[Any], least: int = ALIGNED_BYTES) -> Array:
    """An uninitialised array which, from ``least`` bytes on, starts on a cache line.

    NumPy's begin 16, 32 or 48 bytes into one, so that each vector stored lies in two: kernels that store from registers
    took 1.4 to 1.5 times as long (1x1 layers, direct_pixels), depthwise layers 1.2, first layers 1.1 (Emerald Rapids).
    """
    size = math.prod(shape) * dtype.itemsize
    if size < least or dtype.hasobject:
        return np.empty(shape, dtype)
    memory = np.empty(size + LINE_BYTES, np.uint8)
    result: Array = np.ndarray(shape, dtype, memory, -address_of(memory) % LINE_BYTES)
    return result


def fill(out: Array, channels_last: bool, bias: Array | None, activation: str | None) -> None:
    """The result of summing nothing: the bias of each channel of ``out``."""
    values = np.zeros(out.shape[-1 if channels_last else 1], out.dtype) if bias is None else bias.astype(out.dtype)
    if activation == "relu":
        values = np.maximum(values, 0)
    out[...] = values if channels_last else values.reshape(-1, *[1] * (out.ndim - 2))


def check_numbers(name: str, array: Array) -> None:
    """Raise TypeError for an array of anything but numbers and booleans."""
    if array.dtype.kind not in "biufc" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold numbers; its dtype is {array.dtype}")


def check_real(activation: str | None, dtype: np.dtype[Any]) -> None:
    """Raise TypeError for an activation that complex numbers do not have."""
    if activation is not None and dtype.kind == "c":
        raise TypeError(f"activation {activation!r} needs real numbers; the result's dtype is {dtype}")


def parameter_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of a layer's initial parameters."""
    try:
        result: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must name a NumPy dtype; got {dtype!r}") from None
    if result.name not in COMPUTED or not np.can_cast(SINGLE, result, "same_kind"):
        raise TypeError(f"parameters must be floating-point or complex numbers; dtype is {result}")
    return result


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that sums of a dtype are made in: float32 for the 16-bit floats, else the same."""
    return SINGLE if dtype.name in ("float16", "bfloat16") else dtype


def result_dtype(arrays: Mapping[str, Any], dtype: Any) -> np.dtype[Any]:
    """The dtype of accumulation and result: ``dtype``, or NumPy's promotion of the arrays' dtypes."""
    present = {name: array for name, array in arrays.items() if array is not None}
    described = ", ".join(f"{name} is {array.dtype}" for name, array in present.items())
    if dtype is None:
        try:
            result = np.result_type(*(array.dtype for array in present.values()))
        except TypeError:
            raise TypeError(f"these dtypes have no common one: {described}") from None
        how = f"{described}, which give {result}; dtype= chooses another"
    else:
        try:
            result = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must name a NumPy dtype; got {dtype!r}") from None
        how = f"dtype is {result}"
    native: np.dtype[Any] = result.newbyteorder("=")
    if native.name not in COMPUTED:
        raise TypeError(f"convolutions are computed in {LISTED}; {how}")
    for name, array in present.items():
        between_integers = array.dtype.kind in "iu" and native.kind in "iu"
        if not between_integers and not np.can_cast(array.dtype, native, "same_kind"):
            raise TypeError(f"{name} of dtype {array.dtype} cannot be cast to {native}, which cannot hold it")
    return native


def prepared(array: Array, dtype: np.dtype[Any]) -> Array:
    """``array`` in ``dtype``, native byte order, aligned, with strides of whole elements.

    The array itself where it already is all that.
    """
    if array.dtype == dtype and array.flags.aligned and all(stride % dtype.itemsize == 0 for stride in array.strides):
        return array
    return array.astype(dtype, order="C", copy=True)


def element_strides(array: Array) -> tuple[int, ...]:
    """Strides counted in elements."""
    return tuple(stride // array.itemsize for stride in array.strides)


def common_stride(sizes: Sequence[int], strides: Sequence[int]) -> int | None:
    """The one stride by which all cells of some dimensions are reached in order, or None where there is none."""
    step, expected = 1, None
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size == 1:
            continue
        if expected is None:
            step = expected = stride
        elif stride != expected:
            return None
        expected *= size
    return step


def flat_start(array: Array) -> int:
    """Where element (0, 0, ...) lies in :func:`flat`, in elements: after all that negative strides reach back."""
    return sum(
        -stride * (size - 1) for size, stride in zip(array.shape, element_strides(array), strict=True) if stride < 0
    )


def flat(array: Array, writeable: bool = False) -> Array:
    """All memory from the lowest to the highest element as one contiguous dimension, without a copy.

    Kernels get every array like this, with strides beside it, so that each dtype is compiled once, whatever the
    layout. Inputs are marked read-only: that is part of Numba's type, too. The array must not be empty.
    """
    view: Array
    if array.flags.c_contiguous:
        view = array.ravel()
    else:
        lowest = array[tuple(slice(None, None, -1) if stride < 0 else slice(None) for stride in array.strides)]
        reach = sum((size - 1) * abs(stride) for size, stride in zip(array.shape, element_strides(array), strict=True))
        view = np.lib.stride_tricks.as_strided(lowest, (reach + 1,), (array.itemsize,))
    if not writeable:
        view.setflags(False)  # type: ignore[call-arg]  # by name it takes twice as long, by its flags three times
    return view


def check_out(out: Any, shape: Sequence[int], dtype: np.dtype[Any], inputs: dict[str, Array | None]) -> Array:
    """``out`` where the result may be written into it; else ValueError or TypeError."""
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError("out is a masked array, whose mask a convolution would ignore; pass out.data")
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array; got {type(out).__module__}.{type(out).__qualname__}")
    if out.shape != tuple(shape):
        raise ValueError(f"out must have the result's shape {tuple(shape)}; got {out.shape}")
    if out.dtype != dtype:
        raise TypeError(f"out must have the result's dtype {dtype}; got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if _shares_itself(out):
        raise ValueError(f"out has elements that share memory (shape {out.shape}, strides {out.strides})")
    for name, array in inputs.items():
        if array is not None and _overlap(out, array):
            raise ValueError(f"out overlaps {name} in memory")
    return out


def result_array(
    out: Array | None,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    inputs: dict[str, Array | None],
    unbatched: bool = False,
) -> Array:
    """``out``, checked, or a new array. Of unbatched inputs ``out`` lacks the first dimension of ``shape``."""
    if out is None:
        return new_array(shape, dtype)
    if not unbatched:
        return check_out(out, shape, dtype, inputs)
    checked: Array = check_out(out, shape[1:], dtype, inputs)[None]
    return checked


def _shares_itself(array: Array) -> bool:
    """Whether elements of one array may share memory: unless each dimension steps over all smaller ones."""
    reach = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size > 1 and stride < reach:
            return array.size > 0
        reach += stride * (size - 1)
    return False


def _overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share an element; where that is too costly to decide, whether their extents do."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=EFFORT))
    except np.exceptions.TooHardError:
        return True
