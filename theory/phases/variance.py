r"""The phase in which the bulk variance is set: units saturated, skip at work.

The signs are decided, the hidden unit is $\pm1$ on every row, the bias drops out, and
training is a ridge regression whose solution is closed for any number of noise draws.
"""

from __future__ import annotations

import sympy as sp

from ..models.classes import classes_of, has_patterns
from ..models.model import D, Model, named, suffix
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.search import S_PHASE, Window
from .denoiser import parameters_of
from .loss import at_large_d, power_limit


def rows(model: Model) -> sp.Expr:
    """The number of rows of the regression: `n`, or `n noise_draws`."""
    frozen = model.data.frozen_noise
    return symbol("n") * (symbol("noise_draws") if frozen else 1)


SILENT = (
    "A tied `w = (beta/alpha^2) sqrt(d) u` costs the ridge `ridge_w` of order `d^2` "
    "where `u` gains of order `d`: the unit is silent"
)


def silent(model: Model) -> bool:
    r"""Whether ridges silence the unit: tied, $|w|^2 = (\beta/\alpha^2)^2 d\,|u|^2$.

    For any `ridge_w` > 0 the ridge of `w` is then of order $d^2$ for `u` of order
    $\sqrt d$, where what `u` gains is of order d. (In a feature window $\beta^2$ is
    of order 1/d.)
    """
    return model.autoencoder.tied and model.data.samples


def saturated_loss(model: Model, alpha: sp.Expr, beta: sp.Expr) -> sp.Expr:
    r"""Loss per dimension and row with $\varphi = s$. (L4)

    $$ (1-c\beta)^2(1+\sigma^2) + c^2\alpha^2 - 2(1-c\beta)(m + \sigma a)
       + 2c\alpha e + \Big(1 + \frac{\lambda}{N}\Big) q, \qquad
       q = m^2 + n a^2 + N e^2, $$

    with `a` the overlap with a sample's noise and, for frozen noise, `e` the one with
    a noise draw (fresh draws have none). From (L1) with $\mathbb E\varphi = s$,
    $\mathbb E\varphi' = 0$, $\mathbb E\varphi^2 = 1$. A `silent` unit has $u = 0$.
    """
    c, m, a, e = (symbol(x) for x in ("c", "m", "a", "e"))
    sigma, count = model.target.sigma, rows(model)
    q = m**2
    gain, ridge = m, sp.S.Zero
    if model.data.samples:
        q, gain = q + symbol("n") * a**2, m + sigma * a
        ridge = symbol("ridge_u") / count
    base = 2 * c * alpha * e if model.data.frozen_noise else sp.S.Zero
    q += count * e**2 if model.data.frozen_noise else 0
    rest = (1 - c * beta) ** 2 * (1 + sigma**2) + c**2 * alpha**2
    if silent(model):
        return rest
    return rest - 2 * (1 - c * beta) * gain + base + (1 + ridge) * q


def saturated_learned(
    model: Model, alpha: sp.Expr, beta: sp.Expr
) -> dict[str, sp.Expr]:
    """Minimise (L4): `u` first (linear), then `c`."""
    total = saturated_loss(model, alpha, beta)
    c = symbol("c")
    names = [symbol(x) for x in ("m", "a", "e") if total.has(symbol(x))]
    slopes = [sp.diff(total, x) for x in names]
    best = sp.solve(slopes, names, dict=True)[0] if names else {}
    skip = sp.solve(sp.diff(total.subs(best), c), c)[0]
    values = {"c": sp.factor(skip)}
    values |= {str(x): sp.factor(best[x].subs(c, skip)) for x in names}
    for name in ("m", "a", "e"):
        values.setdefault(name, sp.S.Zero)
    count = rows(model) if model.data.frozen_noise else 0
    size = values["m"] ** 2 + symbol("n") * values["a"] ** 2 + count * values["e"] ** 2
    values["q"] = sp.factor(size)
    return values


def learned(model: Model, window: Window) -> System:
    r"""The closed learned parameters of the variance phase. (V1)-(V5)

    $c = \beta A/(\alpha^2 B + \beta^2 A)$, $m = (1-c\beta) N/(N+\lambda)$, with $N = n
    n_0$ rows, $A = [\lambda(1+\sigma^2) + n_0\sigma^2(n-1)]/(N+\lambda)$ and
    $B = (N+\lambda-1)/(N+\lambda)$; fresh noise has $N = n$, $n_0 \to 1$ and $B = 1$;
    the population $A = \sigma^2$. A `silent` unit leaves
    $c = \beta(1+\sigma^2)/(\alpha^2 + \beta^2(1+\sigma^2))$, $m = q = a = 0$.
    """
    here = dict(zip(_COEFFICIENTS, (window.alpha, window.beta), strict=True))
    values = {
        name: sp.factor(value.subs(here, simultaneous=True))
        for name, value in bulk_values(model, window).items()
    }
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=tuple(
            Equation(f"V{i}", symbol(x), values[x])
            for i, x in enumerate(("c", "m", "q", "a", "e"), 1)
        ),
        parameters=variance_parameters(model, window),
        steps=_steps(model, window),
    ).check()


def _steps(model: Model, window: Window) -> tuple[Step, ...]:
    loss = saturated_loss(model, window.alpha, window.beta)
    if silent(model):
        return (
            Step(
                f"{SILENT}, and the loss per row is left to the skip",
                loss,
                "L4",
            ),
        )
    return (
        Step(
            "Every field diverges, so each unit is the sign `s` of its row. The loss "
            "per row is a ridge regression on `s`",
            loss,
            "L4",
        ),
        Step("It is quadratic in `m`, `a`, `e`; minimise these, then `c`."),
    )


def bulk_values(model: Model, window: Window) -> dict[str, sp.Expr]:
    r"""Learned values in $\alpha, \beta$; in a bridge the noise diverges with `d`."""
    values = saturated_learned(model, *_COEFFICIENTS)
    if window.variance:
        return values
    alpha = _COEFFICIENTS[0]
    return {name: at_large_d(x.subs(alpha, alpha * D)) for name, x in values.items()}


def variance_parameters(model: Model, window: Window) -> tuple[sp.Symbol, ...]:
    """Sigma, kappa of the window, sample sizes."""
    own = [model.target.sigma]
    own += [window.kappa] if window.kappa is not None else []
    if has_patterns(model):
        own = [*(f.rho for f in model.target.features), *own]
        own += [*classes_of(model).counts, symbol("ridge_u")]
    elif model.data.samples:
        own += [symbol("n"), symbol("ridge_u")]
    own += [symbol("noise_draws")] if model.data.frozen_noise else []
    return tuple(own)


def learned_variance(model: Model) -> sp.Expr:
    """`A/B`: the variance within a mode that the network has learned."""
    alpha, beta = sp.symbols("alpha beta", positive=True)
    c = saturated_learned(model, alpha, beta)["c"]
    return sp.factor(sp.cancel(c * alpha**2 / (beta * (1 - c * beta))))


def sampling(model: Model, window: Window) -> System:
    r"""The flow of the decided overlaps and of the bulk. (S7)-(S8)

    $$ \dot M_j = \gamma M_j + \zeta\, m\, S_j, \qquad \dot V = 2\gamma V, \qquad
       \gamma = \dot\alpha/\alpha + \zeta c, $$

    solved for every number of noise draws by $M = \beta \frac{N}{N+\lambda} S$,
    $V = \alpha^2 + \beta^2 A/B$; for a `silent` unit by $M = 0$,
    $V = \alpha^2 + \beta^2(1+\sigma^2)$. Written out, $\gamma$ is regular at
    $\tau = 1$.
    """
    gamma, drive = regular(bulk_values(model, window), window)
    means = {
        named(model, "M", j): gamma * named(model, "M", j)
        + drive * named(model, "S", j)
        for j in _numbers(model)
    }
    return decided_flow(
        model,
        window,
        means,
        gamma,
        _solution(model, window),
        first=7,
        signs="each keeps the sign `S` decided before",
    )


def decided_flow(
    model: Model,
    window: Window,
    means: dict[sp.Symbol, sp.Expr],
    gamma: sp.Expr,
    solution: tuple[Equation, ...],
    *,
    first: int,
    signs: str,
) -> System:
    """The flow of the overlaps `means` and of the bulk, labelled from S`first`."""
    big_v = symbol("V")
    flows = means | {big_v: 2 * gamma * big_v}
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=tuple(
            Equation(f"S{i}", x, rhs) for i, (x, rhs) in enumerate(flows.items(), first)
        ),
        parameters=(
            *variance_parameters(model, window),
            *(named(model, "S", j) for j in _numbers(model)),
        ),
        initial=tuple((eq.lhs, eq.rhs.subs(S_PHASE, 0)) for eq in solution),
        solution=solution,
        domain=(big_v > 0,),
        steps=(
            Step(
                f"Project the velocity on the means ({signs}) and take the variance of "
                "a coordinate orthogonal to them.",
            ),
            Step("The closed solution satisfies the flow identically."),
        ),
    ).check()


_COEFFICIENTS = sp.symbols("alpha beta", positive=True)


def _numbers(model: Model) -> range:
    return range(1, len(model.target.features) + 1)


def regular(values: dict[str, sp.Expr], window: Window) -> tuple[sp.Expr, sp.Expr]:
    r"""$\gamma$ and $\zeta m$, the factor $\alpha$ cancelled before $s \to 1$."""
    alpha, beta = _COEFFICIENTS
    d_alpha, d_beta = sp.symbols("d_alpha d_beta")
    zeta = d_beta - d_alpha * beta / alpha
    gamma = sp.factor(sp.cancel(sp.together(d_alpha / alpha + zeta * values["c"])))
    drive = sp.factor(sp.cancel(sp.together(zeta * values["m"])))
    # alpha alpha' stays finite where alpha vanishes like a root
    product = sp.simplify(window.alpha * sp.diff(window.alpha, S_PHASE))
    known = {
        beta: window.beta,
        d_beta: sp.diff(window.beta, S_PHASE),
        d_alpha: product / alpha,
    }
    found = []
    for expr in (gamma, drive):
        whole = sp.cancel(sp.together(expr.subs(d_alpha, product / alpha)))
        found.append(sp.simplify(whole.subs(known).subs(alpha, window.alpha)))
    return found[0], found[1]


def _solution(model: Model, window: Window) -> tuple[Equation, ...]:
    count = rows(model) if model.data.samples else sp.S.One
    ridge = symbol("ridge_u") if model.data.samples else sp.S.Zero
    kept = 0 if silent(model) else count / (count + ridge)
    means = [
        Equation(
            f"S0{suffix(model, j).replace('_', '.')}",
            named(model, "M", j),
            kept * window.beta * named(model, "S", j),
            "exact",
        )
        for j in _numbers(model)
    ]
    bulk = window.alpha**2
    bulk += window.beta**2 * learned_variance(model) if window.variance else 0
    return (*means, Equation("Q20", symbol("V"), bulk, "exact"))


def residual(flow: System) -> list[sp.Expr]:
    """Insert the closed solution into its flow; every entry must simplify to zero."""
    closed = {eq.lhs: eq.rhs for eq in flow.solution}
    return [
        sp.simplify(sp.diff(closed[eq.lhs], flow.time) - eq.rhs.subs(closed))
        for eq in flow.equations
        if eq.lhs in closed
    ]


def mse(model: Model, window: Window) -> System:
    r"""$\sigma^2\alpha^2/(\alpha^2+\sigma^2\beta^2)$: the signs are known. (E4)"""
    sigma2 = model.target.sigma**2
    bulk = window.alpha**2 + sigma2 * window.beta**2
    value = power_limit(sigma2 * window.alpha**2 / bulk)
    return System(
        name="mse",
        kind="closed",
        time=S_PHASE,
        equations=(Equation("E4", symbol("mse"), value),),
        parameters=tuple(
            dict.fromkeys(parameters_of(model) + variance_parameters(model, window))
        ),
    ).check()
