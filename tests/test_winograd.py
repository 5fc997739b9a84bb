"""Every tile of Winograd's algorithm: against the reference, at every tail, and how accurate it is."""

import contextlib
from unittest import mock

import numba
import numpy as np
import pytest
from accuracy import assert_accurate, winograd_bound
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import scipy_reference
from strategies import DTYPES, conv_problems, lying

import numbaconv as nc
from numbaconv import execute
from numbaconv.algorithms import winograd, winograd_tiling
from numbaconv.kernels import geometry as at
from numbaconv.kernels.blocking import HALF_VECTORS, VECTOR_BYTES, few_tiles

every_tile = pytest.mark.parametrize("tile", winograd_tiling.TILES, ids=lambda tile: "F({},{})".format(*tile[:2]))
#: Tiles in a row, and rows of them, around a quarter, a half and a whole vector of them, and a block.
LANES = VECTOR_BYTES // 4
ACROSS = sorted(
    {1, 2, LANES // 4, LANES // 4 + 1, LANES // 2, LANES // 2 + 1, LANES - 1, LANES, LANES + 1, 2 * LANES + 3}
)
#: The same in a single row: what two and three vectors leave over.
ONE_ROW = (2 * LANES + 1, 2 * LANES + 4, 2 * LANES + 5, 3 * LANES, 3 * LANES + 1, 3 * LANES + 4, 3 * LANES + 5)


@contextlib.contextmanager
def only(tile, columns=False):
    """Let the algorithm have this tile alone, whatever its accuracy: along every axis, or as columns of any depth."""

    def fits(geometry, number):
        return number == columns and (not columns or winograd_tiling.fits_columns(geometry, tile[1]))

    with (
        mock.patch.multiple(winograd_tiling, TILES=(tile,), COLUMNS_DEPTH=10**6),
        mock.patch.object(winograd, "fits", fits),
    ):
        execute.forget_plans()
        yield
    execute.forget_plans()


@every_tile
@pytest.mark.parametrize("shape", ["both", "row", "column", "columns"])
def test_every_tile_at_every_tail(tile, shape):
    """Images whose last tiles, vectors and blocks are cut off; some NaN, whose tiles are summed directly.

    Plain calls, whose tasks may transform the weights, and layers, whose weights are transformed before, agree.
    """
    m, r = tile[:2]
    random = np.random.default_rng(m * r)
    columns = shape == "columns"
    kernel = {"row": (1, r), "column": (r, 1)}.get(shape, (r, r))
    with only(tile, columns):
        for number, across in enumerate((*ACROSS, *ONE_ROW)):
            width = across * (m if kernel[1] > 1 and not columns else 1)
            width -= int(random.integers(0, 2)) * (number < len(ACROSS))
            height = int(random.integers(1, 3 * m)) if number < len(ACROSS) else 1
            padding = [(k // 2, k - 1 - k // 2) for k in kernel]
            images = 1 + number % 2 * (number < len(ACROSS))
            x = random.normal(size=(images, 3, height, max(1, width))).astype(np.float32)
            w = random.normal(size=(9, 3, *kernel)).astype(np.float32)
            arguments = {"padding": padding, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW"}
            arguments |= {"stride": 1, "activation": None}
            layer = nc.Conv2d.from_weight(w, None, algorithm="winograd", precision="fast", **arguments)
            out = nc.conv2d(x, w, algorithm="winograd", precision="fast", **arguments)
            assert nc.explain(x, w, algorithm="winograd", precision="fast", **arguments).geometry[at.COLUMNS] == columns
            np.testing.assert_array_equal(layer(x), out)
            bound = winograd_bound(x, w, None, np.float32, arguments, "fast")
            assert (np.abs(out - scipy_reference(x, w, padding=padding)) <= bound).all()
            x.flat[int(random.integers(x.size))] = np.nan
            spoiled = nc.conv2d(x, w, algorithm="winograd", precision="fast", **arguments)
            np.testing.assert_array_equal(layer(x), spoiled)
            np.testing.assert_array_equal(np.isnan(spoiled), np.isnan(scipy_reference(x, w, padding=padding)))
            kept = ~np.isnan(spoiled)
            assert (np.abs(spoiled - out)[kept] <= 2 * bound[kept]).all()


@pytest.mark.parametrize(("kernel", "stride", "channels"), [(5, 2, 8), (3, 2, 8), (6, 2, 64), (9, 3, 16)])
@pytest.mark.parametrize("algorithm", ["winograd", "auto"])
def test_layers_lay_weights_out_again_where_there_are_no_phases(kernel, stride, channels, algorithm):
    """Along an axis with one output, a stride is none: the weights of one tile are other matrices then."""
    random = np.random.default_rng(kernel)
    w = random.normal(size=(channels, channels, kernel, kernel)).astype(np.float32)
    layer = nc.Conv2d.from_weight(w, None, stride=stride, algorithm=algorithm)
    for outputs in ((1, 8), (8, 8), (1, 32), (2, 2), (8, 1), (1, 1), (8, 8)):
        size = [(n - 1) * stride + kernel for n in outputs]
        x = random.normal(size=(1, channels, *size)).astype(np.float32)
        np.testing.assert_allclose(layer(x), scipy_reference(x, w, stride=stride), rtol=1e-3, atol=2e-3)


@every_tile
@pytest.mark.parametrize("stride", [(2, 2), (3, 3), (4, 4), (2, 1), (1, 2), (5, 5)])
@pytest.mark.parametrize("columns", [False, True])
def test_every_tile_of_every_phase(tile, stride, columns):
    """Strides: phases that have all taps of a tile, fewer, or none in a piece; rows cut off at every cell; some NaN."""
    m, r = tile[:2]
    random = np.random.default_rng(m * r)
    with only(tile, columns):
        for number, across in enumerate((1, LANES // 2 + 1, LANES, 2 * LANES + 3)):
            kernel = tuple(min(12, s * r - int(random.integers(0, s + 1))) for s in stride)
            kernel = tuple(max(k, s + 1) for k, s in zip(kernel, stride, strict=True))
            padding = [(int(random.integers(0, k)), int(random.integers(0, k))) for k in kernel]
            size = [
                max(k, s * count + int(random.integers(0, s)))
                for s, k, count in zip(stride, kernel, (2 * m, across * (1 if columns else m)), strict=True)
            ]
            x = random.normal(size=(1 + number % 2, 5, *size)).astype(np.float32)
            w = random.normal(size=(9, 5, *kernel)).astype(np.float32)
            arguments = {"padding": padding, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW"}
            arguments |= {"stride": stride, "activation": None}
            layer = nc.Conv2d.from_weight(w, None, algorithm="winograd", precision="fast", **arguments)
            out = nc.conv2d(x, w, algorithm="winograd", precision="fast", **arguments)
            assert nc.explain(x, w, algorithm="winograd", precision="fast", **arguments).geometry[at.COLUMNS] == columns
            np.testing.assert_array_equal(layer(x), out)
            bound = winograd_bound(x, w, None, np.float32, arguments, "fast")
            assert (np.abs(out - scipy_reference(x, w, stride=stride, padding=padding)) <= bound).all()
            x.flat[int(random.integers(x.size))] = np.nan
            spoiled = nc.conv2d(x, w, algorithm="winograd", precision="fast", **arguments)
            np.testing.assert_array_equal(layer(x), spoiled)
            seen = scipy_reference(x, w, stride=stride, padding=padding)
            np.testing.assert_array_equal(np.isnan(spoiled), np.isnan(seen))
            kept = ~np.isnan(spoiled)
            assert (np.abs(spoiled - out)[kept] <= 2 * bound[kept]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filters", [8, 41])
@pytest.mark.parametrize("images", [1, 3])
def test_deep_sums(dtype, filters, images):
    """More channels than are summed at a time, by several panels and by one; a tile behind three vectors; NaN."""
    across = {4: 7, 8: 5}[np.dtype(dtype).itemsize]  # 49 tiles of 3 * 16 and one, 25 of 3 * 8 and one
    random = np.random.default_rng(filters)
    x = random.normal(size=(images, 2 * 128 + 9, 4 * across, 4 * across)).astype(dtype)
    w = random.normal(size=(filters, x.shape[1], 3, 3)).astype(dtype)
    x[0, 7, 0, 0] = x[0, 200, -1, -1] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
    expected = np.moveaxis(np.tensordot(windows.astype(np.float64), w, ((1, 4, 5), (1, 2, 3))), 3, 1)
    kept = ~np.isnan(expected)
    arguments = {"padding": 1, "stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW"}
    bound = winograd_bound(np.nan_to_num(x), w, None, dtype, arguments, "standard")
    layer = nc.Conv2d.from_weight(w, padding=1, algorithm="winograd")
    for out in (layer(x), nc.conv2d(x, w, padding=1, algorithm="winograd")):
        np.testing.assert_array_equal(np.isnan(out), ~kept)
        assert (np.abs(out - expected)[kept] <= bound[kept]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 8, 56, 56), (4, 5, 28, 28), (1, 3, 52, 60)])
def test_tiles_left_behind_are_multiplied_beside_blocks(shape, dtype):
    """Of several blocks some have one more tile; NaN in one of them, in another tile, in both."""
    random = np.random.default_rng(len(shape))
    w = random.integers(-4, 5, (9, shape[1], 3, 3)).astype(dtype)
    x = random.integers(-4, 5, shape).astype(dtype)
    with only((4, 3, 1, 3)):
        layer = nc.Conv2d.from_weight(w, padding=1, algorithm="winograd")
        plan = nc.planner.choose(nc.problem.conv_problem(2, shape, w.shape, padding=1, dtype=dtype), "winograd")
        if VECTOR_BYTES == 64:
            assert 0 < plan.geometry[at.BESIDE] <= plan.geometry[at.BLOCKS]
            assert plan.geometry[at.BLOCKS] >= 4
        arguments = {"padding": 1, "stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
        arguments |= {"data_format": "NCHW"}
        bound = winograd_bound(x, w, None, dtype, arguments, "standard")
        last, first = (-1, -1, -1, -1), (0, 0, 9, 9)
        for places in ((), (last,), (first,), (first, last)):
            spoiled = x.copy()
            for place in places:
                spoiled[place] = np.nan
            expected = nc.conv2d(spoiled, w, padding=1, algorithm="direct_pixels")
            kept = ~np.isnan(expected)
            for out in (layer(spoiled), nc.conv2d(spoiled, w, padding=1, algorithm="winograd")):
                np.testing.assert_array_equal(np.isnan(out), ~kept)
                assert (np.abs(out - expected)[kept] <= bound[kept]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "more"), [*((shape, more) for shape in ("row", "column") for more in (-5, -1, 0, 1, 2)), ("square", 1)]
)
def test_three_halves_of_a_vector(dtype, shape, more):
    """As many tiles as that, a few less, one or two more; NaN in the first one, in the last one, in both."""
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    tiles = 3 * lanes // 2 + more if shape != "square" else 25
    if tiles < 1:
        pytest.skip(f"three halves of {lanes} lanes are less")
    down, across = {"row": (1, tiles), "column": (tiles, 1), "square": (5, 5)}[shape]
    random = np.random.default_rng(tiles)
    x = random.integers(-4, 5, (1, 150, 4 * down - 1, 4 * across)).astype(dtype)
    w = random.integers(-4, 5, (9, 150, 3, 3)).astype(dtype)
    arguments = {"padding": 1, "stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW"}
    bound = winograd_bound(x, w, None, dtype, arguments, "standard")
    with only((4, 3, 1, 3)):
        layer = nc.Conv2d.from_weight(w, padding=1, algorithm="winograd")
        plan = nc.planner.choose(nc.problem.conv_problem(2, x.shape, w.shape, padding=1, dtype=dtype), "winograd")
        assert plan.geometry[at.TILES] == tiles
        if HALF_VECTORS and lanes < tiles <= 3 * lanes // 2 + 1:
            assert plan.geometry[at.NR] == 3 * lanes // 2
            assert plan.geometry[at.BESIDE] == (tiles > 3 * lanes // 2)
        for places in ((), (0,), (-1,), (0, -1)):
            spoiled = x.copy()
            spoiled[:, 0, places, places] = np.nan
            expected = nc.conv2d(spoiled, w, padding=1, algorithm="direct_pixels")
            kept = ~np.isnan(expected)
            for out in (layer(spoiled), nc.conv2d(spoiled, w, padding=1, algorithm="winograd")):
                np.testing.assert_array_equal(np.isnan(out), ~kept)
                assert (np.abs(out - expected)[kept] <= bound[kept]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filters", [1, 8, 9, 24, 31])
@pytest.mark.parametrize("tiles", range(1, 14))
def test_few_tiles(tiles, filters, dtype):
    """As many as have filters in the lanes, and one more; even and odd panels; the same bits as among many images'."""
    itemsize = np.dtype(dtype).itemsize
    few = few_tiles(tiles, itemsize)
    assert (few > 0) == (VECTOR_BYTES == 64 and tiles <= 48 // itemsize)
    random = np.random.default_rng(tiles)
    x = random.standard_normal((20, 300, 1, 4 * tiles)).astype(dtype)
    w = random.standard_normal((filters, 300, 1, 3)).astype(dtype)
    arguments = {"padding": (0, 1), "stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
    bound = winograd_bound(x[:1], w, None, dtype, {**arguments, "data_format": "NCHW"}, "standard")
    with only((4, 3, 1, 3)):
        problem = nc.problem.conv_problem(2, x[:1].shape, w.shape, padding=(0, 1), dtype=dtype)
        geometry = nc.planner.choose(problem, "winograd").geometry
        assert geometry[at.TILES] == tiles
        assert few == 0 or geometry[at.NR] == few
        layer = nc.Conv2d.from_weight(w, padding=(0, 1), algorithm="winograd")
        np.testing.assert_array_equal(layer(x[:1]), layer(x)[:1])
        for places in ((), (0,), (-1,), (0, 4 * tiles // 2)):
            spoiled = x[:1].copy()
            spoiled[:, 0, 0, places] = np.nan
            expected = nc.conv2d(spoiled, w, padding=(0, 1), algorithm="direct_pixels")
            kept = ~np.isnan(expected)
            for out in (layer(spoiled), nc.conv2d(spoiled, w, padding=(0, 1), algorithm="winograd")):
                np.testing.assert_array_equal(np.isnan(out), ~kept)
                assert (np.abs(out - expected)[kept] <= bound[kept]).all()


#: Input and weight; arguments: few tiles of groups, of a stride's phases, of a dilation's, of a kernel in pieces, of a
#: volume. Behind them many filters and products, whose tasks a thread takes at once; rows under tiles of two images.
BLOCKS = {
    "groups": ((1, 21, 9, 9), (33, 7, 3, 3), {"padding": 1, "groups": 3}),
    "stride": ((1, 13, 11, 12), (19, 13, 3, 3), {"padding": 2, "stride": 2}),
    "stride 3": ((2, 13, 14, 40), (19, 13, 5, 7), {"padding": 5, "stride": 3}),
    "stride 4": ((1, 5, 30, 31), (9, 5, 9, 10), {"padding": 7, "stride": 4}),
    "dilation": ((1, 13, 12, 11), (17, 13, 3, 3), {"padding": 2, "dilation": 2}),
    "pieces": ((1, 11, 6, 7), (17, 11, 5, 7), {"padding": (2, 3)}),
    "volume": ((1, 9, 2, 7, 8), (17, 9, 2, 3, 3), {"padding": (1, 1, 1)}),
    "merged tasks": ((1, 40, 28, 28), (131, 40, 3, 3), {"padding": 1}),
    "images": ((3, 40, 10, 10), (131, 40, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_every_kind(name, dtype):
    """Spoiled tiles, too; on one thread and on more; plain calls and layers."""
    shape, weight, given = BLOCKS[name]
    random = np.random.default_rng(5)
    x, w = random.standard_normal(shape).astype(dtype), random.standard_normal(weight).astype(dtype)
    x.flat[random.integers(x.size, size=2)] = np.nan, np.inf
    convolve = nc.conv3d if x.ndim == 5 else nc.conv2d
    make = nc.nn.Conv3d if x.ndim == 5 else nc.Conv2d
    expected = convolve(x, w, algorithm="direct_pixels", **given)
    kept = np.isfinite(expected)
    assert 0 < kept.sum() < kept.size
    layer = make.from_weight(w, algorithm="winograd", **given)
    most = 1e3 * np.finfo(dtype).eps * np.abs(expected[kept]).max()
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        with nc.threads(threads):
            for out in (layer(x), convolve(x, w, algorithm="winograd", **given)):
                np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
                np.testing.assert_array_equal(np.isfinite(out), kept)
                assert np.abs(out[kept] - expected[kept]).max() <= most


@pytest.mark.skipif(VECTOR_BYTES < 64, reason="narrower vectors take other blocks")
def test_tiles_take_the_fewest_vectors():
    """Rows of 14 tiles and one beside, of 7, of 4, of 28; by odd columns only where it saves more than loads cost."""
    for tile, size, groups in (
        ((4, 3, 1, 3), 56, 2),
        ((4, 3, 1, 3), 28, 2),
        ((4, 3, 1, 3), 14, 4),
        ((5, 3, 1, 1), 50, 1),
    ):
        with only(tile):
            problem = nc.problem.conv_problem(2, (1, 64, size, size), (64, 64, 3, 3), padding=1)
            geometry = nc.planner.choose(problem, "winograd").geometry
            assert geometry[at.RUN_GROUPS] == groups, (tile, size)
            vectors = [winograd_tiling.transformed_vectors(geometry, 4, n) for n in (1, 2, 4)]
            assert vectors == {56: [20, 16, 16], 28: [8, 4, 4], 14: [4, 2, 1], 50: [13, 11, 10]}[size]


@pytest.mark.skipif(VECTOR_BYTES < 64, reason="narrower vectors make several blocks of these tiles")
def test_single_blocks_are_multiplied_by_several_panels():
    """Where the weights are few; to the same sums. One task's, where tasks transform the weights."""
    for channels, size, layers, calls in ((256, 14, 16, 2), (512, 7, 16, 4), (512, 14, 1, 1), (40, 14, 5, 1)):
        problem = nc.problem.conv_problem(2, (1, channels, size, size), (channels, channels, 3, 3), padding=1)
        plans = [nc.planner.choose(problem, "winograd", packed=packed) for packed in (True, False)]
        assert [plan.geometry[at.BLOCKS] for plan in plans] == [1, 1]
        assert [plan.geometry[at.TOGETHER] for plan in plans] == [layers, calls], channels
    random = np.random.default_rng(4)
    x, w = (random.integers(-4, 5, shape).astype(np.float32) for shape in ((1, 256, 14, 14), (256, 256, 3, 3)))
    arguments = {"padding": 1, "stride": 1, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW"}
    layer = nc.Conv2d.from_weight(w, padding=1, algorithm="winograd")
    error = np.abs(layer(x) - nc.conv2d(x, w, padding=1, algorithm="direct_pixels"))
    assert (error <= winograd_bound(x, w, None, np.float32, arguments, "standard")).all()


def test_tasks_transform_the_weights_of_plain_calls():
    """Where no two of them need the same ones: there are few blocks of tiles; more, where they would be new memory."""
    for shape, filters, packed, expected in (
        ((1, 512, 14, 14), 64, 0, True),
        ((1, 512, 14, 14), 64, 1, False),
        ((9, 16, 99, 99), 64, 0, False),
        ((32, 512, 7, 7), 64, 0, False),
        ((32 * VECTOR_BYTES // 64, 512, 7, 7), 512, 0, True),  # of a few blocks, which vectors fill
        ((32, 512, 7, 7), 512, 1, False),
    ):
        problem = nc.problem.conv_problem(2, shape, (filters, shape[1], 3, 3), padding=1)
        plan = nc.planner.choose(problem, "winograd", packed=bool(packed))
        assert (plan.geometry[at.UNPACKED] > 0) == expected


@settings(max_examples=50)
@given(case=conv_problems(winograd=True), order=st.permutations(range(5)), flip=st.integers(0, 4))
def test_weights_may_lie_anyhow(case, order, flip):
    """Gradients and transposed convolutions see them from the other side; the bits are the same."""
    x, w, b = case.arrays()
    expected = case.convolve(x, w, b, algorithm="winograd")
    np.testing.assert_array_equal(case.convolve(x, lying(w, order, flip), b, algorithm="winograd"), expected)


@settings(max_examples=50)
@given(
    case=conv_problems(winograd=True),
    spikes=st.lists(
        st.tuples(st.sampled_from((1e4, -1e6, 1e10, 1e-10)), st.booleans(), st.integers(0, 10**6)), max_size=4
    ),
)
def test_error_is_small_beside_the_tile(case, spikes):
    """|error| <= c * eps * max|tile| * sum|w| on any data."""
    x, w, b = case.arrays()
    for value, weight, where in spikes:
        array = w if weight else x
        if array.size:
            array.flat[where % array.size] = value
    assert_accurate("winograd", case.convolve(x, w, b, algorithm="winograd"), x, w, b, case.arguments)


def rms_ratio(kernel, channels, dtype, stride=1, **options):
    """The RMS error beside a plain loop's in ``dtype``, on normal data."""
    random = np.random.default_rng(channels)
    shape = (24, 24)
    size = [(n - 1) * stride + k for n, k in zip(shape, kernel, strict=True)]
    x = random.normal(size=(channels, *size)).astype(dtype)
    w = random.normal(size=(32, channels, *kernel)).astype(dtype)
    exact, loop = np.zeros((32, *shape), np.longdouble), np.zeros((32, *shape), dtype)
    for c, i, j in np.ndindex(channels, *kernel):
        seen = x[c, i : i + shape[0] * stride : stride, j : j + shape[1] * stride : stride]
        tap = w[:, c, i, j, None, None]
        exact += seen.astype(np.longdouble) * tap
        loop += seen * tap
    return np.std(nc.conv2d(x, w, stride=stride, **options) - exact) / np.std(loop - exact)


@every_tile
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["both", "row", "columns"])
def test_tiles_of_auto_are_accurate(tile, dtype, shape):
    """Within 4 times of a plain loop's RMS error, from as many channels on as the table says; kernels of every size."""
    m, r, one_axis, two_axes = tile
    least = two_axes if shape == "both" else one_axis
    if least == 0:
        assert rms_ratio((1, r) if shape == "row" else (r, r), 8, dtype, algorithm="winograd", precision="fast") < 15
        return
    with only(tile, shape == "columns"):
        for k in {2: (2,), 3: (2, 3, 4)}.get(r, (r, r + 1)):
            kernel = (1, k) if shape == "row" else (k, k)
            channels = least if k >= r or (m, r) == (2, 3) else 4 * least
            channels = -(-channels // k) if shape == "columns" else channels  # its taps of a row are summed like these
            assert rms_ratio(kernel, channels, dtype, algorithm="winograd") <= 4, kernel


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "stride"), [(5, 2), (6, 2), (7, 2), (9, 2), (7, 3), (11, 4), (3, 2), (4, 3), (5, 4)]
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8, 12, 16, 24, 48])
def test_strides_are_accurate(kernel, stride, dtype, channels):
    """The same of the tiles that "auto" takes for the phases of a stride."""
    shapes = (1, channels, 24 * stride, 24 * stride), (32, channels, kernel, kernel)
    geometry = nc.planner.geometry_list(nc.explain(*shapes, stride=stride).problem)
    geometry[at.LENIENCY] = at.TILES_ACCURATE
    nc.planner.driver("winograd").block(geometry, np.dtype(dtype).itemsize)
    columns, number = divmod(geometry[at.TRANSFORM] - 1, len(winograd_tiling.TILES))
    tile = winograd_tiling.TILES[number]
    with only(tile, bool(columns)):
        assert rms_ratio((kernel, kernel), channels, dtype, stride, algorithm="winograd") <= 4, tile


def test_sums_of_many_channels_do_not_depend_on_the_batch():
    """One sequence's panels are multiplied one by one, several sequences' together; both add products in one order."""
    random = np.random.default_rng(3)
    x, w = (random.standard_normal(shape).astype(np.float32) for shape in ((3, 257, 514), (9, 257, 2)))
    with only((5, 2, 2, 12)):
        problems = [nc.problem.conv_problem(1, shape, w.shape) for shape in (x[:1].shape, x.shape)]
        plans = [nc.planner.choose(problem, "winograd", packed=False) for problem in problems]
        assert [plan.geometry[at.TOGETHER] for plan in plans] == [1, 2]
        whole = nc.conv1d(x, w, algorithm="winograd")
        for image, expected in zip(x, whole, strict=True):
            np.testing.assert_array_equal(nc.conv1d(image, w, algorithm="winograd"), expected)
