"""Samplers of any denoiser on a grid of times."""

import numpy as np
import pytest
from dilaton.errors import ModelError
from dilaton.torchcheck.real_data.denoisers import denoise, generate
from dilaton.torchcheck.real_data.uturn import uturn

P, D = 0.8, 400
GRID = np.interp(np.linspace(0, 1, 41), [0, 0.5, 1], [0, 4 / D**0.5, 1])


def exact(x, t):
    """E[x1|x_t] of the mixture with mean sqrt(D) e_1, sigma = 1, linear path."""
    delta, size = (1 - t) ** 2 + t**2, D**0.5
    mean = np.zeros_like(x)
    field = t * size * x[:, 0] / delta + np.log(P / (1 - P)) / 2
    mean[:, 0] = size * np.tanh(field)
    return t / delta * (x - t * mean) + mean


def test_generate_steps_on_a_grid():
    rng = np.random.default_rng(0)
    asked = []

    def watched(x, t):
        asked.append(t)
        return exact(x, t)

    made = generate(watched, (20_000, 3), generator=rng, steps=GRID)
    np.testing.assert_allclose(asked, GRID[:-1])
    error = (P * (1 - P) / 20_000) ** 0.5
    assert abs(np.mean(made[:, 0] > 0) - P) < 0.02 + 3 * error  # of 40 steps
    even = generate(exact, (20_000, 3), generator=rng, steps=np.linspace(0, 1, 9))
    assert np.mean(even[:, 0] > 0) > 0.85  # uniform steps lose the weight


def test_a_grid_is_taken_from_the_turning_time_on():
    asked = []

    def watched(x, t):
        asked.append(t)
        return exact(x, t)

    x = np.random.default_rng(1).normal(size=(8, 3))
    denoise(watched, x, 0.5, generator=np.random.default_rng(2), steps=GRID)
    assert asked[0] == 0.5
    np.testing.assert_allclose(asked[1:], GRID[(GRID > 0.5) & (GRID < 1)])


def test_uturn_takes_a_grid():
    rng = np.random.default_rng(3)
    data = rng.normal(size=(400, 3))
    data[:, 0] += D**0.5 * np.where(rng.uniform(size=400) < P, 1, -1)
    curve = uturn(
        exact,
        data,
        lambda x: x[:, 0] > 0,
        times=[0.001, 0.6],
        generator=rng,
        steps=GRID,
        look=False,
    )
    early, late = curve.flips.mean(axis=1)
    assert abs(early - 2 * P * (1 - P)) < 0.1  # the sign is drawn anew
    assert late == 0


def test_times_that_are_no_grid_are_refused():
    x, rng = np.zeros((2, 3)), np.random.default_rng(0)
    with pytest.raises(ModelError, match="`steps` must lie in"):
        denoise(exact, x, 0.0, generator=rng, steps=[0, 2])
    with pytest.raises(ModelError, match="`steps` must be a whole number"):
        denoise(exact, x, 0.0, generator=rng, steps=2.5)
