"""What the GPU's algorithms are given: a problem, its arrays as six-dimensional views, and a device to run it on."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from ..problem import ConvProblem
from . import geometry as at
from .launch import Device, Integers
from .views import Memory, View

#: Kernels with 32-bit indices count elements up to here, and cells of an axis (padding and all pixels included) up to
#: there: positions before an axis and taps that lie nowhere are then far from all others.
REACH_32: Final = 2**31 - 1
CELLS_32: Final = 2**30 - 1


@dataclasses.dataclass(frozen=True)
class Job:
    """A convolution of views.

    Attributes
    ----------
    problem : ConvProblem
        Its sizes; of its dtype are sums (float32 for 16-bit floats, 64-bit integers for all integers) and result.
    x : View, (batch, groups, channels, depth, height, width)
    w : View, (groups, filters, channels, depth, height, width)
    bias : View or None, (groups * filters,)
    out : View, (batch, groups, filters, depth, height, width)
    relu : bool
        Whether negative results become 0.
    conjugate : str
        Which array is conjugated: "x", "w" or neither.
    extension, fill
        What lies outside the input, one of :mod:`.geometry`'s codes, and its value where that is FILL.
    """

    problem: ConvProblem
    x: View
    w: View
    bias: View | None
    out: View
    relu: bool = False
    conjugate: str = ""
    extension: int = at.FILL
    fill: Any = 0

    @property
    def sums(self) -> np.dtype[Any]:
        """The dtype of the sums."""
        dtype = self.problem.dtype
        if dtype.kind in "biu":
            return np.dtype(np.int64)
        return np.dtype(np.float32) if dtype.itemsize == 2 else dtype

    @property
    def zeros_outside(self) -> bool:
        """Whether outside the input there are zeros, or nothing is read there."""
        nothing = not any(map(any, self.problem.padding))
        return nothing or (self.extension == at.FILL and self.fill == 0)

    @property
    def outputs(self) -> int:
        """How many elements the result has."""
        return self.out.size

    def geometry(self) -> tuple[int, ...]:
        """The job as the kernels take it."""
        problem, slots = self.problem, [0] * at.LENGTH
        missing = 3 - problem.ndim
        slots[at.BATCH : at.FILTERS + 1] = (
            problem.batch, problem.groups, problem.group_channels, problem.group_filters,
        )  # fmt: skip
        before = tuple(pair[0] for pair in problem.padding)
        for slot, values, absent in (
            (at.IN_D, problem.input_size, 1), (at.KERNEL_D, problem.kernel_size, 1),
            (at.OUT_D, problem.output_size, 1), (at.STRIDE_D, problem.stride, 1),
            (at.DILATION_D, problem.dilation, 1), (at.PAD_D, before, 0),
        ):  # fmt: skip
            slots[slot : slot + 3] = [*[absent] * missing, *values]
        for axis in range(3):  # where they make no difference, however large they are
            if slots[at.OUT_D + axis] == 1:
                slots[at.STRIDE_D + axis] = 1
            if slots[at.KERNEL_D + axis] == 1:
                slots[at.DILATION_D + axis] = 1
        slots[at.EXTENSION] = self.extension
        slots[at.RELU] = int(self.relu)
        slots[at.FILTER_LANES] = int(self.out.strides[2] == 1 and self.out.strides[5] != 1)
        slots[at.CONJUGATE_X], slots[at.CONJUGATE_W] = int(self.conjugate == "x"), int(self.conjugate == "w")
        slots[at.FILLED] = int(self.fill != 0)
        for slot, view in ((at.X_START, self.x), (at.W_START, self.w), (at.OUT_START, self.out)):
            slots[slot : slot + 7] = [view.start, *view.strides]
        if self.bias is not None:
            slots[at.HAS_BIAS] = 1
            slots[at.BIAS_START : at.BIAS_STRIDE + 1] = [self.bias.start, *self.bias.strides]
        return tuple(slots)

    def unsigned(self) -> Integers:
        """The geometry for kernels with 32-bit indices, in which negative numbers wrap around."""
        return Integers(tuple(value & 0xFFFFFFFF for value in self.geometry()), "uint32")

    def signed(self) -> Integers:
        """The geometry for kernels with 64-bit indices."""
        return Integers(self.geometry(), "int64")

    @property
    def bias_memory(self) -> Memory:
        """The bias, or in its place memory that is not read."""
        return self.w.memory if self.bias is None else self.bias.memory


def too_large(job: Job) -> str | None:
    """Why 32-bit indices do not do."""
    for name, view in (("input", job.x), ("weight", job.w), ("output", job.out)):
        if view.reach > REACH_32:
            return f"its indices have 32 bits, and the {name} reaches over {view.reach} elements"
    padded = max(sum(pair) + n for pair, n in zip(job.problem.padding, job.problem.input_size, strict=True))
    packed = job.problem.filters * job.problem.depth
    if max(padded, packed, job.problem.batch * job.problem.pixels) > CELLS_32:
        return "its indices have 32 bits, which its sizes exceed"
    return None


__all__ = ["CELLS_32", "REACH_32", "Device", "Job", "too_large"]
