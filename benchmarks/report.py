"""What ``compare.py`` makes of its measurements: comparisons, tables, Markdown, JSON and a picture."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from peers import OURS_LAYER, OURS_NHWC, OURS_PLAIN, PLAIN, PREPARED, Contestant, Settings
from timing import QUIET, LayerResult

STATISTICS: Final = ("min", "median")


class Comparison(NamedTuple):
    """One of our ways against the best peer of one kind, layer by layer."""

    title: str
    ours: str
    kind: str


COMPARISONS: Final = (
    Comparison("layer objects against prepared peers", OURS_LAYER, PREPARED),
    Comparison("plain calls against plain calls", OURS_PLAIN, PLAIN),
    Comparison("plain calls against prepared peers", OURS_PLAIN, PREPARED),
    Comparison("plain NHWC calls against plain calls", OURS_NHWC, PLAIN),
)


@dataclasses.dataclass
class Run:
    """Everything that was found out: on which machine, with what, and what came of it."""

    machine: dict[str, str]
    versions: dict[str, str]
    settings: Settings
    peaks: dict[int, float]
    contestants: list[Contestant]
    notes: list[str]
    results: list[LayerResult] = dataclasses.field(default_factory=list)

    @property
    def comparisons(self) -> list[Comparison]:
        """The comparisons whose sides take part."""
        names, kinds = {c.name for c in self.contestants}, {c.kind for c in self.contestants if not c.ours}
        return [item for item in COMPARISONS if item.ours in names and item.kind in kinds]

    @property
    def suites(self) -> dict[str, list[LayerResult]]:
        """The results by suite."""
        suites: dict[str, list[LayerResult]] = {}
        for result in self.results:
            suites.setdefault(result.suite, []).append(result)
        return suites

    def best_peer(self, result: LayerResult, kind: str, statistic: str) -> tuple[float, str] | None:
        """The fastest peer of a kind with a correct result: its time and name."""
        times = (
            (seconds, item.name)
            for item in self.contestants
            if not item.ours and item.kind == kind
            if (seconds := result.outcomes[item.name].seconds(statistic)) is not None
        )
        return min(times, default=None)

    def ratio(self, result: LayerResult, comparison: Comparison, statistic: str) -> float | None:
        """Best peer's time / our time: above 1 we are faster. None where either side has no valid time."""
        ours = result.outcomes[comparison.ours].seconds(statistic)
        best = self.best_peer(result, comparison.kind, statistic)
        return None if ours is None or best is None else best[0] / ours

    def wrong(self, results: Iterable[LayerResult], comparison: Comparison) -> int:
        """Layers in which someone who takes part in a comparison computed a wrong result: it has no mean then."""
        sides = [item.name for item in self.contestants if item.kind == comparison.kind and not item.ours]
        sides.append(comparison.ours)
        return sum(any(result.outcomes[name].wrong for name in sides) for result in results)


# ------------------------------------------------------------------------------------------------- tables


class Table(NamedTuple):
    """Strings in rows; all columns but the first ``left`` are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def markdown(self) -> str:
        dashes = [":---" if i < self.left else "---:" for i in range(len(self.columns))]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.columns, dashes, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, ""])

    def text(self) -> str:
        widths = [max(len(row[i]) for row in (self.columns, *self.rows)) for i in range(len(self.columns))]

        def line(cells: Sequence[str]) -> str:
            padded = [c.ljust(w) if i < self.left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]  # noqa: B905
            return "  ".join(padded).rstrip()

        return "\n".join([self.title, line(self.columns), line(["-" * w for w in widths]), *map(line, self.rows), ""])

    def show(self) -> None:
        """Print the table, by rich where it is installed."""
        if importlib.util.find_spec("rich") is None:
            print(self.text())
            return
        from rich import box, console, table

        print(self.title)
        drawn = table.Table(box=box.SIMPLE, pad_edge=False)
        for i, column in enumerate(self.columns):
            drawn.add_column(column, justify="left" if i < self.left else "right", no_wrap=True)
        for row in self.rows:
            drawn.add_row(*row)
        console.Console(width=400, highlight=False, markup=False, emoji=False).print(drawn)


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def milliseconds(seconds: float | None) -> str:
    """Four digits, so that microseconds stay visible."""
    return "-" if seconds is None else f"{seconds * 1e3:.{max(1, 3 - max(0, int(math.log10(seconds * 1e3))))}f}"


def threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def layer_table(run: Run, suite: str, comparison: Comparison) -> Table:
    """Each layer of a suite in one comparison."""
    peak = run.peaks.get(run.settings.threads)
    rows = []
    for result in run.suites[suite]:
        outcome = result.outcomes[comparison.ours]
        seconds, best = outcome.seconds("min"), run.best_peer(result, comparison.kind, "min")
        rate = None if seconds is None else result.layer.flops / seconds
        ratios = [run.ratio(result, comparison, statistic) for statistic in STATISTICS]
        absent = "WRONG" if outcome.wrong else "unsupported" if outcome.unsupported else "-"
        rows.append(
            [
                result.layer.name,
                str(result.layer),
                outcome.algorithm or "-",
                milliseconds(seconds) if seconds is not None else absent,
                milliseconds(outcome.seconds("median")),
                milliseconds(best[0] if best else None),
                best[1] if best else "-",
                *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
                "-" if rate is None else f"{rate / 1e9:.1f}",
                "-" if rate is None or peak is None else f"{rate / peak:.0%}",
            ]
        )
    columns = [
        "layer", "sizes", "algorithm", "ms min", "ms median", "peer ms min", "best peer", "ratio (min)",
        "ratio (median)", "GFLOP/s", "of peak",
    ]  # fmt: skip
    return Table(f"{suite}: {comparison.title}", columns, rows, left=3)


def contestants_table(run: Run, suite: str) -> Table:
    """Every contestant's minimum and median in each layer."""
    rows = []
    for result in run.suites[suite]:
        cells = []
        for item in run.contestants:
            outcome = result.outcomes[item.name]
            if outcome.seconds("min") is None:
                cells.append("WRONG" if outcome.wrong else "-")
            else:
                cells.append(" / ".join(milliseconds(outcome.seconds(s)) for s in STATISTICS))
        rows.append([result.layer.name, str(result.layer), *cells])
    names = [item.name for item in run.contestants]
    return Table(f"{suite}: every contestant, ms per call, min / median", ["layer", "sizes", *names], rows, left=2)


def summary_table(run: Run) -> Table:
    """Geometric mean and worst layer of every suite and of all layers, each layer weighing the same."""
    rows = []
    groups = list(run.suites.items())
    if len(groups) > 1:
        groups.append(("all", run.results))
    for comparison in run.comparisons:
        for suite, results in groups:
            wrong = run.wrong(results, comparison)
            cells = []
            for statistic in STATISTICS:
                ratios = [(run.ratio(result, comparison, statistic), result) for result in results]
                valid = [(ratio, result) for ratio, result in ratios if ratio is not None]
                if wrong or not valid:
                    cells += ["-", "-", "-"]
                    continue
                worst, where = min(valid, key=lambda pair: pair[0])
                mean = geometric_mean(ratio for ratio, _ in valid)
                cells += [f"{mean:.2f}", f"{worst:.2f}", f"{where.layer.name} {where.layer}"]
            count = sum(run.ratio(result, comparison, "min") is not None for result in results)
            counted = f"{count} of {len(results)}" + (f", {wrong} WRONG" if wrong else "")
            rows.append([comparison.title, suite, counted, *cells[:2], *cells[3:5], cells[2]])
    columns = ["comparison", "suite", "layers", *(f"{what} ({s})" for s in STATISTICS for what in ("mean", "worst"))]
    columns.append("worst layer (min)")
    noise = "".join(f" [NOISE: {line}]" for line in disturbances(run))
    return Table(
        "Best peer's time / ours (above 1: numbaconv is faster), geometric means" + noise, columns, rows, left=3
    )


def error_table(run: Run) -> Table:
    """Each contestant's largest error."""
    rows = []
    for item in run.contestants:
        errors = [(r.outcomes[item.name].error, f"{r.layer.name} {r.layer}") for r in run.results]
        known = [(error, name) for error, name in errors if error is not None]
        if known:
            error, name = max(known)
            rows.append([item.name, name, f"{error:.1e}"])
    return Table("Largest error: max |result - float64| / max |float64|", ["contestant", "layer", "error"], rows, 2)


def complaints(run: Run) -> list[str]:
    """Wrong results, layers that a contestant cannot compute, and disturbances: a sentence for each."""
    found = []
    for result in run.results:
        for name, outcome in result.outcomes.items():
            where = f"{result.suite}, {result.layer.name} {result.layer}"
            if outcome.wrong:
                found.append(f"WRONG RESULT: {name} in {where}: {outcome.wrong}")
            elif outcome.unsupported:
                found.append(f"{name} does not take part in {where}: {outcome.unsupported}")
    return found + disturbances(run)


def disturbances(run: Run) -> list[str]:
    """What to say where other processes were at work."""
    busy = [result.others for result in run.results if result.others is not None and result.others > QUIET]
    if not busy:
        return []
    share = f"{len(busy)} of {len(run.results)} layers were measured while other processes kept up to"
    return [f"{share} {max(busy):.1f} CPUs busy: their figures are noise"]


# -------------------------------------------------------------------------------------------------- files


def heading(run: Run) -> list[str]:
    """Machine, versions, settings and peak in a few lines."""
    settings, own = run.settings, run.settings.algorithm
    lines = [
        ", ".join(f"{name} {value}" for name, value in run.machine.items()),
        ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        f"{settings.dtype}, {threads(settings.threads)}, {settings.precision} precision, algorithm {own}",
    ]
    if run.peaks:
        peaks = ", ".join(f"{peak / 1e9:.1f} GFLOP/s on {threads(count)}" for count, peak in run.peaks.items())
        lines.append(f"FMA peak (nothing but multiply-adds in registers): {peaks}")
    return lines + run.notes


def write_markdown(run: Run, path: pathlib.Path) -> None:
    parts = ["## numbaconv beside its peers", "", *(f"- {line}" for line in heading(run)), ""]
    parts += [f"- **{line}**" if line.startswith("WRONG") else f"- {line}" for line in complaints(run)]
    parts += ["", summary_table(run).markdown(), error_table(run).markdown()]
    for suite in run.suites:
        parts += [layer_table(run, suite, comparison).markdown() for comparison in run.comparisons]
        parts.append(contestants_table(run, suite).markdown())
    path.write_text("\n".join(parts), encoding="utf-8")


def document(run: Run) -> dict[str, Any]:
    """All that is known of a run, as JSON holds it."""
    results: list[dict[str, Any]] = []
    for result in run.results:
        record: dict[str, Any] = {
            "suite": result.suite, "layer": dataclasses.asdict(result.layer), "sizes": str(result.layer),
            "flops": result.layer.flops,
            "others": result.others,
        }  # fmt: skip
        record["contestants"] = {
            name: {"min": outcome.seconds("min"), "median": outcome.seconds("median"), **dataclasses.asdict(outcome)}
            for name, outcome in result.outcomes.items()
        }
        record["ratios"] = {
            comparison.title: {statistic: run.ratio(result, comparison, statistic) for statistic in STATISTICS}
            for comparison in run.comparisons
        }
        results.append(record)
    summary = summary_table(run)
    return {
        "machine": run.machine, "versions": run.versions, "settings": run.settings._asdict(), "peaks": run.peaks,
        "notes": run.notes, "summary": [dict(zip(summary.columns, row, strict=True)) for row in summary.rows],
        "results": results,
    }  # fmt: skip


def write_json(run: Run, path: pathlib.Path) -> None:
    path.write_text(json.dumps(document(run), indent=1), encoding="utf-8")


def write_png(run: Run, path: pathlib.Path, statistic: str = "min") -> None:
    """A bar for each layer and comparison; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    suites, comparisons = run.suites, [item for item in run.comparisons if item != COMPARISONS[2]]
    heights = [len(results) + 1 for results in suites.values()]
    total = 0.32 * sum(heights) + 0.7 * len(heights) + 1.5  # inches
    figure, axes = plt.subplots(
        len(suites), 1, figsize=(11, total), squeeze=False, sharex=True, layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for axis, (suite, results) in zip(axes[:, 0], suites.items(), strict=True):
        thickness = 0.8 / max(1, len(comparisons))
        for i, comparison in enumerate(comparisons):
            ratios = [run.ratio(result, comparison, statistic) for result in results]
            valid = [ratio for ratio in ratios if ratio is not None]
            mean = f": mean {geometric_mean(valid):.2f}, worst {min(valid):.2f}" if valid else ""
            mean = ": WRONG RESULTS" if run.wrong(results, comparison) else mean
            rows = [row + (i - (len(comparisons) - 1) / 2) * thickness for row in range(len(results))]
            lengths = [0.0 if ratio is None else ratio - 1 for ratio in ratios]
            bars = axis.barh(rows, lengths, thickness, left=1, label=comparison.title + mean)
            labels = ["no valid time" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            axis.bar_label(bars, labels, padding=2, fontsize=6)
        axis.set_yticks(range(len(results)), [f"{r.layer.name}  {r.layer}" for r in results], fontsize=7)
        axis.set_title(f"{suite}: {len(results)} distinct layers", fontsize=9, loc="left", pad=18)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axis.tick_params(labelbottom=True, labelsize=7)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.margins(x=0.08, y=0.01)
        axis.invert_yaxis()
        axis.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0)
    figure.suptitle(
        f"Best peer's time / numbaconv's ({statistic} of all rounds; above 1 numbaconv is faster)\n"
        f"{run.machine['CPU']}, {threads(run.settings.threads)}, {run.settings.dtype}, {run.machine['date']}",
        fontsize=10,
    )
    figure.supxlabel("\n".join(heading(run)[1:] + disturbances(run)), fontsize=6, x=0.01, ha="left")
    figure.savefig(path, dpi=130)
    plt.close(figure)
