"""Winograd's F(4x4, 3x3) and F(2x2, 3x3) in float32. See :mod:`numbaconv.cuda.kernels.winograd`.

The products of all tiles with all kernels, element by element, are a pointwise convolution with a group for each
element: :mod:`.gemm` computes them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

from ...problem import ConvProblem
from .. import geometry as at
from ..job import REACH_32, Device, Job
from ..kernels import winograd as kernels
from ..packing import aligned
from ..views import View, dense
from . import gemm

#: Channels of a group from which F(4x4, 3x3) keeps the promise of 4 times plain float32's RMS error, as on the CPU.
WINOGRAD_CHANNELS: Final = 3
#: The transforms are worth their time where the products that gemm would take of a pixel, whole tiles of 64 filters,
#: are so many times what is transformed, channels and filters: at 32 it took 1.1 to 1.7 times as long, at 13 0.8
#: times.
WORTH: Final = 18
#: Tiles of all images from which the products' own tiles are filled: with 16 gemm took 0.6 times as long, with 196 0.94
#: times, with 128 (of 2x2) 0.8 to 1.8 times (H200).
FEWEST_TILES: Final = 128
#: Bytes of transformed tiles that are kept at a time: images beyond that come later.
WORKSPACE: Final = 2**28


def unsupported(job: Job, device: Device) -> str | None:
    """Why not: kernels other than 3x3 of stride and dilation 1, and what the products' GEMM refuses."""
    problem = job.problem
    if problem.kernel_size != (3, 3):
        return "winograd needs a 3x3 kernel, this one is {}".format("x".join(map(str, problem.kernel_size)))
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        return f"winograd needs stride and dilation 1, these are {problem.stride} and {problem.dilation}"
    why = gemm.unsupported(job, device)
    if why is not None:
        return why
    if 36 * job.problem.groups > gemm.MOST_BLOCKS:
        return f"winograd takes at most {gemm.MOST_BLOCKS // 36} groups, this problem has {job.problem.groups}"
    if max(_elements(dataclasses.replace(job.problem, batch=1)), 36 * job.w.size) > REACH_32:
        return "its indices have 32 bits, which the transformed tiles of one image exceed"
    return None


def imprecise(job: Job, precision: str) -> str | None:
    """Why the precision asked for rules it out."""
    if precision == "exact":
        return "precision='exact' does not allow winograd, whose transforms round more than summation does"
    return None


def unsuited(job: Job, precision: str) -> str | None:
    """Why "auto" does not take it."""
    channels, filters = job.problem.group_channels, job.problem.group_filters
    if channels < WINOGRAD_CHANNELS and precision != "fast":
        return f"too inaccurate for auto with fewer than {WINOGRAD_CHANNELS} channels in a group"
    if channels * -(-filters // 64) * 64 < WORTH * (channels + filters):
        return f"its transforms would cost more than they save with {channels} channels and {filters} filters"
    tiles = job.problem.batch * math.prod(_tiles(job.problem))
    if tiles < FEWEST_TILES:
        return f"its products would be mostly empty with {tiles} tiles"
    return None


def merits(job: Job) -> str:
    """What it is good for."""
    m = tile_of(job.problem)
    return f"F({m}x{m}, 3x3) takes {(3 * m) ** 2 / (m + 2) ** 2:g} times fewer products"


def tile_of(problem: ConvProblem) -> int:
    """Outputs of a tile's side: 4, or 2 where more than half of the larger tiles' outputs would lie outside."""
    height, width = problem.output_size
    return 4 if 2 * height * width >= 16 * -(-height // 4) * -(-width // 4) else 2


def _tiles(problem: ConvProblem) -> tuple[int, int]:
    m = tile_of(problem)
    height, width = problem.output_size
    return -(-height // m), -(-width // m)


def _elements(problem: ConvProblem) -> int:
    """Elements of the transformed tiles, in and out, whichever are more."""
    height, width = _tiles(problem)
    return (tile_of(problem) + 2) ** 2 * problem.batch * height * width * max(problem.channels, problem.filters)


def run(job: Job, device: Device) -> None:
    """Transform the weights, and some images after the other."""
    problem = job.problem
    m = tile_of(problem)
    elements = (m + 2) ** 2
    pitch = -(-problem.group_filters // 4) * 4
    weights = problem.groups * problem.group_channels * pitch
    step = problem.groups * problem.group_channels * pitch
    packed = device.empty(elements * step, gemm.SINGLE)
    transforms = kernels.transforms_of(m, _fours(job))
    device.launch(
        transforms.weight, (-(-weights // kernels.THREADS),), kernels.THREADS,
        job.w.memory, packed, np.uint32(pitch), np.uint32(step), job.unsigned(),
    )  # fmt: skip
    one = _elements(dataclasses.replace(problem, batch=1))
    images = max(1, min(WORKSPACE // 4, REACH_32) // one)
    height, width = _tiles(problem)
    for first in range(0, problem.batch, images):
        some = slice(first, min(first + images, problem.batch))
        part = dataclasses.replace(
            job, problem=dataclasses.replace(problem, batch=some.stop - some.start), x=job.x.cut(0, some),
            out=job.out.cut(0, some),
        )  # fmt: skip
        tiles = part.problem.batch * height * width
        shape = (elements * problem.groups, problem.group_channels, tiles)
        lanes = job.x.strides[2] == 1
        v = _matrices(device, shape, lanes)
        sizes = (np.uint32(height), np.uint32(width))
        device.launch(
            transforms.input, (-(-v.size // elements // kernels.THREADS),), kernels.THREADS,
            job.x.memory, v.memory, *sizes, np.uint32(lanes), np.uint32(v.size // elements), part.unsigned(),
        )  # fmt: skip
        geometry = part.geometry()
        filters = (shape[0], problem.group_filters, tiles)
        products = _matrices(device, filters, bool(geometry[at.FILTER_LANES]))
        pointwise = ConvProblem(
            1, shape[0] * shape[1], filters[0] * filters[1], shape[0], (tiles,), (1,), (1,), ((0, 0),), (1,), "zeros",
            problem.dtype,
        )  # fmt: skip
        given, result = (view.added(0).added(3).added(3) for view in (v, products))
        gemm.multiply(Job(pointwise, given, given, None, result), packed, pitch, device)
        device.launch(
            transforms.output, (-(-products.size // elements // kernels.THREADS),), kernels.THREADS,
            products.memory, job.out.memory, job.bias_memory, *sizes, np.uint32(products.size // elements),
            part.unsigned(),
        )  # fmt: skip


def _fours(job: Job) -> bool:
    """Whether a tile's rows are four outputs that can be written at once."""
    out = job.out
    whole = tile_of(job.problem) == 4 == out.strides[5] * 4 and out.shape[5] % 4 == 0
    return whole and aligned(out, 4, range(5))


def _matrices(device: Device, shape: tuple[int, int, int], lanes: bool) -> View:
    """Memory for (elements and groups, rows, tiles), with the rows side by side where ``lanes``."""
    memory = device.empty(int(np.prod(shape)), gemm.SINGLE)
    return dense(memory, shape, (0, 2, 1) if lanes else (0, 1, 2))
