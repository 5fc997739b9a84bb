"""Every error that a call can raise: its type and its whole text."""
# ruff: noqa: E501 (a table with whole messages)

import re

import numpy as np
import pytest

import numbaconv as nc

X, W = (1, 4, 5, 6), (8, 4, 3, 3)
FORMS = "padding must be an integer, one for each dimension, (before, after) pairs or one of 'valid', 'same', 'same_upper', 'same_lower'"
MODES = "'zeros', 'constant', 'reflect', 'replicate', 'edge', 'circular', 'wrap', 'symmetric'"
COMPUTED = "convolutions are computed in bool, integers, float16, bfloat16, float32, float64, complex64 and complex128"
FOREIGN = "must be a NumPy array; got builtins"

#: The function, the shapes of input and weight, other arguments, the error.
SHAPES = [
    # dimensions
    (nc.conv2d, (5, 6), W, {}, ValueError, "input must have 4 dimensions, or 3 without a batch, for conv2d; got 2 (shape (5, 6))"),
    (nc.conv2d, (1, 1, 4, 5, 6), W, {}, ValueError, "input must have 4 dimensions, or 3 without a batch, for conv2d; got 5 (shape (1, 1, 4, 5, 6))"),
    (nc.conv1d, (6,), (8, 4, 3), {}, ValueError, "input must have 3 dimensions, or 2 without a batch, for conv1d; got 1 (shape (6,))"),
    (nc.conv3d, (), (8, 4, 3, 3, 3), {}, ValueError, "input must have 5 dimensions, or 4 without a batch, for conv3d; got 0 (shape ())"),
    (nc.conv1d, (1, 4, 6), W, {}, ValueError, "weight must have 3 dimensions (filters, channels // groups, width) for conv1d; got 4 (shape (8, 4, 3, 3))"),
    (nc.conv2d, X, (8, 4, 3), {}, ValueError, "weight must have 4 dimensions (filters, channels // groups, height, width) for conv2d; got 3 (shape (8, 4, 3))"),
    (nc.conv3d, (1, 4, 5, 6, 7), W, {}, ValueError, "weight must have 5 dimensions (filters, channels // groups, depth, height, width) for conv3d; got 4 (shape (8, 4, 3, 3))"),
    (nc.explain, X, (8, 4), {}, ValueError, "weight must have 3, 4 or 5 dimensions; got 2 (shape (8, 4))"),
    # channels, filters, groups
    (nc.conv2d, (1, 5, 5, 6), W, {}, ValueError, "weight has 4 channels for each of 1 group(s), 4 in all, but input has 5 (input shape (1, 5, 5, 6), weight shape (8, 4, 3, 3))"),
    (nc.conv2d, X, W, {"groups": 2}, ValueError, "weight has 4 channels for each of 2 group(s), 8 in all, but input has 4 (input shape (1, 4, 5, 6), weight shape (8, 4, 3, 3))"),
    (nc.conv2d, X, W, {"data_format": "NHWC"}, ValueError, "weight has 4 channels for each of 1 group(s), 4 in all, but input has 6 (input shape (1, 4, 5, 6), weight shape (8, 4, 3, 3))"),
    (nc.conv2d, X, W, {"groups": 3}, ValueError, "groups 3 does not divide the input's 4 channels (input shape (1, 4, 5, 6))"),
    (nc.conv2d, X, (7, 2, 3, 3), {"groups": 2}, ValueError, "groups 2 does not divide the weight's 7 filters (weight shape (7, 2, 3, 3))"),
    (nc.conv2d, X, W, {"groups": 0}, ValueError, "groups must be at least 1; got 0"),
    (nc.conv2d, X, W, {"groups": 2.0}, TypeError, "groups must be an integer; got 2.0 of type float"),
    (nc.conv2d, X, W, {"groups": (1, 1)}, TypeError, "groups must be an integer; got (1, 1) of type tuple"),
    (nc.conv2d, X, W, {"bias": np.zeros(4)}, ValueError, "bias must have shape (8,), one value for each filter; got (4,)"),
    (nc.conv2d, X, W, {"bias": 0.0}, ValueError, "bias must have shape (8,), one value for each filter; got ()"),
    # sizes
    (nc.conv2d, X, (8, 4, 0, 3), {}, ValueError, "weight's kernel height must be at least 1; got 0 (weight shape (8, 4, 0, 3))"),
    (nc.conv2d, (1, 4, 5, 0), W, {}, ValueError, "input's width must be at least 1; got 0 (input shape (1, 4, 5, 0))"),
    (nc.conv3d, (1, 4, 0, 5, 6), (8, 4, 3, 3, 3), {}, ValueError, "input's depth must be at least 1; got 0 (input shape (1, 4, 0, 5, 6))"),
    (nc.conv2d, (1, 4, 3, 9), (8, 4, 7, 3), {"padding": 1}, ValueError, "kernel height 7 exceeds padded input height 5 (= 3 + 1 + 1)"),
    (nc.conv1d, (1, 4, 6), (8, 4, 4), {"dilation": 3, "padding": [(1, 0)]}, ValueError, "dilated kernel width 10 (= 3 * (4 - 1) + 1) exceeds padded input width 7 (= 6 + 1 + 0)"),
    (nc.conv2d, X, W, {"padding": 2**61}, ValueError, f"output shape (1, 8, {2**62 + 3}, {2**62 + 4}) asks for {2 * 8 * 36 * (2**62 + 3) * (2**62 + 4)} operations; at most {2**62} can be counted"),
    # stride, dilation
    (nc.conv2d, X, W, {"stride": 0}, ValueError, "stride must be at least 1; got 0"),
    (nc.conv2d, X, W, {"stride": (1, -1)}, ValueError, "stride must be at least 1; got -1"),
    (nc.conv2d, X, W, {"stride": 1.0}, TypeError, "stride must be an integer; got 1.0 of type float"),
    (nc.conv2d, X, W, {"stride": True}, TypeError, "stride must be an integer; got True"),
    (nc.conv2d, X, W, {"stride": np.True_}, TypeError, f"stride must be an integer; got {np.True_!r}"),
    (nc.conv2d, X, W, {"stride": None}, TypeError, "stride must be an integer; got None of type NoneType"),
    (nc.conv2d, X, W, {"stride": "1"}, TypeError, "stride must be an integer; got '1' of type str"),
    (nc.conv2d, X, W, {"stride": ()}, ValueError, "stride must be one integer or one for each of 2 dimensions; got 0: ()"),
    (nc.conv2d, X, W, {"stride": [1, 1, 1]}, ValueError, "stride must be one integer or one for each of 2 dimensions; got 3: [1, 1, 1]"),
    (nc.conv2d, X, W, {"dilation": 0}, ValueError, "dilation must be at least 1; got 0"),
    (nc.conv2d, X, W, {"dilation": (1, 1.5)}, TypeError, "dilation must be an integer; got 1.5 of type float"),
    (nc.conv3d, (1, 4, 5, 5, 5), (8, 4, 3, 3, 3), {"dilation": (1, 1)}, ValueError, "dilation must be one integer or one for each of 3 dimensions; got 2: (1, 1)"),
    # padding
    (nc.conv2d, X, W, {"padding": -1}, ValueError, "padding must be at least 0; got -1"),
    (nc.conv2d, X, W, {"padding": 0.5}, TypeError, "padding must be an integer; got 0.5 of type float"),
    (nc.conv2d, X, W, {"padding": (1, 1, 1)}, ValueError, "padding must be one integer or one for each of 2 dimensions; got 3: (1, 1, 1)"),
    (nc.conv2d, X, W, {"padding": ((1, 1),)}, ValueError, "padding must have one (before, after) pair for each of 2 dimensions; got 1: ((1, 1),)"),
    (nc.conv2d, X, W, {"padding": ((1, 1), 1)}, ValueError, "padding must have a (before, after) pair for each dimension; got 1 in ((1, 1), 1)"),
    (nc.conv2d, X, W, {"padding": ((1, 1), (1, 1, 1))}, ValueError, "padding must have a (before, after) pair for each dimension; got (1, 1, 1) in ((1, 1), (1, 1, 1))"),
    (nc.conv2d, X, W, {"padding": ((1, 1), (0, -2))}, ValueError, "padding must be at least 0; got -2"),
    (nc.conv2d, X, W, {"padding": "SAME"}, ValueError, f"{FORMS}; got 'SAME'"),
    (nc.conv2d, X, W, {"padding": "full"}, ValueError, f"{FORMS}; got 'full'"),
    (nc.conv2d, X, W, {"padding": 5, "padding_mode": "reflect"}, ValueError, "padding (5, 5) exceeds what padding_mode 'reflect' can read of input height 5: at most 5 - 1 on a side"),
    (nc.conv2d, X, W, {"padding": (0, 7), "padding_mode": "wrap"}, ValueError, "padding (7, 7) exceeds what padding_mode 'circular' can read of input width 6: at most 6 on a side"),
    (nc.conv2d, X, W, {"padding": ((0, 6), (0, 0)), "padding_mode": "symmetric"}, ValueError, "padding (0, 6) exceeds what padding_mode 'symmetric' can read of input height 5: at most 5 on a side"),
    # names
    (nc.conv2d, X, W, {"padding_mode": "mirror"}, ValueError, f"padding_mode must be one of {MODES}; got 'mirror'"),
    (nc.conv2d, X, W, {"padding_mode": None}, ValueError, f"padding_mode must be one of {MODES}; got None"),
    (nc.conv2d, X, W, {"activation": "gelu"}, ValueError, "activation must be None or 'relu'; got 'gelu'"),
    (nc.conv2d, X, W, {"data_format": "NCW"}, ValueError, "data_format must be 'NCHW' or 'NHWC' for conv2d; got 'NCW'"),
    (nc.conv1d, (1, 4, 6), (8, 4, 3), {"data_format": "NCHW"}, ValueError, "data_format must be 'NCW' or 'NWC' for conv1d; got 'NCHW'"),
    (nc.conv3d, (1, 4, 5, 5, 5), (8, 4, 3, 3, 3), {"data_format": "nchw"}, ValueError, "data_format must be 'NCDHW' or 'NDHWC' for conv3d; got 'nchw'"),
    (nc.conv2d, X, W, {"algorithm": "fft"}, ValueError, "algorithm must be one of 'auto', 'direct', 'im2col', 'winograd', 'direct_channels', 'direct_pixels'; got 'fft'"),
    (nc.conv2d, X, W, {"algorithm": None}, ValueError, "algorithm must be one of 'auto', 'direct', 'im2col', 'winograd', 'direct_channels', 'direct_pixels'; got None"),
    (nc.conv2d, X, W, {"precision": "high"}, ValueError, "precision must be one of 'exact', 'standard', 'fast'; got 'high'"),
    # algorithms that cannot serve the call
    (nc.conv2d, X, W, {"algorithm": "winograd", "stride": 3}, ValueError, "algorithm 'winograd' cannot serve this call: winograd saves nothing where no input is read by two outputs: the stride is (3, 3)"),
    (nc.conv2d, X, W, {"algorithm": "winograd", "stride": 2, "dilation": 2}, ValueError, "algorithm 'winograd' cannot serve this call: winograd needs stride or dilation 1, these are (2, 2) and (2, 2)"),
    (nc.conv2d, X, (8, 4, 1, 1), {"algorithm": "winograd"}, ValueError, "algorithm 'winograd' cannot serve this call: winograd saves nothing where the kernel has one tap"),
    (nc.conv2d, X, (8, 4, 3, 13), {"algorithm": "winograd", "padding": 6}, ValueError, "algorithm 'winograd' cannot serve this call: winograd needs a kernel of at most 12 taps along each axis, this one is 3x13"),
    (nc.conv3d, (1, 4, 6, 6, 6), (8, 4, 3, 1, 1), {"algorithm": "winograd"}, ValueError, "algorithm 'winograd' cannot serve this call: winograd saves nothing where the kernel has one tap along height and width"),
    (nc.conv2d, X, W, {"algorithm": "winograd", "precision": "exact"}, ValueError, "algorithm 'winograd' cannot serve this call: precision='exact' does not allow winograd, whose transforms round more than summation does"),
    # dtypes
    (nc.conv2d, X, W, {"dtype": np.int32}, TypeError, "input of dtype float32 cannot be cast to int32, which cannot hold it"),
    (nc.conv2d, X, W, {"dtype": "O"}, TypeError, f"{COMPUTED}; dtype is object"),
    (nc.conv2d, X, W, {"dtype": complex, "activation": "relu"}, TypeError, "activation 'relu' needs real numbers; the result's dtype is complex128"),
    (nc.conv2d, X, W, {"dtype": "float33"}, TypeError, "dtype must name a NumPy dtype; got 'float33'"),
    (nc.conv2d, X, W, {"bias": np.zeros(8, object)}, TypeError, f"{COMPUTED}; input is float32, weight is float32, bias is object, which give object; dtype= chooses another"),
    (nc.conv2d, X, W, {"dtype": int, "algorithm": "winograd"}, TypeError, "input of dtype float32 cannot be cast to int64, which cannot hold it"),
    (nc.conv2d, X, W, {"bias": np.zeros(8, complex), "dtype": "f4"}, TypeError, "bias of dtype complex128 cannot be cast to float32, which cannot hold it"),
    (nc.conv2d, X, W, {"bias": np.zeros(8, "M8[s]")}, TypeError, "these dtypes have no common one: input is float32, weight is float32, bias is datetime64[s]"),
    # the course's function
    (nc.conv2D_gemm, (5, 6), (3, 3, 1, 8), {}, ValueError, "image must have shape (H, W, C) or (N, H, W, C); got (5, 6)"),
    (nc.conv2D_gemm, (5, 6, 1), (3, 3, 8), {}, ValueError, "kernel must have shape (KH, KW, C, F); got (3, 3, 8)"),
    (nc.conv2D_gemm, (5, 6, 2), (3, 3, 1, 8), {}, ValueError, "image has 2 channels (shape (5, 6, 2)) but kernel has 1 (shape (3, 3, 1, 8))"),
    (nc.conv2D_gemm, (5, 6, 1), (3, 3, 1, 8), {"stride": 0}, ValueError, "stride must be at least 1; got 0"),
    (nc.conv2D_gemm, (2, 2, 1), (3, 3, 1, 8), {"padding": "valid"}, ValueError, "kernel height 3 exceeds padded input height 2 (= 2 + 0 + 0)"),
    # explain
    (nc.explain, (0, 4, 5, 6), W, {}, ValueError, "there is nothing to compute: output shape (0, 8, 3, 4), 36 products for each output"),
    (nc.explain, (1, 0, 5, 6), (8, 0, 3, 3), {}, ValueError, "there is nothing to compute: output shape (1, 8, 3, 4), 0 products for each output"),
    # out
    (nc.conv2d, X, W, {"out": np.zeros((1, 8, 3, 3), np.float32)}, ValueError, "out must have the result's shape (1, 8, 3, 4); got (1, 8, 3, 3)"),
    (nc.conv2d, X, W, {"out": np.zeros((1, 8, 3, 4))}, TypeError, "out must have the result's dtype float32; got float64"),
    (nc.conv2d, X, W, {"out": np.broadcast_to(np.float32(0), (1, 8, 3, 4))}, ValueError, "out is read-only"),
    (nc.conv2d, X, W, {"out": [0.0]}, TypeError, f"out {FOREIGN}.list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "input", "weight", "arguments", "error", "message"), SHAPES, ids=[case[-1][:50] for case in SHAPES]
)
def test_shapes_and_options(function, input, weight, arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(np.zeros(input, np.float32), np.zeros(weight, np.float32), **arguments)


MASKED = np.ma.masked_array(np.zeros(X), True)

#: The function, its arguments, the error.
ARRAYS = [
    (nc.conv2d, (None, np.zeros(W)), TypeError, f"input {FOREIGN}.NoneType; convert it with numpy.asarray(input)"),
    (nc.conv2d, (np.zeros(X), {}), TypeError, f"weight {FOREIGN}.dict; convert it with numpy.asarray(weight)"),
    (nc.conv2d, (MASKED, np.zeros(W)), TypeError, "input is a masked array, whose mask a convolution would ignore; pass input.filled(...) or input.data"),
    (nc.conv2D_gemm, ("image", np.zeros(W)), TypeError, f"image {FOREIGN}.str; convert it with numpy.asarray(image)"),
    (nc.conv2D_gemm, (np.zeros((5, 6, 1)), b"kernel"), TypeError, f"kernel {FOREIGN}.bytes; convert it with numpy.asarray(kernel)"),
    (nc.explain, (X, "weight"), TypeError, f"weight_or_shape {FOREIGN}.str; convert it with numpy.asarray(weight_or_shape)"),
    (nc.explain, ((1, 4, -5, 6), W), ValueError, "input_or_shape must have no negative size; got (1, 4, -5, 6)"),
    (nc.conv2d, (np.zeros(X, "M8[s]"), np.zeros(W, "M8[s]")), TypeError, f"{COMPUTED}; input is datetime64[s], weight is datetime64[s], which give datetime64[s]; dtype= chooses another"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "error", "message"), ARRAYS, ids=[case[-1][:50] for case in ARRAYS])
def test_arrays(function, arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(*arguments)


def test_winograd_has_no_integers():
    with pytest.raises(ValueError, match=r"winograd's transforms have fractions, which int32 does not$"):
        nc.conv2d(np.zeros(X, np.int32), np.zeros(W, np.int8), algorithm="winograd")


def test_ragged_list():
    with pytest.raises(ValueError, match=r"^input is not an array: .*inhomogeneous"):
        nc.conv1d([[1.0], [1.0, 2.0]], np.zeros((1, 2, 1)))


def test_equal_but_not_the_same():
    """1, 1.0 and True are equal, and equal keys of a dictionary: what is remembered of one must not serve the others."""
    x, w = np.ones(X, np.float32), np.ones(W, np.float32)
    for argument in ("stride", "dilation", "groups"):
        for valid, refused in ((1, True), (1, 1.0), ((1, 1), (True, 1)), ((1, 1), (1, 1.0)), ([1, 1], [1, True])):
            if argument != "groups" or valid == 1:
                nc.conv2d(x, w, **{argument: valid})
            with pytest.raises(TypeError, match=f"^{argument} must be an integer"):
                nc.conv2d(x, w, **{argument: refused})
    nc.conv2d(x, w, padding=0)
    for refused in (False, 0.0, (0, False), ((0, 0), (0, 0.0))):
        with pytest.raises(TypeError, match=r"^padding must be an integer"):
            nc.conv2d(x, w, padding=refused)


@pytest.mark.parametrize("two", [2, (2, 2), [2, 2], (2,), np.int64(2), np.array([2, 2]), np.uint8(2), (np.int32(2), 2)])
def test_forms_of_integers(two):
    x, w = np.ones(X, np.float32), np.ones(W, np.float32)
    expected = nc.conv2d(x, w, stride=(2, 2), padding=((2, 2), (2, 2)), dilation=(2, 2))
    np.testing.assert_array_equal(nc.conv2d(x, w, None, two, two, two), expected)


@pytest.mark.parametrize("pairs", [((1, 2), (0, 3)), [[1, 2], [0, 3]], [(1, 2), (0, 3)], np.array([[1, 2], [0, 3]])])
def test_forms_of_pairs(pairs):
    x, w = np.ones(X, np.float32), np.ones(W, np.float32)
    expected = nc.conv2d(np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3))), w)
    np.testing.assert_array_equal(nc.conv2d(x, w, padding=pairs), expected)


@pytest.mark.parametrize("huge", [2**62, 2**63, 2**64, 10**30])
def test_huge_integers(huge):
    """Where the stride or the dilation makes no difference, it may be as large as it likes; else the error says why."""
    x, w = np.ones((1, 1, 5, 6), np.float32), np.ones((1, 1, 1, 1), np.float32)
    np.testing.assert_array_equal(nc.conv2d(x, w, dilation=huge), x)
    np.testing.assert_array_equal(nc.conv2d(x, w, stride=huge), x[..., :1, :1])
    with pytest.raises(ValueError, match=r"^dilated kernel height"):
        nc.conv2d(x, np.ones((1, 1, 3, 3), np.float32), dilation=huge)
    with pytest.raises(ValueError, match=r"^output shape"):
        nc.conv2d(x, w, padding=huge)


@pytest.mark.parametrize(
    ("input", "weight", "arguments"),
    [
        ((1, 4, 5, 6), (8, 4, 3, 3), {"stride": 3}),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"stride": (1, 2), "dilation": 2}),
        ((1, 4, 5, 6), (8, 4, 1, 1), {}),
        ((1, 4, 20), (8, 4, 13), {}),
        ((1, 4, 5, 6, 7), (8, 4, 3, 1, 1), {}),
        ((1, 4, 5, 6, 7), (8, 4, 3, 3, 3), {"stride": 3}),
        ((1, 4, 5, 6), (8, 4, 3, 3), {"precision": "exact"}),
    ],
)
def test_refusal_gives_the_reason_that_explain_gives(input, weight, arguments):
    reason = dict(nc.explain(input, weight, **arguments).rejected)["winograd"]
    convolve = {3: nc.conv1d, 4: nc.conv2d, 5: nc.conv3d}[len(weight)]
    with pytest.raises(ValueError, match=f"^algorithm 'winograd' cannot serve this call: {re.escape(reason)}$"):
        convolve(np.zeros(input), np.zeros(weight), **arguments, algorithm="winograd")
