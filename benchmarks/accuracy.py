"""How accurate Winograd's tiles are: their errors on normal data, in the table of docs/accuracy.md.

    python benchmarks/accuracy.py                       # print the table; a few minutes
    python benchmarks/accuracy.py --write docs/accuracy.md

Every tile convolves normal data with kernels of its own size, of one row and square ones. Errors are those against
sums in numpy.longdouble (80 bits where the CPU has them).
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

import numbaconv as nc
from numbaconv import execute
from numbaconv.algorithms import winograd, winograd_tiling

CHANNELS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512)
DTYPES = ("float32", "float64")
FILTERS = 8
OUTPUTS = 36
BEGIN, END = "<!-- the table: python benchmarks/accuracy.py --write docs/accuracy.md -->", "<!-- end of the table -->"

Array = np.ndarray[Any, np.dtype[Any]]


@contextlib.contextmanager
def only(tile: tuple[int, ...], columns: bool) -> Iterator[None]:
    """Let Winograd's algorithm have this tile alone: along every axis, or as columns."""
    with (
        mock.patch.object(winograd_tiling, "TILES", (tile,)),
        mock.patch.object(winograd, "fits", lambda _geometry, number: number == columns),
    ):
        execute.forget_plans()
        yield
    execute.forget_plans()


def errors(m: int, r: int, kind: str, dtype: str, channels: int) -> tuple[float, float]:
    """(RMS error beside a plain loop's in ``dtype``, the largest error by eps * max|tile| * sum|w|)."""
    random = np.random.default_rng(channels)
    kernel = (1, r) if kind == "row" else (r, r)
    size = [OUTPUTS + k - 1 for k in kernel]
    x = random.normal(size=(channels, *size)).astype(dtype)
    w = random.normal(size=(FILTERS, channels, *kernel)).astype(dtype)
    shape = (FILTERS, OUTPUTS, OUTPUTS)
    exact, loop = np.zeros(shape, np.longdouble), np.zeros(shape, dtype)
    for c, i, j in np.ndindex(channels, *kernel):
        seen, tap = x[c, i : i + OUTPUTS, j : j + OUTPUTS], w[:, c, i, j, None, None]
        exact += seen.astype(np.longdouble) * tap
        loop += seen * tap
    error = np.abs(nc.conv2d(x, w, algorithm="winograd", precision="fast") - exact).astype(float)
    plain = np.abs(loop - exact).astype(float)
    steps = {"row": [1, m], "columns": [m, 1], "both": [m, m]}[kind]
    inputs = [step + k - 1 for step, k in zip(steps, kernel, strict=True)]
    largest = np.lib.stride_tricks.sliding_window_view(np.abs(x).max(0), inputs)
    largest = largest[:: steps[0], :: steps[1]].max((-2, -1))
    largest = largest.repeat(steps[0], 0).repeat(steps[1], 1)[:OUTPUTS, :OUTPUTS]
    part = error[:, : largest.shape[0], : largest.shape[1]] / (largest * np.abs(w).sum((1, 2, 3))[:, None, None])
    return float(np.sqrt((error**2).mean() / (plain**2).mean())), float(part.max() / np.finfo(dtype).eps)


def table() -> list[str]:
    """The lines of the table."""
    lines = [
        "| tile | dtype | " + " | ".join(f"{channels}" for channels in CHANNELS) + " | largest |",
        "|---|---|" + "---|" * (len(CHANNELS) + 1),
    ]
    for kind in ("row", "columns", "both"):
        for tile in winograd_tiling.TILES:
            m, r = tile[:2]
            for dtype in DTYPES:
                with only(tile, kind == "columns"):
                    found = [errors(m, r, kind, dtype, channels) for channels in CHANNELS]
                name = {"row": f"F({m}, {r})", "columns": f"F({m}x1, {r}x1)", "both": f"F({m}x{m}, {r}x{r})"}[kind]
                ratios = " | ".join(f"{ratio:.2f}" for ratio, _ in found)
                lines.append(f"| {name} | {dtype} | {ratios} | {max(c for _, c in found):.1f} |")
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="put the table into this file")
    given = parser.parse_args()
    lines = "\n".join(table())
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        given.write.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
