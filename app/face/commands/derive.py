"""`dilaton derive`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .options import SpecFile


def derive(
    spec: SpecFile,
    form: Annotated[
        Literal["text", "latex", "markdown", "json"],
        typer.Option("--format", help="How the derivation is written."),
    ] = "text",
) -> None:
    """Print the phases of a model and their equations.

    \b
    Example:
      dilaton derive my.toml --format latex > derivation.tex
    """
    from ...theory.models.spec import load_spec
    from ..documents import document

    print(document(load_spec(spec), form))
