"""Densities and loss weights as text, and how learning times grow with d."""

from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from dilaton import Model
from dilaton.errors import DerivationError, ModelError
from dilaton.theory.models.model import (
    TAU,
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    Interpolant,
    product,
    two_modes,
)
from dilaton.theory.times.densities import loss_weight, parse_density
from dilaton.theory.times.exponents import time_law
from scipy.integrate import quad

MODEL = Model(two_modes())
NORMALISED = 1e-7  # adaptive quadrature
HERE = {"d": 400.0, "kappa": 3.0}

DENSITIES = (
    "uniform", "shift:3", "shift:sqrt(d)", "logit-normal:0:1", "cosine", "log-snr",
    "logit-normal:0:1+shift:3", "dilated", "window:0.1:0.4:0.5", "log-normal:-1.2:1.2",
    "edm:7", "inverse:shift:3+logit-normal:0:1/2",
)  # fmt: skip


def numbers(expr):
    held = {x: HERE[str(x)] for x in expr.free_symbols - {TAU}}
    return sp.lambdify(TAU, expr.subs(held), "numpy")


@pytest.mark.parametrize("text", DENSITIES)
def test_a_density_has_mass_one(text):
    density = parse_density(text, MODEL)
    edges = [float(numbers(sp.sympify(e))(0.5)) for e in density.edges]
    rho = numbers(density.pdf)
    mass = sum(quad(rho, a, b, epsabs=1e-10, limit=200)[0] for a, b in pairwise(edges))
    assert mass == pytest.approx(1, abs=NORMALISED)


def test_a_density_is_the_law_of_its_map():
    """The share of shifted logit-normal draws below a time."""
    rng = np.random.default_rng(1)
    draws = 1 / (1 + np.exp(-rng.standard_normal(200_000)))
    draws = draws / (draws + 3 * (1 - draws))
    rho = numbers(parse_density("logit-normal:0:1+shift:3", MODEL).pdf)
    for time in (0.1, 0.3):
        share = quad(rho, 0, time)[0]
        assert share == pytest.approx(np.mean(draws < time), abs=4e-3)


LAWS = {
    ("uniform", "data"): ("1/2", "sqrt(d)"),
    ("uniform", "velocity"): ("1/2", "sqrt(d)"),
    ("uniform", "noise"): ("3/2", "d**(3/2)"),
    ("uniform", "min-snr:5"): ("3/2", "d**(3/2)"),
    ("uniform", "edm:0.5"): ("1/2", "sqrt(d)"),
    ("shift:3", "data"): ("1/2", "sqrt(d)"),
    ("shift:sqrt(d)", "data"): ("0", "1"),
    ("shift:sqrt(d)", "noise"): ("1", "d"),
    ("shift:d**(1/4)", "data"): ("1/4", "d**(1/4)"),
    ("shift:d", "noise"): ("3/2", "d**(3/2)"),
    ("dilated", "data"): ("0", "1"),
    ("logit-normal:0:1", "data"): ("inf", "exp(log(d)**2/8)"),
    ("logit-normal:0:1+shift:sqrt(d)", "data"): ("0", "1"),
    ("logit-normal:0:1+shift:d", "data"): ("0", "1"),
    ("window:0.1:0.4:0.5", "data"): ("1/2", "sqrt(d)"),
    ("window:0.1:0.4:1", "data"): ("inf", "the density misses the window"),
    ("window:0:1/sqrt(d):0.5", "data"): ("0", "1"),
    ("log-snr", "data"): ("0", "log(d)"),
    ("mode:1.29", "data"): ("1/2", "sqrt(d)"),
    ("cosine", "noise"): ("3/2", "d**(3/2)"),
    ("formula:tau**2", "data"): ("3/2", "d**(3/2)"),
    ("ddpm:0.0001:0.02:1000", "data"): ("inf", "the density misses the window"),
}


@pytest.mark.parametrize(("density", "loss"), LAWS)
def test_laws(density, loss):
    weight = loss_weight(loss, MODEL.interpolant)
    law = time_law(MODEL, 1, parse_density(density, MODEL), weight)
    assert (str(law), law.text) == LAWS[density, loss]


@pytest.mark.parametrize(
    ("model", "j", "density", "wanted"),
    [
        (Model(product(0, "1/4")), 2, "uniform", "3/4"),
        (Model(product(0, "1/4")), 2, "dilated", "1/2"),
        (Model(product(0, "1/3")), 2, "uniform", "5/6"),
        (Model(two_modes(), TRIGONOMETRIC), 1, "uniform", "1/2"),
        (Model(two_modes(), VARIANCE_EXPLODING), 1, "uniform", "0"),
        (Model(two_modes(), VARIANCE_EXPLODING), 1, "dilated", "0"),
        (Model(two_modes(), Interpolant((1 - TAU) ** 2, TAU**2)), 1, "uniform", "1/4"),
    ],
)
def test_laws_of_other_models(model, j, density, wanted):
    assert str(time_law(model, j, parse_density(density, model), sp.S.One)) == wanted


def test_loss_weights():
    half = {TAU: sp.Rational(1, 3)}  # beta/alpha = 1/2, S = 1/4
    for text, wanted in {
        "data": 1,
        "velocity": sp.Rational(9, 4),
        "noise": sp.Rational(1, 4),
        "min-snr:5": sp.Rational(1, 4),
        "min-snr:1/8": sp.Rational(1, 8),
        "p2:1:1": sp.Rational(1, 5),
        "sigmoid:0": sp.Rational(1, 5),
        "edm:1/2": sp.Rational(17, 4),
        "formula:tau": sp.Rational(1, 3),
    }.items():
        assert (
            sp.simplify(loss_weight(text, MODEL.interpolant).subs(half) - wanted) == 0
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unifrom", "must be one of .*did you mean `uniform`"),
        ("window:0.1:0.4", "must have 3 numbers after colons"),
        ("window:0.4:0.1:1", "LOW below HIGH"),
        ("window:0.1:0.4:2", r"MASS in \[0, 1\], but it is 2"),
        ("window:0:1:0.5", "room outside"),
        ("window:tau:0.4:1", "which contains tau"),
        ("entropic", "the map `entropic` is known as numbers only"),
        ("ddpm:0.1:0.2:3.5", "two numbers and a whole one"),
        ("ddpm:0.2:0.1:10", "0 < FIRST <= LAST < 1"),
        ("formula:import os", "cannot be read"),
        ("formula:__import__('os')", "may use the functions"),
    ],
)
def test_texts_that_are_no_density(text, message):
    with pytest.raises(ModelError, match=message):
        parse_density(text, MODEL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("veloctiy", "did you mean `velocity`"),
        ("min-snr", "must have 1 positive numbers"),
        ("min-snr:-1", "must have 1 positive numbers"),
        ("p2:1", "must have 2 positive numbers"),
    ],
)
def test_texts_that_are_no_loss_weight(text, message):
    with pytest.raises(ModelError, match=message):
        loss_weight(text, MODEL.interpolant)


def test_what_cannot_be_read_off_is_refused():
    odd = parse_density("formula:1 + sin(d*tau)", MODEL)
    with pytest.raises(DerivationError, match="Ask for times at several d"):
        time_law(MODEL, 1, odd, sp.S.One)
