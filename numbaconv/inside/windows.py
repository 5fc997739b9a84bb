"""Sliding windows without Python: what :mod:`numbaconv.filtering` and :mod:`numbaconv.algorithms.image` do.

The same layout of memory and the same kernels, so the same bits.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..algorithms import image, tiles
from ..algorithms.windows import EXTENSIONS
from ..filtering import SERIAL_PRODUCTS
from ..kernels import image_geometry as at
from ..kernels.blocking import LINE, VECTOR_BYTES
from ..runtime import host
from . import slots
from .convolution import thread_count
from .linking import call_kernel, load, pointer, store, vector_at
from .memory import copy_cells, copy_numbers, count_of, dense_strides, fits, fresh
from .parts import negate

FILL, NEAREST, SYMMETRIC, MIRROR, WRAP = range(5)
assert EXTENSIONS == ("fill", "nearest", "symmetric", "mirror", "wrap")  # noqa: S101

MOST = slots.MOST_DIMENSIONS

# A window problem: sizes for each dimension, arrays, numbers.
NDIM = 0
IN = 1
KERNEL = IN + MOST
OUT = KERNEL + MOST
PAD = OUT + MOST
EXTENSION = PAD + MOST
X = EXTENSION + MOST  # address, and strides in bytes
Y = X + 1 + MOST
TAPS = Y + 1 + MOST  # address of the taps in the dtype of the sums: the real parts, then the imaginary ones
FLIPPED = TAPS + 1  # 1 where the last tap comes first
COMPLEX_X, COMPLEX_TAPS, COMPLEX_Y = FLIPPED + 1, FLIPPED + 2, FLIPPED + 3
SUMS_BYTES, SUMS_FLOAT = FLIPPED + 4, FLIPPED + 5
X_BYTES, X_FLOAT = FLIPPED + 6, FLIPPED + 7  # of a part
Y_BYTES, Y_FLOAT = FLIPPED + 8, FLIPPED + 9
FUSED = FLIPPED + 10  # 0 where products are rounded before they are added
FUNCTIONS = FLIPPED + 11  # the address of the table of the four functions that the kernels call
WIDE = FLIPPED + 12  # the same for sums in float64, or 0
EXACT = FLIPPED + 13  # address of the taps in float64 where outer products may serve, or 0
EPSILON = FLIPPED + 14  # bits of the epsilon of the taps' dtype
FILL_REAL, FILL_IMAG = FLIPPED + 15, FLIPPED + 16  # bits of two numbers: of floats in float64, else integers
METHOD = FLIPPED + 17  # an index of filters.METHOD_NAMES
STRICT = FLIPPED + 18  # 1 where transforms of float64 must spoil nothing that direct summation keeps
TILES = FLIPPED + 19  # the address of the table of what transforms tiles, or 0
BLOCKS = FLIPPED + 20  # the address of the table of what transforms blocks, or 0
TILED = FLIPPED + 21  # 1 where tiles are transformed: sums are in float64, and
LEAST = FLIPPED + 22  # these are the bits of the two floats that filtering.slide takes as ``least``
WINDOW = FLIPPED + 24

#: The functions in their table, and the kernels behind them.
TASKS_FUNCTION, BLOCK_FUNCTION, LOAD_FUNCTION, STORE_FUNCTION, RUN_SERIAL, RUN_PARALLEL = range(6)
FUNCTIONS_LENGTH = 6

#: What transforms tiles, in its table, and for each of tiles.LENGTHS its radices and the address of its factors.
SPECTRUM_FUNCTION, TILES_FUNCTION, LINES_FUNCTION, TILE_LENGTHS = range(4)
TILES_LENGTH = TILE_LENGTHS + 2 * len(tiles.LENGTHS)
#: What transforms blocks has the same three functions.
BLOCKS_LENGTH = TILE_LENGTHS

slide_once = pointer("numbaconv_slide")


@register_jitable
def source(extension, size, position):
    """As :func:`numbaconv.algorithms.windows.sources`."""
    if extension == FILL:
        return position if 0 <= position < size else -1
    if extension == NEAREST:
        return min(max(position, 0), size - 1)
    if extension == WRAP:
        return position % size
    if extension == MIRROR:
        period = max(1, 2 * size - 2)
        position = position % period
        return position if position < size else period - position
    position = position % (2 * size)
    return position if position < size else 2 * size - 1 - position


@register_jitable
def order_of_axes(v, n, strides, in_order):
    """As :func:`numbaconv.algorithms.image.order_of_axes`."""
    columns = -1
    for axis in range(n):
        if abs(strides[axis]) == 1 and v[OUT + axis] >= VECTOR_BYTES // 2:
            columns = axis
    if columns < 0:
        columns = 0
        for axis in range(n):
            if v[OUT + axis] >= v[OUT + columns]:
                columns = axis
    rows = -1
    for axis in range(n):
        if axis == columns:
            continue
        if (
            rows < 0
            or v[KERNEL + axis] > v[KERNEL + rows]
            or (v[KERNEL + axis] == v[KERNEL + rows] and v[OUT + axis] >= v[OUT + rows])
        ):
            rows = axis
    order = np.empty(n, np.int64)
    count = 0
    for axis in range(n):
        if axis != columns and axis != rows:
            order[count] = axis
            count += 1
    order[n - 2], order[n - 1] = rows, columns
    if not in_order:
        return order
    last, sorted_ = -1, True
    for i in range(n):
        if v[KERNEL + order[i]] > 1:
            sorted_ = sorted_ and order[i] > last
            last = order[i]
    if not sorted_:
        count = 0
        for axis in range(n):
            if v[KERNEL + axis] == 1:
                order[count] = axis
                count += 1
        for axis in range(n):
            if v[KERNEL + axis] > 1:
                order[count] = axis
                count += 1
    return order


@register_jitable
def product(v, slot, first, last):
    """The product of some sizes."""
    result = 1
    for axis in range(first, last):
        result *= v[slot + axis]
    return result


@register_jitable
def bring_forward(v):
    """A sequence becomes an image of one row."""
    for slot in (IN, KERNEL, OUT):
        v[slot + 1] = v[slot]
        v[slot] = 1
    for slot in (PAD, X + 1, Y + 1):
        v[slot + 1] = v[slot]
        v[slot] = 0
    v[EXTENSION + 1] = v[EXTENSION]
    v[EXTENSION] = FILL
    v[NDIM] = 2


@register_jitable
def take_input(v):
    """Let the problem read a copy of its input, the value, where the kernels cannot take that as it is."""
    n, width = v[NDIM], v[X_BYTES] * (1 + v[COMPLEX_X])
    strides = v[X + 1 : X + 1 + n]
    if fits(v[X], strides, v[X_BYTES]):
        return np.empty(0, np.uint8)
    shape = v[IN : IN + n]
    copy, dense = fresh(count_of(shape) * width), dense_strides(shape, width)
    copy_cells(width, shape, v[X], strides, copy.ctypes.data, dense)
    v[X] = copy.ctypes.data
    copy_numbers(dense, v, X + 1)
    return copy


@register_jitable
def take_output(v):
    """(address, strides in bytes, memory) of what the kernels can write: the output, or new memory in its place."""
    n = v[NDIM]
    strides = v[Y + 1 : Y + 1 + n]
    if fits(v[Y], strides, v[Y_BYTES]):
        return v[Y], strides, np.empty(0, np.uint8)
    shape, width = v[OUT : OUT + n], v[Y_BYTES] * (1 + v[COMPLEX_Y])
    copy = fresh(count_of(shape) * width)
    return np.int64(copy.ctypes.data), dense_strides(shape, width), copy


@register_jitable
def give_output(v, copy):
    """Copy what was written to new memory to the output."""
    if copy.size != 0:
        n, width = v[NDIM], v[Y_BYTES] * (1 + v[COMPLEX_Y])
        shape = v[OUT : OUT + n]
        copy_cells(width, shape, copy.ctypes.data, dense_strides(shape, width), v[Y], v[Y + 1 : Y + 1 + n])


@register_jitable
def slide(v, rank, columns, rows):
    """As :func:`numbaconv.filtering.slide`: compute a window problem; rank 1 has the factors of the taps."""
    if v[NDIM] == 1:
        bring_forward(v)
    n = v[NDIM]
    width, x_width, y_width = v[SUMS_BYTES], v[X_BYTES], v[Y_BYTES]
    y_shape, kernel = v[OUT : OUT + n], v[KERNEL : KERNEL + n]
    x_copy = take_input(v)
    x, x_bytes = v[X], v[X + 1 : X + 1 + n]
    y, y_bytes, y_copy = take_output(v)
    y_strides = y_bytes // y_width
    order = order_of_axes(v, n, y_strides, v[FUSED] == 0)
    taps = count_of(kernel)
    complex_x, complex_taps = v[COMPLEX_X] != 0, v[COMPLEX_TAPS] != 0
    terms, filters, each = np.zeros(12, np.int64), 1, 1
    if complex_x and complex_taps:  # planes of weights: real, imaginary, -imaginary
        filters, each = 2, 2
        terms[3], terms[4], terms[5] = 1, 2 * taps, 1
        terms[7] = taps
        terms[9], terms[11] = 1, 1
    elif complex_x:
        filters = 2
        terms[3], terms[5] = 1, 1
    elif complex_taps:
        filters = 2
        terms[4] = taps
    outer = n - 2
    geometry = np.zeros(at.OUTER + at.OUTER_LENGTH * outer, np.int64)
    row, column = order[n - 2], order[n - 1]
    for i in range(2):
        axis = order[outer + i]
        geometry[at.IN_H + i] = v[IN + axis]
        geometry[at.KERNEL_H + i] = v[KERNEL + axis]
        geometry[at.OUT_H + i] = v[OUT + axis]
        geometry[at.PAD_H + i] = v[PAD + axis]
        geometry[at.X_H + i] = x_bytes[axis] // x_width
        geometry[at.OUT_STRIDE_H + i] = y_strides[axis]
    geometry[at.PLANES] = geometry[at.OUTER_TAPS] = 1
    geometry[at.OUTER_COUNT] = outer
    geometry[at.FILTERS], geometry[at.TERMS] = filters, each
    same = x_width == width and v[X_FLOAT] == v[SUMS_FLOAT]
    stored = y_width == width and v[Y_FLOAT] == v[SUMS_FLOAT]
    geometry[at.READ_INPUT] = int(same and geometry[at.X_W] == 1)
    geometry[at.WRITE_OUT] = int(stored and geometry[at.OUT_STRIDE_W] == 1)
    geometry[at.RANK] = rank
    geometry[at.FACTORS] = v[KERNEL + row] * v[KERNEL + column]
    lengths = 1
    for axis in range(n):
        lengths += max(0, v[PAD + axis]) + after(v, axis)
    margins = np.zeros(lengths, np.int64)
    length = 0
    for i in range(n):
        axis = order[i]
        if i < outer:
            slot = at.OUTER + at.OUTER_LENGTH * i
            geometry[slot + at.SIZE] = v[OUT + axis]
            geometry[slot + at.TAPS] = v[KERNEL + axis]
            geometry[slot + at.IN_SIZE] = v[IN + axis]
            geometry[slot + at.PAD] = v[PAD + axis]
            geometry[slot + at.X_STRIDE] = x_bytes[axis] // x_width
            geometry[slot + at.OUT_STRIDE] = y_strides[axis]
            geometry[slot + at.MARGIN] = length
            geometry[at.PLANES] *= v[OUT + axis]
            geometry[at.OUTER_TAPS] *= v[KERNEL + axis]
        else:
            geometry[at.MARGIN_H + i - outer] = length
        for position in range(-v[PAD + axis], 0):
            margins[length] = source(v[EXTENSION + axis], v[IN + axis], position)
            length += 1
        for position in range(v[IN + axis], v[IN + axis] + after(v, axis)):
            margins[length] = source(v[EXTENSION + axis], v[IN + axis], position)
            length += 1
    geometry[at.X_BYTES], geometry[at.OUT_BYTES] = x_width, y_width
    image.block(geometry, width)
    spectrum = cut_into_tiles(v, geometry) if v[TILED] != 0 else 0
    products = count_of(y_shape) * taps * filters * each
    threads = thread_count() if products >= SERIAL_PRODUCTS and geometry[at.TASKS] > 1 else 1
    planes = 3 if complex_x and complex_taps else 2 if complex_taps else 1
    factors = rank * (v[KERNEL + row] + v[KERNEL + column])
    weights = -(-(planes * taps + factors) // LINE) * LINE + spectrum
    buffer = fresh((weights + LINE + threads * geometry[at.SCRATCH]) * width)
    first = buffer.ctypes.data
    copy_taps(v, n, order, first)
    if planes == 3:
        for i in range(taps * width):
            store(first + 2 * taps * width + i, load(first + taps * width + i, np.uint8(0)))
        negate(width, first + 2 * taps * width, taps, width)
    place = first + planes * taps * width
    if rank:
        for factor in (columns, rows):
            for i in range(len(factor)):
                put(v, place, factor[i])
                place += width
    fills = first + weights * width
    if v[SUMS_FLOAT] != 0:
        put(v, fills, load(v[FILL_REAL:].ctypes.data, np.float64(0)))
        put(v, fills + width, load(v[FILL_IMAG:].ctypes.data, np.float64(0)))
    else:
        put_integer(v, fills, v[FILL_REAL])
        put_integer(v, fills + width, 0)
    functions = vector_at(v[FUNCTIONS], FUNCTIONS_LENGTH)
    addresses = np.empty(12, np.int64)
    addresses[0], addresses[1] = functions[TASKS_FUNCTION], first
    addresses[2], addresses[3] = fills + LINE * width, fills
    addresses[4], addresses[5], addresses[6] = margins.ctypes.data, terms.ctypes.data, geometry.ctypes.data
    addresses[7], addresses[8], addresses[9] = x, y, functions[BLOCK_FUNCTION]
    addresses[10], addresses[11] = functions[LOAD_FUNCTION], functions[STORE_FUNCTION]
    if spectrum != 0:
        for i in range(2):
            put(v, fills + (2 + i) * width, load(v[LEAST + i :].ctypes.data, np.float64(0)))
        transforms = vector_at(v[TILES], TILES_LENGTH)
        addresses[0] = transforms[SPECTRUM_FUNCTION]
        call_kernel(functions[RUN_SERIAL], (0, 1, addresses))
        addresses[0] = transforms[TILES_FUNCTION]
    if threads == 1:
        call_kernel(functions[RUN_SERIAL], (0, 1, addresses))
    else:
        call_kernel(functions[RUN_PARALLEL], (threads, addresses))
    give_output(v, y_copy)
    # All that was passed on by its address lives until here.
    return x_copy.size + y_copy.size + buffer.size + margins.size + terms.size + geometry.size


@register_jitable
def cut_into_tiles(v, geometry):
    """As :func:`numbaconv.algorithms.tiles.lay_out`; the elements of the kernel's spectrum."""
    transforms = vector_at(v[TILES], TILES_LENGTH)
    _, height, width = tiles.best(geometry[at.OUT_H], geometry[at.OUT_W], geometry[at.KERNEL_H], geometry[at.KERNEL_W])
    for i in range(len(tiles.LENGTHS)):
        radices, factors = transforms[TILE_LENGTHS + 2 * i], transforms[TILE_LENGTHS + 2 * i + 1]
        if tiles.LENGTHS[i] == height:
            geometry[at.FFT_H], geometry[at.RADICES_H], geometry[at.FACTORS_H] = height, radices, factors
        if tiles.LENGTHS[i] == width:
            geometry[at.FFT_W], geometry[at.RADICES_W], geometry[at.FACTORS_W] = width, radices, factors
    geometry[at.LINES] = transforms[LINES_FUNCTION]
    geometry[at.ROUNDED] = int(v[Y_FLOAT] == 0)
    tiles.block(geometry)
    return tiles.spectrum_elements(geometry)


@register_jitable
def after(v, axis):
    """As :meth:`numbaconv.algorithms.windows.Window.after`."""
    return max(0, v[OUT + axis] + v[KERNEL + axis] - 1 - v[PAD + axis] - v[IN + axis])


@register_jitable
def copy_taps(v, n, order, first):
    """The planes of taps, their dimensions in the kernels' order."""
    width = v[SUMS_BYTES]
    kernel = v[KERNEL : KERNEL + n]
    taps = count_of(kernel)
    strides = dense_strides(kernel, width)
    shape, steps = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        shape[i] = kernel[order[i]]
        steps[i] = -strides[order[i]] if v[FLIPPED] != 0 else strides[order[i]]
    start = v[TAPS] + ((taps - 1) * width if v[FLIPPED] != 0 else 0)
    dense = dense_strides(shape, width)
    for plane in range(1 + v[COMPLEX_TAPS]):
        copy_cells(width, shape, start + plane * taps * width, steps, first + plane * taps * width, dense)


@register_jitable
def put(v, place, value):
    """Write a float in the dtype of the sums."""
    if v[SUMS_BYTES] == 4:
        store(place, np.float32(value))
    else:
        store(place, np.float64(value))


@register_jitable
def put_integer(v, place, value):
    """Write an integer in the dtype of the sums."""
    if v[SUMS_BYTES] == 2:
        store(place, np.int16(value))
    elif v[SUMS_BYTES] == 4:
        store(place, np.int32(value))
    else:
        store(place, np.int64(value))


@host
def slide_direct(place):
    """:func:`slide` of all taps, compiled once."""
    nothing = np.empty(0, np.float64)
    slide(vector_at(place, WINDOW), 0, nothing, nothing)
