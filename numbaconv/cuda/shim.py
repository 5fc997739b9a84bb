"""Which package compiles for the GPU: the one place that chooses.

numba-cuda, or its successor numba-cuda-mlir where that alone is installed or ``NUMBACONV_CUDA`` names it. Kernels are
the same for both; what they use beyond Numba's own, :mod:`.intrinsics` emits through the package's emitter. Under
``NUMBA_ENABLE_CUDASIM=1`` numba-cuda runs kernels as plain Python, on :mod:`.simops`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Final

import numpy as np

_INSTALL = "python -m pip install 'numbaconv[cuda13]' (or 'numbaconv[cuda12]' for CUDA 12 drivers)"
#: Each package's name on PyPI, its own module, the one with numba.cuda's functions, and the one with Numba's types, in
#: the order of preference. The numba package has a numba.cuda, too, which is deprecated and lacks what is used here.
PACKAGES: Final = {
    "numba-cuda": ("numba_cuda", "numba.cuda", "numba.cuda.types"),
    "numba-cuda-mlir": ("numba_cuda_mlir", "numba_cuda_mlir.cuda", "numba_cuda_mlir.numba_cuda.types"),
}


def _chosen() -> str:
    """The package's name, or an error with what to install."""
    installed = [name for name, (own, *_) in PACKAGES.items() if importlib.util.find_spec(own) is not None]
    wanted = os.environ.get("NUMBACONV_CUDA", "")
    if wanted not in ("", *PACKAGES):
        raise ValueError(f"NUMBACONV_CUDA must be one of {', '.join(map(repr, PACKAGES))}; got {wanted!r}")
    if wanted and wanted not in installed:
        raise ImportError(f"NUMBACONV_CUDA asks for {wanted}, which is not installed: python -m pip install {wanted}")
    if not installed:
        raise ImportError(f"arrays on a GPU need the package numba-cuda: {_INSTALL}")
    chosen = wanted or installed[0]
    if chosen != "numba-cuda" and os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        raise ImportError(f"NUMBA_ENABLE_CUDASIM asks for a simulator, which {chosen} lacks and numba-cuda has")
    return chosen


#: The package that compiles.
PACKAGE: Final = _chosen()
cuda: Any = importlib.import_module(PACKAGES[PACKAGE][1])
#: Numba's types, as this package knows them.
types: Any = importlib.import_module(PACKAGES[PACKAGE][2])
#: Whether kernels run in Numba's simulator, which numba-cuda-mlir lacks.
SIMULATED: Final = PACKAGE == "numba-cuda" and bool(cuda.config.ENABLE_CUDASIM)


def _load_for_numpy_2_5() -> None:
    """Import what in either package names ``numpy.row_stack``, vstack's other name, which NumPy 2.5 dropped.

    numba-cuda 0.30.4 and numba-cuda-mlir 0.6.0 compile no kernel there without this. The name is gone again afterwards.
    """
    if not SIMULATED and not hasattr(np, "row_stack"):
        np.row_stack = np.vstack  # type: ignore[attr-defined, unused-ignore]  # noqa: NPY201
        try:
            importlib.import_module(PACKAGES[PACKAGE][2].replace(".types", ".np.arrayobj"))
        finally:
            del np.row_stack  # type: ignore[attr-defined, unused-ignore]  # noqa: NPY201


_load_for_numpy_2_5()


_found: list[bool] = []


def check_driver() -> None:
    """Raise RuntimeError where there is no GPU that can be used."""
    if _found:  # a driver that was there stays
        return
    if SIMULATED or cuda.is_available():
        _found.append(True)
        return
    try:
        cuda.cudadrv.driver.driver.ensure_initialized()
        why = "it finds no GPU"
    except Exception as error:  # whatever the driver's loader raises
        why = " ".join(str(error).split()) or type(error).__name__
    raise RuntimeError(f"the array is on a GPU, but {PACKAGE} cannot use one: {why}")
