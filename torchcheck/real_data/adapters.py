r"""Denoisers made of any model: noise, velocity, score, EDM's and DDPM's steps.

The convention everywhere is $x_t = \alpha(t) x_0 + \beta(t) x_1$ with noise $x_0$ and
data $x_1$: time 0 is noise, **time 1 is data**. A denoiser is any callable
``denoiser(x, t)`` that returns $E[x_1 | x_t = x]$ for a batch `x` (torch tensor or
NumPy array, as the data are) and one Python float `t`. What the functions here make
carries the interpolant that it was made for, as `path`, and the `model` it asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import DilatonError, ModelError, ShapeError, shown
from .arrays import as_array, copy_of, is_torch
from .interpolants import (
    LINEAR_PATH,
    VARIANCE_PRESERVING_PATH,
    NumericInterpolant,
    as_interpolant,
)

Denoiser = Callable[[Any, float], Any]
CLEAN, NOISY = 0.9, 0.1
"""A DDPM's first cumulative product is above the one, its last below the other."""
EVEN = 1e-3
"""Spread of log odds, against even steps, below which a list is one of sigmas."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """A denoiser made of a model: its `answer` to samples and a time is $E[x_1|x_t]$.

    `path` is the interpolant that it is for; `model` is what it asks, and is looked at
    for dropout that was left on.
    """

    answer: Denoiser
    path: NumericInterpolant
    model: Any

    def __call__(self, x: Any, t: float) -> Any:
        return self.answer(x, t)


def answer(model: Any, x: Any, time: Any, name: str = "model") -> Any:
    """Call `model` with a copy of `x`, and return what it says, of the shape of `x`.

    Raises `ShapeError` when it returns anything else, and `ModelError` when it cannot
    be called with a batch and one number.
    """
    try:
        out = model(copy_of(x), time)
    except DilatonError:
        raise
    except Exception as error:
        raise ModelError(
            f"The {name} is called with a batch and one number, but with {_kind(x)} "
            f"and {time:g} it raised {type(error).__name__} "
            f"({shown(str(error))}). Wrap it in a function of these two."
        ) from error
    shape, expected = tuple(getattr(out, "shape", ())), tuple(x.shape)
    if shape == expected and is_torch(out) == is_torch(x):
        return out
    raise ShapeError(
        f"The {name} must return the shape and kind of its input, {_kind(x)}, but "
        f"returned {_kind(out)} at {time:g}. {_unpacking(out, shape, expected)}"
    )


def _kind(x: Any) -> str:
    """A type with its shape and precision, in words."""
    shape = getattr(x, "shape", None)
    name = f"a {type(x).__name__}"
    return name if shape is None else f"{name} of shape {tuple(shape)} and {x.dtype}"


def _unpacking(out: Any, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """The remedy for an answer that is more or less than the prediction."""
    if isinstance(out, tuple | list):
        return "Return its first entry: `lambda x, t: model(x, t)[0]`."
    if hasattr(out, "sample"):
        return "Return its sample: `lambda x, t: model(x, t).sample`."
    if len(shape) > 1 and shape[1] == 2 * expected[1]:
        return "Leave out the half of the channels that is a variance."
    return "It is called with a batch and one number."


def from_noise(model: Denoiser, path: NumericInterpolant = LINEAR_PATH) -> Adapted:
    r"""Denoiser of a noise-predicting model: $x_1 = (x - \alpha\,\hat x_0)/\beta$.

    ``model(x, t)`` gets the time of `path`, 1 at the data. At the noise end
    ($\beta = 0$) a noise prediction says nothing about the data: `ModelError`.
    """
    return _inverted(model, path, "a noise prediction", lambda alpha: -alpha)


def from_score(model: Denoiser, path: NumericInterpolant = LINEAR_PATH) -> Adapted:
    r"""Denoiser of a score model, by Tweedie: $x_1 = (x + \alpha^2 s(x))/\beta$."""
    return _inverted(model, path, "a score", lambda alpha: alpha**2)


def _inverted(
    model: Denoiser, path: Any, what: str, factor: Callable[[float], float]
) -> Adapted:
    r"""Denoiser $(x + f(\alpha)\,y)/\beta$ of a model that returns $y$."""
    path = as_interpolant(path)

    def denoiser(x: Any, t: float) -> Any:
        beta = _beta(path, t, what)
        return (x + factor(path.alpha(t)) * answer(model, x, t)) / beta

    return Adapted(denoiser, path, model)


def from_velocity(
    model: Denoiser,
    path: NumericInterpolant = LINEAR_PATH,
    *,
    data_at: Literal[0, 1] = 1,
) -> Adapted:
    r"""Denoiser of a velocity (flow matching) model, $\dot\alpha x_0 + \dot\beta x_1$.

    With ``data_at=0`` the model's own time runs from data (0) to noise (1), as in
    rectified-flow libraries: it is called at $1 - t$ and its sign is turned. At the
    data end the sample is the data, and the model is not asked.
    """
    if data_at not in (0, 1):
        raise ModelError(f"`data_at` must be 0 or 1, but is {data_at!r}.")
    path = as_interpolant(path)

    def denoiser(x: Any, t: float) -> Any:
        alpha, beta = path.alpha(t), path.beta(t)
        if alpha <= 0:
            return x / beta
        v = answer(model, x, t) if data_at == 1 else -answer(model, x, 1 - t)
        half = path.alpha2_dot(t) / 2  # alpha * d(alpha)/dt
        return (alpha**2 * v - half * x) / (alpha**2 * path.beta_dot(t) - half * beta)

    return Adapted(denoiser, path, model)


def from_edm(
    model: Callable[[Any, float], Any], path: NumericInterpolant = LINEAR_PATH
) -> Adapted:
    r"""Denoiser of an EDM model, ``model(y, sigma)`` with $y = x_1 + \sigma x_0$.

    It is asked at $y = x_t/\beta$ and $\sigma = \alpha/\beta$.
    """
    path = as_interpolant(path)

    def denoiser(x: Any, t: float) -> Any:
        beta = _beta(path, t, "an EDM model")
        return answer(model, x / beta, path.alpha(t) / beta)

    return Adapted(denoiser, path, model)


def from_ddpm(
    model: Callable[[Any, int], Any],
    alphas_cumprod: Any,
    predicts: Literal["noise", "sample", "v"] = "noise",
) -> Adapted:
    r"""Denoiser of a discrete-time DDPM: ``model(x, k)`` with an integer step `k`.

    ``alphas_cumprod[k]`` is $\bar\alpha_k$, from nearly 1 (data) to nearly 0 (noise),
    one for each step that the model was trained with. It lives on the
    variance-preserving interpolant, where $t = \sqrt{\bar\alpha}$; the nearest step
    answers. "v" is $\sqrt{\bar\alpha}\,x_0 - \sqrt{1-\bar\alpha}\,x_1$.

    Raises `ModelError` for a list that is something else: `alphas`, `betas`, a
    reversed list, or the sigmas of a flow-matching scheduler. (A thinned list, or the
    roots, are found out by the look at the denoiser.)
    """
    if predicts not in ("noise", "sample", "v"):
        raise ModelError(f"`predicts` must be noise, sample or v, but is {predicts!r}.")
    bars = check_alphas_cumprod(alphas_cumprod)
    if predicts == "noise" and bars[-1] == 0:
        raise ModelError(
            "`alphas_cumprod` must stay above 0 for a model that predicts the noise, "
            "but ends at 0 (zero terminal SNR), where the noise says nothing about the "
            "data. Pass predicts='v' or 'sample' if that is what it predicts."
        )
    roots = np.sqrt(bars)

    def denoiser(x: Any, t: float) -> Any:
        k = int(np.argmin(np.abs(roots - t)))
        beta, alpha = float(roots[k]), math.sqrt(1 - float(bars[k]))
        out = answer(model, x, k)
        if predicts == "sample":
            return out
        return (
            (x - alpha * out) / beta if predicts == "noise" else beta * x - alpha * out
        )

    return Adapted(denoiser, VARIANCE_PRESERVING_PATH, model)


def check_alphas_cumprod(given: Any) -> np.ndarray:
    r"""Return the falling $\bar\alpha_k$, or say what the list is instead."""
    if hasattr(given, "alphas_cumprod"):
        raise ModelError(
            "`alphas_cumprod` must be a list of numbers, one for each step, but is a "
            f"{type(given).__name__}. Pass its `alphas_cumprod`, and its prediction "
            "type as `predicts`."
        )
    bars = as_array(given)
    if bars.ndim != 1 or bars.size < 2 or not ((bars >= 0) & (bars <= 1)).all():
        held = f" and values from {bars.min():g} to {bars.max():g}" if bars.size else ""
        raise ModelError(
            "`alphas_cumprod` must be a list of two or more numbers in [0, 1], one for "
            f"each step, but has shape {bars.shape}{held}. Pass "
            "`scheduler.alphas_cumprod`, whole."
        )
    fact = _not_cumulative(bars)
    if fact:
        raise ModelError(
            "`alphas_cumprod` must fall from nearly 1 (data, k = 0) to nearly 0 (noise)"
            f", one number for each training step, but {fact}"
        )
    return bars


def _not_cumulative(bars: np.ndarray) -> str:
    """Say what a list is that is no cumulative product, and the remedy."""
    ends = f"it runs from {bars[0]:.3g} to {bars[-1]:.3g}"
    if (np.diff(bars) >= 0).any():
        if bars.max() < CLEAN:
            return f"{ends}: the betas? Pass `(1 - betas).cumprod(0)`."
        return f"{ends}, not falling: reversed? Pass the list in the order of training."
    if bars[-1] > NOISY:
        return f"{ends}: the alphas, not their product? Pass `alphas.cumprod(0)`."
    if bars[0] < CLEAN:
        return f"{ends}: its start is missing. Pass the whole list."
    if _shifted_line(bars):
        return (
            f"{ends} as the sigmas of a flow-matching scheduler do. Such a model "
            "predicts a velocity: use `from_velocity(model, data_at=0)`."
        )
    return ""


def _shifted_line(values: np.ndarray) -> bool:
    """Whether odds fall as those of even steps do, up to one factor (a shift)."""
    inner = values[(values > 0) & (values < 1)]
    if len(inner) < 3:
        return False
    odds = np.log(inner / (1 - inner))
    first = 0 if values[0] < 1 else 1
    for steps in (len(values), len(values) - 1):
        even = 1 - (first + np.arange(len(inner))) / steps
        if (even > 0).all() and (even < 1).all():
            gap = odds - np.log(even / (1 - even))
            if np.ptp(gap) < EVEN:
                return True
    return False


def _beta(path: NumericInterpolant, t: float, what: str) -> float:
    beta = path.beta(t)
    if beta <= 0:
        raise ModelError(
            f"{what[0].upper() + what[1:]} gives no E[x1|x] at t = {t:g}, where the "
            "sample is pure noise. Start the times above 0."
        )
    return beta
