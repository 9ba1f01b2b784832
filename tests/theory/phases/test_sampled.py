"""n samples of a product mixture: derivation, minima, shares, and networks at finite d.

The judges are written here: the two-mode derivation for one feature, the objective
over explicit averages and its differences, a regression in coordinates, and a network
at finite d whose every sample has a coefficient of its own.
"""

from dataclasses import replace
from functools import cache
from itertools import combinations as pairs, product as every

import dilaton
import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.codegen.parameters import Solver
from dilaton.numerics.codegen.snapshot import printed_phase
from dilaton.numerics.minima.continuation import minimise_classes
from dilaton.numerics.minima.landscape import Landscape, Point
from dilaton.numerics.minima.objective import UnitKind
from dilaton.numerics.share.several_features import as_inputs, class_shares
from dilaton.theory.derive import derive
from dilaton.theory.models.classes import classes_of
from dilaton.theory.models.model import (
    TAU,
    Autoencoder,
    D,
    Data,
    Interpolant,
    Model,
    product,
    two_modes,
)
from dilaton.theory.models.spec import parse_spec, to_toml
from dilaton.theory.phases import bulk
from dilaton.theory.phases.roles import roles_of
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.windows.search import find_windows

from ...oracles import mean, mean2, two_mode_minimum, value

SAMPLES = Data(samples=True)
SIGNS = {"pp": (1, 1), "pm": (1, -1), "mp": (-1, 1), "mm": (-1, -1)}
POINT = {
    **{"n_pp": 7, "n_pm": 4, "n_mp": 3, "n_mm": 2},
    **{"rho_1": 1.0, "rho_2": 0.8, "p_1": 0.7, "p_2": 0.6},
    **{"sigma": 1.0, "kappa": 2.0, "ridge_u": 0.1, "ridge_w": 0.1},
}
LABELS = {"rho_1": 1.0, "p_1": 0.8, "n_p": 13, "n_m": 3}
ONE = {"sigma": 1.0, "kappa": 1.5, "ridge_u": 0.1, "ridge_w": 0.1}
PUBLISHED = {  # two modes, 13 and 3 samples, kappa s = 1.5, sigma = 1, ridges 0.1
    **{"omega_1": 1.11736, "zeta_1_p": 0.04298, "zeta_1_m": -0.18623},
    **{"b_1": 0.69352, "m_1": 1.02368, "a_1_p": 0.06807, "a_1_m": -0.04624},
    **{"r_1": 1.37655},
}
TIGHT = Solver("scipy", 1e-8, 1e-8)
DIGITS = 6e-6  # the published values are rounded to five digits
ROUNDING = 1e-9  # sums of averages that are exact to 1e-13, amplified by differences
SLOPE = 2e-6  # central differences with step 1e-4: third derivatives of order one


BIASED = Autoencoder()
OTHERS = {
    "no bias": Autoencoder(bias=False),
    "tied": Autoencoder(tied=True),
    "tied, no bias": Autoencoder(tied=True, bias=False),
}
FAST = [
    pytest.param(auto, id=name, marks=pytest.mark.slow if "," in name else ())
    for name, auto in OTHERS.items()
]


@cache
def limit(auto):
    return derive(Model(product(0, 0), autoencoder=auto, data=SAMPLES))


@cache
def phase(auto):
    return printed_phase(limit(auto).phase("weights"))


@cache
def minima(auto):
    return minimise_classes(phase(auto), "tanh", np.array([0.0, 0.5, 1.0]), POINT)


def window_of(model, index=0):
    return find_windows(model)[index]


# ------------------------------------------------------------- one feature: two modes


def learned(model):
    """What is learned in the feature window, derived alone."""
    return roles_of(model).learned(model, window_of(model))


@pytest.fixture(scope="module")
def reduced():
    """The systems of one counted feature and of two modes, learned in the window."""
    one, two = Model(product(0), data=SAMPLES), Model(two_modes(), data=SAMPLES)
    return learned(one), learned(two)


def test_one_feature_is_the_two_mode_problem(reduced):
    one, two = reduced
    at = {**ONE, "n": 16, "n_plus": 13, "p": 0.8, "s": 0.7, "omega": 0.9, "b": 0.3}
    known = {x: value(two[x], **at) for x in ("m", "a_plus", "a_minus", "r")}
    rates = {"zeta_1_p": 1 / 26, "zeta_1_m": -1 / 6}  # +-sigma/(2 n) of each class
    here = {**ONE, **LABELS, "s": 0.7, "omega_1": 0.9, "b_1": 0.3, "m_1": known["m"]}
    here |= {"a_1_p": known["a_plus"], "a_1_m": known["a_minus"]}
    here |= {x: rate * 0.9 for x, rate in rates.items()}
    assert value(one.objective, **here) == pytest.approx(
        value(two.objective, **at), abs=ROUNDING
    )
    for x in ("m_1", "a_1_p", "a_1_m"):  # the readout of two modes is stationary
        assert value(one[x], **here) == pytest.approx(0, abs=ROUNDING)
    along = value(one["omega_1"], **here)
    along += sum(rate * value(one[x], **here) for x, rate in rates.items())
    assert along == pytest.approx(value(two["omega"], **at), abs=ROUNDING)
    assert value(one["b_1"], **here) == pytest.approx(value(two["b"], **at), abs=1e-9)
    assert value(one["r_1"], **here) == pytest.approx(known["r"])
    skip = value(one["c_hat"], **here)
    assert skip == pytest.approx(value(two["c_hat"], **at), abs=ROUNDING)


def exactly_zero(expr):
    """Whether a closed expression vanishes at a random rational point."""
    rng = np.random.default_rng(9)
    free = sorted(expr.free_symbols, key=str)
    at = {x: sp.Rational(int(rng.integers(1, 50)), 53) for x in free}
    return sp.simplify(expr.subs(at)) == 0


SPLIT = {symbol("rho_1"): 1, symbol("n_m"): symbol("n") - symbol("n_p")}
SPLIT |= {symbol("n_p"): symbol("n_plus"), symbol("S_1"): symbol("S")}


def as_two_modes(expr):
    """Write an expression of one counted feature in the names of two modes."""
    return expr.subs(SPLIT).subs(SPLIT)


def test_one_feature_saturates_as_two_modes_do(reduced):
    one, two = (system.branches[0] for system in reduced)
    assert exactly_zero(two.objective - as_two_modes(one.objective))


COUNTED = {"omega": "omega_1", "zeta_plus": "zeta_1_p", "zeta_minus": "zeta_1_m"}
COUNTED |= {"m": "m_1", "a_plus": "a_1_p", "a_minus": "a_1_m", "b": "b_1"}
COUNTED |= {"r": "r_1", "q": "q_1", "v": "v_1", "c_hat": "c_hat"}


TWO_MODES = {"omega_1": "omega", "zeta_1_p": "zeta_plus", "zeta_1_m": "zeta_minus"}
TWO_MODES |= {"m_1": "m", "a_1_p": "a_plus", "a_1_m": "a_minus", "b_1": "b"}
TWO_MODES |= {"r_1": "r", "q_1": "q", "v_1": "v", "c_hat": "c_hat"}
STRONG = {"sigma": 1.0, "kappa": 2.0, "ridge_u": 1.0, "ridge_w": 1.0}


def one_and_two(auto):
    """A counted feature and two modes, learned by the same units."""
    one = Model(product(0), autoencoder=auto, data=SAMPLES)
    return one, Model(two_modes(), autoencoder=auto, data=SAMPLES)


def solves_two_modes(found, two, times):
    """Whether minima of one counted feature solve the two-mode equations."""
    free = [str(x) for x in two.unknowns]
    for i, s in enumerate(times):
        at = {other: found[x][0, i] for x, other in TWO_MODES.items()}
        known = STRONG | {"n": 16, "n_plus": 13, "p": 0.8, "s": s}
        known |= {x: at[x] for x in free}
        height = value(two.objective, **known)
        assert found.objective[i] == pytest.approx(height, abs=ROUNDING)
        for x, here in at.items():
            target = 0.0 if x in free else here
            assert value(two[x], **known) == pytest.approx(target, abs=1e-8)


@pytest.mark.parametrize("auto", FAST)
def test_one_feature_solves_the_equations_of_two_modes(auto):
    one, model = one_and_two(auto)
    two = learned(model)
    ours, times = printed_phase(derive(one).phase("weights")), np.array([0.3, 1.0])
    found = minimise_classes(ours, "tanh", times, STRONG | LABELS)
    solves_two_modes(found, two, times)
    assert (found.eigenvalue > 0).all()
    name = str(two.unknowns[-1])
    with pytest.raises(AssertionError):
        solves_two_modes(found, two.replaced(name, two[name] + 1e-6), times)


@pytest.mark.slow
@pytest.mark.parametrize("auto", OTHERS.values(), ids=OTHERS)
def test_one_feature_is_solved_as_two_modes(auto):
    one, two = one_and_two(auto)
    times = {"s": np.array([0.02, 0.2, 0.7, 1.0]), "rtol": 1e-8, "atol": 1e-8}
    ours = dilaton.solve(derive(one), **times, **STRONG, **LABELS)
    known = dilaton.solve(derive(two), **times, **STRONG, n=16, n_plus=13, p=0.8)
    window = ours.phase == "weights"
    for name, other in TWO_MODES.items():
        left, right = known[other].values[window], ours[name].values[window]
        np.testing.assert_allclose(right, left, atol=1e-9)
    np.testing.assert_allclose(ours.V, known.V, atol=1e-12)
    np.testing.assert_allclose(ours.M_1, known.M, atol=1e-12)
    error = 4 * float(known.share_plus_error) + 4 * float(ours.share_plus_error)
    assert float(ours.share_plus) == pytest.approx(float(known.share_plus), abs=error)


def test_one_feature_is_solved_as_published():
    one = printed_phase(derive(Model(product(0), data=SAMPLES)).phase("weights"))
    point = ONE | LABELS | {"kappa": 2.0}
    found = minimise_classes(one, "tanh", np.array([0.75]), point)
    for name, known in PUBLISHED.items():
        assert found[name][0, 0] == pytest.approx(known, abs=DIGITS)
    share, error = class_shares(one, found, point, TIGHT)[0]
    assert error < 2e-4
    assert share == pytest.approx(0.8073, abs=1e-4 + 5 * error)  # of two modes, rounded


def test_every_minimum_of_one_feature_is_counted_and_the_second_known():
    """Two, and the closed branch; the heights are SciPy's of the two modes."""
    one = printed_phase(derive(Model(product(0), data=SAMPLES)).phase("weights"))
    ridges = {"ridge_u": 0.01, "ridge_w": 5.0}
    row = {"kappa": 0.5, "sigma": 16.0, **ridges}
    counts = LABELS | {"n_p": 2, "n_m": 4}
    found = minimise_classes(one, "tanh", np.array([1.0]), row | counts)
    starts = (0.1, -0.5), (0.005, -1.0)
    modes = row | {"n": 6, "n_plus": 2}
    first, second = (two_mode_minimum(1.0, modes, x)[1] for x in starts)
    assert second - first > 0.1
    assert found.minima == 3
    assert found.objective[0] == pytest.approx(first, rel=1e-9)
    heights = sorted(x.known[1.0].value for x in found.path.branches)
    assert heights[1] == pytest.approx(second, rel=1e-9)
    assert 0 < found.residual[0] < 1e-9  # rounding: something was computed


# ------------------------------------------------------------ the printed equations


def own(name, j, k):
    """The name of the overlap of unit `j` with mean `k`, counted from 0."""
    return f"{name}_{j + 1}" + f"_{k + 1}" * (j != k)


def patterns(units):
    """Marks and signs of every class."""
    signs = every((1, -1), repeat=units)
    return {"".join("p" if s > 0 else "m" for s in c): c for c in signs}


def vectors(x, units, means, noises):
    """Coordinates of the units' vectors: along unit means, then each class's noise."""
    along = [[x[own(means, j, k)] for k in range(units)] for j in range(units)]
    noise = [
        [x[f"{noises}_{j + 1}_{c}"] for c in patterns(units)] for j in range(units)
    ]
    return np.array(along), np.array(noise)


def loss_by_hand(x, units=2, kind=np.tanh):
    """The window's loss per sample for overlaps by name, over explicit averages.

    Without readouts in `x` they are tied, u = w/(kappa s); without biases they are 0.
    """
    numbers = range(units)
    rho = np.array([x[f"rho_{j + 1}"] for j in numbers])
    counts = np.array([x[f"n_{c}"] for c in patterns(units)], float)
    signs, beta = np.array([*patterns(units).values()]), x["kappa"] * x["s"]
    w = vectors(x, units, "omega", "zeta")
    u = tuple(part / beta for part in w)
    if "m_1" in x:
        m, a = vectors(x, units, "m", "a")
        u = np.sqrt(rho)[:, None] * m, a
    cov = w[0] @ w[0].T + (w[1] * counts) @ w[1].T
    size = u[0] @ u[0].T + (u[1] * counts) @ u[1].T
    b = np.array([x.get(f"b_{j + 1}", 0.0) for j in numbers])
    h = beta * (w[0] @ (signs * np.sqrt(rho)).T + x["sigma"] * w[1]) + b[:, None]
    hit = u[0] @ (signs * np.sqrt(rho)).T + x["sigma"] * u[1]
    total = counts.sum() * (rho.sum() + x["sigma"] ** 2)
    total += x["ridge_u"] * np.trace(size) + x["ridge_w"] * np.trace(cov)
    for c, count in enumerate(counts):
        for j in numbers:
            total -= 2 * count * hit[j, c] * mean(kind, h[j, c], cov[j, j])
            square = mean(lambda y: kind(y) ** 2, h[j, c], cov[j, j])
            total += count * size[j, j] * square
        for j, k in pairs(numbers, 2):
            part = cov[np.ix_([j, k], [j, k])]
            both = mean2(lambda y, z: kind(y) * kind(z), h[[j, k], c], part)
            total += 2 * count * size[j, k] * both
    return total / counts.sum()


NAMES = ("omega_1", "omega_2_1", "zeta_2_pm", "b_1", "m_1_2", "a_1_mm")


def slopes_by_differences(system, names=NAMES, point=POINT, units=2):
    """Compare the printed objective and slopes with the loss above."""
    rng = np.random.default_rng(3)
    at = {str(x): 0.3 * rng.normal() for x in system.unknowns} | point | {"s": 0.6}
    known = loss_by_hand(at, units)
    assert value(system.objective, **at) == pytest.approx(known, abs=1e-9)
    for name in names:
        step = {k: at | {name: at[name] + k * 1e-4} for k in (1, -1)}
        slope = (loss_by_hand(step[1], units) - loss_by_hand(step[-1], units)) / 2e-4
        assert value(system[name], **at) == pytest.approx(slope, abs=SLOPE)


def test_printed_slopes_are_those_of_the_loss():
    slopes_by_differences(limit(BIASED).phase("weights").learned)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("omega_2_1", -1), ("zeta_2_pm", 2), ("m_1_2", symbol("rho_2"))],
)
def test_a_wrong_slope_is_seen(name, factor):
    system = limit(BIASED).phase("weights").learned
    wrong = system.replaced(name, factor * system[name])
    with pytest.raises(AssertionError):
        slopes_by_differences(wrong, (name,))


@pytest.mark.parametrize("auto", FAST)
def test_slopes_without_bias_or_tied_are_those_of_the_loss(auto):
    system = limit(auto).phase("weights").learned
    names = ("zeta_2_pm", "b_1" if auto.bias else "omega_2_1")
    assert set(names) < set(map(str, system.unknowns))
    slopes_by_differences(system, names)
    wrong = system.replaced("zeta_2_pm", 2 * system["zeta_2_pm"])
    with pytest.raises(AssertionError):
        slopes_by_differences(wrong, ("zeta_2_pm",))


def at_rest(system, s):
    """The point of the closed branch; each w has a direction, which averages need."""
    at, (branch,) = POINT | {"s": s}, system.branches
    rest = {str(x): 40.0 * (str(x)[0] == "b") for x in system.unknowns}
    rest |= {str(e.lhs): value(e.rhs, **at) for e in branch.equations}
    return at | rest | {x: rest[x] + 1e-7 for x in ("omega_1", "omega_2")}


@pytest.mark.parametrize("auto", OTHERS.values(), ids=OTHERS)
def test_units_at_rest_have_the_closed_loss(auto):
    system = limit(auto).phase("weights").learned
    rest = at_rest(system, 0.02)
    known = value(system.branches[0].objective, **rest)
    assert loss_by_hand(rest) == pytest.approx(known, abs=1e-9)
    for name in ("omega_2_1", "zeta_1_pm") if auto.tied else ("m_1", "a_2_mm"):
        for step in (1e-3, -1e-3):
            assert loss_by_hand(rest | {name: rest[name] + step}) > known + 1e-9


def test_the_closed_relations_hold_at_the_minimum():
    found = minima(BIASED)
    counts = {k: POINT[f"n_{k}"] for k in SIGNS}
    for j, t in every((1, 2), (1, 2)):
        loads = {k: counts[k] * found[f"zeta_{j}_{k}"][0, t] for k in SIGNS}
        assert sum(loads.values()) == pytest.approx(0, abs=1e-12)
        own = sum(SIGNS[k][j - 1] * x for k, x in loads.items())
        omega = np.sqrt(POINT[f"rho_{j}"]) * own / POINT["sigma"]
        assert found[f"omega_{j}"][0, t] == pytest.approx(omega, abs=1e-12)


THREE = POINT | {"rho_3": 0.6, "p_3": 0.5}
THREE |= dict(
    zip(map("n_{}".format, patterns(3)), (5, 4, 3, 2, 2, 3, 1, 2), strict=True)
)


@cache
def three():
    return derive(Model(product(0, 0, 0), data=SAMPLES)).phase("weights")


@pytest.mark.slow
def test_slopes_of_three_features_are_those_of_the_loss():
    system = three().learned
    slopes_by_differences(system, ("omega_3_1", "zeta_2_pmm"), THREE, 3)
    wrong = system.replaced("zeta_2_pmm", -system["zeta_2_pmm"])
    with pytest.raises(AssertionError):
        slopes_by_differences(wrong, ("zeta_2_pmm",), THREE, 3)


@pytest.mark.slow
def test_three_features_are_solved():
    found = minimise_classes(
        printed_phase(three()), "tanh", np.array([0.3, 1.0]), THREE
    )
    assert found.residual.max() < 1e-9
    assert (found.eigenvalue > 0).all()
    free = [str(x) for x in three().learned.unknowns]
    start = {x: found[x][0, 1] for x in free} | THREE | {"s": 1.0}
    best = loss_by_hand(start, 3)
    assert best == pytest.approx(found.objective[1], abs=1e-9)
    rng = np.random.default_rng(6)
    for size in (1e-3, 0.1):
        moved = start | {x: start[x] + size * rng.normal() for x in free}
        assert loss_by_hand(moved, 3) > best


@pytest.mark.parametrize("kind", ["tanh", "erf"])
def test_units_and_their_slopes_are_those_of_thirty_digits(kind):
    with mp.workdps(30):
        f = mp.tanh if kind == "tanh" else lambda x: mp.erf(x / mp.sqrt(2))
        points = [-2.3, -0.4, 0.0, 1.1, 3.0]
        exact = [[float(mp.diff(f, x, k)) for x in points] for k in range(5)]
    found = UnitKind(kind).slopes(np.array(points), 4)
    np.testing.assert_allclose(found, exact, atol=1e-14)


# --------------------------------------------------------------------------- the minima


EVERY = [
    pytest.param(BIASED, id="bias"),
    *(pytest.param(x, id=name, marks=pytest.mark.slow) for name, x in OTHERS.items()),
]


@pytest.mark.parametrize("auto", EVERY)
def test_minima_solve_the_printed_equations_and_are_minima(auto):
    found = minima(auto)
    assert found.residual.max() < 1e-9
    assert (found.eigenvalue > 0).all()
    assert list(found.active) == [0, 2, 2]
    assert np.all(np.diff([edge for edge, _ in found.path.segments]) < 0)


@pytest.mark.parametrize("auto", EVERY)
def test_no_other_point_is_lower(auto):
    found = minima(auto)
    free = [str(x) for x in limit(auto).phase("weights").learned.unknowns]
    start = {x: found[x][0, 2] for x in free} | POINT | {"s": 1.0}
    best = loss_by_hand(start)
    assert best == pytest.approx(found.objective[2], abs=1e-9)
    rng = np.random.default_rng(5)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        moved = start | {x: start[x] + size * rng.normal() for x in free}
        assert loss_by_hand(moved) > best


def test_a_unit_is_named_by_the_feature_that_it_sees_most():
    """Overlaps are those of a vector with each class mean; the loss is the same."""
    land = Landscape(phase(BIASED), "tanh", POINT)
    rho, signs = np.array([1.0, 0.8]), np.array(list(SIGNS.values()))
    theta = np.random.default_rng(2).normal(size=(2, land.directions.shape[1]))
    at = Point(theta, np.array([0.2, -0.4]), (True, True), land.network)
    seen = theta @ land.directions.T @ (signs * np.sqrt(rho))  # along unit means
    np.testing.assert_allclose(land.overlaps(at), seen, atol=1e-12)
    named = land.overlaps(land.named(at))
    assert (np.diag(named) > 0).all()
    assert np.diag(named).sum() == pytest.approx(
        max(np.abs(np.diag(x)).sum() for x in (seen, seen[::-1]))
    )
    heights = [land.settle(0.5, x).value for x in (at, land.named(at))]
    assert heights[0] == pytest.approx(heights[1], abs=1e-12)


def test_a_rule_is_made_as_fine_as_slopes_need_and_says_so():
    land = Landscape(phase(BIASED), "tanh", POINT)
    known = land.objective
    width = land.directions.shape[1]
    theta = 0.3 * np.random.default_rng(2).normal(size=(2, width))
    at = Point(theta, np.array([0.2, -0.4]), (True, True), land.network)
    assert not land.refine(0.5, replace(at, active=(False, False)), 0.0)
    assert not land.refine(0.5, at, 1.0)
    assert land.objective is known
    exact = land.slopes(0.5, at)
    land.objective = replace(known, intervals=2)
    assert land.refine(0.5, at, 1e-8)
    assert 2 < land.objective.intervals < 2 * known.intervals
    assert np.abs(land.slopes(0.5, at) - exact).max() < 1e-8
    assert np.abs(exact).max() > 1e-3


@pytest.mark.slow
def test_many_samples_in_product_shares_are_the_population():
    # samples differ from the population by c/n + e/n^2; two sizes take out c, which
    # is up to 2,500 here, and leave e/(4 n^2), 2e-7
    whole = derive(Model(product(0, 0))).phase("weights").learned
    few, many = with_many_samples(4_000_000), with_many_samples(16_000_000)
    for t, s in enumerate((0.6, 1.0)):
        for name in ("omega_1", "omega_2", "b_1", "b_2", "m_1", "m_2", "r_1", "q_2"):
            known = value(whole[name], s=s, **POINT)
            limit = (4 * many[name][0, t] - few[name][0, t]) / 3
            assert limit == pytest.approx(known, abs=1e-6)
        for name in ("omega_1_2", "omega_2_1", "m_1_2", "r_1_2", "q_1_2"):
            limit = (4 * many[name][0, t] - few[name][0, t]) / 3
            assert limit == pytest.approx(0, abs=1e-6)


def with_many_samples(n, p=(0.7, 0.6)):
    """Return the minima of n samples in product shares, at s = .6 and 1."""
    point = POINT | {"ridge_u": 1.0, "ridge_w": 1.0}
    for k, s in SIGNS.items():
        weight = [q if x > 0 else 1 - q for q, x in zip(p, s, strict=True)]
        point[f"n_{k}"] = round(n * weight[0] * weight[1])
    return minimise_classes(phase(BIASED), "tanh", np.array([0.6, 1.0]), point)


# ----------------------------------------------------------------- networks at finite d


def trained(d, seed, counts, beta_s=1.5, ridge=0.1, nodes=29):
    """Overlaps of a network trained at finite d on real samples, exact over x0.

    Every sample has its own coefficient in each w; u and the skip are eliminated.
    """
    import torch
    from scipy.optimize import minimize

    rng = np.random.default_rng(seed)
    labels = np.array([s for k, s in SIGNS.items() for _ in range(counts[k])], float)
    n, mu = len(labels), np.zeros((2, d))
    mu[0, 0], mu[1, 1] = np.sqrt(d), np.sqrt(0.8 * d)
    noise = rng.normal(size=(n, d))
    x1 = labels @ mu + noise
    tau = beta_s / np.sqrt(d)
    alpha, beta = 1 - tau, tau
    gram = torch.tensor(x1 @ x1.T / d)
    g = np.linspace(-8, 8, nodes)
    w1 = np.exp(-(g**2) / 2)
    g, w1 = torch.tensor(g), torch.tensor(w1 / w1.sum())

    def parts(flat):
        v, b = flat[: 2 * n].reshape(2, n), flat[2 * n :]
        cov = alpha**2 * v @ gram @ v.T
        h = beta * np.sqrt(d) * v @ gram + b[:, None]  # (unit, sample)
        std = torch.sqrt(cov[0, 0])
        lean = cov[0, 1] / std
        rest = torch.sqrt(cov[1, 1] - lean**2)
        one = torch.tanh(h[0][:, None, None] + std * g[:, None] + 0 * g)
        two = torch.tanh(h[1][:, None, None] + lean * g[:, None] + rest * g)
        weight = w1[:, None] * w1

        def average(f):
            return (f * weight).sum((-1, -2))

        first = torch.stack([average(one), average(two)])
        bend = torch.stack([average(1 - one**2), average(1 - two**2)]).sum(1)
        cross = average(one * two).sum()
        grid = torch.stack([average(one**2).sum() + ridge, cross, cross])
        s = torch.stack([grid[0], cross, cross, average(two**2).sum() + ridge])
        return v, first, bend, s.reshape(2, 2)

    def solved(flat):
        """Coefficients of u on the samples and the skip, at their minimum."""
        v, first, bend, s = parts(flat)
        inverse = torch.linalg.inv(s)
        base = inverse @ first
        tilt = beta * base + alpha**2 / np.sqrt(d) * inverse @ (bend[:, None] * v)

        def left(c):  # loss/d at u = base - c tilt
            u = base - c * tilt
            hit = (1 - c * beta) * (u @ gram * first).sum()
            push = c * alpha**2 / np.sqrt(d) * ((u @ gram * v).sum(1) * bend).sum()
            size = (s * (u @ gram @ u.T)).sum()
            rest = ((1 - c * beta) ** 2) * torch.trace(gram) + n * c**2 * alpha**2
            return rest - 2 * hit + 2 * push + size

        zero, up, down = left(0.0), left(1.0), left(-1.0)
        c = -(up - down) / 2 / (up + down - 2 * zero)
        return left(c), base - c * tilt, v

    def loss(flat):
        x = torch.tensor(flat, requires_grad=True)
        value, _, v = solved(x)
        value = value + ridge * (v @ gram @ v.T).trace()
        (slope,) = torch.autograd.grad(value, x)
        return value.item(), slope.numpy()

    first = np.zeros((2, n))
    for j in (0, 1):
        for sign in (1, -1):
            first[j, labels[:, j] == sign] = 0.5 * sign / np.sum(labels[:, j] == sign)
    start = np.concatenate([first.ravel(), [0.4, 0.3]])
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-15, "gtol": 1e-9}
    done = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    _, u, v = solved(torch.tensor(done.x))
    w, u = v.numpy() @ x1, u.numpy() @ x1
    unit = mu / np.linalg.norm(mu, axis=1, keepdims=True)
    size = np.linalg.norm(mu, axis=1)
    omega, m = w @ unit.T / np.sqrt(d), u @ mu.T / np.outer(size, size)
    return np.concatenate([omega.ravel(), m.ravel(), done.x[2 * n :]])


def distances(dims, seeds, counts):
    """Root mean square distance of trained overlaps from the limit, by dimension."""
    point = POINT | {f"n_{k}": x for k, x in counts.items()} | {"kappa": 1.5}
    found = minimise_classes(phase(BIASED), "tanh", np.ones(1), point)
    names = ["omega_1", "omega_1_2", "omega_2_1", "omega_2"]
    names += ["m_1", "m_1_2", "m_2_1", "m_2", "b_1", "b_2"]
    known = np.array([found[x][0, 0] for x in names])
    runs = {d: [trained(d, seed, counts) for seed in range(seeds)] for d in dims}
    return {
        d: float(np.sqrt(np.mean((np.array(rows) - known) ** 2)))
        for d, rows in runs.items()
    }


FEW = {"pp": 3, "pm": 2, "mp": 2, "mm": 1}


@pytest.mark.slow
def test_a_trained_network_is_near_the_limit():
    d = 16_000
    assert distances([d], 1, FEW)[d] < 3 / np.sqrt(d)  # overlaps of noises: 1/sqrt(d)


@pytest.mark.slow
def test_trained_networks_approach_the_limit_as_one_over_root_d():
    dims = [500, 2000, 8000, 32_000]
    found = distances(dims, 8, FEW)
    slope = np.polyfit(np.log(dims), np.log([found[d] for d in dims]), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.15)


# ----------------------------------------------------------------------- the variance


def regression(counts, rho, sigma, ridge, alpha, beta, draws=None):
    """Skip and readouts of saturated units, by least squares in coordinates.

    Means, noises of samples and noise draws are orthogonal: each has its own axis.
    """
    labels = np.array([s for k, s in SIGNS.items() for _ in range(counts[k])], float)
    n = len(labels)
    x1 = np.hstack([labels * np.sqrt(rho), sigma * np.eye(n)])
    rows = np.repeat(np.arange(n), draws or 1)
    total = len(rows)
    target = np.hstack([x1[rows], np.zeros((total, total))])
    noise = np.hstack([np.zeros((total, 2 + n)), np.eye(total)])
    signs = labels[rows]
    # fresh noise is averaged over: its square stays, its overlaps with signs do not
    inputs = beta * target + (alpha * noise if draws else 0)
    extra = 0 if draws else total * alpha**2
    project = signs @ np.linalg.inv(signs.T @ signs + ridge * np.eye(2)) @ signs.T

    def off(x, y):
        return np.sum(x * y) - np.sum(x * (project @ y))

    c = off(inputs, target) / (off(inputs, inputs) + extra)
    u = np.linalg.inv(signs.T @ signs + ridge * np.eye(2)) @ signs.T
    return c, u @ (target - c * inputs)


def variance_by_regression(system, draws):
    counts = {"pp": 5, "pm": 3, "mp": 2, "mm": 1}
    at = POINT | {f"n_{k}": x for k, x in counts.items()} | {"sigma": 1.3, "s": 0.4}
    at |= {"ridge_u": 0.5} | ({"noise_draws": draws} if draws else {})
    rho = np.array([at["rho_1"], at["rho_2"]])
    c, u = regression(counts, rho, 1.3, 0.5, 0.6, 0.4, draws)
    assert value(system["c"], **at) == pytest.approx(c, abs=1e-12)
    own = [["1", "1_2"], ["2_1", "2"]]
    for j, k in every((0, 1), (0, 1)):
        m = u[j, k] / np.sqrt(rho[j])
        assert value(system[f"m_{own[j][k]}"], **at) == pytest.approx(m, abs=1e-12)
    assert value(system["a_1_mm"], **at) == pytest.approx(u[0, 2 + 10], abs=1e-12)
    assert value(system["a_2_pm"], **at) == pytest.approx(u[1, 2 + 5], abs=1e-12)
    size = u @ u.T / np.sqrt(np.outer(rho, rho))
    assert value(system["q_1_2"], **at) == pytest.approx(size[0, 1], abs=1e-12)
    if draws:
        assert value(system["e_2_pm"], **at) == pytest.approx(
            u[1, 2 + 11 + 5 * draws], abs=1e-12
        )


@pytest.mark.parametrize("draws", [None, 1, 3])
def test_the_variance_phase_is_a_regression_on_the_signs(draws):
    model = Model(product(0, 0), data=Data(samples=True, frozen_noise=bool(draws)))
    system = bulk.learned(model, window_of(model, 1))
    variance_by_regression(system, draws)
    for name in ("c", "m_1_2", "a_2_pm"):
        with pytest.raises(AssertionError):
            variance_by_regression(system.replaced(name, -2 * system[name]), draws)


FROZEN = replace(SAMPLES, frozen_noise=True)
DEEP = 1e-6  # beta/alpha: what it leaves is of its square
SMALL_COUNTS = {"pp": 5, "pm": 3, "mp": 2, "mm": 1}


def at_small_beta(system, draws, alpha, beta, **more):
    """Compare overlaps in a phase of much noise with the regression at finite noise."""
    at = POINT | {f"n_{k}": x for k, x in SMALL_COUNTS.items()} | {"ridge_u": 0.5}
    at |= {"sigma": 1.3, "noise_draws": draws} | more
    rho = np.array([at["rho_1"], at["rho_2"]])
    c, u = regression(SMALL_COUNTS, rho, 1.3, 0.5, alpha, beta, draws)
    m = u[:, :2] / np.sqrt(rho)[:, None]
    known = {"m_1": m[0, 0], "m_1_2": m[0, 1], "a_1_mm": u[0, 2 + 10]}
    known |= {"e_2_pm": u[1, 2 + 11 + 5 * draws]} if draws else {}
    for name, x in known.items():
        assert value(system[name], **at) == pytest.approx(x, abs=2 * DEEP), name
    return c, at


def test_a_window_of_frozen_noise_is_a_regression_of_much_noise():
    model = Model(product(0, 0), data=FROZEN)
    system = learned(model)
    c, at = at_small_beta(system, 3, 1.0, DEEP, s=0.4)
    beta = at["kappa"] * at["s"]
    assert value(system["c_hat"], **at) == pytest.approx(c / DEEP * beta, rel=1e-8)
    assert system.status == "degenerate"
    assert system["omega_1"] == system["r_2"] == 0
    assert system["b_1"] is sp.nan
    assert system["v_2"] == 0
    wrong = system.replaced("m_1_2", -system["m_1_2"])
    with pytest.raises(AssertionError):
        at_small_beta(wrong, 3, 1.0, DEEP, s=0.4)


def test_a_bridge_of_samples_is_a_regression_of_much_noise():
    late = Interpolant(D ** sp.Rational(1, 4) * (1 - TAU), TAU)
    model = Model(product(0, 0), late, data=SAMPLES)
    bridge = window_of(model, 1)
    assert not bridge.features
    assert not bridge.variance
    system = bulk.learned(model, bridge)
    c, _ = at_small_beta(system, None, 0.6 / DEEP, 0.4, s=0.4)
    assert system["c"] == 0
    assert c < DEEP
    flow = bulk.sampling(model, bridge)
    closed = {str(e.lhs): e.rhs for e in flow.solution}
    assert closed["V"] == (1 - flow.time) ** 2
    at = POINT | {"s": 0.4, "S_1": 1.0, "S_2": -1.0}
    signs = np.array([s for k, s in SIGNS.items() for _ in range(POINT[f"n_{k}"])])
    agree = signs.T @ signs
    share = np.linalg.inv(agree + POINT["ridge_u"] * np.eye(2)) @ agree
    ends = 0.4 * share @ [1.0, -1.0]
    got = [value(closed[f"M_{k}"], **at) for k in (1, 2)]
    np.testing.assert_allclose(got, ends, rtol=1e-12)


def test_the_bulk_flow_has_its_closed_solution():
    flow = limit(BIASED).phase("variance").sampling
    at = {x: sp.Rational(3 + i, 7) for i, x in enumerate(flow.parameters)}
    time = sp.Rational(2, 5)
    closed = {e.lhs: e.rhs for e in flow.solution}
    for eq in flow.equations:
        rate = sp.diff(closed[eq.lhs], flow.time) - eq.rhs.subs(closed)
        assert sp.simplify(rate.subs(at).subs(flow.time, time)) == 0
        wrong = sp.diff(closed[eq.lhs], flow.time) - 2 * eq.rhs.subs(closed)
        assert sp.simplify(wrong.subs(at).subs(flow.time, time)) != 0


# ------------------------------------------------------------------------- the samples


def walked_shares(given, draws, steps):
    """Follow the flow by hand in all its overlaps, midpoint rule; shares and ends."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(6, draws))  # two means, then the noises of four classes
    root = np.sqrt([POINT["rho_1"], POINT["rho_2"]])
    counts = np.array([POINT[f"n_{k}"] for k in SIGNS], float)
    at = given((np.arange(2 * steps + 1) + 0.0) / (2 * steps))
    at = {k: v[0] for k, v in at.items()}

    def rates(x, i):
        omega = [[at["omega_1"][i], at["omega_1_2"][i]]]
        omega += [[at["omega_2_1"][i], at["omega_2"][i]]]
        zeta = [[at[f"zeta_{j}_{k}"][i] for k in SIGNS] for j in (1, 2)]
        w = np.hstack([omega, np.array(zeta) * np.sqrt(counts)])
        b = np.array([at["b_1"][i], at["b_2"][i]])
        m = np.array([[at["m_1"][i], at["m_1_2"][i]], [at["m_2_1"][i], at["m_2"][i]]])
        a = np.array([[at[f"a_{j}_{k}"][i] for k in SIGNS] for j in (1, 2)])
        u = np.hstack([root[:, None] * m, a * np.sqrt(counts)])
        return POINT["kappa"] * u.T @ np.tanh(w @ x + b[:, None])

    for k in range(steps):
        half = x + rates(x, 2 * k) / (2 * steps)
        x = x + rates(half, 2 * k + 1) / steps
    return (x[:2] > 0).mean(axis=1)


def test_shares_are_those_of_the_whole_flow():
    draws = 40_000
    shares = class_shares(phase(BIASED), minima(BIASED), POINT, TIGHT)
    walked = walked_shares(as_inputs(minima(BIASED)), draws, 60)
    for (share, error), known in zip(shares, walked, strict=True):
        spread = np.sqrt(share * (1 - share) / draws)
        assert error < 5e-4
        assert share == pytest.approx(known, abs=4 * spread + 4 * error)


def test_the_printed_flow_is_the_one_walked():
    flow, at = limit(BIASED).phase("weights").sampling, {**POINT, "s": 0.5}
    rng = np.random.default_rng(2)
    at |= {str(x): rng.normal() for x in (*flow.inputs, *flow.unknowns)}
    counts = {k: POINT[f"n_{k}"] for k in SIGNS}
    h = []
    for j, own in ((1, ("omega_1", "omega_1_2")), (2, ("omega_2_1", "omega_2"))):
        seen = at[own[0]] * at["nu_1"] + at[own[1]] * at["nu_2"] + at[f"b_{j}"]
        h.append(
            seen
            + sum(
                np.sqrt(n) * at[f"zeta_{j}_{k}"] * at[f"g_{k}"]
                for k, n in counts.items()
            )
        )
    unit = np.tanh(h)
    push = at["m_1_2"] * unit[0] + np.sqrt(0.8) * at["m_2"] * unit[1]
    assert value(flow["nu_2"], **at) == pytest.approx(2.0 * push)
    push = np.sqrt(counts["mp"]) * (at["a_1_mp"] * unit[0] + at["a_2_mp"] * unit[1])
    assert value(flow["g_mp"], **at) == pytest.approx(2.0 * push)


# ------------------------------------------------------------------ what is refused


def test_samples_of_a_fine_feature_are_refused_with_the_reason():
    for exponents in (("1/4",), (0, "1/4"), ("1/4", "1/4")):
        model = Model(product(*exponents), data=SAMPLES)
        with pytest.raises(DerivationError, match=r"norm sqrt\(d\).*Set the exponent"):
            derive(model)


def test_networks_that_are_not_derived_are_refused():
    sign, tied = Autoencoder("sign"), Autoencoder(tied=True)
    with pytest.raises(DerivationError, match=r"two correlated fields.*smooth unit"):
        derive(Model(product(0, 0), autoencoder=sign, data=SAMPLES))
    frozen = replace(SAMPLES, frozen_noise=True)
    with pytest.raises(DerivationError, match=r"frozen noise.*not along u.*Untie it"):
        derive(Model(product(0, 0), autoencoder=tied, data=frozen))
    with pytest.raises(DerivationError, match=r"up to 3 features.*has 4 features"):
        derive(Model(product(0, 0, 0, 0), data=SAMPLES))


def test_classes_may_be_empty_but_both_signs_are_needed():
    model = Model(product(0, 0), data=Data(samples=True, empty=("--",)))
    data = classes_of(model)
    assert [str(n) for n in data.counts] == ["n_pp", "n_pm", "n_mp"]
    spread = data.directions()
    assert sum(spread.col(0)) == sum(spread.col(1)) == 0
    for empty, message in (
        (("-",), r"must name sign patterns.*did you mean"),
        (("-+", "--"), "both signs of every feature, but those of feature 1"),
    ):
        bad = Model(product(0, 0), data=Data(samples=True, empty=empty))
        with pytest.raises(ModelError, match=message):
            classes_of(bad)


# --------------------------------------------------------------------------- the spec

SPEC = """
[target]
kind = "product"
sigma = 1.0
[[target.features]]
p = 0.7
scale = 1.0
exponent = 0
[[target.features]]
p = 0.6
scale = 0.8
exponent = 0
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 2.0
[data]
n = 16
counts = {"++" = 7, "+-" = 4, "-+" = 3, "--" = 2}
noise_draws = "inf"
ridge_u = 0.1
ridge_w = 0.1
"""


def test_a_spec_counts_its_samples_by_sign():
    spec = parse_spec(SPEC)
    assert spec.values == {k: pytest.approx(v) for k, v in POINT.items()}
    assert spec.model == Model(product(0, 0), data=SAMPLES)
    assert parse_spec(to_toml(spec.tables)).tables == spec.tables
    more = spec.replace(n_pp=9)
    assert more.tables["data"]["n"] == 18
    assert more.values["n_pp"] == 9
    none = parse_spec(
        SPEC.replace('"+-" = 4', '"+-" = 6').replace('"--" = 2', '"--" = 0')
    )
    assert none.model.data.empty == ("--",)
    assert "n_mm" not in none.values


BAD = [
    ('"--" = 2}', '"--" = 3}', r"add up to `data\.n` = 16, but the sum is 17"),
    (', "--" = 2}', "}", r"must give `data\.counts\.--`, but it is missing"),
    ('"--" = 2}', '"-" = 2}', r"`data\.counts\.-` is given"),
    ('"--" = 2}', '"--" = -1}', r"whole number from 0 to 10\^9, but is -1"),
    ('"--" = 2}', '"--" = 2.0}', r"whole number from 0 to 10\^9, but is 2\.0"),
    ('{"++" = 7, "+-" = 4, "-+" = 3, "--" = 2}', "16", "a table of counts by sign"),
    ('7, "+-" = 4, "-+" = 3, "--" = 2', '9, "+-" = 7, "-+" = 0, "--" = 0', "feature 1"),
    ("n = 16", 'n = "inf"', r"`data\.counts` must be left out"),
    ("counts =", "count =", "did you mean `counts`"),
    ("counts =", "n_plus = 3\ncounts =", r"`data\.n_plus` is given"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_bad_counts_are_refused(old, new, message):
    assert SPEC.count(old) == 1
    with pytest.raises(ModelError, match=message):
        parse_spec(SPEC.replace(old, new))


def test_a_sweep_over_counted_samples_is_refused(tmp_path):
    from dilaton.numerics.sweep.job import sweep

    with pytest.raises(ModelError, match=r"counts its samples by class.*Use `dilaton"):
        sweep(parse_spec(SPEC), ["kappa=1:3:2"], tmp_path / "store")


@pytest.mark.slow
def test_solve_answers_for_each_feature():
    spec = parse_spec(SPEC)
    found = dilaton.solve(
        limit(BIASED), s=[0.5, 1.0], rtol=1e-7, atol=1e-9, **spec.values
    )
    assert found.share_plus.shape == (2,)
    assert found.share_plus.values == pytest.approx([0.69, 0.59], abs=0.05)
    assert float(found.bulk_variance) == pytest.approx(0.88, abs=0.05)
    assert "zeta_2_pm" in found
