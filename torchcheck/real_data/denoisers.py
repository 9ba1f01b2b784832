r"""Denoisers made of any model, and what they do: take noise to data.

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
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ...errors import ModelError, ShapeError
from .times import LINEAR_PATH, Path, as_array, is_torch

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
    bars = as_array(alphas_cumprod)
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
    with no_grad(x):
        for now, then in itertools.pairwise(grid):
            x = _step(denoiser, x, now, then, path, sampler, generator)
        return ask(denoiser, x, min(grid[-1], 1.0))


def _step(
    denoiser: Denoiser,
    x: Any,
    now: float,
    then: float,
    path: Path,
    sampler: Sampler,
    generator: Any,
) -> Any:
    x1 = ask(denoiser, x, now)
    noise = (path.alpha(then) / path.alpha(now)) * (x - path.beta(now) * x1)
    if sampler == "sde":
        keep = path.ratio(now) / path.ratio(then)
        fresh = path.alpha(then) * math.sqrt(1 - keep**2)
        noise = keep * noise + fresh * normal_like(x, generator)
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
    noise = normal_like(blank, generator)
    return denoise(
        denoiser,
        noise,
        0.0,
        generator=generator,
        path=path,
        steps=steps,
        sampler=sampler,
    )


def ask(denoiser: Denoiser, x: Any, t: float) -> Any:
    """Call a denoiser and check what it returns."""
    out = denoiser(x, t)
    if tuple(getattr(out, "shape", ())) != tuple(x.shape):
        raise ShapeError(
            f"The denoiser must return the shape of its input, {tuple(x.shape)}, but "
            f"returned {tuple(getattr(out, 'shape', ()))} at t = {t:g}. It is called "
            "with a batch and one float."
        )
    if not math.isfinite(float(out.sum())):
        bad = (~np.isfinite(rows_of(out))).any(axis=1)
        if bad.any():
            raise ModelError(
                f"The denoiser must return finite numbers, but gave NaN or infinity at "
                f"t = {t:g} for {bad.sum()} of {len(bad)} samples. Look for a division "
                "by alpha or beta, or a network that diverged."
            )
    return out


def rows_of(x: Any) -> np.ndarray:
    """The samples as rows of a NumPy array, from any device."""
    array = np.asarray(x.detach().cpu() if is_torch(x) else x)
    return array.reshape(len(array), -1)


def normal_like(x: Any, generator: Any) -> Any:
    """Standard normal numbers of the shape and kind of `x`."""
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


def no_grad(x: Any) -> contextlib.AbstractContextManager[Any]:
    """Torch without gradients, for tensors."""
    if not is_torch(x):
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()
