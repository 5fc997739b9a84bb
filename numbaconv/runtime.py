"""The one place that touches Numba's settings: JIT options, the cache, threads and forks.

Everything above asks this module; nothing else in the package imports a Numba setting, but for :mod:`.compiling`, which
says in which steps Numba compiles.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import functools
import gc
import hashlib
import logging
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar, Final, NamedTuple

import llvmlite.binding as llvm
import numba
from numba.core import caching, compiler, config, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as numba_threads

from . import forks
from .compiling import (
    FragmentCompiler,
    FragmentDispatcher,
    FragmentType,
    KernelCompiler,
    PieceCompiler,
    Whole,
    operators_remembered,
    uninterrupted,
)
from .forks import load_module

log = logging.getLogger("numbaconv")
types: Any = numba.types

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
        _say_not_cached(str(error))
        return None
    return path


_said: Final[list[str]] = []


def _say_not_cached(why: str) -> None:
    """Say once, to whom it may interest, that kernels are not kept."""
    if not _said:
        _said.append(why)
        log.debug("kernels are compiled without a cache: %s", why)


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


@functools.cache
def _machine(codegen: Any) -> Any:
    """The machine that Numba compiles for, as part of a key: it would ask LLVM, which may be busy with a kernel."""
    answer = codegen.magic_tuple()
    return SimpleNamespace(magic_tuple=lambda: answer)


class _KernelCache(caching.FunctionCache):
    """Numba's function cache; a damaged file or a full disk costs a compilation, never an exception."""

    _impl_class = _CacheImpl

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return super()._index_key(sig, _machine(codegen))

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
            _say_not_cached(str(error))
        except Exception as error:  # whatever pickle makes of a damaged index: begin a new one
            log.debug("the index of %s is damaged: %s", self._name, error)
            self.flush()
            super().save_overload(sig, data)


# --------------------------------------------------------------------------------------------- compiling


class Compilation(NamedTuple):
    """A function that this process compiled, or read from the cache, because it was called."""

    name: str
    seconds: float
    cached: bool


#: In the order in which they were done.
compilations: Final[list[Compilation]] = []
#: A file beside the cached kernels: a line "seconds, tab, name" for each that some process has compiled.
COMPILED: Final = "compiled.tsv"


#: Seconds after which a thread that compiles hands the GIL to those in which LLVM works. They need it between LLVM's
#: functions, a hundred times in a first call: with Python's own 5 ms, LLVM had done less than half of its work when
#: Python had written the last kernel, and Winograd's first call took 2.6 instead of 2.0 s (Emerald Rapids).
SWITCHED: Final = 1e-4


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Let no other thread compile, and no garbage be looked for: there is none to speak of, in a fifth of the time.

    The GIL is handed over SWITCHED often meanwhile.

    Python looks at all that was made meanwhile in the end, so who compiles several functions had better do that in one.
    """
    with global_compiler_lock:
        paused, interval = gc.isenabled(), sys.getswitchinterval()
        try:
            gc.disable()
            sys.setswitchinterval(SWITCHED)
            with operators_remembered():
                yield
        finally:
            sys.setswitchinterval(interval)
            if paused:
                gc.enable()


def _note(name: str, seconds: float, cached: bool) -> None:
    """Remember a compilation; a new one for other processes, too."""
    compilations.append(Compilation(name, seconds, cached))
    directory = cache_directory()
    if directory is None or cached:
        return
    try:
        with (directory / COMPILED).open("a") as file:
            file.write(f"{seconds:.3f}\t{name}\n")  # one write: lines of several processes do not mix
    except OSError as error:
        _say_not_cached(str(error))


_OPTIONS: Final = {"nopython": True, "nogil": True, "boundscheck": None, "error_model": "numpy"}


#: Kernels own no memory, so Numba's reference counts are left out: atomic, and on lines that all threads share, they
#: took 350 cycles of each call that passes five arrays on (Zen 4), as much as a small tile. They have no array
#: expressions either, nor branches that only decide about types, which Numba would look for.
_KERNEL_OPTIONS: Final = {"_nrt": False, "no_rewrites": True}


class _Kernel(registry.CPUDispatcher):
    """A compiled function for Python's calls; kernels take its fragment in."""

    def __init__(self, function: Callable[..., Any], compiler: Any = FragmentCompiler, **options: Any) -> None:
        super().__init__(function, targetoptions={**_OPTIONS, **options}, pipeline_class=KernelCompiler)
        self.fragment = FragmentDispatcher(
            function,
            targetoptions={**_OPTIONS, **options, "no_cpython_wrapper": True, "no_cfunc_wrapper": True},
            pipeline_class=compiler,
        )
        if cache_directory() is not None:
            self._cache = _KernelCache(function)

    @property
    def _numba_type_(self) -> Any:
        return FragmentType(self.fragment)

    def _compilation_chain_init_hook(self) -> None:
        """Numba would import its extensions now, for types that they add; it does when it compiles, with the lock."""

    def compile(self, signature: Any) -> Any:
        with compiling():
            known, hits = len(self.overloads), sum(self.stats.cache_hits.values())
            start = time.perf_counter()
            entry = super().compile(signature)
            if len(self.overloads) > known:
                cached = sum(self.stats.cache_hits.values()) > hits
                _note(self.py_func.__name__, time.perf_counter() - start, cached)
            return entry


class _Parallel(_Kernel):
    """A kernel that calls others on Numba's threads."""

    def compile(self, signature: Any) -> Any:
        threading_layer()  # it tells LLVM where the functions of Numba's pool are
        return super().compile(signature)


def kernel(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a serial kernel on its first call: no GIL, NumPy's division, the package's own cache."""
    return _Kernel(function, **_KERNEL_OPTIONS, **options)


def separate_kernel(function: Callable[..., Any]) -> Any:
    """Compile a part of large kernels, which call it seldom, by itself: while they are written, LLVM optimises it."""
    return _Kernel(function, PieceCompiler, **_KERNEL_OPTIONS)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that calls others on Numba's threads. Call it through :func:`launch`."""
    return _Parallel(function, **_KERNEL_OPTIONS)


def host(function: Callable[..., Any]) -> Any:
    """Compile a function that allocates memory, plans and calls kernels without Python; see :mod:`numbaconv.inside`."""
    return _Kernel(function)


def address(dispatcher: Any, arguments: tuple[Any, ...]) -> int:
    """Where a function compiled for arguments of some Numba types lies; it is called by Numba's own convention."""
    dispatcher.compile(arguments)
    compiled = dispatcher.overloads[arguments]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


class Native:
    """A function that is called by its address; it lives as long as the process."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> None:
        """Read it from the cache, or begin to compile it: LLVM makes the machine code in another thread."""
        self.__name__, self._address = function.__name__, 0
        self._signature = result(*arguments)
        self._cache = caching.NullCache() if cache_directory() is None else _KernelCache(function)
        target = registry.cpu_target
        with compiling():
            start = time.perf_counter()
            with uninterrupted():
                self._result = self._cache.load_overload(self._signature, target.target_context)
            self._cached = self._result is not None
            if not self._cached:
                flags = compiler.Flags()
                target.options.parse_as_flags(flags, {**_OPTIONS, **_KERNEL_OPTIONS, "no_cpython_wrapper": True})
                flags.no_compile = True
                self._result = compiler.compile_extra(
                    target.typing_context, target.target_context, function, arguments, result, flags, {},
                    pipeline_class=KernelCompiler,
                )  # fmt: skip
                self._result.library.begin()
            self._seconds = time.perf_counter() - start

    @property
    def address(self) -> int:
        """Where it lies, when it has been compiled; it is called by the conventions of C.

        A cached property has a lock of its own (Python 3.11): two threads could wait for each other.
        """
        with compiling(), uninterrupted() if self._address == 0 else contextlib.nullcontext():
            if self._address == 0:
                start = time.perf_counter()
                if not self._cached:
                    self._cache.save_overload(self._signature, self._result)
                name = self._result.fndesc.llvm_cfunc_wrapper_name
                self._address = int(self._result.library.get_pointer_to_function(name))
                _note(self.__name__, self._seconds + time.perf_counter() - start, self._cached)
                natives.append(self)
            return self._address

    @property
    def assembly(self) -> str:
        """The machine code as text, with that of its pieces where it was compiled by this process."""
        library = self._result.library
        pieces = library.pieces() if isinstance(library, Whole) else []
        return "".join(str(item.get_asm_str()) for item in (library, *pieces))


@functools.cache
def begin(function: Any, arguments: tuple[str, ...], result: str = "void") -> Native:
    """Begin to compile a function by whose address others call it.

    What kernels call by name is compiled again for each of them. A set of microkernels, or a driver that comes in many
    dtypes, is better compiled once and called by its address. Who needs several should begin them all before asking
    where they are.

    Parameters
    ----------
    function
        A kernel or a plain function.
    arguments
        What each argument is: "float32*" for a pointer to elements of that dtype, "int64" for a number. Those that are
        not named are indices.
    result
        What it returns: nothing, or a number.
    """
    function = getattr(function, "py_func", function)
    kinds = [_argument_type(name) for name in arguments]
    kinds += [types.intp] * (function.__code__.co_argcount - len(kinds))
    return Native(function, tuple(kinds), _argument_type(result))


def native(function: Any, arguments: tuple[str, ...]) -> int:
    """The address of a function that :func:`begin` compiles."""
    return begin(function, arguments).address


#: All that :func:`native` has compiled.
natives: Final[list[Native]] = []


def _argument_type(name: str) -> Any:
    dtype = getattr(types, name.rstrip("*"))
    return types.CPointer(dtype) if name.endswith("*") else dtype


# --------------------------------------------------------------------------------------- threads, forks

#: Whether this process has a parent whose OpenMP threads it lacks.
_forked = False
_workqueue_lock: Any = threading.RLock()
#: What :func:`limited` allows.
limit: contextvars.ContextVar[int | None] = contextvars.ContextVar("numbaconv.threads", default=None)


def _numba_threads_started() -> bool:
    return bool(getattr(numba_threads, "_is_initialized", True))


def _after_fork_in_child() -> None:
    global _forked, _workqueue_lock
    forks.after_in_child()
    _forked = _forked or _numba_threads_started()
    _workqueue_lock = threading.RLock()  # the old one may be held by a thread that does not exist here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=forks.before, after_in_parent=forks.after, after_in_child=_after_fork_in_child)


@functools.cache
def threading_layer() -> str:
    """Numba's threading layer, "omp", "tbb" or "workqueue"; its threads are started now."""
    numba_threads._launch_threads()
    return str(numba.threading_layer())


def thread_count() -> int:
    """How many threads the next kernel may use: Numba's own setting, or less in :func:`limited`; 1 in a forked child.

    GNU OpenMP kills a child that starts a parallel region after its parent has, so such a child stays serial.
    """
    if _forked:
        return 1
    most = limit.get()
    if most == 1:
        return 1
    count = int(numba.get_num_threads())
    return count if most is None else min(most, count)


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Let kernels that this thread (or asyncio task) calls use at most ``count`` threads."""
    token = limit.set(count)
    try:
        yield
    finally:
        limit.reset(token)


def forked() -> bool:
    """Whether this process is a forked child, which starts no threads."""
    return _forked


def thread_functions() -> tuple[str, int, int, int]:
    """(threading layer, address of what counts its threads, of omp_in_parallel or 0, of what runs a loop on them)."""
    layer = threading_layer()
    pool = load_module(f"numba.np.ufunc.{layer if layer == 'workqueue' else layer + 'pool'}")
    nested = getattr(ctypes.CDLL(pool.__file__), "omp_in_parallel", None) if layer == "omp" else None
    inside = 0 if nested is None else ctypes.cast(nested, ctypes.c_void_p).value
    return layer, int(pool.get_num_threads), inside or 0, int(pool.parallel_for)


def launch(parallel: Any, serial: Any, threads: int, arguments: tuple[Any, ...]) -> None:
    """Run ``parallel(threads, *arguments)``, or ``serial(0, 1, *arguments)`` where no thread may start.

    Numba's workqueue layer aborts the process when two regions run at once: there, a second caller runs
    the serial kernel (the results are the same) instead of waiting for the first.
    """
    if threads == 1:
        serial(0, 1, *arguments)
    elif threading_layer() != "workqueue":
        parallel(threads, *arguments)
    else:
        lock = _workqueue_lock
        try:  # acquired inside, asked for its owner, or left to the next call: Ctrl-C may come between any two steps
            if lock.acquire(blocking=False):
                parallel(threads, *arguments)
                return
        finally:
            while lock._is_owned():
                lock.release()
        serial(0, 1, *arguments)
