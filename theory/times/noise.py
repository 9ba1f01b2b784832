r"""The noise of a finite learning rate: what one-pass SGD adds to the squared norm.

A step moves a vector by $-\frac\eta2\nabla\hat{\mathcal L}$ and takes a training time
$\eta/d$; the loss is of a batch of `B` fresh samples with times drawn anew. To first
order this is the flow. To second order $|w|^2/d$ grows by $\frac\eta4|\nabla
\hat{\mathcal L}|^2$ a unit of training time, of which the fluctuation, $1/B$ of a
sample's own square, is O(1) and the square of the mean is O(1/d). Overlaps that are
linear in the vector, and biases, whose steps are $d$ times shorter, gain nothing at
O(1). Status: asymptotic, relative corrections O(1/d) in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sympy as sp

from ...errors import DerivationError
from ..models.classes import pair
from ..models.model import TAU, D, Model, named
from ..phases.denoiser import exact_denoiser, parameters_of
from ..symbols.gaussian import H2, FieldAverage, H, phi, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System, numbered, said
from ..windows.search import Window
from .shared_flow import (
    Form,
    by_pattern,
    flow_equations,
    gram_of,
    overlaps_of,
    shared_training,
    square_norm,
)

RATE, BATCH = symbol("rate"), symbol("batch")


def gram_noise(model: Model) -> dict[tuple[int, int], sp.Expr]:
    r"""Gain of $w_j\cdot w_k/d$ of the shared network from one batch at one time. (R19)

    The slope of a sample's loss per dimension is $-\frac2d\frac{\alpha^2}{\Delta}
    (T_je + T_j'(w_j\cdot e)\frac\beta\Delta x)$ with the residual $e = x_1 - D$. With
    $w_j\cdot e/d = \frac{\alpha^2}{\Delta}E_j$, $E_j = \sum_ks_kM_{jk} -
    \sum_kQ_{jk}T_k$, $|x|^2/d = \Delta$ and $|e|^2/d = \sigma^2\alpha^2/\Delta$ beyond
    the window, where $T_jT_k$ remains,

    $$ N_{jk} = \frac\eta B\Big(\frac{\alpha^2}{\Delta}\Big)^4\Lambda\,\mathbb E
       [T_j'T_k'E_jE_k] + \frac{\eta}{Bd}\Big(\frac{\alpha^2}{\Delta}\Big)^2
       \frac{\sigma^2\alpha^2}{\Delta}\,\mathbb E\,T_jT_k . $$

    The loss weight enters squared. Both parts are needed: the second comes from all
    times beyond the window and dominates for noise prediction. One unit has
    $E = sm - n_2T$, and gains in `q`. For up to two units: with three, $E_jE_k$ has
    averages over three fields, which are not closed.
    """
    count, gram = len(model.target.features), gram_of(model)
    hit = sp.symbols(f"hit_:{count}", cls=sp.Dummy)
    rows, averages = by_pattern(model, hit, gram, _gains_of(model, hit, gram))
    held = overlaps_of(model, gram)
    return {
        (j, k): sum(parts[gram[j, k]] for _, parts in rows)
        .xreplace(held)
        .xreplace(averages)
        for j in range(count)
        for k in range(j, count)
    }


def _gains_of(
    model: Model, hit: Sequence[sp.Symbol], gram: sp.Matrix
) -> dict[sp.Symbol, sp.Expr]:
    """The gains (R19) of the Gram entries, given the signs."""
    bayes, units = exact_denoiser(model), range(len(hit))
    gain, unit = bayes.beta**2 * D / bayes.delta, [sp.tanh(H), sp.tanh(H2)]
    near = RATE / BATCH * bayes.residual_gain**4 * gain
    far = RATE / BATCH / D * model.target.sigma**2 * bayes.residual_gain**3
    means = [gain * hit[j] + named(model, "b", j + 1) for j in units]
    entries = [(j, k) for j in units for k in units if j <= k]
    cov = [gain * gram[j, k] for j, k in entries]
    error = [hit[j] - sum(gram[j, k] * unit[k] for k in units) for j in units]
    rows = {}
    for j, k in entries:
        pull = (1 - unit[j] ** 2) * (1 - unit[k] ** 2) * error[j] * error[k]
        rows[gram[j, k]] = near * FieldAverage(pull, means, cov)
        rows[gram[j, k]] += far * FieldAverage(unit[j] * unit[k], means, cov)
    return rows


def shared_noise(model: Model) -> sp.Expr:
    r"""The term that one batch adds to $q$ of the shared network of one unit. (R19)"""
    return gram_noise(model)[0, 0] / square_norm(model.target.features[0])


def exact_noise(model: Model) -> sp.Expr:
    r"""The square of a sample's slope, whole at finite `d`: (R19) with O(1/d). (R32)

    Write $e = g(s\mu - wT) + \zeta$ with $g = \alpha^2/\Delta$ and $\zeta \sim
    N(0, \sigma^2g)$ independent of $x$, and $y$ for the noise of $x$; across $\mu$,
    $y$ has the mean $w_\perp\sqrt{\Delta/(dn_2)}Z$ given the field's normal $Z$. Then
    (R19) is the leading part of

    $$ N = \frac{\eta g^2}{Bd^2}\Big\{ dg^2q\,\mathbb E T^4 + (d-1)\sigma^2g\,\mathbb E
       T^2 + \frac{\beta^2}\Delta\mathbb E[(d - 1 + \tfrac q{n_2}(Z^2-1))P]
       + 2\Lambda q\,\mathbb E R' \Big\}, $$

    $P = T'^2(d^2g^2(sm - n_2T)^2 + dn_2\sigma^2g)$ and $R = TT'(\sigma^2g -
    dg^2T(sm - n_2T))$: in the window a correction of $\sigma^2/d$. What remains,
    $(1 - \frac1B)|\nabla\mathcal L|^2$, is $O(\eta q/d)$.
    """
    bayes, feature = exact_denoiser(model), model.target.features[0]
    size = square_norm(feature)
    m, q, b = (named(model, x, 1) for x in ("m", "q", "b"))
    short = {
        sp.Dummy("along"): size * m,
        sp.Dummy("norm2"): size * (m**2 + q),
        sp.Dummy("gain"): bayes.residual_gain,
        sp.Dummy("rest"): model.target.sigma**2 * bayes.residual_gain,
    }
    along, norm2, gain, rest = short
    across, unit = size * q, sp.tanh(H)
    snr = bayes.beta**2 * D / bayes.delta
    slope, total = sp.diff(unit, H), sp.S.Zero
    for s, share in ((1, feature.p), (-1, 1 - feature.p)):
        pull = gain * (s * along - norm2 * unit)
        p = slope**2 * (D**2 * pull**2 + D * norm2 * rest)
        r = unit * slope * (rest - D * gain * unit * pull)
        field = ((snr * s * size * m + b,), (snr * size * (m**2 + q),))
        parts = (
            (D * gain**2 * across, unit**4),
            ((D - 1) * rest, unit**2),
            (bayes.beta**2 / bayes.delta * (D - 1), p),
            (bayes.beta**2 / bayes.delta * snr * across, sp.diff(p, H, 2)),
            (2 * snr * across, sp.diff(r, H)),
        )
        means = (a * FieldAverage(sp.expand(x), *field) for a, x in parts)
        total += share * sum(means)
    return (RATE / BATCH * gain**2 / D**2 * total / size).xreplace(short)


def shared_sgd(
    model: Model, weight: sp.Expr, exact: bool = False, form: Form = to_averages
) -> System:
    r"""The flow of the shared network with the noise of a finite learning rate. (R20)

    $\dot q$ of (R3), or $\dot r_{jk}$ of two units, gains $\lambda^2 N$, of (R19) or,
    if `exact`, of (R32); what is linear in a vector, and biases, are the flow's.
    Raises `DerivationError` for more than two features, and for two if `exact`.
    """
    count = len(model.target.features)
    if count > 2 or (exact and count > 1):
        raise DerivationError(
            "The noise of SGD is derived for up to two features, whose averages are "
            f"closed, and at finite d for one, but this model has {count}. Leave "
            f"`{'exact_noise' if exact else 'rate` and `batch'}` out."
        )
    flow = shared_training(model, weight, form)
    gains = _gains(model, exact)
    label, gain = "R32" if exact else "R19", form(next(iter(gains.values())))
    step = Step("One batch adds to q, to second order in its step,", gain, label)
    name = "shared/sgd-exact" if exact else "shared/sgd"
    found = {x: form(weight**2 * gain) for x, gain in gains.items()}
    known: dict[str, Any] = {"status": "asymptotic"}
    noisy = _with_gains(flow, name, found, step, rate=1 / D, **known)
    return replace(noisy, **known)


def _with_gains(
    flow: System, name: str, gains: dict[sp.Symbol, sp.Expr], step: Step, **known: Any
) -> System:
    """A flow in which some overlaps gain from each batch; `known` is of their rows."""
    rows = tuple(
        replace(eq, rhs=eq.rhs + gains[eq.lhs], **known) if eq.lhs in gains else eq
        for eq in flow.equations
    )
    return replace(
        flow,
        name=name,
        equations=rows,
        parameters=(RATE, BATCH, *flow.parameters),
        steps=(*flow.steps, step),
    ).check()


def _gains(model: Model, exact: bool) -> dict[sp.Symbol, sp.Expr]:
    """Gain of the overlaps that are quadratic in the vectors from one batch."""
    if len(model.target.features) == 1:
        gain = exact_noise(model) if exact else shared_noise(model)
        return {named(model, "q", 1): gain}
    gram = gram_of(model)
    held, found = overlaps_of(model, gram), {}
    for (j, k), gain in gram_noise(model).items():
        name = pair("r", j + 1, k + 1)
        found[name] = gain / held[gram[j, k]].coeff(name)
    return found


NORMAL, SIGN = sp.Symbol("normal", real=True), symbol("S")
"""The noise along `w` and the sign of one pair, held while its times vary."""


def repeated_pair(model: Model, weight: sp.Expr) -> System:
    r"""The pull of one pair of noise and data on `w` at one time, as a function. (R29)

    A pair used at `k` times adds their sum: $N$ gains $(k-1)\frac\eta B\,\mathbb E
    [I_1^2 + \frac{\sigma^2}{d}(I_2^2 + \sigma^2I_3^2)]$, `B` counting pairs times `k`,
    with the means over $\rho$ at one sign and one normal of

    $$ \lambda\Big(\frac{\alpha^2}{\Delta}\Big)^2\sqrt\Lambda\,T'(sm - n_2T),\qquad
       \lambda\frac{\alpha^2}{\Delta}\frac{\alpha^2}{\Delta}T,\qquad
       \lambda\frac{\alpha^2}{\Delta}\frac{\alpha\beta}{\Delta}T : $$

    in the window $x$ is nearly $x_0$ at all times of a pair, and beyond it $T$ is a
    sign, so that the fields share their normal. Status: asymptotic.
    """
    bayes = exact_denoiser(model)
    m, q, b = (named(model, x, 1) for x in ("m", "q", "b"))
    norm2, snr = m**2 + q, bayes.snr(1)
    unit = sp.tanh(SIGN * snr * m + sp.sqrt(snr * norm2) * NORMAL + b)
    pull = sp.sqrt(snr) * (1 - unit**2) * (SIGN * m - norm2 * unit)
    parts = (
        bayes.residual_gain**2 * pull,
        bayes.residual_gain * bayes.alpha**2 / bayes.delta * unit,
        bayes.residual_gain * bayes.alpha * bayes.beta / bayes.delta * unit,
    )
    names = (sp.Symbol(f"pull_{i}", real=True) for i in (1, 2, 3))
    return System(
        name="shared/pair",
        kind="closed",
        time=None,
        equations=tuple(
            Equation("R29", x, weight * part)
            for x, part in zip(names, parts, strict=True)
        ),
        inputs=(m, q, b, NORMAL, SIGN),
        parameters=(*parameters_of(model), D, TAU),
    ).check()


def per_time_sgd(training: System, model: Model, window: Window) -> System:
    r"""The flow of a network with its own parameters at each time, with noise. (R21)

    `training` is (G6) of one unit. The slope of a sample's loss in `w` is $-\frac2d
    (u\cdot e)\varphi'(h)x/\sqrt d$ with $u\cdot e/d = sm - q\varphi$ and $|x|^2/d =
    \alpha^2$ in the window, so that

    $$ \dot r \mathrel{+}= \frac\eta B\,\alpha^2\,\mathbb E[\varphi'(h)^2
       (sm - q\varphi(h))^2] ; $$

    the slope in `u` is shorter by $\sqrt d$, and the other overlaps are linear in `w`.
    Raises `DerivationError` unless the model has the two modes of the population.
    """
    one = len(model.target.features) == 1 and model.target.features[0].rho == 1
    if not one or model.data.samples:
        raise DerivationError(
            "The noise of SGD at a fixed time is derived for one unit, two modes with "
            f"|mu|^2 = d and the population, but `{training.name}` is of another "
            "model. Leave `rate` and `batch` out."
        )
    feature, kind = model.target.features[0], model.autoencoder.activation
    m, q, omega, r = (named(model, x, 1) for x in ("m", "q", "omega", "r"))
    b = named(model, "b", 1) if model.autoencoder.bias else sp.S.Zero
    unit, gain = phi(kind, H), sp.S.Zero
    for s, share in ((1, feature.p), (-1, 1 - feature.p)):
        pull = sp.diff(unit, H) ** 2 * (s * m - q * unit) ** 2
        field = ((window.beta * s * omega + b,), (window.alpha**2 * r,))
        gain += share * FieldAverage(sp.expand(pull), *field)
    gain = to_averages(RATE / BATCH * window.alpha**2 * gain)
    step = Step("One batch adds to r, to second order in its step,", gain, "R21")
    return _with_gains(training, f"{training.name}/sgd", {r: gain}, step)


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

    Training time gives a bias steps that are `d` times shorter than the vectors'. With
    one common rate $\eta$ a step moves it by $-\frac\eta2\partial_b\hat{\mathcal L}$:
    it follows the vectors at once, and its fluctuations, of order one over $\sqrt d$ in
    training time, are of order $\eta/B$ here. The limit of small $\eta$ at fixed
    $\eta\cdot$ steps. Exact at every `d`.
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
