"""Warming up, the configuration, tuning and calibration, and the commands for them."""

import json
import re
from unittest import mock

import numpy as np
import pytest

import numbaconv as nc
from numbaconv import bench, calibration, execute, runtime, store
from numbaconv.__main__ import main
from numbaconv.algorithms.prices import DEFAULTS, OF_SEVERAL_THREADS, USUAL
from numbaconv.planner import CANDIDATES, Machine, choose, driver, prepared

PROBLEM = nc.explain((1, 64, 20, 20), (64, 64, 3, 3), padding=1).problem


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """An empty store of measurements, in a file of its own."""
    monkeypatch.setattr(store, "path", lambda: tmp_path / store.FILE)
    monkeypatch.setattr(store, "_kept", None)
    execute.forget_plans()
    yield tmp_path / store.FILE
    monkeypatch.undo()
    execute.forget_plans()


def again(monkeypatch):
    """What another process would read."""
    monkeypatch.setattr(store, "_kept", None)
    execute.forget_plans()


@pytest.mark.usefixtures("measured")
def test_tune_is_remembered(monkeypatch):
    plan = nc.tune(PROBLEM, seconds=0.001)
    assert "measured to be fastest" in plan.reason
    times = store.measured(PROBLEM, "standard", False)
    assert set(times) <= set(CANDIDATES)
    assert plan.candidate == min(times, key=times.__getitem__)
    assert all(why.startswith("measured to take") for name, why in plan.rejected if name in times)
    again(monkeypatch)
    assert nc.explain((1, 64, 20, 20), (64, 64, 3, 3), padding=1) == plan
    assert "measured" not in nc.explain((1, 64, 21, 20), (64, 64, 3, 3), padding=1).reason
    assert "measured" not in nc.explain((1, 64, 20, 20), (64, 64, 3, 3), padding=1, algorithm="im2col").reason


@pytest.mark.parametrize("fastest", ["direct_channels", "direct_pixels", "im2col", "winograd"])
@pytest.mark.usefixtures("measured")
def test_auto_takes_what_was_fastest(fastest):
    """Whichever it is, the result is that algorithm's; what was planned before is planned again."""
    x, w = np.random.default_rng(0).normal(size=(1, 64, 20, 20)), np.random.default_rng(1).normal(size=(64, 64, 3, 3))
    x, w = x.astype(np.float32), w.astype(np.float32)
    nc.conv2d(x, w, padding=1)
    store.remember_times(PROBLEM, "standard", False, {name: 1.0 + (name != fastest) for name in CANDIDATES})
    execute.forget_plans()
    assert nc.explain(x, w, padding=1).candidate == fastest
    expected = nc.conv2d(x, w, padding=1, algorithm=fastest)
    np.testing.assert_array_equal(nc.conv2d(x, w, padding=1), expected)


@pytest.mark.usefixtures("measured")
def test_tuning_keeps_to_the_precision():
    plan = nc.tune(PROBLEM, precision="exact", seconds=0.001)
    assert plan.algorithm != "winograd"
    assert "winograd" not in store.measured(PROBLEM, "exact", False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 1, "machines": []}',
        '{"format": 99, "machines": {}}',
        "\0\xff",
    ],
)
def test_damaged_measurements_are_none(text, measured, monkeypatch):
    measured.write_text(text)
    again(monkeypatch)
    assert store.machine() == Machine()
    assert store.measured(PROBLEM, "standard", False) == {}
    nc.tune(PROBLEM, seconds=0.001)
    again(monkeypatch)
    assert store.measured(PROBLEM, "standard", False)


def test_measurements_of_wrong_kinds_are_left_out(measured, monkeypatch):
    times = {"im2col": -1.0, "winograd": "x", "fft": 1.0, "direct_pixels": 1.0}
    problems = {store.key(PROBLEM, "standard", False): times}
    own = {"machine": {"rate": "fast", "prices": 3}, "problems": problems}
    measured.write_text(json.dumps({"format": 1, "machines": {store.machine_name(): own}}))
    again(monkeypatch)
    assert store.machine() == Machine()
    assert store.measured(PROBLEM, "standard", False) == {"direct_pixels": 1.0}


@pytest.mark.usefixtures("measured")
def test_calibration_changes_the_planner(monkeypatch):
    usual = choose(PROBLEM)
    products = {
        "winograd": ["winograd", "winograd narrow", "winograd half"],
        "im2col": ["gemm"],
        "direct_channels": ["narrow", "channels"],
    }
    dear = Machine(1e9, dict.fromkeys(products.get(usual.candidate, ["gemm"]), 100.0))
    store.remember_machine(dear)
    again(monkeypatch)
    assert store.machine() == dear
    plan = nc.explain((1, 64, 20, 20), (64, 64, 3, 3), padding=1)
    assert plan.candidate != usual.candidate
    assert choose(PROBLEM, machine=store.machine()) == plan
    calibration.forget()
    assert nc.explain((1, 64, 20, 20), (64, 64, 3, 3), padding=1) == usual


@pytest.mark.usefixtures("measured")
def test_calibrate(monkeypatch):
    monkeypatch.setattr(calibration, "LAYERS", 3)
    monkeypatch.setattr(calibration, "SECONDS", 1e-4)
    assert main(["calibrate"]) == 0
    machine = store.machine()
    assert list(machine.prices) == list(DEFAULTS)
    assert machine.prices["gemm"] == pytest.approx(DEFAULTS["gemm"])
    assert 1e7 < machine.rate < 1e11
    assert main(["calibrate", "--forget"]) == 0
    assert store.machine() == Machine()


@pytest.mark.usefixtures("measured")
def test_calibrating_on_one_thread_leaves_alone_what_several_pay(monkeypatch):
    """Of layers whose tiles threads share: see prices.OF_SEVERAL_THREADS."""
    problem = nc.problem.conv_problem(2, (1, 128, 14, 14), (128, 128, 3, 3), padding=1)
    assert all(calibration.counts(problem, "winograd")[slot] > 0 for slot in OF_SEVERAL_THREADS)
    monkeypatch.setattr(calibration, "LAYERS", 1)
    monkeypatch.setattr(calibration, "SECONDS", 1e-4)
    monkeypatch.setattr(calibration, "layer", lambda _number: problem)
    found = calibration.calibrate()
    changes = np.array(found.table()) / USUAL  # by as much where nothing was seen: all are in multiply-adds
    assert np.ptp(np.log(changes[[*OF_SEVERAL_THREADS]])) < 1e-12
    assert np.ptp(np.log(changes)) > 1e-6


def test_a_fit_finds_the_prices():
    """Of a machine that does as the cost models say, with other prices; a layer that was interrupted does no harm."""
    random = np.random.default_rng(0)
    machine = Machine(2e9, {**DEFAULTS, "channels": 1.4, "winograd": 0.6, "cut vector": 20.0})
    rows, layers = [], []
    for number in range(80):
        for name in CANDIDATES:
            if driver(name).unsupported(calibration.layer(number)) is None:
                rows.append(calibration.counts(calibration.layer(number), name))
                layers.append(number)
    seconds = np.array(rows) @ machine.table() / machine.rate * random.uniform(1, 1.01, len(rows))
    seconds[10] *= 5
    with mock.patch.object(calibration, "TRUST", 0.01):  # what the layers say, however few they are
        found = calibration.fit(np.array(rows), seconds, np.array(layers))
    expected = np.array(rows) @ found.table() / found.rate
    right = np.abs(np.log(expected / (np.array(rows) @ machine.table() / machine.rate))) < 0.1
    assert right.mean() > 0.95
    for name in ("channels", "winograd"):
        assert found.prices[name] == pytest.approx(machine.prices[name], rel=0.1)
    chosen = [choose(calibration.layer(number), machine=found).candidate for number in range(80)]
    wanted = [choose(calibration.layer(number), machine=machine).candidate for number in range(80)]
    assert sum(a == b for a, b in zip(chosen, wanted, strict=True)) > 75
    # The usual prices count as well: what is found is nearer to the machine's than they are.
    found = calibration.fit(np.array(rows), seconds, np.array(layers))
    for name in ("channels", "winograd"):
        wanted_price = machine.prices[name]
        assert abs(np.log(found.prices[name] / wanted_price)) < abs(np.log(DEFAULTS[name] / wanted_price))


def test_costs_are_counts_times_prices():
    for number in range(20):
        problem = calibration.layer(number)
        for name in CANDIDATES:
            if driver(name).unsupported(problem) is None:
                cost = driver(name).cost(prepared(problem, packed=True), 4, USUAL)
                assert np.dot(calibration.counts(problem, name), USUAL) == pytest.approx(cost)


def test_a_plan_says_what_it_costs():
    """The command of the README, and every figure's arithmetic."""
    plan = nc.explain((1, 64, 56, 56), (64, 64, 3, 3), padding=1)
    text = str(plan)
    assert plan.seconds == pytest.approx(3.4e6 / 3.5e9, rel=0.5)
    assert f"intensity  {plan.problem.flops / plan.problem.bytes:.3g} FLOP/B" in text
    columns = {re.match(r"  \w+ +", line).end() for line in text.splitlines()[1:]}
    assert columns == {13}


def test_explain_command(capsys):
    for separator in "x,":
        shapes = [separator.join(map(str, shape)) for shape in ((1, 64, 56, 56), (64, 64, 3, 3))]
        assert main(["explain", *shapes, "--padding", "1"]) == 0
        assert capsys.readouterr().out == f"{nc.explain((1, 64, 56, 56), (64, 64, 3, 3), padding=1)}\n"


@pytest.mark.usefixtures("measured")
def test_tune_command(capsys):
    assert main(["tune", "1x8x9x9", "8x8x3x3", "--layer", "--seconds", "0.001"]) == 0
    assert "measured to be fastest" in capsys.readouterr().out
    assert main(["tune", "1x8x9x9", "8x8x3x3", "--seconds", "0"]) == 2
    assert "seconds must be positive" in capsys.readouterr().err


def test_warmup():
    """After it no usual call compiles anything."""
    seen = []
    nc.warmup(progress=lambda *state: seen.append(state))
    assert [done for done, _, _ in seen] == list(range(len(seen)))
    assert seen[-1][:2] == (len(seen) - 1, len(seen) - 1)
    before = len(runtime.compilations)
    assert nc.warmup() == 0
    x, w = np.ones((1, 32, 50, 50), np.float32), np.ones((32, 32, 3, 3), np.float32)
    for algorithm in ("auto", *CANDIDATES):
        nc.conv2d(x, w, algorithm=algorithm)
        nc.Conv2d.from_weight(w, algorithm=algorithm)(x)
    nc.conv2d(x, np.ones((32, 1, 5, 5), np.float32), groups=32)
    nc.conv2d(x[:, :1, :8, :8], w[:, :1])
    nc.signal.convolve2d(x[0, 0], w[0, 0])
    assert len(runtime.compilations) == before


def test_config(capsys):
    assert main(["config"]) == 0
    printed = capsys.readouterr().out
    for label in (
        "numbaconv",
        "Python",
        "numpy",
        "numba",
        "CPU",
        "SIMD",
        "threads",
        "cache folder",
        "this process",
        "GPU",
    ):
        assert re.search(rf"^{label}  +\S", printed, re.MULTILINE), label
    assert f"{runtime.vector_bytes()} bytes" in printed
    assert runtime.threading_layer() in printed
    nc.show_config()
    assert capsys.readouterr().out.splitlines()[0] == printed.splitlines()[0]


def test_bench(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib, which is an extra")
    picture = tmp_path / "bench.png"
    assert main(["bench", "--quick", "--output", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "SciPy" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bench_without_extras(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "_installed", lambda _name: None)
    assert main(["bench", "--quick", "--output", str(tmp_path / "bench.png")]) == 0
    printed = capsys.readouterr().out
    assert "A finer table needs rich: python -m pip install" in printed
    assert "No picture: matplotlib is not installed" in printed
    assert not (tmp_path / "bench.png").exists()
    assert main(["bench", "--output", str(tmp_path / "none" / "bench.png")]) == 2


def test_a_wrong_contestant_has_no_time(monkeypatch):
    calls = {"numbaconv": lambda: np.ones(3), "SciPy": lambda: np.zeros(3), "torch": lambda: np.ones(3) * (1 + 1e-6)}
    monkeypatch.setattr(bench, "contestants", lambda _case, _threads: dict(calls))
    assert set(bench.measure(bench.CASES[0], 1, 0.0).seconds) == {"numbaconv", "torch"}
