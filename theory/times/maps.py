r"""Monotone maps of time: a grid or a law of times is a map of uniform points.

A map sends $t \in [0, 1]$, in which steps are equal or training times are uniform, to
the interpolant's time $\tau$. The "timestep shift" of practice, the quantiles of a
logit-normal law and the dilation are all such maps. They compose, invert and print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp

from ...errors import DerivationError, ModelError
from ..models.model import TAU, D, Interpolant, Model
from ..models.schedule import DIMENSIONS, parse_schedule
from ..windows.dilation import T, make_dilation
from ..windows.leading import LONG
from ..windows.search import find_windows
from .grammar import INVERSE, formula, in_range, read_map, split_maps

R = sp.Symbol("R", positive=True)
"""The value of $\\beta/\\alpha$ for which a time is sought."""

UNIT = (sp.S.Zero, sp.S.One)
LOWEST, HIGHEST = sp.Rational(1, 20) / sp.sqrt(D), sp.Integer(49)
r"""Ends of $\beta/\alpha$ of the map even in log SNR, unless they are given."""

EDM_SIGMAS = (sp.Rational(2, 1000), sp.Integer(80))
"""Smallest and largest noise level of the published EDM sampler."""

FLUX_ANCHORS = (
    (sp.Integer(256), sp.Rational(1, 2)),
    (sp.Integer(4096), sp.Rational(115, 100)),
)
"""Numbers of tokens and the logarithms of the shift there, as FLUX publishes them."""

MANY, HUNDRED = sp.Integer(10) ** 12, sp.Integer(100)
PROBES, NEARLY = 64, 1e-12
STEEPEST_MODE = 2 / (sp.pi - 2)


@dataclass(frozen=True)
class TimeMap:
    r"""A monotone map $\tau(t)$ of $[0, 1]$; make one with `parse_map` or a function.

    `text` is what `parse_map` reads back. `forward` is $\tau$ in ``t`` and `backward`
    ``t`` in ``tau``; `ends` are $\tau$ at ``t`` = 0 and 1; each is `None` without a
    closed form. A map that does not reach 0 or 1 (a range of noise levels) is completed
    by a step from 0 and a step to 1. A shift has the `factor` that divides
    $\beta/\alpha$ of the linear path.
    """

    text: str
    forward: sp.Expr | None
    backward: sp.Expr | None
    ends: tuple[sp.Expr | None, sp.Expr | None] = UNIT
    factor: sp.Expr | None = None

    def tau(self, t: sp.Expr | float = T) -> sp.Expr:
        """Return ``tau`` at the grid time `t`; raise `DerivationError` without form."""
        if t in (0, 1):
            return _form(self.ends[int(t)], self.text, "tau")
        return _form(self.forward, self.text, "tau").subs(T, t)

    def time(self, tau: sp.Expr | float = TAU) -> sp.Expr:
        """Return the grid time at which the map is at `tau`, within its `ends`."""
        if tau in self.ends:
            return sp.Integer(self.ends.index(tau))
        return _form(self.backward, self.text, "t").subs(TAU, tau)

    def derivative(self, t: sp.Expr | float = T) -> sp.Expr:
        r"""Return $d\tau/dt$ at the grid time `t`."""
        return sp.diff(_form(self.forward, self.text, "tau"), T).subs(T, t)

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The symbols (``d``, window scales) that fix the map."""
        return parameters_in((self.forward, self.backward, *self.ends))

    @property
    def onto(self) -> bool:
        """Whether the map reaches from 0 to 1."""
        return self.ends == UNIT

    @property
    def inverse(self) -> TimeMap:
        """The map back; raise `ModelError` where this one leaves times out."""
        if self.factor is not None:
            return shift(1 / self.factor)
        if not self.onto:
            raise ModelError(
                "A map of time can be inverted if it reaches from 0 to 1, but "
                f"`{self.text}` covers [{self.ends[0]}, {self.ends[1]}]. Ask for its "
                "`time` inside instead."
            )
        text = "+".join(
            x.removeprefix(INVERSE) if x.startswith(INVERSE) else INVERSE + x
            for x in reversed(split_maps(self.text))
        )
        back, forth = _after(self.backward, TAU, T), _after(self.forward, T, TAU)
        return TimeMap(text, back, forth)

    def then(self, other: TimeMap) -> TimeMap:
        r"""Return this map followed by `other`: $\tau_2(\tau_1(t))$, text ``1+2``.

        Two shifts make the shift by their product.
        """
        if self.factor == 1:
            return other
        if other.factor == 1:
            return self
        if self.factor is not None and other.factor is not None:
            return shift(self.factor * other.factor)
        return TimeMap(
            text=f"{self.text}+{other.text}",
            forward=_after(other.forward, T, self.forward),
            backward=_after(self.backward, TAU, other.backward),
            ends=_ends(self, other),
        )

    def __str__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        if self.forward is None:
            return f"$\\displaystyle t(\\tau) = {sp.latex(self.backward)}$"
        return f"$\\displaystyle \\tau(t) = {sp.latex(self.forward)}$"


def parameters_in(parts: Iterable[sp.Expr | None]) -> tuple[sp.Symbol, ...]:
    """Return the symbols of expressions in ``t`` and ``tau`` but these two, by name."""
    found = set().union(*(x.free_symbols for x in parts if x is not None))
    return tuple(sorted(found - {T, TAU}, key=str))


def _form(expr: sp.Expr | None, text: str, what: str) -> sp.Expr:
    if expr is None:
        raise DerivationError(
            f"A map's formula is given where it has one, but `{what}` of `{text}` has "
            "none in closed form. Evaluate it with `dilaton.numerics.times.map_curves`."
        )
    return expr


def _after(
    outer: sp.Expr | None, variable: sp.Symbol, inner: sp.Expr | None
) -> sp.Expr | None:
    return None if outer is None or inner is None else outer.subs(variable, inner)


def _ends(first: TimeMap, second: TimeMap) -> tuple[sp.Expr | None, sp.Expr | None]:
    if first.onto:
        return second.ends
    if None in first.ends or second.forward is None:
        return None, None
    low, high = (second.tau(x) for x in first.ends if x is not None)
    return low, high


def uniform() -> TimeMap:
    r"""Return $\tau = t$."""
    return TimeMap("uniform", T, TAU, factor=sp.S.One)


def shift(factor: sp.Expr) -> TimeMap:
    r"""Return $\tau = t/(t + a(1 - t))$: the "timestep shift" by `factor` $a > 0$.

    In the noise level $s = 1 - \tau$ it is $a s/(1 + (a-1)s)$. It divides
    $\tau/(1-\tau)$, which is $\beta/\alpha$ on the linear path, by $a$. Source: Esser
    et al. 2024 (SD3).
    """
    a = sp.powsimp(sp.simplify(factor))
    if a == 1:
        return uniform()
    forward, backward = T / (T + a * (1 - T)), a * TAU / (1 + (a - 1) * TAU)
    return TimeMap(f"shift:{sp.sstr(a)}", forward, backward, factor=a)


def flux(tokens: sp.Expr) -> TimeMap:
    r"""Return the shift by $e^{\mu}$ with $\mu$ linear in the number of `tokens`.

    $\mu$ is 1/2 at 256 tokens and 1.15 at 4096, as FLUX publishes it.
    """
    (few, low), (many, high) = FLUX_ANCHORS
    return shift(sp.exp(low + (tokens - few) * (high - low) / (many - few)))


def logit_normal(mean: sp.Expr, spread: sp.Expr) -> TimeMap:
    r"""Return the quantiles of $\tau$ with $\mathrm{logit}\,\tau\sim N(m, s^2)$.

    $\tau = 1/(1 + e^{-m - s z})$, $z = \Phi^{-1}(t)$.
    """
    z = sp.sqrt(2) * sp.erfinv(2 * T - 1)
    logit = sp.log(TAU / (1 - TAU))
    return TimeMap(
        f"logit-normal:{sp.sstr(mean)}:{sp.sstr(spread)}",
        1 / (1 + sp.exp(-mean - spread * z)),
        sp.erfc((mean - logit) / (sp.sqrt(2) * spread)) / 2,
    )


def cosine() -> TimeMap:
    r"""Return the map whose $\tau/(1-\tau)$ is $\tan(\pi t/2)$.

    On the linear path uniform steps then see the cosine schedule's noise levels.
    Source: Esser et al. 2024, "CosMap".
    """
    angle = sp.pi * T / 2
    forward = sp.sin(angle) / (sp.sin(angle) + sp.cos(angle))
    return TimeMap("cosine", forward, 2 / sp.pi * sp.atan(TAU / (1 - TAU)))


def mode(strength: sp.Expr) -> TimeMap:
    r"""Return $\tau = t - g\,(\sin^2(\pi t/2) - t)$: more times in the middle.

    $-1 \le g \le 2/(\pi-2)$. Source: Esser et al. 2024, "mode sampling with heavy
    tails"; its inverse has no closed form.
    """
    forward = T - strength * (sp.sin(sp.pi * T / 2) ** 2 - T)
    return TimeMap(f"mode:{sp.sstr(strength)}", forward, None)


def typed_map(text: str) -> TimeMap:
    r"""Return the map that sends ``tau`` to a formula in it, and in ``d``.

    It must increase from 0 to 1. The way back has a form where the formula is a power,
    or a fraction whose equation is of degree one or two.

    Raises `ModelError` for a formula that does not increase from 0 to 1.
    """
    expr = parse_schedule(text, "formula")
    for d in DIMENSIONS:
        _check_increasing(expr.subs(D, sp.Float(d)), text)
    return TimeMap(f"formula:{text}", expr.subs(TAU, T), _solved(expr))


def _check_increasing(expr: sp.Expr, text: str) -> None:
    points = [sp.Rational(k, PROBES) for k in range(PROBES + 1)]
    values = [sp.N(expr.subs(TAU, x)) for x in points]
    ends = values[0] == 0 and abs(values[-1] - 1) < NEARLY
    if not (ends and all(a < b for a, b in pairwise(values))):
        raise ModelError(
            "The map `formula` must be a formula in tau that increases from 0 at 0 to "
            f"1 at 1, but {text!r} does not. Write it as in `formula:tau**2`."
        )


def _solved(expr: sp.Expr) -> sp.Expr | None:
    """Return the way back of a formula, or `None` where no simple one is found."""
    goal = sp.Symbol("goal", positive=True)
    base, power = expr.as_base_exp()
    if base == TAU and not power.has(TAU):
        return TAU ** (1 / power)
    top = sp.numer(sp.together(expr - goal))
    if not top.is_polynomial(TAU) or sp.degree(top, TAU) > 2:
        return None
    half = sp.Rational(1, 2)
    at = {goal: expr.subs(TAU, half)}
    for back in sp.solve(top, TAU):
        if all(abs(sp.N((back.subs(at) - half).subs(D, d))) < NEARLY for d in (2, 1e4)):
            return back.subs(goal, TAU)
    return None


def log_snr(interpolant: Interpolant, low: sp.Expr, high: sp.Expr) -> TimeMap:
    r"""Return the map even in $\log(\beta/\alpha)$ between `low` and `high`."""
    ratio = interpolant.beta / interpolant.alpha
    backward = sp.log(ratio / low) / sp.log(high / low)
    default = (low, high) == (LOWEST, HIGHEST)
    text = "log-snr" if default else f"log-snr:{sp.sstr(low)}:{sp.sstr(high)}"
    return _by_ratio(text, interpolant, low * (high / low) ** T, backward)


def edm(model: Model, power: sp.Expr, *sigmas: sp.Expr) -> TimeMap:
    r"""Return Karras et al.'s steps: $\sigma^{1/\rho}$ is even, $\sigma=\alpha/\beta$.

    `power` is $\rho$; `sigmas` are the smallest and the largest noise level, .002 and
    80 as published unless given.
    """
    in_range(power, "edm", "positive and below 10**12", sp.S.Zero, MANY)
    if len(sigmas) == 1:
        raise ModelError(
            "The map `edm` takes both noise levels or none, but has "
            f"{sigmas[0]} alone. Write it as in `edm:7:0.002:80`."
        )
    least, most = sigmas or EDM_SIGMAS
    in_range(least, "edm", "a positive noise level", sp.S.Zero)
    in_range(most / least, "edm", "growing: the largest noise last", sp.S.One)
    a, b = most ** (1 / power), least ** (1 / power)
    sigma = model.interpolant.alpha / model.interpolant.beta
    backward = (a - sigma ** (1 / power)) / (a - b)
    text = ":".join(["edm", *map(sp.sstr, (power, *sigmas))])
    return _by_ratio(text, model.interpolant, (a + (b - a) * T) ** -power, backward)


def _by_ratio(
    text: str, interpolant: Interpolant, ratio: sp.Expr, backward: sp.Expr
) -> TimeMap:
    """Return the map with beta/alpha = `ratio`, an expression in ``t``."""
    forward = ratio_time(interpolant, ratio)
    low, high = (
        None if forward is None else sp.simplify(forward.subs(T, x)) for x in (0, 1)
    )
    return TimeMap(text, forward, backward, (low, high))


def ratio_time(interpolant: Interpolant, ratio: sp.Expr) -> sp.Expr | None:
    r"""Return the time at which $\beta/\alpha$ is `ratio`; `None` without closed form.

    Known for $\beta/\alpha$ equal to a power of `d` times $\tau/(1-\tau)$,
    $\tan(\pi\tau/2)$ or $\tau/\sqrt{1-\tau^2}$.
    """
    pair = interpolant.alpha, interpolant.beta
    if sum(sp.count_ops(x) for x in pair) > LONG:
        return None  # none of the paths below
    given = sp.simplify(interpolant.beta / interpolant.alpha)
    size = sp.simplify(D * sp.diff(given, D) / given)
    forms = (R / (1 + R), 2 / sp.pi * sp.atan(R), R / sp.sqrt(1 + R**2))
    for form in forms if size.is_number else ():
        if sp.simplify(given.subs(TAU, form) - D**size * R) == 0:
            return form.subs(R, ratio / D**size)
    return None


def dilated(model: Model, *shares: sp.Expr) -> TimeMap:
    """Return the model's dilation, with equal shares for its phases or given ones."""
    dilation = make_dilation(find_windows(model))
    segments = dilation.segments
    weights = [in_range(x, "dilated", "positive", sp.S.Zero) for x in shares]
    weights = weights or [sp.S.One] * len(segments)
    if len(weights) != len(segments):
        raise ModelError(
            f"`dilated` needs a share for each of the {len(segments)} phases "
            f"({', '.join(g.name for g in segments)}), but has {len(weights)}. Give "
            "one number each, or none for equal shares."
        )
    text = ":".join(["dilated", *map(sp.sstr, shares)])
    return TimeMap(text, *dilation.stretched(weights))


def parse_map(text: str, model: Model | None = None) -> TimeMap:
    """Return the map that a text describes, as in ``"logit-normal:0:1+shift:3"``.

    Maps are composed with ``+``, the first one is applied first; arguments are
    numbers or formulas in ``d`` in the grammar of schedules. The model is needed by
    the maps in its own noise levels and windows: `log-snr`, `edm` and `dilated`.

    Raises `ModelError` where the text leaves the grammar, with the piece at fault.

    >>> parse_map("shift:3+shift:sqrt(d)").tau()
    t/(3*sqrt(d)*(1 - t) + t)
    """
    whole = uniform()
    for part in split_maps(text):
        whole = whole.then(_one(part, model))
    return whole


def _one(part: str, model: Model | None) -> TimeMap:
    if part.startswith(INVERSE):
        return _one(part.removeprefix(INVERSE).strip(), model).inverse
    name, given = read_map(part)
    if name == "formula":
        return typed_map(*given)
    if name in PLAIN:
        values = [formula(x, name) for x in given]
        for value, limits in zip(values, LIMITS.get(name, ()), strict=True):
            in_range(value, name, *limits)
        return PLAIN[name](*values)
    if name not in OF_A_MODEL:
        raise DerivationError(
            f"`parse_map` reads maps that have a formula, but `{name}` is known as "
            "numbers only. Make it with `dilaton.numerics.times.time_grid.make_grid`."
        )
    if model is None:
        raise ModelError(
            f"The map `{name}` depends on the model, but none was given. Pass it, as "
            f'in `parse_map("{name}", model)`.'
        )
    return OF_A_MODEL[name](model, *(formula(x, name) for x in given))


def _log_snr(model: Model, *ends: sp.Expr) -> TimeMap:
    if len(ends) == 1:
        raise ModelError(
            "The map `log-snr` takes both ends of beta/alpha or none, but has "
            f"{ends[0]} alone. Write it as in `log-snr:0.05/sqrt(d):49`."
        )
    low, high = ends or (LOWEST, HIGHEST)
    in_range(low, "log-snr", "positive", sp.S.Zero)
    in_range(high / low, "log-snr", "growing: the ends' ratio is above 1", sp.S.One)
    return log_snr(model.interpolant, low, high)


PLAIN: dict[str, Callable[..., TimeMap]] = {
    "uniform": uniform,
    "shift": shift,
    "flux": flux,
    "logit-normal": logit_normal,
    "cosine": cosine,
    "mode": mode,
    "formula": typed_map,
}
LIMITS: dict[str, tuple[tuple[str, *tuple[sp.Expr, ...]], ...]] = {
    "shift": (("positive", sp.S.Zero),),
    "flux": (("a positive number of tokens below 10**12", sp.S.Zero, MANY),),
    "logit-normal": (
        ("between -100 and 100 in the first place", -HUNDRED, HUNDRED),
        ("positive in the second place", sp.S.Zero),
    ),
    "mode": (("between -1 and 2/(pi - 2) = 1.7519", -sp.S.One, STEEPEST_MODE),),
}
"""The limits of a map's arguments, in words and as numbers that they lie between."""

OF_A_MODEL: dict[str, Callable[..., TimeMap]] = {
    "log-snr": _log_snr,
    "edm": edm,
    "dilated": dilated,
}
"""The parser of the arguments, for each map that has a formula."""


def has_formula(part: str) -> bool:
    """Whether a map, or one whose inverse it is, has a formula."""
    name = read_map(part.removeprefix(INVERSE).strip())[0]
    return name in PLAIN or name in OF_A_MODEL
