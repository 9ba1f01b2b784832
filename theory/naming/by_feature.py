r"""Formulas that are alike but for the number of a feature, written once with `j`.

$\omega_1 = \kappa\sqrt{\rho_1}\,s$ and $\omega_2 = \kappa\sqrt{\rho_2}\,s$ are one
formula in $j$. Where two features enter, the other is `k`; where the features are of
several exponents, $\rho_j$ and the powers of `d` are put together as $|\mu_j|$.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from ..models.model import Model, norm
from ..symbols.notation import SHIFT, symbol

J, K = "j", "k"
OWN = (
    *("p", "rho", "h", "k", "H", "Ht", "Lambda", "m", "omega", "b", "q", "r", "v"),
    *("nu", "M", "F", "S", "y", "zeta", "a", "share_plus"),
)
"""Quantities whose numbers are those of features."""
SYMMETRIC = ("q", "r")
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


Index = tuple[str, ...]


def by_feature(rows: Sequence[Row], sizes: Mapping[str, sp.Expr]) -> list[Row]:
    """Return `rows` with one in `j` for those that are alike; `sizes` is of `norms`."""
    families: dict[tuple[str, int], dict[Index, Row]] = {}
    for row in rows if sizes else ():
        if found := NAME.fullmatch(str(row.lhs)):
            index = tuple(found[2].split("_")[1:])
            stem = f"{found[1]}{found[3] or ''}", len(index)
            families.setdefault(stem, {})[index] = row
    swap: dict[Row, Row | None] = {}
    for family in families.values():
        whole = _whole(family, sizes)
        if whole is not None:
            swap |= dict.fromkeys(family.values())
            swap[next(iter(family.values()))] = whole
    shown = (swap.get(row, row) for row in rows)
    return [row for row in shown if row is not None]


def _whole(family: Mapping[Index, Row], sizes: Mapping[str, sp.Expr]) -> Row | None:
    """Return the formula in `j` of a family, if it is one.

    A family is of single features, or of two in either order.
    """
    (index, first), *others = family.items()
    pair = len(family) == 2 and others[0][0] == index[::-1]
    if not others or not (pair or len(index) == 1):
        return None
    numbers = {x for index in family for x in index}
    told = tuple((index[0], row.label) for index, row in others)
    for put_together in (False, True):
        used = sizes if put_together else {}
        sides = {_side(i[0], row, numbers, used) for i, row in family.items()}
        if len(sides) == 1:
            return Row(*sides.pop(), first.label, told)
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
