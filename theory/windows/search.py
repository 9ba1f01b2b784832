"""Windows of time, found by dominant balance.

Near either end of the interpolant's time both coefficients follow power laws,
``d**x * k * tau**y``. A feature of squared norm ``rho d**(1-2 delta)`` is decided
where its signal-to-noise ratio is O(1), and the bulk variance is set where noise and
data are comparable: two linear equations in the exponents, solved here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import sympy as sp

from ...errors import DerivationError
from ..models.model import TAU, D, Interpolant, Model, Target
from ..symbols.notation import symbol
from .leading import LONG, NoSeries, leading_term, simplified

S_PHASE = symbol("s")
End = Literal["0", "interior", "1"]
ENDS: tuple[End, End] = ("0", "1")


@dataclass(frozen=True)
class PowerLaw:
    """The leading behaviour ``d**size * factor * x**order`` near an end of time."""

    size: sp.Expr
    factor: sp.Expr
    order: sp.Expr


@dataclass(frozen=True)
class Window:
    """An interval of time, ``tau`` or ``1 - tau`` of size ``d**(-exponent)``.

    `features` (1-based) are decided there; `variance` tells that the bulk variance
    is set there. A window with neither is a bridge: the bulk of time between two
    boundary layers, or before the first.
    `alpha` and `beta` are the interpolant's leading coefficients as functions of the
    time `s` inside the phase, in units of ``d**alpha_size`` and ``d**beta_size``.
    """

    end: End
    exponent: sp.Expr
    features: tuple[int, ...]
    variance: bool
    kappa: sp.Symbol | None
    alpha: sp.Expr
    beta: sp.Expr
    alpha_size: sp.Expr
    beta_size: sp.Expr

    @property
    def unit(self) -> sp.Expr:
        """The unit of `w` in its ridge: the noise where it grows with d, else 1."""
        return self.alpha if self.alpha_size != 0 else sp.S.One

    @property
    def variable(self) -> str:
        """The name of the small variable: ``"tau"`` or ``"1-tau"``."""
        return "1-tau" if self.end == "1" else "tau"


def power_law(expr: sp.Expr, end: End, name: str) -> PowerLaw:
    """Return the leading power law of a schedule near an end; raise if it has none.

    The small variable is ``tau`` at end 0 and ``1 - tau`` at end 1.
    """
    own, rest = expr.as_independent(TAU, as_Add=False)
    whole = own if D not in rest.free_symbols else expr
    size = simplified(D * sp.diff(whole, D) / whole, whole)
    if size.free_symbols:
        raise DerivationError(
            f"The engine needs `{name}` = d**x times a function of tau alone, but "
            f"{expr} scales with d as d**({size}). Write the power of d as a factor."
        )
    x = sp.Symbol("x", positive=True)
    local = expr.subs(D, 1).subs(TAU, x if end == "0" else 1 - x)
    try:
        factor, order = leading_term(local, x)
        factor = simplified(factor, factor)
    except NoSeries:
        factor, order = _by_limits(local, x)
    if not (order.is_finite and factor.is_finite and factor.is_positive):
        raise DerivationError(
            f"The engine needs `{name}` to follow a power law as tau -> {end}, but the "
            f"limit of {expr} there is not one it can resolve. Supply a schedule that "
            "is k*tau**y near that end, such as tau, sin(pi*tau/2) or sqrt(1 - tau**2)."
        )
    return PowerLaw(size, factor, order)


def _by_limits(local: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """Factor and order by limits of a short formula; nan where there are none."""
    try:
        if sp.count_ops(local) > LONG:
            return sp.nan, sp.nan
        order = _limit(sp.simplify(x * sp.diff(local, x) / local), x)
        return _limit(sp.simplify(local / x**order), x), order
    except (NotImplementedError, ValueError, TypeError, RecursionError):
        return sp.nan, sp.nan


def _limit(expr: sp.Expr, x: sp.Symbol) -> sp.Expr:
    value = sp.nsimplify(sp.limit(expr, x, 0, "+"))
    return sp.nan if value.has(sp.Limit, sp.AccumBounds, sp.oo, sp.zoo) else value


Ends = dict[End, tuple[PowerLaw, PowerLaw]]
"""The power laws of alpha and beta at each end of time."""


def _locate(ends: Ends, gain: sp.Expr) -> tuple[End, sp.Expr]:
    """The end of time and the exponent at which ``beta d**gain / alpha`` is O(1)."""
    alpha, beta = ends["0"]
    size = beta.size - alpha.size + gain
    if size == 0:
        return "interior", sp.S.Zero
    end: End = "0" if size > 0 else "1"
    alpha, beta = ends[end]
    slope = (beta.order - alpha.order) * sp.sign(size)
    if not slope > 0:
        raise DerivationError(
            "beta/alpha must grow from 0 to infinity with tau for a window to exist, "
            f"but its power near tau = {end} is {slope}. "
            "Choose alpha(1) = 0 and beta(0) = 0."
        )
    return end, abs(size) / slope


def _groups(target: Target, ends: Ends) -> dict[tuple[End, sp.Expr], list[int]]:
    """Feature numbers by place of their window; number 0 stands for the variance."""
    places: dict[tuple[End, sp.Expr], list[int]] = {}
    half = sp.Rational(1, 2)
    gains = {0: sp.S.Zero} | {j: half - e for j, e in target.decisions.items()}
    for j, gain in gains.items():
        places.setdefault(_locate(ends, gain), []).append(j)
    return places


@cache
def find_windows(model: Model) -> tuple[Window, ...]:
    r"""Find every window of a model, in the order of time.

    With $\beta/\alpha \sim d^{x}\tau^{y}$ near an end, feature $j$ is decided where
    $\Lambda_j = \beta^2 |\mu_j|^2/(\alpha^2+\sigma^2\beta^2) = O(1)$, that is where
    $\beta d^{1/2-\delta_j}/\alpha = O(1)$; the variance where $\beta/\alpha = O(1)$.
    Features with one exponent share a window.

    Raises `DerivationError` for a schedule without a power law at an end, or whose
    ratio does not vanish.
    """
    alpha, beta = model.interpolant.alpha, model.interpolant.beta
    ends: Ends = {
        end: (power_law(alpha, end, "alpha"), power_law(beta, end, "beta"))
        for end in ENDS
    }
    groups = _groups(model.target, ends)
    groups.setdefault(("interior", sp.S.Zero), [])  # a layer needs a bulk beside it
    order = {"0": -1, "interior": 0, "1": 1}  # thin windows lie next to the ends
    places = sorted(groups, key=lambda x: (order[x[0]], order[x[0]] * x[1]))
    dilated = [place for place in places if place[0] != "interior"]
    names = [f"kappa_{i}" for i, _ in enumerate(dilated, 1)]
    names = ["kappa"] if len(dilated) == 1 else names
    kappas = dict(zip(dilated, map(symbol, names), strict=True))
    return tuple(
        _window(model.interpolant, ends, place, groups[place], kappas.get(place))
        for place in places
    )


def _window(
    interpolant: Interpolant,
    ends: Ends,
    place: tuple[End, sp.Expr],
    members: list[int],
    kappa: sp.Symbol | None,
) -> Window:
    end, exponent = place
    s = S_PHASE
    if end == "interior":
        sizes = tuple(law.size for law in ends["0"])
        pairs = zip((interpolant.alpha, interpolant.beta), sizes, strict=True)
        alpha, beta = (simplified(x / D**size, x).subs(TAU, s) for x, size in pairs)
    else:
        small = kappa * s if end == "0" else kappa * (1 - s)
        alpha, beta = (law.factor * small**law.order for law in ends[end])
        sizes = tuple(law.size - exponent * law.order for law in ends[end])
    return Window(
        end=end,
        exponent=exponent,
        features=tuple(j for j in members if j),
        variance=0 in members,
        kappa=kappa,
        alpha=alpha,
        beta=beta,
        alpha_size=sizes[0],
        beta_size=sizes[1],
    )


def drops_at_once(model: Model) -> bool:
    r"""Whether the first window is at $\tau \to 0$: without dilation it is a point."""
    return find_windows(model)[0].end == "0"


def leading_rate(model: Model, window: Window) -> sp.Expr:
    """The power of ``1/d`` that bounds what the limit of a window drops.

    The window's own variable is of size ``d**-exponent``, and where the next thinner
    window is, relative to it, `d` to their difference; a bulk phase starts where the
    boundary layer beside it ends; samples are orthogonal up to ``d**(-1/2)``.
    """
    sizes = [w.exponent for w in find_windows(model) if w.exponent != 0]
    near = [w.exponent for w in find_windows(model) if w.end == window.end]
    gaps = [x - window.exponent for x in near if x > window.exponent]
    own = [window.exponent, *gaps] if window.exponent != 0 else sizes
    half = [sp.Rational(1, 2)] if model.data.samples else []
    return min(own + half, default=sp.Rational(1, 2))


def window_names(windows: tuple[Window, ...]) -> tuple[str, ...]:
    """Phase names: ``weights`` (numbered when several), ``bridge``, ``variance``."""
    count = sum(bool(w.features) for w in windows)
    names, seen = [], 0
    for w in windows:
        seen += bool(w.features)
        if w.features:
            names.append("weights" if count == 1 else f"weights-{seen}")
        else:
            names.append("variance" if w.variance else "bridge")
    return tuple(names)
