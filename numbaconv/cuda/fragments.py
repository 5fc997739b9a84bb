"""Macros of the tensor cores' kernel. Memory is counted in chunks of 16 bytes, which makes all dtypes alike.

Shared memory holds stages of 128 rows of 4 chunks, rows of pixels in one array and rows of filters in another. Chunk c
of row r lies at place c ^ (r // 2 % 4) of its row: the eight rows that ldmatrix reads at once, and the two that a
quarter of a warp writes, have no bank of shared memory in common.
"""

from __future__ import annotations

from typing import Any

from .macros import _inside, _relu, pixel

CHUNKS = 4
ROWS = 128
STAGE = ROWS * CHUNKS


def _place(row: Any, chunk: Any) -> Any:
    return row * CHUNKS + (chunk ^ ((row >> 1) & 3))


def tap(ops: Any, table: Any, k: Any) -> list[Any]:
    """A row of the table, which is :func:`.macros.gather`'s, counted in chunks."""
    row: list[Any] = ops.fetch4(table, k * 4)
    return row


def first_cells(
    ops: Any, index: Any, pixels: Any, base: Any, sizes: list[Any], stride: list[Any], padding: list[Any],
    strides: list[Any], *, rows: int,
) -> list[Any]:  # fmt: skip
    """For each of a thread's pixels, ``rows`` apart, where its first cell lies, and its depth, row and column.

    Those beyond the last pixel are nowhere.
    """
    found = []
    for first in range(0, ROWS, rows):
        image, *outputs = pixel(ops, index + first, *sizes)
        position = [o * step - pad for o, step, pad in zip(outputs, stride, padding, strict=True)]
        place = base + image * strides[0]
        for coordinate, step in zip(position, strides[1:], strict=True):
            place = place + coordinate * step
        position[0] = ops.select((index + first) < pixels, position[0], 0x80000000)
        found += [place, *position]
    return found


def filter_rows(
    ops: Any, f: Any, group: Any, filters_of_group: Any, chunks: Any, start: Any, *, rows: int, filters: int
) -> list[Any]:
    """For each of a thread's filters, ``rows`` apart, where its chunks begin, and how many they are: 0 for none."""
    found = []
    for first in range(0, filters, rows):
        known = (f + first) < filters_of_group
        found += [start + (group * filters_of_group + (f + first)) * chunks, ops.select(known, chunks, 0)]
    return found


def fetch(
    ops: Any, x_tile: Any, w_tile: Any, x: Any, w: Any, row_of_table: list[Any], k: Any, chunks: Any, stage: Any,
    w_stage: Any, row: Any, places: list[Any], size: list[Any], w_places: list[Any], *, rows: int,
) -> None:  # fmt: skip
    """Start to copy chunk k of a thread's pixels and of its filters, ``rows`` rows apart, to a stage."""
    further, *tap = row_of_table
    column = k & (CHUNKS - 1)
    for i, (start, *position) in enumerate(zip(*[iter(places)] * 4, strict=True)):
        inside = _inside(position, tap, size)
        place = stage + _place(row + rows * i, column)
        ops.copy_chunk(x_tile, place, x, ops.select(inside, start + further, 0), inside)
    for i, (start, count) in enumerate(zip(*[iter(w_places)] * 2, strict=True)):
        inside = k < count
        place = w_stage + _place(row + rows * i, column)
        ops.copy_chunk(w_tile, place, w, ops.select(inside, start + k, 0), inside)
    ops.commit()


def wait(ops: Any, *, groups: int) -> None:
    """Until no more than this many stages are on their way."""
    ops.wait(groups)


def product(
    ops: Any, sums: list[Any], x_tile: Any, w_tile: Any, stage: Any, w_stage: Any, x_row: Any, w_row: Any, lane: Any, *,
    kind: str, pixels: int, filters: int,
) -> list[Any]:  # fmt: skip
    """A warp's sums of its pixels and filters over one stage: products of 16 x 8, in two halves of 2 chunks."""
    sums = list(sums)
    for half in range(0, CHUNKS, 2):

        def x_chunk(lane: Any, half: int = half, first: Any = 0) -> Any:
            row = x_row + first + (lane & 15)
            return stage + _place(row, (lane >> 4) + half)

        def w_chunk(lane: Any, half: int = half, first: Any = 0) -> Any:
            row = w_row + first + (lane & 7) + (lane >> 4) * 8
            return w_stage + _place(row, ((lane >> 3) & 1) + half)

        def at(chunk_of: Any, first: int) -> Any:
            return lambda lane: chunk_of(lane, first=first)

        rows = [ops.rounded(ops.matrices(x_tile, at(x_chunk, 16 * i), lane), kind) for i in range(pixels // 16)]
        pairs = [ops.rounded(ops.matrices(w_tile, at(w_chunk, 16 * j), lane), kind) for j in range(filters // 16)]
        for i in range(pixels // 16):
            for j in range(filters // 8):
                first = filters // 2 * i + 4 * j
                columns = pairs[j // 2][2 * (j % 2) : 2 * (j % 2) + 2]
                sums[first : first + 4] = ops.multiply(kind, rows[i], columns, sums[first : first + 4], lane)
    return sums


def write_fragments(
    ops: Any, sums: list[Any], out: Any, bias: Any, first_filter: Any, first_pixel: Any, lane: Any, filters: Any,
    pixels: Any, sizes: list[Any], strides: list[Any], offsets: list[Any], options: list[Any], *,
    filters_of_warp: int, pairs: bool,
) -> None:  # fmt: skip
    """Write a warp's sums; arguments as :func:`.macros.write_tile`'s, the firsts being the warp's.

    ``pairs`` says that filters 2i and 2i + 1 are neighbours in memory, both there or none, aligned to both.
    """
    has_bias, relu = options
    products = filters_of_warp // 8
    columns = []
    for j in range(products):
        for side in range(2):
            f = first_filter + (lane & 3) * 2 + (8 * j + side)
            known = f < filters
            with_bias = known & (ops.integer(0) < has_bias)
            offset = ops.load(bias, ops.select(with_bias, offsets[1] + f * offsets[2], 0))
            columns.append((known, f * strides[1], ops.select(with_bias, offset, 0.0)))
    for i in range(len(sums) // (4 * products)):
        for lower in range(2):
            index = first_pixel + (lane >> 2) + (16 * i + 8 * lower)
            image, *position = pixel(ops, index, *sizes)
            place = offsets[0] + image * strides[0]
            for coordinate, stride in zip(position, strides[2:], strict=True):
                place = place + coordinate * stride
            exists = index < pixels
            for j in range(products):
                values = [
                    _relu(ops, sums[4 * (products * i + j) + 2 * lower + side] + columns[2 * j + side][2], relu)
                    for side in range(2)
                ]
                if pairs:
                    known, further, _ = columns[2 * j]
                    ops.store2_if(exists & known, out, place + further, values)
                    continue
                for value, (known, further, _) in zip(values, columns[2 * j : 2 * j + 2], strict=True):
                    ops.store_if(exists & known, out, place + further, value)
