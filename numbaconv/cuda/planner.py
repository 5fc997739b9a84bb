"""Which of the GPU's algorithms serves a job, and why: an ordered list that ends in one that serves everything.

No times are predicted. The first algorithm that has no objection is taken; where "auto" objects was measured (H200).
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Final

from ..planner import ALGORITHMS, check_names
from .algorithms import depthwise, direct, gemm, tensor, winograd
from .job import Device, Job

#: The algorithms in the order of preference, and the public name that each carries out.
CANDIDATES: Final[dict[str, tuple[ModuleType, str]]] = {
    "depthwise": (depthwise, "direct"),
    "tensor": (tensor, "im2col"),
    "winograd": (winograd, "winograd"),
    "gemm": (gemm, "im2col"),
    "direct": (direct, "direct"),
}


@dataclasses.dataclass(frozen=True)
class GpuPlan:
    """How a convolution is computed on a GPU. ``print(plan)`` explains it.

    Attributes
    ----------
    job : Job
        The problem and its arrays.
    candidate : str
        The algorithm.
    reason : str
        Why it was chosen.
    rejected : tuple of (str, str)
        Each other one and why it was not.
    """

    job: Job
    candidate: str
    reason: str
    rejected: tuple[tuple[str, str], ...]

    @property
    def algorithm(self) -> str:
        """The public name of the algorithm."""
        return CANDIDATES[self.candidate][1]

    def __str__(self) -> str:
        problem = self.job.problem
        size, kernel = ("x".join(map(str, each)) for each in (problem.input_size, problem.kernel_size))
        sizes = f"{problem.batch} x {problem.channels} x {size}, {problem.filters} filters of {kernel}"
        lines = [
            f"conv{problem.ndim}d {problem.dtype} on a GPU: {sizes}",
            f"  output     {problem.output_shape}",
            f"  algorithm  {self.candidate}: {self.reason}",
            *(f"  rejected   {name}: {why}" for name, why in self.rejected),
        ]
        return "\n".join(lines)


def choose(job: Job, device: Device, algorithm: str = "auto", precision: str = "standard") -> GpuPlan:
    """Plan a job.

    Raises
    ------
    ValueError
        For an unknown name, and where the algorithm asked for cannot serve the job.
    """
    check_names(algorithm, precision)
    named = {public for _, public in CANDIDATES.values()}
    if algorithm != "auto" and algorithm not in named:
        listed = ", ".join(repr(name) for name in ALGORITHMS if name == "auto" or name in named)
        raise ValueError(f"algorithm {algorithm!r} is not one of the GPU's; on a GPU it is one of {listed}")
    reasons: dict[str, str] = {}
    chosen: str | None = None
    for name, (module, public) in CANDIDATES.items():
        objection = module.unsupported(job, device)
        if objection is None:
            objection = module.imprecise(job, precision) if hasattr(module, "imprecise") else None
        if objection is None and algorithm == "auto" and hasattr(module, "unsuited"):
            objection = module.unsuited(job, precision)
        if objection is None and algorithm not in ("auto", public):
            objection = "not asked for"
        if objection is None and chosen is not None:
            objection = f"{chosen} is preferred"
        if objection is None:
            chosen = name
        else:
            reasons[name] = objection
    if chosen is None:
        why = "; ".join(f"{name}: {reasons[name]}" for name, (_, public) in CANDIDATES.items() if algorithm == public)
        raise ValueError(f"algorithm {algorithm!r} cannot serve this call on a GPU: {why}")
    merits = CANDIDATES[chosen][0].merits(job)
    return GpuPlan(job, chosen, merits if algorithm == "auto" else f"asked for; {merits}", tuple(reasons.items()))


def run(job: Job, device: Device, algorithm: str = "auto", precision: str = "standard") -> None:
    """Plan a job and launch its kernels."""
    if job.outputs:
        plan = choose(job, device, algorithm, precision)
        CANDIDATES[plan.candidate][0].run(job, device)
