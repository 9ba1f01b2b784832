"""A dilation from the windows of data: masses by hand, exports by their definition."""

import math

import numpy as np
import pytest
import torch
from dilaton import dilate
from dilaton.errors import ModelError
from dilaton.numerics.times.exports import diffusion_timesteps, scheduler_sigmas
from dilaton.torchcheck import EmpiricalLaw, MseCurve, mse_curve
from dilaton.torchcheck.experiments.datasets import load_digits
from dilaton.torchcheck.real_data.decision_window import DecisionInterval
from dilaton.torchcheck.real_data.interpolants import VARIANCE_PRESERVING_PATH
from dilaton.torchcheck.real_data.uturn import Curve, uturn

SAME = 1e-12  # two ways to a number by a few operations
T = np.linspace(0.02, 0.98, 25)


def window(lo, hi):
    return DecisionInterval(lo, hi, (lo, lo), (hi, hi), "by hand")


def falling(path=None, size=40):
    errors = np.repeat((1 - T)[:, None] ** 2, size, axis=1)
    return MseCurve(T, errors, 64, **({} if path is None else {"path": path}))


def test_each_window_has_its_mass_and_the_rest_is_even():
    made = dilate({"a": window(0.1, 0.2), "b": window(0.5, 0.9)}, falling(), mass=0.6)
    t = np.array([0.05, 0.15, 0.3, 0.7, 0.95])
    rest = np.array([0.4 / 0.9, 0.4 / 0.6]) / 2
    by_hand = rest.sum() + np.array([0, 3 - rest[0], 0, 0.75 - rest[1], 0])
    np.testing.assert_allclose(made.training.density(t), by_hand, rtol=SAME)
    assert made.shares()["uniform"]["b"] == pytest.approx(0.4, abs=SAME)
    assert made.shares()["dilated"]["a"] == pytest.approx(0.3 + rest[1] / 10, abs=SAME)
    overlap = dilate({"a": window(0.1, 0.5), "b": window(0.3, 0.7)}, falling(), mass=1)
    assert overlap.training.density(0.4) == pytest.approx(2.5, rel=SAME)


def test_the_grid_is_the_law_of_training_times():
    made = dilate({"a": window(0.1, 0.2)}, falling(), mass=0.5)
    u = np.linspace(0, 1, 21)
    np.testing.assert_allclose(made.grid.curve(u), made.training.quantile(u), rtol=SAME)
    np.testing.assert_allclose(made.grid.inverse(made.grid.curve(u)), u, atol=SAME)
    assert made.grid.share(0.1, 0.2) == pytest.approx(0.5, abs=SAME)
    assert set(made.grids()) == {
        *("dilated", "uniform", "logit-normal", "entropic", "mse-equalising")
    }
    for grid in made.grids().values():
        assert np.all(np.diff(grid.ends(20)) > 0)


def test_times_of_another_path_are_exported_at_their_noise_level():
    path = VARIANCE_PRESERVING_PATH
    made = dilate({"a": window(0.1, 0.2)}, falling(path), mass=0.5)
    own = made.training.quantile(np.linspace(0, 1, 11))
    tau = made.grid.numpy(10)
    ratio = own[:-1] / np.sqrt(1 - own[:-1] ** 2)
    np.testing.assert_allclose(tau[:-1] / (1 - tau[:-1]), ratio, rtol=1e-9)
    inside = np.linspace(0.01, 0.99, 9)
    np.testing.assert_allclose(
        made.grid.inverse(made.grid.curve(inside)), inside, atol=1e-9
    )
    alphas_cumprod = np.linspace(0.9999, 0.0001, 1000) ** 2
    steps = diffusion_timesteps(made.grid, 10, alphas_cumprod)
    held = np.sqrt(alphas_cumprod[steps[1:]])  # beta at the steps: the path's time
    np.testing.assert_allclose(held, own[1:-1], atol=1e-3)


def test_exports_are_the_grid_before_the_scheduler_shifts_it():
    made = dilate({"a": window(0.05, 0.2)}, falling(), mass=0.7)
    sent = np.array(scheduler_sigmas(made.grid, 12, {"shift": 3.0}))
    shifted = 3 * sent / (1 + 2 * sent)
    np.testing.assert_allclose(shifted, 1 - made.grid.numpy(12)[:-1], atol=1e-9)


def test_the_windows_of_digits_are_found_and_dilated():
    data = load_digits(n=200)
    images = torch.tensor(data.train)
    law = EmpiricalLaw(images)
    ink = images.mean((1, 2)).median()

    def kind(x):  # the class of the nearest image
        near = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
        return torch.tensor(data.labels)[near]

    def turned(feature, seed):
        generator = torch.Generator().manual_seed(seed)
        some = images[:100]
        return uturn(law.denoiser, some, feature, generator=generator, steps=10)

    curves = {
        "class": turned(kind, 0),
        "ink": turned(lambda x: x.mean((1, 2)) > ink, 1),
    }
    assert all(isinstance(curve, Curve) for curve in curves.values())
    error = mse_curve(law.denoiser, images, generator=torch.Generator().manual_seed(2))
    made = dilate(curves, error, mass=0.5)
    shares = made.shares()
    for name in curves:
        assert shares["dilated"][name] > max(0.25, shares["uniform"][name])
    early, late = made.windows["class"], made.windows["ink"]
    assert 0 <= early.lo < late.hi <= 1


@pytest.mark.parametrize(
    ("features", "mass", "words"),
    [
        ({}, 0.5, "needs the window of at least one feature, but has none"),
        ({"a": window(0.5, 0.4)}, 0.5, "0 <= lo < hi <= 1"),
        ({"a": window(0.1, 0.4)}, 0.0, "`mass` must be in"),
        ({"a": window(0.1, 0.4)}, math.nan, "`mass` must be in"),
        (
            {"a": Curve(T, np.zeros((25, 4), bool), np.zeros(4))},
            0.5,
            "of one interpolant, but that of `a`",
        ),
    ],
)
def test_what_is_no_dilation_is_refused(features, mass, words):
    with pytest.raises(ModelError, match=words):
        dilate(features, falling(VARIANCE_PRESERVING_PATH), mass=mass)
