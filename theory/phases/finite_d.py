r"""The leading correction of the learned overlaps at finite `d`.

A limit drops powers of $\delta = d^{-\rm rate}$. Kept to first order, the loss of a
feature window moves by $\delta\,\mathcal L_1$ and its minimum by linear response; the
average of an overlap over training sets is $x + \delta\,x^{(1)} + O(\delta^2)$.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ...errors import DerivationError
from ..models.cases import Case, case_of
from ..models.model import TAU, D, Model
from ..symbols.gaussian import to_averages
from ..symbols.notation import symbol
from ..symbols.system import Step, System, numbered
from ..windows.dilation import make_dilation
from ..windows.search import S_PHASE, Window, find_windows, leading_rate
from .stationary import Stationary
from .weights import bayes_values

SMALL = sp.Dummy("delta", positive=True)
"""The power of `d` in which the window's equations are expanded."""


def shift_symbol(name: str) -> sp.Symbol:
    r"""Return the symbol of $x^{(1)}$, the correction to the overlap `name`."""
    return symbol(f"{name}_shift")


def correction(model: Model, window: Window, learned: System) -> System:
    r"""Return the coefficients of $d^{-\rm rate}$ in the learned overlaps. (C1)-(C12)

    With $x$ the unknowns, $G(x, \delta) = 0$ their equations and $O(x, \delta)$ an
    overlap computed from them,

    $$
    x^{(1)} = -(\partial_x G)^{-1} \partial_\delta G, \qquad
    O^{(1)} = \partial_x O\; x^{(1)} + \partial_\delta O .
    $$

    $\delta$ enters through $\alpha$ and $\beta$ beyond their leading power alone, and
    through the dilation where a phase begins at the end of another: the skip's share is
    $O(1/d)$, and the overlaps of the samples' noises with one another, of order
    $d^{-1/2}$, have mean zero. The system's parameters include the unknowns
    and the overlaps of `u`, at their limits. Status: asymptotic, rate $d^{-\rm rate}$.

    Raises `DerivationError` where a schedule has terms between its leading power and
    this one.
    """
    rate = leading_rate(model, window)
    moved = _moved(model, window, rate)
    if case_of(model) is Case.BAYES:
        values = {
            x: sp.factor(_first(e)) for x, e in bayes_values(model, moved).items()
        }
        unknowns: tuple[sp.Symbol, ...] = ()
    else:
        parts = Stationary(model, moved)
        values, unknowns = _response(parts), (*parts.readout_names, *parts.unknowns)
    shifts = {shift_symbol(str(x)): value for x, value in values.items()}
    equations = numbered("C", shifts, rate=D**-rate)
    used = set().union(*(eq.rhs.free_symbols for eq in equations))
    others = (w.kappa for w in find_windows(model) if w.kappa in used)
    return System(
        name="correction",
        kind="closed",
        time=S_PHASE,
        equations=equations,
        parameters=tuple(dict.fromkeys((*learned.parameters, *others, *unknowns))),
        steps=_steps(moved, rate, unknowns, bool(model.data.samples)),
    ).check()


def _moved(model: Model, window: Window, rate: sp.Expr) -> Window:
    """The window with its dilated schedule to first order in `SMALL`."""
    windows, path = find_windows(model), model.interpolant
    tau = make_dilation(windows).segments[windows.index(window)].tau()
    alpha, beta = (expr.subs(TAU, tau) for expr in (path.alpha, path.beta))
    return replace(
        window,
        alpha=_series(alpha, window, window.alpha_size, window.alpha, rate),
        beta=_series(beta, window, window.beta_size, window.beta, rate),
    )


def _series(
    expr: sp.Expr, window: Window, size: sp.Expr, lead: sp.Expr, rate: sp.Expr
) -> sp.Expr:
    """``lead + SMALL * next`` of what depends on d, in units of ``d**size``."""
    base = window.exponent or rate  # of an interior window the exponent is 0
    x = sp.Dummy("x", positive=True)  # d**(-base)
    scaled = sp.powsimp(expr.subs(D, x ** (-1 / base)))
    scaled = sp.expand(scaled * x ** (size / base), power_base=True)
    rest = sp.limit((scaled - lead) / x ** (rate / base), x, 0, "+")
    if not rest.is_finite:
        raise DerivationError(
            f"A correction of order d^(-{rate}) needs {expr} = its leading power of "
            f"the window's time (1 + O(d^(-{rate}))), but its next term is larger. "
            "Use the limit alone, or a schedule with whole powers."
        )
    return lead + SMALL * sp.simplify(rest)


def _response(parts: Stationary) -> dict[sp.Symbol, sp.Expr]:
    r"""Linear response of the minimum, then of what is computed from it.

    `u` is eliminated by its own, diagonal block: with $k_u = \partial_u^2 \mathcal L$
    the unknowns $x$ see $H_{xy} = \mathcal L_{xy} - \sum_u \mathcal L_{xu} \mathcal
    L_{uy} / k_u$, for $y$ an unknown or $\delta$.
    """
    loss, readout, unknowns = parts.free_loss, list(parts.readout_names), parts.unknowns
    known: dict[frozenset[sp.Symbol], sp.Expr] = {}

    def second(x: sp.Symbol, y: sp.Symbol) -> sp.Expr:
        pair = frozenset((x, y))
        if pair not in known:
            # at once, sympy would factor it
            known[pair] = _zeroth(sp.diff(sp.diff(loss, x), y))
        return known[pair]

    def pulled(x: sp.Symbol, y: sp.Symbol) -> sp.Expr:
        through = (second(x, u) * second(u, y) / second(u, u) for u in readout)
        return second(x, y) - sum(through)

    hessian = sp.Matrix([[pulled(x, y) for y in unknowns] for x in unknowns])
    push = [pulled(x, SMALL) for x in unknowns]
    found = dict(zip(unknowns, _solved(hessian, push), strict=True))
    moves = {x: shift_symbol(str(x)) for x in (*unknowns, *readout)}
    for u in readout:
        pull = sum(second(u, x) * moves[x] for x in unknowns)
        found[u] = -(second(u, SMALL) + pull) / second(u, u)
    rest = {x: e for x, e in parts.dependent.items() if x not in moves}
    return found | {x: _chained(e, moves) for x, e in rest.items()}


def _chained(expr: sp.Expr, moves: dict[sp.Symbol, sp.Symbol]) -> sp.Expr:
    """The first-order change of `expr` when its variables change by `moves`."""
    slopes = ((_zeroth(sp.diff(expr, x)), move) for x, move in moves.items())
    return _first(expr) + sum(slope * move for slope, move in slopes)


def _solved(matrix: sp.Matrix, push: list[sp.Expr]) -> list[sp.Expr]:
    """Minus the inverse times `push`, by its formula: no entry is tested for zero."""
    names = matrix.applyfunc(lambda _: sp.Dummy())
    entries = dict(zip(names, matrix, strict=True))
    adjugate, det = names.adjugate(), names.det()
    return [
        -sum(adjugate[i, j].xreplace(entries) * p for j, p in enumerate(push))
        / det.xreplace(entries)
        for i in range(len(push))
    ]


def _first(expr: sp.Expr) -> sp.Expr:
    return _zeroth(sp.diff(expr, SMALL))


def _zeroth(expr: sp.Expr) -> sp.Expr:
    """Averages over normals at ``SMALL = 0``; nothing is differentiated after it."""
    return to_averages(expr.subs(SMALL, 0))


OTHERS = {
    False: "the skip's share of the loss is of order `1/d`.",
    True: "the skip's share of the loss is of order `1/d`, and the overlaps of the "
    "samples' noises with one another, of order `d^(-1/2)`, vanish on average.",
}


def _steps(
    moved: Window, rate: sp.Expr, unknowns: tuple[sp.Symbol, ...], sampled: bool
) -> tuple[Step, ...]:
    small = symbol("eps")
    shown = {SMALL: small}
    size = f"d^({-rate})"
    found = [
        Step(
            f"Keep the schedule to first order in `eps = {size}`: in units of their "
            "leading powers,",
            sp.Eq(sp.Symbol("alpha"), moved.alpha.xreplace(shown), evaluate=False),
        ),
        Step(
            "and", sp.Eq(sp.Symbol("beta"), moved.beta.xreplace(shown), evaluate=False)
        ),
        Step(
            f"Nothing else enters at this order: {OTHERS[sampled]} The value of an "
            "overlap is its limit, as `m`, and `eps` times a correction, as `m_shift`."
        ),
    ]
    if unknowns:
        found.append(
            Step(
                "The minimum moves by linear response: differentiate the stationarity "
                "equations with respect to `eps` and solve; every overlap follows "
                "by the chain rule."
            )
        )
    return tuple(found)
