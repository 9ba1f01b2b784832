"""The settings of an experiment: what is trained, how long, and what is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import ModelError
from ..real_data.interpolants import LINEAR_PATH
from ..real_data.training_times import TrainingTimes

MAIN_ARMS = ("uniform", "window")
NUMBERS = {
    "uniform": 0,
    "window": (0, 1),
    "posterior": (0, 1),
    "interval": 3,
    "logit-normal": 2,
    "shift": 0,
}
"""How many numbers follow the name of an arm, as in ``interval:0.2:0.6:0.5``."""
QUICK = {"turns": 13, "turned": 150}
"""Settings that are smaller in every quick experiment."""


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """Everything that fixes the numbers of an experiment.

    `data` (digits, mnist, mixture) are learned by a `network` (unet; per-time, shared).
    `d`, `p`, `sigma` are the mixture's, 0 for images; `samples` is the size of the
    training set, 0 for as many images as there are; `classes` and their `shares` are
    those of images, (1, 0) and (p, 1-p) for a mixture; MNIST's files lie in `folder`.

    Each of `seeds` has a training for each of `arms` (see `times_of_arm`; those other
    than uniform and window at `few` seeds, 0 for all), with `budgets` of steps, one of
    which the verdict is about, on `batch` samples a step. A per-time network has so
    many `times`, the share `mass` of them in the window; `from_noise` begins the window
    at 0, as what a shared network says before the window moves all samples, the feature
    with them. The network that finds the window is trained for `pilot_steps` and makes
    U-turns at `turns` times, of `turn_steps`, with `turned` samples. Shares are read
    from `generated` samples.
    """

    data: Literal["digits", "mnist", "mixture"]
    network: Literal["unet", "per-time", "shared"]
    d: int
    p: float
    sigma: float
    samples: int = 512
    classes: tuple[int, int]
    shares: tuple[float, float]
    folder: str = ""
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    verdict_budget: int
    batch: int = 64
    times: int
    mass: float = 0.5
    from_noise: bool = False
    pilot_steps: int = 600
    turns: int = 21
    turn_steps: int
    turned: int
    generated: int
    device: str = "cpu"
    arms: tuple[str, ...] = MAIN_ARMS
    few: int = 0

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ModelError(
                f"`seeds` must be different numbers, but is {self.seeds}. Give one or "
                "more."
            )
        if self.verdict_budget not in self.budgets or min(self.budgets) < 1:
            raise ModelError(
                "`verdict_budget` must be one of the `budgets`, all at least 1, but is "
                f"{self.verdict_budget} of {self.budgets}."
            )
        if self.arms[:2] != MAIN_ARMS or len(set(self.arms)) < len(self.arms):
            raise ModelError(
                f"`arms` must begin with {', '.join(MAIN_ARMS)}, which the others are "
                f"compared with, each once, but is {', '.join(self.arms)}."
            )
        names = [check_arm(arm)[0] for arm in self.arms]
        if "posterior" in names and self.data == "mixture":
            raise ModelError(
                "The arm `posterior` is the window of the classes of images, but the "
                "data are a mixture. Use `window`."
            )
        if not 0 < self.mass < 1:
            raise ModelError(
                f"`mass` must lie in (0, 1), but is {self.mass:g}. A half, 0.5, is a "
                "good start."
            )


def check_arm(arm: str) -> tuple[str, list[float]]:
    """Return the name of an arm and its numbers, or raise `ModelError`."""
    name, *rest = arm.split(":")
    try:
        numbers = [float(x) for x in rest]
    except ValueError:
        numbers = [math.nan]
    count = NUMBERS.get(name, ())
    fits = len(numbers) in (count if isinstance(count, tuple) else (count,))
    if not fits or not all(map(math.isfinite, numbers)):
        raise ModelError(
            "An arm must be uniform, window, window:MASS, posterior, posterior:MASS, "
            "interval:LOW:HIGH:MASS, logit-normal:MEAN:STD or shift, but is "
            f"`{arm}`. Write it as one of those."
        )
    return name, numbers


def times_of_arm(
    arm: str, windows: Mapping[str, tuple[float, float]], mass: float
) -> TrainingTimes:
    """Return the training times of an arm.

    ``window`` puts `mass` (or ``window:MASS``, that much) in the window that U-turns of
    a trained network found, ``posterior`` in that of the class posterior, which needs
    no network, ``interval:LOW:HIGH:MASS`` in another one; ``shift`` shifts uniform
    times so that half of them lie below the middle of the window in log SNR;
    ``logit-normal:M:S`` draws the logit of the time from N(M, S^2).
    """
    name, numbers = check_arm(arm)
    if name == "uniform":
        return TrainingTimes.uniform()
    if name in windows:
        return TrainingTimes.window(
            *windows[name], mass=numbers[0] if numbers else mass
        )
    if name == "interval":
        return TrainingTimes.window(numbers[0], numbers[1], mass=numbers[2])
    if name == "logit-normal":
        return TrainingTimes.log_normal_snr(2 * numbers[0], 2 * numbers[1])
    low, high = (LINEAR_PATH.ratio(max(t, 1e-6)) for t in windows["window"])
    return TrainingTimes.shift(1 / math.sqrt(low * high))


def image_plan(
    data: Literal["digits", "mnist"],
    *,
    seeds: Sequence[int],
    classes: tuple[int, int] = (0, 1),
    shares: tuple[float, float] = (0.8, 0.2),
    quick: bool = False,
    few: int = 4,
    **further: Any,
) -> ExperimentSettings:
    """The experiment on images: a small U-Net shared over time.

    `further` are fields of the settings, such as `folder` and `arms`.
    """
    large = data == "mnist"
    # with smaller budgets the samples are no digits yet
    size: dict[str, Any] = {
        "budgets": (400, 800, 1200, 2400) if large else (100, 200, 400),
        "verdict_budget": 1200 if large else 200,
        "turn_steps": 20,
        "turned": 222,
        "generated": 2000 if large else 600,
    }
    if quick:
        size |= {
            "budgets": (200, 400) if large else (100, 200),
            "verdict_budget": 400 if large else 200,
            "pilot_steps": 200,
            "turn_steps": 12,
            "generated": 300,
            **QUICK,
        }
    if not large:
        size["samples"] = 0
    own: dict[str, Any] = {
        "network": "unet",
        "d": 0,
        "p": 0.0,
        "sigma": 0.0,
        "times": 0,
    }
    own |= {"data": data, "classes": classes, "shares": shares, "few": few}
    return ExperimentSettings(seeds=tuple(seeds), **own, **size, **further)


def mixture_plan(
    *,
    p: float,
    network: Literal["per-time", "shared"],
    seeds: Sequence[int],
    quick: bool = False,
    **further: Any,
) -> ExperimentSettings:
    """The experiment on the two-mode mixture, 512 samples, fresh for every seed.

    `further` are fields of the settings: `d`, `sigma`, and those with a default.
    """
    shared = network == "shared"
    last = 300 if shared else 600
    size: dict[str, Any] = {
        "budgets": (100 if shared else 300, last),
        "verdict_budget": last,
        "turn_steps": 24,
        "turned": 300,
    }
    if quick:
        size |= {"budgets": (last,), "pilot_steps": 300, "turn_steps": 16, **QUICK}
    own: dict[str, Any] = {"data": "mixture", "network": network, "p": p}
    own |= {"classes": (1, 0), "shares": (p, 1 - p), "from_noise": shared}
    own |= {"times": 40, "generated": 40_000}
    return ExperimentSettings(seeds=tuple(seeds), **own, **size, **further)
