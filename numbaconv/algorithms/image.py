"""Sliding windows: from the shapes of a problem to the numbers that the image kernels take.

See :mod:`numbaconv.kernels.image` for how they work.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ..forks import load_module
from ..kernels import image_geometry as at
from ..kernels.blocking import LINE, VECTOR_BYTES
from .sharing import ceil_div
from .windows import Window, margin

Array = np.ndarray[Any, np.dtype[Any]]

#: Rows of a task; 16 to 64 are equally fast, and a band's halo is copied or read twice. They are halved, down to
#: LEAST_BAND, where two threads' bands would take more than a tenth of the input and the output together: their rows of
#: input and of sums, BANDS times, are as many bytes as a column of both.
BAND: Final = 32
LEAST_BAND: Final = 4
BANDS: Final = 22
#: Bytes of input under a task: a quarter of a 1 MiB L2, so that the output and the next task's input have room, too.
BLOCK_BYTES: Final = 256 * 1024
#: Columns of a task at most: a sequence is cut into this many outputs for each task.
BLOCK_COLUMNS: Final = 8192
#: Columns of a task at least.
LEAST_COLUMNS: Final = 128


def order_of_axes(window: Window, strides: tuple[int, ...], in_order: bool) -> tuple[int, ...]:
    """The dimensions' order for the kernels: the outer ones, the rows, the columns.

    Columns are the longest dimension, or a shorter one whose neighbours lie side by side in memory where its lines fill
    a few vectors. Rows are the one along which the kernel is longest: their taps share loads. Where sums
    are to be ``in_order``, that of the taps in memory, dimensions that have some are not exchanged.
    """
    axes = range(len(strides))
    dense = [axis for axis in axes if abs(strides[axis]) == 1 and window.output_shape[axis] >= VECTOR_BYTES // 2]
    columns = dense[-1] if dense else max(axes, key=lambda axis: (window.output_shape[axis], axis))
    others = [axis for axis in axes if axis != columns]
    rows = max(others, key=lambda axis: (window.kernel_shape[axis], window.output_shape[axis], axis))
    order = (*[axis for axis in others if axis != rows], rows, columns)
    several = [axis for axis in order if window.kernel_shape[axis] > 1]
    if in_order and several != sorted(several):
        return (*[axis for axis in axes if axis not in several], *sorted(several))
    return order


def block(geometry: Array, itemsize: int) -> None:
    """Cut the problem into tasks and lay out the scratch. Nothing here depends on the number of threads."""
    lanes = VECTOR_BYTES // itemsize
    kernel_h, kernel_w = int(geometry[at.KERNEL_H]), int(geometry[at.KERNEL_W])
    out_h, out_w = int(geometry[at.OUT_H]), int(geometry[at.OUT_W])
    separable = geometry[at.RANK] > 0
    # Separable: the horizontal pass computes the lines between two bands twice. With 512x512 pixels, 15 or 31 taps it
    # takes 23 to 76% beyond input and output; blocks of 128 columns would take 7 to 22%, and 1.0 to 1.1 times as long
    # (2-core Intel Xeon, Emerald Rapids).
    rows = BAND
    column = out_h * (int(geometry[at.X_BYTES]) + int(geometry[at.OUT_BYTES]))
    while rows > LEAST_BAND and BANDS * (2 * rows + kernel_h - 1) * itemsize > column:
        rows //= 2
    band = min(out_h, max(rows, 2 * kernel_h) if separable else rows)
    band = ceil_div(out_h, ceil_div(out_h, band))
    fitting = BLOCK_BYTES // (itemsize * (band + kernel_h - 1)) - kernel_w + 1
    columns = min(BLOCK_COLUMNS, max(LEAST_COLUMNS, fitting))
    columns = ceil_div(out_w, ceil_div(out_w, columns))
    if columns < out_w:
        columns = ceil_div(columns, 4 * lanes) * 4 * lanes
    whole = ceil_div(columns, lanes) * lanes
    geometry[at.BAND] = band
    geometry[at.BLOCK] = columns
    geometry[at.TASKS] = geometry[at.PLANES] * ceil_div(out_h, band) * ceil_div(out_w, columns)
    # An odd number of cache lines between rows: a power of two would put all rows of a window into a few sets.
    pitch = ceil_div(whole + kernel_w - 1, LINE) * LINE
    geometry[at.PITCH] = pitch + LINE * (1 - pitch // LINE % 2)
    geometry[at.SUMS_PITCH] = ceil_div(whole, LINE) * LINE + LINE
    geometry[at.LINES_PITCH] = geometry[at.SUMS_PITCH]
    lines = band + kernel_h - 1
    geometry[at.SUMS_START] = lines * geometry[at.PITCH]
    geometry[at.LINES_START] = geometry[at.SUMS_START] + band * geometry[at.SUMS_PITCH]
    geometry[at.SCRATCH] = geometry[at.LINES_START] + (lines * geometry[at.LINES_PITCH] if separable else 0) + LINE


def lay_out(
    window: Window, x_strides: tuple[int, ...], out_strides: tuple[int, ...],
    direct: tuple[bool, bool], parts: tuple[int, int], rank: int, sizes: tuple[int, int, int],
) -> tuple[Array, Array]:  # fmt: skip
    """(geometry, margins) of a problem whose dimensions are in the kernels' order, two of them at least.

    ``direct`` tells whether the microkernel may read the
    one and write the other; ``parts`` is (FILTERS, TERMS); ``sizes`` are the bytes of an element of input, output and
    sums. Strides are counted in elements.
    """
    outer = len(x_strides) - 2
    geometry = np.zeros(at.OUTER + at.OUTER_LENGTH * outer, np.int64)
    for slot, values in (
        (at.IN_H, window.input_shape), (at.KERNEL_H, window.kernel_shape), (at.OUT_H, window.output_shape),
        (at.PAD_H, window.pad), (at.X_H, x_strides), (at.OUT_STRIDE_H, out_strides),
    ):  # fmt: skip
        geometry[slot : slot + 2] = values[-2:]
    geometry[at.PLANES] = int(np.prod(window.output_shape[:-2], dtype=np.int64))
    geometry[at.OUTER_TAPS] = int(np.prod(window.kernel_shape[:-2], dtype=np.int64))
    geometry[at.OUTER_COUNT] = outer
    geometry[at.FILTERS], geometry[at.TERMS] = parts
    geometry[at.READ_INPUT], geometry[at.WRITE_OUT] = direct
    geometry[at.RANK] = rank
    geometry[at.FACTORS] = window.kernel_shape[-2] * window.kernel_shape[-1]
    tables, length = [], 0
    for axis in range(len(x_strides)):
        table = margin(window.extensions[axis], window.input_shape[axis], window.pad[axis], window.after(axis))
        if axis < outer:
            slot = at.OUTER + at.OUTER_LENGTH * axis
            geometry[slot : slot + at.OUTER_LENGTH] = (
                window.output_shape[axis], window.kernel_shape[axis], window.input_shape[axis], window.pad[axis],
                x_strides[axis], out_strides[axis], length,
            )  # fmt: skip
        else:
            geometry[at.MARGIN_H + axis - outer] = length
        tables.append(table)
        length += table.size
    geometry[at.X_BYTES], geometry[at.OUT_BYTES], itemsize = sizes
    block(geometry, itemsize)
    margins = np.concatenate([*tables, [0]]).astype(np.int64)  # never empty: Numba would not mind, flat views would
    geometry.flags.writeable = margins.flags.writeable = False
    return geometry, margins


def kernels() -> tuple[Any, Any, Any, Any, Any]:
    """The functions (run serially, run in parallel), and (tasks, block, convert), called by their addresses."""
    image = load_module(".kernels.image")
    return image.image_serial, image.image_parallel, image.image_tasks, image.image_block, image.image_convert
