"""U-turns and adapters, judged by closed-form posteriors and Gaussian targets."""

import math

import dilaton
import numpy as np
import pytest
import scipy.integrate
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import TRIGONOMETRIC
from dilaton.torchcheck.experiments.datasets import Mixture
from dilaton.torchcheck.real_data.adapters import (
    from_ddpm,
    from_edm,
    from_noise,
    from_score,
    from_velocity,
)
from dilaton.torchcheck.real_data.decision_window import mixture_change
from dilaton.torchcheck.real_data.denoisers import default_times, denoise, generate
from dilaton.torchcheck.real_data.empirical import EmpiricalLaw
from dilaton.torchcheck.real_data.interpolants import (
    LINEAR_PATH,
    VARIANCE_PRESERVING_PATH,
    NumericInterpolant,
)
from dilaton.torchcheck.real_data.uturn import mse_curve, uturn

ROUNDING = 1e-10  # double precision, divided by alpha or beta of 0.1 and more
SIGMAS = 5.0
DISCRETE = 0.03  # 64 log-SNR steps of 0.14: relative bias of the redrawn mode
TURN = NumericInterpolant.of(TRIGONOMETRIC)
PATHS = {"linear": LINEAR_PATH, "vp": VARIANCE_PRESERVING_PATH, "trig": TURN}


pytestmark = pytest.mark.usefixtures("one_thread")


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
        ({"denoiser": zero_division}, ModelError, r"t = 0\.\d+ for 2 of 6 samples"),
        ({"denoiser": lambda x, t: x[:, :1]}, ShapeError, r"\(6, 2\).*\(6, 1\)"),
        ({"denoiser": lambda x, t: 0.0}, ShapeError, "returned a float"),
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
        (lambda: from_ddpm(PLAIN, [1.5, 0.2]), r"in \[0, 1\].*1\.5"),
        (lambda: from_ddpm(PLAIN, [0.99, 0.01], "x0"), "`predicts`.*'x0'"),
    ],
)
def test_adapters_name_what_is_wrong(call, text):
    with pytest.raises(ModelError, match=text):
        call()


# ------------------------------------------------- kinds of data, and wrong uses

BARS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SIGNS = np.random.default_rng(5).choice([-1, 1], size=(400, 1)) * np.ones((400, 6), int)


def coins(path):
    """Exact denoiser of +-(1, ..., 1) with equal weights, for arrays and tensors."""

    def denoiser(x, t):
        a, b = path.alpha(t), path.beta(t)
        library = torch if isinstance(x, torch.Tensor) else np
        field = library.tanh(b * x.sum(-1) / max(a, 1e-6) ** 2)
        return field[:, None] * library.ones_like(x)

    return denoiser


def coin_error(t, d=6):
    snr = d * t**2 / (1 - t) ** 2
    return 2 * mixture_change(snr, 0.5)


KINDS = {
    "int64": SIGNS,
    "int8": SIGNS.astype(np.int8),
    "float16": SIGNS.astype(np.float16),
    "tensor int64": torch.tensor(SIGNS),
    "tensor bfloat16": torch.tensor(SIGNS).to(torch.bfloat16),
    "tensor float64": torch.tensor(SIGNS).double(),
}


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_data_of_every_kind_have_the_same_error_and_turns(data):
    torch_kind = isinstance(data, torch.Tensor)
    rng = generator(4) if torch_kind else np.random.default_rng(4)
    denoiser = coins(LINEAR_PATH)
    curve = mse_curve(denoiser, data, [0.2, 0.5], generator=rng)
    for error, stderr, t in zip(curve.mse, curve.stderr, curve.t, strict=True):
        assert abs(error - coin_error(t)) < SIGMAS * stderr + 0.01  # half precision
    turned = uturn(denoiser, data, lambda x: x[:, 0] > 0, [0.2], generator=rng)
    judge = mixture_change(6 * 0.0625, 0.5)
    assert abs(turned.changed[0] - judge) < SIGMAS * turned.stderr[0] + DISCRETE
    with pytest.raises(AssertionError):
        assert abs(turned.changed[0] - judge / 2) < SIGMAS * turned.stderr[0]


def test_unsigned_images_and_half_scores_are_taken():
    images = torch.tensor(np.random.default_rng(0).integers(0, 255, (40, 4)))
    curve = uturn(
        EmpiricalLaw(images.to(torch.uint8)).denoiser,
        images.to(torch.uint8),
        lambda x: x[:, 0].to(torch.bfloat16),
        [0.9],
        generator=generator(),
        threshold=127.0,
    )
    assert curve.classes == [0, 1]


def test_a_batch_gives_what_all_at_once_gives():
    mix = Mixture(d=32, p=0.5, sigma=1.0)
    x, _ = mix.sample(90, generator(1))
    whole = mse_curve(mix.denoiser, x, [0.3], generator=generator(2), batch=90)
    parts = mse_curve(mix.denoiser, x, [0.3], generator=generator(2), batch=7)
    assert abs(whole.mse - parts.mse) < SIGMAS * np.hypot(whole.stderr, parts.stderr)
    sizes = []

    def noted(x, t):
        sizes.append(len(x))
        return mix.denoiser(x, t)

    uturn(noted, x, mix.feature, [0.3], generator=generator(), batch=40, look=False)
    assert set(sizes) == {40, 10}


def test_times_may_require_gradients():
    t = torch.tensor([0.2, 0.5], requires_grad=True)
    assert try_uturn(times=t).t == pytest.approx([0.2, 0.5])
    assert try_uturn(times=list(t)).t == pytest.approx([0.2, 0.5])


def split(x, k):
    """Clean data and noise of the exact coin denoiser at the DDPM's step k."""
    root = math.sqrt(BARS[k])
    clean = coins(VARIANCE_PRESERVING_PATH)(x, root)
    return clean, (x - root * clean) / math.sqrt(1 - BARS[k])


def predicted(x, k):
    return split(x, k)[1]


COINS = torch.tensor(SIGNS).float()


def turn_coins(denoiser, **more):
    more.setdefault("times", [0.5])
    return uturn(denoiser, COINS, lambda x: x.sum(1) > 0, generator=generator(), **more)


def test_a_ddpm_carries_its_path():
    times = [math.sqrt(BARS[600]), math.sqrt(BARS[300])]
    curve = turn_coins(from_ddpm(predicted, BARS), times=times, steps=64)
    for i, k in enumerate((600, 300)):
        judge = mixture_change(6 * BARS[k] / (1 - BARS[k]), 0.5)
        assert abs(curve.changed[i] - judge) < SIGMAS * curve.stderr[i] + DISCRETE
    with pytest.raises(ModelError, match=r"`path` must be the interpolant.*carries"):
        turn_coins(from_ddpm(predicted, BARS), path=LINEAR_PATH)
    same = NumericInterpolant.of(dilaton.VARIANCE_PRESERVING)
    assert turn_coins(from_ddpm(predicted, BARS), path=same).path is not LINEAR_PATH


def test_zero_terminal_snr_is_fine_for_v_and_data():
    bars = np.append(BARS[:-1], 0.0)

    def v(x, k):
        clean, noise = split(x, min(k, 998))
        return math.sqrt(bars[k]) * noise - math.sqrt(1 - bars[k]) * clean

    assert from_ddpm(v, bars, "v")(COINS, 0.0).isfinite().all()
    with pytest.raises(ModelError, match=r"ends at 0 \(zero terminal SNR\)"):
        from_ddpm(predicted, bars)


def sigmas(shift):
    s = np.linspace(1, 1 / 1000, 1000)
    return shift * s / (1 + (shift - 1) * s)


LISTS = {
    "alphas": (1 - np.linspace(1e-4, 0.02, 1000), "not their product"),
    "betas": (np.linspace(1e-4, 0.02, 1000), "the betas"),
    "every 20th, backwards": (BARS[::-20], "not falling: reversed"),
    "reversed": (BARS[::-1], "not falling: reversed"),
    "the first half": (BARS[:300], "not their product"),
    "the second half": (BARS[500:], "its start is missing"),
    "sigmas": (sigmas(1), "sigmas of a flow-matching scheduler"),
    "shifted sigmas": (sigmas(3), "sigmas of a flow-matching scheduler"),
    "sigmas with a last 0": (np.append(sigmas(3), 0), "sigmas of a flow-matching"),
    "one number": (BARS[:1], "two or more numbers"),
    "nan": (np.append(BARS, np.nan), r"in \[0, 1\]"),
}


@pytest.mark.parametrize(("bars", "text"), LISTS.values(), ids=LISTS)
def test_a_list_that_is_no_cumulative_product_is_named(bars, text):
    with pytest.raises(ModelError, match=text):
        from_ddpm(predicted, bars)


@pytest.mark.parametrize(
    "schedule",
    [
        np.linspace(1e-4, 0.02, 1000),
        np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
        np.linspace(1e-3, 0.2, 100),
    ],
)
def test_usual_schedules_are_believed(schedule):
    from_ddpm(predicted, np.cumprod(1 - schedule))
    k = np.arange(1001) / 1000
    cosine = np.cos((k + 0.008) / 1.008 * np.pi / 2) ** 2
    from_ddpm(predicted, np.clip(cosine[1:] / cosine[0], 1e-9, 1))


def velocity(x, t):
    clean = coins(LINEAR_PATH)(x, t)
    return (clean - x) / max(1 - t, 1e-6)


def noise(x, t):
    return (x - t * coins(LINEAR_PATH)(x, t)) / max(1 - t, 1e-6)


WRONG = {
    "a velocity": velocity,
    "a noise": noise,
    "a score": lambda x, t: -noise(x, t) / max(1 - t, 1e-6),
    "data at 0 forgotten": from_velocity(lambda x, t: -velocity(x, 1 - t)),
    "data at 0 said of data at 1": from_velocity(velocity, data_at=0),
    "a noise wrapped as a velocity": from_velocity(noise),
    "a velocity wrapped as a noise": from_noise(velocity),
    "a score wrapped as a noise": from_noise(lambda x, t: -noise(x, t) / (1.001 - t)),
    "data wrapped as a noise": from_noise(coins(LINEAR_PATH)),
    "half of the data": lambda x, t: coins(LINEAR_PATH)(x, t) / 2,
    "the input": lambda x, t: 0 * x,
    "a list of every 20th step": from_ddpm(predicted, BARS[::20]),
    "v said of noise": from_ddpm(predicted, BARS, "v"),
    "noise said of data": from_ddpm(lambda x, k: split(x, k)[0], BARS, "noise"),
}


@pytest.mark.parametrize("denoiser", WRONG.values(), ids=WRONG)
def test_what_is_no_denoiser_is_refused(denoiser):
    with pytest.raises(ModelError, match=r"must return E\[x1\|x_t = x\]"):
        turn_coins(denoiser)
    with pytest.raises(ModelError, match=r"must return E\[x1\|x_t = x\]"):
        mse_curve(denoiser, COINS, [0.5], generator=generator())


def test_right_denoisers_pass_the_look():
    for right in (
        coins(LINEAR_PATH),
        from_velocity(velocity),
        from_velocity(lambda x, t: -velocity(x, 1 - t), data_at=0),
        from_noise(noise),
        from_ddpm(predicted, BARS),
        from_edm(lambda y, s: coins(LINEAR_PATH)(y / (1 + s), 1 / (1 + s))),
    ):
        assert turn_coins(right).changed.shape == (1,)


def test_the_data_end_of_a_velocity_is_the_data():
    def dividing(x, t):
        return velocity(x, t) / (1 - t)  # 0/0 at the data end, were it asked

    with np.errstate(all="raise"):
        assert from_velocity(dividing)(COINS, 1.0) == pytest.approx(COINS)


def test_dropout_that_is_on_is_refused():
    net = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Dropout(0.1))
    for denoiser in (lambda x, t: net(x), from_noise(lambda x, t: net(x))):
        with pytest.raises(ModelError, match=r"`Dropout` is in train mode.*eval"):
            turn_coins(denoiser)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, "8"])
def test_steps_are_a_whole_number(steps):
    with pytest.raises(ModelError, match="`steps` must be a whole number"):
        try_uturn(steps=steps)


def test_more_wrong_uses_are_named():
    with pytest.raises(ModelError, match=r"`generator` must be of the kind.*int"):
        try_uturn(generator=42)
    with pytest.raises(ShapeError, match="at least two samples"):
        mse_curve(PLAIN, X[:1], [0.5], generator=np.random.default_rng(0))
    with pytest.raises(ModelError, match="`batch` must be a whole number"):
        try_uturn(batch=0)
