"""What a convergence study compares and concludes: its plan, rows, fits, verdict."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..answers import plain
from ..errors import ModelError
from ..theory.bayes import suffix
from ..theory.dilation import Window, find_windows, window_names
from ..theory.model import Model
from .law import LEVELS, ks_row, law_time, shares_below
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
"""Phase name to quantity name to the limit at the phase's times; ``sample`` too, and
``law`` with sorted draws of every nu."""

Cell = Mapping[str, np.ndarray]
"""What one training set gave: ``phase/quantity`` to values at the phase's times."""

TIMES = (0.25, 0.5, 0.75, 1.0)
"""Times inside a phase unless asked otherwise; 1 is left out where tau would be 1."""

SAMPLED = ("share_plus", "mode_mean", "bulk_variance")
"""Quantities of generated samples."""

_SKIPPED = {"weights": ("c",)}  # zero in the limit: c_hat is the quantity there


class Phase(NamedTuple):
    """A phase by its name and the window of time it spends."""

    name: str
    window: Window


def phases(model: Model) -> list[Phase]:
    """The phases of a model in order; derives no equation."""
    windows = find_windows(model)
    return [Phase(*x) for x in zip(window_names(windows), windows, strict=True)]


def suffixes(model: Model) -> list[str]:
    """What the features' quantities end in: ``_1``, ``_2``; nothing for two modes."""
    return [suffix(model, j + 1) for j in range(len(model.target.features))]


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
        Generated samples a training set (0 for none); cells of their coarser grid,
        for every two phases.
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
                "laws": self.laws,
                "notes": self.notes,
            }
        )


class _Series(NamedTuple):
    """One quantity of one phase: values (D, K, S) and limits (S,) at times (S,).

    For a law the limits are its levels, all at one time. `draws` is the number of
    generated samples behind a value, 0 for an overlap.
    """

    phase: str
    quantity: str
    times: np.ndarray
    values: np.ndarray
    limit: np.ndarray
    slack: float
    draws: int = 0


def compare(
    plan: Plan, spec: Spec, wanted: Curves, cells: Mapping[tuple[int, int], Cell]
) -> Study:
    """Compare finished cells with the limit `wanted`, quantity by quantity."""
    parts = phases(spec.model)
    overlaps = [
        *_series(plan, spec, parts, wanted, cells),
        *_sampled_series(plan, spec, parts, wanted, cells),
    ]
    laws = list(_law_series(plan, spec, parts, wanted, cells))
    found = overlaps + laws
    tests = sum(len(x.limit) for x in found)
    norm = max(float(cell["gradient_norm"].max()) for cell in cells.values())
    powers = {part.name: _power(spec.model, part, parts) for part in parts}
    fits = []
    for series in found:
        rule = Rule(
            level=FALSE_ALARM / tests,
            # with frozen noise the hidden unit saturates in every phase
            powers=series.phase.startswith("weights") and not spec.frozen_noise,
            slack=series.slack,
            converged=norm <= 10 * plan.tolerance,
            power=powers[series.phase],
        )
        fits.append(_fit(series, np.array(plan.dims, float), rule, plan.seed))
    return Study(
        rows=[row for x in overlaps for row in _rows(x, plan.dims, spec.population)],
        fits=fits,
        verdict=worst([x["verdict"] for x in fits]),
        gradient_norm=norm,
        plan=plan,
        digest=spec.digest,
        laws=_law_rows(plan, laws, wanted, cells),
        notes=_notes(spec, parts),
    )


def _power(model: Model, part: Phase, parts: list[Phase]) -> float:
    """What a phase's corrections are a series of: the power of 1/d."""
    layers = [x.window.exponent for x in parts if x.window.exponent != 0]
    own = [part.window.exponent] if part.window.exponent != 0 else layers
    half = [0.5] if model.data.samples or not own else []
    return float(min(own + half))


def degenerate(spec: Spec, part: Phase) -> bool:
    """Whether the phase has no limit to compare networks with."""
    return spec.frozen_noise and bool(part.window.features)


def _notes(spec: Spec, parts: list[Phase]) -> tuple[str, ...]:
    return tuple(
        f"The phase {part.name} is degenerate: with frozen noise (noise_draws = "
        f"{spec.values['noise_draws']}) the hidden unit fits every noise draw, p is "
        "not learned and the bias is undetermined, so that overlaps, shares and the "
        "law of nu have no limit to be compared with. Of the samples the bulk variance "
        "is compared."
        for part in parts
        if degenerate(spec, part)
    )


def _series(
    plan: Plan,
    spec: Spec,
    parts: list[Phase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> Iterator[_Series]:
    """Every overlap that was measured and has a finite limit."""
    first = next(iter(cells.values()))
    for part in parts:
        s = plan.inside(part)
        for name, limit in wanted.get(part.name, {}).items():
            good = np.isfinite(limit)
            skip = name in _SKIPPED.get(part.name.split("-")[0], ())
            skip |= degenerate(spec, part) or f"{part.name}/{name}" not in first
            if skip or not good.any():
                continue
            values = _stack(plan, cells, f"{part.name}/{name}")[:, :, good]
            yield _Series(part.name, name, s[good], values, limit[good], 0.0)


def _stack(plan: Plan, cells: Mapping[tuple[int, int], Cell], key: str) -> np.ndarray:
    """Values of all cells, shape (D, K, S)."""
    return np.array([[cells[d, k][key] for k in range(plan.seeds)] for d in plan.dims])


def _sampled_series(
    plan: Plan,
    spec: Spec,
    parts: list[Phase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> Iterator[_Series]:
    """What was generated: the shares when decided, means and the bulk at the end."""
    first = next(iter(cells.values()))
    for name, limit in wanted.get("sample", {}).items():
        if f"sample/{name}" not in first or not np.isfinite(limit).all():
            continue
        share = name.startswith("share_plus")
        yield _Series(
            (_decides(spec, parts, name) if share else parts[-1]).name,
            name,
            np.ones(1),
            _stack(plan, cells, f"sample/{name}"),
            limit,
            max(float(x[f"step/{name}"][0]) for x in cells.values()),
            plan.paths if share else 0,
        )


def _decides(spec: Spec, parts: list[Phase], name: str) -> Phase:
    """The phase that decides the feature that `name` belongs to."""
    ends = suffixes(spec.model)
    j = next((i for i, x in enumerate(ends, 1) if x and name.endswith(x)), 1)
    return next(x for x in parts if j in x.window.features)


def _law_series(
    plan: Plan,
    spec: Spec,
    parts: list[Phase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> Iterator[_Series]:
    """Share of the draws of nu below each level of the limit's law."""
    first = next(iter(cells.values()))
    for name, limit in wanted.get("law", {}).items():
        if f"draws/{name}" not in first:
            continue
        part = _decides(spec, parts, name)
        law = name.replace("nu", "law")
        values = [
            [
                shares_below(cells[d, k][f"draws/{name}"], limit)
                for k in range(plan.seeds)
            ]
            for d in plan.dims
        ]
        s = law_time(part.window, plan.cells // 2)
        yield _Series(
            part.name,
            law,
            np.full(len(LEVELS), s),
            np.array(values),
            LEVELS,
            max(float(x[f"step/{law}"][0]) for x in cells.values()),
            plan.paths,
        )


def _law_rows(
    plan: Plan,
    laws: list[_Series],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> list[dict[str, Any]]:
    """The test of Kolmogorov and Smirnov at every d, over the draws of all seeds."""
    rows = []
    for series in laws:
        name = series.quantity.replace("law", "nu")
        for d in plan.dims:
            draws = [cells[d, k][f"draws/{name}"] for k in range(plan.seeds)]
            test = ks_row(np.concatenate(draws), wanted["law"][name])
            about = {"phase": series.phase, "s": float(series.times[0])}
            rows.append(about | {"quantity": name, "d": d} | test)
    return rows


def _rows(
    series: _Series, dims: tuple[int, ...], population: bool
) -> list[dict[str, Any]]:
    """One row for every time and dimension.

    Overlaps of a population do not vary from seed to seed and have no z-score.
    """
    mean, variance = series.values.mean(1), series.values.var(1, ddof=1)
    count = series.values.shape[1]
    stderr = np.sqrt(variance / count)
    sampled = series.quantity.startswith(SAMPLED[:2])
    scatter = (stderr > 0) & (sampled or not population)
    rows: list[dict[str, Any]] = [
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
            if scatter[i, j]
            else None,
        }
        for j, s in enumerate(series.times)
        for i, d in enumerate(dims)
    ]
    for row in rows if series.draws else ():
        share = min(max(row["mean"], 0.0), 1.0)
        row["binomial"] = (share * (1 - share) / (series.draws * count)) ** 0.5
    return rows


def _fit(series: _Series, dims: np.ndarray, rule: Rule, seed: int) -> dict[str, Any]:
    """Rate over all times; extrapolation at the time that fits the limit worst."""
    limit, values = series.limit, series.values
    slope, low, high = fit_slope(dims, values - limit, seed, rule.power)
    if series.draws:  # binomial noise does not shrink with d
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
