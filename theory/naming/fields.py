r"""Gaussian fields and the averages over them, named.

An average becomes one symbol, ``E[tanh(H_plus)**2]``; its field is defined once. Fields
that are one another's images under the signs of the labels share a letter:
$H_\pm = b \pm \beta\omega + \sqrt r\,g$.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

import sympy as sp

from ..symbols.gaussian import G2, Average, G
from .exactness import fingerprint
from .sums import unit_of

MARK = re.compile(r"_(plus|minus|[pm]+)(?![a-z0-9])")
Exprs = Iterable[sp.Expr]


@dataclass
class Fields:
    """Names of fields, with their values, and of averages, with their bodies."""

    named: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    bodies: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    short: dict[sp.Expr, sp.Symbol] = field(default_factory=dict)

    def write(self, expr: sp.Expr) -> sp.Expr:
        """Return `expr` with symbols for its averages."""
        return expr.xreplace(self.short)


def find_fields(exprs: Exprs, known: dict[sp.Symbol, sp.Expr] | None = None) -> Fields:
    """Name the fields and the averages of `exprs`; `known` fields keep their names."""
    nodes = sorted(set().union(*(x.atoms(Average) for x in exprs)), key=str)
    upright = {node: _upright(node) for node in nodes}
    inner = list(dict.fromkeys(x for u in upright.values() for x in fields_in(u)))
    swap = _matched(inner, known or {})
    fresh: dict[sp.Expr, list[sp.Expr]] = {}
    for x in inner:
        if x not in swap:
            fresh.setdefault(sp.expand(x), []).append(x)
    named = name_fields([alike[0] for alike in fresh.values()])
    names = {value: x for x, value in named.items()}
    for alike in fresh.values():
        swap |= dict.fromkeys(alike, names[alike[0]])
    found = Fields(named | {x: e for e, x in swap.items() if x not in named})
    partners = alone_of(found.named)
    for node, same_law in upright.items():
        body = _inserted(same_law.integrand, swap)
        name = sp.Symbol(f"E[{sp.sstr(body.xreplace(partners))}]", real=True)
        found.bodies[name], found.short[node] = body, name
    found.named = dict(sorted(found.named.items(), key=lambda row: str(row[0])))
    return found


def alone_of(named: dict[sp.Symbol, sp.Expr]) -> dict[sp.Symbol, sp.Symbol]:
    """Return for a second field of a pair, which has `G2`, the field of its mean.

    The pair is jointly Gaussian: in print it is told by its covariance.
    """
    means = {sp.expand(e).subs(G, 0): x for x, e in named.items() if not e.has(G2)}
    centres = {x: e.subs({G: 0, G2: 0}) for x, e in named.items() if e.has(G2)}
    found = {x: means.get(sp.expand(e)) for x, e in centres.items()}
    return {x: y for x, y in found.items() if y is not None}


def _matched(
    inner: list[sp.Expr], known: dict[sp.Symbol, sp.Expr]
) -> dict[sp.Expr, sp.Symbol]:
    """Return the names of fields that are known, in whatever form they are written."""
    found = {}
    marks = {fingerprint(other): name for name, other in known.items()}
    for value in inner if marks else []:
        name = marks.get(fingerprint(value))
        if name is not None:
            found[value] = name
    return found


def _upright(node: Average) -> Average:
    """Return an equal average with no ``-g`` in its fields: it is like ``g``."""
    for g in node.variables:
        for value in fields_in(node):
            if sp.expand(value).coeff(g).could_extract_minus_sign():
                turned = Average(node.integrand.xreplace({g: -g}), *node.variables)
                return turned if isinstance(turned, Average) else node  # a sign is out
    return node


def fields_in(node: Average) -> list[sp.Expr]:
    """Return the fields of an average: what its units are functions of."""
    found: dict[sp.Expr, None] = {}
    for unit in sorted(node.integrand.atoms(sp.Function), key=str):
        value = unit.args[0]
        if value.has(*node.variables):
            found[_bare(value)] = None
    return list(found)


def _bare(value: sp.Expr) -> sp.Expr:
    """Return a unit's argument without its numeric factor and its power."""
    while True:
        if value.is_Pow and value.exp == 2:
            value = value.base
            continue
        rest = value.as_independent(*value.free_symbols, as_Add=False)[1]
        if rest == value:
            return value
        value = rest


def _inserted(body: sp.Expr, swap: dict[sp.Expr, sp.Symbol]) -> sp.Expr:
    found = body.xreplace(swap)
    return found.xreplace({-v: -x for v, x in swap.items()})


# ----------------------------------------------------------------- names of the fields


def name_fields(values: list[sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
    """Name fields: a letter and unit for a family, the labels' signs for a member."""
    families: dict[tuple, list[sp.Expr]] = {}
    for value in values:
        families.setdefault(_family(value), []).append(value)
    stems = _stems(list(families))
    found = {}
    for key, members in families.items():
        for sign, value in _members(members).items():
            found[sp.Symbol(f"{stems[key]}{sign}", real=True)] = value
    return found


def _terms(value: sp.Expr) -> list[sp.Expr]:
    return sorted(sp.Add.make_args(sp.expand(value)), key=_bare_text)


def _bare_text(term: sp.Expr) -> str:
    """Return a term without its sign and without the labels of its symbols."""
    coefficient, rest = term.as_coeff_Mul()
    return f"{abs(coefficient)}*{MARK.sub('', sp.sstr(rest))}"


def _family(value: sp.Expr) -> tuple[str, ...]:
    return tuple(_bare_text(t) for t in _terms(value))


def _stems(families: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """``H``, or ``H_1`` with the number of its unit; ``Ht`` for a second field."""
    found: dict[tuple[str, ...], str] = {}
    for i, key in enumerate(families, 1):
        unit = unit_of(" ".join(key))
        letter = "Ht" if re.search(rf"\b{G2}\b", " ".join(key)) else "H"
        stem = letter + (f"_{unit}" if unit else "")
        free = stem not in found.values()
        found[key] = stem if free else f"{letter}_{i + 10}"
    return found


def _members(members: list[sp.Expr]) -> dict[str, sp.Expr]:
    """Return the members of a family by the signs that tell them apart."""
    if len(members) == 1:
        return {"": members[0]}
    rows = [_terms(x) for x in members]
    marks = [_marks(row) for row in rows]
    if all(marks) and len(set(marks)) == len(rows):
        return {f"_{mark}": x for mark, x in zip(marks, members, strict=True)}
    signs = [[t.could_extract_minus_sign() for t in row] for row in rows]
    varying = [i for i, x in enumerate(zip(*signs, strict=True)) if len(set(x)) > 1]
    words = ["".join("pm"[row[i]] for i in varying) for row in signs]
    if len(members) == 2:
        plus = words[0] > words[1]
        words = ["plus" if plus else "minus", "minus" if plus else "plus"]
    if len(set(words)) < len(members):
        words = [str(i) for i, _ in enumerate(members, 1)]
    return {f"_{word}": x for word, x in zip(words, members, strict=True)}


def _marks(terms: list[sp.Expr]) -> str:
    """Return the label of the classes in `terms`, if it is one."""
    names = {str(x) for t in terms for x in t.free_symbols}
    found = {m[1] for name in names if (m := MARK.search(name))}
    return found.pop() if len(found) == 1 else ""


def grouped(named: dict[sp.Symbol, sp.Expr]) -> list[list[sp.Symbol]]:
    """Return names of fields, family by family."""
    rows = sorted(named, key=lambda x: MARK.sub("", str(x)))
    return [list(g) for _, g in groupby(rows, key=lambda x: MARK.sub("", str(x)))]
