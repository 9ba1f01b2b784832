"""The figures of a convergence study, from its rows and the limiting curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...show import plots
from ...theory.symbols.notation import TABLE

_MOST_LINES = 12

Row = Mapping[str, Any]
Line = tuple[Sequence[float], Sequence[float]]


def draw_study(
    rows: Sequence[Row],
    fits: Sequence[Row],
    curves: Mapping[str, Line],
    phases: Sequence[str],
    folder: Path,
) -> None:
    """Write ``overlaps`` and ``convergence`` as PNG, PDF and SVG into `folder`.

    `curves` holds (dilated times, values) of the limit by quantity. Of many quantities
    in a phase ``convergence`` shows those that are farthest from the limit.
    """
    dots = [
        {**row, "t": (phases.index(row["phase"]) + row["s"]) / len(phases)}
        for row in rows
        if row["quantity"] in curves
    ]
    draw_overlaps(dots, curves, len(phases), folder)
    errors = distances(rows)
    slopes = [fit for fit in fits if np.isfinite(fit["slope"])]
    if slopes:
        shown = _farthest(slopes, errors)
        figure = plots.convergence(errors, shown, _titles(rows))
        plots.save(figure, folder / "convergence")


def draw_overlaps(
    dots: Sequence[Row], curves: Mapping[str, Line], phases: int, folder: Path
) -> None:
    """Write ``overlaps``: `dots` at their dilated times `t` on the limit's curves."""
    lines = {name: plots.broken(*curve) for name, curve in curves.items()}
    boundaries = [i / phases for i in range(1, phases)]
    figure = plots.overlaps(lines, {}, dots, _titles(dots), boundaries)
    plots.save(figure, folder / "overlaps")


def _titles(rows: Sequence[Row]) -> dict[str, str]:
    names = dict.fromkeys(row["quantity"] for row in rows)
    return {name: _title(name) for name in names}


def _title(name: str) -> str:
    r"""The symbol of a quantity, with its features' numbers and its samples' signs.

    ``m_1_2`` is $m_{12}$, ``zeta_1_pm`` is $\zeta_{1,+-}$.
    """
    if name in TABLE:
        return f"${TABLE[name].latex}$"
    base, *tail = name.split("_")
    signs = tail.pop() if tail and set(tail[-1]) <= {"p", "m"} else ""
    numbers = "".join(tail)
    if base not in TABLE or not numbers.isdigit():
        return name.replace("_", " ")
    lower = [numbers, signs.replace("p", "+").replace("m", "-")]
    return f"${TABLE[base].latex}_{{{','.join(filter(None, lower))}}}$"


def _farthest(fits: Sequence[Row], errors: Sequence[Row]) -> list[Row]:
    """The fits of each phase whose lines fit a legend: the largest distances."""
    size = {(x["phase"], x["quantity"]): x["error"] for x in errors}  # at the last d
    ranked = sorted(fits, key=lambda x: -size[x["phase"], x["quantity"]])
    phases = {x["phase"] for x in fits}
    kept = [[x for x in ranked if x["phase"] == p][:_MOST_LINES] for p in phases]
    names = {(x["phase"], x["quantity"]) for part in kept for x in part}
    return [x for x in fits if (x["phase"], x["quantity"]) in names]


def distances(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the root mean square distance from the limit by phase, quantity and d.

    It is over times and seeds. `corrected` is that from the limit with its predicted
    correction, if there is one.
    """
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["phase"], row["quantity"], row["d"]), []).append(row)
    found = []
    for (phase, quantity, d), here in groups.items():
        point = {"phase": phase, "quantity": quantity, "d": d}
        point["error"] = _distance(here, [0.0] * len(here))
        moves = [row.get("correction") for row in here]
        if None not in moves and any(moves):
            point["corrected"] = _distance(here, moves)
        found.append(point)
    return found


def _distance(rows: Sequence[Row], moves: Sequence[Any]) -> float:
    squares = [
        (row["mean"] - row["limit"] - move) ** 2 + row["variance"]
        for row, move in zip(rows, moves, strict=True)
    ]
    return float(np.sqrt(np.mean(squares)))
