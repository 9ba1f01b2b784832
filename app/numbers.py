"""The bounds of every number that a person may give: one table for all who ask.

A spec, a limit in Python and the rows of a sweep are checked against it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Bounds(NamedTuple):
    """The values a number may take, in words and as bounds (both excluded)."""

    words: str
    low: float
    high: float
    whole: bool = False
    remedy: str = ""

    def hold(self, value: Any) -> Any:
        """Whether a number, or each of an array, is inside; nan never is."""
        inside = (self.low < value) & (value < self.high)
        return inside & (value % 1 == 0) if self.whole else inside


POSITIVE = ("positive, above 1e-6 and below 1e6", 1e-6, 1e6)
RULES = {
    "p": Bounds(
        "strictly between 0 and 1", 0, 1, remedy="It is the weight of the + mode."
    ),
    "sigma": Bounds(*POSITIVE, remedy="It is the spread of a mode."),
    "scale": Bounds(*POSITIVE, remedy="It is rho in |mu|^2 = rho d^(1 - 2 exponent)."),
    "kappa": Bounds(*POSITIVE, remedy="2 is a good start; larger resolves more."),
    "n": Bounds(
        'a whole number from 2 to 10^9, or "inf"',
        1.5,
        1e9 + 0.5,
        True,
        'Write n = "inf" for the population.',
    ),
    "n_plus": Bounds(
        "a whole number from 1 to n - 1",
        0.5,
        1e9,
        True,
        "Both modes need a sample, or one of them cannot be learned.",
    ),
    "count": Bounds(
        "a whole number from 0 to 10^9",
        -0.5,
        1e9 + 0.5,
        True,
        "It counts the samples whose features have these signs.",
    ),
    "noise_draws": Bounds(
        'a whole number from 1 to 10^9, or "inf"',
        0.5,
        1e9 + 0.5,
        True,
        'Write "inf" for noise that is drawn afresh at each step.',
    ),
    "ridge_u": Bounds(
        "positive and below 1e12",
        0,
        1e12,
        remedy="Without a ridge the minimum is not unique at tau = 0; use a small one.",
    ),
    "ridge_w": Bounds(
        "positive and below 1e12",
        0,
        1e12,
        remedy="With none w is undetermined where tau = 0; use a small one.",
    ),
}
"""The bounds of each number of a spec. Both ridges are positive: without them what is
learned at tau = 0 is not unique, because the data say nothing there."""


def bounds_of(name: str) -> Bounds | None:
    """Return the bounds of a number by the name that `Spec.values` gives it."""
    return RULES.get(_rule_of(name))


def _rule_of(name: str) -> str:
    base = re.sub(r"_(\d+|[pm]+)$", "", name)
    counted = base == "n" and name != "n"
    return "count" if counted else {"rho": "scale"}.get(base, base)


FINITE = Bounds("positive and finite", 0.0, float("inf"), remedy="Change it.")
NO_RIDGE = {"words": "0 or positive, and below 1e12", "low": -1e-300}
IN_PYTHON: dict[str, dict[str, Any]] = {
    "n": {
        "words": "a whole number from 2 to 10^9",
        "remedy": "The population is another model: `Data()`.",
    },
    "noise_draws": {
        "words": "a whole number from 1 to 10^9",
        "remedy": "Fresh noise is another model: `Data(samples=True)`.",
    },
    "count": {
        "words": "a whole number from 1 to 10^9",
        "low": 0.5,
        "remedy": "A class without samples is another model: see `Data.empty`.",
    },
    "ridge_u": NO_RIDGE,
    "ridge_w": NO_RIDGE,
}
"""Where a limit is asked for other numbers than a spec, which holds the model too."""


def bounds_in_python(name: str) -> Bounds:
    """Return the bounds of a parameter of a limit, whatever its name."""
    key = _rule_of(name)
    return RULES.get(key, FINITE)._replace(**IN_PYTHON.get(key, {}))
