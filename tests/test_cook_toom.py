"""Winograd's matrices: they compute correlations, exactly, and the vector code multiplies by them."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbaconv.algorithms.cook_toom import matrices
from numbaconv.kernels.blocking import TILE_ROWS, VECTOR_BYTES, WINOGRAD_F4X3_POINTS
from numbaconv.kernels.simd import winograd_input_f4x3, winograd_output_f4x3, winograd_weight_f4x3

fractions = st.fractions(-4, 4, max_denominator=8)
LANES = VECTOR_BYTES // 8
A, B = WINOGRAD_F4X3_POINTS
OUTPUT, WEIGHT, INPUT = (np.array(matrix, np.float64) for matrix in matrices(4, 3, [0, A, -A, B, -B]))


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


@numba.njit
def transform_input(rows, start, pitch, tails, out, out_start, out_stride):
    winograd_input_f4x3(rows, start, pitch, tails, out, out_start, out_stride)


@numba.njit
def transform_weight(x, x_start, y, y_start, y_stride):
    winograd_weight_f4x3(x, x_start, y, y_start, y_stride)


@numba.njit
def transform_output(sums, start, stride, rows, rows_start, pitch, bias, relu):
    return winograd_output_f4x3(sums, start, stride, rows, rows_start, pitch, bias, relu)


def test_input_transform():
    """B^T d B of as many tiles as there are lanes."""
    d = np.random.default_rng(0).normal(size=(LANES, 6, 6))
    pitch = 4 * LANES + 3
    rows = np.full(13 * pitch, np.nan)
    for i in range(6):
        rows[1 + i * pitch :][: 4 * LANES] = d[:, i, :4].ravel()
        tail = rows[2 + (6 + i) * pitch :][: 4 * LANES].reshape(LANES, 4)
        tail[:, :2] = d[:, i, 4:]
    out = np.full(36 * (LANES + 1), np.nan)
    transform_input(rows, 1, pitch, 2 + 6 * pitch, out, 1, LANES + 1)
    actual = out.reshape(36, LANES + 1)[:, 1:].reshape(6, 6, LANES)
    np.testing.assert_allclose(actual, np.einsum("ui,tij,vj->uvt", INPUT, d, INPUT), rtol=0, atol=1e-14)
    assert np.isnan(out[:: LANES + 1]).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 2e-7)])
def test_weight_transform(dtype, tolerance):
    """G g G^T of the filters of a panel."""
    g = np.random.default_rng(1).normal(size=(3, 3, TILE_ROWS)).astype(dtype)
    out = np.full(36 * (TILE_ROWS + 1), np.nan, dtype)
    transform_weight(g.ravel(), 0, out, 1, TILE_ROWS + 1)
    actual = out.reshape(36, TILE_ROWS + 1)[:, 1:].reshape(6, 6, TILE_ROWS)
    np.testing.assert_allclose(actual, np.einsum("ui,ijm,vj->uvm", WEIGHT, g, WEIGHT), rtol=0, atol=tolerance)
    assert np.isnan(out[:: TILE_ROWS + 1]).all()


@pytest.mark.parametrize("relu", [0, 1])
def test_output_transform(relu):
    """A^T M A, the bias and the ReLU; the mask says which tiles hold numbers that are not finite."""
    sums = np.random.default_rng(2).normal(size=(6, 6, LANES))
    sums[2, 3, LANES - 1] = np.nan
    pitch = 4 * LANES + 2
    rows = np.full(4 * pitch + 1, 7.0)
    mask = transform_output(sums.ravel(), 0, LANES, rows, 1, pitch, 0.25, relu)
    expected = 0.25 + np.einsum("iu,uvt,jv->itj", OUTPUT, sums, OUTPUT)
    if relu:
        expected = np.where(expected < 0, 0, expected)
    actual = rows[1:].reshape(4, pitch)
    np.testing.assert_allclose(actual[:, : 4 * LANES], expected.reshape(4, -1), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(actual[:, 4 * LANES :], 7)
    assert mask == 1 << (LANES - 1)
