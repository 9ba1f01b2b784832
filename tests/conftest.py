"""What every test shares: strict floating point, a private cache, a quiet display."""

import gc
import os
import signal
from collections import Counter

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest

# The dearest files, with a cold cache. They come first, so that no worker is left alone
# with one of them at the end; then those of many tests.
DEAREST = (
    "house/test_docs.py",
    "face/test_where.py",
    "ode/test_integrate.py",
    "house/test_options.py",
    "share/test_share.py",
    "study/test_converge.py",
    "face/test_report.py",
    "phases/test_sampled.py",
    "house/test_gallery.py",
    "codegen/test_kernel.py",
    "study/test_shared_times.py",
    "phases/test_units_samples.py",
    "grids/test_kept_windows.py",
    "times/test_coupled_flow.py",
    "house/test_properties.py",
    "experiments/test_experiment.py",
    "phases/test_finite_d.py",
    "minima/test_ordinary.py",
    "minima/test_processors.py",
)
# They print the same models, so one worker derives and writes these for all of them.
PRINTERS = (
    "document/",
    "exports/",
    "naming/",
    "face/test_display",
    "face/test_report",
    "face/test_where",
    "house/test_docs",
    "house/test_options",
)


def pytest_configure(config):
    """Keep compiled kernels between runs, away from the user's own cache.

    What a shell starts in the background ignores interrupts, and so would the
    processes that the tests interrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["DILATON_CACHE"] = str(config.cache.mkdir("dilaton"))
    config.option.loadscopereorder = False  # the order of files is the one below


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file with one worker, and those of `PRINTERS`."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "loadfile":
        return None

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "printers" if any(x in file for x in PRINTERS) else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Put the dearest files first, then those of many tests."""
    files = Counter(item.path for item in items)
    ranks = {
        path: next((k for k, x in enumerate(DEAREST) if path.match(x)), len(DEAREST))
        for path in files
    }
    items.sort(key=lambda item: (ranks[item.path], -files[item.path], item.path))


def pytest_collection_finish():
    """Look for cycles of objects less often: a sixth of the compiling went into that.

    (All that the libraries hold was searched each time, in vain; now it is left out.)
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def strict_floats():
    """An overflow, a division by zero or a nan is an error, not a warning."""
    with np.errstate(all="raise", under="ignore"):
        yield
