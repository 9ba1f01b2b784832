r"""How samples move through a feature window: the flow of a few projections."""

from __future__ import annotations

import sympy as sp

from ..models.classes import Classes, classes_of
from ..models.model import Model, named
from ..symbols.gaussian import phi
from ..symbols.system import Equation, Step, System, numbered, said
from ..windows.search import S_PHASE, Window
from .denoiser import HALF, velocity_coefficients
from .loss import window_parameters


def population(model: Model, window: Window, solved: System) -> System:
    r"""The flow of the sample's overlaps through the window. (S1)-(S3)

    $$ \dot\nu = \frac{\dot\alpha}{\alpha}\nu + \zeta\sqrt\rho\, m\,\varphi(H), \qquad
       H = \omega\nu + b, \qquad \zeta = \dot\beta - \dot\alpha\beta/\alpha, $$

    for each feature of the window. `solved` is what is learned there.
    """
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    closed = solved.kind == "closed"
    flows: dict[sp.Symbol, sp.Expr] = {}
    inputs = []
    for j in window.features:
        nu, m, omega, b = (named(model, x, j) for x in ("nu", "m", "omega", "b"))
        given = {x: solved[str(x)] for x in (m, omega, b)} if closed else {}
        inputs += [] if closed else [m, omega, b]
        rho = model.target.features[j - 1].rho
        unit = phi(model.autoencoder.activation, omega * nu + b)
        rhs = rate * nu + drive * sp.sqrt(rho) * m * unit
        flows[nu] = rhs.subs(given)
    return System(
        name="sampling",
        kind="flow",
        time=S_PHASE,
        equations=numbered("S", flows),
        parameters=window_parameters(model, window),
        inputs=tuple(inputs),
        solution=_population_shares(model, window) if closed else (),
        steps=said(
            "The velocity is `(alpha'/alpha) X + (beta' - alpha' beta/alpha) "
            "f(X)`; the skip is of higher order here. Project on the unit vector "
            "along each mean, in units of the noise; in the first window each "
            "starts as `N(0, alpha(0)^2)`."
        ),
    ).check()


def _population_shares(model: Model, window: Window) -> tuple[Equation, ...]:
    r"""$p\,\Phi(\sqrt{\Lambda}) + (1-p)\,\Phi(-\sqrt{\Lambda})$ at time `s`. (Q1)

    The flow carries $N(0, \alpha_0^2)$ to the law of the interpolant,
    $p N(\beta\sqrt\rho, \alpha^2) + (1-p) N(-\beta\sqrt\rho, \alpha^2)$.
    """
    found: list[Equation] = []
    for j in window.features:
        feature = model.target.features[j - 1]
        root = sp.sqrt(feature.rho) * window.beta / (window.alpha * sp.sqrt(2))
        share = sp.Rational(1, 2) + (feature.p - HALF) * sp.erf(root)
        label = f"Q{len(found) + 1}"
        found.append(Equation(label, named(model, "share_plus", j), share, "exact"))
    return tuple(found)


def samples(model: Model, window: Window, _solved: System) -> System:
    r"""The flow of a sample's overlaps with the means and the class noises. (S1)-...

    $$ \dot\nu_k = \frac{\dot\alpha}\alpha\nu_k + \zeta\sum_j\sqrt{\rho_j}\,m_{jk}
       \varphi(H_j), \qquad \dot g_c = \frac{\dot\alpha}\alpha g_c + \zeta\sum_j
       \sqrt{n_c}\,a_{jc}\varphi(H_j), \qquad
       H_j = \sum_k\omega_{jk}\nu_k + \sum_c\sqrt{n_c}\,\zeta_{jc}g_c + b_j . $$
    """
    data = classes_of(model)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    nu, g = {k: data.of("nu", k) for k in data.units}, data.projections
    roots = {c: sp.sqrt(data.count(c)) for c in data.patterns}
    units = {}
    for j in data.units:
        along = sp.Add(*(data.pair("omega", j, k) * x for k, x in nu.items()))
        own = (root * data.own("zeta", j, c) * g[c] for c, root in roots.items())
        field = along + sp.Add(*own) + data.bias(j)
        units[j] = phi(model.autoencoder.activation, field)
    pushes = {x: _along_mean(data, units, k) for k, x in nu.items()}
    for c, root in roots.items():
        own = (data.own("a", j, c) * unit for j, unit in units.items())
        pushes[g[c]] = root * sp.Add(*own)
    equations = numbered("S", {x: rate * x + drive * e for x, e in pushes.items()})
    names = window_parameters(model, window)
    inputs = tuple(data.each("omega", "zeta", "b", "m", "a"))
    steps = said(
        "Project the velocity on the means and on the summed noises of each "
        "class; these projections of `X` start as independent `N(0, "
        "alpha(0)^2)`."
    )
    return System(
        "sampling", "flow", S_PHASE, equations, names, inputs=inputs, steps=steps
    ).check()


def _along_mean(data: Classes, units: dict[int, sp.Expr], k: int) -> sp.Expr:
    r"""$\sum_j \sqrt{\rho_j}\,m_{jk}\varphi_j$: the push along the unit mean."""
    pushes = (data.root(j) * data.pair("m", j, k) * x for j, x in units.items())
    return sp.Add(*pushes)


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
    times $\alpha(0)^2$. Exact. (S4)-(S6) for two modes, where one direction is left:
    $H = \omega Y + b$.
    """
    data = classes_of(model)
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    spread = data.directions()
    unit = {
        j: phi(model.autoencoder.activation, _reduced_field(data, j))
        for j in data.units
    }
    pushes = {}
    for t in range(spread.cols):
        along = {j: _along(data, spread.col(t), j) for j in data.units}
        pushes[data.of("Y", t + 1)] = sp.Add(*(x * unit[j] for j, x in along.items()))
    gains = {data.of("F", k): _along_mean(data, unit, k) for k in data.units}
    pushes |= gains
    flows = {x: rate * x + drive * push for x, push in pushes.items()}
    used = sp.Tuple(*pushes.values()).free_symbols
    covariances = _covariances(data, spread)
    letter, first = ("P", 1) if data.counted else ("S", 4)
    return System(
        name="projected",
        kind="flow",
        time=S_PHASE,
        equations=numbered(letter, flows, first),
        observables=numbered(letter, covariances, first + len(flows), "exact"),
        parameters=window_parameters(model, window),
        inputs=tuple(x for x in data.each("omega", "zeta", "b", "m", "a") if x in used),
        initial=tuple((x, sp.S.Zero) for x in gains),
        steps=(_reduction_step(data),),
    ).check()


def _reduction_step(data: Classes) -> Step:
    if not data.counted:
        return Step(
            "`w` lies along the difference of the class means, so that with `Y` the "
            "projection `w.X` in units in which `omega` is its factor, the field is "
            "`omega Y + b`: `Y` is autonomous, `F` is what the flow adds to `nu`, and "
            "`Gamma` is the variance of `Y` at the start, in units of `alpha(0)^2`."
        )
    names = ", ".join(
        f"`Y_{i}` for `{' '.join(f'y_{k}' for k in t) or 1}`"
        for i, t in enumerate(data.direction_subsets(), 1)
    )
    which = "contrast" if data.closed else "combination"
    by = "By (R1) each" if data.closed else "Each"
    return Step(
        f"{by} `w` is a {which} of class means. Project `X` on the {which}s "
        f"dual to the products of signs ({names}): these projections are autonomous, "
        "`F_k` is what the flow adds to `nu_k`, and `Gamma` is their covariance at the "
        "start, in units of `alpha(0)^2`."
    )


def _reduced_field(data: Classes, j: int) -> sp.Expr:
    r"""$H_j = \sum_T\theta_{jT}Y_T + b_j$; $\theta_{j\{k\}}$ is
    $\omega_{jk}/\sqrt{\rho_k}$.
    """
    total = data.bias(j)
    for t, subset in enumerate(data.direction_subsets(), 1):
        if len(subset) == 1:
            theta = data.pair("omega", j, subset[0]) / data.root(subset[0])
        else:
            theta = sum(
                chi * data.count(c) * data.own("zeta", j, c)
                for chi, c in zip(data.characters(subset), data.patterns, strict=True)
            )
            theta = theta / data.sigma
        total += theta * data.of("Y", t)
    return total


def _along(data: Classes, direction: sp.Matrix, j: int) -> sp.Expr:
    r"""$v_T\cdot u_j/d$ for the direction $v_T = \sum_c M_{cT}\bar x_c$."""
    means = sum(
        data.root(j) * data.root(k) * x * data.pair("m", j, k)
        for k, x in zip(data.units, _on_means(data, direction), strict=True)
    )
    noises = sum(
        x * data.own("a", j, c) for x, c in zip(direction, data.patterns, strict=True)
    )
    return means + data.sigma * noises


def _on_means(data: Classes, direction: sp.Matrix) -> list[sp.Expr]:
    """The components of a direction along the means, in units of the means."""
    rows = list(zip(direction, data.patterns, strict=True))
    return [sum(x * c[k - 1] for x, c in rows) for k in data.units]


def _covariances(data: Classes, spread: sp.Matrix) -> dict[sp.Symbol, sp.Expr]:
    r"""$\Gamma_{TT'} = \sum_k\rho_k(M^Ts)_{Tk}(M^Ts)_{T'k} + \sigma^2\sum_c
    M_{cT}M_{cT'}/n_c$, the inner products $v_T\cdot v_{T'}/d$.
    """
    columns = [spread.col(t) for t in range(spread.cols)]
    means = [_on_means(data, x) for x in columns]
    counts = [data.count(c) for c in data.patterns]
    found = {
        data.pair("Gamma", i + 1, k + 1): sum(
            data.rho(f) * x * y
            for f, x, y in zip(data.units, means[i], means[k], strict=True)
        )
        + data.sigma**2
        * sum(x * y / n for x, y, n in zip(columns[i], columns[k], counts, strict=True))
        for i in range(spread.cols)
        for k in range(i, spread.cols)
    }
    return found if data.counted else {x: sp.factor(e) for x, e in found.items()}
