"""How long a new process takes to its first result, and how much it compiles: each question in a process of its own.

``python benchmarks/start.py`` asks all of them and prints a table; with a name, ``python benchmarks/start.py "conv2d
winograd"``, it is that process: it imports, calls and prints.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import importlib.util  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import pathlib  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from typing import Any, Final, NamedTuple  # noqa: E402

#: name: (input, weight, algorithm) of ``conv2d`` with padding "same".
CONV2D: Final = {
    "conv2d 8x8": ((1, 1, 8, 8), (1, 1, 3, 3), "auto"),
    "conv2d 1x1": ((1, 64, 56, 56), (256, 64, 1, 1), "auto"),
    "conv2d direct": ((1, 64, 56, 56), (64, 64, 3, 3), "direct"),
    "conv2d im2col": ((1, 64, 56, 56), (64, 64, 3, 3), "im2col"),
    "conv2d winograd": ((1, 64, 56, 56), (64, 64, 3, 3), "winograd"),
}
FIRST_CALLS: Final = (*CONV2D, "signal.convolve2d")
#: The same call of other libraries, where they are installed.
PEERS: Final = {"torch.nn.functional.conv2d": "torch", "scipy.signal.convolve2d": "scipy"}
#: What ``signal.convolve2d`` convolves with 3 x 3 taps.
IMAGE: Final = (1080, 1920)
#: The least that any cached Numba function costs.
TRIVIAL: Final = "a cached njit function"


class First(NamedTuple):
    """A new process from its first import to its first result."""

    imported: float
    seconds: float
    compiled: int


def _peer(name: str) -> First:
    import numpy as np

    if name == "torch.nn.functional.conv2d":
        import torch

        imported = time.perf_counter()
        x, weight = (torch.ones(shape) for shape in CONV2D["conv2d direct"][:2])
        total = float(torch.nn.functional.conv2d(x, weight, padding=1)[0, 0, 5, 5])
        assert total == 9 * 64
    else:
        import scipy.signal

        imported = time.perf_counter()
        y = scipy.signal.convolve2d(np.ones(IMAGE, np.float32), np.ones((3, 3), np.float32))
        assert y[5, 5] == 9
    return First(imported - START, time.perf_counter() - START, 0)


def _call(name: str) -> First:
    import numba
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        if name == TRIVIAL:

            @numba.njit(cache=True)  # type: ignore[untyped-decorator]
            def trivial(x: float) -> float:
                return x + 1

            imported = time.perf_counter()
            assert trivial(1.0) == 2.0
        else:
            import numpy as np

            import numbaconv

            imported = time.perf_counter()
            if name == "signal.convolve2d":
                y = numbaconv.signal.convolve2d(np.ones(IMAGE, np.float32), np.ones((3, 3), np.float32))
                assert y[5, 5] == 9
            else:
                shape, weight, algorithm = CONV2D[name]
                x, w = np.ones(shape, np.float32), np.ones(weight, np.float32)
                y = numbaconv.conv2d(x, w, padding="same", algorithm=algorithm)
                assert abs(y[0, 0, 5, 5] - w[0].size) < 1e-3
        end = time.perf_counter()
    return First(imported - START, end - START, sum(record.is_start for _, record in recorder.buffer))


def first_call(name: str, cache: pathlib.Path) -> First:
    """Ask a new process, whose compiled functions are in ``cache``."""
    command = [sys.executable, str(pathlib.Path(__file__)), name]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise RuntimeError(f"{name} failed: {answer.stderr[-2000:]}")
    return First(*json.loads(answer.stdout.splitlines()[-1]))


def measure_starts(repeats: int = 3) -> dict[str, Any]:
    """Each call's first result in seconds and compilations, with an empty cache (once) and a filled one (the best)."""
    found: dict[str, Any] = {}
    peers = [name for name, library in PEERS.items() if importlib.util.find_spec(library)]
    with tempfile.TemporaryDirectory() as directory:
        for number, name in enumerate((TRIVIAL, *FIRST_CALLS, *peers)):
            cache = pathlib.Path(directory) / str(number)
            empty = first_call(name, cache)
            filled = [first_call(name, cache) for _ in range(repeats)]
            best = min(filled, key=lambda first: first.seconds)
            found[name] = {"empty": empty._asdict(), "filled": best._asdict()}
    return found


def main() -> None:
    found = measure_starts()
    least = found[TRIVIAL]["filled"]["seconds"]
    print(f"{'first result, seconds':28}{'empty cache':>13}{'filled':>9}{'beyond njit':>13}{'functions':>11}")
    for name, times in found.items():
        empty, filled = times["empty"]["seconds"], times["filled"]["seconds"]
        print(f"{name:28}{empty:13.2f}{filled:9.2f}{filled - least:13.2f}{times['empty']['compiled']:11}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps((_peer if sys.argv[1] in PEERS else _call)(sys.argv[1])))
