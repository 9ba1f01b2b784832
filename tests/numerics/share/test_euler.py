"""Few Euler steps: shares without Monte Carlo, judged by simulated paths."""

import numpy as np
import pytest
from dilaton.errors import ModelError
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.share.euler import follow_samples, positive_share, steps
from dilaton.numerics.share.rules import ExactFlow
from dilaton.theory.derive import derive
from dilaton.theory.models.spec import parse_spec
from scipy.stats import norm

from ...cases import POPULATION
from ...oracles import mixture_share

SIGMAS = 4.5  # standard errors of a simulated share
KEPT = 3e-3  # what three segments leave of both weights at 180 steps
ROUND = 1e-9  # two orders of the same sums
PATHS = 200_000

SPEC = parse_spec(POPULATION)


def features(kappa, exponents="0.0 0.25", alpha="1 - tau", beta="tau"):
    tables = "".join(
        f"[[target.features]]\np = {p}\nscale = {rho}\nexponent = {e}\n"
        for p, rho, e in zip((0.8, 0.3), (1.0, 2.0), exponents.split(), strict=True)
    )
    return parse_spec(
        f'[target]\nkind = "product"\nsigma = 1.0\n{tables}'
        f'[interpolant]\nalpha = "{alpha}"\nbeta = "{beta}"\n'
        f'[dilation]\nkappa = {kappa}\n[data]\nn = "inf"\n'
    )


TWO = features("[4.0, 4.0]")


def velocity(nu, tau, size, p, sigma=1.0):
    """The exact velocity of a projection for alpha = 1 - tau, beta = tau, by hand."""
    alpha, delta = 1 - tau, (1 - tau) ** 2 + (sigma * tau) ** 2
    h = np.log(p / (1 - p)) / 2
    mean = size * np.tanh(tau * size * nu / delta + h)
    guess = sigma**2 * tau / delta * (nu - tau * mean) + mean
    return -nu / alpha + guess / alpha  # beta' - alpha' beta/alpha = 1/alpha


def times(count, knots, rule):
    """Ends of the steps and where the velocity is asked, equal shares of t."""
    ends = np.linspace(0, 1, count + 1)
    asked = ends[:-1] if rule == "left" else (ends[:-1] + ends[1:]) / 2
    grid = np.linspace(0, 1, len(knots))
    return np.interp(ends, grid, knots), np.interp(asked, grid, knots)


def simulate(nu, size, p, grid):
    ends, asked = grid
    for left, right, at in zip(ends, ends[1:], asked, strict=False):
        nu = nu + (right - left) * velocity(nu, at, size, p)
    return nu


def bulk(grid, sigma=1.0):
    std = 1.0
    for left, right, at in zip(grid[0], grid[0][1:], grid[1], strict=False):
        delta = (1 - at) ** 2 + (sigma * at) ** 2
        std += (right - left) * std * (sigma**2 * at / delta - 1) / (1 - at)
    return std


KNOTS = {"dilated": lambda d: [0, 2 / np.sqrt(d), 1], "undilated": lambda d: [0, 1]}


@pytest.mark.parametrize("schedule", KNOTS)
@pytest.mark.parametrize("rule", ["left", "midpoint"])
@pytest.mark.parametrize(("d", "count"), [(1e4, 20), (1e6, 60)])
def test_shares_agree_with_simulated_paths(schedule, rule, d, count):
    (row,) = steps(SPEC, d, [count], schedule, rule)
    assert (row["d"], row["steps"]) == (d, count)
    assert (row["schedule"], row["rule"]) == (schedule, rule)
    assert row["grid"] == {"undilated": "uniform"}.get(schedule, schedule)
    grid = times(count, KNOTS[schedule](d), rule)
    start = np.random.default_rng(count).normal(size=PATHS)
    plus = simulate(start, np.sqrt(d), 0.8, grid) > 0
    error = max(plus.std() / np.sqrt(PATHS), 1e-5)
    assert abs(row["share_plus"] - plus.mean()) < SIGMAS * error
    assert row["bulk_std"] == pytest.approx(bulk(grid), rel=ROUND)
    if schedule == "dilated":  # the oracle sees a wrong weight
        other = simulate(start, np.sqrt(d), 0.77, grid) > 0
        assert abs(row["share_plus"] - other.mean()) > SIGMAS * error


def test_undilated_rules_lose_the_weight():
    """Left ends see tanh(h) for everybody, midpoints see the sign alone."""
    gaps = []
    for d in (1e4, 1e6, 1e8):
        (left,) = steps(SPEC, d, [20], "undilated", "left")
        (midpoint,) = steps(SPEC, d, [20], "undilated", "midpoint")
        assert left["share_plus"] == pytest.approx(1.0, abs=1e-3)
        gaps.append(midpoint["share_plus"] - 0.5)
    # what is left of the weight is the width of the layer, d^(-1/2)
    assert gaps[1] / gaps[0] == pytest.approx(0.1, abs=0.02)
    assert gaps[2] / gaps[1] == pytest.approx(0.1, abs=0.02)


def test_a_dilation_needs_as_many_steps_at_any_dimension():
    limit = mixture_share(2, 0.8)
    gaps = []
    for d in (1e4, 1e8):
        rows = steps(SPEC, d, [40, 160], "dilated", "midpoint")
        gaps.append([abs(row["share_plus"] - 0.8) for row in rows])
    assert np.max(gaps) < 0.02  # the weight is kept, up to p^kappa - p = 0.014
    # once phase 1 is over the signs are those of its end, at any d
    (fine,) = steps(SPEC, 1e10, [200], "dilated", "midpoint")
    assert fine["share_plus"] == pytest.approx(limit, abs=2e-3)


def test_an_undilated_schedule_needs_steps_as_the_root_of_d():
    """At a fixed number of steps per sqrt(d) the share stays where it is."""
    shares = [
        steps(SPEC, d, [int(2 * np.sqrt(d))], "undilated", "midpoint")[0]["share_plus"]
        for d in (1e2, 1e4)
    ]
    few = steps(SPEC, 1e4, [20], "undilated", "midpoint")[0]["share_plus"]
    assert abs(shares[1] - shares[0]) < 0.03
    assert abs(shares[1] - 0.8) < 0.05 < abs(few - 0.8)


@pytest.mark.parametrize("d", [pytest.param(1e6, marks=pytest.mark.slow), 1e8])
def test_three_segments_keep_both_weights(d):
    (row,) = steps(TWO, d, [180], "dilated", "midpoint")
    assert np.allclose(row["share_plus"], [0.8, 0.3], atol=KEPT)
    (few,) = steps(TWO, d, [9], "dilated", "midpoint")
    assert not np.allclose(few["share_plus"], [0.8, 0.3], atol=KEPT)


def point_of(limit, spec, d):
    return complete(limit, spec.values) | {"d": d}


def test_the_two_segment_map_loses_the_second_weight_as_d_grows():
    """Of the windows the grid knows the first alone."""
    limit, gaps = derive(TWO.model), []
    for d in (1e4, 1e6, 1e8, 1e12):
        grid = times(180, [0, 4 / np.sqrt(d), 1], "midpoint")
        flow = ExactFlow(limit, point_of(limit, TWO, d))
        first, second = follow_samples(flow, grid, "left")["share_plus"]
        start = np.random.default_rng(0).normal(size=PATHS // 5)
        plus = simulate(start, np.sqrt(2) * d**0.25, 0.3, grid) > 0
        error = max(plus.std(), 0.01) / np.sqrt(PATHS // 5)
        assert abs(second - plus.mean()) < SIGMAS * error
        assert first == pytest.approx(0.8, abs=KEPT)
        gaps.append(abs(second - 0.3))
    assert gaps[-1] > 0.1
    assert gaps[-1] > gaps[1]


@pytest.mark.parametrize("rule", ["left", "midpoint"])
def test_shares_of_two_features_agree_with_simulated_paths(rule):
    d, count = 1e6, 60
    (row,) = steps(TWO, d, [count], "dilated", rule)
    grid = times(count, [0, 4 / np.sqrt(d), 4 / d**0.25, 1], rule)
    start = np.random.default_rng(3).normal(size=PATHS)
    sizes = (np.sqrt(d), np.sqrt(2) * d**0.25)
    for got, size, p in zip(row["share_plus"], sizes, (0.8, 0.3), strict=True):
        plus = simulate(start, size, p, grid) > 0
        assert abs(got - plus.mean()) < SIGMAS * plus.std() / np.sqrt(PATHS)
    assert row["bulk_std"] == pytest.approx(bulk(grid), rel=ROUND)


def exploding(grid, d):
    """The bulk and one projection for alpha = sqrt(d)(1 - tau), by hand."""
    size = np.sqrt(d)
    std, nu = size, size * np.random.default_rng(9).normal(size=PATHS // 4)
    for left, right, at in zip(grid[0], grid[0][1:], grid[1], strict=False):
        delta = d * (1 - at) ** 2 + at**2
        gain = at / delta  # of the denoiser, sigma = 1
        mean = size * np.tanh(at * size * nu / delta + np.log(4) / 2)
        guess = gain * (nu - at * mean) + mean
        nu = nu + (right - left) * (guess - nu) / (1 - at)
        std += (right - left) * std * (gain - 1) / (1 - at)
    return nu, std


def test_exploding_variance_is_stepped_to_the_end():
    text, d = POPULATION.replace('"1 - tau"', '"sqrt(d)*(1 - tau)"'), 1e6
    rows = steps(parse_spec(text), d, [20, 200], "dilated", "midpoint")
    for row in rows:
        knots = [0, 1 - 2 / np.sqrt(d), 1]
        nu, std = exploding(times(row["steps"], knots, "midpoint"), d)
        error = np.std(nu > 0) / np.sqrt(len(nu))
        assert abs(row["share_plus"] - np.mean(nu > 0)) < SIGMAS * error
        assert row["bulk_std"] == pytest.approx(abs(std), rel=1e-6)
    assert rows[1]["share_plus"] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("end", "exact"),
    [
        (lambda g: g - 0.3, norm.sf(0.3)),
        (lambda g: -g + 0.3, norm.cdf(0.3)),
        (
            lambda g: (g - 1) * (g + 0.5) * (g + 2),
            norm.sf(1) + norm.cdf(-0.5) - norm.cdf(-2),
        ),
        (lambda g: np.ones_like(g), 1.0),
        (lambda g: -np.ones_like(g), 0.0),
    ],
)
def test_the_share_of_a_map_from_its_sign_changes(end, exact):
    nodes = np.linspace(-8.5, 8.5, 401)
    assert positive_share(end, nodes, end(nodes)) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "schedule", "rule", "words"),
    [
        ([0], "dilated", "left", "whole numbers from 1"),
        ([], "dilated", "left", "whole numbers from 1"),
        ([2.5], "dilated", "left", "whole numbers from 1"),
        ([20], "dilate", "left", "dilated"),
        ([20], "dilated", "right", "midpoint"),
        ([20], [], "left", "at least one map"),
        ([2], "log-snr", "left", "needs at least 3 steps"),
    ],
)
def test_bad_requests_are_refused(counts, schedule, rule, words):
    with pytest.raises(ModelError, match=words):
        steps(SPEC, 1e4, counts, schedule, rule)


def test_windows_must_fit_in_the_dimension():
    with pytest.raises(ModelError, match="Raise d or lower kappa"):
        steps(features("[4.0, 4.0]"), 100.0, [20], "dilated", "left")
