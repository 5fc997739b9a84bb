"""Beside PyTorch: the same results on a thousand problems, and the same calls refused.

``python tests/test_torch.py`` prints how many problems each algorithm was tried on; so does ``pytest -s``.
"""

import collections
import re

import numpy as np
import pytest
from accuracy import bound
from naive import conv2d_loops
from strategies import ALGORITHMS

import numbaconv as nc
from numbaconv.kernels import geometry as at
from numbaconv.kernels.blocking import BUFFERED

torch = pytest.importorskip("torch")

PROBLEMS = 1000
#: The arguments that torch does not have.
DEFAULTS = {"data_format": "NCHW", "padding_mode": "zeros", "activation": None}


def torch_conv2d(x, w, b=None, **arguments):
    """Torch's result, as an array."""
    arguments = {name: value for name, value in arguments.items() if name not in DEFAULTS}
    tensors = (None if array is None else torch.from_numpy(array) for array in (x, w, b))
    return torch.nn.functional.conv2d(*tensors, **arguments).numpy()


def problem(random, number):
    """(input, weight, bias, arguments): every third one large, every other one what Winograd's algorithm serves."""

    def integer(least, most):
        return int(random.integers(least, most + 1))

    def integers(least, most):
        return integer(least, most), integer(least, most)

    large = number % 3 == 0
    kernel, stride, dilation = (3, 3), (1, 1), (1, 1)
    if number % 2:
        kernel = integers(2, 3) if large else (integer(1, 5), integer(1, 7))
        stride, dilation = (integers(1, 2 if large else 3) for _ in range(2))
    padding = integers(0, 3)
    if large:
        groups, filters = 1, 33 + 2 * integer(0, 7)
        # Products for five passes of direct_channels, which neither 5 nor, the channels, 2 divides.
        channels = 800 // (kernel[0] * kernel[1]) * 2 + 1 + 2 * integer(0, 3)
        channels += 2 * int(channels % 5 == 0)
        output = 2 * integer(2, 5) + 1, 385 + 2 * integer(0, 7)
    else:
        groups, filters, channels = integer(1, 4), integer(1, 6), integer(1, 4)
        output = integer(1, 20), integer(1, 40)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(1, (n - 1) * s + r - 2 * p) for n, s, r, p in zip(output, stride, reach, padding, strict=True)]
    if not large and stride == (1, 1) and all(k % 2 for k in kernel):  # torch warns of "same" with even kernels
        padding = (padding, "valid", "same")[integer(0, 2)]
        size = [max(n, r) for n, r in zip(size, reach, strict=True)]
    x = random.normal(size=(1 if large else integer(1, 3), groups * channels, *size))
    w = random.normal(size=(groups * filters, channels, *kernel))
    bias = random.normal(size=groups * filters) if integer(0, 1) else None
    return x, w, bias, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def exceeds_all_blocks(plan):
    """Whether a problem is larger than every tile and block of its plan, and none divides it."""
    geometry = plan.geometry
    height, width = plan.problem.output_size
    sizes = [(plan.problem.group_filters, at.MR)]
    if plan.candidate == "direct_pixels":
        sizes += [(width, at.NR), (width, at.BLOCK_COLUMNS), (height, at.BLOCK_ROWS)]
    blocks = [(size, geometry[slot]) for size, slot in sizes]
    if plan.algorithm == "winograd":
        high, wide = geometry[at.TILE_H], geometry[at.TILE_W]
        tiles = plan.problem.batch * geometry[at.DOWN] * geometry[at.ACROSS]
        blocks += [(plan.problem.group_channels, BUFFERED), (width, wide), (height, high), (tiles, geometry[at.NR])]
    elif plan.candidate == "direct_channels":
        blocks += [(plan.problem.depth, geometry[at.CHANNEL_BLOCK])]
        rows, columns = geometry[at.BLOCK_ROWS], geometry[at.BLOCK_COLUMNS]
        blocks += [(height, rows) if columns == width else (height * width, rows * columns)]
    else:
        blocks += [(plan.problem.group_channels, geometry[at.CHANNEL_BLOCK])]
    if plan.algorithm == "im2col":
        blocks += [(height * width, geometry[at.NR]), (height * width, geometry[at.NR] * geometry[at.BLOCK])]
    return all(size > block and (block == 1 or size % block) for size, block in blocks)


def compare():
    """Compare all problems with torch; count those of each algorithm, and those larger than its blocks."""
    random = np.random.default_rng(2024)
    tried, larger = collections.Counter(), collections.Counter()
    for number in range(PROBLEMS):
        x, w, b, arguments = problem(random, number)
        expected = torch_conv2d(x, w, b, **arguments)
        for algorithm in ALGORITHMS[: 3 if number % 2 else 4]:
            out = nc.conv2d(x, w, b, **arguments, algorithm=algorithm)
            assert out.shape == expected.shape
            allowed = bound(algorithm, x, w, b, x.dtype, {**DEFAULTS, **arguments}, torch_conv2d)
            assert (np.abs(out - expected) <= allowed).all(), (number, algorithm, x.shape, w.shape, arguments)
            tried[algorithm] += 1
            larger[algorithm] += exceeds_all_blocks(nc.explain(x, w, b, **arguments, algorithm=algorithm))
    for name in ALGORITHMS:
        print(f"{name:15} {tried[name]:4} problems, {larger[name]} of them larger than all tiles and blocks")
    return tried, larger


def test_same_results():
    tried, larger = compare()
    assert tried == {name: PROBLEMS // 2 if name == "winograd" else PROBLEMS for name in ALGORITHMS}
    for algorithm in ALGORITHMS:  # of a third it is tried; some a block or a tile happens to divide
        assert 4 * larger[algorithm] >= tried[algorithm]


X, W = (1, 4, 5, 6), (8, 4, 3, 3)
#: What is wrong with it, as the message says; shapes of input and weight; other arguments.
BAD_CALLS = [
    ("input", (5, 6), W, {}),
    ("input", (1, 1, 4, 5, 6), W, {}),
    ("input", (1, 5, 5, 6), W, {}),
    ("input's width", (1, 4, 5, 0), W, {}),
    ("weight", X, (8, 4, 3), {}),
    ("weight", X, (8, 3, 3, 3), {}),
    ("weight's kernel height", X, (8, 4, 0, 3), {}),
    ("kernel height", X, (8, 4, 6, 3), {}),
    ("kernel width", X, (8, 4, 3, 9), {"padding": 1}),
    ("dilated kernel height", X, W, {"dilation": 3}),
    ("bias", X, W, {"bias": (7,)}),
    ("bias", X, W, {"bias": (8, 1)}),
    ("groups", X, W, {"groups": 0}),
    ("groups", X, W, {"groups": -1}),
    ("weight", X, W, {"groups": 2}),
    ("groups", X, (8, 1, 3, 3), {"groups": 3}),
    ("groups", X, (7, 2, 3, 3), {"groups": 2}),
    ("groups", X, W, {"groups": 1.0}),
    ("groups", X, W, {"groups": None}),
    ("stride", X, W, {"stride": 0}),
    ("stride", X, W, {"stride": -1}),
    ("stride", X, W, {"stride": (1, 0)}),
    ("stride", X, W, {"stride": (1, 1, 1)}),
    ("stride", X, W, {"stride": 1.5}),
    ("stride", X, W, {"stride": "1"}),
    ("dilation", X, W, {"dilation": 0}),
    ("dilation", X, W, {"dilation": (1, 1, 1)}),
    ("dilation", X, W, {"dilation": 1.5}),
    ("padding", X, W, {"padding": -1}),
    ("padding", X, W, {"padding": (1, -1)}),
    ("padding", X, W, {"padding": (1, 1, 1)}),
    ("padding", X, W, {"padding": 0.5}),
    ("padding", X, W, {"padding": "full"}),
    ("padding", X, W, {"padding": "SAME"}),
]


@pytest.mark.parametrize(("named", "input", "weight", "arguments"), BAD_CALLS)
def test_same_calls_refused(named, input, weight, arguments):
    arrays = {"input": np.zeros(input), "weight": np.zeros(weight)}
    if "bias" in arguments:
        arrays["bias"] = np.zeros(arguments["bias"])
    options = {name: value for name, value in arguments.items() if name != "bias"}
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        torch.nn.functional.conv2d(**{name: torch.from_numpy(array) for name, array in arrays.items()}, **options)
    with pytest.raises((TypeError, ValueError), match=rf"\b{re.escape(named)}\b"):
        nc.conv2d(**arrays, **options)


@pytest.mark.parametrize("padding", ["same", ((1, 0), (2, 3)), ((0, 2), (0, 0))])
@pytest.mark.parametrize("stride", [2, (3, 1)])
@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.uint8, np.float32)])
def test_what_torch_refuses_and_we_do_not(padding, stride, dtypes):
    """Padding "same" with a stride or different on each side, and dtypes that differ: checked against the loops."""
    random = np.random.default_rng(0)
    x, w = (random.integers(0, 9, shape).astype(dtype) for shape, dtype in zip((X, W), dtypes, strict=True))
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        torch_conv2d(x, w, stride=stride, padding=padding)
    for algorithm in ("auto", "direct", "im2col"):
        out = nc.conv2d(x, w, stride=stride, padding=padding, algorithm=algorithm)
        assert out.dtype == dtypes[1]
        np.testing.assert_array_equal(out, conv2d_loops(x, w, stride=stride, padding=padding))


if __name__ == "__main__":
    compare()
