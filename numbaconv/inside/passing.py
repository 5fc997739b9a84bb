"""The few instructions that a caller's compiled code consists of: write the arguments down, call, allocate, call again.

They are intrinsics, which compile in milliseconds, and one set serves every function.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_new_ref
from numba.extending import intrinsic
from numba.np import arrayobj

from ..arrays import LINE_BYTES
from . import slots
from .library import host_symbol
from .linking import WORD, Need, invoke, symbol


def _constant(number: int) -> ir.Constant:
    return ir.Constant(WORD, number)


class _Writer:
    """Writes records into words."""

    def __init__(self, context: Any, builder: ir.IRBuilder, words: ir.Value) -> None:
        self.context, self.builder, self.words = context, builder, words

    def word(self, place: int, value: ir.Value | int) -> None:
        value = _constant(value) if isinstance(value, int) else value
        self.builder.store(value, self.builder.gep(self.words, [_constant(place)]))

    def integer(self, kind: Any, value: ir.Value) -> ir.Value:
        if isinstance(kind, types.Literal):
            return _constant(int(kind.literal_value))
        return self.context.cast(self.builder, value, kind, types.int64)

    def record(self, place: int, kind: Any, value: ir.Value) -> None:
        """Write an argument of a Numba type as the record from word ``place`` on."""
        if isinstance(kind, types.Omitted):
            kind = self.context.typing_context.resolve_value_type_prefer_literal(kind.value)
        if isinstance(kind, types.Optional):
            raise TypeError(f"arguments that may be None are not passed on: {kind}")
        if isinstance(kind, types.Array):
            self.array(place, kind, value)
        elif isinstance(kind, types.StringLiteral):
            self.word(place + slots.KIND, slots.NAME)
            for i, part in enumerate(slots.packed(kind.literal_value)):
                self.word(place + slots.VALUE + i, part)
        elif isinstance(kind, types.UnicodeType):
            text = cgutils.create_struct_proxy(kind)(self.context, self.builder, value)
            self.word(place + slots.KIND, slots.TEXT)
            self.word(place + slots.COUNT, text.length)
            self.word(place + slots.VALUE, self.builder.ptrtoint(text.data, WORD))
            self.word(place + slots.ITEMSIZE, self.builder.sext(text.kind, WORD))
        elif isinstance(kind, (types.Float, types.Complex)):
            whole = self.context.cast(self.builder, value, kind, types.complex128)
            self.word(place + slots.KIND, slots.FLOATING)
            for i in range(2):
                self.word(place + slots.VALUE + i, self.builder.bitcast(self.builder.extract_value(whole, i), WORD))
        elif isinstance(kind, (types.Integer, types.Boolean)):
            self.word(place + slots.KIND, slots.INTEGER)
            self.word(place + slots.VALUE, self.integer(kind, value))
        elif isinstance(kind, types.BaseTuple):
            self.tuple(place, kind, value)
        else:
            self.word(place + slots.KIND, slots.NONE)

    def tuple(self, place: int, kind: Any, value: ir.Value) -> None:
        items = cgutils.unpack_tuple(self.builder, value, len(kind.types))
        pairs = any(isinstance(item, types.BaseTuple) for item in kind.types)
        self.word(place + slots.KIND, slots.PAIRS if pairs else slots.TUPLE)
        self.word(place + slots.COUNT, len(kind.types))
        at = place + slots.VALUE
        for item, part in zip(kind.types, items, strict=True):
            if pairs:
                for i, side in enumerate(item.types):
                    self.word(at, self.integer(side, self.builder.extract_value(part, i)))
                    at += 1
            else:
                self.word(at, self.integer(item, part))
                at += 1

    def array(self, place: int, kind: Any, value: ir.Value) -> None:
        array = self.context.make_array(kind)(self.context, self.builder, value)
        self.word(place + slots.KIND, slots.ARRAY)
        self.word(place + slots.COUNT, kind.ndim)
        self.word(place + slots.VALUE, self.builder.ptrtoint(array.data, WORD))
        self.word(place + slots.ITEMSIZE, array.itemsize)
        for start, values in ((slots.SHAPE, array.shape), (slots.STRIDES, array.strides)):
            for i, part in enumerate(cgutils.unpack_tuple(self.builder, values, kind.ndim)):
                self.word(place + start + i, part)


def _call(context: Any, builder: ir.IRBuilder, host: str, needs: tuple[Need, ...], place: ir.Value) -> None:
    """Call a host function, and see to it that all that it needs is there whenever this code is."""
    library = context.active_code_library
    for one in needs:
        one()
        library._reload_init.add(one)
    invoke(context, builder, symbol(builder, host_symbol(host)), (types.intp,), [place])


def begin(host: str, words: int, needs: tuple[Need, ...], numbers: tuple[int | str, ...], settings: int) -> Any:
    """Make the instruction that writes a tuple of arguments down and calls a host function; its value is their place.

    ``numbers`` are written from the first value of record ``settings`` on: integers, and symbols for their addresses.
    """

    @intrinsic
    def begin(typing_context, arguments):
        def generate(context, builder, signature, values):
            memory = cgutils.alloca_once(builder, WORD, size=words)
            writer = _Writer(context, builder, memory)
            given = cgutils.unpack_tuple(builder, values[0], len(signature.args[0].types))
            for i, (kind, value) in enumerate(zip(signature.args[0].types, given, strict=True)):
                writer.record(i * slots.RECORD, kind, value)
            for one in needs:
                one()
            for i, number in enumerate(numbers):
                writer.word(settings + slots.VALUE + i, symbol(builder, number) if isinstance(number, str) else number)
            place = builder.ptrtoint(memory, WORD)
            _call(context, builder, host, needs, place)
            return place

        return types.intp(arguments), generate

    return begin


def finish(host: str, needs: tuple[Need, ...], *records: int) -> Any:
    """Make the instruction that writes the first of some values down as ``records`` and calls a host function.

    The others are arrays whose addresses were written down before: here they are used for the last time.
    """

    @intrinsic
    def finish(typing_context, place, values):
        def generate(context, builder, signature, arguments):
            memory = builder.inttoptr(arguments[0], WORD.as_pointer())
            writer = _Writer(context, builder, memory)
            for i, record in enumerate(records):
                writer.record(record, signature.args[1].types[i], builder.extract_value(arguments[1], i))
            _call(context, builder, host, needs, arguments[0])
            return context.get_dummy_value()

        return types.none(types.intp, values), generate

    return finish


def number_at(word: int) -> Any:
    """Make the instruction that reads a number that a host function has written."""

    @intrinsic
    def number_at(typing_context, place):
        def generate(context, builder, signature, values):
            memory = builder.inttoptr(values[0], WORD.as_pointer())
            return builder.load(builder.gep(memory, [_constant(word)]))

        return types.intp(types.intp), generate

    return number_at


def shape_at(word: int, ndim: int) -> Any:
    """Make the instruction that reads a shape."""

    @intrinsic
    def shape_at(typing_context, place):
        shape = types.UniTuple(types.intp, ndim)

        def generate(context, builder, signature, values):
            memory = builder.inttoptr(values[0], WORD.as_pointer())
            parts = [builder.load(builder.gep(memory, [_constant(word + i)])) for i in range(ndim)]
            return context.make_tuple(builder, shape, parts)

        return shape(types.intp), generate

    return shape_at


class _OnLines:
    """A target whose new arrays start on a cache line; Numba's start 32 bytes into one as often as not."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def get_preferred_array_alignment(self, _kind: Any) -> int:
        return LINE_BYTES


@intrinsic
def new_array(typing_context, shape, dtype):
    """``np.empty(shape, dtype)`` that starts on a cache line: see ``arrays.new_array``."""
    result = types.Array(dtype.dtype, len(shape), "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sizes = cgutils.unpack_tuple(builder, arguments[0])
        array = arrayobj._empty_nd_impl(_OnLines(context), builder, signature.return_type, sizes)
        return impl_ret_new_ref(context, builder, signature.return_type, array._getvalue())

    return result(shape, dtype), generate
