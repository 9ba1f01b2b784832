"""`dilaton cite`."""

from __future__ import annotations

from .options import SpecFile


def cite(spec: SpecFile) -> None:
    """Print BibTeX of the papers that a model's equations rest on.

    \b
    Example:
      dilaton cite my.toml > references.bib
    """
    from ...theory.models.spec import load_spec
    from ..documents import document

    print(document(load_spec(spec), "bibtex"), end="")
