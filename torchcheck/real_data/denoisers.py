"""Denoisers: checks before use, and data from noise; `adapters` has the convention."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ...errors import ModelError, ShapeError, shown
from ...numerics.codegen.parameters import whole_number
from .adapters import Denoiser, answer
from .arrays import is_torch, no_grad, normal_like, rows_of
from .interpolants import LINEAR_PATH, NumericInterpolant, check_times, interpolant_of
from .training_times import Times

Sampler = Literal["sde", "ode"]

FIRST_SNR = 1e-3
"""d times the SNR below which a sample is taken for pure noise."""
LAST_RATIO = 30.0
"""beta/alpha from which one last denoising ends a path."""
LOOKS = (0.1, 1.0, 10.0, 100.0)
"""Signal-to-noise ratios at which a denoiser is looked at before it is believed."""
LOOSE = 2.0
"""How much worse than the best multiple of its input a denoiser may be."""
FACTOR = 0.65
"""How far from 1 the best multiple of what a denoiser returns may be."""
LOOKED_AT = 256
"""Samples that are enough for a look."""
LOOK_SEED = 2718281828
"""Seed of the noise of a look: one that data are hardly made with."""
MIXED = 1.5
"""How much worse than the best mixture with its input a denoiser may be, at SNR 1."""
FEW = 8.0
"""Growth of that factor, over the number of samples: few are fitted by chance."""
TINY = 1e-3
"""Share of the error of the best multiple below which no mixture is compared."""
ALIKE = 0.02
"""Relative difference up to which two answers are alike (half precision has 0.4 %)."""


def snr_times(path: NumericInterpolant, lo: float, hi: float, count: int) -> np.ndarray:
    r"""Return `count` times with $\log(\beta/\alpha)$ even between two ratios."""
    return path.time_of_ratio(np.geomspace(lo, hi, count))


def default_times(
    d: int, path: NumericInterpolant = LINEAR_PATH, count: int = 33, level: float = 1.0
) -> np.ndarray:
    r"""Times even in log SNR, from $d \cdot$ SNR $= 0.01$ to SNR $= 100$.

    Below, no feature of a sample of `d` coordinates can be told; above, every one can:
    whatever window there is lies between. `level` is the mean square of a coordinate
    of the data, with which the SNR is $\beta^2/\alpha^2$ times it.
    """
    scale = math.sqrt(level) if level > 0 else 1.0
    return snr_times(path, 0.1 / math.sqrt(d) / scale, 10.0 / scale, count)


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
    level: float = 1.0,
) -> Any:
    r"""Take samples `x` at time `t` to time 1 with a denoiser.

    The steps are even in log SNR, or lead from time to time of a grid. With the
    denoiser frozen over a step, the ODE step is exact, and the SDE step is the
    posterior $p(x_{t'}|x_t, x_1)$ at $x_1 = E[x_1|x_t]$; neither needs a velocity, so
    nothing diverges at time 1.

    ``denoiser(x, t)`` returns $E[x_1|x_t]$, of the shape of `x`, (batch, ...): a tensor
    or an array of noised samples, or of pure noise at ``t=0`` (see `generate`). The SDE
    draws from `generator`, of torch or NumPy as `x` is. An adapted denoiser carries its
    own interpolant `path`. `steps` says how many, up to a $\beta/\alpha$ of
    `last_ratio`, with ratios divided by the root of `level`, the mean square of a
    coordinate of the data; or it holds the times of a grid (``TimeGrid.numpy(count)``),
    of which those after `t` are taken.

    Raises `ShapeError` or `ModelError` when the denoiser returns another shape, or
    numbers that are not finite.
    """
    path = interpolant_of(denoiser, path)
    (t,) = check_times([t], "t")
    scale = math.sqrt(level) if level > 0 else 1.0
    first = math.sqrt(FIRST_SNR / math.prod(x.shape[1:])) / scale
    grid = _times_from(float(t), steps, path, first, last_ratio / scale)
    with no_grad(x):
        for now, then in itertools.pairwise(grid):
            x1 = ask(denoiser, x, now)
            noise = (path.alpha(then) / path.alpha(now)) * (x - path.beta(now) * x1)
            if sampler == "sde":
                keep = path.ratio(now) / path.ratio(then)
                fresh = path.alpha(then) * math.sqrt(1 - keep**2)
                noise = keep * noise + fresh * normal_like(x, generator)
            x = path.beta(then) * x1 + noise
        return ask(denoiser, x, min(grid[-1], 1.0))


def _times_from(
    t: float, steps: int | Times, path: NumericInterpolant, first: float, last: float
) -> list[float]:
    """The times at which a denoiser is asked on the way from `t` to 1."""
    if isinstance(steps, np.ndarray | list | tuple):
        given = check_times(steps, "steps")
        return [t, *(float(s) for s in given if t < s < 1)]
    steps = whole_number("steps", steps)
    first = max(path.ratio(t), first)
    ratios = [path.ratio(t)]
    if first < last:
        ratios = list(np.geomspace(first, last, steps))
    return [float(s) for s in path.time_of_ratio(ratios)]


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
    if not isinstance(shape, Sequence) or len(shape) < 2:
        raise ShapeError(
            "`shape` must hold the number of samples and then the shape of one, but is "
            f"{shown(shape)}. Write, for example, (64, 3, 32, 32)."
        )
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
    """Call a denoiser with a copy of `x`, and check what it returns."""
    out = answer(denoiser, x, t, "denoiser")
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
    $v\alpha^2/(\alpha^2+v\beta^2)$ for data of mean square $v$; the best multiple of it
    is itself; and where signal and noise are alike, so is the best mixture of it and
    $x_t$. A velocity, a noise, a wrong list of steps, or a model with its time turned
    around is far from them. Raises `ModelError` naming what was found, and for a
    network that does not answer each sample alike (dropout or batch norm still on).
    """
    check_mode(denoiser)
    some = data[:: -(-len(data) // LOOKED_AT)]
    clean = rows_of(some).astype(float)
    level = float(np.square(clean).mean())
    if level == 0:
        return
    noise = normal_like(some, _own_generator(some))
    for snr in LOOKS:
        t = float(path.time_of_ratio(math.sqrt(snr / level)))
        alpha, beta = path.alpha(t), path.beta(t)
        with no_grad(some):
            x = alpha * noise + beta * some
            out = rows_of(ask(denoiser, x, t)).astype(float)
            if snr == 1:
                _check_alike(out, rows_of(ask(denoiser, x[len(x) // 2 :], t)))
        bound = level * alpha**2 / (alpha**2 + level * beta**2)
        _check_error(clean, out, rows_of(x).astype(float), bound, t, snr)


def _check_alike(whole: np.ndarray, half: np.ndarray) -> None:
    """Refuse answers that depend on the batch or on chance."""
    same = whole[len(whole) - len(half) :]
    gap = math.sqrt(float(np.square(same - half, dtype=float).mean()))
    size = math.sqrt(float(np.square(whole).mean()))
    if gap > ALIKE * size:
        raise ModelError(
            "The denoiser must answer each sample alike, whenever it is asked and "
            "whatever else is in the batch, but two answers to the same samples differ "
            f"by {gap / size:.0%} of their size. Call `model.eval()` if dropout or "
            "batch norm is on."
        )


def _check_error(
    clean: np.ndarray,
    out: np.ndarray,
    x: np.ndarray,
    bound: float,
    t: float,
    snr: float,
) -> None:
    """Refuse an error far above that of the best multiple, or mixture at SNR 1.

    Below, where a noise prediction may explode, only an answer that is too small is.
    """
    power = float(np.square(out).mean())
    factor = float((clean * out).mean()) / power if power else math.inf
    if snr < 1:
        if factor - 1 > FACTOR + 3 / math.sqrt(snr * clean.size):
            raise _not_a_denoiser(clean, t, factor, "is its own best multiple", "")
        return
    error = float(np.square(clean - out).mean())
    allowed = LOOSE * bound
    if snr == 1:
        both = np.stack([out.ravel(), x.ravel()], 1)
        (a, b), *_ = np.linalg.lstsq(both, clean.ravel(), rcond=None)
        best = float(np.square(clean - a * out - b * x).mean())
        allowed = min(allowed, max((MIXED + FEW / len(out)) * best, TINY * bound))
    if error > allowed or not abs(factor - 1) < FACTOR:
        rule = f"has a squared error of at most {allowed:.2g}"
        raise _not_a_denoiser(clean, t, factor, rule, f"its error is {error:.2g} and ")


def _not_a_denoiser(
    clean: np.ndarray, t: float, factor: float, rule: str, fact: str
) -> ModelError:
    return ModelError(
        f"The denoiser must return E[x1|x_t = x], which {rule} at t = {t:.3g} for "
        f"these data, which run from {clean.min():.3g} to {clean.max():.3g}, but {fact}"
        f"the best multiple of what it returns is {factor:.2g} times it. If the model "
        "predicts noise, a velocity or a score, wrap it: `from_noise`, `from_velocity` "
        "(`data_at=0` if its time 0 is the data), `from_score`, `from_ddpm`; give it "
        "the times or steps, and the scale of the data, that it was trained with; if "
        "it is a denoiser, train it longer, or pass `look=False`."
    )


def _own_generator(x: Any) -> Any:
    """A generator of a look's own: the user's is left alone, and not repeated."""
    if not is_torch(x):
        return np.random.default_rng(LOOK_SEED)
    import torch

    return torch.Generator(x.device).manual_seed(LOOK_SEED)


def check_mode(call: Any, name: str = "model") -> None:
    """Raise `ModelError` for a network with dropout or batch norm in train mode."""
    for module in _modules_behind(call):
        for part in module.modules():
            kind = type(part).__name__
            if part.training and ("Dropout" in kind or "BatchNorm" in kind):
                raise ModelError(
                    f"The {name} must answer alike whenever it is asked, but its "
                    f"`{kind}` is in train mode. Call `{name}.eval()` first."
                )


def _modules_behind(call: Any, depth: int = 3) -> list[Any]:
    """The torch modules that a callable is, holds, is bound to, or names."""
    if hasattr(call, "modules") and hasattr(call, "training"):
        return [call]
    if depth == 0:
        return []
    code = getattr(call, "__code__", None)
    cells = getattr(call, "__closure__", None) or ()
    held = [getattr(call, "__self__", None), getattr(call, "func", None)]
    held += [*getattr(call, "args", ()), *getattr(call, "__dict__", {}).values()]
    held += [cell.cell_contents for cell in cells]
    names = code.co_names if code else ()
    held += [call.__globals__.get(name) for name in names]
    near = [x for x in held if _may_hold(x)]
    return [module for x in near for module in _modules_behind(x, depth - 1)]


def _may_hold(x: Any) -> bool:
    """Whether a thing is asked for the modules behind it: callables, and wrappers."""
    if isinstance(x, type) or type(x).__module__ in ("builtins", "numpy", "sympy"):
        return type(x).__name__ in ("function", "method")
    return callable(x) or hasattr(x, "__dict__")
