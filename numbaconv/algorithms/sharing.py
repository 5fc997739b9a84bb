"""How a convolution is cut into tasks, and what all algorithms lay out alike."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Final

from ..kernels import geometry as at
from ..kernels.blocking import LINE, PAGE_BYTES, VECTOR_BYTES

#: Tasks that a problem is cut into at least, where it can be. More would pack the same pixels more often: 32 made 14x14
#: and 7x7 layers up to 4 times slower on 2 threads (Zen 4). More than 8 threads find nothing to do in such a layer. Not
#: derived from the number of threads, because what a task sums must not depend on it.
FEWEST_TASKS: Final = 8
#: The same where no task repeats what another one has packed.
FEWEST_SHARED: Final = 16

#: What algorithms spend beside multiply-adds, in vectors of these. To copy a vector of the input (of every other
#: element, or farther apart); around the GEMM microkernel, to start a task, to start a tile of one panel, and to store
#: one of its vectors, or one of a tile that is cut off. These and the drivers' own were fitted together to 300 random
#: layers and 47 of known networks, on one core (Zen 4); benchmarks/planning.py tells how well they serve others.
COPY_VECTOR = 6
STRIDED_VECTOR = 10
TASK = 400
TILE = 11
STORE_VECTOR = 1.5
CUT_VECTOR = 46
#: Where the input and the output exceed FAR_BYTES (a machine's last cache): to read a vector of the input once, and to
#: store a run of pixels of one filter. The fit to Zen 4 was 25; 15 changes the choice of one of 29 known layers, from
#: 3x224x224 to 64, to what takes 0.7 times as long on Zen 5. With 4 MiB, or 16, the model chose worse.
FAR_READ = 10
FAR_RUN = 15
FAR_BYTES = 2**23
#: What reading a run of pixels of one channel costs more where the channels of a block lie in more pages of memory than
#: a core has addresses of at hand.
PAGE = 40
PAGES = 64


def ceil_div(a: int, b: int) -> int:
    """The smallest integer that is not less than a / b."""
    return -(-a // b)


def taps(geometry: MutableSequence[int]) -> int:
    """Cells of the kernel."""
    return geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]


def storing(geometry: MutableSequence[int], itemsize: int, mr: int, nr: int, tiles: int, cut: int) -> float:
    """Cost of starting and storing ``tiles`` tiles of pixels, for all panels, of which ``cut`` are cut off.

    Those of the last panel are cut off, too, where it is not full.
    """
    vectors = nr * itemsize // VECTOR_BYTES
    filters = geometry[at.FILTERS]
    whole = (tiles - cut) * (filters // mr) * mr
    rest = tiles * filters - whole
    starts = tiles * (ceil_div(filters, mr) * TILE + filters * far_run(geometry, itemsize))
    return starts + (whole * STORE_VECTOR + rest * CUT_VECTOR) * vectors


def _far(geometry: MutableSequence[int], itemsize: int) -> bool:
    """Whether the input and the output are too large for a cache."""
    read = geometry[at.CHANNELS] * geometry[at.IN_D] * geometry[at.IN_H] * geometry[at.IN_W]
    stored = geometry[at.FILTERS] * geometry[at.OUT_D] * geometry[at.OUT_H] * geometry[at.OUT_W]
    return geometry[at.BATCH] * geometry[at.GROUPS] * (read + stored) * itemsize > FAR_BYTES


def far_run(geometry: MutableSequence[int], itemsize: int) -> int:
    """Cost of storing a run of pixels of one filter, before the next filter's are stored, far away."""
    return FAR_RUN if _far(geometry, itemsize) else 0


def far_read(geometry: MutableSequence[int], itemsize: int) -> int:
    """Cost of reading the whole input from far away."""
    if not _far(geometry, itemsize):
        return 0
    cells = geometry[at.IN_D] * geometry[at.IN_H] * geometry[at.IN_W] * geometry[at.CHANNELS]
    return geometry[at.BATCH] * geometry[at.GROUPS] * ceil_div(cells * itemsize, VECTOR_BYTES) * FAR_READ


def page(geometry: MutableSequence[int], itemsize: int, channels: int) -> int:
    """What a run of pixels costs more where ``channels`` channels are read in turn."""
    plane = geometry[at.IN_H] * geometry[at.IN_W] * itemsize
    return PAGE if channels > PAGES and plane >= PAGE_BYTES else 0


def lay_out(
    geometry: MutableSequence[int], blocks: int, block_elements: int, weights: int, fewest: int = FEWEST_TASKS
) -> None:
    """Fill the slots that follow from how many blocks of pixels there are and how large one is.

    ``blocks`` counts those of all images and groups; ``block_elements`` is the scratch that one takes; ``weights``
    is the number of elements of the packed weights, behind which the bias lies. Where there are few blocks, several
    tasks share one, so that there are ``fewest`` tasks: each multiplies it with some of the panels.
    """
    panels = geometry[at.PANELS]
    split = min(panels, ceil_div(fewest, max(blocks, 1)))
    geometry[at.PANEL_SPLIT] = split
    geometry[at.TASKS] = blocks * split
    geometry[at.BIAS_START] = weights
    geometry[at.PACKED] = weights + geometry[at.GROUPS] * panels * geometry[at.MR]
    geometry[at.TILE_START] = block_elements
    elements = block_elements + geometry[at.MR] * geometry[at.NR]
    geometry[at.SCRATCH] = ceil_div(elements, LINE) * LINE


def use_tile(geometry: MutableSequence[int], mr: int, nr: int) -> None:
    """Choose the register tile, and with it how many panels a group has."""
    geometry[at.MR] = mr
    geometry[at.NR] = nr
    geometry[at.PANELS] = ceil_div(geometry[at.FILTERS], mr)
