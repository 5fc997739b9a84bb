"""Depthwise convolution with pixels in the vector lanes: each filter reads one channel, and is the only one to.

Nothing is broadcast to several filters, so a channel is summed by itself: from the strip of :mod:`.direct_pixels`, in
which its phases lie apart, a tile of a few output rows x one vector of columns. Taps of a column are summed together:
a vector of the input that is read for one of them serves the others in other output rows.
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import DEPTHWISE_ROWS, LINE
from .direct_pixels import direct_pixels_beside_pack, direct_pixels_pack
from .numbers import divided, lanes_of, smaller
from .packing import zero_run
from .simd import address_of
from .simd_depthwise import depthwise_microkernel
from .tasks import own_start, own_task


@kernel
def direct_depthwise_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` of every stride."""
    compute_tasks(direct_pixels_pack, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def direct_depthwise_beside_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` where STRIDE_W is 1."""
    compute_tasks(direct_pixels_beside_pack, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def compute_tasks(pack, slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``: BLOCK_ROWS x BLOCK_COLUMNS pixels of some groups.

    out[n, g, d, h, w] = bias[g] + sum over kh, kw of weight[g, kh, kw] * x[n, g, i, j, k] with i = d * sd - pd, j = h *
    sh + kh * dh - ph and k = w * sw + kw * dw - pw

    x and out are flat views addressed by the strides in ``geometry``; ``weight`` is packed by ``packing.pack_weights``,
    a panel of one filter for each group. The table ``rows`` says of the runs of taps, as SEGMENTS counts them, where
    they lie in the strip, and TAPS numbers on where among a filter's weights. A thread's scratch holds the strip and,
    for outputs that do not lie side by side, the sums of a channel. ``pack`` copies strips.
    """
    lanes = lanes_of(out)
    taps = geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    some = geometry[at.BLOCK_GROUPS]
    across = (geometry[at.OUT_W] + geometry[at.BLOCK_COLUMNS] - 1) // geometry[at.BLOCK_COLUMNS]
    down = (geometry[at.OUT_H] + geometry[at.BLOCK_ROWS] - 1) // geometry[at.BLOCK_ROWS]
    parts = (geometry[at.GROUPS] + some - 1) // some
    step = geometry[at.KERNEL_W] * geometry[at.STRIDE_H]
    kinds = (
        geometry[at.SEGMENTS], geometry[at.SEGMENTS + 1], geometry[at.SEGMENTS + 2], geometry[at.SEGMENTS + 3],
    )  # fmt: skip
    relu = 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0
    beside = geometry[at.OUT_STRIDE_W] == 1 or geometry[at.OUT_W] == 1
    wide = (geometry[at.BLOCK_COLUMNS] + lanes - 1) // lanes * lanes
    base = own_start(slot, geometry, scratch)
    sums = base + geometry[at.TILE_START]
    zero_run(scratch, base, geometry[at.TILE_START])  # whole tiles are read: see gemm.multiply_tile
    while True:
        task = own_task(slot, slots, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        rest, column = divided(task, across)
        rest, h = divided(rest, down)
        rest, part = divided(rest, parts)
        image, d = divided(rest, geometry[at.OUT_D])
        column *= geometry[at.BLOCK_COLUMNS]
        h *= geometry[at.BLOCK_ROWS]
        first = part * some
        count = smaller(some, geometry[at.GROUPS] - first)
        lines = smaller(geometry[at.BLOCK_ROWS], geometry[at.OUT_H] - h)
        columns = smaller(geometry[at.BLOCK_COLUMNS], geometry[at.OUT_W] - column)
        start = geometry[at.X_START] + image * geometry[at.X_BATCH] + first * geometry[at.X_CHANNEL]
        line = d * geometry[at.OUT_H] + h
        pack(x, geometry, scratch, base, start, count, line, lines, column, columns)
        # The next task's input lies behind this one's, where rows lie side by side.
        read = lines * geometry[at.STRIDE_H] * geometry[at.X_H]
        ahead = read if down > 1 else count * geometry[at.X_CHANNEL]
        tiles = ((lines + DEPTHWISE_ROWS - 1) // DEPTHWISE_ROWS) * ((columns + lanes - 1) // lanes)
        beside_rows = across == 1 and geometry[at.X_W] == 1 and geometry[at.X_H] == geometry[at.IN_W]
        share = (read * x.itemsize // (4 * LINE) + tiles - 1) // tiles if beside_rows else 0
        behind = start + h * geometry[at.STRIDE_H] * geometry[at.X_H] + ahead
        for g in range(first, first + count):
            ask = (address_of(x, behind + (g - first) * geometry[at.X_CHANNEL]), share)
            y = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + g * geometry[at.OUT_CHANNEL]
            y += d * geometry[at.OUT_STRIDE_D] + h * geometry[at.OUT_STRIDE_H] + column * geometry[at.OUT_STRIDE_W]
            target = address_of(out, y) if beside else address_of(scratch, sums)
            pitch = geometry[at.OUT_STRIDE_H] if beside else wide
            depthwise_microkernel(
                scratch, base + (g - first) * geometry[at.STRIP_STEP], geometry[at.PITCH], rows, taps, kinds, weight,
                g * taps, step, geometry[at.BIAS_START] + g, relu, target, (lines, columns, pitch), ask,
            )  # fmt: skip
            if not beside:
                for r in range(lines):
                    for c in range(columns):
                        place = y + r * geometry[at.OUT_STRIDE_H] + c * geometry[at.OUT_STRIDE_W]
                        out[place] = scratch[sums + r * wide + c]
