"""What a search gives back, and what it is given: arrays that are known by hand."""

from __future__ import annotations

import sys
from dataclasses import fields
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from dilaton.errors import ModelError, SolveError
from dilaton.numerics.codegen.known import derive
from dilaton.numerics.codegen.quadrature import trapezoid
from dilaton.numerics.codegen.snapshot import printed_limit
from dilaton.numerics.minima import minimise as search
from dilaton.numerics.minima.follow_numba import AGAIN
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.minima.result import Minima, alone, batch, charted, guesses
from dilaton.theory.models.model import Autoencoder, Data, Model, two_modes

ROW = {"p": 0.8, "sigma": 1.0, "kappa": 2.0, "n": 16.0, "n_plus": 13.0}
ROW |= {"ridge_u": 0.25, "ridge_w": 0.25}


def learned(data=None, **auto):
    """What is learned in the window of weights, printed."""
    model = Model(two_modes(), autoencoder=Autoencoder(**auto), data=data or Data())
    return printed_limit(derive(model)).phases[0].learned


@pytest.fixture(scope="module")
def samples():
    """Two modes and n samples: omega and b."""
    return learned(Data(samples=True))


@pytest.fixture(scope="module")
def silent():
    """The population without a bias: omega alone, which may be 0."""
    return learned(bias=False)


def made(**given):
    """Minima of two rows with some attributes."""
    none = dict.fromkeys([x.name for x in fields(Minima)])
    return Minima(**(none | given))


def test_the_switch_is_the_last_edge():
    edges = np.array([[1.0, 0.4, 0.1, np.nan], [1.0, 1e-5, np.nan, np.nan]])
    found = made(edges=edges, pieces=np.array([2, 1]))
    np.testing.assert_array_equal(found.switch, [0.1, 1e-5])
    nowhere = made(edges=edges[:1], pieces=np.array([0]))
    np.testing.assert_array_equal(nowhere.switch, [1.0])


def test_a_quantity_is_found_by_its_name():
    values = np.arange(12.0).reshape(2, 3, 2)
    found = made(names=("omega", "b"), values=values)
    np.testing.assert_array_equal(found["b"], values[:, :, 1])
    with pytest.raises(ValueError, match="not in tuple"):
        found["c"]


def test_a_lost_row_says_where():
    found = made(status=np.array(["lost"]), edges=np.array([[1.0, 0.25, np.nan]]))
    rule = (
        r"^The learned parameters must be followed from s = 1 down to where they "
        r"saturate, but the minimum was lost below s = 0\.25\. Change the ridges "
        r"slightly, or report the parameters\.$"
    )
    with pytest.raises(SolveError, match=rule) as told:
        alone(found)
    assert told.value.result is found
    good = made(status=np.array(["ok"]))
    assert alone(good) is good


def test_parameters_are_put_in_order_and_broadcast(samples):
    table = batch(samples, ROW | {"sigma": np.array([1.0, 2.0])})
    assert table.shape == (2, 7)
    assert table.flags.c_contiguous
    order = [table[:, samples.parameters.index(k)].tolist() for k in ROW]
    wanted = [[v, v] for v in ROW.values()]
    wanted[1] = [1.0, 2.0]
    assert order == wanted
    less = {k: v for k, v in ROW.items() if k != "n_plus"}
    names = ", ".join(samples.parameters)
    rule = f"^`weights/learned` needs the parameters {names}, but `n_plus` is missing. "
    with pytest.raises(ModelError, match=rule + "There are no default values.$"):
        batch(samples, less)


def test_searches_start_from_the_named_points(samples, silent):
    wanted = [(x, y) for x in (0.2, 1.0) for y in (-1.5, 0.0, 1.5)]
    np.testing.assert_array_equal(guesses(samples), wanted)
    np.testing.assert_array_equal(guesses(silent), [[0.2], [1.0]])
    assert charted(samples)
    assert not charted(silent)
    assert not charted(learned())  # a population has no ridges


# ------------------------------------------------------------------------ the search


def test_rules_lie_one_after_another():
    nodes, weights, starts = search.rules(3)
    assert starts[0] == 0
    assert starts[-1] == nodes.size == weights.size
    for k, (a, b) in enumerate(pairwise(starts)):
        rule = trapezoid(62 * 2**k)
        np.testing.assert_array_equal(nodes[a:b], rule.nodes)
        np.testing.assert_array_equal(weights[a:b], rule.weights)
    assert search.rules()[2].size == 8


def test_the_short_rule_has_the_moments_of_a_normal_law():
    nodes, weights = search._rough()
    assert nodes.size == 16
    for power, moment in ((0, 1), (1, 0), (2, 1), (4, 3), (8, 105)):
        assert weights @ nodes**power == pytest.approx(moment, abs=1e-10)


def test_grids_of_the_landscape_are_close_and_thin(samples, silent):
    sizes, places, fewer, less = search._shapes(samples)
    assert [x.size for x in (sizes, places, fewer, less)] == [26, 25, 12, 11]
    for x in (sizes, fewer):
        np.testing.assert_allclose(np.diff(np.log(x)), np.diff(np.log(x))[0])
        assert x[[0, -1]] == pytest.approx([0.003, 24.0])
    for x in (places, less):
        np.testing.assert_allclose(x, np.linspace(-1, 1, x.size))
    assert [x.size for x in search._shapes(silent)] == [0, 0, 0, 0]


def test_noise_along_the_samples_is_told(samples, silent):
    """|w|^2 is 1 + sigma^2/4 (1/13 + 1/3) of omega^2: more than a fifth from .73 on."""
    sigmas = np.array([1.0, 1.3, 1.5])
    table = batch(samples, ROW | {"sigma": sigmas})
    wanted = sigmas**2 / 4 * (1 / 13 + 1 / 3) > 0.2
    assert wanted.tolist() == [False, False, True]
    np.testing.assert_array_equal(search._noisy(samples, table), wanted)
    assert not search._noisy(silent, np.ones((2, 3))).any()


def results(rows, pieces, fill):
    """Arrays as of a search, of 2 times and 3 points and 2 names."""
    found = search._room(rows, 2, pieces, 3, 2)
    for k, x in enumerate(found):
        x[...] = fill + k
    return found


def test_results_of_some_rows_are_put_among_those_of_all():
    for few, many in ((1, 2), (2, 1)):
        found, more = results(3, few, 10.0), results(1, many, 20.0)
        whole = search._put(found, np.array([1]), more)
        assert [x.shape[0] for x in whole] == [3] * 7
        assert whole[3].shape == (3, 2, 3, 2)
        for k in (0, 1, 2, 4, 5, 6):
            assert (whole[k][[0, 2]] == 10 + k).all()
            assert (whole[k][1] == 20 + k).all()
        assert (whole[3][[0, 2], :few] == 13).all()
        assert np.isnan(whole[3][[0, 2], few:]).all()
        assert (whole[3][1, :many] == 23).all()
        assert np.isnan(whole[3][1, many:]).all()


def test_room_is_empty_until_it_is_filled():
    found = search._room(2, 3, 4, 5, 6)
    shapes = [(2, 3, 6), (2, 3, 4), (2, 3), (2, 4, 5, 6), (2, 7), (2, 6), (2, 4)]
    assert [x.shape for x in found] == shapes
    assert (found[2] == 2).all()  # lost
    assert all(np.isnan(x).all() for k, x in enumerate(found) if k != 2)


def test_what_a_search_found_gets_its_names(samples):
    found = search._room(3, 2, 1, 3, 2)
    found[1][...] = [1.0, 2.0, 3.0, 4.0]
    found[2][...] = [[0, 1], [1, 1], [2, 2]]
    found[5][...] = 7.0
    found[6][...] = [[1, 2, 6, 0], [0, 1, 0, 1], [1, 1, 0, 2]]
    told = search._minima(samples, found)
    assert told.status.tolist() == ["ok", "saturated", "lost"]
    assert told.objective[0].tolist() == [1, 1]
    assert told.residual[0].tolist() == [2, 2]
    np.testing.assert_array_equal(told.eigenvalue[:2], [[3, np.nan], [np.nan, np.nan]])
    assert told.quadrature[0].tolist() == [4, 4]
    assert told.pieces.tolist() == [1, 0, 1]
    assert told.minima.tolist() == [2, 1, 1]
    assert told.flat.tolist() == [6, 0, 0]
    np.testing.assert_array_equal(told.below[:, 0], [7, 7, np.nan])
    np.testing.assert_allclose(told.grid, [1, 0, -1], atol=1e-15)


def test_a_row_that_is_beaten_is_lost(samples, monkeypatch):
    rows = ROW | {"sigma": np.array([1.0, 1.1])}
    good = minimise(samples, [0.5], rows)
    assert good.status.tolist() == ["ok", "ok"]
    one = batch(samples, rows)[1]
    monkeypatch.setattr(search, "_beaten", lambda _, row, __: (row == one).all())
    found = minimise(samples, [0.5], rows)
    assert found.status.tolist() == ["ok", "lost"]
    np.testing.assert_array_equal(found.values[0], good.values[0])
    assert np.isnan(found.values[1]).all()
    assert np.isnan(found.objective[1]).all()
    assert (found.branch[1] == 2).all()


def told(codes, x=None):
    """What a search says of one row: its status, and a minimum at s = 1."""
    found = [y[0] for y in search._room(1, 1, 1, 3, 2)]
    found[6][3] = codes
    if x is not None:
        found[3][0, 0] = x
    return tuple(found)


def test_a_unit_that_does_better_open_is_not_closed(samples, silent):
    """A chart needs no test; where all is closed, or without one, points are tried."""
    (row,) = batch(samples, ROW)
    assert search._beaten(samples, row, told(1))
    assert not search._beaten(samples, row, told(0, [0.0, 0.0]))  # has a chart
    (strong,) = batch(samples, ROW | {"ridge_w": 1e4, "ridge_u": 1.0})
    assert not search._beaten(samples, strong, told(1))
    (row,) = batch(silent, {"p": 0.8, "sigma": 1.0, "kappa": 2.0})
    assert not search._beaten(silent, row, told(0, [2.0, 1.0]))  # omega = kappa s
    assert search._beaten(silent, row, told(0, [0.5, 1.0]))


def test_other_systems_are_refused():
    flow = printed_limit(derive(Model(two_modes()))).phases[0].sampling
    rule = f"^`minimise` needs a stationary system, but `{flow.name}` is {flow.kind}. "
    with pytest.raises(ModelError, match=rule + "Use `dilaton.solve` for it.$"):
        minimise(flow, [1.0], {})


def test_hard_rows_of_jax_are_followed_one_by_one(samples, monkeypatch):
    """The lost, those of several minima, the early where early times are asked."""
    columns = batch(samples, ROW | {"sigma": np.array([1.0, 1.1, 1.2, 1.0, 1.5])})
    first = results(5, 1, 10.0)
    first[6][:, [0, 1, 3]] = 1.0, 1.0, 0.0
    first[6][1, 3] = 2.0
    first[6][2, 1] = 2.0
    first[4][:, 1] = [0.1, 0.1, 0.1, 1e-5, 0.1]
    asked = []

    def again(*given):
        asked.append(given)
        return results(len(given[2]), 1, 20.0)

    room = SimpleNamespace(follow_jax=lambda *_: tuple(x.copy() for x in first))
    monkeypatch.setitem(sys.modules, search.__package__ + ".newton_jax", room)
    monkeypatch.setattr(search, "_follow", again)
    for times, hard in (([0.5, 0.9], [1, 2, 4]), ([0.0, 0.9], [1, 2, 3, 4])):
        asked.clear()
        found = search._follower("jax")(samples, np.array(times), columns, 1e-9, 3)
        ((system, t, rows, tol, points),) = asked
        assert (system, t.tolist(), tol, points) == (samples, times, 1e-9, 3)
        np.testing.assert_array_equal(rows, columns[hard])
        assert (found[0][:, 0, 0] == 20).nonzero()[0].tolist() == hard
    first[6][:, 1], first[6][:, 3] = 1.0, 0.0
    calm = search._follower("jax")(samples, np.array([0.5]), columns[:1], 1e-9, 3)
    assert (calm[0] == 10).all()


def test_rows_of_several_pieces_are_followed_again_with_room(samples, monkeypatch):
    columns, calls = batch(samples, ROW | {"sigma": np.ones(3)}), []

    def fill(system, times, rows, tol, found):
        calls.append((len(rows), found[3].shape[1]))
        found[6][:, 0], found[6][:, 3] = 1.0, 0.0
        if len(calls) == 1:
            found[6][1, [0, 3]] = 3.0, AGAIN
        found[0][...] = len(calls)

    monkeypatch.setattr(search, "_fill", fill)
    found = search._follow(samples, np.array([0.5]), columns, 1e-9, 3)
    assert calls == [(3, 1), (1, 3)]
    assert found[0][:, 0, 0].tolist() == [1, 2, 1]
    assert found[3].shape[1] == 3
    assert search._follower("numba") is search._follow
    assert search._follower("scipy").__name__ == "follow_scipy"
