"""The cache: each test in a process of its own, which starts with nothing compiled or loaded."""

import concurrent.futures
import contextlib
import gc
import os
import pathlib
import shutil
import sys

import pytest

import numbaconv
from numbaconv import runtime

#: A call, checked. Prints the cache's directory, how many functions were compiled and how many were read from it.
CALL = """
import numpy as np
import numbaconv as nc
x = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
out = nc.conv2d(x, np.ones((1, 1, 1, 2), np.float32), algorithm="direct_pixels")
np.testing.assert_array_equal(out, x[..., 1:] + x[..., :-1])
from numbaconv import runtime
cached = [compilation.cached for compilation in runtime.compilations]
print(runtime.cache_directory(), cached.count(False), cached.count(True))
"""
#: One packs the weights, one sums, one calls both, and one does from the second call on, without Python.
KERNELS = "4"
#: The bias of a call that has none.
BIAS = """
import numpy as np
import numbaconv as nc
zeros, ones = np.zeros((1, 1, 3, 3), np.float32), np.ones((1, 1, 3, 3), np.float32)
print(nc.conv2d(zeros, ones, algorithm="direct_pixels").item())
"""


# ----------------------------------------------------------------------------------------------- cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory, run_python):
    """A cache that holds the call's kernels."""
    root = tmp_path_factory.mktemp("cache")
    directory, compiled, loaded = run_python(CALL, NUMBA_CACHE_DIR=str(root)).split()
    assert (compiled, loaded) == (KERNELS, "0")
    assert pathlib.Path(directory).parent == root / "numbaconv"
    return root


def test_cache_is_read(cache, run_python):
    assert run_python(CALL, NUMBA_CACHE_DIR=str(cache)).split()[1:] == ["0", KERNELS]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_cache_costs_a_compilation(kind, cache, tmp_path, run_python):
    """Whether the index or the code was cut off, as by a full disk. The next process finds it repaired."""
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob(f"*.{kind}"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)).split()[1:] == [KERNELS, "0"]
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)).split()[1:] == ["0", KERNELS]


def test_without_cache(run_python):
    assert run_python(CALL, NUMBACONV_CACHE="0").split() == ["None", KERNELS, "0"]


def test_cache_that_cannot_be_written(tmp_path, run_python):
    """Below a file there is no directory, not even for root."""
    (tmp_path / "file").touch()
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")).split() == ["None", KERNELS, "0"]


def test_changed_source_has_another_cache(tmp_path, run_python):
    """Numba would not notice that a kernel called from another file has changed: here the one that packs the bias."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    shutil.copytree(pathlib.Path(numbaconv.__file__).parent, tmp_path / "numbaconv")
    assert run_python(BIAS, **environment) == "0.0\n"
    source = tmp_path / "numbaconv" / "kernels" / "packing.py"
    text = source.read_text()
    assert text.count("address_of(bias, 0) != 0 else 0") == 1
    source.write_text(text.replace("address_of(bias, 0) != 0 else 0", "address_of(bias, 0) != 0 else 1"))
    assert run_python(BIAS, **environment) == "1.0\n"
    source.write_text(text)
    assert run_python(BIAS, **environment) == "0.0\n"


def test_several_processes_fill_one_cache(tmp_path, run_python):
    """At once; the next one finds all of it."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)), range(3)))
    assert all(int(text.split()[1]) + int(text.split()[2]) == int(KERNELS) for text in done)
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)).split()[1:] == ["0", KERNELS]


@pytest.mark.skipif(os.name != "posix", reason="the limit on file sizes is POSIX's")
def test_full_disk(tmp_path, run_python):
    """Not a byte can be written: said once, at debug level; the next process is not worse off for it."""
    full = "import logging, resource; logging.basicConfig(level=logging.DEBUG, format='%(name)s: %(message)s')\n"
    full += "import sys; logging.getLogger().handlers[0].setStream(sys.stdout)\n"
    full += "logging.getLogger('numba').setLevel(50)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
    lines = run_python(full + CALL, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert lines[-1].split()[1:] == [KERNELS, "0"]
    assert sum("compiled without a cache" in line for line in lines) == 1
    assert run_python(CALL, NUMBA_CACHE_DIR=str(tmp_path)).split()[1:] == [KERNELS, "0"]


def test_the_installation_is_not_written_to(cache, tmp_path, run_python):
    """Even where it could be; and the cache does not depend on where the package lies."""
    package = tmp_path / "numbaconv"
    shutil.copytree(pathlib.Path(numbaconv.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*package.rglob("*"), package):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(package.rglob("*"))
    program = f"import numbaconv; assert numbaconv.__file__.startswith({str(tmp_path)!r})\n{CALL}"
    environment = {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        assert run_python(program, **environment).split()[1:] == ["0", KERNELS]
        assert sorted(package.rglob("*")) == before
    finally:
        for path in (package, *package.rglob("*")):
            path.chmod(0o755)


def test_a_home_that_is_none(tmp_path, run_python):
    """HOME is where services often have none; another folder than the default one is not looked for."""
    (tmp_path / "home").touch()
    environment = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "NUMBA_CACHE_DIR": ""}
    assert run_python(CALL, **environment).split() == ["None", KERNELS, "0"]


# ------------------------------------------------------------------------------------------ LLVM in a thread of its own

#: Begin to compile kernels, then call them, {where}.
BEGUN = """
import os
import sys
import threading
from numbaconv import executable
from numbaconv.kernels import geometry as at
{before}
begun = executable.begin("direct_pixels", [0] * at.LENGTH, "float32")
{between}
assert all(function.address for function in begun)
"""


def test_a_child_makes_the_code_that_its_parent_has_begun(run_python, tmp_path):
    """The thread that makes it is left in the parent, which makes its own."""
    fork = "child = os.fork()\nif child: assert os.waitpid(child, 0)[1] == 0"
    code = BEGUN.format(before="", between=fork) + CALL
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).count(str(tmp_path)) == 2


def test_kernels_are_compiled_where_no_thread_can_be_started(run_python, tmp_path):
    refuse = "def refuse(*_): raise RuntimeError('no more threads')\nthreading.Thread.start = refuse"
    code = BEGUN.format(before=refuse, between="") + CALL
    assert str(tmp_path) in run_python(code, NUMBA_CACHE_DIR=str(tmp_path))


def test_kernels_that_share_a_piece_are_read_from_the_cache(run_python, tmp_path):
    """Winograd's kernels for padded inputs and for others both call the code that multiplies, which is kept twice."""
    code = """
import numpy as np
import numbaconv as nc
x, w = np.ones((1, 8, 12, 12), np.float32), np.ones((8, 8, 3, 3), np.float32)
for mode in {modes}:
    out = nc.conv2d(x, w, padding=1, padding_mode=mode, algorithm="winograd")
    np.testing.assert_allclose(out[0, 0, 5], [48] + 10 * [72] + [48] if mode == "zeros" else 72, rtol=1e-5)
from numbaconv import runtime
print(sum(not compilation.cached for compilation in runtime.compilations))
"""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert int(run_python(code.format(modes=["zeros"]), **environment)) > 0
    assert int(run_python(code.format(modes=["reflect"]), **environment)) == 1
    assert int(run_python(code.format(modes=["zeros", "reflect"]), **environment)) == 0


#: Layers of each way to run a plan (weights packed before, by tasks, and in one step with them), each computed by
#: several threads at once, of finite inputs and of others: no call may miss that another one has compiled meanwhile
#: what it lacks.
SPOILED = """
import concurrent.futures, sys
import numpy as np
import numbaconv as nc
from numbaconv import runtime
random = np.random.default_rng(0)
layers = []
for size, channels in ((9, 8), (30, 40), (60, 32)):
    w = random.integers(-4, 5, (channels, channels, 3, 3)).astype(np.float32)
    layers.append((size, channels, w, lambda x, w=w: nc.conv2d(x, w, padding=1, algorithm="winograd")))
    layers.append((size, channels, w, nc.Conv2d.from_weight(w, padding=1, algorithm="winograd")))
def compare(size, channels, w, call, spoil):
    x = random.integers(-4, 5, (1, channels, size, size)).astype(np.float32)
    if spoil:
        x.flat[spoil] = np.nan
    found, expected = call(x), nc.conv2d(x, w, padding=1, algorithm="direct_pixels")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, atol=2e-2)
interval = sys.getswitchinterval()
for layer in layers:
    compare(*layer, 0)
    assert not any(function.__name__ == "mend_block" for function in runtime.natives)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for layer in layers:
        list(pool.map(lambda spoil: compare(*layer, spoil), (0, 5, 0, 100, 300, 0, 7, 640)))
assert sum(function.__name__ == "mend_block" for function in runtime.natives) == 1
assert sys.getswitchinterval() == interval
print("passed")
"""


def test_what_sums_spoiled_tiles_is_compiled_for_the_first_of_them(run_python, tmp_path):
    assert run_python(SPOILED, NUMBA_CACHE_DIR=str(tmp_path)).strip() == "passed"


def test_compiling_leaves_the_interpreter_as_it_was():
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    with contextlib.suppress(KeyError), runtime.compiling():
        assert sys.getswitchinterval() < interval
        raise KeyError
    assert (sys.getswitchinterval(), gc.isenabled()) == (interval, collecting)
