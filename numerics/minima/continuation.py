"""n samples of a product mixture: minima followed in time.

The units' readouts are eliminated or tied, and each `w` is a combination of class
means, so that a unit has `2^K` numbers and a bias, one less where each `w` is a
contrast. The search at s = 1 starts from decoupled units, each with its own feature,
and from scattered points; what it finds is followed down in s. At small s units stop
responding one by one: with a bias they saturate and are the constant 1, without it
their w shrinks to 0. The objective decides how many do. What is returned is inserted
into the printed equations of the system, and `residual` is what is left there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...errors import SolveError
from ..codegen.kernel import Kernel, make_kernel
from ..codegen.quadrature import trapezoid
from ..codegen.snapshot import Printed, PrintedPhase
from .landscape import ALIKE, Landscape, Point

if TYPE_CHECKING:
    from ...theory.symbols.system import System

FLOOR = 1e-3  # where the followed minima end; below it the last one is kept
LADDER = 0.75  # ratio of neighbouring times on the way down

FINEST = -np.log(LADDER) / 8
"""A step, in log s, on which a minimum is lost is halved unless it is as short."""

SEARCHES = (1.0, 0.3)
"""Times at which minima are searched for; those found later are followed too."""

SWITCH = 1e-9  # how well the time is known at which another minimum takes over

ROUNDING = 1e-13
"""Objectives that differ by less are equal: branches merge where units fall silent."""

SATURATED = 40.0  # a bias this large saturates a unit to the last digit
FADING = 1e-6  # a minimum may be lost this close, in s, above where it falls silent
FAINT = 1e-13  # size of w that stands for 0 where the printed equations divide by it

STABLE = (1.0, 0.5, 0.25)
"""Times at which it is tested whether the lowest minimum is one of the network."""

ROUGH, FINE = 1e-6, 1e-11
"""How well slopes agree with those of a rule twice as fine: on the way, at the end."""


@dataclass
class FollowedMinimum:
    """A minimum that is followed: what is known of it, by time."""

    known: dict[float, Point] = field(default_factory=dict)

    def nearest(self, s: float) -> float:
        """Return the time nearest to `s` at which the point is known."""
        return min(self.known, key=lambda t: abs(np.log(t / s)))

    def near(self, s: float) -> Point:
        """Return the point known at the time nearest to `s`."""
        return self.known[self.nearest(s)]


class Path:
    """The lowest minimum as a function of time: pieces of branches and switches."""

    def __init__(
        self, phase: PrintedPhase, activation: str, point: Mapping[str, float]
    ) -> None:
        self.land = Landscape(phase, activation, point)
        self.ladder = np.exp(np.arange(0, np.log(FLOOR), np.log(LADDER)))
        self.branches: list[FollowedMinimum] = []
        self.count = 0  # of minima at the first of these times
        for s in SEARCHES:
            self._search(s)
        self.segments = self._segments()

    def _search(self, s: float) -> None:
        """Look for minima and follow those that no branch has."""
        units = self.land.objective.units
        for count in range(units, -1, -1):
            active = tuple(j < count for j in range(units))
            found = self.land.search(s, active)
            if count and found and self.land.refine(s, found[0], ROUGH):
                return self._search(s)
            if s == SEARCHES[0]:
                self.count += len(found)
            for x in found:
                self._follow(s, x)
        if not self.branches:
            raise SolveError(
                "A minimum must exist at the end of the window, but none of the "
                "starting points led to one. Raise the ridges, or report the "
                "parameters.",
                self,
            )
        return None

    def _follow(self, s: float, start: Point) -> None:
        """Follow a minimum that is new along the ladder, both ways, to its ends."""
        if any(abs(self._height(b, s) - start.value) <= ALIKE for b in self.branches):
            return
        branch = FollowedMinimum({s: start})
        self.branches.append(branch)
        down = [t for t in self.ladder if t < s]
        up = [t for t in self.ladder[::-1] if t > s]
        for times in (down, up):
            for t in times:
                if self._step(branch, t) is None:
                    self._fall(t, branch.near(t))
                    break

    def _fall(self, s: float, last: Point) -> None:
        """Follow the minima that lie below where one has ended, a unit less or none."""
        live = [j for j, on in enumerate(last.active) if on]
        fewer = [tuple(on and j != k for j, on in enumerate(last.active)) for k in live]
        for active in (last.active, *fewer):
            found = self.land.settle(s, replace(last, active=active))
            if found:
                self._follow(s, self.land.named(found))

    def _step(self, branch: FollowedMinimum, s: float) -> Point | None:
        """Follow a branch to a time, in smaller steps if need be, unless it is lost."""
        if s not in branch.known:
            found = self.land.follow(s, branch.known)
            if found is None:
                near = branch.nearest(s)
                short = abs(np.log(s / near)) <= FINEST * (1 + 1e-9)
                if short or not self._step(branch, float(np.sqrt(near * s))):
                    return None
                return self._step(branch, s)
            branch.known[s] = found
        return branch.known[s]

    def _height(self, branch: FollowedMinimum, s: float) -> float:
        low, high = min(branch.known), max(branch.known)
        if not low * LADDER < s < high / LADDER:
            return np.inf
        found = self._step(branch, s)
        return found.value if found else np.inf

    def _lowest(self, s: float, held: int = 0) -> int:
        """Return the lowest branch; the one that is held until, up to rounding."""
        heights = [self._height(b, s) for b in self.branches]
        best = int(np.argmin(heights))
        return held if heights[held] <= heights[best] + ROUNDING else best

    def _segments(self) -> list[tuple[float, int]]:
        """Upper ends and branches of the pieces, from s = 1 down."""
        pieces = [(1.0, self._lowest(1.0))]
        for high, low in zip(self.ladder, self.ladder[1:], strict=False):
            self._between(pieces, float(high), float(low))
        return pieces

    def _between(
        self, pieces: list[tuple[float, int]], high: float, low: float
    ) -> None:
        """Append the switches between two times, one by one."""
        before = pieces[-1][1]
        after = self._lowest(low, before)
        if before == after:
            return
        edge = self._crossing(before, after, high, low)
        between = self._lowest(edge, before)
        if between not in (before, after):
            edge = self._crossing(before, between, high, edge)
            pieces.append((edge, between))
            self._between(pieces, edge, low)
        else:
            pieces.append((edge, after))

    def _crossing(self, before: int, after: int, high: float, low: float) -> float:
        """Return the time at which the second branch becomes the lower one."""
        from scipy.optimize import brentq

        def gap(s: float) -> float:
            height = self._height(self.branches[before], s)
            if height == np.inf:  # the second one has taken over
                return 1.0
            return max(height - self._height(self.branches[after], s), -1.0)

        if not gap(high) < 0 < gap(low):
            return high
        return float(brentq(gap, low, high, xtol=SWITCH))

    def at(self, s: float) -> Point:
        """Return the lowest minimum at a time."""
        s = max(s, FLOOR)
        *_, (edge, index) = [x for x in self.segments if s <= x[0]]
        found = self._step(self.branches[index], s)
        for below, heir in self.segments:
            if found is None and below < edge and s < below * (1 + FADING):
                found = self._step(self.branches[heir], s)
        if found is None:
            raise SolveError(
                "The lowest minimum must be followed through the window, but it was "
                f"lost at s = {s:.4g}. Change the ridges slightly, or report the "
                "parameters.",
                self,
            )
        return found

    def polished(self, s: float) -> Point:
        """Return the lowest minimum at a time, by the present quadrature rule."""
        near, at = self.at(s), max(s, FLOOR)
        return self.land.follow(at, {at: near}) or near


# ---------------------------------------------------------------- printed equations


@dataclass(frozen=True)
class ClassMinima:
    """The learned overlaps of one point, at given times and as a function of time.

    Attributes
    ----------
    names
        The unknowns of the system, then its observables.
    values
        Shape (times, names). A saturated unit has an infinite bias and, untied, w = 0;
        a silent one, without bias, has w = 0.
    objective, residual, eigenvalue
        Shape (times,): the objective; the largest slope of the printed equations;
        the smallest curvature: within the span of the class means, across samples of
        a class, and orthogonal to all samples (positive: a minimum of the network).
    active
        Shape (times,): how many units respond to their input.
    minima
        How many distinct minima the search at s = 1 found.
    bend
        The smallest curvature at a few times that do not depend on those asked for.
    path
        The minimum as a function of time.
    """

    names: tuple[str, ...]
    values: np.ndarray
    objective: np.ndarray
    residual: np.ndarray
    eigenvalue: np.ndarray
    active: np.ndarray
    minima: int
    bend: float
    path: Path = field(repr=False)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an unknown or observable, of shape (1, times)."""
        return self.values[None, :, self.names.index(name)]


def minimise_classes(
    phase: PrintedPhase, activation: str, s: np.ndarray, point: Mapping[str, float]
) -> ClassMinima:
    """Follow the learned overlaps of a product mixture with samples.

    Raises
    ------
    SolveError
        When no minimum is found, or one is lost on the way down.
    """
    path = Path(phase, activation, point)
    rough = path.land.objective
    path.land.refine(1.0, path.at(1.0), FINE)
    found = [path.polished(float(t)) for t in s]
    rows, residual = _printed(phase, path, s, found, point)
    curvatures = [
        path.land.curvature(max(t, FLOOR), x) for t, x in zip(s, found, strict=True)
    ]
    bend = min(path.land.curvature(t, path.polished(t)) for t in STABLE)
    path.land.objective = rough
    return ClassMinima(
        names=phase.learned.names,
        values=rows,
        objective=np.array([x.value for x in found]),
        residual=residual,
        eigenvalue=np.array(curvatures),
        active=np.array([sum(x.active) for x in found]),
        minima=path.count,
        bend=bend,
        path=path,
    )


def overlaps_at(land: Landscape, s: float, at: Point) -> dict[str, float]:
    """Return every overlap of the printed system at a point; saturated b is 40."""
    objective = land.objective
    a = at.theta @ land.directions.T * at.turning[:, None]
    b = np.where(at.active, at.b + 0.0, SATURATED * land.network.constant)
    readout = land.readout(s, at)
    noise = objective.sigma / objective.counts
    root = np.sqrt(land.rho)
    values = {
        "omega": (a @ objective.signs) * root,
        "zeta": a * noise,
        "b": b,
        "m": (readout @ objective.signs) * root / root[:, None],
        "a": readout * noise,
    }
    names = {name: land.labels.each(name) for name in values}
    return {
        key: float(v)
        for name, keys in names.items()
        for key, v in zip(keys, values[name].ravel(), strict=True)
    }


def _printed(
    phase: PrintedPhase, path: Path, s: np.ndarray, found: list[Point], point: Mapping
) -> tuple[np.ndarray, np.ndarray]:
    """Values by the names of the system, and what its equations leave."""
    kernel, rows, residual = _checks(phase.learned), [], []
    params = {name: point[name] for name in kernel.parameters}
    for t, x in zip(np.maximum(s, FLOOR), found, strict=True):
        known = overlaps_at(path.land, t, x)
        seen = _evaluated(
            kernel, params, _faint(known), t, 2 * path.land.objective.intervals
        )
        slopes = [abs(float(v)) for k, v in seen.items() if k.startswith("slope_")]
        residual.append(max(slopes))
        biases = {k for k, v in known.items() if v == SATURATED}
        line = {k: float(v) for k, v in seen.items() if not k.startswith("slope_")}
        line |= known | dict.fromkeys(biases, np.inf)
        rows.append([line[name] for name in phase.learned.names])
    return np.array(rows), np.array(residual)


def _evaluated(
    kernel: Kernel, params: Mapping, inputs: Mapping, t: float, intervals: int
) -> dict[str, float]:
    """Evaluate printed equations by a rule twice as fine as the solver's."""
    given = ([inputs[k] for k in kernel.inputs], [params[k] for k in kernel.parameters])
    values, _ = kernel["values"](t, [], *given, *trapezoid(intervals))
    return dict(zip(kernel.outputs("values"), map(float, values), strict=True))


def _faint(known: Mapping[str, float]) -> dict[str, float]:
    """Give vanishing w a direction each: the printed covariances divide by sizes."""
    own = [k for k, v in known.items() if k.startswith("omega") and k.count("_") == 1]
    return {k: FAINT if v == 0.0 and k in own else v for k, v in known.items()}


@lru_cache(maxsize=8)
def _checks(learned: Printed) -> Kernel:
    """Return the slopes of a stationary system and its observables as a kernel."""
    slopes = tuple(f"slope_{x}" for x in learned.unknowns)
    part = learned.part(
        _as_values,
        "slopes",
        kind="closed",
        unknowns=slopes + learned.observed,
        observed=(),
        inputs=learned.unknowns,
        branches=(),
    )
    return make_kernel(part, "numpy")


def _as_values(system: System) -> System:
    """Return the gradient of a system and its observables as values to compute.

    What one field leaves of another's variance may be 0, and below it by rounding.
    """
    import sympy as sp

    values = tuple(
        replace(e, lhs=sp.Symbol(f"slope_{e.lhs}")) for e in system.equations
    )
    roots = set().union(*(e.rhs.atoms(sp.Pow) for e in values))
    clamped = {
        x: sp.sqrt(sp.Max(0, x.base, evaluate=False))
        for x in roots
        if x.exp == sp.S.Half and x.base.is_Add
    }
    slopes = tuple(replace(e, rhs=e.rhs.xreplace(clamped)) for e in values)
    return replace(
        system,
        kind="closed",
        equations=slopes + system.observables,
        observables=(),
        inputs=system.unknowns,
        objective=None,
        branches=(),
        domain=(),
    )
