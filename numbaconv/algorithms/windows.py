"""Sliding windows over arrays of any number of dimensions, and what surrounds the arrays."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: What lies outside an array: one value, the nearest cell, the mirror image with or without the border, the other end.
EXTENSIONS: Final = ("fill", "nearest", "symmetric", "mirror", "wrap")


@dataclasses.dataclass(frozen=True)
class Window:
    """One sliding window problem: out[o] = sum over k of weight[k] * x[o + k - pad], in any number of dimensions.

    Attributes
    ----------
    input_shape, kernel_shape, output_shape : tuple of int
        All of one length, and all positive.
    pad : tuple of int
        For each dimension, how many cells before the first one the first window begins.
    extensions : tuple of str
        For each dimension, what lies outside the input: one of EXTENSIONS.
    """

    input_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    pad: tuple[int, ...]
    extensions: tuple[str, ...]

    def __post_init__(self) -> None:
        key = (self.input_shape, self.kernel_shape, self.output_shape, self.pad, self.extensions)
        object.__setattr__(self, "_hash", hash(key))  # asked for by every call

    def __hash__(self) -> int:
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    def after(self, axis: int) -> int:
        """How many cells behind the last one the last window reaches."""
        end = self.output_shape[axis] + self.kernel_shape[axis] - 1 - self.pad[axis]
        return max(0, end - self.input_shape[axis])

    def permuted(self, order: tuple[int, ...]) -> Window:
        """The same problem with its dimensions in another order."""

        def ordered(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[axis] for axis in order)

        return Window(
            ordered(self.input_shape), ordered(self.kernel_shape), ordered(self.output_shape), ordered(self.pad),
            ordered(self.extensions),
        )  # fmt: skip


def sources(extension: str, size: int, position: Array) -> Array:
    """Where positions along an axis of ``size`` cells are read: an index each, or -1 for the fill value."""
    if extension == "fill":
        return np.where((position >= 0) & (position < size), position, -1)
    if extension == "nearest":
        return np.clip(position, 0, size - 1)
    if extension == "wrap":
        return position % size
    if extension == "mirror":
        period = max(1, 2 * size - 2)
        position = position % period
        return np.where(position < size, position, period - position)
    position = position % (2 * size)
    return np.where(position < size, position, 2 * size - 1 - position)


def margin(extension: str, size: int, before: int, after: int) -> Array:
    """:func:`sources` of the ``before`` cells before an axis and of the ``after`` cells behind it."""
    return sources(extension, size, np.concatenate([np.arange(-before, 0), np.arange(size, size + after)]))
