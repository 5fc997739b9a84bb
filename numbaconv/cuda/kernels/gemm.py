"""Convolution as one matrix product per group, the patches matrix never stored: implicit GEMM, in float32.

A block of 256 threads computes a tile of 16 * ``rows`` filters and 128 pixels (of all images, numbered through). Rows
of weights and of the patches matrix, DEPTH at a time, go through shared memory, which has room for two such pairs: the
next pair is fetched into registers while the present one is multiplied, and one barrier separates the steps.
"""

from __future__ import annotations

from .. import geometry as at
from .. import macros
from ..compiling import factory
from ..operations import ops
from ..shim import cuda

DEPTH, PITCH = macros.DEPTH, macros.PITCH
PIXELS = 128
THREADS = 256

u32, shared_floats = ops.u32, ops.shared_floats
pixel = ops.macro(macros.pixel, 4, integers=True)
thread_again = ops.macro(macros.thread, 1, integers=True)
weights4 = ops.macro(macros.weights4, 4)
keep4 = ops.macro(macros.keep4)
keep_column = ops.macro(macros.keep_column)
gathers = {
    False: (ops.macro(macros.gather, 2), ops.macro(macros.gather_more, 4)),
    True: (ops.macro(macros.gather4, 4), ops.macro(macros.no_more, 4)),
}


@factory
def convolve(rows: int, vectors: bool, side_by_side: str):
    """The kernel for ``rows`` filters of a thread, 4 or 8 (which needs ``vectors`` or ``side_by_side``).

    With ``vectors`` it reads four neighbouring channels at once: channels lie side by side, their number is a multiple
    of 4, and everything is aligned to 16 bytes. ``side_by_side`` is macros.write_tile's.
    """
    filters = 16 * rows
    buffer_w, buffer_x = DEPTH * filters, DEPTH * PITCH
    both_w, both_x = 2 * buffer_w, 2 * buffer_x
    loaders = 4 * rows  # threads that fetch one row of weights, four each
    zeros = ops.macro(macros.zeros, 8 * rows, count=8 * rows)
    half, whole = DEPTH // 2, DEPTH
    multiply = ops.macro(macros.register_tile, 8 * rows, rows=rows, steps=range(half))
    multiply_more = ops.macro(macros.register_tile, 8 * rows, rows=rows, steps=range(half, whole))
    write = ops.macro(macros.write_tile, rows=rows, side_by_side=side_by_side)
    gather, gather_more = gathers[vectors]

    def gemm(x, w, bias, out, table, depth, pitch, g):
        """out[n, g, f, o] = bias + sum over rows k of w[g, k, f] * patches[g, k, (n, o)].

        x, bias, out : float32 by the strides of the geometry ``g`` (uint32). w : packed, (groups, depth, pitch), pitch
        a multiple of 4 filters. table : int32, (rows, 4), see macros.gather; rows beyond depth lie outside of
        everything. Blocks: (tiles of pixels, tiles of filters, groups).
        """
        w_tile = shared_floats(both_w)
        x_tile = shared_floats(both_x)
        thread = u32(cuda.threadIdx.x)
        group = u32(cuda.blockIdx.z)
        first_pixel = u32(u32(cuda.blockIdx.x) * u32(PIXELS))
        first_filter = u32(u32(cuda.blockIdx.y) * u32(filters))
        pixels = u32(u32(u32(g[at.BATCH] * g[at.OUT_D]) * g[at.OUT_H]) * g[at.OUT_W])
        # The pixel and the rows that this thread fetches.
        if vectors:
            column = u32(thread // u32(2))
            k = u32(u32(thread % u32(2)) * u32(4))
        else:
            column = u32(thread % u32(PIXELS))
            k = u32(u32(thread // u32(PIXELS)) * u32(4))
        index = u32(first_pixel + column)
        image, od, oh, ow = pixel(index, g[at.OUT_D], g[at.OUT_H], g[at.OUT_W])
        d = u32(u32(od * g[at.STRIDE_D]) - g[at.PAD_D])
        h = u32(u32(oh * g[at.STRIDE_H]) - g[at.PAD_H])
        c = u32(u32(ow * g[at.STRIDE_W]) - g[at.PAD_W])
        start = u32(u32(g[at.X_START] + u32(image * g[at.X_BATCH])) + u32(group * g[at.X_GROUP]))
        start = u32(u32(start + u32(d * g[at.X_D])) + u32(u32(h * g[at.X_H]) + u32(c * g[at.X_W])))
        if index >= pixels:
            d = u32(0x80000000)
        size = (g[at.IN_D], g[at.IN_H], g[at.IN_W])
        # The weights that it fetches.
        w_row = u32(thread // u32(loaders))
        w_column = u32(u32(thread % u32(loaders)) * u32(4))
        fetches = w_row < u32(DEPTH)
        known = fetches and u32(first_filter + w_column) < pitch
        w_place = u32(u32(u32(u32(group * depth) + w_row) * pitch) + u32(first_filter + w_column))
        # Where it keeps them.
        w_kept = u32(u32(w_row * u32(filters)) + w_column)
        x_kept = u32(u32(k * u32(PITCH)) + column)
        # What it multiplies.
        w_read = u32(u32(thread // u32(16)) * u32(4))
        x_read = u32(u32(thread % u32(16)) * u32(4))

        some = gather(x, table, k, start, (d, h, c), size)
        values = gather_more(some, x, table, k, start, (d, h, c), size)
        weights = weights4(w, w_place, known and w_row < depth)
        keep_column(x_tile, x_kept, u32(PITCH), values)
        if fetches:
            keep4(w_tile, w_kept, weights)
        cuda.syncthreads()
        sums = zeros()
        w_now = u32(0)
        x_now = u32(0)
        step = u32(0)
        while step < depth:
            # One pair more than there are is fetched, of zeros: a second copy of the product would take its registers.
            step = u32(step + u32(DEPTH))
            some = gather(x, table, u32(step + k), start, (d, h, c), size)
            row = u32(step + w_row)
            weights = weights4(w, u32(w_place + u32(step * pitch)), known and row < depth)
            sums = multiply(sums, w_tile, x_tile, u32(w_now + w_read), u32(x_now + x_read))
            values = gather_more(some, x, table, u32(step + k), start, (d, h, c), size)
            sums = multiply_more(sums, w_tile, x_tile, u32(w_now + w_read), u32(x_now + x_read))
            w_now = u32(u32(buffer_w) - w_now)
            x_now = u32(u32(buffer_x) - x_now)
            keep_column(x_tile, u32(x_now + x_kept), u32(PITCH), values)
            if fetches:
                keep4(w_tile, u32(w_now + w_kept), weights)
            cuda.syncthreads()

        (thread,) = thread_again()  # what follows from it took a register through the loop, and one was spilled
        w_read = u32(u32(thread // u32(16)) * u32(4))
        x_read = u32(u32(thread % u32(16)) * u32(4))
        write(
            sums, out, bias, u32(first_filter + w_read), u32(first_pixel + x_read), g[at.FILTERS], pixels,
            (g[at.OUT_D], g[at.OUT_H], g[at.OUT_W]),
            (g[at.OUT_BATCH], g[at.OUT_FILTER], g[at.OUT_STRIDE_D], g[at.OUT_STRIDE_H], g[at.OUT_STRIDE_W]),
            (
                u32(g[at.OUT_START] + u32(group * g[at.OUT_GROUP])),
                u32(g[at.BIAS_START] + u32(u32(group * g[at.FILTERS]) * g[at.BIAS_STRIDE])),
                g[at.BIAS_STRIDE],
            ),
            (g[at.HAS_BIAS], g[at.RELU]),
        )  # fmt: skip

    # Two blocks of a multiprocessor share its 65,536 registers, 128 for a thread; by itself the compiler takes up to
    # 134.
    if rows == 8:
        gemm.launch_bounds = dict.fromkeys((8, 9, 10, 12), (THREADS, 2))  # type: ignore[attr-defined]
    return gemm
