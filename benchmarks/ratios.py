"""What the asv benchmarks share: times as ratios, which stay the same when the machine is busy, slow or throttled.

A time says as much about the machine's mood as about the code. Here the code and its yardstick take turns in one
process, as in ``compare.py`` (``timing.measure``), each with its fastest sample. What slows everything down slows both.
They run on one thread each, whose CPU time counts: waiting for a CPU that somebody else has is left out. Two threads
would wait for each other, too: with two other processes at work, the same ratios on two threads came out up to 20 times
apart from run to run. All ratios are "our time / the yardstick's", lower is better, because asv reports increases only.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numba
import numpy as np
from peak import copy_probe, fma_probe
from peers import CONTESTANTS, Arrays, Ready, Settings, cpu_count
from suites import Layer
from timing import Runner, measure, relative_error

Call = Callable[[], Any]
#: Of plain times; ratios are of one thread.
THREADS: Final = min(2, cpu_count())
#: A measurement ends after this many rounds, or seconds, but not before three rounds.
ROUNDS: Final = 25
SECONDS: Final = 2.0


@dataclasses.dataclass(frozen=True)
class Work:
    """One problem, ready to be measured, and what any machine must do for it at least."""

    call: Call
    flops: int  # of direct summation
    moved: int  # bytes: everything read once and written once
    dtype: str = "float32"
    #: By library: builds (our call, the library's), which compute the same.
    peers: Mapping[str, Callable[[], tuple[Call, Call]]] = dataclasses.field(default_factory=dict)


def seconds(*calls: Call) -> list[float]:
    """CPU seconds of each call's fastest sample on one thread; they take turns."""
    runners = [Runner(call, clock=time.thread_time) for call in calls]
    numba.set_num_threads(1)
    try:
        measure(list(runners), ROUNDS, SECONDS)
    finally:
        numba.set_num_threads(THREADS)
    return [runner.minimum for runner in runners]


def check(result: Any, expected: Any, tolerance: float) -> None:
    """Fail the benchmark whose call computes something wrong."""
    error = relative_error(np.asarray(result), np.asarray(expected))
    if not error <= tolerance:
        raise AssertionError(f"wrong result: relative error {error:.1e} exceeds {tolerance:.0e}")


class Timed(abc.ABC):
    """Times of one call. Each parameter is one problem."""

    timeout = 300
    rounds = 1
    unit = "times"  # of what is tracked
    work: Work

    @abc.abstractmethod
    def prepare(self, problem: str) -> Work:
        """The problem's arrays, seeded and touched, and its calls, compiled and checked."""

    def setup(self, problem: str) -> None:
        numba.set_num_threads(THREADS)
        self.work = self.prepare(problem)

    def time_call(self, _problem: str) -> None:
        self.work.call()


class Compared(Timed):
    """Calls that other libraries have, too: our time over theirs."""

    def over(self, library: str) -> float:
        """Our time over a library's, NaN where it is not installed or cannot compute the problem."""
        build = self.work.peers.get(library)
        if build is None or importlib.util.find_spec(MODULES[library]) is None:
            return math.nan
        if library == "torch":
            import torch

            torch.set_num_threads(1)
            with torch.inference_mode():
                ours, theirs = seconds(*build())
        else:
            ours, theirs = seconds(*build())
        return ours / theirs

    def track_time_over_scipy(self, _problem: str) -> float:
        return self.over("scipy")

    def track_time_over_torch(self, _problem: str) -> float:
        return self.over("torch")


class Roofed(Timed):
    """Calls that arithmetic or memory bounds: our time over the machine's least time for them."""

    def track_time_over_roofline(self, _problem: str) -> float:
        """Our time over the least time: of all multiply-adds, or of copying as many bytes, whichever is longer."""
        fma, operations = fma_probe(self.work.dtype, 1)
        copy, copied = copy_probe(self.work.moved, 1)
        ours, adding, copying = seconds(self.work.call, fma, copy)
        return ours / max(self.work.flops * adding / operations, self.work.moved * copying / copied)


#: What a library is imported as.
MODULES: Final = {"scipy": "scipy", "torch": "torch", "onnxruntime": "onnxruntime", "opencv": "cv2"}


def contestant(name: str, layer: Layer, arrays: Arrays, algorithm: str = "auto") -> Ready:
    """A contestant of ``compare.py``, built for a layer."""
    build = next(item for item in CONTESTANTS if item.name == name).build
    return build(layer, arrays, Settings(threads=1, algorithm=algorithm))


def moved(layer: Layer) -> int:
    """Bytes of input, weights and output in float32."""
    return 4 * sum(math.prod(shape) for shape in (layer.input_shape, layer.weight_shape, layer.output_shape))


def unfolded_sums(x: Any, weight: Any, strides: Any, paddings: Any, dilations: Any, groups: int) -> Call:
    """What a user of SciPy writes for a layer, which SciPy has not: windows unfolded by NumPy, multiplied by its BLAS.

    Bias is left out, in SciPy's favour.
    """
    import scipy.linalg.blas

    ndim, sizes = len(strides), weight.shape[2:]
    gemm = scipy.linalg.blas.sgemm if x.dtype == np.float32 else scipy.linalg.blas.dgemm
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, sizes, strict=True))
    axes = tuple(range(2, 2 + ndim))
    steps = tuple(slice(None, None, step) for step in strides)
    taps = tuple(slice(None, None, step) for step in dilations)
    matrices = weight.reshape(groups, -1, int(np.prod(weight.shape[1:])))

    def call() -> Any:
        padded = np.pad(x, ((0, 0), (0, 0), *((pad, pad) for pad in paddings)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)[(..., *taps)]
        windows = windows[(slice(None), slice(None), *steps)]  # batch, channels, outputs, taps
        order = (0, 1, *range(2 + ndim, 2 + 2 * ndim), *axes)
        pixels = windows.shape[2 : 2 + ndim]
        out = np.empty((x.shape[0], weight.shape[0], *pixels), x.dtype)
        for image, target in zip(windows.transpose(order), out, strict=True):
            columns = image.reshape(groups, matrices.shape[2], -1)
            for matrix, column, rows in zip(
                matrices, columns, target.reshape(groups, -1, math.prod(pixels)), strict=True
            ):
                rows[...] = gemm(1.0, column.T, matrix.T).T
        return out

    return call
