r"""Whether two expressions are the same, by their values at random points.

An average $\mathbb E f(g)$ is linear in $f$: it is replaced by $\sum_i f(\pm x_i)$ at
fixed points, which does not see the sign of $g$ and sees everything else. Two formulas
that agree at random points to eleven digits are taken for equal.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import sympy as sp

from ..symbols.gaussian import Average

POINTS = ((0.37, 0.81), (1.13, -0.59), (0.71, 1.43))


def sampled(node: Average) -> sp.Expr:
    """Return a linear, even functional of the integrand in place of its average."""
    found = []
    for point in POINTS:
        for sign in (1, -1):
            values = (sign * x for x in point)
            at = dict(zip(node.variables, values, strict=False))
            found.append(node.integrand.xreplace(at))
    return sp.Add(*found)


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


def value_at(expr: sp.Expr, point: Mapping[sp.Symbol, float]) -> complex:
    """Return the number `expr` is at `point`, averages replaced by `sampled`."""
    nodes = expr.atoms(Average)
    plain = expr.xreplace({node: sampled(node) for node in nodes})
    names = sorted(plain.free_symbols, key=str)
    function = sp.lambdify(names, plain, modules=["scipy", "numpy"], cse=True)
    return complex(function(*(complex(point[x]) for x in names)))


def fingerprint(expr: sp.Expr) -> complex:
    """Return the value at a random point, rounded: alike for equal expressions."""
    value = value_at(expr, random_point(expr.atoms(sp.Symbol), 0))
    return complex(f"{value.real:.9e}{value.imag:+.9e}j")
