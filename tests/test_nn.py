"""Layers: the same results as plain calls, weights laid out once and again when they are assigned."""

import copy
import pickle

import numpy as np
import pytest
from accuracy import assert_same_bits
from hypothesis import given
from strategies import ALGORITHMS, conv_problems

import numbaconv as nc

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


@pytest.mark.parametrize(
    ("error", "message", "make"),
    [
        (ValueError, "in_channels must be at least 1; got 0", lambda: nc.nn.Conv2d(0, 1, 3)),
        (TypeError, "out_channels must be an integer; got 1.5 of type float", lambda: nc.nn.Conv2d(1, 1.5, 3)),
        (ValueError, "groups 2 must divide in_channels 3 and out_channels 4", lambda: nc.nn.Conv2d(3, 4, 3, groups=2)),
        (ValueError, "kernel_size must be one integer or one for each of 2", lambda: nc.nn.Conv2d(1, 1, (1, 2, 3))),
        (ValueError, "device must be None or 'cpu'; got 'cuda'", lambda: nc.nn.Conv2d(1, 1, 3, device="cuda")),
        (TypeError, "parameters must be float32 or float64; dtype is int8", lambda: nc.nn.Conv2d(1, 1, 3, dtype="i1")),
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
