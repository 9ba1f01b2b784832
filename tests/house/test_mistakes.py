"""Natural mistakes of a first hour: each gets the sentence that helps."""

import dilaton
import numpy as np
import pytest
import sympy as sp
from dilaton import Data, Interpolant, Model, derive, solve, two_modes
from dilaton.errors import ModelError, did_you_mean

LIMIT = derive(Model(two_modes()))
LEARNED = LIMIT.phase("weights").learned
POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}

SAID = {
    "a misspelled value": (
        lambda: solve(LIMIT, kapa=2, p=0.8, sigma=1),
        "`kapa` was given; did you mean `kappa`",
    ),
    "a missing value": (lambda: solve(LIMIT, p=0.8, sigma=1), "`kappa` is missing"),
    "a phase by number": (lambda: LIMIT.phase(0), "weights, variance, but `0`"),
    "samples by number": (lambda: Data(16), "as in `n=16`"),
    "a function of NumPy": (lambda: Interpolant(np.cos, np.sin), "a sympy expression"),
    "a path": (lambda: derive("my.toml"), "`load_spec` reads from a file"),
    "a spec": (lambda: derive(dilaton.default_spec()), "`spec.model`"),
    "a new symbol": (
        lambda: LEARNED.replaced("omega", 2 * sp.Symbol("gamma")),
        "for `omega` uses `gamma`. Use one of those",
    ),
}


@pytest.mark.parametrize("mistake", SAID)
def test_a_natural_mistake_is_answered(mistake):
    make, words = SAID[mistake]
    with pytest.raises(ModelError) as said:
        make()
    assert words in str(said.value)


def test_a_phase_asked_for_as_an_attribute():
    with pytest.raises(AttributeError, match=r'limit\.phase\("weights"\)'):
        _ = LIMIT.weights
    assert not hasattr(LIMIT, "nothing")


def test_a_limit_prints_on_a_screen():
    lines = str(LIMIT).splitlines()
    assert lines[0] == "Limit of 2 phases"
    assert max(map(len, lines)) < 100
    assert "weights: tau = O(1/sqrt(d)), feature 1" in lines[1]
    assert repr(LIMIT) == "Limit(weights, variance)"


def test_a_spec_is_solved_as_it_is():
    found = solve(dilaton.default_spec().replace(n="inf"))
    given = solve(
        dilaton.default_spec().replace(n="inf"),
        s=[0, 0.25, 0.5, 0.75, 1],
        rtol=1e-9,
        atol=1e-11,
    )
    assert found.identical(given)


def test_the_scale_of_a_feature_has_both_names():
    limit = derive(Model(dilaton.product(0)))
    one, two = (
        solve(limit, p_1=0.7, sigma=1, kappa=2, **scale).share_plus.values
        for scale in ({"rho_1": 2.0}, {"scale_1": 2.0})
    )
    assert one == two


def test_a_changed_flow_keeps_no_solution_of_the_old_one():
    flow = LIMIT.phase("variance").sampling
    assert flow.solution
    assert not flow.replaced("V", 1.01 * flow["V"]).solution


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("three-modes", ["two-modes", "product", "modes"], ""),
        ("atan", ["tanh", "erf", "sign"], ""),
        ("gamma", ["sigma", "kappa"], ""),
        (0, ["weights"], ""),
        ("two-mode", ["two-modes", "product"], "two-modes"),
        ("two_modes", ["two-modes", "product"], "two-modes"),
        ("tanhh", ["tanh", "erf"], "tanh"),
    ],
)
def test_a_guess_does_not_mislead(word, known, meant):
    said = did_you_mean(word, known)
    assert said == (f"; did you mean `{meant}`?" if meant else ". Use one of those.")
