r"""Steps of a sampler on the exact flow of modes at dimension d: shares of all modes.

The projections on all directions move together, so the flow is followed from scrambled
Sobol points and the modes are counted at the end: the error is a standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..codegen.indexed import indexed_functions
from ..codegen.snapshot import printed, printed_limit
from ..modes.evaluate import exponents_of, families, weights_of
from ..modes.normal_averages import as_normals, scrambled
from ..modes.tree_shares import Placed, spread
from .rules import ExactFlow

if TYPE_CHECKING:
    from ...theory.derive import Limit

POINTS, SCRAMBLES = 2**13, 8


class ModesFlow(ExactFlow):
    """The exact flow of modes (D3) at given numbers, the bulk by its spread.

    A state has one row for each direction and a last one for the spread of the bulk.
    """

    def __init__(self, limit: Limit, point: Mapping[str, float]) -> None:
        system = limit.exact["sampling"]
        self.placed = Placed.of(printed_limit(limit).about["modes"])
        self._exponents = exponents_of(self.placed)
        self._functions = indexed_functions(printed(system))
        self._names = ()  # its numbers are in `_given`
        self.features = self.placed.loadings.shape[1]
        self._read_levels(limit)
        self._take(point)

    def _take(self, point: Mapping[str, float]) -> None:
        super()._take(point)
        self.weights = weights_of(point)
        self.means = self.placed.loadings * point["d"] ** (0.5 - self._exponents)
        self._given = dict(point) | families(self.weights, self.placed.loadings)
        self._given |= {"delta": self._exponents[:, None]}

    def velocity(self, state: np.ndarray, tau: float) -> np.ndarray:
        """Return the speed of every row; the spread has half its variance's rate."""
        given = self._given | {"y": state[:-1], "V": state[-1:]}
        found = self._functions.equations(np, tau, given)
        return np.concatenate([found["y"], found["V"] / (2 * state[-1:]) * state[-1:]])

    def starts(self, seed: int, points: int = POINTS) -> np.ndarray:
        """Return starting points, one scrambling of a Sobol sequence."""
        width = self.means.shape[1]
        noise = as_normals(scrambled(points, width, seed)).T
        return self.start * np.concatenate([noise, np.ones((1, points))])

    def shares(self, state: np.ndarray) -> np.ndarray:
        """Count states to the nearest mean; equal modes share by their weights."""
        groups = self.placed.tree[-1].groups
        means = self.means[[group[0] - 1 for group in groups]]
        fields = means @ state[:-1] - np.sum(means**2, 1)[:, None] / 2
        counts = np.bincount(np.argmax(fields, axis=0), minlength=len(groups))
        each = dict(zip(groups, counts / state.shape[1], strict=True))
        return spread(each, self.weights)

    def counted(
        self, carry: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, list[float] | float]:
        """Count what `carry` makes of the starts, scrambling by scrambling.

        Returns `shares`, `shares_error` (a standard error) and `bulk_std`.
        """
        ends = [carry(self.starts(seed)) for seed in range(SCRAMBLES)]
        found = np.array([self.shares(end) for end in ends])
        error = found.std(0, ddof=1) / SCRAMBLES**0.5
        return {
            "shares": found.mean(0).tolist(),
            "shares_error": error.tolist(),
            "bulk_std": float(abs(ends[0][-1, 0])),
        }
