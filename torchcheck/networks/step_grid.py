"""Where the interpolant's time is stepped: dilated and uniform grids, as numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import ModelError
from ...theory.models.model import TAU, D, Interpolant, Model
from ...theory.windows.dilation import make_dilation
from ...theory.windows.search import S_PHASE, Window, find_windows, window_names

StepRule = Literal["left", "midpoint"]


@dataclass(frozen=True)
class Grid:
    r"""Cells of the interpolant's time and the times at which a network is asked.

    `edges` are the cells' ends in $\tau$, (steps + 1,), from 0 to 1; `times` holds the
    left end of each (`rule` ``"left"``, Euler) or its middle (``"midpoint"``),
    (steps,). `bounds` are the indices into `edges` where the `phases` end; a uniform
    grid has the single phase ``"uniform"``.
    """

    edges: np.ndarray
    times: np.ndarray
    rule: StepRule
    bounds: tuple[int, ...]
    phases: tuple[str, ...]


@dataclass(frozen=True)
class VelocityCoefficients:
    r"""The interpolant at some times, shape (T,) each.

    The velocity is $\dot X = \gamma X + \zeta f(X)$ with $\gamma = \dot\alpha/\alpha$
    and $\zeta = \dot\beta - \gamma\beta$.
    """

    alpha: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    zeta: np.ndarray


def coefficients(
    interpolant: Interpolant, times: np.ndarray, d: int
) -> VelocityCoefficients:
    r"""Evaluate $\alpha, \beta$ and the velocity's coefficients at `times` below 1."""
    import sympy as sp

    tau = np.asarray(times, float)
    if tau.size and (tau.min() < 0 or tau.max() >= 1):
        raise ModelError(
            "`times` must lie in [0, 1), where the velocity is finite, but they run "
            f"from {tau.min():g} to {tau.max():g}. Leave tau = 1 out."
        )
    alpha, beta = interpolant.alpha, interpolant.beta
    exprs = [alpha, beta, sp.diff(alpha, TAU), sp.diff(beta, TAU)]
    with np.errstate(all="ignore"):
        a, b, da, db = (
            np.broadcast_to(sp.lambdify((TAU, D), e, "numpy")(tau, float(d)), tau.shape)
            for e in exprs
        )
        gamma = da / a
        zeta = db - gamma * b
    return VelocityCoefficients(*(np.array(x, float) for x in (a, b, gamma, zeta)))


def dilated_grid(
    model: Model,
    values: Mapping[str, float],
    d: int,
    steps: int,
    rule: StepRule,
    *,
    grading: float = 1.0,
) -> Grid:
    r"""Divide every phase of the model's dilation into equally many cells.

    `values` must hold the window scale `kappa` (``kappa_1``, ... when there are
    several), and `steps`, the number of cells, is a multiple of the number of phases;
    `rule` says where in a cell the network is asked. Inside every phase the k-th of K
    edges lies at $(k/K)^{\rm grading}$: above 1 the cells are finer where a phase
    begins. A phase in which the noise shrinks with d to nothing is graded from its end
    instead.
    """
    windows = find_windows(model)
    names = window_names(windows)
    if steps < 1 or steps % len(names):
        raise ModelError(
            f"`steps` must be a multiple of the number of phases, {len(names)}, but is "
            f"{steps}. Phases share the cells equally."
        )
    knots = make_dilation(windows).knots({**values, "d": d})
    each = steps // len(names)
    k = np.arange(each) / each
    inside = [
        1 - (1 - k) ** grading if fades(window) else k**grading for window in windows
    ]
    ends = itertools.pairwise(knots)
    pieces = [a + (b - a) * x for (a, b), x in zip(ends, inside, strict=True)]
    edges = np.concatenate([*pieces, knots[-1:]])
    return _grid(edges, rule, tuple(each * (i + 1) for i in range(len(names))), names)


def fades(window: Window) -> bool:
    """Whether a feature window ends where the noise has vanished beside the data."""
    return bool(window.features) and window.alpha.subs(S_PHASE, 1) == 0


def uniform_grid(steps: int, rule: StepRule) -> Grid:
    r"""Divide $\tau \in [0, 1]$ equally: the schedule without a dilation."""
    return _grid(np.linspace(0.0, 1.0, steps + 1), rule, (steps,), ("uniform",))


def _grid(
    edges: np.ndarray, rule: StepRule, bounds: tuple[int, ...], names: tuple[str, ...]
) -> Grid:
    if rule not in ("left", "midpoint"):
        raise ModelError(
            f"`rule` must be `left` or `midpoint`, but is `{rule}`. Choose one."
        )
    times = edges[:-1] if rule == "left" else (edges[:-1] + edges[1:]) / 2
    return Grid(edges, times.copy(), rule, bounds, names)


def phase_times(
    model: Model, values: Mapping[str, float], d: int, phase: str, s: np.ndarray
) -> np.ndarray:
    r"""Return $\tau$ at the times `s` in [0, 1] inside the phase called `phase`."""
    windows = find_windows(model)
    names = window_names(windows)
    if phase not in names:
        raise ModelError(
            f"The phases of this model are {', '.join(names)}, but `{phase}` was asked "
            "for. Choose one of them."
        )
    knots = make_dilation(windows).knots({**values, "d": d})
    i = names.index(phase)
    return knots[i] + (knots[i + 1] - knots[i]) * np.asarray(s, float)
