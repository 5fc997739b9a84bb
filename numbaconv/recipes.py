"""What a call consists of, written down while it is made, so that the next one like it only runs its kernels.

Transposed convolutions and gradients are made of ordinary convolutions of parts of their arrays. To find the parts and
their plans takes 40 to 150 us in Python (Zen 5), as long as many layers take to compute. All of it follows from shapes,
strides, dtypes and options; what changes from call to call is where the arrays lie. So a recipe keeps, for each kernel
that was run, of which array each argument is a part, and from which element on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from . import runtime
from .arrays import Array, address_of, flat, new_array
from .executable import Executable
from .kernels import geometry as at

#: The arrays of a call, by number: the input, the weight, the bias and the result. Further numbers are its own.
INPUT: Final = 0
WEIGHT: Final = 1
BIAS: Final = 2
RESULT: Final = 3
NOTHING: Final = -1

Packs = dict[Any, Any]
#: Flat views of the arrays, to be read, and to be written.
Flats = tuple[list[Any], list[Any]]


class Place(NamedTuple):
    """An array's number, and the element of its flat view with which a part of it begins."""

    number: int
    start: int


class Convolution(NamedTuple):
    """A convolution of parts of arrays; a layer's packed weights lie under the names ``kept``, one in the other.

    Each bias is that of ``taps`` filters.
    """

    executable: Executable
    x: int
    weight: int
    bias: int
    out: int
    kept: tuple[Any, ...] | None
    taps: int

    def run(self, arrays: Flats, packs: Packs | None) -> None:
        """Compute it again, of other arrays."""
        read, written = arrays
        bias = self.executable.no_bias if self.bias == NOTHING else repeated(read[self.bias], self.taps)
        if self.kept is None or packs is None:
            self.executable.call_flat(read[self.x], read[self.weight], bias, written[self.out])
            return
        for name in self.kept:
            packs = packs.setdefault(name, {})
        packed = packs.get(self.executable.layout)
        if packed is None:
            packed = packs[self.executable.layout] = self.executable.pack_flat(read[self.weight], bias)
        self.executable.run_flat(read[self.x], packed, written[self.out])


class Arrangement(NamedTuple):
    """A kernel that puts results together; ``rest`` are its arguments behind the arrays; see ``kernels.arrange``."""

    parallel: Any
    serial: Any
    several: bool
    inputs: tuple[int, ...]
    out: int
    rest: tuple[Any, ...]
    scratch: int

    def run(self, arrays: Flats, _packs: Packs | None) -> None:
        """Run it again, on other arrays."""
        read, written = arrays
        out = written[self.out]
        threads = runtime.thread_count() if self.several else 1
        inputs = [flat(out[:0]) if number == NOTHING else read[number] for number in self.inputs]
        scratch = (np.empty(threads * self.scratch, out.dtype),) if self.scratch else ()
        runtime.launch(self.parallel, self.serial, threads, (*inputs, out, *self.rest, *scratch))


class Recipe(NamedTuple):
    """The steps of a call, and what its result and its own arrays are like."""

    shape: tuple[int, ...]  # of the result, as the caller sees it
    dtype: np.dtype[Any]
    steps: tuple[Convolution | Arrangement, ...]
    own: tuple[int, ...]  # elements

    def run(self, arrays: Sequence[Array | None], result: Array, packs: Packs | None) -> None:
        """Compute ``result`` from the input, the weight and the bias, laid out like those that were recorded."""
        read: list[Any] = [None if array is None else flat(array) for array in arrays]
        written: list[Any] = [None, None, None, flat(result, writeable=True)]
        read.append(None)
        for count in self.own:
            array = new_array((count,), self.dtype)
            written.append(array)
            read.append(flat(array[:]))
        for step in self.steps:
            step.run((read, written), packs)


def repeated(bias: Array, taps: int) -> Array:
    """Each bias ``taps`` times, to be read."""
    return bias if taps == 1 else flat(np.repeat(bias, taps))


class Recorder:
    """Writes a recipe, unless something is done that it cannot say: then there is none.

    Parameters
    ----------
    arrays : sequence of three ndarrays or None
        The input, the weight and the bias.
    result : ndarray
        What the call writes.
    """

    def __init__(self, arrays: Sequence[Array | None], result: Array) -> None:
        self._known: list[Array | None] = [*arrays, result]
        present = [array for array in self._known if array is not None]
        # Parts are found by their addresses.
        self._complete = all(array.size > 0 for array in present) and not any(
            np.may_share_memory(a, b) for i, a in enumerate(present) for b in present[:i]
        )
        self._steps: list[Convolution | Arrangement] = []

    def give_up(self) -> None:
        """Something else was done."""
        self._complete = False

    def convolution(
        self, executable: Executable, x: Array, weight: Array, bias: Array | None, out: Array, packed: bool,
        taps: int = 1,
    ) -> None:  # fmt: skip
        """A convolution was computed, from weights that a layer keeps packed where ``packed``.

        The bias was that of ``taps`` filters each.
        """
        geometry = executable.geometry.copy()
        offsets = None if bias is None else self._place(bias)
        if bias is not None and (bias.dtype != executable.dtype or not bias.flags.c_contiguous):
            self.give_up()  # a copy was taken
        numbers = []
        for array, slot in ((x, at.X_START), (weight, at.WEIGHT_START), (out, at.OUT_START)):
            place = self._place(array, new=array is out)
            geometry[slot] = place.start
            numbers.append(place.number)
        geometry.flags.writeable = False
        changed = dataclasses.replace(executable, geometry=geometry)
        number = NOTHING if offsets is None else offsets.number
        self._steps.append(
            Convolution(changed, numbers[0], numbers[1], number, numbers[2], () if packed else None, taps)
        )  # fmt: skip

    def kept_under(self, *names: Any) -> None:
        """The weights that the last convolution took packed lie under these names."""
        if self._steps and isinstance(last := self._steps[-1], Convolution) and last.kept is not None:
            self._steps[-1] = last._replace(kept=names)

    def arrangement(
        self, kernels: tuple[Any, Any], several: bool, inputs: Sequence[Array | None], out: Array,
        rest: tuple[Any, ...], scratch: int = 0,
    ) -> None:  # fmt: skip
        """A kernel, parallel or serial, was run; its arrays are whole ones, or its arguments say where parts lie."""
        numbers = [NOTHING if array is None else self._place(array).number for array in inputs]
        self._steps.append(
            Arrangement(*kernels, several, tuple(numbers), self._place(out).number, rest, scratch)
        )  # fmt: skip

    def start(self, part: Array) -> int:
        """From which element on a part of an array lies in that array's flat view."""
        return self._place(part).start

    def _place(self, part: Array, new: bool = False) -> Place:
        address = address_of(part)
        for number, array in enumerate(self._known):
            if array is not None:
                low, high = _bounds(array)
                if low <= address < high:
                    return Place(number, (address - low) // part.itemsize)
        if new and part.flags.c_contiguous:
            self._known.append(part)
            return Place(len(self._known) - 1, 0)
        self.give_up()
        return Place(NOTHING, 0)

    def recipe(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Recipe | None:
        """What was recorded; ``shape`` and ``dtype`` are the result's."""
        if not self._complete or not self._steps:
            return None
        own = [array.size for array in self._known[RESULT + 1 :] if array is not None]
        return Recipe(shape, dtype, tuple(self._steps), tuple(own))


def _bounds(array: Array) -> tuple[int, int]:
    """The address of the lowest element, and that behind the highest one."""
    reaches = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    first = address_of(array)
    return first + sum(min(0, reach) for reach in reaches), first + sum(max(0, reach) for reach in reaches) + 1
