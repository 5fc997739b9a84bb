"""Direct convolution with output channels in the vector lanes.

A tile is a few pixels, anywhere in the image, x the filters of one panel. Every product takes one vector of weights
and, for each pixel, one element of the input, broadcast. So no column of a tile is wasted on the edge of an image,
strides and dilations only change where elements are read, and nothing is copied for the taps.

Where groups have fewer filters than a vector has lanes, a panel takes filters of several groups (depthwise: of a whole
vector of channels), and each lane reads the channel of its own group. That needs these channels side by side: they are
transposed when they are copied.

Either way the input under a block of output pixels is copied once, with its padding, into a strip (Zhang, Franchetti
& Low, "High performance zero-memory overhead direct convolutions", ICML 2018; the pixels' table of addresses is that of
Dukhan, "The indirect convolution algorithm", 2019, in one row).
"""

from __future__ import annotations

from numba import prange

from ..runtime import kernel, parallel_kernel
from . import geometry as at
from .blocking import CHANNEL_TILE_PIXELS, VECTOR_BYTES
from .gemm import finished
from .packing import NO_PLANE, copy_block, copy_run, depth_start, pack_weights_serial, source_index, zero_run
from .simd import reset_counters
from .simd_channels import (
    channels_microkernel_1,
    channels_microkernel_2,
    gather_channels,
    run_microkernel_1,
    run_microkernel_3,
    run_microkernel_3_stride2,
    run_microkernel_5,
    run_microkernel_5_stride2,
    run_microkernel_7,
    run_microkernel_7_stride2,
    spread_groups_2,
    spread_groups_4,
    spread_groups_8,
    store_cell,
    store_planes,
)
from .tasks import PARTS, next_part, next_task, own_start, part_done, shared_start


@kernel
def pack_planes(x, geometry, scratch, strip, start, h, column, lines, channels):
    """scratch[strip + c * STRIP_CHANNEL + r * PITCH + q] = padded input (channel c, row r, column q of the block).

    ``start`` is the first cell of channel 0 in one plane (or NO_PLANE); the block is ``lines`` output rows from
    ``h`` on and columns from ``column`` on.
    """
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    reach = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    pitch = geometry[at.PITCH]
    first_row = h * geometry[at.STRIDE_H] - geometry[at.PAD_H]
    # What the next block needs: it lies to the right, or below.
    ahead = lines * geometry[at.STRIDE_H] * geometry[at.X_H]
    if geometry[at.BLOCK_COLUMNS] < geometry[at.OUT_W]:
        ahead = geometry[at.BLOCK_COLUMNS] * geometry[at.STRIDE_W] * geometry[at.X_W]
    if geometry[at.LINE_STEP] == geometry[at.STRIDE_H]:
        rows = (first_row, 1, (lines - 1) * geometry[at.STRIDE_H] + reach + 1)
        copy_block(
            x, start, channels, geometry, rows, (first, pitch, 1), scratch, (strip, pitch, geometry[at.STRIP_CHANNEL]),
            ahead,
        )  # fmt: skip
        return
    for line in range(lines):  # rows that no tap reads lie between the outputs
        rows = (first_row + line * geometry[at.STRIDE_H], 1, reach + 1)
        target = (strip + line * (reach + 1) * pitch, pitch, geometry[at.STRIP_CHANNEL])
        copy_block(x, start, channels, geometry, rows, (first, pitch, 1), scratch, target, 0)


@kernel
def pack_cells(x, geometry, scratch, strip, start, h, column, lines, channels, lanes):
    """scratch[strip + (r * PITCH + q) * lanes + c] = padded input (channel c, row r, column q of the block).

    As :func:`pack_planes`, with the channels side by side: c < channels <= lanes.
    """
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    reach = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    pitch = geometry[at.PITCH]
    step = geometry[at.LINE_STEP]
    height, width = geometry[at.IN_H], geometry[at.IN_W]
    for r in range((lines - 1) * step + reach + 1):
        line = min(r // step, lines - 1)
        row = (h + line) * geometry[at.STRIDE_H] - geometry[at.PAD_H] + r - line * step
        xh = source_index(row, height, geometry[at.PAD_MODE])
        y = strip + r * pitch * lanes
        for q in range(pitch):
            xw = source_index(first + q, width, geometry[at.PAD_MODE])
            if start == NO_PLANE or xh < 0 or xw < 0:
                zero_run(scratch, y, channels)
            elif geometry[at.X_CHANNEL] == 1:
                copy_run(x, start + xh * geometry[at.X_H] + xw * geometry[at.X_W], scratch, y, channels)
            else:
                for c in range(channels):
                    source = start + xh * geometry[at.X_H] + xw * geometry[at.X_W] + c * geometry[at.X_CHANNEL]
                    scratch[y + c] = x[source]
            y += lanes


@kernel
def pack_image(x, geometry, scratch, strip, start, channels):
    """As :func:`pack_planes` where a block is a whole image: the padding is there already, only pixels are copied."""
    pitch = geometry[at.PITCH]
    width = min(geometry[at.IN_W], pitch - geometry[at.PAD_W])
    height = min(geometry[at.IN_H], geometry[at.STRIP_ROWS] - geometry[at.PAD_H])
    first = strip + geometry[at.PAD_H] * pitch + geometry[at.PAD_W]
    for c in range(channels):
        source, y = start + c * geometry[at.X_CHANNEL], first + c * geometry[at.STRIP_CHANNEL]
        for _ in range(height):
            if geometry[at.X_W] == 1:
                copy_run(x, source, scratch, y, width)
            else:
                for j in range(width):
                    scratch[y + j] = x[source + j * geometry[at.X_W]]
            source += geometry[at.X_H]
            y += pitch


@kernel
def pack_lanes(x, rows, geometry, scratch, strip, start, h, column, lines, filters, jump, phase, valid):
    """scratch[strip + (r * PITCH + q) * lanes + n] = padded input (row r, column q of the block) of lane n's channel.

    As :func:`pack_planes`; ``start`` is the plane of lane 0's channel; ``phase`` is that lane's filter within its
    group, and ``valid`` lanes have a filter. Every ``filters`` lanes the channel changes, by ``jump`` elements. Padding
    is zeros; where a block is a whole image, it is there already.
    """
    lanes = VECTOR_BYTES // scratch.itemsize
    height, width = geometry[at.IN_H], geometry[at.IN_W]
    cells = geometry[at.CELLS_START]
    if geometry[at.WHOLE] != 0 and geometry[at.X_W] == 1 and geometry[at.X_H] == width:
        for p in range(0, height * width, lanes):
            count = min(lanes, height * width - p)
            gather_channels(x, start + p, jump, filters, phase, valid, count, scratch, strip, rows, cells + p)
        return
    first = column * geometry[at.STRIDE_W] - geometry[at.PAD_W]
    reach = (geometry[at.KERNEL_H] - 1) * geometry[at.DILATION_H]
    pitch = geometry[at.PITCH]
    step = geometry[at.LINE_STEP]
    left = min(pitch, max(0, -first))
    right = min(pitch, max(left, width - first))
    line = 0
    for r in range((lines - 1) * step + reach + 1):
        if r - line * step >= step and line < lines - 1:
            line += 1
        row = (h + line) * geometry[at.STRIDE_H] - geometry[at.PAD_H] + r - line * step
        y = strip + r * pitch * lanes
        if start == NO_PLANE or row < 0 or row >= height:
            zero_run(scratch, y, pitch * lanes)
            continue
        zero_run(scratch, y, left * lanes)
        source = start + row * geometry[at.X_H] + (first + left) * geometry[at.X_W]
        if geometry[at.X_W] == 1:
            for q in range(left, right, lanes):
                count = min(lanes, right - q)
                if geometry[at.WHOLE] != 0:
                    target, cell = strip, cells + row * width + first + q
                else:
                    target, cell = y, cells + q
                gather_channels(
                    x, source + q - left, jump, filters, phase, valid, count, scratch, target, rows, cell
                )  # fmt: skip
        else:
            for q in range(left, right):
                if filters == 1 and jump == 1:
                    copy_run(x, source, scratch, y + q * lanes, valid)
                else:
                    for n in range(valid):
                        scratch[y + q * lanes + n] = x[source + (phase + n) // filters * jump]
                source += geometry[at.X_W]
        zero_run(scratch, y + right * lanes, (pitch - right) * lanes)


@kernel
def store_pixels(scratch, sums, weight, out, geometry, image, panel, line, column, columns, first, last):
    """Store the sums of block pixels ``first`` <= p < ``last`` of one panel, with bias and activation.

    scratch[sums + (p - first) * MR + n] belongs to filter n of the panel; pixel p lies in row p // BLOCK_COLUMNS of the
    block, which starts at column ``column`` of output row ``line`` (flat in d, h); of its columns the first
    ``columns`` are outputs.
    """
    mr = geometry[at.MR]
    lanes = VECTOR_BYTES // out.itemsize
    width = geometry[at.BLOCK_COLUMNS]
    group, panel_in_group = divmod(panel, geometry[at.PANELS])
    valid = min(mr, geometry[at.FILTERS] - panel_in_group * mr)
    channel = group * geometry[at.FILTERS] + panel_in_group * mr
    start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + channel * geometry[at.OUT_CHANNEL]
    bias = geometry[at.BIAS_START] + panel * mr
    relu = 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0
    flat = geometry[at.OUT_DENSE] != 0 and width == geometry[at.OUT_W]
    step = 1 if flat else geometry[at.OUT_STRIDE_W]  # the stride of a single column may be anything
    while first < last:
        row, offset = divmod(first, width)
        count = last - first if flat else min(last - first, width - offset)
        inside = count if flat else min(count, columns - offset)
        d, h = divmod(line + row, geometry[at.OUT_H])
        y = start + d * geometry[at.OUT_STRIDE_D] + h * geometry[at.OUT_STRIDE_H]
        y += (column + offset) * step
        for n in range(0, valid, lanes):
            channels = min(lanes, valid - n)
            target = y + n * geometry[at.OUT_CHANNEL]
            if step == 1 and inside > 0:
                for j in range(0, inside, lanes):
                    store_planes(
                        scratch, sums + j * mr + n, mr, min(lanes, inside - j), weight, bias + n, relu,
                        out, target + j, geometry[at.OUT_CHANNEL], channels,
                    )  # fmt: skip
            elif geometry[at.OUT_CHANNEL] == 1:
                for j in range(inside):
                    store_cell(
                        scratch, sums + j * mr + n, weight, bias + n, relu,
                        out, target + j * step, channels,
                    )  # fmt: skip
            else:
                for j in range(inside):
                    for m in range(channels):
                        value = finished(scratch[sums + j * mr + n + m], weight[bias + n + m], geometry[at.FINISH])
                        out[target + j * step + m * geometry[at.OUT_CHANNEL]] = value
        first += count
        sums += count * mr


@kernel
def valid_taps(geometry, finite, first, last):
    """Return the taps kh <= k < end that lie in the image for some output row from ``first`` to ``last``.

    The others are padding of zeros, and add nothing, as long as the weights are ``finite``. Of rows that see only
    padding, one tap is left.
    """
    height, pad = geometry[at.KERNEL_H], geometry[at.PAD_H]
    if geometry[at.PAD_MODE] != at.PAD_ZEROS or not finite:
        return 0, height
    above = pad - last * geometry[at.STRIDE_H]
    below = geometry[at.IN_H] - 1 + pad - first * geometry[at.STRIDE_H]
    step = geometry[at.DILATION_H]
    begin, end = 0, height
    if above > 0:
        begin = min(height - 1, (above + step - 1) // step)
    if below < (height - 1) * step:
        end = max(begin + 1, below // step + 1)
    return begin, end


@kernel
def sum_lanes(weight, rows, geometry, scratch, strip, tile, tiles, sums, panel, taps):
    """Sum all products of ``tiles`` tiles of pixels from number ``tile`` on, filters of different groups in the lanes.

    scratch[sums + p * lanes + n] is lane n of pixel p of the block. The taps of a row are summed in runs, as SEGMENTS
    says, and of the rows only those in ``taps``.
    """
    lanes = VECTOR_BYTES // scratch.itemsize
    begin, end = taps
    height = geometry[at.KERNEL_H]
    planes = geometry[at.CHANNELS] * geometry[at.KERNEL_D]
    w = panel * planes * height * geometry[at.KERNEL_W] * lanes
    pixels = geometry[at.PIXELS_START]
    tile += geometry[at.TILES_START]
    wide = geometry[at.STRIDE_W] == 2
    k = 0
    for kind in range(4):
        per = geometry[at.SEGMENTS + kind] * planes
        if per == 0:
            continue
        length = 7 - 2 * kind
        first, depth, done = k + begin * per, (end - begin) * per, k
        w0 = w + begin * per * length * lanes
        if kind == 0 and wide:
            run_microkernel_7_stride2(
                scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done
            )
        elif kind == 0:
            run_microkernel_7(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        elif kind == 1 and wide:
            run_microkernel_5_stride2(
                scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done
            )
        elif kind == 1:
            run_microkernel_5(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        elif kind == 2 and wide:
            run_microkernel_3_stride2(
                scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done
            )
        elif kind == 2:
            run_microkernel_3(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        else:
            run_microkernel_1(scratch, strip, rows, first, depth, pixels, tile, tiles, weight, w0, scratch, sums, done)
        k += height * per
        w += height * per * length * lanes


@kernel
def multiply_lanes(weight, out, rows, geometry, scratch, strip, sums, image, panel, h, line, column, lines, columns):
    """As :func:`multiply_block`, filters of different groups in the lanes: tiles start anew in every row."""
    lanes = VECTOR_BYTES // scratch.itemsize
    width = geometry[at.BLOCK_COLUMNS]
    some = geometry[at.CHUNK] // width
    across = (width + CHANNEL_TILE_PIXELS - 1) // CHANNEL_TILE_PIXELS
    finite = weight[geometry[at.FINITE_START] + panel] == 0
    kinds = 0
    for kind in range(4):
        kinds += min(1, geometry[at.SEGMENTS + kind])
    single = kinds == 1
    for top in range(0, lines, some):
        bottom = min(lines, top + some)
        origin = sums - top * width * lanes
        row = top
        while row < bottom:
            taps = valid_taps(geometry, finite, h + row, h + row)
            end = row + 1
            while end < bottom and valid_taps(geometry, finite, h + end, h + end) == taps:
                end += 1
            # Where tiles overlap, all runs of one are summed before the next one starts.
            tiles = (end - row) * across
            together = tiles if single or width % CHANNEL_TILE_PIXELS == 0 else 1
            for tile in range(row * across, row * across + tiles, together):
                sum_lanes(weight, rows, geometry, scratch, strip, tile, together, origin, panel, taps)
            row = end
        first, last = top * width, bottom * width
        store_pixels(scratch, sums, weight, out, geometry, image, panel, line, column, columns, first, last)


@kernel
def multiply_block(weight, out, rows, geometry, scratch, strip, sums, image, panel, h, line, column, lines, columns):
    """Compute one panel of filters for a block of ``lines`` x ``columns`` pixels whose input lies at ``strip``.

    The block starts at column ``column`` of output row ``h``, which is row ``line`` flat in d, h.
    """
    mr = geometry[at.MR]
    width = geometry[at.BLOCK_COLUMNS]
    height = geometry[at.KERNEL_H]
    per = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_W]
    depth = per * height
    pixels = lines * width
    step = geometry[at.CHUNK]
    block = geometry[at.CHANNEL_BLOCK]
    finite = weight[geometry[at.FINITE_START] + panel] == 0
    all_begin, _ = valid_taps(geometry, finite, h, h)
    _, all_end = valid_taps(geometry, finite, h + lines - 1, h + lines - 1)
    padded = all_begin > 0 or all_end < height
    for first in range(0, pixels, step):
        last = min(pixels, first + step)
        for k in range(0, depth, block):
            for p in range(first, last, CHANNEL_TILE_PIXELS):
                begin, end = 0, depth
                if padded:
                    bottom = min(p + CHANNEL_TILE_PIXELS, last) - 1
                    begin, end = valid_taps(geometry, finite, h + p // width, h + bottom // width)
                    begin, end = begin * per, end * per
                low, high = max(begin, k), min(end, k + block)
                if low >= high:
                    continue
                y, w, table = sums + (p - first) * mr, (panel * depth + low) * mr, geometry[at.PIXELS_START] + p
                if mr * weight.itemsize == VECTOR_BYTES:
                    channels_microkernel_1(
                        scratch, strip, rows, low, table, high - low, weight, w, scratch, y, low - begin
                    )
                else:
                    channels_microkernel_2(
                        scratch, strip, rows, low, table, high - low, weight, w, scratch, y, low - begin
                    )
        store_pixels(scratch, sums, weight, out, geometry, image, panel, line, column, columns, first, last)


@kernel
def block_position(number, geometry):
    """Return (image, group, depth, row, column, rows, columns) of block ``number`` of pixels.

    Blocks run through columns, rows, depths, images, groups of images.
    """
    width, height = geometry[at.BLOCK_COLUMNS], geometry[at.BLOCK_ROWS]
    across = (geometry[at.OUT_W] + width - 1) // width
    down = (geometry[at.OUT_H] + height - 1) // height
    number, column = divmod(number, across)
    number, row = divmod(number, down)
    number, d = divmod(number, geometry[at.OUT_D])
    image, group = divmod(number, geometry[at.GROUPS])
    lines = min(height, geometry[at.OUT_H] - row * height)
    columns = min(width, geometry[at.OUT_W] - column * width)
    return image, group, d, row * height, column * width, lines, columns


@kernel
def pack_strip(x, geometry, scratch, strip, number, first, count, whole):
    """Copy ``count`` channels, from ``first`` on, of the input under block ``number`` (all filters share it).

    Where ``whole`` is not 0, the padding is in the strip already.
    """
    image, group, d, h, column, lines, _ = block_position(number, geometry)
    start = geometry[at.X_START] + image * geometry[at.X_BATCH]
    start += (group * geometry[at.CHANNELS] + first) * geometry[at.X_CHANNEL]
    for kd in range(geometry[at.KERNEL_D]):
        plane = depth_start(geometry, start, d, kd)
        y = strip + first * geometry[at.STRIP_CHANNEL] + kd * geometry[at.STRIP_DEPTH]
        if geometry[at.STRIP_CHANNEL] == 1:
            pack_cells(x, geometry, scratch, y, plane, h, column, lines, count, geometry[at.CHANNELS])
        elif whole != 0:
            pack_image(x, geometry, scratch, y, plane, count)
        else:
            pack_planes(x, geometry, scratch, y, plane, h, column, lines, count)


@kernel
def pack_panel_strip(x, rows, geometry, scratch, strip, number, panel):
    """Copy the input under block ``number``, channel by channel of the groups to which the lanes of a panel belong."""
    image, _, d, h, column, lines, _ = block_position(number, geometry)
    lanes = VECTOR_BYTES // scratch.itemsize
    group, phase = divmod(panel * lanes, geometry[at.LANE_FILTERS])
    valid = min(lanes, geometry[at.FILTERS] - panel * lanes)
    start = geometry[at.X_START] + image * geometry[at.X_BATCH]
    start += group * geometry[at.CHANNELS] * geometry[at.X_CHANNEL]
    channels, filters = geometry[at.CHANNELS], geometry[at.LANE_FILTERS]
    # Groups that divide a vector: its channels are copied once, and spread over the lanes that read them.
    spread = channels == filters and (filters == 2 or filters == 4 or filters == 8) and lanes % filters == 0
    if spread:
        channels, filters, jump = 1, 1, geometry[at.X_CHANNEL]
    else:
        jump = channels * geometry[at.X_CHANNEL]
    for c in range(channels):
        for kd in range(geometry[at.KERNEL_D]):
            plane = depth_start(geometry, start + c * geometry[at.X_CHANNEL], d, kd)
            y = strip + c * geometry[at.STRIP_CHANNEL] + kd * geometry[at.STRIP_DEPTH]
            pack_lanes(x, rows, geometry, scratch, y, plane, h, column, lines, filters, jump, phase, valid)
    if spread:
        cells = geometry[at.KERNEL_D] * geometry[at.STRIP_DEPTH] // lanes
        if geometry[at.LANE_FILTERS] == 2:
            spread_groups_2(scratch, strip, cells, geometry[at.STRIP_CHANNEL])
        elif geometry[at.LANE_FILTERS] == 4:
            spread_groups_4(scratch, strip, cells, geometry[at.STRIP_CHANNEL])
        else:
            spread_groups_8(scratch, strip, cells, geometry[at.STRIP_CHANNEL])


@kernel
def pack_shared(part, x, geometry, scratch):
    """Where tasks of different filters share a strip: copy part ``part`` of PARTS of the channels, of all strips.

    Block b's strip starts at ``scratch[shared_start + b * STRIP]``.
    """
    channels = geometry[at.CHANNELS]
    first, last = channels * part // PARTS, channels * (part + 1) // PARTS
    for number in range(geometry[at.SHARED] // geometry[at.STRIP]):
        strip = shared_start(scratch) + number * geometry[at.STRIP]
        pack_strip(x, geometry, scratch, strip, number, first, last - first, 0)


@kernel
def direct_channels_tasks(slot, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``: each a block of pixels x some panels of filters.

    out[n, g * F + f, d, h, w] = bias[f] + sum over c, kd, kh, kw of weight[g, f, c, kd, kh, kw] * x[n, g * C + c, i, j,
    k] with i = d * sd + kd * dd - pd, j = h * sh + kh * dh - ph and k = w * sw + kw * dw - pw

    x and out are flat views addressed by the strides in ``geometry``; ``weight`` is packed by
    ``packing.pack_weights_serial``. The table ``rows`` is made by ``algorithms.direct_channels.rows``. A thread's
    scratch holds a strip, unless the strips are shared, and the sums of CHUNK pixels x MR filters.
    """
    split = geometry[at.PANEL_SPLIT]
    panels = geometry[at.PANELS]
    base = shared_start(scratch)
    own = own_start(slot, geometry, scratch)
    sums = own + geometry[at.TILE_START]
    packed = -1
    if geometry[at.WHOLE] != 0 and geometry[at.SHARED] == 0:
        zero_run(scratch, own, geometry[at.STRIP])
    if geometry[at.SHARED] != 0:
        part = next_part(scratch)
        while part < PARTS:
            pack_shared(part, x, geometry, scratch)
            part_done(scratch)
            part = next_part(scratch)
    task = next_task(scratch)
    while task < geometry[at.TASKS]:
        number, part = divmod(task, split)
        image, group, d, h, column, lines, columns = block_position(number, geometry)
        strip = own if geometry[at.SHARED] == 0 else base + number * geometry[at.STRIP]
        if geometry[at.SHARED] == 0 and geometry[at.LANE_FILTERS] == 0 and packed != number:
            pack_strip(x, geometry, scratch, strip, number, 0, geometry[at.CHANNELS], geometry[at.WHOLE])
            packed = number
        line = d * geometry[at.OUT_H] + h
        for panel in range(panels * part // split, panels * (part + 1) // split):
            if geometry[at.LANE_FILTERS] != 0:
                pack_panel_strip(x, rows, geometry, scratch, strip, number, panel)
                multiply_lanes(
                    weight, out, rows, geometry, scratch, strip, sums, image, panel, h, line, column, lines, columns
                )
            else:
                multiply_block(
                    weight, out, rows, geometry, scratch, strip, sums, image, group * panels + panel, h, line, column,
                    lines, columns,
                )  # fmt: skip
        task = next_task(scratch)


@kernel
def direct_channels_serial(slot, slots, x, weight, out, rows, geometry, scratch):
    """All tasks on one thread; see :func:`direct_channels_tasks`."""
    reset_counters(scratch)
    direct_channels_tasks(slot, x, weight, out, rows, geometry, scratch)


@kernel
def direct_channels_once(weight, bias, packed, x, out, rows, geometry, scratch):
    """Lay out the weights and do all tasks, on one thread."""
    pack_weights_serial(0, 1, weight, bias, packed, rows, geometry)
    direct_channels_serial(0, 1, x, packed, out, rows, geometry, scratch)


@parallel_kernel
def direct_channels_parallel(slots, x, weight, out, rows, geometry, scratch):
    """All tasks on ``slots`` threads; which thread computes a value does not change it."""
    reset_counters(scratch)
    for slot in prange(slots):
        direct_channels_tasks(slot, x, weight, out, rows, geometry, scratch)
