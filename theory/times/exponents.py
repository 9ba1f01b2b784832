r"""How learning times grow with `d`: exponents by dominant balance."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Model
from ..phases.denoiser import exact_denoiser
from ..windows.search import Window, find_windows
from .densities import Density
from .growth import ZERO, Balance, Growth, multiplied
from .held import check_trainable

ROUNDS = 12
"""How often new balances are looked for; two or three are usual."""


@dataclass(frozen=True)
class Law:
    """The growth of a learning time: ``d**exponent`` times what `text` says.

    The exponent is infinite for a time that grows faster than any power.
    """

    exponent: sp.Expr
    text: str

    def __str__(self) -> str:
        return "inf" if self.exponent == sp.oo else sp.sstr(self.exponent)


def window_of(model: Model, j: int) -> Window:
    """Return the window in which feature `j` is decided."""
    return next(w for w in find_windows(model) if j in w.features)


def time_law(model: Model, j: int, density: Density, weight: sp.Expr) -> Law:
    r"""Return the growth of the learning time of feature `j` with `d`. (R30)

    The rate is $\frac{|\mu_j|^2}{d}\int\rho\lambda(\alpha^2/\Delta)^2K(\Lambda_j)\,
    d\tau$ with $K$ of order one up to the window, $\tau\sim d^{-e_j}$, and
    $e^{-\Lambda/2}$ beyond: it is as large as its largest part at scales
    $\tau\sim d^{-e}$, $e\ge e_j$.

    Raises `DerivationError` where the window is at the end of time, or no leading term
    can be read off.
    """
    check_trainable(model)
    window = window_of(model, j)
    if window.end == "1":
        raise DerivationError(
            "The growth of a learning time is derived for windows near tau = 0 or "
            f"inside, but that of feature {j} is at the end. Ask for times at several "
            "d instead."
        )
    if density.levels:
        return Law(sp.oo, MISSED)
    seen = weight * exact_denoiser(model).residual_gain ** 2
    best = _largest(window.exponent, density, seen)
    if best is None or best[1].decay == sp.oo:
        return Law(sp.oo, MISSED)
    power, growth = best
    slow = 2 * model.target.features[j - 1].exponent
    if growth.decay:
        scale = sp.nsimplify(growth.decay)
        return Law(sp.oo, f"exp({sp.sstr(scale * sp.log(D) ** 2)})")
    text = sp.sstr(D ** (slow - power) * sp.log(D) ** -growth.logs)
    return Law(slow - power, text)


MISSED = "the density misses the window"


def _largest(
    start: sp.Expr, density: Density, seen: sp.Expr
) -> tuple[sp.Expr, Growth] | None:
    """Return the power and the growth of the largest part of the rate."""
    found: dict[sp.Expr, Growth] = {}
    ahead = {start, start + 1}
    for _ in range(ROUNDS):
        fresh: set[sp.Expr] = set()
        for e in ahead - found.keys():
            found[e], crossings = _part(e, density, seen)
            fresh |= {x for x in crossings if x > start}
        ahead = fresh | ({max(fresh) + 1} if fresh else set())
        if not ahead - found.keys():
            break
    kept = {e: g for e, g in found.items() if g.factor != 0}
    if not kept:
        return None
    at = {e: Balance(e) for e in kept}
    e = max(kept, key=lambda e: at[e].rank(kept[e]))
    if e == max(found) and e > start + 1:
        raise DerivationError(
            f"The density `{density}` must have its mass at some scale of tau, but it "
            "grows towards tau = 0. Check it."
        )
    return at[e].value(kept[e].power), kept[e]


def _part(e: sp.Expr, density: Density, seen: sp.Expr) -> tuple[Growth, set[sp.Expr]]:
    """Return the growth of the part of the rate from one scale, and the balances."""
    here = Balance(e)
    weight = here.of(seen)
    if density.pdf is not None:
        low = here.of(density.edges[0])
        if low.factor != 0 and here.value(low.power) > -e:
            return ZERO, here.crossings
        mass = here.of(density.pdf * TAU)
    else:
        mass = _mass_of_quantile(here, density)
    return multiplied(weight, mass), here.crossings


def _mass_of_quantile(here: Balance, density: Density) -> Growth:
    """Return the share of a uniform point whose time is of this scale."""
    if here.e == 0:
        return Growth(sp.S.One)
    a, b = Balance(here.e).of(density.quantile).power
    at = (-here.e - a) / b
    again = Balance(at).of(density.quantile).power
    if again != (a, b):
        raise DerivationError(
            f"The quantiles of `{density}` must be a power of the uniform point near "
            "tau = 0, but are not. Ask for times at several d instead."
        )
    return Growth(sp.S.One, (a / b, 1 / b))
