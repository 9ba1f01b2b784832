r"""Training times: distributions on [0, 1] that say when a network is trained.

Time runs from noise to data, as everywhere here: $x_t = \alpha(t) x_0 + \beta(t) x_1$
with noise $x_0$, data $x_1$, and $t = 1$ is data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import ModelError, ShapeError

if TYPE_CHECKING:
    from ...theory.models.model import Interpolant

Times = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Path:
    r"""Numbers of an interpolant $x_t = \alpha(t) x_0 + \beta(t) x_1$; $t = 1$ is data.

    Attributes
    ----------
    alpha, beta
        Functions of a float; `alpha` multiplies the noise.
    alpha2_dot, beta_dot
        Derivatives of $\alpha^2$ and $\beta$; only velocity models need them.
        (The square, because $\dot\alpha$ itself may diverge at the data end.)
    """

    alpha: Callable[[float], float]
    beta: Callable[[float], float]
    alpha2_dot: Callable[[float], float]
    beta_dot: Callable[[float], float]

    @classmethod
    def of(cls, interpolant: Interpolant) -> Path:
        """Make the path of a symbolic `Interpolant` (whose only symbol is ``tau``)."""
        import sympy as sp

        from ...theory.models.model import TAU

        alpha, beta = interpolant.alpha, interpolant.beta
        for name, f in (("alpha", alpha), ("beta", beta)):
            if extra := sorted(map(str, f.free_symbols - {TAU})):
                raise ModelError(
                    f"`{name}` must be a function of `tau` alone, but has "
                    f"{', '.join(extra)}. Substitute a number."
                )
        exprs = (alpha, beta, sp.diff(alpha**2, TAU), sp.diff(beta, TAU))
        return cls(*(sp.lambdify(TAU, sp.simplify(e), "math") for e in exprs))

    def ratio(self, t: float) -> float:
        r"""$\beta/\alpha$, the root of the signal-to-noise ratio; inf at $t = 1$."""
        alpha = self.alpha(t)
        return math.inf if alpha <= 0 else self.beta(t) / alpha

    def time_of_ratio(self, ratio: Any) -> np.ndarray:
        r"""Return the times at which $\beta/\alpha$ has these values (by bisection)."""
        goal = np.atleast_1d(np.asarray(ratio, dtype=float))
        lo, hi = np.zeros_like(goal), np.ones_like(goal)
        for _ in range(60):
            mid = (lo + hi) / 2
            below = np.array([self.ratio(t) for t in mid]) < goal
            lo, hi = np.where(below, mid, lo), np.where(below, hi, mid)
        return hi.reshape(np.shape(ratio))


LINEAR_PATH = Path(lambda t: 1 - t, lambda t: t, lambda t: -2 * (1 - t), lambda _t: 1.0)
"""alpha = 1 - t, beta = t: flow matching, stochastic interpolants."""

VARIANCE_PRESERVING_PATH = Path(
    lambda t: math.sqrt(max(0.0, 1 - t * t)),
    lambda t: t,
    lambda t: -2 * t,
    lambda _t: 1.0,
)
"""alpha = sqrt(1 - t**2), beta = t: DDPM, with t the square root of alpha-bar."""


def check_times(times: Any, name: str = "times") -> np.ndarray:
    """Return `times` as a one-dimensional increasing array within [0, 1]."""
    t = np.asarray(times, dtype=float)
    if t.ndim != 1 or t.size == 0:
        raise ShapeError(
            f"`{name}` must be a list of numbers, but has shape {t.shape}. Give at "
            "least one time."
        )
    outside = t[~((t >= 0) & (t <= 1))]
    if outside.size:
        raise ModelError(
            f"`{name}` must lie in [0, 1], where 0 is noise and 1 is data, but has "
            f"{outside[0]:g}. Rescale them."
        )
    if (np.diff(t) <= 0).any():
        i = int(np.argmax(np.diff(t) <= 0))
        raise ModelError(
            f"`{name}` must increase, but {t[i + 1]:g} follows {t[i]:g}. Sort them and "
            "remove repeated ones."
        )
    return t


def _between(name: str, value: float, lo: float, hi: float, rule: str) -> None:
    if not lo <= value <= hi:
        raise ModelError(f"`{name}` must be {rule}, but is {value!r}. Change it.")


def is_torch(x: Any) -> bool:
    """Whether `x` is a tensor or another thing of torch; torch is not imported."""
    return type(x).__module__.split(".")[0] == "torch"


def as_array(x: Any) -> np.ndarray:
    """A NumPy view of numbers or of a tensor on any device."""
    return np.asarray(x.detach().cpu() if is_torch(x) else x, dtype=float)


def _like(values: np.ndarray, template: Any) -> Any:
    """Give `values` the kind of `template`: a tensor on its device, or NumPy."""
    return template.new_tensor(values) if is_torch(template) else values[()]


@dataclass(frozen=True, eq=False)
class TrainingTimes:
    r"""A distribution of training times: density, quantile, batches of exact size.

    The cumulative distribution is piecewise linear through `knots`, so density,
    quantile and mass are exact. Every method takes numbers, NumPy arrays or torch
    tensors and answers in kind.

    Attributes
    ----------
    knots, cdf
        Increasing times from 0 to 1 and the distribution function at them.
    name
        What the distribution is, for reports.

    Examples
    --------
    >>> times = TrainingTimes.window(0.2, 0.6, mass=0.5)
    >>> times.mass(0.2, 0.6), float(times.density(0.4))
    (0.5, 1.25)
    >>> times.sample(7, np.random.default_rng(0), stratified=True).shape
    (7,)
    """

    knots: np.ndarray
    cdf: np.ndarray
    name: str

    # ---------------------------------------------------------------- makers

    @classmethod
    def uniform(cls) -> TrainingTimes:
        """Every time alike: what is used when nothing is known."""
        return cls(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "uniform")

    @classmethod
    def window(cls, lo: float, hi: float, mass: float) -> TrainingTimes:
        """Put `mass` evenly on [lo, hi] and the rest evenly outside.

        Raises `ModelError` unless ``0 <= lo < hi <= 1`` and ``0 < mass <= 1``.
        """
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
        made = cls.from_curve(t, steps, mass=1.0)
        return cls(made.knots, made.cdf, "MSE-equalising")

    @classmethod
    def entropic(cls, t: Times, mse: Times, path: Path = LINEAR_PATH) -> TrainingTimes:
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
        gain = np.concatenate([[0], np.cumsum((mse[1:] + mse[:-1]) * np.diff(snr))])
        made = cls.from_curve(t, gain, mass=1.0)
        return cls(made.knots, made.cdf, "entropic")

    @classmethod
    def log_normal_snr(
        cls, mean: float, std: float, path: Path = LINEAR_PATH
    ) -> TrainingTimes:
        r"""$\log(\beta^2/\alpha^2)$ is normal with `mean` and `std`.

        On the linear path this is the logit-normal distribution. A noise level
        $\sigma = \alpha/\beta$ with $\log\sigma \sim N(m, s^2)$ is `mean` $=-2m$,
        `std` $=2s$.
        """
        from scipy.stats import norm

        if not std > 0:
            raise ModelError(f"`std` must be positive, but is {std!r}. Raise it.")
        z = np.linspace(-6, 6, 1201)
        t = path.time_of_ratio(np.exp((mean + std * z) / 2))
        return cls._tabulated(t, norm.cdf(z), f"log-normal SNR ({mean:g}, {std:g})")

    @classmethod
    def effective(
        cls,
        kind: Literal["diffusion", "flow matching"],
        lo: float,
        hi: float,
        path: Path = LINEAR_PATH,
    ) -> TrainingTimes:
        r"""How a usual training weighs the noise-prediction error, seen in the SNR.

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
        cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
        return cls._tabulated(path.time_of_ratio(np.exp(log / 2)), cdf, kind)

    @classmethod
    def _tabulated(cls, t: np.ndarray, cdf: np.ndarray, name: str) -> TrainingTimes:
        """All mass within [t[0], t[-1]]."""
        cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
        t = np.clip(t, 0, 1)
        return cls._through(
            np.concatenate([[0], t, [1]]), np.concatenate([[0], cdf, [1]]), name
        )

    @classmethod
    def _through(cls, knots: Any, cdf: Any, name: str) -> TrainingTimes:
        """Drop knots of no width, keeping the later value of the distribution."""
        knots, cdf = np.asarray(knots, float), np.asarray(cdf, float)
        keep = np.concatenate([np.diff(knots) > 0, [True]])
        knots, cdf = knots[keep], cdf[keep]
        return cls(knots, np.clip(np.maximum.accumulate(cdf), 0, 1), name)

    # ------------------------------------------------------------- questions

    def density(self, t: Any) -> Any:
        """Density at the times `t`, of the same shape; 0 outside [0, 1]."""
        x = as_array(t)
        slope = np.diff(self.cdf) / np.diff(self.knots)
        i = np.clip(np.searchsorted(self.knots, x, "right") - 1, 0, len(slope) - 1)
        return _like(np.where((x >= 0) & (x <= 1), slope[i], 0.0), t)

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
        return _like(np.clip(t, 0, 1), u)

    def mass(self, lo: float, hi: float) -> float:
        """The share of the training times in [lo, hi]."""
        low, high = np.interp([lo, hi], self.knots, self.cdf)
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
        return _like(1 / density, t)

    def grid(self, n: int, rule: Literal["left", "midpoint"] = "midpoint") -> Any:
        """`n` fixed times: the quantiles of i/n (left) or of (i + 1/2)/n (midpoint)."""
        _count(n)
        shift = {"left": 0.0, "midpoint": 0.5}.get(rule)
        if shift is None:
            raise ModelError(f"`rule` must be left or midpoint, but is {rule!r}.")
        return self.quantile((np.arange(n) + shift) / n)

    def sample(self, n: int, generator: Any, *, stratified: bool = False) -> Any:
        """Draw exactly `n` times.

        Parameters
        ----------
        n
            Batch size; any positive integer.
        generator
            A `numpy.random.Generator` gives a NumPy array, a `torch.Generator` a
            float32 tensor on its device.
        stratified
            Even spacing with one random shift, in random order: the number of times
            in a window is then within 1 of `n` times its mass.
        """
        _count(n)
        if is_torch(generator):
            return self._sample_torch(n, generator, stratified)
        if not isinstance(generator, np.random.Generator):
            raise ModelError(
                "`generator` must be a numpy.random.Generator or a torch.Generator, "
                f"but is {type(generator).__name__}. Pass numpy.random.default_rng(0)."
            )
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


def _count(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ModelError(f"`n` must be a positive integer, but is {n!r}.")


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
