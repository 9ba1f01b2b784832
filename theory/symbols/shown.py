"""Records that show themselves in a notebook.

The documents print them. They stand above all records and are loaded when one is shown.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...mistakes import Answering


def documents() -> Any:
    """Return the module that prints records for notebooks."""
    return import_module("..document.notebook", __package__)


class Typeset(Answering):
    """A record that a notebook shows typeset."""

    def _repr_markdown_(self) -> str:
        return documents().in_markdown(self)
