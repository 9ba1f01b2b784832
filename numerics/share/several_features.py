"""Shares of a sampled product mixture by feature, n samples: the reduced flow.

The combinations of the class means that the units see move by themselves; what they
add to the projection on each mean is known in the end, and the rest of that projection
is Gaussian. So the share of the + mode is an average over the starts of these
combinations alone, taken over scrambled Sobol points.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from ..codegen.kernel import make_kernel
from ..codegen.parameters import Solver
from ..codegen.snapshot import Printed, PrintedPhase
from ..minima.continuation import FLOOR, ClassMinima, Path, overlaps_at
from ..ode.inputs import Inputs
from .sampled_starts import carried_starts, loosened, normals, share_of

POINTS = 2048  # Sobol points of a scrambling

DEGREE, RATIO = 14, 4.0
"""Of the Chebyshev sums of the overlaps, and the largest ratio of their ends."""

WAKING, STEPS = 0.2, 6
"""Pieces shrink towards a switch without bias, where `w` grows like a root of time."""

LOOSEST = 1e-8  # tolerance beyond which the reduced flow is not followed more closely


def class_shares(
    phase: PrintedPhase, found: ClassMinima, point: Mapping[str, float], solver: Solver
) -> list[tuple[float, float]]:
    """Return the share of the + mode of each feature, and its standard error."""
    centre, spread = ClassFlow(phase, found, point, solver).ends(POINTS)
    sizes = np.clip(centre.T / spread[:, None], -37, 37)
    return [share_of(ndtr(x)) for x in sizes]


class ClassFlow:
    r"""The reduced flow of all features: the means of each $\nu$, given the directions.

    The starts of the directions are scrambled Sobol points.
    """

    def __init__(
        self,
        phase: PrintedPhase,
        found: ClassMinima,
        point: Mapping[str, float],
        solver: Solver,
    ) -> None:
        assert phase.projected is not None  # product mixtures with samples have one
        self.flow, self.point, self.inputs = phase.projected, point, as_inputs(found)
        self.gamma, self.lean = start_covariances(self.flow, found, point)
        self.known = np.linalg.solve(self.gamma, self.lean.T)
        self._levels = found.path.land.levels
        self.solver = loosened(solver, LOOSEST)

    def ends(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """Return means at the window's end, (starts, features), and their spreads."""
        first = self._starts(points)
        landed = self._carried(self._resting(first), (0.0, 1.0))
        rest = 1 - np.sum(self.lean.T * self.known, axis=0)
        spread = self._size(1.0) * np.sqrt(np.maximum(rest, 1e-18))
        return self._means(first, landed, 1.0), spread

    def paths(self, times: np.ndarray, count: int) -> np.ndarray:
        """Return means at `times` from 0 on, (count, features, times)."""
        first = self._starts(2)[:count]
        found = [self._resting(first)]
        for span in pairwise(times):
            found.append(self._carried(found[-1], span))
        rows = [self._means(first, x, s) for x, s in zip(found, times, strict=True)]
        return np.stack(rows, axis=-1)

    def _size(self, s: float) -> float:
        return max(self._levels(s)[0], 0.0)

    def _starts(self, points: int) -> np.ndarray:
        root = np.linalg.cholesky(self.gamma).T
        return self._size(0.0) * normals(len(self.gamma), points) @ root

    def _resting(self, first: np.ndarray) -> np.ndarray:
        gains = len(self.flow.unknowns) - len(self.gamma)
        return np.hstack([first, np.zeros((len(first), gains))])

    def _carried(self, state: np.ndarray, span: tuple[float, float]) -> np.ndarray:
        given = self.flow, state, self.inputs, self.point
        return carried_starts(*given, span, self.solver)

    def _means(self, first: np.ndarray, state: np.ndarray, s: float) -> np.ndarray:
        free = self._size(s) / self._size(0.0)
        return free * first @ self.known + state[:, len(self.gamma) :]


def start_covariances(
    flow: Printed, found: ClassMinima, point: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return $\Gamma$ of the directions and their covariance with each $\nu_k$.

    In units of $\alpha(0)^2$; shapes (directions,) twice and (features, directions).
    """
    kernel, land = make_kernel(flow, "numpy"), found.path.land
    none = [0.0] * len(kernel.states), [0.0] * len(kernel.inputs)
    params = [point[name] for name in kernel.parameters]
    seen, _ = kernel["observables"](0.0, *none, params, *kernel.rule)
    values = dict(zip(flow.observed, map(float, seen), strict=True))
    size = range(1, land.directions.shape[1] + 1)
    names = [["_".join(map(str, sorted({i, k}))) for k in size] for i in size]
    gamma = [[values[f"Gamma_{name}"] for name in row] for row in names]
    lean = np.sqrt(land.rho)[:, None] * (land.labels.signs.T @ land.directions)
    return np.array(gamma), lean


def as_inputs(found: ClassMinima) -> Inputs:
    """Return the learned overlaps as functions of `s`, exact at the switches."""
    path = found.path

    def functions(times: np.ndarray) -> dict[str, np.ndarray]:
        rows = [overlaps_at(path.land, max(t, FLOOR), path.at(t)) for t in times[0]]
        return {k: np.array([[row[k] for row in rows]]) for k in rows[0]}

    return Inputs.of(functions, _breaks(path), DEGREE)


def _breaks(path: Path) -> np.ndarray:
    """Ends of pieces: the switches, and between them a bounded ratio of times."""
    switches = sorted(edge for edge, _ in path.segments[1:])
    edges = [0.0]
    for low, high in zip([FLOOR, *switches], [*switches, 1.0], strict=True):
        if low > FLOOR or any(path.at(low).active):
            count = max(1, int(np.ceil(np.log(high / low) / np.log(RATIO))))
            edges += list(np.geomspace(low, high, count + 1)[:-1])
        if low in switches and not path.land.network.bias:
            edges += [low + (high - low) * WAKING**k for k in range(STEPS, 0, -1)]
    return np.unique([*edges, 1.0])
