"""What a fork must wait for. Only the thread that forks goes on in the child.

What another one holds there, or has done half of, stays so: a lock of Numba's or llvmlite's, a module being imported.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Final

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock

#: The locks that a fork holds.
_held: Final = contextlib.ExitStack()


def before() -> None:
    """Wait while another thread compiles, starts Numba's threads, disposes of compiled code or imports a part of us."""
    _held.enter_context(global_compiler_lock)  # first, as they do
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    for lock in (getattr(parallel, "_backend_init_thread_lock", None), getattr(llvm.ffi.lib, "_lock", None)):
        if lock is not None:
            _held.enter_context(lock)
    done: set[str] = set()
    while unfinished := _unfinished() - done:  # a thread that has imported one driver goes on to the next
        for name in unfinished:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        done |= unfinished


def _unfinished() -> set[str]:
    """Modules of ours that some thread is importing: drivers and kernels are imported when they are asked for."""
    ours = (item for item in list(sys.modules.items()) if item[0].startswith(f"{__package__}."))
    return {name for name, module in ours if getattr(module.__spec__, "_initializing", False)}


def after() -> None:
    """Go on, in the parent and in the child."""
    _held.pop_all().close()  # another thread may fork as soon as the last lock is released
