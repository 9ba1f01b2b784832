r"""How samples move through a feature window: the flow of a few projections."""

from __future__ import annotations

import sympy as sp

from ..models.model import Model, named
from ..symbols.gaussian import phi
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.search import S_PHASE, Window
from .denoiser import HALF, velocity_coefficients
from .loss import window_parameters
from .stationary import mean_difference


def population(model: Model, window: Window, solved: System) -> System:
    r"""The flow of the sample's overlaps through the window. (S1)-(S3)

    $$ \dot\nu = \frac{\dot\alpha}{\alpha}\nu + \zeta\sqrt\rho\, m\,\varphi(H), \qquad
       H = \omega\nu + b, \qquad \zeta = \dot\beta - \dot\alpha\beta/\alpha, $$

    for each feature of the window. `solved` is what is learned there.
    """
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
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
                "The velocity is `(alpha'/alpha) X + (beta' - alpha' beta/alpha) "
                "f(X)`; the skip is of higher order here. Project on the unit vector "
                "along each mean, in units of the noise; in the first window each "
                "starts as `N(0, alpha(0)^2)`.",
            ),
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


def two_modes(model: Model, window: Window, _solved: System) -> System:
    r"""The flow of the sample's overlaps with the mean and both noises. (S1)-(S3)

    $$ \dot\nu = \frac{\dot\alpha}{\alpha}\nu + \zeta\, m\,\varphi(H), \qquad
       \dot g_\pm = \frac{\dot\alpha}{\alpha} g_\pm + \zeta\sqrt{n_\pm}\,
       a_\pm\varphi(H), \qquad
       H = \omega\nu + \sqrt{n_+}\zeta_+ g_+ + \sqrt{n_-}\zeta_- g_- + b . $$
    """
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    names = ("omega", "b", "m", "a_plus", "a_minus", "zeta_plus", "zeta_minus")
    omega, b, m, a_p, a_m, z_p, z_m = (symbol(x) for x in names)
    root_p, root_m = class_roots()
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
                "classes; the three projections of `X` start as independent `N(0, 1)`.",
            ),
        ),
    ).check()


def class_roots() -> tuple[sp.Expr, sp.Expr]:
    r"""$\sqrt{n_+}$ and $\sqrt{n_-}$."""
    n, n_plus = symbol("n"), symbol("n_plus")
    return sp.sqrt(n_plus), sp.sqrt(n - n_plus)


def projected(model: Model, window: Window) -> System:
    r"""The three-dimensional sampling flow of n samples, reduced to one dimension. (S4)

    With a bias `w` keeps one direction, so the field is $H = \omega Y + b$ with
    $Y = \nu + k_+ g_+ + k_- g_-$, $k_\pm = \sqrt{n_\pm}\zeta_\pm/\omega$ constant, and
    $Y$ is autonomous. $\Gamma = 1 + k_+^2 + k_-^2$ is its variance at the start;
    $\nu(s) = \nu(0)\cdot$(free flow) $+ F(s)$ and $\nu(0)|Y(0) \sim N(Y/\Gamma,
    1-1/\Gamma)$: the share of the + mode is a one-dimensional integral. Exact.
    """
    omega, b, big_y = symbol("omega"), symbol("b"), symbol("Y")
    root_p, root_m = class_roots()
    slopes = [e / omega for e in mean_difference(model)]
    k_p, k_m = root_p * slopes[0], root_m * slopes[1]
    rate, drive = velocity_coefficients(window.alpha, window.beta, S_PHASE, sp.S.Zero)
    push = (
        symbol("m") + k_p * root_p * symbol("a_plus") + k_m * root_m * symbol("a_minus")
    )
    unit = phi(model.autoencoder.activation, omega * big_y + b)
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
