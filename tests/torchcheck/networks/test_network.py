"""The network at finite d: its function, its overlaps, its messages."""

import numpy as np
import pytest
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import Data, Model, two_modes
from dilaton.torchcheck.networks.network import Network
from dilaton.torchcheck.networks.training_set import draw_training_set, in_span

SAMPLES = Model(two_modes(), data=Data(samples=True))
FROZEN = Model(two_modes(), data=Data(samples=True, frozen_noise=True))
VALUES = {"sigma": 1.4, "n": 6, "n_plus": 4, "noise_draws": 2}
ROUNDING = 1e-12  # a few sums of 50 terms of order one


def random_network(d, steps, seed=0, activation="tanh"):
    g = torch.Generator().manual_seed(seed)
    c, b = torch.randn(2, steps, generator=g, dtype=torch.float64)
    u, w = torch.randn(2, steps, 1, d, generator=g, dtype=torch.float64)
    return Network(d, c, u, w, b[:, None], activation)


def parameters(network):
    """c, u, w and b of the only unit, as arrays."""
    c, u, w, b = network.c, network.u[:, 0], network.w[:, 0], network.b[:, 0]
    return [x.numpy() for x in (c, u, w, b)]


@pytest.mark.parametrize(
    ("name", "phi"), [("tanh", np.tanh), ("erf", lambda x: 2 * normal(x) - 1)]
)
def test_the_network_is_its_formula(name, phi):
    network = random_network(50, 3, activation=name)
    x = np.random.default_rng(0).standard_normal((3, 7, 50))
    got = network(torch.from_numpy(x)).numpy()
    c, u, w, b = parameters(network)
    for t in range(3):
        for row in range(7):
            field = w[t] @ x[t, row] / np.sqrt(50) + b[t]
            want = c[t] * x[t, row] + u[t] * phi(field)
            assert np.abs(got[t, row] - want).max() < ROUNDING


def normal(x):
    from scipy.stats import norm

    return norm.cdf(x)


def test_measure_returns_the_overlaps_by_hand():
    d = 50
    data = draw_training_set(FROZEN, VALUES, d, 1, times=3, embedding="full")
    network = random_network(d, 3, seed=2)
    got = network.overlaps(data)
    mu, z, s = data.mu.numpy(), data.z.numpy(), data.labels.numpy()
    c, u, w, b = parameters(network)
    sign = np.sign(w @ mu)  # (u, w, b) and -(u, w, b) are the same function
    u, w, b = sign[:, None] * u, sign[:, None] * w, sign * b
    want = {
        "c": c,
        "c_hat": np.sqrt(d) * c,
        "b": b,
        "m": u @ mu / d,
        "omega": w @ mu / d,
        "q": (u**2).sum(1) / d,
        "r": (w**2).sum(1) / d,
        "v": (u * w).sum(1) / d,
        "zeta_plus": (w @ z[:4].T / d).mean(1),
        "zeta_minus": (w @ z[4:].T / d).mean(1),
        "a_plus": (u @ z[:4].T / d).mean(1),
        "a_minus": (u @ z[4:].T / d).mean(1),
        "a": (s * (u @ z.T) / d).mean(1),
        "e": [
            np.mean([s[i] * u[t] @ x / d for i in range(6) for x in draws[i]])
            for t, draws in enumerate(data.x0.numpy())
        ],
    }
    assert set(got) == set(want)
    for name in want:
        assert np.abs(got[name] - want[name]).max() < ROUNDING, name


def test_a_population_has_no_noise_overlaps():
    data = draw_training_set(
        Model(two_modes()), {"sigma": 1.0, "p": 0.7}, 40, 0, embedding="full"
    )
    assert set(random_network(40, 2).overlaps(data)) == {
        *("c", "c_hat", "b", "m", "omega", "q", "r", "v")
    }


def test_a_rotation_into_the_span_keeps_every_overlap():
    data = draw_training_set(SAMPLES, VALUES, 50, 2, embedding="full")
    inside = in_span(data)
    weights = torch.randn(3, 6, generator=torch.Generator().manual_seed(3)).double()
    zero = torch.zeros(3, dtype=torch.float64)
    none = zero[:, None]
    full, spanned = (
        Network(50, zero, (weights @ x.z)[:, None], (weights @ x.x1)[:, None], none)
        for x in (data, inside)
    )
    a, b = full.overlaps(data), spanned.overlaps(inside)
    assert inside.x1.shape == (6, 7)
    for name in a:
        assert np.abs(a[name] - b[name]).max() < ROUNDING, name


def test_sign_is_refused():
    with pytest.raises(ModelError, match=r"trained with `tanh` or `erf`.*`sign`"):
        random_network(5, 1, activation="sign")


def test_shapes_are_checked():
    zero = torch.zeros(2)
    with pytest.raises(ShapeError, match=r"`w` must have shape .2, 1, 5., but"):
        Network(5, zero, torch.zeros(2, 1, 5), torch.zeros(2, 1, 4), zero[:, None])
    data = draw_training_set(SAMPLES, VALUES, 50, 2)
    with pytest.raises(ShapeError, match="have 50 and 7"):
        random_network(50, 1).overlaps(data)
