"""Pieces of a derivation, before it is printed in any form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sympy as sp


@dataclass(frozen=True)
class Piece:
    """A heading (with its level), a paragraph, an item, a formula, or a table.

    Prose holds formulas between backticks, typed as in a terminal. A formula is
    ``lhs = rhs``, or ``lhs ~ rhs`` (a side may be typed as prose is); a table's rows
    are prose.
    """

    kind: Literal["heading", "text", "item", "formula", "table"]
    text: str = ""
    lhs: sp.Basic | str | None = None
    rhs: sp.Basic | str | None = None
    label: str | None = None
    level: int = 1
    relation: str = "="
    rows: tuple[tuple[str, ...], ...] = ()


def head(text: str, level: int = 1) -> Piece:
    """Return a heading."""
    return Piece("heading", text, level=level)


def sentence(text: str) -> Piece:
    """Return a paragraph."""
    return Piece("text", text)


def item(text: str) -> Piece:
    """Return an item of a list."""
    return Piece("item", text)


def display(
    lhs: sp.Basic | str,
    rhs: sp.Basic | str,
    label: str | None = None,
    relation: str = "=",
) -> Piece:
    """Return a displayed formula."""
    return Piece("formula", lhs=lhs, rhs=rhs, label=label, relation=relation)


def joined(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def spans(labels: list[str]) -> str:
    """(W1), (W2), (W3), (W5) as (W1)-(W3), (W5)."""
    runs: list[list[str]] = []
    for label in dict.fromkeys(labels):
        if runs and _next(runs[-1][-1]) == label:
            runs[-1].append(label)
        else:
            runs.append([label])
    words = []
    for run in runs:
        ends = [f"({x})" for x in (run if len(run) < 3 else (run[0], run[-1]))]
        words.append(("–" if len(run) > 2 else ", ").join(ends))
    return ", ".join(words)


def _next(label: str) -> str:
    stem = label.rstrip("0123456789")
    return f"{stem}{int(label[len(stem) :]) + 1}" if stem != label else ""
