"""The languages that a derivation is exported to, by the name of the format."""

from __future__ import annotations

from collections.abc import Callable

from ..limit import Limit
from .julia import julia
from .mathematica import mathematica
from .sympy_module import sympy_module

LANGUAGES: dict[str, Callable[[Limit], str]] = {
    "sympy": sympy_module,
    "mathematica": mathematica,
    "julia": julia,
}
