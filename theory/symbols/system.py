"""`System`: the only seam between symbols and numbers.

A `System` says what is unknown, which equations fix it, which parameters they
contain and what else can be computed from it. Kernels, LaTeX, the documents and
the finite-size checks are all printed from it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Literal

import sympy as sp

from ...errors import ModelError, did_you_mean
from ...mistakes import Answering
from .shown import documents

Kind = Literal["closed", "flow", "stationary"]
Status = Literal["exact", "asymptotic", "numerical", "degenerate"]


class _Sourced:
    """A record that remembers which function wrote it: ``module:function``.

    A copy made by `replace` keeps the source of its original.
    """

    source: str

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", _writer(sys._getframe(2)))


def _writer(frame: FrameType | None) -> str:
    """The function of a frame, past comprehensions, as ``theory.phases.bulk:mse``."""
    while frame is not None and frame.f_code.co_name.startswith("<"):
        frame = frame.f_back
    if frame is None:
        return ""
    name = frame.f_code.co_qualname.partition(".<locals>")[0]
    module = str(frame.f_globals.get("__name__", ""))
    return f"{module.partition('.')[2] or module}:{name}"


@dataclass(frozen=True)
class Equation(_Sourced):
    """One labelled equation ``lhs = rhs``.

    In a flow `lhs` is the state whose time derivative is `rhs`; in a stationary
    system `rhs` is the gradient component that vanishes; in a closed one `lhs`
    is the quantity and `rhs` its value.
    """

    label: str
    lhs: sp.Symbol
    rhs: sp.Expr
    status: Status = "asymptotic"
    rate: sp.Expr | None = None  # relative size of what was dropped, e.g. d**(-1/2)
    source: str = field(default="", compare=False, repr=False)


def numbered(
    letter: str,
    values: Mapping[sp.Symbol, sp.Expr],
    first: int = 1,
    status: Status = "asymptotic",
    rate: sp.Expr | None = None,
) -> tuple[Equation, ...]:
    """Return equations with the labels ``W1``, ``W2``, ... from what each is for."""
    source = _writer(sys._getframe(1))
    rows = enumerate(values.items(), first)
    return tuple(Equation(f"{letter}{i}", *x, status, rate, source) for i, x in rows)


@dataclass(frozen=True)
class Step(_Sourced):
    """One line of a derivation: what was done, and the formula it led to."""

    text: str
    formula: sp.Basic | None = None
    label: str | None = None
    source: str = field(default="", compare=False, repr=False)


def said(*texts: str) -> tuple[Step, ...]:
    """Return steps that are words alone."""
    source = _writer(sys._getframe(1))
    return tuple(Step(text, source=source) for text in texts)


@dataclass(frozen=True)
class Branch:
    """A competing minimum of a stationary system that is known in closed form."""

    name: str
    objective: sp.Expr
    equations: tuple[Equation, ...]


@dataclass(frozen=True)
class System(Answering):
    """Equations for named unknowns, ready to be printed as LaTeX or as a kernel.

    Attributes
    ----------
    name
        ``"weights/sampling"``: the phase and the role.
    kind
        ``closed`` (values), ``flow`` (an ODE in `time`) or ``stationary`` (a
        minimum of `objective`, whose gradient is in `equations`).
    time
        The independent variable; `None` when nothing depends on one.
    equations
        One per unknown (flow, stationary), or the values (closed).
    observables
        Quantities computed from the unknowns, `time`, `parameters` and `inputs`.
    inputs
        Unknowns of another system that enter as given functions of `time`.
    parameters
        The physical parameters; there are no defaults.
    solution
        The closed solution of a flow, where there is one (checked when derived).
    branches
        Closed-form minima that compete with the interior one of a stationary system.
    domain
        Relations that every admissible state and parameter satisfies.
    """

    name: str
    kind: Kind
    time: sp.Symbol | None
    equations: tuple[Equation, ...]
    parameters: tuple[sp.Symbol, ...]
    observables: tuple[Equation, ...] = ()
    inputs: tuple[sp.Symbol, ...] = ()
    objective: sp.Expr | None = None
    initial: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()
    solution: tuple[Equation, ...] = ()
    branches: tuple[Branch, ...] = ()
    domain: tuple[sp.Basic, ...] = ()
    status: Status = "asymptotic"
    steps: tuple[Step, ...] = field(default=(), compare=False)

    @property
    def unknowns(self) -> tuple[sp.Symbol, ...]:
        """The symbols the equations determine, in order."""
        return tuple(eq.lhs for eq in self.equations)

    @property
    def names(self) -> tuple[str, ...]:
        """ASCII names of the unknowns, then of the observables."""
        return tuple(str(eq.lhs) for eq in self.equations + self.observables)

    def __getitem__(self, name: str) -> sp.Expr:
        """Return the right-hand side of the equation or observable called `name`."""
        for eq in self.equations + self.observables:
            if str(eq.lhs) == name:
                return eq.rhs
        raise ModelError(
            f"System `{self.name}` has the quantities {', '.join(self.names)}, but "
            f"`{name}` was asked for{did_you_mean(name, self.names)}"
        )

    def replaced(self, name: str, rhs: sp.Expr) -> System:
        """Return a copy whose equation or observable `name` reads `rhs` instead.

        A closed solution, which was that of the old equations, is left out. Raises
        `ModelError` for a name that there is none of, and for an undeclared symbol.
        """
        self[name]

        def swap(eqs: tuple[Equation, ...]) -> tuple[Equation, ...]:
            return tuple(replace(e, rhs=rhs) if str(e.lhs) == name else e for e in eqs)

        return replace(
            self,
            equations=swap(self.equations),
            observables=swap(self.observables),
            solution=(),
        ).check()

    def solved(self) -> System:
        """Return the closed solution of a flow as a closed system of its own."""
        return replace(
            self,
            name=f"{self.name}-solution",
            kind="closed",
            equations=self.solution,
            observables=(),
            solution=(),
        )

    def check(self) -> System:
        """Raise `ModelError` unless every symbol is declared; return the system."""
        known = {*self.unknowns, *self.parameters, *self.inputs}
        known |= {self.time} if self.time is not None else set()
        # a family brings its name and its indices: y[j], pi[k]
        heads = [e.lhs for e in self.equations + self.observables]
        known = known.union(*(x.free_symbols for x in heads if x.is_Indexed))
        for eq in self.equations + self.observables:
            used = sp.sympify(eq.rhs).free_symbols  # normals of averages are bound
            stray = {x for x in used if isinstance(x, sp.Symbol)} - known
            if stray:
                word = str(min(stray, key=str))
                raise ModelError(
                    f"Every symbol of `{self.name}` must be declared, but the equation "
                    f"for `{eq.lhs}` uses `{word}`"
                    + did_you_mean(word, [str(k) for k in known])
                )
        return self

    def _repr_latex_(self) -> str:
        return documents().system_latex(self)
