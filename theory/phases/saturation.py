r"""The variance phase for n samples of a product mixture: units are signs.

Unit `j` is the sign of feature `j` on every row, so training regresses $x_1$ on $x$
and the signs. The signs agree by chance, $T_{jk} = \sum_i s_{ij}s_{ik}$, and each
unit sees every feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple

import sympy as sp

from ..models.classes import Classes, check_patterns, classes_of, pair
from ..models.model import D, Model
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.search import S_PHASE, Window
from .loss import at_large_d, window_parameters
from .variance import SILENT, decided_flow, regular, silent, variance_parameters

ALPHA, BETA = sp.symbols("alpha beta", positive=True)
A, B = sp.symbols("A B", positive=True)


def draws(model: Model) -> sp.Expr:
    """Rows of a sample: its noise draws, 1 where fresh noise is averaged over."""
    return symbol("noise_draws") if model.data.frozen_noise else sp.S.One


class Signs(NamedTuple):
    r"""$T_{jk} = \sum_i s_{ij}s_{ik}$ and $G = (n_0 T + \lambda)^{-1}$, as names.

    `share` is $n_0 G T$, what the signs of units say of those of features. Sums of
    counts are long; `known` puts them in where algebra is done.
    """

    agree: sp.Matrix
    inverse: sp.Matrix
    share: sp.Matrix
    sums: dict[sp.Dummy, sp.Expr]

    def known(self, expr: sp.Expr) -> sp.Expr:
        """Return `expr` over one denominator, its names written as sums of counts."""
        return sp.together(expr).xreplace(self.sums)


@lru_cache(maxsize=16)
def _signs(data: Classes) -> Signs:
    """Return the sums; G is zero for `silent` units, whose ridge outgrows them."""
    size, same = len(data.units), sp.Dummy("n")
    sums = {same: data.size}
    agree = same * sp.eye(size)
    for j, k in combinations(range(size), 2):
        agree[j, k] = agree[k, j] = name = sp.Dummy(f"T_{j + 1}_{k + 1}")
        sums[name] = data.agreement(j + 1, k + 1)
    if silent(data.model):
        none = sp.zeros(size, size)
        return Signs(agree, none, none, sums)
    n0 = draws(data.model)
    whole = n0 * agree + symbol("ridge_u") * sp.eye(size)
    inverse = whole.inv().applyfunc(sp.factor)
    return Signs(agree, inverse, n0 * inverse * agree, sums)


@lru_cache(maxsize=16)
def unexplained(data: Classes) -> tuple[sp.Expr, sp.Expr]:
    r"""What the signs leave of $x_1$ and of $x_0$, per row and dimension. (L7)

    $$ A = \sum_k\rho_k + \sigma^2 - \frac{n_0}n\,\mathrm{tr}\,G(TRT + \sigma^2 T),
       \qquad B = 1 - \frac1n\,\mathrm{tr}\,GT , $$

    with $R = \mathrm{diag}\,\rho$; fresh noise has $n_0 \to 1$ and $B = 1$.
    """
    signs, n0 = _signs(data), draws(data.model)
    n, inverse, agree = signs.agree[0, 0], signs.inverse, signs.agree
    rho = sp.diag(*(data.rho(j) for j in data.units))
    seen = (inverse * (agree * rho * agree + data.sigma**2 * agree)).trace()
    a = data.norm2 - n0 * seen / n
    b = 1 - (inverse * agree).trace() / n if data.model.data.frozen_noise else sp.S.One
    return signs.known(a), signs.known(b)


@dataclass(frozen=True)
class Coefficients:
    r"""$c$, $1-c\beta$ and $c\alpha$ in terms of $A, B$ of (L7)."""

    skip: sp.Expr
    kept: sp.Expr
    lean: sp.Expr

    def each(self, change: Callable[[sp.Expr], sp.Expr]) -> Coefficients:
        """Return the coefficients after a substitution or a limit."""
        return Coefficients(change(self.skip), change(self.kept), change(self.lean))


def coefficients() -> Coefficients:
    r"""The skip $c = \beta A/(\alpha^2 B + \beta^2 A)$, and what it leaves."""
    below = ALPHA**2 * B + BETA**2 * A
    return Coefficients(
        BETA * A / below, ALPHA**2 * B / below, ALPHA * BETA * A / below
    )


def values(data: Classes, given: Coefficients) -> dict[sp.Symbol, sp.Expr]:
    r"""Learned overlaps for a given skip. (V2)-...

    $u_j = \sum_l G_{jl}\sum_{\rm rows} s_l\,[(1-c\beta)x_1 - c\alpha x_0]$.
    """
    n0, signs = draws(data.model), _signs(data)
    found: dict[sp.Symbol, sp.Expr] = {
        pair("m", j, k): given.kept
        * (data.root(k) / data.root(j))
        * signs.known(signs.share[j - 1, k - 1])
        for j in data.units
        for k in data.units
    }
    scales = {"a": given.kept * n0 * data.sigma}
    if data.model.data.frozen_noise:
        scales["e"] = -given.lean
    for name, scale in scales.items():
        for j, x in product(data.units, data.patterns):
            seen = sum(signs.inverse[j - 1, k - 1] * x[k - 1] for k in data.units)
            found[data.own(name, j, x)] = scale * signs.known(seen)
    known = dict(zip((A, B), unexplained(data), strict=True))
    return {x: e.subs(known) for x, e in (found | _norms(data, found)).items()}


def _norms(data: Classes, found: dict[sp.Symbol, sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
    r"""$q_{jk}$ from the overlaps with means, samples' noises and noise draws."""
    norms = {}
    for j in data.units:
        for k in range(j, len(data.units) + 1):
            means = sum(
                found[pair("m", j, x)] * found[pair("m", k, x)] for x in data.units
            )
            rest = sum(
                weight
                * data.count(c)
                * found[data.own(name, j, c)]
                * found[data.own(name, k, c)]
                for name, weight in (("a", 1), ("e", draws(data.model)))
                for c in data.patterns
                if data.own(name, j, c) in found
            )
            norms[pair("q", j, k)] = means + rest / (data.root(j) * data.root(k))
    return norms


def learned(model: Model, window: Window) -> System:
    """The closed learned parameters of the variance phase. (V1)-..."""
    data = _checked(model)
    given = bulk_coefficients(window).each(lambda e: _here(e, window))
    found = {symbol("c"): _known(data, given.skip), **values(data, given)}
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=tuple(
            Equation(f"V{i}", x, value) for i, (x, value) in enumerate(found.items(), 1)
        ),
        parameters=variance_parameters(model, window),
        steps=_steps(data),
    ).check()


def bulk_coefficients(window: Window) -> Coefficients:
    r"""In $\alpha, \beta$ of the window; in a bridge the noise diverges with `d`."""
    found = coefficients()
    if window.variance:
        return found
    return found.each(lambda e: at_large_d(e.subs(ALPHA, ALPHA * D)))


def _here(expr: sp.Expr, window: Window) -> sp.Expr:
    return expr.subs({ALPHA: window.alpha, BETA: window.beta}, simultaneous=True)


def _known(data: Classes, expr: sp.Expr) -> sp.Expr:
    return expr.subs(dict(zip((A, B), unexplained(data), strict=True)))


def _checked(model: Model) -> Classes:
    check_patterns(model)
    return classes_of(model)


def _steps(data: Classes) -> tuple[Step, ...]:
    a, b = unexplained(data)
    if silent(data.model):
        return (
            Step(
                f"{SILENT}, and so is every other. The skip alone is left, "
                "`c = beta A/(alpha^2 + beta^2 A)`, with",
                sp.Eq(A, a, evaluate=False),
                "L7",
            ),
        )
    rows = "n noise_draws rows" if data.model.data.frozen_noise else "n rows"
    return (
        Step(
            "Every field diverges, so unit `j` is the sign `s_j` of its row. The "
            f"loss is a ridge regression of `x1` on `x` and the signs over {rows}. "
            "With `T_jk = sum_i s_ij s_ik` and `G = (T noise_draws + ridge_u)^(-1)` "
            "(1 draw for fresh noise), the signs leave of `x1`, per row and "
            "dimension,",
            sp.Eq(A, a, evaluate=False),
            "L7",
        ),
        Step(
            "and of `x0`, which fresh noise leaves whole,",
            sp.Eq(B, b, evaluate=False),
        ),
        Step(
            "so that the skip is `c = beta A/(alpha^2 B + beta^2 A)`, and `u` follows."
        ),
    )


def sampling(model: Model, window: Window) -> System:
    r"""The flow of the means and of the bulk, each sign `S` decided before. (S)

    $$ \dot M_k = \gamma M_k + \zeta\sum_j \sqrt{\rho_j/\rho_k}\;m_{jk} S_j, \qquad
       \dot V = 2\gamma V, $$

    solved by $M_k = \beta\sum_j n_0(GT)_{jk}S_j$ and $V = \alpha^2 + \beta^2 A/B$.
    """
    data = _checked(model)
    first = max(6, len(data.units) + len(data.patterns)) + 1
    given = bulk_coefficients(window)
    gamma, drive = (
        _known(data, e) for e in regular({"c": given.skip, "m": given.kept}, window)
    )
    means = {
        symbol(f"M_{k}"): gamma * symbol(f"M_{k}") + drive * _signs_seen(data, k)
        for k in data.units
    }
    return decided_flow(
        model,
        window,
        means,
        gamma,
        _solution(data, window),
        first=first,
        signs="unit `j` keeps the sign `S_j` decided before",
    )


def _signs_seen(data: Classes, k: int) -> sp.Expr:
    r"""$\sum_j n_0 (GT)_{jk} S_j$: what the units' signs say of feature `k`."""
    signs = _signs(data)
    return sum(
        signs.known(signs.share[j - 1, k - 1]) * symbol(f"S_{j}") for j in data.units
    )


def _solution(data: Classes, window: Window) -> tuple[Equation, ...]:
    means = [
        Equation(
            f"S0.{k}", symbol(f"M_{k}"), window.beta * _signs_seen(data, k), "exact"
        )
        for k in data.units
    ]
    bulk = window.alpha**2
    bulk += window.beta**2 * _known(data, A / B) if window.variance else 0
    return (*means, Equation("Q20", symbol("V"), bulk, "exact"))


def frozen(model: Model, window: Window) -> System:
    r"""The feature window with frozen noise: the labels are fitted by the draws. (W)

    As for two modes: $w_j = (K/\sqrt d)\sum s_{ij} x_0$ gives every row a field
    $K s_{ij}$ at vanishing ridge cost; nothing is learned of the weights.
    """
    data = _checked(model)
    x, half = window.alpha_size, sp.Rational(1, 2)
    scaled = {ALPHA: window.alpha * D**x, BETA: window.beta * D ** (x - half)}

    def limit(expr: sp.Expr) -> sp.Expr:
        return at_large_d(expr.subs(scaled, simultaneous=True))

    given = coefficients()
    hat = limit(given.skip * D ** (half + x))
    limits = {symbol("c"): sp.S.Zero, symbol("c_hat"): _known(data, hat)}
    limits |= values(data, given.each(limit))
    limits |= dict.fromkeys(data.each("omega"), sp.S.Zero)
    limits |= {pair("r", j, j): sp.S.Zero for j in data.units}
    limits |= dict.fromkeys(data.each("b"), sp.nan)
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=tuple(
            Equation(f"W{i}", name, value, "degenerate")
            for i, (name, value) in enumerate(limits.items(), 1)
        ),
        parameters=window_parameters(model, window),
        status="degenerate",
        steps=(
            Step(
                "With frozen noise the rows `x0` are orthogonal: `w_j = (K/sqrt(d)) "
                "sum_i s_ij x0` gives every training row a field `K s_ij` at ridge "
                "cost `ridge_w n K^2/d -> 0`, so every unit saturates on its labels. "
                "The field of a fresh `X` is `O(K/sqrt(d))`: the weights are not "
                "learned and the biases are undetermined.",
            ),
        ),
    ).check()
