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
"""The kinds of a point: a minimum, the closed branch, or not found."""

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
    edges, pieces
        Shape (rows, 1 + most pieces) and (rows,): ends of the pieces on which one
        branch is the lowest, from 1 down, nan beyond; how many pieces there are, none
        where the closed branch is the lowest everywhere.
    minima
        Shape (rows,): how many minima the search at s = 1 found.
    status
        Shape (rows,): ``"ok"``, ``"saturated"`` (the closed branch everywhere) or
        ``"lost"``.
    flat
        Shape (rows,): how far the minima may be from where they were left: the largest
        ratio of slope and curvature at points of the pieces, times s, the share of the
        phase that it lasts (at least 0.003: what is lost early stays lost). The slope
        is at least the rounding of the objective's slopes, so that no last bit decides.
    grid, smooth
        Chebyshev points z, from 1 to -1, and the values there, of shape (rows, pieces,
        points, names): $s = s_k (s_{k+1}/s_k)^{(1 - z)/2}$ on the piece between the
        edges $s_k > s_{k+1}$.
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
    edges: np.ndarray
    pieces: np.ndarray
    minima: np.ndarray
    flat: np.ndarray
    status: np.ndarray
    grid: np.ndarray
    smooth: np.ndarray
    below: np.ndarray

    @property
    def switch(self) -> np.ndarray:
        """Return the s below which the closed branch has the lower objective, (rows,).

        It is 1 if it has it everywhere, and `FLOOR` if nowhere above.
        """
        rows = np.arange(len(self.edges))
        return self.edges[rows, self.pieces]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an unknown or observable, of shape (rows, times)."""
        return self.values[:, :, self.names.index(name)]


def alone(found: Minima) -> Minima:
    """Return the result of a single row, or raise `SolveError` if it was lost."""
    if found.status[0] == "lost":
        raise SolveError(
            "The learned parameters must be followed from s = 1 down to where they "
            f"saturate, but the minimum was lost below s = "
            f"{np.nanmin(found.edges[0]):.3g}. Change the ridges slightly, or report "
            "the parameters.",
            found,
        )
    return found


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


def charted(system: Printed) -> bool:
    """Whether minima are searched on a grid: samples, and a weight and a bias alone.

    The population has no ridges: its landscape is flat far out, and nothing competes.
    """
    return system.unknowns == ("omega", "b") and "n" in system.parameters
