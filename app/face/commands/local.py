"""`dilaton explore` and `dilaton doctor`: what runs on this machine alone."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Option

from ...show import answers
from .options import Json, Paper, read_spec


def explore(
    spec: Paper = None,
    port: Annotated[
        int, Option(help="The port to serve on; 0 for any free port.", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool, Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Serve a page whose sliders redraw the limit of a spec.

    Another slider sets the dimension at which a dilated sampler is shown beside an
    undilated one. The page is served to this machine alone, until you press Ctrl-C.

    \b
    Example:
      dilaton explore
      dilaton explore my.toml
      dilaton explore --port 8123 --no-browser
    """
    chosen = None if spec is None else read_spec(spec)
    from ..explore import explore as serve

    serve(chosen, port, browser, lambda text: print(text, file=sys.stderr, flush=True))


def doctor(json: Json = False) -> None:
    """Print versions, devices, the cache folder and what is missing.

    \b
    Example:
      dilaton doctor --json
    """
    from ..doctor import diagnosis, diagnosis_text

    found = diagnosis()
    print(answers.to_json(found) if json else diagnosis_text(found))
