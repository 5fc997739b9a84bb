"""Runs a kernel on the threads of Numba's pool."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import INDEX, constant

_BYTES = ir.IntType(8).as_pointer()


@intrinsic
def on_threads(typing_context, function, slots, arguments):
    """Call a kernel, function(slot, slots, *arguments), for each slot < ``slots``, on as many threads.

    Numba's pool is asked as by a ``prange`` loop, for as many threads as ``numba.set_num_threads`` allows. To compile
    such a loop takes Numba three times as long (0.4 s; Emerald Rapids), and it takes the GIL before and after it runs.
    The pool splits a range of a byte for each thread, whose addresses are the slots.
    """
    called = function.get_call_type(typing_context, (types.intp, types.intp, *arguments.types), {})

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        _, slots, arguments = given
        compiled = function.dispatcher.overloads[called.args]
        context.active_code_library.add_linking_library(compiled.library)
        values = [slots, *cgutils.unpack_tuple(builder, arguments)]
        data = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, values))

        pointers = [_BYTES.as_pointer(), INDEX.as_pointer(), INDEX.as_pointer(), _BYTES]
        kind = ir.FunctionType(ir.VoidType(), pointers)
        worker = ir.Function(builder.module, kind, f"on_threads.{builder.function.name}")
        worker.linkage = "internal"
        inner = ir.IRBuilder(worker.append_basic_block())
        places, counts, _, passed = worker.args
        first, count = inner.ptrtoint(inner.load(places), INDEX), inner.load(counts)
        slots_there, *rest = cgutils.unpack_tuple(inner, inner.load(inner.bitcast(passed, data.type)))
        with cgutils.for_range(inner, count) as loop:
            slot = inner.add(first, loop.index)
            with inner.if_then(inner.icmp_signed("<", slot, slots_there)):
                context.call_internal_no_propagate(inner, compiled.fndesc, called, [slot, slots_there, *rest])
        inner.ret_void()

        ask = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "get_num_threads")
        threads = builder.sext(builder.call(ask, []), INDEX)
        # Of a range shorter than the pool, the workqueue layer would give all to one thread.
        length = builder.select(builder.icmp_signed("<", threads, slots), slots, threads)
        start = cgutils.alloca_once_value(builder, ir.Constant(_BYTES, None))
        size, step = (cgutils.alloca_once_value(builder, value) for value in (length, constant(1)))
        kind = ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [INDEX] * 3)
        run = cgutils.get_or_insert_function(builder.module, kind, "numba_parallel_for")
        raw = [builder.bitcast(value, _BYTES) for value in (worker, start, size, step, data)]
        builder.call(run, [*raw, constant(0), constant(1), threads])
        return context.get_dummy_value()

    return types.void(function, types.intp, arguments), generate
