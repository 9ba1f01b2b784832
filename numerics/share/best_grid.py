r"""The best grid for a number of Euler steps, by gradients of the exact flow.

Every dilation, whatever its scale and shares, is a choice of the points, so the points
themselves are free: $\mathrm{logit}\,\tau_k$ increases by $e^{\theta_k}$. The share of
a sign is $P(g^* < g)$ with $g^*$ where the path's end changes sign, and its slope in
$\theta$ follows from the implicit function theorem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtr

from ...errors import ModelError
from ...theory.derive import Limit, derive
from ...theory.models.spec import Spec
from ..codegen.double import in_double
from ..codegen.kernel import make_kernel
from ..codegen.parameters import complete, dimension, whole_number
from ..times.time_grid import make_grid
from .euler import KEEP_SHARE, KEEP_SPREAD, REACH, follow_samples, sign_changes
from .rules import ExactFlow, euler_steps

STARTS = ("dilated", "log-snr", "mse-decrements")
"""Grids from which the points are moved; the best end is taken."""

COMPARED = ("uniform", "dilated", "log-snr", "entropic", "lipschitz")
ROUNDS = 150  # iterations of the minimiser from each start
NODES = 801  # starting points among which a sign change is sought
ROOT = np.sqrt(2 * np.pi)
TINY = 1e-14  # of a time: points of a start that coincide with an end


def best_grid(
    spec: Spec, d: float, steps: int, compared: Sequence[str] = COMPARED
) -> dict[str, Any]:
    r"""Move the points of a grid to the least error of the weights and the spread.

    The error is $\sum_j ((p_j' - p_j)/.02)^2 + ((\sigma' - \sigma)/.1)^2$ of what
    `steps` Euler steps generate on the exact flow (D3) at dimension `d`: a local
    minimum, the best of those reached from `STARTS`.

    Returns ``{"d", "steps", "tau", "share_plus", "bulk_std", "error", "compared"}``;
    `compared` has a row for each named grid with its own numbers and `gain`, its
    error over the best one's. Raises `ModelError` for a mixture of modes, whose shares
    are counted and have no slope.
    """
    if spec.kind == "modes":
        raise ModelError(
            "The best grid is sought for signs of features, whose shares have slopes, "
            "but this model has modes. Compare named grids with `dilaton steps`."
        )
    limit, count = derive(spec.model), whole_number("steps", steps, 3)
    point = complete(limit, spec.values) | {"d": dimension(d)}
    goal = _Goal(limit, point, ExactFlow(limit, point))
    found = [_moved(goal, make_grid(x, limit, point).ends(count)) for x in STARTS]
    error, tau = min(found, key=lambda pair: pair[0])
    rows = []
    for text in compared:
        made = make_grid(text, limit, point).ends(count)
        rows.append({"grid": text, **goal.numbers(made)})
        rows[-1]["gain"] = goal.error(rows[-1]) / max(error, 1e-300)
    here = {"d": float(d), "steps": count, "tau": tau.tolist(), **goal.numbers(tau)}
    return here | {"error": error, "compared": rows}


def _moved(goal: _Goal, start: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the error and the grid reached from the points of `start`."""
    inside = logit(np.clip(start[1:-1], TINY, 1 - 1e-12))
    theta = np.concatenate([inside[:1], np.log(np.diff(inside))])
    found = minimize(
        goal.with_slope, theta, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS}
    )
    tau = points(found.x)
    return goal.error(goal.numbers(tau)), tau


def points(theta: np.ndarray) -> np.ndarray:
    """Return the grid of free parameters, from 0 to 1."""
    inside = expit(np.cumsum(np.concatenate([theta[:1], np.exp(theta[1:])])))
    return np.concatenate([[0.0], inside, [1.0]])


class _Goal:
    """The error of a grid and its slope in the free parameters."""

    def __init__(
        self, limit: Limit, point: Mapping[str, float], flow: ExactFlow
    ) -> None:
        target = limit.model.target
        self.flow, self.sigma = flow, point[str(target.sigma)]
        self.weights = np.array([point[str(f.p)] for f in target.features])
        self._slopes = _slopes(limit, point, flow)
        self._nodes = np.linspace(-REACH, REACH, NODES)

    def numbers(self, tau: np.ndarray) -> dict[str, Any]:
        """Return the shares and the spread after Euler steps on `tau`."""
        return follow_samples(self.flow, (tau, tau[:-1]), "left")

    def error(self, numbers: Mapping[str, Any]) -> float:
        """Return the squared errors in units of what is asked of a grid."""
        shares = (np.atleast_1d(numbers["share_plus"]) - self.weights) / KEEP_SHARE
        spread = (numbers["bulk_std"] - self.sigma) / KEEP_SPREAD
        return float(shares @ shares + spread**2)

    def with_slope(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the error and its gradient."""
        tau = points(theta)
        last = self._ends(tau, self._nodes)
        total, slope = 0.0, np.zeros_like(theta)
        for j, p in enumerate(self.weights):
            gap, rate = self._share(theta, tau, last[j], j)
            gap = (gap - p) / KEEP_SHARE
            total, slope = total + gap**2, slope + 2 * gap / KEEP_SHARE * rate
        spread, rate, _ = self._slopes(theta, 1.0, len(self.weights))
        gap = (abs(spread) - self.sigma) / KEEP_SPREAD
        slope = slope + 2 * gap / KEEP_SPREAD * np.sign(spread) * rate
        return float(total + gap**2), slope

    def _share(
        self, theta: np.ndarray, tau: np.ndarray, last: np.ndarray, j: int
    ) -> tuple[float, np.ndarray]:
        """Return the share of sign `j` and its slope in theta."""
        rising, places = sign_changes(
            lambda g: self._ends(tau, g)[j], self._nodes, last
        )
        share, slope = float(last[-1] > 0), np.zeros_like(theta)
        for sign, g in zip(np.where(rising, 1, -1), places, strict=True):
            _, by_theta, by_g = self._slopes(theta, g, j)
            # dg*/dtheta = -(d end/d theta)/(d end/d g); a rise takes mass away
            share -= sign * ndtr(g)
            slope += sign * np.exp(-(g**2) / 2) / ROOT * by_theta / by_g
        return float(share), slope

    def _ends(self, tau: np.ndarray, g: np.ndarray) -> np.ndarray:
        first = self.flow.start * np.stack([*[g] * self.flow.features, np.ones_like(g)])
        return euler_steps(self.flow, first, (tau, tau[:-1]))


def _slopes(
    limit: Limit, point: Mapping[str, float], flow: ExactFlow
) -> Callable[[np.ndarray, float, int], tuple[float, np.ndarray, float]]:
    """Return the end of one row and its slopes in theta and in g, by JAX."""
    import jax
    import jax.numpy as jnp

    system = limit.exact["sampling"]
    kernel = make_kernel(system, "jax")
    params = [point[str(x)] for x in system.parameters]

    def end(theta: Any, g: Any, row: int) -> Any:
        inside = jax.nn.sigmoid(
            jnp.cumsum(jnp.concatenate([theta[:1], jnp.exp(theta[1:])]))
        )
        tau = jnp.concatenate([jnp.zeros(1), inside, jnp.ones(1)])

        def step(state: Any, at: Any) -> tuple[Any, None]:
            left, width = at
            speed, _ = kernel["rhs"](left, list(state), [], params, *kernel.rule)
            rate = jnp.append(speed[:-1], speed[-1] / (2 * state[-1]))
            return state + width * rate, None

        first = flow.start * jnp.append(jnp.full(flow.features, g), 1.0)
        last, _ = jax.lax.scan(step, first, (tau[:-1], jnp.diff(tau)))
        return last[row]

    both = jax.jit(jax.value_and_grad(end, argnums=(0, 1)), static_argnums=2)

    @in_double
    def slopes(
        theta: np.ndarray, g: float, row: int
    ) -> tuple[float, np.ndarray, float]:
        value, (by_theta, by_g) = both(jnp.asarray(theta), float(g), row)
        return float(value), np.asarray(by_theta), float(by_g)

    return slopes
