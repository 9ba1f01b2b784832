r"""U-turns: noise a sample up to time t, denoise it back, ask whether it changed.

The convention everywhere is $x_t = \alpha(t) x_0 + \beta(t) x_1$ with noise $x_0$ and
data $x_1$: time 0 is noise, **time 1 is data**. A denoiser is any callable
``denoiser(x, t)`` that returns $E[x_1 | x_t = x]$ for a batch `x` (torch tensor or
NumPy array, as the data are) and one Python float `t`. The functions ``from_...``
make one from models that predict something else.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import ModelError, ShapeError
from .times import LINEAR_PATH, VARIANCE_PRESERVING_PATH, Path, Times, check_times
from .times import _is_torch as is_torch

Denoiser = Callable[[Any, float], Any]
Sampler = Literal["sde", "ode"]

FIRST_SNR = 1e-3
"""d times the SNR below which a sample is taken for pure noise."""
LAST_RATIO = 30.0
"""beta/alpha from which one last denoising ends a path."""


# ------------------------------------------------------------------- adapters


def from_noise(model: Denoiser, path: Path = LINEAR_PATH) -> Denoiser:
    r"""Denoiser of a noise-predicting model: $x_1 = (x - \alpha\,\hat x_0)/\beta$.

    ``model(x, t)`` gets the time of `path`, 1 at the data. At the noise end
    ($\beta = 0$) a noise prediction says nothing about the data: `ModelError`.
    """

    def denoiser(x: Any, t: float) -> Any:
        return (x - path.alpha(t) * model(x, t)) / _beta(path, t, "a noise prediction")

    return denoiser


def from_score(model: Denoiser, path: Path = LINEAR_PATH) -> Denoiser:
    r"""Denoiser of a score model, by Tweedie: $x_1 = (x + \alpha^2 s(x))/\beta$."""

    def denoiser(x: Any, t: float) -> Any:
        return (x + path.alpha(t) ** 2 * model(x, t)) / _beta(path, t, "a score")

    return denoiser


def from_velocity(
    model: Denoiser, path: Path = LINEAR_PATH, *, data_at: Literal[0, 1] = 1
) -> Denoiser:
    r"""Denoiser of a velocity (flow matching) model, $\dot\alpha x_0 + \dot\beta x_1$.

    With ``data_at=0`` the model's own time runs from data (0) to noise (1), as in
    rectified-flow libraries: it is called at $1 - t$ and its sign is turned.
    """
    if data_at not in (0, 1):
        raise ModelError(f"`data_at` must be 0 or 1, but is {data_at!r}.")

    def denoiser(x: Any, t: float) -> Any:
        v = model(x, t) if data_at == 1 else -model(x, 1 - t)
        alpha, beta = path.alpha(t), path.beta(t)
        half = path.alpha2_dot(t) / 2  # alpha * d(alpha)/dt
        return (alpha**2 * v - half * x) / (alpha**2 * path.beta_dot(t) - half * beta)

    return denoiser


def from_ddpm(
    model: Callable[[Any, int], Any],
    alphas_cumprod: Any,
    predicts: Literal["noise", "sample", "v"] = "noise",
) -> Denoiser:
    r"""Denoiser of a discrete-time DDPM: ``model(x, k)`` with an integer step `k`.

    ``alphas_cumprod[k]`` is $\bar\alpha_k$, from nearly 1 (data) to nearly 0 (noise).
    Use it with ``path=VARIANCE_PRESERVING_PATH``, where $t = \sqrt{\bar\alpha}$; the
    nearest step answers. "v" is $\sqrt{\bar\alpha}\,x_0 - \sqrt{1-\bar\alpha}\,x_1$.
    """
    from .times import _array

    bars = _array(alphas_cumprod)
    if bars.ndim != 1 or not ((bars > 0) & (bars <= 1)).all():
        raise ModelError(
            "`alphas_cumprod` must be a list of numbers in (0, 1], one for each step, "
            f"but has shape {bars.shape} and values from {bars.min():g} to "
            f"{bars.max():g}. It is the cumulative product, not the betas."
        )
    if predicts not in ("noise", "sample", "v"):
        raise ModelError(f"`predicts` must be noise, sample or v, but is {predicts!r}.")
    roots = np.sqrt(bars)

    def denoiser(x: Any, t: float) -> Any:
        k = int(np.argmin(np.abs(roots - t)))
        beta, alpha = float(roots[k]), math.sqrt(1 - float(bars[k]))
        out = model(x, k)
        if predicts == "sample":
            return out
        return (
            (x - alpha * out) / beta if predicts == "noise" else beta * x - alpha * out
        )

    return denoiser


def _beta(path: Path, t: float, what: str) -> float:
    beta = path.beta(t)
    if beta <= 0:
        raise ModelError(
            f"{what[0].upper() + what[1:]} gives no E[x1|x] at t = {t:g}, where the "
            "sample is pure noise. Start the times above 0."
        )
    return beta


# --------------------------------------------------------------- denoising


def snr_times(path: Path, lo: float, hi: float, count: int) -> np.ndarray:
    r"""Return `count` times with $\log(\beta/\alpha)$ even between two ratios."""
    return path.time_of_ratio(np.geomspace(lo, hi, count))


def default_times(d: int, path: Path = LINEAR_PATH, count: int = 33) -> np.ndarray:
    r"""Times even in log SNR, from $d \cdot$ SNR $= 0.01$ to SNR $= 100$.

    Below, no feature of a sample of `d` coordinates of order 1 can be told; above,
    every one can: whatever window there is lies between.
    """
    return snr_times(path, 0.1 / math.sqrt(d), 10.0, count)


def denoise(
    denoiser: Denoiser,
    x: Any,
    t: float,
    *,
    generator: Any,
    path: Path = LINEAR_PATH,
    steps: int = 32,
    sampler: Sampler = "sde",
) -> Any:
    r"""Take samples `x` at time `t` to time 1 with a denoiser.

    The steps are even in log SNR. With the denoiser frozen over a step, the ODE step
    is exact, and the SDE step is the posterior $p(x_{t'}|x_t, x_1)$ at
    $x_1 = E[x_1|x_t]$; neither needs a velocity, so nothing diverges at time 1.

    Parameters
    ----------
    denoiser : callable
        ``(x, t) -> E[x1|x_t]``, of the shape of `x`.
    x : Tensor or ndarray, shape (batch, ...)
        Noised samples; pure noise at ``t=0`` (see `generate`).
    generator : torch.Generator or numpy.random.Generator
        Of the same kind as `x`; used by the SDE only.

    Raises
    ------
    ShapeError, ModelError
        When the denoiser returns another shape, or numbers that are not finite.
    """
    d = math.prod(x.shape[1:])
    first = max(path.ratio(float(t)), math.sqrt(FIRST_SNR / d))
    ratios = [path.ratio(float(t))]
    if first < LAST_RATIO:
        ratios = list(np.geomspace(first, LAST_RATIO, steps))
    grid = [float(s) for s in path.time_of_ratio(ratios)]
    with _no_grad(x):
        for now, then in itertools.pairwise(grid):
            x = _step(denoiser, x, now, then, path, sampler, generator)
        return _ask(denoiser, x, min(grid[-1], 1.0))


def _step(
    denoiser: Denoiser,
    x: Any,
    now: float,
    then: float,
    path: Path,
    sampler: Sampler,
    generator: Any,
) -> Any:
    x1 = _ask(denoiser, x, now)
    noise = (path.alpha(then) / path.alpha(now)) * (x - path.beta(now) * x1)
    if sampler == "sde":
        keep = path.ratio(now) / path.ratio(then)
        fresh = path.alpha(then) * math.sqrt(1 - keep**2)
        noise = keep * noise + fresh * _normal(x, generator)
    return path.beta(then) * x1 + noise


def generate(
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    generator: Any,
    path: Path = LINEAR_PATH,
    steps: int = 32,
    sampler: Sampler = "ode",
) -> Any:
    """Make new samples of `shape` (batch first) from noise, like `denoise` from 0."""
    if is_torch(generator):
        import torch

        blank = torch.empty(*shape, device=generator.device)
    else:
        blank = np.empty(tuple(shape))
    noise = _normal(blank, generator)
    return denoise(
        denoiser,
        noise,
        0.0,
        generator=generator,
        path=path,
        steps=steps,
        sampler=sampler,
    )


def _ask(denoiser: Denoiser, x: Any, t: float) -> Any:
    out = denoiser(x, t)
    if tuple(getattr(out, "shape", ())) != tuple(x.shape):
        raise ShapeError(
            f"The denoiser must return the shape of its input, {tuple(x.shape)}, but "
            f"returned {tuple(getattr(out, 'shape', ()))} at t = {t:g}. It is called "
            "with a batch and one float."
        )
    if not math.isfinite(float(out.sum())):
        bad = (~np.isfinite(_rows(out))).any(axis=1)
        if bad.any():
            raise ModelError(
                f"The denoiser must return finite numbers, but gave NaN or infinity at "
                f"t = {t:g} for {bad.sum()} of {len(bad)} samples. Look for a division "
                "by alpha or beta, or a network that diverged."
            )
    return out


def _rows(x: Any) -> np.ndarray:
    array = np.asarray(x.detach().cpu() if is_torch(x) else x)
    return array.reshape(len(array), -1)


def _normal(x: Any, generator: Any) -> Any:
    if is_torch(x) != is_torch(generator) or generator is None:
        raise ModelError(
            "`generator` must be of the kind of the data: torch.Generator for tensors, "
            "numpy.random.Generator for arrays, but the data are "
            f"{type(x).__name__} and it is {type(generator).__name__}."
        )
    if is_torch(x):
        import torch

        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return generator.standard_normal(x.shape).astype(x.dtype, copy=False)


def _no_grad(x: Any) -> contextlib.AbstractContextManager[Any]:
    if not is_torch(x):
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


# ------------------------------------------------------------------ curves


@dataclass(frozen=True, eq=False)
class Curve:
    """How often a feature changed on a U-turn.

    Attributes
    ----------
    t : ndarray, shape (times,)
        Turning times, increasing; 1 is data.
    flips : ndarray of bool, shape (times, samples)
        Whether the sample's feature came back different.
    labels : ndarray, shape (samples,)
        The feature of each sample before the U-turn.
    """

    t: np.ndarray
    flips: np.ndarray
    labels: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """Share of the samples whose feature changed, at each time."""
        return self.flips.mean(axis=1)

    @property
    def stderr(self) -> np.ndarray:
        """Binomial standard error of `changed`."""
        return _binomial_error(self.flips)

    @property
    def classes(self) -> list[Any]:
        """The features that occur among the starting samples."""
        return np.unique(self.labels).tolist()

    def of(self, label: Any) -> Curve:
        """The curve of the samples that started with this feature.

        Raises `ModelError` when there is none.
        """
        mask = self.labels == label
        if not mask.any():
            raise ModelError(
                f"Class {label!r} has no sample; the starting samples have "
                f"{', '.join(map(repr, self.classes))}. Add samples of it."
            )
        return Curve(self.t, self.flips[:, mask], self.labels[mask])

    def to_dict(self) -> dict[str, Any]:
        """The curve as JSON, over all samples and by starting class."""
        whole = _numbers(self)
        whole["classes"] = {
            str(label): _numbers(self.of(label))
            | {"n": int((self.labels == label).sum())}
            for label in self.classes
        }
        return {"t": self.t.tolist()} | whole


def _numbers(curve: Curve) -> dict[str, Any]:
    return {"changed": curve.changed.tolist(), "stderr": curve.stderr.tolist()}


def _binomial_error(flips: np.ndarray) -> np.ndarray:
    """Never 0: with half a success and half a failure added (Jeffreys)."""
    n = flips.shape[1]
    share = (flips.sum(axis=1) + 0.5) / (n + 1)
    return np.sqrt(share * (1 - share) / n)


def uturn(
    denoiser: Denoiser,
    data: Any,
    feature: Callable[[Any], Any],
    times: Times | None = None,
    *,
    generator: Any,
    path: Path = LINEAR_PATH,
    steps: int = 32,
    sampler: Sampler = "sde",
    threshold: float | Sequence[float] | None = None,
    classes: Sequence[Any] | None = None,
    progress: bool = False,
) -> Curve:
    r"""Measure at which noise a feature is still decided by the sample.

    For each time: $x_t = \alpha(t) x_0 + \beta(t) x_1$ with fresh noise $x_0$, then
    `denoise` back to time 1, then ``feature`` of the result against ``feature`` of the
    sample. With an exact denoiser and the SDE, the result is a draw of the posterior
    $p(x_1|x_t)$.

    Parameters
    ----------
    denoiser : callable
        ``(x, t) -> E[x1|x_t]``; see the ``from_...`` functions for other models.
    data : Tensor or ndarray, shape (n, ...)
        Clean samples.
    feature : callable
        Samples to `n` labels (integers, booleans, strings), or to `n` scores when
        `threshold` cuts them into classes.
    times
        Increasing, in [0, 1]; `default_times` when not given.
    generator : torch.Generator or numpy.random.Generator
        Source of the noise, of the kind of `data`.
    path, steps, sampler
        The interpolant, the denoising steps a U-turn, "sde" or "ode".
    threshold
        One or several increasing cuts for scores.
    classes
        Features that must occur among the starting samples.

    Returns
    -------
    Curve
        Of the features changed, over all samples and by starting class.

    Raises
    ------
    ModelError, ShapeError
        Times outside [0, 1]; a feature or denoiser of the wrong shape or not finite;
        an empty class.
    """
    data = _check_data(data)
    if sampler not in ("sde", "ode"):
        raise ModelError(f"`sampler` must be sde or ode, but is {sampler!r}.")
    d = math.prod(data.shape[1:])
    t = check_times(default_times(d, path) if times is None else times)
    labels = _features(feature, data, threshold)
    curve = Curve(t, np.zeros((len(t), len(labels)), dtype=bool), labels)
    for label in classes if classes is not None else ():
        curve.of(label)
    for i, x in _turning_points(data, t, path, generator, progress):
        back = denoise(
            denoiser,
            x,
            float(t[i]),
            generator=generator,
            path=path,
            steps=steps,
            sampler=sampler,
        )
        curve.flips[i] = _features(feature, back, threshold) != labels
    return curve


def _turning_points(
    data: Any, t: np.ndarray, path: Path, generator: Any, progress: bool
) -> Iterator[tuple[int, Any]]:
    from tqdm import tqdm

    for i in tqdm(range(len(t)), desc="U-turns", unit="time", disable=not progress):
        alpha, beta = path.alpha(float(t[i])), path.beta(float(t[i]))
        yield i, beta * data + alpha * _normal(data, generator)


def _check_data(data: Any) -> Any:
    shape = tuple(getattr(data, "shape", ()))
    if len(shape) < 2 or 0 in shape:
        raise ShapeError(
            "`data` must be an array or tensor of at least one sample, with the "
            f"samples along its first axis, but has shape {shape}."
        )
    if not np.isfinite(_rows(data)).all():
        raise ModelError("`data` must be finite, but has NaN or infinity. Clean it.")
    return data


def _features(feature: Callable[[Any], Any], x: Any, threshold: Any) -> np.ndarray:
    out = feature(x)
    values = np.asarray(out.detach().cpu() if is_torch(out) else out)
    if values.shape != (len(x),):
        raise ShapeError(
            f"`feature` must return one label for each sample, shape ({len(x)},), but "
            f"returned shape {values.shape}. Take an argmax, or a column of scores."
        )
    if values.dtype.kind == "f":
        return _cut(values, threshold)
    if threshold is not None:
        raise ModelError(
            "`threshold` cuts scores, but `feature` returned labels of type "
            f"{values.dtype}. Leave it out, or return floating-point scores."
        )
    return values


def _cut(scores: np.ndarray, threshold: Any) -> np.ndarray:
    if not np.isfinite(scores).all():
        raise ModelError(
            "`feature` must return finite scores, but gave NaN or infinity for "
            f"{(~np.isfinite(scores)).sum()} of {len(scores)} samples."
        )
    if threshold is not None:
        return np.digitize(scores, np.sort(np.atleast_1d(threshold)))
    if (scores == np.round(scores)).all():
        return scores.astype(int)
    raise ModelError(
        "`feature` returned scores, but there is no `threshold` to cut them into "
        f"classes; the first score is {scores[0]:g}. Pass `threshold=`, for example "
        "the median over the data."
    )


@dataclass(frozen=True, eq=False)
class MseCurve:
    """Squared error per dimension of a denoiser, sample by sample.

    Attributes
    ----------
    t : ndarray, shape (times,)
    errors : ndarray, shape (times, samples)
        $|x_1 - E[x_1|x_t]|^2/d$, mean over one noise draw and its negative, which a
        sample keeps along the times.
    d : int
    """

    t: np.ndarray
    errors: np.ndarray
    d: int

    @property
    def mse(self) -> np.ndarray:
        """Mean over the samples, at each time."""
        return self.errors.mean(axis=1)

    @property
    def stderr(self) -> np.ndarray:
        """Standard error of `mse`."""
        return self.errors.std(axis=1, ddof=1) / math.sqrt(self.errors.shape[1])

    def to_dict(self) -> dict[str, Any]:
        return {
            "t": self.t.tolist(),
            "mse": self.mse.tolist(),
            "stderr": self.stderr.tolist(),
            "d": self.d,
        }


def mse_curve(
    denoiser: Denoiser,
    data: Any,
    times: Times | None = None,
    *,
    generator: Any,
    path: Path = LINEAR_PATH,
) -> MseCurve:
    """Measure the squared error per dimension of a denoiser; needs no feature.

    Arguments as in `uturn`. Every sample keeps one noise draw and its negative along
    all times, so that the slope of the curve is less noisy than its level.
    """
    data = _check_data(data)
    d = math.prod(data.shape[1:])
    t = check_times(default_times(d, path) if times is None else times)
    noise = _normal(data, generator)
    errors = np.zeros((len(t), len(data)))
    with _no_grad(data):
        for (i, now), sign in itertools.product(enumerate(map(float, t)), (1, -1)):
            x = sign * path.alpha(now) * noise + path.beta(now) * data
            gap = _rows(data - _ask(denoiser, x, now))
            errors[i] += np.square(gap, dtype=float).mean(axis=1) / 2
    return MseCurve(t, errors, d)


__all__ = [
    "LINEAR_PATH",
    "VARIANCE_PRESERVING_PATH",
    "Curve",
    "MseCurve",
    "Path",
    "default_times",
    "denoise",
    "from_ddpm",
    "from_noise",
    "from_score",
    "from_velocity",
    "generate",
    "mse_curve",
    "uturn",
]
