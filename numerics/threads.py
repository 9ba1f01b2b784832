"""Rows of a batch shared out over threads: compiled functions release the lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

_HERE = threading.local()

PIECES = 8
"""Pieces for each thread: rows differ in what they cost."""


def workers() -> int:
    """Return how many threads a batch may use here."""
    if getattr(_HERE, "alone", False):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep batches to the calling thread, where its neighbours use the other cores."""
    before = getattr(_HERE, "alone", False)
    _HERE.alone = True
    try:
        yield
    finally:
        _HERE.alone = before


def share_out(rows: int, work: Callable[[int, int], object], least: int) -> None:
    """Call `work(first, last)` on pieces of at least so many rows, on all threads.

    The calling thread works too. (A pool of executors costs a millisecond a call.)
    """
    threads = workers()
    count = max(1, min(PIECES * threads, rows // least)) if threads > 1 else 1
    edges = np.linspace(0, rows, count + 1).astype(int)
    pieces = [(int(a), int(b)) for a, b in pairwise(edges)]
    if count == 1:
        work(*pieces[0])
        return
    waiting, errors = iter(pieces), []

    def help_out() -> None:
        try:
            for piece in waiting:
                work(*piece)
        except BaseException as error:
            errors.append(error)
            list(waiting)  # the other threads need not go on

    others = [threading.Thread(target=help_out) for _ in range(threads - 1)]
    for other in others:
        other.start()
    help_out()
    for other in others:
        other.join()
    if errors:
        raise errors[0]
