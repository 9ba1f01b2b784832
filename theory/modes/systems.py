r"""The systems of a mixture of modes: learned, sampling, errors, in indexed form.

In a window every branch of the tree has the same equations, with its own groups: `K`
groups of weights `p` (of their modes, added up, as shares of the branch) and loadings
`L` in the `R` directions of the window.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Model
from ..phases.denoiser import velocity_coefficients
from ..symbols.indexed import (
    ACROSS,
    DIRECTION,
    MODE,
    OTHER,
    SOURCE,
    NormalAverage,
    Softmax,
    family,
    over_directions,
    over_modes,
)
from ..symbols.notation import symbol
from ..symbols.system import Equation, System, numbered, said
from ..windows.search import S_PHASE, Window, drops_at_once
from .posterior import (
    DELTA,
    LOADING,
    NORMALS,
    POSTERIOR,
    SIZES,
    P,
    Y,
    exact_scales,
    mean_square,
    second_moment,
    sharpness,
    skip_limit,
    window_scales,
)

FAMILIES = (symbol("p"), symbol("L"))


def _kappas(window: Window) -> tuple[sp.Symbol, ...]:
    return () if window.kappa is None else (window.kappa,)


def learned(model: Model, window: Window) -> System:
    r"""The Bayes denoiser, which softmax units learn of the population. (W1)-(W5)

    $f(x) = c\,x + \sum_k u_k\,\mathrm{softmax}_k(w_k\cdot x/\sqrt d + b_k)$, one unit
    for each group that the window tells apart, or `u` is not unique. The softmax does
    not see a common shift of all fields, so `omega` and `b` are those less their mean
    over the branch. For two modes $\pm\mu$ they are those of the tanh unit.
    """
    scales = window_scales(model, window)
    loading = LOADING[MODE, DIRECTION]
    half = scales.slope * scales.shift / 2
    bias = sp.log(P[MODE]) - half * over_directions(loading**2)
    values = {
        symbol("c"): sp.S.Zero,
        symbol("c_hat"): skip_limit(model, window),
        family("m")[MODE, DIRECTION]: scales.kept * loading,
        family("omega")[MODE, DIRECTION]: scales.slope * _centred(loading),
        family("b")[MODE]: _centred(bias),
    }
    equations = numbered("W", values)
    names = (*SIZES, *FAMILIES, model.target.sigma, *_kappas(window))
    steps = said(
        "Softmax units with biases, one for each group that is told apart, "
        "contain the Bayes denoiser (D1), so the population minimum is (D1) "
        "itself. A common shift of all `w_k` and `b_k` changes nothing: "
        "`omega` and `b` are less their mean over the branch."
    )
    return System("learned", "closed", S_PHASE, equations, names, steps=steps).check()


def _centred(expr: sp.Expr) -> sp.Expr:
    """Return `expr` of mode k less its mean over the modes of the branch."""
    return expr - over_modes(expr.subs(MODE, OTHER), OTHER) / symbol("K")


def sampling(model: Model, window: Window) -> System:
    r"""The flow of the projections within a branch that earlier windows chose. (S1)

    $\dot y_j = (\dot\alpha/\alpha) y_j + \zeta \sum_k L_{kj}\pi_k$ from
    $N(0, \alpha_0^2)$; its law at time `s` is $\sum_k p_k N(\beta L_k, \alpha^2 I)$.
    Groups of other branches are no rivals any more: their fields are infinitely lower.
    """
    scales = window_scales(model, window)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    push = over_modes(LOADING[MODE, DIRECTION] * POSTERIOR[MODE])
    y = Y[DIRECTION]
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=(Equation("S1", y, rate * y + drive * scales.kept * push),),
        observables=scales.posterior(first=3),
        parameters=(*SIZES, *FAMILIES, model.target.sigma, *_kappas(window)),
        steps=said(
            "Project the velocity on the directions of the window. Modes that "
            "earlier windows parted from the branch have fields that are lower by "
            "powers of `d`, modes that differ in later windows only have one "
            "field: the sum runs over the groups of the branch.",
            "The law at time `s` is `sum_k p_k N(beta L_k, alpha^2 I)`, the "
            "interpolant's. A sample is counted to the nearest mean: the group "
            "with the largest `beta L_k.y - beta^2 |L_k|^2/2`.",
        ),
    ).check()


def bayes_error(model: Model, window: Window, moment: str) -> System:
    r"""Bayes error per dimension inside a window, ``d -> oo``. (E2)

    $$ \sigma^2 + \mathbb E|L_k|^2 - \mathbb E\Big|\sum_k L_k\pi_k\Big|^2 $$

    over the directions of exponent 0, the only ones whose means are of order d.
    `moment` says where the window is to theirs: ``before`` it nothing is known of the
    mode, ``after`` it all. `mse_jump` is the drop at $\tau = 0^+$ of the undilated
    error, $\mathbb E|L_k|^2 - |\mathbb E L_k|^2$, or 0 where the first window is not
    at small $\tau$.
    """
    sigma2, one = model.target.sigma**2, sp.S.One
    spread = second_moment(one) - mean_square(one)
    jump = spread if drops_at_once(model) else sp.S.Zero
    value = {"before": sigma2 + spread, "after": sigma2}.get(moment)
    if value is None:
        scales = window_scales(model, window)
        value = sigma2 + second_moment(one) - sharpness(scales, window.alpha, one)
    equations = (Equation("E2", symbol("mse"), value),)
    names = (*SIZES, *FAMILIES, model.target.sigma, *_kappas(window))
    observables = (Equation("E3", symbol("mse_jump"), jump),)
    return System(
        "mse", "closed", S_PHASE, equations, names, observables=observables
    ).check()


def exact_flow(model: Model) -> System:
    r"""The flow of the projections and of the bulk, at finite `d`. (D3)

    With $\gamma = \dot\alpha/\alpha + \zeta c$, $\mu_{kj} = L_{kj} d^{1/2-\delta_j}$,

    $$ \dot y_j = \gamma y_j + \zeta (1-c\beta) \sum_k \mu_{kj}\pi_k, \qquad
       \dot V = 2\gamma V . $$

    `K` counts all modes and `R` all directions. Status: exact at every `d`.
    """
    bayes, scales, size = exact_scales(model)
    gamma, drive = velocity_coefficients(bayes.alpha, bayes.beta, TAU, bayes.skip)
    push = over_modes(LOADING[MODE, DIRECTION] * POSTERIOR[MODE])
    y, bulk = Y[DIRECTION], symbol("V")
    start = bayes.alpha.subs(TAU, 0)
    return System(
        name="exact/sampling",
        kind="flow",
        time=TAU,
        equations=(
            Equation(
                "D3", y, gamma * y + drive * bayes.residual_gain * size * push, "exact"
            ),
            Equation("D4", bulk, 2 * gamma * bulk, "exact"),
        ),
        observables=scales.posterior("exact"),
        parameters=(*SIZES, *FAMILIES, DELTA.label, model.target.sigma, D),
        initial=((bulk, start**2),),
        status="exact",
        steps=said(
            "`y_j` is the projection `e_j.X`; `xi` and `pi` are (P1), (P2) at it."
        ),
    ).check()


def exact_mse(model: Model) -> System:
    r"""Mean squared error of the Bayes denoiser per dimension, at finite `d`. (E1)

    $$ \frac{\sigma^2\alpha^2}{\Delta} + \Big(\frac{\alpha^2}{\Delta}\Big)^2 \frac1d
       \Big(\mathbb E|\mu_k|^2 - \mathbb E\Big|\sum_k\mu_k\pi_k\Big|^2\Big) . $$
    """
    bayes, scales, size = exact_scales(model)
    spread = sp.sqrt(bayes.delta)
    known = second_moment(size) - sharpness(scales, spread, size)
    skip = model.target.sigma**2 * bayes.alpha**2 / bayes.delta
    equations = (
        Equation(
            "E1", symbol("mse"), skip + bayes.residual_gain**2 * known / D, "exact"
        ),
    )
    names = (*SIZES, *FAMILIES, DELTA.label, model.target.sigma, D)
    return System("exact/mse", "closed", TAU, equations, names, status="exact").check()


BIAS = family("b")


def weights_training(model: Model, weight: sp.Expr) -> System:
    r"""Flow of the biases of softmax units held at the means, at one time. (R36)

    One network for all times, $D(x) = \frac{\beta\sigma^2}{\Delta} x +
    \frac{\alpha^2}{\Delta}\sum_k w_k\,\mathrm{softmax}_k\big(\frac{\beta}{\Delta}
    w_k\cdot x - \frac{\beta^2}{2\Delta}|w_k|^2 + b_k\big)$, is the Bayes denoiser for
    $w_k = \mu_k$ and $b_k = \log p_k$. With the vectors held at the means the biases
    close, exactly at every `d`: with the loss weight $\lambda$, the posterior $\pi$
    that the biases imply, and $\bar\mu = \sum_l\mu_l\pi_l$,

    $$ \dot b_k = \lambda\Big(\frac{\alpha^2}{\Delta}\Big)^2 \frac1d\,\mathbb E\,
       \pi_k\,(\mu_i - \bar\mu)\cdot(\mu_k - \bar\mu), $$

    over the mode $i$ that the sample is of, and its noise. A common shift of the biases
    is never moved. Raises `DerivationError` with n samples.
    """
    check_population(model)
    bayes, scales, size = exact_scales(model)
    spread = sp.sqrt(bayes.delta)
    given = scales.shift * LOADING[SOURCE, DIRECTION] + spread * NORMALS[DIRECTION]
    field = replace(scales, prior=BIAS[MODE]).field(given)
    posterior = Softmax(field, MODE)
    mean = over_modes(LOADING[MODE, ACROSS] * posterior)
    own, true = (LOADING[index, ACROSS] for index in (MODE, SOURCE))
    pull = over_directions(
        size.subs(DIRECTION, ACROSS) ** 2 * (true - mean) * (own - mean), ACROSS
    )
    average = NormalAverage(over_modes(P[SOURCE] * posterior * pull, SOURCE), NORMALS)
    rate = weight * bayes.residual_gain**2 / D
    return System(
        name="exact/tied",
        kind="flow",
        time=symbol("train_time"),
        equations=(Equation("R36", BIAS[MODE], rate * average, "exact"),),
        parameters=(
            *SIZES,
            symbol("p"),
            LOADING.label,
            DELTA.label,
            model.target.sigma,
            D,
            TAU,
        ),
        status="exact",
        steps=said(
            "The loss per dimension at a time is the mean square of "
            "`(alpha^2/Delta) (sum_l mu_l pi_l - mu_i)` and of noise that no bias "
            "changes. Half its slope in `b_k`, with `d pi_l/d b_k = pi_k "
            "(delta_kl - pi_l)`."
        ),
    ).check()


def check_population(model: Model) -> None:
    """Raise `DerivationError` with n samples: one network for all times is open."""
    if model.data.samples:
        raise DerivationError(
            "Training one network for all times is derived on the population, but the "
            "model has n samples: the field of a sample then depends on the time "
            "through the sample's own noise, an overlap for each time. Write "
            '`n = "inf"`.'
        )
