"""The smaller and the larger one of two integers, as one instruction.

Numba compiles its ``min`` and ``max``, which serve all types, for the first kernel that calls them, and asks LLVM for
that, which may be busy with other kernels then: 0.2 to 0.4 s of a first call (2-core Emerald Rapids).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def smaller(typing_context, a, b):
    """The smaller one of two integers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        a, b = arguments
        return builder.select(builder.icmp_signed("<", b, a), b, a)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def larger(typing_context, a, b):
    """The larger one of two integers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        a, b = arguments
        return builder.select(builder.icmp_signed(">", b, a), b, a)

    return types.intp(types.intp, types.intp), generate
