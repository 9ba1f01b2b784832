"""What is studied: target, interpolant, autoencoder and data, as frozen records.

A `Model` holds structure and symbols, never numbers: numbers are given to
`dilaton.solve`, by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, get_args

import sympy as sp

from ..errors import ModelError, did_you_mean
from .notation import symbol

Activation = Literal["tanh", "erf", "sign"]

TAU, D = symbol("tau"), symbol("d")


@dataclass(frozen=True)
class Feature:
    r"""One feature of the target: a sign $s_j$ and a mean of squared norm
    $\rho_j d^{1-2\delta_j}$. `p` and `rho` are symbols, `exponent` is $\delta_j$.
    """

    p: sp.Expr
    rho: sp.Expr
    exponent: sp.Rational

    @property
    def log_odds(self) -> sp.Expr:
        r"""$h = \frac12 \log\frac{p}{1-p}$."""
        return sp.log(self.p / (1 - self.p)) / 2


@dataclass(frozen=True)
class Target:
    r"""$x_1 = \sum_j s_j \mu_j + \sigma z$ with independent signs, orthogonal means."""

    features: tuple[Feature, ...]
    sigma: sp.Expr = field(default_factory=lambda: symbol("sigma"))


def two_modes() -> Target:
    r"""$p N(\mu, \sigma^2 I) + (1-p) N(-\mu, \sigma^2 I)$ with $|\mu|^2 = d$."""
    return Target((Feature(symbol("p"), sp.S.One, sp.S.Zero),))


def product(*exponents: sp.Rational | int | str | float) -> Target:
    r"""A product mixture with one feature for each exponent $\delta_j < 1/2$.

    The symbols are ``p_1, rho_1, p_2, rho_2, ...`` (also for a single feature).
    """
    if not exponents:
        raise ModelError(
            "A product mixture must have at least one feature, but no exponent is "
            "given. Write for example `product(0, 0.25)`."
        )
    deltas = [_exponent(e, j) for j, e in enumerate(exponents, 1)]
    for j, delta in enumerate(deltas, 1):
        if not delta < sp.Rational(1, 2):
            raise ModelError(
                "`exponent` must be below 1/2, or the modes are no farther apart than "
                f"one coordinate's noise, but feature {j} has exponent {delta}. "
                "Lower it."
            )
    return Target(
        tuple(
            Feature(symbol(f"p_{j}"), symbol(f"rho_{j}"), delta)
            for j, delta in enumerate(deltas, 1)
        )
    )


def _exponent(value: sp.Rational | int | str | float, j: int) -> sp.Rational:
    """Return an exponent as an exact fraction; text is read, never evaluated."""
    try:
        return sp.Rational(Fraction(str(value)))
    except (ValueError, ZeroDivisionError):
        raise ModelError(
            '`exponent` must be a number or a fraction such as "1/3", but that of '
            f"feature {j} is {str(value)[:60]!r}. Write it in digits."
        ) from None


@dataclass(frozen=True)
class Interpolant:
    r"""$x_\tau = \alpha(\tau) x_0 + \beta(\tau) x_1$: `alpha` multiplies the noise."""

    alpha: sp.Expr
    beta: sp.Expr

    def __post_init__(self) -> None:
        """Refuse text, which sympy would evaluate as Python."""
        for key, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not isinstance(value, sp.Expr):
                raise ModelError(
                    f"`{key}` must be a sympy expression in tau, but is "
                    f"{str(value)[:60]!r}. Read text with `parse_schedule`."
                )


LINEAR = Interpolant(1 - TAU, TAU)
TRIGONOMETRIC = Interpolant(sp.cos(sp.pi * TAU / 2), sp.sin(sp.pi * TAU / 2))
VARIANCE_PRESERVING = Interpolant(sp.sqrt(1 - TAU**2), TAU)
VARIANCE_EXPLODING = Interpolant(sp.sqrt(D) * (1 - TAU), TAU)


@dataclass(frozen=True)
class Autoencoder:
    r"""$f(x) = c x + \sum_j u_j \varphi(w_j \cdot x/\sqrt d + b_j)$, a set per time.

    `tied` is the score parametrisation, $u = \alpha^2 w/(\beta \sqrt d)$.
    """

    activation: Activation = "tanh"
    tied: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        """Refuse an activation that no rule knows."""
        known = get_args(Activation)
        if self.activation not in known:
            raise ModelError(
                f"`activation` must be one of {', '.join(known)}, but is "
                f"`{self.activation}`{did_you_mean(str(self.activation), known)}"
            )


@dataclass(frozen=True)
class Data:
    """The population (``samples=False``) or `n` samples, with fresh or frozen noise.

    The samples of a product mixture are counted by the signs of their features;
    `empty` names the sign patterns, as in ``("--",)``, that no sample has.
    """

    samples: bool = False
    frozen_noise: bool = False
    empty: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """Everything the derivation starts from."""

    target: Target
    interpolant: Interpolant = LINEAR
    autoencoder: Autoencoder = Autoencoder()
    data: Data = Data()
