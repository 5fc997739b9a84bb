"""Instructions as numba-cuda takes them: llvmlite's builder. :mod:`.emit_mlir` has the same for numba-cuda-mlir.

Kinds of numbers are named as LLVM names them, with their bits: "i1", "i8", "i16", "i32", "i64", "f16", "f32", "f64".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba.cuda.types as types
from llvmlite import ir
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic as _intrinsic

_KINDS = {f"i{bits}": ir.IntType(bits) for bits in (1, 8, 16, 32, 64)} | {
    "f16": ir.HalfType(), "f32": ir.FloatType(), "f64": ir.DoubleType(),
}  # fmt: skip
_NAMES = {"and": "and_", "or": "or_"}
#: How llvmlite spells the predicates of comparisons.
_COMPARE = {
    "eq": ("icmp_unsigned", "=="), "ne": ("icmp_unsigned", "!="), "ult": ("icmp_unsigned", "<"),
    "slt": ("icmp_signed", "<"), "olt": ("fcmp_ordered", "<"), "uno": ("fcmp_unordered", "uno"),
}  # fmt: skip
_SHARED = 3  # the address space


class Emitter:
    """Appends instructions to the block of a kernel that is being compiled."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def constant(self, kind: str, number: float) -> Any:
        """A number that is known now."""
        return ir.Constant(_KINDS[kind], int(number) if kind.startswith("i") else float(number))

    def arithmetic(self, name: str, a: Any, b: Any) -> Any:
        """LLVM's instruction of this name for two numbers."""
        return getattr(self.builder, _NAMES.get(name, name))(a, b)

    def compare(self, predicate: str, a: Any, b: Any) -> Any:
        """A truth value, by one of LLVM's predicates."""
        method, sign = _COMPARE[predicate]
        return getattr(self.builder, method)(sign, a, b)

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """A where the condition holds, else b."""
        return self.builder.select(condition, a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A * b + c, rounded once."""
        return self.builder.fma(a, b, c)

    def convert(self, name: str, value: Any, kind: str) -> Any:
        """LLVM's conversion of this name."""
        return getattr(self.builder, name)(value, _KINDS[kind])

    def cast(self, value: Any, source: Any, target: Any) -> Any:
        """Convert a number between Numba's types, as Numba does."""
        return self.context.cast(self.builder, value, source, target)

    def offset(self, pointer: Any, index: Any, kind: str) -> Any:
        """The address of an element; the index has 64 bits."""
        return self.builder.gep(self.builder.bitcast(pointer, _KINDS[kind].as_pointer()), [index])

    def load(self, place: Any, kind: str) -> Any:
        """The number at an address that :meth:`offset` gave for this kind."""
        return self.builder.load(place)

    def store(self, value: Any, place: Any) -> None:
        """Write a number to an address that :meth:`offset` gave for its kind."""
        self.builder.store(value, place)

    def load4(self, place: Any, kind: str) -> list[Any]:
        """Four neighbours by one instruction."""
        vector = self.builder.load(self._vector(place, kind), align=16)
        return [self.builder.extract_element(vector, self.constant("i32", i)) for i in range(4)]

    def store4(self, values: Sequence[Any], place: Any, kind: str) -> None:
        """Write four neighbours by one instruction."""
        vector: Any = ir.Constant(ir.VectorType(_KINDS[kind], 4), ir.Undefined)
        for i, value in enumerate(values):
            vector = self.builder.insert_element(vector, value, self.constant("i32", i))
        self.builder.store(vector, self._vector(place, kind), align=16)

    def _vector(self, place: Any, kind: str) -> Any:
        return self.builder.bitcast(place, ir.VectorType(_KINDS[kind], 4).as_pointer())

    def shared_address(self, pointer: Any) -> Any:
        """Where in the block's shared memory a pointer points, in 32 bits."""
        byte = ir.PointerType(_KINDS["i8"])
        local = self.builder.addrspacecast(self.builder.bitcast(pointer, byte), ir.PointerType(_KINDS["i8"], _SHARED))
        return self.builder.ptrtoint(local, _KINDS["i32"])

    def shared_floats(self, count: int) -> Any:
        """A pointer to shared memory for so many float32, aligned for every access."""
        kind = ir.ArrayType(_KINDS["f32"], count)
        name = self.builder.module.get_unique_name("shared").replace(".", "_")  # NVVM takes no dots
        memory = cgutils.add_global_variable(self.builder.module, kind, name, _SHARED)
        memory.align = 128
        memory.initializer = ir.Constant(kind, ir.Undefined)
        return self.builder.addrspacecast(memory, _KINDS["f32"].as_pointer(), "generic")

    def assembly(
        self, text: str, constraints: str, results: Sequence[str] = (), arguments: Sequence[Any] = (),
        effect: bool = False,
    ) -> list[Any]:  # fmt: skip
        """PTX with its results; with an ``effect`` it is neither moved nor left out."""
        kinds = [_KINDS[kind] for kind in results]
        kind = kinds[0] if len(kinds) == 1 else ir.LiteralStructType(kinds) if kinds else ir.VoidType()
        function = ir.FunctionType(kind, [argument.type for argument in arguments])
        result = self.builder.call(ir.InlineAsm(function, text, constraints, side_effect=effect), arguments)
        return [result] if len(kinds) == 1 else [self.builder.extract_value(result, i) for i in range(len(kinds))]

    def when(self, condition: Any) -> Any:
        """What is appended within happens only where the condition holds."""
        return self.builder.if_then(condition)

    def parts(self, value: Any, kind: Any) -> tuple[Any, Any]:
        """The real and the imaginary part of a complex number."""
        number = self.context.make_complex(self.builder, kind, value=value)
        return number.real, number.imag

    def complex(self, kind: Any, real: Any, imaginary: Any) -> Any:
        """A complex number of its parts."""
        number = self.context.make_complex(self.builder, kind)
        number.real, number.imag = real, imaginary
        return number._getvalue()

    def taken(self, kind: Any, value: Any) -> Any:
        """An argument of an intrinsic: tuples become lists."""
        if not isinstance(kind, types.BaseTuple):
            return value
        return [self.taken(kind[i], self.builder.extract_value(value, i)) for i in range(len(kind))]


def intrinsic(name: str, result_of: Callable[..., Any], generate: Callable[..., Any]) -> Any:
    """A function that kernels call.

    Parameters
    ----------
    result_of : callable
        ``result_of(*types)`` is the type of the result, None where it does not take such arguments.
    generate : callable
        ``generate(emitter, types, arguments)`` appends the instructions, and returns the value, a list of values for a
        tuple, or None.
    """

    def traced(typingctx: Any, *arguments: Any) -> Any:
        result = result_of(*arguments)
        if result is None:
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            emitter = Emitter(context, builder)
            made = generate(emitter, arguments, emitter.taken(signature.args[0], values[0]))
            if made is None:
                return context.get_dummy_value()
            return context.make_tuple(builder, result, made) if isinstance(made, list) else made

        return result(types.StarArgTuple(arguments)), codegen

    traced.__name__ = name
    return _intrinsic(traced)
