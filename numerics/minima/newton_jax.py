"""Minima on JAX: whole batches side by side, on a GPU where there is one.

Rows with one minimum, for all of them at once: each iteration is one evaluation of the
printed functions over the batch. Rows agree with numba's to the tolerance, not to the
bit; those where several minima may compete are left to the compiled loops.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..codegen.double import in_double
from ..codegen.kernel import make_kernel
from ..codegen.quadrature import START, chebyshev, trapezoid
from ..codegen.snapshot import Printed
from .follow_numba import PIECES
from .newton_numba import (
    ALIKE,
    FAR,
    LAST_STEP,
    MOST,
    RATIO,
    ROUGH_STEP,
    ROUNDING,
)
from .newton_scipy import flatness
from .result import FLOOR, LEVELS, guesses

BISECTIONS = 40  # of the switch, in log s


@in_double
def follow_jax(
    system: Printed, times: np.ndarray, columns: np.ndarray, tol: float, points: int
) -> tuple[np.ndarray, ...]:
    """Follow every row; see `dilaton.numerics.minima.minimise` for what is returned.

    The whole batch takes the first rule that is fine for each of its rows.
    """
    run = _follower(system, points)
    for level in range(2, LEVELS):  # another rule is another compilation
        found = run(times, columns.T, *trapezoid(START * 2**level))
        values, facts, codes, smooth, below, summary, off = map(np.array, found)
        if off.max(initial=0.0) <= tol:
            break
    rows, inside = len(columns), summary[:, 3] == 0
    edges = np.full((rows, PIECES + 1), np.nan)
    edges[:, 0] = 1.0
    edges[inside, 1] = summary[inside, 0]
    ends, rule = (np.ones(rows), summary[:, 0]), trapezoid(START * 2**level)
    flat = np.where(inside, flatness(system, columns, smooth, ends, rule), 0.0)
    summary[:, 0], summary[:, 2] = inside, flat
    return values, facts, codes, smooth[:, None], edges, below, summary


@lru_cache(maxsize=16)
def _follower(system: Printed, points: int) -> Any:
    kernel = make_kernel(system, "jax")
    return jax.jit(partial(_follow, kernel, points))


def _settle(
    newton: Any, even: bool, at: Any, x: Any, goal: float
) -> tuple[Any, Any, Any, Any]:
    """Minimise from `x`, shape (unknowns, *batch); return x, values, success, error.

    Newton steps in the eigenbasis of the Hessian, within a radius that shrinks when
    the objective does not fall; the last one, undamped and below `goal`, is taken, or
    one from slopes that are rounding.
    The error is that of the averages, the largest on the way of a search that fails.
    """
    size = len(x)

    def body(state: tuple) -> tuple:
        x, values, trial, radius, found, gone, worst, count = state
        there, off = newton(at, trial)
        better = _fallen(x, values, trial, there)
        moves = better & ~found & ~gone
        worst = jnp.where(found | gone, worst, jnp.maximum(worst, off))
        x = jnp.where(moves, trial, x)
        values = jnp.where(moves, there, values)
        radius = jnp.where(better, jnp.minimum(2 * radius, 1.0), 0.25 * radius)
        step, firm = _step(x, values)
        short = (jnp.abs(step) / (1 + jnp.abs(x))).max(0) <= goal
        slope, least = values[1 : 1 + size], ROUNDING * (1 + jnp.abs(values[0]))
        flat = -(slope * step).sum(0) <= least
        still = flat & (jnp.abs(slope).max(0) <= least)
        last = short | still
        ends = (last | (flat & ~better)) & firm & ~found & ~gone
        worst = jnp.where(ends & better, off, worst)
        x = jnp.where(ends & last, x + step, x)
        length = jnp.sqrt((step**2).sum(0))
        trial = x + step * jnp.minimum(1.0, radius / jnp.maximum(length, 1e-300))
        gone = gone | (~(jnp.abs(x).max(0) <= FAR) & ~found)
        found = found | (ends & ~gone)
        return x, values, trial, radius, found, gone, worst, count + 1

    def going(state: tuple) -> Any:
        *_, found, gone, _, count = state
        return (count < MOST) & ~jnp.all(found | gone)

    shape = x.shape[1:]
    values = jnp.full((1 + size + size * size, *shape), jnp.inf)
    no = jnp.zeros(shape, bool)
    start = (x, values, x, jnp.ones(shape), no, no, jnp.zeros(shape), 0)
    x, values, _, _, found, _, worst, _ = lax.while_loop(going, body, start)
    upright = jnp.where(even & (x[0] < 0), -1.0, 1.0)
    return upright * x, values, found, worst


def _fallen(x: Any, values: Any, trial: Any, there: Any) -> Any:
    """Where a step went downhill; within rounding, it may not end uphill as steeply."""
    size = len(x)
    before = (values[1 : 1 + size] * (trial - x)).sum(0)
    after = (there[1 : 1 + size] * (trial - x)).sum(0)
    level = there[0] <= values[0] + 1e-14 * (1 + jnp.abs(values[0]))
    return (there[0] <= values[0]) | (level & (after <= -before))


def _step(x: Any, values: Any) -> tuple[Any, Any]:
    """Return the Newton step in the eigenbasis, and where the Hessian is positive."""
    size = len(x)
    slope = jnp.moveaxis(values[1 : 1 + size], 0, -1)
    hessian = jnp.moveaxis(values[1 + size :], 0, -1).reshape(*slope.shape, size)
    eigen, basis = jnp.linalg.eigh(hessian)
    scale = jnp.abs(eigen).max(-1, keepdims=True)
    firm = jnp.maximum(jnp.abs(eigen), 1e-15 * scale + 1e-300)
    along = jnp.einsum("...ij,...i->...j", basis, slope) / firm
    step = -jnp.einsum("...ij,...j->...i", basis, along)
    return jnp.moveaxis(step, -1, 0), eigen[..., 0] > 0


class _Batch(NamedTuple):
    """The printed functions of a system, for a whole batch of rows."""

    kernel: Any
    params: Any
    nodes: Any
    weights: Any

    @property
    def rows(self) -> int:
        return self.params.shape[1]

    def call(self, name: str, at: Any, x: Any) -> tuple:
        """Return what a printed function gives, and the error of its averages."""
        shape = (len(self.params), self.rows, *(1,) * (x.ndim - 2))
        params = list(self.params.reshape(shape))
        return self.kernel[name](at, list(x), [], params, self.nodes, self.weights)

    def newton(self, at: Any, x: Any) -> Any:
        """Objective, slopes and curvatures."""
        return self.call("newton", at, x)

    def settle(self, at: Any, x: Any, goal: float) -> tuple[Any, Any, Any, Any]:
        """Minimise from `x`; see `_settle`."""
        return _settle(self.newton, self.kernel.system.even, at, x, goal)

    def branch(self, at: Any, *times: int) -> Any:
        """Every quantity on the closed branch, then its objective."""
        return self.call("branch", at, jnp.zeros((0, self.rows, *times)))[0]

    def rival(self, at: Any) -> Any:
        """The objective of the closed branch."""
        if not self.kernel.system.branches:
            return jnp.full(self.rows, 1e300)
        return self.branch(at)[-1]

    def record(self, at: Any, x: Any) -> Any:
        """The unknowns and what is computed from them."""
        seen = self.call("observables", at, x)[0]
        return jnp.moveaxis(jnp.concatenate([x, seen]), 0, -1)


def _follow(
    kernel: Any, points: int, times: Any, params: Any, nodes: Any, weights: Any
) -> tuple:
    batch = _Batch(kernel, params, nodes, weights)
    best, minima, lowest, some = _best_start(batch)
    inside = some & (lowest < batch.rival(1.0))
    switch, x_switch, off = _switch(batch, best, inside)
    switch = jnp.where(inside, switch, 1.0)
    grid = jnp.asarray(chebyshev(points))
    depth = jnp.log(switch)
    track, whole, rough = _track(batch.settle, grid, depth, best)
    off = jnp.where(inside, jnp.maximum(off, rough), 0.0)
    at = jnp.exp(0.5 * (1 - grid) * depth[:, None])
    smooth = batch.record(at, jnp.moveaxis(track, 0, -1))
    smooth = jnp.where((inside & whole)[:, None, None], smooth, jnp.nan)
    low = switch <= FLOOR
    at_floor = batch.record(FLOOR, x_switch)
    below = jnp.where((inside & low)[:, None], at_floor, batch.branch(1.0)[:-1].T)
    saturated = ~inside[:, None] | ((times < switch[:, None]) & ~low[:, None])
    guess = _on_track(times, switch, grid, track)
    values, facts, codes = _at_times(batch, times, guess, saturated)
    fine, none = (
        whole & ~jnp.any(codes == 2, axis=1),
        1 if kernel.system.branches else 2,
    )
    state = jnp.where(inside, jnp.where(fine, 0, 2), none)
    summary = jnp.stack([switch, minima, 0 * switch, state], -1)
    rough = jnp.where(saturated, 0.0, facts[..., 3])
    off = jnp.maximum(off, rough.max(-1, initial=0.0))
    return values, facts, codes, smooth, below, summary, off


def _at_times(batch: _Batch, times: Any, guess: Any, saturated: Any) -> tuple:
    """Values, facts and codes at `times`; the closed branch where it is the lowest."""
    branches = batch.kernel.system.branches
    x, found, facts = _polish(batch.newton, batch.settle, times, guess)
    limit = jnp.moveaxis(batch.branch(times, len(times))[:-1], 0, -1)
    if "saturated" in branches:
        limit = limit.at[..., len(x) - 1].set(jnp.inf)
    values = jnp.where(saturated[..., None], limit, batch.record(times, x))
    base = facts[..., 0]
    if len(times):
        base = jnp.stack([batch.rival(t) for t in times], -1)
    there = jnp.concatenate([base[..., None], jnp.zeros((*base.shape, 3))], -1)
    facts = jnp.where(saturated[..., None], there, facts)
    codes = jnp.where(saturated, 1 if branches else 2, jnp.where(found, 0, 2))
    return values, facts, codes


def _on_track(times: Any, switch: Any, grid: Any, track: Any) -> Any:
    """The followed minima at `times`, shape (unknowns, rows, times)."""
    depth = jnp.minimum(jnp.log(switch)[:, None], -1e-300)
    z = 1 - 2 * jnp.log(jnp.maximum(times, switch[:, None])) / depth
    return interpolated_rows(jnp.clip(z, -1, 1), grid, track)


def _best_start(batch: _Batch) -> tuple:
    """Settle at s = 1 from every guess: the lowest, and how many there are."""
    starts = jnp.asarray(guesses(batch.kernel.system)).T[:, None, :]
    x = jnp.broadcast_to(starts, (len(starts), batch.rows, starts.shape[2]))
    x, values, found, _ = batch.settle(1.0, x, ROUGH_STEP)
    apart = jnp.abs(x[:, :, :, None] - x[:, :, None, :]).max(0)
    earlier = jnp.tril(jnp.ones(apart.shape[-2:], bool), -1)
    known = ((apart < 1e-3) & earlier & found[:, None, :]).any(-1)
    objective = jnp.where(found & ~known, values[0], jnp.inf)
    pick = jnp.argmin(objective, axis=-1)
    best = jnp.take_along_axis(x, pick[None, :, None], axis=-1)[..., 0]
    return best, (found & ~known).sum(-1), objective.min(-1), found.any(-1)


def _switch(batch: _Batch, x: Any, inside: Any) -> tuple[Any, Any, Any]:
    """Where the closed branch takes over: steps down in log s, then bisection.

    Returns the times, the minima there, and the largest error of the averages.
    """
    count = int(np.ceil(np.log(FLOOR) / np.log(RATIO)))
    ladder = jnp.asarray(np.maximum(RATIO ** np.arange(1, count + 1), FLOOR))

    def lower(at: Any, x: Any) -> tuple[Any, Any, Any]:
        x, values, found, off = batch.settle(at, x, ROUGH_STEP)
        return x, found & (values[0] < batch.rival(at) - ALIKE), off

    def down(state: tuple, at: Any) -> tuple:
        x, high, low, alive, worst = state
        there, good, off = lower(jnp.full(high.shape, at), x)
        worst = jnp.where(alive, jnp.maximum(worst, off), worst)
        x = jnp.where(alive & good, there, x)
        high = jnp.where(alive & good, at, high)
        low = jnp.where(alive & ~good, at, low)
        return (x, high, low, alive & good, worst), None

    def halve(_: int, state: tuple) -> tuple:
        x, high, low = state
        middle = jnp.sqrt(high * low)
        there, good, _ = lower(middle, x)
        x = jnp.where(good, there, x)
        return x, jnp.where(good, middle, high), jnp.where(good, low, middle)

    ones = jnp.ones(x.shape[1])
    start = (x, ones, ones, inside, 0 * ones)
    (x, high, low, alive, worst), _ = lax.scan(down, start, ladder)
    low = jnp.where(alive | ~inside, high, low)
    x, high, _ = lax.fori_loop(0, BISECTIONS, halve, (x, high, low))
    return high, x, worst


def _track(settle: Any, grid: Any, depth: Any, best: Any) -> tuple[Any, Any, Any]:
    """The minima at the Chebyshev points, shape (points, unknowns, rows)."""
    points = len(grid)
    ahead = np.zeros((points, 4))  # extrapolation from up to four points before
    z = np.asarray(chebyshev(points))
    for k in range(1, points):
        used = z[max(k - 4, 0) : k]
        share = [np.prod([(z[k] - b) / (a - b) for b in used if b != a]) for a in used]
        ahead[k, 4 - len(used) :] = share

    def one(state: tuple, given: tuple) -> tuple:
        last, kept, worst = state
        share, point = given
        guess = jnp.where(share.any(), jnp.einsum("j,jkr->kr", share, last), last[-1])
        at = jnp.exp(0.5 * (1 - point) * depth)
        x, _, found, off = settle(at, guess, LAST_STEP)
        last = jnp.concatenate([last[1:], x[None]])
        return (last, kept & found, jnp.maximum(worst, off)), x

    start = jnp.broadcast_to(best, (4, *best.shape))
    state = (start, jnp.ones(best.shape[1], bool), jnp.zeros(best.shape[1]))
    (_, kept, worst), track = lax.scan(one, state, (jnp.asarray(ahead), grid))
    return track, kept, worst


def interpolated_rows(z: Any, grid: Any, table: Any) -> Any:
    """Barycentric interpolation of (points, unknowns, rows) at z of (rows, times)."""
    weights = jnp.where(jnp.arange(len(grid)) % 2, -1.0, 1.0)
    weights = weights.at[jnp.array([0, -1])].divide(2)
    gap = z[..., None] - grid
    hit = jnp.abs(gap) < 1e-14
    terms = jnp.where(hit.any(-1, keepdims=True), 1.0 * hit, weights / (gap + hit))
    terms = terms / terms.sum(-1, keepdims=True)
    return jnp.einsum("rtp,pkr->krt", terms, table)


def _polish(newton: Any, settle: Any, times: Any, guess: Any) -> tuple:
    x, _, found, _ = settle(times, guess, LAST_STEP)
    values, off = newton(times, x)
    size = len(x)
    hessian = jnp.moveaxis(values[1 + size :], 0, -1).reshape(*x.shape[1:], size, size)
    least = jnp.linalg.eigvalsh(hessian)[..., 0]
    steep = jnp.abs(values[1 : 1 + size]).max(0)
    bound = jnp.broadcast_to(off, least.shape) + 2e-16
    return x, found, jnp.stack([values[0], steep, least, bound], -1)
