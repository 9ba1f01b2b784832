"""Reading what was typed: lists, ranges and name=number pairs of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..errors import ModelError

LAST_SEED = 2**63 - 1
Format = Literal[
    "text", "latex", "markdown", "html", "json", "sympy", "mathematica", "julia"
]
Form = Literal[Format, "fragment", "bibtex"]
"""Formats of printing; the last two have options of their own."""


def numbers(text: str, option: str) -> list[float]:
    """Read a comma-separated list of finite numbers."""
    values = [x for x in map(_number, text.split(",")) if x is not None]
    if len(values) <= text.count(","):
        raise ModelError(
            f"`{option}` must hold numbers separated by commas, but is {text!r}. Write "
            f"them as in `{option} 0.25,0.5,1`."
        )
    return values


def words(text: str, option: str) -> list[str]:
    """Read a comma-separated list of texts, none of them empty."""
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise ModelError(
            f"`{option}` must be texts separated by commas, but is {text!r}. Leave no "
            "place empty."
        )
    return found


def only(values: Sequence[Any], option: str) -> Any:
    """Return the one value of an option that may not be a list here."""
    if len(values) != 1:
        raise ModelError(
            f"`{option}` must be one value for a flow, but has {len(values)}. Give one."
        )
    return values[0]


def read_unit_times(text: str, option: str) -> list[float]:
    """Read a comma-separated list of times in [0, 1]."""
    values = numbers(text, option)
    for x in values:
        if not 0 <= x <= 1:
            raise ModelError(
                f"`{option}` must hold times between 0 and 1, but has {x:g}. 0 is the "
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


def whole_option(value: float, option: str) -> int:
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
        name, _, value = (word.strip() for word in part.partition("="))
        number = _number(value)
        if number is None or not name.isidentifier():
            raise ModelError(
                f"`{option}` must hold name=number pairs, but has {part!r}. Write them "
                f"as in `{option} m=0.3,q=0.5`."
            )
        if name in out:
            raise ModelError(
                f"`{option}` must name each number once, but has `{name}` twice. "
                "Leave one of them out."
            )
        out[name] = number
    return out


def _number(text: str) -> float | None:
    """Read one finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def read_class_pair(text: str) -> tuple[int, int]:
    """Read two whole numbers separated by a comma."""
    pair = numbers(text, "--classes")
    if len(pair) != 2 or any(x != int(x) for x in pair):
        raise ModelError(
            "`--classes` must be two classes, whole numbers, but is "
            f"{text!r}. Write them as in `--classes 3,8`."
        )
    return int(pair[0]), int(pair[1])


def seeds_from(first: int, count: int, option: str) -> range:
    """Return `count` seeds, all of which generators of random numbers take."""
    if not 0 <= first <= LAST_SEED - count:
        raise ModelError(
            f"`{option}` must be from 0 to 2^63 - 1 less the number of seeds, but is "
            f"{first}. Lower it."
        )
    return range(first, first + count)


def unused(given: dict[str, Any], what: str) -> None:
    """Raise `ModelError` when an option was given that `what` does not look at."""
    for option, value in given.items():
        if value is not None:
            raise ModelError(
                f"`{option}` must be left out for {what}, but is {value}. Remove it."
            )


def needed(given: dict[str, Any], what: str) -> None:
    """Raise `ModelError` when an option that `what` wants was not given."""
    for option, value in given.items():
        if value is None:
            raise ModelError(
                f"`{option}` must be given for {what}, but is missing. Add it; --help "
                "shows how."
            )
