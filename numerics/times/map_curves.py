"""Maps of time as functions of numbers, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import sympy as sp

from ...errors import ModelError
from ...theory.models.model import TAU
from ...theory.times.maps import TimeMap
from ...theory.windows.dilation import T

Curve = Callable[[np.ndarray], np.ndarray]
HALVINGS = 90  # bisections: times in [0, 1] down to 1e-12 keep all their digits


def evaluate(chosen: TimeMap, values: Mapping[str, float]) -> Curve:
    r"""Return the map as a function of arrays, $t \mapsto \tau$, at given numbers.

    `values` holds every symbol in ``chosen.parameters``. Where the map has no formula
    its inverse is solved by bisection.
    """
    point = _point(chosen, values)
    curve = _known((chosen.forward, T), (chosen.backward, TAU), point)
    ends = (None if x is None else float(x.subs(point)) for x in chosen.ends)
    return _between(curve, *ends)


def evaluate_inverse(chosen: TimeMap, values: Mapping[str, float]) -> Curve:
    r"""Return $\tau \mapsto t$; outside the map's `ends` it is 0 or 1."""
    point = _point(chosen, values)
    curve = _known((chosen.backward, TAU), (chosen.forward, T), point)
    return _between(curve, *((0.0, 1.0) if chosen.onto else (None, None)))


Formula = tuple[sp.Expr | None, sp.Symbol]


def _known(own: Formula, inverse: Formula, point: Mapping[sp.Symbol, float]) -> Curve:
    """Return the curve of a formula, or where there is none of that of its inverse."""
    for (expr, variable), made in ((own, lambda curve: curve), (inverse, bisected)):
        if expr is not None:
            return made(_curve(expr, variable, point))
    raise ModelError(
        "A composition can be evaluated if it has a formula forward or back, but "
        "this one has neither. Compose fewer maps, or evaluate them one by one."
    )


def _point(chosen: TimeMap, values: Mapping[str, float]) -> dict[sp.Symbol, float]:
    for x in chosen.parameters:
        if str(x) not in values:
            raise ModelError(
                f"The map `{chosen.text}` needs "
                f"{', '.join(map(str, chosen.parameters))}, but `{x}` is missing. "
                "Give it; there is no default."
            )
    return {x: float(values[str(x)]) for x in chosen.parameters}


def _curve(
    expr: sp.Expr, variable: sp.Symbol, point: Mapping[sp.Symbol, float]
) -> Curve:
    inner = sp.lambdify(variable, expr.subs(point), modules=["scipy", "numpy"])

    def curve(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.broadcast_to(inner(x), x.shape)

    return curve


def _between(curve: Curve, low: float | None, high: float | None) -> Curve:
    """Return `curve` with values in [0, 1], and its known ones at 0 and at 1."""

    def whole(x: np.ndarray) -> np.ndarray:
        at = np.asarray(x, float)
        value = np.clip(curve(at), 0.0, 1.0)
        value = value if low is None else np.where(at <= 0, low, value)
        return value if high is None else np.where(at >= 1, high, value)

    return whole


def bisected(rising: Curve, least: float = 0.0, most: float = 1.0) -> Curve:
    """Return the inverse of an increasing function on an interval."""

    def curve(wanted: np.ndarray) -> np.ndarray:
        low, high = np.full_like(wanted, least), np.full_like(wanted, most)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            up = rising(middle) < wanted
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        return high

    return curve
