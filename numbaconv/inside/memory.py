"""Arrays by their addresses: strided copies of elements of any size, and what of memory an array covers."""

from __future__ import annotations

import mmap

import numpy as np
from numba.extending import register_jitable

from . import slots
from .linking import ADVISE, STATE_LENGTH, Memory, load, number_from, state, store, vector_at

#: Bytes from which memory is asked for in large pages, as NumPy asks; madvise's word for it, and its own page.
LARGE = 2**22
LARGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", 0)
PAGE = 2**12


@register_jitable
def advise(address, count):
    """Ask for large pages for new memory of ``count`` bytes."""
    function = vector_at(state(), STATE_LENGTH)[ADVISE]
    if count >= LARGE and function != 0:
        first = -(-np.int64(address) // PAGE) * PAGE
        number_from(function, (first, np.int64(address) + count - first, LARGE_PAGES))


@register_jitable
def advise_result(words, record):
    """:func:`advise` for the new array that a record describes."""
    count = words[record + slots.ITEMSIZE]
    for i in range(words[record + slots.COUNT]):
        count *= words[record + slots.SHAPE + i]
    advise(words[record + slots.VALUE], count)


@register_jitable
def fresh(count):
    """``count`` bytes of new memory.

    malloc gives arrays of more than 32 MiB back to the system, and often smaller ones, too: with pages of 4 KiB, calls
    with 26 MB of packed weights took 2.2 to 2.8 times as long as outside (2-core AMD EPYC, Zen 5).
    """
    memory = np.empty(count, np.uint8)
    advise(memory.ctypes.data, count)
    return memory


@register_jitable
def copy_element(width, source, target):
    """Copy ``width`` bytes: 1, 2, 4, 8 or 16."""
    if width == 4:
        store(target, load(source, np.int32(0)))
    elif width == 8:
        store(target, load(source, np.int64(0)))
    elif width == 16:
        store(target, load(source, np.int64(0)))
        store(target + 8, load(source + 8, np.int64(0)))
    elif width == 2:
        store(target, load(source, np.int16(0)))
    else:
        store(target, load(source, np.int8(0)))


@register_jitable
def copy_as(like, width, count, source, source_step, target, target_step):
    """:func:`copy_run` of elements like ``like``: in vectors, where they lie one behind the other."""
    if target_step == width and source_step == width:
        for i in range(count):
            store(target + i * width, load(source + i * width, like))
    elif target_step == width and source_step == 0:
        value = load(source, like)
        for i in range(count):
            store(target + i * width, value)
    else:
        for i in range(count):
            store(target + i * target_step, load(source + i * source_step, like))


@register_jitable
def copy_run(width, count, source, source_step, target, target_step):
    """Copy ``count`` elements, one at least, of ``width`` bytes; steps are in bytes."""
    if width == 4:
        copy_as(np.int32(0), 4, count, source, source_step, target, target_step)
    elif width == 8:
        copy_as(np.int64(0), 8, count, source, source_step, target, target_step)
    else:
        for i in range(count):
            copy_element(width, source + i * source_step, target + i * target_step)


@register_jitable
def copy_cells(width, shape, source, source_strides, target, target_strides):
    """target[i] = source[i] for every index of ``shape``, one dimension at least; strides are in bytes."""
    inner = len(shape) - 1
    for size in shape:
        if size == 0:
            return
    # Dimensions that follow each other in both arrays are copied as one.
    count, source_step, target_step = shape[inner], source_strides[inner], target_strides[inner]
    while inner > 0:
        before = inner - 1
        if count == 1:
            source_step, target_step = source_strides[before], target_strides[before]
        elif shape[before] != 1 and (
            source_strides[before] != count * source_step or target_strides[before] != count * target_step
        ):
            break
        count *= shape[before]
        inner = before
    index = np.zeros(len(shape), np.int64)
    while True:
        copy_run(width, count, source, source_step, target, target_step)
        axis = inner - 1
        while axis >= 0:
            index[axis] += 1
            source += source_strides[axis]
            target += target_strides[axis]
            if index[axis] < shape[axis]:
                break
            source -= shape[axis] * source_strides[axis]
            target -= shape[axis] * target_strides[axis]
            index[axis] = 0
            axis -= 1
        if axis < 0:
            return


@register_jitable
def dense_strides(shape, width):
    """Strides in bytes of a C-contiguous array."""
    strides = np.empty(len(shape), np.int64)
    step = width
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = step
        step *= shape[axis]
    return strides


@register_jitable
def copy_numbers(numbers, target, first):
    """Write numbers to target[first:]. Numba's own assignment to a slice takes a second to compile."""
    for i in range(len(numbers)):
        target[first + i] = numbers[i]


@register_jitable
def is_dense(shape, strides, width):
    """Whether an array is C-contiguous."""
    step = width
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] != 1 and strides[axis] != step:
            return False
        step *= shape[axis]
    return True


@register_jitable
def fits(address, strides, width):
    """Whether strides are whole elements, and these aligned."""
    if address % width != 0:
        return False
    whole = True
    for stride in strides:  # Numba has no all()
        whole = whole and stride % width == 0
    return whole


@register_jitable
def extent(address, shape, strides, width):
    """All memory from the lowest to the highest element, which must not be none, and where element 0 lies in it."""
    start, reach = 0, 0
    for axis in range(len(shape)):
        span = (shape[axis] - 1) * strides[axis]
        if span < 0:
            start -= span
            reach -= span
        else:
            reach += span
    return Memory(address - start, reach // width + 1, width), start // width


@register_jitable
def count_of(shape):
    """How many elements there are."""
    count = 1
    for size in shape:
        count *= size
    return count


@register_jitable
def overlap(a, a_shape, a_strides, a_width, b, b_shape, b_strides, b_width):
    """Whether two arrays' extents share memory."""
    if count_of(a_shape) == 0 or count_of(b_shape) == 0:
        return False
    first, _ = extent(a, a_shape, a_strides, 1)
    second, _ = extent(b, b_shape, b_strides, 1)
    return (
        first.address < second.address + second.elements - 1 + b_width
        and second.address < first.address + first.elements - 1 + a_width
    )
