"""Small calls that were made before, made again without Python's code between the caller's arrays and the kernels.

Of a convolution of 8x8 by 3x3, Python's code took nine tenths of the time: finding the plan, flat views, scratch and
Numba's conversion of nine arguments. ``kernels.again`` does all that in machine code, found by a key of its own. A
layer keeps its calls beside its packed weights, plain calls are in one dictionary.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from . import runtime
from .arrays import LINE_BYTES, READABLE, Array, address_of
from .executable import Executable
from .forks import load_module
from .kernels import geometry as at

#: Calls that a dictionary holds, at most.
KEPT: Final = 4096
#: The C functions that machine code calls, by the words of the state.
_FUNCTIONS: Final = {
    "TUPLE_ITEM": "PyTuple_GetItem", "NEW_BYTES": "PyBytes_FromStringAndSize", "BYTES_DATA": "PyBytes_AsString",
    "FIND": "PyDict_GetItemWithError", "ERROR": "PyErr_Occurred", "NO_MEMORY": "PyErr_NoMemory",
    "CALL": "PyObject_CallObject", "TAKE": "Py_IncRef", "GIVE": "Py_DecRef", "ALLOCATE": "PyMem_RawMalloc",
    "FREE": "PyMem_RawFree", "LEAVE": "PyEval_SaveThread", "ENTER": "PyEval_RestoreThread",
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
    """What :data:`call` is before the first small call: nothing is remembered yet."""


#: ``call(table, ndim, input, weight, bias, options)``: the result of a remembered call, else None. Options are told
#: apart by their addresses.
call: Callable[..., Any] = _nothing
#: Its state, and what Python made it of: all that must live as long as the process.
_state: Array = np.zeros(0, np.int64)
_method: Any = None


def begin() -> runtime.Native:
    """Begin to compile :data:`call`."""
    return runtime.begin(load_module(".kernels.again").call_again, (), "intp")


def _made() -> Callable[..., Any]:
    """:data:`call`, compiled."""
    global call, _state, _method
    if call is _nothing:
        with runtime.compiling():
            function = begin().address
            if call is _nothing:
                again = load_module(".kernels.again")
                _state = np.zeros(again.STATE_LENGTH, np.int64)
                for word, name in _FUNCTIONS.items():
                    address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
                    _state[getattr(again, word)] = address
                for word, value in {"ARRAY": np.ndarray, "NONE": None, "EMPTY": np.empty}.items():
                    _state[getattr(again, word)] = id(value)
                _method = _MethodDef(b"call", function, _FASTCALL, None)
                make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
                    ("PyCFunction_NewEx", ctypes.pythonapi)
                )
                call = make(ctypes.addressof(_method), _state, None)
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

    __slots__ = ("arrays", "ndim", "options", "packs")

    def __init__(
        self, packs: dict[Any, Any] | None, ndim: int, arrays: Sequence[Any], options: tuple[Any, ...]
    ) -> None:
        self.packs, self.ndim, self.arrays, self.options = packs, ndim, arrays, options

    def give_up(self) -> None:
        """Something else was done."""

    def convolution(
        self, executable: Executable, _x: Array, _weight: Array, _bias: Array | None, out: Array, _packed: bool
    ) -> None:
        """A convolution was computed of the arrays as they are, batched, into a new array."""
        room, table = (executable.once, plain) if self.packs is None else (executable.alone, self.packs)
        if not room or executable.complete is not None or len(table) >= KEPT or not READABLE:
            return
        x, weight, bias = self.arrays
        fits = bias is None or (bias.dtype == executable.dtype and bias.flags.c_contiguous and bias.flags.aligned)
        if not (fits or self.packs is not None) or not all(map(_lasting, self.options)):
            return
        packed = None if self.packs is None else self.packs[executable.layout]
        shape = out.shape[1:] if out.ndim > x.ndim else out.shape
        # Beside what the call needs, all that it, or its key, names by address.
        kept = (executable, packed, self.options, [None if array is None else array.dtype for array in self.arrays])
        key = _made()(None, self.ndim, x, weight, bias, self.options)
        table[key] = (_ticket(executable, packed, room), (shape, executable.dtype), kept)


def _ticket(executable: Executable, packed: Array | None, room: int) -> bytes:
    """The numbers of a call that machine code asks for; ``room`` counts elements of memory."""
    again, itemsize = load_module(".kernels.again"), executable.dtype.itemsize
    ticket = np.zeros(again.TICKET_LENGTH, np.int64)
    ticket[again.TASKS] = executable.tasks
    ticket[again.ROWS] = address_of(executable.rows)
    ticket[again.GEOMETRY] = address_of(executable.geometry)
    ticket[again.INPUT_BACK] = executable.geometry[at.X_START] * itemsize
    ticket[again.WEIGHT_BACK] = executable.geometry[at.WEIGHT_START] * itemsize
    ticket[again.SCRATCH_BYTES] = room * itemsize
    if packed is None:
        ticket[again.PACK] = executable.pack
        ticket[again.PACKED_BYTES] = -(-executable.packed_elements * itemsize // LINE_BYTES) * LINE_BYTES
    else:
        ticket[again.PACKED] = address_of(packed)
    return ticket.tobytes()


def forget() -> None:
    """Plan every call again, layers', too."""
    plain.clear()
    _state[:1] += 1  # kernels.again.FORGOTTEN, which is part of all keys


def _lasting(option: Any) -> bool:
    """Whether an option cannot change as long as it lives, so that its address may stand for it."""
    if type(option) is tuple:
        return all(map(_lasting, option))
    return option is None or type(option) in (int, str)
