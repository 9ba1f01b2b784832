"""What holds along every curve: norms, laws, symmetries, and one curve in two times."""

from dataclasses import replace
from functools import partial

import dilaton
import numpy as np
import pytest
import sympy as sp
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.numerics.codegen.parameters import closed_values
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.ode.integrate import integrate
from dilaton.theory.windows.dilation import T
from scipy.integrate import quad, solve_ivp
from scipy.stats import kstest, norm

from ..cases import limit_of
from ..oracles import mixture

POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
SAMPLES = {"n": 16, "n_plus": 13, "ridge_u": 0.1, "ridge_w": 0.1}
ROUNDING = 1e-12  # identities of closed forms in double precision
SOLVED = 1e-6  # rtol 1e-9, through windows that amplify errors some hundred times
ALIKE = 0.02  # a KS test of 20,000 points with a fixed seed stays above this p-value


# -------------------------------------------------- laws of the sampling flow


def follow(point, s, start):
    flow = limit_of("population").phase("weights").sampling
    found = integrate(
        flow, init={"nu": start}, params=point, t=s, rtol=1e-8, atol=1e-10
    )
    return found["nu"]


@pytest.mark.parametrize(("p", "kappa"), [(0.8, 2.0), (0.5, 1.0), (0.15, 4.0)])
def test_the_law_of_the_interpolant_is_conserved_at_every_s(p, kappa):
    start = np.random.default_rng(7).standard_normal(20_000)
    s = [0.0, 0.25, 0.5, 0.75, 1.0]
    nu = follow({"p": p, "sigma": 1.0, "kappa": kappa}, s, start)
    for i, at in enumerate(s):
        k = kappa * at
        assert kstest(nu[:, i], partial(mixture, k=k, p=p)).pvalue > ALIKE
    # the same test sees a weight that is off by three hundredths
    assert kstest(nu[:, -1], partial(mixture, k=kappa, p=p + 0.03)).pvalue < ALIKE


@pytest.mark.parametrize("s", [0.3, 1.0])
def test_the_carried_density_integrates_to_one(s):
    """Density of nu(s): that of nu(0) over the slope of the map, by differences."""
    grid = np.linspace(-7, 7, 3001)
    nu = follow(POINT, [0.0, s], grid)[:, 1]
    assert np.all(np.diff(nu) > 0)
    density = norm.pdf(grid) / np.gradient(nu, grid)
    assert np.trapezoid(density, nu) == pytest.approx(1, abs=1e-4)
    k = 2.0 * s
    law = 0.8 * norm.pdf(nu - k) + 0.2 * norm.pdf(nu + k)
    np.testing.assert_allclose(density[5:-5], law[5:-5], atol=5e-5)


@pytest.mark.parametrize("name", ["population", "preserving", "exploding"])
def test_each_schedule_keeps_its_own_law(name):
    """nu(s) has the law of the interpolant whatever the schedule, in units of alpha."""
    phase = limit_of(name).phase("weights")
    time, kernel = phase.window, make_kernel(phase.sampling, "numpy")
    values = {str(x): POINT[str(x)] for x in phase.sampling.parameters}
    point = {sp.Symbol(k, positive=True): v for k, v in POINT.items()}
    curves = [
        sp.lambdify(phase.sampling.time, e.subs(point), "math")
        for e in (time.alpha, time.beta)
    ]
    start = np.linspace(-2.5, 2.5, 11)

    def speed(s, nu):
        return kernel["rhs"](s, [nu], [], list(values.values()), *kernel.rule)[0][0]

    stop = 0.999 if name == "exploding" else 1.0
    found = solve_ivp(speed, (1e-9, stop), curves[0](0) * start, rtol=1e-9, atol=1e-11)
    alpha, beta = (curve(stop) for curve in curves)
    end = mixture(found.y[:, -1] / alpha, beta / alpha, 0.8)
    np.testing.assert_allclose(end, norm.cdf(start), atol=SOLVED)


def test_shares_of_a_weight_and_of_its_mirror_add_up_to_one():
    both = {"p": [0.75, 0.25], "sigma": 1.2, "kappa": 1.7}
    for name, more in (("population", {}), ("samples", SAMPLES | {"n_plus": [12, 4]})):
        found = dilaton.solve_rows(limit_of(name), both | more, s=[0.5, 1], rtol=1e-9)
        total, bound = (found[x].sum() for x in ("share_plus", "share_plus_error"))
        assert abs(total - 1) <= bound + 1e-8
        for same in ("m", "omega", "q", "r"):
            np.testing.assert_allclose(*found[same], atol=1e-7)


# -------------------------------------------------- norms and variances

EVERY = [
    ("population", {}),
    ("samples", SAMPLES),
    ("samples", SAMPLES | {"n_plus": 2, "ridge_u": 5.0}),
    ("frozen", SAMPLES | {"noise_draws": 2}),
    ("erf", {}),
    ("preserving", {}),
]


def overlaps_of(name, phase, times, point):
    if phase.learned.kind == "closed":
        return closed_values(phase.learned, times, point)
    # one curve of its own is not worth machine code of its own
    backend = "numba" if name == "samples" else "scipy"
    found = minimise(phase.learned, times, point, backend=backend)
    return {key: found[key][0] for key in found.names}


@pytest.mark.parametrize(("name", "more"), EVERY)
def test_overlaps_are_those_of_vectors(name, more):
    """Cauchy and Schwarz: m^2 <= q, omega^2 <= r, v^2 <= q r."""
    for phase in limit_of(name).phases:
        x = overlaps_of(name, phase, np.linspace(0, 1, 9), POINT | more)
        assert np.isfinite(x["q"]).all()
        slack = ROUNDING * (1 + x["q"])
        assert np.all(x["m"] ** 2 <= x["q"] + slack)
        if phase.features and name != "frozen":
            assert np.all(x["omega"] ** 2 <= x["r"] * (1 + ROUNDING) + ROUNDING)
            assert np.all(x["v"] ** 2 <= x["q"] * x["r"] * (1 + 1e-9) + ROUNDING)


@pytest.mark.parametrize(("name", "more"), [EVERY[0], EVERY[1], EVERY[3]])
def test_the_bulk_variance_is_positive_and_ends_where_it_must(name, more):
    phase = limit_of(name).phase("variance")
    values = POINT | more | {"S": 1.0}
    params = {str(x): values[str(x)] for x in phase.sampling.parameters}
    flow = integrate(
        phase.sampling,
        init={"M": 0.0, "V": 1.0},
        params=params,
        t=np.linspace(0, 1, 33),
        rtol=1e-9,
        atol=1e-11,
        backend="scipy",
    )
    assert np.all(flow["V"] > 0)
    n, ridge = more.get("n"), more.get("ridge_u", 0.0)
    draws = more.get("noise_draws", 1)
    rows = n * draws if n else 1.0
    a = (2 * ridge + draws * (n - 1)) / (rows + ridge) if n else 1.0
    b = (rows + ridge - 1) / (rows + ridge) if "noise_draws" in more else 1.0
    kept = rows / (rows + ridge) if n else 1.0
    assert flow["V"][0, -1] == pytest.approx(a / b, rel=SOLVED)
    assert flow["M"][0, -1] == pytest.approx(kept, rel=SOLVED)


# -------------------------------------------------- training flow


def test_training_keeps_norms_lowers_the_loss_and_ends_at_bayes():
    limit = limit_of("population")
    point = POINT | {"s": 0.75}
    start = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}
    flow = integrate(
        limit.phase("weights").training,
        init=start,
        params=point,
        t=[0, 1, 5, 20, 100, 3000],
        rtol=1e-8,
        atol=1e-10,
    )
    x = {name: flow[name][0] for name in flow.names}
    assert np.all(x["m"] ** 2 <= x["q"] * (1 + 1e-8))
    assert np.all(x["omega"] ** 2 <= x["r"] * (1 + 1e-8))
    loss = [mode_loss({k: v[i] for k, v in x.items()}) for i in range(flow.t.size)]
    assert np.all(np.diff(loss) < 0)
    # computed before, with an integrator and a quadrature of their own
    known = {
        5: (1.07540, 1.15845, 0.79883, 0.65746, 0.34785),
        20: (1.05969, 1.12294, 1.00971, 1.01954, 0.47143),
        3000: (1, 1, 1.5, 2.25, np.log(4) / 2),
    }
    for time, values in known.items():
        i = list(flow.t).index(time)
        found = [x[name][i] for name in ("m", "q", "omega", "r", "b")]
        np.testing.assert_allclose(found, values, atol=2e-5 if time < 3000 else 1e-3)


def mode_loss(x, k=1.5, p=0.8):
    """The loss in the window, by adaptive quadrature."""

    def mean(sign, power):
        def f(g):
            h = np.tanh(sign * k * x["omega"] + x["b"] + np.sqrt(x["r"]) * g)
            return h**power * norm.pdf(g)

        return quad(f, -9, 9, epsabs=1e-12)[0]

    first = p * mean(1, 1) - (1 - p) * mean(-1, 1)
    second = p * mean(1, 2) + (1 - p) * mean(-1, 2)
    return 2 - 2 * x["m"] * first + x["q"] * second


# -------------------------------------------------- one curve, two times


@pytest.mark.parametrize("name", ["population", "preserving"])
def test_the_curve_in_tau_is_the_curve_in_t(name):
    """A dilation changes the clock, not the curve (exact flow, d = 400)."""
    limit = limit_of(name)
    flow, dilation = limit.exact["sampling"], limit.dilation
    params = POINT | {"d": 400.0}
    in_t = in_dilated_time(flow, dilation)
    times = np.array([0.1, 0.35, 0.5, 0.7, 0.95])
    to_tau = dilation.at(params)
    taus = np.array([to_tau(t) for t in times])
    start = np.array([-1.5, -0.4, 0.1, 1.0])
    ends = [
        curve(system, params, times_, start)
        for system, times_ in ((in_t, times), (flow, taus))
    ]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-7, atol=1e-7)


def in_dilated_time(flow, dilation):
    """The flow in t: the right-hand sides at tau(t), times dtau/dt."""
    speed = sp.diff(dilation.tau, T)
    rows = [
        replace(e, rhs=speed * e.rhs.subs(flow.time, dilation.tau))
        for e in flow.equations
    ]
    named = dict.fromkeys(flow.parameters + dilation.parameters)
    return replace(flow, time=T, equations=tuple(rows), parameters=tuple(named))


def curve(system, params, times, start):
    kernel = make_kernel(system, "numpy")
    given = [params[name] for name in kernel.parameters]

    def speed(t, y):
        state = list(y.reshape(2, -1))
        return kernel["rhs"](t, state, [], given, *kernel.rule)[0].ravel()

    y0 = np.concatenate([start, np.ones_like(start)])
    pieces, at = [], 0.0
    for t in times:  # restarted at each time, as the dilation has a kink at 1/2
        found = solve_ivp(speed, (at, t), y0, rtol=1e-11, atol=1e-12)
        at, y0 = t, found.y[:, -1]
        pieces.append(y0)
    return np.array(pieces)


@pytest.mark.parametrize("name", ["population", "exploding", "product"])
def test_a_dilation_and_its_inverse_cancel(name):
    dilation = limit_of(name).dilation
    values = {str(x): 2.0 for x in dilation.parameters} | {"d": 1e4}
    point = {x: values[str(x)] for x in dilation.parameters}
    to_tau, from_tau = dilation.tau.subs(point), dilation.inverse.subs(point)
    tau = sp.Symbol("tau", positive=True)
    for t in np.linspace(0, 1, 13):
        there = float(to_tau.subs(T, t))
        assert there == pytest.approx(dilation.at(values)(t), abs=ROUNDING)
        assert float(from_tau.subs(tau, there)) == pytest.approx(t, abs=1e-9)


def test_the_window_is_the_limit_of_the_exact_flow():
    """d^(-1/2) in tau: the flow at dimension d approaches (S1) with slope -1/2."""
    limit = limit_of("population")
    start = np.array([-1.2, -0.3, 0.4, 1.1])
    goal = follow(POINT, [0.0, 1.0], start)[:, 1]
    sizes, errors = np.array([1e3, 1e4, 1e5]), []
    for d in sizes:
        stop = POINT["kappa"] / np.sqrt(d)
        found = curve(limit.exact["sampling"], POINT | {"d": d}, [stop], start)
        errors.append(np.max(np.abs(found[0, :4] - goal)))
    rate = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert rate == pytest.approx(-0.5, abs=0.05)
