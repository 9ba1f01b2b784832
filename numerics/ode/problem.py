"""A batch of rows of a flow: checked for every backend, and what each gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...errors import ModelError, ShapeError, did_you_mean
from ...theory.symbols.gaussian import Average
from ...theory.symbols.system import System
from ..codegen.kernel import ordered
from ..codegen.parameters import check_choice, check_tolerances
from ..codegen.quadrature import error_bound
from .inputs import Inputs, no_inputs

STATUS = (
    "ok",
    "the step fell below 1e-14 of the interval",
    "the step count reached `max_steps`",
    "the state or its derivative is not finite",
    "the averages are not known within the tolerance",
)
"""The meanings of the numbers in `Flow.status`."""

AVERAGES = 0.01
"""The averages in a right-hand side are known to this share of `rtol`."""


@dataclass(frozen=True)
class Flow:
    """The trajectories of a batch of rows, as `integrate` returns them.

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
        Accepted and rejected steps, shape ``(batch,)`` (SciPy tells no rejections: 0).
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

    def solved(
        self, rows: Sequence[np.ndarray], worst: np.ndarray, **about: Any
    ) -> Flow:
        """Return states, status, steps, rejections and times reached as a flow.

        `worst` is what the averages may be wrong by; `about` the backend and so on.
        """
        off = float(error_bound(worst).max()) if np.any(worst) else 0.0
        info = about | {"rtol": self.rtol, "atol": self.atol, "average_error": off}
        names, *_ = _names(self.system)
        y, status, steps, rejected, reached = rows
        return Flow(names, self.times, y, status, steps, rejected, reached, info)


class StepControl(NamedTuple):
    """Tolerances, and the limits to the number and the length of steps."""

    rtol: float
    atol: float
    max_steps: int
    max_step: float


def checked(
    system: System,
    init: Mapping[str, Any],
    params: Mapping[str, Any],
    t: Any,
    inputs: Inputs | None,
    control: StepControl,
) -> Problem:
    """Return the arguments of `integrate` as a `Problem`, or say what is wrong."""
    states, names, wanted = _names(system)
    check_tolerances(*control)
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
    tolerances = float(control.rtol), float(control.atol)
    return Problem(system, times, y0, theta, held, *tolerances, *control[2:])


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
        f"{table[bad[0], column]} ({bad.size} of {batch} rows). Correct or drop those "
        "rows."
    )


def chosen(method: str | None, known: Iterable[str], default: str) -> str:
    """Return the method asked for, or the default; refuse what a backend has not."""
    method = default if method is None else method
    check_choice("method", method, tuple(known))
    return method


def has_averages(system: System) -> bool:
    """Return whether a right-hand side holds Gaussian averages."""
    return any(eq.rhs.has(Average) for eq in system.equations)
