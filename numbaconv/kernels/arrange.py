"""Transposed convolutions: the results of the ordinary convolutions they consist of, put together."""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from .blocking import VECTOR_BYTES
from .simd import store_pairs


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
def fold_serial(slot, slots, columns, bias, out, planes, table):
    """Add windows up to the planes of thread ``slot`` of ``slots``.

    out[n, f, o] = bias[f] + sum of columns[n, f, k, i] over all i, k with i * stride + k * dilation - padding = o; then
    ReLU where it is asked for

    - columns: (N, F, KD, KH, KW, D, H, W), C-contiguous and flat; bias (F,), or empty for zeros; out a flat view.
    - planes = (N, F, where out starts, its strides of n and f, whether ReLU is asked for).
    - table: for each spatial dimension a row of (taps, cells of the input, stride, dilation, padding before, cells of
      the output, stride of out in elements).
    """
    batch, filters, start, out_batch, out_filter, relu = planes
    (kernel_d, in_d, stride_d, dilation_d, pad_d, out_d, step_d) = table[0]
    (kernel_h, in_h, stride_h, dilation_h, pad_h, out_h, step_h) = table[1]
    (kernel_w, in_w, stride_w, dilation_w, pad_w, out_w, step_w) = table[2]
    every = batch * filters
    jump = stride_w * step_w
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        n, f = divmod(number, filters)
        plane = start + n * out_batch + f * out_filter
        value = bias[f] if bias.size > 0 else 0
        for d in range(out_d):
            for h in range(out_h):
                for w in range(out_w):
                    out[plane + d * step_d + h * step_h + w * step_w] = value
        tap = number * kernel_d * kernel_h * kernel_w * in_d * in_h * in_w
        for kd in range(kernel_d):
            for kh in range(kernel_h):
                for kw in range(kernel_w):
                    column = kw * dilation_w - pad_w
                    first = max(0, -(column // stride_w))
                    last = min(in_w, (out_w - 1 - column) // stride_w + 1)
                    for d in range(in_d):
                        target_d = d * stride_d + kd * dilation_d - pad_d
                        if target_d < 0 or target_d >= out_d:
                            continue
                        for h in range(in_h):
                            target_h = h * stride_h + kh * dilation_h - pad_h
                            if target_h < 0 or target_h >= out_h:
                                continue
                            x = tap + (d * in_h + h) * in_w
                            y = plane + target_d * step_d + target_h * step_h + column * step_w
                            for w in range(first, last):
                                out[y + w * jump] += columns[x + w]
                    tap += in_d * in_h * in_w
        if relu != 0:
            for d in range(out_d):
                for h in range(out_h):
                    for w in range(out_w):
                        y = plane + d * step_d + h * step_h + w * step_w
                        if out[y] < 0:
                            out[y] = 0


@parallel_kernel
def fold_parallel(slots, columns, bias, out, planes, table):
    """:func:`fold_serial` on ``slots`` threads."""
    for slot in prange(slots):
        fold_serial(slot, slots, columns, bias, out, planes, table)
