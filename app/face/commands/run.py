"""`dilaton run`, `dilaton explore`, `dilaton doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Option

from ...show import answers
from ...torchcheck.device import check_device
from ..arguments import seeds_from
from .options import Device, Json, Paper, Seed, read_spec

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

    from ..report import write_report
    from ..report_run import Effort

    effort = Effort(quick, seed, device, digits)
    page = write_report(chosen, output, effort, force=force)
    print(page)


def explore(
    spec: Paper = None,
    port: Annotated[
        int, Option(help="The port to serve on; 0 for any free port.", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool, Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Serve a page whose sliders redraw the limit of a spec.

    Another slider sets the dimension at which a dilated sampler is shown beside an
    undilated one. The page is served to this machine alone, until you press Ctrl-C.

    \b
    Example:
      dilaton explore
      dilaton explore my.toml
      dilaton explore --port 8123 --no-browser
    """
    chosen = None if spec is None else read_spec(spec)
    from ..explore import explore as serve

    serve(chosen, port, browser, lambda text: print(text, file=sys.stderr, flush=True))


def doctor(json: Json = False) -> None:
    """Print versions, devices, the cache folder and what is missing.

    \b
    Example:
      dilaton doctor --json
    """
    from ..doctor import diagnosis, diagnosis_text

    found = diagnosis()
    print(answers.to_json(found) if json else diagnosis_text(found))
