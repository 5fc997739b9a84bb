"""Convolutions of single channels: depthwise layers, and images. Each thread computes a column of neighbouring rows.

Neighbouring threads compute neighbours in memory: columns of one channel, or channels of one pixel.
"""

from __future__ import annotations

from .. import geometry as at
from .. import macros
from ..compiling import factory
from ..operations import ops
from ..shim import cuda

THREADS = 128
u32 = ops.u32


#: The largest small kernel.
SMALL = 7


def _small(rows: int, kernel: tuple[int, int], stride: int):
    """:func:`convolve` for a small kernel."""
    whole_kernel = ops.macro(macros.whole_kernel, rows, rows=rows, kernel=kernel, stride=stride)
    write = ops.macro(macros.write_column, rows=rows)

    def depthwise_small(x, w, bias, out, g):
        """As :func:`depthwise`."""
        tiles = u32(u32(g[at.OUT_H] + u32(rows - 1)) // u32(rows))
        per_filter = u32(tiles * g[at.OUT_W])
        filters = u32(g[at.GROUPS] * g[at.FILTERS])
        index = u32(u32(u32(cuda.blockIdx.x) * u32(cuda.blockDim.x)) + u32(cuda.threadIdx.x))
        if index >= u32(u32(per_filter * filters) * g[at.BATCH]):
            return
        if g[at.FILTER_LANES]:
            number = u32(index % filters)
            rest = u32(index // filters)
            image = u32(rest // per_filter)
            rest = u32(rest % per_filter)
        else:
            rest = u32(index % per_filter)
            number = u32(u32(index // per_filter) % filters)
            image = u32(u32(index // per_filter) // filters)
        column = u32(rest % g[at.OUT_W])
        first = u32(u32(rest // g[at.OUT_W]) * u32(rows))
        group = u32(number // g[at.FILTERS])
        f = u32(number % g[at.FILTERS])
        row = u32(u32(first * u32(stride)) - g[at.PAD_H])
        c = u32(u32(column * g[at.STRIDE_W]) - g[at.PAD_W])
        x_place = u32(u32(g[at.X_START] + u32(image * g[at.X_BATCH])) + u32(group * g[at.X_GROUP]))
        x_place = u32(u32(x_place + u32(row * g[at.X_H])) + u32(c * g[at.X_W]))
        w_place = u32(u32(g[at.W_START] + u32(group * g[at.W_GROUP])) + u32(f * g[at.W_FILTER]))
        sums = whole_kernel(
            x, w, x_place, row, c, (g[at.IN_H], g[at.IN_W]), (g[at.X_H], g[at.X_W]), w_place,
            (g[at.W_H], g[at.W_W]),
        )  # fmt: skip
        place = u32(u32(g[at.OUT_START] + u32(image * g[at.OUT_BATCH])) + u32(group * g[at.OUT_GROUP]))
        place = u32(place + u32(f * g[at.OUT_FILTER]))
        place = u32(u32(place + u32(first * g[at.OUT_STRIDE_H])) + u32(column * g[at.OUT_STRIDE_W]))
        offset = u32(g[at.BIAS_START] + u32(number * g[at.BIAS_STRIDE]))
        write(
            sums, out, bias, place, g[at.OUT_STRIDE_H], first, g[at.OUT_H], offset, g[at.HAS_BIAS], g[at.RELU]
        )  # fmt: skip

    return depthwise_small


@factory
def convolve(rows: int, kernel: tuple[int, int], stride: int):
    """The kernel for columns of ``rows`` outputs.

    Of a small kernel (height, width), not dilated and without a depth, all taps are instructions of their own, for one
    stride along the height; ``kernel`` (0, 0) takes any other.
    """
    if kernel != (0, 0):
        return _small(rows, kernel, stride)
    zeros = ops.macro(macros.zeros, 2 * rows, count=2 * rows)
    whole_row = ops.macro(macros.next_row, 2 * rows, rows=rows, whole=True)
    edge_row = ops.macro(macros.next_row, 2 * rows, rows=rows, whole=False)
    one_tap = ops.macro(macros.one_tap, 2 * rows, rows=rows)
    write = ops.macro(macros.write_column, rows=rows)

    def depthwise(x, w, bias, out, g):
        """out[n, g, f, o] = bias[g, f] + sum over k of w[g, f, 0, k] * x[n, g, 0, o * stride + k * dilation - pad].

        x, w, bias, out : floats of 32 or 16 bits, summed in float32, by the strides of the geometry ``g`` (uint32).
        One thread for ``rows`` rows of one column of one filter of one image.
        """
        tiles = u32(u32(g[at.OUT_H] + u32(rows - 1)) // u32(rows))
        per_filter = u32(u32(tiles * g[at.OUT_D]) * g[at.OUT_W])
        filters = u32(g[at.GROUPS] * g[at.FILTERS])
        index = u32(u32(u32(cuda.blockIdx.x) * u32(cuda.blockDim.x)) + u32(cuda.threadIdx.x))
        if index >= u32(u32(per_filter * filters) * g[at.BATCH]):
            return
        if g[at.FILTER_LANES]:
            number = u32(index % filters)
            rest = u32(index // filters)
            image = u32(rest // per_filter)
            rest = u32(rest % per_filter)
        else:
            rest = u32(index % per_filter)
            number = u32(u32(index // per_filter) % filters)
            image = u32(u32(index // per_filter) // filters)
        column = u32(rest % g[at.OUT_W])
        rest = u32(rest // g[at.OUT_W])
        first = u32(u32(rest % tiles) * u32(rows))
        depth = u32(rest // tiles)
        group = u32(number // g[at.FILTERS])
        f = u32(number % g[at.FILTERS])

        x_start = u32(u32(g[at.X_START] + u32(image * g[at.X_BATCH])) + u32(group * g[at.X_GROUP]))
        w_start = u32(u32(g[at.W_START] + u32(group * g[at.W_GROUP])) + u32(f * g[at.W_FILTER]))
        row = u32(u32(first * g[at.STRIDE_H]) - g[at.PAD_H])
        rolling = g[at.STRIDE_H] == u32(1) and g[at.DILATION_H] == u32(1)
        steps = u32(g[at.KERNEL_H] + u32(rows - 1))
        state = zeros()
        kd = u32(0)
        while kd < g[at.KERNEL_D]:
            d = u32(u32(u32(depth * g[at.STRIDE_D]) + u32(kd * g[at.DILATION_D])) - g[at.PAD_D])
            kw = u32(0)
            while kw < g[at.KERNEL_W]:
                c = u32(u32(u32(column * g[at.STRIDE_W]) + u32(kw * g[at.DILATION_W])) - g[at.PAD_W])
                inside = d < g[at.IN_D] and c < g[at.IN_W]
                x_place = u32(u32(x_start + u32(d * g[at.X_D])) + u32(c * g[at.X_W]))
                w_place = u32(u32(w_start + u32(kd * g[at.W_D])) + u32(kw * g[at.W_W]))
                x_place = u32(x_place + u32(row * g[at.X_H]))
                k = u32(0)
                if rolling:
                    y = row
                    while k < steps:
                        within = inside and y < g[at.IN_H]
                        if k >= u32(rows - 1) and k < g[at.KERNEL_H]:
                            state = whole_row(state, x, w, x_place, within, w_place, k, g[at.KERNEL_H])
                        else:
                            state = edge_row(state, x, w, x_place, within, w_place, k, g[at.KERNEL_H])
                        x_place = u32(x_place + g[at.X_H])
                        w_place = u32(w_place + g[at.W_H])
                        y = u32(y + u32(1))
                        k = u32(k + u32(1))
                else:
                    y = row
                    x_step = u32(g[at.STRIDE_H] * g[at.X_H])
                    while k < g[at.KERNEL_H]:
                        state = one_tap(state, x, w, x_place, y, inside, g[at.IN_H], x_step, g[at.STRIDE_H], w_place)
                        x_place = u32(x_place + u32(g[at.DILATION_H] * g[at.X_H]))
                        w_place = u32(w_place + g[at.W_H])
                        y = u32(y + g[at.DILATION_H])
                        k = u32(k + u32(1))
                kw = u32(kw + u32(1))
            kd = u32(kd + u32(1))
        place = u32(u32(g[at.OUT_START] + u32(image * g[at.OUT_BATCH])) + u32(group * g[at.OUT_GROUP]))
        place = u32(u32(place + u32(f * g[at.OUT_FILTER])) + u32(depth * g[at.OUT_STRIDE_D]))
        place = u32(u32(place + u32(first * g[at.OUT_STRIDE_H])) + u32(column * g[at.OUT_STRIDE_W]))
        offset = u32(g[at.BIAS_START] + u32(number * g[at.BIAS_STRIDE]))
        write(
            state, out, bias, place, g[at.OUT_STRIDE_H], first, g[at.OUT_H], offset, g[at.HAS_BIAS], g[at.RELU]
        )  # fmt: skip

    return depthwise
