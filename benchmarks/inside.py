"""Calls inside @njit beside the same calls outside, and what they add to the time that Numba takes to compile a caller.

python benchmarks/inside.py            # times, interleaved in one process: inside / outside
python benchmarks/inside.py --compile  # a new process for each function, with a filled cache
"""

import subprocess
import sys
import time

import numpy as np
from numba import njit

import numbaconv as nc

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def conv(x, w, stride, padding, groups):
    return nc.conv2d(x, w, None, stride, padding, 1, groups)


def transposed(x, w):
    return nc.conv_transpose2d(x, w, stride=2, padding=1)


def input_gradient(w, y):
    return nc.grad.conv2d_input((1, 64, 56, 56), w, y, 1, 1)


def weight_gradient(x, y):
    return nc.grad.conv2d_weight(x, (64, 64, 3, 3), y, 1, 1)


def filtered(image, taps):
    return nc.signal.convolve2d(image, taps, "same", "symm")


def ndimage(image, taps):
    return nc.ndimage.correlate(image, taps)


def nothing(x):
    return x + 1


GAUSS = np.exp(-(np.linspace(-2, 2, 31) ** 2)).astype(np.float32)
CASES = [
    ("conv2d 1x1x8x8, 3x3", conv, (normal(1, 1, 8, 8), normal(1, 1, 3, 3), 1, 1, 1)),
    ("conv2d 64 to 64, 56x56, 3x3", conv, (normal(1, 64, 56, 56), normal(64, 64, 3, 3), 1, 1, 1)),
    ("conv2d 64 to 256, 56x56, 1x1", conv, (normal(1, 64, 56, 56), normal(256, 64, 1, 1), 1, 0, 1)),
    ("conv2d 3 to 64, 224x224, 7x7, stride 2", conv, (normal(1, 3, 224, 224), normal(64, 3, 7, 7), 2, 3, 1)),
    ("conv2d 96 channels, 56x56, 3x3 depthwise", conv, (normal(1, 96, 56, 56), normal(96, 1, 3, 3), 1, 1, 96)),
    ("conv2d 512 to 512, 14x14, 3x3", conv, (normal(1, 512, 14, 14), normal(512, 512, 3, 3), 1, 1, 1)),
    ("conv_transpose2d 64 to 32, 56x56, 4x4", transposed, (normal(1, 64, 56, 56), normal(64, 32, 4, 4))),
    ("grad.conv2d_input 64 to 64, 56x56, 3x3", input_gradient, (normal(64, 64, 3, 3), normal(1, 64, 56, 56))),
    ("grad.conv2d_weight 64 to 64, 56x56, 3x3", weight_gradient, (normal(1, 64, 56, 56), normal(1, 64, 56, 56))),
    ("signal.convolve2d 64x64, 3x3", filtered, (normal(64, 64), normal(3, 3))),
    ("signal.convolve2d 1080x1920, 3x3", filtered, (normal(1080, 1920), normal(3, 3))),
    ("signal.convolve2d 1080x1920, 9x9", filtered, (normal(1080, 1920), normal(9, 9))),
    ("signal.convolve2d 1080x1920, 31x31 Gauss", filtered, (normal(1080, 1920), np.outer(GAUSS, GAUSS))),
    ("ndimage.correlate 1080x1920, 5x5", ndimage, (normal(1080, 1920), normal(5, 5))),
]


def fastest(function, arguments, seconds=0.05):
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - start)
    return best


def speed():
    ratios = []
    for name, function, arguments in CASES:
        compiled = njit(function)
        assert np.array_equal(compiled(*arguments), function(*arguments)), name
        inside = outside = np.inf
        for _ in range(5):
            outside = min(outside, fastest(function, arguments))
            inside = min(inside, fastest(compiled, arguments))
        ratios.append(inside / outside)
        print(f"{name:45} {inside * 1e6:10.1f} us {outside * 1e6:10.1f} us {ratios[-1]:6.2f}", flush=True)
    print(f"geometric mean {np.exp(np.mean(np.log(ratios))):.3f}, worst {max(ratios):.2f}")


def compile_one(name):
    """Print the seconds to compile a caller, after another function has started Numba up."""
    njit(nothing)(np.ones(3))
    function, arguments = next((case[1], case[2]) for case in CASES if case[1].__name__ == name)
    start = time.perf_counter()
    njit(function)(*arguments)
    first = time.perf_counter() - start
    start = time.perf_counter()
    njit(function)(*arguments)
    print(f"{name:20} first caller {first:5.2f} s, second one {time.perf_counter() - start:5.2f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compile"]:
        for name in dict.fromkeys(case[1].__name__ for case in CASES):
            subprocess.run([sys.executable, *sys.argv[:1], "--compile-one", name], check=True)  # noqa: S603
    elif sys.argv[1:2] == ["--compile-one"]:
        compile_one(sys.argv[2])
    else:
        speed()
