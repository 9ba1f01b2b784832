"""Windows on the mixture against the exact posterior; hand-made curves; teeth."""

import functools

import numpy as np
import pytest
import torch
from dilaton.errors import ModelError
from dilaton.torchcheck.experiments.datasets import Mixture
from dilaton.torchcheck.real_data.decision_window import (
    DecisionInterval,
    agreement,
    find_mse_window,
    find_window,
    mixture_change,
    mixture_window,
)
from dilaton.torchcheck.real_data.denoisers import snr_times
from dilaton.torchcheck.real_data.interpolants import VARIANCE_PRESERVING_PATH
from dilaton.torchcheck.real_data.uturn import Curve, MseCurve, mse_curve, uturn

SAMPLES = 500
SLACK = 0.15  # of Lambda: 24 denoising steps, 10 times


pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def measured(d, p, seed=0):
    """The U-turn window of the exact denoiser, and a mixture to read it in Lambda."""
    mix = Mixture(d, p, 1.0)
    generator = torch.Generator().manual_seed(seed)
    x, _ = mix.sample(SAMPLES, generator)
    times = snr_times(mix.path, 0.12 / d**0.5, 4 / d**0.5, 10)
    curve = uturn(mix.denoiser, x, mix.feature, times, generator=generator, steps=24)
    return mix, find_window(curve)


@pytest.mark.parametrize(("d", "p"), [(64, 0.5), (256, 0.5), (64, 0.8), (1024, 0.8)])
def test_the_window_of_the_mixture_is_the_theory_s(d, p):
    mix, window = measured(d, p)
    for end, interval in zip(
        mixture_window(p), (window.lo_interval, window.hi_interval), strict=True
    ):
        low, high = (mix.snr(t) for t in interval)
        assert low * (1 - SLACK) - 0.02 < end < high * (1 + SLACK)
        assert not low < 4 * end < high  # the interval excludes a wrong scale
    assert window.lo < window.hi
    assert window.hi_interval[0] <= window.hi <= window.hi_interval[1]


def test_the_window_moves_with_the_root_of_d():
    small, large = (measured(d, 0.8)[1] for d in (64, 1024))
    ratio = small.hi / large.hi
    exact = np.divide(
        *(Mixture(d, 0.8, 1.0).time_of_snr(mixture_window(0.8)[1]) for d in (64, 1024))
    )
    assert ratio == pytest.approx(exact, rel=0.2)  # about 4 less the curvature of t
    assert exact == pytest.approx(4 * 0.85, rel=0.05)


@pytest.fixture(scope="module")
def mse_curves():
    curves = []
    for d in (128, 512, 2048):
        mix = Mixture(d, 0.6, 1.0)
        generator = torch.Generator().manual_seed(d)
        x, _ = mix.sample(600, generator)
        curves.append((mix, mse_curve(mix.denoiser, x, generator=generator)))
    return curves


def exact_mse(mix, t):
    delta = (1 - t) ** 2 + t**2
    redrawn = np.array([2 * mixture_change(mix.snr(x), mix.p) for x in t])
    return (1 - t) ** 2 / delta + ((1 - t) ** 2 / delta) ** 2 * redrawn


def test_the_mse_window_is_at_snr_of_order_one_and_agrees(mse_curves):
    ends = []
    for mix, curve in mse_curves:
        window = find_mse_window(curve)
        errors = exact_mse(mix, curve.t)[:, None]
        exact = find_mse_window(MseCurve(curve.t, errors, curve.d), draws=2)
        for end, interval in (
            (exact.lo, window.lo_interval),
            (exact.hi, window.hi_interval),
        ):
            low, high = (mix.snr(t) for t in interval)
            assert low * (1 - SLACK) < mix.snr(end) < high * (1 + SLACK)
        ends.append([mix.snr(exact.lo), mix.snr(exact.hi)])
        times = (mix.time_of_snr(snr) for snr in mixture_window(mix.p))
        theory = DecisionInterval(*times, (0, 1), (0, 1), "exact")
        match = agreement(window, theory)
        assert match.agree
        assert 0.4 < match.overlap <= 1
    assert np.ptp(np.log(ends), axis=0).max() < 0.1  # the same window at every d


def test_the_measured_error_is_the_exact_mmse(mse_curves):
    for mix, curve in mse_curves:
        exact = exact_mse(mix, curve.t)
        assert (abs(curve.mse - exact) < 5 * curve.stderr + 1e-6).all()


def steps(values, n=1000):
    """A curve whose shares of changed samples are exactly `values`."""
    flips = np.arange(n) < np.round(np.array(values)[:, None] * n)
    return Curve(np.linspace(0, 1, len(values)), flips, np.arange(n) % 2)


def test_a_straight_curve_has_its_ends_at_a_tenth():
    window = find_window(steps(np.linspace(0.5, 0, 6)))
    assert (window.lo, window.hi) == pytest.approx((0.1, 0.9))
    assert window.lo_interval[0] < 0.1 < window.lo_interval[1]
    wide = find_window(steps(np.linspace(0.5, 0, 6)), ends=(0.75, 0.25))
    assert (wide.lo, wide.hi) == pytest.approx((0.25, 0.75))
    assert set(window.to_dict()) >= {"lo", "hi", "lo_interval", "hi_interval"}


def test_intervals_hold_the_ends_as_often_as_they_say():
    rng, n, held = np.random.default_rng(0), 400, []
    share = np.linspace(0.5, 0, 6)
    for _ in range(120):
        flips = rng.random((6, n)) < share[:, None]
        curve = Curve(np.linspace(0, 1, 6), flips, np.arange(n) % 2)
        window = find_window(curve, draws=150)
        held.append(window.lo_interval[0] < 0.1 < window.lo_interval[1])
        held.append(window.hi_interval[0] < 0.9 < window.hi_interval[1])
    # 95 %; a standard error of 240 is 1.4 %, and percentiles fall short
    assert 0.9 < np.mean(held) < 0.98


def test_intervals_shrink_with_more_samples():
    widths = []
    for n in (200, 3200):
        window = find_window(steps(np.linspace(0.5, 0, 6), n))
        widths.append(np.ptp(window.lo_interval))
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.5)


def spread_curve(spread, ratios, **more):
    """The curve of a denoiser whose error is a Gaussian's of variance `spread`."""
    t = ratios / (1 + ratios)
    error = spread / (1 + spread * ratios**2)
    return MseCurve(t, error[:, None] * np.linspace(0.9, 1.1, 50), 10, **more)


def test_a_spread_that_falls_has_its_window_there():
    x = np.linspace(np.log(0.01), np.log(3), 61)
    fall = np.interp(x, [-3.5, -2.5], [1.0, 0.2])
    window = find_mse_window(spread_curve(fall, np.exp(x)))
    ends = np.log([t / (1 - t) for t in (window.lo, window.hi)])
    assert ends == pytest.approx([-3.5, -2.5], abs=0.15)  # a part, and a step of x
    later = spread_curve(fall, np.exp(x + 0.5))
    moved = find_mse_window(later)
    assert moved.lo / (1 - moved.lo) > 1.4 * window.lo / (1 - window.lo)


def test_the_window_of_the_error_is_that_of_log_snr_whatever_time_is():
    x = np.linspace(np.log(0.01), np.log(3), 61)
    curve = spread_curve(np.interp(x, [-3.5, -2.5], [1.0, 0.2]), np.exp(x))
    t = VARIANCE_PRESERVING_PATH.time_of_ratio(np.exp(x))
    other = find_mse_window(
        MseCurve(t, curve.errors, 10, path=VARIANCE_PRESERVING_PATH)
    )
    linear = find_mse_window(curve)
    for one, two in ((linear.lo, other.lo), (linear.hi, other.hi)):
        ratio = VARIANCE_PRESERVING_PATH.ratio(two)
        assert one / (1 - one) == pytest.approx(ratio, rel=1e-6)


def test_one_gaussian_has_no_window():
    x = np.linspace(np.log(0.01), np.log(3), 61)
    with pytest.raises(ModelError, match="there is no window"):
        find_mse_window(spread_curve(np.ones(61), np.exp(x)))


def test_an_error_beyond_the_data_counts_as_their_mean_square():
    """A noise prediction: its error is divided by beta, and explodes at the noise."""
    x = np.linspace(np.log(0.001), np.log(3), 81)
    curve = spread_curve(np.interp(x, [-3.5, -2.5], [1.0, 0.2]), np.exp(x), level=1.0)
    exploding = curve.errors + 1e-5 * np.exp(-2 * x)[:, None]
    found = find_mse_window(MseCurve(curve.t, exploding, 10, level=1.0))
    exact = find_mse_window(curve)
    assert agreement(found, exact).overlap > 0.7
    free = find_mse_window(MseCurve(curve.t, exploding, 10))
    assert agreement(free, exact).overlap < 0.7  # unbounded, the artefact is a window


def alone(lo, hi):
    """A window whose ends are known."""
    return DecisionInterval(lo, hi, (lo, lo), (hi, hi), "")


def test_windows_agree_when_each_has_the_middle_of_the_other():
    one, two = alone(0.1, 0.3), alone(0.28, 0.9)
    beside = agreement(one, two)
    assert 0 < beside.overlap < 0.2
    assert not beside.agree
    within = agreement(one, alone(0.1, 0.12))
    assert 0 < within.overlap < 0.2
    assert not within.agree
    assert agreement(one, alone(0.15, 0.35)).agree


def test_distant_windows_do_not_agree():
    near, far = alone(0.1, 0.2), alone(0.7, 0.9)
    assert agreement(near, near).overlap == pytest.approx(1)
    result = agreement(near, far)
    assert result.overlap == 0
    assert not result.agree
    assert 0 < agreement(near, alone(0.0, 1.0)).overlap < 0.1
    assert result.to_dict()["overlap"] == 0.0
    assert "do not agree: they share 0%" in result.statement


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: find_window(steps([0.3, 0.3, 0.3])), ModelError, "noise end.*0.3"),
        (lambda: find_window(steps([0.0, 0.2, 0.4])), ModelError, "noise end"),
        (lambda: find_window(steps([0.5, 0]), ends=(0.1, 0.9)), ModelError, "`ends`"),
        (
            lambda: find_mse_window(MseCurve(np.arange(4) / 4, np.ones((4, 9)), 3)),
            ModelError,
            "falls over at least 4.*no window",
        ),
        (
            lambda: find_mse_window(
                MseCurve(np.arange(4) / 4, np.ones((4, 9)), 3), fraction=1.5
            ),
            ModelError,
            "`fraction`.*1.5",
        ),
    ],
)
def test_wrong_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
