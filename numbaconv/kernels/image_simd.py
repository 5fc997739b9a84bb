"""Vector instructions of the image kernels: a tile of sums over a sliding window, and runs of converted elements.

A tile of R rows x V vectors of outputs stays in registers. For each row of the input under it and each column of the
kernel, V vectors are loaded once and multiplied by the taps of all output rows that this input row belongs to: a load
serves up to R multiply-adds. Every output is summed in the order of its taps, whatever the tile, so tiles of any size
may be mixed, and may overlap, without changing a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .blocking import VECTOR_BYTES
from .vectors import INDEX, Vectors, constant, emit_call

#: Vectors in a row of the usual tile. AVX-512 has 32 registers, the others 16.
TILE_VECTORS: Final = 4 if VECTOR_BYTES == 64 else 2
#: Length of the array that call_tasks takes: a function's address and those of its arguments.
ADDRESSES: Final = 12


class Lanes(Vectors):
    """Vectors of floats or of integers, which wrap around."""

    def __init__(self, context: Any, builder: ir.IRBuilder, dtype: Any, lanes: int | None = None) -> None:
        super().__init__(context, builder, dtype, lanes)
        self.integer = isinstance(dtype, types.Integer)
        self.rounds_products = False
        if self.integer:
            self.suffix = f"v{self.lanes}i{dtype.bitwidth}"

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Multiply and add: a * b + c."""
        if self.integer:
            return self.builder.add(self.builder.mul(a, b), c)
        if self.rounds_products:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return super().multiply_add(a, b, c)


def counted(
    builder: ir.IRBuilder,
    first: ir.Value,
    end: ir.Value,
    values: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """Emit a loop that carries values: ``values = body(k, values)`` for first <= k < end, where first < end."""
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INDEX)
    carried = [builder.phi(value.type) for value in values]
    results = body(k, carried)
    k_next = builder.add(k, constant(1))
    k.add_incoming(first, before)
    k.add_incoming(k_next, builder.block)
    for phi, value, result in zip(carried, values, results, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(result, builder.block)
    builder.cbranch(builder.icmp_signed("<", k_next, end), loop, after)
    builder.position_at_end(after)
    return results


def _image_tile(tile_rows: int, tile_vectors: int) -> Any:
    """Make the microkernel of one tile."""

    def image_tile(typing_context, w, rule, x, pitch, kernel_h, kernel_w, out, out_pitch, accumulate):
        """Y[r, c] (+)= sum over i < KH, j < KW of W[i, j] * X[r + i, c + j], for r < R and c < V * lanes.

        - ``w`` points to W, which is contiguous; kernel_h is at least R, kernel_w at least 1.
        - ``x`` and ``out`` are the addresses of X[0, 0] and Y[0, 0]; their elements are those of ``w``, their rows lie
          ``pitch`` and ``out_pitch`` elements apart. R + KH - 1 rows of V * lanes + KW - 1 elements of X are read.
        - ``rule`` points to int8 where products are rounded before they are added, and elsewhere to anything else.
        - Y is read only where ``accumulate`` is not 0. X and Y do not overlap. No alignment is assumed beyond the
          element's.
        """
        index = types.intp
        return types.void(w, rule, *[index] * 7), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        taps, _, x, pitch, kernel_h, kernel_w, out, out_pitch, accumulate = arguments
        vectors = Lanes(context, builder, signature.args[0].dtype)
        vectors.rounds_products = signature.args[1].dtype == types.int8
        source = builder.inttoptr(x, vectors.element.as_pointer())
        target = builder.inttoptr(out, vectors.element.as_pointer())
        tile = [(r, v) for r in range(tile_rows) for v in range(tile_vectors)]
        places = [
            builder.gep(target, [builder.add(builder.mul(out_pitch, constant(r)), constant(v * vectors.lanes))])
            for r, v in tile
        ]

        skipped = builder.block
        with builder.if_then(builder.icmp_signed("!=", accumulate, constant(0))):
            loaded = [vectors.load(place) for place in places]
            taken = builder.block
        sums = {}
        for position, value in zip(tile, loaded, strict=True):
            phi = sums[position] = builder.phi(vectors.type)
            phi.add_incoming(vectors.zero, skipped)
            phi.add_incoming(value, taken)

        def input_row(i: ir.Value, rows: range, values: list[ir.Value]) -> list[ir.Value]:
            """Add what input row i contributes to some output rows."""
            row = builder.gep(source, [builder.mul(i, pitch)])
            lines = [builder.gep(taps, [builder.mul(builder.sub(i, constant(r)), kernel_w)]) for r in rows]

            def column(j: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
                first = builder.gep(row, [j])
                cells = [vectors.load(builder.gep(first, [constant(v * vectors.lanes)])) for v in range(tile_vectors)]
                splats = [vectors.splat(builder.load(builder.gep(line, [j]))) for line in lines]
                pairs = [(splat, cell) for splat in splats for cell in cells]
                return [
                    vectors.multiply_add(splat, cell, total) for (splat, cell), total in zip(pairs, totals, strict=True)
                ]

            return counted(builder, constant(0), kernel_w, values, column)

        def some(rows: range) -> list[tuple[int, int]]:
            return [(r, v) for r in rows for v in range(tile_vectors)]

        def add(i: ir.Value, rows: range) -> None:
            totals = input_row(i, rows, [sums[position] for position in some(rows)])
            sums.update(zip(some(rows), totals, strict=True))

        for i in range(tile_rows - 1):
            add(constant(i), range(i + 1))
        every = range(tile_rows)
        totals = counted(
            builder, constant(tile_rows - 1), kernel_h, [sums[position] for position in tile],
            lambda i, values: input_row(i, every, values),
        )  # fmt: skip
        sums.update(zip(tile, totals, strict=True))
        for i in range(1, tile_rows):
            add(builder.add(kernel_h, constant(i - 1)), range(i, tile_rows))
        for position, place in zip(tile, places, strict=True):
            vectors.store(sums[position], place)
        return context.get_dummy_value()

    image_tile.__name__ = f"image_tile_{tile_rows}x{tile_vectors}"
    return intrinsic(image_tile)


image_tile_1, image_tile_2, image_tile_3, image_tile_4 = (_image_tile(rows, TILE_VECTORS) for rows in (1, 2, 3, 4))
image_tile_1x1, image_tile_2x1, image_tile_4x1 = (_image_tile(rows, 1) for rows in (1, 2, 4))


@intrinsic
def element_size(typing_context, pointer):
    """Bytes of what a pointer points to."""

    def generate(_context: Any, _builder: ir.IRBuilder, signature: Any, _arguments: Any) -> ir.Value:
        return constant(signature.args[0].dtype.bitwidth // 8)

    return types.intp(pointer), generate


@intrinsic
def call_block(typing_context, block, w, x, x_pitch, kernel_h, kernel_w, out, out_pitch, lines, columns, accumulate):
    """Call ``image_block``, compiled on its own, by its address ``block``; ``w`` is a pointer.

    Were it called by name, Numba would compile its tiles once more for each function above it.
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        block, w, *others = arguments
        return emit_call(context, builder, block, [builder.ptrtoint(w, INDEX), constant(0), *others])

    return types.void(types.intp, w, *[types.intp] * 9), generate


@intrinsic
def call_convert(typing_context, convert, x, y, count, x_step, y_step):
    """Call ``image_convert``, compiled for the two dtypes, by its address; x and y are addresses, too."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        convert, *others = arguments
        return emit_call(context, builder, convert, others)

    return types.void(*[types.intp] * 6), generate


@intrinsic
def call_tasks(typing_context, addresses, slot, slots):
    """Call the C function at addresses[0] with the other addresses, ``slot`` and ``slots``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        array, slot, slots = arguments
        first = context.make_array(signature.args[0])(context, builder, array).data
        values = [builder.load(builder.gep(first, [constant(i)])) for i in range(ADDRESSES)]
        return emit_call(context, builder, values[0], [*values[1:], slot, slots])

    return types.void(addresses, types.intp, types.intp), generate


@intrinsic
def at_offset(typing_context, pointer, offset):
    """The pointer ``offset`` elements on."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.intp), generate


@intrinsic
def address(typing_context, pointer, start):
    """The address of ``pointer[start]`` as an integer."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return builder.ptrtoint(builder.gep(arguments[0], [arguments[1]]), INDEX)

    return types.intp(pointer, types.intp), generate


def _converted(builder: ir.IRBuilder, value: ir.Value, given: Any, wanted: Any) -> ir.Value:
    """Elements or vectors of one Numba type as another: integers wrap, floats lose their fraction."""
    lanes = value.type.count if isinstance(value.type, ir.VectorType) else 0

    def kind(scalar: ir.Type) -> ir.Type:
        return ir.VectorType(scalar, lanes) if lanes else scalar

    def floating(numba_type: Any) -> ir.Type:
        return ir.FloatType() if numba_type.bitwidth == 32 else ir.DoubleType()

    if given == wanted:
        return value
    if isinstance(given, types.Float) and isinstance(wanted, types.Float):
        change = builder.fpext if wanted.bitwidth > given.bitwidth else builder.fptrunc
        return change(value, kind(floating(wanted)))
    if isinstance(given, types.Float):
        # Saturating conversions: what C leaves undefined, and what a NaN becomes, is then the same on every CPU.
        wide = kind(ir.IntType(64))

        def saturated(operand: ir.Value, sign: str) -> ir.Value:
            shape = f"v{lanes}" if lanes else ""
            name = f"llvm.fpto{sign}i.sat.{shape}i64.{shape}f{given.bitwidth}"
            function = builder.module.globals.get(name) or ir.Function(
                builder.module, ir.FunctionType(wide, [value.type]), name
            )
            return builder.call(function, [operand])

        if wanted.signed or wanted.bitwidth < 64:
            whole = saturated(value, "s")
        else:  # above 2**63, and negative values wrapped around
            zero = ir.Constant(value.type, None)
            minus = builder.sub(ir.Constant(wide, None), saturated(builder.fneg(value), "u"))
            whole = builder.select(builder.fcmp_ordered("<", value, zero), minus, saturated(value, "u"))
        return whole if wanted.bitwidth == 64 else builder.trunc(whole, kind(ir.IntType(wanted.bitwidth)))
    if isinstance(wanted, types.Float):
        change = builder.sitofp if given.signed else builder.uitofp
        return change(value, kind(floating(wanted)))
    if wanted.bitwidth == given.bitwidth:
        return value
    if wanted.bitwidth < given.bitwidth:
        return builder.trunc(value, kind(ir.IntType(wanted.bitwidth)))
    return (builder.sext if given.signed else builder.zext)(value, kind(ir.IntType(wanted.bitwidth)))


@intrinsic
def convert_run(typing_context, x, y, count):
    """y[j] = x[j] for j < count, converted: integers wrap around, floats lose their fraction."""
    signature = types.void(x, y, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        source, target, count = arguments
        given, wanted = signature.args[0].dtype, signature.args[1].dtype
        lanes = VECTOR_BYTES * 8 // max(given.bitwidth, wanted.bitwidth)
        narrow, wide = Lanes(context, builder, given, lanes), Lanes(context, builder, wanted, lanes)

        def vector(k: ir.Value, _values: list[ir.Value]) -> list[ir.Value]:
            start = builder.mul(k, constant(lanes))
            value = narrow.load(builder.gep(source, [start]))
            wide.store(_converted(builder, value, given, wanted), builder.gep(target, [start]))
            return []

        def single(k: ir.Value, _values: list[ir.Value]) -> list[ir.Value]:
            value = builder.load(builder.gep(source, [k]))
            builder.store(_converted(builder, value, given, wanted), builder.gep(target, [k]))
            return []

        whole = builder.sdiv(count, constant(lanes))
        with builder.if_then(builder.icmp_signed(">", whole, constant(0))):
            counted(builder, constant(0), whole, [], vector)
        done = builder.mul(whole, constant(lanes))
        with builder.if_then(builder.icmp_signed("<", done, count)):
            counted(builder, done, count, [], single)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def convert_element(typing_context, x, x_index, y, y_index):
    """y[y_index] = x[x_index] by the rules of :func:`convert_run`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_index, y, y_index = arguments
        value = builder.load(builder.gep(x, [x_index]))
        value = _converted(builder, value, signature.args[0].dtype, signature.args[2].dtype)
        builder.store(value, builder.gep(y, [y_index]))
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp), generate


@intrinsic
def all_finite(typing_context, x, start, count):
    """1 where x[start + j] is finite for all j < count, else 0; count is a multiple of the lanes and at least that.

    Integers are always finite.
    """
    signature = types.intp(x, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, count = arguments
        vectors = Lanes(context, builder, signature.args[0].dtype)
        if vectors.integer:
            return constant(1)
        first = builder.gep(x, [start])

        def vector(k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            cells = vectors.load(builder.gep(first, [builder.mul(k, constant(vectors.lanes))]))
            return [vectors.multiply_add(cells, vectors.zero, values[0])]  # 0 times anything else is NaN

        whole = builder.sdiv(count, constant(vectors.lanes))
        [total] = counted(builder, constant(0), whole, [vectors.zero], vector)
        lanes = builder.bitcast(builder.fcmp_unordered("uno", total, total), ir.IntType(vectors.lanes))
        none = builder.icmp_unsigned("==", lanes, ir.Constant(lanes.type, 0))
        return builder.zext(none, INDEX)

    return signature, generate
