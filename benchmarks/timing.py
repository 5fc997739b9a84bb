"""How ``compare.py`` measures: round-robin timing, and results checked against float64."""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from peers import Array, Arrays, Contestant, Settings, Unsupported, make_arrays
from suites import Layer

#: Seconds of rest before a contestant's turn: the thread pools of its predecessor spin for some milliseconds.
PAUSE: Final = 0.020
#: Seconds of untimed calls after the rest, which wake the contestant's own threads; never fewer than two calls.
WARM_UP: Final = 0.001
#: Seconds that one sample takes at least: a faster call is repeated within it, and its share is what counts.
SAMPLE: Final = 100e-6
#: Samples of a contestant's turn: the same number for everyone.
SAMPLES: Final = 3
#: Rounds that are run even where they take longer than the layer's budget.
LEAST_ROUNDS: Final = 3
#: A contestant this many times slower than the fastest, whose call takes SLOW_CALL seconds, sits out after
#: LEAST_ROUNDS: it would take the budget from the others without ever being the best.
SLOW_RATIO: Final = 5.0
SLOW_CALL: Final = 0.05

#: max |result - reference| / max |reference| that passes, for direct summation and for our Winograd.
TOLERANCES: Final[Mapping[str, tuple[float, float]]] = {"float32": (1e-5, 1e-4), "float64": (1e-13, 1e-12)}


@dataclasses.dataclass
class Runner:
    """A call to be timed and the seconds per call of each of its samples."""

    call: Callable[[], Any]
    before: Callable[[], Any] | None = None
    clock: Callable[[], float] = time.perf_counter
    repeats: int = 1
    estimate: float = math.inf
    samples: list[float] = dataclasses.field(default_factory=list)

    @property
    def minimum(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def prepare(self) -> None:
        """Find how many calls make a sample."""
        if self.before is not None:
            self.before()
        for _ in range(3):
            start = self.clock()
            self.call()
            self.estimate = min(self.estimate, self.clock() - start)
        self.repeats = max(1, math.ceil(SAMPLE / self.estimate))

    def turn(self) -> None:
        """Rest, wake up, and take the samples of one turn."""
        call, repeats, clock = self.call, range(self.repeats), self.clock
        if self.before is not None:
            self.before()
        time.sleep(PAUSE)
        end = time.perf_counter() + WARM_UP
        call()
        call()
        while time.perf_counter() < end:
            call()
        for _ in range(SAMPLES):
            start = clock()
            for _ in repeats:
                call()
            self.samples.append((clock() - start) / self.repeats)


def measure(runners: list[Runner], rounds: int, seconds: float) -> None:
    """Time the runners in turns, in an order that rotates, and turns round, from round to round."""
    for runner in runners:
        runner.prepare()
    fastest = min(runner.estimate for runner in runners)
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for number in range(rounds):
            if number >= LEAST_ROUNDS:
                if time.perf_counter() - start > seconds:
                    break
                runners = [r for r in runners if r.estimate < max(SLOW_CALL, SLOW_RATIO * fastest)]
            first = number % len(runners)
            order = runners[first:] + runners[:first]
            for runner in order if number % 2 == 0 else reversed(order):
                runner.turn()
    finally:
        gc.enable()


#: CPUs that other processes may keep busy during a measurement without a remark.
QUIET: Final = 0.1


class Others:
    """How many CPUs the other processes keep busy, on average since this object was made."""

    def __init__(self) -> None:
        self._seconds, self._start = _others_cpu_seconds(), time.perf_counter()

    def cpus(self) -> float | None:
        """None where it cannot be known."""
        now = _others_cpu_seconds()
        if now is None or self._seconds is None:
            return None
        return max(0.0, now - self._seconds) / (time.perf_counter() - self._start)

    def remark(self) -> str:
        """What a table's title says about it: nothing where the machine was quiet."""
        cpus = self.cpus() or 0.0
        return f" [NOISE: other processes kept {cpus:.1f} CPUs busy]" if cpus > QUIET else ""


def _others_cpu_seconds() -> float | None:
    """CPU seconds that processes other than this and its children have used; None where Linux's /proc is not."""
    try:
        with pathlib.Path("/proc/stat").open() as file:
            user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = map(int, file.readline().split()[1:])
    except (OSError, ValueError):
        return None
    own = os.times()
    mine = own.user + own.system + own.children_user + own.children_system
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - mine


# ------------------------------------------------------------------------------------------------ checking


def reference(layer: Layer, arrays: Arrays) -> Array:
    """The layer in float64, summed tap by tap with NumPy: no contestant's code, and no transform."""
    x, weight, bias = (array.astype(np.float64) for array in arrays)
    (pad_h, pad_w), groups = layer.padding, layer.groups
    x = np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    x = x.reshape(layer.batch, groups, -1, *x.shape[2:])
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    batch, filters, rows, columns = layer.output_shape
    total = np.zeros((batch, groups, filters // groups, rows * columns))
    for i in range(layer.kernel[0]):
        for j in range(layer.kernel[1]):
            top, left = i * layer.dilation[0], j * layer.dilation[1]
            bottom, right = top + layer.stride[0] * rows, left + layer.stride[1] * columns
            tap = x[..., top : bottom : layer.stride[0], left : right : layer.stride[1]]
            tap = tap[..., :rows, :columns].reshape(batch, groups, -1, rows * columns)
            total += np.matmul(weight[..., i, j], tap)
    answer: Array = total.reshape(batch, filters, rows, columns) + bias[:, None, None]
    return answer


def relative_error(result: Array, expected: Array) -> float:
    """Max |result - expected| / max |expected|; infinite for a wrong shape and for anything but numbers."""
    if result.shape != expected.shape:
        return math.inf
    error = float(np.max(np.abs(result - expected))) / float(np.max(np.abs(expected)))
    return error if math.isfinite(error) else math.inf


# --------------------------------------------------------------------------------------------- one layer


@dataclasses.dataclass
class Outcome:
    """What became of one contestant in one layer: samples, or the reason why there are none."""

    samples: list[float] = dataclasses.field(default_factory=list)
    error: float | None = None
    algorithm: str | None = None
    unsupported: str | None = None
    wrong: str | None = None

    def seconds(self, statistic: str) -> float | None:
        """The "min" or "median" of the samples, None where the contestant has no valid time."""
        if not self.samples or self.wrong:
            return None
        return min(self.samples) if statistic == "min" else statistics.median(self.samples)


@dataclasses.dataclass
class LayerResult:
    """One layer's outcomes by contestant."""

    suite: str
    layer: Layer
    outcomes: dict[str, Outcome]
    others: float | None = None  # CPUs that other processes kept busy meanwhile


def run_layer(
    suite: str, layer: Layer, contestants: list[Contestant], settings: Settings, rounds: int, seconds: float
) -> LayerResult:
    """Build every contestant, check its result, time all of them together, and check the last result again."""
    arrays = make_arrays(layer, settings.dtype)
    expected = reference(layer, arrays)
    direct, winograd = TOLERANCES[settings.dtype]
    outcomes: dict[str, Outcome] = {}
    ready = {}
    for contestant in contestants:
        outcome = outcomes[contestant.name] = Outcome()
        try:
            ready[contestant.name] = contestant.build(layer, arrays, settings)
            outcome.algorithm = ready[contestant.name].algorithm
        except Unsupported as reason:
            outcome.unsupported = str(reason)

    def check(name: str) -> None:
        tolerance = winograd if ready[name].algorithm == "winograd" else direct
        error = relative_error(ready[name].nchw(ready[name].call()), expected)
        outcome = outcomes[name]
        outcome.error = max(error, outcome.error or 0.0)
        if error > tolerance:
            outcome.wrong = f"relative error {error:.1e} exceeds {tolerance:.0e}"

    taking_part = [contestant for contestant in contestants if contestant.name in ready]
    for contestant in taking_part:
        check(contestant.name)
    runners = {c.name: Runner(ready[c.name].call) for c in taking_part if not outcomes[c.name].wrong}
    meanwhile = Others()
    if runners:
        measure(list(runners.values()), rounds, seconds)
    others = meanwhile.cpus()
    for contestant in taking_part:
        if contestant.name in runners:
            outcomes[contestant.name].samples = runners[contestant.name].samples
            check(contestant.name)
    return LayerResult(suite, layer, outcomes, others)
