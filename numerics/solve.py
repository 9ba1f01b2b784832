"""Solve a limit at given parameters: learned overlaps, sampling, training, error.

Results are labelled: `solve` returns an `xarray.Dataset` whose variables have the
names of the notation table and whose metadata is one JSON attribute.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ModelError, shown
from .asked import asked
from .attributes import attributes
from .batch import (
    FLAT,
    SHARES,
    Batch,
    SolvedPhase,
    ends,
    final_shares,
    share_limit,
    share_table,
    solved_phases,
)
from .codegen.parameters import (
    Solver,
    closed_values,
    complete,
    increasing_times,
    params_of,
    reals,
)
from .codegen.snapshot import PrintedLimit, PrintedPhase, printed_limit
from .minima.result import Minima, alone
from .share.share import CLOSED

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from ..theory.derive import Limit
    from ..theory.models.model import Model
    from ..theory.models.spec import Spec
    from .ode.integrate import Backend


QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The times in a phase that are reported unless others are asked for."""


def solve(
    limit: Limit | Model | Spec | str | Path,
    *,
    s: ArrayLike = QUARTERS,
    rtol: float = 1e-9,
    atol: float = 1e-11,
    backend: Backend = "scipy",
    nu0: ArrayLike | None = None,
    **values: float,
) -> xr.Dataset:
    r"""Solve every phase of `limit` at one point of its parameters.

    `limit` is a limit from `dilaton.derive`, a model, a spec or the path of a spec
    file. The `values` are every parameter of a limit or a model by name; there are no
    defaults, and one `kappa` serves all windows. Beside a spec, they replace its
    values. `s` are times in [0, 1] inside each phase, increasing; its quarters unless
    given. `rtol` and `atol` are tolerances of the share and of the flows that are
    followed for it. `nu0` has starting points of $\nu$; if given, the result holds
    their trajectories through the feature windows (population).

    The `backend` finds minima and follows flows: ``scipy`` (the first result in a
    second or two), ``numba`` or ``jax`` (compiled first, then faster). Modes have
    ``scipy`` alone, and so have the minima of several features with n samples. The
    metadata say what each phase was computed by (`computed_by`).

    The Dataset has along ``t`` (phases one after another; coordinates ``phase`` and
    ``s``) the learned overlaps, nan where a phase has none, and the decided mode's mean
    `M` and bulk variance `V`. Scalars: `share_plus`, the generated share of the + mode
    at the end of its window, with `share_plus_error`; `final_share_plus`, that at the
    end of sampling, where it is known; `mode_mean` and `bulk_variance` at the end. With
    n samples also `symmetric`, whether samples of a class stay alike at the minimum, as
    the equations assume, and `split_gain`, by how much the loss of a network that parts
    them is lower. With several features the shares and means have a dimension
    ``feature``.

    Raises `ModelError` for a missing, unknown or inadmissible parameter, `SolveError`
    when a solver stopped early.

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
    limit: Limit | PrintedLimit | Model | Spec | str | Path,
    *,
    s: ArrayLike = QUARTERS,
    rtol: float = 1e-9,
    atol: float = 1e-11,
    backend: Backend = "scipy",
    nu0: ArrayLike | None = None,
    **values: float,
) -> Solution:
    """Solve every phase at one point, as `solve` does, into plain arrays."""
    solver = Solver(backend, rtol, atol).checked()
    starts, times = _starts(nu0), increasing_times("s", s)
    question = asked(limit, values)
    held = printed_limit(question.printed)
    point = complete(held, question.values)
    batch = Batch(held, point, solver)
    solved = _solved_modes if "modes" in held.about else _solved_features
    rows, sample, by = solved(batch, times, starts)
    about = {
        "values": point,
        "solver": asdict(solver) | {"computed_by": by},
        "model": dict(held.about),
    }
    return Solution(held, times, rows, sample, starts, about)


Solved = tuple[list[dict[str, np.ndarray]], dict[str, Any], dict[str, dict[str, str]]]
"""The rows of every phase, the sample, and what computed the numbers of each phase."""


def _solved_features(batch: Batch, times: np.ndarray, nu0: np.ndarray | None) -> Solved:
    """Solve a target of signs, feature by feature."""
    parts, by = solved_phases(batch, times), {}
    for part in parts:
        _speak(part, batch.solver)
        by[part.phase.name] = {"learned": part.by}
        by[part.phase.name] |= {"share": part.shares.by} if part.shares else {}
    rows = [_phase_rows(part, times, batch, nu0) for part in parts]
    return rows, _sample(batch, parts), by


def _solved_modes(batch: Batch, times: np.ndarray, nu0: np.ndarray | None) -> Solved:
    """Solve a mixture of modes: all is closed or an average, no flow is followed."""
    limit, backend = batch.limit, batch.solver.backend
    if nu0 is not None:
        raise ModelError(
            "`nu0` draws trajectories along one mean, but modes have several "
            "directions. Leave it out."
        )
    if backend != "scipy":
        raise ModelError(
            "Modes are solved by NumPy and SciPy, for all is closed or an average, but "
            f"`backend` is `{backend}`. Leave it out."
        )
    from .modes.evaluate import solve_modes

    if limit.about["samples"]:
        warnings.warn(NO_SHARES, stacklevel=3)
    rows, sample = solve_modes(limit, times, batch.given)
    by = {part.name: {"learned": CLOSED} for part in limit.phases}
    for part in limit.phases if not limit.about["samples"] else ():
        by[part.name] |= {"share": "scipy"} if part.features else {}
    return rows, sample, by


NO_SHARES = (
    "With n samples the weights phases of modes are not derived, so no share is given: "
    "the averages of a softmax over the fields of K units and the samples' own noises "
    "have no quadrature with a known error. The variance phase is."
)

PARTED = (
    "All samples of a class should be treated alike, for the equations assume it, but "
    "a network that parts them has a lower loss. Do not use these overlaps and shares; "
    "raise the ridges, n or kappa, or see `split_gain` for how much lower it is."
)


def _sample(batch: Batch, parts: list[SolvedPhase]) -> dict[str, list[Any]]:
    """Return what describes the generated sample, one number for each feature."""
    table = share_table(parts, [final_shares(batch, part) for part in parts], 1)
    means, bulk = ends(batch)
    none = np.full_like(means, np.nan)
    found = {name: table.get(name, none)[0].tolist() for name in SHARES}
    found |= {"mode_mean": means[0].tolist(), "bulk_variance": bulk.tolist()}
    if tested := [x.alike for x in parts if x.alike is not None]:
        found["symmetric"] = [bool(x.symmetric[0]) for x in tested]
        found["split_gain"] = [float(x.gain[0]) for x in tested]
    return found


@dataclass(frozen=True)
class Solution:
    """A solved limit in plain arrays.

    `rows` holds the trajectories of each phase by name, of shape (times,) or (times,
    nu0); `sample` the scalars, one for each feature.
    """

    limit: PrintedLimit
    s: np.ndarray
    rows: list[dict[str, np.ndarray]]
    sample: dict[str, Any]
    nu0: np.ndarray | None
    about: dict[str, Any]

    @property
    def t(self) -> np.ndarray:
        """Times on the whole dilation, of shape (phases, times)."""
        count = len(self.rows)
        return (np.arange(count)[:, None] + self.s) / count

    @property
    def scalars(self) -> dict[str, Any]:
        """The generated sample in numbers, one a feature if there are several."""
        if "shares" in self.sample:
            return dict(self.sample)
        several = len(self.sample["share_plus"]) > 1
        found = {k: np.array(v) if several else v[0] for k, v in self.sample.items()}
        return found | {"bulk_variance": self.sample["bulk_variance"][0]}

    def dataset(self) -> xr.Dataset:
        """Return it with labels; see `solve`."""
        import xarray as xr

        def labelled(dims: tuple[str, ...], value: Any, attrs: Any) -> Any:
            # made this way xarray does not import dask, where that is installed
            return xr.Variable(dims, np.asarray(value), attrs, fastpath=True)

        def about(name: str) -> dict[str, str]:
            return attributes(name, self.limit.phases)

        own: tuple[str, ...] = ("feature",)
        axes: tuple[str, ...] = ("t", "nu0")
        if "shares" in self.sample:
            own, axes = ("mode",), ("t", "mode", "direction")
        names = list(dict.fromkeys(name for part in self.rows for name in part))
        data: dict[str, Any] = {}
        for name in names:
            known = [part[name] for part in self.rows if name in part]
            none = np.full_like(known[0], np.nan)
            column = np.concatenate([part.get(name, none) for part in self.rows])
            data[name] = labelled(axes[: column.ndim], column, about(name))
        for name, value in self.scalars.items():
            data[name] = labelled(own[: np.ndim(value)], value, about(name))
        coords = {k: labelled(*v, about(k)) for k, v in self._coordinates().items()}
        return xr.Dataset(data, coords, {"json": json.dumps(self.about)})

    def _coordinates(self) -> dict[str, tuple[tuple[str], np.ndarray]]:
        names = [phase.name for phase in self.limit.phases]
        features = len(self.sample.get("share_plus", ()))
        coords = {
            "t": (("t",), self.t.ravel()),
            "s": (("t",), np.tile(self.s, len(names))),
            "phase": (("t",), np.repeat(names, len(self.s))),
        }
        if features > 1:
            coords["feature"] = ("feature",), np.arange(1, features + 1)
        if "shares" in self.sample:
            modes = np.arange(1, len(self.sample["shares"]) + 1)
            coords["mode"] = ("mode",), modes
        return coords if self.nu0 is None else coords | {"nu0": (("nu0",), self.nu0)}


def _speak(part: SolvedPhase, solver: Solver) -> None:
    """Raise `SolveError` for a lost minimum; warn of numbers that are not known."""
    if isinstance(part.found, Minima):
        alone(part.found)
        if (apart := np.max(part.apart)) > FLAT:
            _warn("The learned overlaps", FLAT, apart, "is flat")
    if np.any(part.parted):
        warnings.warn(PARTED, stacklevel=4)
    decided, wanted = part.shares, share_limit(solver)
    if decided is not None and decided.bounded and decided.errors.max() > wanted:
        _warn("`share_plus`", wanted, decided.errors.max(), "bends sharply in time")


def _warn(what: str, wanted: float, found: float, why: str) -> None:
    """Say that a number is given which is known less well than was asked for."""
    warnings.warn(
        f"{what} should be known to {wanted:.1g}, but may be off by {found:.1g}: the "
        f"minimum {why}. Trust no further digits, or change the ridges.",
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


# ------------------------------------------------------------------------- one phase


def _phase_rows(
    part: SolvedPhase, s: np.ndarray, batch: Batch, nu0: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the overlaps of a phase, its decided mode, and trajectories from `nu0`."""
    rows = {name: values[0] for name, values in part.overlaps.items()}
    flow = part.phase.sampling
    if part.phase.variance and flow is not None:
        rows |= closed_values(flow.solved(), s, batch.given)
    elif nu0 is not None and part.phase.features:
        rows |= _fan(part.phase, s, batch, nu0)
    return rows


def _fan(
    phase: PrintedPhase, s: np.ndarray, batch: Batch, nu0: np.ndarray
) -> dict[str, np.ndarray]:
    """Return trajectories of nu from the points `nu0`, population."""
    flow = phase.sampling
    if flow is None or flow.inputs:
        raise ModelError(
            "`nu0` draws trajectories where the learned parameters have a closed form, "
            f"but those of `{phase.name}` are searched for. Leave it out, or take "
            "tanh units with a bias and no samples."
        )
    from .ode.integrate import integrate

    grid = np.union1d([0.0], s) if s[-1] > 0 else np.array([0.0, 1.0])
    solver, names = batch.solver, flow.unknowns
    found = integrate(
        flow.make(),
        init=dict.fromkeys(names, nu0),
        params=params_of(flow, batch.given),
        t=grid,
        rtol=solver.rtol,
        atol=solver.atol,
        backend=solver.backend,  # type: ignore[arg-type]
    )
    return {name: found[name][:, np.searchsorted(grid, s)].T for name in names}
