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
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SolveError
from .kernel import Kernel, make_kernel
from .printed import Printed, PrintedPhase
from .quadrature import trapezoid
from .units import Evaluation, Network, Objective

if TYPE_CHECKING:
    from ..theory.system import System

FLOOR = 1e-3
"""Where the followed minima end; below it the last one is kept."""

LADDER = 0.75
"""Ratio of neighbouring times on the way down."""

SCATTERED = 4
"""Random starting points of a search, beside the decoupled ones."""

SEARCHES = (1.0, 0.3)
"""Times at which minima are searched for; those found later are followed too."""

STATIONARY = 1e-9
"""Largest slope at which a point counts as stationary."""

CLOSE = 0.3
"""How far a minimum may move when it is polished or followed by Newton's method."""

ALIKE = 1e-7
"""Objectives that differ by less belong to one minimum, up to symmetry."""

MOST_CALLS = 200
"""Slopes that Newton's method may ask for; a minimum that is there takes a third."""

SWITCH = 1e-9
"""How well the time is known at which another minimum takes over."""

ROUNDING = 1e-13
"""Objectives that differ by less are equal: branches merge where units fall silent."""

STEP = 1e-5
"""Step of the differences of slopes that make up a Hessian."""

GRID = 2**16
"""So many nodes of pairs of fields are taken together, not to leave the cache."""

SATURATED = 40.0
"""A bias this large saturates a unit to the last digit."""

RUNAWAY = 14.0
"""A bias beyond this is on its way to saturation: 1 - tanh is below 2e-12."""

FADED = 1e-4
"""A unit of this size is on its way to 0, where one without bias is silent."""

SHORT = 0.3
"""Without bias a unit smaller than this may be about to fall silent."""

FADING = 1e-6
"""A minimum may be lost this close, in s, above where it falls silent."""

FAINT = 1e-13
"""Size of w that stands for 0 where the printed equations divide by it."""

ROUGH, FINE = 1e-6, 1e-11
"""How well slopes agree with those of a rule twice as fine: on the way, at the end."""

FINEST = 500
"""Intervals of the finest rule in each dimension."""


@dataclass(frozen=True)
class Labels:
    """The names of a product mixture's overlaps, and its classes of samples."""

    units: int
    marks: tuple[str, ...]

    @classmethod
    def of(cls, learned: Printed) -> Labels:
        """Read them off the unknowns, ``zeta_1_pm`` and its like."""
        heads = [x for x in learned.unknowns if x.startswith("zeta_1_")]
        marks = tuple(x.removeprefix("zeta_1_") for x in heads)
        return cls(len(marks[0]), marks)

    @property
    def signs(self) -> np.ndarray:
        """Signs of the features, shape (classes, features)."""
        return np.array([[1.0 if x == "p" else -1.0 for x in m] for m in self.marks])

    def each(self, name: str) -> list[str]:
        """Names of an overlap, unit by unit, then by mean or class."""
        numbers = range(1, self.units + 1)
        if name == "b":
            return [f"b_{j}" for j in numbers]
        if name in ("m", "omega"):
            return [
                f"{name}_{j}" + f"_{k}" * (j != k) for j in numbers for k in numbers
            ]
        return [f"{name}_{j}_{m}" for j in numbers for m in self.marks]

    @property
    def counts(self) -> list[str]:
        """Names of the numbers of samples."""
        return [f"n_{m}" for m in self.marks]

    def directions(self, contrasts: bool) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        """Combinations of the classes, dual to products of signs, and those features.

        With `contrasts` those alone whose sum over classes is zero.
        """
        found: list[tuple[int, ...]] = [()]
        rows = [np.ones(len(self.marks))]
        for size in range(1, self.units + 1):
            for subset in combinations(range(self.units), size):
                row = self.signs[:, list(subset)].prod(axis=1)
                if np.linalg.matrix_rank(np.array([*rows, row])) > len(rows):
                    rows, found = [*rows, row], [*found, subset]
        first = 1 if contrasts else 0
        return np.linalg.inv(np.array(rows))[:, first:], found[first:]


def counted(learned: Printed) -> bool:
    """Whether the samples of a stationarity problem are counted by sign pattern."""
    return any(x.startswith("zeta_1_") for x in learned.unknowns)


def network_of(learned: Printed, activation: str) -> Network:
    """Return the units of a stationarity problem, by what is unknown there."""
    bias, tied = "b_1" in learned.unknowns, "m_1" not in learned.unknowns
    return Network(activation, bias, tied)


@dataclass(frozen=True)
class Point:
    """A network: combinations of class means (units, directions), biases, who lives.

    `hessian` is that of the objective where Newton's method ended here.
    """

    theta: np.ndarray
    b: np.ndarray
    active: tuple[bool, ...]
    network: Network
    value: float = np.inf
    hessian: np.ndarray | None = None

    @property
    def turning(self) -> np.ndarray:
        """Which units have a free `w`."""
        return self.network.turning(self.active)

    @property
    def biased(self) -> np.ndarray:
        """Which units have a free bias."""
        return np.array(self.active) & self.network.bias

    @property
    def free(self) -> np.ndarray:
        """The numbers that are not fixed, as one vector."""
        return self.packed(self.theta, self.b)

    def packed(self, theta: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the free ones of numbers of this shape as one vector."""
        return np.concatenate([theta[self.turning].ravel(), b[self.biased]])

    def moved(self, x: np.ndarray, value: float = np.inf) -> Point:
        """Return the point with `x` for `free`."""
        theta, b = self.theta.copy(), self.b.copy()
        cut = int(self.turning.sum()) * theta.shape[1]
        theta[self.turning] = x[:cut].reshape(-1, theta.shape[1])
        b[self.biased] = x[cut:]
        return replace(self, theta=theta, b=b, value=value)


class Landscape:
    """The objective of one phase at one point of its parameters, at any time."""

    def __init__(
        self, phase: PrintedPhase, activation: str, point: Mapping[str, float]
    ) -> None:
        self.labels = Labels.of(phase.learned)
        self.network = network_of(phase.learned, activation)
        self.directions, self.subsets = self.labels.directions(self.network.contrasts)
        numbers = range(1, self.labels.units + 1)
        self.rho = np.array([float(point[f"rho_{j}"]) for j in numbers])
        self.objective = Objective(
            signs=self.labels.signs,
            counts=np.array([float(point[n]) for n in self.labels.counts]),
            rho=self.rho,
            sigma=float(point["sigma"]),
            ridge_u=float(point["ridge_u"]),
            ridge_w=float(point["ridge_w"]),
            network=self.network,
        )
        self._levels = make_kernel(phase.levels, "numpy")
        self._scales = [point[name] for name in self._levels.parameters]

    def levels(self, s: float) -> tuple[float, float]:
        """Return the interpolant's coefficients at a time of the phase."""
        kernel = self._levels
        (alpha, beta), _ = kernel["values"](s, [], [], self._scales, *kernel.rule)
        return float(alpha), float(beta)

    def slopes(self, s: float, at: Point) -> tuple[float, np.ndarray]:
        """Return the objective and its slopes in `at.free`."""
        (value,), (slope,) = self._slopes(s, [at])
        return float(value), slope

    def _evaluated(self, objective: Objective, s: float, at: Point) -> Evaluation:
        a = at.theta @ self.directions.T
        return objective.evaluate(*self.levels(s), a, at.b, at.active)

    def readout(self, s: float, at: Point) -> np.ndarray:
        """Return `u` on the class means, shape (units, classes)."""
        return self._evaluated(self.objective, s, at).readout

    def settle(self, s: float, start: Point, gtol: float = 1e-4) -> Point | None:
        """Return the minimum below `start`, or None if it runs away."""
        from scipy.optimize import minimize

        if not start.free.size:
            return replace(start, value=self.slopes(s, start)[0])

        def both(x: np.ndarray) -> tuple[float, np.ndarray]:
            return self.slopes(s, start.moved(x))

        rough = {"gtol": gtol}
        x = minimize(both, start.free, jac=True, method="BFGS", options=rough).x
        return self.polish(s, start.moved(x)) if self._kept(s, start.moved(x)) else None

    def polish(self, s: float, near: Point) -> Point | None:
        """Return the minimum beside `near`, or None if there is none."""
        from scipy.optimize import root

        if not near.free.size:
            return replace(near, value=self.slopes(s, near)[0])
        start = near.free
        carried = [near.hessian] if near.hessian is not None else []

        def slopes(y: np.ndarray) -> np.ndarray:
            return self.slopes(s, near.moved(y))[1]

        def hessian(y: np.ndarray) -> np.ndarray:
            return carried.pop() if carried else self.hessian(s, near.moved(y))

        with np.errstate(all="ignore"):
            options = {"xtol": 1e-13, "maxfev": MOST_CALLS}
            end = root(slopes, start, jac=hessian, options=options)
        value, slope = self.slopes(s, near.moved(end.x))
        found = near.moved(end.x, value)
        close = np.abs(end.x - start).max() < CLOSE and self._kept(s, found)
        if not close or np.abs(slope).max() > STATIONARY:
            return None
        bend = self.hessian(s, found)
        lowest = np.linalg.eigvalsh(bend)[0]
        return replace(found, hessian=bend) if lowest > 0 else None

    def follow(self, s: float, near: Point) -> Point | None:
        """Return the minimum that `near`, from another time, has become.

        Without bias a short `w` grows like a root: Newton's method finds it from above.
        """
        found = self.polish(s, near) or self.polish(s, replace(near, hessian=None))
        if not found and not self.network.bias and (self._sizes(s, near) < SHORT).any():
            found = self.polish(s, replace(near, theta=3 * near.theta, hessian=None))
        return found or self._beside(s, near)

    def _beside(self, s: float, near: Point) -> Point | None:
        """Return the minimum below `near` if it is close; where it moves fast."""
        found = self.settle(s, replace(near, hessian=None), gtol=1e-7)
        if found and np.abs(found.free - near.free).max(initial=0.0) < CLOSE:
            return found
        return None

    def _sizes(self, s: float, at: Point) -> np.ndarray:
        """Return the sizes of the free `w`, or those of the `u` tied to them."""
        alpha, beta = self.levels(s)
        scale = alpha**2 / beta if self.network.tied else 1.0
        return scale * np.linalg.norm(at.theta, axis=1)[at.turning]

    def _kept(self, s: float, at: Point) -> bool:
        """Whether no unit is about to saturate or, without bias, to fall silent."""
        if self.network.bias:
            return bool(np.abs(at.b).max() < RUNAWAY)
        return bool((self._sizes(s, at) > FADED).all())

    def hessian(self, s: float, at: Point) -> np.ndarray:
        """Second derivatives in `at.free`, by differences of slopes."""
        size = at.free.size
        steps = STEP * np.vstack([np.eye(size), -np.eye(size)])
        moved = [at.moved(at.free + step) for step in steps]
        together = max(
            1, GRID // (len(self.labels.marks) * self.objective.intervals**2)
        )
        parts = [moved[i : i + together] for i in range(0, 2 * size, together)]
        slopes = [slope for part in parts for slope in self._slopes(s, part)[1]]
        rise = np.array(slopes[:size]) - slopes[size:]
        half = rise.reshape(size, size) / (2 * STEP)
        return (half + half.T) / 2

    def _slopes(
        self, s: float, points: list[Point]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return objectives and slopes at points that have the same free numbers."""
        a = np.array([x.theta for x in points]) @ self.directions.T
        b = np.array([x.b for x in points])
        found = self.objective.evaluate(*self.levels(s), a, b, points[0].active)
        along = found.slope_a @ self.directions
        slopes = zip(along, found.slope_b, strict=True)
        return found.value, [points[0].packed(*x) for x in slopes]

    def curvature(self, s: float, at: Point) -> float:
        """Smallest curvature: of the directions, off the samples, within a class.

        A unit without bias is smooth where it is silent, and may not wake there.
        """
        if not self.network.bias:
            at = replace(at, active=(True,) * len(at.active))
        found = self._evaluated(self.objective, s, at)
        lowest = [np.linalg.eigvalsh(found.bend)[0]]
        if at.free.size:
            lowest.append(np.linalg.eigvalsh(self.hessian(s, at))[0])
            lowest += [
                self._within(s, at, c)
                for c, count in enumerate(self.objective.counts)
                if count > 1
            ]
        return float(min(lowest))

    def _within(self, s: float, at: Point, c: int) -> float:
        """Smallest curvature in directions that tell samples of one class apart.

        By symmetry one such direction serves for all: one sample against the rest.
        """
        split = self.objective.split(c)
        n = self.objective.counts[c]
        base = at.theta @ self.directions.T
        base = np.hstack([base, base[:, [c]] / n])
        base[:, c] *= (n - 1) / n
        apart = np.zeros(split.counts.size)
        apart[[c, -1]] = -1.0, 1.0
        live = np.flatnonzero(at.turning)
        rows = []
        for j in live:
            sides = []
            for sign in (1, -1):
                a = base.copy()
                a[j] += sign * STEP * apart
                got = split.evaluate(*self.levels(s), a, at.b, at.active)
                sides.append((got.slope_a @ apart)[live])
            rows.append((sides[0] - sides[1]) / (2 * STEP))
        half = np.array(rows)
        return float(np.linalg.eigvalsh((half + half.T) / 2)[0])

    def refine(self, s: float, at: Point, tol: float) -> bool:
        """Take a finer quadrature rule if slopes need it; tell whether."""
        coarse = self.objective
        while self.objective.intervals < FINEST and any(at.active):
            slope = self.slopes(s, at)[1]
            kept, self.objective = self.objective, self.objective.finer()
            if np.abs(self.slopes(s, at)[1] - slope).max() < tol:
                self.objective = kept
                break
        return self.objective is not coarse

    def starts(self, active: tuple[bool, ...], seed: int) -> list[Point]:
        """Decoupled units, each on its own feature, and scattered points."""
        units, width = len(active), self.directions.shape[1]
        own = np.zeros((units, width))
        for t, subset in enumerate(self.subsets):
            if len(subset) == 1:
                own[subset[0], t] = 1.0
        biases = (0.0, 1.0) if self.network.bias else (0.0,)
        pairs = [(k * own, np.full(units, b)) for k in (0.5, 1) for b in biases]
        rng = np.random.default_rng(seed)
        for _ in range(SCATTERED):
            theta = rng.normal(size=(units, width))
            pairs.append((theta, rng.normal(size=units) * self.network.bias))
        return [Point(theta, b, active, self.network) for theta, b in pairs]

    def search(self, s: float, active: tuple[bool, ...]) -> list[Point]:
        """Return the distinct minima found at a time, lowest first."""
        starts = self.starts(active, seed=17)
        tried = [self.settle(s, x) for x in (starts if any(active) else starts[:1])]
        known: list[Point] = []
        for x in sorted((x for x in tried if x), key=lambda x: x.value):
            if all(abs(x.value - y.value) > ALIKE for y in known):
                known.append(x)
        return [self.named(x) for x in known]

    def named(self, at: Point) -> Point:
        """Give each live unit the feature it sees most, with a positive sign."""
        units, seen = range(len(at.active)), self.overlaps(at)
        best = max(
            permutations(units),
            key=lambda order: sum(
                abs(seen[j, order[j]]) for j in units if at.active[j]
            ),
        )
        theta, b = np.zeros_like(at.theta), np.zeros_like(at.b)
        active = [False] * len(units)
        for j, k in enumerate(best):
            sign = -1.0 if at.active[j] and seen[j, k] < 0 else 1.0
            theta[k], b[k], active[k] = sign * at.theta[j], sign * at.b[j], at.active[j]
        return replace(at, theta=theta, b=b, active=tuple(active), hessian=None)

    def overlaps(self, at: Point) -> np.ndarray:
        r"""Return $\omega_{jk}$, shape (units, features)."""
        a = at.theta @ self.directions.T
        return a @ self.objective.signs * np.sqrt(self.rho)


@dataclass
class Branch:
    """A minimum that is followed: what is known of it, by time."""

    known: dict[float, Point] = field(default_factory=dict)

    def near(self, s: float) -> Point:
        """Return the point known at the time nearest to `s`."""
        return self.known[min(self.known, key=lambda t: abs(np.log(t / s)))]


class Path:
    """The lowest minimum as a function of time: pieces of branches and switches."""

    def __init__(
        self, phase: PrintedPhase, activation: str, point: Mapping[str, float]
    ) -> None:
        self.land = Landscape(phase, activation, point)
        self.ladder = np.exp(np.arange(0, np.log(FLOOR), np.log(LADDER)))
        self.branches: list[Branch] = []
        self.heights: list[float] = []
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
                self.heights += [x.value for x in found]
            for x in found:
                self._follow(s, x)
        self.heights.sort()
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
        branch = Branch({s: start})
        self.branches.append(branch)
        down = [t for t in self.ladder if t < s]
        up = [t for t in self.ladder[::-1] if t > s]
        for times in (down, up):
            for t in times:
                if self._step(branch, t) is None:
                    self._fall(t, replace(branch.near(t), hessian=None))
                    break

    def _fall(self, s: float, last: Point) -> None:
        """Follow the minima that lie below where one has ended, a unit less or none."""
        live = [j for j, on in enumerate(last.active) if on]
        fewer = [tuple(on and j != k for j, on in enumerate(last.active)) for k in live]
        for active in (last.active, *fewer):
            found = self.land.settle(s, replace(last, active=active))
            if found:
                self._follow(s, self.land.named(found))

    def _step(self, branch: Branch, s: float) -> Point | None:
        """Follow a branch to a time, unless it is lost there."""
        if s not in branch.known:
            found = self.land.follow(s, branch.near(s))
            if found is None:
                return None
            branch.known[s] = found
        return branch.known[s]

    def _height(self, branch: Branch, s: float) -> float:
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
            heights = [self._height(self.branches[i], s) for i in (before, after)]
            return float(np.clip(heights[0] - heights[1], -1, 1))

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
        near = self.at(s)
        return self.land.follow(max(s, FLOOR), near) or near


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
    switches
        Times at which another minimum takes over, decreasing.
    minima, runner_up
        How many distinct minima the search at s = 1 found, and the second lowest
        objective there (infinite if there is none).
    path
        The minimum as a function of time.
    """

    names: tuple[str, ...]
    values: np.ndarray
    objective: np.ndarray
    residual: np.ndarray
    eigenvalue: np.ndarray
    active: np.ndarray
    switches: tuple[float, ...]
    minima: int
    runner_up: float
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
    path.land.objective = rough
    return ClassMinima(
        names=phase.learned.names,
        values=rows,
        objective=np.array([x.value for x in found]),
        residual=residual,
        eigenvalue=np.array(curvatures),
        active=np.array([sum(x.active) for x in found]),
        switches=tuple(edge for edge, _ in path.segments[1:]),
        minima=len(path.heights),
        runner_up=path.heights[1] if len(path.heights) > 1 else np.inf,
        path=path,
    )


def overlaps(land: Landscape, s: float, at: Point) -> dict[str, float]:
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
        known = overlaps(path.land, t, x)
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
