"""LaTeX of names, expressions, equations, and of prose that holds formulas.

Prose is written for a terminal; what stands between backticks in it is a formula,
such as ```d^(-1/2)```, that other forms typeset.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from .notation import SHIFT, TABLE
from .plain import as_read

_WORDS = {
    "alpha": r"\alpha",
    "beta": r"\beta",
    "alpha_dot": r"\dot\alpha",
    "beta_dot": r"\dot\beta",
    "loss": r"\mathcal{L}",
    "Delta": r"\Delta",
    "Lambda": r"\Lambda",
    "n_minus": "n_-",
    "log_odds": "h",
}
_MARKS = {"plus": "+", "minus": "-", "either": "y"}


class Printer(LatexPrinter):
    """LaTeX with the names of the notation table; a sum over classes stands last."""

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        return latex_name(str(expr))

    def _as_ordered_terms(
        self, expr: sp.Expr, order: str | None = None
    ) -> list[sp.Expr]:
        return as_read(list(super()._as_ordered_terms(expr, order)))

    def _print_Indexed(self, expr: sp.Indexed) -> str:
        index = " ".join(map(self._print, expr.indices))
        return f"{self._print(expr.base.label)}_{{{index}}}"

    def _print_ClassSum(self, expr: sp.Expr) -> str:
        term = self._print(expr.args[0])
        term = rf"\left({term}\right)" if expr.args[0].is_Add else term
        return rf"\sum_{{y}} {term}"

    def _print_FeatureSum(self, expr: sp.Sum) -> str:
        term = self._print(expr.args[0])
        term = rf"\left({term}\right)" if expr.args[0].is_Add else term
        return rf"\sum_{{{self._print(expr.args[1][0])}}} {term}"

    def _print_Mul(self, expr: sp.Mul) -> str:
        sums = [x for x in expr.args if type(x).__name__ == "ClassSum"]
        if len(sums) != 1:
            return self._averages_last(expr)
        rest = sp.Mul(*(x for x in expr.args if x is not sums[0]))
        shown = {1: "", -1: "- "}.get(rest)
        if shown is None:
            shown = self._print(rest)
            shown = rf"\left({shown}\right)" if rest.is_Add else shown
        return f"{shown} {self._print(sums[0])}".strip()

    def _averages_last(self, expr: sp.Mul) -> str:
        """Print a product with its averages behind its other factors."""
        top, bottom = sp.fraction(expr)
        last = [x for x in sp.Mul.make_args(top) if is_average(x)]
        rest = sp.Mul(*(x for x in sp.Mul.make_args(top) if x not in last))
        if not last or rest == 1 or bottom.has(*last):
            return super()._print_Mul(expr)
        sign = "- " if rest.could_extract_minus_sign() else ""
        rest = -rest if sign else rest
        shown = (
            "" if rest == 1 else self.parenthesize(rest, PRECEDENCE["Mul"], strict=True)
        )
        shown = f"{shown} {' '.join(map(self._print, last))}".strip()
        if bottom != 1:
            shown = rf"\frac{{{shown}}}{{{self._print(bottom)}}}"
        return sign + shown

    def _print_Pow(self, expr: sp.Pow) -> str:
        if type(expr.base).__name__ == "ClassSum" and expr.exp.is_Integer:
            base = rf"\left({self._print(expr.base)}\right)"
            return base if expr.exp == 1 else rf"{base}^{{{self._print(expr.exp)}}}"
        if expr.exp.is_Rational and abs(expr.exp.p) == 1 and expr.exp.q > 2:
            power = f"{self.parenthesize(expr.base, 100)}^{{1/{expr.exp.q}}}"
            return power if expr.exp.p > 0 else rf"\frac{{1}}{{{power}}}"
        return super()._print_Pow(expr)


def is_average(x: sp.Basic) -> bool:
    """Whether a symbol is the name of an average; a sum of them needs its brackets."""
    return x.is_Symbol and str(x).startswith("E[")


def latex(expr: sp.Basic) -> str:
    """Print `expr` as LaTeX with the names of the notation table."""
    return Printer({"fold_frac_powers": True}).doprint(expr)


def latex_name(name: str) -> str:
    """LaTeX of a quantity's ASCII name; ``m_1_2`` becomes ``m_{1 2}``."""
    if name in TABLE:
        return TABLE[name].latex
    if name in _WORDS:
        return _WORDS[name]
    if name.endswith(SHIFT):
        return latex_name(name.removesuffix(SHIFT)) + "^{(1)}"
    if name.startswith("E["):
        return rf"\mathbb{{E}}\left[{_average_latex(name[2:-1])}\right]"
    if "." in name or "|" in name:
        return inline(name)
    base, *marks = name.split("_")
    while marks and not re.fullmatch(r"\d+|[jkl]|[pm]+|plus|minus|either", marks[0]):
        base += "_" + marks.pop(0)
    letter = {"Ht": r"\tilde H"}.get(base) or _WORDS.get(base)
    shown = letter or (
        TABLE[base].latex if base in TABLE else sp.latex(sp.Symbol(base))
    )
    signs = str.maketrans("pm", "+-")
    index = [_MARKS.get(x) or x.translate(signs) for x in marks]
    return f"{shown}_{{{' '.join(index)}}}" if index else shown


def _average_latex(body: str) -> str:
    """``tanh(H_1)**2*g`` as LaTeX; the fields keep their names."""
    body = re.sub(r"erf\(sqrt\(2\)\*(Ht?\w*)/2\)", r"phi(\1)", body)
    body = re.sub(r"exp\(-(Ht?\w*)\*\*2/2\)", r"e^{-\1^{2}/2}", body)
    body = re.sub(r"exp\(-(Ht?\w*)\*\*2\)", r"e^{-\1^{2}}", body)
    body = re.sub(r"(tanh|phi|sign)\((Ht?\w*)\)\*\*(\d+)", r"\1^{\3}(\2)", body)
    body = re.sub(r"phi('+)\((Ht?\w*)\)(?:\*\*(\d+))?", _slope_latex, body)
    body = re.sub(r"\bHt?(_\w+)?", lambda m: latex_name(m[0]), body)
    body = re.sub(r"\by(_[\djkl]+)*\b", lambda m: latex_name(m[0]), body).replace(
        "*", r"\,"
    )
    for word, shown in (
        ("tanh", r"\tanh"),
        ("phi", r"\varphi"),
        ("sign", r"\operatorname{sign}"),
        ("sqrt(2)", r"\sqrt{2}"),
        ("sqrt(pi)", r"\sqrt{\pi}"),
    ):
        body = body.replace(word, shown)
    return body


def _slope_latex(match: re.Match[str]) -> str:
    """LaTeX of ``phi''(H)**2``: a slope of the unit, with its power."""
    power = r"\prime" * len(match[1]) + (f" {match[3]}" if match[3] else "")
    return f"phi^{{{power}}}({match[2]})"


def left_side(lhs: sp.Basic | str) -> str:
    """LaTeX of what an equation is for: a symbol, ``nu'``, ``dJ/db``, ``|mu_1|^2``."""
    if isinstance(lhs, sp.Basic):
        return latex(lhs)
    if indexed := re.fullmatch(r"(\w+)\[([\w, ]+)\]('?)", lhs):
        name = latex_name(indexed[1])
        name = _dotted(name) if indexed[3] else name
        return f"{name}_{{{indexed[2].replace(', ', ' ')}}}"
    if lhs.endswith("'"):
        return _dotted(latex_name(lhs[:-1]))
    if lhs.startswith("dJ/d"):
        return rf"\partial J/\partial {latex_name(lhs[4:])}"
    if re.fullmatch(r"J_[a-z]+", lhs):
        return rf"J_{{\mathrm{{{lhs[2:]}}}}}"
    return latex_name(lhs) if re.fullmatch(r"\w+", lhs) else inline(lhs)


def _dotted(name: str) -> str:
    """A time derivative: the dot stands on the letter, not on its indices."""
    letter, mark, index = name.partition("_")
    return rf"\dot{{{letter}}}{mark}{index}"


def prose(
    text: str, formula: Callable[[str], str], words: Callable[[str], str] = str
) -> str:
    """Apply `formula` to what stands between backticks and `words` to the rest."""
    pieces = text.split("`")
    return "".join(
        formula(piece) if i % 2 else words(piece) for i, piece in enumerate(pieces)
    )


def plain_prose(text: str) -> str:
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
    text = re.sub(
        r"\b(E|F|P|phi)(\'+)", lambda m: m[1] + "^{" + r"\prime" * len(m[2]) + "}", text
    )
    text = re.sub(r"sqrt\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<!\\)\b[A-Za-z]\w*'?", _word, text)
    text = re.sub(r"(?<=\))_(\w+)", r"_{\1}", text)
    for typed, shown in _SIGNS:
        text = text.replace(typed, shown)
    text = re.sub(r"(?<=\w)\[([a-z](?:, [a-z])*)\]", _subscript, text)
    return re.sub(r"(?<=[\w}])\.(?=[\\A-Za-z])", r"\\cdot ", text)


def _subscript(match: re.Match[str]) -> str:
    """The indices of a family, ``[k, j]``."""
    return f"_{{{match[1].replace(', ', ' ')}}}"


_SIGNS = (
    ("->", r"\to"),
    ("<=", r"\le"),
    (">=", r"\ge"),
    ("+-", r"\pm"),
    ("~", r"\sim"),
    ("*", r"\,"),
    ("...", r"\ldots"),
)
_MARKED = re.compile(r"(_\d+)+(_[pm]+)?|_[pm]{2,}|_(plus|minus)(_\d+)?")
"""Indices of a feature, of two, of a class of samples by its signs, or of a mode."""

_TYPED = {
    "x0": "x_0",
    "x1": "x_1",
    "xbar": r"\bar x",
    "E": r"\mathbb{E}",
    "dE": r"d\mathbb{E}",
    "infinity": r"\infty",
    "phi": r"\varphi",
    "int": r"\int",
    "pi": r"\pi",
    "sign": r"\mathrm{sign}",
    "Delta": r"\Delta",
    "erf": r"\mathrm{erf}",
    "Cov": r"\mathrm{Cov}",
    "softmax": r"\mathrm{softmax}",
} | {
    x: f"\\{x}"
    for x in (
        *("sum", "tanh", "log", "mu", "Lambda", "alpha", "beta", "chi", "delta"),
        *("Pi", "theta"),
    )
}


def _word(match: re.Match[str]) -> str:
    """A name with its index; a prime is a time derivative."""
    word = match[0].removesuffix("'")
    base, _, index = word.partition("_")
    known = base in TABLE or base == "P"
    marked = known and _MARKED.fullmatch(word.removeprefix(base))
    if word in TABLE or word.endswith(SHIFT) or marked:
        shown = latex_name(word).replace("+-", "+{-}")
    else:
        shown = _TYPED.get(base) or (TABLE[base].latex if base in TABLE else base)
        shown += f"_{{{_index(index)}}}" if index else ""
    return _dotted(shown) if match[0] != word else shown


def _index(index: str) -> str:
    """An index as in formulas: ``1_2`` is ``1 2``, and a class ``pm`` has signs."""
    marks = index.split("_")
    if not all(re.fullmatch(r"\d+|[jkly]|[pm]{2,}|plus|minus", x) for x in marks):
        return index
    signs = str.maketrans("pm", "+-")
    return " ".join(_MARKS.get(x) or x.translate(signs) for x in marks)


def typed(expr: sp.Basic) -> str:
    """Return an expression as it is typed in prose; `inline` typesets it.

    >>> d = sp.Symbol("d", positive=True)
    >>> typed(sp.Symbol("w.mu") / d ** sp.Rational(3, 4))
    'w.mu/d^(3/4)'
    """
    return sp.sstr(expr).replace("**", "^").replace("*", " ")
