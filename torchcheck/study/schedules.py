"""One schedule against another: networks at dilated times, and at even ones.

``dilaton schedules published.toml`` trains the published experiment at full size,
d = 5000 with 80 times, lays the overlaps over the limit, generates samples, and
compares with equally many undilated steps as d grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...files import at_home
from ...theory.models.spec import Spec
from ..networks.sample import Samples, sample_features
from ..networks.step_grid import Grid, StepRule, dilated_grid, uniform_grid
from ..networks.train import Method, Trained, train
from .cells import kappas
from .compare import package_versions
from .converge import limit_at, overlap_curves
from .figures import draw_overlaps
from .plan import SAMPLED, suffixes

SEEN = 1e-3
"""Part of an even step after which several units are trained in place of tau = 0."""


@dataclass(frozen=True)
class Schedule:
    """At which times networks are trained, one each, and how a step uses them.

    `dilated` says whether the phases share the times equally, or they are equally
    spaced in tau; with a dilation the number of `times` is a multiple of that of the
    phases. `rule` and `grading` are those of `dilated_grid`.
    """

    dilated: bool
    rule: StepRule
    times: int
    grading: float = 1.0

    @property
    def name(self) -> str:
        """``dilated`` or ``undilated``."""
        return "dilated" if self.dilated else "undilated"

    @property
    def title(self) -> str:
        """The name, with the rule of undilated steps, which are of several."""
        return self.name if self.dilated else f"{self.name}, {self.rule}"

    def grid(self, spec: Spec, d: int) -> Grid:
        """The cells of time at dimension d.

        Several units are alike at tau = 0, so that theirs is asked a little later.
        """
        if not self.dilated:
            grid = uniform_grid(self.times, self.rule)
            first = SEEN / self.times if suffixes(spec.model)[0] else 0.0
            return replace(grid, times=np.maximum(grid.times, first))
        return dilated_grid(
            spec.model, kappas(spec), d, self.times, self.rule, grading=self.grading
        )


@dataclass(frozen=True)
class Training:
    """Settings of a training, see `train`; `steps` are those of Adam if sampled."""

    method: Method = "averaged"
    steps: int = 2000
    device: str = "cpu"
    batch: int | None = None
    dtype: torch.dtype = torch.float64


@dataclass(frozen=True)
class Outcome:
    """One schedule: networks trained on `grid`, what they measure and generate.

    `features` has the samples along each feature.
    """

    schedule: str
    grid: Grid
    trained: Trained
    overlaps: dict[str, np.ndarray]
    features: tuple[Samples, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each feature, which it names where there are several."""
        rows = [self._row(x) for x in self.features]
        if len(rows) == 1:
            return rows
        return [{"feature": j, **row} for j, row in enumerate(rows, 1)]

    def _row(self, made: Samples) -> dict[str, Any]:
        dilated = self.schedule == "dilated"
        share = made.share_plus if dilated else made.final_share_plus
        return {
            "schedule": self.schedule,
            "rule": self.grid.rule,
            "d": self.trained.network.d,
            "times": len(self.grid.times),
            "share_plus": share,
            "stderr": (share * (1 - share) / made.nu.shape[1]) ** 0.5,
            "final_share_plus": made.final_share_plus,
            "mode_mean": made.mode_mean,
            "bulk_variance": made.bulk_variance,
            "gradient_norm": float(self.trained.gradient_norm.max()),
            "seconds": self.trained.seconds,
        }


def run_schedule(
    spec: Spec, d: int, schedule: Schedule, paths: int, seed: int, training: Training
) -> Outcome:
    """Train at the times of one schedule, measure, and generate `paths` samples.

    The ridges of the spec are used as they are; `seed` is that of every random number.
    """
    grid = schedule.grid(spec, d)
    trained = train(spec.model, spec.values, grid.times, d, seed, **vars(training))
    made = sample_features(trained, grid, paths, seed)
    overlaps = trained.network.overlaps(trained.data)
    return Outcome(schedule.name, grid, trained, overlaps, made)


def compare_schedules(
    spec: Spec,
    dims: Sequence[int],
    times: int,
    paths: int,
    seed: int,
    progress: Callable[[Any], Any] = iter,
) -> list[dict[str, Any]]:
    """Share of the + mode against d with equally many steps of either schedule.

    Undilated, Euler's rule sends everything to the heavier mode as d grows and the
    midpoint rule forgets p; with the dilation both keep it.
    """
    rules: tuple[StepRule, ...] = ("left", "midpoint")
    jobs = [
        (d, Schedule(dilated, rule, times))
        for d in dims
        for dilated in (True, False)
        for rule in rules
    ]
    return [
        run_schedule(spec, d, schedule, paths, seed, Training()).rows[0]
        for d, schedule in progress(jobs)
    ]


@dataclass(frozen=True)
class Experiment:
    """The size of an experiment: one schedule at `d`, and both at each of `dims`.

    What is not given is as published.
    """

    d: int = 5000
    times: int = 80
    dims: tuple[int, ...] = (500, 5000, 50_000, 500_000)
    paths: int = 20_000
    seed: int = 0
    training: Training = Training()


def write_experiment(
    spec: Spec,
    output: str | Path,
    size: Experiment,
    progress: Callable[[Any], Any] = iter,
) -> dict[str, Any]:
    """Run the experiment and write ``published.json`` and its figures to `output`.

    Returns what the JSON holds: one row for the experiment itself, the rows of both
    schedules against d, and every overlap beside its limit.
    """
    paths, seed = size.paths, size.seed
    whole = Schedule(True, "midpoint", size.times)
    made = run_schedule(spec, size.d, whole, paths, seed, size.training)
    limit, curves = _limit(spec, made.grid)
    rows = compare_schedules(spec, size.dims, size.times, paths, seed, progress)
    answer = {
        "spec": spec.text,
        "versions": package_versions(),
        "settings": made.trained.settings,
        "seed": seed,
        "experiment": made.rows[0],
        "limit": limit,
        "times": made.grid.times,
        "overlaps": made.overlaps,
        "curves": curves,
        "schedules": rows,
    }
    _write(spec, made, answer, at_home(output))
    return answer


def _write(spec: Spec, made: Outcome, answer: dict[str, Any], output: Path) -> None:
    from ...files import write_atomic
    from ...show import plots
    from ...show.answers import to_json

    write_atomic(output / "published.json", to_json(answer, indent=1).encode())
    levels = {"target": spec.values["p"], "limit": answer["limit"]["share_plus"]}
    if not spec.population:
        levels["samples"] = spec.values["n_plus"] / spec.values["n"]
    plots.save(plots.shares(answer["schedules"], levels), output / "shares")
    draw_overlaps(*_dots(made, answer["curves"]), len(made.grid.phases), output)


def _limit(spec: Spec, grid: Grid) -> tuple[dict[str, float], dict[str, Any]]:
    """The limit's samples, and its overlaps at the grid's midpoints."""
    each = grid.bounds[0]
    found = limit_at(spec, [(k + 0.5) / each for k in range(each)])
    return {name: float(found[name]) for name in SAMPLED}, overlap_curves(found)


def _dots(made: Outcome, curves: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The measured overlaps at their dilated times, and the limit's lines there."""
    t = ((np.arange(len(made.grid.times)) + 0.5) / len(made.grid.times)).tolist()
    names = [x for x in made.overlaps if x in curves and np.isfinite(curves[x]).any()]
    d = made.trained.network.d
    dots = [
        {"quantity": name, "d": d, "t": when, "mean": value, "stderr": 0.0}
        for name in names
        for when, value in zip(t, made.overlaps[name].tolist(), strict=True)
        if abs(value) < 15  # a larger bias has gone to infinity
    ]
    return dots, {name: (t, curves[name]) for name in names}
