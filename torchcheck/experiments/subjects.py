"""Subjects of the experiment: the mixture with its networks, images with a U-Net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import ModelError
from ..device import check_device, need_torch
from ..real_data.decision_window import (
    agreement,
    find_mse_window,
    find_window,
    mixture_window,
)
from ..real_data.denoisers import default_times, denoise, generate
from ..real_data.training_times import TrainingTimes
from ..real_data.uturn import Curve, MseCurve, mse_curve, uturn
from .datasets import Images, Mixture, check_images, load_digits, load_mnist
from .settings import ExperimentSettings

CELLS = 120
"""Steps in which a shared network generates."""
STRIDE = 20
"""Training steps after which a progress bar moves."""

Moved = Callable[[int], object]

LEARNED_WITHIN = 0.02
"""Distance from p at which a weight counts as learned, in what theory predicts."""


def make_subject(
    plan: ExperimentSettings, moved: Moved
) -> MixtureSubject | ImageSubject:
    """Return what the plan studies; `MissingExtra` without torch.

    `moved` is told of training steps as they are done.
    """
    need_torch()
    kind = MixtureSubject if plan.data == "mixture" else ImageSubject
    return kind(plan, moved)


def _generator(seed: int, device: str) -> Any:
    import torch

    check_device(device)
    return torch.Generator(device).manual_seed(seed)


def _found(curve: Curve, mse: MseCurve) -> dict[str, Any]:
    window = find_window(curve)
    try:
        other = find_mse_window(mse)
    except ModelError as error:
        second = {"mse_window": None, "agreement": {"statement": str(error)}}
    else:
        match = agreement(window, other, curve.path).to_dict()
        second = {"mse_window": other.to_dict(), "agreement": match}
    return second | {
        "window": [window.lo, window.hi],
        "window_interval": [list(window.lo_interval), list(window.hi_interval)],
        "rule": window.rule,
        "curve": curve.to_dict(),
        "mse": mse.to_dict(),
    }


def predicted_factor(plan: ExperimentSettings, high: float) -> float | None:
    """Return how many times sooner window times teach the weight, in theory.

    It is the ratio of the learning times (R17) of one tied network under gradient flow
    on the population, at uniform times and at those that window training draws, to 0.02
    of p; `None` where p is that close to 1/2.
    """
    from ...numerics.times.table import learning_times
    from ...theory.models.spec import default_spec

    if abs(plan.p - 0.5) <= LEARNED_WITHIN:
        return None
    spec = default_spec().replace(n="inf", p=plan.p, sigma=plan.sigma)
    window = f"window:0:{high:.12f}:{plan.mass:.12f}"
    rows = learning_times(
        spec, [plan.d], ["uniform", window], ["data"], within=LEARNED_WITHIN
    )
    return float(rows[0]["time"] / rows[1]["time"])


@dataclass(frozen=True, eq=False)
class MixtureSubject:
    """The two-mode mixture with a per-time or a shared network."""

    plan: ExperimentSettings
    moved: Moved

    @cached_property
    def mixture(self) -> Mixture:
        return Mixture(self.plan.d, self.plan.p, self.plan.sigma)

    def prepare(self) -> None:
        """Make the mixture; look for the device."""
        _generator(0, self.plan.device)
        self.mixture.snr(0.5)

    def find(self) -> dict[str, Any]:
        """Train a pilot at times even in log SNR; U-turn with it."""
        plan, mix = self.plan, self.mixture
        g = _generator(2**31, plan.device)
        x1, _ = mix.sample(plan.samples, g)
        times: Any = default_times(plan.d, count=plan.times)
        if plan.network == "shared":
            times = TrainingTimes.effective("diffusion", *self._edges(CELLS)[[1, -2]])
        denoiser = self._trained(x1, times, plan.pilot_steps, g).denoiser
        self.moved(plan.pilot_steps)
        turned = x1[: plan.turned]
        times = default_times(plan.d, count=plan.turns)
        # a pilot is a denoiser, however short its training
        ours: dict[str, Any] = {"generator": g, "look": False}
        steps = plan.turn_steps
        curve = uturn(denoiser, turned, mix.feature, times, steps=steps, **ours)
        found = _found(curve, mse_curve(denoiser, turned, **ours))
        theory = mixture_window(plan.p)
        if plan.network == "shared":
            found["predicted_factor"] = predicted_factor(plan, found["window"][1])
        return found | {
            "window_snr": [mix.snr(t) for t in found["window"]],
            "theory_snr": theory.tolist(),
            "theory_window": [mix.time_of_snr(snr) for snr in theory],
        }

    def _trained(self, x1: Any, times: Any, steps: int, g: Any) -> Any:
        """A network for all times, drawn from `times`, or one for each of `times`."""
        from .mixture_networks import train_over_times, train_per_time

        shared = self.plan.network == "shared"
        train = train_over_times if shared else train_per_time
        return train(x1, times, steps, self.plan.batch, g)

    def _edges(self, count: int) -> np.ndarray:
        """Times even in log SNR, with 0 and 1: how a shared network generates."""
        return np.concatenate([[0], default_times(self.plan.d, count=count), [1]])

    @property
    def steps(self) -> int:
        """Each budget is trained from scratch."""
        return sum(self.plan.budgets)

    def assess(self, times: TrainingTimes, seed: int) -> list[dict[str, Any]]:
        """The training set and the noise are the seed's, the same for all times."""
        plan = self.plan
        x1, signs = self.mixture.sample(plan.samples, _generator(seed, plan.device))
        real = float((signs > 0).float().mean())
        rows = []
        for budget in plan.budgets:
            share = self._share(x1, times, budget, seed)
            self.moved(budget)
            row = {"budget": budget, "share": share, "real_share": real}
            rows.append(row | {"share_error": abs(share - real)})
        return rows

    def _share(self, x1: Any, times: TrainingTimes, budget: int, seed: int) -> float:
        from .mixture_networks import final_overlaps

        plan, g = self.plan, _generator(seed + 10**6, self.plan.device)
        edges = times.quantile(np.arange(plan.times + 1) / plan.times)
        edges[[0, -1]], asked = (0, 1), edges[:-1]
        if plan.network == "shared":
            edges, asked = self._edges(CELLS), times
        at = self._trained(x1, asked, budget, g).at
        overlaps = final_overlaps(at, edges, self.mixture.mu.to(x1), plan.generated, g)
        return float((overlaps > 0).double().mean())


@dataclass(frozen=True, eq=False)
class ImageSubject:
    """Two classes of images with a small U-Net; the feature is the class."""

    plan: ExperimentSettings
    moved: Moved

    @cached_property
    def images(self) -> Images:
        plan = self.plan
        chosen = (plan.classes, plan.shares, plan.samples or None, plan.seeds[0])
        if plan.data == "mnist":
            return load_mnist(plan.folder, *chosen)
        return load_digits(*chosen)

    @cached_property
    def classifier(self) -> Any:
        from .unet import train_classifier

        return train_classifier(self.images, 0, self.plan.device)

    @cached_property
    def train(self) -> Any:
        import torch

        return torch.tensor(self.images.train, device=self.plan.device)

    def prepare(self) -> None:
        """Load the images, in sides that the network can halve twice."""
        _generator(0, self.plan.device)
        check_images(self.images.train)

    def find(self) -> dict[str, Any]:
        """Train a pilot at times even in log SNR; U-turn the training images."""
        plan, g = self.plan, _generator(2**31, self.plan.device)
        turned, label = self.train[: plan.turned], self.classifier.label
        times = default_times(turned[0].numel(), count=plan.turns)
        even = TrainingTimes.effective("diffusion", times[0], times[-1])
        ((_, net),) = self._trained(even, (plan.pilot_steps,), 2**31)
        turns = {"generator": g, "steps": plan.turn_steps}
        ours: dict[str, Any] = {"classes": (0, 1), "look": False}
        curve = uturn(net.denoiser, turned, label, times, **ours, **turns)
        mse = mse_curve(net.denoiser, turned, times, generator=g, look=False)
        return _found(curve, mse) | {
            "classifier_accuracy": list(self.classifier.accuracy),
            "real_share": self.images.share,
            "posterior": self._posterior_window(times),
            "pictures": self._turned_pictures(net.denoiser, times, turns),
        }

    def _posterior_window(self, times: np.ndarray) -> dict[str, Any]:
        """The window of the exact class posterior of the images, without a network."""
        from ..real_data.empirical import EmpiricalLaw

        law, g = EmpiricalLaw(self.train), _generator(2**31, self.plan.device)
        return find_window(
            law.class_curve(self.images.labels, times, generator=g)
        ).to_dict()

    def _turned_pictures(self, denoiser: Any, times: Any, turns: Any) -> dict[str, Any]:
        """One image of each class: noised, and back, at seven times."""
        import torch

        labels = torch.tensor(self.images.labels, device=self.train.device)
        starts = torch.stack([self.train[labels == k][0] for k in (0, 1)])
        chosen = [
            float(times[i]) for i in np.linspace(0, len(times) - 1, 7).astype(int)
        ]
        noised, back = [], []
        for t in chosen:
            noise = torch.randn(
                starts.shape, generator=turns["generator"], device=starts.device
            )
            noised.append((1 - t) * noise + t * starts)
            back.append(denoise(denoiser, noised[-1], t, **turns))
        return {
            "t": chosen,
            "start": _rounded(starts),
            "noised": [_rounded(x) for x in noised],
            "back": [_rounded(x) for x in back],
        }

    @property
    def steps(self) -> int:
        """One training passes every budget."""
        return max(self.plan.budgets)

    def _trained(
        self, times: TrainingTimes, budgets: Sequence[int], seed: int
    ) -> Iterator[tuple[int, Any]]:
        """Train, telling of every few steps; yield the network at each budget."""
        from .unet import train_images

        stops, done = {*range(STRIDE, max(budgets), STRIDE), *budgets}, 0
        for step, net in train_images(self.train, times, stops, self.plan.batch, seed):
            self.moved(step - done)
            done = step
            if step in budgets:
                yield step, net

    def assess(self, times: TrainingTimes, seed: int) -> list[dict[str, Any]]:
        """One training, judged at each budget by the classifier."""
        from .unet import classify_generated

        plan, rows = self.plan, []
        for budget, net in self._trained(times, plan.budgets, seed):
            g = _generator(seed + 10**6, plan.device)
            row = classify_generated(
                net, self.images, self.classifier, plan.generated, g
            )
            rows.append({"budget": budget, "real_share": self.images.share} | row)
            if budget == plan.verdict_budget and seed == plan.seeds[0]:
                shape = (16, *self.images.train.shape[1:])
                x = generate(net.denoiser, shape, generator=g, steps=20)
                rows[-1]["samples"] = _rounded(x)
        return rows


def _rounded(x: Any) -> list[Any]:
    return np.round(x.cpu().double().numpy(), 3).tolist()
