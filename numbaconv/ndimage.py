"""SciPy's image filters: ``scipy.ndimage``'s names, arguments, defaults and results, on all cores."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from . import choosing
from .arrays import Array, new_array

__all__ = ["convolve", "convolve1d", "correlate", "correlate1d"]

#: SciPy's names of what surrounds an image.
_MODES: Final = {
    "reflect": "symmetric", "grid-mirror": "symmetric", "constant": "fill", "grid-constant": "fill",
    "nearest": "nearest", "mirror": "mirror", "wrap": "wrap", "grid-wrap": "wrap",
}  # fmt: skip
#: Taps that SciPy leaves out, so that NaN under them does no harm.
_NO_TAP: Final = float(np.finfo(np.float64).eps)


def correlate(
    input: Any, weights: Any, output: Any = None, mode: str = "reflect", cval: Any = 0.0, origin: Any = 0, *,
    axes: Any = None,
) -> Array:  # fmt: skip
    """Correlate an image with a kernel of as many dimensions; a drop-in for :func:`scipy.ndimage.correlate`.

    Parameters
    ----------
    input : array_like
        Real or complex, of any number of dimensions.
    weights : array_like
        The kernel; with ``axes``, of that many dimensions.
    output : ndarray or dtype, optional
        Where the result is written, or its dtype; by default an array of the input's dtype.
    mode : {"reflect", "constant", "nearest", "mirror", "wrap", "grid-mirror", "grid-constant", "grid-wrap"}
        What surrounds the image: its mirror image with the border ("reflect"), ``cval``, its nearest cell, its mirror
        image without the border, or its other end.
    cval : scalar
        For mode "constant".
    origin : int or sequence of int
        Where the kernel's centre lies, for each axis: 0 is the middle, positive values shift it to the right.
    axes : int or tuple of int, optional
        Along which the kernel lies; by default all.

    Returns
    -------
    ndarray

    Raises
    ------
    RuntimeError
        As in SciPy: where weights, mode or output do not fit, or an array is float16, longdouble or of objects.
    ValueError
        Where an origin or an axis does not fit.

    Notes
    -----
    Sums are computed in float64 and, for integer outputs, cut off towards zero. For these and for small
    kernels products are rounded and added in SciPy's order, which gives SciPy's results to the last
    bit; elsewhere faster ways may be taken, see :func:`numbaconv.signal.convolve2d`.

    References
    ----------
    Replaces ``scipy.ndimage.correlate``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv import ndimage
    >>> ndimage.correlate(np.array([[1, 2, 3], [4, 5, 6]]), np.ones((1, 3)), mode="nearest")
    array([[ 4,  6,  8],
           [13, 15, 17]])
    """
    return _filtered(input, weights, output, mode, cval, origin, axes, convolution=False)


def convolve(
    input: Any, weights: Any, output: Any = None, mode: str = "reflect", cval: Any = 0.0, origin: Any = 0, *,
    axes: Any = None,
) -> Array:  # fmt: skip
    """Convolve an image with a kernel of as many dimensions; a drop-in for :func:`scipy.ndimage.convolve`.

    Parameters
    ----------
    input, weights, output, mode, cval, origin, axes
        As in :func:`correlate`. The kernel is flipped, and not conjugated.

    Returns
    -------
    ndarray

    Raises
    ------
    RuntimeError, ValueError
        As in :func:`correlate`.

    References
    ----------
    Replaces ``scipy.ndimage.convolve``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv import ndimage
    >>> ndimage.convolve(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), np.array([1.0, 2.0, 3.0]), mode="constant")
    array([0., 1., 2., 3., 0.])
    """
    return _filtered(input, weights, output, mode, cval, origin, axes, convolution=True)


def correlate1d(
    input: Any, weights: Any, axis: int = -1, output: Any = None, mode: str = "reflect", cval: Any = 0.0,
    origin: int = 0,
) -> Array:  # fmt: skip
    """Correlate along one axis; a drop-in for :func:`scipy.ndimage.correlate1d`.

    Parameters
    ----------
    input, output, mode, cval, origin
        As in :func:`correlate`.
    weights : array_like
        Of one dimension.
    axis : int
        The axis of the image along which they lie.

    Returns
    -------
    ndarray

    Raises
    ------
    RuntimeError, ValueError
        As in :func:`correlate`.

    References
    ----------
    Replaces ``scipy.ndimage.correlate1d``, which adds the cells under equal taps before it multiplies; here they are
    multiplied one by one, so that the last bit may differ.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv import ndimage
    >>> ndimage.correlate1d(np.array([2, 8, 0, 4, 1, 9, 9, 0]), [1, 3])
    array([ 8, 26,  8, 12,  7, 28, 36,  9])
    """
    image, taps = np.asarray(input), np.asarray(weights)
    complex_output = image.dtype.kind == "c" or taps.dtype.kind == "c"
    target = _output(output, image, complex_output)
    _check_cval(image, taps, cval)
    if taps.ndim != 1 or taps.shape[0] < 1:
        raise RuntimeError(f"no filter weights given; weights must have one dimension; got shape {taps.shape}")
    index = operator.index(axis)
    if not -image.ndim <= index < image.ndim:
        raise np.exceptions.AxisError(index, image.ndim)
    shape = [1] * image.ndim
    shape[index] = taps.size
    origins = [0] * image.ndim
    origins[index] = origin
    return _correlated(image, taps.conj().reshape(shape), target, mode, cval, origins)


def convolve1d(
    input: Any, weights: Any, axis: int = -1, output: Any = None, mode: str = "reflect", cval: Any = 0.0,
    origin: int = 0,
) -> Array:  # fmt: skip
    """Convolve along one axis; a drop-in for :func:`scipy.ndimage.convolve1d`.

    Parameters
    ----------
    input, weights, axis, output, mode, cval, origin
        As in :func:`correlate1d`. The weights are flipped, and not conjugated.

    Returns
    -------
    ndarray

    Raises
    ------
    RuntimeError, ValueError
        As in :func:`correlate1d`.

    References
    ----------
    Replaces ``scipy.ndimage.convolve1d``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv import ndimage
    >>> ndimage.convolve1d(np.array([2, 8, 0, 4, 1, 9, 9, 0]), [1, 3])
    array([14, 24,  4, 13, 12, 36, 27,  0])
    """
    taps = np.asarray(weights)
    if taps.ndim == 0:
        raise RuntimeError("no filter weights given; weights must have one dimension")
    return correlate1d(input, taps[::-1].conj(), axis, output, mode, cval, -origin - (1 - len(taps) % 2))


def _filtered(
    input: Any, weights: Any, output: Any, mode: Any, cval: Any, origin: Any, axes: Any, convolution: bool
) -> Array:
    """The body of correlate and convolve."""
    image, taps = np.asarray(input), np.asarray(weights)
    complex_output = image.dtype.kind == "c" or taps.dtype.kind == "c"
    if complex_output:
        output = _output(output, image, complex_output)
        _check_cval(image, taps, cval)
    chosen = _axes(axes, image.ndim)
    if len(chosen) < image.ndim:
        if taps.ndim != len(chosen):
            raise RuntimeError(f"weights.ndim ({taps.ndim}) must match len(axes) ({len(chosen)})")
        taps = np.expand_dims(taps, tuple(axis for axis in range(image.ndim) if axis not in chosen))
    given = list(origin) if np.iterable(origin) and not isinstance(origin, str) else [origin] * len(chosen)
    if len(given) != len(chosen):
        raise RuntimeError(
            f"sequence argument must have length equal to input rank; got origin {origin!r} for {len(chosen)} axes"
        )
    origins = [0] * image.ndim
    for axis, value in zip(chosen, given, strict=True):
        origins[axis] = value
    sizes = [size for size in taps.shape if size > 0]
    if len(sizes) != image.ndim:
        raise RuntimeError(f"weights.ndim ({len(sizes)}) must match len(axes) ({len(chosen)})")
    if convolution:
        taps = np.flip(taps)
        origins = [-value - (1 - size % 2) for value, size in zip(origins, taps.shape, strict=True)]
    else:
        taps = taps.conj()
    _check_origins(origins, taps.shape)
    target = output if complex_output else _output(output, image, complex_output)
    if not isinstance(mode, str) and isinstance(mode, Iterable):
        raise RuntimeError("A sequence of modes is not supported")
    return _correlated(image, taps, target, mode, cval, origins)


def _check_cval(image: Array, taps: Array, cval: Any) -> None:
    if image.dtype.kind != "c" and taps.dtype.kind == "c" and np.iscomplexobj(cval):
        raise ValueError("Cannot provide a complex-valued cval when the input is real.")


def _check_origins(origins: list[Any], sizes: tuple[int, ...]) -> None:
    for value, size in zip(origins, sizes, strict=True):
        if not -(size // 2) <= value <= (size - 1) // 2:
            raise ValueError(
                "Invalid origin; origin must satisfy -(weights.shape[k] // 2) <= origin[k] <= "
                f"(weights.shape[k]-1) // 2; got {value} for {size} weights"
            )


def _correlated(image: Array, taps: Array, target: Array, mode: Any, cval: Any, origins: list[Any]) -> Array:
    """Correlate ``image`` with taps of as many dimensions into ``target``, which is returned."""
    _check_origins(origins, taps.shape)
    if mode not in _MODES:
        raise RuntimeError(f"boundary mode not supported; mode must be one of {', '.join(_MODES)}; got {mode!r}")
    for array in (image, target):
        if array.dtype.kind not in "biufc" or array.dtype.char in "egG":
            raise RuntimeError(f"array type {array.dtype} not supported")
    taps = taps.astype(np.complex128 if taps.dtype.kind == "c" else np.float64)
    fill = complex(cval) if image.dtype.kind == "c" else float(cval)
    if target.size == 0:
        return target
    if image.ndim == 0:
        image, taps = image.reshape(1), taps.reshape(1)
    result = target.reshape(image.shape)
    separate = np.may_share_memory(image, target)
    if separate:
        result = new_array(image.shape, target.dtype)
    if image.dtype.kind == "b":
        image = image.view(np.uint8)
    pad = tuple(int(size // 2 + value) for size, value in zip(taps.shape, origins or [0], strict=True))
    window = choosing.Window(image.shape, taps.shape, image.shape, pad, (_MODES[mode],) * image.ndim)
    written = result.view(np.uint8) if result.dtype.kind == "b" else result
    choosing.filter_image(window, image, taps, written, fill, _NO_TAP)
    if result.dtype.kind == "b":
        result[...] = written != 0
    if separate:
        target[...] = result.reshape(target.shape)
    return target


def _axes(axes: Any, ndim: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(ndim))
    if np.isscalar(axes):
        given: tuple[Any, ...] = (axes,)
    elif isinstance(axes, Iterable):
        given = tuple(axes)
    else:
        raise ValueError("axes must be an integer, iterable of integers, or None")
    chosen = tuple(operator.index(axis) for axis in given)
    for axis in chosen:
        if not -ndim <= axis < ndim:
            raise ValueError(f"specified axis: {axis} is out of range")
    chosen = tuple(axis % ndim for axis in chosen)
    if len(set(chosen)) != len(chosen):
        raise ValueError("axes must be unique")
    return chosen


def _output(output: Any, image: Array, is_complex: bool) -> Array:
    """The array that the result is written to, by SciPy's rules."""
    if output is None:
        dtype = np.promote_types(image.dtype, np.complex64) if is_complex else image.dtype.newbyteorder("=")
        return new_array(image.shape, dtype)
    if isinstance(output, (type, np.dtype)):
        dtype = np.dtype(output)
        if is_complex and dtype.kind != "c":
            warnings.warn("promoting specified output dtype to complex", stacklevel=4)
            dtype = np.promote_types(dtype, np.complex64)
        return new_array(image.shape, dtype)
    if isinstance(output, str):
        dtype = np.dtype(output)
        if is_complex and dtype.kind != "c":
            raise RuntimeError("output must have complex dtype")
        if not issubclass(dtype.type, np.number):
            raise RuntimeError(f"output must have numeric dtype; got {dtype}")
        return new_array(image.shape, dtype)
    array = np.asarray(output)
    if array.shape != image.shape:
        raise RuntimeError(f"output shape not correct; got {array.shape} for an input of shape {image.shape}")
    if is_complex and array.dtype.kind != "c":
        raise RuntimeError("output must have complex dtype")
    return array
