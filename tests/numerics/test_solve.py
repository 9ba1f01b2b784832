"""Solving a limit: listed values, simulated samples, labels, messages."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from dilaton import Autoencoder, Data, Interpolant, Model, solve
from dilaton.errors import ModelError, SolveError
from dilaton.numerics.codegen.parameters import Solver
from dilaton.numerics.codegen.snapshot import printed, printed_limit
from dilaton.numerics.share import (
    sampled_starts as starts,
    several_features as classshares,
)
from dilaton.theory.models.model import TAU, VARIANCE_EXPLODING, D, product, two_modes
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.symbols.system import Equation, System
from scipy.stats import norm
from sympy import Rational, sqrt

from ..cases import derived, limit_of
from ..oracles import mixture_share

CLOSED = 1e-12  # a share in closed form
LISTED = 1e-4  # digits of the listed minimum
FLOW = 1e-6  # integrated at rtol 1e-9
SIGMAS = 4.5  # standard errors of simulated samples
COMPILED = {"rtol": 1e-9, "atol": 1e-11}
TOLERANCES = {**COMPILED, "backend": "scipy"}  # nothing to compile for one row
NUMBERS = {"p": 0.8, "sigma": 1.5, "kappa": 2.0}
SAMPLES = {"n": 16, "n_plus": 13, "ridge_u": 0.1, "ridge_w": 0.1}


def solved(name, s=(0.0, 0.5, 1.0), **values):
    """By SciPy; samples by the machine code that other files of tests compile, too."""
    backend = {"backend": "numba"} if name == "samples" else {}
    return solve(limit_of(name), s=s, **TOLERANCES | backend, **{**NUMBERS, **values})


@pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("p", [0.8, 0.35])
def test_the_share_of_the_population(kappa, p):
    found = solved("population", kappa=kappa, p=p)
    exact = mixture_share(kappa, p)
    assert float(found.share_plus) == pytest.approx(exact, abs=CLOSED)
    assert abs(mixture_share(kappa, 1 - p) - exact) > 1e-3


@pytest.mark.parametrize("kappa", [0.5, 3.0])
def test_the_population_ends_with_its_weight(kappa):
    found = solved("population", kappa=kappa, p=0.35)
    assert float(found.final_share_plus) == pytest.approx(0.35, abs=CLOSED)
    assert abs(float(found.share_plus) - 0.35) > 1e-4


def test_samples_end_with_the_share_of_a_window_without_an_end():
    """n = 16: listed are the shares after windows of kappa = 100 and 1000."""
    short = solved("samples", s=[1.0], sigma=1.0, kappa=0.8, **SAMPLES)
    end, error = float(short.final_share_plus), float(short.final_share_plus_error)
    assert end == pytest.approx(0.83899231, abs=1e-7)
    assert error < 1e-7 < end - 0.83898462 < 1e-5  # the last ones change sides late
    assert abs(end - float(short.share_plus)) > 1e-3


def test_the_population_ends_at_the_target():
    found = solve(limit_of("population"), s=[0, 0.5, 1], **COMPILED, **NUMBERS)
    assert float(found.mode_mean) == pytest.approx(1.0, abs=FLOW)
    assert float(found.bulk_variance) == pytest.approx(2.25, abs=FLOW)
    late = found.isel(t=found.phase == "variance")
    s = late.s.values
    assert np.allclose(late.M, s, atol=FLOW)
    assert np.allclose(late["V"], (1 - s) ** 2 + 2.25 * s**2, atol=FLOW)


@pytest.mark.parametrize("s", [[0.25, 0.5], [0.9], [0.0]])
def test_the_end_is_the_end_whatever_times_are_asked(s):
    found = solved("population", s=s)
    assert float(found.mode_mean) == pytest.approx(1.0, abs=FLOW)
    assert float(found.bulk_variance) == pytest.approx(2.25, abs=FLOW)


def test_the_end_of_samples_is_the_end_where_only_the_start_is_asked():
    samples = solved("samples", s=[0.0], sigma=1.0, **SAMPLES)
    assert float(samples.mode_mean) == pytest.approx(16 / 16.1, abs=FLOW)
    assert float(samples.bulk_variance) == pytest.approx(15.2 / 16.1, abs=FLOW)


def test_coordinates_and_labels():
    found = solved("population")
    assert found.phase.values.tolist() == ["weights"] * 3 + ["variance"] * 3
    assert np.allclose(found.t, [0, 0.25, 0.5, 0.5, 0.75, 1.0])
    assert np.allclose(found.s, [0, 0.5, 1.0] * 2)
    early = found.isel(t=found.phase == "weights")
    assert np.allclose(early.omega, [0, 1, 2])
    assert np.allclose(early.b, np.log(4) / 2)
    assert np.allclose(early.c_hat, 2.25 * np.array([0, 1, 2]))
    assert np.all(np.isnan(early.M))
    about = json.loads(found.attrs["json"])
    assert about["values"] == NUMBERS
    assert about["solver"]["rtol"] == TOLERANCES["rtol"]
    assert list(found.attrs) == ["json"]


def test_a_solution_survives_a_file(tmp_path):
    found = solved("population")
    path = tmp_path / "solution.nc"
    found.to_netcdf(path, engine="scipy")
    with xr.open_dataset(path, engine="scipy") as back:
        assert set(back.data_vars) == set(found.data_vars)
        for name in found.data_vars:
            assert np.allclose(back[name], found[name], equal_nan=True)
        assert json.loads(back.attrs["json"]) == json.loads(found.attrs["json"])
        assert [str(x) for x in back.phase.values] == found.phase.values.tolist()


def test_one_kappa_serves_every_window():
    values = {"p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 2.0, "sigma": 1.0}
    limit = derived(Model(product(0, "1/4")))
    one = solve(limit, s=[0.5, 1.0], **TOLERANCES, **values, kappa=2.0)
    two = solve(limit, s=[0.5, 1.0], **TOLERANCES, **values, kappa_1=2.0, kappa_2=2.0)
    assert one.identical(two) or np.allclose(one.share_plus, two.share_plus)
    exact = [mixture_share(2.0, 0.8), mixture_share(2.0 * np.sqrt(2), 0.3)]
    assert one.share_plus.dims == ("feature",)
    assert np.allclose(one.share_plus, exact, atol=CLOSED)
    assert np.allclose(one.mode_mean, 1.0, atol=FLOW)
    other = solve(limit, s=[0.5, 1.0], **TOLERANCES, **values, kappa_1=2.0, kappa_2=1.0)
    assert float(other.share_plus[0]) == pytest.approx(exact[0], abs=CLOSED)
    assert abs(float(other.share_plus[1]) - exact[1]) > 0.01


# ------------------------------------------------------------- trajectories of nu

STARTS = np.array([-2.1, -0.7, -0.3, 0.0, 0.9])
LATE_VARIANCE = Interpolant(D ** Rational(1, 4) * (1 - TAU), TAU)  # bridge in between
ODD = {"p_1": 0.8, "rho_1": 1.0, "sigma": 1.0, "kappa": 2.0}


def rank(nu, alpha, beta):
    """The law of the interpolant in a window: two modes at +-beta."""
    up, down = (norm.cdf((nu - x) / alpha) for x in (beta, -beta))
    return 0.8 * up + 0.2 * down


@pytest.mark.parametrize("s", [[0.0, 0.4, 1.0], [0.3, 0.8]])
@pytest.mark.parametrize("model", [two_modes, LATE_VARIANCE], ids=["paper", "bridge"])
def test_trajectories_keep_their_rank(model, s):
    """A flow in one dimension carries quantiles of N(0, 1) to those of the law."""
    interpolant = {} if model is two_modes else {"interpolant": model}
    limit = derived(Model(two_modes(), **interpolant))
    found = solve(limit, s=s, nu0=STARTS, **TOLERANCES, **NUMBERS)
    assert found.nu.dims == ("t", "nu0")
    nu = found.nu.values[found.phase == "weights"]
    beta = 2.0 * np.array(s)[:, None]
    assert np.allclose(rank(nu, 1.0, beta), norm.cdf(STARTS), atol=FLOW)
    assert not np.allclose(rank(nu, 1.0, -beta), norm.cdf(STARTS), atol=0.01)
    assert np.all(np.isnan(found.nu.values[found.phase != "weights"]))
    assert np.all(np.isnan(found.M.values[found.phase != "variance"]))


def test_trajectories_start_after_a_bridge():
    """The noise goes from kappa to 0 across the window, and the mode is at rest."""
    limit = derived(Model(product("1/4"), VARIANCE_EXPLODING))
    assert [phase.name for phase in limit.phases] == ["bridge", "weights", "variance"]
    found = solve(limit, s=[0.5, 0.9], nu0=STARTS, **TOLERANCES, **ODD)
    nu = found.nu_1.values[found.phase == "weights"]
    alpha = 2.0 * np.array([[0.5], [0.1]])
    assert np.allclose(rank(nu, alpha, 1.0), rank(STARTS, 2.0, 1.0), atol=FLOW)
    assert np.all(np.isnan(found.nu_1.values[found.phase != "weights"]))


# ---------------------------------------------------------------------- n samples

MIDDLES = (np.arange(20) + 0.5) / 20


@pytest.fixture(scope="module")
def sixteen():
    """Learned at kappa = 2, with the times of 20 midpoint steps and 0.75 among them."""
    times = np.sort([*MIDDLES, 0.75, 1.0])
    return solved("samples", s=times, sigma=1.0, **SAMPLES)


def test_the_listed_minimum(sixteen):
    row = sixteen.isel(t=sixteen.phase == "weights").set_index(t="s").sel(t=0.75)
    listed = {
        "omega": 1.11736,
        "zeta_plus": 0.04298,
        "zeta_minus": -0.18623,
        "b": 0.69352,
        "m": 1.02368,
        "a_plus": 0.06807,
        "a_minus": -0.04624,
        "r": 1.37655,
    }
    for name, number in listed.items():
        assert float(row[name]) == pytest.approx(number, abs=LISTED), name


def followed(rows, count, rule="midpoint"):
    """Sample paths of the three projections through the window, by hand."""
    rng = np.random.default_rng(11)
    nu, g_p, g_m = rng.normal(size=(3, count))
    n_p, n_m, step = 13.0, 3.0, 1 / len(MIDDLES)
    for i in range(len(MIDDLES)):
        at = {k: float(rows[k][i]) for k in rows}
        before = (nu, g_p, g_m)
        for share in (0.5, 1.0) if rule == "midpoint" else (1.0,):
            field = at["omega"] * nu + at["b"]
            field = field + np.sqrt(n_p) * at["zeta_plus"] * g_p
            field = field + np.sqrt(n_m) * at["zeta_minus"] * g_m
            push = share * step * 2.0 * np.tanh(field)
            nu = before[0] + at["m"] * push
            g_p = before[1] + np.sqrt(n_p) * at["a_plus"] * push
            g_m = before[2] + np.sqrt(n_m) * at["a_minus"] * push
    return nu


def test_the_share_of_sixteen_samples(sixteen):
    """Listed for 20 steps: share .8036, mean 1.2869, spread 1.7775 of nu at s = 1."""
    early = sixteen.isel(t=sixteen.phase == "weights").set_index(t="s")
    early = early.sel(t=MIDDLES)
    names = ("omega", "b", "m", "a_plus", "a_minus", "zeta_plus", "zeta_minus")
    rows = {k: early[k].values for k in names}
    nu = followed(rows, count := 400_000)
    error = nu.std() / np.sqrt(count)
    # the listed numbers are means over samples too, with four digits
    assert nu.mean() == pytest.approx(1.2869, abs=SIGMAS * error + 5e-3)
    assert nu.std() == pytest.approx(1.7775, abs=0.01)
    share = np.mean(nu > 0)
    spread = np.sqrt(share * (1 - share) / count)
    assert share == pytest.approx(0.8036, abs=SIGMAS * spread + 1e-3)
    exact = float(sixteen.share_plus)
    assert abs(exact - share) < SIGMAS * spread + 1e-3  # second-order steps of 1/20
    assert float(sixteen.share_plus_error) < 1e-6
    flipped = followed({**rows, "b": -rows["b"]}, count)
    assert abs(np.mean(flipped > 0) - exact) > 0.1


def test_samples_in_the_variance_phase(sixteen):
    late = sixteen.isel(t=sixteen.phase == "variance")
    a = (0.1 * 2 + 15) / 16.1
    s = late.s.values
    c = s * a / ((1 - s) ** 2 + s**2 * a)
    assert np.allclose(late.c, c, atol=1e-10)
    assert np.allclose(late.m, (1 - c * s) * 16 / 16.1, atol=1e-10)
    assert float(sixteen.mode_mean) == pytest.approx(16 / 16.1, abs=FLOW)
    assert float(sixteen.bulk_variance) == pytest.approx(a, abs=FLOW)


def test_a_silent_unit_has_numbers_at_the_start_of_its_window():
    """Without bias `w = 0` at s = 0, where `v` and `c_hat` vanish too."""
    limit = derived(Model(two_modes(), autoencoder=Autoencoder(bias=False)))
    found = solve(limit, s=[0.0, 0.5], **TOLERANCES, **NUMBERS)
    early = found.isel(t=found.phase == "weights")
    for name in ("m", "q", "omega", "r", "v", "c_hat"):
        assert early[name].values[0] == 0, name
    # the network is the Bayes denoiser: u = mu, w = kappa s mu
    assert early.v.values[1] == pytest.approx(0.5 * 2.0, abs=FLOW)
    assert early.c_hat.values[1] == pytest.approx(0.5 * 2.0 * 1.5**2, abs=FLOW)


def test_a_counted_feature_is_solved_as_two_modes_are(sixteen, monkeypatch):
    monkeypatch.setattr(classshares, "POINTS", 256)
    limit = derived(Model(product(0), data=Data(samples=True)))
    values = {"rho_1": 1.0, "p_1": 0.8, "n_p": 13, "n_m": 3, "sigma": 1.0}
    values |= {"kappa": 2.0, "ridge_u": 0.1, "ridge_w": 0.1}
    found = solve(limit, s=[0.75, 1.0], **TOLERANCES, **values)
    for phase in ("weights", "variance"):
        here, there = (x.isel(t=x.phase == phase) for x in (found, sixteen))
        there = there.isel(t=np.isin(there.s, [0.75, 1.0]))
        for name, other in (("m_1", "m"), ("q_1", "q"), ("a_1_p", "a_plus")):
            other = "a" if (phase, other) == ("variance", "a_plus") else other
            assert np.allclose(here[name], there[other], atol=1e-9), (phase, name)
    error = float(found.share_plus_error)
    assert 0 < error < 2e-3
    assert abs(float(found.share_plus - sixteen.share_plus)) < SIGMAS * error
    assert float(found.mode_mean) == pytest.approx(float(sixteen.mode_mean))
    assert float(found.bulk_variance) == pytest.approx(float(sixteen.bulk_variance))


def test_the_metadata_say_what_found_counted_minima_and_their_share(monkeypatch):
    """The minima of classes are SciPy's whatever was asked for; the flow is not."""
    asked = []

    def carried(*given):
        asked.append(given[-1].backend)
        return starts.carried_starts(*given[:-1], replace(given[-1], backend="scipy"))

    monkeypatch.setattr(classshares, "POINTS", 16)
    monkeypatch.setattr(classshares, "carried_starts", carried)
    limit = derived(Model(product(0), data=Data(samples=True)))
    values = {"rho_1": 1.0, "p_1": 0.8, "n_p": 13, "n_m": 3, "sigma": 1.0}
    values |= {"kappa": 2.0, "ridge_u": 0.1, "ridge_w": 0.1}
    found = solve(limit, s=[1.0], **COMPILED, backend="numba", **values)
    by = json.loads(found.attrs["json"])["solver"]["computed_by"]["weights"]
    assert (asked, by) == (["numba"], {"learned": "scipy", "share": "numba"})


@pytest.mark.parametrize(
    ("start", "why"),
    [(np.nan, "at s = 0: Its slopes are not finite"), (2.0, r"at s = 0\.5: Required")],
)
def test_a_flow_that_stops_is_not_followed_for_ever(start, why):
    """From 2 the flow dnu/ds = nu^2 is infinite at s = 1/2."""
    nu, s = symbol("nu"), symbol("s")
    flow = System("blow-up", "flow", s, (Equation("T1", nu, nu**2),), ())
    given = printed(flow), np.full((2, 1), start), None, {}, (0.0, 1.0)
    solver = Solver("scipy", LISTED, LISTED)
    with np.errstate(all="ignore"), pytest.raises(SolveError, match=why):
        starts.carried_starts(*given, solver)


NUMBA = pytest.param("numba", marks=pytest.mark.slow)


@pytest.mark.parametrize("backend", ["scipy", NUMBA])
def test_the_share_of_a_flow_that_is_followed_is_that_of_the_reduced_one(
    sixteen, monkeypatch, backend
):
    ends, inputs = [], []

    def noted(*args):
        inputs.append(args[2])
        ends.append(carried_starts(*args))
        return ends[-1]

    carried_starts = starts.carried_starts
    monkeypatch.setattr(starts, "carried_starts", noted)
    monkeypatch.setattr(starts, "POINTS", 32)
    phase = printed_limit(limit_of("samples")).phases[0]
    point = {**NUMBERS, "sigma": 1.0, **SAMPLES}
    solver = Solver(backend, 1e-6, 1e-6)
    ((share, error),) = starts.followed_shares(phase, point, solver)
    shares = (ends[0][:, 0].reshape(starts.SCRAMBLES, -1) > 0).mean(axis=1)
    assert len(set(shares)) > 1  # each scramble starts elsewhere
    assert share == pytest.approx(shares.mean())
    assert error == pytest.approx(shares.std(ddof=1) / starts.SCRAMBLES**0.5)
    assert abs(share - float(sixteen.share_plus)) < SIGMAS * error
    (given,) = inputs
    early = sixteen.isel(t=sixteen.phase == "weights")
    times = early.s.values
    for name in given.names:
        curve = np.clip(early[name], -400.0, 400.0)
        # Chebyshev sums of degree 24 on pieces that end at the switch
        assert np.allclose(given(times)[name][0], curve, atol=1e-6), name


def test_frozen_noise_has_no_share():
    found = solved("frozen", **SAMPLES, noise_draws=3, sigma=1.0)
    assert np.isnan(float(found.share_plus))
    assert np.all(np.isnan(found.b))
    rows = 48.0
    a = (0.1 * 2 + 3 * 15) / (rows + 0.1)
    b = (rows + 0.1 - 1) / (rows + 0.1)
    assert float(found.mode_mean) == pytest.approx(rows / (rows + 0.1), abs=FLOW)
    assert float(found.bulk_variance) == pytest.approx(a / b, abs=FLOW)


# ------------------------------------------------------------------ other schedules


def test_exploding_variance_keeps_the_weight_exactly():
    found = solved("exploding")
    assert float(found.share_plus) == pytest.approx(0.8, abs=CLOSED)
    assert float(found.bulk_variance) == pytest.approx(2.25, abs=FLOW)


@pytest.mark.slow
def test_samples_with_exploding_variance():
    """The noise vanishes at s = 1: paths by hand in x = -log(1 - s), until .999."""
    model = Model(two_modes(), VARIANCE_EXPLODING, data=Data(samples=True))
    numbers = {"sigma": 1.0, "p": 0.8, "kappa": 2.0, **SAMPLES}
    ends = np.linspace(0, 6.8, 501)
    middles = -np.expm1(-(ends[1:] + ends[:-1]) / 2)
    found = solve(derived(model), s=middles, **TOLERANCES, **numbers)
    early = found.isel(t=found.phase == "weights")
    names = ("omega", "b", "m", "a_plus", "a_minus", "zeta_plus", "zeta_minus")
    rows = {k: np.clip(early[k].values, -40, 40) for k in names}
    count, step = 50_000, ends[1]
    paths = np.random.default_rng(0).normal(size=(3, count))
    roots = np.sqrt([1.0, 13.0, 3.0])
    for i in range(len(middles)):
        omega, b, *rest = (rows[k][i] for k in names)
        pull = roots * np.array([omega, *rest[3:]])
        push = (roots * np.array(rest[:3]))[:, None]

        def rate(y, pull=pull, push=push, b=b):
            return push * np.tanh(pull @ y + b) - y

        paths = paths + step * rate(paths + step / 2 * rate(paths))
    share = np.mean(paths[0] > 0)
    error = np.sqrt(share * (1 - share) / count)
    assert abs(float(found.share_plus) - share) < SIGMAS * error
    assert float(found.share_plus_error) < 1e-4


def test_rates_that_diverge_at_the_start_are_solved():
    """alpha = sqrt(1 - tau), beta = sqrt(tau): M = sqrt(s), V = 1 - s + sigma^2 s."""
    limit = derived(Model(two_modes(), Interpolant(sqrt(1 - TAU), sqrt(TAU))))
    s = [0.0, 0.25, 0.5, 1.0]
    found = solve(limit, s=s, **TOLERANCES, **NUMBERS)
    late = found.isel(t=found.phase == "variance")
    assert np.allclose(late.M, np.sqrt(s), atol=FLOW)
    assert np.allclose(late["V"], 1 + 1.25 * np.array(s), atol=FLOW)


# ------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"p": None}, "`p` is missing"),
        ({"kapa": 2.0}, "did you mean `kappa`"),
        ({"p": 1.2}, "between 0 and 1"),
        ({"sigma": 0.0}, "positive"),
        ({"n": 5}, "`n` was given"),
    ],
)
def test_parameters_are_all_given_known_and_admissible(change, words):
    values = {k: v for k, v in {**NUMBERS, **change}.items() if v is not None}
    with pytest.raises(ModelError, match=words):
        solve(limit_of("population"), s=[0, 1], **TOLERANCES, **values)


@pytest.mark.parametrize("s", [[0.5, 0.2], [-0.1, 1], [0, 2.0], [0.5, 0.5]])
def test_times_increase_in_the_unit_interval(s):
    with pytest.raises(ModelError, match=r"`s` must"):
        solve(limit_of("population"), s=s, **TOLERANCES, **NUMBERS)


def test_trajectories_of_samples_are_refused():
    with pytest.raises(ModelError, match="but those of `weights` are searched for"):
        solved("samples", **{**SAMPLES, "sigma": 1.0, "nu0": [0.5]})


def test_more_plus_samples_than_samples_are_refused():
    with pytest.raises(ModelError, match="`n_plus` must be below `n`"):
        solved("samples", **{**SAMPLES, "n_plus": 17})


def test_data_are_frozen_records():
    assert Data() == Data(samples=False, frozen_noise=False)
