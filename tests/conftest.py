"""Hypothesis's profile, and a fixture that runs Python in a process of its own."""

import os
import pathlib
import subprocess
import sys

import hypothesis
import pytest

# Results must not depend on the number of threads, which takes two of them to see, on a machine with one core, too.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, os.cpu_count() or 1)))

# Waiting threads sleep. They would spin, and on cores that others use, too, that makes a test take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numbaconv  # after the environment is set

#: Problems that each property is tried on. NUMBACONV_EXAMPLES=5000 is for an afternoon.
EXAMPLES = int(os.environ.get("NUMBACONV_EXAMPLES", "100"))
hypothesis.settings.register_profile(
    "numbaconv", deadline=None, derandomize=False, print_blob=True, max_examples=EXAMPLES
)
hypothesis.settings.load_profile("numbaconv")

SOURCES = [str(pathlib.Path(__file__).parent), str(pathlib.Path(numbaconv.__file__).parents[1])]


@pytest.fixture(scope="session")
def run_python():
    """Run a program in a new process that can import these tests; return what it printed. A crash fails the test."""

    def run(program, *, timeout=300, **environment):
        path = os.pathsep.join([*SOURCES, *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=SOURCES[0],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    return run


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow: give --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)
