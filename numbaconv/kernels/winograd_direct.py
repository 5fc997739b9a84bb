"""Tiles that Winograd's transforms have spoiled are summed directly.

A transform spreads NaN and infinity over its tile, and overflows before direct summation does. Where outputs of a tile
are not finite, they are computed from untransformed cells and weights, by the same microkernels. This is compiled when
the first tile is spoiled: few programs ever need it, and it took a seventh of a first call (0.4 s; Emerald Rapids).
"""

from __future__ import annotations

from ..runtime import Native, begin, kernel
from . import geometry as at
from .blocking import TILE_ROWS
from .numbers import integer_at, lanes_of, larger, smaller
from .packing import copy_run
from .simd import address_of, gemm_microkernel, gemm_microkernel_narrow, pointer_to
from .winograd_tiles import copy_any, lines_under, tabulate_runs, winograd_gather
from .winograd_weights import bias_start, pack_own


@kernel
def gather_plain(x, geometry, scratch, own, group, number):
    """Copy what is under the tiles of block ``number``, in all channels and taps of depth, for direct summation.

    scratch[PLAIN_START + (kd * channels + c) * PLAIN_STEP + (ph * PHASES_W + pw) * ... + ...] as in
    :func:`winograd_gather`.
    """
    channels = geometry[at.CHANNELS]
    plain = own + geometry[at.PLAIN_START]
    step = geometry[at.PLAIN_STEP]
    phase_step = step // (geometry[at.PHASES_H] * geometry[at.PHASES_W])
    steps = (step, geometry[at.PLAIN_PITCH], phase_step)
    for kd in range(geometry[at.KERNEL_D]):
        for ph in range(geometry[at.PHASES_H]):
            target = plain + kd * channels * step + ph * geometry[at.PHASES_W] * phase_step
            winograd_gather(copy_any, x, geometry, scratch, target, steps, group, number, 0, channels, kd, ph, False)


@kernel
def sum_directly(weight, places, out, rows, geometry, scratch, own, masks, group, panel, runs):
    """Compute the outputs of a panel's spoiled tiles by direct summation, from what :func:`gather_plain` wrote.

    places = (where the panel's untransformed weights start, where its bias does). Integer m at ``masks`` has bit t set
    where the block's tile t of the panel's filter m is spoiled; the table holds the ``runs`` of :func:`tabulate_runs`.
    At most two vectors of columns of a run are summed at a time.
    """
    lanes = lanes_of(scratch)
    nr = larger(geometry[at.NR], lanes)
    planes = geometry[at.CHANNELS] * geometry[at.KERNEL_D]
    depth = planes * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    a, bias = places
    table = address_of(scratch, own + geometry[at.TABLE_START])
    taps = pointer_to(rows, geometry[at.PRODUCTS])
    spare = own + geometry[at.TILE_START]
    filters = smaller(TILE_ROWS, geometry[at.FILTERS] - panel * TILE_ROWS)
    channel = (group * geometry[at.FILTERS] + panel * TILE_ROWS) * geometry[at.OUT_CHANNEL]
    step_h = geometry[at.DILATION_H] * geometry[at.OUT_STRIDE_H]
    step = geometry[at.DILATION_W] * geometry[at.OUT_STRIDE_W]
    wide = geometry[at.TILE_W]
    most = lanes if nr < 2 * lanes else 2 * lanes  # rows of the spare tile are NR apart
    plain, tile = own + geometry[at.PLAIN_START], 0
    spoiled = 0
    for m in range(filters):
        spoiled |= integer_at(masks, m)
    for run in range(runs):
        columns = integer_at(table, 4 * run + 2)
        for j in range(0, columns, most):
            count = smaller(most, columns - j)
            first, last = tile + j // wide, tile + (j + count - 1) // wide
            every = (2 << (last - first)) - 1
            if (spoiled >> first) & every == 0:
                continue
            for i in range(integer_at(table, 4 * run + 1)):
                b = plain + i * geometry[at.PLAIN_PITCH] + j
                if count > lanes:
                    gemm_microkernel(
                        weight, a, scratch, b, taps, depth, out, spare, nr, 1, 0, bias, geometry[at.FINISH]
                    )  # fmt: skip
                else:
                    gemm_microkernel_narrow(
                        weight, a, scratch, b, taps, depth, out, spare, nr, 1, 0, bias, geometry[at.FINISH]
                    )  # fmt: skip
                y = channel + integer_at(table, 4 * run) + i * step_h + j * step
                for m in range(filters):
                    mask = integer_at(masks, m)
                    source = spare + m * nr
                    if step == 1 and (mask >> first) & every == every:
                        copy_run(scratch, source, out, y, count)
                    else:
                        for q in range(count):
                            if (mask >> (tile + (j + q) // wide)) & 1:
                                out[y + q * step] = scratch[source + q]
                    y += geometry[at.OUT_CHANNEL]
        plain += lines_under(geometry) * geometry[at.PLAIN_PITCH]
        tile += integer_at(table, 4 * run + 3) // wide


@kernel
def mend_block(x, weight, out, rows, geometry, scratch, own, masks, group, begin, end, number):
    """Sum the spoiled tiles of block ``number`` directly, in the panels begin <= p < end of a group.

    ``masks`` + (p - begin) * MR says which ones they are, as in ``winograd_outputs``. What tiles read is gathered
    once for all panels. ``x`` to ``scratch`` are as in ``winograd.compute_tasks``.
    """
    gather_plain(x, geometry, scratch, own, group, number)
    runs = tabulate_runs(geometry, address_of(scratch, own + geometry[at.TABLE_START]), number)
    for panel in range(begin, end):
        mask = masks + 8 * (panel - begin) * TILE_ROWS
        spoiled = 0
        for m in range(smaller(TILE_ROWS, geometry[at.FILTERS] - panel * TILE_ROWS)):
            spoiled |= integer_at(mask, m)
        if spoiled == 0:
            continue
        if geometry[at.UNPACKED] != 0:
            raw = own + geometry[at.PANEL_START]
            pack_own(weight, rows, geometry, scratch, raw, group, panel, 1, panel + 1)
        else:
            raw = geometry[at.RAW_START] + (group * geometry[at.PANELS] + panel) * geometry[at.RAW_SIZE]
        sum_directly(
            scratch if geometry[at.UNPACKED] != 0 else weight, (raw, bias_start(geometry, scratch, group, panel)), out,
            rows, geometry, scratch, own, mask, group, panel, runs,
        )  # fmt: skip


def mending(dtype: str) -> Native:
    """Begin to compile :func:`mend_block`, which the tasks call by its address."""
    return begin(mend_block, (*[f"{dtype}*"] * 3, "int64*", "int64*", f"{dtype}*"))
