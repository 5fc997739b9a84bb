"""The dashboard: asv's pages, and before them one of our own, with what everybody wants to know first.

    python benchmarks/dashboard.py            # publish and serve at http://127.0.0.1:8080
    python benchmarks/dashboard.py --no-serve

It reads what ``asv run`` has measured of the commits on the branch that is checked out. asv's pages load jQuery and
others from the internet; ``npm install`` in this directory makes them do without.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import functools
import html
import http.server
import itertools
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final

HERE: Final = pathlib.Path(__file__).parent
ROOFLINE: Final = "track_time_over_roofline"
PEERS: Final = ("scipy", "torch", "onnxruntime", "opencv")
#: What is shown of each class: benchmark class by asv's name, and where its suites' names end in a parameter.
CLASSES: Final = {
    "bench_layers.Layers": ":",
    "bench_layers.ChannelsLast": ":",
    "bench_images.Images": None,
    "bench_sequences.Sequences": None,
    "bench_stages.Stages": None,
}


@dataclasses.dataclass(frozen=True)
class Commit:
    """What was measured of one commit: benchmark: problem: value."""

    name: str
    number: int  # in the branch's history
    environment: str
    place: str  # machine, date and environment
    values: Mapping[str, Mapping[str, float]]


def asv(directory: pathlib.Path, *arguments: str) -> None:
    """Run asv with the configuration in a directory."""
    subprocess.run([sys.executable, "-m", "asv", "--config", str(directory / "asv.conf.json"), *arguments], check=True)  # noqa: S603


def commits(directory: pathlib.Path, configuration: Any) -> list[Commit]:
    """The commits that were measured, oldest first, in the environment that was measured last."""
    from asv.results import iter_results

    published = json.loads((directory / configuration.html_dir / "index.json").read_text())
    order = {commit: int(revision) for revision, commit in published["revision_to_hash"].items()}
    parameters = {name: item["params"] for name, item in published["benchmarks"].items()}
    found = []
    for result in iter_results(str(directory / configuration.results_dir)):
        if result.commit_hash not in order:
            continue
        values: dict[str, dict[str, float]] = {}
        for name in result.get_all_result_keys():
            if len(parameters.get(name, ())) == 1:
                problems = [problem.strip("'") for problem in parameters[name][0]]
                measured = result.get_result_value(name, parameters[name])
                values[name] = {p: v for p, v in zip(problems, measured, strict=True) if v is not None and v == v}
        machine = json.loads(
            (directory / configuration.results_dir / result.params["machine"] / "machine.json").read_text()
        )
        where = ", ".join(f"{key} {machine[key]}" for key in ("cpu", "num_cpu", "os") if machine.get(key))
        started = max(filter(None, result.started_at.values()), default=result.date)
        day = datetime.datetime.fromtimestamp(started / 1000, datetime.timezone.utc).strftime("%Y-%m-%d")
        place = f"{where}, measured on {day}, {result.env_name}"
        found.append(Commit(result.commit_hash, order[result.commit_hash], result.env_name, place, values))
    found.sort(key=lambda commit: commit.number)
    return [commit for commit in found if commit.environment == found[-1].environment]


def suites(commit: Commit, figure: str) -> dict[str, dict[str, float]]:
    """A figure's values by suite: those of layers are named before the colon, other classes are one suite each."""
    found: dict[str, dict[str, float]] = {}
    for name, separator in CLASSES.items():
        for problem, value in commit.values.get(f"{name}.{figure}", {}).items():
            suite = problem.partition(separator)[0] if separator else name.partition(".")[2].lower()
            found.setdefault(suite, {})[problem] = value
    return found


def summary(commit: Commit) -> tuple[list[str], list[list[str]]]:
    """A row for each suite: geometric means of the fraction of the roofline and of the peers' times over ours."""
    columns = ["suite", "problems", "fraction of the roofline", *(f"{peer}'s time / ours" for peer in PEERS)]
    rows = []
    figures = {name: suites(commit, name) for name in (ROOFLINE, *(f"track_time_over_{peer}" for peer in PEERS))}
    for suite, values in figures[ROOFLINE].items():
        means = [figures[name].get(suite, {}).values() for name in figures]
        cells = [f"{1 / statistics.geometric_mean(mean):.2f}" if mean else "-" for mean in means]
        rows.append([suite, str(len(values)), *cells])
    return columns, rows


def pictures(directory: pathlib.Path, found: list[Commit]) -> list[tuple[str, str]]:
    """Draw the last commit's fractions and ratios, and the suites' history; (file, what it shows)."""
    import plots

    last = found[-1]
    footer = f"commit {last.name[:8]}, {last.place}"
    shown = []
    rooflines, drawn = suites(last, ROOFLINE), "fractions.png"
    rows = {p: {"of the roofline": 1 / value} for values in rooflines.values() for p, value in values.items()}
    if rows:
        plots.dots(
            directory / drawn, "Fraction of the roofline that each problem reaches on one thread",
            "the least time for its multiply-adds or its bytes / our time", rows, footer, line=1,
        )  # fmt: skip
        shown.append((drawn, "Fraction of the roofline"))
    ratios: dict[str, dict[str, float | None]] = {}
    for peer in PEERS:
        for values in suites(last, f"track_time_over_{peer}").values():
            for problem, value in values.items():
                ratios.setdefault(problem, {})[peer] = 1 / value
    if ratios:
        drawn = "peers.png"
        title = "Peers on one thread; right of the line numbaconv is faster"
        plots.dots(directory / drawn, title, "their time / ours", ratios, footer, line=1)
        shown.append((drawn, "Peers' times over ours"))
    history: dict[str, list[tuple[str, float]]] = {}
    for commit in found:
        for suite, values in suites(commit, ROOFLINE).items():
            history.setdefault(suite, []).append((commit.name[:8], 1 / statistics.geometric_mean(values.values())))
    if history:
        drawn = "history.png"
        labels = ("commit", "fraction of the roofline, geometric mean")
        plots.lines(directory / drawn, "Suites over commits", labels, history, footer)
        shown.append((drawn, "History"))
    return shown


def regressions(directory: pathlib.Path) -> list[list[str]]:
    """A row for each regression that asv found: a link to its graph, where the commit is marked; best, last, growth."""
    published = json.loads((directory / "index.json").read_text())
    rows = []
    found = json.loads((directory / "regressions.json").read_text())["regressions"]
    for name, _, parameters, index, last, best, jumps in found:
        benchmark, _, problem = name.partition("(")
        query = dict(parameters)
        item = published["benchmarks"][benchmark]
        if index is not None:
            values = [*itertools.product(*item["params"])][index]
            query |= {f"p-{key}": value for key, value in zip(item["param_names"], values, strict=True)}
        query["commits"] = published["revision_to_hash"][str(jumps[-1][1])]
        where = f"asv/index.html#{benchmark}?{urllib.parse.urlencode(query)}"
        label = html.escape(f"{benchmark} {problem.removesuffix(')')}")
        cells = [f"{best:.3g}", f"{last:.3g}", f"{last / best - 1:+.0%}", query["commits"][:8]]
        rows.append([f'<a href="{html.escape(where)}">{label}</a>', *cells])
    return rows


def front_page(directory: pathlib.Path, found: list[Commit]) -> str:
    """The first page in HTML."""

    def table(columns: list[str], rows: list[list[str]]) -> str:
        lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in columns)}</tr>"]
        lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
        return f"<table>{''.join(lines)}</table>"

    worse = regressions(directory / "asv")
    views = {"Grid of all graphs": "/", "list": "summarylist", "regressions": "regressions"}
    links = (f'<a href="asv/index.html#{view}">{title}</a>' for title, view in views.items())
    body = ["<h1>numbaconv's benchmarks</h1>", f"<p>{' · '.join(links)}</p>"]
    if found:
        last = found[-1]
        body.append(f"<p>Commit <b>{last.name[:8]}</b>, {html.escape(last.place)}</p>")
        columns, rows = summary(last)
        body += ["<h2>Suites</h2><p>Geometric means; above 1 numbaconv is faster.</p>", table(columns, rows)]
    else:
        body.append("<p>No commit of this branch has been measured yet: <code>make bench</code>.</p>")
    text = "Ratios that grew by more than their threshold." if worse else "None."
    body += [
        "<h2>Regressions</h2>",
        f"<p>{text}</p>",
        table(["figure", "best", "last", "", "since"], worse) if worse else "",
    ]
    for name, title in pictures(directory, found) if found else []:
        body += [f"<h2>{title}</h2>", f'<img src="{name}" alt="{title}">']
    style = (
        "body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}img{max-width:100%}"
        "td,th{padding:.2em .8em;text-align:right}td:first-child,th:first-child{text-align:left}"
    )
    head = f'<meta charset="utf-8"><title>numbaconv</title><style>{style}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def bring_scripts(pages: pathlib.Path, packages: pathlib.Path) -> None:
    """Have asv's page load its scripts from beside it, if ``npm install`` has brought them; else from the internet."""
    if not packages.is_dir():
        return
    page, local = pages / "index.html", pages / "scripts"
    local.mkdir(exist_ok=True)
    sources = {
        path.name.replace(".min", ""): path for path in sorted(packages.rglob("*.*s")) if "src" not in path.parts
    }

    def replaced(tag: re.Match[str]) -> str:
        name = re.sub(r"-[\d.]+\d|\.min", "", tag["url"].rpartition("/")[2])
        shutil.copy(sources[name], local / name)
        return f'{tag["before"]}"scripts/{name}"'

    address = r'(?P<before><(script src|link rel="stylesheet" href)=)"(?P<url>https://[^"]+)" integrity="[^"]*"'
    page.write_text(re.sub(address, replaced, page.read_text(encoding="utf-8")), encoding="utf-8")


def publish(directory: pathlib.Path) -> pathlib.Path:
    """Have asv make its pages, put ours before them; where they are."""
    from asv.config import Config

    asv(directory, "publish", "--no-pull")
    configuration = Config.load(str(directory / "asv.conf.json"))
    pages = (directory / configuration.html_dir).resolve().parent
    bring_scripts(directory / configuration.html_dir, directory / "node_modules")
    (pages / "index.html").write_text(front_page(pages, commits(directory, configuration)), encoding="utf-8")
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--no-serve", action="store_true", help="only write the pages")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    pages = publish(HERE)
    print(f"The dashboard is {pages / 'index.html'}")
    if not given.no_serve:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(pages))
        with http.server.ThreadingHTTPServer(("127.0.0.1", given.port), handler) as server:
            print(f"Serving it at http://127.0.0.1:{given.port}/, until Ctrl-C", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()


if __name__ == "__main__":
    main()
