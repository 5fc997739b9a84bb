"""Columns of what lies side by side taken apart, every m-th in a vector of its own, and put together again."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import INDEX, Vectors, constant, element, prefetch


def _picked(vectors: Vectors, given: list[ir.Value], wanted: list[tuple[int, int]]) -> ir.Value:
    """A vector whose lane l is lane ``wanted[l][1]`` of ``given[wanted[l][0]]``."""
    lanes = vectors.lanes
    value = given[0]
    order = [lane if number == 0 else l for l, (number, lane) in enumerate(wanted)]
    for number in range(1, len(given)):
        index = [lanes + lane if source == number else order[l] for l, (source, lane) in enumerate(wanted)]
        value = vectors.shuffle(value, given[number], index)
        order = list(range(lanes))
    return value


def apart(vectors: Vectors, given: list[ir.Value]) -> list[ir.Value]:
    """The m columns of tiles whose m columns lie side by side in m vectors: lane t of column j is element m * t + j."""
    m, lanes = len(given), vectors.lanes
    if m == 1:
        return given
    if m % 2 == 1:
        return [_picked(vectors, given, [divmod(m * t + j, lanes) for t in range(lanes)]) for j in range(m)]
    columns: list[ir.Value] = [None] * m
    for part in (0, 1):
        index = [2 * lane + part for lane in range(lanes)]
        halves = [vectors.shuffle(given[p], given[p + 1], index) for p in range(0, m, 2)]
        columns[part::2] = apart(vectors, halves)
    return columns


def together(vectors: Vectors, columns: list[ir.Value]) -> list[ir.Value]:
    """The inverse of :func:`apart`."""
    m, lanes = len(columns), vectors.lanes
    if m == 1:
        return columns
    if m % 2 == 1:
        places = [[divmod(p * lanes + lane, m) for lane in range(lanes)] for p in range(m)]
        return [_picked(vectors, columns, [(j, t) for t, j in place]) for place in places]
    even, odd = (together(vectors, columns[part::2]) for part in (0, 1))
    woven = []
    for a, b in zip(even, odd, strict=True):
        for half in (0, lanes // 2):
            woven.append(vectors.shuffle(a, b, [half + lane // 2 + lane % 2 * lanes for lane in range(lanes)]))
    return woven


def _copy_row(phases: int) -> Any:
    """Make the function that copies a row, its phases apart."""

    def copy_row(typing_context, x, start, count, y, starts):
        """y[starts[p] + j] = x[start + j * PHASES + p] for j * PHASES + p < ``count`` and p < PHASES.

        Behind, up to whole vectors in all phases alike, zeros. Of x, nothing else is read.
        """
        index = types.intp
        return types.void(x, index, index, y, types.UniTuple(index, phases)), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, count, y, starts = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        lanes = vectors.lanes
        row = element(context, builder, signature.args[0], x, start)
        first = element(context, builder, signature.args[3], y, constant(0))
        targets = [builder.gep(first, [builder.extract_value(starts, p)]) for p in range(phases)]
        some = phases * lanes
        whole = builder.sub(count, builder.srem(count, constant(some)))

        def places(j: ir.Value) -> list[ir.Value]:
            return [builder.gep(row, [builder.add(j, constant(i * lanes))]) for i in range(phases)]

        def put(j: ir.Value, given: list[ir.Value]) -> None:
            place = builder.sdiv(j, constant(phases))
            for target, column in zip(targets, apart(vectors, given), strict=True):
                vectors.store(column, builder.gep(target, [place]))

        with cgutils.for_range_slice(builder, constant(0), whole, constant(some), INDEX) as (j, _):
            put(j, [vectors.load(place) for place in places(j)])
        left = builder.sub(count, whole)
        with builder.if_then(builder.icmp_signed(">", left, constant(0))):
            masks = [vectors.first_lanes(builder.sub(left, constant(i * lanes))) for i in range(phases)]
            put(whole, [vectors.load_masked(*pair) for pair in zip(places(whole), masks, strict=True)])
        return context.get_dummy_value()

    copy_row.__name__ = f"copy_row_{phases}"
    return intrinsic(copy_row)


copy_row_1, copy_row_2, copy_row_3, copy_row_4 = (_copy_row(phases) for phases in range(1, 5))


@intrinsic
def ask_for(typing_context, x, start):
    """Ask for the cache line of x[start], of a row that is copied later. It may lie outside the array."""
    signature = types.void(x, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        vectors = Vectors(context, builder, signature.args[0].dtype)
        prefetch(vectors, element(context, builder, signature.args[0], *arguments))
        return context.get_dummy_value()

    return signature, generate
