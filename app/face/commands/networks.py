"""`dilaton converge` and `dilaton schedules`: trained networks beside the limit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from ...show import answers
from ...torchcheck.device import check_device, need_torch
from ..arguments import numbers, read_unit_times, seeds_from, whole_option
from .options import Device, Json, Paper, Seed, SpecFile, read_spec

SCHEDULE_SEEDS = 1  # one seed serves every training


def converge(
    spec: SpecFile,
    dims: Annotated[
        str, Option(help="The dimensions to train at, at least three.")
    ] = "1000,3000,10000,30000",
    seeds: Annotated[
        int, Option(help="The number of training sets at each dimension.", min=1)
    ] = 8,
    output: Annotated[
        Path | None,
        Option(
            "-o", "--output", help="A new folder, or the folder of a study to continue."
        ),
    ] = None,
    at: Annotated[
        str, Option("--at", help="The times s in each phase, above 0.")
    ] = "0.25,0.5,0.75,1",
    seed: Annotated[int, Option(help="The seed of the first training set.", min=0)] = 0,
    iterations: Annotated[
        int, Option(help="The most optimiser steps in a training.", min=1)
    ] = 2000,
    paths: Annotated[
        int,
        Option(
            help="The samples to generate for each training set; 0 for none.", min=0
        ),
    ] = 20_000,
    correction: Annotated[
        bool,
        Option(
            "--correction/--no-correction",
            help="Show the predicted correction, which first takes half a minute.",
        ),
    ] = True,
    device: Device = "cpu",
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
    seeds_from(seed, seeds, "--seed")
    chosen = read_spec(spec)
    sizes = [whole_option(x, "--dims") for x in numbers(dims, "--dims")]
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


def schedules(
    spec: Paper = None,
    output: Annotated[
        Path, Option("-o", "--output", help="The folder to write to.")
    ] = Path("published"),
    d: Annotated[int, Option(help="The dimension of the experiment.", min=2)] = 5000,
    times: Annotated[
        int, Option(help="The number of networks, one for each time.", min=1)
    ] = 80,
    dims: Annotated[
        str, Option(help="The dimensions at which the schedules are compared.")
    ] = "500,5000,50000,500000",
    paths: Annotated[
        int, Option(help="The number of samples to generate.", min=1)
    ] = 20_000,
    method: Annotated[
        Literal["averaged", "sampled"],
        Option(
            help="Train on the exact average over the noise, or by Adam on drawn noise."
        ),
    ] = "averaged",
    steps: Annotated[
        int, Option(help="The most steps of the optimiser.", min=1)
    ] = 2000,
    seed: Seed = 0,
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
    seeds_from(seed, SCHEDULE_SEEDS, "--seed")
    chosen = read_spec(spec, "published.toml")
    sizes = tuple(whole_option(x, "--dims") for x in numbers(dims, "--dims"))
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
