"""Rows shared out over threads: every row once, the caller works, errors come back."""

import threading
from itertools import pairwise

import pytest
from dilaton.numerics.codegen import threads


def shared(rows, least, work=None):
    """Return the pieces that `share_out` hands out, sorted, and who worked."""
    pieces, who = [], set()

    def note(first, last):
        pieces.append((first, last))
        who.add(threading.get_ident())
        if work:
            work(first, last)

    threads.share_out(rows, note, least)
    return sorted(pieces), who


@pytest.mark.parametrize(
    ("rows", "pieces"), [(5000, 9), (5500, 9), (900, 1), (100_000, 24), (0, 1)]
)
def test_every_row_is_worked_on_once(monkeypatch, rows, pieces):
    monkeypatch.setattr(threads, "workers", lambda: 3)
    found, _ = shared(rows, 512)
    assert len(found) == pieces
    assert found[0][0] == 0
    assert found[-1][1] == rows
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert len(found) == 1 or min(b - a for a, b in found) >= 512


def test_the_caller_and_others_work(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 2)
    both = threading.Barrier(2, timeout=30)
    met = []

    def meet(first, last):
        if len(met) < 2:
            met.append(first)
            both.wait()

    _, who = shared(4000, 500, meet)
    assert len(who) == 2
    assert threading.get_ident() in who


def test_alone_there_is_one_piece_and_one_thread():
    with threads.one_thread():
        assert threads.workers() == 1
        found, who = shared(50_000, 10)
    assert found == [(0, 50_000)]
    assert who == {threading.get_ident()}


def test_an_error_ends_the_work_and_comes_back(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 2)
    seen = []

    def work(first, last):
        seen.append(first)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shared(80_000, 10, work)
    assert len(seen) <= 2
