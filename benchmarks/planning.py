"""How often "auto" takes the fastest algorithm: random layers, each algorithm measured, as layers call it.

    python benchmarks/planning.py --json planning.json
    python benchmarks/planning.py --json planning.json --limit 60   # in pieces: again until all of them are measured
    python benchmarks/planning.py --json planning.json --limit 0    # what another cost model would choose

Every algorithm that "auto" may choose is timed in turns; what counts is how much longer than the fastest one the chosen
one takes. The target is at most 10% on 95 of 100 layers. The file keeps the times, so that a cost model can be changed
without measuring again; the layers of ``--first`` 0 are left to judge it by.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import time
from typing import Any

import numpy as np

import numbaconv as nc
from numbaconv import store
from numbaconv.calibration import layer
from numbaconv.planner import Machine, choose
from numbaconv.tuning import measure


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


def predict(number: int, times: dict[str, float], model: Machine) -> dict[str, Any]:
    """What the planner chooses, and how much longer than the fastest algorithm that takes."""
    problem = layer(number)
    plan = choose(problem, packed=True, machine=model)
    text = f"{problem.input_shape} {problem.weight_shape} stride {problem.stride[0]} padding {problem.padding[0][0]}"
    lost = times[plan.candidate] / min(times.values()) - 1
    return {"layer": text, "chosen": plan.candidate, "lost": lost, "expected": plan.seconds, "times": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.25, help="for each layer")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds after which no other layer is measured")
    parser.add_argument("--threads", type=int, default=1, help="the cost model is that of one")
    parser.add_argument("--defaults", action="store_true", help="the cost model as it is before it is calibrated")
    parser.add_argument(
        "--json", type=pathlib.Path, help="where the results are kept; layers found there are not measured"
    )
    given = parser.parse_args()
    kept: dict[str, Any] = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    model = Machine() if given.defaults else store.machine()
    numbers = range(given.first, given.first + given.count)
    end = time.perf_counter() + given.limit
    for number in numbers:
        if str(number) not in kept and time.perf_counter() < end:
            with nc.threads(given.threads):
                kept[str(number)] = {"times": measure(layer(number), "standard", True, given.seconds)}
    measured = [str(number) for number in numbers if str(number) in kept]
    kept.update({key: predict(int(key), kept[key]["times"], model) for key in measured})
    if given.json:
        given.json.write_text(json.dumps(kept, indent=1))
    report({key: kept[key] for key in measured})


if __name__ == "__main__":
    main()
