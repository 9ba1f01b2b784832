"""Formulas in lines that fit: broken between terms, and inside a bracket if need be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from ..naming.every_feature import FeatureSum
from ..naming.labels import ClassSum
from ..symbols.latex import inline, latex
from ..symbols.plain import as_read, typed_plainly
from .formula import width


@dataclass(frozen=True)
class Style:
    """How a form writes an expression, how wide that is, and brackets around a text."""

    show: Callable[[sp.Basic], str]
    width: Callable[[str], float]
    brackets: Callable[[str], tuple[str, str]]
    times: str
    total: str


def _sized(inside: str) -> tuple[str, str]:
    """Return brackets as high as what stands in them, on whatever lines."""
    heights = (("\\sum", "Bigg"), ("\\frac", "bigg"), ("", "big"))
    size = next(size for mark, size in heights if mark in inside)
    return rf"\{size}l(", rf"\{size}r)"


LATEX = Style(latex, width, _sized, " ", r"\sum_{{{}}} ")
TEXT = Style(typed_plainly, len, lambda inside: ("(", ")"), "*", "sum_{} ")


def in_lines(left: str, right: sp.Basic | str, style: Style, limit: float) -> list[str]:
    """Return the right-hand side in lines, the first beside `left`."""
    if isinstance(right, str):
        return [inline(right) if style is LATEX else right]
    whole = style.show(right)
    if not isinstance(right, sp.Expr) or style.width(f"{left} = {whole}") <= limit:
        return [whole]
    inside = limit - min(style.width(left), limit / 3) - style.width("===")
    rows: list[str] = []
    for piece in pieces(right, style, inside):
        if rows and style.width(rows[-1] + piece) <= inside:
            rows[-1] += f" {piece}"
        else:
            rows.append(piece)
    rows[0] = rows[0].removeprefix("+ ")
    return rows


def pieces(expr: sp.Expr, style: Style, limit: float) -> list[str]:
    """Return a formula's terms, each with its sign; a wide one is opened."""
    found = []
    for term in as_read(expr.as_ordered_terms() if expr.is_Add else [expr]):
        text = style.show(term)
        if style.width(text) <= limit:
            found.append(_signed(text))
        else:
            found += _opened(term, style, limit)
    return found


SUMS = (ClassSum, FeatureSum)


def _index(total: sp.Expr) -> sp.Basic | str:
    """Return the letter that a sum is over."""
    return total.args[1][0] if isinstance(total, FeatureSum) else "y"


def _signed(text: str) -> str:
    return f"- {text[1:].lstrip()}" if text.startswith("-") else f"+ {text}"


def _opened(term: sp.Expr, style: Style, limit: float) -> list[str]:
    """Return a product in pieces: its widest sum is broken between brackets."""
    factors = list(sp.Mul.make_args(term))
    sums = [f for f in factors if f.is_Add or isinstance(f, SUMS)]
    wide = max(sums, key=lambda f: style.width(style.show(f)), default=None)
    if wide is None:
        return _by_factor(term, style, limit)
    head = _head([f for f in factors if f is not wide], style)
    if isinstance(wide, SUMS):
        head += style.total.format(_index(wide))
        wide = wide.args[0]
    room = 1.0 if wide.is_Add else min(style.width(head), limit / 2)
    inner = pieces(wide, style, limit - room)
    inner[0] = inner[0].removeprefix("+ ")
    if wide.is_Add:
        opens, closes = style.brackets("".join(inner))
        head += opens
        inner[-1] = f"{inner[-1]} {closes}"
    if style.width(f"{head} {inner[0]}") > limit:
        return [_signed(head.rstrip()), *inner]
    return [_signed(f"{head}{' ' if wide.is_Add else ''}{inner[0]}"), *inner[1:]]


def _head(factors: list[sp.Expr], style: Style) -> str:
    """Return the factors before a bracket or a sum, with a sign of multiplication."""
    rest = sp.Mul(*factors)
    if rest in (1, -1):
        return "" if rest == 1 else "- "
    shown = style.show(rest)
    if rest.is_Add or isinstance(rest, SUMS):
        shown = shown.join(style.brackets(shown))
    return f"{shown}{style.times}"


def _by_factor(term: sp.Expr, style: Style, limit: float) -> list[str]:
    """Return a product without sums in lines of factors, as few as fit."""
    sign = "- " if term.could_extract_minus_sign() else "+ "
    rows: list[list[sp.Expr]] = [[]]
    for factor in sp.Mul.make_args(-term if sign == "- " else term):
        longer = sp.Mul(*rows[-1], factor)
        if rows[-1] and style.width(style.show(longer)) > limit:
            rows.append([])
        rows[-1].append(factor)
    first, *rest = (style.show(sp.Mul(*row)) for row in rows)
    times = style.times if style.times.strip() else r"\times "
    return [f"{sign}{first}", *(f"{times}{row}" for row in rest)]
