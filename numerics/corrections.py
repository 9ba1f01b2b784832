r"""The leading finite-d correction of the learned overlaps, as numbers.

It is long to derive for n samples, so its text is kept on disk as that of a limit is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import DerivationError
from .codegen.parameters import closed_values
from .codegen.snapshot import Printed, PrintedPhase

if TYPE_CHECKING:
    from ..theory.derive import Phase
    from ..theory.symbols.system import System

_END = "_shift"


class Correction(NamedTuple):
    r"""A closed system with the coefficients of $d^{-\rm rate}$."""

    rate: float
    system: Printed


def correction_of(phase: PrintedPhase) -> Correction | None:
    """Return the correction of a phase, derived if it is not known.

    `None` where the engine has none, or where the schedule has terms that decay more
    slowly.
    """
    text = phase.learned.text("correction", lambda _: _described(phase.make()))
    about = json.loads(text)
    if about is None:
        return None
    rest = ("observed", "inputs", "branches", "undetermined", "solution")
    names: dict[str, Any] = {k: tuple(about[k]) for k in ("unknowns", "parameters")}
    names |= dict.fromkeys(rest, ()) | {"name": about["name"], "kind": "closed"}

    def derived(_: System) -> Any:
        return phase.make().correction

    system = phase.learned.part(derived, "correction", **names)
    return Correction(about["rate"], system)


def _described(phase: Phase) -> str:
    try:
        found = phase.correction
    except DerivationError:
        found = None
    if found is None:
        return json.dumps(None)
    rate = found.equations[0].rate  # a power of D
    about = {
        "rate": -float(rate.as_base_exp()[1]) if rate is not None else 0.0,
        "name": found.name,
        "unknowns": [str(x) for x in found.unknowns],
        "parameters": [str(x) for x in found.parameters],
    }
    return json.dumps(about)


def shifts(
    found: Correction,
    s: np.ndarray,
    values: Mapping[str, float],
    limits: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    r"""Return $x^{(1)}$ of every overlap x at the times `s`, shape (S,) each.

    `limits` holds the learned overlaps at these times. Nan where a unit saturates:
    nothing moves it there at this order.
    """
    rows = []
    for i in range(len(s)):
        here = {name: float(x[i]) for name, x in limits.items()}
        rows.append(closed_values(found.system, s[i : i + 1], dict(values) | here))
    names = [x.removesuffix(_END) for x in found.system.unknowns]
    return {x: np.array([row[x + _END][0] for row in rows]) for x in names}
