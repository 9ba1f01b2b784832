"""Minima of several units are continued: landscapes whose minima are known in time.

A land is a table of minima: where each begins and ends, and its height. What must come
out, crossings and heirs, is then algebra.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from dilaton.errors import SolveError
from dilaton.numerics.minima import continuation
from dilaton.numerics.minima.continuation import FLOOR, Path

NEAR = 2e-9  # of a crossing: Brent's method stops at 1e-9


class Dip(NamedTuple):
    """A minimum that is there from `low` to `high`; its height is linear in time."""

    low: float
    high: float
    at_once: float
    slope: float


class Spot(NamedTuple):
    """A point of a land: which minimum, its height, and who lives."""

    dip: int
    value: float
    active: tuple[bool, ...]


class Land:
    """Minima by number, those `seen` by a search at a time, and what lies `below`."""

    def __init__(self, dips, seen, below=None):
        self.dips, self.seen, self.below = dips, seen, below or {}
        self.objective = SimpleNamespace(units=1)

    def spot(self, i, s):
        dip = self.dips[i]
        inside = dip.low <= s <= dip.high
        return Spot(i, dip.at_once + dip.slope * s, (True,)) if inside else None

    def search(self, s, active):
        return [self.spot(i, s) for i in self.seen.get(s, ())] if active[0] else []

    def refine(self, s, at, tol):
        return False

    def follow(self, s, known):
        return self.spot(known[max(known)].dip, s)

    def settle(self, s, start):
        heir = self.below.get(start.dip)
        return None if heir is None or not start.active[0] else self.spot(heir, s)

    def named(self, at):
        return at


@pytest.fixture
def path(monkeypatch):
    """Follow the minima of a land."""

    def made(*land):
        monkeypatch.setattr(continuation, "Landscape", lambda *_: Land(*land))
        monkeypatch.setattr(
            continuation, "replace", lambda at, **new: at._replace(**new)
        )
        return Path(None, "tanh", {})

    return made


EVER = (0.0, 1.0)


def test_the_lower_of_two_is_taken_and_they_cross_where_they_are_equal(path):
    found = path([Dip(*EVER, 0.0, 1.0), Dip(*EVER, 0.3, 0.25)], {1.0: [0, 1]})
    assert found.count == 2
    (_, first), (edge, second) = found.segments
    assert (first, second) == (1, 0)
    assert edge == pytest.approx(0.4, abs=NEAR)
    assert found.at(0.41).dip == 1
    assert found.at(0.39).dip == 0
    assert found.at(0.0).value == found.at(FLOOR).value


def test_a_third_that_is_lowest_between_two_rungs_has_its_piece(path):
    """Between .5625 and .421875 the second is the lowest from .5 to .4712."""
    dips = [Dip(*EVER, 0.0, 2.0), Dip(*EVER, 0.49, 0.96), Dip(*EVER, 0.97, 0.0)]
    found = path(dips, {1.0: [0, 1, 2]})
    assert [i for _, i in found.segments] == [2, 1, 0]
    edges = [edge for edge, _ in found.segments[1:]]
    np.testing.assert_allclose(edges, [0.5, 0.49 / 1.04], atol=NEAR)


def test_minima_found_later_are_followed_up_too(path):
    found = path([Dip(*EVER, 0.0, 1.0), Dip(0.0, 0.6, -0.5, 1.5)], {1.0: [0], 0.3: [1]})
    assert found.count == 1
    assert [i for _, i in found.segments] == [0, 1]
    assert found.segments[1][0] == pytest.approx(0.6, abs=0.03)  # it begins there


def test_where_a_minimum_ends_the_one_below_it_takes_over(path):
    """The heir is not found by a search; just above the switch it answers as well."""
    lands = [Dip(0.5, 1.0, 0.0, 1.0), Dip(*EVER, 0.2, 0.9)], {1.0: [0]}, {0: 1}
    found = path(*lands)
    (_, first), (edge, heir) = found.segments
    assert [found.branches[i].near(1.0).dip for i in (first, heir)] == [0, 1]
    assert edge == pytest.approx(0.5, abs=NEAR)
    assert found.at(0.2).dip == 1
    found.segments[1] = (0.5 * (1 - 5e-7), heir)  # a switch that is said too late
    assert found.at(0.5 * (1 - 1e-7)).dip == 1
    found.segments[1] = (0.4, heir)
    with pytest.raises(SolveError, match=r"but it was lost at s = 0\.45\. Change"):
        found.at(0.45)


def test_a_minimum_that_ends_without_an_heir_is_lost(path):
    found = path([Dip(0.5, 1.0, 0.0, 1.0)], {1.0: [0]})
    assert found.at(0.6).dip == 0
    with pytest.raises(SolveError, match="The lowest minimum must be followed through"):
        found.at(0.3)


def test_no_minimum_at_the_end_is_an_error(path):
    with pytest.raises(SolveError, match="none of the starting points led to one"):
        path([Dip(*EVER, 0.0, 1.0)], {})
