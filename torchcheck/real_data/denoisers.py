r"""Denoisers: their checks before use, and the generation of data from noise.

Time 0 is noise and **time 1 is data**; see `adapters` for the convention.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ...errors import ModelError, ShapeError
from ...numerics.codegen.parameters import whole_number
from .adapters import Denoiser
from .arrays import (
    is_torch,
    no_grad,
    normal_like,
    rows_of,
)
from .interpolants import (
    LINEAR_PATH,
    NumericInterpolant,
    check_times,
    interpolant_of,
)
from .training_times import Times

Sampler = Literal["sde", "ode"]


FIRST_SNR = 1e-3
"""d times the SNR below which a sample is taken for pure noise."""
LAST_RATIO = 30.0
"""beta/alpha from which one last denoising ends a path."""
LOOKS = (1.0, 10.0, 100.0)
"""Signal-to-noise ratios at which a denoiser is looked at before it is believed."""
LOOSE = 2.0
"""How much worse than the best multiple of its input a denoiser may be."""
FACTOR = 0.65
"""How far from 1 the best multiple of what a denoiser returns may be."""
LOOKED_AT = 64
"""Samples that are enough for a look."""


def snr_times(path: NumericInterpolant, lo: float, hi: float, count: int) -> np.ndarray:
    r"""Return `count` times with $\log(\beta/\alpha)$ even between two ratios."""
    return path.time_of_ratio(np.geomspace(lo, hi, count))


def default_times(
    d: int, path: NumericInterpolant = LINEAR_PATH, count: int = 33
) -> np.ndarray:
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
    path: NumericInterpolant | None = None,
    steps: int | Times = 32,
    sampler: Sampler = "sde",
    last_ratio: float = LAST_RATIO,
) -> Any:
    r"""Take samples `x` at time `t` to time 1 with a denoiser.

    The steps are even in log SNR, or lead from time to time of a grid. With the
    denoiser frozen over a step, the ODE step is exact, and the SDE step is the
    posterior $p(x_{t'}|x_t, x_1)$ at $x_1 = E[x_1|x_t]$; neither needs a velocity, so
    nothing diverges at time 1.

    Parameters
    ----------
    denoiser : callable
        ``(x, t) -> E[x1|x_t]``, of the shape of `x`.
    x : Tensor or ndarray, shape (batch, ...)
        Noised samples; pure noise at ``t=0`` (see `generate`).
    generator : torch.Generator or numpy.random.Generator
        Of the same kind as `x`; used by the SDE only.
    path
        The interpolant; an adapted denoiser carries its own.
    steps
        How many steps; or the times of a grid (``TimeGrid.numpy(count)``), of which
        those after `t` are taken.
    sampler, last_ratio
        The SDE or the ODE, up to which $\beta/\alpha$ where steps are counted.

    Raises
    ------
    ShapeError, ModelError
        When the denoiser returns another shape, or numbers that are not finite.
    """
    path = interpolant_of(denoiser, path)
    grid = _times_from(float(t), steps, path, math.prod(x.shape[1:]), last_ratio)
    with no_grad(x):
        for now, then in itertools.pairwise(grid):
            x = _step(denoiser, x, now, then, path, sampler, generator)
        return ask(denoiser, x, min(grid[-1], 1.0))


def _times_from(
    t: float, steps: int | Times, path: NumericInterpolant, d: int, last_ratio: float
) -> list[float]:
    """The times at which a denoiser is asked on the way from `t` to 1."""
    if isinstance(steps, np.ndarray | list | tuple):
        given = check_times(steps, "steps")
        return [t, *(float(s) for s in given if t < s < 1)]
    steps = whole_number("steps", steps)
    first = max(path.ratio(t), math.sqrt(FIRST_SNR / d))
    ratios = [path.ratio(t)]
    if first < last_ratio:
        ratios = list(np.geomspace(first, last_ratio, steps))
    return [float(s) for s in path.time_of_ratio(ratios)]


def _step(
    denoiser: Denoiser,
    x: Any,
    now: float,
    then: float,
    path: NumericInterpolant,
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
    path: NumericInterpolant | None = None,
    steps: int | Times = 32,
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


def check_denoiser(denoiser: Denoiser, data: Any, path: NumericInterpolant) -> None:
    r"""Refuse what cannot be a denoiser of these data, by one look at it.

    $E[x_1|x_t]$ has a squared error of at most that of the best multiple of $x_t$,
    $v\alpha^2/(\alpha^2+v\beta^2)$ for data of mean square $v$, and the best multiple
    of it is itself. A velocity, a noise, or a model with its time turned around is far
    from both. Raises `ModelError` naming what was found, and for a network whose
    dropout is still on.
    """
    _check_mode(denoiser)
    some = data[:LOOKED_AT]
    clean = rows_of(some).astype(float)
    level = float(np.square(clean).mean())
    if level == 0:
        return
    noise = normal_like(some, _own_generator(some))
    for snr in LOOKS:
        t = float(path.time_of_ratio(math.sqrt(snr / level)))
        alpha, beta = path.alpha(t), path.beta(t)
        with no_grad(some):
            out = rows_of(ask(denoiser, alpha * noise + beta * some, t)).astype(float)
        error = float(np.square(clean - out).mean())
        bound = level * alpha**2 / (alpha**2 + level * beta**2)
        power = float(np.square(out).mean())
        factor = float((clean * out).mean()) / power if power else math.inf
        if error > LOOSE * bound or not abs(factor - 1) < FACTOR:
            raise ModelError(
                "The denoiser must return E[x1|x_t = x], so that its squared error is "
                f"at most {bound:.2g} at t = {t:.3g} for these data, but it is "
                f"{error:.2g} (the best multiple of what it returns is {factor:.2g} "
                "times it, where 1 is right). If the model predicts noise, a velocity "
                "or a score, wrap it: `from_noise`, `from_velocity` (`data_at=0` if "
                "its time 0 is the data), `from_score`, `from_ddpm`; if it is a "
                "denoiser, train it longer, or pass `look=False`."
            )


def _own_generator(x: Any) -> Any:
    """A generator of a look's own, so that the user's stream is left alone."""
    if not is_torch(x):
        return np.random.default_rng(0)
    import torch

    return torch.Generator(x.device).manual_seed(0)


def _check_mode(denoiser: Any) -> None:
    """Raise `ModelError` for a network with dropout or batch norm in train mode."""
    for module in _modules_behind(denoiser):
        for part in module.modules():
            kind = type(part).__name__
            if part.training and ("Dropout" in kind or "BatchNorm" in kind):
                raise ModelError(
                    "The model must answer alike whenever it is asked, but its "
                    f"`{kind}` is in train mode. Call `model.eval()` first."
                )


def _modules_behind(call: Any, depth: int = 3) -> list[Any]:
    """The torch modules that a callable is, is bound to, closes over or names."""
    if hasattr(call, "modules") and hasattr(call, "training"):
        return [call]
    if depth == 0:
        return []
    code = getattr(call, "__code__", None)
    cells = getattr(call, "__closure__", None) or ()
    held = [getattr(call, "__self__", None), getattr(call, "model", None)]
    held += [cell.cell_contents for cell in cells]
    names = code.co_names if code else ()
    held += [call.__globals__.get(name) for name in names]
    near = [x for x in held if callable(x) and not isinstance(x, type)]
    return [module for x in near for module in _modules_behind(x, depth - 1)]
