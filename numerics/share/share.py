"""The share of the + mode that a phase decides: one function for every model.

`phase_shares` looks at what is known of a phase and calls what gives the best number:
the law in closed form, the reduced flow of one feature, that of several features, or
the sampling flow itself from sampled starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..codegen.parameters import Solver, closed_rows, row_of
from ..codegen.snapshot import PrintedPhase
from ..minima.continuation import ClassMinima
from ..minima.result import Minima
from .reduced import known_share

END = 1 - 1e-15  # the last time before the end of a window, where rates may diverge

CLOSED = "closed form"
"""Says that a number was computed from a formula, by NumPy, whatever the backend."""

Found = Minima | Sequence[ClassMinima] | None
"""The minima of a batch: of one feature, a row each of several, or none to find."""


class PhaseShares(NamedTuple):
    r"""The shares of a batch of rows: arrays of shape (rows, features).

    `errors` are bounds where `bounded`, else standard errors. `by` is the backend that
    computed them, or says that they have a closed form.
    """

    values: np.ndarray
    errors: np.ndarray
    by: str = CLOSED
    bounded: bool = False


def phase_shares(
    phase: PrintedPhase,
    found: Found,
    given: Mapping[str, Any],
    rows: int,
    solver: Solver,
) -> PhaseShares:
    """Return the share of each feature that `phase` decides.

    `found` are the minima of the learned overlaps, where they have no closed form,
    `given` the parameters by name, each of shape () or (rows,). Shares are nan where
    the phase learns no weights, or where a minimum was lost.
    """
    flow = phase.sampling
    if flow is None:
        unknown = np.full((rows, len(phase.features)), np.nan)
        return PhaseShares(unknown, unknown)
    if flow.solution:
        closed = closed_rows(flow.solved(), np.array([END]), given, rows)
        values = np.concatenate(list(closed.values()), axis=1)
        return PhaseShares(values, np.full_like(values, 4 * np.finfo(float).eps))
    if isinstance(found, Minima) and phase.projected is not None:
        share, error = known_share(phase, found, given, solver)
        return PhaseShares(share[:, None], error[:, None], solver.backend, bounded=True)
    if found is None or isinstance(found, Minima):
        from .sampled_starts import followed_shares

        lost = np.zeros(rows, bool) if found is None else found.status == "lost"
        none = [(np.nan, np.nan)] * len(phase.features)
        pairs = [
            none if lost[i] else followed_shares(phase, row_of(given, i), solver)
            for i in range(rows)
        ]
    else:
        from .several_features import class_shares

        points = (row_of(given, i) for i in range(rows))
        each = zip(found, points, strict=True)
        pairs = [class_shares(phase, x, point, solver) for x, point in each]
    table = np.array(pairs, float)
    return PhaseShares(table[..., 0], table[..., 1], solver.backend)
