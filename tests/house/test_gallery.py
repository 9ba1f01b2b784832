"""The gallery draws and the tutorial runs, at small sizes."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from dilaton.face.cli import COMMANDS

from ..oracles import mixture_share

DOCS = Path(__file__).parents[2] / "docs"


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


DRAW = module(DOCS / "gallery" / "draw.py")
FIRST = {  # what the figure must show, checked on the numbers that it draws
    "lost_share": lambda f: final(f, 0) == pytest.approx(0.8, abs=0.03),
    "shifts": lambda f: (
        # the weight by a fixed shift, the spread by a shift with sqrt(d)
        final_of(f, 0, 1) > 0.99 and final_of(f, 1, 3) < 0.01 < final_of(f, 1, 5)
    ),
    "mse_jump": lambda f: f.axes[0].lines[0].get_ydata()[0] == pytest.approx(1.64),
    "hierarchy": lambda f: (
        np.diff([half(line) for line in f.axes[0].lines[:3]]).min() > 0
    ),
    "tree": lambda f: (
        # the root, its branches, and the six modes' names with their weights
        sum(t.get_text().startswith("mode") for t in f.axes[0].texts) == 6
        and len(f.axes[0].lines) > 12
    ),
    "classes": lambda f: (
        # a hundred orthogonal classes need a larger kappa than two
        final(f, 0) > 1 - 1e-6
        and f.axes[0].lines[3].get_ydata()[3] < f.axes[0].lines[0].get_ydata()[3] / 2
    ),
    "learning": lambda f: final(f, 0) > 5 * final(f, 1),
    "training_times": lambda f: (
        f.axes[0].lines[0].get_ydata()[-1] > 10 * f.axes[0].lines[4].get_ydata()[-1]
    ),
    "potential": lambda f: len(f.axes[0].lines) == 4,
    "phase_diagram": lambda f: (
        # a thousand samples at both ends of kappa: the population's shares
        f.axes[0].collections[0].get_array()[-1, [0, -1]].tolist()
        == pytest.approx([mixture_share(0.25, 0.8), 0.8], abs=2e-3)
    ),
    "trajectories": lambda f: (
        f.axes[2].get_title() == r"$\omega$"
        and f.axes[2].lines[0].get_ydata()[:15]
        == pytest.approx(4 * f.axes[2].lines[0].get_xdata()[:15])  # 2 s = 4 t
    ),
    "convergence": lambda f: all(
        line.get_ydata()[2] < line.get_ydata()[0]
        for ax in f.axes
        for line in ax.lines
        if len(line.get_xdata()) == 3  # of d
    ),
    "mnist": lambda f: (
        # a window found without a network beats uniform times at every budget
        np.all(mean_of(f, 0) > 1.5 * mean_of(f, 2))
    ),
    "digits": lambda f: (
        f.axes[1].lines[0].get_ydata()[0] > f.axes[1].lines[0].get_ydata()[-1]
    ),
}


def mean_of(figure, container):
    return figure.axes[0].containers[container][0].get_ydata()


def final(figure, axis):
    return figure.axes[axis].lines[0].get_ydata()[-1]


def final_of(figure, axis, line):
    return figure.axes[axis].lines[line].get_ydata()[-1]


def half(line):
    """Where a curve from 0 to 1 first passes one half."""
    return line.get_xdata()[np.argmax(line.get_ydata() > 0.5)]


@pytest.mark.parametrize("name", DRAW.names())
def test_each_script_draws_one_legible_figure(name):
    figure = DRAW.load(name)(True)
    for ax in figure.axes:
        shown = [line for line in ax.lines if len(line.get_xdata()) > 1]
        if ax.get_visible() and shown:
            # the upper panels of a grid share the label below them
            assert ax.get_xlabel() or len(figure.axes) > 4
            assert any(
                np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in shown
            )
    assert FIRST[name](figure)


def pages():
    """The gallery and the pages of published results, by name."""
    found = [DOCS / "gallery.md", *sorted((DOCS / "gallery").glob("*.md"))]
    return {path.stem: path.read_text(encoding="utf-8") for path in found}


def test_the_pages_show_every_figure_and_only_those():
    text = "".join(pages().values())
    assert sorted(re.findall(r"figures/(\w+)\.svg", text)) == DRAW.names()
    linked = re.findall(r"\((?:gallery/)?(\w+)\.py\)", text)
    assert sorted(set(linked)) == DRAW.names()


def test_the_gallery_lists_every_page_of_a_paper():
    index, *others = pages().items()
    assert len(others) == 4
    for name, text in others:
        assert f"\ngallery/{name}\n" in index[1]  # for the site
        assert f"(gallery/{name}.md)" in index[1]  # for the reader
        assert "arXiv" in text or "Klinger" in text


@pytest.mark.parametrize("name", sorted(set(pages()) - {"gallery"}))
def test_every_published_result_has_its_command_and_its_test(name):
    """Commands are those of the package, and tests are there under their names."""
    commands = {command.__name__ for command in COMMANDS}
    _, *sections = pages()[name].split("\n## ")
    assert sections
    for text in sections:
        given = re.findall(r"^- Command: `(.*?)`", text, re.M)
        kept = re.findall(r"^- Test: `(.*?)`$", text, re.M)
        assert given, text
        assert kept, text
        for line in given:
            program, word, *rest = line.split()
            known = {"dilaton": commands, "make": {"run"}}.get(program)
            assert word in known if known else rest[0] in DRAW.names(), line
        for test in kept:
            path, _, judge = test.partition("::")
            source = (DOCS.parent / path).read_text(encoding="utf-8")
            assert f"def {judge}(" in source, test
        for figure in re.findall(r"figures/(\w+)\.svg", text):
            assert f"`python docs/gallery/draw.py {figure}`" in text, figure


def test_figures_are_written_as_vector_and_as_pixels(tmp_path):
    DRAW.draw("potential", tmp_path, True, ("svg", "png"))
    assert (tmp_path / "potential.svg").read_bytes().lstrip().startswith(b"<?xml")
    assert (tmp_path / "potential.png").read_bytes().startswith(b"\x89PNG")


def test_the_tutorial_runs(tmp_path):
    """Its cells in order, in this process; the slow test starts a real kernel."""
    import json

    cells = json.loads((DOCS / "tutorial.ipynb").read_text())["cells"]
    space = {"__name__": "tutorial"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), space)
    assert abs(space["shares"]["dilated", "midpoint"] - 0.786) < 0.02
    assert space["shares"]["undilated", "left"] > 0.99
    assert space["errors"][6400] < space["errors"][400]


@pytest.mark.slow
def test_the_tutorial_runs_in_a_notebook_kernel():
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=1500, kernel_name="python3").execute()
    shown = {
        kind
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        for kind in output.get("data", {})
    }
    assert {"text/latex", "image/svg+xml"} <= shown
