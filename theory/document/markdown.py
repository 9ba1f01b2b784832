"""The derivation as Markdown with LaTeX between dollar signs."""

from __future__ import annotations

from collections.abc import Callable

from ..symbols.latex import inline, left_side, prose
from .blocks import Piece
from .lines import LATEX, in_lines

WIDE = 36.0  # width of a formula, in em, that fits the text column of a page
SIGN = {"=": "=", "~": r"\sim"}


def markdown(found: list[Piece]) -> str:
    """Return the blocks as Markdown, with a title."""
    return "# Derivation\n" + markdown_body(found)


def markdown_body(found: list[Piece]) -> str:
    """Return the blocks as Markdown."""
    lines: list[str] = []
    for before, block in zip([None, *found], found, strict=False):
        if before is not None and before.kind == "item" and block.kind != "item":
            lines.append("")
        lines += _PRINT[block.kind](block)
    return "\n".join(lines).rstrip() + "\n"


def typeset(text: str, words: Callable[[str], str] = str) -> str:
    """Return prose with its formulas between dollar signs."""
    return prose(text, lambda x: f"${inline(x)}$", words)


def equation(block: Piece, limit: float = WIDE) -> str:
    r"""LaTeX of a formula; a long one is broken between its terms.

    Lines end in ``\cr``: where a tag stands beside, Sphinx takes no double backslash.
    """
    left, sign = left_side(block.lhs), SIGN[block.relation]
    rows = in_lines(left, block.rhs, LATEX, limit)
    if len(rows) == 1:
        return f"{left} {sign} {rows[0]}"
    lines = " \\cr\n&\\quad ".join(rows)
    return f"\\begin{{aligned}}\n{left} {sign}{{}}& {lines}\n\\end{{aligned}}"


def aligned(found: list[Piece]) -> str:
    """Return the formulas of blocks as one display."""
    rows = []
    for block in found:
        if block.kind != "formula":
            continue
        left = left_side(block.lhs)
        first, *rest = in_lines(left, block.rhs, LATEX, WIDE)
        mark = rf" && \text{{({block.label})}}" if block.label else ""
        rows += [f"{left} &= {first}", *(rf"&\quad {x}" for x in rest)]
        rows[-1] += mark
    body = " \\\\\n".join(rows)
    return f"$$\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n$$"


def _heading(block: Piece) -> list[str]:
    return ["", f"{'#' * (block.level + 1)} {block.text}", ""]


def _text(block: Piece) -> list[str]:
    return [typeset(block.text, _escaped), ""]


def _item(block: Piece) -> list[str]:
    return [f"- {typeset(block.text, _escaped)}"]


def _formula(block: Piece) -> list[str]:
    tag = rf" \tag{{{block.label}}}" if block.label else ""
    return ["$$", equation(block) + tag, "$$", ""]


def _table(block: Piece) -> list[str]:
    rows = ["| " + " | ".join(_cell(x) for x in row) + " |" for row in block.rows]
    rule = "|" + "---|" * len(block.rows[0])
    return [rows[0], rule, *rows[1:], ""]


def _cell(text: str) -> str:
    return prose(text, lambda x: f"${inline(x).replace('|', BAR)}$", _escaped)


BAR = r"\vert "


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("_", r"\_").replace("*", r"\*")


_PRINT = {
    "heading": _heading,
    "text": _text,
    "item": _item,
    "formula": _formula,
    "table": _table,
}
