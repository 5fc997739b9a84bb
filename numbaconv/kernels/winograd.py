"""Winograd convolution F(m x m', r x r'): (m + r - 1)(m' + r' - 1) multiplications for m m' outputs, not m m' r r'.

Y = A^T [ sum over c of (G g G^T) * (B^T d B) ] A for each tile of m x m' outputs, with * elementwise (Lavin & Gray,
"Fast algorithms for convolutional neural networks", CVPR 2016). The elementwise products of many tiles are one matrix
product for each of the (m + r - 1)(m' + r' - 1) places in a transformed tile.

- A larger kernel is cut into pieces of r x r' taps, which are further channels: their tiles begin r, 2 r, ... cells on.
  What a piece of fewer taps has at infinity is 0 and left out: see :mod:`numbaconv.algorithms.winograd_pieces`. The
  taps of a kernel's depth are further channels, too: they read other slices of the volume.
- Dilation d makes d separate images of every d-th row: phases. The same goes for columns.
- Stride s makes s phases of the input, every s-th row, each with the taps that read it: they are further channels, too.
  The same goes for columns.
- F(1, 1) along an axis leaves it alone: that is how kernels of one row or of one column are served. With few channels,
  kernels of several columns are, too: see :mod:`.winograd_columns`.
- A block of few tiles has filters in the lanes, not tiles: see :mod:`.winograd_few_simd`.

A block of NR tiles goes through all three steps in a thread's scratch: nothing the size of the image is ever stored.
A transform spreads NaN and infinity over its tile, and overflows before direct summation does: where a sum of a
block is not finite, its tiles are summed directly, by the same microkernel (:mod:`.winograd_direct`).
"""

from __future__ import annotations

from ..runtime import kernel, separate_kernel
from . import geometry as at
from .blocking import HALF_VECTORS, TILE_ROWS, VECTOR_BYTES, WINOGRAD_DEPTH
from .numbers import divided, integer_at, lanes_of, put_integer, smaller
from .packing import zero_run
from .simd import (
    address_of,
    copy_lanes,
    gemm_microkernel,
    gemm_microkernel_beside,
    gemm_microkernel_half,
    gemm_microkernel_halves,
    gemm_microkernel_halves_beside,
    gemm_microkernel_narrow,
    gemm_microkernel_wide,
    zero_lanes,
)
from .tasks import PARTS, leave_undone, own_part, own_start, own_tasks, part_done, shared_start
from .winograd_columns import sum_columns
from .winograd_simd import call_function
from .winograd_tiles import (
    block_tiles,
    copy_any,
    copy_padded,
    copy_strided,
    tabulate_runs,
    winograd_pack,
    winograd_shared,
)
from .winograd_weights import bias_start, pack_none, pack_own, transform_panel

#: Where the addresses of the output transform, of ``winograd_few_simd.few_sums`` and of ``winograd_direct.mend_block``
#: lie among those in the table of rows.
OUTPUT = 2
FEW = 3
MEND = 4
#: Half a vector is worth a microkernel of its own where it takes half the time: on Zen 4 with AVX-512. (Zen 5 takes, in
#: cycles for each k of 8 filters, 12.2 for 3 vectors of tiles, 8.4 for 2, 5.9 for 1 and 5.2 for half of one.)
HALVES = VECTOR_BYTES == 64


@kernel
def multiply_place(weight, a, scratch, b, c, tiles, rows, depth, pitch, out, more):
    """scratch[c + m * pitch + t] = sum over k < depth of weight[a + k * MR + m] * scratch[b + rows[k] + t], t < tiles.

    Where ``more`` is not 0, the sums are added to what is there. All microkernels sum in the same order: what a tile
    becomes does not depend on where it lies in a block. More sums than wanted are written.
    """
    lanes = lanes_of(scratch)
    if tiles > 2 * lanes:
        gemm_microkernel_wide(weight, a, scratch, b, rows, depth, out, c, pitch, 1, more, 0, at.FINISH_NOTHING)
        return
    if HALF_VECTORS and lanes < tiles <= lanes + lanes // 2:
        gemm_microkernel_halves(weight, a, scratch, b, rows, depth, out, c, pitch, 1, more, 0, at.FINISH_NOTHING)
        for m in range(TILE_ROWS):  # see winograd_tiles.clear_beyond
            zero_lanes(scratch, c + m * pitch + lanes + lanes // 2, lanes // 2)
        return
    if tiles > lanes and (not HALVES or tiles > lanes + lanes // 2):
        gemm_microkernel(weight, a, scratch, b, rows, depth, out, c, pitch, 1, more, 0, at.FINISH_NOTHING)
        return
    if tiles > lanes // 2 or not HALVES:
        gemm_microkernel_narrow(weight, a, scratch, b, rows, depth, out, c, pitch, 1, more, 0, at.FINISH_NOTHING)
        tiles -= lanes
        b += lanes
        c += lanes
    if tiles > 0:
        gemm_microkernel_half(weight, a, scratch, b, rows, depth, out, c, pitch, 1, more, 0, at.FINISH_NOTHING)
        for m in range(TILE_ROWS):  # see winograd_tiles.clear_beyond
            zero_lanes(scratch, c + m * pitch + lanes // 2, lanes // 2)


@kernel
def place_products(geometry, u):
    """Return the products that place u sums, (first, behind the last): at infinity, not those of short pieces.

    They are in the order that :mod:`numbaconv.algorithms.winograd_pieces` says.
    """
    wide = geometry[at.TILE_W] + geometry[at.TAPS_W] - 1
    lowest, column = u >= geometry[at.POINTS] - wide, u % wide
    if column < wide - 1:
        return 0, geometry[at.WHOLE_END] if lowest else geometry[at.PRODUCTS]
    return geometry[at.WHOLE_START], geometry[at.WHOLE_END] if lowest else geometry[at.WIDE_END]


@separate_kernel
def winograd_multiply(weight, matrices, panels, scratch, block, number, until, sums, rows, geometry, out):
    """Multiply some panels by the blocks of tiles from ``number`` to ``until`` at each place u.

    scratch[sums + ((q * panels + p) * points + u) * SUMS_STEP + m * SUMS_PITCH + t]
        = sum over k of U[p, u, m, k] * V[q, u, k, t]
    for those k that :func:`place_products` says.
    The matrices U start at ``weight[matrices]``, the first block's V at ``scratch[block]``. One place after the other:
    so each matrix comes from memory, or from a distant cache, once for all that it is multiplied with. More sums than
    wanted are written.
    """
    lanes = lanes_of(scratch)
    nr, pitch = geometry[at.NR], geometry[at.SUMS_PITCH]
    depth = geometry[at.PRODUCTS]
    places = geometry[at.POINTS]
    for u in range(places):
        begin, end = place_products(geometry, u)
        for q in range(until - number):
            tile, last, beside = block_tiles(number + q, geometry)
            b = block + (q * places + u) * geometry[at.INPUT_STEP]
            # Whatever TOGETHER is: an image's sums do not depend on how many others its batch has.
            for k in range(begin, end, WINOGRAD_DEPTH):
                some, more = smaller(WINOGRAD_DEPTH, end - k), k - begin
                for p in range(panels):
                    a = matrices + (p * places + u) * geometry[at.WEIGHT_STEP] + k * TILE_ROWS
                    c = sums + ((q * panels + p) * places + u) * geometry[at.SUMS_STEP]
                    if beside == 0:
                        multiply_place(weight, a, scratch, b + k * nr, c, last - tile, rows, some, pitch, out, more)
                    elif HALF_VECTORS and nr < 3 * lanes:
                        gemm_microkernel_halves_beside(
                            weight, a, scratch, b + k * nr, rows, some, out, c, pitch, 1, more, 0, at.FINISH_NOTHING,
                            b + depth * nr + k, c + nr,
                        )  # fmt: skip
                    else:
                        gemm_microkernel_beside(
                            weight, a, scratch, b + k * nr, rows, some, out, c, pitch, 1, more, 0, at.FINISH_NOTHING,
                            b + depth * nr + k, c + nr,
                        )  # fmt: skip


@kernel
def multiply_few(weight, matrices, panels, scratch, block, sums, own, rows, geometry):
    """As :func:`winograd_multiply` for a single block of fewer tiles than a vector has lanes, two panels at a time."""
    places = geometry[at.POINTS]
    sizes = address_of(scratch, own + geometry[at.SIZES_START])
    put_integer(sizes, 4, geometry[at.SUMS_PITCH])
    for u in range(places):
        begin, end = place_products(geometry, u)
        put_integer(sizes, 1, begin)
        put_integer(sizes, 2, end)
        for p in range(0, panels, 2):
            more = smaller(1, panels - 1 - p)  # a last panel by itself is summed twice
            put_integer(sizes, 0, more * places * geometry[at.WEIGHT_STEP])
            put_integer(sizes, 3, more * places * geometry[at.SUMS_STEP])
            call_function(
                rows[geometry[at.FUNCTIONS] + FEW],
                (
                    address_of(weight, matrices + (p * places + u) * geometry[at.WEIGHT_STEP]),
                    address_of(scratch, block + u * geometry[at.INPUT_STEP]),
                    address_of(scratch, sums + (p * places + u) * geometry[at.SUMS_STEP]), sizes,
                ),
            )  # fmt: skip


@kernel
def winograd_store(out, geometry, scratch, buffer, channel, table, runs):
    """Copy the outputs of a filter from ``buffer`` to ``out[channel]``, cut off at the image's edges."""
    pitch = geometry[at.BUFFER_PITCH]
    lanes = lanes_of(out)
    step_h = geometry[at.DILATION_H] * geometry[at.OUT_STRIDE_H]
    step = geometry[at.DILATION_W] * geometry[at.OUT_STRIDE_W]
    for run in range(runs):
        columns = integer_at(table, 4 * run + 2)
        for i in range(integer_at(table, 4 * run + 1)):
            y = channel + integer_at(table, 4 * run) + i * step_h
            source = buffer + i * pitch
            if step == 1:
                for j in range(0, columns, lanes):
                    copy_lanes(scratch, source + j, out, y + j, columns - j)
            else:
                for j in range(columns):
                    out[y + j * step] = scratch[source + j]
        buffer += integer_at(table, 4 * run + 3)


@separate_kernel
def winograd_outputs(weight, bias, out, rows, geometry, scratch, sums, own, masks, group, panel, number):
    """Transform a panel's sums of a block of tiles, and store them; return whether a tile is spoiled.

    The panel's bias starts at ``weight[bias]``. Bit t of integer m at ``masks`` becomes 1 where tile t of filter m is
    spoiled.
    """
    pitch = geometry[at.SUMS_PITCH]
    lanes = lanes_of(out)
    buffer = own + geometry[at.GATHERED_START]
    runs = address_of(scratch, own + geometry[at.TABLE_START])
    tile, last, _ = block_tiles(number, geometry)
    tiles = last - tile
    sizes = address_of(scratch, own + geometry[at.SIZES_START])
    put_integer(sizes, 0, (tiles + lanes - 1) // lanes)
    put_integer(sizes, 1, lanes)
    put_integer(sizes, 2, lanes * geometry[at.TILE_W])
    put_integer(sizes, 3, geometry[at.SUMS_STEP])
    put_integer(sizes, 4, geometry[at.BUFFER_PITCH])
    put_integer(sizes, 5, 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0)
    count = tabulate_runs(geometry, runs, number)
    spoiled = 0
    first = panel * TILE_ROWS
    for m in range(smaller(TILE_ROWS, geometry[at.FILTERS] - first)):
        mask = masks + 8 * m
        call_function(
            rows[geometry[at.FUNCTIONS] + OUTPUT],
            (
                address_of(scratch, sums + m * pitch), address_of(scratch, buffer), address_of(weight, bias + m), mask,
                sizes,
            ),
        )  # fmt: skip
        channel = group * geometry[at.FILTERS] + first + m
        winograd_store(out, geometry, scratch, buffer, channel * geometry[at.OUT_CHANNEL], runs, count)
        put_integer(mask, 0, integer_at(mask, 0) & ((1 << tiles) - 1))
        spoiled |= integer_at(mask, 0)
    return spoiled != 0


@kernel
def winograd_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` of every input, of weights that ``winograd_weights`` has packed."""
    compute_tasks(copy_any, pack_none, sum_blocks, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_unpacked_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_tasks` where UNPACKED is not 0."""
    compute_tasks(copy_any, pack_own, sum_blocks, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_padded_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_tasks` where ``copy_padded`` serves; what other inputs need takes long to compile."""
    compute_tasks(copy_padded, pack_none, sum_by_places, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_padded_unpacked_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_padded_tasks` where UNPACKED is not 0."""
    compute_tasks(copy_padded, pack_own, sum_by_places, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_strided_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_tasks` where ``copy_strided`` serves: the stride along the width is not 1."""
    compute_tasks(copy_strided, pack_none, sum_by_places, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_strided_unpacked_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_strided_tasks` where UNPACKED is not 0."""
    compute_tasks(copy_strided, pack_own, sum_by_places, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_columns_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_padded_tasks` where COLUMNS is not 0."""
    compute_tasks(copy_padded, pack_none, sum_columns, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_columns_unpacked_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_columns_tasks` where UNPACKED is not 0."""
    compute_tasks(copy_padded, pack_own, sum_columns, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_strided_columns_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_strided_tasks` where COLUMNS is not 0."""
    compute_tasks(copy_strided, pack_none, sum_columns, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def winograd_strided_columns_unpacked_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`winograd_strided_columns_tasks` where UNPACKED is not 0."""
    compute_tasks(copy_strided, pack_own, sum_columns, slot, slots, x, weight, out, rows, geometry, scratch)


@kernel
def sum_blocks(
    weight, matrices, some, out, rows, geometry, scratch, block, own, masks, mask_step, group, panel, number, until,
):  # fmt: skip
    """:func:`sum_by_places` or, where COLUMNS is not 0, :func:`sum_columns`."""
    if geometry[at.COLUMNS] != 0:
        return sum_columns(
            weight, matrices, some, out, rows, geometry, scratch, block, own, masks, mask_step, group, panel, number,
            until,
        )  # fmt: skip
    return sum_by_places(
        weight, matrices, some, out, rows, geometry, scratch, block, own, masks, mask_step, group, panel, number, until
    )


@kernel
def sum_by_places(
    weight, matrices, some, out, rows, geometry, scratch, block, own, masks, mask_step, group, panel, number, until,
):  # fmt: skip
    """Compute the outputs of the blocks from ``number`` to ``until`` and of ``some`` panels of filters.

    Bit q of the value returned is set where tiles of block ``number`` + q are spoiled. The arguments are those of
    :func:`winograd_multiply` and :func:`winograd_outputs`; from block to block, masks are ``mask_step`` integers apart.
    """
    sums = own
    if geometry[at.NR] < lanes_of(scratch):
        multiply_few(weight, matrices, some, scratch, block, sums, own, rows, geometry)
    else:
        winograd_multiply(weight, matrices, some, scratch, block, number, until, sums, rows, geometry, out)
    spoiled = 0
    for q in range(number, until):
        for p in range(panel, panel + some):
            mask = masks + 8 * ((q - number) * mask_step + (p - panel) * TILE_ROWS)
            bias = bias_start(geometry, scratch, group, p)
            if winograd_outputs(weight, bias, out, rows, geometry, scratch, sums, own, mask, group, p, q):
                spoiled |= 1 << (q - number)
            sums += geometry[at.POINTS] * geometry[at.SUMS_STEP]
    return spoiled


@kernel
def compute_tasks(copy, pack, sum_some, slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``.

    A task is one block of tiles and all filters or, where the blocks are transformed for all tasks together, some
    panels of filters and all blocks of a group; a thread does several of these at once. The arguments are those of
    every algorithm's kernel; ``weight`` is packed by ``winograd_weights`` or, where UNPACKED is not 0, a flat view with
    the strides WEIGHT_*: tasks then pack and transform the panels that they need, and the bias, as ``pack_bias`` lays
    it out, is the end of ``scratch``.
    ``rows`` holds k * NR for every k; where the taps of direct summation lie among untransformed tiles; the addresses
    of the transforms, of ``winograd_few_simd.few_sums`` and, once it has been compiled, of
    ``winograd_direct.mend_block``: until then, tasks that need it are left undone. A thread's scratch holds the
    transformed block, unless that is shared, points x INPUT_STEP; then the sums of TOGETHER panels by ABREAST blocks,
    points x SUMS_STEP each, unless COLUMNS is not 0, and what the starts in ``geometry`` name.
    """
    panels = geometry[at.PANELS]
    split = geometry[at.PANEL_SPLIT]
    shared = geometry[at.SHARED] != 0
    unpacked = geometry[at.UNPACKED] != 0
    panels_of = scratch if unpacked else weight  # where transformed weights lie
    size = geometry[at.POINTS] * geometry[at.INPUT_STEP]
    step = geometry[at.POINTS] * geometry[at.WEIGHT_STEP]
    blocks = geometry[at.BLOCKS]
    own = own_start(slot, geometry, scratch)
    block = own
    if not shared:
        own += size
    # Transforms read whole vectors of what is gathered: see winograd_tiles.clear_beyond.
    gathered = own + geometry[at.GATHERED_START]
    zero_run(scratch, gathered, own + geometry[at.TABLE_START] - gathered)
    if shared:
        while True:
            part = own_part(slot, slots, scratch)
            if part == PARTS:
                break
            winograd_shared(copy, part, x, rows, geometry, scratch, own)
            part_done(scratch)
    masks = address_of(scratch, own + geometry[at.MASKS_START])
    task = last = 0
    while True:
        if task == last:
            task, last = own_tasks(slot, slots, shared, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        first, end, part, parts = 0, blocks, 0, 1
        if shared:
            group, part = divided(task, split)
            parts = smaller(last - task, split - part)
        else:
            group, first = divided(task, blocks)
            end = first + 1
            winograd_pack(copy, x, rows, geometry, scratch, block, own, group, first, 0, geometry[at.CHANNELS])
        begin, behind = panels * part // split, panels * (part + parts) // split
        task += parts
        # A task's masks, by block, panel and filter.
        mask_step = (behind - begin) * TILE_ROWS
        spoiled = 0
        raw, packed = own + geometry[at.PANEL_START], begin  # the next panel lies there; the first one not laid out
        for panel in range(begin, behind, geometry[at.TOGETHER]):
            some = smaller(geometry[at.TOGETHER], behind - panel)
            matrices = (group * panels + panel) * step
            if unpacked:
                matrices = own + geometry[at.MATRICES_START]
                if panel == packed:
                    raw = own + geometry[at.PANEL_START]
                    packed += pack(weight, rows, geometry, scratch, raw, group, panel, some, behind)
                for p in range(some):
                    transform_panel(scratch, rows, geometry, raw, matrices + p * step)
                    raw += geometry[at.RAW_SIZE]
            for number in range(first, end, geometry[at.ABREAST]):
                if shared:
                    block = shared_start(scratch) + (group * blocks + number) * size
                until = smaller(end, number + geometry[at.ABREAST])
                mask = masks + 8 * ((number - first) * mask_step + (panel - begin) * TILE_ROWS)
                found = sum_some(
                    panels_of, matrices, some, out, rows, geometry, scratch, block, own, mask, mask_step, group, panel,
                    number, until,
                )  # fmt: skip
                spoiled |= found << (number - first)
        if spoiled != 0:
            mend = rows[geometry[at.FUNCTIONS] + MEND]
            if mend == 0:
                leave_undone(scratch)
            else:
                for number in range(first, end):
                    if (spoiled >> (number - first)) & 1:
                        call_function(
                            mend,
                            (
                                address_of(x, 0), address_of(weight, 0), address_of(out, 0), address_of(rows, 0),
                                address_of(geometry, 0), address_of(scratch, 0), own,
                                masks + 8 * (number - first) * mask_step, group, begin, behind, number,
                            ),
                        )  # fmt: skip
