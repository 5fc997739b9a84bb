"""The smaller and the larger one of two integers, as one instruction.

Numba compiles its ``min`` and ``max``, which serve all types, for the first kernel that calls them, and asks LLVM for
that, which may be busy with other kernels then: 0.2 to 0.4 s of a first call (2-core Emerald Rapids).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


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
