"""`dilaton grid` and `dilaton steps`: grids of time, and samplers of few steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from ...show import answers
from ..arguments import check_range, needed, numbers, unused, whole_option
from .options import Json, SpecFile, read_spec


def grid(
    spec: Annotated[
        Path | None,
        Argument(metavar="SPEC", help="The spec file (TOML).", show_default=False),
    ] = None,
    grid: Annotated[
        str | None,
        Option(help="The grids to judge, for example shift:3,shift:sqrt(d),dilated."),
    ] = None,
    best: Annotated[
        bool,
        Option(
            "--best", help="Find the best times for --steps steps at dimension --d."
        ),
    ] = False,
    d: Annotated[float | None, Option(help="The dimension of the best grid.")] = None,
    steps: Annotated[
        float | None, Option(help="The number of Euler steps of the best grid.")
    ] = None,
    check: Annotated[
        Path | None, Option(help="A scheduler_config.json of diffusers to check.")
    ] = None,
    train: Annotated[
        Path | None, Option(help="A JSON file that says how training times are drawn.")
    ] = None,
    tokens: Annotated[
        float | None, Option(help="The number of image tokens, for a dynamic shift.")
    ] = None,
    json: Json = False,
) -> None:
    """Print which windows a grid of times keeps as d grows.

    A grid keeps a window if the share of its steps in that window does not vanish.
    Otherwise the table says how the share falls with d and how many steps are needed.
    One shift serves one window; the last column is the shift to use when n pixels
    become m. With --best the command finds the best grid for a number of steps, and
    with --check it examines the configuration of a scheduler.

    \b
    Example:
      dilaton grid my.toml --grid "shift:3,shift:sqrt(d),log-snr,dilated,entropic"
      dilaton grid my.toml --best --d 1e6 --steps 20 --json
      dilaton grid --check scheduler_config.json --train train.json
    """
    if check is not None:
        unused({"--grid": grid, "--best": best or None}, "a check")
        unused({"--d": d, "--steps": steps}, "a check")
        rows = _checked(spec, check, train, tokens)
        texts = [f"{row['about']}: {row['says']}" for row in rows]
        print(answers.to_json(rows) if json else "\n".join(texts))
        return
    unused({"--train": train, "--tokens": tokens}, "anything but a check")
    if best:
        needed({"SPEC": spec, "--d": d, "--steps": steps}, "the best grid")
        check_range("--d", d, 2.0)
        found = _best(spec, d, whole_option(steps or 0, "--steps"), grid)
        print(answers.to_json(found) if json else _best_text(found))
        return
    needed({"SPEC": spec, "--grid": grid}, "a verdict")
    unused({"--d": d, "--steps": steps}, "a verdict, which is for d to infinity")
    rows, laws = _judged(spec, str(grid))
    print(answers.to_json(rows) if json else _table(rows, laws))


def _judged(
    spec: Path | None, grid: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    from ...theory.derive import derive
    from ...theory.grids.even import ratio_size

    limit = derive(read_spec(spec).model)
    rows = [row for text in grid.split(",") for row in _rows(limit, text.strip())]
    powers = {p.name: -ratio_size(p) for p in limit.phases}
    return rows, {k: "1" if x == 0 else f"(m/n)**({x})" for k, x in powers.items()}


def _rows(limit: Any, text: str) -> list[dict[str, Any]]:
    from ...theory.grids.kept_windows import judge_grid, size_text

    rows = []
    for found in judge_grid(limit, text):
        if found.reason:
            print(f"{text}, {found.phase}: {found.reason}", file=sys.stderr)
        rows.append(
            {
                "grid": text,
                "phase": found.phase,
                "kept": found.kept,
                "share": size_text(found.share),
                "steps": size_text(found.steps),
            }
        )
    return rows


def _table(rows: list[dict[str, Any]], laws: dict[str, str]) -> str:
    words = {True: "yes", False: "no", None: None}
    columns: dict[str, list[Any]] = {k: [row[k] for row in rows] for k in rows[0]}
    columns["kept"] = [words[x] for x in columns["kept"]]
    columns["shift"] = [laws[row["phase"]] for row in rows]
    return answers.table(columns)


def _best(spec: Any, d: Any, steps: int, grid: str | None) -> dict[str, Any]:
    from ...numerics.share.best_grid import COMPARED, best_grid

    compared = COMPARED if grid is None else [x.strip() for x in grid.split(",")]
    return best_grid(read_spec(spec), d, steps, compared)


def _best_text(found: dict[str, Any]) -> str:
    here = {"grid": "best", **{k: found[k] for k in ("share_plus", "bulk_std")}}
    rows = [here | {"gain": 1.0}, *found["compared"]]
    table = answers.table({k: [row[k] for row in rows] for k in rows[0]})
    return table + "\n\ntau\n" + "\n".join(f"{x:.9g}" for x in found["tau"])


def _checked(
    spec: Path | None, check: Path, train: Path | None, tokens: float | None
) -> list[dict[str, Any]]:
    from ...numerics.times.checker import check_config, read_config
    from ...theory.derive import derive
    from ...theory.models.model import Model, two_modes

    check_range("--tokens", tokens, 1.0)
    model = Model(two_modes()) if spec is None else read_spec(spec).model
    trained = None if train is None else read_config(train)
    return check_config(read_config(check), derive(model), trained, tokens)


Rules = Literal["left", "midpoint", "heun", "exponential", "dpm++2m"]


def steps(
    spec: SpecFile,
    d: Annotated[float, Option(help="The dimension.")],
    steps: Annotated[
        str | None, Option(help="The numbers of steps, for example 20,100,400.")
    ] = None,
    grid: Annotated[
        str | None,
        Option(
            help="The grids of time, for example uniform,shift:sqrt(d),log-snr,edm:7."
        ),
    ] = None,
    schedule: Annotated[
        Literal["dilated", "undilated"] | None,
        Option(help="A schedule in place of --grid; dilated if neither is given."),
    ] = None,
    rule: Annotated[Rules, Option(help="The rule of a step.")] = "left",
    smallest: Annotated[
        bool,
        Option(
            "--smallest",
            help="Find the fewest steps for weights within .02 and a spread within .1.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Print what a sampler with few steps generates.

    The sampler follows the exact velocity at dimension d on any grid of times.

    \b
    Example:
      dilaton steps my.toml --d 1e6 --steps 20,50 --grid "shift:d**(1/4),dilated" --json
    """
    check_range("--d", d, 2.0)
    if grid is not None:
        unused({"--schedule": schedule}, "grids that are named by --grid")
    if smallest:
        unused({"--steps": steps}, "the fewest steps")
    else:
        needed({"--steps": steps}, "a given number of steps")
    grids = grid.split(",") if grid is not None else schedule or "dilated"
    counts = [whole_option(x, "--steps") for x in numbers(steps or "1", "--steps")]
    chosen = read_spec(spec)

    from ...numerics.share import euler

    if smallest:
        rows = euler.smallest_steps(chosen, d, grids, rule)
    else:
        rows = euler.steps(chosen, d, counts, grids, rule)
    hidden = "grid" if grid is None else "schedule"
    print(answers.to_json(rows) if json else answers.table(_columns(rows, hidden)))


def _columns(rows: list[dict[str, Any]], hidden: str) -> dict[str, list[Any]]:
    """Return rows as columns, the map of time by the name it was asked for."""
    return {k: [row[k] for row in rows] for k in rows[0] if k != hidden}
