"""Leading power laws by series of a fixed number of terms: no search, no simplify."""

from __future__ import annotations

from typing import Any

import sympy as sp

SPANS = (2, 4, 8, 16)
"""Powers of x that are kept; more only where all of the first ones cancel."""

MOST = 24  # terms of a series, and orders of a Taylor expansion
NOTHING = sp.Float("1e-40")  # of a coefficient: below it is a zero in other words
DIGITS = 60

LONG = 12
"""Operations of schedules beyond which sympy's `simplify` may search for minutes."""

SMOOTH: tuple[Any, ...] = (
    sp.exp,
    sp.log,
    sp.sin,
    sp.cos,
    sp.tan,
    sp.sinh,
    sp.cosh,
    sp.tanh,
)
SMOOTH += (sp.asin, sp.acos, sp.atan, sp.erf)

Terms = dict[sp.Expr, sp.Expr]
Series = tuple[Terms, sp.Expr]
"""Coefficients by exponent, and the exponent from which on terms are unknown."""


def simplified(expr: sp.Expr, *schedules: sp.Expr) -> sp.Expr:
    """Return a formula simplified, or as it is where the `schedules` in it are long."""
    long = sum(sp.count_ops(x) for x in schedules) > LONG
    return expr if long else sp.simplify(expr)


class NoSeries(ValueError):
    """A function has no expansion in powers of x that these rules find."""


class _Vanished(NoSeries):
    """Too few terms were kept."""


def leading_term(expr: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """Return (k, y) such that ``expr ~ k*x**y`` as x falls to 0.

    Raises `NoSeries` where the expansion is not in powers of x, or begins beyond the
    terms that are kept.
    """
    for span in SPANS:
        try:
            terms, _ = _expanded(expr, x, sp.Integer(span))
        except _Vanished:
            continue
        if terms:
            order = min(terms)
            return terms[order], order
    raise NoSeries(f"{expr} vanishes faster than {x}**{SPANS[-1]}")


def _expanded(expr: sp.Expr, x: sp.Symbol, span: sp.Expr) -> Series:
    if x not in expr.free_symbols:
        return _cut({sp.S.Zero: expr}, sp.oo)
    if expr == x:
        return {sp.S.One: sp.S.One}, sp.oo
    parts = [_expanded(part, x, span) for part in expr.args]
    if isinstance(expr, sp.Add):
        return _sum(parts)
    if isinstance(expr, sp.Mul):
        whole = parts[0]
        for part in parts[1:]:
            whole = _product(whole, part, span)
        return whole
    if isinstance(expr, sp.Pow) and x not in expr.exp.free_symbols:
        return _power(parts[0], expr.exp, span)
    if isinstance(expr, SMOOTH):
        return _function(expr.func, parts[0], span)
    raise NoSeries(f"no rule expands {expr}")


def _cut(terms: Terms, unknown: sp.Expr) -> Series:
    """Drop what is unknown, what is zero, and what is beyond the most terms."""
    known = sorted(y for y in terms if y < unknown and not _is_zero(terms[y]))
    if len(known) > MOST:
        unknown = known[MOST]
    return {y: terms[y] for y in known[:MOST]}, unknown


def _is_zero(value: sp.Expr) -> bool:
    if value.is_Rational:
        return value == 0
    found = sp.N(value, DIGITS)
    if not found.is_finite:
        raise NoSeries(f"the coefficient {value} is not finite")
    return bool(abs(found) < NOTHING)


def _sum(parts: list[Series]) -> Series:
    total: Terms = {}
    for terms, _ in parts:
        for y, k in terms.items():
            total[y] = total.get(y, sp.S.Zero) + k
    return _cut(total, min(unknown for _, unknown in parts))


def _product(one: Series, two: Series, span: sp.Expr) -> Series:
    (a, end_a), (b, end_b) = one, two
    low_a, low_b = min(a, default=end_a), min(b, default=end_b)
    unknown = min(low_a + end_b, low_b + end_a)
    total: Terms = {}
    for y, k in a.items():
        for z, m in b.items():
            if y + z < min(unknown, low_a + low_b + span):
                total[y + z] = total.get(y + z, sp.S.Zero) + k * m
    if len(a) * len(b) > len(total):  # some were left out or fell together
        unknown = min(unknown, low_a + low_b + span)
    return _cut(total, unknown)


def _power(base: Series, exponent: sp.Expr, span: sp.Expr) -> Series:
    """The binomial series about the leading term."""
    terms, unknown = base
    if not terms:
        raise _Vanished("a power of something that vanishes to all orders kept")
    low = min(terms)
    lead = terms[low]
    rest = {y - low: k / lead for y, k in terms.items() if y != low}
    factors = [sp.binomial(exponent, k) for k in range(MOST + 1)]
    inner, end = _composed(factors, (rest, unknown - low), span)
    scale, shift = lead**exponent, low * exponent
    return _cut({y + shift: k * scale for y, k in inner.items()}, end + shift)


def _function(kind: type, argument: Series, span: sp.Expr) -> Series:
    """The Taylor series about the argument's limit."""
    terms, unknown = argument
    if unknown <= 0 or any(y < 0 for y in terms):
        raise NoSeries(f"{kind} of something that grows")
    if kind is sp.tan:
        cosine = _power(_function(sp.cos, argument, span), -sp.S.One, span)
        return _product(_function(sp.sin, argument, span), cosine, span)
    if kind in (sp.asin, sp.acos) and _is_zero(
        abs(terms.get(sp.S.Zero, sp.S.Zero)) - 1
    ):
        return _at_the_edge(kind, argument, span)
    at = terms.get(sp.S.Zero, sp.S.Zero)
    z = sp.Dummy("z")
    rest = {y: k for y, k in terms.items() if y != 0}
    needed = _orders(rest, min(unknown, span))
    factors, slope = [], kind(z)
    for k in range(needed):
        factors.append(slope.subs(z, at) / sp.factorial(k))
        slope = sp.diff(slope, z)
    return _composed(factors, (rest, unknown), span)


def _at_the_edge(kind: type, argument: Series, span: sp.Expr) -> Series:
    """Arc sine or cosine at 1 or -1, where they go as a root."""
    sign = sp.sign(argument[0][sp.S.Zero])
    lack = _sum([({sp.S.Zero: sp.S.One}, sp.oo), _times(argument, -sign)])
    root = _power(_times(lack, sp.S.Half), sp.S.Half, span)
    angle = _times(_function(sp.asin, root, span), 2 * sp.S.One)  # acos of the size
    if kind is sp.acos and sign == 1:
        return angle
    start, turn = (sp.pi, 1) if kind is sp.acos else (sign * sp.pi / 2, sign)
    return _sum([({sp.S.Zero: start}, sp.oo), _times(angle, -turn)])


def _times(series: Series, factor: sp.Expr) -> Series:
    return {y: k * factor for y, k in series[0].items()}, series[1]


def _orders(rest: Terms, span: sp.Expr) -> int:
    """How many powers of `rest` reach below `span`."""
    if not rest:
        return 1
    return min(int(sp.ceiling(span / min(rest))), MOST) + 1


def _composed(factors: list[sp.Expr], rest: Series, span: sp.Expr) -> Series:
    """The sum of ``factors[k] * rest**k``; `rest` vanishes with x."""
    terms, unknown = rest
    total: Series = {sp.S.Zero: factors[0]}, sp.oo
    power: Series = {sp.S.Zero: sp.S.One}, sp.oo
    count = min(_orders(terms, min(unknown, span)), len(factors))
    for factor in factors[1:count]:
        power = _product(power, rest, span)
        total = _sum([total, _times(power, factor)])
    end = min(total[1], unknown)
    if terms:
        end = min(end, min(terms) * count)
    return _cut(total[0], end)
