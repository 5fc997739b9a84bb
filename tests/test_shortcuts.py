"""Calls that machine code makes from the second time on: the same results, errors and lifetimes as Python's code."""

import concurrent.futures
import gc
import sys
import threading
import time
import tracemalloc
import weakref

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from strategies import LAYOUTS, conv_problems

import numbaconv as nc
from numbaconv import execute, runtime, shortcuts
from numbaconv.forks import load_module


def found(x, weight, bias=None, **options):
    """What machine code returns for a call: None where it has not been made before, or is not for it."""
    values = execute.Options(data_format="NCHW", **options)
    return shortcuts.call(shortcuts.plain, x.ndim - 2, x, weight, bias, values)


def arrays(dtype=np.float32):
    random = np.random.default_rng(0)
    return [random.integers(-9, 9, shape).astype(dtype) for shape in ((2, 3, 9, 8), (4, 3, 3, 3), (4,))]


@pytest.fixture(autouse=True)
def _fresh():
    nc.conv2d(*arrays())  # so that there is machine code
    execute.forget_plans()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("biased", [False, True])
def test_second_calls_are_machine_code_s(dtype, biased):
    x, weight, bias = arrays(dtype)
    bias = bias if biased else None
    expected = nc.conv2d(x, weight, bias, out=np.empty((2, 4, 7, 6), dtype))
    assert found(x, weight, bias) is None
    first = nc.conv2d(x, weight, bias)
    second = found(x, weight, bias)
    assert second.dtype == dtype
    assert second.flags.owndata
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected)
    other = found(x + 1, weight, bias)  # other elements
    np.testing.assert_array_equal(other, nc.conv2d(x + 1, weight, bias, out=np.empty_like(expected)))
    assert found(x[0], weight, bias) is None
    np.testing.assert_array_equal(nc.conv2d(x[0], weight, bias), expected[0])
    np.testing.assert_array_equal(nc.conv2d(x[0], weight, bias), expected[0])


@hypothesis.given(conv_problems(), st.data())
def test_second_calls_compute_the_same(case, data):
    """Of arrays that lie in any way, with any options: as ``out=`` has it, where Python's code makes each call."""
    lay = LAYOUTS[data.draw(st.sampled_from(tuple(LAYOUTS)[:10]))]
    laid = [None if array is None else lay(array) for array in case.arrays()]
    expected = case.convolve(*laid)
    for out in (np.full_like(expected, 77), None, None):
        np.testing.assert_array_equal(case.convolve(*laid, out=out), expected)


def test_options_are_what_they_are():
    """True and 1.0 equal 1, but are no strides; a tuple that is equal is found, or planned, but never confused."""
    x, weight, _ = arrays()
    expected = nc.conv2d(x, weight, stride=1, padding=(1, 1))
    for wrong in (True, 1.0, np.float32(1)):
        with pytest.raises((TypeError, ValueError), match="stride"):
            nc.conv2d(x, weight, stride=wrong, padding=(1, 1))
    for size in (0, 1, 2):
        padding = (size, size)
        result = nc.conv2d(x, weight, padding=padding)
        assert result.shape == (2, 4, 7 + 2 * size, 6 + 2 * size)
        if size == 1:
            np.testing.assert_array_equal(result, expected)
    remembered = len(shortcuts.plain)
    for _ in range(10):  # new tuples
        nc.conv2d(x, weight, padding=tuple(np.arange(1, 3).tolist()))
        nc.conv2d(x, weight, padding=((1, int(x[0, 0, 0, 0]) * 0 + 1), (1, 1)), stride=tuple([1] * 2))
        nc.conv2d(x, weight, padding="".join(["sa", "me"]))
    assert len(shortcuts.plain) <= remembered + 1
    assert found(x, weight, padding=tuple(np.arange(1, 3).tolist())) is not None
    changing = [1, 1]
    nc.conv2d(x, weight, padding=changing)
    changing[0] = 2
    assert nc.conv2d(x, weight, padding=changing).shape == (2, 4, 11, 8)


def test_what_is_not_for_machine_code():
    x, weight, bias = arrays()
    swapped = x.astype(x.dtype.newbyteorder())
    misaligned = LAYOUTS["misaligned"](x)
    expected = nc.conv2d(x, weight, bias)

    class Mine(np.ndarray):
        pass

    for other in (swapped, misaligned, x.tolist(), x.view(Mine), x.astype(np.float64)):
        for _ in range(2):
            np.testing.assert_array_equal(nc.conv2d(other, weight.astype(x.dtype), bias), expected)
        if isinstance(other, np.ndarray) and other.dtype != np.float64:
            assert found(other, weight, bias) is None
    assert found(x, weight, bias.tolist()) is None
    assert nc.conv2d(x, weight, bias.astype(np.float64)).dtype == np.float64
    np.testing.assert_array_equal(nc.conv2d(x, weight, np.repeat(bias, 2)[::2]), expected)
    np.testing.assert_array_equal(nc.conv2d(x, weight, np.repeat(bias, 2)[::2]), expected)


def test_wrong_calls_are_refused_after_right_ones():
    x, weight, bias = arrays()
    nc.conv2d(x, weight, bias)
    with pytest.raises(ValueError, match="bias"):
        nc.conv2d(x, weight, bias[:3])
    with pytest.raises(ValueError, match="weight"):
        nc.conv2d(x, weight[:, :2], bias)
    with pytest.raises(TypeError, match="input"):
        nc.conv2d(None, weight, bias)
    assert shortcuts.call(shortcuts.plain, 2, x, weight) is None  # too few arguments
    with pytest.raises(IndexError):
        shortcuts.call(shortcuts.plain, 2, x, weight, bias, (1, 2))


def test_layers_keep_their_own():
    x, weight, bias = arrays()
    one, two = (nc.Conv2d.from_weight(w, bias, padding=1) for w in (weight, 2 * weight))
    for _ in range(3):
        np.testing.assert_array_equal(one(x), nc.conv2d(x, weight, bias, padding=1))
        np.testing.assert_array_equal(two(x), nc.conv2d(x, 2 * weight, bias, padding=1))
    assert shortcuts.call(one._parameters[2], 2, x, one.weight, one.bias, one._options) is not None
    one.weight = 3 * weight
    for _ in range(3):
        np.testing.assert_array_equal(one(x), nc.conv2d(x, 3 * weight, bias, padding=1))
    one.bias = None
    for _ in range(3):
        np.testing.assert_array_equal(one(x), nc.conv2d(x, 3 * weight, padding=1))
    execute.forget_plans()
    assert shortcuts.call(one._parameters[2], 2, x, one.weight, one.bias, one._options) is None
    assert shortcuts.call(two._parameters[2], 2, x, two.weight, two.bias, two._options) is None


def test_nothing_is_leaked():
    x, weight, bias = arrays()
    layers = [nc.Conv2d.from_weight(weight, bias)]
    options = (1, 0, 1, 1, "auto", "standard", "NCHW", "zeros", None)

    def call():
        for _ in range(1000):
            nc.conv2d(x, weight, bias)
            layers[0](x)
            shortcuts.call(shortcuts.plain, 2, x, weight, bias, options)
            shortcuts.call(shortcuts.plain, 3, x, weight, bias, options)
            shortcuts.call(None, 2, x, weight, bias, options)
            shortcuts.call(shortcuts.plain, 2, x, weight, 0, options)

    call()
    tracemalloc.start()
    values = (x, weight, bias, options, shortcuts.plain, np.ndarray, x.dtype, *shortcuts.plain.values())
    gc.collect()
    before = [sys.getrefcount(value) for value in values]
    memory = tracemalloc.get_traced_memory()[0]  # of Python's objects, NumPy's arrays, and what machine code takes
    call()
    gc.collect()
    assert [sys.getrefcount(value) for value in values] == before
    assert tracemalloc.get_traced_memory()[0] - memory < 20_000
    tracemalloc.stop()
    result = nc.conv2d(x, weight, bias)
    gone = weakref.ref(result)
    del result
    assert gone() is None
    gone = weakref.ref(layers.pop())
    gc.collect()
    assert gone() is None


def test_the_table_is_bounded(monkeypatch):
    monkeypatch.setattr(shortcuts, "KEPT", 5)
    monkeypatch.setattr(shortcuts, "LAYER_KEPT", 3)
    x, weight, _ = arrays()
    for height in range(3, 10):
        some = x[:, :, :height]
        for _ in range(2):
            np.testing.assert_array_equal(nc.conv2d(some, weight), nc.conv2d(x, weight)[:, :, : height - 2])
        assert len(shortcuts.plain) <= 5
    assert found(x, weight) is not None
    layer = nc.Conv2d.from_weight(weight)
    for height in range(3, 10):
        np.testing.assert_array_equal(layer(x[:, :, :height]), nc.conv2d(x, weight)[:, :, : height - 2])
        execute.forget_plans()
    assert sum(type(key) is bytes for key in layer._parameters[2]) <= 3


def test_threads_at_once_and_plans_forgotten():
    """The result is right while others forget what a running call needs."""
    x, weight, bias = arrays()
    layer = nc.Conv2d.from_weight(weight, bias)
    expected = nc.conv2d(x, weight, bias)
    started = threading.Barrier(5)

    def work(_):
        started.wait()
        hits = 0
        for _ in range(300):
            hits += found(x, weight, bias) is not None
            np.testing.assert_array_equal(nc.conv2d(x, weight, bias), expected)
            np.testing.assert_array_equal(layer(x), expected)
        return hits

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work, i) for i in range(4)]
        started.wait()
        while not all(future.done() for future in futures):
            execute.forget_plans()
            time.sleep(0.002)
        assert sum(future.result() for future in futures) > 0


def test_large_results_start_on_cache_lines():
    x, weight = np.ones((1, 1, 130, 130), np.float32), np.ones((2, 1, 3, 3), np.float32)
    layer = nc.Conv2d.from_weight(weight)
    results = [call() for _ in range(8) for call in (lambda: nc.conv2d(x, weight), lambda: layer(x))]
    assert {result.ctypes.data % 64 for result in results} == {0}


def test_a_process_ends_and_forks_with_it(run_python):
    program = (
        "import os, numpy as np, numbaconv as nc; from numbaconv import shortcuts;"
        "x, w = np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32);"
        "[nc.conv2d(x, w) for _ in range(3)]; assert shortcuts.plain; child = os.fork();"
        "good = (nc.conv2d(x, w) == 9).all(); os._exit(0 if good else 1) if child == 0 else None;"
        "assert os.waitpid(child, 0)[1] == 0; print('done')"
    )
    assert run_python(program) == "done\n"


#: (input, weight, options) of calls that several threads make, by direct summation and by Winograd.
LARGE = {
    "direct": ((1, 32, 60, 60), (64, 32, 1, 1), {"algorithm": "direct"}),
    "depthwise": ((1, 64, 80, 80), (64, 1, 3, 3), {"groups": 64, "padding": 1}),
    "winograd": ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1, "algorithm": "winograd"}),
    "weights": ((1, 256, 9, 9), (512, 256, 3, 3), {"padding": 1, "algorithm": "im2col"}),
}


def large(name):
    shape, weight_shape, options = LARGE[name]
    random = np.random.default_rng(1)
    return [
        random.integers(-4, 5, size).astype(np.float32) for size in (shape, weight_shape, weight_shape[:1])
    ], options


@pytest.mark.parametrize("name", LARGE)
def test_calls_on_several_threads(name):
    """Plain calls and layers: the same bits as Python's code computes, in memory that begins on a cache line."""
    if runtime.threading_layer() == "workqueue":
        pytest.skip("the threading layer takes one call at a time, which Python's code sees to")
    (x, weight, bias), options = large(name)
    expected = nc.conv2d(x, weight, bias, **options, out=np.empty_like(nc.conv2d(x, weight, bias, **options)))
    values = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    layer = nc.Conv2d.from_weight(weight, bias, **values)
    assert nc.explain(x, weight, **options).parallel
    for _ in range(2):
        nc.conv2d(x, weight, bias, **options)
        layer(x)
    for _ in range(3):
        for result in (found(x, weight, bias, **options), layer(x)):
            assert result.ctypes.data % 64 == 0
            np.testing.assert_array_equal(result, expected)
    with nc.threads(1):
        assert found(x, weight, bias, **options) is None
        np.testing.assert_array_equal(layer(x), expected)
    assert found(x, weight, bias, **options) is not None


def test_a_spoiled_tile_is_summed_again():
    """Of a layer by Winograd whose earlier calls had no need for the function that sums directly."""
    (x, weight, bias), _ = large("winograd")
    layer = nc.Conv2d.from_weight(weight, bias, padding=1, algorithm="winograd")
    for _ in range(3):
        layer(x)
    x[0, 3, 20, 30] = np.nan
    expected = nc.conv2d(x, weight, bias, padding=1, algorithm="direct")
    assert np.isnan(expected).sum() == 9 * 64
    for _ in range(3):
        np.testing.assert_array_equal(np.isnan(layer(x)), np.isnan(expected))


def test_calls_at_the_same_time():
    """Threads that share what memory is kept."""
    made = [(*large(name), nc.conv2d(*large(name)[0], **large(name)[1])) for name in LARGE]

    def work(number):
        (x, weight, bias), options, expected = made[number % len(made)]
        return all(np.array_equal(nc.conv2d(x, weight, bias, **options), expected) for _ in range(5))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(24)))


def test_a_forked_child_starts_no_threads(run_python):
    """It makes the calls that its parent remembers, on its own thread."""
    run_python(
        "import os, numpy as np, numbaconv as nc\n"
        "x, w = np.ones((1, 64, 56, 56), np.float32), np.ones((64, 64, 1, 1), np.float32)\n"
        "results = [nc.conv2d(x, w) for _ in range(4)]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if np.array_equal(nc.conv2d(x, w), results[0]) else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert np.array_equal(nc.conv2d(x, w), results[0])\n"
    )


def test_one_thread_starts_no_others(run_python):
    """Within ``threads(1)``, however often a call is made."""
    run_python(
        "import numpy as np, numbaconv as nc\n"
        "from numba.np.ufunc import parallel\n"
        "x, w = np.ones((1, 64, 56, 56), np.float32), np.ones((64, 64, 1, 1), np.float32)\n"
        "with nc.threads(1):\n"
        "    results = [nc.conv2d(x, w) for _ in range(4)]\n"
        "assert not parallel._is_initialized\n"
        "assert np.array_equal(nc.conv2d(x, w), results[0])\n"
    )


def test_memory_is_kept():
    """The larger of two calls in turn has it kept, too."""
    again = load_module(".kernels.again")
    calls = [large("depthwise"), large("direct")]
    for _ in range(3):
        for arrays_of_call, options in calls:
            nc.conv2d(*arrays_of_call, **options)
    kept = int(shortcuts._state[again.KEPT])
    assert kept != 0
    for _ in range(3):
        for arrays_of_call, options in calls:
            nc.conv2d(*arrays_of_call, **options)
            assert int(shortcuts._state[again.KEPT]) == kept
