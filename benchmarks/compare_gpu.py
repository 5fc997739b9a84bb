"""numbaconv on a GPU beside cuDNN (through torch) and CuPy, in one process.

    python benchmarks/compare_gpu.py                      # everything, on a machine with a GPU
    python benchmarks/compare_gpu.py --suite vgg16 --markdown gpu.md

It needs torch with CUDA; CuPy for the images. Every contestant computes on the same arrays, on torch's current stream.
What the GPU takes is timed by CUDA events around some calls that were queued while it slept, so that no call waits for
Python: the median of its runs, contestants taking turns. What Python takes to queue a call is a column of its own.
Results are checked against torch in float64; a wrong one has no time. cuDNN searches its algorithms beforehand
(``torch.backends.cudnn.benchmark``), and TF32 is off for "float32". Ratios above 1 say that numbaconv is faster; below
each table is the mean beside its target.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from report import geometric_mean
from suites import SUITES, Layer

import numbaconv as nc

#: cuDNN's time / ours that is wanted, as a geometric mean.
TARGETS = {"float32": 0.8, "depthwise float32": 1.0, "float16": 0.5, "bfloat16": 0.5, "images": 1.5}
#: Errors that count as right, relative to the root of the number of summed products.
TOLERANCE = {"float32": 2e-6, "TF32": 3e-3, "float16": 4e-3, "bfloat16": 3e-2}
BATCH = 32
#: Runs of each contestant, the milliseconds of the GPU's work that are queued for one, and the most calls.
RUNS = 7
QUEUED = 3.0
MOST_CALLS = 20
#: Cycles of the GPU's clock in a millisecond, at most: how long it sleeps meanwhile.
CYCLES = 2_000_000

#: By contestant: milliseconds of the GPU and of Python; None where the result is wrong.
Times = dict[str, tuple[float, float] | None]


@dataclasses.dataclass
class Row:
    """One problem in one precision."""

    suite: str
    problem: str
    precision: str
    flops: float
    times: Times

    @property
    def best(self) -> tuple[float, float] | None:
        """The faster of our ways."""
        return min((time for name, time in self.times.items() if name.startswith("numbaconv") and time), default=None)

    @property
    def ratio(self) -> float | None:
        """The best peer's time / ours, on the GPU."""
        peers = [time for name, time in self.times.items() if not name.startswith("numbaconv") and time is not None]
        return min(peers)[0] / self.best[0] if self.best and peers else None


def measured(contestants: dict[str, Callable[[], Any]], torch: Any) -> Times:
    """Median milliseconds of each, on the GPU and in Python, taking turns."""
    calls, sleeps = {}, {}
    for name, call in contestants.items():
        for _ in range(2):
            call()
        torch.cuda.synchronize()
        before = time.perf_counter()
        call()
        queued = time.perf_counter()
        torch.cuda.synchronize()
        taken = (time.perf_counter() - before) * 1e3
        calls[name] = max(2, min(MOST_CALLS, int(QUEUED / taken)))
        sleeps[name] = int((calls[name] * (queued - before) * 1e3 * 1.5 + 0.5) * CYCLES)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(RUNS):
        for name, call in contestants.items():
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(sleeps[name])
            first.record()
            before = time.perf_counter()
            for _ in range(calls[name]):
                call()
            queued = (time.perf_counter() - before) * 1e3
            last.record()
            last.synchronize()
            found[name].append((first.elapsed_time(last) / calls[name], queued / calls[name]))
    return {
        name: (statistics.median(gpu for gpu, _ in each), statistics.median(python for _, python in each))
        for name, each in found.items()
    }


def checked(contestants: dict[str, Callable[[], Any]], expected: Any, scale: float, torch: Any) -> dict[str, Any]:
    """The contestants whose results are right; the others are named and left out."""
    right = {}
    for name, call in contestants.items():
        error = (torch.as_tensor(call()).double() - expected).abs().max().item()
        if error <= scale:
            right[name] = call
        else:
            print(f"WRONG: {name} errs by {error:.3g}, more than {scale:.3g}")
    return right


def compare_layer(suite: str, layer: Layer, precision: str, bias: bool, torch: Any) -> Row:
    """A layer in NCHW and in channels_last, as cuDNN likes either, beside ours on the same arrays."""
    dtype = getattr(torch, "float32" if precision == "TF32" else precision)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
    generator = torch.Generator("cuda").manual_seed(0)
    shape = (BATCH, *layer.input_shape[1:])
    x = torch.randn(shape, generator=generator, device="cuda", dtype=dtype)
    w = torch.randn(layer.weight_shape, generator=generator, device="cuda", dtype=dtype)
    b = torch.randn(layer.filters, generator=generator, device="cuda", dtype=dtype) if bias else None
    how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
    conv = torch.nn.functional.conv2d
    last, last_w = (array.contiguous(memory_format=torch.channels_last) for array in (x, w))
    inside = x.permute(0, 2, 3, 1).contiguous()
    ours = {**how, "precision": "fast" if precision == "TF32" else "standard"}
    contestants = {
        "numbaconv": lambda: nc.conv2d(x, w, b, **ours),
        "numbaconv NHWC": lambda: nc.conv2d(inside, w, b, **ours, data_format="NHWC").permute(0, 3, 1, 2),
        "cuDNN": lambda: conv(x, w, b, **how),
        "cuDNN channels_last": lambda: conv(last, last_w, b, **how),
    }  # fmt: skip
    expected = conv(x[:2].double(), w.double(), None if b is None else b.double(), **how)
    first = {name: (lambda call=call: call()[:2]) for name, call in contestants.items()}
    scale = TOLERANCE[precision] * math.sqrt(layer.depth) * 20
    right = checked(first, expected, scale, torch)
    times: Times = {**dict.fromkeys(contestants), **measured({name: contestants[name] for name in right}, torch)}
    kind = f"depthwise {precision}" if layer.groups == layer.channels > 1 else precision
    return Row(suite, str(layer), kind, layer.flops / layer.batch * BATCH, times)


def compare_image(size: int, torch: Any) -> Row:
    """A 4K image under one kernel, beside CuPy's function of the same name."""
    import cupy
    import cupyx.scipy.signal

    generator = np.random.default_rng(0)
    image = cupy.asarray(generator.normal(size=(2160, 3840)).astype(np.float32))
    taps = cupy.asarray(generator.normal(size=(size, size)).astype(np.float32))
    contestants = {
        "numbaconv": lambda: nc.signal.convolve2d(image, taps, "same"),
        "CuPy": lambda: cupyx.scipy.signal.convolve2d(image, taps, "same"),
    }
    expected = torch.as_tensor(cupyx.scipy.signal.convolve2d(image.astype("f8"), taps.astype("f8"), "same"))
    with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        right = checked(contestants, expected, TOLERANCE["float32"] * size * 20, torch)
        times: Times = {**dict.fromkeys(contestants), **measured(right, torch)}
        return Row("images", f"2160x3840 under {size}x{size}", "images", 2 * image.size * size**2, times)


def report(rows: list[Row]) -> str:
    """Every problem, and the means beside the targets."""
    lines = []
    for kind in dict.fromkeys(row.precision for row in rows):
        some = [row for row in rows if row.precision == kind]
        names = list(dict.fromkeys(name for row in some for name in row.times))
        title = f"### {kind}: milliseconds of the GPU, our TFLOP/s, and the best peer's time / ours"
        lines += ["", title, "", f"| suite | problem | {' | '.join(names)} | TFLOP/s | ratio |"]
        lines.append("|---" * (len(names) + 4) + "|")
        for row in some:
            cells = ["wrong" if (found := row.times.get(name)) is None else f"{found[0]:.3f}" for name in names]
            cells.append(f"{row.flops / row.best[0] / 1e9:.1f}" if row.best else "-")
            cells.append("-" if row.ratio is None else f"{row.ratio:.2f}")
            lines.append(f"| {row.suite} | {row.problem} | {' | '.join(cells)} |")
        ratios = [row.ratio for row in some if row.ratio is not None]
        target = f", target {TARGETS[kind]}" if kind in TARGETS else ""
        if len(ratios) == len(some):
            lines.append(f"\nGeometric mean {geometric_mean(ratios):.2f}, worst {min(ratios):.2f}{target}.")
        python = {name: [found[1] for row in some if (found := row.times.get(name)) is not None] for name in names}
        listed = (f"{name} {statistics.median(each) * 1e3:.0f} us" for name, each in python.items() if each)
        lines.append(f"Python's time for a call, median: {', '.join(listed)}.")
    return "\n".join(lines)


def overhead(torch: Any) -> str:
    """What a call of next to no work costs: microseconds of Python, and until the result is there."""
    x, w = torch.ones(1, 4, 8, 8, device="cuda"), torch.ones(4, 4, 3, 3, device="cuda")
    lines = []
    for name, call in (
        ("numbaconv", lambda: nc.conv2d(x, w, None, 1, 1)),
        ("torch", lambda: torch.nn.functional.conv2d(x, w, None, 1, 1)),
    ):
        found = []
        for _ in range(300):
            torch.cuda.synchronize()
            before = time.perf_counter()
            call()
            queued = time.perf_counter()
            torch.cuda.synchronize()
            found.append((queued - before, time.perf_counter() - before))
        python, whole = (statistics.median(each) * 1e6 for each in zip(*found[100:], strict=True))
        lines.append(f"A small call of {name}: {python:.1f} us of Python, {whole:.1f} us until the result is there.")
    return "\n".join(lines)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", nargs="+", default=["vgg16", "resnet50", "depthwise", "images"])
    parser.add_argument("--precision", nargs="+", default=["float32", "TF32", "float16", "bfloat16"])
    parser.add_argument("--no-bias", action="store_true", help="torch adds a bias by a kernel of its own")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the tables there, too")
    parser.add_argument("--json", type=pathlib.Path, help="write the times there")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("compare_gpu.py needs torch with CUDA", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("compare_gpu.py needs a GPU, and a torch that can use it", file=sys.stderr)
        return 2
    torch.backends.cudnn.benchmark = True
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "cuDNN", torch.backends.cudnn.version())
    tasks: list[Callable[[], Row]] = [
        functools.partial(compare_layer, suite, layer, precision, not options.no_bias, torch)
        for suite in options.suite
        if suite != "images"
        for layer in SUITES[suite]
        for precision in options.precision
    ]
    if "images" in options.suite:
        tasks += [functools.partial(compare_image, size, torch) for size in (3, 5, 9, 15, 31)]
    rows = []
    for task in tasks:
        rows.append(task())
        print(rows[-1], flush=True, file=sys.stderr)
    text = report(rows) + "\n\n" + overhead(torch)
    print(text)
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    if options.markdown:
        options.markdown.write_text(text + "\n")
    return int(any(time is None for row in rows for time in row.times.values()))


if __name__ == "__main__":
    sys.exit(main())
