"""numbaconv beside torch, ONNX Runtime, OpenVINO and JAX: every distinct layer of some networks, in one process.

    python benchmarks/compare.py                                   # everything, 15 to 25 minutes
    python benchmarks/compare.py --suite vgg16 --markdown vgg.md --png vgg.png
    python benchmarks/compare.py --quick --layer conv3 --peers torch onnxruntime
    python benchmarks/compare.py --memory --overhead --scaling

The contestants take turns; the order rotates from round to round, and 20 ms of rest and some untimed calls come before
each turn. Every result is compared with float64 sums, before and after the timing, and a wrong one has no time, stops
its suite from having a mean, and makes the exit status 1. Two questions are answered: our layer objects against peers
that have seen the weights before (a session, a compiled model, a module), and our plain calls against plain calls;
a third comparison holds our plain calls to the first question's standard. ``peers.py`` says what each peer is given.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.util
import os
import pathlib
import platform
import sys
import time
from collections.abc import Sequence

import extras
import family
import numba
from peak import fma_peak
from peers import OURS_LAYER, OURS_PLAIN, PEERS, Settings, cpu_count, select, session, versions
from report import (
    Run,
    complaints,
    contestants_table,
    error_table,
    heading,
    layer_table,
    summary_table,
    write_json,
    write_markdown,
    write_png,
)
from suites import SUITES, Layer
from timing import QUIET, TOLERANCES, LayerResult, run_layer


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--suite", action="append", choices=SUITES, help="measure this suite; repeat for more; all")
    parser.add_argument("--layer", metavar="TEXT", default="", help="only layers whose name or sizes contain this")
    parser.add_argument("--dtype", choices=TOLERANCES, default="float32", help="of data and weights")
    parser.add_argument("--threads", type=int, default=min(2, cpu_count()), help="of every contestant")
    parser.add_argument("--rounds", type=int, default=15, help="at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="budget of a layer; at least 3 rounds are run")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="libraries to compare with")
    parser.add_argument("--nhwc", action="store_true", help="our plain call on channels-last arrays takes part, too")
    parser.add_argument("--algorithm", default="auto", help="of our calls: auto, direct, im2col, winograd")
    parser.add_argument("--precision", default="standard", help="of our calls: exact, standard, fast")
    parser.add_argument("--quick", action="store_true", help="3 rounds: a smoke test, its figures are noise")
    parser.add_argument("--all-times", action="store_true", help="print every contestant's times, too")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of the suites")
    parser.add_argument("--overhead", action="store_true", help="measure the smallest call instead of the suites")
    parser.add_argument("--scaling", action="store_true", help="measure one thread beside all instead of the suites")
    parser.add_argument(
        "--family",
        action="append",
        nargs="?",
        const="all",
        choices=["all", *family.FAMILY],
        help="other functions beside torch",
    )
    for kind in ("markdown", "json", "png"):
        parser.add_argument(f"--{kind}", type=pathlib.Path, metavar="FILE", help=f"write the suites' {kind} file")
    given = parser.parse_args(arguments)
    if not 1 <= given.threads <= numba.config.NUMBA_NUM_THREADS:
        parser.error(f"--threads must be between 1 and {numba.config.NUMBA_NUM_THREADS}; got {given.threads}")
    if given.rounds < 1:
        parser.error(f"--rounds must be positive; got {given.rounds}")
    if given.png and importlib.util.find_spec("matplotlib") is None:
        parser.error("--png needs matplotlib")
    if given.quick:
        given.rounds, given.seconds = 3, 0.0
    return given


def machine() -> dict[str, str]:
    """What the figures depend on besides versions."""
    cpu = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    return {
        "CPU": f"{cpu} ({cpu_count()} CPUs)",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def measure_peaks(peaks: dict[int, float], dtype: str, threads: int) -> None:
    """Raise the FMA peak on one thread and on all to what is measured now."""
    for count in sorted({1, threads}):
        peaks[count] = max(peaks.get(count, 0.0), fma_peak(dtype, count))


def chosen_layers(suites: Sequence[str], text: str) -> list[tuple[str, Layer]]:
    """The layers that the command line asks for."""
    return [
        (suite, layer)
        for suite in suites
        for layer in SUITES[suite]
        if text.lower() in f"{suite} {layer.name} {layer}".lower()
    ]


def busy() -> list[str]:
    """A warning where other processes work, whose share of the CPUs makes all figures noise."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return [f"the machine is busy: load average {load:.2f} before the start"] if load > 0.3 else []


def progress(number: int, count: int, result: LayerResult, run: Run, seconds: float) -> None:
    """One line on stderr for a layer that is done."""
    ratios = []
    for comparison in run.comparisons:
        ratio = run.ratio(result, comparison, "min")
        ratios.append(f"{comparison.title} {'-' if ratio is None else f'{ratio:.2f}'}")
    name = f"{result.suite}, {result.layer.name} {result.layer}"
    others = f", other processes kept {result.others:.1f} CPUs busy" if (result.others or 0.0) > QUIET else ""
    print(f"[{number}/{count}] {name}: {'; '.join(ratios)} ({seconds:.1f} s{others})", file=sys.stderr, flush=True)
    for name, outcome in result.outcomes.items():
        if outcome.wrong:
            print(f"  WRONG RESULT: {name}: {outcome.wrong}", file=sys.stderr, flush=True)


def run_suites(run: Run, layers: list[tuple[str, Layer]], given: argparse.Namespace) -> None:
    """Measure the layers; tables and files grow with every suite that is finished."""
    for number, (suite, layer) in enumerate(layers, 1):
        start = time.perf_counter()
        result = run_layer(suite, layer, run.contestants, run.settings, given.rounds, given.seconds)
        gc.collect()
        run.results.append(result)
        progress(number, len(layers), result, run, time.perf_counter() - start)
        if number == len(layers) or layers[number][0] != suite:
            measure_peaks(run.peaks, run.settings.dtype, run.settings.threads)  # the highest of the whole run counts
            for comparison in run.comparisons:
                layer_table(run, suite, comparison).show()
            if given.all_times:
                contestants_table(run, suite).show()
            for path, write in ((given.markdown, write_markdown), (given.json, write_json), (given.png, write_png)):
                if path:
                    write(run, path)
    summary_table(run).show()
    error_table(run).show()


def run_family(given: argparse.Namespace, settings: Settings) -> list[str]:
    """Measure other functions than conv2d; what was wrong."""
    complaints = []
    for suite in family.FAMILY if "all" in given.family else given.family:
        table, wrong = family.compare(suite, settings, given.rounds, given.seconds, given.layer)
        table.show()
        complaints += wrong
    return complaints


def main(arguments: Sequence[str] | None = None) -> int:
    given = parse(arguments)
    settings = Settings(given.dtype, given.threads, given.algorithm, given.precision)
    layers = chosen_layers(given.suite or list(SUITES), given.layer)
    if not layers and not given.family:
        print(f"no layer's name or sizes contain {given.layer!r}", file=sys.stderr)
        return 2
    contestants, skipped = select(given.peers, given.nhwc, settings)
    names = {item.name for item in contestants}
    direct, winograd = TOLERANCES[given.dtype]
    extra_modes = given.memory or given.overhead or given.scaling
    with session(contestants, settings):
        peaks: dict[int, float] = {}
        measure_peaks(peaks, given.dtype, given.threads)
        notes = [*skipped, *busy()]
        notes.append(
            f"results pass within {direct:.0e} of the largest float64 output, our Winograd's within {winograd:.0e}"
        )
        notes.append("GFLOP/s counts direct summation's operations, so Winograd can exceed the peak")
        if given.layer:
            notes.append(f"only layers whose name or sizes contain {given.layer!r}: means are those layers' alone")
        if given.quick:
            notes.append("--quick: 3 rounds, the figures are a smoke test")
        run = Run(machine(), versions(contestants), settings, peaks, contestants, notes)
        print("\n".join(heading(run)), end="\n\n", flush=True)
        if given.overhead:
            extras.overhead(contestants, settings, given.rounds, given.seconds).show()
        if given.scaling and names & {OURS_PLAIN, OURS_LAYER}:
            scaled = [layer for suite, layer in chosen_layers(["vgg16"], given.layer)]
            extras.scaling(contestants, settings, given.rounds, given.seconds, peaks, scaled).show()
        if given.memory:
            extras.memory(contestants, settings).show()
        if given.family:
            wrong = run_family(given, settings)
            print("\n".join(wrong), file=sys.stderr)
            return int(bool(wrong))
        if given.suite or not extra_modes:
            run_suites(run, layers, given)
    found = complaints(run)
    print("\n".join(found), file=sys.stderr)
    return int(any(line.startswith("WRONG") for line in found))


if __name__ == "__main__":
    sys.exit(main())
