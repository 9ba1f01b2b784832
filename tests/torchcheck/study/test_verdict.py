"""Extrapolation judged by exact overlaps: Bayes' denoiser at finite d, by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from dilaton.show import plots
from dilaton.torchcheck.study.verdict import Criterion, extrapolate

CRITERION = Criterion(level=1e-3, powers=True, slack=0.0, converged=True)
PATHS = {
    "linear": (lambda t: 1 - t, lambda t: t, 1.0),
    "trigonometric": (
        lambda t: np.cos(np.pi * t / 2),
        lambda t: np.sin(np.pi * t / 2),
        np.pi / 2,
    ),
    "variance-preserving": (lambda t: np.sqrt(1 - t * t), lambda t: t, 1.0),
}
LATEST = 0.5  # beyond this tau no series in the window's time describes a network


def overlaps(path, rate, spread, small):
    """Exact overlaps at tau = rate * small, d = small^(-1/power), and their limits."""
    alpha, beta, slope = PATHS[path]
    a, b = alpha(rate * small), beta(rate * small)
    delta, field = a**2 + spread * b**2, slope * rate
    omega, m = b / small / delta, a**2 / delta
    exact = {"omega": omega, "r": omega**2, "m": m, "q": m**2, "v": m * omega}
    limit = {"omega": field, "r": field**2, "m": 1.0, "q": 1.0, "v": field}
    return [(exact[name], limit[name]) for name in exact]


def cases(dims, power):
    """Values (D, 1) and limits of every overlap on a grid of kappa s and sigma^2."""
    small = np.array(dims, float) ** -power
    grid = product(PATHS, (0.25, 0.5, 1.0, 1.5, 2.0, 3.0), (0.5, 1.0, 2.25))
    for path, rate, spread in grid:
        if rate * small[0] < LATEST:
            for values, limit in overlaps(path, rate, spread, small):
                yield values[:, None], limit


DIMS = [
    (300, 1000, 3000),
    (300, 1000, 3000, 10_000),
    (60, 120, 240),
    (300, 500, 800),
    (100, 1000, 10_000, 100_000),
]

MILLION = (1000, 10_000, 100_000, 1_000_000)


@pytest.mark.parametrize("power", [1 / 2, 1 / 3, 1 / 4])
@pytest.mark.parametrize("dims", DIMS)
def test_exact_overlaps_raise_no_alarm(dims, power):
    criterion = replace(CRITERION, power=power)
    found = list(cases(dims, power))
    assert len(found) > 80
    for values, limit in found:
        got = extrapolate(np.array(dims), values, limit, criterion)
        assert got.low < limit < got.high


@pytest.mark.parametrize(
    ("dims", "power", "wrong"),
    [
        (DIMS[0], 1 / 2, 0.05),
        (DIMS[1], 1 / 2, 0.01),
        (MILLION, 1 / 3, 0.05),
        (MILLION, 1 / 4, 0.05),
    ],
)
def test_most_wrong_limits_are_noticed(dims, power, wrong):
    """Where the terms decrease: kappa s of 1 at most."""
    criterion, seen = replace(CRITERION, power=power), []
    for values, limit in cases(dims, power):
        if 0.2 < limit <= 1:
            got = extrapolate(np.array(dims), values, (1 + wrong) * limit, criterion)
            seen.append(not got.low < (1 + wrong) * limit < got.high)
    assert len(seen) > 100
    assert np.mean(seen) > 0.9


def test_guides_fall_at_the_rate_of_their_phase():
    """A phase within the floor has no slope and no panel."""
    rates = {
        "weights-1": (0.5, -0.5),
        "weights-2": (0.25, -0.3),
        "variance": (0.25, np.nan),
    }
    fits = [
        {"phase": phase, "quantity": "m", "rate": rate, "slope": slope}
        | {"slope_low": slope, "slope_high": slope}
        for phase, (rate, slope) in rates.items()
    ]
    errors = [
        {"phase": phase, "quantity": "m", "d": d, "error": d**-0.4}
        for phase in rates
        for d in (100, 10_000)
    ]
    figure = plots.convergence(errors, fits, {"m": "m"})
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert set(panels) == {"phase weights-1", "phase weights-2"}
    for phase, rate in (("weights-1", "1/2"), ("weights-2", "1/4")):
        lines = {x.get_label(): x for x in panels[f"phase {phase}"].lines}
        high, low = lines[f"$d^{{-{rate}}}$"].get_ydata()
        assert low / high == pytest.approx(100 ** -rates[phase][0])
