"""Records show themselves in a notebook, in lines that fit a cell."""

import re

import dilaton
import pytest
import sympy as sp
from dilaton.theory.derive import derive
from dilaton.theory.document.formula import width
from dilaton.theory.document.markdown import WIDE
from dilaton.theory.models.model import Data, Model, modes, product, two_modes
from dilaton.theory.naming.sums import Names
from dilaton.theory.symbols.latex import latex
from dilaton.theory.windows.dilation import T

TAGGED = 4.0  # em that a relation and a space may take beside a line of width WIDE
MODELS = {
    "population": Model(two_modes()),
    "samples": Model(two_modes(), data=Data(samples=True, frozen_noise=True)),
    "features": Model(product(0, "1/4"), dilaton.TRIGONOMETRIC),
    "modes": Model(modes([[1, 0], [-1, 1], [-1, -1]], [0, "1/4"])),
}


SLOW = pytest.param("features", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=["population", "samples", "modes", SLOW])
def limit(request):
    return derive(MODELS[request.param])


def shown(record):
    show = getattr(record, "_repr_markdown_", None) or record._repr_latex_
    return show()


def records(limit):
    model = limit.model
    systems = [s for phase in limit.phases for s in phase.systems]
    parts = [model, model.target, model.interpolant, limit, limit.dilation]
    return [*parts, *limit.phases, *systems, *limit.exact.values()]


def displayed(text):
    """The lines of every display, without marks of alignment and labels."""
    for block in re.findall(r"\$\$\n(.*?)\n\$\$", text, re.DOTALL):
        block = re.sub(r"\\(begin|end)\{(aligned|cases)\}", "", block)
        for line in re.split(r"\\\\\n|\\cr\n", block):
            yield re.sub(r"&& \\text\{.*?\}|\\tag\{.*?\}|&", "", line).strip()


def test_every_record_is_typeset_and_fits(limit):
    for record in records(limit):
        text = shown(record)
        assert text.count("{") == text.count("}")
        assert text.count("$") % 2 == 0
        for line in displayed(text):
            assert width(line) < WIDE + TAGGED, line
        for equation in getattr(record, "equations", ()):
            assert f"({equation.label})" in text


def test_the_dilation_is_factored_as_in_text(limit):
    parts = limit.dilation.segments
    rows = list(displayed(limit.dilation._repr_latex_()))
    assert len(rows) == len(parts)
    for i, (row, part) in enumerate(zip(rows, parts, strict=True)):
        tau = part.tau(len(parts) * T - i)
        assert latex(tau) in row
        assert f"tau = {sp.sstr(tau)} " in str(limit.dilation)
        assert part.name in row
        if i:  # the rest of the way, times the share of the phase that has passed
            assert tau != sp.expand(tau)


def test_a_limit_has_a_row_for_each_phase_and_its_dilation(limit):
    text = limit._repr_markdown_()
    for phase in limit.phases:
        assert f"| {phase.name} |" in text
    assert text.endswith(limit.dilation._repr_latex_())


def test_a_phase_names_its_systems_and_their_labels(limit):
    for phase in limit.phases:
        text = phase._repr_markdown_()
        assert f"In phase {phase.name}," in text
        for system in phase.systems:
            assert f"({system.equations[0].label})" in text
        assert repr(phase) == f"Phase({phase.name})"


def test_a_model_says_what_it_is_of():
    text = MODELS["samples"]._repr_markdown_()
    assert r"$P(S = +1) = p$" in text
    assert r"\alpha = 1 - \tau" in text
    assert "`" not in text
    assert "n_+" in text
    assert "population" in MODELS["population"]._repr_markdown_()


def test_a_sum_of_averages_has_its_brackets():
    k, a, b = sp.symbols("k E[tanh(H)] E[tanh(H)**3]")
    text = latex(k * (b - a))
    assert re.match(r"k \\left\(.*\\right\)$", text)
    assert latex(2 * k * a) == r"2 k " + latex(a)  # and a product has none


def test_equations_too_long_for_a_cell_are_summed_up(monkeypatch):
    from dilaton.theory.document import notebook

    flow = derive(Model(two_modes())).phase("weights").sampling
    for bound in ("LONGEST", "LARGEST"):  # the latter before anything is named
        with monkeypatch.context() as limits:
            limits.setattr(notebook, bound, 10)
            shown = flow._repr_latex_()
        assert "weights/sampling, flow: (S1), (Q1)." in shown
        assert "too long for a cell" in shown


def test_names_are_those_of_the_document():
    data = Data(samples=True)
    learned = derive(Model(two_modes(), data=data)).phase("weights").learned
    text = learned._repr_latex_()
    assert "H_{y} &= b + " in text
    assert "H_{12}" not in text
    names = Names()
    s = sp.Symbol("s", positive=True)
    first = names.add((1 - s) ** 2 + s)
    assert names.add(1 - s + s**2) == first
    assert names.add(1 + s + s**2) != first


def test_a_field_is_turned_only_where_no_sign_comes_out():
    from dilaton.theory.naming.fields import _upright
    from dilaton.theory.symbols.gaussian import Average, G

    b, z = sp.symbols("b z", positive=True)
    node = Average(sp.tanh(b - G) * sp.tanh(G + z), G)
    assert _upright(node) == node
    assert _upright(Average(sp.tanh(b - G), G)) == Average(sp.tanh(b + G), G)
