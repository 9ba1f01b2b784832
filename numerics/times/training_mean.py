r"""The mean of a flow over training times: one kernel, all times side by side.

Where the field is steep in its normal, the unit is a step of width 1/steepness. Rules
of even spacing resolve it up to `EVEN` times what the coarsest one does; beyond, panels
shrink towards the steps by factors of two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...theory.models.model import Model
from ...theory.symbols.system import System
from ...theory.times.densities import loss_weight
from ..codegen.kernel import Kernel, make_kernel
from ..codegen.quadrature import HALF_WIDTH, START, Rule, trapezoid
from .nodes import TimeNodes, gauss_legendre

States = Sequence[Any]
"""Numbers or arrays of one shape, one for each unknown."""

STEEP, EVEN = 1.5, 2
"""The steepest field that the coarsest rule resolves to 1e-10, and times that."""

NEGLIGIBLE = 1e-14  # times that add less than this share to a mean are left out
BASE, POINTS = 13, 8  # even knots of the shrinking panels, and points in a panel


@lru_cache(maxsize=64)
def flow_under(
    derive: Callable[..., System], model: Model, loss: str, *units: int
) -> System:
    """Return the flow (of a unit, if one is given) under a loss weight, kept."""
    return derive(model, *units, loss_weight(loss, model.interpolant))


@lru_cache(maxsize=64)
def kernel_of(system: System) -> Kernel:
    """Return the array kernel of a system, made once."""
    return make_kernel(system, "numpy")


@dataclass(frozen=True)
class TimeMean:
    """The right-hand side of a flow in `tau`, averaged over nodes of time.

    `groups` holds times, weights and the number of intervals of an even rule, or 0 for
    shrinking panels.
    """

    kernel: Kernel
    params: tuple[float, ...]
    groups: tuple[tuple[np.ndarray, np.ndarray, int], ...]

    def __call__(self, states: States, function: str = "rhs"):
        """Return the mean for states of one shape: shape ``(outputs, *shape)``."""
        wide = [np.asarray(x, float)[..., None] for x in states]
        parts = []
        for tau, weight, intervals in self.groups:
            rule = trapezoid(intervals) if intervals else None
            rule = rule or fitted_rule(self.kernel, wide, self.params, tau)
            values = evaluated(self.kernel[function], wide, self.params, tau, rule)
            parts.append(values @ weight)
        return sum(parts)


def fitted_rule(
    kernel: Kernel, states: States, params: Sequence[float], tau: np.ndarray
) -> Rule | None:
    """Return a rule that shrinks to where the fields of a system bend, if they do."""
    if "observables" not in kernel.functions:
        return None
    seen = evaluated(kernel["observables"], states, params, tau)
    names = kernel.outputs("observables")
    rows = dict(zip(names, np.broadcast_arrays(*seen), strict=True))
    kinks = [rows[name] for name in names if name.startswith("kink")]
    return shrinking(kinks, rows["steepness"])


def evaluated(
    function: Callable[..., Any],
    states: States,
    params: Sequence[float],
    tau: np.ndarray,
    rule: Rule | None = None,
    inputs: States = (),
) -> np.ndarray:
    """Return a kernel's values at given times; `tau` is its last parameter."""
    with np.errstate(all="ignore"):
        nodes = rule or trapezoid()
        values, _ = function(0.0, states, inputs, [*params, tau], *nodes)
    return values


def shrinking(kinks: Sequence[np.ndarray], steepness: np.ndarray) -> Rule:
    """Return a rule for normal averages at each point, shape ``(*batch, nodes)``.

    Gauss-Legendre panels, which shrink towards each kink down to ``1/steepness``.
    """
    levels = 1 + int(np.ceil(np.log2(HALF_WIDTH * np.max(steepness))))
    away = 2.0 ** np.arange(levels) / steepness[..., None]
    even = np.linspace(-HALF_WIDTH, HALF_WIDTH, BASE + (BASE + len(kinks) + 1) % 2)
    parts = [np.broadcast_to(even, (*steepness.shape, even.size))]
    for kink in kinks:
        centre = kink[..., None]
        parts += [centre - away, centre, centre + away]
    knots = np.sort(np.concatenate(parts, axis=-1), axis=-1)
    knots = np.clip(knots, -HALF_WIDTH, HALF_WIDTH)
    x, w = gauss_legendre(POINTS)
    width = np.diff(knots)[..., None]
    nodes = (knots[..., :-1, None] + width * x).reshape(*steepness.shape, -1)
    weights = (width * w).reshape(nodes.shape) * np.exp(-(nodes**2) / 2)
    return Rule(nodes, weights / np.sqrt(2 * np.pi))


def time_mean(
    system: System,
    nodes: TimeNodes,
    point: Mapping[str, float],
    steepest: States,
    typical: States,
) -> TimeMean:
    """Return the mean of a flow of the shared network over nodes of time.

    `steepest` is a state with fields as steep as they become; times that add nothing
    at the `typical` states, each an array of the same shape, are left out.
    """
    kernel = kernel_of(system)
    params = tuple(point[name] for name in kernel.parameters[:-1])
    wide = [np.asarray(x, float)[..., None] for x in typical]
    each = evaluated(kernel["rhs"], wide, params, nodes.tau)
    kept = contributing_times(np.abs(each) * nodes.weight)
    tau, weight = nodes.tau[kept], nodes.weight[kept]
    steep = np.zeros(tau.size)
    if "observables" in kernel.functions:
        seen = evaluated(kernel["observables"], steepest, params, tau)
        steep = seen[kernel.outputs("observables").index("steepness")]
    octave = np.ceil(np.log2(np.maximum(steep, STEEP) / STEEP)).astype(int)
    octave = np.minimum(octave, EVEN)
    groups = []
    for k in np.unique(octave):
        member = octave == k
        intervals = START * 2 ** int(k) if k < EVEN else 0
        groups.append((tau[member], weight[member], intervals))
    return TimeMean(kernel, params, tuple(groups))


def contributing_times(parts: np.ndarray, share: float = NEGLIGIBLE) -> np.ndarray:
    """Return which times, the last axis, add to any of the sums of `parts`.

    The first one is kept where none does, so that there is a mean.
    """
    total = parts.sum(axis=-1, keepdims=True)
    kept = np.any(parts > share * total, axis=tuple(range(parts.ndim - 1)))
    kept[0] |= not kept.any()
    return kept
