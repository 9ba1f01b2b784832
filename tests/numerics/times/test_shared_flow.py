"""The flow of the shared network, with and without the noise of SGD."""

import numpy as np
import pytest
from dilaton.errors import AdmissibilityError, DerivationError, ModelError
from dilaton.numerics.times.table import shared_flow
from dilaton.theory.models.spec import parse_spec
from scipy.integrate import solve_ivp

from .test_learning_times import SPEC, WEAK

ROUNDED = 6e-5  # published with four decimals
SMOOTH = 1e-4  # slopes by central differences, an even grid of times
TIMES = (3, 6, 9, 12)
START = {"m": 0.1, "q": 1.0, "b": 0.0}


@pytest.fixture(scope="module")
def spec():
    return parse_spec(SPEC).replace(p=0.7, sigma=0.8, kappa=2.5)


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


def test_what_is_refused(spec):
    args = (spec, 100, "uniform", "data")
    with pytest.raises(ModelError, match="`batch` is missing"):
        shared_flow(*args, START, [1], rate=1.0)
    with pytest.raises(ModelError, match="`repeats` = 2 comes without `rate`"):
        shared_flow(*args, START, [1], repeats=2)
    with pytest.raises(ModelError, match="`rate` must be positive and finite"):
        shared_flow(*args, START, [1], rate=-1.0, batch=1)
    with pytest.raises(AdmissibilityError, match="vector must not vanish"):
        shared_flow(*args, {"m": 0.0, "q": 0.0, "b": 0.0}, [1])
    with pytest.raises(ModelError, match="`q` is missing"):
        shared_flow(*args, {"m": 0.1, "b": 0.0}, [1])
    with pytest.raises(DerivationError, match="solved for one feature"):
        shared_flow(parse_spec(WEAK), 100, "uniform", "data", START, [1])
