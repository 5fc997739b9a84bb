"""Products with few outputs and long sums, in parts of the channels: as groups, whose results are added up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, NamedTuple

from .job import Device, Job
from .kernels import parts as kernels
from .packing import launch_copy
from .views import View, dense

#: What a tile costs beside the rows of the patches matrix that it multiplies, counted in such rows.
ROWS_BEFORE: Final = 50
#: Microseconds that the addition of parts takes at least.
ADDING: Final = 4.0
#: Most parts.
MOST: Final = 32


class Prices(NamedTuple):
    """What a product costs, by times on an H200 of products in 1, 2, 4, 8 and 16 parts.

    Attributes
    ----------
    one, two : float
        Microseconds of a multiprocessor for a row of the patches matrix, with one tile, and with two at a time.
    added : float
        Bytes of the parts that are written, read and added in a microsecond.
    """

    one: float
    two: float
    added: float


def parts_of(job: Job, tiles: int, multiprocessors: int, prices: Prices, whole: int) -> int:
    """In how many parts a product of one group is expected to be fastest; each has a multiple of ``whole`` channels."""
    problem = job.problem
    if problem.groups > 1 or tiles > 4 * multiprocessors:  # groups are parts already
        return 1

    def cost(parts: int) -> float:
        twice, once = divmod(-(-tiles * parts // multiprocessors), 2)
        rows = problem.depth / parts + ROWS_BEFORE
        adding = ADDING + job.outputs * (parts + 1) * job.sums.itemsize / prices.added if parts > 1 else 0.0
        return (twice * prices.two + once * prices.one) * rows + adding

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
