"""A convolution as its definition reads: one thread for one output. It serves every problem, dtype and layout."""

from __future__ import annotations

from .. import geometry as at
from ..operations import ops
from ..shim import cuda

load, store = ops.load, ops.store


@cuda.jit(device=True)
def source(position, size, extension):
    """Which cell of an axis is read at a position: the position itself inside; outside another one, or -1 for none."""
    cell = position
    if position < 0 or position >= size:
        cell = position * 0 - 1
        if extension == at.NEAREST:
            cell = (position > 0) * (size - 1)
        elif extension == at.WRAP:
            cell = (position % size + size) % size
        elif extension != at.FILL:
            # Back and forth: MIRROR does not repeat the cells at the edges.
            repeats = position * 0 + (extension == at.SYMMETRIC)
            period = max(1, 2 * size - 2 + 2 * repeats)
            cell = (position % period + period) % period
            if cell >= size:
                cell = period - repeats - cell
    return cell


def convolve(x, w, bias, out, zero, fill, g):
    """out[n, g, f, o] = bias[g, f] + sum over c, k of w[g, f, c, k] * x[n, g, c, o * stride + k * dilation - pad].

    x, w, bias, out : memory of any dtype, with the strides that the geometry ``g`` (int64) lists. zero : the sums'
    type. fill : what lies outside the input, where g says that it is not 0. Any number of threads; neighbours compute
    neighbours in memory. Of zero channels the result is the bias.
    """
    total = g[at.BATCH] * g[at.GROUPS] * g[at.FILTERS] * g[at.OUT_D] * g[at.OUT_H] * g[at.OUT_W]
    index = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x + g[at.BATCH] * 0
    step = cuda.gridDim.x * cuda.blockDim.x
    while index < total:
        rest = index
        if g[at.FILTER_LANES]:
            f = rest % g[at.FILTERS]
            rest //= g[at.FILTERS]
            group = rest % g[at.GROUPS]
            rest //= g[at.GROUPS]
        ow = rest % g[at.OUT_W]
        rest //= g[at.OUT_W]
        oh = rest % g[at.OUT_H]
        rest //= g[at.OUT_H]
        od = rest % g[at.OUT_D]
        rest //= g[at.OUT_D]
        if not g[at.FILTER_LANES]:
            f = rest % g[at.FILTERS]
            rest //= g[at.FILTERS]
            group = rest % g[at.GROUPS]
            rest //= g[at.GROUPS]
        n = rest
        value = zero
        if g[at.HAS_BIAS]:
            value = load(bias, g[at.BIAS_START] + (group * g[at.FILTERS] + f) * g[at.BIAS_STRIDE], zero, 0)
        x_start = g[at.X_START] + n * g[at.X_BATCH] + group * g[at.X_GROUP]
        w_start = g[at.W_START] + group * g[at.W_GROUP] + f * g[at.W_FILTER]
        kd = 0
        while kd < g[at.KERNEL_D]:
            d = source(od * g[at.STRIDE_D] + kd * g[at.DILATION_D] - g[at.PAD_D], g[at.IN_D], g[at.EXTENSION])
            kh = 0
            while kh < g[at.KERNEL_H]:
                h = source(oh * g[at.STRIDE_H] + kh * g[at.DILATION_H] - g[at.PAD_H], g[at.IN_H], g[at.EXTENSION])
                kw = 0
                while kw < g[at.KERNEL_W]:
                    column = ow * g[at.STRIDE_W] + kw * g[at.DILATION_W] - g[at.PAD_W]
                    column = source(column, g[at.IN_W], g[at.EXTENSION])
                    w_place = w_start + kd * g[at.W_D] + kh * g[at.W_H] + kw * g[at.W_W]
                    x_place = x_start + d * g[at.X_D] + h * g[at.X_H] + column * g[at.X_W]
                    inside = (d | h | column) >= 0
                    # Two loops, one of which is empty: as branches of an if they cost registers.
                    cells = inside * g[at.CHANNELS]
                    filled = (not inside) * g[at.FILLED] * g[at.CHANNELS]
                    c = 0
                    while c < cells:
                        value += load(x, x_place + c * g[at.X_CHANNEL], zero, g[at.CONJUGATE_X]) * load(
                            w, w_place + c * g[at.W_CHANNEL], zero, g[at.CONJUGATE_W]
                        )
                        c += 1
                    c = 0
                    while c < filled:
                        value += fill * load(w, w_place + c * g[at.W_CHANNEL], zero, g[at.CONJUGATE_W])
                        c += 1
                    kw += 1
                kh += 1
            kd += 1
        place = g[at.OUT_START] + n * g[at.OUT_BATCH] + group * g[at.OUT_GROUP] + f * g[at.OUT_FILTER]
        place += od * g[at.OUT_STRIDE_D] + oh * g[at.OUT_STRIDE_H] + ow * g[at.OUT_STRIDE_W]
        store(out, place, value, g[at.RELU])
        index += step
