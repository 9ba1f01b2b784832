"""A derivation as a Python module of sympy expressions; `read_systems` reads it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from json import dumps as _quoted
from keyword import iskeyword
from typing import Any

import sympy as sp

from ..limit import Limit
from ..symbols.gaussian import Average
from ..symbols.indexed import NormalAverage, Softmax
from ..symbols.system import Branch, Equation, Step, System
from .expressions import CONSTANTS, CONSTRUCTORS, Writer
from .walk import (
    CODE,
    described,
    distinct,
    meaning,
    parts,
    repeated,
    symbols_of,
    title,
    wrapped,
)

OURS = (Average, NormalAverage, Softmax, Branch, Equation, Step, System)
HOMES = {x.__name__: x.__module__ for x in OURS}
"""Modules of the names that are this project's own; all others are sympy's."""

LEAVES: dict[str, Callable[..., Any]] = {
    "Symbol": sp.Symbol,
    "Integer": sp.Integer,
    "Rational": sp.Rational,
    "Float": lambda x, bits: sp.Float(x, precision=min(int(bits), 4096)),
    "sqrt": sp.sqrt,
    "IndexedBase": sp.IndexedBase,
}
"""Nodes without parts, which are written by name, and read by it."""

RESERVED = {*HOMES, *CONSTRUCTORS, *CONSTANTS, *LEAVES, "SYSTEMS"}


def sympy_module(limit: Limit) -> str:
    """Return the systems of a limit as a Python module of sympy expressions.

    Imported, or read by `read_systems`, it gives systems equal to the derived ones.
    """
    systems = limit.systems
    names = _names(systems)
    writer = Writer(names)
    lines = [*_symbols(systems, names, writer), *_bases(systems, names, writer)]
    held = [x for s in systems for x in parts(s)]
    for i, node in enumerate(repeated(held), 1):
        lines.append(f"part_{i} = {writer.definition(node)}")
        names[node] = f"part_{i}"
    known = []
    for system in systems:
        known.append(re.sub(r"\W", "_", system.name))
        lines += ["", f"# {title(system)}", *_system(known[-1], system, writer)]
    lines += ["", f"SYSTEMS = ({', '.join(known)},)"]
    about = "\n".join(["The systems of a derivation.", "", *described(limit)])
    head = [f'r"""{about}\n"""', "", *_imports(writer), ""]
    return "\n".join(head + [row for x in lines for row in _lines(x)]) + "\n"


def _names(systems: tuple[System, ...]) -> dict[sp.Basic, str]:
    names: dict[sp.Basic, str] = {}
    taken = set(RESERVED)
    for x in symbols_of(systems):
        name = re.sub(r"\W+", "_", str(x)).strip("_")
        while name in taken or iskeyword(name):
            name += "_"
        taken.add(name)
        names[x] = name
    return names


def _symbols(
    systems: tuple[System, ...], names: dict[sp.Basic, str], writer: Writer
) -> list[str]:
    writer.used.add("Symbol")
    lines = []
    for x in symbols_of(systems):
        facts = "".join(f", {k}={v}" for k, v in sorted(x._assumptions_orig.items()))
        about = meaning(x)
        line = f"{names[x]} = Symbol({_quoted(str(x))}{facts})"
        lines.append(f"{line}  # {about}" if about else line)
    return lines


def _bases(
    systems: tuple[System, ...], names: dict[sp.Basic, str], writer: Writer
) -> list[str]:
    """Families of quantities, under the name of their letter: ``y_of[j]``."""
    lines = []
    for node in distinct(x for s in systems for x in parts(s)):
        if isinstance(node, sp.IndexedBase):
            name = f"{names[node.label].rstrip('_')}_of"
            lines.append(f"{name} = {writer.definition(node)}")
            names[node] = name
    return lines


def _imports(writer: Writer) -> list[str]:
    homes: dict[str, list[str]] = {"sympy": []}
    for name in sorted({*writer.used, "Equation", "System"}, key=str.lower):
        homes.setdefault(HOMES.get(name, "sympy"), []).append(name)
    lines = []
    for home, names in homes.items():
        line = f"from {home} import {', '.join(names)}"
        long = f"from {home} import ({', '.join(names)})"
        lines += _lines(line if len(line) <= CODE else long)
    return lines


def _system(name: str, system: System, writer: Writer) -> list[str]:
    """Return a system as an assignment; what is as by default is left out."""
    lines = [f"{name} = System("]
    lines += [f"    {_quoted(system.name)},", f"    {_quoted(system.kind)},"]
    lines.append(f"    {writer.whole(system.time)},")
    lines += _rows("", [_equation(eq, writer) for eq in system.equations])
    lines += _rows("", [writer.whole(x) for x in system.parameters])
    objective = system.objective
    if objective is not None:
        lines.append(f"    objective={writer.whole(objective)},")
    if system.status != "asymptotic":
        lines.append(f"    status={_quoted(system.status)},")
    for key, rows in _more(system, writer).items():
        lines += _rows(f"{key}=", rows) if rows else []
    return [*lines, ")"]


def _more(system: System, writer: Writer) -> dict[str, list[str]]:
    """Return the fields of a system that are tuples and may be empty."""
    return {
        "observables": [_equation(eq, writer) for eq in system.observables],
        "inputs": [writer.whole(x) for x in system.inputs],
        "initial": [
            f"({writer.text(x)}, {writer.whole(v)})" for x, v in system.initial
        ],
        "solution": [_equation(eq, writer) for eq in system.solution],
        "branches": [_branch(branch, writer) for branch in system.branches],
        "domain": [writer.whole(x) for x in system.domain],
        "steps": [_step(step, writer) for step in system.steps],
    }


def _rows(head: str, rows: list[str]) -> list[str]:
    """Return a tuple on one line if it fits, else a row a line."""
    line = f"    {head}({_listed(rows)}),"
    if len(line) <= CODE and not any(row.startswith("Equation") for row in rows):
        return [line]
    return [f"    {head}(", *(f"        {row}," for row in rows), "    ),"]


def _listed(rows: list[str]) -> str:
    return f"{rows[0]}," if len(rows) == 1 else ", ".join(rows)


def _equation(eq: Equation, writer: Writer) -> str:
    given = [_quoted(eq.label), writer.text(eq.lhs), writer.whole(eq.rhs)]
    given += [f"status={_quoted(eq.status)}"] if eq.status != "asymptotic" else []
    given += [f"rate={writer.whole(eq.rate)}"] if eq.rate is not None else []
    return f"Equation({', '.join([*given, f'source={_quoted(eq.source)}'])})"


def _branch(branch: Branch, writer: Writer) -> str:
    writer.used.add("Branch")
    given = [_quoted(branch.name), writer.whole(branch.objective)]
    rows = [_equation(eq, writer) for eq in branch.equations]
    return f"Branch({', '.join(given)}, ({_listed(rows)}))"


def _step(step: Step, writer: Writer) -> str:
    writer.used.add("Step")
    text = " ".join(_quoted(x) for x in _pieces(step.text))
    label = "None" if step.label is None else _quoted(step.label)
    given = [text, writer.whole(step.formula), label]
    return f"Step({', '.join([*given, f'source={_quoted(step.source)}'])})"


def _pieces(text: str) -> list[str]:
    """Split a text so that adjacent literals give it back."""
    lines = textwrap.wrap(text, 60)
    whole = [f"{line} " for line in lines[:-1]] + lines[-1:]
    return whole if "".join(whole) == text else [text]


def _lines(line: str) -> list[str]:
    """Return a line as lines that Python reads as one."""
    if len(line) <= CODE or line.lstrip()[:1] == "#":
        return [line]
    if "  # " in line:
        code, _, comment = line.partition("  # ")
        return [f"# {comment}", code]
    if line.startswith("part_"):
        name, _, value = line.partition(" = ")
        line = f"{name} = ({value})"
    return wrapped(line)
