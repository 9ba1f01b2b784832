r"""Shares of the modes after sampling, window by window along the tree.

In a window a branch of weights `p` (of its groups, as shares of the branch) comes out
as $p_l^\kappa = \sum_k p_k P(l|k)$, linear in `p`, with the confusion matrix at the
window's end. The next window starts in the group that was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...theory.models.modes import levels
from ..codegen.parameters import closed_values
from ..codegen.snapshot import PrintedLimit, PrintedPhase
from .confusion import Confusion, confusion

Group = tuple[int, ...]
END = 1 - 1e-15  # just before a window's end, where the noise may vanish


@dataclass(frozen=True)
class Placed:
    """Modes as numbers: `loadings` (K, J), and the `tree` of their windows."""

    loadings: np.ndarray
    exponents: tuple[str, ...]

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Placed:
        """Return the modes that a printed limit tells of."""
        rows = np.array(about["loadings"], float)
        return cls(rows, tuple(about["exponents"]))

    @property
    def tree(self) -> tuple[Any, ...]:
        """The levels, coarse to fine."""
        return levels(self.loadings.tolist(), self.exponents)

    def points(self, branch: Sequence[Group], directions: Sequence[int]) -> np.ndarray:
        """Loadings of the groups of a branch, (groups, directions)."""
        first = [group[0] - 1 for group in branch]
        return self.loadings[np.ix_(first, [j - 1 for j in directions])]


class ModeShares(NamedTuple):
    """Shares of the modes with their errors, both (modes,) or (rows, modes)."""

    value: np.ndarray
    error: np.ndarray


def contrast(phase: PrintedPhase, point: Mapping[str, float]) -> float:
    r"""$\beta/\alpha$ at the end of a window: the size of a unit loading there."""
    rows = closed_values(phase.levels, np.array([END]), point)
    alpha, beta = float(rows["alpha"][0]), float(rows["beta"][0])
    vanished = phase.vanishes or alpha <= 0
    return np.inf if vanished else beta / alpha


def tree_shares(
    limit: PrintedLimit, point: Mapping[str, float], weights: np.ndarray
) -> ModeShares:
    """Return the generated shares for `weights` of shape (modes,) or (rows, modes)."""
    placed = Placed.of(limit.about["modes"])
    ends = [contrast(phase, point) for phase in limit.phases if phase.features]
    value = {tuple(range(1, weights.shape[-1] + 1)): np.ones(weights.shape[:-1])}
    error = {group: np.zeros(weights.shape[:-1]) for group in value}
    for level, scale in zip(placed.tree, ends, strict=True):
        for branch in level.branches:
            whole = tuple(sorted(k for group in branch for k in group))
            points = placed.points(branch, level.directions).tolist()
            known = _confusion(tuple(map(tuple, points)), scale)
            own = [weights[..., [k - 1 for k in group]].sum(-1) for group in branch]
            inside = np.stack(own, axis=-1)
            parts, doubts = branch_shares(known, inside / inside.sum(-1, keepdims=True))
            parent, doubt = value.pop(whole), error.pop(whole)
            for i, group in enumerate(branch):
                value[group] = parent * parts[..., i]
                error[group] = parent * doubts[..., i] + doubt * parts[..., i]
    return ModeShares(spread(value, weights), spread(error, weights))


def branch_shares(
    known: Confusion, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of a branch and their errors, linear in its weights."""
    value = weights @ known.matrix
    if known.estimates is None:
        return value, weights @ known.error
    count = len(known.estimates)
    squares = sum((weights @ one - value) ** 2 for one in known.estimates)
    return value, np.sqrt(squares / (count - 1) / count)


def spread(groups: Mapping[Group, Any], weights: np.ndarray) -> np.ndarray:
    """Give each mode its part of its group; equal modes share by their weights."""
    found = np.empty(weights.shape)
    for group, value in groups.items():
        own = weights[..., [k - 1 for k in group]]
        part = own / own.sum(-1, keepdims=True)
        found[..., [k - 1 for k in group]] = np.asarray(value)[..., None] * part
    return found


@lru_cache(maxsize=4096)
def _confusion(points: tuple[tuple[float, ...], ...], scale: float) -> Confusion:
    with np.errstate(invalid="ignore"):
        return confusion(np.array(points) * scale)
