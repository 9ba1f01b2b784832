"""The empirical law: against Bayes' rule written out, U-turns, and doubled pixels."""

import numpy as np
import pytest
import torch
from dilaton.errors import ShapeError
from dilaton.torchcheck.experiments.datasets import load_digits
from dilaton.torchcheck.real_data.decision_window import find_window
from dilaton.torchcheck.real_data.denoisers import LAST_RATIO, denoise
from dilaton.torchcheck.real_data.empirical import EmpiricalLaw
from dilaton.torchcheck.real_data.interpolants import (
    LINEAR_PATH,
    VARIANCE_PRESERVING_PATH,
)
from dilaton.torchcheck.real_data.uturn import uturn
from scipy.special import logsumexp

SIGMAS = 5.0
ROUNDING = 1e-9  # double precision, divided by alpha squared


@pytest.fixture(scope="module")
def digits():
    data = load_digits(n=160)
    return torch.tensor(data.train, dtype=torch.float64), torch.tensor(data.labels)


@pytest.mark.parametrize("path", [LINEAR_PATH, VARIANCE_PRESERVING_PATH])
def test_the_denoiser_is_bayes_rule(digits, path):
    x1 = digits[0][:40]
    law = EmpiricalLaw(x1, path)
    x = torch.randn(7, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    for t in (0.1, 0.4, 0.8):
        a, b = path.alpha(t), path.beta(t)
        gap = x.numpy()[:, None] - b * x1.numpy()[None]
        log = -np.square(gap).sum((2, 3)) / (2 * a**2)
        w = np.exp(log - logsumexp(log, axis=1, keepdims=True))
        judge = np.einsum("bn,nij->bij", w, x1.numpy())
        assert law.denoiser(x, t).numpy() == pytest.approx(judge, abs=ROUNDING)
        wrong = np.einsum("bn,nij->bij", w**0.5, x1.numpy())
        assert law.denoiser(x, t).numpy() != pytest.approx(wrong, abs=ROUNDING)


def test_turns_change_the_class_as_often_as_its_posterior_says(digits):
    x1, labels = digits
    law = EmpiricalLaw(x1.float())
    times = [0.05, 0.15, 0.25, 0.4]
    known = torch.cdist  # the class of an image is that of the nearest one

    def nearest(x):
        gaps = known(x.flatten(1), x1.float().flatten(1))
        return labels[gaps.argmin(1)].numpy()

    turned = uturn(
        law.denoiser,
        x1.float().repeat(6, 1, 1),
        nearest,
        times,
        generator=torch.Generator().manual_seed(1),
        steps=64,
    )
    often = {"turned": x1.float().repeat(6, 1, 1), "turned_labels": labels.repeat(6)}
    rng = torch.Generator().manual_seed(2)
    exact = law.class_curve(labels, times, generator=rng, **often)
    slack = SIGMAS * np.hypot(turned.stderr, exact.stderr) + 0.03  # 64 steps
    assert (abs(turned.changed - exact.changed) < slack).all()
    late = law.class_curve(labels, [2 * t for t in times], generator=rng, **often)
    assert not (abs(turned.changed - late.changed) < slack).all()


def doubled(x):
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Blocks(np.random.Generator):
    """The noise of the small image over each block, whose mean has half its size."""

    def standard_normal(self, shape):
        *first, height, width = shape
        noise = super().standard_normal((*first, height // 2, width // 2))
        return noise.repeat(2, -1).repeat(2, -2) / 2


class Arrays:
    """An empirical law for NumPy arrays."""

    def __init__(self, x1):
        self.law = EmpiricalLaw(x1)

    def __call__(self, x, t):
        return self.law.denoiser(torch.tensor(x), t).numpy()


def test_doubled_pixels_turn_alike_at_half_the_ratio(digits):
    """Four times the pixels hold the same signal at half of beta/alpha."""
    small, large = digits[0][:60], doubled(digits[0][:60])
    start = small[:12].numpy()
    wide = doubled(small[:12]).numpy()
    for ratio in (0.1, 0.3, 1.0):
        results = []
        for x1, x, kind, size in (
            (small, start, np.random.Generator, 1),
            (large, wide, Blocks, 2),
        ):
            generator = kind(np.random.PCG64(3))
            t = float(LINEAR_PATH.time_of_ratio(ratio / size))
            noised = (1 - t) * generator.standard_normal(x.shape) + t * x
            results.append(
                denoise(
                    Arrays(x1),
                    noised,
                    t,
                    generator=generator,
                    steps=12,
                    last_ratio=LAST_RATIO / size,
                )
            )
        one, two = results
        assert two[:, ::2, ::2] == pytest.approx(one, abs=1e-6)


def test_doubled_pixels_shift_the_window_by_two(digits):
    x1, labels = digits
    ends = []
    for x, size in ((x1, 1), (doubled(x1), 2)):
        law = EmpiricalLaw(x)
        times = LINEAR_PATH.time_of_ratio(np.geomspace(0.02, 2, 25) / size)
        curve = law.class_curve(
            labels, times, generator=torch.Generator().manual_seed(size)
        )
        window = find_window(curve, draws=100)
        for end in (window.lo_interval, window.hi_interval):
            ends.append([size * LINEAR_PATH.ratio(t) for t in end])
    low, high = np.array(ends).reshape(2, 2, 2)
    assert (low[:, 0] < high[:, 1]).all()  # the intervals overlap, end by end
    assert (high[:, 0] < low[:, 1]).all()
    assert not (low[:, 0] < high[:, 1] / 2).all()  # without the shift they do not


def test_what_is_no_set_of_samples_is_refused():
    with pytest.raises(ShapeError, match=r"`samples`.*shape \(3,\)"):
        EmpiricalLaw(torch.ones(3))
