"""Direct summation, one thread for one output. See :mod:`numbaconv.cuda.kernels.direct`."""

from __future__ import annotations

import numpy as np

from ..job import Device, Job
from ..kernels import direct as kernels

THREADS = 256
#: Blocks beyond which threads take several outputs each.
MOST_BLOCKS = 2**20


def unsupported(job: Job, device: Device) -> str | None:
    """Nothing is."""
    return None


def merits(job: Job) -> str:
    """What it is good for."""
    return "it serves every dtype, layout and padding"


def run(job: Job, device: Device) -> None:
    """One launch."""
    blocks = min(-(-job.outputs // THREADS), MOST_BLOCKS)
    zero = job.sums.type(0)
    fill = np.asarray(job.fill).astype(job.sums)[()]
    device.launch(
        kernels.convolve, (blocks,), THREADS,
        job.x.memory, job.w.memory, job.bias_memory, job.out.memory, zero, fill, job.signed(),
    )  # fmt: skip
