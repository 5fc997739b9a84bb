"""The FMA peak that ``compare.py`` relates its figures to: numbaconv's microkernel with everything in the L1 cache.

It is what a perfect direct convolution could reach on this machine with so many threads. Winograd, which multiplies
less, can exceed it.
"""

from __future__ import annotations

import concurrent.futures
import inspect
import time
from typing import Any, Final

import numba
import numpy as np

from numbaconv.kernels.blocking import TILE_BYTES, TILE_ROWS
from numbaconv.kernels.simd import gemm_microkernel

#: Calls of the microkernel in one measurement: 9 ms at 115 GFLOP/s, far above the start of a thread.
CALLS: Final = 4000
TRIALS: Final = 100
#: Distinct rows of B; a sum runs over them again and again, so that it is long and B still small.
ROWS: Final = 16


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _run(calls: int, *arguments: Any) -> None:
    for _ in range(calls):
        gemm_microkernel(*arguments)


def _arguments(dtype: str, seed: int) -> tuple[tuple[Any, ...], int]:
    """The microkernel's arguments for C += A B in 22 KiB, and the operations of one call."""
    size = np.dtype(dtype)
    columns, depth = TILE_BYTES // size.itemsize, 2048 // size.itemsize
    random = np.random.default_rng(seed)
    sums = np.zeros(TILE_ROWS * columns, size)
    values: dict[str, Any] = {
        "a": random.standard_normal(depth * TILE_ROWS).astype(size), "a_start": 0,
        "b": random.standard_normal(ROWS * columns).astype(size), "b_start": 0,
        "rows": (np.arange(depth) % ROWS * columns).astype(np.int64), "depth": depth,
        "out": sums, "start": 0, "stride": columns, "spare": 0, "accumulate": 1, "bias_start": 0, "finish": 0,
    }  # fmt: skip
    names = list(inspect.signature(gemm_microkernel).parameters)[1:]
    return tuple(values[name] for name in names), 2 * depth * TILE_ROWS * columns


def fma_peak(dtype: str, threads: int) -> float:
    """Multiplications and additions per second of ``threads`` threads, the best of some trials."""
    prepared = [_arguments(dtype, seed) for seed in range(threads)]
    _run(1, *prepared[0][0])
    best = 0.0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in range(TRIALS):
            start = time.perf_counter()
            for future in [pool.submit(_run, CALLS, *arguments) for arguments, _ in prepared]:
                future.result()
            best = max(best, CALLS * sum(flops for _, flops in prepared) / (time.perf_counter() - start))
    return best
