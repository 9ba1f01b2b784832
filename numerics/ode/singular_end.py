r"""A variable in which a flow that is singular at time 1 is regular.

Velocities contain $\dot\alpha/\alpha$, which diverges at $\tau = 1$ where the
schedule has used up its noise. The trajectories are finite there, and smooth in
$z = 1 - \sqrt{1 - \tau}$:

$$
\frac{dy}{dz} = 2 (1 - z)\, f(\tau(z), y), \qquad \tau(z) = 1 - (1 - z)^2 .
\tag{Z1}
$$

The right-hand side is simplified in $w = 1 - z$, where $1 - \tau = w^2$ exactly, so
nothing cancels; where it stays of the form 0/0 at the end its limit is put in.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import sympy as sp

from ...errors import ModelError
from ...theory.symbols.system import System


@lru_cache(maxsize=64)
def regular_end(system: System) -> System:
    """Return the flow in the variable z (Z1); its time symbol now stands for z.

    Raises `ModelError` when an equation still diverges there, or has no time.
    """
    if system.time is None or system.inputs:
        raise ModelError(
            "A flow that is singular at its end must have a time and no given "
            f"functions, but `{system.name}` has the time {system.time} and the inputs "
            f"({', '.join(map(str, system.inputs))}). Put the functions in."
        )
    rows = tuple(
        replace(eq, rhs=_regular(sp.sympify(eq.rhs), system.time, str(eq.lhs)))
        for eq in system.equations
    )
    return replace(system, equations=rows, observables=())


def _regular(expr: sp.Expr, time: sp.Symbol, name: str) -> sp.Expr:
    w = sp.Symbol("w_end", positive=True)
    turned = expr.xreplace({time: 1 - w**2})
    turned = turned.replace(
        lambda e: isinstance(e, sp.Pow) and not e.exp.is_Integer,
        lambda e: sp.expand_power_base(sp.Pow(sp.factor(e.base), e.exp), force=True),
    )
    turned = turned.replace(
        lambda e: isinstance(e, sp.cos | sp.sin | sp.tan),
        lambda e: e.func(sp.expand(e.args[0])),
    )
    turned = sp.cancel(sp.together(2 * w * turned))
    at_end = turned.subs(w, 0)
    if not at_end.is_finite and not _plain(at_end):
        at_end = sp.limit(turned, w, 0, "+")
        if not _plain(at_end):
            raise ModelError(
                f"The equation for `{name}` must be integrable at the end, but 2 w f "
                f"is {at_end} at w = sqrt(1 - {time}) = 0. End the interval earlier, "
                "or give a flow that is regular."
            )
        before = turned.subs(w, 1 - time)
        return sp.Piecewise((at_end, sp.Eq(time, 1)), (before, True))
    return turned.subs(w, 1 - time)


def _plain(value: sp.Expr) -> bool:
    return not value.has(sp.oo, -sp.oo, sp.zoo, sp.nan, sp.Limit, sp.AccumBounds)
