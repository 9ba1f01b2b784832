r"""The best density of training times: where to train for the shortest learning time.

A learning time is $t(\rho) = \int db/\int\rho K_b$, convex in the density and of degree
-1, so that $-\int\rho\,\delta t/\delta\rho = t$. A density is optimal when no time is
worth more than the mean: $-\delta t/\delta\rho(\tau) \le t$ for all $\tau$ (the
equivalence theorem of optimal design). The gap of this bound is a certificate. Families
of densities are searched in one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from ...errors import ModelError, SolveError
from ...theory.models.model import Model
from ...theory.models.spec import Spec
from ...theory.symbols.system import System
from ...theory.times.densities import Density, of_map, piecewise_constant
from ...theory.times.held import (
    bulk_training,
    check_trainable,
    direction_training,
    weight_training,
)
from ...theory.times.maps import logit_normal, shift
from ...theory.windows.dilation import make_dilation
from ...theory.windows.search import find_windows
from ..asked import asked
from ..codegen.parameters import check_choice, dimension
from .learning_time import bias_path, check_loss, check_within
from .nodes import time_nodes
from .table import point_of
from .training_mean import evaluated, fitted_rule, flow_under, kernel_of

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

ODDS = (-6.0, 6.0)
"""Log-odds covered beyond those of the first window and of tau = 1/2."""

THETA = sp.Symbol("theta", positive=True)
RANGES = {
    "shift": (1e-9, 1e9),
    "kappa": (1 / 12, 12.0),
    "mass": (0.02, 0.98),
    "logit-normal": (1e-9, 1e9),
}
"""The values of theta. The mean of `logit-normal` is -log(theta), a shift by it."""

CLOSE = 1e-5  # how near the best theta is, in its logarithm


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

    def value(self, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the goal, a power mean of the weighted times, and its gradient."""
        value, part = worst(self.shares * self.times(weight))
        pairs = zip(self.rates, self.paths, strict=True)
        slopes = np.array([-(p / (r @ weight) ** 2) @ r for r, p in pairs])
        return value, (self.shares * part) @ slopes


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
    rule = fitted_rule(kernel, wide, params, tau)
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

    Free on a grid of `points` cells of log-odds; the problem is convex. Returns
    `density` (a `Density` of steps), `times` (of each goal, features first), `goal`,
    `uniform` (the goal under uniform times), `gain` (their ratio), `gap` (relative, to
    the best density on the grid) and `masses` (in each phase of the dilation). Raises
    `SolveError` when the search ends farther from the optimum than `GAP`.
    """
    spec = asked(spec).spec
    odds = np.linspace(-np.log(d) / 2 + ODDS[0], ODDS[1], points + 1)
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


# -------------------------------------------------------------------- families


def density_family(name: str, model: Model) -> Density:
    """Return a family of densities in the symbol ``theta``.

    ``shift`` by theta, the dilation with every ``kappa`` equal to theta, the dilation
    with a ``mass`` theta in the windows together, and ``logit-normal`` of standard
    deviation 1 shifted by theta.
    """
    check_choice("family", name, tuple(RANGES))
    if name == "shift":
        return of_map(shift(THETA))
    if name == "logit-normal":
        return of_map(logit_normal(-sp.log(THETA), sp.S.One))
    segments = make_dilation(find_windows(model)).segments
    edges = [segments[0].start, *(g.stop for g in segments)]
    count = len(segments)
    if name == "kappa":
        kappas = {x for e in edges for x in e.free_symbols if str(x)[0] == "k"}
        edges = [e.subs(dict.fromkeys(kappas, THETA)) for e in edges]
        return piecewise_constant("kappa", edges, [sp.Rational(1, count)] * count)
    masses = [THETA / (count - 1)] * (count - 1) + [1 - THETA]
    if segments[-1].name != "variance":
        raise ModelError(
            "The family `mass` needs windows before the variance, but the last phase "
            f"of this model is `{segments[-1].name}`. Choose another family."
        )
    return piecewise_constant("mass", edges, masses)


def family_goal(
    spec: Spec, d: float, name: str, loss: str, shares: Shares, *, within: float
) -> Callable[[float], float]:
    """Return the worst learning time of a family as a function of its parameter."""
    density = density_family(name, spec.model)
    point = point_of(spec, d, density)

    def value(theta: float) -> float:
        nodes = time_nodes(density, point | {"theta": theta}, None)
        goal = time_goal(spec, d, loss, shares, within=within, nodes=nodes.tau)
        return goal.value(nodes.weight)[0]

    return value


def best_in_family(
    spec: Spec, d: float, name: str, loss: str, shares: Shares = EVEN, *, within: float
) -> dict[str, Any]:
    """Return the parameter of a family with the shortest worst learning time. (R23)

    By Brent's method in its logarithm. Returns `family`, `theta`, `goal`, `uniform`
    (the goal of uniform times) and `gain`.
    """
    from scipy.optimize import minimize_scalar

    spec = asked(spec).spec
    goal = family_goal(spec, d, name, loss, shares, within=within)
    found = minimize_scalar(
        lambda x: np.log(goal(float(np.exp(x)))),
        bounds=np.log(RANGES[name]),
        method="bounded",
        options={"xatol": CLOSE},
    )
    uniform = family_goal(spec, d, "shift", loss, shares, within=within)(1.0)
    best = float(np.exp(found.fun))
    about = {"family": name, "theta": float(np.exp(found.x)), "goal": best}
    return about | {"uniform": uniform, "gain": uniform / best}
