"""Dtypes that no kernel has, computed in one that some kernel has.

- Integers of 8 bits are computed in int16, unsigned ones in the signed dtype of their width or more: what wraps around
  modulo 2^16 and is cut to fewer bits is what wraps around modulo fewer bits. A vector holds twice as many as of int32,
  and AVX-512 multiplies those in two steps: 0.35 to 0.45 of the time (3x3 and 1x1 layers, Emerald Rapids).
- bool asks whether any product is true: 0 and 1 are summed in int32, and the sum is compared with 0.
- float16 and bfloat16 are computed in float32 and rounded once.
- A complex convolution is a real one with twice the channels and twice the filters: [re, im] times [[re, -im], [im,
  re]].
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .arrays import KERNEL_DTYPES, SINGLE, Array
from .problem import ConvProblem


@dataclasses.dataclass(frozen=True)
class Lowering:
    """How arrays of ``dtype`` become arrays of ``kernel_dtype`` before a convolution, and its result theirs again."""

    dtype: np.dtype[Any]
    kernel_dtype: np.dtype[Any]

    @property
    def complex(self) -> bool:
        """Whether real and imaginary parts become channels of their own."""
        return self.dtype.kind == "c"

    def problem(self, problem: ConvProblem) -> ConvProblem:
        """The convolution that a kernel computes."""
        parts = 2 if self.complex else 1
        return dataclasses.replace(
            problem, channels=parts * problem.channels, filters=parts * problem.filters, dtype=self.kernel_dtype
        )

    def activation(self, activation: str | None) -> str | None:
        """The activation that a kernel applies. Integers must have wrapped around first, so :meth:`store` does it."""
        return activation if self.kernel_dtype.kind == "f" else None

    def cast(self, array: Array) -> Array:
        """Numbers of a dtype that is not complex."""
        if array.dtype == self.dtype and self.dtype.kind == "u" and self.dtype.itemsize == self.kernel_dtype.itemsize:
            return array.view(self.kernel_dtype)
        if array.dtype == self.kernel_dtype:
            return array
        return array.astype(self.kernel_dtype)

    def channels(self, array: Array, groups: int, axis: int) -> Array:
        """An array with channels along ``axis``, those of each group side by side: input, output or gradient."""
        if not self.complex:
            return self.cast(array)
        moved = np.moveaxis(array.astype(self.dtype, copy=False), axis, 0)
        parts = np.empty((groups, 2, moved.shape[0] // groups, *moved.shape[1:]), self.kernel_dtype)
        split = moved.reshape(groups, moved.shape[0] // groups, *moved.shape[1:])
        parts[:, 0], parts[:, 1] = split.real, split.imag
        return np.moveaxis(parts.reshape(2 * moved.shape[0], *moved.shape[1:]), 0, axis)

    def weight(self, weight: Array, groups: int) -> Array:
        """A weight of shape (filters, channels // groups, *kernel)."""
        if not self.complex:
            return self.cast(weight)
        filters, channels, *kernel = weight.shape
        split = weight.astype(self.dtype, copy=False).reshape(groups, filters // groups, channels, *kernel)
        matrix = np.empty((groups, 2, filters // groups, 2, channels, *kernel), self.kernel_dtype)
        matrix[:, 0, :, 0] = matrix[:, 1, :, 1] = split.real
        matrix[:, 1, :, 0] = split.imag
        matrix[:, 0, :, 1] = -split.imag
        return matrix.reshape(2 * filters, 2 * channels, *kernel)

    def store(self, result: Array, out: Array, groups: int, axis: int, activation: str | None = None) -> None:
        """Write a kernel's result with channels along ``axis`` to ``out``, in its dtype."""
        if self.complex:
            parts, target = np.moveaxis(result, axis, 0), np.moveaxis(out, axis, 0)
            split = parts.reshape(groups, 2, target.shape[0] // groups, *target.shape[1:])
            target.real = split[:, 0].reshape(target.shape)
            target.imag = split[:, 1].reshape(target.shape)
            return
        if self.dtype.kind == "b":
            np.not_equal(result, 0, out=out)
            return
        with np.errstate(over="ignore"):  # float16 has infinities, too
            np.copyto(out, result, casting="unsafe")
        if activation == "relu" and self.dtype.kind == "i":
            np.maximum(out, 0, out=out)

    def store_weight(self, result: Array, out: Array, groups: int) -> None:
        """Write a kernel's gradient with respect to :meth:`weight`'s result to that with respect to the weight."""
        if not self.complex:
            self.store(result, out, groups, 0)
            return
        filters, channels, *kernel = out.shape
        matrix = result.reshape(groups, 2, filters // groups, 2, channels, *kernel)
        out.real = (matrix[:, 0, :, 0] + matrix[:, 1, :, 1]).reshape(out.shape)
        out.imag = (matrix[:, 1, :, 0] - matrix[:, 0, :, 1]).reshape(out.shape)


def lowering(dtype: np.dtype[Any], activation: str | None = None) -> Lowering | None:
    """How to compute in ``dtype``; None where kernels do so themselves, with the activation."""
    if dtype in KERNEL_DTYPES and (activation is None or dtype.kind == "f"):
        return None
    if dtype.kind == "c":
        return Lowering(dtype, np.empty(0, dtype).real.dtype)
    if dtype.kind in "iu":
        return Lowering(dtype, np.dtype({8: np.int64, 4: np.int32}.get(dtype.itemsize, np.int16)))
    return Lowering(dtype, np.dtype(np.int32) if dtype.kind == "b" else SINGLE)
