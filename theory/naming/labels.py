r"""Averages over the label, and sums over the classes of samples.

Where both modes enter with their weights, $p\,E_+ + (1-p)E_-$ is an average over the
label $y = \pm1$ too: $E[y\tanh H]$ with $H = b + y\beta\omega + \sqrt r\,g$. Where each
class has numbers of its own, terms that are alike but for the class are one sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from itertools import combinations
from math import prod

import sympy as sp
from sympy.printing.precedence import PRECEDENCE

from ..models.classes import labels
from .fields import MARK
from .sums import N, cost, is_average, tidy

Y = "y"
SLACK = 1.6  # how much longer equations may be before they are collected


def mode_pairs(
    symbols: set[sp.Symbol], unit: str = ""
) -> list[tuple[sp.Symbol, sp.Symbol]]:
    """Return averages over the + and the - mode of one function of a unit's field."""
    by_name = {str(x): x for x in symbols if is_average(x)}
    return [
        (x, by_name[other])
        for name, x in sorted(by_name.items())
        if f"H{unit}_plus" in name
        and (other := name.replace("_plus", "_minus")) in by_name
    ]


def over_labels(
    rows: Mapping[sp.Basic, sp.Expr], p: sp.Expr, unit: str = ""
) -> tuple[dict[sp.Basic, sp.Expr], dict[sp.Symbol, sp.Expr]] | None:
    """Write `rows` with averages over the label, and say what these are.

    `None` where that is not shorter: the modes do not enter with their weights.
    """
    symbols: set[sp.Symbol] = set().union(*(x.free_symbols for x in rows.values()))
    found_pairs = mode_pairs(symbols, unit)
    if not found_pairs or not any(x.has(p) for x in rows.values()):
        return None
    even, odd, swap = {}, {}, {}
    for plus, minus in found_pairs:
        body = re.sub(r"(H\w*?)_plus", r"\1", str(plus)[2:-1])
        whole = sp.Symbol(f"E[{body}]", real=True)
        lean = sp.Symbol(f"E[{Y}*{body}]", real=True)
        even[whole] = p * plus + (1 - p) * minus
        odd[lean] = p * plus - (1 - p) * minus
        swap[plus] = (whole + lean) / (2 * p)
        swap[minus] = (whole - lean) / (2 * (1 - p))
    found = {key: _labelled(value, swap, p) for key, value in rows.items()}
    before = sum(map(cost, rows.values()))
    if sum(map(cost, found.values())) >= SLACK * before:
        return None
    used = set().union(*(x.free_symbols for x in found.values()))
    return found, {x: e for x, e in (even | odd).items() if x in used}


def _labelled(value: sp.Expr, swap: dict[sp.Symbol, sp.Expr], p: sp.Expr) -> sp.Expr:
    if not value.free_symbols & set(swap):
        return value
    slopes = {x: sp.diff(value, x) for x in swap}
    if any(slope.free_symbols & set(swap) for slope in slopes.values()):
        return sp.factor(value.xreplace(swap))
    total = tidy(value.xreplace(dict.fromkeys(swap, sp.S.Zero)))
    rates: dict[sp.Symbol, sp.Expr] = {}
    for x, slope in slopes.items():
        for symbol in swap[x].free_symbols:
            rate = slope * sp.diff(swap[x], symbol)
            rates[symbol] = rates.get(symbol, sp.S.Zero) + rate
    return total + sp.Add(
        *(sp.factor(sp.cancel(rate)) * x for x, rate in rates.items() if is_average(x))
    )


def with_labels(
    row: sp.Expr, signs: Collection[sp.Symbol], bodies: dict[sp.Symbol, sp.Expr]
) -> sp.Expr:
    """Return a row with the labels of its averages inside them, ``E[y_1*phi(H_1)]``.

    `bodies` holds what averages stand for; those that are new are added.
    """
    found = []
    for term in sp.Add.make_args(sp.expand(row)):
        powers = term.as_powers_dict()
        inside = [x for x in powers if is_average(x)]
        if len(inside) != 1:
            found.append(term)
            continue
        (average,) = inside
        even = sp.Mul(*(y ** powers[y] for y in signs if y in powers))
        odd = sorted((y for y in signs if powers.get(y, 0) % 2), key=str)
        marks = "".join(f"{y}*" for y in odd)
        name = sp.Symbol(f"E[{marks}{str(average)[2:-1]}]", real=True)
        bodies[name] = sp.Mul(*odd) * bodies[average]
        found.append(term / even / average * name)
    return sp.Add(*found)


# --------------------------------------------------------------- sums over the classes


class ClassSum(sp.Expr):
    r"""$\sum_y f_y$ over the classes: the two modes, or the signs of several features.

    Arguments: the term, with ``_either`` for the class and `y` (`y_1`, ...) for its
    signs, and the marks of the classes. `expanded` gives the sum in full.
    """

    is_commutative = True
    precedence = PRECEDENCE["Add"]

    def __new__(cls, term: sp.Expr, *marks: sp.Symbol) -> sp.Expr:
        """Return the node; what does not depend on the class is taken out."""
        outside, inside = sp.S.One, sp.S.One
        for factor in sp.Mul.make_args(term):
            if any("_either" in str(x) or str(x)[0] == Y for x in factor.free_symbols):
                inside *= factor
            else:
                outside *= factor
        if str(inside) == "n_either":  # every sample is of a class
            return outside * N
        return outside * sp.Expr.__new__(cls, inside, *marks)

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """The symbols of the term; the marks are names."""
        return self.args[0].free_symbols

    def expanded(self) -> sp.Expr:
        """Return the sum, term by term."""
        return sp.Add(*(remarked(self.args[0], str(mark)) for mark in self.args[1:]))


def signs_of(mark: str) -> tuple[int, ...]:
    """Return the signs of the features in a class."""
    words = {"plus": (1,), "minus": (-1,)}
    return words.get(mark) or tuple(1 if x == "p" else -1 for x in mark)


def in_order(marks: Iterable[str]) -> list[str]:
    """Return marks of classes from all signs + to all signs -."""
    return sorted(marks, key=lambda m: tuple(-s for s in signs_of(m)))


def remarked(expr: sp.Expr, mark: str) -> sp.Expr:
    """Return a term of class ``either`` for the class `mark`."""
    signs = signs_of(mark)
    at = dict(zip(labels(len(signs)), signs, strict=True))
    return _renamed(expr, lambda name: name.replace("_either", f"_{mark}")).xreplace(at)


def _renamed(expr: sp.Expr, change: Callable[[str], str]) -> sp.Expr:
    swap = {}
    for x in expr.free_symbols:
        name = change(str(x))
        if name != str(x):
            swap[x] = sp.Symbol(name, **x.assumptions0)
    return expr.xreplace(swap)


def _either(expr: sp.Expr) -> sp.Expr:
    return _renamed(expr, lambda name: MARK.sub("_either", name))


def unified(terms: list[sp.Expr], marks: list[str]) -> sp.Expr | None:
    """Return one term that is `terms` class by class, if there is one."""
    bodies = [_either(x) for x in terms]
    signs = [1 if b == bodies[0] else -1 if b == -bodies[0] else 0 for b in bodies]
    if all(signs):
        sign = character(tuple(signs), marks)
        return None if sign is None else sign * bodies[0]
    first = terms[0]
    if {x.func for x in terms} == {sp.Pow} and len({x.exp for x in terms}) == 1:
        base = unified([x.base for x in terms], marks)
        return None if base is None else base**first.exp
    for kind in (sp.Add, sp.Mul):
        parts = [kind.make_args(x) for x in terms]
        if len(parts[0]) > 1:
            found = _paired(parts, marks)
            return None if found is None else kind(*found)
    return None


def _paired(parts: list[tuple[sp.Expr, ...]], marks: list[str]) -> list[sp.Expr] | None:
    """Match the parts of the first class with those of the others."""
    if len({len(x) for x in parts}) > 1:
        return _sign_apart(parts, marks)
    left = [list(x) for x in parts]
    found = []
    for part in parts[0]:
        match = _partners(part, left[1:], marks)
        if match is None:
            return None
        chosen, whole = match
        for row, x in zip(left[1:], chosen, strict=True):
            row.remove(x)
        found.append(whole)
    return found


def _sign_apart(
    parts: list[tuple[sp.Expr, ...]], marks: list[str]
) -> list[sp.Expr] | None:
    """Match products of which some carry a factor -1."""
    signs = [-1 if sp.S.NegativeOne in row else 1 for row in parts]
    rest = [tuple(x for x in row if x != -1) for row in parts]
    sign = character(tuple(s * signs[0] for s in signs), marks)
    if sign is None or len({len(x) for x in rest}) > 1 or rest == parts:
        return None
    found = _paired(rest, marks)
    return None if found is None else [signs[0] * sign, *found]


def _partners(
    part: sp.Expr, left: list[list[sp.Expr]], marks: list[str]
) -> tuple[list[sp.Expr], sp.Expr] | None:
    """Return what stands for `part` in the other classes, and the term for all."""
    if not left:
        return [], part
    shape = unsigned(part)
    chosen = [next((x for x in row if unsigned(x) == shape), None) for row in left]
    if any(x is None for x in chosen):
        return None
    whole = unified([part, *chosen], marks)
    return None if whole is None else (chosen, whole)


@lru_cache(maxsize=4096)
def unsigned(expr: sp.Expr) -> sp.Expr:
    """Return a term without its class and without the signs of its sums' terms."""

    def bare(node: sp.Expr) -> sp.Expr:
        if node.is_Number:
            return abs(node)
        if node.is_Atom:
            return _either(node)
        return node.func(*map(bare, node.args))

    return bare(expr)


def character(signs: tuple[int, ...], marks: list[str]) -> sp.Expr | None:
    """Return the product of labels that has these signs on the classes."""
    count = len(signs_of(marks[0]))
    for size in range(count + 1):
        for subset in combinations(range(count), size):
            values = [prod(signs_of(m)[k] for k in subset) for m in marks]
            flip = values[0] * signs[0]
            if tuple(flip * v for v in values) == signs:
                return flip * sp.Mul(*(labels(count)[k] for k in subset))
    return None


def summed(expr: sp.Expr, marks: list[str] | None = None) -> sp.Expr:
    """Return `expr` with sums for terms that are alike but for the class.

    A sum is over every class: one over some of them is written out.
    """
    marks = _marks_in(expr) if marks is None else marks
    if expr.is_Atom or isinstance(expr, ClassSum) or not _all_classes(marks):
        return expr
    if not expr.is_Add:
        return expr.func(*(summed(x, marks) for x in expr.args))
    by_class: dict[str, list[sp.Expr]] = {m: [] for m in marks}
    rest: list[sp.Expr] = []
    for term in expr.args:
        held = _marks_in(term)
        (by_class[held[0]] if len(held) == 1 else rest).append(term)
    sums, alone = [], []
    for term in by_class[marks[0]]:
        match = _partners(term, [by_class[m] for m in marks[1:]], marks)
        if match is None:
            alone.append(term)
            continue
        for mark, x in zip(marks[1:], match[0], strict=True):
            by_class[mark].remove(x)
        sums.append(match[1])
    alone += [x for m in marks[1:] for x in by_class[m]]
    names = [sp.Symbol(m) for m in marks]
    whole = ClassSum(sp.factor_terms(sp.Add(*sums)), *names) if sums else sp.S.Zero
    return sp.Add(whole, *alone, *(summed(x, marks) for x in rest))


def _all_classes(marks: list[str]) -> bool:
    return len(marks) > 1 and len(marks) == 2 ** len(signs_of(marks[0]))


def _marks_in(expr: sp.Expr) -> list[str]:
    found = {m[1] for x in expr.free_symbols for m in MARK.finditer(str(x))}
    return in_order(found)


def expanded(expr: sp.Expr) -> sp.Expr:
    """Return `expr` with every sum over classes written out."""
    return expr.replace(
        lambda e: isinstance(e, ClassSum), lambda e: expanded(e.expanded())
    )
