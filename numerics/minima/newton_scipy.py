"""Minima by SciPy, one row and one time after another: the second judge.

Nothing here is shared with the compiled loops but the printed functions: minima come
from a trust-region method, started from a wide grid of the landscape at each rung of
a ladder and from every minimum that is known; crossings come from Brent's method.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..codegen.kernel import Kernel, make_kernel
from ..codegen.quadrature import START, Rule, chebyshev, trapezoid
from ..codegen.snapshot import Printed
from .follow_numba import BRIEF, EARLY, EVERY, NOISY, PIECES
from .newton_numba import ALIKE, BLUR, FAR, REMOTE
from .result import FLOOR, LEVELS, charted, guesses

LADDER = 0.7  # ratio of neighbouring times on the way down
WEIGHTS = np.geomspace(1e-4, 20, 40)  # values of omega on the grid of a landscape

BIASES = np.sinh(np.linspace(-3.2, 3.2, 41))
"""Values of the bias there, closer around 0."""

STRIDE = 1.0  # a branch that moves more between rungs is followed in smaller steps

POLISHES = 3
"""Newton steps after the trust-region method, which stops where heights are equal."""

LEVEL = 1e-9  # relative slope of a minimum, at most

GAIN = 1e-13
"""Relative decrease by a Newton step, at most, at a minimum too narrow for that."""

FAINT = 1e-6  # weights smaller than this are none: the unit is closed
MEETING = 1e-6  # relative difference of two objectives at a crossing, at most


class _Row:
    """The objective of one row, its minima and its closed branch."""

    def __init__(self, kernel: Kernel, params: np.ndarray, tol: float) -> None:
        system = kernel.system
        self.kernel, self.params, self.tol, self.system = kernel, params, tol, system
        self.size = len(self.kernel.states)
        self.rule = trapezoid(START)
        self.seen: tuple = None, None
        self.even, self.closes = system.even, bool(system.branches)
        self.saturates = "saturated" in system.branches
        self.noisy = self._noise() > NOISY

    def _noise(self) -> float:
        """Return the share of |w|^2 that lies along the noise of the samples."""
        if not charted(self.system):
            return 0.0
        seen = self.record(1.0, np.array([1.0, 0.0]))
        return float(seen[self.system.names.index("r")]) - 1

    def newton(self, at: float, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the objective, its slopes and curvatures; once for one point."""
        key = (at, x.tobytes(), self.rule.nodes.size)
        if self.seen[0] != key:
            with np.errstate(all="ignore"):
                values, off = self.kernel["newton"](at, x, [], self.params, *self.rule)
            self.seen = key, (np.nan_to_num(values, nan=1e300), float(off))
        return self.seen[1]

    def refine(self, at: float, x: np.ndarray) -> None:
        """Take the first rule that is fine at a point."""
        for level in range(LEVELS):
            self.rule = trapezoid(START * 2**level)
            if self.newton(at, x)[1] <= self.tol:
                break

    def height(self, at: float, x: np.ndarray) -> float:
        """Return the objective."""
        return float(self.newton(at, x)[0][0])

    def hessian(self, at: float, x: np.ndarray) -> np.ndarray:
        """Return the curvatures."""
        return self.newton(at, x)[0][1 + self.size :].reshape(self.size, self.size)

    def slope(self, at: float, x: np.ndarray) -> np.ndarray:
        """Return the gradient."""
        return self.newton(at, x)[0][1 : 1 + self.size]

    def settle(self, at: float, x: np.ndarray) -> np.ndarray | None:
        """Return the minimum below `x`, or None if it runs away."""
        first = x
        for level in range(LEVELS):
            self.rule = trapezoid(START * 2**level)
            found = self._descended(at, x)
            off = self.newton(at, found)[1]
            x = found if np.abs(found).max() < FAR else first
            if off <= self.tol:
                break
        return self._polished(at, found)

    def _descended(self, at: float, x: np.ndarray) -> np.ndarray:
        """Return where the trust-region method ends; `x` where it is flat all around.

        On a Hessian of zeros SciPy's method stops with an UnboundLocalError.
        """
        from scipy.optimize import minimize

        try:
            with np.errstate(all="ignore"):
                return minimize(
                    lambda y: self.height(at, y),
                    x,
                    jac=lambda y: self.slope(at, y),
                    hess=lambda y: self.hessian(at, y),
                    method="trust-exact",
                    options={"gtol": 1e-11, "maxiter": 200},
                ).x
        except (UnboundLocalError, np.linalg.LinAlgError):
            return x

    def _polished(self, at: float, x: np.ndarray) -> np.ndarray | None:
        """Return the minimum beside `x`, with omega >= 0; None if there is none."""
        for _ in range(POLISHES):
            curves = self.hessian(at, x)
            if not np.abs(x).max() < FAR or not np.abs(curves).max() < 1e200:
                return None
            if np.linalg.eigvalsh(curves)[0] <= 0:
                return None
            step = np.linalg.solve(curves, self.slope(at, x))
            if np.abs(step).max() > 0.1 * (np.abs(x).max() + 0.01):
                break
            x = x - step
        return -x if self.even and x[0] < 0 else x

    def stationary(self, at: float, x: np.ndarray) -> bool:
        """Whether a minimum is one, not the closed branch or on the way to it."""
        slope, size = self.slope(at, x), 1 + abs(self.height(at, x))
        flat = np.abs(slope).max() < LEVEL * size or self._gain(at, x) < GAIN * size
        return bool(flat and (not self.even or x[0] > FAINT))

    def _gain(self, at: float, x: np.ndarray) -> float:
        """Return by how much a Newton step would lower the objective."""
        slope, curves = self.slope(at, x), self.hessian(at, x)
        if not np.linalg.eigvalsh(curves)[0] > 0:
            return np.inf
        return float(slope @ np.linalg.solve(curves, slope)) / 2

    def dips(self, at: float) -> list[np.ndarray]:
        """Return where the landscape of a bias and a weight is lower than around."""
        if not charted(self.system):
            return list(guesses(self.system))
        states = [*np.meshgrid(WEIGHTS, BIASES, indexing="ij")]
        with np.errstate(all="ignore"):
            (table,), _ = self.kernel["objective"](
                at, states, [], self.params, *trapezoid(START)
            )
        wide = np.pad(table, 1, constant_values=np.inf)
        beside = [
            wide[1 + i : wide.shape[0] - 1 + i, 1 + j : wide.shape[1] - 1 + j]
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
        ]
        rows, columns = np.nonzero(table <= np.min(beside, axis=0))
        return [
            np.array([WEIGHTS[i], BIASES[j]])
            for i, j in zip(rows, columns, strict=True)
        ]

    def rival(self, at: float) -> float:
        """Return the objective of the closed branch, infinite where there is none."""
        return float(self.branch(at)[-1]) if self.closes else np.inf

    def closed(self, at: float) -> np.ndarray:
        """Every unknown and observable on the closed branch."""
        return self.branch(at)[:-1]

    def branch(self, at: float) -> np.ndarray:
        with np.errstate(all="ignore"):  # observables of an infinite bias at s = 0
            return self.kernel["branch"](at, [], [], self.params, *self.rule)[0]

    def record(self, at: float, x: np.ndarray) -> np.ndarray:
        self.refine(at, x)
        with np.errstate(all="ignore"):
            seen, _ = self.kernel["observables"](at, x, [], self.params, *self.rule)
        return np.concatenate([x, seen])

    def facts(self, at: float, x: np.ndarray) -> list[float]:
        self.refine(at, x)
        values, off = self.newton(at, x)
        steep = np.abs(self.slope(at, x)).max()
        return [values[0], steep, np.linalg.eigvalsh(self.hessian(at, x))[0], off]


class _Branch:
    """A minimum that is followed in time."""

    def __init__(self, row: _Row, at: float, x: np.ndarray) -> None:
        self.row, self.known, self.ends = row, {at: x}, set[float]()

    def at(self, s: float) -> np.ndarray | None:
        """Return the minimum at a time, from the nearest known one; None if gone."""
        if s in self.known:
            return self.known[s]
        nearest = min(self.known, key=lambda t: abs(np.log(t / s)))
        if any(min(nearest, s) <= e <= max(nearest, s) for e in self.ends):
            return None
        x = self._reached(nearest, s, depth=6)
        if x is None:
            self.ends.add(s)
        else:
            self.known[s] = x
        return x

    def _reached(self, near: float, s: float, depth: int) -> np.ndarray | None:
        if s < EARLY and "n" not in self.row.system.parameters:
            return self.known[near]  # heights are equal there, up to rounding
        x = self.row.settle(s, self.known[near])
        if x is not None and _apart(x, self.known[near]) < STRIDE:
            return x
        if not depth:
            return None
        middle = float(np.sqrt(near * s))
        between = self._reached(near, middle, depth - 1)
        if between is None:
            return None
        self.known[middle] = between
        return self._reached(middle, s, depth - 1)

    def height(self, s: float) -> float:
        """Return the objective, infinite where the branch is gone."""
        x = self.at(s)
        if x is None:
            return np.inf
        self.row.refine(s, x)
        return self.row.height(s, x)


def _apart(x: np.ndarray, y: np.ndarray) -> float:
    """Return by how much points differ: the logarithm of omega, the bias as it is."""
    away = float(np.abs(x - y).max())
    if x[0] > 0 and y[0] > 0:
        away = max(away, float(abs(np.log(x[0] / y[0]))))
    return away


class _Atlas:
    """The minima of one row, and which is the lowest when."""

    def __init__(self, row: _Row) -> None:
        self.row, self.branches = row, list[_Branch]()
        self.edges, self.held = [1.0], list[_Branch]()
        self.lost = False
        self._survey(1.0)
        self.count = len(self.branches)  # of minima at s = 1
        if self._lowest(1.0) is not None:
            self._climb()

    def _survey(self, s: float) -> None:
        """Add the branches that are new at a time, and follow them up."""
        for start in self.row.dips(s):
            x = self.row.settle(s, start)
            if x is None or not self.row.stationary(s, x):
                continue
            old = [b for b in self.branches if b.at(s) is not None]
            if all(_apart(x, b.known[s]) > 1e-2 for b in old):
                self.branches.append(_Branch(self.row, s, x))

    def _lowest(self, s: float, *kept: _Branch | None) -> _Branch | None:
        """Return the lowest branch at a time, one `kept` if it can be; None if closed.

        Of a flat minimum several branches may be known that rounding tells apart.
        """
        heights = [b.height(s) for b in self.branches]
        early = s < EARLY and "n" not in self.row.system.parameters
        if not heights or (not early and min(heights) >= self.row.rival(s) - ALIKE):
            return None
        for branch in kept:
            if branch is not None and branch.height(s) <= min(heights) + ALIKE:
                return branch
        return self.branches[int(np.argmin(heights))]

    def _climb(self) -> None:
        high, now = 1.0, self._lowest(1.0)
        while high > FLOOR and now is not None and not self.lost:
            low = max(LADDER * high, FLOOR)
            ends = charted(self.row.system) and self._lowest(low) is None
            if self.row.noisy or ends:
                self._survey(low)
            high, now = self._between(high, low, now)
        if now is not None:
            self.held.append(now)
            self.edges.append(FLOOR)
        self.lost |= len(self.held) > PIECES
        self.held, self.edges = self.held[:PIECES], self.edges[: PIECES + 1]

    def _between(
        self, high: float, low: float, now: _Branch
    ) -> tuple[float, _Branch | None]:
        """Pass from one rung to the next; note which branches took over."""
        for _ in range(PIECES):
            heir = self._lowest(low, now)
            if heir is now:
                break
            edge = self._crossing(now, heir, high, low)
            third = self._lowest(edge * (1 - 1e-9), heir, now)
            if third is not heir and third is not now:
                heir, edge = third, self._crossing(now, third, high, edge)
            self.held.append(now)
            self.edges.append(edge)
            if heir is None or self.lost:
                return edge, heir
            high, now = edge, heir
        return low, now

    def _crossing(
        self, now: _Branch, heir: _Branch | None, high: float, low: float
    ) -> float:
        """Return the time at which the heir becomes the lower one."""
        from scipy.optimize import brentq

        def other(s: float) -> float:
            return self.row.rival(s) - ALIKE if heir is None else heir.height(s)

        def gap(log_s: float) -> float:
            first, second = now.height(np.exp(log_s)), other(np.exp(log_s))
            return float(np.clip(np.nan_to_num(first - second, nan=1.0), -1, 1))

        ends = np.log(low), np.log(high)
        if not gap(ends[1]) < 0 <= gap(ends[0]):
            return high
        edge = float(np.exp(brentq(gap, *ends, xtol=1e-11)))
        up = edge * (1 + 1e-9)
        apart = abs(now.height(up) - other(up))
        self.lost |= not apart <= MEETING * (1 + abs(other(up)))
        return edge


def follow_scipy(
    system: Printed, times: np.ndarray, columns: np.ndarray, tol: float, points: int
) -> tuple[np.ndarray, ...]:
    """Follow every row; see `dilaton.numerics.minima.minimise` for what is returned."""
    kernel = make_kernel(system, "numpy")
    rows = [_follow_row(_Row(kernel, x, tol), system, times, points) for x in columns]
    most = max(len(row[3]) for row in rows)
    for row in rows:
        room = np.full((most, points, len(system.names)), np.nan)
        room[: len(row[3])] = row[3]
        row[3] = room
    return tuple(np.stack(part) for part in zip(*rows, strict=True))


def flatness(
    system: Printed,
    columns: np.ndarray,
    smooth: np.ndarray,
    ends: Iterable[np.ndarray],
    rule: Rule,
) -> np.ndarray:
    """Return how far the minima of a piece of each row may be from where they are.

    That is the largest ratio of slope and curvature at some points, as `follow_numba`
    has it; `smooth` is (rows, points, names), and `ends` the times from and to.
    """
    kernel, size = make_kernel(system, "numpy"), len(system.unknowns)
    z = chebyshev(smooth.shape[1])[::EVERY]
    x = np.moveaxis(smooth[:, ::EVERY, :size], -1, 0)
    high, low = (np.asarray(s)[:, None] for s in ends)
    at = high * (low / high) ** ((1 - z) / 2)
    params = [p[:, None] for p in columns.T]
    with np.errstate(all="ignore"):
        out, _ = kernel["newton"](at, x, [], params, *rule)
    known = np.isfinite(out).all(axis=0)
    hessian = np.where(known, out[1 + size :], np.eye(size).reshape(-1, 1, 1))
    square = np.moveaxis(hessian, 0, -1).reshape(*at.shape, size, size)
    if "saturated" in system.branches:
        square[..., -1, -1] += np.abs(x[-1]) > REMOTE
    curve = np.linalg.eigvalsh(square)[..., 0]
    slope = np.abs(np.where(known, out[1 : 1 + size], 0.0)).max(axis=0)
    slope = np.maximum(slope, BLUR * (1 + np.abs(np.where(known, out[0], 0.0))))
    apart = np.where(curve > 0, slope / np.where(curve > 0, curve, 1), np.inf)
    if system.branches and "saturated" not in system.branches:
        return np.where(at > EARLY, at * apart, 0.0).max(1)
    return (np.maximum(at, BRIEF) * apart).max(1)


def _follow_row(row: _Row, system: Printed, times: np.ndarray, points: int) -> list:
    atlas = _Atlas(row)
    pieces = len(atlas.held)
    edges = np.full(PIECES + 1, np.nan)
    edges[: pieces + 1] = atlas.edges[: PIECES + 1]
    smooth = np.full((max(pieces, 1), points, len(system.names)), np.nan)
    z, flat = chebyshev(points), 0.0
    for k, held in enumerate(atlas.held if not atlas.lost else []):
        high, low = atlas.edges[k : k + 2]
        rules = []
        for i, s in enumerate(high * (low / high) ** ((1 - z) / 2)):
            smooth[k, i] = row.record(s, _found(held, s))
            rules.append(row.rule)
        ends, rule = np.array([[high], [low]]), max(rules, key=lambda x: x.nodes.size)
        piece = smooth[k : k + 1]
        flat = max(flat, *flatness(system, row.params[None], piece, ends, rule))
    state = 2 if atlas.lost else (0 if pieces else (1 if row.closes else 2))
    values, facts, codes = _at_times(atlas, times)
    below = row.closed(1.0)
    if pieces and not atlas.lost and edges[pieces] <= FLOOR:
        below = row.record(FLOOR, _found(atlas.held[-1], FLOOR))
    summary = [pieces, atlas.count, flat, state]
    return [values, facts, codes, smooth, edges, below, summary]


def _found(branch: _Branch, s: float) -> np.ndarray:
    """Return a minimum at a time of its piece; at its very end it may have merged."""
    for at in (s, s * (1 + 1e-9)):
        if (x := branch.at(at)) is not None:
            return x
    return branch.known[min(branch.known, key=lambda t: abs(np.log(t / s)))]


def _at_times(
    atlas: _Atlas, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, pieces = atlas.row, len(atlas.held)
    last = atlas.edges[-1] if pieces else 1.1
    silent = row.closes and not row.saturates
    values, facts, codes = [], [], []
    for at in times:
        early = at < last and (last > FLOOR or silent)
        if atlas.lost or (early and not row.closes) or not (pieces or row.closes):
            values.append(np.full(len(row.closed(1.0)), np.nan))
            facts.append([np.nan] * 4)
            codes.append(2)
        elif early:
            line = row.closed(at)
            if row.saturates:
                line[row.size - 1] = np.inf
            values.append(line)
            facts.append([row.rival(at), 0.0, 0.0, 0.0])
            codes.append(1)
        else:
            s = max(at, FLOOR)
            inside = [k for k in range(pieces) if s >= atlas.edges[k + 1]]
            x = _found(atlas.held[min(inside, default=pieces - 1)], s)
            values.append(row.record(at, x))
            facts.append(row.facts(at, x))
            codes.append(0)
    shape = (len(times), len(row.closed(1.0)))
    wide = np.reshape(values, shape), np.reshape(facts, (len(times), 4))
    return *wide, np.array(codes, dtype=int)
