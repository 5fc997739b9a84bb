"""Memory that a call needs only while it runs, kept for the next one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .arrays import LINE_BYTES, Array, address_of

#: Bytes of scratch, or of weights packed for one call, from which and up to which their memory is kept for the next
#: call, and how many pieces of it. malloc gives memory at its end back to the system, and each page of it is a fault in
#: the next call: plain calls of 3x3 taps over 64x56x56 took 2.3 times as long, in programs that never freed larger
#: arrays (544 faults; Emerald Rapids).
LEAST_KEPT: Final = 2**16
MOST_KEPT: Final = 2**24
PIECES_KEPT: Final = 4

_kept: list[Array] = []


def borrow(elements: int, dtype: np.dtype[Any]) -> Array | None:
    """Uninitialised memory that begins on a cache line, until :func:`give_back`; None for sizes that are not kept."""
    size = elements * dtype.itemsize
    if not LEAST_KEPT <= size <= MOST_KEPT:
        return None
    try:
        memory = _kept.pop()  # nobody else gets it meanwhile, neither another thread nor a call within this one
    except IndexError:
        memory = np.empty(0, np.uint8)
    if memory.size < size + LINE_BYTES:
        memory = np.empty(size + LINE_BYTES, np.uint8)
    start = -address_of(memory) % LINE_BYTES
    return memory[start : start + size].view(dtype)


def scratch(elements: int, dtype: np.dtype[Any]) -> Array:
    """Uninitialised memory for one run of a kernel; :func:`give_back` takes it back."""
    borrowed = borrow(elements, dtype) if elements * dtype.itemsize >= LEAST_KEPT else None
    return np.empty(elements, dtype) if borrowed is None else borrowed


def give_back(borrowed: Array) -> None:
    """Keep memory for the next call."""
    if LEAST_KEPT <= borrowed.nbytes <= MOST_KEPT and len(_kept) < PIECES_KEPT and borrowed.base is not None:
        _kept.append(borrowed.base)
