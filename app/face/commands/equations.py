"""`dilaton derive`, `dilaton cite`, `dilaton where`: a model's equations."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..arguments import Format
from .options import Json, SpecFile, read_spec


def derive(
    spec: SpecFile,
    form: Annotated[
        Format, Option("--format", help="The format of the derivation.")
    ] = "text",
    fragment: Annotated[
        bool,
        Option(
            "--fragment", help="Print LaTeX without a preamble, to paste into a paper."
        ),
    ] = False,
) -> None:
    """Print the phases of a model and their equations.

    \b
    Example:
      dilaton derive my.toml --format latex > derivation.tex
      dilaton derive my.toml --format latex --fragment > appendix.tex
      dilaton derive my.toml --format html > derivation.html
      dilaton derive my.toml --format mathematica > derivation.wl
      dilaton derive my.toml --format julia > derivation.jl
    """
    from ...errors import ModelError
    from ..documents import document

    if fragment and form != "latex":
        raise ModelError(
            f"`--fragment` is for LaTeX, but `--format` is {form}. Add "
            "`--format latex`."
        )
    print(document(read_spec(spec), "fragment" if fragment else form))


def cite(spec: SpecFile) -> None:
    """Print BibTeX of the papers that a model's equations rest on.

    \b
    Example:
      dilaton cite my.toml > references.bib
    """
    from ..documents import document

    print(document(read_spec(spec), "bibtex"), end="")


def where(
    label: Annotated[str, Argument(help="A printed label, for example W3.")],
    spec: Annotated[
        Path | None,
        Argument(
            metavar="[SPEC]",
            help="The spec file (TOML); the paper's model if left out.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Find the code, the tests and the page behind a printed label.

    \b
    Example:
      dilaton where W3
      dilaton where S1 my.toml --json
    """
    from ...show.where import as_rows, as_text, find_label
    from ...theory.derive import derive

    found = find_label(derive(read_spec(spec).model), label)
    print(codec.dumps(as_rows(found), indent=2) if json else as_text(found))
