"""Points of a parameter space: checked, complete, and inserted into closed systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError, did_you_mean
from .kernel import make_kernel
from .printed import Printed, PrintedLimit, printed, printed_limit

if TYPE_CHECKING:
    from ..theory.derive import Limit
    from ..theory.system import System


def complete(
    limit: Limit | PrintedLimit, values: Mapping[str, float]
) -> dict[str, float]:
    """Return the parameters of `limit`, with one `kappa` serving every window."""
    held = printed_limit(limit)
    names = held.parameters
    point = held.kappas({k: _number(k, v) for k, v in values.items()})
    for name in names:
        if name not in point:
            raise ModelError(
                f"Every parameter must be given ({', '.join(names)}), but `{name}` is "
                "missing. There are no default values."
            )
    for name in point:
        if name not in names and name != "ridge_w":
            raise ModelError(
                f"This model has the parameters {', '.join(names)}, but `{name}` was "
                f"given{did_you_mean(name, names)}"
            )
    _admissible(point)
    return point


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ModelError(
            f"`{name}` must be one number, but is {str(value)[:60]!r}. For many "
            "points at once use `dilaton sweep`."
        ) from None


def _admissible(point: Mapping[str, float]) -> None:
    for name, value in point.items():
        share = name == "p" or name.startswith("p_")
        high = 1.0 if share else np.inf
        low = -1e-300 if name.startswith("ridge") else 0.0
        if not low < value < high:
            raise ModelError(
                f"`{name}` must be {'between 0 and 1' if share else 'positive'} and "
                f"finite, but is {value:g}. Change it."
            )
    if "n_plus" in point and not point["n_plus"] < point["n"]:
        raise ModelError(
            f"`n_plus` must be below `n`, but is {point['n_plus']:g} of "
            f"{point['n']:g}. Both modes need a sample."
        )


def unit_times(name: str, given: Any) -> np.ndarray:
    """Return times in [0, 1] as an array, at least one."""
    try:
        times = np.atleast_1d(np.asarray(given, float))
    except (TypeError, ValueError):
        times = np.array([np.nan])
    inside = times.size and np.all((times >= 0) & (times <= 1))
    if times.ndim != 1 or not inside:
        raise bad_times(name, given, "", "0 is the beginning and 1 the end.")
    return times


def bad_times(name: str, given: Any, what: str, remedy: str) -> ModelError:
    """Return the error about times that are none."""
    text = np.array2string(np.asarray(given), threshold=6)[:60]
    return ModelError(
        f"`{name}` must be times between 0 and 1{what}, but is {text}. {remedy}"
    )


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `ModelError` unless `value` is one of the known words."""
    if value not in known:
        raise ModelError(
            f"`{name}` must be one of {', '.join(known)}, but is `{value}`"
            + did_you_mean(str(value), known)
        )


def check_tolerances(
    rtol: float, atol: float, max_steps: int = 1, max_step: float = np.inf
) -> None:
    """Raise `ModelError` unless a solver can work with these."""
    for name, value in (("rtol", rtol), ("atol", atol), ("max_step", max_step)):
        if not (isinstance(value, int | float | np.number) and value > 0):
            raise ModelError(
                f"`{name}` must be a positive number, but is {value!r}. For double "
                "precision 1e-13 to 1e-3 is sensible."
            )
    if rtol < 1e-14:
        raise ModelError(
            f"`rtol` must be at least 1e-14, but is {rtol:g}: double precision holds "
            "no more. Raise it."
        )
    if int(max_steps) != max_steps or max_steps < 1:
        raise ModelError(
            f"`max_steps` must be a positive whole number, but is {max_steps!r}. "
            "Raise it."
        )


def dimension(d: Any) -> float:
    """Return a dimension as a float; raise `ModelError` if it is none."""
    if not isinstance(d, int | float) or not 2 <= d < np.inf:
        raise ModelError(
            f"`d` must be a dimension from 2, but is {d}. Give it; there is no default."
        )
    return float(d)


def params_of(system: System | Printed, point: Mapping[str, float]) -> dict[str, float]:
    """The parameters of `system` out of a point; signs default to the + mode."""
    return {
        str(x): point.get(str(x), 1.0)
        for x in system.parameters
        if str(x) in point or str(x)[0] == "S"
    }


def closed_values(
    system: System | Printed, s: np.ndarray, point: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Evaluate a closed system at the times `s`; undetermined quantities are nan."""
    held = printed(system)
    kernel = make_kernel(held.determined(), "numpy")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found, _ = kernel.evaluate("values", params=params_of(held, point), at=s)
    rows = {k: np.broadcast_to(v, s.shape).astype(float) for k, v in found.items()}
    return rows | {name: np.full(s.shape, np.nan) for name in held.undetermined}
