"""Vector instructions for convolution with output channels in the lanes: transpositions and stores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocking import LINE, SPREAD
from .vectors import INDEX, INTO_L1, Vectors, changed_if, constant, element, prefetch, transposed

#: Cache lines ahead of what is stored in a plane that are asked for. A CPU's own prefetcher follows few of the planes
#: that are stored in turn: layers whose outputs exceed an L2 cache took 1.03 to 1.2 times as long without, others 0.98
#: to 1.1; with 4 and 8 lines 1.0 to 1.05 times as long as with 2 (Emerald Rapids, 2 threads).
LINES_STORED: Final = 2


def lines_of(
    vectors: Vectors, address: ir.Value, step: ir.Value, valid: ir.Value, mask: ir.Value
) -> list[ir.Value]:  # fmt: skip
    """As many vectors as there are lanes, ``step`` elements apart; behind the first ``valid`` >= 1 the last of these.

    Lanes that are not in ``mask`` are 0, and their memory is not touched.
    """
    builder = vectors.builder
    lines = []
    for line in range(vectors.lanes):
        lines.append(vectors.load_masked(address, mask))
        within = builder.icmp_signed("<", constant(line + 1), valid)
        address = builder.gep(address, [builder.select(within, step, constant(0))])
    return lines


def each_cell(
    vectors: Vectors, source: ir.Value, stride: ir.Value, target: ir.Value, out_stride: ir.Value, count: ir.Value,
    valid: ir.Value, change: Callable[[ir.Value], ir.Value],
) -> None:  # fmt: skip
    """Store what ``change`` makes of ``count`` vectors, of each the first ``valid`` lanes; no others are read."""
    builder = vectors.builder
    mask = vectors.first_lanes(valid)

    def store_all(whole: bool) -> None:
        with cgutils.for_range(builder, count) as loop:
            cell = builder.gep(source, [builder.mul(stride, loop.index)])
            goal = builder.gep(target, [builder.mul(out_stride, loop.index)])
            if whole:
                vectors.store(change(vectors.load(cell)), goal)
            else:
                vectors.store_masked(change(vectors.load_masked(cell, mask)), goal, mask)

    with builder.if_else(builder.icmp_signed(">=", valid, constant(vectors.lanes))) as (every, some):
        with every:
            store_all(True)
        with some:
            store_all(False)


@intrinsic
def transpose_lines(typing_context, x, start, step, valid, count, y, y_start):
    """y[y_start + j * lanes + n] = x[start + n * step + j] for j < count <= lanes, n < lanes.

    Lanes from ``valid`` on repeat the last valid one's; of x, nothing else is read. lanes * lanes elements are written,
    those of j >= count with zeros.
    """
    index = types.intp
    signature = types.void(x, index, index, index, index, y, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, step, valid, count, y, y_start = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], x, start)
        lines = lines_of(vectors, first, step, valid, vectors.first_lanes(count))
        target = element(context, builder, signature.args[5], y, y_start)
        for j, column in enumerate(transposed(vectors, lines)):
            vectors.store(column, builder.gep(target, [constant(j * vectors.lanes)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gather_channels(typing_context, x, start, step, filters, phase, valid, count, y, y_start, cells, first):
    """y[y_start + cells[first + j] + n] = x[start + step * ((phase + n) // filters) + j] for j < count <= lanes.

    Lane n is filter n of a panel and reads the channel of its group: every ``filters`` lanes the next one, ``step``
    elements on. Lanes from ``valid`` on repeat the last valid one's. Whole vectors are written; of x, nothing else is
    read. phase < filters.
    """
    index = types.intp
    signature = types.void(x, index, index, index, index, index, index, y, index, cells, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, step, filters, phase, valid, count, y, y_start, cells, first = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        lines = []
        for lane in range(vectors.lanes):
            lines.append(vectors.load_masked(element(context, builder, signature.args[0], x, start), mask))
            phase = builder.add(phase, constant(1))
            full = builder.icmp_signed("==", phase, filters)
            within = builder.icmp_signed("<", constant(lane + 1), valid)
            start = builder.add(start, builder.select(builder.and_(full, within), step, constant(0)))
            phase = builder.select(full, constant(0), phase)
        target = element(context, builder, signature.args[7], y, y_start)
        table = element(context, builder, signature.args[9], cells, first)
        columns = transposed(vectors, lines)

        def put(j: int) -> None:
            vectors.store(columns[j], builder.gep(target, [builder.load(builder.gep(table, [constant(j)]))]))

        with builder.if_else(builder.icmp_signed("==", count, constant(vectors.lanes))) as (whole, part):
            with whole:
                for j in range(vectors.lanes):
                    put(j)
            with part:
                for j in range(vectors.lanes):
                    with builder.if_then(builder.icmp_signed("<", constant(j), count)):
                        put(j)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def spread_groups(typing_context, y, start, cells, filters, plane):
    """y[start + c * plane + i * lanes + n] = y[start + i * lanes + n - n % filters + c], c < filters, i < cells.

    Lane n of the cells read is a channel, and a filter of a group of ``filters`` channels and as many filters: of each
    of its channels one plane is made, the first one in place. ``filters`` is one of SPREAD that divides the lanes.
    """
    index = types.intp
    signature = types.void(y, index, index, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        y, start, cells, filters, plane = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], y, start)

        def spread(width: int) -> None:
            with cgutils.for_range(builder, cells) as loop:
                address = builder.gep(first, [builder.mul(loop.index, constant(vectors.lanes))])
                cell = vectors.load(address)
                for c in range(width):
                    lanes = [lane - lane % width + c for lane in range(vectors.lanes)]
                    target = builder.gep(address, [builder.mul(plane, constant(c))])
                    vectors.store(vectors.shuffle(cell, cell, lanes), target)

        for width in SPREAD:
            if vectors.lanes % width == 0:
                with builder.if_then(builder.icmp_signed("==", filters, constant(width))):
                    spread(width)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def sum_of_zeros(typing_context, x, start, count):
    """Return the sum of 0 * x[start + j], j < count: 0 where all are finite, else NaN. ``count`` is whole vectors."""
    signature = x.dtype(x, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], x, start)
        # Four sums: each addition waits 4 cycles for the one before. With one sum plain calls with 4 to 9 MB of weights
        # took 1.04 to 1.1 times as long (Emerald Rapids).
        totals = [cgutils.alloca_once_value(builder, vectors.zero) for _ in range(4)]
        step = 4 * vectors.lanes
        whole = builder.sub(count, builder.srem(count, constant(step)))

        def add(index: ir.Value, total: ir.Value) -> None:
            value = vectors.load(builder.gep(first, [index]))
            builder.store(vectors.multiply_add(value, vectors.zero, builder.load(total)), total)

        with cgutils.for_range_slice(builder, constant(0), whole, constant(step), intp=INDEX) as (index, _):
            for i, total in enumerate(totals):
                add(builder.add(index, constant(i * vectors.lanes)), total)
        with cgutils.for_range_slice(builder, whole, count, constant(vectors.lanes), intp=INDEX) as (index, _):
            add(index, totals[0])
        total = functools.reduce(vectors.add, [builder.load(total) for total in totals])
        lanes = [builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(vectors.lanes)]
        return functools.reduce(vectors.add, lanes)

    return signature, generate


def biased(vectors: Vectors, lines: list[ir.Value], bias: ir.Value, relu: ir.Value) -> list[ir.Value]:
    """The lines with the bias, then their ReLU where it is asked for."""
    builder = vectors.builder
    lines = [vectors.add(line, bias) for line in lines]
    clamp = builder.icmp_signed("!=", relu, constant(0))
    return changed_if(builder, clamp, lines, lambda: [vectors.relu(line) for line in lines])


@intrinsic
def transpose_square(typing_context, sums, start, stride, bias, bias_start, relu):
    """Transpose, with bias, then ReLU where asked, lanes x lanes sums in place, of which row j starts at j * stride.

    sums[start + n * stride + j] = old sums[start + j * stride + n] + bias[bias_start + n] for j, n < lanes.
    """
    index = types.intp
    signature = types.void(sums, index, index, bias, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, bias, bias_start, relu = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], sums, start)
        rows = [builder.gep(first, [builder.mul(stride, constant(j))]) for j in range(vectors.lanes)]
        biases = vectors.load(element(context, builder, signature.args[3], bias, bias_start))
        lines = biased(vectors, [vectors.load(row) for row in rows], biases, relu)
        for row, plane in zip(rows, transposed(vectors, lines), strict=True):
            vectors.store(plane, row)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_squares(typing_context, sums, start, stride, out, out_start, count):
    """out[out_start + i * lanes + j] = sums[start + i * stride + j] for j < lanes, i * lanes < count.

    One plane of squares that :func:`transpose_square` left side by side; ``count`` is whole vectors.
    """
    index = types.intp
    signature = types.void(sums, index, index, out, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, out, out_start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], sums, start)
        target = element(context, builder, signature.args[3], out, out_start)
        with cgutils.for_range(builder, builder.sdiv(count, constant(vectors.lanes))) as loop:
            value = vectors.load(builder.gep(first, [builder.mul(stride, loop.index)]))
            vectors.store(value, builder.gep(target, [builder.mul(constant(vectors.lanes), loop.index)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_planes(typing_context, sums, start, stride, count, bias, bias_start, relu, out, out_start, out_stride, valid):
    """out[out_start + n * out_stride + j] = sums[start + j * stride + n] + bias[bias_start + n], then ReLU where asked.

    For j < count <= lanes and n < min(valid, lanes). ``lanes`` rows of sums are read, nothing else is written.
    """
    index = types.intp
    signature = types.void(sums, index, index, index, bias, index, index, out, index, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, count, bias, bias_start, relu, out, out_start, out_stride, valid = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        first = element(context, builder, signature.args[0], sums, start)
        lines = [vectors.load(builder.gep(first, [builder.mul(stride, constant(j))])) for j in range(vectors.lanes)]
        biases = vectors.load(element(context, builder, signature.args[4], bias, bias_start))
        target = element(context, builder, signature.args[7], out, out_start)
        planes = [builder.gep(target, [builder.mul(out_stride, constant(n))]) for n in range(vectors.lanes)]
        for plane in planes:
            prefetch(
                vectors, builder.gep(plane, [constant(LINES_STORED * 4 * LINE // vectors.bytes)]), INTO_L1, write=True
            )
        columns = transposed(vectors, biased(vectors, lines, biases, relu))
        for n, (plane, column) in enumerate(zip(planes, columns, strict=True)):
            with builder.if_then(builder.icmp_signed("<", constant(n), valid)):
                vectors.store_masked(column, plane, mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_cells(
    typing_context, sums, start, stride, count, bias, bias_start, relu, out, out_start, out_stride, valid,
):  # fmt: skip
    """out[out_start + j * out_stride + n] = sums[start + j * stride + n] + bias[bias_start + n], then ReLU where asked.

    For j < count and n < min(valid, lanes); whole vectors of biases are read.
    """
    index = types.intp
    signature = types.void(sums, index, index, index, bias, index, index, out, index, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, count, bias, bias_start, relu, out, out_start, out_stride, valid = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], sums, start)
        target = element(context, builder, signature.args[7], out, out_start)
        biases = vectors.load(element(context, builder, signature.args[4], bias, bias_start))
        each_cell(
            vectors, first, stride, target, out_stride, count, valid,
            lambda line: biased(vectors, [line], biases, relu)[0],
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def transpose_cells(typing_context, x, start, stride, count, valid, y, y_start, y_stride):
    """y[y_start + n * y_stride + j] = x[start + j * stride + n] for j < min(count, lanes) and n < min(valid, lanes).

    count and valid are at least 1. Nothing else is read or written.
    """
    index = types.intp
    signature = types.void(x, index, index, index, index, y, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, stride, count, valid, y, y_start, y_stride = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        cell = element(context, builder, signature.args[0], x, start)
        place = element(context, builder, signature.args[5], y, y_start)
        pixels = vectors.first_lanes(count)
        cells = lines_of(vectors, cell, stride, count, vectors.first_lanes(valid))
        for n, plane in enumerate(transposed(vectors, cells)):
            with builder.if_then(builder.icmp_signed("<", constant(n), valid)):
                vectors.store_masked(plane, builder.gep(place, [builder.mul(y_stride, constant(n))]), pixels)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_cells(typing_context, x, start, stride, count, y, y_start, y_stride, valid):
    """y[y_start + j * y_stride + n] = x[start + j * stride + n] for j < count and n < min(valid, lanes)."""
    index = types.intp
    signature = types.void(x, index, index, index, y, index, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, stride, count, y, y_start, y_stride, valid = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], x, start)
        target = element(context, builder, signature.args[4], y, y_start)
        each_cell(vectors, first, stride, target, y_stride, count, valid, lambda cell: cell)
        return context.get_dummy_value()

    return signature, generate
