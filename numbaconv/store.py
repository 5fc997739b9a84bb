"""What was measured on this machine: a calibrated cost model, and times of tuned problems.

A JSON file beside the cached kernels: other kernels, as after an upgrade, start a new one. It holds several machines,
for homes that these share. Where there is no cache, what is measured is remembered as long as the process.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import platform
import threading
from collections.abc import Collection
from typing import Any, Final

from . import forks, runtime
from .algorithms.prices import DEFAULTS
from .planner import CANDIDATES, Machine
from .problem import ConvProblem

log = logging.getLogger("numbaconv")

FILE: Final = "measured.json"
FORMAT: Final = 1

_lock = forks.lock()
_kept: dict[str, Any] | None = None


def cpu_name() -> str:
    """What the CPU calls itself."""
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_name() -> str:
    """What tells machines apart whose measurements may differ."""
    return f"{cpu_name()}, {os.cpu_count()} CPUs, vectors of {runtime.vector_bytes()} bytes"


def path() -> pathlib.Path | None:
    """Where measurements are kept; None where there is no cache."""
    directory = runtime.cache_directory()
    return None if directory is None else directory / FILE


def key(problem: ConvProblem, precision: str, packed: bool) -> str:
    """A problem as the measurements know it: bias and activation take no time to speak of."""
    return repr(
        (
            problem.batch, problem.channels, problem.filters, problem.groups, problem.input_size, problem.kernel_size,
            problem.stride, problem.padding, problem.dilation, problem.padding_mode, problem.dtype.name,
            problem.channels_last, precision, packed,
        )
    )  # fmt: skip


def _positive(values: Any, names: Collection[str]) -> dict[str, float]:
    """Those of some names that have positive numbers: a file may have been damaged."""
    pairs = values.items() if isinstance(values, dict) else ()
    return {name: float(value) for name, value in pairs if name in names and isinstance(value, float) and value > 0}


def _read() -> dict[str, Any]:
    """All that the file holds; nothing where it cannot be read."""
    file = path()
    try:
        found = json.loads(file.read_text()) if file is not None and file.exists() else {}
        if found.get("format") == FORMAT and isinstance(found["machines"], dict):
            return dict(found["machines"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        log.debug("measurements are not read: %s", error)
    return {}


def _own() -> dict[str, Any]:
    """What was measured on this machine."""
    global _kept
    if _kept is None:
        own = _read().get(machine_name())
        _kept = own if isinstance(own, dict) else {}
    return _kept


def machine() -> Machine:
    """What the planner knows of this machine: what was calibrated, or the defaults."""
    found = _own().get("machine", {})
    rate = found.get("rate") if isinstance(found, dict) else None
    if not isinstance(rate, float) or rate <= 0:
        return Machine()
    return Machine(rate, _positive(found.get("prices"), DEFAULTS))


def measured(problem: ConvProblem, precision: str, packed: bool) -> dict[str, float]:
    """Seconds that each candidate took for a tuned problem."""
    problems = _own().get("problems")
    return _positive(problems.get(key(problem, precision, packed)), CANDIDATES) if isinstance(problems, dict) else {}


def remember_machine(found: Machine | None) -> None:
    """Keep a calibration; None goes back to the defaults."""
    _remember("machine", {} if found is None else {"rate": found.rate, "prices": dict(found.prices)})


def remember_times(problem: ConvProblem, precision: str, packed: bool, times: dict[str, float]) -> None:
    """Keep what candidates took."""
    _remember("problems", {key(problem, precision, packed): times})


def _remember(part: str, values: dict[str, Any]) -> None:
    """Add to what is kept, and to what other processes have put into the file meanwhile."""
    global _kept
    with _lock:
        machines = _read()
        own = machines.get(machine_name())
        own = {**_own(), **own} if isinstance(own, dict) else dict(_own())
        old = own.get(part) if part == "problems" else None
        own[part] = {**old, **values} if isinstance(old, dict) else values
        _kept = machines[machine_name()] = own
        file = path()
        if file is None:
            return
        try:
            draft = file.with_name(f"{FILE}.{os.getpid()}-{threading.get_ident()}")
            draft.write_text(json.dumps({"format": FORMAT, "machines": machines}, indent=1))
            draft.replace(file)
        except OSError as error:
            log.debug("measurements are not kept: %s", error)
