"""What the machine can do at most: multiply-adds, and bytes copied. ``compare.py`` and the asv benchmarks relate to it.

Neither probe runs any of numbaconv's code, so a kernel that gets slower cannot drag its own yardstick along. A direct
convolution cannot be faster than the multiply-adds; Winograd, which multiplies less, can.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from numbaconv.runtime import has_fma, vector_bytes

#: Sums that do not wait for each other: two units with a latency of four or five cycles each need up to 10; AVX2's 16
#: registers hold them and the factor.
CHAINS: Final = 10
#: Steps of every chain in one measurement: 0.3 ms at 2 vectors of 16 floats a cycle.
STEPS: Final = 100_000
TRIALS: Final = 300


@intrinsic  # type: ignore[untyped-decorator]
def _multiply_adds(_context: Any, _steps: Any, factor: Any) -> Any:
    """CHAINS vectors of sums in registers; each becomes itself x factor + factor, ``_steps`` times. Their total."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, value = arguments
        scalar = context.get_value_type(signature.args[1])
        lanes = vector_bytes() // (4 if scalar == ir.FloatType() else 8)
        kind = ir.VectorType(scalar, lanes)
        factors = ir.Constant(kind, ir.Undefined)
        for lane in range(lanes):
            factors = builder.insert_element(factors, value, ir.Constant(ir.IntType(32), lane))
        name = f"llvm.fma.v{lanes}{'f32' if scalar == ir.FloatType() else 'f64'}"
        fma = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(kind, [kind, kind, kind]), name
        )
        entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(count.type)
        sums = [builder.phi(kind) for _ in range(CHAINS)]
        after = [
            builder.call(fma, [item, factors, factors])
            if has_fma()
            else builder.fadd(builder.fmul(item, factors), factors)
            for item in sums
        ]
        following = builder.add(step, count.type(1))
        step.add_incoming(count.type(0), entry)
        step.add_incoming(following, loop)
        for number, (item, result) in enumerate(zip(sums, after, strict=True)):
            item.add_incoming(ir.Constant(kind, [float(number + lane) for lane in range(lanes)]), entry)
            item.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        total = functools.reduce(builder.fadd, after)
        elements = [builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(lanes)]
        return functools.reduce(builder.fadd, elements)

    return factor(numba.types.intp, factor), generate


@numba.njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _add(slot: int, _threads: int, steps: int, factor: Any, totals: Any) -> None:
    totals[slot, 0] = _multiply_adds(steps, factor)


@numba.njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _copy(slot: int, threads: int, source: Any, target: Any) -> None:
    first, last = source.size * slot // threads, source.size * (slot + 1) // threads
    target[first:last] = source[first:last]


@numba.njit(parallel=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _add_on(threads: int, steps: int, factor: Any, totals: Any) -> None:
    for slot in numba.prange(threads):
        _add(slot, threads, steps, factor, totals)


@numba.njit(parallel=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _copy_on(threads: int, source: Any, target: Any) -> None:
    for slot in numba.prange(threads):
        _copy(slot, threads, source, target)


def _probe(alone: Any, together: Any, threads: int, *arguments: Any) -> Callable[[], None]:
    """One thread enters no parallel region, where it would wait for others."""
    if threads == 1:
        return lambda: alone(0, 1, *arguments)
    return lambda: together(threads, *arguments)


def fma_probe(dtype: str, threads: int, steps: int = STEPS) -> tuple[Callable[[], None], int]:
    """A call of nothing but multiply-adds on so many of Numba's threads, and its operations."""
    size = np.dtype(dtype)
    factor, totals = size.type(0.5), np.zeros((threads, 16), size)  # a cache line for each thread
    operations = 2 * steps * CHAINS * (vector_bytes() // size.itemsize) * threads
    return _probe(_add, _add_on, threads, steps, factor, totals), operations


def copy_probe(moved: int, threads: int) -> tuple[Callable[[], None], int]:
    """A call that copies an array, reading and writing ``moved`` bytes together, and how many these are exactly.

    An amount that fits into a cache is copied within it: the probe asks for as much as the call it is compared with.
    """
    count = max(1, moved // 16)
    source, target = np.arange(count, dtype=np.float64), np.zeros(count)
    return _probe(_copy, _copy_on, threads, source, target), 16 * count


def fma_peak(dtype: str, threads: int) -> float:
    """Multiplications and additions per second of ``threads`` threads, the best of some trials."""
    call, operations = fma_probe(dtype, threads)
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        best = float("inf")
        for _ in range(TRIALS):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
    finally:
        numba.set_num_threads(before)
    return operations / best
