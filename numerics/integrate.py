r"""`integrate`: the flows of one system for a batch of rows.

Every row has its own steps and its own status; a row's numbers do not depend on
the other rows, nor on how rows are split among threads, chunks or machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import sympy as sp

from ..errors import ModelError, ShapeError, SolveError, did_you_mean
from ..theory.gaussian import Average
from ..theory.system import System
from . import march, rungekutta, taylor
from .cache import load_source, remembered
from .constants import constants_of, with_constants
from .inputs import Inputs, no_inputs
from .jets import has_jets, print_jets
from .kernel import numba_source, ordered
from .points import check_tolerances
from .quadrature import LIMIT, START, error_bound, trapezoid
from .regular import regular_end, to_regular
from .tableau import TABLEAUX, print_steps
from .threads import share_out

Backend = Literal["numba", "jax", "scipy"]

STATUS = (
    "ok",
    "the step fell below 1e-14 of the interval",
    "the step count reached `max_steps`",
    "the state or its derivative is not finite",
    "the averages are not known within the tolerance",
)
"""What the numbers in `Flow.status` mean."""

SAFETY = {"dop853": 1.0, "dopri5": 0.3}
"""Steps are taken at this share of the tolerances asked for. Over 20,000 rows of the
sampling flow (kappa from 0.5 to 5) the largest global error is then 12 to 16 times
rtol (dop853), or 35 to 43 times (dopri5), for rtol from 1e-6 to 1e-10: below the 100
times that are promised."""

LANES = {2: 64, 4: 32}
"""Rows side by side in flows of so many states at most, 16 in larger ones: many, for
every loop over lanes has a price, and few enough for the first-level cache."""

ORDERS = {1e-6: 8, 1e-9: 12, 1e-11: 16, 0.0: 20}
"""Orders of the Taylor method down to a relative tolerance."""

ROUNDS = 32
"""So many rows in every lane are worth a piece of their own for a thread."""

AVERAGES = 0.01
"""The averages in a right-hand side are known to this share of `rtol`."""


@dataclass(frozen=True)
class Flow:
    """What `integrate` returns.

    Attributes
    ----------
    names
        The states, in the order of the last axis of `y`.
    t
        Times, shape ``(time,)``.
    y
        States, shape ``(batch, time, state)``; NaN from where a row stopped.
    status
        0 or the number of a message in `STATUS`, shape ``(batch,)``.
    n_steps, n_rejected
        Accepted and rejected steps, shape ``(batch,)``.
    reached
        The time a row got to, shape ``(batch,)``.
    info
        Backend, method, tolerances, the bound on the error of the averages, and how
        many rows DOP853 took that Taylor's method could not.
    """

    names: tuple[str, ...]
    t: np.ndarray
    y: np.ndarray
    status: np.ndarray
    n_steps: np.ndarray
    n_rejected: np.ndarray
    reached: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a state by name, shape ``(batch, time)``."""
        if name not in self.names:
            raise ModelError(
                f"A flow has the states {', '.join(self.names)}, but `{name}` was "
                f"asked for{did_you_mean(name, self.names)}"
            )
        return self.y[:, :, self.names.index(name)]


@dataclass(frozen=True)
class Problem:
    """A checked batch: C-contiguous float arrays in the system's orders."""

    system: System
    times: np.ndarray
    y0: np.ndarray
    params: np.ndarray
    inputs: Inputs
    rtol: float
    atol: float
    max_steps: int
    max_step: float


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
        t = _regular_times(given)
        system = regular_end(system)
    problem = checked(system, init, params, t, inputs, rtol, atol, max_steps, max_step)
    solvers = {"numba": _numba, "jax": _jax, "scipy": _scipy}
    if backend not in solvers:
        raise ModelError(
            f"`backend` must be one of {', '.join(solvers)}, but is `{backend}`"
            + did_you_mean(str(backend), solvers)
        )
    if on_failure not in ("raise", "keep"):
        raise ModelError(
            f'`on_failure` must be "raise" or "keep", but is {on_failure!r}. '
            "Choose one."
        )
    flow = solvers[backend](problem, method)
    lost = np.flatnonzero(flow.status)
    late = flow.t[None, :] > flow.reached[lost, None]
    flow.y[lost] = np.where(late[:, :, None], np.nan, flow.y[lost])
    if singular_end:
        flow = replace(flow, t=given, reached=1 - (1 - flow.reached) ** 2)
    if on_failure == "raise" and np.any(flow.status):
        raise SolveError(_failure(flow), flow)
    return flow


def _regular_times(times: np.ndarray) -> np.ndarray:
    if np.any(times > 1):
        raise ShapeError(
            "With `singular_end` the times must end at 1 or before, but `t` goes to "
            f"{times.max():g}. Rescale the time."
        )
    return to_regular(times)


def checked(
    system: System,
    init: Mapping[str, Any],
    params: Mapping[str, Any],
    t: Any,
    inputs: Inputs | None,
    rtol: float,
    atol: float,
    max_steps: int,
    max_step: float,
) -> Problem:
    """Return the arguments of `integrate` as a `Problem`, or say what is wrong."""
    states, names, wanted = _names(system)
    check_tolerances(rtol, atol, max_steps, max_step)
    times = np.asarray(t, float)
    if times.ndim != 1 or times.size < 2 or not np.all(np.diff(times) > 0):
        raise ShapeError(
            "`t` must hold at least two increasing times, but is "
            f"{np.array2string(times, threshold=6)}. Sort it and drop repeats."
        )
    if not np.all(np.isfinite(times)):
        raise ShapeError("`t` must be finite, but holds NaN or infinity. Drop them.")
    given = {f'init["{k}"]': v for k, v in _named(init, states, "init").items()}
    given |= {f'params["{k}"]': v for k, v in _named(params, names, "params").items()}
    batch = _batch(given, inputs)
    labels = list(given)
    y0 = _table(given, labels[: len(states)], batch)
    theta = _table(given, labels[len(states) :], batch)
    span = (float(times[0]), float(times[-1]))
    if wanted and inputs is None:
        raise ModelError(
            f"`{system.name}` takes the given functions ({', '.join(wanted)}), but "
            "`inputs` is missing. Make it with `Inputs.of`."
        )
    held = no_inputs(span)
    if wanted and inputs is not None:
        held = inputs.checked(wanted, batch, span)
    for row in np.flatnonzero(~np.isfinite(held.coefficients).all(axis=(1, 2, 3)))[:1]:
        raise ShapeError(
            f"`inputs` must be finite, but row {row} holds NaN or infinity. Give "
            "saturated values as large finite ones."
        )
    return Problem(
        system, times, y0, theta, held, float(rtol), float(atol), max_steps, max_step
    )


@lru_cache(maxsize=64)
def _names(system: System) -> tuple[tuple[str, ...], ...]:
    """Return the names of states, parameters and inputs of a flow that is in order."""
    if system.kind != "flow":
        raise ModelError(
            f"`integrate` takes a system of kind flow, but `{system.name}` is "
            f"{system.kind}. Evaluate it with `make_kernel`, or look for its minimum."
        )
    system.check()
    roles = (system.unknowns, system.parameters, system.inputs)
    return tuple(tuple(map(str, symbols)) for symbols in roles)


def _named(values: Mapping[str, Any], names: tuple[str, ...], what: str) -> dict:
    held = zip(names, ordered(values, names, what), strict=True)
    return {name: np.asarray(value, float) for name, value in held}


def _batch(given: Mapping[str, np.ndarray], inputs: Inputs | None) -> int:
    """Return the number of rows; every array has shape () or (rows,)."""
    batch, source = 1, ""
    if inputs is not None and inputs.breaks.shape[0] > 1:
        batch, source = inputs.breaks.shape[0], "inputs"
    for label, value in given.items():
        if value.ndim > 1:
            raise ShapeError(
                f"`{label}` must have shape () or (batch,), but has shape "
                f"{value.shape}. Flatten it."
            )
        if value.ndim == 0 or value.size == batch:
            source = source or (label if value.ndim else "")
            continue
        if source:
            raise ShapeError(
                f"`{label}` must have shape () or ({batch},), but has shape "
                f"{value.shape}. The batch size {batch} comes from `{source}`."
            )
        batch, source = value.size, label
    if batch == 0:
        raise ShapeError(f"`{source}` must have at least one row, but is empty.")
    return batch


def _table(given: Mapping[str, np.ndarray], labels: list[str], batch: int):
    """Return columns as one array, (batch, labels), of finite numbers."""
    table = np.empty((batch, len(labels)))
    for i, label in enumerate(labels):
        table[:, i] = given[label]
    if np.isfinite(table).all():
        return table
    column = np.flatnonzero(~np.isfinite(table).all(axis=0))[0]
    bad = np.flatnonzero(~np.isfinite(table[:, column]))
    raise ShapeError(
        f"`{labels[column]}` must be finite, but row {bad[0]} has "
        f"{table[bad[0], column]} ({bad.size} of {batch} rows). Mend or drop those "
        "rows."
    )


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


def _chosen(method: str | None, known: Any, default: str) -> str:
    method = default if method is None else method
    if method not in known:
        raise ModelError(
            f"`method` must be one of {', '.join(known)}, but is `{method}`"
            + did_you_mean(str(method), known)
        )
    return method


# numba


METHODS = ("taylor", *TABLEAUX)


def method_of(system: System, method: str | None, rtol: float) -> str:
    """Return a method as the text of a stepper depends on it: Taylor's has an order."""
    smooth = has_jets(system)
    method = _chosen(method, METHODS, "taylor" if smooth else "dop853")
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
def stepper(system: System, method: str, lanes: int) -> ModuleType:
    """Return the generated module of a system with a method and its driver."""
    flow = with_constants(system)[0]

    def source() -> str:
        if method in TABLEAUX:
            steps = (print_steps(TABLEAUX[method]()), rungekutta)
        else:
            steps = (print_jets(flow, int(method.removeprefix("taylor"))), taylor)
        return numba_source(flow, (*steps, march), lanes, ("rhs",))

    name = "".join(c if c.isalnum() else "_" for c in system.name)
    return load_source(remembered(_key(flow, method, lanes), source), name)


def _key(system: System, method: str, lanes: int) -> str:
    """Return all that a generated stepper depends on, as text."""
    from importlib.metadata import version

    folder = Path(__file__).parent
    files = "elementary march rungekutta tableau taylor jets printing kernel constants"
    code = [(folder / f"{name}.py").read_text() for name in files.split()]
    symbols = (system.time, *system.unknowns, *system.parameters, *system.inputs)
    expressions = [sp.srepr(x) for x in symbols if x is not None]
    expressions += [sp.srepr(eq.rhs) for eq in system.equations]
    versions = [version(package) for package in ("sympy", "scipy")]
    return "\n".join([system.name, method, str(lanes), *versions, *expressions, *code])


def has_averages(system: System) -> bool:
    """Return whether a right-hand side holds Gaussian averages."""
    return any(eq.rhs.has(Average) for eq in system.equations)


def lanes_of(system: System) -> int:
    """Return how many rows of a flow are marched side by side."""
    if has_averages(system):
        return 1
    states = len(system.unknowns)
    return next((lanes for most, lanes in LANES.items() if states <= most), 16)


def _numba(problem: Problem, method: str | None, lanes: int | None = None) -> Flow:
    """March rows in lanes of SIMD registers and chunks over threads.

    Systems with averages vectorise over quadrature nodes instead of over rows. Where
    no method is asked for, rows that Taylor's cannot take (a derivative of the right
    side is infinite at the start, say) are taken by DOP853; there are no given
    functions then.
    """
    chosen = method_of(problem.system, method, problem.rtol)
    flow = _marched(problem, chosen, lanes or lanes_of(problem.system))
    lost = np.flatnonzero((flow.status == 1) | (flow.status == 3))
    if method is not None or chosen == "dop853" or not lost.size:
        return flow
    part = replace(problem, y0=problem.y0[lost], params=problem.params[lost])
    again = _marched(part, "dop853", flow.info["lanes"])
    for name in ("y", "status", "n_steps", "n_rejected", "reached"):
        getattr(flow, name)[lost] = getattr(again, name)
    flow.info["by dop853"] = lost.size
    return flow


def _marched(problem: Problem, method: str, lanes: int) -> Flow:
    module = stepper(problem.system, method, lanes)
    batch = problem.y0.shape[0]
    shape = (batch, problem.times.size, problem.y0.shape[1])
    y, reached, worst = np.empty(shape), np.empty(batch), np.empty(batch)
    counts = {k: np.empty(batch, np.int64) for k in ("status", "steps", "rejected")}
    rows = np.arange(batch)
    intervals = START
    while rows.size:
        safety = SAFETY.get(method, 1.0)
        _march(module, problem, rows, intervals, safety, y, counts, reached, worst)
        if not has_averages(problem.system):
            break
        rows = rows[error_bound(worst[rows]) > max(AVERAGES * problem.rtol, 2e-15)]
        if 2 * intervals > LIMIT:
            counts["status"][rows] = np.where(counts["status"][rows], 0, 4)
            break
        intervals *= 2
    info = {
        "backend": "numba",
        "method": method,
        "lanes": lanes,
        "rtol": problem.rtol,
        "atol": problem.atol,
        "average_error": float(error_bound(worst).max()) if worst.any() else 0.0,
    }
    return Flow(
        tuple(map(str, problem.system.unknowns)),
        problem.times,
        y,
        counts["status"],
        counts["steps"],
        counts["rejected"],
        reached,
        info,
    )


def _march(module, problem, rows, intervals, safety, y, counts, reached, worst):
    """Run the driver over `rows`, in place when they are all of them."""
    whole = rows.size == y.shape[0]
    pick = slice(None) if whole else rows
    y0, given = problem.y0[pick], problem.params[pick]
    constants = constants_of(problem.system)
    params = np.empty((len(with_constants(problem.system)[0].parameters), rows.size))
    held = problem.inputs.of_rows(pick)
    part = [y, counts["status"], counts["steps"], counts["rejected"], reached, worst]
    part = part if whole else [np.ascontiguousarray(a[pick]) for a in part]
    arguments = (
        problem.times,
        y0,
        params,
        held.breaks,
        held.coefficients,
        *trapezoid(intervals),
        safety * problem.rtol,
        safety * problem.atol,
        problem.max_step,
        problem.max_steps,
        *part,
    )
    degree = held.coefficients.shape[3]

    def work(first: int, last: int) -> None:
        params[:, first:last] = constants(given[first:last])
        space = module.scratch(degree), module.workspace()
        module.march(first, last, *arguments, *space)

    share_out(rows.size, work, ROUNDS * module.LANES)
    if not whole:
        whole_of = [y, *counts.values(), reached, worst]
        for full, piece in zip(whole_of, part, strict=True):
            full[rows] = piece


# SciPy, the reference


def _scipy(problem: Problem, method: str | None) -> Flow:
    from .reference import METHODS, solve_rows

    return solve_rows(problem, _chosen(method, METHODS, "dop853"))


def _jax(problem: Problem, method: str | None) -> Flow:
    from .jaxsolve import METHODS, solve_batch

    return solve_batch(problem, _chosen(method, METHODS, "dopri8"))
