"""The loss of a network on n samples of a product mixture: minima at one time.

A network is a `Point`, its units' `w` combinations of class means; a `Landscape` gives
slopes and curvatures there, and searches for minima or carries one to another time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.snapshot import Printed, PrintedPhase
from .objective import Evaluation, Objective, UnitKind

SCATTERED = 4  # random starting points of a search, beside the decoupled ones
STATIONARY = 1e-9  # largest slope at which a point counts as stationary

CLOSE = 0.3
"""How far a minimum may move when it is polished or followed by Newton's method."""

ALIKE = 1e-7  # objectives that differ by less belong to one minimum, up to symmetry

MOST_CALLS = 200
"""Slopes that Newton's method may ask for; a minimum that is there takes a third."""

STEP = 1e-5  # step of the differences of slopes that make up a Hessian

GRID = 2**16
"""So many nodes of pairs of fields are taken together, not to leave the cache."""

RUNAWAY = 14.0
"""A bias beyond this is on its way to saturation: 1 - tanh is below 2e-12."""

FADED = 1e-4  # a unit of this size is on its way to 0, where one without bias is silent
SHORT = 0.3  # without bias a unit smaller than this may be about to fall silent
FINEST = 500  # intervals of the finest rule in each dimension


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


def network_of(learned: Printed, activation: str) -> UnitKind:
    """Return the units of a stationarity problem, by what is unknown there."""
    bias, tied = "b_1" in learned.unknowns, "m_1" not in learned.unknowns
    return UnitKind(activation, bias, tied)


@dataclass(frozen=True)
class Point:
    """A network: combinations of class means (units, directions), biases, who lives.

    `hessian` is that of the objective where Newton's method ended here.
    """

    theta: np.ndarray
    b: np.ndarray
    active: tuple[bool, ...]
    network: UnitKind
    value: float = np.inf
    hessian: np.ndarray | None = None

    @property
    def turning(self) -> np.ndarray:
        """Whether `w` is free, for each unit."""
        return self.network.turning(self.active)

    @property
    def biased(self) -> np.ndarray:
        """Whether the bias is free, for each unit."""
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
