"""Systems read back from the text of `sympy_module`; nothing of it is run.

The text is parsed by Python's own parser into a tree. Every node is compared with a
list of what is allowed, and sympy expressions are built node by node: no name is
looked up outside the text, and nothing reaches ``eval``, ``exec`` or ``sympify``.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import sympy as sp

from ...errors import DilatonError, ModelError, did_you_mean
from ..symbols.system import Branch, Equation, Step, System
from .expressions import CONSTANTS, CONSTRUCTORS
from .sympy_module import HOMES, LEAVES

LONGEST, DIGITS, LARGEST_POWER = 20_000_000, 60, 64
"""Longest text, longest number, and largest power of a number that are read."""

FACTS = ("positive", "real", "integer", "nonnegative", "negative", "nonzero", "finite")
"""Assumptions that a symbol may be declared with."""

RECORDS: dict[str, type] = {x.__name__: x for x in (Equation, Step, Branch, System)}
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
NAME = re.compile(r"[A-Za-z][\w.|^' ]*|\|\w+\|\^?\d?", re.ASCII)
REMEDY = "Read what `dilaton derive SPEC --format sympy` printed."


def read_systems(text: str) -> tuple[System, ...]:
    """Return the systems of a module that ``dilaton derive --format sympy`` printed.

    The text is compared with a small grammar and never run: symbols with assumptions,
    numbers, ``+ - * / **``, the constructors that the export writes, and the records of
    a `System`. Its last assignment is ``SYSTEMS``, a tuple of systems, whose equations,
    parameters, domains and steps are equal to the derived ones.

    Raises `ModelError` where the text leaves the grammar, with the line and the piece
    at fault, or when a system uses a symbol that it does not declare.

    >>> from dilaton import Model, derive, two_modes
    >>> from dilaton.theory.exports.sympy_module import sympy_module
    >>> limit = derive(Model(two_modes()))
    >>> read_systems(sympy_module(limit)) == limit.systems
    True
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ModelError(
            f"`text` must be a module of at most {LONGEST} characters, but is "
            + (f"{len(text)} long. " if isinstance(text, str) else f"{text!r:.40}. ")
            + REMEDY
        )
    reader = _Reader()
    try:
        for statement in ast.parse(text).body:
            reader.statement(statement)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, DilatonError):
            raise
        where = getattr(error, "lineno", None) or reader.line
        raise ModelError(
            f"An export must be Python that can be parsed, but line {where} is not: "
            f"{getattr(error, 'msg', None) or str(error) or 'too deep'}. {REMEDY}"
        ) from error
    return _systems(reader.names.get("SYSTEMS"))


def _systems(found: Any) -> tuple[System, ...]:
    kinds = isinstance(found, tuple) and all(isinstance(x, System) for x in found)
    if not kinds or not found:
        raise ModelError(
            "An export must end with `SYSTEMS`, a tuple of systems, but it does not. "
            + REMEDY
        )
    return tuple(system.check() for system in found)


class _Reader:
    """Builds what a module says, statement by statement."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = dict(CONSTANTS)
        self.line = 0

    def statement(self, node: ast.stmt) -> None:
        """Take in an assignment; imports of the grammar's own names are passed over."""
        self.line = node.lineno
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, ast.ImportFrom) and _known(node):
            return
        targets = node.targets if isinstance(node, ast.Assign) else []
        if len(targets) == 1 and isinstance(targets[0], ast.Name):
            self.names[targets[0].id] = self.value(node.value)  # type: ignore[attr-defined]
            return
        raise self.refused(node, "a statement that is no assignment")

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression of the grammar."""
        self.line = node.lineno
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.Name):
            if node.id not in self.names:
                raise self.unknown(node.id, self.names)
            return self.names[node.id]
        if isinstance(node, ast.Tuple):
            return tuple(map(self.value, node.elts))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.number(node.operand)
        if isinstance(node, ast.BinOp):
            return self.chain(node)
        if isinstance(node, ast.Subscript):
            return self.indexed(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self.call(node.func.id, node)
        raise self.refused(node, "no piece of the grammar")

    def constant(self, node: ast.Constant) -> Any:
        found = node.value
        if found is None or isinstance(found, bool | str):
            return found
        if isinstance(found, int) and len(str(found)) <= DIGITS:
            return sp.Integer(found)
        raise self.refused(node, f"no text or whole number of {DIGITS} digits")

    def number(self, node: ast.expr) -> sp.Basic:
        """Return the value of a node that must be an expression."""
        found = self.value(node)
        if not isinstance(found, sp.Expr):
            raise self.refused(node, "no expression")
        return found

    def chain(self, node: ast.BinOp) -> sp.Basic:
        """Return ``a + b - c``, worked off from the left as Python does."""
        links: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            links.append(first)
            first = first.left
        total = self.number(first)
        for link in reversed(links):
            other = self.number(link.right)
            if type(link.op) not in OPERATORS:
                raise self.refused(link, "no operator of + - * / **")
            if isinstance(link.op, ast.Pow):
                self.check_power(link, total, other)
            total = OPERATORS[type(link.op)](total, other)
        return total

    def check_power(self, node: ast.expr, base: Any, exponent: Any) -> None:
        """Refuse powers that could fill the memory."""
        if not exponent.is_number:
            return
        try:
            small = bool(abs(exponent) <= LARGEST_POWER)
        except TypeError:  # not a number that can be compared
            small = False
        if small and base.is_Rational:
            bits = max(abs(int(base.p)), int(base.q)).bit_length()
            small = bits * int(abs(exponent)) <= LARGEST_POWER**2
        if not small:
            raise self.refused(node, f"a power beyond {LARGEST_POWER}")

    def indexed(self, node: ast.Subscript) -> sp.Basic:
        base, index = self.value(node.value), self.value(node.slice)
        if not isinstance(base, sp.IndexedBase):
            raise self.refused(node, "an index of what is no family")
        try:
            return base[index]
        except Exception as error:
            raise self.refused(
                node, "an index that the family does not take"
            ) from error

    def call(self, name: str, node: ast.Call) -> Any:
        """Return what a constructor makes of its arguments."""
        given = [self.value(x) for x in node.args]
        named = {str(k.arg): self.value(k.value) for k in node.keywords}
        self.line = node.lineno
        if name in RECORDS:
            return self.record(name, node, given, named)
        known = CONSTRUCTORS | LEAVES
        if name not in known:
            raise self.unknown(name, (*known, *RECORDS))
        if name == "Symbol":
            return self.symbol(node, given, named)
        plain = not named or named == {"evaluate": False}
        if not (plain and all(map(_expression, given))) and name != "Float":
            raise self.refused(node, f"no call of `{name}` with expressions")
        if name == "Pow" and len(given) == 2:
            self.check_power(node, *given)
        try:
            return known[name](*given, **named)
        except DilatonError:
            raise
        except Exception as error:
            raise self.refused(node, f"no arguments of `{name}`") from error

    def symbol(self, node: ast.Call, given: list, named: dict[str, Any]) -> sp.Symbol:
        name = given[0] if len(given) == 1 else None
        facts = all(k in FACTS and isinstance(v, bool) for k, v in named.items())
        if not isinstance(name, str) or not NAME.fullmatch(name) or not facts:
            raise self.refused(node, "no symbol with a name and assumptions")
        return sp.Symbol(name, **named)

    def record(self, name: str, node: ast.Call, given: list, named: dict) -> Any:
        """Return a record of a system, its fields of the right kinds."""
        kinds = _fields(RECORDS[name])
        values = dict(zip(kinds, given, strict=False)) | named
        strange = set(values) - {*kinds, "source"}
        if strange or len(given) > len(kinds):
            what = f"`{min(strange)}`" if strange else "so many fields"
            raise self.refused(node, f"a `{name}` without {what}")
        for key, value in values.items():
            if not _fits(value, kinds.get(key, str)):
                raise self.refused(node, f"a `{name}` whose `{key}` is of another kind")
        try:
            return RECORDS[name](**values)
        except TypeError as error:
            raise self.refused(node, f"a `{name}` with a field missing") from error

    def refused(self, node: ast.AST, what: str) -> ModelError:
        piece = ast.unparse(node)
        piece = piece if len(piece) <= 50 else f"{piece[:47]}..."
        return ModelError(
            "An export may have symbols, numbers, operators and the constructors that "
            f"`--format sympy` writes, but line {self.line} has `{piece}`, {what}. "
            + REMEDY
        )

    def unknown(self, name: str, known: Any) -> ModelError:
        guess = did_you_mean(name, known).partition("; ")[2]
        return ModelError(
            "An export may use the names that it defines and the constructors that "
            f"`--format sympy` writes, but line {self.line} has `{name}`"
            + (f"; {guess} " if guess else ". ")
            + REMEDY
        )


def _known(node: ast.ImportFrom) -> bool:
    """Whether an import is of the names that an export writes, from their home."""
    ours = {*CONSTRUCTORS, *CONSTANTS, *LEAVES, *RECORDS}
    names = {x.name for x in node.names if x.asname is None}
    homes = {HOMES.get(name, "sympy") for name in names}
    return len(names) == len(node.names) and names <= ours and homes == {node.module}


def _expression(value: Any) -> bool:
    """Whether a value may stand in an expression: bounds and cases are tuples."""
    if isinstance(value, tuple):
        return all(map(_expression, value))
    return isinstance(value, sp.Basic)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that a field's annotation says."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is UnionType:
        return any(_fits(value, part) for part in parts)
    if origin is not tuple:
        return isinstance(value, hint)
    if parts[-1] is ...:
        return isinstance(value, tuple) and all(_fits(x, parts[0]) for x in value)
    whole = isinstance(value, tuple) and len(value) == len(parts)
    return whole and all(map(_fits, value, parts))


def _fields(record: type) -> dict[str, Any]:
    """The fields of a record with their kinds; a quantity may be one of a family."""
    name: Any = sp.Symbol | sp.Indexed
    wider = {"lhs": name, "initial": tuple[tuple[name, sp.Expr], ...]}
    wider |= dict.fromkeys(("parameters", "inputs"), tuple[name, ...])
    hints = get_type_hints(record) | wider
    return {x.name: hints[x.name] for x in fields(record) if x.name != "source"}
