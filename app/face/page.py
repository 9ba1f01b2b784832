"""The report as one HTML page: no network, no scripts, equations in MathML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..theory.derive import Limit
    from ..theory.document.derivation import Block

LONG = 260  # operations; an equation longer than this is left to equations.tex

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
.formula { display:flex; align-items:center; gap:1.2rem; margin:.15rem 0 .15rem 1.4rem }
.formula > div { overflow-x:auto; overflow-y:hidden; padding:.3rem 0 }
.formula > span { color:var(--soft); font-size:.9rem; white-space:nowrap }
h4 { margin:1.1rem 0 .3rem; font-size:1rem }
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
    """Return the derivation of a limit, typeset; what is aside is folded away."""
    from ..theory.document.derivation import blocks
    from ..theory.symbols.latex import plain

    parts: list[str] = []
    folded = False
    for block in blocks(limit):
        if block.kind == "heading":
            parts += ["</details>"] if folded else []
            folded = not block.text.startswith(OPEN)
            parts.append(_heading(block.text, block.level, folded))
        elif block.kind == "text":
            parts.append(paragraph(plain(block.text)))
        else:
            parts.append(_formula(block))
    return "".join(parts) + ("</details>" if folded else "")


OPEN = ("Setting", "Windows", "Dilation", "Phase", "What is learned", "Sampling flow")


def _heading(text: str, level: int, folded: bool) -> str:
    title = html.escape(text)
    if folded:
        return f"<details><summary>{title}</summary>"
    return f"<h{level + 2}>{title}</h{level + 2}>"


def _formula(block: Block) -> str:
    tag = f"({html.escape(block.label)})" if block.label else ""
    if block.rhs is None or block.rhs.count_ops() > LONG:
        shown = f"{_math(_left(block.lhs))} is long: see equations.tex"
    else:
        shown = _math(f"{_left(block.lhs)}<mo>=</mo>{_inner(block.rhs)}")
    return f'<div class="formula"><div>{shown}</div><span>{tag}</span></div>'


def _left(lhs: Any) -> str:
    """Return the left-hand side: a symbol, or a short text such as ``nu'``."""
    import sympy as sp

    name = str(lhs)
    stem = name.removesuffix("'")
    if not stem.isidentifier():
        return f"<mtext>{html.escape(name)}</mtext>"
    inner = _inner(sp.Symbol(stem))
    return f"<msup>{inner}<mo>′</mo></msup>" if stem != name else inner


def _math(inner: str) -> str:
    space = "http://www.w3.org/1998/Math/MathML"
    return f'<math xmlns="{space}" displaystyle="true">{inner}</math>'


def _inner(expr: Any) -> str:
    text = re.sub(r"^<math[^>]*>|</math>$", "", _printer().doprint(expr))
    return re.sub(r"&#(\d{3,});", lambda m: chr(int(m[1])), text)


def mathml(expr: Any) -> str:
    """Return an expression as presentation MathML."""
    return _math(_inner(expr))


@cache
def _printer() -> Any:
    """Return sympy's MathML printer with the names of the notation table.

    Subscripts are characters, not boxes, where there is a character: browsers place
    them well with any font.
    """
    from sympy.printing.mathml import MathMLPresentationPrinter

    class Printer(MathMLPresentationPrinter):
        def _print_Symbol(self, symbol: Any, style: str = "plain") -> Any:
            name = str(symbol)
            if name.startswith("E["):
                return self._leaf("mi", _average(name), "normal")
            base, index = SPECIAL.get(name) or _split(name)
            letter = GREEK.get(base, base)
            if index == "hat":
                node = self.dom.createElement("mover")
                node.appendChild(self._leaf("mi", letter, "italic"))
                node.appendChild(self._leaf("mo", "^"))
                return node
            index = SIGNS.get(index, index).translate(LOWERED)
            return self._leaf("mi", letter + index, "italic")

        def _leaf(self, kind: str, text: str, style: str = "") -> Any:
            node = self.dom.createElement(kind)
            node.appendChild(self.dom.createTextNode(text))
            if style:
                node.setAttribute("style", f"font-style:{style}")
            return node

        def _print_Average(self, expr: Any) -> Any:
            row = self.dom.createElement("mrow")
            row.appendChild(self._leaf("mi", "𝔼"))
            row.appendChild(self._leaf("mo", "["))
            row.appendChild(self._print(expr.integrand))
            row.appendChild(self._leaf("mo", "]"))
            return row

    return Printer()


def _split(name: str) -> tuple[str, str]:
    """Return a name and its index: ``n_plus`` is n and plus, ``H2`` is H and 2."""
    if "_" in name:
        base, _, index = name.partition("_")
        return base, index
    match = re.fullmatch(r"([A-Za-z]+)(\d*)", name)
    return (match[1], match[2]) if match else (name, "")


def _average(name: str) -> str:
    """Return ``E[tanh(H1)**2]`` as it is written by hand."""
    body = re.sub(r"\*\*(\d)", lambda m: m[1].translate(RAISED), name[2:-1])
    body = re.sub(r"(\w+)(\(H\d+\))([⁰-⁹²³¹]+)", r"\1\3\2", body)
    body = re.sub(r"H(\d+)", lambda m: "H" + m[1].translate(LOWERED), body)
    return f"𝔼[{body.replace('*', ' ')}]"


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
    "loss": "ℒ",
}
SPECIAL = {"ridge_u": ("λ", ""), "ridge_w": ("ℓ", ""), "noise_draws": ("n", "0")}
SIGNS = {"plus": "₊", "minus": "₋"}
LOWERED = str.maketrans("0123456789_", "₀₁₂₃₄₅₆₇₈₉,")
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
