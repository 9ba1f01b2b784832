r"""How learning times grow with `d`: exponents by dominant balance.

An expression at times $\tau = s\,d^{-e}$ leads as $C\,d^{a + be}(\log d)^k e^{-c(\log
d)^2}$ with rational `a`, `b`, linear in the exponent `e` between the values at which
two terms balance; these are collected, so that the largest power over all scales can be
found exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Model
from ..phases.denoiser import exact_denoiser
from ..windows.dilation import T
from ..windows.search import Window, find_windows
from .densities import Density
from .held import check_trainable

S = sp.Dummy("s", positive=True)
"""Stands for the time in units of its power of `d`, and for any positive constant."""

ODD = (sp.sin, sp.tan, sp.sinh, sp.tanh, sp.atan, sp.asin)
"""Functions that vanish with their argument, in proportion to it."""

EVEN = (sp.cos, sp.cosh)


@dataclass(frozen=True)
class Growth:
    r"""Leading behaviour of an expression at $\tau = s d^{-e}$.

    `power` $= (a, b)$ stands for $d^{a+be}$; `logs` is the power of $\log d$ and, where
    that is 1, `slope` the coefficient of $\log d$ as a linear function of `e`; `decay`
    is `c` in $e^{-c(\log d)^2}$, infinite for what vanishes faster. `factor` is 0 for
    what is exactly zero.
    """

    factor: sp.Expr
    power: tuple[sp.Expr, sp.Expr] = (sp.S.Zero, sp.S.Zero)
    logs: sp.Expr = sp.S.Zero
    slope: tuple[sp.Expr, sp.Expr] = (sp.S.Zero, sp.S.Zero)
    decay: sp.Expr = sp.S.Zero


ZERO = Growth(sp.S.Zero, decay=sp.oo)


@dataclass
class Balance:
    """The growth of expressions at one exponent `e`, and where two terms balance."""

    e: sp.Expr
    crossings: set[sp.Expr] = field(default_factory=set)

    def value(self, form: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
        """A linear function of the exponent here."""
        return form[0] + form[1] * self.e

    def rank(self, g: Growth) -> tuple:
        """The key by which terms are ordered by size."""
        return -g.decay, self.value(g.power), g.logs

    def meet(self, one: Iterable[sp.Expr], two: Iterable[sp.Expr]) -> None:
        """Note the exponent at which two linear functions agree."""
        (a, b), (c, d) = one, two
        if b != d:
            self.crossings.add((a - c) / (d - b))

    def of(self, expr: sp.Expr) -> Growth:
        """Return the growth of `expr`; raise `DerivationError` where it is unknown."""
        expr = sp.sympify(expr)
        if expr in (TAU, T):
            return Growth(S, (sp.S.Zero, -sp.S.One))
        if expr == D:
            return Growth(sp.S.One, (sp.S.One, sp.S.Zero))
        if not expr.has(TAU, T, D):
            return Growth(expr) if expr != 0 else ZERO
        if expr.is_Mul:
            return reduce(multiplied, map(self.of, expr.args))
        if expr.is_Add:
            return self._sum([self.of(x) for x in expr.args], expr)
        if expr.is_Pow and not expr.exp.has(TAU, T, D):
            return _raised(self.of(expr.base), expr.exp)
        return self._function(expr)

    def _sum(self, terms: list[Growth], expr: sp.Expr) -> Growth:
        terms = [t for t in terms if t.factor != 0]
        top = max(terms, key=self.rank, default=ZERO)
        for t in terms:
            self.meet(t.power, top.power)
        equal = [t for t in terms if self.rank(t) == self.rank(top)]
        factor = sp.simplify(sum(t.factor for t in equal))
        if top.logs == 1 and self.value(top.power) == 0:
            slope = tuple(sum(x) for x in zip(*(t.slope for t in equal), strict=True))
            return self._logarithm(slope)
        if factor == 0:
            together = sp.factor(sp.simplify(expr))
            if not together.is_Add:
                return self.of(together)
            raise DerivationError(
                "The leading terms of a density must not cancel for its power of d to "
                f"be read off, but those of {expr} do. Simplify the formula."
            )
        return replace(top, factor=factor)

    def _logarithm(self, slope: tuple) -> Growth:
        """A logarithm that grows as `slope` times ``log d``, or a constant."""
        self.meet(slope, (sp.S.Zero, sp.S.Zero))
        size = self.value(slope)
        if size == 0:
            return Growth(S)
        return Growth(size, logs=sp.S.One, slope=slope)

    def _function(self, expr: sp.Expr) -> Growth:
        if isinstance(expr, sp.Piecewise):
            return self._piecewise(expr)
        if isinstance(expr, sp.Min | sp.Max):
            return self._extreme(expr)
        inner = self.of(expr.args[0])
        size = self.value(inner.power)
        plain = not inner.logs and not inner.decay
        if isinstance(expr, sp.log) and not inner.decay:
            if plain and size == 0 and not inner.power[1]:
                return Growth(sp.log(inner.factor)) if inner.factor != 1 else ZERO
            return self._logarithm(inner.power)
        if isinstance(expr, sp.exp):
            return self._exponential(inner, expr)
        if plain and size <= 0 and isinstance(expr, ODD):
            return inner if size < 0 else Growth(expr.func(inner.factor))
        if plain and size <= 0 and isinstance(expr, EVEN):
            return Growth(sp.S.One if size < 0 else expr.func(inner.factor))
        raise DerivationError(
            "A density's growth with d is derived for powers, exponentials and "
            f"logarithms, but it contains {expr}. Ask for times at several d instead."
        )

    def _exponential(self, inner: Growth, expr: sp.Expr) -> Growth:
        size, positive = self.value(inner.power), inner.factor.is_positive
        if inner.factor == 0 or size < 0:
            return Growth(sp.S.One)
        if size == 0 and inner.logs == 1:
            return Growth(S, inner.slope)
        if size == 0 and inner.logs == 0:
            return Growth(S)
        if positive is False or inner.factor.is_negative:
            quadratic = size == 0 and inner.logs == 2
            return Growth(S, decay=-inner.factor if quadratic else sp.oo)
        raise DerivationError(
            f"A density must not grow faster than any power of d, but {expr} does. "
            "Check it."
        )

    def _piecewise(self, expr: sp.Piecewise) -> Growth:
        """The branch at this scale; the largest where a bound is of the same scale."""
        found: list[Growth] = []
        for value, condition in expr.args:
            here = self._holds(condition)
            if here is not False:
                found.append(self.of(value))
            if here is True:
                break
        return max(found, key=self.rank, default=ZERO)

    def _holds(self, condition: sp.Basic) -> bool | None:
        """Whether ``tau`` is below a bound at this scale; `None` where it is near."""
        if condition in (sp.true, sp.false):
            return condition == sp.true
        if isinstance(condition, sp.Or):  # of neighbours with equal values
            held = [self._holds(part) for part in condition.args]
            return True if True in held else None if None in held else False
        low, high = condition.args
        bound = high if low == TAU else low
        below = (low == TAU) == isinstance(condition, sp.Le | sp.Lt)
        edge = self.of(bound)
        if edge.factor == 0:
            return not below
        self.meet(edge.power, (sp.S.Zero, -sp.S.One))
        gap = self.value(edge.power) + self.e
        if gap == 0 and self.e == 0 and edge.factor == 1:
            return below  # inside, before the end of time
        return None if gap == 0 else (gap > 0) == below

    def _extreme(self, expr: sp.Expr) -> Growth:
        terms = [self.of(x) for x in expr.args]
        for t in terms:
            self.meet(t.power, terms[0].power)
        pick = min if isinstance(expr, sp.Min) else max
        return pick(terms, key=self.rank)


def multiplied(one: Growth, two: Growth) -> Growth:
    """Return the growth of a product."""
    if one.factor == 0 or two.factor == 0:
        return ZERO
    both = zip(one.power, two.power, strict=True)
    factor = one.factor * two.factor
    number = [g.factor for g in (one, two) if not g.logs]
    slope = one.slope if one.logs else two.slope
    scale = number[0] if len(number) == 1 else sp.S.One
    return Growth(
        factor,
        tuple(a + b for a, b in both),
        one.logs + two.logs,
        tuple(scale * x for x in slope),
        one.decay + two.decay,
    )


def _raised(g: Growth, exponent: sp.Expr) -> Growth:
    if g.factor == 0:
        return ZERO
    power = tuple(exponent * x for x in g.power)
    return Growth(
        g.factor**exponent, power, exponent * g.logs, g.slope, exponent * g.decay
    )


ROUNDS = 12
"""How often new balances are looked for; two or three are usual."""


@dataclass(frozen=True)
class Law:
    """The growth of a learning time: ``d**exponent`` times what `text` says.

    The exponent is infinite for a time that grows faster than any power.
    """

    exponent: sp.Expr
    text: str

    def __str__(self) -> str:
        return "inf" if self.exponent == sp.oo else sp.sstr(self.exponent)


def window_of(model: Model, j: int) -> Window:
    """Return the window in which feature `j` is decided."""
    return next(w for w in find_windows(model) if j in w.features)


def time_law(model: Model, j: int, density: Density, weight: sp.Expr) -> Law:
    r"""Return the growth of the learning time of feature `j` with `d`. (R30)

    The rate is $\frac{|\mu_j|^2}{d}\int\rho\lambda(\alpha^2/\Delta)^2K(\Lambda_j)\,
    d\tau$ with $K$ of order one up to the window, $\tau\sim d^{-e_j}$, and
    $e^{-\Lambda/2}$ beyond: it is as large as its largest part at scales
    $\tau\sim d^{-e}$, $e\ge e_j$.

    Raises `DerivationError` where the window is at the end of time, or no leading term
    can be read off.
    """
    check_trainable(model)
    window = window_of(model, j)
    if window.end == "1":
        raise DerivationError(
            "The growth of a learning time is derived for windows near tau = 0 or "
            f"inside, but that of feature {j} is at the end. Ask for times at several "
            "d instead."
        )
    if density.levels:
        return Law(sp.oo, MISSED)
    seen = weight * exact_denoiser(model).residual_gain ** 2
    best = _largest(window.exponent, density, seen)
    if best is None or best[1].decay == sp.oo:
        return Law(sp.oo, MISSED)
    power, growth = best
    slow = 2 * model.target.features[j - 1].exponent
    if growth.decay:
        scale = sp.nsimplify(growth.decay)
        return Law(sp.oo, f"exp({sp.sstr(scale * sp.log(D) ** 2)})")
    text = sp.sstr(D ** (slow - power) * sp.log(D) ** -growth.logs)
    return Law(slow - power, text)


MISSED = "the density misses the window"


def _largest(
    start: sp.Expr, density: Density, seen: sp.Expr
) -> tuple[sp.Expr, Growth] | None:
    """Return the power and the growth of the largest part of the rate."""
    found: dict[sp.Expr, Growth] = {}
    ahead = {start, start + 1}
    for _ in range(ROUNDS):
        fresh: set[sp.Expr] = set()
        for e in ahead - found.keys():
            found[e], crossings = _part(e, density, seen)
            fresh |= {x for x in crossings if x > start}
        ahead = fresh | ({max(fresh) + 1} if fresh else set())
        if not ahead - found.keys():
            break
    kept = {e: g for e, g in found.items() if g.factor != 0}
    if not kept:
        return None
    at = {e: Balance(e) for e in kept}
    e = max(kept, key=lambda e: at[e].rank(kept[e]))
    if e == max(found) and e > start + 1:
        raise DerivationError(
            f"The density `{density}` must have its mass at some scale of tau, but it "
            "grows towards tau = 0. Check it."
        )
    return at[e].value(kept[e].power), kept[e]


def _part(e: sp.Expr, density: Density, seen: sp.Expr) -> tuple[Growth, set[sp.Expr]]:
    """Return the growth of the part of the rate from one scale, and the balances."""
    here = Balance(e)
    weight = here.of(seen)
    if density.pdf is not None:
        low = here.of(density.edges[0])
        if low.factor != 0 and here.value(low.power) > -e:
            return ZERO, here.crossings
        mass = here.of(density.pdf * TAU)
    else:
        mass = _mass_of_quantile(here, density)
    return multiplied(weight, mass), here.crossings


def _mass_of_quantile(here: Balance, density: Density) -> Growth:
    """Return the share of a uniform point whose time is of this scale."""
    if here.e == 0:
        return Growth(sp.S.One)
    a, b = Balance(here.e).of(density.quantile).power
    at = (-here.e - a) / b
    again = Balance(at).of(density.quantile).power
    if again != (a, b):
        raise DerivationError(
            f"The quantiles of `{density}` must be a power of the uniform point near "
            "tau = 0, but are not. Ask for times at several d instead."
        )
    return Growth(sp.S.One, (a / b, 1 / b))
