"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

SpecFile = Annotated[
    Path,
    typer.Argument(metavar="SPEC", help="The spec file (TOML).", show_default=False),
]
Paper = Annotated[
    Path | None,
    typer.Argument(
        metavar="SPEC", help="The spec file (TOML); the paper's model if left out."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Backend = Annotated[
    Literal["numba", "jax", "scipy"],
    typer.Option(help="The library that integrates the equations."),
]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="The device to train on.")]
Seed = Annotated[int, typer.Option(help="The seed of all random numbers.", min=0)]
