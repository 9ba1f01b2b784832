"""Sampling through learned velocities: laws, shares, rules, embeddings."""

import numpy as np
import pytest
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import (
    LINEAR,
    TRIGONOMETRIC,
    VARIANCE_PRESERVING,
    Data,
    Model,
    two_modes,
)
from dilaton.torchcheck.networks.sample import sample_features
from dilaton.torchcheck.networks.step_grid import (
    coefficients,
    dilated_grid,
    uniform_grid,
)
from dilaton.torchcheck.networks.train import train
from dilaton.torchcheck.networks.training_set import draw_training_set, in_span
from scipy import stats

from ...oracles import mixture, mixture_share

POPULATION = Model(two_modes())
SAMPLES = Model(two_modes(), data=Data(samples=True))
FROZEN = Model(two_modes(), data=Data(samples=True, frozen_noise=True))
EXACT = {"p": 0.8, "sigma": 1.3, "kappa": 2.0}
VALUES = {
    "sigma": 1.0,
    "n": 16,
    "n_plus": 13,
    "ridge_u": 0.1,
    "ridge_w": 0.1,
    "kappa": 2.0,
}
LEVEL = 1e-4  # of each Kolmogorov-Smirnov test
SIGMAS = 5.0


def generate(model, values, d, grid, paths=20_000, seed=0):
    trained = train(model, values, grid.times, d, seed)
    return sample_features(trained, grid, paths, seed)[0]


@pytest.mark.parametrize(
    ("interpolant", "slope"),
    [(LINEAR, 1.0), (TRIGONOMETRIC, np.pi / 2), (VARIANCE_PRESERVING, 1.0)],
)
def test_the_law_at_the_end_of_the_window_is_the_mixture(interpolant, slope):
    model = Model(two_modes(), interpolant)
    d, k = 10**8, 2.0 * slope
    got = generate(model, EXACT, d, dilated_grid(model, EXACT, d, 80, "midpoint"))
    assert stats.kstest(got.decided_nu, mixture, (k, 0.8)).pvalue > LEVEL
    assert abs(got.share_plus - mixture_share(k, 0.8)) < SIGMAS * got.share_plus_error
    assert stats.kstest(got.decided_nu, mixture, (k, 0.77)).pvalue < LEVEL


def test_the_end_of_sampling_is_the_target():
    got = generate(
        POPULATION, EXACT, 400, dilated_grid(POPULATION, EXACT, 400, 200, "midpoint")
    )
    # 100 cells a phase leave a second-order error below 1e-3 in moments of order one
    assert abs(got.bulk_variance - 1.69) < 1e-3
    kept = mixture_share(2, 0.8)  # d = 400 moves its standard error by percents
    exact = (kept * (1 - kept) / 20_000) ** 0.5
    assert got.share_plus_error == pytest.approx(exact, rel=0.05)
    spread = 1.3 / 20 / (0.8 * 20_000) ** 0.5
    assert abs(got.mode_mean - 1) < SIGMAS * spread + 1e-3
    assert abs(got.final_share_plus - 0.8) < SIGMAS * 0.4 / 20_000**0.5 + 1e-3
    spread = np.abs(got.nu[-1]) - 20.0
    assert abs(spread.std() - 1.3) < 0.03


def test_sixteen_samples_follow_the_flow_of_their_limit():
    # share, mean and spread of nu from the limiting equations at 20 midpoint steps
    want = np.array([0.8036, 1.2869, 1.7775])
    shares = []
    for seed in range(8):
        grid = dilated_grid(SAMPLES, VALUES, 10**6, 40, "midpoint")
        got = generate(SAMPLES, VALUES, 10**6, grid, 4000, seed)
        nu = got.decided_nu
        shares.append([got.share_plus, nu.mean(), nu.std()])
    mean, error = np.mean(shares, 0), np.std(shares, 0, ddof=1) / 8**0.5
    assert np.all(np.abs(mean - want) < SIGMAS * error)
    assert np.all(error < 0.02)
    # the variance phase has closed forms: n/(n + ridge) and A
    assert abs(got.mode_mean - 16 / 16.1) < 0.02
    assert abs(got.bulk_variance - 15.2 / 16.1) < 0.01


def test_rules_have_their_orders():
    exact = 1.69**0.5
    errors = {}
    for rule in ("left", "midpoint"):
        sizes = [
            abs(
                generate(
                    POPULATION,
                    EXACT,
                    10**4,
                    dilated_grid(POPULATION, EXACT, 10**4, steps, rule),
                    10,
                ).bulk_variance
                ** 0.5
                - exact
            )
            for steps in (40, 80, 160)
        ]
        errors[rule] = np.log2(np.array(sizes[:-1]) / sizes[1:])
    assert np.all(np.abs(errors["left"] - 1) < 0.15)
    assert np.all(errors["midpoint"] > 1.85)


def test_without_dilation_the_share_is_lost_by_rule():
    steps = 40
    shares = {}
    for d in (100, 10**4, 10**6):
        for rule in ("left", "midpoint"):
            grid = uniform_grid(steps, rule)
            shares[rule, d] = generate(POPULATION, EXACT, d, grid, 4000).share_plus
        grid = dilated_grid(POPULATION, EXACT, d, steps, "midpoint")
        shares["dilated", d] = generate(POPULATION, EXACT, d, grid, 4000).share_plus
    assert shares["left", 10**6] > 0.99
    assert abs(shares["midpoint", 10**6] - 0.5) < 0.05
    kept = mixture_share(2, 0.8)
    for d in (100, 10**4, 10**6):
        assert abs(shares["dilated", d] - kept) < 0.03


def test_all_coordinates_and_the_span_generate_the_same_law():
    d = 300
    grid = dilated_grid(SAMPLES, VALUES, d, 20, "midpoint")
    full = draw_training_set(SAMPLES, VALUES, d, 1, embedding="full")
    both = [
        sample_features(
            train(SAMPLES, VALUES, grid.times, d, 1, data=data), grid, 4000, seed
        )[0]
        for seed, data in enumerate((full, in_span(full)))
    ]
    for row in (10, 20):
        test = stats.ks_2samp(both[0].nu[row], both[1].nu[row])
        assert test.pvalue > LEVEL
    # mean over 4000 paths of a variance over 283 coordinates
    assert abs(both[0].bulk_variance - both[1].bulk_variance) < SIGMAS * 1.5e-3


def test_memory_chunks_do_not_change_the_law(monkeypatch):
    grid = dilated_grid(SAMPLES, VALUES, 1000, 10, "left")
    trained = train(SAMPLES, VALUES, grid.times, 1000, 1)
    whole = sample_features(trained, grid, 999, 5)[0]
    monkeypatch.setattr("dilaton.torchcheck.networks.sample._CHUNK", 17 * 100)
    parts = sample_features(trained, grid, 999, 5)[0]
    assert whole.nu.shape == parts.nu.shape == (11, 999)
    assert len(np.unique(parts.nu[0])) == 999  # each chunk has its own noise
    assert stats.ks_2samp(whole.nu[-1], parts.nu[-1]).pvalue > LEVEL
    assert whole.bulk_variance == parts.bulk_variance


def test_velocity_coefficients_are_those_of_the_linear_schedule():
    at = coefficients(LINEAR, np.array([0.0, 0.25]), 100)
    assert np.allclose(at.gamma, [-1, -4 / 3])
    assert np.allclose(at.zeta, [1, 4 / 3])


def test_messages():
    grid = dilated_grid(SAMPLES, VALUES, 1000, 4, "left")
    trained = train(SAMPLES, VALUES, grid.times, 1000, 1)
    with pytest.raises(ShapeError, match="network at every time of the grid"):
        sample_features(trained, uniform_grid(4, "left"), 10, 0)
    with pytest.raises(ModelError, match="`paths` must be positive, but is 0"):
        sample_features(trained, grid, 0, 0)
    values = {**VALUES, "noise_draws": 1}
    frozen = train(FROZEN, values, grid.times, 1000, 1)
    with pytest.raises(ModelError, match="a span of its own"):
        sample_features(frozen, grid, 10, 0)
