"""Winograd along the columns alone, in registers: products, sums, transform and stores of a vector of columns.

Few channels make few products, and their sums would take longer to go to memory and back than to be made. Along one
axis a tile has so few places that those of some filters stay in registers: so no sum is ever stored, and the outputs
of a vector of neighbouring columns lie side by side.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime import Native
from .blocking import TILE_ROWS, column_filters
from .numbers import smaller
from .simd_channels import biased
from .vectors import INDEX, INTO_L1, Vectors, constant, prefetch
from .winograd_simd import Tile, columns_in_pairs, compile_with, tile_matrices

#: Integers that :func:`_columns_body` is told of all vectors, before those of each.
VECTORS = 12


def _column_sums(high: Tile) -> Any:
    """Make the function that sums a vector of columns of ``filters`` filters, of F(m, r) along the height."""
    filters = column_filters(high.n)

    def transform(
        typing_context, weight, w_start, w_step, tiles, t_start, t_step, pitch, whole, depth, out, out_start,
        out_channel, out_row, bias, bias_start, relu, columns, lines, valid,
    ):  # fmt: skip
        """out[out_start + f * out_channel + i * out_row + t] = bias[bias_start + f] + sum over u of A[u, i] * M_ut.

        M_ut is the sum over k < depth, for the last u over k < whole, of weight[w_start + u * w_step + k * MR + f] *
        tiles[t_start + u * t_step + k * pitch + t]; then the ReLU, where ``relu`` is not 0. For f < valid, i < lines
        and t < columns, at most FILTERS, m and lanes of them. Whole vectors of tiles are read, and FILTERS weights and
        biases. Bit t of value f of those returned is set where a sum over u is NaN or infinite in column t.
        """
        index = types.intp
        steps = weight, index, index, tiles, index, index, index, index, index, out, index, index, index, bias
        return types.UniTuple(index, filters)(*steps, index, index, index, index, index), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        (
            weight, w_start, w_step, tiles, t_start, t_step, pitch, whole, depth, out, out_start, out_channel, out_row,
            bias, bias_start, relu, columns, lines, valid,
        ) = arguments  # fmt: skip
        vectors = Vectors(context, builder, signature.args[0].dtype)
        weight, tiles = builder.gep(weight, [w_start]), builder.gep(tiles, [t_start])
        # The lines that will be stored, of many planes in turn, which no prefetcher follows: 8 images of 3x112x112 to
        # 64 took 1.35 times as long without, one of 224x224 1.0 to 1.5 (Zen 4, 2 threads).
        for f in range(filters):
            for i in range(high.m):
                place = builder.add(builder.mul(out_channel, constant(f)), builder.mul(out_row, constant(i)))
                last = builder.add(builder.add(out_start, place), constant(vectors.lanes - 1))
                prefetch(vectors, builder.gep(out, [last]), INTO_L1, write=True)
        sums = [[cgutils.alloca_once_value(builder, vectors.zero) for _ in range(filters)] for _ in range(high.n)]
        for first, last, places in ((constant(0), whole, sums), (whole, depth, sums[:-1])):
            with cgutils.for_range_slice(builder, first, last, constant(1)) as (k, _):
                a, b = builder.mul(k, constant(TILE_ROWS)), builder.mul(k, pitch)
                for u, place in enumerate(places):
                    factors = builder.gep(weight, [builder.add(a, builder.mul(w_step, constant(u)))])
                    value = vectors.load(builder.gep(tiles, [builder.add(b, builder.mul(t_step, constant(u)))]))
                    for f, total in enumerate(place):
                        factor = vectors.splat(builder.load(builder.gep(factors, [constant(f)])))
                        builder.store(vectors.multiply_add(factor, value, builder.load(total)), total)
        mask = vectors.first_lanes(columns)
        every = builder.and_(
            builder.icmp_signed(">=", columns, constant(vectors.lanes)),
            builder.icmp_signed(">=", lines, constant(high.m)),
        )
        part = builder.not_(every)
        target, biases = builder.gep(out, [out_start]), builder.gep(bias, [bias_start])
        spoiled = []
        for f in range(filters):
            outputs = columns_in_pairs(vectors, tile_matrices(high)[0], [builder.load(place[f]) for place in sums])
            factor = vectors.splat(builder.load(builder.gep(biases, [constant(f)])))
            not_finite = vectors.zero
            for y in outputs:
                not_finite = vectors.multiply_add(y, vectors.zero, not_finite)
            outputs = biased(vectors, outputs, factor, relu)
            rows = [builder.gep(target, [builder.mul(out_row, constant(i))]) for i in range(high.m)]
            with builder.if_then(builder.and_(every, builder.icmp_signed("<", constant(f), valid))):
                for y, row in zip(outputs, rows, strict=True):
                    vectors.store(y, row)
            with builder.if_then(builder.and_(part, builder.icmp_signed("<", constant(f), valid))):
                for i, (y, row) in enumerate(zip(outputs, rows, strict=True)):
                    with builder.if_then(builder.icmp_signed("<", constant(i), lines)):
                        vectors.store_masked(y, row, mask)
            target = builder.gep(target, [out_channel])
            found = builder.and_(mask, builder.fcmp_unordered("uno", not_finite, not_finite))
            spoiled.append(builder.zext(builder.bitcast(found, ir.IntType(vectors.lanes)), INDEX))
        return context.make_tuple(builder, signature.return_type, spoiled)

    return intrinsic(transform)


def _columns_body(weight, tiles, out, bias, masks, sizes):
    """Sum all vectors of a block's columns for a panel of filters, or of fewer.

    sizes: vectors, lanes of one, filters, those summed together, the arguments of the sums that all share, and for each
    vector its place, columns and lines. Bit t of masks[f] becomes 1 where column t of filter f is spoiled.
    """
    vectors, lanes, filters, together = sizes[0], sizes[1], sizes[2], sizes[3]
    w_step, t_step, pitch, depth = sizes[4], sizes[5], sizes[6], sizes[7]
    out_channel, out_row, relu, whole = sizes[8], sizes[9], sizes[10], sizes[11]
    for f in range(filters):
        masks[f] = 0
    for f in range(0, filters, together):
        for v in range(vectors):
            entry = VECTORS + 3 * v
            spoiled = transform(
                weight, f, w_step, tiles, v * lanes, t_step, pitch, whole, depth, out, f * out_channel + sizes[entry],
                out_channel, out_row, bias, f, relu, sizes[entry + 1], sizes[entry + 2], filters - f,
            )  # fmt: skip
            for i in range(smaller(together, filters - f)):
                masks[f + i] |= spoiled[i] << (v * lanes)


def transform(*arguments: Any) -> tuple[int, ...]:
    """Stand in the body above for the function that ``compile_with`` puts in its place."""
    raise NotImplementedError


@functools.cache
def column_sums(high: Tile, dtype: str) -> Native:
    """Begin to compile a function that sums a block of columns for some filters; see :func:`_columns_body`."""
    name = f"winograd_columns_{high.m}x{high.r}"
    return compile_with(_columns_body, name, _column_sums(high), (dtype, dtype, dtype, dtype, "int64", "int64"))
