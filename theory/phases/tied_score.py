r"""Training of the tied score network: an exact flow at every dimension, no limit.

$s(x) = c x + \sum_j w_j \tanh(w_j\cdot x + b_j)$ is trained at one noise level on the
population. With $m_j = w_j\cdot\mu_j/(\beta|\mu_j|^2)$ and $q_j = |w_{j\perp}|^2/
(\beta^2|\mu_j|^2)$ the loss closes in $(c, m_j, q_j, b_j)$. Here $\alpha$ multiplies
the noise and $\beta$ the data, as everywhere in this package; Klinger et al. (2026)
exchange the two letters.

One feature may have any weight. Several features stay in their own blocks only when
every mode has weight 1/2 (then $b_j = 0$ stays): the flow is derived for that case.
"""

from __future__ import annotations

import sympy as sp

from ..models.model import TAU, D, Model, named, norm
from ..symbols.gaussian import FieldAverage, H, phi, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from .denoiser import parameters_of

ALPHA, BETA = sp.symbols("alpha beta", positive=True)


def tied_loss(model: Model) -> sp.Expr:
    r"""The denoising score-matching loss, $E|x_0 + \alpha s(x)|^2/d$. (K1)

    $$ (1+\alpha^2c)^2 + \alpha^2\beta^2\Big[c^2\big(\textstyle\sum_j\varrho_j +
       \sigma^2\big) + \sum_j \varrho_j\big((m_j^2+q_j)(k_j
       + 2(1+c\Gamma)(1-k_j)) + 2cm_jh_j\big)\Big], $$

    $\varrho_j = |\mu_j|^2/d$, $\Gamma = \alpha^2+\sigma^2\beta^2$, $h = E[s\tanh]$ and
    $k = E\tanh^2$; the field is $N(\gamma^2ms + b, \gamma^2\Gamma(m^2+q))$, where
    $\gamma^2 = \beta^2|\mu|^2$. Stein's lemma gives the terms with $1-k = E\tanh'$.
    Exact.
    """
    c, bracket = symbol("c"), sp.S.Zero
    gamma = ALPHA**2 + model.target.sigma**2 * BETA**2
    for j, feature in enumerate(model.target.features, 1):
        m, q = named(model, "m", j), named(model, "q", j)
        h, k, slope = _averages(model, j, gamma)
        noise = (m**2 + q) * (k + 2 * (1 + c * gamma) * slope)
        bracket += norm(feature) ** 2 / D * (noise + 2 * c * m * h + c**2)
    bracket += c**2 * model.target.sigma**2
    return (1 + ALPHA**2 * c) ** 2 + ALPHA**2 * BETA**2 * bracket


def _alone(model: Model) -> bool:
    return len(model.target.features) == 1


def _averages(model: Model, j: int, gamma: sp.Expr) -> tuple[sp.Expr, ...]:
    """Return $h$, $k$ and the average of the slope, $1 - k$ unless it has a letter."""
    feature = model.target.features[j - 1]
    m, q = named(model, "m", j), named(model, "q", j)
    b = named(model, "b", j) if _alone(model) else sp.S.Zero
    p = feature.p if _alone(model) else sp.Rational(1, 2)
    snr = BETA**2 * norm(feature) ** 2
    lettered = model.autoencoder.lettered
    unit = phi(model.autoencoder.activation if lettered else "tanh", H)
    up, down = (
        [
            FieldAverage(
                body, sp.Tuple(snr * m * s + b), sp.Tuple(snr * gamma * (m**2 + q))
            )
            for body in (unit, unit**2, sp.diff(unit, H))
        ]
        for s in (1, -1)
    )
    odd = p * up[0] - (1 - p) * down[0]
    even = [p * x + (1 - p) * y for x, y in zip(up[1:], down[1:], strict=True)]
    return odd, even[0], even[1] if lettered else 1 - even[0]


def tied_training(model: Model) -> System:
    r"""Population gradient flow of the tied network at time `tau`. (K2)-(K5)

    $$ \dot c = -\partial_c L,\quad \dot m = -\gamma^{-2}\partial_m L,\quad
       \dot q = -4q\gamma^{-2}\partial_q L,\quad \dot b = -\partial_b L . $$

    From $\dot w = -\nabla_w L$ with $w = \beta m\mu + w_\perp$. Exact at every `d`,
    dilated or not.
    """
    loss = tied_loss(model)
    rates: dict[sp.Symbol, sp.Expr] = {symbol("c"): sp.S.One}
    for j, feature in enumerate(model.target.features, 1):
        gamma2 = BETA**2 * norm(feature) ** 2
        rates[named(model, "m", j)] = 1 / gamma2
        rates[named(model, "q", j)] = 4 * named(model, "q", j) / gamma2
    if _alone(model):
        rates[named(model, "b", 1)] = sp.S.One
    schedule = {ALPHA: model.interpolant.alpha, BETA: model.interpolant.beta}
    weights = {f.p for f in model.target.features} if not _alone(model) else set()
    return System(
        name="tied/training",
        kind="flow",
        time=symbol("train_time"),
        equations=tuple(
            Equation(
                f"K{i}",
                x,
                to_averages((-rate * sp.diff(loss, x)).subs(schedule)),
                "exact",
            )
            for i, (x, rate) in enumerate(rates.items(), 2)
        ),
        parameters=(*(x for x in parameters_of(model) if x not in weights), D, TAU),
        domain=tuple(x >= 0 for x in rates if str(x).startswith("q")),
        status="exact",
        steps=(
            *_about(model),
            Step("The loss is", to_averages(loss), "K1"),
            Step(
                "Gradient flow of this loss moves `w`, `c` and `b`, and with them the "
                "overlaps."
                if _alone(model)
                else "Gradient flow of this loss moves `w` and `c`, and with them the "
                "overlaps."
            ),
        ),
    ).check()


def _about(model: Model) -> tuple[Step, ...]:
    """Say what the network is, and what its letters are: they are of this chapter."""
    j = "" if _alone(model) else "_j"
    unit = f"w{j} tanh(w{j}.x{' + b' if _alone(model) else ''})"
    unit = unit if _alone(model) else f"sum_j {unit}"
    found = [
        Step(
            f"The score is learned by `c x + {unit}` from the whole population at one "
            f"time; `phi = tanh`, and `w{j}` is not divided by a root of `d`. In this "
            f"chapter `m{j} = w{j}.mu{j}/(beta |mu{j}|^2)` and "
            f"`q{j} = |w{j}|^2/(beta^2 |mu{j}|^2) - m{j}^2`, and the loss is "
            "`E|x0 + alpha f(x)|^2/d`, with this network for `f`."
        )
    ]
    if not _alone(model):
        found.append(
            Step(
                "The features stay apart only where every sign has weight 1/2 and "
                "there is no bias: the flow is printed for that case, whatever the "
                "weights of the model."
            )
        )
    return tuple(found)
