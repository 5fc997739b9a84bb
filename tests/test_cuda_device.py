"""What only a GPU shows: streams, threads, processes, other libraries' arrays, sizes beyond 32 bits, graphs."""

import contextlib
import threading

import numpy as np
import pytest
from naive import scipy_reference

import numbaconv as nc
import numbaconv.cuda as ncc

try:
    from numbaconv.cuda.shim import PACKAGE, SIMULATED, cuda
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

AVAILABLE = not SIMULATED and cuda.is_available()
pytestmark = pytest.mark.skipif(not AVAILABLE, reason=f"needs a GPU and its driver; {PACKAGE} finds none")


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    module.backends.cudnn.allow_tf32 = module.backends.cuda.matmul.allow_tf32 = False
    return module


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


def numbers(*shape, dtype=np.float32, seed=0):
    """Integers so small that sums of their products are exact in float32, and in 16-bit floats as factors."""
    return np.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(dtype)


#: (input, weight, arguments) that between them take every kernel: each in both formats, with tails at every edge.
CASES = {
    "direct": ((2, 3, 9, 11), (5, 3, 3, 3), {"algorithm": "direct", "padding": 1}),
    "depthwise": ((2, 5, 19, 13), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    "depthwise tall": ((2, 5, 70, 13), (10, 1, 5, 3), {"groups": 5, "padding": 2}),
    "depthwise strided": ((2, 5, 70, 13), (5, 1, 5, 3), {"groups": 5, "stride": 2, "padding": (1, 2)}),
    "depthwise dilated": ((2, 5, 70, 13), (10, 1, 5, 3), {"groups": 5, "dilation": 2}),
    "depthwise wide": ((2, 5, 23, 13), (5, 1, 8, 2), {"groups": 5, "padding": 1}),
    "gemm 4": ((3, 5, 13, 17), (37, 5, 3, 3), {"algorithm": "im2col", "padding": 1, "stride": (2, 1)}),
    "gemm 4 vectors": ((3, 8, 13, 17), (37, 8, 3, 2), {"algorithm": "im2col", "padding": 1, "dilation": 2}),
    "gemm 8": ((3, 7, 13, 17), (150, 7, 3, 3), {"algorithm": "im2col", "padding": 1}),
    "gemm 8 vectors": ((3, 12, 13, 17), (150, 12, 1, 1), {"algorithm": "im2col"}),
    "gemm 8 pixels": ((3, 7, 12, 18), (150, 7, 3, 3), {"algorithm": "im2col", "padding": 1}),
    "gemm 4 pixels": ((3, 7, 12, 18), (37, 7, 3, 3), {"algorithm": "im2col", "padding": 1}),
    "gemm groups": ((3, 12, 13, 17), (30, 4, 3, 3), {"algorithm": "im2col", "groups": 3}),
    "gemm one pixel": ((2, 500, 3, 3), (130, 500, 3, 3), {"algorithm": "im2col"}),
    "TF32": ((3, 12, 13, 17), (150, 12, 3, 3), {"algorithm": "im2col", "precision": "fast", "padding": 1}),
    "winograd 4": ((3, 20, 13, 18), (33, 20, 3, 3), {"algorithm": "winograd", "padding": 1}),
    "winograd 4 fours": ((3, 20, 13, 20), (33, 20, 3, 3), {"algorithm": "winograd", "padding": 1}),
    "winograd 2": ((3, 20, 5, 5), (70, 20, 3, 3), {"algorithm": "winograd", "padding": 1}),
    "winograd groups": ((3, 40, 13, 18), (34, 20, 3, 3), {"algorithm": "winograd", "padding": (0, 2), "groups": 2}),
    "pointwise": ((2, 64, 15, 15), (136, 64, 1, 1), {}),
    "auto": ((2, 64, 15, 15), (72, 64, 3, 3), {"padding": 1}),
    "reflected": ((2, 3, 9, 11), (5, 3, 3, 3), {"padding": 2, "padding_mode": "reflect"}),
    "one dimension": ((2, 6, 101), (20, 3, 5), {"groups": 2, "padding": 2}),
    "three dimensions": ((2, 6, 5, 6, 7), (20, 6, 3, 2, 3), {"padding": 1}),
    "empty batch": ((0, 6, 9, 9), (20, 6, 3, 3), {}),
    "no channels": ((2, 0, 9, 9), (20, 0, 3, 3), {}),
}  # fmt: skip
CONVOLUTIONS = {1: nc.conv1d, 2: nc.conv2d, 3: nc.conv3d}


def case(name, dtype=np.float32):
    """(input, weight, bias, the convolution as a function of them, the result)."""
    shape, weight_shape, arguments = CASES[name]
    x, w, b = numbers(*shape, dtype=dtype), numbers(*weight_shape, dtype=dtype), numbers(weight_shape[0], dtype=dtype)
    said = {key: value for key, value in arguments.items() if key not in ("algorithm", "precision")}
    if 0 in shape:
        expected = CONVOLUTIONS[len(shape) - 2](x, w, b, **said)
    else:
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        expected = scipy_reference(x.astype("f8"), w.astype("f8"), b.astype("f8"), **{**defaults, **said})

    def convolve(*arrays, **more):
        return CONVOLUTIONS[len(shape) - 2](*arrays, **arguments, **more)

    return x, w, b, convolve, expected


def assert_right(result, expected, name):
    """Small integers are exact, but for Winograd's transforms."""
    if "winograd" in name or name == "auto":
        np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max(initial=0)))
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", CASES)
def test_torch(name, torch):
    """Contiguous tensors, channels last, and slices of larger ones."""
    x, w, b, convolve, expected = case(name)
    tensors = [torch.from_numpy(array).cuda() for array in (x, w, b)]
    result = convolve(*tensors)
    assert result.is_cuda
    assert_right(result.cpu().numpy(), expected, name)
    if x.ndim == 4 and x.size:
        last = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors[:2]]
        assert_right(convolve(*last, tensors[2]).cpu().numpy(), expected, name)
    around = torch.full([n + 3 for n in x.shape], float("nan"), device="cuda")
    view = around[tuple(slice(1, 1 + n) for n in x.shape)]
    view.copy_(tensors[0])
    out = torch.full([n + 2 for n in expected.shape], float("nan"), device="cuda")
    target = out[tuple(slice(1, 1 + n) for n in expected.shape)]
    convolve(view, *tensors[1:], out=target)
    assert_right(target.cpu().numpy(), expected, name)
    assert int(torch.isnan(out).sum()) == out.numel() - target.numel()


@pytest.mark.parametrize("name", CASES)
def test_cupy(name, cupy):
    """Arrays that run backwards, and in Fortran's order."""
    x, w, b, convolve, expected = case(name)
    backwards = [cupy.asarray(np.ascontiguousarray(np.flip(array)))[(slice(None, None, -1),) * array.ndim]
                 for array in (x, w, b)]  # fmt: skip
    result = convolve(*backwards)
    assert isinstance(result, cupy.ndarray)
    assert_right(cupy.asnumpy(result), expected, name)
    result = convolve(*(cupy.asfortranarray(cupy.asarray(array)) for array in (x, w, b)))
    assert_right(cupy.asnumpy(result), expected, name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in CASES if "winograd" not in name and "gemm" not in name])
def test_16_bits(name, dtype, torch):
    """Sums are float32, the result is rounded once."""
    x, w, b, convolve, expected = case(name)
    tensors = [torch.from_numpy(array).cuda().to(getattr(torch, dtype)) for array in (x, w, b)]
    wanted = torch.from_numpy(np.asarray(expected, np.float64)).to(getattr(torch, dtype))
    formats = [torch.contiguous_format, *[torch.channels_last] * (x.ndim == 4 and x.size > 0)]
    for memory in formats:
        result = convolve(tensors[0].contiguous(memory_format=memory), *tensors[1:])
        assert result.dtype == tensors[0].dtype
        assert torch.equal(result.cpu(), wanted)


@pytest.mark.parametrize("name", CASES)
def test_streams(name, torch):
    """A call is put on torch's current stream behind what is there, and does not wait for it."""
    x, w, b, convolve, expected = case(name)
    tensors = [torch.from_numpy(array).cuda() for array in (x, w, b)]
    convolve(*tensors)
    late = torch.zeros_like(tensors[0])
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        late.copy_(tensors[0])
        result = convolve(late, *tensors[1:])
        waited = stream.query()
    stream.synchronize()
    assert not waited
    assert_right(result.cpu().numpy(), expected, name)


def test_cupys_stream(cupy):
    x, w, b, convolve, expected = case("auto")
    with cupy.cuda.Stream(non_blocking=True):
        result = convolve(*map(cupy.asarray, (x, w, b)))
        assert_right(cupy.asnumpy(result), expected, "auto")


@pytest.mark.parametrize("name", CASES)
def test_graphs(name, torch):
    """A call that was made before can be captured, and replayed on other numbers."""
    x, w, b, convolve, expected = case(name)
    tensors = [torch.from_numpy(array).cuda() for array in (x, w, b)]
    given = [torch.zeros_like(tensor) for tensor in tensors]
    convolve(*given)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = convolve(*given)
    for tensor, numbers_given in zip(given, tensors, strict=True):
        tensor.copy_(numbers_given)
    if expected.size:
        graph.replay()
    assert_right(result.cpu().numpy(), expected, name)


def test_calls_do_not_mix(torch):
    """Calls alike in all but one thing, one after the other: what is kept of a call is used for its like alone."""
    x, w = numbers(2, 16, 12, 12), numbers(24, 16, 3, 3)
    a, k = (torch.from_numpy(array).cuda() for array in (x, w))
    memory = torch.empty(a.numel() + 4, device="cuda")
    for _ in range(2):
        for padding, stride in ((0, 1), (1, 1), (1, 2), ((1, 0), 1)):
            expected = torch.nn.functional.conv2d(a.double(), k.double(), stride=stride, padding=padding)
            for start in range(4):  # of other alignments
                moved = memory[start : start + a.numel()].view(a.shape)
                moved.copy_(a)
                for precision in ("exact", "fast", "standard"):
                    out = nc.conv2d(moved, k, None, stride, padding, precision=precision)
                    torch.testing.assert_close(out.double(), expected, rtol=0, atol=2e-2)
                out = nc.conv2d(moved, k, None, stride, padding, activation="relu")
                torch.testing.assert_close(out.double(), expected.relu(), rtol=0, atol=2e-2)


def test_gradients(torch):
    """By finite differences, in float64; twice differentiable."""
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, device="cuda", dtype=torch.float64).requires_grad_()

    x, w, b = normal(2, 4, 6, 5), normal(6, 2, 3, 3), normal(6)

    def convolve(*arrays):
        return nc.conv2d(*arrays, 2, 1, groups=2)

    assert torch.autograd.gradcheck(convolve, (x, w, b))
    assert torch.autograd.gradgradcheck(convolve, (x, w, b))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_gradients_beside_torch(dtype, torch):
    """Of sizes that take GEMM, tensor cores and sums in parts."""
    kind = getattr(torch, dtype)
    for shape, weight_shape, how in (
        ((4, 32, 28, 28), (64, 32, 3, 3), {"padding": 1}),
        ((4, 32, 28, 28), (64, 32, 3, 3), {"padding": 1, "stride": 2}),
        ((4, 32, 28, 28), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
        ((4, 64, 14, 14), (128, 64, 1, 1), {}),
    ):
        tensors = [
            torch.from_numpy(numbers(*each)).cuda().to(kind).requires_grad_() for each in (shape, weight_shape)
        ]  # fmt: skip
        out = nc.conv2d(*tensors, **how)
        cotangent = torch.from_numpy(numbers(*out.shape, seed=1)).cuda().to(kind)
        ours = torch.autograd.grad(out, tensors, cotangent)
        wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
        theirs = torch.autograd.grad(torch.nn.functional.conv2d(*wide, **how), wide, cotangent.double())
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == kind
            torch.testing.assert_close(a, b.to(kind), rtol=2e-2 if kind != torch.float32 else 1e-5, atol=1e-2)


def test_threads(torch):
    """Threads that never used the GPU, all at once."""
    made = {name: case(name) for name in CASES}
    results = {}

    def work(name):
        x, w, b, convolve, _ = made[name]
        results[name] = convolve(*(torch.from_numpy(array).cuda() for array in (x, w, b))).cpu().numpy()

    threads = [threading.Thread(target=work, args=(name,)) for name in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, (*_, expected) in made.items():
        assert_right(results[name], expected, name)


FIRST_IN_A_THREAD = """
import threading
import torch
x, w = torch.ones(2, 16, 9, 9, device="cuda"), torch.ones(24, 16, 3, 3, device="cuda")
import numbaconv as nc
results = []
thread = threading.Thread(target=lambda: results.append(nc.conv2d(x, w)))
thread.start()
thread.join()
assert results[0].shape == (2, 24, 7, 7) and (results[0] - 144).abs().max().item() < 1e-3
from numbaconv.cuda.shim import cuda
from cuda.bindings import driver
handle = driver.cuDevicePrimaryCtxRetain(0)[1]
assert int(driver.cuCtxGetCurrent()[1]) == int(handle), "torch's context is the primary one"
"""


@pytest.mark.usefixtures("torch")
def test_first_call_in_a_thread(run_python):
    run_python(FIRST_IN_A_THREAD)


FORKED = """
import os
import numbaconv as nc
import numbaconv.cuda
import torch
child = os.fork()
x, w = torch.ones(2, 16, 9, 9, device="cuda"), torch.ones(24, 16, 3, 3, device="cuda")
assert (nc.conv2d(x, w) - 144).abs().max().item() < 1e-3
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.usefixtures("torch")
def test_fork_before_the_first_call(run_python):
    run_python(FORKED)


KEPT = """
import torch
import numbaconv as nc
from numbaconv.cuda import compiling
made = []
ptx = compiling.ptx
compiling.ptx = lambda *given: made.append(given) or ptx(*given)
for dtype, algorithms in ((torch.float32, ("direct", "im2col", "winograd")), (torch.float16, ("auto",))):
    x, w = (torch.ones(shape, device="cuda", dtype=dtype) for shape in ((2, 16, 9, 9), (24, 16, 3, 3)))
    for algorithm in algorithms:
        assert (nc.conv2d(x, w, algorithm=algorithm) - 144).abs().max().item() < 1e-3
print(len(made))
"""


@pytest.mark.usefixtures("torch")
def test_machine_code_is_kept(tmp_path, run_python):
    """The second process compiles nothing."""
    first, second = (int(run_python(KEPT, NUMBA_CACHE_DIR=str(tmp_path))) for _ in range(2))
    assert first > 5
    assert second == 0


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_beyond_32_bits(dtype, torch):
    """More than 2**31 elements: the kernel with 64-bit indices."""
    kind = getattr(torch, dtype)
    rows, columns = 2**16 + 3, 2**15 + 1
    if torch.cuda.mem_get_info()[0] < 3 * rows * columns * kind.itemsize:
        pytest.skip("not enough memory")
    x = torch.zeros((1, 1, rows, columns), dtype=kind, device="cuda")
    x[..., -5:, -5:] = 1
    x[..., :3, :3] = 2
    w = torch.ones((1, 1, 3, 3), dtype=kind, device="cuda")
    assert "direct" in str(nc.explain(x, w).candidate)
    out = nc.conv2d(x, w)
    assert out.shape == (1, 1, rows - 2, columns - 2)
    assert out[0, 0, 0, 0].item() == 18
    assert (out[0, 0, -3:, -3:] == 9).all()
    assert out[0, 0, 3:-7].any().item() is False


JAX = """
import os
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
import jax, jax.numpy as jnp
import numbaconv as nc
x, w = jnp.ones((2, 16, 9, 9)), jnp.ones((24, 16, 3, 3))
out = nc.conv2d(x, w)
assert isinstance(out, jax.Array), type(out)
assert out.shape == (2, 24, 7, 7)
assert abs(out - 144).max() < 1e-3
"""


def test_jax(run_python):
    pytest.importorskip("jax")
    run_python(JAX)


def test_dlpack_alone(torch):
    """An array of which nothing but DLPack is known, beside ``out``."""

    class Alone:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self, stream=None):
            return self.tensor.__dlpack__(stream=stream)

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

        def __array_namespace__(self):
            return torch

        device = "cuda"

    x, w, b, convolve, expected = case("gemm 4")
    result = convolve(*(Alone(torch.from_numpy(array).cuda()) for array in (x, w, b)))
    np.testing.assert_array_equal(result.cpu().numpy(), expected)


def test_what_cannot_be_done(torch, cupy):
    x, w = (torch.from_numpy(array).cuda() for array in (numbers(2, 4, 9, 9), numbers(8, 4, 3, 3)))
    with pytest.raises(TypeError, match="libraries"):
        nc.conv2d(cupy.asarray(x), w)
    with pytest.raises(TypeError, match="memory"):
        nc.conv2d(x, w.cpu())
    with pytest.raises(ValueError, match="channels"):
        nc.conv2d(x[:, :3], w)
    with pytest.raises(ValueError, match="winograd"):
        nc.conv2d(x, w, stride=2, algorithm="winograd")
    memory = torch.zeros(2 * 8 * 9 * 9, device="cuda")
    for start in (0, 1000, 0):  # of the same call, one that does not overlap
        y = memory[start : start + x.numel()].view(x.shape) if start == 0 else x
        with pytest.raises(ValueError, match="overlaps input") if y is not x else contextlib.nullcontext():
            nc.conv2d(y, w, padding=1, out=memory.view(2, 8, 9, 9))
    assert ncc.conv2d(x, w).shape == (2, 8, 7, 7)
