"""What memory holds before a call does not slow it down: denormal numbers take a core a hundred cycles each."""

import platform

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

import numbaconv as nc
from numbaconv import execute, memory
from numbaconv.planner import CANDIDATES, choose
from numbaconv.problem import conv_problem
from numbaconv.tuning import operands, runner

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads MXCSR")
#: The flag of MXCSR that says that an instruction met a denormal number.
DENORMAL = 2

PROBLEMS = [
    ((1, 8, 7, 7), (24, 8, 3, 3), {"padding": 1}),
    ((2, 6, 14, 14), (10, 6, 3, 3), {}),
    ((1, 5, 28, 28), (9, 5, 3, 3), {"padding": 1}),
    ((1, 32, 11, 13), (40, 32, 3, 3), {"padding": 1}),
    ((1, 8, 30, 9), (3, 8, 5, 5), {"padding": 2}),
    ((2, 4, 12, 12), (5, 4, 7, 7), {"stride": 2, "padding": 3}),
    ((2, 48, 7, 7), (24, 6, 3, 3), {"stride": 2, "padding": 1, "groups": 8}),
    ((1, 20, 9, 9), (20, 1, 3, 3), {"padding": 1, "groups": 20}),
    ((1, 12, 9, 9), (12, 2, 5, 5), {"padding": 2, "groups": 6}),
    ((1, 7, 10, 10), (1, 7, 1, 1), {}),
    ((1, 40, 6, 6), (70, 40, 1, 1), {}),
    ((1, 3, 16, 16), (6, 3, 3, 3), {"dilation": 2}),
    ((1, 3, 16, 16), (6, 3, 3, 3), {"padding": 1, "padding_mode": "reflect"}),
]


def flags(name):
    """Make an instruction that stores MXCSR at, or loads it from, an address."""

    @intrinsic
    def instruction(typing_context, place):  # noqa: ARG001
        def generate(context, builder, signature, arguments):  # noqa: ARG001
            pointer = ir.IntType(8).as_pointer()
            function = builder.module.declare_intrinsic(name, (), ir.FunctionType(ir.VoidType(), [pointer]))
            builder.call(function, [builder.inttoptr(arguments[0], pointer)])
            return context.get_dummy_value()

        return types.none(types.intp), generate

    @numba.njit
    def call(place):
        instruction(place)

    return call


keep, take = flags("llvm.x86.sse.stmxcsr"), flags("llvm.x86.sse.ldmxcsr")


class Denormal:
    """NumPy, but what is not initialised is full of integers."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=float):
        array = np.empty(shape, dtype)
        array.view(np.uint8).reshape(-1, array.itemsize)[:, 0] = 1
        array.view(np.uint8).reshape(-1, array.itemsize)[:, 1:] = 0
        return array


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_kernels_compute_with_nothing_that_they_did_not_write(candidate, dtype, monkeypatch):
    for module in (execute, memory):
        monkeypatch.setattr(module, "np", Denormal())
    monkeypatch.setattr(memory, "LEAST_KEPT", memory.MOST_KEPT + 1)  # nothing is kept, and all is made anew
    register = np.zeros(1, np.uint32)
    served = 0
    for shape, weight, arguments in PROBLEMS:
        problem = conv_problem(2, shape, weight, dtype=np.dtype(dtype), **arguments)
        try:
            plan = choose(problem, candidate, packed=True)
        except ValueError:
            continue
        with nc.threads(1):
            call = runner(plan, True, operands(plan.problem))
            call()
            keep(register.ctypes.data)
            register[0] &= ~np.uint32(DENORMAL)
            take(register.ctypes.data)
            call()
            keep(register.ctypes.data)
        assert not register[0] & DENORMAL, problem
        served += 1
    assert served > 5
