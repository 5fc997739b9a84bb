"""What a fork must wait for. Only the thread that forks goes on in the child.

What another one holds there stays held: a lock of Numba's or llvmlite's.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Final

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock

#: The locks that a fork holds.
_held: Final = contextlib.ExitStack()


def before() -> None:
    """Wait while another thread compiles, starts Numba's threads or disposes of compiled code."""
    _held.enter_context(global_compiler_lock)  # first, as they do
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    for lock in (getattr(parallel, "_backend_init_thread_lock", None), getattr(llvm.ffi.lib, "_lock", None)):
        if lock is not None:
            _held.enter_context(lock)


def after() -> None:
    """Go on, in the parent and in the child."""
    _held.pop_all().close()  # another thread may fork as soon as the last lock is released
