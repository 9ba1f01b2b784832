"""Reading what was typed: lists, ranges and name=number pairs of the command line."""

from __future__ import annotations

from typing import Any

from .errors import ModelError


def numbers(text: str, option: str) -> list[float]:
    """Read a comma-separated list of finite numbers."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(abs(x) < float("inf") for x in values):
        raise ModelError(
            f"`{option}` must be numbers separated by commas, but is {text!r}. Write "
            f"them as in `{option} 0.25,0.5,1`."
        )
    return values


def unit_times(text: str, option: str) -> list[float]:
    """Read a comma-separated list of times in [0, 1]."""
    values = numbers(text, option)
    for x in values:
        if not 0 <= x <= 1:
            raise ModelError(
                f"`{option}` must be times between 0 and 1, but has {x:g}. 0 is the "
                "beginning and 1 the end."
            )
    return values


def check_range(
    option: str, value: float | None, low: float, high: float = 1e300
) -> None:
    """Raise `ModelError` unless `value` is absent or in [low, high]."""
    if value is not None and not low <= value <= high:
        words = f"from {low:g} to {high:g}" if high < 1e300 else f"at least {low:g}"
        raise ModelError(f"`{option}` must be {words}, but is {value:g}. Change it.")


def whole(value: float, option: str) -> int:
    """Return a positive whole number as an int."""
    if value != int(value) or value < 1:
        raise ModelError(
            f"`{option}` must be whole numbers from 1, but has {value:g}. Round it."
        )
    return int(value)


def pairs(text: str, option: str) -> dict[str, float]:
    """Read ``name=number`` pairs separated by commas."""
    out: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ModelError(
                f"`{option}` must be name=number pairs, but has {part!r}. Write them "
                f"as in `{option} m=0.3,q=0.5`."
            )
        out[name.strip()] = numbers(value, f"{option} {name.strip()}")[0]
    return out


def two_classes(text: str) -> tuple[int, int]:
    """Read two whole numbers separated by a comma."""
    pair = [int(x) for x in numbers(text, "--classes")]
    if len(pair) != 2:
        raise ModelError(
            f"`--classes` must be two classes, but is {text!r}. Write them as in "
            "`--classes 3,8`."
        )
    return pair[0], pair[1]


def needed(given: dict[str, Any], what: str) -> None:
    """Raise `ModelError` when an option that `what` wants was not given."""
    for option, value in given.items():
        if value is None:
            raise ModelError(
                f"`{option}` must be given for {what}, but is missing. Add it; --help "
                "has an example."
            )
