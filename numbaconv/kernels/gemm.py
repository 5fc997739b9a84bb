"""The loops around the microkernel that every algorithm shares: panels of filters, and tiles at the edges."""

from __future__ import annotations

import functools

from ..runtime import kernel, separate_kernel
from . import geometry as at
from .blocking import TILE_ROWS, WIDE_VECTORS, cut_run
from .numbers import lanes_of, larger, smaller
from .simd import (
    finish_lanes,
    gemm_microkernel,
    gemm_microkernel_1,
    gemm_microkernel_2,
    gemm_microkernel_4,
    gemm_microkernel_wide,
)

#: ``blocking.cut_run`` for kernels.
run_tiles = kernel(cut_run)


@kernel
def tile_start(number, whole, nr, lanes):
    """Where tile ``number`` of a run starts, whose tiles from ``whole`` on are a vector narrower than NR."""
    return number * nr - larger(0, number - whole) * lanes


@functools.partial(kernel, forceinline=True)
def multiply_registers(
    columns, weight, a, scratch, b, rows, depth, out, target, step, elsewhere, accumulate, bias, finish, mr
):  # fmt: skip
    """Call the microkernel of a tile of ``mr`` rows and so many columns; the others are its arguments."""
    if mr == TILE_ROWS and columns == WIDE_VECTORS * lanes_of(out):
        gemm_microkernel_wide(
            weight, a, scratch, b, rows, depth, out, target, step, elsewhere, accumulate, bias, finish
        )
    elif mr == TILE_ROWS:
        gemm_microkernel(weight, a, scratch, b, rows, depth, out, target, step, elsewhere, accumulate, bias, finish)
    elif mr == 1:
        gemm_microkernel_1(weight, a, scratch, b, rows, depth, out, target, step, elsewhere, accumulate, bias, finish)
    elif mr == 2:
        gemm_microkernel_2(weight, a, scratch, b, rows, depth, out, target, step, elsewhere, accumulate, bias, finish)
    else:
        gemm_microkernel_4(weight, a, scratch, b, rows, depth, out, target, step, elsewhere, accumulate, bias, finish)


@separate_kernel
def multiply_tile(weight, out, rows, geometry, scratch, tiles, area, group, panel_first, panel_last, start, sums):
    """Add one block of channels to a column of register tiles: a tile's pixels x the filters of some panels.

    out[filter, pixel] (+)= sum over k of weight[filter, k] * block[k, pixel]

    - weight: packed by ``packing.pack_weights``.
    - tiles = (block, spare, position, count, wide): where the block of pixels starts in scratch (row k at
      ``block + rows[k]``, as many elements as the tile has columns, all of which are read), where there is room for
      MR x NR sums, and the tile's first position in the area. ``count`` is 1; the tile has NR columns or, where
      ``wide`` is not positive, a vector less, see ``cut_run``.
    - area = (line, column, pitch, width, end): positions run through rows of ``pitch`` cells, of which the first
      ``width`` are outputs, from column ``column`` of output row ``line`` (flat in d, h) on; positions from ``end`` on
      are not outputs.
    - start: where the image's first output lies in ``out``.
    - sums = (first, depth, total): this block is rows first ... first + depth - 1 of total. The first one
      overwrites the output, the last one adds the bias and applies the activation.

    A tile whose outputs lie one behind the other is stored by the microkernel; of others the sums go to the spare room.
    Of a tile that is cut off, what is read beyond its pixels must have been written once: memory often holds integers,
    which are denormal numbers, and products of these made layers up to 24 times slower (Intel Emerald Rapids).
    """
    block, spare, position, _, wide = tiles
    line, column, pitch, width, end = area
    first, depth, total = sums
    mr = geometry[at.MR]
    columns = geometry[at.NR] - (0 if wide > 0 else lanes_of(out))
    filters = geometry[at.FILTERS]
    finish = geometry[at.FINISH] if first + depth == total else at.FINISH_NOTHING
    row = position // pitch
    offset = position - row * pitch
    whole = geometry[at.OUT_DENSE] != 0 and position + columns <= end
    whole = whole and (offset + columns <= width or (pitch == width and width == geometry[at.OUT_W]))
    pixel = (line + row) * geometry[at.OUT_W] + column + offset
    for panel in range(panel_first, panel_last):
        number = group * geometry[at.PANELS] + panel
        a = (number * total + first) * mr
        bias = geometry[at.BIAS_START] + number * mr
        channel = group * filters + panel * mr
        count = smaller(mr, filters - panel * mr)
        c = start + channel * geometry[at.OUT_CHANNEL]
        if whole and count == mr:
            target, step, elsewhere, accumulate, last = c + pixel, geometry[at.OUT_CHANNEL], 0, first, finish
        else:
            target, step, elsewhere, accumulate, last = spare, columns, 1, 0, at.FINISH_NOTHING
        multiply_registers(
            columns, weight, a, scratch, block, rows, depth, out, target, step, elsewhere, accumulate, bias, last, mr
        )
        if elsewhere != 0:
            for m in range(count):
                store_row(
                    scratch, spare + m * columns, columns, weight[bias + m], out, c + m * geometry[at.OUT_CHANNEL],
                    geometry, position, area, first, finish,
                )  # fmt: skip


@separate_kernel
def multiply_run(weight, out, rows, geometry, scratch, tiles, area, group, panel_first, panel_last, start, sums):
    """:func:`multiply_tile` for ``count`` tiles side by side, of which the first ``wide`` have NR columns.

    A panel is multiplied by all of them before the next one is. Where planes lie whole pages apart, the lines of a tile
    are in a few sets of the L1 cache, and those of the next panel's in the same: with tile after tile for all panels, 3
    channels of 224x224 by 3x3 to 64 filters took 1.05 times as long, to 128 1.1, 1 channel 1.13; pointwise layers, and
    runs of two tiles, 0.93 to 0.98 (Zen 4). The pixels of a run stay in the cache.
    """
    block, spare, begin, count_of_tiles, wide = tiles
    line, column, pitch, width, end = area
    first, depth, total = sums
    mr, nr, lanes = geometry[at.MR], geometry[at.NR], lanes_of(out)
    filters = geometry[at.FILTERS]
    finish = geometry[at.FINISH] if first + depth == total else at.FINISH_NOTHING
    first_row = begin // pitch
    for panel in range(panel_first, panel_last):
        number = group * geometry[at.PANELS] + panel
        a = (number * total + first) * mr
        bias = geometry[at.BIAS_START] + number * mr
        channel = group * filters + panel * mr
        count = smaller(mr, filters - panel * mr)
        c = start + channel * geometry[at.OUT_CHANNEL]
        position, offset = begin, begin - first_row * pitch
        pixel = c + (line + first_row) * geometry[at.OUT_W] + column
        for tile in range(count_of_tiles):
            columns = nr if tile < wide else nr - lanes
            whole = geometry[at.OUT_DENSE] != 0 and position + columns <= end and count == mr
            whole = whole and (offset + columns <= width or (pitch == width and width == geometry[at.OUT_W]))
            if whole:
                target, step, elsewhere, accumulate, last = pixel + offset, geometry[at.OUT_CHANNEL], 0, first, finish
            else:
                target, step, elsewhere, accumulate, last = spare, columns, 1, 0, at.FINISH_NOTHING
            multiply_registers(
                columns, weight, a, scratch, block + position - begin, rows, depth, out, target, step, elsewhere,
                accumulate, bias, last, mr,
            )  # fmt: skip
            if elsewhere != 0:
                for m in range(count):
                    store_row(
                        scratch, spare + m * columns, columns, weight[bias + m], out, c + m * geometry[at.OUT_CHANNEL],
                        geometry, position, area, first, finish,
                    )  # fmt: skip
            position += columns
            offset += columns
            while offset >= pitch:
                offset -= pitch
                pixel += geometry[at.OUT_W]


@kernel
def finished(value, bias, finish):
    """What is stored for a sum: itself, with the bias, or the ReLU of that (NaN stays NaN)."""
    if finish >= at.FINISH_BIAS:
        value += bias
    if finish == at.FINISH_BIAS_RELU and value < 0:
        return 0
    return value


@kernel
def store_row(sums, first, columns, bias, out, start, geometry, position, area, accumulate, finish):
    """Store a tile's sums of one filter, ``columns`` from ``sums[first]`` on, by the output's strides.

    Only outputs are stored. ``start`` is the filter's first output; position and area as in :func:`multiply_tile`, the
    rest as in the microkernel.
    """
    line, column, pitch, width, end = area
    lanes = lanes_of(out)
    step = geometry[at.OUT_STRIDE_W]
    last = smaller(end, position + columns)
    row = position // pitch
    offset = position - row * pitch
    d, h = divmod(line + row, geometry[at.OUT_H])
    while position < last:
        count = smaller(last - position, pitch - offset)
        inside = smaller(count, width - offset)
        y = start + d * geometry[at.OUT_STRIDE_D] + h * geometry[at.OUT_STRIDE_H] + (column + offset) * step
        if step == 1:
            for j in range(0, inside, lanes):
                finish_lanes(sums, first + j, out, y + j, inside - j, accumulate, bias, finish)
        else:
            for j in range(inside):
                value = sums[first + j]
                if accumulate:
                    value += out[y + j * step]
                out[y + j * step] = finished(value, bias, finish)
        position += count
        first += count
        offset = 0
        h += 1
        if h == geometry[at.OUT_H]:
            h = 0
            d += 1
