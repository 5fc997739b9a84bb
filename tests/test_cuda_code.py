"""The GPU path's machine code, compiled without a GPU: registers, memory and instructions of every kernel.

Each package that can compile it is tested: the one that NUMBACONV_CUDA names, or that is preferred, for all devices,
the other for two, whose code two different LLVMs write. The cache on disk is tested with the preferred one.
"""

import concurrent.futures
import functools
import importlib.util
import multiprocessing
import os

import pytest

PACKAGES = [
    name
    for name, own in (("numba-cuda", "numba_cuda"), ("numba-cuda-mlir", "numba_cuda_mlir"))
    if importlib.util.find_spec(own) is not None
]
if not PACKAGES:
    pytest.skip("the GPU path needs numba-cuda: pip install '.[cuda13]'", allow_module_level=True)
pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
import gpu_kernels  # noqa: E402  - it needs them

if gpu_kernels.tools() is None:
    reason = "needs cuobjdump and nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
    pytest.skip(reason, allow_module_level=True)

#: The package that compiles where nothing else is asked for.
CHOSEN = os.environ.get("NUMBACONV_CUDA") or PACKAGES[0]
CASES = [
    (package, name, capability)
    for package in PACKAGES
    for name in gpu_kernels.KERNELS
    for capability in (gpu_kernels.CAPABILITIES if package == CHOSEN else ((9, 0), (12, 0)))
]


@functools.cache
def compiled(package):
    """What every kernel takes on every architecture; two processes compile them."""
    context = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBACONV_CUDA", package)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            tasks = [pool.submit(gpu_kernels.attempt, *case) for owner, *case in CASES if owner == package]
            results = {(name, capability): measured for name, capability, measured in (task.result() for task in tasks)}
    print(f"\nRegisters by {package}\n\n{gpu_kernels.table(results)}")
    return results


@pytest.mark.parametrize(
    ("package", "name", "capability"), CASES,
    ids=lambda part: part if isinstance(part, str) else "{}.{}".format(*part),
)  # fmt: skip
def test_code(package, name, capability):
    expected, measured = gpu_kernels.KERNELS[name], compiled(package)[name, capability]
    assert measured.get("error") is None
    assert measured["parameters"]
    assert {part: measured[part] for part in ("stack", "spills", "local")} == {"stack": 0, "spills": 0, "local": 0}
    assert measured["registers"] <= expected.registers
    assert measured["shared"] <= 48 * 1024
    for instruction, least in expected.instructions.items():
        assert measured[instruction] >= least


@pytest.mark.parametrize("package", PACKAGES)
def test_parameters(package, run_python):
    """Each parameter lies at the start of its slot, as the driver will copy it."""
    program = """
import numpy as np
from numbaconv.cuda.launch import SLOT, Integers, slots
from numbaconv.cuda.views import Memory
address = (1 << 47) + 5
arguments = [
    Memory(address, np.dtype("float32"), None, address),
    Integers((2**32 - 1, 7), "uint32"), Integers((-3, 2**40), "int64"),
    np.float32(-1.5), np.float64(0.1), np.int64(-9), np.uint32(2**31), np.complex64(2 - 1j), np.complex128(1 + 0.1j),
]
memory = np.concatenate([slots(each) for each in arguments]).tobytes()
def held(kind):
    global memory
    value, memory = np.frombuffer(memory[:SLOT], kind)[0], memory[SLOT:]
    return value
assert held("u8") == address
assert [held("u4"), held("u4")] == [2**32 - 1, 7]
assert [held("i8"), held("i8")] == [-3, 2**40]
assert [held("f4"), held("f8"), held("i8"), held("u4")] == [-1.5, 0.1, -9, 2**31]
if PAIRS:
    assert [held("f4"), held("f4"), held("f8"), held("f8")] == [2, -1, 1, 0.1]
else:
    assert [held("c8"), held("c16")] == [2 - 1j, 1 + 0.1j]
assert not memory
"""
    run_python(program.replace("PAIRS", str(package == "numba-cuda")), NUMBACONV_CUDA=package)


#: Two variants of one factory, and a kernel of a module: prints where each is kept, and how often Numba compiled.
KEPT = """
import hashlib
import gpu_kernels
from numbaconv.cuda import compiling
gpu_kernels.pretend((8, 0))
compiles = []
ptx = compiling.ptx
compiling.ptx = lambda *given: compiles.append(given) or ptx(*given)
for name in ("depthwise 4", "depthwise 8", "direct float32"):
    expected = gpu_kernels.KERNELS[name]
    kernel = gpu_kernels.kernel_of(expected.kernel)
    made = compiling.binary(kernel, expected.arguments, (8, 0))
    path = compiling.path_of(kernel, expected.arguments, (8, 0))
    print(path, made.name, hashlib.sha256(made.code).hexdigest())
print(len(compiles))
"""


def test_machine_code_is_kept(tmp_path, run_python):
    """The next process compiles nothing and gets the same code; of a damaged file it compiles that kernel alone."""
    first, second = (run_python(KEPT, NUMBA_CACHE_DIR=str(tmp_path)).splitlines() for _ in range(2))
    assert (first[-1], second[-1]) == ("3", "0")
    assert first[:-1] == second[:-1]
    files = [line.split()[0] for line in first[:-1]]
    assert len(set(files)) == len({line.split()[-1] for line in first[:-1]}) == 3
    with open(files[1], "r+b") as file:  # noqa: PTH123
        file.truncate(1000)
    assert [run_python(KEPT, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()[-1] for _ in range(2)] == ["1", "0"]
    assert run_python(KEPT, NUMBACONV_CACHE="0", NUMBA_CACHE_DIR=str(tmp_path / "none")).splitlines()[-1] == "3"
    assert not (tmp_path / "none").exists()


UNKNOWN = """
import numpy as np
from numbaconv.cuda import compiling
def made(number):
    def kernel(x): x[0] = number
    return kernel
kinds = [("memory", np.dtype("float32"))]
print(compiling.path_of(made(1), kinds, (8, 0)))
known = compiling.factory(made)
print(len({compiling.path_of(known(1), each, capability)
    for each in (kinds, [("memory", np.dtype("float64"))], kinds * 2) for capability in ((8, 0), (9, 0))}
    | {compiling.path_of(known(2), kinds, (8, 0))}))
"""


def test_what_is_not_known_is_not_kept(tmp_path, run_python):
    """A kernel with a closure that no factory made might be another one; all else tells kernels apart."""
    assert run_python(UNKNOWN, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["None", "7"]


def test_choice_of_package(run_python):
    program = "from numbaconv.cuda import shim; print(shim.PACKAGE)"
    assert run_python(program).strip() == CHOSEN
    for package in PACKAGES:
        assert run_python(program, NUMBACONV_CUDA=package).strip() == package
    failing = "try:\n    import numbaconv.cuda.shim\nexcept (ImportError, ValueError) as error:\n    print(error)"
    assert "got 'cupy'" in run_python(failing, NUMBACONV_CUDA="cupy")
    for package in {"numba-cuda", "numba-cuda-mlir"} - set(PACKAGES):
        assert f"pip install {package}" in run_python(failing, NUMBACONV_CUDA=package)
