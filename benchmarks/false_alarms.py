"""How often asv would report a regression where nothing has changed: the same ratios, measured again and again.

    python benchmarks/false_alarms.py --runs 10 --load 2      # with two processes that compute all the time

Each figure is measured in new processes, as asv does. Of every ordered pair of runs the second plays the newer commit;
it is a false alarm where it exceeds the first by more than the threshold.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
from typing import Any, Final

THRESHOLDS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
#: module, class, method, problem: one of each kind of call.
FIGURES: Final = (
    ("bench_layers", "Layers", "track_time_over_roofline", "vgg16: conv5_1 512x14x14 -> 512 3x3"),
    ("bench_layers", "Layers", "track_time_over_roofline", "resnet50: stage1.1.reduce 64x56x56 -> 64 1x1"),
    ("bench_layers", "Layers", "track_time_over_roofline", "depthwise: convnext-t 96x56x56 -> 96 7x7 depthwise"),
    ("bench_layers", "Layers", "track_time_over_scipy", "vgg16: conv5_1 512x14x14 -> 512 3x3"),
    ("bench_images", "Images", "track_time_over_roofline", "float32 512 9 random"),
    ("bench_images", "Images", "track_time_over_scipy", "float32 512 3 random"),
    ("bench_sequences", "Sequences", "track_time_over_roofline", "convolve: 1000000 by 31 float32"),
    ("bench_stages", "Stages", "track_time_over_roofline", "microkernel: float32"),
    ("bench_small", "SmallCalls", "track_time_over_njit_call", "conv2d 1x8x8 -> 1 3x3"),
)


def measured(figure: tuple[str, ...]) -> tuple[float, float]:
    """One run in this process: the ratio, and the fastest of a few plain calls in seconds, which asv would compare."""
    import time

    module, name, method, problem = figure
    benchmark: Any = getattr(importlib.import_module(module), name)()
    benchmark.setup(problem)
    ratio, times = getattr(benchmark, method)(problem), []
    for _ in range(10):
        start = time.perf_counter()
        benchmark.time_call(problem)
        times.append(time.perf_counter() - start)
    return ratio, sorted(times)[5]


def alarms(values: list[float], threshold: float) -> float:
    """The share of ordered pairs whose second value exceeds the first by more than the threshold."""
    pairs = list(itertools.permutations(values, 2))
    return sum(after > (1 + threshold) * before for before, after in pairs) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--load", type=int, default=0, help="other processes that compute meanwhile")
    parser.add_argument("--figure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.figure:
        print(json.dumps(measured(tuple(json.loads(given.figure)))))
        return
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(given.load)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as in ``__init__.py``
    found: dict[tuple[str, ...], list[list[float]]] = {figure: [] for figure in FIGURES}
    try:
        for figure in [figure for _ in range(given.runs) for figure in FIGURES]:
            command = [sys.executable, str(pathlib.Path(__file__)), "--figure", json.dumps(figure)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
            found[figure].append(json.loads(answer.stdout.splitlines()[-1]))
            print(figure, found[figure][-1], file=sys.stderr, flush=True)
    finally:
        for process in load:
            process.kill()
    print(f"| figure | lowest | highest / lowest | {' | '.join(f'beyond {t:.0%}' for t in THRESHOLDS)} |")
    print("|---" * (3 + len(THRESHOLDS)) + "|")
    for kind, which in (("ratio", 0), ("time", 1)):
        totals = []
        for (_, name, method, problem), runs in found.items():
            values = [run[which] for run in runs]
            shares = [alarms(values, threshold) for threshold in THRESHOLDS]
            totals.append(shares)
            what = f"{name}.{method if kind == 'ratio' else 'time_call'}, {problem}"
            cells = " | ".join(f"{share:.0%}" for share in shares)
            print(f"| {what} | {min(values):.3g} | {max(values) / min(values):.2f} | {cells} |")
        means = " | ".join(f"{sum(column) / len(column):.1%}" for column in zip(*totals, strict=True))
        print(f"| **all, {kind}s** | | | {means} |")


if __name__ == "__main__":
    main()
