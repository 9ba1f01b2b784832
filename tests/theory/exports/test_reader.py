"""The sympy export reads back to the derived systems, and nothing else is read."""

import importlib.util

import dilaton
import pytest
from dilaton.errors import ModelError
from dilaton.theory.exports.sympy_module import sympy_module

from ...cases import derived, limit_of

MODES = dilaton.modes([[1, 0], [-1, 1], [-1, -1]], [0, "1/4"])
NAMES = ("population", "samples", "frozen", "erf", "exploding", "product")
SMALL = """
from sympy import Integer, Symbol
from dilaton.theory.symbols.system import Equation, System
k = Symbol("k", positive=True)
s = Symbol("s", positive=True)
x = Symbol("x", real=True)
only = System("test", "flow", s, (Equation("T1", x, -2*k*x**2),), (k,))
SYSTEMS = (only,)
"""


def limit_by(name):
    return derived(dilaton.Model(MODES)) if name == "modes" else limit_of(name)


@pytest.mark.parametrize("name", [*NAMES, "modes"])
def test_what_is_read_back_is_what_was_derived(name):
    limit = limit_by(name)
    found = dilaton.read_systems(sympy_module(limit))
    assert found == limit.systems
    assert [x.steps for x in found] == [x.steps for x in limit.systems]
    sources = [[eq.source for eq in s.equations] for s in limit.systems]
    assert [[eq.source for eq in s.equations] for s in found] == sources


@pytest.mark.parametrize("name", ["population", "modes"])
def test_python_itself_reads_the_same(name, tmp_path):
    path = tmp_path / "derivation.py"
    path.write_text(sympy_module(limit_by(name)))
    spec = importlib.util.spec_from_file_location("derivation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert limit_by(name).systems == module.SYSTEMS


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kappa*tanh(", "2*kappa*tanh("),
        ('Equation("W7", r, kappa**2', 'Equation("W7", r, kappa**3'),
        ('kappa = Symbol("kappa", positive', 'kappa = Symbol("kappa", real'),
        ('"exact"', '"numerical"'),
        ("Average(tanh(b + g", "Average(tanh(b - g"),
    ],
)
def test_a_perturbed_text_differs(old, new):
    text = sympy_module(limit_of("population"))
    assert old in text
    assert (
        dilaton.read_systems(text.replace(old, new, 1))
        != limit_of("population").systems
    )


def test_a_module_may_be_written_by_hand():
    (system,) = dilaton.read_systems(SMALL)
    assert str(system["x"]) == "-2*k*x**2"
    assert system.kind == "flow"


def test_a_read_system_is_solved_like_a_derived_one():
    flow = dilaton.read_systems(SMALL)[0]
    made = dilaton.integrate(
        flow,
        init={"x": 1.0},
        params={"k": 2.0},
        t=[0.0, 1.0],
        rtol=1e-9,
        atol=1e-9,
        backend="scipy",
    )
    assert float(made["x"][0, -1]) == pytest.approx(1 / 5, rel=1e-7)  # 1/(1 + 2 k t)


REFUSED = {
    "a call": ("x**2", '__import__("os").system("id")', "line 7"),
    "an unknown name": ("-2*k", "-2*kk", "`kk`"),
    "an unknown call": ("-2*k", "eval(k)", "`eval`"),
    "an attribute": ("-2*k", "k.func", "`k.func`"),
    "a large power": ("x**2", "9**9**9", "a power beyond 64"),
    "a constructed power": ("x**2", "Pow(9, 10000)", "a power beyond 64"),
    "a tower": ("x**2", "((9**64)**64)**64", "a power beyond 64"),
    "a strange power": ("x**2", "2**nan", "a power beyond 64"),
    "a long number": ("-2*k", "1" * 61, "whole number"),
    "a decimal": ("-2*k", "0.5*k", "whole number"),
    "a lambda": ("-2*k", "(lambda: k)()", "no piece of the grammar"),
    "an import": ("from sympy import", "from os import path as", "no assignment"),
    "another import": ("import Integer, Symbol", "import *", "no assignment"),
    "a loop": ("SYSTEMS =", "for i in (1,): pass\nSYSTEMS =", "no assignment"),
    "a symbol's name": ('Symbol("k"', 'Symbol("k;1"', "no symbol"),
    "an assumption": ('k", positive', 'k", commutative', "no symbol"),
    "a kind": ('"flow"', '"stream"', "whose `kind` is of another kind"),
    "a label": ('"T1"', "x", "whose `label` is of another kind"),
    "a field": ("(k,))", "(k,), colour=x)", "without `colour`"),
    "a missing field": (", (k,))", ")", "with a field missing"),
    "an undeclared symbol": ("(k,))", "())", "must be declared"),
    "no systems": ("SYSTEMS =", "systems =", "must end with `SYSTEMS`"),
    "no Python": ("SYSTEMS =", "SYSTEMS ((", "Python that can be parsed"),
    "arguments": ("-2*k", "tanh(k, k, k)", "no arguments of `tanh`"),
    "an index": ("-2*k", "k[1]", "no family"),
    "a text in a sum": ("-2*k", '"a" + k', "no expression"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_export_is_refused(case):
    old, new, words = REFUSED[case]
    assert old in SMALL
    with pytest.raises(ModelError) as found:
        dilaton.read_systems(SMALL.replace(old, new, 1))
    message = str(found.value)
    assert words in message
    assert message.endswith(".")


@pytest.mark.parametrize("text", [3, "(" * 1_000, "x = " + "-" * 5_000 + "1", ""])
def test_texts_that_no_parser_takes_are_refused(text):
    with pytest.raises(ModelError, match=r"export|`text` must"):
        dilaton.read_systems(text)
