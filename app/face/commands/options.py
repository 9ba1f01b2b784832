"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

SpecFile = Annotated[
    Path, Argument(metavar="SPEC", help="The spec file (TOML).", show_default=False)
]
Paper = Annotated[
    Path | None,
    Argument(
        metavar="SPEC", help="The spec file (TOML); the paper's model if left out."
    ),
]
Json = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
Backend = Annotated[
    Literal["numba", "jax", "scipy"],
    Option(help="The library that integrates the equations."),
]
Device = Annotated[Literal["cpu", "cuda"], Option(help="The device to train on.")]
Seed = Annotated[int, Option(help="The seed of all random numbers.", min=0)]
