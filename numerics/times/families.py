"""The best member of a family of densities: gradients of learning times in theta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from ...errors import ModelError
from ...theory.models.model import TAU, Model
from ...theory.models.spec import Spec
from ...theory.times.densities import Density, of_map, piecewise_constant
from ...theory.times.maps import logit_normal, shift
from ...theory.windows.dilation import make_dilation
from ...theory.windows.search import find_windows
from ..asked import asked
from ..codegen.parameters import check_choice, dimension
from .best import EVEN, Shares, TimeGoal, time_goal, worst
from .nodes import curve, time_nodes, value_of
from .table import point_of

THETA = sp.Symbol("theta", positive=True)
START = {"shift": 1.0, "kappa": 3.0, "mass": 0.5, "logit-normal": 1.0}
"""Where a search starts. The mean of `logit-normal` is -log(theta), a shift by it."""

RANGE = {"shift": 1e9, "kappa": 12.0, "mass": 0.98, "logit-normal": 1e9}
"""The largest value of theta; the smallest is its inverse, and 0.02 for a mass."""


def density_family(name: str, model: Model) -> Density:
    """Return a family of densities in the symbol ``theta``.

    ``shift`` by theta, the dilation with every ``kappa`` equal to theta, the dilation
    with a ``mass`` theta in the windows together, and ``logit-normal`` of standard
    deviation 1 shifted by theta.
    """
    check_choice("family", name, tuple(START))
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


@dataclass(frozen=True)
class FamilyGoal:
    """Worst learning time as a function of theta, with its derivative."""

    density: Density
    pdf: sp.Expr
    point: dict[str, float]
    goal: Callable[[np.ndarray], TimeGoal]

    def __call__(self, theta: float) -> tuple[float, float]:
        """Return the goal at `theta` and its derivative."""
        point = self.point | {"theta": theta}
        smooth = not self.pdf.has(sp.Piecewise)
        rates = self._smooth(point) if smooth else self._steps(point)
        times, slopes = [], []
        for rate, slope, path, share in rates:
            times.append(share * np.sum(path / rate))
            slopes.append(-share * np.sum(path / rate**2 * slope))
        t, dt = np.array(times), np.array(slopes)
        value, part = worst(t)
        return value, float(part @ dt)

    def _smooth(self, point: dict[str, float]) -> list[tuple]:
        """Rates and their derivatives for a density that is smooth in theta."""
        nodes = time_nodes(self.density, point, None)
        score = curve(sp.diff(sp.log(self.pdf), THETA), TAU)
        change = nodes.weight * score(nodes.tau, point)
        goal = self.goal(nodes.tau)
        return [
            (f @ nodes.weight, f @ change, path, share)
            for f, path, share in zip(goal.rates, goal.paths, goal.shares, strict=True)
        ]

    def _steps(self, point: dict[str, float]) -> list[tuple]:
        r"""The same for steps: a mean $\bar f$ over [x, y] has $\partial_y\bar f =
        (f(y) - \bar f)/(y - x)$ and $\partial_x\bar f = (\bar f - f(x))/(y - x)$.
        """
        nodes = time_nodes(self.density, point, None)
        edges = np.array([value_of(e, point) for e in self.density.edges])
        moves = [value_of(sp.diff(e, THETA), point) for e in self.density.edges]
        pairs = pairwise(self.density.edges)
        heights = (height for height, _ in self.pdf.args)
        masses = [h * (b - a) for h, (a, b) in zip(heights, pairs, strict=False)]
        goal = self.goal(np.concatenate([nodes.tau, np.clip(edges, 1e-300, 1 - 1e-12)]))
        out = []
        for f, path, share in zip(goal.rates, goal.paths, goal.shares, strict=True):
            inside, at = f[:, : nodes.tau.size], f[:, nodes.tau.size :]
            slope = np.zeros(f.shape[0])
            for i, mass in enumerate(masses):
                low, high = edges[i], edges[i + 1]
                here = nodes.weight * ((nodes.tau > low) & (nodes.tau < high))
                m, dm = (value_of(x, point) for x in (mass, sp.diff(mass, THETA)))
                mean = inside @ here / m
                ends = (at[:, i + 1] - mean) * moves[i + 1] + (mean - at[:, i]) * moves[
                    i
                ]
                slope += dm * mean + m * ends / (high - low)
            out.append((inside @ nodes.weight, slope, path, share))
        return out


def family_goal(
    spec: Spec, d: float, name: str, loss: str, shares: Shares, *, within: float
) -> FamilyGoal:
    """Return the worst learning time of a family as a function of its parameter."""
    density = density_family(name, spec.model)
    point = point_of(spec, dimension(d), density)

    def goal(tau: np.ndarray) -> TimeGoal:
        return time_goal(spec, d, loss, shares, within=within, nodes=tau)

    return FamilyGoal(density, sp.sympify(density.pdf), point, goal)


def best_in_family(
    spec: Spec, d: float, name: str, loss: str, shares: Shares = EVEN, *, within: float
) -> dict[str, Any]:
    """Return the parameter of a family with the shortest worst learning time. (R23)

    By L-BFGS in its logarithm, with the derivative that goes through the integrals.
    Returns `family`, `theta`, `goal`, `uniform` (the goal of uniform times) and `gain`.
    """
    from scipy.optimize import minimize

    spec = asked(spec).spec
    objective = family_goal(spec, d, name, loss, shares, within=within)

    def of_log(x: np.ndarray) -> tuple[float, np.ndarray]:
        theta = float(np.exp(x[0]))
        value, slope = objective(theta)
        return np.log(value), np.array([theta * slope / value])

    low = 0.02 if name == "mass" else 1 / RANGE[name]
    bounds = [(np.log(low), np.log(RANGE[name]))]
    start = [np.log(START[name])]
    found = minimize(of_log, start, jac=True, method="L-BFGS-B", bounds=bounds)
    flat = family_goal(spec, d, "shift", loss, shares, within=within)
    uniform, best = flat(1.0)[0], float(np.exp(found.fun))
    about = {"family": name, "theta": float(np.exp(found.x[0])), "goal": best}
    return about | {"uniform": uniform, "gain": uniform / best}
