"""Networks with one unit a feature: loss, minimum, overlaps, generated samples.

The judges are the definition by sampling, two-dimensional quadrature, finite
differences and Bayes' denoiser of a product mixture written by hand.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import (
    LINEAR,
    TRIGONOMETRIC,
    Autoencoder,
    Data,
    Model,
    product,
)
from dilaton.torchcheck.networks.network import Network
from dilaton.torchcheck.networks.network_loss import NetworkLoss
from dilaton.torchcheck.networks.sample import sample_features
from dilaton.torchcheck.networks.step_grid import coefficients, dilated_grid
from dilaton.torchcheck.networks.train import make_loss, train
from dilaton.torchcheck.networks.training_set import draw_training_set
from scipy import optimize, stats

from ...networks import network_of, random_point, uncorrelated
from ...oracles import mixture_share

VALUES = {"sigma": 1.3, "p_1": 0.8, "p_2": 0.3, "rho_1": 1.2, "rho_2": 0.9}
WINDOWS = {"kappa_1": 2.0, "kappa_2": 2.0, "kappa": 2.0}
EXPONENTS = [("0", "0"), ("0", "1/4")]
SIGMAS = 5.0  # a Monte Carlo check fails by chance once in two million
ROUNDING = 1e-12
SERIES = 1e-12  # Mehler's series and both quadratures converge geometrically
DIFFERENCE = 1e-5  # forward differences of step 1e-6 err by the order of their step


def monte_carlo(loss, point, draws, seed):
    """The loss per coordinate from its definition, and its standard error."""
    data, network = loss.data, network_of(loss, point)
    random = np.random.default_rng(seed)
    signs, share = sign_patterns()
    each = 100
    totals = []
    for _ in range(draws):
        x1 = torch.from_numpy(signs.repeat(each, 0)) @ data.means
        x1 = x1 + VALUES["sigma"] * torch.from_numpy(random.normal(size=x1.shape))
        x0 = torch.from_numpy(random.normal(size=(len(point[0]), *x1.shape)))
        x = loss.alpha[:, None, None] * x0 + loss.beta[:, None, None] * x1
        error = ((x1 - network(x)) ** 2).mean(2).numpy()
        totals.append(error.reshape(len(error), len(signs), each).mean(2) @ share)
    totals = np.array(totals)
    return totals.mean(0), totals.std(0) / draws**0.5


def sign_patterns():
    """The four modes' signs, and their probabilities from `VALUES`."""
    signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    plus = np.array([VALUES["p_1"], VALUES["p_2"]])
    return signs, np.where(signs > 0, plus, 1 - plus).prod(1)


def some_loss(exponents, phi="tanh", d=60, times=(0.1, 0.4), embedding="full"):
    model = Model(product(*exponents), LINEAR, Autoencoder(phi))
    data = draw_training_set(model, VALUES, d, 3, embedding=embedding)
    return make_loss(model, VALUES, np.array(times), data)


@pytest.mark.parametrize(
    ("exponents", "phi"), [(EXPONENTS[0], "tanh"), (EXPONENTS[1], "erf")]
)
def test_the_loss_is_the_mean_of_the_sampled_one(exponents, phi):
    loss = some_loss(exponents, phi)
    point = random_point(loss, 5)
    mean, error = monte_carlo(loss, point, 200, 6)
    assert np.all(np.abs(mean - loss.value(*point).numpy()) < SIGMAS * error)


def without_spread(loss):
    """(N4) without the spread's part of E[phi x_1]."""

    class Pointed(NetworkLoss):
        def moments(self, w, b):
            _, x, products = super().moments(w, b)
            rest = replace(self.data, sigma=0.0)
            noise = torch.sqrt(self.noise)
            bare = NetworkLoss(**(vars(self) | {"data": rest, "alpha": noise}))
            return bare.moments(w, b)[0], x, products

    return Pointed(**vars(loss))


def swapped_weights(loss):
    return replace(loss, data=replace(loss.data, weights=loss.data.weights.flip(0)))


def erf_for_tanh(loss):
    return replace(loss, phi="erf")


@pytest.mark.parametrize(
    "broken", [uncorrelated, without_spread, swapped_weights, erf_for_tanh]
)
def test_a_perturbed_loss_is_rejected(broken):
    loss = some_loss(EXPONENTS[0], d=10, times=(0.2, 0.6))
    point = random_point(loss, 5)
    mean, error = monte_carlo(loss, point, 600, 6)
    assert np.all(np.abs(mean - loss.value(*point).numpy()) < SIGMAS * error)
    wrong = broken(loss).value(*point).numpy()
    assert np.any(np.abs(mean - wrong) > SIGMAS * error)


@pytest.mark.parametrize("phi", ["tanh", "erf"])
def test_products_of_units_are_those_of_quadrature_in_the_plane(phi):
    loss = some_loss(EXPONENTS[1], phi, times=(0.2,))
    _, _, w, b = random_point(loss, 2)
    found = loss.moments(w, b)[2][0].numpy()
    g, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    w, b, means = w[0].numpy(), b[0].numpy(), loss.data.means.numpy()
    cov = (0.8**2 + 1.69 * 0.2**2) * w @ w.T
    root = np.linalg.cholesky(cov)
    rho = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
    assert 0.05 < abs(rho) < 0.6
    total = 0.0
    for signs, share in zip(*sign_patterns(), strict=True):
        h = 0.2 * w @ (signs @ means) + b
        first = h[0] + root[0, 0] * g[:, None]
        second = h[1] + root[1, 0] * g[:, None] + root[1, 1] * g
        f = np.tanh if phi == "tanh" else lambda x: 2 * stats.norm.cdf(x) - 1
        total += share * (weight @ (f(first) * f(second)) @ weight)
    assert abs(found[0, 1] - total) < SERIES
    assert abs(found[1, 0] - total) < SERIES


@pytest.mark.parametrize("exponents", EXPONENTS)
def test_gradients_agree_with_finite_differences(exponents):
    loss = some_loss(exponents, times=(0.1,), d=90, embedding="span")
    _, _, w, b = random_point(loss, 1)
    w = 0.3 * w + torch.tensor([[0.2, 0.0, 0.3, 0.0], [0.0, 0.3, -0.1, 0.2]])
    point = loss.join(w, b)
    assert loss.near(w).all()
    _, gradient = loss.reduced(point)

    def value(x):
        return loss.reduced(torch.from_numpy(x)[None])[0].item()

    differences = optimize.approx_fprime(point[0].numpy(), value, 1e-6)
    assert np.abs(gradient[0].numpy() - differences).max() < DIFFERENCE
    assert np.abs(differences).max() > 100 * DIFFERENCE


def test_the_solved_skip_and_readouts_are_stationary():
    loss = some_loss(EXPONENTS[1])
    _, _, w, b = random_point(loss, 4)
    c, u, total = loss.best(w, b)
    c, u = c.requires_grad_(), u.detach().requires_grad_()
    again = loss.value(c, u, w, b)
    again.sum().backward()
    assert torch.allclose(again, total, rtol=ROUNDING)
    assert max(c.grad.abs().max(), u.grad.abs().max()) < ROUNDING


def test_split_undoes_join_and_chunks_change_nothing(monkeypatch):
    loss = some_loss(EXPONENTS[1], times=(0.05, 0.1, 0.4), embedding="span")
    _, _, w, b = random_point(loss, 4)
    point = loss.join(w, b)
    assert all(
        torch.allclose(x, y, rtol=ROUNDING)
        for x, y in zip(loss.split(point), (w, b), strict=True)
    )
    whole = loss.reduced(point)
    monkeypatch.setattr("dilaton.torchcheck.networks.network_loss._CHUNK", 1)
    assert len(loss.parts()) == 3
    for x, y in zip(loss.reduced(point), whole, strict=True):
        assert torch.allclose(x, y, rtol=1e-10, atol=1e-14)


# ------------------------------------------------------------------------ the minimum


def bayes(model, times, d):
    """Overlaps of the exact denoiser at finite d: the posterior of signs factorises."""
    at = coefficients(model.interpolant, np.asarray(times), d)
    delta = at.alpha**2 + VALUES["sigma"] ** 2 * at.beta**2
    want = {"c": VALUES["sigma"] ** 2 * at.beta / delta}
    for j, feature in enumerate(model.target.features, 1):
        norm = (VALUES[f"rho_{j}"] * float(d) ** (1 - 2 * feature.exponent)) ** 0.5
        p = VALUES[f"p_{j}"]
        m, omega = at.alpha**2 / delta, at.beta * float(norm) / delta
        want |= {f"m_{j}": m, f"omega_{j}": omega, f"q_{j}": m**2, f"r_{j}": omega**2}
        want |= {
            f"v_{j}": m * omega,
            f"b_{j}": np.full(len(at.beta), np.log(p / (1 - p)) / 2),
        }
    across = ("m_1_2", "m_2_1", "omega_1_2", "omega_2_1", "q_1_2", "r_1_2")
    return want | dict.fromkeys(across, np.zeros(len(at.beta)))


# Gradient norms of 1e-9 over the smallest curvatures, some 1e-5 for a small feature.
LEARNED = 1e-4


@pytest.mark.parametrize("interpolant", [LINEAR, TRIGONOMETRIC])
def test_two_equal_units_learn_the_exact_denoiser(interpolant):
    model, d = Model(product("0", "0"), interpolant), 1000
    times = np.array([0.8, 1.6]) / d**0.5
    trained = train(model, VALUES, times, d, 0, tolerance=1e-9)
    got = trained.network.overlaps(trained.data)
    want = bayes(model, times, d)
    assert set(got) == set(want)
    assert trained.gradient_norm.max() < 1e-8
    assert near(got, want, want)
    for name in want:
        assert not near(got | {name: 1.001 * got[name] + 1e-3}, want, want), name


def near(got, want, names):
    return all(
        np.all(np.abs(got[x] - want[x]) < LEARNED * (1 + np.abs(want[x])))
        for x in names
    )


@pytest.mark.parametrize(("window", "feature"), [(0.5, 1), (0.25, 2)])
def test_units_of_different_size_learn_each_in_its_window(window, feature):
    model, d = Model(product("0", "1/4")), 300
    times = np.array([0.8, 1.6][: 3 - feature]) * d**-window
    trained = train(model, VALUES, times, d, 0, tolerance=1e-9)
    got, want = trained.network.overlaps(trained.data), bayes(model, times, d)
    assert near(got, want, [x for x in want if x.endswith(f"_{feature}")])
    # the first feature is decided in the second window, which its readout shows
    assert near(got, want, ["c", "m_1", "q_1"])


def test_the_start_does_not_matter_nor_the_coordinates():
    model, d = Model(product("0", "0")), 200
    times = np.array([1.2 / d**0.5])
    full = draw_training_set(model, VALUES, d, 7, embedding="full")
    assert torch.allclose(
        full.means @ full.means.T, torch.diag(full.norms**2), atol=1e-10
    )
    found = [
        train(model, VALUES, times, d, seed, data=data, tolerance=1e-9)
        for seed, data in ((1, None), (2, None), (3, full))
    ]
    for trained in found:
        got = trained.network.overlaps(trained.data)
        assert near(got, bayes(model, times, d), got)


def test_cut_short_the_gradient_norm_says_so():
    model = Model(product("0", "0"))
    trained = train(model, VALUES, [0.05], 400, 0, steps=2)
    assert trained.gradient_norm[0] > 1e-5


# ------------------------------------------------------------------------ the overlaps


def test_overlaps_are_measured_by_their_definitions():
    loss = some_loss(EXPONENTS[1], d=60)
    c, u, w, b = random_point(loss, 5)
    w = 0.05 * w + 0.2 * loss.data.means / 60**0.5  # unit j along feature j
    network = network_of(loss, (c, u, w, b))
    got = network.overlaps(loss.data)
    for j in (0, 1):
        mu = loss.data.means[j].numpy()
        norm = np.linalg.norm(mu)
        readout, weight = (x[:, j].numpy() for x in (network.u, network.w))
        want = {
            "m": readout @ mu / norm**2,
            "omega": weight @ mu / (60**0.5 * norm),
            "q": (readout**2).sum(1) / norm**2,
            "r": (weight**2).sum(1) / 60,
            "v": (readout * weight).sum(1) / (60**0.5 * norm),
            "b": b[:, j].numpy(),
        }
        for name, x in want.items():
            assert np.allclose(got[f"{name}_{j + 1}"], x, rtol=ROUNDING), name


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_matching_undoes_permutations_and_signs(order, signs):
    loss = some_loss(EXPONENTS[1])
    _, u, w, b = random_point(loss, 3)
    w = 0.1 * w + 0.5 * loss.data.means / 60**0.5
    known = network_of(loss, (loss.alpha, u, w, b))
    turn = torch.tensor(signs, dtype=torch.float64)
    order = list(order)
    moved = replace(
        known,
        u=(turn[:, None] * known.u)[:, order],
        w=(turn[:, None] * known.w)[:, order],
        b=(turn * known.b)[:, order],
    )
    found = moved.matched(loss.data)
    for name in "uwb":
        assert torch.equal(getattr(found, name), getattr(known, name)), name
    x = torch.randn(2, 5, 60, dtype=torch.float64)
    assert torch.allclose(found(x), moved(x), rtol=ROUNDING)


def test_the_network_is_its_formula():
    loss = some_loss(EXPONENTS[0])
    network = network_of(loss, random_point(loss, 3))
    x = np.random.default_rng(0).normal(size=(2, 3, 60))
    got = network(torch.from_numpy(x)).numpy()
    for t in range(2):
        c, u, w, b = (getattr(network, y)[t].numpy() for y in "cuwb")
        want = c * x[t]
        for k in (0, 1):
            phi = np.tanh(x[t] @ w[k] / 60**0.5 + b[k])
            want = want + np.outer(phi, u[k])
        assert np.abs(got[t] - want).max() < ROUNDING


# ------------------------------------------------------------------- generated samples


@pytest.mark.parametrize(
    "exponents", [EXPONENTS[0], pytest.param(EXPONENTS[1], marks=pytest.mark.slow)]
)
def test_generated_features_have_their_shares(exponents):
    d, paths = 10**6, 8000
    model = Model(product(*exponents))
    steps = 40 if exponents[1] == "0" else 60
    grid = dilated_grid(model, VALUES | WINDOWS, d, steps, "midpoint")
    trained = train(model, VALUES, grid.times, d, 0, steps=60)
    got = sample_features(trained, grid, paths, 1)
    for j, x in enumerate(got, 1):
        p, k = VALUES[f"p_{j}"], 2.0 * VALUES[f"rho_{j}"] ** 0.5
        error = SIGMAS * (p * (1 - p) / paths) ** 0.5
        # 20 midpoint steps a window and 60 descents leave some 1e-3
        assert abs(x.final_share_plus - p) < error + 2e-3
        share = mixture_share(k, p)
        assert abs(x.share_plus - share) < error + 2e-3
        assert abs(x.final_share_plus - (1 - p)) > error + 2e-3
        spread = (x.share_plus * (1 - x.share_plus) / paths) ** 0.5
        assert x.share_plus_error == pytest.approx(spread)
    both = (got[0].nu[-1] > 0) & (got[1].nu[-1] > 0)
    for j, (x, e) in enumerate(zip(got, exponents, strict=True), 1):
        size = VALUES[f"rho_{j}"] ** 0.5 * d ** (0.5 - float(Fraction(e)))
        mode = x.nu[-1][both] / size
        assert x.mode_mean == pytest.approx(mode.mean())
        spread = mode.std(ddof=1) / both.sum() ** 0.5
        assert x.mode_mean_error == pytest.approx(spread)
    want = VALUES["p_1"] * VALUES["p_2"]  # features are independent
    assert abs(both.mean() - want) < SIGMAS * (want * (1 - want) / paths) ** 0.5 + 2e-3


# ---------------------------------------------------------------------------- messages


def test_messages():
    model = Model(product("0", "0"))
    samples = replace(model, data=Data(samples=True))
    with pytest.raises(ModelError, match="Training needs `n_pp`"):
        draw_training_set(samples, VALUES, 50, 0)
    with pytest.raises(ModelError, match="needs d > 3, but d is 3"):
        draw_training_set(model, VALUES, 3, 0)
    with pytest.raises(ModelError, match="Training needs `rho_1`"):
        draw_training_set(model, {"sigma": 1.0, "p_1": 0.5, "p_2": 0.5}, 50, 0)
    with pytest.raises(ModelError, match="beta = 0"):
        train(model, VALUES, [0.0], 50, 0)
    zero = torch.zeros(1, 2, 5)
    with pytest.raises(ShapeError, match=r"`b` must have shape \(1, 2\), but"):
        Network(5, torch.zeros(1), zero, zero, torch.zeros(1, 3))
    data = draw_training_set(model, VALUES, 50, 0)
    with pytest.raises(ShapeError, match="they have 5 and 4"):
        Network(5, torch.zeros(1), zero, zero, torch.zeros(1, 2)).overlaps(data)
