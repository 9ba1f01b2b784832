r"""Portraits of a solved limit, most of them fast enough for a slider.

`portraits` takes the limit of a spec: `solved` solves it at any of its numbers (the
learned overlaps, trajectories and the law of $\nu$ in the window of each feature or
direction, the shares), `sampled` follows a sampler with a few steps at a dimension d,
dilated beside undilated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from .asked import asked
from .batch import Batch, SolvedPhase, solved_phases
from .codegen.indexed import indexed_functions
from .codegen.parameters import Solver, closed_values
from .codegen.snapshot import PrintedLimit, PrintedPhase, printed_limit
from .minima.landscape import counted
from .minima.result import Minima, alone
from .modes.evaluate import by_entry, families, solve_modes, weights_of
from .modes.normal_averages import as_normals, scrambled
from .modes.tree_shares import Placed
from .ode.rk4 import rk4_step
from .share.euler import follow_samples, step_states
from .share.rules import ExactFlow, ModesFlow, Times
from .share.several_features import ClassFlow
from .trajectories import FARTHEST_START, trajectories

if TYPE_CHECKING:
    from ..theory.derive import Limit
    from ..theory.models.modes import Level
    from ..theory.models.spec import Spec

HALF_STEPS = 80  # halves of steps of order four through a window
SHARE = 1e-6  # tolerance of a share

STARTS = np.linspace(-FARTHEST_START, FARTHEST_START, 17)
"""Starting points of the trajectories that are drawn, in standard deviations."""

FEW = 32  # starting points in several directions, of which as many are drawn
SEEN = 4.5  # the law is drawn to so many deviations beyond its outermost parts

NODES, ROUNDS = 801, 2
"""Starting points that are followed for the share of a sampler, and how often a change
of sign between two of them is sought more closely: a place is known to 5e-6."""

COUNTED = 2048
"""Starting points that count the modes of a sampler: shares are known to .002."""

CLASS_POINTS, BINS = 512, 400
"""Points of a scrambling of starts where all features move together, and the bins in
which their ends are gathered for the law."""

TINY, BLUR = 1e-9, 0.15
"""A spread that parts nothing, and what a law of so few points is blurred by."""

OVERLAPS = ("m", "omega", "b", "c")


Follower = Callable[[Times], dict[str, Any]]


@dataclass(frozen=True)
class Sight:
    r"""A window as it is seen along one feature or direction.

    `paths` of shape (starts, times) are means of $\nu$ from several starts; `density`
    is its law at the end, of which nothing is left to see beyond `edge`.
    """

    paths: np.ndarray
    density: Callable[[np.ndarray], np.ndarray]
    edge: float


@dataclass(frozen=True)
class Portrait:
    """A solved limit: lines along the dilated time, windows and shares.

    `sights` has what is seen of each feature (or direction), where that can be drawn;
    `shares` the generated share of each feature's + mode (or of each mode), where it is
    known.
    """

    t: np.ndarray
    lines: dict[str, np.ndarray]
    sights: dict[int, Sight] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)


def portraits(spec: Spec) -> Portraits:
    """Return the portraits of a spec; its limit is derived."""
    return PortraitsOfModes(spec) if spec.kind == "modes" else PortraitsOfSigns(spec)


class Portraits(ABC):
    """The limit of a spec, ready to be solved at any numbers."""

    def __init__(self, spec: Spec) -> None:
        self.limit: Limit = asked(spec).limit
        self.printed: PrintedLimit = printed_limit(self.limit)
        self.s = np.linspace(0, 1, HALF_STEPS + 1)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The numbers that a portrait needs."""
        return self.printed.parameters

    @property
    @abstractmethod
    def windows(self) -> tuple[int, ...]:
        """The features, or directions, in which something is decided."""

    @abstractmethod
    def solved(self, point: Mapping[str, float]) -> Portrait:
        """Solve every phase; raise `DilatonError` where that fails."""

    def _times(self) -> np.ndarray:
        count = len(self.printed.phases)
        return ((np.arange(count)[:, None] + self.s[::2]) / count).ravel()

    def _joined(self, parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """Overlaps of the phases one after another; what one lacks becomes a gap."""
        none = np.full(self.s.shape, np.nan)
        names = dict.fromkeys(name for part in parts for name in part)
        seen = [x for x in names if x.partition("_")[0] in OVERLAPS and x != "c_hat"]
        return {
            name: np.concatenate([part.get(name, none)[::2] for part in parts])
            for name in seen
        }

    def sampled(
        self, point: Mapping[str, float], d: float, steps: int
    ) -> dict[str, dict[str, Any]]:
        r"""Follow `steps` Euler steps of the exact flow at dimension d, in two ways.

        ``dilated`` gives every phase as many steps, ``undilated`` are even in
        $\tau$. Each has `share`, one for each feature or mode, and `paths` of
        $\hat\mu\cdot X$ in units of its spread, of shape (windows, starts, steps + 1).

        Raises `ModelError` where the windows do not follow one another at this d.
        """
        here = dict(point) | {"d": float(d)}
        follow = self._follower(here)
        knots = np.array(self.limit.dilation.knots(here))
        even = np.linspace(0, 1, steps + 1)
        ends = {
            "dilated": np.interp(even, np.linspace(0, 1, len(knots)), knots),
            "undilated": even,
        }
        return {k: follow((x, x[:-1])) for k, x in ends.items()}

    @abstractmethod
    def _follower(self, point: Mapping[str, float]) -> Follower:
        """Return what gives the share and paths of steps at dimension d."""


def _in_spreads(
    paths: np.ndarray, flow: ExactFlow, ends: np.ndarray, sigma: float, size: np.ndarray
) -> np.ndarray:
    """Paths of shape (times, rows, starts) in units of the spread at each time."""
    levels = [flow.levels(tau) for tau in ends]
    alpha, beta = (np.array([getattr(x, k) for x in levels]) for k in _SIZES)
    noise = alpha**2 + (sigma * beta) ** 2
    spread = np.sqrt(noise[:, None] + (beta[:, None] * size) ** 2)
    return np.moveaxis(paths / spread[..., None], 0, -1)


_SIZES = ("alpha", "beta")


# ----------------------------------------------------------- features of two modes each


class PortraitsOfSigns(Portraits):
    """The portraits of a target whose features are signs, each with its window."""

    @property
    def windows(self) -> tuple[int, ...]:
        """The features, from 1."""
        return tuple(range(1, len(self.limit.model.target.features) + 1))

    def solved(self, point: Mapping[str, float]) -> Portrait:
        """Solve every phase; raise `DilatonError` where that fails."""
        given, solver = {k: point[k] for k in self.parameters}, Solver("numba", SHARE)
        if any(counted(x.learned) for x in self.printed.phases):
            solver = Solver("scipy", SHARE)  # a search that no loop is compiled for
        batch = Batch(self.printed, given, solver)
        parts = solved_phases(batch, self.s, _needs_share)
        rows = [{k: x[0] for k, x in part.overlaps.items()} for part in parts]
        found = Portrait(self._times(), self._joined(rows))
        for part in (x for x in parts if x.phase.features):
            if isinstance(part.found, Minima):
                alone(part.found)
            self._look(found, part, given)
        return found

    def _look(
        self, found: Portrait, part: SolvedPhase, given: Mapping[str, float]
    ) -> None:
        """Put the shares of a window and what is seen of it into `found`."""
        phase, features = part.phase, part.phase.features
        if part.shares is not None:
            known = zip(features, part.shares.values[0], strict=True)
            found.shares.update({j: float(x) for j, x in known if np.isfinite(x)})
        if phase.sampling is None or phase.vanishes:
            return
        if counted(phase.learned):
            rows = zip(features, _of_classes(part, given, self.s), strict=True)
            for j, (sight, share) in rows:
                found.sights[j], found.shares[j] = sight, share
            return
        for place, j in enumerate(features):
            moved = trajectories(part, given, self.s, place)
            ends = moved.from_starts(np.array([-SEEN, SEEN]))[:, -1]
            edge = float(np.abs(ends).max()) + SEEN * moved.spread
            found.sights[j] = Sight(moved.from_starts(STARTS), moved.density, edge)
            if part.shares is None:
                found.shares[j] = moved.share

    def _follower(self, point: Mapping[str, float]) -> Follower:
        flow = ExactFlow(self.limit, point)
        rows = [STARTS] * flow.features + [np.ones_like(STARTS)]
        size = np.array([self._size(j, point) for j in self.windows])

        def followed(times: Times) -> dict[str, Any]:
            found = follow_samples(flow, times, "left", NODES, ROUNDS)
            paths = step_states(flow, flow.start * np.stack(rows), times)[:, :-1]
            scaled = _in_spreads(paths, flow, times[0], point["sigma"], size)
            return {"share": np.atleast_1d(found["share_plus"]), "paths": scaled}

        return followed

    def _size(self, j: int, point: Mapping[str, float]) -> float:
        """The norm of the mean of feature `j` at the dimension of `point`."""
        delta = float(self.limit.model.target.features[j - 1].exponent)
        return float(point.get(f"rho_{j}", 1.0) ** 0.5 * point["d"] ** (0.5 - delta))


def _needs_share(phase: PrintedPhase) -> bool:
    """Whether the trajectories that are drawn do not tell the share themselves."""
    flow = phase.sampling
    if not phase.features or flow is None:
        return False
    if flow.solution or phase.vanishes:
        return True
    alone = len(flow.unknowns) == 1 and phase.projected is None
    return not alone and not counted(phase.learned)


def _of_classes(
    part: SolvedPhase, given: Mapping[str, float], s: np.ndarray
) -> list[tuple[Sight, float]]:
    """The sight of each feature where all move together, and its share.

    The law is a mean of normals around the ends of paths, which are gathered in bins.
    """
    (found,) = part.found  # type: ignore[misc]  # one row
    flow = ClassFlow(part.phase, found, given, Solver("scipy", SHARE))
    centres, spreads = flow.ends(CLASS_POINTS)
    paths = flow.paths(s[::4], len(STARTS))
    found = []
    for x, spread, own in zip(centres.T, spreads, paths.swapaxes(0, 1), strict=True):
        counts, edges = np.histogram(x, BINS)
        middles, width = (edges[1:] + edges[:-1]) / 2, max(spread, BLUR)
        share = float(ndtr(x / max(spread, TINY)).mean())
        found.append((_of_parts(middles, own, counts / x.size, width), share))
    return found


def _of_parts(
    means: np.ndarray, paths: np.ndarray, weights: np.ndarray, spread: float
) -> Sight:
    """A law that is a mixture of normals of one spread."""

    def density(nu: np.ndarray) -> np.ndarray:
        z = (nu[:, None] - means) / spread
        return np.exp(-z * z / 2) / (np.sqrt(2 * np.pi) * spread) @ weights

    return Sight(paths, density, float(np.abs(means).max()) + SEEN * spread)


# ------------------------------------------------------------------- modes at any place


class PortraitsOfModes(Portraits):
    """The portraits of a mixture of modes, whose projections move together."""

    @cached_property
    def placed(self) -> Placed:
        """Where the modes are."""
        return Placed.of(self.printed.about["modes"])

    @property
    def windows(self) -> tuple[int, ...]:
        """The directions, from 1."""
        return tuple(range(1, self.placed.loadings.shape[1] + 1))

    def solved(self, point: Mapping[str, float]) -> Portrait:
        """Solve every phase; raise `DilatonError` where that fails."""
        given = {k: point[k] for k in self.parameters}
        rows, sample = solve_modes(self.printed, self.s, given)
        found = Portrait(self._times(), self._joined([by_entry(x) for x in rows]))
        shares = np.asarray(sample["shares"])
        known = np.isfinite(shares)
        found.shares.update(
            {int(k) + 1: float(shares[k]) for k in np.flatnonzero(known)}
        )
        decided = [x for x in self.printed.phases if x.features and x.sampling]
        for phase, level in zip(decided, self.placed.tree, strict=False):
            if phase.vanishes or not known.all():
                continue
            sights = self._seen(phase, level, given, shares)
            found.sights.update(zip(level.directions, sights, strict=True))
        return found

    def _seen(
        self,
        phase: PrintedPhase,
        level: Level,
        given: Mapping[str, float],
        shares: np.ndarray,
    ) -> list[Sight]:
        """The sights of the directions of a window (S1).

        Each branch has its flow, and its law beside those of the others.
        """
        whole = closed_values(phase.levels, self.s, given)
        alpha, beta = (np.broadcast_to(whole[k], self.s.shape) for k in _SIZES)
        target, means, mass, paths = weights_of(given), [], [], []
        for branch in level.branches:
            inside = [k - 1 for group in branch for k in group]
            own = np.array([sum(target[k - 1] for k in group) for group in branch])
            made = float(shares[inside].sum())  # what earlier windows made of it
            points = self.placed.points(branch, level.directions)
            flow = self._branch_flow(phase, own / own.sum(), points, given)
            count = max(1, round(made * len(STARTS)))
            paths.append(self._paths(flow, points.shape[1], alpha[0], count))
            means.append(beta[-1] * points)
            mass.append(made * own / own.sum())
        weights, moved = np.concatenate(mass), np.concatenate(paths)
        each = zip(np.concatenate(means).T, moved.swapaxes(0, 1), strict=True)
        return [_of_parts(x, rows, weights, float(alpha[-1])) for x, rows in each]

    def _branch_flow(
        self,
        phase: PrintedPhase,
        weights: np.ndarray,
        points: np.ndarray,
        given: Mapping[str, float],
    ) -> Callable[[Any, np.ndarray], np.ndarray]:
        assert phase.sampling is not None  # those that have none are left out
        functions = indexed_functions(phase.sampling)
        fixed = dict(given) | families(weights, points)

        def rate(s: Any, y: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):
                return functions.equations(np, float(s), fixed | {"y": y})["y"]

        return rate

    def _paths(
        self, rate: Callable[..., np.ndarray], width: int, size: float, count: int
    ) -> np.ndarray:
        """Trajectories of all directions, (starts, directions, times)."""
        y = size * as_normals(scrambled(FEW, width, 0)[:count]).T
        found = [y]
        for left, right in pairwise(self.s[::2]):
            middle = (left + right) / 2
            y = rk4_step(rate, (left, middle, right), right - left, y)
            found.append(y)
        return np.moveaxis(np.array(found), 0, -1).swapaxes(0, 1)

    def _follower(self, point: Mapping[str, float]) -> Follower:
        flow = ModesFlow(self.limit, point)
        starts, size = flow.starts(0, COUNTED), np.abs(flow.means).max(axis=0)

        def followed(times: Times) -> dict[str, Any]:
            states = step_states(flow, starts, times)
            paths = states[:, :-1, : len(STARTS)]
            scaled = _in_spreads(paths, flow, times[0], point["sigma"], size)
            return {"share": flow.shares(states[-1]), "paths": scaled}

        return followed
