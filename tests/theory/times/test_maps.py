"""Maps of time: formulas by hand, laws by SciPy, composition, the grammar."""

import numpy as np
import pytest
import sympy as sp
from dilaton import (
    LINEAR,
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    Interpolant,
    Model,
    product,
    two_modes,
)
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.times.map_curves import evaluate, evaluate_inverse
from dilaton.theory.models.model import TAU, D
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.times.maps import T, TimeMap, parse_map, shift
from dilaton.theory.windows.dilation import make_dilation
from dilaton.theory.windows.search import find_windows
from scipy.stats import norm

MODEL = Model(two_modes())
NUMBERS = {"d": 1e4, "kappa": 3.0}
INSIDE = np.linspace(0, 1, 9)[1:-1]
ROUNDING = 1e-13  # a few operations on numbers of size 1
SQUARE = Interpolant((1 - TAU) ** 2, TAU)  # beta/alpha has no inverse in the list

BY_HAND = {
    "uniform": lambda t: t,
    "shift:3": lambda t: 1 - 3 * (1 - t) / (1 + 2 * (1 - t)),
    "shift:sqrt(d)": lambda t: t / (t + 100 * (1 - t)),
    "shift:d**(1/4)": lambda t: t / (t + 10 * (1 - t)),
    "flux:4096": lambda t: t / (t + np.exp(1.15) * (1 - t)),
    "flux:256": lambda t: t / (t + np.exp(0.5) * (1 - t)),
    "logit-normal:0.5:1.2": lambda t: 1 / (1 + np.exp(-0.5 - 1.2 * norm.ppf(t))),
    # Esser et al. 2024 write both for the noise level at 1 - t
    "cosine": lambda t: 1 / (np.tan(np.pi / 2 * (1 - t)) + 1),
    "mode:1.29": lambda t: 1 - (1 - t - 1.29 * (np.cos(np.pi / 2 * t) ** 2 - 1 + t)),
    "log-snr": lambda t: 1 - 1 / (1 + np.geomspace(0.0005, 49, 9)[1:-1]),
    "log-snr:0.01:3": lambda t: 1 - 1 / (1 + np.geomspace(0.01, 3, 9)[1:-1]),
    "edm:7": lambda t: 1 / (1 + (80 ** (1 / 7) * (1 - t) + 0.002 ** (1 / 7) * t) ** 7),
    "dilated": lambda t: np.interp(t, [0, 0.5, 1], [0, 0.03, 1]),
    "dilated:1:3": lambda t: np.interp(t, [0, 0.25, 1], [0, 0.03, 1]),
    "logit-normal:0:1+shift:3": lambda t: 1 / (1 + 3 * np.exp(-norm.ppf(t))),
    "shift:3+dilated": lambda t: np.interp(
        t / (t + 3 * (1 - t)), [0, 0.5, 1], [0, 0.03, 1]
    ),
    "inverse:cosine+cosine": lambda t: t,
    "formula:tau**2": lambda t: t**2,
    "formula:tau**(3/2)+shift:3": lambda t: t**1.5 / (t**1.5 + 3 * (1 - t**1.5)),
    "formula:sin(pi*tau/2)": lambda t: np.sin(np.pi * t / 2),
    "formula:tau*(1+tau)/2": lambda t: t * (1 + t) / 2,
    "formula:tau/(tau+sqrt(d)*(1-tau))": lambda t: t / (t + 100 * (1 - t)),
}


@pytest.mark.parametrize("text", BY_HAND)
def test_a_map_is_its_formula(text):
    chosen = parse_map(text, MODEL)
    got = evaluate(chosen, NUMBERS)(INSIDE)
    np.testing.assert_allclose(got, BY_HAND[text](INSIDE), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("text", BY_HAND)
def test_a_map_is_read_back_and_undone(text):
    chosen = parse_map(text, MODEL)
    again = parse_map(chosen.text, MODEL)
    tau = evaluate(chosen, NUMBERS)(INSIDE)
    np.testing.assert_allclose(evaluate(again, NUMBERS)(INSIDE), tau, rtol=ROUNDING)
    back = evaluate_inverse(chosen, NUMBERS)(tau)
    np.testing.assert_allclose(back, INSIDE, rtol=1e-9)  # tau near 0 is ill placed


@pytest.mark.parametrize("text", ["shift:3", "cosine", "mode:1", "dilated", "flux:99"])
def test_an_inverse_is_a_map(text):
    chosen = parse_map(text, MODEL)
    both = evaluate(chosen.inverse, NUMBERS)(evaluate(chosen, NUMBERS)(INSIDE))
    np.testing.assert_allclose(both, INSIDE, atol=1e-12)
    assert parse_map(chosen.inverse.text, MODEL) == chosen.inverse
    assert chosen.inverse.inverse == chosen


def test_an_inverse_of_a_composition_reverses_it():
    chosen = parse_map("mode:1+shift:3")
    assert chosen.inverse.text == "inverse:shift:3+inverse:mode:1"
    with pytest.raises(DerivationError, match="`tau` of `inverse:shift:3\\+inverse"):
        chosen.inverse.tau()


def test_two_shifts_compose_to_their_product():
    both = parse_map("shift:3+shift:sqrt(d)")
    assert both == shift(3 * sp.sqrt(D))
    assert both.text == "shift:3*sqrt(d)"
    assert sp.simplify(both.tau(T) - shift(3).then(shift(sp.sqrt(D))).tau(T)) == 0
    one_by_one = shift(sp.sqrt(D)).tau(shift(sp.Integer(3)).tau(T))
    assert sp.simplify(both.tau() - one_by_one) == 0
    assert parse_map("shift:3+shift:1/3") == parse_map("uniform")


def test_a_derivative_is_a_slope():
    for text in ("shift:3", "logit-normal:0:1", "cosine", "mode:1", "log-snr"):
        chosen = parse_map(text, MODEL)
        curve, step = evaluate(chosen, NUMBERS), 1e-6
        slope = (curve(0.3 + step) - curve(0.3 - step)) / (2 * step)
        exact = float(chosen.derivative(sp.Float(0.3)).subs(D, 10**4))
        assert abs(slope / exact - 1) < 1e-7, text  # step**2 and rounding over step


@pytest.mark.parametrize(
    "interpolant",
    [LINEAR, TRIGONOMETRIC, VARIANCE_PRESERVING, VARIANCE_EXPLODING, SQUARE],
)
@pytest.mark.parametrize("text", ["log-snr:0.01:30", "edm:7:0.1:50"])
def test_a_map_in_noise_levels_is_even_in_them(interpolant, text):
    chosen = parse_map(text, Model(two_modes(), interpolant))
    tau = evaluate(chosen, NUMBERS)(np.linspace(0, 1, 6))
    noise, data = (
        sp.lambdify((TAU, D), e, "numpy")(tau, 1e4)
        for e in (interpolant.alpha, interpolant.beta)
    )
    level = np.log(data / noise) if "snr" in text else (noise / data) ** (1 / 7)
    ends = np.log([0.01, 30]) if "snr" in text else np.array([50, 0.1]) ** (1 / 7)
    np.testing.assert_allclose(level, np.linspace(*ends, 6), rtol=1e-9)


@pytest.mark.parametrize("target", [two_modes(), product(0, "1/4")], ids=["one", "two"])
@pytest.mark.parametrize("interpolant", [LINEAR, VARIANCE_EXPLODING])
def test_equal_shares_are_the_dilation(target, interpolant):
    model = Model(target, interpolant)
    dilation = make_dilation(find_windows(model))
    point = {str(x): 2.0 for x in dilation.parameters} | {"d": 1e6}
    exact = dilation.at(point)
    got = evaluate(parse_map("dilated", model), point)(INSIDE)
    np.testing.assert_allclose(got, [exact(t) for t in INSIDE], rtol=1e-12)


def test_ends_are_exact_and_open_maps_have_theirs():
    for text in ("shift:3", "logit-normal:0:1", "mode:1", "inverse:mode:1"):
        assert list(evaluate(parse_map(text), {})(np.array([0.0, 1.0]))) == [0, 1]
    chosen = parse_map("log-snr", MODEL)
    assert not chosen.onto
    assert chosen.ends == (1 / (20 * sp.sqrt(D) + 1), sp.Rational(49, 50))
    shifted = chosen.then(shift(sp.Integer(2)))
    assert shifted.ends[1] == sp.Rational(49, 51)
    outside = evaluate_inverse(chosen, NUMBERS)(np.array([0.0, 1e-6, 0.99, 1.0]))
    assert list(outside) == [0, 0, 1, 1]


def test_a_composition_of_numbers_only_says_so():
    nowhere = parse_map("inverse:mode:1").then(parse_map("mode:0.5"))
    with pytest.raises(ModelError, match="neither"):
        evaluate(nowhere, {})


REFUSED = [
    ("shft:3", "must be one of uniform, shift", "did you mean `shift`"),
    ("shift", "takes 1 arguments", "`shift:3`"),
    ("shift:", "takes 1 arguments", "has 0"),
    ("shift:1:2", "takes 1 arguments", "has 2"),
    ("uniform:1", "takes 0 arguments", "has 1"),
    ("shift:0", "must be positive", "is 0"),
    ("shift:-d", "must be positive", "is -100"),
    ("shift:d-1000", "must be positive", "at d = 100"),
    ("shift:tau", "a number or a formula in d", "contains tau"),
    ("shift:__import__('os')", "`shift`", "__import__"),
    ("shift:exp(exp(d))", "no exponential of an exponential", "exp(exp(d))"),
    ("shift:sinh(2*cosh(d))", "no exponential of an exponential", "`shift:3`"),
    ("shift:9**9**9", "`shift`", ""),
    ("shift:().__class__", "`shift`", ""),
    ("logit-normal:0:0", "positive in the second place", "is 0"),
    ("logit-normal:d:1", "between -100 and 100", "d is 100.000"),
    ("flux:exp(d)", "number of tokens below 10**12", "at d = 100"),
    ("mode:2", "between -1 and 2/(pi - 2)", "is 2"),
    ("log-snr:1", "both ends of beta/alpha or none", "has 1 alone"),
    ("log-snr:2:1", "growing", "1/2"),
    ("edm:7:1", "both noise levels or none", "has 1 alone"),
    ("edm:0", "must be positive", "is 0"),
    ("dilated:1:2:3", "each of the 2 phases (weights, variance)", "has 3"),
    ("dilated:1:0", "must be positive", "is 0"),
    ("", "must be text", "The maps are uniform"),
    ("shift:3++shift:2", "`shift`", "cannot be read"),
    ("inverse:log-snr", "if it reaches from 0 to 1", "`time` inside"),
]


@pytest.mark.parametrize(("text", "rule", "rest"), REFUSED)
def test_what_is_no_map_is_refused(text, rule, rest):
    with pytest.raises(ModelError) as caught:
        parse_map(text, MODEL)
    assert rule in str(caught.value)
    assert rest in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_what_needs_a_model_or_numbers_says_so():
    with pytest.raises(ModelError, match="`log-snr` depends on the model"):
        parse_map("log-snr")
    with pytest.raises(DerivationError, match="`entropic` is known as numbers only"):
        parse_map("entropic", MODEL)
    with pytest.raises(ModelError, match="`kappa` is missing"):
        evaluate(parse_map("dilated", MODEL), {"d": 100.0})
    with pytest.raises(ModelError, match="must be text"):
        parse_map(3)


def test_a_wrong_map_would_be_seen():
    wrong = TimeMap("shift:3", 3 * T / (3 * T + 1 - T), None)
    got = evaluate(wrong, {})(INSIDE)
    assert np.abs(got - BY_HAND["shift:3"](INSIDE)).max() > 0.1
    assert wrong.parameters == ()
    assert symbol("kappa") in parse_map("dilated", MODEL).parameters


@pytest.mark.parametrize("text", [x for x in BY_HAND if x.startswith("formula:")])
def test_a_typed_map_goes_back(text):
    chosen = parse_map(text, MODEL)
    assert (chosen.backward is None) == ("sin" in text)
    tau = evaluate(chosen, NUMBERS)(INSIDE)
    np.testing.assert_allclose(evaluate_inverse(chosen, NUMBERS)(tau), INSIDE, 1e-9)


@pytest.mark.parametrize(
    "text", ["1-tau", "tau+tau**2", "(tau+1)/2", "sin(pi*tau)", "tau - d*tau*(1-tau)"]
)
def test_a_typed_map_increases_from_0_to_1(text):
    with pytest.raises(ModelError, match="increases from 0 at 0 to 1 at 1"):
        parse_map(f"formula:{text}")
