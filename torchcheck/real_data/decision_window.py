"""Windows: the interval of time in which a feature is decided, with its uncertainty.

`find_window` reads the U-turn curve of a feature, `find_mse_window` the squared error
alone. On a mixture neither depends on how time is parametrised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import ModelError, shown
from ...numerics.codegen.parameters import whole_number
from .interpolants import (
    LINEAR_PATH,
    NumericInterpolant,
    as_interpolant,
    same_interpolant,
)
from .uturn import Curve, MseCurve

PARTS = 24
"""Equal parts of a drop, each of which has one rate."""
EDGE = 0.01
"""Share of a drop left out at both ends, where a flat curve would have no end."""
CLEAR = 0.5
"""Share of the error of pure noise up to which a spread can be read off an error."""
LEAST_DROP = 0.05
"""A spread that falls by a smaller share is that of a Gaussian: nothing is decided."""
SIGNIFICANT = 3.0
"""A curve whose range is below this many standard errors has no window."""


@dataclass(frozen=True)
class DecisionInterval:
    """The times in which a feature is decided, with intervals for both ends.

    `path` is the interpolant whose times these are, where it is known.
    """

    lo: float
    hi: float
    lo_interval: tuple[float, float]
    hi_interval: tuple[float, float]
    rule: str
    path: NumericInterpolant | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The window as JSON, without its path."""
        return {k: v for k, v in vars(self).items() if k != "path"}


def find_window(
    curve: Curve,
    *,
    ends: tuple[float, float] = (0.9, 0.1),
    draws: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> DecisionInterval:
    """Return where the chance of a changed feature falls between two levels.

    The curve is made monotone (least squares, decreasing towards the data); its range
    is from its first to its last value; `lo` and `hi` are where it passes the shares
    `ends` of that range. On a mixture both depend on d and t through the
    signal-to-noise ratio alone. The intervals are percentiles over `draws` bootstrap
    samples, drawn within each starting class.

    Raises `ModelError` when the feature does not change more at the noise end, and when
    the curve falls before its first time or after its last one.
    """
    check_kind(curve, Curve, "find_window", "uturn")
    _check_draws(draws, level)
    if not 1 > ends[0] > ends[1] > 0:
        raise ModelError(
            f"`ends` must decrease within (0, 1), but is {ends}. Use (0.9, 0.1)."
        )
    changed = curve.changed
    gap = float(np.hypot(curve.stderr[0], curve.stderr[-1]))
    if len(curve.t) < 3 or changed[0] - changed[-1] < SIGNIFICANT * gap:
        raise ModelError(
            "A window needs a feature that changes more at the noise end, but it "
            f"changed for {changed[0]:.3g} of the samples at t = {curve.t[0]:.3g} and "
            f"{changed[-1]:.3g} at t = {curve.t[-1]:.3g} (standard error {gap:.2g}). "
            "Widen the times, use more samples, or train the model further."
        )

    def read(weights: np.ndarray) -> tuple[float, float]:
        return _crossings(curve.t, curve.flips @ weights, ends)

    window = read(np.full(len(curve.labels), 1 / len(curve.labels)))
    _check_ends(curve, window)
    rng = np.random.default_rng(seed)
    drawn = (read(_resample(curve.labels, rng)) for _ in range(draws))
    rule = f"{ends[0]:.0%} to {ends[1]:.0%} of the range of the U-turn curve"
    return replace(_with_intervals(window, drawn, level, rule), path=curve.path)


def find_mse_window(
    curve: MseCurve,
    *,
    fraction: float = 0.25,
    draws: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> DecisionInterval:
    r"""Return where the squared error tells that something is decided.

    An isotropic Gaussian of variance $S$ has the squared error
    $S\alpha^2/(\alpha^2 + S\beta^2)$ per dimension at every time. The error of other
    data is that of an $S$ that falls as things are decided: the spread that is left.
    The fall of $S$ is cut into equal parts; its rate against $\log(\beta/\alpha)$ is
    a part over the length that it takes, and the window is the stretch around the
    highest rate where the rate exceeds `fraction` of it. An error above the mean square
    of the data (a noise prediction near the noise) counts as that mean square.
    Intervals by bootstrap over the samples.

    Raises `ModelError` when the spread does not fall: there is no window then.
    """
    check_kind(curve, MseCurve, "find_mse_window", "mse_curve")
    _check_draws(draws, level)
    if not 0 < fraction < 1:
        raise ModelError(f"`fraction` must lie in (0, 1), but is {fraction!r}.")
    n = curve.errors.shape[1]
    x, spread = _spread(curve, np.full(n, 1 / n))
    rng = np.random.default_rng(seed)
    drawn = [_spread(curve, _resample(np.zeros(n), rng)) for _ in range(draws)]
    falls = [_fall(other) for _, other in drawn]
    low = np.percentile(falls, 100 * (1 - level) / 2) if falls else 0.0
    if len(x) < 4 or min(low, _fall(spread)) < LEAST_DROP:
        raise ModelError(
            "A window of the squared error needs a spread that falls over at least 4 "
            "times as something is decided, but it falls by "
            f"{max(0.0, _fall(spread)):.2g} of itself over {len(x)}, as for one "
            "Gaussian: there is no window. Widen the times, or name a feature and use "
            "`uturn`."
        )

    every = [(x, spread), *drawn]
    ends = np.exp([_steepest(*known, fraction) for known in every])
    window, *others = curve.path.time_of_ratio(ends)
    rule = f"rate of the spread left, against log SNR, above {fraction:.0%} of its peak"
    return replace(_with_intervals(window, others, level, rule), path=curve.path)


def _spread(curve: MseCurve, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""$\log(\beta/\alpha)$ and the variance of the Gaussian of the same error there.

    Where the error is nearly that of the noise, any large variance has it: left out.
    """
    ratio = curve.ratios
    error = np.minimum(curve.errors @ weights, curve.level)
    use = (ratio > 0) & (ratio < math.sqrt(CLEAR) / np.sqrt(np.maximum(error, 1e-300)))
    use &= np.cumprod(use | (ratio == 0)).astype(bool)  # from the noise end on
    ratio, error = ratio[use], error[use]
    return np.log(ratio), error / (1 - error * ratio**2)


def _fall(spread: np.ndarray) -> float:
    """The share of itself by which a spread, made monotone, falls."""
    if len(spread) < 2:
        return 0.0
    y = _decreasing(spread)
    return float((y[0] - y[-1]) / y[0])


def _check_draws(draws: int, level: float) -> None:
    whole_number("draws", draws)
    if not 0 < level < 1:
        raise ModelError(
            f"`level` must lie in (0, 1), but is {shown(level)}. Write 0.95 for 95 %."
        )


def _check_ends(curve: Curve, window: tuple[float, float]) -> None:
    """Refuse a curve that is falling already at its first time, or still at its last.

    Its range is then not known, and the window would be narrower than it is. Time 0 is
    pure noise and time 1 the data: nothing lies beyond them.
    """
    t, y, error = curve.t, curve.changed, curve.stderr
    fall = (y[:-1] - y[1:]) > SIGNIFICANT * np.hypot(error[:-1], error[1:])
    early = window[0] < t[1] and fall[0] and curve.path.beta(float(t[0])) > 0
    late = window[1] > t[-2] and fall[-1] and curve.path.alpha(float(t[-1])) > 0
    if early or late:
        a, b = (0, 1) if early else (-2, -1)
        raise ModelError(
            f"The times must reach where the curve is flat at both ends, but from t = "
            f"{t[a]:.3g} to {t[b]:.3g}, the {'first' if early else 'last'} two, it "
            f"falls from {y[a]:.3g} to {y[b]:.3g}. "
            f"{'Start earlier' if early else 'End later'}, or put times between them."
        )


def check_kind(given: Any, kind: type, name: str, maker: str) -> None:
    """Raise `ModelError` unless `given` is of the kind that `maker` returns."""
    if not isinstance(given, kind):
        raise ModelError(
            f"`{name}` takes a {kind.__name__}, as `{maker}` returns it, but was given "
            f"a {type(given).__name__}. Pass what `{maker}` returned."
        )


def _with_intervals(
    window: Iterable[float], drawn: Iterable[Iterable[float]], level: float, rule: str
) -> DecisionInterval:
    """A window with the percentiles of the bootstrap's windows around its ends."""
    lo, hi = map(float, window)
    tail = 100 * (1 - level) / 2
    (a, b), (c, d) = np.percentile(list(drawn), [tail, 100 - tail], axis=0).T
    return DecisionInterval(
        lo, hi, (min(float(a), lo), max(float(b), lo)), (float(c), float(d)), rule
    )


def _resample(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights of a bootstrap sample drawn within each class."""
    weights = np.zeros(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)))
        weights[members] = drawn / len(labels)
    return weights


def _decreasing(y: np.ndarray) -> np.ndarray:
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(y, increasing=False).x)


def _crossings(
    t: np.ndarray, changed: np.ndarray, ends: tuple[float, float]
) -> tuple[float, float]:
    y = _decreasing(changed)
    goals = y[-1] + np.array(ends) * (y[0] - y[-1])
    lo, hi = (_crossing(t, y, goal) for goal in goals)
    return lo, hi


def _crossing(t: np.ndarray, y: np.ndarray, goal: float) -> float:
    """First time at which a decreasing curve is at or below `goal`, interpolated."""
    i = int(np.argmax(y <= goal))
    if i == 0 or y[i - 1] == y[i]:
        return float(t[i])
    return float(t[i - 1] + (y[i - 1] - goal) / (y[i - 1] - y[i]) * (t[i] - t[i - 1]))


def _rate(t: np.ndarray, fallen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends and rates of `PARTS` stretches of time over which the drop is equal."""
    y = _decreasing(fallen)
    levels = y[0] - np.linspace(EDGE, 1 - EDGE, PARTS + 1) * (y[0] - y[-1])
    slope = np.linspace(0, 1e-9 * (y[0] - y[-1] + 1e-300), len(y))  # flats: invertible
    at = np.interp(-levels, slope - y, t)
    return at, (1 - 2 * EDGE) * (y[0] - y[-1]) / PARTS / np.maximum(np.diff(at), 1e-12)


def _steepest(
    t: np.ndarray, fallen: np.ndarray, fraction: float
) -> tuple[float, float]:
    """The stretch around the peak where the rate is above `fraction` of it."""
    at, rate = _rate(t, fallen)
    peak = int(np.argmax(rate))
    floor = fraction * rate[peak]
    middle = (at[1:] + at[:-1]) / 2
    lo = _edge(middle[peak::-1], rate[peak::-1], floor, at[0])
    return lo, _edge(middle[peak:], rate[peak:], floor, at[-1])


def _edge(middle: np.ndarray, rate: np.ndarray, floor: float, end: float) -> float:
    """Walk away from the peak to where the rate falls below `floor`, or to the end."""
    if not (rate < floor).any():
        return float(end)
    i = int(np.argmax(rate < floor))
    share = (rate[i - 1] - floor) / (rate[i - 1] - rate[i])
    return float(middle[i - 1] + share * (middle[i] - middle[i - 1]))


@dataclass(frozen=True)
class Agreement:
    """The overlap of two windows on the axis of log SNR, and a `statement` in words."""

    overlap: float
    agree: bool
    statement: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    one: DecisionInterval, two: DecisionInterval, path: NumericInterpolant | None = None
) -> Agreement:
    r"""Compare two windows: length of their intersection over that of their union.

    Lengths are in $\log(\beta/\alpha)$. They agree when the middle of each lies in
    the other. A window that was found carries the interpolant whose times it has; any
    other has those of `path`, which is the linear one when left out.
    """
    for window in (one, two):
        check_kind(window, DecisionInterval, "agreement", "find_window")
    (a, b), (c, d) = (_log_ratios(w, _path_of(w, path)) for w in (one, two))
    overlap = max(0.0, min(b, d) - max(a, c)) / (max(b, d) - min(a, c))
    agree = c <= (a + b) / 2 <= d and a <= (c + d) / 2 <= b
    said = "agree" if agree else "do not agree"
    statement = (
        f"The windows [{one.lo:.3g}, {one.hi:.3g}] and [{two.lo:.3g}, {two.hi:.3g}] "
        f"{said}: they share {overlap:.0%} of what either covers in log SNR."
    )
    return Agreement(float(overlap), bool(agree), statement)


def _path_of(
    window: DecisionInterval, path: NumericInterpolant | None
) -> NumericInterpolant:
    """The interpolant whose times a window has; refused when two are named."""
    given = None if path is None else as_interpolant(path)
    own = window.path or given or LINEAR_PATH
    if given is not None and not same_interpolant(own, given):
        raise ModelError(
            "`path` must be the interpolant that the windows were found on, but is "
            "another. Leave it out: a window carries its own."
        )
    return own


def _log_ratios(
    window: DecisionInterval, path: NumericInterpolant
) -> tuple[float, float]:
    tiny, huge = 1e-9, 1e9
    low, high = (
        math.log(min(max(path.ratio(t), tiny), huge)) for t in (window.lo, window.hi)
    )
    return low, high


def mixture_window(p: float, ends: tuple[float, float] = (0.9, 0.1)) -> Any:
    r"""The exact window of the two-mode mixture in $\Lambda = \beta^2|\mu|^2/\Delta$.

    A U-turn of the exact SDE redraws the mode from its posterior, so the chance of a
    change is $\frac12(1 - E\tanh^2(h + \Lambda s + \sqrt\Lambda g))$, with
    $h = \frac12\log\frac{p}{1-p}$ and $g \sim N(0,1)$: a function of $\Lambda$ and
    $p$ alone, from $2p(1-p)$ to 0. Returns the two $\Lambda$ at the shares `ends`.
    """
    from scipy.optimize import brentq

    if not 0 < p < 1:
        raise ModelError(
            f"`p` must lie in (0, 1), but is {shown(p)}. It is the weight of a mode."
        )
    top = mixture_change(0.0, p)
    return np.array(
        [brentq(lambda L, e=e: mixture_change(L, p) - e * top, 0, 60) for e in ends]
    )


def mixture_change(snr: float, p: float) -> float:
    r"""The chance that a U-turn from $\Lambda$ = `snr` changes the mode (exact SDE)."""
    g, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    h = math.atanh(2 * p - 1)
    return sum(
        share * float(weight @ (1 - np.tanh(h + s * snr + math.sqrt(snr) * g) ** 2)) / 2
        for s, share in ((1, p), (-1, 1 - p))
    )
