"""The best density: a convex problem with a certificate; families."""

import numpy as np
import pytest
from dilaton.errors import ModelError
from dilaton.numerics.times.best import (
    Shares,
    best_density,
    best_in_family,
    family_goal,
    time_goal,
)
from dilaton.numerics.times.table import learning_times, other_times
from dilaton.theory.models.spec import parse_spec

from ...cases import TWO_MODES
from .test_learning_times import WEAK

CELLS = 0.02  # a density of steps is judged at the middles of its cells
SLOPE = 1e-6  # central differences

SOME = Shares(1.0, 1.0, 0.3)


@pytest.fixture(scope="module")
def spec():
    return parse_spec(TWO_MODES)


@pytest.fixture(scope="module")
def best(spec):
    return best_density(spec, 1024, "data", within=0.02)


def test_the_best_density_has_the_times_it_says(spec, best):
    args = (spec, [1024], [best["density"]], ["data"])
    (row,) = learning_times(*args, within=0.02)
    times = [row["time"], *(other["time"] for other in other_times(*args))]
    np.testing.assert_allclose(times, best["times"], rtol=CELLS)
    assert best["gap"] < 1e-6
    assert best["gain"] > 10


def test_no_named_density_is_better(spec, best):
    for text in ("shift:sqrt(d)", "dilated", "shift:8", "logit-normal:-2:1", "log-snr"):
        args = (spec, [1024], [text], ["data"])
        (row,) = learning_times(*args, within=0.02)
        others = [other["time"] for other in other_times(*args)]
        assert max(row["time"], *others) > best["goal"]


def test_the_variance_takes_its_share(spec, best):
    alone = best_density(spec, 1024, "data", within=0.02, shares=Shares(1, 1, 0))
    assert alone["masses"]["weights"] > 0.999
    assert 0.3 < best["masses"]["weights"] < 0.5
    assert alone["goal"] < best["goal"]


def test_the_slowest_feature_takes_nearly_all():
    """The weak feature is slower by d/|mu|^2: the strong one is learned by the way."""
    found = best_density(parse_spec(WEAK), 1e6, "data", within=0.02)
    masses = found["masses"]
    assert masses["weights-1"] + masses["weights-2"] > 0.9
    assert found["times"][1] == pytest.approx(found["goal"], rel=0.1)
    assert len(found["times"]) == 5  # two weights, two directions, the variance


def test_the_gradient_in_a_free_density(spec):
    tau = 1 / (1 + np.exp(-np.linspace(-8, 2, 12)))
    goal = time_goal(spec, 300, "velocity", SOME, within=0.02, nodes=tau)
    weight = np.linspace(1, 2, 12) / 18
    value, slope = goal.value(weight)
    for i in (0, 5, 9):
        step = 1e-6 * np.eye(12)[i]
        up, down = goal.value(weight + step)[0], goal.value(weight - step)[0]
        assert slope[i] == pytest.approx((up - down) / 2e-6, rel=SLOPE, abs=1e-6)
    assert weight @ slope == pytest.approx(-value)  # degree -1


def test_the_best_kappa(spec):
    found = best_in_family(spec, 1024, "kappa", "data", SOME, within=0.02)
    goal = family_goal(spec, 1024, "kappa", "data", SOME, within=0.02)
    for theta in (0.99 * found["theta"], 1.01 * found["theta"]):
        assert goal(theta) > found["goal"]
    assert found["gain"] > 10


def test_what_is_refused(spec):
    with pytest.raises(ModelError, match="`variance` must be from 0"):
        best_density(spec, 100, "data", within=0.02, shares=Shares(1, 1, -1))
    even = spec.replace(p=0.5)
    with pytest.raises(ModelError, match="something to learn"):
        best_density(even, 100, "data", within=0.02, shares=Shares(1, 0, 0))
    with pytest.raises(ModelError, match="`family` must be one of"):
        best_in_family(spec, 100, "kapa", "data", SOME, within=0.02)
