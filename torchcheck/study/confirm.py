"""The confirming half of a report: networks trained at several d and measured.

Two ways to train, side by side: by the exact average over the noise (many seeds, large
d, for rates) and on sampled noise (as practitioners do, at smaller d).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DilatonError
from ...theory.models.model import TAU
from ...theory.windows.search import leading_rate
from ..device import need_torch
from .plan import PROCEDURES, phases

if TYPE_CHECKING:
    from ...theory.derive import Limit
    from ...theory.models.spec import Spec
    from ..networks.step_grid import StepRule
    from .schedules import Outcome, Schedule, Training

Row = dict[str, Any]
Tick = Callable[[str], None]

MEASURED = ("c_hat", "m", "omega", "b", "q", "r", "c")


@dataclass(frozen=True)
class ReportSettings:
    """The amount that is computed; no setting changes what is computed."""

    dims: tuple[int, ...]  # dimensions trained by the exact average
    seeds: int
    times: tuple[float, ...]  # times in each phase at which overlaps are compared
    cells: int  # networks in each phase for sampling
    paths: int  # generated samples
    sampled_dims: tuple[int, ...]  # dimensions trained on sampled noise
    sampled_steps: int
    sampled_cells: int
    draws: int = 2**15  # of the noise, for networks of modes

    @property
    def ticks(self) -> int:
        """Number of trainings, for a progress bar."""
        return len(self.dims) * (self.seeds + 3) + 2 * len(self.sampled_dims)


EIGHTHS = tuple(k / 8 for k in range(1, 9))
FULL = ReportSettings(
    (1000, 3000, 10_000, 30_000), 8, EIGHTHS, 12, 20_000, (200, 400, 800), 800, 6
)
QUICK = ReportSettings(
    (1000, 3000, 10_000), 3, EIGHTHS[1::2], 6, 10_000, (150, 300), 200, 3
)

UNITS_FULL = replace(FULL, seeds=4, cells=8, sampled_dims=())
UNITS_QUICK = ReportSettings((1000, 3000, 10_000), 3, (0.5, 1.0), 8, 10_000, (), 0, 0)

MOST_STRETCH = 1.5
"""Largest power of the usual dimensions: up to a d of a million."""

STRICT = 1e-11
"""Gradient norm of networks with a unit a feature: at 1e-9 what is left of the descent
is 5e-4 of an overlap, more than a d of a million leaves of its distance."""


def untrainable(spec: Spec) -> str | None:
    """Return why no networks are trained for `spec`, or None."""
    if spec.frozen_noise:
        return (
            "With frozen noise the weights are not learned (the phase is degenerate), "
            "so that there is no limit to compare networks with."
        )
    if spec.tables["network"]["activation"] == "sign" or spec.tables["network"]["tied"]:
        return "Networks are trained untied, with an activation that has a gradient."
    if spec.model.interpolant.alpha.subs(TAU, 0) != 1:
        return (
            "Networks are sampled from `N(0, I)`, which is where a schedule with "
            "`alpha(0) = 1` starts; this one starts elsewhere."
        )
    need_torch()
    from .cells import check_network_training

    try:
        check_network_training(spec, settings_for(spec, True).dims[0])
    except DilatonError as error:
        return str(error)
    return None


def settings_for(spec: Spec, quick: bool) -> ReportSettings:
    """Return the amount of work, with dimensions that hold the training set."""
    if spec.kind == "two-modes":
        chosen = QUICK if quick else FULL
    else:
        chosen = UNITS_QUICK if quick else UNITS_FULL
    need = 1 if spec.population else spec.tables["data"]["n"] + 2
    least = (chosen.sampled_dims or chosen.dims)[0]
    scale = max(1, math.ceil(need / least))
    stretch = _stretch(spec)
    return replace(
        chosen,
        dims=tuple(round(d**stretch) * scale for d in chosen.dims),
        sampled_dims=tuple(d * scale for d in chosen.sampled_dims),
    )


def _stretch(spec: Spec) -> float:
    """The power of the usual dimensions at which errors are as small as usual.

    In the window of a feature of positive exponent they fall more slowly than
    $d^{-1/2}$. Networks live in the span of the means, so that a d costs nothing.
    """
    rates = [float(leading_rate(spec.model, x.window)) for x in phases(spec.model)]
    return min(max(0.5 / min(rates), 1.0), MOST_STRETCH)


@dataclass
class Confirmation:
    """The results of the networks, as rows that a report prints and plots.

    `dots` are overlaps against the limit and `fits` their rates and verdicts, from the
    convergence study; `sampled` are overlaps of training on sampled noise; `shares`
    what was generated; `generated` the samples themselves at the largest d, for each
    feature: when it is decided, and in units of its mean at the end.
    """

    dots: list[Row] = field(default_factory=list)
    fits: list[Row] = field(default_factory=list)
    verdict: str = ""
    resolution: float = math.nan
    gradient_norm: float = math.nan
    sampled: list[Row] = field(default_factory=list)
    shares: list[Row] = field(default_factory=list)
    trainings: list[Row] = field(default_factory=list)
    generated: dict[str, list[np.ndarray]] = field(default_factory=dict)


def confirm(
    spec: Spec,
    limit: Limit,
    settings: ReportSettings,
    seed: int,
    device: str,
    tick: Tick,
) -> Confirmation:
    """Train, measure and sample at every dimension of `settings`."""
    need_torch()
    work = _Work(spec, settings, seed, device, tick, Confirmation())
    work.study(limit)
    for d in settings.dims:
        work.generate(d)
    for d in settings.sampled_dims:
        work.sampled(d)
    return work.found


@dataclass
class _Work:
    """The state that the parts of a confirmation share."""

    spec: Spec
    settings: ReportSettings
    seed: int
    device: str
    tick: Tick
    found: Confirmation

    @property
    def names(self) -> list[str]:
        """The names of the phases."""
        return [x.name for x in phases(self.spec.model)]

    def study(self, limit: Limit) -> None:
        """Run the convergence study: overlaps at every d and seed."""
        from .converge import converge

        def progress(jobs: Iterable[Any]) -> Iterator[Any]:
            for d, k in jobs:
                yield d, k
                self.tick(f"d = {d}, training set {k + 1} of {self.settings.seeds}")

        plan = self.settings
        own: dict[str, Any] = {"progress": progress, "times": plan.times}
        own |= {"paths": 0, "seed": self.seed}
        if self.spec.kind == "modes":
            own["draws"] = plan.draws
        else:
            own |= {"limit": limit, "device": self.device}
            own |= {"tolerance": STRICT} if self.spec.kind == "product" else {}
        study = converge(self.spec, plan.dims, plan.seeds, **own)
        for row in study.rows:
            t = (self.names.index(row["phase"]) + row["s"]) / len(self.names)
            self.found.dots.append(row | {"t": t})
        self.found.fits = list(study.fits)
        self.found.verdict, self.found.resolution = study.verdict, study.resolution
        self.found.gradient_norm = study.gradient_norm

    def generate(self, d: int) -> None:
        """Sample with the dilation, and through as many networks spread evenly."""
        if self.spec.kind == "modes":
            self.generate_modes(d)
            return
        from .schedules import Schedule, Training

        cells, how = self.settings.cells, PROCEDURES[self.spec.kind]
        training = Training(steps=min(Training.steps, how.sampled), device=self.device)
        names = {}
        for schedule in (
            self.dilated(cells),
            Schedule(False, "left", len(self.names) * cells),
            Schedule(False, "midpoint", len(self.names) * cells),
        ):
            made = self.run(d, schedule, training)
            self.found.shares += made.rows
            self.tick(f"d = {d}, {schedule.title}")
            if schedule.dilated:
                names["decided"] = [x.decided_nu for x in made.features]
            title = schedule.title.replace(",", "")
            names[title] = [x.nu[-1] / x.norm for x in made.features]
        if d == self.settings.dims[-1]:
            self.found.generated = names

    def dilated(self, cells: int) -> Schedule:
        """The dilation, with so many cells in each phase."""
        from .schedules import Schedule

        grading = PROCEDURES[self.spec.kind].grading
        return Schedule(True, "midpoint", len(self.names) * cells, grading)

    def generate_modes(self, d: int) -> None:
        """The same for modes, whose samples are counted to the nearest mean."""
        from .cells import Trial
        from .modes_cell import carried_shares, window_edges
        from .plan import Plan

        settings, even = self.settings, len(self.names) * self.settings.cells
        plan = Plan(settings.dims, settings.seeds, paths=settings.paths)
        plan = replace(plan, tolerance=PROCEDURES["modes"].tolerance)
        trial = Trial(self.spec, plan, d, self.seed)
        whole = np.linspace(0.0, 1.0, even + 1)
        runs: tuple[tuple[str, StepRule, np.ndarray], ...] = (
            ("dilated", "midpoint", window_edges(trial, settings.cells)),
            ("undilated", "left", whole),
            ("undilated", "midpoint", whole),
        )
        for schedule, rule, edges in runs:
            found = carried_shares(trial, edges, rule)
            for k, share in enumerate(found.tolist(), 1):
                chance = (share * (1 - share) / plan.paths) ** 0.5
                about = {"mode": k, "schedule": schedule, "rule": rule, "d": d}
                row = {"times": len(edges) - 1, "share": share, "stderr": chance}
                self.found.shares.append(about | row)
            self.tick(f"d = {d}, {schedule}, {rule}")

    def run(self, d: int, schedule: Schedule, training: Training) -> Outcome:
        """Train and sample one schedule; note how the training went."""
        from .schedules import run_schedule

        made = run_schedule(
            self.spec, d, schedule, self.settings.paths, self.seed, training
        )
        trained = made.trained
        self.found.trainings.append(
            {
                "schedule": schedule.title,
                "d": d,
                "seed": self.seed,
                "times": len(trained.times),
                "gradient_norm": float(trained.gradient_norm.max()),
                "seconds": trained.seconds,
                **trained.settings,
            }
        )
        return made

    def sampled(self, d: int) -> None:
        """Train on sampled noise, and by the exact average on the same samples."""
        import torch

        from .schedules import Training

        how = self.settings.sampled_steps, self.device
        batch = 128 if self.spec.population else None
        training = Training("sampled", *how, batch, torch.float32)
        made = self.run(d, self.dilated(self.settings.sampled_cells), training)
        self.tick(f"d = {d}, sampled noise")
        row = made.rows[0] | {"schedule": "dilated, sampled noise"}
        self.found.shares.append(row)
        self.found.sampled += self.beside(made, d)
        self.tick(f"d = {d}, the same samples, exact average")

    def beside(self, made: Any, d: int) -> list[Row]:
        """Overlaps of sampled training beside those of the exact average."""
        from ..networks.train import train
        from ..networks.training_set import in_span
        from .series import signs, turned

        model, values, times = self.spec.model, self.spec.values, made.grid.times
        data = in_span(made.trained.data.double())
        exact = train(model, values, times, d, self.seed, data=data, device=self.device)
        reference = exact.network.overlaps(exact.data)
        chosen = signs(made.overlaps, reference)
        return [
            {
                "phase": self.names[j // self.settings.sampled_cells],
                "tau": float(times[j]),
                "quantity": name,
                "d": d,
                "mean": float(turned(name, made.overlaps[name], chosen)[j]),
                "exact": float(reference[name][j]),
            }
            for j in range(len(times))
            for name in MEASURED
        ]
