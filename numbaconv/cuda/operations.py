"""What kernels and macros use beyond Numba's own: :mod:`.intrinsics`, or in the simulator its twin, :mod:`.simops`."""

from __future__ import annotations

from typing import Any

from .shim import SIMULATED

if SIMULATED:
    from . import simops as _operations
else:
    from . import intrinsics as _operations  # type: ignore[no-redef]

ops: Any = _operations
