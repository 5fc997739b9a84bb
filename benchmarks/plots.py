"""The pictures of docs/performance.md and of the dashboard: dots on rows, bars, and lines over commits."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: Colours that stay apart for the colour-blind (Okabe and Ito); ours is the first.
COLOURS: Final = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
MARKERS: Final = "oDs^v<>P"
#: label of a row: value by series
Rows = Mapping[str, Mapping[str, float | None]]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: pathlib.Path, footer: str, source: str) -> None:
    """Write the picture; ``footer`` says where and when, ``source`` goes into the file: of what it is the picture."""
    from matplotlib import pyplot as plt

    figure.supxlabel(footer, fontsize=6, x=0.01, ha="left", wrap=True)
    figure.savefig(path, dpi=110, metadata={"Source": source, "Software": None})
    plt.close(figure)


def series_of(rows: Rows) -> list[str]:
    """All series, in the order of their first appearance."""
    return list(dict.fromkeys(name for values in rows.values() for name in values))


def dots(
    path: pathlib.Path, title: str, xlabel: str, rows: Rows, footer: str, source: str = "", *, line: float | None = None
) -> None:
    """One row for each label, one dot for each series; the first one is ours. The axis is logarithmic."""
    figure, axis = _figure(9, 1.6 + 0.2 * len(rows))
    names = series_of(rows)
    for number, name in reversed([*enumerate(names)]):
        points = [
            (value, row) for row, values in enumerate(rows.values()) if known(value := values.get(name)) is not None
        ]
        if not points:
            continue
        axis.scatter(
            *zip(*points, strict=True), s=40 if number == 0 else 22, marker=MARKERS[number % len(MARKERS)], label=name,
            color=COLOURS[number % len(COLOURS)], zorder=3 if number == 0 else 2, alpha=1 if number == 0 else 0.85,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _position: f"{value:g}" if str(value).strip("0.")[:1] in "25" else "")
    axis.tick_params(axis="x", which="both", labelsize=7)
    axis.grid(axis="both", which="both", linewidth=0.3, zorder=0)
    if line is not None:
        axis.axvline(line, color="grey", linewidth=1, zorder=1)
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_title(title, fontsize=9, loc="left")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], fontsize=7, frameon=False, ncols=len(names), loc="outside upper left")
    _save(figure, path, footer, source)


def bars(path: pathlib.Path, title: str, xlabel: str, rows: Rows, footer: str, source: str = "") -> None:
    """One group for each label, one bar for each series."""
    names = series_of(rows)
    figure, axis = _figure(9, 1.6 + 0.2 * len(rows) * len(names))
    for number, name in enumerate(names):
        places = [row + (number - (len(names) - 1) / 2) * 0.8 / len(names) for row in range(len(rows))]
        lengths = [known(values.get(name)) for values in rows.values()]
        drawn = axis.barh(
            places, [length or 0 for length in lengths], 0.8 / len(names), label=name, color=COLOURS[1 + number]
        )
        axis.bar_label(drawn, ["" if length is None else f"{length:.3g}" for length in lengths], padding=2, fontsize=7)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_title(title, fontsize=9, loc="left")
    axis.legend(fontsize=7, loc="best")
    _save(figure, path, footer, source)


def lines(
    path: pathlib.Path, title: str, labels: tuple[str, str], points: Mapping[str, Sequence[tuple[str, float]]],
    footer: str, source: str = "",
) -> None:  # fmt: skip
    """A line for each series over the same steps, which are named on the axis; logarithmic."""
    figure, axis = _figure(9, 3.4)
    steps = list(dict.fromkeys(step for series in points.values() for step, _ in series))
    for number, (name, series) in enumerate(points.items()):
        where = [steps.index(step) for step, _ in series]
        axis.plot(
            where, [value for _, value in series], marker=MARKERS[number % 8], color=COLOURS[number % 8], label=name
        )
    axis.set_xticks(range(len(steps)), steps, fontsize=7, rotation=30 if len(steps) > 8 else 0)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axis.yaxis.set_minor_formatter(lambda value, _position: f"{value:g}" if str(value).strip("0.")[:1] in "25" else "")
    axis.tick_params(axis="y", which="both", labelsize=7)
    axis.grid(linewidth=0.3, which="both")
    axis.set_xlabel(labels[0], fontsize=8)
    axis.set_ylabel(labels[1], fontsize=8)
    axis.set_title(title, fontsize=9, loc="left")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path, footer, source)


def known(value: float | None) -> float | None:
    """A number, or None for what is not known: asv has NaN for that, too."""
    return None if value is None or math.isnan(value) else value
