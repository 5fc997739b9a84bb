"""How compiled code finds functions that were compiled elsewhere: by the names of symbols, filled in when it is loaded.

Code that contains the address of a function could not be kept in a cache, and a function called by its Python name is
compiled again for every caller. So calls go through symbols, as Numba's own do to its thread pools (``ll.add_symbol``).
A library of compiled code that uses some has a :class:`Need` in Numba's list of what to do before a cached library is
loaded: it compiles, or loads from the package's cache, what the symbols stand for.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import mmap
import os
import pathlib
from typing import Any, Final, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .. import runtime
from ..forks import load_module

#: Numbers that tell a process how it may call kernels. See the names below.
STATE: Final = "numbaconv_state"
SERIAL: Final = 0  # 1 where no thread may be started: in a forked child, or on the workqueue layer
THREADS: Final = 1  # the address of the function that returns how many threads Numba would use
NESTED: Final = 2  # the address of a function that tells whether it is called in a parallel region, or 0
ADVISE: Final = 3  # the address of madvise, or 0 where there are no large pages
STATE_LENGTH: Final = 4

WORD: Final = ir.IntType(64)


class Memory(NamedTuple):
    """A contiguous array as kernels take it."""

    address: int
    elements: int
    itemsize: int


# ------------------------------------------------------------------------------------- symbols and what they stand for


@functools.cache
def interface() -> str:
    """A digest of the sources that decide what a caller's compiled code looks like."""
    here = pathlib.Path(__file__).parent
    sources = [here.parent / "numba_ext.py", *sorted(here.glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


class Need(NamedTuple):
    """Something that compiled code calls. Calling it makes it ready; equal ones are made once."""

    kind: str
    details: tuple[str, ...] = ()
    interface: str = ""

    def __call__(self) -> None:
        """Make it ready, for code that was compiled with the same interface."""
        if self.interface != interface():
            raise RuntimeError(
                "a function that calls numbaconv was compiled and cached with another version of numbaconv; delete its "
                "cache (the files *.nbi and *.nbc in the __pycache__ beside your module, or in NUMBA_CACHE_DIR)"
            )
        _make(self.kind, self.details)


def need(kind: str, *details: str) -> Need:
    """A need of this version."""
    return Need(kind, details, interface())


@functools.cache
def _make(kind: str, details: tuple[str, ...]) -> None:
    _set_state()
    load_module(".inside.library").make(kind, details)


_tables: dict[str, Any] = {}


def define(name: str, address: int) -> None:
    """Let ``name`` stand for an address in all code that is loaded from now on."""
    llvm.add_symbol(name, address)


def define_table(name: str, addresses: list[int]) -> None:
    """Let ``name`` stand for the place of a table, which lives as long as the process."""
    table = _tables[name] = (ctypes.c_int64 * len(addresses))(*addresses)
    define(name, ctypes.addressof(table))


def table_of(name: str) -> Any:
    """The table that a name stands for, to be changed."""
    return _tables[name]


_state = (ctypes.c_int64 * STATE_LENGTH)(1)


@functools.cache
def _set_state() -> None:
    """Find out about threads, and tell all compiled code."""
    layer, threads, nested, _ = runtime.thread_functions()
    _state[SERIAL] = int(layer == "workqueue" or runtime.forked())
    _state[THREADS] = threads
    _state[NESTED] = nested
    if hasattr(mmap, "MADV_HUGEPAGE"):
        _state[ADVISE] = ctypes.cast(ctypes.CDLL(None).madvise, ctypes.c_void_p).value or 0
    define(STATE, ctypes.addressof(_state))


def _forked() -> None:
    _state[SERIAL] = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# ------------------------------------------------------------------------------------------------------- instructions


def symbol(builder: ir.IRBuilder, name: str) -> ir.Value:
    """The address that a name stands for."""
    module = builder.module
    try:
        known = module.get_global(name)
    except KeyError:
        known = ir.GlobalVariable(module, WORD, name)
        known.linkage = "external"
    return builder.ptrtoint(known, WORD)


def invoke(
    context: Any, builder: ir.IRBuilder, callee: ir.Value, arguments: tuple[Any, ...], values: list[Any]
) -> None:
    """Call a compiled function at an address; what it raises is raised."""
    convention = context.call_conv
    pointer = builder.inttoptr(callee, convention.get_function_type(types.none, arguments).as_pointer())
    status, _ = convention.call_function(builder, pointer, types.none, arguments, values)
    with builder.if_then(status.is_error, likely=False):
        convention.return_status_propagate(builder, status)


def _flat(context: Any, builder: ir.IRBuilder, fields: Any, memory: ir.Value) -> ir.Value:
    """A Numba array of one dimension from a :class:`Memory`, whose fields have some types."""
    first, count, itemsize = (
        context.cast(builder, value, field, types.intp)
        for field, value in zip(fields, cgutils.unpack_tuple(builder, memory, 3), strict=True)
    )
    kind = types.Array(types.uint8, 1, "C")
    array = context.make_array(kind)(context, builder)
    context.populate_array(
        array, data=builder.inttoptr(first, ir.IntType(8).as_pointer()), shape=[count], strides=[itemsize],
        itemsize=itemsize, meminfo=None,
    )  # fmt: skip
    return array._getvalue()


@intrinsic
def call_kernel(typing_context, callee, arguments):
    """Call a kernel at an address with integers, arrays, tuples, and :class:`Memory` for arrays of any dtype."""

    def generate(context, builder, signature, values):
        given = cgutils.unpack_tuple(builder, values[1])
        kinds, passed = [], []
        for kind, value in zip(signature.args[1].types, given, strict=True):
            if getattr(kind, "instance_class", None) is Memory:
                kinds.append(types.Array(types.uint8, 1, "C"))
                passed.append(_flat(context, builder, kind.types, value))
            elif isinstance(kind, types.Integer):
                kinds.append(types.intp)
                passed.append(context.cast(builder, value, kind, types.intp))
            else:
                kinds.append(kind)
                passed.append(value)
        invoke(context, builder, values[0], tuple(kinds), passed)
        return context.get_dummy_value()

    return types.none(types.intp, arguments), generate


@intrinsic
def number_from(typing_context, function, arguments):
    """Call a C function at an address that takes a tuple of words and returns an int."""

    def generate(context, builder, signature, values):
        given = cgutils.unpack_tuple(builder, values[1])
        words = [context.cast(builder, *pair, types.intp) for pair in zip(given, signature.args[1].types, strict=True)]
        kind = ir.FunctionType(ir.IntType(32), [WORD] * len(words))
        return builder.sext(builder.call(builder.inttoptr(values[0], kind.as_pointer()), words), WORD)

    return types.intp(types.intp, arguments), generate


def pointer(name):
    """Make the instruction that gives a symbol's address."""

    @intrinsic
    def address_of(typing_context):
        def generate(context, builder, signature, values):
            return symbol(builder, name)

        return types.intp(), generate

    return address_of


state = pointer(STATE)


@intrinsic
def load(typing_context, place, like):
    """The number at an address, of the type of ``like``."""

    def generate(context, builder, signature, values):
        pointer = builder.inttoptr(values[0], context.get_data_type(signature.args[1]).as_pointer())
        return context.unpack_value(builder, signature.args[1], pointer)

    return like(types.intp, like), generate


@intrinsic
def store(typing_context, place, value):
    """Write a number to an address."""

    def generate(context, builder, signature, values):
        pointer = builder.inttoptr(values[0], context.get_data_type(signature.args[1]).as_pointer())
        context.pack_value(builder, signature.args[1], values[1], pointer)
        return context.get_dummy_value()

    return types.none(types.intp, value), generate


@intrinsic
def vector_at(typing_context, place, count):
    """The array of int64 at an address."""
    kind = types.Array(types.int64, 1, "C")

    def generate(context, builder, signature, values):
        array = context.make_array(kind)(context, builder)
        eight = context.get_constant(types.intp, 8)
        context.populate_array(
            array, data=builder.inttoptr(values[0], WORD.as_pointer()), shape=[values[1]], strides=[eight],
            itemsize=eight, meminfo=None,
        )  # fmt: skip
        return array._getvalue()

    return kind(types.intp, types.intp), generate
