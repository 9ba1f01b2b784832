"""The objective of units on classes of samples, against vectors in coordinates.

The judge has the means of the classes and the units' vectors as rows of numbers, takes
averages in the plane of two fields, and the best readouts from normal equations.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from dilaton.numerics.minima.landscape import Landscape, Point, downhill
from dilaton.numerics.minima.objective import Directions, Objective, UnitKind
from scipy.special import erf

ALPHA, BETA = 0.8, 1.1
G = np.linspace(-8, 8, 81)
W = np.exp(-(G**2) / 2) / np.exp(-(G**2) / 2).sum()
VALUE = 1e-9  # two rules
SLOPE = 1e-7  # central differences with a step of 2e-5 along directions of order one
STEP = 2e-5
KINDS = {
    "tanh": UnitKind(),
    "erf": UnitKind("erf"),
    "no bias": UnitKind(bias=False),
    "tied": UnitKind(tied=True),
    "tied, no bias": UnitKind("erf", bias=False, tied=True),
}
BOTH, FIRST, LAST = (True, True), (True, False), (False, True)
CASES = [
    *product(KINDS, (BOTH,)),
    *(("tanh", FIRST), ("tied", LAST), ("no bias", LAST), ("erf", (True,) * 3)),
]


def data_of(kind, units=2):
    """Every sign pattern, in unequal numbers."""
    signs = np.array(list(product((1.0, -1.0), repeat=units)))
    counts = np.array([7.0, 4, 3, 2, 5, 1, 2, 6][: 2**units])
    rho = np.array([1.0, 0.8, 0.6][:units])
    return Objective(signs, counts, rho, 0.9, 0.3, 0.2, KINDS[kind])


def point_of(data, seed=4):
    """A point whose fields are of order one."""
    rng = np.random.default_rng(seed)
    a = 0.25 * rng.normal(size=(data.units, data.counts.size))
    return a, 0.5 * rng.normal(size=data.units) * data.network.bias


def by_hand(data, a, b, active, aside=0.0):
    """The loss and the readouts, with `aside` of each w orthogonal to all samples."""
    live, kind = np.array(active), data.network
    own = np.diag(data.sigma / np.sqrt(data.counts))
    means = np.hstack([data.signs * np.sqrt(data.rho), own])
    w = (a * (live | (kind.tied and kind.bias))[:, None]) @ means
    w = np.column_stack([w, aside * np.ones(len(w))])
    means = np.column_stack([means, np.zeros(len(means))])
    act = np.tanh if kind.activation == "tanh" else lambda x: erf(x / np.sqrt(2))
    cov, fields = ALPHA**2 * w @ w.T, BETA * w @ means.T + b[:, None]
    rest, n = 1.0 * kind.bias, data.counts

    def unit(j, h):
        return act(h) if live[j] else rest + 0 * h

    hits = np.empty(fields.shape)
    products = np.diag(np.full(len(w), data.ridge_u))
    for j, x in enumerate(fields):
        phi = unit(j, x[:, None] + np.sqrt(cov[j, j]) * G)
        hits[j] = n * (phi @ W)
        products[j, j] += n @ (phi**2 @ W)
    for j, k in combinations(range(len(w)), 2):
        root = np.linalg.cholesky(cov[np.ix_([j, k], [j, k])] + 1e-15 * np.eye(2))
        one = unit(j, fields[j][:, None, None] + root[0, 0] * G[:, None])
        two = root[1, 0] * G[:, None] + root[1, 1] * G
        both = one * unit(k, fields[k][:, None, None] + two)
        products[j, k] = products[k, j] = n @ (both @ W @ W)
    u = ALPHA**2 / BETA * w if kind.tied else np.linalg.solve(products, hits @ means)
    error = np.sum(products * (u @ u.T)) - 2 * np.sum(hits * (u @ means.T))
    error += data.ridge_w * np.sum(w * w)
    return data.rho.sum() + data.sigma**2 + error / n.sum(), u @ means.T


@pytest.mark.parametrize(("kind", "active"), CASES)
def test_value_slopes_and_readouts_are_those_of_vectors(kind, active):
    data = data_of(kind, len(active))
    a, b = point_of(data)
    found = data.evaluate(ALPHA, BETA, a, b, active)
    value, seen = by_hand(data, a, b, active)
    assert found.value == pytest.approx(value, abs=VALUE)
    np.testing.assert_allclose(found.readout @ data.gram, seen, atol=10 * VALUE)
    rng, free = np.random.default_rng(8), np.array(active)
    for _ in range(3):
        da = 0.3 * rng.normal(size=a.shape)
        db = 0.3 * rng.normal(size=b.shape) * free
        moved = [
            by_hand(data, a + h * da, b + h * db, active)[0] for h in (STEP, -STEP)
        ]
        slope = np.sum(found.slope_a * da) + found.slope_b @ db
        assert slope == pytest.approx((moved[0] - moved[1]) / 2 / STEP, abs=SLOPE)
    assert (found.slope_b[~free] == 0).all()
    assert (found.slope_a[~data.network.turning(active)] == 0).all()


@pytest.mark.parametrize(("kind", "active"), CASES)
def test_second_slopes_are_differences_of_the_first(kind, active):
    data, free = data_of(kind, len(active)), np.array(active)
    (a, b), rng = point_of(data), np.random.default_rng(9)
    along = Directions(
        0.3 * rng.normal(size=(3, *a.shape)) * data.network.turning(active)[:, None],
        0.3 * rng.normal(size=(3, b.size)) * free,
    )
    found = data.evaluate(ALPHA, BETA, a, b, active, along).hessian
    for i, (da, db) in enumerate(zip(*along, strict=True)):
        one, two = (
            data.evaluate(ALPHA, BETA, a + h * da, b + h * db, active)
            for h in (STEP, -STEP)
        )
        slopes_a, slopes_b = one.slope_a - two.slope_a, one.slope_b - two.slope_b
        wanted = np.sum(along.a * slopes_a, axis=(1, 2)) + along.b @ slopes_b
        np.testing.assert_allclose(found[i], wanted / 2 / STEP, atol=SLOPE)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize(("kind", "active"), CASES)
def test_the_bend_is_that_of_a_step_beside_the_samples(kind, active):
    data, step = data_of(kind, len(active)), 1e-3
    a, b = point_of(data)
    bend = data.evaluate(ALPHA, BETA, a, b, active).bend
    rise = by_hand(data, a, b, active, step)[0] - by_hand(data, a, b, active)[0]
    assert bend.sum() == pytest.approx(rise / step**2, abs=1e-5)


def test_points_are_evaluated_together_as_each_alone():
    data = data_of("tanh")
    points = [point_of(data, seed) for seed in (1, 2, 3)]
    a, b = (np.array(x) for x in zip(*points, strict=True))
    found = data.evaluate(ALPHA, BETA, a, b, BOTH)
    for i in range(3):
        alone = data.evaluate(ALPHA, BETA, a[i], b[i], BOTH)
        for name in ("value", "slope_a", "slope_b", "readout", "bend"):
            got, wanted = getattr(found, name)[i], getattr(alone, name)
            np.testing.assert_allclose(got, wanted, atol=1e-13)


@pytest.mark.parametrize("c", [0, 2])
def test_a_sample_alone_that_is_like_the_rest_changes_nothing(c):
    data = data_of("tanh")
    a, b = point_of(data)
    n, split = data.counts[c], data.split(c)
    apart = np.hstack([a, a[:, [c]] / n])
    apart[:, c] *= (n - 1) / n
    found = split.evaluate(ALPHA, BETA, apart, b, BOTH).value
    assert found == pytest.approx(by_hand(data, a, b, BOTH)[0], abs=VALUE)
    assert split.counts.tolist() == [*(data.counts - (np.arange(4) == c)), 1.0]


def test_a_finer_rule_has_twice_the_intervals():
    data = replace(data_of("tanh"), intervals=12)
    assert data.finer().intervals == 24
    assert data_of("tanh").evaluate(ALPHA, BETA, *point_of(data), BOTH).hessian is None


def test_a_step_goes_downhill_at_most_one_far():
    slope, turn = np.array([0.3, -0.2]), np.array([[0.6, 0.8], [-0.8, 0.6]])
    for sizes, firm in (((2.0, 4.0), True), ((2.0, -4.0), False)):
        step, told = downhill(slope, turn @ np.diag(sizes) @ turn.T)
        assert told is firm
        assert slope @ step < 0
        assert np.linalg.norm(step) < 1 + 1e-12
        wanted = -(turn.T @ slope) / np.abs(sizes)
        np.testing.assert_allclose(turn.T @ step, wanted, atol=1e-12)
    flat, told = downhill(slope, np.diag([0.0, 1.0]))
    assert not told
    np.testing.assert_allclose(flat, [-1, 0], atol=1e-12)
    far = downhill(3 * slope, 0.1 * np.eye(2))[0]
    np.testing.assert_allclose(far, -slope / np.linalg.norm(slope), atol=1e-12)


def test_a_minimum_is_looked_for_where_a_cubic_in_log_time_leads_then_at_the_nearest():
    """One that is found further from the nearest than it may move is another one."""

    def spot(s):
        u = np.log(s)
        at = np.array([[0.1 * u**3 - u, 2 - u**2]])
        return Point(at, np.array([u]), (True,), KINDS["tanh"])

    class Table(Landscape):
        def __init__(self, found):
            self.found, self.starts = found, []

        def settle(self, s, start, within=np.inf):
            self.starts.append(start.free)
            return self.found(s, start)

    known = {s: spot(s) for s in (1.0, 0.7, 0.6, 0.5, 0.45)}
    lands = [Table(found) for found in (lambda s, x: x, lambda s, x: None)]
    lands.append(Table(lambda s, x: spot(0.01)))
    for land, tries in zip(lands, (1, 2, 2), strict=True):
        land.follow(0.4, known)
        np.testing.assert_allclose(land.starts[0], spot(0.4).free, atol=1e-12)
        assert len(land.starts) == tries
        assert land.starts[1:] == [] or (land.starts[1] == spot(0.45).free).all()
    alone = Table(lambda s, x: x)
    assert alone.follow(0.4, {1.0: known[1.0]}).free.tolist() == spot(1.0).free.tolist()
    assert len(alone.starts) == 1
