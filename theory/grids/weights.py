r"""Integrands of the model's own grids: densities in log(beta/alpha).

A grid that takes equal steps in an integral over time is fixed by the integrand. They
are stated per unit of $\ell = \log(\beta/\alpha)$, in which every window has a width of
order 1.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Model, Modes, named, norm
from ..phases.denoiser import exact_denoiser, exact_mse, velocity_coefficients
from ..symbols.system import Equation, System

WEIGHT = sp.Symbol("weight")


def signs_only(model: Model, name: str) -> None:
    """Raise `DerivationError` for a target that is no product of signs."""
    if isinstance(model.target, Modes):
        raise DerivationError(
            f"The grid `{name}` is derived for signs of features with orthogonal "
            "means, but this target is a mixture of modes. Take a grid that has a "
            "formula, such as `dilated` or `log-snr`."
        )


def information_weight(model: Model) -> System:
    r"""Return the information gained per unit of log(beta/alpha), at finite `d`. (U1)

    $$ \frac{dI(x_1; x_\tau)}{d\ell} = d\,\mathrm{mse}\,\frac{\beta^2}{\alpha^2} $$

    in nats, since $dI = \frac12 d\,\mathrm{mse}\;d(\beta^2/\alpha^2)$ with (E1).
    Status: exact. Source: Guo, Shamai and Verdu 2005.
    """
    signs_only(model, "entropic")
    ratio = model.interpolant.beta / model.interpolant.alpha
    return _times_mse(model, "exact/information", "U1", D * sp.simplify(ratio**2))


def error_weight(model: Model) -> System:
    r"""Return the error per unit of log(beta/alpha), $2\,\mathrm{mse}$. (U2)

    Equal steps in its integral are equal in the error's integral over log SNR.
    """
    signs_only(model, "mse-log-snr")
    return _times_mse(model, "exact/error", "U2", sp.Integer(2))


def _times_mse(model: Model, name: str, label: str, factor: sp.Expr) -> System:
    error = exact_mse(model)
    rhs = factor * error.equations[0].rhs
    return replace(
        error, name=name, equations=(Equation(label, WEIGHT, rhs, "exact"),)
    ).check()


def lipschitz_parts(model: Model) -> System:
    r"""Return the slopes of the exact velocity and where they are met. (U3)

    The velocity's Jacobian is diagonal: `bulk` $\gamma$ orthogonal to the means, and
    along $\hat\mu_j$

    $$ \lambda_j(\nu_j) = \gamma + \zeta (1-c\beta)|\mu_j| k_j\,
       \mathrm{sech}^2(k_j\nu_j + h_j) , $$

    with $\nu_j \sim p_j N(\beta|\mu_j|, \Delta) + (1-p_j) N(-\beta|\mu_j|, \Delta)$:
    `center_j`, `spread`. `width` is $d\tau/d\ell = \beta/\zeta$. The grid of least
    $\int E\|\nabla b\|^2 (d\tau/dt)^2 dt$ takes equal steps in $\int (E \max(\gamma^2,
    \lambda_j^2))^{1/2} d\tau$. Status: exact. Source of the criterion: Chen,
    Vanden-Eijnden and Xu 2025.
    """
    signs_only(model, "lipschitz")
    bayes = exact_denoiser(model)
    gamma, drive = velocity_coefficients(bayes.alpha, bayes.beta, TAU, bayes.skip)
    found = {"bulk": gamma, "spread": sp.sqrt(bayes.delta), "width": bayes.beta / drive}
    projections = []
    for j, feature in enumerate(model.target.features, 1):
        nu, slope = named(model, "nu", j), bayes.slope(j)
        bend = 1 - sp.tanh(slope * nu + feature.log_odds) ** 2
        found[f"slope_{j}"] = (
            gamma + drive * bayes.residual_gain * norm(feature) * slope * bend
        )
        found[f"center_{j}"] = bayes.beta * norm(feature)
        projections.append(nu)
    parts = tuple(Equation("U3", sp.Symbol(k), v, "exact") for k, v in found.items())
    return replace(
        exact_mse(model),
        name="exact/lipschitz",
        equations=parts,
        parameters=(*exact_mse(model).parameters, *projections),
    ).check()
