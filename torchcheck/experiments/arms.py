"""The arms of an experiment: ways to draw training times, named by a line of text."""

from __future__ import annotations

import math
from collections.abc import Mapping

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
