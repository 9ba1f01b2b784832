"""`dilaton run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from ...torchcheck.device import check_device
from ..arguments import seeds_from
from .options import Device, Paper, Seed, read_spec

RUN_SEEDS = 1_000_000  # more than a run takes from its first one on


def run(
    spec: Paper = None,
    output: Annotated[
        Path,
        Option("-o", "--output", help="The folder to write to, which must be new."),
    ] = Path("report"),
    quick: Annotated[
        bool, Option("--quick", help="Train fewer networks: under a minute.")
    ] = False,
    force: Annotated[
        bool, Option("--force", help="Replace the run that the folder holds.")
    ] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    digits: Annotated[
        bool, Option("--digits", help="Add an experiment on images of digits.")
    ] = False,
) -> None:
    """Derive, solve and confirm a model, and write a report.

    Everything in the report is computed on the spot: the equations, the trajectories,
    the trained networks and their distance from the limit.

    \b
    Example:
      dilaton run -o report/
      dilaton run my.toml -o my-report/ --quick
    """
    seeds_from(seed, RUN_SEEDS, "--seed")
    chosen = read_spec(spec)
    check_device(device)

    from ..report import Effort, write_report

    effort = Effort(quick, seed, device, digits)
    page = write_report(chosen, output, effort, force=force)
    print(page)
