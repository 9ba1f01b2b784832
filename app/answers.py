"""What the commands print: one JSON object, or a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .numerics.solve import Solution


def to_json(answer: Any, indent: int | None = None) -> str:
    """Return `answer` as strict JSON: nan and the infinities become null."""
    return json.dumps(plain(answer), allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """Turn arrays, NumPy scalars and tuples into what JSON has."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def solution(found: Solution) -> dict[str, Any]:
    """Return what ``dilaton solve --json`` prints.

    One entry for each phase with its times `s` and `t` and every learned overlap of
    that phase, then the sampled distribution.
    """
    phases = []
    for phase, t, rows in zip(found.limit.phases, found.t, found.rows, strict=True):
        entry: dict[str, Any] = {"name": phase.name, "s": found.s, "t": t}
        phases.append(entry | {name: rows[name] for name in phase.learned.names})
    return {"phases": phases, "sample": found.scalars}


def table(columns: Mapping[str, Iterable[Any]]) -> str:
    """Return columns as aligned text."""
    cells = [[name, *(_cell(x) for x in values)] for name, values in columns.items()]
    widths = [max(len(cell) for cell in column) for column in cells]
    rows = zip(*cells, strict=True)
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(value: Any) -> str:
    value = plain(value)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(map(_cell, value)) if isinstance(value, list) else str(value)


def solution_text(answer: Mapping[str, Any]) -> str:
    """Return a solution as tables."""
    parts = []
    for phase in answer["phases"]:
        parts += [
            f"phase {phase['name']}",
            table({k: phase[k] for k in phase if k != "name"}),
        ]
        parts.append("")
    parts += [f"{key} = {_cell(value)}" for key, value in answer["sample"].items()]
    return "\n".join(parts)
