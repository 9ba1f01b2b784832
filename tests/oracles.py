"""Judges that several tests share, written with NumPy and SciPy alone."""

from functools import lru_cache

import numpy as np
import pytest
import sympy as sp
from dilaton.theory.naming.exactness import random_point, value_at
from dilaton.theory.symbols.gaussian import Average, to_averages
from scipy.optimize import minimize
from scipy.special import erf, ndtr
from scipy.stats import norm

# trapezoidal rules: exact to 1e-13 for units, in pairs of fields up to four wide
REACH, FINE, COARSE = 10.0, 4001, 251


def normal_rule(points=FINE):
    """Nodes and weights of the trapezoidal rule for a standard normal."""
    g = np.linspace(-REACH, REACH, points)
    return g, np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi) * (g[1] - g[0])


def mean(f, m=0.0, var=1.0):
    """E f(h) over h ~ N(m, var)."""
    g, weights = normal_rule()
    return float(np.sum(weights * f(m + np.sqrt(var) * g)))


def mean2(f, m, cov):
    """E f(h1, h2) over a Gaussian pair of the given means and covariance matrix."""
    steep = int(np.ceil(np.sqrt(np.max(cov)) / 4))  # steps are 1/3 of a field at most
    g, weights = normal_rule((COARSE - 1) * steep + 1)
    low = np.linalg.cholesky(np.asarray(cov, float))
    h1 = m[0] + low[0, 0] * g[:, None]
    h2 = m[1] + low[1, 0] * g[:, None] + low[1, 1] * g[None, :]
    return float(weights @ f(h1, h2) @ weights)


def mixture(nu, k, p):
    """The law of the interpolant in the window, p N(k, 1) + (1-p) N(-k, 1)."""
    return p * ndtr(nu - k) + (1 - p) * ndtr(nu + k)


def mixture_share(k, p):
    """The share of p N(k, 1) + (1-p) N(-k, 1) above 0."""
    return p * ndtr(k) + (1 - p) * ndtr(-k)


TRAPEZOID = np.linspace(-9, 9, 601), norm.pdf(np.linspace(-9, 9, 601)) * 0.03


def two_mode_loss(omega, b, s, kappa, n, n_plus, sigma, ridge_u, ridge_w):
    """The objective per sample of the two modes, with a fine rule."""
    n_minus, x = n - n_plus, kappa * s
    zeta_plus, zeta_minus = sigma * omega / (2 * n_plus), -sigma * omega / (2 * n_minus)
    r = omega**2 + n_plus * zeta_plus**2 + n_minus * zeta_minus**2
    g, w = TRAPEZOID
    plus = np.tanh(np.sqrt(r) * g + x * (omega + sigma * zeta_plus) + b)
    minus = np.tanh(np.sqrt(r) * g + x * (-omega + sigma * zeta_minus) + b)
    e_plus, e_minus = w @ plus, w @ minus
    below = ridge_u + n_plus * (w @ plus**2) + n_minus * (w @ minus**2)
    top = (n_plus * e_plus - n_minus * e_minus) ** 2
    top += sigma**2 * (n_plus * e_plus**2 + n_minus * e_minus**2)
    return (n * (1 + sigma**2) - top / below + ridge_w * r) / n


def two_mode_minimum(s, values, start):
    """The minimum that BFGS finds from `start`, with omega >= 0, and its height."""
    found = minimize(
        lambda x: two_mode_loss(*x, s, **values),
        start,
        method="BFGS",
        options={"gtol": 1e-9},
    )
    return found.x * (1 if found.x[0] >= 0 else -1), found.fun


def measured(cells, plan, phase, name, s, times):
    """Values (dims, seeds) of a quantity at a time, from the cells of a study."""
    key, j = f"{phase}/{name}", times.index(s)
    if key not in cells[plan.dims[0], 0]:  # generated, once
        key, j = f"sample/{name}", 0
    seeds = range(plan.seeds)
    return np.array([[cells[d, k][key][j] for k in seeds] for d in plan.dims])


def check_row(row, x, limit):
    """What a study's table says of the values `x` of its seeds, by NumPy."""
    close = {"rel": 1e-9, "abs": 1e-15}  # means of at most eight
    stderr = np.std(x, ddof=1) / len(x) ** 0.5
    assert row["mean"] == pytest.approx(np.mean(x), **close)
    assert row["limit"] == pytest.approx(limit, **close)
    assert row["stderr"] == pytest.approx(stderr, **close)
    assert row["variance"] == pytest.approx(stderr**2 * len(x), **close)
    if row["z"] is not None:
        assert row["z"] == pytest.approx((np.mean(x) - limit) / stderr, **close)


def value(expr, **point):
    """Evaluate an expression with averages at a point given by names."""
    expr = _averaged(sp.sympify(expr))
    numbers = {x: sp.Float(point[str(x)]) for x in expr.free_symbols}
    nodes = {node: _average(node, numbers) for node in expr.atoms(Average)}
    return float(expr.xreplace(nodes | numbers))


_averaged = lru_cache(512)(to_averages)


@lru_cache(4096)
def _function(node):
    """An integrand as a function of its variables and its symbols, and these."""
    symbols = tuple(sorted(node.free_symbols, key=str))
    given = (*node.variables, *symbols)
    return sp.lambdify(given, node.integrand, [{"erf": erf}, "numpy"]), symbols


def _average(node, numbers):
    count = len(node.variables)
    g, weights = normal_rule(FINE if count == 1 else COARSE)
    f, symbols = _function(node)
    grid = (g,) if count == 1 else (g[:, None], g[None, :])
    values = f(*grid, *(float(numbers[x]) for x in symbols))
    values = np.broadcast_to(values, (len(g),) * count)
    total = values @ weights if count == 1 else weights @ values @ weights
    return sp.Float(float(total))


DIGITS = 1e-10  # relative; rounding explains it, and a wrong term is far above


def equal_values(left, right, points=2):
    """Whether two expressions have the same values at random points."""
    left, right = map(sp.sympify, (left, right))
    if left == right:
        return True
    symbols = left.free_symbols | right.free_symbols
    symbols |= set().union(*(n.atoms(sp.Symbol) for n in (left, right)))
    for seed in range(points):
        point = random_point(symbols, seed)
        a, b = value_at(left, point), value_at(right, point)
        if not abs(a - b) <= DIGITS * (1 + abs(a) + abs(b)):
            return False
    return True


def is_zero(expr):
    """Tell whether an expression vanishes once averages are split and collected."""
    flat = to_averages(sp.sympify(expr))
    flat = flat.replace(
        lambda e: isinstance(e, Average),
        lambda e: Average(sp.expand(_canonical(e.integrand)), *e.variables),
    )
    return sp.simplify(sp.expand(flat)) == 0


def _canonical(integrand):
    return integrand.replace(
        lambda e: e.func in (sp.tanh, sp.erf),
        lambda e: e.func(sp.expand(sp.powdenest(e.args[0], force=True))),
    )
