"""Emits vector instructions: what the intrinsics of :mod:`numbaconv.kernels.simd` are written with.

Numba cannot name a vector type, LLVM can. Everything here runs while a kernel is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_getattr
from numba.core.typing.templates import AttributeTemplate, infer_getattr

from .. import runtime
from .blocking import VECTOR_BYTES

INDEX = ir.IntType(64)
#: Where a cache line is asked for: as near as the L1 cache, or the L2.
INTO_L1, INTO_L2 = 3, 2


def constant(value: int) -> ir.Constant:
    """An index as LLVM sees it."""
    return ir.Constant(INDEX, value)


class Vectors:
    """Emits operations on vectors of one element type into one function."""

    def __init__(self, context: Any, builder: ir.IRBuilder, dtype: Any, lanes: int | None = None) -> None:
        self.builder = builder
        self.element = context.get_value_type(dtype)
        self.bytes = dtype.bitwidth // 8
        self.lanes = int(lanes or VECTOR_BYTES // self.bytes)  # a plan's numbers may be NumPy's, which llvmlite refuses
        self.type = ir.VectorType(self.element, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero = ir.Constant(self.type, None)
        self.integer = isinstance(self.element, ir.IntType)
        self.suffix = f"v{self.lanes}{'i' if self.integer else 'f'}{dtype.bitwidth}"

    def function(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        """An LLVM intrinsic by its name."""
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def pointer(self, address: ir.Value) -> ir.Value:
        """The address as that of a vector."""
        return self.builder.bitcast(address, self.type.as_pointer())

    def load(self, address: ir.Value) -> ir.Value:
        """The vector at an address of any alignment."""
        value = self.builder.load(self.pointer(address))
        value.align = self.bytes
        return value

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Store a vector at an address of any alignment."""
        self.builder.store(value, self.pointer(address)).align = self.bytes

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A vector of one value, of whatever type."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        )

    def together(self, scalars: list[ir.Value]) -> ir.Value:
        """A vector of the scalars; its other lanes are 0."""
        value = self.zero
        for lane, scalar in enumerate(scalars):
            value = self.builder.insert_element(value, scalar, ir.Constant(ir.IntType(32), lane))
        return value

    def constant(self, value: float) -> ir.Constant:
        """A vector of one number that is known now."""
        return ir.Constant(self.type, [ir.Constant(self.element, value)] * self.lanes)

    def shuffle(self, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
        """Lanes of a and, numbered on from those, of b."""
        index = ir.IntType(32)
        return self.builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(index, len(lanes)), [ir.Constant(index, i) for i in lanes])
        )

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Add: a + b; integers wrap around."""
        return self.builder.add(a, b) if self.integer else self.builder.fadd(a, b)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Multiply and add: a * b + c, rounded once where the CPU can. LLVM would call ``fmaf`` elsewhere.

        Integers wrap around.
        """
        if self.integer:
            return self.builder.add(self.builder.mul(a, b), c)
        if not runtime.has_fma():
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return self.builder.call(self.function(f"llvm.fma.{self.suffix}", self.type, [self.type] * 3), [a, b, c])

    def behind(self, index: ir.Value, value: ir.Value) -> ir.Value:
        """Return the index and, where registers are few, make LLVM compute what uses it behind ``value``.

        It would load all that a loop broadcasts before anything is multiplied, and keep it on the stack, as AVX2 has 16
        registers: 1x1 layers took 1.8 to 2 times as long (on Zen 4). No instruction is emitted.
        """
        if VECTOR_BYTES != 32:
            return index
        assembler = ir.InlineAsm(ir.FunctionType(INDEX, [INDEX, self.type]), "", "=r,0,x", side_effect=False)
        return self.builder.call(assembler, [index, value])

    def relu(self, a: ir.Value) -> ir.Value:
        """max(a, 0), and NaN for NaN."""
        # "a < 0 ? 0 : a" hands NaN through, as torch does.
        compare = self.builder.icmp_signed if self.integer else self.builder.fcmp_ordered
        return self.builder.select(compare("<", a, self.zero), self.zero, a)

    def first_lanes(self, count: ir.Value) -> ir.Value:
        """The mask of the first ``count`` lanes, none where it is negative, all where it is larger.

        AVX2's masks are vectors of numbers as wide as the elements, so such numbers are compared.
        """
        few = count
        for bound, beyond in ((0, "<"), (self.lanes, ">")):
            few = self.builder.select(self.builder.icmp_signed(beyond, few, constant(bound)), constant(bound), few)
        number = ir.IntType(8 * self.bytes)
        few = few if number == INDEX else self.builder.trunc(few, number)
        numbers = ir.Constant(ir.VectorType(number, self.lanes), [ir.Constant(number, i) for i in range(self.lanes)])
        return self.builder.icmp_signed("<", numbers, self.splat(few))

    def load_masked(self, address: ir.Value, mask: ir.Value) -> ir.Value:
        """The lanes in the mask; the others are 0 and their memory is not touched."""
        pointer = self.pointer(address)
        name = f"llvm.masked.load.{self.suffix}.p0"
        load = self.function(name, self.type, [pointer.type, ir.IntType(32), self.mask, self.type])
        return self.builder.call(load, [pointer, ir.Constant(ir.IntType(32), self.bytes), mask, self.zero])

    def store_masked(self, value: ir.Value, address: ir.Value, mask: ir.Value) -> None:
        """Store the lanes in the mask; the memory of the others is not touched."""
        if VECTOR_BYTES == 32:  # AVX2's masked store takes a dozen cycles (Zen 4), so whole vectors avoid it
            bits = ir.IntType(self.lanes)
            every = self.builder.icmp_unsigned("==", self.builder.bitcast(mask, bits), ir.Constant(bits, -1))
            with self.builder.if_else(every) as (whole, part):
                with whole:
                    self.store(value, address)
                with part:
                    self._store_part(value, address, mask)
        else:
            self._store_part(value, address, mask)

    def _store_part(self, value: ir.Value, address: ir.Value, mask: ir.Value) -> None:
        """As :meth:`store_masked`, whatever the mask."""
        pointer = self.pointer(address)
        name = f"llvm.masked.store.{self.suffix}.p0"
        store = self.function(name, ir.VoidType(), [self.type, pointer.type, ir.IntType(32), self.mask])
        self.builder.call(store, [value, pointer, ir.Constant(ir.IntType(32), self.bytes), mask])


def element(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, start: ir.Value) -> ir.Value:
    """The address of ``array[start]``, for a contiguous array or a pointer."""
    if isinstance(array_type, types.CPointer):
        return builder.gep(array, [start])
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [start])


@infer_getattr
class _PointerAttributes(AttributeTemplate):  # type: ignore[misc]
    """``pointer.itemsize``, as arrays have it, so that kernels need not know which they are given."""

    key = types.CPointer

    def resolve_itemsize(self, _pointer: types.CPointer) -> Any:
        return types.intp


@lower_getattr(types.CPointer, "itemsize")
def _itemsize(_context: Any, _builder: ir.IRBuilder, kind: Any, _value: ir.Value) -> ir.Constant:
    return constant(kind.dtype.bitwidth // 8)


def transposed(vectors: Vectors, lines: list[ir.Value]) -> list[ir.Value]:
    """Lane m of vector j is lane j of line m: perfect shuffles, log2(lanes) times."""
    lanes, half = vectors.lanes, vectors.lanes // 2
    woven = [lane // 2 + lane % 2 * lanes for lane in range(lanes)]
    for _ in range(lanes.bit_length() - 1):
        pairs = [(lines[i], lines[i + half]) for i in range(half)]
        lines = [
            vectors.shuffle(a, b, [lane + part for lane in woven]) for a, b in pairs for part in (0, half)
        ]  # fmt: skip
    return lines


def changed_if(
    builder: ir.IRBuilder, condition: ir.Value, values: list[ir.Value], change: Callable[[], list[ir.Value]]
) -> list[ir.Value]:
    """Emit a branch: ``change()`` where the condition holds, else the values as they are."""
    skipped = builder.block
    with builder.if_then(condition):
        changed = change()
        taken = builder.block
    merged = [builder.phi(value.type) for value in values]
    for phi, old, new in zip(merged, values, changed, strict=True):
        phi.add_incoming(old, skipped)
        phi.add_incoming(new, taken)
    return merged


def emit_call(context: Any, builder: ir.IRBuilder, address: ir.Value, arguments: list[ir.Value]) -> ir.Value:
    """Emit a call of a C function of integers, which returns nothing, by its address."""
    kind = ir.FunctionType(ir.VoidType(), [INDEX] * len(arguments))
    builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)
    return context.get_dummy_value()


def prefetch(vectors: Vectors, address: ir.Value, into: int = INTO_L2, write: bool = False) -> None:
    """Ask for a cache line, to ``write`` it or to read. It may lie outside the array: a prefetch never faults."""
    hint = vectors.builder.bitcast(address, ir.IntType(8).as_pointer())
    flag = ir.IntType(32)
    function = vectors.function("llvm.prefetch.p0", ir.VoidType(), [hint.type, flag, flag, flag])
    vectors.builder.call(function, [hint, *(ir.Constant(flag, value) for value in (int(write), into, 1))])
