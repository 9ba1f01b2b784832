"""Flows on JAX through diffrax: on a GPU where there is one, and differentiable.

`jax_solver` gives a function of initial state and parameters that `jax.grad`,
`jax.vmap` and `jax.jit` take; `integrate(..., backend="jax")` runs it over a batch,
split over the devices that JAX has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ...theory.symbols.system import System
from ..codegen.double import in_double
from ..codegen.kernel import make_kernel, ordered
from ..codegen.quadrature import LIMIT, START, error_bound, trapezoid
from .inputs import Inputs
from .problem import AVERAGES, Flow, Problem, chosen, has_averages

LOCKSTEP = 256  # rows that a CPU integrates side by side; a GPU takes them all

METHODS = {"dopri8": "Dopri8", "dopri5": "Dopri5", "kvaerno5": "Kvaerno5"}


def jax_solver(
    system: System,
    *,
    t: Any,
    rtol: float,
    atol: float,
    inputs: Inputs | None = None,
    method: str = "dopri8",
    intervals: int = START,
    max_steps: int = 4096,
) -> Callable[[dict, dict], dict]:
    r"""Return ``solve(init, params) -> {state: array of shape (time,)}``.

    What is traced is the caller's, so JAX is switched to 64 bits for the process; all
    else in dilaton does that for the length of its own computation.

    Parameters
    ----------
    system
        A flow.
    t
        Times to report, increasing; `init` holds at the first.
    inputs
        Given functions of time, one row of them.
    intervals
        Of the quadrature rule, for systems with Gaussian averages; the rule is fixed,
        `dilaton.numerics.ode.integrate` raises it where needed.

    Returns
    -------
    Callable
        A pure function of two dictionaries by name, with scalars as values. Reverse
        and forward differentiation see every parameter and initial value.

    Examples
    --------
    ``jax.grad(lambda kappa: solve({"nu": 0.1}, {"p": 0.8, "kappa": kappa})["nu"][-1])``
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    core = _row_solver(system, method, float(rtol), float(atol), max_steps)
    states = tuple(map(str, system.unknowns))
    names = tuple(map(str, system.parameters))
    times = np.asarray(t, float)
    wanted = tuple(map(str, system.inputs))
    breaks, coefficients = np.array([times[0], times[-1]]), np.zeros((0, 1, 1))
    if wanted and inputs is not None:
        held = inputs.checked(wanted, 1, (float(times[0]), float(times[-1])))
        breaks, coefficients = held.breaks[0], held.coefficients[0]

    def solve(init: dict, params: dict) -> dict:
        import jax.numpy as jnp

        y0 = jnp.stack([jnp.asarray(v, float) for v in _listed(init, states, "init")])
        theta = [jnp.asarray(v, float) for v in _listed(params, names, "params")]
        packed = jnp.stack(theta) if theta else jnp.zeros(0)
        y = core(y0, packed, breaks, coefficients, times, trapezoid(intervals))[0]
        return {name: y[:, i] for i, name in enumerate(states)}

    return solve


def _listed(values: dict, names: tuple[str, ...], what: str) -> list:
    """Return values in order; tracers pass, so only the names are checked."""
    ordered(dict.fromkeys(values, 0.0), names, what)
    return [values[n] for n in names]


def _inputs_at(at: Any, breaks: Any, coefficients: Any) -> Any:
    """Return the given functions of one row at a time, by Clenshaw's recurrence."""
    import jax.numpy as jnp

    piece = jnp.searchsorted(breaks[1:-1], at, side="right")
    left, right = breaks[piece], breaks[piece + 1]
    width = jnp.where(right > left, right - left, 1.0)
    x = (2 * at - left - right) / width
    c = coefficients[:, piece]
    one = two = jnp.zeros(c.shape[0])
    for j in range(c.shape[1] - 1, 0, -1):
        one, two = 2 * x * one - two + c[:, j], one
    return x * one - two + c[:, 0]


def _worst_average(rhs: Any, times: Any, y: Any, args: tuple) -> Any:
    """Return the largest doubt about the averages at the times of a trajectory."""
    import jax
    import jax.numpy as jnp

    params, breaks, coefficients, nodes, weights = args

    def off(at: Any, state: Any) -> Any:
        inputs = _inputs_at(at, breaks, coefficients)
        return jnp.max(jnp.asarray(rhs(at, state, inputs, params, nodes, weights)[1]))

    return jnp.max(jax.vmap(off)(times, y))


@lru_cache(maxsize=32)
def _row_solver(system: System, method: str, rtol: float, atol: float, max_steps: int):
    """Return the solver of one row: state, status, steps, rejections, worst average."""
    import diffrax
    import jax.numpy as jnp

    kernel = make_kernel(system, "jax")
    rhs = kernel["rhs"]
    averages = has_averages(system)

    def field(at, y, args):
        params, breaks, coefficients, nodes, weights = args
        inputs = _inputs_at(at, breaks, coefficients)
        return tuple(rhs(at, y, inputs, params, nodes, weights)[0])

    def solve(y0, params, breaks, coefficients, times, rule):
        breaks, coefficients = jnp.asarray(breaks), jnp.asarray(coefficients)
        times = jnp.asarray(times)
        args = (params, breaks, coefficients, *rule)
        ends = times.shape[0] == 2  # no dense output: some four times as fast
        jumps = breaks[1:-1] if breaks.shape[0] > 2 else None
        controller = diffrax.PIDController(rtol=rtol, atol=atol)
        if jumps is not None:
            controller = diffrax.ClipStepSizeController(controller, jump_ts=jumps)
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            getattr(diffrax, METHODS[method])(),
            t0=times[0],
            t1=times[-1],
            dt0=None,
            y0=tuple(y0),  # one number each: sums over stages of vectors are slow
            args=args,
            saveat=diffrax.SaveAt(t1=True) if ends else diffrax.SaveAt(ts=times),
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )
        ok = found.result == diffrax.RESULTS.successful
        states = jnp.stack(found.ys, axis=-1)
        finite = jnp.all(jnp.isfinite(states[-1]))
        status = jnp.where(ok & finite, 0, jnp.where(ok, 3, 2))
        stats = found.stats
        ys = jnp.concatenate([y0[None], states]) if ends else states
        worst = _worst_average(rhs, times, ys, args) if averages else jnp.zeros(())
        return (
            ys,
            status,
            stats["num_accepted_steps"],
            stats["num_rejected_steps"],
            worst,
        )

    return solve


@lru_cache(maxsize=32)
def _batch_solver(
    system: System, method: str, rtol: float, atol: float, max_steps: int, devices: int
):
    """Return the compiled solver of a batch; with several devices, one part each."""
    import jax
    from jax.sharding import Mesh, PartitionSpec

    solve = _row_solver(system, method, rtol, atol, max_steps)
    in_axes = (0, 0, 0, 0, None, None)
    batched = jax.vmap(solve, in_axes=in_axes)
    lockstep = LOCKSTEP if jax.default_backend() == "cpu" else 10**9

    def chunked(*arguments):
        """Let few rows wait for each other: a chunk ends with its slowest row."""
        rows, common = arguments[:4], arguments[4:]
        count = rows[0].shape[0]
        if count <= lockstep:
            return batched(*arguments)
        return jax.lax.map(lambda row: solve(*row, *common), rows, batch_size=lockstep)

    if devices == 1:
        return jax.jit(chunked)
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    rows, whole = PartitionSpec("rows"), PartitionSpec()
    return jax.jit(
        jax.shard_map(
            chunked,
            mesh=mesh,
            in_specs=(rows,) * 4 + (whole,) * 2,
            out_specs=rows,
            check_vma=False,
        )
    )


@in_double
def solve_batch(problem: Problem, method: str | None) -> Flow:
    """Integrate a batch on every device; raise the quadrature rule where needed."""
    method = chosen(method, METHODS, "dopri8")
    import jax

    devices = jax.device_count()
    run = _batch_solver(
        problem.system,
        method,
        problem.rtol,
        problem.atol,
        min(problem.max_steps, 4096),
        devices,
    )
    batch = problem.y0.shape[0]
    held = problem.inputs
    arrays = (problem.y0, problem.params, held.breaks, held.coefficients)
    wanted = np.minimum(np.arange(batch + -batch % devices), batch - 1)
    padded = [a[np.minimum(wanted, a.shape[0] - 1)] for a in arrays]
    tol, intervals = max(AVERAGES * problem.rtol, 2e-15), START
    while True:
        out = run(*padded, problem.times, trapezoid(intervals))
        y, status, steps, rejected, worst = (np.array(a[:batch]) for a in out)
        bound = error_bound(np.where(np.isfinite(worst), worst, 0.0))
        if bound.max() <= tol or 2 * intervals > LIMIT or not worst.any():
            break
        intervals *= 2
    status = np.where((bound > tol) & (status == 0) & (worst > 0), 4, status)
    ended = np.isfinite(y).all(axis=2)
    last = problem.times[np.maximum(ended.sum(axis=1) - 1, 0)]
    reached = np.where(status == 0, problem.times[-1], last)
    rows = [y, status, steps, rejected, reached]
    off = np.where(np.isfinite(worst), worst, 0.0)
    return problem.solved(rows, off, backend="jax", method=method, devices=devices)
