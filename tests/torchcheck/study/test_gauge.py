"""Overlaps are compared up to the sign of each unit."""

import dilaton
import numpy as np
import pytest
from dilaton.torchcheck.study.compare import compare
from dilaton.torchcheck.study.converge import train_cells
from dilaton.torchcheck.study.plan import Plan
from dilaton.torchcheck.study.series import signs, turned, turning_units

LIMITS = {
    "m_1": np.array([1.0, 0.9]),
    "m_1_2": np.array([0.01, -0.02]),
    "omega_1": np.array([1.2, 0.7]),
    "b_1": np.array([np.inf, 0.4]),
    "m_2": np.array([-0.5, 0.8]),
    "omega_2": np.array([-0.6, 0.9]),
    "zeta_2_pm": np.array([-0.1, 0.2]),
    "q_1_2": np.array([0.3, -0.1]),
    "r_1": np.array([1.5, 1.1]),
    "v_2": np.array([0.4, 0.5]),
    "c": np.array([0.2, 0.3]),
}


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("m", ("",)),
        ("a_plus", ("",)),
        ("zeta_minus", ("",)),
        ("b", ("",)),
        ("c_hat", ()),
        ("r", ()),
        ("v", ()),
        ("V", ()),
        ("omega_2_1", ("2",)),
        ("e_1_pm", ("1",)),
        ("b_2", ("2",)),
        ("q_1_2", ("1", "2")),
        ("q_1", ()),
        ("v_1", ()),
    ],
)
def test_what_turns_with_a_unit(name, units):
    assert turning_units(name) == units


def test_a_turned_network_is_turned_back():
    random = np.random.default_rng(0)
    shape = (4, 3, 2)  # dimension, seed, time
    own = {x: random.choice([-1.0, 1.0], shape) for x in ("1", "2")}
    noisy = {
        name: np.where(np.isfinite(y), y, 20.0) * (1 + 0.1 * random.normal(size=shape))
        for name, y in LIMITS.items()
    }
    measured = {name: turned(name, x, own) for name, x in noisy.items()}
    assert not np.array_equal(measured["q_1_2"], noisy["q_1_2"])
    chosen = signs(measured, LIMITS)
    for name, x in measured.items():
        np.testing.assert_array_equal(turned(name, x, chosen), noisy[name])


def test_one_wrong_sign_turns_nothing():
    measured = {name: np.nan_to_num(y, posinf=20.0) for name, y in LIMITS.items()}
    for name in LIMITS:
        wrong = LIMITS | {name: -LIMITS[name]}
        chosen = signs(measured, wrong)
        assert all(np.all(x == 1) for x in chosen.values()), name


def test_a_saturated_unit_may_have_either_sign():
    """phi = 1: m = (n_+ - n_-)/(n + ridge), a = 1/(n + ridge), for either gauge."""
    spec = dilaton.default_spec().replace(n=16, n_plus=3, ridge_u=0.25, ridge_w=0.25)
    plan = Plan((1000, 3000, 10_000), 4, times=(0.01,), paths=0)
    cells = train_cells(spec, plan)
    limit = {"m": -10 / 16.25, "a_plus": 1 / 16.25, "a_minus": 1 / 16.25}

    def inconsistent(**factors):
        curves = {x: np.array([factors.get(x, 1.0) * y]) for x, y in limit.items()}
        fits = compare(plan, spec, {"weights": curves}, cells).fits
        return {x["quantity"] for x in fits if x["verdict"] == "inconsistent"}

    assert not inconsistent()
    assert not inconsistent(m=-1, a_plus=-1, a_minus=-1)
    assert inconsistent(m=-1) == {"m"}
    assert inconsistent(a_plus=-1) == {"a_plus"}
