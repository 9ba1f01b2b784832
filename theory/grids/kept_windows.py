r"""Verdicts on grids: the share of points in each window as $d \to \infty$.

A window is where $\beta/\alpha$ is between $\epsilon$ and $1/\epsilon$ times the
window's scale. Near an end of time that is where $\tau$ or $1-\tau$ is between two
multiples of $d^{-x}$, with $x$ the window's exponent, so the share is a difference of
the map back, $t(\tau_2) - t(\tau_1)$, and its leading behaviour is a limit in `d`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
import sympy as sp

from ...errors import DerivationError
from ..limit import Limit, Phase
from ..models.model import TAU, D
from ..times.grammar import INVERSE, read_map, split_maps
from ..times.maps import TimeMap, has_formula, parse_map
from ..windows.dilation import T
from . import even
from .asymptotics import DIGITS, LOGS, Tail, leading, numeric
from .even import window_times


@dataclass(frozen=True)
class Verdict:
    """The share of one `phase`, by name, that a grid keeps.

    `share` is the leading behaviour of the share of grid points there: ``1`` where it
    is kept, else a power of `d`, of its logarithm, or 0; `None` where it is not
    resolved, for a `reason`.
    """

    phase: str
    share: sp.Expr | None
    reason: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the share does not vanish; `None` if it is not resolved."""
        return None if self.share is None else self.share == 1

    @property
    def steps(self) -> sp.Expr | None:
        """How many steps are needed for some to be there; infinity if none will do."""
        if self.share is None:
            return None
        return sp.oo if self.share == 0 else sp.powsimp(1 / self.share)


def judge_grid(limit: Limit, text: str) -> tuple[Verdict, ...]:
    """Return what the grid described by `text` keeps of each phase of a limit.

    The text is that of `dilaton.numerics.times.time_grid.make_grid`. What cannot be
    resolved has the reason in place of a share; a text that is no grid raises
    `ModelError`.
    """
    found = []
    for phase in limit.phases:
        try:
            share = _shares(limit, text)
            found.append(Verdict(phase.name, share(phase)))
        except DerivationError as error:
            found.append(Verdict(phase.name, None, str(error)))
    return tuple(found)


def _shares(limit: Limit, text: str) -> Callable[[Phase], sp.Expr]:
    parts = split_maps(text)
    if all([has_formula(part) for part in parts]):
        chain = [parse_map(part, limit.model) for part in parts]
        return lambda phase: leading_share(chain, phase)
    if len(parts) > 1 or parts[0].startswith(INVERSE):
        return lambda phase: _refuse(text, "a map without a formula is composed")
    name, given = read_map(parts[0])
    if name not in even.SHARES:
        return lambda phase: _refuse(text, "a table is known at one dimension alone")
    return even.SHARES[name](limit, given)


def _refuse(text: str, fact: str) -> sp.Expr:
    raise DerivationError(
        f"What a grid keeps is derived from its formula, but of `{text}` {fact}. Judge "
        "it by numbers, with `dilaton steps`."
    )


def leading_share(chain: Sequence[TimeMap], phase: Phase) -> sp.Expr:
    r"""Return the leading behaviour of $t(\tau_2) - t(\tau_1)$ across a window.

    `chain` holds maps that are composed, the first one first. Constants are dropped:
    1, a power of `d` or of its logarithm, ``exp(-c*log(d)**2)``, or 0 where the grid
    has no points there at all. Scales of windows are of order 1, so they are set to 1.

    Raises `DerivationError` where the limit cannot be resolved.
    """
    text = "+".join(m.text for m in chain)
    ends = [_back(chain, x, text) for x in window_times(phase)]
    return leading(ends[1] - ends[0], text)


def _back(chain: Sequence[TimeMap], tau: sp.Expr, text: str) -> sp.Expr:
    """Return the grid time of `tau`, up to a constant factor of differences.

    A map without a formula back may come first: where it is smooth and rises at a rate
    that stays away from 0 and does not depend on `d`, times differ by as much as its
    values do.
    """
    for one in reversed(chain):
        if tau in (0, 1):
            return tau
        if one.backward is not None:
            sizes = (x for x in one.backward.free_symbols if str(x)[:5] == "kappa")
            scaled = one.backward.subs(dict.fromkeys(sizes, sp.S.One))
            back = _mirrored(scaled.subs(TAU, tau))
            tau = back if one.onto else _inside(back, text)
        elif one is not chain[0] or not _gentle(one):
            _refuse(text, f"the part `{one.text}` has no formula back")
    return tau


def _gentle(chosen: TimeMap) -> bool:
    slope = chosen.derivative()
    ends = [slope.subs(T, x) for x in (0, 1)]
    return not slope.has(D) and all(x.is_finite and x.is_positive for x in ends)


def _inside(time: sp.Expr, text: str) -> sp.Expr:
    """Return a grid time, 0 or 1 where the map does not reach so far.

    A map that stops short of a window does so at every large dimension; the largest
    that is tried decides.
    """
    value = _far(time)
    if mpmath.im(value) != 0:
        _refuse(text, "the time at a window is not real")
    if value <= 0:
        return sp.S.Zero
    return sp.S.One if value >= 1 else time


def _far(expr: sp.Expr) -> mpmath.mpf:
    """Return the value at a dimension that is large for every purpose."""
    with mpmath.workdps(DIGITS[0]):
        return mpmath.mpmathify(numeric(expr)(mpmath.exp(LOGS[0])))


def _mirrored(time: sp.Expr) -> sp.Expr:
    """Write erfc(-x) as 2 - erfc(x) where it is near 2, so that the 2s cancel."""

    def turned(x: sp.Expr) -> sp.Expr:
        return 2 - Tail(-x) if _far(x) < 0 else Tail(x)

    return sp.expand(time.replace(sp.erfc, turned)) if time.has(sp.erfc) else time


def size_text(size: sp.Expr | None) -> str | None:
    """Return a size in `d` as text: ``d**(-1/2)``, ``1/log(d)``, ``sqrt(d)``, ``1``."""
    if size is None:
        return None
    if size == sp.oo:
        return "infinite"
    power, rest = size.as_independent(sp.log(D), as_Add=False)
    if rest == 1 and power.is_Pow and power.exp.is_negative:
        return f"{power.base}**({power.exp})"
    return sp.sstr(size)
