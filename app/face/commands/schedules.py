"""`dilaton schedules`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..arguments import numbers, seeds_from, whole
from .options import Device, Json

SCHEDULE_SEEDS = 1  # one seed serves every training


def schedules(
    spec: Annotated[
        Path | None,
        typer.Argument(
            metavar="SPEC", help="The spec file (TOML); the paper's model if left out."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write to.")
    ] = Path("published"),
    d: Annotated[
        int, typer.Option(help="The dimension of the experiment.", min=2)
    ] = 5000,
    times: Annotated[
        int, typer.Option(help="The number of networks, one for each time.", min=1)
    ] = 80,
    dims: Annotated[
        str, typer.Option(help="The dimensions at which the schedules are compared.")
    ] = "500,5000,50000,500000",
    paths: Annotated[
        int, typer.Option(help="The number of samples to generate.", min=1)
    ] = 20_000,
    method: Annotated[
        Literal["averaged", "sampled"],
        typer.Option(
            help="Train on the exact average over the noise, or by Adam on drawn noise."
        ),
    ] = "averaged",
    steps: Annotated[
        int, typer.Option(help="The most steps of the optimiser.", min=1)
    ] = 2000,
    seed: Annotated[
        int, typer.Option(help="The seed of all random numbers.", min=0)
    ] = 0,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Train networks with the dilation and without it.

    The command repeats the published experiment at one dimension, compares its overlaps
    with the limit and generates samples. It then does the same with as many networks at
    even times, for two rules of a step and several dimensions. It writes published.json
    and two figures, and prints the shares.

    \b
    Example:
      dilaton schedules -o published/
      dilaton schedules my.toml --d 2000 --times 16 --dims 500,50000
    """
    from ...show import answers
    from ...theory.models.spec import load_spec, published_spec
    from ...torchcheck.device import check_device, need_torch

    seeds_from(seed, SCHEDULE_SEEDS, "--seed")
    chosen = published_spec() if spec is None else load_spec(spec)
    sizes = tuple(whole(x, "--dims") for x in numbers(dims, "--dims"))
    need_torch()
    check_device(device)

    from tqdm import tqdm

    from ...torchcheck.study.schedules import Experiment, Training, write_experiment

    training = Training(method, steps, device)
    found = write_experiment(
        chosen,
        output,
        Experiment(d, times, sizes, paths, seed, training),
        lambda jobs: tqdm(jobs, unit="network", disable=None),
    )
    print(answers.to_json(found) if json else answers.schedules_text(found))
