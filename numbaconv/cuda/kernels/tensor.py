"""Implicit GEMM on tensor cores: float16 and bfloat16, and float32 rounded to TF32; summed in float32.

A block of 8 warps computes a tile of 128 pixels (of all images, numbered through) and 128 or 64 filters, each warp 64
or 32 pixels by 32 filters. Stages of 64 bytes of each row travel to shared memory by asynchronous copies, which fill in
zeros outside the input; two are on their way while a third is multiplied.
"""

from __future__ import annotations

from .. import fragments, macros
from .. import geometry as at
from ..compiling import factory
from ..operations import ops
from ..shim import cuda

TILE = fragments.ROWS
CHUNKS = fragments.CHUNKS
STAGE = fragments.STAGE
STAGES = 3
THREADS = 256
#: Floats in the shared memory of all stages of pixels: 24 KiB.
BUFFER = STAGES * STAGE * 4

u32, shared_floats = ops.u32, ops.shared_floats
pixel = ops.macro(macros.pixel, 4, integers=True)
tap = ops.macro(fragments.tap, 4, integers=True)
wait = ops.macro(fragments.wait, groups=STAGES - 2)
wait_for_all = ops.macro(fragments.wait, groups=0)


@factory
def convolve(kind: str, filters: int, pairs: bool):
    """The kernel for "f16", "bf16" or "tf32" and tiles of 64 or 128 filters; ``pairs`` is write_fragments'."""
    columns = filters // 32  # of warps
    warp_rows = 8 // columns
    warp_pixels = TILE // warp_rows
    w_stage = filters * CHUNKS
    w_buffer = STAGES * w_stage * 4
    zeros = ops.macro(macros.zeros, warp_pixels, count=warp_pixels)
    fetch = ops.macro(fragments.fetch, filters=filters)
    multiply = ops.macro(fragments.product, warp_pixels, kind=kind, pixels=warp_pixels)
    write = ops.macro(fragments.write_fragments, pairs=pairs)

    def tensor(x, w, bias, out, table, chunks, g):
        """out[n, g, f, o] = bias + sum over k of w[g, f, k] * patches[g, (n, o), k].

        x : by the strides of the geometry ``g`` (uint32), counted in chunks of 16 bytes, channels side by side. w :
        packed, (groups, filters, chunks). bias, out : floats, by g's strides in elements. table : int32, (rows, 4),
        see fragments.tap; three stages of rows beyond the last one lie outside. Blocks: (tiles of pixels, tiles of
        filters, groups).
        """
        x_tile = shared_floats(BUFFER)
        w_tile = shared_floats(w_buffer)
        thread = u32(cuda.threadIdx.x)
        group = u32(cuda.blockIdx.z)
        first_pixel = u32(u32(cuda.blockIdx.x) * u32(TILE))
        first_filter = u32(u32(cuda.blockIdx.y) * u32(filters))
        pixels = u32(u32(u32(g[at.BATCH] * g[at.OUT_D]) * g[at.OUT_H]) * g[at.OUT_W])
        row = u32(thread // u32(CHUNKS))
        k = u32(thread % u32(CHUNKS))
        base = u32(g[at.X_START] + u32(group * g[at.X_GROUP]))
        # The two pixels, and the two filters, whose rows this thread copies.
        image, od, oh, ow = pixel(u32(first_pixel + row), g[at.OUT_D], g[at.OUT_H], g[at.OUT_W])
        d0 = u32(u32(od * g[at.STRIDE_D]) - g[at.PAD_D])
        h0 = u32(u32(oh * g[at.STRIDE_H]) - g[at.PAD_H])
        c0 = u32(u32(ow * g[at.STRIDE_W]) - g[at.PAD_W])
        start0 = u32(u32(base + u32(image * g[at.X_BATCH])) + u32(d0 * g[at.X_D]))
        start0 = u32(u32(start0 + u32(h0 * g[at.X_H])) + u32(c0 * g[at.X_W]))
        image, od, oh, ow = pixel(u32(u32(first_pixel + row) + u32(64)), g[at.OUT_D], g[at.OUT_H], g[at.OUT_W])
        d1 = u32(u32(od * g[at.STRIDE_D]) - g[at.PAD_D])
        h1 = u32(u32(oh * g[at.STRIDE_H]) - g[at.PAD_H])
        c1 = u32(u32(ow * g[at.STRIDE_W]) - g[at.PAD_W])
        start1 = u32(u32(base + u32(image * g[at.X_BATCH])) + u32(d1 * g[at.X_D]))
        start1 = u32(u32(start1 + u32(h1 * g[at.X_H])) + u32(c1 * g[at.X_W]))
        if u32(first_pixel + row) >= pixels:
            d0 = u32(0x80000000)
        if u32(u32(first_pixel + row) + u32(64)) >= pixels:
            d1 = u32(0x80000000)
        f = u32(first_filter + row)
        known0 = u32(f < g[at.FILTERS])
        known1 = u32(u32(f + u32(64)) < g[at.FILTERS])
        w0 = u32(u32(u32(group * g[at.FILTERS]) + f) * chunks)
        w1 = u32(w0 + u32(u32(64) * chunks))
        size = (g[at.IN_D], g[at.IN_H], g[at.IN_W])
        # Where this thread's warp multiplies.
        lane = u32(thread % u32(32))
        warp = u32(thread // u32(32))
        x_row = u32(u32(warp % u32(warp_rows)) * u32(warp_pixels))
        w_row = u32(u32(warp // u32(warp_rows)) * u32(32))

        filling = u32(0)
        w_filling = u32(0)
        further = tap(table, k)
        while filling < u32((STAGES - 1) * STAGE):
            fetch(
                x_tile, w_tile, x, w, further, k, chunks, filling, w_filling, row, (start0, start1),
                (d0, h0, c0, d1, h1, c1), size, (w0, w1), (known0, known1),
            )  # fmt: skip
            k = u32(k + u32(CHUNKS))
            further = tap(table, k)
            filling = u32(filling + u32(STAGE))
            w_filling = u32(w_filling + u32(w_stage))
        sums = zeros()
        ready = u32(0)
        w_ready = u32(0)
        done = u32(0)
        while done < chunks:
            wait()
            cuda.syncthreads()
            fetch(
                x_tile, w_tile, x, w, further, k, chunks, filling, w_filling, row, (start0, start1),
                (d0, h0, c0, d1, h1, c1), size, (w0, w1), (known0, known1),
            )  # fmt: skip
            k = u32(k + u32(CHUNKS))
            further = tap(table, k)  # for the next step: waiting for it there took a tenth of the time (H200)
            sums = multiply(sums, x_tile, w_tile, ready, w_ready, x_row, w_row, lane)
            filling = u32(filling + u32(STAGE))
            w_filling = u32(w_filling + u32(w_stage))
            if filling == u32(STAGES * STAGE):
                filling = u32(0)
                w_filling = u32(0)
            ready = u32(ready + u32(STAGE))
            w_ready = u32(w_ready + u32(w_stage))
            if ready == u32(STAGES * STAGE):
                ready = u32(0)
                w_ready = u32(0)
            done = u32(done + u32(CHUNKS))
        wait_for_all()

        write(
            sums, out, bias, u32(first_filter + w_row), u32(first_pixel + x_row), lane, g[at.FILTERS], pixels,
            (g[at.OUT_D], g[at.OUT_H], g[at.OUT_W]),
            (g[at.OUT_BATCH], g[at.OUT_FILTER], g[at.OUT_STRIDE_D], g[at.OUT_STRIDE_H], g[at.OUT_STRIDE_W]),
            (
                u32(g[at.OUT_START] + u32(group * g[at.OUT_GROUP])),
                u32(g[at.BIAS_START] + u32(u32(group * g[at.FILTERS]) * g[at.BIAS_STRIDE])),
                g[at.BIAS_STRIDE],
            ),
            (g[at.HAS_BIAS], g[at.RELU]),
        )  # fmt: skip

    # Two blocks of a multiprocessor share its 65,536 registers.
    tensor.launch_bounds = dict.fromkeys((8, 9, 10, 12), (THREADS, 2))  # type: ignore[attr-defined]
    return tensor
