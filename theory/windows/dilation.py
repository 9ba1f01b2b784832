"""The dilation: a piecewise linear change of time, with a share for each window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import sympy as sp

from ...errors import ModelError, shown
from ...mistakes import Answering
from ..models.model import TAU, D
from ..symbols.notation import symbol
from ..symbols.shown import documents
from .search import S_PHASE, Window, window_names

T = symbol("t")


@dataclass(frozen=True)
class Segment(Answering):
    """One linear piece of a dilation: a phase and its interval of ``tau``."""

    name: str
    start: sp.Expr
    stop: sp.Expr

    def tau(self, s: sp.Expr = S_PHASE) -> sp.Expr:
        """``tau`` at the time `s` in [0, 1] inside the segment."""
        return self.start + (self.stop - self.start) * s

    def shown(self, s: sp.Expr) -> sp.Expr:
        """The same for print: a layer at the end is counted from its end."""
        size = self.stop - self.start
        layer = self.start != 0 and not size.is_Add
        return self.stop - sp.factor_terms(size * (1 - s)) if layer else self.tau(s)


@dataclass(frozen=True)
class Dilation(Answering):
    r"""The piecewise linear change of time $\tau(t)$; every phase has an equal share.

    Label (T1). For the paper's model $\tau(t) = 2\kappa t/\sqrt d$ up to $t = 1/2$,
    then linear up to 1.
    """

    segments: tuple[Segment, ...]

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The symbols (``d`` and the window scales) that fix the map."""
        found = set().union(*(g.tau().free_symbols for g in self.segments))
        return tuple(sorted(found - {S_PHASE}, key=str))

    @cached_property
    def tau(self) -> sp.Expr:
        """``tau`` as a piecewise linear expression in ``t``."""
        return sp.expand(self.stretched([sp.S.One] * len(self.segments))[0])

    @cached_property
    def inverse(self) -> sp.Expr:
        """``t`` as a piecewise linear expression in ``tau``."""
        return self.stretched([sp.S.One] * len(self.segments))[1]

    def stretched(self, weights: Sequence[sp.Expr]) -> tuple[sp.Expr, sp.Expr]:
        """Return ``tau`` in ``t``, and ``t`` in ``tau``, for given shares of phases."""
        total = sum(weights)
        knots = [sum(weights[:i], sp.S.Zero) / total for i in range(len(weights) + 1)]
        there, back = [], []
        for segment, (start, stop) in zip(self.segments, pairwise(knots), strict=True):
            inside = (TAU - segment.start) / (segment.stop - segment.start)
            there.append((segment.tau((T - start) / (stop - start)), stop >= T))
            back.append((start + (stop - start) * inside, segment.stop >= TAU))
        forth, home = (sp.Piecewise(*x[:-1], (x[-1][0], True)) for x in (there, back))
        return forth, home

    def at(self, values: Mapping[str, float]) -> Callable[[float], float]:
        """Return ``t -> tau`` at finite `d`; raise `ModelError` where it folds back."""
        knots = self.knots(values)
        count = len(self.segments)

        def tau(t: float) -> float:
            i = min(int(t * count), count - 1)
            return knots[i] + (knots[i + 1] - knots[i]) * (t * count - i)

        return tau

    def knots(self, values: Mapping[str, float]) -> list[float]:
        """The ends of the segments in ``tau`` at finite `d`, increasing from 0 to 1."""
        if not isinstance(values, Mapping):
            raise ModelError(
                f"A dilation must have values by name, but is given {shown(values)}. "
                'Write them as in `at({"d": 1e4, "kappa": 2.0})`, a function of t.'
            )
        missing = [str(x) for x in self.parameters if str(x) not in values]
        if missing:
            raise ModelError(
                "A dilation at finite size needs "
                f"{', '.join(map(str, self.parameters))}, but "
                f"`{missing[0]}` is missing. Give it; there is no default."
            )
        point = {x: values[str(x)] for x in self.parameters}
        for x, value in point.items():
            if not 0 < value < float("inf"):
                raise ModelError(
                    f"`{x}` must be positive and finite, but is {value:g}. Change it."
                )
        ends = [0.0] + [float(g.stop.subs(point)) for g in self.segments]
        if any(b <= a for a, b in pairwise(ends)):
            raise ModelError(
                "The windows of a dilation must follow one another in [0, 1], but at "
                f"d = {values['d']:g} they end at tau = "
                f"{', '.join(f'{e:.3g}' for e in ends[1:])}. Raise d or lower kappa."
            )
        return ends

    def __str__(self) -> str:
        count = len(self.segments)
        return "\n".join(
            f"tau = {sp.sstr(g.shown(count * T - i))}"
            f"   for {sp.Rational(i, count)} <= t <= {sp.Rational(i + 1, count)}"
            f"   ({g.name})"
            for i, g in enumerate(self.segments)
        )

    def _repr_latex_(self) -> str:
        return documents().dilation_latex(self)


def make_dilation(windows: tuple[Window, ...]) -> Dilation:
    """Return the dilation that gives each window an equal share of ``t`` (T1)."""
    edges: list[sp.Expr] = [sp.S.Zero]
    for here, after in pairwise(windows):
        if here.end == "0":
            edges.append(here.kappa * D ** (-here.exponent))
        else:
            edges.append(1 - after.kappa * D ** (-after.exponent))
    edges.append(sp.S.One)
    names = window_names(windows)
    return Dilation(
        tuple(
            Segment(n, a, b) for n, a, b in zip(names, edges, edges[1:], strict=False)
        )
    )
