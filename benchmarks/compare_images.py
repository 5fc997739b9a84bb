"""numbaconv.signal beside SciPy, OpenCV and torch: one image, one kernel, "same" size, zeros outside; in one process.

    python benchmarks/compare_images.py                          # everything, about 20 minutes
    python benchmarks/compare_images.py --size 512 --dtype float32 --taps 3 5 9
    python benchmarks/compare_images.py --sequences              # 1-D instead
    python benchmarks/compare_images.py --memory                 # bytes beyond input and output instead
    python benchmarks/compare_images.py --json f.json --size 512 # a piece: joins f.json, of which all is shown
    python benchmarks/compare_images.py --json f.json --size     # no piece: shows what is in f.json

Every contestant gets the arrays in the dtype that the case names (uint8 images have float32 kernels and results),
and its own conversions are part of its time. The results are compared with SciPy's transforms in float64; a wrong one
has no time.
Contestants take turns in an order that rotates, after a rest. One whose first call takes longer than a second is timed
by that call alone; one that would take longer than --limit seconds is left out. The report ends with the cases in which
a peer was faster, and those in which our median is far from our minimum.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import math
import pathlib
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

#: Seconds of rest before a turn: the thread pools of the one before spin for some milliseconds.
PAUSE = 0.010
#: Seconds that a sample takes at least.
SAMPLE = 200e-6
SIZES = {"512": (512, 512), "1080": (1080, 1920), "2160": (2160, 3840)}
TAPS = (3, 5, 9, 15, 31, 101)
DTYPES = ("float32", "float64", "uint8")
SEQUENCES = ((1_000, 31), (1_000_000, 31), (1_000_000, 1001))
#: Largest error relative to the largest result: of single precision with 10201 taps, and of double.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
OURS = "numbaconv"
#: What names a case, and the kernel of those that are sequences.
CASE = ("size", "taps", "kernel", "dtype")
SEQUENCE = "1-D"
#: Medians beyond this many minima are worth a look.
FAR = 1.5
DIRECT = "scipy.signal.convolve2d"
#: Seconds of a product that SciPy's direct sums take, to leave out what would take minutes; measured.
SCIPY_PRODUCT = {DIRECT: 4e-9, "scipy.ndimage.convolve": 1.5e-9}
#: The same of torch's sums of 101x101 taps: 31 s for 1080x1920 pixels (AMD EPYC, Zen 5).
PRODUCT = {**SCIPY_PRODUCT, "torch.conv2d": 1.5e-9}


def contestants(image: np.ndarray, kernel: np.ndarray, threads: int) -> dict[str, Callable[[], Any]]:
    """The calls of what is installed; each returns the convolution's central part."""
    import scipy.ndimage
    import scipy.signal

    from numbaconv import signal

    result = np.result_type(image, kernel)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])
    calls: dict[str, Callable[[], Any]] = {
        OURS: lambda: signal.convolve2d(image, kernel, "same"),
        DIRECT: lambda: scipy.signal.convolve2d(image, kernel, "same"),
        "scipy.signal.oaconvolve": lambda: scipy.signal.oaconvolve(image, kernel, "same"),
        "scipy.ndimage.convolve": lambda: scipy.ndimage.convolve(image, kernel, result, mode="constant"),
    }
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(threads)
        depth = cv2.CV_32F if result == np.float32 else cv2.CV_64F
        calls["cv2.filter2D"] = lambda: cv2.filter2D(image, depth, flipped, borderType=cv2.BORDER_CONSTANT)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        weight = torch.from_numpy(flipped)[None, None]
        pad = kernel.shape[0] // 2

        def with_torch() -> Any:
            x = torch.from_numpy(image)[None, None]
            with torch.inference_mode():
                return torch.nn.functional.conv2d(x.to(weight.dtype), weight, padding=pad)[0, 0].numpy()

        calls["torch.conv2d"] = with_torch
    return calls


def sequence_contestants(sequence: np.ndarray, kernel: np.ndarray) -> dict[str, Callable[[], Any]]:
    """SciPy's own choice beside ours."""
    import scipy.signal

    from numbaconv import signal

    return {
        OURS: lambda: signal.convolve(sequence, kernel),
        "scipy.signal.convolve": lambda: scipy.signal.convolve(sequence, kernel),
    }


def measure(calls: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Samples of each call, in turns."""
    samples: dict[str, list[float]] = {}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        first = time.perf_counter() - start
        if first > 1.0:
            samples[name] = [first]
            continue
        estimate = min(first, *(timed(call, 1) for _ in range(2)))
        samples[name] = []
        repeats[name] = max(1, math.ceil(SAMPLE / estimate))
    gc.collect()
    gc.disable()
    try:
        names, end = list(repeats), time.perf_counter() + seconds
        for number in range(rounds):
            if number >= 3 and time.perf_counter() > end:
                break
            first = number % len(names)
            for name in names[first:] + names[:first]:
                time.sleep(PAUSE)
                calls[name]()
                samples[name] += [timed(calls[name], repeats[name]) for _ in range(3)]
    finally:
        gc.enable()
    return samples


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call, on average."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def normal(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.standard_normal(shape).astype(dtype)


def image_case(size: str, taps: int, kind: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """An image and a kernel."""
    random = np.random.default_rng(0)
    kernel_dtype = "float64" if dtype == "float64" else "float32"
    image = normal(random, SIZES[size], dtype)
    kernel = normal(random, (taps, taps), kernel_dtype)
    if kind == "separable":
        kernel = np.outer(kernel[0], kernel[-1])
    return image, kernel


def run_case(size: str, taps: int, kind: str, dtype: str, given: argparse.Namespace) -> dict[str, Any]:
    """Check and time every contestant of one case."""
    import scipy.signal

    image, kernel = image_case(size, taps, kind, dtype)
    calls = contestants(image, kernel, given.threads)
    products = image.size * kernel.size
    out = {name for name, cost in PRODUCT.items() if products * cost > given.limit}
    calls = {name: call for name, call in calls.items() if name not in out}
    expected = scipy.signal.oaconvolve(image.astype(np.float64), kernel.astype(np.float64), "same")
    largest, wrong = np.abs(expected).max(), []
    for name in [name for name in calls if name not in SCIPY_PRODUCT]:
        try:
            result = calls[name]()
        except (MemoryError, RuntimeError):  # torch unfolds float64 images: 169 GB for 1080x1920 and 101x101 taps
            out.add(name)
            continue
        if not np.abs(result - expected).max() <= TOLERANCE[kernel.dtype.name] * largest:
            wrong.append(name)
    calls = {name: call for name, call in calls.items() if name not in out}
    samples = measure({name: call for name, call in calls.items() if name not in wrong}, given.rounds, given.seconds)
    return outcome((size, taps, kind, dtype), wrong, sorted(out), samples)


def run_sequence(length: int, taps: int, dtype: str, given: argparse.Namespace) -> dict[str, Any]:
    random = np.random.default_rng(0)
    sequence, kernel = normal(random, (length,), dtype), normal(random, (taps,), dtype)
    calls = sequence_contestants(sequence, kernel)
    ours, theirs = (call() for call in calls.values())
    wrong = [] if np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max() else [OURS]
    return outcome((str(length), taps, SEQUENCE, dtype), wrong, [], measure(calls, given.rounds, given.seconds))


def outcome(
    case: tuple[str, int, str, str], wrong: list[str], out: list[str], samples: dict[str, list[float]]
) -> dict[str, Any]:
    """What is known of a case: its name, who was wrong or left out, and everybody's seconds."""
    return {
        **dict(zip(CASE, case, strict=True)), "wrong": wrong, "left out": out,
        "min": {name: min(values) for name, values in samples.items()},
        "median": {name: statistics.median(values) for name, values in samples.items()},
        "samples": {name: [float(f"{value:.4g}") for value in values] for name, values in samples.items()},
    }  # fmt: skip


def joined(results: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The results with a new one, in the place of an earlier one of the same case."""
    return [result for result in results if any(result[part] != new[part] for part in CASE)] + [new]


def memory(given: argparse.Namespace) -> str:
    """A table of what a call has allocated at its height beyond input and output, in percent of these.

    NumPy tells tracemalloc of its arrays, and our kernels have no other memory. A new thread has no buffer from earlier
    calls.
    """
    from numbaconv import signal

    def measured() -> None:
        tracemalloc.start()
        out = signal.convolve2d(image, kernel, "same")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        share = (peak - out.nbytes) / (image.nbytes + out.nbytes)
        lines.append(f"| {dtype} {size} {taps} {kind} | {method} | {share:.1%} |")

    lines = ["| case | method | beyond input and output |", "|---|---|---|"]
    for dtype, size, taps, kind in itertools.product(given.dtype, given.size, given.taps, given.kernel):
        image, kernel = image_case(size, taps, kind, dtype)
        method = signal.explain(image, kernel, "same").method
        signal.convolve2d(image, kernel, "same")  # compiled now
        thread = threading.Thread(target=measured)
        thread.start()
        thread.join()
    return "\n".join(lines)


def ratio(result: dict[str, Any], statistic: str, peer: str | None = None) -> tuple[float, str]:
    """(the best peer's time, or one peer's, divided by ours; whose it is)."""
    times = result[statistic]
    others = {name: value for name, value in times.items() if name != OURS and peer in (None, name)}
    if OURS not in times or not others:
        return math.nan, ""
    best = min(others, key=others.__getitem__)
    return others[best] / times[OURS], best


def report(results: list[dict[str, Any]]) -> str:
    """The table, the means beside the targets, and what is odd."""
    lines = [
        "| case | ours, ms | best peer | best / ours, min | median | convolve2d / ours |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        best, whose = ratio(result, "min")
        middle, _ = ratio(result, "median")
        direct, _ = ratio(result, "min", DIRECT)
        flag = f" WRONG: {', '.join(result['wrong'])}" if result["wrong"] else ""
        ours = result["min"].get(OURS, math.nan) * 1e3
        lines.append(f"| {name_of(result)}{flag} | {ours:.3f} | {whose} | {best:.2f} | {middle:.2f} | {direct:.0f} |")
    images = [result for result in results if result["kernel"] != SEQUENCE]
    sequences = [result for result in results if result["kernel"] == SEQUENCE]
    for kind, chosen in (("images", images), ("sequences", sequences)):
        for statistic in ("min", "median"):
            ratios = sorted(value for value, _ in (ratio(result, statistic) for result in chosen) if value == value)
            if ratios:
                mean = math.exp(statistics.fmean(map(math.log, ratios)))
                span = f"from {ratios[0]:.2f} to {ratios[-1]:.1f}"
                lines.append(
                    f"\n{len(ratios)} {kind}, best peer / ours, {statistic}: geometric mean {mean:.2f}, {span}"
                )
    small = [ratio(r, "min", DIRECT)[0] for r in images if r["taps"] <= 15 and r["dtype"] == "float32"]
    small = sorted(value for value in small if value == value)
    if small:
        span = f"{len(small)} cases, from {small[0]:.0f} to {small[-1]:.0f}"
        lines.append(f"\nscipy.signal.convolve2d / ours, float32, at most 15 taps: {span}")
    return "\n".join([*lines, *odd(results)])


def name_of(result: dict[str, Any]) -> str:
    return f"{result['dtype']} {result['size']} {result['taps']} {result['kernel']}"


def odd(results: list[dict[str, Any]]) -> list[str]:
    """Cases in which a peer was faster, and those in which our median is far from our minimum."""
    lines = []
    for result in results:
        for statistic in ("min", "median"):
            value, whose = ratio(result, statistic)
            if value < 1:
                lines.append(f"\n{name_of(result)}: {whose} is faster, {statistic} {value:.2f}")
        least, middle = (result[statistic].get(OURS, math.nan) for statistic in ("min", "median"))
        if middle > FAR * least:
            lines.append(f"\n{name_of(result)}: our median is {middle / least:.1f} times our minimum")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--taps", nargs="*", type=int, default=list(TAPS))
    parser.add_argument("--dtype", nargs="*", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--kernel", nargs="*", choices=("random", "separable"), default=["random", "separable"])
    parser.add_argument("--sequences", action="store_true", help="1-D sequences instead of images")
    parser.add_argument("--memory", action="store_true", help="what calls allocate, instead of their times")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="at most")
    parser.add_argument("--seconds", type=float, default=1.5, help="budget of a case; at least 3 rounds are run")
    parser.add_argument(
        "--limit", type=float, default=12.0, help="seconds that SciPy's and torch's direct sums may take"
    )
    parser.add_argument("--json", type=pathlib.Path, help="join the results to those in this file; report on all")
    given = parser.parse_args()
    numba.set_num_threads(given.threads)
    from numbaconv import signal

    signal.convolve2d(np.ones((900, 900), np.float32), np.eye(5, dtype=np.float32))  # Numba's threads before torch's
    if given.memory:
        print(memory(given))
        return
    results = json.loads(given.json.read_text()) if given.json and given.json.exists() else []
    if given.sequences:
        new = (run_sequence(*length, dtype, given) for length in SEQUENCES for dtype in ("float32", "float64"))
    else:
        cases = itertools.product(given.dtype, given.size, given.taps, given.kernel)
        new = (run_case(size, taps, kind, dtype, given) for dtype, size, taps, kind in cases)
    for result in new:
        results = joined(results, result)
        best, whose = ratio(result, "min")
        print(f"{name_of(result)}: {best:.2f} {whose}", file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(json.dumps(results))
    print(report(results))


if __name__ == "__main__":
    main()
