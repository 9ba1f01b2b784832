"""Extrapolation judged by exact overlaps: Bayes' denoiser at finite d, by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from dilaton.show import plots
from dilaton.torchcheck.study.verdict import (
    FLOOR,
    Criterion,
    Extrapolation,
    extrapolate,
    fit_slope,
    resolution,
    strain,
    verdict_of,
    worst_verdict,
)

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


def scattered(seeds, size=0.01):
    """Values 2 + 0.3/sqrt(d) + noise whose extrapolation is solved for by hand."""
    dims = np.array([1000.0, 4000.0, 16_000.0])
    x = dims**-0.5
    noise = size * np.random.default_rng(seeds).normal(size=(3, seeds))
    noise -= noise.mean(axis=1, keepdims=True)
    values = 2 + 0.3 * x[:, None] + noise
    ends = np.linalg.solve(np.vander(x, 3, increasing=True), values)[0]
    return dims, values, ends


@pytest.mark.parametrize("level", [0.05, 1e-3])
@pytest.mark.parametrize("seeds", [3, 8])
def test_an_interval_is_students_of_the_seeds_extrapolated_one_by_one(level, seeds):
    """Beside what is left to extrapolate, the slack of a step and the floor."""
    dims, values, ends = scattered(seeds)
    criterion = replace(CRITERION, level=level, slack=0.003)
    found = extrapolate(dims, values, 2.0, criterion)
    noise = ends.std(ddof=1) / np.sqrt(seeds)
    known = {3: {0.05: 4.302653, 1e-3: 31.59905}, 8: {0.05: 2.364624, 1e-3: 5.407883}}
    half = known[seeds][level] * noise + 2 * found.truncation + 0.003 + 3 * FLOOR
    assert found.noise == pytest.approx(noise, rel=1e-9)
    assert found.value == pytest.approx(ends.mean(), rel=1e-9)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-6)
    alone = extrapolate(dims, values[:, :1], 2.0, criterion)
    assert alone.noise == 0


def test_where_units_saturate_what_is_extrapolated_widens_the_interval():
    dims, values, ends = scattered(5)
    powers, none = (
        extrapolate(dims, values, 2.0, replace(CRITERION, powers=x))
        for x in (True, False)
    )
    more = abs(values[-1].mean() - ends.mean())
    assert none.high - powers.high == pytest.approx(more, rel=1e-6)
    assert none.low - powers.low == pytest.approx(-more, rel=1e-6)


def test_a_resolution_is_the_error_that_leaves_the_interval_either_way():
    found = Extrapolation(value=2.0, low=1.9, high=2.1, noise=0.0, truncation=0.0)
    limit = 2.04
    seen = resolution(found, limit, abs(limit))
    assert seen == pytest.approx(0.14 / 2.04)
    for size, outside in ((1.001, True), (0.999, False)):
        ends = [limit * (1 + size * x) for x in (seen, -seen)]
        assert all(strain(found, y) > 1 for y in ends) == outside
    assert resolution(found, 0.0, 0.0) == np.inf


def test_verdicts_in_their_order_of_concern():
    other = replace(CRITERION, converged=False)
    assert verdict_of(True, 0.05, CRITERION) == "consistent"
    assert verdict_of(True, 0.0501, CRITERION) == "undecided"
    assert verdict_of(False, 0.01, CRITERION) == "inconsistent"
    assert verdict_of(False, 0.01, other) == "not converged"
    order = ["not converged", "inconsistent", "undecided", "consistent"]
    for i in range(4):
        assert worst_verdict(order[i:][::-1]) == order[i]
    assert worst_verdict([]) == "undecided"


def test_a_slope_is_the_power_of_the_distances_with_an_interval_around_it():
    dims = np.array([1e3, 4e3, 1.6e4, 6.4e4])
    sizes = np.random.default_rng(0).uniform(0.9, 1.1, size=(4, 9, 2))
    slope, low, high = fit_slope(dims, 0.7 * dims[:, None, None] ** -0.5 * sizes, 0)
    size = np.sqrt((sizes**2).mean(axis=(1, 2)))
    line = np.polyfit(np.log(dims), np.log(size), 1)[0]
    assert slope == pytest.approx(line - 0.5, abs=1e-9)
    assert low < slope < high
    assert low > -1.5
    assert high < 0.5
    exact = fit_slope(dims, 0.7 * dims[:, None, None] ** -0.5 * np.ones((4, 9, 2)), 0)
    assert exact == pytest.approx((-0.5,) * 3, abs=1e-6)
    assert np.isnan(fit_slope(dims, np.full((4, 9, 2), FLOOR / 2), 0)).all()


def test_a_slope_is_doubted_by_what_a_further_term_would_change():
    """Without scatter the interval is that of three fits, widened by the last term."""
    dims = np.array([1e3, 4e3, 1.6e4, 6.4e4])
    size = 0.7 * dims**-0.5 * (1 + 5 * dims**-0.5)
    terms = np.stack([np.ones(4), np.log(dims), dims**-0.5, 1 / dims], axis=1)
    fits = [np.linalg.lstsq(terms[:, :k], np.log(size))[0][1] for k in (2, 3, 4)]
    more = abs(fits[2] - fits[1])
    found = fit_slope(dims, size[:, None, None] * np.ones((4, 3, 1)), 0)
    known = fits[0], min(fits) - more, max(fits) + more
    assert found == pytest.approx(known, abs=1e-6)
