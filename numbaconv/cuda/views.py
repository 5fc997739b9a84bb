"""Arrays on a GPU as the kernels see them: memory, a start, sizes and strides. Nothing here touches an element."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory on a GPU from its lowest element on.

    Attributes
    ----------
    handle : object
        What a kernel takes: the address, or in the simulator a flat array.
    owner : object
        Whatever keeps the memory alive.
    address : int
        Of the first element.
    """

    handle: Any
    dtype: np.dtype[Any]
    owner: Any
    address: int


@dataclasses.dataclass(frozen=True)
class View:
    """Some elements of memory: element (i, j, ...) is number start + i * strides[0] + j * strides[1] + ..."""

    memory: Memory
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The elements' dtype."""
        return self.memory.dtype

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """One more than the highest number of an element in its memory."""
        return (
            1 + self.start + sum(max(0, (n - 1) * stride) for n, stride in zip(self.shape, self.strides, strict=True))
        )

    def _replaced(self, axis: int, start: int, size: int, stride: int) -> View:
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = size, stride
        return View(self.memory, self.start + start, tuple(shape), tuple(strides))

    def cut(self, axis: int, cells: slice | range) -> View:
        """The cells of one dimension that a slice or a range names, in its order."""
        chosen = range(self.shape[axis])[cells] if isinstance(cells, slice) else cells
        first = chosen[0] if chosen else 0
        return self._replaced(axis, first * self.strides[axis], len(chosen), chosen.step * self.strides[axis])

    def flipped(self) -> View:
        """Every dimension backwards."""
        result = self
        for axis in range(self.ndim):
            result = result.cut(axis, slice(None, None, -1))
        return result

    def split(self, axis: int, outer: int) -> View:
        """One dimension as two: ``outer`` groups of neighbours."""
        inner = self.shape[axis] // outer if outer else 0
        shape = (*self.shape[:axis], outer, inner, *self.shape[axis + 1 :])
        stride = self.strides[axis]
        strides = (*self.strides[:axis], inner * stride, stride, *self.strides[axis + 1 :])
        return View(self.memory, self.start, shape, strides)

    def ordered(self, axes: Sequence[int]) -> View:
        """The dimensions in another order."""
        shape, strides = (tuple(values[axis] for axis in axes) for values in (self.shape, self.strides))
        return View(self.memory, self.start, shape, strides)

    def added(self, axis: int) -> View:
        """With one more dimension, of size 1."""
        shape, strides = ((*values[:axis], new, *values[axis:]) for values, new in ((self.shape, 1), (self.strides, 0)))
        return View(self.memory, self.start, shape, strides)

    def without(self, axis: int) -> View:
        """Without a dimension, of size 1."""
        shape, strides = ((*values[:axis], *values[axis + 1 :]) for values in (self.shape, self.strides))
        return View(self.memory, self.start, shape, strides)

    def volume(self, leading: int) -> View:
        """With three spatial dimensions behind the ``leading`` ones."""
        result = self
        while result.ndim < leading + 3:
            result = result.added(leading)
        return result


def dense(memory: Memory, shape: Sequence[int], order: Sequence[int] | None = None) -> View:
    """All of fresh memory as an array; ``order`` lists the dimensions from the slowest to the fastest."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(range(len(shape)) if order is None else order):
        strides[axis] = step
        step *= shape[axis]
    return View(memory, 0, tuple(shape), tuple(strides))


def channel_groups(view: View, groups: int, channels_last: bool) -> View:
    """An array (batch, channels, *size), or with channels last, as (batch, groups, channels, depth, height, width)."""
    if channels_last:
        view = view.ordered((0, view.ndim - 1, *range(1, view.ndim - 1)))
    return view.split(1, groups).volume(3)


def filter_groups(view: View, groups: int) -> View:
    """A weight (filters, channels, *kernel) as (groups, filters, channels, depth, height, width)."""
    return view.split(0, groups).volume(3)
