"""How threads share the tasks of a convolution, and the scratch that they work in.

The scratch is one array: a cache line with the number of the next task; then, on a cache line, what the threads fill
together (SHARED elements); then each thread's own SCRATCH elements.
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import LINE, VECTOR_BYTES


@kernel
def shared_start(scratch):
    """Where the threads' common scratch starts."""
    lanes = VECTOR_BYTES // scratch.itemsize
    return LINE + (-(scratch.ctypes.data // scratch.itemsize)) % lanes


@kernel
def own_start(slot, geometry, scratch):
    """Where the scratch of thread ``slot`` starts."""
    return shared_start(scratch) + geometry[at.SHARED] + slot * geometry[at.SCRATCH]


@kernel
def task_position(task, blocks, geometry):
    """Return the part of the output that task number ``task`` computes.

    It is (image, block of pixels, group, first panel, panel behind the last). An image has ``blocks`` blocks of pixels.
    Neighbouring tasks share their block, then their group, so that one thread's tasks read the same memory.
    """
    split = geometry[at.PANEL_SPLIT]
    rest, part = divmod(task, split)
    rest, block = divmod(rest, blocks)
    image, group = divmod(rest, geometry[at.GROUPS])
    panels = geometry[at.PANELS]
    return image, block, group, panels * part // split, panels * (part + 1) // split
