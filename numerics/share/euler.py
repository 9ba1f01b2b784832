"""What a sampler with few steps gets: Euler on the exact flow at dimension d.

No limit is taken. Each projection on a mean obeys a scalar flow, so the shares need
no Monte Carlo: the map from the starting point to the last one is followed on a grid
and the sign changes of its result are located by bisection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from ...errors import ModelError
from ...theory.derive import Limit, derive
from ...theory.models.model import TAU
from ...theory.phases.denoiser import exact_denoiser
from ..codegen.kernel import make_kernel
from ..codegen.parameters import check_choice, complete, dimension

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

GRID = 4001
REACH = 8.5  # standard deviations; a normal leaves 2e-17 outside
BISECTIONS = 45


def steps(
    spec: Spec, d: float, steps: Sequence[int], schedule: str, rule: str
) -> list[dict[str, Any]]:
    r"""Shares and bulk spread after `steps` Euler steps, at dimension `d`.

    The steps are spread evenly over the dilated time (``dilated``: every phase has an
    equal share of it) or over $\tau$ (``undilated``). A step from $\tau_k$ to
    $\tau_{k+1}$ asks for the velocity at $X_k$ and at its left end (``left``) or at
    the middle (``midpoint``) of its interval. Both are of the exact flow (D3).

    Returns rows ``{"d", "steps", "schedule", "rule", "share_plus", "bulk_std"}``;
    `share_plus` is a list when there are several features.
    """
    limit = derive(spec.model)
    point = complete(limit, spec.values) | {"d": dimension(d)}
    check_choice("schedule", schedule, ("dilated", "undilated"))
    check_choice("rule", rule, ("left", "midpoint"))
    if not steps or not all(count == int(count) and count >= 1 for count in steps):
        raise ModelError(
            f"`steps` must be whole numbers from 1, but is {list(steps)}. Change it."
        )
    return [
        {
            "d": float(d),
            "steps": int(count),
            "schedule": schedule,
            "rule": rule,
            **euler(limit, point, time_grid(limit, point, count, schedule, rule)),
        }
        for count in steps
    ]


def time_grid(
    limit: Limit, point: Mapping[str, float], count: int, schedule: str, rule: str
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the steps in ``tau`` and where each asks for the velocity."""
    ends = np.linspace(0.0, 1.0, count + 1)
    asked = ends[:-1] if rule == "left" else (ends[:-1] + ends[1:]) / 2
    if schedule == "undilated":
        return ends, asked
    tau = limit.dilation.at(point)
    return np.array([tau(t) for t in ends]), np.array([tau(t) for t in asked])


def euler(
    limit: Limit, point: Mapping[str, float], grid: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Follow every projection and the bulk through the steps of `grid`."""
    flow = limit.exact["sampling"]
    kernel = make_kernel(flow, "numpy")
    params = [point[str(x)] for x in flow.parameters]
    first = exact_denoiser(limit.model).alpha.subs(TAU, 0)
    start = float(first.subs({x: point[str(x)] for x in first.free_symbols}))
    features = len(flow.unknowns) - 1

    def end(nu: np.ndarray) -> np.ndarray:
        state = np.stack([*[start * nu] * features, np.full_like(nu, start)])
        for left, right, at in zip(grid[0], grid[0][1:], grid[1], strict=False):
            speed, _ = kernel["rhs"](at, list(state), [], params, *kernel.rule)
            # the bulk's spread obeys half the rate of its variance
            growth = speed[-1] / (2 * state[-1])
            state = state + (right - left) * np.stack([*speed[:-1], growth * state[-1]])
        return state

    nodes = np.linspace(-REACH, REACH, GRID)
    last = end(nodes)
    shares = [
        positive_share(lambda x, i=i: end(x)[i], nodes, last[i])
        for i in range(features)
    ]
    return {
        "share_plus": shares if features > 1 else shares[0],
        "bulk_std": float(abs(last[-1, 0])),
    }


def positive_share(end: Any, nodes: np.ndarray, values: np.ndarray) -> float:
    """P(end(g) > 0) for a standard normal g, from the sign changes of `end`."""
    change = np.flatnonzero((values[:-1] > 0) != (values[1:] > 0))
    low, high = nodes[change], nodes[change + 1]
    rising = values[change] <= 0
    for _ in range(BISECTIONS if len(change) else 0):
        middle = (low + high) / 2
        up = (end(middle) > 0) == rising
        low, high = np.where(up, low, middle), np.where(up, middle, high)
    # P = 1{positive at the far right} minus what each crossing takes away
    share = float(values[-1] > 0)
    return float(share + np.sum(np.where(rising, -1, 1) * ndtr(low)))


__all__ = ["euler", "positive_share", "steps", "time_grid"]
