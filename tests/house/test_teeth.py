"""Teeth: each oracle accepts the derived system and rejects every perturbed one.

The oracles are formulas written by hand (NumPy quadrature, explicit vectors, least
squares, complex-step derivatives), not printed from the engine. A perturbation
flips a sign, doubles a term, drops a factor of d, swaps overlaps or takes the wrong
ridge in one equation; `System.replaced` puts it in place.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import sympy as sp
from dilaton.theory.symbols.gaussian import Average, G
from dilaton.theory.symbols.notation import symbol
from scipy.integrate import solve_ivp
from scipy.special import erf, expit
from scipy.stats import norm

from ..cases import gauss, limit_of
from ..oracles import mixture

NEAR = 1e-8  # two ways to the same double, through quadrature and complex steps
STEP = 1e-30  # of a complex-step derivative, which has no truncation error
FLOW = 1e-6  # solve_ivp at 1e-9 through a window that amplifies errors a little

# --------------------------------------------------- an evaluator of its own


SWAPS = [
    ("m", "q"),
    ("omega", "r"),
    ("m", "omega"),
    ("a_plus", "a_minus"),
    ("zeta_plus", "zeta_minus"),
    ("g_plus", "g_minus"),
    ("a_plus", "zeta_plus"),
    ("M", "S"),
]
ELSEWHERE = {  # for symbols that only a perturbation brings into an equation
    name: 0.37 + 0.11 * i
    for i, name in enumerate(
        [
            "m",
            "q",
            "omega",
            "r",
            "a_plus",
            "a_minus",
            "zeta_plus",
            "zeta_minus",
            "g_plus",
            "g_minus",
            "M",
            "S",
        ]
    )
} | {"ridge_u": 0.83, "ridge_w": 1.9}


@lru_cache(maxsize=4096)
def integrand_of(node):
    names = sorted(node.free_symbols, key=str)
    return [str(x) for x in names], sp.lambdify([G, *names], node.integrand, "numpy")


@lru_cache(maxsize=4096)
def compiled(expr):
    nodes = list(expr.atoms(Average))
    values = [sp.Symbol(f"average_{i}") for i in range(len(nodes))]
    flat = expr.xreplace(dict(zip(nodes, values, strict=True)))
    names = sorted(flat.free_symbols - set(values), key=str)
    outer = sp.lambdify([*names, *values], flat, ["numpy", {"erf": erf}])
    return [str(x) for x in names], [integrand_of(node) for node in nodes], outer


def number(expr, point):
    """The value of an expression with averages at a point given by names."""
    point = ELSEWHERE | point
    names, inner, outer = compiled(sp.sympify(expr))
    means = [
        gauss(lambda g, f=f, own=own: f(g, *(point[x] for x in own)) + 0 * g)
        for own, f in inner
    ]
    return outer(*(point[name] for name in names), *means)


def agree(system, point, hand, rtol=NEAR):
    """Every quantity of `hand` has that value in the system."""
    assert set(hand) <= set(system.names)
    for name, value in hand.items():
        np.testing.assert_allclose(
            number(system[name], point),
            value,
            rtol=rtol,
            atol=1e-9,
            err_msg=f"{system.name}: {name}",
        )


def slope(f, point, name):
    """df/dx by the complex step."""
    return f(point | {name: point[name] + 1j * STEP}).imag / STEP


def mode_averages(k, x, power):
    """E tanh^power of the two modes' fields, N(+-k omega + b, r)."""

    def mean(sign):
        return gauss(
            lambda g: (
                np.tanh(sign * k * x["omega"] + x["b"] + np.sqrt(x["r"]) * g) ** power
            )
        )

    return mean(1), mean(-1)


# ---------------------------------------------------------------------- the population

POINTS = [
    {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "s": 0.75},
    {"p": 0.35, "sigma": 0.6, "kappa": 1.3, "s": 0.4},
]
STATES = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.15}


def overlaps_of_the_population(system):
    for x in POINTS:
        k, sigma = x["kappa"] * x["s"], x["sigma"]
        h = np.log(x["p"] / (1 - x["p"])) / 2
        hand = {"c": 0, "c_hat": k * sigma**2, "m": 1, "omega": k, "b": h}
        agree(system, x, hand | {"q": 1, "r": k**2, "v": k})


def velocity_of_the_population(system):
    for x, nu in zip(POINTS, (0.7, -1.1), strict=True):
        k, h = x["kappa"], np.log(x["p"] / (1 - x["p"])) / 2
        hand = {"nu": k * np.tanh(k * x["s"] * nu + h)}
        agree(system, x | {"nu": nu}, hand)


def law_of_the_interpolant(system):
    """The flow carries N(0, 1) to p N(ks, 1) + (1-p) N(-ks, 1) at every s."""
    start = np.linspace(-3, 3, 13)
    for x in POINTS:

        def speed(s, nu, x=x):
            return number(system["nu"], x | {"s": s, "nu": nu}) + 0 * nu

        found = solve_ivp(
            speed, (1e-12, 1), start, t_eval=[0.3, 0.7, 1.0], rtol=1e-9, atol=1e-11
        )
        assert found.success
        for s, nu in zip(found.t, found.y.T, strict=True):
            k, p = x["kappa"] * s, x["p"]
            law = mixture(nu, k, p)
            np.testing.assert_allclose(law, norm.cdf(start), atol=FLOW)


def population_loss(x):
    """1 + sigma^2 - 2 m E[s tanh] + q E[tanh^2]."""
    up, down = mode_averages(x["kappa"] * x["s"], x, 1)
    up2, down2 = mode_averages(x["kappa"] * x["s"], x, 2)
    first = x["p"] * up - (1 - x["p"]) * down
    second = x["p"] * up2 + (1 - x["p"]) * down2
    return 1 + x["sigma"] ** 2 - 2 * x["m"] * first + x["q"] * second


def training_of_the_population(system):
    """The flow of the overlaps, from explicit vectors u = (m, u'), w = (omega, w')."""
    for x in POINTS:
        x = x | STATES
        d = {name: slope(population_loss, x, name) for name in STATES}
        # u' and w' are orthogonal to the mean: x -> -(1/2) grad, then the squares
        m = -(d["m"] + 2 * x["m"] * d["q"]) / 2
        omega = -(d["omega"] + 2 * x["omega"] * d["r"]) / 2
        u_rest, w_rest = x["q"] - x["m"] ** 2, x["r"] - x["omega"] ** 2
        hand = {
            "m": m,
            "q": 2 * x["m"] * m - 2 * u_rest * d["q"],
            "omega": omega,
            "r": 2 * x["omega"] * omega - 2 * w_rest * d["r"],
            "b": -d["b"] / 2,
        }
        agree(system, x, hand)


def error_in_the_window(system):
    for x in POINTS:
        k, p = x["kappa"] * x["s"], x["p"]
        h = np.log(p / (1 - p)) / 2
        up, down = (
            gauss(lambda g, z=z: np.tanh(h + z * k**2 + k * g) ** 2)  # noqa: B023
            for z in (1, -1)
        )
        sharp = p * up + (1 - p) * down
        hand = {"mse": 1 + x["sigma"] ** 2 - sharp, "mse_jump": 4 * p * (1 - p)}
        agree(system, x, hand)


def error_of_the_bulk(system):
    for x in POINTS:
        s, v = x["s"], x["sigma"] ** 2
        agree(system, x, {"mse": v * (1 - s) ** 2 / ((1 - s) ** 2 + v * s**2)})


# ---------------------------------------------------------------------------- n samples

SAMPLES = [
    {"n": 16.0, "n_plus": 13.0, "ridge_u": 0.3, "ridge_w": 0.7},
    {"n": 7.0, "n_plus": 2.0, "ridge_u": 2.0, "ridge_w": 0.5},
]
SAMPLE_POINTS = [x | y for x, y in zip(POINTS, SAMPLES, strict=True)]
SAMPLE_STATES = STATES | {
    "a_plus": 0.05,
    "a_minus": -0.07,
    "zeta_plus": 0.03,
    "zeta_minus": -0.08,
}


def classes(x):
    """Size, label, overlaps a and zeta of the two classes."""
    return (
        (x["n_plus"], 1, x.get("a_plus"), x["zeta_plus"]),
        (x["n"] - x["n_plus"], -1, x.get("a_minus"), x["zeta_minus"]),
    )


def class_averages(x, power):
    k = x["kappa"] * x["s"]

    def mean(label, zeta):
        centre = k * (label * x["omega"] + x["sigma"] * zeta) + x["b"]
        return gauss(lambda g: np.tanh(centre + np.sqrt(x["r"]) * g) ** power)

    return [mean(label, zeta) for _, label, _, zeta in classes(x)]


def readout(x):
    """`w` along the difference of the class means, and the best `u` for it."""
    (n_p, n_m), sigma = (x["n_plus"], x["n"] - x["n_plus"]), x["sigma"]
    z_p, z_m = sigma * x["omega"] / (2 * n_p), -sigma * x["omega"] / (2 * n_m)
    x = x | {"zeta_plus": z_p, "zeta_minus": z_m}
    x["r"] = x["omega"] ** 2 + n_p * z_p**2 + n_m * z_m**2
    (up, down), (up2, down2) = class_averages(x, 1), class_averages(x, 2)
    size = x["ridge_u"] + n_p * up2 + n_m * down2
    x |= {"a_plus": sigma * up / size, "a_minus": sigma * down / size}
    x["m"] = (n_p * up - n_m * down) / size
    x["q"] = x["m"] ** 2 + n_p * x["a_plus"] ** 2 + n_m * x["a_minus"] ** 2
    gain = (n_p * up - n_m * down) ** 2 + sigma**2 * (n_p * up**2 + n_m * down**2)
    loss = x["n"] * (1 + sigma**2) - gain / size + x["ridge_w"] * x["r"]
    return x, loss / x["n"]


def stationarity_of_samples(system):
    for x in SAMPLE_POINTS:
        x = x | {"omega": 1.1, "b": 0.6}
        full, loss = readout(x)
        np.testing.assert_allclose(number(system.objective, x), loss, rtol=NEAR)
        hand = {
            name: slope(lambda y: readout(y)[1], x, name) for name in ("omega", "b")
        }
        up2, down2 = class_averages(full, 2)
        share = x["n_plus"] / x["n"]
        up, down = class_averages(full, 1)
        k, v = x["kappa"] * x["s"], full["m"] * x["omega"]
        v += x["n_plus"] * full["a_plus"] * full["zeta_plus"]
        v += (x["n"] - x["n_plus"]) * full["a_minus"] * full["zeta_minus"]
        fit = share * up * (full["m"] + x["sigma"] * full["a_plus"])
        fit += (1 - share) * down * (x["sigma"] * full["a_minus"] - full["m"])
        bend = share * (1 - up2) + (1 - share) * (1 - down2)
        hand |= {"c_hat": k * (1 + x["sigma"] ** 2 - fit) - v * bend, "v": v, "c": 0}
        own = ("m", "q", "r", "a_plus", "a_minus", "zeta_plus", "zeta_minus")
        agree(system, x, hand | {name: full[name] for name in own})


def saturation_of_samples(system):
    (branch,) = system.branches
    for x in SAMPLE_POINTS:
        n, excess, v = x["n"], 2 * x["n_plus"] - x["n"], x["sigma"] ** 2
        loss = 1 + v - (excess**2 + v * n) / (n * (n + x["ridge_u"]))
        np.testing.assert_allclose(number(branch.objective, x), loss, rtol=NEAR)


def velocity_of_samples(system):
    for x in SAMPLE_POINTS:
        x = x | SAMPLE_STATES | {"nu": 0.4, "g_plus": -0.6, "g_minus": 1.2}
        root_p, root_m = np.sqrt(x["n_plus"]), np.sqrt(x["n"] - x["n_plus"])
        field = x["omega"] * x["nu"] + x["b"]
        field += root_p * x["zeta_plus"] * x["g_plus"]
        field += root_m * x["zeta_minus"] * x["g_minus"]
        push = x["kappa"] * np.tanh(field)
        hand = {"nu": push * x["m"], "g_plus": push * x["a_plus"] * root_p}
        agree(system, x, hand | {"g_minus": push * x["a_minus"] * root_m})


def projection_of_samples(system):
    """Y = nu + k_+ g_+ + k_- g_-: the same speed as the three-dimensional flow."""
    for x in SAMPLE_POINTS:
        x = x | {"omega": 1.1, "b": 0.6, "Y": 0.7, "F": 0.2}
        x = x | readout(x)[0]
        n_p, n_m, sigma = x["n_plus"], x["n"] - x["n_plus"], x["sigma"]
        push = x["kappa"] * np.tanh(x["omega"] * x["Y"] + x["b"])
        mixed = x["m"] + sigma * (x["a_plus"] - x["a_minus"]) / 2
        size = 1 + sigma**2 * (1 / n_p + 1 / n_m) / 4
        agree(system, x, {"Y": push * mixed, "F": push * x["m"], "Gamma": size})


def samples_loss(x):
    """Loss per sample of u, w given by their coordinates; ridges against the sum."""
    size, total = x["n"], 1 + x["sigma"] ** 2
    means = zip(class_averages(x, 1), class_averages(x, 2), strict=True)
    for (count, label, a, _), (one, two) in zip(classes(x), means, strict=True):
        fit = -2 * (label * x["m"] + x["sigma"] * a) * one + x["q"] * two
        total = total + count / size * fit
    return total + (x["ridge_u"] * x["q"] + x["ridge_w"] * x["r"]) / size


def training_of_samples(system):
    """Explicit vectors along the mean, along the two classes' noises, and the rest."""
    for x in SAMPLE_POINTS:
        x = x | SAMPLE_STATES
        d = {name: slope(samples_loss, x, name) for name in SAMPLE_STATES}
        counts = {"plus": x["n_plus"], "minus": x["n"] - x["n_plus"]}
        hand = {"b": -d["b"] / 2}
        for first, noise, square in (("m", "a", "q"), ("omega", "zeta", "r")):
            names = {first: 1.0} | {f"{noise}_{c}": k for c, k in counts.items()}
            # coordinate sqrt(k) x, so dx/dt = -(1/2) (L_x / k + 2 x L_square)
            rates = {
                n: -(d[n] / k + 2 * x[n] * d[square]) / 2 for n, k in names.items()
            }
            rest = x[square] - sum(k * x[n] ** 2 for n, k in names.items())
            along = sum(2 * k * x[n] * rates[n] for n, k in names.items())
            hand |= rates | {square: along - 2 * rest * d[square]}
        agree(system, x, hand)


# ------------------------------------------------------------------- the variance phase


def regression(x, alpha, beta, draws):
    """Least squares for c and u on rows of orthogonal vectors of norm one.

    Without a number of draws the noise is fresh: u cannot see it, so it only adds
    c^2 alpha^2 to each row.
    """
    n = int(x["n"])
    frozen = draws or 1
    size = 1 + n + (n * draws if draws else 0)
    rows, goal = [], []
    for i in range(n):
        for j in range(frozen):
            clean, noise = np.zeros(size), np.zeros(size)
            clean[0], clean[1 + i] = 1, x["sigma"]
            if draws:
                noise[1 + n + i * draws + j] = 1
            rows += list(np.column_stack([beta * clean + alpha * noise, np.eye(size)]))
            goal += list(clean)
            if not draws:
                rows.append(np.concatenate([[alpha], np.zeros(size)]))
                goal.append(0.0)
    ridge = np.column_stack([np.zeros(size), np.sqrt(x["ridge_u"]) * np.eye(size)])
    best = np.linalg.lstsq(
        np.vstack([rows, ridge]), np.concatenate([goal, np.zeros(size)])
    )
    c, u = best[0][0], best[0][1:]
    e = u[-1] if draws else 0.0
    return {"c": c, "m": u[0], "a": u[1], "q": u @ u, "e": e}


SMALL = [{"n": 4.0, "ridge_u": 0.5}, {"n": 3.0, "ridge_u": 2.0}]


def regression_of_samples(system):
    for x, y in zip(POINTS, SMALL, strict=True):
        agree(system, x | y, regression(x | y, 1 - x["s"], x["s"], 0))


def regression_with_frozen_noise(system):
    for x, y, draws in zip(POINTS, SMALL, (2, 3), strict=True):
        hand = regression(x | y, 1 - x["s"], x["s"], draws)
        agree(system, x | y | {"noise_draws": float(draws)}, hand)


def regression_of_the_population(system):
    for x in POINTS:
        s, v = x["s"], x["sigma"] ** 2
        c = v * s / ((1 - s) ** 2 + v * s**2)
        kept = 1 - c * s
        agree(system, x, {"c": c, "m": kept, "q": kept**2, "a": 0, "e": 0})


def flow_of_the_bulk(draws):
    """gamma and zeta m with c and m from `regression`, alpha = 1-s, beta = s."""

    def oracle(system):
        for x, y in zip(POINTS, SMALL, strict=True):
            s = x["s"]
            learned = (
                {"c": x["sigma"] ** 2 * s / ((1 - s) ** 2 + (x["sigma"] * s) ** 2)}
                if draws is None
                else regression(x | y, 1 - s, s, draws)
            )
            m = learned.get("m", 1 - learned["c"] * s)
            zeta = 1 + s / (1 - s)
            gamma = -1 / (1 - s) + zeta * learned["c"]
            at = (
                x
                | y
                | {"M": 0.3, "V": 0.9, "S": -1.0, "noise_draws": float(draws or 1)}
            )
            hand = {"M": gamma * 0.3 - zeta * m, "V": 2 * gamma * 0.9}
            agree(system, at, hand)

    oracle.__name__ = f"flow_of_the_bulk_{draws}"
    return oracle


# ----------------------------------------------------------------- exact at finite d

FINITE = [
    x | {"d": d, "tau": t}
    for x, d, t in zip(POINTS, (40.0, 9.0), (0.3, 0.6), strict=True)
]


def bayes_velocity(x, nu):
    """b(x, tau) along the mean, from E[x1|x] by Bayes' formula on the two modes."""
    t, v, size = x["tau"], x["sigma"] ** 2, np.sqrt(x["d"])
    spread = (1 - t) ** 2 + v * t**2
    odds = norm.logpdf(nu, t * size, np.sqrt(spread))
    odds = odds - norm.logpdf(nu, -t * size, np.sqrt(spread))
    plus = expit(odds + np.log(x["p"] / (1 - x["p"])))
    data = 0.0
    for weight, mean in ((plus, size), (1 - plus, -size)):
        data = data + weight * (mean + v * t / spread * (nu - t * mean))
    return (data - nu) / (1 - t)


def velocity_at_finite_size(system):
    for x, nu in zip(FINITE, (0.8, -0.3), strict=True):
        t, v = x["tau"], x["sigma"] ** 2
        rate = (v * t - (1 - t)) / ((1 - t) ** 2 + v * t**2)  # half d log variance
        hand = {"nu": bayes_velocity(x, nu), "V": 2 * rate * 1.3}
        agree(system, x | {"nu": nu, "V": 1.3}, hand)


def error_at_finite_size(system):
    """E|x1 - E[x1|x]|^2 / d, over the law of x along the mean."""
    for x in FINITE:
        t, v, size = x["tau"], x["sigma"] ** 2, np.sqrt(x["d"])
        spread = (1 - t) ** 2 + v * t**2
        error = 0.0
        for weight, mean in ((x["p"], size), (1 - x["p"], -size)):

            def squared(g, mean=mean, spread=spread, x=x, t=t, v=v):
                nu = t * mean + np.sqrt(spread) * g
                guess = nu + (1 - t) * bayes_velocity(x, nu)
                inside = mean + v * t / spread * (nu - t * mean)  # E[x1 | x, sign]
                return (guess - inside) ** 2

            error += weight * gauss(squared)
        agree(system, x, {"mse": v * (1 - t) ** 2 / spread + error / x["d"]})


TIED = {"c": -0.6, "m": 0.21, "q": 0.13, "b": 0.2}


def tied_loss(x):
    """E|x0 + alpha s(x)|^2/d of s(x) = c x + w tanh(w.x + b), term by term."""
    alpha, beta, v = 1 - x["tau"], x["tau"], x["sigma"] ** 2
    spread, snr = alpha**2 + v * beta**2, beta**2 * x["d"]
    size = x["m"] ** 2 + x["q"]  # |w|^2 / (beta^2 d)
    width = np.sqrt(snr * spread * size)

    def over_modes(f):
        def mean(sign):
            return gauss(lambda g: f(np.tanh(sign * snr * x["m"] + x["b"] + width * g)))

        return mean(1), mean(-1)

    up, down = over_modes(lambda h: h)
    h = x["p"] * up - (1 - x["p"]) * down
    up, down = over_modes(lambda h: h**2)
    k = x["p"] * up + (1 - x["p"]) * down
    pull = size * (k + 2 * (1 + x["c"] * spread) * (1 - k)) + 2 * x["c"] * x["m"] * h
    bracket = x["c"] ** 2 * (1 + v) + pull
    return (1 + alpha**2 * x["c"]) ** 2 + (alpha * beta) ** 2 * bracket


def training_of_the_tied_network(system):
    for x in FINITE:
        x = x | TIED
        snr = x["tau"] ** 2 * x["d"]
        d = {name: slope(tied_loss, x, name) for name in TIED}
        hand = {"c": -d["c"], "b": -d["b"], "m": -d["m"] / snr}
        agree(system, x, hand | {"q": -4 * x["q"] * d["q"] / snr})


# ------------------------------------------------------------------- the perturbations


def system_of(model, phase, role):
    limit = limit_of(model)
    return limit.exact[role] if phase == "exact" else getattr(limit.phase(phase), role)


ORACLES = [  # (model, phase, role, oracle)
    ("population", "weights", "learned", overlaps_of_the_population),
    ("population", "weights", "sampling", velocity_of_the_population),
    ("population", "weights", "sampling", law_of_the_interpolant),
    ("population", "weights", "training", training_of_the_population),
    ("population", "weights", "mse", error_in_the_window),
    ("population", "variance", "learned", regression_of_the_population),
    ("population", "variance", "sampling", flow_of_the_bulk(None)),
    ("population", "variance", "mse", error_of_the_bulk),
    ("population", "exact", "sampling", velocity_at_finite_size),
    ("population", "exact", "mse", error_at_finite_size),
    ("population", "exact", "tied", training_of_the_tied_network),
    ("samples", "weights", "learned", stationarity_of_samples),
    ("samples", "weights", "sampling", velocity_of_samples),
    ("samples", "weights", "projected", projection_of_samples),
    ("samples", "weights", "training", training_of_samples),
    ("samples", "variance", "learned", regression_of_samples),
    ("samples", "variance", "sampling", flow_of_the_bulk(0)),
    ("frozen", "variance", "learned", regression_with_frozen_noise),
    ("frozen", "variance", "sampling", flow_of_the_bulk(2)),
]


def exchanged(expr, a, b):
    return expr.xreplace({a: b, b: a})


@lru_cache(maxsize=512)
def perturbations(expr):
    """Wrong versions of a right-hand side, by name."""
    if expr == 0:
        return {"not zero": sp.S.One}
    known = expr.free_symbols
    wrong = {"sign flipped": -expr, "doubled": 2 * expr}
    if isinstance(expr, sp.Add):
        wrong["first term doubled"] = expr + expr.args[0]
        wrong["last term's sign flipped"] = expr - 2 * expr.args[-1]
    for name in ("d", "kappa", "sigma", "n", "noise_draws"):
        if symbol(name) in known:
            wrong[f"factor of {name} dropped"] = expr / symbol(name)
            wrong[f"{name} forgotten"] = expr.xreplace({symbol(name): sp.S.One})
    for a, b in SWAPS:
        if {symbol(a), symbol(b)} & known:
            wrong[f"{a} and {b} swapped"] = exchanged(expr, symbol(a), symbol(b))
    if symbol("p") in known:
        wrong["p and 1-p swapped"] = expr.xreplace({symbol("p"): 1 - symbol("p")})
    if symbol("ridge_u") in known:
        wrong["ridge doubled"] = expr.xreplace(
            {symbol("ridge_u"): 2 * symbol("ridge_u")}
        )
        ridges = symbol("ridge_u"), symbol("ridge_w")
        wrong["ridges swapped"] = exchanged(expr, *ridges)
    return {how: new for how, new in wrong.items() if new != expr}


EQUIVALENT = {  # perturbations that change nothing
    ("mse_jump", "p and 1-p swapped"),  # 4 p (1-p) is symmetric
    ("mse", "p and 1-p swapped"),  # so is the error of the Bayes denoiser
}


@pytest.mark.parametrize(
    ("model", "phase", "role", "oracle"),
    ORACLES,
    ids=lambda x: getattr(x, "__name__", None),
)
def test_the_oracle_accepts_what_is_derived_and_nothing_else(
    model, phase, role, oracle
):
    system = system_of(model, phase, role)
    oracle(system)
    passed = [
        (name, how)
        for name in system.names
        for how, wrong in perturbations(sp.sympify(system[name])).items()
        if accepted(oracle, perturbed(system, name, wrong))
    ]
    assert set(passed) <= EQUIVALENT


def perturbed(system, name, rhs):
    """The system with another right-hand side, whose symbols need not be declared."""

    def swap(equations):
        return tuple(
            replace(e, rhs=rhs) if str(e.lhs) == name else e for e in equations
        )

    return replace(
        system,
        equations=swap(system.equations),
        observables=swap(system.observables),
    )


def accepted(oracle, system):
    try:
        with np.errstate(all="ignore"):
            oracle(system)
    except AssertionError:
        return False
    return True


def test_there_are_many_perturbations():
    count = sum(
        len(perturbations(sp.sympify(rhs)))
        for model, phase, role, _ in ORACLES
        for system in [system_of(model, phase, role)]
        for rhs in (system[name] for name in system.names)
    )
    assert count > 300


def test_the_objective_and_its_closed_branch_have_teeth():
    system = system_of("samples", "weights", "learned")
    saturation_of_samples(system)
    for wrong in perturbations(system.objective).values():
        with pytest.raises(AssertionError):
            stationarity_of_samples(replace(system, objective=wrong))
    (branch,) = system.branches
    for how, wrong in perturbations(branch.objective).items():
        if how != "p and 1-p swapped":
            changed = replace(branch, objective=wrong)
            with pytest.raises(AssertionError):
                saturation_of_samples(replace(system, branches=(changed,)))
