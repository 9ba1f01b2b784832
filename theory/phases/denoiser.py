r"""The Bayes denoiser of a product mixture: exact at every dimension, no limit taken.

Given the signs, the data are Gaussian, so the denoiser is linear with one step for
each sign; orthogonal means and independent signs make the posterior factorise.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ..models.model import TAU, D, Feature, Interpolant, Model, named, norm
from ..symbols.gaussian import FieldAverage, H, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.leading import simplified

HALF = sp.Rational(1, 2)


@dataclass(frozen=True)
class Denoiser:
    r"""$E[x_1|x] = c x + (1-c\beta) \sum_j \mu_j \tanh(k_j\,\hat\mu_j\!\cdot x + h_j)$.

    Label (D1), with `skip` $c = \sigma^2\beta/\Delta$ and `slopes` $k_j =
    \beta|\mu_j|/\Delta$ on the projection along the unit vector $\hat\mu_j$,
    $\Delta = \alpha^2 + \sigma^2\beta^2$. Status: exact.
    """

    model: Model
    alpha: sp.Expr
    beta: sp.Expr

    @property
    def delta(self) -> sp.Expr:
        r"""$\Delta$, the variance of a coordinate of $x$ given the signs."""
        return self.alpha**2 + self.model.target.sigma**2 * self.beta**2

    @property
    def skip(self) -> sp.Expr:
        """Regression of ``x1`` on ``x`` given the signs: covariance over variance."""
        return self.model.target.sigma**2 * self.beta / self.delta

    @property
    def residual_gain(self) -> sp.Expr:
        r"""Residual gain of a mean past the skip, $1 - c\beta = \alpha^2/\Delta$."""
        return self.alpha**2 / self.delta

    def slope(self, j: int) -> sp.Expr:
        """Half the derivative of the posterior log-odds of sign `j`."""
        return self.beta * norm(self.model.target.features[j - 1]) / self.delta

    def snr(self, j: int) -> sp.Expr:
        r"""$\Lambda_j = \beta^2|\mu_j|^2/\Delta$."""
        return self.beta**2 * norm(self.model.target.features[j - 1]) ** 2 / self.delta


def exact_denoiser(model: Model) -> Denoiser:
    """Return (D1) at the model's own schedule."""
    return Denoiser(model, model.interpolant.alpha, model.interpolant.beta)


def log_odds_step(several: bool = False) -> Step:
    """Check, by expanding the two Gaussian exponents, that the log-odds are linear."""
    j = "_j" if several else ""
    start = "Each" if several else "The"
    y, size, delta, beta = sp.symbols("y |mu| Delta beta", positive=True)
    exponent = ((y + beta * size) ** 2 - (y - beta * size) ** 2) / (2 * delta)
    half = sp.expand(exponent) / 2 + sp.Symbol("h")
    return Step(
        f"{start} projection `nu{j}` of `X` on a unit vector along `mu{j}` moves by "
        "itself, and `V` is the variance of a coordinate orthogonal to the means.",
        half,
    )


def exact_flow(model: Model) -> System:
    r"""The flow of the projections and of the bulk, at finite `d`. (D3)

    With $\gamma = \dot\alpha/\alpha + \zeta c$ and $\zeta = \dot\beta -
    \dot\alpha\beta/\alpha$,

    $$ \dot\nu_j = \gamma\nu_j + \zeta (1-c\beta) |\mu_j| \tanh(k_j\nu_j + h_j),
       \qquad \dot V = 2\gamma V . $$

    Each $\nu_j = \hat\mu_j\cdot X$ is autonomous; $V$ is the variance of a coordinate
    orthogonal to the means. Status: exact at every `d`.
    """
    bayes = exact_denoiser(model)
    gamma, drive = velocity_coefficients(bayes.alpha, bayes.beta, TAU, bayes.skip)
    equations = []
    for j, feature in enumerate(model.target.features, 1):
        nu = named(model, "nu", j)
        unit = sp.tanh(bayes.slope(j) * nu + feature.log_odds)
        rhs = gamma * nu + drive * bayes.residual_gain * norm(feature) * unit
        equations.append(Equation(f"D{2 + j}", nu, rhs, "exact"))
    label = f"D{3 + len(equations)}"
    equations.append(Equation(label, symbol("V"), 2 * gamma * symbol("V"), "exact"))
    start = bayes.alpha.subs(TAU, 0)
    return System(
        name="exact/sampling",
        kind="flow",
        time=TAU,
        equations=tuple(equations),
        parameters=(*parameters_of(model), D),
        initial=((symbol("V"), start**2),),
        status="exact",
        steps=(log_odds_step(len(model.target.features) > 1),),
    ).check()


def velocity_coefficients(
    alpha: sp.Expr, beta: sp.Expr, time: sp.Symbol, skip: sp.Expr
) -> tuple[sp.Expr, sp.Expr]:
    r"""Return the coefficients of the velocity. (D2)

    $b = (\dot\alpha/\alpha) x + \zeta f(x)$ with $\zeta = \dot\beta -
    \dot\alpha\beta/\alpha$; with the skip
    counted, $\gamma = \dot\alpha/\alpha + \zeta c$ multiplies $x$.
    """
    rate = sp.diff(alpha, time) / alpha
    drive = sp.diff(beta, time) - rate * beta
    whole = sp.together(rate + drive * skip)
    return simplified(whole, alpha, beta), simplified(drive, alpha, beta)


def exact_levels(interpolant: Interpolant) -> System:
    r"""The interpolant's coefficients and those of its velocity at finite `d`. (D2)

    The velocity is $b = (\dot\alpha/\alpha) x + \zeta f(x)$; `rate` is
    $\dot\alpha/\alpha$ and `drive` is $\zeta = \dot\beta - \dot\alpha\beta/\alpha$.
    """
    alpha, beta = interpolant.alpha, interpolant.beta
    rate, drive = velocity_coefficients(alpha, beta, TAU, sp.S.Zero)
    entries = {"alpha": alpha, "beta": beta, "rate": rate, "drive": drive}
    equations = tuple(
        Equation("D2", sp.Symbol(name), value, "exact")
        for name, value in entries.items()
    )
    return System(
        "exact/levels", "closed", TAU, equations, (D,), status="exact"
    ).check()


def exact_mse(model: Model) -> System:
    r"""Mean squared error of the Bayes denoiser per dimension, at finite `d`. (E1)

    $$ \frac{\sigma^2\alpha^2}{\Delta} + \Big(\frac{\alpha^2}{\Delta}\Big)^2
       \sum_j \frac{|\mu_j|^2}{d} \big(1 - \mathbb E\tanh^2(h_j + \Lambda_j s_j +
       \sqrt{\Lambda_j}\,g)\big). $$
    """
    bayes = exact_denoiser(model)
    sigma2 = model.target.sigma**2
    value = sigma2 * bayes.alpha**2 / bayes.delta + bayes.residual_gain**2 * sum(
        norm(f) ** 2 / D * (1 - posterior_sharpness(f, bayes.snr(j)))
        for j, f in enumerate(model.target.features, 1)
    )
    equations = (Equation("E1", symbol("mse"), to_averages(value), "exact"),)
    names = (*parameters_of(model), D)
    return System("exact/mse", "closed", TAU, equations, names, status="exact").check()


def posterior_sharpness(feature: Feature, snr: sp.Expr) -> sp.Expr:
    r"""$\mathbb E\tanh^2(h + \Lambda s + \sqrt\Lambda g)$ over sign and noise."""
    up, down = (
        FieldAverage(
            sp.tanh(H) ** 2, sp.Tuple(feature.log_odds + s * snr), sp.Tuple(snr)
        )
        for s in (1, -1)
    )
    return feature.p * up + (1 - feature.p) * down


def parameters_of(model: Model) -> tuple[sp.Symbol, ...]:
    """The parameters of the target: weights, squared norms, spread."""
    found: list[sp.Symbol] = []
    for feature in model.target.features:
        found += [x for x in (feature.p, feature.rho) if isinstance(x, sp.Symbol)]
    return (*found, model.target.sigma)
