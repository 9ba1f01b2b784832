r"""The share of the + mode of one feature, by the reduced flow of its window.

The reduced flow moves one projection of the sample and what it adds to $\nu$. It is
followed backwards in time, where it contracts, for batches of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ..codegen.kernel import make_kernel, numba_module
from ..codegen.parameters import Solver
from ..codegen.quadrature import START, barycentric, chebyshev, trapezoid
from ..codegen.snapshot import SATURATED, Printed, PrintedPhase, printed_phase
from ..codegen.tiers import Loops
from ..minima.minimise import LEAST, minimise, minimise_in_parts
from ..minima.result import Minima
from ..ode.tableau import method_853

if TYPE_CHECKING:
    from ...theory.derive import Phase

WORTH = 2000
"""Rows that are worth to be compiled for: Python takes a tenth longer, on one core."""

FEWEST = 8
"""Steps of order 8 through the window at first; doubled until they are enough."""

DOUBLINGS = 6  # the window is crossed in at most 8 * 2^5 steps

MORE_POINTS = (161, 641)
"""Points in time at which a minimum is known where the share is not known well."""

FINE = 16 * START  # intervals of the rule over starts where the share is not known well
GOAL = 1e-8  # an error of a share that is small enough at any tolerance

ENDS = 1025
"""Largest number of end points from which trajectories are followed backwards."""


def known_share(
    phase: Phase | PrintedPhase, found: Minima, given: Mapping[str, Any], solver: Solver
) -> tuple[np.ndarray, np.ndarray]:
    """Return share and error bound as `sample_share`, better known where they need it.

    Where the minimum bends sharply in time, as for nearly balanced classes, it is
    followed again at more points, at last on pieces cut where it moves fast.
    """
    share, error, _ = sample_share(phase, found, given, solver)
    learned = printed_phase(phase).learned
    compiled = solver.backend != "scipy"
    for points in (MORE_POINTS[0], 0) if compiled else MORE_POINTS:
        rough = np.flatnonzero(error > max(10 * solver.tolerance, GOAL))
        if not rough.size:
            break
        wide = {k: np.broadcast_to(v, share.shape) for k, v in given.items()}
        part = {k: v[rough] for k, v in wide.items()}
        if points:
            again = minimise(
                learned, [1.0], part, backend=solver.backend, points=points
            )
        else:
            again = minimise_in_parts(learned, part, MORE_POINTS[0])
        loops = solver if points else replace(solver, backend="numba")
        intervals = 2 * START if points == MORE_POINTS[0] else FINE
        values, errors, _ = sample_share(phase, again, part, loops, intervals)
        better = errors < error[rough]
        share[rough[better]], error[rough[better]] = values[better], errors[better]
    return share, error


def sample_share(
    phase: Phase | PrintedPhase,
    found: Minima,
    given: Mapping[str, Any],
    solver: Solver,
    intervals: int = START,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return P(nu > 0) after a window, its error bound, and the separatrix Y(0).

    The reduced flow gives $\nu(1) \propto \nu(0) + F(Y(0))$ with $\nu(0) | Y(0) \sim
    N(Y/\Gamma, 1 - 1/\Gamma)$. With $y^*(a)$ the start at which $Y/\Gamma + F = a$,

    $$
    p^\kappa = \mathbb{E}_g\, \Phi\big(-y^*(g\sqrt{1 - 1/\Gamma})/\sqrt\Gamma\big) .
    $$

    $y^*$ is found backwards in time, where the flow contracts. For a Gamma of 1 it
    is the separatrix alone. `found` are the minima of the phase at the same parameters,
    `given`, each of shape () or (rows,); `intervals` are those of the rule over what
    Y(0) leaves open, but on JAX. All arrays have the shape (rows,), nan where the
    minimum was lost. Raises `ModelError` for a phase without a reduced flow.
    """
    flow = printed_phase(phase).projected
    if flow is None:
        raise ModelError(
            f"The share needs the reduced flow of `{phase.name}`, but the model has "
            "none (an autoencoder without bias, or tied). Follow the sampling flow."
        )
    order = [found.names.index(x) for x in flow.inputs]
    columns = [np.broadcast_to(given[p], len(found.pieces)) for p in flow.parameters]
    params = np.ascontiguousarray(np.stack(columns, axis=-1), dtype=float)
    gamma = gamma_of(flow, params)
    smooth, below = found.smooth[..., order], found.below[:, order]
    bias = flow.inputs.index("b")
    below[:, bias] = np.where(np.isinf(below[:, bias]), SATURATED, below[:, bias])
    rows = (smooth, below, found.edges, found.pieces, gamma, params)
    return _backwards(flow, rows, solver, intervals)


def gamma_of(flow: Printed, params: np.ndarray) -> np.ndarray:
    """Return the variance of Y(0) for rows of parameters, shape (rows,)."""
    kernel = make_kernel(flow, "numpy")
    zeros = [0.0] * len(flow.unknowns), [0.0] * len(flow.inputs)
    values, _ = kernel["observables"](0.0, *zeros, [*params.T], *kernel.rule)
    return np.ascontiguousarray(values[kernel.outputs("observables").index("Gamma")])


@lru_cache(maxsize=16)
def _shoot(flow: Printed) -> Any:
    """Return the function that follows a trajectory backwards."""
    from . import shoot_numba

    return numba_module(flow, (shoot_numba,), only=("rhs",))[1].shoot


@lru_cache(maxsize=16)
def _loops(states: int, inputs: int) -> Loops:
    """Return the loops around reduced flows of such sizes."""
    from . import averages_numba, backward_numba

    sizes = {"STATES": states, "INPUTS": inputs}
    return Loops((backward_numba,), "share_rows", sizes, WORTH, (averages_numba,))


@lru_cache(maxsize=4)
def _matrices(points: int) -> tuple[Any, ...]:
    """Interpolation from Chebyshev points to the stages, for each number of steps.

    From all points; from every fourth and every second; and where rows start.
    """
    c = method_853()[2]
    steps = [FEWEST * 2**k for k in range(DOUBLINGS)]
    at = [1 - 2 * ((np.arange(n)[:, None] + c) / n).ravel() for n in steps]
    starts = np.cumsum([0, *(x.size for x in at)])
    z = np.concatenate(at)
    full, quarter, half = (np.zeros((z.size, points)) for _ in range(3))
    for stride, matrix in ((1, full), (4, quarter), (2, half)):
        matrix[:, ::stride] = barycentric(z, chebyshev((points - 1) // stride + 1))
    return full, (quarter, half), starts


def _backwards(
    flow: Printed, rows: tuple[np.ndarray, ...], solver: Solver, intervals: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share, error bound and separatrix of the rows whose minimum is known."""
    smooth, below, _, pieces, *_, params = rows
    out = np.full((len(params), 3), np.nan)
    known = np.isfinite(smooth).all(axis=(2, 3)).sum(axis=1)
    good = np.isfinite(below).all(axis=-1) & (known == pieces)
    part = [np.ascontiguousarray(x[good]) for x in rows]
    tol = min(max(0.01 * solver.tolerance, 1e-13), 1e-10)
    if solver.backend == "scipy":
        from .backward_scipy import shares_scipy

        out[good] = shares_scipy(flow, part, tol, intervals)
    elif solver.backend == "jax":
        from .backward_jax import shares_jax

        out[good] = np.stack(shares_jax(flow, part), axis=-1)
    else:
        out[good] = _compiled(flow, part, tol, intervals)
    return out[:, 0], out[:, 1], out[:, 2]


def _compiled(
    flow: Printed, rows: list[np.ndarray], tol: float, intervals: int
) -> np.ndarray:
    """Run the compiled loops on threads; shape (rows, 3)."""
    rule = trapezoid(intervals)
    how = (
        _matrices(rows[0].shape[2]),
        method_853(),
        (np.array(rule.nodes), np.array(rule.weights)),
        chebyshev(ENDS),
        tol,
    )
    found = np.full((len(rows[-1]), 3), np.nan)
    loops = _loops(len(flow.unknowns), len(flow.inputs))

    def work(share_rows: Any, shoot: Any, first: int, last: int) -> None:
        part = tuple(x[first:last] for x in rows)
        share_rows(part, how, shoot[0], found[first:last])

    loops.through(len(found), (_shoot(flow),), work, LEAST, kind="SHOT")
    return found
