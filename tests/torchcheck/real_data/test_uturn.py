"""U-turns and adapters, judged by closed-form posteriors and Gaussian targets."""

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import TRIGONOMETRIC
from dilaton.torchcheck.real_data.datasets import Mixture
from dilaton.torchcheck.real_data.uturn import (
    LINEAR_PATH,
    VARIANCE_PRESERVING_PATH,
    Path,
    default_times,
    denoise,
    from_ddpm,
    from_noise,
    from_score,
    from_velocity,
    generate,
    mse_curve,
    uturn,
)
from dilaton.torchcheck.real_data.windows import mixture_change

ROUNDING = 1e-10  # double precision, divided by alpha or beta of 0.1 and more
SIGMAS = 5.0
DISCRETE = 0.03  # 64 log-SNR steps of 0.14: relative bias of the redrawn mode
TURN = Path.of(TRIGONOMETRIC)
PATHS = {"linear": LINEAR_PATH, "vp": VARIANCE_PRESERVING_PATH, "trig": TURN}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gaussian(sigma, path):
    """Exact denoiser of N(0, sigma^2 I)."""

    def denoiser(x, t):
        a, b = path.alpha(t), path.beta(t)
        return sigma**2 * b / (a**2 + sigma**2 * b**2) * x

    return denoiser


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_the_mode_changes_as_often_as_its_posterior_says(p):
    mix = Mixture(d=128, p=p, sigma=1.0)
    x, _ = mix.sample(1500, generator(1))
    times = [mix.time_of_snr(snr) for snr in (0.02, 0.3, 1.0, 3.0, 12.0)]
    curve = uturn(mix.denoiser, x, mix.feature, times, generator=generator(2), steps=64)
    theory = np.array([mixture_change(mix.snr(t), p) for t in times])
    tolerance = SIGMAS * curve.stderr + DISCRETE * theory[0]
    assert (abs(curve.changed - theory) < tolerance).all()
    wrong = np.array([mixture_change(2 * mix.snr(t), p) for t in times])
    assert not (abs(curve.changed - wrong) < tolerance).all()
    assert curve.changed[-1] < 0.01


def test_each_class_changes_as_often_as_the_other_is_heavy():
    mix = Mixture(d=64, p=0.8, sigma=1.0)
    x, _ = mix.sample(2000, generator(1))
    curve = uturn(
        mix.denoiser, x, mix.feature, [0.002], generator=generator(2), steps=64
    )
    for label, share in ((True, 0.2), (False, 0.8)):
        of = curve.of(label)
        assert abs(of.changed[0] - share) < SIGMAS * of.stderr[0] + DISCRETE
    assert curve.to_dict()["classes"]["True"]["n"] == int(mix.feature(x).sum())


@pytest.mark.parametrize("snr", [0.0, 0.4, 3.0])
def test_the_chance_of_a_change_is_its_integral(snr):
    p, h = 0.8, 0.5 * math.log(4)

    def density(g):
        law = math.exp(-(g**2) / 2) / math.sqrt(2 * math.pi)
        return law * sum(
            w * (1 - math.tanh(h + s * snr + math.sqrt(snr) * g) ** 2) / 2
            for w, s in ((p, 1), (1 - p, -1))
        )

    judge = scipy.integrate.quad(density, -12, 12, epsabs=1e-12)[0]
    assert mixture_change(snr, p) == pytest.approx(judge, abs=1e-6)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_adapters_return_the_denoiser_they_were_made_from(path):
    exact = gaussian(1.7, path)
    x = np.random.default_rng(0).standard_normal((5, 3))

    def noise(x, t):
        return (x - path.beta(t) * exact(x, t)) / path.alpha(t)

    def score(x, t):
        return -noise(x, t) / path.alpha(t)

    def velocity(x, t):
        step = 1e-6
        da = (path.alpha(t + step) - path.alpha(t - step)) / (2 * step)
        db = (path.beta(t + step) - path.beta(t - step)) / (2 * step)
        return da * noise(x, t) + db * exact(x, t)

    for t in (0.1, 0.5, 0.9):
        judge = pytest.approx(exact(x, t), abs=ROUNDING)
        assert from_noise(noise, path)(x, t) == judge
        assert from_score(score, path)(x, t) == judge
        loose = pytest.approx(exact(x, t), abs=1e-7)  # central differences
        assert from_velocity(velocity, path)(x, t) == loose
        turned = from_velocity(lambda x, s: -velocity(x, 1 - s), path, data_at=0)
        assert turned(x, t) == loose


def test_a_discrete_ddpm_is_read_at_its_nearest_step():
    bars = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    exact = gaussian(1.7, VARIANCE_PRESERVING_PATH)
    x = np.random.default_rng(0).standard_normal((5, 3))
    asked = []

    def split(x, k):
        asked.append(k)
        x1 = exact(x, math.sqrt(bars[k]))
        return x1, (x - math.sqrt(bars[k]) * x1) / math.sqrt(1 - bars[k])

    models = {
        "sample": lambda x, k: split(x, k)[0],
        "noise": lambda x, k: split(x, k)[1],
        "v": lambda x, k: (
            math.sqrt(bars[k]) * split(x, k)[1]
            - math.sqrt(1 - bars[k]) * split(x, k)[0]
        ),
    }
    for kind, model in models.items():
        denoiser = from_ddpm(model, torch.tensor(bars), kind)
        for k in (0, 400, 999):
            t = math.sqrt(bars[k])
            assert denoiser(x, t) == pytest.approx(exact(x, t), abs=1e-9)
            assert asked[-1] == k
        assert np.isfinite(denoiser(x, 0.0)).all()  # the noise end answers too


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("sampler", ["ode", "sde"])
def test_generated_gaussians_have_the_variance_of_their_target(path, sampler):
    rng = np.random.default_rng(3)
    x = generate(
        gaussian(0.5, path),
        (4000, 4),
        generator=rng,
        path=path,
        steps=400,
        sampler=sampler,
    )
    stderr = 0.25 * math.sqrt(2 / x.size)
    assert abs(x.var() - 0.25) < SIGMAS * stderr + 0.01  # first order in 400 steps
    assert abs(x.mean()) < SIGMAS * 0.5 / math.sqrt(x.size)


def test_at_the_data_end_nothing_changes():
    mix = Mixture(d=64, p=0.8, sigma=1.0)
    x, _ = mix.sample(200, generator())
    curve = uturn(mix.denoiser, x, mix.feature, [0.5, 1.0], generator=generator())
    assert (curve.flips[1] == 0).all()
    assert (curve.stderr > 0).all()
    back = denoise(mix.denoiser, x, 1.0, generator=generator())
    assert torch.allclose(back, x, atol=1e-5)  # float32


def test_the_error_of_the_gaussian_denoiser_is_its_posterior_variance():
    x = np.random.default_rng(0).standard_normal((4000, 8)) * 1.5
    curve = mse_curve(
        gaussian(1.5, LINEAR_PATH),
        x,
        [0.0, 0.3, 0.8],
        generator=np.random.default_rng(1),
    )
    t = curve.t
    judge = 2.25 * (1 - t) ** 2 / ((1 - t) ** 2 + 2.25 * t**2)
    assert (abs(curve.mse - judge) < SIGMAS * curve.stderr).all()
    assert (curve.stderr < 0.01 * judge).all()
    # at t = 0 the error is a mean of 8 squares of 4000 samples; 10 % of its error
    alone = 2.25 * math.sqrt(2 / x.size)
    assert curve.stderr[0] == pytest.approx(alone, rel=0.1)
    assert curve.to_dict()["d"] == 8


def test_default_times_are_even_in_log_snr():
    t = default_times(64)
    gaps = np.diff(np.log(t / (1 - t)))
    assert gaps == pytest.approx(gaps[0], abs=1e-9)
    assert t[0] / (1 - t[0]) == pytest.approx(0.1 / 8)


def test_numpy_and_scores_work_too():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2))
    curve = uturn(
        gaussian(1.0, LINEAR_PATH),
        x,
        lambda x: x[:, 0],
        [0.01, 0.99],
        generator=rng,
        threshold=[0.0],
        classes=(0, 1),
    )
    assert abs(curve.changed[0] - 0.5) < SIGMAS * curve.stderr[0]
    assert curve.changed[1] < 0.1
    assert curve.classes == [0, 1]
    whole = uturn(
        gaussian(1.0, LINEAR_PATH),
        x,
        lambda x: np.sign(x[:, 0]),
        [0.5],
        generator=rng,
        progress=True,
    )
    assert whole.classes == [-1, 1]


X = np.random.default_rng(0).standard_normal((6, 2))
PLAIN = gaussian(1.0, LINEAR_PATH)


def sign(x):
    return x[:, 0] > 0


def try_uturn(denoiser=PLAIN, data=X, feature=sign, times=(0.5,), **more):
    more.setdefault("generator", np.random.default_rng(0))
    return uturn(denoiser, data, feature, times, **more)


def zero_division(x, t):
    out = np.zeros_like(x)
    out[:2] = np.nan
    return out


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"times": [0.2, 1.2]}, ModelError, r"`times` must lie in \[0, 1\].*1\.2"),
        ({"times": [-0.1]}, ModelError, r"but has -0\.1"),
        ({"feature": lambda x: x}, ShapeError, r"`feature`.*\(6,\).*shape \(6, 2\)"),
        ({"feature": lambda x: 1}, ShapeError, r"`feature`.*shape \(\)"),
        ({"feature": lambda x: x[:, 0]}, ModelError, "no `threshold`"),
        ({"feature": lambda x: x[:, 0] * np.nan}, ModelError, "6 of 6 samples"),
        ({"threshold": 0.5}, ModelError, "`threshold` cuts scores"),
        ({"denoiser": zero_division}, ModelError, r"t = 0\.5 for 2 of 6 samples"),
        ({"denoiser": lambda x, t: x[:, :1]}, ShapeError, r"\(6, 2\).*\(6, 1\)"),
        ({"denoiser": lambda x, t: 0.0}, ShapeError, r"returned \(\)"),
        ({"classes": (True, 7)}, ModelError, "Class 7 has no sample.*False, True"),
        ({"data": X[:, 0]}, ShapeError, r"`data`.*shape \(6,\)"),
        ({"data": X[:0]}, ShapeError, "at least one sample"),
        ({"data": X * np.inf}, ModelError, "`data` must be finite"),
        ({"sampler": "heun"}, ModelError, "sde or ode.*'heun'"),
        ({"generator": generator()}, ModelError, "of the kind of the data"),
        (
            {"denoiser": from_noise(lambda x, t: x), "times": [0.0], "steps": 2},
            None,
            "",
        ),
    ],
)
def test_wrong_input_is_named(arguments, error, text):
    if error is None:  # a U-turn from pure noise asks just above the noise end
        assert try_uturn(**arguments).changed.shape == (1,)
        return
    with pytest.raises(error, match=text):
        try_uturn(**arguments)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: from_noise(PLAIN)(X, 0.0), "noise prediction.*t = 0"),
        (lambda: from_score(PLAIN)(X, 0.0), "A score gives no"),
        (lambda: from_velocity(PLAIN, data_at=2), "`data_at`.*2"),
        (lambda: from_ddpm(PLAIN, [1.5, 0.2]), r"in \(0, 1\].*1\.5"),
        (lambda: from_ddpm(PLAIN, [0.5], "x0"), "`predicts`.*'x0'"),
    ],
)
def test_adapters_name_what_is_wrong(call, text):
    with pytest.raises(ModelError, match=text):
        call()
