r"""The exact flow at dimension d, of features or of modes, and rules of a step on it.

A state has one row for each projection and a last one for the spread of the bulk; a
rule, which is what samplers do with the velocity or the denoiser, carries it from one
end of a step to the other. The projections on modes move together, so their flow is
followed from scrambled Sobol points and the modes are counted at the end: the error is
a standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...theory.limit import Limit
from ...theory.models.model import Interpolant
from ...theory.phases.denoiser import exact_levels
from ..codegen.indexed import indexed_functions
from ..codegen.kernel import Kernel, make_kernel
from ..codegen.snapshot import printed, printed_limit
from ..modes.evaluate import exponents_of, families, weights_of
from ..modes.normal_averages import as_normals, scrambled
from ..modes.tree_shares import Placed, spread

if TYPE_CHECKING:
    from ...theory.derive import Limit

Times = tuple[np.ndarray, np.ndarray]
"""The ends of the steps in ``tau`` and where each Euler step asks for the velocity."""

NEAR = 1e-12  # of a step: where the denoiser is read when the velocity hides it
POINTS, SCRAMBLES = 2**13, 8  # Sobol points from which modes are followed


class Levels(NamedTuple):
    """The interpolant at a time: its coefficients and those of the velocity."""

    alpha: float
    beta: float
    rate: float
    drive: float


@lru_cache(maxsize=16)
def _levels_kernel(interpolant: Interpolant) -> Kernel:
    """Return the kernel of an interpolant's `Levels`, made once."""
    return make_kernel(exact_levels(interpolant), "numpy")


class ExactFlow:
    """The exact flow (D3) of a model at given numbers, the bulk by its spread."""

    def __init__(self, limit: Limit, point: Mapping[str, float]) -> None:
        flow = limit.exact["sampling"]
        self._kernel = make_kernel(flow, "numpy")
        self._params = [point[str(x)] for x in flow.parameters]
        self.features = len(flow.unknowns) - 1
        self._take_levels(limit, point)

    def _take_levels(self, limit: Limit, point: Mapping[str, float]) -> None:
        self._levels = _levels_kernel(limit.model.interpolant)
        self._sizes = [point[x] for x in self._levels.parameters]
        self.start = self.levels(0.0).alpha

    def levels(self, tau: float) -> Levels:
        """Return the interpolant's coefficients at `tau`."""
        rule = self._levels.rule
        with np.errstate(all="ignore"):  # the velocity's are infinite at tau = 1
            got, _ = self._levels["values"](tau, [], [], self._sizes, *rule)
        return Levels(*(float(x) for x in got))

    def velocity(self, state: np.ndarray, tau: float) -> np.ndarray:
        """Return the speed of every row; the spread has half its variance's rate."""
        rule = self._kernel.rule
        speed, _ = self._kernel["rhs"](tau, list(state), [], self._params, *rule)
        growth = speed[-1] / (2 * state[-1])
        return np.stack([*speed[:-1], growth * state[-1]])

    def denoised(self, state: np.ndarray, tau: float, step: float) -> np.ndarray:
        """Return E[x1|x] in the directions of the rows, from the velocity (D2)."""
        here = self.levels(tau)
        if here.drive == 0:
            tau += NEAR * step
            here = self.levels(tau)
        return (self.velocity(state, tau) - here.rate * state) / here.drive


class ModesFlow(ExactFlow):
    """The exact flow of modes (D3) at given numbers, the bulk by its spread.

    A state has one row for each direction and a last one for the spread of the bulk.
    """

    def __init__(self, limit: Limit, point: Mapping[str, float]) -> None:
        self.placed = Placed.of(printed_limit(limit).about["modes"])
        loadings, exponents = self.placed.loadings, exponents_of(self.placed)
        self._functions = indexed_functions(printed(limit.exact["sampling"]))
        self.features, self.weights = loadings.shape[1], weights_of(point)
        self.means = loadings * point["d"] ** (0.5 - exponents)
        self._given = dict(point) | families(self.weights, loadings)
        self._given |= {"delta": exponents[:, None]}
        self._take_levels(limit, point)

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


def euler_steps(flow: ExactFlow, state: np.ndarray, times: Times) -> np.ndarray:
    """Step by the velocity at the state and at the time that `times` asks for."""
    for left, right, at in zip(times[0], times[0][1:], times[1], strict=False):
        state = state + (right - left) * flow.velocity(state, at)
    return state


def heun_steps(flow: ExactFlow, state: np.ndarray, times: Times) -> np.ndarray:
    """Average the velocities at both ends of a step; the last one is Euler's.

    Source: Karras et al. 2022, algorithm 1.
    """
    for left, right in zip(times[0], times[0][1:], strict=False):
        first = flow.velocity(state, left)
        ahead = state + (right - left) * first
        if right < 1:
            second = flow.velocity(ahead, right)
            ahead = state + (right - left) * (first + second) / 2
        state = ahead
    return state


def exponential_steps(
    flow: ExactFlow, state: np.ndarray, times: Times, *, second: bool
) -> np.ndarray:
    r"""Hold the denoiser for a step: $x' = (\alpha'/\alpha) x + (\beta' -
    \alpha'\beta/\alpha) D$, the first-order exponential integrator (DDIM).

    Of `second` order is DPM-Solver++(2M): the denoiser is extrapolated in
    $\log(\beta/\alpha)$. Its step into $\tau = 1$ is of first order, as is the one
    after a start from pure noise. Source: Lu et al. 2022, algorithm 2.
    """
    before, width = None, np.inf
    for left, right in zip(times[0], times[0][1:], strict=False):
        here, there = flow.levels(left), flow.levels(right)
        now = flow.denoised(state, left, right - left)
        used, ahead = now, _log_ratio(there) - _log_ratio(here)
        if second and before is not None and width < np.inf and right < 1:
            used = now + ahead / width * (now - before) / 2
        gain = there.beta - there.alpha * here.beta / here.alpha
        state = there.alpha / here.alpha * state + gain * used
        before, width = now, ahead
    return state


def _log_ratio(at: Levels) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(at.beta) - np.log(at.alpha))


RULES: dict[str, Callable[[ExactFlow, np.ndarray, Times], Any]] = {
    "left": euler_steps,
    "midpoint": euler_steps,
    "heun": heun_steps,
    "dpm++2m": partial(exponential_steps, second=True),
    "exponential": partial(exponential_steps, second=False),
}
"""The functions that carry a state through the steps, by the rule's name."""
