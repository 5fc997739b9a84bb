"""Which algorithm serves which problem, and that a plan depends on nothing else."""

import dataclasses
import platform
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import conv_problems
from test_simd import WIDTHS

import numbaconv as nc
from numbaconv.algorithms.prices import EMERALD_RAPIDS, ZEN4
from numbaconv.algorithms.winograd_tiling import TILES
from numbaconv.kernels import geometry as at
from numbaconv.kernels.blocking import VECTOR_BYTES
from numbaconv.planner import ALGORITHMS, CANDIDATES, choose, driver, geometry_list, prepared

SUMS = {"direct", "im2col"}
#: Shapes of input and weight, other arguments, and what "auto" may choose: every other algorithm is expected to take
#: half as long again, or cannot serve.
PLANS = [
    ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, {"winograd"}),
    ((8, 128, 28, 28), (128, 128, 3, 3), {"padding": 1}, {"winograd"}),
    ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1, "precision": "exact"}, SUMS),
    ((1, 512, 14, 14), (512, 512, 3, 3), {"padding": 1}, {"winograd"}),
    ((1, 64, 112, 112), (128, 64, 3, 3), {"padding": 1, "stride": 2}, {"winograd", "direct"}),
    ((1, 256, 28, 28), (256, 256, 3, 3), {"padding": 2, "dilation": 2}, {"winograd"}),
    ((1, 64, 56, 56), (64, 64, 5, 5), {"padding": 2}, {"winograd"}),
    ((1, 64, 56, 56), (64, 64, 7, 7), {"padding": 3}, {"winograd"}),
    ((1, 128, 17, 17), (128, 128, 1, 7), {"padding": (0, 3)}, {"winograd"}),
    ((1, 64, 56, 56), (256, 64, 1, 1), {}, SUMS),
    ((1, 3, 224, 224), (64, 3, 3, 3), {"padding": 1}, {"winograd"} if VECTOR_BYTES == 64 else {"direct"}),
    ((1, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}, {"winograd", "direct"}),
    ((1, 3, 224, 224), (64, 3, 11, 11), {"stride": 4, "padding": 2}, {"winograd"}),
    ((1, 64, 56, 56), (128, 64, 5, 5), {"stride": 2, "padding": 2}, {"winograd"}),
    ((1, 16, 16, 16, 16), (16, 16, 3, 3, 3), {}, {"winograd"}),
    ((1, 16, 16, 16, 16), (16, 16, 3, 3, 3), {"stride": 2}, SUMS),
    ((1, 1, 32, 32), (8, 1, 3, 3), {"padding": "same"}, {"direct"}),
    ((1, 1, 1080, 1920), (1, 1, 3, 3), {}, {"direct"}),
    ((1, 1, 1080, 1920), (1, 1, 15, 15), {}, {"direct"}),
    ((1, 32, 112, 112), (32, 1, 3, 3), {"padding": 1, "groups": 32}, {"direct"}),
]


@pytest.mark.parametrize(("input", "weight", "arguments", "expected"), PLANS)
def test_auto(input, weight, arguments, expected):
    assert nc.explain(input, weight, **arguments).algorithm in expected


#: Shapes of an input with its channels last and of a weight, other arguments, and the candidates that may serve it.
CHANNELS_LAST = [
    ((1, 56, 56, 64), (64, 64, 1, 1), {}, ("direct_channels",)),
    ((1, 56, 56, 256), (128, 256, 1, 1), {}, ("direct_channels",)),
    ((1, 28, 28, 512), (256, 512, 1, 1), {"stride": 2}, ("direct_channels",)),
    ((1, 56, 56, 128), (128, 128, 3, 3), {"padding": 1, "stride": 2}, ("direct_channels", "winograd")),
    ((1, 224, 224, 3), (64, 3, 3, 3), {"padding": 1}, ("direct_channels",)),
    ((1, 224, 224, 3), (32, 3, 3, 3), {"padding": 1, "stride": 2}, ("direct_channels",)),
    ((1, 56, 56, 144), (144, 1, 3, 3), {"padding": 1, "groups": 144}, ("direct_channels",)),
    ((1, 56, 56, 64), (64, 64, 3, 3), {"padding": 1}, ("winograd",)),
]


@pytest.mark.parametrize("prices", [EMERALD_RAPIDS, ZEN4], ids=["Emerald Rapids", "Zen 4"])
@pytest.mark.parametrize(("input", "weight", "arguments", "expected"), CHANNELS_LAST, ids=str)
def test_channels_last(input, weight, arguments, expected, prices):
    """Lanes of channels, where Winograd saves nothing: pixels would be read, or stored, one by one."""
    problem = nc.explain(input, weight, data_format="NHWC", **arguments).problem
    costs = {
        name: driver(name).cost(prepared(problem, packed=True), problem.dtype.itemsize, tuple(prices.values()))
        for name in CANDIDATES
        if driver(name).unsupported(problem) is None
    }
    assert min(costs, key=costs.__getitem__) in expected, costs


@given(
    case=st.booleans().flatmap(lambda winograd: conv_problems(winograd=winograd)),
    algorithm=st.sampled_from(ALGORITHMS),
    precision=st.sampled_from(("exact", "standard", "fast")),
)
def test_plan(case, algorithm, precision):
    """A plan serves its problem, says why each other algorithm does not, and is the same the next time."""
    assume(case.input_shape[0] > 0)
    problem = case.plan().problem
    unsupported = {name: driver(name).unsupported(problem) for name in CANDIDATES}
    if algorithm == "winograd" and (unsupported[algorithm] or precision == "exact"):
        with pytest.raises(ValueError, match=re.escape(unsupported[algorithm] or "precision='exact'")):
            choose(problem, algorithm, precision)
        return
    plan = choose(problem, algorithm, precision)
    assert unsupported[plan.candidate] is None
    assert algorithm in ("auto", plan.algorithm, plan.candidate)
    assert plan.candidate.startswith(plan.algorithm)
    assert precision != "exact" or plan.algorithm != "winograd"
    reasons = dict(plan.rejected)
    assert len(reasons) == len(plan.rejected)
    assert {plan.candidate, *reasons} == set(CANDIDATES)
    for name, reason in reasons.items():
        assert reason == unsupported[name] if unsupported[name] else reason
    assert plan == choose(problem, algorithm, precision)

    text = str(plan)
    assert re.findall(r"algorithm  (\w+) +(.+)\n", text) == [(plan.candidate, plan.reason)]
    assert re.findall(r"rejected   (\w+) +(.+)\n", text) == list(plan.rejected)
    assert str(problem.output_shape) in text


def test_plan_is_frozen():
    plan = nc.explain((1, 3, 8, 8), (8, 3, 3, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.algorithm = "direct"
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.problem.batch = 2


def test_explain_describes_the_call():
    """From arrays as from shapes; unbatched input is a batch of one."""
    x, w, b = np.ones((3, 9, 20), np.float32), np.ones((8, 3, 3, 3), np.float32), np.ones(8, np.float32)
    plan = nc.explain(x, w, b, padding="same", activation="relu")
    assert plan.problem.output_shape == (1, *nc.conv2d(x, w, b, padding="same").shape)
    assert (plan.problem.bias, plan.problem.activation) == (True, "relu")
    assert plan.problem.dtype == np.float32
    assert nc.explain(x, w.astype(float)).problem.dtype == np.float64
    assert nc.explain((3, 9, 20), (8, 3, 3, 3)) == nc.explain(x[None], w)


@pytest.mark.parametrize(
    ("shapes", "arguments", "output", "flops", "moved"),
    [
        (((1, 1, 32, 32), (8, 1, 3, 3)), {"padding": "same"}, (1, 8, 32, 32), 2 * 8 * 1024 * 9, 4 * (1024 + 72 + 8192)),
        (((2, 6, 9), (4, 3, 2)), {"groups": 2, "stride": 3}, (2, 4, 3), 2 * 2 * 4 * 3 * 6, 4 * (108 + 24 + 24)),
        (((1, 2, 5, 6, 7), (3, 2, 1, 2, 3)), {"dilation": 2}, (1, 3, 5, 4, 3), 2 * 180 * 12, 4 * (420 + 36 + 180)),
    ],
)
def test_sizes(shapes, arguments, output, flops, moved):
    problem = nc.explain(*shapes, **arguments).problem
    assert (problem.output_shape, problem.flops, problem.bytes) == (output, flops, moved)


def test_threads_do_not_change_plans(run_python):
    """Neither Numba's setting nor the number of cores has a part in a plan, its blocking included."""
    calls = [(shapes[0], shapes[1], arguments) for *shapes, arguments, _ in PLANS]
    program = f"import numbaconv as nc\nfor x, w, options in {calls}:\n    print(nc.explain(x, w, **options).geometry)"
    assert run_python(program, NUMBA_NUM_THREADS="1") == run_python(program, NUMBA_NUM_THREADS="7")


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (7, 7)])
def test_auto_keeps_its_accuracy(channels, kernel):
    """Tiles that exceed 4 times plain summation's error with so few channels are left to those who ask for them."""

    def tile(geometry):
        return [geometry[slot + 1 - geometry[at.COLUMNS]] for slot in (at.TILE_H, at.TAPS_H)]

    def check(geometry, most):
        """The tile is one of those that may be used from ``most`` channels on."""
        one_axis = geometry[at.COLUMNS] or min(kernel) == 1
        most *= kernel[1] if geometry[at.COLUMNS] else 1  # what is summed
        assert tile(geometry) in [[m, r] for m, r, one, both in TILES if most >= (one if one_axis else both) > 0]

    problem = nc.explain((8, channels, 64, 64), (64, channels, *kernel)).problem
    geometry = geometry_list(problem)
    geometry[at.LENIENCY] = at.TILES_ACCURATE
    driver("winograd").block(geometry, 4)
    check(geometry, channels)
    shapes = (8, channels, 64, 64), (64, channels, *kernel)
    check(nc.explain(*shapes, algorithm="winograd").geometry, 10**6)
    fast = nc.explain(*shapes, algorithm="winograd", precision="fast").geometry
    assert tile(fast) in [[m, r] for m, r, *_ in TILES]


def test_fast_allows_more():
    shapes = (1, 64, 56, 56), (64, 64, 5, 5)
    assert "F(4x4, 5x5)" in nc.explain(*shapes, precision="fast").reason
    assert "F(4x4, 5x5)" not in nc.explain(*shapes).reason


@pytest.mark.skipif(VECTOR_BYTES < 64, reason="Numba is not restricted further")
def test_three_halves_of_a_vector_are_for_zen_4(run_python):
    """15x15 has 25 tiles of 3x3: three halves of a vector and one beside. Others have whole vectors."""
    program = (
        "import numbaconv as nc\n"
        "from numbaconv.kernels import geometry as at\n"
        "shapes = (1, 256, 15, 15), (256, 256, 5, 5)\n"
        "geometry = nc.explain(*shapes, padding=2, algorithm='winograd').geometry\n"
        "print(geometry[at.NR], geometry[at.BESIDE], geometry[at.BLOCKS])"
    )
    assert run_python(program, NUMBA_CPU_NAME="znver4").split() == ["24", "1", "1"]
    assert run_python(program, NUMBA_CPU_NAME="sapphirerapids").split()[0] in ("32", "48")


def test_long_kernels_take_tiles_of_seven():
    """0.89, 0.81 and 0.87 of the time that smaller tiles take (Zen 4)."""
    first = nc.explain((1, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3).reason
    assert "F(4x1, 4x1)" in first or VECTOR_BYTES < 64  # columns are for AVX-512
    assert "F(4x4, 4x4)" in nc.explain((1, 64, 56, 56), (64, 64, 7, 7), padding=3).reason
    assert "F(3x3, 5x5)" in nc.explain((1, 64, 56, 56), (64, 64, 5, 5), padding=2).reason
    assert "F(3x3, 4x4)" in nc.explain((1, 24, 56, 56), (64, 24, 7, 7), padding=3).reason  # too few channels for 4x4


def test_tiles_fit_the_phases():
    """Phases of 5 and 6 rows are two tiles of 3 high: 0.74 of the time that tiles of 2 or of 4 take (Zen 4)."""
    weight = (256, 512, 3, 3)
    assert "F(3x3, 3x3)" in nc.explain((1, 512, 33, 33), weight, padding=6, dilation=6).reason
    assert "F(4x4, 3x3)" in nc.explain((1, 512, 32, 32), weight, padding=4, dilation=4).reason


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is x86-64's")
def test_prices_of_avx2(run_python):
    """By the prices of AVX-512, tiles of 2 were chosen for the first (1.35 times as long), columns for the second."""
    calls = [((1, 256, 28, 28), (512, 256, 3, 3), {"padding": 1}), ((1, 3, 224, 224), (64, 3, 3, 3), {"padding": 1})]
    program = f"import numbaconv as nc\nfor x, w, options in {calls}:\n    print(nc.explain(x, w, **options).reason)"
    cpu, features, *_ = WIDTHS[32]
    tiles, first = run_python(program, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features).splitlines()
    assert "F(4x4, 3x3)" in tiles
    assert "F(" not in first
