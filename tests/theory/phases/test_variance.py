"""The variance phase: closed forms, ridge regression at finite d, its flow."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
from dilaton import Data, Interpolant, Model
from dilaton.theory.models.model import (
    LINEAR,
    TAU,
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    Autoencoder,
    D,
    product,
    two_modes,
)
from dilaton.theory.phases import bulk
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.windows.search import find_windows
from scipy.integrate import solve_ivp

from ...cases import derived
from ...oracles import value

CLOSED = 1e-10  # what the closed forms promise
FLOW = 1e-8  # solve_ivp at rtol 1e-11
S, SIGMA = symbol("s"), symbol("sigma")
ALPHA, BETA = sp.symbols("alpha beta", positive=True)
POPULATION, FRESH, FROZEN = Data(), Data(samples=True), Data(True, True)
SIGMAS = 5.0  # standard errors that a Monte Carlo mean may be off
TEN = {"n": 10, "sigma": 1.5, "alpha": 0.6, "beta": 0.4, "ridge_u": 0.5}


@cache
def flow_of(model):
    """The sampling flow of the last window, derived alone."""
    return bulk.sampling(model, find_windows(model)[-1])


def residual(flow):
    """Insert the closed solution into its flow; every entry must simplify to zero."""
    closed = {eq.lhs: eq.rhs for eq in flow.solution}
    return [
        sp.simplify(sp.diff(closed[eq.lhs], flow.time) - eq.rhs.subs(closed))
        for eq in flow.equations
        if eq.lhs in closed
    ]


def regression(data):
    """The overlaps by name, and the skip, in the interpolant's coefficients."""
    fit = bulk.regression(Model(two_modes(), data=data))
    found = {"c": fit.known(fit.coefficients.skip)}
    return found | {str(x): e for x, e in fit.overlaps(fit.coefficients).items()}


def by_hand(draws, n, sigma, alpha, beta, ridge_u):
    """A, B and the overlaps of ridge regression on the labels; draws may be inf."""
    s2 = sigma**2
    if draws == np.inf:
        rows, frozen = n, 0.0
        a = (ridge_u * (1 + s2) + s2 * (n - 1)) / (n + ridge_u)
        b = 1.0
    else:
        rows, frozen = n * draws, 1.0
        a = (ridge_u * (1 + s2) + draws * s2 * (n - 1)) / (rows + ridge_u)
        b = (rows + ridge_u - 1) / (rows + ridge_u)
    c = beta * a / (alpha**2 * b + beta**2 * a)
    kept = (1 - c * beta) / (rows + ridge_u)
    found = {"c": c, "m": kept * rows, "a": kept * sigma * rows / n}
    found["e"] = -frozen * c * alpha / (rows + ridge_u)
    found["q"] = found["m"] ** 2 + n * found["a"] ** 2 + rows * found["e"] ** 2
    return found


def derived_values(data, **at):
    found = regression(data)
    return {k: value(e, **at) for k, e in found.items()}


@pytest.mark.parametrize(
    ("draws", "c", "m"), [(1, 1.26445, 0.47069), (np.inf, 1.20192, 0.49451)]
)
def test_the_regression_by_hand_has_the_listed_values(draws, c, m):
    found = by_hand(draws, **TEN)
    assert found["c"] == pytest.approx(c, abs=5e-6)
    assert found["m"] == pytest.approx(m, abs=5e-6)


@pytest.mark.parametrize("draws", [1, 3, 10, np.inf])
@pytest.mark.parametrize(
    "at", [TEN, {"n": 37, "sigma": 0.7, "alpha": 1.1, "beta": 0.9, "ridge_u": 2.0}]
)
def test_the_closed_forms(draws, at):
    data = FRESH if draws == np.inf else FROZEN
    extra = {} if draws == np.inf else {"noise_draws": draws}
    got = derived_values(data, **at, **extra)
    for key, number in by_hand(draws, **at).items():
        assert got[key] == pytest.approx(number, abs=CLOSED), key


def test_the_closed_forms_symbolically():
    n, n0, lam = (symbol(x) for x in ("n", "noise_draws", "ridge_u"))
    rows = n * n0
    a = (lam * (1 + SIGMA**2) + n0 * SIGMA**2 * (n - 1)) / (rows + lam)
    b = (rows + lam - 1) / (rows + lam)
    c = BETA * a / (ALPHA**2 * b + BETA**2 * a)
    found = regression(FROZEN)
    assert sp.simplify(found["c"] - c) == 0
    assert sp.simplify(found["m"] - (1 - c * BETA) * rows / (rows + lam)) == 0
    wrong = c.subs(n0, 1)  # one draw a sample, whatever n0: a published slip
    assert sp.simplify(found["c"] - wrong) != 0


def test_the_population_learns_the_linear_denoiser():
    found = regression(POPULATION)
    delta = ALPHA**2 + SIGMA**2 * BETA**2
    assert sp.simplify(found["c"] - SIGMA**2 * BETA / delta) == 0
    assert sp.simplify(found["m"] - ALPHA**2 / delta) == 0
    assert sp.simplify(found["q"] - ALPHA**4 / delta**2) == 0
    assert found["a"] == found["e"] == 0


def ridge_regression(d, draws, rng, at):
    """Fit x1 = c x + u s on explicit rows: u is linear in c, and c minimises."""
    n, sigma, alpha, beta = (at[x] for x in ("n", "sigma", "alpha", "beta"))
    labels = np.where(np.arange(n) < 6, 1.0, -1.0)
    mu = rng.normal(size=d)
    mu *= np.sqrt(d) / np.linalg.norm(mu)
    z = rng.normal(size=(n, d))
    x1 = labels[:, None] * mu + sigma * z
    rows, size = n * draws, n * draws + at["ridge_u"]
    target = np.repeat(x1, draws, 0)
    s = np.repeat(labels, draws)
    x0 = rng.normal(size=(rows, d))
    x = alpha * x0 + beta * target
    u_one, u_c = s @ target / size, s @ x / size  # u = u_one - c u_c
    fit = target - s[:, None] * u_one
    lean = x - s[:, None] * u_c
    top = np.sum(fit * lean) + at["ridge_u"] * (u_one @ u_c)
    c = top / (np.sum(lean**2) + at["ridge_u"] * (u_c @ u_c))
    u = u_one - c * u_c
    found = {"c": c, "m": u @ mu / d, "q": u @ u / d}
    found["a"] = np.mean(labels * (z @ u)) / d
    found["e"] = np.mean(s * (x0 @ u)) / d
    return found


@pytest.mark.parametrize("draws", [1, 3])
def test_ridge_regression_at_finite_dimension(draws):
    d, seeds = 20000, 8
    runs = [
        ridge_regression(d, draws, np.random.default_rng(seed), TEN)
        for seed in range(seeds)
    ]
    got = derived_values(FROZEN, **TEN, noise_draws=draws)
    other = derived_values(FRESH, **TEN)
    for key in ("c", "m", "q", "a", "e"):
        sample = np.array([run[key] for run in runs])
        error = sample.std(ddof=1) / np.sqrt(seeds)
        # the mean itself is off by O(1/d)
        assert abs(sample.mean() - got[key]) < SIGMAS * error + 20 / d, key
        if key in ("c", "m"):
            assert abs(sample.mean() - other[key]) > SIGMAS * error + 20 / d


def test_fresh_noise_is_the_limit_of_many_draws():
    fresh = derived_values(FRESH, **TEN)
    gaps = []
    for draws in (100, 1000):
        frozen = derived_values(
            FROZEN, **TEN | {"ridge_u": 0.5 * draws}, noise_draws=draws
        )
        gaps.append([abs(frozen[k] - fresh[k]) for k in ("c", "m", "a")])
    assert np.all(np.array(gaps[1]) < 0.11 * np.array(gaps[0]))


# ------------------------------------------------------------------------- the flow

SCHEDULES = {
    "linear": LINEAR,
    "trigonometric": TRIGONOMETRIC,
    "preserving": VARIANCE_PRESERVING,
    "exploding": VARIANCE_EXPLODING,
    "powers": Interpolant((1 - TAU) ** 2, TAU**3),
    "two layers": Interpolant(D ** sp.Rational(1, 4) * (1 - TAU), TAU),
}
AT = {"n": 10.0, "sigma": 1.5, "ridge_u": 0.5, "noise_draws": 3.0, "S": 1.0}
AT |= {"kappa": 1.7, "kappa_1": 1.1, "kappa_2": 1.7, "p": 0.8}


def leading(name):
    """alpha and beta inside the variance window, by hand."""
    if name in ("exploding", "two layers"):
        return sp.Float(1.7) * (1 - S), sp.S.One
    found = SCHEDULES[name]
    return found.alpha.subs(TAU, S), found.beta.subs(TAU, S)


@pytest.mark.parametrize(
    ("name", "draws"),
    [
        *((name, None) for name in SCHEDULES),
        ("linear", np.inf),
        ("linear", 3),
        ("exploding", 3),
        ("two layers", np.inf),
        pytest.param("trigonometric", 3, marks=pytest.mark.slow),
        pytest.param("powers", np.inf, marks=pytest.mark.slow),
        pytest.param("preserving", 3, marks=pytest.mark.slow),
    ],
)
def test_the_flow_is_the_velocity_projected(name, draws):
    """M' = gamma M + zeta m S and V' = 2 gamma V, gamma = alpha'/alpha + zeta c."""
    data = {None: POPULATION, np.inf: FRESH, 3: FROZEN}[draws]
    model = Model(two_modes(), SCHEDULES[name], data=data)
    flow, window = flow_of(model), find_windows(model)[-1]
    fitted = bulk.learned(model, window)
    alpha, beta = leading(name)
    for s in (0.2, 0.7):
        a, b, da, db = (
            float(e.subs(S, s))
            for e in (alpha, beta, sp.diff(alpha, S), sp.diff(beta, S))
        )
        if draws is None:
            delta = a**2 + 2.25 * b**2
            c, m = 2.25 * b / delta, a**2 / delta
        else:
            hand = by_hand(draws, 10, 1.5, a, b, 0.5)
            c, m = hand["c"], hand["m"]
        zeta = db - da * b / a
        gamma = da / a + zeta * c
        at = {**AT, "s": s, "M": 0.3, "V": 0.8}
        got = value(flow["M"], **at), value(flow["V"], **at)
        assert got[0] == pytest.approx(gamma * 0.3 + zeta * m, abs=CLOSED)
        assert got[1] == pytest.approx(2 * gamma * 0.8, abs=CLOSED)
        learned = {k: value(fitted[k], **at) for k in ("c", "m")}
        assert learned["c"] == pytest.approx(c, abs=CLOSED)
        assert learned["m"] == pytest.approx(m, abs=CLOSED)


@pytest.mark.parametrize(
    ("name", "draws"),
    [
        ("linear", None),
        ("trigonometric", None),
        ("exploding", None),
        ("linear", np.inf),
        ("linear", 3),
        ("exploding", 3),
    ],
)
def test_the_closed_solution_solves_the_flow_up_to_the_end(name, draws):
    data = {None: POPULATION, np.inf: FRESH, 3: FROZEN}[draws]
    model = Model(two_modes(), SCHEDULES[name], data=data)
    flow = flow_of(model)
    numbers = {symbol(k): sp.Float(v) for k, v in AT.items() if k != "p"}
    m, v = symbol("M"), symbol("V")

    def end(system):
        rhs = [system[x].subs(numbers) for x in ("M", "V")]
        f = sp.lambdify((S, (m, v)), rhs)
        start = [float(x.subs(numbers)) for _, x in flow.initial]
        with np.errstate(all="ignore"):
            found = solve_ivp(f, (0, 1 - 1e-9), start, rtol=1e-11, atol=1e-13)
        return found.y[:, -1]

    closed = {str(e.lhs): value(e.rhs, **AT, s=1.0) for e in flow.solution}
    got = end(flow)
    assert got == pytest.approx([closed["M"], closed["V"]], abs=FLOW)
    if draws is None:
        kept, bulk = 1.0, 2.25
    else:
        n0 = 1 if draws == np.inf else draws
        kept = 10 * n0 / (10 * n0 + 0.5)
        hand = by_hand(draws, 10, 1.5, 1.0, 1.0, 0.5)["c"]  # beta A/(B + A)
        bulk = hand / (1 - hand)
    assert closed["M"] == pytest.approx(kept, abs=CLOSED)
    assert closed["V"] == pytest.approx(bulk, abs=CLOSED)
    doubled = flow.replaced("V", flow["V"] * 1.01)
    assert abs(end(doubled)[1] - closed["V"]) > 1e-4


@pytest.mark.parametrize("data", [POPULATION, FRESH, FROZEN])
def test_the_residual_of_the_closed_solution_is_zero(data):
    flow = flow_of(Model(two_modes(), data=data))
    assert residual(flow) == [0, 0]
    wrong = flow.replaced("V", flow["V"] + symbol("V"))
    assert residual(wrong) != [0, 0]


def test_the_right_hand_side_is_regular_at_the_end():
    for name in SCHEDULES:
        flow = flow_of(Model(two_modes(), SCHEDULES[name]))
        for key in ("M", "V"):
            at = {**AT, "s": 1.0, "M": 0.9, "V": 2.0}
            if name == "preserving":
                continue  # alpha' itself diverges there
            assert np.isfinite(value(flow[key], **at)), (name, key)


def test_a_bridge_keeps_the_signs_and_learns_no_skip():
    """alpha = d^(1/4)(1 - tau): in the bulk of time the noise is still far larger."""
    model = Model(two_modes(), SCHEDULES["two layers"], data=FRESH)
    limit = derived(model)
    phase = limit.phase("bridge")
    at = {**AT, "s": 0.4, "M": 0.3, "V": 0.8}
    expected = {"c": 0.0, "m": 10 / 10.5, "a": 1.5 / 10.5}
    for key, number in expected.items():
        assert value(phase.learned[key], **at) == pytest.approx(number, abs=CLOSED)
    # alpha'/alpha = -1/(1 - s), zeta = 1 + s/(1 - s)
    gamma, zeta = -1 / 0.6, 1 / 0.6
    exact = gamma * 0.3 + zeta * 10 / 10.5
    assert value(phase.sampling["M"], **at) == pytest.approx(exact, abs=CLOSED)
    assert value(phase.sampling["V"], **at) == pytest.approx(1.6 * gamma, abs=CLOSED)
    assert residual(phase.sampling) == [0, 0]
    assert value(phase.mse["mse"], **at) == pytest.approx(2.25)


def test_a_bulk_before_the_first_window_decides_nothing():
    model = Model(product("1/3"), VARIANCE_EXPLODING)
    limit = derived(model)
    assert [p.name for p in limit.phases] == ["bridge", "weights", "variance"]
    bridge = limit.phase("bridge")
    assert bridge.sampling is None
    assert bridge.learned["c"] == 0
    assert bridge.learned["m"] == 1


def test_every_feature_keeps_its_own_sign():
    flow = flow_of(Model(product(0, "1/4")))
    at = {"sigma": 1.0, "s": 0.5, "M_1": 0.3, "M_2": -0.2, "S_1": 1.0, "S_2": -1.0}
    delta = 0.25 + 0.25
    zeta, gamma = 2.0, -2.0 + 2.0 * 0.5 / delta
    for j, (m, s) in enumerate(((0.3, 1), (-0.2, -1)), 1):
        exact = gamma * m + zeta * 0.5 * s
        assert value(flow[f"M_{j}"], **at) == pytest.approx(exact, abs=CLOSED)


@pytest.mark.parametrize("name", ["linear", "trigonometric", "exploding"])
def test_the_error_once_the_signs_are_known(name):
    found = derived(Model(two_modes(), SCHEDULES[name])).phase("variance").mse
    alpha, beta = (float(e.subs(S, 0.3)) for e in leading(name))
    exact = 2.25 * alpha**2 / (alpha**2 + 2.25 * beta**2)
    assert value(found["mse"], **AT, s=0.3) == pytest.approx(exact, abs=CLOSED)


# ------------------------------------------------------------- a tied unit is silent


TIED = Model(two_modes(), data=Data(samples=True), autoencoder=Autoencoder(tied=True))


def test_a_tied_unit_is_silent_and_its_samples_are_one_gaussian():
    """The skip alone regresses x1, of variance 1 + sigma^2, on x."""
    learned, flow = derived(TIED).phase("variance").learned, flow_of(TIED)
    at = {symbol("s"): 0.75, symbol("sigma"): 1.5, symbol("n"): 16}
    power = 1 + 1.5**2
    skip = 0.75 * power / (0.25**2 + 0.75**2 * power)
    assert float(learned["c"].subs(at)) == pytest.approx(skip, abs=1e-15)
    assert all(learned[x] == 0 for x in ("m", "q", "a", "e"))
    end = {eq.lhs: eq.rhs.subs(symbol("s"), 1) for eq in flow.solution}
    assert end[symbol("M")] == 0
    assert sp.expand(end[symbol("V")] - 1 - symbol("sigma") ** 2) == 0
    assert residual(flow) == [0, 0]


@pytest.mark.parametrize(("ridge_w", "silent"), [(0.1, True), (0.0, False)])
def test_trained_tied_networks_are_silent_where_w_has_a_ridge(ridge_w, silent):
    """At d = 2000 what is left of u is of order 1/(ridge_w d)."""
    from dilaton.torchcheck.networks.train import train

    values = {"sigma": 1.0, "n": 16, "n_plus": 13, "p": 0.8, "ridge_u": 0.1}
    found = train(TIED, values | {"ridge_w": ridge_w}, [0.75], 2000, 0)
    overlaps = found.network.overlaps(found.data)
    skip = 0.75 * 2 / (0.25**2 + 0.75**2 * 2)
    assert (abs(overlaps["m"][0]) < 2e-3) == silent
    assert (abs(overlaps["c"][0] - skip) < 2e-2) == silent
