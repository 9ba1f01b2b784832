"""Names and generated source of a limit, loadable without sympy.

A `System` is symbols. To evaluate one it is enough to know its names and its printed
functions, so these are kept in the cache folder, named by what was derived and by the
code that derived it: a second process solves a known model without deriving it anew,
and without sympy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...errors import ModelError
from ...files import code_digest
from .cache import remembered

if TYPE_CHECKING:
    from ...theory.derive import Limit, Phase
    from ...theory.models.model import Model
    from ...theory.models.spec import Spec
    from ...theory.symbols.system import System

SATURATED = 400.0
"""Stands for an infinite bias: a unit is 1 in double precision, whatever its w."""

ROLES = ("learned", "sampling", "projected", "levels")
"""The systems of a phase that a solution at given parameters needs."""


@dataclass(frozen=True)
class Printed:
    """Names and generated source of a `System`, loadable without sympy.

    Attributes
    ----------
    name, kind, status, unknowns, inputs, parameters, branches
        Those of the `System`, as text.
    observed, undetermined, solution
        Names of the observables, of the quantities that no equation fixes, and of
        what the closed solution of a flow gives.
    key
        What its text is kept under; empty for a system that is not kept.
    origin
        The system itself, if it is not kept.
    make
        Returns the system; derives it if need be.
    """

    name: str
    kind: str
    status: str
    unknowns: tuple[str, ...]
    observed: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    branches: tuple[str, ...]
    undetermined: tuple[str, ...]
    solution: tuple[str, ...]
    key: str = field(repr=False)
    origin: System | None = field(repr=False)
    make: Callable[[], System] = field(repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The unknowns, then the observables."""
        return self.unknowns + self.observed

    @property
    def even(self) -> bool:
        """Whether the loss is even in the unknowns, so that omega >= 0 can be chosen.

        It is even in (u, w, b); a sign unit has `b` alone, and w on the side of mu.
        """
        return any(name.startswith("omega") for name in self.unknowns)

    def text(self, what: str, write: Callable[[System], str]) -> str:
        """Return ``write(system)``, or what was kept of it under the name `what`."""
        if self.origin is not None:
            return write(self.origin)
        return remembered(f"{self.key}\n{what}", lambda: write(self.make()))

    def solved(self) -> Printed:
        """Return the closed solution of a flow as a closed system."""
        return self.part(
            lambda system: system.solved(),
            "solution",
            name=f"{self.name}-solution",
            kind="closed",
            unknowns=self.solution,
            observed=(),
            solution=(),
        )

    def determined(self) -> Printed:
        """Return a closed system without the quantities that no equation fixes."""
        if not self.undetermined:
            return self
        kept = tuple(x for x in self.unknowns if x not in self.undetermined)
        return self.part(_determined, "determined", unknowns=kept, undetermined=())

    def part(
        self, take: Callable[[System], System], what: str, **changes: Any
    ) -> Printed:
        """Return the system that `take` makes, kept under `what`, with its names."""
        if self.origin is not None:
            return printed(take(self.origin))
        key = f"{self.key}/{what}"
        return replace(self, **changes, key=key, make=lambda: take(self.make()))


def _determined(system: System) -> System:
    import sympy as sp

    known = tuple(e for e in system.equations if e.rhs is not sp.nan)
    return replace(system, equations=known)


def printed(system: System | Printed) -> Printed:
    """Return a system as numbers see it; one that is given as such is returned."""
    return system if isinstance(system, Printed) else _printed(system)


@lru_cache(maxsize=128)
def _printed(system: System) -> Printed:
    system.check()
    return Printed(**_names(system), key="", origin=system, make=lambda: system)


def _names(system: System) -> dict[str, Any]:
    import sympy as sp

    free = (e.lhs for e in system.equations if e.rhs is sp.nan)
    return {
        "name": system.name,
        "kind": system.kind,
        "status": system.status,
        "unknowns": _text(system.unknowns),
        "observed": _text(e.lhs for e in system.observables),
        "inputs": _text(system.inputs),
        "parameters": _text(system.parameters),
        "branches": tuple(branch.name for branch in system.branches),
        "undetermined": _text(free),
        "solution": _text(e.lhs for e in system.solution),
    }


def _text(symbols: Any) -> tuple[str, ...]:
    return tuple(map(str, symbols))


# ------------------------------------------------------------------------- whole limits


@dataclass(frozen=True)
class PrintedPhase:
    """A phase as numbers see it; `learned`, `sampling`, `projected` are `Printed`.

    `levels` has the interpolant's coefficients inside the window; `told` is what
    results say of each quantity. `variance`: the bulk variance is set here; `vanishes`:
    no noise is left at its end; `make` returns the phase itself. `ordinary`: where
    samples are learned from as noise vanishes, the phase of a linear schedule that
    learns the same at the same signal-to-noise ratio.
    """

    name: str
    features: tuple[int, ...]
    variance: bool
    vanishes: bool
    learned: Printed
    sampling: Printed | None
    projected: Printed | None
    levels: Printed
    told: Mapping[str, Mapping[str, str]] = field(repr=False, compare=False)
    make: Callable[[], Phase] = field(repr=False, compare=False)
    ordinary: PrintedPhase | None = None


@dataclass(frozen=True)
class PrintedLimit:
    """A limit as numbers see it; `about` is what results say of the model."""

    phases: tuple[PrintedPhase, ...]
    parameters: tuple[str, ...]
    about: Mapping[str, Any]

    def kappas(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with `kappa` under the names that the windows give it."""
        if "kappa" in self.parameters or "kappa" not in values:
            return dict(values)
        own = (k for k in self.parameters if k.startswith("kappa_"))
        wanted = sorted(own, key=lambda name: int(name[6:]))
        rest = {k: v for k, v in values.items() if k != "kappa"}
        kappa = values["kappa"]
        each = kappa if isinstance(kappa, list | tuple) else [kappa] * len(wanted)
        if len(each) != len(wanted):
            raise ModelError(
                f"`kappa` must be one number or a list of {len(wanted)}, one for each "
                f"window, but is a list of {len(each)}. Features with one exponent "
                "share a window."
            )
        return {**dict(zip(wanted, each, strict=True)), **rest}


def printed_limit(limit: Limit | PrintedLimit) -> PrintedLimit:
    """Return a limit as numbers see it.

    One that `known` made, whose equations nobody has looked at since, comes from the
    cache folder; for any other its own systems are printed.
    """
    if isinstance(limit, PrintedLimit):
        return limit
    if not hasattr(limit, "model"):
        raise ModelError(
            "`solve` takes what `dilaton.derive` returned, but was given a "
            f"{type(limit).__name__}. Derive the model first."
        )
    if "phases" not in vars(limit):
        return _kept(key_of(limit.model), limit.derived)  # type: ignore[attr-defined]
    phases = tuple(map(printed_phase, limit.phases))
    return PrintedLimit(phases, limit.parameters, _about(limit))


def printed_phase(phase: Phase | PrintedPhase) -> PrintedPhase:
    """Return a phase as numbers see it."""
    if isinstance(phase, PrintedPhase):
        return phase
    systems = {role: getattr(phase, role) for role in ROLES}
    held: dict[str, Any] = {k: x and printed(x) for k, x in systems.items()}
    other = ordinary_phase(phase)
    found = PrintedPhase(**_facts(phase), **held, make=lambda: phase)
    return replace(found, ordinary=None if other is None else printed_phase(other))


def limit_of(spec: Spec) -> PrintedLimit:
    """Return the limit of a spec as numbers see it, derived if it is not known."""

    def derived() -> Limit:
        from ...theory.derive import derive

        return derive(spec.model)

    content = json.dumps(spec.structure, sort_keys=True)
    return _kept(f"{_code()}\n{content}", cache(derived))


def key_of(model: Model) -> str:
    """Return what the texts of a model are kept under."""
    return f"{_code()}\n{_model_text(model)}"


def _kept(key: str, limit: Callable[[], Limit]) -> PrintedLimit:
    table = json.loads(remembered(key, lambda: json.dumps(_described(limit()))))
    phases = tuple(
        _phase(row, f"{key}\n{i}", partial(lambda i: limit().phases[i], i))
        for i, row in enumerate(table["phases"])
    )
    return PrintedLimit(phases, tuple(table["parameters"]), table["about"])


def _phase(table: dict[str, Any], key: str, make: Callable[[], Any]) -> PrintedPhase:
    """Return a phase from what is kept of it; `make` derives it."""
    for role in ROLES:
        if names := table[role]:
            lists = {k: tuple(v) for k, v in names.items() if isinstance(v, list)}
            table[role] = Printed(
                **(names | lists),
                key=f"{key} {role}",
                origin=None,
                make=partial(lambda role: getattr(make(), role), role),
            )
    table["features"] = tuple(table["features"])
    if other := table["ordinary"]:
        there = _phase(other, f"{key} ordinary", lambda: ordinary_phase(make()))
        table["ordinary"] = there
    return PrintedPhase(**table, make=make)


def ordinary_phase(phase: Phase) -> Phase | None:
    r"""Return the phase of a linear schedule that learns the same; `None` if itself.

    In units of its noise $x/\alpha = x_0 + (\beta/\alpha)\,x_1$, and (L1) has the ridge
    $\alpha^2|w|^2$, so that a network knows of its schedule $\beta/\alpha$ alone. Where
    the noise vanishes, $w$ has no limit, and is found in these units.
    """
    from ...theory.derive import derive
    from ...theory.models.model import LINEAR

    samples = phase.model.data.samples and bool(phase.features)
    if not samples or not _vanishes(phase) or phase.learned.kind != "stationary":
        return None
    return derive(replace(phase.model, interpolant=LINEAR)).phases[0]


def _vanishes(phase: Phase) -> bool:
    return bool(phase.window.alpha.subs(phase.learned.time, 1) == 0)


def _described(limit: Limit) -> dict[str, Any]:
    return {
        "phases": [_row(phase) for phase in limit.phases],
        "parameters": limit.parameters,
        "about": _about(limit),
    }


def _row(phase: Phase) -> dict[str, Any]:
    systems = {role: getattr(phase, role) for role in ROLES}
    held = {role: x and _names(x.check()) for role, x in systems.items()}
    other = ordinary_phase(phase)
    return _facts(phase) | held | {"ordinary": other and _row(other)}


def _facts(phase: Phase) -> dict[str, Any]:
    from ...theory.document.definitions import facts_of

    return {
        "name": phase.name,
        "features": phase.features,
        "variance": phase.window.variance,
        "vanishes": _vanishes(phase),
        "told": facts_of(phase),
    }


def _about(limit: Limit) -> dict[str, Any]:
    from ...theory.models.model import Modes

    model = limit.model
    own: dict[str, Any] = {}
    if isinstance(model.target, Modes):
        exponents = [str(e) for e in model.target.exponents]
        own["modes"] = {"loadings": model.target.loadings, "exponents": exponents}
    return own | {
        "alpha": str(model.interpolant.alpha),
        "beta": str(model.interpolant.beta),
        "exponents": [str(f.exponent) for f in model.target.features],
        "activation": model.autoencoder.activation,
        "samples": model.data.samples,
        "frozen_noise": model.data.frozen_noise,
    }


def _model_text(record: Any) -> str:
    """Return all that a model holds as text, symbols with their assumptions."""
    if is_dataclass(record):
        parts = (_model_text(getattr(record, f.name)) for f in fields(record))
        return f"{type(record).__name__}({', '.join(parts)})"
    if isinstance(record, tuple):
        return f"({', '.join(map(_model_text, record))})"
    if hasattr(record, "free_symbols"):
        import sympy as sp

        return sp.srepr(record)
    return repr(record)


@cache
def _code() -> str:
    """Return a digest of the code that derives and prints, and of its versions."""
    from importlib.metadata import version

    sources = code_digest("theory", "numerics.codegen")
    return f"{__version__} {version('sympy')} {sources}"
