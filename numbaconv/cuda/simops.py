"""What :mod:`.intrinsics` emits, in plain Python, for Numba's simulator. Names and meanings are the same.

Integers wrap at 32 bits as they do there. Asynchronous copies arrive no earlier than they are waited for. The matrix
operations follow the tables of NVIDIA's PTX manual, so that the layout of fragments is checked, too: a register is an
array of what all 32 lanes of a warp hold.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MASK = 0xFFFFFFFF


class U32(int):
    """An unsigned 32-bit integer."""

    def __add__(self, other: int) -> U32:
        return U32(int(self) + int(other) & MASK)

    __radd__ = __add__

    def __sub__(self, other: int) -> U32:
        return U32(int(self) - int(other) & MASK)

    def __mul__(self, other: int) -> U32:
        return U32(int(self) * int(other) & MASK)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> U32:
        return U32(int(self) // int(other))

    def __mod__(self, other: int) -> U32:
        return U32(int(self) % int(other))

    def __and__(self, other: int) -> U32:
        return U32(int(self) & int(other))

    def __xor__(self, other: int) -> U32:
        return U32(int(self) ^ int(other))

    def __rshift__(self, other: int) -> U32:
        return U32(int(self) >> int(other))

    def same(self, other: int) -> bool:
        """Whether two integers are equal."""
        return int(self) == int(other)


def u32(value: Any) -> U32:
    """Cut a number to 32 bits."""
    return U32(int(value) & MASK)


def _array(memory: Any) -> Any:
    """The NumPy array of memory that a kernel was given."""
    return getattr(memory, "_item", memory)


_pending = threading.local()


class Operations:
    """The operations that macros are written with."""

    integer = staticmethod(u32)
    real = staticmethod(np.float32)

    @staticmethod
    def fma(a: Any, b: Any, c: Any) -> Any:
        return np.float32(float(a) * float(b) + float(c))

    @staticmethod
    def select(condition: bool, a: Any, b: Any) -> Any:
        return a if condition else type(a)(b)

    @staticmethod
    def negative(value: Any) -> bool:
        return bool(value < 0)

    @staticmethod
    def load(memory: Any, index: U32) -> Any:
        value = memory[int(index)]
        return u32(value) if np.dtype(type(value)).kind in "iu" else np.float32(value)

    @staticmethod
    def store(memory: Any, index: U32, value: Any) -> None:
        memory[int(index)] = value

    @staticmethod
    def store_if(condition: bool, memory: Any, index: U32, value: Any) -> None:
        if condition:
            memory[int(index)] = value

    @staticmethod
    def load4(memory: Any, index: U32) -> list[Any]:
        if index % 4:
            raise ValueError(f"four elements from {int(index)} are not aligned")
        return [Operations.load(memory, u32(index + i)) for i in range(4)]

    @staticmethod
    def thread() -> U32:
        return u32(threading.current_thread().threadIdx.x)  # type: ignore[attr-defined]

    @staticmethod
    def fetch(memory: Any, index: U32) -> Any:
        return Operations.load(memory, index)

    @staticmethod
    def fetch4(memory: Any, index: U32) -> list[Any]:
        return Operations.load4(memory, index)

    @staticmethod
    def store4(memory: Any, index: U32, values: Sequence[Any]) -> None:
        if index % 4:
            raise ValueError(f"four elements from {int(index)} are not aligned")
        for i, value in enumerate(values):
            memory[int(index) + i] = value

    @staticmethod
    def store4_if(condition: bool, memory: Any, index: U32, values: Sequence[Any]) -> None:
        if condition:
            Operations.store4(memory, index, values)

    @staticmethod
    def store2_if(condition: bool, memory: Any, index: U32, values: Sequence[Any]) -> None:
        if condition and index % 2:
            raise ValueError(f"two elements from {int(index)} are not aligned")
        for i, value in enumerate(values):
            Operations.store_if(condition, memory, u32(index + i), value)

    @staticmethod
    def copy_chunk(shared: Any, to: U32, source: Any, chunk: U32, inside: bool) -> None:
        """The bytes are read at once and written when they are waited for."""
        data = _bytes(source)[16 * int(chunk) : 16 * int(chunk) + 16].copy() if inside else np.zeros(16, np.uint8)
        if data.size != 16:
            raise IndexError(f"chunk {int(chunk)} is out of bounds")
        copies = _copies()
        copies[-1].append((shared, int(to), data))

    @staticmethod
    def commit() -> None:
        _copies().append([])

    @staticmethod
    def wait(groups: int) -> None:
        copies = _copies()
        while len(copies) - 1 > groups:
            for shared, to, data in copies.pop(0):
                _bytes(shared)[16 * to : 16 * to + 16] = data

    @staticmethod
    def matrices(shared: Any, chunk_of: Callable[[U32], U32], lane: U32) -> list[Any]:
        """Four registers, as 32 lanes of 4 bytes each."""

        def read() -> list[Any]:
            memory = _bytes(shared)
            rows = np.array([memory[16 * int(chunk_of(u32(one))) :][:16] for one in range(32)])
            return [rows[8 * i : 8 * i + 8].reshape(32, 4) for i in range(4)]

        registers: list[Any] = _of_warp(read)
        return registers

    @staticmethod
    def rounded(registers: Sequence[Any], kind: str) -> Sequence[Any]:
        """TF32 has 10 bits of mantissa; halves are rounded away from zero."""
        if kind != "tf32":
            return registers

        def nearest() -> list[Any]:
            bits = [register.reshape(-1).view(np.uint32) for register in registers]
            return [((word + 0x1000) & 0xFFFFE000).view(np.uint8).reshape(32, 4) for word in bits]

        result: list[Any] = _of_warp(nearest)
        return result

    @staticmethod
    def multiply(kind: str, a: Sequence[Any], b: Sequence[Any], c: Sequence[Any], lane: U32) -> list[Any]:
        """The lane's sums: (row, column) = (lane // 4 [+ 8 for the last two], 2 * (lane % 4) [+ 1])."""

        def multiplied() -> Any:
            rows = [np.concatenate([_numbers(a[i], kind), _numbers(a[i + 2], kind)], 1) for i in (0, 1)]
            columns = np.concatenate([_numbers(b[0], kind), _numbers(b[1], kind)], 1)
            return np.concatenate(rows) @ columns.T

        product = _of_warp(multiplied)
        row, column = int(lane) // 4, 2 * (int(lane) % 4)
        return [np.float32(product[row + 8 * j, column + i] + float(c[2 * j + i])) for j in (0, 1) for i in (0, 1)]


_warp_lock = threading.Lock()


def _of_warp(compute: Callable[[], Any]) -> Any:
    """The result of an operation of a whole warp: its first lane to come here computes it for all.

    All lanes do the same operations in the same order, so those are told apart by their number.
    """
    thread: Any = threading.current_thread()
    number = thread.operations = getattr(thread, "operations", 0) + 1
    block = thread._manager
    with _warp_lock:
        results = block.__dict__.setdefault("warp_results", {})
        key = (thread.thread_id // 32, number)
        lanes, result = results[key] if key in results else (0, compute())
        if lanes == 31:
            del results[key]
        else:
            results[key] = (lanes + 1, result)
    return result


def _numbers(register: Any, kind: str) -> Any:
    """A fragment of 8 rows as numbers: (8, 8) of two bytes each, or (8, 4) of four."""
    rows = np.ascontiguousarray(register).reshape(8, 16)
    if kind == "f16":
        return rows.view(np.float16).astype(np.float64)
    if kind == "tf32":
        return rows.view(np.float32).astype(np.float64)
    return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _bytes(memory: Any) -> Any:
    array = _array(memory)
    return getattr(array, "_ary", array).view(np.uint8)


def _copies() -> list[Any]:
    """The groups of copies that this thread started and has not waited for; the last one is open."""
    copies: list[Any] | None = getattr(_pending, "copies", None)
    if copies is None:
        copies = _pending.copies = [[]]
    return copies


def macro(function: Callable[..., Any], returns: int = 0, integers: bool = False, **constants: Any) -> Any:
    """A macro as a function that kernels call."""

    def taken(value: Any) -> Any:
        if isinstance(value, tuple):
            return [taken(item) for item in value]
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, np.integer)):
            return u32(value)
        return np.float32(value) if isinstance(value, (float, np.floating)) else value

    def called(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            made = function(Operations, *map(taken, arguments), **constants)
        if not returns:
            return None
        if len(made) != returns:
            raise ValueError(f"{function.__name__} returned {len(made)} values, not {returns}")
        return tuple(u32(item) if integers else np.float32(item) for item in made)

    return called


_shared_lock = threading.Lock()


def shared_floats(count: int) -> Any:
    """Memory of one block, poisoned. Calls are told apart by their lines, as in the simulator itself."""
    from numba.cuda.simulator import kernel

    caller = sys._getframe(1)
    place = threading.current_thread().blockIdx  # type: ignore[attr-defined]
    key = (caller.f_code.co_filename, caller.f_lineno, tuple(place))
    allocations = kernel._kernel_context._shared._allocations
    with _shared_lock:
        if key not in allocations:
            allocations[key] = np.full(count, np.nan, np.float32)
    return allocations[key]


def load(memory: Any, index: int, like: Any, conjugate: int) -> Any:
    """``memory[index]`` as a number of the type of ``like``; a negative index is an error, not the array's end."""
    if index < 0:
        raise IndexError(f"index {index} is negative")
    value = memory[int(index)]
    number = type(like)(np.float32(value) if value.dtype.itemsize == 2 and value.dtype.kind in "fV" else value)
    return number.conjugate() if conjugate else number


def store(memory: Any, index: int, value: Any, relu: int) -> None:
    """Write a sum; integers wrap around, negative numbers become 0 where ``relu`` is not 0."""
    if index < 0:
        raise IndexError(f"index {index} is negative")
    dtype = _array(memory).dtype
    with np.errstate(all="ignore"):
        number = np.asarray(value).astype(dtype)
        memory[int(index)] = dtype.type(0) if relu and number < 0 else number
