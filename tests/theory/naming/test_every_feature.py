"""The indexed training flow of several features is that of the system, row by row."""

from functools import cache

import pytest
import sympy as sp
from dilaton import Model, derive, product
from dilaton.theory.naming.every_feature import (
    PairFlow,
    every_feature,
    same_value,
    units_of,
)
from dilaton.theory.naming.general import general_phase, phase_schedule
from dilaton.theory.naming.sheet import make_sheet
from dilaton.theory.symbols.notation import symbol

THREE = pytest.param(("1/4",) * 3, marks=pytest.mark.slow)


@cache
def printed(exponents):
    model = Model(product(*exponents))
    phase = general_phase(derive(model).phases[0])
    return make_sheet(phase.training, phase_schedule(phase), model), phase.training


@pytest.mark.parametrize("exponents", [(0, 0), THREE])
def test_indexed_rates_expand_to_each_row_of_the_system(exponents):
    sheet, system = printed(exponents)
    flow = PairFlow(units_of(sheet))
    for i, eq in enumerate(system.equations):
        name, *index = str(eq.lhs).split("_")
        said = flow.rate(name, index[0], index[-1])
        row = sheet.plain(sheet.rows["equation", i])
        assert sp.expand(said - row) == 0, eq.lhs
        assert same_value(said, row)
        assert not same_value(said, row + said / 1000)


def test_rows_and_their_definitions_are_told_once():
    whole = every_feature(*printed((0, 0)))
    assert [str(x) for x in whole.rates] == [
        "m_j_k",
        "q_j_k",
        "omega_j_k",
        "r_j_k",
        "b_j",
    ]
    inside = {*whole.rates.values(), *whole.named.values()}
    used = set().union(*(e.free_symbols for e in inside))
    named = {str(x)[0] for x in used if str(x)[0].isupper() and str(x)[:2] != "E["}
    assert named == {str(x)[0] for x in whole.named}


def test_a_flow_that_differs_is_printed_row_by_row():
    sheet, system = printed((0, 0))
    assert every_feature(sheet, derive(Model(product(0))).phases[0].training) is None
    kept = dict(sheet.rows)
    sheet.rows["equation", 3] += symbol("q_1") / 1000
    assert every_feature(sheet, system) is None
    sheet.rows.update(kept)
