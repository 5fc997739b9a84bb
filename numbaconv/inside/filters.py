"""SciPy's convolutions inside ``@njit``, from their arguments to a problem of :mod:`numbaconv.inside.windows`."""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..runtime import host
from . import choices, slots, windows
from .arguments import name_index
from .linking import call_kernel, load, pointer, store, vector_at
from .memory import advise_result, copy_cells, count_of, dense_strides
from .windows import FILL, MIRROR, NEAREST, SYMMETRIC, WINDOW, WRAP

MODE_NAMES = slots.table(("valid", "same", "full"))
VALID, SAME, FULL = range(3)
BOUNDARY_NAMES = slots.table(("fill", "pad", "wrap", "circular", "symm", "symmetric", "reflect", "mirror", "nearest"))
BOUNDARIES = np.array([FILL, FILL, WRAP, WRAP, SYMMETRIC, SYMMETRIC, MIRROR, MIRROR, NEAREST])
METHOD_NAMES = slots.table(("auto", "direct", "fft"))
EXTENSION_NAMES = slots.table(
    ("reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror", "wrap", "grid-wrap")
)
EXTENSIONS = np.array([SYMMETRIC, SYMMETRIC, FILL, FILL, NEAREST, MIRROR, WRAP, WRAP])

# What is known when the caller is compiled, as values of the settings.
TWO_DIMENSIONS, CORRELATES, RESULT_KIND, RESULT_BITS = range(4)  # which function; the result's dtype
FIRST_BYTES, FIRST_FLOAT, FIRST_COMPLEX = 4, 5, 6  # of a part of the first array, and of the second one
SECOND_BYTES, SECOND_FLOAT, SECOND_COMPLEX = 7, 8, 9
FIRST_FUNCTIONS, SECOND_FUNCTIONS, FIRST_WIDE, SECOND_WIDE = 10, 11, 12, 13  # tables where it is the image
SUMS_BYTES = 14
TRANSFORMS = 15  # 1 for the functions that have no method
TILES, BLOCKS = 16, 17  # the tables of what transforms these, or 0
KIND_FLOAT, KIND_SIGNED, KIND_UNSIGNED, KIND_COMPLEX = range(4)

# signal's arguments by their records. Functions of N dimensions have no boundary and no fill value, the others no
# method.
IN1, IN2, MODE, BOUNDARY, FILLVALUE, METHOD, SETTINGS, TAPS, EXACT, RESULT = (
    slots.RECORD * number for number in range(10)
)
SHAPE = RESULT + slots.RECORD
SWAPPED = SHAPE + slots.MOST_DIMENSIONS  # 1 where the taps are the first array
CONJUGATED = SWAPPED + 1  # 1 where the conjugate of the result is wanted
EMPTY = SWAPPED + 2  # 1 where the result is zeros
PROBLEM = SWAPPED + 3
SIGNAL_WORDS = PROBLEM + WINDOW

compute_window = pointer("numbaconv_window")
compute_direct = pointer("numbaconv_slide_direct")


@register_jitable
def number_bits(record, words, part):
    """The bits of a number's real or imaginary part as a float64."""
    if words[record + slots.KIND] == slots.INTEGER:
        return float(words[record + slots.VALUE]) if part == 0 else 0.0
    return load(words[record + slots.VALUE + part :].ctypes.data, np.float64(0))


@register_jitable
def set_fill(v, words, record, kind, bits):
    """The fill value in the window problem, as :func:`numbaconv.scipy_rules.fill_number` has it."""
    real, imaginary = number_bits(record, words, 0), number_bits(record, words, 1)
    fits = kind == KIND_COMPLEX or imaginary == 0
    if kind in (KIND_SIGNED, KIND_UNSIGNED):
        if words[record + slots.KIND] == slots.INTEGER:
            whole = words[record + slots.VALUE]
        else:
            fits = fits and abs(real) < 2.0**63
            whole = np.int64(real) if fits else 0
        if kind == KIND_UNSIGNED:
            fits = fits and whole >= 0 and (bits > 62 or whole < 1 << bits)
        elif bits < 64:
            fits = fits and -(1 << (bits - 1)) <= whole < 1 << (bits - 1)
        v[windows.FILL_REAL] = whole
    else:
        store(v[windows.FILL_REAL :].ctypes.data, real)
        store(v[windows.FILL_IMAG :].ctypes.data, imaginary)
    if not fits:
        raise ValueError("could not cast `fillvalue` directly to the output type (it was first converted to complex).")


@register_jitable
def set_array(v, words, record, slot, shape):
    """Address and strides, and the shape, of an array."""
    n = words[record + slots.COUNT]
    v[slot] = words[record + slots.VALUE]
    for axis in range(n):
        v[slot + 1 + axis] = words[record + slots.STRIDES + axis]
        v[shape + axis] = words[record + slots.SHAPE + axis]


@register_jitable
def method_of(words):
    """Which method is asked for, as an index of METHOD_NAMES, or -1."""
    settings = SETTINGS + slots.VALUE
    if words[settings + TRANSFORMS] != 0:
        return choices.ONLY_FFT
    return choices.AUTO if words[settings + TWO_DIMENSIONS] != 0 else name_index(words, METHOD, METHOD_NAMES)


@host
def signal_shape(place):
    """Validate the arguments of a function of numbaconv.signal; write the result's shape and what is swapped."""
    words = vector_at(place, SIGNAL_WORDS)
    v = words[PROBLEM:]
    v[:] = 0
    settings = SETTINGS + slots.VALUE
    n = words[IN1 + slots.COUNT]
    first, second = words[IN1 + slots.SHAPE : IN1 + slots.STRIDES], words[IN2 + slots.SHAPE : IN2 + slots.STRIDES]
    mode = name_index(words, MODE, MODE_NAMES)
    swapped, conjugated = False, False
    two = words[settings + TWO_DIMENSIONS] != 0
    method = method_of(words)
    if mode == VALID:
        larger, smaller = True, True
        for axis in range(n):
            larger = larger and first[axis] >= second[axis]
            smaller = smaller and second[axis] >= first[axis]
        if not larger and not smaller:
            raise ValueError("For 'valid' mode, one must be at least as large as the other in every dimension")
        swapped = not larger
        conjugated = swapped and two
    if method < 0:
        raise ValueError("Acceptable method flags are 'auto', 'direct', or 'fft'")
    if mode < 0:
        raise ValueError("Acceptable mode flags are 'valid', 'same', or 'full'")
    extension = FILL
    if two:
        boundary = name_index(words, BOUNDARY, BOUNDARY_NAMES)
        if boundary < 0:
            raise ValueError("Acceptable boundary flags are 'fill', 'wrap', 'symm', 'reflect', 'mirror' and 'nearest'")
        extension = BOUNDARIES[boundary]
        if extension == FILL:
            set_fill(v, words, FILLVALUE, words[settings + RESULT_KIND], words[settings + RESULT_BITS])
    filled = v[windows.FILL_REAL] != 0 or v[windows.FILL_IMAG] != 0
    late = int(two and words[settings + CORRELATES] != 0)
    image, taps = (IN2, IN1) if swapped else (IN1, IN2)
    big, small = (second, first) if swapped else (first, second)
    empty = count_of(first[:n]) == 0 or count_of(second[:n]) == 0
    if empty:
        if not two and words[settings + TRANSFORMS] == 0:
            if method == choices.ONLY_FFT:
                raise IndexError("index 0 is out of bounds for axis 0 with size 0")
            some = False
            for axis in range(n):
                some = some or small[axis] == 0
            if mode == FULL or (mode == SAME and some) or (mode == VALID and n == 1):
                raise ValueError("in this mode no array may be empty")
        elif two and filled and count_of(small[:n]) != 0:
            raise ValueError("in1 is empty, and fillvalue is not 0")
    v[windows.NDIM] = n
    v[windows.FUSED] = 1
    for axis in range(n):
        v[windows.EXTENSION + axis] = extension
        if mode == FULL:
            v[windows.PAD + axis] = small[axis] - 1
            v[windows.OUT + axis] = big[axis] + small[axis] - 1
        elif mode == SAME:
            v[windows.PAD + axis] = (small[axis] - late) // 2
            v[windows.OUT + axis] = big[axis]
        else:
            v[windows.PAD + axis] = 0
            v[windows.OUT + axis] = big[axis] - small[axis] + 1
        # SciPy's fftconvolve makes an array without elements, of one dimension, of any that have none.
        nothing = empty and words[settings + TRANSFORMS] != 0
        words[SHAPE + axis] = 0 if nothing else max(0, v[windows.OUT + axis])
    words[EMPTY] = int(empty)
    # Convolution is commutative: the larger array is taken as the image where that makes no difference.
    exchanged = not empty and extension == FILL and not filled and mode != VALID
    exchanged = exchanged and count_of(small[:n]) > count_of(big[:n])
    words[SWAPPED] = int(swapped != exchanged)
    words[CONJUGATED] = int(conjugated)
    if empty:
        return
    if exchanged:
        image, taps = taps, image
    set_array(v, words, image, windows.X, windows.IN)
    for axis in range(n):
        v[windows.KERNEL + axis] = words[taps + slots.SHAPE + axis]
    correlates = words[settings + CORRELATES] != 0
    # The second array of a correlation is read backwards: as the image, or as taps, which a convolution reads so, too.
    # Where two-dimensional functions swap their arrays, they exchange their parts in this, too, and the result is read
    # backwards.
    backwards = correlates and (image == IN2) and not conjugated
    v[windows.FLIPPED] = int(not (correlates and (taps == IN2 or conjugated)))
    if exchanged:
        for axis in range(n):
            k = v[windows.IN + axis]
            pad = big[axis] - 1 - (k - 1 - v[windows.PAD + axis])
            skip = max(0, -pad)
            v[windows.IN + axis] -= skip
            v[windows.PAD + axis] = max(0, pad)
            if not backwards:
                v[windows.X] += skip * v[windows.X + 1 + axis]
    if backwards:
        for axis in range(n):
            v[windows.X] += (v[windows.IN + axis] - 1) * v[windows.X + 1 + axis]
            v[windows.X + 1 + axis] = -v[windows.X + 1 + axis]
    second_image = image == IN2
    v[windows.COMPLEX_X] = words[settings + (SECOND_COMPLEX if second_image else FIRST_COMPLEX)]
    v[windows.COMPLEX_TAPS] = words[settings + (FIRST_COMPLEX if second_image else SECOND_COMPLEX)]
    v[windows.X_BYTES] = words[settings + (SECOND_BYTES if second_image else FIRST_BYTES)]
    v[windows.X_FLOAT] = words[settings + (SECOND_FLOAT if second_image else FIRST_FLOAT)]
    v[windows.FUNCTIONS] = words[settings + (SECOND_FUNCTIONS if second_image else FIRST_FUNCTIONS)]
    v[windows.WIDE] = words[settings + (SECOND_WIDE if second_image else FIRST_WIDE)]
    taps_bytes = words[settings + (FIRST_BYTES if second_image else SECOND_BYTES)]
    taps_float = words[settings + (FIRST_FLOAT if second_image else SECOND_FLOAT)]
    single = taps_float != 0 and taps_bytes == 4
    store(v[windows.EPSILON :].ctypes.data, EPSILON_F4 if single else EPSILON_F8)


EPSILON_F4, EPSILON_F8 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)


@host
def signal_run(place):
    """Compute what :func:`signal_shape` has validated."""
    words = vector_at(place, SIGNAL_WORDS)
    v = words[PROBLEM:]
    settings = SETTINGS + slots.VALUE
    n = words[RESULT + slots.COUNT]
    kind = words[settings + RESULT_KIND]
    if words[EMPTY] != 0:
        zeros(words, RESULT, words[settings + RESULT_BITS] // 8)
        return
    advise_result(words, RESULT)
    v[windows.Y] = words[RESULT + slots.VALUE]
    for axis in range(n):
        v[windows.Y + 1 + axis] = words[RESULT + slots.STRIDES + axis]
    if words[CONJUGATED] != 0 and words[settings + CORRELATES] != 0:
        for axis in range(n):
            v[windows.Y] += (v[windows.OUT + axis] - 1) * v[windows.Y + 1 + axis]
            v[windows.Y + 1 + axis] = -v[windows.Y + 1 + axis]
    v[windows.COMPLEX_Y] = int(kind == KIND_COMPLEX)
    v[windows.Y_BYTES] = words[settings + RESULT_BITS] // (16 if kind == KIND_COMPLEX else 8)
    v[windows.Y_FLOAT] = int(kind in (KIND_FLOAT, KIND_COMPLEX))
    v[windows.SUMS_BYTES] = words[settings + SUMS_BYTES]
    v[windows.SUMS_FLOAT] = v[windows.Y_FLOAT]
    v[windows.TAPS] = words[TAPS + slots.VALUE]
    v[windows.EXACT] = words[EXACT + slots.VALUE] if words[EXACT + slots.SHAPE] > 0 else 0
    v[windows.TILES], v[windows.BLOCKS] = words[settings + TILES], words[settings + BLOCKS]
    v[windows.STRICT] = words[settings + TWO_DIMENSIONS]  # the others may transform whatever the data in SciPy, too
    v[windows.METHOD] = method_of(words)
    if v[windows.METHOD] == choices.ONLY_DIRECT:
        call_kernel(compute_direct(), (v.ctypes.data,))
    else:
        call_kernel(compute_window(), (v.ctypes.data,))


@register_jitable
def zeros(words, record, width):
    """Fill an array with zeros."""
    n = words[record + slots.COUNT]
    nothing = np.zeros(2, np.int64)
    copy_cells(
        width, words[record + slots.SHAPE : record + slots.SHAPE + n], nothing.ctypes.data,
        np.zeros(n, np.int64), words[record + slots.VALUE],
        words[record + slots.STRIDES : record + slots.STRIDES + n],
    )  # fmt: skip
    return nothing.size


# ------------------------------------------------------------------------------------------------------------ ndimage

# ndimage's arguments by their records; correlate1d has an axis, correlate has axes.
INPUT, WEIGHTS, N_MODE, CVAL, ORIGIN, AXES, N_SETTINGS, N_TAPS, FINITE, N_RESULT = (
    slots.RECORD * number for number in range(10)
)
N_PROBLEM = N_RESULT + slots.RECORD
NDIMAGE_WORDS = N_PROBLEM + WINDOW
ALONG_AXIS = TWO_DIMENSIONS  # settings: 1 for correlate1d and convolve1d
WRITTEN_FUNCTIONS = SECOND_FUNCTIONS  # from float64 to the result's dtype
TOTAL_FUNCTIONS = SECOND_WIDE  # from the input's dtype to float64


@host
def ndimage_shape(place):
    """Validate the arguments of a function of numbaconv.ndimage."""
    words = vector_at(place, NDIMAGE_WORDS)
    v = words[N_PROBLEM:]
    v[:] = 0
    settings = N_SETTINGS + slots.VALUE
    n = words[INPUT + slots.COUNT]
    convolves = words[settings + CORRELATES] == 0
    sizes, kernel = words[INPUT + slots.SHAPE : INPUT + slots.STRIDES], v[windows.KERNEL : windows.OUT]
    origins = v[windows.OUT : windows.PAD]
    weights = WEIGHTS + slots.SHAPE
    for axis in range(n):
        kernel[axis] = 1
        origins[axis] = 0
    if words[settings + ALONG_AXIS] != 0:
        axis = words[AXES + slots.VALUE]
        if words[weights] < 1:
            raise RuntimeError("no filter weights given; weights must have one dimension")
        if not -n <= axis < n:
            raise ValueError("axis is out of bounds for the input's dimensions")
        axis %= n
        kernel[axis] = words[weights]
        origins[axis] = words[ORIGIN + slots.VALUE]
    else:
        count = n
        kind = words[AXES + slots.KIND]
        chosen = np.arange(n)
        if kind != slots.NONE:
            count = 1 if kind == slots.INTEGER else words[AXES + slots.COUNT]
            if count > n:
                raise ValueError("axes must be unique")
            for i in range(count):
                axis = words[AXES + slots.VALUE + i]
                if not -n <= axis < n:
                    raise ValueError("an axis is out of range")
                chosen[i] = axis % n
                for j in range(i):
                    if chosen[j] == chosen[i]:
                        raise ValueError("axes must be unique")
        if words[WEIGHTS + slots.COUNT] != count:
            raise RuntimeError("weights must have as many dimensions as the input, or as there are axes")
        several = words[ORIGIN + slots.KIND] == slots.TUPLE
        if several and words[ORIGIN + slots.COUNT] != count:
            raise RuntimeError("origin must be one integer or one for each axis")
        ordered = np.sort(chosen[:count])
        for i in range(count):
            if words[weights + i] < 1:
                raise RuntimeError("weights must not be empty")
            kernel[ordered[i]] = words[weights + i]
            origins[chosen[i]] = words[ORIGIN + slots.VALUE + i] if several else words[ORIGIN + slots.VALUE]
    for axis in range(n):
        value, size = origins[axis], kernel[axis]
        if convolves:
            value = -value - (1 - size % 2)
        if not -(size // 2) <= value <= (size - 1) // 2:
            raise ValueError(
                "Invalid origin; origin must satisfy -(weights.shape[k] // 2) <= origin[k] <= (weights.shape[k]-1) // 2"
            )
        v[windows.PAD + axis] = size // 2 + value
    mode = name_index(words, N_MODE, EXTENSION_NAMES)
    if mode < 0:
        raise RuntimeError(
            "boundary mode not supported; mode must be one of reflect, grid-mirror, constant, grid-constant, nearest, "
            "mirror, wrap, grid-wrap"
        )
    v[windows.NDIM] = n
    v[windows.FLIPPED] = int(convolves)
    set_array(v, words, INPUT, windows.X, windows.IN)
    for axis in range(n):
        v[windows.OUT + axis] = sizes[axis]
        v[windows.EXTENSION + axis] = EXTENSIONS[mode]
    store(v[windows.FILL_REAL :].ctypes.data, number_bits(CVAL, words, 0))
    store(v[windows.FILL_IMAG :].ctypes.data, number_bits(CVAL, words, 1))


@host
def ndimage_run(place):
    """Compute what :func:`ndimage_shape` has validated, in float64."""
    words = vector_at(place, NDIMAGE_WORDS)
    v = words[N_PROBLEM:]
    settings = N_SETTINGS + slots.VALUE
    n = v[windows.NDIM]
    if count_of(v[windows.IN : windows.IN + n]) == 0:
        return
    kind = words[settings + RESULT_KIND]
    floats = int(kind in (KIND_FLOAT, KIND_COMPLEX))
    advise_result(words, N_RESULT)
    v[windows.Y] = words[N_RESULT + slots.VALUE]
    for axis in range(n):
        v[windows.Y + 1 + axis] = words[N_RESULT + slots.STRIDES + axis]
    v[windows.COMPLEX_X] = words[settings + FIRST_COMPLEX]
    v[windows.COMPLEX_TAPS] = words[settings + SECOND_COMPLEX]
    v[windows.COMPLEX_Y] = int(kind == KIND_COMPLEX)
    v[windows.X_BYTES], v[windows.X_FLOAT] = words[settings + FIRST_BYTES], words[settings + FIRST_FLOAT]
    v[windows.Y_BYTES] = words[settings + RESULT_BITS] // (16 if kind == KIND_COMPLEX else 8)
    v[windows.Y_FLOAT] = floats
    v[windows.SUMS_BYTES], v[windows.SUMS_FLOAT] = 8, 1
    v[windows.FUNCTIONS], v[windows.WIDE] = words[settings + FIRST_FUNCTIONS], words[settings + FIRST_WIDE]
    v[windows.TAPS] = words[N_TAPS + slots.VALUE]
    store(v[windows.EPSILON :].ctypes.data, EPSILON_F8)
    v[windows.TILES], v[windows.STRICT] = words[settings + TILES], 1
    v[windows.EXACT] = v[windows.TAPS] if floats != 0 and n == 2 and v[windows.COMPLEX_TAPS] == 0 else 0
    cval = number_bits(CVAL, words, 0) + number_bits(CVAL, words, 1)
    left_out, finite = words[FINITE + slots.VALUE], words[FINITE + slots.VALUE + 1]
    if left_out != 0 and not (finite != 0 and np.isfinite(cval)):
        tap_by_tap(v, words)
    elif v[windows.EXACT] != 0:
        call_kernel(compute_window(), (v.ctypes.data,))
    else:
        call_kernel(compute_direct(), (v.ctypes.data,))


@register_jitable
def tap_by_tap(v, words):
    """As :func:`numbaconv.choosing._sum_taps`: no tap of 0 meets a NaN."""
    settings = N_SETTINGS + slots.VALUE
    n = v[windows.NDIM]
    parts = 1 + max(v[windows.COMPLEX_X], v[windows.COMPLEX_TAPS])
    shape = v[windows.OUT : windows.OUT + n].copy()
    kernel = v[windows.KERNEL : windows.KERNEL + n].copy()
    pad = v[windows.PAD : windows.PAD + n].copy()
    count, taps = count_of(shape), count_of(kernel)
    total, some = np.zeros(parts * count), np.empty(parts * count)
    strides = dense_strides(shape, 8 * parts)
    one = np.ones(2)
    w = v.copy()
    index = np.zeros(n, np.int64)
    for number in range(taps):
        rest = number
        for axis in range(n - 1, -1, -1):
            rest, index[axis] = divmod(rest, kernel[axis])
        at = taps - 1 - number if v[windows.FLIPPED] != 0 else number
        real = load(v[windows.TAPS] + 8 * at, np.float64(0))
        imaginary = load(v[windows.TAPS] + 8 * (taps + at), np.float64(0)) if v[windows.COMPLEX_TAPS] != 0 else 0.0
        if real == 0 and imaginary == 0:
            continue
        one[0], one[1] = real, imaginary
        for i in range(len(v)):
            w[i] = v[i]
        for axis in range(n):
            w[windows.KERNEL + axis] = 1
            w[windows.PAD + axis] = pad[axis] - index[axis]
            w[windows.Y + 1 + axis] = strides[axis]
        w[windows.TAPS], w[windows.Y] = one.ctypes.data, some.ctypes.data
        w[windows.Y_BYTES], w[windows.Y_FLOAT], w[windows.COMPLEX_Y] = 8, 1, parts - 1
        w[windows.FUNCTIONS] = words[settings + TOTAL_FUNCTIONS]
        call_kernel(compute_direct(), (w.ctypes.data,))
        for i in range(len(total)):
            total[i] += some[i]
    one[0], one[1] = 1.0, 0.0
    for i in range(len(v)):
        w[i] = v[i]
    for axis in range(n):
        w[windows.KERNEL + axis] = 1
        w[windows.PAD + axis] = 0
        w[windows.X + 1 + axis] = strides[axis]
    w[windows.X], w[windows.TAPS] = total.ctypes.data, one.ctypes.data
    w[windows.COMPLEX_X], w[windows.COMPLEX_TAPS] = parts - 1, 0
    w[windows.X_BYTES], w[windows.X_FLOAT] = 8, 1
    w[windows.FUNCTIONS] = words[settings + WRITTEN_FUNCTIONS]
    call_kernel(compute_direct(), (w.ctypes.data,))
    return one.size + total.size + some.size + w.size  # they live until here
