"""Products with few outputs and long sums, in parts of the channels: as groups, whose results are added up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from .job import Device, Job
from .kernels import parts as kernels
from .packing import launch_copy
from .views import View, dense

#: What a tile costs beside the rows of the patches matrix that it multiplies, counted in such rows.
ROWS_BEFORE: Final = 50
#: Microseconds of the addition of parts, and bytes that it reads and writes in one, mostly in the cache.
ADDING: Final = 4.0
ADDED: Final = 1e6
#: Most parts.
MOST: Final = 32


def parts_of(job: Job, tiles: int, at_once: int, step: float, whole: int) -> int:
    """In how many parts a product of one group is expected to be fastest.

    Parameters
    ----------
    tiles, at_once : int
        Tiles of the product, and how many of them the device computes at a time.
    step : float
        Microseconds that those take for one row of the patches matrix.
    whole : int
        A part's channels are a multiple of it.
    """
    problem = job.problem
    if problem.groups > 1 or tiles > 4 * at_once:  # groups are parts already
        return 1

    def cost(parts: int) -> float:
        rounds = -(-tiles * parts // at_once)
        adding = ADDING + job.outputs * (parts + 1) * job.sums.itemsize / ADDED if parts > 1 else 0.0
        return float(rounds * (problem.depth / parts + ROWS_BEFORE) * step + adding)

    channels = problem.channels
    divisors = [n for n in range(1, min(MOST, channels) + 1) if channels % n == 0 and channels // n % whole == 0]
    return min(divisors, key=cost, default=1)


def summed(job: Job, parts: int, device: Device, run: Callable[[Job, Device], None]) -> None:
    """``run`` for each part of the channels, as a group of one job; then their sum, the bias and the activation."""
    problem, out = job.problem, job.out.without(1)
    order = sorted(range(out.ndim), key=lambda axis: (-abs(out.strides[axis]), axis))  # as the output lies
    memory = device.empty(parts * out.size, job.sums)
    apart = dense(memory, (parts, *out.shape), (0, *[1 + axis for axis in order]))
    x = job.x.without(1).split(1, parts)
    w = job.w.without(0).split(1, parts).ordered((1, 0, 2, 3, 4, 5))
    inner = dataclasses.replace(problem, groups=parts, filters=parts * problem.filters, bias=False, activation=None)
    run(Job(inner, x, w, None, apart.ordered((1, 0, 2, 3, 4, 5)), conjugate=job.conjugate), device)
    first = apart.cut(0, slice(0, 1)).without(0)
    bias = job.bias
    steps = (0, 0 if bias is None else bias.strides[0], 0, 0, 0)
    added = View(job.bias_memory, 0 if bias is None else bias.start, out.shape, steps)
    more = (parts, apart.strides[0], int(bias is not None), int(job.relu))
    launch_copy(kernels.added(), [view.ordered(order) for view in (first, out, added)], device, more)
