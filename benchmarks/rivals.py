"""The same problems as a user would write them with SciPy and diffrax."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

Columns = dict[str, np.ndarray]


# the sampling flow: nu' = kappa tanh(kappa s nu + h)


def scipy_rows(rows: Columns, rtol: float) -> np.ndarray:
    """Integrate one row after another by `solve_ivp` (DOP853)."""
    from scipy.integrate import solve_ivp

    out = []
    for nu, p, kappa in zip(rows["nu"], rows["p"], rows["kappa"], strict=True):
        bias = np.log(p / (1 - p)) / 2

        def rhs(s, y, kappa=kappa, bias=bias):
            return kappa * np.tanh(kappa * s * y + bias)

        found = solve_ivp(rhs, (0, 1), [nu], method="DOP853", rtol=rtol, atol=rtol)
        out.append(found.y[0, -1])
    return np.array(out)


def scipy_stacked(rows: Columns, rtol: float, size: int) -> np.ndarray:
    """Integrate `size` rows at a time as one system of that many equations."""
    from scipy.integrate import solve_ivp

    kappa, bias = rows["kappa"], np.log(rows["p"] / (1 - rows["p"])) / 2
    parts = []
    for first in range(0, kappa.size, size):
        here = slice(first, first + size)

        def rhs(s, y, k=kappa[here], b=bias[here]):
            return k * np.tanh(k * s * y + b)

        start = rows["nu"][here]
        found = solve_ivp(rhs, (0, 1), start, method="DOP853", rtol=rtol, atol=rtol)
        parts.append(found.y[:, -1])
    return np.concatenate(parts)


@lru_cache(maxsize=8)
def _diffrax(solver: str, sharded: bool, rtol: float, rows: int):
    import diffrax
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, PartitionSpec

    def field(s, y, args):
        kappa, bias = args
        return kappa * jnp.tanh(kappa * s * y + bias)

    def solve(nu, p, kappa):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            getattr(diffrax, solver)(),
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=nu,
            args=(kappa, jnp.log(p / (1 - p)) / 2),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            saveat=diffrax.SaveAt(t1=True),
        ).ys[0]

    batched = jax.vmap(solve)
    if not sharded:
        return jax.jit(batched)

    def in_chunks(nu, p, kappa):
        parts = [a.reshape(-1, 250) for a in (nu, p, kappa)]
        return jax.lax.map(lambda row: batched(*row), tuple(parts)).reshape(-1)

    mesh, spec = Mesh(np.array(jax.devices()), ("rows",)), PartitionSpec("rows")
    return jax.jit(
        jax.shard_map(
            in_chunks, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
    )


def diffrax_rows(rows: Columns, rtol: float, solver: str, sharded: bool) -> np.ndarray:
    """Integrate by diffrax under `vmap`; `sharded` over devices, chunk by chunk."""
    run = _diffrax(solver, sharded, rtol, rows["nu"].size)
    return np.asarray(run(rows["nu"], rows["p"], rows["kappa"]))


BATCH = 8  # rows that heyoka takes side by side: one register of AVX-512


def has_heyoka() -> bool:
    """Whether heyoka is installed; it is no dependency."""
    return find_spec("heyoka") is not None


@lru_cache(maxsize=8)
def _heyoka(rtol: float, size: int) -> Any:
    """Compile the flow as a Taylor series by heyoka; `size` rows side by side."""
    import heyoka

    x = heyoka.make_vars("x")
    kappa, bias = heyoka.par[0], heyoka.par[1]
    field = [(x, kappa * heyoka.tanh(kappa * heyoka.time * x + bias))]
    return heyoka.taylor_adaptive_batch(
        field, np.zeros((1, size)), pars=np.zeros((2, size)), tol=rtol
    )


def heyoka_batches(rows: Columns, rtol: float) -> np.ndarray:
    """Integrate a register of rows at a time, in a plain loop on each core."""
    from copy import deepcopy

    from dilaton.numerics.codegen.threads import share_out

    table = _heyoka_table(rows)
    out = np.empty((len(table), BATCH))
    start, end = np.zeros(BATCH), np.ones(BATCH)

    def work(first: int, last: int) -> None:
        kernel = deepcopy(_heyoka(rtol, BATCH))
        for batch in range(first, last):
            kernel.set_time(start)
            kernel.state[0], kernel.pars[:] = table[batch, 0], table[batch, 1:]
            kernel.propagate_until(end)
            out[batch] = kernel.state[0]

    share_out(len(table), work, 64)
    return out.ravel()[: rows["nu"].size]


def heyoka_ensemble(rows: Columns, rtol: float) -> np.ndarray:
    """Integrate by heyoka's own ensembles of batches, over threads.

    An ensemble copies its integrator for every batch, which takes .9 ms, sixty times
    what the batch itself takes: it is meant for trajectories of many more steps.
    """
    import heyoka

    table = _heyoka_table(rows)

    def placed(kernel: Any, batch: int) -> Any:
        kernel.set_time(np.zeros(BATCH))
        kernel.state[0], kernel.pars[:] = table[batch, 0], table[batch, 1:]
        return kernel

    done = heyoka.ensemble_propagate_until_batch(
        _heyoka(rtol, BATCH), 1.0, len(table), placed
    )
    return np.concatenate([kernel.state[0] for kernel, *_ in done])[: rows["nu"].size]


def _heyoka_table(rows: Columns) -> np.ndarray:
    """Return starts, scales and biases, (batches, 3, rows of a batch)."""
    bias = np.log(rows["p"] / (1 - rows["p"])) / 2
    count = -(-bias.size // BATCH)
    pick = np.minimum(np.arange(count * BATCH), bias.size - 1)
    table = np.array([rows["nu"], rows["kappa"], bias])[:, pick]
    return table.reshape(3, count, BATCH).swapaxes(0, 1).copy()


# the stationarity problem of n samples


def _objective(x: np.ndarray, s: float, point: dict[str, float], nodes, weights):
    """Return the objective per sample in (omega, b), Gauss-Hermite averages."""
    omega, b = x
    n, up = point["n"], point["n_plus"]
    down, sigma, scale = n - up, point["sigma"], point["kappa"] * s
    zeta = sigma * omega / (2 * up), -sigma * omega / (2 * down)
    r = omega**2 + up * zeta[0] ** 2 + down * zeta[1] ** 2
    first = np.tanh(np.sqrt(r) * nodes + scale * (omega + sigma * zeta[0]) + b)
    second = np.tanh(np.sqrt(r) * nodes + scale * (-omega + sigma * zeta[1]) + b)
    a, c = weights @ first, weights @ second
    norm = point["ridge_u"] + up * (weights @ first**2) + down * (weights @ second**2)
    gain = (up * a - down * c) ** 2 + sigma**2 * (up * a**2 + down * c**2)
    return (n * (1 + sigma**2) - gain / norm + point["ridge_w"] * r) / n


def scipy_minima(points: list[dict[str, float]], times: np.ndarray) -> np.ndarray:
    """Minimise at each time by `scipy.optimize.minimize`, from the last solution."""
    from scipy.optimize import minimize

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    out = np.empty((len(points), times.size, 2))
    for row, point in enumerate(points):
        guess = np.array([point["kappa"], np.log(point["p"] / (1 - point["p"])) / 2])
        for j, s in enumerate(times[::-1]):
            found = minimize(
                _objective, guess, args=(s, point, nodes, weights), tol=1e-10
            )
            guess = found.x
            out[row, times.size - 1 - j] = guess
    return out


# the training flow


def scipy_training(start: Columns, params: dict[str, Any], until: float, rtol: float):
    """Integrate the training flow row by row, averages by 40-point Gauss-Hermite."""
    from scipy.integrate import solve_ivp

    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    p, scale = params["p"], params["kappa"] * params["s"]

    def rhs(time, y):
        m, q, omega, r, b = y
        fields = np.sqrt(r) * nodes + np.array([[scale * omega], [-scale * omega]]) + b
        phi = np.tanh(fields)
        slope = 1 - phi**2
        first, second = phi @ weights, (phi**2) @ weights
        share = np.array([p, 1 - p])
        sign = np.array([p, p - 1])
        a1, a2 = sign @ first, share @ second
        # derivatives of the two averages with respect to the mean and to r
        d1, d2 = slope @ weights, (2 * phi * slope) @ weights
        r1, r2 = (slope * nodes) @ weights, (2 * phi * slope * nodes) @ weights
        turn = np.array([scale, -scale])
        d_omega = -2 * m * (sign @ (turn * d1)) + q * (share @ (turn * d2))
        d_b = -2 * m * (sign @ d1) + q * (share @ d2)
        d_r = (-2 * m * (sign @ r1) + q * (share @ r2)) / (2 * np.sqrt(r))
        return [
            a1 - m * a2,
            2 * (m * a1 - q * a2),
            -(d_omega + 2 * omega * d_r) / 2,
            -(omega * d_omega + 2 * r * d_r),
            -d_b / 2,
        ]

    rows = np.stack([start[k] for k in ("m", "q", "omega", "r", "b")], -1)
    ends = [
        solve_ivp(rhs, (0, until), y, method="DOP853", rtol=rtol, atol=rtol).y[:, -1]
        for y in rows
    ]
    return np.array(ends)
