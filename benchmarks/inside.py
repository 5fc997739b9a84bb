"""Calls inside @njit beside the same calls outside, and what they add to the time that Numba takes to compile a caller.

    python benchmarks/inside.py                          # times of all suites, interleaved in one process
    python benchmarks/inside.py mixed --layer resnext    # some layers of some suites
    python benchmarks/inside.py --compile                # a new process for each function, with a filled cache

Plain calls of one layer take turns, some milliseconds each; a ratio is the time inside over the time outside.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from family import FAMILY, Task
from numba import njit
from peers import Array, window
from suites import SUITES
from timing import Runner, measure

import numbaconv as nc

RANDOM: Final = np.random.default_rng(0)
#: Seconds of a layer's rounds.
SECONDS: Final = 0.5
Case = tuple[str, Callable[..., Any], tuple[Any, ...]]


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape, np.float32)


def conv2d(x, w, b, stride, padding, dilation, groups):
    return nc.conv2d(x, w, b, stride, padding, dilation, groups)


def filtered(image, taps):
    return nc.signal.convolve2d(image, taps, "same", "symm")


def ndimage(image, taps):
    return nc.ndimage.correlate(image, taps)


def nothing(x):
    return x + 1


def layers(suite: str) -> Iterator[Case]:
    for item in SUITES[suite]:
        options = window(item)
        weight, bias = normal(*item.weight_shape), normal(item.filters)
        yield f"{item.name} {item}", conv2d, (normal(*item.input_shape), weight, bias, *options.values())


def relatives(name: str) -> Iterator[Case]:
    """Transposed convolutions, gradients, one and three dimensions: a function for each set of options."""
    functions: dict[Any, Callable[..., Any]] = {}
    for task in FAMILY[name]:
        key = task.function, *task.keywords.items()
        if key not in functions:
            functions[key] = relative(task)
        x, weight, *output = task.arrays()
        if task.function.endswith("_input"):
            arguments: tuple[Any, ...] = (task.input, weight, *output)
        elif task.function.endswith("_weight"):
            arguments = (x, task.weight, *output)
        else:
            arguments = (x, weight)
        yield f"{task.name} {task.input} {task.weight}", functions[key], arguments


def relative(task: Task) -> Callable[..., Any]:
    """A function of the arrays alone, which names its options."""
    module = "nc.grad" if task.gradient else "nc"
    options = "".join(f", {name}={value}" for name, value in task.keywords.items())
    third = ", c" if task.gradient else ""
    return eval(f"lambda a, b{third}: {module}.{task.function}(a, b{third}{options})", {"nc": nc})  # noqa: S307


def images(_name: str) -> Iterator[Case]:
    gauss = np.exp(-(np.linspace(-2, 2, 31) ** 2)).astype(np.float32)
    large = normal(1080, 1920)
    yield "convolve2d 64x64, 3x3", filtered, (normal(64, 64), normal(3, 3))
    for size in (3, 9, 15):
        yield f"convolve2d 1080x1920, {size}x{size}", filtered, (large, normal(size, size))
    yield "convolve2d 1080x1920, 31x31 Gauss", filtered, (large, np.outer(gauss, gauss))
    yield "ndimage.correlate 1080x1920, 5x5", ndimage, (large, normal(5, 5))


def small(_name: str) -> Iterator[Case]:
    yield "1x1x8x8, 3x3", conv2d, (normal(1, 1, 8, 8), normal(1, 1, 3, 3), normal(1), 1, 1, 1, 1)


GROUPS: Final[dict[str, Callable[[str], Iterator[Case]]]] = {
    "small": small, **dict.fromkeys(SUITES, layers), **dict.fromkeys(FAMILY, relatives), "images": images,
}  # fmt: skip


def speed(suites: list[str], text: str) -> None:
    """Print the times of each call, and what the ratios come to."""
    every = []
    for suite in suites:
        ratios = []
        compiled: dict[Any, Any] = {}
        for name, function, arguments in GROUPS[suite](suite):
            if text not in name:
                continue
            inside = compiled.setdefault(function, njit(function))
            assert np.array_equal(inside(*arguments), function(*arguments)), name
            runners = [Runner(lambda f=f, a=arguments: f(*a)) for f in (inside, function)]
            measure(runners, 15, SECONDS)
            (a, b), (c, d) = ((r.minimum, r.median) for r in runners)
            ratios.append((a / c, b / d))
            print(
                f"{suite:16} {name:58} {a * 1e6:9.1f} us {c * 1e6:9.1f} us {a / c:5.2f}  medians {b / d:5.2f}",
                flush=True,
            )
        if ratios:
            mean, medians = np.exp(np.mean(np.log(ratios), axis=0))
            worst = np.max(ratios, axis=0)
            print(f"{suite}: geometric mean {mean:.3f}, worst {worst[0]:.2f}; medians {medians:.3f}, {worst[1]:.2f}\n")
        every += ratios
    print(f"all: geometric mean {np.exp(np.mean(np.log(every), axis=0))[0]:.3f}, worst {np.max(every, axis=0)[0]:.2f}")


CALLERS: Final[dict[str, Callable[[], Case]]] = {
    "conv2d": lambda: next(small("")),
    **{name: lambda name=name: next(relatives(name)) for name in FAMILY if name != "dtypes"},
    "convolve2d": lambda: next(images("")),
    "ndimage.correlate": lambda: ("", ndimage, (normal(64, 64), normal(3, 3))),
    "conv2d, im2col": lambda: (
        "", lambda x, w: nc.conv2d(x, w, algorithm="im2col"), (normal(1, 1, 8, 8), normal(1, 1, 3, 3)),
    ),
    "conv2d, direct": lambda: (
        "", lambda x, w: nc.conv2d(x, w, algorithm="direct"), (normal(1, 1, 8, 8), normal(1, 1, 3, 3)),
    ),
}  # fmt: skip


def compile_one(name: str) -> None:
    """Print the seconds to compile a caller, after another function has started Numba up."""
    njit(nothing)(np.ones(3))
    _, function, arguments = CALLERS[name]()
    start = time.perf_counter()
    njit(function)(*arguments)
    first = time.perf_counter() - start
    start = time.perf_counter()
    njit(function)(*arguments)
    print(f"{name:20} first caller {first:5.2f} s, second one {time.perf_counter() - start:5.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("suite", nargs="*", choices=[*GROUPS, []], help="measure this suite; all")
    parser.add_argument("--layer", metavar="TEXT", default="", help="only layers whose name contains this")
    parser.add_argument("--compile", action="store_true", help="measure what a call adds to its caller's compile time")
    parser.add_argument("--compile-one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.compile_one:
        compile_one(given.compile_one)
    elif given.compile:
        for caller in CALLERS:
            subprocess.run([sys.executable, sys.argv[0], "--compile-one", caller], check=True)  # noqa: S603
    else:
        speed(given.suite or list(GROUPS), given.layer)
