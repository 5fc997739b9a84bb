"""The rules of SciPy's signal functions: dtypes, modes, what is swapped, what is left to SciPy itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from . import choosing
from .arrays import Array
from .forks import load_module

MODES: Final = ("valid", "same", "full")
#: SciPy's names of what surrounds an image, those of scipy.ndimage, and the canonical ones.
BOUNDARIES: Final = {
    "fill": "fill", "pad": "fill", "wrap": "wrap", "circular": "wrap", "symm": "symmetric", "symmetric": "symmetric",
    "reflect": "mirror", "mirror": "mirror", "nearest": "nearest",
}  # fmt: skip


def left_to_scipy(name: str, *arguments: Any) -> Any:
    """What is left to SciPy: results of bool, float16, longdouble and object dtype."""
    return getattr(load_module("scipy.signal"), name)(*arguments)


def result_dtype(first: Any, second: Any) -> np.dtype[Any] | None:
    """The result's dtype, or None where SciPy itself must compute it."""
    if first.dtype.kind not in "biufc" or second.dtype.kind not in "biufc":
        return None
    dtype = first.dtype if first.dtype is second.dtype else np.result_type(first.dtype, second.dtype)
    if dtype.kind == "b" or dtype.char in "egG":
        return None
    native: np.dtype[Any] = dtype if dtype.isnative else dtype.newbyteorder("=")
    return native


def native(array: Array) -> Array:
    """An array whose dtype the kernels know: bool as uint8, half as float32."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    return array.astype(np.float32) if array.dtype.char == "e" else array


def check_mode(mode: Any) -> None:
    """Raise ValueError for an unknown mode."""
    if mode not in MODES:
        raise ValueError(f"Acceptable mode flags are 'valid', 'same', or 'full'; got {mode!r}")


def check_boundary(boundary: Any) -> None:
    """Raise ValueError for an unknown boundary."""
    if boundary not in BOUNDARIES:
        raise ValueError(
            f"Acceptable boundary flags are 'fill', 'wrap', 'symm', 'reflect', 'mirror' and 'nearest'; got {boundary!r}"
        )


def swaps(mode: Any, first: tuple[int, ...], second: tuple[int, ...], axes: Iterable[int] | None = None) -> bool:
    """Whether "valid" mode swaps the arrays; ValueError where neither contains the other."""
    if mode != "valid" or not first:
        return False
    axes = range(len(first)) if axes is None else list(axes)
    if all(first[axis] >= second[axis] for axis in axes):
        return False
    if all(second[axis] >= first[axis] for axis in axes):
        return True
    raise ValueError(
        "For 'valid' mode, one must be at least as large as the other in every dimension; "
        f"got shapes {first} and {second}"
    )


def fill_number(fillvalue: Any, dtype: np.dtype[Any]) -> Any:
    """``fillvalue`` as one number of the result's dtype."""
    if type(fillvalue) is int and fillvalue == 0:
        return 0
    value = np.asarray(fillvalue)
    if value.size != 1:
        raise ValueError("`fillvalue` must be scalar or an array with one element.")
    number = complex("nan") if value.item() is None else complex(value.item())
    if dtype.kind == "c":
        return number
    fits = number.imag == 0
    if fits and dtype.kind in "iu":
        info = np.iinfo(dtype)
        fits = bool(np.isfinite(number.real)) and info.min <= int(number.real) <= info.max
    if not fits:
        raise ValueError("could not cast `fillvalue` directly to the output type (it was first converted to complex).")
    return int(number.real) if dtype.kind in "iu" else number.real


def of_empty(first: tuple[int, ...], second: tuple[int, ...], mode: str, method: str, dtype: np.dtype[Any]) -> Array:
    """What SciPy makes of an empty array: an error, or where the output is empty or a sum of nothing, that."""
    if method == "fft":
        raise IndexError("index 0 is out of bounds for axis 0 with size 0")
    if mode == "full" or (mode == "same" and 0 in second) or (mode == "valid" and len(first) == 1):
        raise ValueError(f"in mode {mode!r} no array may be empty; got shapes {first} and {second}")
    return np.zeros(choosing.convolution_window(first, second, mode).output_shape, dtype)


def checked_axes(ndim: int, axes: Any) -> list[int]:
    """The axes that are asked for, each once and not negative."""
    if axes is None:
        return list(range(ndim))
    given = list(axes) if isinstance(axes, Iterable) else [axes]
    if not given:
        raise ValueError("when provided, axes cannot be empty")
    try:
        chosen = [int(np.asarray(axis).__index__()) for axis in given]
    except TypeError:
        raise ValueError("axes must be a scalar or iterable of integers") from None
    if any(not -ndim <= axis < ndim for axis in chosen):
        raise ValueError(f"axes exceeds dimensionality of input: {axes} with {ndim} dimensions")
    chosen = [axis % ndim for axis in chosen]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"all axes must be unique; got {axes}")
    return chosen
