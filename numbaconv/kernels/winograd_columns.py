"""Winograd along the columns alone, for few channels: what :mod:`.winograd_columns_simd` is told of a block of tiles.

A tile is m outputs, one below the other; the taps of a row, or of each phase of a stride, are further channels, whose
tiles begin one column on.
Neighbouring tiles fill a vector, and rows of them whole vectors: each belongs to one row of tiles.
"""

from __future__ import annotations

from ..runtime import kernel, separate_kernel
from . import geometry as at
from .blocking import TILE_ROWS, column_filters
from .numbers import integer_at, lanes_of, put_integer, smaller
from .simd import address_of
from .winograd_columns_simd import VECTORS
from .winograd_simd import call_function
from .winograd_tiles import block_tiles, tile_run
from .winograd_weights import bias_start

#: ``blocking.column_filters`` for kernels.
filters_together = kernel(column_filters)
#: Where the address of the sums lies among those in the table of rows.
SUMS = 2


@kernel
def tabulate_columns(geometry, table, lanes, number, in_rows):
    """Note what all panels of filters are told of block ``number``.

    Where outputs do not lie side by side in rows, ``in_rows`` is false and they go to a buffer first. Behind the
    vectors lie the places of their first outputs in the output's channel 0.
    """
    tile, last, _ = block_tiles(number, geometry)
    vectors = (last - tile) // lanes
    put_integer(table, 0, vectors)
    put_integer(table, 1, lanes)
    put_integer(table, 3, filters_together(geometry[at.POINTS]))
    put_integer(table, 4, geometry[at.WEIGHT_STEP])
    put_integer(table, 5, geometry[at.INPUT_STEP])
    put_integer(table, 6, geometry[at.NR])
    put_integer(table, 7, geometry[at.PRODUCTS])
    put_integer(table, 8, geometry[at.OUT_CHANNEL] if in_rows else geometry[at.TILE_H] * geometry[at.BUFFER_PITCH])
    row = geometry[at.DILATION_H] * geometry[at.OUT_STRIDE_H] if in_rows else geometry[at.BUFFER_PITCH]
    put_integer(table, 9, row)
    put_integer(table, 10, 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0)
    put_integer(table, 11, geometry[at.WHOLE_END])
    for v in range(vectors):
        image, d, h, w, _ = tile_run(tile + v * lanes, last, geometry)
        start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + d * geometry[at.OUT_STRIDE_D]
        start += h * geometry[at.OUT_STRIDE_H] + w * geometry[at.OUT_STRIDE_W]
        lines = smaller(geometry[at.TILE_H], -((h - geometry[at.OUT_H]) // geometry[at.DILATION_H]))
        put_integer(table, VECTORS + 3 * v, start if in_rows else v * lanes)
        put_integer(table, VECTORS + 3 * v + 1, smaller(lanes, geometry[at.OUT_W] - w))
        put_integer(table, VECTORS + 3 * v + 2, lines)
        put_integer(table, VECTORS + 3 * vectors + v, start)


@kernel
def scatter_columns(out, geometry, scratch, buffer, channel, table, filters):
    """Copy the outputs of ``filters`` filters of a block from ``scratch[buffer]`` to ``out[channel]`` and on."""
    vectors = integer_at(table, 0)
    for f in range(filters):
        for v in range(vectors):
            y = channel + f * geometry[at.OUT_CHANNEL] + integer_at(table, VECTORS + 3 * vectors + v)
            source = buffer + f * integer_at(table, 8) + integer_at(table, VECTORS + 3 * v)
            for _ in range(integer_at(table, VECTORS + 3 * v + 2)):
                for t in range(integer_at(table, VECTORS + 3 * v + 1)):
                    out[y + t * geometry[at.OUT_STRIDE_W]] = scratch[source + t]
                y += geometry[at.DILATION_H] * geometry[at.OUT_STRIDE_H]
                source += geometry[at.BUFFER_PITCH]


@separate_kernel
def sum_columns(
    weight, matrices, some, out, rows, geometry, scratch, block, own, masks, mask_step, group, panel, number, until,
):  # fmt: skip
    """As ``winograd.sum_by_places`` where COLUMNS is not 0, and ABREAST 1: of the one block ``number``.

    The panels' matrices U start at ``weight[matrices]``, the block's V at ``scratch[block]``. Bit t of integer m at
    ``masks`` becomes 1 where a sum of tile t of filter m, counted from the first panel's, is not finite without bias.
    """
    lanes = lanes_of(out)
    table = address_of(scratch, own + geometry[at.TABLE_START])
    buffer = own + geometry[at.GATHERED_START]
    in_rows = geometry[at.OUT_STRIDE_W] == 1 or geometry[at.OUT_W] == 1  # the stride of a single column may be anything
    tabulate_columns(geometry, table, lanes, number, in_rows)
    spoiled = 0
    for p in range(panel, panel + some):
        filters = smaller(TILE_ROWS, geometry[at.FILTERS] - p * TILE_ROWS)
        channel = (group * geometry[at.FILTERS] + p * TILE_ROWS) * geometry[at.OUT_CHANNEL]
        put_integer(table, 2, filters)
        call_function(
            rows[geometry[at.FUNCTIONS] + SUMS],
            (
                address_of(weight, matrices), address_of(scratch, block),
                address_of(out, channel) if in_rows else address_of(scratch, buffer),
                address_of(weight, bias_start(geometry, scratch, group, p)), masks, table,
            ),
        )  # fmt: skip
        if not in_rows:
            scatter_columns(out, geometry, scratch, buffer, channel, table, filters)
        for m in range(filters):
            spoiled |= integer_at(masks, m)
        masks += 8 * TILE_ROWS
        matrices += geometry[at.POINTS] * geometry[at.WEIGHT_STEP]
    return 1 if spoiled != 0 else 0
