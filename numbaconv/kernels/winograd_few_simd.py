"""Winograd's products of few tiles, which would leave most of a vector empty: filters are in the lanes instead.

Each weight is read once, by few multiply-adds; so tiles are exactly as many as there are, or a few more.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime import Native
from .blocking import TILE_ROWS, WINOGRAD_DEPTH
from .vectors import INDEX, INTO_L1, Vectors, constant, prefetch, transposed
from .winograd_simd import compile_with

#: Columns of a panel of weights, a line of float32 each two, that are asked for before their turn.
AHEAD: Final = 128


def _few_sums(tiles: int) -> Any:
    """Make the function that sums the products of two panels of filters with ``tiles`` tiles."""

    def transform(typing_context, weight, second, cells, begin, end, sums, to_second, step):
        """sums[m * step + t] = sum over begin <= k < end of weight[k * MR + m] * cells[k * TILES + t], t < TILES.

        Behind, zeros fill a vector. The same of the panel at ``weight[second]``, to ``sums[to_second]``; it may be the
        first one again. Sums are those of ``gemm_microkernel`` and WINOGRAD_DEPTH products at a time, to the bit.
        """
        index = types.intp
        return types.void(weight, index, cells, index, index, sums, index, index), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        weight, second, cells, begin, end, sums, to_second, step = arguments
        dtype = signature.args[0].dtype
        vectors, panel = Vectors(context, builder, dtype), Vectors(context, builder, dtype, TILE_ROWS)
        lanes = vectors.lanes
        count = 2 * TILE_ROWS // lanes  # vectors of filters
        panels = [weight, builder.gep(weight, [second])]
        places = [(v, t) for v in range(count) for t in range(tiles)]
        # What is added to -0 stays as it is, 0 and -0, too.
        nothing = vectors.constant(-0.0)
        totals = {place: cgutils.alloca_once_value(builder, nothing) for place in places}
        some = {place: cgutils.alloca_once_value(builder, vectors.zero) for place in places}
        with cgutils.for_range_slice(builder, begin, end, constant(WINOGRAD_DEPTH), INDEX) as (first, _):
            behind = builder.add(first, constant(WINOGRAD_DEPTH))
            behind = builder.select(builder.icmp_signed("<", behind, end), behind, end)
            for total in some.values():
                builder.store(vectors.zero, total)
            with cgutils.for_range_slice(builder, first, behind, constant(1), INDEX) as (k, _):
                columns = [builder.gep(start, [builder.mul(k, constant(TILE_ROWS))]) for start in panels]
                for column in columns:
                    prefetch(vectors, builder.gep(column, [constant(AHEAD * TILE_ROWS)]), INTO_L1)
                filters = [panel.load(column) for column in columns]
                if count == 1:
                    filters = [panel.shuffle(filters[0], filters[1], list(range(lanes)))]
                row = builder.gep(cells, [builder.mul(k, constant(tiles))])
                for t in range(tiles):
                    cell = vectors.splat(builder.load(builder.gep(row, [constant(t)])))
                    for v in range(count):
                        total = some[v, t]
                        builder.store(vectors.multiply_add(cell, filters[v], builder.load(total)), total)
            for place, total in totals.items():
                builder.store(vectors.add(builder.load(total), builder.load(some[place])), total)
        for v in range(count):
            lines = [builder.load(totals[v, t]) for t in range(tiles)] + [vectors.zero] * (lanes - tiles)
            for number, line in enumerate(transposed(vectors, lines)):
                which, m = divmod(v * lanes + number, TILE_ROWS)
                place = builder.mul(step, constant(m))
                place = builder.add(place, to_second) if which else place
                vectors.store(line, builder.gep(sums, [place]))
        return context.get_dummy_value()

    return intrinsic(transform)


def _few_body(weight, cells, sums, sizes):
    """Sizes: where the second panel lies, the products from and up to which are summed, and the last two arguments."""
    transform(weight, sizes[0], cells, sizes[1], sizes[2], sums, sizes[3], sizes[4])


def transform(*arguments: Any) -> None:
    """Stand in the body above for the function that ``compile_with`` puts in its place."""
    raise NotImplementedError


@functools.cache
def few_sums(tiles: int, dtype: str) -> Native:
    """Begin to compile a function that sums two panels' products with so many tiles; see :func:`_few_body`."""
    return compile_with(_few_body, f"winograd_few_{tiles}", _few_sums(tiles), (dtype, dtype, dtype, "int64"))
