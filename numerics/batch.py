"""Solve a limit for a batch of parameters: the one road from a limit to numbers.

A point is a batch of one row: `solve` labels what `solved_phases` returns for it,
`solve_rows` lays the rows of a sweep out as columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .codegen.parameters import Solver, closed_rows, row_of
from .codegen.snapshot import PrintedLimit, PrintedPhase, printed_limit
from .minima.alike import Alike, samples_alike
from .minima.continuation import minimise_classes
from .minima.landscape import counted
from .minima.minimise import minimise
from .minima.ordinary import (
    LATEST,
    in_its_units,
    noise_and_ratio,
    ordinary_scale,
    times_of,
)
from .minima.result import BRANCHES, Minima, charted
from .share.share import CLOSED, Found, PhaseShares, phase_shares

if TYPE_CHECKING:
    from ..theory.derive import Limit

FLAT = 1e-4  # minima that may be further away than this are not known
BENT = 1e-9  # a curvature below minus this is negative

BY_CURVATURE = "splits of a class are tested by curvature alone"
"""The note of rows for which no states are searched in which samples part."""

NO_LIMIT = "overlaps are nan where too little noise is left to have a limit"
"""The note of rows whose last times have no noise left."""

FAR = 1000.0
"""Scale of a window after which a sample that is on its way to a mode stays there."""

Rows = dict[str, np.ndarray]

SHARES = tuple(
    f"{when}share_plus{what}" for when in ("", "final_") for what in ("", "_error")
)
"""The generated share of each feature and its error, at the end of its window and of
sampling."""


@dataclass(frozen=True)
class SolvedPhase:
    """A phase solved for a batch of rows.

    `overlaps` has the learned overlaps by name, of shape (rows, times); `found` the
    minima where they had to be searched for, and `by` the backend that found them;
    `alike` says whether samples of a class stay alike there, where that is known.
    """

    phase: PrintedPhase
    overlaps: Rows
    found: Found
    by: str
    shares: PhaseShares | None
    alike: Alike | None = None

    @property
    def lost(self) -> np.ndarray | bool:
        """The rows, shape (rows,), whose minimum was lost."""
        return self.found.status == "lost" if isinstance(self.found, Minima) else False

    @property
    def apart(self) -> np.ndarray | float:
        """How far the minima may be from where they were left, in the unknowns."""
        if not isinstance(self.found, Minima):
            return 0.0
        return np.where(self.lost, 0.0, self.found.flat)

    @property
    def by_curvature(self) -> bool:
        """Whether no states were searched in which samples leave their class."""
        if self.shares is None or "ridge_u" not in self.phase.learned.parameters:
            return False
        return self.alike is None or not self.alike.searched

    @property
    def parted(self) -> np.ndarray | bool:
        """The rows whose samples of a class do not stay alike."""
        if self.alike is not None:
            return ~self.alike.symmetric & ~self.lost
        if self.found is None or isinstance(self.found, Minima):
            return False
        return np.array([x.bend < -BENT for x in self.found])


@dataclass(frozen=True)
class Batch:
    """Rows at which a limit is solved: its parameters, each of shape () or (rows,)."""

    limit: PrintedLimit
    given: Mapping[str, Any]
    solver: Solver

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return max((np.size(v) for v in self.given.values()), default=1)

    def only(self, own: np.ndarray) -> Batch:
        """Return the batch of the rows `own`, an array of their indices."""
        if own.size == self.rows:
            return self
        every = {k: np.broadcast_to(v, self.rows) for k, v in self.given.items()}
        return replace(self, given={k: v[own] for k, v in every.items()})

    def solved(
        self, phase: PrintedPhase, times: np.ndarray, decided: bool
    ) -> SolvedPhase:
        """Solve a phase, and find its share where something is `decided`."""
        if phase.ordinary is not None:
            return self._as_ordinary(phase, phase.ordinary, times)
        overlaps, found, by = self.learned(phase, times)
        if not decided:
            return SolvedPhase(phase, overlaps, found, by, None)
        shares = phase_shares(phase, found, self.given, self.rows, self.solver)
        tested = None
        if isinstance(found, Minima):
            tested = samples_alike(phase, self._unit, found, self.given)
        return SolvedPhase(phase, overlaps, found, by, shares, tested)

    def _as_ordinary(
        self, phase: PrintedPhase, linear: PrintedPhase, times: np.ndarray
    ) -> SolvedPhase:
        """Solve the linear phase that learns the same; return to the phase's times."""
        alpha, ratio = noise_and_ratio(phase, times, self.given)
        (scale,) = np.unique(ordinary_scale(phase, self.given))  # see `_alike_in_scale`
        inside = np.minimum(ratio / scale, 1.0)
        done = self._scaled(linear, scale).solved(linear, inside, bool(phase.features))
        last = max(scale, LATEST) if charted(linear.learned) else scale
        for i in np.flatnonzero((ratio > scale) & (ratio <= last)):
            for name, values in self._at_end(linear, ratio[i]).items():
                done.overlaps[name][:, i] = values
        alpha = np.where(ratio > last, np.nan, alpha)
        overlaps = {k: in_its_units(k, v, alpha) for k, v in done.overlaps.items()}
        found = done.found
        if isinstance(found, Minima):
            edges = times_of(phase, found.edges, scale, self.given)
            found = replace(found, edges=edges)
        return replace(done, phase=phase, overlaps=overlaps, found=found)

    def _at_end(self, linear: PrintedPhase, scale: float) -> Rows:
        """Return what a linear phase learns at the end of a window of `scale`."""
        at_end = self._scaled(linear, scale).learned(linear, np.ones(1))[0]
        return {name: values[:, 0] for name, values in at_end.items()}

    def _scaled(self, linear: PrintedPhase, scale: float) -> Batch:
        """Return the batch at another kappa of a linear phase."""
        more = dict.fromkeys(linear.levels.parameters, scale)
        return replace(self, given={**self.given, **more})

    def learned(
        self, phase: PrintedPhase, times: np.ndarray
    ) -> tuple[Rows, Found, str]:
        """Return the learned overlaps, the minima if searched for, and the backend."""
        learned, rows = phase.learned, self.rows
        if learned.kind != "stationary":
            return closed_rows(learned, times, self.given, rows), None, CLOSED
        if counted(learned):
            each = [row_of(self.given, i) for i in range(rows)]
            many = [minimise_classes(phase, self._unit, times, x) for x in each]
            names = many[0].names
            return (
                {k: np.concatenate([x[k] for x in many]) for k in names},
                many,
                "scipy",
            )
        wide = {k: np.broadcast_to(self.given[k], rows) for k in learned.parameters}
        tol, by = min(1e-12, self.solver.rtol), self.solver.backend
        found = minimise(learned, times, wide, tol=tol, backend=by)
        return {name: found[name] for name in found.names}, found, by

    @property
    def _unit(self) -> str:
        return str(self.limit.about["activation"])


def solved_phases(
    batch: Batch,
    times: np.ndarray,
    decided: Callable[[PrintedPhase], bool] = lambda phase: bool(phase.features),
) -> list[SolvedPhase]:
    """Solve every phase for a batch.

    The share is found of the phases that `decided` names: unless said otherwise, those
    in which a feature is decided.
    """
    with np.errstate(all="ignore"):
        return [batch.solved(x, times, decided(x)) for x in batch.limit.phases]


def final_shares(batch: Batch, part: SolvedPhase) -> PhaseShares | None:
    r"""Return the shares that sampling ends with: those of a window without an end.

    What is learned at a time knows $\beta$ and not $\kappa$, so that a flow that leaves
    the window goes on as in a longer one. `None` where nothing is decided, or where no
    law in closed form and no reduced flow of one feature is known; nan where samples of
    a class part.
    """
    phase, decided = part.phase, part.shares
    if decided is None or phase.sampling is None or not phase.levels.parameters:
        return decided  # without a scale the noise is gone at the end
    closed = bool(phase.sampling.solution)
    if not closed and (phase.projected is None or counted(phase.learned)):
        return None
    table, far = _longer(phase, batch.given, len(decided.values))
    (kappa,), names = phase.levels.parameters, sorted(table)
    values, errors = decided.values.copy(), decided.errors.copy()
    parted = np.broadcast_to(part.parted, far.shape)
    values[parted], errors[parted] = np.nan, np.nan
    short = np.flatnonzero((table[kappa] < far) & np.isfinite(values).all(axis=1))
    if short.size:
        table[kappa] = far
        points = np.stack([table[k][short] for k in names], axis=-1)
        points, back = np.unique(points, axis=0, return_inverse=True)
        longer = replace(batch, given=dict(zip(names, points.T, strict=True)))
        with np.errstate(all="ignore"):
            found = longer.learned(phase, np.ones(1))[1]
            again = phase_shares(phase, found, longer.given, longer.rows, batch.solver)
        values[short], errors[short] = (x[back.ravel()] for x in again[:2])
    return decided._replace(values=values, errors=errors)


def _longer(
    phase: PrintedPhase, given: Mapping[str, Any], rows: int
) -> tuple[Rows, np.ndarray]:
    """Return the parameters of a phase, (rows,), and a scale that decides everything.

    A mode's mean, in units of the noise, is then 1000 or more: n/(n + ridge_u) of what
    it would be without ridges.
    """
    assert phase.sampling is not None  # asked only where there is a share
    names = {*phase.learned.parameters, *phase.sampling.parameters}
    names |= {*phase.levels.parameters}
    table = {k: np.broadcast_to(given[k], rows).astype(float) for k in sorted(names)}
    far = np.full(rows, FAR)
    for name in (k for k in table if k.startswith("rho")):
        far = np.maximum(far, FAR / np.sqrt(table[name]))
    if "n" in table:
        far = far * (1 + table["ridge_u"] / table["n"])
    return table, far


def share_limit(solver: Solver) -> float:
    """Return the error of a share beyond which it is not what was asked for."""
    return max(100 * solver.tolerance, 1e-7)


def ends(batch: Batch) -> tuple[np.ndarray, ...]:
    """Return the mean of a mode along each feature, (rows, features), and the bulk.

    The bulk variance has shape (rows,). Both hold after sampling.
    """
    flow = batch.limit.phases[-1].sampling
    assert flow is not None  # the last phase has one
    found = closed_rows(flow.solved(), np.ones(1), batch.given, batch.rows)
    *means, bulk = (x[:, 0] for x in found.values())
    return np.stack(means, axis=1), bulk


# -------------------------------------------------------------------- rows as columns


def solve_rows(
    limit: Limit | PrintedLimit,
    columns: Mapping[str, ArrayLike],
    s: Sequence[float],
    *,
    rtol: float = 1e-8,
    backend: str = "numba",
    final: bool = False,
) -> Rows:
    """Solve a limit for a batch of parameters.

    `columns` has every parameter by name, each of shape () or (rows,); a `kappa` serves
    every window that has none of its own (``kappa_2``). `s` are times in each phase, in
    [0, 1], `rtol` is the tolerance of the share, whose bound that was reached is
    `share_plus_error`, and `backend` ``numba``, ``jax``, or ``scipy``, which compiles
    nothing. With `final` the shares with which sampling ends are returned too: for n
    samples the minima are then found a second time, in a window without an end.

    Returns ``bulk_variance``, ``status`` and ``reason`` of shape (rows,);
    ``share_plus``, ``share_plus_error``, the same with ``final_``, and ``mode_mean``
    too, or (rows, features) if there are several; the learned overlaps, of shape (rows,
    phases * times); their coordinates ``@t``, ``@s``, ``@phase``; for n samples also
    ``branch`` (rows, phases * times), ``switch``, ``minima``, ``pieces`` and
    ``residual``, and, where it is known, ``symmetric``: whether samples of a class stay
    alike, and ``split_gain``, by how much a state that parts them is lower.
    """
    times, held = np.asarray(s, dtype=float), printed_limit(limit)
    given = {k: np.asarray(v) for k, v in held.kappas(columns).items()}
    batch = Batch(held, given, Solver(backend, rtol))
    groups = _alike_in_scale(batch)
    parts = [_columns(batch.only(own), times, final) for own in groups]
    return _joined(parts, groups) | _coordinates(held, times)


def _columns(batch: Batch, times: np.ndarray, final: bool) -> Rows:
    """Solve a batch; return its columns, those of overlaps (rows, phases * times)."""
    rows, phases = batch.rows, len(batch.limit.phases)
    out: Rows = {"status": np.full(rows, "ok", dtype="<U16")}
    out["reason"] = np.full(rows, "", dtype="<U240")
    wide: Rows = {}
    parts = solved_phases(batch, times)
    for i, part in enumerate(parts):
        table = part.overlaps | _searched(part, out)
        _judge(part, out, batch.solver)
        for name, values in table.items():
            empty = np.full((rows, phases * times.size), np.nan)
            column = wide.setdefault(name, empty)
            column[:, i * times.size : (i + 1) * times.size] = values
    last = [final_shares(batch, x) for x in parts if final]
    means, bulk = ends(batch)
    scalars = {"mode_mean": means} | share_table(parts, last, rows)
    if means.shape[1] == 1:  # else a column for each feature
        scalars = {name: x[:, 0] for name, x in scalars.items()}
    return out | scalars | {"bulk_variance": bulk} | wide


def _coordinates(limit: PrintedLimit, times: np.ndarray) -> Rows:
    """Return the time, the time of the phase and the phase of each overlap's column."""
    count, names = len(limit.phases), [phase.name for phase in limit.phases]
    return {
        "@t": np.concatenate([(i + times) / count for i in range(count)]),
        "@s": np.tile(times, count),
        "@phase": np.repeat(names, times.size),
    }


def _alike_in_scale(batch: Batch) -> list[np.ndarray]:
    """Return the rows that are solved together: those of equal `ordinary_scale`."""
    vanishing = [x for x in batch.limit.phases if x.ordinary is not None]
    scales = [ordinary_scale(x, batch.given) for x in vanishing] or [np.ones(1)]
    own = np.broadcast_to(scales[0], batch.rows)
    return [np.flatnonzero(own == scale) for scale in np.unique(own)]


def _joined(parts: Sequence[Rows], groups: Sequence[np.ndarray]) -> Rows:
    """Put the rows of groups back in their order."""
    order = np.argsort(np.concatenate(groups))
    return {k: np.concatenate([x[k] for x in parts])[order] for k in parts[0]}


def _searched(part: SolvedPhase, out: Rows) -> Rows:
    """Put what a search tells of a row into `out`; return what it tells by time."""
    found = part.found
    if not isinstance(found, Minima):
        return {}
    out["switch"], out["minima"] = found.switch, found.minima
    out["pieces"] = found.pieces
    if part.alike is not None:
        out["symmetric"], out["split_gain"] = part.alike.symmetric, part.alike.gain
    lost = found.branch == BRANCHES.index("lost")
    return {
        "branch": np.where(lost, np.nan, found.branch),
        "residual": found.residual,
        "eigenvalue": found.eigenvalue,
    }


def _judge(part: SolvedPhase, out: Rows, solver: Solver) -> None:
    """Mark the rows of a phase whose numbers are not known well."""
    decided, name = part.shares, part.phase.name
    if part.phase.learned.status == "degenerate":
        reason = f"frozen noise: {name} does not learn the weight"
        _mark(out, True, "degenerate", reason)
        return
    if decided is not None and decided.bounded:
        worst = decided.errors.max(axis=1)
        reason = "the share is known to {:.1g} only"
        _mark(out, worst > share_limit(solver), "inaccurate", reason, worst)
    if decided is not None and not (decided.bounded or decided.by == CLOSED):
        reason = "the share is an average over sampled starts: standard error {:.1g}"
        _mark(out, out["status"] == "ok", "ok", reason, decided.errors.max(axis=1))
    if part.by_curvature:
        _add(out, True, BY_CURVATURE)
    if part.phase.ordinary is not None:
        gone = [np.isnan(x).any(axis=1) for x in part.overlaps.values()]
        _add(out, np.any(gone, axis=0), NO_LIMIT)
    reason = "flat: overlaps are known to {:.1g}"
    _mark(out, part.apart > FLAT, "inaccurate", reason, part.apart)
    gain = 0.0 if part.alike is None else part.alike.gain
    bent, lower = "the curvature is negative", "a state lower by {:.1g} exists"
    why = np.where(gain > 0, lower, bent).astype(object)
    _mark(out, part.parted, "split", "samples of a class part: " + why, gain)
    if decided is not None:
        unknown = np.isnan(decided.values).any(axis=1)
        _mark(out, unknown, "failed", "the share was not found")
    reason = "the minimum was lost on the way down from s = 1"
    _mark(out, part.lost, "failed", reason)


def _add(out: Rows, rows: Any, note: str) -> None:
    """Say one thing more of rows that are `ok`."""
    for row in np.flatnonzero(rows & (out["status"] == "ok")):
        said = str(out["reason"][row])
        out["reason"][row] = f"{said}; {note}" if said else note


def _mark(out: Rows, rows: Any, status: str, reason: Any, by: Any = 0.0) -> None:
    """Give rows a status and a reason, in which `by` is filled."""
    shape = out["status"].shape
    reasons, by = np.broadcast_to(reason, shape), np.broadcast_to(by, shape)
    for row in np.flatnonzero(np.broadcast_to(rows, shape)):
        out["status"][row] = status
        out["reason"][row] = str(reasons[row]).format(by[row])


def share_table(
    parts: Sequence[SolvedPhase], last: Sequence[PhaseShares | None], rows: int
) -> Rows:
    """Return the `SHARES` of all features, each of shape (rows, features).

    `last` are the shares at the end of sampling, of each of the `parts` or of none; a
    share that is not known is nan, and one that is known of no feature is left out.
    """
    count = sum(len(part.phase.features) for part in parts)
    found: Rows = {}
    for names, known in ((SHARES[:2], [x.shares for x in parts]), (SHARES[2:], last)):
        for part, shares in zip(parts, known, strict=False):
            for name, values in zip(names, shares[:2] if shares else (), strict=False):
                table = found.setdefault(name, np.full((rows, count), np.nan))
                table[:, np.array(part.phase.features) - 1] = values
    return found
