"""The result of a derivation: a limit, its phases, and the systems of each phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sympy as sp

from ..errors import ModelError, did_you_mean
from .models.model import D, Model
from .phases import bulk, weights
from .phases.denoiser import exact_flow, exact_mse
from .phases.roles import Roles, roles_of
from .phases.tied_score import tied_training
from .references import bibtex
from .symbols.shown import Typeset
from .symbols.system import Equation, Step, System
from .windows.dilation import Dilation
from .windows.search import S_PHASE, Window, leading_rate


@dataclass(frozen=True, repr=False)
class Phase(Typeset):
    """One window of the dilated time; each of its systems is derived when asked for.

    `learned`, `sampling`, `training`, `mse`, `correction` are systems; `projected` is
    the reduced sampling flow of the n-sample model, `levels` the interpolant inside the
    window. A role that does not exist is `None`.
    """

    name: str
    window: Window
    model: Model
    decided: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Phase({self.name})"

    def __getitem__(self, role: str) -> System:
        """Return the system of a role."""
        found = {x.name.partition("/")[2]: x for x in self.systems}
        if role not in found:
            raise ModelError(
                f"Phase `{self.name}` has the systems {', '.join(found)}, but `{role}` "
                f"was asked for{did_you_mean(role, found)}"
            )
        return found[role]

    @property
    def features(self) -> tuple[int, ...]:
        """The features decided here, counted from 1."""
        return self.window.features

    @property
    def groups(self) -> tuple | None:
        """The groups of modes that part here; `None` for a target of signs."""
        return None

    @property
    def subjects(self) -> tuple[str, ...]:
        """The decisions of the phase, in words."""
        return tuple(f"feature {j}" for j in self.features)

    @property
    def variable(self) -> str:
        """``tau`` or ``1-tau``: which one is small."""
        return self.window.variable

    @property
    def exponent(self) -> sp.Expr:
        """The window is at ``variable ~ d**(-exponent)``."""
        return self.window.exponent

    @cached_property
    def _roles(self) -> Roles:
        return roles_of(self.model)

    @cached_property
    def learned(self) -> System:
        """The learned overlaps: closed, or a stationarity problem."""
        derived = self._roles.learned if self.features else bulk.learned
        return self._named(derived(self.model, self.window))

    @cached_property
    def sampling(self) -> System | None:
        """The flow of a sample's overlaps; `None` where nothing is decided."""
        if self.features:
            return self._derived(self._roles.sampling, self.learned)
        every = len(self.decided) == len(self.model.target.features)
        return self._named(bulk.sampling(self.model, self.window)) if every else None

    @cached_property
    def projected(self) -> System | None:
        """The sampling flow of n samples in one dimension."""
        return self._derived(self._roles.projected)

    @cached_property
    def training(self) -> System | None:
        """Gradient flow of the overlaps in training time."""
        return self._derived(self._roles.training)

    @cached_property
    def correction(self) -> System | None:
        """The leading finite-d correction of the learned overlaps."""
        return self._derived(self._roles.correction, self.learned)

    @cached_property
    def levels(self) -> System:
        """The interpolant inside the window, in units of its powers of `d`."""
        window = self.window
        pairs = (("alpha", window.alpha), ("beta", window.beta))
        equations = tuple(Equation("L0", sp.Symbol(x), e) for x, e in pairs)
        names = () if window.kappa is None else (window.kappa,)
        return System(
            f"{self.name}/levels", "closed", S_PHASE, equations, names
        ).check()

    @cached_property
    def mse(self) -> System:
        """The Bayes error per dimension."""
        if self.window.variance and not self.features:
            return self._named(bulk.mse(self.model, self.window))
        return self._named(weights.mse(self.model, self.window, self.decided))

    @property
    def systems(self) -> tuple[System, ...]:
        """Every system of the phase; a long `correction` is left to be asked for."""
        roles = (self.learned, self.sampling, self.projected, self.training, self.mse)
        closed = self.learned.kind == "closed"
        return tuple(s for s in (*roles, closed and self.correction) if s)

    def _derived(
        self, derive: Callable[..., System] | None, *learned: System
    ) -> System | None:
        """The system of a role that only windows of features have."""
        if derive is None or not self.features:
            return None
        return self._named(derive(self.model, self.window, *learned))

    def _named(self, system: System) -> System:
        whole = replace(system, name=f"{self.name}/{system.name}")
        return _labelled(whole, self.model, self.window)


class Lazy(Mapping[str, System]):
    """Systems of a model by name, each derived when it is asked for."""

    def __init__(
        self, model: Model, derive: Mapping[str, Callable[[Model], System]]
    ) -> None:
        self._model, self._derive = model, derive
        self._found: dict[str, System] = {}

    def __getitem__(self, name: str) -> System:
        if name not in self._derive:
            raise _unknown("exact systems", name, self)
        if name not in self._found:
            self._found[name] = self._derive[name](self._model)
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._derive

    def __iter__(self) -> Iterator[str]:
        return iter(self._derive)

    def __len__(self) -> int:
        return len(self._derive)

    def __repr__(self) -> str:
        return f"Lazy({', '.join(self)})"


class Phases(tuple[Phase, ...]):
    """The phases of a limit in their order, each found by its number or its name."""

    @property
    def names(self) -> list[str]:
        """The names of the phases."""
        return [phase.name for phase in self]

    def __getitem__(self, which: Any) -> Any:
        """Return the phase of a number, or of a name."""
        if isinstance(which, str) and which not in self.names:
            raise _unknown("phases", which, self.names)
        at = self.names.index(which) if isinstance(which, str) else which
        return super().__getitem__(at)


def _unknown(what: str, name: str, known: Iterable[str]) -> ModelError:
    return ModelError(
        f"The {what} of this model are {', '.join(known)}, but `{name}` was asked "
        f"for{did_you_mean(name, known)}"
    )


@dataclass(frozen=True, repr=False)
class Limit(Typeset):
    """The result of `derive`: the dilation, its phases, and the exact companions."""

    model: Model
    dilation: Dilation
    phases: Phases

    def phase(self, name: str) -> Phase:
        """Return the phase called `name`; raise `ModelError` if there is none."""
        return Phases(self.phases)[str(name)]

    def __repr__(self) -> str:
        return f"Limit({', '.join(phase.name for phase in self.phases)})"

    def __str__(self) -> str:
        """The phases, when each is and what it decides, a line each."""
        rows = [
            f"  {phase.name}: {phase.variable} = O({D**-phase.exponent}), "
            f"{', '.join(phase.subjects) or 'the bulk variance'}"
            for phase in self.phases
        ]
        ask = f'  Ask for `.phase("{self.phases[0].name}").learned`, `.exact`, ...'
        return "\n".join([f"Limit of {len(rows)} phases", *rows, ask])

    def __getitem__(self, name: str) -> Phase:
        """Return the phase called `name`."""
        return self.phase(name)

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)

    def __len__(self) -> int:
        return len(self.phases)

    @cached_property
    def exact(self) -> Lazy:
        """The systems that need no limit: Bayes ``sampling`` and ``mse`` at `d`.

        Also ``tied``, the training flow of the tied score network on the population.
        Each is derived when it is asked for.
        """
        derive = {"sampling": exact_flow, "mse": exact_mse, "tied": tied_training}
        return Lazy(self.model, derive)

    @property
    def story(self) -> dict[str, tuple[Step, ...]]:
        """The chapters of a document that differ from the usual, by heading."""
        return {}

    @property
    def systems(self) -> tuple[System, ...]:
        """Every system, phase by phase, then the exact ones that are the model's."""
        found = tuple(s for p in self.phases for s in p.systems)
        return found + tuple(self.exact[x] for x in self.own_exact)

    @property
    def own_exact(self) -> tuple[str, ...]:
        """The exact systems of the model: ``tied`` is of a network that may not be."""
        tied = self.model.autoencoder.tied
        return tuple(x for x in self.exact if tied or x != "tied")

    def citations(self) -> str:
        """Return BibTeX of the papers that the derived equations rest on.

        Before each entry a comment names those equations, by system and label. What no
        paper has is this software's own, whose entry comes first.
        """
        from .. import __version__

        return bibtex(self.systems, __version__)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of every parameter that a solution needs; signs are left out."""
        found = {
            str(x)
            for phase in self.phases
            for system in (phase.learned, phase.sampling)
            if system is not None
            for x in system.parameters
        }
        return tuple(sorted(x for x in found if x[0] != "S"))


_BEFORE = {"E": 1, "G": 5, "P": 2}
"""Labels of a letter that belong to no window: (E1), the rules (G1)-(G5), and the
posterior of modes at any d, (P1) and (P2)."""


def _numbered(label: str, mark: str) -> str:
    """Return a label with the number of its window: (G1.1) for (G6) in the first."""
    if not mark:
        return label
    return f"{label[0]}{mark}{int(label[1:]) - _BEFORE.get(label[0], 0)}"


def _labelled(system: System, model: Model, window: Window) -> System:
    """Number labels by window where several share a letter, and state the rate."""
    number = system.name.split("/")[0].rpartition("-")[2]
    mark = f"{number}." if number.isdigit() else ""
    rate = D ** -leading_rate(model, window)

    def relabel(eq: Equation) -> Equation:
        label = _numbered(eq.label, mark)
        known = eq.status == "asymptotic" and eq.rate is None
        return replace(eq, label=label, rate=rate if known else eq.rate)

    return replace(
        system,
        equations=tuple(map(relabel, system.equations)),
        observables=tuple(map(relabel, system.observables)),
        solution=tuple(map(relabel, system.solution)),
    )
