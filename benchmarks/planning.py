"""How often "auto" takes the fastest algorithm: random layers, each algorithm measured, as layers call it.

    python benchmarks/planning.py --count 200 --json planning.json
    python benchmarks/planning.py --first 40 --count 20 --json planning.json   # a slice; the file keeps the others

Every algorithm that "auto" may choose is timed in turns; what counts is how much longer than the fastest one the chosen
one takes. The target is at most 10% on 95 of 100 layers.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from typing import Any

import numpy as np

import numbaconv as nc
from numbaconv import store
from numbaconv.planner import CANDIDATES, choose
from numbaconv.problem import ConvProblem, conv_problem
from numbaconv.tuning import runner

#: Operations of a layer: less is call overhead, more takes too long to measure.
LEAST, MOST = 1e6, 1e9


def layer(number: int) -> ConvProblem:
    """Layer ``number``: sizes as networks have them, at random; one in five depthwise or grouped."""
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


def measure(problem: ConvProblem, seconds: float) -> dict[str, float]:
    """Seconds of each algorithm that "auto" may choose; in turns, the fastest of each."""
    reasons = dict(choose(problem, packed=True).rejected)
    calls = {
        name: runner(choose(problem, name, packed=True), True)
        for name in CANDIDATES
        if reasons.get(name, "expected").startswith("expected")
    }
    best: dict[str, float] = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        best[name] = time.perf_counter() - start
    fastest = min(best.values())
    calls = {name: call for name, call in calls.items() if best[name] < 4 * fastest}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
        rounds += 1
    return best


def report(results: dict[str, Any]) -> None:
    """How far the choices are from the best, and the worst of them."""
    lost = sorted((float(entry["lost"]), name) for name, entry in results.items())
    within = sum(loss <= 0.10 for loss, _ in lost)
    mean = np.exp(np.mean([np.log1p(loss) for loss, _ in lost])) - 1
    print(
        f"{within} of {len(lost)} layers within 10% of the best ({within / len(lost):.1%}); on average {mean:.1%} lost"
    )
    for loss, name in lost[-10:][::-1]:
        entry = results[name]
        times = ", ".join(
            f"{way} {taken * 1e3:.3f} ms" for way, taken in sorted(entry["times"].items(), key=lambda x: x[1])
        )
        print(f"  {loss:6.1%}  {entry['layer']}: took {entry['chosen']}; {times}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.15, help="for each layer")
    parser.add_argument("--threads", type=int, default=1, help="the cost model is that of one")
    parser.add_argument("--json", type=pathlib.Path, help="where the results are kept, and added to")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    for number in range(given.first, given.first + given.count):
        problem = layer(number)
        with nc.threads(given.threads):
            times = measure(problem, given.seconds)
        chosen = choose(problem, packed=True, machine=store.machine()).candidate
        text = (
            f"{problem.input_shape} {problem.weight_shape} stride {problem.stride[0]} padding {problem.padding[0][0]}"
        )
        lost = times[chosen] / min(times.values()) - 1
        results[str(number)] = {"layer": text, "chosen": chosen, "lost": lost, "times": times}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
    report(results)


if __name__ == "__main__":
    main()
