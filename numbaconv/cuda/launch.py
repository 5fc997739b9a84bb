"""Compiles kernels once for each signature and device, and launches them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .shim import SIMULATED, cuda
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
        values = [_value(argument) for argument in arguments]
        if SIMULATED:
            with _lock:
                _simulated(kernel)[tuple(grid), threads](*values)
            return
        signature = tuple(map(_kind, arguments))
        with cuda.gpus[self.number]:
            with _lock:
                compiled = _compiled(kernel, signature, self.capability, self.number)
            _configured(compiled, tuple(grid), threads, self.stream)(*values)

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


def _value(argument: Any) -> Any:
    if isinstance(argument, Memory):
        return argument.handle
    if isinstance(argument, Integers):
        return argument.values
    return argument if SIMULATED else argument.item()


def _kind(argument: Any) -> Any:
    """What the type of an argument follows from."""
    if isinstance(argument, Memory):
        return "memory", argument.dtype
    if isinstance(argument, Integers):
        return argument.type_name, len(argument.values)
    return "scalar", argument.dtype


def numba_type(kind: tuple[str, Any]) -> Any:
    """Numba's type of an argument."""
    from numba.cuda import types

    name, what = kind
    if name in ("memory", "scalar"):
        names = {"bool": "boolean"}
        scalar = getattr(types, names.get(what.name, what.name))
        return types.CPointer(scalar) if name == "memory" else scalar
    return types.UniTuple(getattr(types, name), what)


@functools.cache
def _simulated(kernel: Callable[..., None]) -> Any:
    return cuda.jit(kernel)


@functools.cache
def _compiled(kernel: Callable[..., None], signature: Any, capability: tuple[int, int], number: int) -> Any:
    """A kernel for one device: with a signature of its own, its launches need not look at the arguments' types."""
    # Without link-time optimisation the code is what the tests measure.
    return cuda.jit(signature_of(signature), launch_bounds=launch_bounds(kernel, capability), lto=False)(kernel)


@functools.lru_cache(4096)
def _configured(compiled: Any, grid: tuple[int, ...], threads: int, stream: int) -> Any:
    """A kernel with its grid and stream. Small problems have small grids, which is nothing to warn users of."""
    from numba.cuda.core.errors import NumbaPerformanceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)
        return compiled[grid, threads, cuda.external_stream(stream) if stream else cuda.default_stream()]


def launch_bounds(kernel: Callable[..., None], capability: tuple[int, int]) -> tuple[int, int] | None:
    """(threads of a block, blocks of a multiprocessor) that a kernel asks the compiler to make room for."""
    wanted: dict[int, tuple[int, int]] = getattr(kernel, "launch_bounds", {})
    return wanted.get(capability[0])


def signature_of(kinds: Sequence[tuple[str, Any]]) -> Any:
    """A kernel's signature from its arguments' kinds."""
    from numba.cuda import types

    return types.void(*map(numba_type, kinds))
