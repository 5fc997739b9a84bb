"""Every instruction that Numba does not emit by itself, and the tracer that turns macros into code.

A macro is a plain Python function over values with operators (:class:`Value`) and the ``ops`` it is given as its first
argument: here each of its operations appends an instruction to the kernel that calls it, so that loops are unrolled and
tuples of 64 sums stay in registers. :mod:`.simops` has the same names for the simulator, where the same macros compute.

Indices are 32-bit and unsigned: Numba's own are 64-bit and signed, which costs registers and a select for each access.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba.cuda.types as types
from llvmlite import ir
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

u32 = types.uint32

I1, I8, I16, I32 = ir.IntType(1), ir.IntType(8), ir.IntType(16), ir.IntType(32)
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
SHARED = 3  # the address space


class Value:
    """A 32-bit unsigned integer, a float32 or a truth value in a kernel."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def _other(self, other: Any) -> Any:
        return other.value if isinstance(other, Value) else ir.Constant(self.value.type, other)

    def _emit(self, integer: str, real: str, other: Any) -> Value:
        name = real if self.value.type == F32 else integer
        return Value(self.builder, getattr(self.builder, name)(self.value, self._other(other)))

    def __add__(self, other: Any) -> Value:
        return self._emit("add", "fadd", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return self._emit("sub", "fsub", other)

    def __mul__(self, other: Any) -> Value:
        return self._emit("mul", "fmul", other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Value:
        return self._emit("udiv", "", other)

    def __mod__(self, other: Any) -> Value:
        return self._emit("urem", "", other)

    def __and__(self, other: Any) -> Value:
        return self._emit("and_", "", other)

    def __xor__(self, other: Any) -> Value:
        return self._emit("xor", "", other)

    def __rshift__(self, other: Any) -> Value:
        return self._emit("lshr", "", other)

    def __lt__(self, other: Any) -> Value:
        compare = self.builder.fcmp_ordered if self.value.type == F32 else self.builder.icmp_unsigned
        return Value(self.builder, compare("<", self.value, self._other(other)))

    def same(self, other: Any) -> Value:
        """Whether two integers are equal."""
        return Value(self.builder, self.builder.icmp_unsigned("==", self.value, self._other(other)))


class Pointer:
    """Memory of elements of one type, as a macro sees it."""

    def __init__(self, value: Any, dtype: Any) -> None:
        self.value = value
        self.dtype = dtype


class Operations:
    """What macros can do beside arithmetic; each appends its instructions to ``builder``'s block."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def _wrap(self, value: Any) -> Value:
        return Value(self.builder, value)

    def _place(self, pointer: Pointer, index: Value, element: Any) -> Any:
        """The address of an element of an LLVM type."""
        base = self.builder.bitcast(pointer.value, element.as_pointer())
        return self.builder.gep(base, [self.builder.zext(index.value, ir.IntType(64))])

    def integer(self, number: int) -> Value:
        """A constant."""
        return self._wrap(ir.Constant(I32, number))

    def real(self, number: float) -> Value:
        """A constant float32."""
        return self._wrap(ir.Constant(F32, float(number)))

    def fma(self, a: Value, b: Any, c: Value) -> Value:
        """A * b + c, rounded once; b may be a number."""
        return self._wrap(self.builder.fma(a.value, c._other(b), c.value))

    def select(self, condition: Value, a: Value, b: Any) -> Value:
        """A where the condition holds, else b."""
        return self._wrap(self.builder.select(condition.value, a.value, a._other(b)))

    def negative(self, value: Value) -> Value:
        """Whether a number is less than 0."""
        return value < 0

    def load(self, pointer: Pointer, index: Value) -> Value:
        """One float32, or one of a narrower float, widened; or one 32-bit integer."""
        if pointer.dtype in (types.int32, types.uint32):
            return self._wrap(self.builder.load(self._place(pointer, index, I32)))
        return self._wrap(self._widened(pointer, index))

    def _widened(self, pointer: Pointer, index: Value) -> Any:
        builder = self.builder
        if pointer.dtype == types.float32:
            return builder.load(self._place(pointer, index, F32))
        bits = builder.load(self._place(pointer, index, I16))
        if pointer.dtype == types.float16:
            return builder.fpext(builder.bitcast(bits, F16), F32)
        return builder.bitcast(builder.shl(builder.zext(bits, I32), ir.Constant(I32, 16)), F32)

    def store(self, pointer: Pointer, index: Value, value: Value) -> None:
        """Write one float32, rounded to the memory's type."""
        _store_float(self.builder, pointer.dtype, lambda element: self._place(pointer, index, element), value.value)

    def store_if(self, condition: Value, pointer: Pointer, index: Value, value: Value) -> None:
        """:meth:`store` where the condition holds."""
        with self.builder.if_then(condition.value):
            self.store(pointer, index, value)

    def load4(self, pointer: Pointer, index: Value) -> list[Value]:
        """Four neighbours (float32 or 32-bit integers) by one instruction; their address is a multiple of 16."""
        element = F32 if pointer.dtype == types.float32 else I32
        place = self._place(pointer, index, element)
        vector = self.builder.load(self.builder.bitcast(place, ir.VectorType(element, 4).as_pointer()), align=16)
        return [self._wrap(self.builder.extract_element(vector, ir.Constant(I32, i))) for i in range(4)]

    def store4(self, pointer: Pointer, index: Value, values: Sequence[Value]) -> None:
        """Write four neighbouring float32 by one instruction; their address is a multiple of 16."""
        kind = ir.VectorType(F32, 4)
        vector: Any = ir.Constant(kind, ir.Undefined)
        for i, value in enumerate(values):
            vector = self.builder.insert_element(vector, value.value, ir.Constant(I32, i))
        place = self._place(pointer, index, F32)
        self.builder.store(vector, self.builder.bitcast(place, kind.as_pointer()), align=16)

    # Tensor cores. Memory is counted in chunks of 16 bytes.

    def _shared_address(self, pointer: Pointer, chunk: Value) -> Any:
        place = self.builder.bitcast(pointer.value, I8.as_pointer())
        local = self.builder.addrspacecast(place, ir.PointerType(I8, SHARED))
        start = self.builder.ptrtoint(local, I32)
        return self.builder.add(start, self.builder.shl(chunk.value, ir.Constant(I32, 4)))

    def copy_chunk(self, shared: Pointer, to: Value, source: Pointer, chunk: Value, inside: Value) -> None:
        """Start to copy one chunk to shared memory; zeros where it is not ``inside``. cp.async of 16 or 0 bytes."""
        builder = self.builder
        size = builder.select(inside.value, ir.Constant(I32, 16), ir.Constant(I32, 0))
        base = builder.bitcast(source.value, I8.as_pointer())
        wide = builder.shl(builder.zext(chunk.value, ir.IntType(64)), ir.Constant(ir.IntType(64), 4))
        place = builder.gep(base, [wide])
        kind = ir.FunctionType(ir.VoidType(), [I32, place.type, I32])
        assembly = ir.InlineAsm(
            kind, "cp.async.cg.shared.global [$0], [$1], 16, $2;", "r,l,r,~{memory}", side_effect=True
        )
        builder.call(assembly, [self._shared_address(shared, to), place, size])

    def commit(self) -> None:
        """Close a group of copies."""
        self._effect("cp.async.commit_group;")

    def wait(self, groups: int) -> None:
        """Wait until no more than this many groups of the thread's copies are under way."""
        self._effect(f"cp.async.wait_group {groups};")

    def _effect(self, text: str) -> None:
        assembly = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), text, "~{memory}", side_effect=True)
        self.builder.call(assembly, [])

    def matrices(self, shared: Pointer, chunk_of: Callable[[Value], Value], lane: Value) -> list[Value]:
        """ldmatrix.x4: four matrices of 8 rows of one chunk; ``chunk_of(lane)`` is row lane % 8 of matrix lane // 8.

        Register i of a lane holds 4 bytes of matrix i: number lane % 4 of row lane // 4.
        """
        kind = ir.LiteralStructType([I32] * 4)
        text = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0, $1, $2, $3}, [$4];"
        assembly = ir.InlineAsm(ir.FunctionType(kind, [I32]), text, "=r,=r,=r,=r,r,~{memory}", side_effect=True)
        result = self.builder.call(assembly, [self._shared_address(shared, chunk_of(lane))])
        return [self._wrap(self.builder.extract_value(result, i)) for i in range(4)]

    def rounded(self, registers: Sequence[Value], kind: str) -> Sequence[Value]:
        """Fragments as the tensor cores of a kind read them: float32 rounded to TF32, others as they are."""
        if kind != "tf32":
            return registers
        assembly = ir.InlineAsm(ir.FunctionType(I32, [I32]), "cvt.rna.tf32.f32 $0, $1;", "=r,r")
        return [self._wrap(self.builder.call(assembly, [register.value])) for register in registers]

    def multiply(
        self, kind: str, a: Sequence[Value], b: Sequence[Value], c: Sequence[Value], _lane: Value
    ) -> list[Value]:
        """mma.sync: c + a times b transposed, for 16 rows of a and 8 of b, two chunks long; a warp's 4 sums a lane."""
        shape = {"f16": "m16n8k16", "bf16": "m16n8k16", "tf32": "m16n8k8"}[kind]
        text = (
            f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
        )
        result_kind = ir.LiteralStructType([F32] * 4)
        assembly = ir.InlineAsm(
            ir.FunctionType(result_kind, [I32] * 6 + [F32] * 4), text, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
        )
        result = self.builder.call(assembly, [value.value for value in (*a, *b, *c)])
        return [self._wrap(self.builder.extract_value(result, i)) for i in range(4)]


def _store_float(builder: Any, dtype: Any, place: Callable[[Any], Any], value: Any) -> None:
    """Write a float32 to memory of a floating-point type; ``place(element)`` is its address."""
    if dtype == types.float32:
        builder.store(value, place(F32))
    elif dtype == types.float16:
        builder.store(builder.bitcast(builder.fptrunc(value, F16), I16), place(I16))
    else:  # bfloat16: to the nearest, ties to even; NaN stays NaN
        bits = builder.bitcast(value, I32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(I32, 16)), ir.Constant(I32, 1))
        nearest = builder.add(builder.add(bits, ir.Constant(I32, 0x7FFF)), odd)
        nan = builder.fcmp_unordered("uno", value, value)
        chosen = builder.select(nan, ir.Constant(I32, 0x7FFF0000), nearest)
        builder.store(builder.trunc(builder.lshr(chosen, ir.Constant(I32, 16)), I16), place(I16))


def _traced(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An argument of a kernel's call as a macro takes it."""
    if isinstance(kind, types.BaseTuple):
        return [_traced(context, builder, kind[i], builder.extract_value(value, i)) for i in range(len(kind))]
    if isinstance(kind, types.CPointer):
        return Pointer(value, kind.dtype)
    if isinstance(kind, types.Boolean):
        return Value(builder, value)
    target = types.uint32 if isinstance(kind, types.Integer) else types.float32
    return Value(builder, context.cast(builder, value, kind, target))


def macro(function: Callable[..., Any], returns: int = 0, integers: bool = False, **constants: Any) -> Any:
    """A macro as a function that kernels call.

    Parameters
    ----------
    function : callable
        ``function(ops, *arguments)``; arguments are values, pointers, and lists where the kernel passes tuples.
    returns : int
        How many values it returns, as a tuple; none where 0.
    integers : bool
        Whether they are integers rather than float32.
    constants
        Further arguments, by name, that are known beforehand.
    """
    element = types.uint32 if integers else types.float32
    result = types.UniTuple(element, returns) if returns else types.void

    def traced(typingctx: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            taken = _traced(context, builder, signature.args[0], values[0])
            made = function(Operations(context, builder), *taken, **constants)
            if not returns:
                return context.get_dummy_value()
            return context.make_tuple(builder, signature.return_type, [item.value for item in made])

        return result(types.StarArgTuple(arguments)), codegen

    traced.__name__ = function.__name__
    return intrinsic(traced)


@intrinsic
def shared_floats(typingctx: Any, count: Any) -> Any:
    """Shared memory for a constant number of float32, aligned for every access."""
    result = types.CPointer(types.float32)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.ArrayType(F32, count.literal_value)
        name = builder.module.get_unique_name("shared").replace(".", "_")  # NVVM takes no dots
        memory = cgutils.add_global_variable(builder.module, kind, name, SHARED)
        memory.align = 128
        memory.initializer = ir.Constant(kind, ir.Undefined)
        return builder.addrspacecast(memory, context.get_value_type(result), "generic")

    if not isinstance(count, types.IntegerLiteral):
        return None
    return result(count), codegen


def _loaded(builder: Any, dtype: Any, pointer: Any, index: Any) -> tuple[Any, Any]:
    """An element and its type: narrow floats are widened to float32."""

    def place(element: Any) -> Any:
        return builder.gep(builder.bitcast(pointer, element.as_pointer()), [index])

    if dtype == types.float16:
        return builder.fpext(builder.bitcast(builder.load(place(I16)), F16), F32), types.float32
    if dtype == types.bfloat16:
        bits = builder.shl(builder.zext(builder.load(place(I16)), I32), ir.Constant(I32, 16))
        return builder.bitcast(bits, F32), types.float32
    if dtype == types.boolean:
        return builder.icmp_unsigned("!=", builder.load(place(I8)), ir.Constant(I8, 0)), types.boolean
    return None, dtype


@intrinsic
def load(typingctx: Any, pointer: Any, index: Any, like: Any, conjugate: Any) -> Any:
    """``pointer[index]``, a number of any type, as one of the type of ``like``.

    A complex one is conjugated where ``conjugate``, an integer, is not 0.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dtype = pointer.dtype
        place = context.cast(builder, values[1], index, types.int64)
        value, kind = _loaded(builder, dtype, values[0], place)
        if value is None:
            element = context.get_data_type(dtype)
            address = builder.gep(builder.bitcast(values[0], element.as_pointer()), [place])
            value = context.data_model_manager[dtype].load_from_data_pointer(builder, address)
        result = context.cast(builder, value, kind, like)
        if isinstance(like, types.Complex):
            parts = context.make_complex(builder, like, value=result)
            wanted = builder.icmp_unsigned("!=", values[3], ir.Constant(values[3].type, 0))
            minus = builder.fsub(ir.Constant(parts.imag.type, -0.0), parts.imag)  # older NVVM has no fneg
            parts.imag = builder.select(wanted, minus, parts.imag)
            result = parts._getvalue()
        return result

    return like(pointer, index, like, conjugate), codegen


@intrinsic
def store(typingctx: Any, pointer: Any, index: Any, value: Any, relu: Any) -> Any:
    """Write a sum to ``pointer[index]``, as a number of its type; where ``relu`` is not 0, 0 for a negative one.

    Integers wrap around first; of a boolean it is written whether the sum is not 0.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dtype = pointer.dtype
        place = context.cast(builder, values[1], index, types.int64)

        def address(element: Any) -> Any:
            return builder.gep(builder.bitcast(values[0], element.as_pointer()), [place])

        number = values[2]
        if dtype == types.boolean:
            truth = builder.icmp_unsigned("!=", number, ir.Constant(number.type, 0))
            builder.store(builder.zext(truth, I8), address(I8))
            return context.get_dummy_value()
        narrow = dtype in (types.float16, types.bfloat16)
        kind = types.float32 if narrow else dtype
        number = context.cast(builder, number, value, kind)
        if not isinstance(kind, types.Complex):
            wanted = builder.icmp_unsigned("!=", values[3], ir.Constant(values[3].type, 0))
            nothing = ir.Constant(number.type, 0 if isinstance(kind, types.Integer) else 0.0)
            if isinstance(kind, types.Integer):
                less = builder.icmp_signed("<", number, nothing)
                wanted = builder.and_(wanted, ir.Constant(I1, int(kind.signed)))
            else:
                less = builder.fcmp_ordered("<", number, nothing)
            number = builder.select(builder.and_(wanted, less), nothing, number)
        if kind == types.float32:
            _store_float(builder, dtype, address, number)
        else:
            builder.store(context.get_value_as_data(builder, dtype, number), address(context.get_data_type(dtype)))
        return context.get_dummy_value()

    return types.void(pointer, index, value, relu), codegen
