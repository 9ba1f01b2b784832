"""Minima of stationary systems for whole batches, continued in the time of a phase.

The learned parameters of n samples minimise an objective that changes with s. Its
basin is wide at s = 1, so the search starts there, from several guesses, and follows
the lowest minimum downwards. At small s a closed branch competes: w = 0 with every
unit saturated. Objectives decide, and each point says on which branch it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError, did_you_mean
from ..codegen.chebyshev import chebyshev
from ..codegen.kernel import numba_module
from ..codegen.quadrature import START, trapezoid
from ..codegen.snapshot import Printed, printed
from ..codegen.threads import share_out
from .result import BRANCHES, FLOOR, LEVELS, Minima, batch, guesses

if TYPE_CHECKING:
    from ...theory.symbols.system import System

NODES = 41
"""Chebyshev points in log s on which the minimum is known between its end points."""

CLOSED = {"saturated": 1, "silent": 2}
"""Closed branches by name: |b| infinite, or w = 0 where there is no bias."""

LEAST = 4
"""Rows that are worth a piece of their own for a thread."""


def minimise(
    system: System | Printed,
    s: Sequence[float] | np.ndarray,
    params: Mapping[str, Any],
    *,
    tol: float = 1e-12,
    backend: str = "numba",
    points: int = NODES,
) -> Minima:
    """Minimise a stationary system at each time `s` for a batch of parameters.

    Parameters
    ----------
    system
        A `System` of kind ``stationary``.
    s
        Times in [0, 1], in any order.
    params
        Every parameter of the system by name, each of shape () or (rows,).
    tol
        Largest bound on the error of the averages, unless the finest rule exceeds it.
    backend
        ``numba``, ``jax``, or ``scipy`` for the slow reference.
    points
        Chebyshev points of the continuation.

    Raises
    ------
    ModelError
        If the system is not stationary, or a parameter is missing.
    """
    if system.kind != "stationary":
        raise ModelError(
            "`minimise` needs a stationary system, but "
            f"`{system.name}` is {system.kind}. Use `dilaton.solve` for it."
        )
    held = printed(system)
    columns = batch(held, params)
    times = np.atleast_1d(np.asarray(s, dtype=float))
    found = _follower(backend)(held, times, columns, tol, points)
    return _minima(held, found)


def _follower(backend: str) -> Callable[..., tuple[np.ndarray, ...]]:
    if backend == "jax":
        from .newton_jax import follow_jax

        return follow_jax
    if backend == "scipy":
        from .newton_scipy import follow_scipy

        return follow_scipy
    if backend != "numba":
        raise ModelError(
            f"`backend` must be one of numba, jax, scipy, but is `{backend}`"
            + did_you_mean(backend, ("numba", "jax", "scipy"))
        )
    return _follow


@lru_cache(maxsize=4)
def rules(levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes and weights of nested rules, one after another, and their starts."""
    found = [trapezoid(START * 2**k) for k in range(levels)]
    starts = np.cumsum([0, *(rule.nodes.size for rule in found)])
    nodes = np.concatenate([rule.nodes for rule in found])
    return nodes, np.concatenate([rule.weights for rule in found]), starts


@lru_cache(maxsize=16)
def _module(system: Printed) -> Any:
    from . import newton_numba as saddle_loops

    return numba_module(
        system, (saddle_loops,), only=("newton", "branch", "observables")
    )[1]


def _follow(
    system: Printed, times: np.ndarray, columns: np.ndarray, tol: float, points: int
) -> tuple[np.ndarray, ...]:
    rows, names = len(columns), len(system.names)
    values = np.full((rows, times.size, names), np.nan)
    facts = np.full((rows, times.size, 4), np.nan)
    codes = np.full((rows, times.size), BRANCHES.index("lost"))
    smooth = np.full((rows, points, names), np.nan)
    below = np.full((rows, names), np.nan)
    summary = np.full((rows, 4), np.nan)
    closed = CLOSED[system.branches[0]] if system.branches else 0
    results = (values, facts, codes, smooth, below, summary)
    common = (times, chebyshev(points), FLOOR, closed, guesses(system))
    follow = _module(system).follow

    def work(first: int, last: int) -> None:
        v, f, c, sm, b, su = (x[first:last] for x in results)
        follow(*common, columns[first:last], rules(), tol, (v, f, c, sm, b, su))

    share_out(rows, work, LEAST)
    return results


def _minima(system: Printed, found: tuple[np.ndarray, ...]) -> Minima:
    values, facts, codes, smooth, below, summary = found
    second = np.where(summary[:, 2] >= 1e300, np.inf, summary[:, 2])
    interior = codes == BRANCHES.index("interior")
    return Minima(
        names=system.names,
        values=values,
        objective=facts[..., 0],
        residual=facts[..., 1],
        eigenvalue=np.where(interior, facts[..., 2], np.nan),
        quadrature=facts[..., 3],
        branch=codes,
        switch=summary[:, 0],
        minima=summary[:, 1].astype(int),
        runner_up=second,
        status=np.array(["ok", "saturated", "lost"])[summary[:, 3].astype(int)],
        grid=chebyshev(smooth.shape[1]),
        smooth=smooth,
        below=below,
    )
