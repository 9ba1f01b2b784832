r"""The phase in which the bulk variance is set: units saturated, skip at work.

The signs are decided: unit `j` is the sign of feature `j` on every row, the bias drops
out, and training is a ridge regression of $x_1$ on $x$ and the signs. Among samples the
signs agree by chance, $T_{jk} = \sum_i s_{ij}s_{ik}$, and each unit sees every feature;
one feature has $T = n$, and the population is the limit $n \to \infty$, $\lambda/n \to
0$, in which each unit sees its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, product

import sympy as sp

from ..models.classes import Classes, classes_of
from ..models.model import D, Model, named
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System, numbered, said
from ..windows.leading import simplified
from ..windows.search import S_PHASE, Window
from .denoiser import HALF, parameters_of
from .loss import ALPHA, BETA, at_large_d, power_limit, window_parameters
from .stationary import squares

A, B = sp.symbols("A B", positive=True)

SILENT = (
    "A tied `w = (beta/alpha^2) sqrt(d) u` costs the ridge `ridge_w` of order `d^2` "
    "where `u` gains of order `d`: the unit is silent"
)


def draws(model: Model) -> sp.Expr:
    """Rows of a sample: its noise draws, 1 where fresh noise is averaged over."""
    return symbol("noise_draws") if model.data.frozen_noise else sp.S.One


def silent(model: Model) -> bool:
    r"""Whether ridges silence the unit: tied, $|w|^2 = (\beta/\alpha^2)^2 d\,|u|^2$.

    For any `ridge_w` > 0 the ridge of `w` is then of order $d^2$ for `u` of order
    $\sqrt d$, where what `u` gains is of order d. (In a feature window $\beta^2$ is
    of order 1/d.)
    """
    return model.autoencoder.tied and model.data.samples


@dataclass(frozen=True)
class Coefficients:
    r"""The skip $c$, the residual gain $1-c\beta$, and the lean on the noise $c\alpha$.

    Sums over classes are long, so $A$ and $B$ of (L7) stay symbols there.
    """

    skip: sp.Expr
    residual_gain: sp.Expr
    lean: sp.Expr

    def each(self, change: Callable[[sp.Expr], sp.Expr]) -> Coefficients:
        """Return the coefficients after a substitution or a limit."""
        return Coefficients(*map(change, (self.skip, self.residual_gain, self.lean)))


@dataclass(frozen=True)
class Regression:
    r"""The regression of $x_1$ on $x$ and the signs of a model's rows.

    `agree` is $T$, `inverse` is $G = (n_0 T + \lambda)^{-1}$, and `share` is $n_0 G T$,
    what the signs of units say of those of features; `sums` holds what their entries
    stand for. A `silent` unit has $G = 0$; the population has $G = 0$, `share` = 1.
    """

    model: Model
    data: Classes | None
    agree: sp.Matrix
    inverse: sp.Matrix
    share: sp.Matrix
    sums: dict[sp.Dummy, sp.Expr]

    def summed(self, expr: sp.Expr) -> sp.Expr:
        """Return `expr` over one denominator, its names written as sums of counts."""
        return sp.together(expr).xreplace(self.sums)

    @property
    def counted(self) -> Classes | None:
        """The classes where each has its count: sums over them are not expanded."""
        return self.data if self.data is not None and self.data.counted else None

    @property
    def lettered(self) -> bool:
        """Whether $A$, $B$ and the overlaps keep their letters: they have values."""
        has_values = self.data is not None and not silent(self.model)
        return has_values and self.model.autoencoder.lettered

    @property
    def units(self) -> range:
        """Numbers of the units, one for each feature."""
        return range(1, len(self.model.target.features) + 1)

    @cached_property
    def unexplained(self) -> tuple[sp.Expr, sp.Expr]:
        r"""The variances of $x_1$ and $x_0$ left by the signs, per coordinate. (L7)

        $$ A = \sum_k\rho_k + \sigma^2 - \frac{n_0}n\,\mathrm{tr}\,G(TRT + \sigma^2 T),
           \qquad B = 1 - \frac1n\,\mathrm{tr}\,GT , $$

        with $R = \mathrm{diag}\,\rho$; fresh noise has $n_0 \to 1$ and $B = 1$, the
        population $A = \sigma^2$.
        """
        sigma2 = self.model.target.sigma**2
        if self.data is None:
            return sigma2, sp.S.One
        n, agree = self.agree[0, 0], self.agree
        rho = sp.diag(*(self.data.rho(j) for j in self.units))
        seen = (self.inverse * (agree * rho * agree + sigma2 * agree)).trace()
        a, b = self.data.norm2 - draws(self.model) * seen / n, sp.S.One
        if self.model.data.frozen_noise:
            b = 1 - (self.inverse * agree).trace() / n
        a, b = self.summed(a), self.summed(b)
        return (a, b) if self.counted else (sp.factor(a), sp.factor(b))

    def known(self, expr: sp.Expr) -> sp.Expr:
        """Return `expr` with the values of $A$ and $B$, unless it is lettered."""
        if self.lettered:
            return expr if self.model.data.frozen_noise else expr.subs(B, 1)
        return self.valued(expr)

    def valued(self, expr: sp.Expr) -> sp.Expr:
        """Return `expr` with the values of $A$ and $B$."""
        found = expr.subs(dict(zip((A, B), self.unexplained, strict=True)))
        return found if self.counted else sp.factor(found)

    @property
    def coefficients(self) -> Coefficients:
        r"""The skip $c = \beta A/(\alpha^2 B + \beta^2 A)$, and what it leaves."""
        below = ALPHA**2 * B + BETA**2 * A
        found = Coefficients(
            BETA * A / below, ALPHA**2 * B / below, ALPHA * BETA * A / below
        )
        return found if self.counted else found.each(self.known)

    def within(self, window: Window) -> Coefficients:
        r"""The coefficients of a phase; in a bridge the noise diverges with `d`."""
        found = self.coefficients
        if window.variance:
            return found
        return found.each(lambda e: at_large_d(e.subs(ALPHA, ALPHA * D)))

    def overlaps(self, given: Coefficients) -> dict[sp.Symbol, sp.Expr]:
        r"""Learned overlaps for a given skip. (V2)-...

        $u_j = \sum_l G_{jl}\sum_{\rm rows} s_l\,[(1-c\beta)x_1 - c\alpha x_0]$. Where
        the units are alike in all names (one feature, or the population) so are the
        overlaps: $q = m^2 + n a^2 + n n_0 e^2$.
        """
        if self.counted:
            found = _overlaps_of_classes(self, self.counted, given)
            return {x: self.known(e) for x, e in found.items()}
        n, n_0, inverse = self.agree[0, 0], draws(self.model), self.inverse[0, 0]
        m = given.residual_gain * self.share[0, 0]
        a = given.residual_gain * n_0 * self.model.target.sigma * inverse
        e = -given.lean * inverse if self.model.data.frozen_noise else sp.S.Zero
        q = m**2 + n * a**2 + n * n_0 * e**2
        values = {"m": m, "q": q, "a": a, "e": e}
        if self.lettered:
            m, a, e = (symbol(x) if values[x] != 0 else sp.S.Zero for x in "mae")
            q = m**2 + n * a**2 + n * n_0 * e**2
            return {symbol(x): self.summed(v) for x, v in (values | {"q": q}).items()}
        return {symbol(x): sp.factor(self.summed(v)) for x, v in values.items()}

    def seen(self, k: int) -> sp.Expr:
        r"""$\sum_j n_0 (GT)_{jk} S_j$: what the units' signs say of feature `k`."""
        found = sp.S.Zero
        for j in self.units:
            found += self.summed(self.share[j - 1, k - 1]) * named(self.model, "S", j)
        return found


@lru_cache(maxsize=16)
def regression(model: Model) -> Regression:
    """Return the regression of a model whose units are saturated."""
    size, same = len(model.target.features), sp.Dummy("n")
    one, none = sp.eye(size), sp.zeros(size, size)
    if not model.data.samples:
        return Regression(model, None, none, none, one, {})
    data = classes_of(model)
    sums: dict[sp.Dummy, sp.Expr] = {same: data.size}
    agree = same * one
    for j, k in combinations(range(size), 2):
        agree[j, k] = agree[k, j] = name = sp.Dummy(f"T_{j + 1}_{k + 1}")
        sums[name] = data.agreement(j + 1, k + 1)
    if silent(model):
        return Regression(model, data, agree, none, none, sums)
    n0 = symbol("noise_draws") if model.data.frozen_noise else sp.S.One
    whole = n0 * agree + symbol("ridge_u") * one
    inverse = whole.inv().applyfunc(sp.factor)
    return Regression(model, data, agree, inverse, n0 * inverse * agree, sums)


def _overlaps_of_classes(
    fit: Regression, data: Classes, given: Coefficients
) -> dict[sp.Symbol, sp.Expr]:
    """The overlaps of each unit with each mean, and with the noises of each class."""
    found: dict[sp.Symbol, sp.Expr] = {
        data.pair("m", j, k): given.residual_gain
        * (data.root(k) / data.root(j))
        * fit.summed(fit.share[j - 1, k - 1])
        for j, k in product(data.units, repeat=2)
    }
    scales = {"a": given.residual_gain * draws(fit.model) * data.sigma}
    if data.model.data.frozen_noise:
        scales["e"] = -given.lean
    for name, scale in scales.items():
        for j, x in product(data.units, data.patterns):
            seen = sum(fit.inverse[j - 1, k - 1] * x[k - 1] for k in data.units)
            found[data.own(name, j, x)] = scale * fit.summed(seen)
    norms = squares(data, "q", draws(fit.model) if "e" in scales else sp.S.Zero)
    if not data.model.autoencoder.lettered:
        norms = {x: norm.xreplace(found) for x, norm in norms.items()}
    return found | norms


# ---------------------------------------------------------------------- the systems


def learned(model: Model, window: Window) -> System:
    r"""The closed learned parameters of the variance phase. (V1)-...

    $c = \beta A/(\alpha^2 B + \beta^2 A)$ and, for two modes, $m = (1-c\beta)
    N/(N+\lambda)$ with $N = n n_0$ rows, $A = [\lambda(1+\sigma^2) +
    n_0\sigma^2(n-1)]/(N+\lambda)$ and $B = (N+\lambda-1)/(N+\lambda)$; fresh noise has
    $N = n$, $n_0 \to 1$ and $B = 1$; the population $A = \sigma^2$. A `silent` unit
    leaves $c = \beta(1+\sigma^2)/(\alpha^2 + \beta^2(1+\sigma^2))$, $m = q = a = 0$.
    """
    fit = regression(model)
    here = {ALPHA: window.alpha, BETA: window.beta}
    given = fit.within(window)
    skip = fit.known(given.skip).subs(here, simultaneous=True)
    if fit.lettered:
        c = symbol("c")
        given = Coefficients(c, 1 - c * window.beta, c * window.alpha)
    elif fit.counted:  # the window goes in first: it has to find its way in no sum
        given = given.each(lambda e: e.subs(here, simultaneous=True))
    found = {symbol("c"): skip, **fit.overlaps(given)}
    if not (fit.counted or fit.lettered):
        found = {
            x: sp.factor(e.subs(here, simultaneous=True)) for x, e in found.items()
        }
    equations = numbered("V", found)
    names = bulk_parameters(model, window)
    return System(
        "learned", "closed", S_PHASE, equations, names, steps=_steps(fit)
    ).check()


def _steps(fit: Regression) -> tuple[Step, ...]:
    a, b = fit.unexplained
    if silent(fit.model):
        return (
            Step(
                f"{SILENT}, and so is every other. The skip alone is left, "
                "`c = beta A/(alpha^2 + beta^2 A)`, with",
                sp.Eq(A, a, evaluate=False),
                "L7",
            ),
        )
    unit = (
        "the unit is the sign `S`"
        if len(fit.model.target.features) == 1
        else "unit `j` is the sign `S_j`"
    )
    head = f"Every field diverges, so {unit} of its row. "
    skip = "so that the skip is `c = beta A/(alpha^2 B + beta^2 A)`, and `u` follows."
    if fit.data is None:
        return (
            Step(
                f"{head}The loss is a regression of `x1` on `x` and the signs, which "
                "leave of `x1`, per dimension,",
                sp.Eq(A, a, evaluate=False),
                "L7",
            ),
            Step("and of `x0` all of it, `B = 1`, " + skip),
        )
    frozen_noise = fit.model.data.frozen_noise
    rows = "`N = n noise_draws` rows" if frozen_noise else "`n` rows"
    draws = "T noise_draws" if frozen_noise else "T"
    shared = (
        f"With `T_jk = sum_i S_ij S_ik` and `G = ({draws} + ridge_u)^(-1)`, the"
        if fit.counted
        else "The"
    )
    return (
        Step(
            f"{head}The loss is a ridge regression of `x1` on `x` and the signs over "
            f"{rows}. {shared} signs leave of `x1`, per row and dimension, the "
            "variance",
            sp.Eq(A, a, evaluate=False),
            "L7",
        ),
        Step(
            "and of `x0`," if frozen_noise else "and of `x0`, whose draws are fresh,",
            sp.Eq(B, b, evaluate=False),
        ),
        Step(skip),
    )


def letter_values(model: Model) -> dict[sp.Symbol, sp.Expr]:
    """Return the values of the letters of a system that is derived for print."""
    return dict(zip((A, B), regression(model).unexplained, strict=True))


def bulk_parameters(model: Model, window: Window) -> tuple[sp.Symbol, ...]:
    """Sigma, kappa of the window, sample sizes; squared norms where units mix."""
    own = [model.target.sigma]
    own += [window.kappa] if window.kappa is not None else []
    if model.data.samples and model.target.features:
        data = classes_of(model)
        rho = [f.rho for f in model.target.features]
        own = [*(x for x in rho if isinstance(x, sp.Symbol)), *own]
        own += [x for x in data.counts if data.size.has(x)]
        own += [symbol("ridge_u")]
    own += [symbol("noise_draws")] if model.data.frozen_noise else []
    own += [A, B] if model.autoencoder.lettered else []
    return tuple(own)


def sampling(model: Model, window: Window) -> System:
    r"""The flow of the decided overlaps and of the bulk, each sign `S` kept. (M1)-...

    $$ \dot M_k = \gamma M_k + \zeta(1-c\beta)\sum_j n_0(GT)_{jk} S_j, \qquad
       \dot V = 2\gamma V, \qquad \gamma = \dot\alpha/\alpha + \zeta c, $$

    solved for every number of noise draws by $M_k = \beta\sum_j n_0(GT)_{jk}S_j$ (for
    two modes $\beta\frac{N}{N+\lambda}S$) and $V = \alpha^2 + \beta^2 A/B$; for a
    `silent` unit by $M = 0$, $V = \alpha^2 + \beta^2(1+\sigma^2)$. Written out,
    $\gamma$ is regular at $\tau = 1$.
    """
    fit = regression(model)
    given = fit.within(window)
    if fit.counted:
        gamma, drive = map(fit.known, regular(given.skip, given.residual_gain, window))
        pushes = {k: drive * fit.seen(k) for k in fit.units}
    else:  # one factor for every unit, which is simplified with the rest
        factor = fit.summed(fit.share[0, 0])
        gamma, drive = regular(given.skip, given.residual_gain * factor, window)
        pushes = {k: drive * named(model, "S", k) for k in fit.units}
    means = {named(model, "M", k): push for k, push in pushes.items()}
    big_v = symbol("V")
    flows = {x: gamma * x + push for x, push in means.items()}
    flows[big_v] = 2 * gamma * big_v
    solution = _solution(fit, window)
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=numbered("M", flows),
        parameters=(
            *bulk_parameters(model, window),
            *(named(model, "S", j) for j in fit.units),
        ),
        initial=tuple((eq.lhs, eq.rhs.subs(S_PHASE, 0)) for eq in solution),
        solution=solution,
        domain=(big_v > 0,),
        steps=said(
            "Project the velocity on the means (each unit keeps the sign `S` "
            "decided before) and take the variance of a coordinate orthogonal to "
            "them.",
            "The closed solution satisfies the flow identically.",
        ),
    ).check()


def regular(skip: sp.Expr, gain: sp.Expr, window: Window) -> tuple[sp.Expr, sp.Expr]:
    r"""$\gamma$ and $\zeta$ times `gain`, free of the factor $\alpha$ at $s = 1$."""
    d_alpha, d_beta = sp.symbols("d_alpha d_beta")
    zeta = d_beta - d_alpha * BETA / ALPHA
    gamma = sp.factor(sp.cancel(sp.together(d_alpha / ALPHA + zeta * skip)))
    drive = sp.factor(sp.cancel(sp.together(zeta * gain)))
    # alpha alpha' stays finite where alpha vanishes like a root
    pair = window.alpha, window.beta
    speed = simplified(sp.diff(window.alpha**2, S_PHASE) / 2, *pair) / ALPHA
    known = {BETA: window.beta, d_beta: sp.diff(window.beta, S_PHASE), d_alpha: speed}
    found = []
    for expr in (gamma, drive):
        whole = sp.cancel(sp.together(expr.subs(d_alpha, speed)))
        found.append(simplified(whole.subs(known).subs(ALPHA, window.alpha), *pair))
    return found[0], found[1]


def _solution(fit: Regression, window: Window) -> tuple[Equation, ...]:
    found = {named(fit.model, "M", k): window.beta * fit.seen(k) for k in fit.units}
    bulk = window.alpha**2
    bulk += window.beta**2 * fit.known(A / B) if window.variance else 0
    found[symbol("V")] = bulk
    return numbered("M", found, len(found) + 1, "exact")


def frozen(model: Model, window: Window) -> System:
    r"""A feature window with frozen noise, which is degenerate. (W1)-...

    $w_j = \chi \sum s_{ij}\,x_0$ over the noise draws fits every label at vanishing
    ridge cost, while the field of a fresh $X$ vanishes: `omega`, `r` go to 0, the
    weights are not learned and `b` is free. `u`, `c` are those of saturated labels.
    """
    fit, x = regression(model), window.alpha_size
    scaled = {ALPHA: window.alpha * D**x, BETA: window.beta * D ** (x - HALF)}

    def limit(expr: sp.Expr) -> sp.Expr:
        return at_large_d(expr.subs(scaled, simultaneous=True))

    data, given = classes_of(model), fit.coefficients
    hat = fit.valued(limit(given.skip * D ** (HALF + x)))
    found = {symbol("c"): sp.S.Zero, symbol("c_hat"): hat}
    found |= fit.overlaps(given.each(limit))
    found |= dict.fromkeys(data.each("omega"), sp.S.Zero)
    found |= {data.pair("r", j, j): sp.S.Zero for j in data.units}
    free = sp.nan if model.autoencoder.bias else sp.S.Zero
    found |= {data.of("b", j): free for j in data.units}
    found |= {data.of("v", j): sp.S.Zero for j in data.units}
    equations = numbered("W", found, status="degenerate")
    names = window_parameters(model, window)
    steps = said(
        "With frozen noise the rows `S_ij x0`, with `S_ij` the sign of row `i` in "
        "feature `j`, are orthogonal: `w_j = (chi/sqrt(d)) sum_i S_ij x0`, with any "
        "number `chi`, gives every training row a field `chi S_ij` at ridge cost "
        "`ridge_w N chi^2/d -> 0`, so the labels are fitted and every unit saturates "
        "on the training rows. The field of a fresh `X` is `O(chi/sqrt(d))`: the "
        "weights are not learned and the biases are undetermined."
    )
    return System(
        "learned", "closed", S_PHASE, equations, names, status="degenerate", steps=steps
    ).check()


def mse(model: Model, window: Window) -> System:
    r"""$\sigma^2\alpha^2/(\alpha^2+\sigma^2\beta^2)$: the signs are known. (M5)"""
    sigma2 = model.target.sigma**2
    bulk = window.alpha**2 + sigma2 * window.beta**2
    value = power_limit(sigma2 * window.alpha**2 / bulk)
    label = 2 * max(1, len(model.target.features)) + 3
    equations = numbered("M", {symbol("mse"): value}, label)
    names = tuple(dict.fromkeys(parameters_of(model) + bulk_parameters(model, window)))
    return System("mse", "closed", S_PHASE, equations, names).check()
