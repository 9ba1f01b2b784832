"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

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


def read_spec(path: Path | None, instead: str = "default.toml") -> Spec:
    """Return the spec in a file, or a shipped one where no file is named."""
    from ...theory.models import spec

    return spec.load_spec(path or Path(spec.__file__).with_name(instead))
