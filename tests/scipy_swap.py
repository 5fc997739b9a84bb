"""A pytest plugin: SciPy's own tests of its convolutions, with ours in their place.

``tests/test_scipy_own.py`` runs it. Every name that a test module imported from SciPy is replaced, every function among
a test's parameters, and the attributes of ``scipy.signal`` and ``scipy.ndimage``. What SciPy calls within itself stays
its own.
"""

import functools

import scipy.ndimage
import scipy.signal

from numbaconv import ndimage, signal

REPLACED = {
    scipy.signal: {
        name: getattr(signal, name)
        for name in (
            "choose_conv_method", "convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve", "oaconvolve",
        )
    },
    scipy.ndimage: {name: getattr(ndimage, name) for name in ("convolve", "convolve1d", "correlate", "correlate1d")},
}  # fmt: skip
#: How often each of ours was called, which the report's last lines tell.
CALLS = {}


def counted(module, name, function):
    @functools.wraps(function)
    def call(*arguments, **keywords):
        CALLS[f"{module}.{name}"] = CALLS.get(f"{module}.{name}", 0) + 1
        return function(*arguments, **keywords)

    return call


def pytest_collection_modifyitems(items):
    """Put ours in the place of SciPy's; only now, because SciPy's decorators look its own functions up in a table."""
    ours = {}
    originals = {name: getattr(scipy.signal, name) for name in REPLACED[scipy.signal]}
    # What is left to SciPy must not come back.
    signal.left_to_scipy = lambda name, *arguments: originals[name](*arguments)
    for module, functions in REPLACED.items():
        for name, function in functions.items():
            ours[getattr(module, name)] = counted(module.__name__, name, function)
            setattr(module, name, ours[getattr(module, name)])
    for item in items:
        spaces = [vars(item.module), item.callspec.params if hasattr(item, "callspec") else {}]
        for space in spaces:
            for name, value in list(space.items()):
                if callable(value) and getattr(value, "__hash__", None) and value in ours:
                    space[name] = ours[value]


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"calls of numbaconv: {CALLS}")
