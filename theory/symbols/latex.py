"""LaTeX of names, expressions, equations, and of prose that holds formulas.

Prose is written for a terminal; what stands between backticks in it is a formula,
such as ```d^(-1/2)```, that other forms typeset.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import sympy as sp

from .notation import SHIFT, TABLE

WIDE = 66
"""Characters of a formula that fit a line of a page."""

_WORDS = {
    "alpha": r"\alpha",
    "beta": r"\beta",
    "loss": r"\mathcal{L}",
    "value": r"\tfrac12\log\mathrm{odds}",
    "J": "J",
}


def latex(expr: sp.Basic) -> str:
    """Print `expr` as LaTeX with the names of the notation table."""
    atoms = expr.atoms(sp.Symbol)
    names = {x: latex_name(str(x)) for x in atoms}
    names |= {sp.Symbol("x", positive=True): "x"}
    return sp.latex(expr, symbol_names=names)


def latex_name(name: str) -> str:
    """LaTeX of a quantity's ASCII name; ``m_1_2`` becomes ``m_{1 2}``."""
    if name in TABLE:
        return TABLE[name].latex
    if name.endswith(SHIFT):
        return latex_name(name.removesuffix(SHIFT)) + "^{(1)}"
    if name.startswith("E["):
        return rf"\mathbb{{E}}\left[{_average_latex(name[2:-1])}\right]"
    if re.fullmatch(r"H\d+", name):
        return f"H_{{{name[1:]}}}"
    base, *marks = name.split("_")
    while marks and not re.fullmatch(r"\d+|[pm]+", marks[0]):
        base += "_" + marks.pop(0)
    shown = TABLE[base].latex if base in TABLE else sp.latex(sp.Symbol(base))
    signs = str.maketrans("pm", "+-")
    return f"{shown}_{{{' '.join(marks).translate(signs)}}}" if marks else shown


def _average_latex(body: str) -> str:
    """``tanh(H1)**2*g`` as LaTeX; the fields keep their names."""
    body = re.sub(r"(tanh|erf|sign)\((H\d+)\)\*\*(\d+)", r"\1^{\3}\2", body)
    body = re.sub(r"(tanh|erf|sign)\((H\d+)\)", r"\1 \2", body)
    body = re.sub(r"H(\d+)", r"H_{\1}", body).replace("*", r"\,")
    return re.sub(r"(erf|sign)", r"\\operatorname{\1}", body).replace("tanh", r"\tanh")


def left_side(lhs: sp.Basic | str) -> str:
    """LaTeX of what an equation is for: a symbol, ``nu'``, ``dJ/db``, ``|mu_1|^2``."""
    if isinstance(lhs, sp.Basic):
        return latex(lhs)
    if lhs in _WORDS:
        return _WORDS[lhs]
    if indexed := re.fullmatch(r"(\w+)\[([\w, ]+)\]('?)", lhs):
        name = latex_name(indexed[1])
        name = rf"\dot{{{name}}}" if indexed[3] else name
        return f"{name}_{{{indexed[2].replace(', ', ' ')}}}"
    if lhs.endswith("'"):
        return rf"\dot{{{latex_name(lhs[:-1])}}}"
    if lhs.startswith("dJ/d"):
        return rf"\partial J/\partial {latex_name(lhs[4:])}"
    if re.fullmatch(r"H\d+", lhs):
        return latex_name(lhs)
    if lhs.startswith("|mu_"):
        return rf"|\mu_{{{lhs[4:-3]}}}|^2"
    base, _, mark = lhs.partition("_")
    return rf"{base}_{{\mathrm{{{mark}}}}}" if mark else base


def equation(lhs: sp.Basic | str, rhs: sp.Basic) -> str:
    r"""LaTeX of ``lhs = rhs``; a long sum is broken between its terms.

    Lines end in ``\cr``: where a tag stands beside, Sphinx takes no double backslash.
    """
    left, whole = left_side(lhs), latex(rhs)
    if not isinstance(rhs, sp.Add) or _width(f"{left} = {whole}") <= WIDE:
        return f"{left} = {whole}"
    rows: list[str] = []
    for term in map(latex, rhs.as_ordered_terms()):
        signed = term if term.startswith("-") else f"+ {term}"
        if rows and _width(rows[-1] + signed) <= WIDE:
            rows[-1] += f" {signed}"
        else:
            rows.append(signed if rows else term)
    lines = " \\cr\n&\\quad ".join(rows)
    return f"\\begin{{aligned}}\n{left} ={{}}& {lines}\n\\end{{aligned}}"


def _width(text: str) -> int:
    """Characters that a formula takes on a line, about."""
    bare = re.sub(r"\\(left|right|frac|mathbb|mathrm|operatorname)|[{}^_ ]", "", text)
    return len(re.sub(r"\\(?!tanh)[A-Za-z]+", "x", bare))


def prose(
    text: str, formula: Callable[[str], str], words: Callable[[str], str] = str
) -> str:
    """Apply `formula` to what stands between backticks and `words` to the rest."""
    pieces = text.split("`")
    return "".join(
        formula(piece) if i % 2 else words(piece) for i, piece in enumerate(pieces)
    )


def plain(text: str) -> str:
    """Prose as a terminal shows it."""
    return text.replace("`", "")


def inline(text: str) -> str:
    r"""LaTeX of a formula typed as text: ``tau ~ d^(-1/2)``, ``E[x1|x]``.

    >>> inline("tau ~ d^(-1/2)")
    '\\tau \\sim d^{-1/2}'
    >>> inline("w_j.x/sqrt(d) + b_j")
    'w_{j}\\cdot x/\\sqrt{d} + b_{j}'
    """
    text = text.replace("**", "^")
    text = re.sub(r"\^(?:\(([^()]*)\)|(\w+))", r"^{\1\2}", text)
    text = re.sub(r"sqrt\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<!\\)\b[A-Za-z]\w*'?", _word, text)
    text = re.sub(r"(?<=\))_(\w+)", r"_{\1}", text)
    for typed, shown in _SIGNS:
        text = text.replace(typed, shown)
    return re.sub(r"(?<=[\w}])\.(?=[\\A-Za-z])", r"\\cdot ", text)


_SIGNS = (
    ("->", r"\to"),
    ("<=", r"\le"),
    (">=", r"\ge"),
    ("~", r"\sim"),
    ("*", r"\,"),
)
_TYPED = {
    "x0": "x_0",
    "x1": "x_1",
    "xbar": r"\bar x",
    "E": r"\mathbb{E}",
    "infinity": r"\infty",
    "phi": r"\varphi",
} | {x: f"\\{x}" for x in ("sum", "tanh", "mu", "Lambda", "alpha", "beta", "delta")}


def _word(match: re.Match[str]) -> str:
    """A name with its index; a prime is a time derivative."""
    word = match[0].removesuffix("'")
    base, _, index = word.partition("_")
    if word in TABLE or word.endswith(SHIFT):
        shown = latex_name(word)
    else:
        shown = _TYPED.get(base) or (TABLE[base].latex if base in TABLE else base)
        shown += f"_{{{index}}}" if index else ""
    return rf"\dot{{{shown}}}" if match[0] != word else shown
