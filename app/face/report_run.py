"""A run of the main job: how much is done, what is known of it afterwards."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..torchcheck.study.confirm import Confirmation, ReportSettings
from .doctor import installed

if TYPE_CHECKING:
    from xarray import Dataset

    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

PACKAGES = ("sympy", "numpy", "scipy", "numba", "matplotlib", "xarray", "torch")


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


def built_with() -> dict[str, str]:
    """Return the versions of Python and of what the numbers depend on."""
    packages = {name: installed(name) or "not installed" for name in PACKAGES}
    return {"python": platform.python_version(), **packages}
