"""Large kernels: overlap-save through ``scipy.fft``, always in double precision.

The output is cut into blocks; each is what does not wrap around in a circular convolution of the input under it. Axes
along which the kernel has one tap are not transformed, rows that hold nothing but zeros neither.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np

from .. import forks
from ..forks import load_module
from .windows import Window, sources

Array = np.ndarray[Any, np.dtype[Any]]

#: Transforms up to this length take an axis in one piece, if there are several axes: 1188 x 2025 for 1080 x 1920 pixels
#: and 101 x 101 taps took 33 ms on the design's machine, blocks of 512 x 512 and of 256 x 256 42 and 62 ms.
LONGEST: Final = 2500
#: Frames of a sequence that a thread transforms at a time: few enough to stay in the cache; half and twice as many take
#: 1.1 times and as long (2-core Intel Xeon, Emerald Rapids).
FRAME_ELEMENTS: Final = 1 << 16
#: Nanoseconds of one core for each element of a real transform and each doubling of its length; measured there.
ELEMENT_NS: Final = 0.55
#: SciPy stops its threads for the time of a fork; another thread that asks for them meanwhile gets a RuntimeError.
_scipys_threads: Final = forks.lock()


def _threads(workers: int) -> AbstractContextManager[Any]:
    """Let no fork come between while SciPy's threads are used."""
    return _scipys_threads if workers > 1 else contextlib.nullcontext()


#: Units of rounding by which a transform errs at most for each doubling of its size, relative to the norm of what it
#: transforms (Higham, Accuracy and Stability of Numerical Algorithms, theorem 24.2). The kernel's, the input's, their
#: product and the way back: four of them.
#:
#: Each moves no result by more than that share of |x| |k|, the products of the norms: an error of the input's spectrum
#: X is multiplied by the kernel's, K, and sum |dX| |K| / N <= |dX| |K| / N by Cauchy's inequality, where |dX| is at
#: most the share of |X| = sqrt(N) |x|, and |K| = sqrt(N) |k|; likewise the kernel's, and the products'. Backward, one
#: path of factors of modulus 1 leads from each product to each result, and its roundings add up to the same share of
#: sum |X K| / N.
UNITS: Final = 4 * 7


@functools.cache
def _transforms() -> Any:
    """``scipy.fft``; once it is there, without the lock of imports, for which threads of one call could wait."""
    return load_module("scipy.fft")


def _fast_length(length: int, real: bool) -> int:
    return int(_transforms().next_fast_len(length, real))


def block_lengths(window: Window) -> tuple[int, ...]:
    """The length of the transforms along each axis; 0 where there is none."""
    lengths = []
    several = sum(taps > 1 for taps in window.kernel_shape) > 1
    for size, taps in zip(window.output_shape, window.kernel_shape, strict=True):
        whole = size + taps - 1
        if taps == 1:
            lengths.append(0)
            continue
        if several:
            pieces = math.ceil(size / max(1, max(LONGEST, 4 * taps) - taps + 1))
            lengths.append(_fast_length(math.ceil(size / pieces) + taps - 1, True))
            continue
        powers = [1 << power for power in range(4, 40) if taps < (1 << power) < 2 * whole] or [whole]
        best = min(powers, key=lambda n: math.ceil(size / max(1, n - taps + 1)) * n * math.log2(n))
        lengths.append(min(best, _fast_length(whole, True)))
    return tuple(lengths)


def cost(window: Window, planes: int) -> float:
    """Nanoseconds of one core, for ``planes`` real parts of the input."""
    lengths = block_lengths(window)
    elements, doublings, blocks = 1.0, 0.0, 1
    for size, taps, n in zip(window.output_shape, window.kernel_shape, lengths, strict=True):
        elements *= n or size
        doublings += math.log2(n) if n else 0
        blocks *= math.ceil(size / (n - taps + 1)) if n else 1
    return ELEMENT_NS * planes * elements * doublings * (2 * blocks + 1) + 50_000


def elements(window: Window) -> int:
    """Those that are transformed together."""
    return math.prod(n for n in block_lengths(window) if n)


def error_bound(size: int) -> float:
    """How much results err at most in double precision, relative to the kernel's norm times that of ``size`` cells."""
    return UNITS * math.log2(size) * 2.0**-53


def norm(array: Array) -> float:
    """The root of the sum of squares.

    NumPy's norm asks BLAS, whose threads spin afterwards where ours should run: float64 1080x1920 pixels, 101x101 taps
    took 24 to 32 instead of 18 ms (2-core Intel Xeon, Emerald Rapids).
    """
    squares = np.square(array.real) + np.square(array.imag) if array.dtype.kind == "c" else np.square(array)
    return math.sqrt(squares.sum())


def gathered(x: Array, starts: Sequence[int], sizes: Sequence[int], window: Window, fill: Any, dtype: Any) -> Array:
    """The cells from ``starts`` on, some of which may lie outside the input, in ``dtype``."""
    inside = [slice(max(0, start), min(n, start + size)) for start, size, n in zip(starts, sizes, x.shape, strict=True)]
    if all(int(part.stop) - int(part.start) == size for part, size in zip(inside, sizes, strict=True)):
        return x[tuple(inside)].astype(dtype)
    if all(extension == "fill" for extension in window.extensions):
        block = np.full(tuple(sizes), fill, dtype)
        if all(part.start < part.stop for part in inside):
            target = tuple(
                slice(part.start - start, part.stop - start) for part, start in zip(inside, starts, strict=True)
            )
            block[target] = x[tuple(inside)]
        return block
    outside = np.zeros((1,) * x.ndim, bool)
    block = x
    for axis, (start, size, n) in enumerate(zip(starts, sizes, x.shape, strict=True)):
        table = sources(window.extensions[axis], n, np.arange(start, start + size))
        block = np.take(block, np.maximum(table, 0), axis)
        outside = outside | np.expand_dims(table < 0, tuple(other for other in range(x.ndim) if other != axis))
    block = block.astype(dtype)
    if outside.any():
        block[np.broadcast_to(outside, block.shape)] = fill
    return block


def run(
    x: Array, taps: Array, window: Window, fill: Any, out: Array, workers: int, single: bool = False, least: float = 0.0
) -> Array:
    """Compute a window problem into ``out``; integers are rounded.

    Returns the indices, (n, ndim) in order of the first, of the results that are smaller than ``least`` times the norm
    of the cells that were transformed together, or not finite, where ``least`` is positive.
    """
    is_complex = x.dtype.kind == "c" or taps.dtype.kind == "c"
    dtype: np.dtype[Any] = np.dtype(
        {"": "float64", "c": "complex128", "s": "float32", "sc": "complex64"}["s" * single + "c" * is_complex]
    )
    lengths = block_lengths(window)
    axes = [axis for axis, n in enumerate(lengths) if n]
    if not axes:
        lengths, axes = (*lengths[:-1], _fast_length(window.output_shape[-1], True)), [len(lengths) - 1]
    spectrum = _forward(np.flip(taps).astype(dtype), lengths, axes, is_complex, workers)
    steps = [n - k + 1 if n else size for n, k, size in zip(
        lengths, window.kernel_shape, window.output_shape, strict=True
    )]  # fmt: skip
    if x.ndim == 1 and window.pad[0] >= 0:
        return _frames(x, spectrum, window, fill, out, lengths[0], workers, dtype, least)
    spoilt: list[Array] = [np.empty((0, x.ndim), np.intp)]
    ranges = [range(0, size, step) for size, step in zip(window.output_shape, steps, strict=True)]
    for starts in itertools.product(*ranges):
        sizes = [min(step, size - start) for step, size, start in zip(steps, window.output_shape, starts, strict=True)]
        reach = [size + k - 1 for size, k in zip(sizes, window.kernel_shape, strict=True)]
        first = [start - pad for start, pad in zip(starts, window.pad, strict=True)]
        cells = gathered(x, first, reach, window, fill, dtype)
        bound = least * norm(cells) if least > 0 else 0.0
        product = _forward(cells, lengths, axes, is_complex, workers)
        product *= spectrum
        result = _inverse(product, lengths, axes, is_complex, workers, window.kernel_shape, sizes)
        _assign(out[tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))], result)
        if least > 0:
            spoilt.append(_smaller(result, bound) + starts)
    places = np.concatenate(spoilt)
    return places[np.argsort(places[:, 0], kind="stable")]


def _smaller(result: Array, bound: Any) -> Array:
    """The indices of results smaller than ``bound``, and of those not finite; of real and imaginary parts together."""
    with np.errstate(all="ignore"):
        size = np.abs(result)
        if np.all(size.min(-1, keepdims=True) >= bound) and size.max() < np.inf:  # nearly always; NaN is no minimum
            return np.empty((0, result.ndim), np.intp)
        return np.argwhere(~((size >= bound) & (size < np.inf)))


def _assign(out: Array, result: Array) -> None:
    if out.dtype.kind in "iu":
        # Through int64: a float that does not fit a narrow integer has no defined value there, and these wrap.
        out[...] = np.rint(result).astype(np.int64)
    else:
        out[...] = result


def _forward(block: Array, lengths: Sequence[int], axes: list[int], is_complex: bool, workers: int) -> Array:
    transforms = _transforms()
    *others, last = axes
    transform = transforms.fft if is_complex else transforms.rfft
    with _threads(workers):
        spectrum: Array = transform(block, lengths[last], last, workers=workers)
        for axis in others:
            spectrum = transforms.fft(spectrum, lengths[axis], axis, overwrite_x=True, workers=workers)
    return spectrum


def _inverse(
    spectrum: Array, lengths: Sequence[int], axes: list[int], is_complex: bool, workers: int,
    taps: Sequence[int], sizes: Sequence[int],
) -> Array:  # fmt: skip
    transforms = _transforms()
    *others, last = axes
    transform = transforms.ifft if is_complex else transforms.irfft
    with _threads(workers):
        for axis in others:
            spectrum = transforms.ifft(spectrum, axis=axis, overwrite_x=True, workers=workers)
            spectrum = spectrum[_part(spectrum.ndim, axis, taps[axis] - 1, sizes[axis])]
        result: Array = transform(spectrum, lengths[last], last, overwrite_x=True, workers=workers)
    return result[_part(result.ndim, last, taps[last] - 1, sizes[last])]


def _part(ndim: int, axis: int, start: int, size: int) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) if other == axis else slice(None) for other in range(ndim))


def _frames(
    x: Array, spectrum: Array, window: Window, fill: Any, out: Array, length: int, workers: int, dtype: Any,
    least: float,
) -> Array:  # fmt: skip
    """A sequence: several blocks, side by side, in one transform; threads take turns to fetch some.

    SciPy's threads share transforms only, and what is between them is as long as these: 1e6 x 1001 took 1.5 times as
    long (2-core Intel Xeon, Emerald Rapids).
    """
    (taps,), (size,), (pad,) = window.kernel_shape, window.output_shape, window.pad
    step = length - taps + 1
    count = max(1, FRAME_ELEMENTS // length)
    is_complex = dtype.kind == "c"

    def transform(start: int) -> Array:
        results = min(count * step, size - start)
        frames = math.ceil(results / step)
        cells = gathered(x, [start - pad], [results + taps - 1], window, fill, dtype)
        padded = np.zeros((frames - 1) * step + length, dtype)
        padded[: cells.size] = cells[: padded.size]
        view = np.lib.stride_tricks.as_strided(
            padded, (frames, length), (step * padded.itemsize, padded.itemsize), writeable=False
        )
        product = _forward(view, [0, length], [1], is_complex, 1)
        product *= spectrum
        result = _inverse(product, [0, length], [1], is_complex, 1, (1, taps), (frames, step))
        _assign(out[start : start + results], result.reshape(-1)[:results])
        if least <= 0:
            return np.empty((0, 1), np.intp)
        bounds = least * np.sqrt(np.einsum("ij,ij->i", view, view.conj()).real)[:, None]
        places = _smaller(result, bounds)
        numbers = places[:, :1] * step + places[:, 1:] + start
        return numbers[numbers[:, 0] < start + results]

    return np.concatenate([np.empty((0, 1), np.intp), *_each(transform, range(0, size, count * step), workers)])


def _each(work: Callable[[int], Array], items: Sequence[int], threads: int) -> list[Array]:
    """[work(item) for item in items], by several threads of Python's: nearly all of it goes on without the GIL."""
    results: dict[int, Array] = {}
    failed: list[BaseException] = []
    left, state = iter(items), np.geterr()

    def share() -> None:
        try:
            with np.errstate(**state):  # the caller's, which a thread does not have
                for item in left:
                    results[item] = work(item)
        except BaseException as error:
            failed.append(error)
            collections.deque(left, 0)  # nothing is left for the others

    helpers: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):  # where the interpreter ends, no thread may begin
        for _ in range(min(threads, len(items)) - 1):
            helper = threading.Thread(target=share)
            helper.start()
            helpers.append(helper)
    share()
    for helper in helpers:
        helper.join()
    if failed:
        raise failed[0]
    return [results[item] for item in items]


def broadcast(first: Array, second: Array, mode: str, axes: list[int], workers: int) -> Array:
    """Convolve along ``axes`` in one transform, and multiply along the others, where the arrays are broadcast."""
    transforms = _transforms()
    is_complex = "c" in (first.dtype.kind, second.dtype.kind)
    sizes = {axis: first.shape[axis] + second.shape[axis] - 1 for axis in axes}
    if not axes:
        result = first * second
    else:
        lengths = [_fast_length(sizes[axis], not is_complex) for axis in axes]
        forward, inverse = (transforms.fftn, transforms.ifftn) if is_complex else (transforms.rfftn, transforms.irfftn)
        with _threads(workers):
            product = forward(first, lengths, axes, workers=workers) * forward(second, lengths, axes, workers=workers)
            result = inverse(product, lengths, axes, workers=workers, overwrite_x=True)
    parts = []
    for axis in range(first.ndim):
        full = sizes[axis] if axis in sizes else int(result.shape[axis])
        wanted: int = full
        if mode == "same":
            wanted = first.shape[axis]
        elif mode == "valid" and axis in sizes:
            wanted = first.shape[axis] - second.shape[axis] + 1
        start = (full - wanted) // 2
        parts.append(slice(start, start + wanted))
    answer: Array = result[tuple(parts)].copy()
    return answer
