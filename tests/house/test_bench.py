"""The benchmark: its rivals solve the same problems, its table says what was run."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
LOOSE = 1e-6  # rivals at rtol 1e-8 agree with each other this well


@pytest.fixture(scope="module", autouse=True)
def from_the_root():
    """Let the package `benchmarks`, which is not installed, be imported."""
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.mark.parametrize("method", ["dop853", "taylor"])
def test_the_c_floor_and_scipy_solve_the_same_flow(tmp_path, method):
    from benchmarks import rivals
    from benchmarks.bench import sampling_rows
    from benchmarks.floor import Floor

    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    rows = sampling_rows(70)
    few = {k: v[:10] for k, v in rows.items()}
    floor = Floor.build(tmp_path, 1e-8)
    found = floor.run(rows["nu"], rows["p"], rows["kappa"], 1e-8, method)
    single = rivals.scipy_rows(few, 1e-8)
    stacked = rivals.scipy_stacked(few, 1e-8, 4)
    np.testing.assert_allclose(found[:10], single, atol=LOOSE)
    np.testing.assert_allclose(stacked, single, atol=LOOSE)


def test_heyoka_solves_the_same_flow():
    pytest.importorskip("heyoka")
    from benchmarks import rivals
    from benchmarks.bench import sampling_rows

    few = sampling_rows(10)
    single = rivals.scipy_rows(few, 1e-8)
    for solve in (rivals.heyoka_batches, rivals.heyoka_ensemble):
        np.testing.assert_allclose(solve(few, 1e-8), single, atol=LOOSE)


def test_the_training_rival_reaches_the_known_values():
    from benchmarks.rivals import scipy_training

    start = {"m": [0.3], "q": [0.5], "omega": [0.2], "r": [0.4], "b": [0.0]}
    params = {"p": 0.8, "kappa": 2.0, "s": 0.75}
    found = scipy_training(
        {k: np.array(v) for k, v in start.items()}, params, 5.0, 1e-8
    )
    expected = [1.07540, 1.15845, 0.79883, 0.65746, 0.34785]
    np.testing.assert_allclose(found[0], expected, atol=6e-6)


def test_the_stationary_rival_finds_the_known_minimum():
    from benchmarks.rivals import scipy_minima

    point = {"p": 13 / 16, "kappa": 1.5, "sigma": 1.0, "n": 16.0, "n_plus": 13.0}
    point |= {"ridge_u": 0.1, "ridge_w": 0.1}
    found = scipy_minima([point], np.array([1.0]))
    np.testing.assert_allclose(found[0, 0], [1.11736, 0.69352], atol=2e-5)


def test_what_is_done_sooner_is_called_again_in_its_turn(monkeypatch):
    from benchmarks import bench

    clock = iter(range(100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(bench, "TURN", 2.5)
    assert bench.turn(lambda: None) == [1.0] * 3
    monkeypatch.setattr(bench, "TURN", 0.5)
    assert bench.turn(lambda: None) == [1.0]


def test_methods_take_turns_and_every_row_is_reported(monkeypatch):
    from benchmarks import bench
    from benchmarks.bench import Method, measured, table

    monkeypatch.setattr(bench, "TURN", 0.0)
    calls = []
    methods = [
        Method(name, 10, lambda n=name: calls.append(n), lambda _: 2.0)
        for name in ("one", "two")
    ]
    rows = measured("toy", methods, 3)
    assert calls == ["one", "two"] + ["one", "two"] * 3
    assert [r.method for r in rows] == ["one", "two"]
    assert all(r.rate > 0 and r.spread >= 0 and r.error == 2.0 for r in rows)
    text = table(rows)
    assert text.splitlines()[0].split() == [
        "workload",
        "method",
        "rate",
        "/s",
        "ratio",
        "error/tol",
        "spread",
    ]
    assert "1.000" in text.splitlines()[1]


def test_rows_are_written_whole(tmp_path):
    from dataclasses import asdict

    from benchmarks.bench import Row, write_json

    path = tmp_path / "rows.json"
    write_json(path, [asdict(Row("toy", "one", 10.0, None, 0.1))])
    (row,) = json.loads(path.read_text())
    assert set(row) == {"workload", "method", "rate", "error", "spread"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_of_the_makefile_exists():
    assert importlib.util.find_spec("benchmarks.__main__") is not None
    assert "-m benchmarks" in (ROOT / "Makefile").read_text()
