"""Convolutions of arrays that lie on a GPU: CuPy's, torch's, Numba's, and whatever else tells where its memory is.

The functions are those of :mod:`numbaconv`, which come here by themselves where their arrays are on a GPU; by these
names, arrays in the CPU's memory are refused. Results are of the inputs' kind, on their device, and computed on their
library's current stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .. import functional as _functional
from .. import grad as _grad
from .. import signal as _signal
from .. import transposed as _transposed
from ..tensors import lies_on_gpu

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _on_gpu_only(function: _Function) -> _Function:
    """The same function, which refuses arrays in the CPU's memory."""

    @functools.wraps(function)
    def checked(*arguments: Any, **named: Any) -> Any:
        if not any(map(lies_on_gpu, (*arguments, *named.values()))):
            raise TypeError(
                f"numbaconv.cuda.{function.__name__} takes arrays on a GPU; for others there is the function of the "
                f"same name in {function.__module__.replace('functional', '').replace('transposed', '').rstrip('.')}"
            )
        return function(*arguments, **named)

    return checked  # type: ignore[return-value]


conv1d = _on_gpu_only(_functional.conv1d)
conv2d = _on_gpu_only(_functional.conv2d)
conv3d = _on_gpu_only(_functional.conv3d)
conv_transpose1d = _on_gpu_only(_transposed.conv_transpose1d)
conv_transpose2d = _on_gpu_only(_transposed.conv_transpose2d)
conv_transpose3d = _on_gpu_only(_transposed.conv_transpose3d)
conv1d_input = _on_gpu_only(_grad.conv1d_input)
conv2d_input = _on_gpu_only(_grad.conv2d_input)
conv3d_input = _on_gpu_only(_grad.conv3d_input)
conv1d_weight = _on_gpu_only(_grad.conv1d_weight)
conv2d_weight = _on_gpu_only(_grad.conv2d_weight)
conv3d_weight = _on_gpu_only(_grad.conv3d_weight)
convolve2d = _on_gpu_only(_signal.convolve2d)
correlate2d = _on_gpu_only(_signal.correlate2d)
