"""`dilaton derive`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .options import SpecFile


def derive(
    spec: SpecFile,
    form: Annotated[
        Literal["text", "latex", "markdown", "json", "sympy", "mathematica", "julia"],
        typer.Option("--format", help="The format of the derivation."),
    ] = "text",
    fragment: Annotated[
        bool,
        typer.Option(
            "--fragment", help="Print LaTeX without a preamble, to paste into a paper."
        ),
    ] = False,
) -> None:
    """Print the phases of a model and their equations.

    \b
    Example:
      dilaton derive my.toml --format latex > derivation.tex
      dilaton derive my.toml --format latex --fragment > appendix.tex
      dilaton derive my.toml --format mathematica > derivation.wl
      dilaton derive my.toml --format julia > derivation.jl
    """
    from ...errors import ModelError
    from ...theory.models.spec import load_spec
    from ..documents import document

    if fragment and form != "latex":
        raise ModelError(
            f"`--fragment` is for LaTeX, but `--format` is {form}. Add "
            "`--format latex`."
        )
    print(document(load_spec(spec), "fragment" if fragment else form))
