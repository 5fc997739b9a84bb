"""Which way a sliding window is computed, without Python: what :mod:`numbaconv.choosing` does, by the same cost models.

Of its ways, direct summation, one outer product and transforms of tiles are here; sums of several outer products are
not. What is asked of ``scipy.fft`` there, tiles do here and, where they do not serve, :mod:`.blocks`.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from ..algorithms import fft, tiles
from ..algorithms.separable import TOLERANCE
from ..choosing import PASS_PRODUCTS, PRODUCT_NS, PROVEN, RANGE, ROW_FACTOR, SEARCH_NS
from ..kernels.image_simd import call_convert
from ..runtime import host
from . import windows as at
from .blocks import transform
from .linking import load, store, vector_at
from .memory import fits

PRODUCT_F4, PRODUCT_F8, PRODUCT_I2, PRODUCT_I4, PRODUCT_I8 = (
    PRODUCT_NS[np.dtype(name)] for name in ("float32", "float64", "int16", "int32", "int64")
)
#: The ways: sum all taps as they are; an outer product; one in float64, of sums in float32; tiles; blocks.
DIRECT, OUTER, OUTER_WIDE, TILES, BLOCKS = range(5)
#: What a call may ask for.
AUTO, ONLY_DIRECT, ONLY_FFT = range(3)


@register_jitable
def product_ns(width, floats):
    """As :data:`numbaconv.choosing.PRODUCT_NS`."""
    if floats != 0:
        return PRODUCT_F4 if width == 4 else PRODUCT_F8
    return PRODUCT_I2 if width == 2 else PRODUCT_I4 if width == 4 else PRODUCT_I8


@register_jitable
def direct_cost(v, parts):
    """As :func:`numbaconv.choosing.direct_cost`."""
    n = v[at.NDIM]
    ones = 0
    for axis in range(n):
        ones += v[at.KERNEL + axis] == 1
    products = float(at.product(v, at.OUT, 0, n)) * at.product(v, at.KERNEL, 0, n)
    factor = ROW_FACTOR if ones >= n - 1 else 1.0
    return products * parts * factor * product_ns(v[at.SUMS_BYTES], v[at.SUMS_FLOAT])


@register_jitable
def tap_at(v, i, j):
    """A tap of the window's kernel in float64."""
    place = i * v[at.KERNEL + 1] + j
    if v[at.FLIPPED] != 0:
        place = v[at.KERNEL] * v[at.KERNEL + 1] - 1 - place
    return load(v[at.EXACT] + 8 * place, np.float64(0))


# ----------------------------------------------------------------------------------------------------- outer products


@register_jitable
def factors(v, single, columns, rows):
    """As :func:`numbaconv.algorithms.separable.factors` for one term: whether it fits; fill columns and rows.

    ``single``: the factors are rounded to float32.
    """
    epsilon = load(v[at.EPSILON :].ctypes.data, np.float64(0))
    height, width = v[at.KERNEL], v[at.KERNEL + 1]
    largest, row, column, total = -1.0, 0, 0, 0.0
    for i in range(height):
        for j in range(width):
            size = abs(tap_at(v, i, j))
            total += size
            if size > largest:
                largest, row, column = size, i, j
    pivot = tap_at(v, row, column)
    if not np.isfinite(total) or pivot == 0:
        return False
    for i in range(height):
        columns[i] = tap_at(v, i, column)
        if single:
            columns[i] = np.float64(np.float32(columns[i]))
    for j in range(width):
        rows[j] = tap_at(v, row, j) / pivot
        if single:
            rows[j] = np.float64(np.float32(rows[j]))
    for i in range(height):
        for j in range(width):
            tap = tap_at(v, i, j)
            if not abs(columns[i] * rows[j] - tap) <= TOLERANCE * epsilon * abs(tap):
                return False
    return True


@register_jitable
def outer_product(v, direct, columns, rows):
    """Whether an outer product is cheaper than ``direct``: (the way, its cost)."""
    height, width = v[at.KERNEL], v[at.KERNEL + 1]
    size, sides = height * width, height + width
    least = direct * (sides + PASS_PRODUCTS) / size
    if v[at.SUMS_FLOAT] == 0 or min(height, width) < 2 or direct - least < SEARCH_NS:
        return DIRECT, direct
    way = DIRECT
    if factors(v, v[at.SUMS_BYTES] == 4, columns, rows):
        way = OUTER
    elif v[at.SUMS_BYTES] == 4 and direct - 4 * least > SEARCH_NS + 30 * size * min(height, width):
        way = OUTER_WIDE if factors(v, False, columns, rows) else DIRECT
    if way == DIRECT:
        return DIRECT, direct
    pixels = float(at.product(v, at.OUT, 0, 2))
    narrow = v[at.SUMS_BYTES] == 4 and way == OUTER
    cost = pixels * (sides + PASS_PRODUCTS) * ROW_FACTOR * product_ns(4 if narrow else 8, 1)
    return (way, cost) if cost < direct else (DIRECT, direct)


# --------------------------------------------------------------------------------------------------------- transforms


@register_jitable
def largest(v):
    """The largest magnitude that is read of an image of integers."""
    if not fits(v[at.X], v[at.X + 1 : at.X + 3], v[at.X_BYTES]):
        return math.inf  # the kernels take a copy, and there is none yet: summed directly, the result is the same
    convert = vector_at(v[at.WIDE], at.FUNCTIONS_LENGTH)[at.LOAD_FUNCTION]
    size = float(abs(v[at.FILL_REAL]))
    line = np.empty(v[at.IN + 1], np.float64)
    for i in range(v[at.IN]):
        place = v[at.X] + i * v[at.X + 1]
        call_convert(convert, place, line.ctypes.data, line.size, v[at.X + 2] // v[at.X_BYTES], 1)
        for value in line:
            size = max(size, abs(value))
    return size


@register_jitable
def tiles_keep(v, elements):
    """As :func:`numbaconv.choosing.transforms_spoil`: whether tiles keep what direct summation does, and LEAST."""
    squares = 0.0
    for i in range(v[at.KERNEL]):
        for j in range(v[at.KERNEL + 1]):
            squares += tap_at(v, i, j) ** 2
    norm = math.sqrt(squares)
    if not np.isfinite(norm):
        return False
    error = fft.error_bound(elements) * norm
    if v[at.Y_FLOAT] == 0:
        set_least(v, 0.0, math.inf)
        return largest(v) * math.sqrt(2 * elements) * error < 0.25
    if v[at.Y_BYTES] == 4:
        set_least(v, error / (v[at.KERNEL] * v[at.KERNEL + 1] * 2.0**-24), math.inf)
    else:
        set_least(v, error / PROVEN, RANGE**2 if v[at.STRICT] != 0 else math.inf)
    return True


@register_jitable
def set_least(v, norm, spread):
    """Below which results, and with which cells, tiles are summed directly after all."""
    store(v[at.LEAST :].ctypes.data, norm)
    store(v[at.LEAST + 1 :].ctypes.data, spread)


@register_jitable
def widen(v):
    """Sum in float64, and all products with one rounding."""
    if v[at.SUMS_FLOAT] == 0:
        store(v[at.FILL_REAL :].ctypes.data, float(v[at.FILL_REAL]))
    if v[at.WIDE] != 0:
        v[at.FUNCTIONS] = v[at.WIDE]
    v[at.SUMS_BYTES], v[at.SUMS_FLOAT], v[at.FUSED] = 8, 1, 1
    v[at.TAPS] = v[at.EXACT]


# ------------------------------------------------------------------------------------------------------------- choice


@register_jitable
def choose(v, columns, rows):
    """As :func:`numbaconv.choosing.choose`; of an outer product, fill its factors, of tiles, what they take."""
    parts = (1 + v[at.COMPLEX_X]) * (1 + v[at.COMPLEX_TAPS])
    if v[at.METHOD] == ONLY_FFT:
        set_least(v, 0.0, math.inf)
        flat = v[at.TILES] != 0 and v[at.NDIM] == 2 and parts == 1
        return TILES if flat and max(v[at.KERNEL], v[at.KERNEL + 1]) <= tiles.LENGTHS[-1] else BLOCKS
    direct = direct_cost(v, parts)
    if direct <= SEARCH_NS or v[at.NDIM] != 2 or v[at.EXACT] == 0 or parts > 1:
        return DIRECT
    way, least = outer_product(v, direct, columns, rows)
    if v[at.TILES] != 0 and min(v[at.KERNEL], v[at.KERNEL + 1]) > 1:
        cost, height, width = tiles.best(v[at.OUT], v[at.OUT + 1], v[at.KERNEL], v[at.KERNEL + 1])
        if tiles.CALL_NS + cost < least and tiles_keep(v, height * width):
            return TILES
    return way


@register_jitable
def compute(v):
    """Compute a window problem in the way that is expected to be fastest."""
    size = v[at.KERNEL] + (v[at.KERNEL + 1] if v[at.NDIM] > 1 else 0)
    columns, rows = np.empty(size, np.float64), np.empty(size, np.float64)
    way = choose(v, columns, rows)
    if way >= OUTER_WIDE or (way == OUTER and v[at.FUSED] == 0):
        widen(v)
    if way == BLOCKS:
        return transform(v)
    v[at.TILED] = int(way == TILES)
    if way in (DIRECT, TILES):
        return at.slide(v, 0, columns, rows)
    columns, rows = columns[: v[at.KERNEL]], rows[: v[at.KERNEL + 1]]
    # The kernels' order of axes may exchange rows and columns.
    strides = v[at.Y + 1 : at.Y + 3] // v[at.Y_BYTES]
    order = at.order_of_axes(v, 2, strides, False)
    if order[0] == 0:
        return at.slide(v, 1, columns, rows)
    return at.slide(v, 1, rows, columns)


@host
def window(place):
    """:func:`compute`, compiled once."""
    compute(vector_at(place, at.WINDOW))
