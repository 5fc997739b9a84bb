"""Threads, forks, random problems, arrays that end at unreadable pages, for long: no crash, wrong value or leak.

NUMBACONV_SOAK says for how many seconds; 60 by default, 600 once before a release.
"""

import os

import pytest

SECONDS = float(os.environ.get("NUMBACONV_SOAK", "60"))

#: Small integers: sums are exact, whatever their order. Those of Winograd, transforms and outer products are not.
PROGRAM = """
import concurrent.futures, ctypes, gc, os, sys, time
import numpy as np
from scipy import signal
import accuracy, naive
import numbaconv as nc
from numbaconv import runtime
from test_guard_pages import Guarded

SECONDS = float(sys.argv[1])
PROBLEMS = 500  # as many different ones: what is remembered of calls is bounded, but not small
start = time.monotonic()

libc = ctypes.CDLL(None)

def rss():
    # What the allocator has got back and keeps, more or less of it from one moment to the next, is no leak.
    gc.collect()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def one(random, places):
    number = int(random.integers(PROBLEMS))
    threads = int(random.integers(1, 4))
    random = np.random.default_rng(number)
    at_end = number % 2 == 0
    ndim = int(random.integers(1, 4))
    groups = int(random.choice([1, 1, 1, 2, 4]))
    channels, filters = groups * int(random.integers(1, 9)), groups * int(random.integers(1, 20))
    kernel = tuple(int(k) for k in random.integers(1, 4, ndim))
    size = tuple(int(s) for s in random.integers(6, [200, 40, 14][ndim - 1], ndim))
    x = random.integers(-4, 5, (int(random.integers(1, 3)), channels, *size)).astype(np.float32)
    w = random.integers(-4, 5, (filters, channels // groups, *kernel)).astype(np.float32)
    x, w = places[0].place(x, at_end), places[1].place(w, at_end)
    options = {"stride": int(random.integers(1, 3)), "padding": int(random.integers(0, 3)), "groups": groups}
    algorithms = ["auto", "direct_channels", "direct_pixels", "im2col"]
    if options["stride"] == 1 and ndim < 3 and max(kernel) > 1:
        algorithms += ["winograd"] * 2
    algorithm = str(random.choice(algorithms))
    plan = nc.explain(x, w, algorithm=algorithm, **options)
    expected = naive.tap_reference(x, w, **options)
    out = places[2].place(np.full(expected.shape, np.nan, np.float32), at_end)
    with nc.threads(threads):
        getattr(nc, f"conv{ndim}d")(x, w, algorithm=algorithm, out=out, **options)
    if plan.algorithm == "winograd":
        arguments = {**options, "dilation": 1, "padding_mode": "zeros", "data_format": "NC" + "DHW"[3 - ndim :]}
        allowed = accuracy.winograd_bound(x, w, None, np.float32, arguments, algorithm=algorithm)
        assert (np.abs(out - expected) <= allowed).all()
    else:
        np.testing.assert_array_equal(out, expected)
    if random.random() < 0.2:
        image, taps = x.reshape(-1, x.shape[-1]), w.reshape(-1, w.shape[-1])
        if image.shape[0] >= taps.shape[0] and image.size * taps.size < 2e6:
            found = nc.signal.convolve2d(image, taps, "valid")
            wanted = signal.convolve2d(image.astype(np.float64), taps.astype(np.float64), "valid")
            # Large kernels are transformed, or taken apart: as many roundings as test_signal allows.
            absolute = signal.convolve2d(np.abs(image).astype(np.float64), np.abs(taps).astype(np.float64), "valid")
            allowed = 2 * (taps.size + 3) * np.finfo(np.float32).eps * absolute
            assert (np.abs(found - wanted) <= allowed).all()

def rounds(seed, seconds):
    random, places = np.random.default_rng(seed), taken.pop() if taken else [Guarded(1024) for _ in range(3)]
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        one(random, places)
        count += 1
    taken.append(places)
    return count

taken = []  # guarded memory that no thread uses now

def forked(seed):
    child = os.fork()
    if child == 0:
        try:
            rounds(seed, 0.5)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0

counts, sizes, children, seed = 0, [], 0, 0
with concurrent.futures.ThreadPoolExecutor(3) as pool:
    while time.monotonic() - start < SECONDS:
        slice_ = min(5.0, SECONDS / 10)
        running = [pool.submit(rounds, seed + i, slice_) for i in range(3)]
        seed += 3
        while not all(future.done() for future in running):
            forked(10**6 + children)
            children += 1
        counts += sum(future.result() for future in running)
        sizes.append(rss())
late = sizes[len(sizes) // 2 :]
print(counts, children, min(late), max(late), runtime.threading_layer())
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from Linux's /proc")  # noqa: PTH110
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_soak(layer, run_python):
    if layer == "omp":
        pytest.importorskip("numba.np.ufunc.omppool", reason="Numba has no OpenMP here: the system lacks libgomp")
    program = f"import sys; sys.argv = ['soak', {str(SECONDS)!r}]\n{PROGRAM}"
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "3", "MALLOC_ARENA_MAX": "2"}
    calls, children, least, most, used = run_python(program, timeout=SECONDS + 300, **environment).split()
    print(f"{layer}: {calls} calls, {children} children, {int(least) >> 20} to {int(most) >> 20} MiB")
    assert used == layer
    assert int(calls) > SECONDS
    assert int(children) > 0
    assert int(most) <= 1.02 * int(least)
