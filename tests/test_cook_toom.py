"""Winograd's matrices: they compute correlations, exactly, and the vector code multiplies by them."""

import ctypes
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaconv.algorithms.winograd_tiling import TILES
from numbaconv.kernels.blocking import TILE_ROWS, VECTOR_BYTES
from numbaconv.kernels.cook_toom import matrices
from numbaconv.kernels.winograd_simd import Tile, input_transform, output_transform, tile_matrices, weight_transform

fractions = st.fractions(-4, 4, max_denominator=8)
NONE = Tile(1, 1)
#: Tiles along both axes, along one of them, and different ones.
PAIRS = [
    *[pair for m, r, *_ in TILES for pair in ((Tile(m, r), Tile(m, r)), (NONE, Tile(m, r)), (Tile(m, r), NONE))],
    (Tile(4, 3), Tile(5, 4)),
]
tiles = pytest.mark.parametrize(("high", "wide"), PAIRS)


def times(matrix, vector):
    return [sum(a * x for a, x in zip(row, vector, strict=True)) for row in matrix]


@given(data=st.data(), m=st.integers(1, 6), r=st.integers(1, 6))
def test_matrices_correlate(data, m, r):
    """A^T [(G g) * (B^T d)] is the correlation of d and g, whatever the points."""
    n = m + r - 1
    points = data.draw(st.lists(fractions, min_size=n - 1, max_size=n - 1, unique=True))
    d, g = (data.draw(st.lists(fractions, min_size=size, max_size=size)) for size in (n, r))
    output, weight, data_matrix = matrices(m, r, points)
    products = [u * v for u, v in zip(times(weight, g), times(data_matrix, d), strict=True)]
    assert times(output, products) == [sum(g[j] * d[i + j] for j in range(r)) for i in range(m)]


@pytest.mark.parametrize("points", [[0, 1], [0, 1, 2, 3], [0, 1, 1], [0.5, Fraction(1, 2), 0]])
def test_points_refused(points):
    with pytest.raises(ValueError, match=r"F\(2, 3\) takes 3 different points"):
        matrices(2, 3, points)


@pytest.mark.parametrize(("m", "r"), [tile[:2] for tile in TILES])
def test_tiles_correlate(m, r):
    """The matrices of every tile that is used, exactly."""
    output, weight, data = tile_matrices(Tile(m, r))
    for i, j, k in np.ndindex(m, r, m + r - 1):
        total = sum(a * g * b for a, g, b in zip(output[i], column(weight, j), column(data, k), strict=True))
        assert total == (i + j == k)


def column(matrix, number):
    return [row[number] for row in matrix]


def call(function, *arguments):
    """Call compiled code with the addresses of arrays, and integers."""
    values = [value.ctypes.data if isinstance(value, np.ndarray) else value for value in arguments]
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))(function.address)(*values)


def as_floats(tile):
    return [np.array(matrix, np.float64) for matrix in tile_matrices(tile)]


# Each takes a compilation: the numbers of groups take turns.
@pytest.mark.parametrize(("high", "wide", "groups"), [(*pair, 2 ** (i % 3)) for i, pair in enumerate(PAIRS)])
def test_input_transform(high, wide, groups):
    """B^T d B of groups of neighbouring tiles; of the last group only as many as are asked for."""
    lanes = VECTOR_BYTES // 4
    if groups > lanes:
        pytest.skip(f"{lanes} lanes are no {groups} groups")
    width, last = lanes // groups, max(1, lanes // groups - 1)
    random = np.random.default_rng(0)
    region = wide.m * (width + wide.n) + 3
    pitch = groups * region
    cells = random.normal(size=(2, high.n, pitch)).astype(np.float32)
    k, step = 1, 4 * lanes
    block = np.full(high.n * wide.n * step, 7, np.float32)
    counts = [width] * (groups - 1) + [last]
    table = [[g * region, g * width, counts[g], lanes] for g in range(groups)]
    # A tile whose channels lie side by side, as the one beside a block's do: the first one once more.
    table = np.array(table + [[0, 3 * lanes, 1, 1]] * groups, np.int64)
    function = input_transform(high, wide, groups, "float32")
    sizes = np.array([table.size, table.size // 2, high.n * pitch, pitch, step], np.int64)
    call(function, cells, block, table, sizes, k, 2)
    block = block.reshape(-1, 4, lanes)
    assert (block[:, 0] == 7).all()
    found, beside = block[:, k:3], block[:, 3]
    np.testing.assert_array_equal(beside[:, k : k + 2], found[:, :, 0])
    assert (beside[:, 0] == 7).all()
    assert (beside[:, k + 2 :] == 7).all()
    data_h, data_w = as_floats(high)[2], as_floats(wide)[2]
    for c in range(2):
        for g, count in enumerate(counts):
            for t in range(count):
                first = g * region + t * wide.m
                expected = data_h @ cells[c, :, first : first + wide.n] @ data_w.T
                np.testing.assert_allclose(found[:, c, g * width + t], expected.reshape(-1), rtol=0, atol=5e-4)
    assert (found[:, :, (groups - 1) * width + last :] == 7).all()


@tiles
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-6)])
@pytest.mark.parametrize("stride", [(1, 1), (3, 2)])
def test_weight_transform(high, wide, stride, dtype, tolerance):
    """G g G^T of the filters of a panel, of a phase of a stride's taps; taps beyond the kernel's are zeros."""
    random = np.random.default_rng(1)
    for lines, columns in ((max(1, high.r - 1), max(1, wide.r - 1)), (0, wide.r), (high.r, 0)):
        taps = [max(1, s * n) for s, n in zip(stride, (lines, columns), strict=True)]
        g = random.normal(size=(2, *taps, TILE_ROWS)).astype(dtype)
        out = np.full((high.n * wide.n, 3, TILE_ROWS), 7, dtype)
        function = weight_transform(high, wide, dtype)
        pitch = stride[0] * taps[1]
        call(function, g, out, 2, g[0].size, TILE_ROWS, lines, columns, pitch, stride[1], 3 * TILE_ROWS)
        whole = np.zeros((2, high.r, wide.r, TILE_ROWS))
        whole[:, :lines, :columns] = g[:, :: stride[0], :: stride[1]][:, :lines, :columns]
        expected = np.einsum("ui,cijm,vj->uvcm", as_floats(high)[1], whole, as_floats(wide)[1])
        np.testing.assert_allclose(out[:, :2], expected.reshape(-1, 2, TILE_ROWS), rtol=tolerance, atol=tolerance)
        assert (out[:, 2] == 7).all()


@tiles
@pytest.mark.parametrize("relu", [0, 1])
def test_output_transform(high, wide, relu):
    """A^T M A, the bias and the ReLU; the mask says which tiles hold numbers that are not finite."""
    lanes = VECTOR_BYTES // 4
    sums = np.random.default_rng(2).normal(size=(high.n, wide.n, 2 * lanes)).astype(np.float32)
    sums[high.n - 1, 0, lanes - 1] = np.nan
    sums[0, wide.n - 1, lanes] = np.inf
    pitch = 2 * wide.m * lanes + 2
    rows, bias, mask = np.full((high.m + 1, pitch), 7, np.float32), np.float32([0.25]), np.zeros(1, np.int64)
    function = output_transform(high, wide, "float32")
    sizes = np.array([2, lanes, wide.m * lanes, 2 * lanes, pitch, relu], np.int64)
    call(function, sums, rows, bias, mask, sizes)
    with np.errstate(invalid="ignore"):
        expected = 0.25 + np.einsum("iu,uvt,jv->itj", as_floats(high)[0], sums, as_floats(wide)[0])
    if relu:
        expected = np.where(expected < 0, 0, expected)
    tiles_found = rows[: high.m, : 2 * wide.m * lanes].reshape(high.m, 2 * lanes, wide.m)
    whole = [t for t in range(2 * lanes) if t not in (lanes - 1, lanes)]
    np.testing.assert_allclose(tiles_found[:, whole], expected[:, whole], rtol=2e-6, atol=2e-3)
    assert (rows[high.m] == 7).all()
    assert (rows[:, 2 * wide.m * lanes :] == 7).all()
    assert mask[0] == 3 << (lanes - 1)
