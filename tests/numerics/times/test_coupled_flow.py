"""Units that all times share: they couple through the means of their features."""

import re
from itertools import product

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

CLOSED = 2e-9  # eight scales for each unit
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
TRIPLE = PAIR.replace(
    "exponent = 0 },\n]",
    "exponent = 0 },\n  { p = 0.4, scale = 0.6666666666666666, exponent = 0 },\n]",
)
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


def loss(vectors, bias, size, tau):
    """The loss under noise prediction on vectors, a product rule for each two fields.

    The means are along the first axes.
    """
    alpha, beta = np.cos(np.pi * tau / 2), np.sin(np.pi * tau / 2)
    delta = alpha**2 + 0.8**2 * beta**2
    g = np.linspace(-7, 7, 61)
    phi = np.exp(-g * g / 2) / np.exp(-g * g / 2).sum()
    gram = vectors @ vectors.T
    total = 0.0
    for signs in product((1, -1), repeat=len(size)):
        share = np.prod([p if s > 0 else 1 - p for s, p in zip(signs, P, strict=False)])
        hit = vectors[:, : len(size)] @ (signs * size)
        mean = beta**2 / delta * hit + bias
        for j, k in product(range(len(size)), repeat=2):
            pair = gram[np.ix_([j, k], [j, k])] * beta**2 / delta
            one = np.tanh(mean[j] + np.sqrt(pair[0, 0]) * g)[:, None]
            slope = pair[0, 1] / np.sqrt(pair[0, 0])
            rest = np.sqrt(max(pair[1, 1] - slope**2, 0.0))
            two = np.tanh(mean[k] + slope * g[:, None] + rest * g)
            square = gram[j, k] * one * two if j != k else gram[j, j] * one**2
            total += share * phi @ (square + 0 * two) @ phi
            if j == k:
                total -= 2 * share * hit[j] * phi @ one[:, 0]
    return (beta / alpha) ** 2 * (alpha**2 / delta) ** 2 * total / DIM


P, DIM = (0.8, 0.7, 0.4), 60.0
VECTORS = np.array([[5.0, 1, 0.3, 2, 0.5], [-1, 6, 0.6, -0.7, 3], [0.4, -0.8, 3, 1, 1]])
BIAS = np.array([0.2, -0.3, 0.1])
SIZE = np.sqrt([60.0, 120.0, 40.0])


def names_of(units, name):
    return [
        [f"{name}_{j}" if j == k else f"{name}_{j}_{k}" for k in units] for j in units
    ]


def by_name(count, along, norms, bias):
    """Numbers of overlaps, by name; the products of vectors are in a matrix."""
    units = range(1, count + 1)
    found = {f"b_{j}": x for j, x in zip(units, bias, strict=True)}
    for name, matrix in (("m", along), ("r", norms)):
        for j, row in enumerate(names_of(units, name)):
            for k, key in enumerate(row):
                if name == "m" or k >= j:
                    found[key] = matrix[j, k]
    return found


def speed_at(text, tau, state, density="noise"):
    """The speed at one time, by name."""
    given = parse_spec(text)
    flow = open_flow(given.model, density, FlowKind())
    known = {str(k): float(v) for k, v in given.values.items()} | {"d": DIM}
    names = [str(x) for x in flow.flow.unknowns]
    at = FlowMean(flow, TimeNodes(np.array([tau]), np.ones(1)), known)
    return dict(zip(names, at([state[x] for x in names]), strict=True))


SLOW_TRIPLE = pytest.param(TRIPLE, marks=pytest.mark.slow, id="three")


@pytest.mark.parametrize("text", [pytest.param(PAIR, id="two"), SLOW_TRIPLE])
def test_speeds_are_slopes_of_the_loss_on_vectors(text):
    count, tau = text.count("{ p"), 0.15
    vectors, bias, size = VECTORS[:count], BIAS[:count], SIZE[:count]
    wide = vectors.shape[1] * count

    def slope(x, i):
        step = np.zeros(x.size)
        step[i] = 1e-4
        up, down = (
            loss(e[:wide].reshape(count, -1), e[wide:], size, tau)
            for e in (x + step, x - step)
        )
        return (up - down) / 2e-4

    x = np.concatenate([vectors.ravel(), bias])
    slopes = np.array([slope(x, i) for i in range(x.size)])
    moved = -DIM / 2 * slopes[:wide].reshape(count, -1)
    scale, mean = np.outer(size, size), np.eye(count, vectors.shape[1]) * size[:, None]
    dots = (vectors @ moved.T + moved @ vectors.T) / scale
    wanted = by_name(count, moved @ mean.T / scale, dots, -slopes[wide:] / 2)
    state = by_name(count, vectors @ mean.T / scale, vectors @ vectors.T / scale, bias)
    found = speed_at(text, tau, state)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=SMOOTH), name
    crossed = speed_at(text, tau, state | {"r_1_2": -state["r_1_2"]})
    assert abs(crossed["m_1"] - wanted["m_1"]) > 100 * SMOOTH


def test_three_units_are_blocks_for_even_weights_and_no_bias():
    """The speeds of a unit are then its own, and those across units vanish."""
    even = re.sub("p = 0.[0-9]", "p = 0.5", TRIPLE)
    along, norm = np.diag([0.5, 0.7, 0.3]), np.diag([0.9, 0.8, 0.6])
    found = speed_at(even, 0.15, by_name(3, along, norm, np.zeros(3)))
    for j, (m, r, scale) in enumerate(
        zip(np.diag(along), np.diag(norm), (1.0, 2.0, 2 / 3), strict=True), 1
    ):
        one = re.sub(
            r"features = \[.*?\]",
            f"features = [{{ p = 0.5, scale = {scale}, exponent = 0 }}]",
            even,
            flags=re.S,
        )
        own = speed_at(one, 0.15, {"m_1": m, "q_1": r - m * m, "b_1": 0.0})
        assert found[f"m_{j}"] == pytest.approx(own["m_1"], abs=CLOSED)
        norms = own["q_1"] + 2 * m * own["m_1"]
        assert found[f"r_{j}"] == pytest.approx(norms, abs=CLOSED)
    rest = [x for name, x in found.items() if name.count("_") == 2 or name[0] == "b"]
    assert len(rest) == 12
    assert max(map(abs, rest)) < CLOSED
    uneven = speed_at(TRIPLE, 0.15, by_name(3, along, norm, np.zeros(3)))
    assert abs(uneven["m_1_3"]) > 1e6 * CLOSED


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
    flow = shared_flow(even, 200, "shift:6", "data", start, (1, 2), rtol=1e-7)
    own = [alone(p, x, (1, 2)) for x in ((0.5, 0.8, 0.0), (0.2, 0.5, 0.0))]
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
    three = by_name(3, np.eye(3), np.eye(3), np.zeros(3))
    with pytest.raises(DerivationError, match="up to two features, whose averages"):
        shared_flow(parse_spec(TRIPLE), 100, "uniform", "data", three, [1], **sgd)
