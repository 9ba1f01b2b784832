"""Loops that Python runs for few rows, and numba compiles for many: the same bits."""

import numpy as np
import pytest
from dilaton.numerics.codegen import tiers
from dilaton.numerics.codegen.parameters import Solver
from dilaton.numerics.minima.minimise import _loops, minimise, minimise_in_parts
from dilaton.numerics.share.reduced import sample_share
from dilaton.theory.derive import derive
from dilaton.theory.models.model import Data, Model, two_modes

NOISY = {
    "kappa": np.array([0.3, 2.0, 1.0, 4.0, 2.0]),
    "n": np.array([16.0, 128.0, 1e4, 40.0, 3e5]),
    "n_plus": np.array([9.0, 102.0, 5e3, 39.0, 2e5]),
    "ridge_u": np.array([1e-5, 2.0, 1e-3, 0.2, 1.0]),
    "ridge_w": np.array([1e-4, 2.0, 1e-1, 3.0, 1e-6]),
}
ALONE = {"p": 0.8, "sigma": 1.0}
WORTH = 500
TIMES = [0.0, 1e-4, 0.3, 0.75, 1.0]


@pytest.fixture(scope="module")
def phase():
    return derive(Model(two_modes(), data=Data(samples=True))).phases[0]


def followed(phase, monkeypatch, compiled):
    """Every number that is found of the rows."""
    monkeypatch.setattr(tiers.Loops, "compiled", lambda loops, rows: compiled)
    found = [minimise(phase.learned, TIMES, ALONE | NOISY)]
    found.append(minimise_in_parts(phase.learned, ALONE | NOISY, 21))
    shares = sample_share(phase, found[0], ALONE | NOISY, Solver("numba", 1e-8))
    return [value for each in found for value in vars(each).values()] + [*shares]


def test_python_and_machine_code_give_the_same_bits(phase, monkeypatch):
    plain = followed(phase, monkeypatch, False)
    for mine, other in zip(plain, followed(phase, monkeypatch, True), strict=True):
        np.testing.assert_array_equal(mine, other)
    system = phase.learned
    held = system.unknowns + tuple(eq.lhs for eq in system.observables)
    loops = _loops(len(system.unknowns), len(held), True)
    assert "by_machine" in vars(loops)
    assert tiers.is_compiled(loops._source, loops._title, "follow")


@pytest.fixture
def loops():
    return tiers.Loops((), "follow", {"SIZE": 1}, WORTH)


def test_loops_are_compiled_when_they_are_worth_it(loops):
    assert not loops.compiled(WORTH - 1)
    assert not loops.compiled(1)
    assert loops.compiled(1)
    assert loops.compiled(1)


def test_lanes_full_of_rows_count_as_one():
    loops = tiers.Loops((), "march", {"SIZE": 1}, WORTH, lanes=128)
    assert not loops.compiled(128 * (WORTH - 1))
    assert not loops.compiled(1)
    assert loops.compiled(1)


def test_loops_that_are_compiled_already_are_taken(loops, monkeypatch):
    monkeypatch.setattr(tiers, "is_compiled", lambda *what: True)
    assert loops.compiled(1)
    other = tiers.Loops((), "follow", {"SIZE": 2}, WORTH)
    monkeypatch.undo()
    assert not other.compiled(1)


def test_floats_of_python_divide_and_take_roots_as_machine_code_does():
    space = tiers._plain()
    with np.errstate(all="ignore"):
        assert space["log"](0.0) == -np.inf
        assert np.isnan(space["log"](-1.0))
        assert np.isnan(space["sqrt"](-1.0))
        assert 1.0 / space["sqrt"](0.0) == np.inf
        assert space["exp"](-1e4) == 0.0
