"""The text of maps of time: names with arguments, composed with ``+``."""

from __future__ import annotations

import re
from typing import NamedTuple

import sympy as sp

from ...errors import ModelError, did_you_mean, shown
from ..models.model import TAU, D
from ..models.schedule import DIMENSIONS, LENGTH, parse_schedule

GROWING = (sp.exp, sp.sinh, sp.cosh)
INVERSE = "inverse:"


class Written(NamedTuple):
    """How a map is written: its fewest and most arguments, and an example."""

    least: int
    most: int
    example: str


ARGUMENTS = {
    "uniform": Written(0, 0, "uniform"),
    "shift": Written(1, 1, "shift:3"),
    "flux": Written(1, 1, "flux:4096"),
    "logit-normal": Written(2, 2, "logit-normal:0:1"),
    "cosine": Written(0, 0, "cosine"),
    "mode": Written(1, 1, "mode:1.29"),
    "log-snr": Written(0, 2, "log-snr:0.05/sqrt(d):49"),
    "edm": Written(1, 3, "edm:7"),
    "dilated": Written(0, 99, "dilated:1:2"),
    "formula": Written(1, 1, "formula:tau**2"),
    "entropic": Written(0, 1, "entropic:2401"),
    "mse-decrements": Written(0, 0, "mse-decrements"),
    "mse-log-snr": Written(0, 2, "mse-log-snr"),
    "lipschitz": Written(0, 0, "lipschitz"),
    "table": Written(1, 1, "table:times.txt"),
}
"""Every map by name."""

_NAMES = "|".join(map(re.escape, [*ARGUMENTS, INVERSE[:-1]]))
_PLUS = re.compile(rf"\+(?=\s*(?:{_NAMES})(?:\s*[:+]|\s*$))")


def split_maps(text: str) -> list[str]:
    """Return the maps that a text composes, the first one first.

    A ``+`` composes where the name of a map follows it: that in ``shift:1+sqrt(d)``
    belongs to the formula.
    """
    if not isinstance(text, str) or not text.strip():
        raise ModelError(
            f'A map of time must be text such as "shift:3", but is {shown(text)}. '
            f"The maps are {', '.join(ARGUMENTS)}."
        )
    return [part.strip() for part in _PLUS.split(text)]


def read_map(part: str) -> tuple[str, list[str]]:
    """Return the name and the arguments of one map; raise `ModelError` on others."""
    name, *rest = (x.strip() for x in part.split(":"))
    if name not in ARGUMENTS:
        raise ModelError(
            f"A map of time must be one of {', '.join(ARGUMENTS)}, but is "
            f"`{name[:40]}`{did_you_mean(name, ARGUMENTS)}"
        )
    if name == "table":
        rest = [part.partition(":")[2].strip()]
    least, most, example = ARGUMENTS[name]
    if not least <= len(rest) <= most or not all(rest):
        count = str(least) if least == most else f"{least} to {most}"
        raise ModelError(
            f"The map `{name}` takes {count} arguments after colons, but "
            f"{part[:LENGTH]!r} has {sum(map(bool, rest))}. Write it as in "
            f"`{example}`."
        )
    return name, rest


def formula(text: str, name: str) -> sp.Expr:
    """Return an argument of the map `name`: a formula in ``d`` alone, never evaluated.

    The grammar is that of schedules.
    """
    expr = parse_schedule(text, name)
    if TAU in expr.free_symbols:
        raise ModelError(
            f"An argument of the map `{name}` must be a number or a formula in d, but "
            f"{text!r} contains tau. Write it as in `{ARGUMENTS[name].example}`."
        )
    if any(_grows(x) and _grows(x.args[0]) for x in expr.atoms(*GROWING)):
        raise ModelError(
            f"An argument of the map `{name}` must have no exponential of an "
            f"exponential of d, but is {text!r}. Write it as in "
            f"`{ARGUMENTS[name].example}`."
        )
    return expr


def _grows(expr: sp.Expr) -> bool:
    """Whether an expression has an exponential function of `d`."""
    return any(x.has(D) for x in expr.atoms(*GROWING))


def in_range(
    expr: sp.Expr, name: str, words: str, low: sp.Expr, high: sp.Expr = sp.oo
) -> sp.Expr:
    """Return `expr`; raise `ModelError` unless it is in (`low`, `high`) at every `d`.

    The dimensions that are tried are those at which schedules are.
    """
    for d in DIMENSIONS:
        value = expr.subs(D, sp.Float(d)).evalf()
        if not (value.is_real and low < value < high):
            raise ModelError(
                f"An argument of the map `{name}` must be {words}, but "
                f"{sp.sstr(expr)} is {sp.N(value, 6)} at d = {d:g}. Write it as in "
                f"`{ARGUMENTS[name].example}`."
            )
    return expr
