"""Transforms of blocks without Python: :mod:`numbaconv.kernels.blocks` cut to a problem of :mod:`.windows`.

Outside, :mod:`scipy.fft` does what is asked of method "fft"; this does not give its last bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ..algorithms.sharing import ceil_div
from ..kernels import blocks as at
from ..kernels.blocking import LINE, VECTOR_BYTES
from . import windows
from .convolution import thread_count
from .linking import call_kernel, vector_at
from .memory import fresh

LANES = VECTOR_BYTES // 8
#: Cells of a line that is not transformed, at most.
UNTRANSFORMED = 64
#: Complex cells that are transformed together, where they are no more than a block: 256 KiB of float64.
FRAME_CELLS = 1 << 14
#: Cells of all frames below which one thread does it: some 50 us of work.
SERIAL_CELLS = 1 << 13


@register_jitable
def best_length(size, taps, together):
    """The power of two for blocks of the least work, where as many as ``together`` cost what one of them costs."""
    least, best, length = math.inf, 0, 8
    while True:
        step = length - taps + 1
        if step > 0:
            pieces = ceil_div(ceil_div(size, step), together) * together
            cost = float(pieces) * length * math.log2(length)
            if cost < least:
                least, best = cost, length
            if step >= size:
                return best
        length *= 2


@register_jitable
def radices_of(length):
    """The butterflies of a power of two, 8 at least: as few as there are, four bits each, the first one's lowest."""
    power = int(math.log2(length))
    fours = (3 - power % 3) % 3
    eights = (power - 2 * fours) // 3
    coded = 0
    for place in range(fours + eights):
        coded |= (4 if place < fours else 8) << (4 * place)
    return coded


@register_jitable
def lay_out(v, x_strides, y_strides):
    """(the geometry of :mod:`numbaconv.kernels.blocks`, the elements of its weights)."""
    n = v[windows.NDIM]
    geometry = np.zeros(at.AXES + at.AXIS * n, np.int64)
    both = v[windows.COMPLEX_X] != 0 or v[windows.COMPLEX_TAPS] != 0
    parts = 1 if both else 2
    cells, blocks, longest, before, taps = 1, 1, LANES, 1, 1
    for axis in range(n):
        a = at.AXES + at.AXIS * axis
        size, kernel = v[windows.OUT + axis], v[windows.KERNEL + axis]
        if kernel > 1:
            length = best_length(size, kernel, LANES * parts if n == 1 else 1)
            geometry[a + at.RADICES] = radices_of(length)
        elif axis < n - 1:
            length = 1
        else:
            length = min(UNTRANSFORMED, ceil_div(size, LANES) * LANES)
        step = length - kernel + 1
        geometry[a + at.IN], geometry[a + at.TAPS], geometry[a + at.OUT] = v[windows.IN + axis], kernel, size
        geometry[a + at.PAD], geometry[a + at.LENGTH], geometry[a + at.STEP] = v[windows.PAD + axis], length, step
        geometry[a + at.COUNT] = ceil_div(size, step)
        geometry[a + at.X_STRIDE] = x_strides[axis] // v[windows.X_BYTES]
        geometry[a + at.OUT_STRIDE] = y_strides[axis] // v[windows.Y_BYTES]
        before = cells
        cells *= length
        blocks *= geometry[a + at.COUNT]
        longest = max(longest, length)
        taps *= kernel
    frames = min(max(1, FRAME_CELLS // cells), ceil_div(blocks, parts))
    if kernel > 1 and before % LANES != 0:  # as many lines along the last axis as there are lanes
        frames = ceil_div(frames, LANES) * LANES
    geometry[at.NDIM], geometry[at.FRAMES], geometry[at.CELLS], geometry[at.BLOCKS] = n, frames, cells, blocks
    geometry[at.TASKS] = ceil_div(ceil_div(blocks, parts), frames)
    geometry[at.COMPLEX] = int(both)
    geometry[at.COMPLEX_X], geometry[at.COMPLEX_TAPS] = v[windows.COMPLEX_X], v[windows.COMPLEX_TAPS]
    geometry[at.ROUNDED] = int(v[windows.Y_FLOAT] == 0)
    geometry[at.X_BYTES], geometry[at.OUT_BYTES] = v[windows.X_BYTES], v[windows.Y_BYTES]
    geometry[at.STRIP] = 2 * frames * cells
    geometry[at.SCRATCH] = geometry[at.STRIP] + 2 * longest * LANES + LINE
    geometry[at.SPECTRUM] = ceil_div((1 + v[windows.COMPLEX_TAPS]) * taps, LINE) * LINE
    end = geometry[at.SPECTRUM] + 2 * cells
    for axis in range(n):
        a = at.AXES + at.AXIS * axis
        geometry[a + at.FACTORS] = end
        end += 2 * geometry[a + at.LENGTH]
    return geometry, ceil_div(end, LINE) * LINE


@register_jitable
def transform(v):
    """Compute a window problem around which there are zeros; sums are in float64."""
    n = v[windows.NDIM]
    x_copy = windows.take_input(v)
    y, y_bytes, y_copy = windows.take_output(v)
    geometry, weights = lay_out(v, v[windows.X + 1 : windows.X + 1 + n], y_bytes)
    functions = vector_at(v[windows.FUNCTIONS], windows.FUNCTIONS_LENGTH)
    transforms = vector_at(v[windows.BLOCKS], windows.BLOCKS_LENGTH)
    geometry[at.LINES] = transforms[windows.LINES_FUNCTION]
    work = geometry[at.TASKS] * geometry[at.FRAMES] * geometry[at.CELLS]
    threads = thread_count() if geometry[at.TASKS] > 1 and work >= SERIAL_CELLS else 1
    buffer = fresh((weights + threads * geometry[at.SCRATCH]) * 8)
    first = buffer.ctypes.data
    windows.copy_taps(v, n, np.arange(n), first)
    nothing = np.zeros(1, np.int64)
    addresses = np.empty(12, np.int64)
    addresses[0], addresses[1], addresses[2] = transforms[windows.SPECTRUM_FUNCTION], first, first + weights * 8
    addresses[3] = addresses[4] = addresses[5] = nothing.ctypes.data  # zeros lie around the input
    addresses[6], addresses[7], addresses[8] = geometry.ctypes.data, v[windows.X], y
    addresses[9], addresses[10] = functions[windows.BLOCK_FUNCTION], functions[windows.LOAD_FUNCTION]
    addresses[11] = functions[windows.STORE_FUNCTION]
    call_kernel(functions[windows.RUN_SERIAL], (0, 1, addresses))
    addresses[0] = transforms[windows.TILES_FUNCTION]
    if threads == 1:
        call_kernel(functions[windows.RUN_SERIAL], (0, 1, addresses))
    else:
        call_kernel(functions[windows.RUN_PARALLEL], (threads, addresses))
    windows.give_output(v, y_copy)
    return x_copy.size + buffer.size + geometry.size + nothing.size  # they live until here
