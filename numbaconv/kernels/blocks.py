"""Sums over a sliding window of any number of dimensions, of real or complex numbers, by transforms of blocks.

What tiles (:mod:`.fft`) are to images, for the calls without Python that they do not serve: sequences, volumes, complex
numbers, and kernels longer than a tile. The output is cut into blocks; each is what does not wrap around in a circular
correlation of the input under it, of a power of two cells along each axis that the kernel has several taps along.
Blocks of real numbers are transformed in pairs, as the real and the imaginary part of one. Several blocks, which are
the *frames*, lie one behind the other, so that there are as many lines along each axis as vectors have lanes: these are
brought into a strip, transformed together by the tiles' butterflies, and brought back.
"""

from __future__ import annotations

import math
from typing import Final

from ..runtime import kernel
from .fft import LANES, SIZE
from .fft_simd import call_lines, copy_columns, round_run, transpose_square
from .image_simd import address, at_offset, call_convert

# The slots of ``geometry``; all are int64, and strides are counted in real elements.
NDIM: Final = 0
FRAMES: Final = 1  # blocks, or pairs of them, that are transformed together
CELLS: Final = 2  # of a block: the product of the lengths
BLOCKS: Final = 3
TASKS: Final = 4
COMPLEX: Final = 5  # 1 where a block's imaginary part is its own, and not the next block
COMPLEX_X: Final = 6
COMPLEX_TAPS: Final = 7
ROUNDED: Final = 8  # 1 where sums are rounded to integers
X_BYTES: Final = 9  # of a real element
OUT_BYTES: Final = 10
LINES: Final = 11  # the address of kernels.fft.fft_lines
SPECTRUM: Final = 12  # where the real parts of the kernel's spectrum begin in the weights; the imaginary ones follow
STRIP: Final = 13  # where the strip begins in a thread's scratch, behind the frames
SCRATCH: Final = 14  # elements of scratch of a thread
AXES: Final = 15

# The slots of an axis, from AXES + AXIS * axis on.
IN: Final = 0
TAPS: Final = 1
OUT: Final = 2
PAD: Final = 3
LENGTH: Final = 4  # cells of a block; where it is not transformed, there is one tap
STEP: Final = 5  # outputs of a block
COUNT: Final = 6  # of blocks
X_STRIDE: Final = 7
OUT_STRIDE: Final = 8
RADICES: Final = 9  # of the butterflies, as tiles have them; 0 where the axis is not transformed
FACTORS: Final = 10  # where their factors begin in the weights
AXIS: Final = 11


@kernel
def fill_factors(weights, geometry):
    """As :func:`numbaconv.algorithms.tiles.factors`, for each axis."""
    for axis in range(geometry[NDIM]):
        a = AXES + AXIS * axis
        place, block, radices = geometry[a + FACTORS], geometry[a + LENGTH], geometry[a + RADICES]
        while radices != 0:
            radix = radices & 15
            radices >>= 4
            for j in range(block // radix):
                for q in range(1, radix):
                    angle = -2 * math.pi * (j * q % block) / block
                    weights[place], weights[place + 1] = math.cos(angle), math.sin(angle)
                    place += 2
            block //= radix


@kernel
def transpose_lines(lines, strip, length, backwards):
    """Transpose LANES lines of ``length`` elements, one behind the other, into a strip or, ``backwards``, out of it."""
    for c in range(0, length, LANES):
        if backwards:
            transpose_square(strip + c * LANES * SIZE, LANES, lines + c * SIZE, length)
        else:
            transpose_square(lines + c * SIZE, length, strip + c * LANES * SIZE, LANES)


@kernel
def transform_frames(scratch, weights, geometry, backwards):
    """Transform all frames along every axis, in place; forward, the frequencies are in the order of the butterflies."""
    cells = geometry[FRAMES] * geometry[CELLS]
    re = address(scratch, 0)
    im = re + cells * SIZE
    strip = address(scratch, geometry[STRIP])
    inner = 1
    for axis in range(geometry[NDIM] - 1, -1, -1):
        a = AXES + AXIS * axis
        length, radices = geometry[a + LENGTH], geometry[a + RADICES]
        factors = address(weights, geometry[a + FACTORS])
        part = length * LANES * SIZE
        first, second = (strip + part, strip) if backwards else (strip, strip + part)
        # Lines that lie side by side in memory, or one behind the other.
        columns = max(inner, LANES)
        for start in range(0, cells if radices != 0 else 0, length * columns):
            for c in range(start, start + columns, LANES):
                if inner == 1:
                    transpose_lines(re + c * SIZE, strip, length, 0)
                    transpose_lines(im + c * SIZE, strip + part, length, 0)
                else:
                    copy_columns(re + c * SIZE, inner, strip, LANES, length)
                    copy_columns(im + c * SIZE, inner, strip + part, LANES, length)
                call_lines(geometry[LINES], first, second, LANES, length, radices, factors, backwards)
                if inner == 1:
                    transpose_lines(re + c * SIZE, strip, length, 1)
                    transpose_lines(im + c * SIZE, strip + part, length, 1)
                else:
                    copy_columns(strip, LANES, re + c * SIZE, inner, length)
                    copy_columns(strip + part, LANES, im + c * SIZE, inner, length)
        inner *= length


def blocks_spectrum(weights, scratches, fill, margins, terms, geometry, x, out, block, load, store, slot, slots):
    """Transform the kernel, mirrored and divided by the size of a transform, into weights[SPECTRUM:].

    weights holds the taps' real parts and, where they are complex, their imaginary parts. The arguments are those of
    :func:`numbaconv.kernels.image.image_tasks`; one thread does it.
    """
    fill_factors(weights, geometry)
    cells, frames = geometry[CELLS], geometry[FRAMES] * geometry[CELLS]
    for k in range(2 * frames):
        scratches[k] = 0.0
    taps, size = 1, 1
    for axis in range(geometry[NDIM]):
        a = AXES + AXIS * axis
        taps *= geometry[a + TAPS]
        if geometry[a + RADICES] != 0:
            size *= geometry[a + LENGTH]
    scale = 1.0 / size
    # Along axes that are not transformed every cell has the same tap.
    for cell in range(cells):
        rest, tap, step = cell, 0, 1
        for axis in range(geometry[NDIM] - 1, -1, -1):
            a = AXES + AXIS * axis
            length = geometry[a + LENGTH]
            if geometry[a + RADICES] != 0 and tap >= 0:
                k = (length - rest % length) % length
                tap = tap + k * step if k < geometry[a + TAPS] else -1
            step *= geometry[a + TAPS]
            rest //= length
        if tap >= 0:
            scratches[cell] = weights[tap] * scale
            if geometry[COMPLEX_TAPS] != 0:
                scratches[frames + cell] = weights[taps + tap] * scale
    transform_frames(scratches, weights, geometry, 0)
    for k in range(cells):
        weights[geometry[SPECTRUM] + k] = scratches[k]
        weights[geometry[SPECTRUM] + cells + k] = scratches[frames + k]


@kernel
def read_block(x, load, geometry, number, part, target):
    """Copy a part of the cells under block ``number`` to address ``target``, where there are zeros already."""
    last = AXES + AXIS * (geometry[NDIM] - 1)
    length, step = geometry[last + LENGTH], geometry[last + X_STRIDE]
    first = number % geometry[last + COUNT] * geometry[last + STEP] - geometry[last + PAD]
    low, high = max(0, -first), min(length, geometry[last + IN] - first)
    for row in range(geometry[CELLS] // length if low < high else 0):
        rest, others = row, number // geometry[last + COUNT]
        source, inside = part + (first + low) * step, True
        for axis in range(geometry[NDIM] - 2, -1, -1):
            a = AXES + AXIS * axis
            position = others % geometry[a + COUNT] * geometry[a + STEP] - geometry[a + PAD]
            position += rest % geometry[a + LENGTH]
            inside = inside and 0 <= position < geometry[a + IN]
            source += position * geometry[a + X_STRIDE]
            rest //= geometry[a + LENGTH]
            others //= geometry[a + COUNT]
        if inside:
            goal = target + (row * length + low) * SIZE
            call_convert(load, x + source * geometry[X_BYTES], goal, high - low, step, 1)


@kernel
def write_block(block, store, geometry, number, part, out):
    """Store the results of block ``number``, which lie at address ``block``, as a part of the output's cells."""
    last = AXES + AXIS * (geometry[NDIM] - 1)
    length, step = geometry[last + LENGTH], geometry[last + OUT_STRIDE]
    first = number % geometry[last + COUNT] * geometry[last + STEP]
    count = min(geometry[last + STEP], geometry[last + OUT] - first)
    for row in range(geometry[CELLS] // length):
        rest, others = row, number // geometry[last + COUNT]
        target, inside = part + first * step, True
        for axis in range(geometry[NDIM] - 2, -1, -1):
            a = AXES + AXIS * axis
            i = rest % geometry[a + LENGTH]
            position = others % geometry[a + COUNT] * geometry[a + STEP] + i
            inside = inside and i < geometry[a + STEP] and position < geometry[a + OUT]
            target += position * geometry[a + OUT_STRIDE]
            rest //= geometry[a + LENGTH]
            others //= geometry[a + COUNT]
        if inside:
            line = block + row * length * SIZE
            if geometry[ROUNDED] != 0:
                round_run(line, (count + LANES - 1) // LANES)  # lengths are whole vectors
            call_convert(store, line, out + target * geometry[OUT_BYTES], count, 1, step)


def blocks_tasks(weights, scratches, fill, margins, terms, geometry, x, out, block, load, store, slot, slots):
    """Compute the tasks of thread ``slot`` of ``slots``, FRAMES blocks or pairs of blocks each.

    x and out are the arrays' addresses, load and store those of an :func:`numbaconv.kernels.image.image_convert` each,
    between their parts' dtypes and float64.
    """
    scratch = at_offset(scratches, slot * geometry[SCRATCH])
    cells, frames = geometry[CELLS], geometry[FRAMES] * geometry[CELLS]
    spectrum = geometry[SPECTRUM]
    parts = 1 if geometry[COMPLEX] != 0 else 2  # blocks in a frame
    for task in range(geometry[TASKS] * slot // slots, geometry[TASKS] * (slot + 1) // slots):
        for k in range(2 * frames):
            scratch[k] = 0.0
        for f in range(geometry[FRAMES]):
            for part in range(2):
                number = (task * geometry[FRAMES] + f) * parts + (part if parts == 2 else 0)
                if number < geometry[BLOCKS] and (part == 0 or parts == 2 or geometry[COMPLEX_X] != 0):
                    which = part if parts == 1 else 0
                    read_block(x, load, geometry, number, which, address(scratch, part * frames + f * cells))
        transform_frames(scratch, weights, geometry, 0)
        for start in range(0, frames, cells):
            for k in range(cells):
                re, im = scratch[start + k], scratch[frames + start + k]
                re_k, im_k = weights[spectrum + k], weights[spectrum + cells + k]
                scratch[start + k] = re * re_k - im * im_k
                scratch[frames + start + k] = re * im_k + im * re_k
        transform_frames(scratch, weights, geometry, 1)
        for f in range(geometry[FRAMES]):
            for part in range(2):
                number = (task * geometry[FRAMES] + f) * parts + (part if parts == 2 else 0)
                if number < geometry[BLOCKS]:
                    which = part if parts == 1 else 0
                    write_block(address(scratch, part * frames + f * cells), store, geometry, number, which, out)
