"""Averages over Gaussian fields: exact where a rule is known, else a node.

`Average(expr, g)` is E[expr] over independent standard normals `g`. The engine
keeps it unevaluated when no closed form exists, and `numerics` turns the node
into quadrature with a reported error.
"""

from __future__ import annotations

import sympy as sp

G = sp.Symbol("g", real=True)
"""The standard normal variable that one-dimensional averages integrate over."""


class Average(sp.Expr):
    r"""The Gaussian average $\mathbb{E}_g\,[f(g)]$, $g \sim N(0, I)$, unevaluated.

    Constants leave the average and sums are split, so equal averages are equal
    expressions; differentiation goes under the integral sign.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, integrand: sp.Expr, *variables: sp.Symbol) -> sp.Expr:
        variables = variables or (G,)
        integrand = sp.sympify(integrand)
        if not integrand.has(*variables):
            return integrand
        if isinstance(integrand, sp.Add):
            return sp.Add(*(cls(term, *variables) for term in integrand.args))
        constant, rest = integrand.as_independent(*variables, as_Add=False)
        node = sp.Expr.__new__(cls, rest, *variables)
        return constant * node

    @property
    def integrand(self) -> sp.Expr:
        return self.args[0]

    @property
    def variables(self) -> tuple[sp.Symbol, ...]:
        return self.args[1:]

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return self.integrand.free_symbols - set(self.variables)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        if symbol in self.variables:
            return sp.S.Zero
        return Average(sp.diff(self.integrand, symbol), *self.variables)

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        if old in self.variables:
            return self
        return Average(self.integrand._subs(old, new), *self.variables)

    def _latex(self, printer) -> str:
        return rf"\mathbb{{E}}_g\left[{printer._print(self.integrand)}\right]"

    def _sympystr(self, printer) -> str:
        return f"E[{printer._print(self.integrand)}]"
