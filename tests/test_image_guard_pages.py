"""The image kernels beside memory that must not be touched, as in :mod:`test_guard_pages`."""

import itertools
import platform
import re
import sys

import llvmlite.binding
import numba
import numpy as np
import pytest
from test_guard_pages import Guarded
from test_simd import WIDTHS

import numbaconv as nc
from numbaconv.algorithms.windows import EXTENSIONS, Window
from numbaconv.filtering import slide, sum_dtype

#: Calls for each pair of dtypes (image and taps, result).
CALLS = 250
DTYPES = (
    ("f4", "f4"), ("f8", "f8"), ("u1", "f4"), ("u1", "u1"), ("i2", "i2"), ("i4", "i4"), ("u8", "u8"), ("c8", "c8"),
    ("f4", "f8"), ("f8", "u1"), ("f8", "f4"),
)  # fmt: skip


def problems():
    """Windows whose widths run through all that a few register tiles may leave over; the rest is random."""
    random = np.random.default_rng(0)
    for number in range(CALLS):
        width, height = 1 + number % 150, int(random.integers(1, 40 if number % 10 == 0 else 9))
        outer = (int(random.integers(1, 4)),) if number % 5 == 0 else ()
        shape = (*outer, height, width)
        kernel = tuple(int(random.integers(1, most + 1)) for most in ((2,) * len(outer) + (7, 9)))
        pad = tuple(int(random.integers(0, size)) for size in kernel)
        extra = (int(random.integers(0, 3)) for _ in shape)
        output = tuple(max(1, n + p - k + 1 + more) for n, p, k, more in zip(shape, pad, kernel, extra, strict=True))
        extension = EXTENSIONS[int(random.integers(len(EXTENSIONS)))]
        yield Window(shape, kernel, output, pad, (extension,) * len(shape)), number % 3 == 0 and not outer


def main():
    """Compare calls on guarded arrays with the same calls on others."""
    guarded = [Guarded(pages=64) for _ in range(3)]
    random = np.random.default_rng(1)
    for given, result in DTYPES:
        for window, separable in problems():
            sums = np.dtype("f8") if given == "f8" else sum_dtype(np.dtype(result))
            print(given, result, window, separable, flush=True)
            image, taps = (
                (random.normal(size=shape) * 30).astype(given if given[0] in "fc" else "i8").astype(given)
                for shape in (window.input_shape, window.kernel_shape)
            )
            rank = None
            if separable and sums.kind == "f" and given[0] != "c":
                column, row = (random.normal(size=(n, 1)).astype(sums) for n in window.kernel_shape)
                taps, rank = (column * row.T).astype(sums), (column, row)
            expected = np.zeros(window.output_shape, result)
            # Transforms of tiles, for every other window that a kernel of two dimensions slides over: a third of the
            # results, about, is small enough to be summed again.
            least = None
            if rank is None and len(window.kernel_shape) == 2 and "c" not in given + result and window.pad[0] % 2 == 0:
                sums, least = np.dtype("f8"), (0.002, 100.0 if taps.size % 2 else np.inf)
            slide(window, image, taps, expected, 3, sums, rank, least=least)
            for at_end, step in itertools.product((False, True), (1, -1)):
                placed = (
                    memory.place(array[..., ::step], at_end)[..., ::step]
                    for memory, array in zip(guarded, (image, taps, expected), strict=True)
                )
                *inputs, out = placed
                out[...] = 77
                slide(window, *inputs, out, 3, sums, rank, least=least)
                np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_guard_pages(run_python):
    calls = run_python("import test_image_guard_pages; test_image_guard_pages.main()").splitlines()
    assert len(calls) == len(DTYPES) * CALLS


def transforms():
    """Method "fft" inside @njit: blocks of sequences, images with a long kernel and volumes, real and complex."""
    guarded = [Guarded(pages=64) for _ in range(2)]
    random = np.random.default_rng(2)

    @numba.njit
    def convolve(a, b, mode):
        return nc.signal.convolve(a, b, mode, "fft")

    for given, dimensions in itertools.product(("f4", "u1", "c8", "f8"), (1, 2, 3)):
        for number in range(15):
            most = (300, 40, 9)[dimensions - 1]
            shapes = [[int(random.integers(1, most)) for _ in range(dimensions)] for _ in range(2)]
            arrays = [(random.normal(size=shape) * 30).astype("i8").astype(given) for shape in shapes]
            mode = ("full", "same")[number % 2]
            print(given, *shapes, mode, flush=True)
            expected = convolve(*arrays, mode)
            for at_end, step in itertools.product((False, True), (1, -1)):
                placed = (
                    memory.place(array[..., ::step], at_end)[..., ::step]
                    for memory, array in zip(guarded, arrays, strict=True)
                )
                np.testing.assert_array_equal(convolve(*placed, mode), expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_guard_pages_around_blocks(run_python):
    calls = run_python("import test_image_guard_pages; test_image_guard_pages.transforms()").splitlines()
    assert len(calls) == 4 * 3 * 15


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the widths are those of x86-64")
@pytest.mark.parametrize("width", WIDTHS)
def test_narrower_vectors(width, run_python):
    """The functions' own tests pass on narrower vectors, which no wider register is part of."""
    cpu, features, *_ = WIDTHS[width]
    present = llvmlite.binding.get_host_cpu_features()
    if not all(present.get(feature[1:]) for feature in features.split(",")):
        pytest.skip(f"this CPU lacks some of {features}")
    run_python(
        f"import test_image_guard_pages; test_image_guard_pages.check_width({width})",
        NUMBA_CPU_NAME=cpu,
        NUMBA_CPU_FEATURES=features,
        NUMBACONV_EXAMPLES="25",
        NUMBACONV_CACHE="0",
    )


def check_width(width):
    """Run some tests in this process, and look at the code of the microkernels."""
    import conftest
    import test_ndimage
    import test_signal
    import test_tiles

    from numbaconv import runtime
    from numbaconv.kernels.blocking import VECTOR_BYTES

    assert conftest.EXAMPLES == 25  # its profile has no deadline, which a compilation would miss
    assert width == VECTOR_BYTES
    test_signal.test_2d()
    test_signal.test_nd()
    test_ndimage.test_nd()
    test_tiles.test_float32_errs_no_more_than_sums_may()
    test_tiles.test_integers_are_exact()
    for compiled in runtime.natives:
        assembly = compiled.assembly
        assert not re.search(WIDTHS[width][-1] + r"|\bcall\w*\s+fmaf?\b", assembly)
