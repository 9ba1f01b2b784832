"""Solve a limit at given parameters: learned overlaps, sampling, training, error.

Results are labelled: `solve` returns an `xarray.Dataset` whose variables have the
names of the notation table and whose metadata is one JSON attribute.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from ..errors import AdmissibilityError, DerivationError, ModelError, did_you_mean
from ..theory.derive import Limit, Phase, derive
from ..theory.notation import TABLE
from ..theory.system import System
from .flow import sample_share
from .inputs import Inputs
from .integrate import integrate
from .kernel import make_kernel
from .saddle import Minima, alone, minimise

if TYPE_CHECKING:
    import xarray as xr

    from ..spec import Spec

END = 1 - 1e-15
"""The last time before a window whose noise vanishes at s = 1."""

SOBOL, SCRAMBLES = 1024, 8
"""Points and scramblings of the share when the flow has to be followed."""

SATURATED = 40.0
"""A bias this large saturates every unit to the last digit."""


def solve(
    limit: Limit,
    *,
    s: Sequence[float],
    rtol: float,
    atol: float,
    backend: str = "numba",
    nu0: Sequence[float] | None = None,
    **values: float,
) -> xr.Dataset:
    r"""Solve every phase of `limit` at one point of its parameters.

    Parameters
    ----------
    limit
        From `dilaton.derive`.
    s
        Times in [0, 1] inside each phase, increasing.
    rtol, atol
        Tolerances of the flows.
    backend
        ``numba``, ``jax`` or ``scipy``.
    nu0
        Starting points of $\nu$; if given, the result holds their trajectories
        through the feature windows (population).
    **values
        Every parameter of the limit by name. There are no defaults. One `kappa`
        serves all windows.

    Returns
    -------
    xarray.Dataset
        Along ``t`` (phases one after another; coordinates ``phase`` and ``s``): the
        learned overlaps, nan where a phase has none, and the decided mode's mean `M`
        and bulk variance `V`. Scalars: `share_plus`, the generated share of the +
        mode, with `share_plus_error`; `mode_mean` and `bulk_variance` at the end.
        With several features these have a dimension ``feature``.

    Raises
    ------
    ModelError
        A missing, unknown or inadmissible parameter.
    SolveError
        A solver stopped early.

    Examples
    --------
    >>> from dilaton import Model, derive, solve, two_modes
    >>> limit = derive(Model(two_modes()))
    >>> found = solve(limit, s=[0, 1], rtol=1e-8, atol=1e-8, p=0.8, sigma=1, kappa=2)
    >>> print(f"{float(found.share_plus):.6f}")
    0.786350
    """
    import xarray as xr

    from .. import display  # noqa: F401  results plot themselves

    point = complete(limit, values)
    times = _times(s)
    minima = {
        phase.name: alone(
            minimise(phase.learned, times, params_of(phase.learned, point))
        )
        for phase in limit.phases
        if phase.learned.kind == "stationary"
    }
    parts = [
        _phase_rows(phase, times, point, minima, rtol, atol, backend, nu0)
        for phase in limit.phases
    ]
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = {
        name: np.concatenate([_rows(part, name, len(times)) for part in parts])
        for name in names
    }
    count = len(limit.phases)
    data = {
        name: (("t", "nu0") if column.ndim == 2 else ("t",), column, _about(name))
        for name, column in columns.items()
    }
    shares, errors = _shares(limit, point, minima, rtol)
    ends = _ends(limit, parts)
    per = ("feature",) if len(shares) > 1 else ()
    for name, value in {
        "share_plus": shares,
        "share_plus_error": errors,
        "mode_mean": ends,
    }.items():
        data[name] = (per, np.array(value) if per else value[0], {})
    data["bulk_variance"] = ((), parts[-1]["V"][-1], _about("V"))
    coords: dict[str, Any] = {
        "t": [(i + x) / count for i in range(count) for x in times],
        "s": ("t", np.tile(times, count)),
        "phase": ("t", np.repeat([p.name for p in limit.phases], len(times))),
    }
    if nu0 is not None:
        coords["nu0"] = np.asarray(nu0, float)
    settings = {"rtol": rtol, "atol": atol, "backend": backend}
    about = {"values": point, "solver": settings, "model": _text(limit)}
    return xr.Dataset(data, coords, {"json": json.dumps(about)})


def complete(limit: Limit, values: Mapping[str, float]) -> dict[str, float]:
    """Return the parameters of `limit`, with one `kappa` serving every window."""
    if not isinstance(limit, Limit):
        raise ModelError(
            "`solve` takes what `dilaton.derive` returned, but was given a "
            f"{type(limit).__name__}. Derive the model first."
        )
    names = limit.parameters
    point = {k: _number(k, v) for k, v in values.items()}
    if "kappa" in point and "kappa" not in names:
        kappa = point.pop("kappa")
        point |= {k: kappa for k in names if k.startswith("kappa_") and k not in point}
    for name in names:
        if name not in point:
            raise ModelError(
                f"Every parameter must be given ({', '.join(names)}), but `{name}` is "
                "missing. There are no default values."
            )
    for name in point:
        if name not in names and name != "ridge_w":
            raise ModelError(
                f"This model has the parameters {', '.join(names)}, but `{name}` was "
                f"given{did_you_mean(name, names)}"
            )
    _admissible(point)
    return point


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ModelError(
            f"`{name}` must be one number, but is {str(value)[:60]!r}. For many "
            "points at once use `dilaton sweep`."
        ) from None


def _admissible(point: Mapping[str, float]) -> None:
    for name, value in point.items():
        share = name == "p" or name.startswith("p_")
        high = 1.0 if share else np.inf
        low = -1e-300 if name.startswith("ridge") else 0.0
        if not low < value < high:
            raise ModelError(
                f"`{name}` must be {'between 0 and 1' if share else 'positive'} and "
                f"finite, but is {value:g}. Change it."
            )
    if "n_plus" in point and not point["n_plus"] < point["n"]:
        raise ModelError(
            f"`n_plus` must be below `n`, but is {point['n_plus']:g} of "
            f"{point['n']:g}. Both modes need a sample."
        )


def _times(s: Sequence[float]) -> np.ndarray:
    times = _unit_times("s", s)
    if np.any(np.diff(times) <= 0):
        raise _bad_times("s", times, " that increase", "Sort them and drop doubles.")
    return times


def _unit_times(name: str, given: Any) -> np.ndarray:
    """Return times in [0, 1] as an array, at least one."""
    try:
        times = np.atleast_1d(np.asarray(given, float))
    except (TypeError, ValueError):
        times = np.array([np.nan])
    inside = times.size and np.all((times >= 0) & (times <= 1))
    if times.ndim != 1 or not inside:
        raise _bad_times(name, given, "", "0 is the beginning and 1 the end.")
    return times


def _bad_times(name: str, given: Any, what: str, remedy: str) -> ModelError:
    text = np.array2string(np.asarray(given), threshold=6)[:60]
    return ModelError(
        f"`{name}` must be times between 0 and 1{what}, but is {text}. {remedy}"
    )


def _about(name: str) -> dict[str, str]:
    row = TABLE.get(name)
    return {} if row is None else {"long_name": row.meaning, "order_in_d": row.order}


def _text(limit: Limit) -> dict[str, Any]:
    model = limit.model
    return {
        "alpha": str(model.interpolant.alpha),
        "beta": str(model.interpolant.beta),
        "exponents": [str(f.exponent) for f in model.target.features],
        "activation": model.autoencoder.activation,
        "samples": model.data.samples,
        "frozen_noise": model.data.frozen_noise,
    }


def _rows(part: Mapping[str, np.ndarray], name: str, count: int) -> np.ndarray:
    if name in part:
        return part[name]
    width = part["nu0"].shape[1:] if "nu0" in part else ()
    return np.full((count, *width), np.nan)


# ------------------------------------------------------------------------- one phase


def params_of(system: System, point: Mapping[str, float]) -> dict[str, float]:
    """The parameters of `system` out of a point; signs default to the + mode."""
    return {
        str(x): point[str(x)] if str(x) in point else 1.0
        for x in system.parameters
        if str(x) in point or str(x)[0] == "S"
    }


def closed_values(
    system: System, s: np.ndarray, point: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Evaluate a closed system at the times `s`; undetermined quantities are nan."""
    free = {str(e.lhs) for e in system.equations if e.rhs is sp.nan}
    known = tuple(e for e in system.equations if str(e.lhs) not in free)
    kernel = make_kernel(replace(system, equations=known), "numpy")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found, _ = kernel.evaluate("values", params=params_of(system, point), at=s)
    rows = {k: np.broadcast_to(v, s.shape).astype(float) for k, v in found.items()}
    return rows | {name: np.full(s.shape, np.nan) for name in sorted(free)}


def _phase_rows(
    phase: Phase,
    s: np.ndarray,
    point: Mapping[str, float],
    minima: Mapping[str, Minima],
    rtol: float,
    atol: float,
    backend: str,
    nu0: Sequence[float] | None,
) -> dict[str, np.ndarray]:
    found = minima.get(phase.name)
    if found is None:
        rows = closed_values(phase.learned, s, point)
    else:
        rows = {name: found[name][0] for name in found.names}
    if phase.window.variance:
        rows |= _decided(phase, s, point, rtol, atol, backend)
    elif nu0 is not None:
        rows |= _fan(phase, s, point, rtol, atol, backend, np.asarray(nu0, float))
    return rows


def _decided(phase, s, point, rtol, atol, backend) -> dict[str, np.ndarray]:
    """`M` (in the + mode) and `V` along the variance phase."""
    flow = phase.sampling
    params = params_of(flow, point)
    known = {x: params[str(x)] for x in flow.parameters}
    init = {str(x): float(sp.sympify(v).subs(known)) for x, v in flow.initial}
    grid, first = _from_zero(s)
    found = integrate(
        flow, init=init, params=params, t=grid, rtol=rtol, atol=atol, backend=backend
    )
    return {name: found[name][0, first:] for name in init}


def _fan(phase, s, point, rtol, atol, backend, nu0) -> dict[str, np.ndarray]:
    """Trajectories of nu from the points `nu0`, population."""
    flow = phase.sampling
    if flow is None or flow.inputs:
        raise ModelError(
            "`nu0` draws trajectories of the population flow, but this model has "
            'samples. Leave it out, or set n = "inf".'
        )
    grid, first = _from_zero(s)
    names = [str(x) for x in flow.unknowns]
    found = integrate(
        flow,
        init=dict.fromkeys(names, nu0),
        params=params_of(flow, point),
        t=grid,
        rtol=rtol,
        atol=atol,
        backend=backend,
    )
    return {name: found[name][:, first:].T for name in names}


def _from_zero(s: np.ndarray) -> tuple[np.ndarray, int]:
    """The times with 0 in front if it is missing, and where the asked ones start."""
    return (s, 0) if s[0] == 0 else (np.concatenate([[0.0], s]), 1)


def _ends(limit: Limit, parts: list[dict[str, np.ndarray]]) -> list[float]:
    last = parts[-1]
    return [last[str(x)][-1] for x in limit.phases[-1].sampling.unknowns[:-1]]


# -------------------------------------------------------------------------- the share


def _shares(
    limit: Limit,
    point: Mapping[str, float],
    minima: Mapping[str, Minima],
    rtol: float,
) -> tuple[list[float], list[float]]:
    """Generated share of the + mode of each feature, and its error."""
    found: dict[int, tuple[float, float]] = {}
    for phase in limit.phases:
        if phase.features:
            values = _phase_shares(phase, point, minima.get(phase.name), rtol)
            found |= dict(zip(phase.features, values, strict=True))
    ordered = [found[j] for j in sorted(found)]
    return [x for x, _ in ordered], [e for _, e in ordered]


def _phase_shares(
    phase: Phase, point: Mapping[str, float], minima: Minima | None, rtol: float
) -> list[tuple[float, float]]:
    """By the closed law, the reduced flow, or the flow itself, whichever there is."""
    flow = phase.sampling
    if flow is None:
        return [(np.nan, np.nan)] * len(phase.features)
    if flow.solution:
        closed = replace(flow, kind="closed", equations=flow.solution, solution=())
        rows = closed_values(closed, np.array([END]), point)
        return [(float(x[0]), 4 * np.finfo(float).eps) for x in rows.values()]
    if phase.projected is not None and minima is not None:
        given = params_of(phase.projected, point)
        share, error, _ = sample_share(phase, minima, given, rtol=rtol)
        return [(float(share[0]), float(error[0]))]
    return [followed_share(phase, point, rtol)]


def followed_share(
    phase: Phase, point: Mapping[str, float], rtol: float
) -> tuple[float, float]:
    """P(nu > 0) by following the flow from scrambled Sobol points; standard error."""
    from scipy.stats import norm, qmc

    flow = phase.sampling
    names = [str(x) for x in flow.unknowns]
    inputs = _as_inputs(phase, point)
    shares = []
    for seed in range(SCRAMBLES):
        unit = qmc.Sobol(len(names), seed=seed).random(SOBOL)
        start = norm.ppf(np.clip(unit, 1e-12, 1 - 1e-12))
        found = integrate(
            flow,
            init=dict(zip(names, start.T, strict=True)),
            params=params_of(flow, point),
            t=[0.0, 1.0],
            rtol=max(rtol, 1e-7),
            atol=max(rtol, 1e-7),
            inputs=inputs,
        )
        shares.append(np.mean(found[names[0]][:, -1] > 0))
    return float(np.mean(shares)), float(np.std(shares, ddof=1) / SCRAMBLES**0.5)


def _as_inputs(phase: Phase, point: Mapping[str, float]) -> Inputs:
    """The learned overlaps as functions of `s`, on pieces that refine towards 0."""
    names = [str(x) for x in phase.sampling.inputs]
    params = params_of(phase.learned, point)

    def functions(times: np.ndarray) -> dict[str, np.ndarray]:
        if phase.learned.kind == "closed":
            found = closed_values(phase.learned, times[0], point)
        else:
            minima = alone(minimise(phase.learned, times[0], params))
            found = {name: minima[name][0] for name in minima.names}
        return {x: np.clip(found[x], -SATURATED, SATURATED)[None] for x in names}

    switch = 0.0
    if phase.learned.kind == "stationary":
        switch = float(alone(minimise(phase.learned, [1.0], params)).switch[0])
    pieces = switch + (1 - switch) * np.array([0, 1e-3, 1e-2, 0.1, 0.4, 1.0])
    return Inputs.of(functions, np.unique([0.0, *pieces]))


# ----------------------------------------------------------------------- other answers


def learn(
    spec: Spec,
    phase: str,
    s: float | None,
    init: Mapping[str, float],
    times: Iterable[float],
    *,
    network: str = "untied",
    d: float | None = None,
    tau: float | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-11,
) -> dict[str, list[float]]:
    """Follow the overlaps in training time at a fixed time (G6), (K2)-(K5).

    Returns ``{"times": ..., name: ...}``. The untied flow is the limit at time `s` of
    `phase`; the tied one is exact at dimension `d` and base time `tau`.
    """
    limit = derive(spec.model)
    point = complete(limit, spec.values)
    times = list(times)
    check_choice("network", network, ("untied", "tied"))
    if not times or not all(0 <= x < np.inf for x in times):
        raise ModelError(
            "`times` must be training times from 0, at least one, but is "
            f"{times}. `init` holds at time 0."
        )
    if network == "tied":
        system = limit.exact["tied"]
        _check_halves(limit, point)
        point |= {"d": dimension(d), "tau": float(_unit_times("tau", tau)[0])}
    else:
        system = limit.phase(phase).training
        point |= {"s": float(_unit_times("s", s)[0])}
    if system is None:
        raise DerivationError(
            f"A training flow is derived for one untied unit or the tied score network, "
            f"but phase `{phase}` of this model has none. Choose another phase, "
            "activation or data."
        )
    names = [str(x) for x in system.unknowns]
    _check_init(system, names, init)
    grid = np.array(sorted({0.0, *times}))
    found = integrate(
        system,
        init={name: float(init[name]) for name in names},
        params=params_of(system, point),
        t=grid,
        rtol=rtol,
        atol=atol,
    )
    where = np.searchsorted(grid, times)
    rows = {name: found[name][0, where].tolist() for name in names}
    return {"times": times, **rows}


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `ModelError` unless `value` is one of the known words."""
    if value not in known:
        raise ModelError(
            f"`{name}` must be one of {', '.join(known)}, but is `{value}`"
            + did_you_mean(str(value), known)
        )


def dimension(d: Any) -> float:
    """Return a dimension as a float; raise `ModelError` if it is none."""
    if not isinstance(d, int | float) or not 2 <= d < np.inf:
        raise ModelError(
            f"`d` must be a dimension from 2, but is {d}. Give it; there is no default."
        )
    return float(d)


def _check_halves(limit: Limit, point: Mapping[str, float]) -> None:
    weights = {str(f.p): point[str(f.p)] for f in limit.model.target.features}
    if len(weights) > 1 and any(p != 0.5 for p in weights.values()):
        raise DerivationError(
            "With several features the tied flow closes only if every mode has weight "
            f"1/2, but the weights are {', '.join(f'{p:g}' for p in weights.values())}. "
            "Set them to 0.5, or keep one feature."
        )


def _check_init(system: System, names: list[str], init: Mapping[str, float]) -> None:
    for name in (*init, *names):
        if name not in init or name not in names:
            hint = did_you_mean(name, names)
            fact = "is missing." if name not in init else f"was given{hint}"
            raise ModelError(
                f"The initial overlaps of `{system.name}` are {', '.join(names)}, but "
                f"`{name}` {fact}"
            )
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


def mse(
    spec: Spec,
    phase: str | None = None,
    s: Sequence[float] | None = None,
    d: float | None = None,
    tau: Sequence[float] | None = None,
) -> dict[str, list[float]]:
    """Error of the Bayes denoiser per dimension: (E2), (E4) or, at finite `d`, (E1)."""
    limit = derive(spec.model)
    point = complete(limit, spec.values)
    if d is None:
        times = _unit_times("s", s)
        rows = closed_values(limit.phase(phase).mse, times, point)
        return {"s": times.tolist(), "mse": rows["mse"].tolist()}
    times = _unit_times("tau", tau)
    rows = closed_values(limit.exact["mse"], times, point | {"d": dimension(d)})
    return {"tau": times.tolist(), "mse": rows["mse"].tolist()}
