"""Explicit methods, compiled: rows in lanes of SIMD registers, chunks over threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from ...errors import ModelError
from ...files import code_digest
from ...theory.symbols.system import System
from ..codegen.cache import load_source, remembered
from ..codegen.kernel import driver_source, numba_source
from ..codegen.quadrature import LIMIT, START, error_bound, trapezoid
from ..codegen.tiers import Loops
from . import march, runge_kutta, taylor
from .constants import with_constants
from .problem import AVERAGES, Flow, Problem, chosen, has_averages
from .tableau import ROOM, TABLEAUX, steps_of
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


def order_of(rtol: float) -> int:
    """Return the order of the Taylor method at a relative tolerance."""
    return next(order for tol, order in ORDERS.items() if rtol >= tol)


WORTH = 100
"""So many lanes full of rows, in all, are worth it to compile a method's loops: Python
takes 10 to 100 ms for each."""


class Method(NamedTuple):
    """A Runge-Kutta pair, whose loops call the right-hand side of a flow.

    Or Taylor's method of an `order`: its loops call the coefficients of a flow.
    """

    name: str
    order: int = 0

    def workspace(self, flow: System, lanes: int, spare: int) -> Any:
        """Return stages, states to take them at, given functions, a polynomial.

        Or the coefficients, and behind them what `jets` hands on.
        """
        states, inputs = len(flow.unknowns), len(flow.inputs)
        if self.order:
            return np.zeros(((self.order + 1) * states + spare) * lanes)
        stages, terms = ROOM[self.name]
        shapes = (stages, states), (states,), (inputs,), (terms, states)
        return tuple(np.zeros((*shape, lanes)) for shape in shapes)


def method_of(system: System, method: str | None, rtol: float) -> Method:
    """Return a method by its name: Taylor's has an order."""
    smooth = has_jets(system)
    method = chosen(method, METHODS, "taylor" if smooth else "dop853")
    if method != "taylor":
        return Method(method)
    if not smooth:
        raise ModelError(
            "The Taylor method takes flows of smooth functions, without averages and "
            f"given functions, but `{system.name}` is not one. "
            'Pass method="dop853".'
        )
    order = order_of(rtol)
    return Method(f"taylor{order}", order)


@lru_cache(maxsize=64)
def loops_of(method: Method, states: int, inputs: int, lanes: int) -> Loops:
    """Return the loops of a method around all flows of such sizes."""
    sizes = {"STATES": states, "INPUTS": inputs, "ORDER": method.order}
    own = (taylor,) if method.order else (steps_of(method.name), runge_kutta)
    return Loops((*own, march), "march", sizes, WORTH, lanes=lanes)


@lru_cache(maxsize=64)
def printed_of(flow: System, order: int, lanes: int) -> tuple[Any, str, int]:
    """Return what loops call of a flow with constants, and the kind of its arguments.

    That is its Taylor coefficients up to an order, with the room that they need
    besides their own, or its right-hand side if the order is 0.
    """

    def source() -> str:
        if order == 0:
            return numba_source(flow, (), lanes, ("rhs",))
        text = print_jets(flow, order)
        return driver_source((text,), {"STATES": len(flow.unknowns)}, lanes)

    name = "".join(c if c.isalnum() else "_" for c in flow.name)
    module = load_source(remembered(_key(flow, order, lanes), source), name)
    if order == 0:
        return module.rhs, "POINTS", 0
    return module.jets, "JETS", module.SPARE


def _key(system: System, order: int, lanes: int) -> str:
    """Return all that the printed functions of a flow depend on, as text."""
    code = code_digest("numerics.codegen", "numerics.ode")
    symbols = (system.time, *system.unknowns, *system.parameters, *system.inputs)
    expressions = [sp.srepr(x) for x in symbols if x is not None]
    expressions += [sp.srepr(eq.rhs) for eq in system.equations]
    parts = [system.name, str(order), str(lanes), _versions(), *expressions, code]
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
    if method is not None or not first.order or not lost.size:
        return flow
    part = replace(problem, y0=problem.y0[lost], params=problem.params[lost])
    again = _marched(part, Method("dop853"), flow.info["lanes"])
    for name in ("y", "status", "n_steps", "n_rejected", "reached"):
        getattr(flow, name)[lost] = getattr(again, name)
    flow.info["by dop853"] = lost.size
    return flow


def _marched(problem: Problem, method: Method, lanes: int) -> Flow:
    batch = problem.y0.shape[0]
    shape = (batch, problem.times.size, problem.y0.shape[1])
    y, reached, worst = np.empty(shape), np.empty(batch), np.empty(batch)
    counts = {k: np.empty(batch, np.int64) for k in ("status", "steps", "rejected")}
    rows = np.arange(batch)
    intervals = START
    while rows.size:
        results = [y, *counts.values(), reached, worst]
        _march(problem, method, lanes, rows, intervals, results)
        if not has_averages(problem.system):
            break
        rows = rows[error_bound(worst[rows]) > max(AVERAGES * problem.rtol, 2e-15)]
        if 2 * intervals > LIMIT:
            counts["status"][rows] = np.where(counts["status"][rows], 0, 4)
            break
        intervals *= 2
    about = {"backend": "numba", "method": method.name, "lanes": lanes}
    return problem.solved([y, *counts.values(), reached], worst, **about)


def _march(
    problem: Problem,
    method: Method,
    lanes: int,
    rows: np.ndarray,
    intervals: int,
    results: list[np.ndarray],
) -> None:
    """Run the loops over `rows`, in place when they are all of them.

    `results` are states, status, steps, rejections, times reached and worst averages.
    """
    whole = rows.size == len(results[0])
    pick = slice(None) if whole else rows
    y0, given = problem.y0[pick], problem.params[pick]
    flow, constants = with_constants(problem.system)
    params = np.empty((len(flow.parameters), rows.size))
    held = problem.inputs.of_rows(pick)
    part = results if whole else [np.ascontiguousarray(a[pick]) for a in results]
    safety = SAFETY.get(method.name, 1.0)
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
    )
    degree = held.coefficients.shape[3]
    called, kind, spare = printed_of(flow, method.order, lanes)

    def work(loop: Callable[..., None], place: Any, first: int, last: int) -> None:
        params[:, first:last] = constants(given[first:last])
        space = _scratch(flow, degree, lanes), method.workspace(flow, lanes, spare)
        loop(first, last, *arguments, place[0], *space)

    loops = loops_of(method, len(flow.unknowns), len(flow.inputs), lanes)
    least = ROUNDS * min(lanes, LANES[2])
    loops.through(rows.size, (called,), work, least, kind)
    if not whole:
        for full, piece in zip(results, part, strict=True):
            full[rows] = piece


def _scratch(flow: System, degree: int, lanes: int) -> tuple[Any, ...]:
    """Return the arrays of a march; `degree` is that of the given functions."""

    def room(*shape: int) -> np.ndarray:
        return np.zeros((*shape, lanes))

    states, record = len(flow.unknowns), np.zeros((march.RECORD, lanes), np.int64)
    pieces = room(), room(), room(len(flow.inputs), degree)
    rows = room(states), room(states), room(len(flow.parameters))
    return room(march.CLOCK), record, *rows, pieces
