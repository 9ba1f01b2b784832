"""Records as a notebook shows them, broken into lines as in the documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import sympy as sp

from ..limit import Limit, Phase
from ..models.model import Interpolant, Model, Modes, Target
from ..modes.story import setting as modes_setting, tree
from ..naming.general import Lettering
from ..naming.letters import Letters
from ..symbols.latex import latex
from ..symbols.notation import symbol
from ..symbols.system import Equation, System
from ..windows.dilation import Dilation, T
from .blocks import Piece, display, head, spans
from .derivation import TITLES, phase_pieces, window_text
from .equations import indexed_blocks, system_blocks, told
from .lines import LATEX, in_lines
from .markdown import WIDE, aligned, markdown_body
from .setting import autoencoder, interpolant, target

TAU = r"\tau"
LONGEST = 50_000  # characters of LaTeX that a notebook typesets
LARGEST = 20_000  # operations of a system that is printed at all: no name shortens more


def in_markdown(record: Any) -> str:
    """Return a model or a part of it, a phase or a limit as Markdown with LaTeX."""
    text = markdown_body(blocks_of(record)).lstrip()
    if isinstance(record, Limit):
        text += f"\n{dilation_latex(record.dilation)}"
    return text


@singledispatch
def blocks_of(record: Any) -> list[Piece]:
    """Return what is shown of a record, as pieces of a document."""
    raise TypeError(type(record).__name__)


@blocks_of.register
def _(record: Target) -> list[Piece]:
    return target(record)


@blocks_of.register
def _(record: Modes) -> list[Piece]:
    return told(tree(record))


@blocks_of.register
def _(record: Interpolant) -> list[Piece]:
    return interpolant(record)


@blocks_of.register
def _(record: Model) -> list[Piece]:
    if isinstance(record.target, Modes):
        return told(modes_setting(record))
    own = target(record.target), interpolant(record.interpolant), autoencoder(record)
    return [piece for part in own for piece in part]


@blocks_of.register
def _(record: Phase) -> list[Piece]:
    head = ("system", "kind", "quantities", "labels")
    rows = (head, *map(_row, record.systems))
    start = f"In phase {record.name},"
    return [*phase_pieces(record, start), Piece("table", rows=rows)]


def _row(system: System) -> tuple[str, ...]:
    """A system in a line: its role, its kind, what it fixes, and where that stands."""
    role = system.name.rpartition("/")[2]
    equations = system.equations + system.observables
    labels = [eq.label for eq in equations + system.solution]
    names = ", ".join(f"`{eq.lhs}`" for eq in equations)
    return f"{role}: {TITLES[role].lower()}", system.kind, names, spans(labels)


@blocks_of.register
def _(record: Limit) -> list[Piece]:
    rows = [("phase", "window", "systems")]
    for phase in record.phases:
        roles = (system.name.rpartition("/")[2] for system in phase.systems)
        rows.append((phase.name, window_text(phase), ", ".join(roles)))
    return [Piece("table", rows=tuple(rows))]


def dilation_latex(dilation: Dilation) -> str:
    """Return the map of time, a row for each phase, factored as in text."""
    count = len(dilation.segments)
    rows = []
    for i, segment in enumerate(dilation.segments):
        low, high = (latex(sp.Rational(k, count)) for k in (i, i + 1))
        where = rf"{low} \le t \le {high}\ \text{{({segment.name})}}"
        room = WIDE - LATEX.width(where)
        first, *rest = in_lines(TAU, segment.shown(count * T - i), LATEX, room)
        rows += [rf"\displaystyle {first} & {where}"]
        rows += [rf"\displaystyle \quad {line}" for line in rest]
    table = " \\\\\n".join(rows)
    return f"$$\n{TAU}(t) = \\begin{{cases}}\n{table}\n\\end{{cases}}\n$$"


def system_latex(system: System) -> str:
    """The labelled equations of `system`, aligned; what recurs is named."""
    own = replace(system, steps=())
    every = system.equations + system.observables + system.solution
    if sum(sp.count_ops(eq.rhs) for eq in every) > LARGEST:
        return _summary(system, every)
    if any(x.has(sp.Indexed) for eq in every for x in (eq.lhs, eq.rhs)):
        found = indexed_blocks(own, None, "")
    else:
        time = system.time if system.time is not None else symbol("s")
        plain = Lettering(sp.S.One, sp.S.One, time)
        found = system_blocks(system, own, plain, None, head(""), Letters())
    shown = {block.label for block in found}
    told_of = [eq for eq in every if eq.label not in shown]
    whole = aligned([*found, *(display(eq.lhs, eq.rhs, eq.label) for eq in told_of)])
    return whole if len(whole) < LONGEST else _summary(system, every)


def _summary(system: System, every: Sequence[Equation]) -> str:
    """Return what a system is, where its equations would not fit a notebook's cell."""
    lines = (
        f"{system.name}, {system.kind}: {spans([eq.label for eq in every])}.",
        "These equations are too long for a cell.",
        "dilaton derive prints them with names for what recurs.",
    )
    rows = (rf"\text{{{line}}}" for line in lines)
    body = " \\\\\n".join(rows)
    return f"$$\n\\begin{{gathered}}\n{body}\n\\end{{gathered}}\n$$"
