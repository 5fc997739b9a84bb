"""Straight-line parts of kernels, written once: traced into instructions on a GPU, computed by the simulator.

Each takes the operations (:class:`.intrinsics.Operations` or :class:`.simops.Operations`) first. Values are 32-bit
unsigned integers, which wrap around, and float32; loops run while the code is made, so everything is unrolled. A
position before the first cell of an axis is a huge number: one comparison tells inside from outside.
"""

from __future__ import annotations

from typing import Any

# ---------------------------------------------------------------------------------------- pixels


def pixel(ops: Any, index: Any, out_d: Any, out_h: Any, out_w: Any) -> list[Any]:
    """(image, depth, row, column) of a pixel of all images, numbered through."""
    rest, column = index // out_w, index % out_w
    rest, row = rest // out_h, rest % out_h
    return [rest // out_d, rest % out_d, row, column]


def _inside(position: list[Any], tap: list[Any], size: list[Any]) -> Any:
    inside = None
    for first, offset, cells in zip(position, tap, size, strict=True):
        within = (first + offset) < cells
        inside = within if inside is None else inside & within
    return inside


def gather(ops: Any, x: Any, table: Any, k: Any, start: Any, position: list[Any], size: list[Any]) -> list[Any]:
    """Two rows k and k + 1 of the patches matrix for one pixel: what the input holds there, 0 outside of it.

    A row of ``table`` is (how much further the row's cell lies than the pixel's first one, its tap's depth, row and
    column). ``start`` is where the pixel's first cell lies, ``position`` its depth, row and column.
    """
    values = []
    for i in range(2):
        further, *tap = ops.fetch4(table, (k + i) * 4)
        inside = _inside(position, tap, size)
        value = ops.fetch(x, ops.select(inside, start + further, 0))
        values.append(ops.select(inside, value, 0.0))
    return values


def gather_more(
    ops: Any, values: list[Any], x: Any, table: Any, k: Any, start: Any, position: list[Any], size: list[Any]
) -> list[Any]:
    """Rows k + 2 and k + 3 behind k and k + 1, which :func:`gather` found."""
    return [*values, *gather(ops, x, table, k + 2, start, position, size)]


def gather4(ops: Any, x: Any, table: Any, k: Any, start: Any, position: list[Any], size: list[Any]) -> list[Any]:
    """Four rows at once, which are neighbouring channels under one tap, aligned to 16 bytes."""
    further, *tap = ops.fetch4(table, k * 4)
    inside = _inside(position, tap, size)
    values = ops.fetch4(x, ops.select(inside, start + further, 0))
    return [ops.select(inside, value, 0.0) for value in values]


def no_more(ops: Any, values: list[Any], *_: Any) -> list[Any]:
    """All that :func:`gather4` found."""
    return values


def weights4(ops: Any, w: Any, place: Any, inside: Any) -> list[Any]:
    """Four neighbouring packed weights, or zeros."""
    return [ops.select(inside, value, 0.0) for value in ops.fetch4(w, ops.select(inside, place, 0))]


def keep4(ops: Any, memory: Any, place: Any, values: list[Any]) -> None:
    """Write four neighbours at once."""
    ops.store4(memory, place, values)


def keep_column(ops: Any, memory: Any, place: Any, pitch: Any, values: list[Any]) -> None:
    """Write values below each other, ``pitch`` apart."""
    for value in values:
        ops.store(memory, place, value)
        place = place + pitch


# ---------------------------------------------------------------------------------------- the FP32 register tile

#: Rows of the patches matrix in shared memory at a time.
DEPTH = 8
#: Floats between two rows of pixels in shared memory: not a multiple of 32 banks, so that two rows can be written at
#: once.
PITCH = 132


def zeros(ops: Any, *, count: int) -> list[Any]:
    """Sums to begin with."""
    return [ops.real(0.0)] * count


def register_tile(
    ops: Any, sums: list[Any], w: Any, x: Any, w_place: Any, x_place: Any, *, rows: int, steps: range
) -> list[Any]:
    """sums[f][p] += sum over some rows k of w[k][f] * x[k][p], for ``rows`` filters and 8 pixels of one thread.

    In shared memory a row of w has 16 * ``rows`` filters, one of x has PITCH pixels. A thread's filters and pixels are
    groups of four, 64 apart: the threads of a warp read neighbouring groups, which no two banks have in common.
    """
    sums = list(sums)
    for k in steps:
        a = [v for i in range(0, rows, 4) for v in ops.load4(w, w_place + (k * 16 * rows + i * 16))]
        b = [v for i in range(0, 8, 4) for v in ops.load4(x, x_place + (k * PITCH + i * 16))]
        for i in range(rows):
            for j in range(8):
                sums[8 * i + j] = ops.fma(a[i], b[j], sums[8 * i + j])
    return sums


def thread(ops: Any) -> list[Any]:
    """The thread's number, read anew."""
    return [ops.thread()]


def _relu(ops: Any, value: Any, relu: Any) -> Any:
    wanted = ops.negative(value) & (ops.integer(0) < relu)
    return ops.select(wanted, ops.real(0.0), value)


def write_tile(
    ops: Any, sums: list[Any], out: Any, bias: Any, first_filter: Any, first_pixel: Any, filters: Any, pixels: Any,
    sizes: list[Any], strides: list[Any], offsets: list[Any], options: list[Any], *, rows: int, side_by_side: str,
) -> None:  # fmt: skip
    """Write a thread's tile: add the bias, apply the activation, leave out what lies beyond the edges.

    sizes : of the output's depth, rows and columns. strides : of images, filters, depth, rows, columns. offsets :
    where the group's output and bias begin, and the bias's stride. options : (whether there is a bias, relu).
    side_by_side : "pixels" or "filters" whose fours are neighbours in memory, all there or none, aligned to 16 bytes;
    "" for none.
    """
    has_bias, relu = options
    known, columns = [], []
    for i in range(rows):  # all are asked for before one is waited for
        f = first_filter + (i % 4 + i // 4 * 64)
        known.append(f < filters)
        place = ops.select(known[i] & (ops.integer(0) < has_bias), offsets[1] + f * offsets[2], 0)
        columns.append((f * strides[1], ops.fetch(bias, place)))
    columns = [(place, ops.select(ops.integer(0) < has_bias, offset, 0.0)) for place, offset in columns]
    fours = side_by_side == "pixels"
    for j in range(0, 8, 4 if fours else 1):
        index = first_pixel + (j % 4 + j // 4 * 64)
        image, *position = pixel(ops, index, *sizes)
        place = offsets[0] + image * strides[0]
        for coordinate, stride in zip(position, strides[2:], strict=True):
            place = place + coordinate * stride
        exists = index < pixels
        if side_by_side == "filters":
            for i in range(0, rows, 4):
                values = [_relu(ops, sums[8 * (i + k) + j] + columns[i + k][1], relu) for k in range(4)]
                ops.store4_if(exists & known[i], out, place + columns[i][0], values)
            continue
        for i in range(rows):
            further, offset = columns[i]
            values = [_relu(ops, sums[8 * i + j + k] + offset, relu) for k in range(4 if fours else 1)]
            if fours:
                ops.store4_if(exists & known[i], out, place + further, values)
            else:
                ops.store_if(exists & known[i], out, place + further, values[0])


# ---------------------------------------------------------------------------------------- depthwise


def _tap(ops: Any, x: Any, place: Any, inside: Any) -> Any:
    return ops.select(inside, ops.load(x, ops.select(inside, place, 0)), 0.0)


def next_row(
    ops: Any, state: list[Any], x: Any, w: Any, x_place: Any, inside: Any, w_place: Any, tap: Any, taps: Any, *,
    rows: int, whole: bool,
) -> list[Any]:  # fmt: skip
    """One more input row for a column of ``rows`` outputs: each row meets the taps that reach it, loaded once.

    The state is the sums and the last ``rows`` taps, the newest first: output r is reached by tap number ``tap`` - r.
    ``whole`` says that all those are taps; else those that are none are left out (not multiplied with zeros, which
    would make NaN of infinities).
    """
    sums, window = state[:rows], state[rows:]
    value = _tap(ops, x, x_place, inside)
    window = [_tap(ops, w, w_place, tap < taps), *window[:-1]]
    for r in range(rows):
        seen = value if whole else ops.select((tap - r) < taps, value, 0.0)
        sums[r] = ops.fma(seen, window[r], sums[r])
    return [*sums, *window]


def one_tap(
    ops: Any, state: list[Any], x: Any, w: Any, x_place: Any, row: Any, inside: Any, in_h: Any, x_step: Any, step: Any,
    w_place: Any, *, rows: int,
) -> list[Any]:  # fmt: skip
    """One tap for a column of ``rows`` outputs whose input rows are ``step`` apart, ``x_step`` elements in memory."""
    weight = ops.load(w, w_place)
    sums = list(state[:rows])
    for r in range(rows):
        sums[r] = ops.fma(_tap(ops, x, x_place, inside & (row < in_h)), weight, sums[r])
        row, x_place = row + step, x_place + x_step
    return [*sums, *state[rows:]]


def whole_kernel(
    ops: Any, x: Any, w: Any, x_place: Any, row: Any, column: Any, size: list[Any], steps: list[Any], w_place: Any,
    w_steps: list[Any], *, rows: int, kernel: tuple[int, int], stride: int,
) -> list[Any]:  # fmt: skip
    """The sums of a column of ``rows`` outputs under a small kernel, ``stride`` rows apart, every tap unrolled.

    ``row`` and ``column`` are the position of the first cell, at ``x_place``; size, steps : of the input's rows and
    columns, and of a step in memory. A cell is read once, at an address that is reckoned from its row's.
    """
    height, width = kernel
    taps = [[ops.load(w, w_place + w_steps[0] * i + w_steps[1] * j) for j in range(width)] for i in range(height)]
    columns = [(column + j) < size[1] for j in range(width)]
    sums = [ops.real(0.0)] * rows
    for y in range((rows - 1) * stride + height):
        within = (row + y) < size[0]
        for j in range(width):
            value = _tap(ops, x, x_place + steps[1] * j, within & columns[j])
            for r in range(rows):
                if 0 <= y - r * stride < height:
                    sums[r] = ops.fma(value, taps[y - r * stride][j], sums[r])
        x_place = x_place + steps[0]
    return sums


def write_column(
    ops: Any, state: list[Any], out: Any, bias: Any, place: Any, stride: Any, first: Any, out_h: Any, bias_place: Any,
    has_bias: Any, relu: Any, *, rows: int,
) -> None:  # fmt: skip
    """Write the sums of a column, those below the last row left out."""
    offset = _tap(ops, bias, bias_place, ops.integer(0) < has_bias)
    for r in range(rows):
        ops.store_if((first + r) < out_h, out, place + stride * r, _relu(ops, state[r] + offset, relu))


# ---------------------------------------------------------------------------------------- copies

#: The sides of a tile.
TILE = 32


def _cell(
    ops: Any, source: Any, place: Any, inside: Any, position: list[Any], sizes: list[Any], steps: list[Any]
) -> Any:
    known = inside & (position[0] < sizes[0]) & (position[1] < sizes[1])
    return _tap(ops, source, place + position[0] * steps[0] + position[1] * steps[1], known)


def read_tile(
    ops: Any, tile: Any, source: Any, place: Any, inside: Any, first: list[Any], lane: Any, row: Any,
    sizes: list[Any], steps: list[Any], *, rows: int,
) -> None:  # fmt: skip
    """Keep the tile from ``first`` on, (a, b): a thread reads cell ``lane`` of a, and every so many rows one of b."""
    for k in range(0, TILE, rows):
        value = _cell(ops, source, place, inside, [first[0] + lane, first[1] + (row + k)], sizes, steps)
        ops.store(tile, (row + k) * (TILE + 1) + lane, value)


def write_turned(
    ops: Any, tile: Any, target: Any, place: Any, first: list[Any], lane: Any, row: Any, sizes: list[Any],
    steps: list[Any], *, rows: int,
) -> None:  # fmt: skip
    """Write what :func:`read_tile` kept, cell ``lane`` of b."""
    for k in range(0, TILE, rows):
        a, b = first[0] + (row + k), first[1] + lane
        value = ops.load(tile, lane * (TILE + 1) + (row + k))
        ops.store_if((a < sizes[0]) & (b < sizes[1]), target, place + a * steps[0] + b * steps[1], value)


def copy_tile(
    ops: Any, source: Any, target: Any, place: Any, to: Any, inside: Any, first: list[Any], lane: Any, row: Any,
    sizes: list[Any], target_sizes: list[Any], steps: list[Any], target_steps: list[Any], *, rows: int,
) -> None:  # fmt: skip
    """Read and write cell ``lane`` of b."""
    cells = [(first[0] + (row + k), first[1] + lane) for k in range(0, TILE, rows)]
    values = [_cell(ops, source, place, inside, [a, b], sizes, steps) for a, b in cells]
    for (a, b), value in zip(cells, values, strict=True):
        known = (a < target_sizes[0]) & (b < target_sizes[1])
        ops.store_if(known, target, to + a * target_steps[0] + b * target_steps[1], value)


def add_tile(
    ops: Any, sums: list[Any], source: Any, place: Any, first: list[Any], lane: Any, row: Any, sizes: list[Any],
    steps: list[Any], *, rows: int,
) -> list[Any]:  # fmt: skip
    """Add what a thread of :func:`copy_tile` reads to its sums."""
    found = [
        _cell(ops, source, place, lane < TILE, [first[0] + (row + k), first[1] + lane], sizes, steps)
        for k in range(0, TILE, rows)
    ]
    return [total + value for total, value in zip(sums, found, strict=True)]


def finish_tile(
    ops: Any, sums: list[Any], target: Any, to: Any, bias: Any, bias_place: Any, first: list[Any], lane: Any,
    row: Any, sizes: list[Any], steps: list[Any], bias_steps: list[Any], options: list[Any], *, rows: int,
) -> None:  # fmt: skip
    """Write the sums of :func:`add_tile` with the bias and the activation; options : (has a bias, relu)."""
    has_bias, relu = options
    for total, k in zip(sums, range(0, TILE, rows), strict=True):
        a, b = first[0] + (row + k), first[1] + lane
        known = (a < sizes[0]) & (b < sizes[1])
        with_bias = known & (ops.integer(0) < has_bias)
        offset = _tap(ops, bias, bias_place + a * bias_steps[0] + b * bias_steps[1], with_bias)
        ops.store_if(known, target, to + a * steps[0] + b * steps[1], _relu(ops, total + offset, relu))
