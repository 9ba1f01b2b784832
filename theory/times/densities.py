r"""Densities of times $\rho(\tau)$ and loss weights $\lambda(\tau)$, as symbols.

A density is what equal steps of a map become, $\rho = du/d\tau$, or a formula, steps
of constant height, or the levels of a discrete noise schedule. Loss weights are
relative to data prediction, $|x_1 - D(x)|^2$.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp

from ...errors import ModelError, did_you_mean, shown
from ..models.model import TAU, Interpolant, Model
from ..models.schedule import parse_schedule
from ..windows.leading import simplified
from .grammar import ARGUMENTS, split_maps
from .maps import OF_A_MODEL, PLAIN, UNIT, TimeMap, parameters_in, parse_map

MOST_LEVELS = 100_000


@dataclass(frozen=True)
class Density:
    r"""A density of training times on [0, 1]; make one with `parse_density`.

    `text` is what `parse_density` reads back. `pdf` is $\rho$ in ``tau``, or `None`
    where only `quantile` is known, $\tau$ in ``t``, uniform on [0, 1]. `edges` are
    where the density starts, jumps or has a kink, and ends; `levels` are the values of
    $\beta/\alpha$, all equally frequent, of a discrete density. Unless `normalised`,
    `pdf` is a density up to its constant.
    """

    text: str
    pdf: sp.Expr | None
    quantile: sp.Expr | None = None
    edges: tuple[sp.Expr, ...] = UNIT
    levels: tuple[float, ...] = ()
    normalised: bool = True

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The symbols (``d``, window scales) that fix the density."""
        return parameters_in((self.pdf, self.quantile, *self.edges))

    def __str__(self) -> str:
        return self.text


def of_map(chosen: TimeMap) -> Density:
    r"""Return the law of $\tau(u)$, `u` uniform: $\rho = du/d\tau$. (R15)"""
    if chosen.backward is None:
        return Density(chosen.text, None, chosen.forward)
    back = chosen.backward
    if back.has(sp.Piecewise):
        pieces = [(sp.diff(e, TAU), c) for e, c in back.args]
        sides = (c.args for _, c in back.args[:-1])
        inner = tuple(high if low == TAU else low for low, high in sides)
        pdf: sp.Expr = sp.Piecewise(*pieces)
    else:
        pdf, inner = _tidy(sp.diff(back, TAU)), ()
    return Density(chosen.text, pdf, edges=(chosen.ends[0], *inner, chosen.ends[1]))


def _tidy(pdf: sp.Expr) -> sp.Expr:
    """Return a density with its rational part in lowest terms."""
    parts = sp.Mul.make_args(pdf)
    rest = sp.Mul(*(x for x in parts if not x.has(sp.exp)))
    return sp.factor(sp.simplify(rest)) * sp.Mul(*(x for x in parts if x.has(sp.exp)))


def piecewise_constant(
    text: str, edges: Sequence[sp.Expr | float], masses: Sequence[sp.Expr | float]
) -> Density:
    """Return the density with a constant height between neighbouring edges."""
    edges, masses = ([_exact_zero(x) for x in row] for row in (edges, masses))
    heights = [m / (b - a) for m, (a, b) in zip(masses, pairwise(edges), strict=True)]
    pieces = [(h, b >= TAU) for h, b in zip(heights, edges[1:], strict=True)]
    inside = [(sp.S.Zero, edges[0] > TAU)] if edges[0] != 0 else []
    pdf = sp.Piecewise(*inside, *pieces, (sp.S.Zero, True))
    return Density(text, pdf, edges=tuple(edges))


def _exact_zero(value: sp.Expr | float) -> sp.Expr:
    """Return a number as sympy has it, 0.0 as the integer, which alone equals 0."""
    found = sp.sympify(value)
    return sp.S.Zero if found.is_zero else found


def window(low: sp.Expr, high: sp.Expr, mass: sp.Expr) -> Density:
    """Return `mass` spread evenly over [low, high] and the rest over the rest."""
    for name, value in (("LOW", low), ("HIGH", high), ("MASS", mass)):
        if value.is_number and not 0 <= value <= 1:
            raise ModelError(
                f"`window:LOW:HIGH:MASS` must have {name} in [0, 1], but it is "
                f"{value}. Write it as in `window:0.1:0.4:0.5`."
            )
    outside = 1 - high + low
    if (high - low).is_number and (not low < high or (outside == 0 and mass != 1)):
        raise ModelError(
            "`window:LOW:HIGH:MASS` must have LOW below HIGH and room outside, but "
            f"[{low}, {high}] has mass {mass}. Write it as in `window:0.1:0.4:0.5`."
        )
    rest = (1 - mass) / outside if outside != 0 else sp.S.Zero
    parts = [(sp.S.Zero, low, rest * low), (low, high, mass)]
    parts += [(high, sp.S.One, rest * (1 - high))]
    kept = [(a, b, m) for a, b, m in parts if a != b]
    text = ":".join(["window", *map(sp.sstr, (low, high, mass))])
    return piecewise_constant(
        text, [kept[0][0], *(b for _, b, _ in kept)], [m for *_, m in kept]
    )


def log_normal(interpolant: Interpolant, mean: sp.Expr, spread: sp.Expr) -> Density:
    r"""Return the law with $\log(\alpha/\beta)\sim N(m, s^2)$, EDM's for training.

    Karras et al. 2022 use $m = -1.2$, $s = 1.2$ for the noise level
    $\sigma = \alpha/\beta$.
    """
    level = sp.log(interpolant.alpha / interpolant.beta)
    z = (level - mean) / spread
    pdf = -sp.diff(level, TAU) * sp.exp(-(z**2) / 2) / (spread * sp.sqrt(2 * sp.pi))
    return Density(f"log-normal:{sp.sstr(mean)}:{sp.sstr(spread)}", pdf)


def ddpm(first: float, last: float, count: int) -> Density:
    r"""Return the levels of a DDPM whose noise rises linearly, all equally frequent.

    $\bar\alpha_k = \prod_{i\le k}(1-\beta_i)$; the loss depends on a level only through
    $\beta/\alpha = \sqrt{\bar\alpha/(1-\bar\alpha)}$. Ho et al. 2020: 1e-4, 0.02, 1000.
    """
    if not (0 < first <= last < 1 and 2 <= count <= MOST_LEVELS):
        raise ModelError(
            "`ddpm:FIRST:LAST:COUNT` must have 0 < FIRST <= LAST < 1 and COUNT from 2 "
            f"to {MOST_LEVELS}, but is ddpm:{first:g}:{last:g}:{count}. Write it as in "
            "`ddpm:0.0001:0.02:1000`."
        )
    kept, ratios = 1.0, []
    for i in range(count):
        kept *= 1 - first - (last - first) * i / (count - 1)
        ratios.append((kept / (1 - kept)) ** 0.5)
    text = f"ddpm:{first:g}:{last:g}:{count}"
    return Density(text, None, levels=tuple(reversed(ratios)))


TAKES = {"window": 3, "log-normal": 2, "ddpm": 3, "formula": 1}
"""Densities that are no map, and how many numbers they take."""


def parse_density(text: str, model: Model) -> Density:
    """Return the density written as `text`, which is parsed and never evaluated.

    ``window:LOW:HIGH:MASS``, ``log-normal:MEAN:STD``, ``ddpm:FIRST:LAST:COUNT``,
    ``formula:EXPRESSION``, or a map of time as `parse_map` reads it: ``uniform``,
    ``shift:3``, ``shift:sqrt(d)``, ``logit-normal:0:1+shift:3``, ``dilated``, ...

    Raises `ModelError` with the piece at fault.
    """
    name, _, rest = text.strip().partition(":")
    if name not in TAKES:
        return of_map(_formula_map(text, model))
    parts = [part.strip() for part in rest.split(":")]
    if len(parts) != TAKES[name] or not all(parts):
        raise ModelError(
            f"The density `{name}` must have {TAKES[name]} numbers after colons, "
            f"but is {shown(text)}. Write it as in `window:0.1:0.4:0.5`."
        )
    if name == "formula":  # a density up to its constant
        pdf = parse_schedule(parts[0], "density")
        return Density(f"formula:{parts[0]}", pdf, normalised=False)
    values = [number(part, name) for part in parts]
    if name == "window":
        return window(*values)
    if name == "log-normal":
        return log_normal(model.interpolant, *values)
    if any(x.free_symbols for x in values) or values[2] != int(values[2]):
        raise ModelError(
            f"`ddpm:FIRST:LAST:COUNT` must have two numbers and a whole one, but is "
            f"{shown(text)}. Write it as in `ddpm:0.0001:0.02:1000`."
        )
    return ddpm(float(values[0]), float(values[1]), int(values[2]))


def _formula_map(text: str, model: Model) -> TimeMap:
    """Return a map of time; refuse those that are known as numbers only."""
    names = [part.partition(":")[0] for part in split_maps(text)]
    known = {*PLAIN, *OF_A_MODEL, "inverse"}
    for name in names:
        if name in ARGUMENTS and name not in known:
            raise ModelError(
                "A density of times must have a formula, but the map "
                f"`{name}` is known as numbers only, others at each d. Write its times "
                "at one d to a file, as made by "
                "`dilaton.numerics.times.time_grid.make_grid`, and give `table:FILE`."
            )
    return parse_map(text, model)


def number(text: str, what: str) -> sp.Expr:
    """Return a number, or an expression in `d`, of the grammar of schedules."""
    value = parse_schedule(text, what)
    if TAU in value.free_symbols:
        raise ModelError(
            f"`{what}` must have numbers or formulas in d, but has {shown(text)}, "
            "which contains tau. Only `formula:...` may contain it."
        )
    return value


RECIPES = {"min-snr": 1, "p2": 2, "sigmoid": 1, "edm": 1}
"""Recipes with the number of their parameters."""

PREDICTIONS = ("data", "velocity", "noise")


def loss_weight(text: str, interpolant: Interpolant) -> sp.Expr:
    r"""Return $\lambda(\tau)$ of a loss weight written as text. (R16)

    With the signal-to-noise ratio $S = \beta^2/\alpha^2$:

    * ``data``: 1; ``velocity``: $(\dot\beta - \dot\alpha\beta/\alpha)^2$; ``noise``: S;
    * ``min-snr:GAMMA``: $\min(S, \gamma)$ (Hang et al. 2023);
    * ``p2:K:GAMMA``: $S/(k + S)^\gamma$ (Choi et al. 2022);
    * ``sigmoid:BIAS``: $S/(1 + Se^{-b})$ (Kingma and Gao 2023);
    * ``edm:SIGMA``: $S + \sigma_d^{-2}$ (Karras et al. 2022);
    * ``formula:EXPRESSION``: an expression in ``tau`` and ``d``.

    Raises `ModelError` for any other text.
    """
    alpha, beta = interpolant.alpha, interpolant.beta
    snr = (beta / alpha) ** 2
    name, _, rest = text.strip().partition(":")
    if name in PREDICTIONS and not rest:
        rate = sp.diff(alpha, TAU) / alpha
        drive = simplified(sp.diff(beta, TAU) - rate * beta, alpha, beta)
        return {"data": sp.S.One, "velocity": drive**2, "noise": snr}[name]
    if name == "formula":
        return parse_schedule(rest, "loss")
    values = _values(name, rest, text)
    if name == "min-snr":
        return sp.Min(snr, values[0])
    if name == "p2":
        return snr / (values[0] + snr) ** values[1]
    if name == "sigmoid":
        return snr / (1 + snr * sp.exp(-values[0]))
    return snr + values[0] ** -2


def _values(name: str, rest: str, text: str) -> list[sp.Expr]:
    known = (*PREDICTIONS, *RECIPES, "formula")
    if name not in RECIPES:
        raise ModelError(
            f"A loss weight must be one of {', '.join(known)}, but is {shown(text)}"
            + did_you_mean(name, known)
        )
    values = [number(part, name) for part in rest.split(":") if part.strip()]
    positive = all(v.free_symbols or v > 0 for v in values) or name == "sigmoid"
    if len(values) != RECIPES[name] or not positive:
        raise ModelError(
            f"The loss weight `{name}` must have {RECIPES[name]} positive numbers "
            f"after colons, but is {shown(text)}. Write it as in `min-snr:5`, `p2:1:1`."
        )
    return values
