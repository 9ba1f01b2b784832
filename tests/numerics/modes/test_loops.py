"""Compiled loops and array code: two prints of one system in indexed form."""

import numpy as np
import pytest
import sympy as sp
from dilaton.errors import ModelError
from dilaton.numerics.codegen.indexed import indexed_functions
from dilaton.numerics.modes.loops import looped
from dilaton.theory.models.spec import parse_spec
from dilaton.theory.modes.systems import exact_flow, weights_training

from ...cases import THREE_MODES

MODEL = parse_spec(THREE_MODES).model
ROUNDING = 1e-13  # of sums of a few dozen terms of order 1


def asked(count=200, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "p": np.array([0.5, 0.3, 0.2])[:, None],
        "L": rng.standard_normal((3, 2))[:, :, None],
        "delta": np.array([0.0, 0.25])[:, None],
        "b": rng.standard_normal((3, 1)),
        "g": rng.standard_normal((2, count)),
        "tau": rng.uniform(0.01, 0.9, count),
        "K": 3.0,
        "R": 2.0,
        "d": 30.0,
        "sigma": 1.3,
    }


def test_loops_and_arrays_agree():
    system, given = weights_training(MODEL, sp.S.One), asked()
    arrays = indexed_functions(system).integrand_0(np, 0.0, given)
    loops = looped(system, ("tau", "g")).integrand(given, 200)
    size = np.abs(arrays).max()
    assert np.abs(loops - arrays).max() < ROUNDING * size
    moved = given | {"b": given["b"] + 1e-6 * np.eye(3)[:, :1]}
    other = looped(system, ("tau", "g")).integrand(moved, 200)
    assert np.abs(other - arrays).max() > 1e4 * ROUNDING * size


def test_a_system_without_an_average_has_no_loops():
    with pytest.raises(ModelError, match="but `exact/sampling` has 0"):
        looped(exact_flow(MODEL), ("y",))
