"""Writes docs/performance.md: measures, keeps the figures in docs/performance.json, and draws every picture from there.

    python benchmarks/performance.py                          # everything, about 12 minutes
    python benchmarks/performance.py --measure vgg16 images   # some of it anew; the rest stays as it was
    python benchmarks/performance.py --measure                # nothing: the page and the pictures from the file

Each slice takes at most a minute and a half and remembers its own date, machine and versions. A picture holds the
digest of the figures it was drawn from; ``tests/test_performance_page.py`` compares.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib.metadata
import json
import math
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from compare import machine, measure_peaks
from peers import OURS_LAYER, OURS_NHWC, OURS_PLAIN, PEERS, Settings, cpu_count, select, session, versions
from report import Run, Table, disturbances, geometric_mean, milliseconds
from suites import SUITES
from timing import QUIET, Others, run_layer

DOCS: Final = pathlib.Path(__file__).parents[1] / "docs"
FIGURES: Final = DOCS / "performance.json"
SETTINGS: Final = Settings(threads=min(2, cpu_count()))
#: Rounds at most, and seconds for each layer or image: a slice should not take longer than a minute and a half.
ROUNDS: Final = 15
SECONDS: Final = 1.2
IMAGES: Final = [
    (dtype, size, taps, kind)
    for dtype, size in (("float32", "512"), ("float32", "1080"), ("float64", "512"), ("uint8", "512"))
    for taps in (3, 5, 9, 15, 31)
    for kind in ("random", "separable")
]
LIBRARIES: Final = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "jax": "JAX"}


# ---------------------------------------------------------------------------------------------- measuring


def measure_layers(suite: str, part: slice) -> dict[str, Any]:
    """A suite's layers beside everything that is installed."""
    contestants, _ = select(list(PEERS), nhwc=True, settings=SETTINGS)
    with session(contestants, SETTINGS):
        run = Run(machine(), versions(contestants), SETTINGS, {}, contestants, [])
        measure_peaks(run.peaks, SETTINGS.dtype, SETTINGS.threads)
        for layer in SUITES[suite][part]:
            run.results.append(run_layer(suite, layer, contestants, SETTINGS, ROUNDS, SECONDS))
            gc.collect()
        measure_peaks(run.peaks, SETTINGS.dtype, SETTINGS.threads)
    rows = []
    for result in run.results:
        times: dict[str, float] = {}
        for item in contestants:
            seconds = result.outcomes[item.name].seconds("min")
            name = item.name if item.ours else LIBRARIES.get(item.library, item.library)
            if seconds is not None:
                times[name] = min(seconds, times.get(name, math.inf))
        wrong = [name for name, outcome in result.outcomes.items() if outcome.wrong]
        rows.append({
            "name": f"{result.layer.name} {result.layer}", "algorithm": result.outcomes[OURS_LAYER].algorithm,
            "flops": result.layer.flops, "seconds": times, "wrong": wrong,
        })  # fmt: skip
    return {"versions": run.versions, "peak": run.peaks[SETTINGS.threads], "rows": rows, "noise": disturbances(run)}


def measure_images(part: slice) -> dict[str, Any]:
    """``signal.convolve2d`` beside everything that is installed."""
    import compare_images

    given = argparse.Namespace(threads=SETTINGS.threads, limit=2.0, rounds=10, seconds=0.6)
    found, meanwhile = [], Others()
    for dtype, size, taps, kind in IMAGES[part]:
        case = compare_images.run_case(size, taps, kind, dtype, given)
        shape = "x".join(map(str, compare_images.SIZES[size]))
        name = f"{dtype} {shape}, {taps}x{taps} {kind}"
        found.append({"name": name, "seconds": case["min"], "wrong": case["wrong"]})
    libraries = ("numbaconv", "numba", "numpy", "scipy", "opencv-python-headless", "torch")
    return {"versions": installed(libraries), "rows": found, "noise": noise(meanwhile)}


def measure_start() -> dict[str, Any]:
    from start import measure_starts

    meanwhile = Others()
    rows = measure_starts()
    return {
        "versions": installed(("numbaconv", "numba", "llvmlite", "numpy", "torch", "scipy")),
        "rows": rows,
        "noise": noise(meanwhile),
    }


def measure_memory() -> dict[str, Any]:
    import extras

    contestants, _ = select(["torch"], nhwc=False, settings=SETTINGS)
    rows: dict[str, dict[str, float]] = {}
    for item in contestants:
        for where in extras.MEMORY_LAYERS if item.name in (OURS_PLAIN, OURS_LAYER, "torch", "torch layer") else ():
            found = extras.memory_of(item.name, where, SETTINGS)
            rows.setdefault(item.name, {})[str(where)] = 100 * found["share"]
    return {"versions": versions(contestants), "rows": rows, "noise": []}


def measure_accuracy() -> dict[str, Any]:
    from precision import measure_errors

    return {"versions": installed(("numbaconv", "numba", "llvmlite", "numpy")), "rows": measure_errors(), "noise": []}


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def noise(meanwhile: Others) -> list[str]:
    """A remark where other processes were at work."""
    cpus = meanwhile.cpus() or 0.0
    return [f"other processes kept {cpus:.1f} CPUs busy meanwhile"] if cpus > QUIET else []


#: What is measured in one go. Parts of a suite are joined on the page.
SLICES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "vgg16": lambda: measure_layers("vgg16", slice(None)),
    "resnet50": lambda: measure_layers("resnet50", slice(None)),
    "depthwise": lambda: measure_layers("depthwise", slice(None)),
    "mixed": lambda: measure_layers("mixed", slice(20)),
    "mixed 2": lambda: measure_layers("mixed", slice(20, None)),
    "winograd": lambda: measure_layers("winograd", slice(None)),
    "images": lambda: measure_images(slice(10)),
    "images 2": lambda: measure_images(slice(10, 20)),
    "images 3": lambda: measure_images(slice(20, None)),
    "start": measure_start,
    "memory": measure_memory,
    "accuracy": measure_accuracy,
}


def commit() -> str:
    """What was measured: a commit, marked where the sources differ from it; empty outside of a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(DOCS.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603

    try:
        changed = git("status", "--porcelain", "--", "numbaconv", "benchmarks")
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


# ------------------------------------------------------------------------------------------------ the page


class Slice:
    """The figures of a slice and of its further parts, where it has some."""

    def __init__(self, figures: dict[str, Any], name: str) -> None:
        self.parts = [figures[part] for part in SLICES if part in figures and re.sub(r" \d$", "", part) == name]
        self.title = name

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for part in self.parts for row in part["rows"]]

    @property
    def footer(self) -> str:
        """Where and when, with what, and what disturbed: under every picture, and above every table."""
        lines = []
        for part in self.parts:
            where = ", ".join(f"{name} {value}" for name, value in part["machine"].items())
            what = ", ".join(f"{name} {version}" for name, version in part["versions"].items())
            lines += [f"{where}, commit {part['commit'] or 'unknown'}", f"{what}, {SETTINGS.threads} threads"]
            lines += [f"NOISE: {remark}" for remark in part["noise"]]
        return "\n".join(dict.fromkeys(lines))

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()


def best_peer(times: dict[str, float], ours: Sequence[str]) -> tuple[float, str]:
    return min(((seconds, name) for name, seconds in times.items() if name not in ours), default=(math.nan, "-"))


def summary(ratios: list[float]) -> str:
    """Geometric mean, worst and best of peer's time / ours."""
    valid = [ratio for ratio in ratios if not math.isnan(ratio)]
    if not valid:
        return "no peer was installed"
    return f"geometric mean **{geometric_mean(valid):.2f}**, from {min(valid):.2f} to {max(valid):.2f}"


def layers(part: Slice, draw: bool) -> list[str]:
    """One suite: a picture of fractions of the peak, and the table of its figures."""
    ours, dots, rows, ratios = (OURS_PLAIN, OURS_NHWC, OURS_LAYER), {}, [], []
    for row in part.rows:
        peak = next(item["peak"] for item in part.parts if row in item["rows"])
        times = row["seconds"]
        fractions = {name: row["flops"] / seconds / peak for name, seconds in times.items() if name not in ours[:2]}
        dots[f"{row['name']}  ({row['algorithm']})"] = fractions
        best, name = best_peer(times, ours)
        mine = times.get(OURS_LAYER, math.nan)
        ratios.append(best / mine)
        rate = "-" if math.isnan(mine) else f"{fractions[OURS_LAYER]:.0%}"
        cells = [milliseconds(times.get(name)) for name in (OURS_LAYER, OURS_PLAIN, OURS_NHWC)]
        wrong = f" WRONG: {', '.join(row['wrong'])}" if row["wrong"] else ""
        rows.append(
            [
                f"{row['name']}{wrong}",
                row["algorithm"] or "-",
                *cells,
                rate,
                milliseconds(best),
                name,
                f"{best / mine:.2f}",
            ]
        )
    picture = DOCS / "performance" / f"{part.title}.png"
    if draw:
        from plots import dots as draw_dots

        title = f"{part.title}: each distinct layer, layers and prepared peers, best of their kinds"
        label = "fraction of the FMA peak, counting direct summation's operations (Winograd can exceed 1)"
        draw_dots(picture, title, label, dots, part.footer, part.digest, line=1)
    columns = [
        "layer",
        "algorithm",
        "layer, ms",
        "plain, ms",
        "plain NHWC, ms",
        "layer, of peak",
        "best peer, ms",
        "best peer",
        "peer / layer",
    ]
    return section(
        f"Layers: {part.title}", part, picture, f"Best peer's time over our layer's: {summary(ratios)}.", columns, rows
    )


def images(part: Slice, draw: bool) -> list[str]:
    """Pictures: milliseconds of everyone."""
    dots, rows, ratios = {}, [], []
    for row in part.rows:
        times = row["seconds"]
        dots[row["name"]] = {name: seconds * 1e3 for name, seconds in times.items()}
        best, name = best_peer(times, (OURS_PLAIN,))
        mine, scipy = times.get(OURS_PLAIN, math.nan), times.get("scipy.signal.convolve2d", math.nan)
        ratios.append(best / mine)
        wrong = f" WRONG: {', '.join(row['wrong'])}" if row["wrong"] else ""
        slower = "-" if math.isnan(scipy) else f"{scipy / mine:.0f}"
        rows.append(
            [f"{row['name']}{wrong}", milliseconds(mine), milliseconds(best), name, f"{best / mine:.2f}", slower]
        )
    picture = DOCS / "performance" / "images.png"
    if draw:
        from plots import dots as draw_dots

        draw_dots(
            picture, "One image, one filter, a result of the same size", "milliseconds", dots, part.footer, part.digest
        )
    columns = ["image, kernel", "ours, ms", "best peer, ms", "best peer", "peer / ours", "convolve2d / ours"]
    text = f"`signal.convolve2d`. Best peer's time over ours: {summary(ratios)}; SciPy's own in the last column,"
    text += " left out where one call would take longer than two seconds."
    return section("Images", part, picture, text, columns, rows)


def start(part: Slice, draw: bool) -> list[str]:
    """Cold start."""
    found = part.parts[0]["rows"]
    drawn = {
        name: {f"{cache} cache": row[cache]["seconds"] for cache in ("empty", "filled")} for name, row in found.items()
    }
    picture = DOCS / "performance" / "start.png"
    if draw:
        from plots import bars

        title = "A new process: from its first import to its first result"
        bars(picture, title, "seconds", drawn, part.footer, part.digest)
    rows = [
        [
            name,
            *(
                f"{row[cache][key]:.2f}"
                for key, cache in (("imported", "filled"), ("seconds", "filled"), ("seconds", "empty"))
            ),
            str(row["empty"]["compiled"]),
        ]
        for name, row in found.items()
    ]
    columns = ["call", "import, s", "first result, filled cache, s", "empty cache, s", "functions compiled then"]
    text = (
        "From the first import to the first result, Python's own start left out; best of three processes, of one where"
    )
    text += " the cache is empty."
    return section("Cold start", part, picture, text, columns, rows)


def memory(part: Slice, draw: bool) -> list[str]:
    """What calls take beyond input and output."""
    found = part.parts[0]["rows"]
    picture = DOCS / "performance" / "memory.png"
    if draw:
        from plots import bars

        title = "Memory of one call beyond its input and output"
        bars(picture, title, "percent of input and output together", found, part.footer, part.digest)
    columns = ["call", *dict.fromkeys(size for shares in found.values() for size in shares)]
    rows = [[name, *(f"{share:.1f} %" for share in shares.values())] for name, shares in found.items()]
    text = (
        "Peak resident memory of one call in a fresh process, in percent of input and output together. The second image"
    )
    text += " is twice as large."
    return section("Memory", part, picture, text, columns, rows)


def accuracy(part: Slice, draw: bool) -> list[str]:
    """RMS errors relative to the plain loop's."""
    from precision import PLAIN

    found = part.parts[0]["rows"]
    names = [name for name in next(iter(found.values())) if name != PLAIN]
    relative = {
        name: [(channels, errors[name] / errors[PLAIN]) for channels, errors in found.items()] for name in names
    }
    picture = DOCS / "performance" / "accuracy.png"
    if draw:
        from plots import lines

        title = "RMS error against float64, normal data, 3x3; 1 is a plain float32 loop"
        lines(picture, title, ("channels that are summed", "error / plain loop's"), relative, part.footer, part.digest)
    columns = ["channels", f"{PLAIN}: RMS error", *(f"{name} / loop" for name in names)]
    rows = [
        [channels, f"{errors[PLAIN]:.2e}", *(f"{errors[name] / errors[PLAIN]:.2f}" for name in names)]
        for channels, errors in found.items()
    ]
    text = (
        "RMS error against float64 on normal data, 3x3 kernels, relative to a float32 loop that adds one product after"
    )
    text += " the other."
    return section("Accuracy", part, picture, text, columns, rows)


def section(
    title: str, part: Slice, picture: pathlib.Path, text: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[str]:
    """A heading, a sentence, the picture, and the table it was drawn from."""
    where = picture.relative_to(DOCS).as_posix().replace(" ", "%20")
    left = 1 + (columns[1] == "algorithm")
    table = Table(title, columns, rows, left).markdown().split("\n", 2)[2]
    footer = part.footer.replace("\n", "\\\n")
    return [f"## {title}", "", text, "", f"![{title}]({where})", "", table, footer, ""]


PAGES: Final[dict[str, Callable[[Slice, bool], list[str]]]] = {
    **dict.fromkeys(SUITES, layers),
    "images": images,
    "start": start,
    "memory": memory,
    "accuracy": accuracy,
}


def page(figures: dict[str, Any], draw: bool = False) -> str:
    """docs/performance.md from the figures; ``draw`` makes the pictures, too."""
    text = ["# Performance", "", *INTRODUCTION]
    for name, write in PAGES.items():
        if name in figures:
            text += write(Slice(figures, name), draw)
    return "\n".join(text).rstrip() + "\n"


INTRODUCTION: Final = (
    "Written by `python benchmarks/performance.py` from [performance.json](performance.json): do not edit.",
    "float32 unless a row says otherwise. Times are the fastest of many, taken in turns in one process; results were",
    "compared with float64 sums. A ratio above 1 means that numbaconv is faster.",
    "",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--measure", nargs="*", choices=SLICES, default=list(SLICES), metavar="SLICE", help=", ".join(SLICES)
    )
    given = parser.parse_args(arguments)
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    (DOCS / "performance").mkdir(parents=True, exist_ok=True)
    for name in given.measure:
        begin = time.perf_counter()
        found = {"machine": machine(), "commit": commit(), **SLICES[name]()}
        figures[name] = found
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {time.perf_counter() - begin:.0f} s", *found["noise"], file=sys.stderr, flush=True)
    (DOCS / "performance.md").write_text(page(figures, draw=True), encoding="utf-8")
    wrong = [
        f"{name}: {row['name']}"
        for name, part in figures.items()
        if isinstance(part["rows"], list)
        for row in part["rows"]
        if row["wrong"]
    ]
    print("\n".join(f"WRONG RESULT in {line}" for line in wrong), file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
