r"""The overlaps of one unit in a feature window when no closed form exists.

`u` is eliminated (the loss is quadratic in it), the direction of `w` is known, and a
few numbers stay unknown: they minimise an objective, compared with the closed
solution in which every unit saturates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from ..models.classes import has_patterns
from ..models.model import Model, named
from ..symbols.gaussian import OpenUnit, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Branch, Equation, Step, System
from ..windows.search import S_PHASE, Window
from .loss import Loss, tidy, window_loss, window_parameters


def stationary_learned(model: Model, window: Window) -> System:
    r"""The minimum of the window's loss over what the closed steps leave. (W1)-(W9)

    `u` enters quadratically and is eliminated; `w` lies along the difference of the
    class means when there is a bias (then only $\omega, b$ stay unknown).
    """
    parts = Stationary(model, window)
    unknowns, values = parts.unknowns, parts.values
    equations = tuple(
        Equation(f"W{i}", x, to_averages(parts.slope(x)))
        for i, x in enumerate(unknowns, 1)
    )
    observables = tuple(
        Equation(f"W{i}", x, to_averages(value))
        for i, (x, value) in enumerate(values.items(), len(unknowns) + 1)
        if x not in unknowns
    )
    return System(
        name="learned",
        kind="stationary" if unknowns else "closed",
        time=S_PHASE,
        equations=equations or observables,
        observables=observables if unknowns else (),
        parameters=window_parameters(model, window),
        objective=to_averages(parts.objective),
        branches=(
            _saturated_branch(model, window, parts.total, parts.readout)
            if unknowns
            else ()
        ),
        domain=(symbol("omega") >= 0,) if symbol("omega") in unknowns else (),
        steps=(
            *_stationary_steps(model, parts.total, parts.readout, parts.weights),
            *assumptions(model, window),
        ),
    ).check()


@dataclass(frozen=True)
class Stationary:
    """The parts of a window's stationarity problem, averages over fields kept."""

    model: Model
    window: Window

    @cached_property
    def total(self) -> sp.Expr:
        """The window's loss, ridges included. (L2)"""
        return window_loss(Loss(self.model, (1,)), self.window)

    @cached_property
    def readout(self) -> dict[sp.Symbol, sp.Expr]:
        """`u` at its minimum."""
        return _readout(self.model, self.window, self.total)

    @cached_property
    def weights(self) -> dict[sp.Symbol, sp.Expr]:
        """The overlaps fixed by stationarity of `w`."""
        return _weights(self.model)

    @cached_property
    def fixed(self) -> dict[sp.Symbol, sp.Expr]:
        """Overlaps in the unknowns alone."""
        return _substituted({**self.readout, **self.weights}, self.weights)

    @property
    def unknowns(self) -> tuple[sp.Symbol, ...]:
        """The unknowns that are left."""
        return _unknowns(self.model)

    @property
    def readout_names(self) -> tuple[sp.Symbol, ...]:
        """The overlaps that make up `u`."""
        return _readout_names(self.model)

    @property
    def free_loss(self) -> sp.Expr:
        """The loss in the unknowns and the overlaps of `u`, neither eliminated."""
        q = _own(self.model, "q")[0]
        norm2 = _norm2(self.readout_names, self.model)
        return _put(_put(self.total, self.weights), {q: norm2})

    @property
    def dependent(self) -> dict[sp.Symbol, sp.Expr]:
        """The overlaps that follow from the unknowns and those of `u`."""
        q = _own(self.model, "q")[0]
        own = {x: x for x in self.readout_names}
        own[q] = _norm2(self.readout_names, self.model)
        fixed = {**own, **self.weights}
        return {**fixed, **_overlaps(self.model, self.window, fixed)}

    @property
    def objective(self) -> sp.Expr:
        """The function that the unknowns minimise."""
        return _objective(self.model, self.total, self.fixed)

    @property
    def values(self) -> dict[sp.Symbol, sp.Expr]:
        """Every overlap that is computed from the unknowns."""
        return {**self.fixed, **_overlaps(self.model, self.window, self.fixed)}

    def slope(self, x: sp.Symbol) -> sp.Expr:
        """Derivative of the objective with respect to the unknown `x`."""
        return _slope(self.model, x, self.total, self.weights, self.fixed)


def _objective(
    model: Model, total: sp.Expr, fixed: dict[sp.Symbol, sp.Expr]
) -> sp.Expr:
    """The loss at the best `u`: at a quadratic's minimum, its linear part halves."""
    if model.autoencoder.tied:
        return _put(total, fixed)
    halves = {x: fixed[x] / 2 for x in _readout_names(model)}
    return _put(total.subs(_own(model, "q")[0], 0), {**fixed, **halves})


def _slope(
    model: Model,
    x: sp.Symbol,
    total: sp.Expr,
    weights: dict[sp.Symbol, sp.Expr],
    fixed: dict[sp.Symbol, sp.Expr],
) -> sp.Expr:
    """Derivative of the objective; `u` at its minimum does not contribute to it."""
    if model.autoencoder.tied:
        return sp.diff(_put(total, fixed), x)
    return _put(sp.diff(_put(total, weights), x), fixed)


def _put(expr: sp.Expr, values: dict[sp.Symbol, sp.Expr]) -> sp.Expr:
    return expr.subs(values, simultaneous=True)


def _substituted(
    values: dict[sp.Symbol, sp.Expr], inner: dict[sp.Symbol, sp.Expr]
) -> dict[sp.Symbol, sp.Expr]:
    return {x: _put(value, inner) for x, value in values.items()}


def _own(model: Model, *names: str) -> tuple[sp.Symbol, ...]:
    return tuple(named(model, name, 1) for name in names)


def _readout_names(model: Model) -> tuple[sp.Symbol, ...]:
    m = _own(model, "m")
    return (*m, symbol("a_plus"), symbol("a_minus")) if model.data.samples else m


def _readout(model: Model, window: Window, total: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
    """`u` at its minimum for given `w, b` (untied), or as `w` dictates (tied)."""
    names = _readout_names(model)
    q = _own(model, "q")[0]
    norm2 = _norm2(names, model)
    if model.autoencoder.tied:
        ratio = window.alpha**2 / window.beta
        weights = _own(model, "omega")
        weights += (symbol("zeta_plus"), symbol("zeta_minus"))
        tied = {u: ratio * w for u, w in zip(names, weights, strict=False)}
        return {**tied, q: _put(norm2, tied)}
    quadratic = total.subs(q, norm2)
    solved = sp.solve([sp.diff(quadratic, x) for x in names], names, dict=True)[0]
    best = {x: tidy_ratio(value) for x, value in solved.items()}
    return {**best, q: _put(norm2, best)}


def tidy_ratio(expr: sp.Expr) -> sp.Expr:
    """Collect numerator and denominator of a ratio by their averages."""
    top, bottom = sp.fraction(sp.together(expr))
    return tidy(top) / tidy(bottom)


def _norm2(names: tuple[sp.Symbol, ...], model: Model) -> sp.Expr:
    """Squared norm from the overlaps with the mean and with each sample's noise."""
    if not model.data.samples:
        return names[0] ** 2
    n, n_plus = symbol("n"), symbol("n_plus")
    return names[0] ** 2 + n_plus * names[1] ** 2 + (n - n_plus) * names[2] ** 2


def _weights(model: Model) -> dict[sp.Symbol, sp.Expr]:
    """The overlaps fixed by stationarity of `w`: zeta, r, the scale of a sign unit."""
    omega, r = _own(model, "omega", "r")
    zetas = symbol("zeta_plus"), symbol("zeta_minus")
    found: dict[sp.Symbol, sp.Expr] = {}
    if model.data.samples and model.autoencoder.bias and not model.autoencoder.tied:
        found = dict(zip(zetas, mean_difference(model), strict=True))
    names = (omega, *zetas) if model.data.samples else (omega,)
    r_value = _put(_norm2(names, model), found)
    if model.autoencoder.activation.endswith("sign"):
        scale = {omega: 1 / sp.sqrt(sp.cancel(r_value / omega**2))}
        found = {**scale, **{x: _put(e, scale) for x, e in found.items()}}
        r_value = sp.S.One
    return {**found, r: sp.factor(r_value)}


def mean_difference(model: Model) -> tuple[sp.Expr, sp.Expr]:
    r"""$\zeta_\pm$ from $\omega$: `w` lies along the difference of the class means.

    The loss sees `w, b` through the two field means $c_\pm$ and $r$ alone. With
    $J_\pm, J_r$ its slopes, the equation of `b` reads $J_+ + J_- = 0$, and those of
    $\omega, \zeta_+, \zeta_-$ are linear in the unknowns: eliminate $J_+/J_r$.
    """
    plus, minus, slope_r, rate, b = sp.symbols("J_p J_m J_r k b")
    sigma = model.target.sigma
    omega, zp, zm = (symbol(x) for x in ("omega", "zeta_plus", "zeta_minus"))
    means = (rate * (omega + sigma * zp) + b, rate * (-omega + sigma * zm) + b)
    r = _norm2((omega, zp, zm), model)
    slopes = [
        plus * sp.diff(means[0], x)
        + minus * sp.diff(means[1], x)
        + slope_r * sp.diff(r, x)
        for x in (b, omega, zp, zm)
    ]
    solved = sp.solve(slopes, [minus, plus, zp, zm], dict=True)[0]
    return sp.factor(solved[zp]), sp.factor(solved[zm])


def _unknowns(model: Model) -> tuple[sp.Symbol, ...]:
    omega, b = _own(model, "omega", "b")
    auto = model.autoencoder
    found = () if auto.activation.endswith("sign") else (omega,)
    if model.data.samples and (auto.tied or not auto.bias):
        found += (symbol("zeta_plus"), symbol("zeta_minus"))
    return (*found, b) if auto.bias else found


def _overlaps(
    model: Model, window: Window, fixed: dict[sp.Symbol, sp.Expr]
) -> dict[sp.Symbol, sp.Expr]:
    """`v` and the skip from the overlaps of `u` and `w`."""
    names = _readout_names(model)
    pairs = dict(
        zip(
            names,
            (*_own(model, "omega"), symbol("zeta_plus"), symbol("zeta_minus")),
            strict=False,
        )
    )
    sizes = (sp.S.One, symbol("n_plus"), symbol("n") - symbol("n_plus"))
    v = sum(
        size * fixed[u] * fixed.get(w, w)
        for size, (u, w) in zip(sizes, pairs.items(), strict=False)
    )
    hat = Loss(model, (1,)).skip(window)
    values = {**fixed, _own(model, "v")[0]: v}
    bias = {} if model.autoencoder.bias else {_own(model, "b")[0]: sp.S.Zero}
    return {
        _own(model, "v")[0]: v,
        symbol("c_hat"): _put(hat, values),
        symbol("c"): sp.S.Zero,
        **bias,
    }


def _saturated_branch(
    model: Model,
    window: Window,
    total: sp.Expr,
    readout: dict[sp.Symbol, sp.Expr],
) -> tuple[Branch, ...]:
    r"""The minimum in which every unit saturates alike; without bias, $w = 0$.

    Untied, $w = 0$ there. Tied, $w = (\beta/\alpha^2) u$ is as long as `u` and costs
    its ridge: both are those of `ridge_u` $+\,(\beta/\alpha^2)^2$ `ridge_w`.
    """
    if model.autoencoder.tied:
        return _tied_saturated(model, window, total)
    if not model.autoencoder.bias:
        zero = dict.fromkeys((*readout, *_unknowns(model)), sp.S.Zero)
        seen = _overlaps(model, window, zero)  # at once: they divide zero by zero
        found = {x: zero[x] for x in readout}
        found |= {x: seen[x] for x in (_own(model, "v")[0], symbol("c_hat"))}
        none = tuple(
            Equation(f"B{i}", *pair) for i, pair in enumerate(found.items(), 1)
        )
        rest = model.target.sigma**2 if model.data.samples else sp.S.Zero
        return (Branch("silent", 1 + rest, none),)
    omega, r = _own(model, "omega", "r")
    zero = {omega: 0, r: 0, symbol("zeta_plus"): 0, symbol("zeta_minus"): 0}
    if model.autoencoder.activation.endswith("sign"):  # it sees no length, so w has one
        zero = {r: 1}

    def at_infinity(expr: sp.Expr) -> sp.Expr:
        return sp.factor(_saturated(expr).subs(zero))

    values = {x: at_infinity(value) for x, value in readout.items()}
    return (_branch(at_infinity(_put(total, readout)), values),)


def _tied_saturated(model: Model, window: Window, total: sp.Expr) -> tuple[Branch, ...]:
    """With a bias at infinity the loss is quadratic in `u`, and `w` follows it."""
    if not model.autoencoder.bias:
        return ()
    names, q, r = _readout_names(model), *_own(model, "q", "r")
    rate = window.beta / window.alpha**2
    size = _norm2(names, model)
    loss = _saturated(total).subs({r: rate**2 * size, q: size})
    found = sp.solve([sp.diff(loss, x) for x in names], names, dict=True)[0]
    best = {x: sp.factor(found[x]) for x in names}
    weights = (*_own(model, "omega"), symbol("zeta_plus"), symbol("zeta_minus"))
    tied = {w: rate * best[u] for w, u in zip(weights, names, strict=False)}
    values = {**tied, **best, q: sp.factor(_put(size, best))}
    return (_branch(sp.factor(loss.subs(best)), values),)


def _saturated(expr: sp.Expr) -> sp.Expr:
    """Replace the averages of a unit whose bias diverges: its activation is 1. (G4)"""
    units = (sp.tanh, sp.erf, sp.sign, OpenUnit)
    return expr.replace(
        lambda e: hasattr(e, "standardised"),
        lambda e: e.args[0].replace(lambda x: x.func in units, lambda x: sp.S.One),
    )


def _branch(objective: sp.Expr, values: dict[sp.Symbol, sp.Expr]) -> Branch:
    equations = (Equation(f"B{i}", x, e) for i, (x, e) in enumerate(values.items(), 1))
    return Branch("saturated", objective, tuple(equations))


ALIKE = (
    "An assumption, not a result: all samples of a class have equal overlaps with "
    "their own noises. By symmetry this is stationary, but it need not be the lowest "
    "minimum. "
)
TESTED = (
    "A solution tests what it has found, by the curvature in the directions that split "
    "a class and by states in which one sample has left its class, and says so."
)
UNTESTED = "The curvature in directions that split a class is told with what is found."
LARGE_NOISE = (
    "The input is of order sqrt(d) here. `ridge_w` multiplies `d |w|^2`, the weights "
    "in units of the input: against `|w|^2`, as in the loss, it would vanish as 1/d, "
    "and `omega` would grow like log(d) wherever a steeper unit gains without end."
)


def assumptions(model: Model, window: Window) -> tuple[Step, ...]:
    """Return what the equations of n samples assume, in words."""
    if not model.data.samples:
        return ()
    auto, several = model.autoencoder, has_patterns(model)
    tested = auto.bias and not auto.tied and auto.activation != "sign"
    more = UNTESTED if several else TESTED if tested else "This is not tested here."
    grows = window.alpha_size > 0
    return (Step(ALIKE + more), *((Step(LARGE_NOISE),) if grows else ()))


def _stationary_steps(
    model: Model,
    total: sp.Expr,
    readout: dict[sp.Symbol, sp.Expr],
    weights: dict[sp.Symbol, sp.Expr],
) -> tuple[Step, ...]:
    found = [
        Step(
            "Insert the window into the loss (L1) and let d grow. The skip's share of "
            "the loss is of higher order, so the hidden unit sees",
            to_averages(total),
            "L2",
        )
    ]
    tied = model.autoencoder.tied
    how = "u is tied to w:" if tied else "It is quadratic in u, which fixes"
    why = "The loss sees w through its field alone; stationarity of w fixes"
    for text, values in ((how, readout), (why, weights)):
        for k, (x, value) in enumerate(values.items()):
            line = sp.Eq(x, to_averages(value), evaluate=False)
            found.append(Step("and" if k else text, line))
    return tuple(found)
