"""U-turns: noise a sample up to time t (1 is data), denoise it back, did it change?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import ModelError, ShapeError, shown
from ...numerics.codegen.parameters import whole_number
from .adapters import Denoiser
from .arrays import copy_of, floats, no_grad, normal_like, on_cpu, rows_of, speaking
from .denoisers import Sampler, ask, check_denoiser, check_mode, default_times, denoise
from .interpolants import LINEAR_PATH, NumericInterpolant, check_times, interpolant_of
from .training_times import Times

BATCH = 1024
"""Samples that are denoised together."""
CHANCE = 0.01
"""Share of the labels that may differ when a feature is asked again (ties)."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The share of U-turns on which a feature changed, at each time.

    `t` are turning times of the interpolant `path`, increasing, 1 is data; `flips` says
    of each sample whether it came back different, or with which probability, (times,
    samples); `labels` are the features before the U-turn, (samples,).
    """

    t: np.ndarray
    flips: np.ndarray
    labels: np.ndarray
    path: NumericInterpolant = LINEAR_PATH

    @property
    def changed(self) -> np.ndarray:
        """Share of the samples whose feature changed, at each time."""
        return self.flips.mean(axis=1)

    @property
    def stderr(self) -> np.ndarray:
        """Binomial standard error of `changed`, never 0.

        Half a success and half a failure are added (Jeffreys).
        """
        n = self.flips.shape[1]
        share = (self.flips.sum(axis=1) + 0.5) / (n + 1)
        return np.sqrt(share * (1 - share) / n)

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
        return replace(self, flips=self.flips[:, mask], labels=self.labels[mask])

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


def uturn(
    denoiser: Denoiser,
    data: Any,
    feature: Callable[[Any], Any],
    times: Times | None = None,
    *,
    generator: Any,
    path: NumericInterpolant | None = None,
    steps: int | Times = 32,
    sampler: Sampler = "sde",
    threshold: float | Sequence[float] | None = None,
    classes: Sequence[Any] | None = None,
    progress: bool = False,
    batch: int = BATCH,
    look: bool = True,
) -> Curve:
    r"""Measure at which noise a feature is still decided by the sample.

    For each time: $x_t = \alpha(t) x_0 + \beta(t) x_1$ with fresh noise $x_0$, then
    `denoise` back to time 1, then ``feature`` of the result against ``feature`` of the
    sample. With an exact denoiser and the SDE, the result is a draw of the posterior
    $p(x_1|x_t)$. The curve is over all samples and by starting class.

    ``denoiser(x, t)`` returns $E[x_1|x_t]$; see the ``from_...`` functions for other
    models. It is first looked at (`check_denoiser`) unless `look` is False. `data`, a
    tensor or an array, (n, ...), holds clean samples; integers and half precision are
    computed with in floats. `feature` takes samples to `n` labels (integers, booleans,
    strings), or to `n` scores that one `threshold` or several increasing ones cut into
    classes; `classes` are those that must occur among the starting samples.

    The `times` increase in [0, 1]; they are `default_times` when not given. The noise
    is that of `generator`, of torch or NumPy as the data are, and of the interpolant
    `path`, which an adapted denoiser carries. A U-turn takes as many denoising `steps`,
    or those from time to time of a grid, by the `sampler` "sde" or "ode", for `batch`
    samples together.

    Raises `ModelError` or `ShapeError` for times outside [0, 1], a feature or a
    denoiser of the wrong shape or not finite, and an empty class.
    """
    if sampler not in ("sde", "ode"):
        raise ModelError(f"`sampler` must be sde or ode, but is {sampler!r}.")
    whole_number("batch", batch)
    threshold = _check_cuts(threshold)
    denoiser, feature, data, path = _prepared(denoiser, feature, data, path, look)
    level = _level(data)
    t = times_for(times, data, path, level)
    labels = _features(feature, data, threshold)
    _check_feature(feature, data, threshold, labels)
    curve = Curve(t, np.zeros((len(t), len(labels)), dtype=bool), labels, path)
    for label in classes if classes is not None else ():
        curve.of(label)
    how = {"generator": generator, "steps": steps, "sampler": sampler, "level": level}
    for i, part, x in turning_points(data, t, path, generator, batch, progress):
        back = denoise(denoiser, x, float(t[i]), path=path, **how)
        curve.flips[i, part] = _features(feature, back, threshold) != labels[part]
    return curve


def _prepared(
    denoiser: Denoiser, feature: Any, data: Any, path: Any, look: bool
) -> tuple[Denoiser, Any, Any, NumericInterpolant]:
    """Both callables and the data in floats, and the interpolant; all looked at."""
    own = interpolant_of(denoiser, path)
    samples = _check_data(data)
    if look:
        check_denoiser(speaking(denoiser, data), samples, own)
    return speaking(denoiser, data), speaking(feature, data), samples, own


def turning_points(
    data: Any,
    t: np.ndarray,
    path: NumericInterpolant,
    generator: Any,
    batch: int,
    progress: bool = False,
) -> Iterator[tuple[int, slice, Any]]:
    """Noised samples, batch by batch at each time: (time, samples, batch)."""
    from tqdm import tqdm

    parts = [slice(k, k + batch) for k in range(0, len(data), batch)]
    jobs = list(itertools.product(range(len(t)), parts))
    for i, part in tqdm(jobs, desc="U-turns", unit="batch", disable=not progress):
        now, some = float(t[i]), data[part]
        noise = normal_like(some, generator)
        yield i, part, path.beta(now) * some + path.alpha(now) * noise


def _level(data: Any) -> float:
    """Mean square of a coordinate of the data."""
    return float(np.square(rows_of(data), dtype=float).mean())


def times_for(
    times: Times | None, data: Any, path: NumericInterpolant, level: float
) -> np.ndarray:
    """The times that were asked for, or the default ones for these data."""
    if times is None:
        times = default_times(math.prod(data.shape[1:]), path, level=level)
    return check_times(times)


def _check_data(data: Any) -> Any:
    shape = tuple(getattr(data, "shape", ()))
    if len(shape) < 2 or 0 in shape:
        raise ShapeError(
            "`data` must be an array or tensor of at least one sample, with the "
            f"samples along its first axis, but has shape {shape}."
        )
    if not np.isfinite(rows_of(data)).all():
        raise ModelError("`data` must be finite, but has NaN or infinity. Clean it.")
    whole = floats(data)
    if len(whole) > 1 and not (np.ptp(rows_of(whole), axis=0) > 0).any():
        raise ModelError(
            f"`data` must hold samples that differ, but all {len(whole)} are the same. "
            "Look at how they were loaded."
        )
    return whole


def _check_cuts(threshold: Any) -> Any:
    """The cuts of scores, in increasing order."""
    if threshold is None:
        return None
    cuts = np.sort(np.atleast_1d(on_cpu(threshold)).astype(float))
    if not np.isfinite(cuts).all():
        raise ModelError(
            f"`threshold` must be finite, but is {shown(threshold)}. Pass, for "
            "example, the median of the scores over the data."
        )
    return cuts


def _check_feature(feature: Any, data: Any, cuts: Any, labels: np.ndarray) -> None:
    """Refuse a feature that depends on chance or on what else is in the batch."""
    check_mode(feature, "feature")
    half = len(data) // 2
    again = _features(feature, data[half:], cuts)
    moved = float(np.mean(again != labels[half:]))
    if moved > CHANCE:
        raise ModelError(
            "`feature` must label each sample alike, whenever it is asked and whatever "
            f"else is in the batch, but {moved:.0%} of the labels changed when half of "
            "the data were asked again. Fix its cuts, and call `eval()` on its network."
        )


def _features(feature: Callable[[Any], Any], x: Any, threshold: Any) -> np.ndarray:
    if not callable(feature):
        raise ModelError(
            "`feature` must be a function of samples, since it is asked of denoised "
            f"ones too, but is {shown(feature)}. Pass a classifier; for the labels of "
            "the data alone there is `EmpiricalLaw.class_curve`."
        )
    with no_grad(x):
        out = feature(copy_of(x))
    values = on_cpu(out)
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
        return np.digitize(scores, threshold)
    if (scores == np.round(scores)).all():
        return scores.astype(int)
    raise ModelError(
        "`feature` returned scores, but there is no `threshold` to cut them into "
        f"classes; the first score is {scores[0]:g}. Pass `threshold=`, for example "
        "the median over the data."
    )


@dataclass(frozen=True, eq=False)
class MseCurve:
    """The squared error per dimension of a denoiser, sample by sample.

    `errors` holds $|x_1 - E[x_1|x_t]|^2/d$ at the times `t` of the interpolant `path`,
    (times, samples): the mean over one noise draw and its negative, which a sample
    keeps along the times. `level` is the mean square of a coordinate of the data, which
    no useful error exceeds.
    """

    t: np.ndarray
    errors: np.ndarray
    d: int
    path: NumericInterpolant = LINEAR_PATH
    level: float = math.inf

    @cached_property
    def ratios(self) -> np.ndarray:
        r"""$\beta/\alpha$ at the times."""
        return np.array([self.path.ratio(float(t)) for t in self.t])

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
    path: NumericInterpolant | None = None,
    batch: int = BATCH,
    look: bool = True,
) -> MseCurve:
    """Measure the squared error per dimension of a denoiser; needs no feature.

    Arguments as in `uturn`. Every sample keeps one noise draw and its negative along
    all times, so that the slope of the curve is less noisy than its level.
    """
    whole_number("batch", batch)
    denoiser, _, data, path = _prepared(denoiser, None, data, path, look)
    if len(data) < 2:
        raise ShapeError(
            "A squared error with its standard error needs at least two samples, but "
            f"`data` has shape {tuple(data.shape)}. Give more."
        )
    level, d = _level(data), math.prod(data.shape[1:])
    t = times_for(times, data, path, level)
    errors = np.zeros((len(t), len(data)))
    for k in range(0, len(data), batch):
        part = slice(k, k + batch)
        errors[:, part] = _errors(denoiser, data[part], t, path, generator)
    return MseCurve(t, errors, d, path, level)


def _errors(
    denoiser: Denoiser, x1: Any, t: np.ndarray, path: NumericInterpolant, generator: Any
) -> np.ndarray:
    """Squared errors a coordinate at each time, over a noise and its negative."""
    noise, out = normal_like(x1, generator), np.zeros((len(t), len(x1)))
    with no_grad(x1):
        for (i, now), sign in itertools.product(enumerate(map(float, t)), (1, -1)):
            x = sign * path.alpha(now) * noise + path.beta(now) * x1
            gap = rows_of(x1 - ask(denoiser, x, now))
            out[i] += np.square(gap, dtype=float).mean(axis=1) / 2
    return out
