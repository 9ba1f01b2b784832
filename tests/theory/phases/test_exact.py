"""What is exact at finite dimension: the Bayes denoiser, its error and its flow."""

import numpy as np
import pytest
import sympy as sp
from dilaton import Interpolant, Model
from dilaton.theory.models.model import (
    LINEAR,
    TAU,
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    D,
    norm,
    product,
    two_modes,
)
from dilaton.theory.phases.denoiser import (
    exact_denoiser,
    exact_flow,
    exact_mse,
    log_odds_step,
)
from dilaton.theory.symbols.notation import symbol
from scipy.integrate import solve_ivp
from scipy.special import logsumexp
from scipy.stats import kstest, norm as normal

from ...oracles import value

CLOSED = 1e-10  # Gaussian formulas in doubles
SIGMAS = 4.5  # standard errors of a Monte Carlo mean
RANK = 1e-6  # solve_ivp at rtol 1e-9 from tau = 0 to the end
P_VALUE = 1e-3  # Kolmogorov and Smirnov, fixed seed
TWO = Model(two_modes())
PRODUCT = Model(product(0, "1/4"), TRIGONOMETRIC)
NUMBERS = {"p": 0.8, "sigma": 1.3, "p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 2.0}
SCHEDULES = {
    "linear": LINEAR,
    "trigonometric": TRIGONOMETRIC,
    "preserving": VARIANCE_PRESERVING,
    "exploding": VARIANCE_EXPLODING,
    "powers": Interpolant((1 - TAU) ** 2, TAU**3),
}


def number(expr, **more):
    return value(expr, **NUMBERS, **more)


def means_of(model, d, rng):
    """Explicit orthogonal means of the right norms."""
    count = len(model.target.features)
    basis = np.linalg.qr(rng.normal(size=(d, count)))[0].T
    sizes = [number(norm(f), d=d) for f in model.target.features]
    return basis * np.array(sizes)[:, None]


def posterior_mean(x, mu, weights, sigma, alpha, beta):
    """E[x1|x] of a Gaussian mixture, pattern by pattern of signs."""
    delta = alpha**2 + sigma**2 * beta**2
    logs, centres = [], []
    for signs in np.ndindex(*(2,) * len(mu)):
        s = 1 - 2 * np.array(signs)
        prior = np.prod(np.where(s > 0, weights, 1 - weights))
        centre = s @ mu
        centres.append(centre)
        logs.append(np.log(prior) - np.sum((x - beta * centre) ** 2, -1) / (2 * delta))
    logs = np.array(logs)
    share = np.exp(logs - logsumexp(logs, axis=0))
    middle = np.tensordot(share, np.array(centres), (0, 0))
    return middle + sigma**2 * beta / delta * (x - beta * middle)


def setting(model, d, tau, seed=0):
    rng = np.random.default_rng(seed)
    mu = means_of(model, d, rng)
    weights = np.array([number(f.p) for f in model.target.features])
    alpha, beta = (
        number(e, d=d, tau=tau)
        for e in (model.interpolant.alpha, model.interpolant.beta)
    )
    return rng, mu, weights, alpha, beta


def draw(rng, count, mu, weights, sigma, alpha, beta):
    d = mu.shape[1]
    s = np.where(rng.random((count, len(mu))) < weights, 1.0, -1.0)
    x1 = s @ mu + sigma * rng.normal(size=(count, d))
    return x1, alpha * rng.normal(size=(count, d)) + beta * x1


def denoised(model, x, mu, d, tau, sign=1):
    """(D1) evaluated on explicit vectors."""
    bayes = exact_denoiser(model)
    at = {"d": d, "tau": tau}
    out = number(bayes.skip, **at) * x
    for j, feature in enumerate(model.target.features, 1):
        unit = mu[j - 1] / np.linalg.norm(mu[j - 1])
        field = number(bayes.slope(j), **at) * (x @ unit)
        h = sign * number(feature.log_odds)
        step = np.tanh(field + h)
        out = out + number(bayes.residual_gain, **at) * step[:, None] * mu[j - 1]
    return out


@pytest.mark.parametrize("model", [TWO, PRODUCT], ids=["two modes", "product"])
@pytest.mark.parametrize("tau", [0.02, 0.15, 0.6])
def test_the_denoiser_is_the_posterior_mean(model, tau):
    d = 64
    rng, mu, weights, alpha, beta = setting(model, d, tau)
    _, x = draw(rng, 50, mu, weights, 1.3, alpha, beta)
    exact = posterior_mean(x, mu, weights, 1.3, alpha, beta)
    assert np.allclose(denoised(model, x, mu, d, tau), exact, atol=CLOSED)
    if tau < 0.5:
        wrong = denoised(model, x, mu, d, tau, sign=-1)
        assert not np.allclose(wrong, exact, atol=1e-3)


def test_the_log_odds_are_linear():
    y, size, delta, beta, h = sp.symbols("y |mu| Delta beta h", positive=True)
    odds = log_odds_step().formula
    got = odds.xreplace(
        {s: sp.Symbol(str(s), positive=True) for s in odds.free_symbols}
    )
    assert sp.simplify(got - (beta * size * y / delta + h)) == 0


@pytest.mark.parametrize("model", [TWO, PRODUCT], ids=["two modes", "product"])
@pytest.mark.parametrize("tau", [0.05, 0.3])
def test_the_error_by_monte_carlo(model, tau):
    d, count = 64, 20000
    rng, mu, weights, alpha, beta = setting(model, d, tau, seed=1)
    x1, x = draw(rng, count, mu, weights, 1.3, alpha, beta)
    guess = posterior_mean(x, mu, weights, 1.3, alpha, beta)
    errors = np.sum((x1 - guess) ** 2, 1) / d
    stderr = errors.std() / np.sqrt(count)
    got = number(exact_mse(model)["mse"], d=d, tau=tau)
    assert abs(got - errors.mean()) < SIGMAS * stderr
    assert abs(1.02 * got - errors.mean()) > SIGMAS * stderr


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_undilated_error_jumps_at_zero(name):
    """From sigma^2 + 4p(1-p) at 0 to the linear denoiser's at any tau > 0."""
    model = Model(two_modes(), SCHEDULES[name])
    error = exact_mse(model)["mse"]
    start = number(error, d=1e12, tau=1e-14)
    assert start == pytest.approx(1.69 + 4 * 0.16, abs=1e-4)
    if name == "exploding":
        return  # no jump there: the window is all of [0, 1]
    tau = 0.2
    a, b = (
        number(e, d=1e12, tau=tau)
        for e in (model.interpolant.alpha, model.interpolant.beta)
    )
    linear = 1.69 * a**2 / (a**2 + 1.69 * b**2)
    assert number(error, d=1e12, tau=tau) == pytest.approx(linear, abs=1e-9)


@pytest.mark.parametrize("s", [0.25, 0.5, 1.0])
def test_the_error_at_finite_dimension_approaches_the_window(s):
    """At tau = kappa s/sqrt(d) the gap falls like d^(-1/2)."""
    from ...cases import limit_of

    limit = limit_of("population").phase("weights").mse["mse"]
    target = number(limit, s=s, kappa=2.0)
    gaps = [
        abs(number(exact_mse(TWO)["mse"], d=d, tau=2 * s / np.sqrt(d)) - target)
        for d in (1e6, 1e8)
    ]
    assert gaps[1] / gaps[0] == pytest.approx(0.1, abs=0.01)


def flow_end(model, d, start, stop, seed_time=1e-10, replace=None):
    """Integrate the derived flow of the projections from pure noise."""
    flow = exact_flow(model) if replace is None else replace(exact_flow(model))
    names = [str(e.lhs) for e in flow.equations]
    numbers = {symbol(k): v for k, v in NUMBERS.items()} | {D: d}
    states = [symbol(x) for x in names]
    f = sp.lambdify((TAU, *states), [flow[x].subs(numbers) for x in names])
    shape = start.shape

    def rhs(t, y):
        rows = np.broadcast_arrays(*f(t, *y.reshape(shape)))
        return np.concatenate([r.ravel() for r in rows])

    found = solve_ivp(
        rhs, (seed_time, stop), start.ravel(), "LSODA", rtol=1e-9, atol=1e-11
    )
    return found.y[:, -1].reshape(shape)


def law(nu, weight, size, spread, beta):
    up, down = (nu - beta * size) / spread, (nu + beta * size) / spread
    return weight * normal.cdf(up) + (1 - weight) * normal.cdf(down)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_exact_flow_carries_noise_to_the_interpolants_law(name):
    """Ranks are kept by a one-dimensional flow; V is the bulk's variance."""
    model, d, stop = Model(two_modes(), SCHEDULES[name]), 400.0, 0.9
    z = np.array([-2.0, -1.1, -0.3, 0.2, 1.0, 2.2])
    first = number(SCHEDULES[name].alpha, d=d, tau=0.0)
    start = np.stack([first * z, np.full_like(z, first**2)])
    nu, v = flow_end(model, d, start, stop)
    a, b = (
        number(e, d=d, tau=stop) for e in (SCHEDULES[name].alpha, SCHEDULES[name].beta)
    )
    bulk = a**2 + 1.69 * b**2
    ranks = law(nu, 0.8, np.sqrt(d), np.sqrt(bulk), b)
    assert np.allclose(ranks, normal.cdf(z), atol=RANK)
    assert np.allclose(v / bulk, 1, atol=RANK)


def test_the_law_of_two_features_by_sampling():
    d, stop, count = 256.0, 0.8, 1500
    rng = np.random.default_rng(7)
    z = rng.normal(size=(2, count))
    start = np.concatenate([z, np.ones((1, count))])
    end = flow_end(PRODUCT, d, start, stop)
    a, b = (
        number(e, tau=stop)
        for e in (PRODUCT.interpolant.alpha, PRODUCT.interpolant.beta)
    )
    spread = np.sqrt(a**2 + 1.69 * b**2)
    for j, (weight, feature) in enumerate(
        zip((0.8, 0.3), PRODUCT.target.features, strict=True)
    ):
        size = number(norm(feature), d=d)
        cdf = lambda x, w=weight, m=size: law(x, w, m, spread, b)  # noqa: E731
        assert kstest(end[j], cdf).pvalue > P_VALUE
        wrong = lambda x, w=weight, m=size: law(x, 1 - w, m, spread, b)  # noqa: E731
        assert kstest(end[j], wrong).pvalue < P_VALUE


def test_a_perturbed_flow_has_another_law():
    z = np.array([-1.1, -0.3, 0.2, 1.0])
    start = np.stack([z, np.ones_like(z)])

    def flipped(flow):
        return flow.replaced("nu", flow["nu"].subs(symbol("p"), 1 - symbol("p")))

    nu, _ = flow_end(TWO, 400.0, start, 0.9, replace=flipped)
    ranks = law(nu, 0.8, 20.0, np.sqrt(0.01 + 1.69 * 0.81), 0.9)
    assert not np.allclose(ranks, normal.cdf(z), atol=0.05)
