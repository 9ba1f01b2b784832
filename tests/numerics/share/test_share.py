"""The share of the + mode, against simulation, and sweeps over derived limits."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import warnings

import dilaton
import numpy as np
import pytest
import xarray as xr
from dilaton.errors import DerivationError, ModelError, SolveError
from dilaton.numerics.batch import solve_rows
from dilaton.numerics.codegen.parameters import Solver
from dilaton.numerics.codegen.snapshot import printed_limit
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.share import backward_scipy, sampled_starts
from dilaton.numerics.share.reduced import sample_share
from dilaton.numerics.sweep.job import sweep
from dilaton.theory.derive import derive
from dilaton.theory.models.model import Autoencoder, Data, Model, product, two_modes
from dilaton.theory.models.spec import parse_spec
from scipy.integrate import solve_ivp
from scipy.stats import norm

from ...oracles import mixture_share
from .forwards import shares_forwards

STEPS = 100  # of the simulation; its error is far below its standard error
SMALL = {"p": 0.8, "kappa": 2.0, "n": 16, "n_plus": 13, "sigma": 1.0}
SMALL |= {"ridge_u": 0.1, "ridge_w": 0.1}
PAPER = {"p": 0.8, "kappa": 2.0, "n": 128, "n_plus": 102, "sigma": 1.0}
PAPER |= {"ridge_u": 2.0, "ridge_w": 2.0}
WIDE = {"p": 0.5, "kappa": 5.0, "n": 12, "n_plus": 4, "sigma": 2.0}
WIDE |= {"ridge_u": 1.0, "ridge_w": 1.0}
COMPILED = Solver("numba", 1e-8)
ACCURATE = 1e-6  # 100 times the default tolerance of a share
DRAWN = 80  # rows at random, at two tolerances: fewer than machine code is made for

BENT = {"p": 0.8, "kappa": 2.0, "n": 200, "n_plus": 101, "sigma": 1.0}
BENT |= {"ridge_u": 0.05, "ridge_w": 0.02}
FEW = SMALL | {"n": 4, "n_plus": 3, "kappa": 1.0}


@pytest.fixture(scope="module")
def samples():
    return derive(Model(two_modes(), data=Data(samples=True)))


@pytest.fixture(scope="module")
def population():
    return derive(Model(two_modes()))


def simulated(limit, values, paths=40_000, twist=1.0):
    """The three-dimensional sampling flow by hand, with the classical Runge-Kutta."""
    found = minimise(limit.phases[0].learned, np.linspace(0, 1, 2 * STEPS + 1), values)
    path = {name: found[name][0] for name in found.names}
    path["b"] = np.minimum(path["b"], 40.0)
    roots = np.sqrt([values["n_plus"], values["n"] - values["n_plus"]])
    x = np.random.default_rng(8).standard_normal((3, paths))

    def velocity(i, x):
        zeta = path["zeta_plus"][i] * roots[0], path["zeta_minus"][i] * roots[1]
        h = path["omega"][i] * x[0] + zeta[0] * x[1] + twist * zeta[1] * x[2]
        unit = values["kappa"] * np.tanh(h + path["b"][i])
        rates = (
            path["m"][i],
            path["a_plus"][i] * roots[0],
            path["a_minus"][i] * roots[1],
        )
        return np.outer(rates, unit)

    for k in range(0, 2 * STEPS, 2):
        k1 = velocity(k, x)
        k2 = velocity(k + 1, x + k1 / (2 * STEPS))
        k3 = velocity(k + 1, x + k2 / (2 * STEPS))
        x = x + (k1 + 2 * k2 + 2 * k3 + velocity(k + 2, x + k3 / STEPS)) / (6 * STEPS)
    share = (x[0] > 0).mean()
    return share, np.sqrt(share * (1 - share) / paths)


@pytest.mark.parametrize("values", [SMALL, PAPER, WIDE], ids=["small", "paper", "wide"])
def test_the_share_of_n_samples_is_that_of_the_simulated_flow(samples, values):
    found = solve_rows(samples, values, [1.0])
    share, error = simulated(samples, values)
    assert abs(found["share_plus"][0] - share) < 4 * error
    assert found["share_plus_error"][0] < 1e-8


def test_the_simulation_has_teeth(samples):
    share, error = simulated(samples, WIDE, twist=-1.0)
    assert abs(solve_rows(samples, WIDE, [1.0])["share_plus"][0] - share) > 6 * error


def test_the_share_is_the_average_over_forward_trajectories(samples):
    """Gauss-Legendre over Y(0), each followed forwards by SciPy."""
    phase = samples.phases[0]
    found = minimise(phase.learned, [1.0], WIDE)
    share, error, _ = sample_share(phase, found, WIDE, COMPILED)
    gamma = 1 + WIDE["sigma"] ** 2 / 4 * (1 / 4 + 1 / 8)
    grid = found.grid[::-1]
    depth = np.log(found.switch[0])
    at = {name: found.smooth[0, 0, ::-1, i] for i, name in enumerate(found.names)}
    fits = {
        name: np.polynomial.Chebyshev.fit(grid, at[name], 40, domain=[-1, 1])
        for name in ("omega", "b", "m", "a_plus", "a_minus")
    }

    def rates(s, x):
        z = 1 - 2 * np.log(s) / depth
        v = {name: fit(z) for name, fit in fits.items()}
        push = v["m"] + WIDE["sigma"] * (v["a_plus"] - v["a_minus"]) / 2
        unit = WIDE["kappa"] * np.tanh(v["omega"] * x[0] + v["b"])
        return [push * unit, v["m"] * unit]

    drift = WIDE["kappa"] * (4 - 8) / (12 + 1) * found.switch[0]  # saturated: unit is 1

    def share_from(y):
        start = [y + drift, drift]
        done = solve_ivp(
            rates, [found.switch[0], 1], start, method="DOP853", rtol=1e-9, atol=1e-11
        )
        landing = y / gamma + done.y[1, -1]
        return norm.cdf(landing / np.sqrt(1 - 1 / gamma)) * norm.pdf(
            y, scale=np.sqrt(gamma)
        )

    x, w = np.polynomial.legendre.leggauss(24)
    middle = brentq_start(share_from, gamma)
    total = 0.0
    for low, high in ((middle - 3, middle), (middle, middle + 1), (middle + 1, 9)):
        y = (low + high) / 2 + (high - low) / 2 * x
        total += (high - low) / 2 * sum(w * [share_from(v) for v in y])
    assert share[0] == pytest.approx(total, abs=1e-6)  # of the panels below the middle
    assert error[0] < 1e-8


def brentq_start(share_from, gamma):
    """The Y(0) that goes either way, by bisection."""
    low, high = -6.0, 6.0
    for _ in range(25):
        middle = (low + high) / 2
        density = norm.pdf(middle, scale=np.sqrt(gamma))
        low, high = (
            (low, middle) if share_from(middle) > density / 2 else (middle, high)
        )
    return low


def test_many_samples_give_the_population(samples, population):
    many = PAPER | {"n": 10**8, "n_plus": 8 * 10**7, "ridge_u": 1e-2, "ridge_w": 1e-2}
    found = solve_rows(samples, many, [0.5, 1.0])
    wanted = solve_rows(population, PAPER, [0.5, 1.0])
    assert found["share_plus"][0] == pytest.approx(wanted["share_plus"][0], abs=2e-4)
    for name in ("omega", "b", "m"):
        np.testing.assert_allclose(found[name][0, :2], wanted[name][0, :2], rtol=1e-3)


def test_symmetric_data_are_shared_evenly(samples):
    even = PAPER | {"n_plus": 64}
    assert solve_rows(samples, even, [1.0])["share_plus"][0] == pytest.approx(0.5)
    there = solve_rows(samples, PAPER | {"n_plus": 26}, [1.0])["share_plus"][0]
    here = solve_rows(samples, PAPER, [1.0])["share_plus"][0]
    assert here + there == pytest.approx(1, abs=1e-8)


def test_a_saturated_window_shifts_everybody(samples):
    """With strong ridges the unit is 1 throughout: nu moves by a constant."""
    strong = SMALL | {"ridge_u": 10.0, "ridge_w": 10.0, "kappa": 1.0}
    found = solve_rows(samples, strong, [1.0])
    assert found["switch"][0] == 1
    drift = (13 - 3) / (16 + 10)
    assert found["share_plus"][0] == pytest.approx(norm.cdf(drift), abs=1e-9)


def test_the_error_bound_holds_when_the_tolerance_is_lowered(samples):
    rng = np.random.default_rng(9)
    rows = {
        "p": 0.8,
        "n": 64,
        "n_plus": rng.integers(6, 58, DRAWN),
        "kappa": rng.uniform(0.5, 6, DRAWN),
        "sigma": rng.uniform(0.3, 2.5, DRAWN),
        "ridge_u": 10 ** rng.uniform(-2, 0.5, DRAWN),
        "ridge_w": 10 ** rng.uniform(-2, 0.5, DRAWN),
    }
    loose = solve_rows(samples, rows, [1.0], rtol=1e-8)
    tight = solve_rows(samples, rows, [1.0], rtol=1e-11)
    off = np.abs(loose["share_plus"] - tight["share_plus"])
    assert (off <= loose["share_plus_error"] + tight["share_plus_error"]).all()
    assert (tight["share_plus_error"] < 1e-6).all()
    assert np.median(tight["share_plus_error"]) < 3e-9


def test_a_row_of_a_batch_is_the_single_run(samples):
    kappas = np.array([0.7, 2.0, 5.0])
    together = solve_rows(samples, PAPER | {"kappa": kappas}, [0.5, 1.0])
    for i, kappa in enumerate(kappas):
        single = solve_rows(samples, PAPER | {"kappa": kappa}, [0.5, 1.0])
        for name, values in together.items():
            if not name.startswith("@"):
                np.testing.assert_array_equal(values[i], single[name][0])


# ------------------------------------------------------------- what may be wrong


def bent(rows, seed):
    """Nearly balanced classes: the minimum bends sharply where the bias wakes up."""
    rng = np.random.default_rng(seed)

    def between(low, high):
        return np.exp(rng.uniform(np.log(low), np.log(high), rows))

    n = between(2, 2000).round()
    values = {
        "n": n,
        "n_plus": np.clip((n * rng.uniform(0.3, 0.7, rows)).round(), 1, n - 1),
    }
    values |= {"sigma": between(0.5, 5), "kappa": between(0.5, 10), "p": 0.5}
    return values | {"ridge_u": between(1e-3, 10), "ridge_w": between(1e-3, 10)}


def test_a_share_is_within_its_bound_or_said_to_be_inaccurate(samples):
    """Against the same minima at 1281 points; 41 are too few for some."""
    phase, values = samples.phase("weights"), bent(40, 5)

    def at(points):
        found = minimise(phase.learned, [1.0], values, points=points)
        return sample_share(phase, found, values, COMPILED)[:2]

    (truth, room), (rough, _) = at(1281), at(41)
    found = solve_rows(samples, values, [1.0])
    sure = found["status"] == "ok"
    assert sure.mean() > 0.9
    off = np.abs(found["share_plus"] - truth)[sure]
    assert (off <= (found["share_plus_error"] + room)[sure]).all()
    assert found["share_plus_error"][sure].max() < ACCURATE
    assert np.abs(rough - truth)[sure].max() > 10 * ACCURATE
    doubted = found["status"] == "inaccurate"
    assert all(x.startswith("the share is known to") for x in found["reason"][doubted])


def test_mirrored_classes_are_known_alike(samples):
    values = bent(12, 6)
    one, two = (
        solve_rows(samples, values | {"n_plus": x}, [1.0])
        for x in (values["n_plus"], values["n"] - values["n_plus"])
    )
    np.testing.assert_array_equal(one["status"], two["status"])
    sure = one["status"] == "ok"
    np.testing.assert_allclose(
        (one["share_plus"] + two["share_plus"])[sure], 1, atol=2e-8
    )


FLAT = {"p": 0.5, "sigma": 1.0, "n": 10**6, "n_plus": 800_000}
FLAT |= {"ridge_u": 1e-8, "ridge_w": 1e-8}
LESS = FLAT | {"kappa": 0.1, "n": 10**4, "n_plus": 8000, "ridge_w": 1e-6}


def test_rounding_and_curvature_decide_whether_a_minimum_is_flat(samples):
    """No processor's last bit does: the error stated is what rounding could move."""
    rows = {"ridge_u": np.array([1e-6, 1e-4]), "ridge_w": np.array([1e-6, 1e-4])}
    found = solve_rows(samples, LESS | rows, [0.5, 1.0])
    assert found["status"].tolist() == ["inaccurate", "ok"]
    assert found["reason"][0] == "flat: overlaps are known to 0.0003"
    learned, values = samples.phases[0].learned, LESS | {"ridge_u": 1e-6}
    other = minimise(learned, [1.0], values, backend="scipy", points=9).flat
    np.testing.assert_allclose(other, 3e-4, rtol=0.1)


def test_a_flat_minimum_is_not_said_to_be_known(samples):
    """It is lost or said to be flat: the last bit decides whether it is followed."""
    values = FLAT | {"kappa": 1e-3}
    found = solve_rows(samples, values, [0.5, 1.0])
    assert found["status"][0] in ("inaccurate", "failed")
    assert re.match(
        "flat: overlaps are known to|the minimum was lost", found["reason"][0]
    )
    said = "the minimum was lost"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            dilaton.solve(samples, s=[0.5, 1.0], rtol=1e-8, atol=1e-8, **values)
        except SolveError as lost:
            told = [lost]
        else:
            said = (
                r"should be known to .*, but may be .*: the minimum is flat. Trust no"
            )
            told = [told[0].message]
    assert re.search(said, str(told[0]))


EXAMPLES = {  # of several minima, with shares that other solvers gave
    0.55950: (8.991299, 19.73246, 21, 11, 5.474027e-4, 0.1806203),
    0.32627: (12.26969, 33.31897, 7, 3, 1.705989e-3, 2.998069e-3),
    0.516332: (6.794063, 2.018457, 100, 51, 2.775235, 1.709674e-4),
}
SHALLOW = 1e-4  # others took a branch that is 1e-6 below the closed one for it


STEEP = {  # few samples, much noise: shares by forward flows from 16,001 starts
    0.5815026849: (
        17.819917255931518,
        0.386877725937707,
        5,
        4,
        1.5647620227095684,
        0.09224164893813887,
    ),
    0.8351259564: (
        12.864798471845662,
        2.149882505714656,
        3,
        2,
        0.8362161998506734,
        0.007283026729318102,
    ),
    0.6314204815: (
        15.066114264071794,
        0.674243511067864,
        3,
        2,
        0.48865975304765413,
        0.10082695963443786,
    ),
}
STEPPED = 1e-8  # even steps over a law with steps: the judge's own error


def test_a_law_with_steps_is_averaged_finely(samples):
    """The start that lands on a value jumps with it: 63 nodes were off by .004."""
    names = "sigma", "kappa", "n", "n_plus", "ridge_u", "ridge_w"
    columns = dict(zip(names, np.array(list(STEEP.values())).T, strict=True))
    found = solve_rows(samples, columns | {"p": 0.5}, [1.0])
    np.testing.assert_allclose(found["share_plus"], list(STEEP), atol=STEPPED)
    assert found["status"].tolist() == ["ok"] * 3
    assert (found["share_plus_error"] < STEPPED).all()


def test_the_lowest_of_several_minima_is_sampled_with(samples):
    """One interior branch takes over from another before the units saturate."""
    names = "sigma", "kappa", "n", "n_plus", "ridge_u", "ridge_w"
    columns = dict(zip(names, np.array(list(EXAMPLES.values())).T, strict=True))
    found = solve_rows(samples, columns | {"p": 0.5}, [1.0])
    np.testing.assert_allclose(found["share_plus"], list(EXAMPLES), atol=SHALLOW)
    # in the second, one sample of seven leaves its class: a state that is no branch
    assert found["status"].tolist() == ["ok", "split", "ok"]
    assert (found["pieces"] >= [2, 2, 1]).all()
    few = minimise(samples.phases[0].learned, [1.0], columns | {"p": 0.5})
    assert few.edges[2, 1] == pytest.approx(0.2769, abs=1e-4)


# ------------------------------------------------------------------ other backends


JAX = pytest.param("jax", marks=pytest.mark.slow)


@pytest.mark.parametrize("backend", [JAX, "scipy"])
def test_other_backends_give_the_same_share(samples, backend):
    for values in (SMALL, SMALL | {"ridge_u": 10.0, "ridge_w": 10.0, "kappa": 1.0}):
        ours = solve_rows(samples, values, [0.5, 1.0])
        theirs = solve_rows(samples, values, [0.5, 1.0], backend=backend)
        bound = ours["share_plus_error"] + theirs["share_plus_error"]
        assert (np.abs(ours["share_plus"] - theirs["share_plus"]) <= bound).all()
        assert (bound < 1e-6).all()
        np.testing.assert_allclose(ours["omega"], theirs["omega"], rtol=1e-7)


def test_scipy_knows_where_its_inputs_are_interpolated_badly(samples):
    """Bent minima at 41 points: the bound says that the share is not known."""
    phase, values = samples.phase("weights"), BENT
    found = minimise(phase.learned, [1.0], values, backend="scipy")
    rough, bound, _ = sample_share(phase, found, values, Solver("scipy", 1e-8))
    sure = solve_rows(samples, values, [1.0], backend="scipy")
    known = solve_rows(samples, values, [1.0])
    apart = abs(sure["share_plus"] - known["share_plus"])[0]
    assert apart <= (sure["share_plus_error"] + known["share_plus_error"])[0] < ACCURATE
    assert ACCURATE < abs(rough - known["share_plus"])[0] < bound[0]


def forwards(monkeypatch, phase, found, values, rtol):
    """The share by the judge, from the minima that the code under test is given."""

    def judged(flow, rows, tol, intervals):
        return shares_forwards(flow, *rows, rtol=rtol)

    with monkeypatch.context() as patch:
        patch.setattr(backward_scipy, "shares_scipy", judged)
        return sample_share(phase, found, values, Solver("scipy", rtol))


@pytest.mark.parametrize("sigma", [2.0, 1e-9], ids=["noisy", "without noise"])
@pytest.mark.parametrize("backend", ["numba", "scipy"])
def test_the_share_is_an_average_over_starts(samples, sigma, backend, monkeypatch):
    """Forwards with adaptive quadrature, where the code goes backwards."""
    phase, values = samples.phases[0], FEW | {"sigma": sigma}
    found = minimise(phase.learned, [1.0], values)
    known, bound, middle = sample_share(phase, found, values, Solver(backend, 1e-8))
    share, error, split = forwards(monkeypatch, phase, found, values, 1e-2)
    assert bound[0] < 1e-8
    assert abs(share[0] - known[0]) < 1e-4 < error[0]
    assert split[0] == pytest.approx(middle[0], abs=1e-3)
    if sigma < 1:  # no sample is noisy: only where nu starts decides
        assert share[0] == pytest.approx(norm.cdf(-split[0]), abs=1e-12)


def test_the_judge_shifts_everybody_in_a_saturated_window(samples, monkeypatch):
    strong = SMALL | {"ridge_u": 10.0, "ridge_w": 10.0, "kappa": 1.0}
    found = minimise(samples.phases[0].learned, [1.0], strong)
    share, error, _ = forwards(monkeypatch, samples.phases[0], found, strong, 1e-4)
    assert error[0] < 2e-3
    assert abs(share[0] - norm.cdf((13 - 3) / (16 + 10))) < error[0] / 100


def test_one_kappa_serves_every_window():
    limit = derive(Model(product(0, "1/4")))
    given = {"p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 1.0, "sigma": 1.0}
    assert printed_limit(limit).kappas({"kappa": 2.0})["kappa_2"] == 2.0
    found = solve_rows(limit, given | {"kappa": 2.0}, [1.0])
    exact = [mixture_share(2, q) for q in (0.8, 0.3)]
    np.testing.assert_allclose(found["share_plus"][0], exact, atol=1e-12)
    own = solve_rows(limit, given | {"kappa_1": 2.0, "kappa_2": 4.0}, [1.0])
    assert own["share_plus"][0, 1] != found["share_plus"][0, 1]


def test_a_flow_that_has_to_be_followed_is_followed_row_by_row(monkeypatch):
    """A sign unit's threshold is h/(kappa s); no reduced flow gives its share."""
    monkeypatch.setattr(sampled_starts, "POINTS", 128)
    limit = derive(Model(two_modes(), autoencoder=Autoencoder("sign")))
    given = {"p": [0.8, 0.6], "sigma": 1.5, "kappa": 2.0}
    found = solve_rows(limit, given, [0.25, 1.0], backend="scipy")
    assert found["status"].tolist() == ["ok"] * 2
    odds = np.log([4.0, 1.5])[:, None] / 2
    np.testing.assert_allclose(found["b"][:, :2], odds / [0.5, 2.0], rtol=1e-8)
    np.testing.assert_allclose(found["bulk_variance"], 2.25, rtol=1e-12)
    share, error = found["share_plus"], found["share_plus_error"]
    for row, p in enumerate(given["p"]):
        assert abs(share[row] - split_of_a_sign_unit(p)) < 5 * error[row] < 1e-2
    assert abs(share[0] - split_of_a_sign_unit(0.6)) > 20 * error[0]
    with pytest.raises(ModelError, match="The share needs the reduced flow of `weigh"):
        sample_share(limit.phases[0], None, given, COMPILED)


def split_of_a_sign_unit(p, kappa=2.0, steps=2000):
    """P(nu > 0): nu moves by kappa*m*sign(nu + b); from 0 at the end, one path back."""
    h, nu = np.log(p / (1 - p)) / 2, 0.0
    for s in (np.arange(steps)[::-1] + 0.5) / steps:
        b = h / (kappa * s)
        m = p * norm.cdf(kappa * s + b) + (1 - p) * norm.cdf(kappa * s - b)
        nu -= kappa / steps * (2 * m - 1) * np.sign(nu + b)
    return norm.cdf(-nu)


def test_frozen_noise_is_reported_as_degenerate():
    limit = derive(Model(two_modes(), data=Data(samples=True, frozen_noise=True)))
    found = solve_rows(limit, PAPER | {"noise_draws": 3}, [1.0], backend="scipy")
    assert found["status"].tolist() == ["degenerate"]
    assert np.isnan(found["share_plus"]).all()
    assert found["mode_mean"][0] == pytest.approx(3 * 128 / (3 * 128 + 2))


# ------------------------------------------------------------------ real sweeps


def test_a_sweep_of_frozen_noise_gives_the_bulk_and_says_so(tmp_path):
    spec = dilaton.default_spec().replace(noise_draws=3)
    found = sweep(spec, ["p=0.6,0.8", "sigma=1,2"], tmp_path, backend="scipy")
    assert (found.status == "degenerate").all()
    assert (found.reason == "frozen noise: weights does not learn the weight").all()
    assert np.isnan(found.share_plus).all()
    rows = 3 * 128
    np.testing.assert_allclose(found.mode_mean, rows / (rows + 2), rtol=1e-12)
    for j, sigma in enumerate((1.0, 2.0)):  # by least squares, as for one point
        top = (2 * (1 + sigma**2) + sigma**2 * 3 * 127) / (rows + 2)
        spread = top / ((rows + 2 - 1) / (rows + 2))
        np.testing.assert_allclose(found.bulk_variance[:, j], spread, rtol=1e-12)


def test_a_limit_that_cannot_be_derived_is_refused_before_the_sweep(tmp_path):
    frozen = dilaton.default_spec().replace(noise_draws=3).text
    tied = parse_spec(frozen.replace("tied = false", "tied = true"))
    with pytest.raises(DerivationError, match="but the network is tied"):
        sweep(tied, ["p=0.6,0.8"], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_sweep_over_samples_equals_its_points(samples, tmp_path):
    over = ["p=0.3:0.9:4", "kappa=0.5:5:3"]
    found = sweep(dilaton.default_spec(), over, tmp_path, rows_per_chunk=5)
    assert (found.status == "ok").all()
    for i, j in ((0, 0), (2, 1), (3, 2)):
        n_plus = np.rint(128 * found.p.values[i])
        assert found.n_plus[i, j] == n_plus
        values = PAPER | {"n_plus": n_plus, "kappa": found.kappa.values[j]}
        single = solve_rows(samples, values, [0.5, 1.0])
        assert found.share_plus.values[i, j] == single["share_plus"][0]
        np.testing.assert_array_equal(found.omega[i, j], single["omega"][0])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "n", ["inf", pytest.param(128, marks=pytest.mark.slow)], ids=["inf", "samples"]
)
def test_worker_processes_of_dask_give_the_same_bits(tmp_path, n):
    distributed = pytest.importorskip("distributed")
    over, spec = ["p=0.3:0.9:4", "kappa=1,2"], dilaton.default_spec().replace(n=n)
    local = sweep(spec, over, tmp_path / "local", rows_per_chunk=3)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        far = sweep(spec, over, tmp_path / "far", rows_per_chunk=3, scheduler=address)
    assert local.identical(far)


@pytest.mark.slow
def test_the_command_is_killed_and_goes_on(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(dilaton.default_spec().text)
    arguments = [str(spec), "--over", "p=0.2:0.9:20", "--over", "kappa=0.5:6:20"]
    arguments += ["--rows-per-chunk", "20", "-o", str(tmp_path / "store")]
    program = "from dilaton.face.cli import main; main()"
    command = [sys.executable, "-c", program, "sweep", *arguments]
    for chunks in (1, 7):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "store").rglob("chunk*"))) >= chunks:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("400 ok; the result is")
    over = ["p=0.2:0.9:20", "kappa=0.5:6:20"]
    straight = sweep(dilaton.default_spec(), over, tmp_path / "b", rows_per_chunk=20)
    with xr.open_dataset(tmp_path / "store" / "sweep.nc", engine="scipy") as file:
        np.testing.assert_array_equal(file.share_plus, straight.share_plus)
        np.testing.assert_array_equal(file.omega, straight.omega)
