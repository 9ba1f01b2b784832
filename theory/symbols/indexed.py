r"""Families of quantities by index, sums over them, and two nodes: softmax and average.

Written with indices, the equations of K modes are as long as those of two. Nothing is
ever written out: numbers are printed as array code.
"""

from __future__ import annotations

import sympy as sp
from sympy.printing.printer import Printer

from .notation import symbol

MODE, OTHER, SOURCE = sp.symbols("k l i", integer=True)
"""Indices of modes: one, another that is summed over, the one a sample comes from."""
DIRECTION, ACROSS = sp.symbols("j j_1", integer=True)
"""Indices of directions: one, and another where two are needed."""


def family(name: str) -> sp.IndexedBase:
    """Return the family of quantities called `name` in the notation table."""
    return sp.IndexedBase(symbol(name))


def over_modes(expr: sp.Expr, index: sp.Symbol = MODE) -> sp.Expr:
    """Sum `expr` over the modes of a branch."""
    return sp.Sum(expr, (index, 1, symbol("K")))


def over_directions(expr: sp.Expr, index: sp.Symbol = DIRECTION) -> sp.Expr:
    """Sum `expr` over the directions of a window."""
    return sp.Sum(expr, (index, 1, symbol("R")))


class Softmax(sp.Expr):
    r"""$e^{\xi_k}/\sum_l e^{\xi_l}$ of a family of fields: a posterior. (G8)

    Arguments: the field in the index, and the index.

    Examples
    --------
    >>> xi = family("xi")
    >>> Softmax(xi[MODE], MODE)
    exp(xi[k])/Sum(exp(xi[l]), (l, 1, K))
    >>> Softmax(xi[MODE], MODE).written_out(2).subs(MODE, 1)
    exp(xi[1])/(exp(xi[1]) + exp(xi[2]))
    """

    is_commutative = True
    is_positive = True

    def __new__(cls, field: sp.Expr, index: sp.Symbol) -> sp.Expr:
        """Return the node."""
        return sp.Expr.__new__(cls, sp.sympify(field), index)

    def written_out(self, size: int) -> sp.Expr:
        """Return the ratio of exponentials for so many modes."""
        field, index = self.args
        total = sum(sp.exp(field.subs(index, i)) for i in range(1, size + 1))
        return sp.exp(field) / total

    def as_ratio(self) -> sp.Expr:
        """Return the ratio with its sum in indexed form."""
        field, index = self.args
        return sp.exp(field) / over_modes(sp.exp(field.subs(index, OTHER)), OTHER)

    def _latex(self, printer: Printer) -> str:
        return printer._print(self.as_ratio())

    def _sympystr(self, printer: Printer) -> str:
        return printer._print(self.as_ratio())


class NormalAverage(sp.Expr):
    r"""$\mathbb{E}\,f(g_1, \dots, g_R)$ over a family of standard normals. (G9)

    Arguments: the integrand, and the family.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, integrand: sp.Expr, normals: sp.IndexedBase) -> sp.Expr:
        """Return the node."""
        return sp.Expr.__new__(cls, sp.sympify(integrand), normals)

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """The parameters; the normals are bound."""
        return self.args[0].free_symbols - self.args[1].free_symbols

    def _latex(self, printer: Printer) -> str:
        name, body = printer._print(self.args[1]), printer._print(self.args[0])
        return rf"\mathbb{{E}}_{{{name}}}\left[{body}\right]"

    def _sympystr(self, printer: Printer) -> str:
        return f"E[{printer._print(self.args[0])}]"
