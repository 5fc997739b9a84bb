"""Plans completed for arrays that lie in a certain way: where elements are, and the kernels that do the work."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import memory, runtime
from .arrays import Array, common_stride, element_strides, flat, flat_start, new_array, prepared
from .forks import load_module
from .kernels import geometry as at
from .kernels.blocking import NARROW_LINE, PACK_SCRATCH, UNDONE
from .planner import Plan, driver, prepare, rows
from .problem import ConvProblem


class Layout:
    """How packed weights are laid out: one object for all that are alike, found faster in a dictionary than a tuple."""


#: By what they stand for; those of plans that are kept and of weights that layers have packed.
_layouts: weakref.WeakValueDictionary[Any, Layout] = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True)
class Executable:
    """A plan, where its arrays' elements lie, and the kernels that carry it out.

    What every run asks for is kept in fields: a small convolution takes a few microseconds, a property half of one.
    """

    plan: Plan
    dtype: np.dtype[Any]
    geometry: Array
    rows: Array
    scratch: int
    shared: int
    parallel: bool
    packed_elements: int
    parallel_packing: bool
    layout: Layout  # the same where packed weights are laid out alike: it depends on the input's size, too
    no_bias: Array
    pack: int  # addresses of functions
    tasks: int
    run_serial: Any
    run_parallel: Any
    run_once: Any
    alone: int  # elements of scratch where it is small and one thread runs, else 0
    once: int  # elements of memory for one step that packs and runs, 0 where it takes several
    complete: Any  # compiles what a plan's tasks seldom call, where there is such a thing, and completes ``rows``

    def pack_weights(self, weight: Array, bias: Array | None) -> Array:
        """The weights and the bias in the order in which the kernel reads them."""
        return self.pack_flat(flat(weight), self._flat_bias(bias))

    def run(self, x: Array, packed: Array, out: Array) -> None:
        """Compute every element of ``out``; x and out have the strides that the executable was made for."""
        self.run_flat(flat(x), packed, flat(out, True))

    def call(self, x: Array, weight: Array, bias: Array | None, out: Array) -> None:
        """Pack the weights and run."""
        biases = self.no_bias if bias is None else self._flat_bias(bias)
        self.call_flat(flat(x), flat(weight), biases, flat(out, True))

    def pack_flat(self, weight: Array, bias: Array, packed: Array | None = None) -> Array:
        """:meth:`pack_weights` of flat views, into ``packed`` where it is given; the bias is empty for zeros."""
        if packed is None:
            # From a cache line on, however few: vectors that lie in two take 1.02 to 1.05 times as long (Zen 5).
            packed = new_array((self.packed_elements,), self.dtype, least=0)
        threads = runtime.thread_count() if self.parallel_packing else 1
        scratch = np.empty(2 * NARROW_LINE + threads * PACK_SCRATCH, self.dtype)
        arguments = (self.pack, weight, bias, packed, self.rows, self.geometry, scratch)
        runtime.launch(self.run_parallel, self.run_serial, threads, arguments)
        packed.flags.writeable = False  # as the kernels' inputs are: it is part of their type
        return packed

    def run_flat(self, x: Array, packed: Array, out: Array) -> None:
        """:meth:`run` on flat views."""
        if self.alone:
            room = np.empty(self.alone, self.dtype)
            self.run_serial(0, 1, self.tasks, x, packed, out, self.rows, self.geometry, room)
            return
        threads = runtime.thread_count() if self.parallel else 1
        scratch = memory.scratch(self.shared + threads * self.scratch, self.dtype)
        self._launch(threads, x, packed, out, scratch)
        memory.give_back(scratch)

    def call_flat(self, x: Array, weight: Array, bias: Array, out: Array) -> None:
        """Pack the weights and run; where one thread does both, in one step, which saves a microsecond."""
        if self.once:
            room = np.empty(self.once, self.dtype)
            arguments = (self.pack, self.tasks, weight, bias, x, out, self.rows, self.geometry, room)
            if self.complete is None:
                self.run_once(*arguments)
            else:
                self._run_tasks(self.run_once, arguments, room[self.packed_elements :])
        elif self.plan.geometry[at.UNPACKED]:
            self._run_unpacked(x, weight, bias, out)
        else:
            packed = self.pack_flat(weight, bias, memory.borrow(self.packed_elements, self.dtype))
            self.run_flat(x, packed, out)
            memory.give_back(packed)

    def _run_unpacked(self, x: Array, weight: Array, bias: Array, out: Array) -> None:
        """Run a plan whose tasks pack the weights themselves."""
        threads = runtime.thread_count() if self.parallel else 1
        groups, filters, panels, mr = (self.plan.geometry[slot] for slot in (at.GROUPS, at.FILTERS, at.PANELS, at.MR))
        scratch = memory.scratch(self.shared + threads * self.scratch + groups * panels * mr, self.dtype)
        biases = scratch[-groups * panels * mr :].reshape(groups, panels * mr)
        biases[...] = 0
        if bias.size > 0:
            biases[:, :filters] = bias.reshape(groups, filters)
        self._launch(threads, x, weight, out, scratch)
        memory.give_back(scratch)

    def _launch(self, threads: int, x: Array, weight: Array, out: Array, scratch: Array) -> None:
        """Do all tasks on some threads."""
        arguments = (self.tasks, x, weight, out, self.rows, self.geometry, scratch)
        self._run_tasks(runtime.launch, (self.run_parallel, self.run_serial, threads, arguments), scratch)

    def _run_tasks(self, run: Callable[..., Any], arguments: tuple[Any, ...], scratch: Array) -> None:
        """Run kernels, and once more where tasks have lacked a function, which is compiled then."""
        # Asked before they run: another thread may complete the table meanwhile.
        lacking = self.complete is not None and self.rows[-1] == 0
        run(*arguments)
        if lacking and _undone(scratch):
            with runtime.compiling():
                self.complete()
            run(*arguments)

    def _flat_bias(self, bias: Array | None) -> Array:
        """The bias as the packing kernels take it."""
        return self.no_bias if bias is None else flat(np.require(bias, self.dtype, ("C", "A")))


def _undone(scratch: Array) -> bool:
    """Whether a run that has worked in ``scratch`` has left tasks undone, for want of a function."""
    return bool(scratch[:NARROW_LINE].view(np.int64)[UNDONE])


def executable(plan: Plan, x: Array, weight: Array, out: Array) -> Executable:
    """Complete a plan for arrays laid out like x, weight and out."""
    geometry = np.array(plan.geometry, np.int64)
    for array, start, batch in ((x, at.X_START, at.X_BATCH), (out, at.OUT_START, at.OUT_BATCH)):
        strides, spatial = element_strides(array), _spatial(array, plan.problem)
        geometry[start] = flat_start(array)
        geometry[batch] = strides[0]
        geometry[batch + 1] = strides[-1 if plan.problem.channels_last else 1]
        geometry[batch + 5 - len(spatial) : batch + 5] = spatial
        if geometry[at.IMAGES] > 1:
            geometry[batch + 3 if geometry[at.OUT_H] > 1 else batch + 4] = strides[0]
    geometry[at.OUT_DENSE] = _dense(geometry)
    _place_weight(geometry, weight)
    geometry.flags.writeable = False
    dtype = plan.problem.dtype
    with runtime.compiling():
        prepare(plan, geometry)
        begin(plan.candidate, geometry, dtype.name)
        table = rows(plan, geometry)
        pack, tasks = functions(plan.candidate, geometry, dtype.name)
    complete = getattr(driver(plan.candidate), "complete", None)
    if complete is not None:
        complete = functools.partial(complete, table, dtype.itemsize)
        table = table[:]
    table.flags.writeable = False
    order = plan.geometry[at.ORDER_START]
    places = table[order : order + plan.problem.depth].tobytes() if order else b""
    slots = [at.GROUPS, at.FILTERS, at.MR, at.TRANSFORM]
    if plan.candidate == "winograd":  # along an axis with one output, there are no phases
        slots += [at.PHASES_H, at.PHASES_W]
    sizes = tuple(plan.geometry[slot] for slot in slots)
    layout = _layouts.setdefault((plan.candidate, dtype, sizes, places), Layout())
    kernels = load_module(".kernels.tasks")
    shared = plan.geometry[at.SHARED] + 2 * NARROW_LINE
    alone, once = shared + plan.geometry[at.SCRATCH], 0
    if not (plan.parallel or plan.parallel_packing or plan.geometry[at.UNPACKED]):
        once = plan.packed_elements + max(alone, 2 * NARROW_LINE + PACK_SCRATCH)
    if plan.parallel or complete is not None or alone * dtype.itemsize >= memory.LEAST_KEPT:
        alone = 0
    return Executable(
        plan, dtype, geometry, table, plan.geometry[at.SCRATCH], shared, plan.parallel, plan.packed_elements,
        plan.parallel_packing, layout, flat(np.empty(0, dtype)), pack, tasks, kernels.run_serial, kernels.run_parallel,
        kernels.pack_and_run, alone, once, complete,
    )  # fmt: skip


def functions(candidate: str, geometry: Sequence[int] | Array, dtype: str) -> tuple[int, int]:
    """The addresses of the functions that lay out the weights and that do the tasks, compiled for a dtype."""
    pack, tasks = begin(candidate, geometry, dtype)
    return 0 if pack is None else pack.address, tasks.address


def begin(candidate: str, geometry: Sequence[int] | Array, dtype: str) -> tuple[runtime.Native | None, runtime.Native]:
    """Begin to compile :func:`functions`."""
    signature = ("intp", "intp", *[f"{dtype}*"] * 3, "int64*", "int64*", f"{dtype}*")
    pack, tasks = driver(candidate).kernels(geometry)
    # What takes longest comes last: while Python writes it, LLVM makes the machine code of the other one.
    return None if pack is None else runtime.begin(pack, signature), runtime.begin(tasks, signature)


def _spatial(array: Array, problem: ConvProblem) -> list[int]:
    """The spatial strides that the kernels take, in elements: one for all pixels of a pointwise problem, or none."""
    where = slice(1, -1) if problem.channels_last else slice(2, None)
    strides = element_strides(array)[where]
    if not problem.pointwise:
        return list(strides)
    step = common_stride(array.shape[where], strides)
    return [] if step is None else [step]


def laid_out(array: Array, problem: ConvProblem) -> Array:
    """``array`` in the problem's dtype and by strides that the kernels can take; a copy where it is not."""
    array = prepared(array, problem.dtype)
    return array if _spatial(array, problem) else array.copy(order="C")


def _place_weight(geometry: Array, weight: Array) -> None:
    """Fill the slots that say where a weight of shape (filters, channels, *kernel) lies in its flat view."""
    filters, *strides = element_strides(weight)
    geometry[at.WEIGHT_START] = flat_start(weight)
    geometry[at.WEIGHT_FILTER] = filters
    geometry[at.WEIGHT_CHANNEL] = strides[0]
    if len(strides) > 1:
        geometry[at.WEIGHT_W - len(strides) + 2 : at.WEIGHT_W + 1] = strides[1:]
    geometry[at.WEIGHT_DENSE] = weight[0].flags.c_contiguous


def _dense(geometry: Array) -> bool:
    """Whether the pixels of an output channel lie one behind the other."""
    expected = 1
    for slot, size in ((at.OUT_STRIDE_W, at.OUT_W), (at.OUT_STRIDE_H, at.OUT_H), (at.OUT_STRIDE_D, at.OUT_D)):
        if geometry[size] > 1 and geometry[slot] != expected:
            return False
        expected *= int(geometry[size])
    return True
