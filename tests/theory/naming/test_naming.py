"""Named quantities put back give the equations; formulas fit their lines."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import sympy as sp
from dilaton import (
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    Autoencoder,
    Data,
    Interpolant,
    Model,
    parse_schedule,
    product,
    two_modes,
)
from dilaton.theory.document.blocks import Piece
from dilaton.theory.document.derivation import blocks
from dilaton.theory.document.formula import mathml, parse, width
from dilaton.theory.document.markdown import WIDE, equation
from dilaton.theory.document.text import text
from dilaton.theory.naming.exactness import random_point
from dilaton.theory.naming.general import (
    general_exact,
    general_phase,
    model_schedule,
    phase_schedule,
)
from dilaton.theory.naming.labels import ClassSum, expanded, summed
from dilaton.theory.naming.sheet import make_sheet, system_rows
from dilaton.theory.naming.sums import TOTAL, Names, named_sums, upright
from dilaton.theory.symbols.gaussian import Average
from dilaton.theory.symbols.notation import symbol

from ...cases import derived
from ...oracles import equal_values

ROLES = ("learned", "sampling", "projected", "training", "mse")
SLACK = 1.25  # a term that cannot be broken may stand out by a quarter
COLUMNS = 100

MODELS = {
    "population": Model(two_modes()),
    "samples": Model(two_modes(), data=Data(samples=True)),
    "two features at once": Model(product(0, 0)),
    "trigonometric, two windows": Model(product(0, "1/4"), TRIGONOMETRIC),
    "erf, preserving": Model(two_modes(), VARIANCE_PRESERVING, Autoencoder("erf")),
    "exploding": Model(two_modes(), VARIANCE_EXPLODING),
    "frozen": Model(two_modes(), data=Data(samples=True, frozen_noise=True)),
    "no bias": Model(two_modes(), autoencoder=Autoencoder("tanh", bias=False)),
    "a schedule of one's own": Model(
        two_modes(),
        Interpolant(parse_schedule("(1 - tau)**2"), parse_schedule("sin(pi*tau/2)")),
    ),
}
QUICK = {"population", "samples"}
CASES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in MODELS
]


@lru_cache(maxsize=len(CASES))
def sheets(model):
    """Pairs of the model's system and its sheet, for every system of every phase."""
    return tuple(made_sheets(model))


def made_sheets(model):
    limit = derived(model)
    for phase in limit.phases:
        general, schedule = general_phase(phase), phase_schedule(phase)
        for role in ROLES:
            own = getattr(phase, role)
            if own is not None:
                yield own, make_sheet(getattr(general, role), schedule, model)
    schedule = model_schedule(limit)
    for name, system in general_exact(limit).items():
        yield limit.exact[name], make_sheet(system, schedule, model)


@pytest.mark.parametrize("name", CASES)
def test_definitions_put_back_give_the_equations(name):
    for own, sheet in sheets(MODELS[name]):
        for key, value in system_rows(own).items():
            if key[0] != "step" and not value.has(sp.nan):
                assert same(sheet.restored(sheet.rows[key]), value), (own.name, key)


def same(left, right):
    """Whether two rows are equal; a pair's field has two writings of one law."""
    pairs = [x for e in (left, right) for x in e.atoms(Average) if x.variables[1:]]
    if (equal := equal_values(left, right)) or not pairs:
        return equal
    point = random_point(left.free_symbols, 0) | {symbol("r_1_2"): 0.3}
    there = integrated(right, point)
    return integrated(left, point) == pytest.approx(there, rel=QUADRATURE)


def test_rows_of_samples_and_draws_have_their_letter():
    phase = derived(MODELS["frozen"]).phase("variance")
    sheet = make_sheet(
        general_phase(phase).learned, phase_schedule(phase), MODELS["frozen"]
    )
    assert {str(x): str(e) for x, e in sheet.names.items()} == {"N": "n*noise_draws"}
    assert str(sheet.rows["equation", 4]) == "-alpha*c/(N + ridge_u)"


def test_a_definition_that_becomes_a_product_is_put_back():
    n, n_plus, x = symbol("n"), symbol("n_plus"), symbol("sigma")
    counts = 4 * n_plus**2 - 4 * n_plus * TOTAL  # it is -4 n_plus n_minus
    names, whole = Names(), {0: x / sp.sqrt(-counts), 1: 1 / (counts - n * x)}
    for key, row in named_sums(whole, names).items():
        back = row.xreplace(names.defined).xreplace(names.defined)
        assert equal_values(back.xreplace({n: TOTAL}), whole[key].xreplace({n: TOTAL}))
    assert all(e.is_Add for e in names.defined.values())


def test_a_wrong_definition_is_seen():
    own, sheet = next(
        (own, sheet)
        for own, sheet in sheets(MODELS["samples"])
        if own.name == "weights/learned"
    )
    name = next(x for x in sheet.names if str(x) == "D")
    sheet = replace(sheet, names=sheet.names | {name: -sheet.names[name]})
    rows = system_rows(own)
    bad = [k for k in rows if not equal_values(sheet.restored(sheet.rows[k]), rows[k])]
    assert ("observable", 2) in bad


QUADRATURE = 1e-9  # relative; 80 nodes are good to 1e-12 at these widths


def integrated(expr, point):
    """The number of an expression, its averages by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)

    def number(average):
        body = sp.lambdify(average.variables, average.integrand.xreplace(point))
        grid = np.meshgrid(*[nodes] * len(average.variables))
        whole = body(*grid) + 0 * grid[0]
        for _ in average.variables:
            whole = whole @ weights / np.sqrt(2 * np.pi)
        return sp.Float(float(whole))

    values = {x: number(x) for x in expr.atoms(Average)}
    return float(expr.xreplace(values).xreplace(point))


def test_an_average_over_the_label_is_one_over_the_classes():
    """The flow that is printed, with one label, against the one of all classes."""
    model = MODELS["two features at once"]
    (phase, _) = derived(model).phases
    general = general_phase(phase).training
    sheet = make_sheet(general, phase_schedule(phase), model)
    wrong = replace(sheet, signs={y: 1 - p for y, p in sheet.signs.items()})
    for i in (0, 8, 14):  # m_1, an overlap of w, a bias
        value, row = phase.training.equations[i].rhs, sheet.rows["equation", i]
        assert len(str(row)) < len(str(value)) / 3
        point = random_point(value.free_symbols, 1) | {symbol("r_1_2"): 0.3}
        wanted = integrated(value, point)
        found, other = (integrated(x.restored(row), point) for x in (sheet, wrong))
        assert found == pytest.approx(wanted, rel=QUADRATURE, abs=QUADRATURE)
        assert other != pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_every_formula_fits_its_line(name):
    for block in blocks(derived(MODELS[name])):
        if block.kind == "formula":
            for row in equation(block).split(r"\cr"):
                bare = row.replace(r"\begin{aligned}", "").replace(r"\end{aligned}", "")
                assert width(bare) <= SLACK * WIDE, bare


@pytest.mark.parametrize("name", CASES)
def test_text_fits_a_terminal(name):
    lines = text(blocks(derived(MODELS[name]))).splitlines()
    assert max(map(len, lines)) <= SLACK * COLUMNS


def test_terms_alike_but_for_the_class_are_one_sum():
    n_plus, n_minus, a_plus, a_minus, m = sp.symbols("n_plus n_minus a_plus a_minus m")
    total = n_plus * (m + a_plus) - n_minus * (m - a_minus)
    found = summed(total)
    assert isinstance(found, ClassSum)
    assert sp.expand(expanded(found) - total) == 0
    lone = n_plus * a_plus + n_minus * m
    assert summed(lone) == lone


def test_a_sum_is_over_every_class():
    n_pp, n_pm, n_mp, n_mm = sp.symbols("n_pp n_pm n_mp n_mm", positive=True)
    some = 2 * (n_pp + n_mm) + 1  # half of the classes: these are named
    assert summed(some) == some
    assert summed(n_pp + n_pm + n_mp + n_mm) == sp.Symbol("n", positive=True)


def test_products_are_upright():
    s, c, x, y = sp.symbols("s c x y", positive=True)
    assert str(upright(-x * (s - 1))) == "x*(1 - s)"
    assert str(upright((2 * c + 2) * x * y)) == "2*x*y*(c + 1)"
    assert str(upright(x * (-c - 1))) == "-x*(c + 1)"
    assert upright(-x * (1 - s * c)) == -x * (1 - s * c)


def test_latex_is_read_as_a_tree():
    assert width(r"\frac{a + b}{c}") == pytest.approx(width("a + b"), rel=0.3)
    assert "<mfrac>" in mathml(r"\frac{a}{b_{1}^{2}}")
    assert "<msubsup>" in mathml(r"b_{1}^{2}")
    assert parse(r"\tanh^{2}(H_{+})").parts
    with pytest.raises(ValueError, match="not read"):
        parse(r"\unheardof{x}")


def test_a_block_is_made_of_symbols_or_of_typed_words():
    block = Piece("formula", lhs="E[x1|x]", rhs="c x", label="D1")
    assert r"\mathbb{E}" in equation(block)
