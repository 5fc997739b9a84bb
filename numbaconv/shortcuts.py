"""Calls that were made before, made again without Python's code between the caller's arrays and the kernels.

Of a convolution of 8x8 by 3x3, Python's code took nine tenths of the time, and 7 of the 27 us of a depthwise layer on
two threads: finding the plan, flat views, scratch and Numba's conversion of nine arguments. ``kernels.again`` does all
that in machine code, found by a key of its own. A layer keeps its calls beside its packed weights, plain calls are in
one dictionary.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from . import runtime
from .arrays import ALIGNED_BYTES, LINE_BYTES, READABLE, Array, address_of, new_array
from .executable import Executable
from .forks import load_module
from .kernels import geometry as at
from .kernels.blocking import PACK_SCRATCH

#: Calls that are remembered; beyond that all are forgotten. And those of a layer.
KEPT: Final = 4096
LAYER_KEPT: Final = 64
#: Whether machine code can read arrays: in memory of 64 bits, where objects begin as usual.
POSSIBLE: Final = READABLE and object.__basicsize__ == 16 and ctypes.sizeof(ctypes.c_void_p) == 8
#: Python has one object of each of these integers.
_SMALL: Final = range(-5, 257)
#: The C functions that machine code calls, by the words of the state.
_FUNCTIONS: Final = {
    "TUPLE_SIZE": "PyTuple_Size", "TUPLE_ITEM": "PyTuple_GetItem", "NEW_BYTES": "PyBytes_FromStringAndSize",
    "BYTES_DATA": "PyBytes_AsString", "FIND": "PyDict_GetItemWithError", "ERROR": "PyErr_Occurred",
    "CALL": "PyObject_CallObject", "TAKE": "Py_IncRef", "GIVE": "Py_DecRef", "ALLOCATE": "PyMem_RawMalloc",
    "FREE": "PyMem_RawFree", "NO_MEMORY": "PyErr_NoMemory", "LEAVE": "PyEval_SaveThread",
    "ENTER": "PyEval_RestoreThread", "CONTEXT": "PyContextVar_Get",
}  # fmt: skip
_FASTCALL: Final = 0x80


class _MethodDef(ctypes.Structure):
    """Python's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


#: Calls of the public functions.
plain: Final[dict[Any, Any]] = {}


def _nothing(*_arguments: Any) -> Any:
    """What :data:`call` is before the first call that is remembered."""


#: ``call(table, ndim, input, weight, bias, options)``: the result of a remembered call, else None. Options, and the
#: items of those that are tuples, are told apart by their addresses.
call: Callable[..., Any] = _nothing
#: Executables that were run once, by their identities, until there is machine code.
_once: Final[set[int]] = set()
#: How often plans have been forgotten, and the state that tells machine code so.
_forgotten = 0
_state: Array = np.zeros(0, np.int64)


def _made() -> Callable[..., Any]:
    """:data:`call`, compiled."""
    global call, _state
    if call is _nothing:
        with runtime.compiling():
            again = load_module(".kernels.again")
            function = runtime.begin(again.call_again, (), "intp").address
            if call is _nothing:
                _state = np.zeros(again.STATE_LENGTH, np.int64)
                for word, name in _FUNCTIONS.items():
                    address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
                    _state[getattr(again, word)] = address
                objects = {"ARRAY": np.ndarray, "TUPLE": tuple, "NONE": None, "LIMIT": runtime.limit}
                for word, value in objects.items():
                    _state[getattr(again, word)] = id(value)
                _state[again.FORGOTTEN], _state[again.FORKED] = _forgotten, runtime.forked()
                method = _MethodDef(b"call", function, _FASTCALL, None)
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(method))  # Python looks at it when the process ends, too
                make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
                    ("PyCFunction_NewEx", ctypes.pythonapi)
                )
                call = make(ctypes.addressof(method), _state, None)
    return call


class Recorder:
    """Sees to it that a call which is just made will be made by machine code, where that can make it.

    Parameters
    ----------
    packs : dict or None
        Where a layer keeps its packed weights, by their layout; None for a plain call.
    arrays : sequence of three
        The input, the weight and the bias, as the caller gave them.
    """

    __slots__ = ("arrays", "forgotten", "ndim", "options", "packs")

    def __init__(
        self, packs: dict[Any, Any] | None, ndim: int, arrays: Sequence[Any], options: tuple[Any, ...]
    ) -> None:
        self.packs, self.ndim, self.arrays, self.options = packs, ndim, arrays, options
        self.forgotten = _forgotten

    def give_up(self) -> None:
        """Something else was done."""

    def convolution(
        self, executable: Executable, _x: Array, _weight: Array, _bias: Array | None, out: Array, _packed: bool
    ) -> None:
        """A convolution was computed of the arrays as they are, batched, into a new array."""
        layer = self.packs is not None
        parallel = executable.parallel or (not layer and executable.parallel_packing)
        if not POSSIBLE or executable.plan.geometry[at.UNPACKED] != 0 or (parallel and not _worth(executable)):
            return
        x, weight, bias = self.arrays
        given = [array for array in self.arrays if array is not None]
        fits = (
            layer or bias is None or (bias.dtype == executable.dtype and bias.flags.c_contiguous and bias.flags.aligned)
        )
        # A call whose options or dtypes are new objects each time would be remembered each time, and never found.
        fits = fits and all(array.dtype is np.dtype(array.dtype.type) for array in given)
        if not fits or not all(_lasting(option, layer) for option in self.options) or self.forgotten != _forgotten:
            return
        table = _room_in(self.packs)
        packed = None if self.packs is None else self.packs[executable.layout]
        shape = out.shape[1:] if out.ndim > x.ndim else out.shape
        # Beside what the call needs, all that it, or its key, names by address.
        kept = (executable, packed, self.options, [array.dtype for array in given])
        make = new_array if out.nbytes >= ALIGNED_BYTES else np.empty
        key = _made()(None, self.ndim, x, weight, bias, self.options)
        table[key] = (_ticket(executable, packed), make, (shape, executable.dtype), kept)


def _worth(executable: Executable) -> bool:
    """Whether a call that runs on several threads is to be made by machine code, where nothing is compiled for one.

    Numba's workqueue takes one call at a time, which :func:`numbaconv.runtime.launch` sees to; and what
    ``numbaconv.threads`` allows is asked by Python's code. With ``threads(1)`` no thread is ever started, nor here.
    """
    if runtime.limit.get() is not None or (not runtime.forked() and runtime.threading_layer() == "workqueue"):
        return False
    if call is _nothing and id(executable) not in _once:
        if len(_once) >= KEPT:
            _once.clear()
        _once.add(id(executable))
        return False
    prepare(several=not runtime.forked())
    return True


def prepare(several: bool) -> None:
    """Compile what makes calls, and what makes those that take ``several`` threads."""
    _made()
    again = load_module(".kernels.again")
    if several and _state[again.RUN_SLOTS] == 0:
        _, _state[again.COUNT_THREADS], _, _state[again.ON_THREADS] = runtime.thread_functions()
        _state[again.RUN_SLOTS] = runtime.native(again.run_slots, ())


def _after_fork_in_child() -> None:
    """Start no threads in a forked child; see :func:`numbaconv.runtime.thread_count`."""
    if _state.size:
        _state[load_module(".kernels.again").FORKED] = runtime.forked()


if hasattr(os, "register_at_fork"):  # runtime's comes first
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _ticket(executable: Executable, packed: Array | None) -> bytes:
    """The numbers of a call that machine code asks for."""
    again, itemsize = load_module(".kernels.again"), executable.dtype.itemsize
    ticket = np.zeros(again.TICKET_LENGTH, np.int64)
    ticket[again.TASKS] = executable.tasks
    ticket[again.ROWS] = address_of(executable.rows)
    ticket[again.GEOMETRY] = address_of(executable.geometry)
    ticket[again.INPUT_BACK] = executable.geometry[at.X_START] * itemsize
    ticket[again.WEIGHT_BACK] = executable.geometry[at.WEIGHT_START] * itemsize
    ticket[again.PARALLEL], ticket[again.LACKING] = executable.parallel, executable.complete is not None
    ticket[again.SHARED_BYTES] = executable.shared * itemsize
    ticket[again.THREAD_BYTES] = executable.scratch * itemsize
    if packed is None:
        ticket[again.PACK] = executable.pack
        ticket[again.PARALLEL_PACK] = executable.parallel_packing
        ticket[again.THREAD_BYTES] = max(executable.scratch, PACK_SCRATCH) * itemsize
        ticket[again.PACKED_BYTES] = -(-executable.packed_elements * itemsize // LINE_BYTES) * LINE_BYTES
    else:
        ticket[again.PACKED] = address_of(packed)
    return ticket.tobytes()


def _room_in(packs: dict[Any, Any] | None) -> dict[Any, Any]:
    """The dictionary of a layer's calls, or of plain ones; a full one is emptied."""
    if packs is None:
        if len(plain) >= KEPT:
            plain.clear()
        return plain
    calls = [key for key in list(packs) if type(key) is bytes]
    if len(calls) >= LAYER_KEPT:
        for key in calls:
            packs.pop(key, None)
    return packs


def forget() -> None:
    """Plan every call again, layers', too."""
    global _forgotten
    _forgotten += 1
    _state[:1] = _forgotten  # kernels.again.FORGOTTEN, which is part of all keys
    plain.clear()


def _lasting(option: Any, layer: bool, within: bool = False) -> bool:
    """Whether an option's address stands for its value: a layer's lives with it, of others there must be only one."""
    if type(option) is tuple:
        return (layer or not within) and all(_lasting(item, layer, within=True) for item in option)
    if type(option) is int:
        return layer or option in _SMALL
    return option is None or (type(option) is str and (layer or sys.intern(option) is option))
