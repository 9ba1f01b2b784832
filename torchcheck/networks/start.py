r"""Where a descent begins: one unit along the labelled mean, or one at each mean."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from .network_loss import NetworkLoss
from .training_set import generator

START_FIELD = 4.0
"""Largest field where a descent begins, so that tanh is not flat there."""

START_NOISE = 0.03
"""Random part of the starting weights, relative to their part along the mean."""


def starts(loss: NetworkLoss, seed: int) -> tuple[NetworkLoss, Tensor]:
    """The loss once for each choice of units that may live, and where to start."""
    steps, count = loss.live.shape
    either = (True, False) if loss.may_be_constant else (True,)
    choices = list(product(either, repeat=count))
    live = torch.tensor(choices, device=loss.live.device).repeat_interleave(steps, 0)
    times = torch.arange(steps, device=live.device).repeat(len(choices))
    begin = _at_each_mean if loss.data.numbered else _along_the_labels
    point = loss.join(*begin(loss, seed)).repeat(len(choices), 1)
    return replace(loss.part(times), live=live), point


def lowest_choice(
    loss: NetworkLoss, point: Tensor, steps: int
) -> tuple[NetworkLoss, Tensor]:
    """At each time the choice of `starts` whose minimum is the lowest."""
    value = loss.reduced(point)[0].reshape(-1, steps)
    best = value.argmin(0) * steps + torch.arange(steps, device=value.device)
    return loss.part(best), point[best]


def _along_the_labels(loss: NetworkLoss, seed: int) -> tuple[Tensor, Tensor]:
    """One unit with w along the labelled mean, b the log-odds; `seed` has no part.

    For a population this is the exact denoiser. For samples the field is at most a
    few units, so that none of them starts with a vanishing gradient.
    """
    data = loss.data
    mean = (data.weights * data.labels) @ data.x1 / data.weights.sum()
    spread = loss.alpha**2 + data.sigma**2 * loss.beta**2
    signal = data.d * loss.beta**2 / spread
    shrink = (START_FIELD / signal.clamp(min=1e-300)).clamp(max=1.0)
    if not data.samples:
        shrink = torch.ones_like(shrink)
    w = (shrink * loss.beta / spread)[:, None] * mean
    plus = float(data.weights[data.labels > 0].sum())
    minus = float(data.weights[data.labels < 0].sum())
    odds = math.log((plus + 1e-9) / (minus + 1e-9)) / 2
    b = torch.full_like(loss.beta, max(-2.0, min(2.0, odds)) * loss.bias)
    return w[:, None], b[:, None]


def _at_each_mean(loss: NetworkLoss, seed: int) -> tuple[Tensor, Tensor]:
    r"""Weights near the means whose fields are at most a few units, random biases.

    The random part lies in a few directions, of the span or of all coordinates.
    """
    data = loss.data
    count, width = data.means.shape
    random = generator(seed, "init")
    like = {"generator": random, "dtype": torch.float64}
    mean = loss.beta[:, None] * data.norms
    slope = mean / loss.noise[:, None]  # of the exact denoiser
    slope = slope * (START_FIELD / (slope * mean)).clamp(max=1.0)
    other = torch.randn(count, width, **like)
    other /= other.norm(dim=1, keepdim=True)
    direction = data.axes + START_NOISE * other.to(data.axes)
    level = 0.9 + 0.2 * torch.rand(count, **like).to(data.axes)
    plus = (data.signs > 0).to(data.axes)
    shares = data.weights @ plus / data.weights.sum()
    odds = (torch.log(shares / (1 - shares)) / 2).clamp(-2.0, 2.0) * loss.bias
    w = slope[:, :, None] * direction
    b = (level * odds).expand(len(loss.alpha), count)
    return w, b
