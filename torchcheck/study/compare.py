"""Conclusions of a convergence study: rows, fits, a verdict from finished cells."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...show.answers import plain
from ...theory.models.spec import Spec
from ...theory.windows.search import leading_rate
from .plan import Cell, Curves, Offsets, Plan, StudyPhase, degenerate, phases
from .series import (
    Evidence,
    fit_of,
    law_rows,
    law_series,
    learned_series,
    sampled_series,
    series_rows,
)
from .verdict import FALSE_ALARM, Criterion, Verdict, worst_verdict


@dataclass(frozen=True)
class Study:
    """The outcome: `rows` for every point, `fits` for every overlap, a verdict.

    `laws` compares the generated draws of nu with the law of the limit at every d;
    `notes` says what was not compared, and why. Rows are plain dictionaries, as
    written to JSON.
    """

    rows: list[dict[str, Any]]
    fits: list[dict[str, Any]]
    verdict: Verdict
    gradient_norm: float
    plan: Plan
    digest: str
    laws: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    seconds: float = float("nan")

    @property
    def resolution(self) -> float:
        """Largest relative error of a consistent limit that would have been missed."""
        sizes = [x["resolution"] for x in self.fits if x["verdict"] == "consistent"]
        return max(sizes, default=float("nan"))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values (nan as null)."""
        return plain(
            {
                "verdict": self.verdict,
                "resolution": self.resolution,
                "gradient_norm": self.gradient_norm,
                "spec": self.digest,
                "plan": vars(self.plan),
                "seconds": self.seconds,
                "versions": package_versions(),
                "rows": self.rows,
                "fits": self.fits,
                "laws": self.laws,
                "notes": self.notes,
            }
        )


def compare(
    plan: Plan,
    spec: Spec,
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
    offsets: Offsets | None = None,
) -> Study:
    """Compare finished cells with the limit `wanted`, quantity by quantity.

    `offsets`, the predicted corrections, are shown beside and decide nothing.
    """
    parts = phases(spec.model)
    seen = Evidence(plan, spec, parts, wanted, cells)
    overlaps = [*learned_series(seen, offsets or {}), *sampled_series(seen)]
    laws = list(law_series(seen))
    norm = max(float(cell["gradient_norm"].max()) for cell in cells.values())
    level = FALSE_ALARM / sum(len(x.limit) for x in overlaps + laws)  # shared by all
    converged, dims = norm <= 10 * plan.tolerance, np.array(plan.dims, float)
    of_phase = {x.name: x for x in parts}
    fits = []
    for series in overlaps + laws:
        part = of_phase[series.phase]
        power = float(leading_rate(spec.model, part.window))
        powers = _in_powers(spec, part)
        criterion = Criterion(level, powers, series.slack, converged, power)
        fits.append(fit_of(series, dims, criterion, plan.seed))
    return Study(
        rows=[row for x in overlaps for row in series_rows(x, plan, spec.population)],
        fits=fits,
        verdict=worst_verdict([x["verdict"] for x in fits]),
        gradient_norm=norm,
        plan=plan,
        digest=spec.digest,
        laws=law_rows(seen, laws),
        notes=(*_notes(spec, parts), *_counts(seen)),
    )


def _in_powers(spec: Spec, part: StudyPhase) -> bool:
    """Whether corrections are pure powers: a unit that saturates brings logarithms.

    With frozen noise the hidden unit saturates in every phase.
    """
    learned = part.name.startswith("weights") and not spec.frozen_noise
    return spec.kind == "modes" or learned


def _notes(spec: Spec, parts: list[StudyPhase]) -> tuple[str, ...]:
    return tuple(
        f"The phase {part.name} is degenerate: with frozen noise (noise_draws = "
        f"{spec.values['noise_draws']}) the hidden unit fits every noise draw, p is "
        "not learned and the bias is undetermined, so that overlaps, shares and the "
        "law of nu have no limit to be compared with. Of the samples the bulk variance "
        "is compared."
        for part in parts
        if degenerate(spec, part)
    )


def _counts(seen: Evidence) -> tuple[str, ...]:
    """The counts of the modes at the largest d: multinomial, by their chi-square."""
    sample, plan = seen.wanted.get("sample", {}), seen.plan
    names = [x for x in sample if x.startswith("shares_")]
    if not names:
        return ()
    from scipy.stats import chi2

    law = np.array([sample[x][0] for x in names])
    d, draws = plan.dims[-1], plan.paths * plan.seeds
    rows = [seen.stack(f"sample/{x}")[-1, :, 0] for x in names]
    share = np.mean(rows, axis=1)
    size = draws * float(np.sum((share - law) ** 2 / law))
    chance = float(chi2.sf(size, len(law) - 1))
    return (
        f"Counts of the modes in {draws} samples at d = {d} against the limit: "
        f"chi-square {size:.3g} with {len(law) - 1} degrees of freedom, chance "
        f"{chance:.2g}. (It sees the error of a finite d and of finite steps too.)",
    )


def package_versions() -> dict[str, str]:
    """Versions that the numbers depend on."""
    import torch

    from ... import __version__

    return {
        "dilaton": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
