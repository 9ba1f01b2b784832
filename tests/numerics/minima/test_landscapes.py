"""The rules by which minima are found and followed, on landscapes in closed form.

The compiled loops run here as plain Python, in milliseconds, with a landscape written
by hand in the place of the printed functions. The place of a minimum, where it ends and
where another one takes over are then known without a search: in

    J = K/2 (x - o)^2 + y^4/4 - a y^2/2 + h y + c,

with every letter a function of time, minima lie at y^3 - a y + h = 0. The one at
y > 0 is the lower one where h < 0, and ends where h = 2 (a/3)^(3/2).
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from dilaton.numerics.codegen.kernel import text_of
from dilaton.numerics.codegen.quadrature import chebyshev
from dilaton.numerics.minima import (
    crossing_numba,
    follow_numba,
    newton_numba,
    survey_numba,
)
from dilaton.numerics.minima.minimise import PRINTED

EXACT = 1e-12
FLOOR = 1e-3
ALL = (newton_numba, survey_numba, crossing_numba, follow_numba)
GRID = chebyshev(9)


@pytest.fixture(autouse=True)
def quiet_floats():
    """As in compiled code, what overflows is infinite."""
    with np.errstate(all="ignore"):
        yield


def loops(land=None, states=2, even=0):
    """The text of the compiled files, as plain Python, with a landscape by hand."""
    space = {k: getattr(math, k) for k in ("sqrt", "log", "exp")}
    space |= {"empty": lambda shape: np.full(shape, np.nan), "zeros": np.zeros}
    space |= dict.fromkeys(("compiled", "called"), lambda f: f)
    space |= {"STATES": states, "NAMES": states + 1, "EVEN": even}

    def call(name, at, x, params, nodes, weights, first, last, out):
        rule = nodes[first:last], weights[first:last]
        return getattr(land, name)(at, x, params[:0], params, *rule, out)

    space["call"] = call
    for module in ALL:
        exec(compile(text_of(module), module.__name__, "exec"), space)
    return SimpleNamespace(**space)


class Land:
    """A landscape of two unknowns, and a closed branch of height `shut`.

    `x`, `a`, `h`, `c` and `shut` are functions of time; `doubt` is the error of a rule
    of so many nodes, and `wide` the field of a unit weight: its means and width.
    """

    def __init__(self, x=1.0, a=1.0, h=-0.1, c=0.0, shut=1e3, k=2.0, **more):
        def function(v):
            return v if callable(v) else lambda s: v

        self.x, self.a, self.h = map(function, (x, a, h))
        self.c, self.shut, self.k = function(c), function(shut), k
        self.doubt = more.get("doubt", lambda nodes: 0.0)
        self.noise = more.get("noise", 0.0)
        self.wide = more.get("wide", (-1.0, 1.0, 1.0))
        self.calls = 0

    def height(self, s, x, y):
        a, h = self.a(s), self.h(s)
        bowl = self.k / 2 * (x - self.x(s)) ** 2
        return bowl + y**4 / 4 - a * y**2 / 2 + h * y + self.c(s)

    def given(self, none, params, nodes, weights):
        """What the printed functions are called with: no inputs, and a rule."""
        assert none.size == 0
        assert params.tolist() == [0.0]
        assert nodes.size == weights.size > 0

    def newton(self, s, at, none, params, nodes, weights, out):
        self.given(none, params, nodes, weights)
        x, y = at
        self.calls += 1
        out[0] = self.height(s, x, y)
        out[1:3] = self.k * (x - self.x(s)), y**3 - self.a(s) * y + self.h(s)
        out[3:] = self.k, 0.0, 0.0, 3 * y**2 - self.a(s)
        return self.doubt(len(nodes))

    def objective(self, s, at, none, params, nodes, weights, out):
        self.given(none, params, nodes, weights)
        out[0] = self.height(s, *at)
        return 0.0

    def branch(self, s, none, inputs, params, nodes, weights, out):
        assert none.size == 0
        self.given(inputs, params, nodes, weights)
        out[:] = 0.0, 9.0, 7.0, self.shut(s)
        return 0.0

    def observables(self, s, at, none, params, nodes, weights, out):
        self.given(none, params, nodes, weights)
        out[0] = s + self.noise if at[0] == 1.0 else at[0] + 10 * at[1] + s
        return 0.0

    def fields(self, s, at, none, params, nodes, weights, found):
        self.given(none, params, nodes, weights)
        low, high, wide = self.wide
        found[:4] = low * at[0], wide * at[0], high * at[0], wide * at[0]
        return 0.0

    def at(self, s, side=1):
        """The minimum at y > 0 or y < 0, by the roots of its slope."""
        roots = np.roots([1, 0, -self.a(s), self.h(s)])
        real = roots[np.abs(roots.imag) < 1e-9].real
        bent = [y for y in real if 3 * y**2 > self.a(s) and y * side > 0]
        return np.array([self.x(s), *bent])


PARAMS, NODES = np.zeros(1), np.linspace(-1, 1, 14)
NO_CHART = (np.zeros(0),) * 4


def given(closed=1, tol=1.0):
    """What every function takes: a row, rules, functions, and how it is followed."""
    rules = NODES, np.ones(14) / 14, np.array([0, 2, 6, 14])
    return PARAMS, *rules, PRINTED, closed, tol


GIVEN, ROUGH = given(), (NODES, NODES)


def out(states=2):
    return np.empty(1 + states + states * states)


# ------------------------------------------------------------------------- one point


@pytest.mark.parametrize("seed", range(3))
def test_steps_are_those_of_linear_algebra(seed):
    """Newton's where the Hessian is positive, downhill along each vector where not."""
    run, rng = loops(states=3), np.random.default_rng(seed)
    root, slope = rng.normal(size=(3, 3)), 0.1 * rng.normal(size=3)
    for hessian in (root @ root.T + np.eye(3), root + root.T - np.eye(3)):
        values, vectors = np.linalg.eigh(hessian)
        here = np.concatenate([[0.0], slope, hessian.ravel()])
        step, low = np.zeros(3), np.zeros((3, 3))
        assert run.direction(here, step, low) == (values[0] > 0)
        wanted = -vectors @ (vectors.T @ slope / abs(values))
        assert np.linalg.norm(wanted) < 1
        np.testing.assert_allclose(step, wanted, rtol=1e-10, atol=EXACT)
        assert run.smallest_eigenvalue(here) == pytest.approx(values[0], rel=1e-10)
        here[1:4] *= 1e3
        run.direction(here, step, low)
        np.testing.assert_allclose(step, wanted / np.linalg.norm(wanted), rtol=1e-10)
    here[4:] = np.nan
    assert not run.direction(here, step, low)
    assert np.isnan(step).all()


def test_a_step_has_to_fall():
    """By a share of what its slope says; within rounding the slopes decide."""
    run, step = loops(states=1), np.array([0.5])
    before = np.array([1.0, -2.0, 4.0])
    for height, slope, share, falls in (
        (1 - 1.1e-4, 9.0, 1.0, True),
        (1 - 0.9e-4, 2.1, 1.0, False),
        (1 - 0.9e-4, 2.1, 0.5, True),
        (1 - 0.9e-4, 1.9, 1.0, True),
        (1 + 1e-13, 0.0, 1.0, False),
    ):
        there = np.array([height, slope, 4.0])
        assert run.fallen(before, there, step, share, -1.0) == falls
    for height, slope, falls in (
        (1 + 1e-14, 2.1e-11, False),
        (1 + 1e-14, 1.9e-11, True),
        (1 + 3e-14, 1.9e-11, False),
    ):
        there = np.array([height, slope, 4.0])
        assert run.fallen(before, there, step, 1.0, -1e-11) == falls


@pytest.mark.parametrize("start", [(0.0, 0.9), (-3.0, 2.0), (1.5, 0.05), (1.0, -0.4)])
def test_a_descent_ends_at_a_minimum(start):
    """Also from where the curvature is negative; it says how far it is wrong."""
    land = Land(doubt=lambda nodes: 1e-5)
    run, x, here = loops(land), np.array(start), out()
    code, off = run.settle(0.5, x, 1e-6, GIVEN, 0, here)
    assert code == run.FOUND
    assert off == 1e-5 + 2e-16
    wanted = land.at(0.5, 1 if land.at(0.5)[1] - x[1] < 1 else -1)
    np.testing.assert_allclose(x, wanted, rtol=1e-10)
    assert land.calls < 20


def test_a_descent_says_that_it_runs_away_or_cannot_start():
    steep = Land(a=0.0, h=-(20.0**3))
    assert loops(steep).settle(1.0, np.array([1.0, 1.0]), 1e-6, GIVEN, 0, out())[0] == 1
    gone = Land(a=np.nan)
    run = loops(gone)
    assert run.settle(1.0, np.array([1.0, 1.0]), 1e-6, GIVEN, 0, out())[0] == run.LOST


def test_a_rule_too_coarse_is_replaced():
    """Nodes are 2, 4 and 8: the first that is fine is taken, or the last."""
    tilt = {2: -(20.0**3), 4: -0.1, 8: -0.1}
    land = Land(doubt=lambda nodes: {2: 1e-3, 4: 1e-6, 8: 1e-9}[nodes])
    land.newton = lambda s, at, none, params, nodes, *rest: (
        setattr(land, "h", lambda s: tilt[len(nodes)])
        or Land.newton(land, s, at, none, params, nodes, *rest)
    )
    run = loops(land)
    for tol, level in ((1e-5, 1), (1e-8, 2), (1e-12, 2)):
        x = np.array([1.2, 0.9])  # the coarse rule sends it away, from here
        code, fine = run.settle_well(0.5, x, 1e-6, given(tol=tol), 0, out())
        assert (code, fine) == (run.FOUND, level)
        np.testing.assert_allclose(x, Land().at(0.5), rtol=1e-10)
    assert run.settle_well(0.5, np.array([1.2, 0.9]), 1e-6, GIVEN, 0, out()) == (
        run.ESCAPED,
        0,
    )


def test_a_minimum_is_shown_with_a_positive_weight_where_the_loss_is_even():
    for even, wanted in ((1, [2.0, -3.0]), (0, [-2.0, 3.0])):
        x = np.array([-2.0, 3.0])
        loops(even=even).upright(x)
        assert x.tolist() == wanted
    x = np.array([2.0, -3.0])
    loops(even=1).upright(x)
    assert x.tolist() == [2.0, -3.0]


def test_what_is_told_of_a_point():
    land, fact, told = Land(doubt=lambda nodes: 1e-5), np.empty(4), np.empty(3)
    run, x = loops(land), np.array([1.5, -0.5])
    run.check(0.5, x, GIVEN, 0, out(), fact)
    slopes = 1.0, abs(-0.125 + 0.5 - 0.1)
    bend = min(2.0, 3 * 0.25 - 1)
    wanted = [land.height(0.5, *x), max(slopes), bend, 1e-5 + 2e-16]
    np.testing.assert_allclose(fact, wanted, rtol=EXACT)
    run.record(0.5, x, GIVEN, 0, told)
    assert told.tolist() == [1.5, -0.5, 1.5 - 5.0 + 0.5]
    away = run.steepness(0.5, np.array([1.5, 0.9]), GIVEN, 0, out())
    assert away == pytest.approx(1.0 / min(2.0, 3 * 0.81 - 1), rel=EXACT)
    assert run.steepness(0.5, x, GIVEN, 0, out()) == 1e300


@pytest.mark.parametrize(("y", "closed", "more"), [(6, 1, 1), (6, 2, 0), (4.9, 1, 0)])
def test_a_bias_beyond_five_counts_only_where_it_ends(y, closed, more):
    a = 3 * y**2 - 0.1  # its curvature is 0.1
    run, x = loops(Land(a=a)), np.array([1.5, y])
    slope = abs(y**3 - a * y - 0.1)
    found = run.steepness(0.5, x, given(closed), 0, out())
    assert found == pytest.approx(slope / (0.1 + more), rel=1e-9)


def test_the_closed_branch_is_told_as_such():
    run = loops(Land(shut=lambda s: 5.0 + s))
    for closed, bias, code in ((1, np.inf, 1), (2, 9.0, 1), (0, 9.0, 2)):
        values, facts, codes = np.zeros(3), np.ones(4), np.zeros(1)
        run.saturate(0.5, given(closed), values, facts, codes)
        assert values.tolist() == [0.0, bias, 7.0]
        assert codes.tolist() == [code]
        assert facts.tolist() == [5.5 if closed else 1e300, 0.0, 0.0, 0.0]


def test_polynomials_are_interpolated_and_extrapolated():
    run, x = loops(states=1), np.zeros(1)
    for z in (-1.0, -0.3, 0.41, 1.0, GRID[3]):
        run.interpolated(z, GRID, GRID[:, None] ** 8, x)
        assert x[0] == pytest.approx(z**8, abs=EXACT)
    for k, power in ((1, 0), (2, 1), (3, 2), (4, 3), (7, 3)):
        run.extrapolated(k, GRID, GRID[:, None] ** power, x)
        assert x[0] == pytest.approx(GRID[k] ** power, abs=EXACT)
    x[0] = 7.0
    run.extrapolated(0, GRID, GRID[:, None], x)
    assert x[0] == 7.0


# -------------------------------------------------------------------------- many minima


def test_points_that_are_one_minimum():
    run = loops(Land())
    one = np.array([0.5, 2.0])
    assert run.alike(one, one * (1 + 1.9e-3))
    assert not run.alike(one, np.array([0.5 * (1 + 2.1e-3), 2.0]))
    assert not run.alike(one, np.array([0.5, 2.0 + 6e-3]))
    assert run.alike(np.zeros(2), np.array([0.9e-7, 0.9e-3]))
    assert not run.alike(np.zeros(2), np.array([1.1e-7, 0.0]))
    assert not run.alike(np.zeros(2), np.array([0.0, np.nan]))
    assert run.moved(one, np.array([1.0, 2.1])) == pytest.approx(math.log(2))
    assert run.moved(one, np.array([0.5, 3.0])) == 1.0
    assert run.moved(np.zeros(2), np.array([1.0, 0.1])) == 0.1


def test_points_of_a_flat_valley_are_one_minimum():
    """Points near in place and equal in height: not far ones, not higher ones."""
    steep, flat = loops(Land(k=2.0)), loops(Land(k=1e-12))
    one, near, far = np.array([[1.0, 0.9], [1.2, 0.9], [1.5, 0.9]])
    assert flat.same(0.5, one, near, GIVEN, 0)
    assert not flat.same(0.5, one, far, GIVEN, 0)
    assert not steep.same(0.5, one, near, GIVEN, 0)
    assert steep.same(0.5, one, one, GIVEN, 0)


def test_minima_are_kept_once_and_counted():
    run = loops(Land())
    seen, heights, count = np.empty((run.MANY, 2)), np.empty(run.MANY), 0
    for k in range(run.MANY + 2):
        count = run.added(np.array([1.0 + k, 0.0]), -float(k % 7), seen, heights, count)
        assert count == min(k + 1, run.MANY)
        assert run.added(np.array([1.0 + k, 0.0]), 9.0, seen, heights, count) == count
    assert run.lowest(heights, count) == 6
    assert heights.tolist() == [-float(k % 7) for k in range(run.MANY)]


@pytest.mark.parametrize("means", [(-1.0, 2.0), (-40.0, 55.0)])
def test_biases_reach_from_one_constant_to_the_other(means):
    """Most of them lie beside the classes where these are far apart."""
    run, wide, (low, high) = loops(), 1.5, means
    z = np.linspace(-1, 1, 401)
    found = np.array([run.bias_between(x, low, high, wide) for x in z])
    reach = run.REACH * wide
    assert found[[0, -1]] == pytest.approx([-high - reach, reach - low])
    steps = np.diff(found)
    assert (steps > 0).all()
    beside = (abs(found + low) < reach) | (abs(found + high) < reach)
    if high - low > 4 * reach:
        assert steps.max() < 20 * steps.min()
        assert beside.mean() == pytest.approx(1 - run.EDGE, abs=0.01)
    else:
        assert np.ptp(steps) < EXACT


def test_the_widths_of_the_fields_are_those_at_size_one():
    run = loops(Land(wide=(-3.0, 2.0, -0.5)))
    assert run.field_widths(0.5, GIVEN, ROUGH) == (-3.0, 2.0, 0.5)


def test_a_landscape_is_searched_below_its_dips():
    """Minima on the edge of the grid are not looked into."""
    land = Land(h=-0.02, wide=(-1.0, 1.0, 0.3))
    run = loops(land)
    sizes, places = np.geomspace(0.1, 8, 18), np.linspace(-1, 1, 41)
    seen, heights = np.empty((run.MANY, 2)), np.empty(run.MANY)
    args = GIVEN, ROUGH, 0, seen, heights, 0
    assert run.surveyed(0.5, (sizes, places), *args) == 2
    order = np.argsort(heights[:2])
    wanted = [land.at(0.5, side) for side in (1, -1)]
    np.testing.assert_allclose(seen[order], wanted, rtol=1e-6)
    assert heights[order[0]] == pytest.approx(land.height(0.5, *wanted[0]), abs=1e-9)
    edge = sizes[sizes <= 1.0]
    assert run.surveyed(0.5, (edge, places), *args) == 0
    for beside in (np.linspace(0.25, 1, 21), np.linspace(-1, -0.25, 21)):
        assert run.surveyed(0.5, (sizes, beside), *args) == 0
    land.wide = (0.0, 0.0, 0.0)
    assert run.surveyed(0.5, (sizes, places), *args) == 0


def test_a_dip_is_no_higher_than_all_around():
    run = loops()
    for i in range(3):
        for j in range(3):
            table = np.zeros((3, 3))
            assert run.dips(table, 1, 1)
            table[i, j] = -1.0
            assert run.dips(table, 1, 1) == (i == j == 1)


def test_minima_at_the_end_are_found_from_guesses_where_no_grid_helps():
    """Without a grid, or where nothing on it lies below the closed branch."""
    guesses = np.array([[1.0, 1.5], [1.0, -1.5], [0.5, 1.5]])
    found = np.empty((8, 2)), np.empty(8)
    run = loops(Land(h=-0.02, shut=1e3))
    args = (NO_CHART, ROUGH), False, *found
    assert run.at_the_end(guesses, GIVEN, *args) == (2, 0)
    np.testing.assert_allclose(found[0][0], Land(h=-0.02).at(1.0), rtol=1e-6)
    low = loops(Land(h=-0.02, shut=-1e3))  # nothing is below: finer rules are tried
    assert low.at_the_end(guesses, GIVEN, *args) == (2, 2)
    assert low.at_the_end(guesses, given(closed=0), *args) == (2, 0)
    grid = np.geomspace(0.1, 8, 18), np.linspace(-1, 1, 41)
    thin = np.geomspace(0.1, 0.9, 4), np.linspace(-1, 1, 5)
    chart = (*grid, *thin), ROUGH
    at = loops(Land(h=-0.02, wide=(-1.0, 1.0, 0.1)))
    assert at.at_the_end(guesses[:1], GIVEN, chart, True, *found) == (2, 0)
    assert at.at_the_end(guesses[:1], GIVEN, chart, False, *found) == (1, 0)


def test_the_noise_of_the_samples_is_a_share_of_the_weights_size():
    run = loops(Land(noise=0.3))
    assert run.noise_share(GIVEN, 2) == pytest.approx(0.3)
    assert run.noise_share(GIVEN, -1) == 0.0


def test_minima_are_carried_to_another_time():
    """The first first; one that has run away or fallen to another is not there."""
    land = Land(x=lambda s: 1 + s, h=lambda s: -0.5 * (1 - s))
    run = loops(land)
    old = np.array([land.at(0.9, -1), land.at(0.9, 1)])
    seen, heights = np.empty((8, 2)), np.empty(8)
    args = GIVEN, 0, old, 2, seen, heights
    for first, sides in ((0, (-1, 1)), (1, (1, -1))):
        kept, count, level = run.carried(0.7, first, *args)
        assert (kept, count, level) == (True, 2, 0)
        wanted = [land.at(0.7, side) for side in sides]
        np.testing.assert_allclose(seen[:2], wanted, rtol=1e-6)
        high = [land.height(0.7, *x) for x in wanted]
        np.testing.assert_allclose(heights[:2], high, atol=1e-9)
    kept, count, _ = run.carried(0.05, 0, *args)  # the upper one has ended
    assert (kept, count) == (True, 1)
    land.a = lambda s: np.nan
    assert run.carried(0.7, 0, *args)[:2] == (False, 0)


# ---------------------------------------------------------------------------- crossings

TILTED = {"h": lambda s: 0.5 * (0.3 - s), "c": lambda s: -0.6 * s}


def crossed(land, high, low, ends, shut=False, closed=1):
    """What `crossing` says of a span, and the span that it leaves."""
    run, span = loops(land), np.array([high, low])
    above, below = (np.array(x, float) for x in ends)
    code = run.crossing(span, above, below, shut, given(closed), 0)
    return code, span, above, below


def test_two_minima_cross_where_their_heights_are_equal():
    land = Land(x=lambda s: 1 + s / 2, **TILTED)
    code, span, above, below = crossed(
        land, 0.5, 0.2, (land.at(0.5, 1), land.at(0.2, -1))
    )
    assert code == loops().CROSSED
    assert span[1] <= 0.3 <= span[0]
    assert span[0] - span[1] <= 2e-9
    np.testing.assert_allclose(above, land.at(0.3, 1), rtol=1e-6)
    np.testing.assert_allclose(below, land.at(0.3, -1), rtol=1e-6)


@pytest.mark.parametrize("steep", [0.1, 3.0])
def test_the_closed_branch_takes_over_where_its_height_is_reached(steep):
    land = Land(c=lambda s: -steep * (s - 0.3) + 0.35, shut=0.0, h=-0.1)
    best = Land(h=-0.1).height(1.0, *land.at(1.0))
    s = 0.3 + (0.35 + best) / steep
    code, span, above, _ = crossed(land, 1.0, s - 0.2, (land.at(1.0), [0, 0]), True)
    assert code == loops().CROSSED
    assert span[1] - EXACT <= s <= span[0] + EXACT
    assert span[0] - span[1] <= 1e-8
    np.testing.assert_allclose(above, land.at(s), rtol=1e-6)


def test_a_minimum_that_ends_crosses_nothing():
    """It falls to the other one, which was lower already, or to nothing."""
    land = Land(h=lambda s: -0.1 if s > 0.4 else 0.9)
    code, span, *_ = crossed(land, 0.8, 0.01, (land.at(0.8, 1), land.at(0.01, -1)))
    assert code == loops().BROKEN
    assert span[1] <= 0.4 <= span[0]
    assert span[0] - span[1] < 1e-8
    gone = Land(a=lambda s: 1.0 if s > 0.5 else np.nan)
    code, *_ = crossed(gone, 0.8, 0.2, (gone.at(0.8, 1), gone.at(0.8, 1)))
    assert code == loops().GONE


def test_a_minimum_that_begins_later_crosses_nothing():
    """Beside where it begins it is the other one, which stays what it was."""
    land = Land(h=lambda s: -0.9 if s > 0.4 else 0.1)
    code, span, *_ = crossed(land, 0.8, 0.3, (land.at(0.8, 1), land.at(0.3, -1)))
    assert code == loops().SAME
    assert span[1] <= 0.4 <= span[0]
    assert span[0] - span[1] < 1e-8


def test_one_minimum_does_not_cross_itself():
    land = Land(x=lambda s: 1 + s, h=lambda s: -0.2 * s)
    code, *_ = crossed(land, 0.8, 0.2, (land.at(0.8), land.at(0.2)))
    assert code == loops().SAME


def test_a_minimum_is_followed_back_to_where_it_was():
    land = Land(x=lambda s: 1 + s, **TILTED)
    run = loops(land)
    for side, wanted in ((1, True), (-1, False)):
        args = land.at(0.25, side), 0.4, land.at(0.4, 1), GIVEN, 0
        assert run.goes_back(0.25, *args) == wanted
        away, levels = run.left(0.25, land.at(0.4, side), land.at(0.25, 1), *ARGS)
        assert away != wanted
        assert levels == (0, 0)
    land.a = lambda s: np.nan
    assert not run.goes_back(0.25, np.ones(2), 0.4, np.ones(2), GIVEN, 0)
    assert run.left(0.25, np.ones(2), np.ones(2), *ARGS)[0]


ARGS = GIVEN, (0, 0)


def test_a_crossing_is_looked_for_by_the_secant_of_logarithms():
    run, span = loops(), np.array([0.8, 0.1])
    for step in range(4):
        zero = 0.8 * (0.1 / 0.8) ** (1 / 3)  # gaps -1 at .8 and 2 at .1
        wanted = np.sqrt(0.08) if step == 3 else zero
        assert run.secant(span, -1.0, (0.1, 2.0), step) == pytest.approx(wanted)
    middle = pytest.approx(np.sqrt(0.08))
    for high, one in ((0.0, (0.1, 2.0)), (-1.0, (0.1, 0.0)), (2.0, (0.1, 2.0))):
        assert run.secant(span, high, one, 0) == middle
    assert run.secant(span, -1.0, (0.9, -0.9), 0) == middle  # beyond the span


# ------------------------------------------------------------------------- whole rows

TIMES = np.array([1.0, 0.5, 0.31, 0.29, 0.05, FLOOR, 0.0])
CHART = (
    np.geomspace(0.1, 8, 18),
    np.linspace(-1, 1, 41),
    np.geomspace(0.1, 8, 9),
    np.linspace(-1, 1, 11),
)
GUESSES = np.array([[1.0, 1.5], [1.0, -1.5]])


def followed(land, closed=0, guesses=GUESSES, shapes=NO_CHART, room=1, cuts=0):
    """What `follow_row` fills, by name."""
    run = loops(land)
    names, count = 3, TIMES.size
    told = {
        "values": np.full((count, names), np.nan),
        "facts": np.full((count, 4), np.nan),
        "codes": np.full(count, run.LOST),
        "smooth": np.full((room, GRID.size, names), np.nan),
        "edges": np.full((run.PARTS if cuts else run.PIECES) + 1, np.nan),
        "below": np.full(names, np.nan),
        "summary": np.full(4, np.nan),
    }
    row, chart = given(closed), (shapes, (NODES, np.ones(14) / 14))
    how, results = (2, cuts), tuple(told.values())
    run.follow_row(TIMES, GRID, FLOOR, guesses, how, row, chart, results)
    return SimpleNamespace(**told, run=run)


def check_pieces(land, found, ends, sides):
    """The pieces of a row: their ends, and the minimum at the points of each."""
    edges = found.edges[: len(ends)]
    np.testing.assert_allclose(edges, ends, rtol=1e-8)
    assert found.summary[0] == len(sides)
    for k, side in enumerate(sides):
        times = edges[k] * (edges[k + 1] / edges[k]) ** ((1 - GRID) / 2)
        wanted = [land.at(s, side) for s in times]
        np.testing.assert_allclose(found.smooth[k, :, :2], wanted, rtol=1e-6)


def test_one_minimum_is_followed_to_the_floor():
    land = Land(x=lambda s: 1 + s, c=lambda s: -s)
    found = followed(land, guesses=GUESSES[:1])
    check_pieces(land, found, (1.0, FLOOR), (1,))
    assert (found.codes == 0).all()
    wanted = [land.at(max(s, FLOOR)) for s in TIMES]
    np.testing.assert_allclose(found.values[:, :2], wanted, atol=1e-9)
    sums = found.values[:, :2] @ [1, 10] + TIMES
    np.testing.assert_allclose(found.values[:, 2], sums, rtol=1e-9)
    np.testing.assert_allclose(found.below, found.values[-2], atol=1e-9)
    heights = [land.height(s, *land.at(max(s, FLOOR))) for s in TIMES]
    np.testing.assert_allclose(found.facts[:, 0], heights, atol=1e-5)
    assert found.summary[[1, 3]].tolist() == [1, 0]
    assert 0 <= found.summary[2] < 1e-6
    silent = followed(land, closed=2, guesses=GUESSES[:1])
    assert silent.codes.tolist() == [0] * 6 + [1]
    assert silent.values[-1].tolist() == [0.0, 9.0, 7.0]


def test_another_minimum_takes_over_where_both_are_equal():
    land = Land(x=lambda s: 1 + s / 2, **TILTED)
    short = followed(land)
    assert short.summary[[0, 3]].tolist() == [2, short.run.AGAIN]
    found = followed(land, room=2)
    check_pieces(land, found, (1.0, 0.3, FLOOR), (1, -1))
    sides = [1 if s > 0.3 else -1 for s in TIMES]
    wanted = [
        land.at(max(s, FLOOR), side) for s, side in zip(TIMES, sides, strict=True)
    ]
    np.testing.assert_allclose(found.values[:, :2], wanted, atol=1e-9)
    assert found.summary[[1, 3]].tolist() == [2, 0]


@pytest.mark.parametrize("shapes", [NO_CHART, CHART])
def test_the_closed_branch_takes_over_for_good(shapes):
    best = Land(h=-0.1).height(1.0, *Land(h=-0.1).at(1.0))
    land = Land(c=lambda s: 0.3 - s - best, shut=0.0)
    found = followed(land, closed=1, guesses=GUESSES[:1], shapes=shapes)
    check_pieces(land, found, (1.0, 0.3), (1,))
    assert found.codes.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert np.isposinf(found.values[3:, 1]).all()
    assert found.facts[3:, 0].tolist() == [0.0] * 4
    assert found.below.tolist() == [0.0, 9.0, 7.0]
    assert found.summary[3] == 0


def test_the_closed_branch_may_be_the_lowest_everywhere():
    found = followed(Land(shut=-5.0), closed=1)
    assert found.summary[[0, 3]].tolist() == [0, 1]
    assert found.edges[0] == 1.0
    assert found.codes.tolist() == [1] * 7
    assert found.below.tolist() == [0.0, 9.0, 7.0]


def test_a_row_is_lost_where_its_minimum_is():
    for land in (Land(a=np.nan), Land(a=lambda s: 1.0 if s > 0.2 else np.nan)):
        found = followed(land)
        assert found.summary[3] == found.run.LOST
        assert (found.codes == found.run.LOST).all()


def test_a_minimum_that_is_not_there_at_the_end_is_found_on_the_way():
    """It is searched for at every rung where the noise is large."""
    tilt = {"h": lambda s: 0.6 * (0.3 - s), "c": lambda s: -0.8 * s}
    land = Land(noise=1.0, wide=(-1.0, 1.0, 0.1), **tilt)
    found = followed(land, closed=1, shapes=CHART, room=2)
    assert found.summary[1] == 1
    check_pieces(land, found, (1.0, 0.3, FLOOR), (1, -1))


def test_pieces_are_cut_where_a_minimum_moves_fast():
    fast = Land(x=lambda s: 1 + 3 / (1 + (0.1 / max(s, 1e-9)) ** 4), c=lambda s: -s)
    found = followed(fast, guesses=np.array([[4.0, 1.5]]), room=40, cuts=1)
    pieces = int(found.summary[0])
    assert 2 < pieces < 12
    check_pieces(fast, found, found.edges[: pieces + 1], (1,) * pieces)
    assert found.edges[pieces] == FLOOR
    assert (np.diff(found.edges[: pieces + 1]) < 0).all()
    slow = followed(Land(c=lambda s: -s), guesses=GUESSES[:1], room=40, cuts=1)
    assert slow.summary[0] == 1


def test_cuts_lie_at_the_rungs_beside_a_fast_move():
    """Inside their piece, and not at its ends."""
    run = loops()
    rungs = 0.6 ** np.arange(7.0)
    edges = np.array([1.0, 0.3, rungs[-1]])  # the rung .36 is the last of the first
    whose = np.array([0, 0, 0, 1, 1, 1, 1])
    ends = np.ones((2, 2)), np.full((2, 2), 2.0)
    for jump, cuts in ((1, [1]), (2, [1, 2]), (3, [2, 3]), (5, [4, 5]), (6, [5])):
        met_there = np.ones((7, 2))
        met_there[jump:, 1] += 0.36
        finer = np.full(41, np.nan), np.full((40, 2), np.nan), np.full((40, 2), np.nan)
        count = run.divided((edges, *ends, rungs, met_there, whose), 2, 7, finer)
        wanted = sorted([*edges, *rungs[cuts]], reverse=True)
        assert finer[0][: count + 1].tolist() == wanted
        for k in cuts:
            place = wanted.index(rungs[k])
            for end in (finer[1][place], finer[2][place - 1]):
                assert end.tolist() == met_there[k].tolist()
        assert finer[1][0].tolist() == [1.0, 1.0]
        assert finer[2][count - 1].tolist() == [2.0, 2.0]


def test_known_minima_help_where_a_piece_is_lost():
    """The objective falls here, so that the piece is followed again, with the rungs."""
    land = Land(x=lambda s: 1 + s, c=lambda s: s)
    found = followed(land, guesses=GUESSES[:1])
    check_pieces(land, found, (1.0, FLOOR), (1,))
    assert found.summary[3] == 0


def test_a_minimum_is_followed_from_the_last_one_where_the_polynomial_leads_astray():
    class Walled(Land):
        def newton(self, s, at, *rest):
            doubt = super().newton(s, at, *rest)
            if at[0] > 4.05:
                rest[-1][:] = np.nan
            return doubt

    land = Walled(x=lambda s: 1 + 3 / (1 + (s / 0.05) ** 6), c=lambda s: -s)
    found = followed(land, guesses=GUESSES[:1])
    check_pieces(land, found, (1.0, FLOOR), (1,))


def test_a_batch_is_its_rows():
    land, run = Land(x=lambda s: 1 + s, c=lambda s: -s), None
    one = followed(land, guesses=GUESSES[:1])
    run, names = loops(land), ("values", "facts", "codes", "smooth", "edges", "below")
    told = [np.stack([getattr(one, k)] * 2) * np.nan for k in names]
    told[2] = np.full((2, TIMES.size), 2)
    told.append(np.full((2, 4), np.nan))
    rules = (*GIVEN[1:5], NODES, NODES)
    head = TIMES, GRID, FLOOR, 0, GUESSES[:1], NO_CHART, (2, 0)
    run.follow(*head, np.zeros((2, 1)), rules, 1.0, tuple(told))
    for name, both in zip((*names, "summary"), told, strict=True):
        np.testing.assert_array_equal(both[0], getattr(one, name))
        np.testing.assert_array_equal(both[1], getattr(one, name))


def test_the_nearest_rung_is_so_by_its_ratio():
    run = loops()
    rungs = np.array([1.0, 0.1, 0.01])
    found = [run.nearest(s, rungs, 3) for s in (0.5, 0.31, 0.04, 0.03, 1e-4)]
    assert found == [0, 1, 1, 2, 2]
    assert run.nearest(1e-4, rungs, 2) == 1


def test_a_piece_lies_below_the_closed_branch_and_does_not_fall():
    """Nor does it end at another height than the piece; nothing else is lost."""
    falls, apart = {"c": lambda s: -s}, np.array([1.0, 1.2])
    for land, closed, bottom, fate in (
        (Land(**falls), 1, None, 0),
        (Land(c=lambda s: s - 2), 1, None, 2),
        (Land(shut=-0.9, **falls), 1, None, 2),
        (Land(shut=-0.9, **falls), 0, None, 0),
        (Land(**falls), 1, Land(**falls).at(0.1, -1), 2),
        (Land(h=0.0, **falls), 1, Land(h=0.0, **falls).at(0.1, -1), 0),
        (Land(**falls), 1, apart, 2),
    ):
        run = loops(land)
        states, smooth = np.empty((GRID.size, 2)), np.empty((GRID.size, 3))
        end = land.at(0.1) if bottom is None else bottom
        ends = 1.0, 0.1, land.at(1.0), end
        known = np.zeros(1), np.zeros((1, 2)), 0
        args = known, given(closed), 0, states, smooth
        assert run.descended(ends, GRID, *args)[0] == fate


@pytest.mark.parametrize("h", [-0.1, 0.1])
def test_of_a_piece_and_a_known_minimum_the_lower_is_kept(h):
    land, side = Land(h=h), (1 if h < 0 else -1)
    states, smooth = np.empty((GRID.size, 2)), np.empty((GRID.size, 3))
    known = np.array([0.3]), np.array([land.at(0.3, -1)]), 1
    ends = 1.0, 0.1, land.at(1.0), land.at(0.1)
    args = known, GIVEN, 0, np.empty(7), states, smooth
    assert loops(land).descend(ends, GRID, *args)[0] == 0
    np.testing.assert_allclose(states[-1], land.at(0.1, side), rtol=1e-6)
