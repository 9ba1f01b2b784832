"""The network that all times share: its flow, its noise, and when blocks decouple."""

import numpy as np
import pytest
import sympy as sp
from dilaton import Model
from dilaton.errors import DerivationError
from dilaton.theory.models.model import Autoencoder, Data, modes, product, two_modes
from dilaton.theory.times.held import bulk_training, weight_training
from dilaton.theory.times.noise import shared_sgd
from dilaton.theory.times.shared_flow import shared_training

from ...oracles import value

EXACT = 1e-9  # quadrature of the same averages
D, TAU = 50.0, 0.2
TWO = {
    "sigma": 0.9, "d": D, "tau": TAU,
    "rho_1": 1.0, "rho_2": 0.7, "p_1": 0.5, "p_2": 0.5,
    "m_1": 0.8, "m_2": 0.6, "m_1_2": 0.0, "m_2_1": 0.0,
    "r_1": 0.9, "r_2": 0.8, "r_1_2": 0.0, "b_1": 0.0, "b_2": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    return shared_training(Model(product(0, 0)), sp.S.One)


def rates(system, **point):
    names = {str(x) for x in (*system.unknowns, *system.parameters)}
    point = {k: v for k, v in point.items() if k in names}
    return {str(e.lhs): float(value(e.rhs, **point)) for e in system.equations}


def test_even_features_stay_in_their_blocks(pair):
    found = rates(pair, **TWO)
    for name in ("m_1_2", "m_2_1", "r_1_2", "b_1", "b_2"):
        assert abs(found[name]) < EXACT
    one = shared_training(Model(two_modes()), sp.S.One)
    alone = {"p": 0.5, "sigma": 0.9, "d": D, "tau": TAU, "m": 0.8, "b": 0.0}
    alone = rates(one, **alone, q=0.9 - 0.8**2)
    assert found["m_1"] == pytest.approx(alone["m"], abs=EXACT)
    wanted = alone["q"] + 2 * 0.8 * alone["m"]
    assert found["r_1"] == pytest.approx(wanted, abs=EXACT)


def test_uneven_features_couple(pair):
    """w_1 is driven along mu_2 by E T_1 (E s_2 - m_2 E T_2)."""
    found = rates(pair, **TWO | {"p_1": 0.8, "p_2": 0.7})
    assert abs(found["m_1_2"]) > 0.01


def test_held_units_decouple(pair):
    """With w_j = mu_j the slope in b_1 is that of feature 1 alone, whatever b_2."""
    held = TWO | {"p_1": 0.8, "p_2": 0.7, "b_1": 0.2}
    held |= {"m_1": 1.0, "m_2": 1.0, "r_1": 1.0, "r_2": 1.0}
    alone = weight_training(Model(product(0, 0)), 1, sp.S.One)
    wanted = rates(alone, **held)["b_1"]
    for b in (-0.5, 0.4):
        assert rates(pair, **held | {"b_2": b})["b_1"] == pytest.approx(
            wanted, rel=1e-7
        )


def test_the_common_field_is_the_slope_of_both_modes():
    """The flow's b at m = 1, q = 0, where the two modes are averaged apart."""
    model = Model(two_modes())
    both, one = (
        shared_training(model, sp.S.One),
        weight_training(model, 1, sp.S.One),
    )
    at = {"p": 0.8, "sigma": 0.9, "d": D, "tau": TAU, "b": 0.3, "m": 1.0, "q": 0.0}
    assert rates(both, **at)["b"] == pytest.approx(rates(one, **at)["b"], rel=1e-9)
    assert rates(one, **at | {"b": np.log(4) / 2})["b"] == pytest.approx(0, abs=EXACT)


def test_the_noise_is_that_of_samples():
    """The squared slope of a sample's loss, drawn at d = 2000, times 1/4."""
    d, m, q, b, tau, sigma, p = 2000, 0.7, 0.3, 0.2, 0.03, 0.9, 0.7
    rng = np.random.default_rng(5)
    w = np.zeros(d)
    w[:2] = m * np.sqrt(d), np.sqrt(q * d)
    kept = (1 - tau) ** 2 / ((1 - tau) ** 2 + sigma**2 * tau**2)
    slope = tau / ((1 - tau) ** 2 + sigma**2 * tau**2)
    squares = []
    for _ in range(4000):
        s = 1 if rng.random() < p else -1
        x1 = sigma * rng.standard_normal(d)
        x1[0] += s * np.sqrt(d)
        x = (1 - tau) * rng.standard_normal(d) + tau * x1
        unit = np.tanh(slope * (w @ x) + b)
        rest = x1 - sigma**2 * slope * x - kept * w * unit
        pull = unit * rest + (1 - unit**2) * (w @ rest) * slope * x
        squares.append(np.sum((2 / d * kept * pull) ** 2) / 4)
    measured = np.mean(squares)
    error = np.std(squares) / np.sqrt(len(squares))
    model = Model(two_modes())
    at = {"p": p, "sigma": sigma, "d": d, "tau": tau, "m": m, "q": q, "b": b}
    noisy = rates(shared_sgd(model, sp.S.One), rate=1.0, batch=1.0, **at)["q"]
    gain = noisy - rates(shared_training(model, sp.S.One), **at)["q"]
    assert abs(gain - measured) < 4 * error + 5 / d  # the next order in d
    assert abs(2 * gain - measured) > 10 * error + 10 / d  # it has teeth


def test_the_bulk_flow_ends_at_sigma():
    bulk = bulk_training(Model(two_modes()), sp.S.One)
    assert bulk["spread"].subs(sp.Symbol("spread", positive=True), 4).subs(
        sp.Symbol("sigma", positive=True), 2) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (Model(two_modes(), data=Data(samples=True)), "n samples"),
        (Model(modes([[1.0], [0.0], [-1.0]], [0])), "no product"),
        (Model(two_modes(), autoencoder=Autoencoder("erf")), "`activation` = `erf`"),
        (Model(two_modes(), autoencoder=Autoencoder(bias=False)), "no bias"),
    ],
)
def test_what_does_not_close_is_refused(model, fact):
    with pytest.raises(DerivationError, match=fact):
        shared_training(model, sp.S.One)
