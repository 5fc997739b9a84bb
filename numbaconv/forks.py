"""What a fork must wait for. Only the thread that forks goes on in the child.

What another one holds there stays held: a lock of Numba's, of llvmlite's, or Python's of a module being imported.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

import llvmlite.binding as llvm
from numba.core import registry
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel

#: Numba makes its contexts when they are first asked for, behind locks of their own, and takes the compiler's for that:
#: a thread that asks while it has that one already could wait for another for ever. So they are made now (2 ms).
_contexts: Final = registry.cpu_target.typing_context, registry.cpu_target.target_context
#: Locks of this package.
_own: Final[list[Any]] = []
#: The locks that a fork holds.
_held: Final = contextlib.ExitStack()


@functools.cache
def load_module(name: str) -> ModuleType:
    """Import a module when it is needed; a fork waits until that is done. All imports in functions are made so.

    A child that was forked meanwhile would wait for the import's end for ever. Whoever compiles imports, too, with the
    compiler's lock, so this takes no other one: a thread that has it never waits for one that waits for it.

    Parameters
    ----------
    name
        Of one of this package's modules with a dot in front (".kernels.tasks"), or of another's in full.
    """
    with global_compiler_lock:
        return importlib.import_module(name, __package__)


def lock() -> Any:
    """A lock that forks wait for; whoever holds it may not compile, nor :func:`load_module`."""
    _own.append(threading.Lock())
    return _own[-1]


def locks() -> Iterator[Any]:
    """What forks wait for, in the order in which all take them."""
    yield global_compiler_lock
    for item in vars(type(registry.cpu_target)).values():
        yield getattr(item, "_lock", None)
    yield getattr(parallel, "_backend_init_thread_lock", None)
    yield from _own
    yield getattr(llvm.ffi.lib, "_lock", None)


def before() -> None:
    """Wait while another thread compiles, imports, starts Numba's threads or disposes of compiled code."""
    for item in locks():
        if item is not None:
            _held.enter_context(item)


def after() -> None:
    """Go on, in the parent and in the child."""
    _held.pop_all().close()  # another thread may fork as soon as the last lock is released


def after_in_child() -> None:
    """Go on, in the child, with a lock of its own for starting Numba's threads.

    The one that Numba makes belongs to parent and child together. Where another thread had it, the child would count
    that as a time of its own and never give it back, and nor would a child that is killed: the parent waits for ever.
    """
    after()
    parallel._backend_init_process_lock = None  # Numba makes one when it needs it
