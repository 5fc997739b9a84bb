"""Emits Winograd's transforms of any F(m, r): functions that are compiled once each and called by their addresses.

A transform is a product with one of the matrices of :mod:`numbaconv.kernels.cook_toom`, along the rows of a tile and
then along its columns. The points come in pairs a and -a, whose rows (or columns) agree but for every other sign: such
a pair is computed from an even and an odd part, which halves the multiplications. The lanes of a vector are tiles.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime import Native, begin
from .blocking import TILE_ROWS, WINOGRAD_POINTS
from .cook_toom import Matrix, matrices
from .simd_apart import apart, together
from .vectors import INDEX, Vectors, constant, emit_call

#: Integers that the table of an input transform holds for each group of tiles.
GROUP: Final = 4


class Tile(NamedTuple):
    """F(m, r) along one axis; F(1, 1) leaves it as it is."""

    m: int
    r: int

    @property
    def n(self) -> int:
        """Inputs that m outputs need, and multiplications."""
        return self.m + self.r - 1


@functools.cache
def tile_matrices(tile: Tile) -> tuple[Matrix, Matrix, Matrix]:
    """A^T, G and B^T of F(m, r) by the points of its size: 0 where that is even, a, -a, b, -b, ... and infinity."""
    pairs = [sign * point for point in WINOGRAD_POINTS[tile.n] for sign in (1, -1)]
    return matrices(tile.m, tile.r, pairs if tile.n % 2 else [0.0, *pairs])


# ------------------------------------------------------------------------------------ products with a matrix


def _combined(vectors: Vectors, terms: Sequence[tuple[Any, ir.Value]]) -> ir.Value | None:
    """The sum of factor * value, or None where every factor is 0."""
    terms = sorted(((float(factor), value) for factor, value in terms if factor != 0), key=lambda term: term[0] != 1)
    if not terms:
        return None
    (factor, value), *others = terms
    total = value if factor == 1 else vectors.builder.fmul(vectors.constant(factor), value)
    for factor, value in others:
        if factor == 1:
            total = vectors.builder.fadd(total, value)
        else:
            total = vectors.multiply_add(vectors.constant(factor), value, total)
    return total


def rows_in_pairs(vectors: Vectors, matrix: Matrix, values: list[ir.Value]) -> list[ir.Value]:
    """``matrix`` times ``values``; rows that agree but for the sign of every other column share their two parts.

    One part is divided by its last factor, which is multiplied when the parts are added: for points a and -a beside b
    and -b, (x - a) (x^2 - b^2) and (x + a) (x^2 - b^2) take four multiply-adds. In float32 the quotients are exact for
    every B^T; in G, which is computed in float64, some are rounded.
    """
    result: list[ir.Value] = []
    while len(result) < len(matrix):
        row, *below = matrix[len(result) :]
        terms = list(zip(row, values, strict=True))
        parts = [[term for term in terms[part::2] if term[0] != 0] for part in (0, 1)]
        turned = [(-1) ** j * x for j, x in enumerate(row)]
        pair = all(parts) and below and below[0] in (turned, [-x for x in turned])
        if not pair:
            result.append(_combined(vectors, terms))
            continue
        same, other = parts if below[0] == turned else parts[::-1]  # whose sign stays, and whose changes
        last = other[-1][0]
        kept = _combined(vectors, same)
        changed = _combined(vectors, [(factor / last, value) for factor, value in other])
        for factor in (last, -last):
            result.append(vectors.multiply_add(vectors.constant(float(factor)), changed, kept))
    return result


def columns_in_pairs(vectors: Vectors, matrix: Matrix, values: list[ir.Value]) -> list[ir.Value]:
    """``matrix`` times ``values``; columns that agree but for the sign of every odd row are added and subtracted."""
    columns = [list(column) for column in zip(*matrix, strict=True)]
    terms: list[list[tuple[Any, ir.Value]]] = [[] for _ in matrix]
    at = 0
    while at < len(columns):
        column, value = columns[at], values[at]
        pair = at + 1 < len(columns) and len(column) > 1
        pair = pair and columns[at + 1] == [(-1) ** i * x for i, x in enumerate(column)]
        sums = (
            [vectors.builder.fadd(value, values[at + 1]), vectors.builder.fsub(value, values[at + 1])] if pair else []
        )
        for i, factor in enumerate(column):
            terms[i].append((factor, sums[i % 2] if pair else value))
        at += 1 + pair
    return [_combined(vectors, row) for row in terms]


# ------------------------------------------------------------------------------------------ the transforms


def _element_of(builder: ir.IRBuilder, pointer: ir.Value, *offsets: ir.Value) -> ir.Value:
    total = offsets[0]
    for offset in offsets[1:]:
        total = builder.add(total, offset)
    return builder.gep(pointer, [total])


def _input_transform(high: Tile, wide: Tile, groups: int) -> Any:
    """Make the transform V = B^T d B of a vector of tiles, ``groups`` runs of neighbours."""

    def transform(typing_context, gathered, source, block, table, entry, k, pitch, step):
        """block[goal + k * far + (n * u + v) * step + t] = sum over i, j of B[i, u] * B[j, v] * d[t, i, j].

        A vector holds ``groups`` groups of tiles, each with (its source, goal, count, far) in the table from
        ``table[entry]`` on. d[t, i, j] of tile t of a group is ``gathered[source + its source + i * pitch + m * t +
        j]``. Only ``count`` tiles of a group are written; what the others would read is read all the same.
        """
        index = types.intp
        return types.void(gathered, index, block, table, index, index, index, index), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        gathered, source, block, table, entry, k, pitch, step = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        lanes, m = vectors.lanes, wide.m
        some = Vectors(context, builder, signature.args[0].dtype, lanes // groups)
        first = builder.gep(table, [entry])
        sources, goals, counts, fars = (
            [builder.load(builder.gep(first, [constant(GROUP * group + slot)])) for group in range(groups)]
            for slot in range(GROUP)
        )
        # What one load may take: it must not reach from one group into the next.
        chunk = Vectors(context, builder, signature.args[0].dtype, math.gcd(lanes, some.lanes * m))

        def row_of_tiles(line: ir.Value, part: int) -> list[ir.Value]:
            """Columns part * m to part * m + m of all tiles."""
            chunks = []
            for start in range(0, lanes * m, chunk.lanes):
                group, offset = divmod(start, some.lanes * m)
                chunks.append(chunk.load(_element_of(builder, line, sources[group], constant(offset + part * m))))
            while len(chunks) > m:
                width = chunks[0].type.count
                chunks = [
                    vectors.shuffle(a, b, list(range(2 * width)))
                    for a, b in zip(chunks[::2], chunks[1::2], strict=True)
                ]
            return apart(vectors, chunks)

        lines = []
        for i in range(high.n):
            line = _element_of(builder, gathered, source, builder.mul(pitch, constant(i)))
            columns = [column for part in range(-(-wide.n // m)) for column in row_of_tiles(line, part)]
            lines.append(rows_in_pairs(vectors, tile_matrices(wide)[2], columns[: wide.n]))
        masks = [some.first_lanes(count) for count in counts]
        targets = [
            _element_of(builder, block, goal, builder.mul(k, far)) for goal, far in zip(goals, fars, strict=True)
        ]
        for v in range(wide.n):
            values = rows_in_pairs(vectors, tile_matrices(high)[2], [line[v] for line in lines])
            for u, value in enumerate(values):
                matrix = builder.mul(step, constant(wide.n * u + v))
                for group in range(groups):
                    part = value
                    if groups > 1:
                        width = some.lanes
                        part = vectors.shuffle(value, value, list(range(group * width, (group + 1) * width)))
                    some.store_masked(part, builder.gep(targets[group], [matrix]), masks[group])
        return context.get_dummy_value()

    return intrinsic(transform)


def _weight_transform(high: Tile, wide: Tile) -> Any:
    """Make the transform U = G g G^T of the MR filters of a panel and one channel."""

    def transform(typing_context, x, x_start, lines, columns, pitch, beside, y, y_start, step):
        """y[y_start + (n * u + v) * step + m] = sum over i, j of G[u, i] * G[v, j] * g[m, i, j], in float64.

        g[m, i, j] is ``x[x_start + (i * pitch + j * beside) * MR + m]`` for i < lines and j < columns, and 0 beyond.
        """
        index = types.intp
        return types.void(x, index, index, index, index, index, y, index, index), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, lines, columns, pitch, beside, y, y_start, step = arguments
        given = Vectors(context, builder, signature.args[0].dtype, TILE_ROWS)
        sums = Vectors(context, builder, types.float64, TILE_ROWS)
        same = given.bytes == sums.bytes
        start, goal = builder.gep(x, [x_start]), builder.gep(y, [y_start])

        def load(i: int, j: int) -> ir.Value:
            inside = builder.and_(
                builder.icmp_signed("<", constant(i), lines), builder.icmp_signed("<", constant(j), columns)
            )
            offset = builder.add(builder.mul(pitch, constant(i)), builder.mul(beside, constant(j)))
            offset = builder.mul(offset, constant(TILE_ROWS))
            value = given.load(builder.gep(start, [builder.select(inside, offset, constant(0))]))
            value = builder.select(inside, value, given.zero)
            return value if same else builder.fpext(value, sums.type)

        columns_of_g = [
            rows_in_pairs(sums, tile_matrices(high)[1], [load(i, j) for i in range(high.r)]) for j in range(wide.r)
        ]
        for u in range(high.n):
            line = rows_in_pairs(sums, tile_matrices(wide)[1], [column[u] for column in columns_of_g])
            for v, value in enumerate(line):
                rounded = value if same else builder.fptrunc(value, given.type)
                given.store(rounded, builder.gep(goal, [builder.mul(step, constant(wide.n * u + v))]))
        return context.get_dummy_value()

    return intrinsic(transform)


def _output_transform(high: Tile, wide: Tile) -> Any:
    """Make the transform Y = A^T M A of a vector of tiles."""

    def transform(typing_context, sums, start, step, rows, rows_start, pitch, bias, relu):
        """rows[rows_start + i * pitch + m * t + j] = bias + sum over u, v of A[u, i] * A[v, j] * M[t, u, v], then ReLU.

        M[t, u, v] is ``sums[start + (n * u + v) * step + t]``, for as many t as a vector has lanes. The ReLU is left
        out where ``relu`` is 0. Bit t of the value returned is set where a sum of tile t is NaN or infinite before it.
        """
        index = types.intp
        return types.intp(sums, index, index, rows, index, index, bias, index), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, step, rows, rows_start, pitch, bias, relu = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = builder.gep(sums, [start])

        def load(u: int, v: int) -> ir.Value:
            return vectors.load(builder.gep(first, [builder.mul(step, constant(wide.n * u + v))]))

        columns = [
            columns_in_pairs(vectors, tile_matrices(high)[0], [load(u, v) for u in range(high.n)])
            for v in range(wide.n)
        ]
        bias_vector = vectors.splat(builder.load(bias))
        clamp = builder.icmp_signed("!=", relu, constant(0))
        not_finite = vectors.zero
        for i in range(high.m):
            line = columns_in_pairs(vectors, tile_matrices(wide)[0], [column[i] for column in columns])
            line = [builder.fadd(y, bias_vector) for y in line]
            for y in line:
                not_finite = vectors.multiply_add(y, vectors.zero, not_finite)
            line = [builder.select(clamp, vectors.relu(y), y) for y in line]
            target = _element_of(builder, rows, rows_start, builder.mul(pitch, constant(i)))
            for p, value in enumerate(together(vectors, line)):
                vectors.store(value, builder.gep(target, [constant(p * vectors.lanes)]))
        lanes = builder.bitcast(builder.fcmp_unordered("uno", not_finite, not_finite), ir.IntType(vectors.lanes))
        return builder.zext(lanes, INDEX)

    return intrinsic(transform)


# ------------------------------------------------------------------------- the functions called by their addresses


# At most six arguments, which the processor takes in registers: the compiled wrapper reads those on the stack as one
# vector, which has to wait until all stores before it are done, those of the outputs to memory, too (9% of the time of
# 64 channels at 224x224, Zen 5). What calls have in common is in a table of ``sizes``.


def _input_body(gathered, block, table, sizes, k, channels):
    """``table[0:entries]`` has the groups of tiles; sizes: entries, integers for a vector of groups, and the steps."""
    entries, length, source_step, pitch, step = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    for c in range(channels):
        for entry in range(0, entries, length):
            transform(gathered, c * source_step, block, table, entry, k + c, pitch, step)


def _weight_body(x, y, channels, x_step, y_step, lines, columns, pitch, beside, step):
    for c in range(channels):
        transform(x, c * x_step, lines, columns, pitch, beside, y, c * y_step, step)


def _output_body(sums, rows, bias, mask, sizes):
    """Sizes: vectors of tiles, lanes of one, columns of their outputs, the steps and whether there is a ReLU."""
    vectors, lanes, columns, step, pitch, relu = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    bits = 0
    for v in range(vectors):
        bits |= transform(sums, v * lanes, step, rows, v * columns, pitch, bias, relu) << (v * lanes)
    mask[0] = bits


def transform(*arguments: Any) -> int:
    """Stand in the bodies above for the transform that :func:`compile_with` puts in its place."""
    raise NotImplementedError


def compile_with(body: Callable[..., Any], name: str, transform: Any, pointers: tuple[str, ...]) -> Native:
    """Begin to compile ``body`` with a transform of its own under a name of its own."""
    code = body.__code__.replace(co_name=name)
    function = FunctionType(code, {**body.__globals__, "transform": transform}, name)
    function.__qualname__ = name
    return begin(function, tuple(f"{dtype}*" for dtype in pointers))


@functools.cache
def input_transform(high: Tile, wide: Tile, groups: int, dtype: str) -> Native:
    """Begin to compile a function that transforms the tiles of some channels; see :func:`_input_body`."""
    name = f"winograd_input_{high.m}x{high.r}_{wide.m}x{wide.r}_{groups}"
    return compile_with(_input_body, name, _input_transform(high, wide, groups), (dtype, dtype, "int64", "int64"))


@functools.cache
def weight_transform(high: Tile, wide: Tile, dtype: str) -> Native:
    """Begin to compile a function that transforms the weights of a panel; see :func:`_weight_body`."""
    name = f"winograd_weight_{high.m}x{high.r}_{wide.m}x{wide.r}"
    return compile_with(_weight_body, name, _weight_transform(high, wide), (dtype, dtype))


@functools.cache
def output_transform(high: Tile, wide: Tile, dtype: str) -> Native:
    """Begin to compile a function that transforms the sums of one filter; see :func:`_output_body`."""
    name = f"winograd_output_{high.m}x{high.r}_{wide.m}x{wide.r}"
    return compile_with(_output_body, name, _output_transform(high, wide), (dtype, dtype, dtype, "int64", "int64"))


@intrinsic
def call_function(typing_context, function, arguments):
    """Call a compiled function by its address with some integers: addresses and sizes."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        function, values = given
        return emit_call(context, builder, function, cgutils.unpack_tuple(builder, values))

    return types.void(function, arguments), generate
