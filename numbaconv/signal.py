"""SciPy's convolutions: ``scipy.signal``'s names, arguments, defaults and results, on all cores.

``from numbaconv.signal import convolve2d`` in place of ``from scipy.signal import convolve2d`` is all there is to do.
"""

from __future__ import annotations

import functools
import timeit
import warnings
from typing import Any

import numpy as np

from . import choosing
from .arrays import Array
from .choosing import FilterPlan
from .forks import load_module
from .scipy_rules import (
    BOUNDARIES,
    MODES,
    check_boundary,
    check_mode,
    checked_axes,
    fill_number,
    left_to_scipy,
    native,
    of_empty,
    result_dtype,
    swaps,
)
from .tensors import lies_on_gpu

__all__ = [
    "choose_conv_method", "convolve", "convolve2d", "correlate", "correlate2d", "explain", "fftconvolve", "oaconvolve",
]  # fmt: skip


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """Convolve two 2-D arrays; a drop-in for :func:`scipy.signal.convolve2d`.

    Parameters
    ----------
    in1, in2 : array_like
        Of two dimensions each; or both arrays on a GPU, which then computes, and the result is of their kind.
    mode : {"full", "valid", "same"}
        "full" returns every output that depends on both arrays, "same" the central part of in1's shape, "valid" what
        depends on nothing outside the larger array, which must be at least as large in both dimensions.
    boundary : {"fill", "wrap", "symm", "reflect", "mirror", "nearest"}
        What surrounds in1: ``fillvalue``, its other end, its mirror image with the border (c b a | a b c) or, for both
        "reflect" and "mirror", without it (c b | a b c), or its nearest cell. The last three are beyond SciPy.
    fillvalue : scalar
        For boundary "fill".

    Returns
    -------
    ndarray
        Of NumPy's promotion of the two dtypes: integers are exact and wrap around, float32 is summed in float32.

    Raises
    ------
    ValueError
        Where an array is not 2-D, a name is not known, ``fillvalue`` is not one number of the result's dtype, or in
        "valid" mode neither array contains the other.

    Notes
    -----
    Products are summed directly, in the order of the taps; where that is faster in one of two other ways.
    A kernel that is an outer product, to the last digits of every tap, is summed by rows and then by columns. Large
    kernels go through Fourier transforms of tiles in double precision: integers only where the result is proven exact;
    float32 results err no more than direct sums may, or are summed directly after all, as are those of tiles that hold
    NaN, infinity or, in float64, parts whose values are far smaller than others. What is kept in float64 errs by less
    than 2**-14 of the result, which is proven, and usually like a direct sum. :func:`explain` tells which way is taken.
    bool, float16 and longdouble results are left to SciPy, and the result is the same on any number of threads.

    References
    ----------
    Replaces ``scipy.signal.convolve2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import convolve2d
    >>> image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    >>> convolve2d(image, [[1, 0, -1]], mode="same")
    array([[ 2,  2, -2],
           [ 5,  2, -5],
           [ 8,  2, -8]])
    """
    known, call = choosing.again("convolve2d", in1, in2, mode, boundary, fillvalue)
    if known is not None:
        return known
    if lies_on_gpu(in1) or lies_on_gpu(in2):
        return _on_gpu(in1, in2, mode, boundary, fillvalue, correlated=False)
    image, taps = _pair("convolve2d", in1, in2, mode)
    if image is not in1:
        call = None
    dtype = result_dtype(image, taps)
    if dtype is None:
        return _scipy("convolve2d", in1, in2, mode, boundary, fillvalue)
    return _two_dimensions(image, taps, mode, boundary, fillvalue, dtype, call)


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """Cross-correlate two 2-D arrays; a drop-in for :func:`scipy.signal.correlate2d`.

    Parameters
    ----------
    in1, in2, mode, boundary, fillvalue
        As in :func:`convolve2d`. in2 is conjugated, and not flipped.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        As in :func:`convolve2d`.

    References
    ----------
    Replaces ``scipy.signal.correlate2d``. Where "valid" mode swaps complex arrays, SciPy conjugates the other one; so
    does this.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import correlate2d
    >>> correlate2d(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 0.0, -1.0]]), mode="valid")
    array([[-2.]])
    """
    known, call = choosing.again("correlate2d", in1, in2, mode, boundary, fillvalue)
    if known is not None:
        return known
    if lies_on_gpu(in1) or lies_on_gpu(in2):
        return _on_gpu(in1, in2, mode, boundary, fillvalue, correlated=True)
    image, taps = _pair("correlate2d", in1, in2, mode)
    if image is not in1:
        call = None
    dtype = result_dtype(image, taps)
    if dtype is None:
        return _scipy("correlate2d", in1, in2, mode, boundary, fillvalue)
    result = _two_dimensions(image, np.flip(taps.conj()), mode, boundary, fillvalue, dtype, call, late=True)
    reversed_ = mode == "valid" and image.shape != np.shape(in1)
    return np.flip(result) if reversed_ else result


def _on_gpu(in1: Any, in2: Any, mode: str, boundary: str, fillvalue: Any, *, correlated: bool) -> Array:
    result: Array = load_module(".cuda.images").convolve2d(in1, in2, mode, boundary, fillvalue, correlated=correlated)
    return result


def _pair(name: str, in1: Any, in2: Any, mode: str) -> tuple[Array, Array]:
    """Both arguments of a 2-D function as arrays; swapped where "valid" mode wants the larger one first."""
    image, taps = np.asarray(in1), np.asarray(in2)
    if not image.ndim == taps.ndim == 2:
        raise ValueError(f"{name} inputs must both be 2-D arrays; got {image.ndim} and {taps.ndim} dimensions")
    return (taps, image) if swaps(mode, image.shape, taps.shape) else (image, taps)


def _two_dimensions(
    image: Array, taps: Array, mode: str, boundary: str, fillvalue: Any, dtype: np.dtype[Any], call: Any,
    late: bool = False,
) -> Array:  # fmt: skip
    """The body of both 2-D functions; ``taps`` are convolved."""
    check_mode(mode)
    check_boundary(boundary)
    extension = BOUNDARIES[boundary]
    fill = fill_number(fillvalue, dtype) if extension == "fill" else 0
    if image.size == 0 or taps.size == 0:
        window = choosing.convolution_window(image.shape, taps.shape, mode)
        out = np.zeros(window.output_shape, dtype)
        if taps.size and extension == "fill" and fill != 0:
            out += (taps.sum(dtype=dtype) * np.asarray(fill)).astype(dtype)
        return out
    return choosing.convolve(
        native(image), native(taps), mode, dtype, extension=extension, fill=fill, late=late, call=call, correlated=late
    )


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Array:
    """Convolve two N-dimensional arrays; a drop-in for :func:`scipy.signal.convolve`.

    Parameters
    ----------
    in1, in2 : array_like
        Of equally many dimensions.
    mode : {"full", "valid", "same"}
        As in :func:`convolve2d`.
    method : {"auto", "direct", "fft"}
        "auto" takes what is expected to be fastest, as :func:`convolve2d` does. "fft" transforms whatever the data.

    Returns
    -------
    ndarray
        Of NumPy's promotion of the two dtypes; with "fft", integers are rounded.

    Raises
    ------
    ValueError
        Where the dimensions differ, a name is not known, or in "valid" mode neither array contains the other.

    Warns
    -----
    RuntimeWarning
        Where method "fft" meets NaN or infinity, which it spreads.

    References
    ----------
    Replaces ``scipy.signal.convolve``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import convolve
    >>> convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    """
    known, call = choosing.again("convolve", in1, in2, mode, method, 0)
    if known is not None:
        return known
    volume, kernel = np.asarray(in1), np.asarray(in2)
    if volume.ndim == kernel.ndim == 0:
        return _product(volume, kernel)
    if volume.ndim != kernel.ndim:
        raise ValueError(
            f"volume and kernel should have the same dimensionality; got {volume.ndim} and {kernel.ndim} dimensions"
        )
    if swaps(mode, volume.shape, kernel.shape):
        volume, kernel, call = kernel, volume, None
    if method not in ("auto", "direct", "fft"):
        raise ValueError(f"Acceptable method flags are 'auto', 'direct', or 'fft'; got {method!r}")
    dtype = result_dtype(volume, kernel)
    if dtype is None:
        return _scipy("convolve", in1, in2, mode, method)
    check_mode(mode)
    if volume.size == 0 or kernel.size == 0:
        return of_empty(volume.shape, kernel.shape, mode, method, dtype)
    if method != "fft":
        return choosing.convolve(native(volume), native(kernel), mode, dtype, method=method, strict=False, call=call)
    result = fftconvolve(volume, kernel, mode)
    if dtype.kind in "iu":
        result = np.rint(result)
    if not np.isfinite(result.sum()):
        warnings.warn(
            "Use of fft convolution on input with NAN or inf results in NAN or inf output. Consider using "
            "method='direct' instead.",
            RuntimeWarning,
            stacklevel=2,
        )
    return result.astype(dtype)


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Array:
    """Cross-correlate two N-dimensional arrays; a drop-in for :func:`scipy.signal.correlate`.

    Parameters
    ----------
    in1, in2, mode, method
        As in :func:`convolve`. in2 is conjugated, and not flipped.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        As in :func:`convolve`.

    References
    ----------
    Replaces ``scipy.signal.correlate``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import correlate
    >>> correlate([1, 2, 3], [0, 1, 2])
    array([2, 5, 8, 3, 0])
    """
    volume, kernel = np.asarray(in1), np.asarray(in2)
    if volume.ndim == kernel.ndim == 0:
        return _product(volume, kernel.conj())
    if volume.ndim != kernel.ndim:
        raise ValueError(
            f"in1 and in2 should have the same dimensionality; got {volume.ndim} and {kernel.ndim} dimensions"
        )
    check_mode(mode)
    if method not in ("auto", "direct", "fft"):
        raise ValueError(f"Acceptable method flags are 'auto', 'direct', or 'fft'; got {method!r}")
    if result_dtype(volume, kernel) is None:
        return _scipy("correlate", in1, in2, mode, method)
    return convolve(volume, np.flip(kernel.conj()), mode, method)


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Array:
    """Convolve two N-dimensional arrays by fast Fourier transforms; a drop-in for :func:`scipy.signal.fftconvolve`.

    Parameters
    ----------
    in1, in2 : array_like
        Of equally many dimensions; along those not in ``axes`` they are broadcast.
    mode : {"full", "valid", "same"}
        As in :func:`convolve2d`.
    axes : int or iterable of int, optional
        Along which to convolve; by default along all.

    Returns
    -------
    ndarray
        float32 or complex64 where both arrays have that precision or less, and are no integers; else double precision.

    Raises
    ------
    ValueError
        Where shapes, mode or axes do not fit.

    References
    ----------
    Replaces ``scipy.signal.fftconvolve``. The transforms are those of :mod:`scipy.fft`, on all of Numba's threads and,
    where one array is much longer than the other, block by block.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import fftconvolve
    >>> fftconvolve([1.0, 2.0, 3.0], [0.0, 1.0, 0.5]).round(3)
    array([0. , 1. , 2.5, 4. , 1.5])
    """
    return _transformed("fftconvolve", in1, in2, mode, axes)


def oaconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Array:
    """Convolve two N-dimensional arrays of different sizes by transforms of blocks.

    A drop-in for :func:`scipy.signal.oaconvolve`; here it is the same as :func:`fftconvolve`, which chooses its blocks.

    Parameters
    ----------
    in1, in2, mode, axes
        As in :func:`fftconvolve`.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        As in :func:`fftconvolve`.

    References
    ----------
    Replaces ``scipy.signal.oaconvolve``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import oaconvolve
    >>> oaconvolve(np.ones(6), [1.0, 1.0], mode="valid").round(3)
    array([2., 2., 2., 2., 2.])
    """
    return _transformed("oaconvolve", in1, in2, mode, axes)


def _transformed(name: str, in1: Any, in2: Any, mode: str, axes: Any) -> Array:
    first, second = np.asarray(in1), np.asarray(in2)
    if first.ndim == second.ndim == 0:
        return _product(first, second)
    if first.ndim != second.ndim:
        raise ValueError(
            f"in1 and in2 should have the same dimensionality; got {first.ndim} and {second.ndim} dimensions"
        )
    if first.size == 0 or second.size == 0:
        return np.array([])
    kinds = first.dtype.kind + second.dtype.kind
    if not set(kinds) <= set("biufc") or {"g", "G"} & {first.dtype.char, second.dtype.char}:
        return _scipy(name, in1, in2, mode, axes)
    chosen = checked_axes(first.ndim, axes)
    chosen = [axis for axis in chosen if first.shape[axis] != 1 and second.shape[axis] != 1]
    for axis in range(first.ndim):
        n, k = first.shape[axis], second.shape[axis]
        if axis not in chosen and n != k and 1 not in (n, k):
            raise ValueError(f"incompatible shapes for in1 and in2: {first.shape} and {second.shape}")
    if swaps(mode, first.shape, second.shape, chosen):
        first, second = second, first
    if mode not in MODES:
        raise ValueError(f"acceptable mode flags are 'valid', 'same', or 'full'; got {mode!r}")
    if not chosen:  # nothing to transform, and SciPy keeps the dtype of the product
        return choosing.convolve_by_transforms(first, second, mode, chosen)
    # Integers count as double precision, half as single.
    first, second = (
        array.astype(np.float64 if array.dtype.kind in "iu" else np.float32 if array.dtype.char == "e" else array.dtype)
        for array in (native(first), native(second))
    )
    return choosing.convolve_by_transforms(first, second, mode, chosen)


def choose_conv_method(in1: Any, in2: Any, mode: str = "full", measure: bool = False) -> Any:
    """Find the fastest method of :func:`convolve`; a drop-in for :func:`scipy.signal.choose_conv_method`.

    Parameters
    ----------
    in1, in2 : array_like
        The arrays to convolve.
    mode : {"full", "valid", "same"}
        As in :func:`convolve`.
    measure : bool
        Whether to time both methods rather than to predict.

    Returns
    -------
    str
        "direct" or "fft".
    dict
        Only with ``measure``: the seconds that each took.

    Raises
    ------
    ValueError
        As in :func:`convolve`.

    References
    ----------
    Replaces ``scipy.signal.choose_conv_method``. The prediction is that of :func:`explain`; a separable kernel
    counts as "direct".

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.signal import choose_conv_method
    >>> choose_conv_method(np.ones(100), np.ones(3))
    'direct'
    """
    volume, kernel = np.asarray(in1), np.asarray(in2)
    if measure:
        times = {
            method: min(timeit.repeat(functools.partial(convolve, volume, kernel, mode, method), number=1, repeat=4))
            for method in ("fft", "direct")
        }
        return min(times, key=times.__getitem__), times
    if result_dtype(volume, kernel) is None:
        return left_to_scipy("choose_conv_method", in1, in2, mode)
    return "fft" if explain(volume, kernel, mode).method == "fft" else "direct"


def explain(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> FilterPlan:
    """Tell how :func:`convolve2d` or, in other numbers of dimensions, :func:`convolve` would compute a call, and why.

    Parameters
    ----------
    in1, in2, mode, boundary, fillvalue
        As in :func:`convolve2d`; the plan depends on the arrays' values, too.

    Returns
    -------
    FilterPlan
        Printable: the method, why, and why not the others.

    Raises
    ------
    ValueError
        As in :func:`convolve2d`.
    TypeError
        Where the call would be left to SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv import signal
    >>> row = np.hanning(33)[1:-1]
    >>> signal.explain(np.ones((1080, 1920)), np.outer(row, row), mode="same").method
    'separable'
    """
    image, taps = np.asarray(in1), np.asarray(in2)
    if image.ndim != taps.ndim:
        dimensions = f"{image.ndim} and {taps.ndim} dimensions"
        raise ValueError(f"in1 and in2 should have the same dimensionality; got {dimensions}")
    check_mode(mode)
    if swaps(mode, image.shape, taps.shape):
        image, taps = taps, image
    dtype = result_dtype(image, taps)
    if dtype is None:
        raise TypeError(f"arrays of {image.dtype} and {taps.dtype} are left to SciPy")
    check_boundary(boundary)
    fill = fill_number(fillvalue, dtype) if BOUNDARIES[boundary] == "fill" else 0
    return choosing.plan(native(image), native(taps), mode, dtype, extension=BOUNDARIES[boundary], fill=fill)


def _product(first: Array, second: Array) -> Array:
    """Element by element; of arrays without dimensions, a scalar, as SciPy returns it."""
    product: Array = first * second
    return product


def _scipy(name: str, *arguments: Any) -> Array:
    result: Array = left_to_scipy(name, *arguments)
    return result
