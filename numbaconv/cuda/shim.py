"""Which package compiles for the GPU, and the operations beneath the kernels: the one place that chooses.

numba-cuda is what is used. Its successor, numba-cuda-mlir, takes plain kernels unchanged but has neither the LLVM
builder that :mod:`.intrinsics` emits instructions with nor a simulator: it will take an intrinsics module of its own.
Under ``NUMBA_ENABLE_CUDASIM=1`` kernels run as plain Python, on :mod:`.simops`.
"""

from __future__ import annotations

from typing import Any

_INSTALL = "python -m pip install 'numbaconv[cuda13]' (or 'numbaconv[cuda12]' for CUDA 12 drivers)"


def _load() -> Any:
    """numba-cuda's module, or ImportError with what to install."""
    # The numba package brings a numba.cuda of its own, which is deprecated and lacks what is used here.
    try:
        import numba_cuda  # noqa: F401
    except ImportError:
        raise ImportError(f"arrays on a GPU need the package numba-cuda: {_INSTALL}") from None
    from numba import cuda

    return cuda


cuda: Any = _load()
#: Whether kernels run in Numba's simulator.
SIMULATED = bool(cuda.config.ENABLE_CUDASIM)

if SIMULATED:
    from . import simops as _operations
else:
    from . import intrinsics as _operations  # type: ignore[no-redef]

#: What kernels and macros use beyond Numba's own: :mod:`.intrinsics`, or in the simulator its twin.
ops: Any = _operations


def check_driver() -> None:
    """Raise RuntimeError where there is no GPU that can be used."""
    if SIMULATED or cuda.is_available():
        return
    try:
        cuda.cudadrv.driver.driver.ensure_initialized()
        why = "it finds no GPU"
    except Exception as error:  # whatever the driver's loader raises
        why = str(error).strip() or type(error).__name__
    raise RuntimeError(f"the array is on a GPU, but numba-cuda cannot use one: {why}")
