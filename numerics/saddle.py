"""Minima of stationary systems for whole batches, continued in the time of a phase.

The learned parameters of n samples minimise an objective that changes with s. Its
basin is wide at s = 1, so the search starts there, from several guesses, and follows
the lowest minimum downwards. At small s a closed branch competes: w = 0 with every
unit saturated. Objectives decide, and each point says on which branch it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError, SolveError, did_you_mean
from .kernel import Kernel, make_kernel, numba_module
from .printed import Printed, printed
from .quadrature import START, trapezoid
from .threads import share_out

if TYPE_CHECKING:
    from ..theory.system import System

FLOOR = 1e-5
"""The continuation goes down to this s where no branch takes over before."""

NODES = 41
"""Chebyshev points in log s on which the minimum is known between its end points."""

CLOSED = {"saturated": 1, "silent": 2}
"""Closed branches by name: |b| infinite, or w = 0 where there is no bias."""

LEVELS = 7
"""Quadrature rules of 62 to 3968 intervals; a row takes the first that is fine."""

BRANCHES = ("interior", "saturated", "lost")
"""What a point can be: a minimum, the closed branch, or not found."""

LEAST = 4
"""Rows that are worth a piece of their own for a thread."""

GUESSES = {"omega": (0.2, 1.0), "b": (-1.5, 0.0, 1.5)}
"""Starting values at s = 1; unknowns that are not named start at 0."""


@dataclass(frozen=True)
class Minima:
    r"""The minima of a batch of rows, at given times and as functions of time.

    Attributes
    ----------
    names
        The unknowns, then the observables.
    values
        Shape (rows, times, names). On the closed branch `b` is infinite, and `omega`
        is 0 unless `w` is tied to `u`.
    objective, residual, eigenvalue, quadrature
        Shape (rows, times): the objective; the largest component of the gradient;
        the smallest eigenvalue of the Hessian (positive: a minimum; nan on the
        closed branch); the bound on the error of the averages.
    branch
        Shape (rows, times), indices into `BRANCHES`.
    switch
        Shape (rows,): the s below which the closed branch has the lower objective,
        1 if it has it everywhere, `FLOOR` if nowhere above.
    minima, runner_up
        Shape (rows,): how many minima the search at s = 1 found, and the second
        lowest objective (infinite if there is none).
    status
        Shape (rows,): ``"ok"``, ``"saturated"`` (the closed branch everywhere) or
        ``"lost"``.
    grid, smooth
        Chebyshev points z, from 1 to -1, and the values there, of shape (rows,
        points, names): $s = \exp(\frac{1 - z}2 \log s_{\rm switch})$.
    below
        Shape (rows, names): what holds below the switch, that is the closed branch
        at s = 1 (untied, of its values only `c_hat` depends on s), or the minimum at
        `FLOOR`.
    """

    names: tuple[str, ...]
    values: np.ndarray
    objective: np.ndarray
    residual: np.ndarray
    eigenvalue: np.ndarray
    quadrature: np.ndarray
    branch: np.ndarray
    switch: np.ndarray
    minima: np.ndarray
    runner_up: np.ndarray
    status: np.ndarray
    grid: np.ndarray
    smooth: np.ndarray
    below: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an unknown or observable, of shape (rows, times)."""
        return self.values[:, :, self.names.index(name)]


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
        from .saddle_jax import follow_jax

        return follow_jax
    if backend == "scipy":
        from .saddle_reference import follow_scipy

        return follow_scipy
    if backend != "numba":
        raise ModelError(
            f"`backend` must be one of numba, jax, scipy, but is `{backend}`"
            + did_you_mean(backend, ("numba", "jax", "scipy"))
        )
    return _follow


def alone(found: Minima) -> Minima:
    """Return the result of a single row, or raise `SolveError` if it was lost."""
    if found.status[0] == "lost":
        raise SolveError(
            "The learned parameters must be followed from s = 1 down to where they "
            f"saturate, but the minimum was lost below s = {_lost_at(found):.3g}. "
            "Change the ridges slightly, or report the parameters.",
            found,
        )
    return found


def _lost_at(found: Minima) -> float:
    known = np.isfinite(found.smooth[0]).all(axis=-1)
    depth = np.log(found.switch[0])
    z = found.grid[known][-1] if known.any() else 1.0
    return float(np.exp(0.5 * (1 - z) * depth))


def batch(system: System | Printed, params: Mapping[str, Any]) -> np.ndarray:
    """Return the parameters in the order of the system, of shape (rows, parameters)."""
    names = printed(system).parameters
    for name in names:
        if name not in params:
            raise ModelError(
                f"`{system.name}` needs the parameters {', '.join(names)}, but "
                f"`{name}` is missing. There are no default values."
            )
    columns = [np.atleast_1d(np.asarray(params[name], float)) for name in names]
    return np.ascontiguousarray(np.stack(np.broadcast_arrays(*columns), axis=-1))


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


def guesses(system: System | Printed) -> np.ndarray:
    """Return the starting points at s = 1, of shape (starts, unknowns)."""
    ranges = [GUESSES.get(x, (0.0,)) for x in printed(system).unknowns]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(ranges))


@lru_cache(maxsize=4)
def rules(levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes and weights of nested rules, one after another, and their starts."""
    found = [trapezoid(START * 2**k) for k in range(levels)]
    starts = np.cumsum([0, *(rule.nodes.size for rule in found)])
    nodes = np.concatenate([rule.nodes for rule in found])
    return nodes, np.concatenate([rule.weights for rule in found]), starts


@lru_cache(maxsize=16)
def _module(system: Printed) -> Any:
    from . import saddle_loops

    return numba_module(
        system, (saddle_loops,), only=("newton", "branch", "observables")
    )[1]


@lru_cache(maxsize=16)
def numpy_kernel(system: Printed) -> Kernel:
    """Return the system's array functions; a reference for the compiled ones."""
    return make_kernel(system, "numpy")


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
