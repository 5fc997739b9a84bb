"""What several algorithms prepare: packed weights, inputs with the channels last, and the table of a kernel's taps."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from . import geometry as at
from .job import Device, Job
from .kernels import copy as kernels
from .launch import Integers
from .views import View

THREADS = 256
#: A tap that lies outside of every input.
NOWHERE = 2**31


def copy(source: View, target: View, device: Device) -> None:
    """Copy a six-dimensional view into a larger one, whose further elements become 0."""
    zero = np.complex64(0) if source.dtype.kind == "c" else np.float32(0)
    device.launch(
        kernels.copy, (min(-(-target.size // THREADS), 2**20),), THREADS,
        source.memory, target.memory, zero, Integers(source.shape, "int64"), np.int64(source.start),
        Integers(source.strides, "int64"), np.int64(target.start), Integers(target.shape, "int64"),
        Integers(target.strides, "int64"),
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


def aligned(view: View, elements: int) -> bool:
    """Whether every cell of a view begins at a multiple of so many elements."""
    at_multiples = all(
        stride % elements == 0 for stride, n in zip(view.strides, view.shape, strict=True) if n > 1 and stride != 1
    )
    return at_multiples and view.start % elements == 0 and view.memory.address % (elements * view.dtype.itemsize) == 0
