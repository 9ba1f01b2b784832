"""From a printed label to the code that derives it and the test that keeps it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, did_you_mean
from .guards import RULES, guards_of

if TYPE_CHECKING:
    from ..theory.derive import Limit, System
    from ..theory.models.model import Model
    from ..theory.symbols.system import Equation, Step

COLUMNS = 96
"""Columns of a line, without the indent of what is continued."""

PAGES = {"bayes": "docs/derivation.md", "two-modes": "docs/derivation-samples.md"}
"""The page on which the equations of two modes are printed, by the model's case."""


@dataclass(frozen=True)
class Place:
    """The places where one equation is derived, tested and printed.

    A rule has no system.
    """

    label: str
    equation: str
    quantity: str | None
    system: str | None
    function: str
    numbers: str | None
    tests: tuple[str, ...]
    docs: str


def find_label(limit: Limit, label: str) -> list[Place]:
    """Return every place of `label` in `limit`, or the rule that is called so.

    Raises
    ------
    ModelError
        When no equation of the model and no rule has that label.
    """
    wanted = label.strip().strip("()")
    found = [
        _place(limit.model, system, record)
        for system, record in _printed(limit, wanted)
        if record.label == wanted
    ]
    found = found or list(_rules(wanted))
    if not found:
        raise _unknown(limit, wanted)
    return found


def _unknown(limit: Limit, wanted: str) -> ModelError:
    """Return the error for a label that is none; a quantity has some."""
    every = [record for _, record in _printed(limit, wanted)]
    labels = {str(record.label) for record in every}
    known = sorted(labels, key=lambda x: (x[0], len(x), x))
    own = [x.label for x in every if str(getattr(x, "lhs", "")) == wanted]
    remedy = did_you_mean(wanted, known)
    if own:
        remedy = f". As a quantity it has {', '.join(dict.fromkeys(map(str, own)))}."
    return ModelError(
        f"A label must be one of the model's ({', '.join(known)}) or a rule's, but "
        f"`{wanted}` is neither{remedy}"
    )


def labelled(system: System) -> Iterator[Equation | Step]:
    """Yield what a document prints with a label."""
    yield from (step for step in system.steps if step.label)
    yield from system.equations + system.observables + system.solution
    for branch in system.branches:
        yield from branch.equations


def _printed(limit: Limit, label: str) -> Iterator[tuple[System, Equation | Step]]:
    """Every labelled line as it is printed: losses are numbered as they come."""
    losses = count(2)  # (L1) is the loss of the setting
    modes = case_name(limit.model) == "modes"
    for system in _systems(limit, label):
        for record in labelled(system):
            if str(record.label).startswith("L") and not modes:
                record = replace(record, label=f"L{next(losses)}")
            yield system, record


def _systems(limit: Limit, label: str) -> Iterator[System]:
    """The systems of the limit; those left out of it are derived if asked for."""
    yield from limit.systems
    if label[:1] in "KR" and "tied" not in limit.own_exact and "tied" in limit.exact:
        yield limit.exact["tied"]
    if label.startswith("C"):
        known = {system.name for system in limit.systems}
        for phase in limit.phases:
            if phase.correction and phase.correction.name not in known:
                yield phase.correction


def _place(model: Model, system: System, record: Equation | Step) -> Place:
    from ..theory.symbols.system import Equation

    case = case_name(model)
    module, _, function = record.source.partition(":")
    quantity = str(record.lhs) if isinstance(record, Equation) else None
    return Place(
        label=str(record.label),
        equation=_formula(system, record),
        quantity=quantity,
        system=system.name,
        function=f"{module.replace('.', '/')}.py:{function}",
        numbers=None if case == "modes" else _numbers(case, system),
        tests=guards_of(case, system.name),
        docs=_docs(case, model, str(record.label)),
    )


def _numbers(case: str, system: System) -> str:
    """The function that compiles the system, and solves it where that is needed."""
    solvers = {
        "flow": "numerics/ode/integrate.py:integrate",
        "stationary": "numerics/minima/minimise.py:minimise",
    }
    if case == "classes" and system.kind == "stationary":
        return "numerics/minima/continuation.py:minimise_classes"
    return solvers.get(system.kind, "numerics/codegen/kernel.py:make_kernel")


def case_name(model: Model) -> str:
    """The case of a model by name; targets of modes have their own."""
    from ..theory.models.cases import case_of
    from ..theory.models.model import Modes

    return "modes" if isinstance(model.target, Modes) else case_of(model).value


def _formula(system: System, record: Equation | Step) -> str:
    """The equation on one line, as `dilaton derive` prints it."""
    from ..theory.symbols.system import Equation

    if not isinstance(record, Equation):
        formula: Any = record.formula
        is_equation = type(formula).__name__ == "Equality"
        return f"{formula.lhs} = {formula.rhs}" if is_equation else str(formula)
    own = record in system.equations
    if own and system.kind == "stationary":
        return f"dJ/d{record.lhs} = 0"
    rate = "'" if own and system.kind == "flow" else ""
    return f"{record.lhs}{rate} = {record.rhs}"


def _docs(case: str, model: Model, label: str) -> str:
    """The printed line: a page of two modes, or what the command prints."""
    from ..theory.models.model import two_modes

    page = PAGES.get(case) if model.target == two_modes() else None
    if page is None:
        return "dilaton derive SPEC --format markdown"
    path = Path(__file__).resolve().parents[2] / page
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    tags = [i for i, line in enumerate(lines, 1) if rf"\tag{{{label}}}" in line]
    return f"{page}:{tags[0]}" if tags else page


def _rules(label: str) -> Iterator[Place]:
    """The functions of theory/ whose docstring gives a rule the label."""
    word = re.escape(label)
    marks = re.compile(rf"\A[^\n]*\({word}\)|Label \({word}\)|\\tag\{{{word}\}}")
    for function, text in _documented():
        if marks.search(text):
            title, tests = text.partition("\n")[0], RULES.get(label, ())
            yield Place(
                label, title, None, None, function, None, tests, "docs/design.md"
            )


@cache
def _documented() -> list[tuple[str, str]]:
    """The functions and classes of theory/, as `file:name`, with their docstrings."""
    root = Path(__file__).resolve().parents[2] / "theory"
    if not root.exists():  # installed, the folders lie beside one another
        root = Path(__file__).parents[1] / "theory"
    return [
        (f"{path.relative_to(root.parent).as_posix()}:{node.name}", text)
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and (text := ast.get_docstring(node))
    ]


def as_text(places: list[Place]) -> str:
    """The places, one below the other, for reading."""
    blocks = []
    for place in places:
        rows = {
            "equation": (place.equation,),
            "system": (place.system or "a rule of the engine",),
            "function": (place.function,),
            "numbers": (place.numbers or "those of its callers",),
            "tests": place.tests or ("those of its callers",),
            "docs": (place.docs,),
        }
        lines = [
            line for key, value in rows.items() for line in _wrapped(f"{key:<9}", value)
        ]
        head = f"({place.label})" + (f" {place.quantity}" if place.quantity else "")
        blocks.append("\n".join([head, *lines]))
    return "\n\n".join(blocks)


def _wrapped(key: str, values: Iterable[str]) -> list[str]:
    """Values in lines of 100 columns at most where they have spaces, one a line."""
    indent = " " * (len(key) + 3)
    room: dict[str, Any] = {"width": COLUMNS - len(indent)}
    room |= {"break_long_words": False, "break_on_hyphens": False}
    pieces = [
        f"{'' if i == 0 else '    '}{x}"
        for value in values
        for i, x in enumerate(wrap(_parted(value, room["width"]), **room))
    ]
    return [f"  {key} {pieces[0]}", *(f"{indent}{x}" for x in pieces[1:])]


def _parted(value: str, width: int) -> str:
    """A place with a space before its second half, if it is too long for a line."""
    return value.replace("::", " ::") if len(value) > width else value


def as_rows(places: list[Place]) -> list[dict]:
    """The places as plain data."""
    return [asdict(place) for place in places]
