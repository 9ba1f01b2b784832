"""Fixed steps of the classical Runge-Kutta rule of order 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def rk4_step(
    rate: Callable[[Any, np.ndarray], np.ndarray],
    at: Sequence[Any],
    width: float,
    state: np.ndarray,
) -> np.ndarray:
    """Return the state after one step of the given width.

    `rate` takes a time and a state. `at` holds the times at the beginning, in the
    middle and at the end of the step, or whatever `rate` knows these times by, such
    as rows of a table. A step back in time has a negative width.
    """
    left, middle, right = at
    first = rate(left, state)
    second = rate(middle, state + width / 2 * first)
    third = rate(middle, state + width / 2 * second)
    last = rate(right, state + width * third)
    return state + width / 6 * (first + 2 * second + 2 * third + last)
