"""Every system of a feature window, term by term against one written by hand."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
from dilaton import Autoencoder, Data, Interpolant, Model
from dilaton.errors import DerivationError, ModelError
from dilaton.theory.models.cases import case_of
from dilaton.theory.models.model import (
    LINEAR,
    TAU,
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    product,
    two_modes,
)
from dilaton.theory.phases import sampling
from dilaton.theory.phases.roles import roles_of
from dilaton.theory.symbols.gaussian import Average, G
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.windows.search import find_windows
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from scipy.special import erf
from scipy.stats import norm

from ...cases import derived
from ...oracles import equal_values, is_zero, mean, mixture_share, value

S, KAPPA, SIGMA, P = (symbol(x) for x in ("s", "kappa", "sigma", "p"))
H = sp.log(P / (1 - P)) / 2
POWERS = Interpolant((1 - TAU) ** 2, TAU**3)
ROOTS = Interpolant(sp.sqrt(1 - TAU), sp.sqrt(TAU))
CLOSED = 1e-12  # quadrature and doubles
SLOPE = 2e-8  # central differences of a quadrature, step 1e-5
MINIMUM = 2e-4  # a derivative-free minimum of a function known to 1e-13
LISTED = 1e-4  # digits of the listed values
FLOW = 1e-7  # solve_ivp at rtol 1e-10 over one phase

# leading coefficients inside the feature window, by hand
SCHEDULES = {
    "linear": (LINEAR, 1, KAPPA * S),
    "trigonometric": (TRIGONOMETRIC, 1, sp.pi * KAPPA * S / 2),
    "preserving": (VARIANCE_PRESERVING, 1, KAPPA * S),
    "exploding": (VARIANCE_EXPLODING, 1 - S, S),
    "powers": (POWERS, 1, (KAPPA * S) ** 3),
    "roots": (ROOTS, 1, sp.sqrt(KAPPA * S)),
}
NUMBERS = {"p": 0.8, "sigma": 1.3, "kappa": 2.0}


@cache
def learned(model):
    """The learned system of the only feature window, derived alone."""
    window = next(w for w in find_windows(model) if w.features)
    return roles_of(model).learned(model, window)


# --------------------------------------------------------------------- population


def by_hand(alpha, beta, rho=1, sigma=SIGMA, h=H):
    """The Bayes denoiser in the window: (D1) with alpha, beta of order one."""
    omega = sp.sqrt(rho) * beta / alpha**2
    return {
        "c": 0,
        "c_hat": sigma**2 * beta / alpha**2,
        "m": 1,
        "omega": omega,
        "b": h,
        "q": 1,
        "r": omega**2,
        "v": omega,
    }


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_population_learns_the_bayes_denoiser_of_the_window(name):
    interpolant, alpha, beta = SCHEDULES[name]
    system = learned(Model(two_modes(), interpolant))
    expected = by_hand(sp.sympify(alpha), beta)
    assert set(expected) == set(system.names)
    for key, rhs in expected.items():
        assert equal_values(system[key], rhs), key
        if rhs not in (0, 1):
            assert not equal_values(2 * system[key], rhs)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_population_sampling_flow(name):
    interpolant, alpha, beta = SCHEDULES[name]
    alpha, nu = sp.sympify(alpha), symbol("nu")
    rate = sp.diff(alpha, S) / alpha
    drive = sp.diff(beta, S) - rate * beta
    hand = rate * nu + drive * sp.tanh(beta / alpha**2 * nu + H)
    flow = derived(Model(two_modes(), interpolant)).phase("weights").sampling
    assert equal_values(flow["nu"], hand)
    wrong = rate * nu + drive * sp.tanh(beta / alpha**2 * nu - H)
    assert not equal_values(flow["nu"], wrong)


@pytest.mark.parametrize("name", ["linear", "trigonometric", "powers", "exploding"])
def test_the_sampling_flow_carries_noise_to_the_interpolants_law(name):
    """A one-dimensional flow keeps ranks: F_s(nu(s)) = Phi(nu(0))."""
    interpolant, alpha, beta = SCHEDULES[name]
    flow = derived(Model(two_modes(), interpolant)).phase("weights").sampling
    last, start = 0.9, np.array([-2.3, -1.0, -0.4, 0.0, 0.7, 1.9])
    numbers = {symbol(k): v for k, v in NUMBERS.items()}

    def end(rhs):
        f = sp.lambdify((S, symbol("nu")), rhs.subs(numbers))
        found = solve_ivp(f, (1e-12, last), start, rtol=1e-10, atol=1e-12)
        return found.y[:, -1]

    a, b = (float(sp.sympify(e).subs(numbers).subs(S, last)) for e in (alpha, beta))

    def rank(nu):
        return 0.8 * norm.cdf((nu - b) / a) + 0.2 * norm.cdf((nu + b) / a)

    assert np.allclose(rank(end(flow["nu"])), norm.cdf(start), atol=FLOW)
    half = flow.replaced("nu", flow["nu"] / 2)
    assert not np.allclose(rank(end(half["nu"])), norm.cdf(start), atol=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_share_of_the_plus_mode(name):
    interpolant, alpha, beta = SCHEDULES[name]
    flow = derived(Model(two_modes(), interpolant)).phase("weights").sampling
    (share,) = flow.solution
    for s in (0.2, 0.6, 0.95):
        root = float((beta / alpha).subs({KAPPA: 2, S: s}))
        exact = mixture_share(root, 0.8)
        assert value(share.rhs, s=s, p=0.8, kappa=2.0) == pytest.approx(
            exact, abs=CLOSED
        )


@pytest.mark.parametrize(
    ("exponents", "phase", "features", "kappa"),
    [
        ((0, 0), "weights", (1, 2), "kappa"),
        ((0, "1/4"), "weights-1", (1,), "kappa_1"),
        ((0, "1/4"), "weights-2", (2,), "kappa_2"),
        (("1/3",), "weights", (1,), "kappa"),
    ],
)
def test_each_feature_of_a_product_learns_its_own_window(
    exponents, phase, features, kappa
):
    found = derived(Model(product(*exponents))).phase(phase)
    assert found.features == features
    for j in features:
        p, rho = symbol(f"p_{j}"), symbol(f"rho_{j}")
        expected = by_hand(
            sp.S.One, symbol(kappa) * S, rho, SIGMA, sp.log(p / (1 - p)) / 2
        )
        for key in ("m", "omega", "b", "q", "r", "v"):
            assert equal_values(found.learned[f"{key}_{j}"], expected[key])
        assert equal_values(found.learned["c_hat"], expected["c_hat"])
        nu = symbol(f"nu_{j}")
        hand = (
            symbol(kappa)
            * sp.sqrt(rho)
            * sp.tanh(expected["omega"] * nu + expected["b"])
        )
        assert equal_values(found.sampling[f"nu_{j}"], hand)


# -------------------------------------------------------- units that are not Bayes

PHI = {"tanh": np.tanh, "erf": lambda h: erf(h / np.sqrt(2)), "sign": np.sign}


def population_loss(kind, k, p, omega, b, r=None, m=None):
    """Loss per |mu|^2 with `u` at its minimum, or u = m mu."""
    r = omega**2 if r is None else r
    up, down = (
        (mean(f, k * omega + b, r), mean(f, -k * omega + b, r))
        for f in (PHI[kind], lambda h: PHI[kind](h) ** 2)
    )
    a1, a2 = p * up[0] - (1 - p) * up[1], p * down[0] + (1 - p) * down[1]
    m = a1 / a2 if m is None else m
    return 1 - 2 * m * a1 + m**2 * a2


def numerical_gradient(f, x, step=1e-5):
    ends = []
    for i in range(len(x)):
        e = np.zeros(len(x))
        e[i] = step
        ends.append((f(x + e) - f(x - e)) / (2 * step))
    return np.array(ends)


OTHER = {
    "erf": (Autoencoder("erf"), ("omega", "b")),
    "tanh, no bias": (Autoencoder("tanh", bias=False), ("omega",)),
    "erf, no bias": (Autoencoder("erf", bias=False), ("omega",)),
    "tied erf": (Autoencoder("erf", tied=True), ("omega", "b")),
}


@pytest.mark.parametrize("name", OTHER)
def test_stationarity_of_other_units_is_the_gradient_of_the_loss(name):
    auto, unknowns = OTHER[name]
    system = learned(Model(two_modes(), autoencoder=auto))
    assert tuple(map(str, system.unknowns)) == unknowns
    k = 0.75 * 2.0

    def loss(x):
        b = x[1] if len(x) == 2 else 0.0
        m = x[0] / k if auto.tied else None
        return population_loss(auto.activation, k, 0.8, x[0], b, m=m)

    for x in (np.array([1.1, 0.4]), np.array([0.6, -0.3])):
        x = x[: len(unknowns)]
        point = {"s": 0.75, "kappa": 2.0, "p": 0.8, "sigma": 1.0}
        point |= dict(zip(unknowns, x, strict=True))
        got = [value(system[key], **point) for key in unknowns]
        assert np.allclose(got, numerical_gradient(loss, x), atol=SLOPE)
        assert value(system.objective, **point) == pytest.approx(loss(x), abs=CLOSED)
        doubled = system.replaced("omega", 2 * system["omega"])
        assert abs(value(doubled["omega"], **point) - got[0]) > 1e-3


def test_a_tied_tanh_unit_contains_the_bayes_denoiser():
    """u = alpha^2 w/(beta sqrt d), so m = omega/k: one at the Bayes point."""
    tied = learned(Model(two_modes(), autoencoder=Autoencoder(tied=True)))
    assert tied == learned(Model(two_modes()))
    k, h = 1.5, np.log(4) / 2

    def loss(x):
        return population_loss("tanh", k, 0.8, x[0], x[1], m=x[0] / k)

    assert np.allclose(numerical_gradient(loss, np.array([k, h])), 0, atol=SLOPE)
    assert not np.allclose(numerical_gradient(loss, np.array([k, -h])), 0, atol=0.1)


def test_a_sign_unit_puts_its_threshold_between_the_modes():
    """The Bayes rule: p phi(k + b) = (1 - p) phi(k - b), so b = h/k."""
    system = learned(Model(two_modes(), autoencoder=Autoencoder("sign")))
    assert tuple(map(str, system.unknowns)) == ("b",)
    point = {"s": 0.75, "kappa": 2.0, "p": 0.8, "sigma": 1.0}
    best = float(H.subs(P, 0.8)) / 1.5
    assert value(system["b"], b=best, **point) == pytest.approx(0, abs=CLOSED)
    assert abs(value(system["b"], b=0.9 * best, **point)) > 1e-3
    assert value(system["m"], b=best, **point) == pytest.approx(
        0.8 * erf((1.5 + best) / np.sqrt(2)) + 0.2 * erf((1.5 - best) / np.sqrt(2)),
        abs=CLOSED,
    )


@pytest.mark.parametrize("name", ["erf", "tanh, no bias"])
def test_the_skip_of_other_units(name):
    """c_hat = k (1 + sigma^2) - k m A1 - v E phi' by hand."""
    auto, unknowns = OTHER[name]
    system = learned(Model(two_modes(), autoencoder=auto))
    point = {"s": 0.75, "kappa": 2.0, "p": 0.8, "sigma": 1.3, "omega": 1.1, "b": 0.4}
    k, omega, b = 1.5, 1.1, 0.4 if "b" in unknowns else 0.0
    m, v = value(system["m"], **point), value(system["v"], **point)
    f = PHI[auto.activation]
    a1 = 0.8 * mean(f, k * omega + b, omega**2)
    a1 -= 0.2 * mean(f, -k * omega + b, omega**2)
    slope = 0.8 * mean(lambda h: h, 0) + sum(
        w * mean(lambda h: (f(h + 1e-5) - f(h - 1e-5)) / 2e-5, s * k * omega + b, 1.21)
        for w, s in ((0.8, 1), (0.2, -1))
    )
    assert v == pytest.approx(m * omega, abs=CLOSED)
    exact = k * (1 + 1.3**2) - k * m * a1 - v * slope
    # Stein's lemma over the sample noise: fields move with sigma beta -> 0
    assert value(system["c_hat"], **point) == pytest.approx(exact, abs=1e-7)


# ------------------------------------------------------------------------- n samples

SIXTEEN = {
    "n": 16.0,
    "n_plus": 13.0,
    "sigma": 1.0,
    "ridge_u": 0.1,
    "ridge_w": 0.1,
    "kappa": 2.0,
    "s": 0.75,
    "p": 0.8,
}
OTHER_POINT = {**SIXTEEN, "n": 9.0, "n_plus": 4.0, "sigma": 1.4, "ridge_u": 0.7}


def fields(x, at, alpha, beta):
    """Field means and variance of the two classes, by the definition."""
    omega, zp, zm, b = x
    sigma, n_plus = at["sigma"], at["n_plus"]
    r = omega**2 + n_plus * zp**2 + (at["n"] - n_plus) * zm**2
    up = beta * (omega + sigma * zp) + b
    down = beta * (-omega + sigma * zm) + b
    return (up, down), alpha**2 * r, r


def moments(x, at, f, alpha, beta):
    means, var, _ = fields(x, at, alpha, beta)
    return [(mean(f, h, var), mean(lambda g: f(g) ** 2, h, var)) for h in means]


def objective(x, at, f=np.tanh, alpha=1.0, beta=1.5):
    """The loss over n samples with `u` eliminated, divided by n, by hand."""
    n, n_plus = at["n"], at["n_plus"]
    n_minus, sigma = n - n_plus, at["sigma"]
    (e_p, s_p), (e_m, s_m) = moments(x, at, f, alpha, beta)
    big_d = at["ridge_u"] + n_plus * s_p + n_minus * s_m
    gain = (n_plus * e_p - n_minus * e_m) ** 2
    gain += sigma**2 * (n_plus * e_p**2 + n_minus * e_m**2)
    r = fields(x, at, alpha, beta)[2]
    ridge = at["ridge_w"] * alpha**2 * r  # where the noise explodes; else alpha is 1
    return (n * (1 + sigma**2) - gain / big_d + ridge) / n


def best_of(f, x0):
    found = minimize(
        f,
        x0,
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 6000, "maxfev": 6000},
    )
    return minimize(f, found.x, method="BFGS", options={"gtol": 1e-10}).x


@pytest.fixture(scope="module")
def saddle():
    """The four unknowns at the minimum of the hand-written objective, n = 16."""
    return best_of(lambda x: objective(x, SIXTEEN), [1.0, 0.0, -0.1, 0.5])


@pytest.fixture(scope="module")
def sixteen():
    return learned(Model(two_modes(), data=Data(samples=True)))


def test_the_objective_by_hand_has_the_listed_minimum(saddle):
    assert np.allclose(saddle, [1.11736, 0.04298, -0.18623, 0.69352], atol=LISTED)


def test_the_minimum_satisfies_the_derived_stationarity(saddle, sixteen):
    omega, zeta_plus, zeta_minus, b = saddle
    at = {**SIXTEEN, "omega": omega, "b": b}
    assert tuple(map(str, sixteen.unknowns)) == ("omega", "b")
    for key in ("omega", "b"):
        assert value(sixteen[key], **at) == pytest.approx(0, abs=MINIMUM / 10)
    listed = {"m": 1.02368, "a_plus": 0.06807, "a_minus": -0.04624, "r": 1.37655}
    for key, number in listed.items():
        assert value(sixteen[key], **at) == pytest.approx(number, abs=LISTED)
    assert value(sixteen["zeta_plus"], **at) == pytest.approx(zeta_plus, abs=MINIMUM)
    assert value(sixteen["zeta_minus"], **at) == pytest.approx(zeta_minus, abs=MINIMUM)


@pytest.mark.parametrize("at", [SIXTEEN, OTHER_POINT])
@pytest.mark.parametrize("x", [(1.1, 0.5), (0.4, -0.8), (2.0, 1.5)])
def test_the_derived_objective_and_gradient_are_those_by_hand(at, x, sixteen):
    sigma, n, n_plus = at["sigma"], at["n"], at["n_plus"]

    def f(y):
        zetas = sigma * y[0] / (2 * n_plus), -sigma * y[0] / (2 * (n - n_plus))
        return objective((y[0], *zetas, y[1]), at)

    x = np.array(x)
    point = {**at, "omega": x[0], "b": x[1]}
    assert value(sixteen.objective, **point) == pytest.approx(f(x), abs=CLOSED)
    got = [value(sixteen[key], **point) for key in ("omega", "b")]
    assert np.allclose(got, numerical_gradient(f, x), atol=SLOPE)
    flipped = sixteen.replaced("b", -sixteen["b"])
    assert abs(value(flipped["b"], **point) - got[1]) > 1e-4


@pytest.mark.parametrize("at", [SIXTEEN, OTHER_POINT])
def test_overlaps_and_skip_of_n_samples(at, sixteen):
    sigma, n, n_plus = at["sigma"], at["n"], at["n_plus"]
    n_minus, omega, b, k = n - n_plus, 1.1, 0.5, 1.5
    zp, zm = sigma * omega / (2 * n_plus), -sigma * omega / (2 * n_minus)
    x = (omega, zp, zm, b)
    (e_p, s_p), (e_m, s_m) = moments(x, at, np.tanh, 1.0, k)
    big_d = at["ridge_u"] + n_plus * s_p + n_minus * s_m
    m = (n_plus * e_p - n_minus * e_m) / big_d
    a_p, a_m = sigma * e_p / big_d, sigma * e_m / big_d
    v = m * omega + n_plus * a_p * zp + n_minus * a_m * zm
    signal = n_plus * (m + sigma * a_p) * e_p + n_minus * (sigma * a_m - m) * e_m
    slope = n - n_plus * s_p - n_minus * s_m  # tanh' = 1 - tanh^2
    expected = {
        "m": m,
        "a_plus": a_p,
        "a_minus": a_m,
        "q": m**2 + n_plus * a_p**2 + n_minus * a_m**2,
        "r": omega**2 + n_plus * zp**2 + n_minus * zm**2,
        "v": v,
        "c": 0.0,
        "c_hat": k * (1 + sigma**2) - k * signal / n - v * slope / n,
    }
    point = {**at, "omega": omega, "b": b}
    for key, number in expected.items():
        assert value(sixteen[key], **point) == pytest.approx(number, abs=1e-11), key
    assert abs(value(2 * sixteen["c_hat"], **point) - expected["c_hat"]) > 0.01


def test_the_competing_saturated_branch(sixteen):
    (branch,) = sixteen.branches
    for at in (SIXTEEN, OTHER_POINT):
        n, n_plus, sigma = at["n"], at["n_plus"], at["sigma"]
        gain = (2 * n_plus - n) ** 2 + sigma**2 * n
        exact = 1 + sigma**2 - gain / (n * (n + at["ridge_u"]))
        got = value(branch.objective, **at)
        assert got == pytest.approx(exact, abs=CLOSED)
        far = objective((0.0, 0.0, 0.0, 18.0), at)
        assert got == pytest.approx(far, abs=1e-9)


def test_n_samples_with_exploding_variance():
    system = learned(Model(two_modes(), VARIANCE_EXPLODING, data=Data(samples=True)))
    at = {k: v for k, v in SIXTEEN.items() if k != "kappa"} | {"s": 0.6}

    def f(y):
        zetas = y[0] / (2 * at["n_plus"]), -y[0] / (2 * (at["n"] - at["n_plus"]))
        return objective((y[0], *zetas, y[1]), at, alpha=0.4, beta=0.6)

    x = np.array([1.6, 0.5])
    point = {**at, "omega": x[0], "b": x[1]}
    assert value(system.objective, **point) == pytest.approx(f(x), abs=CLOSED)
    got = [value(system[key], **point) for key in ("omega", "b")]
    assert np.allclose(got, numerical_gradient(f, x), atol=SLOPE)


@pytest.mark.parametrize(
    "auto",
    [Autoencoder("tanh", bias=False), Autoencoder("tanh", tied=True)],
    ids=["no bias", "tied"],
)
def test_n_samples_with_free_sample_overlaps(auto):
    """Without a bias, or tied, the overlaps with the sample noise stay unknown."""
    system = learned(Model(two_modes(), autoencoder=auto, data=Data(samples=True)))
    names = ["omega", "zeta_plus", "zeta_minus"] + ["b"] * auto.bias
    assert list(map(str, system.unknowns)) == names
    at, k = SIXTEEN, 1.5

    def f(y):
        x = (*y[:3], y[3] if auto.bias else 0.0)
        if not auto.tied:
            return objective(x, at)
        (e_p, s_p), (e_m, s_m) = moments(x, at, np.tanh, 1.0, k)
        n, n_p = at["n"], at["n_plus"]
        m, a_p, a_m = (u / k for u in y[:3])
        q = m**2 + n_p * a_p**2 + (n - n_p) * a_m**2
        r = fields(x, at, 1.0, k)[2]
        total = 2 * n - 2 * n_p * (m + a_p) * e_p - 2 * (n - n_p) * (a_m - m) * e_m
        total += q * (n_p * s_p + (n - n_p) * s_m + at["ridge_u"]) + at["ridge_w"] * r
        return total / n

    x = np.array([0.9, 0.07, -0.15, 0.3])[: len(names)]
    point = {**at, **dict(zip(names, x, strict=True))}
    got = [value(system[key], **point) for key in names]
    assert value(system.objective, **point) == pytest.approx(f(x), abs=CLOSED)
    assert np.allclose(got, numerical_gradient(f, x), atol=SLOPE)


def sample_flow(derive):
    model = Model(two_modes(), data=Data(samples=True))
    window = find_windows(model)[0]
    return derive(model, window, *([None] if derive is sampling.samples else []))


def test_the_sampling_flow_of_n_samples():
    flow = sample_flow(sampling.samples)
    names = "omega b m a_plus a_minus zeta_plus zeta_minus nu g_plus g_minus n n_plus"
    omega, b, m, a_p, a_m, z_p, z_m, nu, g_p, g_m, n, n_p = map(symbol, names.split())
    n_m = n - n_p
    field = omega * nu + sp.sqrt(n_p) * z_p * g_p + sp.sqrt(n_m) * z_m * g_m + b
    expected = {
        "nu": KAPPA * m * sp.tanh(field),
        "g_plus": KAPPA * a_p * sp.sqrt(n_p) * sp.tanh(field),
        "g_minus": KAPPA * a_m * sp.sqrt(n_m) * sp.tanh(field),
    }
    for key, rhs in expected.items():
        assert equal_values(flow[key], rhs)
        assert not equal_values(flow[key], -rhs)


def test_the_projected_flow_is_the_field_of_the_whole_one():
    """H = omega Y + b, so Y' = nu' + k_plus g_plus' + k_minus g_minus'."""
    whole, flat = sample_flow(sampling.samples), sample_flow(sampling.projected)
    rng = np.random.default_rng(1)
    at = {**OTHER_POINT, "omega": 1.2, "b": 0.3, "m": 0.9, "a_plus": 0.2}
    at |= {"a_minus": -0.1, "nu": 0.4, "g_plus": rng.normal(), "g_minus": -0.5}
    n_p, n_m, sigma = at["n_plus"], at["n"] - at["n_plus"], at["sigma"]
    at |= {"zeta_plus": sigma * 1.2 / (2 * n_p), "zeta_minus": -sigma * 1.2 / (2 * n_m)}
    k_p, k_m = sigma / (2 * np.sqrt(n_p)), -sigma / (2 * np.sqrt(n_m))
    at |= {"Y": at["nu"] + k_p * at["g_plus"] + k_m * at["g_minus"], "F": 0.0}
    slope = sum(
        k * value(whole[x], **at)
        for k, x in ((1, "nu"), (k_p, "g_plus"), (k_m, "g_minus"))
    )
    assert value(flat["Y"], **at) == pytest.approx(slope, abs=CLOSED)
    assert value(flat["F"], **at) == pytest.approx(value(whole["nu"], **at))
    assert value(flat["Gamma"], **at) == pytest.approx(1 + k_p**2 + k_m**2)


# ------------------------------------------------------------------ frozen noise


def test_frozen_noise_makes_the_feature_window_degenerate():
    model = Model(two_modes(), data=Data(samples=True, frozen_noise=True))
    phase = derived(model).phase("weights")
    system = phase.learned
    assert system.status == "degenerate"
    assert phase.sampling is None
    assert phase.training is None
    assert system["b"] is sp.nan
    at = {"n": 10.0, "noise_draws": 3.0, "sigma": 1.5, "ridge_u": 0.5, "s": 0.4}
    at["kappa"] = 2.0
    rows = 30.0
    a = (0.5 * (1 + 2.25) + 3 * 2.25 * 9) / (rows + 0.5)
    b = (rows + 0.5 - 1) / (rows + 0.5)
    expected = {
        "c": 0.0,
        "c_hat": 0.8 * a / b,
        "m": rows / (rows + 0.5),
        "a": 3 * 1.5 / (rows + 0.5),
        "e": 0.0,
        "omega": 0.0,
        "r": 0.0,
    }
    for key, number in expected.items():
        assert value(system[key], **at) == pytest.approx(number, abs=CLOSED), key
    assert all(eq.status == "degenerate" for eq in system.equations)


# -------------------------------------------------------------- the error of Bayes


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_limiting_error_of_the_bayes_denoiser(name):
    interpolant, alpha, beta = SCHEDULES[name]
    found = derived(Model(two_modes(), interpolant)).phase("weights").mse
    snr = (beta / alpha) ** 2
    hand = 1 + SIGMA**2
    for weight, s in ((P, 1), (1 - P, -1)):
        field = H + s * snr + (beta / alpha) * G
        hand -= weight * Average(sp.tanh(field) ** 2)
    at = {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "s": 0.4}
    assert value(found["mse"], **at) == pytest.approx(value(hand, **at), abs=CLOSED)
    if name == "linear":
        assert is_zero(found["mse"] - hand)
        assert not is_zero(found["mse"] - hand.subs(SIGMA, 2 * SIGMA))
        for s, listed in ((0.0, 1.64), (0.5, 1.32635), (1.0, 1.05267)):
            assert value(found["mse"], **{**at, "s": s}) == pytest.approx(
                listed, abs=5e-6
            )
    at_once = 0 if name == "exploding" else 4 * P * (1 - P)  # its window is all of time
    assert sp.simplify(found["mse_jump"] - at_once) == 0


def test_the_error_of_a_product_counts_features_of_full_norm_alone():
    limit = derived(Model(product(0, "1/4")))
    at = {"p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 2.0, "sigma": 1.0, "s": 0.0}
    at |= {"kappa_1": 2.0, "kappa_2": 2.0}
    first, second = (limit.phase(f"weights-{i}").mse["mse"] for i in (1, 2))
    assert value(first, **at) == pytest.approx(1 + 4 * 0.8 * 0.2)
    assert value(second, **at) == pytest.approx(1.0)
    both = derived(Model(product(0, 0))).phase("weights").mse["mse"]
    at |= {"kappa": 2.0}
    assert value(both, **at) == pytest.approx(1 + 4 * 0.16 + 2 * 4 * 0.21)


# ----------------------------------------------------------------- what is refused


def test_models_beyond_the_engine_are_refused_with_a_remedy():
    cases = [
        Model(product(0, 0), autoencoder=Autoencoder("erf")),
        Model(product(0, "1/4"), data=Data(samples=True)),
        Model(product("1/4"), data=Data(samples=True)),
    ]
    for model in cases:
        with pytest.raises(DerivationError, match=r"Use|Set"):
            case_of(model)


def test_a_sign_unit_without_bias_is_in_closed_form_and_has_no_rival():
    """Nothing of its average is left to choose: the readout alone is learned."""
    system = learned(Model(two_modes(), autoencoder=Autoencoder("sign", bias=False)))
    assert system.kind == "closed"
    assert system.branches == ()


def test_a_sign_unit_that_leaves_an_overlap_free_is_refused():
    fresh, frozen = Data(samples=True), Data(samples=True, frozen_noise=True)
    refused = [
        (Autoencoder("sign", tied=True), Data()),
        (Autoencoder("sign", bias=False), fresh),
        (Autoencoder("tanh", tied=True), frozen),
    ]
    for auto, data in refused:
        with pytest.raises(DerivationError, match=r"Use a tanh|Untie"):
            learned(Model(two_modes(), autoencoder=auto, data=data))
    sign = learned(Model(two_modes(), autoencoder=Autoencoder("sign"), data=fresh))
    assert sign.kind == "stationary"


def test_a_phase_that_is_not_there_is_named():
    limit = derived(Model(two_modes()))
    with pytest.raises(ModelError, match=r"phases of this model are weights, variance"):
        limit.phase("weight")
    with pytest.raises(ModelError, match="did you mean `omega`"):
        limit.phase("weights").learned["omga"]
    with pytest.raises(ModelError, match="declared"):
        limit.phase("weights").learned.replaced("omega", symbol("q") * S).replaced(
            "m", sp.Symbol("kapa") * S
        ).check()


@pytest.mark.parametrize(
    "name",
    [
        "population",
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in ("frozen", "samples", "product")
        ),
    ],
)
def test_every_system_is_well_posed_and_labelled_once(name):
    from ...cases import limit_of

    limit = limit_of(name)
    for system in limit.systems:
        assert system.check() is system
        labels = [e.label for e in system.equations + system.observables]
        assert len(set(labels)) == len(labels)
        assert all(
            e.status in ("exact", "asymptotic", "numerical", "degenerate")
            for e in system.equations
        )
        given = {str(x) for x, _ in system.initial}
        assert given <= set(system.names)
    every = [
        (s.name, e.label) for s in limit.systems for e in (*s.equations, *s.observables)
    ]
    names = [label for _, label in every]
    repeated = {x for x in names if names.count(x) > 1}
    assert not repeated, [e for e in every if e[1] in repeated]


@pytest.mark.parametrize("tied", [True, False])
def test_a_longer_mean_is_a_wider_window(tied):
    """One feature of |mu|^2 = rho d is that of two modes with kappa sqrt(rho)."""
    auto = Autoencoder("erf", tied=tied)
    one, scaled = (
        derived(Model(target, autoencoder=auto)).phases[0].learned
        for target in (two_modes(), product(0))
    )
    known = {x: symbol(str(x).removesuffix("_1")) for x in scaled.parameters}
    known |= {x: symbol(str(x).removesuffix("_1")) for x in scaled.unknowns}
    known |= {symbol("rho_1"): 4, symbol("kappa"): symbol("kappa")}
    wide = {symbol("kappa"): 2 * symbol("kappa")}
    for name in ("m", "q", "r"):
        ours = scaled[f"{name}_1"].xreplace(known)
        assert equal_values(ours, one[name].xreplace(wide)), name
    wanted = one.objective.xreplace(wide)
    assert equal_values(scaled.objective.xreplace(known), wanted)


def test_a_constant_sign_pays_for_the_length_of_its_weights():
    """It does not see the length of w, which is 1 also where the bias diverges."""
    data = Data(samples=True)
    heights = [
        derived(Model(two_modes(), autoencoder=Autoencoder(unit), data=data))
        .phases[0]
        .learned.branches[0]
        .objective
        for unit in ("sign", "tanh")
    ]
    more = symbol("ridge_w") / symbol("n")
    assert sp.simplify(heights[0] - heights[1] - more) == 0
