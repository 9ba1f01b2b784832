"""Solve a limit at given parameters: learned overlaps, sampling, training, error.

Results are labelled: `solve` returns an `xarray.Dataset` whose variables have the
names of the notation table and whose metadata is one JSON attribute.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from ..errors import DerivationError, ModelError, did_you_mean
from ..theory.derive import Limit, Phase, derive
from ..theory.notation import TABLE
from ..theory.system import System
from .integrate import integrate
from .kernel import make_kernel
from .saddle import alone, minimise

if TYPE_CHECKING:
    import xarray as xr

    from ..app.spec import Spec  # type: ignore[import-not-found]

END = 1 - 1e-15
"""The last time before a window whose noise vanishes at s = 1."""


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

    point = complete(limit, values)
    times = _times(s)
    parts = [
        _phase_rows(phase, times, point, rtol, atol, backend, nu0)
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
    shares, errors = _shares(limit, point, rtol)
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
    names = limit.parameters
    point = {k: float(v) for k, v in values.items()}
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
    times = np.atleast_1d(np.asarray(s, float))
    inside = np.all((times >= 0) & (times <= 1))
    if times.ndim != 1 or not inside or np.any(np.diff(times) <= 0):
        raise ModelError(
            "`s` must be times between 0 and 1 that increase, but is "
            f"{np.array2string(times, threshold=6)}. Sort them and drop doubles."
        )
    return times


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
    kernel = make_kernel(_with(system, known), "numpy")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found, _ = kernel.evaluate("values", params=params_of(system, point), at=s)
    rows = {k: np.broadcast_to(v, s.shape).astype(float) for k, v in found.items()}
    return rows | {name: np.full(s.shape, np.nan) for name in sorted(free)}


def _with(system: System, equations: tuple) -> System:
    from dataclasses import replace

    return replace(system, equations=equations)


def learned_values(
    phase: Phase, s: np.ndarray, point: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """The learned overlaps of a phase at the times `s`, by name."""
    if phase.learned.kind == "closed":
        return closed_values(phase.learned, s, point)
    found = alone(minimise(phase.learned, s, params_of(phase.learned, point)))
    return {name: found[name][0] for name in found.names}


def _phase_rows(
    phase: Phase,
    s: np.ndarray,
    point: Mapping[str, float],
    rtol: float,
    atol: float,
    backend: str,
    nu0: Sequence[float] | None,
) -> dict[str, np.ndarray]:
    rows = learned_values(phase, s, point)
    if phase.window.variance:
        rows |= _decided(phase, s, point, rtol, atol, backend)
    elif nu0 is not None:
        rows |= _fan(phase, s, point, rtol, atol, backend, np.asarray(nu0, float))
    return rows


def _decided(phase, s, point, rtol, atol, backend) -> dict[str, np.ndarray]:
    """`M` (in the + mode) and `V` along the variance phase."""
    flow = phase.sampling
    params = params_of(flow, point)
    init = {str(x): float(sp.sympify(v).subs(params)) for x, v in flow.initial}
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
    limit: Limit, point: Mapping[str, float], rtol: float
) -> tuple[list[float], list[float]]:
    """Generated share of the + mode of each feature, and its error."""
    found: dict[int, tuple[float, float]] = {}
    for phase in limit.phases:
        if phase.features:
            values = _phase_shares(phase, point, rtol)
            found |= dict(zip(phase.features, values, strict=True))
    ordered = [found[j] for j in sorted(found)]
    return [x for x, _ in ordered], [e for _, e in ordered]


def _phase_shares(
    phase: Phase, point: Mapping[str, float], rtol: float
) -> list[tuple[float, float]]:
    flow = phase.sampling
    if flow is None:
        return [(np.nan, np.nan)] * len(phase.features)
    if flow.solution:
        system = _with(flow, flow.solution)
        closed = System(
            system.name, "closed", flow.time, flow.solution, flow.parameters
        )
        rows = closed_values(closed, np.array([END]), point)
        return [(float(x[0]), 4 * np.finfo(float).eps) for x in rows.values()]
    from .flow import share_plus

    return [share_plus(phase, point, rtol)]


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
    if network == "tied":
        system = limit.exact.get("tied")
        point |= {"d": float(d), "tau": float(tau)}
    else:
        system = limit.phase(phase).training
        point |= {"s": float(s)}
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
    where = np.searchsorted(grid, list(times))
    rows = {name: found[name][0, where].tolist() for name in names}
    return {"times": list(times), **rows}


def _check_init(system: System, names: list[str], init: Mapping[str, float]) -> None:
    for name in (*init, *names):
        if name not in init or name not in names:
            fact = "is missing" if name not in init else "was given"
            raise ModelError(
                f"The initial overlaps of `{system.name}` are {', '.join(names)}, but "
                f"`{name}` {fact}{did_you_mean(name, names)}"
            )
    for relation in system.domain:
        if relation.subs(dict(init)) == sp.false:
            from ..errors import AdmissibilityError

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
        times = np.asarray(s, float)
        rows = closed_values(limit.phase(phase).mse, times, point)
        return {"s": times.tolist(), "mse": rows["mse"].tolist()}
    times = np.asarray(tau, float)
    rows = closed_values(limit.exact["mse"], times, point | {"d": float(d)})
    return {"tau": times.tolist(), "mse": rows["mse"].tolist()}
