"""Copies one six-dimensional view into another, larger one, in whatever dtypes; the rest becomes 0.

Weights are packed with it, and inputs are brought into the order that tensor cores read.
"""

from __future__ import annotations

from ..operations import ops
from ..shim import cuda

load, store = ops.load, ops.store


def copy(source, target, zero, sizes, s_start, s, t_start, t_sizes, t):
    """target[i] = source[i] where i lies within ``sizes``, else 0, for all i within ``t_sizes``; s and t are strides.

    Any number of threads; neighbours write neighbours where the last dimension of target has stride 1.
    """
    total = t_sizes[0] * t_sizes[1] * t_sizes[2] * t_sizes[3] * t_sizes[4] * t_sizes[5]
    index = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x + t_start * 0
    while index < total:
        rest = index
        i5 = rest % t_sizes[5]
        rest //= t_sizes[5]
        i4 = rest % t_sizes[4]
        rest //= t_sizes[4]
        i3 = rest % t_sizes[3]
        rest //= t_sizes[3]
        i2 = rest % t_sizes[2]
        rest //= t_sizes[2]
        i1 = rest % t_sizes[1]
        i0 = rest // t_sizes[1]
        value = zero
        inside = i0 < sizes[0] and i1 < sizes[1] and i2 < sizes[2]
        if inside and i3 < sizes[3] and i4 < sizes[4] and i5 < sizes[5]:
            place = s_start + i0 * s[0] + i1 * s[1] + i2 * s[2] + i3 * s[3] + i4 * s[4] + i5 * s[5]
            value = load(source, place, zero, 0)
        to = t_start + i0 * t[0] + i1 * t[1] + i2 * t[2] + i3 * t[3] + i4 * t[4] + i5 * t[5]
        store(target, to, value, 0)
        index += cuda.gridDim.x * cuda.blockDim.x
