"""What every test shares: strict floating point, a private cache, a quiet display."""

import gc
import os
import signal

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest


def pytest_configure(config):
    """Keep compiled kernels between runs, away from the user's own cache.

    What a shell starts in the background ignores interrupts, and so would the
    processes that the tests interrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["DILATON_CACHE"] = str(config.cache.mkdir("dilaton"))


def pytest_collection_finish():
    """Look for cycles of objects less often: a sixth of the compiling went into that.

    (All that the libraries hold is searched each time, in vain.)
    """
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def strict_floats():
    """An overflow, a division by zero or a nan is an error, not a warning."""
    with np.errstate(all="raise", under="ignore"):
        yield
