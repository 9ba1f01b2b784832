r"""Learning with the rest held: a feature's weight, and the bulk variance.

With $w_j = \mu_j$ held the biases decouple, and the learning time of a weight is an
integral over its bias. The skip with a learned variance tells what a density of times
costs beside what it gains. Exact at every `d`.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Model, named
from ..phases.denoiser import exact_denoiser, parameters_of
from ..symbols.gaussian import FieldAverage, H, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, System, said
from .shared_flow import check_trainable, gram_of, shared_loss, square_norm


def weight_training(model: Model, j: int, weight: sp.Expr) -> System:
    r"""Flow of the bias of feature `j` with $w_j = \mu_j$ held, at one time. (R9)

    With the loss weight $\lambda$,

    $$ \dot b = \frac{|\mu|^2}{d}\lambda\Big(\frac{\alpha^2}{\Delta}\Big)^2
       \big(pe^{-b} - (1-p)e^{b}\big)\,e^{-\Lambda/2}\,\mathbb E\,
       \mathrm{sech}^3(\sqrt\Lambda g + b) . $$

    From $\mathbb E(s - T)T'$ over both modes: (R13) brings the two fields to one mean,
    and $e^{\pm(h-b)}(1 \mp T) = e^{\mp b}\,\mathrm{sech}\,h$. With these units held,
    several features decouple: what unit `k` adds to the slope in $b_j$ vanishes.
    """
    check_trainable(model)
    bayes, feature = exact_denoiser(model), model.target.features[j - 1]
    b = named(model, "b", j)
    snr = sp.Dummy("Lambda", positive=True)
    slope = _common_field(feature.p, b, snr)
    before = square_norm(feature) * weight * bayes.residual_gain**2
    rhs, steep = before * slope.subs(snr, bayes.snr(j)), sp.sqrt(bayes.snr(j))
    return System(
        name=f"shared/weight-{j}",
        kind="flow",
        time=symbol("train_time"),
        equations=(Equation("R9", b, to_averages(rhs), "exact"),),
        observables=(
            Equation("R10", symbol("snr"), bayes.snr(j), "exact"),
            Equation("R11", symbol("steepness"), steep, "exact"),
            Equation("R12", symbol("kink_plus"), -b / steep, "exact"),
        ),
        parameters=(*parameters_of(model), D, TAU),
        status="exact",
        steps=said("Bring the fields of both modes to one mean by (R13)."),
    ).check()


def _common_field(p: sp.Expr, b: sp.Symbol, snr: sp.Symbol) -> sp.Expr:
    r"""Return $\mathbb E(s-T)T'$ over both modes as one average over one field. (R13)

    $\mathbb E\,F(h)$ over $N(b+s\Lambda, \Lambda)$ is $e^{-\Lambda/2}\,\mathbb E\,
    e^{s(h-b)}F(h)$ over $N(b, \Lambda)$ (Cameron and Martin).
    """
    unit = sp.tanh(H)
    moved = sum(
        share * sp.exp(s * (H - b)) * sp.diff(2 * s * unit - unit**2, H) / 2
        for s, share in ((1, p), (-1, 1 - p))
    )
    lack = p * sp.exp(-b) - (1 - p) * sp.exp(b)
    if sp.simplify((moved - lack / sp.cosh(H) ** 3).rewrite(sp.exp)) != 0:
        raise DerivationError(
            "The two fields of a feature must combine into one average, but "
            f"{moved} does not. Report this as an error of the toolkit."
        )
    return lack * sp.exp(-snr / 2) * FieldAverage(sp.cosh(H) ** -3, (b,), (snr,))


def direction_training(model: Model, j: int, weight: sp.Expr) -> System:
    r"""Flow of the wrong part of unit `j`, $q = |w_\perp|^2/|\mu|^2$, at the end. (R24)

    $\dot q = -2q\,\partial\mathcal L/\partial Q$ at $w = \mu$, $b = h$: the rate at
    which SGD turns `w` into the direction of the mean. It vanishes before the window,
    where the field is too weak; from there on all times serve, as $\mathbb E\,T^2$ is
    then 1.
    """
    check_trainable(model)
    feature = model.target.features[j - 1]
    alone = replace(model, target=replace(model.target, features=(feature,)))
    gram, size = gram_of(alone), square_norm(feature)
    slope = sp.diff(shared_loss(alone, gram), gram[0, 0])
    end = {gram[0, 0]: size, gram[0, 1]: size, named(alone, "b", 1): feature.log_odds}
    q = named(model, "q", j)
    rhs = -2 * q * weight * slope.xreplace(end)
    snr, h = exact_denoiser(model).snr(j), feature.log_odds
    steep = sp.sqrt(snr)
    return System(
        name=f"shared/direction-{j}",
        kind="flow",
        time=symbol("train_time"),
        equations=(Equation("R24", q, to_averages(rhs), "asymptotic"),),
        observables=(
            Equation("R25", symbol("steepness"), steep, "exact"),
            Equation("R26", symbol("kink_plus"), -(h + snr) / steep, "exact"),
            Equation("R27", symbol("kink_minus"), -(h - snr) / steep, "exact"),
        ),
        parameters=(*parameters_of(model), D, TAU),
        domain=(q >= 0,),
        status="asymptotic",
    ).check()


def bulk_training(model: Model, weight: sp.Expr) -> System:
    r"""Flow of the variance that the skip has learned, at one time of training. (R14)

    The skip is $\beta v/(\alpha^2+v\beta^2)$ with $v$ trained as a bias is; per
    coordinate the loss is $\sigma^2(1-c\beta)^2 + c^2\alpha^2$, so

    $$ \dot v = -\lambda\,\frac{\alpha^4\beta^2(v-\sigma^2)}
       {(\alpha^2+v\beta^2)^3} . $$

    What a density of times costs: the time in which the error of the variance falls.
    """
    check_trainable(model)
    alpha, beta = model.interpolant.alpha, model.interpolant.beta
    v, sigma = symbol("spread"), model.target.sigma
    skip = beta * v / (alpha**2 + v * beta**2)
    loss = sigma**2 * (1 - skip * beta) ** 2 + skip**2 * alpha**2
    rhs = sp.factor(-sp.diff(loss, v) / 2)
    return System(
        name="shared/bulk",
        kind="flow",
        time=symbol("train_time"),
        equations=(Equation("R14", v, weight * rhs, "exact"),),
        parameters=(sigma, D, TAU),
        domain=(v >= 0,),
        status="exact",
    ).check()
