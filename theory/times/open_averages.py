r"""A flow whose Gaussian averages are left to be filled in, beside their fields.

Written out over normals, the flow of two units that couple is a page for each overlap,
and its kernel takes minutes to print. Here each average is a symbol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from ..symbols.gaussian import H2, FieldAverage, H
from ..symbols.system import Equation, System


@dataclass(frozen=True)
class Averages:
    """A flow with its averages as inputs, and the fields that they are of. (R39)

    `flow` has averages over fields; `rates` are its right-hand sides, a closed system
    in the unknowns and the averages. `fields` are means and covariances in the
    unknowns: of each of `ones` a mean and a variance, then of each of `pairs` two means
    and $c_{11}, c_{12}, c_{22}$. For each field, or pair of them, `ones` and `pairs`
    list the powers of tanh whose averages are wanted, in the order of the inputs:
    ``n``, or ``(n, m)``.
    """

    flow: System
    rates: System
    fields: System
    ones: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[tuple[int, int], ...], ...]


def averages_out(flow: System) -> Averages:
    """Put a symbol for each average over fields, and list the fields."""
    nodes = set().union(*(eq.rhs.atoms(FieldAverage) for eq in flow.equations))
    of_field: dict[tuple, dict[tuple[int, ...], FieldAverage]] = {}
    for node in sorted(nodes, key=str):  # with the powers of tanh of its fields
        units = [sp.tanh(H), sp.tanh(H2)][: len(node.args[1])]
        powers = sp.Poly(node.args[0], *units).monoms()[0]
        of_field.setdefault(node.args[1:], {})[tuple(powers)] = node
    fields = sorted(of_field, key=lambda field: len(field[0]))
    names = {
        node: sp.Symbol(f"mean_{i}_{'_'.join(map(str, powers))}", real=True)
        for i, field in enumerate(fields)
        for powers, node in of_field[field].items()
    }
    rates = tuple(
        replace(eq, lhs=sp.Symbol(f"speed_{eq.lhs}"), rhs=eq.rhs.xreplace(names))
        for eq in flow.equations
    )
    parts = [x for field in fields for x in (*field[0], *field[1])]
    where = tuple(
        Equation("R39", sp.Symbol(f"part_{n}", real=True), x, "exact")
        for n, x in enumerate(parts)
    )
    closed = replace(
        flow, kind="closed", time=None, observables=(), domain=(), steps=()
    )
    unknowns, powers = flow.unknowns, [tuple(of_field[field]) for field in fields]
    return Averages(
        flow,
        replace(closed, equations=rates, inputs=(*unknowns, *names.values())).check(),
        replace(closed, equations=where, inputs=unknowns).check(),
        tuple(tuple(n for (n,) in x) for x in powers if len(x[0]) == 1),
        tuple(tuple((n, m) for n, m in x) for x in powers if len(x[0]) == 2),
    )
