"""The one place that touches Numba's settings: JIT options, the cache, threads and forks.

Everything above asks this module; nothing else in the package imports a Numba setting.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numba
from numba.core import caching, config

log = logging.getLogger("numbaconv")

# ------------------------------------------------------------------------------------------------- CPU


@functools.cache
def cpu_features() -> frozenset[str]:
    """The instruction sets that Numba compiles for, as LLVM names them.

    Numba passes ``NUMBA_CPU_FEATURES`` to LLVM where it is set, and otherwise the host's. A CPU that is
    only named (``NUMBA_CPU_NAME``) is taken at its word where it is "generic": no optional features.
    """
    if config.CPU_FEATURES is not None:
        listed = config.CPU_FEATURES.split(",")
        return frozenset(item[1:] for item in listed if item.startswith("+"))
    if config.CPU_NAME == "generic":
        return frozenset()
    import llvmlite.binding as llvm

    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


@functools.cache
def vector_bytes() -> int:
    """The width of one SIMD register in bytes: 64 (AVX-512), 32 (AVX2) or 16 (SSE, NEON, anything else)."""
    features = cpu_features()
    if "avx512f" in features:
        return 64
    if "avx2" in features:
        return 32
    return 16


@functools.cache
def has_fma() -> bool:
    """Whether one instruction multiplies and adds. Without it LLVM would call ``fmaf`` for each element."""
    features = cpu_features()
    return bool(features & {"fma", "avx512f", "neon", "fp-armv8"})


# ----------------------------------------------------------------------------------------------- cache


@functools.cache
def source_hash() -> str:
    """A digest of every source file of the package.

    Numba keys its cache by the file of the compiled function alone and does not notice that a function
    called from another file has changed. A directory named by this digest cannot hold a stale kernel.
    """
    digest = hashlib.sha256()
    root = pathlib.Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_root() -> pathlib.Path:
    if config.CACHE_DIR:
        return pathlib.Path(config.CACHE_DIR) / "numbaconv"
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path("~/.cache").expanduser()) / "numbaconv"


@functools.cache
def cache_directory() -> pathlib.Path | None:
    """Where compiled kernels are kept, or None where no directory can be written or NUMBACONV_CACHE=0."""
    if os.environ.get("NUMBACONV_CACHE", "1") == "0":
        return None
    path = _cache_root() / source_hash()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        log.debug("kernels are compiled without a cache: %s", error)
        return None
    return path


class _Locator(caching._CacheLocator):
    """Puts Numba's cache files into :func:`cache_directory`."""

    def __init__(self, py_func: Any) -> None:
        self._name = f"{py_func.__module__}.{py_func.__code__.co_firstlineno}"

    def get_cache_path(self) -> str:
        return str(cache_directory())

    def get_source_stamp(self) -> str:
        return source_hash()

    def get_disambiguator(self) -> str:
        return self._name

    @classmethod
    def from_function(cls, py_func: Any, _py_file: str) -> _Locator:
        return cls(py_func)


class _CacheImpl(caching.CompileResultCacheImpl):
    _locator_classes: ClassVar[list[Any]] = [_Locator]


class _KernelCache(caching.FunctionCache):
    """Numba's function cache; a damaged file or a full disk costs a compilation, never an exception."""

    _impl_class = _CacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever pickle makes of a damaged file
            log.debug("cached kernel %s not read: %s", self._name, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            log.debug("kernel %s not cached: %s", self._name, error)
        except Exception as error:  # whatever pickle makes of a damaged index: begin a new one
            log.debug("the index of %s is damaged: %s", self._name, error)
            self.flush()
            super().save_overload(sig, data)


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    dispatcher = numba.njit(nogil=True, error_model="numpy", **options)(function)
    if cache_directory() is not None:
        dispatcher._cache = _KernelCache(function)
    return dispatcher


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a serial kernel on its first call: no GIL, NumPy's division, the package's own cache.

    Kernels own no memory, so Numba's reference counts are left out (``_nrt``): atomic, and on lines that all threads
    share, they took 350 cycles of each call that passes five arrays on (Zen 4), as much as a small tile.
    """
    return _compile(function, _nrt=False)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel whose ``prange`` loops run on Numba's threads. Call it through :func:`launch`."""
    return _compile(function, parallel=True)


@functools.cache
def native(function: Callable[..., Any], dtypes: tuple[str, ...]) -> int:
    """Compile a function of pointers to ``dtypes`` and of integers that returns nothing; its address, for kernels.

    What kernels call by name is compiled again for each of them. A set of microkernels, or a driver that comes in many
    dtypes, is better compiled once and called by its address. It lives as long as the process.
    """
    from numba.core.ccallback import CFunc

    pointers = [numba.types.CPointer(getattr(numba.types, dtype)) for dtype in dtypes]
    integers = [numba.types.intp] * (function.__code__.co_argcount - len(dtypes))
    options = {"error_model": "numpy", "_nrt": False}
    compiled: Any = CFunc(function, ((*pointers, *integers), numba.types.void), {}, options)
    if cache_directory() is not None:
        compiled._cache = _KernelCache(function)
    compiled.compile()
    _natives.append(compiled)
    return int(compiled.address)


_natives: list[Any] = []


# --------------------------------------------------------------------------------------- threads, forks

_forked = False
_workqueue_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _forked, _workqueue_lock
    _forked = True
    _workqueue_lock = threading.Lock()  # the old one may be held by a thread that does not exist here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@functools.cache
def _threading_layer() -> str:
    from numba.np.ufunc import parallel

    parallel._launch_threads()
    return str(numba.threading_layer())


def thread_count() -> int:
    """How many threads the next kernel may use: Numba's own setting, and 1 in a forked child.

    GNU OpenMP kills a child that starts a parallel region after its parent has, so a child stays serial.
    """
    return 1 if _forked else int(numba.get_num_threads())


def launch(parallel: Any, serial: Any, threads: int, arguments: tuple[Any, ...]) -> None:
    """Run ``parallel(threads, *arguments)``, or ``serial(0, 1, *arguments)`` where no thread may start.

    Numba's workqueue layer aborts the process when two regions run at once: there, a second caller runs
    the serial kernel (the results are the same) instead of waiting for the first.
    """
    if threads == 1:
        serial(0, 1, *arguments)
    elif _threading_layer() != "workqueue":
        parallel(threads, *arguments)
    elif _workqueue_lock.acquire(blocking=False):
        try:
            parallel(threads, *arguments)
        finally:
            _workqueue_lock.release()
    else:
        serial(0, 1, *arguments)
