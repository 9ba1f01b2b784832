"""What is printed can be pasted: it compiles, and its lines fit their column."""

import re
import shutil
import subprocess

import pytest
import sympy as sp
from dilaton import Autoencoder, Data, Model, two_modes
from dilaton.theory.document.derivation import render
from dilaton.theory.document.lines import LATEX, TEXT, in_lines
from dilaton.theory.models.spec import parse_spec
from dilaton.theory.naming.every_feature import FeatureSum
from dilaton.theory.naming.general import general_phase, phase_schedule
from dilaton.theory.naming.labels import ClassSum, expanded
from dilaton.theory.naming.letters import Letters
from dilaton.theory.naming.sheet import make_sheet
from dilaton.theory.symbols.gaussian import H, OpenUnit, with_unit

from ...cases import THREE_MODES, derived, limit_of

SAMPLES = Data(samples=True)
MODELS = {
    "tied": Model(two_modes(), autoencoder=Autoencoder(tied=True)),
    "no bias": Model(two_modes(), autoencoder=Autoencoder(bias=False)),
    "sign": Model(two_modes(), autoencoder=Autoencoder("sign")),
    "erf, samples": Model(two_modes(), autoencoder=Autoencoder("erf"), data=SAMPLES),
    "sign, samples": Model(two_modes(), autoencoder=Autoencoder("sign"), data=SAMPLES),
}
QUICK = ("population", "tied", "modes")
SLOW = ("samples", "frozen", "erf", "exploding", "product", *(set(MODELS) - {"tied"}))
NAMES = [*QUICK, *(pytest.param(x, marks=pytest.mark.slow) for x in sorted(SLOW))]

WIDE = 1.0  # pt by which a line may stand out: no eye sees it
COLUMNS = 100
NO_WORDS = ("ClassSum", "_either", "*(p_1 - 1)", "*(p - 1)", "(-n + n_plus)", "Sum(")
TWO_COLUMNS = r"""\documentclass[twocolumn]{article}
\usepackage{amsmath,amssymb}
\begin{document}
%s
\end{document}
"""


def limit_named(name):
    if name == "modes":
        return derived(parse_spec(THREE_MODES).model)
    return derived(MODELS[name]) if name in MODELS else limit_of(name)


def compiled(text, folder):
    """Return the log of two runs, the second of which knows every label."""
    (folder / "page.tex").write_text(text)
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "page.log").read_text(errors="replace")


def too_wide(log):
    found = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)
    return [float(x) for x in found if float(x) > WIDE]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("name", NAMES)
def test_a_document_compiles_and_every_line_fits(name, tmp_path):
    log = compiled(render(limit_named(name), "latex"), tmp_path)
    assert not too_wide(log)
    assert "undefined" not in log


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_a_line_that_does_not_fit_is_seen(tmp_path):
    wide = r"\begin{align} x = " + "+ y " * 60 + r"\end{align}"
    assert too_wide(compiled(TWO_COLUMNS % wide, tmp_path))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("name", NAMES)
def test_a_fragment_compiles_in_two_columns(name, tmp_path):
    log = compiled(TWO_COLUMNS % render(limit_named(name), "fragment"), tmp_path)
    assert "undefined" not in log


@pytest.mark.parametrize("name", NAMES)
def test_no_word_of_a_program_is_printed(name):
    for form in ("text", "markdown", "latex", "fragment"):
        shown = render(limit_named(name), form)
        assert not [x for x in NO_WORDS if x in shown], form
    lines = render(limit_named(name), "text").splitlines()
    assert max(map(len, lines)) <= COLUMNS


def sum_over_classes():
    names = "n_either a_either m sigma y"
    n, a, m, sigma, y = sp.symbols(names)
    marks = sp.symbols("plus minus")
    return ClassSum(n * (a * sigma * y + m) ** 2, *marks), sp.symbols("D k")


def test_a_sum_over_classes_is_read_as_one():
    total, (d, k) = sum_over_classes()
    shown = TEXT.show(k - total / d)
    assert shown == "k - 1/D*sum_y n_y*(a_y*sigma*y + m)**2"
    assert "sum_" in LATEX.show(k - total / d)


def test_a_broken_product_keeps_its_brackets_and_its_signs():
    total, (d, k) = sum_over_classes()
    letters = sp.symbols("a:12")
    long = (d + k) * sp.Add(*letters) / k
    rows = in_lines("x", long, TEXT, 30)
    assert len(rows) > 1
    back = sp.sympify(" ".join(rows).lstrip("+ "))
    assert sp.expand(back - long) == 0
    rows = in_lines("x", total * sp.Add(*letters) / d, TEXT, 30)
    assert not re.search(r"[\w)]sum_y", " ".join(rows))


def test_a_sum_over_features_is_broken_in_its_bracket():
    a, b, rho = sp.symbols("E[y_l*phi(H_j)] E[phi(H_j)*phi(H_l)] rho_l")
    total = FeatureSum(rho * (a - b), (sp.Symbol("l"), 1, 2))
    first, last = in_lines("x", 2 * total, LATEX, 14.0)
    assert first.count(r"\sum_{l}") == first.count(r"\bigl(") == 1
    assert last.startswith("- ")
    assert last.endswith(r"\bigr)")
    high = in_lines("x", 2 * sp.Symbol("z") * (a / rho - b), LATEX, 9.0)
    assert r"\biggl(" in "".join(high)


def test_a_product_without_sums_is_broken_between_factors():
    letters = sp.symbols("letter_1:9")
    rows = in_lines("x", -sp.Mul(*letters), TEXT, 40)
    assert max(map(len, rows)) <= 40
    assert sp.sympify("".join(rows).replace("- ", "-")) == -sp.Mul(*letters)


def test_a_unit_without_a_name_has_the_slopes_of_the_named():
    for name in ("tanh", "erf"):
        unit = with_unit(OpenUnit(H, 0) ** 2, name)
        open_slope = sp.diff(OpenUnit(H, 0) ** 2, H)
        assert sp.simplify(with_unit(open_slope, name) - sp.diff(unit, H)) == 0
    assert sp.sstr(OpenUnit(H, 2)) == "phi''(h1)"


def test_letters_run_on_and_mean_one_thing():
    limit, letters, seen = limit_of("population"), Letters(), {}
    phase = limit.phases[0]
    for role in ("training", "mse"):
        sheet = make_sheet(
            getattr(general_phase(phase), role), phase_schedule(phase), limit.model
        )
        letters.put_in(sheet)
        for x, value in sheet.names.items():
            if re.fullmatch(r"[KA]_\d+", str(x)):
                assert seen.setdefault(x, value) == value
    first = make_sheet(phase.learned, phase_schedule(phase), limit.model)
    first.names = {sp.Symbol("K_1"): sp.Symbol("a") + 1}
    other = make_sheet(phase.learned, phase_schedule(phase), limit.model)
    other.names = {sp.Symbol("K_1"): sp.Symbol("a") + 2}
    again = make_sheet(phase.learned, phase_schedule(phase), limit.model)
    again.names = {sp.Symbol("K_1"): sp.Symbol("a") + 1}
    told = Letters()
    assert not told.put_in(first)
    assert not told.put_in(other)
    assert told.put_in(again) == set(first.names)
    assert set(first.names) & set(other.names) == set()


def test_sums_are_written_out_for_the_comparison():
    total, _ = sum_over_classes()
    assert not expanded(total).has(ClassSum)


def test_a_difference_of_averages_keeps_its_brackets():
    one, two = (sp.Symbol(f"E[phi{x}(H)]", real=True) for x in ("", "'"))
    m, q, s = sp.symbols("m q s")
    shown = LATEX.show(s * (m * one - q * two))
    assert shown.count(r"\left(") == 1
    assert r"q \mathbb{E}\left[\varphi^{\prime}(H)\right]\right)" in shown
    assert r"\left(2 m\right)" not in LATEX.show(2 * m * one)
