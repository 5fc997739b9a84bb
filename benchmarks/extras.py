"""The other questions of ``compare.py``: memory, call overhead, and what a second thread brings.

Run as a script it is the fresh process in which one call's memory is measured; ``compare.py --memory`` starts it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Final

import numba
from peers import CONTESTANTS, OURS_LAYER, OURS_PLAIN, Contestant, Settings, Unsupported, make_arrays, session
from report import Table, geometric_mean, milliseconds
from suites import OVERHEAD, SUITES, Layer, layer
from timing import Others, Runner, measure, run_layer

#: 64 channels of 768 x 768 pixels, and twice as many pixels.
MEMORY_LAYERS: Final = (layer("memory", 64, 768, 64, 3), layer("memory", 64, (1536, 768), 64, 3))
MIB: Final = 2**20


def overhead(contestants: list[Contestant], settings: Settings, rounds: int, seconds: float) -> Table:
    """Time of the smallest call, everyone's."""
    meanwhile = Others()
    result = run_layer("overhead", OVERHEAD, contestants, settings, rounds, seconds)
    plain = result.outcomes["torch"].seconds("min") if "torch" in result.outcomes else None
    rows = []
    for item in contestants:
        outcome = result.outcomes[item.name]
        minimum, median = outcome.seconds("min"), outcome.seconds("median")
        if minimum is None or median is None:
            rows.append([item.name, outcome.wrong or outcome.unsupported or "-", "-", "-"])
        else:
            versus = "-" if plain is None else f"{plain / minimum:.2f}"
            rows.append([item.name, f"{minimum * 1e6:.2f}", f"{median * 1e6:.2f}", versus])
    columns = ["contestant", "us min", "us median", "torch's time / this"]
    return Table("Call overhead: 1x1x8x8, one filter of 3x3" + meanwhile.remark(), columns, rows)


def scaling(
    contestants: list[Contestant],
    settings: Settings,
    rounds: int,
    seconds: float,
    peaks: dict[int, float],
    layers: Iterable[Layer] = SUITES["vgg16"],
) -> Table:
    """One thread's time over all threads', measured in turns, for our calls on the layers of VGG-16."""
    threads, rows, ratios, meanwhile = settings.threads, [], [], Others()
    counts = [functools.partial(numba.set_num_threads, count) for count in (1, threads)]
    for where in layers:
        arrays = make_arrays(where, settings.dtype)
        for item in contestants:
            if item.name not in (OURS_PLAIN, OURS_LAYER):
                continue
            name = f"{where.name} {where}"
            try:
                ready = item.build(where, arrays, settings)
            except Unsupported as reason:
                rows.append([name, item.name, str(reason), "-", "-", "-"])
                continue
            runners = [Runner(ready.call, before=count) for count in counts]
            measure(runners, rounds, seconds)
            one, many = (runner.minimum for runner in runners)
            ratios.append(one / many)
            rows.append([name, item.name, ready.algorithm or "-", *map(milliseconds, (one, many)), f"{one / many:.2f}"])
    numba.set_num_threads(threads)
    if ratios:
        rows.append(["geometric mean", "", "", "", "", f"{geometric_mean(ratios):.2f}"])
        rows.append(["worst", "", "", "", "", f"{min(ratios):.2f}"])
    if 1 in peaks and threads in peaks:
        rows.append(["FMA peak", "", "", "", "", f"{peaks[threads] / peaks[1]:.2f}"])
    columns = ["layer", "contestant", "algorithm", "1 thread ms", f"{threads} threads ms", "ratio"]
    return Table(f"{threads} threads over one, minimum times" + meanwhile.remark(), columns, rows, left=3)


def memory_of(name: str, where: Layer, settings: Settings) -> dict[str, Any]:
    """What one call of a contestant takes in a fresh process, in bytes, and as a share of input and output."""
    question = json.dumps([name, dataclasses.asdict(where), settings._asdict()])
    command = [sys.executable, str(pathlib.Path(__file__)), question]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise RuntimeError((answer.stderr.strip().splitlines()[-1:] or [f"exit status {answer.returncode}"])[0])
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    found["beyond"] = found["peak"] - found["output"]
    found["share"] = found["beyond"] / (found["input"] + found["output"])
    return found


def memory(contestants: list[Contestant], settings: Settings) -> Table:
    """Peak memory of one call in a fresh process, beyond input and output, on a large image and one twice as large."""
    rows = []
    for item in contestants:
        if item.name not in (OURS_PLAIN, OURS_LAYER, "torch", "torch layer"):
            continue
        for where in MEMORY_LAYERS:
            try:
                found = memory_of(item.name, where, settings)
            except RuntimeError as reason:
                rows.append([item.name, str(where), f"failed: {reason}", "-", "-", "-", "-", "-"])
                continue
            beyond, share = found["beyond"], found["share"]
            sizes = [f"{found[name] / MIB:.1f}" for name in ("input", "output", "peak")]
            rows.append([item.name, str(where), found["algorithm"], *sizes, f"{beyond / MIB:.1f}", f"{share:.1%}"])
    columns = [
        "contestant", "sizes", "algorithm", "input MiB", "output MiB", "increase MiB", "beyond output MiB",
        "of input + output",
    ]  # fmt: skip
    return Table("Peak resident memory of one call, counted from where the input exists", columns, rows, left=3)


# ----------------------------------------------------------------------------------------- the fresh process


def _status(field: str) -> int:
    """A size from /proc/self/status in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(found[1]) * 1024


def _answer(question: str) -> dict[str, Any]:
    """Measure one call; everything is compiled and warm before, on a smaller image."""
    name, sizes, chosen = json.loads(question)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in sizes.items()}
    where = Layer(**values)
    settings = Settings(**chosen)
    contestant = next(item for item in CONTESTANTS if item.name == name)
    with session([contestant], settings):
        arrays = make_arrays(where, settings.dtype)
        algorithm = contestant.build(where, arrays, settings).algorithm
        small = dataclasses.replace(where, height=96, width=96)
        warm = settings._replace(algorithm=algorithm) if algorithm else settings
        contestant.build(small, make_arrays(small, settings.dtype), warm).call()
        ctypes.CDLL(None).malloc_trim(0)  # memory that the allocator only keeps would hide what the call takes
        before = _status("VmRSS")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        result = contestant.build(where, arrays, settings).call()
        increase = _status("VmHWM") - before
    output = result.nbytes
    return {"algorithm": algorithm or "-", "input": arrays.x.nbytes, "output": output, "peak": increase}


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1])))
