"""Arrays of every layout in and out, what they may hold, and what is refused."""

import numpy as np
import pytest
from accuracy import assert_same_bits
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    ALGORITHMS,
    CONVOLUTIONS,
    DATA_FORMATS,
    LAYOUTS,
    OUT_LAYOUTS,
    layouts,
    out_layouts,
    owner,
    problems_for,
)

import numbaconv as nc

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
#: A problem that every algorithm serves, with tiles cut off at every edge.
X = np.random.default_rng(0).normal(size=(2, 3, 7, 37)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(9, 3, 3, 3)).astype(np.float32)
B = np.random.default_rng(2).normal(size=9).astype(np.float32)


def contiguous(array):
    """The same values, in the usual layout and byte order."""
    return None if array is None else np.array(array, array.dtype.newbyteorder("="), order="C")


# ---------------------------------------------------------------------------------------------- layouts


@every_algorithm
@given(data=st.data(), order=st.tuples(layouts, layouts, layouts))
def test_layouts_of_inputs(algorithm, data, order):
    """Every layout gives the same bits, and no input is changed, nor the memory around it."""
    case = data.draw(problems_for(algorithm))
    arrays = [
        None if array is None else LAYOUTS[layout](array) for layout, array in zip(order, case.arrays(), strict=True)
    ]
    before = [None if array is None else owner(array).tobytes() for array in arrays]
    out = case.convolve(*arrays, algorithm=algorithm)
    assert_same_bits(out, case.convolve(*map(contiguous, arrays), algorithm=algorithm))
    assert [None if array is None else owner(array).tobytes() for array in arrays] == before


@every_algorithm
@given(data=st.data(), layout=out_layouts)
def test_layouts_of_out(algorithm, data, layout):
    """Every cell of out is written, whatever it held; the memory between its cells is not; out itself is returned."""
    case = data.draw(problems_for(algorithm))
    arrays = case.arrays()
    expected = case.convolve(*arrays, algorithm=algorithm)
    out = LAYOUTS[layout](np.full_like(expected, np.nan))
    before = owner(out).tobytes()
    assert case.convolve(*arrays, algorithm=algorithm, out=out) is out
    assert_same_bits(contiguous(out), expected)
    out[...] = np.nan
    assert owner(out).tobytes() == before


@every_algorithm
def test_layouts_alternate(algorithm):
    """Equal shapes with other strides are other calls: none is served by the other's plan."""
    expected = nc.conv2d(X, W, B, algorithm=algorithm)
    for layout in LAYOUTS:
        if layout in ("broadcast", "overlapping"):
            continue
        for out_layout in OUT_LAYOUTS:
            out = LAYOUTS[out_layout](np.full_like(expected, np.nan))
            nc.conv2d(LAYOUTS[layout](X), LAYOUTS[layout](W), LAYOUTS[layout](B), algorithm=algorithm, out=out)
            assert_same_bits(contiguous(out), expected)


# -------------------------------------------------------------------------------------------------- out


def sharing_out(strides):
    """Strides so short that elements share memory."""
    return np.lib.stride_tricks.as_strided(np.empty(4096, np.float32), (2, 9, 5, 35), strides)


def read_only_out():
    out = np.empty((2, 9, 5, 35), np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty((2, 9, 5, 34), np.float32), ValueError, "shape"),
        (np.empty((9, 5, 35), np.float32), ValueError, "shape"),
        (np.empty((2, 9, 5, 35), np.float64), TypeError, "dtype"),
        (np.empty((2, 9, 5, 35), ">f4"), TypeError, "dtype"),
        (read_only_out(), ValueError, "read-only"),
        (sharing_out((0, 0, 0, 4)), ValueError, "share memory"),
        (sharing_out((720, 80, 16, 4)), ValueError, "share memory"),
        (np.ma.masked_array(np.empty((2, 9, 5, 35), np.float32)), TypeError, "masked array"),
        ([[0.0]], TypeError, "builtins.list"),
        (3, TypeError, "builtins.int"),
    ],
)
def test_out_refused(out, error, message):
    with pytest.raises(error, match=f"^out .*{message}"):
        nc.conv2d(X, W, out=out)


@pytest.mark.parametrize("shared", ["input", "weight", "bias"])
def test_out_overlaps_an_input(shared):
    """In one element, its last one."""
    arrays = {"input": X, "weight": W, "bias": B}
    size = 2 * 9 * 5 * 35
    memory = np.empty(size - 1 + arrays[shared].size, np.float32)
    memory[size - 1 :] = arrays[shared].ravel()
    arrays[shared] = memory[size - 1 :].reshape(arrays[shared].shape)
    with pytest.raises(ValueError, match=f"^out overlaps {shared} in memory$"):
        nc.conv2d(**arrays, out=memory[:size].reshape(2, 9, 5, 35))


def test_out_between_the_elements_of_an_input():
    """Sharing an extent is not sharing an element."""
    memory = np.full((1, 1, 20, 74), np.nan, np.float32)
    x, out = memory[..., ::2, ::2], memory[..., 1:17:2, 1:71:2]
    x[...] = X[:1, :1, :1, :]
    nc.conv2d(x, W[:1, :1], out=out)
    assert_same_bits(contiguous(out), nc.conv2d(contiguous(x), W[:1, :1]))


def test_out_of_unbatched_input():
    out = np.empty((9, 5, 35), np.float32)
    assert nc.conv2d(X[0], W, B, out=out) is out
    assert_same_bits(out, nc.conv2d(X[:1], W, B)[0])


# ------------------------------------------------------------------------------- sizes that are nothing


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_sizes_of_zero(ndim, last, activation):
    """No image or no filter: an empty result. No channel: sums of nothing, and the bias."""

    def shape(batch, channels, size):
        return (batch, *[size] * ndim, channels) if last else (batch, channels, *[size] * ndim)

    def convolve(batch, channels, filters, bias, **options):
        weight = np.ones((filters, channels, *[3] * ndim), np.float32)
        x = np.ones(shape(batch, channels, 5), np.float32)
        data_format = DATA_FORMATS[ndim][last]
        return CONVOLUTIONS[ndim](x, weight, bias, data_format=data_format, activation=activation, **options)

    bias = np.array([-1.5, 0, np.nan, 2.5], np.float32)
    assert_same_bits(convolve(0, 2, 4, bias), np.empty(shape(0, 4, 3), np.float32))
    assert_same_bits(convolve(2, 2, 0, None), np.empty(shape(2, 0, 3), np.float32))
    assert_same_bits(convolve(2, 0, 4, None), np.zeros(shape(2, 4, 3), np.float32))
    expected = np.where(bias < 0, 0, bias) if activation else bias
    out = np.full(shape(2, 4, 3), 7, np.float32)
    assert convolve(2, 0, 4, bias, out=out) is out
    pixels = np.moveaxis(out, -1 if last else 1, -1).reshape(-1, 4)
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected, pixels.shape))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_unbatched_input(ndim, last):
    x = np.ones((5,) * (ndim + 1), np.float32)
    w = np.ones((2, 5, *[3] * ndim), np.float32)
    data_format = DATA_FORMATS[ndim][last]
    out = CONVOLUTIONS[ndim](x, w, data_format=data_format)
    assert out.shape == ((*[3] * ndim, 2) if last else (2, *[3] * ndim))
    assert_same_bits(out, CONVOLUTIONS[ndim](x[None], w, data_format=data_format)[0])


# ------------------------------------------------------------------------------- what counts as an array


def test_large_results_begin_on_a_cache_line():
    """NumPy's own arrays hardly ever do: kernels then store every vector in two lines."""
    image, kernel = np.ones((200, 200), np.float32), np.ones((3, 3), np.float32)
    kept = []  # so that each result gets memory of its own
    for _ in range(8):
        kept += [
            nc.conv2d(image[None, None], kernel[None, None]),
            nc.grad.conv2d_input((1, 1, 200, 200), kernel[None, None], np.ones((1, 1, 198, 198), np.float32)),
            nc.signal.convolve2d(image, kernel),
            nc.ndimage.convolve(image, kernel),
            nc.conv2d(image[None, None].astype(np.float16), kernel[None, None].astype(np.float16)),
        ]
    assert [result.ctypes.data % 64 for result in kept] == [0] * len(kept)
    assert all(result.flags.writeable and result.flags.c_contiguous for result in kept)


def test_nested_sequences():
    out = nc.conv1d([[1.0, 2.0, 4.0]], (([-1.0, 1.0],),), [0.5], stride=[1])
    assert_same_bits(out, np.array([[1.5, 2.5]]))


def test_subclasses_come_back_as_arrays(tmp_path):
    """Also memory-mapped files, in and out."""
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    x[...] = X
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(2, 9, 5, 35))
    expected = nc.conv2d(X, W, B)
    result = nc.conv2d(x, W, B)
    assert type(result) is np.ndarray
    assert_same_bits(result, expected)
    assert nc.conv2d(x, W, B, out=out) is out
    assert_same_bits(out, expected)


class Foreign:
    """An array of some other library: NumPy could read it."""

    __array_interface__ = np.ones((1, 1, 3, 3), np.float32).__array_interface__


@pytest.mark.parametrize("name", ["input", "weight", "bias"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: np.ma.masked_array(np.ones((1, 1, 3, 3)), mask=True), "{} is a masked array"),
        (Foreign, "{} must be a NumPy array; got test_arrays.Foreign"),
        (lambda: memoryview(b"1234"), "{} must be a NumPy array; got builtins.memoryview"),
        (lambda: "1234", "{} must be a NumPy array; got builtins.str"),
        (dict, "{} must be a NumPy array; got builtins.dict"),
    ],
)
def test_foreign_objects_are_refused(name, make, message):
    """What they carry beside numbers (a mask, for one) would be lost."""
    arrays = {"input": np.ones((1, 1, 3, 3)), "weight": np.ones((1, 1, 3, 3)), "bias": np.ones(1)}
    with pytest.raises(TypeError, match="^" + message.format(name)):
        nc.conv2d(**{**arrays, name: make()})


# ----------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize(
    ("input", "weight", "bias", "dtype", "result"),
    [
        ("f4", "f4", None, None, "f4"),
        ("f8", "f8", None, None, "f8"),
        ("f4", "f8", None, None, "f8"),
        ("f8", "f4", None, None, "f8"),
        ("f4", "f4", "f8", None, "f8"),
        ("u1", "f4", None, None, "f4"),
        ("f4", "i2", None, None, "f4"),
        ("i4", "f4", None, None, "f8"),
        ("i8", "f4", "f4", None, "f8"),
        ("?", "f4", "?", None, "f4"),
        ("f2", "f4", "f2", None, "f4"),
        ("f8", "f8", "f8", "f4", "f4"),
        ("f4", "f4", None, "f8", "f8"),
        ("i8", "i8", "i8", "f4", "f4"),
        ("u1", "i1", None, np.float32, "f4"),
        ("f2", "f2", None, "float64", "f8"),
        (">f4", "<f4", None, None, "f4"),
        ("i4", "i4", None, None, "i4"),
        ("u1", "i1", None, None, "i2"),
        ("u8", "i8", None, None, "f8"),
        ("?", "i1", None, None, "i1"),
        ("f2", "f2", "u1", None, "f2"),
        ("f2", "i2", None, None, "f4"),
        ("c8", "f4", None, None, "c8"),
        ("f4", "c16", None, None, "c16"),
        ("i8", "c8", None, None, "c16"),
        ("u1", "u1", None, "i4", "i4"),
        ("u1", "i1", "i8", "u2", "u2"),
        ("u1", "u1", None, "f2", "f2"),
        ("f4", "f4", None, "f2", "f2"),
        ("f4", "f4", None, "c8", "c8"),
        (">i2", ">u4", None, None, "i8"),
    ],
)
def test_result_dtype(input, weight, bias, dtype, result):
    x, w = np.ones((1, 2, 4, 5), input), np.ones((3, 2, 2, 2), weight)
    out = nc.conv2d(x, w, None if bias is None else np.ones(3, bias), dtype=dtype)
    assert_same_bits(out, np.full((1, 3, 3, 4), 8 if bias is None else 9, result))


@pytest.mark.parametrize(
    ("input", "weight", "dtype"),
    [
        ("f8", "g", None),
        ("f4", "O", None),
        ("f4", "S1", None),
        ("f4", "M8[s]", None),
        ("c8", "f4", "f4"),
        ("f4", "O", "f4"),
        ("f4", "U1", "f4"),
        ("f4", "f4", "i4"),
        ("f4", "f4", "float33"),
        ("f4", "f4", "?"),
        ("i4", "i4", "?"),
        ("f4", "f4", "g"),
        ("c8", "c8", "f8"),
        ("f4", "f4", "S4"),
    ],
)
def test_dtype_refused(input, weight, dtype):
    x, w = np.zeros((1, 2, 4, 5), input), np.zeros((3, 2, 2, 2), weight)
    with pytest.raises(TypeError, match="dtype"):
        nc.conv2d(x, w, dtype=dtype)
