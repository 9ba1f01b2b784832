"""The loss of a network on n samples of a product mixture: minima at one time.

A network is a `Point`, its units' `w` combinations of class means; a `Landscape` gives
slopes and curvatures there, and searches for minima or carries one to another time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.snapshot import Printed, PrintedPhase
from .objective import Directions, Evaluation, Objective, UnitKind

SCATTERED = 4  # random starting points of a search, beside the decoupled ones
STATIONARY = 1e-9  # largest slope at which a point counts as stationary
CLOSE = 0.3  # how far a minimum may move when it is followed to another time
BEHIND = 4  # points, at most, by which it is told where it has moved
ALIKE = 1e-7  # objectives that differ by less belong to one minimum, up to symmetry
MOST, HALVINGS = 100, 30  # Newton steps to a minimum, and halvings of one
ROUNDING = 1e-14  # relative, of an objective
SHORT = 1e-3  # a step that is taken whole: its slopes tell more than its height
LAST = 1e-7  # the length of a last step: of the order of its square is left

RUNAWAY = {"tanh": 14.0, "erf": 7.0}
"""A bias beyond this is on its way to saturation: what is left to 1 is below 3e-12."""

FADED = 1e-4  # a unit of this size is on its way to 0, where one without bias is silent
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
    """A network: combinations of class means (units, directions), biases, who lives."""

    theta: np.ndarray
    b: np.ndarray
    active: tuple[bool, ...]
    network: UnitKind
    value: float = np.inf

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
        self._free: dict[tuple[bool, ...], Directions] = {}
        kernel = make_kernel(phase.levels, "numpy")
        scales = [point[name] for name in kernel.parameters]

        @lru_cache(maxsize=64)
        def levels(s: float) -> tuple[float, float]:
            (alpha, beta), _ = kernel["values"](s, [], [], scales, *kernel.rule)
            return float(alpha), float(beta)

        self.levels = levels  # the interpolant's coefficients at a time of the phase

    def slopes(self, s: float, at: Point) -> np.ndarray:
        """Return the slopes of the objective in `at.free`."""
        return self._packed(at, self._evaluated(self.objective, s, at))

    def _packed(self, at: Point, found: Evaluation) -> np.ndarray:
        return at.packed(found.slope_a @ self.directions, found.slope_b)

    def _evaluated(
        self, objective: Objective, s: float, at: Point, along: Directions | None = None
    ) -> Evaluation:
        a = at.theta @ self.directions.T
        return objective.evaluate(*self.levels(s), a, at.b, at.active, along)

    def _along(self, at: Point) -> Directions:
        """Return what the numbers of `at.free` are the sizes of."""
        if at.active not in self._free:
            none = replace(at, theta=0 * at.theta, b=0 * at.b)
            each = [none.moved(x) for x in np.eye(at.free.size)]
            theta = np.array([x.theta for x in each]).reshape(-1, *at.theta.shape)
            b = np.array([x.b for x in each]).reshape(-1, at.b.size)
            self._free[at.active] = Directions(theta @ self.directions.T, b)
        return self._free[at.active]

    def readout(self, s: float, at: Point) -> np.ndarray:
        """Return `u` on the class means, shape (units, classes)."""
        return self._evaluated(self.objective, s, at).readout

    def settle(self, s: float, start: Point, within: float = np.inf) -> Point | None:
        """Return the minimum below `start`, by Newton's method, damped.

        None if it runs away, further than `within`, or ends on no minimum.
        """
        at, found = start, self._curved(s, start)
        for _ in range(MOST):
            far = np.abs(at.free - start.free).max(initial=0.0)
            if far > within or not self._kept(s, at):
                return None
            slope = self._packed(at, found)
            step, firm = downhill(slope, found.hessian)
            rate = float(slope @ step)
            length = np.abs(step).max(initial=0.0) if firm else np.inf
            if length < LAST:
                return at.moved(at.free + step, float(found.value) + rate / 2)
            if length < SHORT:
                at = at.moved(at.free + step)
                found = self._curved(s, at)
                continue
            lower = self._lowered(s, at, found, step, rate)
            if lower is None:
                break
            at, found = lower
        stationary = firm and np.abs(slope).max() <= STATIONARY
        return replace(at, value=float(found.value)) if stationary else None

    def _curved(self, s: float, at: Point) -> Evaluation:
        """Return the objective with the second slopes in `at.free`."""
        return self._evaluated(self.objective, s, at, self._along(at))

    def _lowered(
        self, s: float, at: Point, found: Evaluation, step: np.ndarray, rate: float
    ) -> tuple[Point, Evaluation] | None:
        """Go a share of a step that lowers the objective enough; None if none does.

        Within the rounding of the objective its slopes decide.
        """
        room = ROUNDING * (1 + abs(found.value))
        for share in 0.5 ** np.arange(HALVINGS):
            moved = at.moved(at.free + share * step)
            there = self._curved(s, moved)
            rise = there.value - found.value
            if rise <= 1e-4 * share * rate:
                return moved, there
            if rise <= room and step @ self._packed(moved, there) <= -rate:
                return moved, there
        return None

    def follow(self, s: float, known: Mapping[float, Point]) -> Point | None:
        """Return what the minimum that is `known` at other times has become.

        It is looked for where a polynomial in log s through the nearest ones points
        to, and, if it is not there, from the nearest one.
        """
        times = sorted(known, key=lambda t: abs(np.log(t / s)))[:BEHIND]
        near, logs = known[times[0]], np.log(times)
        if len(times) > 1:
            shares = [_share(k, np.log(s), logs) for k in range(len(times))]
            ahead = np.dot(shares, [known[t].free for t in times])
            found = self.settle(s, near.moved(ahead), CLOSE)
            if found and np.abs(found.free - near.free).max(initial=0.0) <= CLOSE:
                return found
        return self.settle(s, near, CLOSE)

    def _sizes(self, s: float, at: Point) -> np.ndarray:
        """Return the sizes of the free `w`, or those of the `u` tied to them."""
        alpha, beta = self.levels(s)
        scale = alpha**2 / beta if self.network.tied else 1.0
        return scale * np.linalg.norm(at.theta, axis=1)[at.turning]

    def _kept(self, s: float, at: Point) -> bool:
        """Whether no unit is about to saturate or, without bias, to fall silent."""
        if self.network.bias:
            return bool(np.abs(at.b).max() < RUNAWAY[self.network.activation])
        return bool((self._sizes(s, at) > FADED).all())

    def curvature(self, s: float, at: Point) -> float:
        """Smallest curvature: of the directions, off the samples, within a class.

        A unit without bias is smooth where it is silent, and may not wake there.
        """
        if not self.network.bias:
            at = replace(at, active=(True,) * len(at.active))
        found = self._curved(s, at)
        lowest = [np.linalg.eigvalsh(found.bend)[0]]
        if at.free.size:
            lowest.append(np.linalg.eigvalsh(found.hessian)[0])
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
        split, n = self.objective.split(c), self.objective.counts[c]
        base = at.theta @ self.directions.T
        base = np.hstack([base, base[:, [c]] / n])
        base[:, c] *= (n - 1) / n
        live = np.eye(len(at.active))[at.turning]
        apart = np.zeros(split.counts.size)
        apart[[c, -1]] = -1.0, 1.0
        along = Directions(live[..., None] * apart, np.zeros_like(live))
        got = split.evaluate(*self.levels(s), base, at.b, at.active, along)
        return float(np.linalg.eigvalsh(got.hessian)[0])

    def refine(self, s: float, at: Point, tol: float) -> bool:
        """Take a finer quadrature rule if slopes need it; tell whether."""
        coarse = self.objective
        while self.objective.intervals < FINEST and any(at.active):
            slope = self.slopes(s, at)
            kept, self.objective = self.objective, self.objective.finer()
            if np.abs(self.slopes(s, at) - slope).max() < tol:
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
        return replace(at, theta=theta, b=b, active=tuple(active))

    def overlaps(self, at: Point) -> np.ndarray:
        r"""Return $\omega_{jk}$, shape (units, features)."""
        a = at.theta @ self.directions.T
        return a @ self.objective.signs * np.sqrt(self.rho)


def _share(k: int, x: float, nodes: np.ndarray) -> float:
    """Return the weight of node k in the polynomial through the nodes, at x."""
    others = np.delete(nodes, k)
    return float(np.prod((x - others) / (nodes[k] - others)))


def downhill(slope: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return Newton's step, at most 1 long, and whether the curvature is positive.

    Where it is not, the step goes downhill along each of its eigenvectors.
    """
    sizes, axes = np.linalg.eigh(hessian)
    step = -axes @ ((axes.T @ slope) / np.maximum(np.abs(sizes), 1e-100))
    return step / max(1.0, np.linalg.norm(step)), bool((sizes > 0).all())
