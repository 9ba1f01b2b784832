r"""The derivation as a LaTeX document, or as a fragment to paste into a paper.

Formulas that follow one another share an ``align``; labels are tags, and what
``\eqref{dilaton:W3}`` refers to.
"""

from __future__ import annotations

import re

from ..symbols.latex import left_side
from .blocks import Piece, item
from .lines import LATEX, in_lines
from .markdown import SIGN, typeset

WIDE = 28.5
"""Width of a formula, in em, that fits a column of the article class with its tag."""
NARROW = 19.5  # the same for a column of a journal with two
HEAD = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath,amssymb,longtable,array}
\allowdisplaybreaks
\emergencystretch=3em
\begin{document}"""


def tex(found: list[Piece]) -> str:
    """Return the blocks as a document that pdflatex compiles."""
    return "\n".join([HEAD, *_body(found, WIDE), r"\end{document}", ""])


def fragment(found: list[Piece]) -> str:
    """Return the blocks without a preamble; it needs amsmath and amssymb.

    Formulas fit one column of two, and tables, which columns cannot hold, are lists.
    """
    listed = [x for block in found for x in _listed(block)]
    opens, closes = r"\begingroup\allowdisplaybreaks\sloppy", r"\par\endgroup"
    return "\n".join([opens, *_body(listed, NARROW), closes, ""])


def _listed(block: Piece) -> list[Piece]:
    if block.kind != "table":
        return [block]
    return [
        item(f"{name}{f' = {value}' if value else ''}: {', '.join(rest)}")
        for name, value, *rest in block.rows[1:]
    ]


def _body(found: list[Piece], limit: float) -> list[str]:
    lines: list[str] = []
    befores, afters = [None, *found], [*found[1:], None]
    for before, block, after in zip(befores, found, afters, strict=False):
        opens = before is None or before.kind != block.kind
        closes = after is None or after.kind != block.kind
        if block.kind == "formula":
            lines += [r"\begin{align}"] if opens else []
            lines += [*_formula(block, limit), r"\end{align}" if closes else r"\\"]
        elif block.kind == "item":
            lines += [r"\begin{itemize}"] if opens else []
            lines.append(r"\item " + _prose(block.text))
            lines += [r"\end{itemize}"] if closes else []
        elif block.kind == "heading":
            sub = "sub" * (block.level - 1)
            lines += ["", rf"\{sub}section*{{{block.text}}}"]
        elif block.kind == "table":
            lines += _table(block)
        else:
            lines.append(_prose(block.text))
            lines += [""] if after is None or after.kind != "formula" else []
    return lines


def _formula(block: Piece, limit: float) -> list[str]:
    left, sign = left_side(block.lhs), SIGN[block.relation]
    first, *rest = in_lines(left, block.rhs, LATEX, limit)
    rows = [f"{left} &{sign} {first}", *(rf"&\quad {x}" for x in rest)]
    mark = r"\nonumber"
    if block.label:
        mark = rf"\tag{{{block.label}}}\label{{dilaton:{block.label}}}"
    return [*(rf"{row} \nonumber\\" for row in rows[:-1]), f"{rows[-1]} {mark}"]


def _table(block: Piece) -> list[str]:
    count = len(block.rows[0])
    widths = [0.36, 0.17] if count > 3 else [0.5]
    cells = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{x}\linewidth}}" for x in widths
    )
    lines = [rf"\begin{{longtable}}{{@{{}}ll{cells}@{{}}}}"]
    for i, row in enumerate(block.rows):
        lines.append(" & ".join(map(_prose, row)) + r" \\")
        lines += [r"\hline\endhead"] if i == 0 else []
    return [*lines, r"\end{longtable}"]


def _prose(text: str) -> str:
    return typeset(text, _words)


def _words(text: str) -> str:
    text = re.sub(r"([_#%&$])", r"\\\1", text).replace("–", "--")
    for sign, shown in (("^", r"\textasciicircum{}"), ("<", "$<$"), (">", "$>$")):
        text = text.replace(sign, shown)
    return text.replace("|", "$|$")
