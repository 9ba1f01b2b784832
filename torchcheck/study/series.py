r"""Series of a study: one for every quantity of a phase, with its rows and its fit.

With an odd activation $(u, w, b)$ and $-(u, w, b)$ are the same function: overlaps are
compared with a limit up to that sign, one for each hidden unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...theory.models.spec import Spec
from .law import LEVELS, ks_row, law_time, shares_below
from .plan import SAMPLED, Cell, Curves, Offsets, Plan, StudyPhase, degenerate, suffixes
from .verdict import (
    Criterion,
    Extrapolation,
    extrapolate,
    fit_slope,
    resolution,
    strain,
    verdict_of,
)

_ODD = ("m", "omega", "b", "a", "zeta", "e")  # of one unit, by their first word
_PAIRS = ("q", "r")  # of two units, which turn with either
_SKIPPED = {"weights": ("c",)}  # zero in the limit: c_hat is the quantity there


class Series(NamedTuple):
    r"""One quantity of one phase: values (D, K, S) and limits (S,) at times (S,).

    For a law the limits are its levels, all at one time. `draws` is the number of
    samples generated, 0 for an overlap. `shift` is the coefficient of
    $d^{-\rm rate}$ in the average over training sets, where theory has it. `unit` is
    that of its errors, 0 for the limit itself.
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
    unit: float = 0.0

    def predicted(self, d: float) -> np.ndarray | None:
        r"""The leading correction $x^{(1)} d^{-\rm rate}$ at the times, or `None`."""
        return None if self.shift is None else self.shift * float(d) ** -self.rate


class Evidence(NamedTuple):
    """The finished cells of a study beside the limit: what its series are made of."""

    plan: Plan
    spec: Spec
    parts: list[StudyPhase]
    wanted: Curves
    cells: Mapping[tuple[int, int], Cell]

    def has(self, key: str) -> bool:
        """Whether a quantity was measured."""
        return key in next(iter(self.cells.values()))

    def stack(self, key: str) -> np.ndarray:
        """Values of all cells, shape (D, K, S)."""
        dims, seeds = self.plan.dims, range(self.plan.seeds)
        return np.array([[self.cells[d, k][key] for k in seeds] for d in dims])

    def slack(self, name: str) -> float:
        """The largest effect of a finite time step on a quantity; 0 without any."""
        return float(
            max(np.max(x.get(f"step/{name}", 0.0)) for x in self.cells.values())
        )

    def deciding(self, name: str) -> StudyPhase:
        """The phase that decides the feature that `name` belongs to."""
        ends = suffixes(self.spec.model)
        j = next((i for i, x in enumerate(ends, 1) if x and name.endswith(x)), 1)
        return next(x for x in self.parts if j in x.window.features)


def learned_series(seen: Evidence, offsets: Offsets) -> Iterator[Series]:
    """Every overlap that was measured and has a finite limit, up to units' signs."""
    for part in (x for x in seen.parts if not degenerate(seen.spec, x)):
        s = seen.plan.inside(part)
        skipped = _SKIPPED.get(part.name.split("-")[0], ())
        limits = {
            name: limit
            for name, limit in seen.wanted.get(part.name, {}).items()
            if name not in skipped and seen.has(f"{part.name}/{name}")
        }
        measured = {x: seen.stack(f"{part.name}/{x}") for x in limits}
        # a softmax has no such sign
        chosen = {} if seen.spec.kind == "modes" else signs(measured, limits)
        for name, limit in limits.items():
            good = np.isfinite(limit)
            if not good.any():
                continue
            values = turned(name, measured[name], chosen)[:, :, good]
            slack = seen.slack(f"{part.name}/{name}")
            about = part.name, name, s[good], values, limit[good], slack
            found = Series(*about, unit=error_unit(name, limits))
            offset = offsets.get(part.name)
            if offset is not None and name in offset.shifts:
                shift = offset.shifts[name][good]
                found = found._replace(shift=shift, rate=offset.rate)
            yield found


def error_unit(name: str, limits: Mapping[str, np.ndarray]) -> float:
    r"""The largest limit of the kind of an overlap between features, 0 for another.

    The overlaps of one unit with itself or its own feature bound $q_{12}$ and $m_{12}$,
    which many samples make vanish: their errors are measured in these.
    """
    kind, *numbers = name.split("_")
    if sum(map(str.isdigit, numbers)) < 2:
        return 0.0
    alike = [y for x, y in limits.items() if x.split("_")[0] == kind]
    return float(max(np.nanmax(np.abs(y), initial=0.0) for y in alike))


def sampled_series(seen: Evidence) -> Iterator[Series]:
    """Series of the samples: the shares when decided, means and the bulk at the end."""
    for name, limit in seen.wanted.get("sample", {}).items():
        if not seen.has(f"sample/{name}") or not np.isfinite(limit).all():
            continue
        share = name.startswith("share")
        part = seen.deciding(name) if share else seen.parts[-1]
        values, draws = seen.stack(f"sample/{name}"), seen.plan.paths if share else 0
        yield Series(
            part.name, name, np.ones(1), values, limit, seen.slack(name), draws
        )


def law_series(seen: Evidence) -> Iterator[Series]:
    """Share of the draws of nu below each level of the limit's law."""
    plan = seen.plan
    for name, limit in seen.wanted.get("law", {}).items():
        if not seen.has(f"draws/{name}"):
            continue
        part, law = seen.deciding(name), name.replace("nu", "law")
        times = np.full(len(LEVELS), law_time(part.window, plan.cells // 2))
        draws = seen.stack(f"draws/{name}")
        values = np.array([[shares_below(x, limit) for x in row] for row in draws])
        slack = seen.slack(law)
        yield Series(part.name, law, times, values, LEVELS, slack, plan.paths, law=True)


def law_rows(seen: Evidence, laws: list[Series]) -> list[dict[str, Any]]:
    """The test of Kolmogorov and Smirnov at every d, over the draws of all seeds."""
    rows = []
    for series in laws:
        name = series.quantity.replace("law", "nu")
        for d, draws in zip(seen.plan.dims, seen.stack(f"draws/{name}"), strict=True):
            test = ks_row(np.concatenate(draws), seen.wanted["law"][name])
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
    moved = series.predicted(d)
    shift = float(moved[j]) if moved is not None and np.isfinite(moved[j]) else None
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
        "correction": shift,
    }
    if series.draws:
        share = min(max(mean, 0.0), 1.0)
        row["binomial"] = (share * (1 - share) / (series.draws * len(values))) ** 0.5
    return row


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
    time counts; between features it is in units of the largest of its kind, and where
    the limit is zero at all times it is absolute. A law's is that of the share below
    any of its levels.
    """
    pairs = list(zip(found, series.limit, strict=True))
    if series.law:
        return max(resolution(x, y, 1.0) for x, y in pairs)
    unit = series.unit or (0.0 if np.any(series.limit) else 1.0)
    return min(resolution(x, y, unit or abs(y)) for x, y in pairs)


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


# ------------------------------------------ the sign that a network is free to choose


def turning_units(name: str) -> tuple[str, ...]:
    """The units with whose sign an overlap turns, by their numbers in its name.

    ``""`` stands for the unit of a network that has one; ``m_1_2`` turns with unit 1,
    ``q_1_2`` with units 1 and 2, ``v_1`` with none.
    """
    first, *rest = name.split("_")
    numbers = tuple(x for x in rest if x.isdigit())
    if first in _ODD:
        return numbers[:1] or ("",)
    return numbers if first in _PAIRS and len(numbers) == 2 else ()


def signs(
    measured: Mapping[str, np.ndarray], limits: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The sign of each unit that brings its overlaps to their limits, by its number.

    All overlaps of a unit decide together, each by how much it agrees for its size, so
    that one wrong limit turns nothing. `measured` has shape (..., S), `limits` (S,);
    what is not finite has no say.
    """
    agreement: dict[str, np.ndarray] = {}
    for name, limit in limits.items():
        units = turning_units(name)
        if len(units) == 1 and name in measured:
            x, y = measured[name], np.where(np.isfinite(limit), limit, 0.0)
            size = x**2 + y**2
            share = x * y / np.where(size > 0, size, 1.0)
            agreement[units[0]] = agreement.get(units[0], 0.0) + share
    return {unit: np.where(x < 0, -1.0, 1.0) for unit, x in agreement.items()}


def turned(
    name: str, values: np.ndarray, chosen: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The values of an overlap after its units are turned by the signs `chosen`."""
    for unit in turning_units(name):
        values = values * chosen.get(unit, 1.0)
    return values
