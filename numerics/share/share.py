"""The share of the + mode, and all that a sweep keeps, for batches of rows.

`solve_rows` takes a derived limit and columns of parameters and returns, row by row,
the learned overlaps at given times, the share of the + mode after the windows, the
mean of a mode and the variance in the bulk.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ...errors import ModelError
from ..codegen.chebyshev import barycentric, chebyshev
from ..codegen.kernel import make_kernel, numba_module
from ..codegen.quadrature import trapezoid
from ..codegen.snapshot import (
    SATURATED,
    Printed,
    PrintedLimit,
    PrintedPhase,
    limit_of,
    printed_limit,
    printed_phase,
)
from ..codegen.threads import share_out
from ..minima.minimise import LEAST, minimise
from ..minima.result import BRANCHES, Minima
from ..ode.tableau import method_853

if TYPE_CHECKING:
    from ...theory.derive import Limit, Phase
    from ...theory.models.spec import Spec

FEWEST = 8
"""Steps of order 8 through the window at first; doubled until they are enough."""

DOUBLINGS = 6
"""The window is crossed in at most 8 * 2^5 steps."""

MORE_POINTS = (161, 641)
"""Points in time at which a minimum is known where the share is not known well."""

GOAL = 1e-8
"""An error of a share that is small enough at any tolerance."""

FLAT = 1e-4
"""Minima that may be further away than this are not known."""

ENDS = 65
"""Largest number of end points from which trajectories are followed backwards."""


def solve_rows(
    limit: Limit | PrintedLimit,
    columns: Mapping[str, ArrayLike],
    s: Sequence[float],
    *,
    rtol: float = 1e-8,
    backend: str = "numba",
) -> dict[str, np.ndarray]:
    """Solve a limit for a batch of parameters.

    Parameters
    ----------
    limit
        What `dilaton.derive` returned.
    columns
        Every parameter by name, each of shape () or (rows,). A `kappa` serves every
        window that has none of its own (``kappa_2``).
    s
        Times in each phase, in [0, 1].
    rtol
        Tolerance of the share; the bound that was reached is `share_plus_error`.
    backend
        ``numba`` or ``jax``; ``scipy`` is the slow reference.

    Returns
    -------
    dict
        ``share_plus``, ``share_plus_error`` (with ``_1``, ``_2`` for several
        features), ``mode_mean``, ``bulk_variance`` and ``status``, ``reason`` of
        shape (rows,); the learned overlaps, of shape (rows, phases * times); their
        coordinates ``@t``, ``@s``, ``@phase``; for n samples also ``branch`` (rows,
        phases * times), ``switch``, ``minima`` and ``residual``.
    """
    times = np.asarray(s, dtype=float)
    rows = max(np.size(v) for v in columns.values())
    held = printed_limit(limit)
    given = held.kappas(columns)
    out: dict[str, np.ndarray] = {"status": np.full(rows, "ok", dtype="<U16")}
    out["reason"] = np.full(rows, "", dtype="<U120")
    wide: dict[str, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for i, phase in enumerate(held.phases):
            found = _phase_rows(phase, given, times, rows, rtol, backend, out)
            for name, values in found.items():
                table = wide.setdefault(name, _empty(rows, held, times))
                table[:, i * times.size : (i + 1) * times.size] = values
    return out | wide | _coordinates(held, times)


def _empty(rows: int, limit: PrintedLimit, times: np.ndarray) -> np.ndarray:
    return np.full((rows, len(limit.phases) * times.size), np.nan)


def _coordinates(limit: PrintedLimit, times: np.ndarray) -> dict[str, np.ndarray]:
    count = len(limit.phases)
    names = [phase.name for phase in limit.phases]
    return {
        "@t": np.concatenate([(i + times) / count for i in range(count)]),
        "@s": np.tile(times, count),
        "@phase": np.repeat(names, times.size),
    }


def _phase_rows(
    phase: PrintedPhase,
    given: Mapping[str, Any],
    times: np.ndarray,
    rows: int,
    rtol: float,
    backend: str,
    out: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Add the scalars of one phase to `out`; return its overlaps, (rows, times)."""
    if phase.learned.kind == "stationary":
        return _sample_rows(phase, given, times, rtol, backend, out)
    if phase.learned.status == "degenerate":
        out["status"][:] = "degenerate"
        out["reason"][:] = f"frozen noise: {phase.name} does not learn the weight"
        out["share_plus"] = out["share_plus_error"] = np.full(rows, np.nan)
    if phase.sampling is not None:
        _closed_scalars(phase.sampling, given, rows, out)
    return _closed_overlaps(phase.learned, given, times, rows)


def _closed_overlaps(
    system: Printed, given: Mapping[str, Any], times: np.ndarray, rows: int
) -> dict[str, np.ndarray]:
    kernel = make_kernel(system, "numpy")
    shaped = [np.reshape(given[p], (-1, 1)) for p in kernel.parameters]
    values, _ = kernel["values"](times, [], [], shaped, *kernel.rule)
    wide = np.broadcast_to(values, (len(values), rows, times.size))
    return dict(zip(kernel.outputs("values"), wide, strict=True))


def _closed_scalars(
    system: Printed, given: Mapping[str, Any], rows: int, out: dict[str, np.ndarray]
) -> None:
    """Evaluate a closed solution of the sampling flow at the end of the phase."""
    signs = {p: 1.0 for p in system.parameters if p.partition("_")[0] == "S"}
    for name, value in _at_the_end(system, dict(given) | signs).items():
        base, _, index = name.partition("_")
        if name.startswith("share_plus"):
            out[name] = np.broadcast_to(value, rows).copy()
            error = name.replace("share_plus", "share_plus_error")
            out[error] = np.full(rows, 1e-15)
        elif base == "M" and index in ("", "1"):
            out["mode_mean"] = np.broadcast_to(value, rows).copy()
        elif base == "V":
            out["bulk_variance"] = np.broadcast_to(value, rows).copy()


def _at_the_end(system: Printed, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    kernel = make_kernel(system.solved(), "numpy")
    params = [np.asarray(given[p], float) for p in kernel.parameters]
    values, _ = kernel["values"](1.0, [], [], params, *kernel.rule)
    return dict(zip(kernel.outputs("values"), values, strict=True))


# ------------------------------------------------------------------ n samples


def _sample_rows(
    phase: PrintedPhase,
    given: Mapping[str, Any],
    times: np.ndarray,
    rtol: float,
    backend: str,
    out: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    found = minimise(phase.learned, times, given, tol=min(1e-12, rtol), backend=backend)
    if phase.projected is None:
        out["status"][:] = "partial"
        reason = f"no reduced flow in {phase.name}: use `dilaton solve` here"
        out["reason"][:] = reason
    else:
        share, error = known_share(phase, found, given, rtol=rtol, backend=backend)
        out["share_plus"], out["share_plus_error"] = share, error
        _doubt(
            out, error > inaccurate(rtol), "the share is known to {:.1g} only", error
        )
    apart = flatness(found)
    _doubt(out, apart > FLAT, "flat: overlaps are known to {:.1g}", apart)
    out["switch"], out["minima"] = found.switch, found.minima
    lost = found.status == "lost"
    if phase.projected is not None:
        unknown = ~lost & np.isnan(out["share_plus"])
        out["status"][unknown] = "failed"
        out["reason"][unknown] = "the share was not found"
    out["status"][lost] = "failed"
    out["reason"][lost] = "the minimum was lost on the way down from s = 1"
    wide = {name: found[name] for name in found.names}
    return wide | {
        "branch": np.where(
            found.branch == BRANCHES.index("lost"), np.nan, found.branch
        ),
        "residual": found.residual,
        "eigenvalue": found.eigenvalue,
    }


def _doubt(
    out: dict[str, np.ndarray], rows: np.ndarray, reason: str, by: np.ndarray
) -> None:
    """Give rows that are known less well than asked for their status and reason."""
    for row in np.flatnonzero(rows):
        out["status"][row] = "inaccurate"
        out["reason"][row] = reason.format(by[row])


def inaccurate(rtol: float) -> float:
    """Return the error of a share from which on it is not what was asked for."""
    return max(100 * rtol, 1e-7)


def flatness(found: Minima) -> np.ndarray:
    """How far, in the unknowns, a row's minima may be from where they were left."""
    with np.errstate(all="ignore"):
        step = found.residual / found.eigenvalue
    return np.nan_to_num(step, nan=0.0).max(axis=1)


def known_share(
    phase: Phase | PrintedPhase,
    found: Minima,
    given: Mapping[str, Any],
    *,
    rtol: float = 1e-8,
    backend: str = "numba",
) -> tuple[np.ndarray, np.ndarray]:
    """Return share and error bound as `sample_share`, better known where they need it.

    Where the minimum bends sharply in time, as for nearly balanced classes, it is
    followed again at more points.
    """
    share, error, _ = sample_share(phase, found, given, rtol=rtol, backend=backend)
    learned = printed_phase(phase).learned
    for points in MORE_POINTS if backend != "scipy" else ():
        rough = np.flatnonzero(error > max(10 * rtol, GOAL))
        if not rough.size:
            break
        wide = {k: np.broadcast_to(v, share.shape) for k, v in given.items()}
        part = {k: v[rough] for k, v in wide.items()}
        again = minimise(learned, [1.0], part, points=points)
        values, errors, _ = sample_share(phase, again, part, rtol=rtol)
        better = errors < error[rough]
        share[rough[better]], error[rough[better]] = values[better], errors[better]
    return share, error


def sample_share(
    phase: Phase | PrintedPhase,
    found: Minima,
    given: Mapping[str, Any],
    *,
    rtol: float = 1e-8,
    backend: str = "numba",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return P(nu > 0) after a window, its error bound, and the separatrix Y(0).

    The reduced flow gives $\nu(1) \propto \nu(0) + F(Y(0))$ with $\nu(0) | Y(0) \sim
    N(Y/\Gamma, 1 - 1/\Gamma)$. With $y^*(a)$ the start at which $Y/\Gamma + F = a$,

    $$
    p^\kappa = \mathbb{E}_g\, \Phi\big(-y^*(g\sqrt{1 - 1/\Gamma})/\sqrt\Gamma\big) .
    $$

    $y^*$ is found backwards in time, where the flow contracts. For a Gamma of 1 it
    is the separatrix alone.

    Parameters
    ----------
    phase
        A phase with a reduced sampling flow (`projected`).
    found
        The minima of `phase.learned`, from `minimise` with the same parameters.
    given
        The parameters by name, each of shape () or (rows,).

    Returns
    -------
    tuple
        Three arrays of shape (rows,): nan where the minimum was lost.
    """
    flow = printed_phase(phase).projected
    if flow is None:
        raise ModelError(
            f"The share needs the reduced flow of `{phase.name}`, but the model has "
            "none (an autoencoder without bias, or tied). Follow the sampling flow."
        )
    order = [found.names.index(x) for x in flow.inputs]
    params = _batch(flow, given, len(found.switch))
    gamma = _gamma(flow, params)
    smooth, below = found.smooth[:, :, order], found.below[:, order]
    bias = flow.inputs.index("b")
    below[:, bias] = np.where(np.isinf(below[:, bias]), SATURATED, below[:, bias])
    return _shares(flow, smooth, below, found.switch, gamma, params, rtol, backend)


def _batch(flow: Printed, given: Mapping[str, Any], rows: int) -> np.ndarray:
    columns = [np.broadcast_to(given[p], rows) for p in flow.parameters]
    return np.ascontiguousarray(np.stack(columns, axis=-1), dtype=float)


def _gamma(flow: Printed, params: np.ndarray) -> np.ndarray:
    kernel = make_kernel(flow, "numpy")
    zeros = [0.0] * len(flow.unknowns), [0.0] * len(flow.inputs)
    values, _ = kernel["observables"](0.0, *zeros, [*params.T], *kernel.rule)
    return np.ascontiguousarray(values[kernel.outputs("observables").index("Gamma")])


@lru_cache(maxsize=16)
def _module(flow: Printed) -> Any:
    from . import backward_numba as flow_loops

    return numba_module(flow, (flow_loops,), only=("rhs",))[1]


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


def _shares(
    flow: Printed,
    smooth: np.ndarray,
    below: np.ndarray,
    switch: np.ndarray,
    gamma: np.ndarray,
    params: np.ndarray,
    rtol: float,
    backend: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    out = np.full((len(params), 3), np.nan)
    good = np.isfinite(below).all(axis=-1)
    good &= np.isfinite(smooth).all(axis=(1, 2)) | (switch == 1)
    arguments = [
        np.ascontiguousarray(x[good]) for x in (smooth, below, switch, gamma, params)
    ]
    if backend == "scipy":
        from .forward_scipy import shares_scipy

        out[good] = shares_scipy(flow, *arguments, rtol=rtol)
        return out[:, 0], out[:, 1], out[:, 2]
    if backend == "jax":
        from .backward_jax import shares_jax

        out[good] = np.stack(shares_jax(flow, *arguments), axis=-1)
        return out[:, 0], out[:, 1], out[:, 2]
    rule = trapezoid()
    common = (
        _matrices(smooth.shape[1]),
        method_853(),
        (np.array(rule.nodes), np.array(rule.weights)),
        chebyshev(ENDS),
        min(max(0.01 * rtol, 1e-13), 1e-10),
    )
    found = out[good]
    share_rows = _module(flow).share_rows

    def work(first: int, last: int) -> None:
        part = (x[first:last] for x in arguments)
        share_rows(*part, *common, found[first:last])

    share_out(len(found), work, LEAST)
    out[good] = found
    return out[:, 0], out[:, 1], out[:, 2]


# --------------------------------------------------------------------- sweeps


def sweep_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the rows of a sweep over `spec`; the row function of `sweep`."""
    limit = known_limit(spec)
    with _device(settings["backend"], settings["device"]):
        return solve_rows(
            limit,
            columns,
            settings["s"],
            rtol=settings["rtol"],
            backend=settings["backend"],
        )


def _device(backend: str, device: str) -> AbstractContextManager:
    """Return a context in which JAX computes on `device`."""
    if backend != "jax":
        return nullcontext()
    import jax

    return jax.default_device(jax.devices(device)[0])


_LIMITS: dict[str, PrintedLimit] = {}
_DERIVING = threading.Lock()


def known_limit(spec: Spec) -> PrintedLimit:
    """Return the limit of a spec, derived at most once in a process."""
    key = repr(spec.structure)
    with _DERIVING:
        if key not in _LIMITS:
            _LIMITS[key] = limit_of(spec)
        return _LIMITS[key]
