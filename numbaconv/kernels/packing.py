"""Copies into the order in which the microkernel reads: rows of the input, panels of the weights."""

from __future__ import annotations

from typing import Final

from ..runtime import kernel
from . import geometry as at
from .blocking import LEAST_BESIDE, PACK_SCRATCH, PIECE_BYTES, SPAN, TILE_ROWS
from .numbers import divided, lanes_of, larger, smaller
from .simd import address_of, copy_every_other, copy_lanes, copy_vector, transpose_panel, zero_lanes
from .simd_apart import copy_row_1, copy_row_2, copy_row_3, copy_row_4
from .simd_channels import gather_channels, sum_of_zeros, transpose_cells, transpose_lines
from .tasks import shared_start

#: Stands for a plane of the input that lies in the padding. Real ones may start below 0, but no array reaches this far.
NO_PLANE = -(2**62)
#: Bytes of the input that a row spans from which the rows of a plane are copied one after the other, as a CPU's
#: prefetcher follows them, not those of all planes: 3x3 layers with stride 2 on 56x56 and 112x112 took 1.04 times as
#: long without, layers of 33x33 and 14x14 1.05 to 1.1 times with (Emerald Rapids).
LONG_ROW: Final = 192


@kernel
def source_index(position, size, mode):
    """Where padded position ``position`` of an axis of ``size`` cells is read: an index, or -1 for a zero.

    ``position`` counts from the first real cell, so padding before it is negative. Sizes are at least 1.
    """
    if 0 <= position < size:
        return position
    if mode == at.PAD_REPLICATE:
        return smaller(larger(position, 0), size - 1)
    if mode == at.PAD_CIRCULAR:
        return position % size
    if mode == at.PAD_REFLECT:
        if size == 1:
            return 0
        position %= 2 * size - 2
        return position if position < size else 2 * size - 2 - position
    if mode == at.PAD_SYMMETRIC:
        position %= 2 * size
        return position if position < size else 2 * size - 1 - position
    return -1


@kernel
def depth_start(geometry, start, d, kd):
    """Return where a channel's plane under tap kd of output depth d starts, or NO_PLANE where it is padding of zeros.

    The channel's first cell is at ``start``.
    """
    depth = d * geometry[at.STRIDE_D] - geometry[at.PAD_D] + kd * geometry[at.DILATION_D]
    plane = source_index(depth, geometry[at.IN_D], geometry[at.PAD_MODE])
    return start + plane * geometry[at.X_D] if plane >= 0 else NO_PLANE


@kernel
def copy_block(x, start, channels, geometry, rows, columns, y, target, ahead):
    """As :func:`copy_planes` for the planes of ``channels`` channels."""
    copy_planes(x, start, (channels, geometry[at.X_CHANNEL]), geometry, rows, columns, y, target, ahead)


@kernel
def copy_planes(x, start, planes, geometry, rows, columns, y, target, ahead):
    """Copy some cells of padded planes.

    y[y_start + r * y_row + c * y_channel + j] = plane c [first_row + r * row_step, first + j * stride]

    - planes = (number of c, elements of x from one to the next).
    - rows = (first_row, row_step, number of r), columns = (first, number of j, stride): positions count from the
      plane's first cell and may lie outside, where the padding mode says what is read.
    - target = (y_start, y_row, y_channel).
    - ``x[start]`` is plane 0's first cell; NO_PLANE stands for planes of zeros.
    - The caller will want what lies ``ahead`` elements behind next: contiguous rows fetch it into the cache.
    """
    first_row, row_step, lines = rows
    first, count, stride = columns
    y_start, y_row, y_channel = target
    size = geometry[at.IN_W]
    step = geometry[at.X_W]
    mode = geometry[at.PAD_MODE]
    channels, x_channel = planes
    # A row costs less than a division: what all rows share is worked out once.
    left = smaller(count, larger(0, -(first // stride)))  # the first j whose position is not negative
    right = smaller(count, larger(left, -((first - size) // stride)))  # the first one whose position is at least size
    jump = stride * step
    inside = right - left
    inner = start + first * step + left * jump
    across = x_channel == 1 and jump > 2 and channels >= LEAST_BESIDE  # see copy_rows
    long = lines > 1 and inside * jump * y.itemsize >= LONG_ROW
    along = mode == at.PAD_ZEROS and start != NO_PLANE and long and not across
    top = bottom = 0
    if along:
        top = smaller(lines, larger(0, -(first_row // row_step)))
        bottom = smaller(lines, larger(top, -((first_row - geometry[at.IN_H]) // row_step)))
    # The rows of all planes and, where these are copied one after the other, the planes. To emit the copies twice took
    # longer to compile.
    for i in range(lines + channels if along else lines):
        if i < lines:
            xh = source_index(first_row + i * row_step, geometry[at.IN_H], mode)
            goal = y_start + i * y_row
            if start == NO_PLANE or xh < 0:
                for _ in range(channels):
                    zero_run(y, goal, count)
                    goal += y_channel
                continue
            line = xh * geometry[at.X_H]
            if left > 0:
                pad_rows(x, start + line, planes, geometry, (first, stride), y, goal, y_channel, 0, left)
            if right < count:
                pad_rows(x, start + line, planes, geometry, (first, stride), y, goal, y_channel, right, count)
            if along:
                continue
            number, x_step, y_step = channels, x_channel, y_channel
        else:
            number, x_step, y_step = bottom - top, row_step * geometry[at.X_H], y_row
            line = first_row * geometry[at.X_H] + top * x_step + (i - lines) * x_channel
            goal = y_start + top * y_row + (i - lines) * y_channel
        copy_rows(x, inner + line, x_step, y, goal + left, y_step, number, inside, jump, ahead)


@kernel
def copy_rows(x, source, x_step, y, goal, y_step, rows, count, jump, ahead):
    """y[goal + r * y_step + j] = x[source + r * x_step + j * jump] for r < rows, j < count.

    Where ``jump`` is 1, what lies ``ahead`` elements behind is asked for, too.
    """
    lanes = lanes_of(y)
    if jump == 1:
        whole = count - count % lanes
        for _ in range(rows):
            for j in range(0, whole, lanes):
                copy_vector(x, source + j, y, goal + j, ahead)
            if whole < count:
                copy_lanes(x, source + whole, y, goal + whole, count - whole)
            source += x_step
            goal += y_step
    elif jump == 2:
        for _ in range(rows):
            for j in range(0, count, lanes):
                copy_every_other(x, source + 2 * j, y, goal + j, count - j)
            source += x_step
            goal += y_step
    elif x_step == 1 and rows >= LEAST_BESIDE:
        copy_across(x, source, y, goal, y_step, rows, count, jump)
    else:
        for _ in range(rows):
            for j in range(count):
                y[goal + j] = x[source + j * jump]
            source += x_step
            goal += y_step


@kernel
def copy_across(x, source, y, goal, y_step, channels, count, jump):
    """:func:`copy_rows` where ``channels`` lie side by side: y[goal + c * y_step + j] = x[source + c + j * jump]."""
    lanes = lanes_of(y)
    for j in range(0, count, lanes):
        for c in range(0, channels, lanes):
            transpose_cells(x, source + c + j * jump, jump, count - j, channels - c, y, goal + c * y_step + j, y_step)


@kernel
def copy_run(x, x_start, y, y_start, count):
    """y[y_start + j] = x[x_start + j] for j < count."""
    lanes = lanes_of(y)
    for j in range(0, count, lanes):
        copy_lanes(x, x_start + j, y, y_start + j, count - j)


@kernel
def zero_run(y, start, count):
    """y[start + j] = 0 for j < count. A plain loop would become a call of memset, dearer than these few stores."""
    for j in range(0, count, lanes_of(y)):
        zero_lanes(y, start + j, count - j)


@kernel
def pad_rows(x, line, planes, geometry, columns, y, goal, y_channel, begin, end):
    """Write the cells begin <= j < end of a row, in every plane, of which some lie in the padding.

    y[goal + c * y_channel + j] = plane c's row at position first + j * stride, columns = (first, stride); its first
    cell is at ``x[line]`` in plane 0. planes as in :func:`copy_planes`.
    """
    channels, x_channel = planes
    mode = geometry[at.PAD_MODE]
    if mode == at.PAD_ZEROS:
        for _ in range(channels):
            zero_run(y, goal + begin, end - begin)
            goal += y_channel
        return
    first, stride = columns
    for j in range(begin, end):
        index = source_index(first + j * stride, geometry[at.IN_W], mode)
        for c in range(channels):
            y[goal + c * y_channel + j] = x[line + c * x_channel + index * geometry[at.X_W]]


@kernel
def panels_together(geometry, panel, most, itemsize):
    """How many panels, from ``panel`` on and at most ``most``, of a group are packed together.

    Where the weights of a filter lie apart, memory is read in pieces of at least PIECE_BYTES.
    """
    if geometry[at.WEIGHT_DENSE] != 0:
        return 1
    piece = geometry[at.MR] * abs(geometry[at.WEIGHT_FILTER]) * itemsize
    return larger(1, smaller(smaller(most, geometry[at.PANELS] - panel), PIECE_BYTES // larger(1, piece)))


@kernel
def pack_panels(weight, rows, geometry, group, panel, some, y, start, scratch, own):
    """Transpose ``some`` panels: y[start + p * depth * MR + k' * MR + m] = weight[filter m of panel ``panel`` + p, k].

    Filter m of panel p is group * FILTERS + p * MR + m, and k < depth runs over (C, KD, KH, KW); k' is k. Where there
    is a table at ORDER_START, MR is whole vectors, and ``rows[ORDER_START + k]`` is k' * MR.

    ``weight`` is a flat view with the strides WEIGHT_*; filters that fill up the last panel are some values, finite
    where all others are. From scratch[own] on, PACK_SCRATCH elements are free.
    """
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    step = geometry[at.WEIGHT_FILTER]
    x = geometry[at.WEIGHT_START] + (group * geometry[at.FILTERS] + panel * geometry[at.MR]) * step
    filters = geometry[at.FILTERS] - panel * geometry[at.MR]
    below, span = tap_span(geometry)
    if geometry[at.WEIGHT_DENSE] != 0:
        for p in range(some):
            if geometry[at.ORDER_START] != 0:
                pack_ordered_panel(weight, rows, geometry, group, panel + p, y, start + p * depth * geometry[at.MR])
            else:
                pack_dense_panel(weight, rows, geometry, group, panel + p, y, start + p * depth * geometry[at.MR])
    elif step != 1 and span <= SPAN and depth > 2 * geometry[at.CHANNELS]:
        pack_spans(weight, x - below, rows, geometry, filters, some, y, start, scratch, own, below, span)
    else:
        pack_taps(weight, x, rows, geometry, filters, some, y, start)


@kernel
def pack_ordered_panel(weight, rows, geometry, group, panel, y, start):
    """As :func:`pack_panels` for one panel of filters whose weights lie one behind the other, by a table of k'."""
    mr = geometry[at.MR]
    step = geometry[at.WEIGHT_FILTER]
    x = geometry[at.WEIGHT_START] + (group * geometry[at.FILTERS] + panel * mr) * step
    count = smaller(mr, geometry[at.FILTERS] - panel * mr)
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    lanes = lanes_of(y)
    for m in range(0, mr, lanes):
        valid = larger(1, smaller(lanes, count - m))
        source = x + smaller(m, count - 1) * step
        for k in range(0, depth, lanes):
            gather_channels(
                weight, source + k, step, 1, 0, valid, smaller(lanes, depth - k), y, start + m, rows,
                geometry[at.ORDER_START] + k,
            )  # fmt: skip


@kernel
def pack_dense_panel(weight, rows, geometry, group, panel, y, start):
    """As :func:`pack_ordered_panel`, where k' is k."""
    mr = geometry[at.MR]
    step = geometry[at.WEIGHT_FILTER]
    x = geometry[at.WEIGHT_START] + (group * geometry[at.FILTERS] + panel * mr) * step
    count = smaller(mr, geometry[at.FILTERS] - panel * mr)
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    lanes = lanes_of(y)
    whole = depth - depth % lanes if count == TILE_ROWS else 0
    for k in range(0, whole, lanes):
        transpose_panel(weight, x + k, step, y, start + k * mr)
    for k in range(whole, depth):
        for m in range(mr):
            y[start + k * mr + m] = weight[x + m * step + k] if m < count else 0


@kernel
def tap_span(geometry):
    """Return (elements before the first tap, elements in all) between which the taps of a filter and channel lie."""
    below, span = 0, 1
    for axis in range(3):
        reach = (geometry[at.KERNEL_D + axis] - 1) * geometry[at.WEIGHT_D + axis]
        below += larger(0, -reach)
        span += abs(reach)
    return below, span


@kernel
def pack_spans(weight, x, rows, geometry, filters, some, y, start, scratch, own, below, span):
    """As :func:`pack_panels`, where the taps lie close together: all that lies between them is transposed first.

    That is ``span`` <= SPAN elements of each filter and channel, of which ``below`` before the first tap. ``weight[x]``
    is the first one of the panels' first filter, and ``filters`` exist from there on.
    """
    mr = geometry[at.MR]
    lanes = lanes_of(y)
    step = geometry[at.WEIGHT_FILTER]
    order = geometry[at.ORDER_START]
    taps = geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    panel_step = geometry[at.CHANNELS] * taps * mr
    for c in range(geometry[at.CHANNELS]):
        for f in range(0, some * mr, lanes):
            valid = larger(1, smaller(lanes, filters - f))
            source = x + c * geometry[at.WEIGHT_CHANNEL] + smaller(f, filters - 1) * step
            for j in range(0, span, lanes):
                transpose_lines(weight, source + j, step, valid, smaller(lanes, span - j), scratch, own + j * lanes)
            lane, end = 0, smaller(lanes, some * mr - f)
            while lane < end:  # a vector may hold filters of several panels
                panel, m = divmod(f + lane, mr)
                count = smaller(end - lane, mr - m)
                k = c * taps
                for d in range(geometry[at.KERNEL_D]):
                    for h in range(geometry[at.KERNEL_H]):
                        tap = below + d * geometry[at.WEIGHT_D] + h * geometry[at.WEIGHT_H]
                        for _ in range(geometry[at.KERNEL_W]):
                            target = start + panel * panel_step + m + (rows[order + k] if order != 0 else k * mr)
                            copy_lanes(scratch, own + tap * lanes + lane, y, target, count)
                            tap += geometry[at.WEIGHT_W]
                            k += 1
                lane += count


@kernel
def pack_taps(weight, x, rows, geometry, filters, some, y, start):
    """As :func:`pack_panels` for weights that lie anyhow: all filters of a tap, one tap after the other.

    ``weight[x]`` is the first weight of the panels' first filter; ``filters`` from there on exist.

    Of each channel a piece is read, and those of the second next one are asked for ahead: the pieces lie too far apart
    for a CPU's own prefetcher. Plain calls with 4 to 9 MB of weights took 1.04 to 1.2 times as long without (Emerald
    Rapids, 2 threads).
    """
    mr = geometry[at.MR]
    step = geometry[at.WEIGHT_FILTER]
    order = geometry[at.ORDER_START]
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    lanes = lanes_of(y)
    ahead = 2 * geometry[at.WEIGHT_CHANNEL]
    k = 0
    for c in range(geometry[at.CHANNELS]):
        for d in range(geometry[at.KERNEL_D]):
            for h in range(geometry[at.KERNEL_H]):
                source = x + c * geometry[at.WEIGHT_CHANNEL] + d * geometry[at.WEIGHT_D] + h * geometry[at.WEIGHT_H]
                for _ in range(geometry[at.KERNEL_W]):
                    target = start + (rows[order + k] if order != 0 else k * mr)
                    for p in range(some):
                        first = source + p * mr * step
                        count = smaller(mr, filters - p * mr)
                        if step == 1 and count == mr and mr % lanes == 0:
                            for m in range(0, mr, lanes):
                                copy_vector(weight, first + m, y, target + m, ahead)
                        elif step == 1:
                            copy_run(weight, first, y, target, count)
                        else:
                            for m in range(count):
                                y[target + m] = weight[first + m * step]
                        for m in range(count, mr):
                            y[target + m] = 0
                        target += depth * mr
                    source += geometry[at.WEIGHT_W]
                    k += 1


@kernel
def zero_if_finite(packed, start, geometry):
    """Return 0 where all weights of the panel at ``packed[start]`` are finite, else NaN.

    And 0 for kernels of one row, of which none is left out: nobody asks.
    """
    if geometry[at.KERNEL_H] == 1:
        return 0
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    return sum_of_zeros(packed, start, depth * geometry[at.MR])


@kernel
def pack_weights(slot, slots, weight, bias, packed, rows, geometry, scratch):
    """Lay out the panels of thread ``slot`` of ``slots`` as the microkernel's A, and the bias behind them.

    weight (G * F, C, KD, KH, KW), a flat view with the strides WEIGHT_*, becomes packed[((g * PANELS + p) * K + k) * MR
    + m] for filter p * MR + m of group g and k over (C, KD, KH, KW); filters that fill up the last panel are some
    values. The bias (null: zeros) becomes packed[BIAS_START + (g * PANELS + p) * MR + m].
    ``scratch`` has room for the threads' PACK_SCRATCH behind the counters.
    Where FINITE_START is not 0, packed[FINITE_START + g * PANELS + p] becomes 0 for a panel of finite weights and NaN
    for others.
    """
    panels = geometry[at.PANELS]
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    own = shared_start(scratch) + slot * PACK_SCRATCH
    every = geometry[at.GROUPS] * panels
    number, last = every * slot // slots, every * (slot + 1) // slots
    while number < last:
        group, panel = divided(number, panels)
        some = panels_together(geometry, panel, last - number, packed.itemsize)
        pack_panels(
            weight, rows, geometry, group, panel, some, packed, number * depth * geometry[at.MR], scratch, own
        )  # fmt: skip
        for _ in range(some):
            note_finite(packed, geometry, number, depth)
            number += 1
    if slot == 0:
        pack_bias(bias, packed, geometry)


@kernel
def pack_dense_weights(slot, slots, weight, bias, packed, rows, geometry, scratch):
    """As :func:`pack_weights` where the weights of a filter lie one behind the other, and k' is k.

    That is where WEIGHT_DENSE is not 0 and ORDER_START is 0. Nearly all weights are dense, and all that others need
    takes more than twice as long to compile.
    """
    pack_each(pack_dense_panel, slot, slots, weight, bias, packed, rows, geometry)


@kernel
def pack_ordered_weights(slot, slots, weight, bias, packed, rows, geometry, scratch):
    """As :func:`pack_dense_weights` by the table at ORDER_START."""
    pack_each(pack_ordered_panel, slot, slots, weight, bias, packed, rows, geometry)


@kernel
def pack_each(pack_panel, slot, slots, weight, bias, packed, rows, geometry):
    """Lay out the panels of thread ``slot`` by :func:`pack_dense_panel` or :func:`pack_ordered_panel`."""
    panels = geometry[at.PANELS]
    depth = geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.KERNEL_H] * geometry[at.KERNEL_W]
    every = geometry[at.GROUPS] * panels
    for number in range(every * slot // slots, every * (slot + 1) // slots):
        group, panel = divided(number, panels)
        pack_panel(weight, rows, geometry, group, panel, packed, number * depth * geometry[at.MR])
        note_finite(packed, geometry, number, depth)
    if slot == 0:
        pack_bias(bias, packed, geometry)


@kernel
def note_finite(packed, geometry, number, depth):
    """Where FINITE_START is not 0, packed[FINITE_START + number] becomes 0 or NaN: see :func:`pack_weights`."""
    if geometry[at.FINITE_START] != 0:
        start = number * depth * geometry[at.MR]
        packed[geometry[at.FINITE_START] + number] = zero_if_finite(packed, start, geometry)


@kernel
def pack_bias(bias, packed, geometry):
    """packed[BIAS_START + (g * PANELS + p) * MR + m] = bias of filter p * MR + m of group g, or 0."""
    filters = geometry[at.FILTERS]
    padded = geometry[at.PANELS] * geometry[at.MR]
    for group in range(geometry[at.GROUPS]):
        y = geometry[at.BIAS_START] + group * padded
        for row in range(padded):
            packed[y + row] = bias[group * filters + row] if row < filters and address_of(bias, 0) != 0 else 0


@kernel
def copy_1(x, source, count, scratch, goal, starts):
    """Copy a row, of which column i lies at ``scratch[goal + starts[i]]``, its phases apart; so do the others."""
    copy_row_1(x, source, count, scratch, (goal + starts[0],))


@kernel
def copy_2(x, source, count, scratch, goal, starts):
    """:func:`copy_1` of two phases."""
    copy_row_2(x, source, count, scratch, (goal + starts[0], goal + starts[1]))


@kernel
def copy_3(x, source, count, scratch, goal, starts):
    """:func:`copy_1` of three phases."""
    copy_row_3(x, source, count, scratch, (goal + starts[0], goal + starts[1], goal + starts[2]))


@kernel
def copy_4(x, source, count, scratch, goal, starts):
    """:func:`copy_1` of four phases."""
    places = (goal + starts[0], goal + starts[1], goal + starts[2], goal + starts[3])
    copy_row_4(x, source, count, scratch, places)
