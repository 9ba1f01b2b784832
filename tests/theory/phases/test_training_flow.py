"""Flows in training time, against explicit networks trained step by step."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
from dilaton import Autoencoder, Data, Model
from dilaton.theory.models.model import VARIANCE_EXPLODING, product, two_modes
from dilaton.theory.phases import training_flow as flows
from dilaton.theory.phases.tied_score import tied_loss, tied_training
from dilaton.theory.symbols.gaussian import Average
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.windows.search import find_windows
from scipy.integrate import solve_ivp
from scipy.special import erf

from ...oracles import mean, normal_rule, value

CLOSED = 1e-11  # quadrature on both sides
SLOPE = 3e-8  # central differences of a quadrature, step 1e-5
LISTED = 1e-5  # digits of the listed values
EXPLICIT = 2e-7  # explicit vectors in doubles, gradients by hand
NAMES = ("m", "q", "omega", "r", "b")
START = (0.3, 0.5, 0.2, 0.4, 0.0)
POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "s": 0.75}
G, WEIGHT = normal_rule(801)


def unit(kind):
    """A unit and its slope."""
    if kind == "tanh":
        return np.tanh, lambda h: 1 - np.tanh(h) ** 2
    return (
        lambda h: erf(h / np.sqrt(2)),
        lambda h: np.sqrt(2 / np.pi) * np.exp(-(h**2) / 2),
    )


def hand_flow(x, p, beta, alpha=1.0, rho=1.0, kind="tanh"):
    """The five equations of one unit, gradients by finite differences of the loss."""
    f = unit(kind)[0]

    def loss(m, q, omega, r, b):
        a1 = a2 = 0.0
        for weight, s in ((p, 1), (1 - p, -1)):
            at = np.sqrt(rho) * beta * s * omega + b, alpha**2 * r
            a1 += weight * s * mean(f, *at)
            a2 += weight * mean(lambda h: f(h) ** 2, *at)
        return rho * (1 - 2 * m * a1 + q * a2), a1, a2

    m, q, omega, r, _ = x
    _, a1, a2 = loss(*x)

    def slope(i, step=1e-5):
        up, down = (np.array(x, float) for _ in range(2))
        up[i] += step
        down[i] -= step
        return (loss(*up)[0] - loss(*down)[0]) / (2 * step)

    d_omega, d_r, d_b = slope(2), slope(3), slope(4)
    return np.array(
        [
            a1 - m * a2,
            2 * (m * a1 - q * a2),
            -(d_omega + 2 * omega * d_r) / 2,
            -(omega * d_omega + 2 * r * d_r),
            -d_b / 2,
        ]
    )


@cache
def training(model, number=0):
    """The training flow in a window of the model, derived alone."""
    return flows.training(model, find_windows(model)[number])


@pytest.mark.parametrize("kind", ["tanh", "erf"])
@pytest.mark.parametrize("x", [START, (1.2, 1.7, 0.9, 1.4, -0.6)])
def test_the_population_flow_is_the_one_by_hand(kind, x):
    system = training(Model(two_modes(), autoencoder=Autoencoder(kind)))
    at = {**POINT, **dict(zip(NAMES, x, strict=True))}
    got = [value(system[key], **at) for key in NAMES]
    exact = hand_flow(x, 0.8, 1.5, kind=kind)
    assert np.allclose(got, exact, atol=SLOPE)
    for key in NAMES:
        wrong = system.replaced(key, 2 * system[key])
        assert abs(value(wrong[key], **at) - exact[NAMES.index(key)]) > 1e-3


def test_the_flow_by_hand_passes_the_listed_points():
    listed = {
        5: (1.07540, 1.15845, 0.79883, 0.65746, 0.34785),
        20: (1.05969, 1.12294, 1.00971, 1.01954, 0.47143),
    }

    def rhs(_, x):
        return hand_flow(x, 0.8, 1.5)

    found = solve_ivp(rhs, (0, 20), START, t_eval=[5, 20], rtol=1e-7, atol=1e-9)
    for row, numbers in zip(found.y.T, listed.values(), strict=True):
        assert np.allclose(row, numbers, atol=LISTED)


def test_a_flow_without_bias_has_no_bias():
    system = training(Model(two_modes(), autoencoder=Autoencoder(bias=False)))
    assert "b" not in system.names
    x = (0.3, 0.5, 0.2, 0.4, 0.0)
    at = {**POINT, **dict(zip(NAMES, x, strict=True))}
    got = [value(system[key], **at) for key in NAMES[:4]]
    assert np.allclose(got, hand_flow(x, 0.8, 1.5)[:4], atol=SLOPE)


@pytest.mark.parametrize(
    ("model", "number", "suffix", "alpha", "beta"),
    [
        (Model(two_modes(), VARIANCE_EXPLODING), 0, "", 0.25, 0.75),
        (Model(product("1/3")), 0, "_1", 1.0, 1.5),
        (Model(product(0, "1/4")), 1, "_2", 1.0, 1.5),
    ],
    ids=["exploding", "a third", "second window"],
)
def test_the_flow_at_any_schedule_and_scale(model, number, suffix, alpha, beta):
    system, x = training(model, number), (0.8, 0.9, 0.7, 0.9, 0.2)
    at = {"s": 0.75, "sigma": 1.3}
    at |= {name: 2.0 for name in ("kappa", "kappa_1", "kappa_2", "kappa_3")}
    at |= {"p": 0.7, "p_1": 0.7, "p_2": 0.7, "rho_1": 1.8, "rho_2": 1.8}
    at |= {n + suffix: e for n, e in zip(NAMES, x, strict=True)}
    rho = 1.8 if suffix else 1.0
    got = [value(system[key + suffix], **at) for key in NAMES]
    exact = hand_flow(x, 0.7, beta, alpha, rho)
    assert np.allclose(got, exact, atol=SLOPE)
    if suffix:
        assert not np.allclose(got, hand_flow(x, 0.7, beta, alpha, 1.0), atol=1e-3)


# ------------------------------------------------------- explicit networks, n samples

SAMPLES = {"n": 5.0, "n_plus": 3.0, "sigma": 1.3, "ridge_u": 0.4, "ridge_w": 0.3}
SAMPLE_NAMES = ("m", "a_plus", "a_minus", "q", "omega", "zeta_plus", "zeta_minus", "r")


class Network:
    """A network on fixed samples and fresh noise: its loss is a 1-d average a sample.

    E_x0 |x1 - u phi(h)|^2 with h ~ N(beta w.x1/sqrt(d) + b, |w|^2/d) in the
    window, where the skip and the shrinking of the noise are of higher order.
    """

    def __init__(self, d, exact_orthogonality, seed=0):
        rng = np.random.default_rng(seed)
        n, n_plus = int(SAMPLES["n"]), int(SAMPLES["n_plus"])
        basis = rng.normal(size=(n + 3, d))
        if exact_orthogonality:
            basis = np.linalg.qr(basis.T)[0].T * np.sqrt(d)
        else:
            basis[0] *= np.sqrt(d) / np.linalg.norm(basis[0])
        self.d, self.mu, self.z = d, basis[0], basis[1 : n + 1]
        self.labels = np.where(np.arange(n) < n_plus, 1.0, -1.0)
        self.x1 = self.labels[:, None] * self.mu + SAMPLES["sigma"] * self.z
        plus, minus = self.z[:n_plus].sum(0), self.z[n_plus:].sum(0)
        self.u = 0.4 * self.mu + 0.1 * plus - 0.05 * minus + 0.3 * basis[n + 1]
        self.w = 0.3 * self.mu + 0.07 * plus - 0.12 * minus + 0.5 * basis[n + 2]
        self.b, self.k = 0.1, POINT["kappa"] * POINT["s"]

    def gradients(self):
        """Half the gradients of the loss a sample, times d where they are vectors."""
        d, n = self.d, len(self.labels)
        centre = self.k * self.x1 @ self.w / d + self.b
        size = np.linalg.norm(self.w) / np.sqrt(d)
        h = centre[:, None] + size * G
        phi, slope = np.tanh(h), 1 - np.tanh(h) ** 2
        f1, f2 = phi @ WEIGHT, phi**2 @ WEIGHT
        q, ux = self.u @ self.u / d, self.x1 @ self.u / d
        inner = (q * phi - ux[:, None]) * slope  # half the slope of the loss in h
        push, spread = inner @ WEIGHT, (inner * G) @ WEIGHT
        grad_u = (-f1 @ self.x1 + (f2.sum() + SAMPLES["ridge_u"]) * self.u) / n
        grad_w = self.k * push @ self.x1 + spread.sum() * self.w / size
        grad_w = (grad_w + SAMPLES["ridge_w"] * self.w) / n
        return grad_u, grad_w, push.sum() / n

    def step(self, size):
        """One step of the classical fourth-order rule along minus the gradients."""
        start = self.u, self.w, self.b
        total, rates = [0.0, 0.0, 0.0], None
        for weight, ahead in ((1, 0), (2, 0.5), (2, 0.5), (1, 1)):
            if rates:
                self.u, self.w, self.b = (
                    x - ahead * size * g for x, g in zip(start, rates, strict=True)
                )
            rates = self.gradients()
            total = [t + weight / 6 * g for t, g in zip(total, rates, strict=True)]
        self.u, self.w, self.b = (
            x - size * g for x, g in zip(start, total, strict=True)
        )

    def measure(self):
        d, plus = self.d, self.labels > 0
        a, zeta = self.z @ self.u / d, self.z @ self.w / d
        found = {
            "m": self.u @ self.mu / d,
            "a_plus": a[plus].mean(),
            "a_minus": a[~plus].mean(),
            "q": self.u @ self.u / d,
            "omega": self.w @ self.mu / d,
            "zeta_plus": zeta[plus].mean(),
            "zeta_minus": zeta[~plus].mean(),
            "r": self.w @ self.w / d,
            "b": self.b,
        }
        return {k: float(v) for k, v in found.items()}

    def rates(self):
        """Time derivatives of the overlaps along the gradient flow."""
        step, before = 1e-4, self.measure()
        kept = self.u, self.w, self.b
        ends = []
        for sign in (1, -1):
            self.u, self.w, self.b = kept
            g = self.gradients()
            self.u, self.w, self.b = (
                x - sign * step * y for x, y in zip(kept, g, strict=True)
            )
            ends.append(self.measure())
        self.u, self.w, self.b = kept
        return {k: (ends[0][k] - ends[1][k]) / (2 * step) for k in before}


def rates_of(system, at):
    return {key: value(system[key], **at) for key in (*SAMPLE_NAMES, "b")}


@pytest.fixture(scope="module")
def sample_flow():
    return training(Model(two_modes(), data=Data(samples=True)))


def test_the_flow_of_n_samples_is_that_of_an_explicit_network(sample_flow):
    """Orthogonal sample noises make the limit exact at any d."""
    network = Network(40, exact_orthogonality=True)
    for _ in range(2):
        at = {**POINT, **SAMPLES, **network.measure()}
        got, exact = rates_of(sample_flow, at), network.rates()
        for key, number in exact.items():
            assert got[key] == pytest.approx(number, abs=EXPLICIT), key
        for _ in range(20):  # and further along the path
            network.step(0.05)
    for key in ("m", "zeta_plus", "b"):
        wrong = sample_flow.replaced(key, -sample_flow[key])
        assert abs(value(wrong[key], **at) - exact[key]) > 1e-3


def test_random_samples_approach_the_flow_as_d_grows(sample_flow):
    """Overlaps of random noises are d^(-1/2): so are the errors, over three seeds."""
    errors = {}
    for d in (1000, 16000):
        found = []
        for seed in range(3):
            network = Network(d, exact_orthogonality=False, seed=seed)
            at = {**POINT, **SAMPLES, **network.measure()}
            got, exact = rates_of(sample_flow, at), network.rates()
            found.append([got[k] - exact[k] for k in got])
        errors[d] = np.sqrt(np.mean(np.square(found)))
    assert errors[16000] < 5 / np.sqrt(16000)
    assert 2 < errors[1000] / errors[16000] < 8  # the square root of 16 is 4


# -------------------------------------------------------- two units in one window


def two_unit_flow(u, w, b, mu, p, k):
    """Gradients of the population loss of two units by hand, on explicit vectors.

    Averages over the four sign patterns and a two-dimensional normal.
    """
    d = mu.shape[1]
    g, weight = normal_rule(161)
    low = np.linalg.cholesky(w @ w.T / d)
    shape = (2, g.size, g.size)
    z = np.stack(np.broadcast_arrays(g[:, None], g[None, :]))
    both = weight[:, None] * weight
    grad_u = np.zeros_like(u)
    shift_pull, spread = np.zeros((2, d)), np.zeros((2, 2))
    grad_b = np.zeros(2)
    noise = np.tensordot(low, z, 1).reshape(shape)
    for signs in np.ndindex(2, 2):
        s = 1 - 2 * np.array(signs)
        share = np.prod(np.where(s > 0, p, 1 - p))
        centre = k * (w @ (s @ mu)) / d + b
        phi = np.tanh(centre[:, None, None] + noise)
        slope = 1 - phi**2
        x1 = s @ mu
        second = np.einsum("kij,lij,ij->kl", phi, phi, both)
        grad_u += share * (second @ u - np.outer((phi * both).sum((1, 2)), x1))
        inner = np.tensordot(u @ u.T / d, phi, 1) - (u @ x1 / d)[:, None, None]
        push = inner * slope * both
        shift_pull += share * k * np.outer(push.sum((1, 2)), x1)
        grad_b += share * push.sum((1, 2))
        spread += share * np.einsum("kij,lij->kl", push, noise)
    # E[push_k noise_l] = sum_j E[d push_k/d h_j] C_jl: noise = w.x0/sqrt(d)
    pull = np.linalg.solve(w @ w.T / d, spread.T).T
    return grad_u, shift_pull + pull @ w, grad_b


def measured(u, w, b, mu):
    d, size = mu.shape[1], np.linalg.norm(mu, axis=1)
    found = {"b_1": b[0], "b_2": b[1]}
    m, omega = u @ mu.T / np.outer(size, size), w @ mu.T / (np.sqrt(d) * size)
    q, r = u @ u.T / np.outer(size, size), w @ w.T / d
    for name, full in (("m", m), ("omega", omega)):
        for i in range(2):
            for j in range(2):
                key = f"{name}_{i + 1}" + ("" if i == j else f"_{j + 1}")
                found[key] = full[i, j]
    for name, full in (("q", q), ("r", r)):
        found |= {f"{name}_1": full[0, 0], f"{name}_2": full[1, 1]}
        found[f"{name}_1_2"] = full[0, 1]
    return {k: float(v) for k, v in found.items()}


def test_two_units_in_one_window_follow_explicit_gradients():
    system = training(Model(product(0, 0)))
    rng, d, rho = np.random.default_rng(5), 24, np.array([1.0, 1.7])
    basis = np.linalg.qr(rng.normal(size=(d, 6)))[0].T * np.sqrt(d)
    mu = basis[:2] * np.sqrt(rho)[:, None]
    u = rng.normal(size=(2, 6)) @ basis * 0.4 + 0.5 * mu
    w = rng.normal(size=(2, 6)) @ basis * 0.3 + 0.4 * mu
    b, p, k = np.array([0.2, -0.3]), np.array([0.8, 0.3]), 1.5
    at = {"p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 1.7, "sigma": 1.0}
    at |= {"kappa": 2.0, "s": 0.75, **measured(u, w, b, mu)}
    grads = two_unit_flow(u, w, b, mu, p, k)
    step = 1e-5
    ends = [
        measured(*(x - e * step * g for x, g in zip((u, w, b), grads, strict=True)), mu)
        for e in (1, -1)
    ]
    exact = {key: (ends[0][key] - ends[1][key]) / (2 * step) for key in ends[0]}
    assert set(exact) == set(system.names)
    for key, number in exact.items():
        assert value(system[key], **at) == pytest.approx(number, abs=1e-6), key
    for key in ("m_1_2", "q_1_2", "omega_2", "r_1_2", "b_2"):
        assert abs(2 * value(system[key], **at) - exact[key]) > 1e-4


# ------------------------------------------------------------- the tied network


def tied_gradients(c, w, b, mu, p, sigma, noise, signal):
    """Gradients of E|x0 + noise*s(x)|^2/d on an explicit w, by 1-d quadrature.

    s(x) = c x + w tanh(w.x + b), x = noise x0 + signal (+-mu + sigma z). Given the
    label, x = centre + sqrt(delta) xi and x0 is regressed on xi.
    """
    d = len(w)
    delta = noise**2 + (sigma * signal) ** 2
    size2 = w @ w
    out = [0.0, np.zeros(d), 0.0]
    for share, s in ((p, 1), (1 - p, -1)):
        t0, std = signal * s * (w @ mu) + b, np.sqrt(delta * size2)
        h = t0 + std * G
        phi, slope = np.tanh(h), 1 - np.tanh(h) ** 2
        # L = const(c) + noise^2 |w|^2 E phi^2 + 2 noise E[(x0 + noise c x).w phi]
        # with E[x0.w | h] = noise (h - t0)/delta and x.w = h - b
        direct = noise * (h - t0) / delta + noise * c * (h - b)
        e = phi**2 @ WEIGHT
        inner = 2 * noise**2 * size2 * phi * slope + 2 * noise * (
            direct * slope + (noise / delta + noise * c) * phi
        )
        # the loss as a function of (b, t0, std, |w|^2): chain rule by hand
        d_t0 = (inner - 2 * noise * noise / delta * phi) @ WEIGHT
        d_std = (inner * G) @ WEIGHT
        d_b = -2 * noise**2 * c * (phi @ WEIGHT)
        out[0] += share * (2 * noise**2 * ((h - b) * phi) @ WEIGHT)
        out[1] += share * (
            d_t0 * signal * s * mu
            + d_std * np.sqrt(delta) * w / np.sqrt(size2)
            + 2 * noise**2 * e * w
        )
        out[2] += share * (d_t0 + d_b)
    power = delta + signal**2 * (mu @ mu) / d
    linear = d * (2 * noise**2 + 2 * noise**2 * c * power)
    return (out[0] + linear) / d, out[1] / d, out[2] / d


def tied_point(c, w, b, mu, signal):
    d = len(w)
    m = w @ mu / (signal * d)
    return {"c": c, "m": m, "q": w @ w / (signal**2 * d) - m**2, "b": b}


@pytest.mark.parametrize("tau", [0.05, 0.6])
def test_the_tied_flow_is_exact_at_finite_dimension(tau):
    """Gradient descent of the score loss on an explicit w, d = 64."""
    rng, d, sigma, p = np.random.default_rng(2), 64, 1.2, 0.8
    mu = rng.normal(size=d)
    mu *= np.sqrt(d) / np.linalg.norm(mu)
    w = 0.05 * tau * (mu + 2 * rng.normal(size=d))
    c, b, noise = -0.7, 0.3, 1 - tau
    system = tied_training(Model(two_modes()))
    at = {**tied_point(c, w, b, mu, tau), "p": p, "sigma": sigma, "d": d, "tau": tau}
    gc, gw, gb = tied_gradients(c, w, b, mu, p, sigma, noise, tau)
    step = 1e-5
    ends = [
        tied_point(c - e * gc, w - e * gw, b - e * gb, mu, tau) for e in (step, -step)
    ]
    for key in ("c", "m", "q", "b"):
        exact = (ends[0][key] - ends[1][key]) / (2 * step)
        got = value(system[key], **at)
        assert got == pytest.approx(exact, rel=1e-7, abs=1e-9), key
        assert abs(2 * got - exact) > 1e-5 * abs(exact)


def test_the_tied_loss_is_the_mean_of_sampled_losses():
    rng, d, tau, sigma, p, count = np.random.default_rng(4), 64, 0.15, 1.2, 0.8, 40000
    mu = np.ones(d)
    w, c, b = 0.02 * (mu + rng.normal(size=d)), -0.6, 0.2
    x0, z = rng.normal(size=(2, count, d))
    labels = np.where(rng.random(count) < p, 1.0, -1.0)
    x = (1 - tau) * x0 + tau * (labels[:, None] * mu + sigma * z)
    score = c * x + np.tanh(x @ w + b)[:, None] * w
    losses = np.sum((x0 + (1 - tau) * score) ** 2, 1) / d
    at = {**tied_point(c, w, b, mu, tau), "p": p, "sigma": sigma, "d": d}
    at |= {"alpha": 1 - tau, "beta": tau}
    got = value(tied_loss(Model(two_modes())), **at)
    error = losses.std() / np.sqrt(count)
    assert abs(got - losses.mean()) < 4 * error
    assert abs(1.01 * got - losses.mean()) > 4 * error


def tied_end(tau, d, times):
    """Follow the tied flow to a long time and return its states."""
    system = tied_training(Model(two_modes()))
    fixed = {"p": 0.8, "sigma": 1.0, "d": float(d), "tau": tau}
    names = ("c", "m", "q", "b")
    numbers = {symbol(k): sp.Float(v) for k, v in fixed.items()}
    rhs = [system[x].xreplace(numbers) for x in names]
    nodes = sorted(set().union(*(e.atoms(Average) for e in rhs)), key=str)
    bare = sp.symbols(f"e0:{len(nodes)}")
    swap = dict(zip(nodes, bare, strict=True))
    states = [symbol(x) for x in names]
    g = sp.Symbol("g", real=True)
    bodies = sp.lambdify((*states, g), [n.integrand for n in nodes], "numpy", cse=True)
    outer = sp.lambdify((*states, *bare), [e.xreplace(swap) for e in rhs], cse=True)

    def flow(_, x):
        averages = [np.dot(v, WEIGHT) for v in bodies(*x, G)]
        return outer(*x, *averages)

    start = (-1.0, 0.1, 0.1, 0.0)
    found = solve_ivp(
        flow, (0, max(times)), start, "LSODA", t_eval=times, rtol=1e-7, atol=1e-9
    )
    return dict(zip(names, found.y, strict=True))


def test_the_tied_bias_learns_the_log_odds_only_when_dilated():
    """Lambda = O(1): b -> h on times O(d). Lambda = O(d): b stays where it was."""
    h, d = np.log(4) / 2, 64
    dilated = tied_end(2 / np.sqrt(d), d, [400 * d])
    assert dilated["b"][-1] == pytest.approx(h, abs=2e-3)
    frozen = tied_end(0.5, d, [400 * d])
    assert abs(frozen["b"][-1] - h) > 0.2
