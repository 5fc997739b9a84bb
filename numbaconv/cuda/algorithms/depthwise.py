"""Convolutions of single channels, and images. See :mod:`numbaconv.cuda.kernels.depthwise`."""

from __future__ import annotations

from .. import geometry as at
from ..job import CELLS_32, Device, Job, too_large
from ..kernels import depthwise as kernels
from ..packing import taps_of

FLOATS = ("float32", "float16", "bfloat16")
#: Filters of a channel beyond which each input cell would be read too often: with 32 of 3x3, gemm took 1.1 times as
#: long, with 16 it took 2.1 times (H200).
MOST_FILTERS = 32
#: Output rows from which a thread computes 8 of them, else 4, under kernels that are not small; a guess.
TALL = 64


def unsupported(job: Job, device: Device) -> str | None:
    """Why not: it takes groups of one channel, in floats of 32 or 16 bits, with zeros around."""
    problem = job.problem
    if problem.group_channels != 1:
        return f"depthwise takes groups of one channel, these have {problem.group_channels}"
    for name, view in {"input": job.x, "weight": job.w, "bias": job.bias, "output": job.out}.items():
        if view is not None and view.dtype.name not in FLOATS:
            return f"depthwise sums in float32, the {name} is {view.dtype}"
    if not job.zeros_outside:
        return "depthwise needs zeros around the input"
    if job.outputs > CELLS_32 or job.w.reach > CELLS_32:
        return "depthwise counts outputs in 32 bits"
    why = too_large(job)
    return None if why is None else f"depthwise: {why}"


def unsuited(job: Job, precision: str) -> str | None:
    """Why "auto" does not take it."""
    if job.problem.group_filters > MOST_FILTERS:
        return f"every cell would be read for each of {job.problem.group_filters} filters"
    return None


def _kernel(job: Job) -> tuple[tuple[int, int], int]:
    """A small kernel's height and width, and the stride along the height; (0, 0) for others."""
    problem = job.problem
    depth, height, width = job.w.shape[3:]
    small = max(height, width) <= kernels.SMALL and depth == 1 == job.out.shape[3] == job.x.shape[3]
    taken = taps_of(job)[1][1:] == (1, 1) and not any(problem.padding[0] if problem.ndim == 3 else ())
    stride = job.geometry()[at.STRIDE_H]
    return ((height, width), stride) if small and taken and stride <= 2 else ((0, 0), 1)


def _rows(job: Job) -> int:
    """Output rows of a thread: 8 where they waste no more than 4 would, or are many."""
    height = job.out.shape[4]
    whole = _kernel(job)[0] != (0, 0) and -(-height // 8) * 8 == -(-height // 4) * 4
    return 8 if whole or height >= TALL else 4


def merits(job: Job) -> str:
    """What it is good for."""
    return f"groups of one channel; a thread computes {_rows(job)} rows and reads each input row once"


def run(job: Job, device: Device) -> None:
    """One launch."""
    height = job.out.shape[4]
    rows = _rows(job)
    threads = job.outputs // height * -(-height // rows)
    device.launch(
        kernels.convolve(rows, *_kernel(job)), (-(-threads // kernels.THREADS),), kernels.THREADS,
        job.x.memory, job.w.memory, job.bias_memory, job.out.memory, job.unsigned(),
    )  # fmt: skip
