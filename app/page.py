"""The report as one HTML page: no network, no scripts, equations in MathML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy as sp

    from .theory.derive import Limit, Phase
    from .theory.system import Equation, System

LONG = 160  # operations; an equation longer than this is left to equations.tex

CSS = """
:root { --ink:#1b1f24; --soft:#5b6470; --line:#dfe3e8; --tint:#f6f8fa; --blue:#0072B2; }
* { box-sizing:border-box }
body { font:16px/1.55 system-ui,"DejaVu Sans",sans-serif; color:var(--ink);
  margin:0; background:#fff }
main { max-width:1080px; margin:0 auto; padding:2rem 1.25rem 4rem }
h1 { font-size:1.9rem; margin:0 0 .3rem } h2 { margin:2.6rem 0 .6rem; font-size:1.35rem;
  border-bottom:1px solid var(--line); padding-bottom:.25rem }
h3 { margin:1.6rem 0 .4rem; font-size:1.08rem }
p.lead { color:var(--soft); max-width:46rem; margin:.2rem 0 1.2rem }
p { max-width:52rem }
nav { display:flex; flex-wrap:wrap; gap:.3rem 1.1rem; font-size:.92rem; margin:1rem 0 }
a { color:var(--blue) }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(210px,1fr));
  gap:.8rem; margin:1.2rem 0 }
.card { border:1px solid var(--line); border-radius:8px; padding:.75rem .9rem;
  background:var(--tint) }
.card b { display:block; font-size:1.35rem; font-variant-numeric:tabular-nums }
.card span { color:var(--soft); font-size:.87rem; display:block }
figure { margin:1rem 0 } figure img { width:100%; height:auto;
  border:1px solid var(--line); border-radius:8px; background:#fff; padding:.4rem }
figcaption { color:var(--soft); font-size:.92rem; max-width:52rem; margin-top:.35rem }
.scroll { overflow-x:auto } table { border-collapse:collapse; font-size:.92rem;
  font-variant-numeric:tabular-nums; margin:.5rem 0 }
th,td { padding:.28rem .7rem; text-align:right; border-bottom:1px solid var(--line) }
th { background:var(--tint); font-weight:600 }
th:first-child,td:first-child { text-align:left }
table.eq td { text-align:left; border-bottom:1px solid var(--line); padding:.5rem .6rem;
  vertical-align:middle } table.eq td.label { color:var(--soft); white-space:nowrap }
math { font-size:1.06rem } pre { background:var(--tint); border:1px solid var(--line);
  border-radius:8px; padding:.8rem 1rem; overflow-x:auto; font-size:.86rem }
details { margin:.6rem 0 } summary { cursor:pointer; color:var(--blue) }
footer { color:var(--soft); font-size:.87rem; margin-top:3rem }
@media print { nav { display:none } main { max-width:none } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole HTML document."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{CSS}</style></head>"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def section(anchor: str, heading: str, *parts: str) -> str:
    """Return a section that the contents can link to."""
    inside = "".join((f"<h2>{html.escape(heading)}</h2>", *parts))
    return f'<section id="{anchor}">{inside}</section>'


def paragraph(text: str) -> str:
    """Return a paragraph; the text is escaped."""
    return f"<p>{html.escape(text)}</p>"


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Return (number, meaning) pairs as a row of cards."""
    inside = "".join(
        f'<div class="card"><b>{html.escape(number)}</b>'
        f"<span>{html.escape(text)}</span></div>"
        for number, text in values
    )
    return f'<div class="cards">{inside}</div>'


def picture(svg: bytes, name: str, caption: str) -> str:
    """Return a figure with its SVG inside the page."""
    data = base64.b64encode(svg).decode()
    alt = html.escape(caption.split(".")[0], quote=True)
    return (
        f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{html.escape(caption)} Files: figures/{name}.png, "
        f"figures/{name}.pdf.</figcaption></figure>"
    )


def rows_table(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return columns as an HTML table."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(x))}</td>" for x in row) + "</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def code(text: str) -> str:
    """Return text as it is."""
    return f"<pre>{html.escape(text)}</pre>"


# -------------------------------------------------------------------- the derivation


def derivation(limit: Limit) -> str:
    """Return every phase with its equations, typeset."""
    parts = [_dilation(limit)]
    parts += [_phase(phase) for phase in limit.phases]
    return "".join(parts)


def _dilation(limit: Limit) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(phase.name)}</td><td>{_window(phase)}</td></tr>"
        for phase in limit.phases
    )
    lines = code(str(limit.dilation))
    said = paragraph("The dilation that gives each phase an equal share of t:")
    return f'<table class="eq">{rows}</table>{said}{lines}'


def _window(phase: Phase) -> str:
    import sympy as sp

    from .theory.notation import symbol

    what = "bulk variance"
    if phase.features:
        what = "weight of feature " + ", ".join(map(str, phase.features))
    small = symbol("tau") if phase.variable == "tau" else 1 - symbol("tau")
    size = symbol("d") ** -sp.sympify(phase.exponent)
    return f"decides the {what}, at {mathml(small)} of order {mathml(size)}"


def _phase(phase: Phase) -> str:
    parts = [f"<h3>Phase {html.escape(phase.name)}</h3>"]
    roles = [("Learned parameters", phase.learned), ("Sampling flow", phase.sampling)]
    for title, system in roles:
        if system is not None:
            parts.append(f"<p><b>{title}</b> ({_kind(system)})</p>{_system(system)}")
            parts.append(_steps(system))
    return "".join(parts)


def _steps(system: System) -> str:
    """Return the derivation of a system, folded away."""
    if not system.steps:
        return ""
    lines = []
    for step in system.steps:
        formula = step.formula
        said = html.escape(step.text)
        if formula is not None and formula.count_ops() <= LONG:
            said += f"<div class='scroll'>{mathml(formula)}</div>"
        lines.append(f"<li>{said}</li>")
    return (
        f"<details><summary>How {html.escape(system.name)} is derived</summary>"
        f"<ol>{''.join(lines)}</ol></details>"
    )


def _kind(system: System) -> str:
    words = {
        "closed": "in closed form",
        "flow": "an ordinary differential equation in s",
        "stationary": "the minimum of the loss below",
    }
    return f"{words[system.kind]}; {system.status}"


def _system(system: System) -> str:
    """Return the equations; fields inside averages are named once, above them."""
    if system.kind == "stationary":
        unknowns = ", ".join(mathml(x) for x in system.unknowns)
        lines = [("", f"minimise over {unknowns}", system.objective)]
        lines += [(e.label, e.lhs, e.rhs) for e in system.observables]
    else:
        lines = [
            (e.label, _left(e, system), e.rhs)
            for e in system.equations + system.observables
        ]
    shown = [(label, left, right) for label, left, right in lines if right is not None]
    fields = _fields(right for _, _, right in shown)
    rows = [_equation("", name, argument, {}) for argument, name in fields.items()]
    rows += [_equation(label, left, right, fields) for label, left, right in shown]
    return f'<div class="scroll"><table class="eq">{"".join(rows)}</table></div>'


def _left(equation: Equation, system: System) -> Any:
    return ("d", equation.lhs, system.time) if system.kind == "flow" else equation.lhs


def _size(expr: sp.Expr, fields: Mapping[Any, Any]) -> int:
    """Count operations as printed, where a named field is one symbol."""
    import sympy as sp

    from .theory.gaussian import G

    swap = {
        f: f.func(fields[f.args[0]] + G * int(f.args[0].has(G)))
        for f in expr.atoms(sp.tanh, sp.erf)
        if f.args[0] in fields
    }
    return int(expr.xreplace(swap).count_ops())


def _fields(exprs: Iterable[sp.Expr]) -> dict[sp.Expr, sp.Symbol]:
    """Return names h_1, h_2, ... for the long arguments of tanh and erf."""
    import sympy as sp

    names: dict[sp.Expr, sp.Symbol] = {}
    for expr in exprs:
        for function in sorted(expr.atoms(sp.tanh, sp.erf), key=sp.default_sort_key):
            if function.args[0].count_ops() > 3:
                name = sp.Symbol(f"h_{len(names) + 1}")
                names.setdefault(function.args[0], name)
    return names


def _equation(label: str, left: Any, right: sp.Expr, fields: Mapping[Any, Any]) -> str:
    printer = _printer(fields)
    size = _size(right, fields)
    if size > LONG:
        there = f"… ({size} operations, see equations.tex)"
        text = f"{left if isinstance(left, str) else _math(_side(left)) + ' ='} {there}"
    elif isinstance(left, str):
        text = f"{left} {_math(_inner(right, printer))}"
    else:
        text = _math(f"{_side(left)}<mo>=</mo>{_inner(right, printer)}")
    tag = f"({html.escape(label)})" if label else ""
    return f'<tr><td>{text}</td><td class="label">{tag}</td></tr>'


def _side(left: Any) -> str:
    plain = _printer({})
    if isinstance(left, tuple):
        top, bottom = (f"<mrow><mi>d</mi>{_inner(x, plain)}</mrow>" for x in left[1:])
        return f"<mfrac>{top}{bottom}</mfrac>"
    return _inner(left, plain)


def _math(inner: str) -> str:
    space = "http://www.w3.org/1998/Math/MathML"
    return f'<math xmlns="{space}" displaystyle="true">{inner}</math>'


def _inner(expr: Any, printer: Any) -> str:
    return re.sub(r"^<math[^>]*>|</math>$", "", printer.doprint(expr))


def mathml(expr: Any) -> str:
    """Return an expression as presentation MathML."""
    return _math(_inner(expr, _printer({})))


def _printer(fields: Mapping[Any, Any]) -> Any:
    """Sympy's MathML printer with our names, averages, and named fields."""
    from sympy.printing.mathml import MathMLPresentationPrinter

    class Printer(MathMLPresentationPrinter):
        def _print_Symbol(self, symbol: Any, style: str = "plain") -> Any:
            name = str(symbol)
            base, index = SPECIAL.get(name, name.partition("_")[::2])
            letter = self._leaf("mi", GREEK.get(base, base))
            if index == "hat":
                return self._pair("mover", letter, self._leaf("mo", "^"))
            if not index:
                return letter
            lowered = index.translate(LOWERED) if index.isdigit() else SIGNS.get(index)
            if lowered is None:
                return self._pair("msub", letter, self._leaf("mi", index))
            letter = self._leaf("mi", GREEK.get(base, base) + lowered)
            letter.setAttribute("style", "font-style:italic")
            return letter

        def _leaf(self, kind: str, text: str) -> Any:
            node = self.dom.createElement(kind)
            node.appendChild(self.dom.createTextNode(text))
            return node

        def _pair(self, kind: str, *parts: Any) -> Any:
            node = self.dom.createElement(kind)
            for part in parts:
                node.appendChild(part)
            return node

        def _print_Average(self, expr: Any) -> Any:
            opened, closed = self._leaf("mo", "["), self._leaf("mo", "]")
            average = self._leaf("mi", "𝔼")
            return self._pair(
                "mrow", average, opened, self._print(expr.integrand), closed
            )

        def _print_Function(self, expr: Any) -> Any:
            if not expr.args or expr.args[0] not in fields:
                return super()._print_Function(expr)
            return self._applied(self._leaf("mi", type(expr).__name__), expr)

        def _print_Pow(self, expr: Any) -> Any:
            if not expr.base.args or expr.base.args[0] not in fields:
                return super()._print_Pow(expr)
            name = self._leaf("mi", type(expr.base).__name__)
            return self._applied(
                self._pair("msup", name, self._print(expr.exp)), expr.base
            )

        def _applied(self, name: Any, function: Any) -> Any:
            opened, closed = self._leaf("mo", "("), self._leaf("mo", ")")
            field = self._print(fields[function.args[0]])
            return self._pair("mrow", name, opened, field, closed)

    return Printer()


GREEK = {
    "tau": "τ",
    "sigma": "σ",
    "rho": "ρ",
    "kappa": "κ",
    "omega": "ω",
    "zeta": "ζ",
    "nu": "ν",
    "eps": "ε",
    "gamma": "γ",
    "alpha": "α",
    "beta": "β",
    "Gamma": "Γ",
}
SPECIAL = {"ridge_u": ("λ", ""), "ridge_w": ("ℓ", ""), "noise_draws": ("n", "0")}
SIGNS = {"plus": "₊", "minus": "₋"}
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
