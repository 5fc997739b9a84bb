"""Sums over a window that slides over an image, or over the planes of a volume.

A task is a band of output rows, cut into blocks of columns. Where the window stays inside the image, the microkernel
reads the image itself. Elsewhere, and where the image has another dtype or its columns do not lie side by side, what is
under a block is first copied into a strip, converted and with what surrounds the image: no image is padded as a whole.

A separable kernel, the sum of a few outer products of a column and a row, is summed row by row into a strip of lines,
and these down the columns. Where a line is not finite the band is summed as it is, so that NaN and infinity spread no
further, and nothing overflows that would not otherwise.
"""

from __future__ import annotations

from ..runtime import kernel, parallel_kernel
from . import image_geometry as at
from .blocking import VECTOR_BYTES
from .image_simd import (
    TILE_VECTORS,
    address,
    all_finite,
    at_offset,
    call_block,
    call_convert,
    call_tasks,
    convert_element,
    convert_run,
    element_size,
    image_tile_1,
    image_tile_1x1,
    image_tile_2,
    image_tile_2x1,
    image_tile_3,
    image_tile_4,
    image_tile_4x1,
)
from .numbers import larger, smaller
from .threads import on_threads

#: Stands for a plane that lies outside the volume. Real ones may start below 0, but no array reaches this far.
NO_PLANE = -(2**62)


def image_block(w, rule, x, x_pitch, kernel_h, kernel_w, out, out_pitch, lines, columns, accumulate):
    """Y[r, c] (+)= sum over i < KH, j < KW of W[i, j] * X[r + i, c + j], for r < lines and c < columns.

    Everything is as in the microkernels. ``columns`` is at least the lanes and, where ``accumulate`` is not 0, a
    multiple of them: the last tile may overlap the one before.
    """
    size = element_size(w)
    lanes = VECTOR_BYTES // size
    wide = TILE_VECTORS * lanes
    line = 0
    while line < lines:
        rows = smaller(smaller(4, lines - line), kernel_h)
        source = x + line * x_pitch * size
        target = out + line * out_pitch * size
        line += rows
        c = 0
        while columns - c >= wide:
            from_, to = source + c * size, target + c * size
            if rows == 4:
                image_tile_4(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
            elif rows == 3:
                image_tile_3(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
            elif rows == 2:
                image_tile_2(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
            else:
                image_tile_1(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
            c += wide
        while c < columns:
            first = smaller(c, columns - lanes) * size
            done = 0
            while done < rows:
                from_, to = source + first + done * x_pitch * size, target + first + done * out_pitch * size
                if rows - done == 4:
                    image_tile_4x1(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
                    done += 4
                elif rows - done >= 2:
                    image_tile_2x1(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
                    done += 2
                else:
                    image_tile_1x1(w, rule, from_, x_pitch, kernel_h, kernel_w, to, out_pitch, accumulate)
                    done += 1
            c += lanes


@kernel
def image_index(margins, start, before, size, position):
    """Where position ``position`` of an axis is read: an index, or -1 outside. Positions count from the first cell.

    Those before it, and those behind the last one, are looked up in margins[start:], ``before`` of the former first;
    where ``before`` is negative, the first window begins behind the first cell, and there are none of them.
    """
    if 0 <= position < size:
        return position
    if position < 0:
        return margins[start + before + position]
    return margins[start + larger(before, 0) + position - size]


def image_convert(x, y, count, x_step, y_step):
    """y[j * y_step] = x[j * x_step] for j < count, converted: integers wrap around, floats lose their fraction."""
    if x_step == 1 and y_step == 1:
        convert_run(x, y, count)
    else:
        for j in range(count):
            convert_element(x, j * x_step, y, j * y_step)


@kernel
def image_pack(x, load, origin, fill, margins, geometry, row, lines, column, columns, strip):
    """Copy cells of a plane: strip[r * PITCH + j] = x[row + r, column + j] for r < lines, j < columns, converted.

    Rows and columns count from the plane's first cell, which is element ``origin`` of the input at address ``x``, and
    may lie outside: there ``margins`` says what is read, or it is ``fill``. With NO_PLANE all of it is. ``load`` is the
    address of an :func:`image_convert`.
    """
    pitch = geometry[at.PITCH]
    size = geometry[at.IN_W]
    step = geometry[at.X_W]
    bytes_ = geometry[at.X_BYTES]
    left = smaller(columns, larger(0, -column))
    right = larger(left, smaller(columns, size - column))
    for r in range(lines):
        goal = r * pitch
        index = image_index(margins, geometry[at.MARGIN_H], geometry[at.PAD_H], geometry[at.IN_H], row + r)
        if origin == NO_PLANE or index < 0:
            for j in range(columns):
                strip[goal + j] = fill
            continue
        line = x + (origin + index * geometry[at.X_H]) * bytes_
        for part in range(2):
            begin, end = (0, left) if part == 0 else (right, columns)
            for j in range(begin, end):
                cell = image_index(margins, geometry[at.MARGIN_W], geometry[at.PAD_W], size, column + j)
                if cell < 0:
                    strip[goal + j] = fill
                else:
                    call_convert(load, line + cell * step * bytes_, address(strip, goal + j), 1, 1, 1)
        first = line + (column + left) * step * bytes_
        call_convert(load, first, address(strip, goal + left), right - left, step, 1)


@kernel
def plane_origin(margins, geometry, plane, tap):
    """Where the input's plane under outer tap ``tap`` of output plane ``plane`` begins, or NO_PLANE."""
    origin = 0
    for back in range(geometry[at.OUTER_COUNT]):
        slot = at.OUTER + (geometry[at.OUTER_COUNT] - 1 - back) * at.OUTER_LENGTH
        plane, position = divmod(plane, geometry[slot + at.SIZE])
        tap, offset = divmod(tap, geometry[slot + at.TAPS])
        pad = geometry[slot + at.PAD]
        index = image_index(
            margins, geometry[slot + at.MARGIN], pad, geometry[slot + at.IN_SIZE], position + offset - pad
        )
        if index < 0:
            return NO_PLANE
        origin += index * geometry[slot + at.X_STRIDE]
    return origin


@kernel
def plane_target(geometry, plane):
    """Where output plane ``plane`` begins."""
    target = 0
    for back in range(geometry[at.OUTER_COUNT]):
        slot = at.OUTER + (geometry[at.OUTER_COUNT] - 1 - back) * at.OUTER_LENGTH
        plane, position = divmod(plane, geometry[slot + at.SIZE])
        target += position * geometry[slot + at.OUT_STRIDE]
    return target


@kernel
def rounded_up(count, size):
    """``count`` elements of ``size`` bytes each, rounded up to whole vectors."""
    lanes = VECTOR_BYTES // size
    return (count + lanes - 1) // lanes * lanes


@kernel
def image_store(sums, geometry, lines, columns, out, store, target):
    """out[target + r * OUT_STRIDE_H + c * OUT_STRIDE_W] = sums[r * SUMS_PITCH + c], converted to out's dtype.

    ``out`` is an address, ``store`` that of an :func:`image_convert`.
    """
    for r in range(lines):
        goal = out + (target + r * geometry[at.OUT_STRIDE_H]) * geometry[at.OUT_BYTES]
        first = address(sums, geometry[at.SUMS_START] + r * geometry[at.SUMS_PITCH])
        call_convert(store, first, goal, columns, 1, geometry[at.OUT_STRIDE_W])


@kernel
def image_segment(
    functions, x, weights, out, margins, terms, fill, geometry, scratch, plane, row, lines, column, columns
):
    """Sum ``lines`` x ``columns`` outputs of plane ``plane``, from row ``row`` and column ``column`` on.

    The sums go straight to the output where it can take them, and else into the scratch and then to the output.
    """
    block, load, store = functions
    size = element_size(scratch)
    kernel_h, kernel_w = geometry[at.KERNEL_H], geometry[at.KERNEL_W]
    first_row, first_column = row - geometry[at.PAD_H], column - geometry[at.PAD_W]
    inside = (
        geometry[at.READ_INPUT] != 0
        and first_row >= 0
        and first_row + lines + kernel_h - 1 <= geometry[at.IN_H]
        and first_column >= 0
        and first_column + columns + kernel_w - 1 <= geometry[at.IN_W]
        and columns * size >= VECTOR_BYTES
    )
    whole = rounded_up(columns, size)
    products = geometry[at.TERMS] * geometry[at.OUTER_TAPS]
    target = plane_target(geometry, plane) + row * geometry[at.OUT_STRIDE_H] + column * geometry[at.OUT_STRIDE_W]
    for f in range(geometry[at.FILTERS]):
        goal = target + f  # the imaginary part lies behind the real one
        straight = geometry[at.WRITE_OUT] != 0 and (
            whole == columns or (products == 1 and columns * size >= VECTOR_BYTES)
        )
        y = out + goal * size if straight else address(scratch, geometry[at.SUMS_START])
        y_pitch = geometry[at.OUT_STRIDE_H] if straight else geometry[at.SUMS_PITCH]
        accumulate = 0
        for term in range(geometry[at.TERMS]):
            slot = (f * geometry[at.TERMS] + term) * at.TERM_LENGTH
            value = fill[terms[slot + at.TERM_FILL]]
            for tap in range(geometry[at.OUTER_TAPS]):
                start = terms[slot + at.TERM_WEIGHT] + tap * kernel_h * kernel_w
                origin = plane_origin(margins, geometry, plane, tap)
                if origin != NO_PLANE:
                    origin += terms[slot + at.TERM_X]
                if inside and origin != NO_PLANE and (straight or whole == columns):
                    source = x + (origin + first_row * geometry[at.X_H] + first_column) * size
                    pitch, width = geometry[at.X_H], columns
                else:
                    image_pack(
                        x, load, origin, value, margins, geometry, first_row, lines + kernel_h - 1, first_column,
                        columns + kernel_w - 1, scratch,
                    )  # fmt: skip
                    source, pitch = address(scratch, 0), geometry[at.PITCH]
                    width = columns if straight else whole
                call_block(
                    block,
                    at_offset(weights, start),
                    source,
                    pitch,
                    kernel_h,
                    kernel_w,
                    y,
                    y_pitch,
                    lines,
                    width,
                    accumulate,
                )
                accumulate = 1
        if not straight:
            image_store(scratch, geometry, lines, columns, out, store, goal)


@kernel
def image_separable(functions, x, weights, out, margins, fill, geometry, scratch, plane, row, lines, column, columns):
    """:func:`image_segment` for a kernel of rank RANK; false where a line is not finite.

    Then the outputs are not all written.

    weights[FACTORS:] has, for each rank s, the KERNEL_H taps of column s and the KERNEL_W taps of row s. There is one
    filter, one term and one outer tap.
    """
    block, load, store = functions
    size = element_size(scratch)
    kernel_h, kernel_w = geometry[at.KERNEL_H], geometry[at.KERNEL_W]
    first_row, first_column = row - geometry[at.PAD_H], column - geometry[at.PAD_W]
    count = lines + kernel_h - 1
    whole = rounded_up(columns, size)
    inside = (
        geometry[at.READ_INPUT] != 0
        and first_row >= 0
        and first_row + count <= geometry[at.IN_H]
        and first_column >= 0
        and first_column + whole + kernel_w - 1 <= geometry[at.IN_W]
    )
    origin = plane_origin(margins, geometry, plane, 0)
    if inside and origin != NO_PLANE:
        source = x + (origin + first_row * geometry[at.X_H] + first_column) * size
        pitch = geometry[at.X_H]
    else:
        image_pack(
            x, load, origin, fill[0], margins, geometry, first_row, count, first_column, columns + kernel_w - 1, scratch
        )
        for r in range(count):  # what the last vectors read beyond
            for j in range(columns + kernel_w - 1, whole + kernel_w - 1):
                scratch[r * geometry[at.PITCH] + j] = 0
        source, pitch = address(scratch, 0), geometry[at.PITCH]
    target = plane_target(geometry, plane) + row * geometry[at.OUT_STRIDE_H] + column * geometry[at.OUT_STRIDE_W]
    straight = geometry[at.WRITE_OUT] != 0 and whole == columns
    y = out + target * size if straight else address(scratch, geometry[at.SUMS_START])
    y_pitch = geometry[at.OUT_STRIDE_H] if straight else geometry[at.SUMS_PITCH]
    start, lines_pitch = geometry[at.LINES_START], geometry[at.LINES_PITCH]
    made = address(scratch, start)
    factor = geometry[at.FACTORS]
    for s in range(geometry[at.RANK]):
        call_block(
            block, at_offset(weights, factor + kernel_h), source, pitch, 1, kernel_w, made, lines_pitch, count, whole, 0
        )
        for r in range(count):
            if all_finite(scratch, start + r * lines_pitch, whole) == 0:
                return False
        call_block(
            block,
            at_offset(weights, factor),
            made,
            lines_pitch,
            kernel_h,
            1,
            y,
            y_pitch,
            lines,
            whole,
            1 if s > 0 else 0,
        )
        factor += kernel_h + kernel_w
    if not straight:
        image_store(scratch, geometry, lines, columns, out, store, target)
    return True


def image_tasks(weights, scratches, fill, margins, terms, geometry, x, out, block, load, store, slot, slots):
    """Compute the tasks of thread ``slot`` of ``slots``.

    out[p, h, w] = sum over t, i, j of weight[t, i, j] * x[p + t, h + i - PAD_H, w + j - PAD_W], for planes p and outer
    taps t; for complex numbers the sum of several such products of real and imaginary parts, which ``terms`` lists.

    The arrays are pointers; input and output are addresses, of elements that the strides in ``geometry`` lead to.
    Their dtypes may differ from that of the sums, which is that of the weights, of ``fill`` and of the scratch.
    ``block`` is the address of :func:`image_block`, compiled for it; ``load`` and ``store`` are those of
    :func:`image_convert`, from the input's dtype and to the output's. ``margins`` says what is read outside the input.
    """
    functions = (block, load, store)
    scratch = at_offset(scratches, slot * geometry[at.SCRATCH])
    out_h, out_w = geometry[at.OUT_H], geometry[at.OUT_W]
    lanes = VECTOR_BYTES // element_size(scratch)
    across = (out_w + geometry[at.BLOCK] - 1) // geometry[at.BLOCK]
    down = (out_h + geometry[at.BAND] - 1) // geometry[at.BAND]
    # The columns whose windows lie inside the image, from one whose output may be aligned on.
    inside_first = (larger(0, geometry[at.PAD_W]) + lanes - 1) // lanes * lanes
    inside_last = geometry[at.IN_W] - geometry[at.KERNEL_W] + 1 + geometry[at.PAD_W]
    for task in range(geometry[at.TASKS] * slot // slots, geometry[at.TASKS] * (slot + 1) // slots):
        number, part = divmod(task, across)
        plane, band = divmod(number, down)
        row = band * geometry[at.BAND]
        lines = smaller(geometry[at.BAND], out_h - row)
        end = smaller(out_w, (part + 1) * geometry[at.BLOCK])
        column = part * geometry[at.BLOCK]
        while column < end:
            stop = end
            if geometry[at.READ_INPUT] != 0 and inside_last - inside_first >= 4 * lanes:
                # Three segments: only those at the edges need a strip.
                if column < inside_first:
                    stop = smaller(end, inside_first)
                elif column < inside_last:
                    stop = smaller(end, inside_last)
                    if geometry[at.RANK] > 0 or geometry[at.TERMS] * geometry[at.OUTER_TAPS] > 1:
                        stop = column + (stop - column) // lanes * lanes if stop - column >= lanes else stop
            done = False
            if geometry[at.RANK] > 0:
                done = image_separable(
                    functions,
                    x,
                    weights,
                    out,
                    margins,
                    fill,
                    geometry,
                    scratch,
                    plane,
                    row,
                    lines,
                    column,
                    stop - column,
                )
            if not done:
                image_segment(
                    functions,
                    x,
                    weights,
                    out,
                    margins,
                    terms,
                    fill,
                    geometry,
                    scratch,
                    plane,
                    row,
                    lines,
                    column,
                    stop - column,
                )
            column = stop


@kernel
def image_serial(slot, slots, addresses):
    """Call :func:`image_tasks`, compiled on its own: its address and its first eleven arguments are given."""
    call_tasks(addresses, slot, slots)


@parallel_kernel
def image_parallel(slots, addresses):
    """:func:`image_serial` on ``slots`` threads; which thread computes a value does not change it.

    One parallel region, compiled once, serves all dtypes.
    """
    on_threads(image_serial, slots, (addresses,))
