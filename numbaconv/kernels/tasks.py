"""How threads share the tasks of a convolution, and the scratch that they work in.

The scratch is one array: a cache line of counters; then, on a cache line, what the threads fill together (SHARED
elements); then each thread's own SCRATCH elements.

What a thread does is a function (slot, slots, x, weight, out, rows, geometry, scratch), compiled once for each dtype
and called by its address: one kernel that starts threads serves all algorithms, and the packing of weights, too.

A thread takes the next task when it has done one: threads that start late, or are interrupted, do fewer. Of tasks that
read much of what is filled together it takes several at once, so that each cell is read once. Each begins
with tasks of a range of its own, so that from call to call its core's cache holds what they read. What is filled
together is cut into PARTS, taken in the same way before the tasks. A thread that finds none left waits for those that
others have taken: they are running, so it will not wait for ever, however few threads there are.
"""

from __future__ import annotations

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import NARROW_LINE, UNDONE
from .numbers import divided, lanes_of, larger, smaller
from .simd import address_of, call_native, count_up, reset_counters, wait_for
from .threads import on_threads

#: Parts into which the work before the tasks is cut.
PARTS = 8
#: Counters; behind them lies the scratch's size (``simd.SIZE``).
_PART, _DONE, _RANGE = 0, 2, 3  # _PART: one for each half of the parts
#: Ranges of tasks that have a counter of their own, one for each thread, or for some. From one counter for all, 1x1
#: layers took 1.02 to 1.1 times as long (Zen 5, 2 threads). Neighbouring blocks of Winograd's tiles were then done at
#: the same time, and each filter's outputs at their edges lie in lines of both: sequences of 16 to 96 channels took
#: 1.1 to 1.35 times as long, 64x224x224 1.15, 64x56x56 1.06, 512x14x14 as long (Emerald Rapids, 2 threads).
RANGES = 4


@kernel
def shared_start(scratch):
    """Where the threads' common scratch starts."""
    lanes = lanes_of(scratch)
    return NARROW_LINE + (-(address_of(scratch, 0) // scratch.itemsize)) % lanes


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
    rest, part = divided(task, split)
    rest, block = divided(rest, blocks)
    image, group = divided(rest, geometry[at.GROUPS])
    panels = geometry[at.PANELS]
    return image, block, group, panels * part // split, panels * (part + 1) // split


@kernel
def leave_undone(scratch):
    """Tell the caller that a task has lacked a function, which must be compiled before all tasks are done again."""
    count_up(scratch, UNDONE, 1)


@kernel
def own_task(slot, slots, geometry, scratch):
    """Return a task that no thread has taken yet, of the thread's own range or, behind it, of others'; else TASKS."""
    return own_tasks(slot, slots, 0, geometry, scratch)[0]


@kernel
def own_tasks(slot, slots, several, geometry, scratch):
    """Return (first, behind the last) of tasks as :func:`own_task` returns one, or of one; else (TASKS, TASKS).

    ``several`` are three quarters of those left of a range, the thread's share of that where others begin with the
    range, too; or, of one or two threads, all. One of more threads is often slower: then the others do what it left.
    """
    tasks = geometry[at.TASKS]
    ranges = smaller(slots, RANGES)
    threads = (slots + ranges - 1) // ranges
    for i in range(ranges):
        r = (slot + i) % ranges
        first, last = tasks * r // ranges, tasks * (r + 1) // ranges
        count = 1
        if several != 0:
            left = last - first - count_up(scratch, _RANGE + r, 0)
            count = larger(1, left if slots <= 2 else (3 * left + 4 * threads - 1) // (4 * threads))
        task = first + count_up(scratch, _RANGE + r, count)
        if task < last:
            return task, smaller(last, task + count)
    return tasks, tasks


@kernel
def own_part(slot, slots, scratch):
    """Return a part of the common work that no thread has taken yet. When there are none left, wait for all of them.

    The first half of the threads begin with the first half of the parts, the others with the other: as the tasks', so
    that a core's cache holds what it will need.
    """
    half = PARTS // 2
    own = slot * 2 // slots
    for side in (own, 1 - own):
        part = count_up(scratch, _PART + side, 1)
        if part < half:
            return side * half + part
    wait_for(scratch, _DONE, PARTS)
    return PARTS


@kernel
def part_done(scratch):
    """Tell the other threads that a part is done."""
    count_up(scratch, _DONE, 1)


@kernel
def run_slot(slot, slots, function, x, weight, out, rows, geometry, scratch):
    """Call the function at address ``function``, as thread ``slot`` of ``slots``."""
    call_native(function, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def run_serial(slot, slots, function, x, weight, out, rows, geometry, scratch):
    """:func:`run_slot`, after which no other thread has taken tasks."""
    reset_counters(scratch)
    call_native(function, slot, slots, x, weight, out, rows, geometry, scratch)


@parallel_kernel
def run_parallel(slots, function, x, weight, out, rows, geometry, scratch):
    """:func:`run_serial` on ``slots`` threads; which thread computes a value does not change it."""
    reset_counters(scratch)
    on_threads(run_slot, slots, (function, x, weight, out, rows, geometry, scratch))


@kernel
def pack_and_run(pack, function, weight, bias, x, out, rows, geometry, scratch):
    """Lay out the weights and do all tasks, on one thread. ``scratch`` has room for PACKED weights before the rest."""
    packed, scratch = scratch[: geometry[at.PACKED]], scratch[geometry[at.PACKED] :]
    call_native(pack, 0, 1, weight, bias, packed, rows, geometry, scratch)
    run_serial(0, 1, function, x, packed, out, rows, geometry, scratch)
