"""Run by test_njit.py in processes of their own: convolutions in serial code, in prange and in a forked child."""

import os
import pathlib
import sys

import numba
import numpy as np

import numbaconv as nc

SOURCE = """
import numpy as np
from numba import njit, prange
import numbaconv as nc


@njit(cache=True)
def serial(x, w):
    return nc.conv2d(x, w, padding=1)


@njit(cache=True, parallel=True)
def images(x, w, taps):
    out = np.empty((x.shape[0], w.shape[0], x.shape[2], x.shape[3]), x.dtype)
    edges = np.empty((x.shape[0], x.shape[2], x.shape[3]), x.dtype)
    for i in prange(x.shape[0]):
        out[i] = nc.conv2d(x[i : i + 1], w, padding=1)[0]
        edges[i] = nc.signal.convolve2d(x[i, 0], taps, "same", "symm")
    return out, edges
"""


def check(module):
    random = np.random.default_rng(0)
    x = random.standard_normal((6, 32, 96, 97)).astype(np.float32)
    w, taps = random.standard_normal((32, 32, 3, 3)).astype(np.float32), random.random((5, 5)).astype(np.float32)
    assert nc.explain(x.shape, w.shape, padding=1).algorithm == "winograd"
    expected = nc.conv2d(x, w, padding=1)
    alone = np.concatenate([nc.conv2d(x[i : i + 1], w, padding=1) for i in range(len(x))])  # maybe by another tile
    assert np.array_equal(module.serial(x, w), expected)
    yield "serial"
    for _ in range(3):
        out, edges = module.images(x, w, taps)
        assert np.array_equal(out, alone)
        assert np.array_equal(edges[0], nc.signal.convolve2d(x[0, 0], taps, "same", "symm"))
    yield "prange"
    child = os.fork()
    if child == 0:
        fine = np.array_equal(module.serial(x, w), expected)
        if numba.threading_layer() == "workqueue":  # Numba's parallel loops do not survive a fork under GNU OpenMP
            fine = fine and np.array_equal(module.images(x, w, taps)[0], alone)
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    yield "fork"


if __name__ == "__main__":
    folder = pathlib.Path(os.environ["NJIT_PROGRAMS_CACHE"])
    folder.mkdir(exist_ok=True)
    source = folder / "njit_user_module.py"
    if not source.exists():
        source.write_text(SOURCE)
    sys.path.insert(0, str(folder))
    import njit_user_module

    for done in check(njit_user_module):
        print(done)
    print(numba.threading_layer())
    print("compiled", bool(njit_user_module.images.stats.cache_misses))
