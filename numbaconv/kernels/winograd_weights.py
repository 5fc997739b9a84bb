"""The weights of :mod:`.winograd`: laid out in panels of MR filters, and transformed to U = G g G^T."""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import PACK_SCRATCH, TILE_ROWS
from .numbers import divided, larger, smaller
from .packing import pack_bias, pack_dense_panel, pack_panels, panels_together
from .simd import address_of, scratch_size
from .tasks import shared_start
from .winograd_simd import call_function

#: Where the transform's address lies among those in the table of rows.
WEIGHT = 1


@kernel
def transform_panel(packed, rows, geometry, raw, target):
    """Transform the panel of weights at ``packed[raw]``: the matrices U start at ``packed[target]``."""
    channels = geometry[at.CHANNELS]
    kernel_h, kernel_w = geometry[at.KERNEL_H], geometry[at.KERNEL_W]
    taps = geometry[at.KERNEL_D] * kernel_h * kernel_w
    stride_h, stride_w = geometry[at.STRIDE_H], geometry[at.STRIDE_W]
    phases_w = geometry[at.PHASES_W]
    piece = geometry[at.STARTS]
    for plane in range(geometry[at.KERNEL_D] * geometry[at.PHASES_H] * phases_w):
        rest, pw = divided(plane, phases_w)
        kd, ph = divided(rest, geometry[at.PHASES_H])
        first = kd * kernel_h * kernel_w + ph * kernel_w + pw
        lines, columns = (kernel_h - ph + stride_h - 1) // stride_h, (kernel_w - pw + stride_w - 1) // stride_w
        for h in range(0, geometry[at.PIECES_H] * geometry[at.TAPS_H], geometry[at.TAPS_H]):
            for w in range(0, geometry[at.PIECES_W] * geometry[at.TAPS_W], geometry[at.TAPS_W]):
                k = rows[piece]
                piece += 1
                if k < 0:  # a phase that has no taps in this piece
                    continue
                source = raw + (first + h * stride_h * kernel_w + w * stride_w) * TILE_ROWS
                call_function(
                    rows[geometry[at.FUNCTIONS] + WEIGHT],
                    (
                        address_of(packed, source), address_of(packed, target + k * TILE_ROWS), channels,
                        taps * TILE_ROWS, TILE_ROWS, lines - h, columns - w, stride_h * kernel_w, stride_w,
                        geometry[at.WEIGHT_STEP],
                    ),
                )  # fmt: skip


@kernel
def winograd_weights(slot, slots, weight, bias, packed, rows, geometry, scratch):
    """Transform the kernels g of thread ``slot`` to U = G g G^T, laid out as matrices for the microkernel.

    packed[((g * PANELS + p) * points + u) * WEIGHT_STEP + k * MR + m] = U_u of filter p * MR + m of group g and k over
    (piece, channel), zeros beyond the last filter; then the bias (see ``pack_bias``); then, from RAW_START on, the
    weights, packed as by ``pack_weights``.
    """
    panels = geometry[at.PANELS]
    step = geometry[at.WEIGHT_STEP]
    own = shared_start(scratch) + slot * PACK_SCRATCH
    every = geometry[at.GROUPS] * panels
    number, last = every * slot // slots, every * (slot + 1) // slots
    while number < last:
        group, panel = divided(number, panels)
        some = panels_together(geometry, panel, last - number, packed.itemsize)
        raw = geometry[at.RAW_START] + number * geometry[at.RAW_SIZE]
        pack_panels(weight, rows, geometry, group, panel, some, packed, raw, scratch, own)
        target = number * geometry[at.POINTS] * step
        for _ in range(some):
            transform_panel(packed, rows, geometry, raw, target)
            raw += geometry[at.RAW_SIZE]
            target += geometry[at.POINTS] * step
        number += some
    if slot == 0:
        pack_bias(bias, packed, geometry)


@kernel
def winograd_dense_weights(slot, slots, weight, bias, packed, rows, geometry, scratch):
    """As :func:`winograd_weights`, where ``packing.pack_dense_weights`` serves."""
    panels = geometry[at.PANELS]
    every = geometry[at.GROUPS] * panels
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        group, panel = divided(number, panels)
        raw = geometry[at.RAW_START] + number * geometry[at.RAW_SIZE]
        pack_dense_panel(weight, rows, geometry, group, panel, packed, raw)
        transform_panel(packed, rows, geometry, raw, number * geometry[at.POINTS] * geometry[at.WEIGHT_STEP])
    if slot == 0:
        pack_bias(bias, packed, geometry)


@kernel
def bias_start(geometry, scratch, group, panel):
    """Where the bias of a panel starts: among the packed weights or, where tasks pack these, at the scratch's end."""
    number = group * geometry[at.PANELS] + panel
    if geometry[at.UNPACKED] != 0:
        return scratch_size(scratch) + (number - geometry[at.GROUPS] * geometry[at.PANELS]) * TILE_ROWS
    return geometry[at.BIAS_START] + number * TILE_ROWS


@kernel
def pack_own(weight, rows, geometry, scratch, raw, group, panel, some, end):
    """Where tasks pack the weights: lay out panels from ``panel`` on, untransformed, at ``scratch[raw]``; how many.

    They are ``some``, at most UNPACKED, or several times as many, to ``end`` at most: as many as are read together.
    """
    most = smaller(geometry[at.UNPACKED], end - panel)
    count = panels_together(geometry, panel, most, scratch.itemsize) // some * some
    count = larger(some, count)
    spare = raw + geometry[at.UNPACKED] * geometry[at.RAW_SIZE]
    pack_panels(weight, rows, geometry, group, panel, count, scratch, raw, scratch, spare)
    return count


@kernel
def pack_none(weight, rows, geometry, scratch, raw, group, panel, some, end):
    """:func:`pack_own` where the weights are packed already."""
    return 0
