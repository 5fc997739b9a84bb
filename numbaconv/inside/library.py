"""What the symbols of :mod:`numbaconv.inside.linking` stand for: made when compiled code first needs them."""

from __future__ import annotations

import functools
import inspect
import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import register_jitable

from .. import runtime, store
from ..algorithms import (
    direct_channels,
    direct_pixels,
    fft,
    im2col,
    image,
    sharing,
    tiles,
    winograd,
    winograd_cost,
    winograd_pieces,
    winograd_tiling,
)
from ..executable import functions
from ..forks import load_module
from ..kernels import arrange, blocking, blocks, tasks
from ..kernels import geometry as at
from ..planner import CANDIDATES
from . import slots
from .linking import define, define_table, need, table_of
from .tables import transforms_at

#: Host functions by their names: where they are, and which other ones they call. Each takes one address.
HOSTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "convolve": ("convolution", ()),
    "conv_shape": ("layers", ()),
    "conv_run": ("layers", ("convolve",)),
    "input_adjoint": ("adjoints", ("convolve",)),
    "weight_adjoint": ("adjoints", ("convolve",)),
    "adjoint_in_parts": ("adjoints", ("input_adjoint",)),
    "weight_in_parts": ("adjoints", ("weight_adjoint",)),
    "transposed_shape": ("gradients", ()),
    "transposed_run": ("gradients", ("input_adjoint", "adjoint_in_parts")),
    "gradient_shape": ("gradients", ()),
    "gradient_run": ("gradients", ("input_adjoint", "adjoint_in_parts", "weight_adjoint", "weight_in_parts")),
    "window": ("choices", ()),
    "slide_direct": ("windows", ()),
    "signal_shape": ("filters", ()),
    "signal_run": ("filters", ("window", "slide_direct")),
    "ndimage_shape": ("filters", ()),
    "ndimage_run": ("filters", ("window", "slide_direct")),
}


def make(kind: str, details: tuple[str, ...]) -> None:
    """Compile, or load from the cache, what a need is for, and define its symbol."""
    makers: dict[str, Callable[..., None]] = {
        "host": _host, "kernels": _kernels, "winograd": _winograd, "arrange": _arrange,
        "functions": _functions, "tiles": _tiles, "blocks": _blocks,
    }  # fmt: skip
    makers[kind](*details)


def host_symbol(name: str) -> str:
    """The symbol of a host function."""
    return f"numbaconv_{name}"


def kernels_symbol(dtype: str) -> str:
    """The symbol of the table of a dtype's convolution kernels."""
    return f"numbaconv_kernels_{dtype}"


@functools.cache
def _share_drivers() -> None:
    """Let Numba compile the drivers' functions where they are called."""
    winograds = winograd, winograd_cost, winograd_pieces, winograd_tiling
    for module in (sharing, direct_channels, direct_pixels, im2col, *winograds, image, tiles, fft, blocking):
        for name, function in vars(module).items():
            if (
                inspect.isfunction(function)
                and function.__module__ == module.__name__
                and name not in ("unsupported", "rows", "kernels", "prepare", "transforms", "name")
            ):
                register_jitable(function)


def _host(name: str) -> None:
    _share_drivers()
    module_name, called = HOSTS[name]
    for other in called:  # a symbol must be defined before code that uses it is loaded
        need("host", other)()
    module = load_module(f".inside.{module_name}")
    define(host_symbol(name), runtime.address(getattr(module, name), (types.intp,)))


def _kernels(dtype: str) -> None:
    kind = getattr(types, dtype)
    number = types.intp
    read, write = types.Array(kind, 1, "C", readonly=True), types.Array(kind, 1, "C")
    table = types.Array(types.int64, 1, "C", readonly=True)
    run = (number, read, read, write, table, table, write)  # as numbaconv.execute calls them
    words = [0] * slots.FUNCTIONS
    words[slots.RUN_SERIAL] = runtime.address(tasks.run_serial, (number, number, *run))
    words[slots.RUN_PARALLEL] = runtime.address(tasks.run_parallel, (number, *run))
    for candidate in CANDIDATES:  # Winograd's are filled in where they are needed
        words += [0] * slots.FUNCTIONS_OF_CANDIDATE if candidate == "winograd" else _candidate(candidate, dtype)
    words += [struct.unpack("q", struct.pack("d", price))[0] for price in store.machine().table()]
    words += [0] * (slots.KERNELS_LENGTH - len(words))
    define_table(kernels_symbol(dtype), words)


def _arrange(dtype: str) -> None:
    """Add what puts transposed convolutions together to the table of a dtype's kernels."""
    need("kernels", dtype)()
    kind, number = getattr(types, dtype), types.intp
    read, write = types.Array(kind, 1, "C", readonly=True), types.Array(kind, 1, "C")
    numbers = types.Array(types.int64, 2, "C")
    fold = (read, read, write, types.UniTuple(number, 6), numbers, write)
    weave = (read, read, write, numbers)
    table = table_of(kernels_symbol(dtype))
    table[slots.FOLD_SERIAL] = runtime.address(arrange.fold_serial, (number, number, *fold))
    table[slots.FOLD_PARALLEL] = runtime.address(arrange.fold_parallel, (number, *fold))
    table[slots.WEAVE_SERIAL] = runtime.address(arrange.weave_serial, (number, number, *weave))
    table[slots.WEAVE_PARALLEL] = runtime.address(arrange.weave_parallel, (number, *weave))


def _candidate(candidate: str, dtype: str) -> list[int]:
    """The functions of slots.FUNCTIONS."""
    words: list[int] = []
    for slot in (None, at.LANE_FILTERS, at.UNPACKED):
        geometry = [0] * at.LENGTH
        if slot is not None:
            geometry[slot] = 1
        words += functions(candidate, geometry, dtype)
    return words


def _winograd(dtype: str, dimensions: str, tiles: str) -> None:
    """Add Winograd's functions to the table of a dtype's kernels: its transforms of every tile that a call may take.

    What tile a call takes is known when it runs, and then nothing can be compiled: that takes the GIL, which the thread
    that waits for the end of a ``prange`` loop holds. ``dimensions``: "1" where kernels have one row; ``tiles``:
    "standard" without those that only ``precision="fast"`` takes.
    """
    need("kernels", dtype)()
    table = table_of(kernels_symbol(dtype))
    place = slots.FUNCTIONS + slots.FUNCTIONS_OF_CANDIDATE * CANDIDATES.index("winograd")
    table[place : place + slots.FUNCTIONS_OF_CANDIDATE] = _candidate("winograd", dtype)
    mending = winograd.mending(dtype)
    itemsize = np.dtype(dtype).itemsize
    sizes = [size for size in blocking.FEW_TILES if blocking.few_tiles(size, itemsize) == size]
    few = [(blocking.FEW_TILES.index(size), winograd.few_sums(size, dtype)) for size in sizes]
    begun, one = [], (1, 1)
    for number, (m, r, one_axis, two_axes) in enumerate(winograd_tiling.TILES):
        tile = (m, r)
        for axes, (high, wide) in enumerate(((tile, one), (one, tile), (tile, tile), (tile, one))):
            accurate = (two_axes if axes == 2 else one_axis) > 0
            if (dimensions == "1" and axes != 1) or (tiles == "standard" and not accurate):
                continue
            columns = axes == 3
            for groups in (1,) if columns else (1, 2, 4):
                place = transforms_at(number, axes, groups)
                begun.append((place, winograd.transforms(high, wide, groups, dtype, columns)))
    for place, functions_of_tile in begun:
        table[place : place + 3] = [function.address for function in functions_of_tile]
    for i, function in few:
        table[slots.FEW + i] = function.address
    table[slots.MEND] = mending.address


def functions_symbol(x: str, sums: str, rule: str, y: str) -> str:
    """The symbol of the table of the functions that sum windows over ``x`` in ``sums`` and store the sums as ``y``.

    ``rule`` is the dtype of the sums or, where products are rounded before they are added, "int8".
    """
    return f"numbaconv_functions_{x}_{sums}_{rule}_{y}"


def _functions(x: str, sums: str, rule: str, y: str) -> None:
    serial, parallel, task, block, convert = image.kernels()
    number, addresses = types.intp, types.Array(types.int64, 1, "C")
    table = [
        runtime.native(task, (*[f"{sums}*"] * 3, *["int64*"] * 3)),
        runtime.native(block, (f"{sums}*", f"{rule}*")),
        runtime.native(convert, (f"{x}*", f"{sums}*")),
        runtime.native(convert, (f"{sums}*", f"{y}*")),
        runtime.address(serial, (number, number, addresses)),
        runtime.address(parallel, (number, addresses)),
    ]
    define_table(functions_symbol(x, sums, rule, y), table)


#: The symbols of the tables of what transforms tiles and blocks.
TILES: Final = "numbaconv_tiles"
BLOCKS: Final = "numbaconv_blocks"


def _tiles() -> None:
    table = _transforms(*tiles.kernels())
    for length in tiles.LENGTHS:
        table += [tiles.coded(length), tiles.factors(length).ctypes.data]
    define_table(TILES, table)


def _blocks() -> None:
    _, _, lines = tiles.kernels()
    define_table(BLOCKS, _transforms(blocks.blocks_spectrum, blocks.blocks_tasks, lines))


def _transforms(spectrum: Any, tasks: Any, lines: Any) -> list[int]:
    arguments = (*["float64*"] * 3, *["int64*"] * 3)  # as numbaconv.filtering has them
    return [runtime.native(spectrum, arguments), runtime.native(tasks, arguments), runtime.native(lines, ())]
