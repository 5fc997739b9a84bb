"""The vector instructions alone, and all algorithms with vectors narrower than the host's."""

import platform
import re

import hypothesis
import llvmlite.binding
import numba
import numpy as np
import pytest
from accuracy import assert_accurate
from strategies import ALGORITHMS, DTYPES, problems_for

from numbaconv.kernels import simd
from numbaconv.kernels.blocking import TILES, VECTOR_BYTES

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def compiled(intrinsic):
    """A function that Python can call."""

    @numba.njit
    def call(*arguments):
        intrinsic(*arguments)

    return call


#: By tile: (rows, vectors).
MICROKERNELS = {
    tile: compiled(microkernel)
    for tile, microkernel in zip(
        TILES,
        (simd.gemm_microkernel, simd.gemm_microkernel_4, simd.gemm_microkernel_2, simd.gemm_microkernel_1),
        strict=True,
    )
}
copy_lanes, copy_every_other = compiled(simd.copy_lanes), compiled(simd.copy_every_other)
finish_lanes = compiled(simd.finish_lanes)


def finished(sums, before, bias, accumulate, finish):
    """What is stored: the sums, with what was there before, with the bias, or the ReLU of that."""
    total = sums + before if accumulate else sums
    if finish:
        total = total + bias
    return np.maximum(total, 0) if finish == 2 else total


def filled(random, shape, dtype):
    return random.integers(-8, 9, shape).astype(dtype)


# ----------------------------------------------------------------------------------------- instructions


@every_dtype
@pytest.mark.parametrize("tile", MICROKERNELS, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("spare", [0, 1])
def test_gemm_microkernel(tile, dtype, spare):
    """Every depth, exactly. NaN surrounds all that may be read and written, and fills C where it must not be read."""
    random = np.random.default_rng(0)
    rows, columns = tile[0], tile[1] * VECTOR_BYTES // np.dtype(dtype).itemsize
    stride = columns + 3
    for depth, accumulate, finish in np.ndindex(21, 2, 3):
        a, b = filled(random, (rows, depth), dtype), filled(random, (depth, columns), dtype)
        bias, before = filled(random, rows, dtype), filled(random, (rows, columns), dtype)
        packed = np.concatenate([[np.nan], a.T.ravel(), [np.nan], bias, [np.nan]]).astype(dtype)
        table = 2 + random.permutation(depth) * (columns + 1)
        scratch = np.full(2 + depth * (columns + 1) + rows * stride, np.nan, dtype)
        for start, row in zip(table, b, strict=True):
            scratch[start : start + columns] = row
        out = np.full(1 + rows * stride, np.nan, dtype)
        target, start = (scratch, scratch.size - rows * stride) if spare else (out, 1)
        area = target[start:].reshape(rows, stride)[:, :columns]
        if accumulate:
            area[:] = before
        expected = target.copy()
        expected[start:].reshape(rows, stride)[:, :columns] = finished(a @ b, before, bias[:, None], accumulate, finish)
        untouched = (out if spare else scratch).copy()
        MICROKERNELS[tile](
            packed, 1, scratch, 1, table - 1, depth, out, start, stride, spare, accumulate, 2 + a.size, finish
        )
        np.testing.assert_array_equal(target, expected)
        np.testing.assert_array_equal(out if spare else scratch, untouched)


@every_dtype
@pytest.mark.parametrize(("copy", "step"), [(copy_lanes, 1), (copy_every_other, 2)], ids=["all", "every other"])
def test_copies(copy, step, dtype):
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    x = np.arange(2 * lanes + 5, dtype=dtype)
    for count in range(-1, lanes + 3):
        y = np.full(lanes + 5, np.nan, dtype)
        copy(x, 3, y, 2, count)
        copied = max(0, min(count, lanes))
        np.testing.assert_array_equal(y[2 : 2 + copied], x[3 : 3 + step * copied : step])
        assert np.isnan(np.delete(y, slice(2, 2 + copied))).all()


@every_dtype
def test_finish_lanes(dtype):
    random = np.random.default_rng(1)
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    for count, accumulate, finish in np.ndindex(lanes + 3, 2, 3):
        counted = min(count, lanes)
        sums, before = filled(random, lanes, dtype), filled(random, counted, dtype)
        out = np.full(lanes + 5, np.nan, dtype)
        if accumulate:
            out[2 : 2 + counted] = before
        finish_lanes(sums, 0, out, 2, count, accumulate, dtype(3), finish)
        expected = finished(sums[:counted], before, 3, accumulate, finish)
        np.testing.assert_array_equal(out[2 : 2 + counted], expected)
        assert np.isnan(np.delete(out, slice(2, 2 + counted))).all()


# ------------------------------------------------------------------------------------------------ widths

#: By width in bytes: the CPU and its features as LLVM names them, what compiled code must contain and must not.
WIDTHS = {
    32: ("haswell", "+avx2,+avx,+fma,+bmi,+bmi2,+sse4.2,+sse4.1,+ssse3,+sse3,+sse2,+sse", r"\bvfmadd.*ymm", "zmm"),
    16: ("x86-64", "+sse2,+sse", r"\bmulp[sd].*xmm", "zmm|ymm"),
}


def check_algorithm(algorithm):
    @hypothesis.settings(max_examples=40, deadline=None)
    @hypothesis.given(case=problems_for(algorithm, dtypes=(np.float32,)))
    def check(case):
        x, w, b = case.arrays()
        assert_accurate(algorithm, case.convolve(x, w, b, algorithm=algorithm), x, w, b, case.arguments)

    check()


def check_width(width):
    """Check all that this file and the algorithms do; in a process whose vectors have ``width`` bytes."""
    import test_simd_channels

    from numbaconv.kernels import direct_channels, direct_pixels, im2col, packing, winograd

    assert width == VECTOR_BYTES
    for algorithm in ALGORITHMS:
        check_algorithm(algorithm)
    for dtype in DTYPES:
        for tile in MICROKERNELS:
            test_gemm_microkernel(tile, dtype, spare=0)
        test_copies(copy_lanes, 1, dtype)
        test_copies(copy_every_other, 2, dtype)
        test_finish_lanes(dtype)
        test_simd_channels.check(dtype)

    drivers = [direct_channels.direct_channels_once, direct_pixels.direct_pixels_once, im2col.im2col_once]
    products = [*MICROKERNELS.values(), *test_simd_channels.MICROKERNELS, *drivers, winograd.winograd_once]
    others = [copy_lanes, copy_every_other, finish_lanes, packing.pack_weights_serial, winograd.winograd_weights_serial]
    *_, needed, forbidden = WIDTHS[width]
    for function in products + others:
        assert function.signatures
        for assembly in function.inspect_asm().values():
            wrong = re.search(rf"{forbidden}|\bfmaf?\b", assembly)
            assert wrong is None, f"{function.__name__} has {wrong}"
            assert function in others or re.search(needed, assembly), f"{function.__name__} has no {needed}"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the widths are those of x86-64")
@pytest.mark.parametrize("width", WIDTHS)
def test_narrower_vectors(width, run_python):
    """Code compiled for narrower vectors has no wider ones in it and, without FMA, no call of a function instead."""
    cpu, features, *_ = WIDTHS[width]
    present = llvmlite.binding.get_host_cpu_features()
    if not all(present.get(feature[1:]) for feature in features.split(",")):
        pytest.skip(f"this CPU lacks some of {features}")
    run_python(
        f"import test_simd; test_simd.check_width({width})",
        NUMBA_CPU_NAME=cpu,
        NUMBA_CPU_FEATURES=features,
        NUMBA_NUM_THREADS="1",
        NUMBACONV_CACHE="0",  # the assembly of cached code cannot be read
    )
