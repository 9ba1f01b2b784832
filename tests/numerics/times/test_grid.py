"""Grids known as numbers: integrals by SciPy, tables, compositions."""

from itertools import pairwise

import numpy as np
import pytest
from dilaton.errors import ModelError
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.times.time_grid import make_grid
from dilaton.theory.derive import derive
from dilaton.theory.models.spec import parse_spec
from scipy.integrate import quad
from scipy.stats import norm

from ...cases import POPULATION, PRODUCT

SPEC = parse_spec(POPULATION).replace(kappa=3.0, sigma=1.3)
LIMIT = derive(SPEC.model)
H = np.log(4) / 2
KNOTS = 2e-5  # a hundredth apart in log(beta/alpha): squared, times a curvature
TWO = PRODUCT.replace("cos(pi*tau/2)", "1 - tau").replace("sin(pi*tau/2)", "tau")
AT = np.array([0.1, 0.5, 0.9])


def point(d):
    return complete(LIMIT, SPEC.values) | {"d": float(d)}


def grid(text, d=400.0):
    return make_grid(text, LIMIT, point(d))


def normal(count=4001):
    """Nodes and weights: a step of 4,001 is a tenth of the sharpest field's width."""
    g = np.linspace(-9, 9, count)
    return g, norm.pdf(g) / norm.pdf(g).sum()


G, CHANCE = normal()


def mse(tau, d=400.0, sigma=1.3, p=0.8):
    """The Bayes error per dimension, by hand."""
    delta = (1 - tau) ** 2 + sigma**2 * tau**2
    snr = tau**2 * d / delta
    sharp = sum(
        w * CHANCE @ np.tanh(H + s * snr + np.sqrt(snr) * G) ** 2
        for w, s in ((p, 1), (1 - p, -1))
    )
    kept = (1 - tau) ** 2 / delta
    return sigma**2 * kept + kept**2 * (1 - sharp)


def slopes(tau, size, p, sigma=1.3, count=4001):
    """Slopes of the velocity along a mean of norm `size`, with their mass; by hand."""
    delta = (1 - tau) ** 2 + sigma**2 * tau**2
    gamma = (sigma**2 * tau - (1 - tau)) / delta
    k, h = tau * size / delta, np.log(p / (1 - p)) / 2
    jump = (1 - tau) / delta * size * k  # zeta (1 - c beta) |mu| k
    g, chance = normal(count)
    x = np.concatenate([s * tau * size + delta**0.5 * g for s in (1, -1)])
    bent = gamma + jump / np.cosh(np.clip(k * x + h, -300, 300)) ** 2
    return gamma, bent, np.concatenate([p * chance, (1 - p) * chance])


def slope_squared(tau):
    gamma, bent, mass = slopes(tau, 400.0**0.5, 0.8)
    return np.sum(np.maximum(gamma**2, bent**2) * mass)


def gone(density, grid, tau, low=0.0):
    """The share of an integral over tau that is spent before each of `tau`."""
    stop = grid.high
    points = np.concatenate([[low], tau, [stop]])
    parts = [
        quad(density, a, b, limit=100, epsrel=1e-7)[0] for a, b in pairwise(points)
    ]
    return np.cumsum(parts)[:-1] / np.sum(parts)


def test_entropic_steps_are_even_in_information():
    made = grid("entropic:100")
    assert made.high == pytest.approx(10 / 11)
    density = lambda tau: mse(tau) * tau / (1 - tau) ** 3  # noqa: E731
    tau = made.curve(AT)
    np.testing.assert_allclose(gone(density, made, tau), AT, atol=KNOTS)
    assert np.abs(gone(density, made, tau**1.05) - AT).max() > 100 * KNOTS


@pytest.mark.parametrize(
    ("d", "quoted"), [(256, 0.00831), (1024, 0.00210), (4096, 0.000528)]
)
def test_entropic_time_leaves_the_window_of_the_weights(d, quoted):
    """Its mass below beta/alpha = 4/sqrt(d): H(p) + d/2 log(1 + 16/d) of the whole."""
    made = make_grid("entropic", LIMIT, point(d) | {"sigma": 1.0})
    ratio = 4 / np.sqrt(d)
    got = made.share(0.0, ratio / (1 + ratio))
    assert got == pytest.approx(quoted, rel=0.01)
    entropy = -0.8 * np.log(0.8) - 0.2 * np.log(0.2)
    spent = entropy + d / 2 * np.log1p(16 / d)
    whole = entropy + d / 2 * np.log1p(49**2)
    assert got == pytest.approx(spent / whole, rel=1e-3)  # of the entropy, e^-8 is left


def test_equal_decrements_keep_the_window():
    made = grid("mse-decrements")
    for t, tau in zip(AT, made.curve(AT), strict=True):
        assert 1 - mse(tau) / mse(0.0) == pytest.approx(t, abs=KNOTS)
    sigma2, jump = 1.3**2, 4 * 0.8 * 0.2
    far = make_grid("mse-decrements", LIMIT, point(1e8))
    kept = far.share(0.0, 8 / np.sqrt(1e8))
    assert kept == pytest.approx(jump / (sigma2 + jump), abs=2e-3)


def test_equal_error_over_log_snr():
    made = grid("mse-log-snr:0.01:20")
    assert (made.low, made.high) == pytest.approx((0.01 / 1.01, 20 / 21))
    density = lambda tau: mse(tau) / (tau * (1 - tau))  # noqa: E731
    tau = made.curve(AT)
    np.testing.assert_allclose(gone(density, made, tau, made.low), AT, atol=KNOTS)
    default = grid("mse-log-snr")
    assert (default.low, default.high) == pytest.approx((0.0025 / 1.0025, 0.98))


def test_lipschitz_steps_are_even_in_the_root_of_the_squared_slope():
    made = grid("lipschitz")
    tau = made.curve(AT)
    density = lambda x: np.sqrt(slope_squared(x))  # noqa: E731
    # the larger of two slopes has a kink, which 401 nodes see to 1e-4
    np.testing.assert_allclose(gone(density, made, tau), AT, atol=2e-4)


def test_two_features_have_the_larger_slope():
    """The density of the grid, against a sum over both projections at once."""
    spec = parse_spec(TWO)
    values = complete(derive(spec.model), spec.values) | {"d": 1e4}
    made = make_grid("lipschitz", derive(spec.model), values)
    got, by_hand = [], []
    for tau in (0.01, 0.05, 0.3):
        sides = made.inverse(np.array([tau * 0.99, tau * 1.01]))
        got.append((sides[1] - sides[0]) / tau)
        gamma, first, mass = slopes(tau, 1e2, 0.8, 1.0, 601)
        _, second, other = slopes(tau, 2**0.5 * 10, 0.3, 1.0, 601)
        largest = np.maximum(np.maximum(gamma**2, first**2)[:, None], second**2)
        by_hand.append(np.sqrt(mass @ largest @ other))
    ratio = np.array(got) / by_hand
    np.testing.assert_allclose(ratio / ratio[0], 1.0, rtol=2e-3)  # of the 2% steps


@pytest.mark.parametrize(
    "text", ["entropic", "mse-decrements", "lipschitz", "mse-log-snr"]
)
def test_grids_of_numbers_are_undone_and_composed(text):
    made = grid(text)
    t = np.linspace(0.05, 0.95, 7)
    np.testing.assert_allclose(made.inverse(made.curve(t)), t, atol=1e-9)
    both = grid(f"{text}+shift:3")
    tau = made.curve(t)
    np.testing.assert_allclose(both.curve(t), tau / (tau + 3 * (1 - tau)), rtol=1e-12)
    np.testing.assert_allclose(both.inverse(both.curve(t)), t, atol=1e-9)
    ends = made.ends(12)
    assert len(ends) == 13
    assert (ends[0], ends[-1]) == (0, 1)
    assert np.all(np.diff(ends) > 0)


def test_open_grids_step_from_0_and_to_1():
    made = grid("log-snr:0.01:9")
    ends, asked = made.times(4, "midpoint")
    np.testing.assert_allclose(ends, [0, 1 / 101, 3 / 13, 0.9, 1], rtol=1e-12)
    assert asked[0] == pytest.approx(ends[1] / 2)
    assert asked[-1] == pytest.approx(0.95)
    assert len(asked) == 4


def test_an_inverse_of_numbers(tmp_path):
    back = grid("inverse:lipschitz")
    t = np.linspace(0, 1, 6)
    np.testing.assert_allclose(back.curve(grid("lipschitz").curve(t)), t, atol=1e-9)
    with pytest.raises(ModelError, match="Leave `inverse` out"):
        grid("inverse:entropic")


def test_a_table_is_its_numbers(tmp_path):
    path = tmp_path / "times.txt"
    path.write_text("0, 0.1 0.4\n0.8 1\n")
    assert list(grid(f"table:{path}").ends(4)) == [0, 0.1, 0.4, 0.8, 1]
    path.write_text("0.1 0.4 0.8")
    assert list(grid(f"table:{path}").ends(4)) == [0, 0.1, 0.4, 0.8, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.4 1", "it begins 0, 0.5"),
        ("1 0.5 0", "noise levels are 1 - tau"),
        ("0 x 1", "could not convert"),
        ("0.5", "it has 1"),
        ("0 2", "it begins"),
        ("0 nan 1", "it begins"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, words):
    path = tmp_path / "times.txt"
    path.write_text(text)
    with pytest.raises(ModelError, match=words):
        grid(f"table:{path}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entropic:-1", "must be positive"),
        ("entropic:1:2", "takes 0 to 1 arguments"),
        ("mse-log-snr:1", "both ends"),
        ("mse-log-snr:2:1", "growing"),
        ("lipschitz:2", "takes 0 to 0|takes 0 arguments"),
        ("entropik", "did you mean `entropic`"),
    ],
)
def test_what_is_no_grid_is_refused(text, words):
    with pytest.raises(ModelError, match=words):
        grid(text)


@pytest.mark.parametrize("text", ["shift:exp(d)", "shift:exp(-d)"])
def test_times_that_coincide_are_refused(text):
    with pytest.raises(ModelError, match="must increase from 0 to 1"):
        grid(text, 1e4).ends(10)
