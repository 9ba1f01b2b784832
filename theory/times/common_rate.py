r"""One learning rate for vectors and biases alike: a fast bias with its own noise.

Training time gives a bias steps that are `d` times shorter than the vectors'. With one
common rate $\eta$ a step moves it by $-\frac\eta2\partial_b\hat{\mathcal L}$: its flow
is `d` times faster, so that it follows the vectors at once, and its fluctuations, which
are of order one over $\sqrt d$ in training time, are of order $\eta/B$ here.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ..models.model import D, Model, named
from ..phases.denoiser import exact_denoiser
from ..symbols.gaussian import FieldAverage, H, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System, numbered, said
from .noise import BATCH, RATE, shared_noise
from .shared_flow import Form, flow_equations, shared_training, square_norm


def bias_noise(model: Model) -> sp.Expr:
    r"""The variance that one batch adds to `b` a unit of training time, per `d`. (R33)

    A sample's slope in `b` is $-2\lambda\frac{\alpha^2}\Delta T'\,w\cdot e/d$, and
    $w\cdot e/d$ is $\frac{\alpha^2}{\Delta}(sm - n_2T)$ up to $d^{-1/2}$, so that a
    step adds $\frac{\eta^2}{B}$ and a unit of time, $d/\eta$ steps,

    $$ \frac{\eta d}{B}\lambda^2\Big(\frac{\alpha^2}{\Delta}\Big)^4\mathbb E[
       T'^2(sm - n_2T)^2] . $$
    """
    bayes, feature = exact_denoiser(model), model.target.features[0]
    m, q, b = (named(model, x, 1) for x in ("m", "q", "b"))
    unit, snr = sp.tanh(H), bayes.snr(1)
    total = sp.S.Zero
    for s, share in ((1, feature.p), (-1, 1 - feature.p)):
        pull = sp.diff(unit, H) ** 2 * (s * m - (m**2 + q) * unit) ** 2
        field = ((snr * s * m + b,), (snr * (m**2 + q),))
        total += share * FieldAverage(sp.expand(pull), *field)
    size = square_norm(feature)
    return RATE / BATCH * bayes.residual_gain**4 * size**2 * total


def common_rate_training(
    model: Model, weight: sp.Expr, form: Form = to_averages
) -> System:
    r"""Gradient flow with one rate for `w` and `b`: $\dot b = d\,\dot b$ of (R3). (R34)

    The limit of small $\eta$ at fixed $\eta\cdot$ steps. Exact at every `d`.
    """
    flow, b = shared_training(model, weight, form), named(model, "b", 1)
    rows = tuple(
        replace(eq, rhs=D * eq.rhs) if eq.lhs == b else eq for eq in flow.equations
    )
    return replace(flow, name="shared/common-rate", equations=rows).check()


def common_rate_sgd(model: Model, weight: sp.Expr, form: Form = to_averages) -> System:
    r"""The flow with one common rate and the noise of one-pass SGD. (R35)

    The bias has a variance $V$ over runs, which moves the means of all rates: with
    $F$ the flow of (R3),

    $$ \dot m = F_m + \tfrac V2\partial_b^2F_m,\quad
       \dot q = F_q + \tfrac V2\partial_b^2F_q + \lambda^2N,\quad
       \dot b = d\,(F_b + \tfrac V2\partial_b^2F_b), $$
    $$ \dot V = d\,\Big(2V\partial_bF_b + \frac\eta B\lambda^2\Big(\frac{\alpha^2}
       {\Delta}\Big)^4\mathbb E[T'^2(sm-n_2T)^2]\Big) : $$

    the mean and variance of a linear noise. Status: asymptotic, to first order in
    $\eta$ at fixed $\eta/B$; `heavy_ball_at_rest` has what a finite rate adds.
    """
    flow = shared_training(model, weight, form)
    bias, spread = named(model, "b", 1), symbol("b_var")
    rows = {x: weight * rhs for x, rhs in flow_equations(model).items()}
    moved = {x: f + spread / 2 * sp.diff(f, bias, 2) for x, f in rows.items()}
    moved[named(model, "q", 1)] += weight**2 * shared_noise(model)
    pull = sp.diff(rows[bias], bias)
    moved[bias] *= D
    moved[spread] = D * (2 * spread * pull + weight**2 * bias_noise(model))
    found = {x: form(rhs) for x, rhs in moved.items()}
    equations = numbered("R", found, 35, rate=1 / D)
    step = Step(
        "The bias is a fast variable with a linear noise; its variance closes.",
        bias_noise(model),
        "R33",
    )
    return replace(
        flow,
        name="shared/common-rate-sgd",
        equations=equations,
        parameters=(RATE, BATCH, *flow.parameters),
        domain=(*flow.domain, spread >= 0),
        status="asymptotic",
        steps=(*flow.steps, step),
    ).check()


def heavy_ball_at_rest() -> System:
    r"""Variance of a bias at rest under steps with momentum. (R41)

    A step is $-\frac{\eta(1-\mu)}2$ times the running sum of slopes, whose memory is
    $1/(1-\mu)$ steps. The vectors need $d/\eta$ steps to move: for them momentum is the
    rate $\eta$, in the flow and in the noise. A bias of a common rate is not so slow.
    With $a = -\partial_bF_b$ and a noise of variance $S/B$ a step,

    $$ v_{t+1} = \mu v_t + ab_t + \xi_t, \qquad b_{t+1} = b_t - \eta(1-\mu)v_{t+1}; $$

    the second moments of $(b, v)$ that a step leaves as they are give

    $$ V = \frac{\eta S}{aB}\Big/\Big(2 - \frac{1-\mu}{1+\mu}\eta a\Big) . $$

    Exact for a linear pull, and stable while the bracket is positive. To first order in
    $\eta$ momentum is the rate $\eta$ here too; it makes the correction smaller.
    """
    mu, a, noise = symbol("momentum"), symbol("pull"), symbol("kick")
    step = RATE * (1 - mu)
    forget = sp.Matrix([[1 - step * a, -step * mu], [a, mu]])
    kick = sp.Matrix([-step, 1])
    x, y, z = sp.symbols("x y z")
    moments = sp.Matrix([[x, y], [y, z]])
    rest = forget * moments * forget.T + kick * kick.T * noise / BATCH - moments
    found = sp.solve([rest[0, 0], rest[0, 1], rest[1, 1]], [x, y, z], dict=True)[0]
    return System(
        name="shared/bias-at-rest",
        kind="closed",
        time=None,
        equations=(Equation("R41", symbol("b_var"), sp.factor(found[x]), "exact"),),
        parameters=(RATE, BATCH, mu, a, noise),
        status="exact",
        steps=said("The moments of (b, v) that a step leaves as they are."),
    ).check()
