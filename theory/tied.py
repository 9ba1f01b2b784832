r"""Training of the tied score network: an exact flow at every dimension, no limit.

$s(x) = c x + w \tanh(w\cdot x + b)$ is trained at one noise level on the population.
With $m = w\cdot\mu/(\beta d)$ and $q = |w_\perp|^2/(\beta^2 d)$ the loss closes in
$(c, m, q, b)$. Here $\alpha$ multiplies the noise and $\beta$ the data, as everywhere
in this package; Klinger et al. (2026) exchange the two letters.
"""

from __future__ import annotations

import sympy as sp

from .bayes import parameters_of
from .gaussian import FieldAverage, H, to_averages
from .model import TAU, D, Model
from .notation import symbol
from .system import Equation, Step, System

ALPHA, BETA = sp.symbols("alpha beta", positive=True)


def tied_loss(model: Model) -> sp.Expr:
    r"""The denoising score-matching loss, $E|x_0 + \alpha s(x)|^2/d$. (K1)

    $$ (1+\alpha^2c)^2 + \alpha^2\beta^2\big[c^2(1+\sigma^2) + (m^2+q)(k +
       2(1+c\Gamma)(1-k)) + 2cmh\big], $$

    $\Gamma = \alpha^2+\sigma^2\beta^2$, $h = E[s\tanh]$, $k = E\tanh^2$; the field is
    $N(\gamma^2ms + b, \gamma^2\Gamma(m^2+q))$ with $\gamma^2 = \beta^2d$. Stein's
    lemma gives the terms with $1-k = E\tanh'$. Status: exact at every `d`.
    """
    feature, sigma = model.target.features[0], model.target.sigma
    c, m, q = (symbol(x) for x in ("c", "m", "q"))
    gamma = ALPHA**2 + sigma**2 * BETA**2
    h, k = _averages(feature.p, gamma)
    score_noise = (m**2 + q) * (k + 2 * (1 + c * gamma) * (1 - k))
    bracket = c**2 * (1 + sigma**2) + score_noise + 2 * c * m * h
    return (1 + ALPHA**2 * c) ** 2 + ALPHA**2 * BETA**2 * bracket


def _averages(p: sp.Expr, gamma: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    m, q, b = (symbol(x) for x in ("m", "q", "b"))
    snr = BETA**2 * D
    up, down = (
        [
            FieldAverage(
                sp.tanh(H) ** power,
                sp.Tuple(snr * m * s + b),
                sp.Tuple(snr * gamma * (m**2 + q)),
            )
            for power in (1, 2)
        ]
        for s in (1, -1)
    )
    return p * up[0] - (1 - p) * down[0], p * up[1] + (1 - p) * down[1]


def tied_training(model: Model) -> System:
    r"""Population gradient flow of the tied network at time `tau`. (K2)-(K5)

    $$ \dot c = -\partial_c L,\quad \dot m = -\gamma^{-2}\partial_m L,\quad
       \dot q = -4q\gamma^{-2}\partial_q L,\quad \dot b = -\partial_b L . $$

    From $\dot w = -\nabla_w L$ with $w = \beta m\mu + w_\perp$. Exact at every `d`,
    dilated or not.
    """
    loss = tied_loss(model)
    rates = {
        "c": sp.S.One,
        "m": 1 / (BETA**2 * D),
        "q": 4 * symbol("q") / (BETA**2 * D),
        "b": sp.S.One,
    }
    schedule = {ALPHA: model.interpolant.alpha, BETA: model.interpolant.beta}
    return System(
        name="tied/training",
        kind="flow",
        time=symbol("train_time"),
        equations=tuple(
            Equation(
                f"K{i}",
                symbol(x),
                to_averages((-rate * sp.diff(loss, symbol(x))).subs(schedule)),
                "exact",
            )
            for i, (x, rate) in enumerate(rates.items(), 2)
        ),
        parameters=(*parameters_of(model), D, TAU),
        domain=(symbol("q") >= 0,),
        status="exact",
        steps=(Step("The loss of the tied network is", to_averages(loss), "K1"),),
    ).check()
