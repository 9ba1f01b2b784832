r"""The overlaps learned from n samples of a product mixture, and the sampling flow.

One hidden unit for each feature, features of full norm ($\delta = 0$) in one window.
The samples form classes by the signs of their features; the fields of the units are
correlated, and each unit sees every feature and the noise of every class.
"""

from __future__ import annotations

import sympy as sp

from ..models.classes import Classes, classes_of, mark, pair
from ..models.model import Model
from ..symbols.gaussian import (
    phi,
    to_averages,
)
from ..symbols.notation import symbol
from ..symbols.system import Branch, Equation, Step, System
from ..windows.search import S_PHASE, Window
from .denoiser import velocity_coefficients
from .loss import Loss, window_loss, window_parameters
from .stationary import assumptions

# ------------------------------------------------------------------ what is learned


def learned(model: Model, window: Window) -> System:
    r"""The minimum of the window's loss over every overlap. (W1)-...

    $u_j$ and $w_j$ lie in the span of the means and of the classes' summed noises, so
    $q, r, v$ follow from the overlaps, which minimise (L2). (R2) leaves $2^K$ numbers
    and a bias for each unit, (R1) one less; a tied `u` follows from `w`.
    """
    data = classes_of(model)
    loss = Loss(model, tuple(data.units))
    total = window_loss(loss, window)
    known = overlaps(loss, data, window)
    slopes = gradient(data, total, known)
    equations = tuple(
        Equation(f"W{i}", x, slope) for i, (x, slope) in enumerate(slopes.items(), 1)
    )
    values = observed(data, window)
    values |= {symbol("c"): sp.S.Zero, symbol("c_hat"): loss.skip(window)}
    observables = tuple(
        Equation(f"W{i}", x, to_averages(value.xreplace(known)))
        for i, (x, value) in enumerate(values.items(), len(slopes) + 1)
    )
    return System(
        name="learned",
        kind="stationary",
        time=S_PHASE,
        equations=equations,
        observables=observables,
        parameters=window_parameters(model, window),
        objective=to_averages(total.xreplace(known)),
        branches=(_closed_branch(data, window),),
        steps=(
            *_steps(data, window, total.xreplace(loss.released())),
            *assumptions(model, window),
        ),
    ).check()


def overlaps(loss: Loss, data: Classes, window: Window) -> dict[sp.Expr, sp.Expr]:
    """All that the loss is written in, from the overlaps that are varied."""
    tied = readout(data, window)
    found = {**norms(data), **loss.released()}
    return {x: e.xreplace(tied) for x, e in found.items()}


def varied(data: Classes) -> list[sp.Symbol]:
    """The overlaps that the loss is minimised over."""
    return list(data.each("omega", "zeta", "b", *(() if data.tied else ("m", "a"))))


def observed(data: Classes, window: Window) -> dict[sp.Symbol, sp.Expr]:
    """The quantities that follow: a tied `u`, norms, 0 for a bias that is left out."""
    tied = readout(data, window)
    none = {} if data.model.autoencoder.bias else {f"b_{j}": 0 for j in data.units}
    sizes = {x: e.xreplace(tied) for x, e in norms(data).items()}
    return {**tied, **sizes, **{symbol(x): sp.sympify(e) for x, e in none.items()}}


def readout(data: Classes, window: Window) -> dict[sp.Symbol, sp.Expr]:
    r"""`m, a` of tied units, $u_j = \alpha^2 w_j/(\beta\sqrt d)$; none if untied."""
    if not data.tied:
        return {}
    ratio = window.alpha**2 / window.beta
    found = {
        pair("m", j, k): ratio * pair("omega", j, k) / data.root(j)
        for j in data.units
        for k in data.units
    }
    noises = zip(data.each("a"), data.each("zeta"), strict=True)
    return found | {a: ratio * zeta for a, zeta in noises}


def norms(data: Classes) -> dict[sp.Symbol, sp.Expr]:
    r"""$q_{jk}, r_{jk}, v_j$ from the overlaps: means and class noises span all."""
    root, units = data.root, data.units
    pairs = [(j, k) for j in units for k in units if j <= k]
    u, w = ("m", "a"), ("omega", "zeta")
    found: dict[sp.Symbol, sp.Expr] = {}
    for j, k in pairs:
        means, noises = _inner(data, u, u, j, k)
        found[pair("q", j, k)] = means + noises / (root(j) * root(k))
    for j, k in pairs:
        found[pair("r", j, k)] = sum(_inner(data, w, w, j, k))
    for j in units:
        means, noises = _inner(data, u, w, j, j)
        found[symbol(f"v_{j}")] = means + noises / root(j)
    return found


def _inner(
    data: Classes, left: tuple[str, str], right: tuple[str, str], j: int, k: int
) -> tuple[sp.Expr, sp.Expr]:
    """Inner product of two vectors: the part along the means, and along the noises."""
    means = sum(pair(left[0], j, x) * pair(right[0], k, x) for x in data.units)
    noises = sum(
        data.count(c) * data.own(left[1], j, c) * data.own(right[1], k, c)
        for c in data.patterns
    )
    return means, noises


def gradient(
    data: Classes, total: sp.Expr, known: dict[sp.Symbol, sp.Expr]
) -> dict[sp.Symbol, sp.Expr]:
    r"""Slopes of the window's loss in the varied overlaps, by the chain rule.

    The loss sees the overlaps through what is `known` from them; its slopes in these
    (G2) are taken once.
    """
    inner = {x: e for x, e in known.items() if total.has(x)}
    biases = list(data.each("b"))

    def put(expr: sp.Expr) -> sp.Expr:
        return to_averages(expr.xreplace(inner))

    outer = {x: put(sp.diff(total, x)) for x in (*inner, *biases)}
    seen_by = {x: [y for y, e in inner.items() if e.has(x)] for x in varied(data)}
    return {
        x: sp.Add(outer.get(x, 0), *(outer[y] * sp.diff(inner[y], x) for y in through))
        for x, through in seen_by.items()
    }


def _closed_branch(data: Classes, window: Window) -> Branch:
    r"""The minimum in which every unit is a constant.

    Without bias all vanish. With it each is 1 and shares the mean of the samples;
    untied, $w = 0$ there, while a tied $w = (\beta/\alpha^2) u$ costs its ridge.
    """
    if not data.model.autoencoder.bias:
        return _branch("silent", data.norm2, dict.fromkeys(varied(data), sp.S.Zero))
    rate = window.beta / window.alpha**2
    ridge = symbol("ridge_u") + (rate**2 * symbol("ridge_w") if data.tied else 0)
    n, count = data.size, len(data.units)
    weight = n * count + ridge
    sums = {k: sum(data.count(c) * c[k - 1] for c in data.patterns) for k in data.units}
    values = {
        pair("m", j, k): data.root(k) / data.root(j) * sums[k] / weight
        for j in data.units
        for k in data.units
    }
    values |= {x: data.sigma / weight for x in data.each("a")}
    if data.tied:
        tied = readout(data, window).items()
        own = set(data.each("omega", "zeta"))
        values = {w: values[u] * w / e for u, e in tied for w in own & e.free_symbols}
    square = sum(data.rho(k) * sums[k] ** 2 for k in data.units) + n * data.sigma**2
    return _branch("saturated", data.norm2 - count * square / (n * weight), values)


def _branch(name: str, objective: sp.Expr, values: dict[sp.Symbol, sp.Expr]) -> Branch:
    numbered = enumerate(values.items(), 1)
    equations = (Equation(f"B{i}", x, e) for i, (x, e) in numbered)
    return Branch(name, objective, tuple(equations))


def _steps(data: Classes, window: Window, total: sp.Expr) -> tuple[Step, ...]:
    found = [
        Step(
            "The samples form classes by the signs of their features, `n_pm` of them "
            "with signs + and -. Insert the window into the loss (L1) and let `d` "
            "grow. The skip's share is of higher order, so the units see",
            to_averages(total),
            "L2",
        ),
        *_readout_steps(data, window),
        Step(_WEIGHTS[data.closed]),
    ]
    for name, relation in closed_relations(data, 1).items():
        label = "R1" if relation.lhs == 0 else f"R{name[-1]}"
        found.append(Step("so" if relation.lhs == 0 else "and", relation, label))
    return tuple(found)


def _readout_steps(data: Classes, window: Window) -> list[Step]:
    if not data.tied:
        return [
            Step(
                "It is quadratic in `u`: the matrix `A_jk = ridge_u delta_jk + sum_c "
                "n_c E_c[phi_j phi_k]` gives `u_j = sum_k (A^(-1))_jk sum_c n_c "
                "E_c[phi_k] xbar_c`, with `xbar_c` the mean of the samples of class "
                "`c`."
            )
        ]
    values = list(readout(data, window).items())
    shown = [x for x in values if str(x[0])[2] == "1"]
    return [
        Step(
            "and" if i else "`u` is tied to `w`, for each unit (here the first)",
            sp.Eq(x, value, evaluate=False),
        )
        for i, (x, value) in enumerate(shown)
    ]


_WEIGHTS = {
    True: "The loss sees `w` through the fields alone. With `R_jk` the slopes in the "
    "overlaps `r`, stationarity reads `sum_k R_jk w_k = -sum_c J_jc xbar_c`, and that "
    "of the bias `sum_c J_jc = 0`. So `w_j = sum_c A_jc xbar_c` with `sum_c A_jc = 0`, "
    "that is, for each unit (here the first)",
    False: "The loss sees `w` through its overlaps with the samples and with other "
    "`w`, so that at a minimum `w_j = sum_c A_jc xbar_c`: any combination of the class "
    "means, since no bias sets the sum of `A_jc` to zero where there is none, or where "
    "`u` is tied. For each unit (here the first)",
}


def closed_relations(data: Classes, j: int) -> dict[str, sp.Equality]:
    r"""The relations fixed by stationarity of $w_j$ and, untied, $b_j$. (R1, R2, ...)

    $$ 0 = \sum_c n_c\zeta_{jc}, \qquad
       \omega_{jk} = \frac{\sqrt{\rho_k}}\sigma \sum_c s_{ck} n_c \zeta_{jc} . $$
    """
    loads = {c: data.count(c) * data.own("zeta", j, c) for c in data.patterns}
    found = {}
    if data.closed:
        found["R1"] = sp.Eq(sp.S.Zero, sp.Add(*loads.values()), evaluate=False)
    for k in data.units:
        value = sum(c[k - 1] * x for c, x in loads.items()) * data.root(k) / data.sigma
        found[f"R{k + 1}"] = sp.Eq(pair("omega", j, k), value, evaluate=False)
    return found


# ------------------------------------------------------------------------- sampling


def sampling(model: Model, window: Window, _solved: System) -> System:
    r"""The flow of a sample's overlaps with the means and the class noises. (S1)-...

    $$ \dot\nu_k = \frac{\dot\alpha}\alpha\nu_k + \zeta\sum_j\sqrt{\rho_j}\,m_{jk}
       \varphi(H_j), \qquad \dot g_c = \frac{\dot\alpha}\alpha g_c + \zeta\sum_j
       \sqrt{n_c}\,a_{jc}\varphi(H_j), \qquad
       H_j = \sum_k\omega_{jk}\nu_k + \sum_c\sqrt{n_c}\,\zeta_{jc}g_c + b_j . $$
    """
    data = classes_of(model)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    g = {c: symbol(f"g_{mark(c)}") for c in data.patterns}
    units = {}
    for j in data.units:
        along = sum(pair("omega", j, k) * symbol(f"nu_{k}") for k in data.units)
        along += sum(
            sp.sqrt(data.count(c)) * data.own("zeta", j, c) * g[c]
            for c in data.patterns
        )
        units[j] = phi(model.autoencoder.activation, along + data.bias(j))
    pushes = {symbol(f"nu_{k}"): _along_mean(data, units, k) for k in data.units}
    for c in data.patterns:
        own = sum(data.own("a", j, c) * unit for j, unit in units.items())
        pushes[g[c]] = sp.sqrt(data.count(c)) * own
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=tuple(
            Equation(f"S{i}", x, rate * x + drive * push)
            for i, (x, push) in enumerate(pushes.items(), 1)
        ),
        parameters=window_parameters(model, window),
        inputs=tuple(data.each("omega", "zeta", "b", "m", "a")),
        steps=(
            Step(
                "Project the velocity on the means and on the summed noises of each "
                "class; these projections of `X` start as independent `N(0, "
                "alpha(0)^2)`.",
            ),
        ),
    ).check()


def _along_mean(data: Classes, units: dict[int, sp.Expr], k: int) -> sp.Expr:
    r"""$\sum_j \sqrt{\rho_j}\,m_{jk}\varphi_j$: the push along the unit mean."""
    return sum(data.root(j) * pair("m", j, k) * unit for j, unit in units.items())


def projected(model: Model, window: Window) -> System:
    r"""The sampling flow reduced to combinations of the class means. (P1)-...

    The directions $v_T = \sum_c M_{cT}\bar x_c$ (contrasts, $\sum_c M_{cT} = 0$, where
    (R1) holds) span every $w_j = \sum_T\theta_{jT}v_T$, $\theta_{jT} = \sum_c \chi_T(c)
    n_c\zeta_{jc}/\sigma$, so $Y_T = v_T\cdot X$ is autonomous,

    $$ \dot Y_T = \frac{\dot\alpha}\alpha Y_T + \zeta\sum_j \frac{v_T\cdot u_j}d
       \varphi(H_j), \qquad H_j = \sum_T\theta_{jT}Y_T + b_j, $$

    and $\nu_k(s) = \nu_k(0)\cdot$(free flow) $+ F_k(s)$. At the start $(\nu, Y)$ is
    Gaussian, $\mathrm{Cov}(Y_T, Y_{T'}) = \Gamma_{TT'}$, $\mathrm{Cov}(\nu_k, Y_T)$
    is $\sqrt{\rho_k}$ for $T = \{k\}$ and 0 otherwise (with no class empty), both
    times $\alpha(0)^2$. Exact.
    """
    data = classes_of(model)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    spread = data.directions()
    unit = {
        j: phi(model.autoencoder.activation, _reduced_field(data, j))
        for j in data.units
    }
    pushes = {
        symbol(f"Y_{t + 1}"): sum(
            _along(data, spread.col(t), j) * unit[j] for j in data.units
        )
        for t in range(spread.cols)
    }
    pushes |= {symbol(f"F_{k}"): _along_mean(data, unit, k) for k in data.units}
    covariances = _covariances(data, spread)
    return System(
        name="projected",
        kind="flow",
        time=S_PHASE,
        equations=tuple(
            Equation(f"P{i}", x, rate * x + drive * push)
            for i, (x, push) in enumerate(pushes.items(), 1)
        ),
        observables=tuple(
            Equation(f"P{i}", x, value, "exact")
            for i, (x, value) in enumerate(covariances.items(), len(pushes) + 1)
        ),
        parameters=window_parameters(model, window),
        inputs=tuple(data.each("omega", "zeta", "b", "m", "a")),
        initial=tuple((symbol(f"F_{k}"), sp.S.Zero) for k in data.units),
        steps=(_reduction_step(data),),
    ).check()


def _reduction_step(data: Classes) -> Step:
    names = ", ".join(
        f"Y_{i} for {'*'.join(f's_{k}' for k in t) or 1}"
        for i, t in enumerate(data.direction_subsets(), 1)
    )
    which = "contrast" if data.closed else "combination"
    by = "By (R1) each" if data.closed else "Each"
    return Step(
        f"{by} `w` is a {which} of class means. Project `X` on the {which}s "
        f"dual to the products of signs ({names}): these projections are autonomous, "
        "`F_k` is what the flow adds to `nu_k`, and `Gamma` is their covariance at the "
        "start, in units of `alpha(0)^2`.",
    )


def _reduced_field(data: Classes, j: int) -> sp.Expr:
    r"""$H_j = \sum_T\theta_{jT}Y_T + b_j$; $\theta_{j\{k\}}$ is
    $\omega_{jk}/\sqrt{\rho_k}$.
    """
    total = data.bias(j)
    for t, subset in enumerate(data.direction_subsets(), 1):
        if len(subset) == 1:
            theta = pair("omega", j, subset[0]) / data.root(subset[0])
        else:
            theta = sum(
                chi * data.count(c) * data.own("zeta", j, c)
                for chi, c in zip(data.characters(subset), data.patterns, strict=True)
            )
            theta = theta / data.sigma
        total += theta * symbol(f"Y_{t}")
    return total


def _along(data: Classes, direction: sp.Matrix, j: int) -> sp.Expr:
    r"""$v_T\cdot u_j/d$ for the direction $v_T = \sum_c M_{cT}\bar x_c$."""
    means = sum(
        data.root(j) * data.root(k) * x * pair("m", j, k)
        for k, x in zip(data.units, _on_means(data, direction), strict=True)
    )
    noises = sum(
        x * data.own("a", j, c) for x, c in zip(direction, data.patterns, strict=True)
    )
    return means + data.sigma * noises


def _on_means(data: Classes, direction: sp.Matrix) -> list[sp.Expr]:
    """The components of a direction along the means, in units of the means."""
    rows = zip(direction, data.patterns, strict=True)
    shares = [(x, c) for x, c in rows]
    return [sum(x * c[k - 1] for x, c in shares) for k in data.units]


def _covariances(data: Classes, spread: sp.Matrix) -> dict[sp.Symbol, sp.Expr]:
    r"""$\Gamma_{TT'} = \sum_k\rho_k(M^Ts)_{Tk}(M^Ts)_{T'k} + \sigma^2\sum_c
    M_{cT}M_{cT'}/n_c$, the inner products $v_T\cdot v_{T'}/d$.
    """
    columns = [spread.col(t) for t in range(spread.cols)]
    means = [_on_means(data, x) for x in columns]
    counts = [data.count(c) for c in data.patterns]
    return {
        pair("Gamma", i + 1, k + 1): sum(
            data.rho(f) * x * y
            for f, x, y in zip(data.units, means[i], means[k], strict=True)
        )
        + data.sigma**2
        * sum(x * y / n for x, y, n in zip(columns[i], columns[k], counts, strict=True))
        for i in range(spread.cols)
        for k in range(i, spread.cols)
    }
