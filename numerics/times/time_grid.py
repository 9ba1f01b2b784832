"""Grids of steps in the interpolant's time, of any map and at given numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import ModelError
from ...theory.limit import Limit
from ...theory.times.grammar import INVERSE, read_map, split_maps
from ...theory.times.maps import has_formula, parse_map
from . import weighted
from .map_curves import Curve, evaluate, evaluate_inverse

SPOKEN = {"undilated": "uniform"}
"""Other names of maps, as the option `--schedule` has them."""


@dataclass(frozen=True)
class TimeGrid:
    r"""A map of time at given numbers, and the steps that are even in it.

    `text` is the map as it was written, `curve` $t \mapsto \tau$ on arrays, `inverse`
    $\tau \mapsto t$; `low` and `high` are $\tau$ at ``t`` = 0 and 1. Where they are not
    0 and 1, a first step leads from 0 to `low` and a last one from `high` to 1.
    """

    text: str
    curve: Curve
    inverse: Curve
    low: float = 0.0
    high: float = 1.0

    def ends(self, count: int) -> np.ndarray:
        r"""Return the ends of `count` steps in $\tau$, from 0 to 1, increasing."""
        inside = self.curve(np.linspace(0.0, 1.0, self._inner(count) + 1))
        first, last = [0.0] if self.low > 0 else [], [1.0] if self.high < 1 else []
        found = np.concatenate([first, inside, last])
        if not np.all(np.diff(found) > 0):  # not a number compares false
            raise ModelError(
                "The times of a grid must increase from 0 to 1, but with "
                f"{count} steps those of `{self.text}` do not: some coincide or are "
                "no numbers. Take fewer steps, or another grid."
            )
        return found

    def times(self, count: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
        r"""Return the ends of the steps, and where each asks for the velocity.

        ``midpoint`` asks in the middle of a step's grid time, every other rule at its
        left end.
        """
        ends, inner = self.ends(count), self._inner(count)
        if rule != "midpoint":
            return ends, ends[:-1]
        inside = self.curve((np.arange(inner) + 0.5) / inner)
        first = [self.low / 2] if self.low > 0 else []
        last = [(1 + self.high) / 2] if self.high < 1 else []
        return ends, np.concatenate([first, inside, last])

    def numpy(self, count: int) -> np.ndarray:
        r"""Return the grid as an array: $\tau$ from 0 to 1, shape (count + 1,)."""
        return self.ends(count)

    def share(self, low: float, high: float) -> float:
        r"""Return the share of the grid time in which $\tau$ is in [low, high]."""
        start, stop = self.inverse(np.array([low, high]))
        return float(stop - start)

    def _inner(self, count: int) -> int:
        """Return how many of the steps are even in the map."""
        ends = int(self.low > 0) + int(self.high < 1)
        if count - ends < 1:
            raise ModelError(
                f"The grid `{self.text}` needs at least {ends + 1} steps, of which "
                f"{ends} lead to its ends, but has {count}. Raise `steps`."
            )
        return count - ends


def make_grid(text: str, limit: Limit, point: Mapping[str, float]) -> TimeGrid:
    """Return the grid that a text describes, at the numbers of `point` and its ``d``.

    The text is that of `parse_map`, with four maps more that are known as numbers:
    ``entropic[:snr]`` (equal steps in the information about the data, up to the SNR
    49**2 unless given), ``mse-decrements`` (of the Bayes error), ``mse-log-snr`` (of
    its integral over log SNR) and ``lipschitz``; and ``table:FILE``.
    """
    text = SPOKEN.get(text, text)
    parts = split_maps(text)
    if all(has_formula(part) for part in parts):
        return _closed(text, limit, point)
    whole = _one(parts[0], limit, point)
    for part in parts[1:]:
        whole = _composed(text, whole, _one(part, limit, point))
    return whole


def _closed(text: str, limit: Limit, point: Mapping[str, float]) -> TimeGrid:
    chosen = parse_map(text, limit.model)
    if "dilated" in text:
        limit.dilation.knots(point)  # the windows must follow one another
    curve, inverse = evaluate(chosen, point), evaluate_inverse(chosen, point)
    low, high = curve(np.array([0.0, 1.0]))
    return TimeGrid(text, curve, inverse, float(low), float(high))


def _one(part: str, limit: Limit, point: Mapping[str, float]) -> TimeGrid:
    if has_formula(part):
        return _closed(part, limit, point)
    if part.startswith(INVERSE):
        return _turned(part, _one(part.removeprefix(INVERSE).strip(), limit, point))
    name, given = read_map(part)
    made = weighted.MAKERS[name](limit, point, given)
    return TimeGrid(part, *made)


def _turned(text: str, grid: TimeGrid) -> TimeGrid:
    if (grid.low, grid.high) != (0.0, 1.0):
        raise ModelError(
            "A map of time can be inverted if it reaches from 0 to 1, but "
            f"`{grid.text}` covers [{grid.low:g}, {grid.high:g}]. Leave `inverse` out."
        )
    return TimeGrid(text, grid.inverse, grid.curve)


def _composed(text: str, first: TimeGrid, second: TimeGrid) -> TimeGrid:
    low, high = second.curve(np.array([first.low, first.high]))
    return TimeGrid(
        text,
        lambda t: second.curve(first.curve(t)),
        lambda tau: first.inverse(second.inverse(tau)),
        float(low),
        float(high),
    )
