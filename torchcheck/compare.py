"""What a convergence study compares and concludes: its plan, rows, fits, verdict."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..answers import plain
from ..errors import ModelError
from ..theory.dilation import Window, find_windows, window_names
from ..theory.model import Model
from .verdict import (
    FALSE_ALARM,
    Extrapolation,
    Rule,
    Verdict,
    extrapolate,
    fit_slope,
    judge,
    worst,
)

if TYPE_CHECKING:
    from ..spec import Spec

Curves = Mapping[str, Mapping[str, np.ndarray]]
"""Phase name to quantity name to the limit at the phase's times; ``sample`` too."""

Cell = Mapping[str, np.ndarray]
"""What one training set gave: ``phase/quantity`` to values at the phase's times."""

TIMES = (0.25, 0.5, 0.75, 1.0)
"""Times inside a phase unless asked otherwise; 1 is left out where tau would be 1."""

SAMPLED = {"share_plus": 0, "mode_mean": -1, "bulk_variance": -1}
"""Quantities of generated samples and the phase that each belongs to."""

_SKIPPED = {"weights": ("c",)}  # zero in the limit: c_hat is the quantity there


class Phase(NamedTuple):
    """A phase by its name and the window of time it spends."""

    name: str
    window: Window


def phases(model: Model) -> list[Phase]:
    """The phases of a model in order; derives no equation."""
    windows = find_windows(model)
    return [Phase(*x) for x in zip(window_names(windows), windows, strict=True)]


@dataclass(frozen=True)
class Plan:
    """Everything that fixes the numbers of a study.

    Attributes
    ----------
    dims
        At least three dimensions, increasing.
    seeds
        Number of training sets at each dimension.
    times
        Times inside a phase, in (0, 1].
    tolerance
        Gradient norm that training stops at; ten times it is the most that still
        counts as converged.
    max_iterations
        Most steps of the optimiser.
    paths, cells
        Generated samples a training set (0 for none); cells of their coarser grid.
    seed
        First seed; the others follow.
    device
        ``"cpu"`` or ``"cuda"``.
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
        return self

    def inside(self, phase: Phase) -> np.ndarray:
        """Times of one phase: without its end where that is, or tends to, tau = 1."""
        return np.array([s for s in self.times if s < 1 or phase.window.end == "0"])


@dataclass(frozen=True)
class Study:
    """The outcome: `rows` for every point, `fits` for every overlap, a verdict.

    `rows` and `fits` are lists of plain dictionaries, as written to JSON.
    """

    rows: list[dict[str, Any]]
    fits: list[dict[str, Any]]
    verdict: Verdict
    gradient_norm: float
    plan: Plan
    digest: str
    seconds: float = float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values (nan as null)."""
        return plain(
            {
                "verdict": self.verdict,
                "gradient_norm": self.gradient_norm,
                "spec": self.digest,
                "plan": vars(self.plan),
                "seconds": self.seconds,
                "versions": versions(),
                "rows": self.rows,
                "fits": self.fits,
            }
        )


class _Series(NamedTuple):
    """One quantity of one phase: values (D, K, S) and limits (S,) at times (S,)."""

    phase: str
    quantity: str
    times: np.ndarray
    values: np.ndarray
    limit: np.ndarray
    slack: float


def compare(
    plan: Plan, spec: Spec, wanted: Curves, cells: Mapping[tuple[int, int], Cell]
) -> Study:
    """Compare finished cells with the limit `wanted`, quantity by quantity."""
    found = list(_series(plan, phases(spec.model), wanted, cells))
    tests = sum(len(x.limit) for x in found)
    norm = max(float(cell["gradient_norm"].max()) for cell in cells.values())
    rows: list[dict[str, Any]] = []
    fits: list[dict[str, Any]] = []
    for series in found:
        rule = Rule(
            level=FALSE_ALARM / tests,
            # with frozen noise the hidden unit saturates in every phase
            powers=series.phase.startswith("weights") and not spec.frozen_noise,
            slack=series.slack,
            converged=norm <= 10 * plan.tolerance,
        )
        rows += _rows(series, plan.dims)
        fits.append(_fit(series, np.array(plan.dims, float), rule, plan.seed))
    return Study(
        rows, fits, worst([x["verdict"] for x in fits]), norm, plan, spec.digest
    )


def _series(
    plan: Plan,
    parts: list[Phase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> Iterator[_Series]:
    """Every quantity that was measured and has a finite limit."""
    first = next(iter(cells.values()))
    times = {x.name: plan.inside(x) for x in parts} | {"sample": np.ones(1)}
    for phase, s in times.items():
        for name, limit in wanted.get(phase, {}).items():
            good = np.isfinite(limit)
            skip = name in _SKIPPED.get(phase.split("-")[0], ())
            if skip or f"{phase}/{name}" not in first or not good.any():
                continue
            steps = [x.get(f"step/{name}", np.zeros(1))[0] for x in cells.values()]
            values = [
                [cells[d, k][f"{phase}/{name}"][good] for k in range(plan.seeds)]
                for d in plan.dims
            ]
            yield _Series(
                parts[SAMPLED[name]].name if phase == "sample" else phase,
                name,
                s[good],
                np.array(values),
                limit[good],
                float(max(steps)),
            )


def _rows(series: _Series, dims: tuple[int, ...]) -> list[dict[str, Any]]:
    """One row for every time and dimension."""
    mean, variance = series.values.mean(1), series.values.var(1, ddof=1)
    stderr = np.sqrt(variance / series.values.shape[1])
    return [
        {
            "phase": series.phase,
            "s": float(s),
            "quantity": series.quantity,
            "d": d,
            "mean": float(mean[i, j]),
            "stderr": float(stderr[i, j]),
            "variance": float(variance[i, j]),
            "limit": float(series.limit[j]),
            "z": float((mean[i, j] - series.limit[j]) / stderr[i, j])
            if stderr[i, j]
            else None,
        }
        for j, s in enumerate(series.times)
        for i, d in enumerate(dims)
    ]


def _fit(series: _Series, dims: np.ndarray, rule: Rule, seed: int) -> dict[str, Any]:
    """Rate over all times; extrapolation at the time that fits the limit worst."""
    limit, values = series.limit, series.values
    slope, low, high = fit_slope(dims, values - limit, seed)
    if series.quantity == "share_plus":  # its binomial noise does not shrink with d
        slope = low = high = float("nan")
    found = [
        extrapolate(dims, values[:, :, j], limit[j], rule) for j in range(len(limit))
    ]
    strain = [_strain(x, y) for x, y in zip(found, limit, strict=True)]
    j = int(np.argmax(strain))
    return {
        "quantity": series.quantity,
        "phase": series.phase,
        "slope": slope,
        "slope_low": low,
        "slope_high": high,
        "s": float(series.times[j]),
        "limit": float(limit[j]),
        "extrapolated": found[j].value,
        "extrapolated_low": found[j].low,
        "extrapolated_high": found[j].high,
        "verdict": judge(strain[j] <= 1, rule),
    }


def _strain(found: Extrapolation, limit: float) -> float:
    """Distance from the limit in half-widths of the interval."""
    return abs(found.value - limit) / ((found.high - found.low) / 2)


def versions() -> dict[str, str]:
    """Versions that the numbers depend on."""
    import torch

    from .. import __version__

    return {
        "dilaton": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
