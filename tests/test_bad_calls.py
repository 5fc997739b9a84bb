"""Bad arguments of every public function, by rules: type and whole text of the error. No kernel is reached."""
# ruff: noqa: E501 (a table with whole messages)

import re

import numpy as np
import pytest

import numbaconv as nc
from numbaconv import executable, execute, filtering, runtime


def ones(*shape):
    return np.ones(shape, np.float32)


NAN, HUGE = float("nan"), 2**62
X = {1: ones(1, 4, 9), 2: ones(1, 4, 9, 9), 3: ones(1, 4, 5, 5, 5)}
W = {n: ones(8, 4, *[3] * n) for n in (1, 2, 3)}
T = {n: ones(4, 8, *[3] * n) for n in (1, 2, 3)}
G = {1: ones(1, 8, 7), 2: ones(1, 8, 7, 7), 3: ones(1, 8, 3, 3, 3)}

#: A function that is good without further arguments, its dimensions, and those arguments that the rules below are for.
CONV = {"stride", "padding", "dilation", "groups"}
FUNCTIONS = {
    **{f"conv{n}d": (lambda n=n, **more: getattr(nc, f"conv{n}d")(X[n], W[n], **more), n, CONV) for n in X},
    **{
        f"conv_transpose{n}d": (
            lambda n=n, **more: getattr(nc, f"conv_transpose{n}d")(X[n], T[n], **more),
            n,
            CONV | {"output_padding"},
        )
        for n in X
    },
    **{f"conv{n}d_input": (lambda n=n, **more: getattr(nc.grad, f"conv{n}d_input")(X[n].shape, W[n], G[n], **more), n, CONV) for n in X},
    **{f"conv{n}d_weight": (lambda n=n, **more: getattr(nc.grad, f"conv{n}d_weight")(X[n], W[n].shape, G[n], **more), n, CONV) for n in X},
    "explain": (lambda **more: nc.explain(X[2].shape, W[2].shape, **more), 2, CONV),
    "from_weight": (lambda **more: nc.Conv2d.from_weight(W[2], **more)(X[2]), 2, CONV),
    "unfold": (lambda **more: nc.unfold(X[2], 3, **more), 2, CONV - {"groups"}),
    "fold": (lambda **more: nc.fold(ones(1, 9, 9), (5, 5), 3, **more), 2, CONV - {"groups"}),
    "conv2D_gemm": (lambda **more: nc.conv2D_gemm(ones(9, 9, 1), ones(3, 3, 1, 8), **more), 2, {"stride", "padding"}),
}  # fmt: skip
#: What no number of cells can be: a value, the error and its text, where {name} and {least} depend on the argument.
NUMBERS = [
    (-1, ValueError, "{name} must be at least {least}; got -1"),
    (1.5, TypeError, "{name} must be an integer; got 1.5 of type float"),
    (NAN, TypeError, "{name} must be an integer; got nan of type float"),
    (float("inf"), TypeError, "{name} must be an integer; got inf of type float"),
    (True, TypeError, "{name} must be an integer; got True"),
    (None, TypeError, "{name} must be an integer; got None of type NoneType"),
    (1j, TypeError, "{name} must be an integer; got 1j of type complex"),
    ({1: 1}, TypeError, "{name} must be an integer; got {{1: 1}} of type dict"),
    (len, TypeError, "{name} must be an integer; got <built-in function len> of type builtin_function_or_method"),
    (b"1", TypeError, "{name} must be an integer; got b'1' of type bytes"),
]
#: Where one number or one for each dimension may be given.
SEQUENCES = [
    ((1, NAN, 1), TypeError, "{name} must be an integer; got nan of type float"),
    ((1, -2, 1), ValueError, "{name} must be at least {least}; got -2"),
    (
        (1, 1, 1, 1, 1),
        ValueError,
        "{name} must be one integer or one for each of {ndim} dimensions; got 5: (1, 1, 1, 1, 1)",
    ),
    ([], ValueError, "{name} must be one integer or one for each of {ndim} dimensions; got 0: []"),
]
LEAST = {"padding": 0, "output_padding": 0}
RULES = [
    pytest.param(function, {name: value}, error, text.format(name=name, least=LEAST.get(name, 1), ndim=ndim), id=f"{function}-{name}-{value!r}")
    for function, (_, ndim, names) in FUNCTIONS.items()
    for name in sorted(names)
    for value, error, text in NUMBERS + (SEQUENCES if name != "groups" else [])
]  # fmt: skip

FOREIGN = "must be a NumPy array; got builtins"
ALGORITHMS = "'auto', 'direct', 'im2col', 'winograd', 'direct_channels', 'direct_pixels'"
MODES = "'zeros', 'constant', 'reflect', 'replicate', 'edge', 'circular', 'wrap', 'symmetric'"
FOLLOWS = "which follows from input size (1, 4, 9, 9), weight size (8, 4, 3, 3), stride (1, 1), padding ((0, 0), (0, 0)) and dilation (1, 1)"
#: Everything else: a call, the error and its text.
CALLS = [
    # transposed convolutions
    (lambda: nc.conv_transpose2d(ones(9, 9), T[2]), ValueError, "input must have 4 dimensions, or 3 without a batch, for conv_transpose2d; got 2 (shape (9, 9))"),
    (lambda: nc.conv_transpose2d(X[2], T[1]), ValueError, "weight must have 4 dimensions (channels, filters // groups, height, width) for conv_transpose2d; got 3 (shape (4, 8, 3))"),
    (lambda: nc.conv_transpose2d(ones(1, 5, 9, 9), T[2]), ValueError, "weight has 4 channels but input has 5 (input shape (1, 5, 9, 9), weight shape (4, 8, 3, 3))"),
    (lambda: nc.conv_transpose2d(X[2], T[2], groups=3), ValueError, "groups 3 does not divide the input's 4 channels (input shape (1, 4, 9, 9))"),
    (lambda: nc.conv_transpose2d(X[2], T[2], ones(4)), ValueError, "bias must have shape (8,), one value for each filter (= 8 * 1 group(s)); got (4,)"),
    (lambda: nc.conv_transpose2d(X[2], T[2], output_padding=1), ValueError, "output_padding 1 must be smaller than stride 1 or dilation 1 of the height"),
    (lambda: nc.conv_transpose2d(X[2], T[2], padding="same"), TypeError, "padding must be an integer, one for each dimension or (before, after) pairs for conv_transpose2d; got 'same'"),
    (lambda: nc.conv_transpose2d(X[2], T[2], padding_mode="reflect"), ValueError, "padding_mode must be 'zeros' for conv_transpose2d; got 'reflect'"),
    (lambda: nc.conv_transpose2d(X[2], T[2], padding=99), ValueError, "output height must be at least 1; got -187 (= (9 - 1) * 1 + 1 * (3 - 1) + 1 + 0 - 99 - 99)"),
    (lambda: nc.conv_transpose1d(ones(9), T[1]), ValueError, "input must have 3 dimensions, or 2 without a batch, for conv_transpose1d; got 1 (shape (9,))"),
    (lambda: nc.conv_transpose3d(X[3], T[2]), ValueError, "weight must have 5 dimensions (channels, filters // groups, depth, height, width) for conv_transpose3d; got 4 (shape (4, 8, 3, 3))"),
    (lambda: nc.conv_transpose2d(X[2], T[2], algorithm="fast"), ValueError, f"algorithm must be one of {ALGORITHMS}; got 'fast'"),
    (lambda: nc.conv_transpose2d(X[2], T[2], precision=1), ValueError, "precision must be one of 'exact', 'standard', 'fast'; got 1"),
    (lambda: nc.conv_transpose2d(X[2], T[2], out=ones(1, 8, 3, 3)), ValueError, "out must have the result's shape (1, 8, 11, 11); got (1, 8, 3, 3)"),
    (lambda: nc.conv_transpose2d(None, T[2]), TypeError, f"input {FOREIGN}.NoneType; convert it with numpy.asarray(input)"),
    (lambda: nc.conv_transpose2d(X[2], "w"), TypeError, f"weight {FOREIGN}.str; convert it with numpy.asarray(weight)"),
    # gradients
    (lambda: nc.grad.conv2d_input((1, 4, 9, 9), W[2], ones(1, 8, 6, 7)), ValueError, f"grad_output must have the convolution's output shape (1, 8, 7, 7), {FOLLOWS}; got (1, 8, 6, 7)"),
    (lambda: nc.grad.conv2d_weight(X[2], (8, 4, 3, 3), ones(1, 8, 6, 7)), ValueError, f"grad_output must have the convolution's output shape (1, 8, 7, 7), {FOLLOWS}; got (1, 8, 6, 7)"),
    (lambda: nc.grad.conv2d_input("1,4", W[2], G[2]), TypeError, "input_size must be a shape, a sequence of integers; got '1,4' of type str"),
    (lambda: nc.grad.conv2d_input(4, W[2], G[2]), TypeError, "input_size must be a shape, a sequence of integers; got 4 of type int"),
    (lambda: nc.grad.conv2d_input(None, W[2], G[2]), TypeError, "input_size must be a shape, a sequence of integers; got None of type NoneType"),
    (lambda: nc.grad.conv2d_input((1, 4, 9, -9), W[2], G[2]), ValueError, "input_size must be at least 0; got -9"),
    (lambda: nc.grad.conv2d_input((1, 4, 9, 9.5), W[2], G[2]), TypeError, "input_size must be an integer; got 9.5 of type float"),
    (lambda: nc.grad.conv2d_input((1, 4, 9, 9), W[1], G[2]), ValueError, "weight must have 4 dimensions (filters, channels // groups, height, width) for conv2d; got 3 (shape (8, 4, 3))"),
    (lambda: nc.grad.conv2d_input((1, 5, 9, 9), W[2], G[2]), ValueError, "weight has 4 channels for each of 1 group(s), 4 in all, but input has 5 (input shape (1, 5, 9, 9), weight shape (8, 4, 3, 3))"),
    (lambda: nc.grad.conv2d_weight(X[2], "x", G[2]), TypeError, "weight_size must be a shape, a sequence of integers; got 'x' of type str"),
    (lambda: nc.grad.conv2d_weight(X[2], (8, 4, 3), G[2]), ValueError, "weight must have 4 dimensions (filters, channels // groups, height, width) for conv2d; got 3 (shape (8, 4, 3))"),
    (lambda: nc.grad.conv2d_weight(X[2], (8, 5, 3, 3), G[2]), ValueError, "weight has 5 channels for each of 1 group(s), 5 in all, but input has 4 (input shape (1, 4, 9, 9), weight shape (8, 5, 3, 3))"),
    (lambda: nc.grad.conv2d_weight(X[2], (8, 4, 0, 3), G[2]), ValueError, "weight's kernel height must be at least 1; got 0 (weight shape (8, 4, 0, 3))"),
    # patches
    (lambda: nc.unfold(ones(9, 9), 3), ValueError, "input must have shape (N, C, H, W) or (C, H, W); got (9, 9)"),
    (lambda: nc.unfold(X[2], 0), ValueError, "kernel_size must be at least 1; got 0"),
    (lambda: nc.unfold(X[2], 10), ValueError, "kernel height 10 exceeds padded input height 9 (= 9 + 0 + 0)"),
    (lambda: nc.unfold(X[2], (3, 3, 3)), ValueError, "kernel_size must be one integer or one for each of 2 dimensions; got 3: (3, 3, 3)"),
    (lambda: nc.unfold(X[2], 2.0), TypeError, "kernel_size must be an integer; got 2.0 of type float"),
    (lambda: nc.unfold(None, 3), TypeError, f"input {FOREIGN}.NoneType; convert it with numpy.asarray(input)"),
    (lambda: nc.fold(ones(1, 9, 10), (5, 5), 3), ValueError, "input must have a column for each of 9 windows (height 3, width 3) of output_size (5, 5); got 10 (input shape (1, 9, 10))"),
    (lambda: nc.fold(ones(1, 10, 9), (5, 5), 3), ValueError, "input must have a multiple of 9 rows, as many as a window has cells (kernel_size (3, 3)); got 10 (input shape (1, 10, 9))"),
    (lambda: nc.fold(ones(9), (5, 5), 3), ValueError, "input must have shape (N, C * KH * KW, L) or (C * KH * KW, L); got (9,)"),
    (lambda: nc.fold(ones(1, 9, 9), "x", 3), TypeError, "output_size must be an integer; got 'x' of type str"),
    (lambda: nc.fold(ones(1, 9, 9), (5, 5, 5), 3), ValueError, "output_size must be one integer or one for each of 2 dimensions; got 3: (5, 5, 5)"),
    (lambda: nc.fold(ones(1, 9, 9), (0, 5), 3), ValueError, "output_size must be at least 1; got 0"),
    # layers
    (lambda: nc.nn.Conv2d(0, 8, 3), ValueError, "in_channels must be at least 1; got 0"),
    (lambda: nc.nn.Conv2d(4.0, 8, 3), TypeError, "in_channels must be an integer; got 4.0 of type float"),
    (lambda: nc.nn.Conv2d(4, 8, 0), ValueError, "kernel_size must be at least 1; got 0"),
    (lambda: nc.nn.Conv2d(4, 8, "k"), TypeError, "kernel_size must be an integer; got 'k' of type str"),
    (lambda: nc.nn.Conv1d(4, 8, (3, 3)), ValueError, "kernel_size must be one integer or one for each of 1 dimensions; got 2: (3, 3)"),
    (lambda: nc.nn.Conv2d(4, 8, 3, groups=3), ValueError, "groups 3 must divide in_channels 4 and out_channels 8"),
    (lambda: nc.nn.Conv2d(4, 8, 3, padding_mode="mirror"), ValueError, f"padding_mode must be one of {MODES}; got 'mirror'"),
    (lambda: nc.nn.Conv2d(4, 8, 3)(ones(1, 5, 9, 9)), ValueError, "weight has 4 channels for each of 1 group(s), 4 in all, but input has 5 (input shape (1, 5, 9, 9), weight shape (8, 4, 3, 3))"),
    (lambda: nc.nn.Conv2d(4, 8, 3)(None), TypeError, f"input {FOREIGN}.NoneType; convert it with numpy.asarray(input)"),
    (lambda: nc.nn.Conv2d(4, 8, 30)(X[2]), ValueError, "kernel height 30 exceeds padded input height 9 (= 9 + 0 + 0)"),
    (lambda: nc.Conv2d.from_weight(W[1]), ValueError, "weight must have 4 dimensions for Conv2d; got (8, 4, 3)"),
    (lambda: nc.Conv2d.from_weight("w"), TypeError, f"weight {FOREIGN}.str; convert it with numpy.asarray(weight)"),
    (lambda: nc.Conv2d.from_weight(W[2], ones(3)), ValueError, "bias must have shape (8,), one value for each filter; got (3,)"),
    (lambda: nc.nn.ConvTranspose2d(4, 8, 3, stride=2)(X[2], output_size=(1, 1)), ValueError, "output_size must lie between (19, 19) and (20, 20); got (1, 1)"),
    (lambda: nc.nn.ConvTranspose2d(4, 8, 3, stride=2)(X[2], output_size="x"), TypeError, "output_size must be an integer; got 'x' of type str"),
    # the course's function
    (lambda: nc.conv2D_gemm(ones(9), ones(3, 3, 1, 8)), ValueError, "image must have shape (H, W, C) or (N, H, W, C); got (9,)"),
    (lambda: nc.conv2D_gemm(ones(9, 9, 1), ones(3, 3, 1)), ValueError, "kernel must have shape (KH, KW, C, F); got (3, 3, 1)"),
    (lambda: nc.conv2D_gemm(ones(9, 9, 2), ones(3, 3, 1, 8)), ValueError, "image has 2 channels (shape (9, 9, 2)) but kernel has 1 (shape (3, 3, 1, 8))"),
    # what is not a name, a number or an array
    (lambda: nc.conv2d(X[2], W[2], padding_mode=["zeros"]), ValueError, f"padding_mode must be one of {MODES}; got ['zeros']"),
    (lambda: nc.conv2d(X[2], W[2], data_format=["NCHW"]), ValueError, "data_format must be 'NCHW' or 'NHWC' for conv2d; got ['NCHW']"),
    (lambda: nc.conv2d(X[2], W[2], algorithm=["auto"]), ValueError, f"algorithm must be one of {ALGORITHMS}; got ['auto']"),
    (lambda: nc.conv2d(X[2], W[2], activation=len), ValueError, "activation must be None or 'relu'; got <built-in function len>"),
    (lambda: nc.conv2d(X[2], W[2], activation=["relu"]), ValueError, "activation must be None or 'relu'; got ['relu']"),
    (lambda: nc.conv2d(X[2], W[2], precision=None), ValueError, "precision must be one of 'exact', 'standard', 'fast'; got None"),
    (lambda: nc.conv2d(X[2], W[2], dtype="x"), TypeError, "dtype must name a NumPy dtype; got 'x'"),
    (lambda: nc.conv2d(X[2], W[2], bias="b"), TypeError, f"bias {FOREIGN}.str; convert it with numpy.asarray(bias)"),
    (lambda: nc.conv2d(X[2], None), TypeError, f"weight {FOREIGN}.NoneType; convert it with numpy.asarray(weight)"),
    (lambda: nc.conv2d(X[2], W[2], padding=[[1, 2], [3]]), ValueError, "padding must have a (before, after) pair for each dimension; got [3] in [[1, 2], [3]]"),
    (lambda: nc.conv2d(X[2], W[2], padding=((0, NAN), (0, 0))), TypeError, "padding must be an integer; got nan of type float"),
    (lambda: nc.conv2d(X[2], W[2], groups=np.array([1])), TypeError, "groups must be an integer; got array([1]) of type ndarray"),
    (lambda: nc.conv2d(X[2], W[2], out=1), TypeError, "out must be a NumPy array; got builtins.int"),
    (lambda: nc.conv2d(X[2], W[2], out=np.ones((1, 8, 7, 7))), TypeError, "out must have the result's dtype float32; got float64"),
    # too large to count
    (lambda: nc.conv2d(X[2], W[2], padding=HUGE), ValueError, f"output shape (1, 8, {2 * HUGE + 7}, {2 * HUGE + 7}) asks for {2 * 8 * 36 * (2 * HUGE + 7) ** 2} operations; at most {HUGE} can be counted"),
    (lambda: nc.explain((2**31, 1, 2**16, 2**13), (2**10, 1, 1, 1)), ValueError, f"output shape ({2**31}, {2**10}, {2**16}, {2**13}) asks for {2**71} operations; at most {HUGE} can be counted"),
    (lambda: nc.conv_transpose2d(X[2], T[2], stride=HUGE), ValueError, None),
    # explain, and what surrounds the convolutions
    (lambda: nc.explain((1, 4, 9, 9), (8, 4)), ValueError, "weight must have 3, 4 or 5 dimensions; got 2 (shape (8, 4))"),
    (lambda: nc.explain("a", (8, 4, 3, 3)), TypeError, f"input_or_shape {FOREIGN}.str; convert it with numpy.asarray(input_or_shape)"),
    (lambda: nc.explain((0, 4, 9, 9), (8, 4, 3, 3)), ValueError, "there is nothing to compute: output shape (0, 8, 7, 7), 36 products for each output"),
    (lambda: nc.threads(0), ValueError, "n must be at least 1; got 0"),
    (lambda: nc.threads(1.5), TypeError, "n must be an integer; got 1.5 of type float"),
    (lambda: nc.threads(True), TypeError, "n must be an integer; got True"),
    (lambda: nc.threads(None), TypeError, "n must be an integer; got None of type NoneType"),
    (lambda: nc.warmup("float32"), TypeError, "dtypes must be a sequence of dtypes; got 'float32' of type str"),
    (lambda: nc.warmup(3), TypeError, "dtypes must be a sequence of dtypes; got 3 of type int"),
    (lambda: nc.warmup(["float33"]), TypeError, "dtypes must name NumPy dtypes; got 'float33'"),
    (lambda: nc.warmup(["float16"]), ValueError, "dtypes must be some of float32, float64, int16, int32, int64; got 'float16'"),
    (lambda: nc.warmup([None]), ValueError, "dtypes must be some of float32, float64, int16, int32, int64; got None"),
    (lambda: nc.tune((1, 4, 9, 9)), TypeError, "problem must be a ConvProblem, as nc.explain(...).problem is; got builtins.tuple"),
    (lambda: nc.tune(nc.explain(X[2], W[2]), seconds=0), ValueError, "seconds must be positive and finite; got 0"),
    (lambda: nc.tune(nc.explain(X[2], W[2]), seconds=NAN), ValueError, "seconds must be positive and finite; got nan"),
    (lambda: nc.tune(nc.explain(X[2], W[2]), seconds="1"), TypeError, "seconds must be a number; got '1' of type str"),
    (lambda: nc.tune(nc.explain(X[2], W[2]), precision="best"), ValueError, "precision must be one of 'exact', 'standard', 'fast'; got 'best'"),
    # SciPy's functions: its types of errors
    (lambda: nc.signal.convolve2d(ones(5), ones(3, 3)), ValueError, "convolve2d inputs must both be 2-D arrays; got 1 and 2 dimensions"),
    (lambda: nc.signal.convolve2d(ones(5, 5), ones(3, 3), "valid_"), ValueError, "Acceptable mode flags are 'valid', 'same', or 'full'; got 'valid_'"),
    (lambda: nc.signal.convolve2d(ones(5, 5), ones(3, 3), boundary="x"), ValueError, "Acceptable boundary flags are 'fill', 'wrap', 'symm', 'reflect', 'mirror' and 'nearest'; got 'x'"),
    (lambda: nc.signal.convolve2d(ones(5, 2), ones(3, 3), "valid"), ValueError, "For 'valid' mode, one must be at least as large as the other in every dimension; got shapes (5, 2) and (3, 3)"),
    (lambda: nc.signal.convolve2d(ones(5, 5), ones(3, 3), fillvalue=[1, 2]), ValueError, "`fillvalue` must be scalar or an array with one element."),
    (lambda: nc.signal.convolve(ones(5, 5), ones(3)), ValueError, "volume and kernel should have the same dimensionality; got 2 and 1 dimensions"),
    (lambda: nc.signal.convolve(ones(5), ones(3), method="x"), ValueError, "Acceptable method flags are 'auto', 'direct', or 'fft'; got 'x'"),
    (lambda: nc.signal.correlate(ones(5), ones(3), mode=7), ValueError, "Acceptable mode flags are 'valid', 'same', or 'full'; got 7"),
    (lambda: nc.signal.fftconvolve(ones(5, 5), ones(3, 3), axes=9), ValueError, "axes exceeds dimensionality of input: 9 with 2 dimensions"),
    (lambda: nc.signal.oaconvolve(ones(5, 5), ones(3, 3), axes=[0, 0]), ValueError, "all axes must be unique; got [0, 0]"),
    (lambda: nc.signal.explain(ones(5), ones(3, 3)), ValueError, "in1 and in2 should have the same dimensionality; got 1 and 2 dimensions"),
    (lambda: nc.ndimage.convolve(ones(5, 5), ones(3)), RuntimeError, "weights.ndim (1) must match len(axes) (2)"),
    (lambda: nc.ndimage.convolve(ones(5, 5), ones(3, 3), mode="mirrored"), RuntimeError, "boundary mode not supported; mode must be one of reflect, grid-mirror, constant, grid-constant, nearest, mirror, wrap, grid-wrap; got 'mirrored'"),
    (lambda: nc.ndimage.convolve(ones(5, 5), ones(3, 3), origin=9), ValueError, "Invalid origin; origin must satisfy -(weights.shape[k] // 2) <= origin[k] <= (weights.shape[k]-1) // 2; got -9 for 3 weights"),
    (lambda: nc.ndimage.convolve(ones(5, 5), ones(3, 3), output=ones(2, 2)), RuntimeError, "output shape not correct; got (2, 2) for an input of shape (5, 5)"),
    (lambda: nc.ndimage.correlate1d(ones(5, 5), ones(3, 3)), RuntimeError, "no filter weights given; weights must have one dimension; got shape (3, 3)"),
]  # fmt: skip


@pytest.fixture
def no_kernel(monkeypatch):
    """Neither Numba nor a kernel is reached."""

    def reached(*_arguments, **_keywords):
        pytest.fail("a kernel was reached")

    for module, name in ((execute, "executable"), (filtering, "slide"), (runtime, "launch"), (runtime, "native")):
        monkeypatch.setattr(module, name, reached)
    monkeypatch.setattr(executable.Executable, "call", reached)
    monkeypatch.setattr(executable.Executable, "run", reached)


@pytest.mark.parametrize(("function", "arguments", "error", "message"), RULES)
@pytest.mark.usefixtures("no_kernel")
def test_rules(function, arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$") as raised:
        FUNCTIONS[function][0](**arguments)
    assert raised.type is error


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_calls_themselves_are_good(function):
    FUNCTIONS[function][0]()


@pytest.mark.parametrize(
    ("call", "error", "message"), CALLS, ids=[f"{n}-{case[2]}"[:60] for n, case in enumerate(CALLS)]
)
@pytest.mark.usefixtures("no_kernel")
def test_calls(call, error, message):
    with pytest.raises(error, match=".*" if message is None else f"^{re.escape(message)}$") as raised:
        call()
    assert raised.type is error


def test_there_are_many():
    assert len(RULES) + len(CALLS) > 700
