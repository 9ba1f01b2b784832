"""Minima of the n-sample objective, against SciPy on the objective by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from dilaton.errors import ModelError, SolveError
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.numerics.codegen.quadrature import barycentric, chebyshev
from dilaton.numerics.minima import newton_scipy
from dilaton.numerics.minima.minimise import NODES, minimise
from dilaton.numerics.minima.newton_numba import REMOTE
from dilaton.numerics.minima.result import BRANCHES, FLOOR, alone, batch, guesses
from dilaton.theory.derive import derive
from dilaton.theory.models.model import Autoencoder, Data, Model, two_modes
from scipy.optimize import minimize
from scipy.stats import norm

from ...oracles import two_mode_loss, two_mode_minimum

NAMES = ("omega", "b", "m", "zeta_plus", "zeta_minus", "a_plus", "a_minus", "r")
PUBLISHED = 2e-5  # the published values have five decimals
LIKE_SCIPY = 3e-5  # BFGS stops where its differences are rounding, over curvature
FLAT = 1e-7  # of a central difference with steps of 1e-4: their square times slopes
ROUNDING = 1e-10  # of a gradient: sums of some hundred terms of order one
CURVED = 1e-4  # of a second difference with steps of 1e-3, relative
# what one test alone compiles
COMPILED, JAX = (pytest.param(x, marks=pytest.mark.slow) for x in ("numba", "jax"))


def saturated(n, n_plus, sigma, ridge_u, **_):
    """The objective with every unit at 1."""
    gain = ((2 * n_plus - n) ** 2 + sigma**2 * n) / (n + ridge_u)
    return 1 + sigma**2 - gain / n


def slope_by_hand(x, s, values):
    """The largest slope of the objective at `x`, by central differences."""
    steps = 1e-4 * np.eye(2)
    rise = [
        two_mode_loss(*(x + h), s, **values) - two_mode_loss(*(x - h), s, **values)
        for h in steps
    ]
    return np.abs(rise).max() / 2e-4


def numbers(**changes):
    base = {"kappa": 1.0, "n": 128, "n_plus": 102, "sigma": 1.0}
    return base | {"ridge_u": 2.0, "ridge_w": 2.0} | changes


@pytest.fixture(scope="module")
def system():
    """The derived system of the two modes with n samples and fresh noise."""
    return derive(Model(two_modes(), data=Data(samples=True))).phases[0].learned


def solve(system, s, backend="numba", points=NODES, tol=1e-12, **values):
    settings = {"backend": backend, "points": points, "tol": tol}
    return minimise(system, s, {"p": 0.8} | values, **settings)


def random_rows(rows, seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(6, 300, rows)
    return {
        "kappa": rng.uniform(0.5, 6, rows),
        "n": n,
        "n_plus": np.clip(np.rint(n * rng.uniform(0.1, 0.9, rows)), 1, n - 1),
        "sigma": rng.uniform(0.3, 2, rows),
        "ridge_u": 10 ** rng.uniform(-2, 0.5, rows),
        "ridge_w": 10 ** rng.uniform(-2, 0.5, rows),
    }


def row_of(values, i):
    return {k: float(v[i]) for k, v in values.items()}


# ------------------------------------------------------------------ the numbers


def test_the_published_values(system):
    small = numbers(kappa=2.0, n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1)
    found = solve(system, [0.75], **small)
    wanted = (1.11736, 0.69352, 1.02368, 0.04298, -0.18623, 0.06807, -0.04624, 1.37655)
    got = [found[name][0, 0] for name in NAMES]
    np.testing.assert_allclose(got, wanted, atol=PUBLISHED)


def test_the_default_numbers_at_five_times(system):
    found = solve(system, [0.05, 0.1, 0.25, 0.5, 1.0], **numbers(kappa=2.0))
    omega = [0.23376, 0.32632, 0.5239, 0.82079, 0.99474]
    np.testing.assert_allclose(found["omega"][0], omega, atol=PUBLISHED)
    b = [1.38521, 1.05619, 0.75081, 0.6021, 0.40514]
    np.testing.assert_allclose(found["b"][0], b, atol=PUBLISHED)


def test_random_rows_agree_with_scipy(system):
    values = random_rows(25, 1)
    times = [0.3, 1.0]
    found = solve(system, times, **values)
    seen = 0
    for i in range(25):
        row = row_of(values, i)
        for j, s in enumerate(times):
            if found.branch[i, j] == BRANCHES.index("saturated"):
                assert found.objective[i, j] == pytest.approx(
                    saturated(**row), rel=1e-12
                )
                continue
            start = found["omega"][i, j] + 0.02, found["b"][i, j] - 0.02
            x, objective = two_mode_minimum(s, row, start)
            got = np.array([found["omega"][i, j], found["b"][i, j]])
            assert slope_by_hand(got, s, row) < FLAT
            room = LIKE_SCIPY * max(1, 0.01 / found.eigenvalue[i, j])
            np.testing.assert_allclose(got, x, atol=room)
            assert found.objective[i, j] <= objective + 1e-12
            seen += 1
    assert seen > 25


def test_no_lower_minimum_is_overlooked(system):
    """BFGS from a dozen starts never finds less than what is reported."""
    values = random_rows(6, 2)
    found = solve(system, [0.2, 1.0], **values)
    rng = np.random.default_rng(3)
    for i in range(6):
        row = row_of(values, i)
        for j, s in enumerate((0.2, 1.0)):
            starts = np.column_stack([rng.uniform(0, 3, 12), rng.uniform(-4, 4, 12)])
            lowest = min(two_mode_minimum(s, row, start)[1] for start in starts)
            assert found.objective[i, j] <= lowest + 1e-10


def test_the_oracle_has_teeth(system):
    """A ridge or a sign that is wrong moves the minimum far beyond the tolerance."""
    row = numbers(kappa=2.0)
    found = solve(system, [0.5], **row)
    start = found["omega"][0, 0], found["b"][0, 0]
    for change in (
        {"ridge_w": 4.0},
        {"ridge_u": 4.0},
        {"n_plus": 101},
        {"sigma": -1.0},
    ):
        x, _ = two_mode_minimum(0.5, row | change, start)
        if change == {"sigma": -1.0}:  # the objective is even in sigma
            np.testing.assert_allclose(x, start, atol=LIKE_SCIPY)
        else:
            assert np.abs(x - start).max() > 30 * LIKE_SCIPY
            assert slope_by_hand(np.array(start), 0.5, row | change) > 100 * FLAT


def test_each_point_is_a_minimum_and_says_so(system):
    found = solve(system, [0.1, 0.5, 1.0], **random_rows(40, 4))
    inside = found.branch == BRANCHES.index("interior")
    assert inside.sum() > 80
    assert (found.residual[inside] < ROUNDING).all()
    assert (found.residual[inside] > 0).any()
    assert (found.eigenvalue[inside] > 0).all()
    assert (found.quadrature[inside] <= 1e-12).all()
    assert (found["omega"][inside] >= 0).all()
    assert np.isnan(found.eigenvalue[~inside]).all()
    assert (found.status != "lost").all()


def test_the_eigenvalue_is_that_of_second_differences(system):
    row, times, h = numbers(kappa=2.0), (0.3, 1.0), 1e-3
    found = solve(system, times, **row)
    for j, s in enumerate(times):
        x = np.array([found["omega"][0, j], found["b"][0, j]])
        bent = np.zeros((2, 2))
        for (i, one), (k, two) in product(enumerate(h * np.eye(2)), repeat=2):
            rise = [
                two_mode_loss(*(x + a * one + a * b * two), s, **row) * b
                for a, b in product((1, -1), repeat=2)
            ]
            bent[i, k] = sum(rise) / (4 * h**2)
        lowest = np.linalg.eigvalsh(bent)[0]
        assert found.eigenvalue[0, j] == pytest.approx(lowest, rel=CURVED)


def test_symmetric_data_have_no_bias(system):
    found = solve(system, [0.5, 1.0], **numbers(n_plus=64, kappa=2.0))
    np.testing.assert_allclose(found["b"], 0, atol=1e-10)
    np.testing.assert_allclose(found["a_plus"], -found["a_minus"], atol=1e-12)


def test_exchanging_the_modes_mirrors_the_solution(system):
    here = solve(system, [0.3, 1.0], **numbers(n_plus=102))
    there = solve(system, [0.3, 1.0], **numbers(n_plus=26))
    np.testing.assert_allclose(here["omega"], there["omega"], rtol=1e-9)
    np.testing.assert_allclose(here["b"], -there["b"], rtol=1e-9)
    np.testing.assert_allclose(here["m"], there["m"], rtol=1e-9)
    np.testing.assert_allclose(here["a_plus"], -there["a_minus"], rtol=1e-8)


# ----------------------------------------------------------------- the branches


def test_the_switch_is_where_the_objectives_cross(system):
    row = numbers()
    found = solve(system, [1.0], **row)
    s = found.switch[0]
    assert 0.05 < s < 0.1
    near = solve(system, [s * (1 - 1e-4), s * (1 + 1e-4)], **row)
    assert near.branch.tolist() == [[1, 0]]
    at = solve(system, [s * (1 + 1e-6)], **row)
    start = at["omega"][0, 0], at["b"][0, 0]
    _, objective = two_mode_minimum(s, row, start)
    assert objective == pytest.approx(saturated(**row), abs=1e-9)
    _, above = two_mode_minimum(0.97 * s, row, start)  # metastable, but a minimum
    assert above > saturated(**row) + 1e-7


def test_the_saturated_branch_is_the_closed_one(system):
    row = numbers()
    found = solve(system, [0.0, 0.02], **row)
    assert (found.branch == BRANCHES.index("saturated")).all()
    assert (found["omega"] == 0).all()
    assert np.isposinf(found["b"]).all()
    np.testing.assert_allclose(found["m"], (2 * 102 - 128) / 130, rtol=1e-13)
    np.testing.assert_allclose(found["a_plus"], 1 / 130, rtol=1e-13)
    np.testing.assert_allclose(found["a_minus"], 1 / 130, rtol=1e-13)
    np.testing.assert_allclose(found.objective, saturated(**row), rtol=1e-13)
    branch = system.branches[0]
    names = {str(p): p for p in system.parameters}
    given = {names[k]: v for k, v in row.items()}
    assert float(branch.objective.subs(given)) == pytest.approx(saturated(**row))


def test_strong_ridges_saturate_everywhere(system):
    found = solve(
        system, [0.1, 1.0], **numbers(n=16, n_plus=13, ridge_u=10, ridge_w=10)
    )
    assert found.status.tolist() == ["saturated"]
    assert found.switch[0] == 1
    assert (found.branch == 1).all()


def test_the_switch_of_many_samples_is_early(system):
    found = solve(system, [0.1], **numbers(n=10**8, n_plus=8 * 10**7, kappa=2.0))
    assert found.status[0] == "ok"
    assert found.switch[0] < 1e-3
    assert found.switch[0] >= FLOOR
    np.testing.assert_allclose(found["b"][0, 0], 0.5 * np.log(4), rtol=0.02)
    np.testing.assert_allclose(found["omega"][0, 0], 0.2, rtol=0.02)


def flat_rows(rows, seed):
    """Modes 16 apart and 1e9 samples: at s = 1 the minimum is 1e-9 deep."""
    rng = np.random.default_rng(seed)
    n = np.full(rows, 1e9)
    return {
        "kappa": np.full(rows, 8.0),
        "n": n,
        "n_plus": np.rint(n * rng.uniform(0.1, 0.9, rows)),
        "sigma": rng.uniform(0.05, 2, rows),
        "ridge_u": rng.uniform(0.1, 2, rows),
        "ridge_w": rng.uniform(0.1, 2, rows),
    }


def test_a_flat_objective_is_followed_to_the_end(system):
    """Rules too coarse for its depth once lost it, or took the closed branch for it."""
    values = flat_rows(24, 0)
    times = [0.02, 0.1, 0.3, 0.5, 0.7, 0.75, 1.0]
    found = solve(system, times, **values)
    assert (found.status == "ok").all()
    assert (found.branch == BRANCHES.index("interior")).all()
    assert (found.switch < 0.02).all()
    share = values["n_plus"] / values["n"]
    for j in (1, 2, 3):  # Bayes: what n and the ridges change is 1e-9 over curvature
        room = 1e-9 / found.eigenvalue[:, j] + 1e-9
        off = np.abs(found["omega"][:, j] / (8 * times[j]) - 1)
        assert (off < 40 * room).all()
        off = np.abs(found["b"][:, j] - np.log(share / (1 - share)) / 2)
        assert (off < 40 * room).all()
    for i in range(24):
        row = row_of(values, i)
        for j, s in enumerate(times):
            x = np.array([found["omega"][i, j], found["b"][i, j]])
            height, closed = two_mode_loss(*x, s, **row), saturated(**row)
            assert height < closed - 1e-4
            for angle in np.pi / 4 * np.arange(8):  # 1e-12 above, rounding is 1e-15
                away = x + 0.05 * x[0] * np.array([np.cos(angle), np.sin(angle)])
                assert two_mode_loss(*away, s, **row) > height


@pytest.mark.slow
def test_jax_follows_a_flat_objective(system):
    values = {"p": 0.8} | flat_rows(6, 1)
    times = [0.1, 0.5, 0.7, 1.0]
    ours = minimise(system, times, values)
    theirs = minimise(system, times, values, backend="jax")
    np.testing.assert_array_equal(ours.branch, theirs.branch)
    np.testing.assert_allclose(ours.switch, theirs.switch, rtol=1e-6)
    np.testing.assert_allclose(ours.objective, theirs.objective, rtol=1e-13)
    # two minima of equal height: rounding, 1e-15, over half of the curvature
    room = np.sqrt(8e-15 / ours.eigenvalue)
    assert (np.abs(ours["omega"] - theirs["omega"]) < room).all()


def test_minima_at_the_start_are_counted(system):
    """Two of different depth, below the closed branch; starts in between escape."""
    row = numbers(kappa=0.5, n=6, n_plus=2, sigma=16.0, ridge_u=0.01, ridge_w=5.0)
    found = solve(system, [1.0], **row)
    starts = product((0.005, 0.02, 0.1), (-2.0, -1.0, -0.5))
    ends = [two_mode_minimum(1.0, row, start) for start in starts]
    heights = sorted(f for x, f in ends if f < saturated(**row) - 1e-3)
    apart = np.flatnonzero(np.diff(heights) > 0.1)
    assert len(apart) == 1
    assert found.minima.tolist() == [2]
    assert found.objective[0, 0] == pytest.approx(heights[0], rel=1e-9)


def test_a_single_minimum_is_counted_once(system):
    found = solve(system, [1.0], **random_rows(10, 5))
    assert (found.minima == 1).all()


# --------------------------------------------------------------------- batching


def test_a_row_of_a_batch_is_the_single_run(system):
    values = random_rows(7, 6)
    together = solve(system, [0.2, 0.6, 1.0], **values)
    for i in range(7):
        single = solve(system, [0.2, 0.6, 1.0], **row_of(values, i))
        np.testing.assert_array_equal(single.values[0], together.values[i])
        np.testing.assert_array_equal(single.smooth[0], together.smooth[i])


def test_times_may_come_in_any_order_and_do_not_matter(system):
    row = numbers(kappa=2.0)
    some = solve(system, [1.0, 0.1, 0.5], **row)
    more = solve(system, np.linspace(0, 1, 21), **row)
    at = [20, 2, 10]
    np.testing.assert_allclose(some["omega"][0], more["omega"][0, at], rtol=1e-10)


def test_the_interpolant_is_as_good_as_the_points(system):
    row = numbers(kappa=2.0)
    s = np.array([0.06, 0.11, 0.37, 0.83])
    found = solve(system, s, **row)
    z = 1 - 2 * np.log(s) / np.log(found.switch[0])
    between = barycentric(z, found.grid) @ found.smooth[0, 0]
    np.testing.assert_allclose(between, found.values[0], atol=1e-8)


def test_barycentric_interpolation_reproduces_polynomials():
    grid = chebyshev(9)
    z = np.array([-1.0, -0.37, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(barycentric(z, grid) @ grid**8, z**8, atol=1e-14)


def test_what_is_asked_for_is_checked(system):
    with pytest.raises(
        ModelError, match=r"needs the parameters .* but `kappa` is miss"
    ):
        minimise(system, [1.0], {"p": 0.8, "sigma": 1.0})
    closed = derive(Model(two_modes())).phases[0].learned
    with pytest.raises(
        ModelError, match=r"needs a stationary system, but .* is closed"
    ):
        minimise(closed, [1.0], {"p": 0.8})
    assert batch(system, {"p": 0.8} | numbers()).shape == (1, 7)
    assert guesses(system).shape == (6, 2)


def test_a_lost_row_raises_when_it_is_alone(system):
    found = solve(system, [1.0], **numbers())
    assert alone(found) is found
    found.status[0] = "lost"
    with pytest.raises(SolveError, match="the minimum was lost below s ="):
        alone(found)


# ----------------------------------------------------------------- tied networks

TIED = numbers(kappa=2.0, n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1) | {"p": 0.8}
DIRECT = 2e-6  # BFGS with numerical slopes, to 1e-8 of the objective's slope


@pytest.fixture(scope="module")
def tied():
    """n samples, w = kappa s u: on the saturated branch w is not 0."""
    model = Model(two_modes(), autoencoder=Autoencoder(tied=True), data=Data(True))
    return derive(model).phases[0].learned


HERMITE = np.polynomial.hermite_e.hermegauss(80)


def tied_loss(x, s, n, n_plus, ridge_u, ridge_w, kappa, **_):
    """The loss of a tied network per sample, sigma = 1, Gauss-Hermite averages."""
    nodes, weights = HERMITE
    counts, signs = np.array([n_plus, n - n_plus]), np.array([1.0, -1.0])
    means = signs * x[0] + x[1:3]  # of w with the two classes' samples
    r = x[0] ** 2 + counts @ x[1:3] ** 2
    fields = np.sqrt(r) * nodes + (kappa * s * means + x[3])[:, None]
    unit, weights = np.tanh(fields), weights / weights.sum()
    q = r / (kappa * s) ** 2
    fit = 2 * counts @ (means / (kappa * s) * (unit @ weights))
    norm = q * counts @ (unit**2 @ weights) + ridge_u * q + ridge_w * r
    return (2 * n - fit + norm) / n


def lowest(s, values):
    """The lowest of some minima that BFGS finds, from scattered starts."""
    rng = np.random.default_rng(5)
    spread = np.array([0.5, 0.05, 0.05, 2.0])
    found = [
        minimize(lambda x: tied_loss(x, s, **values), rng.normal(size=4) * spread)
        for _ in range(3)
    ]
    return min(found, key=lambda one: one.fun)


def test_a_tied_network_agrees_with_direct_minimisation(tied):
    times = [0.0, 0.02, 0.1, 1.0]
    found = minimise(tied, times, TIED, backend="scipy", points=5)
    assert found.status[0] == "ok"
    assert found.branch[0].tolist() == [1, 1, 0, 0]
    for j, s in enumerate(times[1:], 1):
        direct = lowest(s, TIED)
        turn = np.sign(direct.x[3])  # the loss is even in (u, w, b)
        assert found.objective[0, j] == pytest.approx(direct.fun, abs=DIRECT)
        np.testing.assert_allclose(
            found.values[0, j, :3], turn * direct.x[:3], atol=3e-5
        )
    # in the limit of small s the ridge on w costs nothing
    plain = (2 * 13 - 16) / (16 + 0.1)
    assert found["m"][0, 0] == pytest.approx(plain, abs=1e-14)
    assert found["omega"][0, 0] == 0
    assert np.isposinf(found["b"][0, :2]).all()


@pytest.mark.parametrize("backend", [COMPILED, "scipy"])
def test_a_bias_on_its_way_to_infinity_does_not_make_a_minimum_flat(tied, backend):
    """Just after the switch rounding moves the bias by .01 and nothing else."""
    row = {"p": 0.8, "sigma": 1.0, "kappa": 3.0, "n": 64.0, "n_plus": 48.0}
    values = row | {"ridge_u": 0.2, "ridge_w": 0.2}
    found = minimise(tied, [1.0], values, backend=backend)
    assert found.smooth[0, 0, :, found.names.index("b")].max() > REMOTE
    assert found.status[0] == "ok"
    assert found.flat[0] < 1e-9


def test_a_saturated_tied_branch_carries_both_ridges(tied):
    kernel = make_kernel(tied, "numpy")
    values = TIED | {"ridge_w": 3.0}
    branch, _ = kernel.evaluate(
        "branch", params=values, at=0.25, states=dict.fromkeys(kernel.states, 0.0)
    )
    deep = np.array([branch["omega"], branch["zeta_plus"], branch["zeta_minus"], 60.0])
    height = tied_loss(deep, 0.25, **values)
    assert branch["objective"] == pytest.approx(height, abs=1e-13)
    for i in range(3):
        for shift in (-1e-3, 1e-3):
            assert tied_loss(deep + shift * np.eye(4)[i], 0.25, **values) > height
    for wrong in (TIED, values | {"ridge_u": 0.2}):
        off, _ = kernel.evaluate(
            "branch", params=wrong, at=0.25, states=dict.fromkeys(kernel.states, 0.0)
        )
        assert abs(off["objective"] - height) > 1e-4


def test_a_unit_is_not_said_to_saturate_where_it_does_better(tied):
    """The weights of tied units grow with kappa, beyond where they are searched for."""
    row = {"p": 0.5, "sigma": 1.0, "n": 47.0, "n_plus": 4.0, "kappa": 30.0}
    row |= {"ridge_u": 1.49003, "ridge_w": 0.00013}
    better = np.array([28.0, 28 / 47, -28 / 47, 0.0])  # along the labels of samples
    assert tied_loss(better, 1.0, **row) < saturated(**row) - 0.2
    found = minimise(tied, [1.0], row, backend="scipy", points=3)
    assert found.status.tolist() == ["lost"]
    assert np.isnan(found.values).all()
    auto = Autoencoder(activation="sign")
    signs = derive(Model(two_modes(), autoencoder=auto, data=Data(True)))
    far = row | {"kappa": 100.0}  # flat between the classes
    found = minimise(signs.phases[0].learned, [1.0], far, backend="scipy", points=3)
    assert found.status.tolist() == ["lost"]
    strong = row | {"ridge_u": 1e3, "ridge_w": 1e3, "kappa": 1.0}
    found = minimise(tied, [1.0], strong, backend="scipy", points=3)
    assert found.status.tolist() == ["saturated"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["scipy", "jax"])
def test_tied_backends_agree(tied, backend):
    compare(tied, [0.0, 0.02, 0.1, 0.5, 1.0], TIED, backend, points=9)


# --------------------------------------------------------------------- backends


def test_scipy_agrees(system):
    row = numbers(kappa=2.0, n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1)
    compare(system, [0.01, 0.4, 1.0], row, "scipy", points=9)


def test_scipy_follows_a_minimum_to_the_first_time(system):
    """With ridges this small nothing saturates: what is left there is the minimum."""
    row = numbers(kappa=2.0, n=16, n_plus=13, ridge_u=1e-7, ridge_w=1e-7)
    ours = solve(system, [1.0], **row, backend="scipy", points=9)
    theirs = solve(system, [1.0], **row, points=9)
    assert ours.edges[0, 1] == theirs.edges[0, 1] == FLOOR
    assert ours.below[0, 0] > 0.01
    np.testing.assert_allclose(ours.below, theirs.below, rtol=1e-3)  # it is flat there


def test_scipy_says_that_a_minimum_is_lost(system, monkeypatch):
    monkeypatch.setattr(newton_scipy, "MEETING", -1.0)  # no objectives are equal
    row = numbers(kappa=2.0, n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1)
    found = solve(system, [1.0], **row, backend="scipy", points=9)
    assert found.status[0] == "lost"
    assert np.isnan(found["omega"]).all()


def test_scipy_takes_every_rule_where_none_is_fine_enough(system):
    row = numbers(kappa=2.0, n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1)
    settings = {"backend": "scipy", "points": 3}
    found = solve(system, [0.75], **row, **settings, tol=1e-300)
    assert found.quadrature[0, 0] > 1e-300  # of the finest rule, and said
    assert found["omega"][0, 0] == pytest.approx(1.11736, abs=PUBLISHED)
    assert found["a_plus"][0, 0] == pytest.approx(0.06807, abs=PUBLISHED)


def test_scipy_says_where_units_saturate_everywhere(system):
    row = numbers(n=16, n_plus=13, ridge_u=10, ridge_w=10)
    found = solve(system, [0.1, 1.0], **row, backend="scipy", points=3, tol=1e-3)
    assert found.status.tolist() == ["saturated"]
    assert found.switch[0] == 1
    assert np.isposinf(found["b"]).all()
    np.testing.assert_allclose(found["m"], (2 * 13 - 16) / 26, rtol=1e-13)
    np.testing.assert_allclose(found.objective, saturated(**row), rtol=1e-13)
    assert np.isnan(found.smooth).all()


def population(**auto):
    """The learned system of the population for units that are not Bayes."""
    model = Model(two_modes(), autoencoder=Autoencoder(**auto))
    return derive(model).phases[0].learned


@pytest.mark.parametrize("backend", ["scipy", COMPILED, JAX])
def test_a_sign_unit_has_the_threshold_of_the_heavier_mode(backend):
    """It is h/(kappa s), until it is out of sight: the unit saturates near s = 0."""
    p, times = np.array([[0.8], [0.2]]), np.array([0.0, 0.1, 0.75])
    values = {"p": p[:, 0], "sigma": 1.0, "kappa": 2.0}
    system = population(activation="sign")
    found = minimise(system, times, values, backend=backend, points=3)
    best = np.log(p / (1 - p)) / 2 / (2.0 * times[1:])
    np.testing.assert_allclose(found["b"][:, 1:], best, rtol=1e-8)
    up, down = (2 * norm.cdf(2.0 * times[1:] + sign * best) - 1 for sign in (1, -1))
    np.testing.assert_allclose(found["m"][:, 1:], p * up + (1 - p) * down, rtol=1e-12)
    assert (found["b"][:, 0] == np.inf).all()
    np.testing.assert_allclose(found["m"][:, 0], [0.6, -0.6], rtol=1e-12)
    assert ((found.switch > 0) & (found.switch < 0.1)).all()
    assert (found.branch == [[1, 0, 0]] * 2).all()


def test_scipy_finds_a_silent_unit_below_the_switch():
    """Without bias the unit cannot tell the weights: the Bayes rule of equal ones."""
    values = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
    found = minimise(
        population(bias=False), [0.0, 0.75], values, backend="scipy", points=3
    )
    assert found.branch[0].tolist() == [1, 0]
    np.testing.assert_allclose(found["omega"][0], [0.0, 1.5], rtol=1e-8)
    assert found["m"][0, 1] == pytest.approx(1.0, rel=1e-8)
    assert found.objective[0, 0] == 1.0


@pytest.mark.parametrize("backend", [COMPILED, "scipy"])
def test_a_tied_unit_without_bias_is_silent_below_the_switch(backend):
    """The loss of the tied network has its lowest value at w = 0 there."""
    auto = Autoencoder(tied=True, bias=False)
    limit = derive(Model(two_modes(), autoencoder=auto, data=Data(samples=True)))
    row, times = TIED | {"ridge_u": 1.0, "ridge_w": 1.0}, [0.05, 0.5]
    found = minimise(limit.phases[0].learned, times, row, backend=backend, points=5)
    assert found.status[0] == "ok"
    assert found.branch[0].tolist() == [1, 0]
    for name in ("omega", "zeta_plus", "zeta_minus", "m", "r"):
        assert found[name][0, 0] == 0
    for j, s in enumerate(times):
        starts = ([0.01, 0.001, 0.001], [0.9, 0.05, -0.05])
        ends = [
            minimize(lambda x, s=s: tied_loss(np.append(x, 0.0), s, **row), start).fun
            for start in starts
        ]
        assert found.objective[0, j] == pytest.approx(min(ends), abs=DIRECT)
    assert found.objective[0, 1] < found.objective[0, 0] - 0.01


@pytest.mark.slow
def test_jax_agrees(system):
    values = random_rows(12, 7)
    compare(system, [0.0, 0.1, 0.5, 1.0], values, "jax", points=41)


def compare(system, s, values, backend, points):
    """The other backend finds the same minima, branches and switches."""
    values = {"p": 0.8} | values
    ours = minimise(system, s, values, points=points)
    theirs = minimise(system, s, values, points=points, backend=backend)
    np.testing.assert_array_equal(ours.branch, theirs.branch)
    np.testing.assert_array_equal(ours.status, theirs.status)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ours.objective, theirs.objective, rtol=1e-12)
    np.testing.assert_allclose(ours.switch, theirs.switch, rtol=1e-6)
    bias = ours.names.index("b")
    for smooth in (ours.smooth, theirs.smooth):
        smooth[..., bias] = np.tanh(smooth[..., bias])  # the loss is flat beyond
    np.testing.assert_allclose(ours.smooth, theirs.smooth, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.below, theirs.below, rtol=1e-6, atol=1e-9)


def test_a_backend_that_does_not_exist_is_refused(system):
    with pytest.raises(ModelError, match="did you mean `numba`"):
        minimise(system, [1.0], {"p": 0.8} | numbers(), backend="nunba")


def test_the_switch_is_found_where_both_branches_merge_below_it(system):
    """Nearly balanced labels: a minimum without w has the closed branch's objective."""
    values = {"p": 0.8, "kappa": 4.85964, "n": 262.0, "n_plus": 134.0}
    values |= {"sigma": 1.79656, "ridge_u": 0.093128, "ridge_w": 0.039711}
    switch = minimise(system, [1.0], values).switch[0]
    beside = minimise(system, [0.97 * switch, 1.03 * switch, 1.0], values)
    assert beside.branch[0].tolist() == [1, 0, 0]
    assert beside.eigenvalue[0, 1] > 0
    # the objective is continuous there: the minimum had no lower one to fall to
    rise = np.diff(beside.objective[0, :2])[0]
    assert -1e-7 < rise < 0
