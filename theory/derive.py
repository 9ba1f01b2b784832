"""From a model to its limit: windows, phases, and the systems of each phase."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import sympy as sp

from ..errors import ModelError, did_you_mean
from . import sampling, training, variance, weights
from .bayes import exact_flow, exact_mse
from .dilation import (
    Dilation,
    Window,
    find_windows,
    make_dilation,
    window_names,
)
from .model import D, Model
from .schedule import check_schedule
from .system import Equation, System
from .tied import tied_training


@dataclass(frozen=True)
class Phase:
    """One window of the dilated time with everything derived for it.

    `learned`, `sampling`, `training`, `mse` are systems; `projected` is the reduced
    sampling flow of the n-sample model. A role that does not exist is `None`.
    """

    name: str
    window: Window
    learned: System
    sampling: System | None
    training: System | None
    mse: System
    projected: System | None = None

    @property
    def features(self) -> tuple[int, ...]:
        """The features decided here, counted from 1."""
        return self.window.features

    @property
    def variable(self) -> str:
        """``tau`` or ``1-tau``: which one is small."""
        return self.window.variable

    @property
    def exponent(self) -> sp.Expr:
        """The window is at ``variable ~ d**(-exponent)``."""
        return self.window.exponent

    @property
    def systems(self) -> tuple[System, ...]:
        """Every system of the phase."""
        roles = (self.learned, self.sampling, self.projected, self.training, self.mse)
        return tuple(s for s in roles if s is not None)


@dataclass(frozen=True)
class Limit:
    """What `derive` returns: the dilation, its phases, and the exact companions.

    `exact` holds the systems that need no limit: ``sampling`` and ``mse`` of the Bayes
    denoiser at dimension `d`, and ``tied``, the training flow of the tied network.
    """

    model: Model
    dilation: Dilation
    phases: tuple[Phase, ...]
    exact: dict[str, System] = field(default_factory=dict)

    def phase(self, name: str) -> Phase:
        """Return the phase called `name`; raise `ModelError` if there is none."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        names = [phase.name for phase in self.phases]
        raise ModelError(
            f"The phases of this model are {', '.join(names)}, but `{name}` was asked "
            f"for{did_you_mean(name, names)}"
        )

    @property
    def systems(self) -> tuple[System, ...]:
        """Every system, phase by phase, then the exact ones."""
        return tuple(s for p in self.phases for s in p.systems) + tuple(
            self.exact.values()
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of every parameter that a solution needs; signs are left out."""
        found = {
            str(x) for p in self.phases for s in (p.learned,) for x in s.parameters
        }
        found |= {str(x) for s in self._flows() for x in s.parameters}
        return tuple(sorted(x for x in found if x[0] != "S"))

    def _flows(self) -> tuple[System, ...]:
        return tuple(p.sampling for p in self.phases if p.sampling is not None)

    def _repr_latex_(self) -> str:
        return self.dilation._repr_latex_()


def derive(model: Model) -> Limit:
    """Find the windows of `model` and derive every system of every phase.

    Raises
    ------
    ModelError
        When `model` is none, or its schedule does not lead from noise to data.
    DerivationError
        Naming the expression, the limit and what to supply, when the engine cannot
        resolve a window or a limit.
    """
    if not isinstance(model, Model):
        raise ModelError(
            f"`derive` takes a `dilaton.Model`, but was given a "
            f"{type(model).__name__}. A spec has one: `spec.model`."
        )
    windows = find_windows(model)
    check_schedule(model.interpolant.alpha, model.interpolant.beta)
    names = window_names(windows)
    decided: tuple[int, ...] = ()
    phases = []
    for name, window in zip(names, windows, strict=True):
        phases.append(_phase(model, name, window, decided))
        decided += window.features
    return Limit(model, make_dilation(windows), tuple(phases), _exact(model))


def _phase(model: Model, name: str, window: Window, decided: tuple[int, ...]) -> Phase:
    roles = (
        _weights_phase(model, window, decided)
        if window.features
        else _variance_phase(model, window)
    )
    named = {
        role: _labelled(replace(system, name=f"{name}/{system.name}"), model, window)
        for role, system in roles.items()
        if system is not None
    }
    return Phase(
        name,
        window,
        named["learned"],
        named.get("sampling"),
        named.get("training"),
        named["mse"],
        named.get("projected"),
    )


def _labelled(system: System, model: Model, window: Window) -> System:
    """Number labels by window where several share a letter, and state the rate."""
    number = system.name.split("/")[0].rpartition("-")[2]
    mark = f"{number}." if number.isdigit() else ""
    rate = D ** -_rate(model, window)

    def relabel(eq: Equation) -> Equation:
        label = eq.label[0] + mark + eq.label[1:]
        known = eq.status == "asymptotic" and eq.rate is None
        return replace(eq, label=label, rate=rate if known else eq.rate)

    return replace(
        system,
        equations=tuple(map(relabel, system.equations)),
        observables=tuple(map(relabel, system.observables)),
        solution=tuple(map(relabel, system.solution)),
    )


def _rate(model: Model, window: Window) -> sp.Expr:
    """The power of ``1/d`` that bounds what the limit of a window drops.

    The window's own variable is of size ``d**-exponent``; a bulk phase starts where
    the boundary layer beside it ends; samples are orthogonal up to ``d**(-1/2)``.
    """
    sizes = [w.exponent for w in find_windows(model) if w.exponent != 0]
    own = [window.exponent] if window.exponent != 0 else sizes
    half = [sp.Rational(1, 2)] if model.data.samples else []
    return min(own + half, default=sp.Rational(1, 2))


def _weights_phase(
    model: Model, window: Window, decided: tuple[int, ...]
) -> dict[str, System | None]:
    learned = weights.learned(model, window)
    flow = sampling.sampling(model, window, learned)
    return {
        "learned": learned,
        "sampling": flow,
        "projected": sampling.projected(model, window, flow),
        "training": training.training(model, window),
        "mse": weights.mse(model, window, decided),
    }


def _variance_phase(model: Model, window: Window) -> dict[str, System | None]:
    return {
        "learned": variance.learned(model, window),
        "sampling": variance.sampling(model, window),
        "mse": variance.mse(model, window),
    }


def _exact(model: Model) -> dict[str, System]:
    found = {"sampling": exact_flow(model), "mse": exact_mse(model)}
    if len(model.target.features) == 1 and model.target.features[0].rho == 1:
        found["tied"] = tied_training(model)
    return found
