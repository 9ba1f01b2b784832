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

from dataclasses import replace

import sympy as sp

from ..models.model import D, Model, named
from ..phases.denoiser import exact_denoiser
from ..symbols.gaussian import FieldAverage, H, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Step, System
from .shared import shared_training, square_norm

RATE, BATCH = symbol("rate"), symbol("batch")


def shared_noise(model: Model) -> sp.Expr:
    r"""What one batch adds to $q$ of the shared network at one time. (R19)

    The slope of a sample's loss per dimension is $-\frac2d\frac{\alpha^2}{\Delta}
    (T e + T'(w\cdot e)\frac\beta\Delta x)$ with the residual $e = x_1 - D$. With
    $w\cdot e/d = \frac{\alpha^2}{\Delta}(sm - n_2T)$, $|x|^2/d = \Delta$ and
    $|e|^2/d = \sigma^2\alpha^2/\Delta$ beyond the window, where $T^2$ remains,

    $$ N = \frac\eta B\Big(\frac{\alpha^2}{\Delta}\Big)^4\Lambda\,\mathbb E[T'^2
       (sm - n_2T)^2] + \frac{\eta}{Bd}\Big(\frac{\alpha^2}{\Delta}\Big)^2
       \frac{\sigma^2\alpha^2}{\Delta}\,\mathbb E\,T^2 . $$

    The loss weight enters squared. Both parts are needed: the second comes from all
    times beyond the window and dominates for noise prediction.
    """
    bayes, feature = exact_denoiser(model), model.target.features[0]
    size = square_norm(feature)
    m, q, b = (named(model, x, 1) for x in ("m", "q", "b"))
    unit, norm2 = sp.tanh(H), m**2 + q
    snr = bayes.snr(1)
    residual = model.target.sigma**2 * bayes.residual_gain
    near = far = sp.S.Zero
    for s, share in ((1, feature.p), (-1, 1 - feature.p)):
        field = ((snr * s * m + b,), (snr * norm2,))
        pull = sp.diff(unit, H) ** 2 * (s * m - norm2 * unit) ** 2
        near += share * FieldAverage(sp.expand(pull), *field)
        far += share * FieldAverage(unit**2, *field)
    near *= bayes.residual_gain**4 * snr * size**2 / size
    far *= bayes.residual_gain**2 * residual / D
    return RATE / BATCH * (near + far) / size


def shared_sgd(model: Model, weight: sp.Expr) -> System:
    r"""The flow of the shared network with the noise of a finite learning rate. (R20)

    $\dot q$ of (R3) gains $\lambda^2 N$; `m` and `b` are the flow's.
    """
    flow = shared_training(model, weight)
    gain = to_averages(weight**2 * shared_noise(model))
    q = named(model, "q", 1)
    rows = tuple(
        replace(eq, rhs=eq.rhs + gain, status="asymptotic", rate=1 / D)
        if eq.lhs == q
        else eq
        for eq in flow.equations
    )
    step = Step("One batch adds to q, to second order in its step,", gain, "R19")
    return replace(
        flow,
        name="shared/sgd",
        equations=rows,
        parameters=(RATE, BATCH, *flow.parameters),
        status="asymptotic",
        steps=(*flow.steps, step),
    ).check()
