"""Measures what the planner predicts: the fastest algorithm of a problem, and how well the cost model fits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from . import runtime, store
from .execute import executable, forget_plans
from .planner import CANDIDATES, Machine, Plan, choose
from .problem import ConvProblem, conv_problem

#: Problems that a calibration measures: (input, weight, other arguments). All algorithms, large and small images, many
#: and few channels, groups.
CALIBRATION: Final[tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...]] = (
    ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
    ((1, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}),
    ((1, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),
    ((1, 16, 112, 112), (32, 16, 3, 3), {"padding": 1}),
    ((4, 8, 32, 32), (16, 8, 3, 3), {"padding": 1}),
    ((1, 3, 112, 112), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    ((1, 64, 28, 28), (128, 64, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 256, 28, 28), (64, 256, 1, 1), {}),
    ((1, 64, 56, 56), (256, 64, 1, 1), {}),
    ((1, 32, 28, 28), (32, 32, 5, 5), {"padding": 2}),
    ((1, 96, 56, 56), (96, 1, 3, 3), {"padding": 1, "groups": 96}),
    ((1, 64, 28, 28), (64, 8, 3, 3), {"padding": 1, "groups": 8}),
)
#: Seconds for one candidate of one problem in a calibration.
CALIBRATION_SECONDS: Final = 0.03


def runner(plan: Plan, packed: bool) -> Callable[[], None]:
    """A call that does what a plan says, on arrays of its own; the weights are laid out before where ``packed``."""
    problem = plan.problem
    random = np.random.default_rng(0)
    x, weight, out = (
        np.empty(shape, problem.dtype) for shape in (problem.input_shape, problem.weight_shape, problem.output_shape)
    )
    for array in (x, weight):
        array[...] = random.standard_normal(array.shape) if problem.dtype.kind == "f" else 1
    ready = executable(plan, x, weight, out)
    if packed:
        laid_out = ready.pack_weights(weight, None)
        return lambda: ready.run(x, laid_out, out)
    return lambda: ready.call(x, weight, None, out)


def seconds_of(call: Callable[[], None], budget: float) -> float:
    """The fastest of as many calls as ``budget`` seconds allow, three at least, after one that may compile."""
    call()
    best, spent, calls = math.inf, 0.0, 0
    while calls < 3 or spent < budget:
        start = time.perf_counter()
        call()
        taken = time.perf_counter() - start
        best, spent, calls = min(best, taken), spent + taken, calls + 1
    return best


def measure(problem: ConvProblem, precision: str, packed: bool, budget: float) -> dict[str, float]:
    """Seconds that each candidate takes which "auto" may choose."""
    serving = choose(problem, "auto", precision, packed)
    times = {}
    for name in CANDIDATES:
        reason = dict(serving.rejected).get(name, "expected")
        if reason.startswith("expected"):
            times[name] = seconds_of(runner(choose(problem, name, precision, packed), packed), budget)
    return times


def tune(problem: Any, *, precision: str = "standard", packed: bool = False, seconds: float = 0.1) -> Plan:
    """Measure which algorithm is fastest for a problem, and let "auto" take it from now on, on this machine.

    Parameters
    ----------
    problem : ConvProblem or Plan
        What to compute, as ``nc.explain(...).problem`` describes it.
    precision : {"exact", "standard", "fast"}
        That of the calls; it says which algorithms are allowed.
    packed : bool
        Whether weights are laid out once for many calls, as layers do it.
    seconds : float
        How long each algorithm is measured.

    Returns
    -------
    Plan
        The plan of later calls, its reasons with the measured times.

    Raises
    ------
    TypeError, ValueError
        For another kind of problem, an unknown precision, or seconds that are not a positive number.

    Notes
    -----
    A tuned plan, and with it the rounding of a result, depends on the machine. The measurements lie beside the cached
    kernels, so an upgrade forgets them.

    Examples
    --------
    >>> import numbaconv as nc
    >>> plan = nc.tune(nc.explain((1, 8, 16, 16), (8, 8, 3, 3)).problem, seconds=0.01)
    >>> "measured to be fastest" in plan.reason
    True
    """
    if isinstance(problem, Plan):
        problem = problem.problem
    if not isinstance(problem, ConvProblem):
        raise TypeError(
            f"problem must be a ConvProblem, as nc.explain(...).problem is; got {type(problem).__module__}."
            f"{type(problem).__qualname__}"
        )
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"seconds must be a number; got {seconds!r} of type {type(seconds).__name__}")
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be positive and finite; got {seconds!r}")
    times = measure(problem, precision, packed, seconds)
    store.remember_times(problem, precision, packed, times)
    forget_plans()
    return choose(problem, "auto", precision, packed, store.machine(), times)


def calibrate(progress: Callable[[int, int], None] = lambda _done, _all: None) -> Machine:
    """Fit the cost model to this machine on one thread, and remember it."""
    ratios: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    with runtime.limited(1):
        for number, (shape, weight, arguments) in enumerate(CALIBRATION):
            problem = conv_problem(2, shape, weight, **arguments)
            for name, taken in measure(problem, "standard", True, CALIBRATION_SECONDS).items():
                ratios[name].append(taken / choose(problem, name, packed=True).cost)
            progress(number + 1, len(CALIBRATION))
    each = {name: _mean(values) for name, values in ratios.items() if values}
    usual = _mean(list(each.values()))
    found = Machine(1 / usual, {name: value / usual for name, value in each.items()})
    store.remember_machine(found)
    forget_plans()
    return found


def forget_calibration() -> None:
    """Go back to the cost model's own figures."""
    store.remember_machine(None)
    forget_plans()


def _mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
