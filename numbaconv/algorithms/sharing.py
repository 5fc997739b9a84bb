"""How a convolution is cut into tasks, and what all algorithms lay out alike."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Final

from ..kernels import geometry as at
from ..kernels.blocking import LINE

#: Tasks that a problem is cut into at least, where it can be. More would pack the same pixels more often: 32 made 14x14
#: and 7x7 layers up to 4 times slower on 2 threads (Zen 4). More than 8 threads find nothing to do in such a layer. Not
#: derived from the number of threads, because what a task sums must not depend on it.
FEWEST_TASKS: Final = 8
#: The same where no task repeats what another one has packed.
FEWEST_SHARED: Final = 16


def ceil_div(a: int, b: int) -> int:
    """The smallest integer that is not less than a / b."""
    return -(-a // b)


def taps(geometry: MutableSequence[int]) -> int:
    """Cells of the kernel."""
    return geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]


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
