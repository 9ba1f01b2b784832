"""The chunks of a sweep: what a sweep is, and the numbers of some of its rows.

The numbers come from a row function ``rows(spec, columns, settings)``; what it returns
is checked, and a row that fails keeps its status while the others go on. Two row
functions solve a spec. Shares of modes are linear in the weights of a branch, so rows
that differ in weights alone share the confusion matrices of their kappas and loadings.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np

from ...errors import DilatonError, ShapeError, shown
from ...files import code_digest
from ...theory.models.spec import Spec
from ..asked import known_limit
from ..batch import SHARES, solve_rows
from ..codegen.double import found_device
from ..codegen.threads import one_thread
from ..modes.tree_shares import tree_shares
from .axes import Axis, follows_p, inadmissible, shared_out

Columns = Mapping[str, np.ndarray]
RowFunction = Callable[[Spec, Columns, Mapping[str, Any]], dict[str, np.ndarray]]
"""``rows(spec, columns, settings)``: arrays whose first dimension is the row.

Two-dimensional ones have time second, or what `SECOND` says; the coordinates along
time are returned under ``"@t"``, ``"@s"``, ``"@phase"``. ``"status"`` and ``"reason"``
are text.
"""

SECOND = dict.fromkeys((*SHARES, "mode_mean"), "feature")
SECOND |= dict.fromkeys(("shares", "shares_error"), "mode")
"""The second dimension of columns that have a value for each feature or mode."""

SUM = 1e-9  # error of the sum of a row's weights


@dataclass(frozen=True)
class Job:
    """A sweep, apart from where its chunks are kept; sent whole to every worker."""

    spec: Spec
    axes: tuple[Axis, ...]
    rows: RowFunction
    rows_per_chunk: int
    settings: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def chunks(self) -> int:
        return -(-self.size // self.rows_per_chunk)

    def span(self, index: int) -> slice:
        """The rows of chunk `index`."""
        start = index * self.rows_per_chunk
        return slice(start, min(start + self.rows_per_chunk, self.size))

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """Every parameter of the rows of chunk `index`, each of shape (rows,)."""
        span = self.span(index)
        at = np.unravel_index(np.arange(span.start, span.stop), self.shape)
        size = span.stop - span.start
        values = {k: np.full(size, float(v)) for k, v in self.spec.values.items()}
        for axis, where in zip(self.axes, at, strict=True):
            values[axis.name] = np.asarray(axis.values)[where]
        if follows_p(self.spec.values, self.axes):
            values["n_plus"] = np.rint(values["p"] * values["n"])
        return shared_out(values, self.axes) if self.spec.kind == "modes" else values

    def recipe(self) -> dict[str, Any]:
        """Everything that fixes the numbers of the sweep, as JSON."""
        return {
            "spec": self.spec.tables,
            "axes": [[axis.name, list(axis.values)] for axis in self.axes],
            "rows_per_chunk": self.rows_per_chunk,
            "rows": f"{self.rows.__module__}.{self.rows.__qualname__}",
            "settings": dict(self.settings),
            "versions": versions(str(self.settings.get("backend", ""))),
        }


@cache
def versions(backend: str) -> dict[str, str]:
    """Return what the last bits of the numbers depend on besides the parameters."""
    names = ["dilaton", "numpy", "scipy", "sympy"]
    names += {"numba": ["numba", "llvmlite"], "jax": ["jax", "jaxlib"]}.get(backend, [])
    sources = code_digest("theory", "numerics")
    found = {name: metadata.version(name) for name in names}
    return found | {"sources": sources, "machine": platform.machine()}


def run_chunk(job: Job, index: int) -> dict[str, np.ndarray]:
    """Compute chunk `index`; a row that fails keeps its status, the others go on."""
    columns = job.columns(index)
    reasons = inadmissible(columns)
    good = np.flatnonzero(reasons == "")
    size = len(reasons)
    out = {
        "status": np.where(reasons == "", "ok", "inadmissible").astype("<U16"),
        "reason": reasons,
    }
    if follows_p(job.spec.values, job.axes):
        out["n_plus"] = columns["n_plus"]
    with one_thread():  # other chunks have the other cores
        for rows, found in _guarded(job, columns, good):
            for name, array in found.items():
                if name.startswith("@"):
                    out[name] = array
                else:
                    out.setdefault(name, blank_rows(array, size))[rows] = array
    texts = {k: x for k, x in out.items() if x.dtype.kind == "U"}
    narrow = {k: np.array(x.tolist(), dtype=str) for k, x in texts.items()}
    return out | narrow  # text is as wide as its longest entry


def _guarded(
    job: Job, columns: Columns, good: np.ndarray
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Run the row function for the rows `good`; when it raises, one row at a time."""
    if not good.size:
        return
    try:
        part = {k: v[good] for k, v in columns.items()}
        found = job.rows(job.spec, part, job.settings)
    except (DilatonError, ArithmeticError, ValueError) as error:
        if good.size == 1:
            reason = np.array([str(error)[:120]])
            yield good, {"status": np.array(["failed"]), "reason": reason}
        for row in good if good.size > 1 else ():
            yield from _guarded(job, columns, np.array([row]))
    else:
        yield good, _arrays(found, good.size)


def _arrays(found: Any, size: int) -> dict[str, np.ndarray]:
    """Return what a row function gave as arrays, or say what it must give."""
    if not isinstance(found, Mapping):
        raise _bad_rows(f"returned {shown(found)}")
    arrays = {name: _array(name, value) for name, value in found.items()}
    for name in misfits(arrays, size):
        shape = arrays[name].shape
        raise _bad_rows(f"gave `{name}` the shape {shape} for {size} rows")
    return arrays


def misfits(arrays: Columns, size: int) -> Iterator[str]:
    """Names of arrays that are not (rows,), (rows, times) or, with an @, (times,)."""
    times = arrays.get("@t")
    for name, array in arrays.items():
        fits = name in SECOND or times is None or array.shape[1:] == (times.size,)
        wide = array.ndim == 2 and fits
        along = name.startswith("@") and array.ndim == 1
        rows = array.shape[:1] == (size,) and (array.ndim == 1 or wide)
        if not (along or (rows and not name.startswith("@"))):
            yield name


def _array(name: Any, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        raise _bad_rows(f"gave `{name}` as {shown(value)}") from None
    if not isinstance(name, str) or array.dtype.kind not in "biufU":
        raise _bad_rows(f"gave `{name}` as {shown(value)}")
    return array


def _bad_rows(fact: str) -> ShapeError:
    return ShapeError(
        "A row function must return a mapping from names to arrays of numbers or "
        f"text, of shape (rows,) or (rows, times), but it {fact}. Correct the "
        "function; `dilaton.numerics.sweep.chunk.RowFunction` says what it may return."
    )


def blank_rows(array: np.ndarray, size: int) -> np.ndarray:
    """Return rows like those of an array that hold what stands for no value."""
    kind, shape = array.dtype.kind, (size, *array.shape[1:])
    none = "" if kind == "U" else np.nan if kind == "f" else 0
    return np.full(shape, none, dtype=array.dtype)


def solver_of(spec: Spec) -> RowFunction:
    """Return the solver of a spec, or refuse one whose limit cannot be derived."""
    known_limit(spec)
    return mode_share_rows if spec.kind == "modes" else sweep_rows


def sweep_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the rows of a sweep over `spec`; the row function of `sweep`."""
    limit, device = known_limit(spec), nullcontext()
    if settings["backend"] == "jax":
        import jax

        device = jax.default_device(found_device(settings["device"]))
    asked = {k: settings[k] for k in ("s", "rtol", "backend", "final")}
    with device:
        return solve_rows(limit, columns, **asked)


def mode_share_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the shares of the modes in each row; the row function for modes.

    Loadings ``L_1_2`` and kappas may vary beside the weights.
    """
    names = [k for k in columns if k.startswith("p_")]
    weights = np.stack([columns[k] for k in names], axis=1)
    varied = [k for k in columns if k.startswith(("L_", "kappa"))]
    keys, group = np.unique(
        np.stack([columns[k] for k in varied], axis=1), axis=0, return_inverse=True
    )
    value, error = np.full_like(weights, np.nan), np.full_like(weights, np.nan)
    whole = np.abs(weights.sum(1) - 1) < SUM
    for i, key in enumerate(keys):
        rows = (group.ravel() == i) & whole
        point = dict(zip(varied, key.tolist(), strict=True))
        moved = {k: v for k, v in point.items() if k.startswith("L_")}
        limit = known_limit(spec.replace(**moved) if moved else spec)
        found = tree_shares(limit, limit.kappas(point), weights[rows])
        value[rows], error[rows] = found.value, found.error
    return {
        "status": np.where(whole, "ok", "inadmissible"),
        "reason": np.where(whole, "", "the weights of the modes must sum to 1"),
        "shares": value,
        "shares_error": error,
    }
