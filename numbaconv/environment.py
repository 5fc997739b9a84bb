"""What surrounds the convolutions: how many threads they may use, compiling ahead, and what a bug report should say."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np

from . import choosing, execute, runtime, shortcuts, store
from .planner import CANDIDATES
from .problem import integer

#: Packages whose versions matter where they are installed.
PACKAGES: Final = (
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "torch",
    "opencv-python-headless",
    "opencv-python",
    "dask",
    "numba-cuda",
)
#: Seconds to wait for the driver's tool to name the GPU.
GPU_SECONDS: Final = 10


def threads(n: int) -> AbstractContextManager[None]:
    """Bound the threads of all convolutions in a ``with`` block.

    Parameters
    ----------
    n : int
        At most so many threads; 1 never starts any. More than :func:`numba.get_num_threads` says are never used.

    Returns
    -------
    context manager
        For the Python thread (and asyncio task) that enters it. Blocks may be nested: the inner one counts.

    Raises
    ------
    TypeError, ValueError
        Where ``n`` is not an integer of at least 1.

    Notes
    -----
    Results do not depend on it, to the last bit. Numba's own setting is not touched.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> with nc.threads(1):
    ...     nc.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))).item()
    9.0
    """
    return runtime.limited(integer("n", n, 1))


def _jobs(dtype: np.dtype[Any]) -> list[tuple[str, Callable[[], Any]]]:
    """Calls that use the usual kernels, on one thread and on several."""
    jobs: list[tuple[str, Callable[[], Any]]] = []

    def add(
        name: str, channels: int, size: int, groups: int, algorithm: str, packs: dict[Any, Any] | None,
        value: float = 1, kernel: int = 3, stride: int = 1,
    ) -> None:  # fmt: skip
        x = np.full((1, channels, size, size), value, dtype)
        weight = np.ones((channels, channels // groups, kernel, kernel), dtype)
        options = execute.Options(algorithm=algorithm, groups=groups, stride=stride)
        jobs.append((name, lambda: execute.convolve(2, x, weight, None, options, None, None, packs)))

    for candidate in CANDIDATES:
        if dtype.kind == "f" or candidate != "winograd":
            add(candidate, 8, 12, 1, candidate, None)
            add(f"{candidate}, laid out before", 8, 12, 1, candidate, {})
            add(f"{candidate}, several threads", 64, 48, 1, candidate, None)
            add(f"{candidate}, strided", 3, 64, 1, candidate, {}, kernel=7, stride=2)
    if dtype.kind == "f":
        add("winograd, tiles of 3", 32, 50, 1, "winograd", None)  # 16 of them in a row fill vectors
        add("winograd, not finite", 8, 12, 1, "winograd", {}, np.nan)
    for candidate in ("direct_channels", "direct_pixels"):
        add("depthwise", 64, 64, 64, candidate, None)
    if shortcuts.POSSIBLE:
        several = runtime.limit.get() is None and runtime.threading_layer() != "workqueue"
        jobs.append(("the same call again", functools.partial(shortcuts.prepare, several)))
    row = np.hanning(11)[1:-1].astype(dtype)
    random = np.random.default_rng(0).integers(1, 9, (5, 5)).astype(dtype)
    for name, taps in (("image", random), ("separable image", np.outer(row, row))):
        for size in (16, 1024):
            image = np.ones((size, size), dtype)
            jobs.append((name, functools.partial(choosing.convolve, image, taps, "same", dtype)))
    return jobs


def warmup(dtypes: Any = ("float32",), progress: Callable[[int, int, str], Any] | None = None) -> int:
    """Compile the usual kernels now, or read them from the cache, so that no later call waits for that.

    Parameters
    ----------
    dtypes : sequence of dtype
        float32, float64, int16, int32 or int64; what other dtypes are computed in is one of these.
    progress : callable, optional
        Called with (done, all, name of what comes next).

    Returns
    -------
    int
        How many functions were compiled; the others had been already.

    Raises
    ------
    ValueError, TypeError
        For another dtype, and where ``dtypes`` is not a sequence.

    Examples
    --------
    >>> import numbaconv as nc
    >>> nc.warmup(dtypes=[]) == 0
    True
    """
    if isinstance(dtypes, (str, bytes)) or not hasattr(dtypes, "__iter__"):
        raise TypeError(f"dtypes must be a sequence of dtypes; got {dtypes!r} of type {type(dtypes).__name__}")
    jobs = [job for dtype in dtypes for job in _jobs(_kernel_dtype(dtype))]
    before = len(runtime.compilations)
    for number, (name, call) in enumerate(jobs):
        if progress is not None:
            progress(number, len(jobs), name)
        call()
    if progress is not None:
        progress(len(jobs), len(jobs), "done")
    return sum(not compilation.cached for compilation in runtime.compilations[before:])


def _kernel_dtype(value: Any) -> np.dtype[Any]:
    names = ("float32", "float64", "int16", "int32", "int64")
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"dtypes must name NumPy dtypes; got {value!r}") from None
    if dtype.name not in names or value is None:
        raise ValueError(f"dtypes must be some of {', '.join(names)}; got {value!r}")
    known: np.dtype[Any] = dtype
    return known


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus() -> str:
    """The names of NVIDIA's GPUs, as the driver's own tool tells them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none found"
    try:
        done = subprocess.run(  # noqa: S603
            [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=GPU_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    return "; ".join(done.stdout.split("\n")).strip("; ") if done.returncode == 0 else "none found"


def _cache_lines() -> list[tuple[str, str]]:
    """What was compiled, when and where."""
    directory, done = runtime.cache_directory(), runtime.compilations
    made = [compilation.seconds for compilation in done if not compilation.cached]
    read = [compilation.seconds for compilation in done if compilation.cached]
    here = f"{len(made)} functions compiled in {sum(made):.1f} s, {len(read)} read from the cache in {sum(read):.2f} s"
    if directory is None:
        return [("cache folder", "none: each process compiles its kernels"), ("this process", here)]
    noted: list[tuple[float, str]] = []
    size = 0
    try:
        size = sum(path.stat().st_size for path in directory.iterdir())
        for line in (directory / runtime.COMPILED).read_text().splitlines():
            seconds, _, name = line.partition("\t")
            noted.append((float(seconds), name))
    except (OSError, ValueError):
        pass  # nothing compiled yet, or a line that a full disk cut off: what was read is told
    everywhere = (
        f"{len(noted)} functions compiled in {sum(seconds for seconds, _ in noted):.1f} s, {size / 2**20:.1f} MiB"
    )
    slowest = ", ".join(f"{name} {seconds:.1f} s" for seconds, name in sorted(noted, reverse=True)[:3])
    return [
        ("cache folder", str(directory)),
        ("this process", here),
        ("all processes", f"{everywhere}; slowest: {slowest}" if slowest else everywhere),
    ]


def configuration() -> list[tuple[str, str]]:
    """What a bug report should say: pairs of a label and a text."""
    features = runtime.cpu_features() & {"avx512f", "avx512vl", "avx2", "fma", "avx", "neon", "sve", "sse4.2"}
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = store.machine()
    calibrated = f"{2 * machine.rate * runtime.vector_bytes() / 4 / 1e9:.0f} GFLOP/s of one core"
    variables = [
        f"{name}={os.environ[name]}" for name in sorted(os.environ) if name.startswith(("NUMBA_", "NUMBACONV_", "OMP_"))
    ]
    return [
        ("numbaconv", f"{sys.modules['numbaconv'].__version__} ({pathlib.Path(__file__).parent})"),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})"),
        *((name, version) for name in PACKAGES if (version := _version(name)) is not None),
        ("system", platform.platform()),
        ("CPU", f"{store.cpu_name()}, {os.cpu_count()} CPUs, {affinity} of them for this process"),
        ("SIMD", f"{runtime.vector_bytes()} bytes ({', '.join(sorted(features)) or 'no optional features'})"),
        ("threads", f"{runtime.thread_count()}, Numba's threading layer {runtime.threading_layer()}"),
        ("cost model", f"{calibrated}, {'calibrated' if machine.prices else 'not calibrated'}"),
        *_cache_lines(),
        ("GPU", _gpus()),
        ("environment", " ".join(variables) or "no variable set"),
    ]


def show_config() -> None:
    """Print versions, CPU, SIMD width, threading layer, cache and GPU: what a bug report should say.

    Examples
    --------
    >>> import numbaconv as nc
    >>> nc.show_config()  # doctest: +ELLIPSIS
    numbaconv ...
    """
    lines = configuration()
    width = max(len(label) for label, _ in lines)
    print("\n".join(f"{label:{width}}  {text}" for label, text in lines))
