r"""Nodes of training time: a mean over a density as a finite sum.

Windows of every scale lie on the axis of log-odds, $x = \log\frac{\tau}{1-\tau}$, where
a feature's is about as wide as its neighbours': panels of width one half resolve any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import sympy as sp
from scipy.integrate import cumulative_trapezoid
from scipy.special import expit, logit

from ...errors import ModelError
from ...theory.models.model import TAU, Interpolant
from ...theory.symbols.system import Equation, System
from ...theory.times.densities import Density
from ...theory.windows.dilation import T
from ..codegen.kernel import make_kernel
from ..codegen.quadrature import trapezoid
from .map_curves import bisected

LOW, HIGH, PANEL, ORDER = -40.0, 32.0, 1.0, 8
"""Log-odds covered (below 0 less ``log d``), width of a panel and points in it."""

MASS = 1e-6  # how far the whole of a density may be from 1: a test of its nodes

PILED = 6e-3
"""Share of the mass in the last panel, beyond any window, with which a density has no
finite mass: of 1/tau a hundredth lies there, of a power of -0.9 half as much."""

GRID = 20_001  # points of the log-odds between which a distribution is inverted

VALUE = sp.Symbol("value", real=True)


class TimeNodes(NamedTuple):
    """Times in (0, 1), increasing, and their weights, which sum to 1."""

    tau: np.ndarray
    weight: np.ndarray


def time_nodes(
    density: Density, point: Mapping[str, float], interpolant: Interpolant | None
) -> TimeNodes:
    """Return nodes and weights for means over a density at one point.

    `point` has ``d`` and the parameters of the density; the interpolant places the
    levels of a discrete one, and may be left out for others. Raises `ModelError` for a
    density that is negative or has no mass, or whose parameters are missing.
    """
    if interpolant is not None and density.levels:
        return _level_nodes(density, point, interpolant)
    edges = np.array([value_of(e, point) for e in density.edges])
    if density.pdf is None:
        x, w = _panels(np.array([0.0, 1.0]), point["d"])
        tau = curve(density.quantile, T)(expit(x), point)
        weight = w * expit(x) * expit(-x)
    else:
        x, w = _panels(_increasing(edges, density), point["d"])
        tau = expit(x)
        weight = w * tau * expit(-x) * curve(density.pdf, TAU)(tau, point)
        _check_ends(weight, (edges[0] == 0, edges[-1] == 1), density)
    return TimeNodes(tau, _normalised(weight, density))


def quantiles(
    density: Density, point: Mapping[str, float], interpolant: Interpolant
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that takes uniform numbers in (0, 1) to times.

    The distribution is summed on a fine grid of log-odds and inverted between points.
    """
    if density.levels:
        levels = _level_nodes(density, point, interpolant).tau
        return lambda u: levels[(np.asarray(u) * levels.size).astype(int)]
    if density.pdf is None:
        given = curve(density.quantile, T)
        return lambda u: given(np.asarray(u), point)
    edges = _increasing(np.array([value_of(e, point) for e in density.edges]), density)
    inner = np.clip(logit(edges), -700.0, 700.0)
    x = np.linspace(LOW - np.log(point["d"]), HIGH, GRID)
    x = np.unique(np.concatenate([x, inner, inner + 1e-9]))
    x = x[(x >= inner[0]) & (x <= inner[-1])]
    rho = curve(density.pdf, TAU)(expit(x), point) * expit(x) * expit(-x)
    mass = cumulative_trapezoid(rho, x, initial=0.0)
    rising = np.concatenate([[True], np.diff(mass) > 0])
    known, at = mass[rising] / mass[-1], x[rising]
    return lambda u: expit(np.interp(u, known, at))


def _level_nodes(
    density: Density, point: Mapping[str, float], interpolant: Interpolant
) -> TimeNodes:
    """Return the times at which beta/alpha has given values, by bisection."""
    ratio = curve(interpolant.beta / interpolant.alpha, TAU)
    wanted = np.array(density.levels)
    ends = LOW - np.log(point["d"]), HIGH
    odds = bisected(lambda x: ratio(expit(x), point), *ends)(wanted)
    return TimeNodes(expit(odds), np.full(wanted.size, 1 / wanted.size))


def _normalised(weight: np.ndarray, density: Density) -> np.ndarray:
    total = weight.sum()
    fault = (
        "is negative somewhere"
        if np.any(weight < 0)
        else "has no finite mass"
        if not 0 < total < np.inf
        else f"has mass {total:.6g}"
        if density.normalised and abs(total - 1) > MASS
        else ""
    )
    if fault:
        raise ModelError(
            f"A density must be positive with a mass of 1, but `{density}` {fault} on "
            "the times that are resolved. Check it at this d."
        )
    return weight / total


def _check_ends(
    weight: np.ndarray, reached: tuple[bool, bool], density: Density
) -> None:
    """Raise `ModelError` where the mass of a density piles up at 0 or 1."""
    parts = np.abs(weight[:ORDER]).sum(), np.abs(weight[-ORDER:]).sum()
    for part, end, on in zip(parts, (0, 1), reached, strict=True):
        if on and part > PILED * np.abs(weight).sum():
            raise ModelError(
                "A density must have a finite mass, but that of "
                f"`{density}` grows without end towards tau = {end}. Use a weaker "
                "power there, as in `formula:1/sqrt(tau)`."
            )


def _increasing(edges: np.ndarray, density: Density) -> np.ndarray:
    if np.any(np.diff(edges) <= 0) or edges[0] < 0 or edges[-1] > 1:
        raise ModelError(
            f"The edges of a density must increase in [0, 1], but those of `{density}` "
            f"are {', '.join(f'{e:.4g}' for e in edges)}. Raise d or lower kappa."
        )
    return edges


def _panels(edges: np.ndarray, d: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on the log-odds between the edges."""
    low, high = LOW - np.log(d), HIGH
    ends = np.clip(logit(edges), low, high)
    spans = [(a, b) for a, b in pairwise(ends) if b > a]
    knots = [np.linspace(a, b, 1 + int(np.ceil((b - a) / PANEL))) for a, b in spans]
    starts = np.concatenate([k[:-1] for k in knots])
    widths = np.concatenate([np.diff(k) for k in knots])
    x, w = gauss_legendre(ORDER)
    at = starts[:, None] + widths[:, None] * x
    return at.ravel(), (widths[:, None] * w).ravel()


@lru_cache(maxsize=8)
def gauss_legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(order)
    return (x + 1) / 2, w / 2


@lru_cache(maxsize=256)
def curve(expr: sp.Expr, variable: sp.Symbol):
    """Return a formula in `variable` and parameters as ``f(x, point)``."""
    names = sorted(expr.free_symbols - {variable}, key=str)
    system = System(
        name="times/curve",
        kind="closed",
        time=variable,
        equations=(Equation("R15", VALUE, expr, "exact"),),
        parameters=tuple(names),
    )
    kernel = make_kernel(system, "numpy")

    def value(x, point: Mapping[str, float]) -> np.ndarray:
        for name in (x for x in map(str, names) if x not in point):
            raise ModelError(
                f"A density or weight may use {', '.join(point)}, but uses `{name}`, "
                "which has no value. Give it; there is no default."
            )
        given = [point[str(name)] for name in names]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            (found,), _ = kernel["values"](x, [], [], given, *trapezoid())
        return np.where(np.isfinite(found), found, 0.0)

    return value


def value_of(expr: sp.Expr, point: Mapping[str, float]) -> float:
    """Return the value of a formula in parameters."""
    return float(curve(sp.sympify(expr), TAU)(0.5, point))
