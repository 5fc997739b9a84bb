"""Measures what the planner predicts: the fastest algorithm of a problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from . import store
from .arrays import Array, new_array
from .executable import executable
from .execute import forget_plans
from .planner import CANDIDATES, Plan, choose
from .problem import ConvProblem

#: Candidates that take so many times as long as the fastest are measured once.
HOPELESS: Final = 4.0


def operands(problem: ConvProblem) -> tuple[Array, Array, Array]:
    """An input, weights and an output to measure with."""
    random = np.random.default_rng(0)
    x, weight = (np.empty(shape, problem.dtype) for shape in (problem.input_shape, problem.weight_shape))
    out = new_array(problem.output_shape, problem.dtype)
    for array in (x, weight):
        array[...] = random.standard_normal(array.shape) if problem.dtype.kind == "f" else 1
    return x, weight, out


def runner(plan: Plan, packed: bool, arrays: tuple[Array, Array, Array]) -> Callable[[], None]:
    """A call that does what a plan says, on :func:`operands`; the weights are laid out before where ``packed``."""
    x, weight, out = arrays
    ready = executable(plan, x, weight, out)
    if packed:
        laid_out = ready.pack_weights(weight, None)
        return lambda: ready.run(x, laid_out, out)
    return lambda: ready.call(x, weight, None, out)


def measure(problem: ConvProblem, precision: str, packed: bool, budget: float) -> dict[str, float]:
    """Seconds that each candidate takes which "auto" may choose: in turns, the fastest of each.

    There are as many rounds as ``budget`` seconds allow, three at least, after a call that may compile.
    """
    rejected = dict(choose(problem, "auto", precision, packed).rejected)
    names = [name for name in CANDIDATES if rejected.get(name, "expected").startswith("expected")]
    # The plans are those of "auto": asked for by name, Winograd takes other tiles, too.
    plans = {name: choose(problem, "auto", precision, packed, measured={name: 1.0}) for name in names}
    # The same arrays for all: which pages memory gave, large or small, made one candidate take up to 8 times as long
    # (1x1 taps over 64x56x56 to 512 in 8 groups, Emerald Rapids).
    arrays = operands(problem)
    calls = {name: runner(plan, packed, arrays) for name, plan in plans.items()}
    for call in calls.values():
        call()
    best = dict.fromkeys(names, math.inf)
    end, rounds = time.perf_counter() + budget, 0
    while rounds < 3 or time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
        fastest = min(best.values())
        calls = {name: call for name, call in calls.items() if best[name] < HOPELESS * fastest}
        rounds += 1
    return best


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
