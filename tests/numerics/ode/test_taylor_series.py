"""Taylor coefficients: judged by 40-digit series of closed forms, and by teeth."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp
from dilaton.errors import ModelError
from dilaton.numerics.ode.integrate import integrate
from dilaton.numerics.ode.taylor_series import has_jets, print_jets
from dilaton.theory.symbols.gaussian import Average, G
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.symbols.system import Equation, System

M, Q, S, KAPPA = symbol("m"), symbol("q"), symbol("s"), symbol("kappa")
ORDER = 12
# a coefficient is a sum of at most 13 products of such sums, some fifteen deep; the
# worst of those below is off by 2e-14 of the largest
ROUNDING = 1e-13


def flow(first, second=sp.S.Zero):
    """Build the flow m' = first, q' = second."""
    rows = (Equation("J1", M, sp.sympify(first)), Equation("J2", Q, sp.sympify(second)))
    return System("jets", "flow", S, rows, (KAPPA,))


def coefficients(text, s, m, q, kappa):
    """Run printed coefficients as plain Python; return m's, then q's."""
    space = {**vars(math), "arctan": math.atan, "LANES": 1}
    space["called_fused"] = lambda f: f
    exec(text, space)
    c = np.zeros(2 * (ORDER + 1) + space["SPARE"])
    space["jets"](np.array([s]), np.array([[m], [q]]), np.array([[kappa]]), c)
    found = c[: 2 * (ORDER + 1)]
    return found[::2], found[1::2]


def series(f, at):
    """Return the Taylor coefficients of a function of one variable, 40 digits."""
    with mpmath.workdps(40):
        return np.array([float(x) for x in mpmath.taylor(f, mpmath.mpf(at), ORDER)])


def misfit(found, wanted):
    return np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))


FUNCTIONS = [
    *(f(M) for f in (sp.tanh, sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.sinh)),
    *(f(M) for f in (sp.cosh, sp.atan, sp.erf, sp.sqrt)),
    *(M**power for power in (2, 3, 4, 7, -1, -3, sp.Rational(-3, 2), KAPPA)),
    KAPPA**M,
    M**M,
    sp.tanh(KAPPA * M * (M + 1) / 4) * sp.exp(-M) / (1 + M**2),
    KAPPA * (M / (KAPPA + 1)) * (2 * M) / sp.sqrt(1 - M**2 / 4),
    sp.log(sp.cosh(M)) - sp.atan(sp.sin(2 * M)) + 3,
    KAPPA + 2,
]


@pytest.mark.parametrize("f", FUNCTIONS, ids=str)
def test_every_function_has_its_series(f):
    # m' = 1, so q is the integral of f
    kappa, start = 1.5, 0.7
    _, found = coefficients(print_jets(flow(1, f), ORDER), 0.0, start, 0.2, kappa)
    exact = sp.lambdify((M, KAPPA), f, "mpmath")
    wanted = series(lambda x: exact(x, mpmath.mpf(kappa)), start)
    assert misfit(found[1:], wanted[:-1] / np.arange(1, ORDER + 1)) < ROUNDING
    assert found[0] == 0.2


FLOWS = {
    "logistic": (flow(M * (1 - M)), lambda s: 1 / (1 + mpmath.exp(-s))),
    "blow-up": (flow(M**2), lambda s: 1 / (2 - s)),
    "driven": (flow(-2 * S * M), lambda s: mpmath.exp(-(s**2)) / 2),
    "rotation": (flow(Q, -(KAPPA**2) * M), lambda s: mpmath.cos(1.5 * s) / 2),
    "root": (flow(1 / (2 * M)), lambda s: mpmath.sqrt(s + mpmath.mpf(1) / 4)),
    "slope": (
        flow(-sp.tanh(M)),
        lambda s: mpmath.asinh(mpmath.sinh(0.5) * mpmath.exp(-s)),
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_flows_with_closed_solutions(name):
    system, exact = FLOWS[name]
    found, _ = coefficients(print_jets(system, ORDER), 0.0, 0.5, 0.0, 1.5)
    assert misfit(found, series(exact, 0)) < ROUNDING


def test_the_time_counts_from_where_the_step_starts():
    system = flow(sp.exp(-(S**2)) * sp.sin(3 * S))
    found, _ = coefficients(print_jets(system, ORDER), 0.4, 1.0, 0.0, 1.0)
    wanted = series(lambda s: mpmath.exp(-(s**2)) * mpmath.sin(3 * s), 0.4)
    assert misfit(found[1:], wanted[:-1] / np.arange(1, ORDER + 1)) < ROUNDING


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("2.0*series", "1.0*series"),
        (" - (", " + ("),
        ("0.5*unscaled", "0.25*unscaled"),
        ("_0*2.0", "_0*3.0"),
    ],
)
def test_a_wrong_rule_is_seen(right, wrong):
    f = sp.tanh(KAPPA * M * M) / (1 + M)
    text = print_jets(flow(1, f), ORDER)
    assert right in text
    _, found = coefficients(text.replace(right, wrong), 0.0, 0.7, 0.2, 1.5)
    exact = sp.lambdify((M, KAPPA), f, "mpmath")
    wanted = series(lambda x: exact(x, mpmath.mpf(1.5)), 0.7)
    off = misfit(found[1:], wanted[:-1] / np.arange(1, ORDER + 1))
    assert off > 1e6 * ROUNDING


@pytest.mark.parametrize(
    "f",
    [sp.Abs(M), sp.sign(M), sp.Min(M, 1), sp.Piecewise((M, M > 0), (0, True)), G],
    ids=str,
)
def test_kinks_and_averages_have_no_jets(f):
    f = Average(sp.tanh(M * G), G) if f == G else f
    assert has_jets(flow(sp.tanh(M)))
    assert not has_jets(flow(f))


COMMON = {"params": {"kappa": 1.0}, "t": [0.0, 1.0], "rtol": 1e-9, "atol": 1e-9}


def test_a_kink_is_refused_by_name():
    with pytest.raises(ModelError, match="takes flows of smooth functions"):
        integrate(flow(sp.Abs(M)), init={"m": 1, "q": 0}, method="taylor", **COMMON)
