"""Sphinx: Markdown pages, warnings are errors, no network."""

import re
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path

project = "dilaton"
author = "The dilaton developers"
copyright = "the dilaton developers"
version = release = installed("dilaton")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "gallery/*.py", "tutorial.ipynb"]
nitpicky = False

html_theme = "furo"
html_title = f"dilaton {version}"
# One file draws the formulas, fonts included, so that the site works without a network.
mathjax_path = "tex-svg.js"
mathjax_folder = Path(find_spec("sphinx-mathjax-offline").origin).parent
html_static_path = ["style", str(mathjax_folder / "static/mathjax" / mathjax_path)]
html_css_files = ["site.css"]
mathjax3_config = {"svg": {"displayOverflow": "overflow"}}

default_role = "code"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
suppress_warnings = ["misc.highlighting_failure"]


def markdown_math(app, what, name, obj, options, lines):
    """Docstrings write `$x$`, which a terminal shows well; Sphinx wants roles."""
    pieces = re.split(r"(\$\$.+?\$\$|\$[^$]+?\$|`[^`]*`)", "\n".join(lines), flags=re.S)
    lines[:] = "".join(map(_piece, pieces)).split("\n")


def _piece(text):
    if text.startswith("$$"):
        return _display(text[2:-2])
    if text.startswith("$"):
        return ":math:`" + " ".join(text[1:-1].split()) + "`"
    return text if text.startswith("`") else text.replace("|", r"\|")


def _display(text):
    body = re.sub(r"\\tag\{.*?\}", "", text)
    return "\n\n.. math::\n\n    " + " ".join(body.split()).strip(" .") + "\n\n"


def setup(app):
    app.connect("autodoc-process-docstring", markdown_math, priority=400)
