"""The microkernel of depthwise convolution with pixels in the vector lanes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocking import COLUMN_RUNS, DEPTHWISE_ROWS, LINE
from .vectors import INDEX, Vectors, changed_if, constant, element, prefetch


@intrinsic
def depthwise_microkernel(
    typing_context, x, start, pitch, rows, taps, kinds, weight, weight_start, step, bias, relu, y, area, ask,
):  # fmt: skip
    """Y[r, c] = bias + sum over k, t of W[k, t] * X[r + t, c, k], then ReLU where asked, for r < lines, c < columns.

    - Run k has COLUMN_RUNS[i] taps, kinds[i] of them one after the other; t counts its taps, which are neighbours of a
      column.
    - X[r, c, k] is ``x[start + rows[k] + r * pitch + c]``, W[k, t] is ``weight[weight_start + rows[taps + k] + t *
      step]``, the bias is ``weight[bias]``.
    - area = (lines, columns, out_pitch): Y[r, c] is at the address ``y`` and r * out_pitch + c elements behind it.
    - ask = (address, count): each tile asks for as many cache lines of what its core will read next, from there on.

    Tiles are DEPTHWISE_ROWS rows x one vector, and whole ones are read: up to DEPTHWISE_ROWS - 1 rows and lanes - 1
    columns beyond those of the outputs. Only outputs are written.
    """
    index, four, three = types.intp, types.UniTuple(types.intp, 4), types.UniTuple(types.intp, 3)
    signature = types.void(
        x, index, index, rows, index, four, weight, index, index, index, index, index, three,
        types.UniTuple(index, 2),
    )  # fmt: skip

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, pitch, rows, taps, kinds, weight, weight_start, step, bias, relu, y, area, ask = arguments
        given = signature.args
        vectors = Vectors(context, builder, given[0].dtype)
        high, lanes = DEPTHWISE_ROWS, vectors.lanes
        lines, columns, out_pitch = (builder.extract_value(area, i) for i in range(3))
        source = element(context, builder, given[0], x, start)
        table = element(context, builder, given[3], rows, constant(0))
        places = builder.gep(table, [taps])
        w_first = element(context, builder, given[6], weight, weight_start)
        target = builder.inttoptr(y, vectors.element.as_pointer())
        offset = vectors.splat(builder.load(element(context, builder, given[6], weight, bias)))
        asked = cgutils.alloca_once_value(builder, builder.extract_value(ask, 0))
        clamp = builder.icmp_signed("!=", relu, constant(0))

        def add_run(length: int, k: ir.Value, first: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            """Add a run of ``length`` taps."""
            w = builder.gep(w_first, [builder.load(builder.gep(places, [k]))])
            places_of_run = [builder.gep(w, [builder.mul(step, constant(t))]) for t in range(length)]
            taps = [vectors.splat(builder.load(place)) for place in places_of_run]
            cell = builder.gep(first, [builder.load(builder.gep(table, [k]))])
            added = list(totals)
            for i in range(high + length - 1):
                value = vectors.load(cell)
                cell = builder.gep(cell, [pitch])
                for t in range(length):
                    if 0 <= i - t < high:
                        added[i - t] = vectors.multiply_add(value, taps[t], added[i - t])
            return added

        def sum_tile(first: ir.Value) -> list[ir.Value]:
            """All runs, kind by kind."""
            totals, done = [vectors.zero] * high, constant(0)
            for i, length in enumerate(COLUMN_RUNS):
                end = builder.add(done, builder.extract_value(kinds, i))
                before = builder.block
                loop, after = builder.append_basic_block("runs"), builder.append_basic_block("summed")
                builder.cbranch(builder.icmp_signed("<", done, end), loop, after)
                builder.position_at_end(loop)
                k = builder.phi(INDEX)
                carried = [builder.phi(vectors.type) for _ in totals]
                added = add_run(length, k, first, carried)
                following = builder.add(k, constant(1))
                k.add_incoming(done, before)
                k.add_incoming(following, loop)
                builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
                builder.position_at_end(after)
                summed = [builder.phi(vectors.type) for _ in totals]
                for phi, total, kept, result in zip(carried, totals, summed, added, strict=True):
                    phi.add_incoming(total, before)
                    phi.add_incoming(result, loop)
                    kept.add_incoming(total, before)
                    kept.add_incoming(result, loop)
                totals, done = summed, end
            return totals

        down = cgutils.for_range_slice(builder, constant(0), lines, constant(high), INDEX)
        across = cgutils.for_range_slice(builder, constant(0), columns, constant(lanes), INDEX)
        with down as (r, _), across as (c, _):
            first = builder.gep(source, [builder.add(builder.mul(r, pitch), c)])
            with cgutils.for_range(builder, builder.extract_value(ask, 1)):
                line = builder.load(asked)
                prefetch(vectors, builder.inttoptr(line, vectors.element.as_pointer()))
                builder.store(builder.add(line, constant(4 * LINE)), asked)
            totals = [vectors.add(total, offset) for total in sum_tile(first)]
            totals = changed_if(builder, clamp, totals, lambda: [vectors.relu(total) for total in totals])
            place = builder.gep(target, [builder.add(builder.mul(r, out_pitch), c)])
            left = builder.sub(columns, c)
            mask = vectors.first_lanes(left)
            stores = [builder.gep(place, [builder.mul(out_pitch, constant(m))]) for m in range(high)]
            whole = builder.icmp_signed(">=", left, constant(lanes))
            every = builder.icmp_signed(">=", builder.sub(lines, r), constant(high))
            with builder.if_else(builder.and_(whole, every)) as (plain, cut):
                with plain:
                    for total, goal in zip(totals, stores, strict=True):
                        vectors.store(total, goal)
                with cut:
                    for m, (total, goal) in enumerate(zip(totals, stores, strict=True)):
                        with builder.if_then(builder.icmp_signed("<", constant(m), builder.sub(lines, r))):
                            vectors.store_masked(total, goal, mask)
        return context.get_dummy_value()

    return signature, generate
