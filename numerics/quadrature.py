r"""Gaussian averages by the trapezoidal rule, with an error estimate for free.

For an integrand that is analytic in a strip around the real axis, as sigmoids of
a Gaussian field are, the rule

$$
\mathbb{E}\,f(g) \approx h \sum_k \phi(x_k) f(x_k), \qquad x_k = -L + k h,
$$

converges exponentially in $1/h$ (Trefethen and Weideman, SIAM Review 56, 2014).
It is nested: every second node is the rule with step $2h$, so the difference of
the two costs nothing. For $\tanh(a g + b)$ the nodes needed grow linearly in the
steepness $a$, where Gauss-Hermite needs $a^2$ of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..errors import SolveError

HALF_WIDTH = 9.0
"""The rule spans [-9, 9]: a standard normal leaves 2e-19 outside."""

BLOCK = 16
"""Rules are padded (with weight zero) to a multiple of this many nodes."""

START = 62
"""Intervals of the coarsest rule: 63 nodes and one of padding."""

LIMIT = START * 2**9
"""Intervals of the finest rule that is tried, 31 744."""


class Rule(NamedTuple):
    """Nodes and weights of the trapezoidal rule; even ones form the half rule."""

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
            f"`intervals` must be even and at least 2, but is {intervals}. "
            "Every second node has to be a rule of its own."
        )
    step = 2 * half_width / intervals
    x = np.linspace(-half_width, half_width, intervals + 1)
    w = step * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    pad = -x.size % BLOCK
    nodes, weights = np.pad(x, (0, pad)), np.pad(w, (0, pad))
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return Rule(nodes, weights)


def error_bound(difference: np.ndarray | float) -> np.ndarray:
    r"""Bound the error of the full rule by its `difference` from the half rule.

    The error of step $h$ is $C e^{-c/h}$, so that of step $2h$ is about its
    square root: with $C \ge 1/100$ the full rule is off by at most
    $100\,\mathrm{difference}^2$, and never by more than the difference itself.
    Rounding adds 1e-15 of a quantity of order one.
    """
    d = np.abs(difference)
    return np.minimum(d, 100 * d * d) + 1e-15


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
        terms = np.asarray(w * f(x))
        value, half = terms.sum(-1), 2 * terms[..., ::2].sum(-1)
    elif dim == 2:
        terms = np.asarray(w[:, None] * w * f(x[:, None], x[None, :]))
        value, half = terms.sum((-1, -2)), 4 * terms[..., ::2, ::2].sum((-1, -2))
    else:
        raise ValueError(f"`dim` must be 1 or 2, but is {dim}. Reduce the average.")
    bound = error_bound(np.max(np.abs(value - half), initial=0.0))
    return value, float(bound)
