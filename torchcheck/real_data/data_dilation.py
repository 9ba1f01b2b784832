r"""A dilation from data: windows of features become one map of time.

The map is at once the law of training times and the grid of sampling steps, as the
dilation of the mixture is: every feature's window has the same share of the dilated
time, and what is not given to the windows stays even in the interpolant's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ModelError
from ...numerics.times.time_grid import TimeGrid
from .decision_window import DecisionInterval, check_kind, find_window
from .interpolants import LINEAR_PATH, NumericInterpolant, same_interpolant
from .training_times import Interval, TrainingTimes
from .uturn import Curve, MseCurve

STANDARD = (0.0, 1.0)
"""Mean and spread of the logit of the usual logit-normal training times."""


@dataclass(frozen=True, eq=False)
class DataDilation:
    """The map of time that windows of features ask for, and the laws beside it.

    `windows` holds the window of each feature, in times of the interpolant `path`.
    Under `training` the dilated times are uniform. `baselines` are laws that are used
    without windows: ``uniform``, ``logit-normal``, and from the squared error
    ``entropic`` and ``mse-equalising``.
    """

    windows: Mapping[str, Interval]
    training: TrainingTimes
    baselines: Mapping[str, TrainingTimes]
    path: NumericInterpolant

    @property
    def grid(self) -> TimeGrid:
        r"""The dilation $\tau(t)$ as a grid of the linear path, ready for exports.

        A time of another path is written as that of the linear one with the same
        $\beta/\alpha$, since libraries take noise levels.
        """
        return self._grid_of("dilated", self.training)

    def grids(self) -> dict[str, TimeGrid]:
        """Return the grid of the dilation and of every baseline, by name."""
        laws = {"dilated": self.training, **self.baselines}
        return {name: self._grid_of(name, law) for name, law in laws.items()}

    def shares(self) -> dict[str, dict[str, float]]:
        """Return the share of each window under each law: of training and of steps."""
        laws = {"dilated": self.training, **self.baselines}
        return {
            name: {k: law.mass(w.lo, w.hi) for k, w in self.windows.items()}
            for name, law in laws.items()
        }

    def _grid_of(self, name: str, law: TrainingTimes) -> TimeGrid:
        ends = self._linear(law.quantile(np.array([0.0, 1.0])))
        return TimeGrid(
            name,
            lambda t: self._linear(law.quantile(np.asarray(t, float))),
            lambda tau: law.mass_below(self._own(np.asarray(tau, float))),
            float(ends[0]),
            float(ends[1]),
        )

    def _linear(self, times: np.ndarray) -> np.ndarray:
        if self.path is LINEAR_PATH:
            return times
        ratios = np.array([self.path.ratio(float(t)) for t in np.ravel(times)])
        with np.errstate(invalid="ignore"):
            linear = np.where(np.isinf(ratios), 1.0, ratios / (1 + ratios))
        return linear.reshape(np.shape(times))

    def _own(self, tau: np.ndarray) -> np.ndarray:
        if self.path is LINEAR_PATH:
            return tau
        with np.errstate(divide="ignore"):
            return np.where(tau < 1, self.path.time_of_ratio(tau / (1 - tau)), 1.0)


def dilate(
    features: Mapping[str, Interval | Curve], error: MseCurve, *, mass: float
) -> DataDilation:
    """Return the dilation that the windows of some features ask for.

    `features` holds for each its window, or its U-turn curve, whose window is found.
    `error` is the squared error of the same denoiser, for the baselines and the path.
    The windows get the share `mass` of the dilated time, each the same; the rest is
    even in the interpolant's time. Where windows overlap their shares add up.

    Raises `ModelError` without a feature, for a window outside [0, 1], a mass that is
    none, or curves of different interpolants.
    """
    check_kind(error, MseCurve, "dilate", "mse_curve")
    if not isinstance(features, Mapping):
        raise ModelError(
            "`features` must name each window, but is of type "
            f'{type(features).__name__}. Write {{"class": window}}.'
        )
    if not features:
        raise ModelError(
            "A dilation needs the window of at least one feature, but has none. Find "
            "one with `uturn` and `find_window`."
        )
    for name, given in features.items():
        _check_path(name, given, error)
    windows = {k: _window(x) for k, x in features.items()}
    parts = [TrainingTimes.window(w, mass=mass) for w in windows.values()]
    training = _mixed(parts, mass, error.path)
    return DataDilation(windows, training, _baselines(error), error.path)


def _check_path(name: str, given: Any, error: MseCurve) -> None:
    path = getattr(given, "path", None)
    if path is not None and not same_interpolant(path, error.path):
        raise ModelError(
            f"Every window must be of one interpolant, but that of `{name}` is of "
            "another than the error's. Measure both with one denoiser."
        )


def _window(given: Interval | Curve) -> Interval:
    if isinstance(given, tuple) and len(given) == 2:
        lo, hi = map(float, given)
        return DecisionInterval(lo, hi, (lo, lo), (hi, hi), "given")
    return find_window(given) if isinstance(given, Curve) else given


def _mixed(
    parts: list[TrainingTimes], mass: float, path: NumericInterpolant
) -> TrainingTimes:
    """Return the even mixture of some laws."""
    knots = np.unique(np.concatenate([part.knots for part in parts]))
    below = [np.interp(knots, part.knots, part.cdf) for part in parts]
    return TrainingTimes(
        knots,
        np.mean(below, axis=0),
        f"dilated by {len(parts)} window{'s' * (len(parts) > 1)}, mass {mass:g}",
        path,
    )


def _baselines(error: MseCurve) -> dict[str, TrainingTimes]:
    inside = np.isfinite(error.ratios)
    t, mse = error.t[inside], error.mse[inside]
    mean, spread = STANDARD
    return {
        "uniform": TrainingTimes.uniform(),
        "logit-normal": TrainingTimes.log_normal_snr(2 * mean, 2 * spread, error.path),
        "entropic": TrainingTimes.entropic(t, mse, error.path),
        "mse-equalising": TrainingTimes.mse_equalising(t, mse),
    }
