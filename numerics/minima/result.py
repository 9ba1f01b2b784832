"""Minima of a batch of rows: what every backend starts from and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError, SolveError
from ..codegen.snapshot import Printed, printed

if TYPE_CHECKING:
    from ...theory.symbols.system import System

FLOOR = 1e-5
"""The continuation goes down to this s where no branch takes over before."""

LEVELS = 7
"""Quadrature rules of 62 to 3968 intervals; a row takes the first that is fine."""

BRANCHES = ("interior", "saturated", "lost")
"""What a point can be: a minimum, the closed branch, or not found."""

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


def guesses(system: System | Printed) -> np.ndarray:
    """Return the starting points at s = 1, of shape (starts, unknowns)."""
    ranges = [GUESSES.get(x, (0.0,)) for x in printed(system).unknowns]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(ranges))
