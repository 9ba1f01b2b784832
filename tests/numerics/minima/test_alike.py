"""Whether samples of a class stay alike, against the loss of all samples.

The judge has one overlap with each sample's own noise, no classes, and starts from many
assignments of signs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dilaton.numerics import solve as solving
from dilaton.numerics.batch import solve_rows
from dilaton.numerics.codegen.known import derive
from dilaton.numerics.codegen.snapshot import printed_limit
from dilaton.numerics.minima.alike import _Path, _Points, samples_alike
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.share import sampled_starts
from dilaton.theory.models.model import Autoencoder, Data, Model, two_modes
from scipy.optimize import minimize
from scipy.stats import norm

G = np.linspace(-8, 8, 121)
W = np.exp(-(G**2) / 2) / np.exp(-(G**2) / 2).sum()
PARTED = {
    "p": 0.5,
    "sigma": 9.362,
    "kappa": 0.5927,
    "n": 12.0,
    "n_plus": 5.0,
    "ridge_u": 0.01189,
    "ridge_w": 0.0009011,
}
ORDINARY = PARTED | {"sigma": 1.0, "kappa": 2.0, "ridge_u": 0.25, "ridge_w": 0.25}
GAIN = 88.635  # of the sum over samples at s = 1, one of them apart
DIGITS = 5e-4  # of that
REACHED = 1e-6  # the judge's descents by differences of the loss
SECOND = 1e-5  # second differences with a step of 3e-4
BENT = 1e-3  # relative, with a step of 3e-3


@pytest.fixture(scope="module")
def limit():
    """Two modes, n samples, fresh noise."""
    return printed_limit(derive(Model(two_modes(), data=Data(samples=True))))


def loss(x, s, row):
    """The loss per sample: w = omega mu + sum of zeta_i z_i, and `u` at its best."""
    n, sigma = int(row["n"]), row["sigma"]
    omega, b, zeta = x[0], x[1], x[2:]
    sign = np.where(np.arange(n) < row["n_plus"], 1.0, -1.0)
    size = omega**2 + zeta @ zeta
    mean = row["kappa"] * s * (sign * omega + sigma * zeta) + b
    unit = np.tanh(mean[:, None] + np.sqrt(size) * G)
    first, second = unit @ W, unit**2 @ W
    gain = (sign @ first) ** 2 + sigma**2 * (first @ first)
    gain /= row["ridge_u"] + second.sum()
    return 1 + sigma**2 + (row["ridge_w"] * size - gain) / n


def lowest(s, row, sides):
    """The lowest loss that descents reach from given sides of the samples."""
    best = np.inf
    for side in sides:
        zeta = side / row["sigma"]
        done = minimize(loss, np.array([0.1, 0.0, *zeta]), (s, row), method="BFGS")
        best = min(best, float(done.fun))
    return best


def sides_of(row, rng, random):
    """One sample of each class alone, the classes themselves, and random sides."""
    n, plus = int(row["n"]), int(row["n_plus"])
    found = [np.where(np.arange(n) == k, 1.0, -1.0) for k in (0, n - 1)]
    found.append(np.where(np.arange(n) < plus, 1.0, -1.0))
    return found + [rng.choice([-1.0, 1.0], n) for _ in range(random)]


def examined(limit, row, s):
    """The objective of samples alike at `s`, the test of it, and its path."""
    phase = limit.phases[0]
    found = minimise(phase.learned, [s], row)
    given = {k: np.array(v) for k, v in row.items()}
    path = _Path(_Points(phase, "tanh", found, given), 0)
    return (
        float(found.objective[0, 0]),
        samples_alike(phase, "tanh", found, given),
        path,
    )


def test_a_sample_that_leaves_its_class_is_found(limit):
    height, told, _ = examined(limit, PARTED, 1.0)
    assert not told.symmetric[0]
    gain = PARTED["n"] * (1 + PARTED["sigma"] ** 2 - height + told.gain[0])
    assert gain == pytest.approx(GAIN, abs=DIGITS)
    judged = lowest(1.0, PARTED, sides_of(PARTED, np.random.default_rng(1), 2))
    assert height - told.gain[0] == pytest.approx(judged, abs=REACHED)


def test_two_or_three_samples_may_leave_together(limit):
    """Their state is the judge's, and no state of `few` gains more than its bound."""
    _, _, path = examined(limit, PARTED, 1.0)
    (alpha,), (beta,) = path.points.levels(np.ones(1), 0)
    _, fields = path._known(0, (alpha, beta))
    n, plus = int(PARTED["n"]), int(PARTED["n_plus"])
    for few in (1, 2, 3):
        side = np.where(np.arange(n) < few, 1.0, -1.0)
        judged = lowest(1.0, PARTED, [side])
        found = path._left(0, few, (alpha, beta), fields)
        assert found < judged + REACHED
        assert n * (1 + PARTED["sigma"] ** 2 - judged) < path._most(few)
    assert path._left(0, plus, (alpha, beta), fields) == np.inf


def test_the_closed_branch_and_the_fields_are_those_of_the_loss(limit):
    """Below the last piece every unit is 1; before it the fields are the equations'."""
    _, _, path = examined(limit, PARTED, 1.0)
    height, sides = path._known(path.s.size, (1.0, 0.1))
    closed = np.array([0.0, 40.0, *np.zeros(int(PARTED["n"]))])
    assert height == pytest.approx(loss(closed, 0.1, PARTED), abs=1e-9)
    assert (sides < 0).all()  # the heavier mode's side
    own = {k: float(v[0]) for k, v in path.values.items()}
    beta = float(path.points.levels(path.s, 0)[1][0])
    _, fields = path._known(0, (1.0, beta))
    for sign, zeta, field in zip(
        (1, -1), ("zeta_plus", "zeta_minus"), fields, strict=True
    ):
        seen = sign * own["omega"] + PARTED["sigma"] * own[zeta]
        assert field == pytest.approx(beta * seen + own["b"], abs=1e-8)


def test_states_are_searched_for_where_they_may_be_lower(limit):
    """Of up to three samples at the latest time, of one before; not everywhere."""
    _, _, path = examined(limit, PARTED, 1.0)
    asked = []

    def left(c, few, here, fields):
        asked.append((few, here[1]))
        return path._known(0, here)[0] - 1.0 if few == 3 else np.inf

    path._left = left
    assert path.gain() == pytest.approx(1.0)
    assert asked == [(few, asked[0][1]) for few in (1, 1, 2, 2, 3, 3)]


@pytest.mark.parametrize("changed", ["sigma", "activation", "status"])
def test_states_are_not_searched_for_everywhere(limit, changed, monkeypatch):
    """Not with little noise, of sign units, or where the minimum was lost."""
    monkeypatch.setattr(_Path, "gain", lambda path: 1.0)
    row = PARTED | ({"sigma": 4.9} if changed == "sigma" else {})
    found = minimise(limit.phases[0].learned, [1.0], row)
    if changed == "status":
        found = replace(found, status=np.array(["lost"]))
    unit = "sign" if changed == "activation" else "tanh"
    given = {k: np.array(v) for k, v in row.items()}
    told = samples_alike(limit.phases[0], unit, found, given)
    assert told.gain[0] == 0


def test_rows_without_a_minimum_bend_by_their_ridge_or_not_at_all(limit):
    phase = limit.phases[0]
    given = {k: np.array(v) for k, v in ORDINARY.items()}
    found = minimise(phase.learned, [1.0], ORDINARY)
    lost = replace(found, status=np.array(["lost"]))
    told = samples_alike(phase, "tanh", lost, given)
    assert np.isnan(told.bend[0])
    assert told.gain[0] == 0
    assert not told.symmetric[0]
    shut = replace(found, pieces=np.array([0]))
    told = samples_alike(phase, "tanh", shut, given)
    assert told.bend[0] == 2 * ORDINARY["ridge_w"] / ORDINARY["n"]
    assert told.symmetric[0]


def test_samples_stay_alike_in_an_ordinary_row(limit):
    height, told, _ = examined(limit, ORDINARY, 1.0)
    assert told.symmetric[0]
    assert told.gain[0] == 0
    judged = lowest(1.0, ORDINARY, sides_of(ORDINARY, np.random.default_rng(2), 2))
    assert judged == pytest.approx(height, abs=REACHED)


@pytest.mark.parametrize("row", [PARTED, ORDINARY])
def test_the_curvature_is_that_of_second_differences(limit, row):
    _, told, path = examined(limit, row, 1.0)
    n, plus, step = int(row["n"]), int(row["n_plus"]), 3e-4
    own = {k: float(v[0]) for k, v in path.values.items()}
    zeta = [own["zeta_plus"]] * plus + [own["zeta_minus"]] * (n - plus)
    at = np.array([own["omega"], own["b"], *zeta])
    bends = 2 / n * path.points.bend()[:, 0]
    for c, (i, j) in enumerate(((0, 1), (n - 2, n - 1))):
        apart = np.zeros(n + 2)
        apart[[2 + i, 2 + j]] = step * np.array([1, -1]) / np.sqrt(2)
        around = loss(at + apart, 1.0, row) + loss(at - apart, 1.0, row)
        bent = (around - 2 * loss(at, 1.0, row)) / step**2
        assert bends[c] == pytest.approx(bent, abs=SECOND * (1 + abs(bent)))
        other = loss(at + apart, 0.9, row) + loss(at - apart, 0.9, row)
        other = (other - 2 * loss(at, 0.9, row)) / step**2
        assert abs(bends[c] - other) > 10 * SECOND  # the judge has teeth
    assert told.bend[0] <= bends.min()


def test_rows_and_solutions_say_so(limit, monkeypatch):
    monkeypatch.setattr(solving, "final_shares", lambda *_: None)  # not asked here
    columns = {k: np.array([PARTED[k], ORDINARY[k]]) for k in PARTED}
    found = solve_rows(limit, columns, [1.0])  # compiled; `solve` is not
    assert found["status"].tolist() == ["split", "ok"]
    assert found["symmetric"].tolist() == [False, True]
    assert found["reason"][0].startswith("samples of a class part: a state lower by 0.")
    with pytest.warns(UserWarning, match="treated alike"):
        one = solving.solve(limit, s=[1.0], **PARTED)
    assert not bool(one.symmetric)
    assert float(one.split_gain) == pytest.approx(found["split_gain"][0])


def other_loss(x, s, row, kind):
    """The sum over samples for a unit without bias, a tied one, or a sign."""
    n, sigma, count = int(row["n"]), row["sigma"], row["n"] * (1 + row["sigma"] ** 2)
    omega, b, zeta = x[0], x[1], x[2:]
    sign = np.where(np.arange(n) < row["n_plus"], 1.0, -1.0)
    size, beta = omega**2 + zeta @ zeta, row["kappa"] * s
    seen = sign * omega + sigma * zeta
    field = (beta * seen + b)[:, None] + np.sqrt(size) * G
    unit = np.tanh(field)
    first, second = unit @ W, unit**2 @ W
    if kind == "sign":
        first, second = 2 * norm.cdf((beta * seen + b) / np.sqrt(size)) - 1, np.ones(n)
    if kind == "tied":
        cost = size * (row["ridge_w"] + (row["ridge_u"] + second.sum()) / beta**2)
        return count - 2 * seen @ first / beta + cost
    gain = (sign @ first) ** 2 + sigma**2 * (first @ first)
    gain /= row["ridge_u"] + second.sum()
    return count - gain + (row["ridge_w"] * size if kind != "sign" else 0)


OTHERS = {
    "bias": {"bias": False},
    "tied": {"tied": True},
    "sign": {"activation": "sign"},
}


SLOWLY = [pytest.param(x, marks=pytest.mark.slow) for x in ("bias", "tied")]


@pytest.mark.parametrize("kind", ["sign", *SLOWLY])
def test_other_units_are_tested_by_their_curvature(kind):
    """It is that of second differences; states are not searched, and a row says so."""
    auto = Autoencoder(**OTHERS[kind])
    limit = printed_limit(
        derive(Model(two_modes(), data=Data(samples=True), autoencoder=auto))
    )
    row, phase = ORDINARY | {"sigma": 2.0}, limit.phases[0]
    found = minimise(phase.learned, [1.0], row, backend="scipy", points=5)
    given = {k: np.array(v) for k, v in row.items()}
    told = samples_alike(phase, auto.activation, found, given)
    assert told.symmetric[0]
    assert not told.searched
    own = {k: float(found[k][0, 0]) for k in found.names}
    n, plus, step = int(row["n"]), int(row["n_plus"]), 3e-3
    zeta = [own["zeta_plus"]] * plus + [own["zeta_minus"]] * (n - plus)
    at = np.array([own["omega"], own["b"], *zeta])
    bends = 2 * _Points(phase, auto.activation, found, given).bend()[:, 0]
    for c, (i, j) in enumerate(((0, 1), (n - 2, n - 1))):
        apart = np.zeros(n + 2)
        apart[[2 + i, 2 + j]] = step * np.array([1, -1]) / np.sqrt(2)
        bent = []
        for s in (1.0, 0.9):
            around = other_loss(at + apart, s, row, kind)
            around += other_loss(at - apart, s, row, kind)
            bent.append((around - 2 * other_loss(at, s, row, kind)) / step**2)
        assert bends[c] == pytest.approx(bent[0], rel=BENT)
        assert abs(bends[c] / bent[1] - 1) > 10 * BENT  # the judge has teeth


AVERAGE = "the share is an average over sampled starts: standard error 0.002"
ALONE = "splits of a class are tested by curvature alone"


def test_a_row_says_how_its_share_and_its_classes_are_known(monkeypatch):
    """`ok` with an average over starts, which no tolerance makes better."""
    monkeypatch.setattr(sampled_starts, "followed_shares", lambda *_: [(0.5, 2e-3)])
    auto = Autoencoder(bias=False)
    for data, row, said in (
        (Data(), {"p": 0.5, "sigma": 1.0, "kappa": 1.0}, AVERAGE),
        (Data(samples=True), ORDINARY, f"{AVERAGE}; {ALONE}"),
    ):
        model = Model(two_modes(), data=data, autoencoder=auto)
        found = solve_rows(derive(model), row, [1.0], backend="scipy")
        assert found["status"].tolist() == ["ok"]
        assert found["reason"].tolist() == [said]


@pytest.mark.slow
def test_nothing_is_lower_where_samples_are_said_to_stay_alike(limit):
    """Few samples and much noise, drawn log-uniformly with seed 22."""
    rng, phase, rows = np.random.default_rng(22), limit.phases[0], 60
    drawn = {"p": np.full(rows, 0.5), "n": rng.integers(3, 13, rows).astype(float)}
    ranges = {"sigma": (2, 20), "kappa": (0.1, 10), "ridge_u": (1e-4, 10)}
    for name, (low, high) in (ranges | {"ridge_w": (1e-4, 1)}).items():
        drawn[name] = np.exp(rng.uniform(np.log(low), np.log(high), rows))
    drawn["n_plus"] = np.floor(1 + rng.uniform(0, 1, rows) * (drawn["n"] - 1))
    found = minimise(phase.learned, [1.0], drawn)
    told = samples_alike(phase, "tanh", found, drawn)
    for i in np.flatnonzero(told.symmetric):
        row = {k: float(v[i]) for k, v in drawn.items()}
        judged = lowest(1.0, row, sides_of(row, rng, 20))
        assert judged > found.objective[i, 0] - REACHED * (1 + row["sigma"] ** 2)
    assert 0 < told.symmetric.sum() < rows
