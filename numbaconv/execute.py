"""Runs problems. Every public call ends here: one dictionary of plans, one way to the kernels.

A call's key is all that its plan depends on: shapes, strides, dtypes and options. A key met before skips validation,
planning and the layout of memory, so that a small convolution costs little more than its kernel.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from . import memory, runtime, store
from .arrays import (
    ALIGNED_BYTES,
    Array,
    as_array,
    check_out,
    check_real,
    common_stride,
    element_strides,
    fill,
    flat,
    flat_start,
    new_array,
    prepared,
    result_dtype,
)
from .forks import load_module
from .kernels import geometry as at
from .kernels.blocking import NARROW_LINE, PACK_SCRATCH, UNDONE
from .lowering import Lowering, lowering
from .planner import Plan, check_names, choose, driver, prepare, rows
from .problem import ConvProblem, conv_problem

#: Calls that are remembered; beyond that all are forgotten and planned again.
CALLS_KEPT: Final = 4096


class Options(NamedTuple):
    """The arguments of a convolution beside its arrays, as the caller gave them."""

    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: Any = 1
    algorithm: Any = "auto"
    precision: Any = "standard"
    data_format: Any = None
    padding_mode: Any = "zeros"
    activation: Any = None


#: Options of a tuple of all of them, in half of the time: a fifth of a microsecond.
make_options: Final[Callable[[tuple[Any, ...]], Options]] = functools.partial(tuple.__new__, Options)


class How(NamedTuple):
    """The options that do not change what is computed but how, and what is done to it in the end."""

    algorithm: str = "auto"
    precision: str = "standard"
    activation: str | None = None


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
    sizes = tuple(plan.geometry[slot] for slot in (at.GROUPS, at.FILTERS, at.MR, at.TRANSFORM))
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


def _laid_out(array: Array, problem: ConvProblem) -> Array:
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


@dataclasses.dataclass(frozen=True)
class Call:
    """What is remembered of a call: its problem and, where there is something to compute, how."""

    problem: ConvProblem
    shape: tuple[int, ...]  # of the output, batched
    dtype: np.dtype[Any]
    executable: Executable | None
    small: bool  # the output needs no particular alignment
    input_fits: bool  # the kernels can take the input as it is
    weight_fits: bool
    output_fits: bool


class LoweredCall(NamedTuple):
    """What is remembered of a call in a dtype that no kernel has: its problem, and how another one computes it."""

    problem: ConvProblem
    lower: Lowering


_calls: dict[Any, Any] = {}


class Layout:
    """How packed weights are laid out: one object for all that are alike, found faster in a dictionary than a tuple."""


#: By what they stand for; those of plans that are kept and of weights that layers have packed.
_layouts: weakref.WeakValueDictionary[Any, Layout] = weakref.WeakValueDictionary()


def part_of_key(value: Any) -> Any:
    """An argument as part of a dictionary's key: equal keys mean equal calls.

    1, 1.0 and True are equal keys to Python, but only the first is a stride: all that is not exactly an int or a str
    carries its type.
    """
    if type(value) is int or type(value) is str or value is None:
        return value
    if isinstance(value, (tuple, list)):
        return tuple([part_of_key(item) for item in value])
    return type(value), repr(value)


def options_key(options: Options) -> Any:
    """The options as part of a key, without looking at each of them where the numbers are plain integers."""
    stride, padding, dilation, groups, algorithm, _, _, _, _ = options
    if int is type(stride) is type(padding) is type(dilation) is type(groups) and type(algorithm) is str:
        return options
    return part_of_key(options)


def describe(
    ndim: int, x: Array, weight: Array, bias: Array | None, options: Options, dtype: Any, packed: bool = False
) -> tuple[ConvProblem, Plan | None]:
    """Validate and plan a call; the plan is None where the output is empty or nothing but the bias."""
    computed = result_dtype({"input": x, "weight": weight, "bias": bias}, dtype)
    problem = problem_of(ndim, x, weight, bias, options, computed)
    check_names(options.algorithm, options.precision)
    if problem.depth == 0 or 0 in problem.output_shape:
        return problem, None
    lower = lowering(computed)
    planned = problem if lower is None else lower.problem(problem)
    measured = store.measured(planned, options.precision, packed) if options.algorithm == "auto" else None
    plan = choose(planned, options.algorithm, options.precision, packed, store.machine(), measured)
    return problem, plan


def forget_plans() -> None:
    """Plan every call again, as after a measurement."""
    _calls.clear()


def problem_of(ndim: int, x: Any, weight: Any, bias: Any, options: Options, dtype: np.dtype[Any]) -> ConvProblem:
    """The convolution that a call asks for."""
    problem = conv_problem(
        ndim, x.shape, weight.shape, None if bias is None else bias.shape,
        stride=options.stride, padding=options.padding, dilation=options.dilation, groups=options.groups,
        data_format=options.data_format, padding_mode=options.padding_mode, activation=options.activation, dtype=dtype,
    )  # fmt: skip
    check_real(options.activation, dtype)
    return problem


def convolve(
    ndim: int,
    input: Any,
    weight: Any,
    bias: Any,
    options: Options,
    dtype: Any,
    out: Array | None,
    packs: dict[Any, Any] | None = None,
    recorder: Any = None,
) -> Array:
    """The body of ``conv{ndim}d``; :func:`numbaconv.conv2d` documents it.

    ``packs`` is where a layer keeps its packed weights, by how they are laid out; a plain call packs them each time.
    ``recorder`` is told what was done (``recipes.Recorder``).
    """
    x = input if type(input) is np.ndarray else as_array("input", input)
    w = weight if type(weight) is np.ndarray else as_array("weight", weight)
    b = None if bias is None else as_array("bias", bias)
    unbatched = x.ndim == ndim + 1
    if unbatched:
        x = x[None]
    result: Any = out
    if unbatched and isinstance(out, np.ndarray):
        result = out[None]
    key = (
        ndim, x.shape, x.strides, x.dtype, x.flags.aligned, w.shape, w.strides, w.dtype, w.flags.aligned,
        None if b is None else (b.shape, b.dtype),
        (result.shape, result.strides, result.dtype, result.flags.aligned) if isinstance(result, np.ndarray) else None,
        None if dtype is None else part_of_key(dtype), options_key(options), packs is None,
    )  # fmt: skip
    try:
        call = _calls.get(key)
    except TypeError:  # a list where a name belongs, say; what it is will be said below
        key = (*key[:-2], part_of_key(options), packs is None)
        call = _calls.get(key)
    if call is None:
        lower = lowering(result_dtype({"input": x, "weight": w, "bias": b}, dtype), options.activation)
        if lower is not None:
            call = LoweredCall(problem_of(ndim, x, w, b, options, lower.dtype), lower)
            remember(key, call)
    if isinstance(call, LoweredCall):
        if recorder is not None:
            recorder.give_up()
        return _lowered(call, (x, w, b), options, out, result, unbatched, packs)
    if call is None:
        problem, plan = describe(ndim, x, w, b, options, dtype, packs is not None)
        shape, kind = problem.output_shape, problem.dtype
    else:
        problem, shape, kind = call.problem, call.shape, call.dtype
    if out is None:
        result = np.empty(shape, kind) if call is not None and call.small else new_array(shape, kind)
    else:
        check_out(result, shape, kind, {"input": x, "weight": w, "bias": b})
    if call is None or not call.input_fits:
        given, x = x, _laid_out(x, problem)
    if call is None or not call.weight_fits:
        given_weight, w = w, prepared(w, kind)
    target = result if call is not None and call.output_fits else _laid_out(result, problem)
    if call is None:
        runner = None if plan is None else executable(plan, x, w, target)
        small = result.nbytes < ALIGNED_BYTES
        call = Call(problem, shape, kind, runner, small, x is given, w is given_weight, target is result)
        remember(key, call)
    if call.executable is None:
        fill(target, problem.channels_last, b, problem.activation)
    elif packs is None:
        call.executable.call(x, w, b, target)
    else:
        call.executable.run(x, _packed(call.executable, w, b, packs), target)
    if recorder is not None:
        if call.executable is not None and call.input_fits and call.weight_fits and call.output_fits:
            recorder.convolution(call.executable, x, w, b, target, packs is not None)
        else:
            recorder.give_up()
    if target is not result:
        result[...] = target
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def recall(key: Any) -> Any:
    """What :func:`remember` was given under an equal key, or None."""
    try:
        return _calls.get(key)
    except TypeError:  # a list where a name belongs, say
        return None


def remember(key: Any, value: Any) -> None:
    """Keep something that follows from plans as long as they are kept."""
    if len(_calls) >= CALLS_KEPT:
        _calls.clear()
    _calls[key] = value


def _lowered(
    call: LoweredCall,
    arrays: tuple[Array, Array, Array | None],
    options: Options,
    out: Array | None,
    result: Array | None,
    unbatched: bool,
    packs: dict[Any, Any] | None,
) -> Array:
    """:func:`convolve` in a dtype that no kernel has; ``result`` is ``out`` with a batch."""
    x, w, b = arrays
    problem, lower = call
    if result is None:
        result = new_array(problem.output_shape, lower.dtype)
    else:
        check_out(result, problem.output_shape, lower.dtype, {"input": x, "weight": w, "bias": b})
    axis = -1 if problem.channels_last else 1
    computed = convolve(
        problem.ndim, lower.channels(x, problem.groups, axis), lower.weight(w, problem.groups),
        None if b is None else lower.channels(b, problem.groups, 0),
        options._replace(activation=lower.activation(options.activation)), None, None,
        None if packs is None else packs.setdefault(lower.dtype, {}),
    )  # fmt: skip
    lower.store(computed, result, problem.groups, axis, options.activation)
    if out is not None:
        return out
    answer: Array = result[0] if unbatched else result
    return answer


def _packed(executable: Executable, weight: Array, bias: Array | None, packs: dict[Any, Array]) -> Array:
    """The packed weights: from ``packs``, or made now."""
    packed = packs.get(executable.layout)
    if packed is None:
        packed = packs[executable.layout] = executable.pack_weights(weight, bias)
    return packed
