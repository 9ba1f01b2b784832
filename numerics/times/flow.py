"""The training flow of the shared network under a density of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...errors import ModelError, SolveError
from ...theory.models.model import Model
from ...theory.symbols.system import System
from ...theory.times.common_rate import common_rate_sgd, common_rate_training
from ...theory.times.noise import repeated_pair, shared_sgd
from ...theory.times.shared import shared_training, with_ridge
from ...theory.times.weights import loss_weight
from ..codegen.quadrature import START, trapezoid
from .nodes import TimeNodes
from .training_mean import kernel_of, time_mean

PAIR = 4 * START
"""Intervals of the normal that the times of a pair share."""

TYPICAL = ([0.01, 0.9, 0.9], [1e-4, 0.1, 0.001], [0.5, 0.2, 0.2])
"""States (m, q, b) that show which times matter: fields nowhere steep, and learned."""


def _steepest(start: Sequence[float]) -> list[float]:
    """Return a state whose fields are as steep as those of any on the way."""
    m, q, *rest = start
    return [max(1.0, abs(m)), max(q, 0.25), *rest]


class FlowKind(NamedTuple):
    """Kind of flow: with noise, exact at finite `d`, of one common rate, a ridge."""

    noisy: bool = False
    exact: bool = False
    common: bool = False
    ridge: bool = False


@lru_cache(maxsize=16)
def flow_system(model: Model, loss: str, kind: FlowKind) -> System:
    """Return the flow at one time under a loss weight, kept."""
    weight = loss_weight(loss, model.interpolant)
    if kind.common:
        derive = common_rate_sgd if kind.noisy else common_rate_training
        system = derive(model, weight)
    elif kind.noisy:
        system = shared_sgd(model, weight, kind.exact)
    else:
        system = shared_training(model, weight)
    return with_ridge(system, model) if kind.ridge else system


@lru_cache(maxsize=16)
def pair_system(model: Model, loss: str) -> System:
    """Return what a pair pulls at one time under a loss weight, kept."""
    return repeated_pair(model, loss_weight(loss, model.interpolant))


def check_kind(noisy: bool, repeats: int, exact: bool, common: bool) -> None:
    """Raise `ModelError` for a flow that is not derived, or an option without use."""
    if repeats > 1 and not noisy:
        raise ModelError(
            "Pairs that are repeated add noise at a finite rate, but `repeats` = "
            f"{repeats} comes without `rate`. Give `rate` and `batch`, or leave it."
        )
    if exact and not noisy:
        raise ModelError(
            "`exact_noise` is of the noise at a finite rate, but comes without `rate`. "
            "Give `rate` and `batch`, or leave it."
        )
    if common and (exact or repeats > 1):
        other = "exact_noise" if exact else f"repeats` = {repeats}, `batch"
        raise ModelError(
            "The noise with one common rate is derived to leading order and for fresh "
            f"pairs, but `common_rate` comes with `{other}`. Give one of them."
        )


Extra = Callable[[Sequence[float]], float]


def repeated_noise(
    model: Model,
    loss: str,
    nodes: TimeNodes,
    point: Mapping[str, float],
    repeats: int,
) -> Extra:
    r"""Return what `q` gains a unit of time from pairs used at several times. (R29)"""
    kernel = kernel_of(pair_system(model, loss))
    params = [point[name] for name in kernel.parameters[:-1]]
    g, w = trapezoid(PAIR)
    used = nodes.weight > 1e-14
    tau, weight = nodes.tau[used], nodes.weight[used]
    scale = (repeats - 1) * point["rate"] / point["batch"]
    spread = point["sigma"] ** 2

    def gain(state: Sequence[float]) -> float:
        total = 0.0
        for sign, share in ((1.0, point["p"]), (-1.0, 1 - point["p"])):
            given = [*state, g[:, None], sign]
            with np.errstate(all="ignore"):
                values, _ = kernel["values"](
                    0.0, [], given, [*params, tau], *trapezoid()
                )
            one, two, three = (values @ weight) ** 2
            total += share * w @ (one + spread / point["d"] * (two + spread * three))
        return float(scale * total)

    return gain


def integrate_flow(
    system: System,
    nodes: TimeNodes,
    point: Mapping[str, float],
    start: Sequence[float],
    times: Sequence[float],
    rtol: float,
    atol: float,
    extra: Extra | None = None,
) -> np.ndarray:
    """Return the states at training times that do not decrease, (time, state).

    `extra` is added to the speed of `q`.

    Implicit steps (LSODA chooses), as the mean over times mixes fast and slow ones.
    Raises `SolveError` when they cannot go on.
    """
    from scipy.integrate import solve_ivp

    typical = [*TYPICAL, *([[0.01, 0.1, 0.1]] * (len(start) - len(TYPICAL)))]
    mean = time_mean(system, nodes, point, _steepest(start), typical)
    grid = np.unique([0.0, *times])
    if grid.size == 1:
        return np.array([list(start)] * len(times))

    def speed(_: float, y: np.ndarray) -> np.ndarray:
        rates = np.array(mean(list(y)))
        rates[1] += extra(list(y)) if extra else 0.0
        return rates

    found = solve_ivp(
        speed,
        (0.0, grid[-1]),
        start,
        method="LSODA",
        t_eval=grid,
        rtol=rtol,
        atol=atol,
    )
    if not found.success:
        raise SolveError(
            f"The training flow must reach time {grid[-1]:g}, but stopped at "
            f"{found.t[-1] if found.t.size else 0:g}: {found.message} Ask for shorter "
            "times.",
            found,
        )
    return found.y.T[np.searchsorted(grid, times)]
