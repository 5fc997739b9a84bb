"""The windows of a convolution, all at once: what lies under each tap (im2col), and the sum of that back (col2im).

Plain NumPy, one slice for each tap, so that any dtype will do. No copy with padding around it is made: the cells of the
padding are left out of the slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array
from .problem import ConvProblem

#: An index of arrays; typed loosely, because type checkers take such tuples for arrays.
Index = tuple[Any, ...]


def _seen(size: int, outputs: int, tap: int, stride: int, dilation: int, before: int) -> tuple[slice, slice]:
    """The outputs whose tap ``tap`` lies within the input, and the input cells that it sees there."""
    offset = tap * dilation - before
    first = max(0, -(offset // stride))
    last = min(outputs, (size - 1 - offset) // stride + 1)
    if first >= last:
        return slice(0), slice(0)
    start = first * stride + offset
    return slice(first, last), slice(start, (last - 1) * stride + offset + 1, stride)


def tap_slices(problem: ConvProblem) -> Iterator[tuple[Index, Index]]:
    """For each tap of the kernel: where the outputs whose tap lies within the input are in ``windows``, and its cells.

    The former indexes arrays (N, C, *kernel_size, *output_size), the latter arrays (N, C, *input_size).
    """
    for tap in np.ndindex(*problem.kernel_size):
        pairs = [
            _seen(size, outputs, k, stride, dilation, before)
            for size, outputs, k, stride, dilation, (before, _) in zip(
                problem.input_size, problem.output_size, tap, problem.stride, problem.dilation, problem.padding,
                strict=True,
            )
        ]  # fmt: skip
        every = (slice(None), slice(None))
        yield (*every, *tap, *(outputs for outputs, _ in pairs)), (*every, *(cells for _, cells in pairs))


def gather(problem: ConvProblem, x: Array, windows: Array) -> None:
    """windows[n, c, tap, o] = x[n, c, o * stride + tap * dilation - padding before], or 0 in the padding.

    x is (N, C, *input_size), ``windows`` (N, C, *kernel_size, *output_size).
    """
    windows[...] = 0
    for seen, cells in tap_slices(problem):
        windows[seen] = x[cells]


def scatter(problem: ConvProblem, windows: Array, x: Array) -> None:
    """x[n, c, i] += sum over tap, o with o * stride + tap * dilation - padding before = i of windows[n, c, tap, o]."""
    for seen, cells in tap_slices(problem):
        x[cells] += windows[seen]
