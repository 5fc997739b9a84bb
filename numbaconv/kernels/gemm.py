"""The loops around the microkernel that every algorithm shares: panels of filters, and tiles at the edges."""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import TILE_BYTES, TILE_ROWS
from .simd import gemm_microkernel


@kernel
def task_position(task, blocks, geometry):
    """Return the part of the output that task number ``task`` computes.

    It is (image, block of pixels, group, first panel, panel behind the last). An image has ``blocks`` blocks of pixels.
    Neighbouring tasks share their block, then their group, so that one thread's tasks read the same memory.
    """
    split = geometry[at.PANEL_SPLIT]
    rest, part = divmod(task, split)
    rest, block = divmod(rest, blocks)
    image, group = divmod(rest, geometry[at.GROUPS])
    panels = geometry[at.PANELS]
    return image, block, group, panels * part // split, panels * (part + 1) // split


@kernel
def multiply_tile(weight, out, rows, geometry, scratch, tile, group, panel_first, panel_last, image, sums):
    """Add one block of channels to a column of register tiles: NR pixels x the filters of some panels.

    out[image, filter, pixel] (+)= sum over k of weight[filter, k] * block[k, pixel]

    - weight: packed by :func:`~numbaconv.kernels.packing.pack_weights`.
    - block: row k starts at ``scratch[block + rows[k]]``, one element per pixel; NR of them are read even where fewer
      count.
    - tile = (block, pixel, columns): the start of the block in scratch, the first pixel (flat in the output image), how
      many there are.
    - sums = (first, depth, total): this block is rows first ... first + depth - 1 of total. The first one
      overwrites the output, the last one adds the bias and applies the activation.
    - scratch[TILE_START of this thread] is room for MR x NR elements: tiles cut off by an edge, and outputs whose
      pixels do not lie one behind the other, are computed there and copied.
    """
    block, spare, pixel, columns = tile
    first, depth, total = sums
    tile_columns = TILE_BYTES // out.itemsize
    filters = geometry[at.FILTERS]
    finish = geometry[at.FINISH] if first + depth == total else at.FINISH_NOTHING
    for panel in range(panel_first, panel_last):
        number = group * geometry[at.PANELS] + panel
        a = (number * total + first) * TILE_ROWS
        bias = geometry[at.BIAS_START] + number * TILE_ROWS
        channel = group * filters + panel * TILE_ROWS
        count = min(TILE_ROWS, filters - panel * TILE_ROWS)
        start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + channel * geometry[at.OUT_CHANNEL]
        if geometry[at.OUT_DENSE] and count == TILE_ROWS and columns == tile_columns:
            gemm_microkernel(
                weight,
                a,
                scratch,
                block,
                rows,
                depth,
                out,
                start + pixel,
                geometry[at.OUT_CHANNEL],
                first,
                bias,
                finish,
            )
        else:
            gemm_microkernel(
                weight, a, scratch, block, rows, depth, scratch, spare, tile_columns, 0, bias, at.FINISH_NOTHING
            )
            for m in range(count):
                store_pixels(
                    scratch, spare + m * tile_columns, weight[bias + m], out, start + m * geometry[at.OUT_CHANNEL],
                    geometry, pixel, columns, first, finish,
                )  # fmt: skip


@kernel
def finished(value, bias, finish):
    """What is stored for a sum: itself, with the bias, or the ReLU of that (NaN stays NaN)."""
    if finish >= at.FINISH_BIAS:
        value += bias
    if finish == at.FINISH_BIAS_RELU and value < 0:
        return 0
    return value


@kernel
def store_pixels(row, row_start, bias, out, start, geometry, pixel, columns, accumulate, finish):
    """Store ``columns`` sums of one filter, from flat pixel ``pixel`` on, by the strides of the output.

    ``start`` is the filter's first pixel in ``out``; bias, accumulate and finish are the microkernel's.
    """
    width = geometry[at.OUT_W]
    height = geometry[at.OUT_H]
    done = 0
    while done < columns:
        line, w = divmod(pixel + done, width)
        d, h = divmod(line, height)
        count = min(columns - done, width - w)
        step = geometry[at.OUT_STRIDE_W]
        y = start + d * geometry[at.OUT_STRIDE_D] + h * geometry[at.OUT_STRIDE_H] + w * step
        for j in range(count):
            value = row[row_start + done + j]
            if accumulate:
                value += out[y + j * step]
            out[y + j * step] = finished(value, bias, finish)
        done += count
