"""SciPy's own tests of its convolutions pass with ours in their place; see :mod:`scipy_swap`. None stays out."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import scipy
from conftest import SOURCES

#: (file, which of its tests, at least so many must pass, the functions of ours that they must have called).
SUITES = {
    "signal": (
        "signal/tests/test_signaltools.py",
        "TestConvolve or TestConvolve2d or TestAllFreqConvolves or TestCorrelate",
        100,
        ("convolve", "convolve2d", "correlate", "correlate2d", "choose_conv_method", "fftconvolve", "oaconvolve"),
    ),
    "transforms": (
        "signal/tests/test_signaltools.py",
        "TestFFTConvolve or TestOAConvolve",
        10_000,
        ("fftconvolve", "oaconvolve"),
    ),
    "ndimage": (
        "ndimage/tests/test_filters.py",
        "correlate or convolve",
        1_000,
        ("convolve", "convolve1d", "correlate", "correlate1d"),
    ),
}


@pytest.mark.parametrize("suite", SUITES)
def test_scipys_own_tests(suite, tmp_path):
    name, which, least, functions = SUITES[suite]
    root = pathlib.Path(scipy.__file__).parent
    if not (root / name).exists():
        pytest.skip("this SciPy was installed without its tests")
    # Not in SciPy's directory: its "signal" would hide Python's.
    options = ["-q", "-p", "scipy_swap", "-p", "no:cacheprovider", "-c", os.devnull, "--import-mode=append"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={root}", str(root / name), "-k", which],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if "No module named" in done.stdout + done.stderr:
        pytest.skip(f"SciPy's tests need more than is installed:\n{done.stdout[-500:]}")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= least
    module = "scipy.ndimage" if suite == "ndimage" else "scipy.signal"
    for function in functions:
        assert re.search(rf"'{module}\.{function}': \d+", done.stdout), f"{function} was never called"
