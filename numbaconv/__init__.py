"""The fastest convolution that ``pip install`` can give a NumPy user: written in Python, compiled by Numba."""

from . import grad, ndimage, nn, numba_ext, signal
from .environment import show_config, threads, warmup
from .functional import (
    conv1d,
    conv2d,
    conv2D_gemm,
    conv3d,
    explain,
)
from .nn import Conv2d
from .patches import fold, unfold
from .planner import Plan
from .problem import ConvProblem
from .transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d
from .tuning import tune

__version__ = "0.1.0"

numba_ext.register()

__all__ = [
    "Conv2d",
    "ConvProblem",
    "Plan",
    "__version__",
    "conv1d",
    "conv2D_gemm",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "explain",
    "fold",
    "grad",
    "ndimage",
    "nn",
    "show_config",
    "signal",
    "threads",
    "tune",
    "unfold",
    "warmup",
]
