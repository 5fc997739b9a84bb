# ruff: noqa: E501 (a table with whole messages)
"""Transposed convolutions and gradients: against references, as adjoints, and by differences."""

import numpy as np
import pytest
from accuracy import amplification, assert_same_bits
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from naive import scipy_reference, transposed_reference, weight_gradient_reference
from strategies import (
    DATA_FORMATS,
    LAYOUTS,
    SUMMING,
    TRANSPOSED,
    conv_problems,
    layouts,
    out_layouts,
    owner,
    transposed_problems,
)

import numbaconv as nc
from numbaconv import execute, input_adjoint
from numbaconv.kernels.winograd_simd import Tile

INPUT_GRADIENTS = {1: nc.grad.conv1d_input, 2: nc.grad.conv2d_input, 3: nc.grad.conv3d_input}
WEIGHT_GRADIENTS = {1: nc.grad.conv1d_weight, 2: nc.grad.conv2d_weight, 3: nc.grad.conv3d_weight}
every_summing_algorithm = pytest.mark.parametrize("algorithm", SUMMING)

#: Convolutions whose gradients are asked for: no activation, zeros around the input.
gradient_problems = conv_problems(sizes=("small", "small", "broad")).map(
    lambda case: case.without("bias", "activation", "padding_mode")
)


def allowed_error(x, w, bias, arguments):
    """What rounding and Winograd's transforms can do to an output, and more: c * eps * max|x| * sum|w|.

    The sum is over all taps, also of outputs that few of them reach: what a tile holds counts.
    """
    groups, ndim = arguments["groups"], w.ndim - 2
    total = np.abs(w).reshape(groups, -1, w.shape[1], np.prod(w.shape[2:])).sum((1, 3), dtype=np.float64).reshape(-1)
    total *= np.abs(x).max(initial=0)
    if bias is not None:
        total += np.abs(bias)
    roundings = max(amplification(Tile(4, 3)) ** 2, w.shape[0] * np.prod(w.shape[2:]) + 2)
    allowed = roundings * np.finfo(np.result_type(x, w)).eps * total
    return allowed if arguments["data_format"].endswith("C") else allowed.reshape(-1, *[1] * ndim)


# -------------------------------------------------------------------------------- transposed convolution


@pytest.fixture(params=["large results apart", "all results apart"])
def apart(request, monkeypatch):
    """Whether small results, too, are computed in phases that are woven together, an image or two at a time."""
    execute.forget_plans()
    if request.param.startswith("all"):
        monkeypatch.setattr(input_adjoint, "LEAST_APART", 0)
        monkeypatch.setattr(input_adjoint, "APART_BYTES", 2000)


of_both_kinds = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@every_summing_algorithm
@pytest.mark.usefixtures("apart")
@of_both_kinds
@given(case=transposed_problems())
def test_integers_are_exact(algorithm, case):
    x, w, b = case.arrays(integers=True)
    expected = transposed_reference(x, w, b, **case.arguments)
    out = np.full(expected.shape, np.nan, case.dtype)
    assert case.convolve(x, w, b, algorithm=algorithm, out=out) is out
    np.testing.assert_array_equal(out, expected)


@given(case=transposed_problems())
def test_normal_numbers(case):
    x, w, b = case.arrays()
    out = case.convolve(x, w, b)
    assert out.dtype == case.dtype
    expected = transposed_reference(x, w, b, **case.arguments)
    assert out.shape == expected.shape
    assert (np.abs(out - expected) <= allowed_error(x, w, b, case.arguments)).all()


@pytest.mark.usefixtures("apart")
@of_both_kinds
@given(case=transposed_problems(), order=st.tuples(layouts, layouts, layouts), layout=out_layouts)
def test_layouts(case, order, layout):
    """Every layout gives the same result; no input is changed, nor the memory around any array.

    Of small integers, whose sums are exact: phases may be computed together or not, and so in another order, and one
    way by Winograd's transforms, which round, if they were allowed.
    """
    exact = [None if array is None else np.rint(2 * array) for array in case.arrays()]
    arrays = [None if array is None else LAYOUTS[name](array) for name, array in zip(order, exact, strict=True)]
    contiguous = [None if array is None else np.array(array, case.dtype, order="C") for array in arrays]
    expected = case.convolve(*contiguous, precision="exact")
    out = LAYOUTS[layout](np.full_like(expected, np.nan))
    before = [None if array is None else owner(array).tobytes() for array in (*arrays, out)]
    assert case.convolve(*arrays, precision="exact", out=out) is out
    assert_same_bits(np.array(out, case.dtype, order="C"), expected)
    out[...] = np.nan
    assert [None if array is None else owner(array).tobytes() for array in (*arrays, out)] == before


@given(case=transposed_problems())
def test_unbatched(case):
    x, w, b = case.arrays()
    assume(x.shape[0] > 0)
    expected = case.convolve(x[:1], w, b)
    assert_same_bits(case.convolve(x[0], w, b), expected[0])
    out = np.full_like(expected[0], np.nan)
    assert case.convolve(x[0], w, b, out=out) is out
    assert_same_bits(out, expected[0])


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kernel", [(2, 2), (4, 2), (3, 3), (1, 2), (2, 1), (5, 4)])
@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (2, 1), (3, 3), (2, 4)])
def test_results_woven_together(groups, kernel, stride):
    """Large enough without further ado; phases that read the same cells share a convolution."""
    random = np.random.default_rng(0)
    x = random.integers(-8, 9, (3, 2 * groups, 23, 37)).astype(np.float32)
    w = random.integers(-8, 9, (2 * groups, 5, *kernel)).astype(np.float32)
    b = random.integers(-8, 9, 5 * groups).astype(np.float32)
    for padding in (0, ((0, 1), (1, 0))):
        arguments = {"stride": stride, "padding": padding, "groups": groups, "activation": "relu"}
        expected = transposed_reference(x, w, b, **arguments)
        layer = nc.nn.ConvTranspose2d.from_weight(w, b, **arguments, precision="exact")
        out = np.full(expected.shape, np.nan, np.float32)
        np.testing.assert_array_equal(nc.conv_transpose2d(x, w, b, **arguments, precision="exact", out=out), expected)
        for images in (x, x[:1, :, :9, :9], x):  # a layer's weights are arranged for both ways
            reference = transposed_reference(images, w, b, **arguments)
            np.testing.assert_array_equal(layer(images), reference)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_sizes_of_zero(ndim, last, activation):
    """No image or no filter: an empty result. No channel: the bias."""
    bias = np.array([-1.5, 0, np.nan, 2.5], np.float32)

    def call(batch, channels, filters, bias):
        shape = (batch, *[3] * ndim, channels) if last else (batch, channels, *[3] * ndim)
        weight = np.ones((channels, filters, *[2] * ndim), np.float32)
        return TRANSPOSED[ndim](
            np.ones(shape, np.float32), weight, bias, 2, data_format=DATA_FORMATS[ndim][last], activation=activation
        )

    assert call(0, 2, 4, bias).shape == ((0, *[6] * ndim, 4) if last else (0, 4, *[6] * ndim))
    assert call(2, 2, 0, None).size == 0
    assert_same_bits(call(2, 0, 4, None), np.zeros((2, *[6] * ndim, 4) if last else (2, 4, *[6] * ndim), np.float32))
    pixels = np.moveaxis(call(2, 0, 4, bias), -1 if last else 1, -1).reshape(-1, 4)
    np.testing.assert_array_equal(
        pixels, np.broadcast_to(np.where(bias < 0, 0, bias) if activation else bias, pixels.shape)
    )


def test_phases_without_taps():
    """A stride larger than the kernel, or one that the dilation shares a factor with, leaves cells that hold the bias."""
    x, w = np.full((1, 1, 2), 3.0), np.ones((1, 1, 2))
    np.testing.assert_array_equal(nc.conv_transpose1d(x, w, np.array([7.0]), 4)[0, 0], [10, 10, 7, 7, 10, 10])
    np.testing.assert_array_equal(
        nc.conv_transpose1d(x, w, np.array([7.0]), 2, dilation=2, output_padding=1)[0, 0], [10, 7, 13, 7, 10, 7]
    )


@pytest.mark.parametrize("huge", [2**62, 10**30])
def test_huge_strides_and_dilations(huge):
    """Where they make no difference they may be as large as they like."""
    x, w = np.full((1, 1, 1, 3), 2.0), np.ones((1, 1, 3, 1))
    np.testing.assert_array_equal(
        nc.conv_transpose2d(x, w, stride=(huge, 1), dilation=(1, huge)), np.full((1, 1, 3, 3), 2.0)
    )
    with pytest.raises(ValueError, match="at most"):
        nc.conv_transpose2d(np.ones((1, 1, 1, 3)), w, stride=huge)


def test_forced_algorithm_serves_all_phases_or_none():
    x, w = np.ones((1, 4, 8, 8), np.float32), np.ones((4, 4, 3, 3), np.float32)
    out = np.full((1, 4, 17, 17), 7, np.float32)  # one phase has a single tap
    with pytest.raises(ValueError, match="algorithm 'winograd' cannot serve this call"):
        nc.conv_transpose2d(x, w, stride=2, algorithm="winograd", out=out)
    assert (out == 7).all()
    np.testing.assert_allclose(nc.conv_transpose2d(x, w, algorithm="winograd"), transposed_reference(x, w), rtol=1e-5)
    five = np.ones((4, 4, 5, 5), np.float32)
    found = nc.conv_transpose2d(x, five, stride=2, algorithm="winograd")
    np.testing.assert_allclose(found, transposed_reference(x, five, stride=2), rtol=1e-5)


# ---------------------------------------------------------------------------------------------- gradients


@every_summing_algorithm
@given(data=st.data())
def test_input_gradient(algorithm, data):
    """<conv(x), g> = <x, conv_input(g)>, exactly on integers, and the differences of that in every cell of x."""
    case = data.draw(gradient_problems)
    x, w, _ = case.arrays(integers=True)
    y = scipy_reference(x, w, **case.arguments)
    g = np.random.default_rng(case.seed + 1).integers(-8, 9, y.shape).astype(case.dtype)
    gradient = INPUT_GRADIENTS[w.ndim - 2](x.shape, w, g, **case.gradient_arguments, algorithm=algorithm)
    assert (gradient.shape, gradient.dtype) == (x.shape, case.dtype)
    assert np.vdot(y, g) == np.vdot(x.astype(float), gradient.astype(float))
    if x.size == 0:
        return
    cell = np.unravel_index(data.draw(st.integers(0, x.size - 1)), x.shape)
    moved = x.copy()
    moved[cell] += 1
    assert np.vdot(scipy_reference(moved, w, **case.arguments) - y, g) == gradient[cell]


@every_summing_algorithm
@given(data=st.data())
def test_weight_gradient(algorithm, data):
    """<conv(x), g> = <w, conv_weight(g)>, exactly on integers, and the differences of that in every tap of w."""
    case = data.draw(gradient_problems)
    x, w, _ = case.arrays(integers=True)
    y = scipy_reference(x, w, **case.arguments)
    g = np.random.default_rng(case.seed + 1).integers(-8, 9, y.shape).astype(case.dtype)
    gradient = WEIGHT_GRADIENTS[w.ndim - 2](x, w.shape, g, **case.gradient_arguments, algorithm=algorithm)
    assert (gradient.shape, gradient.dtype) == (w.shape, case.dtype)
    assert np.vdot(y, g) == np.vdot(w.astype(float), gradient.astype(float))
    np.testing.assert_array_equal(gradient, weight_gradient_reference(x, w.shape, g, **case.gradient_arguments))
    tap = np.unravel_index(data.draw(st.integers(0, w.size - 1)), w.shape)
    moved = w.copy()
    moved[tap] += 1
    assert np.vdot(scipy_reference(x, moved, **case.arguments) - y, g) == gradient[tap]


@given(case=gradient_problems, layout=out_layouts, order=st.tuples(layouts, layouts))
def test_gradients_of_any_layout(case, layout, order):
    x, w, _ = case.arrays(integers=True)
    y = case.convolve(x, w, precision="exact")
    ndim = w.ndim - 2
    for function, first, shape in ((INPUT_GRADIENTS[ndim], w, x.shape), (WEIGHT_GRADIENTS[ndim], x, w.shape)):
        arrays = [LAYOUTS[name](array) for name, array in zip(order, (first, y), strict=True)]
        plain = [np.array(array, case.dtype, order="C") for array in arrays]
        out = LAYOUTS[layout](np.full(shape, np.nan, case.dtype))

        def call(given, g, function=function, shape=shape, **options):
            positions = (shape, given, g) if function is INPUT_GRADIENTS[given.ndim - 2] else (given, shape, g)
            return function(*positions, **case.gradient_arguments, precision="exact", **options)

        expected = call(*plain)
        before = owner(out).tobytes()
        assert call(*arrays, out=out) is out
        assert_same_bits(np.array(out, case.dtype, order="C"), expected)
        out[...] = np.nan
        assert owner(out).tobytes() == before


def test_unbatched_gradients():
    random = np.random.default_rng(0)
    x, w = random.normal(size=(3, 9, 8)), random.normal(size=(4, 3, 3, 2))
    g = nc.conv2d(x, w, stride=2)
    assert_same_bits(nc.grad.conv2d_input(x.shape, w, g, 2), nc.grad.conv2d_input((1, *x.shape), w, g[None], 2)[0])
    assert_same_bits(nc.grad.conv2d_weight(x, w.shape, g, 2), nc.grad.conv2d_weight(x[None], w.shape, g[None], 2))


def test_gradients_where_no_tap_meets_the_input():
    """All outputs lie in the padding before the input."""
    g = np.ones((1, 1, 1))
    assert nc.grad.conv1d_weight(np.ones((1, 1, 2)), (1, 1, 3), g, 9, ((4, 0),)).tolist() == [[[0, 0, 0]]]
    assert nc.grad.conv1d_input((1, 1, 2), np.ones((1, 1, 3)), g, 9, ((4, 0),)).tolist() == [[[0, 0]]]


# ------------------------------------------------------------------------------------------------ refusals

X, W = np.zeros((1, 4, 5, 6), np.float32), np.zeros((4, 2, 3, 3), np.float32)
MESSAGES = [
    ((X[0, 0], W), {}, ValueError, "input must have 4 dimensions, or 3 without a batch, for conv_transpose2d; got 2 (shape (5, 6))"),
    ((X, W[0]), {}, ValueError, "weight must have 4 dimensions (channels, filters // groups, height, width) for conv_transpose2d; got 3 (shape (2, 3, 3))"),
    ((X, W[:3]), {}, ValueError, "weight has 3 channels but input has 4 (input shape (1, 4, 5, 6), weight shape (3, 2, 3, 3))"),
    ((X, W), {"groups": 3}, ValueError, "groups 3 does not divide the input's 4 channels (input shape (1, 4, 5, 6))"),
    ((X, W, np.zeros(3)), {"groups": 2}, ValueError, "bias must have shape (4,), one value for each filter (= 2 * 2 group(s)); got (3,)"),
    ((X, W[..., :0]), {}, ValueError, "weight's kernel width must be at least 1; got 0 (weight shape (4, 2, 3, 0))"),
    ((X[:, :, :0], W), {}, ValueError, "input's height must be at least 1; got 0 (input shape (1, 4, 0, 6))"),
    ((X, W), {"padding_mode": "reflect"}, ValueError, "padding_mode must be 'zeros' for conv_transpose2d; got 'reflect'"),
    ((X, W), {"padding": "same"}, TypeError, "padding must be an integer, one for each dimension or (before, after) pairs for conv_transpose2d; got 'same'"),
    ((X, W), {"output_padding": 1}, ValueError, "output_padding 1 must be smaller than stride 1 or dilation 1 of the height"),
    ((X, W), {"output_padding": -1}, ValueError, "output_padding must be at least 0; got -1"),
    ((X, W), {"padding": ((0, 0), (8, 0))}, ValueError, "output width must be at least 1; got 0 (= (6 - 1) * 1 + 1 * (3 - 1) + 1 + 0 - 8 - 0)"),
    ((X, W), {"activation": "gelu"}, ValueError, "activation must be None or 'relu'; got 'gelu'"),
    ((X, W), {"algorithm": "fft"}, ValueError, "algorithm must be one of 'auto', 'direct', 'im2col', 'winograd', 'direct_channels', 'direct_pixels'; got 'fft'"),
    ((X, W), {"out": np.zeros((1, 2, 7, 7), np.float32)}, ValueError, "out must have the result's shape (1, 2, 7, 8); got (1, 2, 7, 7)"),
]  # fmt: skip


@pytest.mark.parametrize(("arrays", "options", "error", "message"), MESSAGES, ids=[case[-1][:50] for case in MESSAGES])
def test_transposed_refuses(arrays, options, error, message):
    with pytest.raises(error) as raised:
        nc.conv_transpose2d(*arrays, **options)
    assert str(raised.value) == message


def test_out_that_overlaps():
    memory = np.zeros(4 * 4 * 4, np.float32)
    x = memory[:16].reshape(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"^out overlaps input in memory$"):
        nc.conv_transpose2d(x, np.ones((1, 1, 1, 1), np.float32), out=memory[8:24].reshape(1, 1, 4, 4))


def test_gradients_refuse():
    g = np.zeros((1, 2, 3, 4), np.float32)
    w = np.zeros((2, 4, 3, 3), np.float32)
    for call in (
        lambda **options: nc.grad.conv2d_input(X.shape, w, g[..., :3], **options),
        lambda **options: nc.grad.conv2d_weight(X, w.shape, g[..., :3], **options),
    ):
        with pytest.raises(ValueError, match=r"^grad_output must have the convolution's output shape \(1, 2, 3, 4\)"):
            call()
        with pytest.raises(ValueError, match=r"^precision must be one of"):
            call(precision="high")
    with pytest.raises(TypeError, match=r"^input_size must be a shape, a sequence of integers; got 5 of type int"):
        nc.grad.conv2d_input(5, w, g)
    with pytest.raises(TypeError, match=r"^weight_size must be an integer; got 1.5"):
        nc.grad.conv2d_weight(X, (2, 4, 3, 1.5), g)
    with pytest.raises(ValueError, match=r"^kernel height 7 exceeds padded input height 5"):
        nc.grad.conv2d_weight(X, (2, 4, 7, 3), g)
    with pytest.raises(ValueError, match=r"^weight must have 4 dimensions"):
        nc.grad.conv2d_weight(X, (2, 4, 7), g)


def test_windows_side_by_side_of_several_small_images():
    """Where the product behind them takes pixels of several images at once, they are not stored woven."""
    random = np.random.default_rng(0)
    x = random.integers(-4, 5, (22, 33, 2, 2)).astype(np.float32)
    w = random.integers(-4, 5, (33, 13, 2, 2)).astype(np.float32)
    expected = np.einsum("nchw,cfij->nfhiwj", x, w).reshape(22, 13, 4, 4)
    np.testing.assert_array_equal(nc.conv_transpose2d(x, w, stride=2, algorithm="direct_channels"), expected)
