r"""Grids even in an integral: the share of the integral in each window.

The weight per unit of log(beta/alpha) is of some power of `d` in each window. Between
two windows it is a power law; where it stays at its largest power there, the stretch
counts as log(d). The share of a window is its own part of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import sympy as sp

from ...errors import DerivationError, ModelError
from ..limit import Limit, Phase
from ..models.model import TAU, D, Modes, Target, norm
from ..times.grammar import formula
from ..times.maps import LOWEST
from .asymptotics import leading
from .integrands import lipschitz_parts, mode_slopes

Share = Callable[[Phase], sp.Expr]
LOW, HIGH = sp.Rational(1, 3), sp.Integer(3)
"""The multiples of a window's own size that bound it."""


def ratio_size(phase: Phase) -> sp.Expr:
    r"""The power of `d` of $\beta/\alpha$ in a window."""
    return phase.window.beta_size - phase.window.alpha_size


def window_times(phase: Phase) -> tuple[sp.Expr, sp.Expr]:
    """Return ``tau`` at two multiples of the window's size, the earlier one first."""
    window = phase.window
    size = D ** (-window.exponent)
    if window.end == "interior":
        return LOW / (1 + LOW), HIGH / (1 + HIGH)
    if window.end == "0":
        return LOW * size, HIGH * size
    return 1 - HIGH * size, 1 - LOW * size


def _of_whole(
    own: dict[str, sp.Expr], lasting: dict[str, sp.Expr], names: Sequence[str]
) -> Share:
    """Return shares from the powers of `d` of a weight in each window.

    `lasting` is the power of the part of the weight that goes on between windows;
    where it is the largest one on both sides, the stretch is of length log(d).
    """
    top = max(own.values())
    flat = any(lasting[a] == top == lasting[b] for a, b in pairwise(names))
    whole = D**top * (sp.log(D) if flat else 1)
    return lambda phase: D ** own[phase.name] / whole


def information_shares(limit: Limit, given: Sequence[str]) -> Share:
    r"""Return the windows' shares of the information (U1).

    The error per dimension is of order 1 up to the end of the variance window, by
    (E1), so the power of `d` is that of $d \beta^2/\alpha^2$.
    """
    if given and D in formula(given[0], "entropic").free_symbols:
        raise ModelError(
            "What `entropic` keeps is derived for a largest SNR that does not depend "
            f"on d, but it is {given[0]}. Give a number."
        )
    powers = {p.name: 1 + 2 * ratio_size(p) for p in limit.phases}
    return _of_whole(powers, powers, [p.name for p in limit.phases])


def error_shares(limit: Limit, given: Sequence[str]) -> Share:
    """Return the windows' shares of the error's integral over log SNR.

    The weight is of order 1 from the first end to the variance window.
    """
    low = formula(given[0], "mse-log-snr") if given else LOWEST
    start = leading(low, "mse-log-snr")
    long = sp.simplify(sp.log(start) / sp.log(D))

    def share(phase: Phase) -> sp.Expr:
        if ratio_size(phase) < long:
            return sp.S.Zero
        return 1 / sp.log(D) if long < 0 else sp.S.One

    return share


def decrement_shares(limit: Limit, given: Sequence[str]) -> Share:
    r"""Return the windows' shares of the error's fall.

    Deciding feature $j$ lowers the error by $4 p_j (1-p_j) |\mu_j|^2/d$, telling modes
    apart that differ in a direction of exponent $\delta$ by some $d^{-2\delta}$, the
    variance window by $\sigma^2$ (E1).
    """
    sizes = _sizes(limit.model.target)

    def share(phase: Phase) -> sp.Expr:
        powers = [2 * sizes[j] - 1 for j in phase.features]
        powers += [sp.S.Zero] if phase.window.variance else []
        if not powers:
            raise DerivationError(
                "Equal decrements of the error are judged where the error falls, but "
                f"in the phase `{phase.name}` nothing is decided. Look at the others."
            )
        return D ** max(powers)

    return share


def _sizes(target: Target) -> dict[int, sp.Expr]:
    """Return the power of `d` of every mean, or of the means along every direction."""
    if isinstance(target, Modes):
        return {j: sp.S.Half - x for j, x in target.decisions.items()}
    means = {j: norm(feature) for j, feature in enumerate(target.features, 1)}
    return {j: sp.simplify(D * sp.diff(x, D) / x) for j, x in means.items()}


def lipschitz_shares(limit: Limit, given: Sequence[str]) -> Share:
    r"""Return the windows' shares of the root of the squared slope (U3).

    In its own window a feature's slope times $d\tau/d\ell$ is $(1-c\beta)\Lambda_j =
    O(1)$; later the sign is known and it is exponentially small, earlier $\Lambda_j$
    is small. The bulk's goes on between the windows.
    """
    modes = isinstance(limit.model.target, Modes)
    parts = (mode_slopes if modes else lipschitz_parts)(limit.model)
    found = {str(e.lhs): e.rhs for e in parts.equations}
    bulk = sp.sqrt(sp.simplify((found["bulk"] * found["width"]) ** 2))
    sigma = limit.model.target.sigma
    lasting, own = {}, {}
    for phase in limit.phases:
        at = bulk.subs({sigma: sp.Rational(7, 5), TAU: window_times(phase)[0]})
        power = leading(at, "lipschitz")
        lasting[phase.name] = sp.simplify(sp.log(power) / sp.log(D))
        size = sp.S.Zero if phase.features else lasting[phase.name]
        own[phase.name] = max(size, lasting[phase.name])
    return _of_whole(own, lasting, [p.name for p in limit.phases])


SHARES: dict[str, Callable[[Limit, Sequence[str]], Share]] = {
    "entropic": information_shares,
    "mse-log-snr": error_shares,
    "mse-decrements": decrement_shares,
    "lipschitz": lipschitz_shares,
}
"""Shares of the windows by the name of the grid."""
