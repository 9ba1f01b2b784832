r"""The systems of a limit for any schedule, so that $\alpha, \beta$ are seen in print.

A model's systems hold its schedule written out, `sigma**2*s**2 + (1 - s)**2`, where a
reader looks for $\alpha^2 + \sigma^2\beta^2$. The same derivation with functions for
the schedule gives the equations in these letters; `Lettering.back` puts the model's own
schedule in again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp

from ..limit import Limit, Phase
from ..models.model import TAU, Autoencoder, Interpolant, Model
from ..symbols.gaussian import NAMELESS
from ..symbols.system import System
from ..windows.search import S_PHASE

ALPHA, BETA = sp.symbols("alpha beta", positive=True)
DOTS = sp.symbols("alpha_dot beta_dot", real=True)


@dataclass(frozen=True)
class Lettering:
    r"""Values of $\alpha$ and $\beta$ in a system, as functions of its time."""

    alpha: sp.Expr
    beta: sp.Expr
    time: sp.Symbol

    @property
    def back(self) -> dict[sp.Symbol, sp.Expr]:
        """The letters and what they stand for."""
        values = (self.alpha, self.beta)
        found = dict(zip((ALPHA, BETA), values, strict=True))
        dots = (sp.diff(x, self.time) for x in values)
        return found | dict(zip(DOTS, dots, strict=True))

    def functions(self) -> tuple[sp.Expr, sp.Expr]:
        """Functions of time for what varies, the value itself for a constant."""
        return tuple(
            sp.Function(name, positive=True)(self.time) if x.has(self.time) else x
            for name, x in (("alpha", self.alpha), ("beta", self.beta))
        )

    def lettered(self, expr: sp.Expr) -> sp.Expr:
        """Write `ALPHA`, `BETA` and `DOTS` for the functions."""
        for function, letter, dot in zip(
            self.functions(), (ALPHA, BETA), DOTS, strict=True
        ):
            if function.is_Function:
                slope = sp.Derivative(function, self.time)
                expr = expr.xreplace({slope: dot}).xreplace({function: letter})
        return expr

    def shortened(self, expr: sp.Expr) -> sp.Expr:
        """Write the values of letters where these are as short as the letters."""
        return expr.xreplace({x: e for x, e in self.back.items() if is_short(x, e)})


def is_short(letter: sp.Symbol, value: sp.Expr) -> bool:
    """Whether a value is as short as its letter: ``kappa*s``, a constant slope."""
    if letter in DOTS:
        return not value.has(S_PHASE, TAU) and not value.is_Add
    return value.is_Mul and all(x.is_Symbol for x in value.args)


class _AnySchedule(Interpolant):
    """An interpolant whose coefficients are functions nothing is known of."""

    def __post_init__(self) -> None:
        """Accept functions."""


class _AnyUnit(Autoencoder):
    """An autoencoder whose unit keeps its averages open."""

    def __post_init__(self) -> None:
        """Accept a unit without a name."""


def _any_unit(model: Model) -> Model:
    r"""Return `model` with $\varphi$ for its unit, whatever averages it has."""
    auto = model.autoencoder
    unit = _AnyUnit(NAMELESS + auto.activation, auto.tied, auto.bias)  # type: ignore
    return replace(model, autoencoder=unit)


def phase_schedule(phase: Phase) -> Lettering:
    """Return the schedule inside the window of `phase`."""
    return Lettering(phase.window.alpha, phase.window.beta, S_PHASE)


def model_schedule(limit: Limit) -> Lettering:
    """Return the schedule of the model itself."""
    found = limit.model.interpolant
    return Lettering(found.alpha, found.beta, TAU)


@lru_cache(maxsize=32)
def general_phase(phase: Phase) -> Phase:
    """Return `phase` with functions for the schedule and the unit in its window."""
    alpha, beta = phase_schedule(phase).functions()
    window = replace(phase.window, alpha=alpha, beta=beta)
    return replace(phase, window=window, model=_any_unit(phase.model))


@lru_cache(maxsize=32)
def general_exact(limit: Limit) -> Mapping[str, System]:
    """Return the exact systems of `limit` with functions for the schedule."""
    path = _AnySchedule(*model_schedule(limit).functions())
    model = replace(limit.model, interpolant=path)
    if model.autoencoder.activation == "tanh":  # the tied network has no other unit
        model = _any_unit(model)
    return Limit(model, limit.dilation, limit.phases).exact
