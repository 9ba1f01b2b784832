"""The flow of the shared network, with and without the noise of SGD."""

import numpy as np
import pytest
import sympy as sp
from dilaton.errors import AdmissibilityError, ModelError, SolveError
from dilaton.numerics.codegen.quadrature import trapezoid
from dilaton.numerics.times.flow import FlowKind, FlowMean, open_flow
from dilaton.numerics.times.nodes import TimeNodes
from dilaton.numerics.times.table import shared_flow
from dilaton.numerics.times.training_mean import evaluated, kernel_of
from dilaton.theory.models.spec import parse_spec
from dilaton.theory.times.noise import common_rate_sgd, heavy_ball_at_rest, shared_sgd
from scipy.integrate import solve_ivp

from ...cases import TWO_MODES

ROUNDED = 6e-5  # published with four decimals
SMOOTH = 1e-4  # slopes by central differences, an even grid of times
TIMES = (3, 6, 9, 12)
START = {"m": 0.1, "q": 1.0, "b": 0.0}


@pytest.fixture(scope="module")
def spec():
    return parse_spec(TWO_MODES).replace(p=0.7, sigma=0.8, kappa=2.5)


def test_the_published_flow_with_noise(spec):
    flow = shared_flow(spec, 400, "dilated", "data", START, TIMES, rate=2, batch=4)
    wanted = {
        "m": (0.7819, 0.9661, 0.9970, 1.0014),
        "q": (0.0670, 0.0281, 0.0277, 0.0274),
        "b": (0.1000, 0.2094, 0.2807, 0.3265),
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(flow[name], values, atol=ROUNDED)


def test_the_published_flow_without_noise(spec):
    flow = shared_flow(spec, 400, "dilated", "data", START, TIMES)
    np.testing.assert_allclose(flow["q"], (0.0455, 0.0015, 0.0, 0.0), atol=ROUNDED)


def loss(m, q, b, p, sigma, d, weight):
    """The loss under the uniform density on a fine grid of times, by trapezoids."""
    tau = np.linspace(0, 1, 201)[:, None]
    g = np.linspace(-8, 8, 241)
    phi = np.exp(-g * g / 2) / np.sqrt(2 * np.pi) * (g[1] - g[0])
    noise = (1 - tau) ** 2 + sigma**2 * tau**2
    snr, norm = tau**2 * d / noise, m * m + q
    total = 0.0
    for s, share in ((1, p), (-1, 1 - p)):
        unit = np.tanh(s * snr * m + np.sqrt(snr * norm) * g + b)
        total = total + share * (norm * unit**2 - 2 * s * m * unit) @ phi
    kept = ((1 - tau[:, 0]) ** 2 / noise[:, 0]) ** 2 * weight(tau[:, 0])
    return np.trapezoid(kept * total, tau[:, 0])


def slopes(state, *args):
    step = 1e-5
    return [
        (loss(*(state + h), *args) - loss(*(state - h), *args)) / (2 * step)
        for h in step * np.eye(3)
    ]


@pytest.mark.parametrize("name", ["data", "velocity"])
def test_against_central_differences_of_the_loss(spec, name):
    weight = {"data": lambda t: 1.0, "velocity": lambda t: 1 / (1 - t + 1e-12) ** 2}
    args = (0.7, 0.8, 16.0, weight[name])

    def rhs(_, y):
        dm, dq, db = slopes(y, *args)
        return [-dm / 2, -2 * y[1] * dq, -db / 2]

    start = np.array([0.3, 1.0, 0.1])
    judged = solve_ivp(rhs, (0, 3), start, t_eval=[1, 3], rtol=1e-4).y
    init = dict(zip(START, start, strict=True))
    flow = shared_flow(spec, 16, "uniform", name, init, [1, 3])
    for mine, wanted in zip(("m", "q", "b"), judged, strict=True):
        np.testing.assert_allclose(flow[mine], wanted, atol=SMOOTH)
    assert abs(flow["m"][1] - judged[0][0]) > 30 * SMOOTH  # it has teeth


def test_a_fixed_point_is_the_bayes_denoiser(spec):
    init = {"m": 1.0, "q": 0.0, "b": np.log(0.7 / 0.3) / 2}
    flow = shared_flow(spec, 100, "uniform", "noise", init, [0, 50])
    for name, value in init.items():
        np.testing.assert_allclose(flow[name], value, atol=1e-8)


def test_steep_fields_are_resolved(spec):
    """From q = 0 the unit is right at nearly all times of a huge d: m goes to 1."""
    flow = shared_flow(spec, 1e8, "uniform", "data", {"m": 0.5, "q": 0.0, "b": 0}, [4])
    t = np.linspace(0, 1, 100001)
    kept = np.trapezoid(((1 - t) ** 2 / ((1 - t) ** 2 + 0.64 * t**2)) ** 2, t)
    assert flow["m"][0] == pytest.approx(1 - 0.5 * np.exp(-4 * kept), abs=1e-3)


def speeds(kind, spec, state, point):
    """The flow at one time, (m, q, b)."""
    known = point | {str(k): float(v) for k, v in spec.values.items()}
    nodes = TimeNodes(np.array([point["tau"]]), np.ones(1))
    return FlowMean(open_flow(spec.model, "data", kind), nodes, known)(state)


@pytest.mark.parametrize(
    "name", [pytest.param("exact", marks=pytest.mark.slow), "common"]
)
def test_closed_averages_are_those_of_the_printed_system(spec, name):
    """Scales of error functions against the trapezoidal rule of the kernel."""
    model, state = spec.model, [0.7, 0.4, 0.3, *([0.02] if name == "common" else [])]
    derive = {"exact": lambda *a: shared_sgd(*a, exact=True), "common": common_rate_sgd}
    system = derive[name](model, sp.S.One)
    known = {"d": 90.0, "rate": 2.0, "batch": 4.0, "tau": 0.2}
    known |= {str(k): float(v) for k, v in spec.values.items()}
    kernel = kernel_of(system)
    params = [known[x] for x in kernel.parameters[:-1]]
    rule, tau = trapezoid(500), np.array([known["tau"]])
    wanted = evaluated(kernel["rhs"], state, params, tau, rule)[:, 0]
    kind = FlowKind(noisy=True, exact=name == "exact", common=name == "common")
    np.testing.assert_allclose(speeds(kind, spec, state, known), wanted, rtol=1e-9)
    assert speeds(kind, spec, [0.7, 0.41, 0.3, *state[3:]], known)[1] != pytest.approx(
        wanted[1], rel=1e-4
    )


def squared_slopes(state, p, sigma, d, tau, count, seed):
    """Squares of a sample's slope across mu, for networks on whole vectors."""
    m, q, b = state
    rng = np.random.default_rng(seed)
    mu, w = np.zeros((2, d))
    mu[0], w[0], w[1] = d**0.5, m * d**0.5, (q * d) ** 0.5
    s = np.where(rng.random(count) < p, 1, -1)[:, None]
    x1 = s * mu + sigma * rng.standard_normal((count, d))
    x = (1 - tau) * rng.standard_normal((count, d)) + tau * x1
    delta = (1 - tau) ** 2 + sigma**2 * tau**2
    gain = (1 - tau) ** 2 / delta
    unit = np.tanh(tau / delta * (x @ w) + b)[:, None]
    left = x1 - sigma**2 * tau / delta * x - gain * unit * w
    inner = (left @ w)[:, None] * (1 - unit**2) * tau / delta
    slope = 2 / d * gain * (unit * left + inner * x)
    return (slope[:, 1:] ** 2).sum(1)


def test_the_noise_at_finite_d_is_the_square_of_a_slope(spec):
    """N = rate/4 E|slope|^2 a unit of time; the leading part alone is far off."""
    spec, state = spec.replace(sigma=2.0), [0.8, 0.6, 0.2]
    point = {"d": 12.0, "tau": 0.25, "rate": 1.0, "batch": 1.0}
    still = speeds(FlowKind(), spec, state, point)
    whole, first = (
        (speeds(FlowKind(noisy=True, exact=x), spec, state, point) - still)[1]
        for x in (True, False)
    )
    drawn = squared_slopes(state, 0.7, 2.0, 12, 0.25, 400_000, 1) / 4
    error = drawn.std() / np.sqrt(drawn.size)
    assert abs(whole - drawn.mean()) < 4 * error
    assert abs(first - drawn.mean()) > 20 * error


def test_one_common_rate_moves_the_bias_d_times_faster(spec):
    point, state = {"d": 50.0, "tau": 0.3}, [0.6, 0.5, 0.1]
    own = speeds(FlowKind(), spec, state, point)
    common = speeds(FlowKind(common=True), spec, state, point)
    np.testing.assert_allclose(common, own * [1, 1, 50], rtol=1e-12)


def test_a_common_rate_ends_in_a_noisy_bias(spec):
    """At rest V = rate/(2 B) E T'^2 (s-T)^2/E T'^2, by sums over a grid at small q."""
    start = {"m": 1.0, "q": 0.0, "b": np.log(0.7 / 0.3) / 2}
    sgd = {"rate": 0.02, "batch": 1, "common_rate": True}
    flow = shared_flow(spec, 100, "window:0.2:0.2001:1", "data", start, [30], **sgd)
    snr = 0.04 * 100 / (0.64 + 0.64 * 0.04)
    g = np.linspace(-8, 8, 2001)
    phi = np.exp(-g * g / 2) / np.exp(-g * g / 2).sum()
    pull = slope = 0.0
    for s, share in ((1, 0.7), (-1, 0.3)):
        t = np.tanh(s * snr + np.sqrt(snr) * g + start["b"])
        pull += share * phi @ ((1 - t * t) ** 2 * (s - t) ** 2)
        slope += share * phi @ (1 - t * t) ** 2
    gain = (0.64 / (0.64 + 0.64 * 0.04)) ** 2
    assert flow["b_var"][0] == pytest.approx(0.01 * gain * pull / slope, rel=0.03)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_momentum_and_a_common_rate_at_rest(spec, momentum):
    """Second moments of the linear heavy ball, step by step until they stay."""
    rate, batch = 40.0, 4000.0
    start = {"m": 1.0, "q": 0.0, "b": np.log(0.7 / 0.3) / 2}
    sgd = {"rate": rate * (1 - momentum), "batch": batch, "momentum": momentum}
    args = (spec, 100, "window:0.2:0.2001:1", "data", start, [3])
    (found,) = shared_flow(*args, common_rate=True, **sgd)["b_var"]
    snr, gain = 0.04 * 100 / (0.64 + 0.64 * 0.04), (0.64 / (0.64 + 0.64 * 0.04)) ** 2
    g = np.linspace(-8, 8, 2001)
    phi = np.exp(-g * g / 2) / np.exp(-g * g / 2).sum()
    kick = slope = 0.0
    for s, share in ((1, 0.7), (-1, 0.3)):
        t = np.tanh(s * snr + np.sqrt(snr) * g + start["b"])
        kick += share * phi @ ((1 - t * t) ** 2 * (s - t) ** 2) * gain**2
        slope += share * phi @ (1 - t * t) ** 2 * gain
    step = rate * (1 - momentum)
    turn = np.array([[1 - step * slope, -step * momentum], [slope, momentum]])
    push, moments = np.array([-step, 1.0]), np.zeros((2, 2))
    for _ in range(2000):
        moments = turn @ moments @ turn.T + np.outer(push, push) * kick / batch
    assert found == pytest.approx(moments[0, 0], rel=0.02)  # of order 1/batch
    law = heavy_ball_at_rest()["b_var"]
    at = {"rate": rate, "batch": batch, "momentum": momentum, "pull": slope}
    at |= {"kick": kick}
    value = float(law.subs({x: at[str(x)] for x in law.free_symbols}))
    assert value == pytest.approx(moments[0, 0], rel=1e-9)
    first = rate * kick / (2 * slope * batch)
    assert abs(first / moments[0, 0] - 1) > (0.1 if momentum == 0 else 0.01)


def test_momentum_is_a_larger_rate(spec):
    args = (spec, 100, "dilated", "data", START, (2, 5))
    slow = shared_flow(*args, rate=0.5, batch=4, momentum=0.75)
    assert slow == shared_flow(*args, rate=2.0, batch=4)


def test_training_that_diverges_is_said_to(spec):
    """The noise grows as q^(3/2), the pull back as q: a large rate wins."""
    sgd = {"rate": 60.0, "batch": 1}
    with pytest.raises(SolveError, match=r"diverge at time 0\.\d+: training does"):
        shared_flow(spec, 64, "uniform", "data", START, [5], **sgd)


def test_what_is_refused(spec):
    args = (spec, 100, "uniform", "data")
    with pytest.raises(ModelError, match="`batch` is missing"):
        shared_flow(*args, START, [1], rate=1.0)
    with pytest.raises(ModelError, match="`repeats` = 2 comes without `rate`"):
        shared_flow(*args, START, [1], repeats=2)
    with pytest.raises(ModelError, match="`exact_noise` is of the noise"):
        shared_flow(*args, START, [1], exact_noise=True)
    sgd = {"rate": 1.0, "batch": 1, "common_rate": True}
    with pytest.raises(ModelError, match="comes with `exact_noise`"):
        shared_flow(*args, START, [1], exact_noise=True, **sgd)
    with pytest.raises(ModelError, match="comes with `repeats` = 2"):
        shared_flow(*args, START, [1], repeats=2, **sgd)
    with pytest.raises(ModelError, match="`rate` must be positive and finite"):
        shared_flow(*args, START, [1], rate=-1.0, batch=1)
    with pytest.raises(ModelError, match="A step of SGD must be short beside the tr"):
        shared_flow(*args, START, [1], rate=50.0, batch=1, momentum=0.5)
    with pytest.raises(ModelError, match="`momentum` must be from 0 to below 1"):
        shared_flow(*args, START, [1], rate=1.0, batch=1, momentum=1.0)
    with pytest.raises(ModelError, match=r"`momentum` = 0\.5 comes without `rate`"):
        shared_flow(*args, START, [1], momentum=0.5)
    with pytest.raises(AdmissibilityError, match="vectors must not vanish"):
        shared_flow(*args, {"m": 0.0, "q": 0.0, "b": 0.0}, [1])
    with pytest.raises(ModelError, match="`q` is missing"):
        shared_flow(*args, {"m": 0.1, "b": 0.0}, [1])
