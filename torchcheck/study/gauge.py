r"""The sign that a network is free to choose: $(u, w, b)$ and $-(u, w, b)$ are one.

With an odd activation both are the same function, so that overlaps are compared with
a limit up to that sign, one for each hidden unit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_ODD = ("m", "omega", "b", "a", "zeta", "e")  # of one unit, by their first word
_PAIRS = ("q", "r")  # of two units, which turn with either


def turning_units(name: str) -> tuple[str, ...]:
    """The units with whose sign an overlap turns, by their numbers in its name.

    ``""`` stands for the unit of a network that has one; ``m_1_2`` turns with unit 1,
    ``q_1_2`` with units 1 and 2, ``v_1`` with none.
    """
    first, *rest = name.split("_")
    numbers = tuple(x for x in rest if x.isdigit())
    if first in _ODD:
        return numbers[:1] or ("",)
    return numbers if first in _PAIRS and len(numbers) == 2 else ()


def signs(
    measured: Mapping[str, np.ndarray], limits: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The sign of each unit that brings its overlaps to their limits, by its number.

    All overlaps of a unit decide together, each by how much it agrees for its size, so
    that one wrong limit turns nothing.

    Parameters
    ----------
    measured
        Overlaps by name, shape (..., S).
    limits
        Their limits, shape (S,); what is not finite has no say.
    """
    agreement: dict[str, np.ndarray] = {}
    for name, limit in limits.items():
        units = turning_units(name)
        if len(units) == 1 and name in measured:
            x, y = measured[name], np.where(np.isfinite(limit), limit, 0.0)
            size = x**2 + y**2
            share = x * y / np.where(size > 0, size, 1.0)
            agreement[units[0]] = agreement.get(units[0], 0.0) + share
    return {unit: np.where(x < 0, -1.0, 1.0) for unit, x in agreement.items()}


def turned(
    name: str, values: np.ndarray, chosen: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The values of an overlap after its units are turned by the signs `chosen`."""
    for unit in turning_units(name):
        values = values * chosen.get(unit, 1.0)
    return values
