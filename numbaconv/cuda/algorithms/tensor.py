"""Implicit GEMM on tensor cores. See :mod:`numbaconv.cuda.kernels.tensor`."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

from ..job import REACH_32, Device, Job, too_large
from ..kernels import tensor as kernels
from ..packing import aligned, copy, tap_table, taps_of
from ..parts import Prices, parts_of, summed
from ..views import View, dense

KINDS: Final = {"float16": "f16", "bfloat16": "bf16", "float32": "tf32"}
#: The first devices with the instructions for TF32, bfloat16 and asynchronous copies.
CAPABILITY = (8, 0)
#: Filters of a group from which its tiles are worth their products: with 16 channels of 3x3, direct summation took 0.7
#: times as long for 4 of them, and 1.3 times for 8, where the input had to be brought into order (H200). Few channels
#: are filled up with zeros: 64 filters of 3x3 and 3 channels took the direct kernel 20 times as long.
FEWEST_FILTERS = 5
#: For tiles of 128 filters in 16 bits; others cost in proportion.
PRICES = Prices(0.019, 0.0266, 1e6)
MOST_BLOCKS = 65535
CHUNK = 16


def unsupported(job: Job, device: Device) -> str | None:
    """Why not: it multiplies numbers of the result's dtype, one of three, with zeros around the input."""
    if device.capability < CAPABILITY:
        return "tensor cores need compute capability {}.{}, this device has {}.{}".format(
            *CAPABILITY, *device.capability
        )
    dtype = job.problem.dtype
    if dtype.name not in KINDS:
        return f"tensor cores multiply float16, bfloat16 and TF32, not {dtype}"
    for name, view in {"input": job.x, "weight": job.w}.items():
        if view.dtype != dtype:
            return f"the {name} is {view.dtype}, the result {dtype}"
    if job.bias is not None and job.bias.dtype.name not in KINDS:
        return f"the bias is {job.bias.dtype}"
    if job.problem.depth == 0:
        return "there is nothing to sum"
    if not job.zeros_outside:
        return f"tensor needs zeros around the input, this padding is {job.problem.padding_mode}"
    if job.problem.groups > MOST_BLOCKS:
        return f"tensor takes at most {MOST_BLOCKS} groups, this problem has {job.problem.groups}"
    padded = _channels(job) * job.problem.groups * job.problem.batch * math.prod(job.problem.input_size)
    why = too_large(job)
    if why is None and padded > REACH_32:
        why = f"its indices have 32 bits, and the input with whole chunks of channels has {padded} elements"
    return None if why is None else f"tensor: {why}"


def _channels(job: Job) -> int:
    """Channels of a group in whole chunks."""
    step = CHUNK // job.problem.dtype.itemsize
    return -(-job.problem.group_channels // step) * step


def imprecise(job: Job, precision: str) -> str | None:
    """Why the precision asked for rules it out."""
    if job.problem.dtype == np.float32 and precision != "fast":
        return f"TF32 rounds factors to 10 bits, which precision={precision!r} does not allow; 'fast' does"
    return None


def unsuited(job: Job, precision: str) -> str | None:
    """Why "auto" does not take it."""
    problem = job.problem
    if problem.group_filters < FEWEST_FILTERS:
        return f"its tiles would be mostly empty with {problem.group_filters} filters"
    return None


def _tile(job: Job) -> int:
    """Filters of a tile."""
    return 128 if job.problem.group_filters > 64 else 64


def _pairs(job: Job) -> bool:
    """Whether two neighbouring filters can be written at once."""
    out = job.out
    return out.strides[2] == 1 and out.shape[2] % 2 == 0 and aligned(out, 2)


def merits(job: Job) -> str:
    """What it is good for."""
    return f"tensor cores multiply {'TF32' if job.problem.dtype == np.float32 else job.problem.dtype}"


def _chunked(view: View, step: int) -> View:
    """A view with the channels side by side, (batch, groups, channels, ...), counted in chunks."""
    strides = [stride // step for stride in view.strides]
    strides[2] = 1
    shape = (*view.shape[:2], view.shape[2] // step, *view.shape[3:])
    return View(view.memory, view.start // step, shape, tuple(strides))


def _dense(view: View) -> bool:
    """Whether a view's elements follow one another in memory."""
    wanted = dense(view.memory, view.shape).strides
    return all(step == at for step, at, n in zip(view.strides, wanted, view.shape, strict=True) if n > 1)


def run(job: Job, device: Device) -> None:
    """Multiply, in parts where there are few tiles."""
    problem, filters = job.problem, _tile(job)
    tiles = -(-problem.batch * problem.pixels // kernels.TILE) * -(-problem.group_filters // filters)
    share = problem.dtype.itemsize / 2 * filters / kernels.TILE
    prices = PRICES._replace(one=share * PRICES.one, two=share * PRICES.two)
    parts = parts_of(job, tiles, device.multiprocessors, prices, CHUNK // problem.dtype.itemsize)
    if parts > 1:
        summed(job, parts, device, _packed)
    else:
        _packed(job, device)


def _packed(job: Job, device: Device) -> None:
    """Pack the weights, bring the input into order where it is not, and multiply."""
    problem, dtype = job.problem, job.problem.dtype
    step = CHUNK // dtype.itemsize
    x = job.x
    channels = _channels(job)
    if x.strides[2] != 1 or channels != problem.group_channels or not aligned(x, step):
        batch, groups, _, *size = x.shape
        order = (0, 3, 4, 5, 1, 2)  # channels last
        shape = (batch, groups, channels, *size)
        x = dense(device.empty(batch * groups * channels * int(np.prod(size)), dtype), shape, order)
        copy(job.x.ordered(order), x.ordered(order), device)
    source = job.w.ordered((0, 1, 3, 4, 5, 2))
    shape = (*source.shape[:-1], channels)
    if source.shape == shape and _dense(source) and aligned(source, step):
        packed = source
    else:
        packed = dense(device.empty(math.prod(shape), dtype), shape)
        copy(source, packed, device)
    x = _chunked(x, step)
    kernel, dilation = taps_of(job)
    chunks = problem.taps * channels // step
    rows = (-(-chunks // kernels.CHUNKS) + kernels.STAGES + 1) * kernels.CHUNKS
    table = tap_table(kernel, dilation, x.strides[2:], channels // step, 1, rows)
    filters = _tile(job)
    grid = (
        -(-problem.batch * problem.pixels // kernels.TILE), -(-problem.group_filters // filters), problem.groups,
    )  # fmt: skip
    device.launch(
        kernels.convolve(KINDS[dtype.name], filters, _pairs(job)), grid, kernels.THREADS,
        x.memory, packed.memory, job.bias_memory, job.out.memory, device.kept(table), np.uint32(chunks),
        np.uint32(packed.start // step),
        dataclasses.replace(job, x=x).unsigned(),
    )  # fmt: skip
