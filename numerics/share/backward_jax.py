"""Shares on JAX: the backward flow of `backward_numba` for whole batches of rows."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import erf

from ..codegen.double import in_double
from ..codegen.kernel import make_kernel
from ..codegen.quadrature import barycentric, chebyshev, trapezoid
from ..codegen.snapshot import Printed
from ..minima.newton_jax import interpolated_rows
from ..ode.tableau import method_853
from .backward_numba import FINEST, REACH, SAFE

STEPS = 64  # of order 8 through the window; their error is that of half as many
LAST = 8  # steps below the switch
ENDS = 65  # end points from which trajectories are followed backwards


@in_double
def shares_jax(
    flow: Printed, rows: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share, its error bound and the separatrix for every row."""
    smooth, below, edges, pieces, gamma, params = rows
    shoot = _shooter(flow, smooth.shape[2])
    count = smooth.shape[1]
    last = np.take_along_axis(edges, pieces[:, None], axis=1)
    inside = np.arange(count + 1) <= pieces[:, None]
    edges = np.where(inside, edges[:, : count + 1], last)  # pieces of no length
    smooth = np.where(inside[:, 1:, None, None], smooth, 0.0)
    spread = np.sqrt(np.maximum(1 - 1 / gamma, 0.0))

    def landing(
        ends: np.ndarray, steps: int, inputs: np.ndarray = smooth
    ) -> tuple[np.ndarray, np.ndarray]:
        y, f = np.asarray(shoot(steps, ends, inputs, below, edges, params.T))
        return y / gamma[:, None] - f, y

    low, high = _range(landing, REACH * spread, len(gamma))
    ends = 0.5 * (low + high)[:, None] + 0.5 * (high - low)[:, None] * chebyshev(ENDS)
    fall, start = landing(ends, STEPS)
    rule, few = trapezoid(), ends[:, :: ENDS // 4]
    rough = [landing(few, STEPS // 2, _thinned(smooth, k)) for k in (4, 2, 1)]
    off = np.abs(rough[-1][0] - fall[:, :: ENDS // 4]).max(axis=1)
    shares = [np.asarray(_averaged(*x, gamma, spread, *rule)[0]) for x in rough]
    first, last = np.abs(np.diff(shares, axis=0))
    spread_of_shares = last * np.minimum(1.0, SAFE * last / (first + 1e-300))
    share, split, doubt = _averaged(fall, start, gamma, spread, *rule)
    half, *_ = _averaged(fall[:, ::2], start[:, ::2], gamma, spread, *rule)
    apart = np.abs(np.asarray(share - half))
    bound = np.minimum(apart, 1000 * apart**2) + off + spread_of_shares + FINEST
    return np.asarray(share), bound + np.asarray(doubt), np.asarray(split)


def _thinned(smooth: np.ndarray, stride: int) -> np.ndarray:
    """The inputs at all Chebyshev points, from every `stride`-th of them."""
    grid = chebyshev(smooth.shape[2])
    matrix = barycentric(grid, grid[::stride])
    return np.einsum("pq,rkqi->rkpi", matrix, smooth[:, :, ::stride])


def _range(landing: Any, reach: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends between which the landing runs from -reach to reach in every row."""
    width = 8.0
    while True:
        ends = np.broadcast_to(np.linspace(-width, width, ENDS), (rows, ENDS))
        fall, _ = landing(ends, STEPS // 2)
        if (fall[:, 0] <= -reach).all() and (fall[:, -1] >= reach).all():
            break
        width *= 2
        if width > 1e4:
            break
    first = np.maximum((fall <= -reach[:, None]).sum(axis=1) - 1, 0)
    last = np.minimum(ENDS - (fall >= reach[:, None]).sum(axis=1), ENDS - 1)
    last = np.maximum(last, first + 1)
    row = np.arange(rows)
    return ends[row, first], ends[row, np.minimum(last, ENDS - 1)]


@lru_cache(maxsize=16)
def _shooter(flow: Printed, points: int) -> Any:
    a, b, c = method_853()
    kernel = make_kernel(flow, "jax")

    @partial(jax.jit, static_argnums=0)
    def shoot(steps: int, ends, smooth, below, edges, params):
        at = (np.arange(steps)[:, None] + c) / steps
        matrix = barycentric(1 - 2 * at.ravel(), chebyshev(points))
        tables = jnp.einsum("xp,rkpi->kxir", matrix, smooth)
        tables = tables.reshape(len(tables), *at.shape, *tables.shape[2:], 1)
        switch = edges[:, -1]
        shaped = list(params[:, :, None])

        def rates(s: Any, x: Any, inputs: Any) -> Any:
            return kernel["rhs"](s, list(x), list(inputs), shaped, *trapezoid())[0]

        def one(x: Any, width: Any, slopes: Any) -> Any:
            """Take one step; `slopes(j, y)` is the derivative at stage j."""
            k: list[Any] = []
            for j in range(len(b)):
                y = x + width * sum(a[j, i] * k[i] for i in range(j) if a[j, i])
                k.append(slopes(j, y))
            return x + width * sum(w * v for w, v in zip(b, k, strict=True) if w)

        def above(high: Any, depth: Any, x: Any, given: tuple) -> tuple:
            inputs, when = given

            def slopes(j: int, y: Any) -> Any:
                s = high * jnp.exp(depth * when[j])
                return s * depth * rates(s, y, inputs[j])

            return one(x, 1.0 / steps, slopes), None

        def under(x: Any, i: Any) -> tuple:
            def slopes(j: int, y: Any) -> Any:
                s = switch[:, None] * (1 - (i + c[j]) / LAST)
                return -switch[:, None] * rates(s, y, below.T[..., None])

            return one(x, 1.0 / LAST, slopes), None

        x = jnp.stack([ends, jnp.zeros_like(ends)])
        for k, table in enumerate(tables):
            high, depth = edges[:, k, None], jnp.log(edges[:, k + 1] / edges[:, k])
            step = partial(above, high, depth[:, None])
            x, _ = lax.scan(step, x, (table, jnp.asarray(at)))
        x, _ = lax.scan(under, x, jnp.arange(LAST))
        return x

    return shoot


@jax.jit
def _averaged(fall, start, gamma, spread, nodes, weights):
    """P(nu(1) > 0), the separatrix, and the error of the rule by every second node."""
    grid = jnp.cos(jnp.pi * jnp.arange(fall.shape[1]) / (fall.shape[1] - 1))
    used = (weights > 0) & (jnp.abs(nodes) <= REACH)
    weights = jnp.where(used, weights, 0.0)
    targets = spread[:, None] * jnp.where(used, nodes, 0.0)

    def at(z: Any, table: Any) -> Any:
        return interpolated_rows(z, grid, table.T[:, None, :])[0]

    def halve(_: int, state: tuple) -> tuple:
        low, high = state
        middle = 0.5 * (low + high)
        less = at(middle, fall) < targets
        return jnp.where(less, middle, low), jnp.where(less, high, middle)

    ones = jnp.ones_like(targets)
    low, high = lax.fori_loop(0, 50, halve, (-ones, ones))
    y = at(0.5 * (low + high), start)
    root = jnp.sqrt(gamma)[:, None]
    above = 0.5 * (1 - erf(y / root / jnp.sqrt(2.0)))
    share, half = (above * weights).sum(-1) / weights.sum(), weights[::2]
    off = jnp.abs(share - (above[:, ::2] * half).sum(-1) / half.sum())
    return share, y[:, (len(nodes) - 1) // 2], jnp.minimum(off, 1000 * off**2)
