"""Transposed convolutions: the results of the ordinary convolutions they consist of, put together."""

from __future__ import annotations

from numba import prange
from numba.extending import register_jitable

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import LINE, VECTOR_BYTES
from .simd import copy_lanes, finish_lanes, store_pairs


@kernel
def row_start(table, array, n, g, f, d, h):
    """Where a row of an array of :func:`weave_serial`'s starts in its flat view."""
    start = table[array, 5] + n * table[array, 0] + g * table[array, 1] + f * table[array, 2]
    return start + d * table[array, 3] + h * table[array, 4]


@kernel
def weave_serial(slot, slots, even, odd, out, table):
    """out[..., 0::2], out[..., 1::2] = even, odd, for the rows of thread ``slot`` of ``slots``.

    All three have dimensions (n, g, f, d, h, w) and lie in flat views; w has stride 1 in each. table[0] are the sizes
    of ``out``; table[1 .. 3] the strides of n to h, and the start, of ``even``, ``odd`` and ``out``.
    """
    batch, groups, filters, depth, height, width = table[0]
    lanes = VECTOR_BYTES // out.itemsize
    pairs = width // 2
    every = batch * groups * filters
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        rest, f = divmod(number, filters)
        n, g = divmod(rest, groups)
        for d in range(depth):
            for h in range(height):
                a = row_start(table, 1, n, g, f, d, h)
                b = row_start(table, 2, n, g, f, d, h)
                y = row_start(table, 3, n, g, f, d, h)
                for j in range(0, pairs, lanes):
                    store_pairs(even, a + j, odd, b + j, out, y + 2 * j, pairs - j)
                if width % 2:
                    out[y + width - 1] = even[a + pairs]


@parallel_kernel
def weave_parallel(slots, even, odd, out, table):
    """:func:`weave_serial` on ``slots`` threads."""
    for slot in prange(slots):
        weave_serial(slot, slots, even, odd, out, table)


@kernel
def fold_serial(slot, slots, columns, bias, out, planes, table, sums):
    """Add windows up to the planes of thread ``slot`` of ``slots``.

    out[n, f, o] = bias[f] + sum of columns[n, f, k, i] over all i, k with i * stride + k * dilation - padding = o; then
    ReLU where it is asked for

    - columns: (N, F, KD, KH, KW, D, H, W), C-contiguous and flat; bias (F,), or empty for zeros; out a flat view.
    - planes = (N, F, where out starts, its strides of n and f, whether ReLU is asked for).
    - table: for each spatial dimension a row of (taps, cells of the input, stride, dilation, padding before, cells of
      the output, stride of out in elements).
    - sums: room for :func:`fold_cells` sums of each thread.

    Cells of a row that lie a stride apart are summed side by side, as lanes of a vector: 4x4 windows 2 apart took 20
    cycles for each addition one by one (Zen 5).
    """
    batch, filters, start, out_batch, out_filter, relu = planes
    (kernel_d, in_d, stride_d, dilation_d, pad_d, out_d, step_d) = table[0]
    (kernel_h, in_h, stride_h, dilation_h, pad_h, out_h, step_h) = table[1]
    (kernel_w, in_w, stride_w, dilation_w, pad_w, out_w, step_w) = table[2]
    every = batch * filters
    length = (out_w - 1) // stride_w + 1
    row = min(stride_w, out_w) * length
    count = out_d * out_h * row
    own = sums.size // slots * slot
    lanes = VECTOR_BYTES // out.itemsize
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        n, f = divmod(number, filters)
        value = bias[f] if bias.size > 0 else 0
        for j in range(own, own + count):
            sums[j] = value
        x = number * kernel_d * kernel_h * kernel_w * in_d * in_h * in_w
        for kd in range(kernel_d):
            for kh in range(kernel_h):
                for kw in range(kernel_w):
                    cell, phase = divmod(kw * dilation_w - pad_w, stride_w)
                    cells = (out_w - 1 - phase) // stride_w + 1  # of this phase
                    first, last = max(0, -cell), min(in_w, cells - cell)
                    for d in range(in_d):
                        target_d = d * stride_d + kd * dilation_d - pad_d
                        for h in range(in_h):
                            target_h = h * stride_h + kh * dilation_h - pad_h
                            if 0 <= target_d < out_d and 0 <= target_h < out_h:
                                y = own + (target_d * out_h + target_h) * row + phase * length + cell
                                for w in range(first, last, lanes):
                                    finish_lanes(
                                        columns, x + w, sums, y + w, last - w, 1, sums[own], at.FINISH_NOTHING
                                    )  # fmt: skip
                            x += in_w
        if relu != 0:
            for j in range(own, own + count):
                if sums[j] < 0:
                    sums[j] = 0
        plane = start + n * out_batch + f * out_filter
        for d in range(out_d):
            for h in range(out_h):
                store_row(
                    sums, own + (d * out_h + h) * row, length, stride_w, out, plane + d * step_d + h * step_h, out_w,
                    step_w,
                )  # fmt: skip


@register_jitable
def fold_cells(table):
    """How many sums a plane takes, a row of whole cache lines; ``table`` as in :func:`fold_serial`."""
    width, stride = table[2, 5], table[2, 2]
    return (table[0, 5] * table[1, 5] * min(stride, width) * ((width - 1) // stride + 1) + LINE - 1) // LINE * LINE


@kernel
def store_row(sums, own, length, stride, out, y, width, step):
    """out[y + (j * stride + e) * step] = sums[own + e * length + j] for the ``width`` cells of a row."""
    lanes = VECTOR_BYTES // out.itemsize
    if step == 1 and stride == 1:
        for j in range(0, width, lanes):
            copy_lanes(sums, own + j, out, y + j, width - j)
    elif step == 1 and stride == 2:
        pairs = width // 2
        for j in range(0, pairs, lanes):
            store_pairs(sums, own + j, sums, own + length + j, out, y + 2 * j, pairs - j)
        if width % 2:
            out[y + width - 1] = sums[own + pairs]
    else:
        for e in range(min(stride, width)):
            for j in range((width - 1 - e) // stride + 1):
                out[y + (j * stride + e) * step] = sums[own + e * length + j]


@parallel_kernel
def fold_parallel(slots, columns, bias, out, planes, table, sums):
    """:func:`fold_serial` on ``slots`` threads."""
    for slot in prange(slots):
        fold_serial(slot, slots, columns, bias, out, planes, table, sums)
