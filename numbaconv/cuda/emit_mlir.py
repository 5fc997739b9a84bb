"""Instructions as numba-cuda-mlir takes them: operations of MLIR's dialects. See :mod:`.emit_llvm`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numba_cuda_mlir._mlir import ir
from numba_cuda_mlir._mlir.dialects import arith, llvm, math, scf
from numba_cuda_mlir._mlir.dialects import complex as complex_dialect
from numba_cuda_mlir.extending import intrinsic as _intrinsic
from numba_cuda_mlir.extending import refresh_registries

#: The operation for each of LLVM's instructions.
_ARITHMETIC = {
    "add": arith.addi, "sub": arith.subi, "mul": arith.muli, "udiv": arith.divui, "urem": arith.remui,
    "and": arith.andi, "or": arith.ori, "xor": arith.xori, "shl": arith.shli, "lshr": arith.shrui,
    "fadd": arith.addf, "fsub": arith.subf, "fmul": arith.mulf,
}  # fmt: skip
_CONVERT = {
    "zext": arith.extui, "trunc": arith.trunci, "fpext": arith.extf, "fptrunc": arith.truncf, "bitcast": arith.bitcast,
}  # fmt: skip
#: An index of llvm.getelementptr that is a value, not a constant.
_DYNAMIC = -(2**31)
_SHARED = 3  # the address space
_numbers = itertools.count()


def _kind(name: str) -> Any:
    if name.startswith("i"):
        return ir.IntegerType.get_signless(int(name[1:]))
    return {"f16": ir.F16Type, "f32": ir.F32Type, "f64": ir.F64Type}[name].get()


class Emitter:
    """Appends operations to the block of a kernel that is being compiled."""

    def __init__(self, lower: Any) -> None:
        self.lower = lower

    def constant(self, kind: str, number: float) -> Any:
        """A number that is known now."""
        return arith.constant(_kind(kind), int(number) if kind.startswith("i") else float(number))

    def arithmetic(self, name: str, a: Any, b: Any) -> Any:
        """LLVM's instruction of this name for two numbers."""
        return _ARITHMETIC[name](a, b)

    def compare(self, predicate: str, a: Any, b: Any) -> Any:
        """A truth value, by one of LLVM's predicates."""
        if predicate in ("olt", "uno"):
            return arith.cmpf(getattr(arith.CmpFPredicate, predicate.upper()), a, b)
        return arith.cmpi(getattr(arith.CmpIPredicate, predicate), a, b)

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """A where the condition holds, else b."""
        return arith.select(condition, a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A * b + c, rounded once."""
        return math.fma(a, b, c)

    def convert(self, name: str, value: Any, kind: str) -> Any:
        """LLVM's conversion of this name."""
        return _CONVERT[name](_kind(kind), value)

    def cast(self, value: Any, source: Any, target: Any) -> Any:
        """Convert a number between Numba's types, as Numba does."""
        return self.lower.lower_cast(source, target, value)

    def offset(self, pointer: Any, index: Any, kind: str) -> Any:
        """The address of an element; the index has 64 bits."""
        return llvm.getelementptr(llvm.PointerType.get(), pointer, [index], [_DYNAMIC], _kind(kind), None)

    def load(self, place: Any, kind: str) -> Any:
        """The number at an address that :meth:`offset` gave for this kind."""
        return llvm.load(_kind(kind), place)

    def store(self, value: Any, place: Any) -> None:
        """Write a number to an address that :meth:`offset` gave for its kind."""
        llvm.store(value, place)

    def load4(self, place: Any, kind: str) -> list[Any]:
        """Four neighbours by one instruction."""
        vector = llvm.load(ir.VectorType.get([4], _kind(kind)), place, alignment=16)
        return [llvm.extractelement(vector, self.constant("i32", i)) for i in range(4)]

    def store4(self, values: Sequence[Any], place: Any, kind: str) -> None:
        """Write four neighbours by one instruction."""
        vector = llvm.mlir_undef(ir.VectorType.get([4], _kind(kind)))
        for i, value in enumerate(values):
            vector = llvm.insertelement(vector, value, self.constant("i32", i))
        llvm.store(vector, place, alignment=16)

    def shared_address(self, pointer: Any) -> Any:
        """Where in the block's shared memory a pointer points, in 32 bits."""
        return llvm.ptrtoint(_kind("i32"), llvm.addrspacecast(llvm.PointerType.get(_SHARED), pointer))

    def shared_floats(self, count: int) -> Any:
        """A pointer to shared memory for so many float32, aligned for every access."""
        name = f"shared_{next(_numbers)}"
        with ir.InsertionPoint.at_block_begin(self.lower.mlir_gpu_module.bodyRegion.blocks[0]):
            llvm.mlir_global(
                ir.Type.parse(f"!llvm.array<{count} x f32>"), name, ir.Attribute.parse("#llvm.linkage<internal>"),
                alignment=128, addr_space=_SHARED,
            )  # fmt: skip
        memory = llvm.mlir_addressof(llvm.PointerType.get(_SHARED), name)
        return llvm.addrspacecast(llvm.PointerType.get(), memory)

    def assembly(
        self, text: str, constraints: str, results: Sequence[str] = (), arguments: Sequence[Any] = (),
        effect: bool = False,
    ) -> list[Any]:  # fmt: skip
        """PTX with its results; with an ``effect`` it is neither moved nor left out."""
        kinds = [_kind(kind) for kind in results]
        kind = kinds[0] if len(kinds) == 1 else llvm.StructType.get_literal(kinds) if kinds else None
        result = llvm.inline_asm(kind, list(arguments), text, constraints, has_side_effects=effect)
        if len(kinds) == 1:
            return [result]
        return [llvm.extractvalue(each, result, [i]) for i, each in enumerate(kinds)]

    @contextlib.contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """What is appended within happens only where the condition holds."""
        branch = scf.IfOp(condition)
        with ir.InsertionPoint(branch.then_block):
            yield
            scf.yield_([])

    def parts(self, value: Any, kind: Any) -> tuple[Any, Any]:
        """The real and the imaginary part of a complex number."""
        return complex_dialect.re(value), complex_dialect.im(value)

    def complex(self, kind: Any, real: Any, imaginary: Any) -> Any:
        """A complex number of its parts."""
        return complex_dialect.create_(ir.ComplexType.get(real.type), real, imaginary)


def intrinsic(name: str, result_of: Callable[..., Any], generate: Callable[..., Any]) -> Any:
    """A function that kernels call; see :func:`.emit_llvm.intrinsic`."""

    def traced(typingctx: Any, *arguments: Any) -> Any:
        result = result_of(*arguments)
        if result is None:
            return None

        def codegen(lower: Any, target: Any, variables: Any, named: Any) -> None:
            made = generate(Emitter(lower), arguments, [lower.load_var(variable) for variable in variables])
            lower.store_var(target, tuple(made) if isinstance(made, list) else made)

        return result(*arguments), codegen

    traced.__name__ = name
    made = _intrinsic(traced)
    refresh_registries(include_uninitialized_cuda=False)  # it looks for new ones only when told to
    return made
