"""The share after a window that ends without noise: paths of all three projections.

What is learned is put in by hand, as any functions of time, so that nothing is
minimised: the law has to hold for them too.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from dilaton.numerics.codegen.known import derive
from dilaton.numerics.codegen.snapshot import printed, printed_limit
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.share import vanishing_noise as vanishing
from dilaton.theory.models.model import VARIANCE_EXPLODING, Data, Model, two_modes
from dilaton.theory.phases import sampling
from dilaton.theory.windows.search import find_windows

POINT = {"p": 0.8, "sigma": 1.2, "n": 8, "n_plus": 5, "ridge_u": 0.1, "ridge_w": 0.1}
COUNTS = np.array([5.0, 3.0])
SIGMAS = 4.5  # standard errors of simulated paths
SAMPLED = 0.01  # shares of networks, and what is left of 1/sqrt(d)
CONVERGED = 2e-3  # the share with 40 steps, from its change when they are halved


def curves(s, switch=0.15, tilt=1.0):
    """Overlaps that saturate below a switch; the field grows as the noise vanishes."""
    above = s > switch
    return {
        "omega": np.where(above, s / (1.2 - s) ** 2, 0.0),
        "b": np.where(above, 0.4 - 0.2 * s, np.inf),
        "m": np.where(above, 0.8 - 0.2 * s, 0.25),
        "a_plus": np.where(above, 0.06, 0.12),
        "a_minus": tilt * np.where(above, -0.8 * s, 0.12),
    }


def bayes(s):
    """The population: the denoiser of noise 1 - s on two modes at +-s."""
    s = np.minimum(s, 1 - 1e-8)
    none, one = np.zeros_like(s), np.ones_like(s)
    omega, b = s / (1 - s) ** 2, np.log(4) / 2 * one
    return {"omega": omega, "b": b, "m": one, "a_plus": none, "a_minus": none}


def share(monkeypatch, learned, switch, count=40, **changes):
    """What the module makes of learned overlaps that are given."""
    model = Model(two_modes(), VARIANCE_EXPLODING, data=Data(samples=True))
    flow = printed(sampling.projected(model, find_windows(model)[0]))

    def given(system, s, params, backend):
        return {name: curve[None] for name, curve in learned(s).items()}

    monkeypatch.setattr(vanishing, "minimise", given)
    monkeypatch.setattr(vanishing, "STEPS", count)
    phase = SimpleNamespace(projected=flow, learned=flow)
    point = POINT | changes
    return vanishing.share_without_noise(phase, np.atleast_1d(switch), point, "scipy")


def simulated(learned, paths=20_000, steps=140, end=14):
    """P(nu > 0) of the flow of nu, g_+ and g_-, midpoint steps in -log(1 - s)."""
    ends = np.linspace(0, end, steps + 1)
    x = np.random.default_rng(4).standard_normal((3, paths))
    roots, half = np.sqrt(COUNTS), POINT["sigma"] / (2 * COUNTS) * np.array([1, -1])
    for start, h in zip(ends, np.diff(ends), strict=False):

        def rate(y, at):
            v = {k: float(f) for k, f in learned(-np.expm1(-at)).items()}
            zeta = roots * half * v["omega"]
            field = v["omega"] * y[0] + zeta @ y[1:] + min(v["b"], 400.0)
            push = np.array([v["m"], *(roots * [v["a_plus"], v["a_minus"]])])
            return push[:, None] * np.tanh(field) - y

        x = x + h * rate(x + h / 2 * rate(x, start + 1e-12), start + h / 2)
    found = np.mean(x[0] > 0)
    return found, np.sqrt(found * (1 - found) / paths)


def test_the_share_is_that_of_simulated_paths(monkeypatch):
    found, change = share(monkeypatch, curves, 0.15)
    known, error = simulated(curves)
    coarse, _ = share(monkeypatch, curves, 0.15, count=20)
    assert change == pytest.approx(abs(found - coarse))
    assert 1e-7 < change < CONVERGED
    room = SIGMAS * error + CONVERGED
    assert abs(found - known) < room
    other, _ = share(monkeypatch, lambda s: curves(s, tilt=-1.0), 0.15)
    assert abs(other - known) > room


@pytest.mark.parametrize("p", [0.8, 0.5])
def test_a_population_keeps_its_weight(monkeypatch, p):
    """Noise goes to 0, so every sample is at its mode: the share is p itself."""

    def learned(s):
        return bayes(s) | {"b": np.full_like(s, np.log(p / (1 - p)) / 2)}

    found, _ = share(monkeypatch, learned, 0.0, sigma=1e-9)
    assert found == pytest.approx(p, abs=CONVERGED)


def test_a_unit_that_saturates_all_along_pushes_everybody(monkeypatch):
    """nu(1) > 0 wherever F is: the unit is 1, so all of them are."""

    def learned(s):
        zero = np.zeros_like(s)
        return bayes(s) | {"omega": zero, "b": np.full_like(s, np.inf)}

    assert share(monkeypatch, learned, 1.0) == (1.0, 0.0)


def test_the_share_before_the_end_is_that_of_paths_until_then(monkeypatch):
    """At finite d the window ends earlier: a slow drift has not moved everybody yet."""

    def learned(s):
        one = np.ones_like(s)
        given = {"omega": 0.6 * one, "b": 0.05 * one, "m": 0.8 * one}
        return given | {"a_plus": 0 * one, "a_minus": 0 * one}

    at = 4.5
    limit, _ = share(monkeypatch, learned, 0.0)
    model = Model(two_modes(), VARIANCE_EXPLODING, data=Data(samples=True))
    flow = printed(sampling.projected(model, find_windows(model)[0]))
    phase, left = SimpleNamespace(projected=flow, learned=flow), np.exp(-at)
    found = vanishing.share_before_end(phase, np.zeros(1), POINT, "scipy", left)
    known, error = simulated(learned, end=at)
    room = SIGMAS * error + CONVERGED + left  # of the noise that is left
    assert abs(found - known) < room
    assert limit - found > 3 * room


@pytest.mark.slow
@pytest.mark.parametrize(("d", "generated"), [(1e3, 0.258), (3e3, 0.243), (1e4, 0.225)])
def test_networks_near_the_limit_as_log_d_grows(d, generated):
    """Shares of the networks of a study: n = 5, n_plus = 2, kappa = 2."""
    model = Model(two_modes(), VARIANCE_EXPLODING, data=Data(samples=True))
    phase = printed_limit(derive(model)).phases[0]
    point = {"p": 0.5, "sigma": 1.2, "n": 5, "n_plus": 2, "ridge_u": 0.3, "ridge_w": 1}
    found = minimise(phase.learned, [1.0], point, backend="scipy")
    left = 2 / np.sqrt(d)
    known = vanishing.share_before_end(phase, found.switches[0], point, "scipy", left)
    assert known == pytest.approx(generated, abs=SAMPLED)
