"""Flows: judged by closed solutions, by SciPy at 1e-12, and by each other."""

import numpy as np
import pytest
import sympy as sp
from dilaton.errors import ModelError, ShapeError, SolveError
from dilaton.numerics.codegen.quadrature import trapezoid
from dilaton.numerics.codegen.tiers import Loops
from dilaton.numerics.ode import lanes as explicit, with_scipy as reference
from dilaton.numerics.ode.inputs import Inputs
from dilaton.numerics.ode.integrate import integrate
from dilaton.numerics.ode.lanes import (
    LANES,
    SAFETY,
    Method,
    _key,
    lanes_of,
    loops_of,
)
from dilaton.numerics.ode.problem import AVERAGES
from dilaton.numerics.ode.with_diffrax import jax_solver
from dilaton.theory.symbols.gaussian import Average, G
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.symbols.system import Equation, System
from scipy.integrate import solve_ivp
from scipy.special import sici
from scipy.stats import norm

from ...cases import limit_of
from ...oracles import mixture

RTOL = 1e-8  # what a user asks for in these tests
LOOSE = 1e-6  # and where the order of the series is of no matter
PROMISE = 100  # a global error below this many rtol, on every row
TIGHT = 1e-12  # tolerance of the reference

NU, M, V, KAPPA, S, P = map(symbol, ("nu", "M", "V", "kappa", "s", "p"))
OMEGA, B, OVERLAP, SIGMA = map(symbol, ("omega", "b", "m", "sigma"))


def flow(name, time, equations, parameters, inputs=()):
    """Build a flow by hand from {state: right-hand side}."""
    rows = tuple(Equation(f"T{i}", x, f) for i, (x, f) in enumerate(equations.items()))
    return System(name, "flow", time, rows, tuple(parameters), inputs=tuple(inputs))


SAMPLING = flow(
    "weights/sampling",
    S,
    {NU: KAPPA * sp.tanh(KAPPA * S * NU + sp.log(P / (1 - P)) / 2)},
    (P, KAPPA),
)
GIVEN = flow(
    "weights/sampling",
    S,
    {NU: KAPPA * OVERLAP * sp.tanh(OMEGA * NU + B)},
    (KAPPA,),
    (OVERLAP, OMEGA, B),
)
# one flow with closed solutions, for SciPy: a rotation by kappa s, a blow-up
# 1/(1/nu - sigma s), and a state M pulled towards cos(s) at the rate p
CASES = flow(
    "cases",
    S,
    {
        NU: KAPPA * OVERLAP + SIGMA * NU**2,
        OVERLAP: -KAPPA * NU,
        M: -P * (M - sp.cos(S)),
    },
    (KAPPA, SIGMA, P),
)


def case(nu=1.0, **params):
    """Return the arguments of one of the cases; what is not named is off."""
    params = {"kappa": 0.0, "sigma": 0.0, "p": 0.0} | params
    return {"init": {"nu": nu, "m": 0.0, "M": 0.0}, "params": params}


def rows(batch, seed=0):
    rng = np.random.default_rng(seed)
    init = {"nu": rng.normal(size=batch)}
    params = {"p": rng.uniform(0.5, 0.95, batch), "kappa": rng.uniform(0.5, 5, batch)}
    return init, params


def slow(*values):
    """Values of a test that compile code of their own, for the whole suite alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def misfit(flow, reference, rtol=RTOL, atol=RTOL):
    scale = atol + rtol * np.abs(reference)
    return float(np.max(np.abs(flow.y - reference) / scale))


def transported(init, params, t):
    """Each row keeps its rank in the law: p N(kappa s, 1) + (1 - p) N(-kappa s, 1)."""
    start, p, kappa = (x[:, None] for x in (init["nu"], params["p"], params["kappa"]))
    side = np.where(start > 0, -1.0, 1.0)  # ranks from the near end keep their digits
    shift = kappa * t
    low, high = start - shift, start + shift
    for _ in range(60):
        x = 0.5 * (low + high)
        rank = mixture(side * x, side * shift, p)
        beyond = side * (rank - mixture(side * start, 0, p)) > 0
        low, high = np.where(beyond, low, x), np.where(beyond, x, high)
    return x[..., None]


@pytest.mark.parametrize("rtol", [1e-6, 1e-8, slow(1e-10)])
def test_every_row_keeps_the_promise(rtol):
    init, params = rows(512)
    t = np.linspace(0, 1, 6)
    found = integrate(SAMPLING, init=init, params=params, t=t, rtol=rtol, atol=rtol)
    assert misfit(found, transported(init, params, t), rtol, rtol) < PROMISE
    other = params | {"p": 1 - params["p"]}
    assert misfit(found, transported(init, other, t), rtol, rtol) > 1e3 * PROMISE


def test_scipys_steps_are_counted():
    """Over two pieces, each solved by itself."""
    jump = Inputs.of(lambda s: {"m": np.where(s < 0.4, 0.7, 1.0)}, [0.0, 0.4, 1.0], 2)
    system = flow("jump", S, {NU: OVERLAP * sp.cos(NU)}, (), (OVERLAP,))
    settings = {"rtol": RTOL, "atol": RTOL}
    found = integrate(
        system,
        init={"nu": 0.3},
        params={},
        t=[0, 1.0],
        inputs=jump,
        backend="scipy",
        **settings,
    )
    y, steps = [0.3], 0
    for span, m in (((0, 0.4), 0.7), ((0.4, 1.0), 1.0)):
        part = solve_ivp(lambda s, x, m=m: m * np.cos(x), span, y, "DOP853", **settings)
        y, steps = part.y[:, -1], steps + part.t.size - 1
    assert found.n_steps.tolist() == [steps]
    assert found["nu"][0, -1] == pytest.approx(y[0], rel=1e-12)


def test_scipy_agrees_row_by_row():
    init, params = rows(12)
    common = {"init": init, "params": params, "t": [0, 0.3, 1.0]}
    found = integrate(SAMPLING, **common, rtol=RTOL, atol=RTOL)
    truth = integrate(SAMPLING, **common, rtol=TIGHT, atol=TIGHT, backend="scipy")
    assert misfit(found, truth.y) < PROMISE
    flipped = SAMPLING.replaced("nu", -SAMPLING["nu"])
    wrong = integrate(flipped, **common, rtol=RTOL, atol=RTOL, backend="scipy")
    assert misfit(wrong, truth.y) > 1e3 * PROMISE


def test_the_law_of_the_interpolant_is_reached():
    # population: nu at s = 1 is p N(kappa, 1) + (1-p) N(-kappa, 1), moments by hand
    x, weight = trapezoid(240)
    params = {"p": 0.8, "kappa": 1.5}
    found = integrate(
        SAMPLING, init={"nu": x}, params=params, t=[0, 1], rtol=1e-11, atol=1e-11
    )
    end = found["nu"][:, -1]
    assert weight @ end == pytest.approx(0.6 * 1.5, abs=1e-8)
    assert weight @ end**2 == pytest.approx(1 + 1.5**2, abs=1e-8)


def growing(t):
    """With constant functions sinh(omega nu + b) grows like exp(kappa m omega s)."""
    kappa, start = np.array([[0.3], [0.6]]), np.array([[-0.4], [0.1]])
    given = Inputs.of(lambda s: {"m": 0.9 + 0 * s, "omega": 1.2, "b": 0.2}, [0, 2], 8)
    growth = np.exp(kappa * 0.9 * 1.2 * t)
    exact = (np.arcsinh(np.sinh(1.2 * start + 0.2) * growth) - 0.2) / 1.2
    init, params = {"nu": start[:, 0]}, {"kappa": kappa[:, 0]}
    return GIVEN, {"init": init, "params": params, "inputs": given}, exact[..., None]


def descending(t):
    """The training flow of two starts, by SciPy."""
    common = {"init": START | {"b": [0.5, 1.0]}, "params": POINT | {"kappa": 6.0}}
    tight = {"rtol": 1e-13, "atol": 1e-13, "backend": "scipy"}
    return training(), common, integrate(training(), **common, t=t, **tight).y


def carried(t):
    """Rows of the population, which keep their ranks."""
    init, params = rows(16)
    return SAMPLING, {"init": init, "params": params}, transported(init, params, t)


def slow_and_fast(t):
    """Two rows of the population whose errors keep one sign."""
    init = {"nu": np.array([-0.4, 0.3])}
    params = {"p": np.array([0.7, 0.8]), "kappa": np.array([0.6, 0.8])}
    return SAMPLING, {"init": init, "params": params}, transported(init, params, t)


PROBLEMS = {"dopri5": growing, "dop853": descending, "taylor": slow_and_fast}
# with steps so small that the leading order is left, and not so small that 1e-16 is
ORDERS = [
    ("dopri5", 5, [24, 32, 40, 48]),
    ("dop853", 8, [8, 10, 12, 14]),
    ("taylor", 8, [8, 10, 12, 14]),
]


@pytest.mark.parametrize(("method", "order", "steps"), ORDERS)
def test_orders_by_fitted_slope(method, order, steps):
    # a loose tolerance and a largest step make fixed steps
    t, errors = np.array([0, 2.0]), []
    system, common, exact = PROBLEMS[method](t)
    for n in steps:
        rough = {"rtol": 0.9, "atol": 0.9, "max_step": 2 / n, "method": method}
        found = integrate(system, **common, t=t, **rough)
        np.testing.assert_array_equal(found.n_steps, n)
        errors.append(np.linalg.norm(found.y - exact, axis=-1)[:, -1])
    slopes = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    np.testing.assert_allclose(-slopes, order, atol=0.15)


@pytest.mark.parametrize("method", PROBLEMS)
def test_dense_output_is_as_good_as_the_steps(method):
    t = np.linspace(0, 2, 97)
    system, common, exact = (PROBLEMS | {"taylor": carried})[method](t)
    found = integrate(system, **common, t=t, rtol=RTOL, atol=RTOL, method=method)
    assert misfit(found, exact) < PROMISE
    assert found.n_steps.max() < t.size


def test_a_method_takes_its_share_of_the_tolerance(monkeypatch):
    system, common, _ = growing(np.array([0.0, 2.0]))
    common |= {"t": [0, 2], "method": "dopri5"}
    share = SAFETY["dopri5"]
    ours = integrate(system, **common, rtol=1e-8, atol=1e-9)
    monkeypatch.setitem(SAFETY, "dopri5", 1.0)
    whole = integrate(system, **common, rtol=share * 1e-8, atol=share * 1e-9)
    np.testing.assert_array_equal(ours.n_steps, whole.n_steps)
    np.testing.assert_array_equal(ours.y, whole.y)
    more = integrate(system, **common, rtol=1e-8, atol=1e-9)
    assert (more.n_steps < ours.n_steps).all()


def same_bits(one, other):
    for name in ("y", "status", "n_steps", "n_rejected", "reached"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


MARCHED = [("dop853", Method("dop853")), ("taylor", Method("taylor12", 12))]
MARCHED += [slow("dopri5", Method("dopri5"))]


@pytest.mark.parametrize(("method", "named"), MARCHED)
def test_python_and_machine_code_march_with_the_same_bits(method, named, monkeypatch):
    system, common, _ = growing(np.array([0.0, 0.7, 2.0]))
    if method == "taylor":
        system, common, _ = carried(np.array([0.0, 2.0]))
    times = {"t": [0, 0.1, 0.7, 2.0], "rtol": RTOL, "atol": 1e-9, "method": method}
    found = []
    for compiled in (False, True):
        monkeypatch.setattr(Loops, "compiled", lambda loops, rows, is_=compiled: is_)
        found += [integrate(system, **common, **times)]
        found += [integrate(system, **common, **times | {"max_step": 0.05})]
    same_bits(found[0], found[2])
    same_bits(found[1], found[3])
    assert found[0].n_steps.max() < found[1].n_steps.min()
    # one row or many, breaks or none: compiled once
    loops = loops_of(named, len(system.unknowns), len(system.inputs), lanes_of(system))
    assert len(loops.by_machine.signatures) == 1


def test_a_flow_says_how_it_was_found():
    settings = {"rtol": RTOL, "atol": 1e-9}
    found = integrate(SAMPLING, **GOOD | settings)
    lanes = {"lanes": lanes_of(SAMPLING), "average_error": 0.0}
    assert found.info == settings | {"backend": "numba", "method": "taylor12"} | lanes
    truth = integrate(SAMPLING, **GOOD | settings, backend="scipy")
    assert truth.info == settings | {
        **{"backend": "scipy", "method": "dop853", "average_error": 0.0}
    }
    np.testing.assert_array_equal(truth.n_rejected, [0])


def test_wide_states_are_marched_in_fewer_lanes():
    for states in (1, *LANES, *(most + 1 for most in LANES)):
        names = sp.symbols(f"x:{states}")
        wide = flow("wide", S, dict.fromkeys(names, sp.S.One), ())
        wanted = [lanes for most, lanes in LANES.items() if states <= most]
        assert lanes_of(wide) == (wanted[0] if wanted else 16)


def test_a_row_does_not_depend_on_its_batch_or_chunk(monkeypatch):
    monkeypatch.setattr(Loops, "compiled", lambda loops, rows: True)
    init, params = rows(700)
    common = {"t": np.linspace(0, 1, 5), "rtol": RTOL, "atol": RTOL}
    whole = integrate(SAMPLING, init=init, params=params, **common)
    for pick in (slice(3, 4), slice(100, 333), slice(None, None, -1)):
        part = integrate(
            SAMPLING,
            init={k: v[pick] for k, v in init.items()},
            params={k: v[pick] for k, v in params.items()},
            **common,
        )
        np.testing.assert_array_equal(part.y, whole.y[pick])
        np.testing.assert_array_equal(part.n_steps, whole.n_steps[pick])


# given functions of time


def learned(kappa):
    """Learned overlaps of the population, with a jump of `m` at s = 0.4."""

    def functions(s):
        return {"m": np.where(s < 0.4, 0.7, 1.0), "omega": kappa * s, "b": 0.0 * s + 1}

    return functions


def test_given_functions_enter_exactly_and_jumps_are_kept():
    kappa = np.array([1.0, 2.5])
    given = Inputs.of(learned(kappa[:, None]), [[0.0, 0.4, 1.0]] * 2, degree=8)
    sizes = np.abs(given.coefficients)
    assert sizes[..., -2:].max() < 1e-14 * sizes.max()
    common = {"init": {"nu": [-0.4, 0.3]}, "params": {"kappa": kappa}}
    common |= {"t": [0, 0.25, 0.4, 0.7, 1.0], "inputs": given}
    found = integrate(GIVEN, **common, rtol=RTOL, atol=RTOL, method="dopri5")
    truth = integrate(GIVEN, **common, rtol=TIGHT, atol=TIGHT, backend="scipy")
    assert misfit(found, truth.y) < PROMISE
    by_hand = _by_hand(kappa)
    assert misfit(found, by_hand) < PROMISE


def _by_hand(kappa):
    out = np.empty((2, 5, 1))
    for row, (k, y) in enumerate(zip(kappa, (-0.4, 0.3), strict=True)):
        out[row, 0] = y
        for left, right, m, at in ((0, 0.4, 0.7, (1, 2)), (0.4, 1, 1.0, (3, 4))):
            part = solve_ivp(
                lambda s, x, k=k, m=m: k * m * np.tanh(k * s * x + 1),
                (left, right),
                [y],
                rtol=TIGHT,
                atol=TIGHT,
                t_eval=[0.25, 0.4] if left == 0 else [0.7, 1.0],
            )
            out[row, list(at), 0] = part.y[0]
            y = part.y[0, -1]
    return out


def test_inputs_evaluate_as_given():
    given = Inputs.of(lambda s: {"b": np.sin(3 * s)}, [0.0, 0.3, 1.0])
    s = np.linspace(0, 1, 11)
    np.testing.assert_allclose(given(s)["b"][0], np.sin(3 * s), atol=1e-13)


def test_the_code_of_a_stepper_is_named_after_all_that_it_depends_on():
    swapped = flow(SAMPLING.name, S, {NU: SAMPLING["nu"]}, (KAPPA, P))
    renamed = flow("other", S, {NU: SAMPLING["nu"]}, (P, KAPPA))
    signed = SAMPLING.replaced("nu", -SAMPLING["nu"])
    texts = [_key(x, 8, 16) for x in (SAMPLING, swapped, renamed, signed)]
    texts += [_key(SAMPLING, 12, 16), _key(SAMPLING, 8, 8)]
    assert len(set(texts)) == len(texts)
    assert _key(SAMPLING, 8, 16) == texts[0]


@pytest.mark.parametrize(
    ("names", "breaks", "batch", "message"),
    [
        ("m omega", [0, 1], 1, "`b` is missing"),
        ("m omega b", [0, 0.9], 1, "must cover the times 0 to 1"),
        ("m omega b", [[0, 1]] * 3, 2, r"must have shape \(\) or \(3,\)"),
    ],
)
def test_bad_inputs_are_refused(names, breaks, batch, message):
    given = Inputs.of(lambda s: {n: 0.1 + 0 * s for n in names.split()}, breaks)
    with pytest.raises(ShapeError, match=message):
        integrate(
            GIVEN,
            init={"nu": np.zeros(batch) if batch > 1 else 0.0},
            params={"kappa": 1.0},
            t=[0, 1],
            rtol=RTOL,
            atol=RTOL,
            inputs=given,
        )


def test_inputs_may_not_be_left_out():
    with pytest.raises(ModelError, match=r"takes the given functions \(m, omega, b\)"):
        integrate(
            GIVEN, init={"nu": 0}, params={"kappa": 1}, t=[0, 1], rtol=1e-6, atol=1e-6
        )


# averages

POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "s": 0.75}
START = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}


def training():
    """The training flow of the population (machine code shared with other tests)."""
    return limit_of("population").phase("weights").training


def test_training_flow_reaches_the_known_values():
    found = integrate(
        training(),
        init=START,
        params=POINT,
        t=[0, 5, 20],
        rtol=1e-9,
        atol=1e-9,
    )
    expected = [
        (1.07540, 1.15845, 0.79883, 0.65746, 0.34785),
        (1.05969, 1.12294, 1.00971, 1.01954, 0.47143),
    ]
    np.testing.assert_allclose(found.y[0, 1:], expected, atol=6e-6)
    assert 0 < found.info["average_error"] < 1e-10
    exact = integrate(SAMPLING, **GOOD)
    assert exact.info["average_error"] == 0


def test_averages_are_refined_where_they_are_steep():
    common = {"init": START | {"r": [0.4, 400.0]}, "params": POINT, "t": [0, 0.5]}
    found = integrate(training(), **common, rtol=1e-9, atol=1e-9)
    truth = integrate(training(), **common, rtol=1e-11, atol=1e-11, backend="scipy")
    assert found.info["average_error"] < 1e-11
    assert 0 < truth.info["average_error"] < 1e-13
    assert misfit(found, truth.y, 1e-9, 1e-9) < PROMISE


def test_a_row_that_dop853_cannot_take_is_not_tried_twice():
    common = {"init": START | {"q": [0.5, 1e308]}, "params": POINT, "t": [0, 0.5]}
    rough = {"rtol": 1e-6, "atol": 1e-6, "on_failure": "keep"}
    found = integrate(training(), **common, **rough)
    assert found.status.tolist() == [0, 3]
    assert "by dop853" not in found.info


def test_averages_that_the_finest_rule_does_not_know_are_said(monkeypatch):
    """The steep row needs more than the first rule, which is made the finest one."""
    monkeypatch.setattr(explicit, "LIMIT", explicit.START)
    start = START | {"r": [0.4, 400.0]}
    common = {"init": start, "params": POINT, "t": [0, 0.5], "rtol": 1e-9}
    found = integrate(training(), **common, atol=1e-9, on_failure="keep")
    assert found.status.tolist() == [0, 4]
    ending = r"not known within the tolerance\. Pass `on_failure=\"keep\"` and read"
    with pytest.raises(SolveError, match=ending):
        integrate(training(), **common, atol=1e-9)


# singular ends


TAU, N, RIDGE, SIGN = map(symbol, ("tau", "n", "ridge_u", "S"))


def variance_phase(alpha, beta):
    """The flow of M and V with its raw, singular gamma, and its closed solution."""
    spread = (RIDGE * (1 + SIGMA**2) + SIGMA**2 * (N - 1)) / (N + RIDGE)
    skip = beta * spread / (alpha**2 + beta**2 * spread)
    rate = sp.diff(beta, TAU) - sp.diff(alpha, TAU) * beta / alpha
    gamma = sp.diff(alpha, TAU) / alpha + rate * skip
    push = rate * (1 - skip * beta) * N / (N + RIDGE) * SIGN
    equations = {M: gamma * M + push, V: 2 * gamma * V}
    system = flow("variance/sampling", TAU, equations, (N, RIDGE, SIGMA, SIGN))
    return system, (beta * N / (N + RIDGE) * SIGN, alpha**2 + beta**2 * spread)


@pytest.mark.parametrize(
    "schedule",
    [
        (1 - TAU, TAU),
        (sp.cos(sp.pi * TAU / 2), sp.sin(sp.pi * TAU / 2)),
        (sp.sqrt(1 - TAU**2), TAU),
    ],
    ids=["linear", "trigonometric", "variance-preserving"],
)
def test_the_end_is_reached_where_gamma_diverges(schedule):
    system, solution = variance_phase(*schedule)
    numbers = {"n": 10.0, "ridge_u": 0.5, "sigma": 1.5, "S": -1.0}
    found = integrate(
        system,
        init={"M": 0.0, "V": 1.0},
        params=numbers,
        t=[0, 0.4, 0.9, 1.0],
        rtol=1e-10,
        atol=1e-10,
        singular_end=True,
        backend="scipy",
    )
    named = {symbol(k): v for k, v in numbers.items()}
    for i, tau in enumerate(found.t):
        exact = [float(x.subs(named).subs(TAU, tau)) for x in solution]
        np.testing.assert_allclose(found.y[0, i], exact, atol=PROMISE * 1e-10)


# the slope is infinite at the end, and has no derivative at the start
STEEP = sp.sqrt(S) + KAPPA / (2 * sp.sqrt(1 - S))
EDGE = flow("edge", S, {M: P * STEEP + SIGMA * M**2}, (P, KAPPA, SIGMA))
TO_THE_EDGE = {
    "init": {"M": [0.0, 1.0]},
    "params": {"p": 1.0, "kappa": [1.0, 2.0], "sigma": 0.0},
    "t": [0, 0.5, 1.0],
    "rtol": RTOL,
    "atol": RTOL,
}


def test_compiled_code_reaches_a_singular_end_too():
    found = integrate(EDGE, **TO_THE_EDGE, singular_end=True)
    np.testing.assert_allclose(found["M"][:, -1], [5 / 3, 11 / 3], rtol=1e-6)
    np.testing.assert_array_equal(found.t, [0, 0.5, 1.0])
    with pytest.raises(SolveError, match=r"not finite|fell below"):
        integrate(EDGE, **TO_THE_EDGE, backend="scipy")


def test_rows_without_a_series_are_taken_by_dop853():
    found = integrate(EDGE, **TO_THE_EDGE, singular_end=True)
    assert found.info["by dop853"] == 2
    later = {**TO_THE_EDGE, "t": [0.25, 1.0], "singular_end": True}
    late = integrate(EDGE, **later)
    end = np.array([0.0, 1.0]) + 7 / 12 + np.array([1.0, 2.0]) * 0.75**0.5
    np.testing.assert_allclose(late["M"][:, -1], end, rtol=PROMISE * RTOL)
    assert "by dop853" not in late.info
    kept = integrate(
        EDGE, **TO_THE_EDGE, singular_end=True, method="taylor", on_failure="keep"
    )
    assert list(kept.status) == [3, 3]


def test_an_end_of_the_form_0_over_0_is_reached():
    """V' = -kappa sin(w)/w^2 with w = sqrt(1 - s): V(1) = 1 - 2 kappa Si(1)."""
    rate = -KAPPA * sp.sin(sp.sqrt(1 - S)) / (1 - S)
    found = integrate(
        flow("edge", S, {V: rate}, (KAPPA,)),
        init={"V": 1.0},
        params={"kappa": 0.7},
        t=[0, 1.0],
        rtol=RTOL,
        atol=RTOL,
        singular_end=True,
        backend="scipy",
    )
    exact = 1 - 2 * 0.7 * sici(1.0)[0]
    assert found["V"][0, -1] == pytest.approx(exact, abs=PROMISE * RTOL)


def test_ends_that_cannot_be_reached_are_refused():
    wild = flow("wild", S, {V: -KAPPA * V / (1 - S) ** 2}, (KAPPA,))
    common = {"init": {"V": 1.0}, "params": {"kappa": 1.0}}
    common |= {"rtol": RTOL, "atol": RTOL, "singular_end": True}
    with pytest.raises(ModelError, match="must be integrable at the end"):
        integrate(wild, t=[0, 1], **common)
    with pytest.raises(ShapeError, match="must end at 1 or before"):
        integrate(wild, t=[0, 2], **common)
    with pytest.raises(ModelError, match="no given functions"):
        integrate(GIVEN, t=[0, 1], **common)


# JAX


def test_jax_agrees():
    """In double precision, whatever the user's own setting is."""
    import jax

    init, params = rows(6)
    common = {"init": init, "params": params, "t": [0, 0.3, 1.0]}
    common |= {"rtol": RTOL, "atol": RTOL}
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        found = integrate(SAMPLING, **common, backend="jax")
    finally:
        jax.config.update("jax_enable_x64", before)
    assert found.info["backend"] == "jax"
    assert misfit(found, integrate(SAMPLING, **common).y) < PROMISE


def test_gradients_are_those_of_the_map_of_ranks():
    """The rank F(nu) is kept: d nu/d theta = -(dF/d theta) / (dF/d nu)."""
    import jax

    solve = jax_solver(SAMPLING, t=[0, 1.0], rtol=1e-9, atol=1e-9, method="dopri5")

    def end(theta):
        return solve({"nu": 0.1}, {"p": theta[0], "kappa": theta[1]})["nu"][-1]

    p, kappa = 0.8, 2.0
    nu, slope = jax.jit(jax.value_and_grad(end))(np.array([p, kappa]))
    up, down = norm(kappa), norm(-kappa)
    density = p * up.pdf(nu) + (1 - p) * down.pdf(nu)
    by_p = (down.cdf(nu) - up.cdf(nu)) / density
    by_kappa = (p * up.pdf(nu) - (1 - p) * down.pdf(nu)) / density
    np.testing.assert_allclose(slope, [by_p, by_kappa], rtol=1e-6)


MEANS = flow("means", S, {M: OVERLAP * Average(sp.exp(KAPPA * G))}, (KAPPA,), [OVERLAP])


def test_jax_averages_and_takes_given_functions():
    """M' = m(s) E exp(kappa g): exp(kappa^2/2) times the integral of m."""
    import jax

    given = Inputs.of(lambda s: {"m": np.where(s < 0.4, s, -1.0)}, [0.0, 0.4, 1.0], 3)
    common = {"t": [0, 1.0], "rtol": RTOL, "atol": RTOL, "method": "dopri5"}
    solve = jax_solver(MEANS, **common, inputs=given)
    end = jax.jit(lambda kappa: solve({"M": 1.0}, {"kappa": kappa})["M"][-1])(1.5)
    exact = 1 + np.exp(1.5**2 / 2) * (0.4**2 / 2 - 0.6)
    assert float(end) == pytest.approx(exact, rel=PROMISE * RTOL)


@pytest.mark.slow
def test_jax_takes_given_functions():
    kappa = np.array([1.0, 2.5])
    given = Inputs.of(learned(kappa[:, None]), [[0.0, 0.4, 1.0]] * 2, degree=4)
    common = {"init": {"nu": [-0.4, 0.3]}, "params": {"kappa": kappa}}
    common |= {"t": [0, 0.25, 0.4, 0.7, 1.0], "rtol": RTOL, "atol": RTOL}
    found = integrate(GIVEN, **common, inputs=given, backend="jax")
    assert misfit(found, _by_hand(kappa)) < PROMISE


@pytest.mark.slow
def test_jax_integrates_the_training_flow():
    common = {"init": START, "params": POINT}
    common |= {"t": [0, 5, 20], "rtol": RTOL, "atol": RTOL}
    found = integrate(training(), **common, backend="jax")
    assert misfit(found, integrate(training(), **common).y) < PROMISE


# failures


def test_rows_fail_alone_and_keep_their_status():
    """M = 1/(1/M(0) - sigma s); a row without a series is tried by DOP853 first."""
    common = {"init": {"M": [1.0, 3.0, 0.5]}, "t": [0, 0.5, 1.0], "singular_end": True}
    common |= {"params": {"p": 0.0, "kappa": 0.0, "sigma": [0.5, 1.0, 1.0]}}
    common |= {"rtol": RTOL, "atol": RTOL}
    found = integrate(EDGE, **common, on_failure="keep")
    assert found.status[0] == found.status[2] == 0
    assert found.status[1] != 0
    assert found.reached[1] == pytest.approx(1 / 3, abs=1e-3)
    assert np.isnan(found.y[1, 1:]).all()
    assert found["M"][0, -1] == pytest.approx(2.0, abs=PROMISE * 2 * RTOL)
    with pytest.raises(
        SolveError, match=r"1 of 3 rows stopped .*rows 1; first at"
    ) as e:
        integrate(EDGE, **common)
    np.testing.assert_array_equal(e.value.result.status, found.status)


def test_too_many_steps_is_said():
    rough = GOOD | {"rtol": LOOSE, "atol": LOOSE, "method": "taylor", "max_steps": 2}
    with pytest.raises(SolveError, match="step count reached `max_steps`"):
        integrate(SAMPLING, **rough | {"params": {"p": 0.8, "kappa": 5.0}})


def test_scipy_says_where_its_steps_run_out():
    common = {"t": [0, 1], "rtol": RTOL, "atol": RTOL, "backend": "scipy"}
    rows = case(p=[1.0, 1e6]) | common | {"max_steps": 30}
    found = integrate(CASES, **rows, on_failure="keep")
    assert found.status.tolist() == [0, 2]
    assert found.reached[0] == 1
    assert 1e-5 < found.reached[1] < 1e-3  # thirty steps of 1/p or less, and some
    assert 0 < found.n_steps[1] <= 30
    assert np.isnan(found["M"][1, 1])
    exact = (np.cos(1) + np.sin(1) - np.exp(-1)) / 2  # M' = cos(s) - M
    assert found["M"][0, 1] == pytest.approx(exact, abs=PROMISE * RTOL)
    with pytest.raises(SolveError, match="step count reached `max_steps`"):
        integrate(CASES, **rows)


def test_scipy_says_that_a_row_blew_up_before_any_time_that_was_asked():
    """nu = 1/(1/3 - s) is infinite at 1/3."""
    common = {"t": [0, 1.0], "rtol": RTOL, "atol": RTOL, "backend": "scipy"}
    rows = case(nu=[3.0, 0.5], sigma=1.0) | common
    found = integrate(CASES, **rows, on_failure="keep")
    assert found.status.tolist() == [1, 0]
    assert np.isnan(found["nu"][0, 1])
    assert found.reached == pytest.approx([1 / 3, 1.0], abs=1e-3)
    assert found["nu"][1, 1] == pytest.approx(1.0, abs=PROMISE * RTOL)
    with pytest.raises(SolveError, match="1 of 2 rows stopped before t = 1"):
        integrate(CASES, **rows)


JUMP = flow("jump", S, {V: Average(sp.sign(sp.sin(40 * G)) * sp.tanh(G + V))}, ())


def test_averages_that_no_rule_knows_are_said():
    common = {"init": {"V": 0.1}, "params": {}, "t": [0, 0.01]}
    common |= {"rtol": 1e-9, "atol": 1e-9, "backend": "scipy", "method": "rk45"}
    found = integrate(JUMP, **common, on_failure="keep")
    assert found.status.tolist() == [4]
    assert found.info["average_error"] > AVERAGES * 1e-9
    with pytest.raises(SolveError, match="averages are not known within the tole"):
        integrate(JUMP, **common)


def test_an_implicit_method_says_that_slopes_are_not_finite():
    start = START | {"q": [0.5, 1e300], "r": [0.4, 1e300]}
    rough = {"rtol": 1e-6, "atol": 1e-6, "backend": "scipy", "method": "radau"}
    common = {"init": start, "params": POINT, "t": [0, 0.5], **rough}
    found = integrate(training(), **common, on_failure="keep")
    assert found.status.tolist() == [0, 3]


def test_a_stiff_flow_has_an_implicit_method(monkeypatch):
    asked, jacobian = [], reference._Row.jacobian
    monkeypatch.setattr(
        reference._Row, "jacobian", lambda *a: asked.append(a) or jacobian(*a)
    )
    found = integrate(
        CASES,
        **case(p=1e5),
        t=[0, 1],
        rtol=1e-8,
        atol=1e-8,
        backend="scipy",
        method="radau",
    )
    assert asked  # the printed one
    assert found.info["method"] == "radau"
    assert found.info["average_error"] == 0
    k, s = 1e5, 1.0
    exact = (k * k * np.cos(s) + k * np.sin(s)) / (k * k + 1)
    assert found["M"][0, -1] == pytest.approx(exact, abs=1e-6)


GOOD = {
    "init": {"nu": 0.0},
    "params": {"p": 0.8, "kappa": 2.0},
    "t": [0, 1],
    "rtol": RTOL,
    "atol": RTOL,
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"init": {}}, ModelError, r"every one of \(nu\), but `nu` is missing"),
        ({"init": {"nu": 0, "nuu": 1}}, ModelError, "`nuu`; did you mean `nu`"),
        ({"params": {"p": 0.8}}, ModelError, "`kappa` is missing"),
        ({"init": {"nu": "x"}}, ShapeError, "must be a number or an array"),
        ({"init": {"nu": [0, np.nan, 1]}}, ShapeError, "row 1 has nan"),
        ({"init": {"nu": [[0.0]]}}, ShapeError, r"has shape \(1, 1\)"),
        ({"init": {"nu": []}}, ShapeError, "is empty"),
        (
            {"init": {"nu": [0.0, 1]}, "params": {"p": [0.8] * 3, "kappa": 2.0}},
            ShapeError,
            r'`params\["p"\]` must have shape \(\) or \(2,\), but has shape \(3,\)',
        ),
        ({"t": [0, 1, 1]}, ShapeError, "two increasing times"),
        ({"t": 1.0}, ShapeError, "two increasing times"),
        ({"t": [0, np.inf]}, ShapeError, "must be finite"),
        (
            {"rtol": 0.0},
            ModelError,
            "`rtol` must be a positive number below 1, but is 0.0",
        ),
        ({"rtol": 1e-16}, ModelError, "at least 1e-14"),
        ({"atol": -1.0}, ModelError, "`atol` must be a positive number"),
        ({"max_steps": 0}, ModelError, "`max_steps` must be a positive whole"),
        ({"backend": "nunba"}, ModelError, "did you mean `numba`"),
        ({"method": "dop583"}, ModelError, "did you mean `dop853`"),
        ({"on_failure": "ignore"}, ModelError, "`on_failure` must be"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        integrate(SAMPLING, **{**GOOD, **change})


def test_only_flows_are_integrated():
    closed = System("mse", "closed", S, (Equation("E", NU, KAPPA * S),), (KAPPA,))
    with pytest.raises(ModelError, match="but `mse` is closed"):
        integrate(closed, **GOOD)


def test_states_are_asked_for_by_name():
    found = integrate(SAMPLING, **GOOD)
    with pytest.raises(ModelError, match="has the states nu, but `mu`"):
        found["mu"]
