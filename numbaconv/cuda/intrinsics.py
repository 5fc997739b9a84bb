"""Every instruction that Numba does not emit by itself, and the tracer that turns macros into code.

A macro is a plain Python function over values with operators (:class:`Value`) and the ``ops`` it is given as its first
argument: here each of its operations appends an instruction to the kernel that calls it, so that loops are unrolled and
tuples of 64 sums stay in registers. :mod:`.simops` has the same names for the simulator, where the same macros compute.
How an instruction is appended, the package that compiles decides: :mod:`.emit_llvm` or :mod:`.emit_mlir`.

Indices are 32-bit and unsigned: Numba's own are 64-bit and signed, which costs registers and a select for each access.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .shim import PACKAGE, types

if PACKAGE == "numba-cuda":
    from . import emit_llvm as emit
else:
    from . import emit_mlir as emit  # type: ignore[no-redef]

u32 = types.uint32


class Value:
    """A number in a kernel: "i32", unsigned, "f32", or a truth value, "i1"."""

    def __init__(self, emitter: Any, value: Any, kind: str) -> None:
        self.emitter = emitter
        self.value = value
        self.kind = kind

    def _other(self, other: Any) -> Any:
        return other.value if isinstance(other, Value) else self.emitter.constant(self.kind, other)

    def _emit(self, integer: str, real: str, other: Any) -> Value:
        name = real if self.kind == "f32" else integer
        return Value(self.emitter, self.emitter.arithmetic(name, self.value, self._other(other)), self.kind)

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
        return self._emit("and", "", other)

    def __xor__(self, other: Any) -> Value:
        return self._emit("xor", "", other)

    def __rshift__(self, other: Any) -> Value:
        return self._emit("lshr", "", other)

    def _compare(self, integer: str, real: str, other: Any) -> Value:
        predicate = real if self.kind == "f32" else integer
        return Value(self.emitter, self.emitter.compare(predicate, self.value, self._other(other)), "i1")

    def __lt__(self, other: Any) -> Value:
        return self._compare("ult", "olt", other)

    def same(self, other: Any) -> Value:
        """Whether two integers are equal."""
        return self._compare("eq", "", other)


class Pointer:
    """Memory of elements of one type, as a macro sees it."""

    def __init__(self, value: Any, dtype: Any) -> None:
        self.value = value
        self.dtype = dtype


class Operations:
    """What macros can do beside arithmetic; each appends its instructions to the emitter's block."""

    def __init__(self, emitter: Any) -> None:
        self.emitter = emitter

    def _wrap(self, value: Any, kind: str) -> Value:
        return Value(self.emitter, value, kind)

    def _place(self, pointer: Pointer, index: Value, kind: str) -> Any:
        """The address of an element of a kind."""
        return self.emitter.offset(pointer.value, self.emitter.convert("zext", index.value, "i64"), kind)

    def integer(self, number: int) -> Value:
        """A constant."""
        return self._wrap(self.emitter.constant("i32", number), "i32")

    def real(self, number: float) -> Value:
        """A constant float32."""
        return self._wrap(self.emitter.constant("f32", float(number)), "f32")

    def fma(self, a: Value, b: Any, c: Value) -> Value:
        """A * b + c, rounded once; b may be a number."""
        return self._wrap(self.emitter.fma(a.value, c._other(b), c.value), "f32")

    def select(self, condition: Value, a: Value, b: Any) -> Value:
        """A where the condition holds, else b."""
        return self._wrap(self.emitter.select(condition.value, a.value, a._other(b)), a.kind)

    def negative(self, value: Value) -> Value:
        """Whether a number is less than 0."""
        return value < 0.0

    def load(self, pointer: Pointer, index: Value) -> Value:
        """One float32, or one of a narrower float, widened; or one 32-bit integer."""
        if pointer.dtype in (types.int32, types.uint32):
            return self._wrap(self.emitter.load(self._place(pointer, index, "i32"), "i32"), "i32")
        value = _widened(self.emitter, pointer.dtype, lambda kind: self._place(pointer, index, kind))
        return self._wrap(value, "f32")

    def store(self, pointer: Pointer, index: Value, value: Value) -> None:
        """Write one float32, rounded to the memory's type."""
        _store_float(self.emitter, pointer.dtype, lambda kind: self._place(pointer, index, kind), value.value)

    def store_if(self, condition: Value, pointer: Pointer, index: Value, value: Value) -> None:
        """:meth:`store` where the condition holds."""
        with self.emitter.when(condition.value):
            self.store(pointer, index, value)

    def load4(self, pointer: Pointer, index: Value) -> list[Value]:
        """Four neighbours (float32 or 32-bit integers) by one instruction; their address is a multiple of 16."""
        kind = "f32" if pointer.dtype == types.float32 else "i32"
        return [self._wrap(value, kind) for value in self.emitter.load4(self._place(pointer, index, kind), kind)]

    def thread(self) -> Value:
        """The thread's number in its block, read anew: no register holds it from the kernel's beginning on."""
        return self._wrap(self.emitter.assembly("mov.u32 $0, %tid.x;", "=r", ["i32"], effect=True)[0], "i32")

    def fetch(self, pointer: Pointer, index: Value) -> Value:
        """One float32 of global memory, asked for here: a plain load is moved to where its value is used."""
        text = "ld.global.f32 $0, [$1];"
        place = self._place(pointer, index, "f32")
        return self._wrap(self.emitter.assembly(text, "=f,l", ["f32"], [place], effect=True)[0], "f32")

    def fetch4(self, pointer: Pointer, index: Value) -> list[Value]:
        """Four neighbours (float32 or 32-bit integers) of global memory, asked for here, at a multiple of 16 bytes."""
        kind, letter = ("f32", "f") if pointer.dtype == types.float32 else ("i32", "r")
        text = f"ld.global.v4.{'f32' if letter == 'f' else 'u32'} {{$0, $1, $2, $3}}, [$4];"
        constraints = ",".join([f"={letter}"] * 4 + ["l"])
        found = self.emitter.assembly(text, constraints, [kind] * 4, [self._place(pointer, index, kind)], effect=True)
        return [self._wrap(value, kind) for value in found]

    def store4(self, pointer: Pointer, index: Value, values: Sequence[Value]) -> None:
        """Write four neighbouring float32 by one instruction; their address is a multiple of 16."""
        self.emitter.store4([value.value for value in values], self._place(pointer, index, "f32"), "f32")

    def store4_if(self, condition: Value, pointer: Pointer, index: Value, values: Sequence[Value]) -> None:
        """:meth:`store4` where the condition holds."""
        with self.emitter.when(condition.value):
            self.store4(pointer, index, values)

    def store2_if(self, condition: Value, pointer: Pointer, index: Value, values: Sequence[Value]) -> None:
        """Write two neighbouring numbers where the condition holds, 16-bit ones at once: their place is even."""
        with self.emitter.when(condition.value):
            if pointer.dtype == types.float32:
                self.store(pointer, index, values[0])
                self.store(pointer, index + 1, values[1])
                return
            low, high = (_bits(self.emitter, pointer.dtype, value.value) for value in values)
            high = self.emitter.arithmetic("shl", high, self.emitter.constant("i32", 16))
            half = self._wrap(self.emitter.arithmetic("lshr", index.value, self.emitter.constant("i32", 1)), "i32")
            self.emitter.store(self.emitter.arithmetic("or", low, high), self._place(pointer, half, "i32"))

    # Tensor cores. Memory is counted in chunks of 16 bytes.

    def _shared_address(self, pointer: Pointer, chunk: Value) -> Any:
        bytes_before = self.emitter.arithmetic("shl", chunk.value, self.emitter.constant("i32", 4))
        return self.emitter.arithmetic("add", self.emitter.shared_address(pointer.value), bytes_before)

    def copy_chunk(self, shared: Pointer, to: Value, source: Pointer, chunk: Value, inside: Value) -> None:
        """Start to copy one chunk to shared memory; zeros where it is not ``inside``. cp.async of 16 or 0 bytes."""
        emitter = self.emitter
        size = emitter.select(inside.value, emitter.constant("i32", 16), emitter.constant("i32", 0))
        wide = emitter.arithmetic("shl", emitter.convert("zext", chunk.value, "i64"), emitter.constant("i64", 4))
        place = emitter.offset(source.value, wide, "i8")
        text = "cp.async.cg.shared.global [$0], [$1], 16, $2;"
        arguments = [self._shared_address(shared, to), place, size]
        emitter.assembly(text, "r,l,r,~{memory}", (), arguments, effect=True)

    def commit(self) -> None:
        """Close a group of copies."""
        self.emitter.assembly("cp.async.commit_group;", "~{memory}", effect=True)

    def wait(self, groups: int) -> None:
        """Wait until no more than this many groups of the thread's copies are under way."""
        self.emitter.assembly(f"cp.async.wait_group {groups};", "~{memory}", effect=True)

    def matrices(self, shared: Pointer, chunk_of: Callable[[Value], Value], lane: Value) -> list[Value]:
        """ldmatrix.x4: four matrices of 8 rows of one chunk; ``chunk_of(lane)`` is row lane % 8 of matrix lane // 8.

        Register i of a lane holds 4 bytes of matrix i: number lane % 4 of row lane // 4.
        """
        text = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0, $1, $2, $3}, [$4];"
        address = self._shared_address(shared, chunk_of(lane))
        found = self.emitter.assembly(text, "=r,=r,=r,=r,r,~{memory}", ["i32"] * 4, [address], effect=True)
        return [self._wrap(value, "i32") for value in found]

    def rounded(self, registers: Sequence[Value], kind: str) -> Sequence[Value]:
        """Fragments as the tensor cores of a kind read them: float32 rounded to TF32, others as they are."""
        if kind != "tf32":
            return registers
        text = "cvt.rna.tf32.f32 $0, $1;"
        return [
            self._wrap(self.emitter.assembly(text, "=r,r", ["i32"], [register.value])[0], "i32")
            for register in registers
        ]

    def multiply(
        self, kind: str, a: Sequence[Value], b: Sequence[Value], c: Sequence[Value], _lane: Value
    ) -> list[Value]:
        """mma.sync: c + a times b transposed, for 16 rows of a and 8 of b, two chunks long; a warp's 4 sums a lane."""
        shape = {"f16": "m16n8k16", "bf16": "m16n8k16", "tf32": "m16n8k8"}[kind]
        text = (
            f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
        )
        arguments = [value.value for value in (*a, *b, *c)]
        sums = self.emitter.assembly(text, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", ["f32"] * 4, arguments)
        return [self._wrap(value, "f32") for value in sums]


def _widened(emitter: Any, dtype: Any, place: Callable[[str], Any]) -> Any:
    """A float32 from memory of a floating-point type; ``place(kind)`` is its address."""
    if dtype == types.float32:
        return emitter.load(place("f32"), "f32")
    bits = emitter.load(place("i16"), "i16")
    if dtype == types.float16:
        return emitter.convert("fpext", emitter.convert("bitcast", bits, "f16"), "f32")
    wide = emitter.arithmetic("shl", emitter.convert("zext", bits, "i32"), emitter.constant("i32", 16))
    return emitter.convert("bitcast", wide, "f32")


def _bits(emitter: Any, dtype: Any, value: Any) -> Any:
    """A float32 rounded to a 16-bit float, as the lower half of an integer."""
    if dtype == types.float16:
        return emitter.convert(
            "zext", emitter.convert("bitcast", emitter.convert("fptrunc", value, "f16"), "i16"), "i32"
        )
    # bfloat16: to the nearest, ties to even; NaN stays NaN
    sixteen, one = emitter.constant("i32", 16), emitter.constant("i32", 1)
    bits = emitter.convert("bitcast", value, "i32")
    odd = emitter.arithmetic("and", emitter.arithmetic("lshr", bits, sixteen), one)
    half = emitter.arithmetic("add", bits, emitter.constant("i32", 0x7FFF))
    nearest = emitter.arithmetic("add", half, odd)
    nan = emitter.compare("uno", value, value)
    chosen = emitter.select(nan, emitter.constant("i32", 0x7FFF0000), nearest)
    return emitter.arithmetic("lshr", chosen, sixteen)


def _store_float(emitter: Any, dtype: Any, place: Callable[[str], Any], value: Any) -> None:
    """Write a float32 to memory of a floating-point type; ``place(kind)`` is its address."""
    if dtype == types.float32:
        emitter.store(value, place("f32"))
    else:
        emitter.store(emitter.convert("trunc", _bits(emitter, dtype, value), "i16"), place("i16"))


def _traced(emitter: Any, kind: Any, value: Any) -> Any:
    """An argument of a kernel's call as a macro takes it."""
    if isinstance(kind, types.BaseTuple):
        return [_traced(emitter, kind[i], value[i]) for i in range(len(kind))]
    if isinstance(kind, types.CPointer):
        return Pointer(value, kind.dtype)
    if isinstance(kind, types.Boolean):
        return Value(emitter, value, "i1")
    if isinstance(kind, types.Integer):
        return Value(emitter, emitter.cast(value, kind, types.uint32), "i32")
    return Value(emitter, emitter.cast(value, kind, types.float32), "f32")


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

    def generate(emitter: Any, kinds: Sequence[Any], values: Sequence[Any]) -> Any:
        taken = [_traced(emitter, kind, value) for kind, value in zip(kinds, values, strict=True)]
        made = function(Operations(emitter), *taken, **constants)
        return [item.value for item in made] if returns else None

    return emit.intrinsic(function.__name__, lambda *_: result, generate)


def _shared_floats(emitter: Any, kinds: Sequence[Any], values: Sequence[Any]) -> Any:
    return emitter.shared_floats(kinds[0].literal_value)


#: ``shared_floats(count)`` is shared memory for a constant number of float32, aligned for every access.
shared_floats = emit.intrinsic(
    "shared_floats",
    lambda count: types.CPointer(types.float32) if isinstance(count, types.IntegerLiteral) else None,
    _shared_floats,
)


def _floats_of(dtype: Any) -> Any:
    """The type of a complex type's parts."""
    return types.float32 if dtype.bitwidth == 64 else types.float64


def _kind_of(dtype: Any) -> str:
    """The kind of a number of one of Numba's types in memory."""
    return f"{'i' if isinstance(dtype, types.Integer) else 'f'}{dtype.bitwidth}"


def _load(emitter: Any, kinds: Sequence[Any], values: Sequence[Any]) -> Any:
    (pointer, index, like, conjugate), memory = kinds, values[0]
    dtype = pointer.dtype
    start = emitter.cast(values[1], index, types.int64)
    if isinstance(dtype, types.Complex):
        part, target = _floats_of(dtype), _floats_of(like)
        kind = _kind_of(part)
        first = emitter.arithmetic("shl", start, emitter.constant("i64", 1))
        second = emitter.arithmetic("or", first, emitter.constant("i64", 1))
        real, imaginary = (
            emitter.cast(emitter.load(emitter.offset(memory, place, kind), kind), part, target)
            for place in (first, second)
        )
        nothing = emitter.constant(_kind_of(target), -0.0)
        wanted = emitter.compare("ne", values[3], emitter.constant(_kind_of(conjugate), 0))
        # older NVVM has no fneg
        imaginary = emitter.select(wanted, emitter.arithmetic("fsub", nothing, imaginary), imaginary)
        return emitter.complex(like, real, imaginary)
    if dtype == types.boolean:
        byte = emitter.load(emitter.offset(memory, start, "i8"), "i8")
        value, kind = emitter.compare("ne", byte, emitter.constant("i8", 0)), types.boolean
    elif dtype in (types.float16, types.bfloat16):
        value, kind = _widened(emitter, dtype, lambda kind: emitter.offset(memory, start, kind)), types.float32
    else:
        name = _kind_of(dtype)
        value, kind = emitter.load(emitter.offset(memory, start, name), name), dtype
    return emitter.cast(value, kind, like)


def _store(emitter: Any, kinds: Sequence[Any], values: Sequence[Any]) -> None:
    (pointer, index, source, relu), memory, number = kinds, values[0], values[2]
    dtype = pointer.dtype
    start = emitter.cast(values[1], index, types.int64)

    def place(kind: str) -> Any:
        return emitter.offset(memory, start, kind)

    if isinstance(dtype, types.Complex):
        part = _floats_of(dtype)
        first = emitter.arithmetic("shl", start, emitter.constant("i64", 1))
        second = emitter.arithmetic("or", first, emitter.constant("i64", 1))
        for offset, value in zip((first, second), emitter.parts(number, source), strict=True):
            emitter.store(emitter.cast(value, _floats_of(source), part), emitter.offset(memory, offset, _kind_of(part)))
        return
    if dtype == types.boolean:
        truth = emitter.compare("ne", number, emitter.constant(_kind_of(source), 0))
        emitter.store(emitter.convert("zext", truth, "i8"), place("i8"))
        return
    kind = types.float32 if dtype in (types.float16, types.bfloat16) else dtype
    number = emitter.cast(number, source, kind)
    if not isinstance(kind, types.Integer) or kind.signed:
        nothing = emitter.constant(_kind_of(kind), 0)
        less = emitter.compare("slt" if isinstance(kind, types.Integer) else "olt", number, nothing)
        wanted = emitter.compare("ne", values[3], emitter.constant(_kind_of(relu), 0))
        number = emitter.select(emitter.arithmetic("and", wanted, less), nothing, number)
    if kind == types.float32:
        _store_float(emitter, dtype, place, number)
    else:
        emitter.store(number, place(_kind_of(kind)))


#: ``load(memory, index, like, conjugate)`` is ``memory[index]``, a number of any type, as one of the type of ``like``.
#: A complex one is conjugated where ``conjugate``, an integer, is not 0.
load = emit.intrinsic("load", lambda _pointer, _index, like, _conjugate: like, _load)

#: ``store(memory, index, value, relu)`` writes a sum to ``memory[index]``, as a number of its type; where ``relu`` is
#: not 0, 0 for a negative one. Integers wrap around first; of a boolean it is written whether the sum is not 0.
store = emit.intrinsic("store", lambda _pointer, _index, _value, _relu: types.void, _store)
