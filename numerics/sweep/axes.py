"""The axes of a sweep: their grammar, what may be swept, and which rows exist.

``p=0.5:0.95:64`` is 64 even steps with both ends, ``kappa=0.5:8:5:log`` even steps of
the logarithm, ``n_plus=90,100`` a list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import ModelError, did_you_mean, shown
from ...numbers import bounds_of
from ...theory.models.spec import Spec, places
from ..codegen.parameters import reals

Columns = Mapping[str, np.ndarray]

MAX_ROWS = 10**8  # a sweep larger than this is taken for a typing error


class Axis(NamedTuple):
    """One swept parameter and its values, in order."""

    name: str
    values: tuple[float, ...]


def parse_axis(text: str) -> Axis:
    """Read an axis; raise `ModelError` for a text of another form.

    >>> parse_axis("p=0.5:0.9:3").values
    (0.5, 0.7, 0.9)
    >>> parse_axis("kappa=1:4:3:log").values
    (1.0, 2.0, 4.0)
    """
    name, equals, tail = text.partition("=")
    name = name.strip()
    if not (equals and name.isidentifier()):
        raise _bad_axis(text, "has no `NAME=`")
    parts = tail.split(":")
    if len(parts) == 1:
        return _axis(name, [_number(word, text) for word in tail.split(",")], text)
    spacing = parts.pop().strip() if len(parts) == 4 else "even"
    if len(parts) != 3 or spacing not in ("even", "log"):
        raise _bad_axis(text, f"has `{tail.strip()}` after the `=`")
    low, high = _number(parts[0], text), _number(parts[1], text)
    return _axis(name, _spaced(low, high, _count(parts[2], text), spacing, text), text)


def _spaced(low: float, high: float, count: int, spacing: str, text: str) -> list:
    if spacing == "log":
        if low <= 0 or high <= 0:
            raise _bad_axis(text, "spaces logarithms of numbers that are not positive")
        inner = np.exp(np.linspace(math.log(low), math.log(high), count))
    else:
        inner = np.linspace(low, high, count)
    # the decimals a person typed, not their neighbours in the last bit
    rounded = [float(f"{x:.15g}") for x in inner]
    return [low] if count == 1 else [low, *rounded[1:-1], high]


def _axis(name: str, values: Iterable[float], text: str) -> Axis:
    axis = Axis(name, tuple(float(v) for v in values))
    if not axis.values or not all(map(math.isfinite, axis.values)):
        raise _bad_axis(text, "has no value, or one that is not finite")
    if len(set(axis.values)) != len(axis.values):
        raise _bad_axis(text, "has a value twice")
    return axis


def _number(word: str, text: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise _bad_axis(text, f"has `{word.strip()}`, which is no number") from None
    if not math.isfinite(number):
        raise _bad_axis(text, "has a value that is not finite")
    return number


def _count(word: str, text: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", word) or int(word) == 0:
        raise _bad_axis(text, f"has `{word.strip()}` as the number of values")
    return int(word)


def _bad_axis(text: str, fact: str) -> ModelError:
    return ModelError(
        "An axis must read `NAME=LOW:HIGH:COUNT`, optionally with `:log`, or "
        f"`NAME=VALUE,VALUE`, but `{text.strip()[:80]}` {fact}. "
        "Write for example `p=0.5:0.95:64`."
    )


def axes_of(over: Mapping[str, Any] | Iterable[Any]) -> tuple[Axis, ...]:
    """Return the axes of `over`: texts, tuples, `Axis` objects, or name to values.

    A tuple is ``("p", 0.5, 0.95, 64)``, optionally with ``"log"`` as fifth entry.
    """
    if isinstance(over, Mapping):
        return tuple(_listed(str(k), v) for k, v in over.items())
    if isinstance(over, str | Axis):
        return (_one_axis(over),)
    if not isinstance(over, Iterable):
        raise ModelError(
            "`over` must be a list of axes, or a mapping from names to values, but is "
            f'{shown(over)}. Write for example `{{"p": [0.5, 0.9]}}`.'
        )
    return tuple(map(_one_axis, over))


def _listed(name: str, values: Any) -> Axis:
    """Return an axis whose values are given as numbers."""
    try:
        numbers = np.ravel(reals(values))
    except ValueError:
        raise ModelError(
            "The values of an axis must be real numbers in a list, but those of "
            f"`{name}` are {shown(values)}. Write for example "
            f'`{{"{name}": [0.5, 0.9]}}`.'
        ) from None
    return _axis(name, numbers, f"{name}={shown(values)}")


def _one_axis(item: Any) -> Axis:
    if isinstance(item, Axis):
        return _listed(item.name, item.values)
    if isinstance(item, str):
        return parse_axis(item)
    if not isinstance(item, Sequence) or not item or not isinstance(item[0], str):
        raise _bad_axis(shown(item), "has no `NAME=`")
    try:
        text = ":".join(map(str, item[1:]))
    except ValueError:
        raise _bad_axis(item[0], "has a number that is too long") from None
    return parse_axis(f"{item[0]}={text}")


def follows_p(values: Mapping[str, float], axes: Sequence[Axis]) -> bool:
    """Whether ``n_plus = round(p*n)``: `p` is swept for n samples, `n_plus` is not.

    For n samples only the realised share ``n_plus/n`` enters the equations, so a
    sweep over `p` that kept `n_plus` would show nothing.
    """
    names = {axis.name for axis in axes}
    return "n" in values and "p" in names and "n_plus" not in names


def shared_out(columns: Columns, axes: Sequence[Axis]) -> dict[str, np.ndarray]:
    """Let the weights that are not swept share what is left, in their proportions."""
    swept = {axis.name for axis in axes}
    names = [k for k in columns if k.startswith("p_")]
    kept = [k for k in names if k not in swept]
    if not kept or len(kept) == len(names):
        return dict(columns)
    left = 1 - sum(columns[k] for k in names if k in swept)
    whole = sum(columns[k] for k in kept)
    return dict(columns) | {k: left * columns[k] / whole for k in kept}


def check_axes(spec: Spec, axes: Sequence[Axis]) -> None:
    """Raise `ModelError` unless each axis is a number of the spec, named once."""
    names = [axis.name for axis in axes]
    loadings = [k for k in places(spec.tables) if k[0] == "L"]
    known = sorted([*spec.values, *loadings])
    for name in names:
        if name not in known:
            raise ModelError(
                f"A sweep must go over numbers of the spec ({', '.join(known)}), but "
                f"`{name}` was asked for{did_you_mean(name, known)}"
            )
    if not names or len(set(names)) != len(names):
        raise ModelError(
            "A sweep must name each parameter once and at least one, but has "
            f"{names or 'none'}. Write for example `p=0.5:0.95:64`."
        )
    if "n" in names and not {"p", "n_plus"} & set(names):
        raise ModelError(
            "A sweep over `n` must say which samples are added, but `n_plus` stays at "
            f"{spec.values.get('n_plus')}. Sweep `n_plus` too, or give `p` as an axis, "
            f"for example `p={spec.values.get('p', 0.8)}`, for n_plus = round(p*n)."
        )
    if math.prod(len(axis.values) for axis in axes) > MAX_ROWS:
        raise ModelError(
            f"A sweep must have at most {MAX_ROWS} rows, but this one has more. "
            "Lower the counts."
        )


def inadmissible(columns: Columns) -> np.ndarray:
    """Return for each row why no such model exists, or an empty text."""
    size = len(next(iter(columns.values())))
    reasons = np.full(size, "", dtype="<U120")
    for name, value in columns.items():
        rule, holds = _rule(name, value, columns)
        for row in np.flatnonzero(~holds & (reasons == "")):
            reasons[row] = f"`{name}` must be {rule}, but is {value[row]:g}."
    return reasons


def _rule(name: str, value: np.ndarray, columns: Columns) -> tuple[str, np.ndarray]:
    """Return the rule of a parameter in words, and the rows that keep it."""
    bounds = bounds_of(name)
    if bounds is None:
        return "finite", np.isfinite(value)
    holds = bounds.hold(value)
    return bounds.words, holds & (value < columns["n"]) if name == "n_plus" else holds
