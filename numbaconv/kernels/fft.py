"""Sums over a sliding window by transforms of tiles that stay in the cache.

The output is cut into tiles. What lies under two of them is packed into the real and the imaginary part of one complex
tile: the kernel is real, so that its product with their spectrum is the spectrum of both results. Columns are
transformed where they lie, a vector of them at a time. Of the rows as many as there are lanes are transposed into a
strip, transformed, multiplied by the kernel's spectrum, transformed back and transposed again. Forward, the order of
the frequencies is turned inside out; backward it is turned back; nobody needs them in order.

Outputs that rounding may have spoilt, and those that are not finite, are then summed as they are.
"""

from __future__ import annotations

import math
from typing import Final

from ..runtime import kernel
from . import image_geometry as at
from .blocking import SUMMED, VECTOR_BYTES
from .fft_simd import (
    add_squares,
    back_3,
    back_4,
    back_5,
    back_8,
    call_lines,
    copy_columns,
    forward_3,
    forward_4,
    forward_5,
    forward_8,
    magnitudes_fit,
    multiply_spectra,
    plain_3,
    plain_4,
    plain_5,
    plain_8,
    round_run,
    transpose_square,
)
from .image import image_pack, image_segment, image_store, plane_origin, plane_target
from .image_simd import address, at_offset, call_convert

#: Bytes of an element, and elements of a vector.
SIZE: Final = 8
LANES: Final = VECTOR_BYTES // SIZE
#: Rows of a tile up to which its columns are transformed where they lie: 1.65 instead of 2.2 ns for each element at 128
#: rows, 2.9 instead of 2.4 at 256 (one core of an AMD EPYC, Zen 5).
IN_PLACE: Final = 128
#: Rows and columns of outputs that are summed again at a time.
SUMMED_ROWS, SUMMED_COLUMNS = SUMMED


def fft_lines(re, im, pitch, length, radices, table, backwards):
    """Transform LANES columns of ``length`` complex numbers in place.

    Forward, frequencies come out in the order of the butterflies. Backward they are taken in that order; with ``re``
    and ``im`` exchanged, that is the inverse, times the length.
    """
    first, back, end = 0, 0, table
    block = length
    while block > 1:
        radix = radices >> first & 15
        back = back << 4 | radix
        block //= radix
        end += block * (radix - 1) * 2 * SIZE
        first += 4
    block = 1 if backwards else length
    while first > 0:
        first -= 4
        radix = (back if backwards else radices) & 15
        if backwards:
            back >>= 4
            leg = block
            block *= radix
            end -= leg * (radix - 1) * 2 * SIZE
            factors = end
        else:
            radices >>= 4
            leg = block // radix
            factors = table
            table += leg * (radix - 1) * 2 * SIZE
        apart = leg * pitch
        for j in range(leg):
            for start in range(j, length, block):
                place = start * pitch * SIZE
                a, b = re + place, im + place
                if j == 0:
                    if radix == 8:
                        plain_8(a, b, apart, factors)
                    elif radix == 4:
                        plain_4(a, b, apart, factors)
                    elif radix == 3:
                        plain_3(a, b, apart, factors)
                    else:
                        plain_5(a, b, apart, factors)
                elif backwards:
                    if radix == 8:
                        back_8(a, b, apart, factors)
                    elif radix == 4:
                        back_4(a, b, apart, factors)
                    elif radix == 3:
                        back_3(a, b, apart, factors)
                    else:
                        back_5(a, b, apart, factors)
                else:
                    if radix == 8:
                        forward_8(a, b, apart, factors)
                    elif radix == 4:
                        forward_4(a, b, apart, factors)
                    elif radix == 3:
                        forward_3(a, b, apart, factors)
                    else:
                        forward_5(a, b, apart, factors)
            factors += (radix - 1) * 2 * SIZE
        if not backwards:
            block = leg


@kernel
def transform_columns(tile, strip, geometry, columns, backwards):
    """Transform the first ``columns`` columns of the tile at address ``tile``, rounded up to whole vectors.

    Those of a tall tile, whose cells lie on too many pages and in too few sets of a cache to be found again in the next
    pass, are copied into a strip first.
    """
    height, pitch = geometry[at.FFT_H], geometry[at.PITCH]
    part = height * LANES * SIZE
    other = tile + geometry[at.TILE] * SIZE
    first, second = (strip + part, strip) if backwards else (strip, strip + part)
    if height <= IN_PLACE:
        first, second = (other, tile) if backwards else (tile, other)
        for c in range(0, columns * SIZE, LANES * SIZE):
            call_lines(
                geometry[at.LINES], first + c, second + c, pitch, height, geometry[at.RADICES_H],
                geometry[at.FACTORS_H], backwards,
            )  # fmt: skip
        return
    for c in range(0, columns * SIZE, LANES * SIZE):
        copy_columns(tile + c, pitch, strip, LANES, height)
        copy_columns(other + c, pitch, strip + part, LANES, height)
        call_lines(
            geometry[at.LINES], first, second, LANES, height, geometry[at.RADICES_H], geometry[at.FACTORS_H], backwards
        )
        copy_columns(strip, LANES, tile + c, pitch, height)
        copy_columns(strip + part, LANES, other + c, pitch, height)


@kernel
def transform_strip(strip, geometry, backwards):
    """Transform the rows of a strip, which are its columns."""
    other = strip + geometry[at.FFT_W] * LANES * SIZE
    re, im = (other, strip) if backwards else (strip, other)
    call_lines(
        geometry[at.LINES], re, im, LANES, geometry[at.FFT_W], geometry[at.RADICES_W], geometry[at.FACTORS_W], backwards
    )


@kernel
def transpose_rows(tile, geometry, row, strip, backwards):
    """Transpose LANES rows of a tile, from ``row`` on, into a strip or, ``backwards``, out of it."""
    pitch = geometry[at.PITCH]
    for part in range(2):
        line = tile + (part * geometry[at.TILE] + row * pitch) * SIZE
        place = strip + part * geometry[at.FFT_W] * LANES * SIZE
        for c in range(0, geometry[at.FFT_W], LANES):
            if backwards:
                transpose_square(place + c * LANES * SIZE, LANES, line + c * SIZE, pitch)
            else:
                transpose_square(line + c * SIZE, pitch, place + c * LANES * SIZE, LANES)


def fft_spectrum(weights, scratches, fill, margins, terms, geometry, x, out, block, load, store, slot, slots):
    """Transform the kernel, mirrored and divided by the size of the tile, into weights[SPECTRUM:].

    The arguments are those of :func:`fft_tasks`; one thread does it.
    """
    height, width, pitch = geometry[at.FFT_H], geometry[at.FFT_W], geometry[at.PITCH]
    for k in range(2 * geometry[at.TILE]):
        scratches[k] = 0.0
    scale = 1.0 / (height * width)
    for i in range(geometry[at.KERNEL_H]):
        row = (height - i) % height * pitch
        for j in range(geometry[at.KERNEL_W]):
            scratches[row + (width - j) % width] = weights[i * geometry[at.KERNEL_W] + j] * scale
    tile = address(scratches, 0)
    transform_columns(tile, address(scratches, geometry[at.STRIP_START]), geometry, width, 0)
    strip = address(weights, geometry[at.SPECTRUM])
    for row in range(0, height, LANES):
        transpose_rows(tile, geometry, row, strip, 0)
        transform_strip(strip, geometry, 0)
        strip += 2 * width * LANES * SIZE


@kernel
def convolve_tile(weights, scratch, geometry):
    """Replace the two real tiles at the beginning of the scratch by their results."""
    width = geometry[at.FFT_W]
    tile, strip = address(scratch, 0), address(scratch, geometry[at.STRIP_START])
    transform_columns(tile, strip, geometry, width, 0)
    spectrum = address(weights, geometry[at.SPECTRUM])
    part = width * LANES * SIZE
    for row in range(0, geometry[at.FFT_H], LANES):
        transpose_rows(tile, geometry, row, strip, 0)
        transform_strip(strip, geometry, 0)
        multiply_spectra(strip, strip + part, spectrum, spectrum + part, width)
        transform_strip(strip, geometry, 1)
        transpose_rows(tile, geometry, row, strip, 1)
        spectrum += 2 * part
    transform_columns(tile, strip, geometry, width - geometry[at.KERNEL_W] + 1, 1)


@kernel
def pack_tile(x, load, fill, margins, geometry, plane, row, lines, column, columns, tile, squares):
    """Pack what is under ``lines`` x ``columns`` outputs, and zeros behind it.

    Returns the sum of its squares; their mean over the cells inside the image; and, where fill[3] is finite, the least
    mean over one cell of a grid half as wide as the kernel: every window that lies inside, or half of it each way, has
    a whole one. ``squares`` has room for a row.
    """
    height, width, pitch = geometry[at.FFT_H], geometry[at.FFT_W], geometry[at.PITCH]
    first_row, first_column = row - geometry[at.PAD_H], column - geometry[at.PAD_W]
    rows, cells = lines + geometry[at.KERNEL_H] - 1, columns + geometry[at.KERNEL_W] - 1
    origin = plane_origin(margins, geometry, plane, 0)
    image_pack(x, load, origin, fill[0], margins, geometry, first_row, rows, first_column, cells, tile)
    for r in range(height):
        for j in range(cells if r < rows else 0, width):
            tile[r * pitch + j] = 0.0
    top, bottom = max(0, -first_row), min(rows, geometry[at.IN_H] - first_row)
    left, right = max(0, -first_column), min(cells, geometry[at.IN_W] - first_column)
    total, least = 0.0, math.inf
    step_h, step_w = rows, cells
    if fill[3] < math.inf:
        step_h = max(1, min(geometry[at.KERNEL_H] // 2, bottom - top))
        step_w = max(1, min(geometry[at.KERNEL_W] // 2, right - left))
    begin = 0
    while begin < rows:
        end = min(rows, begin + step_h)
        if begin < top < end:
            end = top
        elif begin < bottom < end:
            end = bottom
        sum_squares(tile, pitch, begin, end, squares, width)
        for j in range(cells):
            total += squares[j]
        if fill[3] < math.inf and top <= begin and end <= bottom:
            if end - begin < step_h:  # the grid's last row ends where the image does
                sum_squares(tile, pitch, end - step_h, end, squares, width)
            for start in range(left, right, step_w):
                cell = 0.0
                for k in range(min(start, right - step_w), min(start, right - step_w) + step_w):
                    cell += squares[k]
                least = min(least, cell / (step_h * step_w))
        begin = end
    return total, total / max(1, (bottom - top) * (right - left)), least


@kernel
def sum_squares(tile, pitch, begin, end, squares, width):
    """squares[j] = the sum of the squares of rows begin to end - 1 in column j of a tile."""
    for j in range(width):
        squares[j] = 0.0
    for r in range(begin, end):
        add_squares(address(tile, r * pitch), address(squares, 0), width // LANES)


@kernel
def half_inside(geometry, axis, measured):
    """The first and the last output whose window has half the kernel's taps, or more, inside the image along an axis.

    Where fill[3] is infinite, not ``measured``, no output is left out.
    """
    if not measured:
        return 0, geometry[at.OUT_H + axis]
    taps, pad = geometry[at.KERNEL_H + axis], geometry[at.PAD_H + axis]
    return taps // 2 + pad - taps, geometry[at.IN_H + axis] + pad - taps // 2


@kernel
def sum_directly(functions, x, weights, out, margins, terms, fill, geometry, scratch, plane, row, lines, column,
                 columns):  # fmt: skip
    """Sum some outputs as they are; those of windows in which all is zero are known.

    A mask is mostly made of these, and no result of a transform is exactly 0.
    """
    rows, cells = lines + geometry[at.KERNEL_H] - 1, columns + geometry[at.KERNEL_W] - 1
    image_pack(
        x, functions[1], plane_origin(margins, geometry, plane, 0), fill[0], margins, geometry,
        row - geometry[at.PAD_H], rows, column - geometry[at.PAD_W], cells, scratch,
    )  # fmt: skip
    for r in range(rows):
        for j in range(cells):
            if scratch[r * geometry[at.PITCH] + j] != 0:
                image_segment(
                    functions, x, weights, out, margins, terms, fill, geometry, scratch, plane, row, lines, column,
                    columns,
                )  # fmt: skip
                return
    for r in range(lines):
        for j in range(columns):
            scratch[geometry[at.SUMS_START] + r * geometry[at.SUMS_PITCH] + j] = 0.0
    target = plane_target(geometry, plane) + row * geometry[at.OUT_STRIDE_H] + column * geometry[at.OUT_STRIDE_W]
    image_store(scratch, geometry, lines, columns, out, functions[2], target)


@kernel
def store_tile(functions, x, weights, out, margins, terms, fill, geometry, scratch, tile, plane, row, lines, column,
               columns, least):  # fmt: skip
    """Store the results of a tile, and sum those again that are smaller than ``least``, or not finite.

    An infinite ``least`` means all: then a tile holds no results. Where fill[3] is finite, those of windows that lie
    outside by more than half are summed, too: nobody has looked how large the few values under them are.
    """
    pitch = geometry[at.PITCH]
    target = plane_target(geometry, plane) + row * geometry[at.OUT_STRIDE_H] + column * geometry[at.OUT_STRIDE_W]
    for r in range(lines):
        line = address(tile, r * pitch)
        if geometry[at.ROUNDED] != 0:
            round_run(line, (columns + LANES - 1) // LANES)
        goal = out + (target + r * geometry[at.OUT_STRIDE_H]) * geometry[at.OUT_BYTES]
        call_convert(functions[2], line, goal, columns, 1, geometry[at.OUT_STRIDE_W])
    top, bottom = half_inside(geometry, 0, fill[3] < math.inf)
    left, right = half_inside(geometry, 1, fill[3] < math.inf)
    c = 0
    while c < columns:
        count = min(SUMMED_COLUMNS, columns - c)
        if column + c < left:
            count = min(count, left - column - c)
        elif column + c <= right:
            count = min(count, right + 1 - column - c)
        inner = left <= column + c <= right
        first = -1
        for r in range(lines + 1):
            fits = r == lines
            if not fits and inner and top <= row + r <= bottom:
                fits = magnitudes_fit(address(tile, r * pitch + c), count, least) != 0
            if not fits and first < 0:
                first = r
            if first >= 0 and (fits or r + 1 - first == SUMMED_ROWS):
                sum_directly(
                    functions, x, weights, out, margins, terms, fill, geometry,
                    at_offset(scratch, geometry[at.SUMMED_START]), plane, row + first,
                    r - first if fits else SUMMED_ROWS, column + c, count,
                )  # fmt: skip
                first = -1
        c += count


def fft_tasks(weights, scratches, fill, margins, terms, geometry, x, out, block, load, store, slot, slots):
    """Compute the tasks of thread ``slot`` of ``slots``, two tiles each.

    Everything is as in :func:`numbaconv.kernels.image.image_tasks`, in float64, for one term and one outer tap.
    fill[2], times the root of the sum of the squares under two tiles, is the least magnitude of a result that is kept.
    Tiles are summed directly where the mean of their squares is more than fill[3] times that of some part of them as
    large as half a window, each way.
    """
    functions = (block, load, store)
    scratch = at_offset(scratches, slot * geometry[at.SCRATCH])
    out_h, out_w = geometry[at.OUT_H], geometry[at.OUT_W]
    step_h, step_w = geometry[at.BAND], geometry[at.BLOCK]
    down, across = (out_h + step_h - 1) // step_h, (out_w + step_w - 1) // step_w
    count = geometry[at.PLANES] * down * across
    for task in range(geometry[at.TASKS] * slot // slots, geometry[at.TASKS] * (slot + 1) // slots):
        total, largest, smallest = 0.0, 0.0, math.inf
        for part in range(2):
            number = 2 * task + part
            tile = at_offset(scratch, part * geometry[at.TILE])
            if number == count:  # the last one is alone
                for k in range(geometry[at.TILE]):
                    tile[k] = 0.0
                continue
            plane, rest = divmod(number, down * across)
            row, column = rest // across * step_h, rest % across * step_w
            squares, mean, least = pack_tile(
                x, load, fill, margins, geometry, plane, row, min(step_h, out_h - row), column,
                min(step_w, out_w - column), tile, at_offset(scratch, geometry[at.STRIP_START]),
            )  # fmt: skip
            total += squares
            largest, smallest = max(largest, mean), min(smallest, least)
        least = math.inf
        if not largest > fill[3] * smallest:
            convolve_tile(weights, scratch, geometry)
            least = fill[2] * math.sqrt(total)
        for part in range(2):
            number = 2 * task + part
            if number < count:
                plane, rest = divmod(number, down * across)
                row, column = rest // across * step_h, rest % across * step_w
                store_tile(
                    functions, x, weights, out, margins, terms, fill, geometry, scratch,
                    at_offset(scratch, part * geometry[at.TILE]), plane, row, min(step_h, out_h - row), column,
                    min(step_w, out_w - column), least,
                )  # fmt: skip
