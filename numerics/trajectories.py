r"""Trajectories of $\nu$ through a solved weights window, and its law at the end.

The flow is followed backwards from evenly spread ends, where it contracts, so that
trajectories part where the ends tell them to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .batch import SolvedPhase
from .codegen.kernel import Kernel, make_kernel
from .codegen.snapshot import SATURATED
from .ode.rk4 import rk4_step
from .share.reduced import gamma_of

END_POINTS = 401
"""End points, evenly spread, from which trajectories are followed backwards."""

FARTHEST_START = 5.0  # standard deviations of the starting points; 6e-7 lies outside
ASYMPTOTIC = 1e9  # a state on which every sigmoid saturates

LEAST_BLUR = 0.02
"""Smallest spread that a trajectory is blurred by, below what a screen shows."""


@dataclass(frozen=True)
class Trajectories:
    r"""Means of $\nu$ along `s`, of shape (times, starts), from `start`.

    `start` is in standard deviations; `spread` is what each mean is blurred by.
    """

    start: np.ndarray
    means: np.ndarray
    spread: float

    def from_starts(self, starts: np.ndarray) -> np.ndarray:
        """Return trajectories from other starts, of shape (starts, times)."""
        return np.transpose([np.interp(starts, self.start, x) for x in self.means])

    @property
    def share(self) -> float:
        r"""The share of $\nu > 0$ at the end, where no mean is blurred.

        No two trajectories cross, and the one in the middle ends at 0.
        """
        from scipy.special import ndtr

        return float(ndtr(-self.start[END_POINTS // 2]))

    def density(self, nu: np.ndarray) -> np.ndarray:
        r"""Return the density of $\nu$ at the end: that of the start, carried along."""
        from scipy.special import ndtr

        ends = self.means[-1]
        if self.spread == 0:
            carried = np.exp(-(self.start**2) / 2) / np.sqrt(2 * np.pi)
            return np.interp(nu, ends, carried / np.gradient(ends, self.start))
        mass = np.diff(ndtr(self.start))  # each is spread between its two trajectories
        below = ndtr((nu[:, None] - ends) / max(self.spread, LEAST_BLUR))
        return (below[:, :-1] - below[:, 1:]) @ (mass / np.diff(ends))


def trajectories(
    part: SolvedPhase, given: Mapping[str, float], s: np.ndarray, place: int = 0
) -> Trajectories:
    r"""Return the trajectories of $\nu$ of one feature through its solved window.

    `part` is solved at `s`, evenly spaced times from 0 to 1, an odd number: every
    second one is the middle of a step of the classical Runge-Kutta rule. `place` counts
    the features that the window decides from 0; of a population each moves by itself.

    With a reduced flow in $Y$ and $F$, the mean of $\nu$ given $Y(0)$ is $Y(0)/\Gamma$
    plus what $F$ gained, and its variance is $1 - 1/\Gamma$.
    """
    flow = part.phase.projected or part.phase.sampling
    assert flow is not None  # a window of one feature has one of them
    kernel = make_kernel(flow, "numpy")
    rate = _rate(kernel, part, given, s)
    gamma = 1.0  # where the flow moves nu itself
    if "Gamma" in flow.observed:
        params = np.array([[given[name] for name in kernel.parameters]], float)
        gamma = float(gamma_of(flow, params)[0])
    reach = FARTHEST_START * np.sqrt(gamma)
    found = _backwards(rate, len(kernel.states), reach, s, place)
    first = found[0, place]
    if flow is part.phase.sampling:
        return Trajectories(first, found[:, place], 0.0)
    moved = first / gamma + found[:, 1] - found[0, 1]
    return Trajectories(first / np.sqrt(gamma), moved, float(np.sqrt(1 - 1 / gamma)))


Rate = Callable[[Any, np.ndarray], np.ndarray]


def _rate(
    kernel: Kernel, part: SolvedPhase, given: Mapping[str, float], s: np.ndarray
) -> Rate:
    """Return the right-hand side, whose time is a place in `s`."""
    params = [given[name] for name in kernel.parameters]
    rows = [part.overlaps[name][0] for name in kernel.inputs]
    inputs = np.clip(np.reshape(rows, (-1, s.size)), -SATURATED, SATURATED)

    def rate(i: Any, y: np.ndarray) -> np.ndarray:
        return kernel["rhs"](s[i], list(y), list(inputs[:, i]), params, *kernel.rule)[0]

    return rate


def _backwards(
    rate: Rate, unknowns: int, reach: float, s: np.ndarray, place: int
) -> np.ndarray:
    """States, (times, unknowns, ends), that end evenly spread in one unknown.

    The ends hold every start within `reach`; other unknowns end at 0.
    """
    far = np.full((unknowns, s.size), ASYMPTOTIC)
    edge = reach + np.abs(rate(slice(None), far)[place]).mean()
    y = np.zeros((unknowns, END_POINTS))
    y[place] = np.linspace(-edge, edge, END_POINTS)
    states = [y]
    for i in range(s.size - 1, 0, -2):
        y = rk4_step(rate, (i, i - 1, i - 2), s[i - 2] - s[i], y)
        states.append(y)
    return np.array(states[::-1])
