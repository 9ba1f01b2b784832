"""Wrong uses that a practitioner makes with a model of her own: refused, or right.

No row may give a number that is silently wrong. The data are images of two kinds with
noise; the model is the exact denoiser of their empirical law.
"""

import functools
import math
import types

import dilaton
import numpy as np
import pytest
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.torchcheck.real_data.adapters import (
    from_ddpm,
    from_edm,
    from_noise,
    from_score,
    from_velocity,
)
from dilaton.torchcheck.real_data.data_dilation import dilate
from dilaton.torchcheck.real_data.ddpm_steps import StepDistribution
from dilaton.torchcheck.real_data.decision_window import (
    DecisionInterval,
    agreement,
    find_mse_window,
    find_window,
    mixture_window,
)
from dilaton.torchcheck.real_data.denoisers import default_times, denoise, generate
from dilaton.torchcheck.real_data.empirical import EmpiricalLaw
from dilaton.torchcheck.real_data.interpolants import (
    LINEAR_PATH,
    VARIANCE_PRESERVING_PATH,
)
from dilaton.torchcheck.real_data.training_times import TrainingTimes
from dilaton.torchcheck.real_data.uturn import Curve, MseCurve, mse_curve, uturn

rng = np.random.default_rng(3)
KINDS = np.sign(rng.standard_normal((2, 1, 4, 4)))
WHICH = rng.integers(0, 2, 120)
NOISY = 0.8 * KINDS[WHICH] + 0.3 * rng.standard_normal((120, 1, 4, 4))
IMAGES = torch.tensor(NOISY.clip(-1, 1)).float()
LABELS = torch.tensor(WHICH)
LAW, SLOW = EmpiricalLaw(IMAGES), EmpiricalLaw(IMAGES, VARIANCE_PRESERVING_PATH)
BARS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
TIMES = (0.1, 0.3, 0.6)
EXACT = LAW.denoiser


def kind(x):
    first, second = (torch.tensor(k).float().flatten() for k in KINDS)
    return x.flatten(1) @ (second - first) > 0


def noise(x, t):
    return (x - t * EXACT(x, t)) / max(1 - t, 1e-6)


def velocity(x, t):
    return (EXACT(x, t) - x) / max(1 - t, 1e-6)


def predicted(x, k):
    root = math.sqrt(BARS[k])
    return (x - root * SLOW.denoiser(x, root)) / math.sqrt(1 - BARS[k])


def v_predicted(x, k):
    root = math.sqrt(BARS[k])
    clean = SLOW.denoiser(x, root)
    return root * predicted(x, k) - math.sqrt(1 - BARS[k]) * clean


def preconditioned(y, s):
    """EDM's D(y, sigma) of these data."""
    return EXACT(y / (1 + s), 1 / (1 + s))


def inner(y, s):
    """The raw network F of EDM, whose preconditioning was forgotten."""
    skip, out = 0.25 / (s**2 + 0.25), s * 0.5 / math.sqrt(s**2 + 0.25)
    return (preconditioned(y, s) - skip * y) / out


def generator():
    return torch.Generator().manual_seed(0)


def turn(denoiser=EXACT, data=IMAGES, feature=kind, times=TIMES, **more):
    more.setdefault("generator", generator())
    return uturn(denoiser, data, feature, times, **more).changed


def error(denoiser=EXACT, data=IMAGES, times=TIMES, **more):
    return mse_curve(denoiser, data, times, generator=generator(), **more)


def turned_class(labels=LABELS, times=TIMES, law=LAW, **more):
    return law.class_curve(labels, times, generator=generator(), **more).changed


class Network(torch.nn.Module):
    """A noise network with dropout, in train mode as it is made."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.05)

    def forward(self, x, t):
        return self.drop(noise(x, t))


class Wrapper:
    """A wrapper of averaged weights that is no torch module itself."""

    def __init__(self):
        self.shadow = Network()

    def __call__(self, x, t):
        return self.shadow(x, t)

    def predict(self, x, t):
        return self.shadow(x, t)


class Normed(torch.nn.Module):
    """Normalises over the batch by hand, so that no layer gives it away."""

    def forward(self, x, t):
        return EXACT(x, t) * (1 + 0.3 * x.mean().tanh() + 0.1 * (len(x) > 100))


def guided(weight):
    """Classifier-free guidance towards the first kind."""
    own = EmpiricalLaw(IMAGES[LABELS == 0]).denoiser
    return lambda x, t: EXACT(x, t) + weight * (own(x, t) - EXACT(x, t))


def sampled(out):
    return types.SimpleNamespace(sample=out)


def writing(x, t):
    out = EXACT(x, t)
    x.mul_(0.5)
    return out


def writing_feature(x):
    out = kind(x)
    x.sub_(1)
    return out


SCORER = torch.nn.Sequential(
    torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(16, 2)
)
BRIGHT = (IMAGES + 1) * 127.5
LAST = "channels last"
NOT_A_DENOISER = r"must return E\[x1\|x_t = x\]"
FALLING = MseCurve(np.array(TIMES), np.outer([0.5, 0.3, 0.1], np.ones(4)), 16)
FOUND = DecisionInterval(0.2, 0.5, (0.1, 0.3), (0.4, 0.6), "")
ON_LINEAR = DecisionInterval(0.2, 0.5, (0.1, 0.3), (0.4, 0.6), "", LINEAR_PATH)
STEPS = StepDistribution.of(TrainingTimes.uniform(), BARS)
SHARES = np.linspace(0.5, 0, 9)
CURVE = Curve(
    np.linspace(0, 1, 9), np.arange(4000) < 4000 * SHARES[:, None], np.ones(4000)
)
MIDDLE = Curve(CURVE.t[2:-2], CURVE.flips[2:-2], CURVE.labels)

DATA = {
    "in [0, 255]": (lambda: turn(data=BRIGHT), "run from 0 to 255"),
    "in [0, 1]": (lambda: turn(data=(IMAGES + 1) / 2), NOT_A_DENOISER),
    "standardised": (lambda: turn(data=IMAGES / IMAGES.std()), NOT_A_DENOISER),
    "scaled by 1.3": (lambda: turn(data=1.3 * IMAGES), NOT_A_DENOISER),
    "latents not scaled": (lambda: turn(data=IMAGES / 0.18215), NOT_A_DENOISER),
    "latents scaled twice": (lambda: turn(data=IMAGES * 0.18215), NOT_A_DENOISER),
    LAST: (lambda: turn(data=IMAGES.permute(0, 2, 3, 1)), r"`x` must.*\(4, 4, 1\)"),
    "a batch of one batch": (lambda: turn(data=IMAGES[None]), r"\(120, 1, 4, 4\)"),
    "NaN": (lambda: turn(data=IMAGES * math.nan), "`data` must be finite"),
    "all zero": (lambda: turn(data=0 * IMAGES), "all 120 are the same"),
    "complex": (lambda: turn(data=IMAGES + 0j), "must be real numbers"),
    "a list": (lambda: turn(data=list(IMAGES)), "`data` must be an array or tensor"),
    "one sample": (lambda: error(data=IMAGES[:1]), "at least two samples"),
}
MODELS = {
    "returns a tuple": (lambda: turn(lambda x, t: (EXACT(x, t),)), r"\(x, t\)\[0\]"),
    "a noise in a tuple": (
        lambda: turn(from_noise(lambda x, t: (noise(x, t), None))),
        "first entry",
    ),
    "returns an object": (
        lambda: turn(from_ddpm(lambda x, k: sampled(predicted(x, k)), BARS)),
        r"Return its sample: .*\.sample",
    ),
    "learns a variance": (
        lambda: turn(from_noise(lambda x, t: torch.cat([noise(x, t)] * 2, 1))),
        "half of the channels that is a variance",
    ),
    "one number a sample": (
        lambda: turn(from_noise(lambda x, t: noise(x, t).mean((1, 2, 3)))),
        r"returned a Tensor of shape \(120,\)",
    ),
    "answers in NumPy": (
        lambda: turn(lambda x, t: EXACT(x, t).numpy()),
        "returned a ndarray",
    ),
    "half precision": (
        lambda: turn(lambda x, t: torch.nn.Linear(4, 4).half()(x)),
        r"raised RuntimeError \(",
    ),
    "wants a tensor of times": (
        lambda: turn(lambda x, t: EXACT(x, float(t[0]))),
        "called with a batch and one number.*TypeError",
    ),
    "a device that is not there": (
        lambda: turn(lambda x, t: EXACT(x.to("cuda:7"), t)),
        "The denoiser is called with a batch",
    ),
    "steps asked by time": (
        lambda: turn(from_noise(lambda x, t: predicted(x, int(t)), SLOW.path)),
        NOT_A_DENOISER,
    ),
    "steps that run the other way": (
        lambda: turn(from_noise(lambda x, t: predicted(x, int(999 * t)), SLOW.path)),
        NOT_A_DENOISER,
    ),
    "noise level taken for time": (
        lambda: turn(from_edm(lambda y, s: EXACT(y / (1 + s), min(s, 1.0)))),
        NOT_A_DENOISER,
    ),
    "a denoiser taken for EDM": (lambda: turn(from_edm(EXACT)), NOT_A_DENOISER),
    "EDM's raw network": (lambda: turn(from_edm(inner)), NOT_A_DENOISER),
    "logits": (
        lambda: turn(lambda x, t: torch.atanh(EXACT(x, t).clamp(-0.99, 0.99))),
        NOT_A_DENOISER,
    ),
    "answers in [0, 1]": (lambda: turn(lambda x, t: EXACT(x, t) / 2 + 0.5), "must"),
    "guided": (lambda: turn(guided(1.5)), NOT_A_DENOISER),
    "guided much": (lambda: turn(guided(7.5)), NOT_A_DENOISER),
    "of one class": (lambda: turn(guided(1.0)), NOT_A_DENOISER),
    "averaged, in train mode": (
        lambda: turn(from_noise(Wrapper())),
        "`Dropout` is in train mode",
    ),
    "a method of a wrapper": (
        lambda: turn(from_noise(Wrapper().predict)),
        "`Dropout` is in train mode",
    ),
    "partial": (
        lambda: turn(from_noise(functools.partial(lambda n, x, t: n(x, t), Network()))),
        "`Dropout` is in train mode",
    ),
    "depends on the batch": (lambda: turn(Normed()), "answer each sample alike"),
    "depends on chance": (
        lambda: turn(lambda x, t: EXACT(x, t) + 0.1 * torch.randn(x.shape)),
        "answer each sample alike",
    ),
    "flow with its sign turned": (
        lambda: turn(from_velocity(lambda x, t: -velocity(x, t))),
        NOT_A_DENOISER,
    ),
    "times of a flow not in thousands": (
        lambda: turn(from_velocity(lambda x, s: -velocity(x, 1 - s / 1e3), data_at=0)),
        NOT_A_DENOISER,
    ),
    "v said to be noise": (lambda: turn(from_ddpm(v_predicted, BARS)), NOT_A_DENOISER),
    "noise said to be v": (
        lambda: turn(from_ddpm(predicted, BARS, "v")),
        NOT_A_DENOISER,
    ),
    "noise said to be a score": (
        lambda: turn(from_score(lambda x, t: -noise(x, t))),
        NOT_A_DENOISER,
    ),
    "roots of the products": (
        lambda: turn(from_ddpm(predicted, np.sqrt(BARS))),
        NOT_A_DENOISER,
    ),
    "squares of the products": (
        lambda: turn(from_ddpm(predicted, BARS**2)),
        NOT_A_DENOISER,
    ),
    "a thousand steps of fifty": (
        lambda: turn(from_ddpm(lambda x, k: predicted(x, min(999, 20 * k)), BARS)),
        NOT_A_DENOISER,
    ),
    "a whole scheduler": (
        lambda: from_ddpm(predicted, types.SimpleNamespace(alphas_cumprod=BARS)),
        "Pass its `alphas_cumprod`",
    ),
    "a path by name": (lambda: turn(path="linear"), "`path` must be.*'linear'"),
    "a path by name, wrapped": (
        lambda: from_noise(noise, "vp"),
        "`path` must be.*'vp'",
    ),
}
FEATURES = {
    "labels": (lambda: turn(feature=LABELS), "`feature` must be a function"),
    "scores of each class": (
        lambda: turn(feature=lambda x: x.flatten(1)[:, :2]),
        "Take an argmax",
    ),
    "a classifier in train mode": (
        lambda: turn(feature=lambda x: SCORER(x).argmax(1)),
        "The feature must answer alike.*`Dropout`",
    ),
    "by chance": (
        lambda: turn(feature=lambda x: torch.rand(len(x)) > 0.5),
        "`feature` must label each sample alike",
    ),
    "cut at the median of the batch": (
        lambda: turn(
            data=IMAGES[LABELS.argsort()],
            feature=lambda x: x[:, 0, 0, 0] > x[:, 0, 0, 0].mean(),
        ),
        "whatever else is in the batch",
    ),
    "a threshold that is none": (
        lambda: turn(feature=lambda x: x.mean((1, 2, 3)), threshold=math.nan),
        "`threshold` must be finite",
    ),
    "a class by another name": (lambda: turn(classes=("1",)), "Class '1' has no"),
}
LAWS = {
    "labels in one column each": (
        lambda: turned_class(torch.nn.functional.one_hot(LABELS)),
        r"`labels` must hold one.*\(120, 2\).*argmax",
    ),
    "labels too few": (lambda: turned_class(LABELS[:80]), r"of 120 samples.*\(80,\)"),
    "labels too many": (lambda: turned_class(LABELS.repeat(2)), r"\(240,\)"),
    "scores for labels": (lambda: turned_class(LABELS / 2), "must hold classes.*0.5"),
    "turned without labels": (
        lambda: turned_class(turned=IMAGES[:9]),
        "`turned` and `turned_labels` go together",
    ),
    "turned with all labels": (
        lambda: turned_class(turned=IMAGES[:9], turned_labels=LABELS),
        "`turned_labels` must hold one class for each of 9",
    ),
    "a class that the law has not": (
        lambda: turned_class(5 * LABELS + 3, turned=IMAGES, turned_labels=LABELS),
        r"0 is not among \[3, 8\]|1 is not among \[3, 8\]",
    ),
    "other pixels": (
        lambda: turned_class(turned=IMAGES[..., :2], turned_labels=LABELS),
        r"`x` must hold samples of shape \(1, 4, 4\)",
    ),
    "an array": (lambda: EmpiricalLaw(NOISY), r"`samples` must be a tensor.*ndarray"),
    "NaN": (lambda: EmpiricalLaw(IMAGES * math.nan), "`samples` must be finite"),
    "labels for a path": (lambda: EmpiricalLaw(IMAGES, LABELS), "`path` must be"),
}
WINDOWS = {
    "times in steps": (lambda: turn(times=[0, 500, 999]), r"in \[0, 1\].*500"),
    "times that fall": (lambda: turn(times=(0.6, 0.3)), "must increase"),
    "steps that fall": (lambda: turn(steps=np.linspace(1, 0, 9)), "must increase"),
    "a step for a time": (
        lambda: denoise(EXACT, IMAGES, 500, generator=generator()),
        r"`t` must lie in \[0, 1\].*500",
    ),
    "no batch": (
        lambda: generate(EXACT, 16, generator=generator()),
        "`shape` must hold the number of samples",
    ),
    "times within the window": (lambda: find_window(MIDDLE), "Start earlier, or put"),
    "times that stop early": (
        lambda: find_window(Curve(CURVE.t[:-2], CURVE.flips[:-2], CURVE.labels)),
        "End later, or put",
    ),
    "percent": (lambda: find_window(CURVE, ends=(90, 10)), "`ends` must decrease"),
    "a level in percent": (lambda: find_window(CURVE, level=95), "`level`.*95"),
    "a level in percent, of the error": (
        lambda: find_mse_window(FALLING, level=95),
        "`level`.*95",
    ),
    "no draws": (lambda: find_window(CURVE, draws=0), "`draws` must be a whole number"),
    "two numbers": (
        lambda: agreement((0.1, 0.2), FOUND),
        "`agreement` takes",
    ),
    "a window of another path": (
        lambda: agreement(ON_LINEAR, FOUND, VARIANCE_PRESERVING_PATH),
        "Leave it out: a window carries its own",
    ),
    "a weight in percent": (lambda: mixture_window(80), r"`p` must lie in \(0, 1\)"),
}
SCHEDULES = {
    "a window in percent": (lambda: TrainingTimes.window(20, 60, 0.5), r"\[20, 60\]"),
    "a mass in percent": (lambda: TrainingTimes.window(0.2, 0.6, 50), "`mass`.*50"),
    "a mass from right to left": (
        lambda: TrainingTimes.uniform().mass(0.6, 0.2),
        "`lo` must not exceed `hi`",
    ),
    "errors below zero": (
        lambda: TrainingTimes.entropic(TIMES, [-1, -2, -3]),
        "`mse` must be 0 or more",
    ),
    "a log SNR that is none": (
        lambda: TrainingTimes.log_normal_snr(math.nan, 1.0),
        "are those of a log SNR",
    ),
    "a step for a log SNR": (
        lambda: TrainingTimes.log_normal_snr(500.0, 1.0),
        "within 60 of 0",
    ),
    "weights of times as of steps": (
        lambda: STEPS.weights(torch.rand(3)),
        r"`k` must hold steps.*TrainingTimes\.weights",
    ),
    "a step below the first": (
        lambda: STEPS.weights([-1]),
        "0 to 999, but has -1",
    ),
    "steps from 1 to K": (lambda: STEPS.weights([1000]), "but has 1000"),
    "a seed": (lambda: STEPS.sample(3, 42), "`generator` must be.*int"),
    "one loss too few": (lambda: STEPS.expectation(np.ones(999)), "`values` must hold"),
    "steps of a window": (
        lambda: StepDistribution.of(FOUND, BARS),
        "`times` must be a TrainingTimes",
    ),
    "steps of another path": (
        lambda: StepDistribution.of(TrainingTimes.window(ON_LINEAR, mass=0.5), BARS),
        "`times` must be those of the variance-preserving path",
    ),
    "windows without names": (
        lambda: dilate(FOUND, FALLING, mass=0.5),
        "`features` must name each window",
    ),
    "a curve for an error": (
        lambda: dilate({"kind": FOUND}, CURVE, mass=0.5),
        "`dilate` takes a MseCurve",
    ),
    "a window of another path than the error": (
        lambda: dilate(
            {"kind": ON_LINEAR},
            MseCurve(FALLING.t, FALLING.errors, 16, VARIANCE_PRESERVING_PATH),
            mass=0.5,
        ),
        "Every window must be of one interpolant",
    ),
}
TABLE = {
    f"{part}: {name}": row
    for part, rows in {
        "data": DATA,
        "model": MODELS,
        "feature": FEATURES,
        "law": LAWS,
        "window": WINDOWS,
        "times": SCHEDULES,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize(("call", "text"), TABLE.values(), ids=TABLE)
def test_a_wrong_use_is_named(call, text):
    with pytest.raises((ModelError, ShapeError), match=f"(?s){text}") as caught:
        call()
    assert str(caught.value).endswith((".", "`"))


def scaled_times():
    """The times at which data of 127.5 times the size have the same SNR."""
    t = np.array(TIMES) / (1 - np.array(TIMES)) / 127.5
    return t / (1 + t)


RIGHT = {
    "a model that writes into its input": (lambda: turn(writing), turn),
    "a feature that writes into its input": (
        lambda: turn(feature=writing_feature),
        turn,
    ),
    "errors of a model that writes": (
        lambda: error(writing).mse,
        lambda: error().mse,
    ),
    "data in [-127.5, 127.5], as the model": (
        lambda: turn(
            EmpiricalLaw(127.5 * IMAGES).denoiser, 127.5 * IMAGES, times=scaled_times()
        ),
        turn,
    ),
    "default times of such data": (
        lambda: 127.5 * LINEAR_PATH.ratio(default_times(16, level=127.5**2)[0]),
        lambda: LINEAR_PATH.ratio(default_times(16)[0]),
    ),
    "a path in symbols": (lambda: turn(path=dilaton.LINEAR), turn),
    "an adapter's path in symbols": (
        lambda: error(from_noise(noise, dilaton.LINEAR)).mse,
        lambda: error().mse,
    ),
    "a constant pixel": (
        lambda: np.isfinite(turn(data=IMAGES * (torch.arange(4) > 0), look=False)),
        lambda: True,
    ),
    "data that ask for gradients": (
        lambda: turn(data=IMAGES.clone().requires_grad_()),
        turn,
    ),
    "labels as floats": (lambda: turned_class(LABELS.float()), turned_class),
    "labels as booleans": (lambda: turned_class(LABELS.bool()), turned_class),
    "labels -1 and 1": (lambda: turned_class(2 * LABELS - 1), turned_class),
    "labels 3 and 8": (lambda: turned_class(5 * LABELS + 3), turned_class),
    "labels as words": (
        lambda: turned_class(np.array(["cat", "dog"])[WHICH]),
        turned_class,
    ),
    "a class at the data end": (lambda: turned_class(times=[1.0]), lambda: 0.0),
    "agreement on any path": (
        lambda: (
            agreement(
                DecisionInterval(
                    0.6, 0.8, (0, 1), (0, 1), "", VARIANCE_PRESERVING_PATH
                ),
                DecisionInterval(3 / 7, 4 / 7, (0, 1), (0, 1), "", LINEAR_PATH),
            ).overlap
        ),
        lambda: 1.0,
    ),
}


@pytest.mark.parametrize(("call", "judge"), RIGHT.values(), ids=RIGHT)
def test_what_may_be_wrong_is_right(call, judge):
    assert call() == pytest.approx(judge(), abs=0.02)  # 2 of 120 samples on their way


def test_right_models_are_believed():
    for right in (
        EXACT,
        from_noise(noise),
        from_velocity(velocity),
        from_edm(preconditioned),
        from_ddpm(predicted, BARS),
        from_ddpm(v_predicted, BARS, "v"),
        from_score(lambda x, t: -noise(x, t) / max(1 - t, 1e-6)),
        from_noise(Wrapper().shadow.eval()),
    ):
        assert np.isfinite(turn(right, times=[0.3])).all()
