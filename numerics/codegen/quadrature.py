r"""Gaussian averages by the trapezoidal rule, with an error estimate for free.

For an integrand that is analytic in a strip around the real axis, as sigmoids of
a Gaussian field are, the rule

$$
\mathbb{E}\,f(g) \approx h \sum_k \phi(x_k) f(x_k), \qquad x_k = -L + k h,
$$

converges exponentially in $1/h$ (Trefethen and Weideman, SIAM Review 56, 2014).
Sums over every 16th node tell its error, so that an estimate costs nothing. For
$\tanh(a g + b)$ the nodes needed grow linearly in the steepness $a$, where
Gauss-Hermite needs $a^2$ of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...errors import SolveError

HALF_WIDTH = 9.0  # the rule spans [-9, 9]: a standard normal leaves 2e-19 outside
BLOCK = 16  # rules are padded (with weight zero) to a multiple of this many nodes
START = 62  # intervals of the coarsest rule: 63 nodes and one of padding
TRUST = 100.0  # how many times its estimate the error of a rule may be

_ANGLES = 2 * np.pi * np.outer(np.arange(BLOCK), (4, 5, 7, 8)) / BLOCK
WAVES = np.hstack([np.cos(_ANGLES), np.sin(_ANGLES)])
"""Frequencies 4, 5, 7 and 8 of sixteen sums, (16, 8): cosines, then sines."""

LIMIT = START * 2**9  # intervals of the finest rule that is tried, 31 744


class Rule(NamedTuple):
    """Nodes and weights of the trapezoidal rule; every second is the half rule."""

    nodes: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=32)
def trapezoid(intervals: int = START, half_width: float = HALF_WIDTH) -> Rule:
    """Return the rule for standard normal averages with an even number of intervals.

    Weights contain the normal density. Both arrays are read-only and padded with
    zero weights to a multiple of `BLOCK`, so that compiled loops run in blocks.
    """
    if intervals < 2 or intervals % 2:
        raise ValueError(
            f"`intervals` must be even and at least 2, but is {intervals}."
        )
    step = 2 * half_width / intervals
    x = np.linspace(-half_width, half_width, intervals + 1)
    w = step * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    pad = -x.size % BLOCK
    nodes, weights = np.pad(x, (0, pad)), np.pad(w, (0, pad))
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return Rule(nodes, weights)


def estimate(parts: Any, xp: Any = np) -> Any:
    r"""Estimate the error of a rule from the sums over every 16th node, (..., 16).

    Their discrete Fourier transform shows how the rule sees the integrand's
    frequencies: with $A_k$ the modulus of the k-th, the error of the rule is
    $A_{16}$. Moduli fall geometrically, or faster, whatever the phase of the nodes;
    the slower of two falls continues them from $A = \max(A_7, A_8)$,

    $$ A_{16} \approx A\,\max\big[(A/A_4)^{9/3}, (A/A_5)^{9/2}\big] . $$

    It is taken `TRUST` times, but not above $A$. For sigmoids, their squares and
    slopes, with steepness up to 20 and steps in the far tails, a rule accepted at a
    tolerance is within a fiftieth of it; only a second, much steeper step where
    hardly any weight is can hide. `xp` is NumPy or its like.
    """
    waves = (parts @ WAVES) ** 2
    a4, a5, a7, a8 = (xp.sqrt(waves[..., i] + waves[..., i + 4]) for i in range(4))
    last = xp.maximum(a7, a8)
    slow, fast = (xp.minimum(1.0, last / xp.maximum(a, 1e-150)) for a in (a4, a5))
    return last * xp.minimum(1.0, TRUST * xp.maximum(slow**3, fast**4.5))


def folded(terms: Any) -> Any:
    """Sum the terms of a rule over every 16th node: (..., nodes) to (..., 16)."""
    return terms.reshape(*terms.shape[:-1], -1, BLOCK).sum(-2)


def error_bound(doubt: np.ndarray | float) -> np.ndarray:
    """Return the bound that an `estimate` gives: rounding adds 1e-15."""
    return np.abs(doubt) + 1e-15


def average(
    f: Callable[..., np.ndarray],
    *,
    dim: int = 1,
    tol: float = 1e-13,
    start: int = START,
    limit: int = LIMIT,
) -> tuple[np.ndarray, float]:
    r"""Return $\mathbb{E}\,f(g_1, \dots, g_{dim})$ and a bound on its error.

    Parameters
    ----------
    f
        Elementwise function of `dim` arrays of nodes (1 or 2); leading axes of
        its result are kept.
    tol
        Largest acceptable bound; the rule is doubled until it is met.
    start, limit
        Intervals of the first and of the finest rule.

    Raises
    ------
    SolveError
        When the finest rule does not meet `tol`; `result` is (value, bound).
    """
    while True:
        value, bound = _apply(f, dim, trapezoid(start))
        if bound <= tol:
            return value, bound
        if 2 * start > limit:
            raise SolveError(
                f"A Gaussian average must be known within {tol:.3g}, but {start} "
                f"intervals leave {bound:.3g}. The integrand is too steep or not "
                "smooth: raise `tol` or `limit`, or treat the kink exactly.",
                (value, bound),
            )
        start *= 2


def _apply(f: Callable[..., np.ndarray], dim: int, rule: Rule):
    x, w = rule
    if dim == 1:
        sides = [np.asarray(w * f(x))]
    elif dim == 2:
        terms = np.asarray(w[:, None] * w * f(x[:, None], x[None, :]))
        sides = [terms.sum(-1), terms.sum(-2)]
    else:
        raise ValueError(f"`dim` must be 1 or 2, but is {dim}. Reduce the average.")
    doubt = max(np.max(estimate(folded(t)), initial=0.0) for t in sides)
    return sides[0].sum(-1), float(error_bound(doubt))


# ------------------------------------------- interpolation at Chebyshev points


def chebyshev(points: int) -> np.ndarray:
    """Return the Chebyshev points of the second kind, from 1 to -1."""
    return np.cos(np.pi * np.arange(points) / (points - 1))


def barycentric(z: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the matrix that interpolates from Chebyshev points `grid` to `z`."""
    weights = np.where(np.arange(grid.size) % 2, -1.0, 1.0)
    weights[[0, -1]] /= 2
    gap = z[:, None] - grid
    hit = np.abs(gap) < 1e-15
    terms = weights / np.where(hit, 1.0, gap)
    matrix = terms / terms.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit.astype(float), matrix)
