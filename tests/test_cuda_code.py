"""The GPU path's machine code, compiled without a GPU: registers, memory and instructions of every kernel."""

import concurrent.futures
import itertools
import multiprocessing

import pytest

pytest.importorskip("numba_cuda", reason="the GPU path needs numba-cuda: pip install '.[cuda13]'")
pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
import gpu_kernels

if gpu_kernels.tools() is None:
    reason = (
        "needs ptxas, cuobjdump and nvdisasm: pip install nvidia-cuda-nvcc nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
    )
    pytest.skip(reason, allow_module_level=True)

CASES = [*itertools.product(gpu_kernels.KERNELS, gpu_kernels.CAPABILITIES)]


@pytest.fixture(scope="module")
def compiled():
    """What every kernel takes on every architecture; two processes compile them."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        tasks = [pool.submit(gpu_kernels.attempt, *case) for case in CASES]
        results = {(name, capability): measured for name, capability, measured in (task.result() for task in tasks)}
    print(f"\nRegisters\n\n{gpu_kernels.table(results)}")
    return results


@pytest.mark.parametrize(
    ("name", "capability"), CASES, ids=lambda part: part if isinstance(part, str) else "{}.{}".format(*part)
)
def test_code(name, capability, compiled):
    expected, measured = gpu_kernels.KERNELS[name], compiled[name, capability]
    assert measured.get("error") is None
    assert measured["parameters"]
    assert {part: measured[part] for part in ("stack", "spills", "local")} == {"stack": 0, "spills": 0, "local": 0}
    assert measured["registers"] <= expected.registers
    assert measured["shared"] <= 48 * 1024
    for instruction, least in expected.instructions.items():
        assert measured[instruction] >= least
