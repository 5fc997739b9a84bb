"""Registers the public functions, and SciPy's, with Numba, so that they compile inside ``@njit``.

Numba calls :func:`register` before it compiles anything, in every process, and so does importing this package. So
nothing is imported here that takes time: :mod:`numbaconv.inside`, which knows how, when a call is compiled, and SciPy
never: its functions are registered where its modules have been imported already.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from numba.extending import overload

from . import functional, grad, ndimage, signal, transposed
from .forks import load_module

_registered: set[Any] = set()


def register() -> None:
    """Let Numba compile all that is imported: Numba's entry point. It may be called again, after SciPy is imported."""
    for ndim in (1, 2, 3):
        _install(getattr(functional, f"conv{ndim}d"), functools.partial(_layer, "conv", ndim))
        _install(getattr(transposed, f"conv_transpose{ndim}d"), functools.partial(_layer, "conv_transpose", ndim))
        for of in ("input", "weight"):
            _install(getattr(grad, f"conv{ndim}d_{of}"), functools.partial(_layer, "gradient", ndim, of))
    for name in ("convolve2d", "correlate2d", "convolve", "correlate", "fftconvolve", "oaconvolve"):
        for module in (signal, sys.modules.get("scipy.signal")):
            if module is not None:
                _install(getattr(module, name), functools.partial(_filter, "signal", name), getattr(signal, name))
    for name in ("convolve", "correlate", "convolve1d", "correlate1d"):
        for module in (ndimage, sys.modules.get("scipy.ndimage")):
            if module is not None:
                _install(getattr(module, name), functools.partial(_filter, "ndimage", name), getattr(ndimage, name))


def _layer(name: str, *details: Any) -> Any:
    return getattr(load_module(".inside.layer_overloads"), name)(*details)


def _filter(module: str, name: str, kinds: dict[str, Any]) -> Any:
    return getattr(load_module(".inside.filter_overloads"), module)(name, kinds)


def _install(function: Callable[..., Any], decide: Callable[..., Any], like: Callable[..., Any] | None = None) -> None:
    """Let Numba compile calls of a function, which has the signature of ``like``."""
    if function in _registered:
        return
    _registered.add(function)
    parameters = inspect.signature(like or function).parameters
    header = ", ".join(name if p.default is p.empty else f"{name}={p.default!r}" for name, p in parameters.items())

    def compiled(*given: Any) -> Any:
        return load_module(".inside.overloads").compiled(header, given, tuple(parameters), decide)

    # Numba wants a function with the very names and defaults of the arguments; keyword-only ones it takes by position,
    # too.
    namespace: dict[str, Any] = {"compiled": compiled}
    exec(f"def typing({header}):\n    return compiled({', '.join(parameters)})", namespace)  # noqa: S102
    overload(function, prefer_literal=True)(namespace["typing"])
