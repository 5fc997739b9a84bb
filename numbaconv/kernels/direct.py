"""Direct convolution: the microkernel reads the input itself, one output row at a time.

For one output row the input rows under it are copied once, with their padding, into a strip; tap (kd, kh, kw) of
channel c then is the strip's row (c, kd, kh), shifted by kw. The microkernel takes those shifts from a table, so
nothing is copied a second time for the taps of a row (Zhang, Franchetti & Low, "High performance zero-memory overhead
direct convolutions", ICML 2018).

A horizontal stride s would make it read every s-th element. So the strip holds the columns of each phase (column mod s)
side by side.
"""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import TILE_BYTES
from .gemm import multiply_tile, task_position
from .packing import copy_row, source_index


@kernel
def direct_pack(x, geometry, scratch, block, start, channels, line, column, columns):
    """Copy the input rows under ``columns`` output columns from ``column`` on of output row ``line`` (flat in d, h).

    scratch[block + (((c * KD + kd) * KH + kh) * PHASES + f) * PITCH + q] = padded input column (column * s + q * s +
    f), with s the horizontal stride. Only the phases that a tap reads are packed. Channel 0 starts at ``x[start]``.
    """
    d, h = divmod(line, geometry[at.OUT_H])
    stride = geometry[at.STRIDE_W]
    mode = geometry[at.PAD_MODE]
    pitch = geometry[at.PITCH]
    phases = min(stride, (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W] + 1)
    count = columns + (geometry[at.KERNEL_W] - 1) * geometry[at.DILATION_W] // stride
    first = column * stride - geometry[at.PAD_W]
    y = block
    for c in range(channels):
        for kd in range(geometry[at.KERNEL_D]):
            xd = source_index(
                d * geometry[at.STRIDE_D] - geometry[at.PAD_D] + kd * geometry[at.DILATION_D], geometry[at.IN_D], mode
            )
            for kh in range(geometry[at.KERNEL_H]):
                xh = source_index(
                    h * geometry[at.STRIDE_H] - geometry[at.PAD_H] + kh * geometry[at.DILATION_H],
                    geometry[at.IN_H],
                    mode,
                )
                row = start + c * geometry[at.X_CHANNEL] + xd * geometry[at.X_D] + xh * geometry[at.X_H]
                if xd < 0 or xh < 0:
                    row = -1
                for phase in range(phases):
                    copy_row(
                        x, row, geometry[at.X_W], geometry[at.IN_W], mode, first + phase, stride, scratch, y, count
                    )
                    y += pitch


@kernel
def direct_serial(slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute the tasks of thread ``slot`` of ``slots``: each BLOCK columns of one output row x some panels of filters.

    out[n, g * F + f, d, h, w] = bias[f] + sum over c, kd, kh, kw of
        weight[g, f, c, kd, kh, kw] * x[n, g * C + c, d * sd + kd * dd - pd, h * sh + kh * dh - ph, w * sw + kw * dw -
        pw]

    x and out are flat views addressed by the strides in ``geometry``; ``weight`` is packed by ``pack_weights``;
    ``rows[k]`` is where tap k of output column 0 lies in the strip.
    """
    tile_columns = TILE_BYTES // out.itemsize
    taps = geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    channels = geometry[at.CHANNELS]
    total = channels * taps
    width = geometry[at.OUT_W]
    parts = (width + geometry[at.BLOCK] - 1) // geometry[at.BLOCK]
    blocks = geometry[at.OUT_D] * geometry[at.OUT_H] * parts
    base = slot * geometry[at.SCRATCH]
    spare = base + geometry[at.TILE_START]
    for task in range(geometry[at.TASKS] * slot // slots, geometry[at.TASKS] * (slot + 1) // slots):
        image, number, group, panel_first, panel_last = task_position(task, blocks, geometry)
        start = geometry[at.X_START] + image * geometry[at.X_BATCH] + group * channels * geometry[at.X_CHANNEL]
        line, part = divmod(number, parts)
        column = part * geometry[at.BLOCK]
        columns = min(geometry[at.BLOCK], width - column)
        for c in range(0, channels, geometry[at.CHANNEL_BLOCK]):
            count = min(geometry[at.CHANNEL_BLOCK], channels - c)
            direct_pack(x, geometry, scratch, base, start + c * geometry[at.X_CHANNEL], count, line, column, columns)
            for w in range(0, columns, tile_columns):
                multiply_tile(
                    weight, out, rows, geometry, scratch,
                    (base + w, spare, line * width + column + w, min(tile_columns, columns - w)),
                    group, panel_first, panel_last, image, (c * taps, count * taps, total),
                )  # fmt: skip


@parallel_kernel
def direct_parallel(slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_serial` on ``slots`` threads; which thread computes a value does not change it."""
    for slot in prange(slots):
        direct_serial(slot, slots, x, weight, out, rows, geometry, scratch)
