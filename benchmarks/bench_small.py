"""Small calls, which are nearly all overhead: beside the cheapest call that Numba can make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
import scipy.signal
from peers import OURS_LAYER, OURS_PLAIN, make_arrays
from ratios import Compared, Work, check, contestant, seconds, unfolded_sums
from suites import OVERHEAD, SUITES, Layer
from timing import TOLERANCES, reference

from numbaconv import signal

COURSE: Final = next(item for item in SUITES["mixed"] if item.name == "course")
PLAIN: Final = {f"conv2d {OVERHEAD}": OVERHEAD, f"conv2d {COURSE}": COURSE}
PREPARED: Final = {f"Conv2d {OVERHEAD}": OVERHEAD}
SIGNAL: Final = {
    "convolve2d 8x8 by 3x3": (scipy.signal.convolve2d, signal.convolve2d, (8, 8), (3, 3)),
    "convolve 100 by 5": (scipy.signal.convolve, signal.convolve, (100,), (5,)),
}


@numba.njit  # type: ignore[untyped-decorator]
def _nothing(_x: Any, _weight: Any, _bias: Any) -> None:
    pass


class SmallCalls(Compared):
    """The same call again and again."""

    param_names = ("call",)
    params = ([*PLAIN, *PREPARED, *SIGNAL],)

    def prepare(self, problem: str) -> Work:
        self.arrays = make_arrays(OVERHEAD, "float32")
        _nothing(*self.arrays)
        return self._signal(*SIGNAL[problem]) if problem in SIGNAL else self._layer(problem)

    def _layer(self, problem: str) -> Work:
        layer: Layer = (PLAIN | PREPARED)[problem]
        arrays = make_arrays(layer, "float32")
        ours = contestant(OURS_PLAIN if problem in PLAIN else OURS_LAYER, layer, arrays).call
        check(ours(), reference(layer, arrays), TOLERANCES["float32"][1])
        theirs = unfolded_sums(arrays.x, arrays.weight, layer.stride, layer.padding, layer.dilation, layer.groups)
        torch = "torch" if problem in PLAIN else "torch layer"
        return Work(
            ours,
            layer.flops,
            0,
            peers={
                "scipy": lambda: (ours, theirs),
                "torch": lambda: (ours, contestant(torch, layer, arrays).call),
            },
        )

    def _signal(
        self, theirs: Callable[..., Any], ours: Callable[..., Any], shape: tuple[int, ...], taps: tuple[int, ...]
    ) -> Work:
        random = np.random.default_rng(0)
        x, kernel = (random.standard_normal(size, dtype=np.float32) for size in (shape, taps))
        check(ours(x, kernel), theirs(x.astype(float), kernel.astype(float)), TOLERANCES["float32"][0])
        return Work(
            lambda: ours(x, kernel), 2 * x.size * kernel.size, 0,
            peers={"scipy": lambda: (lambda: ours(x, kernel), lambda: theirs(x, kernel))},
        )  # fmt: skip

    def track_time_over_njit_call(self, _problem: str) -> float:
        """Our time over that of a compiled function of three arrays that does nothing."""
        arrays = self.arrays
        ours, least = seconds(self.work.call, lambda: _nothing(*arrays))
        return ours / least
