r"""Formulas that are alike but for the number of a feature, written once with `j`.

$\omega_1 = \kappa\sqrt{\rho_1}\,s$ and $\omega_2 = \kappa\sqrt{\rho_2}\,s$ are one
formula in $j$. Where two features enter, the other is `k`; where the features are of
several exponents, $\rho_j$ and the powers of `d` are put together as $|\mu_j|$.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from ..models.classes import labels
from ..models.model import Model, norm
from ..symbols.notation import SHIFT, symbol
from .labels import Y, in_order, unified

J, K = "j", "k"
OWN = (
    *("p", "rho", "h", "k", "H", "Ht", "Lambda", "m", "omega", "b", "q", "r", "v"),
    *("nu", "M", "F", "S", "T", "y", "zeta", "a", "e", "share_plus"),
)
"""Quantities whose numbers are those of features."""
SYMMETRIC = ("q", "r", "T")
NAME = re.compile(rf"({'|'.join(OWN)})((?:_\d+)+)(_either|{SHIFT})?")
INSIDE = re.compile(r"\b(Ht?|y)((?:_\d+)+)")


@dataclass(frozen=True)
class Row:
    """A formula, its label, and the labels of the same for the features after it."""

    lhs: sp.Basic
    rhs: sp.Expr
    label: str = ""
    others: tuple[tuple[str, str], ...] = ()

    @property
    def labels(self) -> list[str]:
        """All labels of the formula."""
        return [self.label, *(x for _, x in self.others)]


def norms(model: Model | None) -> dict[str, sp.Expr]:
    """Return the norms of the means of several features, by their numbers."""
    features = () if model is None else model.target.features
    return {str(j): norm(x) for j, x in enumerate(features, 1) if len(features) > 1}


def mean_norm(index: str) -> sp.Symbol:
    r"""Return $|\mu|$ of a feature, as a symbol."""
    return sp.Symbol(f"|mu_{index}|", positive=True)


Whole = tuple[Mapping[Any, Row], Row | None]
"""Rows that may be alike, and the one for all of them if they are."""
Index = tuple[str, ...]
CLASS = re.compile(r"(.+)_([pm]{2,})")


def by_class(rows: Sequence[Row], names: Mapping[sp.Symbol, sp.Expr]) -> list[Row]:
    """Return `rows` with one in `y` for those of all classes of several features.

    `names` are put back where rows are alike without them alone.
    """
    families: dict[str, dict[str, Row]] = {}
    for row in rows:
        if found := CLASS.fullmatch(str(row.lhs)):
            families.setdefault(found[1], {})[found[2]] = row
    wholes = [(x, _of_classes(stem, x, names)) for stem, x in families.items()]
    return _with_wholes(rows, wholes)


def _of_classes(
    stem: str, family: Mapping[str, Row], names: Mapping[sp.Symbol, sp.Expr]
) -> Row | None:
    marks = in_order(family)
    if len(marks) < 2 ** len(marks[0]):
        return None
    lhs = sp.Symbol(f"{stem}_either", real=True)
    first, *others = (family[m] for m in marks)
    for put_back in (False, True):
        sides = [sp.sympify(family[m].rhs) for m in marks]
        for x, value in reversed(list(names.items())) if put_back else ():
            sides = [e.xreplace({x: value}) for e in sides]
        whole = unified(sides, marks)
        if whole is not None:
            whole = whole.xreplace({1 / y: y for y in labels(len(marks[0]))})
            return Row(lhs, whole, first.label, tuple((Y, x.label) for x in others))
    return None


def _with_wholes(rows: Sequence[Row], wholes: Iterable[Whole]) -> list[Row]:
    """Return `rows` with one for each family that has one, where its first was."""
    swap: dict[Row, Row | None] = {}
    for family, whole in wholes:
        if whole is not None:
            swap |= dict.fromkeys(family.values())
            swap[next(iter(family.values()))] = whole
    shown = (swap.get(row, row) for row in rows)
    return [row for row in shown if row is not None]


def by_feature(rows: Sequence[Row], sizes: Mapping[str, sp.Expr]) -> list[Row]:
    """Return `rows` with one in `j` for those that are alike; `sizes` is of `norms`."""
    families: dict[tuple[str, int], dict[Index, Row]] = {}
    for row in rows if sizes else ():
        if found := NAME.fullmatch(str(row.lhs)):
            index = tuple(found[2].split("_")[1:])
            stem = f"{found[1]}{found[3] or ''}", len(index)
            families.setdefault(stem, {})[index] = row
    return _with_wholes(rows, [(x, _whole(x, sizes)) for x in families.values()])


def _whole(family: Mapping[Index, Row], sizes: Mapping[str, sp.Expr]) -> Row | None:
    """Return the formula in `j` of a family, if it is one.

    A family is of single features, or of two in either order.
    """
    (index, first), *others = family.items()
    pair = len(family) == 2 and others[0][0] == index[::-1]
    if not others or not (pair or len(index) == 1):
        return None
    numbers = {x for index in family for x in index}
    told = [(index[0], x) for index, row in others for x in row.labels]
    for put_together in (False, True):
        used = sizes if put_together else {}
        sides = {_side(i[0], row, numbers, used) for i, row in family.items()}
        if len(sides) == 1:
            return Row(*sides.pop(), first.label, (*first.others, *told))
    return None


def _side(
    number: str, row: Row, numbers: set[str], sizes: Mapping[str, sp.Expr]
) -> tuple[sp.Basic, sp.Expr]:
    """Return both sides of a row with letters for the numbers of features.

    Of two features the other is `k`; with `sizes` scales become norms.
    """
    other = {x: K for x in numbers - {number}} if len(numbers) == 2 else {}
    letters = {number: J} | other
    means = {mean_norm(x): mean_norm(letters.get(x, x)) for x in sizes}
    rhs = with_norms(sp.sympify(row.rhs), sizes).xreplace(means)
    return lettered(row.lhs, letters), lettered(rhs, letters)


def with_norms(expr: sp.Expr, sizes: Mapping[str, sp.Expr]) -> sp.Expr:
    r"""Return `expr` with $|\mu_j|^2$ over its powers of `d` for every $\rho_j$."""
    rho = {x: symbol(f"rho_{x}") for x in sizes}
    powers = {x: size**2 / rho[x] for x, size in sizes.items()}
    return expr.xreplace({rho[x]: mean_norm(x) ** 2 / powers[x] for x in sizes})


def lettered(expr: sp.Basic, letters: Mapping[str, str]) -> sp.Basic:
    """Return `expr` with letters for the numbers of features in its names."""
    swap = {}
    for x in expr.free_symbols:
        name = _renamed(str(x), letters)
        if name != str(x):
            swap[x] = sp.Symbol(name, **x.assumptions0)
    return expr.xreplace(swap)


def _renamed(name: str, letters: Mapping[str, str]) -> str:
    def index(marks: str, base: str) -> str:
        found = [letters.get(x, x) for x in marks.split("_")[1:]]
        return "".join(f"_{x}" for x in (sorted(found) if base in SYMMETRIC else found))

    if name.startswith("E["):
        return INSIDE.sub(lambda m: m[1] + index(m[2], m[1]), name)
    whole = NAME.fullmatch(name)
    return f"{whole[1]}{index(whole[2], whole[1])}{whole[3] or ''}" if whole else name
