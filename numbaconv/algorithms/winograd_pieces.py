"""The pieces that Winograd cuts a kernel into, and in which order their products are summed; see :mod:`.winograd`.

A piece has r taps along an axis, or it is short: of 7 taps in pieces of 4, the second one has 3. G makes 0 of these at
infinity, the last place of a tile, so the sums of that place leave short pieces out: F(5, 4) takes 15 multiplications
for 7 taps then, not 16, and 4x4 outputs of a 3x3 kernel with stride 2, whose phases have 2 taps and 1, take 81 with
F(4, 2), not 100. Pieces are ordered so that what a place sums lies together: those that are short along the width
alone, those that are nowhere short, those that are short along the height alone, and those that are along both.
"""

from __future__ import annotations

from collections.abc import MutableSequence

from ..kernels import geometry as at
from .sharing import ceil_div


def taps_of_phase(geometry: MutableSequence[int], axis: int, phase: int) -> int:
    """Taps along the height or the width that read a phase of the input: the first phase's are the most."""
    return ceil_div(geometry[at.KERNEL_H + axis] - phase, geometry[at.STRIDE_H + axis])


def stride_phases(geometry: MutableSequence[int]) -> int:
    """Phases of the input that a stride makes, of both axes."""
    return geometry[at.PHASES_H] * geometry[at.PHASES_W]


def kernel_pieces(geometry: MutableSequence[int]) -> int:
    """Pieces that the kernel, or a phase's taps of it, is cut into."""
    return geometry[at.PIECES_H] * geometry[at.PIECES_W]


def count_pieces(geometry: MutableSequence[int], axis: int, phases: int) -> tuple[int, int]:
    """(Pieces of r taps, those of fewer) of the first phases along the height or the width."""
    whole, short = 0, 0
    for phase in range(phases):
        taps = taps_of_phase(geometry, axis, phase)
        whole += taps // geometry[at.TAPS_H + axis]
        short += min(1, taps % geometry[at.TAPS_H + axis])
    return whole, short


def pieces_along(geometry: MutableSequence[int], axis: int) -> tuple[int, int]:
    """(Whole pieces, short ones) of all phases along the height or the width; if all are short, none counts as such."""
    whole, short = count_pieces(geometry, axis, geometry[at.PHASES_H + axis])
    return (whole, short) if whole > 0 else (short, 0)


def piece_along(geometry: MutableSequence[int], axis: int, phase: int, piece: int) -> tuple[int, int]:
    """(How many of its kind come before a piece of a phase, whether it is short): before -1 where it has no taps."""
    r, taps = geometry[at.TAPS_H + axis], taps_of_phase(geometry, axis, phase)
    if piece * r >= taps:
        return -1, 0
    whole, short = count_pieces(geometry, axis, phase)
    if pieces_along(geometry, axis)[1] == 0:
        return whole + short + piece, 0
    return (short, 1) if (piece + 1) * r > taps else (whole + piece, 0)


def tile_products(geometry: MutableSequence[int]) -> int:
    """Products of a tile and a filter: those of all places."""
    products = geometry[at.CHANNELS] * geometry[at.KERNEL_D]
    for axis in range(2):
        whole, short = pieces_along(geometry, axis)
        places = geometry[at.TILE_H + axis] + geometry[at.TAPS_H + axis] - 1
        products *= whole * places + short * (places - 1)
    return products


def pieces_of_loops(geometry: MutableSequence[int]) -> int:
    """How many :func:`piece_start` knows: for each tap of depth, those of the phase that has most in every phase."""
    return geometry[at.KERNEL_D] * stride_phases(geometry) * kernel_pieces(geometry)


def piece_start(geometry: MutableSequence[int], number: int) -> int:
    """Where the products of a piece start, in the order of loops over (kd, ph, pw, h, w); -1 where it has no taps."""
    rest, w = divmod(number, geometry[at.PIECES_W])
    rest, h = divmod(rest, geometry[at.PIECES_H])
    rest, pw = divmod(rest, geometry[at.PHASES_W])
    kd, ph = divmod(rest, geometry[at.PHASES_H])
    down, short_h = piece_along(geometry, 0, ph, h)
    across, short_w = piece_along(geometry, 1, pw, w)
    if down < 0 or across < 0:
        return -1
    of_kind_h, of_kind_w = pieces_along(geometry, 0)[short_h], pieces_along(geometry, 1)[short_w]
    if short_h == 0:
        start = 0 if short_w else geometry[at.WHOLE_START]
    else:
        start = geometry[at.WIDE_END] if short_w else geometry[at.WHOLE_END]
    return start + ((kd * of_kind_h + down) * of_kind_w + across) * geometry[at.CHANNELS]


def order_pieces(geometry: MutableSequence[int]) -> None:
    """Fill the slots that say how many products there are, and between which of them the four kinds of pieces lie."""
    planes = geometry[at.CHANNELS] * geometry[at.KERNEL_D]
    whole_h, short_h = pieces_along(geometry, 0)
    whole_w, short_w = pieces_along(geometry, 1)
    geometry[at.WHOLE_START] = planes * whole_h * short_w
    geometry[at.WHOLE_END] = geometry[at.WHOLE_START] + planes * whole_h * whole_w
    geometry[at.WIDE_END] = geometry[at.WHOLE_END] + planes * short_h * whole_w
    geometry[at.PRODUCTS] = geometry[at.WIDE_END] + planes * short_h * short_w
