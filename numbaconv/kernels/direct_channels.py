"""Direct convolution with output channels in the vector lanes.

A tile is a few pixels, anywhere in the image, x the filters of one panel. Every product takes one vector of weights
and, for each pixel, one element of the input, broadcast. So no column of a tile is wasted on the edge of an image,
strides and dilations only change where elements are read, and nothing is copied for the taps.

Where groups have fewer filters than a vector has lanes, a panel takes filters of several groups (depthwise: of a whole
vector of channels), and each lane reads the channel of its own group. That needs these channels side by side: they are
transposed when they are copied.

For such panels, where taps lie in the padding, and for strided pixels of large inputs, the input under a block of
output pixels is copied once, with its padding, into a strip. Elsewhere it is read where it is (Zhang, Franchetti & Low,
"High performance zero-memory overhead direct convolutions", ICML 2018; the pixels' table of addresses is that of
Dukhan, "The indirect convolution algorithm", 2019, in one row).
"""

from __future__ import annotations

from ..runtime import kernel
from . import geometry as at
from .blocking import CHANNEL_TILE_PIXELS, LANE_TILE_PIXELS, PAGE_BYTES
from .channel_tiles import (
    in_rows,
    most_together,
    sum_lanes,
    sum_tiles,
    sum_two_vectors,
    sum_vector,
    tile_taps,
    valid_taps,
)
from .gemm import finished
from .numbers import lanes_of, larger, smaller
from .packing import pack_panels, panels_together, zero_if_finite, zero_run
from .simd import scratch_size
from .simd_channels import copy_squares, store_cells, store_planes, transpose_square
from .strips import block_position, pack_panel_strip, pack_plane_strip, pack_shared, pack_strip, strip_planes
from .tasks import PARTS, own_part, own_start, own_task, part_done, shared_start
from .woven import store_woven_pixels


@kernel
def store_pixels(scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last):
    """Store the sums of block pixels ``first`` <= p < ``last`` of one panel, with activation and bias.

    scratch[sums + (p - first) * MR + n] belongs to filter n of the panel, whose bias is ``weight[bias + n]``. Pixel p
    lies in row p // BLOCK_COLUMNS of the block, which starts at column ``column`` of output row ``line`` (flat in
    d, h); of its columns the first ``columns`` are outputs.
    """
    if geometry[at.WEAVE_WIDTH] != 0:
        store_woven_pixels(scratch, sums, weight, bias, out, geometry, image, panel, column, columns, first, last)
    else:
        store_rows(
            store_run, scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last
        )  # fmt: skip


@kernel
def store_plane_pixels(scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last):
    """:func:`store_pixels` where the pixels of a row lie one behind the other; all else takes long to compile."""
    store_rows(
        store_plane_run, scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last
    )


@kernel
def store_rows(store, scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last):
    """:func:`store_pixels` row by row, by :func:`store_run` or one that serves fewer layouts."""
    mr = geometry[at.MR]
    lanes = lanes_of(out)
    width = geometry[at.BLOCK_COLUMNS]
    group, panel_in_group = divmod(panel, geometry[at.PANELS])
    valid = smaller(mr, geometry[at.FILTERS] - panel_in_group * mr)
    channel = group * geometry[at.FILTERS] + panel_in_group * mr
    start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH] + channel * geometry[at.OUT_CHANNEL]
    relu = 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0
    flat = geometry[at.OUT_DENSE] != 0 and width == geometry[at.OUT_W]
    pages = geometry[at.OUT_CHANNEL] * out.itemsize % PAGE_BYTES == 0
    step = 1 if flat else geometry[at.OUT_STRIDE_W]  # the stride of a single column may be anything
    while first < last:
        row, offset = divmod(first, width)
        count = last - first if flat else smaller(last - first, width - offset)
        # Of a block's last columns some may be none, so that a chunk may begin behind all that are.
        inside = count if flat else larger(0, smaller(count, columns - offset))
        d, h = divmod(line + row, geometry[at.OUT_H])
        y = start + d * geometry[at.OUT_STRIDE_D] + h * geometry[at.OUT_STRIDE_H]
        y += (column + offset) * step
        for n in range(0, valid, lanes):
            channels = smaller(lanes, valid - n)
            target = y + n * geometry[at.OUT_CHANNEL]
            store(scratch, sums + n, weight, bias + n, relu, out, target, geometry, inside, step, channels, pages)
        first += count
        sums += count * mr


@kernel
def store_plane_run(scratch, sums, weight, bias, relu, out, target, geometry, inside, step, channels, pages):
    """As :func:`store_run` for pixels one behind the other: ``step`` is 1."""
    mr = geometry[at.MR]
    lanes = lanes_of(out)
    # Planes whole pages apart share a set of the L1 cache: to 16 of them in turn a core stores 7 to 34 GB/s, and 80 to
    # 100 where some lines of one plane follow each other (Zen 5).
    whole = inside - inside % lanes if pages else 0
    for j in range(0, whole, lanes):
        transpose_square(scratch, sums + j * mr, mr, weight, bias, relu)
    for m in range(channels if pages else 0):
        copy_squares(scratch, sums + m * mr, lanes * mr, out, target + m * geometry[at.OUT_CHANNEL], whole)
    # A last vector that would be cut off begins sooner, and stores some pixels again; not where these sums have been
    # transposed in place.
    last = whole if pages else larger(0, inside - lanes)
    for j in range(whole, inside, lanes):
        first = smaller(j, last)
        store_planes(
            scratch, sums + first * mr, mr, smaller(lanes, inside - first), weight, bias, relu, out, target + first,
            geometry[at.OUT_CHANNEL], channels,
        )  # fmt: skip


@kernel
def store_run(scratch, sums, weight, bias, relu, out, target, geometry, inside, step, channels, pages):
    """Store the sums of ``inside`` neighbouring pixels and at most a vector of filters, ``channels``.

    out[target + j * step + m * OUT_CHANNEL] becomes what scratch[sums + j * MR + m] makes with weight[bias + m].
    ``pages`` is whether planes lie whole pages apart.
    """
    mr = geometry[at.MR]
    if step == 1:
        store_plane_run(scratch, sums, weight, bias, relu, out, target, geometry, inside, step, channels, pages)
    elif geometry[at.OUT_CHANNEL] == 1:
        store_cells(scratch, sums, mr, inside, weight, bias, relu, out, target, step, channels)
    else:
        for j in range(inside):
            for m in range(channels):
                value = finished(scratch[sums + j * mr + m], weight[bias + m], geometry[at.FINISH])
                out[target + j * step + m * geometry[at.OUT_CHANNEL]] = value


@kernel
def multiply_lanes(weight, out, rows, geometry, scratch, strip, sums, image, panel, h, line, column, lines, columns):
    """As :func:`multiply_block`, filters of different groups in the lanes: tiles start anew in every row."""
    lanes = lanes_of(scratch)
    width = geometry[at.BLOCK_COLUMNS]
    some = geometry[at.CHUNK] // width
    across = (width + LANE_TILE_PIXELS - 1) // LANE_TILE_PIXELS
    finite = weight[geometry[at.FINITE_START] + panel] == 0
    kinds = 0
    for kind in range(4):
        kinds += smaller(1, geometry[at.SEGMENTS + kind])
    single = kinds == 1
    for top in range(0, lines, some):
        bottom = smaller(lines, top + some)
        origin = sums - top * width * lanes
        row = top
        while row < bottom:
            taps = valid_taps(geometry, finite, h + row, h + row)
            end = row + 1
            while end < bottom and valid_taps(geometry, finite, h + end, h + end) == taps:
                end += 1
            # Where tiles overlap, all runs of one are summed before the next one starts.
            tiles = (end - row) * across
            together = tiles if single or width % LANE_TILE_PIXELS == 0 else 1
            for tile in range(row * across, row * across + tiles, together):
                sum_lanes(weight, rows, geometry, scratch, strip, tile, together, origin, panel, taps)
            row = end
        first, last = top * width, bottom * width
        bias = geometry[at.BIAS_START] + panel * lanes
        store_pixels(scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last)


@kernel
def multiply_block(
    multiply, store, x, weight, places, out, rows, geometry, scratch, strip, sums, image, panel, h, line, column, lines,
    columns,
):  # fmt: skip
    """Compute one panel of filters for a block of ``lines`` x ``columns`` pixels, and :func:`store_pixels` of it.

    Its input lies at ``scratch[strip]`` or, where IN_PLACE is not 0, at ``x[strip]``. ``multiply`` is
    ``channel_tiles.sum_tiles``, or what serves fewer panels.

    places = (where the panel's weights start, where its bias starts, whether its weights are finite). The block starts
    at column ``column`` of output row ``h``, which is row ``line`` flat in d, h. Where it consists of several depths,
    taps in the padding are not left out.
    """
    mr = geometry[at.MR]
    width = geometry[at.BLOCK_COLUMNS]
    height = geometry[at.KERNEL_H]
    per = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_W]
    depth = per * height
    pixels = columns if lines == 1 else lines * width
    step = geometry[at.CHUNK]
    block = geometry[at.CHANNEL_BLOCK]
    in_place = geometry[at.IN_PLACE]
    start, bias, finite = places
    all_begin, _ = valid_taps(geometry, finite, h, h)
    _, all_end = valid_taps(geometry, finite, h + lines - 1, h + lines - 1)
    apart, together = most_together(rows, geometry)
    padded = lines <= geometry[at.OUT_H] and (all_begin > 0 or all_end < height)
    for first in range(0, pixels, step):
        last = smaller(pixels, first + step)
        # The first tile fetches a block of weights, the others ask for the next one, each for its share. 3x3 layers of
        # ResNet-50 with 256 and 512 channels took 1.1 to 1.2 times as long without (Emerald Rapids).
        others = larger(1, (last - first - 1) // CHANNEL_TILE_PIXELS)
        share = (mr + others - 1) // others
        for k in range(0, depth, block):
            upcoming = start + smaller(k + block, depth) * mr if k + block < depth or last == pixels else start
            p, offset = first, first % width
            while p < last:
                tiles = 1
                if together > 1 and p + together * CHANNEL_TILE_PIXELS <= last and in_rows(offset, width):
                    tiles = together
                begin, end = 0, depth
                if padded:
                    taps = tile_taps(geometry, finite, h, p, last)
                    if tiles > 1 and offset + tiles * CHANNEL_TILE_PIXELS > width:
                        other = tile_taps(geometry, finite, h, p + CHANNEL_TILE_PIXELS, last)
                        tiles = together if other == taps else 1
                    begin, end = taps[0] * per, taps[1] * per
                low, high = larger(begin, k), smaller(end, k + block)
                if low < high:
                    ask = upcoming + larger(0, (p - first) // CHANNEL_TILE_PIXELS - 1) * share * block
                    y, w, table = sums + (p - first) * mr, start + low * mr, geometry[at.PIXELS_START] + p
                    multiply(
                        (geometry[at.VECTORS], tiles, apart),
                        (
                            x, in_place, strip, rows, low, table, last - p, high - low, weight, w, scratch, y,
                            low - begin, ask, tiles * share,
                        ),
                    )  # fmt: skip
                p += tiles * CHANNEL_TILE_PIXELS
                offset += tiles * CHANNEL_TILE_PIXELS
                while offset >= width:
                    offset -= width
        store(scratch, sums, weight, bias, out, geometry, image, panel, line, column, columns, first, last)


@kernel
def pack_all_strips(pack, slot, slots, x, geometry, scratch):
    """Copy all blocks' strips, on thread ``slot`` of ``slots``, together with the others."""
    while True:
        part = own_part(slot, slots, scratch)
        if part == PARTS:
            break
        pack_shared(pack, part, x, geometry, scratch)
        part_done(scratch)


@kernel
def direct_channels_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` of every layout."""
    compute_tasks(
        pack_all_strips, pack_strip, sum_tiles, store_pixels, slot, slots, x, weight, out, rows, geometry, scratch
    )


@kernel
def direct_planes_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`compute_tasks` whose strips hold planes, and a row's outputs lie side by side; panels are two vectors."""
    compute_tasks(
        pack_all_strips, pack_plane_strip, sum_two_vectors, store_plane_pixels, slot, slots, x, weight, out, rows,
        geometry, scratch,
    )  # fmt: skip


@kernel
def direct_planes_vector_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_planes_tasks` for panels of one vector."""
    compute_tasks(
        pack_all_strips, pack_plane_strip, sum_vector, store_plane_pixels, slot, slots, x, weight, out, rows, geometry,
        scratch,
    )  # fmt: skip


@kernel
def direct_in_place_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_planes_tasks` where, too, IN_PLACE is not 0: there are no strips."""
    compute_tasks(
        no_strips, no_strip, sum_two_vectors, store_plane_pixels, slot, slots, x, weight, out, rows, geometry, scratch
    )


@kernel
def direct_in_place_vector_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_in_place_tasks` for panels of one vector."""
    compute_tasks(
        no_strips, no_strip, sum_vector, store_plane_pixels, slot, slots, x, weight, out, rows, geometry, scratch
    )


@kernel
def no_strips(pack, slot, slots, x, geometry, scratch):
    """``pack_all_strips`` where there are none."""


@kernel
def no_strip(x, geometry, scratch, strip, number, first, count, whole):
    """``pack_strip`` where there is none."""


@kernel
def compute_tasks(pack_all, pack, multiply, store, slot, slots, x, weight, out, rows, geometry, scratch):
    """Compute tasks as long as there are any, on thread ``slot``: each a block of pixels x some panels of filters.

    out[n, g * F + f, d, h, w] = bias[f] + sum over c, kd, kh, kw of weight[g, f, c, kd, kh, kw] * x[n, g * C + c, i, j,
    k] with i = d * sd + kd * dd - pd, j = h * sh + kh * dh - ph and k = w * sw + kw * dw - pw

    x and out are flat views addressed by the strides in ``geometry``; ``weight`` is packed by
    ``packing.pack_weights``. The table ``rows`` is made by ``algorithms.direct_channels.rows``. A thread's
    scratch holds a strip, unless the strips are shared or the input is read IN_PLACE, and the sums of CHUNK pixels x MR
    filters.

    ``pack_all`` and ``pack`` copy strips, ``multiply`` is ``channel_tiles.sum_tiles``, ``store`` is
    :func:`store_pixels`, or they are what serves fewer layouts and is compiled sooner: all together take 2 s.
    """
    split = geometry[at.PANEL_SPLIT]
    panels = geometry[at.PANELS]
    base = shared_start(scratch)
    strip = own = own_start(slot, geometry, scratch)
    sums = own + geometry[at.TILE_START]
    # Squares are transposed, and biased, beyond the pixels that were summed: see gemm.multiply_tile.
    zero_run(scratch, sums, geometry[at.SCRATCH] - geometry[at.TILE_START])
    packed = -1
    if geometry[at.WHOLE] != 0 and geometry[at.SHARED] == 0:
        zero_run(scratch, own, geometry[at.STRIP])
    if geometry[at.SHARED] != 0:
        pack_all(pack, slot, slots, x, geometry, scratch)
    mr = geometry[at.MR]
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    while True:
        task = own_task(slot, slots, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        number, part = divmod(task, split)
        image, group, d, h, column, lines, columns = block_position(number, geometry)
        if geometry[at.IN_PLACE] != 0:
            strip = geometry[at.X_START] + image * geometry[at.X_BATCH]
            strip += group * geometry[at.CHANNELS] * geometry[at.X_CHANNEL]
            strip += h * geometry[at.STRIDE_H] * geometry[at.X_H] + column * geometry[at.STRIDE_W] * geometry[at.X_W]
        elif geometry[at.SHARED] != 0:
            strip = base + number * geometry[at.STRIP]
        elif packed != number:
            pack(x, geometry, scratch, strip, number, 0, strip_planes(geometry), geometry[at.WHOLE])
            packed = number
        line = d * geometry[at.OUT_H] + h
        for panel in range(group * panels + panels * part // split, group * panels + panels * (part + 1) // split):
            finite = weight[geometry[at.FINITE_START] + panel] == 0
            places = (panel * depth * mr, geometry[at.BIAS_START] + panel * mr, finite)
            multiply_block(
                multiply, store, x, weight, places, out, rows, geometry, scratch, strip, sums, image, panel, h, line,
                column, lines, columns,
            )  # fmt: skip


@kernel
def direct_unpacked_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_channels_tasks` where tasks pack the weights that they need: UNPACKED is not 0. VECTORS is 2.

    With few pixels, packing takes as long as multiplying, most of it for writing the weights to memory and reading them
    again. Here a panel is multiplied with all blocks of pixels while the cache holds it. ``weight`` is a flat view with
    the strides WEIGHT_*; the bias, as ``pack_bias`` lays it out, is the end of ``scratch``. All strips are shared. A
    thread's scratch holds the sums, UNPACKED panels from PANEL_START on, and PACK_SCRATCH elements.
    """
    panels, split, mr = geometry[at.PANELS], geometry[at.PANEL_SPLIT], geometry[at.MR]
    groups, images = geometry[at.GROUPS], geometry[at.BATCH]
    size = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W] * mr
    bias = scratch_size(scratch) - groups * panels * mr
    own = own_start(slot, geometry, scratch)
    zero_run(scratch, own, geometry[at.PANEL_START])  # the sums: see direct_channels_tasks
    packed = own + geometry[at.PANEL_START]
    spare = packed + geometry[at.UNPACKED] * size
    blocks = geometry[at.SHARED] // geometry[at.STRIP] // (images * groups)
    pack_all_strips(pack_strip, slot, slots, x, geometry, scratch)
    while True:
        task = own_task(slot, slots, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        group, part = divmod(task, split)
        panel, end = panels * part // split, panels * (part + 1) // split
        while panel < end:
            most = smaller(geometry[at.UNPACKED], end - panel)
            some = panels_together(geometry, panel, most, scratch.itemsize)
            pack_panels(weight, rows, geometry, group, panel, some, scratch, packed, scratch, spare)
            for p in range(some):
                start = packed + p * size
                number = group * panels + panel + p
                places = (start, bias + number * mr, zero_if_finite(scratch, start, geometry) == 0)
                for image in range(images):
                    for b in range(blocks):
                        block = (image * groups + group) * blocks + b
                        _, _, d, h, column, lines, columns = block_position(block, geometry)
                        strip = shared_start(scratch) + block * geometry[at.STRIP]
                        multiply_block(
                            sum_two_vectors, store_pixels, x, scratch, places, out, rows, geometry, scratch, strip, own,
                            image, number, h, d * geometry[at.OUT_H] + h, column, lines, columns,
                        )  # fmt: skip
            panel += some


@kernel
def direct_lanes_tasks(slot, slots, x, weight, out, rows, geometry, scratch):
    """:func:`direct_channels_tasks` where panels are made of filters of several groups: LANE_FILTERS is not 0.

    Each panel has a strip of its own, so none is shared.
    """
    split = geometry[at.PANEL_SPLIT]
    panels = geometry[at.PANELS]
    strip = own_start(slot, geometry, scratch)
    sums = strip + geometry[at.TILE_START]
    zero_run(scratch, strip, geometry[at.SCRATCH])  # see direct_channels_tasks; tiles read beyond the strip's rows, too
    while True:
        task = own_task(slot, slots, geometry, scratch)
        if task >= geometry[at.TASKS]:
            break
        number, part = divmod(task, split)
        image, _, d, h, column, lines, columns = block_position(number, geometry)
        line = d * geometry[at.OUT_H] + h
        for panel in range(panels * part // split, panels * (part + 1) // split):
            pack_panel_strip(x, rows, geometry, scratch, strip, number, panel)
            multiply_lanes(
                weight, out, rows, geometry, scratch, strip, sums, image, panel, h, line, column, lines, columns
            )
