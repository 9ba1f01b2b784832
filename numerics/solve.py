"""Solve a limit at given parameters: learned overlaps, sampling, training, error.

Results are labelled: `solve` returns an `xarray.Dataset` whose variables have the
names of the notation table and whose metadata is one JSON attribute.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ModelError, shown
from .codegen.parameters import (
    check_choice,
    check_tolerances,
    closed_values,
    complete,
    increasing_times,
    params_of,
    reals,
)
from .codegen.snapshot import (
    SATURATED,
    Printed,
    PrintedLimit,
    PrintedPhase,
    printed_limit,
)
from .minima.continuation import ClassMinima, minimise_classes
from .minima.landscape import counted
from .minima.minimise import minimise
from .minima.result import Minima, alone
from .share.several_features import class_shares
from .share.share import FLAT, flatness, inaccurate, known_share
from .share.vanishing_noise import share_without_noise

if TYPE_CHECKING:
    import xarray as xr

    from ..theory.derive import Limit
    from .ode.inputs import Inputs
    from .ode.integrate import Backend


END = 1 - 1e-15
"""The last time before a window whose noise vanishes at s = 1."""

SOBOL, SCRAMBLES = 1024, 8
"""Points and scramblings of the share when the flow has to be followed."""


def solve(
    limit: Limit,
    *,
    s: ArrayLike,
    rtol: float,
    atol: float,
    backend: Backend = "scipy",
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
    solution = solve_point(
        limit, s=s, rtol=rtol, atol=atol, backend=backend, nu0=nu0, **values
    )
    return solution.dataset()


def solve_point(
    limit: Limit | PrintedLimit,
    *,
    s: ArrayLike,
    rtol: float,
    atol: float,
    backend: Backend = "scipy",
    nu0: ArrayLike | None = None,
    **values: float,
) -> Solution:
    """Solve every phase at one point, as `solve` does, into plain arrays."""
    check_tolerances(rtol, atol)
    check_choice("backend", backend, ("numba", "jax", "scipy"))
    starts, times = _starts(nu0), increasing_times("s", s)
    held, point = printed_limit(limit), complete(limit, values)
    minima = {
        phase.name: _minimum(phase, held, times, point)
        for phase in held.phases
        if phase.learned.kind == "stationary"
    }
    parts = [
        _phase_rows(phase, times, point, minima, rtol, atol, backend, starts)
        for phase in held.phases
    ]
    shares, errors = _shares(held, point, minima, rtol)
    sample = {"share_plus": shares, "share_plus_error": errors}
    sample |= _ends(held, point)
    settings = {"rtol": float(rtol), "atol": float(atol), "backend": backend}
    about = {"values": point, "solver": settings, "model": dict(held.about)}
    return Solution(held, times, parts, sample, starts, about)


@dataclass(frozen=True)
class Solution:
    """A solved limit in plain arrays.

    `rows` holds the trajectories of each phase by name, of shape (times,) or (times,
    nu0); `sample` the scalars, one for each feature.
    """

    limit: PrintedLimit
    s: np.ndarray
    rows: list[dict[str, np.ndarray]]
    sample: dict[str, list[float]]
    nu0: np.ndarray | None
    about: dict[str, Any]

    @property
    def t(self) -> np.ndarray:
        """Times on the whole dilation, of shape (phases, times)."""
        count = len(self.rows)
        return (np.arange(count)[:, None] + self.s) / count

    @property
    def scalars(self) -> dict[str, Any]:
        """What describes the generated sample; a number if there is one feature."""
        several = len(self.sample["share_plus"]) > 1
        found = {k: np.array(v) if several else v[0] for k, v in self.sample.items()}
        return found | {"bulk_variance": self.sample["bulk_variance"][0]}

    def dataset(self) -> xr.Dataset:
        """Return it with labels; see `solve`."""
        import xarray as xr

        from ..show import display  # noqa: F401  results plot themselves

        def labelled(dims: tuple[str, ...], value: Any, about: Any = None) -> Any:
            # made this way xarray does not import dask, where that is installed
            return xr.Variable(dims, np.asarray(value), about, fastpath=True)

        names = list(dict.fromkeys(name for part in self.rows for name in part))
        data: dict[str, Any] = {}
        for name in names:
            known = [part[name] for part in self.rows if name in part]
            none = np.full_like(known[0], np.nan)
            column = np.concatenate([part.get(name, none) for part in self.rows])
            data[name] = labelled(("t", "nu0")[: column.ndim], column, _about(name))
        for name, value in self.scalars.items():
            about = _about("V") if name == "bulk_variance" else {}
            data[name] = labelled(("feature",)[: np.ndim(value)], value, about)
        coords = {k: labelled(*v) for k, v in self._coordinates().items()}
        return xr.Dataset(data, coords, {"json": json.dumps(self.about)})

    def _coordinates(self) -> dict[str, tuple[tuple[str], np.ndarray]]:
        names = [phase.name for phase in self.limit.phases]
        coords = {
            "t": (("t",), self.t.ravel()),
            "s": (("t",), np.tile(self.s, len(names))),
            "phase": (("t",), np.repeat(names, len(self.s))),
        }
        return coords if self.nu0 is None else coords | {"nu0": (("nu0",), self.nu0)}


def _minimum(
    phase: PrintedPhase,
    limit: PrintedLimit,
    s: np.ndarray,
    point: Mapping[str, float],
) -> Minima | ClassMinima:
    """The learned overlaps of a phase that has no closed ones."""
    if counted(phase.learned):
        return minimise_classes(phase, limit.about["activation"], s, point)
    found = alone(minimise(phase.learned, s, params_of(phase.learned, point)))
    if (apart := flatness(found)[0]) > FLAT:
        _warn("The learned overlaps", FLAT, apart, "is flat")
    return found


def _warn(what: str, wanted: float, found: float, why: str) -> None:
    """Say that a number is given which is known less well than was asked for."""
    warnings.warn(
        f"{what} should be known to {wanted:.1g}, but may be off by {found:.1g}: the "
        f"minimum {why}. Do not use more digits, or change the ridges.",
        stacklevel=2,
    )


def _starts(nu0: ArrayLike | None) -> np.ndarray | None:
    """Return starting points, one number or a list of them, as an array."""
    if nu0 is None:
        return None
    try:
        starts = np.atleast_1d(reals(nu0))
    except ValueError:
        starts = np.array([np.nan])
    if starts.ndim != 1 or not starts.size or not np.all(np.isfinite(starts)):
        raise ModelError(
            "`nu0` must be one finite number or a list of them, but is "
            f"{shown(nu0)}. Write it as in `nu0=[-1.0, 0.5]`."
        )
    return starts


def _about(name: str) -> dict[str, str]:
    from ..theory.symbols.notation import TABLE

    row = TABLE.get(name)
    return {} if row is None else {"long_name": row.meaning, "order_in_d": row.order}


# ------------------------------------------------------------------------- one phase


def _phase_rows(
    phase: PrintedPhase,
    s: np.ndarray,
    point: Mapping[str, float],
    minima: Mapping[str, Minima | ClassMinima],
    rtol: float,
    atol: float,
    backend: Backend,
    nu0: np.ndarray | None,
) -> dict[str, np.ndarray]:
    found = minima.get(phase.name)
    if found is None:
        rows = closed_values(phase.learned, s, point)
    else:
        rows = {name: found[name][0] for name in found.names}
    if phase.variance:
        rows |= closed_values(_flow(phase).solved(), s, point)
    elif nu0 is not None and phase.features:
        rows |= _fan(phase, s, point, rtol, atol, backend, nu0)
    return rows


def _fan(phase, s, point, rtol, atol, backend, nu0) -> dict[str, np.ndarray]:
    """Trajectories of nu from the points `nu0`, population."""
    flow = phase.sampling
    if flow is None or flow.inputs:
        raise ModelError(
            "`nu0` draws trajectories where the learned parameters have a closed form, "
            f"but those of `{phase.name}` are searched for. Leave it out, or take "
            "tanh units with a bias and no samples."
        )
    from .ode.integrate import integrate

    grid, places = _grid(s)
    names = flow.unknowns
    found = integrate(
        flow.make(),
        init=dict.fromkeys(names, nu0),
        params=params_of(flow, point),
        t=grid,
        rtol=rtol,
        atol=atol,
        backend=backend,
    )
    return {name: found[name][:, places].T for name in names}


def _flow(phase: PrintedPhase) -> Printed:
    assert phase.sampling is not None  # asked only of a phase that has one
    return phase.sampling


def _grid(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The times from 0 on, at least two, and where the asked ones are among them."""
    grid = np.union1d([0.0], s) if s[-1] > 0 else np.array([0.0, 1.0])
    return grid, np.searchsorted(grid, s)


def _ends(limit: PrintedLimit, point: Mapping[str, float]) -> dict[str, list[float]]:
    """The mean of a mode along each feature and the bulk variance, after sampling."""
    flow = _flow(limit.phases[-1])
    *means, bulk = closed_values(flow.solved(), np.ones(1), point).values()
    return {
        "mode_mean": [float(x[0]) for x in means],
        "bulk_variance": [float(bulk[0])],
    }


# -------------------------------------------------------------------------- the share


def _shares(
    limit: PrintedLimit,
    point: Mapping[str, float],
    minima: Mapping[str, Minima | ClassMinima],
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
    phase: PrintedPhase,
    point: Mapping[str, float],
    minima: Minima | ClassMinima | None,
    rtol: float,
) -> list[tuple[float, float]]:
    """By the closed law, the reduced flow, or the flow itself, whichever there is."""
    flow = phase.sampling
    if flow is None:
        return [(np.nan, np.nan)] * len(phase.features)
    if flow.solution:
        closed = flow.solved()
        rows = closed_values(closed, np.array([END]), point)
        return [(float(x[0]), 4 * np.finfo(float).eps) for x in rows.values()]
    if isinstance(minima, ClassMinima):
        return class_shares(phase, minima, point, rtol)
    if phase.projected is not None and minima is not None:
        if phase.vanishes:
            return [share_without_noise(phase, minima, point)]
        given = params_of(phase.projected, point)
        share, error = known_share(phase, minima, given, rtol=rtol)
        if error[0] > inaccurate(rtol):
            _warn("`share_plus`", inaccurate(rtol), error[0], "bends sharply in time")
        return [(float(share[0]), float(error[0]))]
    return [followed_share(phase, point, rtol)]


def followed_share(
    phase: PrintedPhase, point: Mapping[str, float], rtol: float
) -> tuple[float, float]:
    """P(nu > 0) by following the flow from scrambled Sobol points; standard error."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    from .ode.integrate import integrate

    flow = _flow(phase)
    names = flow.unknowns
    inputs = learned_inputs(phase, point)
    shares = []
    for seed in range(SCRAMBLES):
        unit = qmc.Sobol(len(names), seed=seed).random(SOBOL)
        start = ndtri(np.clip(unit, 1e-12, 1 - 1e-12))
        found = integrate(
            flow.make(),
            init=dict(zip(names, start.T, strict=True)),
            params=params_of(flow, point),
            t=[0.0, 1.0],
            rtol=max(rtol, 1e-7),
            atol=max(rtol, 1e-7),
            inputs=inputs,
        )
        shares.append(np.mean(found[names[0]][:, -1] > 0))
    return float(np.mean(shares)), float(np.std(shares, ddof=1) / SCRAMBLES**0.5)


def learned_inputs(phase: PrintedPhase, point: Mapping[str, float]) -> Inputs:
    """The learned overlaps as functions of `s`, on pieces that refine towards 0."""
    from .ode.inputs import Inputs

    names = _flow(phase).inputs
    params = params_of(phase.learned, point)

    def functions(times: np.ndarray) -> dict[str, np.ndarray]:
        found = alone(minimise(phase.learned, times[0], params))
        return {x: np.clip(found[x], -SATURATED, SATURATED) for x in names}

    switch = float(alone(minimise(phase.learned, [1.0], params)).switch[0])
    pieces = switch + (1 - switch) * np.array([0, 1e-3, 1e-2, 0.1, 0.4, 1.0])
    return Inputs.of(functions, np.unique([0.0, *pieces]))
