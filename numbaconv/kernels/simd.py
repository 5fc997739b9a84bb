"""The one place that emits vector instructions.

Numba's own vectoriser cannot keep a tile of sums in registers over a loop whose length it does not know. An
intrinsic that writes LLVM IR can: a phi node for every vector of the tile, one loop, ``llvm.fma``. Everything
here takes arrays with start indices (in elements) and does not check bounds: its callers do.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .blocking import LINE, TILE_ROWS, TILES, UNDONE, VECTOR_BYTES, WIDE_VECTORS
from .geometry import FINISH_BIAS, FINISH_BIAS_RELU
from .vectors import INDEX, INTO_L1, Vectors, changed_if, constant, element, prefetch

#: Columns of A that are asked for before their turn where each is a cache line.
LINES_AHEAD: Final = 16
#: The same where a line holds several. Winograd's products with 256 and 512 channels, with weights from L2 and L3,
#: took 0.8 to 0.98 of the time, others as long (Zen 4 and Emerald Rapids).
COLUMNS_AHEAD: Final = 64


def _microkernel(tile_rows: int, tile_vectors: int, parts: int = 1, ahead: int = 0, beside: bool = False) -> Any:
    """Make the microkernel of one tile: ``tile_rows`` x ``tile_vectors`` vectors, or one of ``parts`` of a vector.

    With ``ahead``, A is asked for so many columns before its turn; with ``beside``, one more column of B, which lies
    elsewhere, is multiplied, too.
    """

    def gemm_microkernel(
        typing_context, a, a_start, b, b_start, rows, depth, out, start, stride, spare, accumulate, bias_start, finish
    ):
        """C = A B [+ C] [+ bias] [then ReLU] for one register tile of MR x NR; of float32, float64 or whole numbers.

        C[m, n] (+)= sum over k < depth of A[m, k] * B[k, n], for m < MR and n < NR, in the order of k.

        - A: packed weights; A[m, k] is ``a[a_start + k * MR + m]``.
        - B: any array; row k starts at ``b[b_start + rows[k]]`` and has NR contiguous elements.
        - C: row m starts at ``out[start + m * stride]``, or where ``spare`` is not 0 at ``b[start + m * stride]``, and
          has NR contiguous elements, all of which are written. It is read only where ``accumulate`` is not 0.
        - bias: MR elements at ``a[bias_start]``, read where ``finish`` is FINISH_BIAS or FINISH_BIAS_RELU.

        Strides and starts are counted in elements. No alignment is assumed.
        """
        index = types.intp
        signature = types.void(a, index, b, index, rows, index, out, index, index, index, index, index, index)
        return signature, generate

    def gemm_microkernel_beside(
        typing_context, a, a_start, b, b_start, rows, depth, out, start, stride, spare, accumulate, bias_start, finish,
        b_beside, c_beside,
    ):  # fmt: skip
        """:func:`gemm_microkernel`, and D[m] (+)= sum over k < depth of A[m, k] * ``b[b_beside + k]``.

        D[m] is ``b[c_beside + m * stride]``; behind it, zeros fill a vector. No bias is added to D.
        """
        index = types.intp
        signature = types.void(
            a, index, b, index, rows, index, out, index, index, index, index, index, index, index, index
        )
        return signature, generate

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        a, a_start, b, b_start, rows, depth, out, start, stride, spare, accumulate, bias_start, finish, *_ = arguments
        kinds = signature.args
        width = VECTOR_BYTES // parts // (kinds[0].dtype.bitwidth // 8)
        vectors = Vectors(context, builder, kinds[0].dtype, max(1, width))
        a_first = element(context, builder, kinds[0], a, a_start)
        b_first = element(context, builder, kinds[2], b, b_start)
        row_table = element(context, builder, kinds[4], rows, constant(0))
        in_out = builder.icmp_signed("==", spare, constant(0))
        c_first = builder.select(
            in_out, element(context, builder, kinds[6], out, start), element(context, builder, kinds[2], b, start)
        )
        tile = [(m, v) for m in range(tile_rows) for v in range(tile_vectors)]
        # The column beside takes a vector of A as it lies: filters are its lanes.
        filters = Vectors(context, builder, kinds[0].dtype, tile_rows)
        extra = [element(context, builder, kinds[2], b, place) for place in arguments[13:]]
        zeros = [vectors.zero] * len(tile) + [filters.zero] * beside

        def address(m: int, v: int) -> ir.Value:
            return builder.gep(c_first, [builder.add(builder.mul(stride, constant(m)), constant(v * vectors.lanes))])

        # C is on its way while the products are summed. Where it is in no cache, 3 to 64 channels at 224x224 take 0.85
        # of the time, 64 to 256 by 1x1 at 56x56 0.82 to 1.06; where it is in one, all layers take as long (Zen 4).
        for place in tile:
            prefetch(vectors, address(*place), INTO_L1, write=True)
        before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_signed(">", depth, constant(0)), loop, after)

        builder.position_at_end(loop)
        k = builder.phi(INDEX)
        k.add_incoming(constant(0), before)
        sums = [builder.phi(zero.type) for zero in zeros]
        b_place = builder.load(builder.gep(row_table, [k]))
        b_row = builder.gep(b_first, [b_place])
        b_vectors = [vectors.load(builder.gep(b_row, [constant(v * vectors.lanes)])) for v in range(tile_vectors)]
        a_column = builder.gep(a_first, [builder.mul(k, constant(tile_rows))])
        if ahead:
            prefetch(vectors, builder.gep(a_column, [constant(ahead * tile_rows)]))
        else:
            # A whole line for each k comes late: 1x1 layers of float64 took 1.0 to 1.07 times as long (Emerald Rapids).
            columns = LINES_AHEAD if tile_rows * vectors.bytes >= 4 * LINE else COLUMNS_AHEAD
            prefetch(vectors, builder.gep(a_column, [constant(columns * tile_rows)]), INTO_L1)
        a_splats = [vectors.splat(builder.load(builder.gep(a_column, [constant(m)]))) for m in range(tile_rows)]
        added = [
            vectors.multiply_add(a_splats[m], b_vectors[v], total) for (m, v), total in zip(tile, sums, strict=False)
        ]
        if beside:
            cell = filters.splat(builder.load(builder.gep(extra[0], [k])))
            added.append(filters.multiply_add(cell, filters.load(a_column), sums[-1]))
        k_next = builder.add(k, constant(1))
        k.add_incoming(k_next, loop)
        for total, value, zero in zip(sums, added, zeros, strict=True):
            total.add_incoming(zero, before)
            total.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", k_next, depth), loop, after)

        builder.position_at_end(after)
        totals = [builder.phi(zero.type) for zero in zeros]
        for total, value, zero in zip(totals, added, zeros, strict=True):
            total.add_incoming(zero, before)
            total.add_incoming(value, loop)
        column = totals.pop() if beside else None

        def accumulated() -> list[ir.Value]:
            return [vectors.add(vectors.load(address(m, v)), total) for (m, v), total in zip(tile, totals, strict=True)]

        def biased() -> list[ir.Value]:
            first = element(context, builder, kinds[0], a, bias_start)
            biases = [vectors.splat(builder.load(builder.gep(first, [constant(m)]))) for m in range(tile_rows)]
            return [vectors.add(total, biases[m]) for (m, _), total in zip(tile, totals, strict=True)]

        totals = changed_if(builder, builder.icmp_signed("!=", accumulate, constant(0)), totals, accumulated)
        totals = changed_if(builder, builder.icmp_signed(">=", finish, constant(FINISH_BIAS)), totals, biased)
        relu = builder.icmp_signed("==", finish, constant(FINISH_BIAS_RELU))
        totals = changed_if(builder, relu, totals, lambda: [vectors.relu(total) for total in totals])
        for (m, v), total in zip(tile, totals, strict=True):
            vectors.store(total, address(m, v))
        if column is not None:
            cells = [builder.gep(extra[1], [builder.mul(stride, constant(m))]) for m in range(tile_rows)]
            [column] = changed_if(
                builder, builder.icmp_signed("!=", accumulate, constant(0)), [column],
                lambda: [filters.add(filters.together([builder.load(cell) for cell in cells]), column)],
            )  # fmt: skip
            for m, cell in enumerate(cells):
                value = builder.extract_element(column, ir.Constant(ir.IntType(32), m))
                vectors.store(vectors.together([value]), cell)
        return context.get_dummy_value()

    gemm_microkernel.__name__ = f"gemm_microkernel_{tile_rows}x{tile_vectors}" + (f"_of_{parts}" if parts > 1 else "")
    gemm_microkernel_beside.__name__ = f"{gemm_microkernel.__name__}_beside"
    return intrinsic(gemm_microkernel_beside if beside else gemm_microkernel)


#: One microkernel for each tile of the blocking table, the tallest one first.
gemm_microkernel, gemm_microkernel_4, gemm_microkernel_2, gemm_microkernel_1 = (_microkernel(*tile) for tile in TILES)
#: The usual rows by one vector, and by half of one, for the last columns of a block. So few columns are multiplied
#: as fast as the weights come: they are asked for 8 KiB ahead.
gemm_microkernel_narrow = _microkernel(TILE_ROWS, 1, ahead=256)
gemm_microkernel_half = _microkernel(TILE_ROWS, 1, parts=2, ahead=256)
#: The usual rows by three vectors, for blocks of so many columns and few more.
gemm_microkernel_wide = _microkernel(TILE_ROWS, WIDE_VECTORS)
#: The same and one more column: an image of 28x28 has 49 tiles. By half a vector, the last one took half as long as the
#: others together, and layers of 128 to 512 channels 1.2 to 1.4 times as long (Emerald Rapids).
gemm_microkernel_beside = _microkernel(TILE_ROWS, 3, beside=True)
#: Both by halves of a vector, see ``blocking.HALF_VECTORS``.
gemm_microkernel_halves = _microkernel(TILE_ROWS, 3, parts=2)
gemm_microkernel_halves_beside = _microkernel(TILE_ROWS, 3, parts=2, beside=True)


@intrinsic
def address_of(typing_context, array, start):
    """The address of ``array[start]``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.ptrtoint(element(context, builder, signature.args[0], *arguments), INDEX)

    return types.intp(array, types.intp), generate


@intrinsic
def pointer_to(typing_context, array, start):
    """What begins at ``array[start]``, as a pointer."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return element(context, builder, signature.args[0], *arguments)

    return types.CPointer(array.dtype)(array, types.intp), generate


#: The counter behind those of the tasks, which holds the scratch's size.
SIZE: Final = 7


def _counter(context: Any, builder: ir.IRBuilder, kind: Any, scratch: ir.Value, number: ir.Value) -> ir.Value:
    start = element(context, builder, kind, scratch, constant(0))
    return builder.gep(builder.bitcast(start, INDEX.as_pointer()), [number])


@intrinsic
def reset_counters(typing_context, scratch):
    """Set the counters that threads share, in the first 7 * 8 bytes of scratch, and UNDONE to 0, SIZE to its size."""
    signature = types.void(scratch)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        for number in (*range(SIZE), UNDONE):
            counter = _counter(context, builder, signature.args[0], arguments[0], constant(number))
            builder.store(constant(0), counter)
        scratch = context.make_array(signature.args[0])(context, builder, arguments[0])
        builder.store(scratch.nitems, _counter(context, builder, signature.args[0], arguments[0], constant(SIZE)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def scratch_size(typing_context, scratch):
    """Elements of scratch, as :func:`reset_counters` has noted them."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.load(_counter(context, builder, signature.args[0], arguments[0], constant(SIZE)))

    return types.intp(scratch), generate


@intrinsic
def call_native(typing_context, function, slot, slots, x, weight, out, rows, geometry, scratch):
    """Call a function of these arguments by its address; ``runtime.native`` compiled it for pointers to their elements.

    An empty array becomes a null pointer.
    """
    signature = types.void(types.intp, types.intp, types.intp, x, weight, out, rows, geometry, scratch)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        address, slot, slots, *arrays = arguments
        values = [slot, slots]
        for kind, value in zip(signature.args[3:], arrays, strict=True):
            array = context.make_array(kind)(context, builder, value)
            empty = builder.icmp_signed("==", array.nitems, constant(0))
            values.append(builder.select(empty, ir.Constant(array.data.type, None), array.data))
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(address, kind.as_pointer()), values)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def count_up(typing_context, scratch, number, by):
    """Add ``by`` to a counter and return what it was, as one atomic operation: no two threads are given the same."""
    signature = types.intp(scratch, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        scratch, number, by = arguments
        return builder.atomic_rmw("add", _counter(context, builder, signature.args[0], scratch, number), by, "acq_rel")

    return signature, generate


@intrinsic
def wait_for(typing_context, scratch, number, count):
    """Return as soon as a counter has reached ``count``; what other threads wrote before can then be read."""
    signature = types.void(scratch, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        scratch, number, count = arguments
        counter = _counter(context, builder, signature.args[0], scratch, number)
        loop, done = builder.append_basic_block("wait"), builder.append_basic_block("ready")
        builder.branch(loop)
        builder.position_at_end(loop)
        value = builder.load_atomic(counter, "acquire", 8, typ=INDEX)
        builder.cbranch(builder.icmp_signed("<", value, count), loop, done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def finish_lanes(typing_context, x, x_start, out, start, count, accumulate, bias, finish):
    """out[start + j] = x[x_start + j] [+ out[start + j]] [+ bias] [then ReLU], for j < min(count, lanes).

    ``accumulate`` and ``finish`` as in the microkernel. Nothing else is read or written.
    """
    index = types.intp
    signature = types.void(x, index, out, index, index, index, x.dtype, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, out, start, count, accumulate, bias, finish = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        target = element(context, builder, signature.args[2], out, start)
        value = vectors.load_masked(element(context, builder, signature.args[0], x, x_start), mask)

        # Branches, not selects: even a load of no lanes waits for its cache line, 200 cycles for a row of 112.
        [value] = changed_if(
            builder, builder.icmp_signed("!=", accumulate, constant(0)), [value],
            lambda: [vectors.add(vectors.load_masked(target, mask), value)],
        )  # fmt: skip
        [value] = changed_if(
            builder, builder.icmp_signed(">=", finish, constant(FINISH_BIAS)), [value],
            lambda: [vectors.add(value, vectors.splat(bias))],
        )  # fmt: skip
        relu = builder.icmp_signed("==", finish, constant(FINISH_BIAS_RELU))
        [value] = changed_if(builder, relu, [value], lambda: [vectors.relu(value)])
        vectors.store_masked(value, target, mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_vector(typing_context, x, x_start, y, y_start, ahead):
    """y[y_start + j] = x[x_start + j] for j < lanes, and ask for the cache line of x[x_start + ahead].

    The line asked for may lie outside the array: a prefetch never faults.
    """
    signature = types.void(x, types.intp, y, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, y, y_start, ahead = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        source = element(context, builder, signature.args[0], x, x_start)
        vectors.store(vectors.load(source), element(context, builder, signature.args[2], y, y_start))
        prefetch(vectors, builder.gep(source, [ahead]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_lanes(typing_context, x, x_start, y, y_start, count):
    """y[y_start + j] = x[x_start + j] for j < min(count, lanes), in one masked load and one masked store."""
    signature = types.void(x, types.intp, y, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, y, y_start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        mask = vectors.first_lanes(count)
        value = vectors.load_masked(element(context, builder, signature.args[0], x, x_start), mask)
        vectors.store_masked(value, element(context, builder, signature.args[2], y, y_start), mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_between(typing_context, x, x_start, y, y_start, low, high, ahead):
    """y[y_start + j] = x[x_start + j] for low <= j < high, and 0 for the other j < lanes, which are not read.

    The cache line of x[x_start + ahead] is asked for, as in :func:`copy_vector`.
    """
    signature = types.void(x, types.intp, y, types.intp, types.intp, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, y, y_start, low, high, ahead = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        source = element(context, builder, signature.args[0], x, x_start)
        mask = builder.and_(vectors.first_lanes(high), builder.not_(vectors.first_lanes(low)))
        value = vectors.load_masked(source, mask)
        prefetch(vectors, builder.gep(source, [ahead]))
        vectors.store(value, element(context, builder, signature.args[2], y, y_start))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def zero_lanes(typing_context, y, y_start, count):
    """y[y_start + j] = 0 for j < min(count, lanes)."""
    signature = types.void(y, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        y, y_start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        target = element(context, builder, signature.args[0], y, y_start)
        vectors.store_masked(vectors.zero, target, vectors.first_lanes(count))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def copy_every_other(typing_context, x, x_start, y, y_start, count):
    """y[y_start + j] = x[x_start + 2 * j] for j < min(count, lanes); no element beyond the last one copied is read."""
    signature = types.void(x, types.intp, y, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, y, y_start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        reach = builder.sub(builder.mul(count, constant(2)), constant(1))
        first = element(context, builder, signature.args[0], x, x_start)
        second = builder.gep(first, [constant(vectors.lanes)])
        low = vectors.load_masked(first, vectors.first_lanes(reach))
        high = vectors.load_masked(second, vectors.first_lanes(builder.sub(reach, constant(vectors.lanes))))
        value = vectors.shuffle(low, high, [2 * lane for lane in range(vectors.lanes)])
        mask = vectors.first_lanes(count)
        vectors.store_masked(value, element(context, builder, signature.args[2], y, y_start), mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_runs(typing_context, x, start, counts, steps, run, value, y, y_start, length):
    """y[y_start + j] = value + sum of x[start + a * A + b * B + c * C + i], i = first + c * step + j, for j < length.

    The sum is over a, b and c < ``counts``, in this order, as far as 0 <= i < width; steps = (A, B, C) and run =
    (first, step, width). Of x, nothing else is read; of y, whole vectors are written.
    """
    index, triple = types.intp, types.UniTuple(types.intp, 3)
    signature = types.void(x, index, triple, triple, triple, x.dtype, y, index, index)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, start, counts, steps, run, value, y, y_start, length = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        source = element(context, builder, signature.args[0], x, start)
        target = element(context, builder, signature.args[6], y, y_start)
        first, step, width = (builder.extract_value(run, axis) for axis in range(3))
        limits = [builder.extract_value(counts, axis) for axis in range(3)]
        jumps = [builder.extract_value(steps, axis) for axis in range(3)]
        total = cgutils.alloca_once(builder, vectors.type)
        begun = vectors.splat(value)
        with cgutils.for_range_slice(builder, constant(0), length, constant(vectors.lanes), INDEX) as (j, _):
            builder.store(begun, total)
            with cgutils.for_range(builder, limits[0]) as a, cgutils.for_range(builder, limits[1]) as b:
                row = builder.gep(source, [builder.mul(a.index, jumps[0])])
                row = builder.gep(row, [builder.mul(b.index, jumps[1])])
                with cgutils.for_range(builder, limits[2]) as c:
                    i = builder.add(builder.add(first, builder.mul(c.index, step)), j)
                    inside = vectors.first_lanes(builder.sub(width, i))
                    mask = builder.and_(inside, builder.not_(vectors.first_lanes(builder.neg(i))))
                    place = builder.gep(row, [builder.add(builder.mul(c.index, jumps[2]), i)])
                    builder.store(vectors.add(builder.load(total), vectors.load_masked(place, mask)), total)
            vectors.store(builder.load(total), builder.gep(target, [j]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_pairs(typing_context, a, a_start, b, b_start, y, y_start, count):
    """y[y_start + 2 * j], y[y_start + 2 * j + 1] = a[a_start + j], b[b_start + j] for j < min(count, lanes)."""
    signature = types.void(a, types.intp, b, types.intp, y, types.intp, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        a, a_start, b, b_start, y, y_start, count = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        lanes = vectors.lanes
        mask = vectors.first_lanes(count)
        first = vectors.load_masked(element(context, builder, signature.args[0], a, a_start), mask)
        second = vectors.load_masked(element(context, builder, signature.args[2], b, b_start), mask)
        target = element(context, builder, signature.args[4], y, y_start)
        written = builder.mul(count, constant(2))
        for half in range(2):
            woven = [lane for j in range(half * lanes // 2, (half + 1) * lanes // 2) for lane in (j, lanes + j)]
            inside = vectors.first_lanes(builder.sub(written, constant(half * lanes)))
            address = builder.gep(target, [constant(half * lanes)])
            vectors.store_masked(vectors.shuffle(first, second, woven), address, inside)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def transpose_panel(typing_context, x, x_start, x_stride, y, y_start):
    """Turn MR rows into columns: y[y_start + k * MR + m] = x[x_start + m * x_stride + k], m < MR, k < lanes."""
    signature = types.void(x, types.intp, types.intp, y, types.intp)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, x_start, x_stride, y, y_start = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        lanes = vectors.lanes
        starts = [builder.add(x_start, builder.mul(x_stride, constant(m))) for m in range(TILE_ROWS)]
        loaded = [vectors.load(element(context, builder, signature.args[0], x, start)) for start in starts]
        for part in range(TILE_ROWS):
            woven = loaded[0]
            wanted = [divmod(part * lanes + lane, TILE_ROWS) for lane in range(lanes)]
            for m in range(TILE_ROWS):  # lane by lane, take row m's element or keep what is there
                woven = vectors.shuffle(
                    woven, loaded[m], [lanes + k if row == m else lane for lane, (k, row) in enumerate(wanted)]
                )
            target = builder.add(y_start, constant(part * lanes))
            vectors.store(woven, element(context, builder, signature.args[3], y, target))
        return context.get_dummy_value()

    return signature, generate
