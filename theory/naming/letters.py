"""The letters of a document: a numbered name has one meaning from its start to its end.

A definition that a chapter has given already is not given again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import sympy as sp

from ..symbols.latex import is_average
from .sheet import NUMBERED, Sheet

Meaning = tuple[sp.Expr, frozenset[tuple[sp.Symbol, sp.Expr]]]


@dataclass
class Letters:
    """The names that a document has used, by their meaning."""

    used: dict[Meaning, sp.Symbol] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    told: set[tuple[sp.Symbol, sp.Expr]] = field(default_factory=set)

    def new_chapter(self) -> None:
        """Forget what was defined: a chapter defines its letters itself."""
        self.told.clear()

    def put_in(self, sheet: Sheet) -> set[sp.Symbol]:
        """Number the names of `sheet` on; return those that the chapter has defined."""
        swap: dict[sp.Symbol, sp.Symbol] = {}
        before: set[sp.Symbol] = set()
        names: dict[sp.Symbol, sp.Expr] = {}
        for x, value in sheet.names.items():
            value = value.xreplace(swap)
            meaning = self._meaning(value, sheet)
            if NUMBERED.fullmatch(str(x)):
                swap[x] = self._numbered(str(x)[0], meaning)
            name = swap.get(x, x)
            names[name] = value
            if not meaning[1] and (name, value) in self.told:
                before.add(name)
            self.told.add((name, value))
        sheet.names = names
        sheet.rows = {k: sp.sympify(e).xreplace(swap) for k, e in sheet.rows.items()}
        sheet.fields = {k: e.xreplace(swap) for k, e in sheet.fields.items()}
        return before

    def _meaning(self, value: sp.Expr, sheet: Sheet) -> Meaning:
        """A value with the fields that its averages are over."""
        averaged = any(map(is_average, value.free_symbols))
        return value, frozenset(sheet.fields.items() if averaged else ())

    def _numbered(self, letter: str, meaning: Meaning) -> sp.Symbol:
        if meaning not in self.used:
            self.counts[letter] += 1
            name = f"{letter}_{self.counts[letter]}"
            self.used[meaning] = sp.Symbol(name, real=True)
        return self.used[meaning]
