"""Implicit GEMM on tensor cores: float16 and bfloat16, and float32 rounded to TF32; summed in float32.

A block of 4 warps computes a tile of 128 pixels (of all images, numbered through) and 128 or 64 filters, each warp a
quarter. Stages of 64 bytes of each row travel to shared memory by asynchronous copies, which fill in zeros outside the
input; two are on their way while a third is multiplied.
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
THREADS = 128
#: Rows of pixels and of filters that lie between those of one thread.
ROWS = THREADS // CHUNKS
#: Pixels of a warp.
PIXELS = TILE // 2
#: Floats in the shared memory of all stages of pixels: 24 KiB.
BUFFER = STAGES * STAGE * 4

u32, shared_floats = ops.u32, ops.shared_floats
tap = ops.macro(fragments.tap, 4, integers=True)
cells = ops.macro(fragments.first_cells, 4 * TILE // ROWS, integers=True, rows=ROWS)
wait = ops.macro(fragments.wait, groups=STAGES - 2)
wait_for_all = ops.macro(fragments.wait, groups=0)


def blocks(kind: str, filters: int) -> int:
    """How many blocks of a multiprocessor share its 65,536 registers; TF32 would spill with four."""
    return 2 if filters == TILE else 3 if kind == "tf32" else 4


@factory
def convolve(kind: str, filters: int, pairs: bool):
    """The kernel for "f16", "bf16" or "tf32" and tiles of 64 or 128 filters; ``pairs`` is write_fragments'."""
    w_stage = filters * CHUNKS
    w_buffer = STAGES * w_stage * 4
    columns = filters // 2  # filters of a warp
    zeros = ops.macro(macros.zeros, columns * 2, count=columns * 2)
    starts = ops.macro(fragments.filter_rows, 2 * filters // ROWS, integers=True, rows=ROWS, filters=filters)
    fetch = ops.macro(fragments.fetch, rows=ROWS)
    multiply = ops.macro(fragments.product, columns * 2, kind=kind, pixels=PIXELS, filters=columns)
    write = ops.macro(fragments.write_fragments, filters_of_warp=columns, pairs=pairs)

    def tensor(x, w, bias, out, table, chunks, w_start, g):
        """out[n, g, f, o] = bias + sum over k of w[g, f, k] * patches[g, (n, o), k].

        x : by the strides of the geometry ``g`` (uint32), counted in chunks of 16 bytes, channels side by side. w :
        from chunk ``w_start`` on, (groups, filters, chunks). bias, out : floats, by g's strides in elements. table :
        int32, (rows, 4), see fragments.tap; three stages of rows beyond the last one lie outside. Blocks: (tiles of
        pixels, tiles of filters, groups).
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
        # The pixels and the filters whose rows this thread copies.
        places = cells(
            u32(first_pixel + row), pixels, base, (g[at.OUT_D], g[at.OUT_H], g[at.OUT_W]),
            (g[at.STRIDE_D], g[at.STRIDE_H], g[at.STRIDE_W]), (g[at.PAD_D], g[at.PAD_H], g[at.PAD_W]),
            (g[at.X_BATCH], g[at.X_D], g[at.X_H], g[at.X_W]),
        )  # fmt: skip
        w_places = starts(u32(first_filter + row), group, g[at.FILTERS], chunks, w_start)
        size = (g[at.IN_D], g[at.IN_H], g[at.IN_W])
        # Where this thread's warp multiplies.
        lane = u32(thread % u32(32))
        warp = u32(thread // u32(32))
        x_row = u32(u32(warp % u32(2)) * u32(PIXELS))
        w_row = u32(u32(warp // u32(2)) * u32(columns))

        filling = u32(0)
        w_filling = u32(0)
        further = tap(table, k)
        while filling < u32((STAGES - 1) * STAGE):
            fetch(x_tile, w_tile, x, w, further, k, chunks, filling, w_filling, row, places, size, w_places)
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
            fetch(x_tile, w_tile, x, w, further, k, chunks, filling, w_filling, row, places, size, w_places)
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

    bounds = dict.fromkeys((8, 9, 10, 12), (THREADS, blocks(kind, filters)))
    tensor.launch_bounds = bounds  # type: ignore[attr-defined]
    return tensor
