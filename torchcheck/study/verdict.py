r"""Statistics of a convergence study: extrapolation, rate, verdict.

Overlaps at finite size are $y(d) = y_\infty + a\,d^{-1/2} + b\,d^{-1} + \dots$, with
coefficients that vary from one training set to another. Where the hidden unit saturates
its distance from the sign brings logarithms of d as well, so that there the interval is
never narrower than what is left to extrapolate. A limit inside its interval is
consistent with the networks only as far as the interval could have excluded another
one: where its `resolution` is above `DECISIVE` the comparison is undecided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Verdict = Literal["not converged", "inconsistent", "undecided", "consistent"]
"""The verdicts, in the order of concern."""

DECISIVE = 0.05
"""Largest resolution of a comparison that is called consistent: one part in twenty."""

FLOOR = 2e-5
"""The error left to the optimiser and the quadrature, relative to 1 + |limit|."""

FALSE_ALARM = 0.01
"""Chance that a whole study of a true limit reports any inconsistency."""

_RESAMPLES = 400  # of the bootstrap
_TERMS = 3
_SLOWEST = 0.8  # ratio of two terms of a series that is still summed


@dataclass(frozen=True)
class Criterion:
    r"""The criterion of a verdict.

    `level` is the probability that noise alone leaves an interval, `slack` what a
    finite time step may leave, added to the half-width; `converged` says whether every
    gradient norm met its tolerance. Corrections are a series in $d^{-\rm power}$, 1/2,
    or less in the window of a feature whose mean grows more slowly than $\sqrt d$;
    `powers` says whether they are expected to be pure powers.
    """

    level: float
    powers: bool
    slack: float
    converged: bool
    power: float = 0.5


@dataclass(frozen=True)
class Extrapolation:
    r"""The value at $d = \infty$ and its interval.

    `noise` is the standard error over seeds, `truncation` what the terms that are not
    fitted may change.
    """

    value: float
    low: float
    high: float
    noise: float
    truncation: float


def series(dims: np.ndarray, terms: int, power: float = 0.5) -> np.ndarray:
    r"""Weights over `dims` of least-squares coefficients in powers of $d^{-\rm power}$.

    Rows count in proportion to d, because the neglected terms shrink with it. Shape
    (terms, D); the first row is that of the value at infinite d.
    """
    x = dims[:, None] ** (-power * np.arange(terms))
    root = np.sqrt(dims)[:, None]
    return np.linalg.pinv(root * x) * root[:, 0]


def extrapolate(
    dims: np.ndarray, values: np.ndarray, limit: float, criterion: Criterion
) -> Extrapolation:
    r"""Extrapolate `values` (dims, seeds) to $d = \infty$, seed by seed.

    At least three dimensions, increasing. Of `limit` only the size matters, for the
    floor; `criterion` says how wide the interval must be.
    """
    from scipy.stats import t as student

    dims = np.asarray(dims, float)
    per_seed = series(dims, _TERMS, criterion.power)[0] @ values
    count = values.shape[1]
    noise = per_seed.std(ddof=1) / count**0.5 if count > 1 else 0.0
    reach = student.ppf(1 - criterion.level / 2, count - 1) * noise if noise else 0.0
    truncation = _truncation(dims, values.mean(1), criterion.power)
    half = reach + 2 * truncation + criterion.slack + FLOOR * (1 + abs(limit))
    middle = float(per_seed.mean())
    if not criterion.powers:
        half += abs(float(values[-1].mean()) - middle)
    return Extrapolation(
        middle, float(middle - half), float(middle + half), float(noise), truncation
    )


def _truncation(dims: np.ndarray, means: np.ndarray, power: float) -> float:
    """The bound on the terms that are not fitted.

    The largest of three estimates: leave the smallest dimension out, fit a further
    power, and take the next term at the rate at which the fitted ones grow; then a
    geometric series of that rate for the rest.
    """
    here = series(dims, _TERMS, power)[0] @ means
    fewer = series(dims[1:], min(_TERMS, len(dims) - 1), power)[0] @ means[1:]
    more = series(dims, min(_TERMS + 1, len(dims)), power)[0] @ means
    beyond, ratio = _beyond(dims, means, power)
    rest = ratio**2 / (1 - ratio) * abs(means[-1] - here)
    return float(max(abs(here - fewer), abs(here - more), beyond) + rest)


def _beyond(dims: np.ndarray, means: np.ndarray, power: float) -> tuple[float, float]:
    """The next term's effect, and how much smaller each term is at the first d.

    Where terms do not decrease at the smallest dimension the ratio is taken as 0.8.
    """
    small = dims**-power
    first, second, third = np.abs(series(dims, _TERMS, power) @ means)
    size = max(first, FLOOR)
    growth = min(max(second / size, (third / size) ** 0.5), 1 / small[0])
    following = max(second * growth**2, third * growth)
    effect = abs(series(dims, _TERMS, power)[0] @ small**_TERMS)
    return float(following * effect), float(min(growth * small[0], _SLOWEST))


def fit_slope(
    dims: np.ndarray, errors: np.ndarray, seed: int, power: float = 0.5
) -> tuple[float, float, float]:
    r"""Slope of log root-mean-square error against log d, and its 95 % interval.

    The slope is that of a straight line. The interval covers the bootstrap over
    training sets of this slope and of those fitted together with $d^{-\rm power}$, and
    with its square too, widened by the effect of the last term: the rate is a
    statement about large d, where these terms die.

    `errors` are distances from the limit, shape (D, K, S): dimension, seed, time;
    `seed` is that of the bootstrap. All three are nan when the distance is within the
    floor at some dimension.
    """
    squares = (errors**2).mean(2)
    size = np.sqrt(squares.mean(1))
    if np.any(size < FLOOR):
        return (float("nan"),) * 3
    count = errors.shape[1]
    picks = np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))
    drawn = np.log(np.maximum(squares[:, picks].mean(2), FLOOR**2)) / 2
    small = dims**-power
    columns = np.stack([np.ones_like(dims), np.log(dims), small, small**2], 1)
    rules = [np.linalg.pinv(columns[:, :k])[1] for k in range(2, min(4, len(dims)) + 1)]
    ends = [np.quantile(rule @ drawn, [0.025, 0.975]) for rule in rules]
    spread = abs((rules[-1] - rules[-2]) @ np.log(size)) if len(rules) > 1 else 0.0
    low, high = np.min(ends) - spread, np.max(ends) + spread
    return float(rules[0] @ np.log(size)), float(low), float(high)


def strain(found: Extrapolation, limit: float) -> float:
    """Distance of a limit from the value at infinite d, in half-widths."""
    return abs(found.value - limit) / ((found.high - found.low) / 2)


def resolution(found: Extrapolation, limit: float, unit: float) -> float:
    r"""The smallest error of `limit`, in `unit`, that the interval would exclude.

    That is $(h + |y_\infty - y|)/{\rm unit}$ for a half-width $h$: an error of this
    size leaves the interval whichever its sign. Infinite where the unit is zero.
    """
    reach = (found.high - found.low) / 2 + abs(found.value - limit)
    return reach / unit if unit else float("inf")


def verdict_of(inside: bool, resolution: float, criterion: Criterion) -> Verdict:
    """The verdict on one quantity of one phase.

    ``not converged`` when a gradient norm exceeded its tolerance; ``inconsistent``
    when a limit lies outside its extrapolated interval; ``undecided`` when it lies
    inside one that would not have excluded an error above `DECISIVE` either.
    """
    if not criterion.converged:
        return "not converged"
    if not inside:
        return "inconsistent"
    return "consistent" if resolution <= DECISIVE else "undecided"


def worst_verdict(verdicts: list[Verdict]) -> Verdict:
    """The verdict on a study: the first of its comparisons' in the order of concern."""
    return min(verdicts, key=get_args(Verdict).index, default="undecided")
