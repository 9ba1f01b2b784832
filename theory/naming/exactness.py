r"""Whether two expressions are the same, by their values at random points.

An average $\mathbb E f(g)$ is linear in $f$: it is replaced by $\sum_i f(\pm x_i)$ at
fixed points, which does not see the sign of $g$ and sees everything else. Two formulas
that agree at random points to eleven digits are taken for equal.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from ..symbols.gaussian import Average

POINTS = ((0.37, 0.81), (1.13, -0.59), (0.71, 1.43))


def random_point(symbols: Iterable[sp.Symbol], seed: int) -> dict[sp.Symbol, float]:
    """Return a value for each symbol, the same for the same name and seed."""
    point = {}
    for x in symbols:
        rng = random.Random(f"{seed} {x}")
        point[x] = rng.uniform(0.15, 0.45) if str(x)[0] == "p" else rng.uniform(1.1, 2)
        if str(x).startswith("n") and str(x).endswith("plus"):
            point[x] = rng.uniform(0.3, 0.9)  # below n
        if str(x) in ("s", "tau"):
            point[x] = rng.uniform(0.2, 0.8)
        if str(x).startswith(("omega", "r", "q", "m")) and str(x) != "m":
            point[x] = rng.uniform(0.5, 0.9)
    return point


class _Values(dict[sp.Basic, Any]):
    """Numbers of expressions, each found once; arrays over `POINTS` in an average."""

    def __init__(self, known: Mapping[sp.Basic, Any]) -> None:
        super().__init__(known)
        self._known = dict(known)
        self._inside: dict[tuple[sp.Symbol, ...], _Values] = {}

    def __missing__(self, node: sp.Basic) -> Any:
        self[node] = found = self._found(node)
        return found

    def _found(self, node: sp.Basic) -> Any:
        if isinstance(node, Average):
            inside = self._integrands(node.variables)[node.integrand]
            return complex(np.broadcast_to(inside, 2 * len(POINTS)).sum())
        if not node.args:
            return complex(node)
        values = [self[x] for x in node.args]
        if node.is_Add:
            return sum(values)
        if node.is_Mul:
            return math.prod(values)
        if node.is_Pow:
            return values[0] ** values[1]
        return _function(node.func, len(values))(*values)

    def _integrands(self, variables: tuple[sp.Symbol, ...]) -> _Values:
        if variables not in self._inside:
            at = np.array([*POINTS, *(-np.array(POINTS))], complex).T
            known = self._known | dict(zip(variables, at, strict=False))
            self._inside[variables] = _Values(known)
        return self._inside[variables]


@lru_cache(maxsize=64)
def _function(kind: type[sp.Function], arguments: int) -> Callable[..., Any]:
    names = sp.symbols(f"x:{arguments}")
    return sp.lambdify(names, kind(*names), modules=["scipy", "numpy"])


def value_at(expr: sp.Expr, point: Mapping[sp.Symbol, float]) -> complex:
    r"""Return the number `expr` is at `point`, its averages replaced by sums."""
    return complex(_Values({x: complex(value) for x, value in point.items()})[expr])


def fingerprint(expr: sp.Expr) -> complex:
    """Return the value at a random point, rounded: alike for equal expressions."""
    value = value_at(expr, random_point(expr.atoms(sp.Symbol), 0))
    return complex(f"{value.real:.9e}{value.imag:+.9e}j")
