"""Rows of a batch shared out over threads: compiled functions release the lock."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

_HERE = threading.local()

PIECES = 8  # pieces for each thread: rows differ in what they cost


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

    The calling thread works too. (A pool of executors costs a millisecond a call, and
    `threading.Thread` waits for its thread to run: a third of one.)
    """
    threads = workers()
    pieces = _pieces(rows, threads, least)
    if len(pieces) == 1:
        work(*pieces[0])
        return
    waiting, errors = iter(pieces), []

    def help_out(busy: Any) -> None:
        try:
            for piece in waiting:
                work(*piece)
        except BaseException as error:
            errors.append(error)
            list(waiting)  # the other threads need not go on
        finally:
            busy.release()

    locks = [_thread.allocate_lock() for _ in range(threads)]
    for lock in locks:
        lock.acquire()
    for lock in locks[1:]:
        _thread.start_new_thread(help_out, (lock,))
    help_out(locks[0])
    for lock in locks:
        lock.acquire()
    if errors:
        raise errors[0]


def _pieces(rows: int, threads: int, least: int) -> list[tuple[int, int]]:
    """Cut rows into a multiple of the threads, if there are enough of them."""
    count = max(1, min(PIECES * threads, rows // least)) if threads > 1 else 1
    count -= count % threads if count > threads else 0
    edges = np.linspace(0, rows, count + 1).astype(int)
    return [(int(a), int(b)) for a, b in pairwise(edges)]
