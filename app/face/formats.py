"""The formats in which a derivation is printed."""

from typing import Literal

Format = Literal[
    "text", "latex", "markdown", "html", "json", "sympy", "mathematica", "julia"
]
Form = Literal[Format, "fragment", "bibtex"]
"""Formats of printing; the last two have options of their own."""
