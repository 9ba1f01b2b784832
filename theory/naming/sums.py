r"""Named quantities: what recurs in the equations of a system, found by structure.

A denominator that is a sum, a sum that stands in several places: each becomes a symbol
with a definition. What is known gets its traditional letter ($\Delta = \alpha^2 +
\sigma^2\beta^2$; $D$ for the ridge plus the squares of the units). Putting the
definitions back gives the expressions again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from ..symbols.gaussian import OpenUnit
from ..symbols.latex import is_average
from ..symbols.notation import symbol
from .general import ALPHA, BETA

LARGE = 250  # operations above which an expression is not brought over one denominator
MANY = 10  # averages in one formula above which it is left as it was derived
N, N_PLUS = symbol("n"), symbol("n_plus")
N_MINUS = sp.Symbol("n_minus", positive=True)
TOTAL = N_PLUS + N_MINUS
DELTA_LETTER = sp.Symbol("Delta", real=True)
DELTA = ALPHA**2 + symbol("sigma") ** 2 * BETA**2
UNITS = (sp.tanh, sp.erf, sp.sign, OpenUnit)


@dataclass
class Names:
    """Definitions in the order they are made: each may use those before it."""

    defined: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def add(self, value: sp.Expr, letter: str = "") -> sp.Symbol:
        """Return the name of `value`, a new one unless it has one."""
        for x, known in self.defined.items():
            if known == value or _same_polynomial(known, value):
                return x
        name = sp.Symbol(self._free(letter or _letter(value)), real=True)
        self.defined[name] = value
        self.taken.add(str(name))
        return name

    def _free(self, letter: str) -> str:
        alone = letter in ("Delta", "D") or letter.startswith(("Lambda", "H"))
        if alone and letter not in self.taken:
            return letter
        letter = "K" if letter == "Delta" else letter
        numbers = (f"{letter}_{i}" for i in range(1, 10_000))
        return next(x for x in numbers if x not in self.taken)


def _same_polynomial(one: sp.Expr, other: sp.Expr) -> bool:
    """Whether two short sums are one, written in two ways."""
    if not (one.is_Add and other.is_Add and one.free_symbols == other.free_symbols):
        return False
    return max(map(sp.count_ops, (one, other))) < 30 and sp.expand(one - other) == 0


def _letter(value: sp.Expr) -> str:
    if value == DELTA:
        return "Delta"
    averages = [x for x in value.free_symbols if is_average(x)]
    if symbol("ridge_u") in value.free_symbols and averages:
        return "D"
    return "A" if averages else "K"


# ----------------------------------------------------------------- shapes of one value


def cost(expr: sp.Expr) -> int:
    """How long a formula is: operations, and twice the sums below a fraction's bar."""
    below = sum(
        sp.count_ops(p.base)
        for p in expr.atoms(sp.Pow)
        if p.base.is_Add and p.exp.is_negative
    )
    return int(sp.count_ops(expr) + below)


def tidy(expr: sp.Expr, lhs: sp.Basic | None = None) -> sp.Expr:
    """Return the shortest of a few equal forms of `expr`, the given one if it is near.

    `lhs` is what the formula is for: a flow is collected in its own unknown.
    """
    if expr.is_Atom or expr.has(sp.nan, sp.Piecewise):
        return expr
    if expr.has(N_MINUS):
        expr = expr.xreplace({N: TOTAL})
    found = [written(e, TOTAL, N) for e in _forms(expr)]
    found[0] = _fewer_squares(found[0])
    best = min(found, key=lambda e: cost(e) * (1 if e == found[0] else 1.25))
    along = written(_along(expr, lhs), TOTAL, N)
    return along if cost(along) <= 1.1 * cost(best) else best


def _fewer_squares(expr: sp.Expr) -> sp.Expr:
    """Write ``n_plus*n_minus`` for ``n*n_plus - n_plus**2`` in every sum."""

    def split(node: sp.Expr) -> sp.Expr:
        flat = sp.expand(node)
        if not flat.has(N_PLUS**2):
            return node if flat.is_Add else flat
        product = sp.expand(flat.xreplace({N_PLUS**2: N_PLUS * (N - N_MINUS)}))
        return product if cost(product) < cost(flat) else node

    return expr.replace(lambda e: e.is_Add and e.has(N_PLUS), split)


def _forms(expr: sp.Expr) -> Iterable[sp.Expr]:
    yield expr
    letters = expr.free_symbols
    many = sum(map(is_average, letters)) > MANY or len(letters) > MANY + 6
    if many or sp.count_ops(expr) > 2 * LARGE:
        yield sp.factor_terms(expr)
        return
    if expr.is_Add and sp.count_ops(expr) > 40:
        yield sp.Add(*(tidy(term) for term in expr.args))
    flat = sp.expand(expr)
    yield flat
    yield collected(flat)
    if sp.count_ops(expr) <= LARGE and not linear(flat):
        top, bottom = sp.fraction(sp.together(flat))
        yield from _ratios(top, bottom)


def _along(expr: sp.Expr, lhs: sp.Basic | None) -> sp.Expr:
    """Return a formula that is linear in its own unknown, collected in it."""
    if lhs is None or lhs not in expr.free_symbols:
        return expr
    flat = sp.expand(expr)
    slope = flat.coeff(lhs)
    rest = sp.expand(flat - slope * lhs)
    return expr if rest.has(lhs) else lhs * _whole(slope) + _whole(rest)


def _whole(expr: sp.Expr) -> sp.Expr:
    """Return a sum with its common factor taken out, and collected."""
    if not expr.is_Add:
        return expr
    factor = sp.gcd_terms(expr)
    return sp.Mul(*(_each_sum(x) for x in sp.Mul.make_args(factor)))


def linear(flat: sp.Expr) -> bool:
    """Whether a sum is linear in averages, of which it has some."""
    terms = sp.Add.make_args(flat)
    most = [sum(is_average(x) for x in _symbols_of(t)) for t in terms]
    return max(most) == 1


def _ratios(top: sp.Expr, bottom: sp.Expr) -> Iterable[sp.Expr]:
    if sp.count_ops(top) + sp.count_ops(bottom) > LARGE:
        return
    whole = sp.factor(top / bottom)
    yield whole
    if whole.is_Mul or whole.is_Pow:
        yield sp.Mul(*(_each_sum(x) for x in sp.Mul.make_args(whole)))


def _each_sum(factor: sp.Expr) -> sp.Expr:
    """Collect the terms of a factor, or of the base of a power."""
    if factor.is_Pow:
        return _each_sum(factor.base) ** factor.exp
    return collected(factor) if factor.is_Add else factor


def collected(expr: sp.Expr) -> sp.Expr:
    """Collect a sum in its averages, their coefficients factored; else in a symbol."""
    if not expr.is_Add:
        return expr
    averages = sorted((x for x in expr.free_symbols if is_average(x)), key=str)
    if linear(expr):
        return _by_coefficient(expr, averages)
    letters = sorted(expr.free_symbols, key=str)
    found = [expr, *(sp.collect(expr, x) for x in letters)]
    return min(found, key=cost)


def _symbols_of(term: sp.Expr) -> list[sp.Symbol]:
    found = []
    for x in sp.Mul.make_args(term):
        base, power = x.as_base_exp()
        found += [base] * (int(power) if power.is_Integer and power > 0 else 1)
    return found


def _by_coefficient(expr: sp.Expr, averages: list[sp.Symbol]) -> sp.Expr:
    """Collect averages that share a coefficient, up to a number."""
    groups: dict[sp.Expr, sp.Expr] = {}
    rest = expr
    for x in averages:
        slope = expr.coeff(x)
        rest -= slope * x
        number, body = sp.factor(slope).as_coeff_Mul()
        groups[body] = groups.get(body, sp.S.Zero) + number * x
    total = sp.factor(sp.expand(rest)) if rest != 0 else sp.S.Zero
    parts = (body * sp.factor_terms(inside) for body, inside in groups.items())
    return total + sp.Add(*parts)


def upright(expr: sp.Expr) -> sp.Expr:
    """Return products in which no ``2*Delta*c + 2``, ``-(s - 1)``, ``-a - b`` is."""

    def product(node: sp.Expr) -> sp.Expr:
        found = []
        sign = node.as_coeff_Mul()[0] < 0
        for x in node.args:
            if not x.is_Add:
                found.append(x)
                continue
            content, body = x.primitive()
            if not content.is_Integer:  # of p - 1/2
                content, body = sp.S.One, x
            minus = [t.as_coeff_Mul()[0] < 0 for t in body.args]
            leads = body.as_coeff_Add()[0] > 0  # as in 1 - beta*c
            if all(minus) or (sign and any(minus) and not leads):
                sign, content, body = all(minus) and not sign, -content, -body
            found += [content, body]
        return sp.Mul(*found)

    return expr.replace(lambda e: e.is_Mul and any(x.is_Add for x in e.args), product)


# ------------------------------------------------------------ what recurs in the rows


def named_sums(rows: Mapping[Any, sp.Expr], names: Names) -> dict[Any, sp.Expr]:
    """Return `rows` shortened; new definitions are added to `names`."""
    found = _arguments(below_bars(dict(rows), names), names)
    if any(x.has(DELTA) for x in found.values()):
        found = _take_out(found, DELTA, names)
    found = recurring(found, names, 3)
    found = {key: tidy(value, key) for key, value in found.items()}
    found = below_bars(found, names)
    return recurring(_settled(found, names), names, 2)


def _settled(rows: dict[Any, sp.Expr], names: Names) -> dict[Any, sp.Expr]:
    """Tidy the definitions; a sum that becomes a product needs no name."""
    products: dict[sp.Symbol, sp.Expr] = {}
    defined: dict[sp.Symbol, sp.Expr] = {}
    for x, value in names.defined.items():
        short = tidy(value.xreplace(products))
        becomes_product = value.is_Add and short.is_Mul and not short.has(sp.Add)
        (products if becomes_product else defined)[x] = short
    names.defined = defined
    return {key: row.xreplace(products) for key, row in rows.items()}


def recurring(
    rows: dict[Any, sp.Expr], names: Names, times: int, averages: bool = True
) -> dict[Any, sp.Expr]:
    """Name sums that stand in several places, the one that saves most first."""
    for _ in range(60):
        best = _best_sum(rows, names, times, averages)
        if best is None:
            break
        rows = _take_out(rows, best, names)
    return rows


def _arguments(rows: dict[Any, sp.Expr], names: Names) -> dict[Any, sp.Expr]:
    """Name the long arguments of units: the field `H` of a flow."""
    inside = {
        unit.args[0]
        for value in rows.values()
        for unit in value.atoms(*UNITS)
        if unit.args[0].is_Add and cost(unit.args[0]) > 6
    }
    for value in sorted(inside, key=str):
        unit = unit_of(str(value))
        rows = _take_out(rows, value, names, f"H_{unit}" if unit else "H")
    return rows


def unit_of(text: str) -> str:
    """Return the number of the unit or feature that a field belongs to, if any."""
    for letter in ("b", "h", "p", "omega", "rho", "m"):
        found = set(re.findall(rf"\b{letter}_(\d+)", text))
        if len(found) == 1:
            return found.pop()
    return ""


def _sums(expr: sp.Expr) -> Iterable[sp.Expr]:
    """Yield the sums inside `expr`, repeated where they are, up to their sign."""
    for node in sp.preorder_traversal(expr):
        if node.is_Add:
            yield positive_form(node)


def positive_form(node: sp.Expr) -> sp.Expr:
    """Return a sum or its negative, whichever has the positive leading term."""
    return -node if node.could_extract_minus_sign() else node


def below_bars(rows: dict[Any, sp.Expr], names: Names) -> dict[Any, sp.Expr]:
    """Name the sums of three terms or more below fractions' bars, and Delta."""
    while True:
        below = {
            positive_form(p.base)
            for value in rows.values()
            for p in value.atoms(sp.Pow)
            if p.base.is_Add and p.exp.is_negative and _worth(p.base)
            if p.base != TOTAL
        }
        if not below:
            return rows
        first = min(below, key=lambda e: (cost(e), str(e)))
        rows = _take_out(rows, first, names)


def _worth(base: sp.Expr) -> bool:
    return len(written(base, TOTAL, N).args) > 2 or cost(base) > 3


def _best_sum(
    rows: dict[Any, sp.Expr], names: Names, times: int, averages: bool
) -> sp.Expr | None:
    """Return the sum whose name would save most, if it saves anything."""
    counts: Counter[sp.Expr] = Counter()
    for value in (*rows.values(), *names.defined.values()):
        inner = value.args if value.is_Add else (value,)
        for part in inner:
            counts.update(_sums(part))
    gains = {
        e: (count - 1) * cost(e) - 4
        for e, count in counts.items()
        if count >= times and cost(e) > (3 if averages else 1) and _nameable(e)
        if averages or not any(map(is_average, e.free_symbols))
    }
    best = max(gains, key=lambda e: (gains[e], str(e)), default=None)
    return best if best is not None and gains[best] > 0 else None


def _nameable(value: sp.Expr) -> bool:
    """Whether a sum is no field's, and no number of samples: these have names."""
    fields = any(str(x) in ("g", "g2") for x in value.free_symbols)
    return not fields and value != TOTAL


def _take_out(
    rows: dict[Any, sp.Expr], value: sp.Expr, names: Names, letter: str = ""
) -> dict[Any, sp.Expr]:
    """Name `value` and write the name wherever it stands, also in a longer sum.

    Of ``2*Delta*c + 2`` the name is for ``Delta*c + 1``.
    """
    whole, (content, value) = value, value.as_content_primitive()
    name = names.add(value, letter)

    def swap(expr: sp.Expr) -> sp.Expr:
        found = written(expr, value, name)
        return found if whole == value else written(found, whole, content * name)

    for x, known in names.defined.items():
        if x != name:
            names.defined[x] = swap(known)
    order = list(names.defined)
    names.defined = _sorted(names.defined, order)
    found = {}
    for key, row in rows.items():
        swapped = swap(row)
        if swapped != row and swapped.is_Add and sp.count_ops(swapped) <= LARGE:
            gathered = sp.collect(sp.expand(swapped), name)
            again = swap(gathered)
            swapped = min((swapped, again), key=cost)
        found[key] = swapped
    return found


def _sorted(
    defined: dict[sp.Symbol, sp.Expr], order: list[sp.Symbol]
) -> dict[sp.Symbol, sp.Expr]:
    """Return definitions so that each uses only those before it."""
    done: dict[sp.Symbol, sp.Expr] = {}

    def visit(x: sp.Symbol) -> None:
        if x in done:
            return
        for y in sorted(defined[x].free_symbols & set(order), key=order.index):
            visit(y)
        done[x] = defined[x]

    for x in order:
        visit(x)
    return done


def written(expr: sp.Expr, value: sp.Expr, name: sp.Symbol) -> sp.Expr:
    """Return `expr` with `name` for the sum `value`, for its negative and its parts."""
    if not value.is_Add:
        return expr.xreplace({value: name, -value: -name})
    terms, negative = set(value.args), {-t for t in value.args}

    def inside(node: sp.Expr) -> sp.Expr:
        if node.is_Atom:
            return node
        args = [inside(x) for x in node.args]
        held = set(args) if node.is_Add else set()
        for wanted, sign in ((terms, 1), (negative, -1)):
            if held >= wanted:
                rest = [x for x in args if x not in wanted]
                return sp.Add(sign * name, *rest)
        return node.func(*args) if tuple(args) != node.args else node

    return inside(expr)
