"""Transposed convolutions: the results of the ordinary convolutions they consist of, put together."""

from __future__ import annotations

from numba.extending import register_jitable

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import NARROW_LINE, VECTOR_BYTES
from .simd import add_runs, copy_lanes, finish_lanes, store_pairs
from .threads import on_threads

#: Planes whose rows are added up in turn: where the taps of a row lie is worked out once for all of them, and what is
#: summed for the first one has reached the cache when it is stored.
FOLDED = 8
#: No cell lies beyond this.
ANYWHERE = 2**60


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
    on_threads(weave_serial, slots, (even, odd, out, table))


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

    Cells of a row that lie a stride apart are lanes of a vector, and each vector of sums stays in a register until all
    windows are added: read from memory and written back for each of them, rows of 4 cells took 75 cycles an addition,
    since what masked stores wrote is not forwarded to loads (Emerald Rapids).
    """
    batch, filters, start, out_batch, out_filter, relu = planes
    _, in_d, _, _, _, out_d, step_d = table[0]
    kernel_h, in_h, _, _, _, out_h, step_h = table[1]
    kernel_w, in_w, stride, _, _, width, step = table[2]
    lanes = VECTOR_BYTES // out.itemsize
    cells = in_d * in_h * in_w
    every = batch * filters
    length = (width - 1) // stride + 1
    phases = min(stride, width)
    between = (length + NARROW_LINE - 1) // NARROW_LINE * NARROW_LINE
    own = sums.size // slots * slot
    begin, end = every * slot // slots, every * (slot + 1) // slots
    for first in range(begin, end, FOLDED):
        some = min(FOLDED, end - first)
        for d in range(out_d):
            d_taps, kd, i, kd_step, i_step = taps_of(table, 0, d, 0, in_d)
            d_step = kd_step * kernel_h * kernel_w * cells + i_step * in_h * in_w
            for h in range(out_h):
                h_taps, kh, j, kh_step, j_step = taps_of(table, 1, h, 0, in_h)
                h_step = kh_step * kernel_w * cells + j_step * in_w
                for phase in range(phases):
                    w_taps, kw, cell, kw_step, cell_step = taps_of(table, 2, phase, -ANYWHERE, ANYWHERE)
                    tap = (kd * kernel_h + kh) * kernel_w + kw
                    for p in range(some):
                        x = (first + p) * table[0, 0] * kernel_h * kernel_w * cells
                        value = bias[(first + p) % filters] if bias.size > 0 else 0
                        add_runs(
                            columns, x + tap * cells + (i * in_h + j) * in_w, (d_taps, h_taps, w_taps),
                            (d_step, h_step, kw_step * cells), (cell, cell_step, in_w), value, sums,
                            own + (p * phases + phase) * between, length,
                        )  # fmt: skip
                for p in range(some):
                    row = own + p * phases * between
                    if relu != 0:
                        for k in range(row, row + phases * between, lanes):
                            finish_lanes(sums, k, sums, k, lanes, 0, 0, at.FINISH_BIAS_RELU)
                    n, f = divmod(first + p, filters)
                    y = start + n * out_batch + f * out_filter + d * step_d + h * step_h
                    store_row(sums, row, between, stride, out, y, width, step)


@kernel
def taps_of(table, axis, cell, least, behind):
    """Return (how many taps k reach an output cell, the first one, the input cell i from which, steps of k and of i).

    Those with i * stride + k * dilation - padding = cell and least <= i < behind, in ascending order.
    """
    taps, _, stride, dilation, pad, _, _ = table[axis]
    count, tap, source, tap_step, source_step = 0, 0, 0, 0, 0
    for k in range(taps):
        i, rest = divmod(cell + pad - k * dilation, stride)
        if rest == 0 and least <= i < behind:
            if count == 0:
                tap, source = k, i
            elif count == 1:
                tap_step, source_step = k - tap, i - source
            count += 1
    return count, tap, source, tap_step, source_step


@register_jitable
def fold_cells(table):
    """How many sums a thread keeps: rows of FOLDED planes, whole cache lines for each phase of the stride."""
    width, stride = table[2, 5], table[2, 2]
    return FOLDED * min(stride, width) * (((width - 1) // stride + NARROW_LINE) // NARROW_LINE * NARROW_LINE)


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
    on_threads(fold_serial, slots, (columns, bias, out, planes, table, sums))
