r"""The best density of training times: where to train for the shortest learning time.

A learning time is $t(\rho) = \int db/\int\rho K_b$, convex in the density and of degree
-1, so that $-\int\rho\,\delta t/\delta\rho = t$. A density is optimal when no time is
worth more than the mean: $-\delta t/\delta\rho(\tau) \le t$ for all $\tau$ (the
equivalence theorem of optimal design). The gap of this bound is a certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...errors import ModelError, SolveError
from ...theory.models.model import Model
from ...theory.models.spec import Spec
from ...theory.symbols.system import System
from ...theory.times.densities import piecewise_constant
from ...theory.times.held import (
    bulk_training,
    check_trainable,
    direction_training,
    weight_training,
)
from ...theory.windows.dilation import make_dilation
from ...theory.windows.search import find_windows
from ..asked import asked
from ..codegen.parameters import dimension
from .learning_time import bias_path, check_loss, check_within
from .training_mean import evaluated, flow_under, kernel_of, shrinking

WORST = 32
"""Power of the mean over features that stands for the worst one."""

GAP = 0.02
"""Largest relative gap to the optimum that is returned."""


class Shares(NamedTuple):
    """The share of the learning times of weights, of directions and of the variance."""

    weight: float
    direction: float
    variance: float


EVEN = Shares(1.0, 1.0, 1.0)

OPTIONS = {"maxiter": 4000, "maxfun": 8000, "gtol": 1e-10, "ftol": 1e-15, "maxcor": 30}

RANGE = (-6.0, 6.0)
"""Log-odds covered beyond those of the first window and of tau = 1/2."""


@dataclass(frozen=True)
class TimeGoal:
    """Learning times of all features, and of the variance, over nodes of time.

    `rates` has for each goal the rate of its bias at nodes of the bias, (bias, times),
    and `path` the weights of the integral over the bias; the variance has one node.
    """

    nodes: np.ndarray
    rates: tuple[np.ndarray, ...]
    paths: tuple[np.ndarray, ...]
    shares: np.ndarray

    def times(self, weight: np.ndarray) -> np.ndarray:
        """Return every learning time under weights of the nodes, which sum to 1."""
        pairs = zip(self.rates, self.paths, strict=True)
        return np.array([np.sum(path / (rate @ weight)) for rate, path in pairs])

    def slopes(self, weight: np.ndarray) -> np.ndarray:
        """Return the derivatives of the times in the weights, (goal, times)."""
        pairs = zip(self.rates, self.paths, strict=True)
        return np.array([-(p / (r @ weight) ** 2) @ r for r, p in pairs])

    def value(self, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the goal, a power mean of the weighted times, and its gradient."""
        value, part = worst(self.shares * self.times(weight))
        return value, (self.shares * part) @ self.slopes(weight)


def worst(times: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a mean of times of power `WORST`, nearly the largest, and its slopes."""
    top = times.max()
    mean = float(top * np.mean((times / top) ** WORST) ** (1 / WORST))
    return mean, (times / mean) ** (WORST - 1) / times.size


def time_goal(
    spec: Spec, d: float, loss: str, shares: Shares, *, within: float, nodes: np.ndarray
) -> TimeGoal:
    """Return the goal: times of weights, directions and the variance at `d`.

    It is the largest of the times, each multiplied with its share, as a mean of power
    `WORST`.
    """
    model = spec.model
    check_trainable(model)
    point = {k: float(v) for k, v in spec.values.items()} | {"d": dimension(d)}
    check_within(within)
    check_loss(model, loss, nodes, point)
    rates, paths, counts = [], [], []
    for name, share in shares._asdict().items():
        if not 0 <= share < np.inf:
            raise ModelError(
                f"`{name}` must be from 0, what its time counts for beside others, but "
                f"is {share:g}. 1 counts it as it is."
            )
        for rate, path in _parts(
            name if share else "", model, loss, point, within, nodes
        ):
            rates.append(rate)
            paths.append(path)
            counts.append(share)
    if not rates:
        raise ModelError(
            "There must be something to learn, but no share is positive, or every "
            f"weight is within {within:g} of 1/2. Count `direction` or `variance`."
        )
    return TimeGoal(nodes, tuple(rates), tuple(paths), np.array(counts))


def _parts(
    name: str,
    model: Model,
    loss: str,
    point: dict[str, float],
    within: float,
    tau: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rates of one kind of learning at nodes of the path, and the path's weights."""
    once = np.ones(1)
    if name == "variance":
        true = np.array([point["sigma"] ** 2])
        system = flow_under(bulk_training, model, loss)
        yield -_values(system, "jacobian", point, true, tau), once
    for j, feature in enumerate(model.target.features, 1):
        p = point[str(feature.p)]
        if name == "weight" and abs(p - 0.5) > within:
            b, db = bias_path(p, within)
            system = flow_under(weight_training, model, loss, j)
            yield _values(system, "rhs", point, b, tau), db
        if name == "direction":
            system = flow_under(direction_training, model, loss, j)
            yield -_values(system, "rhs", point, once, tau), once


def _values(
    system: System, function: str, point: dict[str, float], x: np.ndarray, tau
) -> np.ndarray:
    """Return a rate at states and times, (states, times), with steps resolved."""
    kernel = kernel_of(system)
    params, wide = [point[name] for name in kernel.parameters[:-1]], [x[:, None]]
    rule = None
    if "observables" in kernel.functions:
        seen = evaluated(kernel["observables"], wide, params, tau)
        names = kernel.outputs("observables")
        rows = dict(zip(names, np.broadcast_arrays(*seen), strict=True))
        kinks = [rows[name] for name in names if name.startswith("kink")]
        rule = shrinking(kinks, rows["steepness"])
    values = evaluated(kernel[function], wide, params, tau, rule)[0]
    return np.broadcast_to(values, (x.size, tau.size))


def best_density(
    spec: Spec,
    d: float,
    loss: str,
    *,
    shares: Shares = EVEN,
    within: float,
    points: int = 120,
) -> dict[str, Any]:
    r"""Return the density with the shortest worst learning time at dimension `d`. (R22)

    Free on a grid of `points` cells of log-odds; the problem is convex.

    Returns
    -------
    dict
        `density` (a `Density` of steps), `times` (of each goal, features first),
        `goal`, `uniform` (the goal under uniform times), `gain` (their ratio), `gap`
        (relative, to the best density on the grid) and `masses` (in each phase of the
        dilation).

    Raises
    ------
    SolveError
        When the search ends farther from the optimum than `GAP`.
    """
    spec = asked(spec).spec
    odds = np.linspace(-np.log(d) / 2 + RANGE[0], RANGE[1], points + 1)
    edges = 1 / (1 + np.exp(-odds))
    low, high = edges[:-1], edges[1:]
    tau = np.where(high > 0.5, (low + high) / 2, np.sqrt(low * high))
    goal = time_goal(spec, d, loss, shares, within=within, nodes=tau)
    weight, gap = _minimise(goal)
    density = piecewise_constant("best", edges.tolist(), weight.tolist())
    uniform = goal.value(np.diff(edges) / (edges[-1] - edges[0]))[0]
    best = goal.value(weight)[0]
    return {
        "density": density,
        "times": goal.times(weight).tolist(),
        "goal": best,
        "uniform": uniform,
        "gain": uniform / best,
        "gap": gap,
        "masses": window_masses(spec, d, edges, weight),
    }


def window_masses(
    spec: Spec, d: float, edges: np.ndarray, weight: np.ndarray
) -> dict[str, float]:
    """Return the share of a density of steps in each phase of the spec's dilation."""
    model = spec.model
    dilation = make_dilation(find_windows(model))
    values = {k: float(v) for k, v in spec.values.items()} | {"d": float(d)}
    for x in map(str, dilation.parameters):
        values.setdefault(x, values.get("kappa", np.nan))
    knots = dilation.knots(values)
    below = np.interp(knots, edges, np.concatenate([[0.0], np.cumsum(weight)]))
    names = [segment.name for segment in dilation.segments]
    return dict(zip(names, np.diff(below).tolist(), strict=True))


def _minimise(goal: TimeGoal) -> tuple[np.ndarray, float]:
    """Return the best weights, by L-BFGS in their logarithms, and the gap to them."""
    from scipy.optimize import minimize
    from scipy.special import softmax

    def of_logs(x: np.ndarray) -> tuple[float, np.ndarray]:
        weight = softmax(x)
        value, slope = goal.value(weight)
        relative = slope / value
        return np.log(value), weight * (relative - weight @ relative)

    found = minimize(
        of_logs, np.zeros(goal.nodes.size), jac=True, method="L-BFGS-B", options=OPTIONS
    )
    weight = softmax(found.x)
    value, slope = goal.value(weight)
    gap = float(np.max(-slope / value) - 1)
    if gap > GAP:
        raise SolveError(
            f"The best density must be known within {GAP:g}, but the search left "
            f"{gap:.2g} ({found.message}). Ask for fewer points.",
            weight,
        )
    return weight, gap
