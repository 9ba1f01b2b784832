"""Every error of dilaton. A message has three parts: the rule, the fact, the remedy."""

from __future__ import annotations

import re
from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class DilatonError(Exception):
    """Base of every error that dilaton raises on purpose."""


class ModelError(DilatonError, ValueError):
    """The description is not well posed: a bad spec key, schedule or parameter."""


class DerivationError(DilatonError, ValueError):
    """The engine cannot resolve a window or a limit; it says which, never guesses."""


class ShapeError(DilatonError, ValueError):
    """An array does not fit: wrong length, wrong batch, a callback's wrong output."""


class AdmissibilityError(DilatonError, ValueError):
    """No network has these overlaps: for example ``omega**2 > r``."""


class SolveError(DilatonError, RuntimeError):
    """A solver stopped early; `result` carries what it had when it stopped."""

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class ArgumentError(DilatonError, TypeError):
    """A function is called with arguments that it does not take."""


class StoreError(DilatonError, OSError):
    """A file or folder cannot be read, written or trusted (checksum)."""


class MissingExtra(DilatonError, ImportError):
    """An optional dependency is not installed; the message says how to get it."""


def shown(value: Any) -> str:
    """Return a value on one short line, whatever it is."""
    try:
        text = re.sub(r" at 0x\w+", "", " ".join(repr(value).split()))
    except Exception:  # an int of 5000 digits, for one, cannot be printed
        return f"of type {type(value).__name__} and cannot be printed"
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """Return text with its control characters spelled out."""
    plain = (c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return "".join(plain)


SYNONYMS = {
    "t": "tau",
    "rho": "scale",
    "delta": "exponent",
    "n_minus": "n_plus",
    "ridge": "ridge_u",
    "autoencoder": "network",
    "schedule": "interpolant",
    "samples": "n",
    "std": "sigma",
    "at": "s",
}
"""Words of the field, or of Python, for what a list may call otherwise."""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean `x`?"`` for a typo of one of the words listed before."""
    names = list(known)
    small = {name.lower(): name for name in names}
    alike = small.get(SYNONYMS.get(str(word).lower(), str(word).lower()))
    if alike and alike != word:
        return f"; did you mean `{alike}`?"
    near = get_close_matches(str(word), names, n=1, cutoff=0.6)
    slip = near and _typo(str(word), near[0])
    return f"; did you mean `{near[0]}`?" if slip else ". Use one of those."


def _typo(word: str, near: str) -> bool:
    """Whether words begin alike, part by part: `three-modes` is no `two-modes`."""
    parts = word.split("-"), near.split("-")
    if len(parts[0]) != len(parts[1]):
        return word[:1] == near[:1]
    return all(a[:1] == b[:1] and _alike(a, b) for a, b in zip(*parts, strict=True))


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, one, other).ratio() >= 0.6
