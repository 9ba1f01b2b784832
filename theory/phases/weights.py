r"""The population minimum in a feature window in closed form, and the Bayes error.

The field of the hidden unit is O(1), the skip is not used (`c` vanishes), and the
overlaps `m, omega, b` carry the weight of the modes.
"""

from __future__ import annotations

import sympy as sp

from ..models.model import D, Model, named
from ..symbols.gaussian import to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, System, numbered, said
from ..windows.search import S_PHASE, Window, drops_at_once
from .denoiser import Denoiser, parameters_of, posterior_sharpness
from .loss import ALPHA, BETA, gain, in_window, window_parameters


def bayes_learned(model: Model, window: Window) -> System:
    r"""The minimum of the population loss: the Bayes denoiser seen in the window.

    With one tanh unit and a bias for each feature the autoencoder contains (D1), so
    the exact coefficients are read off and the limit is taken of each. Status:
    asymptotic, relative rate $\beta$ of the window.
    """
    values = bayes_values(model, window)
    equations = numbered("W", values)
    names = window_parameters(model, window)
    steps = said(
        "One tanh unit with a bias for each feature contains the Bayes "
        "denoiser (D1), so the population minimum is (D1) itself. Insert the "
        "window and let `d` grow, each overlap in its own power of `d`."
    )
    return System("learned", "closed", S_PHASE, equations, names, steps=steps).check()


def bayes_values(model: Model, window: Window) -> dict[sp.Symbol, sp.Expr]:
    r"""Limits of the exact coefficients, each overlap in its own power of `d`.

    They are those of $u_j = (1-c\beta)\mu_j$ and $w_j = k_j\sqrt d\,\hat\mu_j$.
    """
    bayes = Denoiser(model, ALPHA, BETA)
    first = gain(model.target.features[window.features[0] - 1])
    hat = in_window(bayes.skip * D ** (first + window.alpha_size), window, first)
    found = {symbol("c"): sp.S.Zero, symbol("c_hat"): sp.factor(hat)}
    for j in window.features:
        feature, kept = model.target.features[j - 1], bayes.residual_gain
        slope = bayes.slope(j) * D**window.alpha_size  # `w` in units of the noise
        exact = {"m": kept, "omega": slope, "b": feature.log_odds}
        exact |= {"q": kept**2, "r": slope**2, "v": kept * slope}
        for name, value in exact.items():
            found[named(model, name, j)] = in_window(value, window, gain(feature))
    return found


def mse(model: Model, window: Window, decided: tuple[int, ...]) -> System:
    r"""Bayes error per dimension inside the window, ``d -> oo``. (E2)

    $$ \sigma^2 + \sum_{\delta_j=0} \rho_j \big(1 - \mathbb E\tanh^2(h_j +
       \Lambda_j s_j + \sqrt{\Lambda_j}\,g)\big), \qquad
       \Lambda_j = \rho_j\beta^2/\alpha^2 ; $$

    a decided feature has $\Lambda = \infty$. `mse_jump` is the drop at
    $\tau = 0^+$ of the undilated error, $\sum 4\rho_j p_j(1-p_j)$, or 0 where the
    first window is not at small $\tau$.
    """
    value, jump = model.target.sigma**2, sp.S.Zero
    for j, feature in enumerate(model.target.features, 1):
        if feature.exponent == 0 and drops_at_once(model):
            jump += 4 * feature.rho * feature.p * (1 - feature.p)
        if feature.exponent == 0 and j not in decided:
            snr = feature.rho * window.beta**2 / window.alpha**2
            inside = snr if j in window.features else sp.S.Zero
            value += feature.rho * (1 - posterior_sharpness(feature, inside))
    equations = (Equation("E2", symbol("mse"), to_averages(value)),)
    names = tuple(
        dict.fromkeys(parameters_of(model) + window_parameters(model, window))
    )
    observables = (Equation("E3", symbol("mse_jump"), jump),)
    return System(
        "mse", "closed", S_PHASE, equations, names, observables=observables
    ).check()
