"""Beside PyTorch: every function of the family on a thousand random problems, and the same calls refused.

``pytest -s`` prints the counts.
"""

import collections
import itertools
import re

import numpy as np
import pytest
from naive import tap_reference, transposed_reference

import numbaconv as nc

# Numba's threads start before torch's: in the other order two OpenMP runtimes share a process.
nc.conv2d(np.ones((1, 16, 64, 64), np.float32), np.ones((16, 16, 3, 3), np.float32))
torch = pytest.importorskip("torch")

#: Of each kind of dtypes.
PROBLEMS = 1000
KINDS = {"floats": (np.float64, np.complex128), "integers": (np.int64, np.int32, np.int16, np.int8, np.uint8)}


def problem(random, ndim, dtype):
    """(input, weight, bias, arguments, output padding): integers, so that results compare exactly."""

    def integers(least, most):
        return [int(random.integers(least, most + 1)) for _ in range(ndim)]

    dtype = np.dtype(dtype)
    kernel, stride, dilation = integers(1, 4), integers(1, 3), integers(1, 3)
    padding = integers(0, 3)
    extra = [int(random.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True)]
    inputs = integers(1, 40 if ndim == 1 else 9 if ndim == 2 else 5)
    groups, channels, filters, batch = (int(random.integers(1, most)) for most in (4, 5, 6, 4))
    size = [
        (n - 1) * s + d * (k - 1) + 1 + more - 2 * p
        for n, s, d, k, more, p in zip(inputs, stride, dilation, kernel, extra, padding, strict=True)
    ]
    if min(size) < 1:
        return problem(random, ndim, dtype)

    def draw(*shape):
        values = random.integers(0 if dtype.kind == "u" else -8, 9, shape)
        return (values + 1j * random.integers(-8, 9, shape) if dtype.kind == "c" else values).astype(dtype)

    x, y = draw(batch, groups * channels, *size), draw(batch, groups * filters, *inputs)
    w, b = draw(groups * filters, channels, *kernel), draw(groups * channels)
    return x, w, y, b if random.integers(2) else None, (stride, padding, dilation, groups), extra


def torch_or_loops(tried, name, arrays, options):
    """Torch's result, or where it has no kernel for the dtype, that of the loops."""
    tensors = (None if array is None else torch.from_numpy(array) for array in arrays)
    try:
        expected = getattr(torch.nn.functional, name)(*tensors, **options).numpy()
    except (NotImplementedError, RuntimeError) as error:
        if "not implemented" not in str(error) and "Unsupported dtype" not in str(error):
            raise
        tried[f"{name} (loops)"] += 1
        loops = transposed_reference if "transpose" in name else tap_reference
        return loops(*arrays, **options, dtype=arrays[0].dtype)
    tried[name] += 1
    return expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_same_results(ndim, kind):
    random = np.random.default_rng(2024 + ndim)
    tried = collections.Counter()
    for number, dtype in zip(range(PROBLEMS), itertools.cycle(KINDS[kind]), strict=False):
        x, w, y, b, (stride, padding, dilation, groups), extra = problem(random, ndim, dtype)
        what = (number, x.dtype, x.shape, w.shape, stride, padding, dilation, groups, extra)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        for name, arrays, more in (
            (f"conv{ndim}d", (x, w, None), {}),
            (f"conv_transpose{ndim}d", (y, w, b), {"output_padding": extra}),
        ):
            expected = torch_or_loops(tried, name, arrays, {**options, **more})
            out = getattr(nc, name)(*arrays, **options, **more, precision="exact")
            assert out.dtype == x.dtype
            np.testing.assert_array_equal(out, expected, str(what))
        if kind == "integers":
            continue
        leaves = [torch.from_numpy(array).requires_grad_() for array in (x, w)]
        g = getattr(torch.nn.functional, f"conv{ndim}d")(*leaves, None, stride, padding, dilation, groups)
        gradient = torch.from_numpy(np.round(random.normal(size=tuple(g.shape)) * 4).astype(x.dtype))
        by_input, by_weight = torch.autograd.grad(g, leaves, gradient)
        arguments = (stride, padding, dilation, groups)
        out = getattr(nc.grad, f"conv{ndim}d_input")(x.shape, w, gradient.numpy(), *arguments, precision="exact")
        np.testing.assert_array_equal(out, by_input.numpy(), str(what))
        out = getattr(nc.grad, f"conv{ndim}d_weight")(x, w.shape, gradient.numpy(), *arguments, precision="exact")
        np.testing.assert_array_equal(out, by_weight.numpy(), str(what))
        tried["gradients"] += 1
    print("\n", ndim, kind, dict(tried))
    for name in (f"conv{ndim}d", f"conv_transpose{ndim}d"):
        assert tried[name] + tried[f"{name} (loops)"] == PROBLEMS
        assert tried[name] >= (PROBLEMS if kind == "floats" else PROBLEMS // 5)
    assert tried["gradients"] == (PROBLEMS if kind == "floats" else 0)


def test_same_windows():
    """unfold and fold, which torch has for floating-point numbers only."""
    random = np.random.default_rng(2028)
    for number in range(PROBLEMS):
        kernel, stride, dilation = (tuple(map(int, random.integers(1, 5, 2))) for _ in range(3))
        padding = tuple(map(int, random.integers(0, 4, 2)))
        least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
        size = tuple(n + int(random.integers(0, 12)) for n in least)
        arguments = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
        x = random.integers(-8, 9, (*random.integers(1, 4, 2), *size)).astype(np.float64)
        if number % 2:
            x = x + 1j * random.integers(-8, 9, x.shape)
        columns = torch.nn.functional.unfold(torch.from_numpy(x), **arguments)
        np.testing.assert_array_equal(nc.unfold(x, **arguments), columns.numpy(), str(arguments))
        image = torch.nn.functional.fold(columns, size, **arguments).numpy()
        np.testing.assert_array_equal(nc.fold(columns.numpy(), size, **arguments), image, str(arguments))


X, W = (1, 4, 5, 6), (4, 2, 3, 3)
#: What is wrong with it, as the message says; shapes of input and weight; other arguments.
BAD_CALLS = [
    ("input", (5, 6), W, {}),
    ("input", (1, 1, 4, 5, 6), W, {}),
    ("input's height", (1, 4, 0, 6), W, {}),
    ("weight", X, (4, 2, 3), {}),
    ("weight", X, (3, 2, 3, 3), {}),
    ("weight's kernel height", X, (4, 2, 0, 3), {}),
    ("bias", X, W, {"bias": (3,)}),
    ("bias", X, W, {"bias": (2,), "groups": 2}),
    ("groups", X, W, {"groups": 0}),
    ("groups", X, W, {"groups": 3}),
    ("stride", X, W, {"stride": 0}),
    ("stride", X, W, {"stride": (1, 1, 1)}),
    ("stride", X, W, {"stride": 1.5}),
    ("dilation", X, W, {"dilation": 0}),
    ("padding", X, W, {"padding": -1}),
    ("padding", X, W, {"padding": "same"}),
    ("padding", X, W, {"padding": (1, 1, 1)}),
    ("output_padding", X, W, {"output_padding": 1}),
    ("output_padding", X, W, {"output_padding": -1}),
    ("output_padding", X, W, {"output_padding": 2, "stride": 2}),
    ("output height", (1, 4, 1, 6), W, {"padding": 2}),
]


@pytest.mark.parametrize(("named", "input", "weight", "arguments"), BAD_CALLS)
def test_same_calls_refused(named, input, weight, arguments):
    arrays = {"input": np.zeros(input), "weight": np.zeros(weight)}
    if "bias" in arguments:
        arrays["bias"] = np.zeros(arguments["bias"])
    options = {name: value for name, value in arguments.items() if name != "bias"}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        torch.nn.functional.conv_transpose2d(**tensors, **options)
    with pytest.raises((TypeError, ValueError), match=rf"\b{re.escape(named)}\b"):
        nc.conv_transpose2d(**arrays, **options)
