"""`dilaton steps`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typer import Option

from ...show import answers
from ..arguments import check_range, needed, numbers, unused, whole_option
from .options import Json, SpecFile, read_spec

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
