"""The GPU path on a GPU: the CPU path's own problems, on device arrays. All are skipped where there is none."""

import functools
import os

import numpy as np
import pytest
import scipy.signal
from accuracy import amplification, assert_accurate
from gpu_cases import tiny_problems
from hypothesis import given
from hypothesis import strategies as st
from naive import scipy_reference, tap_reference, transposed_reference, weight_gradient_reference
from strategies import conv_problems, transposed_problems

import numbaconv as nc
from numbaconv.kernels.winograd_simd import Tile
from numbaconv.problem import conv_problem

try:
    from numbaconv.cuda.shim import PACKAGE, cuda
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)


def why_not():
    """Why nothing can run here; None where it can."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        return None  # slow, but the tests themselves can be tried
    return None if cuda.is_available() else f"needs a GPU and its driver; {PACKAGE} finds none"


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
SINGLE = (np.float32,)


def on_gpu(*arrays):
    return [None if array is None else cuda.to_device(array) for array in arrays]


def host(array):
    return array.copy_to_host()


@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
@given(data=st.data())
def test_integers_are_exact(algorithm, data):
    """Every algorithm, and the one that is chosen, sums small integers without an error."""
    case = data.draw(conv_problems(dtypes=SINGLE if algorithm == "im2col" else (np.float32, np.float64)))
    if algorithm == "im2col":
        case = case.without("padding_mode")
    x, w, b = case.arrays(integers=True)
    out = host(case.convolve(*on_gpu(x, w, b), algorithm=algorithm, precision="exact"))
    np.testing.assert_array_equal(out, scipy_reference(x, w, b, **case.arguments))


@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@given(case=conv_problems(dtypes=SINGLE))
def test_normal_numbers(algorithm, case):
    """What is chosen multiplies and adds, or is within Winograd's bound."""
    x, w, b = case.arrays()
    arrays = on_gpu(x, w, b)
    transforms = nc.explain(*arrays, **case.arguments, algorithm=algorithm).algorithm == "winograd"
    out = host(case.convolve(*arrays, algorithm=algorithm))
    (assert_winograd if transforms else functools.partial(assert_accurate, "direct"))(out, x, w, b, case.arguments)


@given(
    case=tiny_problems(
        ndims=(2,), kernels=st.just(3), steps=st.just(1), filters=st.integers(1, 70), channels=st.integers(1, 40),
        outputs=st.integers(1, 40), batches=(1, 2, 3), modes=("zeros",), dtypes=SINGLE,
    )
)  # fmt: skip
def test_winograd(case):
    """Both tiles, cut off at every edge, and the tails of their products."""
    x, w, b = case.arrays()
    assert_winograd(host(case.convolve(*on_gpu(x, w, b), algorithm="winograd")), x, w, b, case.arguments)


def assert_winograd(out, x, w, b, arguments):
    """Winograd's promise (see accuracy.winograd_bound), with the largest number of the whole input."""
    allowed = amplification(Tile(4, 3)) ** 2 * (1 + w.shape[1] / 2) * np.abs(x).max(initial=0)
    allowed *= np.abs(w).reshape(len(w), -1).sum(1).max(initial=0)
    error = np.abs(out - scipy_reference(x, w, b, **arguments)).max(initial=0)
    assert error <= np.finfo(np.float32).eps * (allowed + (0 if b is None else np.abs(b).max(initial=0)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@given(case=conv_problems(ndims=(1, 2, 3), dtypes=SINGLE))
def test_tensor_cores(dtype, case):
    """Small integers are exact there; the result is rounded once."""
    case = case.without("padding_mode")
    arrays = case.arrays(integers=True)
    expected = scipy_reference(*arrays, **case.arguments)
    if dtype == "bfloat16":  # which Numba's arrays do not hold
        torch = torch_on_gpu()
        given = [None if array is None else torch.from_numpy(array).cuda().bfloat16() for array in arrays]
        out = case.convolve(*given, algorithm="im2col", precision="fast")
        assert torch.equal(out.cpu(), torch.from_numpy(expected).bfloat16())
        return
    given = on_gpu(*(None if array is None else array.astype(dtype) for array in arrays))
    out = host(case.convolve(*given, algorithm="im2col", precision="fast"))
    np.testing.assert_array_equal(out, expected.astype(dtype))


@given(case=transposed_problems())
def test_transposed(case):
    x, w, b = case.arrays(integers=True)
    out = host(case.convolve(*on_gpu(x, w, b), precision="exact"))
    np.testing.assert_array_equal(out, transposed_reference(x, w, b, **case.arguments))


@given(case=conv_problems())
def test_gradients(case):
    x, w, _ = case.without("padding_mode").arrays(integers=True)
    arguments, ndim = case.gradient_arguments, w.ndim - 2
    shape = conv_problem(ndim, x.shape, w.shape, **arguments).output_shape
    g = np.random.default_rng(case.seed).integers(-8, 9, shape).astype(case.dtype)
    of_input, of_weight = (getattr(nc.grad, f"conv{ndim}d_{name}") for name in ("input", "weight"))
    result = host(of_weight(*on_gpu(x), w.shape, *on_gpu(g), **arguments, precision="exact"))
    np.testing.assert_array_equal(result, weight_gradient_reference(x, w.shape, g, **arguments))
    result = host(of_input(x.shape, *on_gpu(w, g), **arguments, precision="exact"))
    np.testing.assert_array_equal(result, of_input(x.shape, w, g, **arguments, precision="exact"))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "uint16", "int32", "uint64", "complex64", "complex128"])
@given(case=conv_problems(sizes=("small",)))
def test_dtypes(dtype, case):
    case = case.without("activation", "padding_mode")
    x, w, b = (None if array is None else np.abs(array) % 3 for array in case.arrays(integers=True))
    x, w, b = (None if array is None else array.astype(dtype) for array in (x, w, b))
    out = host(case.convolve(*on_gpu(x, w, b)))
    expected = tap_reference(x, w, b, **case.arguments, dtype=dtype)
    assert out.dtype == expected.dtype
    np.testing.assert_array_equal(out, expected)


@given(data=st.data())
def test_images(data):
    shapes = [tuple(data.draw(st.integers(1, largest)) for _ in range(2)) for largest in (90, 20)]
    mode = data.draw(st.sampled_from(("full", "same", "valid")))
    if mode == "valid" and not (np.greater_equal(*shapes).all() or np.less_equal(*shapes).all()):
        mode = "full"
    boundary, fill = data.draw(st.sampled_from(("fill", "wrap", "symm"))), data.draw(st.sampled_from((0, 3)))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    a, b = (random.integers(-9, 10, shape).astype(np.float32) for shape in shapes)
    for name in ("convolve2d", "correlate2d"):
        out = host(getattr(nc.signal, name)(*on_gpu(a, b), mode, boundary, fill))
        np.testing.assert_array_equal(out, getattr(scipy.signal, name)(a, b, mode, boundary, fill))


def torch_on_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return torch


@given(case=conv_problems(dtypes=SINGLE, sizes=("small",)))
def test_torch_keeps_kind_device_and_stream(case):
    torch = torch_on_gpu()
    x, w, b = case.arrays(integers=True)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        given = [None if array is None else torch.from_numpy(array).cuda() for array in (x, w, b)]
        out = case.convolve(*given)
        result = out.cpu().numpy()
    assert out.device == given[0].device
    np.testing.assert_array_equal(result, scipy_reference(x, w, b, **case.arguments))


def test_torch_gradients():
    """What torch itself computes, from tensors that require gradients."""
    torch = torch_on_gpu()
    random = np.random.default_rng(0)
    x, w = (random.integers(-8, 9, shape).astype(np.float32) for shape in ((2, 3, 9, 8), (4, 3, 3, 3)))
    tensors = [torch.from_numpy(array).cuda().requires_grad_() for array in (x, w)]
    out = nc.conv2d(*tensors, padding=1, stride=2, precision="exact")
    expected = torch.nn.functional.conv2d(*tensors, padding=1, stride=2)
    cotangent = torch.ones_like(expected)
    ours, theirs = (torch.autograd.grad(result, tensors, cotangent) for result in (out, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
