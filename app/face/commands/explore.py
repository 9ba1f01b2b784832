"""`dilaton explore`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def explore(
    port: Annotated[
        int, typer.Option(help="A port of this machine; 0 for any.", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")
    ] = True,
) -> None:
    """Serve a page whose sliders redraw the limit.

    It is served to this machine alone, until Ctrl-C.

    \b
    Example:
      dilaton explore
      dilaton explore --port 8123 --no-browser
    """
    from ..explore import explore as serve

    serve(port, browser, lambda text: print(text, file=sys.stderr, flush=True))
