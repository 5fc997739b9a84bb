"""What kernels do with whole numbers, and with those at an address, in one instruction or two.

Numba compiles its ``min`` and ``max``, which serve all types, for the first kernel that calls them, and asks LLVM for
that, which may be busy with other kernels then: 0.2 to 0.4 s of a first call (2-core Emerald Rapids). Its divisions
look for zeros and signs, each time anew.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .blocking import VECTOR_BYTES


def _chosen(comparison: str, name: str) -> Any:
    """Make the one of two that compares so with the other."""

    def chosen(typing_context, a, b):
        """Of two integers, one."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            a, b = arguments
            return builder.select(builder.icmp_signed(comparison, a, b), a, b)

        return types.intp(types.intp, types.intp), generate

    chosen.__name__ = name
    return intrinsic(chosen)


smaller, larger = _chosen("<", "smaller"), _chosen(">", "larger")


@intrinsic
def divided(typing_context, a, b):
    """divmod(a, b) of integers of which ``a`` is not negative and ``b`` is positive."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        parts = builder.udiv(*arguments), builder.urem(*arguments)
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(types.intp, 2)(types.intp, types.intp), generate


@intrinsic
def lanes_of(typing_context, array):
    """Elements of an array, or of what a pointer points to, that a vector holds."""
    lanes = VECTOR_BYTES // (array.dtype.bitwidth // 8)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return ir.Constant(ir.IntType(64), lanes)

    return types.intp(array), generate


@intrinsic
def integer_at(typing_context, address, number):
    """The integer ``number`` of those at an address."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        address, number = arguments
        return builder.load(builder.gep(builder.inttoptr(address, ir.IntType(64).as_pointer()), [number]))

    return types.intp(types.intp, types.intp), generate


@intrinsic
def put_integer(typing_context, address, number, value):
    """Set integer ``number`` of those at an address."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        address, number, value = arguments
        place = builder.gep(builder.inttoptr(address, ir.IntType(64).as_pointer()), [number])
        builder.store(value, place)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate
