"""Properties over the admissible set: whatever the parameters and schedules are."""

import math
import random
import sys

import dilaton
import numpy as np
import pytest
from dilaton.errors import DerivationError, DilatonError, ModelError
from dilaton.numerics.batch import solve_rows
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.numerics.codegen.parameters import closed_values
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.minima.result import BRANCHES
from dilaton.numerics.ode.integrate import integrate
from dilaton.theory.models.schedule import parse_schedule, schedule_tree
from dilaton.theory.models.spec import parse_spec
from hypothesis import assume, given, strategies as st
from scipy.stats import norm

from ..cases import POPULATION, PRODUCT, TEXT, derived, limit_of
from ..oracles import mixture, mixture_share
from ..strategies import (
    SCHEDULES,
    TARGETS,
    TIMES,
    normal,
    sized,
    training_sets,
)

ROUNDING = 1e-12  # of closed forms in double precision
FOUND = 1e-7  # a minimum: the square root of what its objective is known to
KERNELS = 1e-10  # cancellation among the terms of a training flow, in units of the sum


# ------------------------------------------------------------------- the population


@sized(60)
@given(TARGETS)
def test_the_population_generates_the_share_of_its_law(point):
    found = solve_rows(limit_of("population"), point, [0.5, 1.0])
    p, kappa = point["p"], point["kappa"]
    share = mixture_share(kappa, p)
    assert found["share_plus"][0] == pytest.approx(share, abs=1e-14)
    mirror = solve_rows(limit_of("population"), point | {"p": 1 - p}, [0.5, 1.0])
    assert found["share_plus"] + mirror["share_plus"] == pytest.approx(1)
    np.testing.assert_allclose(found["b"], -mirror["b"], atol=1e-9)
    assert found["bulk_variance"][0] == pytest.approx(point["sigma"] ** 2)
    assert found["mode_mean"][0] == pytest.approx(1)


@sized(8)
@given(TARGETS, normal(-4, 4))
def test_every_starting_point_ends_at_its_quantile(point, start):
    flow = limit_of("population").phase("weights").sampling
    settings = {"init": {"nu": start}, "params": point, "t": [0.0, 1.0]}
    ends = [
        integrate(flow, **settings, rtol=1e-10, atol=1e-12, backend=backend)["nu"][0, 1]
        for backend in ("numba", "scipy")
    ]
    np.testing.assert_allclose(*ends, rtol=1e-6, atol=1e-8)
    k, p = point["kappa"], point["p"]
    assert mixture(ends[0], k, p) == pytest.approx(norm.cdf(start), abs=1e-7)


# ------------------------------------------------------------------------ n samples


def minimum(point, s=(0.3, 1.0)):
    return minimise(limit_of("samples").phase("weights").learned, s, point)


@sized(40)
@given(TARGETS, training_sets())
def test_what_is_learned_is_a_minimum_of_vectors(target, data):
    found = minimum(target | data)
    assume(found.status[0] != "lost")
    x = {name: found[name][0] for name in found.names}
    inside = found.branch[0] == BRANCHES.index("interior")
    slack = 1 + 1e-9
    assert np.all(x["m"] ** 2 <= x["q"] * slack)
    assert np.all(x["omega"] ** 2 <= x["r"] * slack)
    finite = np.isfinite(x["v"])
    assert np.all((x["v"] ** 2 <= x["q"] * x["r"] * slack + ROUNDING)[finite])
    assert np.all(found.residual[0, inside] <= FOUND)
    assert np.all(found.eigenvalue[0, inside] > -FOUND)
    system = limit_of("samples").phase("weights").learned
    (branch,) = system.branches
    symbols = {x: float((target | data)[str(x)]) for x in system.parameters}
    saturated = float(branch.objective.subs(symbols))
    assert np.all(found.objective[0] <= saturated + FOUND)


@sized(4)
@given(TARGETS, training_sets(), st.integers(0, 2**32 - 1))
def test_no_random_point_is_lower(target, data, seed):
    point = target | data
    found = minimum(point, [1.0])
    assume(found.status[0] != "lost")
    kernel = make_kernel(limit_of("samples").phase("weights").learned, "numpy")
    rng = np.random.default_rng(seed)
    states = {"omega": rng.exponential(2, 50), "b": rng.normal(0, 3, 50)}
    given_ = {name: point[name] for name in kernel.parameters}
    with np.errstate(all="ignore"):
        values, _ = kernel.evaluate(
            "objective", params=given_, states=states, at=1.0, tol=1e-6
        )
    assert np.min(values["objective"]) >= found.objective[0, 0] - 1e-6


@sized(25)
@given(TARGETS, training_sets())
def test_exchanging_the_classes_mirrors_everything(target, data):
    mirrored = data | {"n_plus": data["n"] - data["n_plus"]}
    one, two = minimum(target | data), minimum(target | mirrored)
    assume("lost" not in (one.status[0], two.status[0]))
    same = one.branch[0] == two.branch[0]
    assume(same.all())
    for name, sign in (("omega", 1), ("r", 1), ("q", 1), ("b", -1)):
        a, b = one[name][0], sign * two[name][0]
        finite = np.isfinite(a) & np.isfinite(b)
        np.testing.assert_allclose(a[finite], b[finite], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.objective, two.objective, atol=1e-9)


@sized(20)
@given(TARGETS, training_sets(most=100))
def test_equal_classes_have_no_bias(target, data):
    half = max(1, data["n"] // 2)
    found = minimum(target | data | {"n": 2 * half, "n_plus": half})
    inside = found.branch[0] == BRANCHES.index("interior")
    assume(inside.any())
    # a symmetric problem may have a pair of minima off the axis; then there are two
    assume(found.minima[0] == 1)
    np.testing.assert_allclose(found["b"][0, inside], 0, atol=1e-5)


@sized(15)
@given(normal(0.05, 0.95), normal(0.5, 2.5))
def test_many_samples_are_the_population(p, kappa):
    """The ridges cost 1/n, the wrong `omega` at least exp(-kappa^2/2)."""
    n = 10**7
    data = {"n": n, "n_plus": round(p * n), "ridge_u": 1.0, "ridge_w": 1.0}
    found = minimum({"p": p, "sigma": 1.0, "kappa": kappa} | data, [1.0])
    known = {
        "m": 1,
        "q": 1,
        "omega": kappa,
        "r": kappa**2,
        "b": np.log(p / (1 - p)) / 2,
    }
    for name, value in known.items():
        assert found[name][0, 0] == pytest.approx(value, rel=1e-3, abs=1e-3)


@sized(25)
@given(st.integers(2, 50), normal(0.1, 3), st.integers(1, 20))
def test_without_a_ridge_the_bulk_is_the_training_set(n, sigma, draws):
    """ridge -> 0: the modes are the class means, the bulk the spread around them."""
    point = {"n": n, "sigma": sigma, "ridge_u": 1e-12}
    for name, more in (("samples", {}), ("frozen", {"noise_draws": draws})):
        phase = limit_of(name).phase("variance")
        end = closed_values(phase.learned, np.array([1.0]), point | more)
        assert end["c"][0] == pytest.approx(1)
        values = point | more | {"S": 1.0}
        flow = phase.sampling
        closed = {str(e.lhs): e.rhs for e in flow.solution}
        at = {x: values[str(x)] for x in flow.parameters} | {flow.time: 1.0}
        assert float(closed["M"].subs(at)) == pytest.approx(1)
        rows = n * draws
        spread = sigma**2 * (n - 1) / n
        if name == "frozen":
            spread *= rows / (rows - 1)  # a row's own noise is fitted too
        assert float(closed["V"].subs(at)) == pytest.approx(spread)


def test_shares_are_shares_and_say_how_well_they_are_known():
    outcomes = []

    @sized(12)
    @given(TARGETS, training_sets(most=60))
    def check(target, data):
        found = solve_rows(limit_of("samples"), target | data, [1.0], rtol=1e-6)
        outcomes.append(found["status"][0])
        if found["status"][0] == "failed":
            assert found["reason"][0]
            return
        assert 0 <= found["share_plus"][0] <= 1
        assert found["share_plus_error"][0] <= 1e-4
        assert found["bulk_variance"][0] > 0

    check()
    assert set(outcomes) <= {"ok", "failed"}
    assert outcomes.count("ok") > 0.8 * len(outcomes)


# ---------------------------------------------------------------------- the backends

SYSTEMS = [
    ("samples", "weights", "sampling", "rhs"),
    # its functions and pairs of fields are those of the two around it, ten times over
    pytest.param("samples", "weights", "training", "rhs", marks=pytest.mark.slow),
    ("population", "weights", "training", "rhs"),
    ("product", "weights-2", "learned", "values"),
    ("preserving", "variance", "sampling", "rhs"),
]


@pytest.mark.parametrize(("model", "phase", "role", "function"), SYSTEMS)
def test_the_backends_agree_at_random_points(model, phase, role, function):
    system = getattr(limit_of(model).phase(phase), role)
    kernels = [make_kernel(system, backend) for backend in ("numpy", "numba", "jax")]

    @sized(10)
    @given(st.integers(0, 2**32 - 1))
    def check(seed):
        rng = np.random.default_rng(seed)
        params = {name: rng.uniform(0.5, 3) for name in kernels[0].parameters}
        params |= {k: rng.uniform(0.1, 0.9) for k in params if k[0] in "ps"}
        params |= {k: rng.uniform(5, 9) for k in params if k == "n"}
        states = (
            {name: rng.uniform(0.1, 0.9) for name in kernels[0].states}
            if function == "rhs"
            else None
        )
        inputs = {name: rng.normal(0, 1) for name in kernels[0].inputs}
        found = [
            kernel.evaluate(
                function, params=params, states=states, inputs=inputs, at=0.6
            )[0]
            for kernel in kernels
        ]
        for other in found[1:]:
            for name, value in found[0].items():
                np.testing.assert_allclose(
                    np.asarray(other[name]), value, rtol=KERNELS, atol=KERNELS
                )

    check()


# ---------------------------------------------------------------------- any schedule


def check_schedule_pair(pair, target):
    """Derive and check one schedule; returns whether the engine could resolve it."""
    text = POPULATION.replace('"1 - tau"', f'"{pair[0]}"').replace(
        '"tau"', f'"{pair[1]}"'
    )
    spec = parse_spec(text).replace(**target)
    try:
        limit = derived(spec.model)
    except DerivationError:
        return False
    names = [phase.name for phase in limit.phases]
    assert sum(name.startswith("weights") for name in names) == 1
    times = np.array([0.2, 0.6, 0.9])
    values = {
        name: spec.values["kappa" if name[:5] == "kappa" else name]
        for name in limit.parameters
        if name in spec.values or name[:5] == "kappa"
    }
    share = solve_rows(limit, values, times)["share_plus"][0]
    for phase in limit.phases:
        if phase.features:
            known = {str(x): values[str(x)] for x in phase.learned.parameters}
            x = closed_values(phase.learned, times, known)
            assert np.all(x["m"] ** 2 <= x["q"] * (1 + ROUNDING))
            assert np.all(x["omega"] ** 2 <= x["r"] * (1 + ROUNDING))
            np.testing.assert_allclose(
                x["b"], np.log(target["p"] / (1 - target["p"])) / 2
            )
    low, high = sorted((target["p"], 1 - target["p"]))
    assert low - ROUNDING <= share <= high + ROUNDING
    return True


@pytest.mark.parametrize(
    "pair",
    [
        ("sqrt(1 - tau**2)", "log(1 + tau)/log(2)"),
        ("d**(1/4)*(1 - tau)", "tau**(1/2)"),
        ("(1 - tau)**(1/2)", "tau**(2)"),
    ],
)
def test_schedules_of_the_grammar_are_derived_and_solved(pair):
    assert check_schedule_pair(pair, {"p": 0.7, "sigma": 1.4, "kappa": 1.3})


@pytest.mark.slow
def test_many_schedules_are_derived_or_refused():
    outcomes = []

    @sized(80)
    @given(SCHEDULES, TARGETS)
    def check(pair, target):
        outcomes.append(check_schedule_pair(pair, target))

    check()
    assert np.mean(outcomes) > 0.5


@pytest.mark.parametrize(
    ("alpha", "beta", "slope"),
    [
        ("sqrt(1 - tau)", "sin(pi*tau/2)", np.pi / 2),
        ("1 - tau**2", "(1/10)*tau + (9/10)*tau**2", 0.1),
        ("1 - tau", "tau*(1 + tau)/2", 0.5),
    ],
)
def test_a_share_depends_on_a_schedule_by_the_slope_of_beta(alpha, beta, slope):
    text = POPULATION.replace('"1 - tau"', f'"{alpha}"').replace('"tau"', f'"{beta}"')
    spec = parse_spec(text).replace(p=0.8, kappa=1.3)
    found = solve_rows(derived(spec.model), spec.values, [0.5])
    wanted = mixture_share(1.3 * slope, 0.8)
    assert found["share_plus"][0] == pytest.approx(wanted, abs=ROUNDING)


# ---------------------------------------------------------------------------- the fuzz

PIECES = (
    *("tau", "d", "pi", "1", "2", "0.5", "1e9", "+", "-", "*", "/", "**", "(", ")"),
    *("sqrt(", "exp(", "log(", "cos(", "__import__('os')", "eval(", "lambda:", " if "),
    *("[", "]", ".", ",", ":=", "@", "%", "1j", "'", "\\", "\n", "τ", "tau", ")", "(*"),
)
LINES = tuple(TEXT.splitlines()) + tuple(PRODUCT.splitlines())
VALUES = (
    "nan",
    "-1",
    '"inf"',
    "1e400",
    "[]",
    "{}",
    "true",
    '"x"',
    "0x10",
    "1979-05-27",
)
WATCHED = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
)


def formula(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12)))


def spec_text(rng):
    """A spec with lines dropped, doubled or exchanged and values replaced."""
    lines = list(rng.choice((TEXT, PRODUCT, POPULATION)).splitlines())
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(lines))
        change = rng.randrange(6)
        if change == 0:
            del lines[i]
        elif change == 1:
            lines.insert(i, rng.choice(LINES))
        elif change == 2:
            lines[i] = lines[i].split("=")[0] + "= " + rng.choice(VALUES)
        elif change == 3:
            lines[i] = lines[i].split("=")[0] + f'= "{formula(rng)}"'
        elif change == 4:
            at = rng.randrange(len(lines[i]) + 1)
            lines[i] = lines[i][:at] + chr(rng.randrange(1, 0x300)) + lines[i][at:]
        else:
            lines[i] = rng.choice(LINES)
        lines = lines or [""]
    return "\n".join(lines)


class Watch:
    """Counts what Python is asked to run while `active`; hooks cannot be removed."""

    active, seen = False, []

    def __call__(self, event, arguments):
        if self.active and event.startswith(WATCHED):
            self.seen.append((event, arguments))


@pytest.fixture(scope="module")
def watch():
    hook = Watch()
    sys.addaudithook(hook)
    yield hook
    hook.active = False


def fuzz(watch, cases, seed):
    """Parse random specs and schedules; only documented errors, nothing is run."""
    rng = random.Random(seed)
    specs = formulas = 0
    watch.active = True
    try:
        for _ in range(cases // 2):
            text = spec_text(rng)
            try:
                spec = parse_spec(text)
                assert parse_spec(spec.text).digest == spec.digest
                specs += 1
            except ModelError:
                pass
            except DilatonError as error:
                pytest.fail(f"{error!r} for {text!r}")
            text = formula(rng)
            try:
                tree = schedule_tree(text)
                formulas += 1
            except ModelError:
                continue
            assert tree is not None
    finally:
        watch.active = False
    assert watch.seen == []
    return specs, formulas


def test_fuzzed_input_is_read_or_refused(watch):
    specs, formulas = fuzz(watch, 4000, seed=1)
    assert specs > 40  # the fuzz is no use if nothing gets through
    assert formulas > 40


@pytest.mark.slow
def test_a_hundred_thousand_inputs_are_read_or_refused(watch):
    specs, formulas = fuzz(watch, 100_000, seed=2)
    assert min(specs, formulas) > 500


def test_the_watch_sees_what_is_run(watch):
    import subprocess

    watch.active = True
    subprocess.run(["true"], check=True)
    watch.active = False
    assert watch.seen
    watch.seen.clear()


@sized(150)
@given(SCHEDULES, TIMES)
def test_a_formula_means_what_python_says(pair, time):
    """The judge is Python's own arithmetic on texts that are known to be formulas."""
    names = {name: getattr(math, name) for name in ("sqrt", "sin", "cos", "tan", "exp")}
    names |= {"log": math.log, "sinh": math.sinh, "pi": math.pi, "tau": time, "d": 16.0}
    for text in pair:
        said = eval(text, {"__builtins__": {}}, names)
        read = parse_schedule(text)
        point = {x: names[str(x)] for x in read.free_symbols}
        assert float(read.subs(point).evalf(30).as_real_imag()[0]) == pytest.approx(
            said, rel=1e-9, abs=1e-9
        )


def test_the_public_names_are_all_there():
    for name in dilaton.__all__:
        assert getattr(dilaton, name) is not None
