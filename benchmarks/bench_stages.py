"""The stages of a convolution, each in a problem that consists of little else, and the microkernel alone.

The problems are public calls, so that older versions can be measured, too: laying out weights by a plain call of large
weights on a small image, packing and transforming the input by many channels and one filter, the output's transform by
one channel and many filters.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import numba
import numpy as np
from peers import OURS_LAYER, OURS_PLAIN, Unsupported, make_arrays
from ratios import Roofed, Work, check, contestant, moved
from suites import Layer, layer
from timing import TOLERANCES, reference

#: stage: (the problem, the contestant, the algorithm)
STAGES: Final[dict[str, tuple[Layer, str, str]]] = {
    f"{stage}: {algorithm}": (problem, who, algorithm)
    for stage, problem, who, algorithms in (
        ("weights", layer("weights", 512, 4, 512, 3), OURS_PLAIN, ("direct", "im2col", "winograd")),
        ("input", layer("input", 256, 56, 1, 3), OURS_LAYER, ("im2col", "winograd")),
        ("output", layer("output", 1, 56, 256, 3), OURS_LAYER, ("winograd",)),
    )
    for algorithm in algorithms
}
MICROKERNELS: Final = {f"microkernel: {dtype}": dtype for dtype in ("float32", "float64")}
#: Calls of the microkernel in one sample: 2 ms.
CALLS: Final = 1000
#: Distinct rows of B; a sum runs over them again and again, so that it is long and everything in the L1 cache.
ROWS: Final = 16


class Stages(Roofed):
    param_names = ("stage",)
    params = ([*STAGES, *MICROKERNELS],)

    def prepare(self, problem: str) -> Work:
        return _microkernel(MICROKERNELS[problem]) if problem in MICROKERNELS else _stage(*STAGES[problem])


def _stage(problem: Layer, who: str, algorithm: str) -> Work:
    arrays = make_arrays(problem, "float32")
    try:
        ready = contestant(who, problem, arrays, algorithm)
    except Unsupported as reason:
        raise NotImplementedError(str(reason)) from reason
    check(ready.call(), reference(problem, arrays), TOLERANCES["float32"][1])
    return Work(ready.call, problem.flops, moved(problem))


def _microkernel(dtype: str) -> Work:
    """C += A B by the microkernel of im2col and Winograd, everything in the L1 cache."""
    try:
        from numbaconv.kernels.blocking import TILE_BYTES, TILE_ROWS
        from numbaconv.kernels.simd import gemm_microkernel
    except ImportError as reason:
        raise NotImplementedError(str(reason)) from reason

    size = np.dtype(dtype)
    columns, depth = TILE_BYTES // size.itemsize, 2048 // size.itemsize
    random = np.random.default_rng(0)
    a, b = random.standard_normal((depth, TILE_ROWS)).astype(size), random.standard_normal((ROWS, columns)).astype(size)
    out = np.zeros((TILE_ROWS, columns), size)
    values: dict[str, Any] = {
        "a": a.ravel(), "a_start": 0, "b": b.ravel(), "b_start": 0,
        "rows": (np.arange(depth) % ROWS * columns).astype(np.int64), "depth": depth,
        "out": out.reshape(-1), "start": 0, "stride": columns, "spare": 0, "accumulate": 1,
        "bias_start": 0, "finish": 0,
    }  # fmt: skip
    names = list(inspect.signature(gemm_microkernel).parameters)[1:]
    if set(names) - set(values):
        raise NotImplementedError(f"this microkernel takes other arguments: {', '.join(names)}")

    arguments = tuple(values[name] for name in names)

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def run(calls: int, *arguments: Any) -> None:
        for _ in range(calls):
            gemm_microkernel(*arguments)

    run(1, *arguments)
    check(out, a.T.astype(np.float64) @ b[np.arange(depth) % ROWS].astype(np.float64), TOLERANCES[dtype][0])
    flops = 2 * CALLS * depth * TILE_ROWS * columns
    return Work(lambda: run(CALLS, *arguments), flops, 0, dtype)
