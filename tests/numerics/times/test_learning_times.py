"""Learning times of one network for all times, judged by quadrature and published."""

import numpy as np
import pytest
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.times.table import (
    learning_times,
    other_times,
    shared_flow,
    time_exponents,
)
from dilaton.theory.models.spec import parse_spec
from dilaton.theory.times.densities import piecewise_constant
from scipy.integrate import quad

from ...cases import TWO_MODES

DIGITS = 5e-4  # the published table has four digits, of which the last is rounded
SAME = 1e-7  # two quadratures
SLOPE = 0.005  # asked of fitted exponents
FITTED = (256, 1024, 4096, 16384, 65536)

PUBLISHED = {
    ("uniform", "data"): (74.64, 143.7, 281.8, 557.9),
    ("shift:3", "data"): (28.40, 51.49, 97.57, 189.7),
    ("shift:sqrt(d)", "data"): (9.238, 9.229, 9.227, 9.227),
    ("dilated", "data"): (27.99, 26.94, 26.43, 26.17),
    ("logit-normal:0:1", "data"): (884.6, 6576, 7.233e4, 1.192e6),
    ("logit-normal:0:1+shift:3", "data"): (78.91, 326.3, 1943, 1.696e4),
    ("logit-normal:0:1+shift:sqrt(d)", "data"): (9.641, 9.628, 9.625, 9.624),
    ("uniform", "noise"): (3.040e4, 2.253e5, 1.731e6, 1.356e7),
    ("uniform", "velocity"): (69.14, 138.1, 276.2, 552.4),
}


@pytest.fixture(scope="module")
def spec():
    return parse_spec(TWO_MODES)


def found(spec, d, density, loss, within=0.02):
    rows = learning_times(spec, d, [density], [loss], within=within)
    return np.array([row["time"] for row in rows])


@pytest.mark.parametrize(("density", "loss"), PUBLISHED)
def test_the_published_table(spec, density, loss):
    mine = found(spec, FITTED[:-1], density, loss)
    np.testing.assert_allclose(mine, PUBLISHED[density, loss], rtol=DIGITS)


def judge(p, sigma, d, rho, weight, alpha, beta, within):
    """The time by nested adaptive quadrature of E(s - T)T', both modes apart."""
    g = np.linspace(-10, 10, 3001)
    phi = np.exp(-g * g / 2) / np.sqrt(2 * np.pi) * (g[1] - g[0])

    def speed(b):
        def part(tau):
            noise = alpha(tau) ** 2 + sigma**2 * beta(tau) ** 2
            snr = beta(tau) ** 2 * d / noise
            total = 0.0
            for s, share in ((1, p), (-1, 1 - p)):
                unit = np.tanh(s * snr + np.sqrt(snr) * g + b)
                total += share * np.sum(phi * (s - unit) * (1 - unit**2))
            return rho(tau) * weight(tau) * (alpha(tau) ** 2 / noise) ** 2 * total

        where = (0.01 / 1.01, 0.02, 0.1, EDGE, 0.3, 0.5858, 20 / 21)
        return quad(part, 0, 1, points=where, epsabs=1e-13, epsrel=1e-9, limit=300)[0]

    target = p - np.sign(p - 0.5) * within
    end = np.log(target / (1 - target)) / 2
    return quad(lambda b: 1 / speed(b), 0, end, epsrel=1e-7)[0]


EDGE = 3 / np.sqrt(200)


def DILATED(t):
    """Half of the mass before kappa/sqrt(d), half beyond."""
    return 0.5 / EDGE if t < EDGE else 0.5 / (1 - EDGE)


def EVEN_LOG_SNR(t):
    """Even in log(tau/(1 - tau)) between ratios of 0.01 and 20."""
    inside = 0.01 < t / (1 - t) < 20
    return inside / (t * (1 - t) * np.log(2000))


def LOGIT_NORMAL(t):
    if not 0 < t < 1:
        return 0.0
    z = (np.log(t / (1 - t)) + 1) / 1.5
    return np.exp(-z * z / 2) / (1.5 * np.sqrt(2 * np.pi) * t * (1 - t))


CASES = {
    "shifted": (
        {"p": 0.7, "sigma": 0.6},
        ("shift:2", "data", 300.0),
        (lambda t: 2 / (1 + t) ** 2, lambda t: 1.0),
    ),
    "rare, trigonometric": (
        {"p": 0.3, "sigma": 1.4},
        ("formula:2*tau", "velocity", 100.0),
        (lambda t: 2 * t, lambda t: (np.pi / 2 / np.cos(np.pi * t / 2)) ** 2),
    ),
    "P2, dilated": (
        {"p": 0.65, "sigma": 1.3},
        ("dilated", "p2:1:0.5", 200.0),
        (DILATED, lambda t: (t / (1 - t)) ** 2 / (1 + (t / (1 - t)) ** 2) ** 0.5),
    ),
    "sigmoid, variance preserving": (
        {"p": 0.75, "sigma": 0.9},
        ("shift:4", "sigmoid:-1", 150.0),
        (lambda t: 4 / (1 + 3 * t) ** 2, lambda t: t * t / (1 - t * t + t * t * np.e)),
    ),
    "min-SNR, log SNR": (
        {"p": 0.9, "sigma": 0.7},
        ("log-snr:0.01:20", "min-snr:2", 80.0),
        (EVEN_LOG_SNR, lambda t: min((t / (1 - t)) ** 2, 2)),
    ),
    "logit-normal, variance preserving": (
        {"p": 0.35, "sigma": 1.1},
        ("logit-normal:-1:1.5", "velocity", 120.0),
        (LOGIT_NORMAL, lambda t: (1 + t * t / (1 - t * t)) ** 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_against_nested_quadrature(case):
    values, (density, loss, d), (rho, weight) = CASES[case]
    text, curves = TWO_MODES, (lambda t: 1 - t, lambda t: t)
    if "trigonometric" in case:
        text = text.replace("1 - tau", "cos(pi*tau/2)")
        text = text.replace('"tau"', '"sin(pi*tau/2)"')
        curves = (lambda t: np.cos(np.pi * t / 2), lambda t: np.sin(np.pi * t / 2))
    if "preserving" in case:
        text = text.replace("1 - tau", "sqrt(1 - tau**2)")
        curves = (lambda t: np.sqrt(1 - t * t), lambda t: t)
    spec = parse_spec(text).replace(**values)
    wanted = judge(*values.values(), d, rho, weight, *curves, within=0.03)
    mine = found(spec, [d], density, loss, within=0.03)[0]
    assert mine == pytest.approx(wanted, rel=1e-6)
    wrong = "noise" if loss in ("data", "velocity") else "data"
    assert mine != pytest.approx(found(spec, [d], density, wrong, 0.03)[0], rel=0.1)


def test_fitted_exponents(spec):
    for density, loss, wanted in (
        ("uniform", "data", 0.487),
        ("uniform", "noise", 1.474),
        ("dilated", "data", -0.0125),
    ):
        times = found(spec, FITTED, density, loss)
        slope = np.polyfit(np.log(FITTED), np.log(times), 1)[0]
        assert slope == pytest.approx(wanted, abs=SLOPE)


def test_local_exponents(spec):
    for density, loss, wanted in (
        ("uniform", "data", (0.473, 0.486, 0.493)),
        ("uniform", "noise", (1.447, 1.470, 1.486)),
        ("logit-normal:0:1", "data", (1.45, 1.73, 2.02)),
    ):
        times = found(spec, FITTED[:-1], density, loss)
        slopes = np.diff(np.log(times)) / np.log(4)
        np.testing.assert_allclose(slopes, wanted, atol=SLOPE)


def test_a_balanced_weight_is_known_at_once(spec):
    even = spec.replace(p=0.515)
    assert found(even, [100], "uniform", "data") == 0
    (row,) = time_exponents(even, ["uniform"], ["data"], within=0.02)
    assert row["exponent"] == "0"


def test_mirrored_weights_take_as_long(spec):
    times = [found(spec.replace(p=p), [200], "cosine", "noise") for p in (0.9, 0.1)]
    assert times[0] == pytest.approx(times[1], rel=SAME)


WEAK = """
[target]
kind = "product"
sigma = 0.7
features = [
  { p = 0.8, scale = 1.0, exponent = 0 },
  { p = 0.7, scale = 2.0, exponent = "1/4" },
]
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 3.0
[data]
n = "inf"
"""


def test_a_weak_feature_is_slower_by_its_share(spec):
    """t_j(d) = (d/d') t(d') with d' = |mu_j|^2, the density held."""
    d = 1e4
    first, second = found(parse_spec(WEAK), [d], "uniform", "data")
    own = 2 * np.sqrt(d)
    alone = [spec.replace(p=p, sigma=0.7) for p in (0.8, 0.7)]
    assert first == pytest.approx(found(alone[0], [d], "uniform", "data")[0], rel=SAME)
    wanted = d / own * found(alone[1], [own], "uniform", "data")[0]
    assert second == pytest.approx(wanted, rel=SAME)


def test_densities_that_are_the_same(spec):
    """A window without contrast and steps are the uniform density."""
    wanted = found(spec, [500], "uniform", "data")[0]
    level = piecewise_constant("level", (0, 0.3, 1), (0.3, 0.7))
    for density in ("window:0.1:0.4:0.3", "formula:3", level, "shift:1"):
        assert found(spec, [500], density, "data")[0] == pytest.approx(wanted, rel=SAME)


def test_a_table_of_times_is_their_density(spec, tmp_path):
    """Times that are squares of even numbers have the density 1/(2 sqrt(tau))."""
    path = tmp_path / "times.txt"
    path.write_text("\n".join(map(str, np.linspace(0, 1, 140) ** 2)))
    mine = found(spec, [256], f"table:{path}", "data")[0]
    wanted = found(spec, [256], "formula:1/sqrt(tau)", "data")[0]
    assert mine == pytest.approx(wanted, rel=1e-3)
    (row,) = time_exponents(spec, [f"table:{path}"], ["data"], within=0.02)
    assert row["exponent"] == "1/2"  # level below its first time beyond 0
    path.write_text(" ".join(map(str, np.linspace(0, 1, 151))))
    with pytest.raises(ModelError, match="may have 150 times"):
        found(spec, [256], f"table:{path}", "data")


def test_zero_as_a_float_is_the_start_of_a_density(spec):
    density = piecewise_constant("level", (0.0, 0.3, 1.0), (0.3, 0.7))
    (row,) = time_exponents(spec, [density], ["data"], within=0.02)
    assert row["exponent"] == "1/2"


def test_levels_and_quantiles_are_placed_where_they_belong(spec):
    """Of levels even in time, and of a map without a formula for its density."""
    levels = (np.arange(4000) + 0.5) / 4000
    made = piecewise_constant("none", (0, 1), (1,))
    held = type(made)("levels", None, levels=tuple(levels / (1 - levels)))
    wanted = found(spec, [100], "uniform", "data")[0]
    assert found(spec, [100], held, "data")[0] == pytest.approx(wanted, rel=1e-3)
    flat = found(spec, [100], "mode:0.000001", "data")[0]
    assert flat == pytest.approx(wanted, rel=1e-4)


def test_what_misses_the_window_takes_for_ever(spec):
    assert found(spec, [1e4], "window:0.5:0.9:1", "data")[0] == np.inf
    (row,) = time_exponents(spec, ["window:0.5:0.9:1"], ["data"], within=0.02)
    assert row["exponent"] == "inf"


def test_the_variance_is_learned_at_late_times(spec):
    rows = other_times(spec, [100], ["uniform", "shift:sqrt(d)"], ["data"])
    rows = [row for row in rows if row["what"] == "variance"]
    rate = quad(lambda t: (1 - t) ** 4 * t**2 / ((1 - t) ** 2 + t**2) ** 3, 0, 1)[0]
    assert rows[0]["time"] == pytest.approx(1 / rate, rel=SAME)
    assert rows[1]["time"] > 1.5 * rows[0]["time"]


def test_a_direction_is_learned_at_its_rate(spec):
    """A small wrong part of w falls as the flow says, at w = mu and b = h."""
    rows = other_times(spec, [100], ["uniform"], ["velocity"])
    (time,) = (row["time"] for row in rows if row["what"] == "direction-1")
    start = {"m": 1.0, "q": 1e-6, "b": np.log(4) / 2}
    (q,) = shared_flow(spec, 100, "uniform", "velocity", start, [time])["q"]
    assert q == pytest.approx(1e-6 / np.e, rel=1e-3)


def test_what_is_refused(spec):
    for within in (0.5, 0.0, 1e-12):
        with pytest.raises(ModelError, match="`within` must be between 1e-10 and 1/2"):
            found(spec, [100], "uniform", "data", within=within)
    for loss in ("formula:-1", "formula:tau - 1/2", "formula:0"):
        with pytest.raises(ModelError, match=r"A loss weight must be positive, .* at"):
            found(spec, [100], "uniform", loss)
    for density in ("formula:1/tau", "formula:tau**-2", "formula:1/(1-tau)"):
        with pytest.raises(ModelError, match=r"grows without end towards tau = [01]"):
            found(spec, [100], density, "data")
        with pytest.raises(ModelError, match="grows without end"):
            time_exponents(spec, [density], ["data"], within=0.02)
    with pytest.raises(ModelError, match=r"is negative somewhere on the times"):
        found(spec, [100], "formula:tau - 1/2", "data")
    with pytest.raises(ModelError, match="has no finite mass"):
        found(spec, [100], "formula:0*tau", "data")
    with pytest.raises(ModelError, match="edges of a density must increase"):
        found(spec, [4], "dilated", "data")
    samples = spec.text.replace('"inf"', '4\nn_plus = 3\nnoise_draws = "inf"\n')
    samples += "ridge_u = 0.1\nridge_w = 0.1\n"
    with pytest.raises(DerivationError, match=r"on the population, but .* n samples"):
        found(parse_spec(samples), [100], "uniform", "data")
