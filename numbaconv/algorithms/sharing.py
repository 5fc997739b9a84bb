"""How a convolution is cut into tasks, and what all algorithms lay out alike."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, Final

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import (
    CHANNEL_TILE_PIXELS,
    LEAST_BESIDE,
    NARROW_LINE,
    PAGE_BYTES,
    TILE_BYTES,
    TILE_ROWS,
    VECTOR_BYTES,
    cut_run,
    tile_for,
)
from . import prices as price
from .prices import Prices

#: Tasks that a problem is cut into at least, where it can be. More would pack the same pixels more often: 32 made 14x14
#: and 7x7 layers up to 4 times slower on 2 threads (Zen 4). More than 8 threads find nothing to do in such a layer. Not
#: derived from the number of threads, because what a task sums must not depend on it.
FEWEST_TASKS: Final = 8
#: The same where no task repeats what another one has packed.
FEWEST_SHARED: Final = 16

#: Bytes that a core's own cache holds, and a machine's last cache. Between once and twice as many, part of them does.
NEAR_BYTES = 2**20
FAR_BYTES = 2**23
#: Pages of memory that a core has addresses of at hand, and those that it stores to in turn: tiles of pixels are all
#: multiplied by the panels whose filters lie in so many, then by the next ones. Where each tile was multiplied by all
#: panels 1x1 layers from 16x112x112 and 16x111x111 to 512 took 3.0 and 2.4 times as long, with 64 pages 1.2 and 1.4
#: times with im2col and 2.5 times with direct_pixels; a line that lies across two tiles is in the L1 cache when the
#: second one is stored (Emerald Rapids).
PAGES = 64
STORED_PAGES = 32
#: Products of an output that hide half of what it costs to store a tile: a core goes on while lines are on their way.
HIDDEN_BY = 128
#: Bytes from one pixel to the next from which the lines that hold one channel's share so few sets of the L1 cache that
#: each is read again for every channel: copies of one channel took 1.5 to 2.8 times as long (Zen 4, 256 and 512).
FAR_APART = 1024
#: What a multiply-add in a wide tile costs of one in a usual tile: see ``blocking.WIDE_VECTORS``.
WIDE_SHARE = 0.95


def ceil_div(a: int, b: int) -> int:
    """The smallest integer that is not less than a / b."""
    return -(-a // b)


def taps(geometry: MutableSequence[int]) -> int:
    """Cells of the kernel."""
    return geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]


def images_together(batch: int, pixels: int) -> tuple[int, int, int]:
    """Return (images of a pointwise problem that are computed as one, its rows, its columns).

    Each is a row or, where it has one pixel, a pixel.
    Tiles then take pixels of several images. 16 images of 4x4 filled 7 pixels of a tile with 5.3, 64 of 1x1 with 1: 512
    channels took 0.8 and 0.1 of the time (Emerald Rapids).
    """
    tiles = ceil_div(pixels, CHANNEL_TILE_PIXELS) * CHANNEL_TILE_PIXELS
    images = batch if 15 * tiles > 16 * pixels else 1
    return (images, images, pixels) if pixels > 1 else (images, 1, images)


def cut_pixels(geometry: MutableSequence[int], itemsize: int, run: int) -> tuple[int, int, int]:
    """Tiles of a run of pixels, those of them that are a vector narrower, and the columns of all."""
    mr, nr = tile_for(geometry[at.FILTERS], itemsize)
    lanes = VECTOR_BYTES // itemsize
    tiles, narrow = cut_run(run, mr, nr, lanes)
    return tiles, narrow, tiles * nr - narrow * lanes


def gemm_price(mr: int, nr: int, itemsize: int, tiles: int, narrow: int, prices: Prices) -> float:
    """Price of a product of ``mr`` filters with each pixel of ``tiles`` tiles, of which ``narrow`` are narrower."""
    vectors = nr * itemsize // VECTOR_BYTES
    each = prices[price.GEMM] if mr == TILE_ROWS else prices[price.FEW]
    share = WIDE_SHARE if mr == TILE_ROWS and nr * itemsize > TILE_BYTES else 1.0
    return mr * each * ((tiles - narrow) * vectors * share + narrow * (vectors - 1))


def storing(geometry: MutableSequence[int], itemsize: int, tiles: int, narrow: int, cut: int, prices: Prices) -> float:
    """Cost of starting and storing ``tiles`` tiles of pixels, for all panels, of which ``cut`` are cut off.

    Those of the last panel are cut off, too, where it is not full. ``narrow`` tiles are a vector narrower than NR.
    """
    mr, nr = tile_for(geometry[at.FILTERS], itemsize)
    vectors = nr * itemsize / VECTOR_BYTES - narrow / tiles
    filters = geometry[at.FILTERS]
    whole = (tiles - cut) * (filters // mr) * mr
    rest = tiles * filters - whole
    # A run is as long as a usual tile.
    runs = vectors * VECTOR_BYTES / TILE_BYTES * HIDDEN_BY / (HIDDEN_BY + geometry[at.CHANNELS] * taps(geometry))
    run = runs * storing_run(geometry, itemsize, prices)
    starts = tiles * (ceil_div(filters, mr) * prices[price.GEMM_TILE] + filters * run)
    if geometry[at.CHANNELS_LAST] != 0:  # one by one, from memory
        each = prices[price.CUT_VECTOR] + VECTOR_BYTES // itemsize * prices[price.STORED_APART]
        return starts + tiles * filters * vectors * each
    return starts + (whole * prices[price.STORED_VECTOR] + rest * prices[price.CUT_VECTOR]) * vectors


def reading_apart(geometry: MutableSequence[int], itemsize: int, prices: Prices, alone: bool = False) -> float:
    """Cost of copying a pixel of one channel where the channels of a pixel lie side by side.

    Squares of pixels and channels are copied at once, unless each channel is copied ``alone``, or there are few.
    """
    if not alone and geometry[at.CHANNELS] >= LEAST_BESIDE:
        return prices[price.COPIED_ACROSS]
    far = geometry[at.GROUPS] * geometry[at.CHANNELS] * itemsize >= FAR_APART
    return prices[price.COPIED_APART] * (2 if far else 1)


def copying(geometry: MutableSequence[int], itemsize: int, prices: Prices, usual: float, strided: float) -> float:
    """Cost of copying a vector of pixels of one channel: ``usual`` where they lie side by side.

    ``strided`` where there is a stride between them; as :func:`reading_apart` where those of other channels lie there.
    """
    if geometry[at.CHANNELS_LAST] != 0:
        return VECTOR_BYTES // itemsize * reading_apart(geometry, itemsize, prices)
    return usual if geometry[at.STRIDE_W] == 1 else strided


def _beyond(size: float, near: float, far: float) -> float:
    """What ``size`` bytes cost more, of which near and far ones have these prices."""
    cost = min(max(size / NEAR_BYTES - 1, 0.0), 1.0) * near
    return cost + min(max(size / FAR_BYTES - 1, 0.0), 1.0) * far


def _bytes(geometry: MutableSequence[int], itemsize: int) -> float:
    """Input, output and weights."""
    read = geometry[at.CHANNELS] * geometry[at.IN_D] * geometry[at.IN_H] * geometry[at.IN_W]
    stored = geometry[at.FILTERS] * geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W]
    weights = geometry[at.FILTERS] * geometry[at.CHANNELS] * taps(geometry)
    return float(geometry[at.GROUPS] * itemsize) * (geometry[at.BATCH] * (read + stored) + weights)


def storing_run(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Cost of storing a run of pixels of one filter, before the next filter's are stored, beyond a cache."""
    return _beyond(_bytes(geometry, itemsize), prices[price.NEAR_RUN], prices[price.FAR_RUN])


def storing_burst(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """:func:`storing_run` of longer runs, those of a whole panel one after the other."""
    return _beyond(_bytes(geometry, itemsize), prices[price.NEAR_BURST], prices[price.FAR_BURST])


def reading(geometry: MutableSequence[int], itemsize: int, prices: Prices, in_place: bool = False) -> float:
    """Cost of reading the whole input from beyond a cache."""
    cells = geometry[at.IN_D] * geometry[at.IN_H] * geometry[at.IN_W] * geometry[at.CHANNELS]
    vectors = geometry[at.BATCH] * geometry[at.GROUPS] * ceil_div(cells * itemsize, VECTOR_BYTES)
    size = _bytes(geometry, itemsize)
    each = _beyond(size, prices[price.NEAR_VECTOR], prices[price.FAR_VECTOR])
    if in_place:
        each += _beyond(size, prices[price.NEAR_IN_PLACE], prices[price.FAR_IN_PLACE])
    return vectors * each


def reading_block(size: float, times: float, prices: Prices) -> float:
    """Cost of reading what a task has written, as many bytes, beyond its core's own cache."""
    return times * size / VECTOR_BYTES * _beyond(size, prices[price.NEAR_BLOCK], 0.0)


def within_reach(geometry: MutableSequence[int], itemsize: int) -> int:
    """Panels, of MR filters each, whose pixels lie in STORED_PAGES."""
    plane = geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W] * itemsize
    if geometry[at.CHANNELS_LAST] != 0:
        return geometry[at.PANELS]
    return max(1, STORED_PAGES * PAGE_BYTES // (geometry[at.MR] * min(plane, PAGE_BYTES)))


def reading_weights(size: float, prices: Prices) -> float:
    """Cost of reading as many bytes of weights once from beyond a cache."""
    return size / VECTOR_BYTES * _beyond(size, prices[price.NEAR_WEIGHTS], prices[price.FAR_WEIGHTS])


def page(geometry: MutableSequence[int], itemsize: int, channels: int, prices: Prices) -> float:
    """What a run of pixels costs more where ``channels`` channels are read in turn."""
    plane = geometry[at.IN_H] * geometry[at.IN_W] * itemsize
    return prices[price.PAGE] if channels > PAGES and plane >= PAGE_BYTES else 0.0


def split_evenly(panels: int, blocks: int) -> int:
    """How many tasks share a block, where none repeats what another has packed: each takes as many panels.

    4 panels in 3 tasks leave a thread waiting: 256x56x56 to 128 by 1x1 took 1.07 times as long (Emerald Rapids).
    """
    split = min(panels, ceil_div(FEWEST_SHARED, max(blocks, 1)))
    return ceil_div(panels, panels // split)


def split_few(panels: int, blocks: int) -> int:
    """How many tasks share a block, each of which packs it again: as many as make FEWEST_TASKS of few blocks."""
    return min(panels, ceil_div(FEWEST_TASKS, max(blocks, 1)))


def lay_out(geometry: MutableSequence[int], blocks: int, block_elements: int, weights: int, split: int = 0) -> None:
    """Fill the slots that follow from how many blocks of pixels there are and how large one is.

    ``blocks`` counts those of all images and groups; ``block_elements`` is the scratch that one takes; ``weights``
    is the number of elements of the packed weights, behind which the bias lies. ``split`` tasks share a block, each for
    some of the panels; where it is 0, :func:`split_few` says how many.
    """
    panels = geometry[at.PANELS]
    if split == 0:
        split = split_few(panels, blocks)
    geometry[at.PANEL_SPLIT] = split
    geometry[at.TASKS] = blocks * split
    geometry[at.BIAS_START] = weights
    geometry[at.PACKED] = weights + geometry[at.GROUPS] * panels * geometry[at.MR]
    geometry[at.TILE_START] = block_elements
    elements = block_elements + geometry[at.MR] * geometry[at.NR]
    geometry[at.SCRATCH] = ceil_div(elements, NARROW_LINE) * NARROW_LINE


def packing(geometry: Sequence[int]) -> Any:
    """The function that lays out the weights, or None where tasks do it.

    One that only knows the usual order of weights is compiled in half the time.
    """
    if geometry[at.UNPACKED] != 0:
        return None
    kernels = load_module(".kernels.packing")
    if geometry[at.WEIGHT_DENSE] == 0:
        return kernels.pack_weights
    return kernels.pack_dense_weights if geometry[at.ORDER_START] == 0 else kernels.pack_ordered_weights


def use_tile(geometry: MutableSequence[int], mr: int, nr: int) -> None:
    """Choose the register tile, and with it how many panels a group has."""
    geometry[at.MR] = mr
    geometry[at.NR] = nr
    geometry[at.PANELS] = ceil_div(geometry[at.FILTERS], mr)
