"""Arrays laid against memory that must not be touched: one element read or written outside them is a crash.

Input, weight, bias and output each lie between two protected pages, at the very beginning or at the very end of what is
accessible between them. The calls run in a process of their own, which prints each one before it starts.
"""

import ctypes
import itertools
import mmap
import sys

import numpy as np
import pytest
from strategies import ALGORITHMS, DTYPES

import numbaconv as nc
from numbaconv import execute, input_adjoint, interleaving
from numbaconv.algorithms import direct_channels, winograd, winograd_tiling
from numbaconv.kernels import arrange
from numbaconv.kernels import geometry as at

PAGE = mmap.PAGESIZE
PROT_NONE = 0  # Python's mmap has no name for it
#: Vectors of int16 have the most lanes.
KINDS = (*DTYPES, np.int16)
#: Calls of each algorithm and dtype.
CALLS = 500
#: Calls of each of Winograd's tiles and dtype.
TILE_CALLS = 40
#: The strides of Winograd's calls.
STRIDES = ((1, 1), (2, 2), (1, 1), (3, 3), (2, 1), (1, 2), (4, 4), (2, 3))
WINOGRAD_KERNELS = ((3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (7, 7), (3, 3))


class Guarded:
    """Memory between two pages that may be neither read nor written."""

    def __init__(self, pages):
        self.size = pages * PAGE
        # Private: a forked child would write into what its parent reads.
        self.memory = mmap.mmap(-1, self.size + 2 * PAGE, flags=mmap.MAP_PRIVATE)
        libc = ctypes.CDLL(None, use_errno=True)
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for guard in (first, first + PAGE + self.size):
            if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, array, at_end):
        """A copy of an array that begins where the accessible memory begins, or ends where it ends."""
        start = PAGE + (self.size - array.nbytes if at_end else 0)
        placed = np.ndarray(array.shape, array.dtype, self.memory, start)
        placed[...] = array
        return placed


def problems(algorithm):
    """(input shape, weight shape, arguments): widths and numbers of filters around the tiles', the rest at random."""
    random = np.random.default_rng(0)
    for number in range(CALLS):
        width, filters = 1 + number % 150, 1 + number % 17
        batch, channels, height, groups = (int(random.integers(1, most + 1)) for most in (2, 3, 8, 5))
        groups = (1, 1, 1, groups, 7 * groups)[number % 5]
        filters = filters if groups == 1 else 1 + number % 4
        if number % 10 == 9:  # depthwise
            channels, filters, height = 1, 1, int(random.integers(1, 30))
        winograd = algorithm == "winograd"
        kernel = WINOGRAD_KERNELS[number % 7] if winograd else tuple(random.integers(1, (5, 8)).tolist())
        stride = tuple(random.integers(1, 4, 2).tolist())
        if winograd:  # a kernel has more taps than the stride, along one axis at least
            stride = STRIDES[number % 8] if max(kernel) > 3 or number % 3 == 0 else (1, 1)
            stride = tuple(min(s, max(1, k - 1)) for s, k in zip(stride, kernel, strict=True))
        padding = tuple(
            (less, max(int(random.integers(0, 3)), (2 * kernel_size - 1 if winograd else kernel_size) - size - less))
            for size, kernel_size, less in zip((height, width), kernel, random.integers(0, 3, 2).tolist(), strict=True)
        )
        last = bool(random.integers(2))
        yield (
            (batch, height, width, groups * channels) if last else (batch, groups * channels, height, width),
            (groups * filters, channels, *kernel),
            {
                "stride": stride,
                "padding": padding,
                "dilation": 1 + int(winograd and number % 7 == 6 and stride == (1, 1)),
                "groups": groups,
                "data_format": "NHWC" if last else "NCHW",
            },
        )


#: Without padding, rows of pixels in several tasks, the last of which ends within a tile.
PLAIN = {"padding": 0, "dilation": 1, "groups": 1, "data_format": "NCHW"}
CUT_OFF = [
    ((1, 8, 5, 12), (5, 8, 1, 1), {"stride": 1, **PLAIN}),
    ((2, 8, 1, 100), (5, 8, 1, 1), {"stride": 3, **PLAIN}),
    ((1, 8, 1, 102), (40, 8, 1, 3), {"stride": 3, **PLAIN}),
    ((9, 8, 1, 1), (40, 8, 1, 1), {"stride": 1, **PLAIN}),
    ((5, 8, 2, 2), (20, 8, 1, 1), {"stride": 1, **PLAIN}),
]


def main():
    """Compare calls on guarded arrays with the same calls on others."""
    guarded = [Guarded(pages=1024) for _ in range(4)]
    random = np.random.default_rng(1)
    for number, (algorithm, dtype) in enumerate(itertools.product((*ALGORITHMS, "direct_channels"), KINDS)):
        if number == len(ALGORITHMS) * len(KINDS):  # channels again, whose tasks pack the weights
            direct_channels.LEAST_UNPACKED, direct_channels.FEWEST_TASKS = 0, 1
            execute.forget_plans()
        if algorithm == "winograd" and dtype not in DTYPES:
            continue
        more = [] if algorithm == "winograd" else CUT_OFF
        for shape, weight_shape, arguments in (*problems(algorithm), *more):
            print(algorithm, dtype.__name__, shape, weight_shape, arguments, flush=True)
            arrays = [
                random.normal(scale=100, size=size).astype(dtype) for size in (shape, weight_shape, weight_shape[:1])
            ]
            expected = nc.conv2d(*arrays, **arguments, algorithm=algorithm)
            for at_end, step in itertools.product((False, True), (1, -1)):
                # A view backwards begins at the other end of the memory.
                placed = (
                    memory.place(array[..., ::step], at_end)[..., ::step]
                    for memory, array in zip(guarded, [*arrays, expected], strict=True)
                )
                *inputs, out = placed
                out[...] = np.nan if dtype in DTYPES else -1
                nc.conv2d(*inputs, **arguments, algorithm=algorithm, out=out)
                np.testing.assert_array_equal(out, expected)
                for _ in range(2):  # Python's code makes the first one, machine code may make the second
                    np.testing.assert_array_equal(nc.conv2d(*inputs, **arguments, algorithm=algorithm), expected)


def tiles():
    """Each of Winograd's tiles by itself: on images, rows, columns and volumes, dilated, of sizes around the tiles'.

    Tiles that are columns have strides here; other tiles have them in what :func:`problems` makes.
    """
    guarded = [Guarded(pages=4096) for _ in range(3)]
    random = np.random.default_rng(2)
    for tile, number, dtype in itertools.product(winograd_tiling.TILES, range(TILE_CALLS), DTYPES):
        m, r = tile[:2]
        columns, backwards = number % 3 == 2, number % 4 == 1
        winograd_tiling.TILES = (tile,)
        winograd.fits = lambda _, chosen, only=int(columns): chosen == only
        execute.forget_plans()
        stride = STRIDES[number // 2 % len(STRIDES)] if columns else (1, 1)
        taps = [min(12, s * r) for s in stride]
        kernel = ((*taps,), (2, *taps))[number % 2] if columns else ((r, r), (1, r), (r, 1), (2, r, r))[number % 4]
        size = [int(random.integers(r, r + 4 * m)), int(random.integers(r, 40 * m))]
        size = [int(random.integers(1, 3)), *size] if len(kernel) == 3 else size
        channels, filters, dilation = (int(random.integers(1, most)) for most in (6, 18, 3))
        dilation = 1 if stride[0] > 1 else dilation
        groups = 1 + number % 2
        x = random.normal(size=(1, groups * channels, *size)).astype(dtype)
        w = random.normal(size=(groups * filters, channels, *kernel)).astype(dtype)
        x.flat[0] = (0, np.nan)[number % 8 in (0, 3)]
        call = nc.conv3d if len(kernel) == 3 else nc.conv2d
        arguments = {"padding": r * max(stride), "groups": groups, "algorithm": "winograd", "precision": "fast"}
        arguments["stride"] = (*[1] * (len(kernel) - 2), *stride)
        arguments["dilation"] = (*[dilation] * (len(kernel) - 1), 1) if columns else dilation
        print(tile, dtype.__name__, x.shape, w.shape, arguments, flush=True)
        expected = call(x, w, **arguments)
        assert nc.explain(x, w, **arguments).geometry[at.COLUMNS] == columns
        for at_end in (False, True):
            *inputs, out = (
                memory.place(array, at_end) for memory, array in zip(guarded, [x, w, expected], strict=True)
            )
            out = out[..., ::-1] if backwards else out
            out[...] = 77
            call(*inputs, **arguments, out=out)
            np.testing.assert_array_equal(out, expected)


def family():
    """The same of transposed convolutions, gradients and integers; results of any size are woven together."""
    input_adjoint.LEAST_APART, interleaving.LEAST_LANES = 0, 2
    guarded = [Guarded(pages=1024) for _ in range(3)]
    random = np.random.default_rng(1)
    for number, (shape, weight_shape, arguments) in enumerate(problems("direct")):
        dtype = (np.float32, np.int32, np.float64, np.int64, np.int16)[number % 5]
        if number % 6 == 5:  # windows side by side
            kernel = (1 + number % 3, 2)
            shape, weight_shape = (2, 3, 2 * kernel[0], 2 * (1 + number % 40)), (1 + number % 17, 3, *kernel)
            arguments = {"stride": kernel}
        print(dtype.__name__, shape, weight_shape, arguments, flush=True)
        x, w = (random.integers(-8, 9, size).astype(dtype) for size in (shape, weight_shape))
        y = nc.conv2d(x, w, **arguments, precision="exact")
        for call, arrays in (
            (lambda x, w, out=None, arguments=arguments: nc.conv2d(x, w, **arguments, out=out), (x, w)),
            (lambda y, w, out=None, arguments=arguments: nc.conv_transpose2d(y, w, **arguments, out=out), (y, w)),
            (
                lambda w, y, out=None, arguments=arguments, size=x.shape: nc.grad.conv2d_input(
                    size, w, y, **arguments, out=out
                ),
                (w, y),
            ),
            (
                lambda x, y, out=None, arguments=arguments, size=w.shape: nc.grad.conv2d_weight(
                    x, size, y, **arguments, out=out
                ),
                (x, y),
            ),
        ):
            try:
                expected = call(*arrays)
            except ValueError as error:  # more padding than output
                if "must be at least 1" not in str(error):
                    raise
                continue
            for at_end in (False, True):
                *inputs, out = (
                    memory.place(array, at_end) for memory, array in zip(guarded, [*arrays, expected], strict=True)
                )
                out[...] = 77
                call(*inputs, out=out)
                np.testing.assert_array_equal(out, expected)


def folds():
    """Windows of all sizes that are added up: the kernel alone, since its windows and sums are arrays of its own."""
    guarded = [Guarded(pages=1024) for _ in range(4)]
    random = np.random.default_rng(3)
    for number in range(CALLS):
        dtype = (np.float32, np.int32, np.float64, np.int64, np.int16)[number % 5]
        taps, cells, strides, dilations = (random.integers(1, most, 3) for most in (5, 5, 4, 3))
        taps[0], cells[0], cells[2] = 1 + number % 2, 1 + number % 3, 1 + number % 40
        pads = random.integers(0, 3, 3)
        size = np.maximum(1, (cells - 1) * strides + dilations * (taps - 1) + 1 - 2 * pads + random.integers(0, 2, 3))
        batch, filters = 1 + number % 2, 1 + number % 11
        windows = random.integers(-8, 9, (batch, filters, *taps, *cells)).astype(dtype)
        bias = random.integers(-8, 9, filters if number % 3 else 0).astype(dtype)
        expected = np.zeros((batch, filters, *size), dtype)
        expected += bias[:, None, None, None] if bias.size else 0
        for index in np.ndindex(*taps, *cells):
            cell = np.array(index[3:]) * strides + np.array(index[:3]) * dilations - pads
            if np.all((cell >= 0) & (cell < size)):
                expected[(..., *cell)] += windows[(slice(None), slice(None), *index)]
        relu = number % 2
        print(dtype.__name__, taps, cells, strides, dilations, pads, size, relu, flush=True)
        steps = np.array(expected.strides) // expected.itemsize
        table = np.stack([taps, cells, strides, dilations, pads, size, steps[2:]], 1).astype(np.int64)
        planes = (batch, filters, 0, int(steps[0]), int(steps[1]), relu)
        for at_end in (False, True):
            sums = np.zeros(arrange.fold_cells(table), dtype)
            placed = [
                memory.place(array, at_end)
                for memory, array in zip(guarded, (windows.ravel(), bias, expected.ravel(), sums), strict=True)
            ]
            placed[2][...] = 77
            arrange.fold_serial(0, 1, *placed[:3], planes, table, placed[3])
            np.testing.assert_array_equal(placed[2], np.maximum(expected, 0 if relu else expected).ravel())


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_guard_pages_of_folds(run_python):
    assert len(run_python("import test_guard_pages; test_guard_pages.folds()").splitlines()) == CALLS


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_guard_pages_of_the_family(run_python):
    assert len(run_python("import test_guard_pages; test_guard_pages.family()").splitlines()) == CALLS


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_guard_pages_of_every_tile(run_python):
    calls = run_python("import test_guard_pages; test_guard_pages.tiles()").splitlines()
    assert len(calls) == len(winograd_tiling.TILES) * TILE_CALLS * len(DTYPES)


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_guard_pages(run_python):
    calls = run_python("import test_guard_pages; test_guard_pages.main()").splitlines()
    summed = len(KINDS) * len(ALGORITHMS) * (CALLS + len(CUT_OFF))
    assert len(calls) == summed + len(DTYPES) * CALLS  # and Winograd's


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
@pytest.mark.parametrize("at_end", [False, True])
def test_guards_guard(at_end, run_python):
    """Reading one element outside ends the process: that is what the test above relies on."""
    with pytest.raises(AssertionError, match="exit code -11"):
        run_python(f"import test_guard_pages; test_guard_pages.read_outside({at_end})")


def read_outside(at_end):
    """Read the element behind the last one, or the one before the first."""
    placed = Guarded(pages=1).place(np.zeros(10), at_end)
    np.lib.stride_tricks.as_strided(placed, (2,), (80 if at_end else -8,)).sum()
