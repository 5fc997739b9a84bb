"""Reads where the memory of a DLPack object lies. NumPy reads such objects in the CPU's memory only."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor, as version 0.x and 1.x of the standard lay it out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


#: The standard's codes of types.
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


def read(name: str, value: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], np.dtype[Any], int]:
    """Address, shape, strides in bytes, dtype and device; the object orders its work before the default stream's."""
    capsule = value.__dlpack__(stream=1)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    kind, bits = _KINDS.get(tensor.dtype.code), tensor.dtype.bits
    dtype_name = "bool" if kind == "bool" else f"{kind}{bits}"
    try:
        if kind == "bfloat":
            import ml_dtypes

            dtype = np.dtype(ml_dtypes.bfloat16)
        else:
            dtype = np.dtype(dtype_name)
    except (ImportError, TypeError):
        raise TypeError(f"{name} holds {dtype_name}, which NumPy has no dtype for") from None
    if tensor.dtype.lanes != 1:
        raise TypeError(f"{name} holds vectors of {tensor.dtype.lanes} numbers")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    if tensor.strides:
        strides = tuple(tensor.strides[i] * dtype.itemsize for i in range(tensor.ndim))
    else:
        strides, step = (), dtype.itemsize
        for size in reversed(shape):
            strides, step = (step, *strides), step * size
    return (tensor.data or 0) + tensor.byte_offset, shape, strides, dtype, tensor.device_id
