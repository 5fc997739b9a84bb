"""``python -m numbaconv bench``: a handful of layers on the user's own machine, beside what is installed there."""

from __future__ import annotations

import importlib
import math
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from . import runtime, signal
from .digit import CommandError
from .nn import Conv2d

#: Seconds for all contestants of one layer.
BUDGET: Final = 1.5
#: Relative difference from our own result beyond which a contestant has no time: it computed something else.
TOLERANCE: Final = 1e-3
INSTALL: Final = "python -m pip install 'numbaconv[bench]'"


class Case(NamedTuple):
    """A layer or a filtered image."""

    name: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def image(self) -> bool:
        """Whether it is an image and a filter, for SciPy's function."""
        return len(self.input) == 2

    @property
    def flops(self) -> int:
        """Operations of direct summation."""
        if self.image:
            return 2 * math.prod(self.input) * math.prod(self.weight)
        size = ((self.input[2] + 2 * self.padding - self.weight[2]) // self.stride + 1) ** 2
        return 2 * self.input[0] * size * math.prod(self.weight)


CASES: Final = (
    Case("first layer, 7x7, stride 2", (1, 3, 224, 224), (64, 3, 7, 7), 2, 3),
    Case("64 channels, 3x3", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1),
    Case("256 channels, 3x3", (1, 256, 14, 14), (256, 256, 3, 3), 1, 1),
    Case("256 channels to 64, 1x1", (1, 256, 56, 56), (64, 256, 1, 1)),
    Case("depthwise, 3x3", (1, 96, 56, 56), (96, 1, 3, 3), 1, 1, 96),
    Case("image 1080x1920, 3x3", (1080, 1920), (3, 3)),
    Case("image 1080x1920, 9x9", (1080, 1920), (9, 9)),
)

Call = Callable[[], Any]


class Measured(NamedTuple):
    """A case's seconds by contestant."""

    case: Case
    seconds: dict[str, float]


def _installed(name: str) -> Any:
    """A package, or None: a broken one is as good as none."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return None


def contestants(case: Case, threads: int) -> dict[str, Call]:
    """Calls that compute a case, ours first; each returns an array."""
    random = np.random.default_rng(0)
    x = random.standard_normal(case.input, dtype=np.float32)
    weight = random.standard_normal(case.weight, dtype=np.float32)
    torch, cv2 = _installed("torch"), _installed("cv2")
    calls: dict[str, Call] = {}
    if case.image:
        from scipy import signal as scipy_signal

        calls["numbaconv"] = lambda: signal.convolve2d(x, weight, mode="same")
        calls["SciPy"] = lambda: scipy_signal.convolve2d(x, weight, mode="same")
        if cv2 is not None:
            cv2.setNumThreads(threads)
            flipped = np.ascontiguousarray(weight[::-1, ::-1])
            calls["OpenCV"] = lambda: cv2.filter2D(x, -1, flipped, borderType=cv2.BORDER_CONSTANT)
        return calls
    layer = Conv2d.from_weight(weight, stride=case.stride, padding=case.padding, groups=case.groups)
    calls["numbaconv"] = lambda: layer(x)
    if torch is not None:
        torch.set_num_threads(threads)
        tensors = torch.from_numpy(x), torch.from_numpy(weight)

        def run() -> Any:
            with torch.no_grad():
                return torch.nn.functional.conv2d(*tensors, None, case.stride, case.padding, 1, case.groups).numpy()

        calls["torch"] = run
    return calls


def measure(case: Case, threads: int, budget: float = BUDGET) -> Measured:
    """Time all contestants in turns; the fastest call of each counts."""
    calls = contestants(case, threads)
    own = np.asarray(calls["numbaconv"]())
    spent: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name, call in list(calls.items()):
        start = time.perf_counter()
        result = np.asarray(call())
        spent[name] = time.perf_counter() - start
        if result.shape != own.shape or not np.abs(result - own).max() <= TOLERANCE * np.abs(own).max():
            del calls[name]
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name, call in calls.items():
            if rounds >= 3 and spent[name] > budget / 10:
                continue  # a slow one would take the others' time
            for _ in range(3 if spent[name] < budget / 100 else 1):
                start = time.perf_counter()
                call()
                seconds[name] = min(seconds.get(name, math.inf), time.perf_counter() - start)
        rounds += 1
    return Measured(case, seconds)


def fma_peak(threads: int) -> float:
    """Float32 operations per second of ``threads`` threads in our microkernel: no direct convolution is faster."""
    from .kernels.blocking import NARROW_LINE, TILE_BYTES, TILE_ROWS
    from .kernels.peak import peak_tasks
    from .kernels.tasks import run_parallel, run_serial

    calls, depth, columns = 4000, 512, TILE_BYTES // 4
    random = np.random.default_rng(0)
    x, weight = (random.standard_normal(size, dtype=np.float32) for size in (16 * columns, depth * TILE_ROWS))
    out, scratch = np.zeros(threads * TILE_ROWS * columns, np.float32), np.zeros(2 * NARROW_LINE, np.float32)
    rows, geometry = np.arange(depth) % 16 * columns, np.array([calls, depth, columns])
    for array in (x, weight, rows, geometry):
        array.flags.writeable = False
    function = runtime.native(peak_tasks, ("intp", "intp", *["float32*"] * 3, "int64*", "int64*", "float32*"))
    best = math.inf
    for _ in range(30):
        start = time.perf_counter()
        runtime.launch(run_parallel, run_serial, threads, (function, x, weight, out, rows, geometry, scratch))
        best = min(best, time.perf_counter() - start)
    return 2.0 * threads * calls * depth * TILE_ROWS * columns / best


def cells(results: list[Measured], peak: float) -> tuple[list[str], list[list[str]]]:
    """The table: its head and its rows."""
    peers = [name for name in ("SciPy", "OpenCV", "torch") if any(name in result.seconds for result in results)]
    head = ["layer", "numbaconv ms", "GFLOP/s", "of the peak", *(f"{name} ms" for name in peers), "best peer / ours"]
    lines = []
    for case, seconds in results:
        ours = seconds["numbaconv"]
        others = [seconds[name] for name in peers if name in seconds]
        lines.append(
            [
                case.name,
                f"{ours * 1e3:.3f}",
                f"{case.flops / ours / 1e9:.1f}",
                f"{case.flops / ours / peak:.0%}",
                *(f"{seconds[name] * 1e3:.3f}" if name in seconds else "-" for name in peers),
                f"{min(others) / ours:.2f}" if others else "-",
            ]
        )
    return head, lines


def print_table(title: str, head: list[str], lines: list[list[str]]) -> None:
    """A table by rich, or plain where that is not installed."""
    if _installed("rich") is None:
        widths = [max(len(row[i]) for row in (head, *lines)) for i in range(len(head))]
        print(title)
        for row in (head, *lines):
            first, *rest = (
                text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
            )
            print("  ".join([first, *rest]))
        print(f"A finer table needs rich: {INSTALL}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in lines:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def draw(results: list[Measured], output: pathlib.Path, title: str) -> None:
    """Bars: how many times as fast as each peer we are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    peers = [name for name in ("SciPy", "OpenCV", "torch") if any(name in result.seconds for result in results)]
    height = 0.8 / max(1, len(peers))
    for number, name in enumerate(peers):
        places = [i + number * height for i, result in enumerate(results) if name in result.seconds]
        ratios = [result.seconds[name] / result.seconds["numbaconv"] for result in results if name in result.seconds]
        bars = axes.barh(places, ratios, height, label=name)
        axes.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios], padding=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(results))], [result.case.name for result in results])
    axes.invert_yaxis()
    axes.set_xlabel("peer's time / numbaconv's time")
    axes.set_title(title)
    if peers:
        axes.legend()
    try:
        figure.savefig(output, dpi=120)
    except (OSError, ValueError) as error:
        raise CommandError(f"{output} cannot be written: {error}") from None


def run(output: pathlib.Path | None, quick: bool) -> int:
    """Measure all cases, print the table and draw the picture."""
    if output is not None and not output.parent.is_dir():
        raise CommandError(f"{output.parent} is not a folder")
    threads = runtime.thread_count()
    peak = fma_peak(threads)
    results = [
        measure(case, threads, 0.02 if quick else BUDGET) for case in (CASES[1:2] + CASES[5:6] if quick else CASES)
    ]
    title = f"float32, {threads} thread(s), peak {peak / 1e9:.0f} GFLOP/s (our microkernel, everything in cache)"
    print_table(title, *cells(results, peak))
    print("Winograd multiplies less than the count of operations says, so it can exceed the peak.")
    if output is None:
        return 0
    if _installed("matplotlib") is None:
        print(f"No picture: matplotlib is not installed ({INSTALL}).")
        return 0
    draw(results, output, title)
    print(f"Picture: {output}")
    return 0
