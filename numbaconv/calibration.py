"""Fits the prices of the cost models to this machine: every algorithm is timed on random layers, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from . import runtime, store
from .algorithms.prices import DEFAULTS, GEMM, OF_SEVERAL_THREADS, USUAL
from .execute import forget_plans
from .planner import Machine, driver, prepared
from .problem import ConvProblem, conv_problem
from .tuning import measure

Array = np.ndarray[Any, np.dtype[Any]]

#: How many layers are timed, and how many seconds each. Half of both served nearly as well.
LAYERS: Final = 150
#: Number of the first one: benchmarks/planning.py judges by others.
FIRST: Final = 1_000_000
SECONDS: Final = 0.2
#: Operations of a layer: less is call overhead, more takes too long.
LEAST, MOST = 1e6, 1e9
#: A candidate that takes twice as long as the fastest counts a quarter as much.
DECAY: Final = 2.0
#: How much a price that is e times the usual one weighs, beside an error of a layer by as much; how much errors weigh
#: that all candidates of a layer share: they change no choice. Of layers that were not fitted, on the machine of the
#: usual prices and where those had been off by 35%, 93.5 and 93.2% were within 10% of the best with 1, 94.1 and 92.5
#: with 3, and 94.4 and 86.9 without a calibration (Emerald Rapids).
TRUST: Final = 2.0
SHARED: Final = 0.05
#: Errors beyond this (logarithms) count linearly: a layer that was interrupted spoils no price.
OUTLIER: Final = 0.5
STEPS: Final = 30


def layer(number: int) -> ConvProblem:
    """Layer ``number``: sizes as networks have them, at random; one in three depthwise or grouped."""
    random = np.random.default_rng(number)
    while True:
        size = int(random.choice([7, 14, 28, 56, 112, int(random.integers(5, 130))]))
        channels, filters = (
            int(random.choice([1, 3, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512])) for _ in "cf"
        )
        kernel = int(random.choice([1, 1, 3, 3, 3, 3, 5, 7]))
        kind = random.choice(["dense", "dense", "dense", "dense", "depthwise", "grouped"])
        groups = 1
        if kind == "depthwise":
            filters = groups = channels
        elif kind == "grouped" and channels % 8 == filters % 8 == 0:
            groups = 8
        problem = conv_problem(
            2, (int(random.choice([1, 1, 1, 4])), channels, size, size), (filters, channels // groups, kernel, kernel),
            stride=int(random.choice([1, 1, 1, 2])), padding=int(random.choice([0, kernel // 2, kernel // 2])),
            groups=groups,
        ) if size >= kernel else None  # fmt: skip
        if problem is not None and LEAST < problem.flops < MOST:
            return problem


def counts(problem: ConvProblem, candidate: str) -> list[float]:
    """What a candidate's cost model counts: its cost where one price is 1, and all others are 0."""
    geometry, cost = prepared(problem, packed=True), driver(candidate).cost
    units = np.eye(len(DEFAULTS)).tolist()
    return [cost(geometry, problem.dtype.itemsize, unit) for unit in units]


def calibrate(progress: Callable[[int, int], None] = lambda _done, _all: None) -> Machine:
    """Fit the cost models to this machine on one thread, and remember it."""
    rows, seconds, layers = [], [], []
    with runtime.limited(1):
        for number in range(LAYERS):
            problem = layer(FIRST + number)
            for name, taken in measure(problem, "standard", True, SECONDS).items():
                rows.append(counts(problem, name))
                seconds.append(taken)
                layers.append(number)
            progress(number + 1, LAYERS)
    counted = np.array(rows)
    counted[:, OF_SEVERAL_THREADS] = 0
    found = fit(counted, np.array(seconds), np.array(layers))
    store.remember_machine(found)
    forget_plans()
    return found


def forget() -> None:
    """Go back to the usual prices."""
    store.remember_machine(None)
    forget_plans()


def fit(rows: Array, seconds: Array, layers: Array) -> Machine:
    """The machine whose prices tell best how long candidates took: row i was ``seconds[i]`` of layer ``layers[i]``.

    Least squares of logarithms, by Gauss and Newton's method, from the usual prices.
    """
    usual, number = np.array(USUAL), len(USUAL)
    same = layers[:, None] == layers
    best = np.array([seconds[one].min() for one in same])
    weights = (best / seconds) ** DECAY
    mean = same * weights
    mean /= mean.sum(axis=1, keepdims=True)
    change, log_rate = np.zeros(number), -np.log(np.median(seconds / (rows @ usual)))
    for _ in range(STEPS):
        prices = usual * np.exp(change)
        cost = rows @ prices
        error = np.log(seconds) - np.log(cost) + log_rate
        slope = np.column_stack([rows * prices / cost[:, None], -np.ones(len(cost))])
        own, own_slope = error - mean @ error, slope - mean @ slope
        own_weights = np.sqrt(weights * np.minimum(1, OUTLIER / np.maximum(np.abs(own), OUTLIER)))
        shared = SHARED * np.sqrt(weights)
        trust = np.sqrt(TRUST) * np.eye(number, number + 1)
        left = np.vstack([own_slope * own_weights[:, None], slope * shared[:, None], trust])
        right = np.concatenate([own * own_weights, error * shared, -np.sqrt(TRUST) * change])
        step = np.clip(np.linalg.lstsq(left, right, rcond=None)[0], -0.5, 0.5)
        change += step[:-1]
        log_rate += step[-1]
    prices = usual * np.exp(change - change[GEMM])
    return Machine(float(np.exp(log_rate - change[GEMM])), dict(zip(DEFAULTS, prices.tolist(), strict=True)))
