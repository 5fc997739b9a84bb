"""Threads and forks, on each of Numba's threading layers, each in a process of its own."""

import os
import signal
import time
from unittest import mock

import numba
import numpy as np
import pytest

import numbaconv as nc
from numbaconv import runtime
from numbaconv.compiling import uninterrupted

LAYERS = ["omp", "workqueue"]
#: Threads at once, of Python's; Numba's workqueue ends a process that starts two parallel regions at once.
THREADS = """
import concurrent.futures, threading, numba, mixture
import numbaconv as nc
from numbaconv import runtime
together = threading.Barrier(4)
def work(_):
    together.wait()
    return [mixture.results() for _ in range(2)]
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(work, range(4)))
expected = mixture.results()
assert found == [[expected] * 2] * 4
before = numba.get_num_threads()
assert before == 3
for count in (1, 2, 3):
    numba.set_num_threads(count)
    assert mixture.results() == expected
    assert numba.get_num_threads() == count
numba.set_num_threads(3)
for count in (1, 2, 3, 99):
    with nc.threads(count):
        assert runtime.thread_count() == min(count, 3)
        assert mixture.results() == expected
        assert numba.get_num_threads() == 3
assert numba.threading_layer() == LAYER
"""
#: A child, its child, and pools of children of each kind. The parent has used threads before.
FORKS = """
import multiprocessing, os, mixture
from numbaconv import runtime
import numba
if __name__ == "__main__":
    expected = mixture.results()
    assert runtime.thread_count() > 1
    assert numba.threading_layer() == LAYER
    child = os.fork()
    if child == 0:
        good = mixture.results() == expected and runtime.thread_count() == 1
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if mixture.results() == expected and runtime.thread_count() == 1 else 1)
        good = good and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if good and mixture.results() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(mixture.results, range(2)) == [expected] * 2, method
    assert mixture.results() == expected
"""
#: Forks while another thread is inside a kernel, or between two.
BUSY = """
import os, threading, mixture
expected = mixture.results()
stop = threading.Event()
def work():
    while not stop.is_set():
        mixture.results()
thread = threading.Thread(target=work)
thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if mixture.results() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
assert mixture.results() == expected
"""
#: Forks while another thread compiles; the children compile, too.
COMPILING = """
import os, threading, time
import numpy as np
import numbaconv as nc
def call(dtype):
    x, w = np.ones((1, 2, 9, 9), dtype), np.ones((3, 2, 3, 3), dtype)
    return bool((nc.conv2d(x, w, algorithm="im2col") == 18).all())
thread = threading.Thread(target=lambda: [call(dtype) for dtype in (np.float32, np.float64, np.int32)])
thread.start()
time.sleep(1)
children = []
for _ in range(3):
    children.append(os.fork())
    if children[-1] == 0:
        os._exit(0 if call(np.int64) else 1)
    time.sleep(1)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
thread.join()
assert call(np.int64)
"""
#: Forks while another thread starts Numba's threads, or disposes of compiled code: both hold a lock for that long.
LOCKED = """
import os, signal, threading, time
import llvmlite.binding as llvm
import numpy as np
from numba.np.ufunc import parallel
import numbaconv as nc
def call():
    x, w = np.ones((1, 8, 60, 60), np.float32), np.ones((16, 8, 3, 3), np.float32)
    return bool((nc.conv2d(x, w, algorithm="im2col") == 72).all())
def hold():
    with lock:
        held.set()
        time.sleep(0.5)
for lock in (parallel._backend_init_thread_lock, llvm.ffi.lib._lock):
    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if call() else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
assert call()
"""
#: Forks while another thread has the lock that Numba shares between parent and child, before threads are started.
SHARED = """
import os, signal, threading, time
import numpy as np
from numba.np.ufunc import parallel
import numbaconv as nc
from numbaconv import runtime
signal.alarm(200)
parallel._set_init_process_lock()
def hold():
    with parallel._backend_init_process_lock:
        held.set()
        time.sleep(0.5)
held = threading.Event()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if runtime.thread_count() > 1 and runtime.thread_count() > 1 else 1)
thread.join()
assert os.waitpid(child, 0)[1] == 0
assert runtime.thread_count() > 1
"""
#: Forks while another thread transforms.
TRANSFORMS = """
import os, threading
import numpy as np
import numbaconv as nc
def work():
    try:
        while not stop.is_set():
            call()
    except BaseException as error:
        failed.append(error)
x, w = np.ones((400, 400)), np.ones((100, 100))
def call():
    return nc.signal.fftconvolve(x, w, "valid")
expected = call().tobytes()
stop, failed = threading.Event(), []
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(50):
    child = os.fork()
    if child == 0:
        os._exit(0 if call().tobytes() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert not failed, failed
"""
#: Forks while another thread is importing a module, which the child needs, too.
IMPORTING = """
import importlib.abc, os, signal, sys, threading, time
import numpy as np
import numbaconv as nc
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            reached.set()
            time.sleep(0.5)
sys.meta_path.insert(0, Slow())
x, w = np.ones((1, 8, 20, 20), np.float32), np.ones((16, 8, 3, 3), np.float32)
def plan():
    return nc.explain(x, w).problem.filters == 16
def layer():
    return bool((nc.conv2d(x, w, algorithm="im2col") == 72).all())
def image():
    return bool((nc.signal.convolve2d(x[0, 0], w[0, 0], "valid") == 9).all())
def transform():
    return bool((nc.signal.fftconvolve(x[0, 0], w[0, 0], "valid").round() == 9).all())
for module, call in {
    "numbaconv.algorithms.direct_pixels": plan,
    "numbaconv.kernels.packing": layer,
    "numbaconv.kernels.image": image,
    "scipy.special": transform,
}.items():
    reached = threading.Event()
    thread = threading.Thread(target=call)
    thread.start()
    assert reached.wait(60), module
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if call() else 1)
    assert os.waitpid(child, 0)[1] == 0, module
    thread.join()
    assert call()
"""
#: First calls import nothing without a lock that forks wait for.
UNGUARDED = """
import importlib.abc, sys
import numpy as np
import numbaconv as nc
from numbaconv import forks
import mixture
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        guards = [item for item in forks.locks() if hasattr(item, "_is_owned") and item._is_owned()]
        guards += [forks.global_compiler_lock] * forks.global_compiler_lock.is_locked()
        (guarded if guards else unguarded).append(name)
guarded, unguarded = [], []
sys.meta_path.insert(0, Watch())
mixture.results()
nc.signal.fftconvolve(np.ones((90, 90)), np.ones((30, 30)))
nc.signal.convolve(np.ones(3000), np.ones(600))
nc.ndimage.correlate1d(np.ones((50, 50)), np.ones(5))
nc.conv3d(np.ones((1, 2, 5, 6, 7)), np.ones((3, 2, 3, 3, 3)))
nc.conv1d(np.ones((1, 2, 57), np.complex64), np.ones((3, 2, 3)))
nc.fold(nc.unfold(np.ones((1, 2, 20, 20)), 3), (20, 20), 3)
nc.tune(nc.explain((1, 8, 16, 16), (8, 8, 3, 3)).problem, seconds=0.01)
assert "scipy.fft" in guarded and "numbaconv.kernels.winograd" in guarded
assert not unguarded, unguarded
"""
#: A child of a parent that has not used threads starts its own.
FRESH = """
import os, mixture
import numbaconv
from numbaconv import runtime
child = os.fork()
if child == 0:
    several = runtime.thread_count() > 1
    os._exit(0 if several and mixture.results() == mixture.results() else 1)
assert os.waitpid(child, 0)[1] == 0
"""
#: Ctrl-C again and again, wherever it comes.
INTERRUPTED = """
import signal, mixture
from numbaconv import runtime
calls = mixture.calls()
expected = [call().tobytes() for call in calls]
stopped = 0
signal.signal(signal.SIGALRM, signal.default_int_handler)
for number in range(120):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.00013 * (number % 40))
        while True:
            calls[number % len(calls)]()
    except KeyboardInterrupt:
        stopped += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert stopped == 120
assert [call().tobytes() for call in calls] == expected
assert not runtime._workqueue_lock._is_owned()  # an interrupt just before the release leaves that to the next call
"""


@pytest.fixture(params=LAYERS)
def run_on_layer(request, run_python, tmp_path):
    """Run a program, from a file, so that spawned children can import it, on a threading layer."""
    if request.param == "omp":
        pytest.importorskip("numba.np.ufunc.omppool", reason="Numba has no OpenMP here: the system lacks libgomp")

    def run(program, **environment):
        path = tmp_path / "program.py"
        path.write_text(f"LAYER = {request.param!r}\n{program}")
        run = f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')"
        environment = {"NUMBA_THREADING_LAYER": request.param, "NUMBA_NUM_THREADS": "3", **environment}
        return run_python(run, **environment)

    return run


def test_threads_at_once(run_on_layer):
    run_on_layer(THREADS)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.parametrize(
    "program",
    [FORKS, BUSY, LOCKED, SHARED, IMPORTING, TRANSFORMS, FRESH],
    ids=["forks", "busy", "locked", "shared", "importing", "transforms", "fresh"],
)
def test_children(program, run_on_layer):
    """GNU OpenMP ends a forked child that starts threads after its parent did."""
    run_on_layer(program)


def test_imports_are_guarded(run_python):
    run_python(UNGUARDED)


@needs_fork
@pytest.mark.slow
def test_fork_while_compiling(run_on_layer):
    run_on_layer(COMPILING, NUMBACONV_CACHE="0")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no timer signals")
def test_interrupts(run_on_layer):
    run_on_layer(INTERRUPTED)


def test_a_part_of_the_tests_on_workqueue(run_python):
    """All tests pass on both layers (CONTRIBUTING tells how to run them); here a part, on the one less used."""
    program = "import sys, pytest; sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', 'test_conv.py']))"
    out = run_python(program, NUMBA_THREADING_LAYER="workqueue", NUMBACONV_EXAMPLES="2", NUMBA_NUM_THREADS="3")
    assert " passed" in out


# --------------------------------------------------------------------------------------------------- this process


def test_threads_are_bounded_and_given_back():
    usual = runtime.thread_count()
    with nc.threads(1):
        assert runtime.thread_count() == 1
        with nc.threads(2):
            assert runtime.thread_count() == min(2, usual)
        assert runtime.thread_count() == 1
    with pytest.raises(RuntimeError, match="inside"), nc.threads(1):
        raise RuntimeError("inside")
    assert runtime.thread_count() == usual == numba.get_num_threads()


def test_threads_bound_their_own_thread_alone():
    import threading

    seen = []
    with nc.threads(1):
        other = threading.Thread(target=lambda: seen.append(runtime.thread_count()))
        other.start()
        other.join()
        assert runtime.thread_count() == 1
    assert seen == [numba.get_num_threads()]


def test_the_interpreter_runs_meanwhile():
    """Another thread of Python's goes on while a kernel runs."""
    import threading
    import time

    x, w = np.ones((4, 64, 112, 112), np.float32), np.ones((64, 64, 3, 3), np.float32)
    nc.conv2d(x, w, algorithm="im2col")
    with nc.threads(1):
        start = time.perf_counter()
        nc.conv2d(x, w, algorithm="im2col")
        alone = time.perf_counter() - start

        def work():
            with nc.threads(1):
                nc.conv2d(x, w, algorithm="im2col")

        gaps = []
        while len(gaps) < 10 and (not gaps or min(gaps) > 0.5 * alone):  # others may use this thread's core
            thread = threading.Thread(target=work)
            thread.start()
            gap, last = 0.0, time.perf_counter()
            while thread.is_alive():
                now = time.perf_counter()
                gap, last = max(gap, now - last), now
            gaps.append(gap)
    assert min(gaps) < 0.5 * alone


@pytest.mark.parametrize("number", range(5))
def test_memory_that_cannot_be_had(number, monkeypatch):
    """An allocation that fails is a MemoryError, and nothing was written: neither into out= nor into the input."""
    x, w = np.ones((1, 16, 60, 60), np.float32), np.ones((24, 16, 3, 3), np.float32)
    failed = []
    for algorithm in ("direct_channels", "im2col", "winograd"):
        out = np.full((1, 24, 58, 58), np.nan, np.float32)
        nc.conv2d(x, w, algorithm=algorithm)
        left, empty = number, np.empty

        def scarce(*arguments, empty=empty, **keywords):
            nonlocal left
            left -= 1
            if left < 0:
                raise MemoryError("no memory")
            return empty(*arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", scarce)
            try:
                nc.conv2d(x, w, algorithm=algorithm, out=out)
            except MemoryError:
                failed.append(algorithm)
                assert np.isnan(out).all()
        assert (x == 1).all()
        assert nc.conv2d(x, w, algorithm=algorithm, out=out) is out
        np.testing.assert_allclose(out, 144, rtol=1e-5)
    assert len(failed) == 3 or number > 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer signals")
def test_signals_wait_while_code_is_loaded():
    """An exception in a function that LLVM calls would end the program; handlers run afterwards, and are put back."""
    done = []

    def interrupt(*_):
        raise KeyboardInterrupt

    def wait():
        with uninterrupted():
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            time.sleep(0.1)
            done.append(True)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert done == [True]
        assert signal.getsignal(signal.SIGALRM) is interrupt
        assert signal.getsignal(signal.SIGINT) is not interrupt
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_every_signal_that_waited_is_delivered():
    calls = []

    def first(*_):
        calls.append(1)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, first), signal.signal(signal.SIGTERM, lambda *_: calls.append(2))

    def wait():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            assert calls == []

    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert sorted(calls) == [1, 2]
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_other_threads_change_no_handlers():
    """They may not, even where Python takes one for the main one: it does where that has not imported threading."""
    before = signal.getsignal(signal.SIGINT)
    with (
        mock.patch.object(signal, "signal", side_effect=ValueError("signal only works in main thread")),
        uninterrupted(),
    ):
        assert signal.getsignal(signal.SIGINT) is before
