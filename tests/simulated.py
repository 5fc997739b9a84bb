"""The GPU path in Numba's simulator. Each function runs in a process of its own; test_cuda_simulator.py starts them.

Arrays that kernels write to are poisoned beforehand, and memory is bounds-checked.
"""

import dataclasses
import importlib
import os

assert os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"

import time

import numpy as np
import scipy.signal
from gpu_cases import tiny_problems, tiny_transposed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive import scipy_reference, tap_reference, transposed_reference, weight_gradient_reference
from numba import cuda
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from numba.cuda.simulator.kernel import BlockThread
from strategies import LAYOUTS, OUT_LAYOUTS, Case

import numbaconv as nc
import numbaconv.cuda as ncc
from numbaconv.cuda import device_arrays, engine
from numbaconv.cuda.planner import CANDIDATES
from numbaconv.execute import How
from numbaconv.problem import conv_problem


def _alive(self, is_alive=BlockThread.is_alive):
    """The simulator asks this of each thread all the time, and takes the interpreter's lock from those that compute."""
    if self.thread_id % 32 == 0:
        time.sleep(1e-3)
    return is_alive(self)


BlockThread.is_alive = _alive  # five times as fast


def poisoned(shape, dtype):
    """A new array, every byte 255: NaN, or -1."""
    return FakeCUDAArray(
        np.full(np.prod(shape, dtype=int) * np.dtype(dtype).itemsize, 255, np.uint8).view(dtype).reshape(shape)
    )


cuda.device_array = poisoned  # the package's own new arrays are poisoned, too


def examples(count):
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip


def on_gpu(array):
    return None if array is None else cuda.to_device(array)


def host(array):
    assert isinstance(array, FakeCUDAArray)
    return array.copy_to_host()


def check(case, **arguments):
    """A case of small integers, which come out exact, beside the reference."""
    x, w, b = case.arrays(integers=True)
    out = host(case.convolve(*map(on_gpu, (x, w, b)), **arguments))
    assert out.dtype == case.dtype
    np.testing.assert_array_equal(out, scipy_reference(x, w, b, **case.arguments).astype(case.dtype))


@examples(60)
@given(case=tiny_problems())
def direct(case):
    check(case, algorithm="direct")


def steps(case, tile, depth):
    """How many steps of so many rows the blocks of tiles of 128 pixels and so many filters take."""
    problem = conv_problem(len(case.weight_shape) - 2, case.input_shape, case.weight_shape, **case.gradient_arguments)
    blocks = -(-problem.batch * problem.pixels // 128) * -(-problem.group_filters // tile) * problem.groups
    return blocks * -(-problem.depth // depth)


@examples(14)
@given(
    case=tiny_problems(
        filters=st.integers(1, 6) | st.sampled_from((63, 64, 65, 66, 130)), channels=st.integers(1, 5) | st.just(8),
        groups=st.sampled_from((1, 1, 2)), outputs=st.integers(1, 3) | st.integers(9, 12), batches=(1, 2),
        modes=("zeros",), dtypes=(np.float32,),
    ).filter(lambda case: steps(case, 64, 8) <= 12)
)  # fmt: skip
def gemm(case):
    """Tiles of 64 and of 128 filters, channels one by one and by fours, and what lies beyond their edges."""
    check(case, algorithm="im2col")


@examples(30)
@given(
    case=tiny_problems(
        channels=st.just(1),
        filters=st.integers(1, 2),
        outputs=st.integers(1, 9),
        modes=("zeros",),
        batches=(1, 2),
        dtypes=(np.float32, np.float16),
        kernels=st.integers(1, 6),
        ndims=(1, 2, 2, 2, 3),
    ).filter(lambda case: np.prod(case.weight_shape) < 200)
)
def depthwise(case):
    """Columns that end within a tile, taps before and behind them, channels and pixels in the lanes."""
    x, w, b = map(on_gpu, case.arrays(integers=True))
    if x.size:
        assert nc.explain(x, w, b, **case.arguments).candidate == "depthwise"
    check(case, algorithm="direct")


def depthwise_tall():
    """From 64 rows on a thread computes eight of them."""
    for kernel in (3, 10):
        check(fixed((1, 2, 66, 3), (2, 1, kernel, 2), groups=2, padding=((1, 2), (0, 1))), algorithm="direct")


def fixed(input_shape, weight_shape, dtype=np.float32, **arguments):
    """A case of two dimensions."""
    defaults = {
        "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros", "data_format": "NCHW",
        "activation": None,
    }  # fmt: skip
    return Case(input_shape, weight_shape, True, dtype, {**defaults, **arguments}, 0)


@examples(10)
@given(
    case=tiny_problems(
        filters=st.integers(1, 6) | st.just(130), channels=st.integers(1, 5) | st.sampled_from((8, 16)),
        groups=st.sampled_from((1, 1, 2)), outputs=st.integers(1, 3) | st.integers(9, 12), batches=(1, 2),
        modes=("zeros",), dtypes=(np.float16, np.float32),
    ).filter(lambda case: steps(case, 128, 32) <= 16)
)  # fmt: skip
def tensor(case):
    """Small integers are exact in float16 and TF32, too: the fragments' layout, the pipeline, and the edges."""
    x, w, b = map(on_gpu, case.arrays(integers=True))
    plan = nc.explain(x, w, b, **case.arguments, algorithm="im2col", precision="fast")
    assert plan.candidate == "tensor"
    check(case, algorithm="im2col", precision="fast")


def edges():
    """More filters and more pixels than a tile of either GEMM has, by both ways of reading the input."""
    for layout, size in (("NCHW", (1, 8, 13, 11)), ("NHWC", (1, 13, 11, 8))):
        single, half = (fixed(size, (130, 8, 1, 2), dtype, data_format=layout) for dtype in (np.float32, np.float16))
        check(single, algorithm="im2col")
        check(half, algorithm="im2col")


def tensor_bfloat16():
    ml_dtypes = __import__("ml_dtypes")
    check(fixed((1, 10, 9, 9), (5, 10, 3, 3), ml_dtypes.bfloat16, padding=1, stride=2), algorithm="im2col")


def multiplied(job, packed, pitch, _):
    """In place of Winograd's GEMM, whose 36 groups take the simulator a minute: NumPy, on the same views."""
    groups, filters = job.problem.groups, job.problem.group_filters
    weights = packed.handle._ary.reshape(groups, job.problem.group_channels, pitch)[..., :filters]
    v, out = (
        np.lib.stride_tricks.as_strided(
            view.memory.handle._ary[view.start :], view.shape, [4 * stride for stride in view.strides]
        )[0, :, :, 0, 0]
        for view in (job.x, job.out)
    )  # fmt: skip
    out[...] = np.einsum("gct,gcf->gft", v, weights)


def close(out, x, w, b, arguments, times):
    """Within ``times`` float32 roundings of the largest sum."""
    expected = scipy_reference(x, w, b, **arguments)
    scale = scipy_reference(np.abs(x), np.abs(w), **{**arguments, "activation": None})
    assert (np.abs(out - expected) <= times * np.finfo(np.float32).eps * (scale.max() + 1)).all()


@examples(30)
@given(
    case=tiny_problems(
        ndims=(2,),
        kernels=st.just(3),
        steps=st.just(1),
        channels=st.integers(1, 4),
        filters=st.integers(1, 5),
        outputs=st.integers(1, 9),
        batches=(1, 2),
        modes=("zeros",),
        dtypes=(np.float32,),
    )
)
def winograd(case):
    """Both tiles, cut off at every edge."""
    algorithm = importlib.import_module("numbaconv.cuda.algorithms.gemm")
    kept, algorithm.multiply = algorithm.multiply, multiplied
    device_arrays._calls.clear()  # what is remembered of a call has launches only
    try:
        x, w, b = case.arrays()
        out = host(case.convolve(*map(on_gpu, (x, w, b)), algorithm="winograd"))
    finally:
        algorithm.multiply = kept
    close(out, x, w, b, case.arguments, 20)


def winograd_whole():
    """F(2x2, 3x3), whose small integers are exact, with its own GEMM."""
    check(fixed((1, 3, 4, 4), (2, 3, 3, 3)), algorithm="winograd")


@examples(60)
@given(case=tiny_transposed())
def transposed(case):
    x, w, b = case.arrays(integers=True)
    out = host(case.convolve(*map(on_gpu, (x, w, b))))
    np.testing.assert_array_equal(out, transposed_reference(x, w, b, **case.arguments))


@examples(40)
@given(case=tiny_problems(modes=("zeros",)))
def gradients(case):
    x, w, _ = case.arrays(integers=True)
    arguments = case.gradient_arguments
    problem = conv_problem(w.ndim - 2, x.shape, w.shape, **arguments)
    g = np.random.default_rng(case.seed).integers(-8, 9, problem.output_shape).astype(case.dtype)
    of_input, of_weight = ((getattr(nc.grad, f"conv{w.ndim - 2}d_{name}")) for name in ("input", "weight"))
    result = host(of_weight(on_gpu(x), w.shape, on_gpu(g), **arguments))
    np.testing.assert_array_equal(result, weight_gradient_reference(x, w.shape, g, **arguments))
    result = host(of_input(x.shape, on_gpu(w), on_gpu(g), **arguments))
    # What the last outputs do not reach of the input is an output padding.
    behind = [
        size + sum(pair) - ((n - 1) * s + d * (k - 1) + 1)
        for size, pair, n, s, d, k in zip(
            problem.input_size, problem.padding, problem.output_size, problem.stride, problem.dilation,
            problem.kernel_size, strict=True,
        )
    ]  # fmt: skip
    np.testing.assert_array_equal(result, transposed_reference(g, w, output_padding=behind, **arguments))


@examples(15)
@given(case=tiny_problems(modes=("zeros",), dtypes=(np.float32,)))
def forms(case):
    """What torch's gradients are made of: each argument's share of the trilinear form."""
    x, w, _ = case.arrays(integers=True)
    problem = conv_problem(w.ndim - 2, x.shape, w.shape, **case.gradient_arguments)
    g = np.random.default_rng(case.seed).integers(-8, 9, problem.output_shape).astype(case.dtype)
    given_arrays = {"y": (x, w), "x": (w, g), "w": (x, g)}
    others = {"y": g, "x": x, "w": w}
    values = set()
    for slot, arrays in given_arrays.items():
        out = host(engine.form(problem, How(), slot, *map(on_gpu, arrays)))
        assert out.shape == others[slot].shape
        values.add(float((out * others[slot]).sum()))
    assert len(values) == 1


def _in_parts():
    """Let every product that can be summed in parts be."""

    def most(job, _tiles, _multiprocessors, _prices, whole):
        channels = job.problem.channels
        parts = [n for n in range(1, channels + 1) if channels % n == 0 and channels // n % whole == 0]
        return parts[-1] if job.problem.groups == 1 and parts else 1

    for name in ("gemm", "tensor"):
        importlib.import_module(f"numbaconv.cuda.algorithms.{name}").parts_of = most


@examples(20)
@given(case=tiny_problems(dtypes=(np.float32,), groups=st.just(1), channels=st.integers(1, 9), modes=("zeros",)))
def in_parts(case):
    """Sums in parts of the channels, then the bias and the activation."""
    _in_parts()
    check(case, algorithm="im2col")


def tensor_in_parts():
    _in_parts()
    for data_format, shape in (("NCHW", (2, 16, 3, 2)), ("NHWC", (2, 3, 2, 16))):
        check(fixed(shape, (3, 16, 2, 2), np.float16, data_format=data_format, activation="relu"))


def again():
    """What a call launched is launched again for its like: other numbers, the same sizes."""
    cases = [
        fixed((1, 3, 4, 4), (2, 3, 3, 3), padding=1), fixed((1, 4, 4, 2), (3, 2, 1, 1), data_format="NHWC"),
        fixed((2, 3, 5, 5), (3, 1, 3, 3), groups=3),
    ]  # fmt: skip
    for case in cases:
        for seed in range(3):
            for algorithm in ("auto", "direct", "im2col"):
                changed = dataclasses.replace(case, seed=seed)
                check(changed, algorithm=algorithm, precision="exact")
                x, w, b = changed.arrays(integers=True)
                expected = scipy_reference(x, w, b, **case.arguments)
                out = on_gpu(np.full(expected.shape, np.nan, np.float32))
                case.convolve(*map(on_gpu, (x, w, b)), out=out, algorithm=algorithm, precision="exact")
                np.testing.assert_array_equal(host(out), expected)


def weight_gradient_in_parts():
    """A product of few outputs and many terms: the batch is summed in parts."""
    _in_parts()
    random = np.random.default_rng(0)
    x, g = (random.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 2, 5, 4), (2, 9, 3, 2)))
    out = host(nc.grad.conv2d_weight(on_gpu(x), (9, 2, 3, 3), on_gpu(g)))
    np.testing.assert_array_equal(out, weight_gradient_reference(x, (9, 2, 3, 3), g))


DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "complex64",
    "complex128",
)


@examples(60)
@given(
    case=tiny_problems(groups=st.sampled_from((1, 2)), batches=(1,)), dtype=st.sampled_from(DTYPES),
    wide=st.booleans(),
)  # fmt: skip
def dtypes(case, dtype, wide):
    """Integers wrap around, booleans are "and" and "or", and the sums of a dtype are those of NumPy's."""
    if np.dtype(dtype).kind == "c":
        case = case.without("activation")
    random = np.random.default_rng(case.seed)
    x, w, b = case.arrays(integers=True)
    if dtype in ("bool", "uint8"):
        x, w, b = (None if array is None else np.abs(array) % 3 for array in (x, w, b))
    if np.dtype(dtype).kind == "c":
        x, w = x + 1j * random.integers(-3, 4, x.shape), w - 1j * random.integers(-3, 4, w.shape)
    x, w, b = (None if array is None else array.astype(dtype) for array in (x, w, b))
    asked = "int64" if wide and np.dtype(dtype).kind in "iu" else None
    out = host(case.convolve(*map(on_gpu, (x, w, b)), dtype=asked))
    expected = tap_reference(x, w, b, **case.arguments, dtype=asked or dtype)
    assert out.dtype == expected.dtype
    np.testing.assert_array_equal(out, expected)


@examples(40)
@given(case=tiny_problems(batches=(1, 2)), data=st.data())
def layouts(case, data):
    """Arrays of any strides; ``out`` too, whose surroundings stay as they are."""
    x, w, b = case.arrays(integers=True)
    usable = [name for name in LAYOUTS if name not in ("misaligned", "record field", "byte-swapped")]
    x, w = (LAYOUTS[data.draw(st.sampled_from(usable))](array) for array in (x, w))
    expected = scipy_reference(x, w, b, **case.arguments)
    around = [name for name in OUT_LAYOUTS if name not in ("misaligned", "record field")]
    out = LAYOUTS[data.draw(st.sampled_from(around))](np.full(expected.shape, np.nan, case.dtype))
    base = out
    while isinstance(base.base, np.ndarray):
        base = base.base
    before = np.isnan(base).sum()
    target = FakeCUDAArray(out)
    assert case.convolve(FakeCUDAArray(x), FakeCUDAArray(w), on_gpu(b), out=target) is target
    np.testing.assert_array_equal(out, expected)
    assert before - np.isnan(base).sum() == out.size


@examples(80)
@given(data=st.data())
def images(data):
    """SciPy's functions: every mode, boundary and order of sizes, complex numbers and fill values included."""
    sides = st.integers(1, 6)
    shapes = [tuple(data.draw(sides) for _ in range(2)) for _ in range(2)]
    mode = data.draw(st.sampled_from(("full", "same", "valid")))
    if mode == "valid" and not (np.greater_equal(*shapes).all() or np.less_equal(*shapes).all()):
        mode = "full"
    boundary = data.draw(st.sampled_from(("fill", "wrap", "symm")))
    fill = data.draw(st.sampled_from((0, 3)))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    kinds = [data.draw(st.sampled_from((np.float32, np.float64, np.complex128, np.int16))) for _ in range(2)]
    a, b = (
        (random.integers(-9, 10, shape) + (1j * random.integers(-9, 10, shape) if np.dtype(kind).kind == "c" else 0))
        .astype(kind) for shape, kind in zip(shapes, kinds, strict=True)
    )  # fmt: skip
    for name in ("convolve2d", "correlate2d"):
        out = host(getattr(nc.signal, name)(on_gpu(a), on_gpu(b), mode, boundary, fill))
        expected = getattr(scipy.signal, name)(a, b, mode, boundary, fill)
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out, expected)


def reasons():
    """An algorithm that was chosen tells what it is good for, and each other one why it was not."""
    for (channels, filters, size, dtype), options, chosen, words in (
        ((1, 1, 3, "float32"), {}, "depthwise", "a thread computes 8 rows"),
        ((16, 16, 3, "float32"), {"padding": 1}, "winograd", "F(4x4, 3x3) takes 4 times fewer products"),
        ((64, 16, 3, "float32"), {}, "winograd", "F(2x2, 3x3) takes 2.25 times fewer products"),
        ((8, 8, 1, "float32"), {}, "gemm", "64 filters by 128 pixels, any strides"),
        ((8, 65, 1, "float32"), {"data_format": "NHWC"}, "gemm", "128 filters by 128 pixels, four channels"),
        ((8, 8, 1, "float32"), {"algorithm": "direct"}, "direct", "asked for; it serves every dtype"),
        ((8, 8, 3, "float16"), {}, "tensor", "tensor cores multiply float16"),
        ((8, 8, 3, "float32"), {"precision": "fast"}, "tensor", "tensor cores multiply TF32"),
        ((8, 8, 3, "float64"), {}, "direct", "it serves every dtype"),
    ):
        batch, side = (32, 7) if channels == 64 else (1, 48 if "padding" in options else 9)
        shape = (batch, side, side, channels) if "data_format" in options else (batch, channels, side, side)
        plan = nc.explain(
            on_gpu(np.ones(shape, dtype)), on_gpu(np.ones((filters, channels, size, size), dtype)), **options
        )
        assert (plan.candidate, words in plan.reason) == (chosen, True), plan
        assert {name for name, why in plan.rejected if why} == set(CANDIDATES) - {chosen}
        assert words in str(plan)


def raised(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def errors():
    """Before any kernel runs, naming what is wrong."""
    x, w = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    there, here = (on_gpu(x), on_gpu(w)), (x, w)
    assert "weight in the CPU memory" in raised(TypeError, lambda: nc.conv2d(there[0], w))
    assert "exceeds padded input" in raised(ValueError, lambda: nc.conv2d(there[0], on_gpu(np.ones((1, 2, 7, 7)))))
    assert "is not one of the GPU's" in raised(ValueError, lambda: nc.conv2d(*there, algorithm="direct_pixels"))
    assert "algorithm must be" in raised(ValueError, lambda: nc.conv2d(*there, algorithm="fastest"))
    assert "takes arrays on a GPU" in raised(TypeError, lambda: ncc.conv2d(*here))
    assert "no arrays on a GPU" in raised(TypeError, lambda: nc.unfold(there[0], 3))
    assert "datetime64" in raised(TypeError, lambda: nc.conv2d(FakeCUDAArray(x.astype("M8[s]")), there[1]))
    assert "byte order" in raised(TypeError, lambda: nc.conv2d(FakeCUDAArray(x.astype(">f4")), there[1]))
    assert "not aligned" in raised(TypeError, lambda: nc.conv2d(FakeCUDAArray(LAYOUTS["misaligned"](x)), there[1]))
    assert "result's shape" in raised(ValueError, lambda: nc.conv2d(*there, out=on_gpu(np.ones((1, 3, 2, 2), "f4"))))
    assert "result's dtype" in raised(TypeError, lambda: nc.conv2d(*there, out=on_gpu(np.ones((1, 3, 3, 3)))))
    same = FakeCUDAArray(there[0]._ary[:, :1, :3, :3])
    assert "overlaps input" in raised(ValueError, lambda: nc.conv2d(there[0], on_gpu(w[:1]), out=same))
    read_only = x[:, [0, 1, 0], :3, :3].copy()
    read_only.flags.writeable = False
    assert "read-only" in raised(ValueError, lambda: nc.conv2d(*there, out=FakeCUDAArray(read_only)))
    assert "2-D arrays" in raised(ValueError, lambda: nc.signal.convolve2d(*there))
    assert "rejected" in str(nc.explain(*there))
    assert host(nc.conv2d(on_gpu(x[0]), there[1])).shape == (3, 3, 3)
    empty = nc.conv2d(
        on_gpu(np.ones((1, 0, 5, 5), "f4")), on_gpu(np.ones((3, 0, 3, 3), "f4")), on_gpu(np.ones(3, "f4"))
    )
    np.testing.assert_array_equal(host(empty), np.ones((1, 3, 3, 3)))
