r"""A minimum in the overlaps that it fixes: what they say of its averages and sums.

With $a = \sigma\,\mathbb E[\varphi]/D$ known, an average is $aD/\sigma$, and the
numerator of $m$ is $mD$: the squared norm reads $m^2 + \sum n a^2$.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from ..symbols.notation import symbol
from ..symbols.system import System
from .exactness import random_point, value_at
from .general import ALPHA
from .sums import (
    N_MINUS,
    N_PLUS,
    TOTAL,
    N,
    Names,
    below_bars,
    cost,
    is_average,
    linear,
    tidy,
    written,
)

OBJECTIVE = ("objective", 0)
ROUNDING = 1e-10  # of two losses that are equal at a point; a term is far above it


def in_overlaps(
    rows: dict, system: System, names: Names
) -> tuple[dict, dict[sp.Symbol, tuple[str, int]]]:
    """Write rows of a minimum in the overlaps before them, where that is shorter.

    Also returns which rows give the overlaps that were used.
    """
    found = below_bars(rows, names)
    relations = Relations()
    raw = dict(found)
    order = [("observable", i) for i in range(len(system.observables))]
    for key in (*order, ("objective", 0)):
        if key in found:
            found[key] = relations.shorter(raw[key])
            if key[0] == "observable":
                lhs = system.observables[key[1]].lhs
                relations.learn(lhs, raw[key], found[key], key)
    least, used = _least_loss(raw, system, names)
    if used:
        found[OBJECTIVE] = least
    return found, relations.rows | used | in_norms(found, system)


def _least_loss(
    raw: dict, system: System, names: Names
) -> tuple[sp.Expr, dict[sp.Symbol, tuple[str, int]]]:
    r"""Write $1 + \sigma^2 - Dq/n + \ell r/n$ for a loss that is least over `u`."""
    places = {eq.lhs: ("observable", i) for i, eq in enumerate(system.observables)}
    size = next((x for x in names.defined if str(x) == "D"), None)
    q, r, sigma = symbol("q"), symbol("r"), symbol("sigma")
    if size is None or not {q, r} <= set(places):
        return raw[OBJECTIVE], {}
    for weight in (sp.S.One, ALPHA**2):  # that of w in units of the noise
        least = 1 + sigma**2 - size * q / N + symbol("ridge_w") * weight * r / N
        whole = least.xreplace({x: raw[places[x]] for x in (q, r)})
        if _vanishes(whole - raw[OBJECTIVE], names):
            return least, {x: places[x] for x in (q, r)}
    return raw[OBJECTIVE], {}


def _vanishes(apart: sp.Expr, names: Names) -> bool:
    for x, value in reversed(names.defined.items()):
        apart = apart.xreplace({x: value})
    apart = apart.xreplace({N_MINUS: N - N_PLUS})
    point = random_point(apart.free_symbols, 0)
    return abs(value_at(apart, point)) <= ROUNDING


def in_norms(found: dict, system: System) -> dict[sp.Symbol, tuple[str, int]]:
    r"""Write $q$ for $m^2 + \sum_y n_y a_y^2$ and $\sigma m$ for $\sum_y n_y y a_y$.

    The rows of `found` are changed in place; the overlaps used are returned.
    """
    places = {str(eq.lhs): i for i, eq in enumerate(system.observables)}
    names = ("m", "q", "a_plus", "a_minus")
    if not set(names) <= set(places):
        return {}
    rows = {symbol(x): ("observable", places[x]) for x in names}
    m, q, *pair = rows
    sizes, sigma = (N_PLUS, N_MINUS), symbol("sigma")
    square = sp.Add(*(n * a**2 for n, a in zip(sizes, pair, strict=True)))
    if sp.expand(found[rows[q]].xreplace({N: TOTAL}) - m**2 - square) != 0:
        return {}
    lean = sizes[0] * found[rows[pair[0]]] - sizes[1] * found[rows[pair[1]]]
    leans = sp.simplify((lean - sigma * found[rows[m]]).xreplace({N: TOTAL})) == 0
    used = {}
    for key, row in found.items():
        if key[0] not in ("observable", "objective") or key in rows.values():
            continue
        counts = dict(zip(pair, sizes, strict=True))
        near = _halved(row, counts, 2, q - m**2)
        near = _halved(near, counts, 1, sigma * m) if leans else near
        if near != row:
            letters = sorted(near.free_symbols - {N, *sizes}, key=str, reverse=True)
            near = sp.collect(sp.expand(near.xreplace({N: TOTAL})), letters, sp.factor)
            if cost(near) < cost(row):
                found[key], used = near, rows
    return used


def _halved(
    row: sp.Expr, counts: dict[sp.Symbol, sp.Symbol], power: int, total: sp.Expr
) -> sp.Expr:
    """Write `total` for the sum over classes of ``n_y*(y*a_y)**power``."""
    pair, sizes, sign = list(counts), list(counts.values()), (-1) ** power
    flat = sp.expand(row.xreplace({N: TOTAL}))
    slopes = [flat.coeff(a, power) for a in pair]
    rates = [sp.cancel(x / n) for x, n in zip(slopes, sizes, strict=True)]
    if rates[0] == 0 or sp.cancel(rates[0] - sign * rates[1]) != 0:
        return row
    gone = sum(x * a**power for x, a in zip(slopes, pair, strict=True))
    return sp.expand(flat - gone) + rates[0] * total


@dataclass
class Relations:
    """Relations that the overlaps of a minimum give for its averages and sums."""

    averages: dict[sp.Basic, sp.Expr] = field(default_factory=dict)
    sums: list[tuple[sp.Expr, sp.Expr]] = field(default_factory=list)
    gathered: list[sp.Symbol] = field(default_factory=list)
    values: dict[sp.Expr, sp.Symbol] = field(default_factory=dict)
    norms: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    places: dict[sp.Symbol, tuple[str, int]] = field(default_factory=dict)
    rows: dict[sp.Symbol, tuple[str, int]] = field(default_factory=dict)

    def shorter(self, value: sp.Expr) -> sp.Expr:
        """Return `value` in the overlaps known so far, if that is shorter."""
        value = self._ridged(self._recognised(value))
        first = tidy(value)
        if not self.rows or not any(map(is_average, value.free_symbols)):
            return first
        near = tidy(self._gathered(value))
        forms = [first, near]
        if not linear(sp.expand(sp.fraction(near)[0])):
            mixed = self._gathered(value).xreplace(self.averages)
            forms.append(tidy(self._gathered(mixed)))
        return min(forms, key=lambda e: (cost(e) * (1.3 if e == first else 1), str(e)))

    def _recognised(self, value: sp.Expr) -> sp.Expr:
        """Write an overlap for a sum that is its value, in whatever form."""
        found = {}
        for node in value.atoms(sp.Add):
            x = self.values.get(sp.expand(node)) if cost(node) < 60 else None
            if x is not None:
                found[node] = x
                self.rows[x] = self.places[x]
        return value.xreplace(found)

    def _ridged(self, value: sp.Expr) -> sp.Expr:
        """Write the norm of `w` where the ridge has its value."""
        ridge = symbol("ridge_w")
        if not self.norms or not value.has(ridge):
            return value
        rate = sp.diff(value, ridge)
        for r, known in self.norms.items():
            if not rate.has(ridge) and sp.simplify(rate * TOTAL - known) == 0:
                self.rows.setdefault(r, self.places[r])
                return value.xreplace({ridge: sp.S.Zero}) + r * ridge / N
        return value

    def _gathered(self, value: sp.Expr) -> sp.Expr:
        """Write the known sums, twice: the first leaves multiples of the second."""
        for _ in range(2):
            for total, short in self.sums:
                value = written(value, total, short)
            for x in self.gathered:
                if value.has(x) and value.has(sp.Add):
                    value = sp.collect(sp.expand(value), x, sp.factor)
        for total, short in self.sums:
            value = written(value, total, short)
        return value

    def learn(
        self, x: sp.Symbol, raw: sp.Expr, value: sp.Expr, row: tuple[str, int]
    ) -> None:
        """Note what an overlap says of an average, or of a sum it is a multiple of."""
        inside = [y for y in value.free_symbols if is_average(y)]
        top, bottom = sp.fraction(value)
        self.places[x] = row
        if inside and not raw.is_Atom:
            self.values[sp.expand(raw)] = x
        if str(x)[0] == "r":
            self.norms[x] = value.xreplace({N: TOTAL})
        if len(inside) == 1 and inside[0] in sp.Mul.make_args(top):
            self.averages[inside[0]] = x * inside[0] / value
        elif top.is_Add and inside and linear(top) and raw.is_Mul:
            self.sums.append((top, x * bottom))
            self.gathered.append(x)
            whole = sp.factor(top.xreplace(self.averages) / bottom)
            long = [e for e in sp.Mul.make_args(whole) if e.is_Add]
            if len(long) == 1 and not any(map(is_average, long[0].free_symbols)):
                self.sums.append((long[0], x * long[0] / whole))
        elif raw.is_Add and inside:
            self.sums.insert(0, (raw, x))
        else:
            return
        self.rows[x] = row
