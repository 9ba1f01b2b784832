"""Expressions as Python text that Python's own operators build again, node for node.

Infix is written where it gives back the same tree, a constructor where it does not:
``Mul(2, x + 1, evaluate=False)`` is not ``2*(x + 1)``, which sympy multiplies out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.functions.elementary.piecewise import ExprCondPair

from ...errors import ModelError
from ..symbols.gaussian import Average
from ..symbols.indexed import NormalAverage, Softmax

CONSTRUCTORS: dict[str, Any] = {
    x.__name__: x
    for x in (
        *(sp.Add, sp.Mul, sp.Pow, sp.Sum, sp.Min, sp.Max, sp.Abs, sp.sign),
        *(sp.exp, sp.log, sp.erf, sp.tanh, sp.sinh, sp.cosh, sp.sin, sp.cos, sp.tan),
        *(sp.asin, sp.acos, sp.atan, sp.Heaviside, sp.DiracDelta, sp.Piecewise),
        *(sp.Eq, sp.Ne, sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.And, sp.Or, sp.Not),
        *(Average, NormalAverage, Softmax),
    )
}
"""Nodes that are written by name, and read by it."""

CONSTANTS: dict[str, sp.Basic] = {
    "pi": sp.pi,
    "E": sp.E,
    "nan": sp.nan,
    "oo": sp.oo,
    "true": sp.true,
    "false": sp.false,
}
SUM, PRODUCT, SIGN, POWER, ATOM = range(5)
"""How strongly the parts of a text hold together."""

Text = tuple[str, int]


class Writer:
    """Writes expressions; `names` are those of symbols and of what was named before."""

    def __init__(self, names: Mapping[sp.Basic, str]) -> None:
        self.names = names
        self.used: set[str] = set()  # constructors and constants that were written
        self._held: dict[sp.Basic, Text] = {}

    def whole(self, expr: sp.Basic | None) -> str:
        """Return the text of an expression that Python does not read as a number."""
        if isinstance(expr, sp.Integer):
            return self._called("Integer", str(expr))[0]
        return "None" if expr is None else self.text(expr)

    def definition(self, expr: sp.Basic) -> str:
        """Return the text of an expression whose own name is not used."""
        return self._text(expr)[0]

    def text(self, expr: sp.Basic, level: int = SUM) -> str:
        """Return the text of an expression, in brackets if `level` asks for them."""
        if expr in self.names:
            return self.names[expr]
        if expr not in self._held:
            self._held[expr] = self._text(expr)
        found, own = self._held[expr]
        return found if own >= level else f"({found})"

    def _text(self, expr: sp.Basic) -> Text:
        if isinstance(expr, sp.Add):
            return self._sum(expr)
        if isinstance(expr, sp.Mul):
            return self._product(expr)
        if isinstance(expr, sp.Pow):
            return self._power(expr)
        if isinstance(expr, sp.Rational):
            return self._number(expr)
        return self._node(expr)

    def _number(self, expr: sp.Rational) -> Text:
        if isinstance(expr, sp.Integer):
            return str(expr), ATOM if expr >= 0 else SIGN
        return self._called("Rational", f"{expr.p}, {expr.q}")

    def _sum(self, expr: sp.Add) -> Text:
        first, *rest = expr.as_ordered_terms()
        text, built = self.text(first), first
        for term in rest:
            if term.as_coeff_Mul()[0].is_negative:
                text += f" - {self.text(-term, PRODUCT)}"
                built = built - (-term)
            else:
                text += f" + {self.text(term, PRODUCT)}"
                built = built + term
        return (text, SUM) if built == expr else self._built(expr)

    def _product(self, expr: sp.Mul) -> Text:
        number, top, bottom = _factors(expr)
        if abs(number.p) == 1 and not top:
            top, number = [sp.Integer(number.p)], sp.Rational(1, number.q)
        for found, built in (self._flat(number, top), self._apart(number, top)):
            if not found:
                continue
            for factor in bottom + ([sp.Integer(number.q)] if number.q > 1 else []):
                found += f"/{self.text(factor, POWER)}"
                built = built / factor
            if built == expr:
                return found, SIGN if found[0] == "-" else PRODUCT
        return self._built(expr)

    def _flat(self, number: sp.Rational, top: list[sp.Expr]) -> tuple[str, sp.Expr]:
        """``-2*x*y``: the whole part of a number before the factors."""
        lead = [sp.Integer(number.p)] if abs(number.p) != 1 else []
        first, *rest = lead + top
        text, built = self.text(first, POWER if lead == [] else SIGN), first
        if number.p == -1:
            text, built = f"-{text}", -first
        for factor in rest:
            text += f"*{self.text(factor, POWER)}"
            built = built * factor
        return text, built

    def _apart(self, number: sp.Rational, top: list[sp.Expr]) -> tuple[str, sp.Expr]:
        """``-2*((x + 1)*(y + 1))``: the number outside, so that nothing is expanded."""
        if len(top) < 2 or number.p == 1:
            return "", sp.S.Zero
        text, built = self._flat(sp.S.One, top)
        if number.p == -1:
            return f"-({text})", -built
        return f"{number.p}*({text})", sp.Integer(number.p) * built

    def _power(self, expr: sp.Pow) -> Text:
        base, exponent = expr.base, expr.exp
        if exponent == sp.S.Half and sp.sqrt(base) == expr:
            return self._called("sqrt", self.text(base))
        if exponent.is_Rational and exponent < 0:
            inverse = sp.Pow(base, -exponent)
            if 1 / inverse == expr and not inverse.is_number:
                return f"1/{self.text(inverse, POWER)}", PRODUCT
        if base**exponent != expr or expr.is_number:
            return self._built(expr)
        return f"{self.text(base, ATOM)}**{self.text(exponent, ATOM)}", POWER

    def _node(self, expr: sp.Basic) -> Text:
        for name, value in CONSTANTS.items():
            if expr == value and type(expr) is type(value):
                self.used.add(name)
                return name, ATOM
        if isinstance(expr, sp.Tuple | ExprCondPair):
            return f"({', '.join(map(self.text, expr.args))})", ATOM
        if isinstance(expr, sp.Indexed):
            base, *indices = expr.args
            return f"{self.text(base)}[{', '.join(map(self.text, indices))}]", ATOM
        if isinstance(expr, sp.IndexedBase):
            return self._called("IndexedBase", self.text(expr.label))
        if isinstance(expr, sp.Float):
            return self._called("Float", f'"{expr}", {expr._prec}')
        return self._built(expr)

    def _built(self, expr: sp.Basic) -> Text:
        """Write a node by its constructor; kept as it is if that would change it."""
        name = type(expr).__name__
        if CONSTRUCTORS.get(name) is not type(expr):
            raise ModelError(
                "An exported derivation may contain "
                f"{', '.join(sorted(CONSTRUCTORS))}, but `{expr}` is "
                f"`{type(expr).__name__}`. Rewrite it in those functions."
            )
        parts = ", ".join(map(self.text, expr.args))
        if expr.func(*expr.args) == expr:
            return self._called(name, parts)
        return self._called(name, f"{parts}, evaluate=False")

    def _called(self, name: str, parts: str) -> Text:
        self.used.add(name)
        return f"{name}({parts})", ATOM


def _factors(expr: sp.Mul) -> tuple[sp.Rational, list[sp.Expr], list[sp.Expr]]:
    """Split a product: its number, the factors above the line, those below it."""
    number, top, bottom = sp.S.One, [], []
    for factor in expr.args:
        if isinstance(factor, sp.Rational):
            number = number * factor
        elif isinstance(factor, sp.Pow) and factor.exp.is_Rational and factor.exp < 0:
            bottom.append(sp.Pow(factor.base, -factor.exp))
        else:
            top.append(factor)
    top.sort(key=lambda x: isinstance(x, sp.Add))
    return number, top, bottom
