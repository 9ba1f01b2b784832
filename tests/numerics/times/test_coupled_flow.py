"""Two units that all times share: they couple through the means of their features."""

import numpy as np
import pytest
from dilaton.errors import AdmissibilityError, DerivationError, ModelError
from dilaton.numerics.times.flow import FlowKind, FlowMean, open_flow
from dilaton.numerics.times.nodes import TimeNodes
from dilaton.numerics.times.table import shared_flow
from dilaton.numerics.times.tanh_averages import TwoFields, one_field
from dilaton.theory.models.spec import parse_spec

from ...cases import TWO_MODES
from ...oracles import mean, mean2

CLOSED = 2e-9  # ten scales for each unit
SMOOTH = 1e-6  # central differences
SAME = 1e-6  # two integrations
PAIR = """
[target]
kind = "product"
sigma = 0.8
features = [
  { p = 0.8, scale = 1.0, exponent = 0 },
  { p = 0.7, scale = 2.0, exponent = 0 },
]
[interpolant]
alpha = "cos(pi*tau/2)"
beta = "sin(pi*tau/2)"
[dilation]
kappa = 3.0
[data]
n = "inf"
"""
START = {
    "m_1": 0.6, "m_1_2": 0.1, "m_2_1": -0.1, "m_2": 0.5, "r_1": 0.9, "r_1_2": 0.2,
    "r_2": 0.8, "b_1": 0.1, "b_2": -0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def spec():
    return parse_spec(PAIR)


FIELDS = (
    ((0.3, -0.8), ((0.7, 0.2), (0.2, 1.5))),
    ((0.0, 1.0), ((40.0, -12.0), (-12.0, 9.0))),  # steep
    ((2.0, 1.7), ((1.0, 1.18), (1.18, 1.4))),  # nearly parallel
)


@pytest.mark.parametrize(("means", "cov"), FIELDS)
def test_averages_of_powers_are_closed(means, cov):
    (c11, c12), (_, c22) = cov
    columns = [np.array([x]) for x in (c11, c12, c22)]
    pair = TwoFields([np.array([x]) for x in means], columns)
    for n, m in ((1, 1), (2, 1), (1, 3), (4, 2), (1, 5)):
        wanted = mean2(
            lambda x, y, n=n, m=m: np.tanh(x) ** n * np.tanh(y) ** m, means, cov
        )
        assert pair.power(n, m)[0] == pytest.approx(wanted, abs=CLOSED)
    one = one_field((1, 4, 6), np.array([means[0]]), np.array([c11]))
    for n, found in zip((1, 4, 6), one, strict=True):
        wanted = mean(lambda h, n=n: np.tanh(h) ** n, means[0], c11)
        assert found[0] == pytest.approx(wanted, abs=CLOSED)
    turned = TwoFields(
        [np.array([x]) for x in means], [columns[0], -columns[1], columns[2]]
    )
    assert abs(turned.power(1, 1)[0] - pair.power(1, 1)[0]) > 1e3 * CLOSED


def loss(vectors, bias, point, tau, weight):
    """The loss on vectors of four coordinates, by a product rule for both fields."""
    p, size, sigma, d = point
    alpha, beta = np.cos(np.pi * tau / 2), np.sin(np.pi * tau / 2)
    delta = alpha**2 + sigma**2 * beta**2
    g = np.linspace(-8, 8, 81)
    phi = np.exp(-g * g / 2) / np.exp(-g * g / 2).sum()
    gram = vectors @ vectors.T
    low = np.linalg.cholesky(gram * beta**2 / delta)
    total = 0.0
    for s1, s2 in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        share = (p[0] if s1 > 0 else 1 - p[0]) * (p[1] if s2 > 0 else 1 - p[1])
        centre = np.array([s1 * size[0], s2 * size[1], 0.0, 0.0])
        field = beta**2 / delta * vectors @ centre + bias
        one = np.tanh(field[0] + low[0, 0] * g)[:, None]
        two = np.tanh(field[1] + low[1, 0] * g[:, None] + low[1, 1] * g)
        square = gram[0, 0] * one**2 + gram[1, 1] * two**2 + 2 * gram[0, 1] * one * two
        hit = vectors @ centre
        total += share * phi @ (square - 2 * (hit[0] * one + hit[1] * two)) @ phi
    return weight * (alpha**2 / delta) ** 2 * total / d


def test_speeds_are_slopes_of_the_loss_on_vectors(spec):
    d, tau, p, size = 60.0, 0.15, (0.8, 0.7), np.sqrt([60.0, 120.0])
    vectors = np.array([[5.0, 1.0, 2.0, 0.5], [-1.0, 6.0, -0.7, 3.0]])
    bias, held = np.array([0.2, -0.3]), (p, size, 0.8, d)
    noise = np.tan(np.pi * tau / 2) ** 2  # the loss weight

    def slope(x, i):
        step = np.zeros(10)
        step[i] = 1e-4
        ends = [x + step, x - step]
        up, down = (loss(e[:8].reshape(2, 4), e[8:], held, tau, noise) for e in ends)
        return (up - down) / 2e-4

    x = np.concatenate([vectors.ravel(), bias])
    slopes = np.array([slope(x, i) for i in range(10)])
    moved = -d / 2 * slopes[:8].reshape(2, 4)
    scale = np.outer(size, size)
    dots = (vectors @ moved.T + moved @ vectors.T) / scale
    along = moved[:, :2] * size / scale
    wanted = {"m_1": along[0, 0], "m_1_2": along[0, 1], "m_2_1": along[1, 0]}
    wanted |= {"m_2": along[1, 1], "r_1": dots[0, 0], "r_1_2": dots[0, 1]}
    wanted |= {"r_2": dots[1, 1], "b_1": -slopes[8] / 2, "b_2": -slopes[9] / 2}
    gram, half = vectors @ vectors.T / scale, vectors[:, :2] * size / scale
    state = {"m_1": half[0, 0], "m_1_2": half[0, 1], "m_2_1": half[1, 0]}
    state |= {"m_2": half[1, 1], "r_1": gram[0, 0], "r_1_2": gram[0, 1]}
    state |= {"r_2": gram[1, 1], "b_1": 0.2, "b_2": -0.3}
    flow = open_flow(spec.model, "noise", FlowKind())
    known = {str(k): float(v) for k, v in spec.values.items()} | {"d": d}
    names = [str(x) for x in flow.flow.unknowns]
    at = FlowMean(flow, TimeNodes(np.array([tau]), np.ones(1)), known)
    found = dict(zip(names, at([state[x] for x in names]), strict=True))
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=SMOOTH)
    crossed = at([state[x] * (-1 if x == "r_1_2" else 1) for x in names])
    assert abs(crossed[0] - wanted["m_1"]) > 100 * SMOOTH


def alone(p, start, times):
    """The flow of one feature of the pair's interpolant."""
    text = TWO_MODES.replace("1 - tau", "cos(pi*tau/2)").replace(
        '"tau"', '"sin(pi*tau/2)"'
    )
    one = parse_spec(text).replace(p=p, sigma=0.8)
    m, r, b = start
    flow = shared_flow(
        one, 200, "shift:6", "data", {"m": m, "q": r - m * m, "b": b}, times
    )
    norm = np.array(flow["q"]) + np.array(flow["m"]) ** 2
    return np.array(flow["m"]), norm, np.array(flow["b"])


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_units_decouple_for_even_weights_and_no_bias(spec, p):
    """Blocks (p = 1/2, b = 0); with other weights w_1 is driven along mu_2."""
    text = PAIR.replace("scale = 2.0", "scale = 1.0").replace("p = 0.8", f"p = {p}")
    even = parse_spec(text.replace("p = 0.7", f"p = {p}"))
    start = dict.fromkeys(START, 0.0) | {"m_1": 0.5, "m_2": 0.2, "r_1": 0.8, "r_2": 0.5}
    flow = shared_flow(even, 200, "shift:6", "data", start, (1, 3), rtol=1e-7)
    own = [alone(p, x, (1, 3)) for x in ((0.5, 0.8, 0.0), (0.2, 0.5, 0.0))]
    cross = max(np.max(np.abs(flow[x])) for x in ("m_1_2", "m_2_1", "r_1_2"))
    off = max(
        np.max(np.abs(flow[f"{x}_{j}"] - own[j - 1][i]))
        for i, x in enumerate("mrb")
        for j in (1, 2)
    )
    if p == 0.5:
        assert max(cross, off) < SAME
    else:
        assert min(cross, off) > 1e-3


def test_the_bayes_denoiser_stays(spec):
    h = [np.log(p / (1 - p)) / 2 for p in (0.8, 0.7)]
    start = dict.fromkeys(START, 0.0) | dict.fromkeys(("m_1", "m_2", "r_1", "r_2"), 1.0)
    start |= {"b_1": h[0], "b_2": h[1]}
    flow = shared_flow(spec, 100, "uniform", "velocity", start, (0, 5), rtol=1e-7)
    for name, value in start.items():
        np.testing.assert_allclose(flow[name], value, atol=1e-6)


def test_what_is_refused(spec):
    args = (spec, 100, "uniform", "data")
    with pytest.raises(ModelError, match="`r_2` is missing"):
        shared_flow(*args, {k: v for k, v in START.items() if k != "r_2"}, [1])
    with pytest.raises(AdmissibilityError, match=r"has the eigenvalue -0\.22"):
        shared_flow(*args, START | {"r_1": 0.2}, [1])
    sgd = {"rate": 1.0, "batch": 2}
    with pytest.raises(DerivationError, match="One common rate is derived for one"):
        shared_flow(*args, START, [1], common_rate=True, **sgd)
    with pytest.raises(DerivationError, match=r"at finite d for one, .* has 2"):
        shared_flow(*args, START, [1], exact_noise=True, **sgd)
    with pytest.raises(DerivationError, match="repeated pairs is derived for one"):
        shared_flow(*args, START, [1], repeats=2, **sgd)
