r"""`integrate`: the flows of one system for a batch of rows.

Every row has its own steps and its own status; a row's numbers do not depend on
the other rows, nor on how rows are split among threads, chunks or machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ...errors import ModelError, ShapeError, SolveError
from ...theory.symbols.system import System
from ..codegen.parameters import BACKENDS, check_choice
from .inputs import Inputs
from .problem import STATUS, Flow, Problem, StepControl, checked
from .singular_end import regular_end

Backend = Literal["numba", "jax", "scipy"]


def integrate(
    system: System,
    *,
    init: Mapping[str, Any],
    params: Mapping[str, Any],
    t: Any,
    rtol: float,
    atol: float,
    inputs: Inputs | None = None,
    backend: Backend = "numba",
    method: str | None = None,
    on_failure: Literal["raise", "keep"] = "raise",
    max_steps: int = 20_000,
    max_step: float = np.inf,
    singular_end: bool = False,
) -> Flow:
    r"""Integrate the flow $\dot y = f(s, y; \theta)$ of `system` for a batch of rows.

    Parameters
    ----------
    system
        Of kind ``flow``.
    init, params
        Initial state and parameters by name, each of shape () or (batch,). There
        are no defaults.
    t
        Times to report, shape ``(time,)``, increasing; the first is where `init`
        holds.
    rtol, atol
        Tolerances, required. The numba solver keeps its error per step below
        its `SAFETY` times them; the error of the result is then within 100 times them
        for flows that do not amplify errors strongly.
    inputs
        The given functions of time, for systems that have some.
    backend
        ``numba`` (compiled, threads), ``jax`` (diffrax; differentiable through
        `jax_solver`) or ``scipy`` (one row after another, the reference).
    method
        numba: ``taylor`` (default where all derivatives of the right-hand side are
        known: no averages, given functions, kinks), ``dop853`` (default elsewhere) or
        ``dopri5``; scipy: also ``radau``, implicit,
        for stiff flows; jax: ``dopri8`` (default), ``dopri5`` or ``kvaerno5``
        (implicit).
    on_failure
        ``raise`` a `SolveError` that carries the flow, or ``keep`` rows that fail
        with their status.
    max_steps, max_step
        Limits to the number of trial steps of a row and to their length.
    singular_end
        The right-hand side diverges at time 1, integrably, as $\gamma(\tau)$ does:
        integrate in $z = 1 - \sqrt{1 - \tau}$ (`regular.regular_end`), to the end.

    Returns
    -------
    Flow
        With `y` of shape ``(batch, time, state)``.

    Raises
    ------
    ModelError
        Unknown names, backend or method, a system that is no flow.
    ShapeError
        An array of the wrong shape, times that do not increase, values that are
        not finite (with their row).
    SolveError
        Rows that stopped early, with ``on_failure="raise"``.
    """
    given = np.asarray(t, float)
    if singular_end:
        if np.any(given > 1):
            raise ShapeError(
                "With `singular_end` the times must end at 1 or before, but `t` goes "
                f"to {given.max():g}. Rescale the time."
            )
        t, system = 1 - np.sqrt(1 - given), regular_end(system)
    control = StepControl(rtol, atol, max_steps, max_step)
    problem = checked(system, init, params, t, inputs, control)
    solve = _solver(backend)
    if on_failure not in ("raise", "keep"):
        raise ModelError(
            f'`on_failure` must be "raise" or "keep", but is {on_failure!r}. '
            "Choose one."
        )
    flow = solve(problem, method)
    lost = np.flatnonzero(flow.status)
    late = flow.t[None, :] > flow.reached[lost, None]
    flow.y[lost] = np.where(late[:, :, None], np.nan, flow.y[lost])
    if singular_end:
        flow = replace(flow, t=given, reached=1 - (1 - flow.reached) ** 2)
    if on_failure == "raise" and np.any(flow.status):
        raise SolveError(_failure(flow), flow)
    return flow


def _failure(flow: Flow) -> str:
    bad = np.flatnonzero(flow.status)
    first = bad[np.argmin(flow.reached[bad])]
    rows = ", ".join(map(str, bad[:3])) + (", ..." if bad.size > 3 else "")
    hint = (
        'The flow may be stiff there: try `backend="scipy", method="radau"`, or p'
        if flow.status[first] in (1, 2)
        else "P"
    )
    return (
        f"{bad.size} of {flow.status.size} rows stopped before t = {flow.t[-1]:g} "
        f"(rows {rows}; first at t = {flow.reached[first]:.4g}): "
        f"{STATUS[flow.status[first]]}. {hint}"
        'ass `on_failure="keep"` and read `status`.'
    )


def _solver(backend: str) -> Callable[[Problem, str | None], Flow]:
    check_choice("backend", backend, BACKENDS)
    if backend == "numba":
        from .lanes import solve_lanes

        return solve_lanes
    if backend == "jax":
        from .with_diffrax import solve_batch

        return solve_batch
    from .with_scipy import solve_each

    return solve_each
