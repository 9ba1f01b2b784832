"""The best grid: its slopes by differences, its numbers by a sampler written apart."""

import numpy as np
import pytest
from dilaton.errors import ModelError
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.share.best_grid import _Goal, best_grid
from dilaton.numerics.share.rules import ExactFlow
from dilaton.theory.derive import derive
from dilaton.theory.models.spec import parse_spec

from ...cases import POPULATION, PRODUCT
from .test_rules import run_left, share_above_zero

SPEC = parse_spec(POPULATION).replace(kappa=3.0)


SLOW_PRODUCT = pytest.param(PRODUCT, marks=pytest.mark.slow, id="two")


@pytest.mark.parametrize("text", [pytest.param(POPULATION, id="one"), SLOW_PRODUCT])
def test_slopes_are_differences(text):
    spec, d = parse_spec(text), 1e4
    limit = derive(spec.model)
    point = complete(limit, spec.values) | {"d": d}
    goal = _Goal(limit, point, ExactFlow(limit, point))
    theta = np.array([-5.0, 0.1, 0.3, 0.2, 0.5, 0.7])
    _, slope = goal.with_slope(theta)
    step = 1e-5
    for k, unit in enumerate(np.eye(len(theta))):
        up, down = (goal.with_slope(theta + s * step * unit)[0] for s in (1, -1))
        # central differences: step**2 and rounding over step
        assert (up - down) / (2 * step) == pytest.approx(slope[k], rel=1e-5, abs=1e-5)


def test_the_best_grid_beats_the_dilation_on_both_numbers():
    found = best_grid(SPEC, 1e6, 20, ["dilated", "entropic", "lipschitz"])
    assert abs(found["share_plus"] - 0.8) < 0.817 - 0.8
    assert 1 - found["bulk_std"] < 1 - 0.879
    tau = np.array(found["tau"])
    assert len(tau) == 21
    assert (tau[0], tau[-1]) == (0, 1)
    assert np.all(np.diff(tau) > 0)
    share = share_above_zero(lambda x: run_left(x, tau, 1e3))
    assert found["share_plus"] == pytest.approx(share, abs=1e-7)
    assert found["bulk_std"] == pytest.approx(run_left(1.0, tau, 1e-9), rel=1e-7)
    gains = {row["grid"]: row["gain"] for row in found["compared"]}
    assert gains["dilated"] > 1.2
    assert gains["lipschitz"] > 2
    assert gains["entropic"] > 20  # it loses the weight


def test_a_best_grid_needs_steps():
    with pytest.raises(ModelError, match="`steps` must be a whole number from 3"):
        best_grid(SPEC, 1e4, 2)
