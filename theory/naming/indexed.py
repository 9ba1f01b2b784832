r"""Systems of modes as they are printed: the posterior in an average has its letters.

An average over the mixture holds the posterior at a random point. The point, the field
and the posterior are named as where they are defined, $y_j$, $\xi_k$ and $\pi_k$, and
$\Delta = \alpha^2 + \sigma^2\beta^2$ in every formula.
"""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from ..models.model import TAU, Model
from ..modes.modes_bulk import A, B, unexplained
from ..modes.posterior import FIELD, NORMALS, POSTERIOR, Y
from ..symbols.indexed import DIRECTION, MODE, OTHER, NormalAverage, Softmax
from ..symbols.system import System
from ..windows.search import S_PHASE
from .sheet import Sheet, system_rows
from .sums import DELTA_LETTER


def indexed_sheet(system: System, model: Model | None) -> Sheet:
    """Return a system of modes with its definitions, ready to be printed.

    Without its model nothing is called Delta.
    """
    sheet = Sheet(system_rows(system))
    for posterior in _posteriors(sheet.rows.values()):
        _name_posterior(sheet, posterior)
    if model is not None:
        _letter_rest(sheet, model)
        _name_delta(sheet, model)
    sheet.rows = {k: _one_sign(x) for k, x in sheet.rows.items()}
    return sheet


def _letter_rest(sheet: Sheet, model: Model) -> None:
    """Write `A` (L3) where samples make it a sum over the modes."""
    if not model.data.samples:
        return
    for letter, value in zip((A, B), unexplained(model), strict=True):
        if value.has(sp.Sum):
            whole = sp.Mul(*(x for x in value.args if x.has(sp.Sum)))
            rows = {
                k: e if e == value else e.subs(whole, letter * whole / value)
                for k, e in ((k, sp.sympify(e)) for k, e in sheet.rows.items())
            }
            sheet.rows, sheet.given[letter] = rows, value
    path = model.interpolant
    spread = (path.alpha**2 + path.beta**2 * A).subs(TAU, S_PHASE)
    sheet.rows = {k: _alike(x, spread) for k, x in sheet.rows.items()}


def _alike(row: sp.Expr, whole: sp.Expr) -> sp.Expr:
    """Write `whole` for the sums that equal it, whatever their form."""
    sums = {x for x in row.atoms(sp.Add) if x.has(A) and sp.expand(x - whole) == 0}
    return row.xreplace(dict.fromkeys(sums, whole))


def _one_sign(row: sp.Expr) -> sp.Expr:
    """Return products of ``1 - s`` and ``s - 1`` in one of them: ``(1 - s)**2/(s - 1)``
    is ``-(1 - s)``.
    """

    def product(node: sp.Expr) -> sp.Expr:
        pairs = [x.as_base_exp() for x in node.args]
        bases = [base for base, _ in pairs]
        found = sp.S.One
        for base, power in pairs:
            flip = base.is_Add and -base in bases and base.as_coeff_Add()[0] < 0
            whole = flip and power.is_Integer
            found *= (-1) ** power * (-base) ** power if whole else base**power
        return found

    return sp.sympify(row).replace(lambda e: e.is_Mul, product)


def _posteriors(rows: Iterable[sp.Expr]) -> list[sp.Expr]:
    """The one posterior that averages are taken of, if there is one."""
    averages = {x for row in rows for x in sp.sympify(row).atoms(NormalAverage)}
    found = {x for node in averages for x in node.args[0].atoms(Softmax)}
    return list(found) if len(found) == 1 else []


def _name_posterior(sheet: Sheet, posterior: sp.Expr) -> None:
    field = posterior.args[0]
    normal, point = NORMALS[DIRECTION], Y[DIRECTION]
    sums = [x for x in field.atoms(sp.Add) if x.has(normal) and not x.has(sp.Sum)]
    swap = {} if len(sums) != 1 else {sums[0]: point}
    if swap:
        sheet.names[point] = sums[0]
    sheet.names[FIELD[MODE]] = field.xreplace(swap)
    sheet.names[POSTERIOR[MODE]] = Softmax(FIELD[MODE], MODE)
    named = {posterior: POSTERIOR[MODE]}
    rows = {k: sp.sympify(x).xreplace(named) for k, x in sheet.rows.items()}
    sheet.rows = {k: own_index(x) for k, x in rows.items()}


def own_index(row: sp.Expr) -> sp.Expr:
    """Sum over another letter where the mode of the formula itself has this one."""
    sums = [x for x in row.atoms(sp.Sum) if x.limits[0][0] == MODE]
    bare = row.xreplace({x: sp.Dummy() for x in sums})
    if not bare.has(MODE):
        return row
    return row.xreplace({x: x.xreplace({MODE: OTHER}) for x in sums})


def _name_delta(sheet: Sheet, model: Model) -> None:
    r"""Write $\Delta$ for the sums that equal it, whatever their form."""
    path = model.interpolant
    whole = path.alpha**2 + model.target.sigma**2 * path.beta**2
    if not whole.is_Add:
        return
    every = [*sheet.rows.values(), *sheet.names.values()]
    sums = {x for row in every for x in sp.sympify(row).atoms(sp.Add)}
    if not any(x.has(TAU) for x in sums):  # of the phase in which tau is s
        whole = whole.subs(TAU, S_PHASE)
    swap = {x: DELTA_LETTER for x in sums if sp.expand(x - whole) == 0}
    if not swap:
        return
    sheet.rows = {k: sp.sympify(x).xreplace(swap) for k, x in sheet.rows.items()}
    names = {k: x.xreplace(swap) for k, x in sheet.names.items()}
    sheet.names = {DELTA_LETTER: whole} | names
