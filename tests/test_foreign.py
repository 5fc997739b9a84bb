"""Arrays of other libraries: the same kind out, without copies, and torch's gradients."""

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import DATA_FORMATS, conv_problems, transposed_problems

import numbaconv as nc

# Numba's threads start before torch's: in the other order two OpenMP runtimes share a process.
nc.conv2d(np.ones((1, 16, 64, 64), np.float32), np.ones((16, 16, 3, 3), np.float32))
torch = pytest.importorskip("torch")

X = np.random.default_rng(0).normal(size=(2, 3, 9, 8)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(4, 3, 3, 2)).astype(np.float32)
B = np.random.default_rng(2).normal(size=4).astype(np.float32)


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


# -------------------------------------------------------------------------------------------------- kinds


def test_torch_in_torch_out():
    x, w, b = tensors(X, W, B)
    y = nc.conv2d(X, W, B)
    g = torch.from_numpy(y)
    transposed = W.swapaxes(0, 1).copy()
    gemm = nc.conv2D_gemm(X.transpose(0, 2, 3, 1), W.transpose(2, 3, 1, 0))
    for out, expected in (
        (nc.conv2d(x, w, b), y),
        (nc.conv2d(x, W, B), y),
        (nc.conv2d(X, w, B), y),
        (nc.conv2d(x.to(torch.float64), w, dtype=torch.float32), nc.conv2d(X, W)),
        (nc.conv_transpose2d(x, torch.from_numpy(transposed)), nc.conv_transpose2d(X, transposed)),
        (nc.grad.conv2d_input(x.shape, w, g), nc.grad.conv2d_input(X.shape, W, y)),
        (nc.grad.conv2d_weight(x, w.shape, g), nc.grad.conv2d_weight(X, W.shape, y)),
        (nc.unfold(x, 3), nc.unfold(X, 3)),
        (nc.fold(nc.unfold(x, 3), (9, 8), 3), nc.fold(nc.unfold(X, 3), (9, 8), 3)),
        (nc.nn.Conv2d.from_weight(w, b)(x), y),
        (nc.conv2D_gemm(x.permute(0, 2, 3, 1), w.permute(2, 3, 1, 0)), gemm),
    ):  # fmt: skip
        assert type(out) is torch.Tensor
        assert out.dtype == torch.float32
        np.testing.assert_array_equal(out.numpy(), expected)
    assert nc.explain(x, w).problem == nc.explain(X, W).problem


def test_torch_out_and_memory():
    """Strided tensors are read in place, and out is written in place."""
    x, w = tensors(X, W)
    out = torch.full((2, 4, 7, 7), torch.nan)
    assert nc.conv2d(x.to(memory_format=torch.channels_last), w, out=out) is out
    np.testing.assert_array_equal(out.numpy(), nc.conv2d(X, W))
    array = np.full((2, 4, 7, 7), np.nan, np.float32)
    assert nc.conv2d(x, w, out=array) is array
    np.testing.assert_array_equal(array, out.numpy())
    layer = nc.nn.ConvTranspose2d(3, 2, 2, stride=2, rng=0)
    out = torch.full((2, 2, 18, 16), torch.nan)
    assert layer(x, out=out) is out
    np.testing.assert_array_equal(out.numpy(), layer(X))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64", "int8", "uint8", "int64", "bool"])
def test_torch_dtypes(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x = torch.from_numpy(np.round(X)).to(getattr(torch, dtype))
    w = torch.from_numpy(np.round(W)).to(getattr(torch, dtype))
    out = nc.conv2d(x, w, algorithm="direct")
    assert out.dtype == x.dtype
    wide = torch.complex128 if dtype == "complex64" else torch.float64
    expected = nc.conv2d(x.to(wide), w.to(wide)).to(x.dtype)
    assert torch.equal(out, expected)


def test_conjugate_views_are_resolved():
    x, w = (torch.from_numpy(array.astype(np.complex64) * (1 + 1j)) for array in (X, W))
    np.testing.assert_array_equal(nc.conv2d(x.conj(), w).numpy(), nc.conv2d(x.numpy().conj(), w.numpy()))


def test_jax_in_jax_out():
    jax = pytest.importorskip("jax")
    x, w = jax.numpy.asarray(X), jax.numpy.asarray(W)
    out = nc.conv2d(x, w, B)
    assert isinstance(out, jax.Array)
    np.testing.assert_array_equal(np.asarray(out), nc.conv2d(X, W, B))
    with pytest.raises(ValueError, match=r"^out is read-only$"):
        nc.conv2d(x, w, out=jax.numpy.zeros((2, 4, 7, 7)))
    with pytest.raises(TypeError, match=r"^arrays of different libraries do not mix: input of jax.numpy, weight"):
        nc.conv2d(x, torch.from_numpy(W))


class OnlyDLPack:
    """An array without a namespace."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


class Namespaced(OnlyDLPack):
    """An array of a library whose functions are this very class's."""

    __name__ = "library"

    def __array_namespace__(self, **_):
        return self

    def from_dlpack(self, array):
        return Namespaced(array)


def test_array_api_and_dlpack():
    out = nc.conv2d(Namespaced(X), Namespaced(W), Namespaced(B))
    assert isinstance(out, Namespaced)
    np.testing.assert_array_equal(out.array, nc.conv2d(X, W, B))
    with pytest.raises(TypeError, match=r"^input lies on DLPack device \(10, 0\), not in the CPU's memory"):
        nc.conv2d(Namespaced(X, (10, 0)), W)  # AMD's; those of CUDA are computed there
    try:
        import array_api_compat  # noqa: F401
    except ImportError:
        with pytest.raises(TypeError, match=r"^input is a test_foreign.OnlyDLPack, which has DLPack but no"):
            nc.conv2d(OnlyDLPack(X), W)


def test_array_api_strict():
    strict = pytest.importorskip("array_api_strict")
    out = nc.conv2d(strict.asarray(X), strict.asarray(W))
    assert type(out) is type(strict.asarray(X))
    np.testing.assert_array_equal(np.from_dlpack(out), nc.conv2d(X, W))


def test_torch_refused():
    with pytest.raises(TypeError, match=r"^input lies on device 'meta', not in the CPU's memory"):
        nc.conv2d(torch.empty(1, 1, 3, 3, device="meta"), W)
    with pytest.raises(TypeError, match=r"^weight has layout torch.sparse_coo, not torch.strided"):
        nc.conv2d(X, torch.from_numpy(W).to_sparse())
    with pytest.raises(TypeError, match=r"dtype.*float8_e5m2"):
        nc.conv2d(torch.from_numpy(X), W, dtype=torch.float8_e5m2)


# ---------------------------------------------------------------------------------------------- gradients


def leaves(*arrays):
    return [None if array is None else torch.from_numpy(array).requires_grad_() for array in arrays]


def assert_same_gradients(ours, theirs, ours_leaves, theirs_leaves):
    """Of a weighted sum of the results."""
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-9)
    weights = torch.from_numpy(np.random.default_rng(3).normal(size=tuple(ours.shape)))
    pairs = [(a, b) for a, b in zip(ours_leaves, theirs_leaves, strict=True) if a is not None]
    mine = torch.autograd.grad((ours * weights).sum(), [a for a, _ in pairs])
    other = torch.autograd.grad((theirs * weights).sum(), [b for _, b in pairs])
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9)


@settings(max_examples=40)
@given(conv_problems(sizes=("small",), dtypes=(np.float64,)))
def test_gradients_are_torchs(case):
    arrays = case.arrays()
    if 0 in case.input_shape:
        return
    ours, theirs = leaves(*arrays), leaves(*arrays)
    out = case.convolve(*ours, algorithm="direct")
    options = case.gradient_arguments
    last = options.pop("data_format").endswith("C")
    x = theirs[0].movedim(-1, 1) if last else theirs[0]
    problem = nc.explain(*arrays, **case.arguments).problem
    if case.arguments["padding_mode"] == "symmetric":
        for axis, (size, pair) in enumerate(zip(problem.input_size, problem.padding, strict=True)):
            x = x.index_select(axis + 2, torch.from_numpy(np.pad(np.arange(size), pair, mode="symmetric")))
    else:
        mode = {"zeros": "constant"}.get(case.arguments["padding_mode"], case.arguments["padding_mode"])
        x = torch.nn.functional.pad(x, [cells for pair in problem.padding[::-1] for cells in pair], mode=mode)
    function = getattr(torch.nn.functional, f"conv{problem.ndim}d")
    expected = function(x, *theirs[1:], **{**options, "padding": 0})
    expected = torch.relu(expected) if case.arguments["activation"] else expected
    assert_same_gradients(out, expected.movedim(1, -1) if last else expected, ours, theirs)


@settings(max_examples=40)
@given(transposed_problems(dtypes=(np.float64,)))
def test_transposed_gradients_are_torchs(case):
    arrays = case.arrays()
    if 0 in case.input_shape or not isinstance(case.arguments["padding"], int):
        return
    ours, theirs = leaves(*arrays), leaves(*arrays)
    out = case.convolve(*ours)
    options = {name: value for name, value in case.arguments.items() if name not in ("data_format", "activation")}
    last = case.arguments["data_format"].endswith("C")
    x = theirs[0].movedim(-1, 1) if last else theirs[0]
    functions = (
        torch.nn.functional.conv_transpose1d,
        torch.nn.functional.conv_transpose2d,
        torch.nn.functional.conv_transpose3d,
    )
    expected = functions[len(case.weight_shape) - 3](x, *theirs[1:], **options)
    expected = torch.relu(expected) if case.arguments["activation"] else expected
    assert_same_gradients(out, expected.movedim(1, -1) if last else expected, ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("last", [False, True])
def test_first_and_second_derivatives(dtype, last):
    """By torch's finite differences, of all functions that have them."""
    options = {
        "stride": 2,
        "padding": ((1, 0), (2, 1)),
        "dilation": (1, 2),
        "groups": 2,
        "data_format": DATA_FORMATS[2][last],
    }
    random = torch.Generator().manual_seed(0)

    def leaf(*shape):
        return torch.randn(shape, dtype=dtype, generator=random).requires_grad_()

    def image(channels, *size):
        return leaf(2, *size, channels) if last else leaf(2, channels, *size)

    x, w, b = image(4, 5, 6), leaf(2, 2, 2, 2), leaf(2)
    y = image(2, *nc.explain(x, w, **options).problem.output_size)
    for function, arguments in (
        (lambda x, w, b: nc.conv2d(x, w, b, **options), (x, w, b)),
        (lambda y, w, b: nc.conv_transpose2d(y, w, b, output_padding=(1, 0), **options), (y, w, leaf(4))),
        (lambda w, y: nc.grad.conv2d_input(x.shape, w, y, **options), (w, y)),
        (lambda x, y: nc.grad.conv2d_weight(x, w.shape, y, **options), (x, y)),
    ):
        assert torch.autograd.gradcheck(function, arguments)
        assert torch.autograd.gradgradcheck(function, arguments)


def test_mixed_dtypes_and_single_leaves():
    x = torch.from_numpy(X).requires_grad_()
    out = nc.conv2d(x, W.astype(np.float64), B)
    assert out.dtype == torch.float64
    out.sum().backward()
    assert x.grad.dtype == torch.float32
    np.testing.assert_allclose(
        x.grad.numpy(), nc.grad.conv2d_input(X.shape, W, np.ones(out.shape)), rtol=1e-5, atol=1e-5
    )
    layer = nc.nn.Conv2d.from_weight(W, B)
    x.grad = None
    layer(x[0]).sum().backward()
    assert (x.grad[1] == 0).all()
    with torch.no_grad():
        assert not nc.conv2d(x, W).requires_grad


def test_never_silently_detached():
    x = torch.from_numpy(X).requires_grad_()
    with pytest.raises(TypeError, match=r"^out cannot take a result that has a gradient \(input requires one\)"):
        nc.conv2d(x, W, out=torch.empty(2, 4, 7, 7))
    for call in (lambda: nc.unfold(x, 3), lambda: nc.fold(x[0, 0].reshape(9, 8), (4, 2), 3)):
        with pytest.raises(TypeError, match=r"^this function has no gradient, but input requires one"):
            call()
    with pytest.raises(TypeError, match=r"^this function has no gradient, but image requires one"):
        nc.conv2D_gemm(x.permute(0, 2, 3, 1), W.transpose(2, 3, 1, 0))


def test_core_needs_no_torch(run_python):
    call = "nc.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))"
    run_python(f"import sys, numpy as np, numbaconv as nc; {call}; assert 'torch' not in sys.modules")
