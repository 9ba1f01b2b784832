"""Expressions as a terminal shows them: names of the notation table, sums over classes.

``H_y`` is the field of class `y`, ``sum_y`` the sum over the classes.
"""

from __future__ import annotations

import sympy as sp
from sympy.printing.str import StrPrinter


def as_read(terms: list[sp.Expr]) -> list[sp.Expr]:
    """Return a sum's terms with a positive one first and sums over classes last."""
    rest = [x for x in terms if not _ends_in_sum(x)]
    sums = [x for x in terms if _ends_in_sum(x)]
    first = next((x for x in rest if not x.could_extract_minus_sign()), None)
    first = [] if first is None else [first]
    return [*first, *(x for x in rest if x not in first), *sums]


def _ends_in_sum(term: sp.Expr) -> bool:
    return any(type(x).__name__ == "ClassSum" for x in sp.Mul.make_args(term))


SUMS = ("ClassSum", "Sum", "FeatureSum")


class Plain(StrPrinter):
    """Typed formulas; a sum over classes stands last in its product."""

    def _as_ordered_terms(
        self, expr: sp.Expr, order: str | None = None
    ) -> list[sp.Expr]:
        return as_read(list(super()._as_ordered_terms(expr, order)))

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return plain_name(expr.name)

    def _print_ClassSum(self, expr: sp.Expr) -> str:
        return self._total("y", expr.args[0])

    def _print_Sum(self, expr: sp.Sum) -> str:
        return f"({self._total(str(expr.args[1][0]), expr.args[0])})"

    def _total(self, index: str, term: sp.Expr) -> str:
        shown = self._print(term)
        return f"sum_{index} ({shown})" if term.is_Add else f"sum_{index} {shown}"

    def _print_Mul(self, expr: sp.Mul) -> str:
        sums = [x for x in expr.args if type(x).__name__ in SUMS]
        if len(sums) != 1:
            return str(super()._print_Mul(expr))
        index = str(sums[0].args[1][0]) if isinstance(sums[0], sp.Sum) else "y"
        rest = sp.Mul(*(x for x in expr.args if x is not sums[0]))
        total = self._total(index, sums[0].args[0])
        if rest == -1:
            return f"-{total}"
        shown = self._print(rest)
        return f"({shown})*{total}" if rest.is_Add else f"{shown}*{total}"


def plain_name(name: str) -> str:
    """A quantity's name in print; that of class `y` says so.

    >>> plain_name("E[tanh(H_either)**2]")
    'E[tanh(H_y)**2]'
    """
    return name.replace("_either", "_y")


def typed_plainly(expr: sp.Basic) -> str:
    """Print `expr` as it is typed.

    >>> nu, s = sp.symbols("nu s")
    >>> typed_plainly(nu * s**2 + 1)
    'nu*s**2 + 1'
    """
    return str(Plain().doprint(expr))
