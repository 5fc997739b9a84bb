"""Which way a sliding window is computed, and why; and the way itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np

from . import runtime
from .algorithms import fft, separable, tiles
from .algorithms.windows import Window
from .arrays import Array, new_array
from .filtering import Layout, layout_of, slide, sum_dtype
from .filtering import run as run_layout

__all__ = [
    "FilterPlan",
    "Window",
    "choose",
    "compute",
    "convolution_window",
    "convolve",
    "convolve_by_transforms",
    "filter_image",
    "plan",
]

METHODS: Final = ("auto", "direct", "separable", "fft")
#: Nanoseconds of one core for a product of direct summation, by the dtype of the sums; measured on 512x512 images with
#: 15x15 and 31x31 taps (2-core AMD EPYC, Zen 5): 210 GFLOP/s a core for float32. Zen 4 takes twice as long.
PRODUCT_NS: Final = {
    np.dtype(name): cost
    for name, cost in {"float32": 0.0095, "float64": 0.019, "int16": 0.006, "int32": 0.02, "int64": 0.04}.items()
}
#: Where the kernel is one row high, every product needs a load that may cross two cache lines.
ROW_FACTOR: Final = 2.0
#: Direct products that a separable pass costs for each output beside its own: it writes lines and reads them again.
PASS_PRODUCTS: Final = 8
#: Nanoseconds that a search for factors must be able to save at least, and those that a singular value decomposition
#: takes for each of the kernel's elements and its smaller side.
SEARCH_NS: Final = 200_000.0
#: Transforms err by a share of the root mean square of the values that they take together, sums by one of their own
#: window's. Where these differ by less than RANGE, float64 data are transformed even for functions that SciPy always
#: sums directly. That keeps the digits of what is usual, and proves nothing: a kernel may weigh the small values under
#: it only.
RANGE: Final = 32.0
#: What is proven of float64 results: a transform errs by at most this share of each one that is kept. With 2^-20, the
#: largest error that we measured was 5e-12 of a result; it was not measured again with 2^-14. With 2^-20 a few dozen of
#: two million results of normal data are summed again where there are 101x101 taps, and with each the 63 beside it;
#: with 2^-14, one of them.
PROVEN: Final = 2.0**-14


@dataclasses.dataclass(frozen=True)
class FilterPlan:
    """How a sliding window is computed. ``print(plan)`` explains it.

    Attributes
    ----------
    method : str
        "direct", "separable" or "fft".
    reason : str
        Why it was chosen.
    rejected : tuple of (str, str)
        Each other method and why it was not.
    costs : dict
        Milliseconds of one core that the cost model expects of each method that could serve.
    """

    window: Window
    dtype: np.dtype[Any]
    sums: np.dtype[Any]
    method: str
    reason: str
    rejected: tuple[tuple[str, str], ...]
    costs: dict[str, float]
    factors: tuple[Array, Array] | None = dataclasses.field(default=None, repr=False)
    tiled: bool = False  # whether tiles are transformed, or larger blocks by scipy.fft
    least: tuple[float, float] = (0.0, math.inf)  # where transforms are kept: see filtering.slide

    def __str__(self) -> str:
        shapes = ("x".join(map(str, shape)) for shape in (self.window.input_shape, self.window.kernel_shape))
        lines = [
            "{} under {} taps, {} summed in {}".format(*shapes, self.dtype, self.sums),
            f"  output     {self.window.output_shape}, outside the input: {', '.join(self.window.extensions)}",
            f"  method     {self.method}: {self.reason}",
            *(f"  rejected   {name}: {why}" for name, why in self.rejected),
        ]
        return "\n".join(lines)


def direct_cost(window: Window, sums: np.dtype[Any], parts: int) -> float:
    """Nanoseconds of one core to sum every product."""
    products = float(math.prod(window.output_shape)) * math.prod(window.kernel_shape)
    factor = ROW_FACTOR if window.kernel_shape.count(1) >= len(window.kernel_shape) - 1 else 1.0
    return products * parts * factor * PRODUCT_NS[sums]


def choose(
    window: Window, x: Array, taps: Array, dtype: np.dtype[Any], *, sums: np.dtype[Any] | None = None,
    fill: Any = 0, method: str = "auto", strict: bool = True,
) -> FilterPlan:  # fmt: skip
    """Plan a problem; the values of the arrays matter, too: a separable kernel, data that transforms would spoil."""
    sums = sum_dtype(dtype) if sums is None else sums
    complex_x, complex_w = x.dtype.kind == "c", taps.dtype.kind == "c"
    parts = (1 + complex_x) * (1 + complex_w)
    costs = {"direct": direct_cost(window, sums, parts)}
    reasons: dict[str, str] = {}
    factors, tiled, least = None, False, (0.0, math.inf)
    if method in ("auto", "separable"):
        factors, why = _factors(taps, sums, parts, costs["direct"] if method == "auto" else np.inf)
        if factors is None:
            reasons["separable"] = why
        else:
            rank, rows = factors[0].shape[1], sum(window.kernel_shape)
            passes = dataclasses.replace(window, kernel_shape=(rank, rows + PASS_PRODUCTS))
            costs["separable"] = direct_cost(passes, factors[0].dtype, 1)
    if method == "auto":
        cost = fft.cost(window, 1 + (complex_x or complex_w))
        if tiles.serves(window, parts):
            of_tiles = tiles.cost(window)
            cost, tiled = min(cost, of_tiles), of_tiles < cost
        if cost >= min(costs.values()):
            costs["fft"] = cost
        else:
            spoilt, least = transforms_spoil(window, x, taps, dtype, fill, strict, tiled)
            if spoilt is None:
                costs["fft"] = cost
            else:
                reasons["fft"] = spoilt
        chosen = min(costs, key=costs.__getitem__)
        reason = f"expected to be fastest, {costs[chosen] / 1e6:.3g} ms of one core"
    else:
        chosen, reason = method, "asked for"
        if chosen in reasons:
            raise ValueError(f"method {method!r} cannot serve this call: {reasons[chosen]}")
    for name, cost in costs.items():
        if name != chosen:
            reasons[name] = f"expected to take {cost / 1e6:.3g} ms of one core"
    for name in METHODS[1:]:
        if name != chosen and name not in reasons:
            reasons[name] = "not asked for"
    rejected = tuple((name, reasons[name]) for name in METHODS[1:] if name != chosen)
    milliseconds = {name: cost / 1e6 for name, cost in costs.items()}
    if chosen == "fft" and method == "auto":
        reason += ", of tiles" if tiled else ", of scipy.fft"
    return FilterPlan(window, dtype, sums, chosen, reason, rejected, milliseconds, factors, tiled, least)


def _factors(taps: Array, sums: np.dtype[Any], parts: int, direct: float) -> tuple[tuple[Array, Array] | None, str]:
    """The factors of a separable kernel, or why there are none."""
    if taps.ndim != 2 or min(taps.shape) < 2:
        return None, f"a kernel of {taps.ndim} dimensions, {taps.shape}, has no outer product to take apart"
    if parts > 1 or (sums.kind == "i" and taps.dtype.kind == "f"):
        return (
            None,
            f"only real kernels are taken apart, and whole ones for sums of integers, not {taps.dtype} in {sums}",
        )
    least = direct * (sum(taps.shape) + PASS_PRODUCTS) / taps.size
    if direct - least < SEARCH_NS:
        return None, "could not save enough time to look for factors"
    kernel = taps if taps.dtype.kind == "f" or sums.kind == "i" else taps.astype(np.float64)
    found = separable.factors(kernel, sums)
    if (
        found is None
        and sums.kind == "f"
        and sums.itemsize < 8
        and direct - 4 * least > SEARCH_NS + 30 * taps.size * min(taps.shape)
    ):
        found = separable.factors(kernel, np.dtype(np.float64))
    return found, f"no sum of {separable.MOST_TERMS} outer products gives every tap to its last digits"


def transforms_spoil(
    window: Window, x: Array, taps: Array, dtype: np.dtype[Any], fill: Any, strict: bool, tiled: bool
) -> tuple[str | None, tuple[float, float]]:
    """(why transforms would lose what direct summation keeps, or None; what :func:`slide` takes as ``least``).

    Of floating-point results each is looked at afterwards. Whether sums of integers are exact is known before; and,
    where ``strict``, whether values that are transformed together, and not in tiles, differ too much.
    """
    with np.errstate(all="ignore"):
        # One after the other, as numbaconv.inside.choices adds them: both keep the same results of a transform.
        sizes = np.abs(taps.astype(np.complex128 if taps.dtype.kind == "c" else np.float64))
        norm = math.sqrt(np.cumsum(np.square(sizes))[-1])
    if not math.isfinite(norm):
        return "the kernel holds NaN or infinity, which a transform spreads", (0.0, math.inf)
    elements = tiles.elements(window) if tiled else fft.elements(window)
    error = fft.error_bound(elements) * norm
    if dtype.kind in "iu":
        largest = _largest(x, fill) * math.sqrt(2 * elements)
        if largest * error < 0.25:
            return None, (0.0, math.inf)
        return (
            f"sums that may err by {largest * error:.2g} are not provably exact in double precision",
            (0.0, math.inf),
        )
    # What direct summation of n products in float32 may err by is at least n times its rounding of the result.
    if dtype.char in "fF":
        return None, (error / (taps.size * 2.0**-24), math.inf)
    if strict and not tiled:
        with np.errstate(all="ignore"):
            ratio = _dynamic_range(window, x)
        if not ratio <= RANGE:
            return (
                f"windows hold values {ratio:.2g} times smaller than others, whose last digits it would spoil",
                (0.0, math.inf),
            )
    return None, (error / PROVEN, RANGE**2 if strict else math.inf)


def _largest(x: Array, fill: Any) -> float:
    """The largest magnitude that is read."""
    return max(float(x.max()), -float(x.min()), abs(complex(fill)))


def _dynamic_range(window: Window, x: Array) -> float:
    """A bound on the ratio of the root mean square of all values to the smallest one under a window.

    Every window contains a whole cell of a grid half as wide as the kernel; where it reaches outside the image, the
    share of it that does not counts. Infinite where a value is not, or a square overflows.
    """
    x = x.astype(np.float64) if x.dtype.kind in "iu" else x
    cells = np.square(x.real) + np.square(x.imag) if x.dtype.kind == "c" else np.square(x)
    total, share, inside = float(cells.mean(dtype=np.float64)), 1.0, 1.0
    for axis in reversed(range(x.ndim)):
        taps, size = window.kernel_shape[axis], x.shape[axis]
        step = min(size, max(1, taps // 2))
        starts = np.arange(0, size - step + 1, step)
        cells = np.add.reduceat(cells, starts, axis=axis, dtype=np.float64 if axis == 0 else None)
        share *= step
        if window.extensions[axis] == "fill":
            inside *= max(1, min(taps - max(window.pad[axis], window.after(axis)), size)) / taps
    smallest = float(cells.min()) / share * inside
    return math.sqrt(total / smallest) if math.isfinite(total) and smallest > 0 else math.inf


def run(plan: FilterPlan, x: Array, taps: Array, out: Array, fill: Any) -> None:
    """Carry a plan out."""
    if plan.method == "fft" and plan.tiled:
        slide(plan.window, x, taps, out, fill, np.dtype(np.float64), least=plan.least)
    elif plan.method == "fft":
        spoilt = fft.run(x, taps, plan.window, fill, out, runtime.thread_count(), least=plan.least[0])
        for box in _boxes(spoilt, int(SEARCH_NS / (taps.size * PRODUCT_NS[plan.sums]))):
            slide(_part(plan.window, box), x, taps, out[box], fill, plan.sums)
    elif plan.method == "separable" and plan.factors is not None:
        slide(plan.window, x, taps, out, fill, plan.factors[0].dtype, plan.factors)
    else:
        slide(plan.window, x, taps, out, fill, plan.sums)


def _part(window: Window, box: tuple[slice, ...]) -> Window:
    """The problem of a part of the results."""
    pad = tuple(before - part.start for before, part in zip(window.pad, box, strict=True))
    shape = tuple(part.stop - part.start for part in box)
    return dataclasses.replace(window, output_shape=shape, pad=pad)


def _boxes(places: Array, gap: int) -> list[tuple[slice, ...]]:
    """Boxes around results, (n, ndim) in order of their first index; a new one where that leaps by more than ``gap``.

    To lay a problem out takes as long as some results that would not have to be summed.
    """
    leaps = np.flatnonzero(np.diff(places[:, 0]) > gap) + 1
    return [
        tuple(slice(int(least), int(most) + 1) for least, most in zip(part.min(0), part.max(0), strict=True))
        for part in np.split(places, leaps)
        if len(part)
    ]


def compute(
    window: Window, x: Array, taps: Array, dtype: np.dtype[Any], fill: Any = 0, method: str = "auto",
    strict: bool = True,
) -> Array:  # fmt: skip
    """The result of a window problem, in a new array; every size is positive."""
    out = new_array(window.output_shape, dtype)
    sums = sum_dtype(dtype)
    if method == "auto":
        parts = (1 + (x.dtype.kind == "c")) * (1 + (taps.dtype.kind == "c"))
        if direct_cost(window, sums, parts) > SEARCH_NS:
            run(choose(window, x, taps, dtype, fill=fill, strict=strict), x, taps, out, fill)
            return out
    elif method == "fft":
        fft.run(x, taps, window, fill, out, runtime.thread_count())
        return out
    slide(window, x, taps, out, fill, sums)
    return out


def convolution_window(
    first: tuple[int, ...], second: tuple[int, ...], mode: str, extension: str = "fill", late: bool = False
) -> Window:
    """The window problem of a convolution of two shapes by SciPy's "full", "same" (centred) or "valid".

    Of an even number of taps, none is in the centre: "same" takes the first of the two beside it as the
    centre or, where ``late``, as for SciPy's ``correlate2d`` only, the other one.
    """
    if mode == "full":
        pad = tuple(k - 1 for k in second)
        output = tuple(n + k - 1 for n, k in zip(first, second, strict=True))
    elif mode == "same":
        pad, output = tuple((k - late) // 2 for k in second), first
    else:
        pad = (0,) * len(first)
        output = tuple(n - k + 1 for n, k in zip(first, second, strict=True))
    return Window(first, second, output, pad, (extension,) * len(first))


def convolve(
    first: Array, second: Array, mode: str, dtype: np.dtype[Any], *, extension: str = "fill", fill: Any = 0,
    method: str = "auto", late: bool = False, strict: bool = True, call: Any = None, correlated: bool = False,
) -> Array:  # fmt: skip
    """Convolve two arrays of as many dimensions, neither of them empty; for "valid" the first is the larger one.

    ``call`` is None or a key under which :func:`again` may find how the call is computed; where ``correlated``, it will
    see the second array the other way round.
    """
    key = (first.shape, second.shape, mode, extension, fill == 0, late)
    window = _windows.get(key)
    if window is None:
        window, image, taps = _as_window(first, second, mode, extension, fill, late)
        if image is first:
            if len(_windows) >= WINDOWS_KEPT:
                _windows.clear()
            _windows[key] = window
        return compute(window, image, taps, dtype, fill, method, strict)
    taps = second[(_BACKWARDS,) * second.ndim]
    if call is not None and fill == 0 and first.flags.aligned and first.dtype.kind != "c" != second.dtype.kind:
        sums = sum_dtype(dtype)
        if direct_cost(window, sums, 1) <= SEARCH_NS:
            layout = layout_of(window, first, taps, new_array(window.output_shape, dtype), sums)
            if len(_calls) >= WINDOWS_KEPT:
                _calls.clear()
            _calls[call] = window.output_shape, dtype, layout, correlated
    return compute(window, first, taps, dtype, fill, method, strict)


def again(name: str, in1: Any, in2: Any, mode: Any, variant: Any, fill: Any) -> tuple[Array | None, Any]:
    """(the result, if an equal call is known, else None; the key by which :func:`convolve` may make this one known).

    A small call is mostly rules. They depend on the function's name, its options, and the arrays' shapes, strides and
    dtypes: where one dictionary knows these, a call on 8x8 pixels takes 4.1 instead of 8.5 us (AMD EPYC, Zen 5).
    """
    if not type(in1) is type(in2) is np.ndarray or not type(mode) is type(variant) is str:
        return None, None
    first, second = in1.dtype, in2.dtype
    if type(fill) is not int or fill != 0 or first.char in "?e" or second.char in "?e":
        return None, None
    key = name, in1.shape, in1.strides, first, in2.shape, second, mode, variant
    known = _calls.get(key)
    if known is None or not in1.flags.aligned:
        return None, key
    shape, dtype, layout, correlated = known
    out = new_array(shape, dtype)
    run_layout(layout, in1, in2 if correlated else in2[(_BACKWARDS,) * in2.ndim], out, 0)
    return out, key


#: Windows of calls that need no exchange; beyond that many all are forgotten.
WINDOWS_KEPT: Final = 4096
_windows: dict[Any, Window] = {}
_calls: dict[Any, tuple[tuple[int, ...], np.dtype[Any], Layout, bool]] = {}
_BACKWARDS: Final = slice(None, None, -1)


def plan(
    first: Array, second: Array, mode: str, dtype: np.dtype[Any], *, extension: str = "fill", fill: Any = 0
) -> FilterPlan:
    """What :func:`convolve` would do."""
    window, image, taps = _as_window(first, second, mode, extension, fill)
    return choose(window, image, taps, dtype, fill=fill, strict=first.ndim == 2)


def _as_window(
    first: Array, second: Array, mode: str, extension: str, fill: Any, late: bool = False
) -> tuple[Window, Array, Array]:
    """(window, image, taps) of a convolution.

    The larger array is taken as the image where that makes no difference: convolution is commutative.
    """
    window = convolution_window(first.shape, second.shape, mode, extension, late)
    if extension != "fill" or fill != 0 or mode == "valid" or second.size <= first.size:
        return window, first, np.flip(second)
    # Output o of "same" is output o + (k - 1) // 2 of "full"; where that lies beyond the first array's reach, the
    # second one's first cells are never read.
    start = [k - 1 - pad for k, pad in zip(second.shape, window.pad, strict=True)]
    pads = [n - 1 - begin for n, begin in zip(first.shape, start, strict=True)]
    image = second[tuple(slice(max(0, -pad), None) for pad in pads)]
    pad = tuple(max(0, pad) for pad in pads)
    return Window(image.shape, first.shape, window.output_shape, pad, window.extensions), image, np.flip(first)


def convolve_by_transforms(first: Array, second: Array, mode: str, axes: list[int]) -> Array:
    """Convolve floating-point arrays along some axes, and multiply along the others, where they are broadcast.

    Along ``axes`` no array has length 1; for "valid" the first array is the larger one.
    """
    dtype = np.result_type(first, second)
    others = [axis for axis in range(first.ndim) if axis not in axes]
    whole = all(second.shape[axis] == 1 for axis in others)
    if axes and whole and all(first.shape[axis] >= second.shape[axis] for axis in axes):
        window = convolution_window(first.shape, second.shape, mode)
        out = new_array(window.output_shape, dtype)
        single = dtype.char in "fF"
        fft.run(first, np.flip(second), window, 0, out, runtime.thread_count(), single)
        return out
    return fft.broadcast(first, second, mode, axes, runtime.thread_count())


def filter_image(window: Window, image: Array, taps: Array, out: Array, fill: Any, no_tap: float) -> None:
    """Compute a window problem as ``scipy.ndimage`` does, in float64, into ``out``.

    Taps of at most ``no_tap`` are left out, which matters where NaN or infinity lies under them. Integer outputs
    are cut off towards zero, where the last bit of a sum can make a difference: they are always summed in SciPy's
    order and with its rounding.
    """
    sums = np.dtype(np.float64)
    left_out = (np.abs(taps.real) <= no_tap) & (np.abs(taps.imag) <= no_tap)
    if left_out.any():
        taps = np.where(left_out, 0, taps)
        with np.errstate(all="ignore"):
            finite = image.dtype.kind in "iu" or np.isfinite(image.sum())
        if not (finite and np.isfinite(fill)):
            _sum_taps(window, image, taps, out, fill)
            return
    parts = (1 + (image.dtype.kind == "c")) * (1 + (taps.dtype.kind == "c"))
    if out.dtype.kind in "fc" and direct_cost(window, sums, parts) > SEARCH_NS:
        chosen = choose(window, image, taps, out.dtype, sums=sums, fill=fill)
        if chosen.method != "direct":
            run(chosen, image, taps, out, fill)
            return
    slide(window, image, taps, out, fill, sums, fused=False)


def _sum_taps(window: Window, image: Array, taps: Array, out: Array, fill: Any) -> None:
    """Tap by tap over the whole image: slow, and no tap of 0 meets a NaN."""
    dtype = np.result_type(np.float64, image.dtype, taps.dtype)
    total = np.zeros(window.output_shape, dtype)
    with np.errstate(all="ignore"):
        for index in np.ndindex(*taps.shape):
            if taps[index] != 0:
                start = [i - pad for i, pad in zip(index, window.pad, strict=True)]
                total += taps[index] * fft.gathered(image, start, window.output_shape, window, fill, dtype)
        out[...] = total.astype(np.int64) if out.dtype.kind in "iu" else total
