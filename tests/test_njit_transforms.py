"""Transforms inside @njit: of tiles where the call outside takes them, and of anything by method "fft"."""

import hypothesis
import numpy as np
import pytest
import scipy.signal
from hypothesis import strategies as st
from numba import njit
from test_njit import numbers, pairs

import numbaconv as nc
from numbaconv import numba_ext

numba_ext.register()  # scipy.signal is imported by now


@njit
def transforms(a, b, mode):
    return (
        scipy.signal.convolve(a, b, mode, "fft"), nc.signal.correlate(a, b, mode, method="fft"),
        scipy.signal.fftconvolve(a, b, mode), nc.signal.oaconvolve(a, b, mode=mode),
    )  # fmt: skip


def check_transforms(a, b, mode):
    """Method "fft" of anything: as near to what scipy.fft gives as rounding lets them be, and whole numbers exactly."""
    if mode == "valid" and min(np.subtract(a.shape, b.shape)) < 0 < max(np.subtract(a.shape, b.shape)):
        return
    a, b = (array.astype("i8") if array.dtype.kind in "iu" else array for array in (a, b))  # others wrap around
    bound = 30 * np.linalg.norm(a) * np.linalg.norm(b)
    for inside, outside in zip(transforms(a, b, mode), transforms.py_func(a, b, mode), strict=True):
        assert (inside.dtype, inside.shape) == (outside.dtype, outside.shape)
        precision = np.finfo(outside.dtype).eps if outside.dtype.kind != "i" else 0
        if a.dtype.char in "fF" or b.dtype.char in "fF":  # alone or beside integers
            precision = max(precision, np.finfo("f4").eps)
        np.testing.assert_allclose(inside, outside, rtol=0, atol=precision * bound)


@pytest.mark.slow
@hypothesis.given(st.integers(1, 3).flatmap(pairs), st.sampled_from(("full", "same", "valid")))
def test_transforms(arrays, mode):
    check_transforms(*arrays, mode)


@pytest.mark.parametrize(
    ("image", "kernel"),
    [
        ((5000,), (300,)), ((300,), (5000,)), ((70_000,), (33,)), ((200, 300), (41, 5)), ((50, 2000), (3, 1500)),
        ((9, 1100), (1, 2)), ((40, 50, 3), (9, 8, 1)), ((30, 20, 25), (5, 7, 6)), ((9, 8, 7, 6), (2, 3, 1, 2)),
    ],
)  # fmt: skip
def test_transforms_of_all_lengths(image, kernel):
    """Several blocks along an axis, tiles where they serve, and kernels longer than any tile."""
    random = np.random.default_rng(0)
    for first, second in (("f8", "f8"), ("c16", "f8"), ("f8", "c16"), ("c8", "c8"), ("i4", "i4")):
        for mode in ("full", "same", "valid"):
            check_transforms(numbers(random, image, first), numbers(random, kernel, second), mode)


@njit
def of_large_kernels(x, w):
    return (
        nc.signal.convolve2d(x, w, "same", "symm"), nc.signal.correlate2d(x, w, fillvalue=2),
        nc.signal.convolve(x, w, "valid"), nc.ndimage.correlate(x, w),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i4"])
def test_tiles_by_default(dtype):
    """Where the call outside transforms tiles, so does the one inside: the same bits, with the few that are summed."""
    random = np.random.default_rng(0)
    for image, kernel in (((300, 400), (51, 53)), ((97, 530), (45, 41))):
        x, w = numbers(random, image, dtype), numbers(random, kernel, dtype)
        plan = nc.signal.explain(x, w, "valid")
        assert (plan.method, plan.least is not None) == ("fft", True)
        x[20:80, 10:90] //= 60  # values of very different sizes
        for inside, outside in zip(of_large_kernels(x, w), of_large_kernels.py_func(x, w), strict=True):
            np.testing.assert_array_equal(inside, outside)
