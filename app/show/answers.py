"""The output of the commands: one JSON object, or a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any


def to_json(answer: Any, indent: int | None = None) -> str:
    """Return `answer` as strict JSON: nan and the infinities become null."""
    return json.dumps(plain(answer), allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """Turn arrays, NumPy scalars and tuples into what JSON has."""
    if hasattr(value, "tolist"):
        finite = math.isfinite(value.sum()) if value.dtype.kind == "f" else False
        value = value.tolist()
        if finite:  # nothing in it is to be replaced
            return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def solution(found: Any) -> dict[str, Any]:
    """Return what ``dilaton solve --json`` prints.

    One entry for each phase with its times `s` and `t` and every learned overlap of
    that phase, then the sampled distribution.
    """
    phases = []
    for phase, t, rows in zip(found.limit.phases, found.t, found.rows, strict=True):
        entry: dict[str, Any] = {"name": phase.name, "s": found.s, "t": t}
        names = (name.partition("[")[0] for name in phase.learned.names)
        phases.append(entry | {name: rows[name] for name in names})
    return {"phases": phases, "sample": found.scalars}


WIDTH = 100
"""Columns of a terminal that every table fits, unless one value is wider."""

ROUNDING = 1e-12
"""Overlaps are O(1) and known no better than this: what is smaller is printed as 0."""


def table(columns: Mapping[str, Iterable[Any]], keys: int = 1) -> str:
    """Return columns as aligned text; what is too wide goes below.

    The first `keys` columns stand beside each part again.
    """
    return _folded(_cells(columns), keys)


def _cells(columns: Mapping[str, Iterable[Any]]) -> list[list[str]]:
    return [[name, *(_cell(x) for x in values)] for name, values in columns.items()]


def _turned(cells: list[list[str]]) -> list[list[str]]:
    """Return columns as rows, their names aligned to the left."""
    size = max(len(name) for name, *_ in cells)
    names = [name.ljust(size) for name, *_ in cells]
    return [names, *map(list, zip(*(values for _, *values in cells), strict=True))]


def _folded(cells: list[list[str]], keys: int) -> str:
    widths = [max(len(cell) for cell in column) + 2 for column in cells]
    first = list(range(len(cells)))[:keys]
    parts = [first]
    for i in range(keys, len(cells)):
        wide = sum(widths[j] for j in [*parts[-1], i]) - 2 > WIDTH
        if wide and len(parts[-1]) > keys:
            parts.append(first)
        parts[-1] = [*parts[-1], i]
    return "\n\n".join(_aligned([cells[i] for i in part]) for part in parts)


def _aligned(cells: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in cells]
    rows = zip(*cells, strict=True)
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def ragged(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as tables, a new one where the columns change."""
    parts: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if not parts or list(parts[-1][0]) != list(row):
            parts.append([])
        parts[-1].append(row)
    return "\n\n".join(_rows(part, part[0]) for part in parts)


def _cell(value: Any) -> str:
    """Return a value as text: ``inf`` for infinity, ``-`` where there is none."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return " ".join(map(_cell, value))
    if value is None or value != value:
        return "-"
    return f"{value + 0.0:.6g}" if isinstance(value, float) else str(plain(value))


def overlap_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return overlaps as columns of numbers, each (times,), roundings of 0 as 0.

    What modes have for each mode and direction gets a column ``m_1_2`` for each, where
    it is defined.
    """
    import numpy as np

    found = {}
    for name, values in columns.items():
        array = np.asarray(values, float)
        for index in np.ndindex(array.shape[1:]):
            column = array[(slice(None), *index)]
            if not index or not np.isnan(column).all():
                number = "".join(f"_{i + 1}" for i in index)
                small = np.abs(column) < ROUNDING
                found[name + number] = np.where(small, 0.0, column)
    return found


def solution_text(answer: Mapping[str, Any]) -> str:
    """Return a solution as tables: a window's overlaps over its times, then shares.

    Where the overlaps are too many for columns, they are rows.
    """
    parts = []
    for phase in answer["phases"]:
        cells = _cells(overlap_columns({k: phase[k] for k in phase if k != "name"}))
        text = _folded(cells, keys=2)
        if "\n\n" in text:
            text = _folded(_turned(cells), keys=1)
        parts.append(f"phase {phase['name']}\n{text}")
    return "\n\n".join([*parts, _sample_text(answer["sample"])])


def _sample_text(sample: Mapping[str, Any]) -> str:
    """Return what is generated, a row for each feature or mode if there are several."""
    each = {k: x.tolist() for k, x in sample.items() if getattr(x, "ndim", 0)}
    alone = [f"{k} = {_cell(x)}" for k, x in sample.items() if k not in each]
    if not each:
        return "\n".join(alone)
    what = "mode" if "shares" in each else "feature"
    count = len(next(iter(each.values())))
    return "\n\n".join([table({what: range(1, count + 1), **each}), *alone])


_JUDGED = ("limit", "extrapolated", "extrapolated_low", "extrapolated_high")
_OFFSETS = ("offset", "offset_corrected", "offset_stderr")


def study_text(study: Mapping[str, Any]) -> str:
    """Return a convergence study as tables, notes and its verdict."""
    fits, d = study["fits"], max(study["plan"]["dims"])
    about = ("quantity", "phase")
    slopes = ("slope", "slope_low", "slope_high")
    judged = (*about, "s", *_JUDGED, *slopes, "resolution", "verdict")
    parts = [_rows(fits, judged, keys=2)]
    learned = [fit for fit in fits if fit["offset_corrected"] is not None]
    if learned:
        title = f"Distance of the mean from the limit at d = {d}, over times"
        parts.append(f"{title}:\n{_rows(learned, (*about, *_OFFSETS), keys=2)}")
    if study["laws"]:
        columns = ("quantity", "phase", "s", "d", "draws", "ks", "p_value")
        title = "Law of nu against the limit's (Kolmogorov-Smirnov), at each d"
        parts.append(f"{title}:\n{_rows(study['laws'], columns)}")
    parts += [f"Note: {note}" for note in study["notes"]]
    return "\n\n".join([*parts, _conclusion(study)])


def _conclusion(study: Mapping[str, Any]) -> str:
    """Return the verdict on a study as a sentence, with what it could have missed."""
    if study["verdict"] == "not converged":
        return (
            "The training is not converged: the largest gradient norm is "
            f"{_cell(study['gradient_norm'])}, above ten times the tolerance "
            f"{_cell(study['plan']['tolerance'])}."
        )
    by: dict[str, list[Mapping[str, Any]]] = {}
    for fit in study["fits"]:
        by.setdefault(fit["verdict"], []).append(fit)
    parts = []
    for verdict in ("inconsistent", "undecided"):
        if by.get(verdict):
            parts.append(f"{verdict}: {', '.join(map(_compared, by[verdict]))}")
    agreed, size = len(by.get("consistent", ())), study["resolution"]
    if agreed:
        which = "" if agreed == len(study["fits"]) else f" in {agreed} quantities"
        parts.append(f"consistent to {_percent(size)}{which}")
    found = "; ".join(parts) or "undecided: nothing was compared"
    return f"The limit is {found}."


def _compared(fit: Mapping[str, Any]) -> str:
    """A quantity with its phase and the smallest error that would have been seen."""
    return f"{fit['quantity']} ({fit['phase']}, {_percent(fit['resolution'])})"


def _percent(size: float | None) -> str:
    """A relative error in percent, rounded up to two digits."""
    if size is None or not math.isfinite(size):
        return "any error"
    if not size:
        return "0 %"
    unit = 10.0 ** (math.floor(math.log10(size)) + 1 - 2)
    return f"{100 * math.ceil(size / unit - 1e-9) * unit:.6g} %"


def schedules_text(found: Mapping[str, Any]) -> str:
    """Return what `dilaton schedules` prints: the limit, then the share at every d."""
    limit = ", ".join(f"{name} {_cell(x)}" for name, x in found["limit"].items())
    columns = ("schedule", "rule", "d", "times", "share_plus", "stderr", "mode_mean")
    made = [found["experiment"], *found["schedules"]]
    return f"In the limit: {limit}\n\n{_rows(made, (*columns, 'bulk_variance'))}"


def _rows(
    rows: Iterable[Mapping[str, Any]], names: Iterable[str], keys: int = 1
) -> str:
    held = list(rows)
    return table({name: [row[name] for row in held] for name in names}, keys)
