"""Transposed calls and gradients made again: their kernels alone are run, on other arrays, with the same results."""

import numpy as np
import pytest
from naive import transposed_reference

import numbaconv as nc
from numbaconv import execute, interleaving, recipes


@pytest.fixture
def followed(monkeypatch):
    """The recipes that were followed since."""
    found = []
    run = recipes.Recipe.run

    def counting(self, *arguments):
        found.append(self)
        run(self, *arguments)

    monkeypatch.setattr(recipes.Recipe, "run", counting)
    execute.forget_plans()
    return found


def integers(random, shape, dtype=np.float32):
    return random.integers(-8, 9, shape).astype(dtype)


CALLS = {
    "phases": ((2, 6, 9, 12), (6, 5, 4, 4), {"stride": 2, "padding": 1}),
    "folded": ((1, 64, 3, 4), (64, 5, 4, 3), {"stride": (2, 3), "padding": 1}),
    "folded, few filters": ((1, 6, 9, 40), (6, 2, 3, 3), {"padding": 1}),
    "side by side": ((2, 6, 9, 12), (6, 20, 3, 2), {"stride": (3, 2)}),
    "one phase": ((2, 6, 9, 12), (6, 5, 3, 3), {"padding": 1}),
    "groups": ((2, 6, 9, 12), (6, 5, 3, 3), {"padding": 1, "groups": 3}),
    "channels last": ((2, 9, 12, 6), (6, 5, 3, 3), {"padding": 1, "data_format": "NHWC"}),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CALLS, ids=str)
def test_transposed_calls(case, bias, followed):
    shape, weight_shape, options = CALLS[case]
    random = np.random.default_rng(0)
    for number in range(4):
        x, w = integers(random, shape), integers(random, weight_shape)
        b = integers(random, weight_shape[1] * options.get("groups", 1)) if bias else None
        expected = transposed_reference(x, w, b, **options, activation="relu")
        layer = nc.nn.ConvTranspose2d.from_weight(w, b, **options, activation="relu", precision="exact")
        options_here = {**options, "activation": "relu", "precision": "exact"}
        np.testing.assert_array_equal(nc.conv_transpose2d(x, w, b, **options_here), expected)
        np.testing.assert_array_equal(nc.conv_transpose2d(x[0], w, b, **options_here), expected[0])
        out = np.full(expected.shape, np.nan, np.float32)
        assert nc.conv_transpose2d(x, w, b, **options_here, out=out) is out
        np.testing.assert_array_equal(out, expected)
        for _ in range(2):
            np.testing.assert_array_equal(layer(x), expected)
        if number > 0:
            assert followed or "groups" in options  # of several groups' weights, copies are made
            followed.clear()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2), (4, 2)])
def test_gradients(kernel, stride, followed):
    random = np.random.default_rng(0)
    for number in range(3):
        x, w = integers(random, (2, 6, 9, 12), np.float64), integers(random, (8, 6, kernel, kernel), np.float64)
        padding = kernel // 2
        y = nc.conv2d(x, w, stride=stride, padding=padding)
        g = integers(random, y.shape, np.float64)
        total = (y * g).sum()
        assert (nc.grad.conv2d_input(x.shape, w, g, stride, padding, precision="exact") * x).sum() == total
        assert (nc.grad.conv2d_weight(x, w.shape, g, stride, padding, precision="exact") * w).sum() == total
        assert number == 0 or len(followed) == 2 * number


def test_arrays_that_lie_otherwise(followed):
    """A view of other strides is another call; a view that lies elsewhere in its memory is not."""
    random = np.random.default_rng(0)
    memory, w = integers(random, (4, 9, 12)), integers(random, (4, 8, 3, 3))
    whole = np.zeros((3, 4, 9, 12), np.float32)
    for _ in range(2):
        for x in (memory[None], memory[None, :, ::-1], memory[None, ..., ::2], np.asfortranarray(memory)[None]):
            expected = transposed_reference(x, w, None)
            np.testing.assert_array_equal(nc.conv_transpose2d(x, w, precision="exact"), expected)
            np.testing.assert_array_equal(nc.conv_transpose2d(x, w[:, ::-1], precision="exact"), expected[:, ::-1])
    assert len(followed) == 8
    for place in range(3):
        whole[place] = integers(random, whole.shape[1:])
        np.testing.assert_array_equal(
            nc.conv_transpose2d(whole[place : place + 1], w, precision="exact"),
            transposed_reference(whole[place : place + 1], w, None),
        )


def test_one_array_in_two_places(followed):
    """What is a part of both the input and the weight is not said of a call whose arrays are two."""
    x = integers(np.random.default_rng(0), (1, 1, 3, 3))
    expected = transposed_reference(x, x, None)
    for arrays in ((x, x), (x, x), (x, x.copy()), (x.copy(), x)):
        np.testing.assert_array_equal(nc.conv_transpose2d(*arrays), expected)
        np.testing.assert_array_equal(nc.conv_transpose2d(*arrays[::-1]), expected)
    other = integers(np.random.default_rng(1), (1, 1, 3, 3))
    np.testing.assert_array_equal(nc.conv_transpose2d(x, other), transposed_reference(x, other, None))
    assert followed


def test_refused_again():
    x, w = np.ones((1, 2, 3, 3), np.float32), np.ones((2, 3, 3, 3), np.float32)
    for _ in range(3):
        assert nc.conv_transpose2d(x, w).shape == (1, 3, 5, 5)
        for value, error in ((True, TypeError), (1.0, TypeError), ([1.0, 1], TypeError), (0, ValueError)):
            with pytest.raises(error):
                nc.conv_transpose2d(x, w, stride=value)
        memory = np.ones(200, np.float32)
        weight = memory[:54].reshape(w.shape)
        with pytest.raises(ValueError, match="out overlaps weight"):
            nc.conv_transpose2d(x, weight, out=memory[10:85].reshape(1, 3, 5, 5))
        with pytest.raises(TypeError, match="out must be a NumPy array"):
            nc.conv_transpose2d(x, w, out=[1])
        with pytest.raises(ValueError, match="precision must be one of"):
            nc.conv_transpose2d(x, w, precision=["exact"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (2, 16), (9, 37)])
def test_windows_side_by_side(dtype, size, monkeypatch):
    """They are stored woven together, whatever the strides of the arrays before the last dimension."""
    done = []
    woven = interleaving.woven
    monkeypatch.setattr("numbaconv.input_adjoint.woven", lambda *arguments: done.append(woven(*arguments)) or done[-1])
    execute.forget_plans()
    random = np.random.default_rng(0)
    for channels, filters, kernel in ((3, 8, (2, 2)), (40, 17, (3, 2)), (5, 35, (1, 2)), (600, 9, (2, 2))):
        x, w = integers(random, (2, channels, *size), dtype), integers(random, (channels, filters, *kernel), dtype)
        b = integers(random, filters, dtype)
        expected = transposed_reference(x, w, b, stride=kernel)
        out = np.zeros(expected[:, :, ::-1].shape, dtype)[::-1, :, ::-1]
        nc.conv_transpose2d(x, w, b, stride=kernel, out=out)
        np.testing.assert_array_equal(out, expected)
        there = x[::-1].copy()[::-1]
        np.testing.assert_array_equal(nc.conv_transpose2d(there, w, b, stride=kernel, algorithm="direct"), expected)
    assert done
    assert all(done[:2])
