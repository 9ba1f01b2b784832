"""Which split of n samples a unit learns, where a feature is finer than the noises.

The judge draws the products of samples at a finite dimension, exactly, and looks for
the split of the samples that gains most; nothing of the engine is used. The page
`docs/what-can-be-changed.md` prints the shares.
"""

import itertools

import numpy as np
import pytest
from dilaton import Data, DerivationError, Model, derive, product

N, DRAWS = 8, 4000
ERROR = 4 * 0.5 / np.sqrt(DRAWS)  # four standard errors of a share
DRIFT = 0.05  # of order d^(-1/4), the cross terms, at d = 1e3
LABEL = np.array([1.0] * 6 + [-1.0] * 2)
SPLITS = np.array([(1.0, *x) for x in itertools.product((1.0, -1.0), repeat=N - 1)])


def products(rng, d):
    """Return ``sqrt(d)*(z_i.z_k/d - 1)`` and the noises along the mean, exactly."""
    along = rng.standard_normal((DRAWS, N))
    low = np.tril(rng.standard_normal((DRAWS, N, N)), -1)
    rows = np.arange(N)
    low[:, rows, rows] = np.sqrt(rng.chisquare(d - 1 - rows, (DRAWS, N)))
    whole = low @ low.transpose(0, 2, 1) + along[:, :, None] * along[:, None, :]
    return np.sqrt(d) * (whole / d - np.eye(N)), along


def share_of_the_labels(d, exponent):
    """Return how often the best split is the labels', for a mean of unit size."""
    chance, along = products(np.random.default_rng(0), d)
    aligned = SPLITS @ LABEL
    gain = d ** (0.5 - 2 * exponent) * aligned**2
    gain = gain + np.einsum("ki,cij,kj->ck", SPLITS, chance, SPLITS)
    gain = gain + 2 * d**-exponent * aligned * (along @ SPLITS.T)
    best = np.abs(aligned[gain.argmax(1)])
    return np.mean(best == N)


def limit_at_a_quarter():
    rng = np.random.default_rng(1)
    square = rng.standard_normal((DRAWS, N, N))
    chance = (square + square.transpose(0, 2, 1)) / np.sqrt(2)
    aligned = SPLITS @ LABEL
    gain = aligned**2 + np.einsum("ki,cij,kj->ck", SPLITS, chance, SPLITS)
    return np.mean(np.abs(aligned[gain.argmax(1)]) == N)


def test_at_a_quarter_the_split_is_a_random_event_at_every_dimension():
    limit = limit_at_a_quarter()
    assert 0.9 < limit < 1 - ERROR  # neither never nor always
    assert share_of_the_labels(1e3, 0.25) == pytest.approx(limit, abs=DRIFT)
    for d in (1e6, 1e9):
        assert share_of_the_labels(d, 0.25) == pytest.approx(limit, abs=2 * ERROR)


def test_a_coarser_feature_wins_and_a_finer_one_is_not_seen():
    assert share_of_the_labels(1e6, 1 / 8) == 1
    by_chance = 1 / len(SPLITS)
    assert share_of_the_labels(1e9, 3 / 8) == pytest.approx(by_chance, abs=ERROR)


@pytest.mark.parametrize(
    ("exponent", "words"),
    [
        ("1/8", "The labels win as d grows"),
        ("1/4", "a matter of chance at any d"),
        ("3/8", "nothing to do with the feature"),
    ],
)
def test_the_message_says_which(exponent, words):
    model = Model(product(0, exponent), data=Data(samples=True))
    with pytest.raises(DerivationError, match=words):
        derive(model)
