"""Images: a small U-Net shared over time, a classifier trained apart, and a judge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..real_data.denoisers import generate
from ..real_data.training_times import TrainingTimes
from .datasets import Images, check_images

RATE = 2e-3
"""Adam's step for the U-Net."""
AVERAGE = 0.98
"""Decay a step of the averaged weights that generate."""
LARGE = 16
"""Sides from which images are folded."""
_FEATURES = 16


class Block(nn.Module):
    """Two convolutions, shifted by the time, around a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(32, channels)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        h = self.one(F.silu(self.norm(x))) + self.time(seen)[:, :, None, None]
        return x + self.two(F.silu(h))


class UNet(nn.Module):
    r"""A small U-Net for images whose sides 4 divides; shared over all times.

    It returns $E[x_1|x_t]$ as $t\,x + (1-t)F$, so that $F - x$ is the velocity. With
    `fold` = 2 each 2 x 2 pixels become channels before anything else, and the inner
    levels work on a quarter of the pixels.
    """

    def __init__(self, channels: int = 16, fold: int = 1) -> None:
        super().__init__()
        c, self.fold = channels, fold
        self.seen = nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 32))
        self.enter = nn.Conv2d(fold**2, c, 3, padding=1)
        self.top, self.back = Block(c), Block(c)
        self.down = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.low = Block(2 * c)
        # folded images are halved once, others twice
        self.deeper = nn.Conv2d(2 * c, 2 * c, 3, stride=2 // fold, padding=1)
        self.bottom = Block(2 * c)
        self.join = nn.Conv2d(4 * c, 2 * c, 1)
        self.merge = nn.Conv2d(3 * c, c, 1)
        self.leave = nn.Conv2d(c, fold**2, 3, padding=1)

    @classmethod
    def for_images(cls, side: int) -> UNet:
        """The network for square images of this side: small ones are not folded."""
        return cls() if side < LARGE else cls(24, fold=2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Images (batch, height, width) and times (batch,) to F, like the images."""
        logit = torch.log((t + 1e-3) / (1 + 1e-3 - t))
        known = torch.stack([t, logit / 4, torch.sin(logit), torch.cos(logit)], 1)
        seen = F.silu(self.seen(known))
        top = self.top(self.enter(F.pixel_unshuffle(x[:, None], self.fold)), seen)
        low = self.low(self.down(top), seen)
        bottom = self.bottom(self.deeper(low), seen)
        bottom = F.interpolate(bottom, size=low.shape[2:])
        low = F.interpolate(self.join(torch.cat([bottom, low], 1)), size=top.shape[2:])
        out = self.back(self.merge(torch.cat([low, top], 1)), seen)
        return F.pixel_shuffle(self.leave(F.silu(out)), self.fold)[:, 0]

    def denoiser(self, x: Tensor, t: float) -> Tensor:
        return t * x + (1 - t) * self(x, x.new_full((len(x),), t))


def train_images(
    images: Tensor, times: TrainingTimes, budgets: Iterable[int], batch: int, seed: int
) -> Iterator[tuple[int, UNet]]:
    """Train a U-Net from scratch; yield (steps so far, averaged network) at budgets.

    The loss is flow matching's, on the velocity, at times drawn from `times` and with
    no weights. The network that is yielded is in use until the next is asked for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet.for_images(images.shape[-1]).to(images.device)
        average = UNet.for_images(images.shape[-1]).to(images.device)
    average.load_state_dict(net.state_dict())
    generator = torch.Generator(images.device).manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    done = 0
    for budget in sorted(budgets):
        for _ in range(budget - done):
            optimiser.zero_grad()
            _velocity_loss(net, images, times, batch, generator).backward()
            optimiser.step()
            _pull(average, net)
        done = budget
        yield budget, average.requires_grad_(False)


def _velocity_loss(
    net: UNet, images: Tensor, times: TrainingTimes, batch: int, generator: Any
) -> Tensor:
    rows = torch.randint(
        len(images), (batch,), generator=generator, device=images.device
    )
    x1 = images[rows]
    t = times.sample(batch, generator, stratified=True)
    x0 = torch.randn(x1.shape, generator=generator, device=images.device)
    x = (1 - t)[:, None, None] * x0 + t[:, None, None] * x1
    return (x1 - x0 + x - net(x, t)).square().mean()


def _pull(average: UNet, net: UNet) -> None:
    with torch.no_grad():
        for a, b in zip(average.parameters(), net.parameters(), strict=True):
            a.lerp_(b, 1 - AVERAGE)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Tells the two classes apart; trained on real images of both, half of them.

    `net` takes images to two logits; its layers but the last give `features`.
    `accuracy` is that by class on the real images that it was not trained on.
    """

    net: nn.Sequential
    accuracy: tuple[float, float]

    def label(self, x: Tensor) -> Tensor:
        """0 or 1 for each image: the feature of a U-turn."""
        return self.net(x).argmax(1)

    def confidence(self, x: Tensor) -> np.ndarray:
        """Probability of the chosen class, for each image."""
        return self.net(x).softmax(1).amax(1).cpu().double().numpy()

    def features(self, x: Tensor) -> np.ndarray:
        """The last hidden layer, shape (n, 16)."""
        return self.net[:-1](x).cpu().double().numpy()


def train_classifier(
    data: Images, seed: int, device: str, steps: int = 300
) -> Classifier:
    """Train a classifier on every second image of both classes, slightly noised."""
    x = torch.tensor(check_images(data.all_images), device=device)
    labels = torch.tensor(data.all_labels, device=device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(x[0].numel(), 64),
            nn.ReLU(),
            nn.Linear(64, _FEATURES),
            nn.ReLU(),
            nn.Linear(_FEATURES, 2),
        ).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    half, other = x[::2], x[1::2]
    for _ in range(steps):
        rows = torch.randint(len(half), (128,), generator=generator, device=device)
        noise = torch.randn((128, *half.shape[1:]), generator=generator, device=device)
        optimiser.zero_grad()
        F.cross_entropy(net(half[rows] + 0.2 * noise), labels[::2][rows]).backward()
        optimiser.step()
    net.requires_grad_(False)
    right = (net(other).argmax(1) == labels[1::2]).cpu().numpy()
    kind = labels[1::2].cpu().numpy()
    return Classifier(
        net, (float(right[kind == 0].mean()), float(right[kind == 1].mean()))
    )


def frechet(one: np.ndarray, two: np.ndarray) -> float:
    r"""Squared Fréchet distance of two Gaussians fitted to features (n, k).

    $|m_1-m_2|^2 + \mathrm{tr}(C_1 + C_2 - 2 (C_1 C_2)^{1/2})$.
    """
    gap = one.mean(0) - two.mean(0)
    c1, c2 = np.cov(one.T), np.cov(two.T)
    roots = np.sqrt(np.clip(np.linalg.eigvals(c1 @ c2).real, 0, None))
    return float(gap @ gap + np.trace(c1) + np.trace(c2) - 2 * roots.sum())


def classify_generated(
    net: UNet,
    data: Images,
    classifier: Classifier,
    count: int,
    generator: Any,
    steps: int = 20,
) -> dict[str, Any]:
    """Generate `count` images and let the classifier judge them.

    Returns the share of the first class and its distance from the training set's, the
    mean confidence by class (quality; nan for a class that was never generated), and
    the Fréchet distance to the training set in the classifier's features.
    """
    x = generate(
        net.denoiser, (count, *data.train.shape[1:]), generator=generator, steps=steps
    )
    labels = classifier.label(x).cpu().numpy()
    sure = classifier.confidence(x)
    share = float((labels == 0).mean())
    real = torch.tensor(data.train, device=x.device)
    return {
        "share": share,
        "share_error": abs(share - data.share),
        "confidence": [
            float(sure[labels == k].mean()) if (labels == k).any() else math.nan
            for k in (0, 1)
        ],
        "frechet": frechet(classifier.features(x), classifier.features(real)),
    }
