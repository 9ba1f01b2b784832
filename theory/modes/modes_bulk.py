r"""The variance phase of modes: units are indicators of the mode, training is ridge.

Unit `k` is 1 on the rows of mode `k` and 0 on all others, so `u_k` is a shrunken mean
of its own rows, and modes meet in the skip alone.
"""

from __future__ import annotations

import sympy as sp

from ..models.model import D, Model
from ..phases.bulk import draws, regular
from ..phases.loss import at_large_d
from ..symbols.indexed import DIRECTION, MODE, family, over_directions, over_modes
from ..symbols.notation import symbol
from ..symbols.system import Step, System, numbered, said
from ..windows.search import S_PHASE, Window
from .posterior import LOADING, SIZES

ALPHA, BETA, A, B, SKIP = sp.symbols("alpha beta A B c", positive=True)
COUNT = family("n")


def ridge_of(model: Model) -> sp.Expr:
    """The ridge on each `u_k`; the population has none."""
    return symbol("ridge_u") if model.data.samples else sp.S.Zero


def mode_loss(model: Model, rho: sp.Expr, size: sp.Expr) -> sp.Expr:
    r"""Loss per dimension and row of one mode with $|\mu|^2/d = \rho$. (L2)

    $$ (1-c\beta)^2(\rho+\sigma^2) + c^2\alpha^2 - 2(1-c\beta)(\rho m + \sigma a)
       + 2c\alpha e + \Big(1+\frac{\lambda}{N}\Big)(\rho m^2 + n a^2 + N e^2), $$

    `size` $= n$ samples of the mode, $N = n n_0$ rows; `a` is the overlap with a
    sample's noise and `e` the one with a frozen noise draw. The population has $a = e
    = 0$ and no ridge.
    """
    m, a, e = symbol("m"), symbol("a"), symbol("e")
    sigma, kept = model.target.sigma, 1 - SKIP * BETA
    rows = size * draws(model)
    own = a if model.data.samples else sp.S.Zero
    base = e if model.data.frozen_noise else sp.S.Zero
    square = rho * m**2 + size * own**2 + rows * base**2
    weight = 1 + (ridge_of(model) / rows if model.data.samples else 0)
    rest = kept**2 * (rho + sigma**2) + SKIP**2 * ALPHA**2
    gain = -2 * kept * (rho * m + sigma * own) + 2 * SKIP * ALPHA * base
    return rest + gain + weight * square


def mode_minimum(model: Model) -> tuple[dict[str, sp.Expr], sp.Expr, sp.Expr]:
    r"""Minimise (L2) over `u`: overlaps at a given skip, and what is left of the loss.

    The minimum is $(1-c\beta)^2 A_k + c^2\alpha^2 B_k$: returns the overlaps (in `c`),
    $A_k$ and $B_k$, in plain `rho` and `n`.
    """
    rho, size = symbol("rho"), symbol("n")
    loss = mode_loss(model, rho, size)
    names = [x for x in (symbol("m"), symbol("a"), symbol("e")) if loss.has(x)]
    best = sp.solve([sp.diff(loss, x) for x in names], names, dict=True)[0]
    kept = sp.Dummy("kept")
    left = sp.expand(loss.subs(best)).subs(BETA, (1 - kept) / SKIP)
    left = sp.Poly(sp.cancel(sp.together(left)), kept, SKIP)
    a = sp.factor(left.coeff_monomial(kept**2))
    b = sp.factor(left.coeff_monomial(SKIP**2) / ALPHA**2)
    found = {str(x): sp.factor(value) for x, value in best.items()}
    return found, a, b


def unexplained(model: Model) -> tuple[sp.Expr, sp.Expr]:
    """The rest of ``x1``, ``x0`` after the indicators, per row and dimension. (L3)"""
    _, a, b = mode_minimum(model)
    if not model.data.samples:
        return model.target.sigma**2, sp.S.One
    return _averaged(a), _averaged(b) if model.data.frozen_noise else sp.S.One


def _averaged(expr: sp.Expr) -> sp.Expr:
    """Average over the samples what a mode of `n` samples and norm `rho` has."""
    return over_modes(COUNT[MODE] * _of_mode(expr)) / over_modes(COUNT[MODE])


def _of_mode(expr: sp.Expr) -> sp.Expr:
    """Put the counts and squared norms (directions of exponent 0) of mode `k` in."""
    norm = over_directions(LOADING[MODE, DIRECTION] ** 2)
    return expr.subs({symbol("rho"): norm, symbol("n"): COUNT[MODE]})


def _skip(window: Window) -> sp.Expr:
    r"""$c = \beta A/(\alpha^2 B + \beta^2 A)$; in a bridge the noise diverges."""
    skip = BETA * A / (ALPHA**2 * B + BETA**2 * A)
    return skip if window.variance else at_large_d(skip.subs(ALPHA, ALPHA * D))


def bulk_learned(model: Model, window: Window) -> System:
    r"""The closed learned parameters of the variance phase. (V1)-(V4)

    $c = \beta A/(\alpha^2 B + \beta^2 A)$ and $u_k = (1-c\beta)\frac{N_k}{N_k+\lambda}$
    times the mean of its rows (less $c\alpha$ times that of their noise).
    """
    known = dict(zip((A, B), unexplained(model), strict=True))
    found, _, _ = mode_minimum(model)
    skip = _skip(window)
    values = {
        symbol("c"): skip,
        family("m")[MODE, DIRECTION]: found["m"] * LOADING[MODE, DIRECTION],
    } | {family(x)[MODE]: found[x] for x in ("a", "e") if x in found}

    def here(expr: sp.Expr) -> sp.Expr:
        inside = _of_mode(sp.factor(expr.subs(SKIP, skip)))
        there = {ALPHA: window.alpha, BETA: window.beta} | known
        return inside.subs(there, simultaneous=True)

    equations = numbered("V", {x: here(value) for x, value in values.items()})
    names = bulk_parameters(model, window)
    return System(
        "learned", "closed", S_PHASE, equations, names, steps=_steps(model)
    ).check()


def _steps(model: Model) -> tuple[Step, ...]:
    a, b = unexplained(model)
    return (
        Step(
            "Every field diverges, so unit `k` is 1 on the rows of mode `k` and 0 on "
            "all others. The loss per row of a mode with `|mu|^2 = rho d` is",
            mode_loss(model, symbol("rho"), symbol("n")),
            "L2",
        ),
        Step(
            "Minimised over `u`, per row and dimension, it leaves of `x1`",
            sp.Eq(A, a, evaluate=False),
            "L3",
        ),
        Step("and of `x0`", sp.Eq(B, b, evaluate=False)),
        Step("so that the skip is `c = beta A/(alpha^2 B + beta^2 A)`."),
    )


def bulk_parameters(model: Model, window: Window) -> tuple[sp.Symbol, ...]:
    """Sizes, loadings, sigma, kappa of the window, and what the samples bring."""
    own = [*SIZES, LOADING.label, model.target.sigma]
    own += [window.kappa] if window.kappa is not None else []
    own += [COUNT.label, symbol("ridge_u")] if model.data.samples else []
    return (*own, *([symbol("noise_draws")] if model.data.frozen_noise else []))


def bulk_sampling(model: Model, window: Window) -> System:
    r"""The flow of a sample of mode `k`, decided before, and of the bulk. (M1)-(M4)

    $$ \dot M_k = \gamma M_k + \zeta(1-c\beta)\frac{N_k}{N_k+\lambda}, \qquad
       \dot V = 2\gamma V, $$

    with $M_k\mu_k$ the part of `X` along its own mean, solved by
    $M_k = \beta N_k/(N_k+\lambda)$, $V = \alpha^2 + \beta^2 A/B$.
    """
    known = dict(zip((A, B), unexplained(model), strict=True))
    rows = COUNT[MODE] * draws(model) if model.data.samples else sp.S.One
    share = rows / (rows + ridge_of(model))
    skip = _skip(window)
    kept = sp.factor(1 - skip * BETA) if window.variance else sp.S.One
    plain = {x: sp.Symbol(str(x), positive=True) for x in (A, B)}
    gamma, drive = (e.subs(plain).subs(known) for e in regular(skip, kept, window))
    mean, bulk = family("M")[MODE], symbol("V")
    variance = window.alpha**2
    variance += window.beta**2 * (A / B).subs(known) if window.variance else 0
    closed = {mean: share * window.beta, bulk: variance}
    flows = {mean: gamma * mean + drive * share, bulk: 2 * gamma * bulk}
    solution = numbered("M", closed, len(flows) + 1, "exact")
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=numbered("M", flows),
        parameters=bulk_parameters(model, window),
        initial=tuple((eq.lhs, eq.rhs.subs(S_PHASE, 0)) for eq in solution),
        solution=solution,
        domain=(bulk > 0,),
        steps=said(
            "Project the velocity on the mean of the mode that was decided before, "
            "and take the variance of a coordinate orthogonal to all means.",
            "The closed solution satisfies the flow identically.",
        ),
    ).check()


def not_derived(name: str) -> System:
    """Return the empty system: overlaps that n samples learn are not derived."""
    steps = said(UNKNOWN.format(name=name))
    return System(
        "learned", "closed", S_PHASE, (), (), status="degenerate", steps=steps
    )


UNKNOWN = (
    "With n samples what softmax units learn in phase {name} is not derived. The "
    "averages could be taken for three groups, whose fields differ in two correlated "
    "Gaussians; but the loss that is left after the minimum over `u` and `c` has "
    "`K^2 - 1` unknowns (the differences of `K` biases and of `K` slopes on each "
    "group), 8 for `K = 3`, and several minima: one unit with two unknowns has up to "
    "three. In two dimensions the lowest is certain by a scan; in eight there is none, "
    "and a wrong one would pass for the limit. The phases in which nothing is decided "
    "are derived."
)
