r"""The posterior over modes, exactly at `d` and inside a window, in indexed form.

Given the mode, the data are Gaussian, so the denoiser is linear with one constant
vector for each mode, and the log posterior is linear in the projections of `x`.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ..models.model import D, Model
from ..phases.denoiser import HALF, Denoiser, exact_denoiser
from ..phases.loss import ALPHA, BETA, in_window
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
from ..symbols.system import Equation, Status, numbered
from ..windows.search import Window

P, LOADING, DELTA = family("p"), family("L"), family("delta")
Y, FIELD, POSTERIOR = family("y"), family("xi"), family("pi")
NORMALS = family("g")
SIZES = (symbol("K"), symbol("R"))
PRIOR = sp.log(P[MODE])


@dataclass(frozen=True)
class Scales:
    r"""The coefficients of a posterior over modes.

    $\xi_k = \log p_k + a \sum_j L_{kj} y_j - \frac{a b}2 \sum_j L_{kj}^2$ with the
    `slope` $a$ and the `shift` $b$ of the means (vectors over directions at finite d),
    and `kept` $= 1 - c\beta$, what the skip leaves of a mean. `prior` is $\log p_k$, or
    what a network has in its place.
    """

    slope: sp.Expr
    shift: sp.Expr
    kept: sp.Expr
    prior: sp.Expr = PRIOR

    def field(self, point: sp.Expr) -> sp.Expr:
        r"""$\xi_k$ at the projections `point`, an expression in the direction."""
        loading = LOADING[MODE, DIRECTION]
        seen = over_directions(self.slope * loading * point)
        size = over_directions(self.slope * self.shift * loading**2)
        if not self.slope.has(DIRECTION):
            seen = self.slope * over_directions(loading * point)
            size = self.slope * self.shift * over_directions(loading**2)
        return self.prior + seen - size / 2

    def posterior(
        self, status: Status = "asymptotic", first: int = 1
    ) -> tuple[Equation, ...]:
        """The field and the posterior of each mode. (P1)-(P2), in a window (P3)-(P4)"""
        field = self.field(Y[DIRECTION])
        values = {FIELD[MODE]: field, POSTERIOR[MODE]: Softmax(FIELD[MODE], MODE)}
        return numbered("P", values, first, status)


def exact_scales(
    model: Model, bayes: Denoiser | None = None
) -> tuple[Denoiser, Scales, sp.Expr]:
    r"""The denoiser, the scales at `d`, and $|\mu|$ of a unit loading. (D1)

    $E[x_1|x] = (\beta\sigma^2/\Delta)\,x + (\alpha^2/\Delta) \sum_k\mu_k\pi_k(x)$ with
    $\pi_k \propto p_k \exp(\beta\mu_k\cdot x/\Delta - \beta^2|\mu_k|^2/(2\Delta))$.
    """
    bayes = exact_denoiser(model) if bayes is None else bayes
    size = D ** (HALF - DELTA[DIRECTION])
    return (
        bayes,
        Scales(bayes.beta * size / bayes.delta, bayes.beta * size, bayes.residual_gain),
        size,
    )


def window_scales(model: Model, window: Window) -> Scales:
    """The limits of the coefficients inside a window: each in its own power of `d`."""
    bayes = Denoiser(model, ALPHA, BETA)
    gain = HALF - model.target.decisions[window.features[0]]
    x = window.alpha_size
    slope = in_window(bayes.beta * D ** (gain + x) / bayes.delta, window, gain)
    shift = in_window(bayes.beta * D ** (gain - x), window, gain)
    return Scales(slope, shift, in_window(bayes.residual_gain, window, gain))


def skip_limit(model: Model, window: Window) -> sp.Expr:
    """The skip times its power of `d`: of no use inside a window of modes."""
    bayes = Denoiser(model, ALPHA, BETA)
    gain = HALF - model.target.decisions[window.features[0]]
    scaled = bayes.skip * D ** (gain + window.alpha_size)
    return sp.factor(in_window(scaled, window, gain))


def sharpness(scales: Scales, alpha: sp.Expr, size: sp.Expr) -> sp.Expr:
    r"""$\mathbb E|\sum_k \mu_k\pi_k|^2$ in units of $d$, over the mixture itself. (E5)

    `size` is what a loading is multiplied by. Given mode $i$ the projections are
    $b L_{ij} + \alpha g_j$ with standard normals $g$.
    """
    given = scales.shift * LOADING[SOURCE, DIRECTION] + alpha * NORMALS[DIRECTION]
    posterior = Softmax(scales.field(given), MODE)
    mean = over_modes(LOADING[MODE, ACROSS] * posterior)
    square = over_directions(size.subs(DIRECTION, ACROSS) ** 2 * mean**2, ACROSS)
    return NormalAverage(over_modes(P[SOURCE] * square, SOURCE), NORMALS)


def second_moment(size: sp.Expr) -> sp.Expr:
    r"""$\mathbb E|\mu_k|^2$ in units of $d$."""
    mode = over_directions(size**2 * LOADING[MODE, DIRECTION] ** 2)
    return over_modes(P[MODE] * mode)


def mean_square(size: sp.Expr) -> sp.Expr:
    r"""$|\sum_k p_k\mu_k|^2$ in units of $d$."""
    mean = over_modes(P[MODE] * LOADING[MODE, DIRECTION])
    return over_directions(size**2 * mean**2)
