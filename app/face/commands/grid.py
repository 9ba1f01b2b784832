"""`dilaton grid`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..arguments import needed
from .options import Json


def grid(
    spec: Annotated[
        Path | None,
        typer.Argument(
            metavar="SPEC", help="The spec file (TOML).", show_default=False
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="Maps of time, as in shift:3,shift:sqrt(d),log-snr,dilated."),
    ] = None,
    json: Json = False,
) -> None:
    """Print which windows a grid of times keeps as d grows.

    Kept: a share of its steps that does not vanish is there. Else the share falls as
    is said, and so many steps are needed. One shift serves one window: the last column
    is the shift that goes with n to m pixels.

    \b
    Example:
      dilaton grid my.toml --grid "shift:3,shift:sqrt(d),log-snr,dilated,entropic"
    """
    from ...show import answers
    from ...theory.models.spec import load_spec

    needed({"SPEC": spec, "--grid": grid}, "a verdict")
    assert spec is not None and grid is not None  # noqa: PT018
    chosen = load_spec(spec)

    from ...theory.derive import derive

    limit = derive(chosen.model)
    rows = [row for text in grid.split(",") for row in _rows(limit, text.strip())]
    if json:
        print(answers.to_json(rows))
        return
    laws = _shift_laws(limit)
    columns = {k: [_plain(row[k]) for row in rows] for k in rows[0]}
    columns["shift"] = [laws[row["phase"]] for row in rows]
    print(answers.table(columns))


def _rows(limit: Any, text: str) -> list[dict[str, Any]]:
    from ...theory.grids.verdict import judge, spelled

    rows = []
    for found in judge(limit, text):
        if found.reason:
            print(f"{text}, {found.phase}: {found.reason}", file=sys.stderr)
        rows.append(
            {
                "grid": text,
                "phase": found.phase,
                "kept": found.kept,
                "share": spelled(found.share),
                "steps": spelled(found.steps),
            }
        )
    return rows


def _plain(value: Any) -> str | None:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _shift_laws(limit: Any) -> dict[str, str]:
    from ...theory.grids.even import ratio_size

    powers = {p.name: -ratio_size(p) for p in limit.phases}
    return {k: "1" if x == 0 else f"(m/n)**({x})" for k, x in powers.items()}
