"""Tiles of convolution with output channels in the vector lanes: which taps they see, and which microkernel sums them.

A tile is CHANNEL_TILE_PIXELS pixels of a block, or several such tiles, x the filters of one panel.
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import CHANNEL_TILE_PIXELS, TILES_TOGETHER
from .numbers import lanes_of, larger, smaller
from .simd_channel_tiles import (
    channels_microkernel_1,
    channels_microkernel_2,
    channels_microkernel_beside,
    channels_microkernel_every_4th,
    channels_microkernel_every_16th,
    channels_microkernel_every_other,
    run_microkernel_1,
    run_microkernel_3,
    run_microkernel_3_stride2,
    run_microkernel_5,
    run_microkernel_5_stride2,
    run_microkernel_7,
    run_microkernel_7_stride2,
    taps_microkernel_beside,
    taps_microkernel_every_other,
)


@kernel
def valid_taps(geometry, finite, first, last):
    """Return the taps kh <= k < end that lie in the image for some output row from ``first`` to ``last``.

    The others are padding of zeros, and add nothing, as long as the weights are ``finite``. Of rows that see only
    padding, one tap is left.
    """
    height, pad = geometry[at.KERNEL_H], geometry[at.PAD_H]
    if geometry[at.PAD_MODE] != at.PAD_ZEROS or not finite:
        return 0, height
    above = pad - last * geometry[at.STRIDE_H]
    below = geometry[at.IN_H] - 1 + pad - first * geometry[at.STRIDE_H]
    step = geometry[at.DILATION_H]
    begin, end = 0, height
    if above > 0:
        begin = smaller(height - 1, (above + step - 1) // step)
    if below < (height - 1) * step:
        end = larger(begin + 1, below // step + 1)
    return begin, end


@kernel
def tile_taps(geometry, finite, h, p, last):
    """:func:`valid_taps` of the tile whose first pixel is ``p`` of a block that begins at output row ``h``."""
    width = geometry[at.BLOCK_COLUMNS]
    bottom = smaller(p + CHANNEL_TILE_PIXELS, last) - 1
    return valid_taps(geometry, finite, h + p // width, h + bottom // width)


@kernel
def in_rows(offset, width):
    """Whether neither of two tiles, the first one from column ``offset`` on, reaches into another row of ``width``."""
    left = width - CHANNEL_TILE_PIXELS
    other = offset + CHANNEL_TILE_PIXELS
    return offset <= left and (other <= left or other == width)


@kernel
def most_together(rows, geometry):
    """Return (elements between the inputs of neighbouring pixels, tiles that are summed together at most).

    A tile that reaches into another row of the block is summed alone. Tiles of one vector are summed together where
    TAPS of theirs are, too.
    """
    table = geometry[at.PIXELS_START]
    apart = rows[table + 1] - rows[table]
    if apart not in (1, 2, 4, 16):
        return apart, 1
    if geometry[at.VECTORS] == 1 and (apart > 2 or geometry[at.TAPS] == 1 or rows[1] - rows[0] != 1):
        return apart, 1
    return apart, TILES_TOGETHER


@kernel
def sum_two_vectors(tile, given):
    """Sum the products of tiles of two vectors of filters, a tap at a time. ``given`` is what their microkernel takes.

    tile = (filters of a panel in vectors, tiles, elements between the inputs of neighbours).
    """
    _, tiles, apart = tile
    if tiles == 1:
        channels_microkernel_2(*given)
    elif apart == 1:
        channels_microkernel_beside(*given)
    elif apart == 2:
        channels_microkernel_every_other(*given)
    elif apart == 4:
        channels_microkernel_every_4th(*given)
    else:
        channels_microkernel_every_16th(*given)


@kernel
def sum_vector(tile, given):
    """:func:`sum_two_vectors` for one."""
    _, tiles, apart = tile
    if tiles == 1:
        channels_microkernel_1(*given)
    elif apart == 1:
        taps_microkernel_beside(*given)
    else:
        taps_microkernel_every_other(*given)


@kernel
def sum_tiles(tile, given):
    """:func:`sum_vector` or :func:`sum_two_vectors`."""
    if tile[0] == 1:
        sum_vector(tile, given)
    else:
        sum_two_vectors(tile, given)


@kernel
def sum_lanes(weight, rows, geometry, scratch, strip, tile, tiles, sums, panel, taps):
    """Sum all products of ``tiles`` tiles of pixels from number ``tile`` on, filters of different groups in the lanes.

    scratch[sums + p * lanes + n] is lane n of pixel p of the block. The taps of a row are summed in runs, as SEGMENTS
    says, and of the rows only those in ``taps``.
    """
    lanes = lanes_of(scratch)
    begin, end = taps
    height = geometry[at.KERNEL_H]
    planes = geometry[at.CHANNELS] * geometry[at.KERNEL_D]
    w = panel * planes * height * geometry[at.KERNEL_W] * lanes
    pixels = geometry[at.PIXELS_START]
    tile += geometry[at.TILES_START]
    wide = geometry[at.STRIDE_W] == 2
    k = 0
    for kind in range(4):
        per = geometry[at.SEGMENTS + kind] * planes
        if per == 0:
            continue
        length = 7 - 2 * kind
        first, depth, done = k + begin * per, (end - begin) * per, k
        w0 = w + begin * per * length * lanes
        if kind == 0 and wide:
            run_microkernel_7_stride2(
                scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done
            )
        elif kind == 0:
            run_microkernel_7(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        elif kind == 1 and wide:
            run_microkernel_5_stride2(
                scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done
            )
        elif kind == 1:
            run_microkernel_5(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        elif kind == 2 and wide:
            run_microkernel_3_stride2(
                scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done
            )
        elif kind == 2:
            run_microkernel_3(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        else:
            run_microkernel_1(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        k += height * per
        w += height * per * length * lanes
