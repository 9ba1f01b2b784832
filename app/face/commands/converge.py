"""`dilaton converge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..arguments import numbers, read_unit_times, seeds_from, whole
from .options import Json, SpecFile


def converge(
    spec: SpecFile,
    dims: Annotated[
        str, typer.Option(help="The dimensions to train at, at least three.")
    ] = "1000,3000,10000,30000",
    seeds: Annotated[
        int, typer.Option(help="The number of training sets at each dimension.", min=1)
    ] = 8,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="A new folder, or the folder of a study to continue."
        ),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", help="The times s in each phase, above 0.")
    ] = "0.25,0.5,0.75,1",
    seed: Annotated[
        int, typer.Option(help="The seed of the first training set.", min=0)
    ] = 0,
    iterations: Annotated[
        int, typer.Option(help="The most optimiser steps in a training.", min=1)
    ] = 2000,
    paths: Annotated[
        int,
        typer.Option(
            help="The samples to generate for each training set; 0 for none.",
            min=0,
        ),
    ] = 20_000,
    correction: Annotated[
        bool,
        typer.Option(
            "--correction/--no-correction",
            help="Show the predicted correction, which first takes half a minute.",
        ),
    ] = True,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="The device to train on.")
    ] = "cpu",
    json: Json = False,
) -> None:
    """Train networks and judge the limit by them.

    Networks are trained on several training sets at each of several dimensions. Every
    overlap gets a verdict: consistent (and to how many percent), inconsistent,
    undecided or not converged. Below the verdicts stand the distance of the largest
    networks from the limit and from the limit with its predicted correction, the law of
    nu beside that of the limit, and what could not be compared.

    \b
    Example:
      dilaton converge my.toml --dims 1000,3000,10000,30000 --seeds 8 -o study/ --json
    """
    from ...show import answers
    from ...theory.models.spec import load_spec
    from ...torchcheck.device import check_device, need_torch

    seeds_from(seed, seeds, "--seed")
    chosen = load_spec(spec)
    sizes = [whole(x, "--dims") for x in numbers(dims, "--dims")]
    times = tuple(read_unit_times(at, "--at"))
    need_torch()
    check_device(device)

    from tqdm import tqdm

    from ...torchcheck.study.converge import converge as study_convergence

    study = study_convergence(
        chosen,
        sizes,
        seeds,
        output=output,
        correction=correction,
        progress=lambda jobs: tqdm(jobs, unit="network", disable=None),
        times=times,
        seed=seed,
        max_iterations=iterations,
        paths=paths,
        device=device,
    )
    found = study.to_dict()
    print(answers.to_json(found) if json else answers.study_text(found))
