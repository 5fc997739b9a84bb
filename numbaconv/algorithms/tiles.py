"""Transforms of tiles: their sizes, what they cost, and the numbers that :mod:`numbaconv.kernels.fft` takes."""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np

from ..forks import load_module
from ..kernels import image_geometry as at
from ..kernels.blocking import LINE, SUMMED, VECTOR_BYTES
from .sharing import ceil_div
from .windows import Window

Array = np.ndarray[Any, np.dtype[Any]]

#: Lengths of the transforms along an axis: products of 3, 4, 5 and 8 that whole vectors of any width divide.
LENGTHS: Final = (
    24, 32, 40, 48, 64, 72, 80, 96, 120, 128, 144, 160, 192, 200, 240, 256, 288, 320, 360, 384, 400, 480, 512, 576, 640,
    720, 768, 800, 960, 1024,
)  # fmt: skip
RADICES: Final = (8, 5, 4, 3)
#: Nanoseconds of one core for each element of a tile, times the fourth root of their number. Measured, with all that is
#: done to it: 1.35 for 64x64, 1.65 for 128x128, 2.4 for 256x256, 3.5 for 512x512 (2-core AMD EPYC, Zen 5).
ELEMENT_NS: Final = 0.165
#: The same of a whole tile, by the places of its height and its width in LENGTHS.
TILE_NS: Final = ELEMENT_NS * np.multiply.outer(LENGTHS, LENGTHS) ** 1.25
#: Nanoseconds that a call costs beside its tiles.
CALL_NS: Final = 10_000


@functools.cache
def radices(length: int) -> tuple[int, ...]:
    """The butterflies of a transform, the fewest that there are, largest last."""
    if length == 1:
        return ()
    ways = [
        (*radices(length // radix), radix) for radix in RADICES if length % radix == 0 and _divides(length // radix)
    ]
    return min(ways, key=len)


@functools.cache
def _divides(length: int) -> bool:
    return length == 1 or any(length % radix == 0 and _divides(length // radix) for radix in RADICES)


@functools.cache
def factors(length: int) -> Array:
    """exp(-2 pi i j q / M) for each butterfly of a radix r in a block of M, for j < M / r and 0 < q < r, as reals."""
    parts, block = [], length
    for radix in radices(length):
        turns = np.outer(np.arange(block // radix), np.arange(1, radix)) % block / block
        parts.append(np.exp(-2j * np.pi * turns).ravel())
        block //= radix
    table: Array = np.concatenate(parts).view(np.float64)
    table.flags.writeable = False
    return table


def coded(length: int) -> int:
    """The butterflies of a transform, four bits each, the first one's lowest."""
    return sum(radix << 4 * place for place, radix in enumerate(radices(length)))


def best(out_h: int, out_w: int, taps_h: int, taps_w: int) -> tuple[float, int, int]:
    """(nanoseconds of one core, height, width) of the best tiles for an image; (inf, 0, 0) for none."""
    least, high, wide = math.inf, 0, 0
    for i in range(len(LENGTHS)):
        step_h = LENGTHS[i] - taps_h + 1
        down = ceil_div(out_h, step_h) if step_h > 0 else 0
        for j in range(len(LENGTHS)):
            step_w = LENGTHS[j] - taps_w + 1
            if down == 0 or step_w < 1:
                continue
            pairs = ceil_div(down * ceil_div(out_w, step_w), 2)
            expected = float((2 * pairs + 1) * TILE_NS[i, j])
            if expected < least:
                least, high, wide = expected, LENGTHS[i], LENGTHS[j]
    return least, high, wide


@functools.lru_cache(4096)
def sizes(outputs: tuple[int, ...], taps: tuple[int, ...]) -> tuple[float, int, int]:
    """:func:`best`, remembered."""
    return best(outputs[0], outputs[1], taps[0], taps[1])


def serves(window: Window, parts: int) -> bool:
    """Whether tiles can be transformed for a problem: an image, a kernel of several rows and columns, both real."""
    return len(window.kernel_shape) == 2 and min(window.kernel_shape) > 1 and parts == 1


def cost(window: Window) -> float:
    """Nanoseconds of one core."""
    return CALL_NS + sizes(window.output_shape, window.kernel_shape)[0]


def elements(window: Window) -> int:
    """Those of a tile."""
    _, height, width = sizes(window.output_shape, window.kernel_shape)
    return height * width


def lay_out(geometry: Array, lines: int, rounded: bool) -> None:
    """Cut a problem that :func:`numbaconv.algorithms.image.lay_out` laid out into tiles instead."""
    out, taps = geometry[at.OUT_H : at.OUT_W + 1].tolist(), geometry[at.KERNEL_H : at.KERNEL_W + 1].tolist()
    _, height, width = sizes(tuple(out), tuple(taps))
    geometry[at.FFT_H], geometry[at.FFT_W] = height, width
    geometry[at.RADICES_H], geometry[at.RADICES_W] = coded(height), coded(width)
    geometry[at.FACTORS_H], geometry[at.FACTORS_W] = (factors(n).ctypes.data for n in (height, width))
    geometry[at.LINES] = lines
    geometry[at.ROUNDED] = rounded
    block(geometry)


def block(geometry: Array) -> None:
    """Cut the problem into tasks, and lay out the scratch, for tiles of FFT_H x FFT_W cells."""
    lanes = VECTOR_BYTES // 8
    kernel_h, kernel_w = int(geometry[at.KERNEL_H]), int(geometry[at.KERNEL_W])
    out_h, out_w = int(geometry[at.OUT_H]), int(geometry[at.OUT_W])
    height, width = int(geometry[at.FFT_H]), int(geometry[at.FFT_W])
    geometry[at.BAND], geometry[at.BLOCK] = height - kernel_h + 1, width - kernel_w + 1
    tiles = ceil_div(out_h, int(geometry[at.BAND])) * ceil_div(out_w, int(geometry[at.BLOCK]))
    geometry[at.TASKS] = ceil_div(int(geometry[at.PLANES]) * tiles, 2)
    # Rows are an odd number of cache lines apart: a power of two would put a column into a few sets.
    line = 64 // 8
    pitch = ceil_div(width, line) * line
    pitch += line * (1 - pitch // line % 2)
    geometry[at.PITCH] = pitch
    geometry[at.TILE] = height * pitch
    geometry[at.STRIP_START] = 2 * geometry[at.TILE]
    geometry[at.SUMMED_START] = geometry[at.STRIP_START] + 2 * max(height, width) * lanes
    rows, columns = SUMMED
    geometry[at.SUMS_START] = (rows + kernel_h - 1) * pitch
    geometry[at.SUMS_PITCH] = columns + LINE
    geometry[at.SCRATCH] = geometry[at.SUMMED_START] + geometry[at.SUMS_START] + rows * geometry[at.SUMS_PITCH] + LINE
    geometry[at.SPECTRUM] = ceil_div(kernel_h * kernel_w, LINE) * LINE


def spectrum_elements(geometry: Array) -> int:
    """Elements of the kernel's spectrum."""
    return 2 * int(geometry[at.FFT_H]) * int(geometry[at.FFT_W])


def kernels() -> tuple[Any, Any, Any]:
    """The functions (spectrum, tasks, lines), called by their addresses."""
    fft = load_module(".kernels.fft")
    return fft.fft_spectrum, fft.fft_tasks, fft.fft_lines
