"""A run of the main job: how much is done, what is known of it afterwards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..torchcheck.study.confirm import Confirmation, ReportSettings

if TYPE_CHECKING:
    from xarray import Dataset

    from ..theory.derive import Limit
    from ..theory.models.spec import Spec


@dataclass(frozen=True)
class Effort:
    """How much a run does, and where.

    `digits` adds an experiment on real images, which has nothing to do with the spec.
    """

    quick: bool
    seed: int
    device: str
    digits: bool = False


@dataclass
class Run:
    """Everything a report shows."""

    spec: Spec
    seed: int
    limit: Limit
    population: Limit
    curves: Dataset
    population_curves: Dataset
    plan: ReportSettings | None = None
    reason: str = ""  # why no networks were trained, if none were
    found: Confirmation = field(default_factory=Confirmation)
    laws: dict[str, Any] = field(default_factory=dict)
    digits: dict[str, Any] | None = None  # if they were asked for
    quick: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def subjects(self) -> list[str]:
        """Names of what is decided: nothing to name, ``feature 2`` or ``mode 3``."""
        word = {"modes": "mode ", "product": "feature "}.get(self.spec.kind)
        return [f"{word}{k}" if word else "" for k in range(1, 1 + len(self.weights))]

    @property
    def weights(self) -> list[float]:
        """The target's share of the + mode of each feature, or of each mode."""
        known = self.spec.values.items()
        return [x for k, x in known if re.fullmatch(r"p(_\d+)?", k)]

    @property
    def realised(self) -> list[float]:
        """The same in the training set."""
        data = self.spec.tables["data"]
        if self.spec.kind == "two-modes":
            return [data["n_plus"] / data["n"]]
        found = data["counts"]
        if self.spec.kind == "product":
            signs, size = found.items(), range(len(self.weights))
            found = [sum(x for k, x in signs if k[j] == "+") for j in size]
        return [x / data["n"] for x in found]
