"""Complex arrays as real ones with twice the channels, as :mod:`numbaconv.lowering` has it; by addresses."""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from .linking import load, store
from .memory import copy_cells, count_of, dense_strides, fresh


@register_jitable
def shape_of(a, b, c, d, e):
    """Five sizes."""
    shape = np.empty(5, np.int64)
    shape[0], shape[1], shape[2], shape[3], shape[4] = a, b, c, d, e
    return shape


@register_jitable
def of_group(shape, groups):
    """The shape of one group's channels."""
    return shape_of(shape[0], shape[1] // groups, shape[2], shape[3], shape[4])


@register_jitable
def doubled(shape):
    """The shape with twice the channels."""
    return shape_of(shape[0], 2 * shape[1], shape[2], shape[3], shape[4])


@register_jitable
def split_channels(width, shape, groups, array, strides):
    """Real and imaginary parts, of ``width`` bytes each, of (batch, channels, *spatial): by group, then by part."""
    some = of_group(shape, groups)
    result = fresh(2 * count_of(shape) * width)
    dense = dense_strides(doubled(shape), width)
    for group in range(groups):
        for part in range(2):
            copy_cells(
                width, some, array + group * some[1] * strides[1] + part * width, strides,
                result.ctypes.data + (2 * group + part) * some[1] * dense[1], dense,
            )  # fmt: skip
    return result


@register_jitable
def join_channels(width, shape, groups, parts, array, strides):
    """The reverse of :func:`split_channels`; ``shape`` is that of the complex array."""
    some = of_group(shape, groups)
    dense = dense_strides(doubled(shape), width)
    for group in range(groups):
        for part in range(2):
            copy_cells(
                width, some, parts + (2 * group + part) * some[1] * dense[1], dense,
                array + group * some[1] * strides[1] + part * width, strides,
            )  # fmt: skip


@register_jitable
def negate(width, place, count, step):
    """Change the sign of some floats."""
    for i in range(count):
        if width == 4:
            store(place + i * step, -load(place + i * step, np.float32(0)))
        else:
            store(place + i * step, -load(place + i * step, np.float64(0)))


@register_jitable
def split_weight(width, shape, groups, array, strides, conjugate):
    """[[re, -im], [im, re]] of a weight (filters, channels, *kernel), for each group."""
    filters, channels = shape[0] // groups, shape[1]
    some = shape_of(filters, channels, shape[2], shape[3], shape[4])
    result = fresh(4 * count_of(shape) * width)
    dense = dense_strides(shape_of(2 * shape[0], 2 * channels, shape[2], shape[3], shape[4]), width)
    block = channels * dense[1]
    for group in range(groups):
        source = array + group * filters * strides[0]
        upper = result.ctypes.data + 2 * group * filters * dense[0]
        lower = upper + filters * dense[0]
        copy_cells(width, some, source, strides, upper, dense)
        copy_cells(width, some, source, strides, lower + block, dense)
        copy_cells(width, some, source + width, strides, lower, dense)
        copy_cells(width, some, source + width, strides, upper + block, dense)
        for f in range(filters):
            place = f * dense[0] + (lower if conjugate else upper + block)
            negate(width, place, block // width, width)
    return result


@register_jitable
def join_weight(width, shape, groups, parts, array, strides):
    """The gradient of a weight from that of :func:`split_weight`'s result."""
    filters, channels = shape[0] // groups, shape[1]
    taps = shape[2] * shape[3] * shape[4]
    dense = dense_strides(shape_of(2 * shape[0], 2 * channels, shape[2], shape[3], shape[4]), width)
    block = channels * dense[1]
    for group in range(groups):
        for f in range(filters):
            upper = parts + (2 * group * filters + f) * dense[0]
            lower = upper + filters * dense[0]
            for c in range(channels):
                for k in range(taps):
                    d, rest = divmod(k, shape[3] * shape[4])
                    h, w = divmod(rest, shape[4])
                    place = array + (group * filters + f) * strides[0] + c * strides[1]
                    place += d * strides[2] + h * strides[3] + w * strides[4]
                    at = (c * taps + k) * width
                    if width == 4:
                        like = np.float32(0)
                        store(place, load(upper + at, like) + load(lower + block + at, like))
                        store(place + 4, load(lower + at, like) - load(upper + block + at, like))
                    else:
                        wide = np.float64(0)
                        store(place, load(upper + at, wide) + load(lower + block + at, wide))
                        store(place + 8, load(lower + at, wide) - load(upper + block + at, wide))
