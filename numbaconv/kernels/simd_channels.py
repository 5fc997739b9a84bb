"""Vector instructions for convolution with output channels in the lanes: microkernels, transpositions and stores."""

from __future__ import annotations

import functools
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocking import CHANNEL_TILE_PIXELS, LINE, RUNS, TILES_TOGETHER
from .vectors import INDEX, INTO_L1, Vectors, changed_if, constant, element, prefetch, transposed

#: Elements behind a tile's first pixel that are asked for ahead. Where cells are read in place, each channel's lie in
#: another page, which no CPU's prefetcher crosses: 256x56x56 to 64 and 128 by 1x1 took 1.1 to 1.2 times as long without
#: (Emerald Rapids). In a strip they lie side by side: 128x56x56 by 3x3 with stride 2 took 1.03 times as long with.
AHEAD: Final = 32
#: Products before whose turn tiles' cells are asked for, as near as the L1 cache. Where channels are read in place, or
#: strips exceed it, a core waits for the L2 cache: 1x1 layers of 56x56 and 28x28 took 1.04 to 1.06 times as long
#: without, 3x3 ones with stride 2 up to 1.1, with 4 and 16 products 1.0 to 1.02 times as long (Emerald Rapids). Behind
#: the last product's place, the table of rows holds at least one tile of pixels and one more.
LATER: Final = min(8, CHANNEL_TILE_PIXELS + 1)
#: Cache lines ahead of what is stored in a plane that are asked for. A CPU's own prefetcher follows few of the planes
#: that are stored in turn: layers whose outputs exceed an L2 cache took 1.03 to 1.2 times as long without, others 0.98
#: to 1.1; with 4 and 8 lines 1.0 to 1.05 times as long as with 2 (Emerald Rapids, 2 threads).
LINES_STORED: Final = 2


def _microkernel(tile_pixels: int, tile_vectors: int, tiles: int = 1, apart: int = 0) -> Any:
    """Make a microkernel whose tile is ``tile_pixels`` pixels x ``tile_vectors`` vectors of filters.

    With ``apart`` it sums so many tiles together, each of pixels whose inputs lie ``apart`` elements from each other,
    which need one address.
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
          ``rows[first + depth - 1]`` are read.
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
        w_vectors = [vectors.load(builder.gep(w_row, [constant(v * vectors.lanes)])) for v in range(tile_vectors)]
        added: list[ir.Value] = []
        prefetch(vectors, builder.gep(cells[0], [builder.add(offset, further)]))
        prefetch(vectors, builder.gep(asked, [builder.mul(k, step)]), INTO_L1)
        if apart:
            later = builder.load(builder.gep(row_table, [builder.add(k, constant(LATER))]))
            for cell in cells:
                prefetch(vectors, builder.gep(cell, [later]), INTO_L1)
        read = [builder.gep(cell, [offset]) for cell in cells]
        if apart:
            read = [builder.gep(cell, [constant(m * apart)]) for cell in read for m in range(tile_pixels)]
        for cell in read:
            value = vectors.splat(builder.load(cell))
            added += [vectors.multiply_add(value, w, totals[len(added) + v]) for v, w in enumerate(w_vectors)]
        k_next = builder.add(k, constant(1))
        k.add_incoming(k_next, loop)
        for total, value, result in zip(totals, begun, added, strict=True):
            total.add_incoming(value, before)
            total.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", k_next, depth), loop, after)

        builder.position_at_end(after)
        for (m, v), result in zip(tile, added, strict=True):
            vectors.store(result, address(m, v))
        return context.get_dummy_value()

    channels_microkernel.__name__ = f"channels_microkernel_{tiles * tile_pixels}x{tile_vectors}"
    return intrinsic(channels_microkernel)


channels_microkernel_2 = _microkernel(CHANNEL_TILE_PIXELS, 2)
channels_microkernel_1 = _microkernel(CHANNEL_TILE_PIXELS, 1)
#: Tiles of neighbours, by the elements between them.
channels_microkernel_beside, channels_microkernel_every_other = (
    _microkernel(CHANNEL_TILE_PIXELS, 2, TILES_TOGETHER, apart) for apart in (1, 2)
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
    _run_microkernel(CHANNEL_TILE_PIXELS, taps, stride=1) for taps in RUNS
)
run_microkernel_7_stride2, run_microkernel_5_stride2, run_microkernel_3_stride2 = (
    _run_microkernel(CHANNEL_TILE_PIXELS, taps, stride=2) for taps in RUNS
)
run_microkernel_1 = _run_microkernel(CHANNEL_TILE_PIXELS, 1, stride=1)


@intrinsic
def transpose_lines(typing_context, x, start, step, valid, count, y, y_start):
    """y[y_start + j * lanes + n] = x[start + n * step + j] for j < count <= lanes, n < lanes.

    Lanes from ``valid`` on repeat the last valid one's; of x, nothing else is read. lanes * lanes elements are written,
    those of j >= count with zeros.
    """
    index = types.intp
    signature = types.void(x, index, index, index, index, y, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, step, valid, count, y, y_start = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        lines = []
        for lane in range(vectors.lanes):
            lines.append(vectors.load_masked(element(context, builder, signature.args[0], x, start), mask))
            within = builder.icmp_signed("<", constant(lane + 1), valid)
            start = builder.add(start, builder.select(within, step, constant(0)))
        target = element(context, builder, signature.args[5], y, y_start)
        for j, column in enumerate(transposed(vectors, lines)):
            vectors.store(column, builder.gep(target, [constant(j * vectors.lanes)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gather_channels(typing_context, x, start, step, filters, phase, valid, count, y, y_start, cells, first):
    """y[y_start + cells[first + j] + n] = x[start + step * ((phase + n) // filters) + j] for j < count <= lanes.

    Lane n is filter n of a panel and reads the channel of its group: every ``filters`` lanes the next one, ``step``
    elements on. Lanes from ``valid`` on repeat the last valid one's. Whole vectors are written; of x, nothing else is
    read. phase < filters.
    """
    index = types.intp
    signature = types.void(x, index, index, index, index, index, index, y, index, cells, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, step, filters, phase, valid, count, y, y_start, cells, first = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        lines = []
        for lane in range(vectors.lanes):
            lines.append(vectors.load_masked(element(context, builder, signature.args[0], x, start), mask))
            phase = builder.add(phase, constant(1))
            full = builder.icmp_signed("==", phase, filters)
            within = builder.icmp_signed("<", constant(lane + 1), valid)
            start = builder.add(start, builder.select(builder.and_(full, within), step, constant(0)))
            phase = builder.select(full, constant(0), phase)
        target = element(context, builder, signature.args[7], y, y_start)
        table = element(context, builder, signature.args[9], cells, first)
        columns = transposed(vectors, lines)

        def put(j: int) -> None:
            vectors.store(columns[j], builder.gep(target, [builder.load(builder.gep(table, [constant(j)]))]))

        with builder.if_else(builder.icmp_signed("==", count, constant(vectors.lanes))) as (whole, part):
            with whole:
                for j in range(vectors.lanes):
                    put(j)
            with part:
                for j in range(vectors.lanes):
                    with builder.if_then(builder.icmp_signed("<", constant(j), count)):
                        put(j)
        return context.get_dummy_value()

    return signature, generate


def _spread(filters: int) -> Any:
    """Make the function that turns cells of channels into cells of what each lane's group reads."""

    def spread_groups(typing_context, y, start, cells, plane):
        """y[start + c * plane + i * lanes + n] = y[start + i * lanes + n - n % FILTERS + c], c < FILTERS, i < cells.

        Lane n of the cells read is a channel, and a filter of a group of FILTERS channels and as many filters: of each
        of its channels one plane is made, the first one in place. lanes is a multiple of FILTERS.
        """
        index = types.intp
        return types.void(y, index, index, index), generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        y, start, cells, plane = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], y, start)
        with cgutils.for_range(builder, cells) as loop:
            address = builder.gep(first, [builder.mul(loop.index, constant(vectors.lanes))])
            cell = vectors.load(address)
            for c in range(filters):
                lanes = [lane - lane % filters + c for lane in range(vectors.lanes)]
                target = builder.gep(address, [builder.mul(plane, constant(c))])
                vectors.store(vectors.shuffle(cell, cell, lanes), target)
        return context.get_dummy_value()

    spread_groups.__name__ = f"spread_groups_{filters}"
    return intrinsic(spread_groups)


#: By the filters of a group: those that divide every vector of this CPU.
spread_groups_2, spread_groups_4, spread_groups_8 = (_spread(filters) for filters in (2, 4, 8))


@intrinsic
def sum_of_zeros(typing_context, x, start, count):
    """Return the sum of 0 * x[start + j], j < count: 0 where all are finite, else NaN. ``count`` is whole vectors."""
    signature = x.dtype(x, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], x, start)
        # Four sums: each addition waits 4 cycles for the one before. With one sum plain calls with 4 to 9 MB of weights
        # took 1.04 to 1.1 times as long (Emerald Rapids).
        totals = [cgutils.alloca_once_value(builder, vectors.zero) for _ in range(4)]
        step = 4 * vectors.lanes
        whole = builder.sub(count, builder.srem(count, constant(step)))

        def add(index: ir.Value, total: ir.Value) -> None:
            value = vectors.load(builder.gep(first, [index]))
            builder.store(vectors.multiply_add(value, vectors.zero, builder.load(total)), total)

        with cgutils.for_range_slice(builder, constant(0), whole, constant(step), intp=INDEX) as (index, _):
            for i, total in enumerate(totals):
                add(builder.add(index, constant(i * vectors.lanes)), total)
        with cgutils.for_range_slice(builder, whole, count, constant(vectors.lanes), intp=INDEX) as (index, _):
            add(index, totals[0])
        total = functools.reduce(vectors.add, [builder.load(total) for total in totals])
        lanes = [builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(vectors.lanes)]
        return functools.reduce(vectors.add, lanes)

    return signature, generate


def biased(vectors: Vectors, lines: list[ir.Value], bias: ir.Value, relu: ir.Value) -> list[ir.Value]:
    """The lines with the bias, then their ReLU where it is asked for."""
    builder = vectors.builder
    lines = [vectors.add(line, bias) for line in lines]
    clamp = builder.icmp_signed("!=", relu, constant(0))
    return changed_if(builder, clamp, lines, lambda: [vectors.relu(line) for line in lines])


@intrinsic
def transpose_square(typing_context, sums, start, stride, bias, bias_start, relu):
    """Transpose, with bias, then ReLU where asked, lanes x lanes sums in place, of which row j starts at j * stride.

    sums[start + n * stride + j] = old sums[start + j * stride + n] + bias[bias_start + n] for j, n < lanes.
    """
    index = types.intp
    signature = types.void(sums, index, index, bias, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, bias, bias_start, relu = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], sums, start)
        rows = [builder.gep(first, [builder.mul(stride, constant(j))]) for j in range(vectors.lanes)]
        biases = vectors.load(element(context, builder, signature.args[3], bias, bias_start))
        lines = biased(vectors, [vectors.load(row) for row in rows], biases, relu)
        for row, plane in zip(rows, transposed(vectors, lines), strict=True):
            vectors.store(plane, row)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_squares(typing_context, sums, start, stride, out, out_start, count):
    """out[out_start + i * lanes + j] = sums[start + i * stride + j] for j < lanes, i * lanes < count.

    One plane of squares that :func:`transpose_square` left side by side; ``count`` is whole vectors.
    """
    index = types.intp
    signature = types.void(sums, index, index, out, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, out, out_start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        first = element(context, builder, signature.args[0], sums, start)
        target = element(context, builder, signature.args[3], out, out_start)
        with cgutils.for_range(builder, builder.sdiv(count, constant(vectors.lanes))) as loop:
            value = vectors.load(builder.gep(first, [builder.mul(stride, loop.index)]))
            vectors.store(value, builder.gep(target, [builder.mul(constant(vectors.lanes), loop.index)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_planes(typing_context, sums, start, stride, count, bias, bias_start, relu, out, out_start, out_stride, valid):
    """out[out_start + n * out_stride + j] = sums[start + j * stride + n] + bias[bias_start + n], then ReLU where asked.

    For j < count <= lanes and n < min(valid, lanes). ``lanes`` rows of sums are read, nothing else is written.
    """
    index = types.intp
    signature = types.void(sums, index, index, index, bias, index, index, out, index, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, count, bias, bias_start, relu, out, out_start, out_stride, valid = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        first = element(context, builder, signature.args[0], sums, start)
        lines = [vectors.load(builder.gep(first, [builder.mul(stride, constant(j))])) for j in range(vectors.lanes)]
        biases = vectors.load(element(context, builder, signature.args[4], bias, bias_start))
        target = element(context, builder, signature.args[7], out, out_start)
        planes = [builder.gep(target, [builder.mul(out_stride, constant(n))]) for n in range(vectors.lanes)]
        for plane in planes:
            prefetch(
                vectors, builder.gep(plane, [constant(LINES_STORED * 4 * LINE // vectors.bytes)]), INTO_L1, write=True
            )
        columns = transposed(vectors, biased(vectors, lines, biases, relu))
        for n, (plane, column) in enumerate(zip(planes, columns, strict=True)):
            with builder.if_then(builder.icmp_signed("<", constant(n), valid)):
                vectors.store_masked(column, plane, mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_cell(typing_context, sums, start, bias, bias_start, relu, out, out_start, valid):
    """out[out_start + n] = sums[start + n] + bias[bias_start + n], then ReLU where asked, for n < min(valid, lanes)."""
    index = types.intp
    signature = types.void(sums, index, bias, index, index, out, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, bias, bias_start, relu, out, out_start, valid = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        line = vectors.load(element(context, builder, signature.args[0], sums, start))
        biases = vectors.load(element(context, builder, signature.args[2], bias, bias_start))
        [line] = biased(vectors, [line], biases, relu)
        mask = vectors.first_lanes(valid)
        vectors.store_masked(line, element(context, builder, signature.args[5], out, out_start), mask)
        return context.get_dummy_value()

    return signature, generate
