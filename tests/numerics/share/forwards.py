"""Shares by SciPy, one row after another: a judge that follows the flow forwards.

The flow is run forwards by DOP853 and the share is an adaptive quadrature over Y(0);
nothing is shared with the backward flows but the printed functions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.numerics.codegen.quadrature import barycentric, chebyshev
from dilaton.numerics.codegen.snapshot import Printed


def shares_forwards(
    flow: Printed,
    smooth: np.ndarray,
    below: np.ndarray,
    edges: np.ndarray,
    pieces: np.ndarray,
    gamma: np.ndarray,
    params: np.ndarray,
    *,
    rtol: float,
) -> np.ndarray:
    """Return share, error bound and separatrix, of shape (rows, 3)."""
    ends = [x[: count + 1] for x, count in zip(edges, pieces, strict=True)]
    rows = zip(smooth, below, ends, gamma, params, strict=True)
    return np.array([_share_row(flow, *row, rtol) for row in rows]).reshape(-1, 3)


def _share_row(
    flow: Printed,
    smooth: np.ndarray,
    below: np.ndarray,
    edges: np.ndarray,
    gamma: float,
    params: np.ndarray,
    rtol: float,
) -> tuple[float, float, float]:
    from scipy.integrate import quad
    from scipy.optimize import brentq
    from scipy.stats import norm

    land = _landing(flow, smooth, below, edges, params, rtol)

    def total(y: float) -> float:
        return y / gamma + land(y)

    root = np.sqrt(gamma)
    split = brentq(total, -40 * root, 40 * root, xtol=1e-11)
    spread = np.sqrt(max(1 - 1 / gamma, 0.0))
    if spread < 1e-9:
        return norm.cdf(-split / root), 10 * rtol + spread, split

    def density(y: float) -> float:
        return norm.pdf(y, scale=root) * norm.cdf(total(y) / spread)

    parts = [
        quad(density, low, high, epsabs=rtol, epsrel=rtol, limit=200)
        for low, high in ((-9 * root, split), (split, 9 * root))
    ]
    share, error = (sum(x) for x in zip(*parts, strict=True))
    return share, error + 10 * rtol, split


def _landing(
    flow: Printed,
    smooth: np.ndarray,
    below: np.ndarray,
    edges: np.ndarray,
    params: np.ndarray,
    rtol: float,
) -> Callable[[float], float]:
    """Return the map from Y(0) to F(1) over the free flow's factor."""
    from scipy.integrate import solve_ivp

    kernel, grid = make_kernel(flow, "numpy"), chebyshev(smooth.shape[1])

    def learned(piece: int, s: float) -> np.ndarray:
        if piece == len(edges) - 1:
            return below
        depth = np.log(edges[piece + 1] / edges[piece])
        z = np.clip([1 - 2 * np.log(s / edges[piece]) / depth], -1, 1)
        return (barycentric(z, grid) @ smooth[piece])[0]

    def rates(s: float, x: np.ndarray, piece: int) -> list[float]:
        given = learned(piece, s)
        pair = x[1] + np.array([0.0, 1.0])  # F is linear: the difference is its rate
        out, _ = kernel["rhs"](s, [x[0], pair], given, params, *kernel.rule)
        return [out[0, 0], out[1, 0], out[1, 1] - out[1, 0]]

    def land(y: float) -> float:
        x = np.array([y, 0.0, 0.0])
        tight = {"rtol": max(0.1 * rtol, 1e-12), "atol": 1e-12, "method": "DOP853"}
        for piece in reversed(range(len(edges))):
            span = (edges[piece + 1] if piece + 1 < len(edges) else 0.0, edges[piece])
            x = solve_ivp(rates, span, x, args=(piece,), **tight).y[:, -1]
        return float(x[1] * np.exp(-x[2]))

    return land
