"""Training in time at a fixed noise level, and the error of the Bayes denoiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import sympy as sp

from ..errors import (
    AdmissibilityError,
    DerivationError,
    ModelError,
    did_you_mean,
    shown,
)
from ..theory.limit import Limit, Phase
from ..theory.models.model import Model, Modes
from ..theory.models.spec import Spec
from ..theory.symbols.system import System
from ..theory.times.noise import per_time_sgd
from .asked import asked
from .codegen.parameters import (
    check_choice,
    closed_values,
    complete,
    dimension,
    params_of,
    reals,
    unit_times,
)
from .codegen.snapshot import printed, printed_limit
from .modes.evaluate import mse_modes
from .modes.tree_shares import Placed
from .ode.integrate import integrate

LONG = 1e3
"""Training time beyond which the flow crawls: explicit steps would be very many."""


def learn(
    spec: Spec | Model | Limit | str | Path,
    phase: str,
    s: float | None,
    init: Mapping[str, float],
    times: Iterable[float],
    *,
    network: str = "untied",
    d: float | None = None,
    tau: float | None = None,
    rate: float | None = None,
    batch: float | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-11,
    **values: float,
) -> dict[str, list[float]]:
    """Follow the overlaps in training time at a fixed time (G6), (K2)-(K5).

    `spec` is a spec, the path of a spec file, or a model or a limit with its `values`
    by name; beside a spec, they replace its own. The ``untied`` `network` has the
    limit's flow at time `s` of `phase`, the ``tied`` one that at dimension `d` and base
    time `tau`, which is exact. `init` has the overlaps at training time 0 by name,
    `times` are training times from 0. `rate` and `batch` are of one-pass SGD, whose
    noise enters `r` (R21), with steps of `rate`/d in training time on `batch` samples
    (untied); left out, the rate vanishes. `rtol` and `atol` are the tolerances of the
    flow.

    Returns ``{"times": ..., name: ...}``, lists of one length. Raises `ModelError` for
    a missing, unknown or inadmissible argument, `DerivationError` for a phase without a
    training flow and `AdmissibilityError` for overlaps that no network has.
    """
    question = asked(spec, values)
    limit = question.limit
    point = complete(limit, question.values)
    check_choice("network", network, ("untied", "tied"))
    times, noise = training_times(times), sgd_noise(rate, batch)
    if isinstance(limit.model.target, Modes):
        raise DerivationError(
            "Training at one time is derived for tanh units, but modes that are no "
            "product are learned by softmax units. `learning_times` and `shared_flow` "
            "tell how a network for all times learns their weights."
        )
    if network == "tied":
        system = _tied_flow(limit, point, noise)
        point |= {"d": dimension(d), "tau": float(unit_times("tau", tau)[0])}
    else:
        system = _untied_flow(limit.phase(phase), noise)
        point |= {"s": float(unit_times("s", s)[0]), **noise}
    names = [str(x) for x in system.unknowns]
    check_init(system, names, init)
    grid = np.array(sorted({0.0, *times} if any(times) else {0.0, 1.0}))
    found = integrate(
        system,
        init={name: float(init[name]) for name in names},
        params=params_of(system, point),
        t=grid,
        rtol=rtol,
        atol=atol,
        backend="scipy",
        method="dop853" if grid[-1] <= LONG else "radau",
    )
    where = np.searchsorted(grid, times)
    rows = {name: found[name][0, where].tolist() for name in names}
    return {"times": times, **rows}


def sgd_noise(
    rate: float | None, batch: float | None, momentum: float = 0.0
) -> dict[str, float]:
    r"""Return the numbers that set the noise of SGD, or none for the flow.

    Heavy-ball momentum $\mu$ is a rate $\eta/(1-\mu)$, which is returned.
    """
    given = {"rate": rate, "batch": batch}
    if not 0 <= momentum < 1:
        raise ModelError(
            "`momentum` must be from 0 to below 1, the share of its last step that a "
            f"step keeps, but is {momentum:g}. Change it."
        )
    if rate is None and batch is None:
        if momentum:
            raise ModelError(
                "Momentum changes the noise of SGD, not the flow of a vanishing rate, "
                f"but `momentum` = {momentum:g} comes without `rate`. Give `rate` and "
                "`batch`, or leave it."
            )
        return {}
    for name, value in given.items():
        if value is None:
            raise ModelError(
                "The noise of SGD needs both `rate` and `batch`, but "
                f"`{name}` is missing. Give both, or none for a vanishing rate."
            )
        positive(name, value)
    return {"rate": float(rate or 0) / (1 - momentum), "batch": float(batch or 0)}


def positive(name: str, value: float) -> float:
    """Return a number that is positive and finite; raise `ModelError` for others."""
    if not 0 < value < np.inf:
        raise ModelError(
            f"`{name}` must be positive and finite, but is {value:g}. Change it."
        )
    return float(value)


def training_times(given: Iterable[float]) -> list[float]:
    """Return times of training from 0, at least one; raise `ModelError` on others."""
    try:
        times = reals(given if hasattr(given, "__array__") else list(given))
    except (TypeError, ValueError):
        times = np.array([np.nan])
    if times.ndim != 1 or not times.size or not np.all((times >= 0) & (times < np.inf)):
        raise ModelError(
            "`times` must hold one or more training times, from 0 on, but is "
            f"{shown(given)}. `init` holds at time 0."
        )
    return times.tolist()


def _tied_flow(
    limit: Limit, point: Mapping[str, float], noise: Mapping[str, float]
) -> System:
    """Return the flow of the tied network, which must close at these weights."""
    if noise:
        raise ModelError(
            "The noise of SGD at one time is derived for the untied network, but "
            f"`rate` = {noise['rate']:g} is given for the tied one. Leave it out, or "
            "use `shared_flow`."
        )
    weights = {str(f.p): point[str(f.p)] for f in limit.model.target.features}
    if len(weights) > 1 and any(p != 0.5 for p in weights.values()):
        raise DerivationError(
            "With several features the tied flow closes only if every mode has weight "
            f"1/2, but the weights are {sorted(weights.values())}. "
            "Set them to 0.5, or keep one feature."
        )
    return limit.exact["tied"]


def _untied_flow(phase: Phase, noise: Mapping[str, float]) -> System:
    """Return the flow of a phase, with noise where there is some."""
    if phase.training is None:
        raise DerivationError(
            "A training flow is derived for one untied unit or the tied score network, "
            f"but phase `{phase.name}` of this model has none. Choose another phase, "
            "activation or data."
        )
    if noise:
        return per_time_sgd(phase.training, phase.model, phase.window)
    return phase.training


def check_init(system: System, names: list[str], init: Mapping[str, float]) -> None:
    """Raise unless initial overlaps are given by name and some network has them."""
    check_names(system.name, names, init)
    point = {x: sp.Float(init[str(x)]) for x in system.unknowns}
    # sympy drops x >= 0 for a symbol that is positive, so it is put back here
    signs = [sp.Ge(sp.Symbol(str(x)), 0) for x in point if x.is_positive]
    known = point | {sp.Symbol(str(x)): value for x, value in point.items()}
    for relation in (*signs, *system.domain):
        if relation.subs(known) == sp.false:
            raise AdmissibilityError(
                f"The initial overlaps must satisfy {relation}, but "
                f"{', '.join(f'{k} = {v:g}' for k, v in init.items())} do not, so no "
                "network has them. Change one of them."
            )


def check_names(title: str, names: Sequence[str], init: Mapping[str, float]) -> None:
    """Raise `ModelError` unless just these initial overlaps of `title` are given."""
    for name in (*init, *names):
        if name not in init or name not in names:
            hint = did_you_mean(name, names)
            fact = "is missing." if name not in init else f"was given{hint}"
            raise ModelError(
                f"The initial overlaps of `{title}` are {', '.join(names)}, but "
                f"`{name}` {fact}"
            )


def mse(
    spec: Spec | Model | Limit | str | Path,
    phase: str | None = None,
    s: Sequence[float] | None = None,
    d: float | None = None,
    tau: Sequence[float] | None = None,
    **values: float,
) -> dict[str, list[float]]:
    """Error of the Bayes denoiser per dimension: (E2), (M5) or, at finite `d`, (E1).

    `spec` is a spec, the path of a spec file, or a model or a limit with its `values`
    by name; beside a spec, they replace its own. In the limit `phase` and the times `s`
    in it are given, at finite dimension `d` and base times `tau`, all times in [0, 1].

    Returns ``{"s": ..., "mse": ...}``, or ``tau`` in place of ``s``; for modes also
    `mse_error`, the error of the average.
    """
    question = asked(spec, values)
    limit = question.limit
    point = complete(limit, question.values)
    name, given = ("s", s) if d is None else ("tau", tau)
    if (d is None and phase is None) or given is None:
        raise ModelError(
            "`mse` takes `phase` and `s` for the limit, or `d` and `tau`, but "
            f"`{'phase' if d is None and phase is None else name}` is missing. Give it."
        )
    times = unit_times(name, given)
    if d is None:
        system = limit.phase(str(phase)).mse
    else:
        system = limit.exact["mse"]
        point |= {"d": dimension(d)}
    if not isinstance(limit.model.target, Modes):
        rows = closed_values(system, times, point)
        return {name: times.tolist(), "mse": rows["mse"].tolist()}
    placed = Placed.of(printed_limit(limit).about["modes"])
    found, errors = mse_modes(printed(system), placed, point, times, d=point.get("d"))
    return {name: times.tolist(), "mse": found, "mse_error": errors}
