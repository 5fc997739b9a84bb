"""Layers: the same results as plain calls, weights laid out once and again when they are assigned."""

import copy
import pickle

import numpy as np
import pytest
from accuracy import assert_same_bits
from hypothesis import given
from strategies import ALGORITHMS, conv_problems, transposed_problems

import numbaconv as nc

TRANSPOSED = {1: nc.nn.ConvTranspose1d, 2: nc.nn.ConvTranspose2d, 3: nc.nn.ConvTranspose3d}
LAYERS = {1: nc.nn.Conv1d, 2: nc.nn.Conv2d, 3: nc.nn.Conv3d}


@given(conv_problems(sizes=("small",)))
def test_layers_equal_calls(case):
    x, w, b = case.arrays()
    layer = LAYERS[w.ndim - 2].from_weight(w, b, **case.arguments, algorithm="direct")
    expected = case.convolve(x, w, b, algorithm="direct")
    for _ in range(2):  # packing, then packed
        assert_same_bits(layer(x), expected)
    out = np.full_like(expected, np.nan)
    assert layer(x, out=out) is out
    assert_same_bits(out, expected)


@given(transposed_problems())
def test_transposed_layers_equal_calls(case):
    """Also for inputs of other sizes, whose phases differ, with weights that were laid out before."""
    x, w, b = case.arrays()
    layer = TRANSPOSED[w.ndim - 2].from_weight(w, b, **case.arguments)
    last = case.arguments["data_format"].endswith("C")
    small = x[:, :1] if last else x[:, :, :1]
    for images in (x, np.concatenate([x, x], 1 if last else 2), small, x):
        try:
            expected = case.convolve(images, w, b)
        except ValueError:  # less than the padding takes away
            continue
        for _ in range(2):
            np.testing.assert_allclose(layer(images), expected, rtol=1e-4, atol=1e-4)
    layer.weight = -w
    np.testing.assert_allclose(layer(x), case.convolve(x, -w, b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_assigning_repacks(algorithm):
    random = np.random.default_rng(0)
    x, w, other = (random.normal(size=size).astype(np.float32) for size in ((2, 3, 9, 40), (5, 3, 3, 3), (5, 3, 3, 3)))
    layer = nc.Conv2d.from_weight(w, algorithm=algorithm)
    layer(x)
    layer.weight = other
    assert_same_bits(layer(x), nc.conv2d(x, other, algorithm=algorithm))
    layer.bias = other[:, 0, 0, 0]
    assert_same_bits(layer(x), nc.conv2d(x, other, other[:, 0, 0, 0], algorithm=algorithm))
    layer.bias = None
    assert_same_bits(layer(x), nc.conv2d(x, other, algorithm=algorithm))


def test_parameters_are_copies_and_read_only():
    w, b = np.ones((2, 1, 3, 3), np.float32), np.ones(2, np.float32)
    layer = nc.Conv2d.from_weight(w, b)
    w[:], b[:] = 5, 5
    assert (layer.weight == 1).all()
    assert (layer.bias == 1).all()
    for parameter in (layer.weight, layer.bias):
        with pytest.raises(ValueError, match="read-only"):
            parameter[...] = 0


def test_initial_parameters_are_torchs():
    layer = nc.nn.Conv2d(6, 400, (3, 5), groups=2, rng=1)
    bound = 1 / np.sqrt(3 * 3 * 5)
    assert layer.weight.shape == (400, 3, 3, 5)
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    for parameter in (layer.weight, layer.bias):
        assert np.abs(parameter).max() <= bound
        np.testing.assert_allclose(parameter.std(), bound / np.sqrt(3), rtol=0.1)
    assert_same_bits(nc.nn.Conv2d(6, 400, (3, 5), groups=2, rng=1).weight, layer.weight)
    assert nc.nn.Conv1d(1, 1, 3, bias=False, dtype=np.float64).weight.dtype == np.float64
    assert nc.nn.Conv1d(1, 1, 3, bias=False).bias is None


def test_copies_and_repr():
    layer = nc.nn.Conv2d(2, 4, 3, stride=2, padding="same", bias=False, activation="relu", rng=0)
    assert repr(layer) == ("Conv2d(2, 4, kernel_size=(3, 3), stride=2, padding='same', activation='relu', bias=False)")
    x = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301 (our own pickle)
        assert_same_bits(twin(x), layer(x))


def test_output_size():
    layer = nc.nn.ConvTranspose2d(1, 1, 3, stride=(2, 3), padding=1, rng=0)
    x = np.ones((1, 1, 4, 5), np.float32)
    assert layer(x).shape == (1, 1, 7, 13)
    for size in ((7, 13), (8, 15)):
        assert layer(x, size).shape == (1, 1, *size)
        assert layer(x[0], output_size=size).shape == (1, *size)
    with pytest.raises(ValueError, match=r"^output_size must lie between \(7, 13\) and \(8, 15\); got \(9, 13\)$"):
        layer(x, (9, 13))


def every_layer():
    for ndim in (1, 2, 3):
        yield LAYERS[ndim](4, 6, 3, stride=2, padding=1, dilation=1, groups=2, rng=ndim)
        yield TRANSPOSED[ndim](4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2, rng=ndim)


@pytest.mark.parametrize("layer", [*every_layer()], ids=repr)
def test_copies_compute_the_same(layer):
    x = np.random.default_rng(0).normal(size=(2, 4, *[9] * layer.ndim)).astype(np.float32)
    expected = layer(x)
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301
        assert repr(twin) == repr(layer)
        assert_same_bits(twin(x), expected)
        assert not twin.weight.flags.writeable
        assert not twin.bias.flags.writeable
        twin.weight = np.zeros_like(twin.weight)
        assert_same_bits(layer(x), expected)


@pytest.mark.parametrize("layer", [*every_layer()], ids=repr)
def test_state_dict(layer):
    other = copy.deepcopy(layer)
    other.weight, other.bias = np.zeros_like(layer.weight), np.zeros_like(layer.bias)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias"]
    assert other.load_state_dict(state) == ([], [])
    state["weight"][:] = 7
    for name in ("weight", "bias"):
        assert_same_bits(getattr(other, name), getattr(layer, name))
    wide = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    other.load_state_dict(wide)
    assert other.weight.dtype == np.float32
    for bad, error, message in (
        ({"weight": layer.weight}, ValueError, r"missing: \['bias'\], unexpected: \[\]"),
        ({**wide, "scale": 1}, ValueError, r"missing: \[\], unexpected: \['scale'\]"),
        ({**wide, "bias": np.ones(5)}, ValueError, r"bias must have shape \(6,\); got \(5,\)"),
        ({**wide, "bias": np.ones(6, complex)}, TypeError, "bias of dtype complex128 cannot be cast"),
        ([1], TypeError, "state_dict must map names to arrays; got list"),
    ):
        with pytest.raises(error, match=message):
            other.load_state_dict(bad)
        assert_same_bits(other.weight, layer.weight)
    assert other.load_state_dict({"bias": np.ones(6), "x": 1}, strict=False) == (["weight"], ["x"])
    assert (other.bias == 1).all()


@pytest.mark.parametrize("layer", [*every_layer()], ids=repr)
def test_torch_layers_exchange_parameters(layer):
    """The same constructor arguments, the same shapes, and each other's state."""
    torch = pytest.importorskip("torch")
    options = {"stride": 2, "padding": 1, "groups": 2}
    if isinstance(layer, tuple(TRANSPOSED.values())):
        options |= {"output_padding": 1, "dilation": 2}
    theirs = getattr(torch.nn, type(layer).__name__)(4, 6, 3, **options)
    assert {name: tuple(value.shape) for name, value in theirs.state_dict().items()} == {
        name: value.shape for name, value in layer.state_dict().items()
    }
    layer.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, 4, *[9] * layer.ndim)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(layer(x), theirs(torch.from_numpy(x)).numpy(), rtol=1e-4, atol=1e-5)
    layer.weight, layer.bias = theirs.weight, theirs.bias
    np.testing.assert_array_equal(layer.weight, theirs.weight.detach().numpy())


@pytest.mark.parametrize(
    ("error", "message", "make"),
    [
        (ValueError, "in_channels must be at least 1; got 0", lambda: nc.nn.Conv2d(0, 1, 3)),
        (TypeError, "out_channels must be an integer; got 1.5 of type float", lambda: nc.nn.Conv2d(1, 1.5, 3)),
        (ValueError, "groups 2 must divide in_channels 3 and out_channels 4", lambda: nc.nn.Conv2d(3, 4, 3, groups=2)),
        (ValueError, "kernel_size must be one integer or one for each of 2", lambda: nc.nn.Conv2d(1, 1, (1, 2, 3))),
        (ValueError, "device must be None or 'cpu'; got 'cuda'", lambda: nc.nn.Conv2d(1, 1, 3, device="cuda")),
        (
            TypeError,
            "parameters must be floating-point or complex numbers; dtype is int8",
            lambda: nc.nn.Conv2d(1, 1, 3, dtype="i1"),
        ),
        (ValueError, "padding_mode must be one of 'zeros'", lambda: nc.nn.Conv2d(1, 1, 3, padding_mode="mirror")),
        (
            ValueError,
            "padding_mode must be 'zeros' for ConvTranspose1d; got 'reflect'",
            lambda: nc.nn.ConvTranspose1d(1, 1, 3, padding_mode="reflect"),
        ),
        (
            ValueError,
            r"bias must have shape \(2,\)",
            lambda: nc.nn.ConvTranspose1d.from_weight(np.ones((1, 2, 3)), np.ones(1)),
        ),
        (ValueError, "weight must have 4 dimensions for Conv2d", lambda: nc.Conv2d.from_weight(np.ones((1, 1, 3)))),
        (ValueError, "bias must have shape", lambda: nc.Conv2d.from_weight(np.ones((1, 1, 3, 3)), np.ones(2))),
    ],
)
def test_refused(error, message, make):
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_weight_keeps_its_shape():
    layer = nc.nn.Conv1d(1, 1, 3)
    with pytest.raises(ValueError, match="weight must keep its shape"):
        layer.weight = np.ones((1, 1, 4), np.float32)


def test_packed_weights_depend_on_the_input():
    """Of a single column the stride does not matter, and taps are summed in another order than of several."""
    random = np.random.default_rng(0)
    x, w = random.integers(-8, 9, (1, 8, 9, 9)), random.integers(-8, 9, (8, 1, 3, 3))
    layer = nc.nn.Conv2d.from_weight(w.astype(np.float32), stride=3, groups=8, algorithm="direct_channels")
    for width in (9, 3, 9, 4):
        image = np.ascontiguousarray(x[..., :width], np.float32)
        expected = nc.conv2d(image, w.astype(np.float32), stride=3, groups=8, algorithm="im2col")
        np.testing.assert_array_equal(layer(image), expected)


def test_assigning_while_another_thread_calls():
    """A call uses the old weights or the new ones; the layer keeps none laid out that are not its own."""

    class Interrupted(nc.Conv2d):
        """Another thread's assignment comes as soon as the weight is read."""

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name in ("_weight", "_parameters") and armed:
                armed.clear()
                self.weight = np.ones((8, 8, 3, 3), np.float32)
            return value

    armed = []
    x = np.ones((1, 8, 12, 12), np.float32)
    layer = Interrupted.from_weight(np.zeros((8, 8, 3, 3), np.float32))
    armed.append(True)
    np.testing.assert_array_equal(layer(x), np.zeros((1, 8, 10, 10), np.float32))
    for _ in range(3):
        np.testing.assert_array_equal(layer(x), np.full((1, 8, 10, 10), 72, np.float32))
