"""Richardson-Lucy deconvolution, wholly inside one @njit function, beside the same written with SciPy.

Takes a blurred, noisy photograph apart: each step convolves twice, divides and multiplies. Inside @njit the two
convolutions are numbaconv's, on all cores, and what is between them is one compiled loop.

    python examples/richardson_lucy.py [picture.png]
"""

from __future__ import annotations

import pathlib
import sys
import time

import numpy as np
import scipy.signal
from numba import njit

import numbaconv as nc

STEPS = 30


@njit
def deconvolve(blurred, psf, steps):
    """Richardson and Lucy's iteration: estimate *= psf mirrored * (blurred / (psf * estimate))."""
    estimate = np.full_like(blurred, 0.5)
    mirrored = psf[::-1, ::-1]
    for _ in range(steps):
        ratio = nc.signal.convolve2d(estimate, psf, "same", "symm")
        for i in range(ratio.shape[0]):
            for j in range(ratio.shape[1]):
                ratio[i, j] = blurred[i, j] / max(ratio[i, j], np.float32(1e-6))
        estimate *= nc.signal.convolve2d(ratio, mirrored, "same", "symm")
    return estimate


def deconvolve_scipy(blurred, psf, steps):
    """The same with SciPy's function."""
    estimate = np.full_like(blurred, 0.5)
    for _ in range(steps):
        ratio = blurred / np.maximum(scipy.signal.convolve2d(estimate, psf, "same", "symm"), np.float32(1e-6))
        estimate *= scipy.signal.convolve2d(ratio, psf[::-1, ::-1], "same", "symm")
    return estimate


def scene(size=512):
    """A test picture with sharp edges, fine lines and points, made here so that nothing is downloaded."""
    y, x = np.mgrid[:size, :size] / size
    picture = 0.25 + 0.2 * x
    picture += 0.35 * (np.hypot(x - 0.3, y - 0.35) < 0.2)
    picture += 0.3 * ((np.abs(x - 0.7) < 0.16) & (np.abs(y - 0.3) < 0.16) & (np.floor(x * 64) % 2 == 0))
    picture += 0.4 * (np.abs(np.sin(60 * np.hypot(x - 0.65, y - 0.75))) > 0.9) * (np.hypot(x - 0.65, y - 0.75) < 0.2)
    random = np.random.default_rng(7)
    for _ in range(60):
        i, j = random.integers(size // 2, size - 8), random.integers(8, size // 2 - 16)
        picture[i : i + 2, j : j + 2] = 1
    return np.clip(picture, 0, 1).astype(np.float32)


def motion_blur(length=15):
    """A point's image: a streak, a little out of focus. No outer product, so no separable shortcut."""
    y, x = np.mgrid[-(length // 2) : length // 2 + 1, -(length // 2) : length // 2 + 1]
    along, across = (x + 0.6 * y) / np.hypot(1, 0.6), (y - 0.6 * x) / np.hypot(1, 0.6)
    psf = np.exp(-((across / 1.2) ** 2)) * (np.abs(along) < length // 2 - 1)
    return (psf / psf.sum()).astype(np.float32)


def main(path="richardson_lucy.png"):
    """Blur, restore both ways, compare, draw."""
    sharp, psf = scene(), motion_blur()
    blurred = nc.signal.convolve2d(sharp, psf, "same", "symm")
    blurred += np.random.default_rng(0).normal(0, 0.002, blurred.shape).astype(np.float32)
    deconvolve(blurred, psf, 1)  # compiled now
    started = time.perf_counter()
    restored = deconvolve(blurred, psf, STEPS)
    inside = time.perf_counter() - started
    started = time.perf_counter()
    expected = deconvolve_scipy(blurred, psf, STEPS)
    outside = time.perf_counter() - started
    error = float(np.abs(restored - expected).max())
    rms = [float(np.sqrt(np.mean((image - sharp) ** 2))) for image in (blurred, restored)]
    print(f"{STEPS} steps on {sharp.shape[0]}x{sharp.shape[1]}, {psf.shape[0]}x{psf.shape[1]} taps")
    print(f"inside @njit {inside * 1e3:.0f} ms, with SciPy {outside * 1e3:.0f} ms: {outside / inside:.0f} times")
    print(f"largest difference between the two {error:.1e}; RMS error blurred {rms[0]:.4f}, restored {rms[1]:.4f}")
    assert error < 1e-3
    assert rms[1] < 0.7 * rms[0]
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    for axis, image, title in zip(
        axes, (sharp, blurred, restored), ("sharp", "blurred, noisy", "restored"), strict=True
    ):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
    figure.savefig(path, dpi=80)
    print("wrote", pathlib.Path(path).resolve())


if __name__ == "__main__":
    main(*sys.argv[1:])
