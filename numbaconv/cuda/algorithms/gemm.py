"""Implicit GEMM in float32. See :mod:`numbaconv.cuda.kernels.gemm`."""

from __future__ import annotations

import numpy as np

from ..job import Device, Job, too_large
from ..kernels import gemm as kernels
from ..packing import aligned, contiguous_pixels, copy, tap_table, taps_of
from ..parts import Prices, parts_of, summed
from ..views import Memory, dense

#: Filters of a group from which a tile of 64 is worth its products: with 16 channels of 3x3, direct summation took 0.9
#: times as long for 4 of them, and 1.5 times for 8 (H200).
FEWEST_FILTERS = 5
#: By the filters of a thread. Those for 4 are fitted to four layers of 7x7 outputs, which are written one by one.
PRICES = {8: Prices(0.113, 0.2, 2e6), 4: Prices(0.18, 0.28, 2e6)}
#: Most blocks in the second and the third dimension of a grid.
MOST_BLOCKS = 65535
SINGLE = np.dtype(np.float32)


def unsupported(job: Job, device: Device) -> str | None:
    """Why not: it reads and writes float32, with zeros around the input."""
    arrays = {"input": job.x, "weight": job.w, "bias": job.bias, "output": job.out}
    for name, view in arrays.items():
        if view is not None and view.dtype != SINGLE:
            return f"gemm is written for float32, the {name} is {view.dtype}"
    if job.problem.depth == 0:
        return "there is nothing to sum"
    if not job.zeros_outside:
        return f"gemm needs zeros around the input, this padding is {job.problem.padding_mode}"
    if job.problem.groups > MOST_BLOCKS:
        return f"gemm takes at most {MOST_BLOCKS} groups, this problem has {job.problem.groups}"
    why = too_large(job)
    return None if why is None else f"gemm: {why}"


def unsuited(job: Job, precision: str) -> str | None:
    """Why "auto" does not take it."""
    if job.problem.group_filters < FEWEST_FILTERS:
        return f"a tile of 64 filters would be mostly empty with {job.problem.group_filters} in a group"
    return None


def _vectors(job: Job) -> bool:
    """Whether four neighbouring channels can be read at once."""
    return job.x.strides[2] == 1 and job.problem.group_channels % 4 == 0 and aligned(job.x, 4)


def _side_by_side(job: Job) -> str:
    """Of what four neighbours in the output can be written at once: see :func:`..macros.write_tile`."""
    out = job.out
    if out.strides[2] == 1 and out.shape[2] % 4 == 0 and aligned(out, 4):
        return "filters"
    if contiguous_pixels(out) and job.problem.pixels % 4 == 0 and aligned(out, 4, range(3)):
        return "pixels"
    return ""


def _tile(job: Job) -> int:
    """Filters of a thread. With 8, reading and writing element by element would spill for compute capability 12.0."""
    return 8 if job.problem.group_filters > 64 and (_vectors(job) or _side_by_side(job)) else 4


def merits(job: Job) -> str:
    """What it is good for."""
    channels = "four channels at a time" if _vectors(job) else "any strides and channels"
    return f"float32 in tiles of {16 * _tile(job)} filters by {kernels.PIXELS} pixels, {channels}"


def run(job: Job, device: Device) -> None:
    """Multiply, in parts where there are few tiles."""
    tile = _tile(job)
    tiles = -(-job.problem.batch * job.problem.pixels // kernels.PIXELS) * -(-job.problem.group_filters // (16 * tile))
    parts = parts_of(job, tiles, device.multiprocessors, PRICES[tile], 4 if job.x.strides[2] == 1 else 1)
    if parts > 1:
        summed(job, parts, device, _packed)
    else:
        _packed(job, device)


def _packed(job: Job, device: Device) -> None:
    """Pack the weights and multiply."""
    problem = job.problem
    depth, filters = problem.depth, problem.group_filters
    pitch = -(-filters // 4) * 4
    packed = device.empty(problem.groups * depth * pitch, SINGLE)
    source = job.w.ordered((0, 3, 4, 5, 2, 1))
    copy(source, dense(packed, (*source.shape[:-1], pitch)), device)
    multiply(job, packed, pitch, device)


def multiply(job: Job, packed: Memory, pitch: int, device: Device) -> None:
    """The product with weights that are packed as (groups, taps, channels, pitch); the job's own are not read."""
    problem = job.problem
    depth, filters = problem.depth, problem.group_filters
    kernel, dilation = taps_of(job)
    rows = -(-depth // kernels.DEPTH) * kernels.DEPTH + kernels.DEPTH
    table = tap_table(kernel, dilation, job.x.strides[2:], problem.group_channels, 1, rows)
    vectors = _vectors(job)
    tile = _tile(job)
    grid = (-(-problem.batch * problem.pixels // kernels.PIXELS), -(-filters // (16 * tile)), problem.groups)
    device.launch(
        kernels.convolve(tile, vectors, _side_by_side(job)), grid, kernels.THREADS,
        job.x.memory, packed, job.bias_memory, job.out.memory, device.kept(table), np.uint32(depth), np.uint32(pitch),
        job.unsigned(),
    )  # fmt: skip
