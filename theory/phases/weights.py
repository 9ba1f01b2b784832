r"""What a network learns in a feature window, where closed forms exist.

The field of the hidden unit is O(1), the skip is not used (`c` vanishes), and the
overlaps `m, omega, b` carry the weight of the modes.
"""

from __future__ import annotations

import sympy as sp

from ...errors import DerivationError
from ..models.classes import check_patterns, has_patterns
from ..models.model import D, Feature, Model, named
from ..symbols.gaussian import to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.search import S_PHASE, Window
from . import sampled as classes
from . import saturation
from .denoiser import HALF, Denoiser, parameters_of, posterior_sharpness
from .loss import ALPHA, BETA, at_large_d, gain, in_window, window_parameters
from .stationary import stationary_learned
from .variance import saturated_learned


def learned(model: Model, window: Window) -> System:
    """Return what is learned in a feature window: closed, or a stationarity problem."""
    auto = model.autoencoder
    if holds_bayes(model):
        return bayes_learned(model, window)
    if has_patterns(model):
        return _of_classes(model, window)
    if len(model.target.features) > 1:
        raise DerivationError(
            "With several features the engine derives the population with a tanh unit "
            f"and a bias for each, but the model has activation {auto.activation!r} "
            f"and bias {auto.bias}. Use one feature, or tanh units with a bias."
        )
    if model.target.features[0].exponent != 0 and model.data.samples:
        raise DerivationError(
            "With n samples a feature needs exponent 0: a sample's own noise has norm "
            "sqrt(d) and is resolved at tau ~ d^(-1/2), but the feature has exponent "
            f'{model.target.features[0].exponent}. Set it to 0, or n = "inf".'
        )
    _refuse_undetermined(model)
    if model.data.frozen_noise:
        return frozen_learned(model, window)
    return stationary_learned(model, window)


def _of_classes(model: Model, window: Window) -> System:
    check_patterns(model)
    _refuse_tied_draws(model)
    if model.data.frozen_noise:
        return saturation.frozen(model, window)
    return classes.learned(model, window)


def holds_bayes(model: Model) -> bool:
    """Whether the population's best autoencoder is the Bayes denoiser itself."""
    auto = model.autoencoder
    return auto.activation == "tanh" and auto.bias and not model.data.samples


def _refuse_undetermined(model: Model) -> None:
    """A sign unit does not see the size of `w`; a tied `u` is that size."""
    auto, data = model.autoencoder, model.data
    if auto.activation == "sign" and (auto.tied or (data.samples and not auto.bias)):
        raise DerivationError(
            "A sign unit is derived untied, and with a bias where there are samples: "
            f"the size of w must not matter, but the model has tied {auto.tied}, bias "
            f"{auto.bias} and samples {data.samples}. Use a tanh or an erf unit."
        )
    _refuse_tied_draws(model)


def _refuse_tied_draws(model: Model) -> None:
    """Frozen noise is fitted by a `w` that a tied `u` cannot follow."""
    if model.autoencoder.tied and model.data.frozen_noise:
        raise DerivationError(
            "With frozen noise the labels are fitted by a w that is not along u, but "
            'the network is tied. Untie it, or set noise_draws = "inf".'
        )


def bayes_learned(model: Model, window: Window) -> System:
    r"""The minimum of the population loss: the Bayes denoiser seen in the window.

    With one tanh unit and a bias for each feature the autoencoder contains (D1), so
    the exact coefficients are read off and the limit is taken of each. Status:
    asymptotic, relative rate $\beta$ of the window.
    """
    values = bayes_values(model, window)
    equations = tuple(
        Equation(f"W{i}", x, value) for i, (x, value) in enumerate(values.items(), 1)
    )
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=equations,
        parameters=window_parameters(model, window),
        steps=(
            Step(
                "One tanh unit with a bias for each feature contains the Bayes "
                "denoiser (D1), so the population minimum is (D1) itself. Insert the "
                "window and let `d` grow, each overlap in its own power of `d`.",
            ),
        ),
    ).check()


def bayes_values(model: Model, window: Window) -> dict[sp.Symbol, sp.Expr]:
    """Limits of the exact coefficients, each overlap in its own power of `d`."""
    bayes = Denoiser(model, ALPHA, BETA)
    first = gain(model.target.features[window.features[0] - 1])
    hat = in_window(bayes.skip * D ** (first + window.alpha_size), window, first)
    found = {symbol("c"): sp.S.Zero, symbol("c_hat"): sp.factor(hat)}
    for j in window.features:
        feature = model.target.features[j - 1]
        for name, exact in _bayes_values(bayes, feature, j):
            scale = D ** (_UNIT.get(name, 0) * window.alpha_size)
            found[named(model, name, j)] = in_window(
                exact * scale, window, gain(feature)
            )
    return found


_UNIT = {"omega": 1, "v": 1, "r": 2}
"""The power of the noise scale that an overlap with `w` carries."""


def _bayes_values(
    bayes: Denoiser, feature: Feature, j: int
) -> list[tuple[str, sp.Expr]]:
    r"""Exact values, from $u = (1-c\beta)\mu_j$ and $w = k_j\sqrt d\,\hat\mu_j$."""
    slope = bayes.slope(j)
    return [
        ("m", bayes.kept),
        ("omega", slope),
        ("b", feature.log_odds),
        ("q", bayes.kept**2),
        ("r", slope**2),
        ("v", bayes.kept * slope),
    ]


def frozen_learned(model: Model, window: Window) -> System:
    r"""N samples with frozen noise: phase 1 is degenerate. (W1)-(W7)

    $w = \chi \sum s\,x_0$ over the noise draws fits every label at vanishing ridge
    cost, while the field of a fresh $X$ vanishes: `omega`, `r` go to 0, the weight is
    not learned and `b` is free. `u`, `c` are those of saturated labels.
    """
    values = saturated_learned(model, ALPHA, BETA)
    x = window.alpha_size
    scaled = {ALPHA: window.alpha * D**x, BETA: window.beta * D ** (x - HALF)}
    hat = at_large_d((values["c"] * D ** (HALF + x)).subs(scaled, simultaneous=True))
    limits = {
        name: at_large_d(values[name].subs(scaled, simultaneous=True))
        for name in ("m", "q", "a", "e")
    }
    known = {"c": sp.S.Zero, "c_hat": hat, **limits, "omega": sp.S.Zero, "r": sp.S.Zero}
    known |= {"b": sp.nan, "v": sp.S.Zero}
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=tuple(
            Equation(f"W{i}", symbol(name), value, "degenerate")
            for i, (name, value) in enumerate(known.items(), 1)
        ),
        parameters=window_parameters(model, window),
        status="degenerate",
        steps=(
            Step(
                "With frozen noise the rows `s_i x0` are orthogonal: `w = (K/sqrt(d)) "
                "sum_i s_i x0` gives every training row a field `K s_i` at ridge cost "
                "`ridge_w n K^2/d -> 0`, so the labels are fitted and the unit "
                "saturates on the training rows. The field of a fresh `X` is "
                "`O(K/sqrt(d))`: `p` is not learned and `b` is undetermined.",
            ),
        ),
    ).check()


def mse(model: Model, window: Window, decided: tuple[int, ...]) -> System:
    r"""Bayes error per dimension inside the window, ``d -> oo``. (E2)

    $$ \sigma^2 + \sum_{\delta_j=0} \rho_j \big(1 - \mathbb E\tanh^2(h_j +
       \Lambda_j s_j + \sqrt{\Lambda_j}\,g)\big), \qquad
       \Lambda_j = \rho_j\beta^2/\alpha^2 ; $$

    a decided feature has $\Lambda = \infty$. `mse_jump` is the drop at
    $\tau = 0^+$ of the undilated error, $\sum 4\rho_j p_j(1-p_j)$.
    """
    value, jump = model.target.sigma**2, sp.S.Zero
    for j, feature in enumerate(model.target.features, 1):
        if feature.exponent == 0:
            jump += 4 * feature.rho * feature.p * (1 - feature.p)
        if feature.exponent == 0 and j not in decided:
            snr = feature.rho * window.beta**2 / window.alpha**2
            inside = snr if j in window.features else sp.S.Zero
            value += feature.rho * (1 - posterior_sharpness(feature, inside))
    return System(
        name="mse",
        kind="closed",
        time=S_PHASE,
        equations=(Equation("E2", symbol("mse"), to_averages(value)),),
        observables=(Equation("E3", symbol("mse_jump"), jump),),
        parameters=tuple(
            dict.fromkeys(parameters_of(model) + window_parameters(model, window))
        ),
    ).check()
