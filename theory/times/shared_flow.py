r"""One tied network for all times: the flow that training at one time drives.

$D(x) = \frac{\beta\sigma^2}{\Delta} x + \frac{\alpha^2}{\Delta} \sum_j w_j
\tanh(\frac{\beta}{\Delta} w_j\cdot x + b_j)$, $\Delta = \alpha^2+\sigma^2\beta^2$:
the time enters as in the Bayes denoiser, and one set $(w_j, b_j)$ serves all times.
The loss at a time is a function of the overlaps alone, so the flow under a density of
times is the mean over these times of the systems derived here. Exact at every `d`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import sympy as sp

from ...errors import DerivationError
from ..models.classes import pair
from ..models.model import TAU, D, Feature, Model, Modes, named, norm
from ..phases.denoiser import exact_denoiser, parameters_of
from ..phases.loss import gram_flow
from ..symbols.gaussian import H2, FieldAverage, H, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, System, numbered, said

T, T2 = sp.tanh(H), sp.tanh(H2)

POWERS = {"m": 1, "q": 2, "r": 2, "b": 0}
"""The power of the vectors in an overlap, by its first letter."""

Form = Callable[[sp.Expr], sp.Expr]
"""How averages over fields are written: `to_averages`, or `sympify` for as they are."""


def check_trainable(model: Model) -> None:
    """Raise `DerivationError` unless one network for all times closes."""
    facts = (
        (
            isinstance(model.target, Modes),
            "modes that are no product: its units are then a softmax",
            "Write the target as two modes or a product",
        ),
        (
            model.data.samples,
            "n samples: the field of a sample then depends on the time through the "
            "sample's own noise, an overlap for each time",
            'Write `n = "inf"`',
        ),
        (
            model.autoencoder.activation != "tanh",
            f"`activation` = `{model.autoencoder.activation}`: the posterior mean of "
            "two modes is a tanh",
            'Write `activation = "tanh"`',
        ),
        (
            not model.autoencoder.bias,
            "no bias: the weights p are then not learned",
            "Write `bias = true`",
        ),
    )
    for refused, fact, remedy in facts:
        if refused:
            raise DerivationError(
                "Training one network for all times is derived for tanh units with a "
                f"bias on the population, but the model has {fact}. {remedy}."
            )


def square_norm(feature: Feature) -> sp.Expr:
    r"""$|\mu_j|^2/d = \rho_j d^{-2\delta_j}$."""
    return norm(feature) ** 2 / D


def shared_loss(model: Model, gram: sp.Matrix) -> sp.Expr:
    r"""The part of the loss per dimension at one time that training changes. (R1)

    $x_1 - \frac{\beta\sigma^2}{\Delta}x$ is $\frac{\alpha^2}{\Delta}\sum_j s_j\mu_j$
    plus noise independent of $x$, so that with $M_{jk} = w_j\cdot\mu_k/d$, $Q_{jk} =
    w_j\cdot w_k/d$, and `gram` over $(w_1, \dots, \mu_1, \dots)$,

    $$ \Big(\frac{\alpha^2}{\Delta}\Big)^2 \Big[\sum_{jk} Q_{jk}\mathbb E T_jT_k - 2
       \sum_{jk} M_{jk}\mathbb E s_kT_j\Big], $$

    with fields of mean $\Lambda\sum_k s_kM_{jk} + b_j$ and covariance $\Lambda
    Q_{jk}$, $\Lambda = \beta^2d/\Delta$. Exact at every `d`.
    """
    return sum(
        sign_share(model, signs) * pattern_loss(model, along(signs, gram), gram)
        for signs in patterns(model)
    )


def patterns(model: Model) -> Iterator[tuple[int, ...]]:
    """Signs of all features, every way."""
    return product((1, -1), repeat=len(model.target.features))


def along(signs: tuple[int, ...], gram: sp.Matrix) -> list[sp.Expr]:
    r"""$\sum_ks_kM_{jk}$ of every unit, for one pattern of signs."""
    units = range(len(signs))
    return [sum(signs[k] * gram[j, len(signs) + k] for k in units) for j in units]


def pattern_loss(model: Model, hit: Sequence[sp.Expr], gram: sp.Matrix) -> sp.Expr:
    r"""The loss (R1) given the signs, through `hit`, the $\sum_ks_kM_{jk}$."""
    bayes, units = exact_denoiser(model), range(len(hit))
    gain = bayes.beta**2 * D / bayes.delta
    mean = [gain * hit[j] + named(model, "b", j + 1) for j in units]
    total = sp.S.Zero
    for j in units:
        field = (mean[j : j + 1], [gain * gram[j, j]])
        total += gram[j, j] * FieldAverage(T**2, *field)
        total -= 2 * hit[j] * FieldAverage(T, *field)
    for j, k in combinations(units, 2):
        cov = [gain * gram[i, n] for i, n in ((j, j), (j, k), (k, k))]
        both = FieldAverage(T * T2, [mean[j], mean[k]], cov)
        total += 2 * gram[j, k] * both
    return bayes.residual_gain**2 * total


Parts = dict[sp.Symbol, sp.Expr]
Means = dict[sp.Symbol, FieldAverage]


def by_pattern(
    model: Model, hit: Sequence[sp.Symbol], gram: sp.Matrix, parts: Parts
) -> tuple[list[tuple[tuple[int, ...], Parts]], Means]:
    """Return parts for every pattern of signs, times its probability.

    With a symbol for each average, and the averages over fields in terms of overlaps:
    what was built once is renamed, so that several features are cheap.
    """
    held = overlaps_of(model, gram)
    nodes = set().union(*(x.atoms(FieldAverage) for x in parts.values()))
    names = {x: sp.Dummy(f"mean_{i}") for i, x in enumerate(sorted(nodes, key=str))}
    closed = {x: part.xreplace(names) for x, part in parts.items()}
    rows, averages = [], {}
    for signs in patterns(model):
        at = dict(zip(hit, along(signs, gram), strict=True))
        for node, name in names.items():
            at[name] = sp.Dummy(name.name)
            averages[at[name]] = node.xreplace(at).xreplace(held)
        share = sign_share(model, signs)
        rows.append((signs, {x: share * y.xreplace(at) for x, y in closed.items()}))
    return rows, averages


def loss_slopes(model: Model, gram: sp.Matrix) -> tuple[Parts, Means]:
    """Slopes of (R1) in the Gram entries and biases, and the averages in them."""
    count = len(model.target.features)
    hit = sp.symbols(f"hit_:{count}", cls=sp.Dummy)
    pairs = product(range(count), range(count))
    free = [gram[j, k] for j, k in pairs if j <= k]  # norms, then biases
    free += [named(model, "b", j) for j in range(1, count + 1)]
    loss = pattern_loss(model, hit, gram)
    slopes = {x: sp.diff(loss, x) for x in (*hit, *free)}
    rows, averages = by_pattern(model, hit, gram, slopes)
    total = dict.fromkeys((*overlaps_of(model, gram), *slopes), sp.S.Zero)
    for signs, parts in rows:
        for x, part in parts.items():
            total[x] += part
        for j, k in product(range(count), range(count)):
            total[gram[j, count + k]] += signs[k] * parts[hit[j]]
    return total, averages


def sign_share(model: Model, signs: tuple[int, ...]) -> sp.Expr:
    """The probability of a pattern of signs."""
    pairs = zip(signs, model.target.features, strict=True)
    return sp.Mul(*(f.p if s == 1 else 1 - f.p for s, f in pairs))


def gram_of(model: Model) -> sp.Matrix:
    """Return the Gram matrix per `d` of the units' and the means' vectors."""
    features = model.target.features
    count = len(features)
    gram = sp.zeros(2 * count, 2 * count)
    for j, k in product(range(count), range(count)):
        low, high = sorted((j + 1, k + 1))
        gram[j, k] = sp.Dummy(f"Q_{low}_{high}") if j <= k else gram[k, j]
        gram[j, count + k] = gram[count + k, j] = sp.Dummy(f"M_{j + 1}_{k + 1}")
    for k, feature in enumerate(features):
        gram[count + k, count + k] = square_norm(feature)
    return gram


def overlaps_of(model: Model, gram: sp.Matrix) -> dict[sp.Symbol, sp.Expr]:
    r"""Return the overlaps in units of the means' lengths, for the Gram entries.

    One feature: $m = w\cdot\mu/|\mu|^2$ and $q = |w_\perp|^2/|\mu|^2$. Several:
    $m_{jk} = w_j\cdot\mu_k/(|\mu_j||\mu_k|)$ and $r_{jk} = w_j\cdot w_k/(|\mu_j|
    |\mu_k|)$, with $m_j = m_{jj}$ and $r_j = r_{jj}$.
    """
    features = model.target.features
    count = len(features)
    if count == 1:
        size, m, q = (
            square_norm(features[0]),
            named(model, "m", 1),
            named(model, "q", 1),
        )
        return {gram[0, 1]: size * m, gram[0, 0]: size * (m**2 + q)}
    root = [sp.sqrt(square_norm(f)) for f in features]
    held: dict[sp.Symbol, sp.Expr] = {}
    for j, k in product(range(count), range(count)):
        held[gram[j, count + k]] = root[j] * root[k] * pair("m", j + 1, k + 1)
        if j <= k:
            held[gram[j, k]] = root[j] * root[k] * pair("r", j + 1, k + 1)
    return held


def flow_equations(model: Model) -> dict[sp.Symbol, sp.Expr]:
    r"""Return the right-hand sides of the flow at one time. (R2)

    $\dot w_j = -\frac d2\nabla_{w_j}$ and $\dot b_j = -\frac12\partial_{b_j}$ of
    (R1), by the Gram rule (G5).
    """
    count, gram = len(model.target.features), gram_of(model)
    held = overlaps_of(model, gram)
    slopes, averages = loss_slopes(model, gram)
    flow = gram_flow(slopes.__getitem__, gram, count, (sp.S.One,) * count)
    speed = {
        entry: flow[i, k].xreplace(held)
        for i in range(count)
        for k in range(i, 2 * count)
        for entry in [gram[i, k]]
    }
    rows: dict[sp.Symbol, sp.Expr] = {}
    if count == 1:
        m, q = named(model, "m", 1), named(model, "q", 1)
        size = square_norm(model.target.features[0])
        rows[m] = speed[gram[0, 1]] / size
        rows[q] = speed[gram[0, 0]] / size - 2 * m * rows[m]
    else:
        for entry, value in held.items():
            (x,) = [s for s in value.free_symbols if str(s)[:2] in ("m_", "r_")]
            rows[x] = speed[entry] / value.coeff(x)
    for j in range(1, count + 1):
        b = named(model, "b", j)
        rows[b] = -slopes[b].xreplace(held) / 2
    return {x: rhs.xreplace(averages) for x, rhs in rows.items()}


def shared_training(model: Model, weight: sp.Expr, form: Form = to_averages) -> System:
    r"""Training flow of the shared network if all times were `tau`. (R3)

    `weight` is the loss weight, an expression in `tau`. Under a density of times the
    right-hand side is the mean of this one; see `numerics.times`. Averages over fields
    are written as `form` has them, over normals if it is left out. Exact at every `d`.
    """
    check_trainable(model)
    rows = flow_equations(model)
    return System(
        name="shared/training",
        kind="flow",
        time=symbol("train_time"),
        equations=numbered(
            "R", {x: form(weight * rhs) for x, rhs in rows.items()}, 3, "exact"
        ),
        parameters=(*parameters_of(model), D, TAU),
        domain=tuple(x >= 0 for x in rows if str(x)[0] == "q"),
        observables=_fields(model),
        status="exact",
        steps=said(
            "Differentiate the loss (R1) in the overlaps and apply the Gram rule "
            "(G5); the density of times averages the result over `tau`."
        ),
    ).check()


def with_ridge(system: System) -> System:
    r"""Return the flow with the ridge $\ell|w|^2/d$ on the loss, a weight decay. (R31)

    $\dot w \mathrel{-}= \ell w$: what is linear in `w` gains $-\ell$ times itself and
    what is quadratic $-2\ell$. The bias is not decayed. Exact.
    """
    ridge = symbol("ridge_w")
    rows = tuple(
        replace(eq, rhs=eq.rhs - POWERS[str(eq.lhs)[0]] * ridge * eq.lhs)
        for eq in system.equations
    )
    names = (ridge, *system.parameters)
    return replace(system, equations=rows, parameters=names).check()


def _fields(model: Model) -> tuple[Equation, ...]:
    """How steep a field is in its normal, and where it crosses zero, for each sign."""
    if len(model.target.features) > 1:
        return ()
    m, q, b = (named(model, x, 1) for x in ("m", "q", "b"))
    snr = exact_denoiser(model).snr(1)
    steep = sp.sqrt(snr * (m**2 + q))
    return (
        Equation("R6", symbol("steepness"), steep, "exact"),
        Equation("R7", symbol("kink_plus"), -(b + snr * m) / steep, "exact"),
        Equation("R8", symbol("kink_minus"), -(b - snr * m) / steep, "exact"),
    )


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
    """Put a symbol for each average over fields, and list the fields.

    Written out over normals, the flow of two units that couple is a page for each
    overlap, and its kernel takes minutes to print.
    """
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
