"""Degenerate starts have the same answer whatever instructions a processor has.

Each other setting is a process of its own, which runs this file, since NumPy and numba
choose their loops when they are imported. Silent units, the limit s -> 0 and ties of
branches are decided by the theory: no setting may give nan, another branch, or another
digit that counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from dilaton.numerics.minima.minimise import minimise
from dilaton.theory.derive import derive
from dilaton.theory.models.model import Autoencoder, Data, Model, two_modes

NEWER = "X86_V4 AVX512_ICL AVX512_SPR"
TESTS = Path(__file__).parents[2]  # of numerics/minima
SUITES = (
    *("minima", "share", "ode", "times", "modes", "test_solve.py"),
    *("../theory/times", "../theory/modes", "../theory/grids"),
)
"""The tests whose numbers come from floating point."""
SETTINGS = {
    "without AVX2": {"NPY_DISABLE_CPU_FEATURES": f"{NEWER} X86_V3"},
    "without AVX-512": {"NPY_DISABLE_CPU_FEATURES": NEWER},
    "as it is": {},
    "generic": {"NUMBA_CPU_NAME": "generic"},
    "two threads": {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"},
}
SAME = 1e-7  # of overlaps that Newton's method knows to 1e-9
FLATNESS = {"rtol": 0.1, "atol": 1e-5}  # of an error that is stated
TIMES = [0.0, 0.3, 0.75]
ALONE = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
MANY = ALONE | {"n": 16.0, "ridge_u": 0.1, "ridge_w": 0.1}
FLAT = {"kappa": 0.1, "n": 1e4, "n_plus": 8e3, "ridge_u": 1e-6, "ridge_w": 1e-6}


def learned(data=None, **auto):
    """What is learned in the window of weights."""
    model = Model(two_modes(), autoencoder=Autoencoder(**auto), data=data or Data())
    return derive(model).phases[0].learned


@cache
def here(backend, *more):
    """What this process finds of the cases."""
    cases = [(learned(bias=False), ALONE), (learned(activation="sign"), ALONE)]
    if more:
        system = learned(Data(samples=True))
        cases += [(system, MANY | {"n_plus": plus}) for plus in (8.0, 13.0)]
        cases += [(system, ALONE | FLAT)]
    found, points = [], 9 if more else 3
    for system, values in cases:
        row = minimise(system, TIMES, values, backend=backend, points=points)
        seen = np.nan_to_num(row.values, posinf=1e9)
        found.append([row.status.tolist(), row.branch.tolist(), seen.tolist()])
        found[-1].append(row.flat.tolist())
    return found


def told(setting, backend, *more):
    """What a process with a setting finds of them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | SETTINGS[setting]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, backend, *more],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def compare(one, two):
    """The same statuses and branches, and overlaps without nan that agree."""
    for (status, branch, values, flat), (other, branches, others, flats) in zip(
        one, two, strict=True
    ):
        assert status == other
        assert branch == branches
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values, others, rtol=SAME, atol=SAME)
        np.testing.assert_allclose(flat, flats, **FLATNESS)


def test_scipy_decides_degenerate_starts_alike_on_two_processors():
    ours, theirs = here("scipy"), told("without AVX2", "scipy")
    compare(ours, theirs)
    silent, sign = ours
    assert silent[:2] == [["ok"], [[1, 0, 0]]]
    np.testing.assert_allclose(
        [row[0] for row in silent[2][0]], [0.0, 0.6, 1.5], atol=SAME
    )
    assert sign[:2] == [["ok"], [[1, 0, 0]]]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["scipy", "numba"])
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_every_processor_gives_the_same_minima(setting, backend):
    compare(told(setting, backend, "samples"), here("scipy", "samples"))


@pytest.fixture(scope="module")
def empty_caches(tmp_path_factory):
    """A folder for the compiled code of each setting, empty at first."""
    return {setting: tmp_path_factory.mktemp("cache") for setting in SETTINGS}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("setting", [x for x in SETTINGS if x != "as it is"])
@pytest.mark.parametrize("part", SUITES)
def test_the_tests_of_numbers_pass_on_every_processor(setting, part, empty_caches):
    """In a process each, with code that is compiled for the setting alone."""
    cache = ["-o", f"cache_dir={empty_caches[setting]}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *cache, str(TESTS / "numerics" / part)],
        cwd=TESTS.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | SETTINGS[setting],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


if __name__ == "__main__":
    print(json.dumps(here(*sys.argv[1:])))
