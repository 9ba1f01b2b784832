"""The share of the + mode by following a sampling flow from sampled starts.

This is what is left where no law in closed form and no reduced flow of one projection
is known. The starts are scrambled Sobol points, so that the error is a standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ...errors import SolveError
from ..codegen.kernel import make_kernel
from ..codegen.parameters import Solver, closed_values, params_of
from ..codegen.snapshot import SATURATED, Printed, PrintedPhase
from ..minima.minimise import minimise
from ..minima.result import alone
from ..modes.normal_averages import as_normals, scrambled
from ..ode.inputs import Inputs, no_inputs

POINTS, SCRAMBLES = 1024, 8  # points and scramblings of the starts

LOOSEST = 1e-7
"""Tolerance beyond which a flow of sampled starts is not followed more closely."""

BEFORE = 1 - 1e-4
"""Where the flow stops in a window whose noise vanishes: the signs are decided."""


def followed_shares(
    phase: PrintedPhase, point: Mapping[str, float], solver: Solver
) -> list[tuple[float, float]]:
    """P(nu > 0) of each feature and its standard error, from the flow itself."""
    flow = phase.sampling
    assert flow is not None  # phases without a sampling flow have no share
    assert phase.levels is not None  # every window has them
    first = closed_values(phase.levels, np.zeros(1), point)["alpha"][0]
    starts = first * normals(len(flow.unknowns), POINTS)
    inputs = learned_inputs(phase, point, solver.backend) if flow.inputs else None
    span, loose = (0.0, BEFORE if phase.vanishes else 1.0), loosened(solver, LOOSEST)
    ends = carried_starts(flow, starts, inputs, point, span, loose)
    return [share_of(ends[:, j] > 0) for j in range(len(phase.features))]


def loosened(solver: Solver, least: float) -> Solver:
    """Return the solver with tolerances of `least` or more."""
    return replace(solver, rtol=max(solver.rtol, least), atol=max(solver.atol, least))


def normals(width: int, points: int) -> np.ndarray:
    """Return scrambled Sobol points as normal variables, (points, width)."""
    units = [scrambled(points, width, seed) for seed in range(SCRAMBLES)]
    return as_normals(np.concatenate(units))


def share_of(plus: np.ndarray) -> tuple[float, float]:
    """Return the mean over all points and its standard error over scramblings."""
    means = plus.reshape(SCRAMBLES, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / SCRAMBLES**0.5)


def carried_starts(
    flow: Printed,
    starts: np.ndarray,
    inputs: Inputs | None,
    point: Mapping[str, float],
    span: tuple[float, float],
    solver: Solver,
) -> np.ndarray:
    """Follow a flow from `starts`, (points, states), over a span of time to its end.

    Raises `SolveError` when the flow stops before its end, or its slopes are not finite
    there.
    """
    params = params_of(flow, point)
    if solver.backend != "scipy":
        from ..ode.integrate import integrate

        found = integrate(
            flow.make(),
            init=dict(zip(flow.unknowns, starts.T, strict=True)),
            params=params,
            t=list(span),
            rtol=solver.rtol,
            atol=solver.atol,
            inputs=inputs,
            backend=solver.backend,  # type: ignore[arg-type]
        )
        return found.y[:, -1]
    # by SciPy all starts take the same steps, piece by piece
    kernel, inputs = make_kernel(flow, "numpy"), inputs or no_inputs(span)
    given = [params[name] for name in kernel.parameters]
    x, shape = starts.T.ravel(), starts.T.shape
    for i, (low, high) in enumerate(pairwise(np.clip(inputs.breaks[0], *span))):
        if high <= low:
            continue
        ends, sums = inputs.breaks[:, i : i + 2], inputs.coefficients[:, :, [i]]
        part = Inputs(inputs.names, ends, sums)

        def rates(s: float, y: np.ndarray, piece=part) -> np.ndarray:
            state, known = list(y.reshape(shape)), piece(s)
            seen = [known[name][0, 0] for name in kernel.inputs]
            return kernel["rhs"](s, state, seen, given, *kernel.rule)[0].ravel()

        x = _carried(rates, (low, high), x, solver)
    return x.reshape(shape).T


def _carried(
    rates: Callable[[float, np.ndarray], np.ndarray],
    span: tuple[float, float],
    x: np.ndarray,
    solver: Solver,
) -> np.ndarray:
    """Return where SciPy carries `x`; it would never return from nan as a slope."""
    from scipy.integrate import solve_ivp

    reached, why = span[0], "Its slopes are not finite."
    if np.isfinite(rates(span[0], x)).all():
        tight = {"rtol": solver.rtol, "atol": solver.atol}
        found = solve_ivp(rates, span, x, method="DOP853", **tight)
        if found.success:
            return found.y[:, -1]
        reached, why = found.t[-1], found.message
    raise SolveError(
        f"The sampling flow must be followed to s = {span[1]:g}, but stopped at s = "
        f"{reached:.4g}: {why} Change the ridges slightly, or report the parameters."
    )


def learned_inputs(
    phase: PrintedPhase, point: Mapping[str, float], backend: str = "numba"
) -> Inputs:
    """Return the learned overlaps as functions of `s`, on pieces refined towards 0."""
    assert phase.sampling is not None  # its inputs are asked for
    names, params = phase.sampling.inputs, params_of(phase.learned, point)

    def functions(times: np.ndarray) -> dict[str, np.ndarray]:
        found = alone(minimise(phase.learned, times[0], params, backend=backend))
        return {x: np.clip(found[x], -SATURATED, SATURATED) for x in names}

    last = alone(minimise(phase.learned, [1.0], params, backend=backend))
    edges, parts = last.edges[0, : last.pieces[0] + 1], np.array([0.0, 1.0])
    for low, high in zip(edges[1:], edges, strict=False):
        near = low + (high - low) * np.array([0, 1e-3, 1e-2, 0.1, 0.4, 1.0])
        parts = np.append(parts, near)
    return Inputs.of(functions, np.unique(parts))
