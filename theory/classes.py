r"""What a network learns from n samples of a product mixture, and how it samples.

One hidden unit for each feature, features of full norm ($\delta = 0$) in one window.
The samples form classes by the signs of their features; the fields of the units are
correlated, and each unit sees every feature and the noise of every class.
"""

from __future__ import annotations

import sympy as sp

from .bayes import HALF, velocity_coefficients
from .dilation import S_PHASE, Window
from .gaussian import (
    FieldAverage,
    mean_phi,
    mean_phi2,
    mean_product,
    mean_slope,
    phi,
    to_averages,
)
from .loss import ALPHA, BETA, at_large_d, window_parameters
from .model import D, Model
from .notation import symbol
from .patterns import Classes, Pattern, check_patterns, classes_of, pair
from .system import Branch, Equation, Step, System

# --------------------------------------------------------------------------- the loss


def field(data: Classes, j: int, c: Pattern) -> sp.Expr:
    r"""Mean of the field of unit `j` on class `c`, before the window is inserted.

    $\beta\sqrt d\,(\sum_k \sqrt{\rho_k} s_{ck}\omega_{jk} + \sigma\zeta_{jc}) + b_j$;
    the noise of the interpolant adds the covariance $\alpha^2 r_{jl}$.
    """
    seen = sum(data.root(k) * c[k - 1] * pair("omega", j, k) for k in data.units)
    seen += data.sigma * data.own("zeta", j, c)
    return BETA * sp.sqrt(D) * seen + symbol(f"b_{j}")


def gain(data: Classes, j: int, c: Pattern) -> sp.Expr:
    r"""$u_j\cdot x_i/d = \sum_k \sqrt{\rho_j\rho_k}\,s_{ck} m_{jk} + \sigma a_{jc}$."""
    kept = sum(data.root(k) * c[k - 1] * pair("m", j, k) for k in data.units)
    return data.root(j) * kept + data.sigma * data.own("a", j, c)


def _q(j: int, k: int) -> sp.Symbol:
    return pair("q", *sorted((j, k)))


def _r(j: int, k: int) -> sp.Symbol:
    return pair("r", *sorted((j, k)))


def products(data: Classes, kind: str, j: int, k: int) -> list[sp.Expr]:
    r"""$n_c \mathbb E_c[\varphi_j\varphi_k]$ before the window is inserted."""
    found = []
    for c in data.patterns:
        variance = ALPHA**2 * _r(j, j)
        if j == k:
            value = mean_phi2(kind, field(data, j, c), variance)
        else:
            cov = (variance, ALPHA**2 * _r(j, k), ALPHA**2 * _r(k, k))
            value = mean_product(kind, (field(data, j, c), field(data, k, c)), cov)
        found.append(data.count(c) * value)
    return found


def sample_loss(data: Classes) -> list[sp.Expr]:
    r"""Terms of the loss per sample and dimension at one time, without ridges. (L5)

    $$
    (1-c\beta)^2 \frac{|x_i|^2}d + c^2\alpha^2
      - \frac2n \sum_{jc} n_c\Big[(1-c\beta)\frac{u_j\cdot x_c}d\,\mathbb E\varphi_{jc}
      - c\,\alpha^2 \sqrt{\tfrac{\rho_j}d}\; v_j\,\mathbb E\varphi'_{jc}\Big]
      + \frac1n \sum_{jk} \sqrt{\rho_j\rho_k}\,q_{jk}
        \sum_c n_c\,\mathbb E[\varphi_{jc}\varphi_{kc}] .
    $$

    The samples' noises are orthogonal up to $d^{-1/2}$; everything else is exact.
    """
    kind, c, n = data.model.autoencoder.activation, symbol("c"), data.size
    terms = [(1 - c * BETA) ** 2 * data.norm2, c**2 * ALPHA**2]
    for j in data.units:
        variance = ALPHA**2 * _r(j, j)
        for e in data.patterns:
            share, mean = data.count(e) / n, field(data, j, e)
            lean = c * ALPHA**2 * data.root(j) / sp.sqrt(D) * symbol(f"v_{j}")
            hit = (1 - c * BETA) * gain(data, j, e)
            terms.append(-2 * share * hit * mean_phi(kind, mean, variance))
            terms.append(2 * share * lean * mean_slope(kind, mean, variance))
        for k in data.units[j - 1 :]:
            size = (1 if j == k else 2) * data.root(j) * data.root(k) * _q(j, k)
            terms += [size * x / n for x in products(data, kind, j, k)]
    return terms


def in_window(expr: sp.Expr, data: Classes, window: Window) -> sp.Expr:
    r"""Limit $d\to\infty$ of `expr` inside the window, overlaps held at O(1)."""
    x = window.alpha_size
    scaled = {
        ALPHA: window.alpha * D**x,
        BETA: window.beta * D ** (x - HALF),
        symbol("c"): symbol("c_hat") * D ** (-HALF - x),
    }
    for name in data.each("omega", "zeta"):
        scaled[name] = name * D**-x
    for j in data.units:
        scaled[symbol(f"v_{j}")] = symbol(f"v_{j}") * D**-x
        scaled |= {_r(j, k): _r(j, k) * D ** (-2 * x) for k in data.units}
    return at_large_d(expr.subs(scaled, simultaneous=True))


def window_loss(data: Classes, window: Window) -> sp.Expr:
    r"""The loss (L5) in the window, ridges included. (L6)"""
    parts = [in_window(term, data, window) for term in sample_loss(data)]
    for j in data.units:
        parts.append(symbol("ridge_u") * data.rho(j) * _q(j, j) / data.size)
        parts.append(symbol("ridge_w") * _r(j, j) / data.size)
    return sp.Add(*parts)


# ------------------------------------------------------------------ what is learned


def learned(model: Model, window: Window) -> System:
    r"""The minimum of the window's loss over every overlap. (W1)-...

    $u_j$ and $w_j$ lie in the span of the means and of the classes' summed noises, so
    $q, r, v$ follow from the overlaps, which minimise (L6). Two consequences are
    closed (R1, R2) and leave $2^K-1$ numbers and a bias for each unit.
    """
    check_patterns(model)
    data = classes_of(model)
    total = window_loss(data, window)
    sizes = norms(data)
    slopes = gradient(data, total, sizes)
    equations = tuple(
        Equation(f"W{i}", x, slope) for i, (x, slope) in enumerate(slopes.items(), 1)
    )
    values = {**sizes, symbol("c"): sp.S.Zero, symbol("c_hat"): _skip(data, window)}
    observables = tuple(
        Equation(f"W{i}", x, to_averages(value.subs(sizes, simultaneous=True)))
        for i, (x, value) in enumerate(values.items(), len(slopes) + 1)
    )
    return System(
        name="learned",
        kind="stationary",
        time=S_PHASE,
        equations=equations,
        observables=observables,
        parameters=window_parameters(model, window),
        objective=to_averages(total.subs(sizes, simultaneous=True)),
        branches=(_saturated(data),),
        steps=_steps(data, total),
    ).check()


def norms(data: Classes) -> dict[sp.Symbol, sp.Expr]:
    r"""$q_{jk}, r_{jk}, v_j$ from the overlaps: means and class noises span all."""
    root, units = data.root, data.units
    pairs = [(j, k) for j in units for k in units if j <= k]
    u, w = ("m", "a"), ("omega", "zeta")
    found: dict[sp.Symbol, sp.Expr] = {}
    for j, k in pairs:
        means, noises = _inner(data, u, u, j, k)
        found[_q(j, k)] = means + noises / (root(j) * root(k))
    for j, k in pairs:
        found[_r(j, k)] = sum(_inner(data, w, w, j, k))
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
    data: Classes, total: sp.Expr, sizes: dict[sp.Symbol, sp.Expr]
) -> dict[sp.Symbol, sp.Expr]:
    r"""Slopes of the window's loss in every overlap, by the chain rule.

    The loss sees the overlaps through the means of the fields, and through `q, r`;
    its slopes in these (G2) are taken once.
    """
    fields = {e: sp.Dummy("h") for e in _field_means(total)}
    flat = total.xreplace(fields)
    back = {dummy: mean for mean, dummy in fields.items()}
    inner = {**back, **{x: sizes[x] for x in flat.free_symbols if x in sizes}}
    shown = {x: e.subs(sizes, simultaneous=True) for x, e in inner.items()}

    def put(expr: sp.Expr) -> sp.Expr:
        return to_averages(expr.xreplace(shown))

    outer = {x: put(sp.diff(flat, x)) for x in inner}
    found = {}
    for x in data.each("omega", "zeta", "b", "m", "a"):
        chain = [outer[y] * sp.diff(e, x) for y, e in inner.items() if e.has(x)]
        found[x] = put(sp.diff(flat, x)) + sp.Add(*chain)
    return found


def _field_means(total: sp.Expr) -> list[sp.Expr]:
    nodes = sorted(total.atoms(FieldAverage), key=str)
    return list(dict.fromkeys(mean for node in nodes for mean in node.args[1]))


def _skip(data: Classes, window: Window) -> sp.Expr:
    """`c_hat`: the loss is quadratic in `c`, which is small in the window."""
    c, terms = symbol("c"), sample_loss(data)
    bend = sp.expand(sum(sp.diff(term, c, 2) for term in terms[:2]))
    power = D ** (HALF + window.alpha_size)
    return sp.Add(
        *(
            in_window(-power * sp.diff(term, c).subs(c, 0) / bend, data, window)
            for term in terms
            if term.has(c)
        )
    )


def _saturated(data: Classes) -> Branch:
    r"""The minimum with $w = 0$: every unit is the constant 1 and shares the mean."""
    n, count = data.size, len(data.units)
    weight = n * count + symbol("ridge_u")
    sums = {k: sum(data.count(c) * c[k - 1] for c in data.patterns) for k in data.units}
    equations = [
        (pair("m", j, k), data.root(k) / data.root(j) * sums[k] / weight)
        for j in data.units
        for k in data.units
    ]
    equations += [(x, data.sigma / weight) for x in data.each("a")]
    square = sum(data.rho(k) * sums[k] ** 2 for k in data.units) + n * data.sigma**2
    return Branch(
        "saturated",
        data.norm2 - count * square / (n * weight),
        tuple(Equation(f"B{i}", x, e) for i, (x, e) in enumerate(equations, 1)),
    )


def _steps(data: Classes, total: sp.Expr) -> tuple[Step, ...]:
    found = [
        Step(
            "The samples form classes by the signs of their features, `n_pm` of them "
            "with signs + and -. Insert the window into the loss (L5) and let `d` "
            "grow. The skip's share is of higher order, so the units see",
            to_averages(total),
            "L6",
        ),
        Step(
            "It is quadratic in `u`: the matrix `A_jk = ridge_u delta_jk + sum_c n_c "
            "E_c[phi_j phi_k]` gives `u_j = sum_k (A^(-1))_jk sum_c n_c E_c[phi_k] "
            "xbar_c`, with `xbar_c` the mean of the samples of class `c`.",
        ),
        Step(
            "The loss sees `w` through the fields alone. With `R_jk` the slopes in the "
            "overlaps `r`, stationarity reads `sum_k R_jk w_k = -sum_c J_jc xbar_c`, "
            "and that of the bias `sum_c J_jc = 0`. So `w_j = sum_c A_jc xbar_c` with "
            "`sum_c A_jc = 0`, that is, for each unit (here the first)",
        ),
    ]
    for name, relation in closed_relations(data, 1).items():
        label = "R1" if relation.lhs == 0 else f"R{name[-1]}"
        found.append(Step("so" if relation.lhs == 0 else "and", relation, label))
    return tuple(found)


def closed_relations(data: Classes, j: int) -> dict[str, sp.Equality]:
    r"""What stationarity of $w_j$ and $b_j$ fixes. (R1, R2, ...)

    $$ 0 = \sum_c n_c\zeta_{jc}, \qquad
       \omega_{jk} = \frac{\sqrt{\rho_k}}\sigma \sum_c s_{ck} n_c \zeta_{jc} . $$
    """
    loads = {c: data.count(c) * data.own("zeta", j, c) for c in data.patterns}
    found = {"R1": sp.Eq(sp.S.Zero, sp.Add(*loads.values()), evaluate=False)}
    for k in data.units:
        value = sum(c[k - 1] * x for c, x in loads.items()) * data.root(k) / data.sigma
        found[f"R{k + 1}"] = sp.Eq(pair("omega", j, k), value, evaluate=False)
    return found


# ------------------------------------------------------------------------- sampling


def sampling(model: Model, window: Window) -> System:
    r"""The flow of a sample's overlaps with the means and the class noises. (S1)-...

    $$ \dot\nu_k = \frac{\dot\alpha}\alpha\nu_k + \zeta\sum_j\sqrt{\rho_j}\,m_{jk}
       \varphi(H_j), \qquad \dot g_c = \frac{\dot\alpha}\alpha g_c + \zeta\sum_j
       \sqrt{n_c}\,a_{jc}\varphi(H_j), \qquad
       H_j = \sum_k\omega_{jk}\nu_k + \sum_c\sqrt{n_c}\,\zeta_{jc}g_c + b_j . $$
    """
    data = classes_of(model)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    g = {c: symbol(f"g_{_mark(data, c)}") for c in data.patterns}
    units = {}
    for j in data.units:
        seen = sum(pair("omega", j, k) * symbol(f"nu_{k}") for k in data.units)
        seen += sum(
            sp.sqrt(data.count(c)) * data.own("zeta", j, c) * g[c]
            for c in data.patterns
        )
        units[j] = phi(model.autoencoder.activation, seen + symbol(f"b_{j}"))
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


def _mark(data: Classes, c: Pattern) -> str:
    return str(data.count(c)).removeprefix("n_")


def _along_mean(data: Classes, units: dict[int, sp.Expr], k: int) -> sp.Expr:
    r"""$\sum_j \sqrt{\rho_j}\,m_{jk}\varphi_j$: the push along the unit mean."""
    return sum(data.root(j) * pair("m", j, k) * unit for j, unit in units.items())


def projected(model: Model, window: Window) -> System:
    r"""The sampling flow reduced to the contrasts of the class means. (P1)-...

    The directions $v_T = \sum_c M_{cT}\bar x_c$ with $\sum_c M_{cT} = 0$ span every
    $w_j = \sum_T\theta_{jT}v_T$, $\theta_{jT} = \sum_c \chi_T(c) n_c\zeta_{jc}/\sigma$,
    so $Y_T = v_T\cdot X$ is autonomous,

    $$ \dot Y_T = \frac{\dot\alpha}\alpha Y_T + \zeta\sum_j \frac{v_T\cdot u_j}d
       \varphi(H_j), \qquad H_j = \sum_T\theta_{jT}Y_T + b_j, $$

    and $\nu_k(s) = \nu_k(0)\cdot$(free flow) $+ F_k(s)$. At the start $(\nu, Y)$ is
    Gaussian, $\mathrm{Cov}(Y_T, Y_{T'}) = \Gamma_{TT'}$, $\mathrm{Cov}(\nu_k, Y_T)$
    is $\sqrt{\rho_k}$ for $T = \{k\}$ and 0 otherwise (with no class empty), both
    times $\alpha(0)^2$. Exact.
    """
    data = classes_of(model)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    spread = data.contrasts()
    numbers = range(1, spread.cols + 1)
    unit = {
        j: phi(model.autoencoder.activation, _contrast_field(data, j))
        for j in data.units
    }
    pushes: dict[sp.Symbol, sp.Expr] = {}
    for t in numbers:
        along = {
            j: sum(
                spread[i, t - 1] * gain(data, j, c) for i, c in enumerate(data.patterns)
            )
            for j in data.units
        }
        pushes[symbol(f"Y_{t}")] = sum(
            sp.expand(along[j]) * unit[j] for j in data.units
        )
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
        steps=(_contrast_step(data),),
    ).check()


def _contrast_step(data: Classes) -> Step:
    names = ", ".join(
        f"Y_{i} for {'*'.join(f's_{k}' for k in t)}"
        for i, t in enumerate(data.contrast_subsets(), 1)
    )
    return Step(
        "By (R1) each `w` is a contrast of class means. Project `X` on the contrasts "
        f"dual to the products of signs ({names}): these projections are autonomous, "
        "`F_k` is what the flow adds to `nu_k`, and `Gamma` is their covariance at the "
        "start, in units of `alpha(0)^2`.",
    )


def _contrast_field(data: Classes, j: int) -> sp.Expr:
    r"""$H_j = \sum_T\theta_{jT}Y_T + b_j$; $\theta_{j\{k\}}$ is
    $\omega_{jk}/\sqrt{\rho_k}$.
    """
    total = symbol(f"b_{j}")
    for t, subset in enumerate(data.contrast_subsets(), 1):
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


def _covariances(data: Classes, spread: sp.Matrix) -> dict[sp.Symbol, sp.Expr]:
    r"""$\Gamma_{TT'} = \sum_{ce} M_{cT}(\bar x_c\cdot\bar x_e/d) M_{eT'}$."""
    gram = sp.Matrix([[data.gram(c, e) for e in data.patterns] for c in data.patterns])
    full = (spread.T * gram * spread).applyfunc(sp.factor)
    return {
        pair("Gamma", i + 1, k + 1): full[i, k]
        for i in range(full.rows)
        for k in range(i, full.cols)
    }
