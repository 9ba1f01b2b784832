"""Samples under a schedule whose noise explodes: what a linear one learns, in units.

The judge is the loss (L1) of the phase itself, written by hand with its ridge
alpha^2 |w|^2, and the minimum of it that SciPy finds.
"""

from __future__ import annotations

import numpy as np
import pytest
from dilaton.numerics.batch import Batch, final_shares, solve_rows, solved_phases
from dilaton.numerics.codegen.known import derive
from dilaton.numerics.codegen.parameters import Solver
from dilaton.numerics.codegen.snapshot import printed_limit
from dilaton.numerics.minima.ordinary import (
    in_its_units,
    noise_and_ratio,
    ordinary_point,
    ordinary_scale,
    times_of,
)
from dilaton.numerics.minima.result import FLOOR
from dilaton.theory.models.model import (
    VARIANCE_EXPLODING,
    Autoencoder,
    Data,
    Model,
    two_modes,
)
from scipy.optimize import minimize

ROW = {"p": 0.5, "sigma": 1.2, "n": 5.0, "n_plus": 2.0, "ridge_u": 0.3, "ridge_w": 1.0}
POINT = tuple((ROW | {"kappa": 2.0}).items())
TIMES = (0.2, 0.5, 0.75, 0.9)
G = np.linspace(-9, 9, 181)
W = np.exp(-(G**2) / 2) / np.exp(-(G**2) / 2).sum()
FOUND = 1e-6  # of overlaps where the judge's descent stops
LOWEST = 1e-10
ENDED = 3e-8  # what moves after a ratio of 1000: one window ends at 1060, one at 2048
AROUND = [(1 + x, y) for x, y in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05))]


@pytest.fixture(scope="module")
def limits():
    """Two modes and n samples: noise that explodes, and a linear schedule."""
    data = Data(samples=True)
    exploding = Model(two_modes(), VARIANCE_EXPLODING, data=data)
    both = exploding, Model(two_modes(), data=data)
    return [printed_limit(derive(model)) for model in both]


@pytest.fixture(scope="module")
def solved(limits):
    """The row, by SciPy."""
    row = ROW | {"kappa": 2.0}
    return solve_rows(limits[0], row, TIMES, backend="scipy", final=True)


def loss(x, s, row, power=2):
    """The loss per sample with alpha = 1 - s, beta = s; `power` is the ridge's."""
    n, plus, sigma = row["n"], row["n_plus"], row["sigma"]
    counts, signs = np.array([plus, n - plus]), np.array([1, -1])
    alpha, zeta = 1 - s, signs * sigma * x[0] / (2 * counts)
    r = x[0] ** 2 + counts @ zeta**2
    mean = s * (signs * x[0] + sigma * zeta) + x[1]
    unit = np.tanh(mean[:, None] + alpha * np.sqrt(r) * G)
    first, second = unit @ W, unit**2 @ W
    gain = (counts * signs @ first) ** 2 + sigma**2 * counts @ first**2
    gain /= row["ridge_u"] + counts @ second
    return 1 + sigma**2 + (row["ridge_w"] * alpha**power * r - gain) / n


def test_overlaps_are_the_minimum_of_the_documented_loss(solved):
    early = solved["@phase"] == "weights"
    omega, b = solved["omega"][0, early], solved["b"][0, early]
    assert omega[0] == 0  # the closed branch, before the switch
    assert np.isinf(b[0])
    for x, y, s in list(zip(omega, b, TIMES, strict=True))[1:]:
        best = minimize(loss, [x, y], (s, ROW), method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(best.x, [x, y], atol=FOUND)
        other = minimize(loss, [x, y], (s, ROW, 0), method="BFGS")
        assert abs(other.x[0] - x) > 1e4 * FOUND  # under |w|^2 it is not


def test_branches_have_equal_losses_where_the_one_takes_over(solved):
    (s,) = solved["switch"]
    assert 0.2 < s < 0.5
    n, sigma = ROW["n"], ROW["sigma"]
    closed = 1 + sigma**2 - (1 + sigma**2 * n) / (n + ROW["ridge_u"]) / n
    best = min(
        minimize(loss, [2.0, b], (s, ROW), method="BFGS").fun for b in (-0.3, 0.3)
    )
    assert best == pytest.approx(closed, abs=LOWEST)
    assert loss([2.0, -0.3], s, ROW) > closed + 100 * LOWEST


def test_the_share_is_the_one_that_a_linear_schedule_ends_with(limits, solved):
    given = {k: np.array([v]) for k, v in (ROW | {"kappa": 2.0}).items()}
    solver = Solver("numba", 1e-8)
    batch = Batch(limits[1], given, solver)
    (part, _) = solved_phases(batch, np.ones(1))
    last = final_shares(batch, part)
    assert solved["share_plus"][0] == pytest.approx(last.values[0, 0], abs=ENDED)
    assert solved["final_share_plus"][0] == solved["share_plus"][0]
    assert abs(part.shares.values[0, 0] - last.values[0, 0]) > 0.01


def test_overlaps_are_known_until_no_noise_is_left(limits, solved):
    """Beyond the ratio that the share needs too; at the very end a row says why not."""
    late = 1 - 1e-4
    row = ROW | {"kappa": 2.0}
    found = solve_rows(limits[0], row, [0.0, late, 1.0], backend="scipy")
    assert found["omega"][0, 0] == 0
    omega, b = found["omega"][0, 1], found["b"][0, 1]
    heights = [loss([omega * x, b + y], late, ROW) for x, y in AROUND]
    assert min(heights) > loss([omega, b], late, ROW)
    assert np.isnan([found[k][0, 2] for k in ("omega", "m")]).all()
    assert found["status"].tolist() == ["ok"]
    assert found["reason"][0].startswith("overlaps are nan where too little noise")
    assert solved["reason"].tolist() == [""]


def test_a_row_of_a_batch_is_the_single_run(limits):
    """Whatever the ridges beside it: each has the ratio that its own share needs."""
    ridges = [0.3, 3.0, 60.0]
    many = {k: np.full(3, v) for k, v in (ROW | {"kappa": 2.0}).items()}
    together = solve_rows(limits[0], many | {"ridge_u": np.array(ridges)}, TIMES)
    for i, ridge in enumerate(ridges):
        row = ROW | {"kappa": 2.0, "ridge_u": ridge}
        alone = solve_rows(limits[0], row, TIMES)
        assert together.keys() == alone.keys()
        for name in ("omega", "b", "m", "share_plus", "switch", "status", "reason"):
            np.testing.assert_array_equal(together[name][i], alone[name][0])
    assert len(set(together["share_plus"])) == 3


# ------------------------------------------------------------------ units of the noise


def test_a_window_without_an_end_has_a_power_of_two(limits):
    """It is above 1000 (1 + ridge_u/n), and 30 times that where starts are sampled."""
    phase = limits[0].phases[0]
    rows = {"ridge_u": np.array([0.0, 1.0, 5.0]), "n": np.array([5.0, 5.0, 4.0])}
    np.testing.assert_array_equal(ordinary_scale(phase, rows), [1024, 2048, 4096])
    silent = Model(
        two_modes(),
        VARIANCE_EXPLODING,
        data=Data(samples=True),
        autoencoder=Autoencoder(bias=False),
    )
    other = printed_limit(derive(silent)).phases[0]
    np.testing.assert_array_equal(ordinary_scale(other, rows), [32, 64, 128])


def test_noise_and_its_ratio_are_those_of_the_schedule(limits):
    phase, times = limits[0].phases[0], np.array([0.0, 0.2, 0.5, 1.0])
    alpha, ratio = noise_and_ratio(phase, times, {k: np.array([v]) for k, v in POINT})
    np.testing.assert_allclose(alpha, 1 - times)
    np.testing.assert_allclose(ratio, [0, 0.25, 1, np.inf])


def test_a_point_of_the_linear_phase_has_the_ratio_for_its_kappa(limits):
    phase, point = limits[0].phases[0], dict(POINT)
    found, noise = ordinary_point(phase, 0.5, point)
    assert found == point | {"kappa": 1.0}
    assert noise == 0.5
    found, noise = ordinary_point(phase, 1.0, point)  # there no noise is left
    assert found["kappa"] == 2048
    assert noise == 1 / 2048


def test_times_of_the_linear_phase_are_those_of_equal_noise(limits):
    phase, given = limits[0].phases[0], {k: np.array([v]) for k, v in POINT}
    edges = np.array([[1.0, 0.25, 0.1, FLOOR, np.nan]])
    found = times_of(phase, edges, 4.0, given)
    wanted = [[1.0, 1 / 2, 0.4 / 1.4, FLOOR, np.nan]]  # s / (1 - s) = 4 edge
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_overlaps_of_w_and_c_are_in_units_of_the_noise():
    values, alpha = np.ones((1, 3)), np.array([[1.0, 0.5, np.nan]])
    for name, power in (("omega", 1), ("v_1", 1), ("c_hat", 1), ("r_1_2", 2)):
        found = in_its_units(name, values, alpha)
        np.testing.assert_array_equal(found, [[1, 2**power, np.nan]])
    for name in ("b", "m", "c", "vast"):
        np.testing.assert_array_equal(in_its_units(name, values, alpha)[0, :2], 1)
