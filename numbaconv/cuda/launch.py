"""Launches kernels: each is loaded once for each signature and device. What a call launched can be launched again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .compiling import Kernel, Kind, binary
from .shim import PACKAGE, SIMULATED, cuda
from .views import Memory

_lock = threading.Lock()


class Integers(NamedTuple):
    """A tuple of integers of one type, as an argument of a kernel."""

    values: tuple[int, ...]
    type_name: str


class Launch:
    """A kernel with its grid and arguments; those in memory that differs from call to call can be exchanged."""

    def __init__(self, kernel: Kernel, grid: Sequence[int], threads: int, arguments: Sequence[Any]) -> None:
        self.kernel, self.threads = kernel, threads
        self.grid = (*grid, 1, 1)[:3]
        self.arguments = list(arguments)
        #: The arguments to exchange: which ones (on a GPU their rows among the parameters), and by which memory.
        self.exchanged: list[tuple[int, int]] = []
        self.kinds = tuple(map(_kind, arguments))
        self.function: Any = None
        if not SIMULATED:
            rows = [slots(argument) for argument in arguments]
            self._rows = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
            self.parameters = np.concatenate(rows)
            places = self.parameters.ctypes.data + np.arange(len(self.parameters), dtype=np.uint64) * np.uint64(SLOT)
            self.places = np.ascontiguousarray(places)
            self.address = self.places.ctypes.data

    def exchange(self, numbers: dict[int, int]) -> None:
        """Let further launches take their memory by number; ``numbers`` are by identity, other memory stays."""
        for i, argument in enumerate(self.arguments):
            if isinstance(argument, Memory) and id(argument) in numbers:
                self.exchanged.append((i if SIMULATED else int(self._rows[i]), numbers[id(argument)]))
                self.arguments[i] = None if not SIMULATED else argument  # it is not kept alive

    def start(self, device: Device, handles: Sequence[Any] = ()) -> None:
        """Launch it on the device's stream, its context being current; with others' memory where that was exchanged."""
        if SIMULATED:
            for i, number in self.exchanged:
                self.arguments[i] = handles[number]
            with _lock:
                _simulated(self.kernel)[self.grid, self.threads](*map(_simulated_value, self.arguments))
            return
        for row, number in self.exchanged:
            self.parameters[row, 0] = handles[number]
        if self.function is None:
            with _lock:
                self.function = _function(self.kernel, self.kinds, device.capability, device.number)
        _driver("cuLaunchKernel", self.function, *self.grid, self.threads, 1, 1, 0, device.stream, self.address, 0)


#: Bytes at whose multiples workspaces begin that are allocated as one, as those of allocators do.
APART: Final = 256
BYTE: Final = np.dtype(np.uint8)


class Recording:
    """What a call launched: by which kernels, and in which memory of its arrays, its result and its workspaces."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []
        self.workspaces: list[tuple[int, np.dtype[Any]]] = []
        self.launches: list[Launch] = []
        self.offsets: list[int] = []
        self.bytes = 0
        self.lock = threading.Lock()

    def finish(self) -> None:
        """Keep of the memory nothing but its number."""
        numbers = {id(memory): number for number, memory in enumerate(self.memories)}
        for launch in self.launches:
            launch.exchange(numbers)
        self.memories = []
        for elements, dtype in self.workspaces:
            self.offsets.append(self.bytes)
            self.bytes += -(-max(1, elements) * dtype.itemsize // APART) * APART

    def repeat(self, device: Device, memories: Sequence[Memory]) -> None:
        """Launch everything again: on the arrays' and the result's memory, and on new workspaces, allocated as one."""
        handles = [memory.handle for memory in memories]
        if SIMULATED:
            handles += [device.empty(*each).handle for each in self.workspaces]
        elif self.workspaces:
            together = device.empty(self.bytes, BYTE)
            handles += [together.handle + offset for offset in self.offsets]
        with self.lock, device.current():
            for launch in self.launches:
                launch.start(device, handles)


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
    multiprocessors : int
        How many multiprocessors the device has.
    empty : callable
        ``empty(elements, dtype)`` is fresh memory, from the library that the call's arrays are of.
    recording : Recording or None
        Where the launches are written down.
    """

    number: int
    stream: int
    capability: tuple[int, int]
    multiprocessors: int
    empty: Callable[[int, np.dtype[Any]], Memory]
    recording: Recording | None = None

    def launch(self, kernel: Callable[..., None], grid: Sequence[int], threads: int, *arguments: Any) -> None:
        """Start a kernel on the stream. ``arguments`` are Memory, Integers and NumPy's scalars."""
        if 0 in grid:
            return
        made = Launch(kernel, grid, threads, arguments)
        with self.current():
            made.start(self)
        if self.recording is not None:
            self.recording.launches.append(made)

    def current(self) -> Any:
        """A context within which the device's primary context is the thread's current one.

        Numba's own takes 30 microseconds; mostly the context is current already, as the arrays' library left it.
        """
        if SIMULATED or _current() == _context(self.number):
            return contextlib.nullcontext()
        return cuda.gpus[self.number]

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


def _current() -> int:
    """The thread's current context, 0 for none."""
    return int(_driver("cuCtxGetCurrent"))


@functools.cache
def _context(number: int) -> int:
    """A device's primary context."""
    with cuda.gpus[number]:
        return _current()


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


@functools.cache
def _entry(name: str) -> Any:
    """One of the driver's functions, and what it returns where all is well."""
    from cuda.bindings import driver

    return getattr(driver, name), driver.CUresult.CUDA_SUCCESS


def _driver(name: str, *arguments: Any) -> Any:
    """The result of one of the driver's functions, or RuntimeError with what it says."""
    function, success = _entry(name)
    status, *results = function(*arguments)
    if status != success:
        raise RuntimeError(f"the GPU's driver refuses {name}: {status.name}")
    return results[0] if results else None
