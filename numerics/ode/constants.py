"""Hoist subexpressions of parameters alone out of the time loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import sympy as sp

from ...theory.symbols.gaussian import Average
from ...theory.symbols.system import Equation, System
from ..codegen.kernel import make_kernel


@lru_cache(maxsize=64)
def with_constants(
    system: System,
) -> tuple[System, Callable[[np.ndarray], np.ndarray]]:
    """Return a flow in new parameters `theta_0`, ..., and what makes their values.

    Every largest subexpression of the parameters becomes one; parameters that no
    equation uses are gone. Values, (thetas, batch), come from (batch, parameters).
    """
    found: dict[sp.Expr, sp.Symbol] = {}
    fixed = frozenset(system.parameters)
    rows = tuple(
        replace(eq, rhs=_collected(sp.sympify(eq.rhs), fixed, found))
        for eq in system.equations
    )
    flow = replace(
        system, equations=rows, parameters=tuple(found.values()), observables=()
    )
    if not found:
        return flow, lambda params: np.zeros((0, params.shape[0]))
    values = tuple(
        Equation(f"theta {i}", symbol, expr)
        for i, (expr, symbol) in enumerate(found.items())
    )
    name = f"constants of {system.name}"
    closed = System(name, "closed", None, values, system.parameters)
    kernel = make_kernel(closed, "numpy")

    def constants(params: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):  # a row out of range fails with its status
            return kernel["values"](0.0, [], [], list(params.T), *kernel.rule)[0]

    return flow, constants


def _collected(
    expr: sp.Expr, fixed: frozenset[sp.Symbol], found: dict[sp.Expr, sp.Symbol]
) -> sp.Expr:
    free = expr.free_symbols
    if not free or (expr.is_Symbol and expr not in fixed):
        return expr
    if free <= fixed and not expr.has(Average):
        return found.setdefault(expr, sp.Symbol(f"theta_{len(found)}", real=True))
    if isinstance(expr, Average):
        return Average(_collected(expr.integrand, fixed, found), *expr.variables)
    if isinstance(expr, sp.Add | sp.Mul):
        free_of = [a for a in expr.args if a.free_symbols and not a.has(Average)]
        mine = [a for a in free_of if a.free_symbols <= fixed]
        rest = [_collected(a, fixed, found) for a in expr.args if a not in mine]
        together = [_collected(expr.func(*mine), fixed, found)] if mine else []
        return expr.func(*together, *rest)
    return expr.func(*(_collected(a, fixed, found) for a in expr.args))
