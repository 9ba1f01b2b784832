r"""How long one softmax network for all times takes to learn the weights of modes.

The mean over training times and over the mixture is one sum over columns: each time has
a trapezoidal rule as fine as its fields are steep, in one or two directions, and
scrambled points beyond. A second rule, shifted or scrambled anew, tells the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from ...errors import ModelError, SolveError
from ...theory.models.model import TAU, Model
from ...theory.modes.systems import weights_training
from ..codegen.double import in_double
from ..codegen.indexed import indexed_functions
from ..modes.confusion import differences
from ..modes.evaluate import families, weights_of
from ..modes.normal_averages import REACH, as_normals, product_rule, scrambled
from .flow import Speed, integrate_flow
from .nodes import TimeNodes, curve
from .training_mean import contributing_times, flow_under

COARSEST, STEPPED = 16, 1.8
"""Intervals where no field is steep; else steepness times spacing. A rule's error is
$e^{-2\\pi^2/1.8}$ = 2e-5; the mean of two has half the spacing and its square."""
DECIDED = 14.0
"""Steepness from which a pair of modes is told apart but for $e^{-S^2/8}$ = 2e-11."""
SCATTERED = 2**10  # scrambled points in three and more directions
BLOCK = 2**12  # columns that are computed at once: one size is compiled
NEGLIGIBLE = 1e-7  # times that add less than this share to a mean are left out
TAIL = 1e-13  # weights of normals below this are left out
RTOL, ATOL = 1e-6, 1e-8
CLEAR = 1e-6
"""How far inside the last weight is when the flow ends, so that all have crossed."""
LONG = 1e9  # units of the first rate after which a weight counts as never learned

State = np.ndarray


class Columns(NamedTuple):
    """Training times and standard normals side by side, with what each counts."""

    tau: np.ndarray
    g: np.ndarray
    weight: np.ndarray


class BiasFlow:
    """The speed of the biases, averaged over training times and the mixture."""

    def __init__(
        self, model: Model, loss: str, nodes: TimeNodes, point: Mapping[str, float]
    ) -> None:
        """Find the training times that matter, and how steep the fields are there."""
        target: Any = model.target
        loadings = np.array(target.loadings, float)
        exponents = np.array([float(x) for x in target.exponents])
        system = flow_under(weights_training, model, loss)
        self.functions = indexed_functions(system)
        self.weights = weights_of(point)
        self.given = dict(point) | families(self.weights, loadings)
        self.given |= {"delta": exponents[:, None]}
        means = loadings * point["d"] ** (0.5 - exponents)
        self.basis = differences(means)
        if not np.ptp(means, axis=0).any():
            raise ModelError(
                "Weights are learned of modes that differ, but all means are equal. "
                "Change the loadings."
            )
        path = model.interpolant
        alpha, beta = (curve(x, TAU)(nodes.tau, {}) for x in (path.alpha, path.beta))
        spread = beta / np.sqrt(alpha**2 + point["sigma"] ** 2 * beta**2)
        used = self._contributing(nodes, means, spread)
        along = np.ptp(means @ self.basis, axis=0)
        self.tau, self.weight = nodes.tau[used], nodes.weight[used]
        self.steep = np.minimum(np.outer(along, spread[used]), DECIDED)

    def speed(self, rule: int) -> Speed:
        """Return the speed of each bias, (modes,); rules 0 and 1 are alike exact."""
        tau, g, weight = self._columns(rule)
        more = -len(tau) % BLOCK
        count = (len(tau) + more) // BLOCK
        wide = np.pad(tau, (0, more), "edge"), np.pad(g, ((0, 0), (0, more)), "edge")
        blocks = zip(*(np.split(x, count, -1) for x in wide), strict=True)
        given = [self.given | {"tau": x, "g": y} for x, y in blocks]
        run = _compiled(self.functions)

        @in_double
        def mean(bias: Sequence[float]) -> State:
            b = np.array(bias)[:, None]
            each = np.concatenate([run(x, b) for x in given], 1)[:, : len(tau)]
            return np.where(np.isfinite(each), each, 0.0) @ weight

        return mean

    def _contributing(
        self, nodes: TimeNodes, means: np.ndarray, spread: np.ndarray
    ) -> np.ndarray:
        r"""Times that matter to any pair of modes, each by itself: $e^{-S^2/8}$. (R9)

        `spread` is the steepness S of a difference of fields per distance of means.
        """
        given = self.given | {"tau": nodes.tau, "b": np.zeros((len(means), 1))}
        apart = np.linalg.norm(means[:, None] - means, axis=-1)
        with np.errstate(all="ignore"):
            ones = [np.ones((1, len(nodes.tau)))]
            before = self.functions.equations(np, 0.0, given, ones)["b"]
            steep = np.unique(apart[apart > 0])[:, None] * spread
            decided = np.exp(-(steep**2) / 8)
        parts = np.nan_to_num(before) * nodes.weight * decided
        return contributing_times(parts, NEGLIGIBLE)

    def _columns(self, rule: int) -> Columns:
        points, weights = zip(*(_rule(x, rule) for x in self.steep.T), strict=True)
        pairs = zip(weights, self.weight, strict=True)
        return Columns(
            np.repeat(self.tau, [len(w) for w in weights]),
            self.basis @ np.concatenate(points, 1),
            np.concatenate([w * share for w, share in pairs]),
        )


@lru_cache(maxsize=16)
def _compiled(functions: ModuleType) -> Callable[..., Any]:
    """Return the speed of each bias at every column, (modes, columns), by JAX."""
    import jax

    def speed(given: Mapping[str, Any], bias: Any) -> Any:
        here = {**given, "b": bias}
        inside = functions.integrand_0(jax.numpy, 0.0, here)
        return functions.equations(jax.numpy, 0.0, here, [inside])["b"]

    return jax.jit(speed)


def _rule(steep: np.ndarray, rule: int) -> tuple[np.ndarray, np.ndarray]:
    if len(steep) > 2:
        return _scattered(len(steep), rule)
    wanted = np.ceil(2 * REACH * steep / STEPPED / 4).astype(int) * 4
    return _even(tuple(np.maximum(COARSEST, wanted).tolist()), rule)


@lru_cache(maxsize=512)
def _even(counts: tuple[int, ...], rule: int) -> tuple[np.ndarray, np.ndarray]:
    """A trapezoidal rule, or the one between its points, (dim, nodes) and weights."""
    return product_rule([_side(count, rule) for count in counts], TAIL)


def _side(count: int, rule: int) -> tuple[np.ndarray, np.ndarray]:
    spacing = 2 * REACH / count
    x = spacing * (np.arange(count + 1) - count / 2 + rule / 2)
    w = np.exp(-x * x / 2)
    return x, w / w.sum()


@lru_cache(maxsize=8)
def _scattered(dim: int, rule: int) -> tuple[np.ndarray, np.ndarray]:
    points = as_normals(scrambled(SCATTERED, dim, rule)).T
    return points, np.full(SCATTERED, 1 / SCATTERED)


def weights_times(
    model: Model, loss: str, nodes: TimeNodes, point: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the training time of each mode's weight, and its error. (R37)

    The units are held at the means and all biases start at 0; a weight is learned when
    the softmax of the biases is within ``point["within"]`` of it for good. The error is
    the difference of two rules. Infinite where nothing moves the biases.
    """
    flow = BiasFlow(model, loss, nodes, point)
    one, other = (
        _times(flow.speed(rule), flow.weights, point["within"]) for rule in (0, 1)
    )
    with np.errstate(invalid="ignore"):
        return (one + other) / 2, np.abs(one - other)


def _times(speed: Speed, p: np.ndarray, within: float) -> np.ndarray:
    from scipy.integrate import solve_ivp

    start = [0.0] * len(p)
    unit = np.abs(speed(start)).max()
    away = np.abs(softmax(start) - p) > within
    if not away.any():
        return np.zeros_like(p)
    if unit == 0:
        return np.where(away, np.inf, 0.0)

    def event(k: int) -> Any:
        return lambda t, b: abs(softmax(b)[k] - p[k]) - within

    def last(t: float, b: State) -> float:
        return float(np.abs(softmax(b) - p).max()) - within * (1 - CLEAR)

    last.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(
        lambda t, b: speed(b) / unit,
        (0, LONG),
        start,
        method="LSODA",
        events=[*(event(k) for k in range(len(p))), last],
        rtol=RTOL,
        atol=ATOL,
    )
    if not found.success:
        raise SolveError(
            "The flow of the biases cannot be followed: " + found.message + " Ask for "
            "a density with times in every window."
        )
    ends = [x[-1] if x.size else 0.0 for x in found.t_events[:-1]]
    done = found.t_events[-1].size > 0
    still = np.abs(softmax(found.y[:, -1]) - p) > within
    return np.where(still & (not done), np.inf, ends) / unit


def weights_flow(
    model: Model,
    loss: str,
    nodes: TimeNodes,
    point: Mapping[str, float],
    start: Sequence[float],
    times: Sequence[float],
) -> np.ndarray:
    """Return the biases at training times that do not decrease, (time, mode)."""
    speed = BiasFlow(model, loss, nodes, point).speed(0)
    return integrate_flow(speed, start, times, RTOL, ATOL)
