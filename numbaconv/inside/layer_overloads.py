"""Convolutions of layers, transposed convolutions and gradients inside ``@njit``."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError

from . import gradients, layers
from .linking import Need, need
from .overloads import (
    Body,
    Computed,
    Kinds,
    array,
    cast,
    check_out,
    dtype_argument,
    integer,
    integers,
    refuse,
    result_dtype,
    text,
)
from .passing import begin, finish, shape_at


def conv(ndim: int, kinds: Kinds) -> Body:
    """The body of conv{ndim}d."""
    return _convolution(f"conv{ndim}d", ndim, kinds, "conv", layers)


def conv_transpose(ndim: int, kinds: Kinds) -> Body:
    """The body of conv_transpose{ndim}d."""
    if isinstance(kinds["padding"], (types.StringLiteral, types.UnicodeType)):
        raise refuse(f"conv_transpose{ndim}d", "padding", kinds["padding"], "an integer or a tuple of integers")
    return _convolution(f"conv_transpose{ndim}d", ndim, kinds, "transposed", gradients)


def _convolution(name: str, ndim: int, kinds: Kinds, stem: str, records: ModuleType) -> Body:
    """The body of a convolution or transposed convolution."""
    dtypes = {
        "input": array(name, "input", kinds["input"], (ndim + 1, ndim + 2)),
        "weight": array(name, "weight", kinds["weight"], (ndim + 2,)),
    }
    if kinds["bias"] != types.none:
        dtypes["bias"] = array(name, "bias", kinds["bias"], (1,))
    check_options(name, kinds)
    dtype = result_dtype(name, dtypes, dtype_argument(name, kinds["dtype"]))
    relu = kinds["activation"] != types.none
    if relu and dtype.kind == "c":
        raise TypingError(f"numbaconv: {name}: activation needs real numbers; the result's dtype is {dtype}")
    words = records.CONV_WORDS if stem == "conv" else records.TRANSPOSED_WORDS
    places = _Places(stem, words, records.SETTINGS, records.SHAPE, records.RESULT, kinds["input"].ndim)
    return _body(name, ndim, kinds, dtypes, dtype, relu, places)


class _Places(NamedTuple):
    """The two host functions' common name, and where their records are."""

    stem: str
    words: int
    settings: int
    shape: int
    result: int
    result_ndim: int


def _body(
    name: str, ndim: int, kinds: Kinds, dtypes: dict[str, np.dtype[Any]], dtype: np.dtype[Any], relu: bool,
    places: _Places,
) -> Body:  # fmt: skip
    """What all of them consist of."""
    computed = Computed(dtype)
    out = check_out(name, kinds["out"], dtype, places.result_ndim)
    body = Body()
    names = {argument: cast(body, argument, dtypes[argument], computed.passed) for argument in dtypes}
    arguments = [names.get(argument, argument) for argument in kinds if argument != "dtype"]
    first, second = (need("host", f"{places.stem}_{stage}") for stage in ("shape", "run"))
    needs = (*computed.needs(), *_winograd(ndim, kinds, computed))
    if places.stem != "conv":
        needs += (need("arrange", computed.kernels.name),)
    body.line(
        f"place = start(({', '.join(arguments)}))",
        start=begin(first.details[0], places.words, (first, *needs), computed.settings(ndim), places.settings),
    )
    if out and computed.direct(relu):
        body.line("computed = out")
    else:
        shape = shape_at(places.shape, places.result_ndim)
        body.line("computed = new_array(shape(place), passed)", shape=shape, passed=computed.passed)
    body.line(
        f"end(place, (computed, {', '.join(names.values())}))",
        end=finish(second.details[0], (second, *needs), places.result),
    )
    computed.finish(body, relu, out)
    return body


def _winograd(ndim: int, kinds: Kinds, computed: Computed) -> tuple[Need, ...]:
    """What Winograd needs, where a call may take it."""
    algorithm, precision = (
        kinds[name].literal_value if isinstance(kinds[name], types.StringLiteral) else None
        for name in ("algorithm", "precision")
    )
    if computed.kernels.kind != "f" or precision == "exact" or algorithm not in (None, "auto", "winograd"):
        return ()
    tiles = "standard" if precision == "standard" else "all"
    return (need("winograd", computed.kernels.name, "1" if ndim == 1 else "2", tiles),)


def gradient(ndim: int, of: str, kinds: Kinds) -> Body:
    """The body of conv{ndim}d_input and conv{ndim}d_weight of numbaconv.grad."""
    name = f"grad.conv{ndim}d_{of}"
    dtypes = {}
    for argument, dimensions in (
        ("input", (ndim + 1, ndim + 2)), ("weight", (ndim + 2,)), ("grad_output", (ndim + 1, ndim + 2)),
    ):  # fmt: skip
        if argument in kinds:
            dtypes[argument] = array(name, argument, kinds[argument], dimensions)
            continue
        size = kinds[f"{argument}_size"]
        integers(name, f"{argument}_size", size)
        if not isinstance(size, types.BaseTuple) or len(size) not in dimensions:
            wanted = " or ".join(map(str, dimensions))
            raise refuse(name, f"{argument}_size", size, f"a tuple of {wanted} integers")
    check_options(name, kinds)
    dtype = result_dtype(name, dtypes, dtype_argument(name, kinds["dtype"]))
    wanted = kinds[f"{of}_size"]
    places = _Places(
        "gradient", gradients.GRADIENT_WORDS, gradients.G_SETTINGS, gradients.G_SHAPE, gradients.G_RESULT, len(wanted)
    )
    return _body(name, ndim, kinds, dtypes, dtype, False, places)


def check_options(name: str, kinds: Kinds) -> None:
    """The options that convolutions share."""
    for argument in ("stride", "dilation", "output_padding"):
        if argument in kinds:
            integers(name, argument, kinds[argument])
    if not isinstance(kinds["padding"], (types.StringLiteral, types.UnicodeType)):
        integers(name, "padding", kinds["padding"], pairs=True)
    integer(name, "groups", kinds["groups"])
    for argument in ("algorithm", "precision", "padding_mode"):
        if argument in kinds:
            text(name, argument, kinds[argument])
    for argument in ("data_format", "activation"):
        if argument in kinds:
            text(name, argument, kinds[argument], none=True)
