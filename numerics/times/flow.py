"""The training flow of the shared network under a density of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import sympy as sp

from ...errors import AdmissibilityError, DerivationError, ModelError, SolveError
from ...theory.models.classes import pair
from ...theory.models.model import Model
from ...theory.symbols.system import System
from ...theory.times.densities import loss_weight
from ...theory.times.noise import (
    common_rate_sgd,
    common_rate_training,
    repeated_pair,
    shared_sgd,
)
from ...theory.times.shared_flow import (
    Averages,
    averages_out,
    shared_training,
    with_ridge,
)
from ..codegen.quadrature import START, trapezoid
from .nodes import TimeNodes
from .tanh_averages import TwoFields, one_field
from .training_mean import contributing_times, evaluated, kernel_of

MINUTE = 1e-9  # times that add less than this share to every speed are left out
ROUNDED = 1e-12  # amount by which the eigenvalues of a Gram matrix may be below 0
PAIR = 4 * START  # intervals of the normal that the times of a pair share

DIVERGED = 1e6
"""The overlap at which training diverges: one that is learned is of order 1."""

Speed = Callable[[Sequence[float]], np.ndarray]
"""The mean speed of a network's overlaps, or of its biases."""


class FlowKind(NamedTuple):
    """Kind of flow: with noise, exact at finite `d`, of one common rate, a ridge."""

    noisy: bool = False
    exact: bool = False
    common: bool = False
    ridge: bool = False


@lru_cache(maxsize=16)
def open_flow(model: Model, loss: str, kind: FlowKind) -> Averages:
    """Return the flow at one time under a loss weight, its averages open, kept."""
    count = len(model.target.features)
    if kind.common and count > 1:
        raise DerivationError(
            "One common rate is derived for one feature, but this model has "
            f"{count}: the noise of each bias then goes with that of every other. "
            "Leave `common_rate` out."
        )
    weight = loss_weight(loss, model.interpolant)
    if kind.common:
        derive = common_rate_sgd if kind.noisy else common_rate_training
        system = derive(model, weight, form=sp.sympify)
    elif kind.noisy:
        system = shared_sgd(model, weight, kind.exact, form=sp.sympify)
    else:
        system = shared_training(model, weight, form=sp.sympify)
    return averages_out(with_ridge(system) if kind.ridge else system)


@lru_cache(maxsize=16)
def pair_system(model: Model, loss: str) -> System:
    """Return what a pair pulls at one time under a loss weight, kept."""
    count = len(model.target.features)
    if count > 1:
        raise DerivationError(
            "The noise of repeated pairs is derived for one feature, but this model "
            f"has {count}. Leave `repeats` out."
        )
    return repeated_pair(model, loss_weight(loss, model.interpolant))


def check_flow_kind(noisy: bool, repeats: int, exact: bool, common: bool) -> None:
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


def with_repeats(
    speed: Speed, pair: System, nodes: TimeNodes, point: Mapping[str, float], more: int
) -> Speed:
    r"""Return the speed of (m, q, b) with what pairs used `more` times add to q. (R29)

    `pair` is the system of `pair_system`.
    """
    kernel = kernel_of(pair)
    params = [point[name] for name in kernel.parameters[:-1]]
    g, w = trapezoid(PAIR)
    used = nodes.weight > 1e-14
    tau, weight = nodes.tau[used], nodes.weight[used]
    scale = more * point["rate"] / point["batch"]
    spread = point["sigma"] ** 2

    def noisier(state: Sequence[float]) -> np.ndarray:
        found, total = speed(state), 0.0
        for sign, share in ((1.0, point["p"]), (-1.0, 1 - point["p"])):
            given = [*state, g[:, None], sign]
            with np.errstate(all="ignore"):
                values, _ = kernel["values"](
                    0.0, [], given, [*params, tau], *trapezoid()
                )
            one, two, three = (values @ weight) ** 2
            total += share * w @ (one + spread / point["d"] * (two + spread * three))
        found[1] += scale * total
        return found

    return noisier


class FlowMean:
    """The speed of all overlaps, averaged over nodes of time.

    Averages over fields are closed (R40), so that no field is too steep.
    """

    def __init__(
        self, system: Averages, nodes: TimeNodes, point: Mapping[str, float]
    ) -> None:
        self.system = system
        self.rates, self.fields = kernel_of(system.rates), kernel_of(system.fields)
        self.params, self.where = (
            [point[name] for name in kernel.parameters[:-1]]
            for kernel in (self.rates, self.fields)
        )
        self.tau, self.weight = nodes.tau, nodes.weight

    def kept(self, init: Sequence[float]) -> FlowMean:
        """Leave out the times that add nothing at the start and at typical states."""
        learned = [_typical(str(x)) for x in self.system.flow.unknowns]
        states = init, learned, [0.01 * x for x in learned]
        parts = np.array([self.each(state) for state in states])
        kept = contributing_times(np.abs(parts) * self.weight, MINUTE)
        self.tau, self.weight = self.tau[kept], self.weight[kept]
        return self

    def __call__(self, state: Sequence[float]) -> np.ndarray:
        """Return the mean speed of every overlap."""
        return self.each(state) @ self.weight

    def each(self, state: Sequence[float]) -> np.ndarray:
        """Return the speed at each time, shape (overlaps, times)."""
        given = [*state, *self._averages(state)]
        return evaluated(self.rates["values"], [], self.params, self.tau, inputs=given)

    def _averages(self, state: Sequence[float]) -> list[np.ndarray]:
        parts = evaluated(
            self.fields["values"], [], self.where, self.tau, inputs=list(state)
        )
        split = 2 * len(self.system.ones)
        one = parts[:split].reshape(-1, 2, self.tau.size)
        two = parts[split:].reshape(-1, 5, self.tau.size)
        found = [
            average
            for (mean, var), powers in zip(one, self.system.ones, strict=True)
            for average in one_field(powers, mean, var)
        ]
        for part, powers in zip(two, self.system.pairs, strict=True):
            pair = TwoFields(part[:2], part[2:])
            found += [pair.power(*n) for n in powers]
        return found


def check_vectors(flow: System, init: Mapping[str, float]) -> None:
    """Raise `AdmissibilityError` unless some vectors have the overlaps of `init`."""
    units = range(1, 1 + sum(str(x)[:2] in ("b", "b_") for x in flow.unknowns))
    if "q" in init:
        norms = {"m^2 + q": init["m"] ** 2 + init["q"]}
    else:
        norms = {f"r_{j}": init[f"r_{j}"] for j in units}
        _check_gram(units, init)
    for name, value in norms.items():
        if not value > 0:
            raise AdmissibilityError(
                "The initial vectors must not vanish, or nothing moves them, but "
                f"{name} = {value:g} is given. Raise it."
            )


def _check_gram(units: Sequence[int], init: Mapping[str, float]) -> None:
    def overlap(name: str, *order: int) -> float:
        return init[str(pair(name, *(order if name == "m" else sorted(order))))]

    along, square = (
        np.array([[overlap(name, j, k) for k in units] for j in units], float)
        for name in "mr"
    )
    least = float(np.linalg.eigvalsh(square - along @ along.T).min())
    if least < -ROUNDED:
        raise AdmissibilityError(
            "The initial overlaps must be those of vectors, but the matrix "
            f"r_jk - sum_l m_jl m_kl has the eigenvalue {least:.3g}. Raise r or "
            "lower m."
        )


def _typical(name: str) -> float:
    """An overlap of a network that has learned much: m_1_2 and r_1_2 are small."""
    if name == "b_var" or name.count("_") == 2:
        return 0.01
    return {"m": 0.9, "r": 1.0, "q": 0.2, "b": 0.2}[name[0]]


def finite_rate(speed: Speed, d: float, rate: float, momentum: float) -> Speed:
    r"""Return the speed of (m, q, b, V) with what a finite rate adds to V. (R41)

    $\dot V$ gains $d\,\eta\frac{1-\mu}{1+\mu}(\partial_bF_b)^2V$, which makes the
    variance at rest exact to first order in 1/B; $\dot V$ is linear in `V`, so that its
    slope is a difference.
    """
    scale = d * rate * (1 - momentum) / (1 + momentum)

    def corrected(state: Sequence[float]) -> np.ndarray:
        *rest, spread = state
        found = speed(state)
        pull = (speed([*rest, spread + 1])[-1] - found[-1]) / (2 * d)
        found[-1] += scale * pull**2 * spread
        return found

    return corrected


def _diverges(_: float, state: np.ndarray) -> float:
    """Cross zero where training diverges."""
    return DIVERGED - np.max(np.abs(state))


_diverges.terminal = True  # type: ignore[attr-defined]


def integrate_flow(
    speed: Speed,
    start: Sequence[float],
    times: Sequence[float],
    rtol: float,
    atol: float,
) -> np.ndarray:
    """Return the states at training times that do not decrease, (time, state).

    Implicit steps (LSODA chooses), as the mean over times mixes fast and slow ones.
    Raises `SolveError` when they cannot go on.
    """
    from scipy.integrate import solve_ivp

    grid = np.unique([0.0, *times])
    if grid.size == 1:
        return np.array([list(start)] * len(times))
    found = solve_ivp(
        lambda _, y: speed(y),
        (0.0, grid[-1]),
        start,
        method="LSODA",
        t_eval=grid,
        events=_diverges,
        rtol=rtol,
        atol=atol,
    )
    if found.status == 1:
        raise SolveError(
            f"The overlaps must stay below {DIVERGED:g}, but with this noise they "
            f"diverge at time {found.t_events[0][0]:.3g}: training does. Lower the "
            "rate or raise the batch.",
            found,
        )
    if not found.success:
        raise SolveError(
            f"The training flow must reach time {grid[-1]:g}, but stopped at "
            f"{found.t[-1] if found.t.size else 0:g}: {found.message} Ask for shorter "
            "times.",
            found,
        )
    return found.y.T[np.searchsorted(grid, times)]
