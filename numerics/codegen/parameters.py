"""Points of a parameter space: checked, complete, and inserted into closed systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError, did_you_mean, shown
from ...numbers import bounds_in_python
from ...theory.models.modes import check_sum
from .kernel import make_kernel
from .snapshot import Printed, PrintedLimit, printed, printed_limit

if TYPE_CHECKING:
    from ...theory.derive import Limit
    from ...theory.symbols.system import System


def complete(
    limit: Limit | PrintedLimit, values: Mapping[str, float]
) -> dict[str, float]:
    """Return the parameters of `limit`, with one `kappa` serving every window."""
    held = printed_limit(limit)
    names = held.parameters
    given = held.kappas(values)
    for name in given:
        if name not in names and name != "ridge_w":
            raise ModelError(
                f"This model has the parameters {', '.join(names)}, but `{name}` was "
                f"given{_other_model(name) or did_you_mean(name, [*names, 's'])}"
            )
    point = {k: _number(k, v) for k, v in given.items()}
    for name in names:
        if name not in point:
            raise ModelError(
                f"Every parameter must be given ({', '.join(names)}), but `{name}` is "
                "missing. There are no default values."
            )
    _admissible(point)
    if "modes" in held.about:
        check_sum("p_1, p_2, ...", [v for k, v in point.items() if k[:2] == "p_"])
    return point


def _other_model(name: str) -> str:
    """Return which model has a parameter that the population has not."""
    ridges = ("n", "n_plus", "ridge_u")
    return ". Samples make another model: `Data(samples=True)`." * (name in ridges)


def reals(value: Any) -> np.ndarray:
    """Return real numbers as an array of floats; raise `ValueError` for any other."""
    array = np.asarray(value)
    if np.ma.is_masked(value) or array.dtype.kind not in "biufO":
        raise ValueError("complex, masked or no numbers")
    if array.dtype.kind == "O" and None in array.ravel().tolist():
        raise ValueError("missing numbers")
    try:
        return array.astype(float)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def _real(value: Any) -> float:
    """Return one real number as a float; raise `ValueError` if it is none."""
    array = reals(value)
    if array.ndim or isinstance(value, bool | np.bool_):
        raise ValueError("not one number")
    return float(array)


def _number(name: str, value: Any) -> float:
    try:
        return _real(value)
    except ValueError:
        remedy = "For many points at once use `dilaton sweep`."
        if isinstance(value, str):
            remedy = "Write it without quotes."
        raise ModelError(
            f"`{name}` must be one real number, but is {shown(value)}. {remedy}"
        ) from None


BACKENDS = ("numba", "jax", "scipy")  # the backends that integrate and minimise


def _admissible(point: Mapping[str, float]) -> None:
    """Demand of the numbers what a spec demands of them."""
    for name, value in point.items():
        rule = bounds_in_python(name)
        if not rule.hold(value):
            raise ModelError(
                f"`{name}` must be {rule.words}, but is {value:g}. {rule.remedy}"
            )
    if "n_plus" in point and not point["n_plus"] < point["n"]:
        raise ModelError(
            f"`n_plus` must be below `n`, but is {point['n_plus']:g} of "
            f"{point['n']:g}. Both modes need a sample."
        )


def unit_times(name: str, given: Any) -> np.ndarray:
    """Return times in [0, 1] as an array, at least one."""
    try:
        times = np.atleast_1d(reals(given))
    except ValueError:
        times = np.array([np.nan])
    inside = times.size and np.all((times >= 0) & (times <= 1))
    if times.ndim != 1 or not inside:
        raise bad_times(name, given, "", "0 is the beginning and 1 the end.")
    return times


def increasing_times(name: str, given: Any) -> np.ndarray:
    """Return times in [0, 1] that increase, at least one."""
    times = unit_times(name, given)
    if np.any(np.diff(times) <= 0):
        raise bad_times(name, times, " that increase", "Sort them and drop repeats.")
    return times


def bad_times(name: str, given: Any, what: str, remedy: str) -> ModelError:
    """Return the error about times that are none."""
    try:
        numbers = np.array2string(np.asarray(given), threshold=6)
        text = shown(given) if np.ma.is_masked(given) else " ".join(numbers.split())
    except ValueError:  # lists of different lengths, for one
        text = shown(given)
    return ModelError(
        f"`{name}` must hold times between 0 and 1{what}, but is {text[:60]}. {remedy}"
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
    tolerance("rtol", rtol)
    tolerance("atol", atol)
    if not _holds(max_step, lambda x: x > 0):
        raise ModelError(
            f"`max_step` must be a positive number, but is {shown(max_step)}. Leave "
            "it out to let the solver choose."
        )
    if not _holds(max_steps, lambda x: x >= 1 and x == np.rint(x) < np.inf):
        raise ModelError(
            f"`max_steps` must be a positive whole number, but is {shown(max_steps)}. "
            "Raise it."
        )


@dataclass(frozen=True)
class Solver:
    """The backend that computes what has no closed form, and its tolerances."""

    backend: str
    rtol: float
    atol: float = 0.0

    @property
    def tolerance(self) -> float:
        """Tolerance of a number of order one, such as a share."""
        return self.rtol + self.atol

    def checked(self) -> Solver:
        """Return the settings, or raise `ModelError` for those that cannot be used."""
        check_choice("backend", self.backend, BACKENDS)
        return Solver(
            self.backend, tolerance("rtol", self.rtol), tolerance("atol", self.atol)
        )


def tolerance(name: str, value: Any) -> float:
    """Return a tolerance that a solver can work with as a float."""
    if not _holds(value, lambda x: 0 < x < 1):
        raise ModelError(
            f"`{name}` must be a positive number below 1, but is {shown(value)}. For "
            "double precision 1e-13 to 1e-3 is sensible."
        )
    if name == "rtol" and value < 1e-14:
        raise ModelError(
            f"`rtol` must be at least 1e-14, but is {value:g}: double precision holds "
            "no more. Raise it."
        )
    return float(value)


def _holds(value: Any, rule: Callable[[float], Any]) -> bool:
    """Whether `value` is one real number for which the rule holds."""
    try:
        return bool(rule(_real(value)))
    except ValueError:
        return False


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number from `least`; raise `ModelError` for any other."""
    known = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not known or value < least:
        raise ModelError(
            f"`{name}` must be a whole number from {least}, but is {shown(value)}. "
            "Change it."
        )
    return int(value)


def dimension(d: Any) -> float:
    """Return a dimension as a float; raise `ModelError` if it is none."""
    if not isinstance(d, int | float) or not 2 <= d < np.inf:
        raise ModelError(
            f"`d` must be a dimension from 2, but is {d}. Give it; there is no default."
        )
    return float(d)


def params_of(system: System | Printed, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `system` out of a point; signs are those of + modes."""
    return {
        str(x): point.get(str(x), 1.0)
        for x in system.parameters
        if str(x) in point or str(x)[0] == "S"
    }


def closed_values(
    system: System | Printed, s: np.ndarray, point: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Evaluate a closed system at the times `s`; undetermined quantities are nan."""
    found = closed_rows(system, s, point, 1)
    return {name: values[0] for name, values in found.items()}


def closed_rows(
    system: System | Printed, s: np.ndarray, given: Mapping[str, Any], rows: int
) -> dict[str, np.ndarray]:
    """Evaluate a closed system for a batch, shape (rows, times) for every name.

    `given` has the parameters by name, each of shape () or (rows,). Quantities that
    no equation fixes are nan.
    """
    held, shape = printed(system), (rows, s.size)
    kernel = make_kernel(held.determined(), "numpy")
    params = {k: np.reshape(v, (-1, 1)) for k, v in params_of(held, given).items()}
    with np.errstate(all="ignore"):
        found, _ = kernel.evaluate("values", params=params, at=s)
    known = {k: np.broadcast_to(v, shape).astype(float) for k, v in found.items()}
    return known | {name: np.full(shape, np.nan) for name in held.undetermined}


def row_of(given: Mapping[str, Any], row: int) -> dict[str, float]:
    """Return the parameters of one row of a batch."""
    return {k: float(v if np.ndim(v) == 0 else v[row]) for k, v in given.items()}
