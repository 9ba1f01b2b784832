"""One walk over the systems of a limit, for every language they are exported to.

A system is printed with its labels; a symbol with its definition, its size and its
meaning from the notation table; a subexpression that recurs once, under a name.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable

import sympy as sp

from ...errors import ModelError
from ..document.definitions import definitions
from ..document.derivation import EXACT, TITLES, window_text
from ..limit import Limit, Phase
from ..symbols.gaussian import G2, Average, G
from ..symbols.indexed import ACROSS, DIRECTION, MODE, OTHER, SOURCE, NormalAverage
from ..symbols.latex import plain_prose, typed
from ..symbols.notation import SHIFT, quantity
from ..symbols.system import System

BOUND = frozenset({G, G2, MODE, OTHER, SOURCE, DIRECTION, ACROSS})
"""Variables of averages and indices: what holds one that is free has no name."""

WORTH = 10
"""Nodes from which on a subexpression that recurs is named; an average always is."""

COLUMNS, CODE = 84, 88  # widths of prose and of code


def described(limit: Limit) -> list[str]:
    """Return what stands before the systems: model, phases, dilation, in plain text."""
    schedule = limit.model.interpolant
    lines = [
        "The interpolant is x = alpha x0 + beta x1 with x0 ~ N(0, I),",
        f"alpha = {schedule.alpha} and beta = {schedule.beta}.",
        *map(plain_prose, map(_place, limit.phases)),
        "The dilation of time, t in [0, 1], each phase with its own s in [0, 1]:",
        *(f"  {line}" for line in str(limit.dilation).splitlines()),
    ]
    lines += [] if limit.story else _overlaps(limit)
    return [row for x in lines for row in textwrap.wrap(x, COLUMNS) or [""]]


def headed(limit: Limit, rename: Callable[[str], str]) -> list[str]:
    """Return the first comment of an export: what it is, and what its symbols are.

    Raises `ModelError` where `rename` gives two symbols one name.
    """
    known: dict[str, str] = {}
    rows = {}
    for x in symbols_of(limit.systems):
        name = rename(str(x))
        if known.setdefault(name, str(x)) != str(x):
            raise ModelError(
                "Every symbol of an export must have a name of its own, but "
                f"`{known[name]}` and `{x}` are both `{name}`. Rename one of them."
            )
        if about := meaning(x):
            rows[name] = f"  {name}: {about}"
    first = ["The systems of a derivation.", "", *described(limit), "", "Symbols:"]
    return [*first, *rows.values()]


def _overlaps(limit: Limit) -> list[str]:
    lines = ["", "Each is O(1) as d grows; u, w, b, c are the network's, X the sample:"]
    for row in definitions(limit, limit.systems):
        value = f" = {typed(row.value)}" if row.value is not None else ""
        where = ", ".join(row.phases)
        lines.append(f"  {row.symbol}{value}: {plain_prose(row.meaning)} ({where})")
    return lines


def _place(phase: Phase) -> str:
    window = phase.window
    return (
        f"Phase {phase.name}: {window_text(phase)}; inside it, in units of their "
        f"powers of d, alpha = {window.alpha}, beta = {window.beta}."
    )


def title(system: System) -> str:
    """Return what a system is, in words: its phase and its role."""
    phase, role = system.name.split("/")
    if phase in ("exact", "tied"):
        return EXACT[role if phase == "exact" else phase]
    return f"Phase {phase}: {TITLES[role]}"


def remarks(system: System) -> list[str]:
    """Return the steps of a derivation that are words alone."""
    return [plain_prose(x.text) for x in system.steps if x.text and x.formula is None]


def symbols_of(systems: Iterable[System]) -> list[sp.Symbol]:
    """Return every symbol of the systems, bound ones too, by name."""
    found: set[sp.Symbol] = set()
    for system in systems:
        for node in distinct(parts(system)):
            found |= {node} if isinstance(node, sp.Symbol) else set()
    return sorted(found, key=lambda x: (str(x), str(x.assumptions0)))


def meaning(x: sp.Symbol) -> str:
    """Return the meaning of a symbol and its size in d; empty for one of the steps."""
    name, row = str(x), quantity(str(x))
    if x in (G, G2):
        return "a standard normal that averages are over"
    if row is None:
        return ""
    if name.endswith(SHIFT):
        return f"leading correction of {name.removesuffix(SHIFT)} at finite d"
    return f"{row.meaning}; {row.order}"


def parts(system: System) -> list[sp.Basic]:
    """Return every expression of a system, left sides and steps included."""
    found: list[sp.Basic] = [system.time] if system.time is not None else []
    found += [*system.parameters, *system.inputs, *system.domain]
    own = (*system.equations, *system.observables, *system.solution)
    for eq in (*own, *(eq for branch in system.branches for eq in branch.equations)):
        found += [eq.lhs, eq.rhs, *(() if eq.rate is None else (eq.rate,))]
    found += [x for pair in system.initial for x in pair]
    found += [branch.objective for branch in system.branches]
    found += [] if system.objective is None else [system.objective]
    found += [step.formula for step in system.steps if step.formula is not None]
    return [sp.sympify(x) for x in found]


def distinct(expressions: Iterable[sp.Basic]) -> dict[sp.Basic, None]:
    """Return every subexpression once, inner ones first."""
    found: dict[sp.Basic, None] = {}

    def visit(node: sp.Basic) -> None:
        if node not in found:
            for part in node.args:
                visit(part)
            found[node] = None

    for expression in expressions:
        visit(expression)
    return found


def repeated(expressions: Iterable[sp.Basic]) -> list[sp.Basic]:
    """Return the subexpressions worth a name that occur twice or more.

    Inner ones come first, so that each can be written with the names before it.
    Those with a free index or a free variable of an average are left out.
    """
    given = list(expressions)
    every = distinct(given)
    times = Counter(part for node in every for part in node.args)
    times.update(given)
    size: dict[sp.Basic, int] = {}
    free: dict[sp.Basic, frozenset] = {}
    found = []
    for node in every:
        size[node] = 1 + sum(size[x] for x in node.args)
        free[node] = _free(node, free)
        worth = size[node] >= WORTH or isinstance(node, Average | NormalAverage)
        whole = isinstance(node, sp.Expr) and not free[node] and not node.is_number
        if worth and whole and times[node] > 1:
            found.append(node)
            size[node] = 1
    return found


def _free(node: sp.Basic, free: dict[sp.Basic, frozenset]) -> frozenset:
    """The bound variables that are free in `node`, from those of its parts."""
    if node in BOUND:
        return frozenset({node})
    inside = frozenset().union(*(free[x] for x in node.args))
    if isinstance(node, Average | sp.Sum):
        return inside - set(node.variables)
    if isinstance(node, NormalAverage):
        return inside - node.args[1].free_symbols
    return inside


def renamed(
    expressions: Iterable[sp.Basic], name: Callable[[int], str]
) -> tuple[list[tuple[sp.Symbol, sp.Expr]], list[sp.Expr]]:
    """Return the named subexpressions in order, and the expressions in their terms."""
    given = [sp.sympify(x) for x in expressions]
    names = {x: sp.Symbol(name(i), real=True) for i, x in enumerate(repeated(given), 1)}
    held: dict[sp.Basic, sp.Basic] = {}

    def inside(node: sp.Basic) -> sp.Basic:
        return node.func(*map(short, node.args)) if node.args else node

    def short(node: sp.Basic) -> sp.Basic:
        if node not in held:
            held[node] = names.get(node) or inside(node)
        return held[node]

    return [(x, inside(node)) for node, x in names.items()], [short(x) for x in given]


PIECES = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')


def wrapped(text: str) -> list[str]:
    """Return code as lines of 88 columns, broken at blanks outside of texts."""
    return [row for line in text.split("\n") for row in _broken(line)]


def _broken(line: str) -> list[str]:
    if len(line) <= CODE:
        return [line]
    pad = " " * (len(line) - len(line.lstrip()))
    lines, current = [], pad
    for piece in PIECES.findall(line):
        if len(current) + len(piece) + 1 > CODE and current.strip():
            lines.append(current)
            current = pad + "    "
        current += piece if not current.strip() else f" {piece}"
    return [*lines, current]
