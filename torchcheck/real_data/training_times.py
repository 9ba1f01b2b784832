"""Training times: distributions on [0, 1], where 1 is data, of when one trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from ...errors import ModelError, ShapeError
from ...numerics.codegen.parameters import whole_number
from .arrays import as_array, check_numpy_generator, is_torch, like
from .interpolants import LINEAR_PATH, NumericInterpolant, check_times

Times = Sequence[float] | np.ndarray


class Interval(Protocol):
    """An interval with a lower and an upper end."""

    @property
    def lo(self) -> float: ...
    @property
    def hi(self) -> float: ...


def _ends(lo: float | Interval, hi: float | None) -> tuple[float, float]:
    """Both ends of a window given as two numbers or as one interval."""
    low: Any = getattr(lo, "lo", lo)
    high: Any = getattr(lo, "hi", hi)
    if low is None or high is None:
        raise ModelError(
            "A window has two ends, but one of them is not given. Pass `lo` and `hi`, "
            "or what `find_window` returned."
        )
    return float(low), float(high)


FARTHEST = 60.0
"""Log SNR beyond which the times of an interpolant differ by less than rounding."""


def _between(name: str, value: float, lo: float, hi: float, rule: str) -> None:
    if not lo <= value <= hi:
        raise ModelError(f"`{name}` must be {rule}, but is {value!r}. Change it.")


@dataclass(frozen=True, eq=False)
class TrainingTimes:
    """A distribution of training times: density, quantile, batches of exact size.

    Its distribution function `cdf` is piecewise linear through `knots`, increasing
    times from 0 to 1, so density, quantile and mass are exact. Every method takes
    numbers, NumPy arrays or torch tensors and answers in kind. Reports call it by its
    `name`; `path` is the interpolant whose times these are, where it is known.

    >>> times = TrainingTimes.window(0.2, 0.6, mass=0.5)
    >>> times.mass(0.2, 0.6), float(times.density(0.4))
    (0.5, 1.25)
    >>> times.sample(7, np.random.default_rng(0), stratified=True).shape
    (7,)
    """

    knots: np.ndarray
    cdf: np.ndarray
    name: str
    path: NumericInterpolant | None = field(default=None, repr=False)

    # ---------------------------------------------------------------- makers

    @classmethod
    def uniform(cls) -> TrainingTimes:
        """Every time alike: what is used when nothing is known."""
        return cls(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "uniform")

    @classmethod
    def window(
        cls, lo: float | Interval, hi: float | None = None, mass: float | None = None
    ) -> TrainingTimes:
        """Put `mass` evenly on [lo, hi] and the rest evenly outside.

        The window may be given as `find_window` returns it:
        ``window(found, mass=0.5)``.

        Raises `ModelError` unless ``0 <= lo < hi <= 1`` and ``0 < mass <= 1``.
        """
        path = getattr(lo, "path", None)
        lo, hi = _ends(lo, hi)
        if mass is None:
            raise ModelError(
                "`mass` must be the share of the training times in the window, but is "
                "not given. A half, mass=0.5, is a good start."
            )
        if not 0 <= lo < hi <= 1:
            raise ModelError(
                "The window must satisfy 0 <= lo < hi <= 1, but is "
                f"[{lo:g}, {hi:g}]. Time 0 is noise and 1 is data."
            )
        _between("mass", mass, np.nextafter(0, 1), 1, "in (0, 1]")
        outside = 1 - (hi - lo)
        share = mass if outside > 0 else 1.0
        rate = (1 - share) / outside if outside > 0 else 0.0
        return cls._through(
            [0, lo, hi, 1],
            [0, rate * lo, rate * lo + share, 1],
            f"window [{lo:.3g}, {hi:.3g}], mass {mass:g}",
            path,
        )

    @classmethod
    def dilated(cls, kappa: float, d: float) -> TrainingTimes:
        r"""The two-segment dilation: half of the times in $[0, \kappa/\sqrt d]$.

        A dilated time is uniform in $[0, 1]$; the base time it stands for is
        $2\kappa t/\sqrt d$ up to $t = 1/2$ and linear from there to 1.
        """
        edge = kappa / math.sqrt(d) if d > 0 else math.nan
        if not 0 < edge < 1:
            raise ModelError(
                "The dilated stretch kappa/sqrt(d) must lie in (0, 1), but kappa = "
                f"{kappa:g} and d = {d:g} give {edge:g}. Lower `kappa`."
            )
        return cls._through(
            [0, edge, 1], [0, 0.5, 1], f"dilated, kappa {kappa:g}, d {d:g}"
        )

    @classmethod
    def shift(cls, a: float) -> TrainingTimes:
        """Uniform times u shifted to u/(u + a(1 - u)): `a` times less beta/alpha.

        Raises `ModelError` unless `a` is positive.
        """
        if not 0 < a < math.inf:
            raise ModelError(
                f"`a` must be positive, but is {a!r}. 1 leaves times uniform, more "
                "puts them towards the noise."
            )
        u = np.linspace(0, 1, 2049)
        return cls._through(u / (u + a * (1 - u)), u, f"shift {a:g}")

    @classmethod
    def from_curve(cls, t: Times, values: Times, *, mass: float = 0.5) -> TrainingTimes:
        """Density after the slope of a curve (U-turn or MSE), on top of an even floor.

        `mass` is spread over the steps of the curve in proportion to the size of
        each step, the rest evenly over [0, 1].
        """
        t, change = _steps(t, values)
        _between("mass", mass, 0, 1, "in [0, 1]")
        knots = np.unique(np.concatenate([[0.0], t, [1.0]]))
        curve = np.interp(knots, t, np.concatenate([[0], np.cumsum(change)]))
        return cls._through(
            knots,
            mass * curve / change.sum() + (1 - mass) * knots,
            f"slope of a curve, mass {mass:g}",
        )

    @classmethod
    def mse_equalising(cls, t: Times, mse: Times) -> TrainingTimes:
        """Every equal share of training times lowers the MSE curve by as much."""
        steps = np.minimum.accumulate(np.asarray(mse, dtype=float))
        return replace(cls.from_curve(t, steps, mass=1.0), name="MSE-equalising")

    @classmethod
    def entropic(
        cls, t: Times, mse: Times, path: NumericInterpolant = LINEAR_PATH
    ) -> TrainingTimes:
        r"""Every equal share of training times carries as much information on $x_1$.

        By the I-MMSE relation $dI = \frac12\,\mathrm{mse}\; d\,\mathrm{snr}$ with
        $\mathrm{snr} = \beta^2/\alpha^2$ (`mse` in total or per dimension).

        Raises `ModelError` if `t` reaches 1, where the information diverges.
        """
        t = check_times(t, "t")
        if path.alpha(float(t[-1])) <= 0:
            raise ModelError(
                "`t` must stay below the data end, where the information diverges, "
                f"but its last time is {t[-1]:g}. Leave it out."
            )
        snr = np.array([path.ratio(x) ** 2 for x in t])
        mse = _matching(t, mse)
        if (mse < 0).any():
            raise ModelError(
                f"`mse` must be 0 or more, but has {mse.min():g}. Pass squared errors."
            )
        gain = np.concatenate([[0], np.cumsum((mse[1:] + mse[:-1]) * np.diff(snr))])
        return replace(cls.from_curve(t, gain, mass=1.0), name="entropic", path=path)

    @classmethod
    def log_normal_snr(
        cls, mean: float, std: float, path: NumericInterpolant = LINEAR_PATH
    ) -> TrainingTimes:
        r"""$\log(\beta^2/\alpha^2)$ is normal with `mean` and `std`.

        On the linear path this is the logit-normal distribution. A noise level
        $\sigma = \alpha/\beta$ with $\log\sigma \sim N(m, s^2)$ is `mean` $=-2m$,
        `std` $=2s$.
        """
        from scipy.stats import norm

        if not std > 0:
            raise ModelError(f"`std` must be positive, but is {std!r}. Raise it.")
        if not abs(mean) + 6 * std < FARTHEST:
            raise ModelError(
                f"`mean` and `std` are those of a log SNR, within {FARTHEST:g} of 0, "
                f"but are {mean:g} and {std:g}. A usual mean lies between -5 and 5."
            )
        z = np.linspace(-6, 6, 1201)
        t = path.time_of_ratio(np.exp((mean + std * z) / 2))
        name = f"log-normal SNR ({mean:g}, {std:g})"
        return cls._tabulated(t, norm.cdf(z), name, path)

    @classmethod
    def effective(
        cls,
        kind: Literal["diffusion", "flow matching"],
        lo: float,
        hi: float,
        path: NumericInterpolant = LINEAR_PATH,
    ) -> TrainingTimes:
        r"""The weight that a usual training gives to noise prediction at each SNR.

        With $\Lambda = d\,\beta^2/\alpha^2$ (small times), diffusion weighs as
        $1/(2\Lambda)$ and flow matching as $\sqrt d/(2\Lambda^{3/2})$. Both diverge
        at the noise end, so the times are cut to [lo, hi] with ``0 < lo < hi < 1``.
        """
        power = {"diffusion": 0.0, "flow matching": 0.5}.get(kind)
        if power is None:
            raise ModelError(
                f"`kind` must be diffusion or flow matching, but is {kind!r}."
            )
        if not 0 < lo < hi < 1:
            raise ModelError(
                f"The times must satisfy 0 < lo < hi < 1, but are [{lo:g}, {hi:g}]. "
                "The weights diverge at the noise end."
            )
        log = np.linspace(
            2 * math.log(path.ratio(lo)), 2 * math.log(path.ratio(hi)), 1201
        )
        cdf = log if power == 0 else -np.exp(-power * log)
        return cls._tabulated(path.time_of_ratio(np.exp(log / 2)), cdf, kind, path)

    @classmethod
    def _tabulated(
        cls, t: np.ndarray, cdf: np.ndarray, name: str, path: NumericInterpolant
    ) -> TrainingTimes:
        """All mass within [t[0], t[-1]]."""
        cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
        t = np.clip(t, 0, 1)
        return cls._through(
            np.concatenate([[0], t, [1]]), np.concatenate([[0], cdf, [1]]), name, path
        )

    @classmethod
    def _through(
        cls, knots: Any, cdf: Any, name: str, path: NumericInterpolant | None = None
    ) -> TrainingTimes:
        """Drop knots of no width, keeping the later value of the distribution."""
        knots, cdf = np.asarray(knots, float), np.asarray(cdf, float)
        keep = np.concatenate([np.diff(knots) > 0, [True]])
        knots, cdf = knots[keep], cdf[keep]
        return cls(knots, np.clip(np.maximum.accumulate(cdf), 0, 1), name, path)

    # ------------------------------------------------------------- questions

    def density(self, t: Any) -> Any:
        """Density at the times `t`, of the same shape; 0 outside [0, 1]."""
        x = as_array(t)
        slope = np.diff(self.cdf) / np.diff(self.knots)
        i = np.clip(np.searchsorted(self.knots, x, "right") - 1, 0, len(slope) - 1)
        return like(np.where((x >= 0) & (x <= 1), slope[i], 0.0), t)

    def quantile(self, u: Any) -> Any:
        """The time below which a share `u` of the training times lies."""
        x = as_array(u)
        if x.size and not ((x >= 0) & (x <= 1)).all():
            raise ModelError(
                f"`u` must lie in [0, 1], but has {x[~((x >= 0) & (x <= 1))][0]:g}. "
                "It is a share of the training times."
            )
        last = np.searchsorted(self.cdf, self.cdf[-1], "left") - 1
        i = np.minimum(np.searchsorted(self.cdf, x, "right") - 1, last)
        low, width = self.cdf[i], self.cdf[i + 1] - self.cdf[i]
        t = self.knots[i] + (x - low) / width * (self.knots[i + 1] - self.knots[i])
        return like(np.clip(t, 0, 1), u)

    def mass_below(self, t: np.ndarray) -> np.ndarray:
        """The share of the training times below `t`, of the same shape."""
        return np.interp(t, self.knots, self.cdf)

    def mass(self, lo: float, hi: float) -> float:
        """The share of the training times in [lo, hi]."""
        if not lo <= hi:
            raise ModelError(
                f"`lo` must not exceed `hi`, but they are {lo:g} and {hi:g}. Swap them."
            )
        low, high = self.mass_below(np.array([lo, hi]))
        return float(high - low)

    def weights(self, t: Any) -> Any:
        """Importance weights 1/density: with them the loss is that of uniform times.

        Raises `ModelError` where the density is 0, since no weight can repair that.
        """
        density = as_array(self.density(t))
        if (density <= 0).any():
            where = as_array(t).ravel()[np.argmax(density.ravel() <= 0)]
            raise ModelError(
                "Importance weights need a positive density, but "
                f"{self.name!r} never trains at t = {where:g}. Lower its mass."
            )
        return like(1 / density, t)

    def grid(self, n: int, rule: Literal["left", "midpoint"] = "midpoint") -> Any:
        """`n` fixed times: the quantiles of i/n (left) or of (i + 1/2)/n (midpoint)."""
        whole_number("n", n)
        shift = {"left": 0.0, "midpoint": 0.5}.get(rule)
        if shift is None:
            raise ModelError(f"`rule` must be left or midpoint, but is {rule!r}.")
        return self.quantile((np.arange(n) + shift) / n)

    def sample(self, n: int, generator: Any, *, stratified: bool = False) -> Any:
        """Draw exactly `n` times: an array; a float32 tensor for a `torch.Generator`.

        `stratified` times are evenly spaced with one random shift, in random order: the
        number of times in a window is then within 1 of `n` times its mass.
        """
        whole_number("n", n)
        if is_torch(generator):
            return self._sample_torch(n, generator, stratified)
        check_numpy_generator(generator)
        u = generator.random(n)
        if stratified:
            u = (generator.permutation(n) + u[0]) / n
        return self.quantile(u)

    def _sample_torch(self, n: int, generator: Any, stratified: bool) -> Any:
        import torch

        device = generator.device
        u = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        if stratified:
            u = (torch.randperm(n, generator=generator, device=device) + u[0]) / n
        return self.quantile(u).to(torch.float32)


def _matching(t: np.ndarray, values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape != t.shape or len(t) < 2:
        raise ShapeError(
            "A curve must have one value for each of at least two times, but has "
            f"{values.shape} values at {t.shape} times."
        )
    if not np.isfinite(values).all():
        bad = t[~np.isfinite(values)][0]
        raise ModelError(f"A curve must be finite, but is not at t = {bad:g}.")
    return values


def _steps(t: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    t = check_times(t, "t")
    change = np.abs(np.diff(_matching(t, values)))
    if change.sum() == 0:
        raise ModelError(
            "A curve must change somewhere to say when to train, but this one is "
            "constant. Use TrainingTimes.uniform()."
        )
    return t, change
