"""Microkernels of convolution with output channels in the lanes: tiles of pixels, and runs of taps."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocking import CHANNEL_TILE_PIXELS, LANE_TILE_PIXELS, RUNS, TAPS_TOGETHER, TILES_TOGETHER
from .vectors import INDEX, INTO_L1, Vectors, changed_if, constant, element, prefetch

#: Elements behind a tile's first pixel that are asked for ahead. Where cells are read in place, each channel's lie in
#: another page, which no CPU's prefetcher crosses: 256x56x56 to 64 and 128 by 1x1 took 1.1 to 1.2 times as long without
#: (Emerald Rapids). In a strip they lie side by side: 128x56x56 by 3x3 with stride 2 took 1.03 times as long with.
AHEAD: Final = 32
#: Products before whose turn tiles' cells are asked for, as near as the L1 cache. Where channels are read in place, or
#: strips exceed it, a core waits for the L2 cache: 1x1 layers of 56x56 and 28x28 took 1.04 to 1.06 times as long
#: without, 3x3 ones with stride 2 up to 1.1, with 4 and 16 products 1.0 to 1.02 times as long (Emerald Rapids). Behind
#: the last product's place, the table of rows holds at least one tile of pixels and one more.
LATER: Final = min(8, CHANNEL_TILE_PIXELS + 1)


def _microkernel(tile_pixels: int, tile_vectors: int, tiles: int = 1, apart: int = 0, taps: int = 1) -> Any:
    """Make a microkernel whose tile is ``tile_pixels`` pixels x ``tile_vectors`` vectors of filters.

    With ``apart`` it sums so many tiles together, each of pixels whose inputs lie ``apart`` elements from each other,
    which need one address; with ``taps``, too, as many products at a time, whose inputs lie side by side.
    """

    def channels_microkernel(
        typing_context, x, in_place, x_start, rows, first, pixels, valid, depth, weight, weight_start, sums, start,
        accumulate, ask, step,
    ):  # fmt: skip
        """Sum ``depth`` products for a tile of pixels, filters in the lanes.

        sums[start + m * N + n] (+)= sum over k < depth of X[m, k] * weight[weight_start + k * N + n], for n < N, the
        lanes of the tile's vectors, in the order of k.

        - X[m, k] is ``x[x_start + rows[pixels + m] + rows[first + k]]``, the same for all lanes, or that element of
          ``sums`` where ``in_place`` is 0. For m >= ``valid`` >= 1 the last valid pixel is read, and nothing else.
          With ``apart`` all are valid, the table is asked for each tile's first pixel, and LATER elements behind
          ``rows[first + depth - 1]`` are read. With ``taps``, of which depth is a multiple, the table is asked for the
          first of as many products: cells that several pixels read are loaded once.
        - The sums start from what ``sums`` holds where ``accumulate`` is not 0. ``depth`` is at least 1.
        - ``weight[ask + k * step]`` is asked for ahead, with the k-th product; it may lie outside the array.

        Strides and starts are counted in elements. No alignment is assumed.
        """
        index = types.intp
        signature = types.void(
            x, index, index, rows, index, index, index, index, weight, index, sums, index, index, index, index
        )  # fmt: skip
        return signature, generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, in_place, x_start, rows, first, pixels, valid, depth, weight, weight_start, sums, start, *_ = arguments
        accumulate, ask, step = arguments[-3:]
        kinds = signature.args
        vectors = Vectors(context, builder, kinds[0].dtype)
        width = tile_vectors * vectors.lanes
        where_it_is = builder.icmp_signed("!=", in_place, constant(0))
        x_first = builder.select(
            where_it_is,
            element(context, builder, kinds[0], x, x_start), element(context, builder, kinds[10], sums, x_start),
        )  # fmt: skip
        further = builder.select(where_it_is, constant(AHEAD), constant(0))
        pixel_table = element(context, builder, kinds[3], rows, pixels)
        row_table = element(context, builder, kinds[3], rows, first)
        weight_first = element(context, builder, kinds[8], weight, weight_start)
        asked = element(context, builder, kinds[8], weight, ask)
        target = element(context, builder, kinds[10], sums, start)
        places = [constant(tile * tile_pixels) for tile in range(tiles)]
        for m in range(1, 1 if apart else tile_pixels):
            within = builder.icmp_signed("<", constant(m), valid)
            places.append(builder.select(within, constant(m), places[-1]))
        cells = [builder.gep(x_first, [builder.load(builder.gep(pixel_table, [place]))]) for place in places]
        tile = [(m, v) for m in range(tiles * tile_pixels) for v in range(tile_vectors)]

        def address(m: int, v: int) -> ir.Value:
            return builder.gep(target, [constant(m * width + v * vectors.lanes)])

        begun = changed_if(
            builder, builder.icmp_signed("!=", accumulate, constant(0)), [vectors.zero] * len(tile),
            lambda: [vectors.load(address(m, v)) for m, v in tile],
        )  # fmt: skip
        before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("summed")
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(INDEX)
        k.add_incoming(constant(0), before)
        totals = [builder.phi(vectors.type) for _ in tile]
        offset = builder.load(builder.gep(row_table, [k]))
        w_row = builder.gep(weight_first, [builder.mul(k, constant(width))])
        w_places = [builder.gep(w_row, [constant(v * vectors.lanes)]) for v in range(taps * tile_vectors)]
        w_vectors = [vectors.load(place) for place in w_places]
        prefetch(vectors, builder.gep(cells[0], [builder.add(offset, further)]))
        for t in range(taps):
            prefetch(vectors, builder.gep(asked, [builder.mul(builder.add(k, constant(t)), step)]), INTO_L1)
        if apart:
            later = builder.load(builder.gep(row_table, [builder.add(k, constant(LATER // taps * taps))]))
            for cell in cells:
                prefetch(vectors, builder.gep(cell, [later]), INTO_L1)
        added = list(totals)
        for number, cell in enumerate(cells):
            for position in range((tile_pixels - 1) * apart + taps):
                readers = [(m, position - m * apart) for m in range(tile_pixels if apart else 1)]
                readers = [(number * (tile_pixels if apart else 1) + m, t) for m, t in readers if 0 <= t < taps]
                if not readers:
                    continue
                value = vectors.splat(builder.load(builder.gep(builder.gep(cell, [offset]), [constant(position)])))
                for m, t in readers:
                    for v in range(tile_vectors):
                        total = m * tile_vectors + v
                        added[total] = vectors.multiply_add(value, w_vectors[t * tile_vectors + v], added[total])
                offset = vectors.behind(offset, added[total])
        k_next = builder.add(k, constant(taps))
        k.add_incoming(k_next, loop)
        for total, value, result in zip(totals, begun, added, strict=True):
            total.add_incoming(value, before)
            total.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", k_next, depth), loop, after)

        builder.position_at_end(after)
        for (m, v), result in zip(tile, added, strict=True):
            vectors.store(result, address(m, v))
        return context.get_dummy_value()

    channels_microkernel.__name__ = f"channels_microkernel_{tiles * tile_pixels}x{tile_vectors}_taps{taps}"
    return intrinsic(channels_microkernel)


channels_microkernel_2 = _microkernel(CHANNEL_TILE_PIXELS, 2)
channels_microkernel_1 = _microkernel(CHANNEL_TILE_PIXELS, 1)
#: Tiles of neighbours, by the elements between them: the strides of first layers, and of patches. 11x11 with stride 4
#: and 16x16 with stride 16 took 0.98 of the time (Zen 4). As an argument, the distance makes LLVM spill the sums.
(
    channels_microkernel_beside,
    channels_microkernel_every_other,
    channels_microkernel_every_4th,
    channels_microkernel_every_16th,
) = (_microkernel(CHANNEL_TILE_PIXELS, 2, TILES_TOGETHER, apart) for apart in (1, 2, 4, 16))
#: Of one vector of filters, several taps at a time.
taps_microkernel_beside, taps_microkernel_every_other = (
    _microkernel(CHANNEL_TILE_PIXELS, 1, TILES_TOGETHER, apart, TAPS_TOGETHER) for apart in (1, 2)
)


def _run_microkernel(tile_pixels: int, taps: int, stride: int) -> Any:
    """Make a lanewise microkernel for runs of ``taps`` neighbouring taps and pixels ``stride`` cells apart.

    Of a single tap (``taps`` 1), the pixels may lie anywhere.
    """

    def run_microkernel(
        typing_context, x, x_start, rows, first, depth, pixels, tile, tiles, weight, weight_start, sums, start,
        accumulate,
    ):  # fmt: skip
        """Sum ``depth`` runs of taps for each of some tiles of pixels, one filter a lane.

        sums[start + (p + m) * lanes + n] (+)= sum over k < depth and t < TAPS of X[p, m, k, t, n] * weight[weight_start
        + (k * TAPS + t) * lanes + n], for n < lanes and m < tile_pixels

        - p is ``rows[tile + i]``, the first pixel of tile i, for i < ``tiles``.
        - X is ``x[x_start + rows[pixels + p] + rows[first + k] + (m * STRIDE + t) * lanes + n]``: a tile's pixels are
          neighbours in a row. With a single tap it is ``x[x_start + rows[pixels + p + m] + rows[first + k] + n]``.

        A cell that several of the tile's pixels read is loaded once for them: with 3 taps 9 loads for 21 multiply-adds
        instead of 21. The loop over tiles is in here because a call that passes this many arrays costs as much as a
        tile of 3 x 3 taps (Zen 4: 136 cycles for 63 multiply-adds).
        """
        index = types.intp
        signature = types.void(
            x, index, rows, index, index, index, index, index, weight, index, sums, index, index
        )  # fmt: skip
        return signature, generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, rows, first, depth, pixels, tile, tiles, weight, weight_start, sums, start, accumulate = arguments
        kinds = signature.args
        vectors = Vectors(context, builder, kinds[0].dtype)
        lanes = vectors.lanes
        x_first = element(context, builder, kinds[0], x, x_start)
        row_table = element(context, builder, kinds[2], rows, first)
        pixel_table = element(context, builder, kinds[2], rows, pixels)
        tile_table = element(context, builder, kinds[2], rows, tile)
        weight_first = element(context, builder, kinds[8], weight, weight_start)
        sums_first = element(context, builder, kinds[10], sums, start)

        with cgutils.for_range(builder, tiles) as tile_loop:
            pixel = builder.load(builder.gep(tile_table, [tile_loop.index]))
            where = [builder.gep(pixel_table, [builder.add(pixel, constant(m))]) for m in range(tile_pixels)]
            starts = [builder.gep(x_first, [builder.load(place)]) for place in (where if taps == 1 else where[:1])]
            target = builder.gep(sums_first, [builder.mul(pixel, constant(lanes))])
            addresses = [builder.gep(target, [constant(m * lanes)]) for m in range(tile_pixels)]
            begun = changed_if(
                builder, builder.icmp_signed("!=", accumulate, constant(0)), [vectors.zero] * tile_pixels,
                lambda: [vectors.load(address) for address in addresses],
            )  # fmt: skip
            before, loop, after = builder.block, builder.append_basic_block("runs"), builder.append_basic_block("done")
            builder.branch(loop)

            builder.position_at_end(loop)
            k = builder.phi(INDEX)
            k.add_incoming(constant(0), before)
            totals = [builder.phi(vectors.type) for _ in range(tile_pixels)]
            offset = builder.load(builder.gep(row_table, [k]))
            w_row = builder.gep(weight_first, [builder.mul(k, constant(taps * lanes))])
            w_vectors = [vectors.load(builder.gep(w_row, [constant(t * lanes)])) for t in range(taps)]
            added: list[ir.Value] = list(totals)
            if taps == 1:
                cells = [vectors.load(builder.gep(address, [offset])) for address in starts]
                added = [vectors.multiply_add(c, w_vectors[0], total) for c, total in zip(cells, totals, strict=True)]
            else:
                run = builder.gep(starts[0], [offset])
                for position in range((tile_pixels - 1) * stride + taps):
                    readers = [(m, position - m * stride) for m in range(tile_pixels)]
                    readers = [(m, t) for m, t in readers if 0 <= t < taps]
                    cell = vectors.load(builder.gep(run, [constant(position * lanes)]))
                    for m, t in readers:
                        added[m] = vectors.multiply_add(cell, w_vectors[t], added[m])
            k_next = builder.add(k, constant(1))
            k.add_incoming(k_next, loop)
            for total, value, result in zip(totals, begun, added, strict=True):
                total.add_incoming(value, before)
                total.add_incoming(result, loop)
            builder.cbranch(builder.icmp_signed("<", k_next, depth), loop, after)

            builder.position_at_end(after)
            for address, result in zip(addresses, added, strict=True):
                vectors.store(result, address)
        return context.get_dummy_value()

    run_microkernel.__name__ = f"run_microkernel_{tile_pixels}_taps{taps}_stride{stride}"
    return intrinsic(run_microkernel)


run_microkernel_7, run_microkernel_5, run_microkernel_3 = (
    _run_microkernel(LANE_TILE_PIXELS, taps, stride=1) for taps in RUNS
)
run_microkernel_7_stride2, run_microkernel_5_stride2, run_microkernel_3_stride2 = (
    _run_microkernel(LANE_TILE_PIXELS, taps, stride=2) for taps in RUNS
)
run_microkernel_1 = _run_microkernel(LANE_TILE_PIXELS, 1, stride=1)
