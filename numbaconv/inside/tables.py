"""The tables of row starts that microkernels read by: the drivers' ``rows``, as loops.

NumPy's expressions, in which the drivers write them, take Numba many seconds to compile. A test compares the two.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..algorithms import direct_pixels
from ..algorithms.sharing import taps
from ..algorithms.winograd_pieces import piece_start
from ..algorithms.winograd_tiling import TILES
from ..kernels import geometry as at
from ..kernels.blocking import FEW_TILES, LANE_TILE_PIXELS, RUNS, VECTOR_BYTES
from . import slots
from .linking import load

#: Lengths of the runs of taps that a kernel row is cut into.
LENGTHS = (*RUNS, 1)


@register_jitable
def multiples(count, step):
    """0, step, 2 * step, ..."""
    table = np.empty(count, np.int64)
    for i in range(count):
        table[i] = i * step
    return table


@register_jitable
def im2col_rows(geometry):
    """As :func:`numbaconv.algorithms.im2col.rows`."""
    return multiples(geometry[at.CHANNEL_BLOCK] * taps(geometry), geometry[at.PITCH])


@register_jitable
def transforms_at(number, axes, groups):
    """Where in a table of kernels the transforms of a tile lie; ``axes``: 0 height, 1 width, 2 both, 3 COLUMNS."""
    return slots.TRANSFORMS + slots.TRANSFORMS_OF_TILE * number + 9 * axes + 3 * (groups // 2)


@register_jitable
def winograd_rows(geometry, kernels):
    """As :func:`numbaconv.algorithms.winograd.rows`; ``kernels`` is the address of the table of kernels."""
    nr, channels, depth = geometry[at.NR], geometry[at.CHANNELS], geometry[at.KERNEL_D]
    height, width = geometry[at.KERNEL_H], geometry[at.KERNEL_W]
    line, plane = geometry[at.PLAIN_PITCH], geometry[at.PLAIN_STEP]
    stride_h, stride_w, phases_w = geometry[at.STRIDE_H], geometry[at.STRIDE_W], geometry[at.PHASES_W]
    phase_step = plane // (geometry[at.PHASES_H] * phases_w)
    functions = geometry[at.FUNCTIONS]
    table = np.empty(functions + 5, np.int64)
    i = geometry[at.PRODUCTS]
    for k in range(i):
        table[k] = k * nr
    for c in range(channels):
        for d in range(depth):
            for h in range(height):
                for w in range(width):
                    phase = h % stride_h * phases_w + w % stride_w
                    cell = h // stride_h * line + w // stride_w
                    table[i] = (d * channels + c) * plane + phase * phase_step + cell
                    i += 1
    for number in range(functions - geometry[at.STARTS]):
        table[geometry[at.STARTS] + number] = piece_start(geometry, number)
    axes = 0 if geometry[at.TAPS_W] == 1 else 1 if geometry[at.TAPS_H] == 1 else 2
    if geometry[at.COLUMNS] != 0:
        axes = 3
    place = transforms_at((geometry[at.TRANSFORM] - 1) % len(TILES), axes, geometry[at.RUN_GROUPS])
    for i in range(3):
        table[functions + i] = load(kernels + 8 * (place + i), np.int64(0))
    table[functions + 3] = 0
    for i in range(len(FEW_TILES)):  # not called where there are lanes enough for tiles
        if geometry[at.COLUMNS] == 0 and nr == FEW_TILES[i]:
            table[functions + 3] = load(kernels + 8 * (slots.FEW + i), np.int64(0))
    table[functions + 4] = load(kernels + 8 * slots.MEND, np.int64(0))
    return table


@register_jitable
def pixels_rows(geometry, itemsize):
    """As :func:`numbaconv.algorithms.direct_pixels.rows`."""
    if geometry[at.BLOCK_GROUPS] != 0:
        runs = np.zeros(2 * taps(geometry), np.int64)
        direct_pixels.depthwise_rows(geometry, itemsize, runs)
        return runs
    height, width = geometry[at.KERNEL_H], geometry[at.KERNEL_W]
    plane = geometry[at.STRIP_CHANNEL]
    phases_h = min(geometry[at.STRIDE_H], (height - 1) * geometry[at.DILATION_H] + 1)
    phases_w = min(geometry[at.STRIDE_W], (width - 1) * geometry[at.DILATION_W] + 1)
    planes = geometry[at.CHANNEL_BLOCK] * geometry[at.KERNEL_D]
    table = np.empty(planes * height * width, np.int64)
    i = 0
    for c in range(planes):
        for kh in range(height):
            down, phase_h = divmod(kh * geometry[at.DILATION_H], geometry[at.STRIDE_H])
            for kw in range(width):
                across, phase_w = divmod(kw * geometry[at.DILATION_W], geometry[at.STRIDE_W])
                phase = (c * phases_h + phase_h) * phases_w + phase_w
                table[i] = phase * plane + down * geometry[at.PITCH] + across
                i += 1
    return table


@register_jitable
def channels_rows(geometry, itemsize):
    """As :func:`numbaconv.algorithms.direct_channels.rows`."""
    lanes = VECTOR_BYTES // itemsize
    lanewise = geometry[at.LANE_FILTERS] != 0
    neighbours = geometry[at.STRIP_CHANNEL] == 1
    cell = lanes if lanewise else geometry[at.CHANNELS] if neighbours else 1
    line, channel, between = geometry[at.PITCH] * cell, geometry[at.STRIP_CHANNEL], geometry[at.LINE_STEP]
    beside = geometry[at.COLUMN_STEP]
    if geometry[at.IN_PLACE] != 0:
        beside = geometry[at.STRIDE_W]
        cell, line, channel, between = geometry[at.X_W], geometry[at.X_H], geometry[at.X_CHANNEL], geometry[at.STRIDE_H]
    height, channels, depth = geometry[at.KERNEL_H], geometry[at.CHANNELS], geometry[at.KERNEL_D]
    width = geometry[at.KERNEL_W]
    depths, lines, columns = geometry[at.BLOCK_DEPTHS], geometry[at.BLOCK_ROWS], geometry[at.BLOCK_COLUMNS]
    plane = lines * columns
    count = height * channels * depth * width
    across = -(-columns // LANE_TILE_PIXELS) if lanewise else 0
    cells = 0
    if lanewise:
        cells = geometry[at.IN_H] * geometry[at.IN_W] if geometry[at.WHOLE] != 0 else geometry[at.PITCH]
    pixels = count
    order = pixels + depths * plane + LANE_TILE_PIXELS
    tiles = order + count
    start_of_cells = tiles + lines * across
    table = np.zeros(start_of_cells + cells, np.int64)
    # The runs of taps, those of equal length together.
    outer, inner = (1, channels) if neighbours else (channels, 1)
    column, number, tap = 0, 0, 0
    for kind in range(len(LENGTHS)):
        length = LENGTHS[kind]
        for h in range(height):
            for c_outer in range(outer):
                for d in range(depth):
                    for segment in range(geometry[at.SEGMENTS + kind]):
                        w = column + segment * length
                        for c_inner in range(inner):
                            c = c_outer + c_inner
                            start = h * geometry[at.DILATION_H] * line + w * geometry[at.DILATION_W] * cell
                            start += c * channel + d * geometry[at.STRIP_DEPTH]
                            table[number] = start
                            number += 1
                            first = ((c * depth + d) * height + h) * width + w
                            for j in range(length):
                                table[order + first + j] = tap * geometry[at.MR]
                                tap += 1
        column += geometry[at.SEGMENTS + kind] * length
    for d in range(depths):
        for h in range(lines):
            for w in range(columns):
                start = d * geometry[at.STRIP_DEPTH] + h * between * line
                table[pixels + d * plane + h * columns + w] = start + w * beside * cell
    table[pixels + depths * plane : order] = table[pixels + depths * plane - 1]
    if not lanewise:
        return table
    for h in range(lines):
        for i in range(across):
            first = min(i * LANE_TILE_PIXELS, max(0, columns - LANE_TILE_PIXELS))
            table[tiles + h * across + i] = h * columns + first
    if geometry[at.WHOLE] != 0:
        nowhere = geometry[at.STRIP_ROWS] * geometry[at.PITCH]
        for h in range(geometry[at.IN_H]):
            i = h + geometry[at.PAD_H]
            for w in range(geometry[at.IN_W]):
                j = w + geometry[at.PAD_W]
                read = i < geometry[at.STRIP_ROWS] and j < geometry[at.PITCH]
                place = i * geometry[at.PITCH] + j if read else nowhere
                table[start_of_cells + h * geometry[at.IN_W] + w] = place * lanes
    else:
        for i in range(cells):
            table[start_of_cells + i] = i * lanes
    return table
