"""Draw the gallery: `python docs/gallery/draw.py [--quick] [--png] [NAME ...]`.

Each script beside this one has a function ``figure(quick)`` and a first line that says
what it draws. `--quick` shrinks what is computed, never what is drawn.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dilaton.show import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
FIGURES = HERE.parent / "figures"


def names() -> list[str]:
    """The scripts of the gallery."""
    return sorted(p.stem for p in HERE.glob("*.py") if p.stem != "draw")


def load(name: str) -> Callable[[bool], Figure]:
    """The function that draws `name`, in the style of `dilaton.show.plots`."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return plots.styled(module.figure)


def draw(name: str, folder: Path, quick: bool, forms: tuple[str, ...]) -> Path:
    """Write the figure into `folder` in each form, svg or png."""
    figure = load(name)(quick)
    folder.mkdir(parents=True, exist_ok=True)
    for form in forms:
        path = folder / f"{name}.{form}"
        path.write_bytes(plots.rendered(figure, form))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", default=names(), help="which figures")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("-o", "--output", type=Path, default=FIGURES)
    parser.add_argument("--png", action="store_true", help="pixels beside vectors")
    given = parser.parse_args()
    forms = ("svg", "png") if given.png else ("svg",)
    for name in given.name:
        begin = time.perf_counter()
        path = draw(name, given.output, given.quick, forms)
        print(f"{path}  {time.perf_counter() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
