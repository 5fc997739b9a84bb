"""Which algorithm serves a problem, and why: a pure function from a problem to a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from .algorithms.prices import DEFAULTS, RATE, USUAL, Prices
from .algorithms.sharing import images_together
from .forks import load_module
from .kernels import geometry as at
from .problem import ConvProblem

#: The drivers by name, which begins with the algorithm's; the preferred one first where two are expected to be equally
#: fast.
CANDIDATES: Final = ("winograd", "im2col", "direct_channels", "direct_pixels")
ALGORITHMS: Final = ("auto", "direct", "im2col", "winograd", "direct_channels", "direct_pixels")
PRECISIONS: Final = ("exact", "standard", "fast")
#: Vector multiply-adds below which one thread is as fast as several: starting a parallel region costs 4 us (omp), in
#: which one core of the design's machine computes 14,000 of them.
SERIAL_COST: Final = 40_000
#: Which of Winograd's tiles an algorithm and a precision allow.
_LENIENCY: Final = {"exact": at.TILES_ACCURATE, "standard": at.TILES_ACCURATE, "fast": at.TILES_ALL}
#: Bytes of packed weights, or of other copies, from which two threads make them faster than one.
PARALLEL_PACKING: Final = 400_000


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the planner knows of a machine. The defaults are those of one core of its kind of CPU."""

    #: Vector multiply-adds per second.
    rate: float = RATE
    #: What the cost models' prices are instead of the usual ones, where they were measured.
    prices: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def table(self) -> Prices:
        """A price for each slot of :mod:`numbaconv.algorithms.prices`."""
        return tuple({**DEFAULTS, **self.prices}.values()) if self.prices else USUAL


_PAD_CODES: Final = {
    "zeros": at.PAD_ZEROS,
    "reflect": at.PAD_REFLECT,
    "replicate": at.PAD_REPLICATE,
    "circular": at.PAD_CIRCULAR,
    "symmetric": at.PAD_SYMMETRIC,
}


def driver(name: str) -> ModuleType:
    """The host driver of a candidate; it imports its kernels only when they are asked for."""
    return load_module(f".algorithms.{name}")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a problem is computed. ``print(plan)`` explains it.

    Attributes
    ----------
    problem : ConvProblem
        What is computed.
    algorithm : str
        The chosen algorithm.
    candidate : str
        The driver that carries it out: direct summation has two, with pixels or with channels in the vector lanes.
    reason : str
        Why it was chosen.
    rejected : tuple of (str, str)
        Each other candidate and why it was not.
    cost : float
        Vector multiply-adds that the cost model expects of the kernel, without laying out the weights.
    seconds : float
        What one core is expected to take, with laying out the weights where that is part of the call.
    geometry : tuple of int
        The problem and its blocking, as the kernels take them (:mod:`numbaconv.kernels.geometry`), without the arrays'
        strides.

    Examples
    --------
    >>> import numbaconv as nc
    >>> plan = nc.explain((1, 64, 56, 56), (64, 64, 3, 3), padding=1, precision="exact")
    >>> plan.algorithm in ("direct", "im2col"), [name for name, why in plan.rejected if "exact" in why]
    (True, ['winograd'])
    """

    problem: ConvProblem
    algorithm: str
    candidate: str
    reason: str
    rejected: tuple[tuple[str, str], ...]
    cost: float
    seconds: float
    geometry: tuple[int, ...]

    @property
    def parallel(self) -> bool:
        """Whether several threads are worth starting."""
        return self.cost >= SERIAL_COST and self.geometry[at.TASKS] > 1

    @property
    def parallel_packing(self) -> bool:
        """Whether several threads are worth starting to lay the weights out."""
        return self.packed_bytes >= PARALLEL_PACKING

    @property
    def workspace(self) -> int:
        """Bytes of scratch of each thread."""
        return self.geometry[at.SCRATCH] * self.problem.dtype.itemsize

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        return self.packed_elements * self.problem.dtype.itemsize

    @property
    def packed_elements(self) -> int:
        """Elements of the packed weights: the weights, the bias and what else the algorithm keeps with them."""
        return self.geometry[at.PACKED]

    def __str__(self) -> str:
        problem = self.problem
        size = "x".join(map(str, problem.input_size))
        kernel = "x".join(map(str, problem.kernel_size))
        sizes = f"{problem.batch} x {problem.channels} x {size}, {problem.filters} filters of {kernel}"
        geometry = f"stride {problem.stride}, padding {problem.padding} {problem.padding_mode}"
        geometry += f", dilation {problem.dilation}, groups {problem.groups}"
        width = max(map(len, CANDIDATES))
        ways = [("algorithm", self.candidate, self.reason), *(("rejected", *way) for way in self.rejected)]
        rows = [
            ("geometry", geometry),
            ("output", str(problem.output_shape)),
            *((label, f"{name:{width}}  {why}") for label, name, why in ways),
            ("predicted", f"{_quantity(self.seconds)}s"),
            ("work", f"{_quantity(problem.flops)}FLOP summed directly"),
            ("moved", f"{_quantity(problem.bytes)}B read or written at least"),
            ("intensity", f"{problem.flops / problem.bytes:.3g} FLOP/B"),
            (
                "workspace",
                f"{_quantity(self.workspace)}B for each thread, {_quantity(self.packed_bytes)}B of packed weights",
            ),
            ("threads", f"{'several' if self.parallel else 'one'}, {self.geometry[at.TASKS]} task(s)"),
        ]
        lines = [f"conv{problem.ndim}d {problem.dtype}: {sizes}", *(f"  {label:11}{text}" for label, text in rows)]
        return "\n".join(lines)


def _quantity(number: float) -> str:
    """A number with a decimal prefix."""
    if 0 < number < 1:
        power = next((power for power in (1, 2) if number * 1000**power >= 1), 3)
        return f"{number * 1000**power:.3g} {' mun'[power]}"
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.0f} {prefix}" if prefix == "" else f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} P"


def geometry_list(problem: ConvProblem, together: bool = True) -> list[int]:
    """The problem as the kernels see it: three spatial dimensions, those it lacks of size 1. The rest is 0.

    The pixels of a pointwise problem are one row for each image or, ``together``, one of all where they have one pixel.
    """
    geometry = [0] * at.LENGTH
    geometry[at.BATCH] = problem.batch
    geometry[at.IMAGES] = 1
    geometry[at.GROUPS] = problem.groups
    geometry[at.CHANNELS] = problem.group_channels
    geometry[at.FILTERS] = problem.group_filters
    geometry[at.PAD_MODE] = _PAD_CODES[problem.padding_mode]
    geometry[at.FINISH] = at.FINISH_BIAS if problem.activation is None else at.FINISH_BIAS_RELU
    geometry[at.CHANNELS_LAST] = int(problem.channels_last)
    if problem.pointwise:
        images, rows, columns = images_together(problem.batch if together else 1, problem.pixels)
        geometry[at.BATCH], geometry[at.IMAGES] = problem.batch // images, images
        for slot in (at.IN_D, at.KERNEL_D, at.OUT_D, at.STRIDE_D, at.DILATION_D):
            geometry[slot : slot + 3] = [1, rows, columns] if slot in (at.IN_D, at.OUT_D) else [1, 1, 1]
        return geometry
    missing = 3 - problem.ndim
    triples: tuple[tuple[int, tuple[int, ...], int], ...] = (
        (at.IN_D, problem.input_size, 1),
        (at.KERNEL_D, problem.kernel_size, 1),
        (at.OUT_D, problem.output_size, 1),
        (at.STRIDE_D, problem.stride, 1),
        (at.DILATION_D, problem.dilation, 1),
        (at.PAD_D, tuple(before for before, _ in problem.padding), 0),
    )
    for slot, values, absent in triples:
        geometry[slot : slot + 3] = [absent] * missing + list(values)
    for axis in range(3):
        # These make no difference, however large they are.
        if geometry[at.OUT_D + axis] == 1:
            geometry[at.STRIDE_D + axis] = 1
        if geometry[at.KERNEL_D + axis] == 1:
            geometry[at.DILATION_D + axis] = 1
    return geometry


def prepared(
    problem: ConvProblem,
    algorithm: str = "auto",
    precision: str = "standard",
    packed: bool = False,
    together: bool = True,
) -> list[int]:
    """:func:`geometry_list` with what else the cost models look at."""
    geometry = geometry_list(problem, together)
    geometry[at.LENIENCY] = _LENIENCY[precision]
    if algorithm == "winograd" and precision != "fast":
        geometry[at.LENIENCY] = at.TILES_STANDARD
    geometry[at.REPACKED] = int(not packed)
    return geometry


def check_names(algorithm: Any, precision: Any) -> None:
    """Raise ValueError for an unknown algorithm or precision."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(map(repr, ALGORITHMS))}; got {algorithm!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}")


def choose(
    problem: ConvProblem,
    algorithm: str = "auto",
    precision: str = "standard",
    packed: bool = False,
    machine: Machine | None = None,
    measured: Mapping[str, float] | None = None,
    together: bool = True,
) -> Plan:
    """Plan a problem: a pure function of its arguments.

    Parameters
    ----------
    problem : ConvProblem
        What to compute; it must have at least one output and one product to sum.
    algorithm : {"auto", "direct", "im2col", "winograd", "direct_channels", "direct_pixels"}
        Direct summation comes with channels or with pixels in the vector lanes; "direct" takes the one expected to be
        faster. "auto" takes the algorithm that the cost model expects to be fastest.
    precision : {"exact", "standard", "fast"}
        "exact" never uses Winograd; "fast" lets "auto" use it for few channels, too.
    packed : bool
        Whether the weights are laid out once for many calls, so that this costs nothing.
    machine : Machine, optional
        What is known of the machine.
    measured : mapping of str to float, optional
        Seconds that candidates took: "auto" takes the fastest of them.
    together : bool
        Whether images of few pixels may be computed as rows, or pixels, of one.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For an unknown name, and where the algorithm asked for cannot serve the problem.
    """
    check_names(algorithm, precision)
    geometry = prepared(problem, algorithm, precision, packed, together)
    itemsize = problem.dtype.itemsize
    machine = machine or Machine()
    prices = machine.table()
    reasons: dict[str, str] = {}
    costs: dict[str, float] = {}
    packing: dict[str, float] = {}
    for name in CANDIDATES:
        module = driver(name)
        why_not = module.unsupported(problem)
        if why_not is None and name == "winograd" and precision == "exact":
            why_not = "precision='exact' does not allow winograd, whose transforms round more than summation does"
        if why_not is None:
            costs[name] = module.cost(geometry, itemsize, prices)
            packing[name] = 0 if packed else module.pack_cost(geometry, itemsize)
            costs[name] += packing[name]
        else:
            reasons[name] = why_not
    seconds = {name: cost / machine.rate for name, cost in costs.items()}
    suited = [name for name in costs if algorithm in ("auto", _algorithm(name), name)]
    if not suited:
        raise ValueError(f"algorithm {algorithm!r} cannot serve this call: {reasons[algorithm]}")
    how = "expected"
    if algorithm == "auto" and measured and set(measured) & set(suited):
        how = "measured"
        seconds.update({name: measured.get(name, float("inf")) for name in suited})
    chosen = min(suited, key=seconds.__getitem__)
    for name in costs:
        if name != chosen:
            versus = f"{_quantity(seconds[name])}s, {seconds[name] / seconds[chosen]:.2f} times as long"
            reasons[name] = f"{how} to take {versus}" if name in suited else f"not asked for (expected {versus})"
    driver(chosen).block(geometry, itemsize)
    geometry[at.TRANSFORM] *= chosen == "winograd"
    if chosen in ("direct_channels", "winograd") and not packed:
        driver(chosen).pack_in_tasks(geometry, itemsize)
    rejected = tuple((name, reasons[name]) for name in CANDIDATES if name != chosen)
    reason = f"{'asked for' if algorithm != 'auto' else f'{how} to be fastest'}, {_quantity(seconds[chosen])}s"
    if how == "expected":
        reason += f" on one core ({_quantity(costs[chosen])}vector multiply-adds)"
    if chosen == "winograd":
        reason = f"{driver(chosen).name(geometry)}, {reason}"
    cost = costs[chosen] - packing[chosen]
    return Plan(problem, _algorithm(chosen), chosen, reason, rejected, cost, seconds[chosen], tuple(geometry))


def _algorithm(candidate: str) -> str:
    """The algorithm that a driver carries out."""
    return candidate.split("_")[0]


def prepare(plan: Plan, geometry: Any) -> None:
    """Begin to compile what :func:`rows` has the addresses of."""
    begin = getattr(driver(plan.candidate), "prepare", None)
    if begin is not None:
        begin(geometry, plan.problem.dtype.itemsize)


def rows(plan: Plan, geometry: Any) -> Any:
    """The table of row starts that the plan's kernel takes; ``geometry`` is the plan's, with the arrays' strides."""
    return driver(plan.candidate).rows(geometry, plan.problem.dtype.itemsize)
