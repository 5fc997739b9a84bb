"""Winograd's F(m x m', r x r'), fused over blocks of tiles. See :mod:`numbaconv.kernels.winograd`."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, Final

import numpy as np

from ..forks import load_module
from ..kernels import geometry as at
from ..kernels.blocking import LINE, PACK_SCRATCH, TILE_ROWS, VECTOR_BYTES, buffered
from ..problem import ConvProblem
from . import prices as price
from .prices import Prices
from .sharing import ceil_div, lay_out, taps, use_tile
from .winograd_cost import tile_cost, tile_pack_cost
from .winograd_pieces import kernel_pieces, piece_start, pieces_of_loops, stride_phases
from .winograd_tiling import (
    LONGEST,
    SUMS_BYTES,
    all_tiles,
    block_columns,
    fits,
    number_of_tiles,
    panel_shares,
    panels_at_a_time,
    runs_of_block,
    set_tile,
    share_tiles,
    sums_deeply,
    tile_blocks,
    tile_points,
    tiles_beside,
)

#: Bytes of untransformed weights that a task lays out at a time, at most, where it transforms them and they do not lie
#: filter by filter. Panel by panel, input gradients of 256 channels at 14x14 took 1.15 times as long, and of 512 at 7x7
#: 1.2; with half as many bytes, the latter 1.1 (Zen 5).
UNPACKED_BYTES = 2**20


def unsupported(problem: ConvProblem) -> str | None:
    """Why not: Winograd serves kernels of some taps for each phase of the input, in floating-point numbers."""
    if problem.dtype.kind != "f":
        return f"winograd's transforms have fractions, which {problem.dtype} does not"
    kernel, stride, dilation = problem.kernel_size[-2:], problem.stride[-2:], problem.dilation[-2:]
    where = " along height and width" if problem.ndim == 3 else ""
    if max(kernel) == 1:
        return f"winograd saves nothing where the kernel has one tap{where}"
    if max(kernel) > LONGEST:
        size = "x".join(map(str, problem.kernel_size))
        return f"winograd needs a kernel of at most {LONGEST} taps along each axis, this one is {size}"
    if any(k > 1 and s > 1 and d > 1 for k, s, d in zip(kernel, stride, dilation, strict=True)):
        return f"winograd needs stride or dilation 1{where}, these are {problem.stride} and {problem.dilation}"
    if all(k <= s for k, s in zip(kernel, stride, strict=True)):
        return f"winograd saves nothing where no input is read by two outputs{where}: the stride is {problem.stride}"
    return None


def _choose(geometry: MutableSequence[int], itemsize: int) -> None:
    """Set the allowed tile of the least cost, the same whatever a calibration finds."""
    best, chosen = np.inf, -1
    for number in range(number_of_tiles()):
        if fits(geometry, number):
            set_tile(geometry, itemsize, number)
            total = tile_cost(geometry, itemsize, price.USUAL)
            if geometry[at.REPACKED] != 0:
                total += tile_pack_cost(geometry, itemsize)
            if total < best:
                best, chosen = total, number
    set_tile(geometry, itemsize, chosen)
    geometry[at.TRANSFORM] = 1 + chosen


def cost(geometry: MutableSequence[int], itemsize: int, prices: Prices) -> float:
    """Products of whole vectors of tiles, and the transforms; of the cheapest tile."""
    _choose(geometry, itemsize)
    return tile_cost(geometry, itemsize, prices)


def pack_cost(geometry: MutableSequence[int], itemsize: int) -> float:
    """The transforms of all kernels, by the cheapest tile."""
    _choose(geometry, itemsize)
    return tile_pack_cost(geometry, itemsize)


def block(geometry: MutableSequence[int], itemsize: int) -> None:
    """Make a task of one block of NR tiles or, where all tasks share them, of some panels of filters."""
    _choose(geometry, itemsize)
    nr = block_columns(geometry, itemsize)
    lanes = VECTOR_BYTES // itemsize
    use_tile(geometry, TILE_ROWS, nr)
    points, depth = tile_points(geometry), geometry[at.PRODUCTS]
    shared = share_tiles(geometry, itemsize)
    runs = runs_of_block(geometry, itemsize)
    beside = tiles_beside(geometry, itemsize)
    longest = min(nr + min(1, beside), geometry[at.ACROSS])  # tiles of a run
    group = lanes // geometry[at.RUN_GROUPS]
    panels = geometry[at.GROUPS] * geometry[at.PANELS]
    m, reach = geometry[at.TILE_W], geometry[at.TAPS_W] * geometry[at.PIECES_W] - 1
    lines = geometry[at.TILE_H] + geometry[at.TAPS_H] * geometry[at.PIECES_H] - 1
    # A transform reads all lanes of a group of tiles, and as many columns as whole multiples of m; of the tile beside
    # the others that may be behind the row, and in the last one behind all rows.
    width = max(m * ceil_div(min(nr, longest), group) * group, m * longest)
    width += ceil_div(geometry[at.TAPS_W] - 1, m) * m + reach
    pitch = ceil_div(nr + min(1, beside) * lanes, lanes) * lanes
    geometry[at.CHANNEL_BLOCK] = geometry[at.CHANNELS]
    # Behind the columns of a phase, copies write up to two vectors.
    beyond = 2 * lanes if geometry[at.STRIDE_W] > 1 else 0
    geometry[at.PITCH] = ceil_div(width + beyond, LINE) * LINE
    # Without the odd lines, what a transform writes, and what lies in neighbouring channels, is often 4 KiB apart and
    # shares one set of the L1 cache: transforming 512 x 512 kernels took 16 cycles for each weight then, and takes 10
    # now, most of them for new memory; 256 x 256 take 2.2 (Zen 4).
    geometry[at.PHASE_STEP] = runs * lines * geometry[at.PITCH]
    geometry[at.GATHERED_STEP] = geometry[at.PHASES_W] * geometry[at.PHASE_STEP] + LINE
    geometry[at.WEIGHT_STEP] = depth * TILE_ROWS + LINE
    line_of_beside = ceil_div(depth, LINE) * LINE if beside else 0
    geometry[at.INPUT_STEP] = ceil_div(depth * nr, LINE) * LINE + line_of_beside + LINE
    geometry[at.POINTS] = points
    geometry[at.TILES] = all_tiles(geometry)
    geometry[at.BLOCKS] = tile_blocks(geometry, itemsize)
    geometry[at.RAW_SIZE] = TILE_ROWS * geometry[at.CHANNELS] * taps(geometry)
    geometry[at.BUFFER_PITCH] = m * pitch + LINE
    geometry[at.BESIDE] = beside
    geometry[at.SUMS_PITCH] = pitch
    geometry[at.SUMS_STEP] = step = TILE_ROWS * pitch + LINE
    weights = panels * points * geometry[at.WEIGHT_STEP]
    transformed = points * geometry[at.INPUT_STEP]
    geometry[at.TOGETHER] = panels_at_a_time(geometry, itemsize)
    abreast = SUMS_BYTES // (geometry[at.TOGETHER] * points * step * itemsize)
    blocks_of_task = geometry[at.BLOCKS] if shared else 1
    geometry[at.ABREAST] = max(1, min(blocks_of_task, abreast)) if sums_deeply(geometry, itemsize) else 1
    sums = geometry[at.TOGETHER] * geometry[at.ABREAST] * points * step * (1 - geometry[at.COLUMNS])
    gathered = max(
        buffered(geometry[at.CHANNELS_LAST]) * geometry[at.GATHERED_STEP]
        + (ceil_div(m * lanes, LINE) * LINE if beside else 0),
        geometry[at.TILE_H] * geometry[at.BUFFER_PITCH] * (TILE_ROWS if geometry[at.COLUMNS] else 1),
    )
    integers = 4 * (nr + 8)  # of tabulate, or of tabulate_runs
    masks = geometry[at.PANELS] * TILE_ROWS * blocks_of_task  # of all tasks: one thread may take them at once
    geometry[at.PLAIN_PITCH] = ceil_div(m * longest + reach, LINE) * LINE
    geometry[at.PLAIN_STEP] = stride_phases(geometry) * runs * lines * geometry[at.PLAIN_PITCH]
    geometry[at.GATHERED_START] = sums
    geometry[at.TABLE_START] = sums + gathered
    geometry[at.SIZES_START] = geometry[at.TABLE_START] + ceil_div(integers * 8 // itemsize, LINE) * LINE
    geometry[at.MASKS_START] = geometry[at.SIZES_START] + LINE
    geometry[at.PLAIN_START] = geometry[at.MASKS_START] + ceil_div(masks * 8 // itemsize, LINE) * LINE
    # Vectors that begin in the last row may end behind it.
    own = geometry[at.PLAIN_START] + geometry[at.CHANNELS] * geometry[at.KERNEL_D] * geometry[at.PLAIN_STEP]
    own += m * max(nr, lanes)
    more = TILE_ROWS * max(0, lanes - nr)  # the spare tile has a vector of columns at least
    blocks = geometry[at.GROUPS] * geometry[at.BLOCKS]
    if shared:
        lay_out(geometry, geometry[at.GROUPS], own + more, weights, panel_shares(geometry, itemsize))
        geometry[at.SHARED] = blocks * transformed
        geometry[at.TILE_START] = own
    else:
        lay_out(geometry, blocks, own + transformed + more, weights, 1)
        geometry[at.SHARED] = 0
        geometry[at.TILE_START] = own
    # Behind the bias lie the weights as they were, for what is summed directly.
    geometry[at.RAW_START] = geometry[at.PACKED]
    geometry[at.PACKED] += panels * geometry[at.RAW_SIZE]
    geometry[at.STARTS] = depth + geometry[at.CHANNELS] * taps(geometry)
    geometry[at.FUNCTIONS] = geometry[at.STARTS] + pieces_of_loops(geometry)


def pack_in_tasks(geometry: MutableSequence[int], itemsize: int) -> None:
    """Let the tasks transform the weights, where no two of them need the same."""
    if geometry[at.SHARED] == 0:
        return
    raw = geometry[at.RAW_SIZE]
    task = ceil_div(geometry[at.PANELS], geometry[at.PANEL_SPLIT])
    geometry[at.UNPACKED] = max(geometry[at.TOGETHER], min(task, UNPACKED_BYTES // (raw * itemsize)))
    geometry[at.MATRICES_START] = geometry[at.SCRATCH]
    panels = geometry[at.TOGETHER] * geometry[at.POINTS] * geometry[at.WEIGHT_STEP]
    geometry[at.PANEL_START] = geometry[at.SCRATCH] + panels
    end = geometry[at.PANEL_START] + geometry[at.UNPACKED] * raw + PACK_SCRATCH
    geometry[at.SCRATCH] = ceil_div(end, LINE) * LINE


def rows(geometry: MutableSequence[int], itemsize: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row k of a transformed block, k * NR; places of untransformed cells by (c, kd, kh, kw); pieces; addresses."""
    nr = geometry[at.NR]
    sizes = (geometry[at.CHANNELS], *geometry[at.KERNEL_D : at.KERNEL_W + 1])
    c, d, h, w = np.ix_(*(np.arange(size, dtype=np.int64) for size in sizes))
    down, ph = np.divmod(h, geometry[at.STRIDE_H])
    across, pw = np.divmod(w, geometry[at.STRIDE_W])
    phase_step = geometry[at.PLAIN_STEP] // stride_phases(geometry)
    plain = (d * geometry[at.CHANNELS] + c) * geometry[at.PLAIN_STEP] + down * geometry[at.PLAIN_PITCH] + across
    plain = plain + (ph * geometry[at.PHASES_W] + pw) * phase_step
    functions = [0 if function is None else function.address for function in prepare(geometry, itemsize)]
    places = np.arange(geometry[at.PRODUCTS], dtype=np.int64) * nr
    starts = [piece_start(geometry, number) for number in range(pieces_of_loops(geometry))]
    return np.concatenate([places, plain.reshape(-1), [*starts, *functions, _completed.get(itemsize, 0)]])


def prepare(geometry: MutableSequence[int], itemsize: int) -> tuple[Any, Any, Any, Any]:
    """Begin to compile the transforms and, where filters are in the lanes, what sums the products."""
    high, wide = ((geometry[at.TILE_H + axis], geometry[at.TAPS_H + axis]) for axis in range(2))
    dtype, few = f"float{8 * itemsize}", None
    if geometry[at.NR] < VECTOR_BYTES // itemsize:
        few = few_sums(geometry[at.NR], dtype)
    return *transforms(high, wide, geometry[at.RUN_GROUPS], dtype, geometry[at.COLUMNS] != 0), few


#: Where what sums spoiled tiles lies, by the bytes of an element, as soon as a call has needed it.
_completed: Final[dict[int, int]] = {}


def complete(rows: np.ndarray[Any, np.dtype[np.int64]], itemsize: int) -> None:
    """Compile what sums spoiled tiles directly, and tell the tasks where it lies."""
    rows[-1] = _completed[itemsize] = mending(f"float{8 * itemsize}").address


def mending(dtype: str) -> Any:
    """Begin to compile what sums spoiled tiles directly."""
    return load_module(".kernels.winograd_direct").mending(dtype)


def transforms(
    high: tuple[int, int], wide: tuple[int, int], groups: int, dtype: str, columns: bool = False
) -> tuple[Any, Any, Any]:
    """Begin to compile the functions that transform inputs, in ``groups`` runs of tiles, weights and outputs.

    F(m, r) along the height and along the width are pairs (m, r). Of ``columns``, the third one sums products, too.
    """
    simd = load_module(".kernels.winograd_simd")
    tiles = simd.Tile(*high), simd.Tile(*wide)
    inputs, weights = simd.input_transform(*tiles, groups, dtype), simd.weight_transform(*tiles, dtype)
    if columns:
        return inputs, weights, load_module(".kernels.winograd_columns_simd").column_sums(tiles[0], dtype)
    return inputs, weights, simd.output_transform(*tiles, dtype)


def few_sums(tiles: int, dtype: str) -> Any:
    """Begin to compile what sums the products of so many tiles."""
    return load_module(".kernels.winograd_few_simd").few_sums(tiles, dtype)


def name(geometry: MutableSequence[int]) -> str:
    """The chosen tile as the literature writes it."""
    tile, kernel = ("{}x{}".format(*(geometry[slot + axis] for axis in range(2))) for slot in (at.TILE_H, at.TAPS_H))
    pieces, phases = kernel_pieces(geometry), stride_phases(geometry)
    parts = f" on {pieces} pieces of the kernel" if pieces > 1 else ""
    return f"F({tile}, {kernel}){parts}" + (f" for each of {phases} phases of the input" if phases > 1 else "")


def kernels(geometry: Sequence[int]) -> tuple[Any, Any]:
    """The functions that lay out the weights and that do the tasks, to be compiled by ``runtime.begin``."""
    weights, winograd = load_module(".kernels.winograd_weights"), load_module(".kernels.winograd")
    usual = geometry[at.X_W] == 1 and geometry[at.DILATION_W] == 1 and geometry[at.PAD_MODE] == at.PAD_ZEROS
    padded = usual and geometry[at.STRIDE_W] == 1
    strided = usual and 1 < geometry[at.STRIDE_W] <= 4 and geometry[at.PHASES_W] == geometry[at.STRIDE_W]
    columns = geometry[at.COLUMNS] != 0
    if padded and columns:
        tasks = winograd.winograd_columns_tasks, winograd.winograd_columns_unpacked_tasks
    elif padded:
        tasks = winograd.winograd_padded_tasks, winograd.winograd_padded_unpacked_tasks
    elif strided and columns:
        tasks = winograd.winograd_strided_columns_tasks, winograd.winograd_strided_columns_unpacked_tasks
    elif strided:
        tasks = winograd.winograd_strided_tasks, winograd.winograd_strided_unpacked_tasks
    else:
        tasks = winograd.winograd_tasks, winograd.winograd_unpacked_tasks
    if geometry[at.UNPACKED] != 0:
        return None, tasks[1]
    pack = weights.winograd_dense_weights if geometry[at.WEIGHT_DENSE] != 0 else weights.winograd_weights
    return pack, tasks[0]
