"""Systems of modes as they are printed: every definition put back gives the system."""

import pytest
import sympy as sp
from dilaton import derive
from dilaton.theory.models.spec import parse_spec
from dilaton.theory.naming.indexed import indexed_sheet, own_index
from dilaton.theory.naming.sheet import system_rows
from dilaton.theory.symbols.indexed import MODE, OTHER, Softmax

from ...cases import THREE_MODES

RENAMED = {MODE: OTHER}  # where the formula itself is of mode k, sums run over l

SCHEDULES = {
    "linear": ("1 - tau", "tau"),
    "preserving": ("sqrt(1 - tau**2)", "tau"),
    "cosine": ("cos(pi*tau/2)", "sin(pi*tau/2)"),
}


def limit_with(name):
    alpha, beta = SCHEDULES[name]
    text = THREE_MODES.replace('alpha = "1 - tau"', f'alpha = "{alpha}"')
    return derive(parse_spec(text.replace('beta = "tau"', f'beta = "{beta}"')).model)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_definitions_put_back_give_the_equations(schedule):
    limit = limit_with(schedule)
    systems = [s for phase in limit.phases for s in phase.systems]
    named = 0
    for system in (*systems, *limit.exact.values()):
        sheet = indexed_sheet(system, limit.model)
        named += len(sheet.names)
        for key, own in system_rows(system).items():
            back = sheet.rows[key]
            for name, value in reversed(sheet.names.items()):
                swap = {name: value, name.xreplace(RENAMED): value.xreplace(RENAMED)}
                back = sp.sympify(back).xreplace(swap)
            off = back - own_index(sp.sympify(own))
            assert sp.expand(off) == 0 or sp.simplify(off) == 0
    assert named >= 6


def test_the_rest_of_a_regression_has_its_letter():
    data = 'n = 16\ncounts = [8, 5, 3]\nnoise_draws = "inf"\n'
    data += "ridge_u = 0.1\nridge_w = 0.1"
    limit = derive(parse_spec(THREE_MODES.replace('n = "inf"', data)).model)
    phase = limit.phase("variance")
    for system in (phase.learned, phase.sampling):
        sheet = indexed_sheet(system, limit.model)
        ((letter, value),) = sheet.given.items()
        for (kind, i), own in system_rows(system).items():
            row = sp.sympify(sheet.rows[kind, i])
            if kind != "step":
                assert row.has(letter) or not own.has(value.args[-1])
                assert sp.simplify(row.xreplace({letter: value}) - own) == 0


def test_an_average_is_taken_of_a_named_posterior():
    limit = limit_with("linear")
    sheet = indexed_sheet(limit.exact["mse"], limit.model)
    assert [str(x) for x in sheet.names] == ["Delta", "y[j]", "xi[k]", "pi[k]"]
    assert not any(row.has(Softmax) for row in sheet.rows.values())
    changed = sheet.names | {next(iter(sheet.names)): sp.Integer(2)}
    back = sheet.rows["equation", 0]
    for name, value in reversed(changed.items()):
        back = back.xreplace({name: value})
    assert sp.expand(back - limit.exact["mse"].equations[0].rhs) != 0
