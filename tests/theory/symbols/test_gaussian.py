"""Averages over Gaussian fields, judged by quadrature and by finite differences."""

import numpy as np
import pytest
import sympy as sp
from dilaton.theory.models.model import D
from dilaton.theory.phases.loss import at_large_d, gram_flow, power_limit
from dilaton.theory.symbols import gaussian
from dilaton.theory.symbols.gaussian import (
    G2,
    H2,
    Average,
    FieldAverage,
    G,
    H,
    to_averages,
)
from scipy.special import erf

from ...oracles import mean, mean2, value

A, B, C = sp.symbols("a b c", real=True)
X, Y, Z = sp.symbols("x y z", positive=True)
QUADRATURE = 1e-12  # trapezoidal rule on analytic integrands, summed in doubles
DIFFERENCE = 1e-7  # central differences with step 1e-4: error ~ step**2

UNITS = {"tanh": np.tanh, "erf": lambda h: erf(h / np.sqrt(2)), "sign": np.sign}
SLOPES = {
    "tanh": lambda h: 1 - np.tanh(h) ** 2,
    "erf": lambda h: np.sqrt(2 / np.pi) * np.exp(-(h**2) / 2),
}
POINT = {"a": 0.37, "x": 1.7}
FIELDS = {"a": 0.4, "b": -0.9, "x": 1.3, "c": 0.6, "y": 0.8}
COVARIANCE = [[1.3, 0.6], [0.6, 0.8]]


def test_constants_leave_an_average_and_sums_split():
    got = Average(3 * A + 2 * A * sp.tanh(A * G) - sp.tanh(A * G) / X)
    assert (
        got == 3 * A + (2 * A - 1 / X) * Average(sp.tanh(A * G))
        or sp.expand(got - 3 * A - (2 * A - 1 / X) * Average(sp.tanh(A * G))) == 0
    )
    assert got != 3 * A + (2 * A + 1 / X) * Average(sp.tanh(A * G))
    assert Average(A**2) == A**2


def test_normals_of_an_average_are_bound():
    node = Average(sp.tanh(A * G + B))
    assert node.free_symbols == {A, B}
    assert sp.diff(node, G) == 0
    assert node.subs(G, 5) == node
    assert node.subs(A, 2) == Average(sp.tanh(2 * G + B))
    pair = FieldAverage(sp.tanh(H), sp.Tuple(A), sp.Tuple(X))
    assert pair.free_symbols == {A, X}
    assert pair.subs(H, 3) == pair


def test_averages_are_written_with_their_normals():
    node = Average(sp.tanh(A * G + B))
    inner = r"\left[\tanh{\left(a g + b \right)}\right]"
    assert sp.latex(node) == r"\mathbb{E}_{g}" + inner
    pair = Average(sp.tanh(A * G) * sp.tanh(B * G2), G, G2)
    assert sp.latex(pair).startswith(r"\mathbb{E}_{g,g_{2}}\left[")
    assert str(node) == "E[tanh(a*g + b)]"
    field = FieldAverage(sp.tanh(H), sp.Tuple(A), sp.Tuple(X))
    assert sp.latex(field) == r"\mathbb{E}\left[\tanh{\left(h_{1} \right)}\right]"


def test_the_square_of_a_sign_is_one():
    squared = FieldAverage(sp.sign(H) ** 2, sp.Tuple(A), sp.Tuple(X))
    assert to_averages(3 * squared) == 3
    known = sum(mean(lambda h: np.sign(h) ** 2, a, 1.7) for a in (0.37, -0.9)) / 2
    assert float(to_averages(squared)) == pytest.approx(known, abs=QUADRATURE)


def test_differentiation_goes_under_the_average():
    node = Average(sp.tanh(A * G + B))
    slope = value(sp.diff(node, A), a=0.7, b=0.3)
    step = 1e-4
    ends = [mean(np.tanh, 0.3, a**2) for a in (0.7 - step, 0.7 + step)]
    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * step), abs=DIFFERENCE)


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("name", ["mean_phi", "mean_phi2", "mean_slope"])
def test_averages_of_units_agree_with_quadrature(kind, name):
    if kind == "sign":
        exact = {
            "mean_phi": erf(0.37 / np.sqrt(2 * 1.7)),
            "mean_phi2": 1.0,
            "mean_slope": 2 * np.exp(-(0.37**2) / 3.4) / np.sqrt(2 * np.pi * 1.7),
        }[name]
    else:
        f = {
            "mean_phi": UNITS[kind],
            "mean_phi2": lambda h: UNITS[kind](h) ** 2,
            "mean_slope": SLOPES[kind],
        }[name]
        exact = mean(f, 0.37, 1.7)
    got = value(getattr(gaussian, name)(kind, A, X), **POINT)
    assert got == pytest.approx(exact, abs=QUADRATURE)


def test_erf_and_sign_have_closed_forms():
    assert not to_averages(gaussian.mean_phi("erf", A, X)).has(Average)
    assert not to_averages(gaussian.mean_slope("erf", A, X)).has(Average)
    assert not to_averages(gaussian.mean_phi("sign", A, X)).has(Average)
    assert not to_averages(gaussian.mean_slope("sign", A, X)).has(Average)
    assert to_averages(gaussian.mean_phi("tanh", A, X)).has(Average)


@pytest.mark.parametrize("kind", UNITS)
def test_a_field_without_variance_is_its_mean(kind):
    got = to_averages(gaussian.mean_phi(kind, A, sp.S.Zero))
    assert got == gaussian.phi(kind, A)


@pytest.mark.parametrize("kind", ["tanh", "erf"])
def test_slopes_in_mean_and_variance_follow_the_heat_equation(kind):
    node = gaussian.mean_phi2(kind, A, X)
    step = 1e-4
    for symbol, shift in ((A, (step, 0)), (X, (0, step))):
        ends = [
            mean(lambda h: UNITS[kind](h) ** 2, 0.37 + k * shift[0], 1.7 + k * shift[1])
            for k in (-1, 1)
        ]
        exact = (ends[1] - ends[0]) / (2 * step)
        got = value(sp.diff(node, symbol), **POINT)
        assert got == pytest.approx(exact, abs=DIFFERENCE)
        assert abs(2 * got - exact) > 10 * DIFFERENCE


@pytest.mark.parametrize("kind", ["tanh", "erf"])
def test_the_average_over_two_fields_agrees_with_quadrature(kind):
    node = gaussian.mean_product(kind, (A, B), (X, C, Y))
    exact = mean2(lambda h, k: UNITS[kind](h) * UNITS[kind](k), (0.4, -0.9), COVARIANCE)
    assert value(node, **FIELDS) == pytest.approx(exact, abs=QUADRATURE)
    wrong = gaussian.mean_product(kind, (A, B), (X, -C, Y))
    assert abs(value(wrong, **FIELDS) - exact) > 0.01


@pytest.mark.parametrize("name", ["a", "b", "x", "c", "y"])
def test_slopes_of_the_average_over_two_fields(name):
    node = gaussian.mean_product("tanh", (A, B), (X, C, Y))
    symbol = {str(e): e for e in (A, B, C, X, Y)}[name]
    step = 1e-4

    def shifted(k):
        f = {**FIELDS, name: FIELDS[name] + k * step}
        pair = (f["a"], f["b"]), [[f["x"], f["c"]], [f["c"], f["y"]]]
        return mean2(lambda h, g: np.tanh(h) * np.tanh(g), *pair)

    exact = (shifted(1) - shifted(-1)) / (2 * step)
    got = value(sp.diff(node, symbol), **FIELDS)
    assert got == pytest.approx(exact, abs=DIFFERENCE)


def test_a_pair_average_of_one_field_needs_that_field_alone():
    pair = FieldAverage(sp.tanh(H2) ** 2, sp.Tuple(A, B), sp.Tuple(X, C, Y))
    assert pair == FieldAverage(sp.tanh(H) ** 2, sp.Tuple(B), sp.Tuple(Y))
    both = FieldAverage(sp.tanh(H) * sp.tanh(H2), sp.Tuple(A, B), sp.Tuple(X, C, Y))
    assert set(both.standardised().variables) == {G, G2}


@pytest.mark.parametrize(
    ("expr", "limit"),
    [
        ((3 * D + sp.sqrt(D)) / (2 * D - 1), sp.Rational(3, 2)),
        (D ** sp.Rational(1, 3) / (1 + D ** sp.Rational(1, 2)), sp.S.Zero),
        (X * D ** sp.Rational(2, 7) * (Y + 1 / D) * D ** sp.Rational(-2, 7), X * Y),
        (D * (1 + 1 / D) ** 2 - D, sp.S(2)),
        (D / (X + sp.sqrt(D)), sp.oo),
        (X + 0 * D, X),
    ],
)
def test_limits_of_powers_of_d(expr, limit):
    assert sp.simplify(power_limit(expr) - limit) == 0 or power_limit(expr) == limit


def test_the_limit_of_an_average_is_taken_in_its_field():
    node = gaussian.mean_phi("tanh", A + 1 / sp.sqrt(D), X * (1 + 1 / D)) * (1 + 2 / D)
    assert at_large_d(node) == gaussian.mean_phi("tanh", A, X)


def _vectors(rng, d):
    """Two trainable vectors and one data vector of norm sqrt(d)."""
    x = rng.normal(size=(3, d)) + 0.4 * rng.normal(size=d)
    x[2] *= np.sqrt(d) / np.linalg.norm(x[2])
    return x


def test_the_gram_rule_is_the_flow_of_explicit_vectors():
    """Gradient of a loss of overlaps with respect to explicit vectors, d = 40."""
    rng, d, rates = np.random.default_rng(3), 40, (0.7, 1.6)
    q, v, m, r, w = sp.symbols("q v m r w", real=True)
    gram = sp.Matrix([[q, v, m], [v, r, w], [m, w, 1]])
    loss = q * r + sp.sin(v) * m + m**2 * w - w * q**2 + v**3 * r
    given = gram, 2, tuple(map(sp.Float, rates))
    flow = gram_flow(lambda x: sp.diff(loss, x), *given)
    x = _vectors(rng, d)
    symbols = (q, v, m, r, w)
    f = sp.lambdify(symbols, loss)

    def overlaps(x):
        g = x @ x.T / d
        return g[0, 0], g[0, 1], g[0, 2], g[1, 1], g[1, 2]

    def gradient(x, i, step=1e-4):
        moved = []
        for k in range(d):
            ends = []
            for sign in (1, -1):
                y = x.copy()
                y[i, k] += sign * step
                ends.append(f(*overlaps(y)))
            moved.append((ends[0] - ends[1]) / (2 * step))
        return np.array(moved)

    velocity = np.zeros_like(x)
    for i in (0, 1):
        velocity[i] = -d / 2 * rates[i] * gradient(x, i)
    exact = (velocity @ x.T + x @ velocity.T) / d
    got = sp.lambdify(symbols, flow)(*overlaps(x))
    assert np.allclose(np.array(got, float), exact, atol=1e-5)
    halved = gram_flow(lambda x: sp.diff(loss - v**3 * r / 2, x), *given)
    wrong = np.array(sp.lambdify(symbols, halved)(*overlaps(x)), float)
    assert not np.allclose(wrong, exact, atol=1e-3)
