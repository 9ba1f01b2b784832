"""Minima by SciPy, one row and one time after another: the second judge.

Nothing here is shared with the compiled loops but the printed functions: the minima
come from a trust-region method, the switch from Brent's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..codegen.chebyshev import chebyshev
from ..codegen.kernel import Kernel, make_kernel
from ..codegen.quadrature import START, trapezoid
from ..codegen.snapshot import Printed
from .newton_numba import ALIKE, FAR
from .result import FLOOR, LEVELS, guesses

LADDER = 0.7
"""Ratio of neighbouring times on the way down to the switch."""


@lru_cache(maxsize=16)
def array_kernel(system: Printed) -> Kernel:
    """Return the system's array functions; a reference for the compiled ones."""
    return make_kernel(system, "numpy")


class _Row:
    """The objective of one row, its minima and its closed branch."""

    def __init__(self, system: Printed, params: np.ndarray, tol: float) -> None:
        self.kernel: Kernel = array_kernel(system)
        self.params, self.tol = params, tol
        self.size = len(self.kernel.states)
        self.rule = trapezoid(START)
        self.seen: tuple = None, None
        self.has_closed, self.even = bool(system.branches), system.even
        self.saturates = "saturated" in system.branches

    def newton(self, at: float, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the objective, its slopes and curvatures; once for one point."""
        key = (at, x.tobytes(), self.rule.nodes.size)
        if self.seen[0] != key:
            values, off = self.kernel["newton"](at, x, [], self.params, *self.rule)
            self.seen = key, (values, float(off))
        return self.seen[1]

    def settle(self, at: float, x: np.ndarray) -> np.ndarray | None:
        """Return the minimum below `x`, or None if it runs away."""
        from scipy.optimize import minimize

        size, first = self.size, x
        for level in range(LEVELS):
            self.rule = trapezoid(START * 2**level)
            done = minimize(
                lambda y: self.newton(at, y)[0][0],
                x,
                jac=lambda y: self.newton(at, y)[0][1 : 1 + size],
                hess=lambda y: self.newton(at, y)[0][1 + size :].reshape(size, size),
                method="trust-exact",
                options={"gtol": 1e-11, "maxiter": 200},
            )
            values, off = self.newton(at, done.x)
            x = done.x if np.abs(done.x).max() < FAR else first
            if off <= self.tol:
                break
        x = done.x
        slope, hessian = values[1 : 1 + size], values[1 + size :].reshape(size, size)
        if not np.abs(x).max() < FAR or np.linalg.eigvalsh(hessian)[0] <= 0:
            return None
        x = x - np.linalg.solve(hessian, slope)
        return -x if self.even and x[0] < 0 else x

    def rival(self, at: float) -> float:
        if not self.has_closed:
            return np.inf
        return self.branch(at)[-1]

    def closed(self, at: float) -> np.ndarray:
        """Every unknown and observable on the closed branch."""
        return self.branch(at)[:-1]

    def branch(self, at: float) -> np.ndarray:
        with np.errstate(all="ignore"):  # observables of an infinite bias at s = 0
            return self.kernel["branch"](at, [], [], self.params, *self.rule)[0]

    def record(self, at: float, x: np.ndarray) -> np.ndarray:
        seen, _ = self.kernel["observables"](at, x, [], self.params, *self.rule)
        return np.concatenate([x, seen])

    def facts(self, at: float, x: np.ndarray) -> list[float]:
        values, off = self.newton(at, x)
        hessian = values[1 + self.size :].reshape(self.size, self.size)
        steep = np.abs(values[1 : 1 + self.size]).max()
        return [values[0], steep, np.linalg.eigvalsh(hessian)[0], off]


def follow_scipy(
    system: Printed, times: np.ndarray, columns: np.ndarray, tol: float, points: int
) -> tuple[np.ndarray, ...]:
    """Follow every row; see `dilaton.numerics.minima.minimise` for what is returned."""
    rows = [
        _follow_row(_Row(system, params, tol), system, times, points)
        for params in columns
    ]
    return tuple(np.stack(part) for part in zip(*rows, strict=True))


def _follow_row(row: _Row, system: Printed, times: np.ndarray, points: int) -> tuple:
    found = [x for g in guesses(system) if (x := row.settle(1.0, g)) is not None]
    apart: list[np.ndarray] = []
    for x in sorted(found, key=lambda x: row.newton(1.0, x)[0][0]):
        if all(np.abs(x - y).max() > 1e-3 for y in apart):
            apart.append(x)
    heights = [row.newton(1.0, x)[0][0] for x in apart]
    second = heights[1] if len(heights) > 1 else 1e300
    smooth = np.full((points, len(system.names)), np.nan)
    below = row.closed(1.0)
    if not apart or heights[0] >= row.rival(1.0):
        state = 1 if row.has_closed else 2
        values, facts, codes = _at_times(row, times, 1.1, None, state)
        return values, facts, codes, smooth, below, [1.0, len(apart), second, state]
    known, switch = _switch(row, apart[0])
    if switch <= FLOOR:
        below = row.record(FLOOR, _near(row, known, FLOOR))
    z = chebyshev(points)
    for k, at in enumerate(np.exp(0.5 * (1 - z) * np.log(switch))):
        smooth[k] = row.record(at, _near(row, known, at))
    # an even loss is flat at s = 0: there its unit is silent by the theory, not by luck
    floor = 0.0 if switch <= FLOOR and not row.even else switch
    values, facts, codes = _at_times(row, times, floor, known, 1)
    return values, facts, codes, smooth, below, [switch, len(apart), second, 0]


def _near(row: _Row, known: dict[float, np.ndarray], at: float) -> np.ndarray:
    """Return the minimum at a time, starting from the nearest known one."""
    nearest = min(known, key=lambda s: abs(np.log(s) - np.log(max(at, 1e-300))))
    x = row.settle(at, known[nearest])
    if x is None:
        return np.full(row.size, np.nan)
    if at > 0:
        known[at] = x
    return x


def _at_times(
    row: _Row, times: np.ndarray, floor: float, known: Any, state: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, facts, codes = [], [], []
    for at in times:
        if at < floor:
            line = row.closed(at)
            if row.saturates:
                line[row.size - 1] = np.inf
            values.append(line)
            facts.append([row.rival(at), 0.0, 0.0, 0.0])
            codes.append(state)
            continue
        x = _near(row, known, at)
        values.append(row.record(at, x))
        facts.append(row.facts(at, x) if np.isfinite(x).all() else [np.nan] * 4)
        codes.append(0 if np.isfinite(x).all() else 2)
    shape = (len(times), len(row.closed(1.0)))
    return (
        np.reshape(values, shape),
        np.reshape(facts, (len(times), 4)),
        np.array(codes, dtype=int),
    )


def _switch(row: _Row, x: np.ndarray) -> tuple[dict[float, np.ndarray], float]:
    """Follow the minimum down; return what was met and where the rival takes over."""
    from scipy.optimize import brentq

    known = {1.0: x}

    def gap(log_s: float) -> float:
        at = float(np.exp(log_s))
        y = _near(row, known, at)
        if not np.isfinite(y).all():
            return 1.0  # gone: the other branch has it
        return row.newton(at, y)[0][0] - row.rival(at) + ALIKE

    high = 1.0
    while high > FLOOR:
        low = max(LADDER * high, FLOOR)
        if gap(np.log(low)) >= 0:
            root = brentq(gap, np.log(low), np.log(high), xtol=1e-11)
            return known, float(np.exp(root))
        high = low
    return known, FLOOR
