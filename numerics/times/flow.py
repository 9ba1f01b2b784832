"""The training flow of the shared network under a density of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from ...errors import SolveError
from ...theory.models.model import Model
from ...theory.symbols.system import System
from ...theory.times.noise import shared_sgd
from ...theory.times.shared import shared_training
from ...theory.times.weights import loss_weight
from .nodes import TimeNodes
from .training_mean import time_mean

TYPICAL = ([0.01, 0.9, 0.9], [1e-4, 0.1, 0.001], [0.5, 0.2, 0.2])
"""States (m, q, b) that show which times matter: fields nowhere steep, and learned."""


def _steepest(start: Sequence[float]) -> list[float]:
    """Return a state whose fields are as steep as those of any on the way."""
    m, q, b = start
    return [max(1.0, abs(m)), max(q, 0.25), b]


@lru_cache(maxsize=16)
def flow_system(model: Model, loss: str, noisy: bool) -> System:
    """Return the flow at one time under a loss weight, with or without noise, kept."""
    derive = shared_sgd if noisy else shared_training
    return derive(model, loss_weight(loss, model.interpolant))


def follow(
    system: System,
    nodes: TimeNodes,
    point: Mapping[str, float],
    start: Sequence[float],
    times: Sequence[float],
    rtol: float,
    atol: float,
) -> np.ndarray:
    """Return the states at training times that do not decrease, (time, state).

    Implicit steps (LSODA chooses), as the mean over times mixes fast and slow ones.
    Raises `SolveError` when they cannot go on.
    """
    from scipy.integrate import solve_ivp

    mean = time_mean(system, nodes, point, _steepest(start), TYPICAL)
    grid = np.unique([0.0, *times])
    if grid.size == 1:
        return np.array([list(start)] * len(times))
    found = solve_ivp(
        lambda _, y: mean(y),
        (0.0, grid[-1]),
        start,
        method="LSODA",
        t_eval=grid,
        rtol=rtol,
        atol=atol,
    )
    if not found.success:
        raise SolveError(
            f"The training flow must reach time {grid[-1]:g}, but stopped at "
            f"{found.t[-1] if found.t.size else 0:g}: {found.message} Ask for shorter "
            "times.",
            found,
        )
    return found.y.T[np.searchsorted(grid, times)]
