r"""The overlaps learned in a feature window when no closed form exists.

One hidden unit for each feature of the window: a single one on the population or on
samples of two modes; on samples of a product mixture ($\delta = 0$) one for each
feature, whose fields are correlated. `u_j` and `w_j` lie in the span of the means and
of the summed noises of each class of samples, so that all norms follow from overlaps
with these; some minimise the loss of the window, and the rest follow. The minimum is
compared with a closed one, in which every unit is a constant.

One feature is the case K = 1 of all that is written here, but two steps are taken for
it alone. The matrix $A_{jk} = \lambda\delta_{jk} + \sum_c n_c\mathbb
E\varphi_j\varphi_k$ that eliminates `u` is a number then; for K units its inverse is a
ratio of polynomials of degree K in averages, longer than the slopes in `u` that it
would save. And (R1), (R2) fix both $\zeta_\pm$; for K features they are K + 1 relations
for the $2^K$ overlaps of each unit with noises, and leave others to be searched for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from ..models.classes import Classes
from ..models.model import Model
from ..symbols.gaussian import to_averages
from ..symbols.notation import symbol
from ..symbols.system import Branch, Step, System, numbered
from ..windows.search import S_PHASE, Window
from .loss import Loss, by_averages, window_loss, window_parameters

Values = dict[sp.Symbol, sp.Expr]


def learned(model: Model, window: Window) -> System:
    r"""The minimum of the window's loss over what the closed steps leave. (W1)-...

    One unit with a bias on two modes leaves $\omega, b$. Several leave every overlap
    with the means and the noises; (R2) leaves $2^K$ numbers and a bias for each unit,
    (R1) one less; a tied `u` follows from `w`.
    """
    parts = Stationary(model, window)
    slopes = parts.slopes
    equations = numbered("W", slopes)
    values = {x: to_averages(e) for x, e in parts.values.items()}
    observables = numbered("W", values, len(slopes) + 1)
    return System(
        name="learned",
        kind="stationary" if slopes else "closed",
        time=S_PHASE,
        equations=equations or observables,
        observables=observables if slopes else (),
        parameters=window_parameters(model, window),
        objective=to_averages(parts.objective),
        branches=((_saturated if model.autoencoder.bias else _silent)(parts),)
        if slopes
        else (),
        domain=tuple(x >= 0 for x in slopes if x == symbol("omega")),
        steps=(*_steps(parts), *_assumptions(parts)),
    ).check()


@dataclass(frozen=True)
class Stationary:
    """The parts of a window's stationarity problem, averages over fields kept."""

    model: Model
    window: Window

    @cached_property
    def loss(self) -> Loss:
        """The loss of a unit for each feature. (L1)"""
        return Loss(self.model, tuple(range(1, 1 + len(self.model.target.features))))

    @cached_property
    def data(self) -> Classes:
        """The classes of samples; none of the population, whose noises are averaged."""
        return self.loss.data or Classes(self.model, ())

    @property
    def alone(self) -> bool:
        """Whether one unit is left, whose `u` and `zeta` are eliminated."""
        return not self.loss.counted

    @cached_property
    def total(self) -> sp.Expr:
        """The window's loss, ridges included. (L2)"""
        return window_loss(self.loss, self.window)

    @property
    def readout_names(self) -> tuple[sp.Symbol, ...]:
        """The overlaps that make up `u`."""
        return tuple(self.data.each("m", "a"))

    @cached_property
    def readout(self) -> Values:
        """`u` at its minimum for given `w, b`, or as a tied `w` dictates."""
        if self.data.tied:
            best = tied_readout(self.data, self.window)
        elif self.alone:
            best = self._best_readout()
        else:
            return {}
        return best | {x: e.xreplace(best) for x, e in squares(self.data, "q").items()}

    def _best_readout(self) -> Values:
        names = self.readout_names
        quadratic = self.total.xreplace(squares(self.data, "q"))
        solved = sp.solve([sp.diff(quadratic, x) for x in names], names, dict=True)[0]
        found = {}
        for x, value in solved.items():  # collected by their averages
            top, bottom = sp.fraction(sp.together(value))
            found[x] = by_averages(top) / by_averages(bottom)
        return found

    @cached_property
    def weights(self) -> Values:
        """Overlaps fixed by stationarity of `w`: zeta, r, the length a sign sees."""
        if not self.alone:
            return {}
        (norm,) = squares(self.data, "r").items()
        found = fixed_noises(self.data) if self.data.closed else {}
        length = norm[1].xreplace(found)
        if self.model.autoencoder.activation.endswith("sign"):
            (omega,) = self.data.each("omega")
            scale = {omega: 1 / sp.sqrt(sp.cancel(length / omega**2))}
            found = scale | {x: e.xreplace(scale) for x, e in found.items()}
            length = sp.S.One
        return found | {norm[0]: sp.factor(length)}

    @cached_property
    def fixed(self) -> Values:
        """Overlaps in the unknowns alone."""
        return _put(self.readout, self.weights) | self.weights

    @cached_property
    def known(self) -> Values:
        """The overlaps in the unknowns, norms and products included."""
        return self.fixed | _put(norms(self.data), self.fixed, known=self.fixed)

    @cached_property
    def written(self) -> Values:
        """All that the loss is written in, from the unknowns."""
        return self.known | _put(self.loss.released(), self.fixed)

    @cached_property
    def unknowns(self) -> tuple[sp.Symbol, ...]:
        """The overlaps that the loss is minimised over."""
        every = self.data.each("omega", "zeta", "b", "m", "a")
        return tuple(x for x in every if x not in self.fixed)

    @property
    def free_loss(self) -> sp.Expr:
        """The loss in the unknowns and the overlaps of `u`, neither eliminated."""
        return self.total.xreplace(self.weights).xreplace(squares(self.data, "q"))

    @property
    def dependent(self) -> Values:
        """The overlaps that follow from the unknowns and those of `u`."""
        own = {x: x for x in self.readout_names} | squares(self.data, "q")
        fixed = own | self.weights
        known = fixed | _put(norms(self.data), fixed, known=fixed)
        return known | self._rest(known)

    @property
    def objective(self) -> sp.Expr:
        """The loss at the best `u`, where the linear part of a quadratic halves."""
        if self.data.tied or not self.alone:
            return self.total.xreplace(self.written)
        halves = {x: self.fixed[x] / 2 for x in self.readout_names}
        none = dict.fromkeys(squares(self.data, "q"), sp.S.Zero)
        return self.total.xreplace(none).xreplace(self.fixed | halves)

    @cached_property
    def values(self) -> Values:
        """Every overlap that is computed from the unknowns."""
        return self.known | self._rest(self.written)

    def _rest(self, known: Values) -> Values:
        """The skip, and 0 for the biases of units without."""
        skip = {symbol("c_hat"): self.loss.skip(self.window).xreplace(known)}
        skip[symbol("c")] = sp.S.Zero
        biased = self.model.autoencoder.bias
        units = () if biased else self.data.units
        none = {self.data.of("b", j): sp.S.Zero for j in units}
        return skip | none if self.alone else none | dict(reversed(skip.items()))

    @property
    def slopes(self) -> Values:
        """The slopes of the loss in the unknowns; `u` at its minimum adds nothing."""
        if not self.alone:
            return self._chained_slopes()
        early, late = (self.weights, self.fixed)
        if self.data.tied:
            early, late = self.fixed, {}
        total = self.total.xreplace(early)
        each = {x: sp.diff(total, x).xreplace(late) for x in self.unknowns}
        return {x: to_averages(slope) for x, slope in each.items()}

    def _chained_slopes(self) -> Values:
        """The same by the chain rule: slopes in what the loss is written in, once."""
        inner = {x: e for x, e in self.written.items() if self.total.has(x)}
        seen = [*inner, *self.data.each("b")]
        outer = {x: sp.diff(self.total, x).xreplace(inner) for x in seen}
        outer = {x: to_averages(slope) for x, slope in outer.items()}
        found = {}
        for x in self.unknowns:
            through = [y for y, e in inner.items() if e.has(x)]
            parts = (outer[y] * sp.diff(inner[y], x) for y in through)
            found[x] = sp.Add(outer.get(x, 0), *parts)
        return found


def _put(values: Values, given: Values, known: Values | None = None) -> Values:
    """The values in what is given, without those that are known."""
    new = {x: e for x, e in values.items() if x not in (known or {})}
    return {x: e.xreplace(given) for x, e in new.items()}


def tied_readout(data: Classes, window: Window) -> Values:
    r"""`m, a` of tied units, $u_j = \alpha^2 w_j/(\beta\sqrt d)$."""
    ratio = window.alpha**2 / window.beta
    means = zip(data.each("m"), data.each("omega"), strict=True)
    noises = zip(data.each("a"), data.each("zeta"), strict=True)
    roots = [data.root(j) for j in data.units for _ in data.units]
    found = {m: ratio * w / root for (m, w), root in zip(means, roots, strict=True)}
    return found | {a: ratio * zeta for a, zeta in noises}


def norms(data: Classes) -> Values:
    r"""$q_{jk}, r_{jk}, v_j$ from the overlaps: means and class noises span all."""
    found = squares(data, "q") | squares(data, "r")
    for j in data.units:
        means, noises = _inner(data, "ma", ("omega", "zeta"), j, j)
        found[data.of("v", j)] = means + noises / data.root(j)
    return found


def squares(data: Classes, name: str, draws: sp.Expr = sp.S.Zero) -> Values:
    r"""Products of the `u` among themselves ($q_{jk}$), or of the `w` ($r_{jk}$).

    `u` has overlaps `e` with so many frozen `draws` of each sample.
    """
    found = {}
    for j, k in ((j, k) for j in data.units for k in data.units if j <= k):
        if name == "q":
            means, noises = _inner(data, "ma", "ma", j, k)
            noises += _inner(data, "me", "me", j, k, draws)[1] if draws else 0
            noises /= data.root(j) * data.root(k)
        else:
            means, noises = _inner(data, *2 * (("omega", "zeta"),), j, k)
        found[data.pair(name, j, k)] = means + noises
    return found


def _inner(
    data: Classes,
    left: tuple[str, str] | str,
    right: tuple[str, str] | str,
    j: int,
    k: int,
    weight: sp.Expr = sp.S.One,
) -> tuple[sp.Expr, sp.Expr]:
    """Inner product of two vectors: the part along the means, and along the noises."""
    means = (data.pair(left[0], j, x) * data.pair(right[0], k, x) for x in data.units)
    noises = (
        weight * data.count(c) * data.own(left[1], j, c) * data.own(right[1], k, c)
        for c in data.patterns
    )
    return sp.Add(*means), sp.Add(*noises)


def relations(data: Classes, j: int) -> dict[str, sp.Equality]:
    r"""The relations fixed by stationarity of $w_j$ and, untied, $b_j$. (R1, R2, ...)

    $$ 0 = \sum_c n_c\zeta_{jc}, \qquad
       \omega_{jk} = \frac{\sqrt{\rho_k}}\sigma \sum_c s_{ck} n_c \zeta_{jc} . $$
    """
    loads = {c: data.count(c) * data.own("zeta", j, c) for c in data.patterns}
    found = {}
    if data.closed:
        found["R1"] = sp.Eq(sp.S.Zero, sp.Add(*loads.values()), evaluate=False)
    for k in data.units:
        value = sp.Add(*(c[k - 1] * x for c, x in loads.items()))
        value *= data.root(k) / data.sigma
        found[f"R{k + 1}"] = sp.Eq(data.pair("omega", j, k), value, evaluate=False)
    return found


def fixed_noises(data: Classes) -> Values:
    r"""$\zeta_\pm$ of one unit from $\omega$: (R1), (R2) solved.

    `w` lies along the difference of the class means.
    """
    names = list(data.each("zeta"))
    if not names:
        return {}
    solved = sp.solve([x.lhs - x.rhs for x in relations(data, 1).values()], names)
    return {x: sp.factor(solved[x]) for x in names}


# ------------------------------------------------------------------- the closed minimum


def _silent(parts: Stationary) -> Branch:
    """The minimum in which every unit vanishes, as a constant one without bias does."""
    names = parts.unknowns
    if parts.alone:
        names = (*parts.readout, parts.data.of("v", 1))
    values = dict.fromkeys(names, sp.S.Zero)
    if parts.alone:
        zero = values | dict.fromkeys(parts.unknowns, sp.S.Zero)
        values[symbol("c_hat")] = parts.loss.skip(parts.window).xreplace(zero)
    return Branch("silent", _size(parts), numbered("B", values))


def _size(parts: Stationary) -> sp.Expr:
    """The loss without units; the population's leaves out the spread of a mode."""
    return parts.data.norm2 if parts.loss.data else sp.S.One


def _saturated(parts: Stationary) -> Branch:
    r"""The minimum in which biases diverge: the activation is 1 in each average. (G4)

    The units share the mean of the samples; untied, $w = 0$ there (of length 1 for a
    sign), while a tied $w = (\beta/\alpha^2) u$ is as long as `u` and costs its ridge.
    """
    data, loss, count = parts.data, parts.loss, len(parts.data.units)
    samples = loss.data is not None
    n = data.size if samples else sp.S.One
    rows = {c: data.count(c) if samples else loss.share(c) for c in loss.patterns}
    rate = parts.window.beta / parts.window.alpha**2
    own = (rate * parts.window.unit) ** 2 * symbol("ridge_w") if data.tied else 0
    ridge = symbol("ridge_u") + own
    weight = n * count + (ridge if samples else 0)
    sums = [sp.Add(*(x * c[k - 1] for c, x in rows.items())) for k in data.units]
    square = [(data.rho(k) if samples else 1) * sums[k - 1] ** 2 for k in data.units]
    gain = sp.Add(*square) + (n * data.sigma**2 if samples else 0)
    best = {
        data.pair("m", j, k): data.root(k) / data.root(j) * sums[k - 1] / weight
        for j in data.units
        for k in data.units
    }
    best |= {x: data.sigma / weight for x in data.each("a")}
    values = best
    if data.tied:
        tied = tied_readout(data, parts.window).items()
        own = set(data.each("omega", "zeta"))
        values = {w: best[u] * w / e for u, e in tied for w in own & e.free_symbols}
    objective = _size(parts) - count * gain / (n * weight)
    if samples and parts.model.autoencoder.activation.endswith("sign"):
        objective += symbol("ridge_w") * parts.window.unit**2 / n  # w has length 1
    if parts.alone:
        values |= best | _put(squares(data, "q"), best)
        order = dict.fromkeys([*(values if data.tied else ()), *parts.readout])
        values = {x: sp.factor(values[x]) for x in order}
        if samples:
            values[data.pair("q", 1, 1)] = gain / weight**2
    return Branch("saturated", objective, numbered("B", values))


# --------------------------------------------------------------------------- in words

ALIKE = (
    "An assumption, not a result: all samples of a class have equal overlaps with "
    "their own noises. By symmetry this is stationary, but it need not be the lowest "
    "minimum. "
)
TESTED = (
    "A solution tests what it has found, by the curvature in the directions that split "
    "a class and by states in which one sample has left its class, and says so."
)
UNTESTED = "A solution says what the curvature is in the directions that split a class."
LARGE_NOISE = (
    "The noise is of order `sqrt(d)` here, and (L1) weighs `w` for an input in units "
    "of it, by `alpha^2 |w|^2`. What is learned then knows of the schedule "
    "`beta/alpha` alone. Against `|w|^2` the ridge would vanish as `1/d`, and "
    "`omega` would grow like `log(d)` wherever a steeper unit gains without end."
)


def _assumptions(parts: Stationary) -> tuple[Step, ...]:
    """The assumptions of the equations of n samples."""
    if parts.loss.data is None:
        return ()
    tested = parts.data.closed and parts.model.autoencoder.activation != "sign"
    more = TESTED if tested and parts.alone else UNTESTED
    grows = parts.window.alpha_size > 0
    return (Step(ALIKE + more), *((Step(LARGE_NOISE),) if grows else ()))


def _steps(parts: Stationary) -> list[Step]:
    if parts.alone:
        return _steps_alone(parts)
    data, total = parts.data, parts.total.xreplace(parts.loss.released())
    found = [
        Step(
            "The samples form classes by the signs of their features, `n_pm` of them "
            "with signs `+` and `-`. Insert the window into the loss (L1) and let `d` "
            "grow. The skip's share is of higher order: per sample and dimension, the "
            "units see",
            to_averages(total),
            "L2",
        ),
        *_readout_steps(parts),
    ]
    text = _WEIGHTS[data.closed]
    for name, relation in relations(data, 1).items():
        label = "R1" if relation.lhs == 0 else f"R{name[-1]}"
        found.append(Step(text, relation, label))
        text = "and"
    return found


def _steps_alone(parts: Stationary) -> list[Step]:
    tied = parts.data.tied
    how = "`u` is tied to `w`:" if tied else "It is quadratic in `u`, which fixes"
    why = "The loss sees `w` through its field alone; stationarity of `w` fixes"
    return [
        Step(
            "Insert the window into the loss (L1) and let `d` grow. The skip's share "
            "of the loss is of higher order: per sample and dimension, the hidden "
            "unit sees",
            to_averages(parts.total),
            "L2",
        ),
        *_lines(how, parts.readout),
        *_lines(why, parts.weights),
    ]


def _lines(text: str, values: Values) -> list[Step]:
    return [
        Step("and" if i else text, sp.Eq(x, to_averages(value), evaluate=False))
        for i, (x, value) in enumerate(values.items())
    ]


def _readout_steps(parts: Stationary) -> list[Step]:
    if parts.data.tied:
        tied = tied_readout(parts.data, parts.window)
        first = {x: value for x, value in tied.items() if str(x)[2] == "1"}
        return _lines("`u` is tied to `w`, for each unit (here the first)", first)
    return [
        Step(
            "It is quadratic in `u`: the matrix `U_jk = ridge_u delta_jk + sum_y "
            "n_y E_y[phi_j phi_k]` gives `u_j = sum_k (U^(-1))_jk sum_y n_y "
            "E_y[phi_k] xbar_y`, with `xbar_y` the mean of the samples of class "
            "`y` and `E_y` the average over its fields."
        )
    ]


_WEIGHTS = {
    True: "The loss sees `w` through the fields alone. With `Pi_jk` its slopes in the "
    "overlaps `r`, as in (G5), and `C_jy` those in the means of the fields, a minimum "
    "has `sum_k Pi_jk w_k = -sum_y C_jy xbar_y`, and its bias `sum_y C_jy = 0`. So "
    "`w_j = sum_y theta_jy xbar_y` with `sum_y theta_jy = 0`, that is, for each unit "
    "(here the first)",
    False: "The loss sees `w` through its overlaps with the samples and with other "
    "`w`, so that at a minimum `w_j = sum_y theta_jy xbar_y`: any combination of the "
    "class means, since no bias sets the sum of `theta_jy` to zero where there is "
    "none, or where `u` is tied. For each unit (here the first)",
}
