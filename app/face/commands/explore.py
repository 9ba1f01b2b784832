"""`dilaton explore`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def explore(
    port: Annotated[
        int,
        typer.Option(
            help="The port to serve on; 0 for any free port.", min=0, max=65535
        ),
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Serve a page whose sliders redraw the limit.

    The page is served to this machine alone, until you press Ctrl-C.

    \b
    Example:
      dilaton explore
      dilaton explore --port 8123 --no-browser
    """
    from ..explore import explore as serve

    serve(port, browser, lambda text: print(text, file=sys.stderr, flush=True))
