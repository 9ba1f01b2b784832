"""Natural mistakes of a first hour: each gets the sentence that helps."""

import pickle

import dilaton
import numpy as np
import pytest
import sympy as sp
from dilaton import Data, Interpolant, Model, derive, solve, two_modes
from dilaton.errors import ModelError, did_you_mean
from dilaton.mistakes import explained

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
    "samples of the population": (
        lambda: solve(LIMIT, **POINT, n=16),
        "`Data(samples=True)`",
    ),
    "times as `at`": (lambda: solve(LIMIT, **POINT, at=[0]), "did you mean `s`"),
    "no time": (lambda: dilaton.mse(dilaton.default_spec()), "`phase` is missing"),
    "exponents in a list": (lambda: dilaton.product([0, 0]), '`product(0, "1/4")`'),
    "d of a dilation": (lambda: LIMIT.dilation.at(1000), 'at({"d": 1e4, "kappa"'),
    "a misspelled role": (lambda: LIMIT["weights"]["learnt"], "did you mean `learned`"),
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
    assert LIMIT["weights"] is LIMIT.phases["weights"] is LIMIT.phase("weights")
    assert [x.name for x in LIMIT] == ["weights", "variance"]
    assert len(LIMIT) == 2
    assert LIMIT["weights"]["learned"] is LEARNED
    with pytest.raises(ModelError, match="weights, variance, but `weight` was asked"):
        _ = LIMIT.phases["weight"]
    with pytest.raises(ModelError, match="sampling, mse, tied, but `train` was asked"):
        _ = LIMIT.exact["train"]
    assert not hasattr(LIMIT, "nothing")


SPEC = dilaton.default_spec()
LOST = {
    'limit.phases["weights"]': lambda: LIMIT.weights,
    "limit.phases[0].learned": lambda: LIMIT.learned,
    "dilaton.solve(limit, ...)": lambda: LIMIT.solve(p=0.8),
    'spec["p"]': lambda: SPEC.p,
    'spec.tables["target"]': lambda: SPEC.target,
    "model.interpolant.alpha": lambda: LIMIT.model.alpha,
    "as in `kappa=...`": lambda: LIMIT.model.kappa,
    "target.features[0].p": lambda: two_modes().p,
    'phase.learned["omega"]': lambda: LIMIT.phase("weights").omega,
    'system["omega"]': lambda: LEARNED.omega,
    "did you mean `parameters`": lambda: LEARNED.params,
    "derive SPEC --format latex": lambda: LIMIT.to_latex(),
    "solve(limit, ...).dilaton.plot()": lambda: LIMIT.plot(),
    'dilaton.make_kernel(system, "numpy")': lambda: LEARNED.lambdify(),
    "did you mean `LINEAR`": lambda: dilaton.linear,
    "names are in `dir(dilaton)`": lambda: dilaton.TANH,
}


@pytest.mark.parametrize("remedy", LOST)
def test_a_name_in_the_wrong_place(remedy):
    with pytest.raises(AttributeError) as said:
        LOST[remedy]()
    assert remedy in str(said.value)


CALLS = {
    "takes no arguments, but 0.8 is given without": lambda: two_modes(0.8),
    "`n` is given. It is a number: give it to": lambda: Data(n=16),
    "`samples` is given. Write `Data(samples": lambda: Model(two_modes(), samples=True),
    "given; did you mean `interpolant`": lambda: Model(two_modes(), schedule=1),
    "`exponents` is missing. Write it as in `modes": lambda: dilaton.modes([[1], [2]]),
    "`Spec.replace` takes numbers, but 'p' is": lambda: SPEC.replace("p", 0.7),
    "rtol=..., atol=...)`.": lambda: dilaton.integrate(LEARNED),
    'Write `params={"p": ...}`.': lambda: dilaton.integrate(LEARNED, p=0.8),
    "`solve(limit, p=0.8)`": lambda: solve(LIMIT, POINT),
    "`target` is given twice": lambda: Model(two_modes(), target=two_modes()),
}


@pytest.mark.parametrize("said", CALLS)
def test_arguments_that_a_function_does_not_take(said):
    with pytest.raises(dilaton.ArgumentError) as error:
        CALLS[said]()
    assert said in str(error.value)
    assert isinstance(error.value, TypeError)


def test_an_error_from_inside_is_left_alone():
    with pytest.raises(TypeError, match="unhashable") as error:
        explained(lambda x: {x})([])
    assert not isinstance(error.value, dilaton.ArgumentError)
    assert pickle.loads(pickle.dumps(solve)) is solve


def test_a_kappa_for_each_window():
    limit = derive(Model(dilaton.product(0, "1/4")))
    point = {"p_1": 0.7, "p_2": 0.9, "rho_1": 1, "rho_2": 2, "sigma": 1}
    listed, named = solve(limit, kappa=[1, 2], **point), {"kappa_1": 1, "kappa_2": 2}
    assert listed.identical(solve(limit, **named, **point))
    with pytest.raises(ModelError, match="a list of 2, one for each window, but is a"):
        solve(limit, kappa=[1, 2, 3], **point)


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
