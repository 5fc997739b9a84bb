"""The GPU path without a GPU: its kernels run as plain Python in Numba's simulator, each test in its own process."""

import ast
import concurrent.futures
import pathlib

import pytest

pytest.importorskip("numba_cuda", reason="the GPU path needs numba-cuda: pip install '.[cuda13]'")

SOURCE = pathlib.Path(__file__).with_name("simulated.py")
#: What is no test there.
HELPERS = {
    "poisoned",
    "examples",
    "on_gpu",
    "host",
    "check",
    "raised",
    "fixed",
    "multiplied",
    "close",
    "steps",
    "_alive",
    "_in_parts",
}
NAMES = [node.name for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.FunctionDef)]


@pytest.fixture(scope="module")
def processes(request, run_python):
    """The processes of all tests that were selected, two at a time."""
    names = [item.callspec.params["name"] for item in request.session.items if item.module is request.module]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(
                run_python,
                f"import simulated; simulated.{name}()",
                NUMBA_ENABLE_CUDASIM="1",
                NUMBACONV_CUDA="numba-cuda",
            )
            for name in names
        }


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HELPERS])
def test_simulated(name, processes):
    processes[name].result()
