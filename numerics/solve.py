"""Solve a limit at given parameters: learned overlaps, sampling, training, error.

Results are labelled: `solve` returns an `xarray.Dataset` whose variables have the
names of the notation table and whose metadata is one JSON attribute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from ..errors import DerivationError, ModelError
from ..theory.derive import Limit, Phase
from ..theory.notation import TABLE
from ..theory.system import System
from .flow import sample_share
from .inputs import Inputs
from .integrate import integrate
from .kernel import make_kernel
from .points import bad_times, closed_values, complete, params_of, unit_times
from .saddle import Minima, alone, minimise
from .vanishing import noise_vanishes, share_without_noise

if TYPE_CHECKING:
    import xarray as xr


END = 1 - 1e-15
"""The last time before a window whose noise vanishes at s = 1."""
EARLY = 1e-8
"""Where a flow starts, on its closed solution, if its rates diverge at s = 0."""

SOBOL, SCRAMBLES = 1024, 8
"""Points and scramblings of the share when the flow has to be followed."""

SATURATED = 40.0
"""A bias this large saturates every unit to the last digit."""


def solve(
    limit: Limit,
    *,
    s: ArrayLike,
    rtol: float,
    atol: float,
    backend: str = "scipy",
    nu0: ArrayLike | None = None,
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
        ``scipy`` (nothing to compile for one point), ``numba`` or ``jax``.
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
    data: dict[str, Any] = {
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


def _times(s: ArrayLike) -> np.ndarray:
    times = unit_times("s", s)
    if np.any(np.diff(times) <= 0):
        raise bad_times("s", times, " that increase", "Sort them and drop doubles.")
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


def _phase_rows(
    phase: Phase,
    s: np.ndarray,
    point: Mapping[str, float],
    minima: Mapping[str, Minima],
    rtol: float,
    atol: float,
    backend: str,
    nu0: ArrayLike | None,
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
    flow = _flow(phase)
    params = params_of(flow, point)
    known = {x: params[str(x)] for x in flow.parameters}
    init = {str(x): float(sp.sympify(v).subs(known)) for x, v in flow.initial}
    grid, first = _from_zero(s)
    before = {}
    if not _regular_at_zero(flow, init, params):
        before = init
        grid = np.concatenate([[min(EARLY, grid[1] / 2)], grid[1:]])
        closed = flow.solved()
        rows = closed_values(closed, grid[:1], point)
        init = {name: float(rows[name][0]) for name in init}
    found = integrate(
        flow, init=init, params=params, t=grid, rtol=rtol, atol=atol, backend=backend
    )
    paths = {name: found[name][0].copy() for name in init}
    for name, value in before.items():
        paths[name][0] = value
    return {name: path[first:] for name, path in paths.items()}


def _regular_at_zero(flow: System, init: dict, params: dict) -> bool:
    """Whether the rates are finite at 0; with beta ~ sqrt(tau) they are not."""
    kernel = make_kernel(flow, "numpy")
    with np.errstate(all="ignore"):
        rates, _ = kernel.evaluate("rhs", params=params, states=init, at=0.0)
    return bool(np.all(np.isfinite(list(rates.values()))))


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


def _flow(phase: Phase) -> System:
    if phase.sampling is None:
        raise DerivationError(
            f"Samples need the flow of every phase, but `{phase.name}` decides nothing "
            "with frozen noise and has none. Use fresh noise."
        )
    return phase.sampling


def _from_zero(s: np.ndarray) -> tuple[np.ndarray, int]:
    """The times with 0 in front if it is missing, and where the asked ones start."""
    return (s, 0) if s[0] == 0 else (np.concatenate([[0.0], s]), 1)


def _ends(limit: Limit, parts: list[dict[str, np.ndarray]]) -> list[float]:
    last = parts[-1]
    return [last[str(x)][-1] for x in _flow(limit.phases[-1]).unknowns[:-1]]


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
        closed = flow.solved()
        rows = closed_values(closed, np.array([END]), point)
        return [(float(x[0]), 4 * np.finfo(float).eps) for x in rows.values()]
    if phase.projected is not None and minima is not None:
        if noise_vanishes(phase):
            return [share_without_noise(phase, minima, point)]
        given = params_of(phase.projected, point)
        share, error, _ = sample_share(phase, minima, given, rtol=rtol)
        return [(float(share[0]), float(error[0]))]
    return [followed_share(phase, point, rtol)]


def followed_share(
    phase: Phase, point: Mapping[str, float], rtol: float
) -> tuple[float, float]:
    """P(nu > 0) by following the flow from scrambled Sobol points; standard error."""
    from scipy.stats import norm, qmc

    flow = _flow(phase)
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
    names = [str(x) for x in _flow(phase).inputs]
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
