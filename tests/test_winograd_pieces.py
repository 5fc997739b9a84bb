"""The pieces that Winograd cuts kernels into: what each place of a tile sums, and that short ones are served."""

import itertools

import numpy as np
import pytest
from accuracy import winograd_bound
from hypothesis import given
from hypothesis import strategies as st
from naive import scipy_reference
from test_winograd import only

import numbaconv as nc
from numbaconv.algorithms import winograd_pieces, winograd_tiling
from numbaconv.algorithms.sharing import ceil_div
from numbaconv.kernels import geometry as at
from numbaconv.kernels.winograd import place_products

#: Taps of a kernel, its stride, taps of a piece.
TAPS = st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 7))


def taps_of(kernel, stride, r, phase, piece):
    """The taps of a piece along one axis."""
    return list(range(phase + piece * r * stride, kernel, stride))[:r]


@given(height=TAPS, width=TAPS, depth=st.integers(1, 3), channels=st.integers(1, 4), m=st.integers(1, 5))
def test_places_sum_the_pieces_that_they_see(height, width, depth, channels, m):
    """All products lie in one order without gaps; places at infinity sum those of whole pieces alone."""
    geometry = [0] * at.LENGTH
    geometry[at.CHANNELS], geometry[at.KERNEL_D] = channels, depth
    for axis, (kernel, stride, r) in enumerate((height, width)):
        geometry[at.KERNEL_H + axis], geometry[at.STRIDE_H + axis], geometry[at.TAPS_H + axis] = kernel, stride, r
        geometry[at.TILE_H + axis] = m if r > 1 else 1
        geometry[at.PHASES_H + axis] = min(stride, kernel)
        geometry[at.PIECES_H + axis] = ceil_div(ceil_div(kernel, stride), r)
    geometry[at.POINTS] = points = np.prod([geometry[at.TILE_H + a] + geometry[at.TAPS_H + a] - 1 for a in range(2)])
    winograd_pieces.order_pieces(geometry)
    loops = [geometry[slot] for slot in (at.KERNEL_D, at.PHASES_H, at.PHASES_W, at.PIECES_H, at.PIECES_W)]
    seen, whole = {}, [set(), set()]
    for number, (_, ph, pw, h, w) in enumerate(itertools.product(*map(range, loops))):
        down, across = taps_of(*height, ph, h), taps_of(*width, pw, w)
        start = winograd_pieces.piece_start(geometry, number)
        assert (start >= 0) == bool(down and across)
        if start >= 0:
            for k in range(start, start + channels):
                assert k not in seen
                seen[k] = (len(down), len(across))
                for axis, count in enumerate(seen[k]):
                    if count == (height, width)[axis][2]:
                        whole[axis].add(k)
    assert set(seen) == set(range(geometry[at.PRODUCTS]))
    whole = [some or set(seen) for some in whole]  # where no piece is whole, all are summed everywhere
    wide = geometry[at.TILE_W] + geometry[at.TAPS_W] - 1
    total = 0
    for u in range(points):
        first, last = place_products.py_func(geometry, u)
        expected = set(seen)
        for axis, infinity in enumerate((u // wide == points // wide - 1, u % wide == wide - 1)):
            expected &= whole[axis] if infinity else expected
        assert set(range(first, last)) == expected
        total += last - first
    assert total == winograd_pieces.tile_products(geometry)


@pytest.mark.parametrize("tile", winograd_tiling.TILES, ids=str)
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("channels", [3, 130])
def test_every_tile_of_short_pieces(tile, columns, channels):
    """Kernels of two pieces, of which the second one is short by any number of taps, along either axis and both."""
    m, r = tile[:2]
    stride = 2 if r == 2 else 1  # which leaves the phases two taps, or one
    random = np.random.default_rng(channels)
    with only(tile, columns):
        for short_h, short_w in itertools.product(sorted({0, 1, r - 1}), repeat=2):
            kernel = min(12, 2 * r - short_h), min(12, 2 * r - short_w)
            size = stride * (2 * m + 2 * r), stride * (2 * m + 2 * r) + 1
            x = random.normal(size=(1, channels, *size)).astype(np.float32)
            w = random.normal(size=(9, channels, *kernel)).astype(np.float32)
            arguments = {"padding": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW"}
            arguments |= {"stride": stride, "activation": None}
            asked = {**arguments, "algorithm": "winograd", "precision": "fast"}
            geometry = nc.explain(x, w, **asked).geometry
            assert (geometry[at.TRANSFORM], geometry[at.COLUMNS]) == (1 + columns, columns)
            out = nc.conv2d(x, w, **asked)
            np.testing.assert_array_equal(nc.Conv2d.from_weight(w, None, **asked)(x), out)
            bound = winograd_bound(x, w, None, np.float32, arguments, "fast")
            expected = scipy_reference(x, w, stride=stride, padding=1)
            assert (np.abs(out - expected) <= bound).all()
            # What a short piece of a tile does not read may be anything.
            x[..., -1] = np.nan
            x[..., -1, :] = np.inf
            spoiled, seen = nc.conv2d(x, w, **asked), nc.conv2d(x, w, algorithm="direct_pixels", **arguments)
            np.testing.assert_array_equal(np.isfinite(spoiled), np.isfinite(seen))
            assert (np.abs(spoiled - out) <= 2 * bound)[np.isfinite(seen)].all()
