"""`dilaton where`."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Annotated

import typer

from .options import Json


def where(
    label: Annotated[str, typer.Argument(help="A printed label, for example W3.")],
    spec: Annotated[
        Path | None,
        typer.Argument(
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
    from ...theory.models.spec import default_spec, load_spec

    chosen = default_spec() if spec is None else load_spec(spec)
    found = find_label(derive(chosen.model), label)
    print(codec.dumps(as_rows(found), indent=2) if json else as_text(found))
