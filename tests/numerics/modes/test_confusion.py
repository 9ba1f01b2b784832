"""Confusion matrices: published numbers, exact special cases, Monte Carlo, cells."""

import numpy as np
import pytest
from dilaton.numerics.modes.confusion import confusion
from dilaton.numerics.modes.tree_shares import branch_shares
from scipy.stats import multivariate_normal, norm

PRINTED = 6e-7  # half a unit of the last printed digit
CLOSED = 1e-12  # rounding of sums of a hundred terms
DRAWS, LEVEL = 200_000, 5.0  # standard errors of counts; entries are a few hundred
RARE = 20 / DRAWS  # below, a count is no normal

# theory: P(right | mode) of K orthogonal modes at kappa = 1, 2, 3, 4
RIGHT = {
    2: (0.760250, 0.921350, 0.983053, 0.997661),
    3: (0.633702, 0.865767, 0.968795, 0.995497),
    10: (0.340936, 0.673645, 0.902488, 0.983222),
}


@pytest.mark.parametrize("size", RIGHT)
def test_orthogonal_modes_have_the_published_shares(size):
    for kappa, wanted in zip((1, 2, 3, 4), RIGHT[size], strict=True):
        found = confusion(kappa * np.eye(size))
        assert np.abs(np.diag(found.matrix) - wanted).max() < PRINTED
        assert np.abs(found.matrix.sum(1) - 1).max() < CLOSED


def counted(points, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for x in points:
        y = x + rng.standard_normal((DRAWS, len(x)))
        near = np.argmax(y @ points.T - (points**2).sum(-1) / 2, axis=1)
        rows.append(np.bincount(near, minlength=len(points)) / DRAWS)
    return np.array(rows)


RNG = np.random.default_rng(5)
SETS = {
    "line": RNG.standard_normal((5, 1)) * 2,
    "legs": np.diag([0.5, 1.0, 2.0]),
    "legs and zero": np.vstack([np.diag([0.5, 1.0, 2.0]), np.zeros(3)]),
    "obtuse": 2 * np.array([[0, 0], [1, 0], [-1, 0.1]]),
    "plane": RNG.standard_normal((6, 2)) * 2,
    "product": np.array([[a, b] for a in (1, -1, 0.2) for b in (2, -1)]),
    "space": RNG.standard_normal((4, 3)) * 1.5,
    "five": RNG.standard_normal((6, 5)),
    "forty-one": RNG.standard_normal((41, 4)) * 2,
}
QUADRATURE = ("line", "legs", "legs and zero", "obtuse", "plane", "product")


SLOW = pytest.param("forty-one", marks=pytest.mark.slow)  # as "five", 41 modes


@pytest.mark.parametrize("name", [*(x for x in SETS if x != "forty-one"), SLOW])
def test_counts_agree(name):
    points = SETS[name]
    found, drawn = confusion(points), counted(points, 1)
    assert np.abs(found.matrix.sum(1) - 1).max() < 1e-4
    own = drawn * (1 - drawn) / DRAWS
    far = np.abs(found.matrix - drawn) / np.sqrt(own + found.error**2 + 1e-12)
    assert far[drawn > RARE].max() < LEVEL
    if name in QUADRATURE:
        assert found.error.max() < 1e-10
        assert found.estimates is None


@pytest.mark.parametrize("name", ["plane", "legs", "obtuse"])
def test_a_cell_is_an_orthant_of_a_normal(name):
    """Genz's algorithm for P(all a_l - a_m > 0): another road to one entry."""
    points = SETS[name]
    found = confusion(points).matrix
    for cell in (0, len(points) - 1):
        rest = np.delete(np.arange(len(points)), cell)
        sides = points[rest] - points[cell]
        edges = (np.sum(points[rest] ** 2, 1) - np.sum(points[cell] ** 2)) / 2
        cover = sides @ sides.T + 1e-12 * np.eye(len(rest))
        law = multivariate_normal(
            sides @ points[1], cover, allow_singular=True, seed=3, abseps=1e-7
        )
        assert abs(law.cdf(edges) - found[1, cell]) < 2e-4  # Genz's own error


def test_methods_agree_where_two_apply():
    """Three acute points: one integral, polygons, and sampling with its error."""
    from dilaton.numerics.modes.confusion import _halved, _planar, _sampled, _turned

    points = np.array([[0, 0], [2, 0], [0.8, 1.7]])
    one = confusion(points).matrix
    two = _halved(lambda width: _planar(_turned(points), width)).matrix
    assert np.abs(one - two).max() < 1e-11
    many = _sampled(np.column_stack([points, np.zeros(3)]))
    assert (np.abs(many.matrix - one) < LEVEL * many.error + 1e-9).all()


def test_no_noise_is_no_confusion():
    with np.errstate(invalid="ignore"):
        found = confusion(np.array([[1.0], [-1.0]]) * np.inf)
    assert (found.matrix == np.eye(2)).all()


def test_a_perturbed_matrix_is_seen():
    """The judge has teeth: a mode moved by a tenth is found out."""
    points = SETS["plane"].copy()
    drawn = counted(points, 2)
    points[0, 0] += 0.1
    found = confusion(points).matrix
    far = np.abs(found - drawn) / np.sqrt(np.maximum(drawn * (1 - drawn), RARE) / DRAWS)
    assert far.max() > LEVEL


def test_two_modes_are_closed():
    found = confusion(np.array([[1.3], [-1.3]])).matrix
    assert np.abs(found[0, 0] - norm.cdf(1.3)) < 1e-15


def test_sampled_shares_have_a_true_standard_error():
    """Rows of one scramble share their points, so their errors add up as one."""
    rng = np.random.default_rng(5)
    size, count = 12, 1_000_000
    points = 2.4 * rng.standard_normal((size, size - 1)) / np.sqrt(size)
    p = rng.dirichlet(np.ones(size))
    value, error = branch_shares(confusion(points), p)
    source = rng.choice(size, size=count, p=p)
    y = points[source] + rng.standard_normal((count, size - 1))
    found = np.argmax(y @ points.T - (points**2).sum(1) / 2, axis=1)
    counted = np.bincount(found, minlength=size) / count
    spread = np.sqrt(error**2 + counted * (1 - counted) / count)
    z = (value - counted) / spread
    # twelve squares, one bound by the sum of the shares: chance below 1e-5 outside
    assert 0.3 < np.sqrt(np.mean(z**2)) < 2.0
    assert (error > 0).all()
    assert np.abs(z).max() < LEVEL
