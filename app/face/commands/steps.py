"""`dilaton steps`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..arguments import check_range, numbers, whole
from .options import Json, SpecFile


def steps(
    spec: SpecFile,
    d: Annotated[float, typer.Option(help="Dimension.")],
    steps: Annotated[str, typer.Option(help="Numbers of steps, as in 20,100,400.")],
    schedule: Annotated[
        Literal["dilated", "undilated"], typer.Option(help="What is stepped through.")
    ] = "dilated",
    rule: Annotated[
        Literal["left", "midpoint"], typer.Option(help="Where a step asks for b.")
    ] = "left",
    json: Json = False,
) -> None:
    """Print what a sampler with few steps gets.

    It follows the exact velocity at dimension d, with or without the dilation.

    \b
    Example:
      dilaton steps my.toml --d 1e6 --steps 20,100,400 --schedule undilated --json
    """
    from ...show import answers
    from ...theory.models.spec import load_spec

    check_range("--d", d, 2.0)
    counts = [whole(x, "--steps") for x in numbers(steps, "--steps")]
    chosen = load_spec(spec)

    from ...numerics.share.euler import steps as sample_steps

    rows = sample_steps(chosen, d, counts, schedule, rule)
    if json:
        print(answers.to_json(rows))
    else:
        print(answers.table({k: [row[k] for row in rows] for k in rows[0]}))
