"""The cache, forks and threads: each in a process of its own, which starts with nothing compiled or loaded."""

import os
import pathlib
import shutil

import pytest

import numbaconv

#: A call, checked. Prints the cache's directory, how often its kernel was compiled and how often it was read from it.
CALL = """
import numpy as np
import numbaconv as nc
x = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
out = nc.conv2d(x, np.ones((1, 1, 1, 2), np.float32), algorithm="direct_pixels")
np.testing.assert_array_equal(out, x[..., 1:] + x[..., :-1])
from numbaconv import runtime
from numbaconv.kernels.direct_pixels import direct_pixels_once
stats = direct_pixels_once.stats
print(runtime.cache_directory(), sum(stats.cache_misses.values()), sum(stats.cache_hits.values()))
"""
DIRECTORY = "from numbaconv import runtime; print(runtime.cache_directory())"
#: Problems that are worth several threads, whose results are kept.
PROBLEMS = """
import numpy as np
import numbaconv as nc
random = np.random.default_rng(0)
x, w = (random.normal(size=shape).astype(np.float32) for shape in ((1, 16, 60, 60), (24, 16, 3, 3)))
calls = [(x, w, algorithm) for algorithm in ("direct", "im2col", "winograd")]
def convolve(x, w, algorithm):
    assert nc.explain(x, w, algorithm=algorithm).parallel
    return nc.conv2d(x, w, algorithm=algorithm).tobytes()
"""
FORK = """
import os
expected = [convolve(*call) for call in calls]
child = os.fork()
if child == 0:
    os._exit(0 if [convolve(*call) for call in calls] == expected else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert [convolve(*call) for call in calls] == expected
"""
POOL = """
import multiprocessing
expected = [convolve(*call) for call in calls]
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.starmap(convolve, calls) == expected
"""
THREADS = """
import concurrent.futures, threading, numba
together = threading.Barrier(4)
def work(_):
    together.wait()
    return [convolve(*call) for call in calls * 20]
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    results = list(pool.map(work, range(4)))
numba.set_num_threads(1)
expected = [convolve(*call) for call in calls] * 20
assert results == [expected] * 4
print(numba.threading_layer())
"""


# ----------------------------------------------------------------------------------------------- cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory, run_python):
    """A cache that holds the call's kernels."""
    root = tmp_path_factory.mktemp("cache")
    directory, compiled, loaded = run_python(CALL, NUMBA_CACHE_DIR=str(root)).split()
    assert (compiled, loaded) == ("1", "0")
    assert pathlib.Path(directory).parent == root / "numbaconv"
    return root


def test_cache_is_read(cache, run_python):
    assert run_python(CALL, NUMBA_CACHE_DIR=str(cache)).split()[1:] == ["0", "1"]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_cache_costs_a_compilation(kind, cache, tmp_path, run_python):
    """Whether the index or the code was cut off, as by a full disk. The next process finds it repaired."""
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob(f"*.{kind}"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)).split()[1:] == ["1", "0"]
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)).split()[1:] == ["0", "1"]


def test_without_cache(run_python):
    assert run_python(CALL, NUMBACONV_CACHE="0").split() == ["None", "1", "0"]


def test_cache_that_cannot_be_written(tmp_path, run_python):
    """Below a file there is no directory, not even for root."""
    (tmp_path / "file").touch()
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")).split() == ["None", "1", "0"]


def test_changed_source_has_another_cache(tmp_path, run_python):
    """Numba would not notice that a kernel called from another file has changed."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    shutil.copytree(pathlib.Path(numbaconv.__file__).parent, tmp_path / "numbaconv")
    before = run_python(DIRECTORY, **environment)
    assert run_python(DIRECTORY, **environment) == before
    with (tmp_path / "numbaconv" / "kernels" / "geometry.py").open("a") as source:
        source.write("\n# a comment\n")
    assert run_python(DIRECTORY, **environment) != before


# --------------------------------------------------------------------------------------- forks, threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("child", [FORK, POOL], ids=["fork", "pool"])
def test_forked_child(child, run_python):
    """GNU OpenMP ends a forked child that starts threads after its parent did."""
    run_python(PROBLEMS + child, timeout=120)


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_threads_at_once(layer, run_python):
    """Four threads of Python's; Numba's workqueue ends a process that calls it from two at once."""
    used = run_python(PROBLEMS + THREADS, timeout=120, NUMBA_THREADING_LAYER=layer).split()
    assert layer == "default" or used == [layer]
