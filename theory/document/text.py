"""The derivation as text for a terminal: 100 columns at most."""

from __future__ import annotations

import textwrap
from itertools import zip_longest

from ..symbols.latex import plain_prose
from ..symbols.plain import plain_name
from .blocks import Piece
from .lines import TEXT, in_lines

COLUMNS = 96
TAB = "    "
LAST = 20  # columns of the last cell of a table of four
NARROW, FIRST, LONGEST = 24, 20, 12
"""Columns of the words, the first and the last cell of a table that is too wide."""


def text(found: list[Piece]) -> str:
    """Return the blocks as text."""
    lines: list[str] = []
    for before, block in zip([None, *found], found, strict=False):
        same_kind = before is not None and before.kind == block.kind
        if not (same_kind and block.kind in ("item", "formula")) and lines[-1:] != [""]:
            lines += [""] if before is None or before.kind != "heading" else []
        lines += _PRINT[block.kind](block)
    return "\n".join(lines).strip() + "\n"


def _heading(block: Piece) -> list[str]:
    mark = "=" if block.level == 1 else "-"
    return [block.text, mark * len(block.text)]


def _text(block: Piece) -> list[str]:
    return textwrap.wrap(plain_prose(block.text), COLUMNS)


def _item(block: Piece) -> list[str]:
    wrapped = textwrap.wrap(plain_prose(block.text), COLUMNS - 2)
    return [("- " if i == 0 else "  ") + line for i, line in enumerate(wrapped)]


def _formula(block: Piece) -> list[str]:
    label = f"   ({block.label})" if block.label else ""
    left = plain_name(f"{block.lhs}")
    rows = in_lines(left, block.rhs, TEXT, COLUMNS - len(TAB) - len(label))
    rows = [x for row in rows for x in _wrapped(row)]
    lines = [f"{TAB}{left} {block.relation} {rows[0]}"]
    lines += [f"{TAB}{TAB}{row}" for row in rows[1:]]
    lines[-1] += label
    return lines


def _wrapped(row: str) -> list[str]:
    """Return a row in lines: one that no bracket could break is broken at a space."""
    width = COLUMNS - 2 * len(TAB)
    if len(row) <= width:
        return [row]
    return textwrap.wrap(row, width, break_long_words=False, break_on_hyphens=False)


def _table(block: Piece) -> list[str]:
    rows = [[plain_prose(x) for x in row] for row in block.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[3:] = [min(w, LAST) for w in widths[3:]]
    if sum(widths) - widths[2] + NARROW + 2 * len(widths) > COLUMNS:
        widths = [min(w, FIRST) for w in widths[:1]] + widths[1:]
        widths[3:] = [min(w, LONGEST) for w in widths[3:]]
    fixed = sum(widths) - widths[2] + 2 * len(widths)
    widths[2] = max(NARROW, min(widths[2], COLUMNS - fixed))
    return [line for row in rows for line in _cells(row, widths)]


def _cells(row: list[str], widths: list[int]) -> list[str]:
    """Return a row of a table, in as many lines as its longest cell takes."""
    pairs = list(zip(row, widths, strict=True))
    cells = [textwrap.wrap(x, max(w, 8)) or [""] for x, w in pairs]
    lines = zip_longest(*cells, fillvalue="")
    padded = ([x.ljust(w) for x, w in zip(line, widths, strict=True)] for line in lines)
    return ["  ".join(line).rstrip() for line in padded]


_PRINT = {
    "heading": _heading,
    "text": _text,
    "item": _item,
    "formula": _formula,
    "table": _table,
}
