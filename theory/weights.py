r"""A window in which features are decided: what is learned there, and how it samples.

The field of the hidden unit is O(1), the skip is not used (`c` vanishes), and the
overlaps `m, omega, b` carry the weight of the modes.
"""

from __future__ import annotations

from itertools import combinations, product

import sympy as sp

from ..errors import DerivationError
from .bayes import (
    HALF,
    Denoiser,
    named,
    parameters_of,
    posterior_sharpness,
    suffix,
    velocity_coefficients,
)
from .dilation import S_PHASE, Window
from .gaussian import mean_phi, mean_phi2, mean_product, phi, to_averages
from .loss import (
    ALPHA,
    BETA,
    Loss,
    at_large_d,
    gram_flow,
    in_window,
    population_groups,
    sample_groups,
    tidy,
)
from .model import D, Feature, Model
from .notation import symbol
from .system import Branch, Equation, Step, System

SAMPLES = tuple(symbol(x) for x in ("n", "n_plus", "ridge_u", "ridge_w"))


def gain(feature: Feature) -> sp.Expr:
    r"""$\frac12-\delta$: the power of `d` by which a feature beats one coordinate."""
    return HALF - feature.exponent


def window_parameters(model: Model, window: Window) -> tuple[sp.Symbol, ...]:
    """Target parameters of the window's features, sigma, kappa, sample sizes."""
    own: list[sp.Symbol] = []
    for j in window.features:
        feature = model.target.features[j - 1]
        own += [x for x in (feature.p, feature.rho) if isinstance(x, sp.Symbol)]
    own.append(model.target.sigma)
    own += [window.kappa] if window.kappa is not None else []
    own += SAMPLES if model.data.samples else ()
    own += [symbol("noise_draws")] if model.data.frozen_noise else []
    return tuple(own)


def make_loss(model: Model, j: int) -> Loss:
    """Return the loss (L1) of the unit that learns feature `j`."""
    feature = model.target.features[j - 1]
    samples = model.data.samples
    groups = sample_groups() if samples else population_groups(feature)
    return Loss(
        model.autoencoder,
        feature,
        model.target.sigma,
        groups,
        averaged_samples=not samples,
        suffix=suffix(model, j),
    )


# ---------------------------------------------------------------- population, Bayes


def bayes_learned(model: Model, window: Window) -> System:
    r"""The minimum of the population loss: the Bayes denoiser seen in the window.

    With one tanh unit and a bias for each feature the autoencoder contains (D1), so
    the exact coefficients are read off and the limit is taken of each. Status:
    asymptotic, relative rate $\beta$ of the window.
    """
    bayes = Denoiser(model, ALPHA, BETA)
    equations, label = [], 1
    for j in window.features:
        feature = model.target.features[j - 1]
        for name, exact in _bayes_values(bayes, feature, j):
            scale = D ** (_UNIT.get(name, 0) * window.alpha_size)
            value = in_window(exact * scale, window, gain(feature))
            equations.append(Equation(f"W{label}", named(model, name, j), value))
            label += 1
    first = gain(model.target.features[window.features[0] - 1])
    hat = in_window(bayes.skip * D ** (first + window.alpha_size), window, first)
    head = (
        Equation("W0", symbol("c"), sp.S.Zero),
        Equation("W0", symbol("c_hat"), sp.factor(hat)),
    )
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=head + tuple(equations),
        parameters=window_parameters(model, window),
        steps=(
            Step(
                "One tanh unit with a bias for each feature contains the Bayes "
                "denoiser (D1), so the population minimum is (D1) itself. Insert the "
                "window and let d grow, each overlap in its own power of d.",
            ),
        ),
    ).check()


_UNIT = {"omega": 1, "v": 1, "r": 2}
"""The power of the noise scale that an overlap with `w` carries."""


def _bayes_values(
    bayes: Denoiser, feature: Feature, j: int
) -> list[tuple[str, sp.Expr]]:
    r"""Exact values, from $u = (1-c\beta)\mu_j$ and $w = k_j\sqrt d\,\hat\mu_j$."""
    slope = bayes.slope(j)
    return [
        ("m", bayes.kept),
        ("omega", slope),
        ("b", feature.log_odds),
        ("q", bayes.kept**2),
        ("r", slope**2),
        ("v", bayes.kept * slope),
    ]


# ------------------------------------------------------------- stationarity problems


def learned(model: Model, window: Window) -> System:
    """Return what is learned in a feature window: closed, or a stationarity problem."""
    auto = model.autoencoder
    bayes = auto.activation == "tanh" and auto.bias and not model.data.samples
    if bayes:
        return bayes_learned(model, window)
    if len(model.target.features) > 1:
        raise DerivationError(
            "With several features the engine derives the population with one tanh unit "
            f"and a bias for each, but the model has activation {auto.activation!r}, "
            f"bias {auto.bias} and samples {model.data.samples}. Use one feature, or "
            'n = "inf" with tanh units.'
        )
    if model.target.features[0].exponent != 0 and model.data.samples:
        raise DerivationError(
            "With n samples a feature needs exponent 0: a sample's own noise has norm "
            "sqrt(d) and is resolved at tau ~ d^(-1/2), but the feature has exponent "
            f'{model.target.features[0].exponent}. Set it to 0, or n = "inf".'
        )
    if model.data.frozen_noise:
        return frozen_learned(model, window)
    return stationary_learned(model, window)


def window_loss(model: Model, window: Window, j: int) -> sp.Expr:
    """Loss of the unit of feature `j` per ``|mu|^2`` (population) or per sample, ``d -> oo``."""
    loss = make_loss(model, j)
    part = in_window(
        loss.unit_part() / loss.norm2, window, gain(loss.feature), loss.suffix
    )
    total = 1 + part
    if model.data.samples:
        ridge = symbol("ridge_u") * symbol("q") + symbol("ridge_w") * symbol("r")
        total = total + model.target.sigma**2 + ridge / symbol("n")
    return total


def stationary_learned(model: Model, window: Window) -> System:
    r"""The minimum of the window's loss over what the closed steps leave. (W1)-(W9)

    `u` enters quadratically and is eliminated; `w` lies along the difference of the
    class means when there is a bias (then only $\omega, b$ stay unknown).
    """
    total = window_loss(model, window, 1)
    readout = _readout(model, window, total)
    weights = _weights(model)
    # overlaps in the unknowns alone
    fixed = _substituted({**readout, **weights}, weights)
    objective = _put(total, fixed)
    unknowns = _unknowns(model)
    equations = tuple(
        Equation(f"W{i}", x, to_averages(sp.diff(objective, x)))
        for i, x in enumerate(unknowns, 1)
    )
    values = {**fixed, **_overlaps(model, window, fixed)}
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
        objective=to_averages(objective),
        branches=_saturated_branch(model, window, total, readout),
        domain=(symbol("omega") >= 0,) if symbol("omega") in unknowns else (),
        steps=_stationary_steps(model, total, readout, weights),
    ).check()


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
    """What the stationarity of `w` fixes in closed form: zeta, r (and the sign unit's scale)."""
    omega, r, v = _own(model, "omega", "r", "v")
    zetas = symbol("zeta_plus"), symbol("zeta_minus")
    found: dict[sp.Symbol, sp.Expr] = {}
    if model.data.samples and model.autoencoder.bias and not model.autoencoder.tied:
        found = dict(zip(zetas, mean_difference(model), strict=True))
    names = (omega, *zetas) if model.data.samples else (omega,)
    r_value = _put(_norm2(names, model), found)
    if model.autoencoder.activation == "sign":
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
    n, n_plus, sigma = symbol("n"), symbol("n_plus"), model.target.sigma
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
    found = () if auto.activation == "sign" else (omega,)
    if model.data.samples and (auto.tied or not auto.bias):
        found += (symbol("zeta_plus"), symbol("zeta_minus"))
    return (*found, b) if auto.bias else found


def _overlaps(
    model: Model, window: Window, fixed: dict[sp.Symbol, sp.Expr]
) -> dict[sp.Symbol, sp.Expr]:
    """`v` and the skip from the overlaps of `u` and `w`."""
    loss = make_loss(model, 1)
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
    power = gain(loss.feature) + window.alpha_size
    hat = in_window(loss.skip() * D**power, window, gain(loss.feature), loss.suffix)
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
    r"""The minimum with $|b| \to \infty$, $w = 0$: every field saturates alike."""
    if not model.autoencoder.bias or model.autoencoder.tied:
        return ()
    omega, r = _own(model, "omega", "r")
    zero = {omega: 0, r: 0, symbol("zeta_plus"): 0, symbol("zeta_minus"): 0}

    def at_infinity(expr: sp.Expr) -> sp.Expr:
        nodes = expr.replace(
            lambda e: hasattr(e, "standardised"),
            lambda e: e.args[0].replace(
                lambda x: x.func in (sp.tanh, sp.erf, sp.sign), lambda x: sp.S.One
            ),
        )
        return sp.factor(nodes.subs(zero))

    values = {x: at_infinity(value) for x, value in readout.items()}
    equations = tuple(Equation("W0", x, e) for x, e in values.items())
    objective = at_infinity(_put(total, readout))
    return (Branch("saturated", objective, equations),)


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
    how = "tied to w" if model.autoencoder.tied else "quadratic in u: minimise it"
    for x, value in readout.items():
        found.append(
            Step(f"The loss is {how}; this fixes", sp.Eq(x, to_averages(value)))
        )
    for x, value in weights.items():
        found.append(
            Step(
                "The loss sees w through its field alone; stationarity of w fixes",
                sp.Eq(x, value),
            )
        )
    return tuple(found)


def frozen_learned(model: Model, window: Window) -> System:
    r"""N samples with frozen noise: phase 1 is degenerate. (W1)-(W7)

    $w = \chi \sum s\,x_0$ over the noise draws fits every label at vanishing ridge
    cost, while the field of a fresh $X$ vanishes: `omega`, `r` go to 0, the weight is
    not learned and `b` is free. `u`, `c` are those of saturated labels.
    """
    from .variance import saturated_learned

    values = saturated_learned(model, ALPHA, BETA)
    x = window.alpha_size
    scaled = {ALPHA: window.alpha * D**x, BETA: window.beta * D ** (x - HALF)}
    hat = at_large_d((values["c"] * D ** (HALF + x)).subs(scaled, simultaneous=True))
    limits = {
        name: at_large_d(values[name].subs(scaled, simultaneous=True))
        for name in ("m", "q", "a", "e")
    }
    known = {"c": sp.S.Zero, "c_hat": hat, **limits, "omega": sp.S.Zero, "r": sp.S.Zero}
    known |= {"b": sp.nan, "v": sp.S.Zero}
    return System(
        name="learned",
        kind="closed",
        time=S_PHASE,
        equations=tuple(
            Equation(f"W{i}", symbol(name), value, "degenerate")
            for i, (name, value) in enumerate(known.items(), 1)
        ),
        parameters=window_parameters(model, window),
        status="degenerate",
        steps=(
            Step(
                "With frozen noise the rows s_i x0_i are orthogonal: w = (K/sqrt(d)) "
                "sum s_i x0_i gives every training row a field K s_i at ridge cost "
                "ridge_w n K^2/d -> 0, so the labels are fitted and the unit saturates "
                "on the training rows. The field of a fresh X is O(K/sqrt(d)): p is "
                "not learned and b is undetermined.",
            ),
        ),
    ).check()


# --------------------------------------------------------------------- sampling flow


def sampling(model: Model, window: Window, solved: System) -> System | None:
    r"""The flow of the sample's overlaps through the window. (S1)-(S3)

    $$ \dot\nu = \frac{\dot\alpha}{\alpha}\nu + \zeta\sqrt\rho\, m\,\varphi(H), \qquad
       H = \omega\nu + b, \qquad \zeta = \dot\beta - \dot\alpha\beta/\alpha, $$

    and, with samples, the same for $g_\pm$ with $\sqrt{n_\pm} a_\pm$ for `m`, and
    $H = \omega\nu + \sqrt{n_+}\zeta_+ g_+ + \sqrt{n_-}\zeta_- g_- + b$.
    """
    if model.data.frozen_noise:
        return None
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    if model.data.samples:
        return _sample_flow(model, window, rate, drive)
    closed = solved.kind == "closed"
    equations, inputs = [], []
    for i, j in enumerate(window.features, 1):
        nu, m, omega, b = (named(model, x, j) for x in ("nu", "m", "omega", "b"))
        given = {x: solved[str(x)] for x in (m, omega, b)} if closed else {}
        inputs += [] if closed else [m, omega, b]
        rho = model.target.features[j - 1].rho
        unit = phi(model.autoencoder.activation, omega * nu + b)
        rhs = rate * nu + drive * sp.sqrt(rho) * m * unit
        equations.append(Equation(f"S{i}", nu, rhs.subs(given)))
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=tuple(equations),
        parameters=window_parameters(model, window),
        inputs=tuple(inputs),
        solution=_population_shares(model, window) if closed else (),
        steps=(
            Step(
                "The velocity is (alpha'/alpha) X + zeta f(X); the skip is of higher "
                "order here. Project on the unit vector along each mean, in units of "
                "the noise; each projection starts as N(0, alpha(0)^2).",
            ),
        ),
    ).check()


def _population_shares(model: Model, window: Window) -> tuple[Equation, ...]:
    r"""$p^\kappa = p\,\Phi(\sqrt{\Lambda}) + (1-p)\,\Phi(-\sqrt{\Lambda})$ at time `s`. (S0)

    The flow carries $N(0, \alpha_0^2)$ to the law of the interpolant,
    $p N(\beta\sqrt\rho, \alpha^2) + (1-p) N(-\beta\sqrt\rho, \alpha^2)$.
    """
    found = []
    for j in window.features:
        feature = model.target.features[j - 1]
        root = sp.sqrt(feature.rho) * window.beta / (window.alpha * sp.sqrt(2))
        share = sp.Rational(1, 2) + (feature.p - HALF) * sp.erf(root)
        found.append(Equation("S0", named(model, "share_plus", j), share, "exact"))
    return tuple(found)


def _sample_flow(model: Model, window: Window, rate: sp.Expr, drive: sp.Expr) -> System:
    names = ("omega", "b", "m", "a_plus", "a_minus", "zeta_plus", "zeta_minus")
    omega, b, m, a_p, a_m, z_p, z_m = (symbol(x) for x in names)
    root_p, root_m = _roots()
    nu, g_p, g_m = (symbol(x) for x in ("nu", "g_plus", "g_minus"))
    field = omega * nu + root_p * z_p * g_p + root_m * z_m * g_m + b
    unit = phi(model.autoencoder.activation, field)
    pushes = {nu: m, g_p: root_p * a_p, g_m: root_m * a_m}
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=tuple(
            Equation(f"S{i}", x, rate * x + drive * push * unit)
            for i, (x, push) in enumerate(pushes.items(), 1)
        ),
        parameters=window_parameters(model, window),
        inputs=tuple(symbol(x) for x in names),
        steps=(
            Step(
                "Project the velocity on the mean and on the summed noises of the two "
                "classes; the three projections of X start as independent N(0, 1).",
            ),
        ),
    ).check()


def _roots() -> tuple[sp.Expr, sp.Expr]:
    n, n_plus = symbol("n"), symbol("n_plus")
    return sp.sqrt(n_plus), sp.sqrt(n - n_plus)


def projected(model: Model, window: Window, flow: System | None) -> System | None:
    r"""The three-dimensional sampling flow of n samples, reduced to one dimension. (S4)

    With a bias `w` keeps one direction, so the field is $H = \omega Y + b$ with
    $Y = \nu + k_+ g_+ + k_- g_-$, $k_\pm = \sqrt{n_\pm}\zeta_\pm/\omega$ constant, and
    $Y$ is autonomous. $\Gamma = 1 + k_+^2 + k_-^2$ is its variance at the start;
    $\nu(s) = \nu(0)\cdot$(free flow) $+ F(s)$ and $\nu(0)|Y(0) \sim N(Y/\Gamma,
    1-1/\Gamma)$: the share of the + mode is a one-dimensional integral. Exact.
    """
    auto = model.autoencoder
    if flow is None or not model.data.samples or not auto.bias or auto.tied:
        return None
    omega, b, big_y = symbol("omega"), symbol("b"), symbol("Y")
    root_p, root_m = _roots()
    slopes = [e / omega for e in mean_difference(model)]
    k_p, k_m = root_p * slopes[0], root_m * slopes[1]
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    push = (
        symbol("m") + k_p * root_p * symbol("a_plus") + k_m * root_m * symbol("a_minus")
    )
    unit = phi(auto.activation, omega * big_y + b)
    gamma = sp.factor(1 + k_p**2 + k_m**2)
    return System(
        name="projected",
        kind="flow",
        time=S_PHASE,
        equations=(
            Equation("S4", big_y, rate * big_y + drive * sp.simplify(push) * unit),
            Equation(
                "S5", symbol("F"), rate * symbol("F") + drive * symbol("m") * unit
            ),
        ),
        observables=(Equation("S6", symbol("Gamma"), gamma, "exact"),),
        parameters=window_parameters(model, window),
        inputs=tuple(symbol(x) for x in ("omega", "b", "m", "a_plus", "a_minus")),
        initial=((symbol("F"), sp.S.Zero),),
    ).check()


# --------------------------------------------------------------------- training flow


def training(model: Model, window: Window) -> System | None:
    r"""Gradient flow of the overlaps in training time, at a fixed `s`. (G6)

    $\dot u = -\frac d2\nabla_u$, $\dot w = -\frac d2\nabla_w$, $\dot b = -\frac12
    \partial_b$ of the loss per dimension; the overlaps close by the Gram rule (G5).
    """
    auto = model.autoencoder
    if model.data.frozen_noise or auto.tied or auto.activation == "sign":
        return None
    if len(window.features) > 1:
        return _several_units(model, window)
    j = window.features[0]
    total = window_loss(model, window, j)
    rho = model.target.features[j - 1].rho
    m, q, omega, r, b = (named(model, x, j) for x in ("m", "q", "omega", "r", "b"))
    gram = sp.Matrix([[q, sp.Dummy("v"), m], [0, r, omega], [0, 0, 1]])
    scaled: dict[sp.Symbol, sp.Expr] = {}
    if model.data.samples:
        gram, scaled = _sample_gram(gram)
    gram = sp.Matrix(
        gram.shape[0], gram.shape[0], lambda i, k: gram[min(i, k), max(i, k)]
    )
    back = {dummy: root * x for x, (dummy, root) in scaled.items()}
    raw = rho * total.subs({x: dummy / root for x, (dummy, root) in scaled.items()})
    flow = gram_flow(raw, gram, 2, (1 / rho, sp.S.One))
    where = {str(gram[i, k]): (i, k) for i in range(2) for k in range(i, gram.shape[0])}
    rows: dict[sp.Symbol, sp.Expr] = {}
    for x in (
        m,
        *(y for y in scaled if str(y)[0] == "a"),
        q,
        omega,
        *(y for y in scaled if str(y)[0] == "z"),
        r,
    ):
        dummy, root = scaled.get(x, (x, sp.S.One))
        rows[x] = sp.expand(flow[where[str(dummy)]].subs(back) / root)
    if auto.bias:
        rows[b] = -rho * sp.diff(total, b) / 2
    domain = () if model.data.samples else (m**2 <= q, omega**2 <= r)
    rows = {x: tidy(to_averages(rhs)) for x, rhs in rows.items()}
    return _training_system(model, window, rows, domain)


def _sample_gram(gram: sp.Matrix) -> tuple[sp.Matrix, dict]:
    """Add the summed noises of the two classes as data vectors of norm sqrt(d)."""
    roots = _roots()
    names = (("a_plus", "a_minus"), ("zeta_plus", "zeta_minus"))
    scaled = {
        symbol(name): (sp.Dummy(name), root)
        for row in names
        for name, root in zip(row, roots, strict=True)
    }
    wide = sp.eye(5)
    wide[:3, :3] = gram
    for i, row in enumerate(names):
        for k, name in enumerate(row):
            wide[i, 3 + k] = scaled[symbol(name)][0]
    return wide, scaled


def _training_system(
    model: Model,
    window: Window,
    rows: dict[sp.Symbol, sp.Expr],
    domain: tuple[sp.Basic, ...] = (),
) -> System:
    return System(
        name="training",
        kind="flow",
        time=symbol("train_time"),
        equations=tuple(
            Equation(f"G{i}", x, rhs) for i, (x, rhs) in enumerate(rows.items(), 6)
        ),
        parameters=(*window_parameters(model, window), S_PHASE),
        domain=domain,
        steps=(
            Step(
                "Differentiate the window's loss in the overlaps and apply the Gram "
                "rule (G5); v does not enter the loss and is left out.",
            ),
        ),
    ).check()


def _several_units(model: Model, window: Window) -> System:
    """Training flow of the units of a shared window, all overlaps between them kept."""
    numbers, count = window.features, len(window.features)
    loss = _several_loss(model, window)
    gram = sp.eye(3 * count)
    for (i, j), (k, n) in product(enumerate(numbers), repeat=2):
        gram[i, k] = _pair("q", *sorted((j, n)))
        gram[count + i, count + k] = _pair("r", *sorted((j, n)))
        gram[i, count + k] = gram[count + k, i] = sp.Dummy(f"v_{j}_{n}")
        gram[i, 2 * count + k] = gram[2 * count + k, i] = _pair("m", j, n)
        gram[count + i, 2 * count + k] = gram[2 * count + k, count + i] = _pair(
            "omega", j, n
        )
    rho = [model.target.features[j - 1].rho for j in numbers]
    rates = tuple(1 / x for x in rho) + (sp.S.One,) * count
    flow = gram_flow(loss, gram, 2 * count, rates)
    rows = {
        gram[i, k]: flow[i, k]
        for i in range(2 * count)
        for k in range(i, 3 * count)
        if not isinstance(gram[i, k], sp.Dummy)
    }
    for j in numbers:
        b = symbol(f"b_{j}")
        rows[b] = -sp.diff(loss, b) / 2
    rows = {x: to_averages(rhs) for x, rhs in rows.items()}
    return _training_system(model, window, rows)


def _pair(name: str, j: int, k: int) -> sp.Symbol:
    """``m_1`` for unit 1 with mean 1, ``m_1_2`` for unit 1 with mean 2."""
    return symbol(f"{name}_{j}" if j == k else f"{name}_{j}_{k}")


def _several_loss(model: Model, window: Window) -> sp.Expr:
    r"""Loss in units of $d^{1-2\delta}$ of the units of a shared window. (L3)

    $$ \sum_l \rho_l + \mathbb E_s\Big[ -2\sum_{kl} \sqrt{\rho_k\rho_l}\, s_l
       m_{kl}\, \mathbb E\varphi_k + \sum_{kl} \sqrt{\rho_k\rho_l}\, q_{kl}\,
       \mathbb E\varphi_k\varphi_l \Big], $$

    with correlated fields of mean $\beta\sum_l\sqrt{\rho_l}s_l\omega_{kl} + b_k$ and
    covariance $\alpha^2 r_{kl}$, averaged over the sign patterns $s$.
    """
    kind, numbers = model.autoencoder.activation, window.features
    features = {j: model.target.features[j - 1] for j in numbers}
    root = {j: sp.sqrt(f.rho) for j, f in features.items()}
    total = sum(f.rho for f in features.values())
    for signs in product((1, -1), repeat=len(numbers)):
        s = dict(zip(numbers, signs, strict=True))
        weight = sp.Mul(*(f.p if s[j] == 1 else 1 - f.p for j, f in features.items()))
        mean = {
            k: window.beta * sum(root[x] * s[x] * _pair("omega", k, x) for x in numbers)
            + symbol(f"b_{k}")
            for k in numbers
        }
        cov = {
            (k, x): window.alpha**2 * _pair("r", *sorted((k, x)))
            for k, x in product(numbers, repeat=2)
        }
        for k in numbers:
            target = sum(root[x] * s[x] * _pair("m", k, x) for x in numbers)
            total += weight * (
                -2 * root[k] * target * mean_phi(kind, mean[k], cov[k, k])
                + features[k].rho
                * symbol(f"q_{k}")
                * mean_phi2(kind, mean[k], cov[k, k])
            )
        for k, x in combinations(numbers, 2):
            both = mean_product(
                kind, (mean[k], mean[x]), (cov[k, k], cov[k, x], cov[x, x])
            )
            total += 2 * weight * root[k] * root[x] * _pair("q", k, x) * both
    return total


# ------------------------------------------------------------------------------- MSE


def mse(model: Model, window: Window, decided: tuple[int, ...]) -> System:
    r"""Bayes error per dimension inside the window, ``d -> oo``. (E2)

    $$ \sigma^2 + \sum_{\delta_j=0} \rho_j \big(1 - \mathbb E\tanh^2(h_j +
       \Lambda_j s_j + \sqrt{\Lambda_j}\,g)\big), \qquad
       \Lambda_j = \rho_j\beta^2/\alpha^2 ; $$

    a decided feature has $\Lambda = \infty$. `mse_jump` is the drop at
    $\tau = 0^+$ of the undilated error, $\sum 4\rho_j p_j(1-p_j)$.
    """
    value, jump = model.target.sigma**2, sp.S.Zero
    for j, feature in enumerate(model.target.features, 1):
        if feature.exponent == 0:
            jump += 4 * feature.rho * feature.p * (1 - feature.p)
        if feature.exponent == 0 and j not in decided:
            snr = feature.rho * window.beta**2 / window.alpha**2
            inside = snr if j in window.features else sp.S.Zero
            value += feature.rho * (1 - posterior_sharpness(feature, inside))
    return System(
        name="mse",
        kind="closed",
        time=S_PHASE,
        equations=(Equation("E2", symbol("mse"), to_averages(value)),),
        observables=(Equation("E3", symbol("mse_jump"), jump),),
        parameters=tuple(
            dict.fromkeys(parameters_of(model) + window_parameters(model, window))
        ),
    ).check()
