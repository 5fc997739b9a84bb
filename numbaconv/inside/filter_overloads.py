"""SciPy's convolutions inside ``@njit``: signal's and ndimage's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import register_jitable
from numba.np import numpy_support

from ..filtering import sum_dtype
from ..scipy_rules import result_dtype
from . import filters, slots
from .library import BLOCKS, TILES, functions_symbol
from .linking import Need, need
from .overloads import Body, Kinds, array, cast, function, integer, integers, refuse, text
from .passing import begin, finish, number_at, shape_at

SUPPORTED = "arrays of integers, float32, float64, complex64 and complex128"


def _kind(dtype: np.dtype[Any]) -> int:
    """The code of a dtype's kind."""
    return {
        "f": filters.KIND_FLOAT, "i": filters.KIND_SIGNED, "u": filters.KIND_UNSIGNED, "b": filters.KIND_UNSIGNED,
        "c": filters.KIND_COMPLEX,
    }[dtype.kind]  # fmt: skip


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of an element's parts, as the kernels see them."""
    if dtype.kind == "c":
        return np.dtype(f"f{dtype.itemsize // 2}")
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _described(dtype: np.dtype[Any]) -> tuple[int, int, int]:
    """Bytes of a part, whether it is a float, whether there are two."""
    part = _real(dtype)
    return part.itemsize, int(part.kind == "f"), int(dtype.kind == "c")


def _planes(taps: np.dtype[Any], sums: np.dtype[Any], conjugate: bool) -> Any:
    """A function that makes one array of the real parts, then the imaginary parts, of another one's elements."""
    two = taps.kind == "c"
    lines = [f"planes = np.empty({1 + two} * taps.size, sums)", "i = 0", "for tap in taps.flat:"]
    if two:
        lines += ["    planes[i] = tap.real", f"    planes[taps.size + i] = {'-' * conjugate}tap.imag"]
    else:
        lines += ["    planes[i] = tap"]
    return register_jitable(function("taps", [*lines, "    i += 1", "return planes"], {"np": np, "sums": sums}))


def _tables(x: np.dtype[Any], sums: np.dtype[Any], fused: bool, y: np.dtype[Any]) -> tuple[str, Need]:
    """The symbol of a table of functions, and the need for it."""
    details = (_real(x).name, sums.name, sums.name if fused else "int8", _real(y).name)
    return functions_symbol(*details), need("functions", *details)


def _transformed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype as which fftconvolve takes an array."""
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


def _literally(kind: Any, value: str) -> bool:
    """Whether an argument is a string that is known when the caller is compiled."""
    return isinstance(kind, types.StringLiteral) and kind.literal_value == value


def signal(name: str, kinds: Kinds) -> Body:
    """convolve2d, correlate2d, convolve, correlate, fftconvolve and oaconvolve of numbaconv.signal."""
    two, correlates, transforms = name.endswith("2d"), name.startswith("correlate"), "axes" in kinds
    dimensions = (2,) if two else tuple(range(1, slots.MOST_DIMENSIONS))
    dtypes = [array(name, argument, kinds[argument], dimensions) for argument in ("in1", "in2")]
    if kinds["in1"].ndim != kinds["in2"].ndim:
        raise TypingError(
            f"numbaconv: {name}: in1 and in2 must have as many dimensions; got {kinds['in1']} and {kinds['in2']}"
        )
    body = Body()
    names = ["in1", "in2"]
    if transforms:
        if kinds["axes"] != types.none:
            raise refuse(name, "axes", kinds["axes"], "None")
        names = [cast(body, *pair, _transformed(pair[1])) for pair in zip(names, dtypes, strict=True)]
        dtypes = [_transformed(dtype) for dtype in dtypes]
    first, second = (np.empty(0, dtype) for dtype in dtypes)
    dtype = result_dtype(first, second)
    if dtype is None:
        raise TypingError(f"numbaconv: {name} inside @njit takes {SUPPORTED}; got {kinds['in1']} and {kinds['in2']}")
    for argument in ("mode", "boundary", "method"):
        if argument in kinds:
            text(name, argument, kinds[argument])
    if "fillvalue" in kinds and not isinstance(kinds["fillvalue"], (types.Number, types.Boolean, types.Literal)):
        raise refuse(name, "fillvalue", kinds["fillvalue"], "a number")
    sums = sum_dtype(dtype)
    # Outer products are looked for where sums are real floats, in float64, too, where they are float32; tiles are
    # transformed of all that is real, blocks of anything where that is asked for.
    method = kinds.get("method", types.literal("fft" if transforms else "auto"))
    flat = kinds["in1"].ndim == 2 and dtype.kind != "c" and not _literally(method, "direct")
    asked = not _literally(method, "direct") and not _literally(method, "auto")
    wide = (flat or asked) and sums != np.float64
    double = np.dtype(np.float64)
    tables = [_tables(x, sums, True, dtype) for x in dtypes]
    wides = [_tables(x, double, True, dtype) for x in dtypes] if wide else []
    needs = (
        *{table[1] for table in [*tables, *wides]},
        *(need(name) for name, used in (("tiles", flat), ("blocks", asked)) if used),
    )
    numbers: list[int | str] = [int(two), int(correlates), _kind(dtype), 8 * dtype.itemsize]
    numbers += [*_described(dtypes[0]), *_described(dtypes[1])]
    numbers += [table[0] for table in tables]
    numbers += [table[0] for table in wides] if wide else [0, 0]
    numbers += [sums.itemsize, int(transforms), TILES if flat else 0, BLOCKS if asked else 0]
    conjugate = correlates and dtypes[1].kind == "c"
    body.line(f"first, second = {names[0]}, " + ("np.conj(in2)" if conjugate else names[1]))
    options = "boundary, fillvalue, None" if two else "None, None, " + ("None" if transforms else "method")
    body.line(
        f"place = start((first, second, mode, {options}))",
        start=begin(
            "signal_shape", filters.SIGNAL_WORDS, (need("host", "signal_shape"), *needs), tuple(numbers),
            filters.SETTINGS,
        ),
    )  # fmt: skip
    shape = shape_at(filters.SHAPE, kinds["in1"].ndim)
    body.line("computed = new_array(shape(place), dtype)", dtype=dtype, shape=shape)
    body.line("if swapped(place):", swapped=number_at(filters.SWAPPED))
    body.names.update(first_planes=_planes(dtypes[0], sums, False), second_planes=_planes(dtypes[1], sums, False))
    if wide:
        body.names.update(first_exact=_planes(dtypes[0], double, False), second_exact=_planes(dtypes[1], double, False))
    for which in ("first", "second"):
        if which == "second":
            body.line("else:")
        body.line(f"    taps = {which}_planes({which})")
        exact = f"{which}_exact({which})" if wide else "taps" if flat or asked else "np.empty(0)"
        body.line(f"    exact = {exact}")
    body.line(
        "end(place, (taps, exact, computed, first, second))",
        end=finish("signal_run", (need("host", "signal_run"), *needs), filters.TAPS, filters.EXACT, filters.RESULT),
    )
    if conjugate and two:
        body.line("if conjugated(place):", conjugated=number_at(filters.CONJUGATED))
        body.line("    computed = np.conj(computed)")
    body.line("return computed")
    return body


def ndimage(name: str, kinds: Kinds) -> Body:
    """correlate, convolve, correlate1d and convolve1d of numbaconv.ndimage."""
    along, correlates = name.endswith("1d"), name.startswith("correlate")
    dimensions = tuple(range(1, slots.MOST_DIMENSIONS))
    image = array(name, "input", kinds["input"], dimensions)
    taps = array(name, "weights", kinds["weights"], (1,) if along else dimensions)
    text(name, "mode", kinds["mode"])
    if along:
        integer(name, "axis", kinds["axis"])
        integer(name, "origin", kinds["origin"])
    else:
        integers(name, "origin", kinds["origin"])
        if kinds["axes"] != types.none:
            integers(name, "axes", kinds["axes"])
    is_complex = "c" in (image.kind, taps.kind)
    cval = kinds["cval"]
    if not isinstance(cval, (types.Integer, types.Float, types.Complex)) or (
        isinstance(cval, types.Complex) and image.kind != "c"
    ):
        raise refuse(name, "cval", cval, "a number, and a complex one only for a complex input,")
    dtype, output = _output(name, kinds, image, is_complex)
    double = np.dtype(np.float64)
    kernels = {
        filters.FIRST_FUNCTIONS: _tables(image, double, False, dtype),
        filters.WRITTEN_FUNCTIONS: _tables(double, double, False, dtype),
        filters.FIRST_WIDE: _tables(image, double, True, dtype),
        filters.TOTAL_FUNCTIONS: _tables(image, double, False, double),
    }
    flat = image.kind != "c" and taps.kind != "c" and dtype.kind == "f" and kinds["input"].ndim == 2 and not along
    needs = (*{table[1] for table in kernels.values()}, *([need("tiles")] if flat else []))
    numbers: list[int | str] = [int(along), int(correlates), _kind(dtype), 8 * dtype.itemsize]
    numbers += [*_described(image), *_described(taps)]
    numbers += [kernels[number][0] for number in sorted(kernels)]
    numbers += [8, 1, TILES if flat else 0]
    body = Body()
    body.line("planes, left_out = taps(weights)", taps=_kept(taps, correlates))
    body.line("finite = True")
    if image.kind in "fc":
        body.line("if left_out > 0:")
        body.line("    total = 0.0")
        body.line("    for cell in input.flat:")
        body.line("        total += " + ("cell.real + cell.imag" if image.kind == "c" else "cell"))
        body.line("    finite = np.isfinite(total)")
    body.line(
        f"place = start((input, weights, mode, cval, origin, {'axis' if along else 'axes'}))",
        start=begin(
            "ndimage_shape", filters.NDIMAGE_WORDS, (need("host", "ndimage_shape"), *needs), tuple(numbers),
            filters.N_SETTINGS,
        ),
    )  # fmt: skip
    if output == "array":
        body.line("if output.shape != input.shape:")
        body.line('    raise RuntimeError("output shape not correct")')
    body.line("computed = new_array(input.shape, dtype)", dtype=np.dtype(np.uint8) if dtype.kind == "b" else dtype)
    body.line(
        "end(place, (planes, (left_out, int(finite)), computed, input, weights))",
        end=finish(
            "ndimage_run", (need("host", "ndimage_run"), *needs), filters.N_TAPS, filters.FINITE, filters.N_RESULT
        ),
    )
    if dtype.kind == "b":
        body.line("answer = computed != 0")
    value = "answer" if dtype.kind == "b" else "computed"
    if output == "array":
        body.line(f"output[...] = {value}")
        value = "output"
    body.line(f"return {value}")
    return body


def _kept(dtype: np.dtype[Any], correlates: bool) -> Any:
    """A function that makes planes of taps in float64, with those that SciPy leaves out as zeros, and counts these."""
    two = dtype.kind == "c"
    lines = [f"planes = np.empty({1 + two} * taps.size)", "i = left_out = 0", "for tap in taps.flat:"]
    lines += (
        ["    real = float(tap.real)", "    imaginary = float(tap.imag)"]
        if two
        else ["    real = float(tap)", "    imaginary = 0.0"]
    )
    lines += [
        "    if abs(real) <= no_tap and abs(imaginary) <= no_tap:",
        "        real = imaginary = 0.0",
        "        left_out += 1",
    ]
    lines += ["    planes[i] = real"]
    if two:
        lines += [f"    planes[taps.size + i] = {'-' * correlates}imaginary"]
    lines += ["    i += 1", "return planes, left_out"]
    no_tap = float(np.finfo(np.float64).eps)
    return register_jitable(function("taps", lines, {"np": np, "no_tap": no_tap}))


def _output(name: str, kinds: Kinds, image: np.dtype[Any], is_complex: bool) -> tuple[np.dtype[Any], str]:
    """The result's dtype, and what ``output`` is: "nothing", "dtype" or "array"."""
    output = kinds["output"]
    if output == types.none:
        dtype = np.promote_types(image, np.complex64) if is_complex else image
        return dtype, "nothing"
    if isinstance(output, (types.NumberClass, types.DType, types.Array)):
        dtype = numpy_support.as_dtype(output.dtype)
        if isinstance(output, types.Array) and not (output.mutable and output.ndim == kinds["input"].ndim):
            raise refuse(name, "output", output, "a writeable array of the input's shape, a dtype or None")
        if dtype.kind not in "biufc" or dtype.char in "egG" or (is_complex and dtype.kind != "c"):
            raise refuse(name, "output", output, "complex output" if is_complex else "an output of numbers")
        return dtype, "array" if isinstance(output, types.Array) else "dtype"
    raise refuse(name, "output", output, "a writeable array of the input's shape, a dtype or None")
