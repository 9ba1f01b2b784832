"""Explicit methods, compiled: rows in lanes of SIMD registers, chunks over threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from types import ModuleType

import numpy as np
import sympy as sp

from ...errors import ModelError
from ...files import code_digest
from ...theory.symbols.system import System
from ..codegen.cache import load_source, remembered
from ..codegen.kernel import driver_source, numba_source, text_of
from ..codegen.quadrature import LIMIT, START, error_bound, trapezoid
from ..codegen.threads import share_out
from . import march, runge_kutta as rungekutta, taylor
from .constants import constants_of, with_constants
from .problem import AVERAGES, Flow, Problem, chosen, has_averages
from .tableau import TABLEAUX, print_steps
from .taylor_series import has_jets, print_jets

METHODS = ("taylor", *TABLEAUX)

SAFETY = {"dop853": 1.0, "dopri5": 0.3}
"""Steps are taken at this share of the tolerances asked for. Over 20,000 rows of the
sampling flow (kappa from 0.5 to 5) the largest global error is then 12 to 16 times
rtol (dop853), or 35 to 43 times (dopri5), for rtol from 1e-6 to 1e-10: below the 100
times that are promised."""

LANES = {1: 128, 2: 64, 4: 32}
"""Rows side by side in flows of so many states at most, 16 in larger ones: many, for
every loop over lanes has a price, and few enough for the first-level cache. (A row's
numbers do not depend on it. On AVX-512, one state: 64 lanes reach .80 of the C floor
and 128 reach .85.)"""

ORDERS = {1e-6: 8, 1e-9: 12, 1e-11: 16, 0.0: 20}
"""Orders of the Taylor method down to a relative tolerance."""

ROUNDS = 32
"""So many rows in every lane (of 64 at most) are a piece of their own for a thread."""


def method_of(system: System, method: str | None, rtol: float) -> str:
    """Return a method as the text of a stepper depends on it: Taylor's has an order."""
    smooth = has_jets(system)
    method = chosen(method, METHODS, "taylor" if smooth else "dop853")
    if method != "taylor":
        return method
    if not smooth:
        raise ModelError(
            "The Taylor method takes flows of smooth functions, without averages and "
            f"given functions, but `{system.name}` is not one. "
            'Pass method="dop853".'
        )
    return f"taylor{order_of(rtol)}"


def order_of(rtol: float) -> int:
    """Return the order of the Taylor method at a relative tolerance."""
    return next(order for tol, order in ORDERS.items() if rtol >= tol)


@lru_cache(maxsize=64)
def stepper(system: System, method: str, lanes: int, many: bool = False) -> ModuleType:
    """Return the generated module of a method and its driver.

    A Runge-Kutta method is one for all systems of so many states and calls the
    right-hand side. For `many` rows, and Taylor's, the system is compiled with it.
    """
    if method in TABLEAUX and not many:
        return _runge_kutta(method, lanes, len(system.unknowns), len(system.inputs))
    flow = with_constants(system)[0]

    def source() -> str:
        if method in TABLEAUX:
            texts = (print_steps(TABLEAUX[method]()), text_of(rungekutta))
            first, second = (text.replace(CALLED, "rhs(") for text in texts)
        else:
            first = print_jets(flow, int(method.removeprefix("taylor")))
            second = text_of(taylor)
        return numba_source(flow, (first, second, march), lanes, ("rhs",))

    return _loaded(flow, _key(flow, method, lanes), source)


CALLED = "call_lanes(slopes, "
"""How a method's text calls a right-hand side that is compiled by itself."""

MANY = 50_000
"""Rows in lanes from which on calls, a sixth of the time of a short right-hand side,
cost more than to compile it together with the method. The numbers are the same."""


@lru_cache(maxsize=64)
def _runge_kutta(method: str, lanes: int, states: int, inputs: int) -> ModuleType:
    """Return the module of a method, which is one for all systems of such sizes."""
    code = code_digest("numerics.codegen", "numerics.ode")

    def source() -> str:
        steps = (print_steps(TABLEAUX[method]()), rungekutta, march)
        return driver_source(steps, {"STATES": states, "INPUTS": inputs}, lanes)

    key = "\n".join([method, str((lanes, states, inputs)), _versions(), code])
    return load_source(remembered(key, source), method)


@lru_cache(maxsize=64)
def slopes_of(system: System, method: str, lanes: int) -> int:
    """Return where the right-hand side's machine code lies, if the method calls it."""
    if method not in TABLEAUX:
        return 0
    from ..codegen.parts import POINTS, address

    flow = with_constants(system)[0]
    key = _key(flow, "rhs", lanes)
    module = _loaded(flow, key, lambda: numba_source(flow, (), lanes, ("rhs",)))
    return address(module.rhs, POINTS)


def _loaded(flow: System, key: str, source: Callable[[], str]) -> ModuleType:
    name = "".join(c if c.isalnum() else "_" for c in flow.name)
    return load_source(remembered(key, source), name)


def _key(system: System, method: str, lanes: int) -> str:
    """Return all that a generated stepper depends on, as text."""
    code = code_digest("numerics.codegen", "numerics.ode")
    symbols = (system.time, *system.unknowns, *system.parameters, *system.inputs)
    expressions = [sp.srepr(x) for x in symbols if x is not None]
    expressions += [sp.srepr(eq.rhs) for eq in system.equations]
    parts = [system.name, method, str(lanes), _versions(), *expressions, code]
    return "\n".join(parts)


def _versions() -> str:
    from importlib.metadata import version

    return "\n".join(version(package) for package in ("sympy", "scipy"))


def lanes_of(system: System) -> int:
    """Return how many rows of a flow are marched side by side."""
    if has_averages(system):
        return 1
    states = len(system.unknowns)
    return next((lanes for most, lanes in LANES.items() if states <= most), 16)


def solve_lanes(problem: Problem, method: str | None, lanes: int | None = None) -> Flow:
    """March rows in lanes of SIMD registers and chunks over threads.

    Systems with averages vectorise over quadrature nodes instead of over rows. Where
    no method is asked for, rows that Taylor's cannot take (a derivative of the right
    side is infinite at the start, say) are taken by DOP853; there are no given
    functions then.
    """
    first = method_of(problem.system, method, problem.rtol)
    flow = _marched(problem, first, lanes or lanes_of(problem.system))
    lost = np.flatnonzero((flow.status == 1) | (flow.status == 3))
    if method is not None or first == "dop853" or not lost.size:
        return flow
    part = replace(problem, y0=problem.y0[lost], params=problem.params[lost])
    again = _marched(part, "dop853", flow.info["lanes"])
    for name in ("y", "status", "n_steps", "n_rejected", "reached"):
        getattr(flow, name)[lost] = getattr(again, name)
    flow.info["by dop853"] = lost.size
    return flow


def _marched(problem: Problem, method: str, lanes: int) -> Flow:
    batch = problem.y0.shape[0]
    shape = (batch, problem.times.size, problem.y0.shape[1])
    y, reached, worst = np.empty(shape), np.empty(batch), np.empty(batch)
    counts = {k: np.empty(batch, np.int64) for k in ("status", "steps", "rejected")}
    rows = np.arange(batch)
    intervals = START
    while rows.size:
        safety = SAFETY.get(method, 1.0)
        results = [y, *counts.values(), reached, worst]
        _march(problem, method, lanes, rows, intervals, safety, results)
        if not has_averages(problem.system):
            break
        rows = rows[error_bound(worst[rows]) > max(AVERAGES * problem.rtol, 2e-15)]
        if 2 * intervals > LIMIT:
            counts["status"][rows] = np.where(counts["status"][rows], 0, 4)
            break
        intervals *= 2
    about = {"backend": "numba", "method": method, "lanes": lanes}
    return problem.solved([y, *counts.values(), reached], worst, **about)


def _march(
    problem: Problem,
    method: str,
    lanes: int,
    rows: np.ndarray,
    intervals: int,
    safety: float,
    results: list[np.ndarray],
) -> None:
    """Run the driver over `rows`, in place when they are all of them.

    `results` are states, status, steps, rejections, times reached and worst averages.
    """
    many = lanes > 1 and rows.size >= MANY
    module = stepper(problem.system, method, lanes, many)
    whole = rows.size == len(results[0])
    pick = slice(None) if whole else rows
    y0, given = problem.y0[pick], problem.params[pick]
    constants = constants_of(problem.system)
    params = np.empty((len(with_constants(problem.system)[0].parameters), rows.size))
    held = problem.inputs.of_rows(pick)
    part = results if whole else [np.ascontiguousarray(a[pick]) for a in results]
    arguments = (
        problem.times,
        y0,
        params,
        held.breaks,
        held.coefficients,
        *map(np.array, trapezoid(intervals)),
        safety * problem.rtol,
        safety * problem.atol,
        problem.max_step,
        problem.max_steps,
        *part,
        slopes_of(problem.system, method, lanes),
    )
    degree = held.coefficients.shape[3]

    def work(first: int, last: int) -> None:
        params[:, first:last] = constants(given[first:last])
        space = module.scratch(degree, len(params)), module.workspace()
        module.march(first, last, *arguments, *space)

    share_out(rows.size, work, ROUNDS * min(module.LANES, LANES[2]))
    if not whole:
        for full, piece in zip(results, part, strict=True):
            full[rows] = piece
