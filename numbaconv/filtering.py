"""Runs sliding windows: what :mod:`numbaconv.execute` is to layers, this is to SciPy's signals and images.

One dictionary remembers the layout of every problem that was met, so that a small image costs little more than its
kernel.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from typing import Any, Final

import numpy as np

from . import runtime
from .algorithms import image, tiles
from .algorithms.sharing import ceil_div
from .algorithms.windows import Window
from .arrays import Array, address_of, element_strides
from .kernels import image_geometry as at
from .kernels.blocking import LINE

#: Problems that are remembered; beyond that all are forgotten.
PROBLEMS_KEPT: Final = 4096
#: Multiply-adds below which one thread is as fast as several: starting a parallel region costs 4 us.
SERIAL_PRODUCTS: Final = 500_000

#: What the memory of transforms is kept for: other calls leave it alone, and the next one finds the kernel's spectrum.
TRANSFORMS: Final = "transforms"


@dataclasses.dataclass(frozen=True)
class Layout:
    """A problem laid out for arrays of certain strides."""

    kept: tuple[Array, ...]  # the arrays whose addresses are below
    order: tuple[int, ...]
    sums: np.dtype[Any]
    scratch: int
    parallel: bool
    weights: int
    reads_input: bool  # the kernels can take the input as it is
    writes_out: bool
    task: int  # addresses of functions and arrays
    prepare: int  # that of a function which runs before the tasks, on one thread; or 0
    functions: tuple[int, ...]
    arrays: tuple[int, ...]
    run_serial: Any
    run_parallel: Any


_layouts: dict[Any, Layout] = {}


@functools.cache
def sum_dtype(result: np.dtype[Any]) -> np.dtype[Any]:
    """The real dtype in which sums of a result dtype are computed: integers wrap, so their sign does not matter."""
    if result.kind in "fc":
        return np.dtype(f"f{result.itemsize // (1 + (result.kind == 'c'))}")
    return np.dtype({1: "int16", 2: "int16", 4: "int32", 8: "int64"}[result.itemsize])


def kernel_ready(array: Array) -> Array:
    """An array as the kernels take it: native, aligned, with strides of whole elements; a copy where it is not."""
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    if array.dtype.isnative and array.flags.aligned and whole:
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=True)


def slide(
    window: Window, x: Array, weight: Array, out: Array, fill: Any, sums: np.dtype[Any], rank: Any = None,
    fused: bool = True, least: tuple[float, float] | None = None,
) -> None:  # fmt: skip
    """Compute a window problem into ``out``, summing in the real dtype ``sums``.

    ``x``, ``weight`` and ``out`` have the problem's shapes; out may have any strides, not overlapping x. ``fill``
    is a number. ``rank`` is None or the factors of a separable kernel: (columns (KH, r), rows (KW, r)). Where ``fused``
    is false, products are rounded before they are added, as they are in a plain C loop.

    Where ``least`` is given, tiles are transformed, in float64, and integers rounded. Results that are smaller than
    least[0] times the norm of the cells under two tiles are summed directly after all, and those not finite; and tiles
    that hold cells whose squares are less than the others' divided by least[1].
    """
    count = 0 if rank is None else rank[0].shape[1]
    layout = layout_of(window, x, weight, out, sums, count, fused, least is not None)
    run(layout, x, weight, out, fill, rank, least)


def layout_of(
    window: Window, x: Array, weight: Array, out: Array, sums: np.dtype[Any], count: int = 0, fused: bool = True,
    transformed: bool = False,
) -> Layout:  # fmt: skip
    """The layout of a problem; the same one for all arrays of these strides, dtypes and alignments."""
    key = (
        window, x.strides, x.dtype, x.flags.aligned, out.strides, out.dtype, out.flags.aligned, sums, weight.dtype.kind,
        count, fused, transformed,
    )  # fmt: skip
    layout = _layouts.get(key)
    if layout is None:
        ready, target = kernel_ready(x), kernel_ready(out)
        layout = _lay_out(
            window, ready, target, sums, weight.dtype.kind == "c", count, fused, transformed,
            (ready is x, target is out),
        )  # fmt: skip
        if len(_layouts) >= PROBLEMS_KEPT:
            _layouts.clear()
        _layouts[key] = layout
    return layout


def run(
    layout: Layout, x: Array, weight: Array, out: Array, fill: Any, rank: Any = None,
    least: tuple[float, float] | None = None,
) -> None:  # fmt: skip
    """:func:`slide` for arrays of the layout's kind."""
    sums, count = layout.sums, 0 if rank is None else rank[0].shape[1]
    ready = x if layout.reads_input else kernel_ready(x)
    target = out if layout.writes_out else np.empty(out.shape, out.dtype.newbyteorder("="))
    planes = [weight]
    if weight.dtype.kind == "c":
        planes = [weight.real, weight.imag, -weight.imag] if x.dtype.kind == "c" else [weight.real, weight.imag]
    threads = runtime.thread_count() if layout.parallel else 1
    # One buffer for all that is of the dtype of the sums: the weights, the two parts of the fill value, the scratch.
    use = TRANSFORMS if layout.prepare else sums
    buffer, start = _take_buffer(layout.weights + LINE + threads * layout.scratch, sums, use), 0
    prepared = layout.prepare == 0 or _is_prepared(layout, buffer, weight)
    for plane in planes:
        ordered = plane.transpose(layout.order) if len(layout.order) == plane.ndim else plane
        buffer[start : start + plane.size].reshape(ordered.shape)[...] = ordered
        start += plane.size
    for s in range(count):
        # A tall, narrow image has its dimensions exchanged, and with them columns and rows of taps.
        for factor in (rank[layout.order[0]][:, s], rank[layout.order[1]][:, s]):
            buffer[start : start + factor.size] = factor
            start += factor.size
    buffer[layout.weights], buffer[layout.weights + 1] = fill.real, fill.imag
    if least is not None:
        buffer[layout.weights + 2], buffer[layout.weights + 3] = least
    first = address_of(buffer)
    fills = first + layout.weights * sums.itemsize
    addresses: Array = np.array(
        [
            layout.task, first, fills + LINE * sums.itemsize, fills, *layout.arrays, address_of(ready),
            address_of(target), *layout.functions,
        ]
    )  # fmt: skip
    if not prepared:
        addresses[0] = layout.prepare
        layout.run_serial(0, 1, addresses)
        addresses[0] = layout.task
        _local.prepared = layout, buffer
    runtime.launch(layout.run_parallel, layout.run_serial, threads, (addresses,))
    _local.buffers[use] = buffer
    if target is not out:
        out[...] = target


_local = threading.local()


def _is_prepared(layout: Layout, buffer: Array, weight: Array) -> bool:
    """Whether a buffer of this thread's still holds what was prepared of these very taps, its first elements."""
    last, used = getattr(_local, "prepared", (None, None))
    if last is not layout or used is not buffer:
        return False
    ordered = weight.transpose(layout.order)
    return np.array_equal(buffer[: weight.size].reshape(ordered.shape), ordered)


def _take_buffer(elements: int, dtype: np.dtype[Any], use: Any) -> Array:
    """Memory of this thread's last call for a ``use`` where it is large enough.

    Fresh memory costs a page fault every 4 KiB.

    It is put back after the call, so that another call in between, from a signal handler, gets memory of its own.
    """
    buffers: dict[Any, Array] | None = getattr(_local, "buffers", None)
    if buffers is None:
        buffers = _local.buffers = {}
    buffer = buffers.pop(use, None)
    return np.empty(elements, dtype) if buffer is None or buffer.size < elements else buffer


def _lay_out(
    window: Window, x: Array, out: Array, sums: np.dtype[Any], complex_w: bool, rank: int, fused: bool,
    transformed: bool, direct: tuple[bool, bool],
) -> Layout:  # fmt: skip
    """Lay a problem out for arrays that the kernels can take; ``direct`` tells whether they are those of the call."""
    x_strides, out_strides = element_strides(x), element_strides(out)
    if x.ndim == 1:
        window = Window(
            (1, *window.input_shape), (1, *window.kernel_shape), (1, *window.output_shape), (0, *window.pad),
            ("fill", *window.extensions),
        )  # fmt: skip
        x_strides, out_strides = (0, *x_strides), (0, *out_strides)
    complex_x, complex_out = x.dtype.kind == "c", out.dtype.kind == "c"
    if complex_x:
        x_strides = tuple(2 * stride for stride in x_strides)
    if complex_out:
        out_strides = tuple(2 * stride for stride in out_strides)
    order = image.order_of_axes(window, out_strides, not fused)
    ordered = window.permuted(order)
    taps = math.prod(window.kernel_shape)
    if complex_x and complex_w:  # planes of weights: real, imaginary, -imaginary
        terms = [[(0, 0, 0), (1, 2 * taps, 1)], [(0, taps, 0), (1, 0, 1)]]
    elif complex_x:
        terms = [[(0, 0, 0)], [(1, 0, 1)]]
    elif complex_w:
        terms = [[(0, 0, 0)], [(0, taps, 0)]]
    else:
        terms = [[(0, 0, 0)]]
    x_strides, out_strides = (tuple(strides[axis] for axis in order) for strides in (x_strides, out_strides))
    real = x.real.dtype
    same = real.itemsize == sums.itemsize and (real.kind == "f") == (sums.kind == "f")
    written = out.real.dtype
    stored = written.itemsize == sums.itemsize and (written.kind == "f") == (sums.kind == "f")
    geometry, margins = image.lay_out(
        ordered, x_strides, out_strides,
        (same and x_strides[-1] == 1, stored and out_strides[-1] == 1),
        (len(terms), len(terms[0])), rank, (real.itemsize, written.itemsize, sums.itemsize),
    )  # fmt: skip
    products = math.prod(window.output_shape) * taps * sum(map(len, terms))
    serial, parallel_run, tasks, block, convert = image.kernels()
    begun = (
        runtime.begin(block, (f"{sums}*", f"{sums}*" if fused else "int8*")),
        runtime.begin(convert, (f"{real}*", f"{sums}*")),
        runtime.begin(convert, (f"{sums}*", f"{written}*")),
    )
    prepare, spectrum = 0, 0
    arguments = (*[f"{sums}*"] * 3, *["int64*"] * 3)
    if transformed:
        spectrum_task, tasks, lines = tiles.kernels()
        geometry.flags.writeable = True
        tiles.lay_out(geometry, runtime.native(lines, ()), out.dtype.kind in "iu")
        spectrum, prepare = tiles.spectrum_elements(geometry), runtime.native(spectrum_task, arguments)
    parallel = products >= SERIAL_PRODUCTS and int(geometry[at.TASKS]) > 1
    table = np.array(terms, np.int64).ravel()
    planes = 1 + complex_w + (complex_x and complex_w)
    factors = rank * (window.kernel_shape[-2] + window.kernel_shape[-1]) if rank else 0
    weights = ceil_div(planes * taps + factors, LINE) * LINE + spectrum
    task = runtime.native(tasks, arguments)
    functions = (begun[0].address, begun[1].address, begun[2].address)
    arrays = (address_of(margins), address_of(table), address_of(geometry))
    return Layout(
        (geometry, margins, table), order, sums, int(geometry[at.SCRATCH]), parallel, weights, *direct,
        task, prepare, functions, arrays, serial, parallel_run,
    )  # fmt: skip
