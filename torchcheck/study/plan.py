"""The plan of a convergence study: dimensions, seeds, times, and what it measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import ModelError
from ...theory.models.model import Model, suffix
from ...theory.models.spec import Spec
from ...theory.windows.search import Window, find_windows, window_names
from ..device import check_device

Curves = Mapping[str, Mapping[str, np.ndarray]]
"""Phase name to quantity name to the limit at the phase's times; ``sample`` too, and
``law`` with sorted draws of every nu."""

Cell = Mapping[str, np.ndarray]
"""Measures of one training set: ``phase/quantity`` to values at the phase's times."""

Offsets = Mapping[str, "Offset"]
"""Phase name to the predicted leading correction of its overlaps."""

TIMES = (0.25, 0.5, 0.75, 1.0)
"""Times inside a phase unless asked otherwise; 1 is left out where tau would be 1."""


class Procedure(NamedTuple):
    """How networks of one kind of target are trained.

    `tolerance` is the gradient norm that training stops at: with a unit a feature the
    minimum of a population is flat where its features are nearly decided, or not yet
    seen. `measured` and `sampled` are the most steps where overlaps are measured, and
    on a sampling grid: where all of several units are nearly constant, or saturated,
    what they still could learn changes no path. Cells of that grid are finer where a
    phase begins, by the power `grading`.
    """

    tolerance: float
    measured: int = 10**9
    sampled: int = 10**9
    grading: float = 1.0


PROCEDURES = {
    "two-modes": Procedure(1e-7, grading=2.0),
    "product": Procedure(1e-9, measured=300, sampled=60),
    "modes": Procedure(1e-8),
}
"""By the kind of target of a spec."""

SAMPLED = ("share_plus", "mode_mean", "bulk_variance")
"""Quantities of generated samples."""


class Offset(NamedTuple):
    r"""The prediction beyond the limit: coefficients of $d^{-\rm rate}$ (S,)."""

    rate: float
    shifts: Mapping[str, np.ndarray]


class StudyPhase(NamedTuple):
    """A phase by its name and the window of time it spends."""

    name: str
    window: Window


def phases(model: Model) -> list[StudyPhase]:
    """The phases of a model in order; derives no equation."""
    windows = find_windows(model)
    return [StudyPhase(*x) for x in zip(window_names(windows), windows, strict=True)]


def suffixes(model: Model) -> list[str]:
    """The suffixes of the features' quantities: ``_1``, ``_2``; empty for two modes."""
    return [suffix(model, j + 1) for j in range(len(model.target.features))]


def degenerate(spec: Spec, part: StudyPhase) -> bool:
    """Whether the phase has no limit to compare networks with."""
    return spec.frozen_noise and bool(part.window.features)


@dataclass(frozen=True)
class Plan:
    """Everything that fixes the numbers of a study.

    At least three `dims`, increasing, with as many training sets as `seeds` at each,
    the first of which is `seed`. `times` lie inside a phase, in (0, 1]. Training stops
    at a gradient norm of `tolerance` (ten times it is the most that still counts as
    converged), or after `max_iterations`. `paths` are the generated samples a training
    set (0 for none), `cells` those of their coarser grid, for every two phases;
    `device` is ``"cpu"`` or ``"cuda"``.
    """

    dims: tuple[int, ...]
    seeds: int
    times: tuple[float, ...] = TIMES
    tolerance: float = 1e-7
    max_iterations: int = 2000
    paths: int = 20_000
    cells: int = 20
    seed: int = 0
    device: str = "cpu"

    def check(self) -> Plan:
        """Raise `ModelError` when the study cannot be judged; return the plan."""
        if len(set(self.dims)) < 3 or min(self.dims) < 2:
            raise ModelError(
                "`dims` must be at least three different dimensions from 2, or nothing "
                f"can be extrapolated, but is {', '.join(map(str, self.dims))}. Add "
                "some, as in 300,1000,3000,10000."
            )
        if self.seeds < 3:
            raise ModelError(
                "`seeds` must be at least 3 for a standard error, but is "
                f"{self.seeds}. Raise it."
            )
        if not self.times or not all(0 < s <= 1 for s in self.times):
            raise ModelError(
                "`times` must lie in (0, 1], inside a phase, but are "
                f"{', '.join(f'{s:g}' for s in self.times)}. Change them."
            )
        check_device(self.device)
        return self

    def inside(self, phase: StudyPhase) -> np.ndarray:
        """Times of one phase: without its end where that is, or tends to, tau = 1."""
        return np.array([s for s in self.times if s < 1 or phase.window.end == "0"])
