"""The vector instructions alone, and all algorithms with vectors narrower than the host's."""

import dataclasses
import itertools
import platform
import re

import hypothesis
import llvmlite.binding
import numba
import numpy as np
import pytest
from accuracy import assert_accurate
from naive import tap_reference
from strategies import ALGORITHMS, DTYPES, SUMMING, Case, problems_for

from numbaconv import runtime
from numbaconv.executable import functions
from numbaconv.kernels import geometry as at
from numbaconv.kernels import simd
from numbaconv.kernels.blocking import TILE_ROWS, TILES, VECTOR_BYTES, WIDE_VECTORS
from numbaconv.planner import CANDIDATES

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
#: Those of other widths than their tile's; (rows, vectors).
MICROKERNELS[TILE_ROWS, 1] = compiled(simd.gemm_microkernel_narrow)
if TILES[0][1] < WIDE_VECTORS:
    MICROKERNELS[TILE_ROWS, WIDE_VECTORS] = compiled(simd.gemm_microkernel_wide)
MICROKERNELS[TILE_ROWS, 1.5] = compiled(simd.gemm_microkernel_halves)
#: Those that multiply one more column, by vectors.
BESIDE = {3: compiled(simd.gemm_microkernel_beside), 1.5: compiled(simd.gemm_microkernel_halves_beside)}
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
    rows, columns = tile[0], int(tile[1] * VECTOR_BYTES) // np.dtype(dtype).itemsize
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
@pytest.mark.parametrize("vectors", BESIDE)
def test_gemm_microkernel_beside(vectors, dtype):
    """Three vectors, or halves, of columns and one more, exactly; NaN surrounds all that may be read and written."""
    random = np.random.default_rng(2)
    lanes = int(vectors * VECTOR_BYTES) // np.dtype(dtype).itemsize // 3
    stride = 3 * lanes + 3
    for depth, accumulate in np.ndindex(9, 2):
        a, b = filled(random, (TILE_ROWS, depth), dtype), filled(random, (depth, 3 * lanes), dtype)
        more, before = filled(random, depth, dtype), filled(random, (2, TILE_ROWS, 3 * lanes), dtype)
        packed = np.concatenate([[np.nan], a.T.ravel(), [np.nan]]).astype(dtype)
        table = random.permutation(depth) * (3 * lanes + 2)
        scratch = np.full(3 + depth * (3 * lanes + 3) + 2 * TILE_ROWS * stride, np.nan, dtype)
        beside_start = 2 + depth * (3 * lanes + 2)
        scratch[beside_start : beside_start + depth] = more
        for start, row in zip(table, b, strict=True):
            scratch[1 + start : 1 + start + 3 * lanes] = row
        first, second = scratch[-2 * TILE_ROWS * stride :].reshape(2, TILE_ROWS, stride)
        if accumulate:
            first[:, : 3 * lanes], second[:, 0] = before[0], before[1, :, 0]
        expected = scratch.copy()
        sums, column = expected[-2 * TILE_ROWS * stride :].reshape(2, TILE_ROWS, stride)
        sums[:, : 3 * lanes] = a @ b + before[0] * accumulate
        column[:, :lanes] = 0
        column[:, 0] = a @ more + before[1, :, 0] * accumulate
        start = scratch.size - 2 * TILE_ROWS * stride
        BESIDE[vectors](
            packed, 1, scratch, 1, table, depth, packed, start, stride, 1, accumulate, 0, 0,
            beside_start, start + TILE_ROWS * stride,
        )  # fmt: skip
        np.testing.assert_array_equal(scratch, expected)


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


#: Cases that use each function that the algorithms may call. Hypothesis draws some that do not, always where CI is set.
EVERY_DRIVER = [
    Case(
        input_shape=(1, channels, 9, 9),
        weight_shape=(filters, channels // groups, 3, 3),
        bias=True,
        dtype=np.float32,
        arguments={
            "stride": 1,
            "padding": 1,
            "dilation": 1,
            "groups": groups,
            "padding_mode": "zeros",
            "data_format": "NCHW",
            "activation": "relu",
        },
        seed=1,
    )
    for channels, filters, groups in ((24, 20, 1), (3, 20, 1), (16, 16, 16), (384, 16, 16))
]


def check_algorithm(algorithm):
    def check_case(case):
        x, w, b = case.arrays()
        assert_accurate(algorithm, case.convolve(x, w, b, algorithm=algorithm), x, w, b, case.arguments)

    for case, dtype in itertools.product(EVERY_DRIVER, DTYPES):
        check_case(dataclasses.replace(case, dtype=dtype))

    @hypothesis.settings(max_examples=40, deadline=None, derandomize=False)
    @hypothesis.given(case=problems_for(algorithm, dtypes=(np.float32,)))
    def check(case):
        check_case(case)

    check()


def check_integers(algorithm, dtype):
    """Of the whole range, exactly: narrow integers fill vectors of many lanes."""
    random, info = np.random.default_rng(3), np.iinfo(dtype)
    for case in EVERY_DRIVER:
        shapes = case.input_shape, case.weight_shape, case.weight_shape[:1]
        x, w, b = (random.integers(info.min, info.max, shape, dtype, endpoint=True) for shape in shapes)
        out = case.convolve(x, w, b, algorithm=algorithm)
        np.testing.assert_array_equal(out, tap_reference(x, w, b, **case.arguments, dtype=np.dtype(dtype)))


def check_width(width):
    """Check all that this file and the algorithms do; in a process whose vectors have ``width`` bytes."""
    import test_depthwise
    import test_simd_channels

    assert width == VECTOR_BYTES
    for algorithm in ALGORITHMS:
        check_algorithm(algorithm)
    for algorithm, dtype in itertools.product(SUMMING, (np.int16, np.uint8)):
        check_integers(algorithm, dtype)
    for dtype in DTYPES:
        for tile in MICROKERNELS:
            test_gemm_microkernel(tile, dtype, spare=0)
        test_copies(copy_lanes, 1, dtype)
        test_copies(copy_every_other, 2, dtype)
        test_finish_lanes(dtype)
        test_simd_channels.check(dtype)
        test_depthwise.check(dtype)

    for candidate in CANDIDATES:  # what serves every layout
        functions(candidate, [0] * at.LENGTH, "float32")
    for layer in test_depthwise.LAYERS:
        test_depthwise.test_layers(layer, "zeros", np.float32)

    named = {"copy_lanes": copy_lanes, "copy_every_other": copy_every_other, "finish_lanes": finish_lanes}
    others = [*test_simd_channels.MICROKERNELS, test_depthwise.microkernel]
    # Halves of a vector are what they are for, of narrower ones, too.
    whole = [function for (_, vectors), function in MICROKERNELS.items() if vectors % 1 == 0]
    for number, function in enumerate([*whole, *others]):
        named[f"microkernel {number}"] = function
    code = {}
    for name, function in named.items():
        assert function.signatures
        code[name] = "".join(function.inspect_asm().values())
    for function in runtime.natives:
        code[function.__name__] = code.get(function.__name__, "") + function.assembly
    drivers = {
        "direct_channels_tasks", "direct_planes_tasks", "direct_lanes_tasks", "direct_pixels_tasks",
        "direct_depthwise_tasks", "im2col_tasks", "winograd_tasks", "winograd_padded_tasks",
    }  # fmt: skip
    others = {
        "copy_lanes", "copy_every_other", "finish_lanes", "pack_weights", "pack_dense_weights", "pack_ordered_weights",
        "winograd_weights", "winograd_dense_weights",
    }  # fmt: skip
    assert drivers | others <= set(code), (drivers | others) - set(code)
    *_, needed, forbidden = WIDTHS[width]
    for name, assembly in code.items():
        wrong = re.search(rf"{forbidden}|\bfmaf?\b", assembly)
        assert wrong is None, f"{name} has {wrong}"
        # Copies do not multiply, nor do Winograd's transforms between the points 0, 1 and -1, nor what calls kernels.
        exempt = name in others or re.match("winograd_(input|weight|output)_|call_again$|run_slots$", name)
        assert exempt or re.search(needed, assembly), f"{name} has no {needed}"
    if width == 32:
        for name in ("direct_planes_tasks", "direct_channels_tasks"):
            check_registers(code[name])


def check_registers(assembly):
    """The loop over the products of 6 pixels by 2 vectors keeps all in AVX2's 16 registers; see Vectors.behind."""
    loops = [block for block in re.split(r"\n(?=\S+:)", assembly) if "#APP" in block and block.count("vfmadd") >= 12]
    assert loops
    for loop in loops:
        assert re.search(r"ymm.*\(%rsp\)|\(%rsp\).*ymm", loop) is None, loop


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
