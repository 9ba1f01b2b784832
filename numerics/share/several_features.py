"""Shares of a sampled product mixture by feature, n samples: the reduced flow.

The combinations of the class means that the units see move by themselves; what they
add to the projection on each mean is known in the end, and the rest of that projection
is Gaussian. So the share of the + mode is an average over the starts of these
combinations alone, taken over scrambled Sobol points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.parameters import Solver
from ..codegen.snapshot import Printed, PrintedPhase
from ..minima.continuation import FLOOR, ClassMinima, Path, overlaps_at
from ..ode.inputs import Inputs
from .sampled_starts import BEFORE, carried_starts, normals, share_of

POINTS = 2048
"""Sobol points of a scrambling."""

DEGREE, RATIO = 14, 4.0
"""Of the Chebyshev sums of the overlaps, and the largest ratio of their ends."""

WAKING, STEPS = 0.2, 6
"""Pieces shrink towards a switch without bias, where `w` grows like a root of time."""

LOOSEST = 1e-8
"""Tolerance beyond which the reduced flow is not followed more closely."""


def class_shares(
    phase: PrintedPhase, found: ClassMinima, point: Mapping[str, float], solver: Solver
) -> list[tuple[float, float]]:
    """Return the share of the + mode of each feature, and its standard error."""
    flow = phase.projected
    assert flow is not None  # product mixtures with samples have one
    start, final = (found.path.land.levels(s)[0] for s in (0.0, 1.0))
    gamma, lean = start_covariances(flow, found, point)
    given = as_inputs(found)
    first = start * normals(len(gamma), POINTS) @ np.linalg.cholesky(gamma).T
    gains = np.zeros((len(first), len(flow.unknowns) - len(gamma)))
    tight = replace(
        solver, rtol=max(solver.rtol, LOOSEST), atol=max(solver.atol, LOOSEST)
    )
    end = 1.0 if final > 0 else BEFORE
    landed = carried_starts(flow, np.hstack([first, gains]), given, point, end, tight)
    moved = landed[:, len(gamma) :]
    free = max(final, 0.0) / start
    known = np.linalg.solve(gamma, lean.T)
    spread = start * np.sqrt(np.maximum(1 - np.sum(lean.T * known, axis=0), 1e-18))
    centre = free * first @ known + moved
    return [_share(x, free * y) for x, y in zip(centre.T, spread, strict=True)]


def _share(centre: np.ndarray, spread: float) -> tuple[float, float]:
    from scipy.stats import norm

    if spread > 0:
        plus = norm.cdf(np.clip(centre / spread, -37, 37))
    else:
        plus = (centre > 0).astype(float)
    return share_of(plus)


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
    gamma = [[values[_pair(*sorted((i, k)))] for k in size] for i in size]
    lean = np.sqrt(land.rho)[:, None] * (land.labels.signs.T @ land.directions)
    return np.array(gamma), lean


def _pair(i: int, k: int) -> str:
    return f"Gamma_{i}" if i == k else f"Gamma_{i}_{k}"


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
            edges += list(_between(low, high)[:-1])
        if low in switches and not path.land.network.bias:
            edges += [low + (high - low) * WAKING**k for k in range(STEPS, 0, -1)]
    return np.unique([*edges, 1.0])


def _between(low: float, high: float) -> np.ndarray:
    count = max(1, int(np.ceil(np.log(high / low) / np.log(RATIO))))
    return np.geomspace(low, high, count + 1)
