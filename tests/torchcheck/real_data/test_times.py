"""Training-time distributions, judged by scipy, quadrature and counting."""

import numpy as np
import pytest
import scipy.stats as st
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import TRIGONOMETRIC, VARIANCE_EXPLODING
from dilaton.torchcheck.real_data.ddpm_steps import StepDistribution
from dilaton.torchcheck.real_data.decision_window import DecisionInterval
from dilaton.torchcheck.real_data.interpolants import (
    LINEAR_PATH,
    VARIANCE_PRESERVING_PATH,
    NumericInterpolant,
    check_times,
)
from dilaton.torchcheck.real_data.training_times import TrainingTimes

ROUNDING = 1e-12  # piecewise linear functions: a few ulps
TABLE = 2e-3  # 1200 intervals over 12 standard deviations, or over the SNR range
KS_LEVEL = 1e-3  # fixed seeds: rejects a wrong law, not an unlucky draw

MADE = [
    TrainingTimes.uniform(),
    TrainingTimes.window(0.2, 0.6, 0.5),
    TrainingTimes.window(0.0, 0.03, 0.7),
    TrainingTimes.window(0.9, 1.0, 1.0),
    TrainingTimes.dilated(2, 4096),
    TrainingTimes.from_curve([0.1, 0.5, 0.9], [0.3, 0.1, 0.0]),
    TrainingTimes.log_normal_snr(-1, 2),
    TrainingTimes.effective("diffusion", 0.01, 0.9),
    TrainingTimes.effective("flow matching", 0.01, 0.9),
    TrainingTimes.entropic([0.1, 0.5, 0.9], [1, 0.5, 0.2]),
    TrainingTimes.mse_equalising([0.1, 0.5, 0.9], [1, 0.5, 0.2]),
]


def law_of(times):
    """The distribution function by its table."""
    return lambda t: np.interp(t, times.knots, times.cdf)


@pytest.mark.parametrize("times", MADE, ids=lambda times: times.name)
def test_density_integrates_and_matches_the_draws(times):
    middle = (times.knots[1:] + times.knots[:-1]) / 2
    total = np.sum(times.density(middle) * np.diff(times.knots))
    assert total == pytest.approx(1, abs=ROUNDING)
    draws = times.sample(4000, np.random.default_rng(1))
    assert st.kstest(draws, law_of(times)).pvalue > KS_LEVEL
    assert (times.density(draws) > 0).all()
    u = np.linspace(0.001, 0.999, 41)
    assert law_of(times)(times.quantile(u)) == pytest.approx(u, abs=ROUNDING)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("times", MADE, ids=lambda times: times.name)
def test_tensors_are_drawn_from_the_same_law(times, stratified):
    import torch

    generator = torch.Generator().manual_seed(1)
    draws = times.sample(4000, generator, stratified=stratified).double().numpy()
    assert st.kstest(draws, law_of(times)).pvalue > KS_LEVEL


def test_the_ks_judge_rejects_a_shifted_window():
    draws = TrainingTimes.window(0.2, 0.6, 0.5).sample(4000, np.random.default_rng(1))
    wrong = TrainingTimes.window(0.35, 0.75, 0.5)
    assert st.kstest(draws, law_of(wrong)).pvalue < KS_LEVEL


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40, 257])
@pytest.mark.parametrize("stratified", [False, True])
def test_batches_have_exactly_the_size_asked_for(n, stratified):
    import torch

    for times in MADE:
        for generator in (np.random.default_rng(0), torch.Generator().manual_seed(0)):
            assert times.sample(n, generator, stratified=stratified).shape == (n,)


def test_stratified_batches_keep_the_mass_of_the_window():
    times = TrainingTimes.window(0.2, 0.6, 0.5)
    for n in range(1, 60):
        t = times.sample(n, np.random.default_rng(n), stratified=True)
        inside = ((t >= 0.2) & (t <= 0.6)).sum()
        assert abs(inside - n / 2) < 1


def test_window_and_dilation_put_their_mass_where_they_say():
    times = TrainingTimes.window(0.2, 0.6, 0.5)
    assert times.mass(0.2, 0.6) == pytest.approx(0.5, abs=ROUNDING)
    assert times.density(np.array([0.1, 0.4, 0.9])) == pytest.approx(
        [5 / 6, 1.25, 5 / 6]
    )
    dilated = TrainingTimes.dilated(kappa=2, d=400)
    t = np.linspace(0, 1, 11)
    by_hand = np.where(t < 0.5, 0.2 * t, 0.1 + 0.9 * (2 * t - 1))
    assert dilated.quantile(t) == pytest.approx(by_hand, abs=ROUNDING)


def test_importance_weights_restore_the_uniform_mean():
    times = TrainingTimes.dilated(2, 100)
    t = times.sample(20000, np.random.default_rng(3))
    values = times.weights(t) * t**2
    stderr = values.std() / np.sqrt(len(t))
    assert abs(values.mean() - 1 / 3) < 5 * stderr
    assert abs((t**2).mean() - 1 / 3) > 30 * stderr  # without weights it is far off
    with pytest.raises(ModelError, match=r"never trains at t = 0\.1"):
        TrainingTimes.window(0.2, 0.6, 1.0).weights(0.1)


def test_log_normal_snr_is_logit_normal_on_the_linear_path():
    times = TrainingTimes.log_normal_snr(mean=-2.4, std=1.6)
    judge = st.norm(-2.4, 1.6)
    for t in (0.1, 0.25, 0.6):
        log_snr = 2 * np.log(t / (1 - t))
        expected = judge.pdf(log_snr) * 2 / (t * (1 - t))
        assert times.density(t) == pytest.approx(expected, rel=0.01)  # bins of 0.016
        assert times.mass(0, t) == pytest.approx(judge.cdf(log_snr), abs=TABLE)


@pytest.mark.parametrize(("kind", "power"), [("diffusion", 1), ("flow matching", 1.5)])
@pytest.mark.parametrize("path", [LINEAR_PATH, VARIANCE_PRESERVING_PATH])
def test_effective_weights_are_powers_of_the_snr(kind, power, path):
    times = TrainingTimes.effective(kind, 0.01, 0.5, path)
    t = np.array([0.02, 0.05, 0.1, 0.3])
    snr = np.array([path.ratio(x) ** 2 for x in t])
    step = 1e-6
    slope = [(path.ratio(x + step) ** 2 - path.ratio(x - step) ** 2) for x in t]
    in_snr = times.density(t) / (np.array(slope) / (2 * step))
    fitted = np.polyfit(np.log(snr), np.log(in_snr), 1)[0]
    assert fitted == pytest.approx(-power, abs=0.02)  # table of 1200 log-SNR bins


def test_flow_matching_weights_are_uniform_times_seen_by_the_noise_error():
    # x1 error = (alpha/beta)^2 noise error, velocity error = x1 error/alpha^2
    times = TrainingTimes.effective("flow matching", 0.01, 0.1)
    t = np.array([0.02, 0.09])
    ratio = times.density(t[0]) / times.density(t[1])
    assert ratio == pytest.approx((0.09 / 0.02) ** 2, rel=0.15)  # t << 1 only


def test_curve_times_follow_the_slope():
    times = TrainingTimes.from_curve([0, 0.5, 1], [1, 0.25, 0], mass=0.8)
    assert times.mass(0, 0.5) == pytest.approx(0.8 * 0.75 + 0.2 * 0.5)
    flat = TrainingTimes.mse_equalising([0, 0.5, 1], [1.0, 0.4, 0.6])
    assert flat.mass(0, 0.5) == pytest.approx(1)  # a rise is no gain
    info = TrainingTimes.entropic([0.0, 0.5, 0.6], [1.0, 1.0, 1.0])
    assert info.mass(0, 0.5) == pytest.approx(1 / 2.25)  # snr 1 of 2.25


def test_grids_follow_their_rule():
    times = TrainingTimes.uniform()
    assert times.grid(4, "left") == pytest.approx([0, 0.25, 0.5, 0.75])
    assert times.grid(4) == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_tensors_are_answered_with_tensors():
    import torch

    times = TrainingTimes.window(0.2, 0.6, 0.5)
    t = times.sample(9, torch.Generator().manual_seed(0))
    assert t.dtype == torch.float32
    assert isinstance(times.weights(t), torch.Tensor)
    assert times.density(t).shape == (9,)


def test_paths_agree_with_symbols():
    path = NumericInterpolant.of(TRIGONOMETRIC)
    assert path.alpha(0.25) == pytest.approx(np.cos(np.pi / 8))
    assert path.beta_dot(0.0) == pytest.approx(np.pi / 2)
    assert path.alpha2_dot(0.25) == pytest.approx(-np.pi / 2 * np.sin(np.pi / 4))
    assert path.time_of_ratio(1.0) == pytest.approx(0.5)
    with pytest.raises(ModelError, match="function of `tau` alone, but has d"):
        NumericInterpolant.of(VARIANCE_EXPLODING)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: check_times([0.2, 1.3]), ModelError, r"in \[0, 1\].*has 1\.3"),
        (lambda: check_times([0.2, float("nan")]), ModelError, r"in \[0, 1\].*nan"),
        (lambda: check_times([0.5, 0.2]), ModelError, "must increase.*0.2 follows 0.5"),
        (lambda: check_times([[0.5]]), ShapeError, r"shape \(1, 1\)"),
        (lambda: TrainingTimes.window(0.6, 0.2, 0.5), ModelError, r"\[0\.6, 0\.2\]"),
        (lambda: TrainingTimes.window(0.2, 0.6, 1.5), ModelError, "`mass`.*1.5"),
        (lambda: TrainingTimes.dilated(9, 64), ModelError, "give 1.125"),
        (lambda: TrainingTimes.dilated(2, 0), ModelError, "kappa"),
        (lambda: TrainingTimes.from_curve([0, 1], [1, 1]), ModelError, "constant"),
        (lambda: TrainingTimes.from_curve([0, 1], [1]), ShapeError, r"\(1,\) values"),
        (
            lambda: TrainingTimes.from_curve([0, 1], [1, np.nan]),
            ModelError,
            "finite, but is not at t = 1",
        ),
        (lambda: TrainingTimes.entropic([0, 1], [1, 0]), ModelError, "diverges"),
        (lambda: TrainingTimes.log_normal_snr(0, 0), ModelError, "`std`"),
        (
            lambda: TrainingTimes.effective("ddpm", 0.1, 0.9),
            ModelError,
            "`kind`.*'ddpm'",
        ),
        (
            lambda: TrainingTimes.effective("diffusion", 0, 0.9),
            ModelError,
            "0 < lo < hi < 1",
        ),
        (lambda: TrainingTimes.uniform().quantile(1.2), ModelError, "`u`.*1.2"),
        (lambda: TrainingTimes.uniform().grid(0), ModelError, "`n`.*0"),
        (lambda: TrainingTimes.uniform().grid(3, "right"), ModelError, "'right'"),
        (lambda: TrainingTimes.uniform().sample(2, 0), ModelError, "`generator`.*int"),
    ],
)
def test_wrong_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_shift_divides_the_ratio():
    times = TrainingTimes.shift(3.0)
    for u in (0.1, 0.5, 0.9):
        t = times.quantile(u)
        assert t / (1 - t) == pytest.approx(u / (1 - u) / 3, rel=1e-5)  # 2048 parts
    with pytest.raises(ModelError, match="`a` must be positive"):
        TrainingTimes.shift(0)


def test_a_window_is_taken_as_it_was_found():
    found = DecisionInterval(0.2, 0.6, (0.1, 0.3), (0.5, 0.7), "")
    times = TrainingTimes.window(found, mass=0.5)
    assert times.mass(0.2, 0.6) == pytest.approx(0.5)
    with pytest.raises(ModelError, match="A window has two ends"):
        TrainingTimes.window(0.2, mass=0.5)
    with pytest.raises(ModelError, match="`mass` must be the share"):
        TrainingTimes.window(found)


BARS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def test_uniform_steps_have_the_weights_of_uniform_steps():
    """The steps of a DDPM are uniform in k, which is not uniform in t."""
    steps = StepDistribution.of(TrainingTimes.window(0.2, 0.6, mass=0.7), BARS)
    assert steps.probabilities.sum() == pytest.approx(1)
    assert steps.expectation(steps.weights(np.arange(1000)) * LOSS) == pytest.approx(
        LOSS.mean()
    )
    inside = (np.sqrt(BARS) > 0.2) & (np.sqrt(BARS) < 0.6)
    assert steps.probabilities[inside].sum() == pytest.approx(0.7, abs=0.01)  # a cell
    wrong = 1 / TrainingTimes.window(0.2, 0.6, mass=0.7).density(np.sqrt(BARS))
    assert steps.expectation(wrong * LOSS) != pytest.approx(LOSS.mean(), rel=0.1)


LOSS = np.linspace(0, 1, 1000) ** 2


def test_steps_are_drawn_as_often_as_they_should_be():
    steps = StepDistribution.of(TrainingTimes.uniform(), BARS)
    drawn = steps.sample(50_000, np.random.default_rng(0))
    late = (drawn < 100).mean()
    share = steps.probabilities[:100].sum()
    assert abs(late - share) < 5 * (share * (1 - share) / 50_000) ** 0.5
    tensor = steps.sample(5, torch.Generator().manual_seed(0))
    assert tensor.dtype == torch.int64
    with pytest.raises(ModelError, match="never drawn"):
        StepDistribution.of(TrainingTimes.window(0, 0.5, mass=1.0), BARS).weights(0)
