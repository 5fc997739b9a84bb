"""What Numba compiles for a call of a public function.

Every function is compiled in the same way: check the arguments' types, cast arrays where dtypes differ, write the
arguments down and let a host function validate them, allocate the result, let another host function compute it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import typeof, types
from numba.core.errors import TypingError
from numba.np import numpy_support

from ..arrays import COMPUTED, LISTED
from ..lowering import lowering
from . import slots
from .library import kernels_symbol
from .linking import Need, need
from .passing import new_array

Kinds = dict[str, Any]
#: What arrays hold: Numba compiles nothing for floats of 16 bits.
ARRAYS: Final = LISTED.replace("float16, bfloat16, ", "")
SMALL: Final = ("float16", "bfloat16")


class Body:
    """The source of a function that Numba compiles for one combination of types, and the names that it uses."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"np": np, "new_array": new_array}

    def line(self, text: str, **names: Any) -> None:
        """Append a line, which may use some names."""
        self.lines.append(text)
        self.names.update(names)


def compiled(header: str, given: tuple[Any, ...], parameters: tuple[str, ...], decide: Callable[[Kinds], Body]) -> Any:
    """What Numba compiles for arguments of the given types."""
    body = decide({name: _plain(kind) for name, kind in zip(parameters, given, strict=True)})
    return function(header, body.lines, body.names)


def function(header: str, lines: list[str], names: dict[str, Any]) -> Any:
    """A function from its source: every function's parameters, and their defaults, are those of the public one."""
    namespace = dict(names)
    exec("\n    ".join([f"def body({header}):", *lines]), namespace)  # noqa: S102
    return namespace["body"]


def _plain(kind: Any) -> Any:
    """The Numba type of an argument, whether it was given or left out."""
    if isinstance(kind, types.Omitted):
        kind = kind.value
    if kind is None:
        return types.none
    if isinstance(kind, types.Type):
        return kind
    return types.literal(kind) if isinstance(kind, (int, str)) and not isinstance(kind, bool) else typeof(kind)


# ------------------------------------------------------------------------------------------------ what is supported


def refuse(function: str, argument: str, kind: Any, supported: str) -> TypingError:
    """The error of an argument of an unsupported type."""
    return TypingError(f"numbaconv: {function} inside @njit takes {supported} as {argument}; got {kind}")


def array(function: str, argument: str, kind: Any, dimensions: tuple[int, ...]) -> np.dtype[Any]:
    """The dtype of an array argument."""
    wanted = " or ".join(map(str, dimensions))
    if not isinstance(kind, types.Array) or kind.ndim not in dimensions:
        raise refuse(function, argument, kind, f"an array of {wanted} dimensions")
    if not isinstance(kind.dtype, (types.Number, types.Boolean)):
        raise refuse(function, argument, kind, f"an array of {ARRAYS}")
    dtype: np.dtype[Any] = numpy_support.as_dtype(kind.dtype)
    if dtype.name not in COMPUTED or dtype.name in SMALL:
        raise refuse(function, argument, kind, f"an array of {ARRAYS}")
    return dtype


def integer(function: str, argument: str, kind: Any) -> None:
    """An integer, and no boolean."""
    if not isinstance(kind, types.Integer):
        raise refuse(function, argument, kind, "an integer")


def integers(function: str, argument: str, kind: Any, pairs: bool = False) -> None:
    """An integer or a tuple of them."""
    nested = isinstance(kind, types.BaseTuple) and any(isinstance(item, types.BaseTuple) for item in kind.types)
    if pairs and nested:
        sides = [len(item.types) if isinstance(item, types.BaseTuple) else 0 for item in kind.types]
        if set(sides) == {2} and all(isinstance(side, types.Integer) for item in kind.types for side in item.types):
            return
    elif isinstance(kind, types.Integer) or (
        isinstance(kind, types.BaseTuple)
        and 0 < len(kind.types) <= slots.MOST_DIMENSIONS
        and all(isinstance(item, types.Integer) for item in kind.types)
    ):
        return
    raise refuse(function, argument, kind, "an integer or a tuple of integers" + ", or of (before, after)" * pairs)


def is_text(kind: Any) -> bool:
    """Whether an argument is a string."""
    return isinstance(kind, (types.StringLiteral, types.UnicodeType))


def text(function: str, argument: str, kind: Any, none: bool = False) -> None:
    """A string."""
    if not is_text(kind) and not (none and kind == types.none):
        raise refuse(function, argument, kind, "a string" + " or None" * none)


def dtype_argument(function: str, kind: Any) -> np.dtype[Any] | None:
    """What the argument ``dtype`` names."""
    if kind == types.none:
        return None
    try:
        if isinstance(kind, (types.NumberClass, types.DType)):
            named: np.dtype[Any] = numpy_support.as_dtype(kind.dtype)
            return named
        if isinstance(kind, types.StringLiteral):
            return np.dtype(kind.literal_value)  # type: ignore[no-any-return]
    except (TypeError, NotImplementedError):
        pass
    raise refuse(function, "dtype", kind, "None or a dtype like np.float64")


def result_dtype(function: str, dtypes: dict[str, np.dtype[Any]], asked: np.dtype[Any] | None) -> np.dtype[Any]:
    """As :func:`numbaconv.arrays.result_dtype`."""
    result = np.result_type(*dtypes.values()) if asked is None else asked
    described = ", ".join(f"{name} is {dtype}" for name, dtype in dtypes.items())
    if result.name not in COMPUTED or result.name in SMALL:
        raise TypingError(f"numbaconv: {function} inside @njit is not computed in {result}; {described}")
    for name, dtype in dtypes.items():
        if not (dtype.kind in "iu" and result.kind in "iu") and not np.can_cast(dtype, result, "same_kind"):
            raise TypingError(f"numbaconv: {function}: {name} of dtype {dtype} cannot be cast to {result}")
    return result


# ---------------------------------------------------------------------------------------------------- computed dtypes


def cast(body: Body, name: str, have: np.dtype[Any] | None, want: np.dtype[Any]) -> str:
    """Add what casts an array to a dtype, where that is needed; its name in the body."""
    if have is None or have == want:
        return name
    body.line(f"{name}_cast = {name}.astype({name}_dtype)", **{f"{name}_dtype": want})
    return f"{name}_cast"


class Computed:
    """How results of a dtype are computed: in which dtype of the kernels."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        lower = lowering(dtype)
        self.dtype = dtype
        self.complex = dtype.kind == "c"
        self.kernels = dtype if lower is None else lower.kernel_dtype
        #: The dtype of the arrays that are passed on.
        self.passed = dtype if self.complex else self.kernels

    def settings(self, ndim: int) -> tuple[int | str, ...]:
        """What the host function is told; see slots.NUMBER_NDIM."""
        floats, width = int(self.kernels.kind == "f"), self.kernels.itemsize
        return ndim, width, floats, int(self.complex), kernels_symbol(self.kernels.name)

    def needs(self) -> tuple[Need, ...]:
        """What computing needs."""
        return (need("kernels", self.kernels.name),)

    def finish(self, body: Body, relu: bool, out: bool) -> None:
        """Add what makes the result of what was computed, and returns it."""
        value = "computed"
        if self.passed != self.dtype:
            if self.dtype.kind == "b":
                body.line("answer = computed != 0")
            else:
                body.line("answer = computed.astype(result_dtype)", result_dtype=self.dtype)
            value = "answer"
        if relu and self.dtype.kind == "i":
            body.line(f"for i in np.ndindex({value}.shape):")
            body.line(f"    {value}[i] = max({value}[i], zero)", zero=self.dtype.type(0))
        if out and value != "out" and not self.direct(relu):
            body.line(f"out[...] = {value}")
        body.line("return out" if out else f"return {value}")

    def direct(self, relu: bool) -> bool:
        """Whether the result is computed where it is wanted."""
        return self.passed == self.dtype and not (relu and self.dtype.kind == "i")


def check_out(function: str, kind: Any, dtype: np.dtype[Any], ndim: int) -> bool:
    """Whether there is an array for the result."""
    if kind == types.none:
        return False
    if not isinstance(kind, types.Array) or not kind.mutable or kind.ndim != ndim:
        raise refuse(function, "out", kind, f"None or a writeable array of {ndim} dimensions")
    if numpy_support.as_dtype(kind.dtype) != dtype:
        raise TypingError(f"numbaconv: {function}: out must have the result's dtype {dtype}; got {kind}")
    return True
