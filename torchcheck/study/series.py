"""Series of a study: one for every quantity of a phase, with its rows and its fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .gauge import signs, turned
from .law import LEVELS, ks_row, law_time, shares_below
from .plan import (
    SAMPLED,
    Cell,
    Curves,
    Offsets,
    Plan,
    StudyPhase,
    degenerate,
    suffixes,
)
from .verdict import (
    Criterion,
    Extrapolation,
    extrapolate,
    fit_slope,
    resolution,
    strain,
    verdict_of,
)

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

_SKIPPED = {"weights": ("c",)}  # zero in the limit: c_hat is the quantity there


class Series(NamedTuple):
    r"""One quantity of one phase: values (D, K, S) and limits (S,) at times (S,).

    For a law the limits are its levels, all at one time. `draws` is the number of
    samples generated, 0 for an overlap. `shift` is the coefficient of
    $d^{-\rm rate}$ in the average over training sets, where theory has it.
    """

    phase: str
    quantity: str
    times: np.ndarray
    values: np.ndarray
    limit: np.ndarray
    slack: float
    draws: int = 0
    law: bool = False
    shift: np.ndarray | None = None
    rate: float = 0.5

    def predicted(self, d: float) -> np.ndarray | None:
        r"""The leading correction $x^{(1)} d^{-\rm rate}$ at the times, or `None`."""
        return None if self.shift is None else self.shift * float(d) ** -self.rate


def learned_series(
    plan: Plan,
    spec: Spec,
    parts: list[StudyPhase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
    offsets: Offsets,
) -> Iterator[Series]:
    """Every overlap that was measured and has a finite limit, up to units' signs."""
    first = next(iter(cells.values()))
    for part in (x for x in parts if not degenerate(spec, x)):
        s = plan.inside(part)
        skipped = _SKIPPED.get(part.name.split("-")[0], ())
        limits = {
            name: limit
            for name, limit in wanted.get(part.name, {}).items()
            if name not in skipped and f"{part.name}/{name}" in first
        }
        measured = {x: _stack(plan, cells, f"{part.name}/{x}") for x in limits}
        # a softmax has no such sign
        chosen = {} if spec.kind == "modes" else signs(measured, limits)
        for name, limit in limits.items():
            good = np.isfinite(limit)
            if not good.any():
                continue
            values = turned(name, measured[name], chosen)[:, :, good]
            slack = _slack(cells, f"{part.name}/{name}")
            found = Series(part.name, name, s[good], values, limit[good], slack)
            offset = offsets.get(part.name)
            if offset is not None and name in offset.shifts:
                shift = offset.shifts[name][good]
                found = found._replace(shift=shift, rate=offset.rate)
            yield found


def _stack(plan: Plan, cells: Mapping[tuple[int, int], Cell], key: str) -> np.ndarray:
    """Values of all cells, shape (D, K, S)."""
    return np.array([[cells[d, k][key] for k in range(plan.seeds)] for d in plan.dims])


def _slack(cells: Mapping[tuple[int, int], Cell], name: str) -> float:
    """The largest effect of a finite time step on a quantity; 0 where none is taken."""
    steps = [np.max(x.get(f"step/{name}", 0.0)) for x in cells.values()]
    return float(max(steps))


def sampled_series(
    plan: Plan,
    spec: Spec,
    parts: list[StudyPhase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> Iterator[Series]:
    """Series of the samples: the shares when decided, means and the bulk at the end."""
    first = next(iter(cells.values()))
    for name, limit in wanted.get("sample", {}).items():
        if f"sample/{name}" not in first or not np.isfinite(limit).all():
            continue
        share = name.startswith("share")
        yield Series(
            (_decides(spec, parts, name) if share else parts[-1]).name,
            name,
            np.ones(1),
            _stack(plan, cells, f"sample/{name}"),
            limit,
            _slack(cells, name),
            plan.paths if share else 0,
        )


def _decides(spec: Spec, parts: list[StudyPhase], name: str) -> StudyPhase:
    """The phase that decides the feature that `name` belongs to."""
    ends = suffixes(spec.model)
    j = next((i for i, x in enumerate(ends, 1) if x and name.endswith(x)), 1)
    return next(x for x in parts if j in x.window.features)


def law_series(
    plan: Plan,
    spec: Spec,
    parts: list[StudyPhase],
    wanted: Curves,
    cells: Mapping[tuple[int, int], Cell],
) -> Iterator[Series]:
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
        yield Series(
            part.name,
            law,
            np.full(len(LEVELS), s),
            np.array(values),
            LEVELS,
            _slack(cells, law),
            plan.paths,
            law=True,
        )


def law_rows(
    plan: Plan,
    laws: list[Series],
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


def series_rows(series: Series, plan: Plan, population: bool) -> list[dict[str, Any]]:
    """One row for every time and dimension, with the predicted correction.

    Overlaps of a population do not vary from seed to seed and have no z-score.
    """
    sampled = series.quantity.startswith(SAMPLED[:2])
    scatters = sampled or not population
    return [
        _row(series, i, j, d, scatters)
        for j in range(len(series.times))
        for i, d in enumerate(plan.dims)
    ]


def _row(series: Series, i: int, j: int, d: int, scatters: bool) -> dict[str, Any]:
    values, limit = series.values[i, :, j], float(series.limit[j])
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    stderr = (variance / len(values)) ** 0.5
    predicted = series.predicted(d)
    row = {
        "phase": series.phase,
        "s": float(series.times[j]),
        "quantity": series.quantity,
        "d": d,
        "mean": mean,
        "stderr": stderr,
        "variance": variance,
        "limit": limit,
        "z": (mean - limit) / stderr if stderr > 0 and scatters else None,
        "correction": None if predicted is None else _finite(predicted[j]),
    }
    if series.draws:
        share = min(max(mean, 0.0), 1.0)
        row["binomial"] = (share * (1 - share) / (series.draws * len(values))) ** 0.5
    return row


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def fit_of(
    series: Series, dims: np.ndarray, criterion: Criterion, seed: int
) -> dict[str, Any]:
    """Rate over all times; extrapolation at the time that fits the limit worst."""
    limit, values = series.limit, series.values
    slope, low, high = fit_slope(dims, values - limit, seed, criterion.power)
    if series.law:  # the noise of a finite number of draws does not shrink with d
        slope = low = high = float("nan")
    found = [
        extrapolate(dims, values[:, :, j], limit[j], criterion)
        for j in range(len(limit))
    ]
    strains = [strain(x, y) for x, y in zip(found, limit, strict=True)]
    finest = _resolution(series, found)
    j = int(np.argmax(strains))
    return {
        "quantity": series.quantity,
        "phase": series.phase,
        "slope": slope,
        "slope_low": low,
        "slope_high": high,
        "rate": criterion.power,
        "s": float(series.times[j]),
        "limit": float(limit[j]),
        "extrapolated": found[j].value,
        "extrapolated_low": found[j].low,
        "extrapolated_high": found[j].high,
        "resolution": finest,
        **_offsets(series, dims),
        "verdict": verdict_of(strains[j] <= 1, finest, criterion),
    }


def _resolution(series: Series, found: list[Extrapolation]) -> float:
    """The smallest error of a limit that its comparison would call inconsistent.

    An overlap's is relative, and taken to be the same at all times, so that its best
    time counts; where the limit is zero at all times it is absolute. A law's is that of
    the share below any of its levels.
    """
    pairs = list(zip(found, series.limit, strict=True))
    if series.law:
        return max(resolution(x, y, 1.0) for x, y in pairs)
    zero = not np.any(series.limit)
    return min(resolution(x, y, 1.0 if zero else abs(y)) for x, y in pairs)


def _offsets(series: Series, dims: np.ndarray) -> dict[str, float | None]:
    """How far the mean over seeds is off at the largest d, before and after correction.

    Root mean squares over times; `offset_stderr` is what chance leaves of any.
    """
    values = series.values[-1]
    off = values.mean(0) - series.limit
    predicted = series.predicted(dims[-1])
    known = predicted is not None and np.isfinite(predicted).all()
    return {
        "offset": _size(off),
        "offset_corrected": _size(off - predicted) if known else None,
        "offset_stderr": _size(values.std(0, ddof=1) / len(values) ** 0.5),
    }


def _size(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
