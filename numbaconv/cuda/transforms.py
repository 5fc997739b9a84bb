"""Macros of Winograd's transforms, for tiles of any size: matrices of constants times tiles, fully unrolled."""

from __future__ import annotations

from typing import Any

from .macros import _relu, _tap

Coefficients = tuple[tuple[float, ...], ...]


def numbers(ops: Any, index: Any, a: Any, b: Any, a_first: Any) -> list[Any]:
    """Which of ``a``, which of ``b`` and which group an index is that counts through all of them.

    The fastest is a's number where ``a_first`` is not 0, else b's; the slowest is the group's.
    """
    swapped = ops.integer(0) < a_first
    inner, outer = ops.select(swapped, a, b), ops.select(swapped, b, a)
    fast, rest = index % inner, index // inner
    slow = rest % outer
    return [ops.select(swapped, fast, slow), ops.select(swapped, slow, fast), rest // outer]


def _linear(ops: Any, row: tuple[float, ...], values: list[Any]) -> Any:
    """The sum of coefficients times values; zeros cost nothing, ones no multiplication."""
    total = None
    for coefficient, value in zip(row, values, strict=True):
        if coefficient == 0:
            continue
        if total is None:
            total = value if coefficient == 1 else value * coefficient
        elif coefficient == 1:
            total = total + value
        else:
            total = ops.fma(value, coefficient, total)
    return ops.real(0.0) if total is None else total


def _both_sides(ops: Any, matrix: Coefficients, tile: list[Any]) -> list[Any]:
    """Matrix * tile * matrix transposed; tiles are square and listed by rows."""
    side = len(matrix[0])
    columns = [[_linear(ops, row, tile[j::side]) for row in matrix] for j in range(side)]
    return [_linear(ops, row, [column[i] for column in columns]) for i in range(len(matrix)) for row in matrix]


def weight_tile(
    ops: Any, w: Any, place: Any, known: Any, step_h: Any, step_w: Any, u: Any, to: Any, step: Any, *,
    matrix: Coefficients,
) -> None:  # fmt: skip
    """Transform one 3x3 kernel, zeros where it is not ``known``; its elements go to ``to``, ``step`` apart."""
    taps = [_tap(ops, w, place + step_h * i + step_w * j, known) for i in range(3) for j in range(3)]
    for value in _both_sides(ops, matrix, taps):
        ops.store(u, to, value)
        to = to + step


def input_tile(
    ops: Any, x: Any, start: Any, row: Any, column: Any, in_h: Any, in_w: Any, step_h: Any, step_w: Any,
    v: Any, to: Any, step: Any, *, matrix: Coefficients,
) -> None:  # fmt: skip
    """Transform the tile that begins at (row, column), zeros outside the input; ``start`` is where cell (0, 0) lies."""
    side = len(matrix)
    tile = []
    for i in range(side):
        for j in range(side):
            y, c = row + i, column + j
            inside = (y < in_h) & (c < in_w)
            place = ops.select(inside, start + y * step_h + c * step_w, 0)
            tile.append(ops.select(inside, ops.load(x, place), 0.0))
    for value in _both_sides(ops, matrix, tile):
        ops.store(v, to, value)
        to = to + step


def output_tile(
    ops: Any, m: Any, place: Any, step: Any, out: Any, to: Any, step_h: Any, step_w: Any, row: Any, column: Any,
    out_h: Any, out_w: Any, bias: Any, bias_place: Any, has_bias: Any, relu: Any, *, matrix: Coefficients, fours: bool,
) -> None:  # fmt: skip
    """Transform one tile back and write what lies within the output; ``to`` is where output (0, 0) lies.

    ``fours`` says that its rows have four outputs that are neighbours in memory, all there or none, aligned.
    """
    products = []
    for _ in range(len(matrix[0]) ** 2):
        products.append(ops.load(m, place))
        place = place + step
    known = ops.integer(0) < has_bias
    offset = ops.select(known, ops.load(bias, ops.select(known, bias_place, 0)), 0.0)
    outputs = len(matrix)
    results = _both_sides(ops, matrix, products)
    for i in range(outputs if fours else 0):
        values = [_relu(ops, value + offset, relu) for value in results[4 * i : 4 * i + 4]]
        inside = ((row + i) < out_h) & (column < out_w)
        ops.store4_if(inside, out, to + (row + i) * step_h + column * step_w, values)
    for number, value in enumerate([] if fours else results):
        y, c = row + number // outputs, column + number % outputs
        inside = (y < out_h) & (c < out_w)
        ops.store_if(inside, out, to + y * step_h + c * step_w, _relu(ops, value + offset, relu))
