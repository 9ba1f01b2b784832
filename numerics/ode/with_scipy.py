"""The reference solver: SciPy's `solve_ivp`, one row after another.

Explicit (``dop853``, ``rk45``) or implicit with the printed Jacobian (``radau``).
"""

from __future__ import annotations

import numpy as np

from ..codegen.kernel import Kernel, make_kernel
from ..codegen.quadrature import LIMIT, START, Rule, error_bound, trapezoid
from .problem import AVERAGES, Flow, Problem, chosen

METHODS = {"dop853": "DOP853", "rk45": "RK45", "radau": "Radau"}


class _Row:
    """Right-hand side and Jacobian of one row, and what they cost."""

    def __init__(self, kernel: Kernel, problem: Problem, row: int, rule: Rule) -> None:
        self.kernel, self.rule = kernel, rule
        self.params = problem.params[row]
        held = problem.inputs.of_rows(slice(row, row + 1))
        self.breaks, self.coefficients = held.breaks[0], held.coefficients[0]
        self.piece, self.worst, self.calls = 0, 0.0, 0
        self.steps, self.reached = 0, problem.times[0]
        self.limit = problem.max_steps * 12

    def inputs(self, at: float) -> np.ndarray:
        left, right = self.breaks[self.piece : self.piece + 2]
        x = (2 * at - left - right) / (right - left)
        c = self.coefficients[:, self.piece]
        return np.array([np.polynomial.chebyshev.chebval(x, row) for row in c], float)

    def values(self, name: str, at: float, y: np.ndarray) -> np.ndarray:
        given = self.inputs(at)
        found, off = self.kernel[name](at, y, given, self.params, *self.rule)
        self.worst = max(self.worst, float(off))
        return found

    def rhs(self, at: float, y: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls > self.limit:
            raise _TooLong
        return self.values("rhs", at, y)

    def stepped(self, at: float, y: np.ndarray) -> float:
        """Note a step: an event that never happens, asked about after each."""
        self.steps += at > self.reached
        self.reached = at
        return 1.0

    def jacobian(self, at: float, y: np.ndarray) -> np.ndarray:
        found = self.values("jacobian", at, y)
        if not np.all(np.isfinite(found)):
            raise _NotFinite
        return found.reshape(y.size, y.size)


class _TooLong(Exception):
    """The row has used up its steps."""


class _NotFinite(Exception):
    """A derivative of the row's slopes is not finite."""


def solve_each(problem: Problem, method: str | None) -> Flow:
    """Integrate each row by `solve_ivp`; pieces of the inputs one after another."""
    method = chosen(method, METHODS, "dop853")
    kernel = make_kernel(problem.system, "numpy")
    batch, states = problem.y0.shape
    y = np.full((batch, problem.times.size, states), np.nan)
    status, steps = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    reached, worst = np.full(batch, problem.times[-1]), 0.0
    tol = max(AVERAGES * problem.rtol, 2e-15)
    for i in range(batch):
        intervals = START
        while True:
            row = _Row(kernel, problem, i, trapezoid(intervals))
            with np.errstate(all="ignore"):  # a row out of range ends with its status
                status[i] = _march_row(row, problem, i, method, y[i])
            steps[i], reached[i] = row.steps, row.reached
            if error_bound(row.worst) <= tol or 2 * intervals > LIMIT:
                break
            intervals *= 2
        if error_bound(row.worst) > tol and status[i] == 0:
            status[i] = 4
        worst = max(worst, row.worst)
    rows = [y, status, steps, np.zeros(batch, np.int64), reached]
    return problem.solved(rows, np.array(worst), backend="scipy", method=method)


def _march_row(row: _Row, problem: Problem, i: int, method: str, y: np.ndarray):
    """Fill `y` over the pieces; return the status."""
    times, state = problem.times, problem.y0[i]
    y[0] = state
    start, end = times[0], times[-1]
    edges = row.breaks[(row.breaks > start) & (row.breaks < end)]
    for right in [*np.unique(edges), end]:
        row.piece = int(np.searchsorted(row.breaks[1:-1], start, side="right"))
        inside = (times > start) & (times <= right)
        at = np.unique([*times[inside], right])
        try:
            part = _solved(row, problem, method, (start, right), state, at)
        except _TooLong:
            return 2
        except _NotFinite:
            return 3
        found = np.reshape(part.y, (state.size, -1)).T  # `part.y` is a list if empty
        kept = np.isin(part.t, times)
        y[np.isin(times, part.t) & inside] = found[kept]
        if not np.all(np.isfinite(found)):
            return 3
        if not part.success:
            return 1
        state, start = found[-1], right
    return 0


def _solved(row: _Row, problem: Problem, method: str, span, state, at):
    from scipy.integrate import solve_ivp

    options = {"jac": row.jacobian} if method == "radau" else {}
    return solve_ivp(
        row.rhs,
        span,
        state,
        method=METHODS[method],
        t_eval=at,
        rtol=max(problem.rtol, 2.3e-14),
        atol=problem.atol,
        max_step=problem.max_step,
        events=row.stepped,
        **options,
    )
