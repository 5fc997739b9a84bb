"""Launches kernels: each is loaded once for each signature and device."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .compiling import Kind, binary
from .shim import PACKAGE, SIMULATED, cuda
from .views import Memory

_lock = threading.Lock()


class Integers(NamedTuple):
    """A tuple of integers of one type, as an argument of a kernel."""

    values: tuple[int, ...]
    type_name: str


@dataclasses.dataclass(frozen=True)
class Device:
    """Where a call runs.

    Attributes
    ----------
    number : int
        CUDA's number of the device.
    stream : int
        The address of the stream; 0 is the default one.
    capability : tuple of int
        The device's compute capability.
    empty : callable
        ``empty(elements, dtype)`` is fresh memory, from the library that the call's arrays are of.
    """

    number: int
    stream: int
    capability: tuple[int, int]
    empty: Callable[[int, np.dtype[Any]], Memory]

    def launch(self, kernel: Callable[..., None], grid: Sequence[int], threads: int, *arguments: Any) -> None:
        """Start a kernel on the stream. ``arguments`` are Memory, Integers and NumPy's scalars."""
        if 0 in grid:
            return
        if SIMULATED:
            with _lock:
                _simulated(kernel)[tuple(grid), threads](*map(_simulated_value, arguments))
            return
        kinds = tuple(map(_kind, arguments))
        parameters = np.concatenate([slots(argument) for argument in arguments])
        places = parameters.ctypes.data + np.arange(len(parameters), dtype=np.uint64) * np.uint64(SLOT)
        blocks = (*grid, 1, 1)[:3]
        with cuda.gpus[self.number]:
            with _lock:
                function = _function(kernel, kinds, self.capability, self.number)
            _driver("cuLaunchKernel", function, *blocks, threads, 1, 1, 0, self.stream, places.ctypes.data, 0)

    def kept(self, table: np.ndarray[Any, Any]) -> Memory:
        """A read-only table of integers in the device's memory; it stays there for further calls with the same one."""
        key = (self.number, id(table))
        found = _tables.get(key)
        if found is None:
            if len(_tables) >= TABLES_KEPT:
                _tables.clear()
            with contextlib.nullcontext() if SIMULATED else cuda.gpus[self.number]:
                array = cuda.to_device(table.reshape(-1))
                cuda.synchronize()
            address = 0 if SIMULATED else array.device_ctypes_pointer.value
            memory = Memory(array if SIMULATED else address, table.dtype, array, address)
            found = _tables[key] = (table, memory)
        return found[1]


#: Tables that are kept on devices; beyond that all are forgotten.
TABLES_KEPT: Final = 256
#: By device and identity; the table is kept, too, so that no other one gets its identity.
_tables: dict[tuple[int, int], tuple[Any, Memory]] = {}


#: Bytes that are kept for a parameter; the largest is a complex128.
SLOT: Final = 16


def slots(argument: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A kernel's parameters for one argument, one in a row of ``SLOT`` bytes: a tuple is many of them.

    A complex number is one to numba-cuda-mlir, and two to numba-cuda.
    """
    if isinstance(argument, Memory):
        numbers = np.array([argument.handle], np.uint64)
    elif isinstance(argument, Integers):
        numbers = np.array(argument.values, argument.type_name)
    else:
        numbers = np.atleast_1d(argument)
        if numbers.dtype.kind == "c" and PACKAGE == "numba-cuda":
            numbers = numbers.view(numbers.real.dtype)
    rows = np.zeros((len(numbers), SLOT // 8), np.uint64)
    rows.view(np.uint8)[:, : numbers.itemsize] = numbers.view(np.uint8).reshape(len(numbers), -1)
    return rows


def _simulated_value(argument: Any) -> Any:
    if isinstance(argument, Memory):
        return argument.handle
    return argument.values if isinstance(argument, Integers) else argument


def _kind(argument: Any) -> Kind:
    """What the type of an argument follows from."""
    if isinstance(argument, Memory):
        return "memory", argument.dtype
    if isinstance(argument, Integers):
        return argument.type_name, len(argument.values)
    return "scalar", argument.dtype


@functools.cache
def _simulated(kernel: Callable[..., None]) -> Any:
    return cuda.jit(kernel)


@functools.cache
def _function(kernel: Callable[..., None], kinds: tuple[Kind, ...], capability: tuple[int, int], number: int) -> Any:
    """A kernel, loaded on a device, which is the current one."""
    made = binary(kernel, kinds, capability)
    return _driver("cuModuleGetFunction", _driver("cuModuleLoadData", made.code), made.name.encode())


def _driver(name: str, *arguments: Any) -> Any:
    """The result of one of the driver's functions, or RuntimeError with what it says."""
    from cuda.bindings import driver

    status, *results = getattr(driver, name)(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the GPU's driver refuses {name}: {status.name}")
    return results[0] if results else None
