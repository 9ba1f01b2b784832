"""Gaussian averages: judged by mpmath, by closed forms and by the reported bound."""

import mpmath
import numpy as np
import pytest
from dilaton.errors import SolveError
from dilaton.numerics.codegen.quadrature import (
    BLOCK,
    HALF_WIDTH,
    START,
    TRUST,
    average,
    error_bound,
    estimate,
    folded,
    trapezoid,
)

TIGHT = 1e-13  # the accuracy asked of float64 averages
MPMATH_DIGITS = 30


def exact(f) -> float:
    """Average by mpmath's tanh-sinh quadrature, split where sigmoids turn."""
    with mpmath.workdps(MPMATH_DIGITS):
        density = lambda x: f(x) * mpmath.npdf(x)  # noqa: E731
        points = [-14, *range(-9, 10), 14]
        return float(mpmath.quad(density, points))


@pytest.mark.parametrize("a", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("b", [0.0, 0.7, -2.5])
def test_tanh_averages_match_thirty_digit_quadrature(a, b):
    for power in (1, 2):
        value, bound = average(lambda g, n=power: np.tanh(a * g + b) ** n)
        truth = exact(lambda g, n=power: mpmath.tanh(a * g + b) ** n)
        assert abs(value - truth) <= TIGHT
        assert bound <= TIGHT


def doubt(terms):
    """Estimate the error of a rule from its terms."""
    return estimate(folded(terms))


@pytest.mark.parametrize("a", [2.0, 6.0, 20.0])
def test_the_bound_holds_on_coarse_rules(a):
    truth = exact(lambda g: mpmath.tanh(a * g + 0.3))
    for intervals in (16, 32, 62, 124, 248, 496):
        x, w = trapezoid(intervals)
        terms = w * np.tanh(a * x + 0.3)
        assert abs(terms.sum() - truth) <= error_bound(doubt(terms))


@pytest.mark.parametrize("shape", ["sigmoid", "tail", "slope", "square"])
def test_a_rule_that_is_accepted_is_within_its_tolerance(shape):
    """Also where a far tail decides, and wherever the nodes happen to lie."""
    rng = np.random.default_rng(0)
    a = np.exp(rng.uniform(np.log(0.3), np.log(20), (300, 1)))
    b = rng.uniform(-14, 14, (300, 1))
    f = {
        "sigmoid": lambda x: np.tanh(a * x + b),
        "tail": lambda x: 1 - np.tanh(a * x + b),
        "slope": lambda x: 1 - np.tanh(a * x + b) ** 2,
        "square": lambda x: (1 - np.tanh(a * x + b)) ** 2,
    }[shape]
    truth = (trapezoid(START * 2**7).weights * f(trapezoid(START * 2**7).nodes)).sum(-1)
    for intervals in (START, 2 * START, 4 * START):
        x, w = trapezoid(intervals)
        terms = w * f(x)
        error, bound = abs(terms.sum(-1) - truth), doubt(terms)
        for tol in (1e-6, 1e-8, 1e-10, 1e-12):
            taken = bound < tol
            assert taken.sum() > 50
            assert error[taken].max() < 0.1 * tol
        # a hundredth of it, the estimate itself, is no bound
        assert np.any(error > np.maximum(bound / TRUST, 1e-14))


def test_the_estimate_is_that_of_a_geometric_law():
    c, x = 1e-6, 0.5
    frequencies = np.arange(1, 8)  # a modulus of 0 at the eighth
    angles = 2 * np.pi * np.outer(frequencies, np.arange(BLOCK)) / BLOCK
    waves = np.cos(angles + 0.7 * frequencies[:, None])
    parts = (c * x ** frequencies[:, None] * waves).sum(0) * 2 / BLOCK
    assert estimate(parts) == pytest.approx(TRUST * c * x**16, rel=1e-8)


def test_nodes_grow_linearly_in_the_steepness():
    def intervals(a):
        seen = []
        average(lambda g: (seen.append(g.size), np.tanh(a * g + 0.3))[1])
        return seen[-1]

    assert intervals(16.0) <= 2 * intervals(8.0) + BLOCK
    assert intervals(32.0) <= 4 * intervals(8.0) + BLOCK


def test_polynomials_and_two_dimensions_have_closed_forms():
    assert average(lambda g: g**4)[0] == pytest.approx(3.0, abs=TIGHT)
    assert average(lambda g: np.cos(2 * g))[0] == pytest.approx(np.exp(-2), abs=TIGHT)
    pair = average(lambda g, k: np.cos(g + 2 * k), dim=2)[0]
    assert pair == pytest.approx(np.exp(-2.5), abs=TIGHT)


def test_leading_axes_are_averaged_together():
    a = np.array([[0.5], [1.0], [2.0]])
    values, _ = average(lambda g: np.cos(a * g))
    np.testing.assert_allclose(values, np.exp(-(a[:, 0] ** 2) / 2), atol=TIGHT)


def test_rules_are_nested_padded_and_read_only():
    x, w = trapezoid(START)
    fine, _ = trapezoid(2 * START)
    assert x.size % BLOCK == w.size % BLOCK == 0
    np.testing.assert_allclose(x[: START + 1], fine[: 2 * START + 1 : 2], atol=1e-14)
    assert np.all(w[START + 1 :] == 0)
    assert w.sum() == pytest.approx(1.0, abs=1e-15)
    assert x[START] == HALF_WIDTH
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 0.0


def test_a_jump_is_refused_with_what_was_reached():
    with pytest.raises(SolveError, match="31744 intervals leave"):
        average(lambda g: np.sign(g - 0.1))
    with pytest.raises(SolveError) as caught:
        average(lambda g: np.sign(g - 0.1), limit=1000)
    value, bound = caught.value.result
    assert 0 < bound < 0.1
    assert abs(value - exact(lambda g: mpmath.sign(g - 0.1))) < 0.1


@pytest.mark.parametrize("bad", [0, -2, 31])
def test_odd_rules_are_refused(bad):
    with pytest.raises(ValueError, match="must be even and at least 2"):
        trapezoid(bad)


def test_three_variables_are_refused():
    with pytest.raises(ValueError, match="`dim` must be 1 or 2, but is 3"):
        average(lambda g: g, dim=3)
