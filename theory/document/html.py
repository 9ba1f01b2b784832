"""The derivation as HTML with MathML: no scripts, no network."""

from __future__ import annotations

import html

from ..symbols.latex import inline, left_side, prose
from .blocks import Piece
from .formula import mathml, mathml_pieces
from .lines import LATEX, in_lines
from .markdown import SIGN

WIDE = 42.0  # width of a formula, in em, that fits the report's column
NARROW = 14.0  # the same on a telephone


def typeset_html(text: str) -> str:
    """Return prose with its formulas in MathML, the words escaped."""
    return prose(text, lambda x: mathml(inline(x)), html.escape)


def body(found: list[Piece], open_headings: tuple[str, ...]) -> str:
    """Return the blocks as HTML; sections not in `open_headings` are folded away."""
    parts: list[str] = []
    folded = False
    for before, block, after in zip(
        [None, *found], found, [*found[1:], None], strict=False
    ):
        if block.kind == "heading":
            parts += ["</details>"] if folded else []
            folded = not block.text.startswith(open_headings)
            parts.append(_heading(block, folded))
        elif block.kind == "item":
            parts += ["<ul>"] if before is None or before.kind != "item" else []
            parts.append(f"<li>{typeset_html(block.text)}</li>")
            parts += ["</ul>"] if after is None or after.kind != "item" else []
        elif block.kind == "table":
            parts.append(_table(block))
        elif block.kind == "formula":
            parts.append(_formula(block))
        else:
            parts.append(f"<p>{typeset_html(block.text)}</p>")
    return "".join(parts) + ("</details>" if folded else "")


def _heading(block: Piece, folded: bool) -> str:
    title = html.escape(block.text)
    if folded:
        return f"<details><summary>{title}</summary>"
    return f"<h{block.level + 2}>{title}</h{block.level + 2}>"


def _formula(block: Piece) -> str:
    left = f"{left_side(block.lhs)} {SIGN[block.relation]}"
    first, *rest = in_lines(left_side(block.lhs), block.rhs, LATEX, WIDE)
    lines = [f"<div>{_display(f'{left} {first}')}</div>"]
    lines += [f'<div class="more">{_display(row, goes_on=True)}</div>' for row in rest]
    tag = f"({html.escape(block.label)})" if block.label else ""
    return f'<div class="formula"><div>{"".join(lines)}</div><span>{tag}</span></div>'


def _display(latex: str, goes_on: bool = False) -> str:
    """Return a line in pieces, which a narrow page puts under one another."""
    return "<wbr>".join(mathml_pieces(latex, NARROW, goes_on))


def _table(block: Piece) -> str:
    head, *rows = block.rows
    cells = "".join(f"<th>{html.escape(x)}</th>" for x in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{typeset_html(x)}</td>" for x in row) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll words"><table><tr>{cells}</tr>{lines}</table></div>'
