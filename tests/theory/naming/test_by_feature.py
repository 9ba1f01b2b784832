"""Formulas in `j`, read for each feature, are the rows of the system."""

import re

import pytest
import sympy as sp
from dilaton import Data, Model, product
from dilaton.theory.document.definitions import definitions, of_each_feature
from dilaton.theory.models.model import norm
from dilaton.theory.naming.by_feature import Row, by_class, by_feature, norms
from dilaton.theory.naming.general import general_phase, phase_schedule
from dilaton.theory.naming.labels import remarked
from dilaton.theory.naming.sheet import NUMBERED, make_sheet
from dilaton.theory.symbols.notation import symbol

from ...cases import derived
from ...oracles import equal_values

MODEL = Model(product(0, 0, "1/4"))


def rows_of(system):
    return [Row(eq.lhs, eq.rhs, eq.label) for eq in system.equations]


def read_for(expr, numbers):
    """Read a formula in `j` and `k` for two features, by the names alone."""
    found = sp.sympify(expr)
    for j, feature in enumerate(MODEL.target.features, 1):
        for letter in (x for x, number in numbers.items() if number == str(j)):
            size = sp.Symbol(f"|mu_{letter}|", positive=True)
            found = found.subs(size, norm(feature))
    names = {
        x: sp.Symbol(re.sub("_([jk])", lambda m: f"_{numbers[m[1]]}", str(x)))
        for x in found.free_symbols
    }
    return plain(found.xreplace(names))


def plain(expr):
    return expr.xreplace({x: sp.Symbol(str(x)) for x in expr.free_symbols})


def same(one, other):
    """Whether two formulas agree at a point of no meaning."""
    every = sorted(one.free_symbols | other.free_symbols, key=str)
    point = {x: sp.Float(f"0.{sp.prime(i)}", 30) for i, x in enumerate(every, 50)}
    return abs(sp.N((one - other).subs(point), 20)) < 1e-15


@pytest.mark.parametrize("role", ["learned", "correction", "exact"])
def test_a_formula_in_j_is_that_of_each_feature(role):
    limit = derived(MODEL)
    system = (
        limit.exact["sampling"] if role == "exact" else getattr(limit.phases[0], role)
    )
    every = rows_of(system)
    by_label = {row.label: row for row in every}
    found = by_feature(every, norms(MODEL))
    assert sorted(x for row in found for x in row.labels) == sorted(by_label)
    assert len(found) < len(every) - 1
    for row in (x for x in found if x.others):
        first = re.findall(r"\d+", str(by_label[row.label].lhs))[0]
        for number, label in ((first, row.label), *row.others):
            values = {"j": number, "k": "2" if number == "1" else "1"}
            old = by_label[label]
            assert read_for(row.lhs, values) == plain(old.lhs)
            said = read_for(row.rhs, values)
            assert same(said, plain(sp.sympify(old.rhs)))
            assert said == 0 or not same(said, 1.001 * said)


def test_rows_that_differ_are_printed_one_by_one():
    every = rows_of(derived(MODEL).phases[0].learned)
    index = [str(row.lhs) for row in every].index("omega_2")
    wrong = Row(every[index].lhs, every[index].rhs * 1.001, every[index].label)
    found = by_feature([*every[:index], wrong, *every[index + 1 :]], norms(MODEL))
    assert {"omega_1", "omega_2"} <= {str(row.lhs) for row in found}


def test_pairs_of_three_features_are_no_family():
    names = ("m_1_2", "m_1_3", "m_2_1", "m_2_3")
    every = [Row(symbol(x), sp.S.One, f"W{i}") for i, x in enumerate(names, 1)]
    assert by_feature(every, norms(MODEL)) == every


def test_a_table_has_a_row_for_all_features_and_windows():
    limit = derived(MODEL)
    found = of_each_feature(definitions(limit, limit.systems), MODEL)
    rows = {str(x.symbol): x for x in found}
    assert rows["m_j"].phases == ("weights-1", "weights-2")
    for x in definitions(limit, limit.systems):
        index = re.fullmatch(r"(m|omega|q|r|v|nu|M)_(\d)", str(x.symbol))
        if index:
            said = rows[f"{index[1]}_j"].value
            assert same(read_for(said, {"j": index[2]}), plain(x.value))


SAMPLES = Model(product(0, 0), data=Data(samples=True))
CLASSES = ("pp", "pm", "mp", "mm")


@pytest.fixture(scope="module")
def of_classes():
    """Rows of the variance phase of samples as printed, one for all classes or each."""
    phase = derived(SAMPLES).phase("variance")
    sheet = make_sheet(general_phase(phase).learned, phase_schedule(phase), SAMPLES)
    every = enumerate(phase.learned.equations)
    rows = [Row(eq.lhs, sheet.rows["equation", i], eq.label) for i, eq in every]
    numbered = {x: e for x, e in sheet.names.items() if NUMBERED.fullmatch(str(x))}
    return phase.learned, sheet, by_class(rows, numbered), rows, numbered


def test_a_formula_in_y_is_that_of_each_class(of_classes):
    system, sheet, found, rows, _ = of_classes
    assert [x for row in found for x in row.labels] == [row.label for row in rows]
    wholes = {str(row.lhs): row for row in found if row.others}
    assert set(wholes) == {"a_1_either", "a_2_either"}
    for name, row in wholes.items():
        for mark in CLASSES:
            said = sheet.restored(remarked(row.rhs, mark))
            wanted = system[name.replace("either", mark)]
            assert equal_values(said, wanted)
            assert not equal_values(1.001 * said, wanted)
    in_both = by_feature(found, norms(SAMPLES))
    assert "a_j_either" in {str(row.lhs) for row in in_both}
    assert sorted(x for row in in_both for x in row.labels) == sorted(
        row.label for row in rows
    )


def test_classes_that_differ_are_printed_one_by_one(of_classes):
    *_, rows, numbered = of_classes
    wrong = [
        Row(row.lhs, 2 * row.rhs, row.label) if str(row.lhs) == "a_1_pm" else row
        for row in rows
    ]
    found = {str(row.lhs) for row in by_class(wrong, numbered)}
    assert {"a_1_pp", "a_1_pm", "a_1_mp", "a_1_mm", "a_2_either"} <= found
