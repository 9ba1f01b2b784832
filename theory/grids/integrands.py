r"""Integrands of the model's own grids: densities in log(beta/alpha).

A grid that takes equal steps in an integral over time is fixed by the integrand. They
are stated per unit of $\ell = \log(\beta/\alpha)$, in which every window has a width of
order 1.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ..limit import Limit
from ..models.model import TAU, D, Model, named, norm
from ..modes.posterior import DELTA, LOADING, SIZES, Y, exact_scales
from ..modes.systems import FAMILIES
from ..phases.denoiser import exact_denoiser, exact_mse, velocity_coefficients
from ..symbols.indexed import ACROSS, DIRECTION, MODE, Softmax, over_modes
from ..symbols.system import Equation, System
from ..windows.leading import simplified

WEIGHT = sp.Symbol("weight")


def information_weight(limit: Limit) -> System:
    r"""Return the information gained per unit of log(beta/alpha), at finite `d`. (U1)

    $$ \frac{dI(x_1; x_\tau)}{d\ell} = d\,\mathrm{mse}\,\frac{\beta^2}{\alpha^2} $$

    in nats, since $dI = \frac12 d\,\mathrm{mse}\;d(\beta^2/\alpha^2)$ with (E1).
    Status: exact. Source: Guo, Shamai and Verdu 2005.
    """
    path = limit.model.interpolant
    factor = D * simplified((path.beta / path.alpha) ** 2, path.alpha, path.beta)
    return _times_mse(limit, "exact/information", "U1", factor)


def error_weight(limit: Limit) -> System:
    r"""Return the error per unit of log(beta/alpha), $2\,\mathrm{mse}$. (U2)

    Equal steps in its integral are equal in the error's integral over log SNR.
    """
    return _times_mse(limit, "exact/error", "U2", sp.Integer(2))


def _times_mse(limit: Limit, name: str, label: str, factor: sp.Expr) -> System:
    error = limit.exact["mse"]
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


def mode_slopes(model: Model) -> System:
    r"""Return the slope of the exact velocity of modes, a matrix. (U3)

    In the directions of the means the velocity's Jacobian is `bulk` $\gamma$ on the
    diagonal plus `slope`, a multiple of the covariance of the means under the
    posterior,

    $$ \zeta (1-c\beta) \frac{\beta}{\Delta} \Big(\sum_k \pi_k \mu_{kj}\mu_{kl}
       - \sum_k \pi_k\mu_{kj} \sum_k \pi_k\mu_{kl}\Big) , $$

    since $\partial\pi_k/\partial y_l = (\beta/\Delta)\,\pi_k (\mu_{kl} - \sum_i
    \pi_i\mu_{il})$. Its norm is the larger of $|\gamma|$ and of $\gamma$ plus the
    largest eigenvalue. In mode $k$ the projections are those of `shift` times the
    loadings, and `spread` times standard normals. Status: exact.
    """
    bayes, scales, size = exact_scales(model)
    gamma, drive = velocity_coefficients(bayes.alpha, bayes.beta, TAU, bayes.skip)
    posterior = Softmax(scales.field(Y[DIRECTION]), MODE)
    one, other = LOADING[MODE, DIRECTION], LOADING[MODE, ACROSS]
    covariance = over_modes(one * other * posterior) - over_modes(
        one * posterior
    ) * over_modes(other * posterior)
    gain = drive * bayes.residual_gain * size * scales.slope.subs(DIRECTION, ACROSS)
    found = {
        sp.Symbol("bulk"): gamma,
        sp.Symbol("spread"): sp.sqrt(bayes.delta),
        sp.Symbol("width"): bayes.beta / drive,
        sp.IndexedBase("shift")[DIRECTION]: scales.shift,
        sp.IndexedBase("slope")[DIRECTION, ACROSS]: gain * covariance,
    }
    equations = tuple(Equation("U3", k, v, "exact") for k, v in found.items())
    names = (*SIZES, *FAMILIES, DELTA.label, Y.label, model.target.sigma, D)
    return System(
        "exact/lipschitz", "closed", TAU, equations, names, status="exact"
    ).check()
