"""What several algorithms prepare: packed weights, inputs with the channels last, and the table of a kernel's taps."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import geometry as at
from .job import Device, Job
from .kernels import copy as kernels
from .launch import Integers
from .views import View

#: A tap that lies outside of every input.
NOWHERE = 2**31


class _Axis(NamedTuple):
    """One dimension of a copy: sizes of source and target, and the strides of all arrays."""

    size: int
    target_size: int
    strides: tuple[int, ...]


_ONE = _Axis(1, 1, (0,) * 3)


def _axes(views: Sequence[View]) -> list[_Axis]:
    """The dimensions of a copy, as few as they can be: neighbours that are one in all arrays are joined."""
    axes: list[_Axis] = []
    for size, target_size, *strides in zip(
        views[0].shape, views[1].shape, *(view.strides for view in views), strict=True
    ):
        if target_size == 1:
            continue
        axis = _Axis(size, target_size, tuple(strides))
        before = axes[-1] if axes else None
        if (
            before is not None
            and size == target_size
            and before.strides == tuple(stride * size for stride in axis.strides)
        ):
            axes[-1] = _Axis(before.size * size, before.target_size * size, axis.strides)
        else:
            axes.append(axis)
    return axes


def copy(source: View, target: View, device: Device) -> None:
    """Copy a six-dimensional view into a larger one, whose further elements become 0."""
    launch_copy(None, (source, target), device)


def launch_copy(kernel: Any, views: Sequence[View], device: Device, more: Sequence[int] = ()) -> None:
    """Launch a kernel of :mod:`.kernels.copy`'s arguments: ``views`` are its source, its target, and others.

    Behind their sizes, strides and starts come ``more`` numbers. None is the copy itself.
    """
    axes = _axes(views)
    if len(axes) == 1 and axes[0].size == axes[0].target_size:  # a tile has two sides
        size, _, strides = axes[0]
        side = math.gcd(size, 2**10)
        axes = [_Axis(size // side, size // side, tuple(step * side for step in strides)), _Axis(side, side, strides)]
    b = min(axes, key=lambda axis: abs(axis.strides[1]), default=_ONE)
    others = [axis for axis in axes if axis is not b]
    nearest = min((axis for axis in axes if axis.size > 1), key=lambda axis: abs(axis.strides[0]), default=b)
    turned = kernel is None and nearest is not b
    a = nearest if turned else max(others, key=lambda axis: axis.target_size, default=_ONE)
    rest = [axis for axis in others if axis is not a]
    sides = [*[_ONE] * (4 - len(rest)), *rest, a, b]
    slots = [axis.size for axis in sides] + [axis.target_size for axis in sides]
    starts = [view.start for view in views]
    steps = [[axis.strides[i] for axis in sides] for i in range(len(views))]
    slots += [*steps[0], *steps[1], *starts[:2]]
    for each, start in zip(steps[2:], starts[2:], strict=True):
        slots += [*each, start]
    tiles = math.prod(axis.target_size for axis in rest)
    for axis in (a, b):
        tiles *= -(-axis.target_size // kernels.TILE)
    device.launch(
        kernel or kernels.copy(turned), (tiles,), kernels.THREADS,
        *(view.memory for view in views), Integers(tuple(value & 0xFFFFFFFF for value in (*slots, *more)), "uint32"),
    )  # fmt: skip


@functools.lru_cache(256)
def tap_table(
    kernel: tuple[int, ...], dilation: tuple[int, ...], strides: tuple[int, ...], channels: int, step: int, rows: int
) -> np.ndarray[Any, np.dtype[np.int32]]:
    """For each row of the patches matrix, how much further its cell lies than a pixel's first, and its tap.

    Rows are taps, and for each of them the channels 0, step, 2 * step, ... ; ``strides`` are those of a channel and of
    depth, row and column. Rows up to ``rows`` lie outside.
    """
    table = np.zeros((rows, 4), np.int64)
    table[:, 1:] = NOWHERE
    taps = np.array(list(itertools.product(*map(range, kernel)))).reshape(-1, 3) * dilation
    places = np.repeat(taps, len(range(0, channels, step)), 0)
    offsets = np.tile(np.arange(0, channels, step), len(taps)) * strides[0] + places @ np.array(strides[1:])
    table[: len(places)] = np.column_stack([offsets, places])
    result = (table & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    result.flags.writeable = False
    return result


def taps_of(job: Job) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernel and dilation of a job, in three dimensions."""
    geometry = job.geometry()
    return geometry[at.KERNEL_D : at.KERNEL_W + 1], geometry[at.DILATION_D : at.DILATION_W + 1]


def aligned(view: View, elements: int, axes: Iterable[int] | None = None) -> bool:
    """Whether every cell of a view begins at a multiple of so many elements; of some axes' first ones, where given."""
    chosen = range(view.ndim) if axes is None else axes
    at_multiples = all(
        view.strides[axis] % elements == 0
        for axis in chosen
        if view.shape[axis] > 1 and (axes is not None or view.strides[axis] != 1)
    )
    return at_multiples and view.start % elements == 0 and view.memory.address % (elements * view.dtype.itemsize) == 0


def contiguous_pixels(view: View) -> bool:
    """Whether the pixels of a plane follow one another in memory."""
    (*_, depth, height, width), strides = view.shape, view.strides
    rows = height == 1 or strides[4] == width
    return strides[5] == 1 and rows and (depth == 1 or strides[3] == width * height)
