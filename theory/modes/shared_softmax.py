r"""One softmax network for all times: how the weights of modes are learned.

$D(x) = \frac{\beta\sigma^2}{\Delta} x + \frac{\alpha^2}{\Delta}\sum_k w_k
\mathrm{softmax}_k\big(\frac{\beta}{\Delta} w_k\cdot x - \frac{\beta^2}{2\Delta}|w_k|^2
+ b_k\big)$ is the Bayes denoiser for $w_k = \mu_k$ and $b_k = \log p_k$ at every time.
With the vectors held at the means the biases close, exactly at every `d`.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Model
from ..symbols.indexed import (
    ACROSS,
    DIRECTION,
    MODE,
    SOURCE,
    NormalAverage,
    Softmax,
    family,
    over_directions,
    over_modes,
)
from ..symbols.notation import symbol
from ..symbols.system import Equation, System, said
from .posterior import DELTA, LOADING, NORMALS, SIZES, P, exact_scales

BIAS = family("b")


def weights_training(model: Model, weight: sp.Expr) -> System:
    r"""Flow of the biases of softmax units held at the means, at one time. (R36)

    With the loss weight $\lambda$, the posterior $\pi$ that the biases imply, and
    $\bar\mu = \sum_l\mu_l\pi_l$,

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
