"""SGD of a network with its own parameters at one time: the noise enters r."""

import pytest
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.learn import learn
from dilaton.theory.models.spec import parse_spec

from ...cases import TWO_MODES
from .test_learning_times import WEAK

ROUNDED = 1.2e-4  # four published decimals, the last of them within one
START = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}


def test_the_published_values():
    """SGD at d = 500 and 2000 extrapolates to r = 2.398(14)."""
    spec = parse_spec(TWO_MODES).replace(kappa=2.0)
    found = learn(spec, "weights", 0.75, START, [20], rate=1, batch=1)
    wanted = {"m": 0.9904, "q": 0.9810, "omega": 1.4111, "r": 2.3885, "b": 0.6630}
    for name, value in wanted.items():
        assert found[name][0] == pytest.approx(value, abs=ROUNDED)
    still = learn(spec, "weights", 0.75, START, [20])
    assert still["r"][0] < 1.1


def test_what_is_refused():
    spec = parse_spec(TWO_MODES)
    with pytest.raises(ModelError, match="`batch` is missing"):
        learn(spec, "weights", 0.75, START, [1], rate=1)
    init = {"c": -1.0, "m": 0.1, "q": 0.1, "b": 0.0}
    tied = {"network": "tied", "d": 100, "tau": 0.1, "rate": 1, "batch": 1}
    with pytest.raises(ModelError, match="derived for the untied network"):
        learn(spec, "weights", None, init, [1], **tied)
    two = parse_spec(WEAK)
    start = {f"{k}_1": v for k, v in START.items()}
    with pytest.raises(DerivationError, match="two modes with"):
        learn(two, "weights-1", 0.5, start, [1], rate=1, batch=1)
