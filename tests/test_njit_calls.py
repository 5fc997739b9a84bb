"""Calls inside @njit: what types and values they refuse, in which processes they run, and when SciPy's are there."""

import importlib.metadata
import inspect
import pathlib

import numba
import numpy as np
import pytest
from numba import njit, types

import numbaconv as nc

PROGRAMS = pathlib.Path(__file__).parent / "njit_programs.py"
FUNCTIONS = [
    *(f"{stem}{ndim}d{rest}" for stem, rest in (
        ("nc.conv", ""), ("nc.conv_transpose", ""), ("nc.grad.conv", "_input"), ("nc.grad.conv", "_weight"),
    ) for ndim in (1, 2, 3)),
    *(f"nc.signal.{name}" for name in (
        "convolve2d", "correlate2d", "convolve", "correlate", "fftconvolve", "oaconvolve",
    )),
    *(f"nc.ndimage.{name}" for name in ("convolve", "correlate", "convolve1d", "correlate1d")),
]  # fmt: skip


def good(function, argument):
    """A Numba type that a function takes."""
    if function.startswith(("nc.signal", "nc.ndimage")):
        return types.Array(types.float64, 1 if argument == "weights" and function.endswith("1d") else 2, "C")
    ndim = 2 + int(next(filter(str.isdigit, function)))
    return types.UniTuple(types.int64, ndim) if argument.endswith("_size") else types.Array(types.float32, ndim, "C")


def bad(function, argument, needed):
    """Numba types that it does not take."""
    if argument in ("fillvalue", "cval"):
        return [types.unicode_type]
    if argument.endswith("_size"):
        return [types.float64, types.UniTuple(types.int64, 1)]
    if argument not in needed:
        return [types.float64]
    ndim = good(function, argument).ndim
    unknown = types.NPDatetime("s"), types.float16
    return [types.float64, types.Array(types.float64, 9, "C"), *(types.Array(kind, ndim, "C") for kind in unknown)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_argument_of_another_type(function):
    """The TypingError names the function, the argument and what is supported."""
    parameters = inspect.signature(eval(function, {"nc": nc})).parameters  # noqa: S307
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    name = function.removeprefix("nc.").removeprefix("signal.").removeprefix("ndimage.")
    for argument in parameters:
        for kind in bad(function, argument, needed):
            given = {name: good(function, name) for name in needed} | {argument: kind}
            call = f"lambda {', '.join(given)}: {function}({', '.join(f'{name}={name}' for name in given)})"
            with pytest.raises(numba.TypingError) as caught:
                njit(eval(call, {"nc": nc})).compile(tuple(given.values()))  # noqa: S307
            assert f"numbaconv: {name} inside @njit takes " in str(caught.value)
            assert f" as {argument}; got " in str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda x: nc.conv2d(x, x, stride=1.5),
            "conv2d inside @njit takes an integer or a tuple of integers as stride",
        ),
        (lambda x: nc.conv2d(x[0, 0], x), "conv2d inside @njit takes an array of 3 or 4 dimensions as input"),
        (lambda x: nc.conv2d(x, x, algorithm=1), "takes a string as algorithm"),
        (lambda x: nc.conv_transpose2d(x, x, padding="same"), "conv_transpose2d inside @njit takes an integer"),
        (lambda x: nc.ndimage.convolve(x, x, output="f4"), "as output"),
        (lambda x: nc.conv2d(x, x, out=x[0]), "None or a writeable array of 4 dimensions as out"),
        (
            lambda x: nc.grad.conv2d_input((1, 2), x, x),
            "grad.conv2d_input inside @njit takes a tuple of 3 or 4 integers",
        ),
    ],
)
def test_unsupported_types(call, text):
    with pytest.raises(numba.TypingError, match="numbaconv: ") as caught:
        njit(call)(np.ones((1, 1, 4, 4)))
    assert text in str(caught.value)


def test_errors():
    with pytest.raises(ValueError, match="Acceptable method flags are"):
        njit(lambda x: nc.signal.convolve(x, x, method="chips"))(np.ones(4))
    with pytest.raises(IndexError, match="out of bounds"):  # as SciPy's
        njit(lambda x: nc.signal.convolve(x, x, method="fft"))(np.ones(0))

    @njit
    def conv2d(x, w, b, stride, padding, dilation, groups, mode):
        return nc.conv2d(x, w, b, stride, padding, dilation, groups, padding_mode=mode, precision="exact")

    x, w = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3))
    for arguments, text in (
        ((x, w, np.ones(2), 1, 0, 1, 1, "zeros"), "bias must have one value for each filter"),
        ((x, w, np.ones(3), 0, 0, 1, 1, "zeros"), "stride must be at least 1"),
        ((x, w, np.ones(3), 1, 0, 3, 1, "zeros"), "kernel exceeds padded input"),
        ((x, w, np.ones(3), 1, 5, 1, 1, "reflect"), "padding exceeds what padding_mode can read"),
        ((x, w, np.ones(3), 1, 0, 1, 2, "zeros"), "does not divide"),
    ):
        with pytest.raises(ValueError, match=text):
            conv2d(*arguments)


@pytest.mark.parametrize("layer", ["omp", pytest.param("workqueue", marks=pytest.mark.slow)])
def test_prange_forks_and_caches(layer, run_python, tmp_path):
    """The three usages, in processes of their own: the second one loads what the first one has compiled."""
    cache = tmp_path / "cache"
    kernels = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    program = f"import runpy; runpy.run_path({str(PROGRAMS)!r}, run_name='__main__')"
    for compiled in ("True", "False"):
        printed = run_python(program, NJIT_PROGRAMS_CACHE=str(cache), **kernels)
        assert printed.split() == ["serial", "prange", "fork", layer, "compiled", compiled]


def test_the_entry_point_imports_no_scipy(run_python):
    """Numba calls it in every process."""
    program = """
import sys, numba
before = set(sys.modules)
from numbaconv.numba_ext import register
register()
heavy = ("scipy", "numbaconv.kernels", "numbaconv.inside")
print(*sorted(name for name in set(sys.modules) - before if name.startswith(heavy)))
"""
    light = {"numbaconv.kernels", *(f"numbaconv.kernels.{name}" for name in ("blocking", "geometry", "image_geometry"))}
    assert set(run_python(program).split()) <= light


@pytest.mark.parametrize("first", ["scipy", "numbaconv", "numba", "late"])
def test_when_scipys_functions_are_there(first, run_python):
    """Whichever is imported first; and without numbaconv, where Numba finds its entry point."""
    if first == "numba" and not importlib.metadata.entry_points(group="numba_extensions", name="init"):
        pytest.skip("numbaconv is not installed")
    program = {
        "scipy": "import scipy.signal, scipy.ndimage, numbaconv",
        "numbaconv": "import numbaconv, scipy.signal, scipy.ndimage",
        "numba": "import numba, scipy.signal, scipy.ndimage",
        "late": """
import numba, numbaconv
numba.njit(lambda x: x + 1)(1)
import scipy.signal, scipy.ndimage
numbaconv.numba_ext.register()
""",
    }[first]
    program += """
import numpy as np
from numba import njit

@njit
def both(x, w):
    return scipy.signal.convolve2d(x, w, "same"), scipy.ndimage.correlate(x, w, mode="constant")

x, w = np.random.default_rng(0).random((9, 8)), np.ones((3, 3))
for inside, outside in zip(both(x, w), both.py_func(x, w)):
    np.testing.assert_allclose(inside, outside)
print("done")
"""
    assert run_python(program).split() == ["done"]


def test_modes_as_literals():
    """What is known when the caller is compiled, and what is known when it runs, are the same."""
    x, w = np.random.default_rng(0).random((2, 9, 8)), np.random.default_rng(1).random((3, 2))

    @njit
    def known(x, w):
        return (
            nc.conv1d(x, w[None], padding="same", padding_mode="reflect", algorithm="im2col"),
            nc.signal.convolve2d(x[0], w, "full", "wrap"), nc.signal.correlate(x[0], w, mode="valid", method="direct"),
            nc.ndimage.convolve(x[0], w, mode="grid-wrap"),
        )  # fmt: skip

    @njit
    def unknown(x, w, same, reflect, im2col, full, wrap, valid, direct, grid):
        return (
            nc.conv1d(x, w[None], padding=same, padding_mode=reflect, algorithm=im2col),
            nc.signal.convolve2d(x[0], w, full, wrap), nc.signal.correlate(x[0], w, mode=valid, method=direct),
            nc.ndimage.convolve(x[0], w, mode=grid),
        )  # fmt: skip

    w = np.resize(w, (9, 3))
    names = ("same", "reflect", "im2col", "full", "wrap", "valid", "direct", "grid-wrap")
    for one, other, outside in zip(known(x, w), unknown(x, w, *names), known.py_func(x, w), strict=True):
        np.testing.assert_array_equal(one, outside)
        np.testing.assert_array_equal(other, outside)


def test_contiguity():
    """C, Fortran, backwards, with gaps, not aligned, not writeable, all elements the same one."""
    random = np.random.default_rng(0)

    @njit
    def inside(x, w):
        return nc.conv2d(x, w), nc.signal.convolve2d(x[0, 0], w[0, 0]), nc.ndimage.correlate(x[0, 0], w[0, 0])

    x, w = random.standard_normal((2, 3, 9, 8), np.float32), random.standard_normal((4, 3, 3, 2), np.float32)
    frozen, raw = x.copy(), np.zeros(x.nbytes + 1, np.uint8)
    frozen.flags.writeable = False
    unaligned = raw[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    every = (x, np.asfortranarray(x), x[:, ::-1, :, ::-1], x[:, :, 1:, ::2], unaligned, frozen)
    for image in (*every, np.broadcast_to(x[:1, :, :1], x.shape)):
        for weight in (w, np.asfortranarray(w), w[::-1, :, ::-1], np.broadcast_to(w[:1], w.shape)):
            for one, outside in zip(inside(image, weight), inside.py_func(image, weight), strict=True):
                np.testing.assert_array_equal(one, outside)
