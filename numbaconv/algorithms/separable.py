"""Separable kernels: which ones are sums of a few outer products, so that 1-D passes can replace them.

A factorisation is taken only where it changes no tap by more than a few units in its last place. Then the result is
that of direct summation with taps rounded differently, for any data: a bound on the kernel's norm alone would let a
large value under a tiny tap spoil the small outputs beside it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: Units of the dtype's epsilon, relative to each tap, by which the product of the factors may differ from it. An outer
#: product rounded to the dtype differs by half of one, the factors found from it by up to three halves.
TOLERANCE: Final = 4.0
#: More terms than this are not worth their passes.
MOST_TERMS: Final = 4


def factors(kernel: Array, dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """(columns (KH, r), rows (KW, r)) with kernel = columns @ rows.T, tap by tap, for sums in ``dtype``; or None.

    More than one term is looked for only where the sums are of a wider dtype than the kernel: terms may cancel, which
    takes some of their digits. There, taps need agree no better than to the wider dtype's last digits of the largest.

    Integers agree exactly, but for multiples of 2**64, or there are no factors.
    """
    if dtype.kind in "iu":
        return _whole_factors(kernel.astype(np.int64, casting="unsafe"), dtype)
    taps = kernel.astype(np.float64)
    size = np.abs(taps)
    i, j = np.unravel_index(int(np.argmax(size)), size.shape)
    pivot = taps[i, j]
    if not np.isfinite(size.sum()) or pivot == 0:
        return None
    bound = TOLERANCE * np.finfo(kernel.dtype).eps * size
    columns, rows = (part.astype(dtype) for part in (taps[:, j, None], taps[i, :, None] / pivot))
    if _fits(taps, columns, rows, bound):
        return columns, rows
    if dtype.itemsize <= kernel.dtype.itemsize:
        return None
    # Crosses of the largest element cost far less than a decomposition, and tell whether one is worth its time.
    rest = taps - np.outer(taps[:, j], taps[i] / pivot)
    for _ in range(MOST_TERMS - 1):
        i, j = np.unravel_index(int(np.argmax(np.abs(rest))), rest.shape)
        if rest[i, j] == 0:
            break
        rest = rest - np.outer(rest[:, j], rest[i] / rest[i, j])
    if np.abs(rest).max() > 100 * TOLERANCE * np.finfo(kernel.dtype).eps * size.max():
        return None
    bound = np.maximum(bound, TOLERANCE * np.finfo(dtype).eps * size.max())
    left, values, right = np.linalg.svd(taps)
    for terms in range(2, min(MOST_TERMS, *taps.shape) + 1):
        columns, rows = left[:, :terms] * values[:terms], right[:terms].T.copy()
        if _fits(taps, columns, rows, bound):
            return columns, rows
    return None


def _whole_factors(taps: Array, dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """The factors of an outer product of integers: a row without a common divisor, and the multiples of it.

    Sums that wrap around are those of a ring, in which the order of products and sums does not matter.
    """
    i, j = np.unravel_index(int(np.argmax(taps != 0)), taps.shape)
    divisor = np.gcd.reduce(taps[i])
    if divisor == 0:
        return None
    row = taps[i] // divisor
    column = taps[:, j] // row[j]
    if not np.array_equal(np.multiply.outer(column, row), taps):
        return None
    return column[:, None].astype(dtype), row[:, None].astype(dtype)


def _fits(taps: Array, columns: Array, rows: Array, bound: Array) -> bool:
    """Whether the factors give every tap within its bound."""
    return bool((np.abs(columns.astype(np.float64) @ rows.astype(np.float64).T - taps) <= bound).all())
